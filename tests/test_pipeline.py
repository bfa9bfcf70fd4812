"""Building, searching and asking with the real core, over small folders."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clockify_rag import _core
from clockify_rag.building import BuildReport, with_folders
from clockify_rag.calibration import refusal
from clockify_rag.contracts import Draft, Evidence, Hit, Reranking, Scores, SearchResult, Source
from clockify_rag.errors import (
    BackendUnavailable,
    ConfigError,
    IndexIncompatible,
    IndexLocked,
    IndexNotFound,
    InvalidSetting,
    PluginNotFound,
    QueryError,
    SourceError,
    StoreError,
)
from clockify_rag.explaining import explain
from clockify_rag.index import EmbedderEntry, IndexWriter
from clockify_rag.loading import FileLoader
from clockify_rag.pipeline import Pipeline
from folders import source_of, write
from pipelines import GARDEN, QUESTIONS, offer, pipeline_of, ranking, settings_of


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    return write(tmp_path / "garden", GARDEN)


@pytest.fixture
def pipeline(tmp_path: Path, pages: Path) -> Pipeline:
    built = pipeline_of(tmp_path / "index")
    built.build([pages])
    return built


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """An index that no test changes."""
    folder = tmp_path_factory.mktemp("built")
    made = pipeline_of(folder / "index")
    made.build([write(folder / "garden", GARDEN)])
    return made


def counts(report: BuildReport) -> dict[str, int]:
    """The counts of a report that are not zero."""
    names = ("added", "changed", "moved", "removed", "unchanged", "stale", "without_vectors")
    return {name: value for name in names if (value := getattr(report, name))}


def as_fresh(pipeline: Pipeline, folder: Path, *sources: Any) -> None:
    """Hold the pipeline's answers against those of an index built from nothing."""
    fresh = Pipeline(folder, pipeline.settings)
    fresh.build(sources)
    for question, lexical in product(QUESTIONS, (False, True)):
        assert ranking(pipeline.search(question, lexical=lexical)) == ranking(fresh.search(question, lexical=lexical))
    assert explain(pipeline, QUESTIONS[0]).hits == explain(fresh, QUESTIONS[0]).hits


# Builds.


