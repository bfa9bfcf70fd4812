"""Changes of an index that no source asks for: documents that must go, damage that must heal, another embedder.

Each ends with one publication, so what is served is what was or what is asked for, wherever it is interrupted. What is stored
is enough for all of them: canonical texts, chunks and vectors in half precision. Everything else in an index is derived from
these, so it is derived again and never mended in place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from clockify_rag import _core
from clockify_rag.building import Progress, VectorMaker
from clockify_rag.cache import EmbeddingCache, forget
from clockify_rag.contracts import Document, LoadedDocument, Source
from clockify_rag.errors import IndexCorrupt, SourceError
from clockify_rag.index import (
    SEGMENT_BYTES,
    DocumentState,
    EmbedderEntry,
    EmbeddingCounts,
    IndexWriter,
    LocalIndex,
    decode_chunk,
    decode_document,
    encoded_state,
    named_document,
    row_of,
    state_of,
    with_state,
)
from clockify_rag.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from clockify_rag.contracts import Chunk

Stored = tuple[Document, str, "list[Chunk]"]
"""A document, its canonical text and its chunks."""


class Purge(msgspec.Struct, frozen=True, kw_only=True):
    """What was done so that no byte of removed documents is left, and where some may be."""

    segments: int
    """Segments that were written anew without them."""
    rewritten: tuple[tuple[int, int], ...]
    """Former generations that were kept, with the number that each has now."""
    removed: tuple[int, ...]
    """Former generations that are gone."""
    cache_bytes: int
    """What the caches of embeddings and of answers took, which are gone."""
    sites: tuple[str, ...]
    """Sources of whose kept raw pages only those are left that are documents which stay: other addresses may have had the same
    text.
    """
    raw_pages: int
    """Raw pages that are gone."""
    same_text: tuple[str, ...]
    """Documents that stay and have the text of one that went, as ``source/path``."""
    out_of_reach: tuple[str, ...]
    """Where copies may be that nothing here can find."""


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """What a removal did."""

    generation: int
    documents: int
    """Documents in the generation that is served now."""
    removed: tuple[Document, ...]
    purge: Purge | None = None


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair found and did."""

    generation: int
    repaired: int
    """The generation that was repaired."""
    documents: int
    chunks: int
    damage: tuple[str, ...]
    """What was not what was written, a sentence each; nothing was published where there is nothing."""
    derived: int = 0
    """Segments whose terms and codes were derived again."""
    embedded: int = 0
    """Chunks whose vectors were lost and made again."""
    without_vectors: tuple[str, ...] = ()
    """Documents whose vectors were lost and could not be made as the others were; they are found by words."""
    healed: tuple[str, ...] = ()
    """Documents that were read from their source again."""
    dropped: tuple[str, ...] = ()
    """Documents that were lost, as ``source/path`` or id; ``?`` where even that is lost."""
    doubtful: tuple[str, ...] = ()
    """Documents that may have been removed before, which cannot be told any more; marked stale until the next build."""


class Reembedding(msgspec.Struct, frozen=True, kw_only=True):
    """What embedding again did."""

    generation: int
    documents: int
    chunks: int
    embedder: EmbedderEntry | None
    previous: EmbedderEntry | None
    without_vectors: int
    """Documents in languages that the embedder does not know."""
    embedding: EmbeddingCounts
    is_configured: bool
    """Whether the configuration searches with this embedder; else the next build would embed again with another."""


# Removing.


def remove(
    pipeline: Pipeline, documents: Sequence[str] = (), *, sources: Sequence[str] = (), purge: bool = False
) -> Removal:
    """Publish a generation without some documents. The next build of their sources brings those back that are still there.

    Args:
        pipeline: over the index.
        documents: their ids, paths, ``source/path`` or URLs.
        sources: names of sources, all documents of which go.
        purge: also write former generations anew and clear the embedding cache, so that no byte of the documents is left in
            the folder of the index: not of their earlier versions, and not of pages that they were moved from.

    Raises:
        SourceError: a document or source is not in the index.
        IndexNotFound: there is no index.
        IndexLocked: another process builds this index, or crawls a site of a purged document.
        StoreError: the index cannot be read or written. Unless it is of a purge, the old generation is then still served; a
            purge may have removed the documents already, and to purge again does the rest.
    """
    # Nothing is created where there is no index.
    _core.Snapshot.open(str(pipeline.path))
    if purge:
        return _Purging(pipeline, documents, sources).run()
    with IndexWriter.keeping(pipeline.path) as writer:
        living = list(writer.known.values())
        gone = _named(documents, sources, living)
        for document in gone:
            writer.remove(document.id)
        generation = writer.publish()
    return Removal(generation=generation, documents=len(living) - len(gone), removed=gone)


