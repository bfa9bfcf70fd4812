"""Removing, purging, repairing and embedding again: changes made from what is stored."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import numpy
import pytest

from clockify_rag import changing, generations
from clockify_rag.cache import EmbeddingCache
from clockify_rag.cli import run
from clockify_rag.config import CrawlingSettings, Settings
from clockify_rag.contracts import LoadedDocument
from clockify_rag.crawling.pages import PageStore, folder_name
from clockify_rag.errors import (
    BackendUnavailable,
    IndexCorrupt,
    IndexIncompatible,
    IndexLocked,
    IndexNotFound,
    PluginNotFound,
    SourceError,
)
from clockify_rag.index import IndexWriter
from clockify_rag.pipeline import Pipeline
from documentation_site import DocumentationSite, page
from folders import source_of, write
from pipelines import GARDEN, QUESTIONS, offer, pipeline_of, ranking

SECRET = "# Zimtschnecke\n\nThe Quarkbällchen recipe is kept under the doormat of Villa Kunterbunt.\n"


class Counting:
    """Embeds by the letters of a text, and counts the texts that it is given."""

    dimension = 8
    seen: list[str] = []  # noqa: RUF012 - what is counted is counted for all
    fails_after: int | None = None

    def __init__(self, model: str = "m") -> None:
        self.model = model

    def fingerprint(self) -> str:
        return f"counting {self.model}"

    def embed(self, texts: Any) -> Any:
        if self.fails_after is not None and len(self.seen) + len(texts) > self.fails_after:
            raise BackendUnavailable("the server is gone")
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


@pytest.fixture
def pipeline(tmp_path: Path, pages: Path) -> Pipeline:
    built = pipeline_of(tmp_path / "index")
    built.build([pages])
    return built


def rankings(pipeline: Pipeline) -> Any:
    return [ranking(pipeline.search(question, lexical=lexical)) for question in QUESTIONS for lexical in (False, True)]


def reopened(pipeline: Pipeline) -> Pipeline:
    return Pipeline(pipeline.path, pipeline.settings)


def contents(index: Path) -> dict[str, bytes]:
    """Every file of an index by its path."""
    return {path.relative_to(index).as_posix(): path.read_bytes() for path in index.rglob("*") if path.is_file()}


def holding(index: Path, *texts: str) -> list[str]:
    """The files that hold one of ``texts``. No file of an index but tantivy's is compressed; those are compared elsewhere."""
    wanted = [text.encode() for text in texts]
    return sorted(name for name, content in contents(index).items() if any(text in content for text in wanted))


def segment_files(index: Path) -> list[tuple[str, bytes]]:
    """What segments are made of, without the names that tantivy draws."""
    found = []
    for name, content in contents(index).items():
        kind = name.rsplit("/", 1)[-1].rsplit(".", 1)[-1]
        if name.startswith("segments/") and kind not in ("json", "blocks"):
            found.append((kind, content))
    return sorted(found)


# Removing.


def test_a_removed_page_is_not_found(pipeline: Pipeline, pages: Path, tmp_path: Path) -> None:
    report = changing.remove(pipeline, ["garden/gate.md"])
    assert [document.path for document in report.removed] == ["gate.md"]
    assert (report.generation, report.documents, report.purge) == (2, 4, None)
    again = reopened(pipeline)
    assert all(hit.document.path != "gate.md" for question in QUESTIONS for hit in again.search(question).hits)
    assert pipeline.build([pages]).added == 1
    assert changing.remove(pipeline, [report.removed[0].id]).documents == 4
    (pages / "gate.md").unlink()
    fresh = pipeline_of(tmp_path / "fresh")
    fresh.build([pages])
    assert rankings(reopened(pipeline)) == rankings(fresh)


class Meanwhile(list[str]):
    """Names of documents; whoever looks at them lets somebody else change the index first."""

    def __init__(self, names: list[str], pipeline: Pipeline) -> None:
        super().__init__(names)
        self.pipeline = pipeline
        self.locked = 0

    def __iter__(self) -> Iterator[str]:
        try:
            changing.reembed(self.pipeline, "none")
        except IndexLocked:
            self.locked += 1
        return super().__iter__()


