"""No spelling of this machine's address reaches it, whatever part of a crawled site names it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import hostile_urls
from clockify_rag.config import CrawlingSettings
from clockify_rag.contracts import Site, Source
from clockify_rag.crawling import CrawlReport, crawl
from documentation_site import DocumentationSite, page


class Canary:
    """Listens on every address of both families, on one port, and counts who connects."""

    def __init__(self) -> None:
        self.accepted = 0
        first = socket.create_server(("0.0.0.0", 0))
        self.port = first.getsockname()[1]
        self._listeners = [first, socket.create_server(("::", self.port), family=socket.AF_INET6)]
        for listener in self._listeners:
            threading.Thread(target=self._count, args=(listener,), daemon=True).start()

    def _count(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            connection.close()

    def close(self) -> None:
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


@pytest.fixture
def canary() -> Iterator[Canary]:
    listening = Canary()
    yield listening
    listening.close()


@contextmanager
def hostile_site() -> Iterator[DocumentationSite]:
    with DocumentationSite({}, address="127.0.0.7") as site:
        yield site


def crawled(site: DocumentationSite, index: Path) -> CrawlReport:
    """Crawl the site under a name, where every other name is this machine."""
    url = f"http://site.test:{site.port}/"

    def resolver(host: str, _port: int) -> list[str]:
        return ["127.0.0.7"] if host == "site.test" else ["::1"] if len(host) % 2 else ["127.0.0.1", "::1"]

    settings = CrawlingSettings(allow_private_hosts=("site.test",), per_host=16)
    return crawl([Source(name="docs", location=url, site=Site(url=url))], index, settings, resolver=resolver)["docs"]


def header(url: str) -> str:
    """What a server can send of it in a header."""
    return url.encode("utf-8", "replace").decode("latin-1").replace("\r", "").replace("\n", "")


def escaped(url: str) -> str:
    text = url.encode("utf-8", "replace").decode()
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace("\0", "")


def test_no_page_sitemap_or_list_leads_to_this_machine(canary: Canary, tmp_path: Path) -> None:
    table = hostile_urls.spellings(canary.port)
    with hostile_site() as site:
        redirects = [f"/to/{'x' * (number // 10)}y{number % 10}" for number in range(len(table))]
        for at, url in zip(redirects, table, strict=True):
            site.pages[at] = (302, {"Location": header(url)}, b"")
            site.pages[f"{at}-refresh"] = page("R", head=f'<meta http-equiv="refresh" content="0; url={escaped(url)}">')
            site.pages[f"{at}-canonical"] = page("C", head=f'<link rel="canonical" href="{escaped(url)}">')
            site.pages[f"{at}-base"] = page("B", "x", "//x", head=f'<base href="{escaped(url)}">')
            site.pages[f"{at}.xml"] = (301, {"Location": header(url)}, b"")
        named = [f"{at}{kind}" for at in redirects for kind in ("", "-refresh", "-canonical", "-base")]
        site.pages["/"] = page("Home", *map(escaped, table), *named)
        maps = [*table, *(f"http://site.test:{site.port}{at}.xml" for at in redirects), "/all.xml"]
        site.pages["/robots.txt"] = "\n".join(f"Sitemap: {url}" for url in maps[-400:]).encode("utf-8", "replace")
        entries = "".join(f"<url><loc>{escaped(url)}</loc></url>" for url in table if url.isprintable())
        site.pages["/all.xml"] = f"<urlset>{entries}</urlset>"
        site.pages["/llms.txt"] = "".join(f"- [x]({url})\n" for url in table).encode("utf-8", "replace")
        report = crawled(site, tmp_path)
        assert report.failure is None
        assert report.requests > 4 * len(table)
        assert site.requests["/all.xml"] == 1
    assert canary.accepted == 0


def test_no_redirect_of_robots_or_start_leads_to_this_machine(canary: Canary, tmp_path: Path) -> None:
    table = hostile_urls.spellings(canary.port)
    for number, url in enumerate(table[:: max(1, len(table) // 100)]):
        with hostile_site() as site:
            answer: Any = (302, {"Location": header(url)}, b"")
            site.pages["/robots.txt" if number % 2 else "/"] = answer
            site.pages.setdefault("/", page("Home"))
            crawled(site, tmp_path / str(number))
    assert canary.accepted == 0


def test_the_canary_hears_who_comes(canary: Canary, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{canary.port}/"
    settings = CrawlingSettings(allow_private_hosts=("127.0.0.1",))
    assert crawl([Source(name="docs", location=url, site=Site(url=url))], tmp_path, settings)["docs"].failure
    assert canary.accepted > 0
