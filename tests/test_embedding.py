"""Embedders: what is sent, what comes back, and what is refused."""

from __future__ import annotations

import hashlib
import math
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fake_server as fake
from clockify_rag import embedding
from clockify_rag._http import Deadlines
from clockify_rag.cache import EmbeddingCache
from clockify_rag.contracts import Embedder
from clockify_rag.embedding import (
    CachedEmbedder,
    ModelEmbedder,
    OllamaEmbedder,
    OpenAIEmbedder,
    SentenceTransformersEmbedder,
    StaticEmbedder,
    known_model,
    windows,
)
from clockify_rag.errors import (
    BackendBadResponse,
    BackendRejected,
    BackendUnavailable,
    InvalidSetting,
    MissingExtra,
)

WIDTH = 16
QUICK = Deadlines(connect=1.0, first=2.0, between=1.0, total=3.0)


class Words:
    """Counts words as tokens."""

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def vector(text: str, width: int = WIDTH) -> list[float]:
    """Return a unit vector that depends on every character."""
    digest = hashlib.shake_256(text.encode()).digest(width)
    numbers = [byte / 128 - 1 for byte in digest]
    norm = math.hypot(*numbers)
    return [number / norm for number in numbers]


class Remembering(ModelEmbedder):
    """A model in this process that keeps what it was asked."""

    def __init__(self, model: str = "test", **options: Any) -> None:
        super().__init__(model, **{"tokenizer": Words(), **options})
        self.batches: list[list[str]] = []

    def _rows(self, texts: list[str]) -> Any:
        self.batches.append(list(texts))
        return np.array([vector(text) for text in texts], dtype=np.float32) * 3


def test_ollama_embeds_in_batches_with_its_prefixes() -> None:
    with fake.serving(fake.ollama_embeddings(vector)) as server:
        embedder = OllamaEmbedder("nomic-embed-text:latest", url=server.url, batch_size=2, tokenizer=Words())
        rows = embedder.embed(["a", "b", "", "c"])
        question = embedder.embed_questions(["a"])
    assert [request.json["input"] for request in server.requests] == [
        ["search_document: a", "search_document: b"],
        ["search_document: c"],
        ["search_query: a"],
    ]
    assert server.requests[0].path == "/api/embed"
    assert server.requests[0].json["truncate"] is False
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows[3], vector("search_document: c"), atol=1e-6)
    np.testing.assert_allclose(question[0], vector("search_query: a"), atol=1e-6)
    assert not rows[2].any()
    assert embedder.sent_to == ()


@pytest.mark.parametrize("backwards", [False, True])
def test_openai_orders_by_index(backwards: bool) -> None:
    with fake.serving(fake.openai_embeddings(vector, backwards=backwards)) as server:
        embedder = OpenAIEmbedder(
            "text-embedding-3-small", url=f"{server.url}/v1", api_key="k", dimensions=WIDTH, tokenizer=Words()
        )
        rows = embedder.embed(["a", "b", "c"])
    np.testing.assert_allclose(rows, [vector(text) for text in "abc"], atol=1e-6)
    assert server.requests[0].path == "/v1/embeddings"
    assert server.requests[0].json["dimensions"] == WIDTH
    assert server.requests[0].headers["authorization"] == "Bearer k"
    assert OpenAIEmbedder().sent_to == ("api.openai.com",)


def test_workers_keep_the_order() -> None:
    texts = [f"text {number}" for number in range(50)]
    with fake.serving(fake.ollama_embeddings(vector)) as server:
        rows = OllamaEmbedder("m", url=server.url, batch_size=3, workers=4).embed(texts)
        assert len(server.requests) == 17
    np.testing.assert_allclose(rows, [vector(text) for text in texts], atol=1e-6)


