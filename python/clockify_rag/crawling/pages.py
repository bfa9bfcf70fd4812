"""The store of raw pages: what a crawl fetched, as it came, so that nothing is asked for twice.

One folder a site: bodies in files named by their hash, so that a damaged one is known by its name and equal pages are one; and
a table of lines, appended to while a crawl runs and written anew by rename when it begins and ends. A line that was torn by a
kill, or changed by a bad disk, fails its checksum and is left out, which costs one request. Nothing is flushed for each page: a
body that a power cut took is missing or has another hash, and is asked for again.

Which pages are documents is computed from the table (``resolve``) and not stored, so it is the same after a kill, without the
network, and in whatever order answers came.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import zlib
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, Literal, Self

import msgspec

from clockify_rag.contracts import RawPage, digest
from clockify_rag.crawling.frontier import Skip
from clockify_rag.errors import DocumentUnreadable, IndexLocked, StoreError

FOLDER: Final = "pages"
"""The folder in that of the index."""

CANONICAL: Final = "canonical is another page"
REDIRECT: Final = "redirect"
DUPLICATE: Final = "same content as another page"
TWIN: Final = "Markdown of another page"
NOINDEX: Final = "noindex"
SOFT_ERROR: Final = "error page with status 200"
NOT_FOUND: Final = "not found"
FAILED: Final = "could not be fetched"

RESUMABLE_SECONDS: Final = 24 * 60 * 60
"""A crawl that was killed longer ago begins anew, because what it fetched may have changed."""

MAXIMUM_CANONICALS: Final = 20
"""A page that more pages than that, of different paths, name as their canonical one is named by mistake."""

_CHAIN: Final = 5
_TABLE: Final = "table.jsonl"
_BODIES: Final = "bodies"

_WINDOWS: Final = frozenset({"cp866", "cp874", "cp932", "cp949"} | {f"cp125{page}" for page in range(9)})
_ISO: Final = frozenset(f"iso8859-{part}" for part in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16))
_EAST_ASIAN: Final = frozenset({"big5", "big5hkscs", "euc_jp", "gb18030", "gbk", "iso2022_jp"})
_OTHERS: Final = frozenset({"koi8-r", "koi8-u", "mac-cyrillic", "mac-roman", "utf-16", "utf-16-be", "utf-16-le"})
_ENCODINGS: Final = _WINDOWS | _ISO | _EAST_ASIAN | _OTHERS
"""Encodings of the web (WHATWG Encoding) but UTF-8, by Python's names."""

_READ_AS: Final[Mapping[str, str]] = {
    "ascii": "cp1252",
    "euc_kr": "cp949",
    "gb2312": "gbk",
    "iso8859-1": "cp1252",
    "iso8859-11": "cp874",
    "iso8859-9": "cp1254",
    "shift_jis": "cp932",
    "tis-620": "cp874",
}
"""Encodings that browsers read as a larger one."""

Outcome = Literal["page", "redirect", "missing", "other"]


class Record(msgspec.Struct, frozen=True, omit_defaults=True, tag="page"):
    """What is known of one address."""

    url: str
    crawl: int
    """The crawl that asked for it last."""
    outcome: Outcome
    """``page``; ``redirect`` to ``target``; ``missing`` (404, 410); ``other`` for an answer that is no page."""
    status: int = 0
    target: str = ""
    """Where it redirects to, or the canonical address that the page names."""
    body: str = ""
    """The hash of its content; empty where none is kept."""
    size: int = 0
    """Bytes of its content."""
    format: Literal["html", "markdown", "text"] = "html"
    charset: str = ""
    etag: str = ""
    last_modified: str = ""
    modified: str = ""
    """When it changed, as the sitemap said."""
    checked: int = 0
    """When its content was last known to be the server's, in seconds since the epoch."""
    skip: str = ""
    """Why it is no document, where that was known when it was fetched."""
    detail: str = ""
    nofollow: bool = False
    problem: str = ""
    """Why it could not be fetched this time; its last content, where there was one, is kept."""