def _named(documents: Sequence[str], sources: Sequence[str], known: Sequence[Document]) -> tuple[Document, ...]:
    found = {document.id: document for document in (named_document(name, known) for name in documents)}
    names = sorted({document.source for document in known})
    for source in sources:
        if source not in names:
            import difflib

            near = difflib.get_close_matches(source, names, n=1)
            hint = f"the nearest is {near[0]}" if near else f"there are: {', '.join(names)}"
            raise SourceError(f"the index has no source {source!r}", hint=hint, source=source)
        found.update((document.id, document) for document in known if document.source == source)
    return tuple(found.values())


class _Purging:
    """One removal that leaves nothing behind."""

    def __init__(self, pipeline: Pipeline, documents: Sequence[str], sources: Sequence[str]) -> None:
        self.pipeline = pipeline
        self.documents = documents
        self.sources = sources

    def run(self) -> Removal:
        """Find, rewrite, publish, forget."""
        path = self.pipeline.path
        writer = _core.Writer(str(path))
        try:
            generations = [_core.Remains(str(path), number) for number in _core.generation_numbers(str(path))]
            current = _core.Remains(str(path))
            living = {document.id: document for *_, document in _rows_of(current)}
            everything = dict(_segments_of([current, *generations]))
            rows = {name: list(_stored_rows(*place)) for name, place in everything.items()}
            known: dict[str, Document] = {document.id: document for found in rows.values() for _, document in found}
            gone = _named(self.documents, self.sources, list({**known, **living}.values()))
            ids = self._closure({document.id for document in gone}, rows, living)
            replaced = [
                (name, self._rewrite(writer, *everything[name], [row for row in found if row[1].id not in ids]))
                for name, found in rows.items()
                if any(document.id in ids for _, document in found)
            ]
            state = state_of(current)
            kept = {name: state for name, state in state.documents.items() if name not in ids}
            del generations, current
            # First, because these may go at any time: after the publication the documents may be found no more.
            cache_bytes = EmbeddingCache(path / "cache").clear() + forget(path / "cache")
            self.pipeline.forget()
            named = {document.source for found in rows.values() for _, document in found if document.id in ids}
            staying = [document for document in living.values() if document.id not in ids]
            forgotten = {source: _forget_pages(path, source, staying) for source in sorted(named)}
            generation, rewritten, removed = writer.purge(replaced, encoded_state(kept, state.embedding))
            # Again, because until now another process may have answered from the documents, and stored that.
            cache_bytes += forget(path / "cache")
        finally:
            writer.close()
        contents = {document.content_hash for found in rows.values() for _, document in found if document.id in ids}
        return Removal(
            generation=generation,
            documents=len(staying),
            removed=gone,
            purge=Purge(
                segments=len(replaced),
                rewritten=tuple(rewritten),
                removed=tuple(removed),
                cache_bytes=cache_bytes,
                sites=tuple(source for source, count in forgotten.items() if count),
                raw_pages=sum(forgotten.values()),
                same_text=tuple(_name(document) for document in staying if document.content_hash in contents),
                out_of_reach=OUT_OF_REACH,
            ),
        )

    @staticmethod
    def _closure(
        ids: set[str], rows: Mapping[str, Sequence[tuple[int, Document]]], living: Mapping[str, Document]
    ) -> set[str]:
        """Add documents that are only in former generations and had the content of one that goes: those it was moved from."""
        every = [document for found in rows.values() for _, document in found]
        while True:
            contents = {document.content_hash for document in every if document.id in ids}
            more = {
                document.id for document in every if document.content_hash in contents and document.id not in living
            }
            if more <= ids:
                return ids
            ids = ids | more

    @staticmethod
    def _rewrite(
        writer: _core.Writer, remains: _core.Remains, segment: int, rows: Sequence[tuple[int, Document]]
    ) -> str | None:
        """Write those rows of a segment as a new one, whatever generation they live in."""
        dimension = 0 if remains.embedder is None else remains.embedder[2]
        for row, document in rows:
            text, chunks = _content(remains, segment, row)
            writer.add(row_of(document, text, chunks), dimension, remains.vectors(segment, row) if dimension else None)
        return writer.flush()


