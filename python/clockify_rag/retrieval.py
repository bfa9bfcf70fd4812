"""Finding the chunks that answer a question, and saying how much evidence there is that any does.

Everything a question costs happens in one call into the core, without the interpreter's lock: analysis, both retrievers,
fusion with the whole document's evidence, and MMR where it is the only reranker. What is left here is to turn rows into hits.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from clockify_rag import _core
from clockify_rag.contracts import Evidence, Hit, Query, Scores, SearchResult, Step
from clockify_rag.index import EmbedderEntry, LocalIndex, OpenGeneration, check_compatible, decode_chunk

if TYPE_CHECKING:
    from clockify_rag._core import Found, _FoundRow
    from clockify_rag.contracts import Embedder

EXCLUDED = ("kind=hub",)
"""Chunks that are no answer: pages that are only links. A filter on ``kind`` brings them back."""

DENSE_WEIGHTS: Mapping[str, float] = {"static": 1.8, "minilm": 2.3}
"""The weight of the cosine in fusion, by embedder; 1 for those that were not measured."""


class HybridRetriever:
    """BM25F and dense vectors over one index, fused.

    Args:
        index: what is searched.
        embedder: what embeds questions; ``None`` to search by words only.
        entry: the embedder's name, fingerprint and dimension, compared with the index's.
        settings: ``[retrieval]`` of the configuration.
        mmr_lambda: the trade-off of MMR where it is the only reranker, else ``None``.
    """

    def __init__(
        self,
        index: LocalIndex,
        embedder: Embedder | None,
        entry: EmbedderEntry | None,
        settings: Any,
        mmr_lambda: float | None = None,
    ) -> None:
        self._index = index
        self._embedder = embedder
        self._entry = entry
        self._settings = settings
        self._mmr_lambda = mmr_lambda
        self._compatible: int | None = None
        self._options: dict[int, _core.SearchOptions] = {}

    def options(self, top_k: int) -> _core.SearchOptions:
        """Return how the core searches for ``top_k`` hits with these settings."""
        options = self._options.get(top_k)
        if options is None:
            options = self._options[top_k] = self._make_options(top_k)
        return options

    def _make_options(
        self, top_k: int, candidates: int | None = None, *, repeats: bool = True, diverse: bool = True
    ) -> _core.SearchOptions:
        settings = self._settings
        return _core.SearchOptions(
            top_k=top_k,
            candidates=max(settings.candidates, top_k) if candidates is None else candidates,
            k1=settings.k1,
            b=(settings.b, settings.b, settings.b),
            weights=(settings.title_weight, settings.heading_weight, settings.body_weight),
            dense_weight=self.dense_weight,
            document_weight=settings.document_weight,
            repeat_weight=settings.repeat_weight if repeats else 1.0,
            mmr_lambda=self._mmr_lambda if diverse else None,
            dense=settings.dense,
        )

    @property
    def dense_weight(self) -> float:
        """The weight of the cosine in fusion."""
        if self._settings.dense_weight is not None:
            return float(self._settings.dense_weight)
        component, _, model = ("" if self._entry is None else self._entry.name.lower()).partition(":")
        name = model.rstrip("/").rpartition("/")[2]
        return next((w for known, w in DENSE_WEIGHTS.items() if known == component or known in name), 1.0)

    def retrieve(self, query: Query, *, top_k: int, opened: OpenGeneration | None = None) -> SearchResult:
        """Return the best hits, at most ``top_k``, best first.

        Args:
            query: what is asked.
            top_k: hits at most.
            opened: the generation to search; by default the one that is open.

        Raises:
            IndexIncompatible: the index was made by another analyser or embedder.
            IndexCorrupt: bytes that the question needs are not what was written.
        """
        opened = opened or self._index.opened
        found, embedded = self._search(query, self.options(top_k), opened)
        hits = tuple(_hit(opened, rank, row) for rank, row in enumerate(found.rows, 1))
        timings = found.timings_ms if embedded is None else {**found.timings_ms, "embed": embedded}
        return SearchResult(
            question=query.question,
            generation=opened.snapshot.generation,
            hits=hits,
            timings_ms=timings,
            evidence=_evidence(found, opened.snapshot.documents),
            lexical_only=not self._has_vectors(opened),
            steps=(self._step(query, found, len(hits)),),
        )

    def ranking(
        self,
        query: Query,
        opened: OpenGeneration,
        top_k: int,
        candidates: int,
        *,
        repeats: bool = True,
        diverse: bool = True,
    ) -> Found:
        """Return what the core finds with other limits, or before one of its steps: what explanations are made of.

        Args:
            query: what is asked.
            opened: the generation to search.
            top_k: hits at most.
            candidates: taken from each retriever, at most.
            repeats: whether a section's further chunks count less.
            diverse: whether MMR orders the hits.
        """
        return self._search(query, self._make_options(top_k, candidates, repeats=repeats, diverse=diverse), opened)[0]

    def _has_vectors(self, opened: OpenGeneration) -> bool:
        return self._embedder is not None and opened.snapshot.embedder is not None

    def _search(self, query: Query, options: _core.SearchOptions, opened: OpenGeneration) -> tuple[Found, float | None]:
        """What the core finds, and the milliseconds that an embedder outside it took."""
        snapshot = opened.snapshot
        if self._compatible != snapshot.generation:
            check_compatible(snapshot, self._entry, lexical=self._embedder is None)
            self._compatible = snapshot.generation
        embedder: _core.StaticEmbedder | None = None
        vector, embedded = None, None
        if self._embedder is not None and snapshot.embedder is not None:
            embedder = getattr(self._embedder, "core", None)
            if embedder is None:
                started = time.perf_counter()
                vector = self._embedder.embed_questions([query.text])[0]
                embedded = round((time.perf_counter() - started) * 1000, 3)
        found = snapshot.search(
            query.text,
            query.language,
            filter_groups(query),
            excluded_values(query),
            options,
            embedder=embedder,
            vector=vector,
            excluded_documents=query.excluded_documents,
            **({"expansions": [(one.text, one.weight) for one in query.expansions]} if query.expansions else {}),
        )
        return found, embedded

    def _step(self, query: Query, found: Found, hits: int) -> Step:
        """What was searched, and how: a line of the trace."""
        settings, is_dense = self._settings, found.dense_path is not None
        details: dict[str, Any] = {
            "filters": filter_groups(query),
            "excluded": excluded_values(query),
            "candidates": settings.candidates,
            "dense": found.dense_path,
            "dense_weight": self.dense_weight if is_dense else None,
            "document_weight": settings.document_weight,
            "repeat_weight": settings.repeat_weight,
            "mmr_lambda": self._mmr_lambda if is_dense else None,
            "hits": hits,
        }
        if query.excluded_documents:
            details["excluded_documents"] = len(query.excluded_documents)
        return Step(stage="retrieve", name="hybrid" if is_dense else "lexical", details=details)


def filter_groups(query: Query) -> list[list[str]]:
    """Return the values, as ``field=value``, of each group of which a chunk must have one."""
    return [[f"{field}={value}" for value in values] for field, values in query.filters.items()]


def excluded_values(query: Query) -> list[str]:
    """Return the values, as ``field=value``, that a chunk must not have."""
    return [] if "kind" in query.filters else list(EXCLUDED)


def _evidence(found: Found, documents: int) -> Evidence:
    coverage, title_coverage, mass, lexical_margin, cosine, cosine_margin, agreement = found.evidence
    return Evidence(
        idf_coverage=coverage,
        title_coverage=title_coverage,
        covered_mass=mass,
        lexical_margin=lexical_margin,
        best_cosine=cosine,
        cosine_margin=cosine_margin,
        agreement=agreement,
        documents=documents,
        dense_path=found.dense_path,
    )


def _hit(opened: OpenGeneration, rank: int, row: _FoundRow) -> Hit:
    record, text, document, score, fused, bm25, cosine, document_bm25, document_cosine = row
    return Hit(
        rank=rank,
        score=score,
        chunk=decode_chunk(record, text),
        document=opened.document(document),
        scores=Scores(
            bm25=bm25, cosine=cosine, document_bm25=document_bm25, document_cosine=document_cosine, fused=fused
        ),
    )
