"""The order of the stages: ``Pipeline.build``, ``Pipeline.search`` and ``Pipeline.ask``.

Only this module knows which stage of a question follows which, as ``building`` does of a build; each is a component that is made when it is first needed, once, and used by
all threads. A question is answered from the one generation that was open when it was retrieved.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

import msgspec

from clockify_rag import _core, plugins
from clockify_rag.calibration import FILE as CALIBRATION_FILE
from clockify_rag.calibration import Calibration, refusal, shipped
from clockify_rag.calibration import load as load_calibration
from clockify_rag.config import (
    MAXIMUM_TOP_K,
    EmbeddingSettings,
    Settings,
    check_source_names,
    is_address,
    typed_source,
)
from clockify_rag.config import load as load_settings
from clockify_rag.contracts import (
    Answer,
    Chunker,
    Citation,
    Classifier,
    Completer,
    Context,
    Draft,
    Embedder,
    Failure,
    Generator,
    Hit,
    Loader,
    NearPage,
    Packer,
    Query,
    RefusalReason,
    Reranker,
    Reranking,
    Retriever,
    SearchResult,
    Site,
    Source,
    Step,
    Turn,
    Understander,
    Verifier,
    digest,
)
from clockify_rag.errors import (
    BackendError,
    ClockifyRagError,
    IndexIncompatible,
    IndexNotFound,
    InvalidSetting,
    PluginConflict,
    QueryError,
    StoreError,
)
from clockify_rag.index import (
    EmbedderEntry,
    LocalIndex,
    OpenGeneration,
    check_index_folder,
)
from clockify_rag.retrieval import HybridRetriever, asked_words
from clockify_rag.retrieval.shaping import numbered, share
from clockify_rag.telemetry import stage

WITHOUT_EMBEDDER = ("structure", "sentence", "fixed")
"""The chunkers that need no vectors."""

NEAREST_PAGES = 3
"""Pages that a refusal offers."""

IN_CORE = ("mmr", "none")
"""The rerankers that need no pass over the hits here: the core diversifies on the way, or does not."""

EMBEDDING_PARTS = ("embedding", "embedder", "embedder_entry")
"""The components of a pipeline that depend on ``[embedding]`` alone."""

ANSWERING_TABLES = (
    "embedding",
    "understanding",
    "retrieval",
    "reranking",
    "packing",
    "generation",
    "verification",
    "calibration",
)
"""The settings that answers depend on."""

MODEL_STEPS = ("rewriting", "multi_query", "decomposition", "hypothetical_answer")
"""The settings of ``[understanding]`` that ask a model."""

UNDERSTANDING_STEPS = (*MODEL_STEPS, "tickets", "glossary", "expansion_weight", "follow_ups", "seconds")
"""The settings of ``[understanding]`` that its component is given."""

if TYPE_CHECKING:
    from clockify_rag.building import BuildReport, Progress
    from clockify_rag.cache import RecentResults
    from clockify_rag.following import Follower
    from clockify_rag.remembering import AnswerCache

T = TypeVar("T")


class PreparedAnswers(msgspec.Struct, frozen=True, kw_only=True):
    """Answers that were made beforehand."""

    generation: int
    """The generation they are from, and good for."""
    answers: int
    refused: int
    """Of these, how many say that the documentation does not answer."""
    failed: Mapping[str, Failure] = {}
    """For each question that has no whole answer, why."""


class _Asked(msgspec.Struct, frozen=True):
    """A question as it was asked."""

    question: str
    top_k: int
    filters: Mapping[str, Sequence[str]]
    lexical: bool
    history: tuple[Turn, ...]

    @property
    def searched(self) -> tuple[str, int, Mapping[str, Sequence[str]]]:
        return self.question, self.top_k, self.filters


class _Missing:
    """What a component is before it is made."""


_MISSING = _Missing()


class _once(Generic[T]):  # noqa: N801 - used as a decorator
    """A component of a pipeline: made when it is first asked for, once, whatever threads ask."""

    def __init__(self, make: Callable[[Pipeline], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, pipeline: None, owner: type) -> Self: ...
    @overload
    def __get__(self, pipeline: Pipeline, owner: type) -> T: ...
    def __get__(self, pipeline: Pipeline | None, owner: type) -> Self | T:
        """Return the component."""
        if pipeline is None:
            return self
        name = self._make.__name__
        component: T | _Missing = pipeline.made.get(name, _MISSING)
        if isinstance(component, _Missing):
            with pipeline.lock:
                if name not in pipeline.made:
                    pipeline.made[name] = self._make(pipeline)
                made: T = pipeline.made[name]
            return made
        return component


class Pipeline:
    """Documentation in, answers out.

    Args:
        path: the index folder; it need not exist before a build.
        settings: the configuration.
    """

    def __init__(self, path: str | Path, settings: Settings) -> None:
        self.path = Path(path)
        self.settings = settings
        self.lock = threading.RLock()
        self.made: dict[str, Any] = {}
        self._index: LocalIndex | None = None
        if settings.execution.threads is not None:
            _core.set_threads(settings.execution.threads)

    @classmethod
    def open(cls, index: str | Path | None = None, settings: Settings | None = None) -> Pipeline:
        """Return a pipeline over the index in a folder; the index itself is opened when it is first needed.

        Args:
            index: the folder; by default the configuration's.
            settings: by default what the configuration file and the environment say.

        Raises:
            ConfigError: the configuration cannot be used.
        """
        if settings is None:
            settings = load_settings().settings
        return cls(settings.index.path if index is None else index, settings)

    def with_settings(self, settings: Settings) -> Pipeline:
        """Return a pipeline over the generation that is open now, under other settings of what a question passes.

        What was made to embed is shared where its settings are the same. Used to compare rankings of one generation.
        """
        other = Pipeline(self.path, settings)
        other._index = LocalIndex(self.path, opened=self.index.opened)
        if settings.embedding == self.settings.embedding:
            other.made = {name: self.made[name] for name in EMBEDDING_PARTS if name in self.made}
        return other

    def over(self, index: LocalIndex) -> Pipeline:
        """Return a pipeline with the same settings over an index that is open already, of whatever generation."""
        other = Pipeline(self.path, self.settings)
        other._index = index
        return other

    @property
    def index(self) -> LocalIndex:
        """The opened index.

        Raises:
            IndexNotFound: there is none in the folder.
            IndexCorrupt: a file is not what was written.
            IndexIncompatible: it is of another format.
        """
        if self._index is None:
            with self.lock:
                if self._index is None:
                    self._index = LocalIndex(self.path)
        return self._index

    def build(
        self,
        sources: Sequence[Source | str | Path],
        *,
        only: bool = False,
        strict: bool = False,
        checksum: bool = False,
        allow_shrink: bool = False,
        offline: bool = False,
        crawls: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> BuildReport:
        """Bring the index up to date with ``sources``: a new generation, published atomically.

        Documents of other sources stay. A document that cannot be read this time keeps its last state, marked stale.

        Args:
            sources: what to read; a folder, file or archive may be given by its location alone.
            only: make the index exactly these sources.
            strict: publish nothing when a document cannot be read.
            checksum: read every file, also those whose size, times and inode did not change.
            allow_shrink: let a source lose more of its documents than ``loading.maximum_loss``.
            offline: read sites from the pages that are kept of them, and ask for nothing.
            crawls: for sites that were crawled just now their ``crawling.CrawlReport`` by name; nothing is crawled then.
            progress: called as the work goes on.

        Raises:
            SourceError: a source cannot be read at all; with ``strict``, a document.
            SourceShrunk: a source lost so many documents that it is rather taken for broken.
            IndexLocked: another process builds this index.
            StoreError: the index cannot be written. The old generation is then still served.
        """
        from clockify_rag.building import Build, silent

        named = tuple(source if isinstance(source, Source) else _source(str(source)) for source in sources)
        check_source_names(named)
        check_index_folder(self.path, building=True)
        self._renew()
        if crawls is None:
            crawls = {} if offline else self._crawl(named, progress or silent)
        return Build(
            self,
            named,
            {source.name: crawls[source.name] for source in named if source.name in crawls},
            only=only,
            strict=strict,
            checksum=checksum,
            allow_shrink=allow_shrink,
            progress=progress or silent,
        ).run()

    def _renew(self) -> None:
        """Look at what is served now before it is built upon, by a pipeline that may have been open for long."""
        if self._index is None:
            return
        try:
            self.refresh()
        except IndexNotFound:
            with self.lock:
                self._index = None
                self.made.clear()

    def _crawl(self, sources: Sequence[Source], progress: Progress) -> Mapping[str, Any]:
        """Fetch what changed of the sources that are sites; no other source needs the network or what speaks it."""
        if all(source.site is None for source in sources):
            return {}
        from clockify_rag.crawling import crawl

        return crawl(sources, self.path, self.settings.crawling, progress=progress)

    def refresh(self) -> bool:
        """Serve the generation that was published last, also by another process; questions under way keep theirs.

        Returns whether it was another than the one that was open.
        """
        is_other = self.index.refresh()
        self._adopt_embedder()
        return is_other

    def follow(
        self,
        *,
        interval_seconds: float | None = None,
        opened: Callable[[int], object] | None = None,
        failed: Callable[[ClockifyRagError], object] | None = None,
    ) -> Follower:
        """Serve each generation as it is published, until what is returned is closed; a context manager.

        A thread opens it in the background. No answer is made of two generations.

        Args:
            interval_seconds: how often to look; by default four times a second.
            opened: called in that thread with the number of each generation that is served.
            failed: called in that thread with why a generation that was published is not.

        Raises:
            IndexNotFound: there is no index yet.
        """
        from clockify_rag.following import INTERVAL_SECONDS, Follower

        def adopt(generation: int) -> None:
            self._adopt_embedder()
            if opened is not None:
                opened(generation)

        def renew_lock() -> None:
            self.lock = threading.RLock()

        seconds = INTERVAL_SECONDS if interval_seconds is None else interval_seconds
        return Follower(self.index, interval_seconds=seconds, opened=adopt, failed=failed, forked=renew_lock)

    def _adopt_embedder(self) -> None:
        """Embed as the open generation does, where the configuration leaves that to the index and the index changed."""
        chosen = self.made.get("embedding")
        if chosen is None or self.settings.embedding.embedder is not None:
            return
        with self.lock:
            if self._chosen_embedding() != chosen:
                for name in (*EMBEDDING_PARTS, "retriever"):
                    self.made.pop(name, None)

    def search(
        self,
        question: str,
        top_k: int | None = None,
        filters: Mapping[str, Sequence[str]] | None = None,
        *,
        lexical: bool = False,
        excluded_documents: Sequence[str] = (),
    ) -> SearchResult:
        """Return the chunks that answer ``question`` best.

        Args:
            question: at most 2,000 characters.
            top_k: hits at most; by default the configuration's.
            filters: field (``source``, ``language``, ``kind``, ``tags``, ``version``) to the values allowed.
            lexical: search by words only.
            excluded_documents: ids of documents that are searched as if they were not there; the index's statistics of words
                stay those of all.

        Raises:
            QueryError: the question cannot be searched, or not for that many hits.
            StoreError: the index cannot be read.
        """
        return self._search(question, top_k, filters, lexical=lexical, excluded_documents=excluded_documents)[1]

    def _search(
        self,
        question: str,
        top_k: int | None,
        filters: Mapping[str, Sequence[str]] | None,
        *,
        lexical: bool,
        opened: OpenGeneration | None = None,
        excluded_documents: Sequence[str] = (),
        history: Sequence[Turn] = (),
    ) -> tuple[Query, SearchResult]:
        """Understand, retrieve and rerank; ``opened`` is the generation to search, by default the one that is open."""

        def search(opened: OpenGeneration) -> tuple[Query, SearchResult]:
            return self.search_in(
                opened,
                question,
                top_k,
                filters,
                lexical=lexical,
                excluded_documents=excluded_documents,
                history=history,
            )

        if opened is not None:
            return search(opened)
        try:
            return search(self.index.opened)
        except IndexIncompatible:
            # Perhaps a generation of another embedder began to be served in between, and what embeds with it.
            self._adopt_embedder()
            return search(self.index.opened)

    def search_in(
        self,
        opened: OpenGeneration,
        question: str,
        top_k: int | None,
        filters: Mapping[str, Sequence[str]] | None,
        *,
        lexical: bool = False,
        excluded_documents: Sequence[str] = (),
        history: Sequence[Turn] = (),
        as_terms: bool = False,
    ) -> tuple[Query, SearchResult]:
        """Return how ``question`` was understood, and what was found in one generation, whatever is published meanwhile.

        Args:
            opened: the generation.
            question: at most 2,000 characters.
            top_k: hits at most; by default the configuration's.
            filters: as for ``search``.
            lexical: search by words only.
            excluded_documents: as for ``search``.
            history: the turns of the conversation before it, oldest first.
            as_terms: read each alias of the glossary as its term; else only those that no page has a word of, and the others where
                the question is answered so and not as it was typed.

        Raises:
            QueryError: the question cannot be searched, or not for that many hits.
            StoreError: the index cannot be read.
        """
        timings: dict[str, float] = {}
        count = self.settings.retrieval.top_k if top_k is None else top_k
        if not 1 <= count <= MAXIMUM_TOP_K:
            raise QueryError(f"{count:,} hits cannot be asked for", hint=f"ask for 1 to {MAXIMUM_TOP_K:,}", top_k=count)
        with stage("search", timings):
            told = {"history": history} if history else {}
            query = self.understander.understand(question, filters=filters, **told)
            query = self._with_terms(query, opened, every=as_terms)
            if excluded_documents:
                query = msgspec.structs.replace(query, excluded_documents=tuple(excluded_documents))
            retriever = self.retriever_of(query, lexical=lexical)
            rerankers = self._rerankers_over(opened)
            pool = max(count, self.settings.retrieval.candidates) if rerankers else count
            if isinstance(retriever, HybridRetriever):
                result = retriever.retrieve(query, top_k=pool, opened=opened)
            else:
                result = retriever.retrieve(query, top_k=pool)
            understood = _steps(query.steps, "understand", self.settings.understanding.understander)
            steps = (*understood, *_steps(result.steps, "retrieve", self.settings.retrieval.retriever))
            # A model that is remembered to have been asked has seen the question too.
            asked = any("model" in step.details for step in query.steps)
            sent_to = tuple(getattr(self.completer, "sent_to", ())) if asked else ()
            degraded = (*query.degraded, *result.degraded)
            result = msgspec.structs.replace(result, steps=steps, sent_to=sent_to, degraded=degraded)
            for reranker in rerankers:
                with stage("rerank", timings):
                    result = _reranked(result, reranker, query, count)
            if rerankers:
                within, beyond = share(result.hits, self.settings.retrieval.per_document)
                result = msgspec.structs.replace(result, hits=numbered([*within, *beyond][:count]))
        total = timings.pop("search")
        timings = {**result.timings_ms, **timings, "total": total}
        confidence, threshold = self._confidence(result, opened)
        result = msgspec.structs.replace(
            result,
            timings_ms=timings,
            confidence=confidence,
            threshold=threshold,
            calibration="" if confidence is None else self.calibration.name,
        )
        if not any(expansion.alias for expansion in query.expansions) or refusal(result) != "weak_evidence":
            return query, result
        other = self.search_in(
            opened,
            question,
            top_k,
            filters,
            lexical=lexical,
            excluded_documents=excluded_documents,
            history=history,
            as_terms=True,
        )
        return (query, result) if refusal(other[1]) else other

    def _with_terms(self, query: Query, opened: OpenGeneration, *, every: bool) -> Query:
        """The query with the glossary's terms in place of aliases: those that no page has a word of, or all."""
        if not any(expansion.alias for expansion in query.expansions):
            return query
        retriever = self._lexical_retriever
        if not isinstance(retriever, HybridRetriever):
            return query
        from clockify_rag.understanding.glossary import with_terms

        options = retriever.options(1)

        def is_known(alias: str) -> bool:
            if every:
                return False
            has_terms = bool(_core.question_terms(alias, query.language))
            return not has_terms or opened.snapshot.search(alias, query.language, [], [], options).counts[1] > 0

        return with_terms(query, is_known)

    def retriever_of(self, query: Query, *, lexical: bool = False) -> Retriever:
        """Return what finds candidates for ``query``: by words only where that is asked for, or vectors do not know the language."""
        by_words = lexical or self.settings.retrieval.lexical or not self.embeds(query.language)
        return self._lexical_retriever if by_words else self.retriever

    def _confidence(self, result: SearchResult, opened: OpenGeneration) -> tuple[float | None, float]:
        """The probability that the documentation answers, and the threshold below which it does not count as answered."""
        recorded = None if result.lexical_only or not result.hits else opened.embedder
        confidence, threshold = self.calibration.judge(result.evidence, None if recorded is None else recorded[1])
        chosen = self.settings.calibration.threshold
        return confidence if result.hits else 0.0, threshold if chosen is None else chosen

    def ask(
        self,
        question: str,
        top_k: int | None = None,
        filters: Mapping[str, Sequence[str]] | None = None,
        *,
        generator: str | None = None,
        lexical: bool = False,
        history: Sequence[Turn] = (),
        written: Callable[[str], object] | None = None,
        cached: bool = True,
    ) -> Answer:
        """Return the answer to ``question``, with citations, or a refusal.

        A model that fails is not a refusal: the answer then carries the hits and the failure.

        Args:
            question: at most 2,000 characters.
            top_k: hits at most; by default the configuration's.
            filters: as for ``search``.
            generator: the component that writes; by default the configuration's.
            lexical: search by words only.
            history: the turns of the conversation before it, oldest first.
            written: called with each piece of the text of a generator that streams, before anything of it is verified.
            cached: whether an answer that was made of all the same may be given again.

        Raises:
            QueryError: the question cannot be searched.
            StoreError: the index cannot be read.
            PluginError: there is no such generator.
        """
        name = generator or self.settings.generation.generator
        writer = self.generator(name)
        opened = self.index.opened
        count = self.settings.retrieval.top_k if top_k is None else top_k
        asked = _Asked(question, count, filters or {}, lexical, tuple(history))
        if not (cached and self.settings.cache.enabled):
            return self._answer(asked, name, writer, written)
        begin = time.perf_counter()
        key = self._answer_key(opened, asked, name)
        found = self.answers.get(key)
        if found is not None:
            elapsed = round(1000 * (time.perf_counter() - begin), 3)
            return msgspec.structs.replace(found, timings_ms={"cache": elapsed, "total": elapsed})
        answer = self._answer(asked, name, writer, written)
        # What was made with less than there should be is not what would be made the next time.
        is_whole = answer.failure is None and not answer.incomplete and not answer.degraded
        if is_whole and answer.generation == opened.snapshot.generation:
            self.answers.put(key, answer)
        return answer

    def _answer(self, asked: _Asked, name: str, writer: Generator, written: Callable[[str], object] | None) -> Answer:
        """Retrieve, pack, generate, verify."""
        query, result = self._retrieved(asked)
        timings = dict(result.timings_ms)
        found = Answer(
            question=query.question,
            answer="",
            hits=result.hits,
            generation=result.generation,
            generator=name,
            confidence=result.confidence,
            calibration=result.calibration,
            sent_to=self._asked(result),
            trace=result.steps,
            degraded=result.degraded,
            timings_ms=timings,
        )
        reason = refusal(result)
        if result.confidence is not None:
            judged = {"confidence": result.confidence, "threshold": result.threshold, "refused": reason}
            found = _traced(found, Step(stage="judge", name=result.calibration, details=judged))
        if reason is not None:
            return self._refused(found, query, reason)
        try:
            with stage("pack", timings):
                context = self.packed(query, result, writer)
                context = msgspec.structs.replace(context, generation=result.generation)
            found = _traced(found, *_steps(context.steps, "pack", self.settings.packing.packer))
            with stage("generate", timings):
                draft = _draft(writer, query, context, written)
        except BackendError as error:
            failure = Failure(code=error.code, message=error.message, hint=error.hint)
            sent_to = dict.fromkeys((*found.sent_to, *getattr(writer, "sent_to", ())))
            failed = _traced(found, Step(stage="generate", name=name, details={"failure": error.code}))
            return msgspec.structs.replace(failed, failure=failure, sent_to=tuple(sent_to))
        found = _traced(found, *_steps(draft.steps, "generate", name))
        if not draft.text and draft.failure is None:
            return self._refused(found, query, "no_evidence")
        with stage("verify", timings):
            verified = self.verifier.verify(query, context, draft)
        found = _traced(found, *_steps(verified.steps, "verify", self.settings.verification.verifier))
        timings["total"] = round(sum(timings.get(part, 0.0) for part in ("total", "pack", "generate", "verify")), 3)
        answered = msgspec.structs.replace(
            found,
            answer="\n\n".join([verified.text, *self._unanswered(query, draft)]),
            citations=tuple(_of_own_chunk(citation, found.hits) for citation in verified.citations),
            sent_to=tuple(dict.fromkeys((*found.sent_to, *draft.sent_to))),
            generator=draft.generator or name,
            degraded=(*found.degraded, *draft.degraded),
            failure=draft.failure,
            quotations=verified.quotations,
            claims=verified.claims,
            groundedness=verified.groundedness,
            risk=verified.risk,
            addresses_removed=verified.addresses_removed,
            incomplete=draft.incomplete,
        )
        if draft.failure or (verified.text and not verified.admits):
            return answered
        return self._refused(answered, query, "no_evidence" if verified.admits else "unsupported")

    def _unanswered(self, query: Query, draft: Draft) -> Iterator[str]:
        """Yield each part of the question that the draft does not answer, and the sentence that says so."""
        for part in draft.unanswered:
            from clockify_rag.generation import refusal_text

            yield f"{part}\n\n{refusal_text(query.language, self.settings.generation.refusals)}"

    def _retrieved(self, asked: _Asked) -> tuple[Query, SearchResult]:
        """What was found for a question; found again only where that takes longer than to remember it.

        The core searches in a fraction of a millisecond; embedders on a server, rerankers and models that understand do not.
        """
        understanding = self.settings.understanding
        is_slow = self.rerankers or any(getattr(understanding, name) for name in MODEL_STEPS)
        is_slow = is_slow or (self.embedder is not None and not hasattr(self.embedder, "core"))
        if not (self.settings.cache.enabled and is_slow):
            return self._search(*asked.searched, lexical=asked.lexical, history=asked.history)
        opened = self.index.opened
        key = self._key(opened, "retrieval", asked)
        found = self._retrievals.get(key)
        if found is None:
            found = self._search(*asked.searched, lexical=asked.lexical, history=asked.history)
            if not found[1].degraded and found[1].generation == opened.snapshot.generation:
                self._retrievals.put(key, found)
        return found

    def prepare_answers(self, questions: Sequence[str], *, progress: Progress | None = None) -> PreparedAnswers:
        """Answer these questions now, and store the answers beside the index: ``ask`` gives them as long as nothing they depend on
        changes, such as the generation. They replace those that were prepared before.

        Args:
            questions: each as it will be asked.
            progress: called as the work goes on.

        Raises:
            QueryError: a question cannot be searched; nothing is stored.
            StoreError: the index cannot be read, or the answers cannot be written.
        """
        name = self.settings.generation.generator
        opened = self.index.opened
        answers: dict[str, Answer] = {}
        failed: dict[str, Failure] = {}
        once = dict.fromkeys(questions)
        for number, question in enumerate(once, 1):
            answer = self.ask(question, cached=False)
            failures = [failure for failure in (answer.failure, *answer.degraded) if failure is not None]
            if failures:
                failed[question] = failures[0]
            elif answer.generation == opened.snapshot.generation:
                asked = _Asked(question, self.settings.retrieval.top_k, {}, lexical=False, history=())
                answers[self._answer_key(opened, asked, name)] = answer
            if progress is not None:
                progress("answer", number, len(once))
        try:
            self.answers.prepare(answers)
        except OSError as error:
            raise StoreError(f"the answers cannot be stored: {error}", path=str(self.path)) from error
        return PreparedAnswers(
            generation=opened.snapshot.generation,
            answers=len(answers),
            refused=sum(answer.refused for answer in answers.values()),
            failed=failed,
        )

    def _answer_key(self, opened: OpenGeneration, asked: _Asked, name: str) -> str:
        writer = self.generator(name)
        version = getattr(getattr(writer, "first", writer), "prompt_version", "")
        return self._key(opened, "answer", asked, name, version)

    def _key(self, opened: OpenGeneration, kind: str, asked: _Asked, *others: str) -> str:
        """Everything that what is made of a question depends on."""
        # As Python writes it, because that also writes what is no text: it is refused, or cleaned, when it is understood.
        filters = sorted((field, tuple(values)) for field, values in asked.filters.items())
        of_question = (asked.question, asked.top_k, filters, asked.lexical, asked.history)
        return repr((kind, opened.snapshot.hash, self._answering, of_question, others))

    @_once
    def _answering(self) -> str:
        """What answers depend on besides question and generation."""
        from clockify_rag import __version__

        tables = {name: getattr(self.settings, name) for name in ANSWERING_TABLES}
        # A glossary that cannot be read is an error of understanding, which tells of it.
        file = self.settings.understanding.glossary
        glossary = Path(file).read_bytes() if file is not None and Path(file).is_file() else b""
        return msgspec.json.encode([__version__, tables, self.calibration, glossary], order="deterministic").decode()

    @_once
    def answers(self) -> AnswerCache:
        """The answers that were given."""
        from clockify_rag.remembering import AnswerCache

        return AnswerCache(self.path / "cache", self.settings.cache, current=self._serves_current)

    def _serves_current(self) -> bool:
        return self.index.snapshot.is_current()

    @_once
    def _retrievals(self) -> RecentResults[tuple[Query, SearchResult]]:
        from clockify_rag.cache import RecentResults

        return RecentResults(self.settings.cache.entries, self.settings.cache.seconds)

    def forget(self) -> None:
        """Forget the answers and rankings that are kept in memory."""
        self.answers.clear()
        self._retrievals.clear()

    def _refused(self, found: Answer, query: Query, reason: RefusalReason) -> Answer:
        """A refusal: the sentence that says so, what was looked for, and the pages that come nearest."""
        from clockify_rag.generation import refusal_text

        searched, nearest = tuple(asked_words(query)), near_pages(found.hits)
        text = refusal_text(
            query.language,
            self.settings.generation.refusals,
            searched=searched,
            nearest=[(page.title, page.url or page.path, page.anchor) for page in nearest],
        )
        return msgspec.structs.replace(
            found, answer=text, refused=True, reason=reason, searched=searched, nearest=nearest
        )

    # The components, each made once, when it is first needed.

    @_once
    def loader(self) -> Loader:
        """Reads sources."""
        table = self.settings.loading
        loader: Loader = plugins.create(
            "loaders",
            table.loader,
            table.arguments,
            ignore=table.ignore,
            maximum_bytes=table.maximum_bytes,
            omitted_sections=table.omitted_sections,
        )
        return loader

    @_once
    def chunker(self) -> Chunker:
        """Cuts pages."""
        table = self.settings.chunking
        given: dict[str, Any] = {"target": table.target, "maximum": table.maximum, "overlap": table.overlap}
        if table.chunker not in WITHOUT_EMBEDDER:
            given["embedder"] = self.embedder
        chunker: Chunker = plugins.create("chunkers", table.chunker, table.arguments, **given)
        return chunker

    @_once
    def chunker_fingerprint(self) -> str:
        """A hash of the chunker's name, its settings and, where it tells, what it does: chunks of another are made anew."""
        settings = msgspec.json.encode(self.settings.chunking, order="deterministic").decode()
        tells = getattr(self.chunker, "fingerprint", None)
        return digest("chunker 2", settings, tells() if callable(tells) else "")

    @_once
    def embedding(self) -> EmbeddingSettings:
        """What embeds: the configuration's choice, else what the index was made with, else the default."""
        return self._chosen_embedding()

    def _chosen_embedding(self) -> EmbeddingSettings:
        table = self.settings.embedding
        if table.embedder is not None:
            return table
        recorded = self._recorded_embedder()
        name, _, model = ("static", "", "") if recorded is None else recorded.name.partition(":")
        return msgspec.structs.replace(table, embedder=name, model=table.model or model or None)

    def _recorded_embedder(self) -> EmbedderEntry | None:
        try:
            recorded = self.index.snapshot.embedder
        except IndexNotFound:
            return None
        return None if recorded is None else EmbedderEntry(*recorded)

    @_once
    def embedder(self) -> Embedder | None:
        """Makes vectors; ``None`` for an index without."""
        table = self.embedding
        name = table.embedder or "static"
        if name == "none":
            return None
        given = {name: value for name, value in (("model", table.model), ("url", table.url)) if value is not None}
        embedder: Embedder = plugins.create("embedders", name, table.arguments, **given)
        if name == "static":
            return embedder
        from clockify_rag.cache import EmbeddingCache
        from clockify_rag.embedding import CachedEmbedder

        return CachedEmbedder(embedder, EmbeddingCache(self.path / "cache", maximum_bytes=table.cache_bytes))

    @_once
    def embedder_entry(self) -> EmbedderEntry | None:
        """What identifies the index's vectors: the embedder's, and how much titles count in them.

        Loads the embedder's model, and asks its server where it has one.
        """
        embedder, table = self.embedder, self.embedding
        if embedder is None:
            return None
        name = table.embedder or "static"
        if table.model is not None:
            name = f"{name}:{table.model}"
        fingerprint = f"{embedder.fingerprint()}+{self.settings.embedding.title_weight:g}"
        return EmbedderEntry(name, fingerprint, embedder.dimension)

    @property
    def searching_entry(self) -> EmbedderEntry | None:
        """What questions' vectors are compared with the index's by.

        A model server is not asked for its fingerprint with every process that searches: one of the name that the index
        records is taken to be the one that made it. ``build`` and ``doctor`` ask.
        """
        embedder, recorded = self.embedder, self._recorded_embedder()
        if embedder is None or recorded is None or hasattr(embedder, "core"):
            return self.embedder_entry
        table = self.embedding
        name = table.embedder if table.model is None else f"{table.embedder}:{table.model}"
        return recorded if recorded.name == name else self.embedder_entry

    @_once
    def classifier(self) -> Classifier:
        """Tells what a question wants."""
        classifier: Classifier = plugins.create("classifiers", self.settings.understanding.classifier)
        return classifier

    @_once
    def understander(self) -> Understander:
        """Turns questions into queries."""
        table = self.settings.understanding
        given: dict[str, Any] = {"default_language": table.default_language}
        if table.understander != "plain":
            given |= {name: getattr(table, name) for name in UNDERSTANDING_STEPS}
            asks_a_model = any(getattr(table, name) for name in MODEL_STEPS)
            given |= {"classifier": self.classifier, "completer": self.completer if asks_a_model else None}
        understander: Understander = plugins.create("understanders", table.understander, table.arguments, **given)
        return understander

    @_once
    def retriever(self) -> Retriever:
        """Finds candidates."""
        return self._retriever(self.embedder, self.searching_entry)

    @_once
    def _lexical_retriever(self) -> Retriever:
        return self._retriever(None, None)

    def _retriever(self, embedder: Embedder | None, entry: EmbedderEntry | None) -> Retriever:
        table, reranking = self.settings.retrieval, self.settings.reranking
        # MMR runs inside the core when it is the only reranker: the pool then never crosses the border.
        mmr_lambda = reranking.mmr_lambda if reranking.reranker == "mmr" else None
        retriever: Retriever = plugins.create(
            "retrievers",
            table.retriever,
            table.arguments,
            index=self.index,
            embedder=embedder,
            entry=entry,
            settings=table,
            mmr_lambda=mmr_lambda,
        )
        return retriever

    @_once
    def rerankers(self) -> tuple[Reranker, ...]:
        """Order hits again, before maximal marginal relevance; none where the core does that on the way."""
        table = self.settings.reranking
        if table.reranker in IN_CORE:
            if table.arguments:
                names = ", ".join(sorted(table.arguments))
                raise InvalidSetting(
                    f"the reranker {table.reranker} takes no argument {names}",
                    hint="reranking.mmr_lambda is its setting",
                )
            return ()
        given: dict[str, Any] = {"depth": table.depth, "seconds": table.seconds, "model": table.model}
        if table.reranker == "llm":
            given |= {"model": None, "completer": self.completer}
        given = {name: value for name, value in given.items() if value is not None}
        reranker: Reranker = plugins.create("rerankers", table.reranker, table.arguments, **given)
        return (reranker,)

    def _rerankers_over(self, opened: OpenGeneration) -> tuple[Reranker, ...]:
        """The rerankers of a question that is answered from one generation, maximal marginal relevance last."""
        if not self.rerankers:
            return ()
        from clockify_rag.reranking import MmrReranker

        return *self.rerankers, MmrReranker(self.settings.reranking.mmr_lambda, vectors=opened.vectors)

    @_once
    def calibration(self) -> Calibration:
        """Turns evidence into a probability: the configuration's, else the one beside the index, else the shipped one."""
        if self.settings.calibration.file is not None:
            return load_calibration(Path(self.settings.calibration.file))
        own = self.path / CALIBRATION_FILE
        return load_calibration(own) if own.is_file() else shipped()

    @_once
    def packer(self) -> Packer:
        """Chooses the generator's context."""
        table = self.settings.packing
        # An extract of a whole page was the same in 49 of 51 answers, and took half as long again to choose.
        whole = "never" if self.settings.generation.generator == "extractive" else "how-to"
        packer: Packer = plugins.create(
            "packers",
            table.packer,
            table.arguments,
            budget_tokens=table.budget_tokens,
            pack_top=table.pack_top,
            neighbours=table.neighbours,
            whole_articles=table.whole_articles or whole,
        )
        return packer

    def packed(self, query: Query, result: SearchResult, writer: Generator) -> Context:
        """Return what ``writer`` is shown, counted as it counts. Pages are read only of the generation that the hits are from."""
        opened = self.index.opened
        same = opened.snapshot.generation == result.generation
        count = getattr(getattr(writer, "first", writer), "count", None)
        return self.packer.pack(query, result.hits, chunks_of=opened.chunks if same else None, count=count)

    @_once
    def verifier(self) -> Verifier:
        """Proves answers."""
        table = self.settings.verification
        # The table that questions are embedded by is open already.
        static = self.embedder if hasattr(type(self.embedder), "core") else None
        verifier: Verifier = plugins.create(
            "verifiers", table.verifier, table.arguments, policy=table.policy, embedder=static
        )
        return verifier

    @_once
    def _generators(self) -> dict[str, Generator]:
        return {}

    def generator(self, name: str) -> Generator:
        """Return the component of that name that writes answers; the configuration's has its fallbacks behind it."""
        with self.lock:
            if name not in self._generators:
                from clockify_rag.generation import choose

                self._generators[name] = choose(self.settings.generation, name, lambda: self.index.secret)
            return self._generators[name]

    @property
    def completer(self) -> Completer | None:
        """The language model for short texts: the configuration's generator, where that is one."""
        generator = self.generator(self.settings.generation.generator)
        first = getattr(generator, "first", generator)
        return first if isinstance(first, Completer) else None

    def _asked(self, result: SearchResult) -> tuple[str, ...]:
        """The hosts, other than this one, that embedded the question or ordered its hits."""
        embedded = () if result.lexical_only else tuple(getattr(self.embedder, "sent_to", ()))
        return tuple(dict.fromkeys((*embedded, *result.sent_to)))

    def embeds(self, language: str) -> bool:
        """Whether the embedder knows the language; one that does not say knows all."""
        languages = getattr(self.embedder, "languages", None)
        return languages is None or not language or language in languages


