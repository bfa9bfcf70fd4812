"""Building an index: from sources to a published generation.

A build loads, chunks and embeds batch by batch, so that its memory does not grow with its sources, and publishes once, at its end:
whatever stops it before leaves the generation that is served. What the sources no longer have goes only where they could be read,
and where a source lost no more than may be believed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from clockify_rag.contracts import (
    Chunk,
    Document,
    LoadedDocument,
    Notice,
    Skipped,
    Source,
    digest,
)
from clockify_rag.errors import ClockifyRagError, SourceError, SourceShrunk
from clockify_rag.index import (
    EMBEDDED_AT_ONCE,
    EmbeddingCounts,
    IndexWriter,
    decode_chunk,
    headings_of,
)
from clockify_rag.telemetry import failpoint, stage
from clockify_rag.walking import UNREADABLE

if TYPE_CHECKING:
    from clockify_rag.embedding import CachedEmbedder
    from clockify_rag.pipeline import Pipeline

BATCH_DOCUMENTS = 256
"""Documents that are chunked and embedded at once: enough for all threads, little enough for memory and for Ctrl-C."""

GUARDED_DOCUMENTS = 10
"""A source of fewer documents may lose any share of them."""

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
    embedding: EmbeddingCounts = EmbeddingCounts()
    """Where the vectors of what was written came from."""
    skipped: tuple[Skipped, ...] = ()
    crawls: tuple[Any, ...] = ()
    """For each site that was crawled a ``crawling.CrawlReport``."""
    notices: tuple[Notice, ...] = ()
    """What is to be known of the sources beside their documents."""
    timings_ms: Mapping[str, float] = {}


class Build:
    """One build, from its sources to its report."""

    def __init__(
        self,
        pipeline: Pipeline,
        sources: Sequence[Source],
        crawls: Mapping[str, Any],
        *,
        only: bool,
        strict: bool,
        checksum: bool,
        allow_shrink: bool,
        progress: Progress,
    ) -> None:
        self.pipeline = pipeline
        self.sources = sources
        self.crawls = crawls
        self.only = only
        self.strict = strict
        self.checksum = checksum
        self.allow_shrink = allow_shrink
        self.progress = progress
        self.timings: dict[str, float] = {}
        self.skipped: list[Skipped] = []
        self.notices: list[Notice] = []
        self.unreadable: list[str] = []
        self.counts = dict.fromkeys(("added", "changed", "unchanged", "stale", "hidden"), 0)
        self.seen: set[str] = set()
        self.added: Counter[str] = Counter()

    def run(self) -> BuildReport:
        """Load, chunk, embed, index."""
        pipeline = self.pipeline
        with stage("total", self.timings):
            vectors = VectorMaker(pipeline)
            writer = IndexWriter(
                pipeline.path, chunker=pipeline.chunker_fingerprint, embedder=pipeline.embedder_entry, vectors=vectors
            )
            with writer:
                vectors.reuse(writer)
                failpoint("build: locked")
                for batch in _batches(self._load(writer), BATCH_DOCUMENTS):
                    with stage("chunk", self.timings):
                        chunked = self._chunk(batch)
                    for loaded, chunks in zip(batch, chunked, strict=True):
                        writer.hold(loaded.document, loaded.page.text, chunks)
                    failpoint("build: chunked")
                    with stage("embed", self.timings):
                        writer.embed(EMBEDDED_AT_ONCE)
                    failpoint("build: batch added")
                    self.progress("index", len(self.seen), None)
                with stage("embed", self.timings):
                    writer.embed()
                removed = self._removed(writer)
                moved = self._moved(writer, removed)
                for document in removed:
                    writer.remove(document.id)
                failpoint("build: complete")
                with stage("publish", self.timings):
                    writer.publish(vectors.counted)
                failpoint("build: published")
        index = pipeline.index
        index.refresh()
        return BuildReport(
            generation=index.generation,
            documents=index.snapshot.documents,
            chunks=index.snapshot.chunks,
            moved=moved,
            removed=len(removed) - moved,
            without_vectors=vectors.without,
            embedding=vectors.counts,
            skipped=tuple(self.skipped),
            crawls=tuple(self.crawls.values()),
            notices=tuple(self.notices),
            timings_ms=self.timings,
            **{**self.counts, "added": self.counts["added"] - moved},
        )

    def _chunk(self, batch: Sequence[LoadedDocument]) -> list[list[Chunk]]:
        """Cut the pages; what came as chunks keeps their boundaries."""
        if all(loaded.chunks is None for loaded in batch):
            return self.pipeline.chunker.chunk(batch)
        from clockify_rag.chunking import counted

        cut = iter(self.pipeline.chunker.chunk([loaded for loaded in batch if loaded.chunks is None]))
        return [next(cut) if loaded.chunks is None else counted(loaded.chunks) for loaded in batch]

    def _load(self, writer: IndexWriter) -> Iterator[LoadedDocument]:
        """Yield the documents that must be written; note the others."""
        by_source: dict[str, dict[str, Document]] = {}
        for document in writer.known.values():
            by_source.setdefault(document.source, {})[document.id] = document
        for source in self.sources:
            mine = by_source.get(source.name, {})
            added: list[str] = []
            for loaded in self._load_source(writer, source, mine):
                if loaded.document.id not in mine:
                    added.append(loaded.document.content_hash)
                yield loaded
            self._keep_stale(writer, mine.values())
            self._guard(source, mine, added)

    def _load_source(
        self, writer: IndexWriter, source: Source, mine: Mapping[str, Document]
    ) -> Iterator[LoadedDocument]:
        chunker = self.pipeline.chunker_fingerprint
        unread = {name: known for name, known in mine.items() if known.chunker == chunker}
        self.unreadable.clear()
        try:
            for item in self._timed(self._items(source, unread)):
                if isinstance(item, Skipped):
                    self._skip(item)
                    continue
                if isinstance(item, Notice):
                    self.notices.append(item)
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
        except SourceError as error:
            error.fields.setdefault("source", source.name)
            if mine and not self.strict:
                raise _kept(error, source, len(mine)) from error
            raise

    def _items(
        self, source: Source, known: Mapping[str, Document]
    ) -> Iterable[LoadedDocument | Document | Skipped | Notice]:
        """What a source holds: its files, or the pages that are kept of a site."""
        if source.site is None:
            return self.pipeline.loader.load(source, known, checksum=self.checksum)
        from clockify_rag.crawling import stored_pages
        from clockify_rag.loading import FileLoader

        failure = getattr(self.crawls.get(source.name), "failure", None)
        pages = stored_pages(self.pipeline.path, source, failure)
        if failure is not None:
            return [Skipped("", UNREADABLE, failure)]
        loader = self.pipeline.loader
        reader = loader if isinstance(loader, FileLoader) else FileLoader()
        return reader.load_pages(source, pages, known, checksum=self.checksum)

    def _timed(self, items: Iterable[T]) -> Iterator[T]:
        """Count the time that a lazy stage takes as that stage's; once for all, because most items take some microseconds."""
        iterator, spent = iter(items), 0.0
        try:
            while True:
                begin = time.perf_counter()
                item = next(iterator, None)
                spent += time.perf_counter() - begin
                if item is None:
                    return
                yield item
        finally:
            self.timings["load"] = round(self.timings.get("load", 0.0) + 1000 * spent, 3)

    def _same(self, known: Document, document: Document) -> bool:
        """Whether nothing of a document changed but the state of its file."""
        return msgspec.structs.replace(document, file=known.file, stale=known.stale) == known

    def _unchanged(self, writer: IndexWriter, document: Document) -> None:
        self.counts["unchanged"] += 1
        self.seen.add(document.id)
        writer.keep(msgspec.structs.replace(document, stale=False) if document.stale else document)

    def _skip(self, skipped: Skipped) -> None:
        self.skipped.append(skipped)
        if skipped.error is None:
            return
        if self.strict:
            raise _strict_error(skipped)
        self.unreadable.append(skipped.path if skipped.file is None else skipped.file)

    def _keep_stale(self, writer: IndexWriter, known: Iterable[Document]) -> None:
        """Keep the documents that would have come from what could not be read: a file, a folder, or the whole source."""
        unreadable = set(self.unreadable)
        for document in known if unreadable else ():
            if document.id not in self.seen and not unreadable.isdisjoint(with_folders(document.path)):
                self.counts["stale"] += 1
                self.seen.add(document.id)
                writer.keep(msgspec.structs.replace(document, stale=True))

    def _guard(self, source: Source, mine: Mapping[str, Document], added: Sequence[str]) -> None:
        """Refuse to follow a source that lost more of its documents than is likely; those that moved are not lost."""
        share = self.pipeline.settings.loading.maximum_loss
        if self.allow_shrink or len(mine) < GUARDED_DOCUMENTS:
            return
        gone = Counter(known.content_hash for known in mine.values() if known.id not in self.seen)
        lost = (gone - Counter(added)).total()
        if lost > share * len(mine):
            raise SourceShrunk(
                f"source {source.name} lost {lost:,} of its {len(mine):,} documents, more than loading.maximum_loss "
                f"allows ({share:.0%}); nothing was changed",
                hint=f"check {source.location}; if they are meant to go, build with --allow-shrink",
                source=source.name,
                lost=lost,
                documents=len(mine),
            )

    def _removed(self, writer: IndexWriter) -> list[Document]:
        names = {source.name for source in self.sources}
        return [
            document
            for document in writer.known.values()
            if document.id not in self.seen and (self.only or document.source in names)
        ]

    def _moved(self, writer: IndexWriter, removed: Sequence[Document]) -> int:
        """Count the added documents whose text a removed one had."""
        snapshot = writer.previous
        if snapshot is None or not removed or not self.added:
            return 0
        texts = Counter(digest(snapshot.text(document.id) or "") for document in removed)
        return (self.added & texts).total()