class Crawl(msgspec.Struct, frozen=True, omit_defaults=True, tag="crawl"):
    """A crawl that began or ended."""

    number: int
    start: str
    settings: str = ""
    """A hash of what decides which pages are asked for."""
    began: int = 0
    """Seconds since the epoch."""
    state: Literal["begun", "complete", "cut short"] = "begun"


_line = msgspec.json.Decoder(Record | Crawl)
_encoder = msgspec.json.Encoder()


class PageStore:
    """The pages of one site.

    Args:
        index: the folder of the index.
        source: the name of the source.
    """

    def __init__(self, index: str | Path, source: str) -> None:
        self.source = source
        self.folder = Path(index) / FOLDER / folder_name(source)
        self.records: dict[str, Record] = {}
        self.crawl: Crawl | None = None
        self._lock: IO[bytes] | None = None
        self._table: IO[bytes] | None = None
        self._load()

    def __enter__(self) -> Self:
        """Take the store for a crawl.

        Raises:
            IndexLocked: another process has it.
            StoreError: it cannot be written.
        """
        import fcntl

        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / "lock").open("ab")
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise IndexLocked(
                f"another process crawls the source {self.source}", hint="wait until it has ended", source=self.source
            ) from error
        self._load()
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._table, self._lock):
            if file is not None:
                file.close()
        self._table = self._lock = None

    def plan(self, start: str, settings: str) -> bool:
        """Number the next crawl; returns whether it goes on with one that was killed. Nothing is written before ``begin``.

        Args:
            start: where it begins.
            settings: a hash of what decides which pages are asked for.
        """
        now = int(time.time())
        last = self.crawl
        if (
            last is not None
            and (last.state, last.start, last.settings) == ("begun", start, settings)
            and 0 <= now - last.began < RESUMABLE_SECONDS
        ):
            return True
        self.crawl = Crawl(1 if last is None else last.number + 1, start, settings, now)
        return False

    @property
    def number(self) -> int:
        """The number of the crawl that is planned or under way."""
        return 0 if self.crawl is None else self.crawl.number

    def begin(self) -> None:
        """Write that the planned crawl has begun; from now on each record is on the disk when ``put`` returns."""
        self._rewrite()
        try:
            self._table = (self.folder / _TABLE).open("ab", buffering=0)
        except OSError as error:
            raise self._unwritable(error) from error

    def put(self, record: Record, body: bytes | None = None) -> Record:
        """Keep a record, with its content where that is new; returns it as it was kept."""
        try:
            if body is not None:
                name = hash_of(body)
                record = msgspec.structs.replace(record, body=name, size=len(body))
                self._write_body(name, body)
            self.records[record.url] = record
            if self._table is not None:
                self._table.write(_encoded(record))
        except OSError as error:
            raise self._unwritable(error) from error
        return record

    def restore(self, url: str, record: Record | None) -> None:
        """Make the record of an address what it was before."""
        if record is not None:
            self.put(record)
        elif url in self.records:
            self.put(Record(url, 0, "other"))
            del self.records[url]

    def end(self, *, complete: bool) -> None:
        """End a crawl. After a complete one only what it found stays; one that was cut short takes nothing away."""
        if self.crawl is None:
            return
        if complete:
            number = self.crawl.number
            self.records = {url: record for url, record in self.records.items() if record.crawl == number}
        self.records = {
            url: record
            for url, record in self.records.items()
            if record.body or record.problem or record.outcome == "redirect"
        }
        self.crawl = msgspec.structs.replace(self.crawl, state="complete" if complete else "cut short")
        if self._table is not None:
            self._table.close()
            self._table = None
        self._rewrite()
        self._sweep()

    def keep(self, urls: Container[str]) -> int:
        """Forget all addresses but these, and every content that none of them has; durable when this returns.

        Returns:
            How many contents are gone.

        Raises:
            StoreError: something cannot be written or removed.
        """
        self.records = {
            url: record if not record.target or record.target in urls else msgspec.structs.replace(record, target="")
            for url, record in self.records.items()
            if url in urls
        }
        self._rewrite()
        try:
            return self._remove_unnamed()
        except OSError as error:
            raise self._unwritable(error) from error

    def body(self, record: Record) -> bytes | None:
        """Return the content of a page as the server sent it; ``None`` where it is not kept, or no longer whole."""
        if not re.fullmatch("[0-9a-f]{32}", record.body):
            return None
        try:
            body = self._body_file(record.body).read_bytes()
        except OSError:
            return None
        return body if hash_of(body) == record.body else None

    def pages(self) -> list[RawPage]:
        """Return the pages that are documents, in order of address."""
        documents, _ = resolve(self.records)
        return [
            RawPage(
                url=record.url,
                format=record.format,
                content_hash=record.body,
                size=record.size,
                problem=record.problem,
                content=self._reader(record),
            )
            for record in documents
        ]

    def _reader(self, record: Record) -> Any:
        def content() -> bytes:
            body = self.body(record)
            if body is None:
                raise DocumentUnreadable(
                    f"the kept page of {record.url} is damaged or gone",
                    hint="clockify-rag build without --offline fetches it again",
                    url=record.url,
                )
            return decoded(body, record.charset)

        return content

    # Files.

    def _load(self) -> None:
        self.records, self.crawl = {}, None
        for line in self._lines():
            if isinstance(line, Crawl):
                self.crawl = line
            elif line.crawl:
                self.records[line.url] = line
            else:
                self.records.pop(line.url, None)

    def _lines(self) -> Iterator[Record | Crawl]:
        try:
            lines = (self.folder / _TABLE).read_bytes().split(b"\n")
        except OSError:
            return
        for line in lines:
            checksum, _, text = line.partition(b" ")
            if checksum == b"%08x" % zlib.crc32(text):
                with contextlib.suppress(msgspec.DecodeError):
                    yield _line.decode(text)

    def _rewrite(self) -> None:
        part = self.folder / f"{_TABLE}.tmp"
        lines = sorted(self.records.values(), key=lambda record: record.url)
        try:
            with part.open("wb") as file:
                if self.crawl is not None:
                    file.write(_encoded(self.crawl))
                file.writelines(_encoded(line) for line in lines)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.folder / _TABLE)
            _flush_folder(self.folder)
        except OSError as error:
            raise self._unwritable(error) from error

    def _body_file(self, name: str) -> Path:
        return self.folder / _BODIES / name[:2] / name

    def _write_body(self, name: str, body: bytes) -> None:
        file = self._body_file(name)
        with contextlib.suppress(OSError):
            if hash_of(file.read_bytes()) == name:
                return
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f"{name}.tmp")
        part.write_bytes(body)
        part.replace(file)

    def _sweep(self) -> None:
        """Remove the bodies that no record names. One that cannot be removed now is tried again after the next crawl."""
        with contextlib.suppress(OSError):
            self._remove_unnamed()

    def _remove_unnamed(self) -> int:
        named = {record.body for record in self.records.values()}
        removed = 0
        bodies = self.folder / _BODIES
        for folder in bodies.iterdir() if bodies.is_dir() else ():
            unnamed = [file for file in folder.iterdir() if file.name not in named]
            for file in unnamed:
                file.unlink()
            if unnamed:
                _flush_folder(folder)
            removed += len(unnamed)
        return removed

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(
            f"the pages of the source {self.source} cannot be kept in {self.folder}: {error.strerror}",
            hint="make room, or make the folder writable",
            source=self.source,
        )


