"""The fetcher, against real servers on this machine: what it connects to, what it takes, how it behaves.

Whether something was connected to is counted by the server that must not be reached. Waiting is tested on a loop whose clock
jumps ahead when nothing else is to be done, so that no test takes the time that it speaks of.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import functools
import gzip
import itertools
import logging
import os
import selectors
import shutil
import ssl
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, ParamSpec, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hostile_urls
from clockify_rag.crawling import addresses, decoding
from clockify_rag.crawling.addresses import Address, Reason, kind_of
from clockify_rag.crawling.connecting import MAXIMUM_KEPT, reason_of
from clockify_rag.crawling.fetching import MAXIMUM_BYTES, Fetched, Fetcher, FetchSettings, Hop, HostCredentials
from clockify_rag.errors import CrawlError, InvalidSetting
from sites import Answer, Canary, Site, SiteRequest, head, redirect, reply

P = ParamSpec("P")
PUBLIC = "93.184.215.14"
MIB = 1 << 20


class VirtualClock(selectors.DefaultSelector):
    """Waits for sockets only; where none has anything, the time that would pass has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            return super().select(None)
        if not ready and timeout:
            self.ahead += timeout
        return ready


class Loop(asyncio.SelectorEventLoop):
    """Counts who is connected to, lets no connection leave this machine, and may have a virtual clock.

    Args:
        virtual: the clock jumps.
        detour: IP address to port of this machine where a connection to it ends up.
    """

    def __init__(self, *, virtual: bool = False, detour: Mapping[str, tuple[str, int]] | None = None) -> None:
        self.clock = VirtualClock() if virtual else None
        super().__init__(self.clock)
        self.asked: list[str] = []
        self.detour = detour or {}

    def time(self) -> float:
        return super().time() + (self.clock.ahead if self.clock else 0.0)

    async def sock_connect(self, sock: Any, address: Any) -> None:
        ip = str(address[0])
        self.asked.append(ip)
        address = self.detour.get(ip, address)
        if kind_of(address[0])[1] != "this machine":
            raise ConnectionRefusedError(111, "Connection refused")
        await super().sock_connect(sock, address)


