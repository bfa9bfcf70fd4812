"""Crawling: a site to raw pages in a store, politely, so that a build reads them as it reads files.

What is kept is what the server sent; chunking can be redone without asking for anything. A crawl goes level by level, each in
the order of its addresses, and what is found on a page decides only about the next level: so the same site gives the same pages
whatever the order of the answers. A second crawl asks each page whether it changed. Only a crawl that reached its end may say
that a page is gone; one that a budget, an error or a signal cut short takes away what answered 404 or 410 and nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

import msgspec

from clockify_rag.contracts import Failure, RawPage, Source, digest
from clockify_rag.crawling import frontier, pages, sitemaps
from clockify_rag.crawling.addresses import Address, parse, resolve, shown
from clockify_rag.crawling.fetching import Fetched, Fetcher, FetchSettings, HostCredentials
from clockify_rag.crawling.frontier import Frontier, Scope, Skip
from clockify_rag.crawling.mirrors import Mirrors, language_of_path
from clockify_rag.crawling.pages import PageStore, Record
from clockify_rag.crawling.reading import PRODUCT, Told, alike, fingerprint, format_of, robots_tag, told
from clockify_rag.crawling.reporting import CrawlReport, Skips
from clockify_rag.crawling.robots import EVERYTHING, Robots, of_answer
from clockify_rag.errors import CrawlError

if TYPE_CHECKING:
    from pathlib import Path

    from clockify_rag.config import CrawlingSettings

__all__ = ["CrawlReport", "crawl", "fetch_settings", "stored_pages"]

Progress = Callable[[str, int, int | None], None]

ABOUT: Final = "about the site"
TOO_LARGE: Final = "too large"
NO_FOLLOW: Final = "link is not to be followed"
SITEMAP: Final = "sitemap is not whole"

FAILURES_IN_A_ROW: Final = 20
"""Pages that fail one after the other before a crawl takes the site for gone."""

RECENT_SECONDS: Final = 7 * 24 * 60 * 60
"""How long a sitemap's date is believed for a page whose server cannot say whether it changed."""

_ROBOTS_BYTES: Final = 10 * 1024 * 1024
"""More than is read of a robots.txt, so that a long one counts by its beginning."""

_DAY_SECONDS: Final = 24 * 60 * 60
_START_REDIRECTS: Final = 5
_SITE_FILES: Final = ("/robots.txt", "/llms.txt", "/llms-full.txt")
_SUCCESS: Final = range(200, 300)
_MISSING: Final = (404, 410)
_NOT_MODIFIED: Final = 304
_KEPT_SKIPS: Final = (pages.NOINDEX, pages.SOFT_ERROR)


def crawl(
    sources: Sequence[Source],
    index: str | Path,
    settings: CrawlingSettings,
    *,
    progress: Progress | None = None,
    resolver: Callable[[str, int], Sequence[str]] | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, CrawlReport]:
    """Bring the stored pages of sites up to date; returns a report for each source by name.

    Sites on different hosts are read at the same time, those on one host one after the other.

    Args:
        sources: the sites; those without a ``site`` are passed over.
        index: the folder of the index, in which the pages are kept.
        settings: ``[crawling]``.
        progress: called with the number of pages so far.
        resolver: gives the IP addresses of a name; by default the system's.
        environment: where the variables of credentials are; by default the process's.

    Raises:
        ConfigError: a setting cannot be used.
        IndexLocked: another process crawls one of the sites.
        StoreError: the pages cannot be kept.
    """
    counter = _Counter(progress)

    async def work() -> dict[str, CrawlReport]:
        return await _crawl_all(sources, index, settings, counter, resolver, environment)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work())
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work())).result()


