"""PDF: the text of each page, by pypdf (extra ``pdf``), as HTML whose anchors are the pages'.

A viewer opens ``file.pdf#page=3`` at that page, so this is the anchor of all that stands there. A PDF knows letters at
places and neither paragraphs nor headings: lines are joined to paragraphs by what a line's end looks like, the outline's
entries become headings where their words are a line of their page, and lines that most pages begin or end with are left
out. A document that is encrypted, broken or only pictures is unreadable as a whole and says why.
"""

from __future__ import annotations

import html
import io
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from clockify_rag.errors import DocumentUnreadable, MissingExtra

MAXIMUM_OUTLINE = 20_000
"""Entries of an outline that are read."""
_RUNNING = 2
"""How many lines at the top and at the bottom of a page may be running heads and feet."""
_FEWEST_PAGES = 3
"""Fewer pages do not tell what runs through all of them."""
_DEEPEST = 6

_ITEM = re.compile(r"(?:[•◦▪‣·\u2013\u2014*-]|\(?(?:\d{1,3}|[a-zA-Z])[.)])\s+\S")
_ENDS = (".", ":", "!", "?", "…", "。")


class Opened(msgspec.Struct, frozen=True):
    """What a file of another format says, as HTML that is content throughout."""

    content: bytes
    title: str | None = None
    language: str | None = None


def read(content: bytes, *, maximum_pages: int, maximum_bytes: int) -> Opened:
    """Return the text of a PDF.

    Args:
        content: the file.
        maximum_pages: the most pages that are read.
        maximum_bytes: the most text that it may hold, in bytes of UTF-8.

    Raises:
        DocumentUnreadable: it is encrypted or broken, has more than that, or no text.
        MissingExtra: pypdf is not installed.
    """
    try:
        import pypdf
    except ImportError as error:
        raise MissingExtra(
            "PDF needs a package that is not installed", hint='pip install "clockify-rag[pdf]"', extra="pdf"
        ) from error
    # What it repairs on the way is no business of a build's reader.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    try:
        reader = pypdf.PdfReader(io.BytesIO(content), strict=False)
        _decrypt(reader)
        count = len(reader.pages)
        if count > maximum_pages:
            raise DocumentUnreadable(
                f"it has {count:,} pages, more than {maximum_pages:,}", hint="split it, or raise maximum_pages"
            )
        pages = list(_pages(reader, count, maximum_bytes))
        outline = _outline(reader)
        title, language = _said(reader)
    except DocumentUnreadable:
        raise
    except pypdf.errors.DependencyError as error:
        raise DocumentUnreadable(
            "it is encrypted by AES, for which a package is not installed",
            hint="pip install cryptography, or save it without encryption",
        ) from error
    except RecursionError as error:
        raise DocumentUnreadable("it is nested too deeply", hint=_AGAIN) from error
    except Exception as error:
        # A parser of hostile files fails in every way there is; none may end the build.
        raise DocumentUnreadable(f"{type(error).__name__}: {_short(error)}", hint=_AGAIN) from error
    if not any(line for page in pages for line in page):
        raise DocumentUnreadable(
            "it has no text: its pages are pictures", hint="run text recognition (OCR) over it first"
        )
    return Opened("".join(_html(_without_running(pages), outline)).encode("utf-8", "replace"), title, language)


_AGAIN = "export it again, or name it in .ragignore"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _decrypt(reader: Any) -> None:
    if reader.is_encrypted and not reader.decrypt(""):
        raise DocumentUnreadable("it is encrypted", hint="save it without a password, or name it in .ragignore")


def _pages(reader: Any, count: int, maximum_bytes: int) -> Iterator[list[str]]:
    """The lines of each page."""
    total = 0
    for number in range(count):
        try:
            text = reader.pages[number].extract_text()
        except RecursionError:
            raise
        except Exception as error:
            why = f"page {number + 1} cannot be read: {type(error).__name__}: {_short(error)}"
            raise DocumentUnreadable(why, hint=_AGAIN) from error
        total += len(text.encode("utf-8", "replace"))
        if total > maximum_bytes:
            raise DocumentUnreadable(
                f"it has more than {maximum_bytes:,} bytes of text", hint="split it, or raise maximum_bytes"
            )
        yield [" ".join(line.split()) for line in text.splitlines()]


def _said(reader: Any) -> tuple[str | None, str | None]:
    information = reader.metadata
    title = getattr(information, "title", None)
    language = reader.root_object.get("/Lang")
    return (str(title) if title else None), (str(language) if language else None)


