"""Chunks: their identity, and that they are slices of the canonical text."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clockify_rag import _core, chunking
from clockify_rag.chunking import FixedChunker, SemanticChunker, SentenceChunker, StructureChunker, chunk_id
from clockify_rag.contracts import (
    AskedQuestion,
    Chunk,
    Chunker,
    Code,
    Document,
    Image,
    LoadedDocument,
    Source,
    Table,
    Term,
)
from clockify_rag.embedding import StaticEmbedder
from clockify_rag.errors import InternalError, InvalidSetting
from pipelines import offer, pipeline_of

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


# The ways of cutting.

CHUNKERS = (StructureChunker, SentenceChunker, FixedChunker, SemanticChunker)


def chunker_of(kind: type[StructureChunker], **sizes: Any) -> StructureChunker:
    return SemanticChunker(StaticEmbedder(), **sizes) if kind is SemanticChunker else kind(**sizes)


_lines = st.lists(
    st.sampled_from(["time", "report", "project", "user", "export", "rate", "invoice", "approve"]), max_size=30
)
_pages = st.lists(
    st.tuples(st.sampled_from(["", "## ", "- ", "> ", "### "]), _lines, st.sampled_from([".", "?", ":", ""])),
    max_size=25,
).map(lambda lines: "# Page\n\n" + "\n\n".join(start + " ".join(words) + end for start, words, end in lines))


@pytest.mark.parametrize("kind", CHUNKERS)
@settings(max_examples=25, deadline=None)
@given(pages=st.lists(_pages, min_size=1, max_size=6), batch=st.integers(1, 6))
def test_batches_do_not_show(kind: type[StructureChunker], pages: list[str], batch: int) -> None:
    loaded = [load(text, page_kind) for text, page_kind in zip(pages, ("page", "faq", "glossary") * 2, strict=False)]
    chunker = chunker_of(kind, target=24, maximum=48)
    whole = chunker.chunk(loaded)
    parts = [
        chunks for start in range(0, len(loaded), batch) for chunks in chunker.chunk(loaded[start : start + batch])
    ]
    assert parts == whole
    for document, chunks in zip(loaded, whole, strict=True):
        assert len({chunk.id for chunk in chunks}) == len(chunks)
        for chunk in chunks:
            assert chunk.text == "\n".join(document.page.text[start:end] for start, end in chunk.spans)
            assert 0 < chunk.tokens <= 48


THREADS = """
import sys
from clockify_rag import _core
from clockify_rag.chunking import FixedChunker, SemanticChunker, SentenceChunker, StructureChunker
from clockify_rag.contracts import Document, LoadedDocument, digest
from clockify_rag.embedding import StaticEmbedder
import msgspec
_core.set_threads(int(sys.argv[1]))
text = "\\n\\n".join(f"## Part {n}\\n\\n" + f"Sentence {n} of it, and {n * n} more words. " * (n % 9) for n in range(60))
pages = _core.parse("markdown", [(text + f"\\n\\nPage {n}.").encode() for n in range(16)], "github")
loaded = [LoadedDocument(Document(id=f"{n:032}", source="s", path=f"{n}.md", title="T"), page) for n, page in enumerate(pages)]
for chunker in (StructureChunker(40, 80), SentenceChunker(40, 80), FixedChunker(40, 80), SemanticChunker(StaticEmbedder(), 40, 80)):
    print(digest(msgspec.json.encode(chunker.chunk(loaded)).decode()))
