"""Rerankers: hits in another order.

Maximal marginal relevance is the core's: inside its snapshot when nothing else reranks, so that the pool's vectors
never cross the border; through this module after another reranker, by the same kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from clockify_rag.contracts import Hit, Query
from clockify_rag.errors import InvalidSetting

if TYPE_CHECKING:
    from clockify_rag.contracts import Vectors


class NoReranker:
    """Leaves the order as it is."""

    def rerank(
        self,
        query: Query,  # noqa: ARG002 - the Protocol's
        hits: Sequence[Hit],
        *,
        top_k: int,
    ) -> list[Hit]:
        """Return the first ``top_k`` hits.

        Args:
            query: not used.
            hits: best first.
            top_k: how many are returned at most.
        """
        return _renumbered(hits[:top_k])


class MmrReranker:
    """Maximal marginal relevance (Carbonell and Goldstein, 1998): relevant, and unlike what was already taken.

    Args:
        mmr_lambda: 1 is relevance only, 0 is novelty only.
        vectors: given chunk ids returns their vectors, float32 of shape ``(len(ids), dimension)``, with a row of zeros
        for a
            chunk that has none. Without it the order stays as it is.
    """

    def __init__(self, mmr_lambda: float = 0.98, *, vectors: Callable[[Sequence[str]], Vectors] | None = None) -> None:
        if not 0 <= mmr_lambda <= 1:
            raise InvalidSetting(f"mmr_lambda is {mmr_lambda}, and must be between 0 and 1", setting="mmr_lambda")
        self.mmr_lambda = mmr_lambda
        self._vectors = vectors

    def rerank(
        self,
        query: Query,  # noqa: ARG002 - the Protocol's
        hits: Sequence[Hit],
        *,
        top_k: int,
    ) -> list[Hit]:
        """Return at most ``top_k`` hits in the order in which they are taken.

        Args:
            query: not used: the hits' scores say how relevant they are.
            hits: best first.
            top_k: how many are returned at most.
        """
        if self._vectors is None or self.mmr_lambda == 1 or len(hits) <= 1:
            return _renumbered(hits[:top_k])
        from clockify_rag import _core

        vectors = self._vectors([hit.chunk.id for hit in hits])
        scores = [hit.score for hit in hits]
        if scores != sorted(scores, reverse=True):
            # Whatever ordered the hits did not score them, so their places are what is known of their relevance.
            scores = [1 - place / len(hits) for place in range(len(hits))]
        order = _core.mmr(scores, vectors, self.mmr_lambda, top_k)
        return _renumbered([hits[row] for row in order])


def _renumbered(hits: Sequence[Hit]) -> list[Hit]:
    return [msgspec.structs.replace(hit, rank=rank) for rank, hit in enumerate(hits, 1)]
