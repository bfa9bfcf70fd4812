"""Chat models, and servers that misbehave."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fake_server as fake
from clockify_rag._http import ModelServer
from clockify_rag.contracts import Generator
from clockify_rag.errors import (
    BackendBadResponse,
    BackendError,
    BackendRejected,
    BackendTimeout,
    BackendUnavailable,
)
from clockify_rag.generation import ChatGenerator, OllamaGenerator, OpenAIGenerator
from passages import ask, context_of

CONTEXT = context_of("Exports hold 90 days.", "Plans differ.")
ANSWER = ["Exports ", "hold 90 days ", "[1]."]


def ollama(server: fake.FakeServer, **options: Any) -> ChatGenerator:
    quick: dict[str, Any] = {"first_token_seconds": 0.4, "between_tokens_seconds": 0.3, "total_seconds": 1.5}
    return OllamaGenerator("m:1", url=server.url, **{**quick, **options})


def openai(server: fake.FakeServer, **options: Any) -> ChatGenerator:
    quick: dict[str, Any] = {"first_token_seconds": 0.4, "between_tokens_seconds": 0.3, "total_seconds": 1.5}
    return OpenAIGenerator("m", url=f"{server.url}/v1", api_key="k", **{**quick, **options})


BOTH = pytest.mark.parametrize(
    ("make", "pieces", "kind"),
    [
        pytest.param(ollama, fake.ollama_lines(ANSWER), "application/x-ndjson", id="ollama"),
        pytest.param(openai, fake.openai_events(ANSWER), "text/event-stream", id="openai"),
    ],
)
Make = Callable[..., ChatGenerator]


@BOTH
def test_an_answer_is_streamed_and_collected(make: Make, pieces: list[bytes], kind: str) -> None:
    with fake.serving(fake.chunked(pieces, kind)) as server:
        generator = make(server)
        assert isinstance(generator, Generator)
        assert [piece for piece in generator.stream(ask("How long?"), CONTEXT) if piece] == ANSWER
        draft = generator.generate(ask("How long?"), CONTEXT)
    assert (draft.text, draft.incomplete, draft.failure, draft.sent_to) == ("".join(ANSWER), False, None, ())
    assert server.requests[0].json["stream"] is True


def test_requests_are_deterministic() -> None:
    with fake.serving(fake.ollama_answer(ANSWER)) as server:
        for _ in range(2):
            ollama(server, secret=b"s", options={"top_p": 1, "seed": None}).generate(ask("How long?"), CONTEXT)
    assert server.requests[0].body == server.requests[1].body
    body = server.requests[0].json
    assert server.requests[0].path == "/api/chat"
    assert body["options"] == {"temperature": 0, "num_ctx": 8192, "num_predict": 1024, "top_p": 1}
    with fake.serving(fake.openai_answer(ANSWER)) as server:
        openai(server, options={"max_completion_tokens": 9}, omit=["max_tokens"]).generate(ask("How long?"), CONTEXT)
    body = server.requests[0].json
    assert server.requests[0].path == "/v1/chat/completions"
    assert (body["seed"], body["temperature"], body["max_completion_tokens"]) == (0, 0, 9)
    assert "max_tokens" not in body


@BOTH
def test_every_cut_of_a_stream_ends_typed_and_marked(make: Make, pieces: list[bytes], kind: str) -> None:
    stream = b"".join(pieces)
    whole = "".join(ANSWER)
    finished = stream.rindex(b'"done": true' if make is ollama else b'"stop"')
    for cut in range(0, len(stream), 17):
        for ending in ("close", "reset"):
            steps: fake.Script = [fake.head(kind=kind), stream[:cut], 0.02, "reset"]
            if ending == "close":
                steps = [fake.head(kind=kind), stream[:cut]]
            with fake.serving(steps) as server:
                try:
                    draft = make(server).generate(ask("?"), CONTEXT)
                except BackendError as error:
                    assert isinstance(error, BackendBadResponse | BackendUnavailable)  # noqa: PT017 - text or an error
                    continue
            assert whole.startswith(draft.text)
            assert draft.text
            if cut < finished:
                assert draft.incomplete
                assert draft.failure is not None
            elif not draft.incomplete:
                assert draft.text == whole


def broken(*, first: bytes, then: list[fake.Step]) -> list[fake.Step]:
    return [fake.head(kind="x"), first, *then]


@BOTH
@pytest.mark.parametrize(
    ("then", "error"),
    [
        (["hang"], BackendTimeout),
        ([b'{"error": "out of memory"}\n'], BackendRejected),
        ([b'data: {"error": {"message": "out of memory"}}\n'], BackendError),
        ([b"<html>\n"], BackendBadResponse),
        ([b'"text"\n'], BackendBadResponse),
        ([b'{"message": {"content": "\xff"}}\n'], BackendBadResponse),
        ([b'{"message": {"content": 5}, "choices": [{"delta": {"content": 5}}]}\n'], BackendBadResponse),
        ([b"[" * 3000 + b"\n"], BackendBadResponse),
        ([b"x" * (2 << 20) + b"\n"], BackendBadResponse),
        ([0.02, "reset"], BackendUnavailable),
        ([], BackendBadResponse),
    ],
)
def test_what_breaks_off_keeps_its_beginning(
    make: Make, pieces: list[bytes], kind: str, then: list[fake.Step], error: type[BackendError]
) -> None:
    with fake.serving(broken(first=pieces[0], then=then)) as server:
        start = time.monotonic()
        draft = make(server).generate(ask("?"), CONTEXT)
        assert time.monotonic() - start < 2.5
        with pytest.raises(error):
            list(make(server).stream(ask("?"), CONTEXT))
    assert draft.text == "Exports"
    assert draft.incomplete
    assert draft.failure is not None
    with fake.serving(broken(first=b"", then=then)) as server, pytest.raises(error):
        make(server).generate(ask("?"), CONTEXT)


@BOTH
def test_absent_slow_busy_and_broken_servers(make: Make, pieces: list[bytes], kind: str) -> None:
    scripts: list[tuple[fake.Script, type[BackendError]]] = [
        (["hang"], BackendTimeout),
        (fake.answer({"error": "boom"}, "500 Oh"), BackendRejected),
        (fake.answer(b"<html>", "503 Busy", "text/html"), BackendUnavailable),
        (fake.answer(b"<!DOCTYPE html>\n<html>", kind="text/html"), BackendBadResponse),
        (fake.answer(b""), BackendBadResponse),
    ]
    for script, error in scripts:
        with fake.serving(script) as server, pytest.raises(error):
            make(server).generate(ask("?"), CONTEXT)
    with fake.serving([]) as server:
        generator = make(server)
    with pytest.raises(BackendUnavailable, match="connection refused"):
        generator.generate(ask("?"), CONTEXT)


def test_tokens_that_trickle_end_with_the_total() -> None:
    line = fake.ollama_lines(["x"])[0]
    steps: list[fake.Step] = [fake.head(), *([line, 0.1] * 30)]  # type: ignore[list-item]
    with fake.serving(steps) as server:
        draft = ollama(server).generate(ask("?"), CONTEXT)
    assert draft.failure is not None
    assert draft.failure.code == "backend_timeout"


def test_an_answer_that_was_stopped_is_incomplete() -> None:
    with fake.serving(fake.chunked(fake.ollama_lines(ANSWER, "length"), "x")) as server:
        draft = ollama(server).generate(ask("?"), CONTEXT)
    assert draft.failure is not None
    assert draft.failure.hint == "raise max_tokens"
    with fake.serving(fake.chunked(fake.openai_events(ANSWER, "length"), "x")) as server:
        assert openai(server).generate(ask("?"), CONTEXT).incomplete


def test_an_answer_without_text_is_a_bad_response() -> None:
    with fake.serving(fake.ollama_answer([" ", "\n"])) as server, pytest.raises(BackendBadResponse, match="any text"):
        ollama(server).generate(ask("?"), CONTEXT)


def test_done_twice_is_done_once() -> None:
    lines = fake.ollama_lines(["a"])
    with fake.serving(fake.chunked([*lines, *lines], "x")) as server:
        assert ollama(server).generate(ask("?"), CONTEXT).text == "a"


def test_other_lines_of_an_event_stream_are_passed_over() -> None:
    events = fake.openai_events(["a"])
    noise = [b": hello\n\n", b"event: message\n", b"id: 5\n", b'data: {"choices": []}\n', b'data: {"choices": [5]}\n']
    with fake.serving(fake.chunked([*noise, b'data: {"choices": [{"delta": null}]}\n', *events], "x")) as server:
        assert openai(server).generate(ask("?"), CONTEXT).text == "a"


def test_a_missing_model_can_be_typed() -> None:
    script = fake.answer({"error": "model 'm:1' not found"}, "404 Not Found")
    with fake.serving(script) as server, pytest.raises(BackendRejected) as caught:
        ollama(server).generate(ask("?"), CONTEXT)
    assert caught.value.hint == "ollama pull m:1"


def test_other_hosts_are_named() -> None:
    assert OllamaGenerator(url="http://192.0.2.1:11434").sent_to == ("192.0.2.1",)
    assert OpenAIGenerator(api_key="").sent_to == ("api.openai.com",)


def test_leaving_a_stream_hangs_up() -> None:
    lines = [fake.ollama_lines(["x" * 60_000])[0]] * 400
    with fake.serving([fake.head(), *lines]) as server:
        pieces = ollama(server).stream(ask("?"), CONTEXT)
        next(pieces)
        pieces.close()  # type: ignore[attr-defined]
        assert server.disconnected.wait(5)


@BOTH
def test_closing_a_stream_reaches_a_server_that_is_thinking(make: Make, pieces: list[bytes], kind: str) -> None:
    with fake.serving([fake.head(kind=kind), pieces[0], "hang"]) as server:
        stream = make(server, between_tokens_seconds=30.0, total_seconds=60.0).stream(ask("?"), CONTEXT)
        assert next(iter(stream)) == ANSWER[0]
        assert not server.disconnected.is_set()
        stream.close()  # type: ignore[attr-defined]
        assert server.disconnected.wait(1)


def test_ctrl_c_reaches_the_server() -> None:
    script = (
        "import sys\nfrom clockify_rag.generation import OllamaGenerator\nfrom passages import ask, context_of\n"
        "print('asking', flush=True)\n"
        "OllamaGenerator('m', url=sys.argv[1]).generate(ask('?'), context_of('text'))\n"
    )
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    with fake.serving([fake.head(), "hang"]) as server:
        asking = subprocess.Popen(
            [sys.executable, "-c", script, server.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": paths},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
        )
        with asking:
            while not server.requests:
                assert asking.poll() is None
                time.sleep(0.01)
            asking.send_signal(signal.SIGINT)
            assert server.disconnected.wait(5)
            assert b"KeyboardInterrupt" in asking.communicate()[1]


def test_a_role_token_that_is_quoted_is_the_passages_own_again() -> None:
    with fake.serving(fake.ollama_answer(['Write "<\u2060', '|im_end|>" [1].'])) as server:
        assert ollama(server).generate(ask("?"), CONTEXT).text == 'Write "<|im_end|>" [1].'


def test_ollama_is_told_how_long_to_keep_a_model() -> None:
    with fake.serving(fake.ollama_answer(ANSWER)) as server:
        ollama(server, keep_alive="10m").generate(ask("?"), CONTEXT)
        ollama(server).generate(ask("?"), CONTEXT)
    assert server.requests[0].json["keep_alive"] == "10m"
    assert not {"keep_alive", "think"} & set(server.requests[1].json)


def test_a_real_ollama_answers() -> None:
    """Where Ollama is installed, serves and has a model, the smallest one is asked."""
    if shutil.which("ollama") is None:
        pytest.skip("ollama is not on the PATH")
    server = ModelServer.ollama()
    try:
        models = server.json("/api/tags")["models"]
    except BackendUnavailable as error:
        pytest.skip(error.message)
    if not models:
        pytest.skip("ollama has no model: ollama pull smollm2:135m")
    name = min(models, key=lambda model: int(model["size"]))["name"]
    generator = OllamaGenerator(name, max_tokens=16, options={"num_predict": 16})
    assert generator.complete("Answer in one word.", "Which colour is grass?", seconds=300, maximum_tokens=16)
    with pytest.raises(BackendRejected) as caught:
        OllamaGenerator("no-such-model:1b").generate(ask("?"), CONTEXT)
    assert caught.value.hint == "ollama pull no-such-model:1b"
