"""Connections of a crawl: a name is resolved once, all its addresses are vetted, and a vetted one is connected to.

The check stands where a socket is made, so that no URL, redirect or kept connection goes around it, and the peer's address is
compared once more before a byte is sent. HTTP/1.1 is spoken by h11, the parser that httpx2 and httpcore2 are built on, and not by
those: between the parts that were vetted and the socket they would parse the URL a second time, and they would take bytes
that follow a body for the next answer (RFC 9112, section 6.3, forbids it), where here a wrong length is an error.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress
import os
import socket
import ssl
import threading
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, Final, NoReturn

import h11

from clockify_rag.crawling.addresses import Address, PrivateHosts, Reason
from clockify_rag.errors import CrawlError

Resolver = Callable[[str, int], Sequence[str]]
"""Returns the IP addresses of a host; raises ``OSError`` where there are none. It is called in a thread and may block."""

Headers = Sequence[tuple[str, str]]

MAXIMUM_RESOLUTIONS: Final = 32
"""Names that are resolved at one time, those that nobody waits for any more included."""

MAXIMUM_HEADER_BYTES: Final = 65_536
"""Bytes of an answer's headers, or of a chunk's head."""

MAXIMUM_HEADERS: Final = 200
"""Lines of an answer's headers."""

KEPT_SECONDS: Final = 15.0
"""How long a connection that is not used is kept."""

MAXIMUM_KEPT: Final = 128
"""Connections to all hosts that are kept without being used."""

_ATTEMPTS = 4
_INTERIM_ANSWERS = 8
_READ_BYTES = 65_536


class Lost(Exception):
    """A connection ended before an answer began: the request may be sent again."""


