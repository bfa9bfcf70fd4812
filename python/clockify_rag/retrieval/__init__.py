"""Finding the chunks that answer a question, and saying how much evidence there is that any does.

Everything a question costs happens in one call into the core, without the interpreter's lock: analysis, both retrievers,
fusion with the whole document's evidence, and MMR where it is the only reranker. What is left here is to turn rows into hits, and
to fold those that say the same (``shaping``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from clockify_rag import _core
from clockify_rag.contracts import Evidence, Hit, Query, Scores, SearchResult, Step
from clockify_rag.index import EmbedderEntry, LocalIndex, OpenGeneration, check_compatible, decode_chunk
from clockify_rag.retrieval.shaping import folded, numbered, share

if TYPE_CHECKING:
    from clockify_rag._core import Found, _FoundRow
    from clockify_rag.contracts import Embedder

EXCLUDED = ("kind=hub",)
"""Chunks that are no answer: pages that are only links. A filter on ``kind`` brings them back."""

MORE_HITS = 2
"""How many times as many hits are asked for where too many of those that were wanted are folded: most searches fold none."""

MAXIMUM_POOL = 10_000
"""The most hits that are asked for to find enough pages."""

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
        self._options: dict[tuple[int, int], _core.SearchOptions] = {}

    def options(self, top_k: int, candidates: int | None = None) -> _core.SearchOptions:
        """Return how the core searches for ``top_k`` hits with these settings, by default among as many as are configured."""
        pool = max(self._settings.candidates, top_k) if candidates is None else candidates
        options = self._options.get((top_k, pool))
        if options is None:
            options = self._options[top_k, pool] = self._make_options(top_k, pool)
        return options

    def _make_options(self, top_k: int, candidates: int) -> _core.SearchOptions:
        settings = self._settings
        return _core.SearchOptions(
            top_k=top_k,
            candidates=candidates,
            k1=settings.k1,
            b=(settings.b, settings.b, settings.b),
            weights=(settings.title_weight, settings.heading_weight, settings.body_weight),
            dense_weight=self.dense_weight,
            document_weight=settings.document_weight,
            repeat_weight=settings.repeat_weight,
            mmr_lambda=self._mmr_lambda,
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
        snapshot = opened.snapshot
        if self._compatible != snapshot.generation:
            check_compatible(snapshot, self._entry, lexical=self._embedder is None)
            self._compatible = snapshot.generation
        started = time.perf_counter()
        embedder: _core.StaticEmbedder | None = None
        vector = None
        if self._embedder is not None and snapshot.embedder is not None:
            embedder = getattr(self._embedder, "core", None)
            if embedder is None:
                vector = self._embedder.embed_questions([query.text])[0]
        embedded = time.perf_counter()
        groups = [[f"{field}={value}" for value in values] for field, values in query.filters.items()]
        excluded = [] if "kind" in query.filters else list(EXCLUDED)

        def search(options: _core.SearchOptions) -> Found:
            return snapshot.search(
                query.text,
                query.language,
                groups,
                excluded,
                options,
                embedder=embedder,
                vector=vector,
                excluded_documents=query.excluded_documents,
            )

        found, hits, steps = self._shaped(search, opened, top_k)
        timings = found.timings_ms
        if vector is not None:
            timings["embed"] = round((embedded - started) * 1000, 3)
        return SearchResult(
            question=query.question,
            generation=snapshot.generation,
            hits=hits,
            timings_ms=timings,
            steps=steps,
            evidence=_evidence(found, snapshot.documents),
            lexical_only=embedder is None and vector is None,
        )

    def _shaped(
        self, search: Callable[[_core.SearchOptions], Found], opened: OpenGeneration, top_k: int
    ) -> tuple[Found, tuple[Hit, ...], tuple[Step, ...]]:
        """Search, fold what says the same and bound what one page has, until there are enough hits or no more.

        Returns what the core found at first, which the evidence is from, the hits, and what was done.
        """
        fold, per_document = self._settings.fold_duplicates, self._settings.per_document
        asked, pool = top_k, max(self._settings.candidates, top_k)
        first = found = search(self.options(asked, pool))
        while True:
            hits = [_hit(opened, rank, row) for rank, row in enumerate(found.rows, 1)]
            kept = folded(hits) if fold else hits
            within, beyond = share(kept, per_document)
            if len(within) >= top_k or len(hits) < min(asked, pool) or asked >= MAXIMUM_POOL:
                break
            asked = min(asked * MORE_HITS, MAXIMUM_POOL)
            pool = max(pool, asked)
            found = search(self.options(asked, pool))
        returned = [*within, *beyond][:top_k]
        steps = []
        if duplicates := sum(len(hit.duplicates) for hit in returned):
            steps.append(Step(stage="retrieve", name="fold", details={"duplicates": duplicates}))
        if behind := sum(hit.rank < returned[-1].rank for hit in beyond) if returned else 0:
            steps.append(Step(stage="retrieve", name="per_document", details={"behind": behind}))
        return first, numbered(returned), tuple(steps)


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
