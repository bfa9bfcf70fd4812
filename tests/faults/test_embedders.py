"""An embedder that returns nonsense: it is named, nothing of it is stored, and what was served is served."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest

import fake_server as fake
from clockify_rag.cache import EmbeddingCache
from clockify_rag.embedding import CachedEmbedder
from clockify_rag.errors import BackendBadResponse, IndexNotFound
from clockify_rag.pipeline import Pipeline
from pipelines import GARDEN, offer, pipeline_of, ranking

Bend = Callable[[Any], Any]


def with_one(value: float) -> Bend:
    def bend(rows: Any) -> Any:
        rows[-1, 1] = value
        return rows

    return bend


def with_zeros(rows: Any) -> Any:
    rows[-1] = 0
    return rows


BENDS: dict[str, tuple[Bend, str]] = {
    "NaN": (with_one(numpy.nan), "not finite"),
    "infinity": (with_one(numpy.inf), "not finite"),
    "minus infinity": (with_one(-numpy.inf), "not finite"),
    "too large for 32 bits": (lambda rows: rows.astype(numpy.float64) * 1e300, "not finite"),
    "a row of zeros": (with_zeros, "a vector of zeros"),
    "nothing but zeros": (lambda rows: rows * 0, "a vector of zeros"),
    "wider": (lambda rows: numpy.hstack([rows, rows]), "8 dimensions where 4 were expected"),
    "narrower": (lambda rows: rows[:, :3], "3 dimensions where 4 were expected"),
    "no width": (lambda rows: rows[:, :0], "0 dimensions where 4 were expected"),
    "fewer": (lambda rows: rows[:-1], "vectors for"),
    "more": (lambda rows: numpy.vstack([rows, rows[:1]]), "vectors for"),
    "none": (lambda rows: rows[:0], "0 vectors for"),
    "one after the other": (lambda rows: rows.ravel(), "vectors for|the shape"),
    "a row too deep": (lambda rows: rows[:, :, None], "the shape"),
    "null": (lambda rows: None, "0 vectors for"),
    "a number": (lambda rows: 1.0, "0 vectors for"),
    "ragged": (lambda rows: [*rows.tolist()[:-1], [1.0]], "different dimensions"),
    "texts": (lambda rows: rows.astype(str), "values of type"),
    "objects": (lambda rows: rows.astype(object), "values of type object"),
    "complex": (lambda rows: rows * 1j, "values of type complex64"),
    "truth values": (lambda rows: rows > 0, "values of type bool"),
}


class Letters:
    """A component of another package: embeds by the letters of a text, and bends what it returns where a test says so."""

    dimension: Any = 4
    bend: Bend | None = None
    passages = True
    """Whether passages are bent, or questions."""
    after = 0
    """Texts before the first that is bent."""
    seen = 0

    def fingerprint(self) -> str:
        return "letters"

    def embed(self, texts: Any) -> Any:
        type(self).seen += len(texts)
        bend = type(self).bend if self.passages and self.seen > self.after else None
        return self._rows(texts) if bend is None else bend(self._rows(texts))

    def embed_questions(self, texts: Any) -> Any:
        bend = None if self.passages else type(self).bend
        return self._rows(texts) if bend is None else bend(self._rows(texts))

    def _rows(self, texts: Any) -> Any:
        rows = [[text.count("a") + 1.0, text.count("e"), len(text), text.count(" ")] for text in texts]
        return numpy.array(rows, numpy.float32).reshape(-1, 4)


@pytest.fixture
def letters(monkeypatch: pytest.MonkeyPatch) -> type[Letters]:
    class Fresh(Letters):
        pass

    offer(monkeypatch, "embedders", letters=Fresh)
    return Fresh


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    folder = tmp_path / "garden"
    folder.mkdir()
    for name, text in GARDEN.items():
        (folder / name).write_text(text)
    return folder


def opened(index: Path) -> Pipeline:
    return pipeline_of(index, embedding={"embedder": "letters"})


def stored(index: Path) -> set[Path]:
    return {file.relative_to(index) for part in ("segments", "generations") for file in (index / part).rglob("*")}


def cached(index: Path) -> int:
    """Return how many vectors are in the cache."""
    count = 0
    for file in (index / "cache").glob("*.sqlite"):
        connection = sqlite3.connect(file)
        count += connection.execute("SELECT count(*) FROM vectors").fetchone()[0]
        connection.close()
    return count


@pytest.mark.parametrize("bend", BENDS)
def test_nothing_is_stored_by_a_first_build(tmp_path: Path, pages: Path, letters: type[Letters], bend: str) -> None:
    letters.bend, message = staticmethod(BENDS[bend][0]), BENDS[bend][1]
    index = tmp_path / "index"
    with pytest.raises(BackendBadResponse, match=message) as caught:
        opened(index).build([pages])
    assert "check_embedder" in caught.value.hint
    assert cached(index) == 0
    assert not any(file.suffix for file in stored(index))
    with pytest.raises(IndexNotFound):
        opened(index).search("gate")
    letters.bend = None
    assert opened(index).build([pages]).added == len(GARDEN)
    assert opened(index).search("gate").hits


@pytest.mark.parametrize("bend", BENDS)
def test_the_old_generation_is_served_after_an_update(
    tmp_path: Path, pages: Path, letters: type[Letters], bend: str
) -> None:
    index = tmp_path / "index"
    opened(index).build([pages])
    before, files, vectors = ranking(opened(index).search("gate")), stored(index), cached(index)
    (pages / "gate.md").write_text("# Gate\n\nThe gate was taken away.\n")
    (pages / "pond.md").write_text("# Pond\n\nThe pond has frogs.\n")
    letters.bend = staticmethod(BENDS[bend][0])
    with pytest.raises(BackendBadResponse, match=BENDS[bend][1]):
        opened(index).build([pages])
    assert stored(index) == files
    assert cached(index) == vectors
    letters.passages = False
    letters.bend = None
    assert ranking(opened(index).search("gate")) == before
    report = opened(index).build([pages])
    assert (report.added, report.changed) == (1, 1)


@pytest.mark.parametrize("bend", BENDS)
def test_a_question_is_not_searched_with_nonsense(
    tmp_path: Path, pages: Path, letters: type[Letters], bend: str
) -> None:
    index = tmp_path / "index"
    opened(index).build([pages])
    letters.passages, letters.bend = False, staticmethod(BENDS[bend][0])
    with pytest.raises(BackendBadResponse):
        opened(index).search("Where is the gate?")
    assert opened(index).search("Where is the gate?", lexical=True).hits


@pytest.mark.parametrize("dimension", [0, -4, None, "4", 4.0, True])
def test_a_width_that_is_none_is_refused(tmp_path: Path, pages: Path, letters: type[Letters], dimension: Any) -> None:
    letters.dimension = dimension
    with pytest.raises(BackendBadResponse, match="dimensions"):
        opened(tmp_path / "index").build([pages])
    assert cached(tmp_path / "index") == 0


def test_what_came_before_the_nonsense_is_kept_for_the_next_build(tmp_path: Path, letters: type[Letters]) -> None:
    lines = tmp_path / "lines.jsonl"
    rows = [f'{{"id": "{number}", "title": "Notes", "text": "Text {number}."}}\n' for number in range(2600)]
    lines.write_text("".join(rows))
    letters.bend, letters.after = staticmethod(BENDS["NaN"][0]), 1300
    index = tmp_path / "index"
    with pytest.raises(BackendBadResponse, match="not finite"):
        opened(index).build([lines])
    assert 0 < cached(index) < len(rows)
    kept, letters.bend, letters.seen = cached(index), None, 0
    assert opened(index).build([lines]).added == len(rows)
    assert letters.seen == len(rows) + 1 - kept  # the title is embedded once


def test_a_text_about_nothing_may_be_zeros(tmp_path: Path, letters: type[Letters]) -> None:
    letters.bend = staticmethod(lambda rows: rows * 0)
    embedder = CachedEmbedder(letters(), EmbeddingCache(tmp_path))
    assert not embedder.embed(["", " ", "* * *"]).any()
    with pytest.raises(BackendBadResponse, match="a vector of zeros"):
        embedder.embed(["* * *", "文"])


SERVED: dict[str, tuple[Callable[[list[list[float]]], Any], str]] = {
    "fewer": (lambda rows: rows[:-1], "vectors for"),
    "more": (lambda rows: [*rows, rows[0]], "vectors for"),
    "ragged": (lambda rows: [*rows[:-1], rows[0][:2]], "different dimensions"),
    "zeros": (lambda rows: [*rows[:-1], [0.0] * 4], "a vector of zeros"),
    "NaN": (lambda rows: [*rows[:-1], [float("nan")] * 4], "not the JSON expected|not JSON"),
    "too large": (lambda rows: [*rows[:-1], [1e300] * 4], "not finite"),
    "null": (lambda rows: [*rows[:-1], None], "not the JSON expected"),
}


@pytest.mark.parametrize("fault", SERVED)
def test_a_server_that_embeds_nonsense_changes_nothing(tmp_path: Path, pages: Path, fault: str) -> None:
    bend: Callable[[list[list[float]]], Any] | None = None

    def script(request: fake.Request) -> fake.Script:
        rows: Any = [[len(text) + 1.0, 1.0, 2.0, text.count("e") + 0.0] for text in request.json["input"]]
        return fake.answer({"embeddings": rows if bend is None else bend(rows)})

    with fake.serving(script) as server:
        settings = {"embedder": "ollama", "model": "m", "url": server.url}
        pipeline_of(tmp_path / "index", embedding=settings).build([pages])
        before = ranking(pipeline_of(tmp_path / "index", embedding=settings).search("gate"))
        files, vectors = stored(tmp_path / "index"), cached(tmp_path / "index")
        (pages / "pond.md").write_text("# Pond\n\nThe pond has frogs.\n\n## Depth\n\nIt is deep.\n")
        bend, message = SERVED[fault]
        with pytest.raises(BackendBadResponse, match=message):
            pipeline_of(tmp_path / "index", embedding=settings).build([pages])
        assert (stored(tmp_path / "index"), cached(tmp_path / "index")) == (files, vectors)
        bend = None
        assert ranking(pipeline_of(tmp_path / "index", embedding=settings).search("gate")) == before
