"""The client of model servers against a server that misbehaves in every way we know of."""

from __future__ import annotations

import pickle
import sys
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fake_server as fake
from clockify_rag._http import Clock, Deadlines, ModelServer, error_text, loopback, ollama_url, sent_to
from clockify_rag.errors import (
    BackendBadResponse,
    BackendError,
    BackendRejected,
    BackendTimeout,
    BackendUnavailable,
    InvalidSetting,
)

QUICK = Deadlines(connect=1.0, first=0.4, between=0.3, total=1.0)


def _repeat(times: int, *steps: fake.Step) -> list[fake.Step]:
    return list(steps) * times


KEY = "sk-very-secret-0123456789"


def client(server: fake.FakeServer, **options: Any) -> ModelServer:
    return ModelServer(server.url, **{"deadlines": QUICK, "api_key": KEY, "start_hint": "ollama serve", **options})


def test_a_json_answer_arrives_and_the_key_travels_in_its_header() -> None:
    with fake.serving(fake.answer({"ok": [1, 2]})) as server:
        assert client(server).json("/api/x", {"a": "ü"}) == {"ok": [1, 2]}
        request = server.requests[0]
    assert (request.method, request.path, request.json) == ("POST", "/api/x", {"a": "ü"})
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["accept-encoding"] == "identity"


def test_trying_again_after_the_deadline_is_no_error_of_its_own() -> None:
    now = [0.0]
    clock = Clock(Deadlines(first=1.0), lambda: now[0])
    assert clock.wait(0.0)
    now[0] = 2.0
    assert not clock.wait(0.0)


def test_without_a_body_the_request_is_a_get() -> None:
    with fake.serving(fake.answer({})) as server:
        assert ModelServer(server.url).json("/api/tags") == {}
        assert server.requests[0].method == "GET"
        assert "authorization" not in server.requests[0].headers


def test_lines_arrive_before_the_answer_ends_however_it_is_framed() -> None:
    for framing in (
        fake.chunked([b'{"a":1}\r\n', b'{"b"', b":2}\n\n: alive\n"], "x"),
        [fake.head(), b'{"a":1}\n{"b":2}'],
    ):
        with fake.serving([*framing[:2], 0.05, *framing[2:]]) as server:
            assert list(client(server).lines("/", {})) == [b'{"a":1}', b'{"b":2}']


def test_leaving_a_stream_early_hangs_up() -> None:
    with fake.serving([fake.head(), b"1\n", *([b"x" * 65_536 + b"\n"] * 400)]) as server:
        lines = client(server).lines("/", {})
        assert next(lines) == b"1"
        lines.close()
        assert server.disconnected.wait(5)


DRIBBLE: list[fake.Step] = [b"x", 0.05] * 100

MISBEHAVIOURS: dict[str, tuple[fake.Script, type[BackendError], str]] = {
    "silent": (["hang"], BackendTimeout, "sent nothing within 0.4 s"),
    "half a head": ([b"HTTP/1.1 200 OK\r\nContent-", "hang"], BackendTimeout, "sent nothing"),
    "a dribbled head": ([b"HTTP/1.1 200 OK\r\nX-Y: ", *DRIBBLE], BackendTimeout, "sent nothing"),
    "no body": ([fake.head(Content_Length="9"), "hang"], BackendTimeout, "sent nothing"),
    "a stall": ([fake.head(Content_Length="9"), b"{\n", "hang"], BackendTimeout, "stopped for more than 0.3 s"),
    "closed at once": (["close"], BackendUnavailable, "closed|broke"),
    "reset at once": (["reset"], BackendUnavailable, "broke"),
    "reset in the body": ([fake.head(Content_Length="9"), b"{", "reset"], BackendUnavailable, "broke|closed"),
    "cut body": ([fake.head(Content_Length="9"), b"{"], BackendUnavailable, "closed before the answer was complete"),
    "cut chunk": ([fake.head(Transfer_Encoding="chunked"), b"9\r\n{"], BackendUnavailable, "closed before"),
    "a bad chunk": ([fake.head(Transfer_Encoding="chunked"), b"zz\r\n{"], BackendUnavailable, "closed before"),
    "not HTTP": ([b"SSH-2.0-x\r\n\r\n"], BackendBadResponse, "not HTTP"),
    "500": (fake.answer({"error": "boom"}, "500 Internal Server Error"), BackendRejected, "500 boom"),
    "500 HTML": (fake.answer(b"<html>", "500 Oh No", "text/html"), BackendRejected, "500 Oh No"),
    "502": (fake.answer(b"<html>", "502 Bad Gateway", "text/html"), BackendUnavailable, "502"),
    "503": (fake.answer({"error": "busy"}, "503 Busy"), BackendUnavailable, "503 busy"),
    "401": (fake.answer({"error": {"message": f"no {KEY}"}}, "401 No"), BackendRejected, r"401 no \*\*\*"),
    "404": (fake.answer(b"404 page not found", "404 Not Found"), BackendRejected, "404 Not Found"),
    "429": (fake.answer({"error": {"code": "slow"}}, "429 No"), BackendRejected, "429 slow"),
    "redirect": ([fake.head("302 Found", Location="http://example.com/")], BackendBadResponse, "redirect"),
    "gzip": (fake.answer(b"x", Content_Encoding="gzip"), BackendBadResponse, "encoding 'gzip'"),
    "too long": (
        [fake.head(), *([b"x" * 999] * 20)],
        BackendBadResponse,
        "more than 10000 bytes|line of more than 2000",
    ),
}


