"""Finding the chunks that answer a question, and saying how much evidence there is that any does.

Everything a question costs happens in one call into the core, without the interpreter's lock: analysis, both retrievers,
fusion with the whole document's evidence, and MMR where it is the only reranker. What is left here is to turn rows into hits, and
to fold those that say the same (``shaping``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from clockify_rag import _core
from clockify_rag.contracts import Evidence, Hit, Query, Scores, SearchResult, Step
from clockify_rag.index import EmbedderEntry, LocalIndex, OpenGeneration, check_compatible, decode_chunk
from clockify_rag.retrieval.shaping import folded, numbered, share

if TYPE_CHECKING:
    from clockify_rag._core import Found, _FoundRow
    from clockify_rag.contracts import Embedder

EXCLUDED = ("kind=hub", "kind=image")
"""Chunks that are no answer: pages that are only links, and what describes images, which the text around them has too. A filter on
``kind`` brings them back."""

SPARE_HITS = 4
"""So many more hits are asked for than are wanted, because of those some may be folded: to search again costs more."""

MORE_HITS = 2
"""How many times as many hits are asked for where those were not enough."""

MAXIMUM_POOL = 10_000
"""The most hits that are asked for to find enough pages."""

DENSE_WEIGHTS: Mapping[str, float] = {"static": 1.8, "minilm": 2.3}
"""The weight of the cosine in fusion, by embedder; 1 for those that were not measured."""

FUSED_DEPTH = 50
"""Hits of each text that rankings are fused from."""

ALTERNATIVES_WEIGHT = 1.0
"""What all alternatives together count beside the question."""

RECIPROCAL_RANK_K = 60.0
"""The constant of reciprocal rank fusion that its paper recommends (Cormack, Clarke and Büttcher 2009)."""


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
        self.dense_weight = _dense_weight(settings.dense_weight, entry)
        """The weight of the cosine in fusion."""
        self._options: dict[tuple[int, int], _core.SearchOptions] = {}

    def options(self, top_k: int, candidates: int | None = None) -> _core.SearchOptions:
        """Return how the core searches for ``top_k`` hits with these settings, by default among as many as they say."""
        pool = max(self._settings.candidates, top_k) if candidates is None else candidates
        options = self._options.get((top_k, pool))
        if options is None:
            options = self._options[top_k, pool] = self._make_options(top_k, pool)
        return options

    def _make_options(
        self, top_k: int, candidates: int, *, repeats: bool = True, diverse: bool = True
    ) -> _core.SearchOptions:
        settings = self._settings
        return _core.SearchOptions(
            top_k=top_k,
            candidates=candidates,
            k1=settings.k1,
            b=(settings.b, settings.b, settings.b),
            weights=(settings.title_weight, settings.heading_weight, settings.body_weight),
            dense_weight=self.dense_weight,
            document_weight=settings.document_weight,
            repeat_weight=settings.repeat_weight if repeats else 1.0,
            mmr_lambda=self._mmr_lambda if diverse else None,
            dense=settings.dense,
        )

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
        vector, embedded = self._vector(query.text, opened)
        found, hits, steps = self._shaped(query, opened, top_k, vector)
        timings = found.timings_ms if embedded is None else {**found.timings_ms, "embed": embedded}
        return SearchResult(
            question=query.question,
            generation=opened.snapshot.generation,
            hits=hits,
            timings_ms=timings,
            evidence=_evidence(found, opened.snapshot.documents),
            lexical_only=not self._has_vectors(opened),
            steps=steps,
        )

    def _shaped(
        self, query: Query, opened: OpenGeneration, top_k: int, vector: Any
    ) -> tuple[Found, tuple[Hit, ...], tuple[Step, ...]]:
        """Search, fold what says the same and bound what one page has, until there are enough hits or no more.

        Returns what the core found at first, which the evidence is from, the hits, and what was done.
        """
        fold, per_document = self._settings.fold_duplicates, self._settings.per_document
        wanted = max(top_k, FUSED_DEPTH) if query.alternatives or self._prefers_glossary(query) else top_k
        pool = max(self._settings.candidates, wanted)
        asked = min(wanted + SPARE_HITS, pool) if fold else wanted
        first, count, ranked, steps = self._ranked(query, opened, self.options(asked, pool), asked, vector)
        while True:
            kept = folded(ranked, None if per_document else top_k) if fold else list(ranked)
            within, beyond = share(kept, per_document)
            if len(within) >= top_k or count < min(asked, pool) or asked >= MAXIMUM_POOL:
                break
            asked = min(asked * MORE_HITS, MAXIMUM_POOL)
            pool = max(pool, asked)
            _, count, ranked, _ = self._ranked(query, opened, self.options(asked, pool), asked, vector)
        returned = [*within, *beyond][:top_k]
        steps.insert(0, self._step(query, first, len(returned)))
        if duplicates := sum(len(hit.duplicates) for hit in returned):
            steps.append(Step(stage="retrieve", name="fold_duplicates", details={"duplicates": duplicates}))
        if beyond and (behind := sum(hit.rank < returned[-1].rank for hit in beyond)):
            steps.append(Step(stage="retrieve", name="per_document", details={"behind": behind}))
        return first, numbered(returned), tuple(steps)

    def _ranked(
        self, query: Query, opened: OpenGeneration, options: _core.SearchOptions, depth: int, vector: Any
    ) -> tuple[Found, int, Iterator[Hit], list[Step]]:
        """What the core finds, how many hits that is with those of other texts, they, and what else was done to them."""
        found = self._search(query, options, opened, vector)
        count, hits = found.counts[0], _hits(opened, found)
        steps: list[Step] = []
        if query.alternatives:
            merged = self._fused(query, tuple(hits), depth, opened)
            count, hits = len(merged), iter(merged)
            steps.append(Step(stage="retrieve", name="alternatives", details={"searched": len(query.alternatives)}))
        if self._prefers_glossary(query):
            hits = iter(boosted(tuple(hits), "glossary", self._settings.glossary_boost))
            steps.append(Step(stage="retrieve", name="glossary", details={"boost": self._settings.glossary_boost}))
        return found, count, hits, steps

    def _prefers_glossary(self, query: Query) -> bool:
        return query.kind == "definition" and self._settings.glossary_boost > 1

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
        options = self._make_options(top_k, candidates, repeats=repeats, diverse=diverse)
        return self._search(query, options, opened, self._vector(query.text, opened)[0], read=False)

    def _fused(self, query: Query, hits: tuple[Hit, ...], depth: int, opened: OpenGeneration) -> tuple[Hit, ...]:
        """The hits of the question with those of its alternatives, each searched as a question of its own."""
        rankings = [hits]
        for text in query.alternatives:
            other = msgspec.structs.replace(query, text=text, expansions=(), alternatives=())
            found = self._search(other, self.options(depth), opened, self._vector(text, opened)[0])
            rankings.append(tuple(_hits(opened, found)))
        weights = [1.0, *[ALTERNATIVES_WEIGHT / len(query.alternatives)] * len(query.alternatives)]
        return fused(rankings, weights)

    def _has_vectors(self, opened: OpenGeneration) -> bool:
        return self._embedder is not None and opened.embedder is not None

    def _vector(self, text: str, opened: OpenGeneration) -> tuple[Any, float | None]:
        """The vector of a question where an embedder outside the core makes it, and the milliseconds that took.

        The index must have been made as questions are searched, which is looked at once for each generation.
        """
        snapshot = opened.snapshot
        if self._compatible != snapshot.generation:
            check_compatible(snapshot, self._entry, lexical=self._embedder is None)
            self._compatible = snapshot.generation
        if not self._has_vectors(opened) or self._core_embedder is not None:
            return None, None
        started = time.perf_counter()
        vector = self._embedder.embed_questions([text])[0]  # type: ignore[union-attr]
        return vector, round((time.perf_counter() - started) * 1000, 3)

    @property
    def _core_embedder(self) -> _core.StaticEmbedder | None:
        embedder: _core.StaticEmbedder | None = getattr(self._embedder, "core", None)
        return embedder

    def _search(
        self, query: Query, options: _core.SearchOptions, opened: OpenGeneration, vector: Any, *, read: bool = True
    ) -> Found:
        snapshot = opened.snapshot
        return snapshot.search(
            query.text,
            query.language,
            filter_groups(query),
            excluded_values(query),
            options,
            embedder=self._core_embedder if self._has_vectors(opened) else None,
            vector=vector,
            excluded_documents=query.excluded_documents,
            expansions=weighted_texts(query),
            read=read,
        )

    def _step(self, query: Query, found: Found, hits: int) -> Step:
        """What was searched, and how: a line of the trace."""
        settings, is_dense = self._settings, found.dense_path is not None
        details: dict[str, Any] = {
            "terms": found.terms,
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


def _dense_weight(chosen: float | None, entry: EmbedderEntry | None) -> float:
    """The weight of the cosine: the configuration's, else that of the embedder."""
    if chosen is not None:
        return float(chosen)
    component, _, model = ("" if entry is None else entry.name.lower()).partition(":")
    name = model.rstrip("/").rpartition("/")[2]
    return next((weight for known, weight in DENSE_WEIGHTS.items() if known == component or known in name), 1.0)


