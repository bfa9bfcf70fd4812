"""Why each hit stands where it stands, and what each limit cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from clockify_rag.calibration import refusal
from clockify_rag.contracts import Chunk, Document, Evidence, Scores, Step
from clockify_rag.errors import SourceError
from clockify_rag.explaining.rankings import Rankings
from clockify_rag.index import decode_chunk
from clockify_rag.retrieval import asked_words, searched_terms

if TYPE_CHECKING:
    from clockify_rag.contracts import Context
    from clockify_rag.pipeline import Pipeline


class Fusion(msgspec.Struct, frozen=True, kw_only=True):
    """How both retrievers' scores became one."""

    rule: str
    dense_weight: float | None
    """w; ``None`` where only words were searched."""
    document_weight: float
    """What the whole page's evidence counts in a chunk's score."""
    repeat_weight: float
    candidates: int
    lexical_only: bool
    bm25_max: float
    """The largest BM25F of a chunk that passes the filters."""
    document_bm25_max: float
    """The same of the candidates' pages."""


class ExplainedHit(msgspec.Struct, frozen=True, kw_only=True):
    """Why a hit stands where it stands."""

    rank: int
    chunk_id: str
    document_id: str
    title: str
    heading_path: tuple[str, ...]
    path: str
    url: str | None
    anchor: str | None
    score: float
    boost: float
    scores: Scores
    bm25: Mapping[str, Any]
    """BM25F of the chunk and of its page in the textbook's letters."""
    lexical_rank: int | None
    """Its place by words among all chunks that pass the filters."""
    dense_rank: int | None
    """Its place by meaning."""
    fused_rank: int | None
    """Its place by fused relevance among the candidates."""
    repeated_rank: int | None
    """Its place after chunks of a section that better ones are of counted less; then come MMR and other rerankers."""
    packed: bool
    """Whether the generator is shown it."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """How one question passed the stages up to the generator."""

    question: str
    language: str
    searched: tuple[str, ...]
    """The question's words that were looked for, as they were typed."""
    terms: tuple[str, ...]
    """What was looked for: these words as the index has them."""
    generation: int
    documents: int
    passages: int
    """Chunks in the generation."""
    passing: int
    """Chunks that pass the filters and have a word of the question, or a cosine."""
    by_words: int
    """Of these, those with a word of the question."""
    by_meaning: int
    """Of these, those with a cosine."""
    filters: Mapping[str, tuple[str, ...]]
    fusion: Fusion
    evidence: Evidence
    confidence: float | None
    threshold: float
    calibration: str
    refusal: str | None
    hits: tuple[ExplainedHit, ...]
    cuts: tuple[Cut, ...]
    tokens: int
    """Tokens of what the generator is shown."""
    chunks: tuple[Mapping[str, Any], ...] = ()
    """BM25F of the chunks that were asked for, whether they were found or not."""
    trace: tuple[Step, ...] = ()
    timings_ms: Mapping[str, float] = {}


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """What one limit took away."""

    limit: str
    """The setting."""
    value: float
    count: int
    """How many chunks it took away."""
    first: str | None = None
    """The best of them: a chunk's id, where one is known."""
    place: str | None = None
    """Where that stands."""
    short_by: float | None = None
    """How much it lacked, in the unit of ``unit``."""
    unit: str = ""


def explain(
    pipeline: Pipeline,
    question: str,
    *chunk_ids: str,
    top_k: int | None = None,
    filters: Mapping[str, Sequence[str]] | None = None,
    lexical: bool = False,
) -> Explanation:
    """Return how ``question`` was understood, why each hit stands where it stands, and what each limit cut.

    Args:
        pipeline: over the index.
        question: at most 2,000 characters.
        *chunk_ids: also explain these chunks, whether they were found or not.
        top_k: hits at most; by default the configuration's.
        filters: as for ``Pipeline.search``.
        lexical: search by words only.

    Raises:
        QueryError: the question cannot be searched.
        SourceError: there is no such chunk.
        InvalidSetting: the retriever does not explain.
    """
    for chunk_id in chunk_ids:
        if pipeline.index.chunk(chunk_id) is None:
            raise SourceError(
                f"the index has no chunk {chunk_id!r}", hint="clockify-rag search --json prints chunk ids"
            )
    rankings = Rankings(pipeline, question, top_k, filters, lexical=lexical)
    query, result = rankings.query, rankings.result
    context = rankings.context
    pool = rankings.fused.rows
    counts = rankings.everything.counts
    settings = pipeline.settings.retrieval
    return Explanation(
        question=question,
        language=query.language,
        searched=tuple(asked_words(query)),
        terms=searched_terms(query),
        generation=result.generation,
        documents=rankings.opened.snapshot.documents,
        passages=rankings.opened.snapshot.chunks,
        passing=counts[0],
        by_words=counts[1],
        by_meaning=counts[2],
        filters=query.filters,
        fusion=Fusion(
            rule="bm25 / bm25_max + w * cos",
            dense_weight=None if result.lexical_only else rankings.retriever.dense_weight,
            document_weight=settings.document_weight,
            repeat_weight=settings.repeat_weight,
            candidates=rankings.candidates,
            lexical_only=result.lexical_only,
            bm25_max=max((row[5] or 0.0 for row in pool), default=0.0),
            document_bm25_max=max((row[7] or 0.0 for row in pool), default=0.0),
        ),
        evidence=result.evidence,
        confidence=result.confidence,
        threshold=result.threshold,
        calibration=result.calibration,
        refusal=refusal(result),
        hits=_explained(rankings, context),
        cuts=tuple(_cuts(rankings, context)),
        tokens=context.tokens,
        chunks=tuple(rankings.bm25(chunk_id) for chunk_id in chunk_ids),
        trace=(*result.steps, *context.steps),
        timings_ms=dict(result.timings_ms),
    )


