"""Generations: listed, tagged, served again, collected."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from clockify_rag import _core, generations
from clockify_rag.cli import run
from clockify_rag.config import Settings
from clockify_rag.errors import ConfigError, GenerationNotFound, IndexCorrupt, IndexLocked, IndexNotFound
from clockify_rag.pipeline import Pipeline
from folders import write
from index_reader import IndexReader

SCHEMAS = Path(__file__).parent.parent / "docs" / "schemas"
Publish = Callable[..., int]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def publish(index: Path, tmp_path: Path) -> Publish:
    """Make the next generation of one page with these words, and others by name."""

    def make(words: str, **others: str) -> int:
        source = tmp_path / "docs"
        shutil.rmtree(source, ignore_errors=True)
        write(source, {"page.md": f"# Page\n\n{words}\n", **{f"{name}.md": text for name, text in others.items()}})
        return Pipeline.open(index, Settings()).build([source]).generation

    return make


def words(index: Path, generation: int | None = None) -> str:
    """Return what the page says in a generation."""
    opened = _core.Snapshot.open(str(index), None, generation)
    opened.verify()
    texts = {record: opened.text(_id(record)) for record in opened.document_records()}
    return " | ".join(sorted(str(text).splitlines()[-1] for text in texts.values()))


def _id(record: bytes) -> str:
    import msgspec

    from clockify_rag.contracts import Document

    return msgspec.msgpack.decode(record, type=Document).id


def grow_old(index: Path) -> None:
    """Make every manifest older than a collector's minute."""
    for manifest in (index / "generations").glob("*.json"):
        os.utime(manifest, (time.time() - 3600,) * 2)


def numbers(index: Path) -> list[int]:
    return [row.generation for row in generations.listed(index)]


def test_a_listing_says_what_keeps_each(index: Path, publish: Publish) -> None:
    for text in ("one", "two", "three", "four"):
        publish(text)
    generations.tag(index, "first", "1")
    grow_old(index)
    opened = _core.Snapshot.open(str(index), None, 3)
    rows = generations.listed(index)
    assert [(row.generation, row.kept, row.tags) for row in rows] == [
        (1, ("tagged",), ("first",)),
        (2, ("recent",), ()),
        (3, ("recent", "open"), ()),
        (4, ("served", "recent"), ()),
    ]
    assert [row.documents for row in rows] == [1, 1, 1, 1]
    assert all(row.bytes == row.own_bytes > 0 for row in rows)
    assert opened.generation == 3


def test_a_generation_that_is_not_yet_served_is_none(index: Path, publish: Publish) -> None:
    publish("one")
    current = (index / "CURRENT").read_bytes()
    publish("two")
    (index / "CURRENT").write_bytes(current)
    assert numbers(index) == [1]
    for name in ("2", "3", "0", "two", "-1", "１"):
        with pytest.raises(GenerationNotFound) as caught:
            generations.named(index, name)
        assert caught.value.hint == "there are: 1"
    with pytest.raises(GenerationNotFound):
        generations.tag(index, "two", "2")
    with pytest.raises(GenerationNotFound):
        _core.Snapshot.open(str(index), None, 2)
    with pytest.raises(GenerationNotFound):
        _core.republish(str(index), 2)


def test_without_an_index_nothing_is_made(index: Path) -> None:
    acts: list[Callable[[], Any]] = [
        lambda: generations.listed(index),
        lambda: generations.tag(index, "one"),
        lambda: generations.roll_back(index, "1"),
        lambda: generations.collect(index),
        lambda: _core.republish(str(index), 1),
    ]
    for act in acts:
        with pytest.raises(IndexNotFound):
            act()
    assert not index.exists()


def test_a_tag_keeps_a_generation_for_ever(index: Path, publish: Publish) -> None:
    publish("one")
    assert generations.tag(index, "release-1.0") == 1
    for text in ("two", "three", "four", "five", "six"):
        publish(text)
        grow_old(index)
    assert numbers(index)[0] == 1
    generations.collect(index)
    assert numbers(index) == [1, 4, 5, 6]
    assert words(index, 1) == "one"
    generations.untag(index, "release-1.0")
    assert generations.collect(index).generations == (1,)
    with pytest.raises(GenerationNotFound, match="no generation 1"):
        words(index, 1)


def test_a_tag_is_a_line_as_current_is(index: Path, publish: Publish) -> None:
    publish("one")
    generations.tag(index, "a.b-C_1")
    assert (index / "tags" / "a.b-C_1").read_bytes() == (index / "CURRENT").read_bytes()
    assert IndexReader(index).tags() == {"a.b-C_1": 1}


