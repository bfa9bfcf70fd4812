"""Follow-ups: a question that cannot be understood without the one before it.

"And on the free plan?" has no word of what is asked. Where a model rewrites such a question, it stands alone afterwards; without one
the informative words of the question before are carried over, which is enough for a search by words and vectors. A question
that names its own subject is left as it is: words of another question would only mislead it. Its first word decides nothing: "So",
"But" and "Or" begin fragments and whole questions alike, and people who talk begin many questions so.
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
_CONJUNCTIONS: Final = 2
"""Words that go on, one behind another, such as ``And then``."""

_OWN_WORDS: Final = 3
"""Informative words from which on a question with a pronoun is taken to name its subject itself."""

_POINTS: Final[Mapping[str, str]] = {
    "en": r"\b(?:it|its|they|them|their|this|that|these|those|ones|he|she|him|her|the\s+(?:same|other|second|first|latter))\b"
    r"|\bone(?=\W*$|\s+(?:for|in|on|at|to|with|from|by|instead|too|again|now)\b)|(?<!\bis\s)(?<!\bare\s)\bthere\b",
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
    r"[¿\s]*(?:and|but|or|so|then|also|und|aber|oder|auch|et|mais|aussi|pero|también|anche|também|maar|ook|oraz|także|også|и|а|но|или)\b(?!-)",
    re.IGNORECASE,
)
"""What goes on, in any language."""

_SHIFTS: Final = re.compile(
    r"[¿\s]*(?:what\s+about|how\s+about|what\s+if|same\s+for|was\s+ist\s+mit|wie\s+(?:sieht|ist)\s+es\s+mit|qué\s+tal)\b",
    re.IGNORECASE,
)
"""What asks the same of something else."""

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

_OPENS: Final[Mapping[str, str]] = {
    "en": "how|what|where|when|why|who|whom|whose|which|can|could|do|does|did|is|are|was|were|will|would|should|may|might|must|has|have|am"
    "|i|we|my|our",
    "de": r"wie|was|wo|wann|warum|wieso|wer|wen|wem|welche\w?|kann|können|darf|dürfen|muss|müssen|soll|ist|sind|hat|haben|gibt|wird|werden"
    r"|ich|wir|meine?\w?|unsere?\w?",
    "fr": r"comment|que|où|quand|pourquoi|qui|quel\w*|combien|est-ce|peut|peut-on|puis-je|peux|est|sont|je|nous|mon|ma|mes|notre",
    "es": r"cómo|como|qué|dónde|donde|cuándo|cuando|por\s+qué|quién\w*|cuál\w*|cuánt\w*|puedo|pueden?|es|son|hay|tengo|mis?",
    "it": r"come|cosa|che|dove|quando|perché|chi|quali?|quant\w*|posso|può|è|sono|ho|mi[oa]",
    "pt": r"como|o\s+que|onde|quando|por\s?que|quem|qual|quais|quant\w*|posso|podem?|é|são|há|tenho|meu|minha",
    "nl": "hoe|wat|waar|wanneer|waarom|wie|welke?|kan|kunnen|mag|moet|is|zijn|heeft|hebben|ik|we|wij|mijn|onze",
    "pl": r"jak|co|gdzie|kiedy|dlaczego|kto|jak\w+|któr\w+|czy|mogę|może|ile",
    "sv": "hur|vad|var|när|varför|vem|vilke[nt]|vilka|kan|får|måste|är|har|finns|jag|vi|min|mitt|mina",
    "da": "hvordan|hvad|hvor|hvornår|hvorfor|hvem|hvilke[nt]?|kan|må|skal|er|har|findes|jeg|vi|min|mit|mine",
    "no": "hvordan|hva|hvor|når|hvorfor|hvem|hvilke[nt]?|kan|må|skal|er|har|finnes|jeg|vi|min|mitt|mine",
    "ru": r"как\w*|что|где|когда|почему|кто|можно|могу|может|есть|сколько|я|мы|мо[йия]",
}
"""Language to the words by which a whole question, or a whole statement of somebody's, begins."""

_QUANTITIES: Final = frozenset(
    {"many", "much", "long", "often", "far", "big", "large", "viele", "viel", "lange", "oft"}
)
"""What is asked of something, and names nothing."""

_CLAUSE_WORDS: Final = 2
"""Informative words from which on a whole question names its subject itself."""


def is_follow_up(question: str, language: str) -> bool:
    """Return whether ``question`` points at something said before it, or goes on without a subject of its own.

    Args:
        question: cleaned.
        language: its ISO 639-1 code.
    """
    said = sentences.content_words(question)
    points = _POINTS.get(language)
    has_pointer = points is not None and re.search(points, question, re.IGNORECASE) is not None
    rest = _after_going_on(question, language)
    if said and rest == question and not _SHIFTS.match(question):
        return has_pointer and len(said) <= _OWN_WORDS
    return len(said) <= 2 * _OWN_WORDS and (has_pointer or not _is_whole(rest, language))


def _after_going_on(question: str, language: str) -> str:
    """A question without the words by which it goes on."""
    own = _GOES_ON_IN.get(language)
    patterns = [_GOES_ON] if own is None else [_GOES_ON, re.compile(rf"[¿\s]*(?:{own})\b(?!-)", re.IGNORECASE)]
    for _ in range(_CONJUNCTIONS):
        found = next((match for pattern in patterns if (match := pattern.match(question))), None)
        if found is None:
            break
        question = question[found.end() :].lstrip(" ,")
    return question


def _is_whole(rest: str, language: str) -> bool:
    """Whether what goes on is a whole question or statement that names its subject, and not a piece of one."""
    opens = _OPENS.get(language)
    opening = None if opens is None else re.match(rf"[¿\s]*(?:{opens})\b", rest, re.IGNORECASE)
    if opening is None or _SHIFTS.match(rest):
        return False
    named = [word for word in sentences.content_words(rest[opening.end() :]) if word not in _QUANTITIES]
    return len(named) >= _CLAUSE_WORDS


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
        if len(told) >= _OWN_WORDS or not is_follow_up(turn.question, language):
            break
    return " ".join([question, *words[:_CARRIED]])
