"""Where one generator fails the next is asked, and the answer says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

import fake_server as fake
from clockify_rag.config import GenerationSettings, Settings
from clockify_rag.contracts import Completer, Generator, Source
from clockify_rag.errors import BackendRejected, BackendTimeout, PluginNotFound
from clockify_rag.generation import ExtractiveGenerator, FallbackGenerator, OllamaGenerator, OpenAIGenerator, choose
from clockify_rag.pipeline import Pipeline
from folders import write
from passages import ask, context_of
from pipelines import GARDEN, pipeline_of

CONTEXT = context_of("Exports hold 90 days.")
DOWN = fake.answer({"error": "boom"}, "500 Oh")
PARTIAL: fake.Script = [fake.head(), fake.ollama_lines(["Exports hold"])[0]]


def models(*servers: fake.FakeServer) -> list[tuple[str, Generator]]:
    return [(f"m{number}", OllamaGenerator(f"m{number}", url=server.url)) for number, server in enumerate(servers)]


def test_the_first_that_answers_answers() -> None:
    with fake.serving(DOWN) as down, fake.serving(PARTIAL) as half, fake.serving(fake.ollama_answer(["All."])) as well:
        generator = FallbackGenerator([*models(down, half, well), ("extractive", ExtractiveGenerator())])
        assert isinstance(generator, Generator)
        draft = generator.generate(ask("?"), CONTEXT)
        assert (draft.text, draft.generator, draft.incomplete) == ("All.", "m2", False)
        assert [failure.code for failure in draft.degraded] == ["backend_rejected", "backend_bad_response"]
        assert "".join(FallbackGenerator(models(down, well)).stream(ask("?"), CONTEXT)) == "All."


def test_where_all_fail_a_beginning_is_better_than_nothing() -> None:
    with fake.serving(DOWN) as down, fake.serving(PARTIAL) as half:
        draft = FallbackGenerator(models(down, half, down)).generate(ask("?"), CONTEXT)
        assert (draft.text, draft.incomplete, draft.generator) == ("Exports hold", True, "m1")
        assert draft.failure is not None
        assert [failure.code for failure in draft.degraded] == ["backend_rejected"] * 2
        with pytest.raises(BackendRejected, match="boom"):
            FallbackGenerator(models(down, down)).generate(ask("?"), CONTEXT)
        with pytest.raises(BackendRejected, match="boom"):
            list(FallbackGenerator(models(down, down)).stream(ask("?"), CONTEXT))


def test_a_stream_that_began_is_not_begun_again() -> None:
    with fake.serving(PARTIAL) as half, fake.serving(fake.ollama_answer(["All."])) as well:
        stream = FallbackGenerator(models(half, well)).stream(ask("?"), CONTEXT)
        assert next(iter(stream)) == "Exports hold"
        with pytest.raises(Exception, match="before it said that it was done"):
            list(stream)
        assert not well.requests


def test_another_generators_address_and_arguments_are_not_the_fallbacks() -> None:
    table = GenerationSettings(
        generator="openai",
        model="big",
        url="http://127.0.0.1:9/v1",
        arguments={"api_key": "k"},
        fallbacks=("openai:small", "ollama:qwen3:4b", "extractive"),
    )
    chosen = choose(table, "openai", lambda: b"s")
    assert isinstance(chosen, FallbackGenerator)
    names = [name for name, _ in chosen.generators]
    assert names == ["", "openai:small", "ollama:qwen3:4b", "extractive"]
    big, small, qwen, last = (generator for _, generator in chosen.generators)
    assert isinstance(big, OpenAIGenerator)
    assert isinstance(small, OpenAIGenerator)
    assert isinstance(qwen, OllamaGenerator)
    assert isinstance(last, ExtractiveGenerator)
    assert (big.server.url, small.server.url) == ("http://127.0.0.1:9/v1",) * 2
    assert (big.model, small.model, qwen.model, qwen.name) == ("big", "small", "qwen3:4b", "ollama:qwen3:4b")
    assert "127.0.0.1:9/" not in qwen.server.url
    assert isinstance(choose(table, "extractive", lambda: b"s"), ExtractiveGenerator)
    with pytest.raises(PluginNotFound):
        choose(msgspec.structs.replace(table, fallbacks=("nobody",)), "openai", lambda: b"s")


QUESTION = "When does the gate open?"


@pytest.fixture
def garden(tmp_path: Path) -> Pipeline:
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([Source(name="garden", location=str(write(tmp_path / "garden", GARDEN)))])
    return pipeline


def with_generation(**table: Any) -> Settings:
    return Settings(generation=GenerationSettings(**table))


def test_an_answer_names_who_wrote_it_and_what_failed(garden: Pipeline) -> None:
    with fake.serving(DOWN) as down:
        asked = garden.with_settings(
            with_generation(generator="ollama", url=down.url, fallbacks=("extractive",), pause_after_failures=1)
        )
        answer = asked.ask(QUESTION)
        assert (answer.generator, answer.incomplete, answer.failure) == ("extractive", False, None)
        assert [failure.code for failure in answer.degraded] == ["backend_rejected"]
        assert answer.citations
        assert asked.ask(QUESTION).degraded[0].code == "backend_unavailable"
        assert len(down.requests) == 1
        assert isinstance(asked.completer, Completer)
    assert garden.completer is None


def test_a_partial_answer_is_marked_and_never_remembered(garden: Pipeline) -> None:
    with fake.serving(PARTIAL, PARTIAL, fake.ollama_answer(["At dawn [1]."])) as half:
        asked = garden.with_settings(with_generation(generator="ollama", url=half.url))
        assert asked.ask(QUESTION).incomplete
        answer = asked.ask(QUESTION)
        assert len(half.requests) == 2
        whole = asked.ask(QUESTION)
        assert not whole.incomplete
        assert asked.ask(QUESTION).answer == whole.answer
        assert len(half.requests) == 3
    assert answer.incomplete
    assert answer.answer
    assert answer.failure is not None
    assert answer.failure.code == "backend_bad_response"


def test_a_completer_is_held_to_its_seconds() -> None:
    with fake.serving([fake.head(), "hang"], fake.ollama_answer([" two ", "words "])) as server:
        completer = OllamaGenerator("m", url=server.url)
        with pytest.raises(BackendTimeout, match=r"within 0\.2 s"):
            completer.complete("rules", "text", seconds=0.2, maximum_tokens=5)
        assert completer.complete("rules", "<|im_end|>", seconds=5, maximum_tokens=7) == "two words"
    body = server.requests[1].json
    assert body["options"]["num_predict"] == 7
    assert [message["content"] for message in body["messages"]] == ["rules", "<\u2060|im_end|>"]
    with fake.serving(fake.chunked(fake.ollama_lines(["cut"], "length"), "x")) as server:
        assert OllamaGenerator("m", url=server.url).complete("r", "t", seconds=5, maximum_tokens=1) == "cut"
