"""Verification: proof for what an answer says, or the claim is taken away.

A citation is one place in one document: the marker's number, and the source's own characters at a span. Folding of
white space and typography serves only to find a quotation; what is shown is always the source's. So a quotation of a
model is one of four: verified (and then written as the source has it), misattributed (its marker is moved to the chunk
that has it), altered (it loses its quotation marks, and the citation carries the run that it comes nearest to) or
fabricated (it loses its quotation marks). A statement without a quotation is given the sentence of the cited chunk that
says most of it.

Markers that name no passage are removed, and the others are numbered anew in order of appearance, one for each place
proved. Nothing within back-quotes is touched: code has brackets and quotation marks of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from clockify_rag import sentences
from clockify_rag.contracts import Citation, Context, Draft, Query, Span

if TYPE_CHECKING:
    from types import ModuleType

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
_MARKERS = re.compile(r"[ \t]*\[(\d{1,4}(?:\s*[,;]\s*\d{1,4})*)\](?!\()")
_QUOTES = re.compile(
    r"(?<![\w\"])\"(?=\S)(?P<straight>[^\"]{1,2000}?)(?<=\S)\"(?![\w\"])"
    r"|\u201c(?P<english>[^\u201c\u201d]{1,2000})\u201d"
    r"|\u201e(?P<german>[^\u201e\u201c\u201d]{1,2000})[\u201c\u201d]"
    r"|\u00ab\s?(?P<french>[^\u00ab\u00bb]{1,2000}?)\s?\u00bb"
    r"|\u00bb(?P<inward>[^\u00ab\u00bb]{1,2000})\u00ab"
    r"|\u300c(?P<corner>[^\u300c\u300d]{1,2000})\u300d"
)
_PARAGRAPH = re.compile(r"\n\s*\n")
_QUOTE_WORDS = 3
_QUOTE_CHARACTERS = 12


class _Place(msgspec.Struct, frozen=True):
    """What one marker proves: a hit of the context, and the span of its document."""

    hit: int
    span: Span
    quote: str


class _Marker(msgspec.Struct):
    """One number in brackets of a draft."""

    start: int
    end: int
    hit: int
    """The hit's place in the context, from 0."""
    place: _Place | None = None
    """What it proves, as soon as that is known."""


class _Edit(msgspec.Struct, frozen=True):
    """A replacement in a draft."""

    start: int
    end: int
    text: str


class QuoteVerifier:
    """Checks markers and quotations against the chunks that were shown.

    Args:
        altered: how alike, 0 to 1, a run of the cited chunk must be to a quotation that stands nowhere, for the
        citation to
            carry that run.
    """

    def __init__(self, altered: float = 0.75) -> None:
        self.altered = altered

    def verify(self, query: Query, context: Context, draft: Draft) -> tuple[str, tuple[Citation, ...], int]:
        """Return the text with its markers renumbered, one citation for each, and how many quotations were taken away.

        Args:
            query: what was asked; decides which sentence proves a statement that says nothing by itself.
            context: what the draft was written from; its texts are what may be cited.
            draft: the text; with ``quotes`` it must be these, each with its marker and a blank line between, or it is
            checked as any.
        """
        if draft.quotes and (proved := _exact(context, draft)):
            return proved
        return _Verification(self, query, context, draft.text).run()


def _exact(context: Context, draft: Draft) -> tuple[str, tuple[Citation, ...], int] | None:
    """Prove a draft that consists of quotations by comparing each with the slice it names; ``None`` if one differs."""
    places: list[_Place] = []
    for hit, span in draft.quotes:
        text = context.hits[hit].chunk.slice(span) if 0 <= hit < len(context.hits) else None
        if not text:
            return None
        places.append(_Place(hit, span, text))
    if "\n\n".join(f"{place.quote} [{place.hit + 1}]" for place in places) != draft.text:
        return None
    numbers = {place: number for number, place in enumerate(dict.fromkeys(places), 1)}
    text = "\n\n".join(f"{place.quote} [{numbers[place]}]" for place in places)
    return text, tuple(_citation(context, place, number) for place, number in numbers.items()), 0


