"""The files of an index are what ``docs/format.md`` says: a reader by that page meets the engine's own answers."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clockify_rag import _core
from clockify_rag.building import embedded_text
from clockify_rag.config import Settings
from clockify_rag.contracts import Chunk, Document, LoadedDocument, Source, Span
from clockify_rag.index import LocalIndex
from clockify_rag.loading import FileLoader
from clockify_rag.pipeline import Pipeline
from index_reader import Frequencies, IndexReader, Level, PostingList, Skip, identity, length_code, up

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "examples" / "help-center" / "docs"


@dataclass(frozen=True)
class Built:
    """An index, as the engine sees it and as the page's reader does."""

    pipeline: Pipeline
    reader: IndexReader

    @property
    def index(self) -> LocalIndex:
        return self.pipeline.index

    @property
    def documents(self) -> list[Document]:
        return list(self.index.documents())


def build(path: Path, *sources: Path) -> Built:
    pipeline = Pipeline.open(path, Settings())
    pipeline.build([str(source) for source in sources])
    return Built(pipeline, IndexReader(path))


def long_page() -> str:
    """A page with what the help centre's short ones lack: overlap, a cut table, a word many times in title and text."""
    word = "time"
    sentences = [
        f"Sentence {number} speaks of entry {number % 7} and of report {number % 11}." for number in range(400)
    ]
    rows = [f"| limit {number} | {number % 13} hours | note on plan {number % 5} |" for number in range(300)]
    table = ["| Name | Most | Remark |", "|---|---|---|", *rows]
    parts = [f"# {' '.join([word] * 20)}", " ".join([word] * 300), "## Sentences", " ".join(sentences), "## Limits"]
    return "\n\n".join(parts) + "\n\n" + "\n".join(table) + "\n"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages") / "docs"
    shutil.copytree(PAGES, folder)
    (folder / "long.md").write_text(long_page(), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def built(pages: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("format") / "index", pages)


# Manifest and files.


def test_the_manifest_has_the_fields_of_the_page_and_no_other(built: Built) -> None:
    manifest = built.reader.manifest
    assert list(manifest) == ["format", "generation", "makers", "segments", "state"]
    assert (manifest["format"], manifest["generation"], manifest["state"]) == (2, 1, None)
    assert list(manifest["makers"]) == ["analyser", "chunker", "embedder"]
    assert manifest["makers"]["analyser"] == _core.analyser_fingerprint()
    assert manifest["makers"]["chunker"] == built.pipeline.chunker_fingerprint
    assert list(manifest["makers"]["embedder"]) == ["name", "fingerprint", "dimension"]
    (segment,) = manifest["segments"]
    assert list(segment) == [
        "id", "documents", "chunks", "files", "tombstones", "deleted_documents", "deleted_chunks",
    ]  # fmt: skip
    assert segment["id"] == "000001-0"
    assert all(list(file) == ["name", "length", "hash"] for file in segment["files"])


def test_every_file_has_its_hash_and_there_is_no_other_file(built: Built) -> None:
    (segment,) = built.reader.segments  # compares the hashes
    root = built.reader.root
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    named = {f"segments/{segment.entry['id']}/{file['name']}" for file in segment.entry["files"]}
    assert found == named | {"CURRENT", "generations/000001.json", "lock", "secret", ".gitignore"}
    ours = {name.rpartition("/")[2] for name in named if "/lexical/" not in name}
    assert ours == {
        "text", "documents", "chunks", "postings", "vectors.f16", "vectors.i8", "vectors.b1", "documents.f16", "blocks",
    }  # fmt: skip
    assert (root / "secret").stat().st_size == 32
    assert (root / "secret").stat().st_mode & 0o777 == 0o600
    assert (root / ".gitignore").read_bytes() == b"*\n"
    assert int((root / "lock").read_text(encoding="ascii").removesuffix("\n")) == os.getpid()


def test_the_tantivy_index_has_the_schema_of_the_page(built: Built) -> None:
    meta = json.loads((built.reader.segments[0].folder / "lexical" / "meta.json").read_bytes())
    fields = {field["name"]: field["options"] for field in meta["schema"]}
    kinds = {
        name: (options["indexing"]["tokenizer"], options["indexing"]["record"]) for name, options in fields.items()
    }
    assert kinds == {"terms": ("feed", "position"), "filters": ("raw", "basic")}
    assert not any(options["stored"] or options["indexing"]["fieldnorms"] for options in fields.values())
    assert len(meta["segments"]) == 1


def test_two_builds_differ_in_what_the_page_lists_and_nothing_else(built: Built, pages: Path, tmp_path: Path) -> None:
    again = build(tmp_path / "index", pages)

    def contents(one: Built) -> dict[str, bytes]:
        (segment,) = one.reader.segments
        names = [file["name"] for file in segment.entry["files"]]
        return {f"lexical/*{Path(n).suffix}" if len(n) > 40 else n: segment.content(n) for n in names}

    first, second = contents(built), contents(again)
    assert first.keys() == second.keys()
    differing = {name for name in first if first[name] != second[name]}
    assert differing == {"lexical/.managed.json", "lexical/meta.json", "blocks"}


# Documents and chunks.


def test_documents_and_chunks_are_those_of_the_engine(built: Built) -> None:
    (segment,) = built.reader.segments
    documents, chunks = segment.documents(), segment.chunks()
    assert [document.id for document in documents] == sorted(document.id for document in documents)
    assert [document.id for document in documents] == [document.id for document in built.documents]
    assert (len(documents), len(chunks)) == (segment.entry["documents"], segment.entry["chunks"])
    for row, (stored, document) in enumerate(zip(documents, built.documents, strict=True)):
        text = stored.text.decode()
        assert text == built.index.text(stored.id)
        assert unicodedata.is_normalized("NFC", text)
        assert list(stored.record) == list(document.__struct_fields__)
        assert stored.record["id"] == stored.id
        assert stored.record["path"] == document.path
        own = built.index.chunks(stored.id)
        assert [chunks[at].id for at in stored.chunks] == [chunk.id for chunk in own]
        for at, chunk in zip(stored.chunks, own, strict=True):
            assert chunks[at].document == row
            assert list(chunks[at].record) == list(chunk.__struct_fields__)
            assert chunks[at].record["text"] == ""
            assert chunks[at].record["spans"] == [[start, end] for *_, start, end in chunks[at].spans]
            assert "\n".join(stored.text[a:b].decode() for a, b, *_ in chunks[at].spans) == chunk.text
            assert "\n".join(text[a:b] for *_, a, b in chunks[at].spans) == chunk.text
    assert any(chunk.record["repeated"] for chunk in chunks), "no chunk repeats another's text"
    assert any(len(chunk.spans) > 1 for chunk in chunks), "no chunk is made of two spans"


def test_sections_are_numbered_where_headings_change(built: Built) -> None:
    chunks = built.reader.segments[0].chunks()
    for row, document in enumerate(built.reader.segments[0].documents()):
        own = [chunks[at] for at in document.chunks]
        above = [[name for name in chunk.record["heading_path"] if name != document.record["title"]] for chunk in own]
        changes = [before != after for before, after in pairwise(above)]
        assert [chunk.section for chunk in own] == list(accumulate(changes, initial=0))[: len(own)], row
    assert max(chunk.section for chunk in chunks) > 3


def test_ids_and_hashes_are_made_of_what_the_page_says(built: Built, pages: Path) -> None:
    loaded = FileLoader().load(Source(name="docs", location=str(pages)), {})
    structures = {item.document.id: item.page.structure for item in loaded if isinstance(item, LoadedDocument)}
    for document in built.documents:
        assert document.id == identity("document path 1", document.source, document.path)
        lists = [str(len(document.tags)), *document.tags, str(len(document.breadcrumb)), *document.breadcrumb]
        made_with = "" if document.url else " html"
        fields = [
            document.title,
            document.url or "",
            made_with,
            document.language,
            document.kind,
            document.version or "",
        ]
        made_of = [built.index.text(document.id), structures[document.id], *fields, *lists]
        assert document.content_hash == identity("content 2", *made_of)
        alike = Counter[tuple[object, ...]]()
        for chunk in built.index.chunks(document.id):
            anchored = ["0", ""] if chunk.anchor is None else ["1", chunk.anchor]
            place = [str(len(chunk.heading_path)), *chunk.heading_path, *anchored, chunk.kind]
            assert chunk.id == identity("chunk 1", document.id, *place, str(alike[tuple(place)]))
            assert chunk.content_hash == identity("text 1", chunk.text)
            alike[tuple(place)] += 1


def test_spans_of_chunks_slice_to_what_a_search_shows(built: Built) -> None:
    texts = {document.id: document.text.decode() for document in built.reader.segments[0].documents()}
    stored = [chunk for chunk in built.reader.segments[0].chunks() if chunk.record["kind"] != "hub"]
    seen = set()
    for chunk in random.Random(1).sample(stored, 200):
        text = texts[chunk.record["document_id"]]
        whole = "\n".join(text[start:end] for *_, start, end in chunk.spans)
        asked = "\n".join([*chunk.record["heading_path"], whole])[:2000]
        for hit in built.pipeline.search(asked, top_k=20).hits:
            shown = "\n".join(texts[hit.document.id][start:end] for start, end in hit.chunk.spans)
            assert hit.chunk.text == shown
            seen.add(hit.chunk.id)
        assert chunk.id in seen
    assert len(seen) >= 200


# Terms.


def headings_of(document: Document, chunk: Chunk) -> list[str]:
    return [heading for heading in chunk.heading_path if heading != document.title]


def pieces(text: str, chunk: Chunk) -> Iterator[tuple[str, bool]]:
    """Yield a chunk's text cut where repeated ranges begin and end, and whether each piece is repeated."""
    for start, end in chunk.spans:
        inside: list[Span] = [(max(a, start), min(b, end)) for a, b in chunk.repeated if a < end and b > start]
        cuts = sorted({start, end, *(cut for span in inside for cut in span)})
        for first, last in pairwise(cuts):
            yield text[first:last], any(a <= first and last <= b for a, b in inside)


class Naive:
    """Lengths and frequencies of both levels, counted one text at a time."""

    def __init__(self, built: Built, documents: Sequence[Document]) -> None:
        self.lengths: tuple[list[list[int]], list[list[int]]] = ([], [])
        self.terms: tuple[dict[str, dict[int, list[int]]], ...] = (defaultdict(dict), defaultdict(dict))
        self._analysed: dict[tuple[str, str], list[str]] = {}
        for document in documents:
            self._add(document, built.index.text(document.id), built.index.chunks(document.id))
        self.ordinals = sorted(self.terms[0].keys() | self.terms[1].keys(), key=str.encode)

    def _add(self, document: Document, text: str, chunks: Sequence[Chunk]) -> None:
        language = document.language
        headings = dict.fromkeys(heading for chunk in chunks for heading in headings_of(document, chunk))
        whole = [(0, document.title), *((1, heading) for heading in headings)]
        for chunk in chunks:
            cut = list(pieces(text, chunk))
            body = [(2, piece) for piece, _ in cut]
            self._row(0, language, [(0, document.title), (1, "\n".join(headings_of(document, chunk))), *body])
            whole += [(2, piece) for piece, repeated in cut if not repeated]
        self._row(1, language, whole)

    def _row(self, level: int, language: str, texts: Iterable[tuple[int, str]]) -> None:
        row = len(self.lengths[level])
        self.lengths[level].append([0, 0, 0])
        for field, text in texts:
            for term in self._terms(text, language):
                self.lengths[level][row][field] += 1
                self.terms[level][term].setdefault(row, [0, 0, 0])[field] += 1

    def _terms(self, text: str, language: str) -> list[str]:
        if (text, language) not in self._analysed:
            self._analysed[text, language] = [term for term, *_ in _core.analyse(text, language)]
        return self._analysed[text, language]


@pytest.fixture(scope="module")
def naive(built: Built) -> Naive:
    return Naive(built, built.documents)


def test_postings_are_those_of_a_naive_count(built: Built, naive: Naive) -> None:
    levels = built.reader.segments[0].postings()
    for number, level in enumerate(levels):
        assert level.lengths == [tuple(row) for row in naive.lengths[number]]
        assert level.totals == tuple(map(sum, zip(*naive.lengths[number], strict=True)))
        assert len(level.lists) == len(naive.ordinals)
        for term, found in zip(naive.ordinals, level.lists, strict=True):
            expected = naive.terms[number].get(term, {})
            assert dict(zip(found.rows, found.frequencies, strict=True)) == {r: tuple(f) for r, f in expected.items()}
            assert found.rows == sorted(found.rows)
    tried = [frequencies for level in levels for found in level.lists for frequencies in found.frequencies]
    assert any(found.skips for found in levels[0].lists), "no list is long enough to have a block"
    assert any(title > 14 for title, _, _ in tried), "no title has a word often enough"
    assert any(body > 255 for *_, body in tried), "no body has a word often enough"


def test_skip_entries_bound_what_their_blocks_hold(built: Built) -> None:
    level, _ = built.reader.segments[0].postings()
    for found in level.lists:
        for number, skip in enumerate(found.skips):
            assert_bounds(level, found, skip, number * 128)


def assert_bounds(level: Level, found: PostingList, skip: Skip, start: int) -> None:
    exceptions: list[tuple[Frequencies, Frequencies]] = []
    for row, frequencies in zip(found.rows[start : start + 128], found.frequencies[start : start + 128], strict=True):
        title, headings, body = frequencies
        if title or headings:
            exceptions.append((frequencies, level.lengths[row]))
        else:
            code = length_code(level.lengths[row][2])
            assert any(min(body, 255) <= point[0] and code >= point[1] for point in skip.points)
    assert len(exceptions) == skip.exceptions
    for field in range(3) if exceptions else ():
        assert skip.exception_frequencies[field] == min(255, max(frequencies[field] for frequencies, _ in exceptions))
        lengths = [row[field] for frequencies, row in exceptions if frequencies[field]]
        assert skip.exception_lengths[field] == length_code(min(lengths, default=0))


# Vectors.

Rows = NDArray[np.float32]


def halves(built: Built, name: str) -> Rows:
    stored = built.reader.segments[0].vectors(name, b"CRAGvf16")
    rows = np.frombuffer(stored.body, "<f2").reshape(stored.rows, up(stored.dimension, 32))
    assert not rows[:, stored.dimension :].any()
    return rows[:, : stored.dimension].astype(np.float32)


def embedded(built: Built) -> tuple[Rows, list[float]]:
    """What the embedder makes of every chunk, and the weight of each in its document."""
    embedder = built.pipeline.embedder
    assert embedder is not None
    known = {document.id for document in built.documents if document.language == "en"}
    pairs = [(document, chunk) for document in built.documents for chunk in built.index.chunks(document.id)]
    vectors = embedder.embed([embedded_text(document, chunk) for document, chunk in pairs])
    titles = embedder.embed([document.title for document, _ in pairs])
    vectors = unit(unit(vectors.astype(np.float64)) + 0.5 * unit(titles.astype(np.float64))).astype(np.float32)
    vectors[[document.id not in known for document, _ in pairs]] = 0
    return vectors, [float(max(chunk.tokens, 1)) for _, chunk in pairs]


def unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    norms: NDArray[np.float64] = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1)


