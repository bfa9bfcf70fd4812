"""The embedder that runs a transformer by ONNX Runtime: its tokens, its vectors, and folders that cannot be used."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import onnx_models
from clockify_rag import _core, plugins
from clockify_rag.contracts import Embedder
from clockify_rag.embedding.onnx import OnnxEmbedder
from clockify_rag.errors import BackendBadResponse, InvalidSetting, MissingExtra
from clockify_rag.explaining import explain
from clockify_rag.pipeline import Pipeline
from clockify_rag.testing import check_embedder
from pipelines import GARDEN, pipeline_of

PUBLISHED = (0.0069031, -0.0630234, -0.0720440)
"""The first numbers of all-MiniLM-L6-v2's vector of the question below, in full precision."""
QUESTION = "How do I reset my password?"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    pytest.importorskip("onnxruntime")
    return onnx_models.folder(tmp_path / "minilm-tiny")


def mean_of(*tokens: int) -> Any:
    row = np.mean([onnx_models.vector(token) for token in tokens], axis=0)
    return row / np.linalg.norm(row)


# The vectors.


def test_a_vector_is_the_mean_of_its_tokens(tiny: Path) -> None:
    embedder = OnnxEmbedder(str(tiny), passage_prefix="query:")
    rows = embedder.embed(["Gates, key", "", "keys"])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows[0], mean_of(2, 11, 10, 4, 9, 1, 5, 3), atol=1e-6)
    assert not rows[1].any()
    np.testing.assert_allclose(rows[2], mean_of(2, 11, 10, 5, 9, 3), atol=1e-6)
    np.testing.assert_allclose(embedder.embed_questions(["key"])[0], mean_of(2, 5, 3), atol=1e-6)
    assert embedder.dimension == 4
    assert isinstance(embedder, Embedder)
    check_embedder(embedder)


