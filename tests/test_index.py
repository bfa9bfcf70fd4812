"""The index read by generation: what is found by id and name, and when a generation is refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from clockify_rag import _core
from clockify_rag.contracts import Index
from clockify_rag.errors import IndexCorrupt, IndexIncompatible, IndexNotFound, InvalidSetting, SourceError
from clockify_rag.index import SECRET_BYTES, EmbedderEntry, IndexWriter, LocalIndex, check_compatible, stored_documents
from folders import source_of, write
from pipelines import GARDEN, pipeline_of

NONE = "0" * 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of two sources that no test changes."""
    root = tmp_path_factory.mktemp("index")
    garden = write(root / "garden", {**GARDEN, "old/gate.md": "# The old gate\n\nIt is bricked up.\n"})
    kitchen = write(root / "kitchen", {"gate.md": "# Kitchen gate\n\nIt leads to the herbs.\n"})
    sources = [
        source_of(garden, name="garden"),
        source_of(kitchen, name="kitchen", base_url="https://kitchen.example/", tags=("herbs",)),
    ]
    pipeline_of(root / "index").build(sources)
    return root / "index"


@pytest.fixture
def index(folder: Path) -> LocalIndex:
    return LocalIndex(folder)


def test_it_is_an_index(index: LocalIndex) -> None:
    assert isinstance(index, Index)


def test_documents_come_in_order_of_id_with_their_texts(index: LocalIndex) -> None:
    documents = list(index.documents())
    ids = [document.id for document in documents]
    assert len(ids) == 7
    assert ids == sorted(ids)
    for document in documents:
        assert index.document(document.id) == document
        text = index.text(document.id)
        assert text.startswith(document.title)
        for chunk in index.chunks(document.id):
            assert chunk.document_id == document.id
            assert chunk.text == "\n".join(text[start:end] for start, end in chunk.spans)
            assert index.chunk(chunk.id) == (chunk, document)


@pytest.mark.parametrize("name", [NONE, "nothing", "", "ü" * 32, NONE.upper(), "F" * 32])
def test_what_is_not_there(index: LocalIndex, name: str) -> None:
    assert index.document(name) is None
    assert index.chunk(name) is None
    assert index.chunks(name) == []
    with pytest.raises(SourceError, match="the index has no document") as caught:
        index.text(name)
    assert caught.value.hint == "clockify-rag documents lists them"
    with pytest.raises(SourceError, match="the index has no document"):
        index.find(name)


@pytest.mark.parametrize(
    ("name", "source", "path"),
    [
        ("beds.md", "garden", "beds.md"),
        ("beds", "garden", "beds.md"),
        ("garden/beds.md", "garden", "beds.md"),
        ("garden/gate.md", "garden", "gate.md"),
        ("old/gate.md", "garden", "old/gate.md"),
        ("old/gate", "garden", "old/gate.md"),
        ("https://kitchen.example/gate.html", "kitchen", "gate.md"),
    ],
)
def test_a_document_is_found_by_what_people_call_it(index: LocalIndex, name: str, source: str, path: str) -> None:
    found = index.find(name)
    assert (found.source, found.path) == (source, path)
    assert index.find(found.id) == found


def test_a_name_of_two_documents_lists_them(index: LocalIndex) -> None:
    with pytest.raises(SourceError, match=r"2 documents are called 'gate\.md'") as caught:
        index.find("gate.md")
    assert "garden/gate.md" in caught.value.message
    assert "kitchen/gate.md" in caught.value.message
    assert caught.value.hint == "name one of them with its source, or by its id"


def test_info_counts(index: LocalIndex, folder: Path) -> None:
    info = index.info()
    assert (info["generation"], info["documents"], info["chunks"]) == (1, 7, 10)
    assert info["analyser"] == _core.analyser_fingerprint()
    assert info["embedder"]["name"] == "static"
    assert info["bytes"] == sum(file.stat().st_size for file in (folder / "segments").rglob("*") if file.is_file())
    assert [segment["chunks"] for segment in info["segments"]] == [10]
    assert msgspec.json.decode(msgspec.json.encode(info)) == info


def test_the_secret_lies_beside_the_index(tmp_path: Path) -> None:
    with IndexWriter(tmp_path / "index", chunker="c", embedder=None) as writer:
        writer.publish()
    file = tmp_path / "index" / "secret"

    def secret() -> bytes | None:
        return LocalIndex(tmp_path / "index").secret

    assert secret() == file.read_bytes()
    assert len(file.read_bytes()) == SECRET_BYTES
    for damaged in (b"", b"too short", b"x" * (SECRET_BYTES + 1)):
        file.write_bytes(damaged)
        assert secret() is None
    file.unlink()
    assert secret() is None
    file.mkdir()
    assert secret() is None


def test_no_index(tmp_path: Path) -> None:
    for missing in (tmp_path / "none", write(tmp_path / "other", {"a.md": "A"})):
        with pytest.raises(IndexNotFound):
            LocalIndex(missing)


def test_a_damaged_generation_is_refused(tmp_path: Path) -> None:
    pages = write(tmp_path / "garden", GARDEN)
    pipeline_of(tmp_path / "index").build([pages])
    (manifest,) = (tmp_path / "index" / "generations").glob("*.json")
    manifest.write_bytes(manifest.read_bytes().replace(b'"documents":5', b'"documents":6'))
    with pytest.raises(IndexCorrupt):
        LocalIndex(tmp_path / "index")


# Writing.


