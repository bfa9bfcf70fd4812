"""The border from Python, one bench for each thing that a question or a page costs: ``pytest benches --benchmark-enable``.

Without that option each runs once, as a test. The corpus is the example help centre, so figures are comparable everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest

from clockify_rag import _core
from clockify_rag.config import Settings
from clockify_rag.embedding import StaticEmbedder, shipped_tokenizer
from clockify_rag.explaining import explain, why_not
from clockify_rag.pipeline import Pipeline

PAGES = Path(__file__).parents[1] / "examples" / "help-center" / "docs"
QUESTION = "How do I copy last week's timesheet?"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pipeline over the example help centre."""
    made = Pipeline(tmp_path_factory.mktemp("bench") / "index", Settings())
    made.build([PAGES])
    made.search(QUESTION)
    return made


@pytest.fixture(scope="module")
def contents() -> list[bytes]:
    """The example's Markdown pages."""
    return [path.read_bytes() for path in sorted(PAGES.rglob("*.md"))]


def test_bench_search(benchmark: Any, pipeline: Pipeline) -> None:
    """One question, words and meaning."""
    assert benchmark(pipeline.search, QUESTION).hits


def test_bench_search_lexical(benchmark: Any, pipeline: Pipeline) -> None:
    """One question, words only."""
    assert benchmark(lambda: pipeline.search(QUESTION, lexical=True)).hits


def test_bench_ask(benchmark: Any, pipeline: Pipeline) -> None:
    """One question to its verified answer."""
    assert benchmark(lambda: pipeline.ask(QUESTION, cached=False)).citations


def test_bench_ask_again(benchmark: Any, pipeline: Pipeline) -> None:
    """One question to the answer that was given before."""
    pipeline.ask(QUESTION)
    assert "cache" in benchmark(pipeline.ask, QUESTION).timings_ms


def test_bench_explain(benchmark: Any, pipeline: Pipeline) -> None:
    """The way of one question."""
    assert benchmark(explain, pipeline, QUESTION).hits


def test_bench_why_not(benchmark: Any, pipeline: Pipeline) -> None:
    """Where one page was lost, and what would bring it in."""
    lost = next(iter(pipeline.index.documents()))
    assert benchmark(why_not, pipeline, QUESTION, lost.id).verdict


def test_bench_open(benchmark: Any, pipeline: Pipeline) -> None:
    """From a folder to a verified snapshot."""
    assert benchmark(_core.Snapshot.open, str(pipeline.path)).chunks


def test_bench_parse_and_chunk(benchmark: Any, contents: list[bytes]) -> None:
    """All pages to chunks."""
    tokenizer, cutting = shipped_tokenizer(), _core.Cutting("structure", 400, 800, 0.15, table=200, images=True)

    def work() -> int:
        parsed = _core.parse("markdown", contents, "github")
        pages = [(page, "page") for page in parsed if isinstance(page, _core.Page)]
        return sum(map(len, _core.chunk(pages, tokenizer, cutting)))

    assert benchmark(work) > len(contents)


def test_bench_embed(benchmark: Any, contents: list[bytes]) -> None:
    """All pages to vectors, each as one text."""
    embedder = StaticEmbedder()
    texts = [content.decode() for content in contents]
    assert benchmark(embedder.core.embed_rows, texts)


def test_bench_detect_language(benchmark: Any) -> None:
    """The language of one question."""
    assert benchmark(_core.detect_language, QUESTION, "en") == "en"


@pytest.mark.parametrize("dense", ["exact", "cascade"])
def test_bench_core_search(benchmark: Any, pipeline: Pipeline, dense: str) -> None:
    """One question, its vector given, without what Python makes of the hits; the processor's instruction set is in the figures."""
    benchmark.extra_info["simd"] = _core.simd()
    options = _core.SearchOptions(
        top_k=12,
        candidates=100,
        k1=1.2,
        b=(0.75, 0.75, 0.75),
        weights=(5.0, 1.0, 1.0),
        dense_weight=1.8,
        document_weight=0.3,
        repeat_weight=0.85,
        mmr_lambda=0.98,
        dense=dense,
    )
    snapshot = _core.Snapshot.open(str(pipeline.path))
    vector = StaticEmbedder().core.embed([QUESTION])[0]
    found = benchmark(snapshot.search, QUESTION, "en", [], ["kind=hub"], options, None, vector)
    assert found.dense_path == ("exact" if dense == "exact" or snapshot.chunks <= 10_000 else "cascade")


def test_bench_mmr(benchmark: Any) -> None:
    """Twelve picks of a hundred candidates."""
    random = numpy.random.default_rng(1)
    vectors = random.standard_normal((100, 256), dtype=numpy.float32)
    vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
    relevance = [1 / (1 + rank) for rank in range(100)]
    assert len(benchmark(_core.mmr, relevance, vectors, 0.7, 12)) == 12


def test_bench_analyse(benchmark: Any, contents: list[bytes]) -> None:
    """All pages to terms."""
    text = b"".join(contents).decode()
    assert benchmark(_core.analyse, text, "en")


def test_bench_count_tokens(benchmark: Any, contents: list[bytes]) -> None:
    """All pages to numbers of tokens."""
    texts = [content.decode() for content in contents]
    assert sum(benchmark(shipped_tokenizer().count, texts)) > 10_000


def test_bench_question_terms(benchmark: Any) -> None:
    """The terms of one question."""
    assert benchmark(_core.question_terms, QUESTION, "en")
