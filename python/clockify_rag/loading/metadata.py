"""Metadata: what is known of a document beside its text, from its page, its place and its source.

A page's own word goes before its place, and its place before the source's settings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from clockify_rag.contracts import Document, Source, digest
from clockify_rag.errors import InvalidSetting
from clockify_rag.ignoring import nfc
from clockify_rag.walking import FORMATS

if TYPE_CHECKING:
    from clockify_rag._core import _Slugs

SLUGS: tuple[_Slugs, ...] = ("github", "docusaurus", "mkdocs", "sphinx", "gitlab")
"""The generators whose anchors are known."""

URL_STYLES = ("html", "directory", "plain", "md")
"""How a path becomes an address."""

MAXIMUM_BOOST = 100.0
"""More would hide all other sources."""


def check_settings(source: Source) -> None:
    """Raise ``InvalidSetting`` where a setting of ``source`` is none."""

    def refuse(setting: str, value: str, hint: str) -> InvalidSetting:
        return InvalidSetting(f"{setting} of source {source.name} cannot be {value!r}", hint=hint, setting=setting)

    if not source.name:
        raise refuse("name", source.name, "give the source a name")
    if not source.location or "\0" in source.location:
        raise refuse("location", source.location, "give a folder, a file or an archive")
    if source.base_url is not None and not is_web_address(source.base_url):
        raise refuse("base_url", source.base_url, "give an address that begins with https://")
    if source.url_style not in URL_STYLES:
        raise refuse("url_style", source.url_style, f"one of {', '.join(URL_STYLES)}")
    if not 0 < source.boost <= MAXIMUM_BOOST:
        raise refuse("boost", f"{source.boost:g}", f"more than 0 and at most {MAXIMUM_BOOST:g}")
    if source.slugs is not None and source.slugs not in SLUGS:
        raise refuse("slugs", source.slugs, f"one of {', '.join(SLUGS)}")


def is_web_address(url: str) -> bool:
    """Whether ``url`` is an address on the web."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def content_hash(text: str, structure: str, document: Document, source: Source, url: str | None, said: str = "") -> str:
    """Return the hash of a canonical text, its structure and the metadata that is searched or shown: 32 hexadecimal
    digits.

    It says whether a document must be written anew, and finds a document that moved: so a URL that was made from the
    path goes into it by what it was made with, ``said`` being what the page said of it.
    """
    made_with = "" if url else f"{source.base_url or ''} {source.url_style} {said}".rstrip()
    lists = [str(len(document.tags)), *document.tags, str(len(document.breadcrumb)), *document.breadcrumb]
    fields = (document.title, url or "", made_with, document.language, document.kind, document.version or "")
    weight = () if document.boost == 1 else ("boost", f"{document.boost:g}")
    return digest("content 2", text, structure, *fields, *lists, *weight)


def url_of(source: Source, path: str, route: str | None = None) -> str | None:
    """Return the address of the page at ``path`` by ``base_url`` and ``url_style``; ``None`` without a ``base_url``.

    ``route`` is where its generator puts it below ``base_url``, without an ending, where that does not follow from its path.
    """
    if source.base_url is None:
        return None
    stem, suffix = os.path.splitext(path)
    markup = FORMATS.get(suffix.lower())
    style = source.url_style
    if route is not None and style != "md":
        path = route if not route or style == "plain" else f"{route}.html" if style == "html" else f"{route}/"
    elif markup == "markdown" and style == "html":
        path = f"{stem}.html"
    elif markup in ("markdown", "html") and style in ("directory", "plain"):
        folder, _, name = stem.rpartition("/")
        shown = folder if name.lower() in ("index", "readme") else stem
        path = f"{shown}/" if shown and style == "directory" else shown
    return f"{source.base_url.rstrip('/')}/{quote(path)}"


_NUMBERED = re.compile(r"\d+\s*[-_.]+\s*(?P<name>[^-_.\s].*)")
_DATED = re.compile(r"(?:\d{2}|\d{4})[-_.]\d{2}(?:[-_.](?:\d{2}|\d{4}))?.*|\d+[-_.]\d+.*")


def docusaurus_route(path: str, matter: Mapping[str, Any]) -> str:
    """Return where Docusaurus puts the page at ``path`` below the root of its documents, without slashes around it.

    Folders and files lose the numbers that order them; ``slug``, else ``id``, stands for the file's name, a slug that
    begins with a slash for the whole; a page named as its folder is the folder's.
    """
    folders = [_unnumbered(folder) for folder in path.split("/")[:-1]]
    name = os.path.splitext(path.rpartition("/")[2])[0]
    slug = text_of(matter.get("slug"))
    if slug is None:
        identity = text_of(matter.get("id"))
        first = path.split("/")[-2] if folders else ""
        if identity is None and name.lower() in ("index", "readme", first.lower()):
            return "/".join(folders)
        slug = identity or _unnumbered(name)
    parts = [] if slug.startswith("/") else folders
    for part in slug.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _unnumbered(name: str) -> str:
    match = None if _DATED.fullmatch(name) else _NUMBERED.fullmatch(name)
    return match["name"] if match else name


def says_yes(value: object) -> bool:
    """Whether a value of front matter says yes, also as a word."""
    return value is True or (isinstance(value, str) and value.strip().lower() in ("true", "yes", "on"))


def page_url(source: Source, candidates: Iterable[object]) -> str | None:
    """Return the first of ``candidates`` that is an address on the web, a relative one below ``base_url``."""
    for candidate in candidates:
        url = text_of(candidate)
        if url is None:
            continue
        try:
            whole = urljoin(source.base_url or "", url)
        except ValueError:
            continue
        if is_web_address(whole):
            return whole
    return None


def mapping(front_matter: str) -> dict[str, Any]:
    """Return front matter as the core gives it: a JSON object, or nothing."""
    decoded = msgspec.json.decode(front_matter) if front_matter else {}
    return decoded if isinstance(decoded, dict) else {}


def text_of(value: object) -> str | None:
    """Return a scalar as text in one line; ``None`` for everything else and for nothing."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return nfc(" ".join(str(value).split())) or None


def all_tags(*groups: object) -> tuple[str, ...]:
    """Return all tags once, in order; a string holds them separated by commas."""
    found: dict[str, None] = {}
    for group in groups:
        members = group.split(",") if isinstance(group, str) else group if isinstance(group, list | tuple) else ()
        found.update((text, None) for member in members if (text := text_of(member)))
    return tuple(found)


def language_code(code: str | None) -> str | None:
    """Return the ISO 639-1 code of a language tag such as ``en-US``."""
    match = re.match(r"\s*([A-Za-z]{2})(?![A-Za-z0-9])", code or "")
    return match[1].lower() if match else None


def title_of(path: str) -> str:
    """Return a title for a page that has none: its name, or its folder's when the name says nothing."""
    folder, _, name = path.rpartition("/")
    stem, suffix = os.path.splitext(name)
    if suffix.lower() not in FORMATS:
        stem = name
    if stem.lower() in ("index", "readme") and folder:
        stem = folder.rpartition("/")[2]
    return " ".join(re.split(r"[-_\s]+", stem)).strip() or name