def test_a_first_build_adds_everything(tmp_path: Path, pages: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    report = pipeline_of(tmp_path / "index").build([pages], progress=lambda *done: seen.append(done))
    assert counts(report) == {"added": 5}
    assert (report.generation, report.documents, report.chunks) == (1, 5, 8)
    assert {stage for stage, _, _ in seen} == {"load", "index"}
    assert seen[-1] == ("index", 5, None)
    assert set(report.timings_ms) == {"load", "chunk", "embed", "publish", "total"}


def test_a_build_of_the_same_publishes_nothing(pipeline: Pipeline, pages: Path) -> None:
    report = pipeline.build([pages])
    assert counts(report) == {"unchanged": 5}
    assert report.generation == 1


def test_changes_are_counted_and_searched(pipeline: Pipeline, pages: Path, tmp_path: Path) -> None:
    write(pages, {"fees.md": "# Fees\n\nMembership is free.\n", "pond.md": "# Pond\n\nFrogs live in the pond.\n"})
    (pages / "tools.md").unlink()
    report = pipeline.build([pages])
    assert counts(report) == {"added": 1, "changed": 1, "removed": 1, "unchanged": 3}
    assert report.generation == 2
    assert pipeline.search("frogs").hits[0].document.path == "pond.md"
    assert "free" in pipeline.search("membership").hits[0].chunk.text
    assert all(hit.document.path != "tools.md" for hit in pipeline.search("spade in the shed").hits)
    as_fresh(pipeline, tmp_path / "fresh", pages)


def test_a_moved_page_is_neither_added_nor_removed(pipeline: Pipeline, pages: Path) -> None:
    (pages / "old").mkdir()
    (pages / "gate.md").rename(pages / "old" / "gate.md")
    (pages / "fees.md").unlink()
    assert counts(pipeline.build([pages])) == {"moved": 1, "removed": 1, "unchanged": 3}


def test_a_page_moved_to_two_places_is_moved_once(pipeline: Pipeline, pages: Path) -> None:
    write(pages, {"one.md": GARDEN["gate.md"], "two.md": GARDEN["gate.md"]})
    (pages / "gate.md").unlink()
    assert counts(pipeline.build([pages])) == {"added": 1, "moved": 1, "unchanged": 4}


def test_a_touched_file_is_no_change(pipeline: Pipeline, pages: Path) -> None:
    (pages / "gate.md").write_text(GARDEN["gate.md"])
    first = pipeline.build([pages])
    assert counts(first) == {"unchanged": 5}
    assert pipeline.index.find("gate.md").file is not None
    assert len(pipeline.index.info()["segments"]) == 1
    assert pipeline.build([pages]).generation == first.generation


def test_other_settings_of_a_source_reach_its_documents(pipeline: Pipeline, pages: Path) -> None:
    source = source_of(pages, name="garden", base_url="https://garden.example/help", version="2")
    assert counts(pipeline.build([source])) == {"changed": 5}
    hit = pipeline.search("gate", filters={"version": ["2"]}).hits[0]
    assert hit.document.url == "https://garden.example/help/gate.html"
    assert not pipeline.search("gate", filters={"version": ["1"]}).hits


@pytest.mark.parametrize("path", ["a.md", "a/b.md", "a/b/c.md", "/a", "a//b"])
def test_a_page_lies_in_every_folder_above_it(path: str) -> None:
    candidates = ["", "a", "a/b", "a/b/c.md", "a.md", "b", "a/", "/a", "a//b"]
    above = [name for name in candidates if f"{path}/".startswith(f"{name}/" if name else "")]
    assert [name for name in candidates if name in with_folders(path)] == above


def test_an_unreadable_page_stays_stale_until_it_is_readable(pipeline: Pipeline, pages: Path) -> None:
    before = ranking(pipeline.search("gate"))
    write(pages, {"gate.md": b"\xc3\x28 not UTF-8 \xff\xfe\xfd"})
    report = pipeline.build([pages])
    assert counts(report) == {"stale": 1, "unchanged": 4}
    (skipped,) = report.skipped
    assert skipped.path == "gate.md"
    assert skipped.error is not None
    assert skipped.error.code == "document_unreadable"
    assert pipeline.index.find("gate.md").stale
    assert ranking(pipeline.search("gate")) == before
    hit = pipeline.search("gate").hits[0]
    found = pipeline.index.chunk(hit.chunk.id)
    assert hit.document.stale
    assert found == (hit.chunk, hit.document)
    assert counts(pipeline.build([pages])) == {"stale": 1, "unchanged": 4}
    write(pages, {"gate.md": GARDEN["gate.md"]})
    assert counts(pipeline.build([pages])) == {"unchanged": 5}
    assert not pipeline.index.find("gate.md").stale


def test_strict_publishes_nothing(pipeline: Pipeline, pages: Path) -> None:
    write(pages, {"gate.md": b"\xc3\x28 not UTF-8 \xff\xfe\xfd", "pond.md": "# Pond\n\nFrogs.\n"})
    with pytest.raises(SourceError, match=r"nothing was published because gate\.md cannot be read") as caught:
        pipeline.build([pages], strict=True)
    assert caught.value.hint == "without --strict the rest is built"
    assert pipeline.index.refresh() is False
    assert pipeline.index.generation == 1
    assert counts(pipeline.build([pages])) == {"added": 1, "stale": 1, "unchanged": 4}


def test_other_sources_stay_unless_only(pipeline: Pipeline, tmp_path: Path) -> None:
    other = write(tmp_path / "kitchen", {"soup.md": "# Soup\n\nBoil leeks for an hour.\n"})
    assert counts(pipeline.build([other])) == {"added": 1}
    assert pipeline.search("gate").hits[0].document.source == "garden"
    report = pipeline.build([other], only=True)
    assert counts(report) == {"removed": 5, "unchanged": 1}
    assert report.documents == 1
    assert {document.source for document in pipeline.index.documents()} == {"kitchen"}
    as_fresh(pipeline, tmp_path / "fresh", other)


def test_two_sources_of_one_name_are_refused(pipeline: Pipeline, pages: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other" / "garden", {"a.md": "# A\n\nText.\n"})
    with pytest.raises(ConfigError):
        pipeline.build([pages, other])


def test_checksum_reaches_the_loader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pages: Path) -> None:
    asked: list[bool] = []

    class Recording(FileLoader):
        def load(self, source: Source, known: Any, *, checksum: bool = False) -> Any:
            asked.append(checksum)
            return super().load(source, known, checksum=checksum)

    offer(monkeypatch, "loaders", recording=Recording)
    pipeline = pipeline_of(tmp_path / "index", loading={"loader": "recording"})
    pipeline.build([pages])
    assert counts(pipeline.build([pages], checksum=True)) == {"unchanged": 5}
    assert asked == [False, True]


def test_a_second_builder_is_refused(pipeline: Pipeline, pages: Path) -> None:
    writer = IndexWriter(pipeline.path, chunker="c", embedder=None)
    with writer, pytest.raises(IndexLocked):
        pipeline.build([pages])
    assert counts(pipeline.build([pages])) == {"unchanged": 5}


def test_a_failed_build_leaves_the_old_generation(
    pipeline: Pipeline, pages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ranking(pipeline.search("gate"))
    write(pages, {"gate.md": "# Gate\n\nNo gate any more.\n"})

    def fail(*given: object) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patched:
        patched.setattr(IndexWriter, "publish", fail)
        with pytest.raises(OSError, match="the disk is gone"):
            pipeline.build([pages])
    assert ranking(Pipeline(pipeline.path, pipeline.settings).search("gate")) == before
    assert counts(pipeline.build([pages])) == {"changed": 1, "unchanged": 4}


# Everything that changes how an index is made.


def test_other_chunking_cuts_all_pages_again(pipeline: Pipeline, pages: Path, tmp_path: Path) -> None:
    long = "# Long\n\n" + " ".join(f"Sentence {number} speaks of gates and keys." for number in range(100))
    write(pages, {"long.md": long})
    before = pipeline.build([pages]).chunks
    smaller = pipeline_of(pipeline.path, chunking={"target": 50, "maximum": 100})
    report = smaller.build([pages])
    assert counts(report) == {"changed": 6}
    assert report.chunks > before
    assert counts(smaller.build([pages])) == {"unchanged": 6}
    as_fresh(smaller, tmp_path / "fresh", pages)


def test_other_chunking_is_remembered_for_sources_that_were_not_read(pipeline: Pipeline, tmp_path: Path) -> None:
    pages = tmp_path / "garden"
    other = write(tmp_path / "kitchen", {"soup.md": "# Soup\n\nBoil leeks for an hour.\n"})
    smaller = pipeline_of(pipeline.path, chunking={"target": 50, "maximum": 100})
    assert counts(smaller.build([other])) == {"added": 1}
    assert counts(smaller.build([pages, other])) == {"changed": 5, "unchanged": 1}
    assert counts(smaller.build([pages, other])) == {"unchanged": 6}


def test_other_chunking_reaches_a_page_that_was_unreadable_then(
    pipeline: Pipeline, pages: Path, tmp_path: Path
) -> None:
    long = "# Gate\n\n" + " ".join(f"Sentence {number} speaks of gates and keys." for number in range(100))
    write(pages, {"gate.md": long})
    pipeline.build([pages])
    write(pages, {"gate.md": b"\xc3\x28 not UTF-8 \xff\xfe\xfd"})
    smaller = pipeline_of(pipeline.path, chunking={"target": 50, "maximum": 100})
    assert counts(smaller.build([pages])) == {"changed": 4, "stale": 1}
    write(pages, {"gate.md": long})
    smaller.build([pages])
    as_fresh(smaller, tmp_path / "fresh", pages)
    assert counts(smaller.build([pages])) == {"unchanged": 5}


def test_another_analyser_is_refused_and_mended_without_reading(
    pipeline: Pipeline, pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ranking(pipeline.search("gate"))
    (segment,) = pipeline.index.info()["segments"]
    with monkeypatch.context() as patched:
        patched.setattr(_core, "analyser_fingerprint", lambda: "f" * 32)
        reopened = Pipeline(pipeline.path, pipeline.settings)
        with pytest.raises(IndexIncompatible, match="this engine's is ffffffffffff") as caught:
            reopened.search("gate")
        assert caught.value.fields["aspect"] == "analyser"
        assert "build" in caught.value.hint
        assert counts(reopened.build([pages])) == {"unchanged": 5}
    (derived,) = reopened.index.info()["segments"]
    assert derived["id"] != segment["id"]
    assert ranking(reopened.search("gate")) == before
    as_fresh(reopened, tmp_path / "fresh", pages)


class Acme:
    """Embeds by the letters of a text."""

    dimension = 4

    def fingerprint(self) -> str:
        return "acme 1"

    def embed(self, texts: Any) -> Any:
        rows = [[text.count("a") + 1.0, text.count("e"), len(text), text.count(" ")] for text in texts]
        made = numpy.array(rows, numpy.float32).reshape(-1, 4)
        return made / numpy.linalg.norm(made, axis=1, keepdims=True)

    def embed_questions(self, texts: Any) -> Any:
        return self.embed(texts)


def test_another_embedder_is_refused_and_embeds_again(
    pipeline: Pipeline, pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, "embedders", acme=Acme)
    other = pipeline_of(pipeline.path, embedding={"embedder": "acme"})
    with pytest.raises(IndexIncompatible, match="the index's vectors are of embedder static") as caught:
        other.search("gate")
    assert caught.value.fields["aspect"] == "embedder"
    assert "--lexical" in caught.value.hint
    assert ranking(other.search("gate", lexical=True)) == ranking(pipeline.search("gate", lexical=True))
    assert counts(other.build([pages])) == {"unchanged": 5}
    assert other.index.info()["embedder"] == {"name": "acme", "fingerprint": "acme 1+0.5", "dimension": 4}
    assert "embed" in other.search("gate").timings_ms
    as_fresh(other, tmp_path / "fresh", pages)


def test_titles_that_weigh_otherwise_are_embedded_again(pipeline: Pipeline, pages: Path, tmp_path: Path) -> None:
    other = pipeline_of(pipeline.path, embedding={"title_weight": 3})
    with pytest.raises(IndexIncompatible, match=r"titles with weight 0\.5, embedding\.title_weight is 3"):
        other.search("gate")
    before = {hit.chunk.id: hit.scores.cosine for hit in pipeline.search("gate").hits}
    assert counts(other.build([pages])) == {"unchanged": 5}
    after = {hit.chunk.id: hit.scores.cosine for hit in other.search("gate").hits}
    assert all(before[chunk] != after[chunk] for chunk in before.keys() & after.keys())
    as_fresh(other, tmp_path / "fresh", pages)


def test_vectors_of_all_sources_are_made_again(pipeline: Pipeline, tmp_path: Path) -> None:
    other = write(tmp_path / "kitchen", {"soup.md": "# Soup\n\nBoil leeks for an hour.\n"})
    without = pipeline_of(pipeline.path, embedding={"embedder": "none"})
    without.build([other])
    assert without.index.info()["embedder"] is None
    assert without.search("gate").lexical_only
    again = pipeline_of(pipeline.path)
    again.build([other])
    as_fresh(again, tmp_path / "fresh", tmp_path / "garden", other)


def test_pages_in_a_language_the_embedder_does_not_know_are_searched_by_words(tmp_path: Path) -> None:
    german = "# Tor\n\nDas Tor öffnet bei Sonnenaufgang und wird bei Sonnenuntergang von dem Wärter geschlossen.\n"
    folder = write(tmp_path / "garden", {**GARDEN, "tor.md": german})
    pipeline = pipeline_of(tmp_path / "index")
    assert counts(pipeline.build([folder])) == {"added": 6, "without_vectors": 1}
    found = pipeline.search("Wann wird das Tor von dem Wärter geschlossen und geöffnet?")
    assert found.lexical_only
    assert found.hits[0].document.path == "tor.md"
    hit = next(hit for hit in pipeline.search("Tor gate").hits if hit.document.path == "tor.md")
    assert hit.scores.cosine in (None, 0.0)


# An updated index ranks bit for bit as a fresh one.

WORDS = [
    "gate",
    "key",
    "fern",
    "bed",
    "spade",
    "water",
    "heap",
    "lock",
    "dawn",
    "dusk",
    "the",
    "of",
    "turned",
    "Keys",
    "é",
]

texts = st.lists(
    st.tuples(st.lists(st.sampled_from(WORDS), max_size=4), st.lists(st.sampled_from(WORDS), min_size=1, max_size=30)),
    min_size=1,
    max_size=3,
).map(lambda sections: "\n\n".join(f"## {' '.join(head)}\n\n{' '.join(body)}." for head, body in sections))
changes = st.dictionaries(st.sampled_from([f"{name}.md" for name in "abcdef"]), st.none() | texts, max_size=4)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(changes, min_size=2, max_size=4), data=st.data())
def test_updates_rank_as_a_fresh_build(
    tmp_path_factory: pytest.TempPathFactory, steps: list[dict[str, str | None]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("updates")
    pages = write(folder / "pages", {"always.md": "# Always\n\nThe gate of the fern bed.\n"})
    updated = pipeline_of(folder / "index")
    for step in steps:
        for name, text in step.items():
            if text is None:
                (pages / name).unlink(missing_ok=True)
            else:
                write(pages, {name: text})
        updated.build([pages])
    fresh = pipeline_of(folder / "fresh")
    fresh.build([pages])
    asked = data.draw(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), min_size=3, max_size=8))
    for question, lexical in product(("gate", "the key of the fern bed", *map(" ".join, asked)), (False, True)):
        if question.strip("é "):
            got, wanted = (one.search(question, 5, lexical=lexical) for one in (updated, fresh))
            assert ranking(got) == ranking(wanted)


def test_many_small_updates_are_merged(pipeline: Pipeline, pages: Path, tmp_path: Path) -> None:
    most = 0
    for number in range(10):
        write(pages, {f"note-{number}.md": f"# Note {number}\n\nThe gate squeaks on day {number}.\n"})
        assert counts(pipeline.build([pages])) == {"added": 1, "unchanged": 5 + number}
        most = max(most, len(pipeline.index.info()["segments"]))
    assert most == 8
    segments = pipeline.index.info()["segments"]
    assert 1 < len(segments) < 8
    assert sum(segment["documents"] for segment in segments) == 15
    as_fresh(pipeline, tmp_path / "fresh", pages)


def test_full_segments_are_not_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clockify_rag.index.FULL_CHUNKS", 2)
    pages = tmp_path / "pages"
    write(pages, {f"large-{number}.md": f"# {number}\n\n## A\n\nOne.\n\n## B\n\nTwo.\n" for number in range(10)})
    pipeline = pipeline_of(tmp_path / "index")
    with monkeypatch.context() as small:
        small.setattr("clockify_rag.index.SEGMENT_BYTES", 1)
        pipeline.build([pages])
    full = {segment["id"] for segment in pipeline.index.info()["segments"]}
    assert len(full) == 10
    for number in range(12):
        write(pages, {f"small-{number}.md": "A line.\n"})
        pipeline.build([pages])
    segments = {segment["id"]: segment for segment in pipeline.index.info()["segments"]}
    assert full < segments.keys()
    assert len(segments) <= len(full) + 8
    assert sum(segment["documents"] for segment in segments.values()) == 22
    as_fresh(pipeline, tmp_path / "fresh", pages)


def test_segments_too_dead_are_written_anew(pipeline: Pipeline, pages: Path, tmp_path: Path) -> None:
    (pages / "tools.md").unlink()
    (pages / "fees.md").unlink()
    generation = pipeline.build([pages]).generation
    (segment,) = pipeline.index.info()["segments"]
    assert (segment["documents"], segment["deleted_documents"], segment["deleted_chunks"]) == (3, 0, 0)
    assert pipeline.build([pages]).generation == generation
    as_fresh(pipeline, tmp_path / "fresh", pages)


def test_what_changed_without_its_content_survives_a_merge(pipeline: Pipeline, pages: Path) -> None:
    (pages / "tools.md").unlink()
    (pages / "fees.md").unlink()
    write(pages, {"gate.md": b"\xc3\x28 not UTF-8 \xff\xfe\xfd", "pond.md": "# Pond\n\nFrogs.\n"})
    (pages / "beds.md").write_text(GARDEN["beds.md"])
    assert counts(pipeline.build([pages])) == {"added": 1, "removed": 2, "stale": 1, "unchanged": 2}
    (segment,) = pipeline.index.info()["segments"]
    assert segment["deleted_documents"] == 0
    assert pipeline.index.find("gate.md").stale
    state = pipeline.index.find("beds.md").file
    assert state is not None
    assert state.modified_ns == (pages / "beds.md").stat().st_mtime_ns


def test_a_segment_of_which_nothing_lives_goes(pipeline: Pipeline, pages: Path) -> None:
    write(pages, {"pond.md": "# Pond\n\nFrogs live in the pond.\n"})
    pipeline.build([pages])
    assert len(pipeline.index.info()["segments"]) == 2
    (pages / "pond.md").unlink()
    pipeline.build([pages])
    assert len(pipeline.index.info()["segments"]) == 1


def test_large_builds_are_several_segments(tmp_path: Path, pages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clockify_rag.index.SEGMENT_BYTES", 100)
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([pages])
    assert len(pipeline.index.info()["segments"]) > 2
    monkeypatch.undo()
    as_fresh(pipeline, tmp_path / "fresh", pages)


# Searching.


def test_an_open_index_serves_its_generation_until_it_is_refreshed(pipeline: Pipeline, pages: Path) -> None:
    other = Pipeline(pipeline.path, pipeline.settings)
    before = ranking(other.search("gate"))
    held = other.index.snapshot
    write(pages, {"gate.md": "# Gate\n\nThe gate is gone.\n"})
    pipeline.build([pages])
    assert ranking(other.search("gate")) == before
    assert other.index.refresh() is True
    assert other.index.refresh() is False
    assert other.index.generation == 2
    assert ranking(other.search("gate")) == ranking(pipeline.search("gate")) != before
    assert held.generation == 1
    assert held.documents == 5


def test_many_threads_answer_as_one(built: Pipeline) -> None:
    asked = [(question, lexical) for question in QUESTIONS for lexical in (False, True)] * 5
    alone = [ranking(built.search(question, lexical=lexical)) for question, lexical in asked]
    unopened = Pipeline(built.path, built.settings)
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda one: ranking(unopened.search(one[0], lexical=one[1])), asked))
    assert together == alone
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda question: built.ask(question).citations, QUESTIONS * 3))
    assert answers == [built.ask(question).citations for question in QUESTIONS] * 3


