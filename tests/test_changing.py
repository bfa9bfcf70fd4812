"""How an index follows its sources: what is embedded again, what is refused, and what is kept."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pytest

from clockify_rag.cache import EmbeddingCache
from clockify_rag.cli.building import overlaps
from clockify_rag.config import Settings
from clockify_rag.errors import SourceError, SourceShrunk
from clockify_rag.pipeline import Pipeline
from folders import source_of, write
from index_reader import IndexReader
from pipelines import GARDEN, QUESTIONS, offer, pipeline_of, ranking


class Counting:
    """Embeds by the letters of a text, and counts the texts that it is given."""

    dimension = 8
    seen: list[str] = []  # noqa: RUF012 - what is counted is counted for all

    def fingerprint(self) -> str:
        return "counting 1"

    def embed(self, texts: Any) -> Any:
        self.seen.extend(texts)
        return self._rows(texts)

    def embed_questions(self, texts: Any) -> Any:
        return self._rows(texts)

    def _rows(self, texts: Any) -> Any:
        rows = [[text.count(letter) + 0.1 for letter in "aeiounst"] for text in texts]
        made = numpy.array(rows, numpy.float32).reshape(-1, self.dimension)
        return made / numpy.linalg.norm(made, axis=1, keepdims=True)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> type[Counting]:
    class Fresh(Counting):
        seen: list[str] = []  # noqa: RUF012

    offer(monkeypatch, "embedders", counting=Fresh)
    return Fresh


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    return write(tmp_path / "garden", GARDEN)


def counted(path: Path, **tables: dict[str, Any]) -> Pipeline:
    tables = {**tables, "embedding": {"embedder": "counting", **tables.get("embedding", {})}}
    return pipeline_of(path, **tables)


def pages_of(count: int) -> Mapping[str, str]:
    return {f"page-{number}.md": f"# Page {number}\n\nThis is note {number} of many.\n" for number in range(count)}


def as_fresh(pipeline: Pipeline, folder: Path, *sources: Any) -> None:
    fresh = Pipeline(folder, pipeline.settings)
    fresh.build(sources)
    for question in QUESTIONS:
        assert ranking(pipeline.search(question)) == ranking(fresh.search(question))


# What is embedded again.


def test_a_moved_page_is_not_embedded_even_without_the_cache(
    tmp_path: Path, pages: Path, counting: type[Counting]
) -> None:
    pipeline = counted(tmp_path / "index")
    pipeline.build([pages])
    assert counting.seen
    counting.seen.clear()
    shutil.rmtree(tmp_path / "index" / "cache")
    write(pages / "old", {"gate.md": GARDEN["gate.md"]})
    (pages / "gate.md").unlink()
    report = pipeline.build([pages])
    assert (report.moved, report.added, report.removed, report.changed) == (1, 0, 0, 0)
    assert counting.seen == []
    assert report.embedding.kept == 2
    assert report.embedding.made == 0
    as_fresh(pipeline, tmp_path / "fresh", pages)


def test_of_a_changed_page_only_changed_sections_are_embedded(
    tmp_path: Path, pages: Path, counting: type[Counting]
) -> None:
    pipeline = counted(tmp_path / "index")
    pipeline.build([pages])
    shutil.rmtree(tmp_path / "index" / "cache")
    counting.seen.clear()
    write(pages, {"gate.md": GARDEN["gate.md"].replace("warden", "gardener")})
    report = pipeline.build([pages])
    assert report.changed == 1
    assert [text for text in counting.seen if "gardener" in text] == [
        "Gate\nKeys\nAsk the gardener for a key to the gate."
    ]
    assert min(counting.seen) == "Gate"  # the title, which is embedded beside the section
    assert len(counting.seen) == 2
    as_fresh(pipeline, tmp_path / "fresh", pages)


def test_other_titles_and_weights_are_embedded_again(tmp_path: Path, pages: Path, counting: type[Counting]) -> None:
    pipeline = counted(tmp_path / "index")
    pipeline.build([pages])
    write(pages, {"gate.md": GARDEN["gate.md"].replace("# Gate", "# The gate", 1)})
    assert pipeline.build([pages]).embedding.kept == 0
    as_fresh(pipeline, tmp_path / "fresh", pages)
    heavier = counted(tmp_path / "index", embedding={"title_weight": 2})
    assert heavier.build([pages]).embedding.kept == 0
    as_fresh(heavier, tmp_path / "fresh-2", pages)


def test_a_page_whose_language_the_embedder_learns_is_embedded(
    tmp_path: Path, counting: type[Counting], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The zeros that stand for its vectors are none to keep."""
    pages = write(tmp_path / "garden", {**GARDEN, "tor.md": "---\nlanguage: de\n---\n# Tor\n\nDas Tor ist auf.\n"})
    monkeypatch.setattr(counting, "languages", ("en",), raising=False)
    pipeline = counted(tmp_path / "index")
    source = source_of(pages, name="garden", language="de")
    assert pipeline.build([source]).without_vectors > 0
    monkeypatch.setattr(counting, "languages", ("en", "de"), raising=False)
    knowing = counted(tmp_path / "index")
    knowing.build([source_of(pages, name="garden", language="de", tags=("all",))])
    as_fresh(knowing, tmp_path / "fresh", source_of(pages, name="garden", language="de", tags=("all",)))


