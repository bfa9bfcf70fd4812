"""Pieces: what is shown of a section, as one text in reading order, and each character of a page at most once.

A section that is longer than a chunk is several, and two that follow one another share some sentences. Shown beside each other they
would say these twice, and in the order of their ranks the end might come before the beginning. A piece is the union of their spans:
still slices of the page, so that a quotation is proved as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from clockify_rag.contracts import Chunk, Hit, Span

Section = tuple[str, str | None, tuple[str, ...], str]
"""What the chunks of one piece have in common: document, anchor, headings and kind."""


class Piece(msgspec.Struct, frozen=True):
    """A hit with what is shown of its section."""

    hit: Hit
    """The best hit in it; its chunk has the spans and the text of all."""
    text: str
    """What is shown: the chunk's text, or its beginning where that alone is more than the budget."""
    tokens: int
    """Tokens of ``text``, as the generator counts them."""


def section(chunk: Chunk) -> Section:
    """Return what the chunks have in common that can be one piece: document, section and kind."""
    return chunk.document_id, chunk.anchor, chunk.heading_path, chunk.kind


def united(best: Chunk, others: Iterable[Chunk]) -> Chunk:
    """Return ``best`` with the spans and the text of all, in the order of the page; id and hash stay its own.

    All must be chunks of one document.
    """
    slices = sorted(one for chunk in (best, *others) for one in _slices(chunk))
    spans: list[Span] = []
    texts: list[str] = []
    for (start, end), text in slices:
        if spans and start <= spans[-1][1]:
            known = spans[-1][1]
            if end > known:
                spans[-1] = (spans[-1][0], end)
                texts[-1] += text[known - start :]
        else:
            spans.append((start, end))
            texts.append(text)
    return msgspec.structs.replace(best, spans=tuple(spans), repeated=(), text="\n".join(texts))


def without(chunk: Chunk, shown: Sequence[Span]) -> Chunk | None:
    """Return ``chunk`` without the parts of its page that are shown elsewhere; ``None`` where nothing but space is left."""
    kept = [one for span, text in _slices(chunk) for one in _rest(span, text, shown)]
    spans = tuple(span for span, text in kept if text.strip())
    if spans == chunk.spans:
        return chunk
    text = "\n".join(text for _, text in kept if text.strip())
    return msgspec.structs.replace(chunk, spans=spans, repeated=(), text=text) if spans else None


def _slices(chunk: Chunk) -> Iterator[tuple[Span, str]]:
    offset = 0
    for start, end in chunk.spans:
        yield (start, end), chunk.text[offset : offset + end - start]
        offset += end - start + 1


def _rest(span: Span, text: str, shown: Sequence[Span]) -> Iterator[tuple[Span, str]]:
    """What of a slice no span in ``shown`` has."""
    start, end = span
    at = start
    for first, last in sorted(shown):
        if first >= end:
            break
        if first > at:
            yield (at, first), text[at - start : first - start]
        at = max(at, last)
    if at < end:
        yield (at, end), text[at - start :]
