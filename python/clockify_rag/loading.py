"""Loading: folders, files and archives to documents with identity, metadata and parsed pages.

A loader is told a source and what the last build knew of it, and yields every document in order of path: as the known
record where the operating system says that the file has not changed, else parsed. Contents go to the core in batches,
so that it parses on all threads while memory stays bounded by one batch.

An id is made of a source's name and a path in it and of nothing else: not of the working directory, the place of the
source on the disk, or the contents. What a document says is told by ``content_hash``.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, Literal, cast
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from clockify_rag import _core
from clockify_rag.contracts import Document, Failure, FileState, LoadedDocument, Skipped, Source, digest
from clockify_rag.errors import DocumentUnreadable, InvalidSetting, SourceError
from clockify_rag.ignoring import nfc
from clockify_rag.walking import (
    ARCHIVES,
    DUPLICATE,
    EMPTY,
    FORMATS,
    TOO_LARGE,
    UNREADABLE,
    Archive,
    File,
    Folder,
    Place,
    Tree,
    Walk,
    closed,
    failure_of,
    is_text,
    megabytes,
    printable,
    start_of,
    state_of,
    unreadable,
)

if TYPE_CHECKING:
    from clockify_rag._core import _Format, _Slugs

READING_VERSION = "3"
"""Raised when reading changes, so that files are read again although they have not changed."""


_SLUGS: tuple[_Slugs, ...] = ("github", "docusaurus", "mkdocs", "sphinx", "gitlab")
_URL_STYLES = ("html", "directory", "md")
_LANGUAGE_SAMPLE = 4000
"""Characters of a text by which its language is told."""


# Identity.


def document_id(source: str, path: str) -> str:
    """Return the id of the document at ``path`` of the source named ``source``: 32 hexadecimal digits.

    Nothing else goes into it, so a document keeps its id wherever the source lies and wherever the build is run.
    Paths that differ only by Unicode's normal forms are one path.
    """
    return digest("document path 1", nfc(source), nfc(path))


def document_id_of_given(source: str, given: str) -> str:
    """Return the id of the document that the source itself calls ``given``: 32 hexadecimal digits."""
    return digest("document given 1", nfc(source), nfc(given))


# Sources.


def _check_settings(source: Source) -> None:
    def refuse(setting: str, value: str, hint: str) -> InvalidSetting:
        return InvalidSetting(f"{setting} of source {source.name} cannot be {value!r}", hint=hint, setting=setting)

    if not source.name:
        raise refuse("name", source.name, "give the source a name")
    if not source.location or "\0" in source.location:
        raise refuse("location", source.location, "give a folder, a file or an archive")
    if source.base_url is not None and not _is_web_address(source.base_url):
        raise refuse("base_url", source.base_url, "give an address that begins with https://")
    if source.url_style not in _URL_STYLES:
        raise refuse("url_style", source.url_style, f"one of {', '.join(_URL_STYLES)}")
    if source.slugs is not None and source.slugs not in _SLUGS:
        raise refuse("slugs", source.slugs, f"one of {', '.join(_SLUGS)}")


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


# Reading.


class _Line(msgspec.Struct, frozen=True):
    """One object of a JSON Lines file."""

    text: str
    id: str | int | None = None
    beir_id: str | int | None = msgspec.field(name="_id", default=None)
    title: str | None = None
    url: str | None = None
    language: str | None = None
    tags: list[str] | str | None = None
    version: str | int | float | None = None
    format: Literal["markdown", "html", "text"] = "markdown"


class _Unit(msgspec.Struct, frozen=True):
    """A document's bytes and what is known of it before they are parsed."""

    id: str
    path: str
    format: _Format
    content: bytes
    slugs: _Slugs
    file: FileState
    line: _Line | None = None


_Item = Document | Skipped | _Unit
_Loaded = LoadedDocument | Document | Skipped