def test_the_cache_is_read_and_written_once_for_a_thousand_texts(
    tmp_path: Path, counting: type[Counting], monkeypatch: pytest.MonkeyPatch
) -> None:
    caches: list[EmbeddingCache] = []
    made = EmbeddingCache.__init__

    def remember(self: EmbeddingCache, *given: Any, **named: Any) -> None:
        caches.append(self)
        made(self, *given, **named)

    monkeypatch.setattr(EmbeddingCache, "__init__", remember)
    lines = tmp_path / "lines.jsonl"
    lines.write_text("".join(f'{{"id": "{n}", "title": "T{n}", "text": "Text {n}."}}\n' for n in range(2700)))
    report = counted(tmp_path / "index").build([lines])
    assert report.embedding.made == len(counting.seen) == 5400
    (cache,) = caches
    assert cache.reads <= 5
    assert cache.writes <= 5
    shutil.rmtree(tmp_path / "index" / "segments")
    for name in ("CURRENT", "generations"):
        path = tmp_path / "index" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    counting.seen.clear()
    again = counted(tmp_path / "index").build([lines])
    assert counting.seen == []
    assert again.embedding.cached == 5400
    assert caches[-1].writes == 0
    assert 1 <= caches[-1].reads <= 5


def test_the_hit_rate_of_the_last_build_is_told(tmp_path: Path, pages: Path, counting: type[Counting]) -> None:
    pipeline = counted(tmp_path / "index")
    report = pipeline.build([pages])
    assert pipeline.index.info()["embedding_cache"] == {
        "made": report.embedding.made,
        "cached": 0,
        "kept": 0,
        "hit_rate": 0.0,
    }
    write(pages, {"again.md": GARDEN["gate.md"] + "\n## More\n\nThe gate squeaks.\n"})
    report = pipeline.build([pages])
    told = pipeline.index.info()["embedding_cache"]
    assert told["cached"] == report.embedding.cached == 3
    assert told["made"] == report.embedding.made == 1
    assert told["hit_rate"] == 0.75
    plain = pipeline_of(tmp_path / "plain")
    plain.build([pages])
    assert plain.index.info()["embedding_cache"] is None


def test_states_of_files_and_counts_lie_side_by_side(tmp_path: Path, pages: Path, counting: type[Counting]) -> None:
    pipeline = counted(tmp_path / "index")
    pipeline.build([pages])
    (pages / "gate.md").write_text(GARDEN["gate.md"])
    write(pages, {"fees.md": b"\xc3\x28 not UTF-8 \xff\xfe\xfd"})
    assert pipeline.build([pages]).stale == 1
    assert pipeline.index.find("fees.md").stale
    assert pipeline.build([pages]).generation == pipeline.index.generation == 2


def test_states_of_many_touched_files_are_small(tmp_path: Path) -> None:
    pages = write(tmp_path / "garden", pages_of(700))
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([pages])
    write(pages, pages_of(700))
    pipeline.build([pages])
    (state,) = (tmp_path / "index" / "generations").glob("*.state")
    assert 0 < len(state.read_bytes()) < 700 * 60
    touched = {document.id: document.file for document in pipeline.index.documents()}
    assert IndexReader(tmp_path / "index").state().keys() == touched.keys()
    assert pipeline.build([pages]).generation == 2
    write(pages, {"page-1.md": "# Page 1\n\nAnother note.\n"})
    assert pipeline.build([pages]).unchanged == 699


# What is refused.