def test_nobody_publishes_between_what_a_removal_reads_and_what_it_writes(pipeline: Pipeline) -> None:
    names = Meanwhile(["garden/gate.md"], reopened(pipeline))
    changing.remove(pipeline, names)
    assert names.locked == 1
    index = reopened(pipeline).index
    assert index.snapshot.embedder is not None
    assert (
        index.vectors([chunk.id for document in index.documents() for chunk in index.chunks(document.id)]).any(1).all()
    )


def test_a_writer_keeps_what_the_generation_has_that_is_served(pipeline: Pipeline) -> None:
    before = reopened(pipeline).index.snapshot
    with IndexWriter.keeping(pipeline.path) as writer:
        document = next(iter(writer.known))
        writer.remove(document)
        writer.publish()
    after = reopened(pipeline).index.snapshot
    assert (after.chunker, after.embedder) == (before.chunker, before.embedder)
    changing.reembed(pipeline, "none")
    assert generations.written_anew(pipeline.path) == 4
    after = reopened(pipeline).index.snapshot
    assert (after.chunker, after.embedder, after.documents) == (before.chunker, None, 4)


def test_a_removed_source_is_gone_and_others_stay(pipeline: Pipeline, tmp_path: Path) -> None:
    other = write(tmp_path / "kitchen", {"soup.md": "# Soup\n\nBoil leeks for an hour.\n"})
    pipeline.build([other])
    report = changing.remove(pipeline, sources=["garden"])
    assert len(report.removed) == 5
    assert {document.source for document in reopened(pipeline).index.documents()} == {"kitchen"}
    with pytest.raises(SourceError, match="no source 'kitchn'") as caught:
        changing.remove(pipeline, sources=["kitchn"])
    assert caught.value.hint == "the nearest is kitchen"
    assert changing.remove(pipeline, sources=["kitchen"]).documents == 0
    assert reopened(pipeline).search("soup").hits == ()


def test_what_is_not_there_cannot_be_removed(pipeline: Pipeline, tmp_path: Path) -> None:
    for purge in (False, True):
        with pytest.raises(SourceError, match=r"no document 'gaet\.md'") as caught:
            changing.remove(pipeline, ["fees.md", "gaet.md"], purge=purge)
        assert caught.value.hint == "the nearest is gate.md"
        with pytest.raises(IndexNotFound):
            changing.remove(pipeline_of(tmp_path / "nothing"), ["gate.md"], purge=purge)
    assert not (tmp_path / "nothing").exists()
    assert reopened(pipeline).index.generation == 1


def test_an_index_of_another_embedder_loses_pages_without_embedding(
    tmp_path: Path, pages: Path, counting: type[Counting]
) -> None:
    built = pipeline_of(tmp_path / "index", embedding={"embedder": "counting"})
    built.build([pages])
    counting.seen.clear()
    changing.remove(pipeline_of(tmp_path / "index"), ["gate.md"])
    assert counting.seen == []
    assert reopened(built).index.info()["embedder"]["name"] == "counting"


# Purging.


@pytest.mark.parametrize("when", ["present", "changed", "moved", "removed", "rebuilt"])
def test_no_byte_of_a_purged_page_is_left(tmp_path: Path, pages: Path, counting: type[Counting], when: str) -> None:
    write(pages, {"secret.md": SECRET})
    settings = {"embedding": {"embedder": "counting"}}
    pipeline = pipeline_of(tmp_path / "index", **settings)
    pipeline.build([pages])
    name = "secret.md"
    if when == "changed":
        write(pages, {"secret.md": SECRET.replace("doormat", "flower pot")})
    elif when == "moved":
        (pages / "secret.md").rename(pages / "hidden.md")
        name = "hidden.md"
    elif when == "removed":
        (pages / "secret.md").unlink()
    elif when == "rebuilt":
        write(pages, {"fees.md": "# Fees\n\nMembership is free.\n"})
    pipeline.build([pages])
    assert holding(tmp_path / "index", "Kunterbunt")
    assert holding(tmp_path / "index", "Zimtschnecke")
    counting.seen.clear()
    report = changing.remove(pipeline, [name], purge=True)
    assert report.purge is not None
    assert report.purge.segments >= 1
    assert report.purge.cache_bytes > 0
    assert any("snapshots" in place for place in report.purge.out_of_reach)
    index = tmp_path / "index"
    assert (
        holding(index, "Kunterbunt", "Zimtschnecke", "Quarkb", "secret.md", "hidden.md", "doormat", "flower pot") == []
    )
    assert not list((index / "cache").glob("embeddings-*"))
    assert counting.seen == []
    # Of the words, too: a segment is byte for byte one that never had the page.
    (pages / name).unlink(missing_ok=True)
    fresh = pipeline_of(tmp_path / "fresh", **settings)
    fresh.build([pages])
    assert rankings(reopened(pipeline)) == rankings(fresh)
    if when == "present":
        assert segment_files(index) == segment_files(tmp_path / "fresh")
    reopened(pipeline).index.snapshot.verify()
    assert pipeline.build([pages]).unchanged == 5