def _explained(rankings: Rankings, context: Context) -> tuple[ExplainedHit, ...]:
    hits = rankings.result.hits
    ids = [hit.chunk.id for hit in hits]
    packed = {hit.chunk.id for hit in context.hits}
    places = (rankings.everything, rankings.fused, rankings.repeated)
    found = zip(hits, *(ranking.standings(ids) for ranking in places), strict=True)
    return tuple(
        ExplainedHit(
            rank=hit.rank,
            chunk_id=hit.chunk.id,
            document_id=hit.document.id,
            title=hit.document.title,
            heading_path=hit.chunk.heading_path,
            path=hit.document.path,
            url=hit.document.url,
            anchor=hit.chunk.anchor,
            score=hit.score,
            boost=hit.document.boost,
            scores=hit.scores,
            bm25=rankings.bm25(hit.chunk.id),
            lexical_rank=None if anywhere is None else anywhere[1],
            dense_rank=None if anywhere is None else anywhere[2],
            fused_rank=None if fused is None else fused[0],
            repeated_rank=None if repeated is None else repeated[0],
            packed=hit.chunk.id in packed,
        )
        for hit, anywhere, fused, repeated in found
    )


def _cuts(rankings: Rankings, context: Context) -> list[Cut]:
    """What each limit took away, in the order of the stages."""
    settings, result = rankings.pipeline.settings, rankings.result
    limit = rankings.candidates
    cuts = []
    _, by_words, by_meaning = rankings.everything.counts
    for is_dense, count, unit in ((False, by_words, "BM25F"), (True, by_meaning, "cosine")):
        last, first = (rankings.everything.at_rank(rank, is_dense) for rank in (limit, limit + 1))
        if last is not None and first is not None:
            cuts.append(
                _cut(rankings, "retrieval.candidates", limit, count - limit, first[0], last[1] - first[1], unit)
            )
    hits = {hit.chunk.id for hit in result.hits}
    lost = [row for row in rankings.repeated.rows if decode_chunk(row[0], "").id not in hits]
    if lost and result.hits:
        # Of hits that another reranker scored, a difference of scores says nothing.
        short_by = None if rankings.reranked else min(hit.score for hit in result.hits) - lost[0][3]
        first_id = decode_chunk(lost[0][0], "").id
        cuts.append(_cut(rankings, "retrieval.top_k", rankings.top_k, len(lost), first_id, short_by, "score"))
    packing = settings.packing
    shown = {hit.chunk.id for hit in context.hits}
    unshown = [hit for hit in result.hits if hit.chunk.id not in shown]
    beyond = [hit.chunk.id for hit in unshown[context.dropped :]]
    if beyond:
        cuts.append(_cut(rankings, "packing.pack_top", packing.pack_top, len(beyond), beyond[0]))
    if context.dropped:
        best = unshown[0].chunk
        short_by = float(best.tokens - (packing.budget_tokens - context.tokens))
        cuts.append(
            _cut(rankings, "packing.budget_tokens", packing.budget_tokens, context.dropped, best.id, short_by, "tokens")
        )
    return cuts


def _cut(
    rankings: Rankings,
    limit: str,
    value: float,
    count: int,
    first: str,
    short_by: float | None = None,
    unit: str = "",
) -> Cut:
    found = rankings.opened.chunk(first)
    place = None if found is None else _place(found[1], found[0])
    return Cut(limit=limit, value=value, count=count, first=first, place=place, short_by=short_by, unit=unit)


def _place(document: Document, chunk: Chunk) -> str:
    return document.path + (f"#{chunk.anchor}" if chunk.anchor else "")