"""


def test_threads_do_not_show() -> None:
    def printed(threads: int) -> str:
        command = [sys.executable, "-c", THREADS, str(threads)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    one = printed(1)
    assert len(set(one.split())) == len(CHUNKERS)
    assert printed(2) == one
    assert printed(7) == one


def test_each_chunker_cuts_in_its_way() -> None:
    text = "# T\n\n" + "One two three four. " * 30 + "\n\n" + "Five six seven eight. " * 30
    structure, sentence, fixed, _ = (
        [chunk.tokens for chunk in chunker_of(kind, target=40, maximum=400).chunk([load(text)])[0]] for kind in CHUNKERS
    )
    assert len(structure) == 2
    assert max(sentence) <= 50 < min(structure)
    assert set(fixed[:-1]) <= {38, 39, 40}


def test_a_semantic_chunk_ends_where_the_subject_changes() -> None:
    gardens = "The fern needs water and shade. Water the fern in the morning. Ferns like wet shade. "
    invoices = "Send the invoice to the client. The client pays the invoice. Invoices are due in a month. "
    (chunks,) = chunker_of(SemanticChunker, target=60, maximum=200).chunk([load(f"# T\n\n{gardens}{invoices}")])
    assert [chunk.text for chunk in chunks] == [gardens.strip(), invoices.strip()]


def test_a_semantic_chunker_needs_an_embedder() -> None:
    with pytest.raises(InvalidSetting, match="needs an embedder") as caught:
        SemanticChunker(None)
    assert "embedding.embedder" in caught.value.hint


def test_fingerprints_tell_behaviour() -> None:
    fingerprints = {StructureChunker().fingerprint(), SentenceChunker().fingerprint(), FixedChunker().fingerprint()}
    assert fingerprints == {_core.chunking_fingerprint()}
    semantic = SemanticChunker(StaticEmbedder()).fingerprint()
    assert semantic == SemanticChunker(StaticEmbedder()).fingerprint()
    assert semantic not in fingerprints


@pytest.mark.parametrize("number", [-1, 2**32])
def test_a_table_has_a_possible_size(number: int) -> None:
    with pytest.raises(InvalidSetting, match="table_tokens"):
        StructureChunker(table_tokens=number)


# What a chunk holds.


def test_a_table_has_a_form_for_programs() -> None:
    text = "# T\n\n| Plan | Price | Price |\n|---|---|---|\n| A \\| B | 1 | 2 |\n| C | | |\n"
    (chunk,) = (chunk for chunk in chunks_of(text) if chunk.kind == "table")
    (table,) = chunk.parts
    assert isinstance(table, Table)
    assert table == Table(table.span, ("Plan", "Price", "Price"), (("A | B", "1", "2"), ("C",)))
    assert table.objects() == [{"Plan": "A | B", "Price": "1", "3": "2"}, {"Plan": "C", "Price": "", "3": ""}]
    assert table.markdown() == ("| Plan | Price | Price |\n| --- | --- | --- |\n| A \\| B | 1 | 2 |\n| C |  |  |")
    assert chunks_of(f"# T\n\n{table.markdown()}\n")[0].parts == (table,)


_cells = st.text("ab|\\é日*_[]<>&~`", max_size=6).map(lambda cell: f"x{cell}x")


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(_cells, min_size=width, max_size=width), min_size=2, max_size=5)
    )
)
def test_markdown_of_a_table_is_that_table(rows: list[list[str]]) -> None:
    table = Table((0, 0), tuple(rows[0]), tuple(map(tuple, rows[1:])))
    (again,) = chunks_of(f"# T\n\n{table.markdown()}\n")[0].parts
    assert isinstance(again, Table)
    assert (again.header, again.rows) == (table.header, table.rows)


def test_parts_survive_json() -> None:
    text = "# T\n\n## Why?\n\n```sql\nselect 1\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n![A fine view](view.png)\n"
    chunks = chunks_of(text, "faq")
    kinds = {type(part) for chunk in chunks for part in chunk.parts}
    assert kinds == {AskedQuestion, Code, Image, Table}
    for chunk in chunks:
        assert msgspec.json.decode(msgspec.json.encode(chunk), type=Chunk) == chunk
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(chunk), type=Chunk) == chunk


def test_a_term_is_found_by_the_names_it_has(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "terms.csv").write_text("term,aliases,definition\nRound,lap|circuit,Once around the garden.\n")
    (tmp_path / "docs" / "other.csv").write_text("1,2\n")
    (tmp_path / "docs" / "words.md").write_text("# Words\n\n## Bed (plot)\n\nWhere things grow.\n")
    (tmp_path / "docs" / "asked.md").write_text("# Asked\n\n## How long is a round?\n\nAn hour.\n")
    pipeline = pipeline_of(tmp_path / "index")
    source = Source(
        name="docs", location=str(tmp_path / "docs"), glossary=("*.csv", "words.md", "!other.csv"), faq=("asked.*",)
    )
    report = pipeline.build([source])
    assert [skipped.path for skipped in report.skipped] == ["other.csv"]
    hit = pipeline.search("circuit", filters={"kind": ["glossary"]}).hits[0]
    assert hit.chunk.parts == (Term("Round", ("lap", "circuit")),)
    assert (hit.chunk.text, hit.chunk.anchor) == ("- Round\n- lap\n- circuit\n  Once around the garden.", "round")
    terms = [hit.chunk.parts for hit in pipeline.search("bed plot", filters={"kind": ["glossary"]}).hits]
    assert (Term("Bed", ("plot",)),) in terms
    (answer,) = pipeline.search("how long is a round", filters={"kind": ["faq"]}).hits
    assert (answer.chunk.text, answer.chunk.parts) == ("An hour.", (AskedQuestion("How long is a round?"),))


def test_images_are_found_on_request(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Garden\n\nLook here.\n\n![The old gate at dusk](gate.png)\n")
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([str(tmp_path / "docs")])
    assert "image" not in {hit.chunk.kind for hit in pipeline.search("old gate at dusk").hits}
    (hit,) = pipeline.search("old gate at dusk", filters={"kind": ["image"]}).hits
    assert hit.chunk.parts == (Image(hit.chunk.spans[0], "gate.png", "The old gate at dusk"),)


@pytest.mark.parametrize("name", ["structure", "sentence", "semantic", "fixed"])
def test_an_index_is_built_with_the_chunker_chosen(tmp_path: Path, name: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text(TEXT)
    pipeline = pipeline_of(tmp_path / "index", chunking={"chunker": name})
    assert pipeline.build([str(tmp_path / "docs")]).added == 1
    assert pipeline_of(tmp_path / "index", chunking={"chunker": name}).build([str(tmp_path / "docs")]).unchanged == 1
    assert pipeline.search("take the wheel").hits[0].chunk.text == "Take the wheel."


def test_another_behaviour_of_a_chunker_makes_chunks_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Told(StructureChunker):
        told = "one"

        def fingerprint(self) -> str:
            return self.told

    offer(monkeypatch, "chunkers", told=Told)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text(TEXT)

    def built() -> tuple[int, int]:
        report = pipeline_of(tmp_path / "index", chunking={"chunker": "told"}).build([str(tmp_path / "docs")])
        return report.changed, report.unchanged

    assert built() == (0, 0)
    assert built() == (0, 1)
    Told.told = "two"
    assert built() == (1, 0)