def test_half_precision_rows_are_the_embedders_unit_vectors(built: Built) -> None:
    vectors, weights = embedded(built)
    expected = unit(vectors.astype(np.float64)).astype(np.float32).astype(np.float16).astype(np.float32)
    assert np.array_equal(halves(built, "vectors.f16"), expected)
    sums = []
    for document in built.reader.segments[0].documents():
        rows = slice(document.chunks.start, document.chunks.stop)
        sums.append(np.array(weights[rows]) @ expected[rows].astype(np.float64))
    assert np.allclose(halves(built, "documents.f16"), unit(np.array(sums)), rtol=0, atol=2**-11)
    assert not expected.any(axis=1).all(), "every document is in a language that the embedder knows"


def test_bytes_lose_what_their_residual_bounds_say(built: Built) -> None:
    rows = halves(built, "vectors.f16").astype(np.float64)
    stored = built.reader.segments[0].vectors("vectors.i8", b"CRAGvi08")
    padded, stride = up(stored.rows, 64), up(stored.dimension, 64)
    assert len(stored.body) == 8 * padded + stored.rows * stride
    scales = np.frombuffer(stored.body, "<f4", padded)
    bounds = np.frombuffer(stored.body, "<f4", padded, offset=4 * padded)
    codes = np.frombuffer(stored.body, "i1", offset=8 * padded).reshape(stored.rows, stride)[:, : stored.dimension]
    lost = np.linalg.norm(rows - scales[: stored.rows, None].astype(np.float64) * codes, axis=1)
    given = rows.any(axis=1)
    largest = (np.abs(rows).max(axis=1).astype(np.float32) / np.float32(127)).astype(np.float32)
    assert np.array_equal(scales[: stored.rows], largest)
    assert np.all(bounds[: stored.rows][given] > lost[given])
    assert np.allclose(bounds[: stored.rows][given], lost[given], rtol=1e-5)
    assert np.isnan(bounds[: stored.rows][~given]).all()
    assert np.isnan(bounds[stored.rows :]).all()
    assert not scales[stored.rows :].any()


