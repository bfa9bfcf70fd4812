"""Packing: which hits a generator is shown, how much of their sections, and in which order.

Whole, until the budget is spent: a smaller model with five whole sections answers better than with ten halves. A hit that does not
fit is left out and the next is tried, except the best one, which is always shown, cut at a sentence when it alone is too long.
Pages that are only links are not shown where there is anything else, because nothing can be quoted from them.

Packers differ in two things: who comes first to the budget, and the order in which what got in is shown. What they share is that
nothing is shown twice, that hits of one section are one text, and that what the budget has left can go to what stands around them.
Tokens are the generator's own where it counts them, else those of the shipped vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from clockify_rag import sentences
from clockify_rag.contracts import Chunk, Context, Hit, Query, Step
from clockify_rag.embedding import shipped_tokenizer, windows
from clockify_rag.errors import InvalidSetting
from clockify_rag.packing.pieces import Piece, Section, section, united, without

Count = Callable[[Sequence[str]], Sequence[int]]
"""Returns the number of tokens of each text."""

ChunksOf = Callable[[str], Sequence[Chunk]]
"""Returns the chunks of the document with an id, in reading order."""

WHOLE_ARTICLES = ("never", "how-to", "always")
"""Of which kinds of questions the best hit's whole page is shown where it fits."""

_ALIKE = 0.5


