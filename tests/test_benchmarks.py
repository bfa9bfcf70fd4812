"""The comparisons' harness on a small corpus, without time; and that the page of benchmarks is what the results make."""

from __future__ import annotations

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy
import pytest

from clockify_rag import _core
from clockify_rag.config import Settings
from clockify_rag.pipeline import Pipeline
from conftest import REPOSITORY

COMPARE = REPOSITORY / "benches" / "compare"
PAGES = REPOSITORY / "examples" / "help-center" / "docs"
QUESTIONS = ["How do I copy last week's timesheet?", "export an invoice", "password reset link"]


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of the comparisons."""
    monkeypatch.syspath_prepend(str(COMPARE))
    return importlib.import_module


@pytest.fixture
def small(harness: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example help centre as a corpus of the comparisons."""
    monkeypatch.setenv("RAG_BENCH_CACHE", str(tmp_path))
    corpus = harness("corpus")
    folder: Path = corpus.corpus_folder("small")
    (folder / "pages").mkdir(parents=True)
    for path in PAGES.rglob("*.md"):
        (page,) = _core.parse("markdown", [path.read_bytes()])
        if isinstance(page, _core.Page) and not page.hub and corpus.is_english(page):
            shutil.copyfile(path, folder / "pages" / f"{path.parent.name}-{path.name}")
    corpus.build(folder / "pages", folder / "index-256")
    corpus.export(folder / "index-256", folder)
    numpy.save(folder / "vectors-384.npy", corpus.expanded(numpy.load(folder / "vectors-256.npy")))
    corpus.write_questions(folder, [{"kind": "question", "text": text} for text in QUESTIONS])
    return folder


@pytest.mark.parametrize("dimension", [256, 384])
def test_our_engine_takes_part(harness: Any, small: Path, dimension: int) -> None:
    with harness("process").Process("clockify-rag", "small", dimension) as process:
        assert process.do("build")["bytes"] > 0
        about = process.do("about")
        assert about["tasks"] == ["hybrid", "lexical", "dense"]
        opened = process.do("open", task="hybrid")
        assert opened["first_answer_ms"] >= opened["open_ms"] > 0
        found = {task: process.do("rows", task=task, questions=3)["rows"] for task in about["tasks"]}
        assert len(process.do("pass", task="hybrid", questions=2)["times"]) == 2
    corpus = harness("contender").Corpus(small, dimension)
    cosines = corpus.question_vectors @ numpy.asarray(corpus.vectors).T
    for rows, row_cosines in zip(found["dense"], cosines, strict=True):
        nearest = numpy.sort(row_cosines)[::-1][: len(rows)]
        assert len(rows) == min(100, len(row_cosines))
        numpy.testing.assert_allclose(numpy.sort(row_cosines[rows])[::-1], nearest, atol=2e-3)
    assert all(len(rows) == 12 for rows in found["hybrid"])
    assert "timesheet" in corpus.texts[found["lexical"][0][0]].lower()


def test_our_contender_is_what_the_pipeline_searches_by_default(harness: Any, small: Path, tmp_path: Path) -> None:
    contender, settings = harness("contender"), Settings()
    assert (settings.retrieval.top_k, settings.retrieval.candidates) == (contender.PICKED, contender.TOP)
    assert settings.reranking.mmr_lambda == contender.MMR_LAMBDA
    shutil.copytree(small / "index-256", tmp_path / "store" / "index")
    corpus = contender.Corpus(small, 256)
    ours = contender.contender_class("clockify-rag")(corpus, tmp_path / "store")
    ours.load()
    ours.open()
    pipeline = Pipeline.open(small / "index-256", settings)
    for text, vector in zip(QUESTIONS, corpus.question_vectors, strict=True):
        found = ours.hybrid(text, vector)
        hits = pipeline.search(text).hits
        assert [corpus.ids[row] for row in ours.rows(found)] == [hit.chunk.id for hit in hits]
        assert [row[3] for row in found] == [hit.score for hit in hits]