@pytest.mark.parametrize(
    "name", ["", ".", "..", "12", "a/b", "-x", "a b", "x.tmp", "x.TMP", "ü", "a" * 65, "a\nb", "../up", ".hidden"]
)
def test_what_can_be_no_tag_is_refused(index: Path, publish: Publish, name: str) -> None:
    publish("one")
    with pytest.raises(ConfigError):
        generations.tag(index, name)
    with pytest.raises(GenerationNotFound):
        generations.untag(index, name)
    assert not (index / "tags").exists()


def test_a_tag_is_moved_only_when_told(index: Path, publish: Publish) -> None:
    publish("one")
    publish("two")
    generations.tag(index, "live", "1")
    generations.tag(index, "live", "1")
    with pytest.raises(ConfigError, match="generation 1") as caught:
        generations.tag(index, "live", "2")
    assert caught.value.hint == "clockify-rag tag --move live 2 takes it from there"
    with pytest.raises(ConfigError, match="only by case"):
        generations.tag(index, "Live", "1", move=True)
    assert generations.named(index, "live") == 1
    generations.tag(index, "live", "2", move=True)
    assert generations.named(index, "live") == 2
    generations.tag(index, "also", "live")
    assert generations.listed(index)[-1].tags == ("also", "live")


def test_a_tag_is_set_while_a_build_holds_the_lock(index: Path, publish: Publish) -> None:
    publish("one")
    writer = _core.Writer(str(index))
    generations.tag(index, "now")
    with pytest.raises(IndexLocked):
        generations.roll_back(index, "now")
    with pytest.raises(IndexLocked):
        generations.collect(index, dry_run=True)
    writer.close()
    generations.untag(index, "now")


def test_a_damaged_tag_lets_nothing_be_collected(index: Path, publish: Publish) -> None:
    publish("one")
    generations.tag(index, "one")
    (index / "tags" / "one").write_text("000001\n")
    for text in ("two", "three", "four", "five"):
        publish(text)
        grow_old(index)
    publish("six")
    with pytest.raises(IndexCorrupt, match="tags/one"):
        generations.collect(index)
    assert words(index, 1) == "one"
    generations.untag(index, "one")
    assert generations.collect(index).generations[0] == 1


def test_what_a_damaged_tagged_manifest_names_is_kept(index: Path, publish: Publish) -> None:
    publish("one")
    generations.tag(index, "one")
    publish("two")
    manifest = index / "generations" / "000001.json"
    content = manifest.read_bytes()
    manifest.write_bytes(content[:-9])
    for text in ("three", "four", "five"):
        publish(text)
        grow_old(index)
    assert generations.listed(index)[0].damage is not None
    manifest.write_bytes(content)
    assert words(index, 1) == "one"


def test_a_rollback_is_a_new_generation_of_the_old_files(index: Path, publish: Publish) -> None:
    publish("one")
    publish("two", other="# Other\n\nmore\n")
    before = sorted(path for path in index.rglob("*") if path.is_file())
    assert generations.roll_back(index) == (3, 1)
    after = sorted(path for path in index.rglob("*") if path.is_file())
    assert [path.name for path in after if path not in before] == ["000003.json"]
    assert words(index) == words(index, 1) == "one"
    assert words(index, 2) == "more | two"
    # The second undoes the first.
    assert generations.roll_back(index) == (4, 2)
    assert words(index) == "more | two"


def test_a_build_goes_on_from_what_was_served_again(index: Path, publish: Publish) -> None:
    publish("one")
    publish("two", other="# Other\n\nmore\n")
    generations.roll_back(index, "1")
    publish("one")
    assert words(index) == "one"
    publish("three")
    assert words(index) == "three"
    generations.roll_back(index, "2")
    assert words(index) == "more | two"


def test_an_open_index_serves_what_was_served_again(index: Path, publish: Publish) -> None:
    publish("one")
    publish("two")
    pipeline = Pipeline.open(index, Settings())
    assert pipeline.search("two").hits[0].chunk.text == "two"
    generations.roll_back(index)
    assert pipeline.refresh()
    result = pipeline.search("one")
    assert (result.generation, result.hits[0].chunk.text) == (3, "one")


def test_a_rollback_mends_a_damaged_generation(index: Path, publish: Publish) -> None:
    publish("one")
    publish("two")
    (index / "segments" / "000002-0" / "chunks").write_bytes(b"")
    with pytest.raises(IndexCorrupt):
        words(index)
    assert generations.roll_back(index) == (3, 1)
    assert words(index) == "one"
    (index / "CURRENT").write_bytes(b"damaged")
    assert _core.republish(str(index), 1) == 4
    assert words(index) == "one"