class FileLoader:
    """Loads Markdown, HTML, text and JSON Lines from a folder, a file or a tar archive (loader ``files``).

    Args:
        ignore: whether hidden and ignored paths and folders of dependencies and build output are skipped.
        maximum_bytes: the largest document that is read; for JSON Lines, the longest line.
        maximum_archive_bytes: the most that an archive may unpack to.
        maximum_archive_members: the most members that an archive may have.
        batch_documents: how many documents are parsed at once.
        batch_bytes: how many bytes are parsed at once; one document may be more.
    """

    def __init__(
        self,
        *,
        ignore: bool = True,
        maximum_bytes: int = 50_000_000,
        maximum_archive_bytes: int = 2_000_000_000,
        maximum_archive_members: int = 1_000_000,
        batch_documents: int = 128,
        batch_bytes: int = 16_000_000,
    ) -> None:
        limits = {
            "maximum_bytes": maximum_bytes,
            "maximum_archive_bytes": maximum_archive_bytes,
            "maximum_archive_members": maximum_archive_members,
            "batch_documents": batch_documents,
            "batch_bytes": batch_bytes,
        }
        for setting, value in limits.items():
            if value < 1:
                raise InvalidSetting(
                    f"{setting} cannot be {value}", hint=f"give {setting} as 1 or more", setting=setting
                )
        self.ignore = ignore
        self.maximum_bytes = maximum_bytes
        self.maximum_archive_bytes = maximum_archive_bytes
        self.maximum_archive_members = maximum_archive_members
        self.batch_documents = batch_documents
        self.batch_bytes = batch_bytes

    def load(
        self, source: Source, known: Mapping[str, Document], *, checksum: bool = False
    ) -> Iterator[LoadedDocument | Document | Skipped]:
        """Yield every document of ``source`` in order of path, and what was skipped.

        The documents of one JSON Lines file come in the order of its lines, with the paths ``file/id``.

        Args:
            source: where to load from.
            known: the documents of the last build by id; those of other sources are passed over.
            checksum: whether files are read although their state is that of the last build.

        Raises:
            SourceError: there is nothing at the location, it cannot be read as a whole, or it holds no document.
            InvalidSetting: a setting of the source is none.
        """
        _check_settings(source)
        reading = _Reading(self, source, known, checksum=checksum)
        counts: Counter[str] = Counter()
        for item in reading.results():
            counts[item.reason if isinstance(item, Skipped) else "documents"] += 1
            yield item
        if not counts["documents"] and not counts[UNREADABLE]:
            raise _nothing(source, counts)


def _nothing(source: Source, counts: Counter[str]) -> SourceError:
    skipped = ", ".join(f"{number} {reason}" for reason, number in counts.most_common() if number)
    return SourceError(
        f"{source.location} holds no document" + (f"; skipped: {skipped}" if skipped else ""),
        hint=f"documents end in {', '.join(FORMATS)}; --no-ignore also reads what is ignored",
        source=source.name,
        skipped=dict(counts),
    )


