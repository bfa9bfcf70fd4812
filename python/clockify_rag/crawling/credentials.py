"""Credentials of a crawl: which headers and cookies one host is sent, and that nobody else sees them.

Settings name environment variables, never values. A value is bound to scheme, host and port when it is read, so that no redirect
and no other port gets it; and because a host can put what it was sent into what it answers, errors are searched for it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Final, NoReturn
from urllib.parse import quote

import msgspec

from clockify_rag.config import MASK
from clockify_rag.crawling.addresses import Address, parse, shown
from clockify_rag.errors import CrawlError, InvalidSetting

HEADER_VALUE: Final = re.compile(r"[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?")
"""What the value of a header looks like."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_SHORTEST_SECRET = 4
_OURS = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "if-modified-since",
        "if-none-match",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)


class HostCredentials(msgspec.Struct, frozen=True, kw_only=True):
    """What one host is sent beside the request: names of environment variables, never their values."""

    headers: Mapping[str, str] = {}
    """Name of a header to the name of the variable that holds its value."""
    cookies: Mapping[str, str] = {}
    """Name of a cookie to the name of the variable that holds its value."""


class Credentials:
    """The headers that each origin is sent; their values are seen nowhere else.

    Args:
        settings: host to what it is sent, as in ``FetchSettings.credentials``.
        environment: where the variables are.

    Raises:
        InvalidSetting: a host, header, cookie or variable cannot be used.
    """

    def __init__(self, settings: Mapping[str, HostCredentials], environment: Mapping[str, str]) -> None:
        self._headers: dict[str, list[tuple[str, str]]] = {}
        self._secrets: re.Pattern[str] | None = None
        secrets: set[str] = set()
        for host, credentials in settings.items():
            headers = self._headers.setdefault(_origin(host), [])
            for name, variable in credentials.headers.items():
                if not _TOKEN.fullmatch(name) or name.lower() in _OURS:
                    _invalid("headers", host, f"{shown(name)!r} is no header that can be set")
                value = _value("headers", host, variable, environment)
                secrets |= _traces(value)
                headers.append((name, value))
            cookies = []
            for name, variable in credentials.cookies.items():
                value = _value("cookies", host, variable, environment)
                secrets |= _traces(value)
                if not _TOKEN.fullmatch(name) or ";" in value:
                    _invalid(
                        "cookies", host, f"the cookie {shown(name)!r} has a name or value that a cookie cannot have"
                    )
                cookies.append(f"{name}={value}")
            if cookies:
                headers.append(("Cookie", "; ".join(cookies)))
        if secrets:
            longest_first = sorted(secrets, key=lambda secret: (-len(secret), secret))
            self._secrets = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)

    def __repr__(self) -> str:
        return f"Credentials({', '.join(self._headers)})"

    def of(self, address: Address) -> list[tuple[str, str]]:
        """Return what the origin of ``address`` is sent, and no other."""
        return self._headers.get(address.origin, [])

    def masked(self, error: CrawlError) -> CrawlError | None:
        """Return the error without the values that it contains; ``None`` where it contains none."""
        if self._secrets is None or not self._secrets.search(f"{error.message} {error.hint} {error.fields}"):
            return None
        mask = functools.partial(self._secrets.sub, MASK)
        fields = {name: mask(value) if isinstance(value, str) else value for name, value in error.fields.items()}
        return type(error)(mask(error.message), hint=mask(error.hint), **fields)


def _value(kind: str, host: str, variable: str, environment: Mapping[str, str]) -> str:
    value = environment.get(variable, "").strip()
    if not value:
        _invalid(kind, host, f"the environment variable {shown(variable)} is not set", hint=f"export {variable}=...")
    if not HEADER_VALUE.fullmatch(value):
        _invalid(kind, host, f"the value of {shown(variable)} has a character that a header cannot have")
    return value


def _traces(value: str) -> set[str]:
    """Return how a value, or the secret after its first word (``Bearer``), can be seen in an answer."""
    parts = {value, *value.split()[1:]}
    long = {part for part in parts if len(part) >= _SHORTEST_SECRET}
    return {form for part in long for form in (part, quote(part), quote(part, safe="!$&'()*+,;=:@/?"))}


def _origin(host: str) -> str:
    try:
        address = parse(host if "://" in host else f"https://{host}")
    except CrawlError as error:
        _invalid("headers", host, error.message)
    if address.target != "/":
        _invalid("headers", host, "it has a path, and credentials are for a host")
    return address.origin


def _invalid(kind: str, host: str, why: str, hint: str = "") -> NoReturn:
    host = shown(host)
    raise InvalidSetting(f"crawling.{kind} of {host}: {why}", hint=hint, key=f"crawling.{kind}", host=host)
