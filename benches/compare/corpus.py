"""A corpus of real chunks for the comparisons: pages of Debian's documentation packages, their chunks, vectors and questions.

    python benches/compare/corpus.py 10k 100k 1m

Every step is seeded, so two machines with the same packages have the same corpus. Packages come from where apt is configured to
get them. Everything lies in a cache outside the repository: ``RAG_BENCH_CACHE``, or ``clockify-rag-bench`` in the user's cache
folder. A corpus is a folder:

    pages/                what our own build reads
    texts.jsonl           what the peers index: title, headings and text of each chunk of that build, a JSON string a line
    ids.txt               our ids of those chunks
    vectors-256.npy       the vectors of those chunks as our index holds them (16 bits, by the shipped static table), float32
    vectors-384.npy       the same, expanded to 384 numbers: see ``expanded``
    queries.jsonl         questions: headings and sentences of pages that were held out, and questions of ``RAG_TEST_DATA``
    queries-256.npy, queries-384.npy
    index-256/, index-384/

Pages that are only links and pages in other languages than English are left out: by default we do not search the first, and have
no vectors of the second, and the peers would. Where the packages have too few
pages, the rest is made of two real pages' passages taken in turns; ``corpus.json`` says how many chunks that is.
"""

from __future__ import annotations

import argparse
import html
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packages import MANUALS, REFERENCES

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from clockify_rag._core import Page, Snapshot
    from clockify_rag.contracts import Chunk

SEED = 20_261
SIZES = {"1k": 1_000, "10k": 10_000, "30k": 30_000, "100k": 100_000, "300k": 300_000, "1m": 1_000_000}
DIMENSIONS = (256, 384)

HELD_OUT = 50
"""Every so many pages one is kept out of the corpus, for questions."""

QUESTIONS = 300

SUFFIXES = (".html", ".htm")

BATCH = 256

LARGEST_PAGE = 4 * 1024 * 1024
"""Bytes: larger ones are whole books on one page."""


def cache_folder() -> Path:
    """Return the folder for packages, environments and corpora."""
    if given := os.environ.get("RAG_BENCH_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clockify-rag-bench"


def dimensions(size: str) -> Sequence[int]:
    """Return the widths of a corpus's vectors: the largest has one, for the room that it takes."""
    return DIMENSIONS[:1] if size == "1m" else DIMENSIONS


def corpus_folder(size: str) -> Path:
    """Return the folder of a corpus."""
    return cache_folder() / "corpora" / size


def unpacked(package: str) -> Path:
    """Return a folder with the HTML files of a package, downloaded and unpacked if it was not before."""
    folder = cache_folder() / "unpacked" / package
    if folder.is_dir():
        return folder
    downloads = cache_folder() / "packages"
    downloads.mkdir(parents=True, exist_ok=True)
    if not list(downloads.glob(f"{package}_*.deb")):
        print(f"downloading {package}", file=sys.stderr)
        subprocess.run(["apt-get", "download", "-q", package], cwd=downloads, check=True, stdout=subprocess.DEVNULL)
    (archive,) = downloads.glob(f"{package}_*.deb")
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    subprocess.run(["dpkg-deb", "-x", archive, partial], check=True)
    for path in partial.rglob("*"):
        if path.is_file() and path.suffix not in SUFFIXES:
            path.unlink()
    partial.rename(folder)
    return folder


def pages_of(packages: Sequence[str]) -> list[tuple[str, Path]]:
    """Return the HTML pages of packages as (package, path), in an order that depends on names and the seed alone."""
    found: list[tuple[str, Path]] = []
    for package in packages:
        root = unpacked(package)
        pages = [path for path in root.rglob("*.htm*") if path.suffix in SUFFIXES and path.is_file()]
        found += [(package, path) for path in pages if not path.is_symlink() and 0 < path.stat().st_size < LARGEST_PAGE]
    found.sort(key=lambda page: (page[0], str(page[1])))
    random.Random(SEED).shuffle(found)
    return found


def chosen(pages: Sequence[tuple[str, Path]], wanted: int, folder: Path) -> tuple[int, list[Path]]:
    """Link pages into ``folder`` until they have ``wanted`` chunks.

    Returns:
        The chunks that the chosen pages have, and the pages that were held out.
    """
    from clockify_rag import _core

    held_out = [path for _, path in pages[::HELD_OUT]]
    rest = [page for number, page in enumerate(pages) if number % HELD_OUT]
    seen: set[str] = set()
    total = 0
    for start in range(0, len(rest), BATCH):
        batch = rest[start : start + BATCH]
        parsed = _core.parse("html", [path.read_bytes() for _, path in batch])
        read = [
            (package, path, page)
            for (package, path), page in zip(batch, parsed, strict=True)
            if isinstance(page, _core.Page) and not page.hub and is_english(page)
        ]
        counts = chunk_counts([page for *_, page in read])
        for (package, path, page), count in zip(read, counts, strict=True):
            if not count or page.text in seen:
                continue
            seen.add(page.text)
            target = folder / package / path.relative_to(cache_folder() / "unpacked" / package)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)
            total += count
            if total >= wanted:
                return total, held_out
    return total, held_out


