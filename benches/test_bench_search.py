"""The border from Python, one bench for each thing that a question or a page costs: ``pytest benches --benchmark-enable``.

Without that option each runs once, as a test. The corpus is the example help centre, so figures are comparable everywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clockify_rag import _core
from clockify_rag.config import Settings
from clockify_rag.embedding import StaticEmbedder, shipped_tokenizer
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
    assert benchmark(pipeline.ask, QUESTION).citations


def test_bench_open(benchmark: Any, pipeline: Pipeline) -> None:
    """From a folder to a verified snapshot."""
    assert benchmark(_core.Snapshot.open, str(pipeline.path)).chunks


def test_bench_parse_and_chunk(benchmark: Any, contents: list[bytes]) -> None:
    """All pages to chunks."""
    tokenizer = shipped_tokenizer()

    def work() -> int:
        pages = _core.parse("markdown", contents, "github")
        return sum(
            map(len, _core.chunk([page for page in pages if isinstance(page, _core.Page)], tokenizer, 400, 800, 0.15))
        )

    assert benchmark(work) > len(contents)


def test_bench_embed(benchmark: Any, contents: list[bytes]) -> None:
    """All pages to vectors, each as one text."""
    embedder = StaticEmbedder()
    texts = [content.decode() for content in contents]
    assert benchmark(embedder.core.embed_rows, texts)


def test_bench_detect_language(benchmark: Any) -> None:
    """The language of one question."""
    assert benchmark(_core.detect_language, QUESTION, "en") == "en"