@pytest.mark.parametrize(
    ("name", "files", "arguments", "tokens"),
    [
        ("bge-small-en", {}, {"question_prefix": ""}, (2,)),
        ("bge-small-en", {}, {"question_prefix": "", "pooling": "mean"}, (2, 5, 3)),
        ("a", {"1_Pooling/config": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}}, {}, (2,)),
        ("bge-small", {"1_Pooling/config": {"pooling_mode_mean_tokens": True}}, {"question_prefix": ""}, (2, 5, 3)),
        ("a", {"processor": None}, {}, (5,)),
        ("a", {"processor": {"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]}}, {}, (2, 5, 3)),
        ("a", {"inputs": ("input_ids",)}, {}, (2, 5, 3)),
    ],
)
def test_the_folder_says_what_is_pooled(
    tmp_path: Path, name: str, files: dict[str, Any], arguments: dict[str, Any], tokens: tuple[int, ...]
) -> None:
    pytest.importorskip("onnxruntime")
    model = onnx_models.folder(tmp_path / name, **files)
    row = OnnxEmbedder(str(model), **arguments).embed_questions(["key"])[0]
    np.testing.assert_allclose(row, mean_of(*tokens), atol=1e-6)


def test_a_model_may_lie_in_a_folder_of_its_own(tiny: Path) -> None:
    (tiny / "onnx").mkdir()
    (tiny / "model.onnx").rename(tiny / "onnx" / "model.onnx")
    assert OnnxEmbedder(str(tiny)).dimension == 4
    assert OnnxEmbedder(str(tiny), file="onnx/model.onnx").dimension == 4


@pytest.mark.parametrize(
    ("name", "files", "window"),
    [
        ("all-MiniLM-L6-v2", {"sentence_bert_config": {"max_seq_length": 9}}, 9),
        ("all-MiniLM-L6-v2", {"config": {"max_position_embeddings": 512}}, 256),
        ("other", {"config": {"max_position_embeddings": 512}}, 512),
        ("other", {}, None),
    ],
)
def test_the_window_is_the_models(tmp_path: Path, name: str, files: dict[str, Any], window: int | None) -> None:
    pytest.importorskip("onnxruntime")
    embedder = OnnxEmbedder(str(onnx_models.folder(tmp_path / name, **files)))
    embedder.embed(["key"])
    assert embedder.window_tokens == window


def test_a_longer_text_is_the_mean_of_its_windows(tiny: Path) -> None:
    embedder = OnnxEmbedder(str(tiny), window_tokens=10)
    row = embedder.embed(["gate " * 8 + "key " * 4])[0]
    np.testing.assert_allclose(row, _unit(8 * mean_of(2, *[4] * 8, 3) + 4 * mean_of(2, *[5] * 4, 3)), atol=1e-6)
    assert embedder.windowed == 1


def _unit(row: Any) -> Any:
    return row / np.linalg.norm(row)


# The real model.


def test_minilm_is_near_what_is_published(minilm: Path) -> None:
    row = OnnxEmbedder(str(minilm)).embed_questions([QUESTION])[0]
    assert row.shape == (384,)
    np.testing.assert_allclose(row[:3], PUBLISHED, atol=0.01)


def test_a_vector_depends_on_its_text_alone(minilm: Path) -> None:
    texts = [QUESTION, "Invoices", "The quick brown fox jumps over the lazy dog. " * 40, "Password of a guest " * 9]
    one, many = OnnxEmbedder(str(minilm), threads=1), OnnxEmbedder(str(minilm), threads=4)
    together = one.embed(texts)
    np.testing.assert_array_equal(many.embed(texts), together)
    np.testing.assert_array_equal(np.concatenate([many.embed([text]) for text in texts]), together)
    assert one.windowed == 1
    assert one.window_tokens == 256
    assert one.fingerprint() == many.fingerprint()
    check_embedder(one)


@pytest.fixture(scope="session")
def oracle(data: Path) -> tuple[Any, _core.Tokenizer]:
    """The package ``tokenizers`` and the core over one file."""
    tokenizers = pytest.importorskip("tokenizers")
    file = data.parent / "models" / "minilm-onnx-int8" / "tokenizer.json"
    if not file.is_file():
        pytest.skip(f"there is no {file}")
    theirs = tokenizers.Tokenizer.from_file(str(file))
    theirs.no_padding()
    theirs.no_truncation()
    return theirs, _core.Tokenizer(str(file))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.text(max_size=60) | st.text(alphabet="aé文 .#[CLSEP]'-\n", max_size=60), max_size=5))
def test_tokens_are_those_of_tokenizers(oracle: tuple[Any, _core.Tokenizer], texts: list[str]) -> None:
    theirs, ours = oracle
    expected = [encoded.ids for encoded in theirs.encode_batch(texts, add_special_tokens=False)]
    assert ours.encode(texts) == expected
    assert ours.count(texts) == [len(ids) for ids in expected]


def test_tokens_of_pages_are_those_of_tokenizers(data: Path, oracle: tuple[Any, _core.Tokenizer]) -> None:
    theirs, ours = oracle
    pages = [
        page.read_text(encoding="utf-8") for page in sorted((data / "clockify" / "kb_markdown").rglob("*.md"))[:60]
    ]
    assert pages
    assert ours.encode(pages) == [theirs.encode(page, add_special_tokens=False).ids for page in pages]


# In an index.


def test_an_index_is_built_and_searched_with_it(tmp_path: Path, tiny: Path) -> None:
    pages = tmp_path / "garden"
    pages.mkdir()
    for name, text in GARDEN.items():
        (pages / name).write_text(text)
    pipeline = pipeline_of(tmp_path / "index", embedding={"embedder": "onnx", "model": str(tiny)})
    pipeline.build([pages])
    assert pipeline.index.info()["embedder"]["name"] == f"onnx:{tiny}"
    again = pipeline_of(tmp_path / "index")
    found = again.search("Who has a key?")
    assert not found.lexical_only
    assert explain(again, "Who has a key?").fusion.dense_weight == 2.3


