"""Contents: what stands at the location of a source, as files to read and the tree to read them from.

``KINDS`` is the one place where a new kind of location plugs in: a function that looks at the location and returns its
contents, or ``None`` where it is of another kind. What it says of each file (its path, its format, how it is opened and
what tells whether it changed) is all that reading needs, so a kind that keeps fetched pages knows nothing of formats.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, cast

import msgspec

from clockify_rag.contracts import FileState, Notice, Skipped, Source
from clockify_rag.errors import SourceError
from clockify_rag.ignoring import matches, nfc
from clockify_rag.walking import (
    ARCHIVES,
    FORMATS,
    VALUES,
    Archive,
    File,
    Folder,
    Place,
    Tree,
    Walk,
    closed,
    is_text,
    printable,
    start_of,
    state_of,
)

if TYPE_CHECKING:
    from clockify_rag._core import _Slugs

Files = Iterator[File | Skipped | Notice]


class Limits(msgspec.Struct, frozen=True):
    """What of a location is looked at."""

    ignore: bool
    """Whether hidden and ignored paths and folders of dependencies and build output are skipped."""
    maximum_archive_bytes: int
    maximum_archive_members: int


class Contents(msgspec.Struct, frozen=True):
    """What stands at a location."""

    open: Callable[[], AbstractContextManager[tuple[Tree, Files]]]
    """Opens it: the tree, and its files in order of path."""
    whole: FileState | None = None
    """The state of the one file on disk that holds everything, so that where it is unchanged nothing is opened."""
    alone: bool = False
    """Whether the location is one document: what it lacks then is an error of the whole source."""


Kind = Callable[[Source, str, Limits], Contents | None]
"""Looks at a source and its real path."""


def contents_of(source: Source, limits: Limits) -> Contents:
    """Return what stands at the location of ``source``.

    Raises:
        SourceError: there is nothing, or nothing that can be read.
    """
    location = os.path.realpath(source.location)
    for kind in KINDS:
        contents = kind(source, location, limits)
        if contents is not None:
            return contents
    raise _missing(source.location)


def _folder(source: Source, location: str, limits: Limits) -> Contents | None:
    if not os.path.isdir(location):
        return None
    if _is_index(location):
        raise SourceError(f"{source.location} is an index", hint="give the folder of the documents")
    tree = Folder(location)

    def files() -> Files:
        try:
            start = start_of(location, ignore=limits.ignore, include=bool(source.include))
        except SourceError as error:
            yield closed(printable(source.location), error)
            return
        yield from Walk(tree, source, ignore=limits.ignore).files(start)

    return Contents(lambda: nullcontext((tree, files())))


def _archive(source: Source, location: str, limits: Limits) -> Contents | None:
    if not os.path.isfile(location) or not location.lower().endswith(ARCHIVES):
        return None

    @contextmanager
    def opened() -> Iterator[tuple[Tree, Files]]:
        try:
            archive = Archive(location, limits.maximum_archive_bytes, limits.maximum_archive_members)
        except OSError as error:
            raise _unreadable_archive(source, error) from error
        try:
            yield archive, files(archive)
        finally:
            archive.close()

    def files(archive: Archive) -> Files:
        yield from archive.unsafe
        start = Place("", "", included=not source.include)
        yield from Walk(archive, source, ignore=limits.ignore).files(start)

    try:
        return Contents(opened, whole=state_of(os.stat(location)))
    except OSError as error:
        raise _unreadable_archive(source, error) from error


def _unreadable_archive(source: Source, error: OSError) -> SourceError:
    return SourceError(f"the archive {source.location} cannot be read: {error.strerror}")


def _single_file(source: Source, location: str, _limits: Limits) -> Contents | None:
    if not os.path.isfile(location):
        return None
    folder, name = os.path.split(location)
    suffix = os.path.splitext(name)[1].lower()
    markup = "csv" if suffix in VALUES and matches(source.glossary, nfc(name)) else FORMATS.get(suffix)
    if markup is None and suffix in VALUES:
        raise SourceError(
            f"{printable(source.location)} is a table, and nothing says that it is a glossary",
            hint=f'in clockify-rag.toml: [[sources]] location = "{printable(name)}", glossary = ["*{suffix}"]',
        )
    if markup is None or not is_text(name):
        raise SourceError(
            f"{printable(source.location)} is in no format that can be read",
            hint=f"files end in {', '.join(FORMATS)}, archives in {', '.join(ARCHIVES)}",
        )
    slugs = cast("_Slugs | None", source.slugs) or start_of(location, ignore=False, include=False).slugs or "github"
    file = File(nfc(name), markup, location, slugs)
    return Contents(lambda: nullcontext((Folder(folder), iter([file]))), alone=True)


KINDS: tuple[Kind, ...] = (_folder, _archive, _single_file)
"""The kinds of locations, the first that recognises one decides."""


def _is_index(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "CURRENT")) and os.path.isdir(os.path.join(folder, "generations"))


def _missing(location: str) -> SourceError:
    if re.match(r"https?://", location):
        return SourceError(f"{location} is an address and no folder", hint=f"clockify-rag crawl {location}")
    if os.path.lexists(location):
        return SourceError(f"{printable(location)} is neither a folder nor a file", hint="check where it leads")
    if re.search(r"[*?\[]", location):
        return SourceError(
            f"the pattern {printable(location)} matches nothing",
            hint="check the pattern; patterns within a source are its setting include",
            location=printable(location),
        )
    import difflib

    folder, name = os.path.split(os.path.abspath(location))
    try:
        near = difflib.get_close_matches(name, [entry for entry in os.listdir(folder) if is_text(entry)], n=1)
    except OSError:
        near = []
    hint = f"did you mean {os.path.join(os.path.dirname(location), near[0])}?" if near else "check the path"
    return SourceError(f"there is nothing at {printable(location)}", hint=hint, location=printable(location))