def folder_name(source: str) -> str:
    """Return the name of the folder of a source: what can be read of its name, and a hash of all of it."""
    readable = re.sub(r"[^a-z0-9]+", "-", source.lower()).strip("-")[:40]
    return f"{readable}-{digest('pages of', source)[:16]}".lstrip("-")


def hash_of(body: bytes) -> str:
    """Return the name of a body: 32 hexadecimal digits of BLAKE2b."""
    import hashlib

    return hashlib.blake2b(body, digest_size=16).hexdigest()


def decoded(body: bytes, charset: str) -> bytes:
    """Return a page in UTF-8 with a mark that says so, where the server named another encoding; else as it is.

    A mark of its own has the last word, then the server's header, then what the page declares (WHATWG Encoding). A name
    that browsers do not know is no encoding here either: Python has some (``punycode``) that a page can make it spend hours on.
    """
    if not charset or body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return body
    import codecs

    try:
        name = codecs.lookup(charset).name
        encoding = _READ_AS.get(name, name)
        if encoding not in _ENCODINGS:
            return body
        return b"\xef\xbb\xbf" + body.decode(encoding, "replace").encode("utf-8", "replace")
    except (LookupError, ValueError, UnicodeError):
        return body


def resolve(records: Mapping[str, Record]) -> tuple[list[Record], list[Skip]]:
    """Return which pages are documents, in order of address, and why the other addresses are not.

    A page whose canonical address is another page of the site is that page. A canonical address that is no page, that leads
    round in a circle, or that most pages name, is no answer, and the page counts as itself. Of pages with the same content
    the one with the shortest address stays.
    """
    pages = {
        url: record for url, record in records.items() if record.outcome == "page" and record.body and not record.skip
    }
    skipped = [
        Skip(url, record.skip or REDIRECT, record.detail or (record.target if record.outcome == "redirect" else ""))
        for url, record in records.items()
        if url not in pages and (record.skip or record.outcome == "redirect")
    ]
    named = Counter({_path(record.url): record.target for record in pages.values() if record.target}.values())
    aliases: dict[str, Skip] = {}
    for url, record in pages.items():
        target = _canonical(record, pages, records, named)
        if target != url:
            aliases[url] = Skip(url, CANONICAL, target)
        elif record.format == "markdown" and (page := _twin(url, pages)):
            aliases[url] = Skip(url, TWIN, page)
    first: dict[str, str] = {}
    for url in sorted(pages.keys() - aliases.keys(), key=lambda url: (len(url), url)):
        if (same := first.setdefault(pages[url].body, url)) != url:
            aliases[url] = Skip(url, DUPLICATE, same)
    documents = [pages[url] for url in sorted(pages.keys() - aliases.keys())]
    return documents, sorted([*skipped, *aliases.values()])


