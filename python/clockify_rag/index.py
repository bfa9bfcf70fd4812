"""The index on disk: read by generation, written by one builder at a time.

The core stores records as opaque MessagePack and computes with ids, terms and vectors; this module is where records become
rows and rows become records. What may change of a document without its content changing (the state of its file, whether it
was readable) is kept per generation beside the segments, so that touching a thousand files rewrites none of them.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import msgspec

from clockify_rag import _core
from clockify_rag.config import INDEX_FOLDER
from clockify_rag.contracts import Chunk, Document, FileState, Term
from clockify_rag.errors import IndexIncompatible, SourceError, StoreError
from clockify_rag.telemetry import failpoint

if TYPE_CHECKING:
    from clockify_rag._core import _ChunkRow, _DocumentRow
    from clockify_rag.contracts import Vectors

MAXIMUM_SEGMENTS = 8
"""Beyond this many segments that are not full the smaller ones are merged."""

FULL_CHUNKS = 50_000
"""A segment of so many chunks is full: a question takes no longer for it, and an update must not write it anew."""

MAXIMUM_DEAD_SHARE = 0.2
"""Beyond this share of deleted chunks all segments are merged."""

COMPRESSED_BYTES = 64 * 1024
"""From this size on the state of a generation is compressed: it is written with every update. Of 20,176 touched files, 882 kB instead
of 2,484, in 17 ms.
"""

MAXIMUM_STATE_BYTES = 1 << 30
"""What a compressed state may take."""

ZLIB = b"\x78"
"""How a compressed state begins, and no other does."""

ID_CHARACTERS = 32
"""The hexadecimal digits of an id: 128 bits."""

DECODED_DOCUMENTS = 10_000
"""Documents of an open generation that are kept decoded, because most questions are about the same pages."""

EMBEDDED_AT_ONCE = 1000
"""Texts that an embedder is given at once, if there are so many: its cache is read and written once for them."""

SEGMENT_BYTES = 256 * 1024 * 1024
"""A build starts a new segment when the documents of one take so much, which bounds its memory to about three times that."""

SECRET_BYTES = 32
"""The length of the file ``secret``."""

_encoder = msgspec.msgpack.Encoder()
_documents = msgspec.msgpack.Decoder(Document)
_chunks = msgspec.msgpack.Decoder(Chunk)


class DocumentState(msgspec.Struct, frozen=True, array_like=True):
    """What changed of a document since its segment was written."""

    file: FileState | None
    stale: bool


class EmbeddingCounts(msgspec.Struct, frozen=True):
    """Where the vectors that a build wrote came from: how many texts (chunks, and titles where they are embedded)."""

    made: int = 0
    """Given to the embedder."""
    cached: int = 0
    """Found in the embedding cache."""
    kept: int = 0
    """Taken from the generation before, because the text of the chunk is the same."""

    @property
    def hit_rate(self) -> float | None:
        """The share of the texts looked for in the cache that were in it; ``None`` where none was looked for."""
        looked_up = self.made + self.cached
        return self.cached / looked_up if looked_up else None


class GenerationState(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a generation beside its segments."""

    documents: dict[str, DocumentState] = {}
    """By id, those that changed since their segment was written."""
    embedding: EmbeddingCounts | None = None
    """Of the build that published it; ``None`` where its embedder has no cache."""


_states = msgspec.msgpack.Decoder(dict[str, DocumentState] | GenerationState)


class VectorSource(Protocol):
    """Where the vectors of a build come from."""

    def known(self, document: Document, chunks: Sequence[Chunk]) -> Sequence[bytes | None] | None:
        """Return for each chunk its row of little-endian float32 where it need not be made; ``None`` for a document without
        vectors.
        """

    def make(self, pairs: Sequence[tuple[Document, Chunk]]) -> bytes:
        """Return the rows of chunks, one after the other."""


class _Held(msgspec.Struct):
    """A document that waits for vectors."""

    document: Document
    text: str
    chunks: Sequence[Chunk]
    rows: list[bytes | None]