def _draft(writer: Generator, query: Query, context: Context, written: Callable[[str], object] | None) -> Draft:
    """Generate, telling of the text as it is written where the generator does."""
    if written is not None and getattr(writer, "streams", False):
        return writer.generate(query, context, written=written)  # type: ignore[call-arg]  # one that streams takes it
    return writer.generate(query, context)


def _steps(steps: tuple[Step, ...], name: str, component: str) -> tuple[Step, ...]:
    """The steps of a stage; its name alone where its component tells none."""
    return steps or (Step(stage=name, name=component),)


def _of_own_chunk(citation: Citation, hits: Sequence[Hit]) -> Citation:
    """A citation of the hit that has the words; a context shows what was found of one section as one text, by its best hit's name."""
    having = [
        hit.chunk
        for hit in hits
        if hit.document.id == citation.document_id and hit.chunk.slice(citation.span) == citation.quote
    ]
    if not having or any(chunk.id == citation.chunk_id for chunk in having):
        return citation
    return msgspec.structs.replace(citation, chunk_id=having[0].id, anchor=having[0].anchor)


def _traced(answer: Answer, *steps: Step) -> Answer:
    return msgspec.structs.replace(answer, trace=(*answer.trace, *steps))


def near_pages(hits: Sequence[Hit]) -> tuple[NearPage, ...]:
    """Return the pages of the best hits, each by the best of its sections."""
    pages: dict[str, NearPage] = {}
    for hit in hits:
        document = hit.document
        if document.id not in pages and len(pages) < NEAREST_PAGES:
            pages[document.id] = NearPage(
                document_id=document.id,
                title=document.title,
                path=document.path,
                url=document.url,
                anchor=hit.chunk.anchor,
            )
    return tuple(pages.values())