def chunk_counts(pages: Sequence[Page]) -> list[int]:
    """Return how many chunks of each page a question can find, as a build with the defaults makes them."""
    from clockify_rag import _core
    from clockify_rag.embedding import shipped_tokenizer
    from clockify_rag.retrieval import EXCLUDED

    cutting = _core.Cutting("structure", 400, 800, 0.15, table=200, images=True)
    cut = _core.chunk([(page, "page") for page in pages], shipped_tokenizer(), cutting)
    return [sum(f"kind={kind}" not in EXCLUDED for kind, *_ in pieces) for pieces in cut]


def is_english(page: Page) -> bool:
    """Whether the loader will say so: pages of other languages get no vectors from the shipped table."""
    from clockify_rag import _core

    language = page.language or _core.detect_language(page.text[:4000], "")
    return language.lower().partition("-")[0] == "en"


def mixed_pages(folder: Path, wanted: int) -> int:
    """Add pages made of two real pages' paragraphs in turns until there are ``wanted`` chunks more; return how many."""
    from clockify_rag import _core

    generator = random.Random(SEED + 1)
    real = sorted(path for path in folder.rglob("*.htm*") if path.is_file())
    made = folder / "mixed"
    made.mkdir()
    total = number = 0
    while total < wanted:
        pairs = [generator.sample(real, 2) for _ in range(BATCH)]
        parsed = _core.parse("html", [path.read_bytes() for pair in pairs for path in pair])
        written = []
        for left, right in zip(parsed[::2], parsed[1::2], strict=True):
            if isinstance(left, _core.Page) and isinstance(right, _core.Page):
                written.append(_mixed(left, right, generator))
        counts = chunk_counts([page for page in _core.parse("html", written) if isinstance(page, _core.Page)])
        for page, count in zip(written, counts, strict=True):
            (made / f"{number // 1000:04}").mkdir(exist_ok=True)
            (made / f"{number // 1000:04}" / f"{number:07}.html").write_bytes(page)
            number += 1
            total += count
            if total >= wanted:
                break
    return total


