"""The frontier: which addresses of a site are asked for, in which order, and why the others are not.

A site is read level by level, each in the order of its addresses, and whether an address is taken depends only on what
levels before it held. So the same site gives the same pages whatever the order of its answers, also where a budget cuts it
short. Traps are bounded by shape: addresses that are equal but for their numbers, or but for their query, are one shape.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from clockify_rag.crawling.addresses import Address
from clockify_rag.ignoring import IgnoreRules, nfc

MAXIMUM_SEGMENTS: Final = 24
"""Segments that a path may have."""

MAXIMUM_CHARACTERS: Final = 2000
"""Characters that an address may have."""

MAXIMUM_REPEATS: Final = 3
"""How often a segment may stand in a path, and a run of segments one after the other, before it is a trap."""

MAXIMUM_OF_SHAPE: Final = 5000
"""Addresses that differ only in one number: articles have one."""

MAXIMUM_OF_NUMBERED_SHAPE: Final = 500
"""Addresses that differ only in two numbers or more: days of a calendar have them."""

MAXIMUM_OF_QUERY_SHAPE: Final = 100
"""Addresses of one path that differ only in the numbers of their query."""

MAXIMUM_QUERIES: Final = 1000
"""Queries of one path."""

MAXIMUM_OF_FACETS: Final = 100
"""Queries of one path with two parameters or more: choices of a list are combined without end."""

MAXIMUM_KNOWN: Final = 2_000_000
"""Addresses of one site that are remembered."""

OUTSIDE: Final = "outside the site"
EXCLUDED: Final = "excluded"
NOT_INCLUDED: Final = "not included"
FORMAT: Final = "unsupported format"
ROBOTS: Final = "disallowed by robots.txt"
DEPTH: Final = "too deep"
PAGES: Final = "page budget"
BYTES: Final = "byte budget"
TRAP: Final = "trap"
TRANSLATION: Final = "translation"
VERSION: Final = "other version"

_FILES: Final = frozenset(
    """
    7z avi avif bmp bz2 css csv dmg doc docx eot epub exe flac gif gz ico ics iso jar jpeg jpg js json m4a m4v map mjs mov
    mp3 mp4 mpeg mpg msi odp ods odt ogg otf pdf pkg png ppt pptx ps rar rpm rss svg tar tgz tif tiff ttf wasm wav webm
    webmanifest webp whl wmv woff woff2 xls xlsx xml xz yaml yml zip zst
    """.split()
)
"""Endings of what is no page; what ends otherwise is known when it is asked for."""

_DROPPED_PARAMETERS: Final = re.compile(
    r"utm_\w+|gclid|fbclid|msclkid|dclid|yclid|mc_[ce]id|_ga|_gl|_hs\w+|hsctatracking|mkt_tok|ref_src|"
    r"phpsessid|jsessionid|aspsessionid\w*|sessionid|session_id|session|sid|cfid|cftoken|zenid|oscsid",
    re.IGNORECASE | re.ASCII,
)
_SESSION_IN_PATH: Final = re.compile(r";(?:jsessionid|sid|phpsessid)=[^/?;]*", re.IGNORECASE)
_DIGITS: Final = re.compile(r"\d+")
_TOKENS: Final = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<![0-9a-f])(?=[a-f]*\d)[0-9a-f]{16,}", re.IGNORECASE
)


class Skip(msgspec.Struct, frozen=True, order=True):
    """An address that is no document of a crawl, and why."""

    url: str
    reason: str
    detail: str = ""


def canonical(address: Address) -> Address:
    """Return an address without what tells visits apart and not pages: session ids and what advertisements add."""
    query = address.query
    if query:
        kept = [part for part in query.split("&") if part and not _DROPPED_PARAMETERS.fullmatch(part.partition("=")[0])]
        query = "&".join(kept)
    path = _SESSION_IN_PATH.sub("", address.path) if ";" in address.path else address.path
    if query == address.query and path == address.path:
        return address
    return msgspec.structs.replace(address, query=query, path=path)


class Scope:
    """Where a crawl may go: the host and folder of its start, and the patterns of its source.

    Args:
        start: where it begins. A path whose last segment has a dot is a page, and its folder is crawled; any other path is
            itself a folder.
        include: patterns of paths in gitignore's syntax; all where there are none. The start is read in any case.
        exclude: patterns of paths to leave out.
        folder: the folder that is crawled, ending in a slash; by default that of the start.
    """

    def __init__(
        self, start: Address, include: Sequence[str] = (), exclude: Sequence[str] = (), folder: str | None = None
    ) -> None:
        self.start = canonical(start)
        head, _, last = start.path.rpartition("/")
        self.folder = folder or (f"{head}/" if not last or "." in last else f"{start.path}/")
        self._include = IgnoreRules("\n".join(include)) if include else None
        self._exclude = IgnoreRules("\n".join(exclude)) if exclude else None

    def own(self, address: Address) -> Address:
        """Return an address with the scheme of the site where it names the site's host by the other one."""
        address = canonical(address)
        start = self.start
        usual = {("http", 80), ("https", 443)}
        if (
            address.host == start.host
            and address.scheme != start.scheme
            and {(address.scheme, address.port), (start.scheme, start.port)} <= usual
        ):
            return msgspec.structs.replace(address, scheme=start.scheme, port=start.port)
        return address

    def holds(self, address: Address) -> bool:
        """Return whether an address is on the site, in its folder."""
        return (
            address.origin == self.start.origin
            and (address.path.startswith(self.folder) or f"{address.path}/" == self.folder)
        ) or address == self.start

    def refuses(self, address: Address) -> Skip | None:
        """Return why an address is not a page of this crawl by itself; ``None`` where it may be one."""
        if not self.holds(address):
            return Skip(address.url, OUTSIDE)
        if address == self.start:
            return None
        ending = address.path.rpartition("/")[2].rpartition(".")
        if ending[1] and ending[2].lower() in _FILES:
            return Skip(address.url, FORMAT, f".{ending[2].lower()}")
        reason = self._by_patterns(address)
        if reason is not None:
            return Skip(address.url, reason)
        trap = trap_of(address)
        return Skip(address.url, TRAP, trap) if trap else None

    def _by_patterns(self, address: Address) -> str | None:
        path = path_of(address)
        parts = path.split("/")
        above = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        if self._exclude is not None and _ignored(self._exclude, path, above):
            return EXCLUDED
        return NOT_INCLUDED if self._include is not None and not _ignored(self._include, path, above) else None