def _reranked(result: SearchResult, reranker: Reranker, query: Query, top_k: int) -> SearchResult:
    """Order the hits of a result again, and add what there is to say of it."""
    try:
        made = reranker.rerank(query, result.hits, top_k=top_k)
    except BackendError as error:
        made = Reranking(hits=result.hits, failure=Failure(error.code, error.message, error.hint))
    given = {hit.chunk.id: hit for hit in result.hits}
    kept = {hit.chunk.id: hit for hit in made.hits if hit.chunk.id in given}
    if len(kept) != len(made.hits):
        name = type(reranker).__name__
        raise PluginConflict(
            f"the reranker {name} returned hits that it was not given, or one twice",
            hint="clockify_rag.testing.check_reranker tells more",
            name=name,
        )
    steps = made.steps
    if forgotten := [hit for chunk_id, hit in given.items() if chunk_id not in kept]:
        steps = (*steps, Step(stage="rerank", name="forgotten", details={"kept_behind": len(forgotten)}))
    return msgspec.structs.replace(
        result,
        hits=numbered((*made.hits, *forgotten)),
        steps=(*result.steps, *steps),
        degraded=result.degraded if made.failure is None else (*result.degraded, made.failure),
        sent_to=tuple(dict.fromkeys((*result.sent_to, *made.sent_to))),
    )


def _source(given: str) -> Source:
    name, location = typed_source(given)
    return Source(name=name, location=location, site=Site(url=location) if is_address(location) else None)