def test_a_run_makes_a_result_that_the_page_shows(
    harness: Any, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = harness("run")
    monkeypatch.setattr(run, "SECONDS", 0.01)
    names = ["clockify-rag", "clockify-rag with texts", "clockify-rag stages"]
    measured = run.Run("small", 256, names, passes=2, questions=3)
    measured.build(again=False)
    measured.open(repeat=1)
    measured.serve(["hybrid", "dense", "throughput"], measured.searching, "clockify-rag")
    measured.serve(run.STAGES, ["clockify-rag stages"], "clockify-rag stages")
    assert measured.failed == {}
    assert measured.figures["dense"]["clockify-rag with texts"]["recall@100"] > 0.99
    assert set(measured.figures["throughput hybrid"]) == set(names[:2])
    described = {"name": "debian-small", "chunks": len(measured.corpus.ids), "mixed_chunks": 0, "pages": 9}
    described |= {"page_bytes": 1, "text_characters": sum(map(len, measured.corpus.texts)), "queries": 3}
    entry = {"at": "2026-01-01T00:00:00Z", "commit": "1234567", "corpus": described, "machine": run.machine()}
    entry["measured"] = {"passes": 2, "opens": 1, "questions": 3}
    result = run.merged(tmp_path / "none.json", entry, [measured])
    (tmp_path / "debian-small-1234567.json").write_text(json.dumps(result))
    page = harness("report").text(tmp_path, tmp_path).splitlines()
    for name in names:
        assert sum(line.startswith(f"| **{name}** ") for line in page) >= 5, name
    (left_out,) = [line for line in page if line.startswith("In the harness, not measured")]
    assert "faiss flat" in left_out
    assert "clockify-rag with texts" not in left_out
    again = run.merged(tmp_path / "debian-small-1234567.json", {"at": "later"}, [])
    assert again == {**result, "at": "later"}
    measured.figures = {"hybrid": {names[0]: measured.figures["hybrid"][names[0]]}}
    later = run.merged(
        tmp_path / "debian-small-7654321.json", {**entry, "at": "2026-02", "commit": "7654321"}, [measured]
    )
    assert list(later["figures"]["256"]["hybrid"]) == names[:1], "ratios are taken within a run"
    assert later["figures"]["256"]["dense"] == result["figures"]["256"]["dense"]
    assert {task for task, commit in later["commits"]["256"].items() if commit == "7654321"} == {"hybrid"}
    assert harness("report").commits(later).startswith("`7654321`; `1234567` (")


def test_a_contender_that_fails_says_why(harness: Any, small: Path) -> None:
    process = harness("process")
    with process.Process("clockify-rag", "small", 256) as running, pytest.raises(process.Failed, match="IndexNotFound"):
        running.do("open", task="hybrid")


def test_expanded_vectors_are_seeded_units_of_full_rank(harness: Any) -> None:
    vectors = numpy.random.default_rng(1).standard_normal((500, 256)).astype(numpy.float32)
    vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
    wide = harness("corpus").expanded(vectors)
    assert wide.shape == (500, 384)
    assert numpy.linalg.matrix_rank(wide) == 384
    numpy.testing.assert_allclose(numpy.linalg.norm(wide, axis=1), 1, atol=1e-5)
    numpy.testing.assert_array_equal(wide, harness("corpus").expanded(vectors))


def test_a_ratio_is_taken_within_a_pass_and_over_the_same_questions(harness: Any) -> None:
    run = harness("run")
    ours, theirs = [[1.0, 1.0, 9.0], [2.0, 2.0, 9.0]], [[2.0, 2.0], [8.0, 8.0]]
    assert run.ratio(ours, theirs) == {"ratio": 0.375, "ratio_least": 0.25, "ratio_most": 0.5}
    assert run.summary(ours)["p50_ms"] == 1.5


def test_every_contender_is_found_and_pinned(harness: Any) -> None:
    contender = harness("contender")
    for name, entry in contender.CONTENDERS.items():
        assert contender.tasks_of(contender.contender_class(name)), name
        assert entry.family is None or (COMPARE / "requirements" / f"{entry.family}.txt").is_file()
        assert entry.shares is None or contender.CONTENDERS[entry.shares].module == entry.module
    for requirements in (COMPARE / "requirements").glob("*.txt"):
        assert all("==" in line for line in requirements.read_text().splitlines()), requirements


def test_arrivals_are_a_seeded_poisson_process(harness: Any) -> None:
    load = harness("load")
    moments = load.poisson(100, 50, 1)
    assert moments == load.poisson(100, 50, 1)
    assert 4700 < len(moments) < 5300
    gaps = numpy.diff(moments)
    assert 0.9 < gaps.std() / gaps.mean() < 1.1


def test_the_page_is_what_the_results_make(harness: Any) -> None:
    assert (REPOSITORY / "docs" / "benchmarks.md").read_text() == harness("report").text()


def test_the_newest_result_of_a_corpus_is_shown(harness: Any, tmp_path: Path) -> None:
    for day, chunks in (("01", 7), ("02", 8)):
        entry = {"at": f"2026-01-{day}T00:00:00Z", "corpus": {"name": "debian-10k", "chunks": chunks}}
        (tmp_path / f"debian-10k-{day}.json").write_text(json.dumps(entry))
    (shown,) = harness("report").newest(tmp_path, "debian-*.json")
    assert shown["corpus"]["chunks"] == 8
