"""One question ranked again with limits and steps taken away: what explanations are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import msgspec

from clockify_rag.contracts import Context
from clockify_rag.errors import InvalidSetting
from clockify_rag.index import decode_chunk
from clockify_rag.retrieval import HybridRetriever, excluded_values, weighted_texts

if TYPE_CHECKING:
    from clockify_rag._core import Found
    from clockify_rag.index import OpenGeneration
    from clockify_rag.pipeline import Pipeline


PREFERENCES: Final = ("alternatives", "glossary")
"""Steps of retrieval that put other hits before those of the question's own ranking."""


class Rankings:
    """One question, ranked with each of the core's limits and steps taken away in turn."""

    def __init__(
        self,
        pipeline: Pipeline,
        question: str,
        top_k: int | None,
        filters: Mapping[str, Sequence[str]] | None,
        *,
        lexical: bool,
        opened: OpenGeneration | None = None,
    ) -> None:
        self.pipeline = pipeline
        settings = pipeline.settings.retrieval
        self.top_k = settings.top_k if top_k is None else top_k
        opened = opened or pipeline.index.opened
        self.query, self.result = pipeline.search_in(opened, question, top_k, filters, lexical=lexical)
        self.opened: OpenGeneration = opened
        retriever = pipeline.retriever_of(self.query, lexical=lexical)
        if not isinstance(retriever, HybridRetriever):
            raise InvalidSetting(
                f"the retriever {settings.retriever} does not explain its ranking", hint="the retriever hybrid does"
            )
        self.retriever = retriever
        self.reranked = bool(pipeline.rerankers)
        self.preferred = any(step.stage == "retrieve" and step.name in PREFERENCES for step in self.result.steps)
        self.candidates = max(settings.candidates, self.top_k)
        pool = 2 * self.candidates
        self.fused = self._ranking(pool, self.candidates, repeats=False, diverse=False)
        self.repeated = self._ranking(pool, self.candidates, diverse=False)
        everything = max(opened.snapshot.chunks, 1)
        self.everything = self._ranking(everything, everything, repeats=False, diverse=False)

    def _ranking(self, top_k: int, candidates: int, *, repeats: bool = True, diverse: bool = True) -> Found:
        return self.retriever.ranking(self.query, self.opened, top_k, candidates, repeats=repeats, diverse=diverse)

    @cached_property
    def context(self) -> Context:
        """What a generator is shown."""
        if not self.result.hits:
            return Context(hits=(), texts=(), tokens=0)
        writer = self.pipeline.generator(self.pipeline.settings.generation.generator)
        return self.pipeline.packed(self.query, self.result, writer)

    @cached_property
    def diverse(self) -> dict[str, int]:
        """Each candidate's place in the whole order of MMR, where the core diversifies."""
        found = self._ranking(self.candidates, self.candidates)
        return {hit: rank for rank, hit in enumerate(_ids(found), 1)}

    def repeated_score(self, rank: int) -> float:
        """The score of the candidate of that place, from 1, before MMR; of the last where there are fewer."""
        rows = self.repeated.rows
        return rows[min(rank, len(rows)) - 1][3]

    def bm25(self, chunk_id: str) -> Mapping[str, Any]:
        """BM25F of a chunk and its page in the textbook's letters."""
        explained = self.opened.snapshot.explain(
            self.query.text,
            self.query.language,
            excluded_values(self.query),
            self.retriever.options(self.top_k),
            chunk_id,
            weighted_texts(self.query),
        )
        decoded: Mapping[str, Any] = msgspec.json.decode(explained)
        return decoded


def _ids(found: Found) -> list[str]:
    return [decode_chunk(row[0], "").id for row in found.rows]