class OpenGeneration:
    """One generation as it was opened: the core's snapshot, and what changed of documents since they were written.

    Args:
        snapshot: the core's.
    """

    def __init__(self, snapshot: _core.Snapshot) -> None:
        self.snapshot = snapshot
        self.embedder = snapshot.embedder
        """The name, fingerprint and dimension of what made its vectors; ``None`` where it has none."""
        self._state = state_of(snapshot)
        self._states = self._state.documents
        self._decoded: dict[bytes, Document] = {}

    @property
    def embedding(self) -> EmbeddingCounts | None:
        """Where the vectors of the last build came from; ``None`` where its embedder has no cache."""
        return self._state.embedding

    def document(self, record: bytes) -> Document:
        """Return the document of an encoded record, as it is in this generation."""
        document = self._decoded.get(record)
        if document is None:
            document = with_state(_documents.decode(record), self._states)
            if len(self._decoded) < DECODED_DOCUMENTS:
                self._decoded[record] = document
        return document

    def chunk(self, chunk_id: str) -> tuple[Chunk, Document] | None:
        """Return the chunk of that id and its document."""
        found = self.snapshot.chunk(chunk_id) if _is_id(chunk_id) else None
        if found is None:
            return None
        record, text, document = found
        return decode_chunk(record, text), self.document(document)

    def chunks(self, document_id: str) -> list[Chunk]:
        """Return the chunks of a document in reading order; none for an unknown document."""
        if not _is_id(document_id):
            return []
        return [decode_chunk(record, text) for record, text in self.snapshot.chunks_of(document_id)]

    def vectors(self, chunk_ids: Sequence[str]) -> Vectors:
        """Return the vectors of chunks, float32 of shape ``(len(chunk_ids), dimension)``; rows of zeros where there are none."""
        import numpy

        snapshot = self.snapshot
        dimension = 0 if self.embedder is None else self.embedder[2]
        vectors = numpy.zeros((len(chunk_ids), dimension), numpy.float32)
        for row, chunk_id in enumerate(chunk_ids):
            found = snapshot.chunk(chunk_id) if dimension else None
            if found is not None:
                chunk = decode_chunk(found[0], "")
                rows = numpy.frombuffer(snapshot.vectors_of(chunk.document_id), "<f4").reshape(-1, dimension)
                vectors[row] = rows[chunk.ordinal]
        return vectors


class LocalIndex:
    """One opened generation of an index in a folder; safe to use from many threads.

    Args:
        path: the index folder.
        opened: a generation of it that is open already; by default the one that is served.

    Raises:
        IndexNotFound: there is none.
        IndexCorrupt: a file is not what was written.
        IndexIncompatible: it is of another format.
    """

    def __init__(self, path: str | Path, *, opened: OpenGeneration | None = None) -> None:
        self.path = Path(path)
        self._opened = opened or OpenGeneration(_core.Snapshot.open(str(path)))
        self._reopening = threading.Lock()

    @classmethod
    def at(cls, path: str | Path, generation: int) -> Self:
        """Open the generation of that number, whether it is served or not; it is not collected while it is open.

        Raises:
            GenerationNotFound: there is none, or no longer.
        """
        return cls(path, opened=OpenGeneration(_core.Snapshot.open(str(path), None, generation)))

    @property
    def opened(self) -> OpenGeneration:
        """The generation that is open: one question uses one, from its first stage to its last."""
        return self._opened

    @property
    def snapshot(self) -> _core.Snapshot:
        """The core's part of the generation that is open."""
        return self._opened.snapshot

    @property
    def generation(self) -> int:
        """The number of the generation that is open."""
        return self.snapshot.generation

    @property
    def secret(self) -> bytes | None:
        """The 32 random bytes beside the index that markers in prompts are derived from; ``None`` where they cannot be
        had.
        """
        path = self.path / "secret"
        try:
            secret = path.read_bytes() if path.is_file() else b""
        except OSError:
            return None
        return secret if len(secret) == SECRET_BYTES else None

    def refresh(self) -> bool:
        """Open the generation that is served now, if it is another; questions under way keep theirs."""
        with self._reopening:
            if self.snapshot.is_current():
                return False
            self._opened = OpenGeneration(_core.Snapshot.open(str(self.path), self.snapshot))
        return True

    def after_fork(self) -> None:
        """Make a forked child's copy usable, whatever the parent's threads were doing."""
        self._reopening = threading.Lock()

    def documents(self) -> Iterator[Document]:
        """Yield the documents that live, in order of id."""
        yield from stored_documents(self.snapshot)

    def document(self, document_id: str) -> Document | None:
        """Return the document of that id."""
        if not _is_id(document_id):
            return None
        record = self.snapshot.document_record(document_id)
        if record is None:
            return None
        return self.opened.document(record)

    def find(self, name: str) -> Document:
        """Return the document that ``name`` means: its id, path, ``source/path``, URL, or the only path that ends so.

        Raises:
            SourceError: no document is meant, or more than one.
        """
        return self.document(name) or named_document(name, list(self.documents()))

    def text(self, document_id: str) -> str:
        """Return the canonical text of a document.

        Raises:
            SourceError: there is no such document.
        """
        text = self.snapshot.text(document_id) if _is_id(document_id) else None
        if text is None:
            raise SourceError(f"the index has no document {document_id!r}", hint="clockify-rag documents lists them")
        return text

    def chunks(self, document_id: str) -> list[Chunk]:
        """Return the chunks of a document in reading order; none for an unknown document."""
        return self.opened.chunks(document_id)

    def chunk(self, chunk_id: str) -> tuple[Chunk, Document] | None:
        """Return the chunk of that id and its document."""
        return self.opened.chunk(chunk_id)

    def vectors(self, chunk_ids: Sequence[str]) -> Vectors:
        """Return the vectors of chunks, float32 of shape ``(len(chunk_ids), dimension)``; rows of zeros where there are none."""
        return self.opened.vectors(chunk_ids)

    def info(self) -> dict[str, Any]:
        """Return what there is to say of the open generation, as JSON-ready values."""
        snapshot = self.snapshot
        embedder, counts = snapshot.embedder, self.opened.embedding
        return {
            "path": str(self.path),
            "generation": snapshot.generation,
            "documents": snapshot.documents,
            "chunks": snapshot.chunks,
            "bytes": snapshot.size,
            "analyser": snapshot.analyser,
            "chunker": snapshot.chunker,
            "embedder": None
            if embedder is None
            else {"name": embedder[0], "fingerprint": embedder[1], "dimension": embedder[2]},
            "embedding_cache": None
            if counts is None
            else {"made": counts.made, "cached": counts.cached, "kept": counts.kept, "hit_rate": counts.hit_rate},
            "segments": [
                {
                    "id": name,
                    "documents": documents,
                    "chunks": chunks,
                    "deleted_documents": dead_documents,
                    "deleted_chunks": dead_chunks,
                }
                for name, documents, chunks, dead_documents, dead_chunks in snapshot.segments()
            ],
        }