def _forget_pages(index: Path, source: str, staying: Sequence[Document]) -> int:
    """Leave of what crawls of ``source`` kept only the pages that are documents which stay; returns how many contents went."""
    from clockify_rag.crawling.pages import FOLDER, PageStore, folder_name
    from clockify_rag.loading import document_id_of_address

    if not (index / FOLDER / folder_name(source)).is_dir():
        return 0
    ids = {document.id for document in staying}
    with PageStore(index, source) as store:
        return store.keep({url for url in store.records if document_id_of_address(source, url) in ids})


OUT_OF_REACH = (
    "snapshots and backups of the index that were made before",
    "processes that read the index now: they hold the old files open until they open the new generation",
    "parts of the disk that the file system has freed and not yet written again",
    "answers that were given, and logs of them",
)
"""Where a purge cannot look."""


def _segments_of(generations: Sequence[_core.Remains]) -> Iterator[tuple[str, tuple[_core.Remains, int]]]:
    """Yield every segment by name with where it can be read."""
    for remains in generations:
        for number, (name, *_) in enumerate(remains.segments()):
            yield name, (remains, number)


def _stored_rows(remains: _core.Remains, segment: int) -> Iterator[tuple[int, Document]]:
    """Yield every document of a segment with its row, deleted ones too."""
    for row in range(remains.segments()[segment][1]):
        yield row, decode_document(remains.document_record(segment, row))


def _content(remains: _core.Remains, segment: int, row: int) -> tuple[str, list[Chunk]]:
    text, chunks = remains.content(segment, row)
    return text, [decode_chunk(record, body) for record, body in chunks]


def _name(document: Document) -> str:
    return f"{document.source}/{document.path}"


def _rows_of(remains: _core.Remains) -> Iterator[tuple[int, int, Document]]:
    """Yield the documents that live in a generation, each with its segment and row."""
    for number in range(len(remains.segments())):
        dead = set(remains.dead(number))
        for row, document in _stored_rows(remains, number):
            if row not in dead:
                yield number, row, document


# Repairing.


def repair(pipeline: Pipeline, sources: Sequence[Source] = (), *, progress: Progress | None = None) -> Repair:
    """Read every byte of the generation that is served, and publish one without what is damaged.

    Terms, posting lists and codes are derived again from stored text and vectors, without embedding. Where a vector is lost it
    is made again from the stored text, where text is lost the document is read again from its source; what cannot be had again
    is dropped and named. What is served is served until then. Nothing is published where nothing is damaged.

    Args:
        pipeline: over the index.
        sources: where lost documents are looked for.
        progress: called as the work goes on.

    Raises:
        IndexNotFound: there is no index.
        IndexCorrupt: not even the manifest of a generation can be read.
        IndexLocked: another process builds this index.
        BackendError: lost vectors cannot be made, because the embedder fails.
        StoreError: the index cannot be written.
    """
    # Nothing is created where there is no index.
    _core.Remains(str(pipeline.path))
    writer = _core.Writer.over_damage(str(pipeline.path))
    try:
        # Only now, because what is published meanwhile would be lost.
        return _Repairing(pipeline, sources, progress).run(writer)
    finally:
        writer.close()


