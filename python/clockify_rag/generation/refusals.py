"""The sentence that refuses, in the question's language: what is shown in an answer's place where there is none."""

from __future__ import annotations

from collections.abc import Mapping

REFUSALS: Mapping[str, str] = {
    "en": "The documentation does not answer this question.",
    "de": "Die Dokumentation beantwortet diese Frage nicht.",
    "fr": "La documentation ne répond pas à cette question.",
    "es": "La documentación no responde a esta pregunta.",
    "pt": "A documentação não responde a esta pergunta.",
    "it": "La documentazione non risponde a questa domanda.",
    "nl": "De documentatie geeft geen antwoord op deze vraag.",
    "pl": "Dokumentacja nie odpowiada na to pytanie.",
    "sv": "Dokumentationen besvarar inte den här frågan.",
    "da": "Dokumentationen besvarer ikke dette spørgsmål.",
    "cs": "Dokumentace na tuto otázku neodpovídá.",
    "tr": "Belgeler bu soruyu yanıtlamıyor.",
    "ru": "В документации нет ответа на этот вопрос.",
    "uk": "У документації немає відповіді на це запитання.",
    "ja": "この質問の答えはドキュメントにありません。",
    "zh": "文档没有回答这个问题。",
    "ko": "문서에 이 질문에 대한 답이 없습니다.",
}
"""The sentence that refuses, by ISO 639-1 code."""


def refusal_text(language: str, replacements: Mapping[str, str] | None = None) -> str:
    """Return the sentence that refuses in ``language``, in English where there is none.

    Args:
        language: ISO 639-1 code of the question; may be empty.
        replacements: sentences to use instead, by the same codes; the one for the empty code replaces all others.
    """
    replaced = replacements or {}
    for code in (language, ""):
        if code in replaced:
            return replaced[code]
    return REFUSALS.get(language) or replaced.get("en") or REFUSALS["en"]