def in_loop(*, virtual: bool = False) -> Callable[[Callable[P, Coroutine[Any, Any, None]]], Callable[P, None]]:
    """Run an asynchronous test in a ``Loop``."""

    def decorated(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
        @functools.wraps(test)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            with asyncio.Runner(loop_factory=lambda: Loop(virtual=virtual)) as runner:
                runner.run(test(*args, **kwargs))

        return run

    return decorated


def here(_host: str, _port: int) -> list[str]:
    return ["127.0.0.1"]


def fetcher(
    *, resolver: Callable[[str, int], list[str]] = here, environment: Mapping[str, str] | None = None, **changes: Any
) -> Fetcher:
    values: dict[str, Any] = {"allow_private_hosts": ("site.test",), "backoff_seconds": 0.01, "page_seconds": 30.0}
    return Fetcher(FetchSettings(**{**values, **changes}), resolver=resolver, environment=environment or {})


async def failed(fetching: Coroutine[Any, Any, Fetched]) -> CrawlError:
    with pytest.raises(CrawlError) as raised:
        await fetching
    assert raised.value.fields.keys() >= {"reason", "url"}
    assert raised.value.message.isprintable()
    return raised.value


async def answered(answer: Answer | Callable[[SiteRequest], Answer], path: str = "/", **changes: Any) -> Fetched:
    async with Site(answer if callable(answer) else lambda _request: answer) as site, fetcher(**changes) as fetching:
        return await fetching.fetch(site.url(path))


async def reason(answer: Answer | Callable[[SiteRequest], Answer], path: str = "/", **changes: Any) -> str:
    return str((await failed(answered(answer, path, **changes))).fields["reason"])


# What is said and what comes back.


@in_loop()
async def test_a_page_comes_with_what_its_headers_say() -> None:
    headers = [
        ("Content-Type", 'Text/HTML; charset="UTF-8"; x=y'),
        ("ETag", '"abc"'),
        ("Last-Modified", "Wed, 21 Oct 2026 07:28:00 GMT"),
        ("Content-Language", "en"),
        ("X-Robots-Tag", "noindex"),
        ("X-Robots-Tag", "otherbot: nofollow"),
        ("Link", '</style.css>; rel=preload, <../page>; title="a"; rel="canonical"'),
        ("Retry-After", "120"),
    ]
    async with Site(lambda _request: reply(b"<p>Hi</p>", headers=headers)) as site, fetcher() as fetching:
        page = await fetching.fetch(site.url("/a/b?c#d"))
    assert page == Fetched(
        url=site.url("/a/b?c"),
        final_url=site.url("/a/b?c"),
        status=200,
        body=b"<p>Hi</p>",
        wire_bytes=9,
        content_type="text/html",
        charset="utf-8",
        content_language="en",
        etag='"abc"',
        last_modified="Wed, 21 Oct 2026 07:28:00 GMT",
        retry_after=120.0,
        robots=("noindex", "otherbot: nofollow"),
        canonical=site.url("/page"),
    )


@in_loop()
async def test_the_request_says_who_asks_and_offers_gzip_only() -> None:
    async with Site(lambda _request: reply()) as site, fetcher(user_agent="(+https://example.com/bot)") as fetching:
        await fetching.fetch(site.url("/p?q"), accept="text/plain")
    (request,) = site.requests
    import clockify_rag

    assert (request.method, request.target) == ("GET", "/p?q")
    assert sorted(request.fields) == [
        ("accept", "text/plain"),
        ("accept-encoding", "gzip"),
        ("host", f"site.test:{site.port}"),
        ("user-agent", f"clockify-rag/{clockify_rag.__version__} (+https://example.com/bot)"),
    ]


@in_loop()
async def test_an_unchanged_page_has_no_body() -> None:
    def answer(request: SiteRequest) -> bytes:
        if request.headers.get("if-none-match") == '"abc"' or "if-modified-since" in request.headers:
            return b'HTTP/1.1 304 Not Modified\r\nETag: "abc"\r\n\r\n'
        return reply(b"body", headers=[("ETag", '"abc"')])

    async with Site(answer) as site, fetcher() as fetching:
        assert (await fetching.fetch(site.url())).body == b"body"
        for page in (
            await fetching.fetch(site.url(), etag='"abc"'),
            await fetching.fetch(site.url(), last_modified="Wed, 21 Oct 2026 07:28:00 GMT"),
        ):
            assert (page.status, page.body, page.not_modified, page.wire_bytes) == (304, None, True, 0)
    assert site.accepted == 1
    assert await reason(b"HTTP/1.1 304 Not Modified\r\n\r\n") == "protocol"


@pytest.mark.parametrize(
    "status", ["404 Not Found", "410 Gone", "500 Internal Server Error", "403 Forbidden", "300 Multiple Choices"]
)
@in_loop()
async def test_a_status_is_an_answer(status: str) -> None:
    page = await answered(reply(b"nothing here", status))
    assert (page.status, page.body) == (int(status[:3]), b"")


@in_loop()
async def test_connections_are_kept_and_a_closed_one_is_made_again() -> None:
    def answer(request: SiteRequest) -> bytes:
        return reply(status="404 No") if request.target == "/no" else reply(b"x")

    async with Site(answer) as site, fetcher() as fetching:
        for path in ("/", "/no", "/", "/no", "/"):
            await fetching.fetch(site.url(path))
        assert site.accepted == 1
        for task in site._tasks:
            task.cancel()
        assert (await fetching.fetch(site.url())).body == b"x"
        assert site.accepted == 2


@in_loop()
async def test_few_connections_are_kept_however_many_hosts() -> None:
    hosts = tuple(f"host{number}.test" for number in range(200))
    async with Site(lambda _request: reply(b"x")) as site, fetcher(allow_private_hosts=hosts) as fetching:
        await asyncio.gather(*(fetching.fetch(site.url(host=host)) for host in hosts))
        await asyncio.sleep(0.01)
        assert len(site._tasks) == MAXIMUM_KEPT
        for host in hosts[-5:]:
            assert (await fetching.fetch(site.url(host=host))).body == b"x"
        assert site.accepted == 200


@pytest.mark.parametrize(
    "name", ["maximum_bytes", "concurrency", "per_host", "page_seconds", "connect_seconds", "resolve_seconds"]
)
def test_a_number_that_would_fetch_nothing_is_named(name: str) -> None:
    for value in (0, -1, float("nan")):
        changes: dict[str, Any] = {name: value}
        with pytest.raises(InvalidSetting, match=name):
            fetcher(**changes)


@in_loop()
async def test_a_fetcher_fetches_only_within_its_block() -> None:
    fetching = fetcher()
    assert repr(fetching).startswith("Fetcher('clockify-rag/")
    with pytest.raises(RuntimeError, match="async with"):
        await fetching.fetch("http://site.test/")


# Where it may connect to.


def canary_answers(host: str, _port: int) -> list[str]:
    return ["::1"] if len(host) % 2 else ["127.0.0.1", "::1"]


@in_loop()
async def test_no_spelling_reaches_this_machine() -> None:
    async with Canary() as canary, fetcher(resolver=canary_answers, allow_private_hosts=()) as fetching:
        table = hostile_urls.spellings(canary.port)
        for url in table:
            error = await failed(fetching.fetch(url))
            assert error.fields["reason"] in {"address", "scheme", "port", "private"}, url
        assert canary.accepted == 0
        assert len(table) >= 300
        assert asking() == []
        # The canary does hear who comes.
        async with fetcher(resolver=canary_answers, allow_private_hosts=("[::1]", "canary.test")) as allowed:
            assert (await allowed.fetch(f"http://[::1]:{canary.port}/")).body == b"SECRET"
            assert (await allowed.fetch(f"http://canary.test:{canary.port}/")).body == b"SECRET"
        assert canary.accepted == 2


def asking() -> list[str]:
    """Return the IP addresses that the running loop was asked to connect to."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    return loop.asked


@in_loop()
async def test_no_redirect_reaches_this_machine() -> None:
    spelling = ""

    def answer(request: SiteRequest) -> bytes:
        if request.target != "/start":
            return reply(b"still here")
        location = spelling.encode("utf-8", "surrogatepass")
        return b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + location + b"\r\n\r\n"

    def resolver(host: str, port: int) -> list[str]:
        return ["127.0.0.1"] if host == "site.test" else canary_answers(host, port)

    reasons = set()
    async with Canary() as canary, Site(answer, host="127.0.0.7") as site:
        async with fetcher(
            resolver=lambda host, port: ["127.0.0.7"] if host == "site.test" else resolver(host, port)
        ) as fetching:
            for spelling in hostile_urls.spellings(canary.port):
                try:
                    page = await fetching.fetch(site.url("/start"), may_follow=lambda _address: True)
                except CrawlError as error:
                    reasons.add(error.fields["reason"])
                else:
                    assert page.body in {b"still here", b""}, spelling
                    assert page.final_url.startswith(site.url("")), spelling
        assert canary.accepted == 0
    assert {"address", "scheme", "port", "private"} <= reasons


@in_loop()
async def test_a_name_that_answers_differently_is_vetted_each_time() -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"], ["::1"]])
    async with Canary() as canary, fetcher(resolver=lambda _host, _port: next(answers)) as fetching:
        error = await failed(fetching.fetch(f"http://rebinding.example.com:{canary.port}/"))
        assert error.fields["reason"] == "private"
        assert canary.accepted == 0
    assert asking() == [PUBLIC]
    assert next(answers) == ["::1"], "resolved once for each connection"


@pytest.mark.parametrize(
    "answers",
    [[PUBLIC, "127.0.0.1"], ["::1", PUBLIC], [PUBLIC, "fe80::1%lo"], ["::ffff:127.0.0.1"], ["64:ff9b::7f00:1", PUBLIC]],
)
@in_loop()
async def test_one_private_answer_refuses_the_name(answers: list[str]) -> None:
    async with Canary() as canary, fetcher(resolver=lambda _host, _port: answers) as fetching:
        error = await failed(fetching.fetch(f"http://mixed.example.com:{canary.port}/"))
        assert (error.fields["reason"], canary.accepted) == ("private", 0)
    assert asking() == []


@given(
    st.lists(
        st.lists(
            st.one_of(st.ip_addresses().map(str), st.sampled_from([PUBLIC, "::1", "127.0.0.1", "10.1.2.3"])), max_size=4
        ),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_what_is_connected_to_was_vetted(rounds: list[list[str]], https: bool) -> None:
    given_out: list[list[str]] = []

    def resolver(_host: str, _port: int) -> list[str]:
        given_out.append(rounds[min(len(given_out), len(rounds) - 1)])
        return given_out[-1]

    async def fetch_it() -> None:
        async with fetcher(resolver=resolver, backoff_seconds=0.0) as fetching:
            await failed(fetching.fetch(f"http{'s' * https}://some.example.com/"))
        trusted = [ip for answers in given_out if all(kind_of(ip)[0] == "public" for ip in answers) for ip in answers]
        assert set(asking()) <= set(trusted)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(fetch_it())


@given(
    st.one_of(
        st.text(max_size=80),
        st.builds("http://{}/".format, st.text(max_size=40)),
        st.builds("https://{}:80{}".format, st.ip_addresses(), st.text(max_size=9)),
    )
)
@settings(max_examples=200, deadline=None)
def test_any_text_as_a_url_is_a_typed_error(url: str) -> None:
    async def fetch_it() -> None:
        async with fetcher(backoff_seconds=0.0, allow_private_hosts=()) as fetching:
            await failed(fetching.fetch(url))
        assert all(kind_of(ip)[0] == "public" for ip in asking())

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(fetch_it())


def test_a_peer_that_is_not_the_vetted_one_is_told_nothing() -> None:
    async def fetch_it() -> None:
        async with Canary() as canary:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, Loop)
            loop.detour = {PUBLIC: ("127.0.0.1", canary.port)}
            async with fetcher(resolver=lambda _host, _port: [PUBLIC]) as fetching:
                error = await failed(fetching.fetch("http://some.example.com/"))
            assert error.fields["reason"] == "unreachable"
            assert "another address answered" in error.message
            await asyncio.sleep(0.01)
            assert not any(site.requests for site in canary._sites)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(fetch_it())


@in_loop()
async def test_a_connection_is_vetted_whoever_asks_for_it() -> None:
    async with Canary() as canary, fetcher(resolver=canary_answers, allow_private_hosts=()) as fetching:
        assert fetching._connections is not None
        for host in ("127.0.0.1", "::1", "unchecked.example.com"):
            with pytest.raises(CrawlError) as raised:
                await fetching._connections.to(Address("http", host, canary.port, "/")).__aenter__()
            assert raised.value.fields["reason"] == "private"
        assert canary.accepted == 0


@in_loop()
async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Canary() as canary, Site(lambda _request: reply(b"direct")) as site:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
        async with fetcher() as fetching:
            assert (await fetching.fetch(site.url())).body == b"direct"
        assert canary.accepted == 0


@in_loop()
async def test_a_private_host_is_allowed_for_its_port_alone() -> None:
    async with Canary() as canary, Site(lambda _request: reply(b"wiki")) as site:
        async with fetcher(allow_private_hosts=(f"wiki.test:{site.port}",)) as fetching:
            assert (await fetching.fetch(site.url(host="wiki.test"))).body == b"wiki"
            error = await failed(fetching.fetch(f"http://wiki.test:{canary.port}/"))
        assert (error.fields["reason"], canary.accepted) == ("private", 0)
        assert f"wiki.test:{canary.port}" in error.hint


@in_loop()
async def test_names_that_cannot_be_resolved_are_named() -> None:
    waiting = threading.Event()

    def none(_host: str, _port: int) -> list[str]:
        raise OSError(-2, "Name or service not known")

    async with fetcher(resolver=none) as fetching:
        error = await failed(fetching.fetch("http://none.example.com/"))
    assert error.fields["reason"] == "unresolved"
    assert "Name or service not known" in error.message

    def slow(_host: str, _port: int) -> list[str]:
        waiting.wait(20)
        return []

    async with fetcher(resolver=slow, resolve_seconds=0.05) as fetching:
        error = await failed(fetching.fetch("http://slow.example.com/"))
    waiting.set()
    assert error.fields["reason"] == "unresolved"
    assert "did not answer" in error.message


@in_loop()
async def test_a_refused_connection_is_tried_twice() -> None:
    async with Site(lambda _request: reply()) as site:
        port = site.port
    async with fetcher() as fetching:
        error = await failed(fetching.fetch(f"http://site.test:{port}/"))
    assert error.fields["reason"] == "unreachable"
    assert asking() == ["127.0.0.1", "127.0.0.1"]


@in_loop()
async def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    both = fetcher(resolver=lambda _host, _port: ["::1", "127.0.0.1"])
    async with Site(lambda _request: reply(b"four")) as site, both as fetching:
        assert (await fetching.fetch(site.url())).body == b"four"
    assert asking() == ["::1", "127.0.0.1"]


# Redirects.


def chain(request: SiteRequest) -> bytes:
    number = int(request.target.strip("/") or 0)
    return reply(b"end") if number == 0 else redirect(f"/{number - 1}")


@in_loop()
async def test_five_redirects_are_followed_and_six_are_not() -> None:
    async with Site(chain) as site, fetcher() as fetching:
        page = await fetching.fetch(site.url("/5"))
        assert page.url == site.url("/5")
        assert page.final_url == site.url("/0")
        assert page.hops == tuple(Hop(site.url(f"/{number}"), 302) for number in (5, 4, 3, 2, 1))
        error = await failed(fetching.fetch(site.url("/30")))
        assert (error.fields["reason"], len(site.requests)) == ("redirects", 6 + 6)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/a", "redirects"),
        ("", "redirects"),
        ("#", "redirects"),
        ("file:///etc/passwd", "scheme"),
        ("ftp://site.test/", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("http://user@site.test/", "address"),
        ("http://127.0.0.1/", "private"),
        ("http://169.254.169.254/latest/meta-data/", "private"),
        ("//localhost/", "private"),
        ("http://other.example.com/x", "outside"),
        ("//site.test.example.com/", "outside"),
    ],
)
@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
)
@in_loop()
async def test_redirects_that_are_not_followed(location: str, expected: str, status: str) -> None:
    assert await reason(redirect(location, status), "/a") == expected
    assert asking() == ["127.0.0.1"]


@in_loop()
async def test_a_redirect_outside_tells_where_it_led() -> None:
    error = await failed(answered(redirect("http://OTHER.example.com:80/x")))
    assert error.fields["target"] == "http://other.example.com/x"
    assert await reason(reply(status="302 Found")) == "redirects"


@in_loop()
async def test_a_circle_ends() -> None:
    def answer(request: SiteRequest) -> bytes:
        return redirect("/b" if request.target == "/a" else "/a")

    async with Site(answer) as site, fetcher() as fetching:
        error = await failed(fetching.fetch(site.url("/a")))
    assert (error.fields["reason"], len(site.requests)) == ("redirects", 2)


@in_loop()
async def test_each_hop_is_asked_of_the_crawl() -> None:
    asked: list[Address] = []

    def may_follow(address: Address) -> bool:
        asked.append(address)
        return address.path != "/1"

    async with Site(chain) as site, fetcher() as fetching:
        error = await failed(fetching.fetch(site.url("/3"), may_follow=may_follow))
    assert [address.path for address in asked] == ["/2", "/1"]
    assert (error.fields["reason"], len(site.requests)) == ("outside", 2)


@in_loop()
async def test_an_international_location_is_read() -> None:
    page = await answered(lambda request: reply("ü".encode()) if request.target == "/%C3%BC" else redirect("/ü"))
    assert page.body == "ü".encode()


@in_loop()
async def test_refresh_and_other_headers_redirect_nowhere() -> None:
    page = await answered(
        reply(b"x", headers=[("Refresh", "0; url=http://127.0.0.1/"), ("Location", "http://127.0.0.1/")])
    )
    assert (page.body, page.hops) == (b"x", ())


# Encodings and sizes.


def gzipped(body: bytes, encoding: str = "gzip") -> bytes:
    return reply(body, headers=[("Content-Encoding", encoding)])


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", " gzip ", "identity, gzip"])
@in_loop()
async def test_one_layer_of_gzip_is_removed(encoding: str) -> None:
    packed = gzip.compress(b"hello" * 50_000)
    page = await answered(gzipped(packed, encoding))
    assert page.body == b"hello" * 50_000
    assert (page.wire_bytes, page.content_encoding) == (len(packed), "gzip")


@in_loop()
async def test_gzip_of_several_members_and_with_padding_is_whole() -> None:
    packed = gzip.compress(b"one ") + gzip.compress(b"") + gzip.compress(b"two") + bytes(100)
    assert (await answered(gzipped(packed))).body == b"one two"
    assert (await answered(gzipped(b""))).body == b""


@pytest.mark.parametrize("size", [1, 7, 30, 1000])
def test_padding_after_gzip_ends_it_however_a_body_comes(size: int) -> None:
    content = gzip.compress(b"one") + b"\0\0" + gzip.compress(b"two")
    body = decoding.Gunzip("https://example.com/", 1000)
    for start in range(0, len(content), size):
        body.feed(content[start : start + size])
    assert body.finished() == b"one"


@pytest.mark.parametrize(
    "answer",
    [
        gzipped(gzip.compress(gzip.compress(b"x" * 100))),
        gzipped(gzip.compress(b"x"), "gzip, gzip"),
        gzipped(gzip.compress(b"x"), "gzip\r\nContent-Encoding: gzip"),
        gzipped(b"x", "br"),
        gzipped(b"x", "zstd"),
        gzipped(b"x", "deflate"),
        gzipped(b"x", "gzip;q=1"),
        gzipped(b"no gzip at all"),
        gzipped(gzip.compress(b"x" * 1000)[:-9]),
        gzipped(gzip.compress(b"x" * 1000)[:-4] + b"\0\0\0\0"),
        gzipped(gzip.compress(b"") * 2000),
    ],
    ids=itertools.count(),
)
@in_loop()
async def test_encodings_that_are_refused(answer: bytes) -> None:
    assert await reason(answer) == "encoding"


def bomb(mebibytes: int) -> bytes:
    return gzip.compress(bytes(MIB)) * mebibytes


@pytest.mark.parametrize("packed", [bomb(512), gzip.compress(bytes(64 * MIB))], ids=["members", "one"])
@in_loop()
async def test_a_bomb_is_stopped_while_it_streams(packed: bytes) -> None:
    answer = gzipped(packed)
    tracemalloc.start()
    try:
        assert await reason(answer, maximum_bytes=MIB) == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 6 * MIB
        tracemalloc.reset_peak()
        assert await reason(answer) == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 4 * MAXIMUM_BYTES
    finally:
        tracemalloc.stop()


@in_loop()
async def test_the_limit_is_exact_and_can_be_set_for_a_page() -> None:
    for wrap in (reply, lambda body: gzipped(gzip.compress(body)), chunked):
        assert (await answered(wrap(b"x" * 1000), maximum_bytes=1000)).body == b"x" * 1000
        assert await reason(wrap(b"x" * 1001), maximum_bytes=1000) == "too_large"
    async with Site(lambda _request: reply(b"x" * 1000)) as site, fetcher() as fetching:
        error = await failed(fetching.fetch(site.url(), maximum_bytes=999))
    assert "999 bytes" in error.message
    assert error.hint


def chunked(body: bytes) -> bytes:
    return head("Transfer-Encoding: chunked") + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


async def endless(first: bytes, then: bytes, sent: list[int] | None = None, pause: float = 0.0) -> AsyncIterator[bytes]:
    yield first
    while True:
        await asyncio.sleep(pause)
        if sent is not None:
            sent.append(len(then))
        yield then


@pytest.mark.parametrize("start", ["", "Transfer-Encoding: chunked", f"Content-Length: {10**12}"])
@in_loop()
async def test_an_endless_body_is_stopped(start: str) -> None:
    sent: list[int] = []
    piece = b"x" * 50_000 if "chunked" not in start else b"c350\r\n" + b"x" * 50_000 + b"\r\n"
    answer = lambda _request: endless(head(*filter(None, [start])), piece, sent)  # noqa: E731 - one answer a request
    assert await reason(answer, maximum_bytes=MIB) == "too_large"
    assert sum(sent) < 16 * MIB


@in_loop()
async def test_padding_without_end_is_stopped() -> None:
    packed = head("Content-Encoding: gzip") + gzip.compress(b"small")
    assert await reason(lambda _request: endless(packed, bytes(50_000)), maximum_bytes=MIB) == "too_large"


@in_loop()
async def test_what_nobody_wants_is_not_read() -> None:
    sent: list[int] = []
    page = await answered(lambda _request: endless(head(status="404 Not Found"), b"x" * 50_000, sent))
    assert (page.status, page.body) == (404, b"")
    assert sum(sent) < 16 * MIB


# Deadlines and lies.


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (head(), b"x"),
        (head("Content-Length: 100000"), b"x"),
        (head("Transfer-Encoding: chunked"), b"1\r\nx\r\n"),
        (head("Transfer-Encoding: chunked"), b"0"),
    ],
)
@in_loop(virtual=True)
async def test_a_slow_server_ends_at_the_deadline(first: bytes, then: bytes) -> None:
    async with Site(lambda _request: endless(first, then, pause=1.0)) as site, literal(page_seconds=20.0) as fetching:
        error = await failed(fetching.fetch(site.url(host="127.0.0.1")))
    assert (error.fields["reason"], error.hint) == ("deadline", "raise crawling.page_seconds, or try again later")
    assert "20 s" in error.message


@in_loop(virtual=True)
async def test_redirects_and_attempts_share_one_deadline() -> None:
    async def answer(request: SiteRequest) -> bytes:
        await asyncio.sleep(8.0)
        return chain(request)

    async with Site(answer) as site, fetcher(allow_private_hosts=("127.0.0.1",), page_seconds=20.0) as fetching:
        assert (await fetching.fetch(site.url("/1", "127.0.0.1"))).body == b"end"
        assert (await failed(fetching.fetch(site.url("/4", "127.0.0.1")))).fields["reason"] == "deadline"
    assert [request.target for request in site.requests] == ["/1", "/0", "/4", "/3", "/2"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (head(*(f"X-{number}: y" for number in range(100_000)), "Content-Length: 0"), "headers"),
        (head(*(f"X-{number}: y" for number in range(300)), "Content-Length: 0"), "headers"),
        (head("X: " + "y" * MIB, "Content-Length: 0"), "headers"),
        (b"HTTP/1.1 200 " + b"x" * MIB, "headers"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 50, "protocol"),
        (head("Transfer-Encoding: chunked") + b"1" * MIB, "headers"),
        (head("Transfer-Encoding: chunked") + b"zz\r\n", "protocol"),
        (head("Transfer-Encoding: chunked") + b"5\r\nhelloworld", "protocol"),
        (head("Transfer-Encoding: chunked, chunked"), "protocol"),
        (head("Transfer-Encoding: gzip"), "protocol"),
        (head("Content-Length: 5", "Content-Length: 6") + b"hello", "protocol"),
        (head("Content-Length: -5") + b"hello", "protocol"),
        (head("Content-Length: 5x") + b"hello", "protocol"),
        (head("Content-Length: " + "9" * 5000) + b"hello", "protocol"),
        (head("Content-Length: " + "9" * 20) + b"hello", "too_large"),
        (head("Content-Length: 4") + b"hello", "length"),
        (head("Content-Length: 0") + b"HTTP/1.1 200 OK\r\n\r\n", "length"),
        (head("X y") + b"hello", "protocol"),
        (b"HTTP/1.1 OK\r\n\r\n", "protocol"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "protocol"),
        (b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n", "protocol"),
        (b"<html>an answer of the last century</html>\r\n\r\n", "protocol"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "protocol"),
    ],
    ids=itertools.count(),
)
@in_loop()
async def test_what_is_not_http_is_named(answer: bytes, expected: str) -> None:
    assert await reason(answer) == expected


async def cut(answer: bytes) -> AsyncIterator[bytes]:
    yield answer


@pytest.mark.parametrize(
    "answer",
    [
        head("Content-Length: 6") + b"hello",
        head("Transfer-Encoding: chunked") + b"9\r\nhello",
        gzipped(gzip.compress(b"hello" * 100))[:-9],
    ],
)
@in_loop()
async def test_a_body_that_ends_early_is_no_page(answer: bytes) -> None:
    assert await reason(lambda _request: cut(answer)) == "length"


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", head().removesuffix(b"\r\n")])
@in_loop()
async def test_a_connection_that_is_lost_is_made_again_once(answer: bytes) -> None:
    async with Site(lambda _request: cut(answer)) as site, fetcher() as fetching:
        error = await failed(fetching.fetch(site.url()))
    assert (error.fields["reason"], site.accepted) == ("unreachable", 2)


PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 302 Found\r\n",
        b"HTTP/1.1 304 Not Modified\r\n",
        b"HTTP/1.0 404 Not Found\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 99999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Location: /again\r\n",
        b"Location: http://\xff\xfe/\r\n",
        b"Content-Type: text/html; charset=\xe9;;=\r\n",
        b"Retry-After: \xb2\r\n",
        b"Link: <//>; rel=canonical\r\n",
        b"Connection: close\r\n",
        b"\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"hello",
        gzip.compress(b"hello"),
        b"\n",
        b"\x00",
    ]
)


@given(
    st.one_of(
        st.lists(PIECES, max_size=12).map(b"".join),
        st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=8).map(b"".join),
    )
)
@settings(max_examples=300, deadline=None)
def test_any_answer_is_a_page_or_a_typed_error(answer: bytes) -> None:
    async def fetch_it() -> None:
        async with Site(lambda _request: cut(answer)) as site, literal(retries=0) as fetching:
            try:
                page = await fetching.fetch(site.url(host="127.0.0.1"))
            except CrawlError as error:
                assert error.fields["reason"] in get_args(Reason)  # noqa: PT017 - either is right
                return
            assert page.status >= 200
            assert (page.body is None) == (page.status == 304)

    with asyncio.Runner(loop_factory=lambda: Loop(virtual=True)) as runner:
        runner.run(fetch_it())


@in_loop()
async def test_what_follows_a_body_is_never_the_next_answer() -> None:
    smuggled = reply(b"smuggled")
    answers = iter([reply(status="404 Not Found") + smuggled, reply(b"right")])
    async with Site(lambda _request: next(answers)) as site, fetcher() as fetching:
        assert (await fetching.fetch(site.url("/a"))).status == 404
        assert (await fetching.fetch(site.url("/b"))).body == b"right"
    assert site.accepted == 2


@in_loop()
async def test_what_comes_between_two_requests_is_never_the_next_answer() -> None:
    requests = 0

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while await reader.readuntil(b"\r\n\r\n"):
                requests += 1
                writer.write(reply(b"right"))
                await asyncio.sleep(0.01)
                writer.write(reply(b"smuggled"))
        writer.transport.abort()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    url = f"http://site.test:{server.sockets[0].getsockname()[1]}/"
    async with fetcher() as fetching:
        for _ in range(3):
            assert (await fetching.fetch(url)).body == b"right"
            await asyncio.sleep(0.03)
    server.close()
    await asyncio.sleep(0.01)
    assert requests == 3


# Manners.


@in_loop()
async def test_a_hundred_pages_of_sixty_hosts_are_fetched_at_once() -> None:
    enough = asyncio.Event()

    async def answer(request: SiteRequest) -> bytes:
        if site.active >= 100:
            enough.set()
        await asyncio.wait_for(enough.wait(), 30)
        return reply(request.headers["host"].encode())

    hosts = [f"host{number}.test" for number in range(60)]
    async with Site(answer) as site, fetcher(allow_private_hosts=tuple(hosts)) as fetching:
        pages = await asyncio.gather(*(fetching.fetch(site.url(f"/{n}", host)) for host in hosts for n in range(4)))
        assert 100 <= site.most_active <= 120
    assert [page.body for page in pages] == [f"{host}:{site.port}".encode() for host in hosts for _ in range(4)]


@pytest.mark.parametrize(("per_host", "concurrency", "expected"), [(2, 128, 2), (5, 128, 5), (8, 3, 3), (1, 1, 1)])
@in_loop()
async def test_a_host_gets_few_requests_at_a_time(per_host: int, concurrency: int, expected: int) -> None:
    async def answer(_request: SiteRequest) -> bytes:
        await asyncio.sleep(0.005)
        return reply()

    async with Site(answer) as site, fetcher(per_host=per_host, concurrency=concurrency) as fetching:
        await asyncio.gather(*(fetching.fetch(site.url(f"/{number}")) for number in range(20)))
        assert site.most_active == expected
        assert site.accepted <= per_host
    assert len(site.requests) == 20


def literal(**changes: Any) -> Fetcher:
    """A fetcher that resolves nothing, for a clock that jumps."""
    return fetcher(allow_private_hosts=("127.0.0.1",), **changes)


def now() -> float:
    return asyncio.get_running_loop().time()


@in_loop(virtual=True)
async def test_requests_to_a_host_keep_its_delay() -> None:
    times: list[float] = []

    def answer(_request: SiteRequest) -> bytes:
        times.append(now())
        return reply()

    async with Site(answer) as site, literal() as fetching:
        fetching.set_delay("127.0.0.1", 10.0)
        await asyncio.gather(*(fetching.fetch(site.url(f"/{number}", "127.0.0.1")) for number in range(5)))
        assert len(times) == 5
        assert all(later - earlier > 9.0 for earlier, later in itertools.pairwise(times))


@in_loop(virtual=True)
async def test_a_delay_is_bounded_and_never_below_the_setting() -> None:
    async with Site(lambda _request: reply()) as site, literal(delay_seconds=5.0) as fetching:
        fetching.set_delay("127.0.0.1", 1.0)
        start = now()
        for _ in range(3):
            await fetching.fetch(site.url(host="127.0.0.1"))
        assert 9.0 < now() - start < 20.0
        fetching.set_delay("127.0.0.1", 10.0**12)
        await fetching.fetch(site.url(host="127.0.0.1"))
        start = now()
        await fetching.fetch(site.url(host="127.0.0.1"))
        assert now() - start < 86_401


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
@in_loop(virtual=True)
async def test_a_busy_host_is_asked_again_when_it_says(status: str) -> None:
    answers = iter([reply(status=status, headers=[("Retry-After", "30")]), reply(status=status), reply(b"done")])
    async with (
        Site(lambda _request: next(answers)) as site,
        literal(backoff_seconds=4.0, page_seconds=10.0) as fetching,
    ):
        start = now()
        assert (await fetching.fetch(site.url(host="127.0.0.1"))).body == b"done"
        assert 37.0 < now() - start < 45.0
    assert len(site.requests) == 3


@in_loop(virtual=True)
async def test_a_date_to_come_back_counts_from_the_servers_own_clock() -> None:
    headers = [("Date", "Wed, 21 Oct 2015 07:28:00 GMT"), ("Retry-After", "Wed, 21 Oct 2015 07:28:50 GMT")]
    answers = iter([reply(status="503 Busy", headers=headers), reply(b"done")])
    async with Site(lambda _request: next(answers)) as site, literal() as fetching:
        start = now()
        assert (await fetching.fetch(site.url(host="127.0.0.1"))).body == b"done"
        assert 49.0 < now() - start < 55.0


@pytest.mark.parametrize(
    ("headers", "requests", "retry_after"),
    [
        ([("Retry-After", "61")], 1, 61.0),
        ([("Retry-After", "9" * 400)], 1, 999_999_999_999.0),
        ([("Retry-After", "-1")], 4, None),
        ([("Retry-After", "soon")], 4, None),
        ([("Retry-After", "Wed, 21 Oct 2015 07:28:50 GMT")], 4, None),
        ([("Date", "no date"), ("Retry-After", "Wed, 21 Oct 2015 07:28:50 GMT")], 4, None),
        ([("Date", "Wed, 21 Oct 2015 08:00:00 GMT"), ("Retry-After", "Wed, 21 Oct 2015 07:28:50 GMT")], 4, 0.0),
        ([], 4, None),
    ],
)
@in_loop(virtual=True)
async def test_a_host_that_stays_busy_is_an_answer(
    headers: list[tuple[str, str]], requests: int, retry_after: float | None
) -> None:
    async with Site(lambda _request: reply(status="503 Busy", headers=headers)) as site, literal() as fetching:
        page = await fetching.fetch(site.url(host="127.0.0.1"))
    assert (page.status, page.retry_after, len(site.requests)) == (503, retry_after, requests)


@in_loop()
async def test_a_page_that_is_given_up_leaves_its_turn() -> None:
    come = asyncio.Event()

    async def answer(request: SiteRequest) -> Answer:
        if request.target == "/hangs":
            come.set()
            await asyncio.sleep(3600)
        return reply(b"next")

    async with Site(answer) as site, fetcher(per_host=1, concurrency=1) as fetching:
        for _ in range(3):
            come.clear()
            task = asyncio.create_task(fetching.fetch(site.url("/hangs")))
            await come.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert (await fetching.fetch(site.url("/"))).body == b"next"


# Credentials.


def with_credentials(site: Site, *, host: str = "site.test", **changes: Any) -> Fetcher:
    credentials = {
        f"http://{host}:{site.port}": HostCredentials(
            headers={"Authorization": "DOCS_TOKEN"}, cookies={"session": "DOCS_COOKIE", "b": "DOCS_B"}
        )
    }
    environment = {"DOCS_TOKEN": "Bearer hunter2", "DOCS_COOKIE": "c00kie", "DOCS_B": "2"}
    return fetcher(credentials=credentials, environment=environment, **changes)


@in_loop()
async def test_credentials_are_sent_to_their_host_alone() -> None:
    async with Site(lambda _request: reply(b"foreign")) as foreign:
        target = foreign.url("/x", "foreign.test")
        async with Site(lambda request: redirect(target) if request.target == "/away" else chain(request)) as site:
            hosts = ("site.test", "foreign.test")
            async with with_credentials(site, allow_private_hosts=hosts) as fetching:
                assert (await fetching.fetch(site.url("/1"), etag='"e"')).body == b"end"
                page = await fetching.fetch(site.url("/away"), etag='"e"', may_follow=lambda _address: True)
                assert (page.body, page.final_url) == (b"foreign", target)
    assert all(request.headers["authorization"] == "Bearer hunter2" for request in site.requests)
    assert all(request.headers["cookie"] == "session=c00kie; b=2" for request in site.requests)
    (request,) = foreign.requests
    assert not {"authorization", "cookie", "if-none-match", "referer"} & set(request.headers)
    assert "hunter2" not in str(request.fields)


@in_loop()
async def test_credentials_are_not_sent_to_another_port_or_in_the_clear() -> None:
    async with Site(lambda _request: reply()) as site, Site(lambda _request: reply()) as other:
        async with with_credentials(other) as fetching:
            await fetching.fetch(site.url())
        for key in ("site.test", f"site.test:{site.port}", f"https://site.test:{site.port}"):
            credentials = {key: HostCredentials(headers={"X-Key": "KEY"})}
            async with fetcher(credentials=credentials, environment={"KEY": "hunter2"}) as fetching:
                await fetching.fetch(site.url())
    assert "hunter2" not in str([request.fields for request in site.requests])


@in_loop()
async def test_cookies_of_answers_are_not_kept() -> None:
    async with Site(lambda _request: reply(headers=[("Set-Cookie", "track=1")])) as site, fetcher() as fetching:
        await fetching.fetch(site.url("/a"))
        await fetching.fetch(site.url("/b"))
    assert "cookie" not in site.requests[1].headers


@in_loop()
async def test_values_of_credentials_are_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[object] = []

    def answer(request: SiteRequest) -> bytes:
        secret = request.headers["authorization"].removeprefix("Bearer ")
        if request.target == "/location":
            return redirect(f"http://elsewhere.example.com/{request.headers['authorization']}?c00kie")
        if request.target == "/encoding":
            return reply(headers=[("Content-Encoding", f"Bearer {secret}")])
        return f"Bearer {secret} HTTP/1.1\r\nBearer {secret}\r\n\r\n".encode()

    async with Site(answer) as site, with_credentials(site) as fetching:
        seen += [fetching, fetching._credentials, fetching.settings]
        for path in ("/location", "/encoding", "/protocol"):
            error = await failed(fetching.fetch(site.url(path)))
            seen += [error.message, error.hint, error.fields, error.__cause__]
    for secret in ("hunter2", "c00kie"):
        assert secret not in " ".join(map(repr, seen))
        assert secret not in caplog.text
    assert "outside" in str(seen)


@pytest.mark.parametrize(
    ("host", "credentials", "value", "match"),
    [
        ("a.test", HostCredentials(headers={"X-Key": "MISSING"}), "v", "MISSING is not set"),
        ("a.test", HostCredentials(cookies={"key": "MISSING"}), "v", "MISSING is not set"),
        ("a.test", HostCredentials(headers={"X-Key": "KEY"}), "", "KEY is not set"),
        ("a.test", HostCredentials(headers={"X-Key": "KEY"}), "hunter2\r\nX: y", "a character"),
        ("a.test", HostCredentials(headers={"X-Key": "KEY"}), "hunter2\u20ac", "a character"),
        ("a.test", HostCredentials(headers={"Host": "KEY"}), "hunter2", "no header that can be set"),
        ("a.test", HostCredentials(headers={"Content-Length": "KEY"}), "hunter2", "no header that can be set"),
        ("a.test", HostCredentials(headers={"X Key": "KEY"}), "hunter2", "no header that can be set"),
        ("a.test", HostCredentials(cookies={"a": "KEY"}), "hunter2; b=c", "cookie"),
        ("a.test", HostCredentials(cookies={"a=b": "KEY"}), "hunter2", "cookie"),
        ("a.test/path", HostCredentials(headers={"X-Key": "KEY"}), "hunter2", "has a path"),
        ("ftp://a.test", HostCredentials(headers={"X-Key": "KEY"}), "hunter2", "only http and https"),
        ("127.1", HostCredentials(headers={"X-Key": "KEY"}), "hunter2", "four decimal parts"),
    ],
)
def test_credentials_that_cannot_be_sent_are_named_without_their_value(
    host: str, credentials: HostCredentials, value: str, match: str
) -> None:
    with pytest.raises(InvalidSetting, match=match) as raised:
        fetcher(credentials={host: credentials}, environment={"KEY": value})
    assert "hunter2" not in f"{raised.value} {raised.value.hint} {raised.value.fields}"


# TLS and proxies.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of its own authority for site.test, and its key, in one file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl makes the certificate")
    folder = tmp_path_factory.mktemp("certificate")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=site.test"]
    command += ["-addext", "subjectAltName=DNS:site.test", "-keyout", str(folder / "key"), "-out", str(folder / "pem")]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "both").write_bytes((folder / "key").read_bytes() + (folder / "pem").read_bytes())
    return folder / "both"


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@in_loop()
async def test_tls_is_checked_against_the_name(certificate: Path) -> None:
    names: list[str | None] = []
    context = serving(certificate)
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    async with Site(lambda _request: reply(b"secure"), context=context) as site:
        async with fetcher(ca_bundle=str(certificate), allow_private_hosts=("site.test", "other.test")) as fetching:
            for _ in range(2):
                assert (await fetching.fetch(site.url())).body == b"secure"
            error = await failed(fetching.fetch(site.url(host="other.test")))
        assert error.fields["reason"] == "certificate"
        async with fetcher() as fetching:
            error = await failed(fetching.fetch(site.url()))
        assert (error.fields["reason"], "ca_bundle" in error.hint) == ("certificate", True)
    assert names == ["site.test", "other.test", "site.test"]
    assert len(site.requests) == 2


@in_loop()
async def test_a_downgrade_is_refused_or_mended(certificate: Path) -> None:
    def answer(request: SiteRequest) -> bytes:
        return {
            "/slash": redirect("http://site.test/slash/"),
            "/port": redirect("http://site.test:8080/"),
            "/foreign": redirect("http://foreign.test/"),
            "/same": redirect("http://site.test/same"),
        }.get(request.target, reply(b"here"))

    async with Site(answer, context=serving(certificate)) as site:
        hosts = ("site.test", "foreign.test")
        async with fetcher(ca_bundle=str(certificate), allow_private_hosts=hosts) as fetching:
            page = await fetching.fetch(site.url("/slash"))
            assert (page.body, page.final_url) == (b"here", site.url("/slash/"))
            for path, expected in (("/port", "downgrade"), ("/foreign", "downgrade"), ("/same", "redirects")):
                error = await failed(fetching.fetch(site.url(path), may_follow=lambda _address: True))
                assert error.fields["reason"] == expected


@in_loop()
async def test_what_is_said_before_tls_is_not_taken_for_the_host(certificate: Path) -> None:
    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply(b"injected"))
        with contextlib.suppress(OSError):
            await writer.start_tls(serving(certificate))
        writer.transport.abort()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with fetcher(ca_bundle=str(certificate)) as fetching:
        error = await failed(fetching.fetch(f"https://site.test:{port}/"))
    assert error.fields["reason"] in {"certificate", "protocol", "unreachable"}
    server.close()
    await asyncio.sleep(0.01)


@in_loop()
async def test_a_host_that_does_not_speak_tls_is_not_waited_for_as_long_as_for_a_page() -> None:
    silent: list[asyncio.StreamWriter] = []

    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent.append(writer)

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    url = f"https://site.test:{server.sockets[0].getsockname()[1]}/"
    async with fetcher(connect_seconds=0.2, page_seconds=3600.0) as fetching:
        error = await failed(fetching.fetch(url))
    assert error.fields["reason"] == "certificate"
    assert "did not answer within 0.2 s" in error.message
    assert "https" in error.hint
    assert len(silent) == 1
    server.close()
    for writer in silent:
        writer.transport.abort()
    await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", [ConnectionRefusedError, ConnectionResetError])
def test_a_lost_connection_is_called_what_the_system_calls_it(kind: type[ConnectionError]) -> None:
    number = {ConnectionRefusedError: errno.ECONNREFUSED, ConnectionResetError: errno.ECONNRESET}[kind]
    assert reason_of(kind(number, "Connect call failed ('127.0.0.1', 1)")) == os.strerror(number)
    assert reason_of(kind("lost")) == "lost"


class ProxyServer:
    """A proxy that tunnels everything to one port of this machine."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.heads: list[str] = []

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if not head.startswith("CONNECT"):
            writer.write(reply(b"forwarded"))
            writer.close()
            return
        upstream, sink = await asyncio.open_connection("127.0.0.1", self._target)
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
        await asyncio.gather(self._pump(reader, sink), self._pump(upstream, writer))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(65_536):
                sink.write(piece)
        sink.transport.abort()


@in_loop()
async def test_a_proxy_is_used_where_it_is_set_and_urls_are_vetted_all_the_same(certificate: Path) -> None:
    async with Site(lambda _request: reply(b"tunnelled"), context=serving(certificate)) as site:
        proxy = ProxyServer(site.port)
        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        url = f"http://user:hunter%202@127.0.0.1:{port}"
        async with fetcher(proxy=url, ca_bundle=str(certificate), allow_private_hosts=()) as fetching:
            assert "hunter" not in repr(fetching) + repr(fetching._proxy)
            page = await fetching.fetch("http://docs.example.com/a?b")
            assert page.body == b"forwarded"
            error = await failed(fetching.fetch("https://docs.example.com/"))
            assert error.fields["reason"] == "certificate"
            for hostile in (
                "http://127.0.0.1/",
                "http://localhost/",
                "http://router.lan/",
                "http://[::1]/",
                "http://10.0.0.1/",
            ):
                assert (await failed(fetching.fetch(hostile))).fields["reason"] == "private"
        async with fetcher(proxy=url, ca_bundle=str(certificate)) as fetching:
            assert (await fetching.fetch("https://site.test/secret")).body == b"tunnelled"
        server.close()
        await asyncio.sleep(0.01)
    token = base64.b64encode(b"user:hunter 2").decode()
    assert proxy.heads[0].startswith("GET http://docs.example.com/a?b HTTP/1.1\r\nHost: docs.example.com\r\n")
    assert [head.split("\r\n")[0] for head in proxy.heads[1:]] == [
        "CONNECT docs.example.com:443 HTTP/1.1",
        "CONNECT site.test:443 HTTP/1.1",
    ]
    assert all(f"Proxy-Authorization: Basic {token}" in head for head in proxy.heads)
    (request,) = site.requests
    assert (request.target, "proxy-authorization" in request.headers) == ("/secret", False)


@pytest.mark.parametrize(
    "proxy",
    [
        "socks5://127.0.0.1:1080",
        "127.0.0.1:3128",
        "http://user:hunter2@/",
        "http://proxy/path",
        "",
        "user:hunter2@proxy:3128",
        "http://u:hunt/hunter2@proxy:1",
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(proxy: str) -> None:
    with pytest.raises(InvalidSetting, match=r"crawling\.proxy") as raised:
        fetcher(proxy=proxy)
    assert "hunter2" not in str(raised.value)


@in_loop()
async def test_a_bundle_without_certificates_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="which is no file"):
        fetcher(ca_bundle=str(tmp_path / "none"))
    (tmp_path / "empty").write_text("nothing")
    async with Site(lambda _request: reply()) as site, fetcher(ca_bundle=str(tmp_path / "empty")) as fetching:
        with pytest.raises(InvalidSetting, match="holds no certificates"):
            await fetching.fetch(site.url().replace("http:", "https:"))


@pytest.mark.parametrize("agent", ["a\r\nX: y", "caf\u20ac"])
def test_a_user_agent_that_no_header_holds_is_named(agent: str) -> None:
    with pytest.raises(InvalidSetting, match="user_agent"):
        fetcher(user_agent=agent)


# Files within pages.


def page(body: bytes) -> Fetched:
    return Fetched(url="http://a.test/s.xml.gz", final_url="http://a.test/s.xml.gz", status=200, body=body)


def test_a_compressed_file_is_unpacked_once_and_within_the_limit() -> None:
    assert page(b"<urlset/>").unpacked() == b"<urlset/>"
    assert page(gzip.compress(b"<urlset/>" * 9999)).unpacked() == b"<urlset/>" * 9999
    for body, expected in (
        (gzip.compress(gzip.compress(b"x")), "encoding"),
        (gzip.compress(b"x" * 100)[:-9], "encoding"),
        (bomb(64), "too_large"),
    ):
        with pytest.raises(CrawlError) as raised:
            page(body).unpacked()
        assert raised.value.fields["reason"] == expected


def links() -> Iterator[tuple[str, str | None]]:
    yield '</a>; rel="canonical"', "http://a.test/a"
    yield '<https://b.test/>; rel="alternate canonical"; x', "https://b.test/"
    yield "</a>; REL=Canonical", "http://a.test/a"
    yield "</a>; rel=canonicals, </b>; rel=canonical", "http://a.test/b"
    yield "<javascript:x>; rel=canonical", None
    yield "<http://user@b.test/>; rel=canonical", None
    yield "</a>; title=canonical", None
    yield "</a", None
    yield "<" * 60_000, None
    yield "<a>;" * 15_000, None


@pytest.mark.parametrize(("value", "expected"), list(links()), ids=range(10))
@in_loop()
async def test_canonical_links_are_addresses(value: str, expected: str | None) -> None:
    found = (await answered(reply(b"x", headers=[("Link", value)]))).canonical
    assert found == (None if expected is None else found)
    assert (found or "").rpartition("/")[2] == (expected or "").rpartition("/")[2]


# What it costs those who do not crawl.


def test_nothing_of_the_network_is_imported_before_it_is_used() -> None:
    script = "import sys, clockify_rag.crawling.fetching as f; f.Fetcher(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"h11", "idna", "requests", "numpy"} & set(done.stdout.split())


def test_every_reason_and_limit_is_documented() -> None:
    text = (Path(__file__).parent.parent / "docs" / "crawling.md").read_text(encoding="utf-8")
    assert all(f"| `{word}` |" in text for word in get_args(Reason))
    assert all(f"`{name}`" in text for name in addresses._PRIVATE_NAMES)
    settings = FetchSettings()
    assert (settings.maximum_bytes, settings.page_seconds, settings.per_host, settings.concurrency) == (
        10 * MIB,
        60,
        2,
        128,
    )
    assert (settings.resolve_seconds, settings.connect_seconds, settings.maximum_redirects) == (10, 10, 5)
    assert (settings.backoff_seconds, settings.retries, settings.maximum_wait_seconds) == (1, 3, 60)