def system_addresses(host: str, port: int) -> Sequence[str]:
    """Return the IP addresses of ``host`` that the system's resolver gives."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


class Proxy:
    """A proxy that speaks plain HTTP.

    Args:
        address: where it is, which the user said: it is not vetted.
        user: ``user:password``, or nothing.
    """

    def __init__(self, address: Address, user: str = "") -> None:
        self.address = address
        token = base64.b64encode(user.encode()).decode("ascii")
        self.headers: Headers = (("Proxy-Authorization", f"Basic {token}"),) if user else ()

    def __repr__(self) -> str:
        return f"Proxy({self.address.origin!r})"


class Connection:
    """One connection that speaks HTTP/1.1, one request after the other. Deadlines are the caller's: it may be cancelled anywhere."""

    def __init__(self, address: Address, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        self._address = address
        self._reader = reader
        self._writer = writer
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAXIMUM_HEADER_BYTES)
        self._ended = False
        self.used = False
        """Whether it has answered before, so that a server may have closed it meanwhile."""
        self.kept_since = 0.0

    async def ask(self, method: str, target: str, headers: Headers) -> h11.Response:
        """Send a request and return the head of its answer.

        Raises:
            Lost: the connection ended first.
            CrawlError: with ``reason`` ``headers`` or ``protocol``.
        """
        request = h11.Request(method=method, target=target, headers=list(headers))
        sent = [self._protocol.send(request), self._protocol.send(h11.EndOfMessage())]
        try:
            self._writer.write(b"".join(part for part in sent if part))
            await self._writer.drain()
            for _ in range(_INTERIM_ANSWERS):
                event = await self._event()
                if isinstance(event, h11.Response):
                    break
                if not isinstance(event, h11.InformationalResponse):
                    raise Lost("the connection was closed")
            else:
                self._refuse("protocol", f"it answered nothing but {_INTERIM_ANSWERS} interim statuses")
        except OSError as error:
            raise Lost(reason_of(error)) from error
        if len(event.headers) > MAXIMUM_HEADERS:
            self._refuse("headers", f"its answer has more than {MAXIMUM_HEADERS} headers")
        return event

    async def body(self) -> AsyncGenerator[bytes, None]:
        """Yield the pieces of the answer's body, as they were sent; never more than 64 KiB and what a parser held.

        Raises:
            CrawlError: with ``reason`` ``length``, ``headers``, ``protocol`` or ``unreachable``.
        """
        try:
            while not isinstance(event := await self._event(), h11.EndOfMessage):
                if not isinstance(event, h11.Data):
                    self._refuse("length", "its answer ends before it is complete")
                yield bytes(event.data)
        except OSError as error:
            self._refuse("unreachable", f"the connection was lost: {reason_of(error)}")
        self.used = True
        if self._surplus:
            self._refuse("length", "its answer is longer than its Content-Length")

    async def drain(self, *, maximum_bytes: int, seconds: float) -> None:
        """Read a body that nobody wants, if it is short: the connection can then be used again."""
        with contextlib.suppress(CrawlError, TimeoutError):
            async with asyncio.timeout(seconds):
                async for piece in self.body():
                    maximum_bytes -= len(piece)
                    if maximum_bytes < 0:
                        return

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent."""
        done = self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE
        return done and not (self._ended or self._surplus or self._writer.is_closing())

    @property
    def _surplus(self) -> bool:
        return bool(self._protocol.trailing_data[0] or self._reader.pending)

    def keep(self) -> None:
        """Make ready for the next request."""
        self._protocol.start_next_cycle()
        self.kept_since = asyncio.get_running_loop().time()

    @property
    def stale(self) -> bool:
        """Whether a kept connection was closed, kept too long, or sent what nobody asked for."""
        old = asyncio.get_running_loop().time() - self.kept_since > KEPT_SECONDS
        return old or bool(self._reader.pending) or self._reader.at_eof() or self._writer.is_closing()

    async def encrypt(self, context: ssl.SSLContext, name: str, seconds: float) -> None:
        """Begin TLS with the host ``name``; raises ``CrawlError`` with ``reason`` ``certificate`` or ``unreachable``."""
        deadline = asyncio.timeout(seconds)
        try:
            async with deadline:
                await self._writer.start_tls(context, server_hostname=name)
        except ssl.SSLError as error:
            self._refuse(
                "certificate",
                f"TLS failed: {reason_of(error)}",
                hint="where an authority of your own signs its certificate: --set crawling.ca_bundle=FILE",
                cause=error,
            )
        except OSError as error:
            if deadline.expired():
                self._refuse(
                    "certificate",
                    f"TLS failed: it did not answer within {seconds:g} s",
                    hint="check that it speaks https, and not http, on that port",
                    cause=error,
                )
            self._refuse("unreachable", f"the connection was lost: {reason_of(error)}", cause=error)
        if self._reader.pending:
            # Sent before TLS began, by anybody on the way: it would be taken for what the host said.
            self._refuse("protocol", "it spoke before it was asked")

    async def tunnel(self, proxy: Proxy) -> None:
        """Let the proxy at the other end connect to this connection's host; raises ``CrawlError``."""
        authority = f"{_bracketed(self._address.host)}:{self._address.port}"
        answer = await self.ask("CONNECT", authority, [("Host", authority), *proxy.headers])
        if answer.status_code // 100 != 2:  # noqa: PLR2004 - success
            self._refuse("unreachable", f"the proxy answered {answer.status_code}", hint="check crawling.proxy")
        self._protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAXIMUM_HEADER_BYTES)

    def close(self) -> None:
        """End the connection at once: a peer that does not answer the end of TLS would hold up the next page."""
        self._writer.transport.abort()

    async def _event(self) -> type[h11.PAUSED | h11.NEED_DATA] | h11.Event:
        while True:
            try:
                event = self._protocol.next_event()
            except h11.RemoteProtocolError as error:
                self._misspoken(error)
            if event is not h11.NEED_DATA:
                return event
            piece = await self._reader.read(_READ_BYTES)
            self._ended = self._ended or not piece
            if not piece and self._protocol.their_state is h11.SEND_RESPONSE:
                raise Lost("the connection was closed before an answer")
            self._protocol.receive_data(piece)

    def _misspoken(self, error: h11.RemoteProtocolError) -> NoReturn:
        if error.error_status_hint == 431:  # noqa: PLR2004 - Request Header Fields Too Large
            self._refuse("headers", f"its answer has headers of more than {MAXIMUM_HEADER_BYTES} bytes", cause=error)
        if self._ended and self._protocol.their_state is h11.ERROR:
            self._refuse("length", "its answer ends before it is complete", cause=error)
        self._refuse("protocol", f"its answer is not HTTP: {error}", cause=error)

    def _refuse(self, reason: Reason, why: str, hint: str = "", cause: BaseException | None = None) -> NoReturn:
        origin = self._address.origin
        raise CrawlError(f"{origin} cannot be read: {why}", hint=hint, reason=reason, url=origin) from cause


