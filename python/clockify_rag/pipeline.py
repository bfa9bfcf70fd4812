"""The order of the stages: ``Pipeline.build``, ``Pipeline.search`` and ``Pipeline.ask``.

Only this module knows which stage follows which; each is a component that is made when it is first needed, once, and used by
all threads. A question is answered from the one generation that was open when it was retrieved.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, overload

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
    typed_source,
)
from clockify_rag.config import load as load_settings
from clockify_rag.contracts import (
    Answer,
    Chunk,
    Chunker,
    Document,
    Embedder,
    Failure,
    Generator,
    LoadedDocument,
    Loader,
    Packer,
    Query,
    RefusalReason,
    Reranker,
    Retriever,
    SearchResult,
    Skipped,
    Source,
    Understander,
    Verifier,
    digest,
)
from clockify_rag.errors import BackendError, ClockifyRagError, IndexNotFound, InvalidSetting, QueryError, SourceError
from clockify_rag.index import EmbedderEntry, IndexWriter, LocalIndex, OpenGeneration, check_index_folder
from clockify_rag.retrieval import HybridRetriever
from clockify_rag.telemetry import stage

BATCH_DOCUMENTS = 256
"""Documents that are chunked and embedded at once: enough for all threads, little enough for memory and for Ctrl-C."""

WITHOUT_EMBEDDER = ("structure", "sentence", "fixed")
"""The chunkers that need no vectors."""

IN_CORE = ("mmr", "none")
"""The rerankers that need no pass over the hits here: the core diversifies on the way, or does not."""

EMBEDDING_PARTS = ("embedding", "embedder", "embedder_entry")
"""The components of a pipeline that depend on ``[embedding]`` alone."""

Progress = Callable[[str, int, int | None], None]
"""Called with a stage's word, how much of it is done, and how much there is where that is known."""

T = TypeVar("T")


class BuildReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a build did."""

    generation: int
    documents: int
    """Documents in the generation that is served now."""
    chunks: int
    added: int = 0
    changed: int = 0
    moved: int = 0
    """Added documents whose text a removed one had."""
    removed: int = 0
    unchanged: int = 0
    stale: int = 0
    """Documents that could not be read and were kept as they were."""
    hidden: int = 0
    """Hidden elements of pages that were left out."""
    without_vectors: int = 0
    """Documents in languages that the embedder does not know; they are searched by words."""
    skipped: tuple[Skipped, ...] = ()
    timings_ms: Mapping[str, float] = {}


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
        if name not in pipeline.made:
            with pipeline.lock:
                if name not in pipeline.made:
                    pipeline.made[name] = self._make(pipeline)
        component: T = pipeline.made[name]
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
        progress: Progress | None = None,
    ) -> BuildReport:
        """Bring the index up to date with ``sources``: a new generation, published atomically.

        Documents of other sources stay. A document that cannot be read this time keeps its last state, marked stale.

        Args:
            sources: what to read; a folder, file or archive may be given by its location alone.
            only: make the index exactly these sources.
            strict: publish nothing when a document cannot be read.
            checksum: read every file, also those whose size, times and inode did not change.
            progress: called as the work goes on.

        Raises:
            SourceError: a source cannot be read at all; with ``strict``, a document.
            IndexLocked: another process builds this index.
            StoreError: the index cannot be written. The old generation is then still served.
        """
        named = tuple(source if isinstance(source, Source) else _source(str(source)) for source in sources)
        check_source_names(named)
        check_index_folder(self.path, building=True)
        return _Build(self, named, only=only, strict=strict, checksum=checksum, progress=progress or _silent).run()

    def refresh(self) -> bool:
        """Serve the generation that was published last, also by another process; questions under way keep theirs.

        Returns whether it was another than the one that was open.
        """
        return self.index.refresh()

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
    ) -> tuple[Query, SearchResult]:
        """Understand, retrieve and rerank; ``opened`` is the generation to search, by default the one that is open."""
        timings: dict[str, float] = {}
        count = self.settings.retrieval.top_k if top_k is None else top_k
        if not 1 <= count <= MAXIMUM_TOP_K:
            raise QueryError(f"{count:,} hits cannot be asked for", hint=f"ask for 1 to {MAXIMUM_TOP_K:,}", top_k=count)
        with stage("search", timings):
            query = self.understander.understand(question, filters=filters)
            if excluded_documents:
                query = msgspec.structs.replace(query, excluded_documents=tuple(excluded_documents))
            by_words = lexical or self.settings.retrieval.lexical or not self.embeds(query.language)
            retriever = self._lexical_retriever if by_words else self.retriever
            rerankers = self.rerankers
            pool = max(count, self.settings.retrieval.candidates) if rerankers else count
            opened = opened or self.index.opened
            if isinstance(retriever, HybridRetriever):
                result = retriever.retrieve(query, top_k=pool, opened=opened)
            else:
                result = retriever.retrieve(query, top_k=pool)
            for number, reranker in enumerate(rerankers, 1):
                with stage("rerank", timings):
                    wanted = count if number == len(rerankers) else pool
                    hits = tuple(reranker.rerank(query, result.hits, top_k=wanted))
                result = msgspec.structs.replace(result, hits=hits)
        total = timings.pop("search")
        timings = {**result.timings_ms, **timings, "total": total}
        confidence, threshold = self._confidence(result, opened)
        return query, msgspec.structs.replace(
            result,
            timings_ms=timings,
            confidence=confidence,
            threshold=threshold,
            calibration="" if confidence is None else self.calibration.name,
        )

    def _confidence(self, result: SearchResult, opened: OpenGeneration) -> tuple[float | None, float]:
        """The probability that the documentation answers, and the threshold below which it does not count as answered."""
        recorded = None if result.lexical_only or not result.hits else opened.snapshot.embedder
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
    ) -> Answer:
        """Return the answer to ``question``, with citations, or a refusal.

        A model that fails is not a refusal: the answer then carries the hits and the failure.

        Args:
            question: at most 2,000 characters.
            top_k: hits at most; by default the configuration's.
            filters: as for ``search``.
            generator: the component that writes; by default the configuration's.
            lexical: search by words only.

        Raises:
            QueryError: the question cannot be searched.
            StoreError: the index cannot be read.
            PluginError: there is no such generator.
        """
        name = generator or self.settings.generation.generator
        writer = self.generator(name)
        query, result = self._search(question, top_k, filters, lexical=lexical)
        timings = dict(result.timings_ms)
        found = Answer(
            question=question,
            answer="",
            hits=result.hits,
            generation=result.generation,
            generator=name,
            confidence=result.confidence,
            calibration=result.calibration,
            sent_to=self._asked(result),
            timings_ms=timings,
        )
        if reason := refusal(result):
            return self._refused(found, query, reason)
        try:
            with stage("pack", timings):
                context = self.packer.pack(query, result.hits)
                context = msgspec.structs.replace(context, generation=result.generation)
            with stage("generate", timings):
                draft = writer.generate(query, context)
        except BackendError as error:
            failure = Failure(code=error.code, message=error.message, hint=error.hint)
            sent_to = dict.fromkeys((*found.sent_to, *getattr(writer, "sent_to", ())))
            return msgspec.structs.replace(found, failure=failure, sent_to=tuple(sent_to))
        if not draft.text and draft.failure is None:
            return self._refused(found, query, "no_evidence")
        with stage("verify", timings):
            text, citations, removed = self.verifier.verify(query, context, draft)
        timings["total"] = round(sum(timings.get(part, 0.0) for part in ("total", "pack", "generate", "verify")), 3)
        return msgspec.structs.replace(
            found,
            answer=text,
            citations=citations,
            sent_to=tuple(dict.fromkeys((*found.sent_to, *draft.sent_to))),
            failure=draft.failure,
            quotes_removed=removed,
        )

    def _refused(self, found: Answer, query: Query, reason: RefusalReason) -> Answer:
        from clockify_rag.generation import refusal_text

        text = refusal_text(query.language, self.settings.generation.refusals)
        return msgspec.structs.replace(found, answer=text, refused=True, reason=reason)

    def explain(self, question: str, *chunk_ids: str) -> dict[str, Any]:
        """Return how ``question`` was understood and why each hit stands where it stands, as JSON-ready values.

        Everything is of one generation, whatever is published meanwhile.

        Args:
            question: at most 2,000 characters.
            *chunk_ids: also explain these chunks, whether they were found or not.

        Raises:
            QueryError: the question cannot be searched.
            SourceError: there is no such chunk.
            InvalidSetting: the retriever does not explain.
        """
        retriever = self.retriever
        if not isinstance(retriever, HybridRetriever):
            name = self.settings.retrieval.retriever
            raise InvalidSetting(f"the retriever {name} does not explain its ranking", hint="the retriever hybrid does")
        opened = self.index.opened
        for chunk_id in chunk_ids:
            if opened.chunk(chunk_id) is None:
                raise SourceError(
                    f"the index has no chunk {chunk_id!r}", hint="clockify-rag search --json prints chunk ids"
                )
        query, result = self._search(question, None, None, lexical=False, opened=opened)
        options = retriever.options(self.settings.retrieval.top_k)
        explained = {
            chunk_id: msgspec.json.decode(opened.snapshot.explain(query.text, query.language, options, chunk_id))
            for chunk_id in dict.fromkeys((*(hit.chunk.id for hit in result.hits), *chunk_ids))
        }
        settings = self.settings.retrieval
        return {
            "question": question,
            "language": query.language,
            "terms": _core.question_terms(query.text, query.language),
            "generation": result.generation,
            "fusion": {
                "rule": "bm25 / bm25_max + w * cos",
                "dense_weight": None if result.lexical_only else retriever.dense_weight,
                "document_weight": settings.document_weight,
                "repeat_weight": settings.repeat_weight,
                "candidates": settings.candidates,
                "lexical_only": result.lexical_only,
            },
            "evidence": msgspec.to_builtins(result.evidence),
            "confidence": result.confidence,
            "threshold": result.threshold,
            "calibration": result.calibration,
            "refusal": refusal(result),
            "hits": [
                {
                    "rank": hit.rank,
                    "chunk_id": hit.chunk.id,
                    "path": hit.document.path,
                    "anchor": hit.chunk.anchor,
                    "score": hit.score,
                    "scores": msgspec.to_builtins(hit.scores),
                    "bm25": explained[hit.chunk.id],
                }
                for hit in result.hits
            ],
            "chunks": [explained[chunk_id] for chunk_id in chunk_ids],
            "timings_ms": dict(result.timings_ms),
        }

    # The components, each made once, when it is first needed.

    @_once
    def loader(self) -> Loader:
        """Reads sources."""
        table = self.settings.loading
        loader: Loader = plugins.create(
            "loaders", table.loader, table.arguments, ignore=table.ignore, maximum_bytes=table.maximum_bytes
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

        return CachedEmbedder(embedder, EmbeddingCache(self.path / "cache"))

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

    def _searching_entry(self) -> EmbedderEntry | None:
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
    def understander(self) -> Understander:
        """Turns questions into queries."""
        table = self.settings.retrieval
        understander: Understander = plugins.create(
            "understanders", table.understander, default_language=table.default_language
        )
        return understander

    @_once
    def retriever(self) -> Retriever:
        """Finds candidates."""
        return self._retriever(self.embedder, self._searching_entry())

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
        """Order hits again, one after the other, maximal marginal relevance last; none where the core does it on the way."""
        table = self.settings.reranking
        if table.reranker in IN_CORE:
            if table.arguments:
                names = ", ".join(sorted(table.arguments))
                raise InvalidSetting(
                    f"the reranker {table.reranker} takes no argument {names}",
                    hint="reranking.mmr_lambda is its setting",
                )
            return ()
        from clockify_rag.reranking import MmrReranker

        reranker: Reranker = plugins.create("rerankers", table.reranker, table.arguments)
        return reranker, MmrReranker(table.mmr_lambda, vectors=self.index.vectors)

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
        packer: Packer = plugins.create(
            "packers", table.packer, table.arguments, budget_tokens=table.budget_tokens, pack_top=table.pack_top
        )
        return packer

    @_once
    def verifier(self) -> Verifier:
        """Proves answers."""
        table = self.settings.verification
        verifier: Verifier = plugins.create("verifiers", table.verifier, table.arguments)
        return verifier

    @_once
    def _generators(self) -> dict[str, Generator]:
        return {}

    def generator(self, name: str) -> Generator:
        """Return the component of that name that writes answers."""
        with self.lock:
            if name not in self._generators:
                table = self.settings.generation
                given: dict[str, Any] = {}
                if name != "extractive":
                    given = {
                        # Another generator's address is not this one's: it would get the pages and the key.
                        "model": table.model if name == table.generator else None,
                        "url": table.url if name == table.generator else None,
                        "connect_seconds": table.connect_seconds,
                        "first_token_seconds": table.first_token_seconds,
                        "between_tokens_seconds": table.between_tokens_seconds,
                        "total_seconds": table.total_seconds,
                        "secret": self.index.secret,
                    }
                    given = {key: value for key, value in given.items() if value is not None}
                arguments = table.arguments if name == table.generator else {}
                self._generators[name] = plugins.create("generators", name, arguments, **given)
            return self._generators[name]

    def _asked(self, result: SearchResult) -> tuple[str, ...]:
        """The hosts, other than this one, that embedded the question."""
        return () if result.lexical_only else tuple(getattr(self.embedder, "sent_to", ()))

    def embeds(self, language: str) -> bool:
        """Whether the embedder knows the language; one that does not say knows all."""
        languages = getattr(self.embedder, "languages", None)
        return languages is None or not language or language in languages


class _Build:
    """One build, from its sources to its report."""

    def __init__(
        self,
        pipeline: Pipeline,
        sources: Sequence[Source],
        *,
        only: bool,
        strict: bool,
        checksum: bool,
        progress: Progress,
    ) -> None:
        self.pipeline = pipeline
        self.sources = sources
        self.only = only
        self.strict = strict
        self.checksum = checksum
        self.progress = progress
        self.timings: dict[str, float] = {}
        self.skipped: list[Skipped] = []
        self.unreadable: list[str] = []
        self.counts = dict.fromkeys(("added", "changed", "unchanged", "stale", "hidden", "without_vectors"), 0)
        self.seen: set[str] = set()
        self.added: Counter[str] = Counter()

    def run(self) -> BuildReport:
        """Load, chunk, embed, index."""
        pipeline = self.pipeline
        with stage("total", self.timings):
            names = {source.name for source in self.sources}
            writer = IndexWriter(
                pipeline.path,
                chunker=pipeline.chunker_fingerprint,
                embedder=pipeline.embedder_entry,
                embed=self._embed,
            )
            with writer:
                for batch in _batches(self._load(writer), BATCH_DOCUMENTS):
                    with stage("chunk", self.timings):
                        chunked = list(zip(batch, pipeline.chunker.chunk(batch), strict=True))
                    with stage("embed", self.timings):
                        vectors = self._embed([(loaded.document, chunks) for loaded, chunks in chunked])
                    for (loaded, chunks), rows in zip(chunked, vectors, strict=True):
                        writer.add(loaded.document, loaded.page.text, chunks, rows)
                    self.progress("index", len(self.seen), None)
                removed = [
                    document
                    for document in writer.known.values()
                    if document.id not in self.seen and (self.only or document.source in names)
                ]
                moved = self._moved(writer, removed)
                for document in removed:
                    writer.remove(document.id)
                with stage("publish", self.timings):
                    writer.publish()
        index = pipeline.index
        index.refresh()
        return BuildReport(
            generation=index.generation,
            documents=index.snapshot.documents,
            chunks=index.snapshot.chunks,
            moved=moved,
            removed=len(removed) - moved,
            skipped=tuple(self.skipped),
            timings_ms=self.timings,
            **{**self.counts, "added": self.counts["added"] - moved},
        )

    def _load(self, writer: IndexWriter) -> Iterator[LoadedDocument]:
        """Yield the documents that must be written; note the others."""
        for source in self.sources:
            mine = {name: known for name, known in writer.known.items() if known.source == source.name}
            chunker = self.pipeline.chunker_fingerprint
            unread = {name: known for name, known in mine.items() if known.chunker == chunker}
            self.unreadable.clear()
            for item in self._timed(self.pipeline.loader.load(source, unread, checksum=self.checksum)):
                if isinstance(item, Skipped):
                    self._skip(item)
                    continue
                if isinstance(item, Document):
                    self._unchanged(writer, item)
                    continue
                document = msgspec.structs.replace(item.document, chunker=chunker)
                known = mine.get(document.id)
                if known is not None and self._same(known, document):
                    self._unchanged(writer, document)
                else:
                    self.counts["added" if known is None else "changed"] += 1
                    self.counts["hidden"] += getattr(item.page, "hidden_dropped", 0)
                    self.seen.add(document.id)
                    if known is None:
                        self.added[digest(item.page.text)] += 1
                    yield msgspec.structs.replace(item, document=document)
                self.progress("load", len(self.seen), None)
            self._keep_stale(writer, mine.values())

    def _timed(self, items: Iterable[T]) -> Iterator[T]:
        """Count the time that a lazy stage takes as that stage's."""
        iterator = iter(items)
        while True:
            with stage("load", self.timings):
                item = next(iterator, None)
            if item is None:
                return
            yield item

    def _same(self, known: Document, document: Document) -> bool:
        """Whether nothing of a document changed but the state of its file."""
        return msgspec.structs.replace(document, file=known.file, stale=known.stale) == known

    def _unchanged(self, writer: IndexWriter, document: Document) -> None:
        self.counts["unchanged"] += 1
        self.seen.add(document.id)
        writer.keep(msgspec.structs.replace(document, stale=False))

    def _skip(self, skipped: Skipped) -> None:
        self.skipped.append(skipped)
        if skipped.error is None:
            return
        if self.strict:
            raise _strict_error(skipped)
        self.unreadable.append(skipped.path if skipped.file is None else skipped.file)

    def _keep_stale(self, writer: IndexWriter, known: Iterable[Document]) -> None:
        """Keep the documents that would have come from what could not be read: a file, a folder, or the whole source."""
        for document in known:
            above = (path for path in self.unreadable if f"{document.path}/".startswith(f"{path}/" if path else ""))
            if document.id not in self.seen and any(True for _ in above):
                self.counts["stale"] += 1
                self.seen.add(document.id)
                writer.keep(msgspec.structs.replace(document, stale=True))

    def _embed(self, batch: Sequence[tuple[Document, Sequence[Chunk]]]) -> list[bytes | None]:
        """Return the rows of each document's chunks; ``None`` where the embedder does not know the language."""
        embedder = self.pipeline.embedder
        if embedder is None:
            return [None] * len(batch)
        known = [self.pipeline.embeds(document.language) for document, _ in batch]
        self.counts["without_vectors"] += known.count(False)
        pairs = [
            (document, chunk)
            for (document, chunks), embeds in zip(batch, known, strict=True)
            if embeds
            for chunk in chunks
        ]
        from clockify_rag.embedding import embedded_passages

        rows = embedded_passages(
            embedder,
            [embedded_text(document, chunk) for document, chunk in pairs],
            [document.title for document, _ in pairs],
            self.pipeline.settings.embedding.title_weight,
        )
        width = 4 * embedder.dimension
        parts: list[bytes | None] = []
        start = 0
        for (_, chunks), embeds in zip(batch, known, strict=True):
            end = start + len(chunks) * width if embeds else start
            parts.append(rows[start:end] if embeds else None)
            start = end
        return parts

    def _moved(self, writer: IndexWriter, removed: Sequence[Document]) -> int:
        """Count the added documents whose text a removed one had."""
        snapshot = writer.previous
        if snapshot is None or not removed or not self.added:
            return 0
        texts = Counter(digest(snapshot.text(document.id) or "") for document in removed)
        return (self.added & texts).total()


def _source(given: str) -> Source:
    name, location = typed_source(given)
    return Source(name=name, location=location)


def embedded_text(document: Document, chunk: Chunk) -> str:
    """Return what of a chunk is embedded: title, headings and text, a line each.

    A passage alone often does not name the feature that it speaks of.
    """
    headings = [heading for heading in chunk.heading_path if heading != document.title]
    return "\n".join([document.title, *headings, chunk.text])


def _strict_error(skipped: Skipped) -> ClockifyRagError:
    failure = skipped.error
    reason = "" if failure is None else failure.message
    return SourceError(
        f"nothing was published because {skipped.path} cannot be read: {reason}",
        hint="without --strict the rest is built",
        path=skipped.path,
    )


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _silent(stage: str, done: int, total: int | None) -> None:
    """Show nothing."""