class VectorMaker:
    """Makes the vectors of chunks, or finds them: in the generation before, or in the cache.

    Args:
        pipeline: whose embedder makes them.
        progress: called with how many chunks have vectors, of how many.
        total: how many chunks there are.
    """

    def __init__(self, pipeline: Pipeline, progress: Progress | None = None, total: int | None = None) -> None:
        self.pipeline = pipeline
        self._progress = progress
        self._total = total
        self.without = 0
        """Documents in languages that the embedder does not know."""
        self._reused = 0
        self._made = 0
        self._writer: IndexWriter | None = None
        self._same_content: dict[str, Document] | None = None
        cached = self._cached
        self._before = (0, 0) if cached is None else (cached.looked_up, cached.found)

    @property
    def _cached(self) -> CachedEmbedder | None:
        embedder = self.pipeline.embedder
        return embedder if hasattr(embedder, "looked_up") else None  # type: ignore[return-value]

    @property
    def counts(self) -> EmbeddingCounts:
        """Where the vectors came from so far."""
        cached = self._cached
        if cached is None:
            return EmbeddingCounts(made=self._made)
        looked_up, found = cached.looked_up - self._before[0], cached.found - self._before[1]
        return EmbeddingCounts(made=looked_up - found, cached=found, kept=self._reused)

    def counted(self) -> EmbeddingCounts | None:
        """Return ``counts`` where the embedder has a cache."""
        return None if self._cached is None else self.counts

    def reuse(self, writer: IndexWriter) -> None:
        """Take the vectors of chunks that the generation before has from there, where an embedder outside the core made it."""
        is_core = hasattr(self.pipeline.embedder, "core")
        if writer.previous is not None and writer.embedder is not None and not writer.reembed and not is_core:
            self._writer = writer

    def known(self, document: Document, chunks: Sequence[Chunk]) -> list[bytes | None] | None:
        """Return for each chunk its row where it is known before anything is embedded; ``None`` for a document that gets none."""
        if self.pipeline.embedder is None:
            return None
        if not self.pipeline.embeds(document.language):
            self.without += 1
            return None
        rows = self._stored_rows(document) if self._writer is not None else {}
        found = [rows.get(embedded_text(document, chunk)) if rows else None for chunk in chunks]
        self._reused += sum(row is not None for row in found)
        return found

    def _stored_rows(self, document: Document) -> dict[str, bytes]:
        """The rows of a document as it was, or of one of the same content elsewhere, by the text that was embedded."""
        writer = self._writer
        if writer is None or writer.previous is None:
            return {}
        if self._same_content is None:
            self._same_content = {known.content_hash: known for known in writer.known.values()}
        former = writer.known.get(document.id) or self._same_content.get(document.content_hash)
        if former is None or not self.pipeline.embeds(former.language):
            return {}
        vectors, chunks = writer.previous.vectors_of(former.id), writer.previous.chunks_of(former.id)
        width = len(vectors) // len(chunks) if chunks else 0
        rows: dict[str, bytes] = {}
        for number, (record, text) in enumerate(chunks):
            row = vectors[number * width : (number + 1) * width]
            if any(row):
                rows[embedded_text(former, decode_chunk(record, text))] = row
        return rows

    def make(self, pairs: Sequence[tuple[Document, Chunk]]) -> bytes:
        """Return the rows of chunks, each with its document: little-endian float32, one after the other."""
        embedder = self.pipeline.embedder
        if embedder is None or not pairs:
            return b""
        from clockify_rag.embedding import embedded_passages

        rows = embedded_passages(
            embedder,
            [embedded_text(document, chunk) for document, chunk in pairs],
            [document.title for document, _ in pairs],
            self.pipeline.settings.embedding.title_weight,
        )
        self._made += len(pairs)
        if self._progress is not None:
            self._progress("embed", self._made, self._total)
        return rows


def embedded_text(document: Document, chunk: Chunk) -> str:
    """Return what of a chunk is embedded: title, headings and text, a line each.

    A passage alone often does not name the feature that it speaks of.
    """
    return "\n".join([document.title, *headings_of(document, chunk), chunk.text])


def _kept(error: SourceError, source: Source, documents: int) -> SourceError:
    """The error of a source that cannot be read, saying that what the index has of it stays."""
    removing = f"clockify-rag remove --source {source.name} removes them"
    return type(error)(
        f"{error.message}; nothing was changed, the index keeps the {documents:,} documents of source {source.name}",
        hint=f"{error.hint}; {removing}" if error.hint else removing,
        **error.fields,
    )


def with_folders(path: str) -> list[str]:
    """Return a path and those of the folders that it lies in, up to that of its source, which is empty."""
    ends = [place for place, character in enumerate(path) if character == "/"]
    return ["", *(path[:end] for end in ends), path]


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


def silent(stage: str, done: int, total: int | None) -> None:
    """Show nothing."""
