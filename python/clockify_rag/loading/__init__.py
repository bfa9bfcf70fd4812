"""Loading: folders, files and archives to documents with identity, metadata and parsed pages.

A loader is told a source and what the last build knew of it, and yields every document in order of path: as the known
record where the operating system says that the file has not changed, else parsed. Contents go to the core in batches,
so that it parses on all threads while memory stays bounded by one batch.

An id is made of a source's name and a path in it and of nothing else: not of the working directory, the place of the
source on the disk, or the contents. What a document says is told by ``content_hash``.
"""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from clockify_rag import _core
from clockify_rag.contracts import (
    Document,
    Failure,
    FileState,
    LoadedDocument,
    Notice,
    RawPage,
    Skipped,
    Source,
    digest,
)
from clockify_rag.errors import DocumentUnreadable, InvalidSetting, MissingExtra, SourceError
from clockify_rag.ignoring import matches, nfc
from clockify_rag.loading.articles import parts_of
from clockify_rag.loading.contents import Limits, contents_of
from clockify_rag.loading.lines import Line, ReadyPage, assembled, numbered_lines
from clockify_rag.loading.metadata import (
    SLUGS,
    all_tags,
    check_settings,
    content_hash,
    docusaurus_route,
    language_code,
    mapping,
    page_url,
    says_yes,
    text_of,
    title_of,
    url_of,
)
from clockify_rag.walking import (
    DUPLICATE,
    EMPTY,
    FORMATS,
    SUPPRESSED,
    TOO_LARGE,
    UNREADABLE,
    File,
    Tree,
    failure_of,
    megabytes,
    unreadable,
)

if TYPE_CHECKING:
    from clockify_rag._core import _Format, _Slugs

READING_VERSION = "4"
"""Raised when reading changes, so that files are read again although they have not changed."""

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


def document_id_of_address(source: str, url: str) -> str:
    """Return the id of the page at ``url`` of the site that is the source named ``source``: 32 hexadecimal digits."""
    return digest("document address 1", nfc(source), url)


# Reading.


class _Given(msgspec.Struct, frozen=True):
    """What is said of a document beside its text, by the file that it is in."""

    title: str | None = None
    url: str | None = None
    language: str | None = None
    tags: list[str] | str | None = None
    version: str | int | float | None = None
    suppressed: bool = False
    hub: bool = False


class _Unit(msgspec.Struct, frozen=True):
    """A document's bytes and what is known of it before they are parsed."""

    id: str
    path: str
    format: _Format
    content: bytes
    slugs: _Slugs
    file: FileState
    given: _Given = _Given()
    page: str | None = None
    """The path of which its address is made; ``None`` where it has none."""


class _Ready(msgspec.Struct, frozen=True):
    """A document that came as chunks."""

    id: str
    path: str
    file: str
    """The path of the file that they are in."""
    slugs: _Slugs
    state: FileState
    lines: tuple[tuple[int, Line], ...]
    """The chunks and the numbers of their lines."""
    size: int
    """Bytes."""

    def given(self) -> _Given:
        """Return what the first chunk that says anything of its document says."""
        lines = [line for _, line in self.lines]
        url = next((line.url for line in lines if line.url), None)
        return _Given(
            title=next((line.title for line in lines if line.title), None),
            url=url.partition("#")[0] if url else None,
            language=next((line.language for line in lines if line.language), None),
            tags=next((line.tags for line in lines if line.tags), None),
            version=next((line.version for line in lines if line.version), None),
            suppressed=any(line.suppress_from_rag for line in lines),
            hub=any(line.is_hub for line in lines),
        )


_Parsed = _core.Page | DocumentUnreadable

_DIALECTS: Mapping[_Slugs, _Format] = {"docusaurus": "mdx", "mkdocs": "mkdocs"}
"""The Markdown that generators read."""

_Item = Document | Skipped | Notice | _Unit | _Ready
_Loaded = LoadedDocument | Document | Skipped | Notice


