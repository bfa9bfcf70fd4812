"""What a ranking becomes before it is returned: what says the same counts once, and one page does not take all places.

Nothing is lost by either. A hit that is folded into a better one is named there, in ``duplicates``; hits of a page that has its share
already stand behind those of all others, so that they are returned where there is nothing else.

What says the same is told by what is in memory already: hashes, addresses, and, for the few pairs of hits that begin or end alike,
their texts: 21 pairs in 51 searches of Clockify's help centre, of which 5 fold something. Two texts that differ in a number do not say the same, however alike they are: that is what versions of one page differ
in. A short text says nothing without its heading (``Yes, on all plans``), so it is folded only under the same one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from clockify_rag.contracts import Duplicate, Hit

SELF_CONTAINED_TOKENS = 40
"""A text of fewer tokens is the same as another only under the same heading."""

NEAR_TOKENS = 60
"""A text of fewer tokens is compared by its hash alone: one word more or less is much of it."""

RESEMBLANCE = 0.9
"""The resemblance from which two texts say the same: shared runs of three words, of all (Broder, 1997)."""

_EDGE = 32
_RUN = 3
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")


def folded(hits: Iterable[Hit]) -> list[Hit]:
    """Return the hits without those that say what a better one says; that one names them.

    Args:
        hits: best first; their ranks stay as they are.
    """
    kept: list[Hit] = []
    duplicates: dict[int, list[Duplicate]] = {}
    texts: dict[tuple[str, str], int] = {}
    places: dict[tuple[str, str | None], tuple[int, str]] = {}
    edges: dict[str, int] = {}
    for hit in hits:
        chunk, document = hit.chunk, hit.document
        heading = "" if chunk.tokens >= SELF_CONTAINED_TOKENS else " ".join(chunk.heading_path[-1:])
        text = (chunk.content_hash, heading)
        place = ("" if document.url is None else document.url.rstrip("/"), chunk.anchor)
        same = texts.get(text)
        if same is None and place[0]:
            other = places.get(place)
            # Other chunks of the same document's section are no duplicates: they are the rest of it.
            same = other[0] if other is not None and other[1] != document.id else None
        if same is None and chunk.tokens >= NEAR_TOKENS:
            same = _near(hit, kept, edges)
        if same is not None:
            duplicates.setdefault(same, [*kept[same].duplicates]).append(_duplicate(hit))
            continue
        row = len(kept)
        kept.append(hit)
        texts[text] = row
        places.setdefault(place, (row, document.id))
        if chunk.tokens >= NEAR_TOKENS:
            for edge in _edges(chunk.text):
                edges.setdefault(edge, row)
    for row, found in duplicates.items():
        kept[row] = msgspec.structs.replace(kept[row], duplicates=tuple(found))
    return kept


def share(hits: Sequence[Hit], per_document: int) -> tuple[list[Hit], list[Hit]]:
    """Return the first ``per_document`` hits of each document, and the others; 0 is no bound."""
    if not per_document:
        return list(hits), []
    counts: Counter[str] = Counter()
    within: list[Hit] = []
    beyond: list[Hit] = []
    for hit in hits:
        counts[hit.document.id] += 1
        (within if counts[hit.document.id] <= per_document else beyond).append(hit)
    return within, beyond


def numbered(hits: Iterable[Hit]) -> tuple[Hit, ...]:
    """Return the hits with ranks from 1."""
    return tuple(
        hit if hit.rank == rank else msgspec.structs.replace(hit, rank=rank) for rank, hit in enumerate(hits, 1)
    )


def _near(hit: Hit, kept: Sequence[Hit], edges: Mapping[str, int]) -> int | None:
    """The kept hit that a hit is nearly the same text as: only those that begin or end alike are compared."""
    rows = sorted({edges[edge] for edge in _edges(hit.chunk.text) if edge in edges})
    return next((row for row in rows if _says_the_same(hit.chunk.text, kept[row].chunk.text)), None)


def _edges(text: str) -> tuple[str, str]:
    return text[:_EDGE].casefold(), text[-_EDGE:].casefold()


def _says_the_same(one: str, other: str) -> bool:
    shorter, longer = sorted((len(one), len(other)))
    if shorter < RESEMBLANCE * longer or _NUMBER.findall(one) != _NUMBER.findall(other):
        return False
    runs, others = _runs(one), _runs(other)
    return len(runs & others) >= RESEMBLANCE * len(runs | others)


def _runs(text: str) -> set[tuple[str, ...]]:
    """The runs of three words of a text."""
    words = _WORD.findall(text.casefold())
    return {tuple(words[at : at + _RUN]) for at in range(max(1, len(words) - _RUN + 1))}


def _duplicate(hit: Hit) -> Duplicate:
    chunk, document = hit.chunk, hit.document
    return Duplicate(
        chunk_id=chunk.id, document_id=document.id, path=document.path, url=document.url, anchor=chunk.anchor
    )