def test_a_page_that_was_removed_before_is_purged_from_former_generations(pipeline: Pipeline, pages: Path) -> None:
    changing.remove(pipeline, ["gate.md"])
    assert holding(pipeline.path, "the warden")
    with pytest.raises(SourceError):
        changing.remove(pipeline, ["gate.md"])
    report = changing.remove(pipeline, ["gate.md"], purge=True)
    assert report.documents == 4
    assert holding(pipeline.path, "the warden") == []


def test_purging_a_source_leaves_the_others_their_segments(pipeline: Pipeline, tmp_path: Path) -> None:
    other = write(tmp_path / "kitchen", {"soup.md": "# Soup\n\nBoil leeks for an hour.\n"})
    pipeline.build([other])
    before = {segment["id"] for segment in pipeline.index.info()["segments"]}
    report = changing.remove(pipeline, sources=["kitchen"], purge=True)
    assert report.purge is not None
    assert {segment["id"] for segment in reopened(pipeline).index.info()["segments"]} < before
    assert holding(pipeline.path, "leeks") == []
    assert changing.remove(pipeline, sources=["garden"], purge=True).documents == 0
    assert holding(pipeline.path, "garden", "gate") == []


def test_former_generations_are_kept_without_what_was_purged(pipeline: Pipeline, pages: Path) -> None:
    write(pages, {"fees.md": "# Fees\n\nMembership is free.\n"})
    pipeline.build([pages])
    (pages / "tools.md").unlink()
    pipeline.build([pages])
    tags = pipeline.path / "tags"
    tags.mkdir()
    digest = json.loads((pipeline.path / "generations" / "000001.json").read_text())["hash"]
    (tags / "first").write_text(f"000001 {digest}\n")
    report = changing.remove(pipeline, ["gate.md"], purge=True)
    assert report.purge is not None
    rewritten = dict(report.purge.rewritten)
    assert set(rewritten) == {1, 2}
    assert report.purge.removed == (3,)
    assert report.generation > max(rewritten.values())
    number, _, hash_ = (tags / "first").read_text().strip().partition(" ")
    manifest = json.loads((pipeline.path / "generations" / f"{number}.json").read_text())
    assert (int(number), manifest["hash"]) == (rewritten[1], hash_)
    assert holding(pipeline.path, "the warden") == []
    assert holding(pipeline.path, "twelve pounds")
    shutil.copy(tags / "first", pipeline.path / "CURRENT")
    first = reopened(pipeline).index
    first.snapshot.verify()
    assert sorted(document.path for document in first.documents()) == ["beds.md", "compost.md", "fees.md", "tools.md"]
    assert "twelve pounds" in first.text(first.find("fees.md").id)


