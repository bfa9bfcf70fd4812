"""Where a page was lost on the way into an answer, by how much, and what would bring it in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from clockify_rag.calibration import refusal
from clockify_rag.config import MAXIMUM_TOP_K
from clockify_rag.contracts import Answer, Chunk, Document, Hit, Query, Scores, SearchResult
from clockify_rag.explaining.rankings import Rankings
from clockify_rag.index import decode_chunk, matching_documents, named_document, stored_documents
from clockify_rag.retrieval import EXCLUDED, asked_words, excluded_values

if TYPE_CHECKING:
    from clockify_rag.index import OpenGeneration
    from clockify_rag.pipeline import Pipeline

Stage = Literal[
    "index",
    "filter",
    "match",
    "candidates",
    "fuse",
    "repeat",
    "diversity",
    "fold",
    "cap",
    "prefer",
    "rerank",
    "judge",
    "pack",
    "generate",
]
"""Where a page can be lost, in the order of the stages."""

STAGES: Final[tuple[Stage, ...]] = Stage.__args__  # type: ignore[attr-defined]


RemedyKind = Literal["build", "filter", "words", "top_k", "candidates", "setting", "glossary", "threshold"]
"""What a remedy changes."""


class Remedy(msgspec.Struct, frozen=True, kw_only=True):
    """Something that would bring a page in."""

    kind: RemedyKind
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


class _Lost(msgspec.Struct, frozen=True):
    """Where one chunk was lost."""

    stage: Stage | None
    rank: int
    """Its place there, from 1: of two chunks lost at one stage the better one explains the page."""
    by: float | None = None
    unit: str = ""


def why_not(
    pipeline: Pipeline,
    question: str,
    document: str,
    *,
    top_k: int | None = None,
    filters: Mapping[str, Sequence[str]] | None = None,
    lexical: bool = False,
    answer: Answer | None = None,
) -> WhyNot:
    """Return where a page was lost on the way into the answer to ``question``, by how much, and what would bring it in.

    Args:
        pipeline: over the index.
        question: at most 2,000 characters.
        document: the page's id, path, ``source/path`` or URL.
        top_k: hits at most; by default the configuration's.
        filters: as for ``Pipeline.search``.
        lexical: search by words only.
        answer: the answer to the question, where it is known; by default it is asked for as soon as that matters.

    Raises:
        QueryError: the question cannot be searched.
        SourceError: more than one page is called so.
        InvalidSetting: the retriever does not explain.
    """
    return _WhyNot(pipeline, question, document, top_k=top_k, filters=filters, lexical=lexical, answer=answer).run()


class _WhyNot:
    """The search for the stage at which one page was lost."""

    def __init__(
        self,
        pipeline: Pipeline,
        question: str,
        named: str,
        *,
        top_k: int | None,
        filters: Mapping[str, Sequence[str]] | None,
        lexical: bool,
        answer: Answer | None,
        opened: OpenGeneration | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.question = question
        self.named = named
        self.asked: dict[str, Any] = {"top_k": top_k, "filters": filters, "lexical": lexical}
        self.answer = answer
        self.rankings = Rankings(pipeline, question, top_k, filters, lexical=lexical, opened=opened)
        self.query: Query = self.rankings.query
        self.result: SearchResult = self.rankings.result

    def run(self) -> WhyNot:
        """Look at each chunk of the page; the one that came farthest explains it."""
        documents = stored_documents(self.rankings.opened.snapshot)
        if not matching_documents(self.named, documents):
            return self._absent(documents)
        document = named_document(self.named, documents)
        chunks = self._chunks(document)
        if not chunks:
            return self._empty(document)
        chunk, lost = self._farthest(document, chunks)
        held, missing = self._words(chunk)
        best = self._standing(chunk)
        return WhyNot(
            question=self.question,
            document=self.named,
            document_id=document.id,
            title=document.title,
            path=document.path,
            url=document.url,
            generation=self.result.generation,
            stage=lost.stage,
            verdict=self._verdict(document, chunk, lost, best),
            lost_by=lost.by,
            unit=lost.unit,
            held=held,
            missing=missing,
            best=best,
            remedies=tuple(self._remedies(document, chunk, lost, best, missing)),
        )

    def _chunks(self, document: Document) -> list[Chunk]:
        return [decode_chunk(*row) for row in self.rankings.opened.snapshot.chunks_of(document.id)]

    def _farthest(self, document: Document, chunks: Sequence[Chunk]) -> tuple[Chunk, _Lost]:
        lost = self._lost(document, chunks)
        row = max(range(len(chunks)), key=lambda row: (_depth(lost[row].stage), -lost[row].rank))
        return chunks[row], lost[row]

    def outcome(self, document: Document) -> tuple[Stage | None, str]:
        """Return where the page was lost, and the sentence that says so."""
        chunk, lost = self._farthest(document, self._chunks(document))
        return lost.stage, self._verdict(document, chunk, lost, self._standing(chunk))

    def _absent(self, documents: Sequence[Document]) -> WhyNot:
        import difflib

        near = difflib.get_close_matches(self.named, [document.path for document in documents], n=1, cutoff=0.5)
        remedies = [Remedy(kind="build", message="build from the source that has it: clockify-rag build SOURCE")]
        if near:
            remedies.insert(0, Remedy(kind="build", message=f"perhaps {near[0]} is meant"))
        return WhyNot(
            question=self.question,
            document=self.named,
            document_id=None,
            title=None,
            path=None,
            url=None,
            generation=self.result.generation,
            stage="index",
            verdict=f"the index has no page {self.named!r}",
            remedies=tuple(remedies),
        )

    def _empty(self, document: Document) -> WhyNot:
        return WhyNot(
            question=self.question,
            document=self.named,
            document_id=document.id,
            title=document.title,
            path=document.path,
            url=document.url,
            generation=self.result.generation,
            stage="index",
            verdict="the page has no text that could be found",
        )

    def _lost(self, document: Document, chunks: Sequence[Chunk]) -> list[_Lost]:
        rankings, ids = self.rankings, [chunk.id for chunk in chunks]
        found = [ranking.standings(ids) for ranking in (rankings.everything, rankings.fused, rankings.repeated)]
        hits = {hit.chunk.id: hit for hit in self.result.hits}
        folded = {duplicate.chunk_id: hit.rank for hit in self.result.hits for duplicate in hit.duplicates}
        lost = []
        for chunk, anywhere, fused, repeated in zip(chunks, *found, strict=True):
            if filtered_by(self.query, document, chunk):
                lost.append(_Lost("filter", chunk.ordinal))
            elif chunk.id in hits:
                lost.append(self._after(hits[chunk.id]))
            elif chunk.id in folded:
                lost.append(_Lost("fold", folded[chunk.id]))
            elif anywhere is None or (anywhere[1] is None and anywhere[2] is None):
                lost.append(_Lost("match", chunk.ordinal))
            elif fused is None or repeated is None:
                lost.append(self._no_candidate(anywhere))
            else:
                lost.append(self._outranked(chunk.id, fused[0], repeated[0], repeated[3][0]))
        return lost

    def _no_candidate(self, anywhere: Any) -> _Lost:
        """A chunk below the candidates of both retrievers: by how much in that which ranks it higher."""
        _, lexical_rank, dense_rank, (_, _, bm25), cosine, _ = anywhere
        is_dense = lexical_rank is None or (dense_rank is not None and dense_rank < lexical_rank)
        last = self.rankings.everything.at_rank(self.rankings.candidates, is_dense)
        own = cosine if is_dense else bm25
        by = None if last is None or own is None else last[1] - own
        return _Lost("candidates", dense_rank if is_dense else lexical_rank, by, "cosine" if is_dense else "BM25F")

    def _outranked(self, chunk_id: str, fused_rank: int, repeated_rank: int, score: float) -> _Lost:
        """A candidate that is no hit."""
        rankings = self.rankings
        # Before another reranker as many hits go on as there are candidates of one retriever.
        limit = rankings.candidates if rankings.reranked else rankings.top_k
        if repeated_rank <= limit:
            if rankings.reranked:
                return _Lost("rerank", repeated_rank)
            rank = rankings.diverse[chunk_id]
            if rank <= rankings.top_k:
                return _Lost("prefer" if rankings.preferred else "cap", rank)
            return _Lost("diversity", rank, float(rank - rankings.top_k), "places")
        last = rankings.repeated_score(limit)
        return _Lost("repeat" if fused_rank <= limit else "fuse", repeated_rank, last - score, "score")

    def _after(self, hit: Hit) -> _Lost:
        """A hit: whether the answer cites it, and if not, why."""
        result = self.result
        if refusal(result) is not None and result.confidence is not None:
            return _Lost("judge", hit.rank, result.threshold - result.confidence, "confidence")
        context, packing = self.rankings.context, self.pipeline.settings.packing
        if hit.chunk.id not in {shown.chunk.id for shown in context.hits}:
            left = packing.budget_tokens - context.tokens
            if hit.rank <= packing.pack_top and hit.chunk.tokens > left:
                return _Lost("pack", hit.rank, float(hit.chunk.tokens - left), "tokens")
            return _Lost("pack", hit.rank, float(max(hit.rank - packing.pack_top, 0)), "places")
        if self.answer is None:
            self.answer = self.pipeline.ask(self.question, **self.asked)
        cited = {citation.chunk_id for citation in self.answer.citations}
        return _Lost(None if hit.chunk.id in cited else "generate", hit.rank)

    def _words(self, chunk: Chunk) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The question's words that the page has, and those that it has not."""
        terms = {term["term"] for term in self.rankings.bm25(chunk.id)["document"]["terms"]}
        held: list[str] = []
        missing: list[str] = []
        for word, own in asked_words(self.query).items():
            (held if own & terms else missing).append(word)
        return tuple(held), tuple(missing)

    def _standing(self, chunk: Chunk) -> Standing:
        rankings = self.rankings
        anywhere, fused, repeated = (
            ranking.standings([chunk.id])[0] for ranking in (rankings.everything, rankings.fused, rankings.repeated)
        )
        scores = Scores()
        if anywhere is not None:
            _, _, _, (_, relevance, bm25), cosine, (document_bm25, document_cosine) = anywhere
            scores = Scores(
                bm25=bm25,
                cosine=cosine,
                document_bm25=document_bm25,
                document_cosine=document_cosine,
                fused=relevance,
            )
        return Standing(
            chunk_id=chunk.id,
            anchor=chunk.anchor,
            heading_path=chunk.heading_path,
            scores=scores,
            lexical_rank=None if anywhere is None else anywhere[1],
            dense_rank=None if anywhere is None else anywhere[2],
            fused_rank=None if fused is None else fused[0],
            repeated_rank=None if repeated is None else repeated[0],
            rank=next((hit.rank for hit in self.result.hits if hit.chunk.id == chunk.id), None),
        )

    def _verdict(self, document: Document, chunk: Chunk, lost: _Lost, best: Standing) -> str:
        rankings = self.rankings
        match lost.stage:
            case "filter":
                left_out = ", ".join(filtered_by(self.query, document, chunk))
                return f"the page is left out: {left_out}"
            case "match":
                return "no word of the question is on the page, and it has no vector to be found by meaning"
            case "candidates":
                return f"{_places(best)}, and the {rankings.candidates} best of each go on"
            case "fold":
                return f"it says the same as hit {lost.rank}, which names it; retrieval.fold_duplicates returns both"
            case "fuse" | "repeat" | "diversity" | "cap" | "prefer" | "rerank":
                return self._outranked_verdict(lost, best)
            case _:
                return f"it is hit {lost.rank}, {self._hit_verdict(chunk, lost)}"

    def _hit_verdict(self, chunk: Chunk, lost: _Lost) -> str:
        result, packing = self.result, self.pipeline.settings.packing
        match lost.stage:
            case "judge":
                sure = f"the confidence is {result.confidence:.3f}, and at least {result.threshold:.3f} is needed"
                return f"but the question was refused: {sure}"
            case "pack" if lost.unit == "tokens":
                budget = f"than were left of the {packing.budget_tokens} that a generator is shown"
                return f"but has {chunk.tokens} tokens, {lost.by:.0f} more {budget}"
            case "pack":
                return f"and a generator is shown {packing.pack_top}"
            case "generate":
                failure = None if self.answer is None else self.answer.failure
                why = "answered from other passages" if failure is None else f"failed: {failure.message}"
                return f"and was shown to the generator, which {why}"
            case _:
                return "and the answer cites it"

    def _outranked_verdict(self, lost: _Lost, best: Standing) -> str:
        rankings = self.rankings
        wanted = f"the {rankings.top_k} best are hits"
        match lost.stage:
            case "repeat":
                return (
                    f"it is {_nth(best.fused_rank)} by relevance, but better passages of its section come before it: they make it "
                    f"{_nth(best.repeated_rank)}, {lost.by:.3f} below the last that goes on"
                )
            case "diversity":
                return f"it is {_nth(best.repeated_rank)} by score, but is like hits before it: MMR makes it {_nth(lost.rank)}, and {wanted}"
            case "cap":
                bound = self.pipeline.settings.retrieval.per_document
                return f"it is {_nth(lost.rank)}, behind {bound} better passages of its page, which is the bound of one page"
            case "prefer":
                return (
                    f"it is {_nth(lost.rank)} by its own ranking, but hits of other wordings of the question, or of the glossary, "
                    f"come before it; {wanted}"
                )
            case "rerank":
                name = self.pipeline.settings.reranking.reranker
                return f"it is {_nth(best.repeated_rank)} by score, but the reranker {name} puts others before it, and {wanted}"
            case _:
                return f"it is {_nth(best.repeated_rank)} by score, {lost.by:.3f} below the last that goes on; {wanted}"

    def _remedies(
        self, document: Document, chunk: Chunk, lost: _Lost, best: Standing, missing: Sequence[str]
    ) -> Iterator[Remedy]:
        """What would bring the page in; settings only where searching again with them does."""
        if lost.stage == "filter":
            for reason in filtered_by(self.query, document, chunk):
                wanted = f"--filter {reason}" if reason in EXCLUDED else f"search without the filter {reason}"
                yield Remedy(kind="filter", message=wanted)
            return
        if lost.stage == "candidates":
            yield from self._tried(document, lost.stage, "retrieval.candidates", lost.rank, "candidates")
        if lost.stage in {"candidates", "fuse", "repeat", "diversity", "prefer", "rerank"}:
            yield from self._larger_top_k(document, best)
        for key, value in self._settings(lost):
            yield from self._tried(document, lost.stage, key, value)
        if missing and lost.stage is not None:
            words = ", ".join(missing)
            yield Remedy(kind="words", message=f"the page has none of these words of the question: {words}")
            yield Remedy(kind="glossary", message=f"a glossary that names {words} as an alias of a word of the page")

    def _settings(self, lost: _Lost) -> list[tuple[str, float]]:
        """The setting that a page was lost by, and the value that would let it pass."""
        budget = self.pipeline.settings.packing.budget_tokens + round(lost.by or 0.0)
        pack = ("packing.budget_tokens", budget) if lost.unit == "tokens" else ("packing.pack_top", lost.rank)
        by_stage: dict[str | None, tuple[str, float]] = {
            "repeat": ("retrieval.repeat_weight", 1.0),
            "diversity": ("reranking.mmr_lambda", 1.0),
            # Rounded down, so that it holds as it is typed.
            "judge": ("calibration.threshold", math.floor(1000 * (self.result.confidence or 0.0)) / 1000),
            "pack": pack,
        }
        return [by_stage[lost.stage]] if lost.stage in by_stage else []

    def _tried(
        self, document: Document, before: Stage | None, key: str, value: float, kind: RemedyKind = "setting"
    ) -> Iterator[Remedy]:
        """A setting, where the page comes farther with it."""
        settings = self.pipeline.settings
        table, _, name = key.partition(".")
        changed = msgspec.structs.replace(getattr(settings, table), **{name: value})
        other = self.pipeline.with_settings(msgspec.structs.replace(settings, **{table: changed}))
        # How the generator would use it is not tried: that may take a model.
        unasked = Answer(question=self.question, answer="")
        after = _WhyNot(other, self.question, self.named, opened=self.rankings.opened, answer=unasked, **self.asked)
        stage, verdict = after.outcome(document)
        if _depth(stage) > _depth(before):
            so = "a generator is shown it" if stage in {None, "generate"} else verdict
            yield Remedy(kind=kind, message=f"{key} = {value:g}: then {so}", setting=key, value=value)

    def _larger_top_k(self, document: Document, best: Standing) -> Iterator[Remedy]:
        count = max(best.repeated_rank or 0, self.rankings.top_k + 1)
        while count <= MAXIMUM_TOP_K:
            rank = self._rank_in(count, document)
            if rank is not None:
                # Within the candidates more hits are the same and others behind them; beyond, there are more candidates.
                wanted = rank if rank < count and self._rank_in(rank, document) is not None else count
                yield Remedy(kind="top_k", message=f"--top-k {wanted}", setting="retrieval.top_k", value=wanted)
                return
            count = count + 1 if count == MAXIMUM_TOP_K else min(2 * count, MAXIMUM_TOP_K)

    def _rank_in(self, top_k: int, document: Document) -> int | None:
        """The page's first place among that many hits."""
        _, result = self.pipeline.search_in(
            self.rankings.opened, self.question, top_k, self.asked["filters"], lexical=self.asked["lexical"]
        )
        return next((hit.rank for hit in result.hits if hit.document.id == document.id), None)


