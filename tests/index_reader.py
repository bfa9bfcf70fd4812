"""A reader of an index's files by ``docs/format.md``: it knows what the page says and uses nothing of the engine."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import xxhash

BLOCK = 4_096
ROWS = 128
TAG = re.compile(r"(?![0-9]*$)(?!.*\.[Tt][Mm][Pp]$)[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
Frequencies = tuple[int, int, int]
"""Of title, headings, body."""


def block_hashes(content: bytes) -> list[int]:
    """Return the hash of each block."""
    return [xxhash.xxh3_64_intdigest(content[at : at + BLOCK]) for at in range(0, len(content), BLOCK)]


def file_hash(hashes: Sequence[int]) -> str:
    """Return the hash of a file from those of its blocks."""
    return xxhash.xxh3_128_hexdigest(b"".join(value.to_bytes(8, "little") for value in hashes))


def identity(*texts: str) -> str:
    """Return the id or content hash of a list of texts."""
    encoded = [text.encode() for text in texts]
    prefixed = b"".join(len(text).to_bytes(8, "little") + text for text in encoded)
    return hashlib.blake2b(prefixed, digest_size=16).hexdigest()


class Cursor:
    """Reads a file from a place on."""

    def __init__(self, content: bytes, at: int = 0) -> None:
        self.content = content
        self.at = at

    def bytes(self, length: int) -> bytes:
        assert self.at + length <= len(self.content), "the file ends early"
        self.at += length
        return self.content[self.at - length : self.at]

    def numbers(self, kind: str, count: int) -> tuple[Any, ...]:
        return struct.unpack(f"<{count}{kind}", self.bytes(struct.calcsize(kind) * count))

    def number(self, kind: str) -> int:
        (value,) = self.numbers(kind, 1)
        return int(value)

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.number("B")
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def zeros(self, length: int) -> None:
        assert not any(self.bytes(length))

    def end(self) -> None:
        assert self.at == len(self.content), "the file has more bytes than its header says"


@dataclass(frozen=True)
class StoredChunk:
    id: str
    document: int
    section: int
    spans: list[tuple[int, int, int, int]]
    record: dict[str, Any]


@dataclass(frozen=True)
class StoredDocument:
    id: str
    text: bytes
    chunks: range
    record: dict[str, Any]


@dataclass(frozen=True)
class Skip:
    last: int
    end: int
    row_bits: int
    body_bits: int
    exceptions: int
    points: list[tuple[int, int]]
    exception_frequencies: tuple[int, ...]
    exception_lengths: tuple[int, ...]


@dataclass(frozen=True)
class PostingList:
    rows: list[int]
    frequencies: list[Frequencies]
    skips: list[Skip]


@dataclass(frozen=True)
class Level:
    """Chunks or documents: lengths by row, lists by ordinal."""

    totals: tuple[int, ...]
    lengths: list[Frequencies]
    lists: list[PostingList]


@dataclass(frozen=True)
class Vectors:
    dimension: int
    rows: int
    body: bytes


@dataclass(frozen=True)
class Tombstones:
    documents: list[int]
    chunks: list[int]
    chunk_totals: tuple[int, ...]
    document_totals: tuple[int, ...]
    frequencies: dict[int, tuple[int, int]]


class IndexReader:
    """The generation that an index serves."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.generation, self.hash = parse_line(root / "CURRENT")
        number = f"{self.generation:06}"
        content = (root / "generations" / f"{number}.json").read_bytes()
        start, end = b'{"hash":"' + self.hash.encode() + b'","manifest":', b"}\n"
        assert content.startswith(start)
        assert content.endswith(end)
        body = content[len(start) : -len(end)]
        assert xxhash.xxh3_128_hexdigest(body) == self.hash
        self.manifest: dict[str, Any] = json.loads(body)

    @property
    def segments(self) -> list[SegmentReader]:
        return [SegmentReader(self.root, entry) for entry in self.manifest["segments"]]

    def whole(self, folder: str, entry: dict[str, Any]) -> bytes:
        """A small file, compared with the manifest."""
        content = Path(self.root, folder, entry["name"]).read_bytes()
        assert len(content) == entry["length"]
        assert file_hash(block_hashes(content)) == entry["hash"]
        return content

    def state(self) -> dict[str, tuple[dict[str, Any] | None, bool]]:
        entry = self.manifest["state"]
        if entry is None:
            return {}
        content = self.whole("generations", entry)
        if content.startswith(b"\x78"):
            content = zlib.decompress(content)
            assert len(content) >= 1 << 16
        decoded = msgspec.msgpack.decode(content)
        if isinstance(decoded, list):
            decoded, counts = decoded
            assert set(counts) == {"made", "cached", "kept"}
        return {name: (file, stale) for name, (file, stale) in decoded.items()}

    def tags(self) -> dict[str, int]:
        """Generations by tag."""
        tags = {path.name: parse_line(path) for path in self.root.glob("tags/*") if TAG.fullmatch(path.name)}
        for generation, hash_ in tags.values():
            start = b'{"hash":"' + hash_.encode() + b'",'
            assert (self.root / "generations" / f"{generation:06}.json").read_bytes().startswith(start)
        return {name: generation for name, (generation, _) in tags.items()}

    def tombstones(self, segment: int) -> Tombstones | None:
        entry = self.manifest["segments"][segment]["tombstones"]
        return None if entry is None else parse_tombstones(self.whole("tombstones", entry))