def test_a_purge_that_fails_publishes_nothing(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rankings(pipeline)
    with monkeypatch.context() as patched:

        def fail(self: EmbeddingCache) -> int:
            raise OSError("the disk is gone")

        patched.setattr(EmbeddingCache, "clear", fail)
        with pytest.raises(OSError, match="the disk is gone"):
            changing.remove(pipeline, ["gate.md"], purge=True)
    assert rankings(reopened(pipeline)) == before
    changing.remove(pipeline, ["gate.md"], purge=True)
    assert holding(pipeline.path, "the warden") == []


RECIPE = "Mister Kunterbunt keeps the key of the larder below a Zimtschnecke."
"""Nothing but the page that is purged says so."""


def test_no_byte_of_a_purged_page_of_a_site_is_left_and_other_pages_are_kept(tmp_path: Path) -> None:
    larder, other = page("Larder", text=RECIPE), page("Larder to print", head="{}", text=RECIPE)
    links = ("/larder", "/soup", "/bread", "/a", "/b", "/larder-again", "/larder.md")
    with DocumentationSite({"/": page("Kitchen", *links), "/larder": larder}) as site:
        site.pages |= {path: page(path[1:], text=f"How {path[1:]} is made, in words.") for path in ("/soup", "/bread")}
        site.pages["/a"] = other.format('<meta name="robots" content="noindex">')
        site.pages["/b"] = other.format(f'<link rel="canonical" href="{site.at("/larder")}">')
        site.pages["/larder-again"] = larder
        site.pages["/larder.md"] = f"# Larder\n\n{RECIPE}\n"
        settings = Settings(crawling=CrawlingSettings(allow_private_hosts=(site.host,)))
        pipeline = Pipeline(tmp_path / "index", settings)
        assert pipeline.build([site.url]).documents == 4
        # An earlier version of it, and one that no build has read.
        site.pages["/larder"] = site.pages["/larder-again"] = larder.replace("below", "beside")
        pipeline.build([site.url])
        raw = [name for name in holding(pipeline.path, "Kunterbunt") if name.startswith("pages/")]
        assert len(raw) == 4
        report = changing.remove(pipeline, [site.at("/larder")], purge=True)
        assert report.purge is not None
        assert (report.documents, report.purge.raw_pages) == (3, 4)
        assert holding(pipeline.path, "Kunterbunt", "Zimtschnecke") == []
        (table,) = (content for name, content in contents(pipeline.path).items() if name.endswith("table.jsonl"))
        assert b"larder" not in table
        site.forget()
        offline = Pipeline(pipeline.path, settings).build([site.url], offline=True)
        assert (offline.documents, offline.unchanged, site.requests) == (3, 3, {})
        assert pipeline.build([site.url]).added == 1
        assert set(site.bodies) == {*links} - {"/soup", "/bread"}


def test_a_purge_waits_for_no_crawl(pipeline: Pipeline) -> None:
    before = rankings(pipeline)
    with PageStore(pipeline.path, "garden"), pytest.raises(IndexLocked):
        changing.remove(pipeline, ["gate.md"], purge=True)
    assert rankings(reopened(pipeline)) == before


def test_raw_pages_of_a_folder_that_was_a_site_are_purged_and_those_of_others_stay(pipeline: Pipeline) -> None:
    write(
        pipeline.path / "pages",
        {f"{folder_name('garden')}/bodies/ab/x": "the warden", "other-0123456789abcdef/bodies/ab/y": "soup"},
    )
    report = changing.remove(pipeline, ["gate.md"], purge=True)
    assert report.purge is not None
    assert (report.purge.sites, report.purge.raw_pages) == (("garden",), 1)
    assert holding(pipeline.path, "the warden") == []
    assert holding(pipeline.path, "soup")


def test_a_twin_that_stays_is_named(pipeline: Pipeline, pages: Path, tmp_path: Path) -> None:
    twin = write(tmp_path / "mirror", {"gate.md": GARDEN["gate.md"]})
    pipeline.build([twin])
    report = changing.remove(pipeline, ["garden/gate.md"], purge=True)
    assert report.purge is not None
    assert report.purge.same_text == ("mirror/gate.md",)
    assert "gate" in reopened(pipeline).search("gate").hits[0].chunk.text.lower()


# Repairing.


def flip(path: Path, place: int | None = None) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 1
    path.write_bytes(bytes(content))


DERIVED = ("postings", "vectors.i8", "vectors.b1", "documents.f16", "blocks", "lexical/meta.json", "lexical/*.term")


@pytest.mark.parametrize("name", [*DERIVED, "lexical/*.idx"])
@pytest.mark.parametrize("damage", ["flip", "missing", "truncated"])
def test_what_is_derived_is_derived_again_without_embedding(
    tmp_path: Path, pages: Path, counting: type[Counting], name: str, damage: str
) -> None:
    pipeline = pipeline_of(tmp_path / "index", embedding={"embedder": "counting"})
    pipeline.build([pages])
    before = rankings(pipeline)
    shutil.rmtree(tmp_path / "index" / "cache")
    counting.seen.clear()
    (path,) = (tmp_path / "index").glob(f"segments/*/{name}")
    if damage == "flip":
        flip(path)
    elif damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-3])
    questions = len(counting.seen)
    report = changing.repair(reopened(pipeline))
    assert report.damage
    assert any(path.name in sentence for sentence in report.damage)
    assert (report.derived, report.embedded, report.healed, report.dropped) == (1, 0, (), ())
    assert report.generation == 2
    assert len(counting.seen) == questions
    again = reopened(pipeline)
    again.index.snapshot.verify()
    assert rankings(again) == before
    assert again.build([pages]).unchanged == 5


