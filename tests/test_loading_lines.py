"""Ready chunks in JSON Lines."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag import walking
from clockify_rag.contracts import Document, LoadedDocument, Skipped
from clockify_rag.loading import FileLoader, document_id_of_given
from clockify_rag.loading.lines import numbered_lines
from folders import documents, known_of, load, skipped, source_of, write
from pipelines import pipeline_of


def lines(*objects: dict[str, Any]) -> str:
    return "".join(json.dumps(value) + "\n" for value in objects)


CHUNKS = lines(
    {
        "document": "timer",
        "id": "t1",
        "text": "Start the **timer**.",
        "title": "Timer",
        "url": "https://help.example/timer#start",
        "heading_path": ["Timer", "Start"],
        "anchor": "start",
    },
    {"document": "timer", "id": "t2", "text": "| A | B |\n|---|---|\n| 1 | 2 |", "kind": "table", "tags": ["time"]},
    {"document_id": 7, "text": "Reports are exported."},
    {"id": "whole", "text": "A document of its own."},
)


def test_chunks_keep_their_boundaries(tmp_path: Path) -> None:
    items = load(write(tmp_path, {"all.jsonl": CHUNKS}))
    assert list(documents(items)) == ["all.jsonl/timer", "all.jsonl/7", "all.jsonl/whole"]
    timer, reports, whole = items
    assert timer.document.id == document_id_of_given("docs", "timer")
    assert (timer.document.title, timer.document.url) == ("Timer", "https://help.example/timer")
    assert timer.document.tags == ("time",)
    assert timer.page.text == "Start the timer.\n\nA | B\n1 | 2"
    assert [chunk.text for chunk in timer.chunks] == ["Start the timer.", "A | B\n1 | 2"]
    for chunk in timer.chunks:
        assert timer.page.text[slice(*chunk.spans[0])] == chunk.text
    assert [(chunk.kind, chunk.anchor, chunk.heading_path) for chunk in timer.chunks] == [
        ("text", "start", ("Timer", "Start")),
        ("table", None, ()),
    ]
    assert len(reports.chunks) == 1
    assert whole.chunks is None


def test_the_last_document_of_a_file_keeps_its_chunks(tmp_path: Path) -> None:
    rows = [{"document": "a", "text": "One."}, {"document": "a", "text": "Two."}]
    (whole,) = load(write(tmp_path / "whole", {"all.jsonl": lines(*rows)}))
    assert [chunk.text for chunk in whole.chunks or ()] == ["One.", "Two."]
    broken = load(write(tmp_path / "broken", {"all.jsonl": lines(*rows) + "{"}))
    (kept,) = [item for item in broken if isinstance(item, LoadedDocument)]
    assert [chunk.text for chunk in kept.chunks or ()] == ["One.", "Two."]
    assert kept.document.file is None


def test_ids_of_chunks_are_stable(tmp_path: Path) -> None:
    first = load(write(tmp_path, {"all.jsonl": CHUNKS}))
    changed = CHUNKS.replace("Start the", "Begin the").replace('"id": "t1"', '"id": "t0"', 0)
    second = load(write(tmp_path, {"all.jsonl": lines({"document": "timer", "id": "t0", "text": "New."}) + changed}))
    before = [chunk.id for chunk in first[0].chunks]
    after = [chunk.id for chunk in second[0].chunks]
    assert after[1:] == before
    assert len(set(after)) == len(after)
    assert first[0].document.content_hash != second[0].document.content_hash


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("length", range(5, 15))
def test_a_line_is_whole_or_too_long_behind_a_byte_order_mark_too(mark: bytes, length: int) -> None:
    stream = io.BytesIO(mark + b"x" * length + b"\n" + b"y" * 3 + b"\n")
    first: bytes | int = b"x" * length + b"\n" if length <= 9 else length + 1
    assert list(numbered_lines(stream, 9)) == [(1, first), (2, b"yyy\n")]


def test_an_unchanged_file_of_chunks_is_not_read(tmp_path: Path) -> None:
    first = load(write(tmp_path, {"all.jsonl": CHUNKS}))
    again = load(tmp_path, known_of(first))
    assert all(isinstance(item, Document) for item in again)
    assert documents(again) == documents(first)


def test_a_broken_chunk_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    text = (
        lines({"document": "a", "id": 1, "text": "One."})
        + "{broken\n"
        + lines(
            {"document": "a", "id": 1, "text": "The same id."},
            {"document": "a", "id": 3, "text": "---\n[\n---\n"},
            {"document": "a", "id": 4, "text": "  "},
            {"document": "a", "id": 5, "text": "Five.", "kind": "No Kind"},
            {"document": "a", "id": 6, "text": "Six."},
            {"document": "b", "text": "Of b."},
            {"document": "a", "id": 7, "text": "Too late."},
        )
    )
    items = load(write(tmp_path, {"all.jsonl": text}))
    assert [chunk.text for chunk in items[-3].chunks if isinstance(items[-3], LoadedDocument)] == ["One.", "Six."]
    assert skipped(items) == {
        "all.jsonl:2": walking.UNREADABLE,
        "all.jsonl:3": walking.DUPLICATE,
        "all.jsonl:4": walking.UNREADABLE,
        "all.jsonl:5": walking.EMPTY,
        "all.jsonl:6": walking.UNREADABLE,
        "all.jsonl:9": walking.DUPLICATE,
    }
    messages = [item.error.message for item in items if isinstance(item, Skipped) and item.error]
    assert all("all.jsonl" in message for message in messages)


def test_a_document_of_too_many_chunks_is_said(tmp_path: Path) -> None:
    text = lines(*({"document": "a", "text": "word " * 10} for _ in range(20)), {"document": "b", "text": "Of b."})
    items = list(FileLoader(maximum_bytes=300).load(source_of(write(tmp_path, {"all.jsonl": text})), {}))
    assert skipped(items) == {"all.jsonl/a": walking.TOO_LARGE}
    assert list(documents(items)) == ["all.jsonl/b"]


def test_an_index_has_the_chunks_as_they_came(tmp_path: Path) -> None:
    write(tmp_path / "docs", {"all.jsonl": CHUNKS, "page.md": "# Page\n\nAnother page.\n"})
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([tmp_path / "docs"])
    hit = pipeline.search("start the timer").hits[0]
    assert hit.chunk.text == "Start the timer."
    assert (hit.chunk.anchor, hit.chunk.heading_path) == ("start", ("Timer", "Start"))
    assert hit.chunk.tokens > 0
    again = pipeline.build([tmp_path / "docs"], checksum=True)
    assert (again.unchanged, again.changed, again.added) == (4, 0, 0)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.fixed_dictionaries(
                {"text": st.text(max_size=10)},
                optional={"document": st.sampled_from(["a", "b", 1]), "id": st.sampled_from([1, 2, "1", ""])},
            ).map(lambda value: json.dumps(value).encode()),
        ),
        max_size=12,
    )
)
def test_any_lines_are_read_or_named(tmp_path_factory: Any, rows: list[bytes]) -> None:
    root = write(tmp_path_factory.mktemp("lines"), {"all.jsonl": b"\n".join(rows), "ok.md": "Words."})
    items = load(root)
    for item in items:
        if isinstance(item, LoadedDocument) and item.chunks is not None:
            assert "\n\n".join(chunk.text for chunk in item.chunks) == item.page.text
    ids = [item.document.id for item in items if isinstance(item, LoadedDocument)]
    assert len(set(ids)) == len(ids)
    chunk_ids = [chunk.id for item in items if isinstance(item, LoadedDocument) for chunk in item.chunks or ()]
    assert len(set(chunk_ids)) == len(chunk_ids)
