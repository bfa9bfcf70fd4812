"""Indexes of every released format are opened by this version, and a newer one is told from a damaged one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xxhash

from clockify_rag import _core, generations
from clockify_rag.cli import run
from clockify_rag.config import Settings
from clockify_rag.errors import IndexIncompatible
from clockify_rag.pipeline import Pipeline
from formats.make import PAGES, contents, make
from index_reader import IndexReader
from test_generations import printed, result_of

FORMATS = sorted(Path(__file__).parent.glob("formats/format-*.tar"))
Index = Callable[[], Path]


@pytest.fixture(params=FORMATS, ids=lambda path: path.stem)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Any]:
    """An index of a released format, and what it must hold."""
    generations.restore(request.param, tmp_path / "index")
    return tmp_path / "index", json.loads(request.param.with_suffix(".json").read_text())


def test_there_is_one_of_the_present_format() -> None:
    assert f"format-{_core.FORMAT}" in {path.stem for path in FORMATS}


def test_a_released_format_is_opened(golden: tuple[Path, Any]) -> None:
    index, expected = golden
    assert generations.verify(index, every=True).damaged == ()
    assert generations.named(index, "golden") == 2
    assert _core.Snapshot.open(str(index)).documents == len(expected["documents"])
    if all(_same_engine(index)):
        assert contents(index) == expected
    else:
        # An engine that analyses or embeds otherwise says so, and what mends it.
        with pytest.raises(IndexIncompatible, match=r"analyser|embedder") as caught:
            contents(index)
        assert "clockify-rag build" in caught.value.hint


def _same_engine(index: Path) -> tuple[bool, bool]:
    """Whether terms are made today as they were made then, and vectors."""
    snapshot, entry = _core.Snapshot.open(str(index)), Pipeline.open(index, Settings()).embedder_entry
    assert entry is not None
    assert snapshot.embedder is not None
    return snapshot.analyser == _core.analyser_fingerprint(), snapshot.embedder[1] == entry.fingerprint


def test_a_released_format_is_migrated(golden: tuple[Path, Any]) -> None:
    index, expected = golden
    migrated = generations.migrate(index)
    assert migrated.format == _core.FORMAT
    assert _core.Snapshot.open(str(index)).format == _core.FORMAT
    assert contents(index) == expected


def test_a_released_format_is_built_upon(golden: tuple[Path, Any], tmp_path: Path) -> None:
    index, expected = golden
    docs = tmp_path / "docs"
    docs.mkdir()
    for name, text in PAGES.items():
        (docs / name).parent.mkdir(exist_ok=True)
        (docs / name).write_text(text.replace("900", "5000"), encoding="utf-8")
    (docs / "zeiten.md").unlink()
    report = Pipeline.open(index, Settings()).build([docs])
    assert (report.documents, report.added, report.removed) == (len(expected["documents"]), 0, 0)
    built: Any = contents(index)
    # Later chunkers may cut more of a page; what was there is there still.
    for path, page in expected["documents"].items():
        assert set(page["chunks"]) <= set(built["documents"][path]["chunks"])
        built["documents"][path]["chunks"] = page["chunks"]
    assert built == expected


def test_the_format_of_today_is_as_the_page_says(golden: tuple[Path, Any]) -> None:
    index, expected = golden
    reader = IndexReader(index)
    assert reader.manifest["format"] <= _core.FORMAT
    if reader.manifest["format"] == _core.FORMAT:
        held = sum(len(segment.documents()) for segment in reader.segments)
        deleted = reader.tombstones(0)
        assert deleted is not None
        assert held - len(deleted.documents) == len(expected["documents"])
        assert len(reader.state()) == 1
        assert reader.tags() == {"golden": 2}


def test_what_is_written_anew_answers_the_same(tmp_path: Path) -> None:
    index = make(tmp_path)
    before, former = contents(index), _core.Snapshot.open(str(index))
    assert generations.migrate(index) == generations.Migrated(generation=2, format=_core.FORMAT, was=_core.FORMAT)
    assert generations.written_anew(index) == 3
    assert contents(index) == before
    now = _core.Snapshot.open(str(index))
    assert not {segment[0] for segment in now.segments()} & {segment[0] for segment in former.segments()}
    assert [row[3] for row in now.segments()] == [0] * len(now.segments())
    vectors = [snapshot.vectors_of(document["id"]) for snapshot in (former, now) for document in _documents(before)]
    assert vectors[: len(vectors) // 2] == vectors[len(vectors) // 2 :]


def _documents(held: dict[str, Any]) -> list[dict[str, str]]:
    return list(held["documents"].values())


def with_format(index: Path, number: int) -> None:
    """Make the generation that is served one of another format, with right hashes."""
    served, _ = (index / "CURRENT").read_text().split()
    manifest = index / "generations" / f"{served}.json"
    body = json.loads(manifest.read_text())["manifest"]
    text = json.dumps({**body, "format": number, "unknown": []}, separators=(",", ":")).encode()
    digest = xxhash.xxh3_128_hexdigest(text)
    manifest.write_bytes(b'{"hash":"' + digest.encode() + b'","manifest":' + text + b"}\n")
    (index / "CURRENT").write_text(f"{served} {digest}\n")


def test_another_format_is_named_and_left_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    index = make(tmp_path)
    for number, hint in ((_core.FORMAT + 1, "pip install --upgrade"), (1, "use the version")):
        with_format(index, number)
        before = {path: path.read_bytes() for path in index.rglob("*") if path.is_file() and path.name != "lock"}
        commands = (
            ["search", "report"],
            ["build", str(tmp_path / "docs")],
            ["migrate"],
            ["gc"],
            ["verify"],
            ["snapshot", str(tmp_path / "x.tar")],
        )
        for command in commands:
            assert run([*command, "--index", str(index)]) == 4, command
            said = capfd.readouterr().err
            assert f"the index's format is {number}, this engine's is {_core.FORMAT}" in said, command
            assert hint in said, command
        after = {path: path.read_bytes() for path in index.rglob("*") if path.is_file() and path.name != "lock"}
        assert before == after
        assert not (tmp_path / "x.tar").exists()


def test_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    index = make(tmp_path)
    assert result_of(capfd, "migrate", "--index", index) == {"schema": 1, "generation": 2, "format": 2, "was": 2}
    assert printed(capfd, "migrate", "--index", index) == [
        "the index has format 2, the present one: there is nothing to do"
    ]
