"""Local web servers that say exactly what a test wants them to, on real sockets, and count what reaches them.

They speak HTTP by hand, because no library can be made to lie about lengths or to send a header a hundred thousand times.
A test runs in one event loop with its servers, so what they counted can be read at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Self


class SiteRequest:
    """What a client sent."""

    def __init__(self, head: bytes) -> None:
        lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.method, self.target, _version = lines[0].split(" ", 2)
        self.fields = [
            (name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])
        ]
        self.headers = dict(self.fields)


Answer = bytes | AsyncIterator[bytes]
"""Bytes keep the connection open; an iterator's pieces are sent as they come, and end it."""


class Site:
    """A server on one address; an asynchronous context manager.

    Args:
        answer: what a request is answered with.
        host: the IP address to listen on.
        port: 0 takes a free one.
        context: encrypts.
    """

    def __init__(
        self,
        answer: Callable[[SiteRequest], Answer | Awaitable[Answer]],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._answer = answer
        self._host = host
        self._context = context
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = port
        self.accepted = 0
        self.requests: list[SiteRequest] = []
        self.active = 0
        self.most_active = 0

    async def __aenter__(self) -> Self:
        family = 10 if ipaddress.ip_address(self._host).version == 6 else 2
        self._server = await asyncio.start_server(self._accept, self._host, self.port, ssl=self._context, family=family)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)

    def url(self, path: str = "/", host: str = "site.test") -> str:
        """The URL of ``path`` under a name that tests resolve to this server."""
        return f"{'https' if self._context else 'http'}://{host}:{self.port}{path}"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                while await self._serve_one(reader, writer):
                    pass
        finally:
            writer.transport.abort()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = SiteRequest(await reader.readuntil(b"\r\n\r\n"))
        self.requests.append(request)
        self.active += 1
        self.most_active = max(self.most_active, self.active)
        try:
            answer = self._answer(request)
            if isinstance(answer, Awaitable):
                answer = await answer
        finally:
            self.active -= 1
        if isinstance(answer, bytes):
            writer.write(answer)
            await writer.drain()
            return bool(answer)
        async for piece in answer:
            writer.write(piece)
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        return False


class Canary:
    """Listens on every loopback address of both families, on one port, and counts who connects."""

    def __init__(self) -> None:
        self._sites = [Site(lambda _request: reply(b"SECRET"), host=host) for host in ("0.0.0.0", "::")]

    async def __aenter__(self) -> Self:
        four, six = self._sites
        await four.__aenter__()
        six.port = four.port
        await six.__aenter__()
        self.port = four.port
        return self

    async def __aexit__(self, *_: object) -> None:
        for site in self._sites:
            await site.__aexit__()

    @property
    def accepted(self) -> int:
        """Connections that were made."""
        return sum(site.accepted for site in self._sites)


def reply(body: bytes = b"", status: str = "200 OK", *, headers: Sequence[tuple[str, str]] = ()) -> bytes:
    """Return a whole response with its length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    """Return a redirect."""
    return reply(status=status, headers=[("Location", location)])


def head(*lines: str, status: str = "200 OK") -> bytes:
    """Return the head of a response that says nothing of itself."""
    return ("\r\n".join([f"HTTP/1.1 {status}", *lines]) + "\r\n\r\n").encode()