@pytest.mark.parametrize("name", MISBEHAVIOURS)
@pytest.mark.parametrize("way", ["json", "lines"])
def test_every_misbehaviour_is_a_typed_error_in_time(name: str, way: str) -> None:
    script, kind, message = MISBEHAVIOURS[name]
    with fake.serving(script) as server:
        client_ = client(server, maximum_bytes=10_000, maximum_line_bytes=2_000)
        start = time.monotonic()
        with pytest.raises(kind, match=message) as caught:
            client_.json("/", {}) if way == "json" else list(client_.lines("/", {}))
        assert time.monotonic() - start < QUICK.total + 1
    error = caught.value
    assert type(error) is kind
    assert error.fields["url"] == server.url
    told = "".join(traceback.format_exception(error)) + repr(error.fields) + error.hint + repr(client_)
    assert KEY not in told
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("way", ["json", "lines"])
def test_the_total_deadline_holds_though_bytes_keep_coming(way: str) -> None:
    piece = b"1" if way == "json" else b"1\n"
    with fake.serving([fake.head(), *_repeat(60, piece, 0.05)]) as server:
        start = time.monotonic()
        with pytest.raises(BackendTimeout, match="did not finish within 1 s") as caught:
            client(server).json("/", {}) if way == "json" else list(client(server).lines("/", {}))
        assert 0.9 < time.monotonic() - start < 2
    assert caught.value.fields["deadline"] == "total"


def test_a_line_that_never_ends_is_a_stall_though_bytes_keep_coming() -> None:
    with fake.serving([fake.head(), b"1\n", *DRIBBLE]) as server, pytest.raises(BackendTimeout) as caught:
        list(client(server).lines("/", {}))
    assert caught.value.fields["deadline"] == "between"


def test_comments_of_a_stream_do_not_count_as_its_first_line() -> None:
    with (
        fake.serving([fake.head(), *_repeat(20, b": working\n\n", 0.1)]) as server,
        pytest.raises(BackendTimeout) as caught,
    ):
        list(client(server).lines("/", {}))
    assert caught.value.fields == {"url": server.url, "deadline": "first", "seconds": 0.4}


def test_the_time_of_the_reader_is_not_the_servers() -> None:
    with fake.serving([fake.head(), b"1\n", 0.45, b"2\n"]) as server:
        lines = client(server).lines("/", {})
        assert next(lines) == b"1"
        time.sleep(0.4)
        assert list(lines) == [b"2"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<!DOCTYPE html><p>", "a page instead of JSON"),
        (b"", "nothing"),
        (b'{"a": 1', "not the JSON expected"),
        (b'{"a": "\xff"}', "not the JSON expected"),
        (b"[" * 5000, "not the JSON expected"),
        (b'["a"]', "not the JSON expected"),
    ],
)
def test_what_is_not_the_json_expected_is_a_bad_response(body: bytes, message: str) -> None:
    with fake.serving(fake.answer(body)) as server, pytest.raises(BackendBadResponse, match=message):
        client(server).json("/", {}, kind=dict[str, int])


def test_nobody_there_names_what_to_type() -> None:
    with pytest.raises(BackendUnavailable, match="connection refused") as caught:
        ModelServer.ollama(fake.refused_url()).json("/api/tags")
    assert caught.value.hint == "ollama serve"
    assert isinstance(caught.value, ConnectionError)


def test_a_name_without_an_address_is_unavailable() -> None:
    with pytest.raises(BackendUnavailable, match="cannot be reached"):
        ModelServer("http://no-such-host.invalid", deadlines=QUICK).json("/")


def test_a_server_without_tls_is_unavailable_over_tls() -> None:
    with (
        fake.serving([b"no\r\n\r\n"]) as server,
        pytest.raises(BackendUnavailable, match="cannot be reached"),
    ):
        ModelServer(server.url.replace("http:", "https:"), deadlines=QUICK).json("/", {})


def test_503_is_tried_again_when_it_says_when() -> None:
    busy = fake.answer({"error": "busy"}, "503 Busy", Retry_After="0")
    with fake.serving(busy, fake.answer([7])) as server:
        assert client(server).json("/", {}) == [7]
        assert len(server.requests) == 2
    with fake.serving(busy) as server, pytest.raises(BackendUnavailable):
        client(server).json("/", {})
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "after", ["3600", "soon", "-1", format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)]
)
def test_503_is_not_waited_for_beyond_the_deadline(after: str) -> None:
    busy = fake.answer({"error": "busy"}, "503 Busy", Retry_After=after)
    with fake.serving(busy) as server, pytest.raises(BackendUnavailable):
        client(server).json("/", {})
    assert len(server.requests) == 1


