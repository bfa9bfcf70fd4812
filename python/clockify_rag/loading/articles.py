"""Articles: one Markdown file of many documents to its parts.

Exports put whole help centres into one file, in two ways: each document begins with front matter of its own, or each is
a heading ``# [ARTICLE] Title`` with the page's address in the line below. Only what cannot be anything else is cut at:
a thematic break opens front matter only where every line up to the next says so and it has a key that names a document,
as the front matter before it has. What stands in fenced code is code.

The parts of a file follow one another and are the whole of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from urllib.parse import unquote, urlsplit

import msgspec

from clockify_rag.ignoring import nfc

MAXIMUM_LINES_OF_FRONT_MATTER = 200
"""Longer blocks between two fences are text."""

BEGINNING = "beginning"
"""The name of what stands before the first document of a file."""

_ARTICLE = re.compile(r"#[ \t]+\[ARTICLE\](?P<title>.*)", re.IGNORECASE)
_ADDRESS = re.compile(
    r"[\s>*_-]*(?:(?:source|url|link)\b[\s:*_]*)?<?(?P<url>https?://[^\s<>()\[\]]++)>?[\s*_]*", re.IGNORECASE
)
_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}+(?!.*`)|~{3,})(?P<info>.*)")
_KEY = re.compile(r"(?P<key>[A-Za-z_][\w.-]*)[ \t]*:(?:[ \t]+(?P<value>.*))?")
_CONTINUED = re.compile(r"[ \t].*|-(?:[ \t].*)?|#.*|[\]}],?")
_NAMES = ("id", "slug", "url", "permalink", "canonical_url", "source_url", "title")
"""The keys of front matter that name a document, the surest first."""


class Part(msgspec.Struct, frozen=True):
    """One document of a file."""

    start: int
    """Its first character in the file."""
    end: int
    name: str
    """What it is called in the file, unique among its parts."""
    text: str | None = None
    """What is read of it; ``None`` for all of it."""
    title: str | None = None
    url: str | None = None


def parts_of(text: str) -> list[Part]:
    """Return the documents of a file of Markdown; nothing where it is one document."""
    if "[article]" in text.lower():
        found = _numbered(_articles(text))
        if found:
            return found
    return _numbered(_front_matters(text)) if text.count("\n---") > 1 else []


def _numbered(parts: list[Part]) -> list[Part]:
    """The parts with names that are unique: a further one of a name has its number."""
    taken: Counter[str] = Counter()
    named = []
    for part in parts:
        name, taken[part.name] = part.name, taken[part.name] + 1
        while taken[name] > 1:
            name = f"{part.name}-{taken[part.name]}"
            taken[name] += 1
            taken[part.name] += taken[name] > 1
        named.append(msgspec.structs.replace(part, name=name))
    return named


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a file without their ends, each with its first character, those in fenced code left out."""
    fence = ""
    for match in re.finditer(r"[^\n]*(?:\n|$)", text):
        line = match[0].rstrip("\r\n")
        if fence:
            if line.strip().startswith(fence) and not line.strip().strip(fence[0]):
                fence = ""
        elif opened := _FENCE.fullmatch(line):
            fence = opened["fence"]
        else:
            yield match.start(), line


# Articles.


def _articles(text: str) -> list[Part]:
    heads = [
        (start, match["title"].lstrip(" \t").rstrip(" \t#"), start + len(line))
        for start, line in _lines(text)
        if line.startswith("#") and (match := _ARTICLE.fullmatch(line))
    ]
    if not heads:
        return []
    parts = []
    # Nothing but white space before the first article belongs to it.
    first = 0 if not text[: heads[0][0]].strip("\ufeff \t\r\n") else heads[0][0]
    if first:
        parts.append(Part(0, first, BEGINNING))
    bounds = [first, *(start for start, _, _ in heads[1:]), len(text)]
    for (start, end), (_, title, after) in zip(pairwise(bounds), heads, strict=True):
        url, body = _address(text, after, end)
        name = (_name_of_address(url) if url else "") or _slug(title) or "article"
        shown = f"# {title}\n\n{text[body:end]}" if title else text[body:end]
        parts.append(Part(start, end, name, shown, title or None, url))
    return parts


def _address(text: str, start: int, end: int) -> tuple[str | None, int]:
    """The address in the first line that is not blank, and where the text after it begins."""
    match = re.compile(r"\s*([^\n]*)(?:\n|$)").match(text, start, end)
    address = _ADDRESS.fullmatch(match[1]) if match else None
    return (address["url"], match.end()) if address and match else (None, start)


# Front matter.


def _front_matters(text: str) -> list[Part]:
    blocks = list(_blocks(text))
    if not blocks:
        return []
    wanted = set(blocks[0][1])
    starts = [(start, keys) for start, keys in blocks if wanted & set(keys)]
    if len(starts) < 2:  # noqa: PLR2004 - one document is none of many
        return []
    parts = []
    first = 0 if not text[: starts[0][0]].strip("\ufeff \t\r\n") else starts[0][0]
    if first:
        parts.append(Part(0, first, BEGINNING))
    bounds = [first, *(start for start, _ in starts[1:]), len(text)]
    for (start, end), (block, keys) in zip(pairwise(bounds), starts, strict=True):
        # Front matter is read where a file begins with it.
        parts.append(Part(start, end, _name_of(keys), text[block:end]))
    return parts


def _blocks(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The front matters of a file: where each begins, and the keys in it that name a document."""
    opened: tuple[int, list[str]] | None = None
    blank = True
    for start, line in _lines(text):
        fenced = line.rstrip() == "---" or (opened is not None and line.rstrip() == "...")
        line = line.removeprefix("\ufeff") if start == 0 else line  # noqa: PLW2901 - the line as it is read
        if opened is not None:
            begun, lines = opened
            if fenced:
                keys = _names(lines)
                if keys:
                    yield begun, keys
                opened = None if keys else (start, [])
                blank = False
                continue
            if len(lines) < MAXIMUM_LINES_OF_FRONT_MATTER and _speaks_yaml(line, lines):
                lines.append(line)
                continue
            opened = None
        elif line.rstrip() == "---" and blank:
            opened = start, []
        blank = not line.strip()


def _speaks_yaml(line: str, before: list[str]) -> bool:
    if not before:
        return _KEY.fullmatch(line.rstrip()) is not None or line.startswith("#")
    return not line.strip() or bool(_KEY.fullmatch(line.rstrip()) or _CONTINUED.fullmatch(line))


def _names(lines: list[str]) -> dict[str, str]:
    found = {}
    for line in lines:
        match = _KEY.fullmatch(line.rstrip())
        if match and match["key"] in _NAMES and (value := (match["value"] or "").strip().strip("'\"")):
            found[match["key"]] = value
    return found


def _name_of(keys: dict[str, str]) -> str:
    key = next(key for key in _NAMES if key in keys)
    value = keys[key]
    if key in ("id", "title"):
        return _slug(value) or "document"
    return _name_of_address(value) or "document"


def _name_of_address(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return _slug(url)
    names = [_slug(unquote(part)) for part in (parts.path.strip("/") or parts.netloc).split("/")]
    query = _slug(parts.query)
    return "/".join(name for name in (*names, query) if name)


def _slug(title: str) -> str:
    return re.sub(r"[\W_]+", "-", nfc(title).casefold()).strip("-")[:120]
