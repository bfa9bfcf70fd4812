"""The order of the stages: ``Pipeline.build``, ``Pipeline.search`` and ``Pipeline.ask``.

Only this module knows which stage follows which; each is a component that is made when it is first needed, once, and used by
all threads. A question is answered from the one generation that was open when it was retrieved.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from clockify_rag import _core, plugins
from clockify_rag.cache import EmbeddingCache
from clockify_rag.config import Settings, check_source_names, typed_source
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
    Reranker,
    SearchResult,
    Skipped,
    Source,
    Understander,
    Verifier,
)
from clockify_rag.embedding import CachedEmbedder
from clockify_rag.errors import BackendError, ClockifyRagError, SourceError
from clockify_rag.generation import refusal_text
from clockify_rag.index import EmbedderEntry, IndexWriter, LocalIndex
from clockify_rag.retrieval import HybridRetriever, refusal
from clockify_rag.telemetry import stage

if TYPE_CHECKING:
    from clockify_rag.contracts import Vectors

BATCH_DOCUMENTS = 256
"""Documents that are chunked and embedded at once: enough for all threads, little enough for memory and for Ctrl-C."""

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


class Pipeline:
    """Documentation in, answers out.

    Args:
        path: the index folder; it need not exist before a build.
        settings: the configuration.
    """

    def __init__(self, path: str | Path, settings: Settings) -> None:
        self.path = Path(path)
        self.settings = settings
        self._lock = threading.RLock()
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

    @property
    def index(self) -> LocalIndex:
        """The opened index.

        Raises:
            IndexNotFound: there is none in the folder.
            IndexCorrupt: a file is not what was written.
            IndexIncompatible: it is of another format.
        """
        if self._index is None:
            with self._lock:
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
        return _Build(self, named, only, strict, checksum, progress or _silent).run()

    def search(
        self,
        question: str,
        top_k: int | None = None,
        filters: Mapping[str, Sequence[str]] | None = None,
        *,
        lexical: bool = False,
    ) -> SearchResult:
        """Return the chunks that answer ``question`` best.

        Args:
            question: at most 2,000 characters.
            top_k: hits at most; by default the configuration's.
            filters: field (``source``, ``language``, ``kind``, ``tags``, ``version``) to the values allowed.
            lexical: search by words only.

        Raises:
            QueryError: the question cannot be searched.
            StoreError: the index cannot be read.
        """
        timings: dict[str, float] = {}
        count = self.settings.retrieval.top_k if top_k is None else top_k
        with stage("search", timings):
            query = self.understander.understand(question, filters=filters)
            retriever = self._lexical_retriever if lexical or not self._embeds(query.language) else self.retriever
            reranker = self.reranker
            result = retriever.retrieve(query, top_k=count if reranker is None else self.settings.retrieval.candidates)
            if reranker is not None:
                with stage("rerank", timings):
                    hits = tuple(reranker.rerank(query, result.hits, top_k=count))
                result = msgspec.structs.replace(result, hits=hits)
        timings = {**result.timings_ms, **timings, "total": timings.pop("search")}
        return msgspec.structs.replace(result, timings_ms=timings)

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
        writer = self._generator(name)
        result = self.search(question, top_k, filters, lexical=lexical)
        timings = dict(result.timings_ms)
        found = {
            "question": question,
            "hits": result.hits,
            "generation": result.generation,
            "generator": name,
        }
        query = self.understander.understand(question, filters=filters)
        refused = {"answer": refusal_text(query.language, self.settings.generation.refusals), "refused": True}
        if reason := refusal(result):
            return Answer(reason=reason, timings_ms=timings, **refused, **found)
        try:
            with stage("pack", timings):
                context = self.packer.pack(query, result.hits)
                context = msgspec.structs.replace(context, generation=result.generation)
            with stage("generate", timings):
                draft = writer.generate(query, context)
        except BackendError as error:
            failure = Failure(code=error.code, message=error.message, hint=error.hint)
            sent_to = tuple(getattr(writer, "sent_to", ()))
            return Answer(answer="", failure=failure, sent_to=sent_to, timings_ms=timings, **found)
        if not draft.text and draft.failure is None:
            return Answer(reason="no_evidence", timings_ms=timings, **refused, **found)
        with stage("verify", timings):
            text, citations, removed = self.verifier.verify(query, context, draft)
        timings["total"] = round(sum(timings.get(part, 0.0) for part in ("total", "pack", "generate", "verify")), 3)
        return Answer(
            answer=text,
            citations=citations,
            sent_to=draft.sent_to,
            failure=draft.failure,
            quotes_removed=removed,
            timings_ms=timings,
            **found,
        )

    def explain(self, question: str, chunk_id: str | None = None) -> dict[str, Any]:
        """Return how ``question`` was understood and why each hit stands where it stands, as JSON-ready values.

        Args:
            question: at most 2,000 characters.
            chunk_id: also explain this chunk, whether it was found or not.

        Raises:
            QueryError: the question cannot be searched.
            SourceError: there is no such chunk.
        """
        query = self.understander.understand(question)
        result = self.search(question)
        retriever = self._explainable
        wanted = [hit.chunk.id for hit in result.hits] if chunk_id is None else [chunk_id]
        if chunk_id is not None and self.index.chunk(chunk_id) is None:
            raise SourceError(f"the index has no chunk {chunk_id!r}", hint="clockify-rag search --json prints chunk ids")
        options = retriever.options(self.settings.retrieval.top_k)
        snapshot = self.index.snapshot
        explained = {
            wanted_id: msgspec.json.decode(snapshot.explain(query.text, query.language, options, wanted_id))
            for wanted_id in wanted
        }
        settings = self.settings.retrieval
        return {
            "question": question,
            "language": query.language,
            "terms": _core.question_terms(query.text, query.language),
            "generation": result.generation,
            "fusion": {
                "rule": "bm25 / bm25_max + w * cos",
                "dense_weight": retriever.dense_weight,
                "document_weight": settings.document_weight,
                "candidates": settings.candidates,
                "lexical_only": result.lexical_only,
            },
            "evidence": msgspec.to_builtins(result.evidence),
            "refusal": refusal(result),
            "hits": [
                {
                    "rank": hit.rank,
                    "chunk_id": hit.chunk.id,
                    "path": hit.document.path,
                    "anchor": hit.chunk.anchor,
                    "score": hit.score,
                    "scores": msgspec.to_builtins(hit.scores),
                    "bm25": explained.get(hit.chunk.id),
                }
                for hit in result.hits
            ],
            "chunk": None if chunk_id is None else explained[chunk_id],
            "timings_ms": dict(result.timings_ms),
        }

    # The components, each made once, when it is first needed.

    @cached_property
    def loader(self) -> Loader:
        """Reads sources."""
        table = self.settings.loading
        return self._make(
            "loaders", table.loader, table.arguments, ignore=table.ignore, maximum_bytes=table.maximum_bytes
        )

    @cached_property
    def chunker(self) -> Chunker:
        """Cuts pages."""
        table = self.settings.chunking
        return self._make(
            "chunkers",
            table.chunker,
            table.arguments,
            target=table.target,
            maximum=table.maximum,
            overlap=table.overlap,
        )

    @property
    def chunker_fingerprint(self) -> str:
        """A hash of the chunker's name and settings: chunks of another are made anew."""
        table = msgspec.json.encode(self.settings.chunking, order="deterministic")
        return blake2b(table, digest_size=16).hexdigest()

    @cached_property
    def embedder(self) -> Embedder | None:
        """Makes vectors; ``None`` when the configuration searches by words only."""
        table = self.settings.embedding
        if self.settings.retrieval.lexical or table.embedder == "none":
            return None
        given = {name: value for name, value in (("model", table.model), ("url", table.url)) if value is not None}
        embedder: Embedder = self._make("embedders", table.embedder, table.arguments, **given)
        if table.embedder == "static":
            return embedder
        return CachedEmbedder(embedder, EmbeddingCache(self.path / "cache"))

    @cached_property
    def embedder_entry(self) -> EmbedderEntry | None:
        """What identifies the embedder's vectors. Loads its model."""
        embedder, table = self.embedder, self.settings.embedding
        if embedder is None:
            return None
        name = table.embedder if table.model is None else f"{table.embedder}:{table.model}"
        return EmbedderEntry(name, embedder.fingerprint(), embedder.dimension)

    @cached_property
    def understander(self) -> Understander:
        """Turns questions into queries."""
        table = self.settings.retrieval
        return self._make("understanders", table.understander, {}, default_language=table.default_language)

    @cached_property
    def retriever(self) -> HybridRetriever:
        """Finds candidates."""
        return self._retriever(self.embedder, self.embedder_entry)

    @cached_property
    def _lexical_retriever(self) -> HybridRetriever:
        return self._retriever(None, None)

    @property
    def _explainable(self) -> HybridRetriever:
        return self.retriever

    def _retriever(self, embedder: Embedder | None, entry: EmbedderEntry | None) -> HybridRetriever:
        table, reranking = self.settings.retrieval, self.settings.reranking
        # MMR runs inside the core when it is the only reranker: the pool then never crosses the border.
        mmr_lambda = reranking.mmr_lambda if reranking.reranker == "mmr" else None
        return self._make(
            "retrievers",
            table.retriever,
            table.arguments,
            index=self.index,
            embedder=embedder,
            entry=entry,
            settings=table,
            mmr_lambda=mmr_lambda,
        )

    @cached_property
    def reranker(self) -> Reranker | None:
        """Orders hits again; ``None`` when the core does it on the way."""
        table = self.settings.reranking
        if table.reranker in ("mmr", "none"):
            return None
        return self._make("rerankers", table.reranker, table.arguments)

    @cached_property
    def packer(self) -> Packer:
        """Chooses the generator's context."""
        table = self.settings.packing
        return self._make(
            "packers", table.packer, table.arguments, budget_tokens=table.budget_tokens, pack_top=table.pack_top
        )

    @cached_property
    def verifier(self) -> Verifier:
        """Proves answers."""
        table = self.settings.verification
        return self._make("verifiers", table.verifier, table.arguments)

    @cached_property
    def _generators(self) -> dict[str, Generator]:
        return {}

    def _generator(self, name: str) -> Generator:
        with self._lock:
            if name not in self._generators:
                table = self.settings.generation
                given: dict[str, Any] = {}
                if name != "extractive":
                    given = {
                        "model": table.model,
                        "url": table.url,
                        "connect_seconds": table.connect_seconds,
                        "first_token_seconds": table.first_token_seconds,
                        "between_tokens_seconds": table.between_tokens_seconds,
                        "total_seconds": table.total_seconds,
                        "secret": self.index.secret,
                    }
                    given = {key: value for key, value in given.items() if value is not None}
                arguments = table.arguments if name == table.generator else {}
                self._generators[name] = self._make("generators", name, arguments, **given)
            return self._generators[name]

    def _make(self, group: str, name: str, arguments: Mapping[str, Any], **built_in: Any) -> Any:
        return plugins.create(group, name, arguments, **built_in)

    def _embeds(self, language: str) -> bool:
        """Whether the embedder knows the language; one that does not say knows all."""
        languages = getattr(self.embedder, "languages", None)
        return languages is None or not language or language in languages