def test_one_failed_batch_of_many_workers_fails_the_call() -> None:
    def script(request: fake.Request) -> fake.Script:
        if "text 7" in request.json["input"]:
            return fake.answer({"error": "boom"}, "500 Oh")
        return fake.ollama_embeddings(vector)(request)

    with fake.serving(script) as server, pytest.raises(BackendRejected, match="boom"):
        OllamaEmbedder("m", url=server.url, batch_size=1, workers=3).embed([f"text {n}" for n in range(20)])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[1.0, 2.0]], "1 vectors for 2 texts"),
        ([[1.0, 2.0]] * 3, "3 vectors for 2 texts"),
        ([[1.0, 2.0], [1.0]], "different dimensions"),
        ([], "returned 0 vectors"),
        ([[], []], "0 dimensions"),
        ([[1.0, 2.0], [1e300, 1.0]], "not finite"),
        ([[1.0, 2.0], [0.0, 0.0]], "vector of zeros"),
        ([["1", "2"], ["3", "4"]], "not the JSON expected"),
        ([[True, False], [True, True]], "not the JSON expected"),
        ([[None, 1.0], [1.0, 1.0]], "not the JSON expected"),
    ],
)
def test_vectors_that_cannot_be_used_are_refused(rows: Any, message: str) -> None:
    ollama = fake.answer({"embeddings": rows})
    openai = fake.answer({"data": [{"index": i, "embedding": row} for i, row in enumerate(rows)]})
    with fake.serving(ollama) as server, pytest.raises(BackendBadResponse, match=message):
        OllamaEmbedder("m", url=server.url, deadlines=QUICK).embed(["a", "b"])
    with fake.serving(openai) as server, pytest.raises(BackendBadResponse, match=message):
        OpenAIEmbedder("m", url=server.url, deadlines=QUICK).embed(["a", "b"])


@pytest.mark.parametrize("body", [b'{"embeddings": [[NaN]]}', b'{"error": "no"}', b"<html>", b"[]"])
def test_answers_that_are_not_embeddings_are_refused(body: bytes) -> None:
    with fake.serving(fake.answer(body)) as server, pytest.raises(BackendBadResponse):
        OllamaEmbedder("m", url=server.url, deadlines=QUICK).embed(["a"])


def test_numbered_twice_is_refused() -> None:
    rows = [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]
    with fake.serving(fake.answer({"data": rows})) as server, pytest.raises(BackendBadResponse, match="numbered"):
        OpenAIEmbedder("m", url=server.url).embed(["a", "b"])


def test_a_model_may_not_change_its_width() -> None:
    widths = iter([4, 4, 5])
    with fake.serving(lambda r: fake.answer({"embeddings": [[1.0] * next(widths)] * len(r.json["input"])})) as server:
        embedder = OllamaEmbedder("m", url=server.url)
        assert embedder.dimension == 4
        with pytest.raises(BackendBadResponse, match="5 dimensions where 4 were expected"):
            embedder.embed(["a"])


def test_a_missing_model_can_be_typed() -> None:
    script = fake.answer({"error": 'model "my model" not found, try pulling it first'}, "404 Not Found")
    with fake.serving(script) as server, pytest.raises(BackendRejected) as caught:
        OllamaEmbedder("my model", url=server.url).embed(["a"])
    assert caught.value.hint == "ollama pull 'my model'"
    with pytest.raises(BackendUnavailable):
        OllamaEmbedder("m", url=fake.refused_url()).embed(["a"])


def test_long_texts_are_embedded_in_windows_averaged_by_length() -> None:
    embedder = Remembering(window_tokens=20, passage_prefix="p: ")
    text = " ".join(f"w{number}" for number in range(40))
    row = embedder.embed(["short", text])[1]
    sent = embedder.batches[0][1:]
    assert embedder.windowed == 1
    assert [part.removeprefix("p: ") for part in sent] == [
        " ".join(f"w{number}" for number in range(start, min(start + 15, 40))) for start in (0, 15, 30)
    ]
    expected = sum(np.array(vector(part)) * weight for part, weight in zip(sent, (15, 15, 10), strict=True))
    np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=1e-6)


@given(st.text(alphabet="ab \n\u00e4\u6587", max_size=400), st.integers(1, 30))
def test_windows_hold_the_whole_text_and_keep_the_limit(text: str, limit: int) -> None:
    class Characters:
        def count(self, texts: Sequence[str]) -> list[int]:
            return [len(part.strip()) for part in texts]

    found = list(windows(text, limit, Characters()))
    assert "".join("".join(part.split()) for part, _ in found) == "".join(text.split())
    assert all(1 <= tokens <= limit and part in text for part, tokens in found)


