"""Why: how a question passed each stage, what each limit cut, and where a page was lost.

An explanation is what happened and no second account of it: the question is searched as ever, and then again with one limit
or one step taken away, by the same code. What differs between two rankings is what that step did, so the explanation of a step
cannot drift from the step. Everything is of one generation, whatever is published meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from clockify_rag import _core
from clockify_rag.calibration import refusal
from clockify_rag.contracts import Answer, Chunk, Context, Document, Evidence, Hit, Query, Scores, SearchResult, Step
from clockify_rag.errors import InvalidSetting, SourceError
from clockify_rag.index import decode_chunk, named_document, stored_documents
from clockify_rag.pipeline import asked_words
from clockify_rag.retrieval import HybridRetriever, excluded_values, filter_groups

if TYPE_CHECKING:
    from clockify_rag._core import Found
    from clockify_rag.index import OpenGeneration
    from clockify_rag.pipeline import Pipeline

Stage = Literal[
    "index", "filter", "match", "candidates", "fuse", "repeat", "diversity", "rerank", "judge", "pack", "generate"
]
"""Where a page can be lost, in the order of the stages."""

STAGES: Final[tuple[Stage, ...]] = Stage.__args__  # type: ignore[attr-defined]


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


class Remedy(msgspec.Struct, frozen=True, kw_only=True):
    """Something that would bring a page in."""

    kind: Literal["build", "filter", "words", "top_k", "candidates", "setting", "glossary", "threshold"]
    message: str
    setting: str | None = None
    """The setting to change, with ``value``; checked by searching again with it."""
    value: float | None = None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """Where the chunk of a page that came farthest stands."""

    chunk_id: str
    anchor: str | None
    heading_path: tuple[str, ...]
    scores: Scores
    lexical_rank: int | None
    dense_rank: int | None
    fused_rank: int | None
    """Among the candidates; ``None`` for one that is none."""
    repeated_rank: int | None
    """After chunks of a section that better ones are of counted less."""
    rank: int | None
    """Among the hits."""


class WhyNot(msgspec.Struct, frozen=True, kw_only=True):
    """Where a page was lost on the way into an answer."""

    question: str
    document: str
    """As it was named."""
    document_id: str | None
    title: str | None
    path: str | None
    url: str | None
    generation: int
    stage: Stage | None
    """Where it was lost; ``None`` for a page that the answer cites."""
    verdict: str
    lost_by: float | None = None
    """How much it lacked there, in the unit of ``unit``."""
    unit: str = ""
    held: tuple[str, ...] = ()
    """The question's words that the page has."""
    missing: tuple[str, ...] = ()
    """The question's words that it does not have."""
    best: Standing | None = None
    remedies: tuple[Remedy, ...] = ()


class _Rankings:
    """One question, ranked with each of the core's limits and steps taken away in turn."""

    def __init__(
        self,
        pipeline: Pipeline,
        question: str,
        top_k: int | None,
        filters: Mapping[str, Sequence[str]] | None,
        *,
        lexical: bool,
    ) -> None:
        self.pipeline = pipeline
        settings = pipeline.settings.retrieval
        self.top_k = settings.top_k if top_k is None else top_k
        # First, because it renews what embeds where another embedder's generation began to be served.
        opened = pipeline.index.opened
        self.query, self.result = pipeline.search_in(opened, question, top_k, filters, lexical=lexical)
        self.opened: OpenGeneration = opened
        retriever = pipeline.retriever_of(self.query, lexical=lexical)
        if not isinstance(retriever, HybridRetriever):
            raise InvalidSetting(
                f"the retriever {settings.retriever} does not explain its ranking", hint="the retriever hybrid does"
            )
        self.retriever = retriever
        self.reranked = bool(pipeline.rerankers)
        self.candidates = max(settings.candidates, self.top_k)
        pool = 2 * self.candidates
        self.fused = self._ranking(pool, self.candidates, repeats=False, diverse=False)
        self.repeated = self._ranking(pool, self.candidates, diverse=False)
        everything = max(opened.snapshot.chunks, 1)
        self.everything = self._ranking(everything, everything, repeats=False, diverse=False)

    def _ranking(self, top_k: int, candidates: int, *, repeats: bool = True, diverse: bool = True) -> Found:
        return self.retriever.ranking(
            self.query, self.opened, top_k, candidates, repeats=repeats, diverse=diverse
        )

    def diverse(self) -> dict[str, int]:
        """Each candidate's place in the whole order of MMR, where the core diversifies."""
        found = self._ranking(self.candidates, self.candidates)
        return {hit: rank for rank, hit in enumerate(_ids(found), 1)}

    def bm25(self, chunk_id: str) -> Mapping[str, Any]:
        """BM25F of a chunk and its page in the textbook's letters."""
        explained = self.opened.snapshot.explain(
            self.query.text, self.query.language, self.retriever.options(self.top_k), chunk_id
        )
        decoded: Mapping[str, Any] = msgspec.json.decode(explained)
        return decoded