def splitmix(state: int) -> Iterator[int]:
    mask = (1 << 64) - 1
    while True:
        state = state + 0x9E3779B97F4A7C15 & mask
        mixed = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & mask
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & mask
        yield mixed ^ mixed >> 31


def rotated(rows: Rows) -> Rows:
    """Rows of a width that is a power of two, rotated as the page says."""
    width = rows.shape[1]
    words = splitmix(0x636C6F636B696679)
    rows = rows.copy()
    for _ in range(3):
        drawn = [next(words) for _ in range(width // 64)]
        flips = np.array([-1.0 if drawn[i // 64] >> i % 64 & 1 else 1.0 for i in range(width)], np.float32)
        rows = rows * flips * np.float32(1 / np.sqrt(np.float32(width)))
        half = 1
        while half < width:
            pairs = rows.reshape(len(rows), -1, 2, half)
            left, right = pairs[:, :, 0], pairs[:, :, 1]
            rows = np.stack([left + right, left - right], axis=2).reshape(len(rows), width)
            half *= 2
    return rows


def test_bits_are_the_signs_of_the_rotated_rows(built: Built) -> None:
    rows = halves(built, "vectors.f16")
    stored = built.reader.segments[0].vectors("vectors.b1", b"CRAGvb01")
    padded, width = up(stored.rows, 64), up(stored.dimension, 64)
    assert math.log2(width).is_integer()
    turned = rotated(rows)
    factors = np.frombuffer(stored.body, "<f4", padded)
    blocks = np.frombuffer(stored.body, "u1", offset=4 * padded).reshape(padded // 64, width // 8, 64)
    bits = np.unpackbits(blocks.transpose(0, 2, 1).reshape(padded, width // 8), axis=1, bitorder="little")
    given = rows.any(axis=1)
    assert np.array_equal(bits[: stored.rows][given], turned[given] >= 0)
    sizes = np.abs(turned[given]).astype(np.float64).sum(axis=1)
    assert np.allclose(factors[: stored.rows][given], 1 / sizes, rtol=1e-6)
    assert np.isnan(factors[: stored.rows][~given]).all()
    assert np.isnan(factors[stored.rows :]).all()
    assert not bits[stored.rows :].any()


# Later generations.


@pytest.fixture(scope="module")
def updated(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], IndexReader, Built]:
    """An index after one page was changed, one removed and one touched: the ids of the first two, and both generations."""
    folder = tmp_path_factory.mktemp("updated")
    pages = folder / "docs"
    shutil.copytree(PAGES, pages)
    before = build(folder / "index", pages)
    known = {document.path: document.id for document in before.documents}
    changed, removed, touched = sorted(path for path in known if path.endswith(".md"))[:3]
    with (pages / changed).open("a", encoding="utf-8") as page:
        page.write("\n\nA sentence that was not there.\n")
    (pages / removed).unlink()
    os.utime(pages / touched, ns=(1, 1))
    first = before.reader
    after = build(folder / "index", pages)
    assert touched in {document.path for document in after.documents}
    return [known[changed], known[removed], known[touched]], first, after


def test_tombstones_take_away_what_the_deleted_rows_had_added(
    updated: tuple[list[str], IndexReader, Built],
) -> None:
    (changed, removed, _), first, after = updated
    reader = after.reader
    assert (reader.generation, len(reader.segments)) == (2, 2)
    old, new = reader.segments
    assert [document.id for document in new.documents()] == [changed]
    assert new.entry["id"] == "000002-0"
    assert old.entry["files"] == first.manifest["segments"][0]["files"]
    assert old.entry["tombstones"]["name"] == "000001-0.000002"
    dead = reader.tombstones(0)
    assert dead is not None
    documents = old.documents()
    assert sorted(documents[row].id for row in dead.documents) == sorted([changed, removed])
    assert dead.chunks == [chunk for row in dead.documents for chunk in documents[row].chunks]
    assert (old.entry["deleted_documents"], old.entry["deleted_chunks"]) == (2, len(dead.chunks))
    levels = old.postings()
    for level, rows, totals in zip(
        levels, (dead.chunks, dead.documents), (dead.chunk_totals, dead.document_totals), strict=True
    ):
        lengths = [level.lengths[row] for row in rows]
        assert totals == (len(rows), *map(sum, zip(*lengths, strict=True)))
    for ordinal, lists in enumerate(zip(levels[0].lists, levels[1].lists, strict=True)):
        gone = tuple(
            len({*found.rows} & {*rows}) for found, rows in zip(lists, (dead.chunks, dead.documents), strict=True)
        )
        assert dead.frequencies.get(ordinal, (0, 0)) == gone


def test_the_state_file_has_what_changed_of_unchanged_documents(
    updated: tuple[list[str], IndexReader, Built],
) -> None:
    (_, _, touched), _, after = updated
    state = after.reader.state()
    assert list(state) == [touched]
    file, stale = state[touched]
    assert not stale
    assert file is not None
    assert list(file) == ["size", "modified_ns", "changed_ns", "inode", "settings"]
    assert file["modified_ns"] == 1
    document = after.index.document(touched)
    assert document is not None
    assert document.file is not None
    assert document.file.modified_ns == 1