def filtered_by(query: Query, document: Document, chunk: Chunk) -> list[str]:
    """Return why a chunk does not pass the filters of a query, as ``field=value``; nothing where it passes."""
    if document.id in query.excluded_documents:
        return ["its page is excluded"]
    values = {
        "source": {document.source},
        "language": {document.language},
        "kind": {chunk.kind},
        "tags": set(document.tags),
        "version": set() if document.version is None else {document.version},
    }
    reasons = [value for value in excluded_values(query) if value == f"kind={chunk.kind}"]
    for field, wanted in query.filters.items():
        if values[field].isdisjoint(wanted):
            own = ", ".join(sorted(values[field])) or "none"
            reasons.append(f"{field}={' or '.join(wanted)} (it has {own})")
    return reasons


def _depth(stage: Stage | None) -> int:
    """How far a page came that was lost there."""
    return len(STAGES) if stage is None else STAGES.index(stage)


def _nth(number: int | None) -> str:
    if number is None:
        return "nowhere"
    ending = "th" if number % 100 in range(11, 14) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _places(best: Standing) -> str:
    by_words = "has no word of the question" if best.lexical_rank is None else f"is {_nth(best.lexical_rank)} by words"
    by_meaning = "has no vector" if best.dense_rank is None else f"is {_nth(best.dense_rank)} by meaning"
    return f"its best passage {by_words} and {by_meaning}"