class _Reading:
    """One source being loaded."""

    def __init__(self, loader: FileLoader, source: Source, known: Mapping[str, Document], *, checksum: bool) -> None:
        self._loader = loader
        self._source = source
        self._known: dict[str, Document] = {}
        self._known_by_file: dict[str, list[Document]] = {}
        if not checksum:
            self._remember(known)
        self._seen: set[str] = set()
        self._settings: dict[str, str] = {}
        self._tree: Tree

    def _remember(self, known: Mapping[str, Document]) -> None:
        for document in known.values():
            if document.source == self._source.name and not document.stale:
                self._known[document.id] = document
                for end in re.finditer(r"\.(?:jsonl|ndjson)/", document.path, re.IGNORECASE):
                    self._known_by_file.setdefault(document.path[: end.end() - 1], []).append(document)

    def results(self) -> Iterator[_Loaded]:
        """Yield all that the source holds."""
        location = os.path.realpath(self._source.location)
        if os.path.isdir(location):
            self._tree = Folder(location)
            if _is_index(location):
                raise SourceError(f"{self._source.location} is an index", hint="give the folder of the documents")
            try:
                start = start_of(location, ignore=self._loader.ignore, include=bool(self._source.include))
            except SourceError as error:
                return iter([closed(printable(self._source.location), error)])
            return self._batched(self._walk(start))
        if not os.path.isfile(location):
            raise _missing(self._source.location)
        if location.lower().endswith(ARCHIVES):
            return self._archive(location)
        return self._single(location)

    def _walk(self, start: Place) -> Iterator[File | Skipped]:
        return Walk(self._tree, self._source, ignore=self._loader.ignore).files(start)

    def _single(self, location: str) -> Iterator[_Loaded]:
        folder, name = os.path.split(location)
        markup = FORMATS.get(os.path.splitext(name)[1].lower())
        if markup is None or not is_text(name):
            raise SourceError(
                f"{printable(self._source.location)} is in no format that can be read",
                hint=f"files end in {', '.join(FORMATS)}, archives in {', '.join(ARCHIVES)}",
            )
        self._tree = Folder(folder)
        slugs = (
            cast("_Slugs | None", self._source.slugs)
            or start_of(location, ignore=False, include=False).slugs
            or "github"
        )
        return self._batched(iter([File(nfc(name), markup, location, slugs)]))

    def _archive(self, location: str) -> Iterator[_Loaded]:
        try:
            unchanged = self._unchanged_archive(state_of(os.stat(location)))
            if unchanged:
                yield from unchanged
                return
            archive = Archive(location, self._loader.maximum_archive_bytes, self._loader.maximum_archive_members)
        except OSError as error:
            raise SourceError(f"the archive {self._source.location} cannot be read: {error.strerror}") from error
        try:
            self._tree = archive
            yield from archive.unsafe
            start = Place("", "", included=not self._source.include)
            yield from _reread_after_failure(self._batched(self._walk(start)))
        finally:
            archive.close()

    def _unchanged_archive(self, state: FileState) -> list[Document]:
        """All documents of an archive, when each was read from the archive as it is now."""
        states = [self._with_settings(state, slugs) for slugs in _SLUGS]
        documents = sorted(self._known.values(), key=lambda document: document.path)
        return documents if all(document.file in states for document in documents) else []

    def _with_settings(self, state: FileState, slugs: _Slugs) -> FileState:
        if slugs not in self._settings:
            source = msgspec.structs.replace(self._source, location="")
            text = msgspec.json.encode((READING_VERSION, slugs, self._loader.ignore, source)).decode()
            self._settings[slugs] = digest("settings 1", text)[:16]
        return msgspec.structs.replace(state, settings=self._settings[slugs])

    # Files to units.

    def _batched(self, files: Iterator[File | Skipped]) -> Iterator[_Loaded]:
        batch = _Batch(self._loader)
        for file in files:
            if isinstance(file, File) and file.markup == "jsonl":
                yield from self._parse(batch.take())
                yield from self._lines_file(file)
                continue
            if batch.add(file if isinstance(file, Skipped) else self._item(file)):
                yield from self._parse(batch.take())
        yield from self._parse(batch.take())

    def _item(self, file: File) -> _Item:
        identity = document_id(self._source.name, file.path)
        if identity in self._seen:
            return self._duplicate(file.path, "another file has this path but for its Unicode form")
        self._seen.add(identity)
        try:
            state, size = self._tree.look(file.key)
            state = self._with_settings(state, file.slugs)
            document = self._known.get(identity)
            if document is not None and document.file == state:
                return document
            content = self._content(file, size)
        except (OSError, tarfile.TarError) as error:
            return unreadable(file.path, error)
        if content is None:
            return self._too_large(file.path, size)
        if not content:
            return Skipped(file.path, EMPTY)
        return _Unit(identity, file.path, cast("_Format", file.markup), content, file.slugs, state)

    def _content(self, file: File, size: int) -> bytes | None:
        """A file's bytes, also where it has grown since; ``None`` when they are too many."""
        limit = self._loader.maximum_bytes
        if size > limit:
            return None
        with self._tree.open(file.key) as stream:
            content = stream.read(size + 1)
            if len(content) > size:
                content += stream.read(limit + 1 - len(content))
        return content if len(content) <= limit else None

    def _too_large(self, path: str, size: int, file: str | None = None) -> Skipped:
        limit = megabytes(self._loader.maximum_bytes)
        return Skipped(
            path,
            TOO_LARGE,
            failure_of(
                f"{path} has {megabytes(size)}, more than the {limit} that a document may have",
                "split it, raise maximum_bytes, or name it in .ragignore",
            ),
            file,
        )

    @staticmethod
    def _duplicate(path: str, why: str) -> Skipped:
        return Skipped(path, DUPLICATE, failure_of(f"{path} is not read: {why}", "rename or remove one of the two"))

    # JSON Lines.

    def _lines_file(self, file: File) -> Iterator[_Loaded]:
        try:
            state = self._with_settings(self._tree.look(file.key)[0], file.slugs)
            known = self._known_by_file.get(file.path, [])
            if known and all(document.file == state for document in known):
                self._seen.update(document.id for document in known)
                yield from known
                return
            with self._tree.open(file.key) as stream:
                yield from _reread_after_failure(self._lines_batched(file, state, stream))
        except (OSError, tarfile.TarError) as error:
            yield unreadable(file.path, error)

    def _lines_batched(self, file: File, state: FileState, stream: IO[bytes]) -> Iterator[_Loaded]:
        batch = _Batch(self._loader)
        for number, line in _numbered_lines(stream, self._loader.maximum_bytes):
            if batch.add(self._line(file, state, number, line)):
                yield from self._parse(batch.take())
        yield from self._parse(batch.take())

    def _line(self, file: File, state: FileState, number: int, content: bytes | int) -> _Item:
        place = f"{file.path}:{number}"
        if isinstance(content, int):
            return self._too_large(place, content, file.path)
        try:
            line = msgspec.json.decode(content, type=_Line)
            text = line.text.encode()
        except (msgspec.DecodeError, UnicodeError) as error:
            failure = failure_of(
                f"line {number} of {file.path} is no document: {error}",
                'write one object a line, such as {"id": "a1", "title": "Title", "text": "Markdown"}',
            )
            return Skipped(place, UNREADABLE, failure, file.path)
        given = _text_of(line.id if line.id is not None else line.beir_id)
        path = nfc(f"{file.path}/{given or f'line-{number}'}")
        identity = document_id_of_given(self._source.name, given) if given else document_id(self._source.name, path)
        if identity in self._seen:
            return self._duplicate(place, f"another document of the source has the id {given}")
        self._seen.add(identity)
        if not text.strip():
            return Skipped(place, EMPTY)
        return _Unit(identity, path, line.format, text, file.slugs, state, line)

    # Units to documents.

    def _parse(self, batch: Sequence[_Item]) -> Iterator[_Loaded]:
        pages: dict[int, _core.Page | DocumentUnreadable] = {}
        groups: dict[tuple[_Format, _Slugs], list[int]] = {}
        for number, item in enumerate(batch):
            if isinstance(item, _Unit):
                groups.setdefault((item.format, item.slugs), []).append(number)
        for (markup, slugs), numbers in groups.items():
            contents = [cast("_Unit", batch[number]).content for number in numbers]
            pages.update(zip(numbers, _core.parse(markup, contents, slugs), strict=True))
        for number, item in enumerate(batch):
            yield self._finish(item, pages[number]) if isinstance(item, _Unit) else item

    def _finish(self, unit: _Unit, page: _core.Page | DocumentUnreadable) -> _Loaded:
        if isinstance(page, DocumentUnreadable):
            failure = Failure(page.code, f"{unit.path} cannot be read: {page.message}", page.hint)
            return Skipped(unit.path, UNREADABLE, failure)
        text = page.text
        if not text.strip():
            return Skipped(unit.path, EMPTY)
        return LoadedDocument(self._document(unit, page, text), page)

    def _document(self, unit: _Unit, page: _core.Page, text: str) -> Document:
        source, line = self._source, unit.line or _Line("")
        matter = _mapping(page.front_matter)
        url = _page_url(source, (line.url, matter.get("url"), matter.get("canonical_url"), page.canonical_url))
        language = _language(line.language) or _language(page.language) or _language(source.language)
        title = _text_of(line.title) or _text_of(page.title) or _title_of(unit.path)
        document = Document(
            id=unit.id,
            source=source.name,
            path=unit.path,
            title=title,
            url=url or (None if unit.line else url_of(source, unit.path)),
            language=language or _core.detect_language(text[:_LANGUAGE_SAMPLE], ""),
            kind=page.kind,
            tags=_tags(source.tags, matter.get("tags"), line.tags),
            version=_text_of(line.version) or _text_of(matter.get("version")) or source.version,
            breadcrumb=tuple(page.breadcrumb),
            file=unit.file,
        )
        return msgspec.structs.replace(document, content_hash=content_hash(text, page.structure, document, source, url))