class EmbedderEntry(msgspec.Struct, frozen=True):
    """How the vectors of a generation are made."""

    name: str
    fingerprint: str
    dimension: int


class IndexWriter:
    """Builds the next generation of an index from documents and chunks.

    Holds the index's lock from its creation until it is closed; what was not published when it is closed is lost, and the
    old generation is served as if nothing had been.

    Args:
        path: the index folder, created when it is missing.
        chunker: the fingerprint of the chunker and its settings; ``None`` for that of the generation before.
        embedder: how vectors are made; ``None`` for an index without vectors.
        vectors: makes vectors of chunks, also of stored ones when the embedder is another; ``None`` for none.

    Raises:
        IndexLocked: another process builds this index.
        StoreError: the folder cannot be written, or holds a generation that cannot be read.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        chunker: str | None,
        embedder: EmbedderEntry | None,
        vectors: VectorSource | None = None,
    ) -> None:
        self._writer = _core.Writer(str(path))
        self._vectors = vectors
        self.embedder = embedder
        self._held: list[_Held] = []
        self._missing = 0
        self.previous = self._writer.snapshot()
        self._chunker = chunker if chunker is not None else "" if self.previous is None else self.previous.chunker
        self.known = {} if self.previous is None else {found.id: found for found in stored_documents(self.previous)}
        self._state = {} if self.previous is None else dict(state_of(self.previous).documents)
        self._deleted: set[str] = set()
        self._dropped: set[str] = set()
        self._written = 0

    @classmethod
    def keeping(cls, path: str | Path) -> Self:
        """Open with the chunker and the embedder of the generation before, whichever that is when nobody else can publish.

        Raises:
            IndexLocked: another process builds this index.
            StoreError: as for any writer.
        """
        writer = cls(path, chunker=None, embedder=None)
        recorded = None if writer.previous is None else writer.previous.embedder
        writer.embedder = None if recorded is None else EmbedderEntry(*recorded)
        return writer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._writer.close()

    @property
    def rederive(self) -> bool:
        """Whether stored terms were made by another analyser than this engine's."""
        return self.previous is not None and self.previous.analyser != _core.analyser_fingerprint()

    @property
    def reembed(self) -> bool:
        """Whether stored vectors were made by another embedder than this build's."""
        if self.previous is None:
            return False
        mine = self.embedder
        entry = None if mine is None else (mine.name, mine.fingerprint, mine.dimension)
        return self.previous.embedder != entry

    def add(self, document: Document, text: str, chunks: Sequence[Chunk], vectors: bytes | None) -> None:
        """Add a document, in place of the one of that id if there is one.

        Args:
            document: its record.
            text: its canonical text.
            chunks: its chunks in reading order.
            vectors: a row of little-endian float32 for each chunk; ``None`` for a document that has none.
        """
        dimension = 0 if self.embedder is None else self.embedder.dimension
        held = self._writer.add(row_of(document, text, chunks), dimension, vectors)
        self._deleted.add(document.id)
        self._state.pop(document.id, None)
        self._written += 1
        if held >= SEGMENT_BYTES:
            self._writer.flush()

    def hold(self, document: Document, text: str, chunks: Sequence[Chunk]) -> None:
        """Add a document as soon as it has its vectors: at once where they are known, else with one of the next ``embed``."""
        rows = None if self._vectors is None else self._vectors.known(document, chunks)
        if rows is None:
            self.add(document, text, chunks, None)
            return
        self._held.append(_Held(document, text, chunks, list(rows)))
        missing = sum(row is None for row in rows)
        self._missing += missing
        if not missing:
            self._add_held(self._held.pop(), iter(()))

    def embed(self, least: int = 1) -> None:
        """Make the vectors of the held documents and add them, if that are at least so many texts."""
        if self._vectors is None or self._missing < least:
            return
        pairs = [
            (held.document, chunk)
            for held in self._held
            for chunk, row in zip(held.chunks, held.rows, strict=True)
            if row is None
        ]
        made = self._vectors.make(pairs)
        width = len(made) // len(pairs)
        rows = (made[start : start + width] for start in range(0, len(made), width))
        held, self._held, self._missing = self._held, [], 0
        for document in held:
            self._add_held(document, rows)

    def _add_held(self, held: _Held, made: Iterator[bytes]) -> None:
        rows = b"".join(next(made) if row is None else row for row in held.rows)
        self.add(held.document, held.text, held.chunks, rows)

    def keep(self, document: Document) -> None:
        """Note the file state and staleness of a document whose content did not change."""
        if self.known.get(document.id) != document:
            self._state[document.id] = DocumentState(document.file, document.stale)

    def remove(self, document_id: str) -> None:
        """Remove a document."""
        self._deleted.add(document_id)
        self._state.pop(document_id, None)

    def _readd(self, snapshot: _core.Snapshot, document_ids: Sequence[str]) -> None:
        """Add documents of the previous generation as they are stored, with new vectors where the embedder is another."""
        for document_id in document_ids:
            document, text, chunks = self._stored(snapshot, document_id)
            if self.reembed:
                self.hold(document, text, chunks)
                self.embed(EMBEDDED_AT_ONCE)
            else:
                vectors = None if snapshot.embedder is None else snapshot.vectors_of(document_id)
                self.add(document, text, chunks, vectors)
        self.embed()

    def _stored(self, snapshot: _core.Snapshot, document_id: str) -> tuple[Document, str, list[Chunk]]:
        chunks = [decode_chunk(record, body) for record, body in snapshot.chunks_of(document_id)]
        return with_state(self.known[document_id], self._state), snapshot.text(document_id) or "", chunks

    def publish(self, counted: Callable[[], EmbeddingCounts | None] = lambda: None) -> int:
        """Make everything added and removed the generation that is served; durable when this returns.

        Returns the present generation unchanged when there is nothing to publish.

        Args:
            counted: tells, after the last vector was made, where they came from.
        """
        self.embed()
        self._merge()
        failpoint("index: merged")
        snapshot = self.previous
        if snapshot is not None and not (self._written or self._dropped or self._removes() or self._states_changed()):
            return snapshot.generation
        mine = self.embedder
        return self._writer.publish(
            deleted=sorted(self._deleted),
            dropped=sorted(self._dropped),
            chunker=self._chunker,
            embedder=None if mine is None else (mine.name, mine.fingerprint, mine.dimension),
            state=encoded_state(dict(sorted(self._state.items())), counted()),
        )

    def _removes(self) -> bool:
        return any(document_id in self.known for document_id in self._deleted)

    def _states_changed(self) -> bool:
        return self.previous is not None and self._state != state_of(self.previous).documents

    def _merge(self) -> None:
        """Write the living documents of segments that are too many, or too dead, into the new segment.

        With more than ``MAXIMUM_SEGMENTS`` that are not full all of them but the largest are merged, so that small updates
        cost little at any size of the index; with more than ``MAXIMUM_DEAD_SHARE`` of the chunks dead, all segments are.
        """
        snapshot = self.previous
        if snapshot is None:
            return
        segments = snapshot.segments()
        dying: Counter[str] = Counter()
        dying_chunks = 0
        for place in map(snapshot.place_of, self._deleted):
            if place is not None:
                dying[place[0]] += 1
                dying_chunks += place[1]
        kept = [segment for segment in segments if dying[segment[0]] < segment[1] - segment[3]]
        gone = {segment[0] for segment in segments} - {segment[0] for segment in kept}
        chunks = sum(segment[2] for segment in kept)
        dead = sum(segment[4] for segment in kept) + dying_chunks
        if self.rederive or self.reembed or dead > MAXIMUM_DEAD_SHARE * chunks:
            merged = kept
        else:
            small = [segment for segment in kept if segment[2] < FULL_CHUNKS]
            many = len(small) + bool(self._written) > MAXIMUM_SEGMENTS
            merged = sorted(small, key=lambda segment: segment[2])[:-1] if many else []
        self._dropped.update(gone)
        for name, *_ in merged:
            self._dropped.add(name)
            living = [_documents.decode(record).id for record in snapshot.document_records(name)]
            self._readd(snapshot, [document_id for document_id in living if document_id not in self._deleted])