def test_an_unbroken_run_of_characters_is_cut_though_it_is_one_token() -> None:
    embedder = Remembering(window_tokens=100)
    embedder.embed(["x" * 100_000])
    assert all(len(part) <= 100 * 88 for batch in embedder.batches for part in batch)
    assert embedder.windowed == 1


def test_the_shipped_vocabulary_counts_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "shipped_tokenizer", Words)
    embedder = Remembering(window_tokens=20, tokenizer=None)
    embedder.embed(["w " * 40])
    assert embedder.windowed == 1


def test_fingerprints_are_stable_and_tell_models_apart() -> None:
    class Noisy(Remembering):
        def _rows(self, texts: list[str]) -> Any:
            rows = super()._rows(texts)
            return rows * (1 + 1e-6 * np.random.default_rng(1).standard_normal(rows.shape))

    class Rotated(Remembering):
        def _rows(self, texts: list[str]) -> Any:
            return np.roll(super()._rows(texts), 1, axis=1)

    same = {Remembering().fingerprint(), Noisy().fingerprint(), Remembering(batch_size=1, workers=2).fingerprint()}
    assert len(same) == 1
    others = [
        Remembering(passage_prefix="p: "),
        Remembering(question_prefix="q: "),
        Remembering(window_tokens=50),
        Rotated(),
    ]
    assert len({embedder.fingerprint() for embedder in others} | same) == 5
    assert len(next(iter(same))) == 32


def test_width_and_fingerprint_ask_once() -> None:
    embedder = Remembering()
    assert embedder.dimension == WIDTH
    embedder.fingerprint()
    assert len(embedder.batches) == 2
    assert embedder.embed([]).shape == (0, WIDTH)
    assert Remembering().embed(["", " "]).shape == (2, WIDTH)
    assert Remembering().embed([]).shape == (0, 0)


@pytest.mark.parametrize(
    ("name", "question", "passage"),
    [
        ("intfloat/e5-base-v2", "query: ", "passage: "),
        ("intfloat/multilingual-e5-large-instruct", "Instruct: ", ""),
        ("BAAI/bge-small-en-v1.5", "Represent this sentence", ""),
        ("bge-m3:567m", "", ""),
        ("nomic-embed-text", "search_query: ", "search_document: "),
        ("mxbai-embed-large:latest", "Represent this sentence", ""),
        ("all-MiniLM-L6-v2", "", ""),
        ("something-else", "", ""),
    ],
)
def test_prefixes_of_known_models(name: str, question: str, passage: str) -> None:
    known = known_model(name)
    assert known.question_prefix.startswith(question)
    assert bool(known.question_prefix) is bool(question)
    assert known.passage_prefix == passage
    assert OllamaEmbedder(name, question_prefix="", passage_prefix="x").passage_prefix == "x"


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"workers": -1}, {"window_tokens": -5}])
def test_impossible_numbers_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        OllamaEmbedder("m", **options)


def test_the_static_table_knows_english(tmp_path: Path) -> None:
    embedder = StaticEmbedder()
    assert embedder.languages == ("en",)
    assert StaticEmbedder(str(tmp_path)).languages is None


def test_the_shipped_table_embeds() -> None:
    folder = Path(embedding.shipped_model())
    if not folder.is_dir():
        pytest.skip("the table is not in this tree")
    embedder = StaticEmbedder()
    rows = embedder.embed(["reset a password", "", "change my password"])
    assert rows.shape == (3, embedder.dimension)
    assert embedder.dimension == 256
    assert not rows[1].any()
    assert rows[0] @ rows[2] > 0.3
    np.testing.assert_array_equal(embedder.embed_questions(["reset a password"])[0], rows[0])
    similarities = embedder.similarities("reset a password", ["reset a password", "", "change my password"])
    np.testing.assert_allclose(similarities, rows @ rows[0], atol=1e-6)
    assert embedder.fingerprint() == StaticEmbedder().fingerprint()
    assert embedding.shipped_tokenizer().count(["reset a password"]) == [3]