def _mixed(left: Any, right: Any, generator: random.Random) -> bytes:
    """A page of blocks of two pages in turns; texts and vocabulary stay real."""
    parts = [
        f"<title>{html.escape(left.title or right.title or 'Untitled')} {generator.randrange(10**6)}</title><main>"
    ]
    for page in (left, right):
        blocks = [block for block in page.blocks if block.retrievable]
        for block in generator.sample(blocks, k=max(1, len(blocks) // 2)):
            text = html.escape(page.text[slice(*block.span)])
            parts.append(f"<h2>{text}</h2>" if block.kind == "heading" else f"<p>{text}</p>")
    return "\n".join(parts).encode()


def questions_of(held_out: Sequence[Path]) -> list[dict[str, str]]:
    """Return questions: headings and sentences of pages that are not in the corpus, and real ones where there are any."""
    from clockify_rag import _core

    generator = random.Random(SEED + 2)
    headings: list[str] = []
    sentences: list[str] = []
    for page in _core.parse("html", [path.read_bytes() for path in held_out[:2000]]):
        if not isinstance(page, _core.Page):
            continue
        for block in page.blocks:
            text = page.text[slice(*block.span)].strip().rstrip("¶").strip()
            if block.kind == "heading" and 3 <= len(text.split()) <= 12:
                headings.append(text)
            elif block.kind == "paragraph":
                sentence = text.split(". ")[0]
                if 5 <= len(sentence.split()) <= 25 and sentence.isascii():
                    sentences.append(sentence)
    kinds = {"heading": headings, "sentence": sentences}
    data = os.environ.get("RAG_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data"
    real = Path(data) / "load" / "queries.jsonl"
    if real.is_file():
        kinds["question"] = [json.loads(line)["query"] for line in real.read_text().splitlines()]
    each = QUESTIONS // len(kinds)
    found = []
    for kind, texts in kinds.items():
        distinct = list(dict.fromkeys(texts))
        found += [{"kind": kind, "text": text} for text in generator.sample(distinct, min(len(distinct), each))]
    generator.shuffle(found)
    return found


def write_questions(folder: Path, questions: Sequence[Mapping[str, str]]) -> None:
    """Write questions and their vectors."""
    import numpy

    from clockify_rag.embedding import StaticEmbedder

    (folder / "queries.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))
    vectors = StaticEmbedder().embed([question["text"] for question in questions])
    numpy.save(folder / "queries-256.npy", vectors)
    numpy.save(folder / "queries-384.npy", expanded(vectors))


def expanded(vectors: NDArray[numpy.float32]) -> NDArray[numpy.float32]:
    """Return 384 numbers for 256: the vector, and 128 seeded random features of it, tanh(4 · G v), at half its length.

    It stands in for a model of 384 dimensions, none of which is fast enough to embed the larger corpora in reasonable time. The
    features are not linear, so the rows do not lie in a subspace of 256 dimensions. Time depends on the width, not on what the
    numbers mean; nothing is said about quality at 384.
    """
    import numpy

    projection = numpy.random.default_rng(SEED).standard_normal((256, 128), numpy.float32)
    rows = numpy.empty((len(vectors), 384), numpy.float32)
    for start in range(0, len(vectors), 65_536):
        part = slice(start, start + 65_536)
        rows[part, :256] = vectors[part]
        features = numpy.tanh(4 * (vectors[part] @ projection))
        lengths = numpy.linalg.norm(features, axis=1, keepdims=True)
        rows[part, 256:] = 0.5 * features / numpy.maximum(lengths, 1e-9)
        rows[part] /= numpy.maximum(numpy.linalg.norm(rows[part], axis=1, keepdims=True), 1e-9)
    return rows


def build(pages: Path, index: Path) -> None:
    """Build our index of a folder of pages with the command line, as a user would."""
    words = [sys.executable, "-m", "clockify_rag", "build", str(pages), "--index", str(index)]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"clockify-rag build ended with {done.returncode}: {done.stderr[-400:]}")


def export(index: Path, folder: Path) -> int:
    """Write the texts and vectors that the peers index, of the chunks that our index is searched for; return how many."""
    import numpy

    from clockify_rag import _core
    from clockify_rag.building import embedded_text
    from clockify_rag.index import stored_documents

    snapshot = _core.Snapshot.open(str(index))
    vectors = numpy.empty((snapshot.chunks, 256), numpy.float32)
    row = 0
    with (folder / "texts.jsonl").open("w") as texts, (folder / "ids.txt").open("w") as ids:
        for document in stored_documents(snapshot):
            rows = numpy.frombuffer(snapshot.vectors_of(document.id), "<f4").reshape(-1, 256)
            for place, chunk in searched_chunks(snapshot, document.id):
                vectors[row] = rows[place]
                row += 1
                texts.write(json.dumps(embedded_text(document, chunk)) + "\n")
                ids.write(chunk.id + "\n")
    numpy.save(folder / "vectors-256.npy", vectors[:row])
    return row


def searched_chunks(snapshot: Snapshot, document_id: str) -> list[tuple[int, Chunk]]:
    """Return a document's chunks that a question can find without a filter, each with its place among all of them."""
    from clockify_rag.index import decode_chunk
    from clockify_rag.retrieval import EXCLUDED

    chunks = [decode_chunk(record, text) for record, text in snapshot.chunks_of(document_id)]
    return [(place, chunk) for place, chunk in enumerate(chunks) if f"kind={chunk.kind}" not in EXCLUDED]


def index_with(folder: Path, dimension: int) -> None:
    """Build our index of the same chunks with the expanded vectors."""
    import numpy

    from clockify_rag import _core
    from clockify_rag.index import EmbedderEntry, IndexWriter, stored_documents

    source = _core.Snapshot.open(str(folder / "index-256"))
    vectors = numpy.load(folder / f"vectors-{dimension}.npy", mmap_mode="r")
    entry = EmbedderEntry(f"expanded-{dimension}", f"{SEED:032x}", dimension)
    shutil.rmtree(folder / f"index-{dimension}", ignore_errors=True)
    row = 0
    with IndexWriter(folder / f"index-{dimension}", chunker=source.chunker, embedder=entry) as writer:
        for document in stored_documents(source):
            chunks = [chunk for _, chunk in searched_chunks(source, document.id)]
            rows = numpy.ascontiguousarray(vectors[row : row + len(chunks)], "<f4").tobytes()
            row += len(chunks)
            writer.add(document, source.text(document.id) or "", chunks, rows)
        writer.publish()


def _is_of_this_engine(index: Path) -> bool:
    """Whether this engine would make the same chunks, terms and vectors of the pages, in the same format."""
    from clockify_rag import _core
    from clockify_rag.config import Settings
    from clockify_rag.errors import StoreError
    from clockify_rag.pipeline import Pipeline

    try:
        snapshot = _core.Snapshot.open(str(index))
    except StoreError as failure:
        print(f"made anew: {failure}", file=sys.stderr)
        return False
    pipeline = Pipeline(index, Settings())
    entry = pipeline.embedder_entry
    mine = (_core.analyser_fingerprint(), pipeline.chunker_fingerprint, entry and (entry.name, entry.fingerprint))
    found = (snapshot.analyser, snapshot.chunker, snapshot.embedder and snapshot.embedder[:2])
    if mine != found:
        print(f"made anew: made by {found}, now it would be by {mine}", file=sys.stderr)
    return mine == found


def chosen_pages(size: str, folder: Path) -> tuple[int, list[Path]]:
    """Fill ``folder/pages``, or take it over from a run that was interrupted after that.

    Returns:
        How many chunks are of mixed pages, and the pages that were held out.
    """
    ready = folder / "pages.json"
    if ready.is_file() and not (folder / "corpus.json").is_file():
        entry = json.loads(ready.read_text())
        return entry["mixed_chunks"], list(map(Path, entry["held_out"]))
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "pages").mkdir(parents=True)
    started, wanted = time.perf_counter(), SIZES[size]
    packages = MANUALS if wanted <= SIZES["100k"] else MANUALS + REFERENCES
    counted, held_out = chosen(pages_of(packages), wanted, folder / "pages")
    mixed = mixed_pages(folder / "pages", wanted - counted) if counted < wanted else 0
    ready.write_text(json.dumps({"mixed_chunks": mixed, "held_out": list(map(str, held_out))}))
    print(f"{size}: {counted} chunks of real pages, {mixed} mixed, {time.perf_counter() - started:.0f} s", flush=True)
    return mixed, held_out


def make(size: str) -> None:
    """Make the corpus of one size, unless it is there."""
    import numpy

    folder = corpus_folder(size)
    if (folder / "corpus.json").is_file() and _is_of_this_engine(folder / "index-256"):
        print(f"{size}: {folder} is there")
        return
    started = time.perf_counter()
    mixed, held_out = chosen_pages(size, folder)
    shutil.rmtree(folder / "index-256", ignore_errors=True)
    build(folder / "pages", folder / "index-256")
    chunks = export(folder / "index-256", folder)
    for dimension in dimensions(size)[1:]:
        numpy.save(folder / f"vectors-{dimension}.npy", expanded(numpy.load(folder / "vectors-256.npy", mmap_mode="r")))
        index_with(folder, dimension)
    questions = questions_of(held_out)
    write_questions(folder, questions)
    files = [path for path in (folder / "pages").rglob("*") if path.is_file()]
    with (folder / "texts.jsonl").open() as lines:
        characters = sum(len(json.loads(line)) for line in lines)
    entry = {
        "name": f"debian-{size}",
        "seed": SEED,
        "chunks": chunks,
        "mixed_chunks": mixed,
        "pages": len(files),
        "page_bytes": sum(path.stat().st_size for path in files),
        "text_characters": characters,
        "packages": sorted({path.relative_to(folder / "pages").parts[0] for path in files} - {"mixed"}),
        "queries": len(questions),
        "query_kinds": sorted({question["kind"] for question in questions}),
        "query_words_mean": sum(len(question["text"].split()) for question in questions) / len(questions),
    }
    (folder / "corpus.json").write_text(json.dumps(entry, indent=1) + "\n")
    print(f"{size}: {chunks} chunks in {folder}, {time.perf_counter() - started:.0f} s", flush=True)


def main() -> None:
    """Make the corpora named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sizes", nargs="*", default=["10k", "100k"], choices=SIZES, metavar="SIZE")
    for size in parser.parse_args().sizes:
        make(size)


if __name__ == "__main__":
    main()