def test_a_request_that_was_sent_is_not_sent_again() -> None:
    with fake.serving(["reset"]) as server, pytest.raises(BackendUnavailable):
        client(server).json("/", {})
    assert len(server.requests) == 1


def test_a_missing_model_gets_the_hint_of_the_caller() -> None:
    script = fake.answer({"error": "model 'x' not found"}, "404 Not Found")
    with fake.serving(script) as server, pytest.raises(BackendRejected, match="model 'x' not found") as caught:
        client(server).json("/", {}, rejected="ollama pull x")
    assert caught.value.hint == "ollama pull x"
    assert caught.value.fields["status"] == 404


def test_proxies_and_netrc_of_the_environment_do_not_touch_the_loopback(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, fake.refused_url())
    with fake.serving(fake.answer([])) as server:
        assert client(server).json("/", {}) == []
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_credentials_of_an_address_are_used_and_not_shown() -> None:
    with fake.serving(fake.answer({"error": "hunter2 is wrong"}, "403 No")) as server:
        url = server.url.replace("//", "//me:hunter2@")
        with pytest.raises(BackendRejected) as caught:
            ModelServer(url, deadlines=QUICK).json("/", {})
    assert server.requests[0].headers["authorization"].startswith("Basic ")
    assert "hunter2" not in str(caught.value) + repr(caught.value.fields) + repr(ModelServer(url))


@pytest.mark.parametrize(
    "url",
    [
        "", "localhost:11434", "ftp://localhost", "http://", "http://a b", "http://127.0.0.1\\@example.com/",
        "http://example.com\\@127.0.0.1/", "http://%31%32%37.0.0.1/", "http://a?x=1", "http://a#b", "http://a:0",
        "http://a:99999", "http://a\n", "http://[::1", "http://@@a", "http://me:pw@a?b",
    ],
)  # fmt: skip
def test_addresses_that_parsers_read_differently_are_refused(url: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        ModelServer(url)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://localhost:11434", ()),
        ("http://LOCALHOST.", ()),
        ("http://a.localhost/v1", ()),
        ("http://127.8.8.8", ()),
        ("http://[::1]:1", ()),
        ("http://10.0.0.1:11434", ("10.0.0.1",)),
        ("https://user:pw@API.example.com/v1", ("api.example.com",)),
        ("http://127.1", ("127.1",)),
        ("http://localhost.example.com", ("localhost.example.com",)),
    ],
)
def test_hosts_that_are_not_this_machine_are_named(url: str, host: tuple[str, ...]) -> None:
    assert sent_to(url) == ModelServer(url).sent_to == host
    assert loopback(url) is not bool(host)


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        (":8080", "http://127.0.0.1:8080"),
        ("box", "http://box:11434"),
        ("box:", "http://box:11434"),
        ("box:99/", "http://box:99"),
        ("https://box", "https://box:443"),
        ("http://box/path", "http://box:80/path"),
        ("'[::1]:7'", "http://[::1]:7"),
        ("::1", "http://[::1]:11434"),
        ("[::]", "http://[::1]:11434"),
        ("ftp://box", "ftp://box:11434"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(value: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ollama_url(value) == url
    monkeypatch.setenv("OLLAMA_HOST", value)
    if not url.startswith("ftp"):
        assert ModelServer.ollama().url == url


def test_openai_takes_its_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
    with fake.serving(fake.answer([])) as server:
        ModelServer.openai(server.url + "/v1").json("/models")
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert server.requests[0].path == "/v1/models"
    assert ModelServer.openai().sent_to == ("api.openai.com",)


def test_error_objects_of_both_kinds_are_read() -> None:
    assert error_text({"error": "a"}) == "a"
    assert error_text({"error": {"message": "b"}}) == "b"
    assert error_text({"error": {}}) == error_text({"error": 5}) == "an error without a message"
    assert error_text({"error": None}) == error_text({}) == error_text([1]) == ""


@given(st.lists(st.floats(0, 1), max_size=20), st.floats(0.1, 3), st.floats(0.1, 3), st.floats(0.1, 3))
def test_the_clock_never_leaves_more_than_a_deadline(
    steps: list[float], first: float, between: float, total: float
) -> None:
    now = [0.0]
    clock = Clock(Deadlines(first=first, between=between, total=total), lambda: now[0])
    last, limit = 0.0, first
    for step in steps:
        now[0] += step
        left = min(last + limit, total) - now[0]
        if left <= 0:
            with pytest.raises(TimeoutError):
                clock.remaining()
            assert clock.expired in ("first", "between", "total")
            return
        assert clock.remaining() == pytest.approx(left)
        clock.progress()
        last, limit = now[0], between


def test_constructing_imports_nothing_heavy() -> None:
    import subprocess

    code = "import sys, clockify_rag._http as h; h.ModelServer.ollama(); sys.exit('requests' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], check=False, env={"PYTHONPATH": ":".join(sys.path)}).returncode
        == 0
    )