def path_of(address: Address) -> str:
    """Return the path of an address without its first slash and its escapes, as patterns are matched with it."""
    from urllib.parse import unquote

    return nfc(unquote(address.path)).strip("/")


def trap_of(address: Address) -> str | None:
    """Return what about an address alone says that there is no end of its like; ``None`` where nothing does."""
    if len(address.url) > MAXIMUM_CHARACTERS:
        return "a long address"
    segments = address.path.split("/")[1:]
    if len(segments) > MAXIMUM_SEGMENTS:
        return "a deep path"
    counts = Counter(segment for segment in segments if segment)
    if counts and max(counts.values()) > MAXIMUM_REPEATS:
        return "a repeated segment"
    for length in range(1, len(segments) // MAXIMUM_REPEATS + 1):
        for at in range(len(segments) - length * MAXIMUM_REPEATS + 1):
            run = segments[at : at + length]
            if all(segments[at + step * length : at + (step + 1) * length] == run for step in range(MAXIMUM_REPEATS)):
                return "a repeated segment"
    return None


class Frontier:
    """The addresses of one site that are known, and the next level of them.

    Args:
        depth: how many links away from the start a page may be.
    """

    def __init__(self, depth: int) -> None:
        self._maximum_depth = depth
        self._known: set[Address] = set()
        self._next: dict[Address, int] = {}
        self._shapes: Counter[str] = Counter()
        self._queries: dict[str, int] = defaultdict(int)
        self._facets: dict[str, int] = defaultdict(int)

    def offer(self, address: Address, depth: int) -> None:
        """Add an address that is ``depth`` links from the start to the next level, unless a level before had it."""
        if address in self._next:
            self._next[address] = min(depth, self._next[address])
        elif address not in self._known and len(self._known) < MAXIMUM_KNOWN:
            self._known.add(address)
            self._next[address] = depth

    def __contains__(self, address: Address) -> bool:
        return address in self._known

    def waiting(self) -> list[Address]:
        """Return the next level as it is so far."""
        return list(self._next)

    def level(self) -> tuple[list[tuple[Address, int]], list[Skip]]:
        """Return the next level in order of address, each with its depth, and what of it is not taken."""
        offered, self._next = sorted(self._next.items()), {}
        taken, skipped = [], []
        for address, depth in offered:
            if depth > self._maximum_depth:
                skipped.append(Skip(address.url, DEPTH, f"{depth} links from the start"))
            elif bound := self._bound(address):
                skipped.append(Skip(address.url, TRAP, bound))
            else:
                taken.append((address, depth))
        return taken, skipped

    def _bound(self, address: Address) -> str | None:
        """Count an address for its shapes; return which of them has too many."""
        path, numbers = _DIGITS.subn("0", _TOKENS.sub("0", address.path))
        if numbers or path != address.path:
            limit = MAXIMUM_OF_SHAPE if numbers <= 1 else MAXIMUM_OF_NUMBERED_SHAPE
            if not address.query and self._count(path, limit):
                return f"more than {limit:,} addresses like {path}"
        if not address.query:
            return None
        query, numbers = _DIGITS.subn("0", _TOKENS.sub("0", address.query))
        shape = f"{path}?{query}"
        if numbers and self._count(shape, MAXIMUM_OF_QUERY_SHAPE):
            return f"more than {MAXIMUM_OF_QUERY_SHAPE:,} addresses like {shape}"
        if "&" in address.query:
            self._facets[path] += 1
            if self._facets[path] > MAXIMUM_OF_FACETS:
                return f"more than {MAXIMUM_OF_FACETS:,} combinations below {path}"
        self._queries[path] += 1
        return f"more than {MAXIMUM_QUERIES:,} queries of {path}" if self._queries[path] > MAXIMUM_QUERIES else None

    def _count(self, shape: str, limit: int) -> bool:
        self._shapes[shape] += 1
        return self._shapes[shape] > limit


def _ignored(rules: IgnoreRules, path: str, above: Iterable[str]) -> bool:
    decision = rules.decide(path, folder=False)
    if decision is not None:
        return decision
    return any(rules.decide(folder, folder=True) for folder in above)