def _reread_after_failure(results: Iterator[_Loaded]) -> Iterator[_Loaded]:
    """Forget the file's state in one document when anything failed, so that the failure is met and reported again."""
    held: LoadedDocument | None = None
    failed = False
    for result in results:
        if isinstance(result, LoadedDocument):
            if held is not None:
                yield held
            held = result
        else:
            failed = failed or (isinstance(result, Skipped) and result.error is not None)
            yield result
    if held is not None:
        document = msgspec.structs.replace(held.document, file=None) if failed else held.document
        yield LoadedDocument(document, held.page)


class _Batch:
    """What is parsed at once."""

    def __init__(self, loader: FileLoader) -> None:
        self._loader = loader
        self._items: list[_Item] = []
        self._bytes = 0

    def add(self, item: _Item) -> bool:
        """Add an item; returns whether the batch is full."""
        self._items.append(item)
        if isinstance(item, _Unit):
            self._bytes += len(item.content)
        return len(self._items) >= self._loader.batch_documents or self._bytes >= self._loader.batch_bytes

    def take(self) -> list[_Item]:
        """Return the items and begin anew."""
        items, self._items, self._bytes = self._items, [], 0
        return items


def _numbered_lines(stream: IO[bytes], limit: int) -> Iterator[tuple[int, bytes | int]]:
    """Yield the lines that are not blank, numbered from 1; of one longer than ``limit`` bytes only its length."""
    number = 0
    while line := stream.readline(limit + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if len(line) <= limit or line.endswith(b"\n"):
            if not line.isspace():
                yield number, line
            continue
        length = len(line)
        while not line.endswith(b"\n") and (line := stream.readline(1 << 20)):
            length += len(line)
        yield number, length


# Metadata.


def content_hash(text: str, structure: str, document: Document, source: Source, url: str | None) -> str:
    """Return the hash of a canonical text, its structure and the metadata that is searched or shown: 32 hexadecimal
    digits.

    It says whether a document must be written anew, and finds a document that moved: so a URL that was made from the
    path goes into it by what it was made with.
    """
    made_with = "" if url else f"{source.base_url or ''} {source.url_style}"
    lists = [str(len(document.tags)), *document.tags, str(len(document.breadcrumb)), *document.breadcrumb]
    fields = (document.title, url or "", made_with, document.language, document.kind, document.version or "")
    return digest("content 2", text, structure, *fields, *lists)


def url_of(source: Source, path: str) -> str | None:
    """Return the address of the page at ``path`` by ``base_url`` and ``url_style``; ``None`` without a ``base_url``."""
    if source.base_url is None:
        return None
    stem, suffix = os.path.splitext(path)
    markup = FORMATS.get(suffix.lower())
    if markup == "markdown" and source.url_style == "html":
        path = f"{stem}.html"
    elif markup in ("markdown", "html") and source.url_style == "directory":
        folder, _, name = stem.rpartition("/")
        shown = folder if name.lower() in ("index", "readme") else stem
        path = f"{shown}/" if shown else ""
    return f"{source.base_url.rstrip('/')}/{quote(path)}"


def _page_url(source: Source, candidates: Iterable[object]) -> str | None:
    """The first of ``candidates`` that is an address on the web, a relative one below ``base_url``."""
    for candidate in candidates:
        url = _text_of(candidate)
        if url is None:
            continue
        try:
            whole = urljoin(source.base_url or "", url)
        except ValueError:
            continue
        if _is_web_address(whole):
            return whole
    return None


def _mapping(front_matter: str) -> dict[str, Any]:
    decoded = msgspec.json.decode(front_matter) if front_matter else {}
    return decoded if isinstance(decoded, dict) else {}


def _text_of(value: object) -> str | None:
    """A scalar as text in one line; ``None`` for everything else and for nothing."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return nfc(" ".join(str(value).split())) or None


def _tags(*groups: object) -> tuple[str, ...]:
    """All tags once, in order; a string holds them separated by commas."""
    found: dict[str, None] = {}
    for group in groups:
        members = group.split(",") if isinstance(group, str) else group if isinstance(group, list | tuple) else ()
        found.update((text, None) for member in members if (text := _text_of(member)))
    return tuple(found)


def _language(code: str | None) -> str | None:
    """The ISO 639-1 code of a language tag such as ``en-US``."""
    match = re.match(r"\s*([A-Za-z]{2})(?![A-Za-z0-9])", code or "")
    return match[1].lower() if match else None


def _title_of(path: str) -> str:
    """A title for a page that has none: its name, or its folder's when the name says nothing."""
    folder, _, name = path.rpartition("/")
    stem, suffix = os.path.splitext(name)
    if suffix.lower() not in FORMATS:
        stem = name
    if stem.lower() in ("index", "readme") and folder:
        stem = folder.rpartition("/")[2]
    return " ".join(re.split(r"[-_\s]+", stem)).strip() or name


def _is_index(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "CURRENT")) and os.path.isdir(os.path.join(folder, "generations"))


def _missing(location: str) -> SourceError:
    if re.match(r"https?://", location):
        return SourceError(f"{location} is an address and no folder", hint="download the site and give its folder")
    if os.path.lexists(location):
        return SourceError(f"{printable(location)} is neither a folder nor a file", hint="check where it leads")
    import difflib

    folder, name = os.path.split(os.path.abspath(location))
    try:
        near = difflib.get_close_matches(name, [entry for entry in os.listdir(folder) if is_text(entry)], n=1)
    except OSError:
        near = []
    hint = f"did you mean {os.path.join(os.path.dirname(location), near[0])}?" if near else "check the path"
    return SourceError(f"there is nothing at {printable(location)}", hint=hint, location=printable(location))