def parse_line(path: Path) -> tuple[int, str]:
    """Read a line that names a generation and its manifest's hash."""
    line = path.read_text(encoding="ascii")
    number, hash_ = line.removesuffix("\n").split(" ")
    assert line == f"{int(number):06} {hash_}\n"
    return int(number), hash_


class SegmentReader:
    """One segment; its hashes are compared when it is made."""

    def __init__(self, root: Path, entry: dict[str, Any]) -> None:
        self.entry = entry
        self.folder = Path(root, "segments", entry["id"])
        *files, table = entry["files"]
        assert table["name"] == "blocks"
        blocks = (self.folder / "blocks").read_bytes()
        assert len(blocks) == table["length"]
        assert file_hash(block_hashes(blocks)) == table["hash"]
        cursor = Cursor(blocks)
        for file in files:
            content = (self.folder / file["name"]).read_bytes()
            hashes = list(cursor.numbers("Q", -(-file["length"] // BLOCK)))
            assert len(content) == file["length"], file["name"]
            assert block_hashes(content) == hashes, file["name"]
            assert file_hash(hashes) == file["hash"], file["name"]
        cursor.end()

    def content(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def documents(self) -> list[StoredDocument]:
        cursor = Cursor(self.content("documents"))
        assert cursor.bytes(8) == b"CRAGDOC1"
        count = cursor.number("Q")
        cursor.zeros(48)
        ids = [cursor.bytes(16).hex() for _ in range(count)]
        chunks, texts, records = (cursor.numbers("Q", count + 1) for _ in range(3))
        blobs = cursor.bytes(records[-1])
        cursor.end()
        text = self.content("text")
        assert len(text) == texts[-1]
        return [
            StoredDocument(
                ids[row],
                text[texts[row] : texts[row + 1]],
                range(chunks[row], chunks[row + 1]),
                msgspec.msgpack.decode(blobs[records[row] : records[row + 1]]),
            )
            for row in range(count)
        ]

    def chunks(self) -> list[StoredChunk]:
        cursor = Cursor(self.content("chunks"))
        assert cursor.bytes(8) == b"CRAGCHK1"
        count, spans = cursor.numbers("Q", 2)
        cursor.zeros(40)
        ids = [cursor.bytes(16).hex() for _ in range(count)]
        places = [cursor.numbers("I", 2) for _ in range(count)]
        ranges = cursor.numbers("Q", count + 1)
        numbers = [cursor.numbers("I", 4) for _ in range(spans)]
        records = cursor.numbers("Q", count + 1)
        blobs = cursor.bytes(records[-1])
        cursor.end()
        return [
            StoredChunk(
                ids[row],
                places[row][0],
                places[row][1],
                [(span[0], span[1], span[2], span[3]) for span in numbers[ranges[row] : ranges[row + 1]]],
                msgspec.msgpack.decode(blobs[records[row] : records[row + 1]]),
            )
            for row in range(count)
        ]

    def postings(self) -> tuple[Level, Level]:
        """The levels of chunks and of documents."""
        cursor = Cursor(self.content("postings"))
        assert cursor.bytes(8) == b"CRPOST\0\1"
        terms, chunks, documents, zero = cursor.numbers("I", 4)
        assert zero == 0
        totals = cursor.numbers("Q", 3), cursor.numbers("Q", 3)
        sizes = cursor.numbers("Q", 2)
        tables = []
        for rows in (chunks, documents):
            columns = [cursor.numbers("I", rows) for _ in range(3)]
            tables.append((list(zip(*columns, strict=True)), cursor.numbers("I", terms + 1)))
        levels = []
        for (lengths, offsets), total, size in zip(tables, totals, sizes, strict=True):
            data = cursor.bytes(size)
            assert offsets[-1] == size
            lists = [parse_list(data[offsets[term] : offsets[term + 1]]) for term in range(terms)]
            levels.append(Level(total, lengths, lists))
        cursor.end()
        return levels[0], levels[1]

    def vectors(self, name: str, magic: bytes) -> Vectors:
        cursor = Cursor(self.content(name))
        assert cursor.bytes(8) == magic
        version, dimension, rows = cursor.numbers("I", 3)
        assert version == 1
        cursor.zeros(44)
        return Vectors(dimension, rows, cursor.content[cursor.at :])


def up(value: int, multiple: int) -> int:
    """Return the next multiple from ``value`` up."""
    return -(-value // multiple) * multiple


def unpack(packed: bytes, bits: int) -> list[int]:
    """Return 128 numbers of four lanes."""
    words = struct.unpack(f"<{len(packed) // 4}I", packed)
    lanes = [sum(word << 32 * place for place, word in enumerate(words[lane::4])) for lane in range(4)]
    return [lanes[i % 4] >> bits * (i // 4) & ((1 << bits) - 1) for i in range(ROWS)]


def parse_list(content: bytes) -> PostingList:
    """Read a term's rows and frequencies."""
    cursor = Cursor(content)
    count = cursor.varint()
    skips = [parse_skip(cursor.bytes(24)) for _ in range(count // ROWS)]
    rows: list[int] = []
    frequencies: list[Frequencies] = []
    first, row = cursor.at, -1
    for skip in skips:
        for gap in unpack(cursor.bytes(16 * skip.row_bits), skip.row_bits):
            row += gap + 1
            rows.append(row)
        body = [value ^ 1 for value in unpack(cursor.bytes(16 * skip.body_bits), skip.body_bits)]
        mask = int.from_bytes(cursor.bytes(16), "little") if skip.exceptions else 0
        assert mask.bit_count() == skip.exceptions
        for place, frequency in enumerate(body):
            title = headings = 0
            if mask >> place & 1:
                byte = cursor.number("B")
                title, headings = (cursor.varint(), cursor.varint()) if byte == 255 else (byte >> 4, byte & 15)
            frequencies.append((title, headings, frequency))
        assert row == skip.last
        assert cursor.at - first == skip.end
    for _ in range(count % ROWS):
        value = cursor.varint()
        row += (value >> 1) + 1
        rows.append(row)
        title, headings, frequency = 0, 0, 1
        if value & 1:
            frequency = cursor.number("B")
            if frequency == 255:
                frequency, title, headings = cursor.varint(), cursor.varint(), cursor.varint()
        frequencies.append((title, headings, frequency))
    cursor.end()
    return PostingList(rows, frequencies, skips)


def parse_skip(entry: bytes) -> Skip:
    last, end, row_bits, body_bits, exceptions, zero = struct.unpack("<IIBBBB", entry[:12])
    assert zero == 0
    points = [(entry[at], entry[at + 1]) for at in (12, 14, 16) if entry[at] or entry[at + 1]]
    return Skip(last, end, row_bits, body_bits, exceptions, points, tuple(entry[18:21]), tuple(entry[21:24]))


def length_code(length: int) -> int:
    """Return the code of a length."""
    if length < 32:
        return length
    exponent = length.bit_length() - 1
    return min(255, 32 + 16 * (exponent - 5) + (length >> exponent - 4) % 16)


def parse_tombstones(content: bytes) -> Tombstones:
    cursor = Cursor(content)
    assert cursor.bytes(8) == b"CRAGTMB1"
    lengths = cursor.numbers("Q", 3)
    documents, chunks, corrections = (cursor.bytes(length) for length in lengths)
    cursor.end()
    cursor = Cursor(corrections)
    assert cursor.bytes(8) == b"CRCORR\0\1"
    totals = cursor.numbers("Q", 4), cursor.numbers("Q", 4)
    entries = [cursor.numbers("I", 3) for _ in range((len(corrections) - cursor.at) // 12)]
    cursor.end()
    assert [entry[0] for entry in entries] == sorted({entry[0] for entry in entries})
    return Tombstones(
        list(parse_roaring(documents)),
        list(parse_roaring(chunks)),
        totals[0],
        totals[1],
        {ordinal: (in_chunks, in_documents) for ordinal, in_chunks, in_documents in entries},
    )


def parse_roaring(content: bytes) -> Iterator[int]:
    """Yield the numbers of a bitmap in Roaring's portable format without run containers."""
    cursor = Cursor(content)
    assert cursor.number("I") == 12346
    containers = cursor.number("I")
    keys = [cursor.numbers("H", 2) for _ in range(containers)]
    cursor.numbers("I", containers)
    for key, cardinality in keys:
        if cardinality < 4096:
            yield from (key << 16 | low for low in cursor.numbers("H", cardinality + 1))
        else:
            bits = int.from_bytes(cursor.bytes(8192), "little")
            yield from (key << 16 | low for low in range(1 << 16) if bits >> low & 1)
    cursor.end()
