"""Follow-ups: a question that cannot be understood without the one before it.

"And on the free plan?" has no word of what is asked. Where a model rewrites such a question, it stands alone afterwards; without one
the informative words of the question before are carried over, which is enough for a search by words and vectors. A question
that names its own subject is left as it is: words of another question would only mislead it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from clockify_rag import sentences
from clockify_rag.contracts import Turn

TURNS: Final = 3
"""Turns that a follow-up may refer to."""

_CARRIED: Final = 8
_OWN_WORDS: Final = 3
"""Informative words from which on a question with a pronoun is taken to name its subject itself."""

_POINTS: Final[Mapping[str, str]] = {
    "en": r"\b(?:it|its|they|them|their|this|that|these|those|one|ones|there|he|she|him|her|the\s+(?:same|other|second|first|latter))\b",
    "de": r"\b(?:es|sie|er|ihn|ihm|das|dies\w*|jene\w*|dort|dafür|damit|davon|dazu|darin|dabei|dasselbe)\b",
    "fr": r"\b(?:il|elle|ils|elles|ça|cela|ceci|celui|celle|ceux|celles|le|la|les|y|en|lui|leur)\b(?=\s*\?|\s+\w+\s*\?|$)|\b(?:ça|cela|celui|celle)\b",
    "es": r"\b(?:lo|la|los|las|eso|esto|ese|esa|esos|esas|este|esta|ello|allí|él|ella|ellos)\b(?=\s*\?|$)|\b(?:eso|esto|ello|lo)\b",
    "it": r"\b(?:lo|la|li|le|questo|quello|quella|quelli|ci|ne|esso|essa)\b(?=\s*\?|$)|\b(?:questo|quello|quella)\b",
    "pt": r"\b(?:isso|isto|ele|ela|eles|elas|esse|essa|este|esta|lá)\b",
    "nl": r"\b(?:het|dat|dit|deze|die|ze|hem|haar|er|daar|daarmee|ervoor)\b(?=\s*\?|$)|\b(?:dat|dit|daarmee|ervoor)\b",
    "pl": r"\b(?:to|tego|tym|ten|ta|te|one|oni|go|je|ich|tam)\b",
    "sv": r"\b(?:det|den|de|dem|detta|denna|dessa|där)\b",
    "da": r"\b(?:det|den|de|dem|dette|denne|disse|der)\b",
    "no": r"\b(?:det|den|de|dem|dette|denne|disse|der)\b",
    "ru": r"\b(?:это|этого|этот|эта|эти|он|она|они|его|их|там|то\s+же)\b",
}
"""Language to the words that point at something said before."""

_GOES_ON: Final = re.compile(
    r"[¿\s]*(?:and|but|or|so|then|also|what\s+about|how\s+about|what\s+if|same\s+for|und|aber|oder|auch|was\s+ist\s+mit|wie\s+(?:sieht|ist)\s+es\s+mit"
    r"|et|mais|aussi|pero|también|qué\s+tal|anche|também|maar|ook|oraz|också|også|и|а|но|или)\b(?!-)",
    re.IGNORECASE,
)
"""What goes on, in any language: a question as short as that seldom tells its own."""

_GOES_ON_IN: Final[Mapping[str, str]] = {
    "fr": "ou",
    "es": "y|o",
    "it": "e|o|ma",
    "pt": "e|ou|mas",
    "nl": "en|of",
    "pl": "a|i|ale",
    "sv": "och|men",
    "da": "og|men",
    "no": "og|men",
}
"""Language to the words that go on in it and begin questions of another: ``A client``, ``E-mail``."""


def is_follow_up(question: str, language: str) -> bool:
    """Return whether ``question`` points at something said before it, or goes on without a subject of its own.

    Args:
        question: cleaned.
        language: its ISO 639-1 code.
    """
    said = sentences.content_words(question)
    if not said or _goes_on(question, language):
        return len(said) <= 2 * _OWN_WORDS
    points = _POINTS.get(language)
    return points is not None and len(said) <= _OWN_WORDS and re.search(points, question, re.IGNORECASE) is not None


def _goes_on(question: str, language: str) -> bool:
    own = _GOES_ON_IN.get(language)
    is_own = own is not None and re.match(rf"[¿\s]*(?:{own})\b(?!-)", question, re.IGNORECASE) is not None
    return is_own or _GOES_ON.match(question) is not None


def carried_over(question: str, history: Sequence[Turn], language: str) -> str:
    """Return ``question`` with the informative words of the last question that is no follow-up itself, in that one's order.

    Args:
        question: a follow-up.
        history: the turns before, oldest first.
        language: of the conversation, as the question tells it.
    """
    own = set(sentences.words(question))
    words: list[str] = []
    for turn in reversed(history[-TURNS:]):
        told = [word for word in sentences.content_words(turn.question) if word not in own and word not in words]
        words = [*told, *words]
        if len(told) >= _OWN_WORDS or not _goes_on(turn.question, language):
            break
    return " ".join([question, *words[:_CARRIED]])
