"""Reading an answer: what it is, what it says to a crawler, and whether it is the site's way to say that nothing is there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from clockify_rag import _core
from clockify_rag.crawling import frontier, sitemaps
from clockify_rag.crawling.addresses import Address, resolve
from clockify_rag.crawling.pages import Record, decoded
from clockify_rag.errors import CrawlError, DocumentUnreadable

REFRESH_SECONDS: Final = 10.0
"""A page that leads elsewhere by itself within that time is a redirect."""

ALIKE: Final = 0.9
"""The share of word triples that a page has in common with the site's "not found" page, from which on it is taken for it."""

_FORMATS: Final[Mapping[str, Any]] = {
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
}
_MARKDOWN_ENDINGS: Final = (".md", ".markdown", ".mdx")
_REFRESH: Final = re.compile(
    r"\s*(\d{1,9}(?:\.\d*)?)\s*+[;,]?\s*+(?:url\s*=\s*+)?['\"]?([^'\"\s][^'\"]*)", re.IGNORECASE
)
_NAMED_ROBOT: Final = re.compile(r"\s*([A-Za-z_][\w-]*)\s*:(.*)", re.DOTALL)
_DIRECTIVES_WITH_VALUES: Final = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")


PRODUCT: Final = "clockify-rag"
"""The name by which robots.txt and pages address this crawler."""


class Told(msgspec.Struct):
    """What a page says to a crawler, its addresses resolved."""

    links: list[Address] = []
    alternates: list[tuple[str, Address]] = []
    canonical: Address | None = None
    refresh: Address | None = None
    noindex: bool = False
    nofollow: bool = False
    language: str | None = None


def told(body: bytes, record: Record, address: Address) -> Told:
    """Return what a page says to a crawler."""
    if record.format != "html":
        named = sitemaps.links_of_text(body) if record.format == "markdown" else []
        return Told(links=[link for reference in named if (link := _address(reference, address)) is not None])
    try:
        links, base, canonical, alternates, robots, refresh, language = _core.links(decoded(body, record.charset))
    except DocumentUnreadable:
        return Told()
    root = (_address(base, address) if base else None) or address
    words = {word.strip() for _, content in robots for word in content.split(",")}
    found = [(link, nofollow) for target, nofollow in links if (link := _address(target, root)) is not None]
    return Told(
        links=list(dict.fromkeys(link for link, nofollow in found if not nofollow)),
        alternates=[(of, other) for of, target in alternates if (other := _address(target, root)) is not None],
        canonical=_address(canonical, root) if canonical else None,
        refresh=_refresh(refresh, root),
        noindex=bool(words & {"noindex", "none"}),
        nofollow=bool(words & {"nofollow", "none"}),
        language=language,
    )


def _address(reference: str, base: Address) -> Address | None:
    if reference.startswith("#"):
        return None
    try:
        return frontier.canonical(resolve(reference, base))
    except CrawlError:
        return None


def _refresh(content: str | None, base: Address) -> Address | None:
    match = _REFRESH.match(content or "")
    return _address(match[2].strip(), base) if match and float(match[1]) <= REFRESH_SECONDS else None


def robots_tag(values: Iterable[str]) -> tuple[bool, bool]:
    """Return whether ``X-Robots-Tag`` headers forbid to keep a page, and to follow its links."""
    words: set[str] = set()
    for value in values:
        named = _NAMED_ROBOT.match(value)
        text = value
        if named and named[1].lower() not in _DIRECTIVES_WITH_VALUES:
            if named[1].lower() != PRODUCT:
                continue
            text = named[2]
        words |= {word.strip().lower() for word in text.split(",")}
    return bool(words & {"noindex", "none"}), bool(words & {"nofollow", "none"})


def format_of(content_type: str, path: str, body: bytes) -> Any:
    """Return the format of an answer by its content type; ``None`` where it is no page."""
    if content_type == "text/plain":
        return "markdown" if path.lower().endswith(_MARKDOWN_ENDINGS) else "text"
    if content_type in ("", "application/octet-stream"):
        if path.lower().endswith(_MARKDOWN_ENDINGS):
            return "markdown"
        start = body[:512].lstrip().lower()
        return "html" if not content_type and start.startswith((b"<!doctype html", b"<html", b"<head")) else None
    return _FORMATS.get(content_type)


def fingerprint(body: bytes, charset: str, path: str) -> frozenset[int]:
    """Return hashes of the triples of words of a page's text, without those of its own address, which error pages repeat."""
    (page,) = _core.parse("html", [decoded(body, charset)])
    if isinstance(page, DocumentUnreadable):
        return frozenset()
    own = set(re.findall(r"\w+", path.lower()))
    words = [word for word in re.findall(r"\w+", page.text.lower()) if word not in own]
    return frozenset(hash(tuple(words[at : at + 3])) for at in range(max(1, len(words) - 2))) if words else frozenset()


def alike(one: frozenset[int], other: frozenset[int]) -> bool:
    """Return whether two fingerprints are of one page, but for little (Jaccard)."""
    return bool(one) and len(one & other) >= ALIKE * len(one | other)