def matching_documents(name: str, documents: Sequence[Document]) -> list[Document]:
    """Return those of ``documents`` that ``name`` may mean: by id, path, ``source/path`` or URL, else those whose path ends so."""
    exact: list[Document] = []
    ending: list[Document] = []
    for document in documents:
        if name in (document.id, document.path, f"{document.source}/{document.path}", document.url):
            exact.append(document)
        elif any(f"/{path}".endswith(f"/{name}") for path in (document.path, document.path.rsplit(".", 1)[0])):
            ending.append(document)
    return exact or ending


def named_document(name: str, documents: Sequence[Document]) -> Document:
    """Return the one of ``documents`` that ``name`` means: its id, path, ``source/path``, URL, or the only path that ends so.

    Raises:
        SourceError: no document is meant, or more than one.
    """
    matches = matching_documents(name, documents)
    if len(matches) == 1:
        return matches[0]
    if not matches:
        import difflib

        near = difflib.get_close_matches(name, [document.path for document in documents], n=1, cutoff=0.5)
        hint = f"the nearest is {near[0]}" if near else "clockify-rag documents lists them"
        raise SourceError(f"the index has no document {name!r}", hint=hint, document=name)
    names = ", ".join(f"{document.source}/{document.path}" for document in matches[:5])
    raise SourceError(
        f"{len(matches)} documents are called {name!r}: {names}",
        hint="name one of them with its source, or by its id",
        document=name,
    )