def test_a_sound_index_is_left_alone(pipeline: Pipeline) -> None:
    before = contents(pipeline.path)
    report = changing.repair(pipeline)
    assert (report.damage, report.derived, report.generation) == ((), 0, 1)
    after = contents(pipeline.path)
    assert {name for name in before if before[name] != after.get(name)} <= {"lock"}


def test_only_damaged_segments_are_written_anew(pipeline: Pipeline, pages: Path) -> None:
    write(pages, {"pond.md": "# Pond\n\nFrogs live in the pond.\n", "fees.md": "# Fees\n\nMembership is free.\n"})
    pipeline.build([pages])
    before = rankings(pipeline)
    flip(pipeline.path / "segments" / "000002-0" / "postings")
    report = changing.repair(reopened(pipeline))
    assert report.derived == 1
    again = reopened(pipeline)
    assert rankings(again) == before
    assert "000001-0" in {segment["id"] for segment in again.index.info()["segments"]}


def test_lost_vectors_are_made_from_the_stored_text(tmp_path: Path, pages: Path, counting: type[Counting]) -> None:
    write(pages, {f"page-{n}.md": f"# Page {n}\n\nNote {n} of many.\n" for n in range(400)})
    pipeline = pipeline_of(tmp_path / "index", embedding={"embedder": "counting"})
    pipeline.build([pages])
    before = rankings(pipeline)
    shutil.rmtree(tmp_path / "index" / "cache")
    shutil.rmtree(pages)
    counting.seen.clear()
    (path,) = (tmp_path / "index").glob("segments/*/vectors.f16")
    flip(path, len(path.read_bytes()) - 5)
    report = changing.repair(pipeline_of(tmp_path / "index"))
    assert 0 < report.embedded < 408
    assert report.dropped == report.healed == ()
    assert len([text for text in counting.seen if "\n" in text]) == report.embedded
    assert rankings(reopened(pipeline)) == before


def test_vectors_that_cannot_be_made_as_before_are_said_to_be_missing(pipeline: Pipeline) -> None:
    (path,) = pipeline.path.glob("segments/*/vectors.f16")
    path.unlink()
    heavier = pipeline_of(pipeline.path, embedding={"title_weight": 3})
    report = changing.repair(heavier)
    assert len(report.without_vectors) == 5
    assert reopened(pipeline).search("gate", lexical=True).hits


@pytest.mark.parametrize("name", ["text", "chunks", "documents"])
def test_lost_text_is_read_from_the_source_again(tmp_path: Path, name: str) -> None:
    pages = write(
        tmp_path / "garden",
        {**GARDEN, **{f"page-{n}.md": f"# Page {n}\n\n" + f"Note {n} of many. " * 40 for n in range(100)}},
    )
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([pages])
    before = rankings(pipeline)
    (path,) = (tmp_path / "index").glob(f"segments/*/{name}")
    flip(path)
    read: list[str] = []
    loader = pipeline.loader

    class Watched:
        def load(self, source: Any, known: Mapping[str, Any], *, checksum: bool = False) -> Any:
            for item in loader.load(source, known, checksum=checksum):
                if isinstance(item, LoadedDocument):
                    read.append(item.document.path)
                yield item

    repairing = reopened(pipeline)
    repairing.made["loader"] = Watched()
    changed = changing._Repairing._as_recorded

    def as_recorded(self: Any, given: Pipeline) -> Pipeline:
        other = changed(self, given)
        other.made["loader"] = Watched()
        return other

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(changing._Repairing, "_as_recorded", as_recorded)
        report = changing.repair(repairing, [source_of(pages, name="garden")])
    assert report.dropped == ()
    assert 0 < len(report.healed) <= 105
    assert sorted(f"garden/{path}" for path in read) == sorted(report.healed)
    if name == "text":
        assert len(report.healed) < 30
    again = reopened(pipeline)
    again.index.snapshot.verify()
    assert rankings(again) == before
    assert again.build([pages]).unchanged == 105