class FakeSentenceTransformer:
    max_seq_length = 20
    made: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, name: str, **options: Any) -> None:
        self.made.append({"name": name, **options})
        if name == "missing":
            raise OSError("no such model")

    def encode(self, texts: list[str], **options: Any) -> Any:
        assert options["prompt"] == ""
        return np.array([vector(text) for text in texts])


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> type[FakeSentenceTransformer]:
    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = FakeSentenceTransformer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    FakeSentenceTransformer.made.clear()
    return FakeSentenceTransformer


def test_sentence_transformers_load_from_this_machine_when_first_used(library: type[FakeSentenceTransformer]) -> None:
    embedder = SentenceTransformersEmbedder("intfloat/e5-small", device="cpu", tokenizer=Words())
    assert library.made == []
    rows = embedder.embed(["a", "w " * 40])
    assert library.made == [
        {"name": "intfloat/e5-small", "device": "cpu", "local_files_only": True, "trust_remote_code": False}
    ]
    np.testing.assert_allclose(rows[0], vector("passage: a"), atol=1e-6)
    assert embedder.windowed == 1
    assert SentenceTransformersEmbedder("x", window_tokens=9, tokenizer=Words()).embed(["a"]).shape == (1, WIDTH)


def test_a_model_that_is_not_here_is_not_fetched_unasked(library: type[FakeSentenceTransformer]) -> None:
    with pytest.raises(InvalidSetting, match="'missing' cannot be loaded") as caught:
        SentenceTransformersEmbedder("missing").embed(["a"])
    assert "allow_download" in caught.value.hint
    SentenceTransformersEmbedder("x", allow_download=True, tokenizer=Words()).embed(["a"])
    assert library.made[-1]["local_files_only"] is False


def test_a_missing_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra) as caught:
        SentenceTransformersEmbedder().embed(["a"])
    assert caught.value.hint == 'pip install "clockify-rag[sentence-transformers]"'


def test_the_cache_gives_back_the_same_bits(tmp_path: Path) -> None:
    texts = [f"text {number % 1500}" for number in range(2300)]
    plain = Remembering().embed(texts)
    first = CachedEmbedder(Remembering(), EmbeddingCache(tmp_path))
    np.testing.assert_array_equal(first.embed(texts), plain)
    model = Remembering()
    again = CachedEmbedder(model, EmbeddingCache(tmp_path))
    np.testing.assert_array_equal(again.embed(texts), plain)
    assert sum(map(len, model.batches)) == 6
    assert isinstance(again, Embedder)
    assert (again.dimension, again.fingerprint()) == (WIDTH, model.fingerprint())
    assert (again.languages, again.sent_to, again.windowed) == (None, (), 0)
    np.testing.assert_array_equal(again.embed_questions(["a"]), model.embed_questions(["a"]))


def test_nothing_is_cached_of_a_batch_that_failed(tmp_path: Path) -> None:
    class Broken(Remembering):
        def _rows(self, texts: list[str]) -> Any:
            rows = super()._rows(texts)
            if "bad" in texts:
                rows[0] = np.nan
            return rows

    cache = EmbeddingCache(tmp_path)
    embedder = CachedEmbedder(Broken(batch_size=1), cache)
    with pytest.raises(BackendBadResponse, match="not finite"):
        embedder.embed(["good", "bad"])
    assert cache.get(embedder.fingerprint(), ["good", "bad"]) == {}


def test_a_cached_vector_of_another_width_is_made_anew(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path)
    embedder = CachedEmbedder(Remembering(), cache)
    cache.put(embedder.fingerprint(), {"a": bytes(8)})
    np.testing.assert_array_equal(embedder.embed(["a"]), Remembering().embed(["a"]))


@given(st.lists(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=3, max_size=3), min_size=1, max_size=5))
def test_every_vector_leaves_with_length_one(rows: list[list[float]]) -> None:
    unit = embedding._normalised(np.array(rows, dtype=np.float32))
    for row, length in zip(rows, np.linalg.norm(unit, axis=1), strict=True):
        assert length == pytest.approx(1 if any(row) else 0, abs=1e-5)