def stored_pages(index: str | Path, source: Source, failure: Failure | None = None) -> list[RawPage]:
    """Return the pages that are kept of a site, in order of address.

    Args:
        index: the folder of the index.
        source: the site.
        failure: why it could not be read now, where it could not.

    Raises:
        CrawlError: none is kept.
    """
    found = PageStore(index, source.name).pages()
    if not found:
        raise CrawlError(
            f"the site {source.location} has no page" if failure is None else failure.message,
            hint="clockify-rag crawl shows what was left out and why" if failure is None else failure.hint,
            source=source.name,
        )
    return found


async def _crawl_all(
    sources: Sequence[Source],
    index: str | Path,
    settings: CrawlingSettings,
    counter: _Counter,
    resolver: Callable[[str, int], Sequence[str]] | None,
    environment: Mapping[str, str] | None,
) -> dict[str, CrawlReport]:
    reports: dict[str, CrawlReport] = {}
    fetchers: dict[int, Fetcher] = {}
    hosts: dict[str, list[_Crawler]] = {}
    async with AsyncExitStack() as stack:
        for source in sources:
            if source.site is None:
                continue
            limits = _Limits.of(source, settings)
            if limits.per_host not in fetchers:
                fetcher = Fetcher(fetch_settings(settings, limits.per_host), resolver=resolver, environment=environment)
                fetchers[limits.per_host] = await stack.enter_async_context(fetcher)
            start = parse(source.site.url)
            crawler = _Crawler(source, start, limits, PageStore(index, source.name), fetchers[limits.per_host], counter)
            hosts.setdefault(start.host, []).append(crawler)

        async def one_host(crawlers: list[_Crawler]) -> None:
            for crawler in crawlers:
                reports[crawler.source.name] = await crawler.run()

        await asyncio.gather(*(one_host(crawlers) for crawlers in hosts.values()))
    return reports


def fetch_settings(settings: CrawlingSettings, per_host: int) -> FetchSettings:
    """Return how pages are fetched by ``[crawling]``."""
    hosts = dict.fromkeys([*settings.headers, *settings.cookies])
    return FetchSettings(
        user_agent=settings.user_agent or "",
        maximum_bytes=settings.page_bytes,
        page_seconds=settings.page_seconds,
        per_host=per_host,
        concurrency=max(128, per_host),
        delay_seconds=settings.delay_seconds,
        allow_private_hosts=settings.allow_private_hosts,
        credentials={
            host: HostCredentials(headers=settings.headers.get(host, {}), cookies=settings.cookies.get(host, {}))
            for host in hosts
        },
        proxy=settings.proxy,
        ca_bundle=settings.ca_bundle,
    )


class _Limits(msgspec.Struct, frozen=True):
    """The bounds of one crawl."""

    per_host: int
    depth: int
    maximum_pages: int
    maximum_bytes: int

    @classmethod
    def of(cls, source: Source, settings: CrawlingSettings) -> _Limits:
        def chosen(name: str) -> int:
            own = getattr(source.site, name)
            value: int = getattr(settings, name) if own is None else own
            return value

        return cls(*(chosen(name) for name in cls.__struct_fields__))


