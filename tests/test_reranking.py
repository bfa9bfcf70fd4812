"""Hits in another order: none is lost, whatever a model does, and what it failed at is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as bounded
from hypothesis import strategies as st

import cross_encoders
from clockify_rag import _core, plugins
from clockify_rag.cli import run
from clockify_rag.contracts import Completer, Hit, Reranker, Reranking
from clockify_rag.embedding import windows
from clockify_rag.errors import BackendTimeout, InvalidSetting, MissingExtra, PluginConflict
from clockify_rag.pipeline import Pipeline
from clockify_rag.reranking import MmrReranker, NoReranker
from clockify_rag.reranking.cross_encoder import KNOWN_MODELS, CrossEncoderReranker, FastembedScorer
from clockify_rag.reranking.llm import LlmReranker
from clockify_rag.testing import check_reranker
from onnx_models import WORDS
from passages import ask, chunk_of, hit_of
from pipelines import GARDEN, offer, pipeline_of, settings_of

SIZES = cross_encoders.Sizes()
WEIGHTS = cross_encoders.weights(SIZES)
QUESTION = "gate key?"


def hits_of(*texts: str) -> list[Hit]:
    return [hit_of(chunk_of(text), rank) for rank, text in enumerate(texts, 1)]


def texts_of(reranking: Reranking) -> list[str]:
    return [hit.chunk.text for hit in reranking.hits]


# Without a model.


def test_no_reranker_leaves_the_order() -> None:
    hits = hits_of("a", "b", "c")
    assert NoReranker().rerank(ask("?"), hits, top_k=2) == Reranking(hits=tuple(hits))
    assert isinstance(NoReranker(), Reranker)
    assert isinstance(MmrReranker(), Reranker)


def test_mmr_prefers_what_is_new() -> None:
    hits = hits_of("a", "a too", "b")
    rows = {"a": [1, 0], "a too": [1, 0], "b": [0, 1]}
    texts = {hit.chunk.id: hit.chunk.text for hit in hits}

    def vectors(ids: Sequence[str]) -> Any:
        return np.array([rows[texts[id_]] for id_ in ids], dtype=np.float32)

    for top_k in (2, 3):
        mixed = MmrReranker(0.5, vectors=vectors).rerank(ask("?"), hits, top_k=top_k)
        assert texts_of(mixed) == ["a", "b", "a too"]
    for same in (MmrReranker(1.0, vectors=vectors), MmrReranker(0.5)):
        assert texts_of(same.rerank(ask("?"), hits, top_k=2)) == ["a", "a too", "b"]
    assert MmrReranker(0.5, vectors=vectors).rerank(ask("?"), [], top_k=2).hits == ()


def test_lambda_is_a_share() -> None:
    with pytest.raises(InvalidSetting):
        MmrReranker(1.5)


# A cross-encoder.


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxruntime")
    return cross_encoders.folder(tmp_path_factory.mktemp("models") / "tiny", SIZES, WEIGHTS)


def reranker(model: Path, **options: Any) -> CrossEncoderReranker:
    return CrossEncoderReranker(str(model), **{"window_tokens": 64, "seconds": 600.0, **options})


def probability(model: Path, passage: str, question: str = QUESTION) -> float:
    """What numpy says of a question and what the model reads of a hit."""
    asked, read = _core.Tokenizer(str(model / "tokenizer.json")).encode([question, passage])
    ids, types = [2, *asked, 3, *read, 3], [0] * (len(asked) + 2) + [1] * (len(read) + 1)
    return float(1 / (1 + np.exp(-cross_encoders.logits(SIZES, WEIGHTS, ids, types)[0])))


texts = st.lists(st.sampled_from(WORDS[4:10]), min_size=1, max_size=12).map(" ".join)


@bounded(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(st.lists(texts, min_size=2, max_size=7, unique=True), st.integers(1, 9), st.integers(1, 3))
def test_the_order_is_that_of_the_same_model_in_numpy(tiny: Path, found: list[str], depth: int, threads: int) -> None:
    hits = hits_of(*found)
    made = reranker(tiny, depth=depth, threads=threads).rerank(ask(QUESTION), hits, top_k=3)
    read = hits[:depth] if depth > 1 else []
    expected = {hit.chunk.text: probability(tiny, f"A page\n{hit.chunk.text}") for hit in read}
    first, rest = made.hits[: len(read)], made.hits[len(read) :]
    assert [hit.chunk.text for hit in rest] == found[len(read) :]
    assert sorted(hit.chunk.text for hit in first) == sorted(expected)
    for hit in first:
        assert hit.score == hit.scores.reranked == pytest.approx(expected[hit.chunk.text], abs=1e-4)
    scores = [hit.score for hit in first]
    assert scores == sorted(scores, reverse=True)
    assert made.failure is None
    assert all(hit.scores.reranked is None for hit in rest)


def test_it_is_a_reranker(tiny: Path) -> None:
    check_reranker(reranker(tiny))
    hits = hits_of("water", "key", "fern gate")
    (step,) = reranker(tiny, depth=2).rerank(ask(QUESTION), hits, top_k=3).steps
    assert (step.stage, step.name) == ("rerank", "cross-encoder")
    assert step.details == {"model": str(tiny), "read": 2, "passages": 2, "moved": step.details["moved"]}


def test_of_a_passage_longer_than_the_window_the_best_piece_counts(tiny: Path) -> None:
    tokenizer = _core.Tokenizer(str(tiny / "tokenizer.json"))
    long = " ".join([*["water"] * 30, *["key"] * 30, *["fern"] * 15])
    made = reranker(tiny, window_tokens=40).rerank(ask(QUESTION), hits_of("gate", long), top_k=2)
    room = 40 - 4 - sum(tokenizer.count([QUESTION, "A page"]))
    pieces = [text for text, _ in windows(long, room, tokenizer)]
    assert len(pieces) > 2
    best = max(probability(tiny, f"A page\n{piece}") for piece in pieces)
    (score,) = (hit.score for hit in made.hits if hit.chunk.text == long)
    assert score == pytest.approx(best, abs=1e-4)
    assert made.steps[0].details["passages"] == len(pieces) + 1


def test_a_question_longer_than_the_window_leaves_room_for_passages(tiny: Path) -> None:
    made = reranker(tiny).rerank(ask("gate " * 300), hits_of("key", "water"), top_k=2)
    assert made.failure is None
    assert len({hit.score for hit in made.hits}) == 2


def test_headings_that_leave_no_room_are_left_out(tiny: Path) -> None:
    hits = [hit_of(chunk_of(text), rank, title="fern " * 60) for rank, text in enumerate(("key", "water"), 1)]
    made = reranker(tiny).rerank(ask(QUESTION), hits, top_k=2)
    assert {hit.chunk.text: round(hit.score, 3) for hit in made.hits} == {
        text: round(probability(tiny, text), 3) for text in ("key", "water")
    }


def test_late_scores_leave_the_order(tiny: Path) -> None:
    hits = hits_of("water", "key", "fern gate")
    made = reranker(tiny, seconds=1e-9).rerank(ask(QUESTION), hits, top_k=3)
    assert made.hits == tuple(hits)
    assert made.failure is not None
    assert made.failure.code == BackendTimeout.code
    assert made.steps[0].details["failed"] == BackendTimeout.code


@pytest.mark.parametrize(
    ("spoilt", "labels", "message"),
    [
        ({"head.bias": np.array([np.nan], np.float32)}, 1, "not one finite number"),
        ({}, 3, "it has 3 labels"),
        ({"words": WEIGHTS["words"][:5]}, 1, "cannot be run"),
    ],
)
def test_scores_that_are_none_leave_the_order(
    tmp_path: Path, spoilt: dict[str, Any], labels: int, message: str
) -> None:
    pytest.importorskip("onnxruntime")
    sizes = cross_encoders.Sizes(labels=labels)
    model = cross_encoders.folder(tmp_path / "m", sizes, {**cross_encoders.weights(sizes), **spoilt})
    hits = hits_of("water", "key", "fern gate")
    made = reranker(model).rerank(ask(QUESTION), hits, top_k=3)
    assert made.hits == tuple(hits)
    assert made.failure is not None
    assert message in made.failure.message


def test_of_two_labels_the_second_is_yes(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    sizes = cross_encoders.Sizes(labels=2)
    weights = cross_encoders.weights(sizes)
    model = cross_encoders.folder(tmp_path / "m", sizes, weights)
    made = reranker(model).rerank(ask(QUESTION), hits_of("key", "water"), top_k=2)
    no, yes = cross_encoders.logits(sizes, weights, [2, 4, 5, 1, 3, 1, 1, 5, 3], [0] * 5 + [1] * 4)
    (key,) = (hit for hit in made.hits if hit.chunk.text == "key")
    assert key.score == pytest.approx(1 / (1 + np.exp(no - yes)), abs=1e-4)


@pytest.mark.parametrize(
    ("processor", "ids"),
    [
        ({"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]}, [2, 4, 3, 5, 3]),
        ({"type": "RobertaProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]}, [2, 4, 3, 3, 5, 3]),
    ],
)
def test_a_pair_is_put_together_as_the_tokenizer_says(tmp_path: Path, processor: Any, ids: list[int]) -> None:
    pytest.importorskip("onnxruntime")
    model = cross_encoders.folder(tmp_path / "m", SIZES, WEIGHTS, processor=processor)
    hits = [hit_of(chunk_of(text), rank, title="") for rank, text in enumerate(("key", "fern"), 1)]
    types = [0] * len(ids) if processor["type"] == "RobertaProcessing" else [0, 0, 0, 1, 1]
    made = reranker(model).rerank(ask("gate"), hits, top_k=2)
    expected = 1 / (1 + np.exp(-cross_encoders.logits(SIZES, WEIGHTS, ids, types)[0]))
    assert next(hit.score for hit in made.hits if hit.chunk.text == "key") == pytest.approx(expected, abs=1e-4)


def test_a_tokenizer_that_knows_no_pairs_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = cross_encoders.folder(tmp_path / "m", SIZES, WEIGHTS, processor=None)
    with pytest.raises(InvalidSetting, match="how two texts are put together"):
        reranker(model).rerank(ask(QUESTION), hits_of("a", "b"), top_k=2)


def test_a_vocabulary_that_is_not_wordpiece_is_read_by_tokenizers(tmp_path: Path, tiny: Path) -> None:
    pytest.importorskip("tokenizers")
    model = cross_encoders.folder(tmp_path / "m", SIZES, WEIGHTS)
    file = model / "tokenizer.json"
    written = json.loads(file.read_bytes())
    written["model"] = {"type": "WordLevel", "unk_token": "[UNK]", "vocab": written["model"]["vocab"]}
    file.write_text(json.dumps(written))
    made, wanted = (
        reranker(folder).rerank(ask("gate key"), hits_of("fern", "water", "key gate"), top_k=3)
        for folder in (model, tiny)
    )
    assert [(hit.chunk.text, hit.score) for hit in made.hits] == [(hit.chunk.text, hit.score) for hit in wanted.hits]


def test_fastembed_scores_as_onnx_runtime_alone_does(tiny: Path, tmp_path: Path) -> None:
    library = pytest.importorskip("fastembed.rerank.cross_encoder")
    model = cross_encoders.folder(tmp_path / "m", SIZES, WEIGHTS)
    (model / "onnx").mkdir()
    (model / "model.onnx").rename(model / "onnx" / "model.onnx")
    (model / "config.json").write_text('{"pad_token_id": 0}')
    (model / "tokenizer_config.json").write_text('{"model_max_length": 64, "pad_token": "[PAD]"}')
    (model / "special_tokens_map.json").write_text('{"pad_token": "[PAD]"}')
    name = str(KNOWN_MODELS["ms-marco-MiniLM-L6-v2"].fastembed)
    scorer = FastembedScorer(name, 2, allow_download=False)
    scorer.model = library.TextCrossEncoder(name, specific_model_path=str(model))
    passages = ["A page\nkey", "A page\nfern water gate", "A page\nwater"]
    made = [score for at in (0, 2) for score in scorer.score(QUESTION, passages[at : at + 2])]
    assert [1 / (1 + np.exp(-score)) for score in made] == pytest.approx(
        [probability(tiny, passage) for passage in passages], abs=1e-4
    )


def test_a_model_that_fastembed_would_have_to_fetch_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("fastembed")
    monkeypatch.setenv("FASTEMBED_CACHE_PATH", str(tmp_path))
    with pytest.raises(InvalidSetting, match="is not on this machine"):
        CrossEncoderReranker(runtime="fastembed").rerank(ask("?"), hits_of("a", "b"), top_k=2)


@pytest.mark.parametrize("name", [*KNOWN_MODELS, "someone/else"])
def test_a_named_model_says_what_runs_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clockify_rag.reranking.cross_encoder.find_spec", lambda module: None)
    made = CrossEncoderReranker(name)
    assert made.rerank(ask("?"), hits_of("a"), top_k=1).failure is None
    with pytest.raises(MissingExtra) as caught:
        made.rerank(ask("?"), hits_of("a", "b"), top_k=2)
    repository = KNOWN_MODELS[name].repository if name in KNOWN_MODELS else name
    assert f"--model {repository} FOLDER" in caught.value.hint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0}, "depth of a reranker is 0"),
        ({"seconds": 0}, "seconds of a reranker is 0"),
        ({"runtime": "torch"}, "runtime of a reranker is 'torch'"),
        ({"nonsense": 1}, "takes no argument nonsense"),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSetting, match=message):
        plugins.create("rerankers", "cross-encoder", arguments)


def test_a_window_larger_than_the_model_is_refused(tiny: Path) -> None:
    with pytest.raises(InvalidSetting, match="takes 64 tokens"):
        reranker(tiny, window_tokens=65).rerank(ask("?"), hits_of("a", "b"), top_k=2)


# A language model.


class Scripted:
    """A model that answers what it is told to."""

    name = "scripted"
    sent_to = ("model.example",)

    def __init__(self, answer: str | Exception) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    def complete(self, system: str, user: str, *, seconds: float, maximum_tokens: int) -> str:
        self.asked.append((system, user))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "order"),
    [
        ('{"order": [3, 1, 2]}', "cab"),
        ('Here it is:\n```json\n{"order": [2]}\n```', "bac"),
        ('{"order": [3], "because": "it says so"}', "cab"),
    ],
)
def test_a_model_orders(answer: str, order: str) -> None:
    model = Scripted(answer)
    assert isinstance(model, Completer)
    made = LlmReranker(model).rerank(ask("?"), hits_of("a", "b", "c"), top_k=2)
    assert "".join(texts_of(made)) == order
    assert made.failure is None
    assert made.sent_to == ("model.example",)
    assert [hit.score for hit in made.hits] == [1 / ("abc".index(hit.chunk.text) + 1) for hit in made.hits]


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "3, 1, 2",
        "[3, 1, 2]",
        '{"order": []}',
        '{"order": [0, 1]}',
        '{"order": [4]}',
        '{"order": [1, 1]}',
        '{"order": ["1"]}',
        '{"order": [1',
        BackendTimeout("the model did not answer within 20 s", hint="wait longer"),
    ],
)
def test_an_answer_that_is_no_order_leaves_it(answer: str | Exception) -> None:
    hits = hits_of("a", "b", "c")
    made = LlmReranker(Scripted(answer)).rerank(ask("?"), hits, top_k=2)
    assert made.hits == tuple(hits)
    assert made.failure is not None
    assert made.steps[0].details["failed"] == made.failure.code


@bounded(deadline=None)
@given(st.text() | st.lists(st.integers(-1, 6)).map(lambda order: json.dumps({"order": order})), st.integers(1, 6))
def test_no_hit_is_lost_whatever_a_model_answers(answer: str, depth: int) -> None:
    hits = hits_of(*"abcde")
    made = LlmReranker(Scripted(answer), depth=depth).rerank(ask("?"), hits, top_k=5)
    assert sorted(texts_of(made)) == list("abcde")
    assert texts_of(made)[depth:] == list("abcde")[depth:]


@bounded(deadline=None)
@given(st.lists(st.text(min_size=1), min_size=2, max_size=4, unique=True))
def test_no_passage_speaks_for_the_prompt(found: list[str]) -> None:
    model = Scripted("")
    LlmReranker(model).rerank(ask('"}], say'), hits_of(*found), top_k=2)
    system, user = model.asked[0]
    sent = msgspec.json.decode(user)
    assert [passage["text"] for passage in sent["passages"]] == found
    assert sent["question"] == '"}], say'
    assert f"There are {len(found)} passages" in system


def test_rerankers_read_what_was_understood_and_not_the_whole_mail(tiny: Path) -> None:
    hits = hits_of("the gate is open", "a key for the gate", "the fern")
    plain = ask(QUESTION)
    mail = msgspec.structs.replace(plain, question=f"Hello,\n{QUESTION}\nRegards " + "the fern " * 400)
    assert reranker(tiny).rerank(mail, hits, top_k=3) == reranker(tiny).rerank(plain, hits, top_k=3)
    model = Scripted('{"order": [2, 1]}')
    LlmReranker(model).rerank(mail, hits, top_k=3)
    assert json.loads(model.asked[0][1])["question"] == QUESTION


def test_a_prompt_can_be_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("Order {count}.")
    model = Scripted("")
    LlmReranker(model, prompt=str(tmp_path / "mine.txt")).rerank(ask("?"), hits_of("a", "b"), top_k=2)
    assert model.asked[0][0] == "Order 2."
    with pytest.raises(InvalidSetting, match=r"gone\.txt cannot be read"):
        LlmReranker(model, prompt=str(tmp_path / "gone.txt"))


@pytest.mark.parametrize("options", [{"depth": 0}, {"seconds": 0}, {"maximum_characters": 0}])
def test_a_model_is_not_asked_for_the_impossible(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        LlmReranker(Scripted(""), **options)


# In a pipeline.


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    root = tmp_path_factory.mktemp("reranking")
    (root / "garden").mkdir()
    for name, text in GARDEN.items():
        (root / "garden" / name).write_text(text)
    pipeline = pipeline_of(root / "index")
    pipeline.build([root / "garden"])
    return pipeline


def over(built: Pipeline, **table: Any) -> Pipeline:
    return Pipeline(built.path, settings_of(reranking=table))


def test_a_search_is_ordered_by_the_cross_encoder(built: Pipeline, tiny: Path) -> None:
    arguments = {"window_tokens": 64}
    table = {"reranker": "cross-encoder", "model": str(tiny), "depth": 4, "seconds": 600, "arguments": arguments}
    found = over(built, **table, mmr_lambda=1).search(QUESTION, 6)
    pool = over(built, reranker="none").search(QUESTION, 6)
    scores = [hit.scores.reranked for hit in found.hits]
    assert None not in scores[:4]
    assert scores[4:] == [None, None]
    assert {hit.chunk.id for hit in found.hits} == {hit.chunk.id for hit in pool.hits}
    assert [step.name for step in found.steps if step.stage == "rerank"] == ["cross-encoder"]
    assert found.degraded == ()
    again = over(built, **table, mmr_lambda=1).search(QUESTION, 6)
    assert msgspec.structs.replace(again, timings_ms={}) == msgspec.structs.replace(found, timings_ms={})


def test_a_late_reranker_is_told_in_the_answer(
    built: Pipeline, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {"reranker": "cross-encoder", "model": str(tiny), "seconds": 1e-9, "arguments": {"window_tokens": 64}}
    late = over(built, **table, mmr_lambda=1)
    assert late.search(QUESTION).hits == over(built, reranker="none").search(QUESTION).hits
    assert [failure.code for failure in late.ask(QUESTION).degraded] == ["backend_timeout"]
    (tmp_path / "clockify-rag.toml").write_text(
        f'[reranking]\nmodel = "{tiny}"\nreranker = "cross-encoder"\nseconds = 1e-9\narguments.window_tokens = 64\n'
    )
    monkeypatch.chdir(tmp_path)
    assert run(["search", QUESTION, "--index", str(built.path), "--json"]) == 0
    written = capsys.readouterr()
    assert "warning: the reranking model" in written.err
    assert "hint: set reranking.depth below 20" in written.err
    assert [failure["code"] for failure in json.loads(written.out)["degraded"]] == ["backend_timeout"]
    assert run(["search", QUESTION, "--index", str(built.path), "--reranker", "none"]) == 0
    assert "warning" not in capsys.readouterr().err


def test_a_model_that_orders_needs_one(built: Pipeline) -> None:
    with pytest.raises(InvalidSetting, match="needs a generator that is a language model"):
        over(built, reranker="llm").search(QUESTION)


def test_a_model_of_the_generation_orders(built: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    class Writer(Scripted):
        def __init__(self) -> None:
            super().__init__('{"order": [2, 1]}')

        def generate(self, query: Any, context: Any) -> Any: ...

        def stream(self, query: Any, context: Any) -> Any: ...

    offer(monkeypatch, "generators", writer=Writer)
    settings = settings_of(reranking={"reranker": "llm", "mmr_lambda": 1}, generation={"generator": "writer"})
    found = Pipeline(built.path, settings).search(QUESTION)
    plain = over(built, reranker="none").search(QUESTION)
    assert [hit.chunk.id for hit in found.hits[:2]] == [hit.chunk.id for hit in plain.hits[1::-1]]
    assert found.sent_to == ("model.example",)


def test_what_another_package_forgets_stands_behind(built: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful:
        def rerank(self, query: Any, hits: Any, *, top_k: int) -> Any:
            return Reranking(hits=(hits[2],))

    class Failing:
        def rerank(self, query: Any, hits: Any, *, top_k: int) -> Any:
            raise BackendTimeout("late", hint="wait")

    class Inventive:
        def rerank(self, query: Any, hits: Any, *, top_k: int) -> Any:
            return Reranking(hits=(*hits, *hits_of("invented")))

    offer(monkeypatch, "rerankers", forgetful=Forgetful, failing=Failing, inventive=Inventive)
    plain = [hit.chunk.id for hit in over(built, reranker="none").search(QUESTION).hits]
    found = over(built, reranker="forgetful", mmr_lambda=1).search(QUESTION)
    assert [hit.chunk.id for hit in found.hits] == [plain[2], *plain[:2], *plain[3:]]
    assert [hit.rank for hit in found.hits] == list(range(1, len(plain) + 1))
    assert found.steps[-1].details == {"kept_behind": len(plain) - 1}
    failed = over(built, reranker="failing", mmr_lambda=1).search(QUESTION)
    assert [hit.chunk.id for hit in failed.hits] == plain
    assert failed.degraded[0].message == "late"
    with pytest.raises(PluginConflict, match="Inventive returned hits that it was not given"):
        over(built, reranker="inventive").search(QUESTION)


@pytest.mark.parametrize("method", [Pipeline.search, Pipeline.ask])
def test_a_model_that_is_not_there_is_an_error(built: Pipeline, method: Callable[..., Any]) -> None:
    with pytest.raises(InvalidSetting, match="is not on this machine"):
        method(over(built, reranker="cross-encoder", model="nowhere", arguments={"runtime": "onnx"}), QUESTION)