def _ids(found: Found) -> list[str]:
    return [decode_chunk(row[0], "").id for row in found.rows]


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
            raise SourceError(f"the index has no chunk {chunk_id!r}", hint="clockify-rag search --json prints chunk ids")
    rankings = _Rankings(pipeline, question, top_k, filters, lexical=lexical)
    query, result = rankings.query, rankings.result
    context = pipeline.packer.pack(query, result.hits) if result.hits else Context(hits=(), texts=(), tokens=0)
    pool = rankings.fused.rows
    counts = rankings.everything.counts
    settings = pipeline.settings.retrieval
    return Explanation(
        question=question,
        language=query.language,
        searched=asked_words(query),
        terms=tuple(_core.question_terms(query.text, query.language)),
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


def _explained(rankings: _Rankings, context: Context) -> tuple[ExplainedHit, ...]:
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


def _cuts(rankings: _Rankings, context: Context) -> list[Cut]:
    """What each limit took away, in the order of the stages."""
    settings, result = rankings.pipeline.settings, rankings.result
    limit = rankings.candidates
    cuts = []
    _, by_words, by_meaning = rankings.everything.counts
    for count, unit, column in ((by_words, "BM25F", 5), (by_meaning, "cosine", 6)):
        if count > limit:
            cuts.append(Cut(limit="retrieval.candidates", value=limit, count=count - limit, unit=unit))
            del column
    pool = rankings.repeated.rows
    hits = {hit.chunk.id for hit in result.hits}
    lost = [row for row in pool if decode_chunk(row[0], "").id not in hits]
    if lost and result.hits:
        chunk, document = decode_chunk(lost[0][0], lost[0][1]), rankings.opened.document(lost[0][2])
        cuts.append(
            Cut(
                limit="retrieval.top_k",
                value=rankings.top_k,
                count=len(lost),
                first=chunk.id,
                place=_place(document, chunk),
                short_by=None if rankings.reranked else min(hit.score for hit in result.hits) - lost[0][3],
                unit="score",
            )
        )
    packing = settings.packing
    shown = {hit.chunk.id for hit in context.hits}
    unshown = [hit for hit in result.hits if hit.chunk.id not in shown]
    if len(result.hits) > packing.pack_top:
        first = next((hit for hit in unshown if hit.rank > packing.pack_top), None)
        count = len(unshown) - context.dropped
        if count > 0 and first is not None:
            cuts.append(_packing_cut("packing.pack_top", packing.pack_top, count, first))
    if context.dropped:
        cuts.append(_packing_cut("packing.budget_tokens", packing.budget_tokens, context.dropped, unshown[0]))
    return cuts


def _packing_cut(limit: str, value: float, count: int, hit: Hit) -> Cut:
    return Cut(
        limit=limit,
        value=value,
        count=count,
        first=hit.chunk.id,
        place=_place(hit.document, hit.chunk),
        short_by=float(hit.chunk.tokens) if limit == "packing.budget_tokens" else None,
        unit="tokens" if limit == "packing.budget_tokens" else "",
    )


def _place(document: Document, chunk: Chunk) -> str:
    return (document.url or document.path) + (f"#{chunk.anchor}" if chunk.anchor else "")