def check_index_folder(path: str | Path, *, building: bool = False) -> None:
    """Refuse a path that no index can lie at.

    Args:
        path: the setting ``index.path``.
        building: also refuse a folder that holds something else, which a build would litter.

    Raises:
        StoreError: naming what lies there.
    """
    folder = Path(path)
    for place in (folder, *folder.parents):
        if os.path.exists(place) and not os.path.isdir(place):  # noqa: PTH110, PTH112 - these never raise
            raise StoreError(
                f"{place} is a file, and an index is a folder",
                hint=f"--index {place.parent / INDEX_FOLDER}",
                path=str(place),
            )
    if building and not _is_index(folder) and _core.holds_other_files(str(folder)):
        raise StoreError(
            f"{folder} holds files and is no index", hint=f"--index {folder / INDEX_FOLDER}", path=str(folder)
        )


def _is_index(folder: Path) -> bool:
    return os.path.isfile(folder / "CURRENT") and os.path.isdir(folder / "generations")  # noqa: PTH112, PTH113


def stored_documents(snapshot: _core.Snapshot) -> list[Document]:
    """Return the documents that live in a generation, in order of id, as they are in it."""
    states = state_of(snapshot).documents
    return [with_state(_documents.decode(record), states) for record in snapshot.document_records()]


def decode_chunk(record: bytes, text: str) -> Chunk:
    """Return the chunk of an encoded record and its text, which is stored once, in the document's."""
    chunk = _chunks.decode(record)
    # Nobody else has seen the record yet, and a copy of it for each hit is a tenth of what a search costs in Python.
    msgspec.structs.force_setattr(chunk, "text", text)
    return chunk