def _outline(reader: Any) -> dict[int, list[tuple[int, str]]]:
    """For each page, from 0, the level and the words of the outline's entries that lead there; none where it is broken."""
    found: dict[int, list[tuple[int, str]]] = {}
    try:
        pending: list[tuple[int, Any]] = [(1, entry) for entry in reversed(reader.outline)]
        read = 0
        while pending and read < MAXIMUM_OUTLINE:
            level, entry = pending.pop()
            if isinstance(entry, list):
                pending.extend((level + 1, inner) for inner in reversed(entry))
                continue
            read += 1
            page = reader.get_destination_page_number(entry)
            title = " ".join(str(entry.title or "").split())
            if title and page is not None and page >= 0:
                found.setdefault(page, []).append((min(level, _DEEPEST), title))
    except Exception:  # noqa: BLE001 - the text is there without its outline
        return {}
    return found


def _without_running(pages: Sequence[list[str]]) -> list[list[str]]:
    """The pages without the lines that most of them begin or end with, numbers apart."""
    trimmed = [[line for line in page] for page in pages]  # noqa: C416 - copies
    if len(pages) < _FEWEST_PAGES:
        return trimmed
    for top in (True, False):
        for _ in range(_RUNNING):
            edges = [_edge(page, top=top) for page in trimmed]
            counts = Counter(key for _, key in edges if key)
            for page, (place, key) in zip(trimmed, edges, strict=True):
                # A number by itself is a page's, however many pages have something else beside it.
                share = 0.1 if key == "#" else 0.6
                if key and counts[key] >= max(_FEWEST_PAGES, len(pages) * share):
                    del page[place]
    return trimmed


def _edge(page: list[str], *, top: bool) -> tuple[int, str]:
    """The place of the first or last line that is not blank, and what of it is the same on all pages."""
    places = range(len(page)) if top else range(len(page) - 1, -1, -1)
    place = next((place for place in places if page[place]), -1)
    return place, re.sub(r"\d+", "#", page[place]) if place >= 0 else ""


# Lines to HTML.


def _html(pages: Sequence[list[str]], outline: dict[int, list[tuple[int, str]]]) -> Iterator[str]:
    for number, page in enumerate(pages):
        yield f'<a name="page={number + 1}"></a>'
        headings = outline.get(number, [])
        places = _places(page, headings)
        for level, title in (heading for at, heading in enumerate(headings) if at not in places.values()):
            yield _heading(number, level, title)
        for block in _blocks(page, places):
            if isinstance(block, int):
                yield _heading(number, headings[block][0], headings[block][1])
            else:
                yield f"<p>{html.escape(block)}</p>\n"


def _heading(page: int, level: int, title: str) -> str:
    return f'<h{level} id="page={page + 1}">{html.escape(title)}</h{level}>\n'


def _places(page: list[str], headings: list[tuple[int, str]]) -> dict[int, int]:
    """For each line that is a heading of the outline, which; in order."""
    places: dict[int, int] = {}
    begin = 0
    for number, (_, title) in enumerate(headings):
        wanted = {_folded(title), _folded(_unnumbered(title))} - {""}
        for at in range(begin, len(page)):
            if not wanted.isdisjoint((_folded(page[at]), _folded(_unnumbered(page[at])))):
                places[at] = number
                begin = at + 1
                break
    return places


def _unnumbered(title: str) -> str:
    return re.sub(r"^(?:chapter|section|part)?\s*[\d.]+[.:)]?\s+", "", title, flags=re.IGNORECASE)


def _folded(text: str) -> str:
    return re.sub(r"\W+", "", text.casefold())


def _blocks(page: list[str], places: dict[int, int]) -> Iterator[str | int]:
    """The paragraphs of a page, and the numbers of its headings."""
    width = sorted(len(line) for line in page if line)
    full = width[len(width) * 3 // 4] if width else 0
    paragraph = ""
    before = ""
    for at, line in enumerate(page):
        ended = before.endswith(_ENDS) and len(before) < full * 0.8
        if paragraph and (not line or at in places or ended or _ITEM.match(line)):
            yield paragraph
            paragraph = ""
        if at in places:
            yield places[at]
        elif line:
            paragraph = _joined(paragraph, line)
        before = line
    if paragraph:
        yield paragraph


def _joined(paragraph: str, line: str) -> str:
    """A paragraph with its next line; a word that was divided between two lines is one again."""
    if not paragraph:
        return line
    if re.search(r"[^\W\d_]{2}-$", paragraph) and line[:1].islower():
        return paragraph[:-1] + line
    return f"{paragraph} {line}"
