"""Chunks: their identity, and that they are slices of the canonical text."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag import _core, chunking
from clockify_rag.chunking import StructureChunker, chunk_id
from clockify_rag.contracts import Chunk, Chunker, Document, LoadedDocument
from clockify_rag.errors import InternalError, InvalidSetting

TEXT = """# Guide

Before the first section.

## Install

Take the wheel.

## Use

Ask a question.

## Install

Take the wheel.
"""


def load(text: str, kind: str = "page") -> LoadedDocument:
    (page,) = _core.parse("markdown", [text.encode()], "github")
    assert isinstance(page, _core.Page)
    document = Document(id="d" * 32, source="docs", path="guide.md", title="Guide", kind=kind)
    return LoadedDocument(document, page)


def chunks_of(text: str, kind: str = "page") -> list[Chunk]:
    (chunks,) = StructureChunker().chunk([load(text, kind)])
    return chunks


def test_it_is_a_chunker() -> None:
    assert isinstance(StructureChunker(), Chunker)


def test_chunks_are_slices_of_the_text() -> None:
    loaded = load(TEXT)
    (chunks,) = StructureChunker().chunk([loaded])
    assert len(chunks) >= 3
    for number, chunk in enumerate(chunks):
        assert chunk.ordinal == number
        assert chunk.document_id == loaded.document.id
        assert chunk.text == "\n".join(loaded.page.text[start:end] for start, end in chunk.spans)
        assert 0 < chunk.tokens <= 800


def test_no_id_comes_twice_and_equal_texts_have_one_hash() -> None:
    chunks = chunks_of(TEXT)
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    wheels = [chunk for chunk in chunks if "wheel" in chunk.text]
    assert len(wheels) == 2
    assert wheels[0].content_hash == wheels[1].content_hash


def test_an_edit_of_the_words_keeps_the_id() -> None:
    before, after = chunks_of(TEXT), chunks_of(TEXT.replace("Ask a question", "Ask anything"))
    assert [chunk.id for chunk in before] == [chunk.id for chunk in after]
    assert [chunk.content_hash for chunk in before] != [chunk.content_hash for chunk in after]


def test_a_new_section_keeps_the_ids_of_the_others() -> None:
    before = {chunk.id for chunk in chunks_of(TEXT)}
    after = {chunk.id for chunk in chunks_of(TEXT.replace("## Use", "## Configure\n\nWrite a file.\n\n## Use"))}
    assert before < after


def test_the_chunks_of_a_hub_are_hubs() -> None:
    assert {chunk.kind for chunk in chunks_of(TEXT, kind="hub")} <= {"hub"}


def test_documents_keep_their_order() -> None:
    one, two = load("# One\n\nFirst words.\n"), load("# Two\n\nSecond words.\n")
    first, second = StructureChunker().chunk([one, two])
    assert "First" in first[0].text
    assert "Second" in second[0].text
    assert StructureChunker().chunk([]) == []


def test_chunks_survive_json() -> None:
    for chunk in chunks_of(TEXT):
        assert msgspec.json.decode(msgspec.json.encode(chunk), type=Chunk) == chunk


@pytest.mark.parametrize(
    ("setting", "arguments"),
    [
        ("target", {"target": 0}),
        ("maximum", {"target": 400, "maximum": 399}),
        ("overlap", {"overlap": 0.6}),
        ("overlap", {"overlap": -0.1}),
        ("overlap", {"overlap": float("nan")}),
    ],
)
def test_settings_that_cannot_be(setting: str, arguments: dict[str, float]) -> None:
    with pytest.raises(InvalidSetting) as caught:
        StructureChunker(**arguments)  # type: ignore[arg-type]
    assert caught.value.fields["setting"] == setting


def test_the_constructor_loads_nothing_and_a_missing_vocabulary_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunking, "VOCABULARY", ("models", "none.json"))
    chunker = StructureChunker()
    with pytest.raises(InternalError, match=r"models/none\.json"):
        chunker.chunk([load(TEXT)])


_words = st.text(max_size=5)


@given(st.lists(st.tuples(st.lists(_words, max_size=3), st.none() | _words, _words, st.integers(0, 9)), unique_by=repr))
def test_different_places_have_different_ids(places: list[tuple[list[str], str | None, str, int]]) -> None:
    ids = {chunk_id("d", headings, anchor, kind, ordinal) for headings, anchor, kind, ordinal in places}
    assert len(ids) == len(places)
    assert all(len(name) == 32 for name in ids)
