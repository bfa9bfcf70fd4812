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
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from clockify_rag.crawling.addresses import Address, PrivateHosts, Reason, parse, resolve, shown
from clockify_rag.errors import CrawlError

if TYPE_CHECKING:
    from clockify_rag.crawling.connecting import Resolver

MAXIMUM_BYTES: Final = 10 << 20
"""Decoded bytes that a page has at most, where nothing else is said."""

ACCEPT: Final = "text/html,application/xhtml+xml;q=0.9,text/markdown;q=0.9,text/plain;q=0.8,*/*;q=0.1"
"""What is asked for where nothing else is said."""


class HostCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """What one host is sent beside the request: names of environment variables, never their values."""

    headers: Mapping[str, str] = {}
    """Name of a header to the name of the variable that holds its value."""
    cookies: Mapping[str, str] = {}
    """Name of a cookie to the name of the variable that holds its value."""


class FetchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How pages are fetched. Times are in seconds."""

    user_agent: str = ""
    """Follows ``clockify-rag/<version>`` in the header of that name: a contact, for example."""
    maximum_bytes: int = MAXIMUM_BYTES
    """Decoded bytes that a page has at most."""
    page_seconds: float = 60.0
    """Longest time for one page: all its redirects, attempts and bytes, but not waiting for a turn."""
    connect_seconds: float = 10.0
    """Longest time for connecting to one IP address."""
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
    """The ``rel="canonical"`` address of ``Link`` headers, in canonical form; ``None`` where it is none that may be fetched."""

    @property
    def not_modified(self) -> bool:
        """Whether the page is still the one whose ``etag`` or ``last_modified`` was given."""
        return self.body is None

    def unpacked(self, maximum_bytes: int = MAXIMUM_BYTES) -> bytes:
        """Return the body, and where it is a gzip file (a sitemap's ``.xml.gz``), that file's content.

        Raises:
            CrawlError: the file is damaged, too large, or a second layer.
        """
        raise NotImplementedError


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
        self.settings = settings or FetchSettings()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        pass

    def set_delay(self, host: str, seconds: float) -> None:
        """Keep at least ``seconds`` between the starts of two requests to ``host``: the ``Crawl-delay`` of its robots.txt."""

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
        raise NotImplementedError