def test_nothing_is_served_again_that_is_damaged(index: Path, publish: Publish) -> None:
    publish("one")
    publish("two")
    (index / "segments" / "000001-0" / "chunks").write_bytes(b"")
    with pytest.raises(IndexCorrupt):
        generations.roll_back(index)
    assert words(index) == "two"
    assert numbers(index) == [1, 2]
    assert publish("three") == 3


def test_a_first_generation_has_none_before(index: Path, publish: Publish) -> None:
    publish("one")
    with pytest.raises(GenerationNotFound, match="before 1"):
        generations.roll_back(index)


def test_a_collection_says_what_it_frees(index: Path, publish: Publish) -> None:
    for text in ("one", "two", "three", "four", "five"):
        publish(text)
    assert generations.collect(index).generations == ()
    grow_old(index)
    reader = _core.Snapshot.open(str(index), None, 2)
    would = generations.collect(index, dry_run=True)
    assert (would.generations, numbers(index)) == ((1,), [1, 2, 3, 4, 5])
    size = sum(path.stat().st_size for path in index.rglob("*") if path.is_file())
    (index / "segments" / "000009-0").mkdir()
    (index / "segments" / "000009-0" / "text").write_bytes(b"left")
    assert generations.collect(index, dry_run=True).files == would.files + 1
    did = generations.collect(index)
    assert (did.generations, did.files, did.bytes) == ((1,), would.files + 1, would.bytes + 4)
    assert size - sum(path.stat().st_size for path in index.rglob("*") if path.is_file()) == would.bytes
    assert words(index, 2) == "two"
    del reader
    assert generations.collect(index).generations == (2,)


def test_segments_that_others_use_stay(index: Path, publish: Publish) -> None:
    publish("one")
    for number in range(4):
        publish("one", other=f"# Other\n\nnumber {number}\n")
    generations.roll_back(index, "1")
    grow_old(index)
    assert generations.collect(index).generations == (1, 2, 3)
    assert words(index) == "one"
    assert words(index, 5) == "number 3 | one"


def result_of(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    capfd.readouterr()
    assert run([*map(str, arguments), "--json"]) == 0
    value = json.loads(capfd.readouterr().out)
    schema = json.loads((SCHEMAS / f"{arguments[0]}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)
    return value


def printed(capfd: pytest.CaptureFixture[str], *arguments: str | Path) -> list[str]:
    capfd.readouterr()
    assert run([*map(str, arguments)]) == 0
    return capfd.readouterr().out.splitlines()


def test_the_commands(index: Path, publish: Publish, capfd: pytest.CaptureFixture[str]) -> None:
    publish("one")
    publish("two")
    option = ("--index", index)
    assert result_of(capfd, "tag", "a", *option)["generation"] == 2
    assert printed(capfd, "tag", "b", "1", *option) == ["generation 1 is tagged b"]
    assert printed(capfd, "tag", "a", "b", "--move", *option) == ["generation 1 is tagged a"]
    rows = result_of(capfd, "generations", *option)["generations"]
    assert [(row["generation"], row["tags"]) for row in rows] == [(1, ["a", "b"]), (2, [])]
    assert [line.split("\t")[0] for line in printed(capfd, "generations", *option)] == ["1", "2"]
    assert result_of(capfd, "untag", "a", *option)["tag"] == "a"
    assert printed(capfd, "untag", "b", *option) == ["the tag b is removed"]
    assert result_of(capfd, "rollback", *option) == {"schema": 1, "generation": 3, "state_of": 1}
    assert printed(capfd, "rollback", "2", *option) == ["generation 4 is served, the state of generation 2"]
    assert capfd.readouterr().err == ""
    grow_old(index)
    assert printed(capfd, "gc", "--dry-run", *option)[0].startswith("would remove 1 generation (1) and ")
    assert result_of(capfd, "gc", *option)["generations"] == [1]
    assert printed(capfd, "gc", *option) == ["removed 0 generations and 0 files, 0 bytes"]
    assert run(["tag", "x", "17", *map(str, option)]) == 2
    assert capfd.readouterr().err.splitlines()[0] == f"error: {index} has no generation '17'"


def test_a_rollback_to_other_vectors_says_so(
    index: Path, publish: Publish, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("one")
    monkeypatch.setenv("CLOCKIFY_RAG_EMBEDDING__TITLE_WEIGHT", "0.25")
    assert run(["build", str(tmp_path / "docs"), "--index", str(index)]) == 0
    assert run(["rollback", "--index", str(index)]) == 0
    assert "warning: the index's vectors hold titles with weight 0.5" in capfd.readouterr().err