def _canonical(
    record: Record, pages: Mapping[str, Record], records: Mapping[str, Record], named: Mapping[str, int]
) -> str:
    """The page that a page is: the end of the chain of canonical addresses, the least where they lead round in a circle."""
    seen = [record.url]
    at = record
    while at.target and len(seen) <= _CHAIN:
        target = at.target
        redirect = records.get(target)
        if redirect is not None and redirect.outcome == "redirect":
            target = redirect.target
        if target not in pages or named[at.target] > MAXIMUM_CANONICALS:
            return seen[-1]
        if target in seen:
            return min(seen[seen.index(target) :])
        seen.append(target)
        at = pages[target]
    return seen[-1]


def _twin(url: str, pages: Mapping[str, Record]) -> str | None:
    """The page that a Markdown file beside it repeats: ``page.md`` or ``page.html.md`` for ``page``, ``page.html``, ``page/``."""
    stem = re.sub(r"\.(?:md|markdown|mdx|txt)$", "", url)
    if stem == url:
        return None
    folder = re.sub(r"/index(?:\.html?)?$", "/", stem)
    forms = (stem, f"{stem}.html", f"{stem}.htm", f"{stem}/", folder, folder.rstrip("/"))
    return next((form for form in forms if form in pages and pages[form].format == "html"), None)


def _path(url: str) -> str:
    return url.partition("?")[0]


def _encoded(line: Record | Crawl) -> bytes:
    text = _encoder.encode(line)
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