class Connections:
    """Makes connections to vetted addresses and keeps those that can be used again.

    Args:
        private_hosts: hosts that may have private addresses.
        resolver: gives the IP addresses of a name.
        resolve_seconds: how long that may take.
        connect_seconds: how long connecting to one IP address may take, and how long the beginning of TLS.
        kept: idle connections that are kept for one host and port.
        context: makes what certificates are checked with, when the first is needed.
        proxy: where all connections go instead; it resolves the names.
    """

    def __init__(
        self,
        private_hosts: PrivateHosts,
        resolver: Resolver,
        *,
        resolve_seconds: float,
        connect_seconds: float,
        kept: int,
        context: Callable[[], ssl.SSLContext],
        proxy: Proxy | None = None,
    ) -> None:
        self._private_hosts = private_hosts
        self._resolver = resolver
        self._resolve_seconds = resolve_seconds
        self._connect_seconds = connect_seconds
        self._kept = kept
        self._make_context = context
        self._context: ssl.SSLContext | None = None
        self._proxy = proxy
        self._idle: defaultdict[str, list[Connection]] = defaultdict(list)
        self._resolutions = asyncio.Semaphore(MAXIMUM_RESOLUTIONS)

    @contextlib.asynccontextmanager
    async def to(self, address: Address) -> AsyncIterator[Connection]:
        """Lend a connection to the host and port of ``address``, encrypted if its scheme says so.

        Raises:
            CrawlError: with ``reason`` ``private``, ``unresolved``, ``unreachable`` or ``certificate``.
        """
        connection = self._idle_one(address.origin) or await self._new(address)
        try:
            yield connection
        except BaseException:
            connection.close()
            raise
        idle = self._idle[address.origin]
        if connection.reusable and len(idle) < self._kept:
            connection.keep()
            idle.append(connection)
            self._drop_some()
        else:
            connection.close()

    def _drop_some(self) -> None:
        """Close what is stale where too many connections are kept, and then the oldest."""
        if sum(map(len, self._idle.values())) <= MAXIMUM_KEPT:
            return
        every = sorted((kept for idle in self._idle.values() for kept in idle), key=lambda kept: kept.kept_since)
        wanted = {id(kept) for kept in [kept for kept in every if not kept.stale][-MAXIMUM_KEPT:]}
        for kept in every:
            if id(kept) not in wanted:
                kept.close()
        lists = ((origin, [kept for kept in idle if id(kept) in wanted]) for origin, idle in self._idle.items())
        self._idle = defaultdict(list, {origin: idle for origin, idle in lists if idle})

    def close(self) -> None:
        """End all connections that are kept."""
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()

    def _idle_one(self, origin: str) -> Connection | None:
        idle = self._idle[origin]
        while idle:
            connection = idle.pop()
            if not connection.stale:
                return connection
            connection.close()
        return None

    async def _new(self, address: Address) -> Connection:
        there = address if self._proxy is None else self._proxy.address
        reader, writer = await self._open(there, await self._ips(there))
        connection = Connection(address, reader, writer)
        try:
            if address.scheme == "https":
                if self._proxy is not None:
                    await connection.tunnel(self._proxy)
                if self._context is None:
                    self._context = await asyncio.to_thread(self._make_context)
                await connection.encrypt(self._context, address.host, self._connect_seconds)
        except BaseException:
            connection.close()
            raise
        return connection

    async def _open(self, address: Address, ips: Sequence[str]) -> tuple[_Reader, asyncio.StreamWriter]:
        failure: Exception | None = None
        for ip in ips[:_ATTEMPTS]:
            try:
                async with asyncio.timeout(self._connect_seconds):
                    return await _opened(ip, address.port)
            except (OSError, TimeoutError) as error:
                failure = error
        why = "it did not answer" if isinstance(failure, TimeoutError) else reason_of(failure)
        raise CrawlError(
            f"{address.authority} cannot be reached: {why}",
            hint="check the address, and that the server runs",
            reason="unreachable",
            url=address.origin,
        ) from failure

    async def _ips(self, address: Address) -> Sequence[str]:
        """Return the IP addresses to connect to, all of them vetted, unless it is the proxy's address."""
        proxied = self._proxy is not None
        if address.literal is not None:
            return (address.host,) if proxied else self._private_hosts.vet(address, [address.host])
        try:
            async with asyncio.timeout(self._resolve_seconds):
                answers = await self._resolved(address.host, address.port)
        except (OSError, TimeoutError, UnicodeError) as error:
            why = "the resolver did not answer" if isinstance(error, TimeoutError) else reason_of(error)
            raise CrawlError(
                f"{address.host} cannot be resolved: {why}",
                hint="check the name",
                reason="unresolved",
                url=address.origin,
            ) from error
        return answers if proxied else self._private_hosts.vet(address, answers)

    async def _resolved(self, host: str, port: int) -> Sequence[str]:
        """Ask the resolver in a thread of its own, because one that hangs must hold up neither others nor the end."""
        await self._resolutions.acquire()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Sequence[str]] = loop.create_future()

        def finish(answers: Sequence[str], error: Exception | None) -> None:
            self._resolutions.release()
            if future.done():
                return
            if error is None:
                future.set_result(answers)
            else:
                future.set_exception(error)

        def ask() -> None:
            try:
                answers, error = self._resolver(host, port), None
            except Exception as raised:  # noqa: BLE001 - it belongs to whoever waits
                answers, error = (), raised
            with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(finish, answers, error)

        try:
            threading.Thread(target=ask, name="clockify-rag-resolver", daemon=True).start()
        except RuntimeError as error:
            self._resolutions.release()
            raise OSError(str(error)) from error
        return await future


class _Reader(asyncio.StreamReader):
    """A stream that knows how many bytes have come and were not read."""

    pending = 0

    def feed_data(self, data: Any) -> None:
        self.pending += len(data)
        super().feed_data(data)

    async def read(self, n: int = -1) -> bytes:
        piece = await super().read(n)
        self.pending -= len(piece)
        return piece


async def _opened(ip: str, port: int) -> tuple[_Reader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    wanted = ipaddress.ip_address(ip)
    family = socket.AF_INET if isinstance(wanted, ipaddress.IPv4Address) else socket.AF_INET6
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)  # noqa: FBT003 - the standard library's
        await loop.sock_connect(connection, (ip, port))
        if ipaddress.ip_address(connection.getpeername()[0]) != wanted:
            raise OSError(f"{ip} was asked for, and another address answered")
        reader = _Reader(limit=_READ_BYTES, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, sock=connection)
    except BaseException:
        connection.close()
        raise
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def reason_of(error: BaseException | None) -> str:
    """Return why an operation of the network failed, in the system's words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ConnectionError) and error.errno:
        # asyncio puts a sentence of its own, with the address, in the place of the system's.
        return os.strerror(error.errno)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