class RelevancePacker:
    """Takes the best hits under a budget of tokens and shows them best first (packer ``by-relevance``).

    Args:
        budget_tokens: the tokens of all texts shown.
        pack_top: how many hits are shown at most; what stands around them is not counted.
        neighbours: how many chunks before and after a hit, of its own section, are shown besides, as long as the budget lasts.
        whole_articles: whether the whole page of the best hit is shown where it fits: ``never``, for questions of kind
            ``how-to``, or ``always``.
    """

    name = "by-relevance"

    def __init__(
        self,
        budget_tokens: int = 3000,
        pack_top: int = 6,
        *,
        neighbours: int = 0,
        whole_articles: Literal["never", "how-to", "always"] = "never",
    ) -> None:
        for name, value, least in (
            ("budget_tokens", budget_tokens, 1),
            ("pack_top", pack_top, 1),
            ("neighbours", neighbours, 0),
        ):
            if value < least:
                raise InvalidSetting(f"{name} of the packer is {value}, and must be at least {least}", setting=name)
        if whole_articles not in WHOLE_ARTICLES:
            raise InvalidSetting(
                f"whole_articles of the packer is {whole_articles!r}",
                hint=f"there are: {', '.join(WHOLE_ARTICLES)}",
                setting="whole_articles",
            )
        self.budget_tokens = budget_tokens
        self.pack_top = pack_top
        self.neighbours = neighbours
        self.whole_articles = whole_articles

    def pack(
        self, query: Query, hits: Sequence[Hit], *, chunks_of: ChunksOf | None = None, count: Count | None = None
    ) -> Context:
        """Return the hits that fit.

        Args:
            query: what is asked; its kind decides whether a whole page is wanted.
            hits: best first.
            chunks_of: reads the chunks of a page; without it nothing is shown but hits.
            count: counts tokens as the generator does; without it those of the shipped vocabulary are counted.
        """
        quotable = [hit for hit in hits if hit.chunk.kind != "hub"] or list(hits)
        packing = _Packing(self.budget_tokens, count)
        candidates = _with_parts(query, self.candidates(quotable), self.pack_top)
        article = 0
        for place, hit in enumerate(candidates):
            packing.add(hit, [hit.chunk])
            if place == 0:
                article = self._add_article(query, hit, packing, chunks_of)
        around = self._add_neighbours(packing, chunks_of)
        pieces = self.shown(packing.pieces)
        dropped = sum(not packing.shows(hit.chunk) for hit in candidates)
        details = {
            "hits": [piece.hit.rank for piece in pieces],
            "tokens": packing.used,
            "budget_tokens": self.budget_tokens,
            "pack_top": self.pack_top,
            "dropped": dropped,
        }
        if article or around:
            details |= {"of_the_article": article, "around": around}
        step = Step(stage="pack", name=self.name, details=details)
        return Context(
            hits=tuple(piece.hit for piece in pieces),
            texts=tuple(piece.text for piece in pieces),
            tokens=packing.used,
            dropped=dropped,
            steps=(step,),
        )

    def candidates(self, hits: Sequence[Hit]) -> list[Hit]:
        """Return hits, best first, in the order in which they come to the budget; the best stays the first."""
        return list(hits)

    def shown(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return what got into the budget, in the order in which it did, in the order in which it is shown."""
        return list(pieces)

    def _add_article(self, query: Query, best: Hit, packing: _Packing, chunks_of: ChunksOf | None) -> int:
        """Add the rest of the best hit's page where all of it fits, before other pages; return of how many chunks."""
        wanted = self.whole_articles == "always" or (self.whole_articles == "how-to" and query.kind == "how-to")
        if not wanted or chunks_of is None:
            return 0
        rest = [chunk for chunk in chunks_of(best.document.id) if chunk.kind != "hub" and not packing.shows(chunk)]
        return packing.add(best, rest) if rest else 0

    def _add_neighbours(self, packing: _Packing, chunks_of: ChunksOf | None) -> int:
        """Add what stands around each hit in its section, nearest first, while it fits; return how many chunks."""
        if not self.neighbours or chunks_of is None:
            return 0
        added = 0
        for hit in [piece.hit for piece in packing.pieces]:
            own = [chunk for chunk in chunks_of(hit.document.id) if section(chunk) == section(hit.chunk)]
            places = {chunk.id: place for place, chunk in enumerate(own)}
            if (place := places.get(hit.chunk.id)) is None:
                continue
            for distance in range(1, self.neighbours + 1):
                near = [own[row] for row in (place + distance, place - distance) if 0 <= row < len(own)]
                added += sum(packing.add(hit, [chunk]) for chunk in near if not packing.shows(chunk))
        return added


class DocumentPacker(RelevancePacker):
    """Shows page by page, each in reading order, the page of the best hit first (packer ``by-document``).

    Who gets in is decided by relevance.
    """

    name = "by-document"

    def shown(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return pieces by page and, within it, by place."""
        pages = list(dict.fromkeys(piece.hit.document.id for piece in pieces))
        return sorted(pieces, key=lambda piece: (pages.index(piece.hit.document.id), piece.hit.chunk.spans))


class DiversePacker(RelevancePacker):
    """Takes the best hit of each page, then the second best of each, and so on (packer ``diverse``)."""

    name = "diverse"

    def candidates(self, hits: Sequence[Hit]) -> list[Hit]:
        """Return hits in turns of pages."""
        return _in_turns(hits, [hit.document.id for hit in hits])


class ClusteredPacker(RelevancePacker):
    """Takes the best hit on each subject, then the second best, and shows them subject by subject (packer ``clustered``).

    Two hits are on one subject when the shorter shares half of its informative words with the longer, or a third is on one with
    both: single linkage over the few hits that there are.
    """

    name = "clustered"

    def candidates(self, hits: Sequence[Hit]) -> list[Hit]:
        """Return hits in turns of subjects."""
        return _in_turns(hits, _subjects(hits))

    def shown(self, pieces: Sequence[Piece]) -> list[Piece]:
        """Return pieces subject by subject, that of the best first."""
        subjects = _subjects([piece.hit for piece in pieces])
        order = sorted(range(len(pieces)), key=lambda row: (subjects.index(subjects[row]), row))
        return [pieces[row] for row in order]


class _Packing:
    """Pieces under a budget, while they are collected."""

    def __init__(self, budget: int, count: Count | None) -> None:
        self._budget = budget
        self._count = count
        self._parts: dict[Section, list[Chunk]] = {}
        self._pieces: dict[Section, Piece] = {}
        self._shown: set[str] = set()
        """Ids of the chunks that are shown, or whose text is."""
        self.used = 0

    @property
    def pieces(self) -> list[Piece]:
        return list(self._pieces.values())

    def shows(self, chunk: Chunk) -> bool:
        return chunk.id in self._shown

    def add(self, hit: Hit, chunks: Sequence[Chunk]) -> int:
        """Show chunks of the page of ``hit`` for its sake, all of them or none; return how many were added."""
        parts: dict[Section, list[Chunk]] = {}
        for chunk in chunks:
            parts.setdefault(section(chunk), [*self._parts.get(section(chunk), ())]).append(chunk)
        pieces = {**self._pieces}
        for key, of_section in parts.items():
            if (piece := self._piece(hit, of_section, pieces)) is not None:
                pieces[key] = piece
        used = sum(piece.tokens for piece in pieces.values())
        if used > self._budget:
            if self._pieces:
                return 0
            ((key, piece),) = pieces.items()
            text, used = self._beginning(piece.text)
            pieces[key] = msgspec.structs.replace(piece, text=text, tokens=used)
        self._pieces, self.used = pieces, used
        self._parts |= parts
        self._shown.update(chunk.id for chunk in chunks)
        return len(chunks)

    def _piece(self, hit: Hit, parts: Sequence[Chunk], pieces: Mapping[Section, Piece]) -> Piece | None:
        """What is shown of a section with these chunks beside the pieces there are; ``None`` where that is nothing new."""
        first, key = parts[0], section(parts[0])
        known = pieces.get(key)
        if known is not None and known.text != known.hit.chunk.text:
            return None
        others = [piece for other, piece in pieces.items() if other != key]
        spans = [span for piece in others if piece.hit.document.id == key[0] for span in piece.hit.chunk.spans]
        chunk = without(first if len(parts) == 1 else united(first, parts[1:]), spans)
        if chunk is None or any(piece.text == chunk.text for piece in pieces.values()):
            return None
        tokens = chunk.tokens if chunk is first and self._count is None else self._counted([chunk.text])[0]
        best = hit if known is None else known.hit
        shown = best if best.chunk is chunk else msgspec.structs.replace(best, chunk=chunk)
        return Piece(shown, chunk.text, tokens)

    def _counted(self, texts: Sequence[str]) -> Sequence[int]:
        return (self._count or shipped_tokenizer().count)(texts)

    def _beginning(self, text: str) -> tuple[str, int]:
        """Return the first sentences of ``text`` that fit, or the first words where no sentence does; and their tokens."""
        spans = sentences.units(text)
        counts = self._counted([text[start:end] for start, end in spans])
        end = used = 0
        for span, tokens in zip(spans, counts, strict=True):
            if used + tokens > self._budget:
                break
            end, used = span[1], used + tokens
        if end:
            return text[:end], used
        piece, used = next(windows(text, self._budget, _Counter(self._counted)), ("", 0))
        # A piece ends where white space begins, so it is the text's own beginning but for white space at its start.
        return text[: len(text) - len(text.lstrip()) + len(piece)], used


def _with_parts(query: Query, candidates: Sequence[Hit], count: int) -> list[Hit]:
    """Return the first ``count`` candidates; of a question that was taken apart the one that says most of each part is among them.

    Those come behind the first one, before the others, because a part that the rest of the question has nothing to do with would
    else be outvoted.
    """
    texts = ["\n".join([hit.document.title, *hit.chunk.heading_path, hit.chunk.text]) for hit in candidates]
    rows = [0] if candidates else []
    for part in query.parts:
        overlap = sentences.Overlap(part, texts)
        shares = [overlap.share(found) for found in overlap.found]
        best = max(range(len(candidates)), key=lambda row: (shares[row], -row), default=None)
        if best is not None and shares[best] > 0:
            rows.append(best)
    return [candidates[row] for row in dict.fromkeys([*rows, *range(len(candidates))])][:count]


class _Counter:
    """A function that counts, as what has one."""

    def __init__(self, count: Count) -> None:
        self._count = count

    def count(self, texts: Sequence[str]) -> list[int]:
        return list(self._count(texts))


def _in_turns(hits: Sequence[Hit], groups: Sequence[str | int]) -> list[Hit]:
    """Return the first hit of each group, then the second of each, groups in the order of their first."""
    turns: dict[str | int, int] = {}
    firsts = list(dict.fromkeys(groups))
    keys = []
    for row, group in enumerate(groups):
        turn = turns[group] = turns.get(group, 0) + 1
        keys.append((turn, firsts.index(group), row))
    return [hits[row] for _, _, row in sorted(keys)]


def _subjects(hits: Sequence[Hit]) -> list[int]:
    """Return for each hit the number of its subject."""
    words = [set(sentences.informative(hit.chunk.text)) for hit in hits]
    subjects = list(range(len(hits)))
    for one, other in _pairs(len(hits)):
        shorter = min(len(words[one]), len(words[other]))
        if shorter and len(words[one] & words[other]) >= _ALIKE * shorter:
            old, new = sorted((subjects[one], subjects[other]), reverse=True)
            subjects = [new if subject == old else subject for subject in subjects]
    return subjects


def _pairs(count: int) -> Iterator[tuple[int, int]]:
    return ((one, other) for other in range(count) for one in range(other))