def searched_terms(query: Query) -> tuple[str, ...]:
    """Return what is looked for: the words of a question as the index has them."""
    return tuple(_core.question_terms(query.text, query.language))


def asked_words(query: Query) -> dict[str, frozenset[str]]:
    """Return the words of a question that are looked for, each once, as they were typed, and the terms that each is."""
    terms = set(searched_terms(query))
    spans: list[tuple[int, int, set[str]]] = []
    for term, first, last, _ in sorted(_core.analyse(query.text, query.language), key=lambda found: found[1:3]):
        if term not in terms:
            continue
        # The parts of an identifier are within it, and pairs of characters in scripts without spaces overlap.
        if spans and first < spans[-1][1]:
            start, end, own = spans[-1]
            spans[-1] = (start, max(last, end), own | {term})
        else:
            spans.append((first, last, {term}))
    words: dict[str, frozenset[str]] = {}
    known: set[str] = set()
    for first, last, own in spans:
        word = query.text[first:last]
        if word.casefold() not in known:
            known.add(word.casefold())
            words[word] = frozenset(own)
    return words


def fused(rankings: Sequence[Sequence[Hit]], weights: Sequence[float]) -> tuple[Hit, ...]:
    """Return the hits of all rankings as one, by weighted reciprocal rank fusion (Cormack, Clarke and Büttcher 2009).

    A chunk's relevance is the sum of ``weight / (60 + rank)`` over the rankings that have it. What it was ranked by stays with it, as
    the first ranking that has it says.

    Args:
        rankings: best first, each chunk once.
        weights: of each ranking.
    """
    relevance: dict[str, float] = {}
    first: dict[str, Hit] = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, hit in enumerate(ranking, 1):
            relevance[hit.chunk.id] = relevance.get(hit.chunk.id, 0.0) + weight / (RECIPROCAL_RANK_K + rank)
            first.setdefault(hit.chunk.id, hit)
    order = sorted(first.values(), key=lambda hit: -relevance[hit.chunk.id])
    return tuple(
        msgspec.structs.replace(hit, rank=rank, score=relevance[hit.chunk.id]) for rank, hit in enumerate(order, 1)
    )


def boosted(hits: Sequence[Hit], kind: str, boost: float) -> tuple[Hit, ...]:
    """Return ``hits`` with the relevance of chunks of one kind multiplied; others keep their order among themselves."""
    weighed = [
        msgspec.structs.replace(hit, score=hit.score * boost) if hit.chunk.kind == kind and hit.score > 0 else hit
        for hit in hits
    ]
    preferred = sorted((hit for hit in weighed if hit.chunk.kind == kind), key=lambda hit: -hit.score)
    ordered: list[Hit] = []
    for hit in (one for one in weighed if one.chunk.kind != kind):
        while preferred and preferred[0].score > hit.score:
            ordered.append(preferred.pop(0))
        ordered.append(hit)
    return tuple(msgspec.structs.replace(hit, rank=rank) for rank, hit in enumerate([*ordered, *preferred], 1))


def weighted_texts(query: Query) -> list[tuple[str, float]]:
    """Return the texts that a query is expanded by, each with the weight of its words."""
    return [(one.text, one.weight) for one in query.expansions]


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


def _hits(opened: OpenGeneration, found: Found) -> Iterator[Hit]:
    """The hits, each decoded when it is asked for."""
    return (_hit(opened, rank, row) for rank, row in enumerate(found.rows, 1))


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
