"""How fast a site is read: one page at a time and many, from a local server that takes its time for each answer.

    PYTHONPATH=python:tests python benches/crawl.py [PAGES] [LATENCY_MS]

Prints, for each number of requests at one time, pages a second, the most requests in flight, and how many times as fast as one
at a time that is; then a second crawl of the unchanged site, and sixty hosts at once.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from clockify_rag.config import CrawlingSettings
from clockify_rag.contracts import Site, Source
from clockify_rag.crawling import crawl
from documentation_site import DocumentationSite, page

HOSTS = 60


def site_of(pages: int, latency: float) -> DocumentationSite:
    """Return a site of pages of about 30 kB, each with twenty links."""
    text = "Words about the subject of this page. " * 700
    paths = [f"/guide/{'abcdefghij'[number % 10]}-{number}" for number in range(pages)]
    site = DocumentationSite(latency=latency)
    for number, path in enumerate(paths):
        site.pages[path] = page(path, *(paths[(number * 20 + step) % pages] for step in range(1, 21)), text=text + path)
    site.pages["/"] = page("Home", *paths[:20])
    return site


def timed(site: DocumentationSite, folder: Path, per_host: int) -> float:
    """Crawl and return the seconds that it took."""
    began = time.perf_counter()
    source = Source(name="docs", location=site.url, site=Site(url=site.url, per_host=per_host))
    report = crawl([source], folder, CrawlingSettings(allow_private_hosts=(site.host,)))["docs"]
    assert report.complete, report
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    pages = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    latency = float(sys.argv[2]) / 1000 if len(sys.argv) > 2 else 0.05
    with site_of(pages, latency) as site, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        one = 0.0
        for per_host in (1, 2, 4, 8, 16, 32):
            site.forget()
            seconds = timed(site, folder / str(per_host), per_host)
            one = one or seconds
            print(
                f"per_host {per_host:>2}: {seconds:6.2f} s, {pages / seconds:6.1f} pages/s, "
                f"{site.most_in_flight:>2} in flight, {one / seconds:4.1f} times one by one"
            )
        site.forget()
        seconds = timed(site, folder / "16", 16)
        print(f"again, unchanged: {seconds:.2f} s, {site.bodies.total()} bodies sent")
        site.forget()
        urls = {f"host{number}": f"http://host{number}.test:{site.port}/" for number in range(HOSTS)}
        sources = [Source(name=name, location=url, site=Site(url=url, maximum_pages=20)) for name, url in urls.items()]
        settings = CrawlingSettings(allow_private_hosts=tuple(f"{name}.test" for name in urls))
        began = time.perf_counter()
        crawl(sources, folder / "hosts", settings, resolver=lambda _host, _port: ["127.0.0.1"])
        print(f"{HOSTS} hosts: {time.perf_counter() - began:.2f} s, {site.most_in_flight} in flight")


if __name__ == "__main__":
    main()
