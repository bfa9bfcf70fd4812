"""Rerankers: hits in another order.

None drops a hit: what a reranker has not looked at, or not named, stands behind the others in the order that was given, and one
that fails gives that order back and says why. A ranking that a model was too slow for is still the retriever's.

Maximal marginal relevance is the core's: inside its snapshot when nothing else reranks, so that the pool's vectors
never cross the border; through this module after another reranker, by the same kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clockify_rag.contracts import Failure, Hit, Query, Reranking, Step
from clockify_rag.errors import BackendError, InvalidSetting

if TYPE_CHECKING:
    from clockify_rag.contracts import Vectors

STAGE = "rerank"
"""The stage's word in a trace."""


class NoReranker:
    """Leaves the order as it is (reranker ``none``)."""

    def rerank(
        self,
        query: Query,  # noqa: ARG002 - the Protocol's
        hits: Sequence[Hit],
        *,
        top_k: int,  # noqa: ARG002 - the Protocol's
    ) -> Reranking:
        """Return the hits.

        Args:
            query: not used.
            hits: best first.
            top_k: not used.
        """
        return Reranking(hits=tuple(hits))


class MmrReranker:
    """Maximal marginal relevance (Carbonell and Goldstein, 1998): relevant, and unlike what was already taken.

    Args:
        mmr_lambda: 1 is relevance only, 0 is novelty only.
        vectors: given chunk ids returns their vectors, float32 of shape ``(len(ids), dimension)``, with a row of zeros
            for a chunk that has none. Without it the order stays as it is.
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
    ) -> Reranking:
        """Return the hits in the order in which they are taken, the first ``top_k`` of them, and then the others.

        Args:
            query: not used: the hits' scores say how relevant they are.
            hits: best first.
            top_k: how many are taken at most.
        """
        if self._vectors is None or self.mmr_lambda == 1 or len(hits) <= 1:
            return Reranking(hits=tuple(hits))
        from clockify_rag import _core

        vectors = self._vectors([hit.chunk.id for hit in hits])
        scores = [hit.score for hit in hits]
        if scores != sorted(scores, reverse=True):
            # Whatever ordered the hits did not score them all, so their places are what is known of their relevance.
            scores = [1 - place / len(hits) for place in range(len(hits))]
        return Reranking(hits=in_order(hits, _core.mmr(scores, vectors, self.mmr_lambda, top_k)))


def in_order(hits: Sequence[Hit], first: Sequence[int]) -> tuple[Hit, ...]:
    """Return all hits: those at the places ``first``, then the others in their order."""
    taken = set(first)
    return tuple(hits[row] for row in (*first, *(row for row in range(len(hits)) if row not in taken)))


def unmoved(hits: Sequence[Hit], name: str, error: BackendError, details: Mapping[str, Any]) -> Reranking:
    """Return the hits as they were, because the reranker ``name`` failed; ``details`` are the step's."""
    failure = Failure(code=error.code, message=error.message, hint=error.hint)
    step = Step(stage=STAGE, name=name, details={**details, "failed": error.code})
    return Reranking(hits=tuple(hits), steps=(step,), failure=failure)