class FileLoader:
    """Loads Markdown, HTML, text, JSON Lines, PDF and DOCX from a folder, a file or a tar archive (loader ``files``).

    Args:
        ignore: whether hidden and ignored paths and folders of dependencies and build output are skipped.
        maximum_bytes: the largest document that is read; for JSON Lines, the longest line.
        maximum_archive_bytes: the most that an archive may unpack to.
        maximum_archive_members: the most members that an archive may have.
        maximum_pages: the most pages that a PDF may have.
        omitted_sections: headings of sections that are left out, with all that stands under them.
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
        maximum_pages: int = 5_000,
        omitted_sections: Sequence[str] = (),
        batch_documents: int = 128,
        batch_bytes: int = 16_000_000,
    ) -> None:
        limits = {
            "maximum_bytes": maximum_bytes,
            "maximum_archive_bytes": maximum_archive_bytes,
            "maximum_archive_members": maximum_archive_members,
            "maximum_pages": maximum_pages,
            "batch_documents": batch_documents,
            "batch_bytes": batch_bytes,
        }
        for setting, value in limits.items():
            if value < 1:
                raise InvalidSetting(
                    f"{setting} cannot be {value}", hint=f"give {setting} as 1 or more", setting=setting
                )
        self.ignore = ignore
        self.limits = Limits(ignore, maximum_archive_bytes, maximum_archive_members)
        self.maximum_bytes = maximum_bytes
        self.maximum_pages = maximum_pages
        self.omitted_sections = tuple(omitted_sections)
        self.batch_documents = batch_documents
        self.batch_bytes = batch_bytes

    def load(
        self, source: Source, known: Mapping[str, Document], *, checksum: bool = False
    ) -> Iterator[LoadedDocument | Document | Skipped | Notice]:
        """Yield every document of ``source`` in order of path, and what was skipped.

        The documents of one file of many come in the order of the file, with the paths ``file/name``.

        Args:
            source: where to load from.
            known: the documents of the last build by id; those of other sources are passed over.
            checksum: whether files are read although their state is that of the last build.

        Raises:
            SourceError: there is nothing at the location, it cannot be read as a whole, or it holds no document.
            InvalidSetting: a setting of the source is none.
            MissingExtra: the source is one file, of a format that needs a package that is not installed.
        """
        check_settings(source)
        reading = _Reading(self, source, known, checksum=checksum)
        counts: Counter[str] = Counter()
        for item in reading.results():
            if not isinstance(item, Notice):
                counts[item.reason if isinstance(item, Skipped) else "documents"] += 1
            yield item
        if not counts["documents"] and not counts[UNREADABLE]:
            raise _nothing(source, counts)

    def load_pages(
        self, source: Source, pages: Iterable[RawPage], known: Mapping[str, Document], *, checksum: bool = False
    ) -> Iterator[LoadedDocument | Document | Skipped | Notice]:
        """Yield the documents of a site from the pages that were kept of it, in their order.

        A page that could not be fetched the last time is skipped with its error where the last build had it, so that it
        stays as it was, and else read as it is kept.

        Args:
            source: the site.
            pages: its pages.
            known: as for ``load``.
            checksum: whether pages are read although their content is that of the last build.
        """
        check_settings(source)
        yield from _Reading(self, source, known, checksum=checksum).pages(pages)


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
        self._folded: dict[str, str] = {}
        self._alone = False
        self._tree: Tree

    def _remember(self, known: Mapping[str, Document]) -> None:
        for document in known.values():
            if document.source == self._source.name and not document.stale:
                self._known[document.id] = document
                for end in re.finditer(r"\.(?:jsonl|ndjson|md|markdown|mdx)/", document.path, re.IGNORECASE):
                    self._known_by_file.setdefault(document.path[: end.end() - 1], []).append(document)

    def results(self) -> Iterator[_Loaded]:
        """Yield all that the source holds."""
        contents = contents_of(self._source, self._loader.limits)
        self._alone = contents.alone
        if contents.whole is not None and (unchanged := self._unchanged_whole(contents.whole)):
            yield from unchanged
            return
        with contents.open() as (self._tree, files):
            results = self._batched(files)
            yield from results if contents.whole is None else _reread_after_failure(results)

    def _unchanged_whole(self, state: FileState) -> list[Document]:
        """All documents of a source that is one file, when each was read from that file as it is now."""
        states = [self._with_settings(state, slugs) for slugs in SLUGS]
        documents = sorted(self._known.values(), key=lambda document: document.path)
        return documents if all(document.file in states for document in documents) else []

    def _with_settings(self, state: FileState, slugs: _Slugs) -> FileState:
        if slugs not in self._settings:
            source = msgspec.structs.replace(self._source, location="", site=None)
            text = msgspec.json.encode(
                (READING_VERSION, slugs, self._loader.ignore, self._loader.omitted_sections, source)
            ).decode()
            self._settings[slugs] = digest("settings 1", text)[:16]
        return msgspec.structs.replace(state, settings=self._settings[slugs])

    # Files to units.

    def _batched(self, files: Iterator[File | Skipped | Notice]) -> Iterator[_Loaded]:
        batch = _Batch(self._loader)
        for file in files:
            if isinstance(file, File):
                for notice in self._notices(file):
                    batch.add(notice)
                if file.markup == "jsonl":
                    yield from self._parse(batch.take())
                    yield from self._lines_file(file)
                    continue
                items = self._items(file)
                if len(items) > 1:
                    yield from self._parse(batch.take())
                    yield from _reread_after_failure(self._parse_batched(items))
                    continue
            else:
                items = [file]
            if batch.add(items[0]):
                yield from self._parse(batch.take())
        yield from self._parse(batch.take())

    def _parse_batched(self, items: Iterable[_Item]) -> Iterator[_Loaded]:
        batch = _Batch(self._loader)
        for item in items:
            if batch.add(item):
                yield from self._parse(batch.take())
        yield from self._parse(batch.take())

    def _notices(self, file: File) -> Iterator[Notice]:
        """Say that two names differ only by case, which some file systems and web servers do not tell apart."""
        other = self._folded.setdefault(file.path.casefold(), file.path)
        if other != file.path:
            yield Notice(
                f"{other} and {file.path} of source {self._source.name} differ only by case: they are two documents",
                "rename one of them, because file systems that ignore case have only one",
            )

    def _items(self, file: File) -> list[_Item]:
        """The documents of a file that is not read line by line."""
        identity = document_id(self._source.name, file.path)
        if identity in self._seen:
            return [self._duplicate(file.path, "another file has this path but for its Unicode form")]
        self._seen.add(identity)
        try:
            state, size = self._tree.look(file.key)
            state = self._with_settings(state, file.slugs)
            document = self._known.get(identity)
            if document is not None and document.file == state:
                return [document]
            if known := self._known_parts(file, state):
                return known
            content = self._content(file, size)
        except (OSError, tarfile.TarError) as error:
            return [unreadable(file.path, error)]
        if not content:
            return [self._too_large(file.path, size) if content is None else Skipped(file.path, EMPTY)]
        return self._units(file, identity, content, state)

    def _units(self, file: File, identity: str, content: bytes, state: FileState) -> list[_Item]:
        """What the bytes of a file are."""
        unit = _Unit(identity, file.path, "text", content, file.slugs, state, _Given(url=file.url), file.path)
        if file.markup == "markdown":
            return self._parts(unit) or [msgspec.structs.replace(unit, format=_DIALECTS.get(file.slugs, "markdown"))]
        if file.markup in ("pdf", "docx"):
            return [self._opened(file.markup, unit)]
        return [msgspec.structs.replace(unit, format=cast("_Format", file.markup))]

    def _known_parts(self, file: File, state: FileState) -> list[_Item]:
        """The documents of a file of many, when each was read from the file as it is now."""
        known = self._known_by_file.get(file.path, [])
        if not known or any(document.file != state for document in known):
            return []
        self._seen.update(document.id for document in known)
        return [*known]

    def _parts(self, unit: _Unit) -> list[_Item]:
        """The documents of a file of Markdown that holds several; nothing where it is one."""
        try:
            text = _decoded(unit.content)
        except UnicodeError:
            return []
        items: list[_Item] = []
        for part in parts_of(text):
            path = nfc(f"{unit.path}/{part.name}")
            identity = document_id(self._source.name, path)
            if identity in self._seen:
                items.append(self._duplicate(path, "another document of the source has this path"))
                continue
            self._seen.add(identity)
            given = msgspec.structs.replace(unit.given, title=part.title, url=part.url or unit.given.url)
            shown = text[part.start : part.end] if part.text is None else part.text
            made = msgspec.structs.replace(
                unit,
                id=identity,
                path=path,
                format=_DIALECTS.get(unit.slugs, "markdown"),
                content=shown.encode(),
                given=given,
            )
            items.append(made if shown.strip() else Skipped(path, EMPTY))
        return items

    def _opened(self, markup: str, unit: _Unit) -> _Item:
        """A document of a format that is no text, as HTML."""
        limit = self._loader.maximum_bytes
        try:
            if markup == "pdf":
                from clockify_rag.loading import pdf

                opened = pdf.read(unit.content, maximum_pages=self._loader.maximum_pages, maximum_bytes=limit)
            else:
                from clockify_rag.loading import docx

                opened = docx.read(unit.content, maximum_bytes=limit)
        except DocumentUnreadable as error:
            return self._failed(unit.path, error)
        except MissingExtra as error:
            if self._alone:
                raise
            return self._failed(unit.path, error)
        given = msgspec.structs.replace(unit.given, title=opened.title, language=opened.language)
        return msgspec.structs.replace(unit, format="content", content=opened.content, given=given)

    @staticmethod
    def _failed(path: str, error: DocumentUnreadable | MissingExtra, file: str | None = None) -> Skipped:
        return Skipped(
            path, UNREADABLE, Failure(error.code, f"{path} cannot be read: {error.message}", error.hint), file
        )

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
            if known := self._known_parts(file, state):
                yield from cast("list[Document]", known)
                return
            with self._tree.open(file.key) as stream:
                items = self._documents(file, state, numbered_lines(stream, self._loader.maximum_bytes))
                yield from _reread_after_failure(self._parse_batched(items))
        except (OSError, tarfile.TarError) as error:
            yield unreadable(file.path, error)

    def _documents(self, file: File, state: FileState, lines: Iterator[tuple[int, bytes | int]]) -> Iterator[_Item]:
        """The documents of a file's lines; ready chunks that follow one another and are of one document are one."""
        owner: str | None = None
        group: list[tuple[int, Line]] = []
        size = 0
        for number, content in lines:
            line = self._line(file, number, content)
            if isinstance(line, Skipped):
                yield line
                continue
            of = text_of(line.document if line.document is not None else line.document_id)
            if group and of != owner:
                yield self._ready(file, state, cast("str", owner), group, size)
                group, size = [], 0
            owner = of
            if of is None:
                yield self._document_of(file, state, number, line)
                continue
            size += len(line.text)
            # Of a document that is too large only the size is wanted.
            group = [*group[:1], (number, line)] if size > self._loader.maximum_bytes else group
            if size <= self._loader.maximum_bytes:
                group.append((number, line))
        if group:
            yield self._ready(file, state, cast("str", owner), group, size)

    def _line(self, file: File, number: int, content: bytes | int) -> Line | Skipped:
        place = f"{file.path}:{number}"
        if isinstance(content, int):
            return self._too_large(place, content, file.path)
        try:
            line = msgspec.json.decode(content, type=Line)
            line.text.encode()
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            failure = failure_of(
                f"line {number} of {file.path} is no document: {error}",
                'write one object a line, such as {"id": "a1", "title": "Title", "text": "Markdown"}',
            )
            return Skipped(place, UNREADABLE, failure, file.path)
        return line

    def _document_of(self, file: File, state: FileState, number: int, line: Line) -> _Item:
        place = f"{file.path}:{number}"
        own = text_of(line.own_id())
        path = nfc(f"{file.path}/{own or f'line-{number}'}")
        identity = document_id_of_given(self._source.name, own) if own else document_id(self._source.name, path)
        if identity in self._seen:
            return self._duplicate(place, f"another document of the source has the id {own}")
        self._seen.add(identity)
        if not line.text.strip():
            return Skipped(place, EMPTY)
        given = _Given(
            line.title, line.url, line.language, line.tags, line.version, line.suppress_from_rag, bool(line.is_hub)
        )
        return _Unit(identity, path, line.format, line.text.encode(), file.slugs, state, given)

    def _ready(self, file: File, state: FileState, owner: str, lines: Sequence[tuple[int, Line]], size: int) -> _Item:
        place = f"{file.path}:{lines[0][0]}"
        identity, path = document_id_of_given(self._source.name, owner), nfc(f"{file.path}/{owner}")
        if identity in self._seen:
            return self._duplicate(place, f"other chunks of the document {owner} come before it, and others between")
        self._seen.add(identity)
        if size > self._loader.maximum_bytes:
            return self._too_large(path, size)
        return _Ready(identity, path, file.path, file.slugs, state, tuple(lines), size)

    # Sites.

    def pages(self, pages: Iterable[RawPage]) -> Iterator[_Loaded]:
        """Yield what the pages of a site are read as."""
        slugs = cast("_Slugs | None", self._source.slugs) or "github"
        batch = _Batch(self._loader)
        for page in pages:
            path = page.url.partition("://")[2]
            item = self._page(page, path, slugs)
            if page.problem:
                problem = failure_of(
                    f"{page.url} is kept as it was: {page.problem}", "build again when the site answers"
                )
                yield Skipped(path, UNREADABLE, problem)
                if isinstance(item, Document):
                    continue
            if batch.add(item):
                yield from self._parse(batch.take())
        yield from self._parse(batch.take())

    def _page(self, page: RawPage, path: str, slugs: _Slugs) -> _Item:
        identity = document_id_of_address(self._source.name, page.url)
        settings = self._with_settings(FileState(page.size, 0, 0, 0), slugs).settings
        state = FileState(page.size, 0, 0, 0, digest("page 1", settings, page.content_hash)[:16])
        document = self._known.get(identity)
        if document is not None and document.file == state:
            return document
        if page.size > self._loader.maximum_bytes:
            return self._too_large(path, page.size)
        try:
            content = page.content()
        except DocumentUnreadable as error:
            return self._failed(path, error)
        if not content.strip():
            return Skipped(path, EMPTY)
        return _Unit(identity, path, page.format, content, slugs, state, _Given(url=page.url))

    # Units to documents.

    def _parse(self, batch: Sequence[_Item]) -> Iterator[_Loaded]:
        groups: dict[tuple[_Format, _Slugs], list[tuple[int, int, bytes]]] = {}
        for number, item in enumerate(batch):
            if isinstance(item, _Unit):
                groups.setdefault((item.format, item.slugs), []).append((number, 0, item.content))
            elif isinstance(item, _Ready):
                for at, (_, line) in enumerate(item.lines):
                    groups.setdefault((line.format, item.slugs), []).append((number, at, line.text.encode()))
        pages: dict[tuple[int, int], _Parsed] = {}
        for (markup, slugs), members in groups.items():
            contents = [content for _, _, content in members]
            parsed = _core.parse(markup, contents, slugs, self._loader.omitted_sections)
            pages.update(((number, at), page) for (number, at, _), page in zip(members, parsed, strict=True))
        for number, item in enumerate(batch):
            if isinstance(item, _Unit):
                yield self._finish(item, pages[number, 0])
            elif isinstance(item, _Ready):
                yield from self._assemble(item, [pages[number, at] for at in range(len(item.lines))])
            else:
                yield item

    def _finish(self, unit: _Unit, page: _Parsed) -> _Loaded:
        if isinstance(page, DocumentUnreadable):
            return self._failed(unit.path, page)
        matter = mapping(page.front_matter)
        if unit.given.suppressed or says_yes(matter.get("suppress_from_rag")):
            return Skipped(unit.path, SUPPRESSED)
        if not page.text.strip():
            return Skipped(unit.path, EMPTY)
        document = self._document(unit.id, unit.path, unit.file, unit.given, page, matter)
        own = self._own_url(unit.given, page, matter)
        route = docusaurus_route(unit.page, matter) if unit.page and unit.slugs == "docusaurus" else None
        if own is None and unit.page is not None:
            document = msgspec.structs.replace(document, url=url_of(self._source, unit.page, route))
        said = str(matter.get("slug") or matter.get("id") or "") if route is not None else ""
        return LoadedDocument(self._hashed(document, page, own, said), page)

    def _assemble(self, ready: _Ready, pages: Sequence[_Parsed]) -> Iterator[_Loaded]:
        """A document of ready chunks, and those of them that cannot be read."""
        kept: list[tuple[Line, _core.Page]] = []
        identities: set[str] = set()
        for at, (number, line) in enumerate(ready.lines):
            place, page, own = f"{ready.file}:{number}", pages[at], text_of(line.own_id())
            if isinstance(page, DocumentUnreadable):
                yield self._failed(place, page, ready.file)
            elif own is not None and own in identities:
                yield self._duplicate(place, f"another chunk of its document has the id {own}")
            elif not page.text.strip():
                yield Skipped(place, EMPTY)
            else:
                kept.append((line, page))
            identities.update(() if own is None else (own,))
        given = ready.given()
        if given.suppressed or not kept:
            yield Skipped(ready.path, SUPPRESSED if given.suppressed else EMPTY)
            return
        whole, chunks = assembled(ready.id, [line for line, _ in kept], [page for _, page in kept])
        document = self._document(ready.id, ready.path, ready.state, given, whole, {})
        if document.kind == "hub":
            chunks = tuple(msgspec.structs.replace(chunk, kind="hub") for chunk in chunks)
        own = self._own_url(given, whole, {})
        yield LoadedDocument(self._hashed(document, whole, own, ""), whole, chunks)

    def _own_url(self, given: _Given, page: _core.Page | ReadyPage, matter: Mapping[str, Any]) -> str | None:
        said = (given.url, matter.get("url"), matter.get("canonical_url"), page.canonical_url)
        return page_url(self._source, said)

    def _document(
        self,
        identity: str,
        path: str,
        state: FileState,
        given: _Given,
        page: _core.Page | ReadyPage,
        matter: Mapping[str, Any],
    ) -> Document:
        source = self._source
        language = language_code(given.language) or language_code(page.language) or language_code(source.language)
        return Document(
            id=identity,
            source=source.name,
            path=path,
            title=text_of(given.title) or text_of(page.title) or text_of(matter.get("sidebar_label")) or title_of(path),
            url=self._own_url(given, page, matter),
            language=language or _core.detect_language(page.text[:_LANGUAGE_SAMPLE], ""),
            kind="hub" if given.hub else self._kind(path, page),
            tags=all_tags(source.tags, matter.get("tags"), given.tags),
            version=text_of(given.version) or text_of(matter.get("version")) or source.version,
            breadcrumb=tuple(page.breadcrumb),
            file=state,
            boost=source.boost,
        )

    def _kind(self, path: str, page: _core.Page | ReadyPage) -> str:
        """What a page is: what the source's settings say, else what it says itself."""
        if matches(self._source.glossary, path):
            return "glossary"
        return "faq" if matches(self._source.faq, path) else page.kind

    def _hashed(self, document: Document, page: _core.Page | ReadyPage, own: str | None, said: str) -> Document:
        hashed = content_hash(page.text, page.structure, document, self._source, own, said)
        return msgspec.structs.replace(document, content_hash=hashed)


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
        yield msgspec.structs.replace(held, document=document)


def _decoded(content: bytes) -> str:
    """A text file's characters, as the core reads them."""
    return content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")


class _Batch:
    """What is parsed at once."""

    def __init__(self, loader: FileLoader) -> None:
        self._loader = loader
        self._items: list[_Item] = []
        self._bytes = 0

    def add(self, item: _Item) -> bool:
        """Add an item; returns whether the batch is full."""
        self._items.append(item)
        if isinstance(item, _Unit | _Ready):
            self._bytes += len(item.content) if isinstance(item, _Unit) else item.size
        return len(self._items) >= self._loader.batch_documents or self._bytes >= self._loader.batch_bytes

    def take(self) -> list[_Item]:
        """Return the items and begin anew."""
        items, self._items, self._bytes = self._items, [], 0
        return items
