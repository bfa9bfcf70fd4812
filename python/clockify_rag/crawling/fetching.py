"""The one fetcher of a crawl: safe towards this machine and its network, polite towards the host, bounded in everything.

Every way to a page goes through ``Fetcher.fetch``: pages, robots.txt, sitemaps, and each redirect. It asks only for what
``addresses`` vetted, over connections that ``connecting`` made to vetted IP addresses; it decodes at most one layer of gzip and
stops at a number of decoded bytes while it streams; a page has one deadline for everything. Waiting is for the host's sake
(few connections, a delay between requests, ``Retry-After``) and counts towards no deadline.

A page that could not be had is a ``CrawlError`` whose field ``reason`` is one of ``addresses.Reason``; a status such as 404 is
no error but an answer. Clocks are monotonic: a date in a header is only compared with another date of the same answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import unquote

import msgspec

from clockify_rag.crawling.addresses import Address, PrivateHosts, parse, refuse, resolve, shown
from clockify_rag.crawling.credentials import HEADER_VALUE, Credentials, HostCredentials
from clockify_rag.crawling.decoding import GZIP, PIECE_BYTES, Gunzip, Plain, too_large
from clockify_rag.errors import CrawlError, InvalidSetting

if TYPE_CHECKING:
    import ssl

    from clockify_rag.crawling.connecting import Connection, Connections, Proxy, Resolver

__all__ = ["ACCEPT", "MAXIMUM_BYTES", "REDIRECTS", "FetchSettings", "Fetched", "Fetcher", "Hop", "HostCredentials"]

MAXIMUM_BYTES: Final = 10 << 20
"""Decoded bytes that a page has at most, where nothing else is said."""

ACCEPT: Final = "text/html,application/xhtml+xml;q=0.9,text/markdown;q=0.9,text/plain;q=0.8,*/*;q=0.1"
"""What is asked for where nothing else is said."""

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
"""Statuses whose ``Location`` is followed."""

_WAIT = frozenset({429, 503})
_NOT_MODIFIED = 304
_SUCCESS = 2
_LONGEST_NUMBER = 12
_FRAMING_BYTES = 65_536
_DRAIN_SECONDS = 1.0
_LONGEST_DELAY = 86_400.0
_LINK = re.compile(r"<([^<>]*)>([^,<>]*)")
_REL = re.compile(r';\s*rel\s*=\s*(?:"([^"]*)"|([^\s;,"]+))', re.IGNORECASE)
_CHARSET = re.compile(r""";\s*charset\s*=\s*["']?([^\s"';,]+)""", re.IGNORECASE)


class FetchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How pages are fetched. Times are in seconds."""

    user_agent: str = ""
    """Follows ``clockify-rag/<version>`` in the header of that name: a contact, for example."""
    maximum_bytes: int = MAXIMUM_BYTES
    """Decoded bytes that a page has at most."""
    page_seconds: float = 60.0
    """Longest time for one page: all its redirects, attempts and bytes, but not waiting for a turn."""
    connect_seconds: float = 10.0
    """Longest time for connecting to one IP address, and for the beginning of TLS."""
    resolve_seconds: float = 10.0
    """Longest time for resolving a name."""
    concurrency: int = 128
    """Requests at one time, to all hosts."""
    per_host: int = 2
    """Requests at one time to one host."""
    delay_seconds: float = 0.0
    """Shortest time between the starts of two requests to one host; ``Fetcher.set_delay`` changes it for a host."""
    retries: int = 3
    """How often a request is sent again after a status of 429 or 503; a lost connection is made again once."""
    backoff_seconds: float = 1.0
    """First wait before a request is sent again where no ``Retry-After`` says more; it doubles each time."""
    maximum_wait_seconds: float = 60.0
    """Longest wait before a request is sent again; a ``Retry-After`` beyond it ends the attempts."""
    maximum_redirects: int = 5
    """Redirects that are followed for one page."""
    allow_private_hosts: tuple[str, ...] = ()
    """Hosts that may have private addresses: ``host`` or ``host:port``."""
    credentials: Mapping[str, HostCredentials] = {}
    """``host`` or ``host:port`` (then only https), or ``http://host:port``, to what that host alone is sent."""
    proxy: str | None = None
    """``http://host:port`` of a proxy that all requests go through; it resolves names, so only URLs are vetted then."""
    ca_bundle: str | None = None
    """File of the certificates that are trusted instead of the system's."""


class Hop(msgspec.Struct, frozen=True):
    """A redirect that was followed."""

    url: str
    """The address that redirected."""
    status: int
    """Its status: 301, 302, 303, 307 or 308."""


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """What a host answered, after all redirects."""

    url: str
    """The canonical form of the URL that was asked for."""
    final_url: str
    """Where the answer came from; differs from ``url`` after redirects."""
    hops: tuple[Hop, ...] = ()
    """The redirects, in order."""
    status: int
    body: bytes | None
    """Decoded bytes; ``None`` for 304, empty for every other status that is no success."""
    wire_bytes: int = 0
    """Bytes of the body as they were sent."""
    content_type: str = ""
    """Lower case, without parameters: ``text/html``."""
    charset: str | None = None
    """As the content type names it, lower case; not checked."""
    content_encoding: str = ""
    """``gzip`` where that layer was removed, else empty."""
    content_language: str | None = None
    etag: str | None = None
    """As sent, for the next ``fetch``."""
    last_modified: str | None = None
    """As sent, for the next ``fetch``."""
    retry_after: float | None = None
    """Seconds that the host asks to wait."""
    robots: tuple[str, ...] = ()
    """Values of ``X-Robots-Tag`` headers, as sent."""
    canonical: str | None = None
    """The ``rel="canonical"`` address of ``Link`` headers, in canonical form; ``None`` where it is no http or https URL."""

    @property
    def not_modified(self) -> bool:
        """Whether the page is still the one whose ``etag`` or ``last_modified`` was given."""
        return self.body is None

    def unpacked(self, maximum_bytes: int = MAXIMUM_BYTES) -> bytes:
        """Return the body, and where it is a gzip file (a sitemap's ``.xml.gz``), that file's content.

        Raises:
            CrawlError: the file is damaged (``encoding``), too large (``too_large``), or a gzip file again (``encoding``).
        """
        body = self.body or b""
        if not body.startswith(GZIP):
            return body
        decoder = Gunzip(self.final_url, maximum_bytes)
        for start in range(0, len(body), PIECE_BYTES):
            decoder.feed(body[start : start + PIECE_BYTES])
        return decoder.finished()


class Fetcher:
    """Fetches pages; an asynchronous context manager. Making one opens no socket.

    Args:
        settings: limits, manners and permissions.
        resolver: gives the IP addresses of a name; by default the system's.
        environment: where the variables of credentials are; by default the process's.

    Raises:
        InvalidSetting: a host, header, variable, proxy or file of the settings cannot be used. Values are not shown.
    """

    def __init__(
        self,
        settings: FetchSettings | None = None,
        *,
        resolver: Resolver | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        from clockify_rag import __version__

        self.settings = settings or FetchSettings()
        _check_numbers(self.settings)
        self._private_hosts = PrivateHosts(self.settings.allow_private_hosts)
        self._credentials = Credentials(self.settings.credentials, os.environ if environment is None else environment)
        self._proxy = None if self.settings.proxy is None else _proxy(self.settings.proxy)
        if self.settings.ca_bundle is not None and not os.path.isfile(self.settings.ca_bundle):  # noqa: PTH113 - as given
            raise InvalidSetting(
                f"crawling.ca_bundle is {self.settings.ca_bundle}, which is no file",
                hint="name a file of PEM certificates",
                key="crawling.ca_bundle",
            )
        self._user_agent = _checked_agent(f"clockify-rag/{__version__} {self.settings.user_agent}".rstrip())
        self._resolver = resolver
        self._turns: dict[str, _Turn] = {}
        self._connections: Connections | None = None
        self._all = asyncio.Semaphore(self.settings.concurrency)

    def __repr__(self) -> str:
        return f"Fetcher({self._user_agent!r})"

    async def __aenter__(self) -> Self:
        from clockify_rag.crawling.connecting import Connections, system_addresses

        self._connections = Connections(
            self._private_hosts,
            self._resolver or system_addresses,
            resolve_seconds=self.settings.resolve_seconds,
            connect_seconds=self.settings.connect_seconds,
            kept=self.settings.per_host,
            context=self._tls,
            proxy=self._proxy,
        )
        return self

    async def __aexit__(self, *_exception: object) -> None:
        if self._connections is not None:
            self._connections.close()
            self._connections = None
            await asyncio.sleep(0)  # sockets are closed by the loop, after this turn of it

    def set_delay(self, host: str, seconds: float) -> None:
        """Keep at least ``seconds`` between the starts of two requests to ``host``: the ``Crawl-delay`` of its robots.txt.

        Args:
            host: as ``Address.host`` has it.
            seconds: at most a day is taken; less than the setting's delay changes nothing.
        """
        self._turn(host).delay = max(self.settings.delay_seconds, min(seconds, _LONGEST_DELAY))

    async def fetch(
        self,
        url: str | Address,
        *,
        etag: str | None = None,
        last_modified: str | None = None,
        accept: str = ACCEPT,
        maximum_bytes: int | None = None,
        may_follow: Callable[[Address], bool] | None = None,
    ) -> Fetched:
        """Return what the host of ``url`` answers.

        Args:
            url: an absolute http or https URL; its fragment is ignored.
            etag: of the copy that is kept: an unchanged page is then answered with 304 and no body.
            last_modified: likewise.
            accept: the ``Accept`` header.
            maximum_bytes: decoded bytes of this page at most; by default the setting.
            may_follow: says of a redirect's target whether the crawl may go there; by default only the same host. Where it
                does not, the error's reason is ``outside`` and its field ``target`` the canonical URL.

        Raises:
            CrawlError: with ``reason``, an ``addresses.Reason``, and ``url``.
        """
        first = parse(url if isinstance(url, str) else url.url)
        try:
            return await self._fetch(first, etag, last_modified, accept, maximum_bytes, may_follow)
        except CrawlError as error:
            error.fields["url"] = shown(first.url)
            # A host can put what it was sent into what it answers, an address for example.
            masked = self._credentials.masked(error)
            if masked is not None:
                raise masked from None
            raise

    async def _fetch(
        self,
        first: Address,
        etag: str | None,
        last_modified: str | None,
        accept: str,
        maximum_bytes: int | None,
        may_follow: Callable[[Address], bool] | None,
    ) -> Fetched:
        conditions = _conditions(etag, last_modified)
        limit = self.settings.maximum_bytes if maximum_bytes is None else maximum_bytes
        budget = _Budget(first, self.settings.page_seconds)
        follow = may_follow or (lambda address: address.host == first.host)
        hops: list[Hop] = []
        visited = [first]
        self._private_hosts.check(first)
        while True:
            address = visited[-1]
            headers = [("Accept", accept), *(conditions if address.host == first.host else ())]
            answer = await self._patiently(address, headers, limit, budget)
            if answer.status not in REDIRECTS:
                return _fetched(first, address, hops, answer, conditional=bool(conditions))
            hops.append(Hop(address.url, answer.status))
            visited.append(self._target(answer, visited, follow))

    async def _patiently(
        self, address: Address, headers: list[tuple[str, str]], limit: int, budget: _Budget
    ) -> _Answer:
        """Return the answer to one request, which is sent again where that can help."""
        from clockify_rag.crawling.connecting import Lost

        turn = self._turn(address.host)
        waits = losses = 0
        while True:
            try:
                async with turn.taken(self._all), budget.spent():
                    answer = await self._once(address, headers, limit)
            except (Lost, CrawlError) as error:
                losses += 1
                if isinstance(error, CrawlError) and (losses > 1 or error.fields["reason"] != "unreachable"):
                    raise
                if losses > 1:
                    raise CrawlError(
                        f"{address.origin} cannot be read: {error}", hint="try again later", reason="unreachable"
                    ) from error
                turn.pause(self.settings.backoff_seconds)
                continue
            wait = self.settings.backoff_seconds * 2**waits
            wait = max(wait, _retry_after(answer) or 0.0)
            if (
                answer.status not in _WAIT
                or waits == self.settings.retries
                or wait > self.settings.maximum_wait_seconds
            ):
                return answer
            waits += 1
            turn.pause(wait)

    async def _once(self, address: Address, headers: list[tuple[str, str]], limit: int) -> _Answer:
        """Return the answer to one request that is sent once, or again where a kept connection had been closed meanwhile."""
        from clockify_rag.crawling.connecting import Lost

        if self._connections is None:
            raise RuntimeError("a Fetcher fetches within its `async with` block")
        sent = self._request_headers(address, headers)
        forwarded = self._proxy is not None and address.scheme == "http"
        while True:
            async with self._connections.to(address) as connection:
                try:
                    head = await connection.ask("GET", address.url if forwarded else address.target, sent)
                except Lost:
                    if not connection.used:
                        raise
                    connection.close()
                    continue
                fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers]
                answer = _Answer(address, head.status_code, fields)
                if head.status_code // 100 == _SUCCESS:
                    await answer.read(connection, limit)
                else:
                    await connection.drain(maximum_bytes=PIECE_BYTES, seconds=_DRAIN_SECONDS)
            return answer

    def _request_headers(self, address: Address, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        sent = [("Host", address.authority), ("User-Agent", self._user_agent), ("Accept-Encoding", "gzip"), *headers]
        if self._proxy is not None and address.scheme == "http":
            sent += self._proxy.headers
        return [*sent, *self._credentials.of(address)]

    def _target(self, answer: _Answer, visited: list[Address], may_follow: Callable[[Address], bool]) -> Address:
        """Return where a redirect leads, if it may be followed."""
        here, first = visited[-1], visited[0]
        location = answer.first("location")
        if location is None:
            refuse(first.url, f"it answered {answer.status} without a Location", "redirects")
        with contextlib.suppress(UnicodeDecodeError):
            location = location.encode("latin-1").decode()
        target = resolve(location, here)
        if here.scheme == "https" and target.scheme == "http":
            if target.host != here.host or target.port != 80:  # noqa: PLR2004 - the port of http
                refuse(first.url, f"it redirects from https to {shown(target.url)}", "downgrade", target=target.url)
            # Servers behind a proxy that ends TLS do not know that they are on https; their page is there too.
            target = msgspec.structs.replace(target, scheme="https", port=here.port)
        if target in visited:
            refuse(first.url, f"it redirects in a circle, to {shown(target.url)}", "redirects", target=target.url)
        if len(visited) > self.settings.maximum_redirects:
            refuse(first.url, f"it redirects more than {self.settings.maximum_redirects} times", "redirects")
        self._private_hosts.check(target)
        if not may_follow(target):
            refuse(first.url, f"it redirects to {shown(target.url)}", "outside", target=target.url)
        return target

    def _turn(self, host: str) -> _Turn:
        turn = self._turns.get(host)
        if turn is None:
            turn = self._turns[host] = _Turn(self.settings.per_host, self.settings.delay_seconds)
        return turn

    def _tls(self) -> ssl.SSLContext:
        import ssl

        try:
            context = ssl.create_default_context(cafile=self.settings.ca_bundle)
            if self.settings.ca_bundle is None and not _has_system_store(context):
                import certifi

                context.load_verify_locations(certifi.where())
        except (OSError, ssl.SSLError) as error:
            raise InvalidSetting(
                f"crawling.ca_bundle is {self.settings.ca_bundle}, which holds no certificates: {error}",
                hint="name a file of PEM certificates",
                key="crawling.ca_bundle",
            ) from error
        return context


class _Turn:
    """Whose turn it is at one host: few requests at a time, and none before the host wants one."""

    def __init__(self, requests: int, delay: float) -> None:
        self.delay = delay
        self._slots = asyncio.Semaphore(requests)
        self._next = 0.0

    @contextlib.asynccontextmanager
    async def taken(self, everybody: asyncio.Semaphore) -> AsyncIterator[None]:
        """Wait for this host's turn, and then for one of all hosts' turns, which nobody keeps while waiting for a host."""
        async with self._slots:
            while True:
                if (wait := self._next - _now()) > 0:
                    await asyncio.sleep(wait)
                    continue
                async with everybody:
                    if (now := _now()) >= self._next:
                        self._next = now + self.delay
                        yield
                        return

    def pause(self, seconds: float) -> None:
        """Let no request start within ``seconds``."""
        self._next = max(self._next, _now() + seconds)


class _Budget:
    """The time that a page may take, and what is left of it."""

    def __init__(self, address: Address, seconds: float) -> None:
        self._address = address
        self._seconds = self._left = seconds

    @contextlib.asynccontextmanager
    async def spent(self) -> AsyncIterator[None]:
        start = _now()
        deadline = asyncio.timeout(self._left)
        try:
            async with deadline:
                yield
        except TimeoutError as error:
            if not deadline.expired():
                raise
            raise CrawlError(
                f"{shown(self._address.url)} is not fetched: it did not finish within {self._seconds:g} s",
                hint="raise crawling.page_seconds, or try again later",
                reason="deadline",
                url=shown(self._address.url),
            ) from error
        finally:
            self._left = max(0.0, self._left - (_now() - start))


class _Answer:
    """One answer: its status, its headers, and its body where that was read."""

    def __init__(self, address: Address, status: int, fields: list[tuple[str, str]]) -> None:
        self._address = address
        self._fields = fields
        self.status = status
        self.body = b""
        self.wire_bytes = 0
        self.encoding = ""

    def every(self, name: str) -> Iterator[str]:
        """Yield the values of all headers ``name``."""
        return (value for field, value in self._fields if field == name)

    def first(self, name: str) -> str | None:
        """Return the value of the first header ``name``."""
        return next(self.every(name), None)

    async def read(self, connection: Connection, limit: int) -> None:
        """Read and decode the body; never holds more than ``limit`` decoded bytes and one piece."""
        self.encoding = self._encoding()
        length = self.first("content-length") or ""
        if length.isdecimal() and int(length[:_LONGEST_NUMBER]) > limit + _FRAMING_BYTES:
            too_large(self._address.url, limit)
        decoder = Gunzip(self._address.url, limit) if self.encoding else Plain(self._address.url, limit)
        async with contextlib.aclosing(connection.body()) as pieces:
            async for piece in pieces:
                self.wire_bytes += len(piece)
                if self.wire_bytes > limit + _FRAMING_BYTES:
                    too_large(self._address.url, limit)
                decoder.feed(piece)
        self.body = decoder.finished() if self.wire_bytes else b""

    def _encoding(self) -> str:
        named = [part.strip().lower() for value in self.every("content-encoding") for part in value.split(",")]
        layers = [name for name in named if name not in {"", "identity"}]
        if not layers:
            return ""
        if len(layers) > 1:
            refuse(self._address.url, f"it is encoded {len(layers)} times, and one layer is decoded", "encoding")
        if layers[0] not in {"gzip", "x-gzip"}:
            refuse(self._address.url, f"it is encoded as {shown(layers[0])}, and gzip was asked for", "encoding")
        return "gzip"


def _check_numbers(settings: FetchSettings) -> None:
    for name in ("maximum_bytes", "concurrency", "per_host", "page_seconds", "connect_seconds", "resolve_seconds"):
        value = getattr(settings, name)
        if not value > 0:
            raise InvalidSetting(
                f"FetchSettings.{name} is {value}, and nothing can be fetched with that",
                hint=f"{name} is a number above 0",
                key=name,
                value=value,
            )


def _proxy(url: str) -> Proxy:
    from clockify_rag.crawling.connecting import Proxy

    match = re.fullmatch(r"(http://)(?:([^/?#]*)@)?([^@]*)", url)
    try:
        if match is not None:
            address = parse(match[1] + match[3])
            if address.target == "/":
                return Proxy(address, unquote(match[2] or ""))
    except CrawlError:
        pass
    raise InvalidSetting(
        f"crawling.proxy is {shown(url.rpartition('@')[2])!r}, which is no http:// address of a proxy",
        hint="write it as http://proxy.example.com:3128",
        key="crawling.proxy",
    )


def _checked_agent(text: str) -> str:
    if not HEADER_VALUE.fullmatch(text):
        raise InvalidSetting(
            f"crawling.user_agent is {shown(text)!r}, which a header cannot hold",
            hint="use printable ASCII characters",
            key="crawling.user_agent",
        )
    return text


def _has_system_store(context: ssl.SSLContext) -> bool:
    import ssl

    paths = ssl.get_default_verify_paths()
    return bool(context.cert_store_stats()["x509_ca"] or paths.cafile or paths.capath)


def _now() -> float:
    """Return the seconds of the loop's clock, which is monotonic."""
    return asyncio.get_running_loop().time()


def _conditions(etag: str | None, last_modified: str | None) -> list[tuple[str, str]]:
    given = (("If-None-Match", etag), ("If-Modified-Since", last_modified))
    return [(name, value) for name, value in given if value and HEADER_VALUE.fullmatch(value)]


def _fetched(first: Address, final: Address, hops: list[Hop], answer: _Answer, *, conditional: bool) -> Fetched:
    if answer.status == _NOT_MODIFIED and not conditional:
        refuse(first.url, "it answered 304, not modified, to a request without a condition", "protocol")
    kind = answer.first("content-type") or ""
    charset = _CHARSET.search(kind)
    return Fetched(
        url=first.url,
        final_url=final.url,
        hops=tuple(hops),
        status=answer.status,
        body=None if answer.status == _NOT_MODIFIED else answer.body,
        wire_bytes=answer.wire_bytes,
        content_type=kind.partition(";")[0].strip().lower(),
        charset=charset[1].lower() if charset else None,
        content_encoding=answer.encoding,
        content_language=answer.first("content-language"),
        etag=answer.first("etag"),
        last_modified=answer.first("last-modified"),
        retry_after=_retry_after(answer),
        robots=tuple(answer.every("x-robots-tag")),
        canonical=_canonical(answer, final),
    )


def _canonical(answer: _Answer, final: Address) -> str | None:
    for value in answer.every("link"):
        for link in _LINK.finditer(value):
            rel = _REL.search(link[2])
            if rel is not None and "canonical" in (rel[1] or rel[2]).lower().split():
                with contextlib.suppress(CrawlError):
                    return resolve(link[1], final).url
    return None


def _retry_after(answer: _Answer) -> float | None:
    """Return the seconds of ``Retry-After``; a date counts from the ``Date`` of the same answer (RFC 9110, 10.2.3)."""
    value = (answer.first("retry-after") or "").strip()
    if value.isascii() and value.isdecimal():
        return float(value[:_LONGEST_NUMBER])
    try:
        until = email.utils.parsedate_to_datetime(value)
        since = email.utils.parsedate_to_datetime(answer.first("date") or "")
        return max(0.0, (until - since).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
