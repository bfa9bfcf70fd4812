"""What a ranking becomes before it is returned: what says the same counts once, and one page does not take all places.

Nothing is lost by either. A hit that is folded into a better one is named there, in ``duplicates``; hits of a page that has its share
already stand behind those of all others, so that they are returned where there is nothing else.

What says the same has the same words in the same order, or the same address. Texts that resemble each other are two: one word is what
tells ``can`` from ``cannot``, one plan from another and this year's page from last year's, and on none of five collections did folding
them help. A short text says nothing without its heading (``Yes, on all plans``), so it is folded only under the same one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from clockify_rag.contracts import Duplicate, Hit

SELF_CONTAINED_TOKENS = 40
"""A text of fewer tokens is the same as another only under the same heading."""


def folded(hits: Iterable[Hit], wanted: int | None = None) -> list[Hit]:
    """Return the hits without those that say what a better one says; that one names them.

    Args:
        hits: best first; their ranks stay as they are.
        wanted: how many are enough; those after them are not looked at.
    """
    kept: list[Hit] = []
    duplicates: dict[int, list[Duplicate]] = {}
    texts: dict[tuple[str, str], int] = {}
    places: dict[tuple[str, str | None], tuple[int, str]] = {}
    alike: dict[int, list[int]] = {}
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
        if same is None and chunk.tokens >= SELF_CONTAINED_TOKENS:
            # Case and white space change no number of tokens, so few texts are compared.
            rows = alike.get(chunk.tokens, ())
            same = next((row for row in rows if _plain(kept[row].chunk.text) == _plain(chunk.text)), None)
        if same is not None:
            duplicates.setdefault(same, [*kept[same].duplicates]).append(_duplicate(hit))
            continue
        row = len(kept)
        kept.append(hit)
        texts[text] = row
        if len(kept) == wanted:
            break
        places.setdefault(place, (row, document.id))
        alike.setdefault(chunk.tokens, []).append(row)
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


def _plain(text: str) -> list[str]:
    """A text as it is compared: without regard to case and white space."""
    return text.casefold().split()


def _duplicate(hit: Hit) -> Duplicate:
    chunk, document = hit.chunk, hit.document
    return Duplicate(
        chunk_id=chunk.id,
        document_id=document.id,
        path=document.path,
        url=document.url,
        anchor=chunk.anchor,
        heading_path=chunk.heading_path,
    )