def test_nothing_published_is_nothing_written(tmp_path: Path, index: LocalIndex) -> None:
    document = next(index.documents())
    chunks = index.chunks(document.id)
    with IndexWriter(tmp_path / "index", chunker="c", embedder=None) as writer:
        writer.add(document, index.text(document.id), chunks, None)
    with pytest.raises(IndexNotFound):
        LocalIndex(tmp_path / "index")


def test_a_writer_says_what_must_be_made_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = LocalIndex(folder)
    name, fingerprint, dimension = index.snapshot.embedder or ("", "", 0)
    entry = EmbedderEntry(name, fingerprint, dimension)

    def needs(embedder: EmbedderEntry | None) -> tuple[bool, bool]:
        with IndexWriter(folder, chunker="c", embedder=embedder) as writer:
            return writer.rederive, writer.reembed

    assert needs(entry) == (False, False)
    assert needs(None) == (False, True)
    for change in ({"name": "other"}, {"fingerprint": "other"}, {"dimension": 7}):
        assert needs(msgspec.structs.replace(entry, **change)) == (False, True)
    monkeypatch.setattr(_core, "analyser_fingerprint", lambda: "other")
    assert needs(entry) == (True, False)


def test_a_first_writer_has_nothing_to_make_anew(tmp_path: Path) -> None:
    with IndexWriter(tmp_path / "index", chunker="c", embedder=None) as writer:
        assert (writer.rederive, writer.reembed) == (False, False)
        assert writer.known == {}


def test_removing_what_is_not_there_publishes_nothing(tmp_path: Path) -> None:
    pages = write(tmp_path / "garden", GARDEN)
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([pages])
    snapshot = pipeline.index.snapshot
    with IndexWriter(
        tmp_path / "index",
        chunker=snapshot.chunker,
        embedder=pipeline.embedder_entry,
    ) as writer:
        writer.remove(NONE)
        assert writer.publish() == 1
    assert pipeline.index.refresh() is False


@pytest.mark.parametrize("name", ["nothing", "ü" * 16, "+" + NONE[1:], NONE[1:] + "_"])
def test_what_is_no_id_cannot_be_left_out(folder: Path, name: str) -> None:
    pipeline = pipeline_of(folder)
    assert pipeline.search("gate", excluded_documents=[NONE]).hits
    with pytest.raises(InvalidSetting, match="is no id"):
        pipeline.search("gate", excluded_documents=[name])


def test_a_writer_that_lost_documents_publishes_nothing(tmp_path: Path) -> None:
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([write(tmp_path / "garden", GARDEN)])
    index = LocalIndex(tmp_path / "index")
    good, bad, *_ = index.documents()
    beyond = msgspec.structs.replace(index.chunks(bad.id)[0], spans=((0, 1_000_000),))
    with IndexWriter(tmp_path / "index", chunker=index.snapshot.chunker, embedder=pipeline.embedder_entry) as writer:
        writer.add(good, index.text(good.id), index.chunks(good.id), None)
        writer.add(bad, index.text(bad.id), [beyond], None)
        with pytest.raises(InvalidSetting, match="not in its text"):
            writer.publish()
        with pytest.raises(InvalidSetting, match="failed before"):
            writer.publish()
        with pytest.raises(InvalidSetting, match="failed before"):
            writer.add(good, index.text(good.id), index.chunks(good.id), None)
    assert index.refresh() is False
    assert len(list(LocalIndex(tmp_path / "index").documents())) == len(GARDEN)


def test_a_document_that_is_refused_stays_as_it_was(tmp_path: Path) -> None:
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([write(tmp_path / "garden", GARDEN)])
    index = LocalIndex(tmp_path / "index")
    document = next(iter(index.documents()))
    with IndexWriter(tmp_path / "index", chunker=index.snapshot.chunker, embedder=pipeline.embedder_entry) as writer:
        with pytest.raises(InvalidSetting, match="vectors were given"):
            writer.add(document, index.text(document.id), index.chunks(document.id), bytes(4))
        writer.publish()
    assert len(list(LocalIndex(tmp_path / "index").documents())) == len(GARDEN)


def test_documents_without_vectors_are_no_evidence(tmp_path: Path, index: LocalIndex) -> None:
    document = index.find("garden/gate.md")
    chunks, text = index.chunks(document.id), index.text(document.id)
    entry = EmbedderEntry("test", "test", 3)
    with IndexWriter(tmp_path / "i", chunker="c", embedder=entry) as writer:
        writer.add(document, text, chunks, None)
        writer.publish()
    snapshot = LocalIndex(tmp_path / "i").snapshot
    assert [found.path for found in stored_documents(snapshot)] == ["gate.md"]
    assert snapshot.vectors_of(document.id) == bytes(4 * 3 * len(chunks))


# Fingerprints.


def test_only_what_is_used_must_be_compatible(index: LocalIndex) -> None:
    stored = index.snapshot.embedder
    assert stored is not None
    same = EmbedderEntry(*stored)
    check_compatible(index.snapshot, same, lexical=False)
    check_compatible(index.snapshot, msgspec.structs.replace(same, name="a folder elsewhere"), lexical=False)
    check_compatible(index.snapshot, None, lexical=False)
    for other in (msgspec.structs.replace(same, fingerprint="x" * 32), msgspec.structs.replace(same, dimension=3)):
        check_compatible(index.snapshot, other, lexical=True)
        with pytest.raises(IndexIncompatible) as caught:
            check_compatible(index.snapshot, other, lexical=False)
        assert caught.value.fields["found"] == same.fingerprint
        assert caught.value.fields["expected"] == other.fingerprint