@pytest.mark.parametrize(("lost", "refused"), [(6, False), (7, True), (11, True)])
def test_a_source_that_lost_too_many_pages_is_not_followed(tmp_path: Path, lost: int, refused: bool) -> None:
    pages = write(tmp_path / "garden", pages_of(12))
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([pages])
    for number in range(lost):
        (pages / f"page-{number}.md").unlink()
    if not refused:
        assert pipeline.build([pages]).removed == lost
        return
    with pytest.raises(SourceShrunk, match=f"source garden lost {lost} of its 12 documents") as caught:
        pipeline.build([pages])
    assert "--allow-shrink" in caught.value.hint
    assert caught.value.fields == {"source": "garden", "lost": lost, "documents": 12}
    assert pipeline.index.refresh() is False
    assert len(list(pipeline.index.documents())) == 12
    assert pipeline.build([pages], allow_shrink=True).removed == lost


def test_a_small_source_may_lose_what_it_wants(tmp_path: Path) -> None:
    pages = write(tmp_path / "garden", pages_of(9))
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([pages])
    for number in range(8):
        (pages / f"page-{number}.md").unlink()
    assert pipeline.build([pages]).removed == 8


def test_pages_that_moved_are_not_lost(tmp_path: Path) -> None:
    pages = write(tmp_path / "garden", pages_of(20))
    pipeline = pipeline_of(tmp_path / "index")
    source = source_of(pages, base_url="https://docs.example")
    pipeline.build([source])
    (pages / "guide").mkdir()
    for path in list(pages.glob("*.md")):
        path.rename(pages / "guide" / path.name)
    assert pipeline.build([source]).moved == 20


def test_the_share_is_a_setting(tmp_path: Path) -> None:
    pages = write(tmp_path / "garden", pages_of(10))
    strict = pipeline_of(tmp_path / "index", loading={"maximum_loss": 0})
    strict.build([pages])
    (pages / "page-1.md").unlink()
    with pytest.raises(SourceShrunk, match=r"allows \(0%\)"):
        strict.build([pages])
    assert pipeline_of(tmp_path / "index", loading={"maximum_loss": 1}).build([pages]).removed == 1


def test_pages_that_cannot_be_read_are_not_lost(tmp_path: Path) -> None:
    pages = write(tmp_path / "garden", pages_of(12))
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([pages])
    write(pages, {f"page-{number}.md": b"\xc3\x28 not UTF-8 \xff\xfe\xfd" for number in range(12)})
    assert pipeline.build([pages]).stale == 12


@pytest.mark.parametrize("gone", ["missing", "empty"])
def test_a_source_that_is_gone_changes_nothing(tmp_path: Path, pages: Path, gone: str) -> None:
    other = write(tmp_path / "kitchen", {"soup.md": "# Soup\n\nBoil leeks for an hour.\n"})
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([pages, other])
    shutil.rmtree(pages)
    if gone == "empty":
        pages.mkdir()
    write(other, {"soup.md": "# Soup\n\nBoil leeks for two hours.\n"})
    for sources in ([pages], [pages, other], [other, pages]):
        with pytest.raises(
            SourceError, match="nothing was changed, the index keeps the 5 documents of source garden"
        ) as caught:
            pipeline.build(sources, allow_shrink=True)
        assert "clockify-rag remove --source garden" in caught.value.hint
    assert pipeline.index.refresh() is False
    assert pipeline.build([other]).changed == 1
    assert len(list(pipeline.index.documents())) == 6


def test_sources_of_one_folder_overlap_where_both_read_a_page(tmp_path: Path) -> None:
    pages = write(tmp_path / "site", {"guide/a.md": "# A\n\nText.\n", "api/b.md": "# B\n\nText.\n"})
    guide = source_of(pages, name="guide", include=("guide/",))
    api = source_of(pages, name="api", include=("api/",))
    everything = source_of(pages, name="all")
    inner = source_of(pages / "guide", name="inner")
    assert overlaps([guide, api], Settings()) == []
    assert len(overlaps([guide, everything], Settings())) == 1
    assert len(overlaps([guide, inner], Settings())) == 1
    assert overlaps([api, inner], Settings()) == []
    configured = msgspec.convert({"sources": [{"name": "api", "location": str(pages), "include": ["api/"]}]}, Settings)
    assert overlaps([guide], configured) == []
    assert len(overlaps([everything], configured)) == 1