def test_what_cannot_be_had_again_is_dropped_and_named(pipeline: Pipeline, pages: Path) -> None:
    (path,) = pipeline.path.glob("segments/*/text")
    path.unlink()
    report = changing.repair(reopened(pipeline))
    assert sorted(report.dropped) == [f"garden/{name}" for name in sorted(GARDEN)]
    assert report.documents == 0
    assert reopened(pipeline).build([pages]).added == 5


@pytest.mark.parametrize("damage", ["missing", "flip"])
def test_lost_deletions_bring_nothing_back_unsaid(pipeline: Pipeline, pages: Path, damage: str) -> None:
    write(pages, {f"page-{n}.md": f"# Page {n}\n\nNote {n} of many.\n" for n in range(20)})
    pipeline.build([pages])
    write(pages, {"gate.md": "# Gate\n\nThe gate is always open.\n"})
    (pages / "fees.md").unlink()
    pipeline.build([pages])
    before = rankings(pipeline)
    path = next(path for path in (pipeline.path / "tombstones").iterdir() if path.suffix == ".000003")
    path.unlink() if damage == "missing" else flip(path)
    report = changing.repair(reopened(pipeline))
    assert "garden/fees.md" in report.doubtful
    again = reopened(pipeline)
    assert "always open" in again.index.text(again.index.find("gate.md").id)
    assert again.index.find("fees.md").stale
    again.build([pages])
    assert rankings(again) == before


@pytest.mark.parametrize("damage", ["missing", "flip"])
def test_lost_states_are_made_again_by_the_next_build(pipeline: Pipeline, pages: Path, damage: str) -> None:
    write(pages, {"gate.md": b"\xc3\x28 not UTF-8 \xff\xfe\xfd"})
    pipeline.build([pages])
    (path,) = (pipeline.path / "generations").glob("*.state")
    path.unlink() if damage == "missing" else flip(path)
    assert changing.repair(reopened(pipeline)).derived == 0
    assert reopened(pipeline).build([pages]).stale == 1


@pytest.mark.parametrize("damage", ["missing", "garbage"])
def test_a_lost_current_names_the_newest_generation_again(pipeline: Pipeline, pages: Path, damage: str) -> None:
    write(pages, {"gate.md": "# Gate\n\nThe gate is always open.\n"})
    pipeline.build([pages])
    before = rankings(pipeline)
    current = pipeline.path / "CURRENT"
    current.unlink() if damage == "missing" else current.write_text("garbage")
    with pytest.raises(IndexCorrupt) as caught:
        reopened(pipeline).search("gate")
    report = changing.repair(reopened(pipeline))
    assert (report.repaired, report.generation) == (2, 3)
    assert any("CURRENT" in sentence for sentence in report.damage)
    assert rankings(reopened(pipeline)) == before
    assert caught.value.hint


def test_a_lost_manifest_falls_back_to_the_generation_before(pipeline: Pipeline, pages: Path) -> None:
    before = rankings(pipeline)
    write(pages, {"gate.md": "# Gate\n\nThe gate is always open.\n"})
    pipeline.build([pages])
    flip(pipeline.path / "generations" / "000002.json")
    report = changing.repair(reopened(pipeline))
    assert report.repaired == 1
    assert any("000002.json" in sentence for sentence in report.damage)
    assert rankings(reopened(pipeline)) == before
    assert reopened(pipeline).build([pages]).changed == 1


def test_a_lost_current_of_a_first_generation_is_made_again_by_a_build(pipeline: Pipeline, pages: Path) -> None:
    before = rankings(pipeline)
    (pipeline.path / "CURRENT").unlink()
    assert reopened(pipeline).build([pages]).unchanged == 5
    assert rankings(reopened(pipeline)) == before


def test_nothing_to_repair_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFound):
        changing.repair(pipeline_of(tmp_path / "nothing"))
    assert not (tmp_path / "nothing").exists()


def test_damage_is_said_to_be_repairable(pipeline: Pipeline) -> None:
    flip(next(pipeline.path.glob("segments/*/postings")))
    with pytest.raises(IndexCorrupt) as caught:
        reopened(pipeline).search("gate")
    assert "clockify-rag repair" in caught.value.hint


# Embedding again.