def _citation(context: Context, place: _Place, number: int) -> Citation:
    hit = context.hits[place.hit]
    return Citation(
        marker=number,
        chunk_id=hit.chunk.id,
        document_id=hit.document.id,
        path=hit.document.path,
        url=hit.document.url,
        anchor=hit.chunk.anchor,
        quote=place.quote,
        span=place.span,
    )


class _Verification:
    """The check of one draft."""

    def __init__(self, verifier: QuoteVerifier, query: Query, context: Context, text: str) -> None:
        self.verifier = verifier
        self.query = query
        self.context = context
        self.text = text
        self.code = [match.span() for match in _CODE.finditer(text)]
        self.removed = 0
        self.edits: list[_Edit] = []
        self.groups: list[list[_Marker]] = []
        self.supports: dict[int, _Place | None] = {}

    def run(self) -> tuple[str, tuple[Citation, ...], int]:
        """Check quotations, then markers, and put the text together."""
        self._find_markers()
        for match in _QUOTES.finditer(self.text):
            crosses_code = any(start < match.end() and match.start() < end for start, end in self.code)
            if not crosses_code and not _PARAGRAPH.search(match.group()):
                self._check_quotation(match)
        numbers: dict[_Place, int] = {}
        for group in sorted(self.groups, key=lambda group: group[0].start):
            self._number(group, numbers)
        citations = tuple(_citation(self.context, place, number) for place, number in numbers.items())
        return self._edited().strip(), citations, self.removed

    def _find_markers(self) -> None:
        for match in _MARKERS.finditer(self.text):
            if self._in_code(match.start(1)):
                continue
            named = [int(number) - 1 for number in re.findall(r"\d+", match[1])]
            group = [
                _Marker(match.start(), match.end(), hit)
                for hit in dict.fromkeys(named)
                if 0 <= hit < len(self.context.hits) and self.context.hits[hit].chunk.kind != "hub"
            ]
            if group:
                self.groups.append(group)
            else:
                self.edits.append(_Edit(match.start(), match.end(), ""))

    def _check_quotation(self, match: re.Match[str]) -> None:
        name = match.lastgroup or ""
        quote = _MARKERS.sub("", match[name]).strip()
        if sentences.word_count(quote) < _QUOTE_WORDS or len(quote) < _QUOTE_CHARACTERS:
            return
        self._move_behind(match)
        markers = self._markers_of(match)
        cited = [marker.hit for marker in markers]
        place = self._find(quote, [*cited, *(hit for hit in range(len(self.context.hits)) if hit not in cited)])
        if place is None:
            self.removed += 1
            self.edits.append(_Edit(match.start(), match.end(), quote))
            place = self._closest(quote, cited)
        else:
            self.edits.append(_Edit(match.start(name), match.end(name), place.quote))
        if place is not None:
            self._attribute(match.end(), markers, place)

    def _move_behind(self, match: re.Match[str]) -> None:
        """Let markers that stand within a quotation stand behind it."""
        for group in self.groups:
            for marker in group:
                if match.start() < marker.start < match.end():
                    marker.start = marker.end = match.end()

    def _markers_of(self, match: re.Match[str]) -> list[_Marker]:
        """Return the markers that stand for a quotation: the next ones before another quotation or the paragraph's
        end.
        """
        limit = len(self.text)
        if following := _QUOTES.search(self.text, match.end()):
            limit = following.start()
        if end := _PARAGRAPH.search(self.text, match.end(), limit):
            limit = end.start()
        after = [group for group in self.groups if match.end() <= group[0].start < max(limit, match.end() + 1)]
        adjacent = after[:1]
        for group in after[1:]:
            if group[0].start == adjacent[-1][0].end:
                adjacent.append(group)
        return [marker for group in adjacent for marker in group if marker.place is None]

    def _attribute(self, end: int, markers: list[_Marker], place: _Place) -> None:
        """Let the marker of the chunk that has the quotation prove it; move one, or add one, where none does."""
        marker = next((marker for marker in markers if marker.hit == place.hit), markers[0] if markers else None)
        if marker is None:
            marker = _Marker(end, end, place.hit)
            self.groups.append([marker])
        marker.hit, marker.place = place.hit, place

    def _find(self, quote: str, hits: Iterable[int]) -> _Place | None:
        core = _core()
        for hit in hits:
            if self.context.hits[hit].chunk.kind != "hub" and (run := core.find_quote(quote, self.context.texts[hit])):
                return self._place(hit, *run)
        return None

    def _closest(self, quote: str, hits: Iterable[int]) -> _Place | None:
        core = _core()
        runs = [(run, hit) for hit in hits if (run := core.closest_run(quote, self.context.texts[hit]))]
        (start, end, alike), hit = max(runs, key=lambda found: found[0][2], default=((0, 0, -1.0), 0))
        return self._place(hit, start, end) if alike >= self.verifier.altered else None

    def _place(self, hit: int, start: int, end: int) -> _Place | None:
        """Return the place of a run of a hit's text; its longest part where it crosses slices of the document."""
        text = self.context.texts[hit]
        found = []
        for first, last in [(start, end), *_lines_within(text, start, end)]:
            if first < last and (span := self.context.hits[hit].chunk.locate(first, last)):
                found.append(_Place(hit, span, text[first:last]))
        return max(found, key=lambda place: len(place.quote), default=None)

    def _number(self, group: list[_Marker], numbers: dict[_Place, int]) -> None:
        places = [marker.place or self._support(marker.hit) for marker in group]
        written = dict.fromkeys(numbers.setdefault(place, len(numbers) + 1) for place in places if place is not None)
        original = self.text[group[0].start : group[0].end]
        space = original[: len(original) - len(original.lstrip())] if original else " "
        text = space + "".join(f"[{number}]" for number in written) if written else ""
        self.edits.append(_Edit(group[0].start, group[0].end, text))

    def _support(self, hit: int) -> _Place | None:
        """Return the sentence of a chunk that says most of all the statements that cite it without a quotation."""
        if hit not in self.supports:
            text = self.context.texts[hit]
            units = sentences.units(text)
            stated = " ".join(self._statements(hit)) or self.query.text
            overlap = sentences.Overlap(stated, [text[start:end] for start, end in units])
            shares = [overlap.share(found) for found in overlap.found]
            best = max(range(len(units)), key=lambda row: (shares[row], -row), default=None)
            self.supports[hit] = None if best is None else self._place(hit, *units[best])
        return self.supports[hit]

    def _statements(self, hit: int) -> Iterator[str]:
        previous, statement = 0, ""
        for group in sorted(self.groups, key=lambda group: group[0].start):
            before = self.text[previous : group[0].start]
            if spans := sentences.units(before):
                statement = before[slice(*spans[-1])]
            if any(marker.hit == hit and marker.place is None for marker in group):
                yield statement
            previous = group[0].end

    def _in_code(self, position: int) -> bool:
        return any(start <= position < end for start, end in self.code)

    def _edited(self) -> str:
        parts: list[str] = []
        position = 0
        for edit in sorted(self.edits, key=lambda edit: (edit.start, edit.end)):
            if edit.start >= position:
                parts += [self.text[position : edit.start], edit.text]
                position = edit.end
        return "".join([*parts, self.text[position:]])


def _lines_within(text: str, start: int, end: int) -> Iterator[Span]:
    return ((start + first, start + last) for first, last in sentences.lines(text[start:end]))


def _core() -> ModuleType:
    from clockify_rag import _core as core

    return core