class _Counter:
    """Counts the pages of all sites for the progress."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._pages = 0

    def add(self) -> None:
        self._pages += 1
        if self._progress is not None:
            self._progress("crawl", self._pages, None)


class _Crawler:
    """The crawl of one site."""

    def __init__(
        self, source: Source, start: Address, limits: _Limits, store: PageStore, fetcher: Fetcher, counter: _Counter
    ) -> None:
        site = source.site
        self.source = source
        self._given = start
        self._limits = limits
        self._store = store
        self._fetcher = fetcher
        self._counter = counter
        self._languages = () if site is None else site.languages
        self._versions = () if site is None else site.versions
        self._move(start)
        self._frontier = Frontier(limits.depth)
        self._robots: Robots = EVERYTHING
        self._modified: dict[str, str] = {}
        self._error_page: frozenset[int] = frozenset()
        self._previous: dict[str, Record] = {}
        self._skips = Skips()
        self._cuts: dict[str, None] = {}
        self._in_a_row = 0
        self._resumed = False
        self._pages = 0
        self._bytes_of_pages = 0
        self._counts = dict.fromkeys(("requests", "downloaded", "unchanged", "bytes", "failed"), 0)

    def _move(self, start: Address, folder: str | None = None) -> None:
        """Begin at another address, by default in its own folder."""
        self._scope = Scope(start, self.source.include, self.source.exclude, folder)
        self._mirrors = Mirrors(self._scope.folder, self._languages, self._versions)

    async def run(self) -> CrawlReport:
        """Crawl; a site that cannot be read leaves the store as it was."""
        began = time.monotonic()
        failure: Failure | None = None
        with self._store as store:
            self._resumed = store.plan(self._given.url, self._settings_hash())
            self._previous = dict(store.records)
            try:
                await self._read()
            except CrawlError as error:
                failure = Failure(error.code, error.message, error.hint)
                complete = False
            else:
                self._mark_mirrors()
                complete = not self._cuts
                store.end(complete=complete)
            records = self._previous if failure is not None else store.records
            documents, aliases = pages.resolve(records)
        for skip in aliases:
            if skip.reason != ABOUT:
                self._skip(skip)
        gone = {url for url, record in self._previous.items() if record.body and not record.skip} - records.keys()
        return CrawlReport(
            source=self.source.name,
            url=self._given.url,
            pages=len(documents),
            missing=len(gone),
            complete=complete,
            cut_short="; ".join(self._cuts),
            resumed=self._resumed,
            languages=self._mirrors.languages,
            failure=failure,
            skip_counts=self._skips.counts(),
            skipped=self._skips.in_order(),
            seconds=round(time.monotonic() - began, 3),
            **self._counts,
        )

    def _settings_hash(self) -> str:
        parts = (self.source.include, self.source.exclude, self._languages, self._versions, self._limits)
        return digest("crawl settings 1", msgspec.json.encode(parts).decode())

    # The order of a crawl.

    async def _read(self) -> None:
        await self._read_robots()
        await self._read_error_page()
        await self._read_start()
        self._store.begin()
        seeds = [*await self._read_sitemaps(), *await self._read_llms()]
        for address in seeds:
            self._offer(address, 0)
        while True:
            self._observe(self._frontier.waiting())
            taken, skipped = self._frontier.level()
            for skip in skipped:
                self._skip(skip)
            if not taken and not skipped:
                return
            await self._read_level([(address, depth) for address, depth in taken if self._wants(address)])

    async def _read_robots(self) -> None:
        self._robots = EVERYTHING
        address = self._at("/robots.txt")
        try:
            _, content, status = await self._about(address, limit=_ROBOTS_BYTES, anywhere=True)
        except CrawlError as error:
            if error.fields.get("reason") == "redirects":
                return
            raise CrawlError(
                f"{self._given.url} is not crawled: its robots.txt cannot be had: {error.message}",
                hint=error.hint or "try again later",
                **{**error.fields, "url": self._given.url},
            ) from error
        self._robots = of_answer(status, content, PRODUCT)
        if not self._robots.reachable:
            raise CrawlError(
                f"{self._given.url} is not crawled: its robots.txt answered with status {status}",
                hint="try again later; a site that cannot say what it allows allows nothing",
                url=self._given.url,
                status=status,
            )
        if self._robots.delay is not None:
            self._fetcher.set_delay(self._scope.start.host, self._robots.delay)

    async def _read_error_page(self) -> None:
        """Ask for a page that cannot be there, to know what the site answers where it has nothing."""
        name = digest("a page that is not there", self.source.name, self._given.url)[:20]
        address = msgspec.structs.replace(self._scope.start, path=f"{self._scope.folder}{name}", query="")
        if not self._robots.allows(address.target):
            return
        try:
            record, content, status = await self._about(address, accept=None)
        except CrawlError:
            return
        if status in _SUCCESS and record is not None and record.format == "html":
            self._error_page = await asyncio.to_thread(fingerprint, content, record.charset, name)

    async def _read_start(self) -> None:
        """Read the first page, which may redirect to where the site is now."""
        for _ in range(_START_REDIRECTS):
            start = self._scope.start
            if not self._robots.allows(start.target):
                raise CrawlError(
                    f"{start.url} is not crawled: its robots.txt disallows it",
                    hint=f"begin at a page that it allows: {start.origin}/robots.txt",
                    url=start.url,
                )
            target = await self._visit(start, 0, self._scope)
            if target is None:
                break
            if target.host.removeprefix("www.") != start.host.removeprefix("www."):
                raise CrawlError(
                    f"{start.url} redirects to {target.url}, which is another site",
                    hint=f"clockify-rag crawl {target.url}",
                    url=start.url,
                )
            inside = target.path.startswith(self._scope.folder)
            self._move(target, self._scope.folder if inside else None)
            if target.origin != start.origin:
                await self._read_robots()
        record = self._store.records.get(self._scope.start.url)
        if record is None or not record.body or record.problem:
            skip = self._skips.of(self._scope.start.url)
            why = skip.detail or skip.reason if skip is not None else "it redirects too often"
            raise CrawlError(
                f"{self._scope.start.url} cannot be read: {why}",
                hint="check the address in a browser",
                url=self._scope.start.url,
            )

    async def _read_sitemaps(self) -> list[Address]:
        """Return the pages that the site's sitemaps name."""
        named = self._robots.sitemaps
        waiting = [(url, 0) for url in named] or [
            (self._at(path).url, 0) for path in dict.fromkeys(("/sitemap.xml", f"{self._scope.folder}sitemap.xml"))
        ]
        known: set[str] = set()
        found: list[Address] = []
        while waiting:
            url, depth = waiting.pop(0)
            address = self._resolved(url, self._at("/robots.txt"))
            if address is None or address.url in known:
                continue
            known.add(address.url)
            if len(known) > sitemaps.MAXIMUM_FILES or depth > sitemaps.MAXIMUM_DEPTH:
                self._skip(Skip(address.url, SITEMAP, "the site has too many sitemaps"))
                break
            sitemap = await self._read_sitemap(address, named=bool(named) or depth > 0)
            if sitemap.problem:
                self._skip(Skip(address.url, SITEMAP, sitemap.problem))
            if sitemap.kind == "index":
                waiting.extend((entry.url, depth + 1) for entry in sitemap.entries)
            else:
                found.extend(self._entries(sitemap, address))
        return found

    async def _read_sitemap(self, address: Address, *, named: bool) -> sitemaps.Sitemap:
        if address.origin != self._scope.start.origin:
            return sitemaps.Sitemap(problem="it is on another host")
        if not self._robots.allows(address.target):
            return sitemaps.Sitemap(problem="robots.txt disallows it")
        try:
            _, content, status = await self._about(address, limit=sitemaps.MAXIMUM_BYTES)
        except CrawlError as error:
            self._cut("a sitemap could not be fetched")
            return sitemaps.Sitemap(problem=error.message)
        if status in _SUCCESS:
            sitemap = await asyncio.to_thread(sitemaps.parse, content)
            return sitemap if named or not sitemap.problem or sitemap.entries else sitemaps.Sitemap()
        if status is not None and 400 <= status < 500:  # noqa: PLR2004 - the client's errors
            return sitemaps.Sitemap(problem=f"status {status}" if named else "")
        self._cut("a sitemap could not be fetched")
        return sitemaps.Sitemap(problem=f"status {status}")

    def _entries(self, sitemap: sitemaps.Sitemap, base: Address) -> Iterable[Address]:
        for entry in sitemap.entries:
            address = self._resolved(entry.url, base)
            if address is None:
                continue
            address = self._scope.own(address)
            if entry.modified:
                self._modified[address.url] = entry.modified
            self._declare(address, entry.alternates, base)
            yield address

    async def _read_llms(self) -> list[Address]:
        """Return the pages that the site names for language models."""
        found: list[Address] = []
        for path in dict.fromkeys(("/llms.txt", f"{self._scope.folder}llms.txt")):
            address = self._at(path)
            if not self._robots.allows(address.target):
                continue
            try:
                record, content, status = await self._about(address)
            except CrawlError:
                continue
            if status in _SUCCESS and record is not None and record.format != "html":
                links = (self._resolved(link, address) for link in sitemaps.links_of_text(content))
                found.extend(link for link in links if link is not None)
        return found

    # One level.

    async def _read_level(self, items: Sequence[tuple[Address, int]]) -> None:
        """Visit the pages of a level, in order, as many at a time as the host is asked at; stop where a budget ends."""
        running: set[asyncio.Task[Address | None]] = set()
        order: list[str] = []
        try:
            for at, (address, depth) in enumerate(items):
                while running and (
                    len(running) >= self._limits.per_host or self._pages + len(running) >= self._limits.maximum_pages
                ):
                    running = await _first(running)
                if reason := self._spent():
                    for left, _ in items[at:]:
                        self._skip(Skip(left.url, reason))
                    break
                order.append(address.url)
                running.add(asyncio.create_task(self._visit(address, depth)))
            while running:
                running = await _first(running)
        finally:
            for task in running:
                task.cancel()
        self._cut_bytes(order)

    def _spent(self) -> str | None:
        """Return which budget is used up."""
        if self._in_a_row >= FAILURES_IN_A_ROW:
            self._cut("the site stopped answering")
            return pages.FAILED
        if self._pages >= self._limits.maximum_pages:
            self._cut("the page budget is used up")
            return frontier.PAGES
        if self._bytes_of_pages >= self._limits.maximum_bytes:
            self._cut("the byte budget is used up")
            return frontier.BYTES
        return None

    def _cut_bytes(self, order: Iterable[str]) -> None:
        """Drop the pages of a level beyond the one that used up the bytes: answers do not come in the order of addresses."""
        over = self._bytes_of_pages - self._limits.maximum_bytes
        if over <= 0:
            return
        new = [url for url in order if (record := self._store.records.get(url)) is not None and self._is_new(record)]
        total = self._bytes_of_pages - sum(self._store.records[url].size for url in new)
        for url in new:
            if total >= self._limits.maximum_bytes:
                self._store.restore(url, self._previous.get(url))
                self._skip(Skip(url, frontier.BYTES))
            else:
                total += self._store.records[url].size
        self._bytes_of_pages = total

    def _is_new(self, record: Record) -> bool:
        return record.crawl == self._store.number and record.outcome == "page" and not record.problem

    # One page.

    async def _visit(self, address: Address, depth: int, start: Scope | None = None) -> Address | None:
        """Read one page; returns where it leads, where it is only that.

        Args:
            address: the page.
            depth: its links from the start.
            start: set for the first page, whose redirect is the caller's business.
        """
        before = self._store.records.get(address.url)
        try:
            answer = await self._ask(address, before)
        except CrawlError as error:
            return self._failed(address, depth, before, error, offer=start is None)
        self._in_a_row = 0
        if isinstance(answer, Record):
            record, body = answer, self._store.body(answer) if answer.body else None
        else:
            record, body = self._answered(address, before, answer)
        if record.outcome == "redirect" and (target := self._resolved(record.target, address)) is not None:
            return self._leads_to(address, target, depth, offer=start is None, record=record)
        if record.outcome != "page" or body is None:
            return None
        said = await asyncio.to_thread(told, body, record, address)
        if said.refresh is not None and said.refresh != address:
            return self._leads_to(address, said.refresh, depth, offer=start is None, record=record, body=body)
        if not isinstance(answer, Record):
            record = await self._judged(record, body, said, answer, is_start=start is not None)
            if record.problem:
                self._keep_old(address, before, record.problem)
                return None
            record = self._store.put(record, body)
        elif record.crawl != self._store.number:
            skip = record.skip if record.skip in _KEPT_SKIPS else ""
            modified = self._modified.get(address.url, "")
            record = self._store.put(
                msgspec.structs.replace(
                    record, crawl=self._store.number, skip=skip, detail="", problem="", modified=modified
                )
            )
        self._follow(record, said, address, depth, is_start=start is not None)
        return None

    async def _ask(self, address: Address, before: Record | None) -> Record | Fetched:
        """Return the answer of the server, or the record of before where that is still the page."""
        kept = before is not None and bool(before.body) and self._store.body(before) is not None
        visited = before is not None and before.crawl == self._store.number and not before.problem
        if before is not None and visited and (kept or before.outcome == "redirect"):
            return before
        if before is not None and kept and self._is_dated(before):
            self._counts["unchanged"] += 1
            return msgspec.structs.replace(before, crawl=0)
        self._counts["requests"] += 1
        answer = await self._fetcher.fetch(
            address,
            etag=before.etag or None if kept and before is not None else None,
            last_modified=before.last_modified or None if kept and before is not None else None,
            may_follow=lambda _: False,
        )
        if answer.status == _NOT_MODIFIED and before is not None and kept:
            self._counts["unchanged"] += 1
            return msgspec.structs.replace(before, crawl=0, checked=int(time.time()))
        return answer

    def _is_dated(self, record: Record) -> bool:
        """Whether the sitemap says that a page did not change whose server cannot say so.

        The date must be a day older than the copy, because it may be of a day only, and the copy not too old, because it may be
        wrong.
        """
        modified = self._modified.get(record.url)
        if not modified or modified != record.modified or record.etag or record.last_modified or record.problem:
            return False
        changed = _seconds_of(modified)
        age = time.time() - record.checked
        return changed is not None and changed + _DAY_SECONDS < record.checked and 0 <= age < RECENT_SECONDS

    def _answered(self, address: Address, before: Record | None, answer: Fetched) -> tuple[Record, bytes | None]:
        """Return the record of an answer, and its content where it is a page."""
        record = Record(
            address.url,
            self._store.number,
            "page",
            status=answer.status,
            etag=answer.etag or "",
            last_modified=answer.last_modified or "",
            charset=answer.charset or "",
            modified=self._modified.get(address.url, ""),
            checked=int(time.time()),
        )
        if answer.status in _MISSING:
            self._skip(Skip(address.url, pages.NOT_FOUND, f"status {answer.status}"))
            return self._store.put(msgspec.structs.replace(record, outcome="missing")), None
        if answer.status not in _SUCCESS or answer.body is None:
            self._keep_old(address, before, f"status {answer.status}")
            return msgspec.structs.replace(record, outcome="other"), None
        markup = format_of(answer.content_type, address.path, answer.body)
        if markup is None:
            self._skip(Skip(address.url, frontier.FORMAT, shown(answer.content_type)))
            return self._store.put(msgspec.structs.replace(record, outcome="other")), None
        self._counts["downloaded"] += 1
        self._counts["bytes"] += len(answer.body)
        return msgspec.structs.replace(record, format=markup), answer.body

    async def _judged(self, record: Record, body: bytes, said: Told, answer: Fetched, *, is_start: bool) -> Record:
        """Return the record with what the page itself says of whether it is one."""
        noindex, nofollow = robots_tag(answer.robots)
        changes: dict[str, Any] = {"nofollow": said.nofollow or nofollow}
        canonical = self._resolved(answer.canonical, self._scope.start) or said.canonical
        if canonical is not None:
            canonical = self._scope.own(canonical)
            if canonical.url != record.url and self._may(canonical) is None:
                changes["target"] = canonical.url
        if said.noindex or noindex:
            changes["skip"] = pages.NOINDEX
        elif self._error_page and not is_start and record.format == "html":
            path = parse(record.url).path
            if alike(await asyncio.to_thread(fingerprint, body, record.charset, path), self._error_page):
                before = self._previous.get(record.url)
                changes["skip"] = pages.SOFT_ERROR
                if before is not None and before.body and not before.skip:
                    # What was a page may be one again when the site is mended.
                    changes["problem"] = "it answers as an address where nothing is"
        return msgspec.structs.replace(record, size=len(body), **changes)

    def _follow(self, record: Record, said: Told, address: Address, depth: int, *, is_start: bool) -> None:
        """Note where a page leads."""
        self._pages += 1
        self._bytes_of_pages += record.size
        self._counter.add()
        if is_start:
            language = said.language or language_of_path(address.path)
            self._mirrors.want([language.lower().split("-")[0]] if language else [])
        if record.skip == pages.SOFT_ERROR:
            return
        self._declare(address, [(language, other.url) for language, other in said.alternates], address)
        if record.target:
            self._offer(parse(record.target), depth)
        for link in said.links:
            if record.nofollow:
                self._skip(Skip(link.url, NO_FOLLOW, address.url), once=link)
            else:
                self._offer(link, depth + 1)

    def _failed(
        self, address: Address, depth: int, before: Record | None, error: CrawlError, *, offer: bool
    ) -> Address | None:
        reason = error.fields.get("reason")
        if reason == "outside":
            target = self._resolved(str(error.fields.get("target", "")), address)
            self._in_a_row = 0
            return None if target is None else self._leads_to(address, target, depth, offer=offer)
        if reason == "too_large":
            self._skip(Skip(address.url, TOO_LARGE, error.message))
            self._store.put(Record(address.url, self._store.number, "other"))
            return None
        self._in_a_row += 1
        self._keep_old(address, before, error.message)
        return None

    def _leads_to(
        self,
        address: Address,
        target: Address,
        depth: int,
        *,
        offer: bool,
        record: Record | None = None,
        body: bytes | None = None,
    ) -> Address | None:
        """Note that an address leads to another by itself, by status or, where it has a record, by what its page says."""
        target = self._scope.own(target)
        if not offer and target != address:
            return target
        number = self._store.number
        record = record or Record(address.url, number, "redirect")
        self._store.put(
            msgspec.structs.replace(record, crawl=number, outcome="redirect", target=target.url, problem=""), body
        )
        if target != address:
            self._offer(target, depth)
        return None

    def _keep_old(self, address: Address, before: Record | None, problem: str) -> None:
        """Note that a page could not be fetched; what is kept of it stays, and so do the pages that it leads to."""
        self._counts["failed"] += 1
        self._skip(Skip(address.url, pages.FAILED, problem))
        number = self._store.number
        if before is not None and before.body:
            self._store.put(msgspec.structs.replace(before, crawl=number, problem=problem))
            self._cut("pages could not be fetched")
            return
        # A page that never answered is no reason to keep what is gone for ever.
        if before is None or not before.problem:
            self._cut("pages could not be fetched")
        self._store.put(Record(address.url, number, "other", problem=problem))

    # What may be asked for.

    def _offer(self, address: Address, depth: int) -> None:
        address = self._scope.own(address)
        if address in self._frontier:
            self._frontier.offer(address, depth)
            return
        skip = self._may(address)
        if skip is not None:
            self._skip(skip)
        else:
            self._frontier.offer(address, depth)

    def _may(self, address: Address) -> Skip | None:
        """Return why an address may not be asked for, whatever else is known of the site."""
        skip = self._scope.refuses(address)
        if skip is None and address.path in _SITE_FILES:
            return Skip(address.url, frontier.FORMAT, ABOUT)
        if skip is None and not self._robots.allows(address.target):
            return Skip(address.url, frontier.ROBOTS)
        return skip

    def _wants(self, address: Address) -> bool:
        if address == self._scope.start:
            return False
        skip = self._mirror(address.url, address.path)
        if skip is not None:
            self._skip(skip)
        return skip is None

    def _mirror(self, url: str, path: str) -> Skip | None:
        if language := self._mirrors.translation(path):
            return Skip(url, frontier.TRANSLATION, language)
        if version := self._mirrors.other_version(path):
            return Skip(url, frontier.VERSION, version)
        return None

    def _observe(self, addresses: Iterable[Address]) -> None:
        self._mirrors.observe(address.path for address in addresses)

    def _declare(self, address: Address, alternates: Iterable[tuple[str, str]], base: Address) -> None:
        origin = self._scope.start.origin
        named = [(language, self._resolved(url, base)) for language, url in alternates]
        others = [(language, self._scope.own(other)) for language, other in named if other is not None]
        if others:
            self._mirrors.declare(
                address.path, [(language, other.path) for language, other in others if other.origin == origin]
            )

    def _mark_mirrors(self) -> None:
        """Mark the pages that turned out to be mirrors after they were read."""
        for url, record in list(self._store.records.items()):
            if record.outcome == "page" and record.body and not record.skip and url != self._scope.start.url:
                skip = self._mirror(url, parse(url).path)
                if skip is not None:
                    self._store.put(msgspec.structs.replace(record, skip=skip.reason, detail=skip.detail))

    # Files about the site.

    async def _about(
        self, address: Address, *, limit: int | None = None, accept: str | None = "*/*", anywhere: bool = False
    ) -> tuple[Record | None, bytes, int | None]:
        """Return the record, content and status of a file about the site; one that did not change is not sent again.

        Args:
            address: the file.
            limit: decoded bytes that it has at most.
            accept: what is asked for; ``None`` for pages.
            anywhere: whether redirects to other hosts are followed.
        """
        before = self._store.records.get(address.url)
        body = None if before is None or before.skip != ABOUT else self._store.body(before)
        self._counts["requests"] += 1
        given: dict[str, Any] = {} if accept is None else {"accept": accept}
        if anywhere:
            given["may_follow"] = lambda _: True
        answer = await self._fetcher.fetch(
            address,
            etag=before.etag or None if before is not None and body is not None else None,
            last_modified=before.last_modified or None if before is not None and body is not None else None,
            maximum_bytes=limit,
            **given,
        )
        if answer.status == _NOT_MODIFIED and before is not None and body is not None:
            return self._store.put(msgspec.structs.replace(before, crawl=self._store.number)), body, 200
        if answer.status not in _SUCCESS or answer.body is None:
            return None, b"", answer.status
        record = Record(
            address.url,
            self._store.number,
            "page",
            status=answer.status,
            etag=answer.etag or "",
            last_modified=answer.last_modified or "",
            charset=answer.charset or "",
            format=format_of(answer.content_type, address.path, answer.body) or "text",
            skip=ABOUT,
        )
        return self._store.put(record, answer.body), answer.body, answer.status

    def _at(self, path: str) -> Address:
        return msgspec.structs.replace(self._scope.start, path=path, query="")

    def _resolved(self, reference: str | None, base: Address) -> Address | None:
        try:
            return resolve(reference, base) if reference else None
        except CrawlError:
            return None

    # The report.

    def _cut(self, why: str) -> None:
        self._cuts[why] = None

    def _skip(self, skip: Skip, *, once: Address | None = None) -> None:
        """Note that an address is no document; the first reason counts."""
        if once is not None and once in self._frontier:
            return
        self._skips.add(skip)


async def _first(running: set[asyncio.Task[Address | None]]) -> set[asyncio.Task[Address | None]]:
    """Wait until one of the tasks is done; returns the others."""
    done, others = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return others


def _seconds_of(date: str) -> float | None:
    """The seconds since the epoch of a sitemap's date (W3C Datetime); ``None`` for another."""
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