class _Repairing:
    """One repair, from the damage to its report."""

    def __init__(self, pipeline: Pipeline, sources: Sequence[Source], progress: Progress | None) -> None:
        self.path = pipeline.path
        self.sources = sources
        self.progress = progress
        self.remains = _core.Remains(str(self.path))
        self.pipeline = self._as_recorded(pipeline)
        self.damage: list[str] = list(self.remains.passed_over)
        self.states: dict[str, DocumentState] = self._read_states()
        self.lost: dict[str, Document | None] = {}
        self.unnamed = 0
        self.kept_ids: set[str] = set()
        self.embedded = 0
        self.without_vectors: list[str] = []
        self.healed: list[str] = []
        self.doubtful: list[str] = []
        self.unembedded: list[Stored] = []

    def _as_recorded(self, pipeline: Pipeline) -> Pipeline:
        """A pipeline with the embedder that made the index, which cannot be asked for it."""
        recorded = self.remains.embedder
        return with_embedder(pipeline, "none" if recorded is None else recorded[0])

    def _read_states(self) -> dict[str, DocumentState]:
        try:
            return dict(state_of(self.remains).documents)
        except IndexCorrupt as error:
            # Files are then read again by the next build, which is all that states are for.
            self.damage.append(error.message)
            return {}

    def run(self, writer: _core.Writer) -> Repair:
        """Look at everything, derive, heal, publish."""
        derived = self._look()
        if not self.damage and not derived:
            return self._report(self.remains.generation, 0)
        kept = [number for number in range(len(self.remains.segments())) if number not in derived]
        # From the newest to the oldest, so that of a document whose deletion is lost the newest version is kept.
        for number in sorted(derived, reverse=True):
            self._derive(writer, number)
        self._heal(writer, kept)
        states = {name: state for name, state in sorted(self.states.items()) if name not in self.lost}
        generation = writer.publish_beside(remains=self.remains, kept=kept, state=encoded_state(states, None))
        return self._report(generation, len(derived))

    def _look(self) -> set[int]:
        """Read every byte; return the segments that must be written anew."""
        segments = self.remains.segments()
        rederive = self.remains.analyser != _core.analyser_fingerprint()
        found: set[int] = set()
        for number in range(len(segments)):
            damage = self.remains.damage(number)
            self.damage += damage
            if damage or rederive:
                found.add(number)
            if self.progress is not None:
                self.progress("verify", number + 1, len(segments))
        return found

    def _derive(self, writer: _core.Writer, segment: int) -> None:
        """Write what is left of a segment as a new one."""
        _, documents, _, deleted, _ = self.remains.segments()[segment]
        dead: set[int] = set()
        is_doubtful = False
        try:
            dead = set(self.remains.dead(segment))
        except IndexCorrupt:
            is_doubtful = deleted > 0
        newer = self._newer_ids(segment) if is_doubtful else set()
        for row in range(documents):
            if row in dead:
                continue
            stored = self._stored(segment, row)
            if stored is None or stored[0].id in newer:
                continue
            document, text, chunks = stored
            if is_doubtful:
                document = msgspec.structs.replace(document, stale=True)
                self.states[document.id] = DocumentState(None, stale=True)
                self.doubtful.append(_name(document))
            self._write(writer, segment, row, document, text, chunks)
            if self.progress is not None:
                self.progress("derive", row + 1, documents)

    def _newer_ids(self, segment: int) -> set[str]:
        """The documents of the segments after one."""
        found = set()
        for number in range(segment + 1, len(self.remains.segments())):
            for row in range(self.remains.segments()[number][1]):
                try:
                    found.add(self.remains.document_id(number, row))
                except IndexCorrupt:
                    continue
        return found

    def _stored(self, segment: int, row: int) -> Stored | None:
        """A document as it is stored; ``None``, and noted, where any of it is lost."""
        name, document = "", None
        try:
            name = self.remains.document_id(segment, row)
            document = decode_document(self.remains.document_record(segment, row))
            text, chunks = _content(self.remains, segment, row)
        except IndexCorrupt:
            if name:
                self.lost[name] = document
            else:
                self.unnamed += 1
            return None
        return with_state(document, self.states), text, chunks

    def _write(
        self, writer: _core.Writer, segment: int, row: int, document: Document, text: str, chunks: list[Chunk]
    ) -> None:
        recorded = self.remains.embedder
        vectors: bytes | None = None
        if recorded is not None:
            try:
                vectors = self.remains.vectors(segment, row)
            except IndexCorrupt:
                vectors = self._made(document, chunks)
        self._add(writer, document, text, chunks, vectors)

    def _made(self, document: Document, chunks: list[Chunk]) -> bytes | None:
        """Vectors made as the recorded embedder made them; ``None``, and noted, where that cannot be had."""
        recorded = self.remains.embedder
        if recorded is None or not self.pipeline.embeds(document.language):
            return None
        if self.pipeline.embedder_entry != EmbedderEntry(*recorded):
            self.without_vectors.append(_name(document))
            return None
        self.embedded += len(chunks)
        return VectorMaker(self.pipeline).make([(document, chunk) for chunk in chunks])

    def _add(
        self, writer: _core.Writer, document: Document, text: str, chunks: Sequence[Chunk], vectors: bytes | None
    ) -> None:
        recorded = self.remains.embedder
        self.kept_ids.add(document.id)
        if writer.add(row_of(document, text, chunks), 0 if recorded is None else recorded[2], vectors) >= SEGMENT_BYTES:
            writer.flush()

    def _heal(self, writer: _core.Writer, kept: Sequence[int]) -> None:
        """Read lost documents from their sources again."""
        self.lost = {name: document for name, document in self.lost.items() if name not in self.kept_ids}
        if not self.lost and not self.unnamed:
            return
        intact: dict[str, dict[str, Document]] = defaultdict(dict)
        for document in self._intact(kept):
            intact[document.source][document.id] = document
        present = {name for found in intact.values() for name in found}
        for source in self.sources:
            try:
                loaded = self._found(source, intact[source.name], present)
                for item, chunks in zip(loaded, self.pipeline.chunker.chunk(loaded), strict=True):
                    document = msgspec.structs.replace(item.document, chunker=self.pipeline.chunker_fingerprint)
                    self._add(writer, document, item.page.text, chunks, self._made(document, chunks))
                    self.states.pop(document.id, None)
                    self.healed.append(_name(document))
                    if document.id in self.lost:
                        del self.lost[document.id]
                    else:
                        self.unnamed = max(self.unnamed - 1, 0)
            except SourceError as error:
                self.damage.append(f"source {source.name} could not be read: {error.message}")

    def _intact(self, kept: Sequence[int]) -> Iterator[Document]:
        """The documents that are in the next generation so far."""
        for number in range(len(self.remains.segments())):
            rows: Iterator[tuple[int, Document]] = self._readable(number)
            dead = set(self.remains.dead(number)) if number in kept else set()
            for row, document in rows:
                if (number in kept and row not in dead) or document.id in self.kept_ids:
                    yield with_state(document, self.states)

    def _readable(self, segment: int) -> Iterator[tuple[int, Document]]:
        for row in range(self.remains.segments()[segment][1]):
            try:
                yield row, decode_document(self.remains.document_record(segment, row))
            except IndexCorrupt:
                continue

    def _found(self, source: Source, known: Mapping[str, Document], present: set[str]) -> list[LoadedDocument]:
        """The lost documents that a source has; where it is not known which were lost, all that are not in the index."""
        items = self.pipeline.loader.load(source, known)
        return [
            item
            for item in items
            if isinstance(item, LoadedDocument)
            and (item.document.id in self.lost or (self.unnamed and item.document.id not in present))
        ]

    def _report(self, generation: int, derived: int) -> Repair:
        snapshot = LocalIndex(self.path).snapshot
        lost = [name if document is None else _name(document) for name, document in self.lost.items()]
        return Repair(
            generation=generation,
            repaired=self.remains.generation,
            documents=snapshot.documents,
            chunks=snapshot.chunks,
            damage=tuple(self.damage),
            derived=derived,
            embedded=self.embedded,
            without_vectors=tuple(self.without_vectors),
            healed=tuple(self.healed),
            dropped=(*lost, *["?"] * self.unnamed),
            doubtful=tuple(self.doubtful),
        )