def test_the_folder_is_named_when_it_is_gone(tmp_path: Path, tiny: Path) -> None:
    pages = tmp_path / "garden"
    pages.mkdir()
    (pages / "gate.md").write_text(GARDEN["gate.md"])
    pipeline_of(tmp_path / "index", embedding={"embedder": "onnx", "model": str(tiny)}).build([pages])
    tiny.rename(tmp_path / "elsewhere")
    with pytest.raises(InvalidSetting, match="minilm-tiny of the embedding model is not on this machine"):
        Pipeline.open(tmp_path / "index").search("gate")
    assert Pipeline.open(tmp_path / "index").search("gate", lexical=True).hits


# What cannot be used.


def test_nothing_is_loaded_before_it_is_used(tmp_path: Path) -> None:
    embedder = plugins.create("embedders", "onnx", {"threads": 2}, model=str(tmp_path / "nowhere"))
    assert embedder.workers == 2
    pytest.importorskip("onnxruntime")
    with pytest.raises(InvalidSetting, match="is not on this machine") as caught:
        embedder.embed(["a"])
    assert "optimum-cli export onnx" in caught.value.hint


def test_a_missing_extra_names_it(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra) as caught:
        OnnxEmbedder(str(tiny)).embed(["a"])
    assert caught.value.hint == 'pip install "clockify-rag[onnx]"'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "needs the folder of a model"),
        ({"model": "m", "pooling": "max"}, "pooling of an embedder is 'max'"),
        ({"model": "m", "threads": 0}, "threads of an embedder is 0"),
        ({"model": "m", "window_tokens": -1}, "window_tokens"),
        ({"model": "m", "batch_size": 3}, "takes no argument batch_size"),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        plugins.create("embedders", "onnx", arguments)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.onnx", None, "has no model.onnx"),
        ("tokenizer.json", None, "has no tokenizer.json"),
        ("model.onnx", b"no model", "model.onnx cannot be loaded"),
        ("tokenizer.json", b"{", "cannot be used"),
        ("tokenizer.json", b'{"model": {"type": "BPE"}}', "cannot be used"),
        ("config.json", b"[", "config.json cannot be read"),
        ("modules.json", json.dumps([{"type": "sentence_transformers.models.Dense"}]).encode(), "models.Dense"),
        ("1_Pooling/config.json", b'{"pooling_mode_max_tokens": true}', "pooling is pooling_mode_max_tokens"),
    ],
)
def test_a_folder_that_cannot_be_used_is_named(tiny: Path, name: str, content: bytes | None, message: str) -> None:
    (tiny / "1_Pooling").mkdir()
    (tiny / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    elsewhere = tiny.rename(tiny.parent / "other")
    if content is None:
        (elsewhere / name).unlink()
    else:
        (elsewhere / name).write_bytes(content)
    with pytest.raises(InvalidSetting, match=message) as caught:
        OnnxEmbedder(str(elsewhere)).embed(["gate"])
    assert caught.value.hint


def test_an_input_that_is_not_known_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = onnx_models.folder(tmp_path / "m", inputs=("input_ids", "position_ids"))
    with pytest.raises(InvalidSetting, match="it asks for the input position_ids"):
        OnnxEmbedder(str(model)).embed(["gate"])


def test_a_model_with_fewer_tokens_than_its_tokenizer_is_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = onnx_models.folder(tmp_path / "m", rows=[[1.0, 2.0]] * 4)
    with pytest.raises(BackendBadResponse, match="cannot embed 3 tokens"):
        OnnxEmbedder(str(model)).embed(["gate"])


@pytest.mark.parametrize(
    ("number", "message"), [(float("nan"), "not finite"), (float("inf"), "not finite"), (0.0, "zeros")]
)
def test_a_model_that_computes_nonsense_is_refused(tmp_path: Path, number: float, message: str) -> None:
    pytest.importorskip("onnxruntime")
    model = onnx_models.folder(tmp_path / "m", rows=[[number, number]] * len(onnx_models.WORDS))
    with pytest.raises(BackendBadResponse, match=message):
        OnnxEmbedder(str(model)).embed(["gate"])
