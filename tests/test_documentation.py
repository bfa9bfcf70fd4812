"""Whole sets of real documentation, read as they are: every place that can be linked to, and nothing of the site's frame.

The oracle is a parser of its own over the standard library's, which knows nothing of the package. Of the data only numbers
and hashes stand here: which chunks were looked at, chosen by a seed.
"""

from __future__ import annotations

import hashlib
import random
import re
import tarfile
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from clockify_rag import _core
from clockify_rag.chunking import StructureChunker
from clockify_rag.contracts import Chunk, Document, LoadedDocument

HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
VOID = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"]
)
FRAME = frozenset(("nav", "footer"))
FRAMED = re.compile(r"\b(cookie|consent|navheader|navfooter)", re.IGNORECASE)
SEED = 20_251_025
SAMPLE = 50


class Collection(NamedTuple):
    """A set of pages: its archive, how many of its headings from h2 down can be linked to, and what was drawn of it."""

    archive: str
    headings: int
    enclosed: bool
    """Whether the anchor of a heading is the id of the element that it opens, as DocBook writes it."""
    drawn: str


COLLECTIONS = {
    "clockify": Collection("clockify/help_html.tar.gz", 1986, False, "cd89d0df4987a794e90d5df79a137502"),
    "git": Collection("docs-html/git.tar.gz", 2130, False, "2ec7fbc210fe924387b499abf6c602a6"),
    "libreoffice": Collection("docs-html/libreoffice-help-en.tar.gz", 15357, False, "590c9233e0dfa7209abe511c05debaf4"),
    "postgresql": Collection("docs-html/postgresql-15.tar.gz", 3946, True, "f054622db2625bbf9f6b29da47a51648"),
}


class Heading(NamedTuple):
    """A heading that can be linked to, and the letters and digits of what stands between it and the next."""

    anchor: str
    text: str
    below: str


class Oracle(HTMLParser):
    """The headings of a page, the text of its frame (``nav``, ``footer``, what is named after cookies or navigation), and all other text."""

    def __init__(self, enclosed: bool) -> None:
        super().__init__(convert_charrefs=True)
        self._enclosed = enclosed
        self._open: list[tuple[str, dict[str, str | None], list[bool]]] = []
        self._heading: list[str] | None = None
        self._headings: list[tuple[str | None, list[str], list[str]]] = []
        self.frame: list[str] = []
        self.content: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "img" and self._headings and self._heading is None:
            self._headings[-1][2].append(dict(attributes).get("alt") or "")
        if tag in HEADINGS:
            own = dict(attributes)
            anchor = self._around() if self._enclosed else own.get("id")
            self._heading = []
            self._headings.append((anchor if tag != "h1" else None, self._heading, []))
        if tag not in VOID:
            self._open.append((tag, dict(attributes), []))

    def _around(self) -> str | None:
        """The id of the innermost element around that has one, where nothing stands in it before this place."""
        for tag, attributes, met in reversed(self._open):
            if met or tag in ("body", "html") or "warning" in (attributes.get("class") or ""):
                return None
            if attributes.get("id"):
                return attributes["id"]
        return None

    def handle_endtag(self, tag: str) -> None:
        if tag in HEADINGS:
            self._heading = None
        for place in range(len(self._open) - 1, -1, -1):
            if self._open[place][0] == tag:
                del self._open[place:]
                break

    def handle_data(self, data: str) -> None:
        tags = {tag for tag, _, _ in self._open}
        if tags & {"script", "style", "template"}:
            return
        if tags & FRAME or any(FRAMED.search(f"{own.get('class')} {own.get('id')}") for _, own, _ in self._open):
            self.frame.append(data)
        else:
            self.content.add(plain(data))
        if data.strip():
            for _, _, met in self._open:
                met.append(True)
        if self._heading is not None:
            self._heading.append(data)
        elif self._headings:
            self._headings[-1][2].append(data)

    def headings(self) -> Iterator[Heading]:
        for anchor, text, below in self._headings:
            if anchor:
                yield Heading(anchor, plain("".join(text)), plain("".join(below)))