class _Build:
    """One build, from its sources to its report."""

    def __init__(
        self,
        pipeline: Pipeline,
        sources: Sequence[Source],
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
        self.counts = dict.fromkeys(("added", "changed", "unchanged", "stale", "hidden", "without_vectors"), 0)
        self.seen: set[str] = set()
        self.added: dict[str, str] = {}

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
                sources=names,
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
        index = LocalIndex(pipeline.path) if pipeline._index is None else pipeline.index
        index.refresh()
        pipeline._index = index
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
            paths = {known.path: known for known in mine.values()}
            unread = {} if writer.rechunk else mine
            for item in self._timed(self.pipeline.loader.load(source, unread, checksum=self.checksum)):
                if isinstance(item, Skipped):
                    self._skip(writer, item, paths)
                elif isinstance(item, Document):
                    self._unchanged(writer, item)
                elif (known := mine.get(item.document.id)) and self._same(writer, known, item.document):
                    self._unchanged(writer, item.document)
                else:
                    self.counts["added" if known is None else "changed"] += 1
                    self.counts["hidden"] += getattr(item.page, "hidden_dropped", 0)
                    self.seen.add(item.document.id)
                    if known is None:
                        self.added[item.document.id] = _digest(item.page.text)
                    yield item
                self.progress("load", len(self.seen), None)

    def _timed(self, items: Iterable[T]) -> Iterator[T]:
        """Count the time that a lazy stage takes as that stage's."""
        iterator = iter(items)
        while True:
            with stage("load", self.timings):
                item = next(iterator, None)
            if item is None:
                return
            yield item

    def _same(self, writer: IndexWriter, known: Document, document: Document) -> bool:
        return known.content_hash == document.content_hash and not writer.rechunk

    def _unchanged(self, writer: IndexWriter, document: Document) -> None:
        self.counts["unchanged"] += 1
        self.seen.add(document.id)
        writer.keep(msgspec.structs.replace(document, stale=False))

    def _skip(self, writer: IndexWriter, skipped: Skipped, paths: Mapping[str, Document]) -> None:
        self.skipped.append(skipped)
        if skipped.error is None:
            return
        if self.strict:
            raise _strict_error(skipped)
        below = skipped.path + "/"
        for path, known in paths.items():
            if path == skipped.path or path.startswith(below):
                self.counts["stale"] += 1
                self.seen.add(known.id)
                writer.keep(msgspec.structs.replace(known, stale=True))

    def _embed(self, batch: Sequence[tuple[Document, Sequence[Chunk]]]) -> list[Vectors | None]:
        """Return the vectors of each document's chunks; ``None`` where the embedder does not know the language."""
        embedder = self.pipeline.embedder
        if embedder is None:
            return [None] * len(batch)
        known = [self.pipeline._embeds(document.language) for document, _ in batch]
        self.counts["without_vectors"] += known.count(False)
        texts = [
            embedded_text(document, chunk)
            for (document, chunks), embeds in zip(batch, known, strict=True)
            if embeds
            for chunk in chunks
        ]
        rows = embedder.embed(texts)
        vectors: list[Vectors | None] = []
        start = 0
        for (_, chunks), embeds in zip(batch, known, strict=True):
            end = start + len(chunks) if embeds else start
            vectors.append(rows[start:end] if embeds else None)
            start = end
        return vectors

    def _moved(self, writer: IndexWriter, removed: Sequence[Document]) -> int:
        """Count the added documents whose text a removed one had."""
        snapshot = writer.previous
        if snapshot is None or not removed or not self.added:
            return 0
        texts = [_digest(snapshot.text(document.id) or "") for document in removed]
        return sum(text in texts for text in self.added.values())


def _source(given: str) -> Source:
    name, location = typed_source(given)
    return Source(name=name, location=location)


def embedded_text(document: Document, chunk: Chunk) -> str:
    """Return what of a chunk is embedded: title, headings and text, a line each, because a passage alone often does not
    name the feature that it speaks of."""
    headings = [heading for heading in chunk.heading_path if heading != document.title]
    return "\n".join([document.title, *headings, chunk.text])


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


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