def test_top_k_bounds_the_hits(built: Pipeline) -> None:
    assert [hit.rank for hit in built.search("gate", 3).hits] == [1, 2, 3]
    assert len(built.search("gate").hits) == 8
    with_mmr = [hit.chunk.id for hit in built.search("gate", 2).hits]
    assert with_mmr == [hit.chunk.id for hit in built.search("gate", 8).hits][:2]


@pytest.mark.parametrize("top_k", [0, -1, 1001, 2**70])
def test_a_top_k_that_cannot_be_is_named(built: Pipeline, top_k: int) -> None:
    with pytest.raises(QueryError, match=f"{top_k:,} hits"):
        built.search("gate", top_k)


def test_without_vectors_nothing_is_embedded(tmp_path: Path, pages: Path) -> None:
    pipeline = pipeline_of(tmp_path / "index", embedding={"embedder": "none"})
    pipeline.build([pages])
    assert pipeline.index.info()["embedder"] is None
    found = pipeline.search("when does the gate open")
    assert found.lexical_only
    assert found.evidence.best_cosine is None
    assert all(hit.scores.cosine is None for hit in found.hits)
    assert "embed" not in found.timings_ms


def test_a_reranker_of_another_package_orders_the_pool(
    built: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []

    class Backwards:
        def rerank(self, query: Any, hits: Any, *, top_k: int) -> Any:
            given.append(len(hits))
            return Reranking(hits=tuple(reversed(hits)))

    offer(monkeypatch, "rerankers", backwards=Backwards)
    plain = Pipeline(built.path, settings_of(reranking={"reranker": "none"}))
    turned = Pipeline(built.path, settings_of(reranking={"reranker": "backwards", "mmr_lambda": 1}))
    wanted = [hit.chunk.id for hit in plain.search("gate").hits]
    found = turned.search("gate", 2)
    assert [hit.chunk.id for hit in found.hits] == wanted[::-1][:2]
    assert given == [8]
    assert "rerank" in found.timings_ms


def test_diversity_comes_after_another_reranker(built: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unmoved:
        def rerank(self, query: Any, hits: Any, *, top_k: int) -> Any:
            return Reranking(hits=tuple(hits))

    offer(monkeypatch, "rerankers", unmoved=Unmoved)
    for mmr_lambda in (0.9, 0.3):
        alone = Pipeline(built.path, settings_of(reranking={"mmr_lambda": mmr_lambda}))
        after = Pipeline(built.path, settings_of(reranking={"reranker": "unmoved", "mmr_lambda": mmr_lambda}))
        wanted = [hit.chunk.id for hit in alone.search("gate", 4).hits]
        assert [hit.chunk.id for hit in after.search("gate", 4).hits] == wanted


def test_searching_by_words_keeps_vectors(tmp_path: Path, pages: Path) -> None:
    by_words = pipeline_of(tmp_path / "index", retrieval={"lexical": True})
    by_words.build([pages])
    assert by_words.search("gate").lexical_only
    assert not pipeline_of(tmp_path / "index").search("gate").lexical_only


def test_an_unreadable_source_keeps_its_pages(pipeline: Pipeline, pages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clockify_rag.contracts import Failure, Skipped

    class Nothing:
        def load(self, source: Any, known: Any, *, checksum: bool = False) -> Any:
            yield Skipped("", "unreadable", Failure("document_unreadable", "permission denied", ""))

    offer(monkeypatch, "loaders", nothing=Nothing)
    refused = Pipeline(pipeline.path, settings_of(loading={"loader": "nothing"}))
    report = refused.build([pages])
    assert (report.removed, report.stale) == (0, 5)
    assert all(hit.document.stale for hit in refused.search("gate").hits)


def test_a_broken_line_keeps_the_documents_of_its_file(tmp_path: Path) -> None:
    rows = [
        {"id": name, "title": name, "text": f"The {name} gate opens at nine."} for name in ("north", "south", "west")
    ]
    lines = [json.dumps(row) for row in rows]
    file = tmp_path / "gates.jsonl"
    file.write_text("\n".join(lines))
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([file])
    file.write_text("\n".join([lines[0], lines[1][:20], lines[2]]))
    report = pipeline.build([file])
    assert (report.removed, report.stale) == (0, 1)
    assert {document.title: document.stale for document in pipeline.index.documents()} == {
        "north": False,
        "south": True,
        "west": False,
    }


def test_a_renamed_file_of_given_ids_is_cited_by_its_new_name(tmp_path: Path) -> None:
    row = json.dumps({"id": "north", "title": "North", "text": "The north gate opens at nine."})
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "one.jsonl").write_text(row)
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([tmp_path / "lines"])
    (tmp_path / "lines" / "one.jsonl").rename(tmp_path / "lines" / "two.jsonl")
    pipeline.build([tmp_path / "lines"])
    assert [document.path for document in pipeline.index.documents()] == ["two.jsonl/north"]


def test_the_index_knows_its_embedder(tmp_path: Path, pages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Letters:
        dimension = 26

        def fingerprint(self) -> str:
            asked.append("fingerprint")
            return "letters"

        def embed(self, texts: Any) -> Any:
            rows = [[text.lower().count(chr(97 + letter)) + 1.0 for letter in range(26)] for text in texts]
            return numpy.array(rows, numpy.float32)

        embed_questions = embed

    offer(monkeypatch, "embedders", letters=Letters)
    pipeline_of(tmp_path / "index", embedding={"embedder": "letters"}).build([pages])
    asked.clear()
    unconfigured = pipeline_of(tmp_path / "index")
    assert not unconfigured.search("gate").lexical_only
    assert asked == []
    unconfigured.build([pages])
    assert unconfigured.index.info()["embedder"]["name"] == "letters"
    pipeline_of(tmp_path / "index", embedding={"embedder": "static"}).build([pages])
    assert pipeline_of(tmp_path / "index").index.info()["embedder"]["name"] == "static"


def test_an_open_pipeline_serves_what_another_published(pipeline: Pipeline, pages: Path) -> None:
    reader = Pipeline(pipeline.path, pipeline.settings)
    before = reader.search("gate").generation
    write(pages, {"new.md": "# New\n\nA new gate opens at ten.\n"})
    pipeline.build([pages])
    assert reader.search("gate").generation == before
    assert reader.refresh()
    assert not reader.refresh()
    assert reader.search("gate").generation == before + 1


def test_an_index_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFound):
        pipeline_of(tmp_path / "none").search("gate")


def test_open_reads_the_configuration(tmp_path: Path, pages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clockify-rag.toml").write_text('[index]\npath = "there"\n[retrieval]\ntop_k = 2\n')
    monkeypatch.chdir(tmp_path)
    pipeline = Pipeline.open()
    assert pipeline.path == tmp_path / "there"
    pipeline.build(["garden"])
    assert len(pipeline.search("gate").hits) == 2
    assert Pipeline.open(tmp_path / "other").path == tmp_path / "other"


def test_the_number_of_threads_changes_nothing(built: Pipeline) -> None:
    wanted = ranking(built.search(QUESTIONS[0]))
    try:
        assert ranking(Pipeline(built.path, settings_of(execution={"threads": 1})).search(QUESTIONS[0])) == wanted
    finally:
        _core.set_threads(0)


def test_the_generation_that_answered_says_which_map_judges(pipeline: Pipeline, pages: Path) -> None:
    question = "Who has a key to the gate?"
    pinned, before = pipeline.index.opened, pipeline.search(question)
    pipeline_of(pipeline.path, embedding={"embedder": "none"}).build([pages])
    assert pipeline.refresh()
    assert pipeline.index.snapshot.embedder is None
    _, after = pipeline._search(question, None, None, lexical=False, opened=pinned)
    assert after.generation == before.generation
    assert (after.confidence, after.threshold) == (before.confidence, before.threshold)


# Asking.


def test_an_answer_is_proven(built: Pipeline) -> None:
    answer = built.ask("When does the gate open?", cached=False)
    assert not answer.refused
    assert answer.generator == "extractive"
    assert answer.generation == 1
    assert answer.sent_to == ()
    assert "The gate opens at dawn and is locked at dusk." in [citation.quote for citation in answer.citations]
    for citation in answer.citations:
        start, end = citation.span
        assert built.index.text(citation.document_id)[start:end] == citation.quote
    assert {"pack", "generate", "verify", "total"} <= set(answer.timings_ms)
    assert answer.hits == built.search("When does the gate open?").hits


def test_a_citation_names_the_hit_that_has_its_words(tmp_path: Path) -> None:
    painted, spade = "Sheds are painted in April, by members.", "The spade hangs in the shed, left of the door."
    between = [f"Bed {number} has ferns, beans and some roses beside the path number {number}." for number in range(60)]
    page = "\n\n".join(["# Garden", painted, *between, spade])
    pipeline = pipeline_of(tmp_path / "index", calibration={"threshold": 0.0})
    pipeline.build([write(tmp_path / "docs", {"sheds.md": page})])
    answer = pipeline.ask("When are sheds painted, and where does the spade hang?")
    texts = {hit.chunk.id: hit.chunk.text for hit in answer.hits}
    assert [citation.quote for citation in answer.citations] == [painted, spade]
    assert all(citation.quote in texts[citation.chunk_id] for citation in answer.citations)


def test_the_same_question_gets_the_same_answer(built: Pipeline) -> None:
    first, second = (msgspec.structs.replace(built.ask("fern water"), timings_ms={}) for _ in range(2))
    assert msgspec.json.encode(first) == msgspec.json.encode(second)


@pytest.mark.parametrize(
    ("question", "lexical", "filters", "reason"),
    [
        ("zyxwv qponm lkjih?", False, None, "weak_evidence"),
        ("zyxwv qponm lkjih?", True, None, "no_evidence"),
        ("gate", False, {"source": ["nowhere"]}, "no_evidence"),
    ],
)
def test_a_question_without_evidence_is_refused(
    built: Pipeline, question: str, filters: Any, reason: str, *, lexical: bool
) -> None:
    answer = built.ask(question, filters=filters, lexical=lexical)
    assert (answer.refused, answer.reason) == (True, reason)
    assert answer.answer
    assert answer.citations == ()
    assert answer.failure is None


def test_an_empty_index_refuses(tmp_path: Path) -> None:
    pipeline = pipeline_of(tmp_path / "index")
    entry = pipeline.embedder_entry
    assert isinstance(entry, EmbedderEntry)
    with IndexWriter(tmp_path / "index", chunker="c", embedder=entry) as writer:
        assert writer.publish() == 1
    answer = pipeline.ask("gate")
    assert (answer.refused, answer.reason) == (True, "empty_index")
    assert refusal(pipeline.search("gate", lexical=True)) == "empty_index"


class Writer:
    """A generator of another package: each test breaks one thing."""

    def generate(self, query: Any, context: Any) -> Draft:
        quote = context.texts[0].split("\n")[0]
        return Draft(text=f'The pages say "{quote}" [1] and "nobody ever wrote this sentence" [1].')

    def stream(self, query: Any, context: Any) -> Any:
        yield self.generate(query, context).text


class Failing(Writer):
    sent_to = ("model.example",)

    def generate(self, query: Any, context: Any) -> Draft:
        raise BackendUnavailable("model.example does not answer", hint="start it")


def test_a_generator_that_fails_leaves_the_hits(built: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "generators", failing=Failing)
    answer = Pipeline(built.path, built.settings).ask("When does the gate open?", generator="failing")
    assert answer.failure is not None
    assert (answer.failure.code, answer.failure.message) == ("backend_unavailable", "model.example does not answer")
    assert (answer.answer, answer.refused, answer.citations) == ("", False, ())
    assert answer.sent_to == ("model.example",)
    assert answer.generator == "failing"
    assert answer.hits == built.search("When does the gate open?").hits


def test_what_a_generator_invents_is_taken_away(built: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "generators", writer=Writer)
    answer = Pipeline(built.path, settings_of(generation={"generator": "writer"})).ask("When does the gate open?")
    assert [quotation.verdict for quotation in answer.quotations] == ["verified", "fabricated"]
    assert '"nobody ever wrote this sentence"' not in answer.answer
    assert [citation.quote for citation in answer.citations] == ["The gate opens at dawn and is locked at dusk."]


def test_a_generator_is_made_once_and_an_unknown_one_is_named(built: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def counted() -> Writer:
        made.append(1)
        return Writer()

    offer(monkeypatch, "generators", counted=counted)
    pipeline = Pipeline(built.path, built.settings)
    for _ in range(3):
        pipeline.ask("gate", generator="counted")
    assert made == [1]
    with pytest.raises(PluginNotFound, match="there is no component 'nobody' among the generators"):
        pipeline.ask("gate", generator="nobody")


def test_a_model_is_given_its_settings_and_the_secret(built: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def recorded(**arguments: Any) -> Writer:
        given.update(arguments)
        return Writer()

    find: Callable[..., Any] = lambda group, name: recorded  # noqa: E731
    monkeypatch.setattr("clockify_rag.plugins.find", find)
    pipeline = Pipeline(
        built.path, settings_of(generation={"generator": "ollama", "model": "small", "total_seconds": 9.0})
    )
    pipeline.generator("ollama")
    assert given["model"] == "small"
    assert given["total_seconds"] == 9.0
    assert given["secret"] == pipeline.index.secret
    assert "url" not in given


def test_a_generator_is_never_given_the_address_of_another(built: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    configured = {"generator": "ollama", "url": "http://127.0.0.1:9", "model": "small"}
    pipeline = Pipeline(built.path, settings_of(generation=configured))
    chosen, other = (pipeline.generator(name) for name in ("ollama", "openai"))
    assert getattr(chosen, "sent_to", None) == ()
    assert getattr(other, "sent_to", None) == ("api.openai.com",)
    assert getattr(other, "model", None) != "small"


def test_nothing_is_built_into_a_folder_of_other_things(pages: Path) -> None:
    with pytest.raises(StoreError, match="no index"):
        pipeline_of(pages).build([pages])
    assert not (pages / "generations").exists()


def test_a_retriever_of_another_package_is_given_the_index(built: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    class First:
        def __init__(self, index: Any, title: str = "") -> None:
            self.index = index
            self.title = title

        def retrieve(self, query: Any, *, top_k: int) -> SearchResult:
            document = next(found for found in self.index.documents() if found.title == self.title)
            chunk = self.index.chunks(document.id)[0]
            hit = Hit(rank=1, score=1.0, chunk=chunk, document=document, scores=Scores(fused=1.0))
            evidence = Evidence(idf_coverage=1.0, documents=self.index.snapshot.documents)
            return SearchResult(
                question=query.question, generation=self.index.generation, hits=(hit,), evidence=evidence
            )

    offer(monkeypatch, "retrievers", first=First)
    title = built.search("gate").hits[0].document.title
    chosen = Pipeline(built.path, settings_of(retrieval={"retriever": "first", "arguments": {"title": title}}))
    assert [hit.document.title for hit in chosen.search("anything at all").hits] == [title]


def test_an_embedder_of_another_package_is_given_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    class Named:
        dimension = 2

        def __init__(self, model: str = "", width: int = 0) -> None:
            given.append((model, width))

        def fingerprint(self) -> str:
            return "named"

        def embed(self, texts: Any) -> Any:
            return numpy.ones((len(texts), 2), numpy.float32)

        embed_questions = embed

    offer(monkeypatch, "embedders", named=Named)
    table = {"embedder": "named", "model": "small", "url": "http://127.0.0.1:9", "arguments": {"width": 3}}
    assert pipeline_of(tmp_path / "index", embedding=table).embedder is not None
    assert given == [("small", 3)]


def test_diversity_in_the_core_takes_no_arguments(built: Pipeline) -> None:
    strange = Pipeline(built.path, settings_of(reranking={"arguments": {"nonsense": 1}}))
    with pytest.raises(InvalidSetting, match="takes no argument nonsense"):
        strange.search("gate")
