"""Sitemaps and llms.txt: the addresses that a site names by itself.

A sitemap is data of strangers: expat reads it as a stream, any document type declaration ends it (so there are no entities,
neither nested nor from elsewhere), and everything about it has a bound. What a broken one said before it broke counts.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Final, Literal
from xml.parsers import expat

import msgspec

MAXIMUM_BYTES: Final = 50 * 1024 * 1024
"""Bytes of a sitemap, unpacked (sitemaps.org)."""

MAXIMUM_ENTRIES: Final = 50_000
"""Entries of a sitemap (sitemaps.org)."""

MAXIMUM_FILES: Final = 500
"""Sitemaps of one site."""

MAXIMUM_DEPTH: Final = 3
"""How many indexes may lead to a sitemap."""

MAXIMUM_CHARACTERS: Final = 8192
"""Characters of an address."""

MAXIMUM_LINKS: Final = 10_000
"""Addresses that are taken from one llms.txt."""

_NESTING: Final = 16
_ALTERNATES: Final = 500
_MARKDOWN_LINK: Final = re.compile(
    r"\[[^\[\]\n]{0,1000}\]\(\s*<?([^\s<>()]{1,2000}(?:\([^\s<>()]{0,200}\)[^\s<>()]{0,200})?)>?"
)
_BARE_LINK: Final = re.compile(r"(?:^|[\s<])(https?://[^\s<>()\[\]]{1,2000})", re.MULTILINE)
_GZIP: Final = b"\x1f\x8b"
_WINDOW: Final = 16 + zlib.MAX_WBITS


class Entry(msgspec.Struct, frozen=True):
    """An address of a sitemap."""

    url: str
    modified: str = ""
    """When the page changed, as the sitemap writes it."""
    alternates: tuple[tuple[str, str], ...] = ()
    """The page in other languages: language tag, address."""


class Sitemap(msgspec.Struct, frozen=True):
    """What a sitemap says."""

    kind: Literal["pages", "index"] = "pages"
    entries: tuple[Entry, ...] = ()
    problem: str = ""
    """Why it was not read to its end; empty where it was."""


def parse(content: bytes) -> Sitemap:
    """Return what a sitemap, a sitemap index or a list of addresses says; packed by gzip or not. No content is refused."""
    try:
        text = unpacked(content)
    except ValueError as error:
        return Sitemap(problem=str(error))
    start = text[:1024].removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith((b"<", b"\xff\xfe", b"\xfe\xff")):
        return _xml(text)
    if start[:8].lower().startswith((b"http://", b"https://")):
        return _list(text)
    return Sitemap(problem="it is neither XML nor a list of addresses" if start else "it is empty")


def unpacked(content: bytes, limit: int = MAXIMUM_BYTES) -> bytes:
    """Return ``content`` without its gzip layer, of which there may be one; raises ``ValueError`` for more than ``limit`` bytes."""
    if content.startswith(_GZIP):
        unpacker = zlib.decompressobj(_WINDOW)
        try:
            content = unpacker.decompress(content, limit + 1)
        except zlib.error as error:
            raise ValueError("its gzip is damaged") from error
        if content.startswith(_GZIP):
            raise ValueError("it is packed more than once")
    if len(content) > limit:
        raise ValueError(f"it has more than {limit:,} bytes")
    return content


def links_of_text(content: bytes) -> list[str]:
    """Return the addresses of an ``llms.txt`` or another Markdown page, in order, each once, as they are written."""
    text = content[:MAXIMUM_BYTES].decode("utf-8", "replace")
    found = dict.fromkeys(match[1] for match in _MARKDOWN_LINK.finditer(text))
    found.update(dict.fromkeys(match[1].rstrip(".,;:!?'\"`*_") for match in _BARE_LINK.finditer(text)))
    return list(found)[:MAXIMUM_LINKS]


class _Stop(Exception):
    """Ends the reading of a sitemap."""


class _Reader:
    """The state of reading a sitemap's XML."""

    def __init__(self) -> None:
        self.kind: Literal["pages", "index"] = "pages"
        self.entries: list[Entry] = []
        self._path: list[str] = []
        self._fields: dict[str, str] = {}
        self._alternates: list[tuple[str, str]] = []

    def refuse_declaration(self, *_: object) -> None:
        raise _Stop("it has a document type declaration")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = _local(name)
        self._path.append(local)
        if len(self._path) == 1:
            if local not in ("urlset", "sitemapindex"):
                raise _Stop(f"it begins with <{local[:40]}>, which no sitemap does")
            self.kind = "index" if local == "sitemapindex" else "pages"
        if len(self._path) > _NESTING:
            raise _Stop("it is nested too deep")
        if len(self._path) == 2:  # noqa: PLR2004 - an entry stands right below the root
            self._fields, self._alternates = {}, []
        elif local == "link" and attributes.get("rel", "").lower() == "alternate" and "hreflang" in attributes:
            if len(self._alternates) < _ALTERNATES:
                self._alternates.append((attributes["hreflang"], attributes.get("href", "")))
        elif local in ("loc", "lastmod") and len(self._path) == 3:  # noqa: PLR2004 - a field stands right below its entry
            self._fields[local] = ""

    def end(self, _name: str) -> None:
        if len(self._path) == 2 and self._path[1] in ("url", "sitemap"):  # noqa: PLR2004 - as above
            url = self._fields.get("loc", "").strip()
            if url and len(url) <= MAXIMUM_CHARACTERS:
                if len(self.entries) >= MAXIMUM_ENTRIES:
                    raise _Stop(f"it has more than {MAXIMUM_ENTRIES:,} entries")
                modified = self._fields.get("lastmod", "").strip()[:40]
                self.entries.append(Entry(url, modified, tuple(self._alternates)))
        self._path.pop()

    def text(self, text: str) -> None:
        field = self._path[-1] if len(self._path) == 3 else ""  # noqa: PLR2004 - as above
        if field in self._fields and len(self._fields[field]) <= MAXIMUM_CHARACTERS:
            self._fields[field] += text


def _xml(content: bytes) -> Sitemap:
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = reader.refuse_declaration
    parser.EntityDeclHandler = reader.refuse_declaration
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    problem = ""
    try:
        # At once: a token that does not end is read again with each piece.
        parser.Parse(content, True)  # noqa: FBT003 - the only way to say so
    except _Stop as stop:
        problem = str(stop)
    except expat.ExpatError as error:
        problem = f"it is not well-formed XML: {expat.ErrorString(error.code)} in line {error.lineno}"
    except (ValueError, LookupError) as error:
        problem = f"it is in no encoding that can be read: {error}"
    return Sitemap(reader.kind, tuple(reader.entries), problem)


def _list(content: bytes) -> Sitemap:
    entries: list[Entry] = []
    for line in _lines(content):
        if len(entries) >= MAXIMUM_ENTRIES:
            return Sitemap("pages", tuple(entries), f"it has more than {MAXIMUM_ENTRIES:,} entries")
        entries.append(Entry(line))
    return Sitemap("pages", tuple(entries))


def _lines(content: bytes) -> Iterator[str]:
    for line in content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").splitlines():
        url = line.strip()
        if url and len(url) <= MAXIMUM_CHARACTERS:
            yield url


def _local(name: str) -> str:
    return name.rpartition(":")[2].lower()