def plain(text: str) -> str:
    """Only letters and digits, so that no rule of white space or signs matters."""
    return re.sub(r"[\W_]+", "", text)


class Read(NamedTuple):
    """A page as the package cuts it, and as the oracle sees it."""

    path: str
    chunks: list[Chunk]
    oracle: Oracle


@cache
def read(data: Path, name: str) -> list[Read]:
    """Read all pages of a collection, in order of path."""
    collection = COLLECTIONS[name]
    with tarfile.open(data / collection.archive) as archive:
        members = sorted(
            (one for one in archive if one.isfile() and one.name.endswith(".html")), key=lambda one: one.name
        )
        contents = [(one.name, stream.read()) for one in members if (stream := archive.extractfile(one))]
    chunker = StructureChunker()
    found: list[Read] = []
    for start in range(0, len(contents), 256):
        batch = contents[start : start + 256]
        pages = _core.parse("html", [content for _, content in batch])
        loaded = []
        for (path, _), page in zip(batch, pages, strict=True):
            assert isinstance(page, _core.Page)
            document = Document(
                id=hashlib.md5(path.encode()).hexdigest(), source=name, path=path, title="", kind=page.kind
            )
            loaded.append(LoadedDocument(document, page))
        for (path, content), chunks in zip(batch, chunker.chunk(loaded), strict=True):
            oracle = Oracle(collection.enclosed)
            oracle.feed(content.decode(errors="replace"))
            found.append(Read(path, chunks, oracle))
    return found


@pytest.mark.parametrize("name", COLLECTIONS)
def test_every_heading_that_can_be_linked_to_has_its_chunk(data: Path, name: str) -> None:
    asked = reached = words = 0
    missing: list[str] = []
    for page in read(data, name):
        by_anchor: dict[str | None, list[Chunk]] = {}
        for chunk in page.chunks:
            by_anchor.setdefault(chunk.anchor, []).append(chunk)
        headings = list(page.oracle.headings())
        for heading in headings:
            asked += 1
            chunks = by_anchor.get(heading.anchor, [])
            if not chunks:
                missing.append(f"{page.path}#{heading.anchor}")
                continue
            reached += 1
            # One id twice on a page is one place.
            below = "".join(other.below + other.text for other in headings if other.anchor == heading.anchor)
            first = re.sub(r"^(\d+\.|-) ", "", chunks[0].text.split("\n")[0])
            words += plain(first)[:20] in below
    print(
        f"{name}: {asked} headings with an id, {reached} with a chunk, {words} whose chunk begins with what stands there"
    )
    assert missing == []
    assert asked == COLLECTIONS[name].headings
    assert words / asked > 0.99


@pytest.mark.parametrize("name", COLLECTIONS)
def test_no_chunk_holds_the_frame_of_the_site(data: Path, name: str) -> None:
    pages = read(data, name)
    chunks = [(page, chunk) for page in pages for chunk in page.chunks]
    drawn = random.Random(SEED).sample(chunks, SAMPLE)
    lines = checked = 0
    for page, chunk in drawn:
        pieces = [plain(piece) for piece in page.oracle.frame]
        frame = {piece for piece in pieces if len(piece) >= 8}
        for line in map(plain, chunk.text.split("\n")):
            lines += 1
            checked += bool(frame)
            assert line not in frame or line in page.oracle.content, f"{page.path}#{chunk.anchor}"
    identities = msgspec.json.encode([[chunk.id, chunk.content_hash] for _, chunk in drawn])
    digest = hashlib.blake2b(identities, digest_size=16).hexdigest()
    print(f"{name}: {SAMPLE} of {len(chunks)} chunks, {lines} lines, {checked} of them on pages with a frame; {digest}")
    assert digest == COLLECTIONS[name].drawn