def check_compatible(snapshot: _core.Snapshot, embedder: EmbedderEntry | None, *, lexical: bool) -> None:
    """Refuse to search a generation whose terms or vectors were made otherwise than questions' are.

    Raises:
        IndexIncompatible: naming what differs and the command that mends it.
    """
    analyser = _core.analyser_fingerprint()
    if snapshot.analyser != analyser:
        raise IndexIncompatible(
            f"the index's terms were made by analyser {snapshot.analyser[:12]}, this engine's is {analyser[:12]}",
            hint="clockify-rag build with the same sources derives them again from the stored text",
            aspect="analyser",
            found=snapshot.analyser,
            expected=analyser,
        )
    stored = snapshot.embedder
    if lexical or stored is None or embedder is None:
        return
    if stored[1:] != (embedder.fingerprint, embedder.dimension):
        (made, _, weight), (own, _, configured) = (name.rpartition("+") for name in (stored[1], embedder.fingerprint))
        what = (
            f"the index's vectors hold titles with weight {weight or 0}, embedding.title_weight is {configured}"
            if made == own
            else f"the index's vectors are of embedder {stored[0]} ({made[:12]}), "
            f"questions' would be of {embedder.name} ({own[:12]})"
        )
        raise IndexIncompatible(
            what,
            hint=f"clockify-rag reembed {embedder.name} embeds what is stored again; --lexical searches by words meanwhile",
            aspect="embedder",
            found=stored[1],
            expected=embedder.fingerprint,
        )


def decode_document(record: bytes) -> Document:
    """Return the document of an encoded record, as it was when its segment was written."""
    return _documents.decode(record)


def state_of(snapshot: _core.Snapshot | _core.Remains) -> GenerationState:
    """Return what is kept of a generation beside its segments."""
    state = snapshot.state()
    if state.startswith(ZLIB):
        import zlib

        state = zlib.decompressobj().decompress(state, MAXIMUM_STATE_BYTES)
    decoded = _states.decode(state) if state else GenerationState()
    return GenerationState(decoded) if isinstance(decoded, dict) else decoded


def encoded_state(documents: Mapping[str, DocumentState], embedding: EmbeddingCounts | None) -> bytes:
    """Return what ``state_of`` reads."""
    if not documents and embedding is None:
        return b""
    whole = documents if embedding is None else GenerationState(dict(documents), embedding)
    state = _encoder.encode(whole)
    if len(state) < COMPRESSED_BYTES:
        return state
    import zlib

    return zlib.compress(state, 1)


def with_state(document: Document, states: Mapping[str, DocumentState]) -> Document:
    """Return a document as it is in a generation with these states."""
    state = states.get(document.id)
    if state is None:
        return document
    return msgspec.structs.replace(document, file=state.file, stale=state.stale)


def _is_id(text: str) -> bool:
    return len(text) == ID_CHARACTERS and all(character in "0123456789abcdef" for character in text)


def row_of(document: Document, text: str, chunks: Sequence[Chunk]) -> _DocumentRow:
    """Return a document as the core takes it."""
    filters = [f"source={document.source}", f"language={document.language}"]
    filters += [f"tags={tag}" for tag in document.tags]
    if document.version is not None:
        filters.append(f"version={document.version}")
    if document.boost != 1:
        filters.append(f"boost={document.boost:g}")
    headings = [headings_of(document, chunk) for chunk in chunks]
    rows: list[_ChunkRow] = [
        (
            chunk.id,
            _encoder.encode(msgspec.structs.replace(chunk, text="")),
            "\n".join(own),
            list(chunk.spans),
            list(chunk.repeated),
            [f"kind={chunk.kind}"],
            chunk.tokens,
        )
        for chunk, own in zip(chunks, headings, strict=True)
    ]
    record = _encoder.encode(document)
    of_all = list(dict.fromkeys(heading for own in headings for heading in own))
    return document.id, record, text, document.title, document.language, of_all, filters, rows


def headings_of(document: Document, chunk: Chunk) -> list[str]:
    """Return what a chunk is found by beside its text and its page's title: the headings above it, and further names of its term.

    Names that stand in the headings or the text already are left out, since they would count twice.
    """
    found = [heading for heading in chunk.heading_path if heading != document.title]
    for part in chunk.parts:
        if isinstance(part, Term):
            known = _words("\n".join([*found, chunk.text]))
            found += [alias for alias in part.aliases if _words(alias) not in known]
    return found


def _words(text: str) -> str:
    """The words of a text between single spaces, so that a part of a word is no part of it."""
    # Imported here because only builds of glossaries need it.
    import re

    return " " + " ".join(re.findall(r"\w+", text.casefold())) + " "