def test_stored_chunks_are_embedded_with_another_embedder(
    pipeline: Pipeline, pages: Path, tmp_path: Path, counting: type[Counting]
) -> None:
    shutil.move(pages, tmp_path / "away")
    report = changing.reembed(pipeline, "counting:big")
    assert report.embedder is not None
    assert (report.embedder.name, report.embedder.fingerprint) == ("counting:big", "counting big+0.5")
    assert (report.generation, report.documents, report.chunks) == (2, 5, 8)
    assert report.embedding.made == len(counting.seen) == 8 + 5
    assert report.is_configured
    shutil.move(tmp_path / "away", pages)
    again = pipeline_of(tmp_path / "index")
    assert again.search("gate").lexical_only is False
    assert again.build([pages]).unchanged == 5
    fresh = pipeline_of(tmp_path / "fresh", embedding={"embedder": "counting", "model": "big"})
    fresh.build([pages])
    assert rankings(again) == rankings(fresh)


def test_embedding_again_with_the_same_changes_nothing(pipeline: Pipeline) -> None:
    report = changing.reembed(pipeline, "static")
    assert report.generation == 1
    assert report.embedder == report.previous
    assert changing.reembed(pipeline, "none").embedder is None
    assert reopened(pipeline).search("gate").hits


def test_an_embedder_that_is_not_configured_is_said(pipeline: Pipeline, counting: type[Counting]) -> None:
    configured = pipeline_of(pipeline.path, embedding={"embedder": "static"})
    assert changing.reembed(configured, "counting").is_configured is False
    with pytest.raises(IndexIncompatible) as caught:
        reopened(configured).search("gate")
    assert "clockify-rag reembed static" in caught.value.hint
    with pytest.raises(PluginNotFound):
        changing.reembed(configured, "nothing-of-that-name")


def test_an_interrupted_embedding_goes_on_where_it_stopped(tmp_path: Path, counting: type[Counting]) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text("".join(f'{{"id": "{n}", "title": "Notes", "text": "Text {n}."}}\n' for n in range(3500)))
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([lines])
    before = rankings(pipeline)
    counting.fails_after = 2500
    with pytest.raises(BackendUnavailable):
        changing.reembed(pipeline, "counting")
    assert rankings(reopened(pipeline)) == before
    done = len(counting.seen)
    assert done >= 1000
    counting.fails_after = None
    report = changing.reembed(pipeline, "counting")
    assert len(counting.seen) == 3501
    assert report.embedding.cached >= done - 1
    assert report.generation == 2


# The commands.


def validated(out: str, schema: str) -> Any:
    printed = json.loads(out)
    page = Path(__file__).parent.parent / "docs" / "schemas" / f"{schema}.schema.json"
    jsonschema.validate(printed, json.loads(page.read_text()), cls=jsonschema.Draft202012Validator)
    return printed


def typed(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = run(list(words))
    printed = capfd.readouterr()
    return status, printed.out, printed.err


def test_the_commands_tell_what_they_did(pipeline: Pipeline, pages: Path, capfd: pytest.CaptureFixture[str]) -> None:
    index = str(pipeline.path)
    status, out, err = typed(capfd, "remove", "gate.md", "--index", index)
    assert (status, out.splitlines()[0]) == (0, "removed garden/gate.md")
    assert "the next build of garden brings back" in err
    status, out, _ = typed(capfd, "remove", "--source", "garden", "--purge", "--index", index, "--json")
    assert validated(out, "remove")["purge"]["segments"] >= 1
    pipeline.build([pages])
    flip(next(pipeline.path.glob("segments/*/postings")))
    status, out, _ = typed(capfd, "repair", "--index", index, "--json")
    assert (status, validated(out, "repair")["derived"]) == (0, 1)
    status, out, _ = typed(capfd, "repair", "--index", index)
    assert "is as it was written" in out
    for path in pipeline.path.glob("segments/*/text"):
        flip(path)
    status, out, err = typed(capfd, "repair", "--index", index)
    assert status == 6
    assert "lost: garden/" in out
    status, out, _ = typed(capfd, "reembed", "none", "--index", index, "--json")
    assert validated(out, "reembed")["embedder"] is None
    status, _, err = typed(capfd, "remove", "--index", index)
    assert (status, "nothing to remove" in err) == (2, True)
