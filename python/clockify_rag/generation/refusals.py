"""What is shown in an answer's place where there is none: a sentence that says so, what was looked for, and the nearest pages, in
the question's language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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

SEARCHED: Mapping[str, str] = {
    "en": "Looked for:",
    "de": "Gesucht wurde nach:",
    "fr": "Mots recherchés :",
    "es": "Se ha buscado:",
    "pt": "Foi procurado:",
    "it": "È stato cercato:",
    "nl": "Gezocht naar:",
    "pl": "Szukano:",
    "sv": "Sökt efter:",
    "da": "Søgt efter:",
    "cs": "Hledáno:",
    "tr": "Aranan:",
    "ru": "Искали:",
    "uk": "Шукали:",
    "ja": "検索した語：",
    "zh": "已搜索：",
    "ko": "검색한 단어:",
}
"""What precedes the words that were looked for, by ISO 639-1 code."""

NEAREST: Mapping[str, str] = {
    "en": "The nearest pages:",
    "de": "Die nächstliegenden Seiten:",
    "fr": "Les pages les plus proches :",
    "es": "Las páginas más cercanas:",
    "pt": "As páginas mais próximas:",
    "it": "Le pagine più vicine:",
    "nl": "De pagina's die het dichtst in de buurt komen:",
    "pl": "Najbliższe strony:",
    "sv": "De närmaste sidorna:",
    "da": "De nærmeste sider:",
    "cs": "Nejbližší stránky:",
    "tr": "En yakın sayfalar:",
    "ru": "Ближайшие страницы:",
    "uk": "Найближчі сторінки:",
    "ja": "最も近いページ：",
    "zh": "最接近的页面：",
    "ko": "가장 가까운 페이지:",
}
"""What precedes the pages that come nearest, by ISO 639-1 code."""


def refusal_text(
    language: str,
    replacements: Mapping[str, str] | None = None,
    *,
    searched: Sequence[str] = (),
    nearest: Sequence[tuple[str, str, str | None]] = (),
) -> str:
    """Return the refusal in ``language``, in English where there is none: a sentence, what was looked for, and the nearest pages.

    Args:
        language: ISO 639-1 code of the question; may be empty.
        replacements: sentences to use instead, by the same codes; the one for the empty code replaces all others.
        searched: the words that were looked for.
        nearest: of each page its title, where it is, and the anchor of its section.
    """
    parts = [_sentence(language, replacements or {})]
    if searched:
        parts.append(f"{SEARCHED.get(language, SEARCHED['en'])} {', '.join(searched)}")
    if nearest:
        lines = (f"- {title}: {place}{f'#{anchor}' if anchor else ''}" for title, place, anchor in nearest)
        parts.append("\n".join([NEAREST.get(language, NEAREST["en"]), *lines]))
    return "\n\n".join(parts)


def _sentence(language: str, replaced: Mapping[str, str]) -> str:
    for code in (language, ""):
        if code in replaced:
            return replaced[code]
    return REFUSALS.get(language) or replaced.get("en") or REFUSALS["en"]
