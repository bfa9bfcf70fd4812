"""Suggesting a glossary: the terms that documents seem to have, for a person to choose from.

Three signs are counted, each by the documents that have it: a heading or title of one to four words, a name in bold, and an
abbreviation beside what it stands for, such as "paid time off (PTO)", which gives an alias. A term is suggested where several
documents have it. It is a list to be read: what is suggested is CSV that is a glossary once it is weeded.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Final

import msgspec

from clockify_rag import sentences
from clockify_rag.index import LocalIndex
from clockify_rag.understanding.glossary import spelling_key

LIMIT: Final = 100
"""Terms that are suggested unless another number is asked for."""

_MOST_WORDS: Final = 4
_LEAST_DOCUMENTS: Final = 2
_HEADING_WEIGHT: Final = 3
_DEFINITION_CHARACTERS: Final = 200

_ABBREVIATION: Final = re.compile(r"((?:[^\W\d_][\w-]{0,30}\s+){1,6})\(([A-Z][A-Z0-9&]{1,7})s?\)")
_NAME: Final = re.compile(
    r"(?<![.!?:]\s)(?<!^)\b[A-Z][\w-]{1,30}(?:\s+(?:[A-Z][\w-]{1,30}|of|and|to)){0,2}\s+[A-Z]?[\w-]{2,30}\b",
    re.MULTILINE,
)
_ASKS: Final = re.compile(
    r"^(?:how|what|why|when|where|who|which|can|is|are|do|does|wie|was|warum|wann|wo|wer|kann|comment|pourquoi|cómo|qué|come|como)\b"
    r"|[?!:.]$|^\d",
    re.IGNORECASE,
)
_BEGINS_WITH_WORK: Final = re.compile(
    r"(?:add|allow|change|check|choose|click|configure|connect|convert|copy|create|customi[sz]e|delete|disable|edit|enable|export|filter"
    r"|find|get|go|import|install|invite|learn|log|manage|move|open|remove|request|reset|save|see|select|send|set|share|show|sign|start|stop"
    r"|submit|switch|track|turn|upgrade|use|view|watch|write|you|your)\b",
    re.IGNORECASE,
)
_AROUND: Final = " -*\"'\u2013\u2014\u201c\u201d"
_DEFINES: Final = r"\s+(?:is|are|means|refers\s+to|ist|sind|bedeutet|est|sont|es|son|è|sono)\s"


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """A term that documents seem to have."""

    term: str
    aliases: tuple[str, ...] = ()
    definition: str = ""
    """A sentence that may define it; empty where none was found."""
    documents: int
    """Documents that have it."""
    headings: int
    """Of those, documents that have it as a heading or title."""


def suggest(index: LocalIndex, limit: int = LIMIT) -> list[Suggestion]:
    """Return the terms that documents seem to have, those of most documents first.

    Args:
        index: the documents.
        limit: terms at most.

    Raises:
        StoreError: the index cannot be read.
    """
    found = _Found()
    for document in index.documents():
        chunks = index.chunks(document.id)
        headings = [document.title, *(heading for chunk in chunks for heading in chunk.heading_path)]
        found.add(document.id, dict.fromkeys(headings), index.text(document.id))
    return found.suggestions(limit)


class _Found:
    """What was counted so far; terms by their folded words."""

    def __init__(self) -> None:
        self._spellings: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._documents: defaultdict[str, set[str]] = defaultdict(set)
        self._headings: defaultdict[str, set[str]] = defaultdict(set)
        self._aliases: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._texts: dict[str, str] = {}

    def add(self, document: str, headings: dict[str, None], text: str) -> None:
        for heading in headings:
            if key := self._note(document, heading):
                self._headings[key].add(document)
        for name in _NAME.finditer(text):
            self._note(document, name[0])
        for match in _ABBREVIATION.finditer(text):
            term = _of_abbreviation(match[1].split(), match[2])
            if term and (key := self._note(document, term)):
                self._aliases[key][match[2]] += 1
        self._texts[document] = text

    def _note(self, document: str, written: str) -> str:
        term = " ".join(written.split()).strip(_AROUND)
        words = sentences.words(term)
        if not 1 <= len(words) <= _MOST_WORDS or _ASKS.search(term) or not _says(words, term):
            return ""
        key = spelling_key(words)
        self._spellings[key][term] += 1
        self._documents[key].add(document)
        return key

    def suggestions(self, limit: int) -> list[Suggestion]:
        worthy = [
            key
            for key, documents in self._documents.items()
            if len(documents) >= _LEAST_DOCUMENTS or (self._headings[key] and self._aliases[key])
        ]
        worthy.sort(key=lambda key: (-self._weight(key), key))
        return [self._suggestion(key) for key in worthy[:limit]]

    def _weight(self, key: str) -> int:
        return len(self._documents[key]) + _HEADING_WEIGHT * len(self._headings[key]) + 2 * len(self._aliases[key])

    def _suggestion(self, key: str) -> Suggestion:
        spellings = self._spellings[key]
        term = min(spellings, key=lambda spelling: (-spellings[spelling], spelling))
        return Suggestion(
            term=term,
            aliases=tuple(sorted(self._aliases[key])),
            definition=next(self._definitions(key, term), ""),
            documents=len(self._documents[key]),
            headings=len(self._headings[key]),
        )

    def _definitions(self, key: str, term: str) -> Iterator[str]:
        pattern = re.compile(
            rf"^(?:An?\s+|The\s+|Ein[e]?\s+)?{re.escape(term)}{_DEFINES}", re.IGNORECASE | re.MULTILINE
        )
        for document in sorted(self._documents[key]):
            text = self._texts[document]
            for match in pattern.finditer(text):
                start, end = next(iter(sentences.units(text[match.start() : match.start() + 1000])), (0, 0))
                sentence = text[match.start() + start : match.start() + end]
                if len(sentence) <= _DEFINITION_CHARACTERS:
                    yield sentence


def _says(words: list[str], term: str) -> bool:
    """Whether a term begins and ends with words that say something, and has letters."""
    if _BEGINS_WITH_WORK.match(term):
        return False
    said = set(sentences.content_words(term))
    return words[0] in said and words[-1] in said and any(map(str.isalpha, term)) and len(term) > 2  # noqa: PLR2004


def _of_abbreviation(words: list[str], abbreviation: str) -> str:
    """The last of ``words`` whose initials are the abbreviation; empty where they are not."""
    letters = [letter for letter in abbreviation if letter.isalpha()]
    tail = words[-len(letters) :]
    if len(tail) < len(letters) or [word[0].upper() for word in tail] != letters:
        return ""
    return " ".join(tail)