# Another embedder.


def with_embedder(pipeline: Pipeline, embedder: str) -> Pipeline:
    """Return a pipeline over the same index with another embedder: a component's name, and its model after a colon."""
    table = pipeline.settings.embedding
    name, _, model = embedder.partition(":")
    fields: dict[str, Any] = {"embedder": name, "model": model or None}
    if name != (table.embedder or "static"):
        # Another component's address and arguments are not this one's.
        fields |= {"url": None, "arguments": {}}
    elif not model:
        fields["model"] = table.model
    settings = msgspec.structs.replace(pipeline.settings, embedding=msgspec.structs.replace(table, **fields))
    return Pipeline(pipeline.path, settings)


def reembed(pipeline: Pipeline, embedder: str, *, progress: Progress | None = None) -> Reembedding:
    """Embed the stored chunks with another embedder and publish them; what is served is served until then.

    No source is read. What was embedded before an interruption is in the cache and not embedded again.

    Args:
        pipeline: over the index.
        embedder: the component's name, and its model after a colon: ``ollama:nomic-embed-text``; ``none`` for no vectors.
        progress: called as the work goes on.

    Raises:
        IndexNotFound: there is no index.
        PluginError: there is no such embedder.
        BackendError: the embedder fails.
        IndexLocked: another process builds this index.
        StoreError: the index cannot be read or written.
    """
    index = LocalIndex(pipeline.path)
    other = with_embedder(pipeline, embedder)
    recorded = index.snapshot.embedder
    previous = None if recorded is None else EmbedderEntry(*recorded)
    entry = other.embedder_entry
    vectors = VectorMaker(other, progress, index.snapshot.chunks)
    with IndexWriter(pipeline.path, chunker=None, embedder=entry, vectors=vectors) as writer:
        generation = writer.publish(vectors.counted)
    index.refresh()
    table, own = pipeline.settings.embedding, other.settings.embedding
    return Reembedding(
        generation=generation,
        documents=index.snapshot.documents,
        chunks=index.snapshot.chunks,
        embedder=entry,
        previous=previous,
        without_vectors=vectors.without,
        embedding=vectors.counts,
        is_configured=table.embedder is None or (table.embedder, table.model) == (own.embedder, own.model),
    )
