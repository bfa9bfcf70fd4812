"""A crawl of a real local site: what it asks for, what it keeps, and what it does when things go wrong."""

from __future__ import annotations

import asyncio
import codecs
import gzip
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import clockify_rag
from clockify_rag.config import CrawlingSettings
from clockify_rag.contracts import Site, Source
from clockify_rag.crawling import CrawlReport, crawl, frontier, pages, reading, reporting
from clockify_rag.crawling.addresses import parse
from clockify_rag.crawling.pages import PageStore, Record, resolve
from clockify_rag.crawling.reading import robots_tag
from clockify_rag.errors import IndexLocked
from documentation_site import DocumentationSite, page, redirect, urlset


def crawled(site: DocumentationSite, index: Path, start: str = "/", **of_site: Any) -> CrawlReport:
    """Crawl a site and return the report."""
    patterns = {name: of_site.pop(name) for name in ("include", "exclude") if name in of_site}
    source = Source(name="docs", location=site.at(start), site=Site(url=site.at(start), **of_site), **patterns)
    settings = CrawlingSettings(allow_private_hosts=(site.host,))
    return crawl([source], index, settings)["docs"]


def kept(site: DocumentationSite, index: Path) -> list[str]:
    """The paths of the pages that are kept."""
    return [found.url.removeprefix(site.url.rstrip("/")) for found in PageStore(index, "docs").pages()]


def reasons(site: DocumentationSite, report: CrawlReport) -> dict[str, str]:
    """For each address that was left out, why."""
    return {skip.url.removeprefix(site.url.rstrip("/")): skip.reason for skip in report.skipped}


def small_site() -> DocumentationSite:
    return DocumentationSite(
        {
            "/": page("Home", "/a", "/b/", "https://elsewhere.example/x", "/file.zip", "mailto:x@y.example", "#top"),
            "/a": page("A", "/b/", "/gone"),
            "/b/": page("B", "../a?utm_source=x", "c"),
            "/b/c": page("C"),
        }
    )


def test_a_site_is_read_to_its_end(tmp_path: Path) -> None:
    with small_site() as site:
        report = crawled(site, tmp_path)
        assert kept(site, tmp_path) == ["/", "/a", "/b/", "/b/c"]
        assert (report.complete, report.pages, report.downloaded, report.languages) == (True, 4, 4, ("en",))
        assert reasons(site, report) == {
            "/file.zip": frontier.FORMAT,
            "/gone": pages.NOT_FOUND,
            "https://elsewhere.example/x": frontier.OUTSIDE,
        }
        assert report.skip_counts == {frontier.FORMAT: 1, pages.NOT_FOUND: 1, frontier.OUTSIDE: 1}
        assert max(site.requests.values()) == 1


def test_a_second_crawl_of_an_unchanged_site_sends_no_body(tmp_path: Path) -> None:
    with small_site() as site:
        site.pages["/robots.txt"] = "User-agent: *\nAllow: /\n"
        site.pages["/sitemap.xml"] = urlset(site.at("/b/c"))
        site.pages["/llms.txt"] = "# Docs\n"
        crawled(site, tmp_path)
        site.forget()
        report = crawled(site, tmp_path)
        assert not site.bodies
        assert site.requests.total() > 4
        assert (report.downloaded, report.unchanged, report.pages, report.complete) == (0, 4, 4, True)


def test_a_changed_page_is_sent_and_a_vanished_one_goes(tmp_path: Path) -> None:
    with small_site() as site:
        crawled(site, tmp_path)
        site.pages["/a"] = page("A changed", "/b/")
        del site.pages["/b/c"]
        site.forget()
        report = crawled(site, tmp_path)
        assert site.bodies == Counter({"/a": 1})
        assert (report.missing, report.complete, report.pages) == (1, True, 3)
        assert kept(site, tmp_path) == ["/", "/a", "/b/"]


def test_a_page_that_nothing_leads_to_any_more_goes_after_a_whole_crawl(tmp_path: Path) -> None:
    with small_site() as site:
        crawled(site, tmp_path)
        site.pages["/b/"] = page("B")
        assert crawled(site, tmp_path).missing == 1
        assert kept(site, tmp_path) == ["/", "/a", "/b/"]


def test_a_crawl_that_was_cut_short_takes_nothing_away(tmp_path: Path) -> None:
    with small_site() as site:
        crawled(site, tmp_path)
        site.pages["/b/"] = (500, {}, b"")
        report = crawled(site, tmp_path)
        assert (report.complete, report.failed, report.cut_short) == (False, 1, "pages could not be fetched")
        assert kept(site, tmp_path) == ["/", "/a", "/b/", "/b/c"]
        (broken,) = (found for found in PageStore(tmp_path, "docs").pages() if found.problem)
        assert (broken.url, broken.problem) == (site.at("/b/"), "status 500")
        report = crawled(site, tmp_path, maximum_pages=2)
        assert (report.complete, report.cut_short) == (False, "the page budget is used up")
        assert len(kept(site, tmp_path)) == 4
        site.pages["/b/"] = (410, {}, b"")
        crawled(site, tmp_path, depth=1)
        assert "/b/" not in kept(site, tmp_path)


def test_a_page_that_never_answered_does_not_keep_what_is_gone(tmp_path: Path) -> None:
    with small_site() as site:
        site.pages["/gone"] = (500, {}, b"")
        assert not crawled(site, tmp_path).complete
        assert crawled(site, tmp_path).complete


@pytest.mark.parametrize("robots", [(503, {}, b""), (500, {}, b""), (429, {"Retry-After": "4000"}, b"")])
def test_a_site_that_cannot_say_what_it_allows_is_left_as_it_was(tmp_path: Path, robots: Any) -> None:
    with small_site() as site:
        crawled(site, tmp_path)
        before = sorted((file, file.read_bytes()) for file in tmp_path.rglob("*") if file.is_file())
        site.pages["/robots.txt"] = robots
        site.forget()
        source = Source(name="docs", location=site.url, site=Site(url=site.url))
        report = crawl([source], tmp_path, CrawlingSettings(allow_private_hosts=(site.host,)))["docs"]
        assert report.failure is not None
        assert "robots.txt" in report.failure.message
        assert set(site.requests) == {"/robots.txt"}
        assert sorted((file, file.read_bytes()) for file in tmp_path.rglob("*") if file.is_file()) == before
    report = crawl([source], tmp_path, CrawlingSettings(allow_private_hosts=(site.host,)))["docs"]
    assert report.failure is not None
    assert report.pages == 4


def test_robots_are_obeyed(tmp_path: Path) -> None:
    with small_site() as site:
        site.pages["/robots.txt"] = (
            "User-agent: *\nDisallow: /\n\nUser-agent: Clockify-RAG\nDisallow: /b/\nCrawl-delay: 0.05\n"
        )
        report = crawled(site, tmp_path)
        assert kept(site, tmp_path) == ["/", "/a"]
        assert reasons(site, report)["/b/"] == frontier.ROBOTS
        assert "/b/" not in site.requests
        assert report.seconds > 0.05 * 3
        site.pages["/robots.txt"] = "User-agent: *\nDisallow: /\n"
        failure = crawled(site, tmp_path).failure
        assert failure is not None
        assert "disallows" in failure.message


def test_what_pages_forbid(tmp_path: Path) -> None:
    with DocumentationSite(
        {
            "/": page("Home", "/no", "/tag", "/blind", "/other"),
            "/no": page("No", "/from-no", head='<meta name="robots" content="noindex">'),
            "/from-no": page("Found"),
            "/tag": (200, {"Content-Type": "text/html", "X-Robots-Tag": "noindex, nofollow"}, page("T", "/x").encode()),
            "/blind": page("Blind", "/unseen", head='<meta name="robots" content="nofollow">'),
            "/other": (200, {"Content-Type": "text/html", "X-Robots-Tag": "otherbot: none"}, page("O").encode()),
        }
    ) as site:
        report = crawled(site, tmp_path)
        assert kept(site, tmp_path) == ["/", "/blind", "/from-no", "/other"]
        assert reasons(site, report)["/no"] == pages.NOINDEX
        assert "/unseen" not in site.requests
        assert "/x" not in site.requests
        site.forget()
        crawled(site, tmp_path)
        assert kept(site, tmp_path) == ["/", "/blind", "/from-no", "/other"]
        assert not site.bodies


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("noindex",), (True, False)),
        (("clockify-rag: none",), (True, True)),
        (("googlebot: noindex", "nofollow"), (False, True)),
        (("unavailable_after: 25 Jun 2030 15:00:00 PST, noindex",), (True, False)),
        ((), (False, False)),
    ],
)
def test_values_of_the_header(values: tuple[str, ...], expected: tuple[bool, bool]) -> None:
    assert robots_tag(values) == expected


def test_sitemaps_lead_to_pages_that_nothing_links_to(tmp_path: Path) -> None:
    with DocumentationSite(
        {"/": page("Home"), "/one": page("One"), "/two": page("Two"), "/three": page("Three")}
    ) as site:
        site.pages["/robots.txt"] = f"Sitemap: {site.at('/index.xml')}\nSitemap: http://elsewhere.example/s.xml\n"
        maps = "".join(
            f"<sitemap><loc>{site.at(path)}</loc></sitemap>" for path in ("/s1.xml", "/s2.xml.gz", "/no.xml")
        )
        site.pages["/index.xml"] = f"<sitemapindex>{maps}<sitemap><loc>/index.xml</loc></sitemap></sitemapindex>"
        site.pages["/s1.xml"] = urlset(site.at("/one"), "http://elsewhere.example/x", site.at("/dead"))
        packed = gzip.compress(urlset(site.at("/two"), site.at("/three")).encode())
        site.pages["/s2.xml.gz"] = (200, {"Content-Type": "application/gzip"}, packed)
        report = crawled(site, tmp_path)
        assert kept(site, tmp_path) == ["/", "/one", "/three", "/two"]
        assert report.complete
        assert reasons(site, report) == {
            "http://elsewhere.example/s.xml": "sitemap is not whole",
            "http://elsewhere.example/x": frontier.OUTSIDE,
            "/no.xml": "sitemap is not whole",
            "/dead": pages.NOT_FOUND,
        }


def test_a_sitemap_that_fails_cuts_the_crawl_short(tmp_path: Path) -> None:
    with DocumentationSite({"/": page("Home"), "/one": page("One")}) as site:
        site.pages["/sitemap.xml"] = urlset(site.at("/one"))
        crawled(site, tmp_path)
        site.pages["/sitemap.xml"] = (500, {}, b"")
        report = crawled(site, tmp_path)
        assert report.cut_short == "a sitemap could not be fetched"
        assert kept(site, tmp_path) == ["/", "/one"]


def test_dates_of_sitemaps_save_bodies_where_there_are_no_validators(tmp_path: Path) -> None:
    with DocumentationSite({"/": page("Home"), "/one": page("One")}, validators=False) as site:
        site.pages["/sitemap.xml"] = urlset(site.at("/one"), modified="2020-01-01")
        crawled(site, tmp_path)
        site.forget()
        crawled(site, tmp_path)
        assert "/one" not in site.requests
        site.pages["/sitemap.xml"] = urlset(site.at("/one"), modified="2021-01-01")
        crawled(site, tmp_path)
        assert site.bodies["/one"] == 1
        assert kept(site, tmp_path) == ["/", "/one"]


def test_llms_txt_names_pages_and_its_dead_links_do_no_harm(tmp_path: Path) -> None:
    with DocumentationSite({"/": page("Home"), "/guide": page("Guide"), "/guide.md": "# Guide\n\nShort.\n"}) as site:
        site.pages["/only.md"] = "# Only\n\nOnly in Markdown. [More](/more)\n"
        site.pages["/more"] = page("More")
        site.pages["/llms.txt"] = (
            f"# Docs\n- [Guide]({site.at('/guide.md')})\n- [Page](/guide)\n- [Only](/only.md)\n- [Dead](/dead.md)\n"
            "- [Else](http://elsewhere.example/)\n- [Bad](http://[)\n"
        )
        report = crawled(site, tmp_path)
        assert kept(site, tmp_path) == ["/", "/guide", "/more", "/only.md"]
        assert report.complete
        assert reasons(site, report)["/guide.md"] == pages.TWIN
        assert reasons(site, report)["/dead.md"] == pages.NOT_FOUND


def test_redirects_and_canonical_links_are_one_page(tmp_path: Path) -> None:
    with DocumentationSite(
        {
            "/": page("Home", "/old", "/print?x=1", "/loop", "/out", "/refresh", "/wrong"),
            "/old": redirect("/new", 301),
            "/new": page("New"),
            "/print?x=1": page("Printed", head='<link rel="canonical" href="/new">'),
            "/loop": redirect("/loop2"),
            "/loop2": redirect("/loop"),
            "/out": redirect("http://elsewhere.example/"),
            "/refresh": page("R", head='<meta http-equiv="refresh" content="0; url=target.html">'),
            "/target.html": page("Target"),
            "/wrong": page("Wrong", head='<link rel="canonical" href="/not-there">'),
        }
    ) as site:
        report = crawled(site, tmp_path)
        assert kept(site, tmp_path) == ["/", "/new", "/target.html", "/wrong"]
        assert max(site.requests.values()) == 1
        found = reasons(site, report)
        assert (found["/old"], found["/print?x=1"], found["/refresh"]) == (
            pages.REDIRECT,
            pages.CANONICAL,
            pages.REDIRECT,
        )
        site.forget()
        assert crawled(site, tmp_path).complete
        assert not site.bodies
        assert kept(site, tmp_path) == ["/", "/new", "/target.html", "/wrong"]


def test_base_and_relative_links(tmp_path: Path) -> None:
    with DocumentationSite(
        {
            "/docs/": page("Home", "one", "../up", "?page=2", head='<base href="/docs/v/">'),
            "/docs/v/one": page("One"),
            "/docs/up": page("Up"),
            "/docs/v/?page=2": page("Two"),
        }
    ) as site:
        crawled(site, tmp_path, "/docs/")
        assert kept(site, tmp_path) == ["/docs/", "/docs/up", "/docs/v/?page=2", "/docs/v/one"]


def test_the_start_may_have_moved(tmp_path: Path) -> None:
    with DocumentationSite({"/help": redirect("/hc/en/"), "/hc/en/": page("Home", "a", "/x")}) as site:
        site.pages["/hc/en/a"] = page("A")
        site.pages["/x"] = page("X")
        assert crawled(site, tmp_path, "/help").complete
        assert kept(site, tmp_path) == ["/hc/en/", "/hc/en/a"]
        site.pages["/help"] = redirect("http://elsewhere.example/")
        failure = crawled(site, tmp_path, "/help").failure
        assert failure is not None
        assert failure.hint == "clockify-rag crawl http://elsewhere.example/"
        assert kept(site, tmp_path) == ["/hc/en/", "/hc/en/a"]


def test_translations_are_left_out_and_said(tmp_path: Path) -> None:
    head = '<link rel="alternate" hreflang="en" href="/start"><link rel="alternate" hreflang="es" href="/inicio">'
    with DocumentationSite(
        {
            "/": page("Home", "/start", "/inicio", "/de/start", "/fr/start", "/de/extra"),
            "/start": page("Start", head=head),
            "/inicio": page("Inicio", head=head),
            **{f"/{code}/start": page(f"Start {code}") for code in ("de", "fr")},
            "/de/extra": page("Extra"),
        }
    ) as site:
        report = crawled(site, tmp_path)
        assert kept(site, tmp_path) == ["/", "/start"]
        assert report.skip_counts == {frontier.TRANSLATION: 4}
        assert "/de/start" not in site.requests
        report = crawled(site, tmp_path, languages=("*",))
        assert len(kept(site, tmp_path)) == 6


def test_of_versions_the_best_stays(tmp_path: Path) -> None:
    paths = [f"/{version}/{name}" for version in ("v1", "v2", "latest") for name in ("a", "b", "c")]
    with DocumentationSite({"/": page("Home", *paths), **{path: page(path) for path in paths}}) as site:
        report = crawled(site, tmp_path)
        assert kept(site, tmp_path) == ["/", "/latest/a", "/latest/b", "/latest/c"]
        assert report.skip_counts == {frontier.VERSION: 6}
        crawled(site, tmp_path, versions=("v1",))
        assert kept(site, tmp_path) == ["/", "/v1/a", "/v1/b", "/v1/c"]


def test_patterns_and_depth(tmp_path: Path) -> None:
    with small_site() as site:
        report = crawled(site, tmp_path, exclude=("b/",))
        assert kept(site, tmp_path) == ["/", "/a"]
        assert reasons(site, report)["/b/"] == frontier.EXCLUDED
    with small_site() as site:
        report = crawled(site, tmp_path / "2", depth=1)
        assert kept(site, tmp_path / "2") == ["/", "/a", "/b/"]
        assert reasons(site, report)["/b/c"] == frontier.DEPTH
        assert report.complete


def test_traps_end(tmp_path: Path) -> None:
    with DocumentationSite({"/": page("Home", "/calendar?day=1", "/loop/")}) as site:

        def missing(path: str) -> Any:
            if path.startswith("/calendar"):
                day = int(path.partition("=")[2])
                return page(f"Day {day}", f"/calendar?day={day + 1}", f"/calendar?day={day + 2}")
            return page(f"Loop {path}", "loop/") if path.startswith("/loop") else (404, {}, b"")

        site.missing = missing
        report = crawled(site, tmp_path, depth=1000)
        assert report.complete
        assert report.pages < 120
        assert report.skip_counts[frontier.TRAP] >= 2


def test_error_pages_with_status_200_are_no_pages(tmp_path: Path) -> None:
    words = " ".join(f"sorry{number}" for number in range(40))
    with DocumentationSite({"/": page("Home", "/a", "/dead"), "/a": page("A")}) as site:
        site.missing = lambda path: page("Oops", text=f"We have nothing at {path}. {words}")
        report = crawled(site, tmp_path)
        assert kept(site, tmp_path) == ["/", "/a"]
        assert reasons(site, report)["/dead"] == pages.SOFT_ERROR
        del site.pages["/a"]
        report = crawled(site, tmp_path)
        assert not report.complete
        assert kept(site, tmp_path) == ["/", "/a"]


def test_budgets_cut_at_the_same_page_whatever_the_order_of_answers(tmp_path: Path) -> None:
    paths = [f"/p{number:02}" for number in range(20)]
    found = []
    for run in range(3):
        with DocumentationSite(
            {"/": page("Home", *paths), **{path: page(path, text="x " * 500) for path in paths}}
        ) as site:
            slow = set(paths[run::3])

            def answer(path: str, slow: set[str] = slow) -> Any:
                time.sleep(0.02 if path in slow else 0)
                return page(path, text="x " * 500 + path)

            site.pages.update({path: lambda path=path: answer(path) for path in paths})
            report = crawled(site, tmp_path / f"bytes{run}", per_host=8, maximum_bytes=9000)
            assert report.cut_short == "the byte budget is used up"
            few = crawled(site, tmp_path / f"pages{run}", per_host=8, maximum_pages=5)
            assert few.downloaded == 5
            found.append((kept(site, tmp_path / f"bytes{run}"), kept(site, tmp_path / f"pages{run}")))
    assert found[0] == found[1] == found[2]
    assert found[0][1] == ["/", "/p00", "/p01", "/p02", "/p03"]
    assert found[0][0] == ["/", *paths[: len(found[0][0]) - 1]]


def test_requests_in_flight_are_as_many_as_allowed(tmp_path: Path) -> None:
    paths = [f"/p{number:02}" for number in range(24)]
    with DocumentationSite({"/": page("Home", *paths), **{path: page(path) for path in paths}}, latency=0.02) as site:
        crawled(site, tmp_path)
        assert site.most_in_flight == 2
        site.forget()
        crawled(site, tmp_path / "more", per_host=16)
        assert 8 <= site.most_in_flight <= 16


def test_what_was_read_before_a_kill_is_not_asked_for_again(tmp_path: Path) -> None:
    paths = [f"/p{number:02}" for number in range(12)]
    with DocumentationSite({"/": page("Home", *paths), **{path: page(path) for path in paths}}) as site:
        with pytest.raises(KeyboardInterrupt):
            _crawl_interrupted(site, tmp_path)
        read = set(kept(site, tmp_path))
        assert len(read) == 6
        table = next(tmp_path.rglob("table.jsonl"))
        table.write_bytes(table.read_bytes() + b'0badc0de {"type":"page","url":"http://to')
        site.forget()
        report = crawled(site, tmp_path)
        assert report.resumed
        assert report.complete
        assert not read & set(site.requests)
        assert len(site.bodies) == 7
        assert kept(site, tmp_path) == ["/", *paths]


def _crawl_interrupted(site: DocumentationSite, index: Path) -> None:
    """Crawl until six pages are read."""

    def progress(_stage: str, done: int, _total: int | None) -> None:
        if done == 6:
            raise KeyboardInterrupt

    source = Source(name="docs", location=site.url, site=Site(url=site.url))
    crawl([source], index, CrawlingSettings(allow_private_hosts=(site.host,)), progress=progress)


def test_a_damaged_page_is_asked_for_again(tmp_path: Path) -> None:
    with small_site() as site:
        crawled(site, tmp_path)
        store = PageStore(tmp_path, "docs")
        body = store._body_file(store.records[site.at("/a")].body)
        body.write_bytes(b"")
        site.forget()
        crawled(site, tmp_path)
        assert site.bodies == Counter({"/a": 1})
        table = next(tmp_path.rglob("table.jsonl"))
        content = bytearray(table.read_bytes())
        for at in range(0, len(content), 97):
            content[at] ^= 0x10
        table.write_bytes(bytes(content))
        assert crawled(site, tmp_path).pages == 4


def test_two_crawls_of_one_source_do_not_mix(tmp_path: Path) -> None:
    with small_site() as site, PageStore(tmp_path, "docs"), pytest.raises(IndexLocked):
        crawled(site, tmp_path)


def test_sites_on_many_hosts_are_read_at_one_time(tmp_path: Path) -> None:
    names = [f"host{number}.test" for number in range(20)]
    paths = [f"/p{number}" for number in range(6)]
    with DocumentationSite({"/": page("Home", *paths), **{path: page(path) for path in paths}}, latency=0.05) as site:
        urls = {name: f"http://{name}:{site.port}/" for name in names}
        reports = crawl(
            [Source(name=name, location=url, site=Site(url=url)) for name, url in urls.items()],
            tmp_path,
            CrawlingSettings(allow_private_hosts=tuple(names)),
            resolver=lambda _host, _port: ["127.0.0.1"],
        )
        assert [report.pages for report in reports.values()] == [7] * 20
        assert site.most_in_flight > 20


def test_a_crawl_within_a_running_loop(tmp_path: Path) -> None:
    async def work(site: DocumentationSite) -> CrawlReport:
        return crawled(site, tmp_path)

    with small_site() as site:
        assert asyncio.run(work(site)).pages == 4


def test_a_process_that_is_killed_leaves_a_store_that_is_gone_on_with(tmp_path: Path) -> None:
    paths = [f"/p{number:02}" for number in range(40)]
    with DocumentationSite({"/": page("Home", *paths), **{path: page(path) for path in paths}}, latency=0.01) as site:
        script = (
            "import sys; from test_crawling import *\n"
            "source = Source(name='docs', location=sys.argv[1], site=Site(url=sys.argv[1]))\n"
            "crawl([source], sys.argv[2], CrawlingSettings(allow_private_hosts=(sys.argv[3],)))"
        )
        command = [sys.executable, "-c", script, site.url, str(tmp_path), site.host]
        package = Path(clockify_rag.__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), "tests"])}
        with subprocess.Popen(command, env=environment, cwd=Path(__file__).parent.parent) as process:
            while site.requests.total() < 20 and process.poll() is None:
                time.sleep(0.005)
            process.kill()
        read = set(kept(site, tmp_path))
        assert 1 < len(read) < 41
        site.forget()
        report = crawled(site, tmp_path)
        assert (report.resumed, report.complete, report.pages) == (True, True, 41)
        assert not read & set(site.requests)


@given(st.binary(max_size=200), st.integers(0, 2000))
def test_no_table_breaks_the_store(content: bytes, at: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with PageStore(folder, "docs") as store:
            store.plan("http://a.example/", "")
            store.begin()
            for name in "abc":
                store.put(Record(f"http://a.example/{name}", 1, "page"), name.encode())
        table = store.folder / "table.jsonl"
        whole = table.read_bytes()
        table.write_bytes(whole[:at] + content + whole[at:])
        loaded = PageStore(folder, "docs")
        assert set(loaded.records) <= set(store.records)
        assert len(loaded.records) >= 2
        assert [found.content() for found in loaded.pages()] == [url[-1].encode() for url in sorted(loaded.records)]


def test_other_encodings(tmp_path: Path) -> None:
    html = "<title>Größe</title><h1>Größe</h1><p>Länge und Größe".encode("cp1252")
    with DocumentationSite({"/": (200, {"Content-Type": "text/html; charset=windows-1252"}, html)}) as site:
        crawled(site, tmp_path)
        (found,) = PageStore(tmp_path, "docs").pages()
        assert "Länge und Größe" in found.content().decode("utf-8-sig")
    assert pages.decoded(b"\xff", "zlib") == b"\xff"
    assert pages.decoded(b"\xff", "no such") == b"\xff"


@pytest.mark.parametrize(
    "charset", ["punycode", "idna", "utf-7", "unicode_escape", "raw_unicode_escape", "rot13", "undefined"]
)
def test_encodings_that_browsers_do_not_know_are_none(charset: str) -> None:
    # One MB of it as punycode takes minutes, and cannot be ended.
    body = b"+ADw-script+AD4- " + b"a" * 1_000_000 + b"-" + b"b" * 1_000_000
    assert pages.decoded(body, charset) == body


def test_encodings_are_those_of_the_web() -> None:
    for name in {*pages._ENCODINGS, *pages._READ_AS, *pages._READ_AS.values()}:
        assert codecs.lookup(name).name == name
    assert pages.decoded(b"\x93", "ISO_8859-1:1987").decode("utf-8-sig") == "\u201c"
    assert pages.decoded("漢字".encode("shift_jis"), "Shift_JIS").decode("utf-8-sig") == "漢字"


def test_a_report_names_some_addresses_and_counts_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporting, "MAXIMUM_SKIPS", 2)
    skips = reporting.Skips()
    for url, reason in (("b", "trap"), ("a", "trap"), ("b", "too deep"), ("c", "trap"), ("d", "too deep")):
        skips.add(frontier.Skip(url, reason))
    assert [(skip.url, skip.reason) for skip in skips.in_order()] == [("a", "trap"), ("b", "trap")]
    assert skips.counts() == {"too deep": 1, "trap": 3}
    assert (skips.of("c"), skips.of("a")) == (None, frontier.Skip("a", "trap"))


def test_a_content_type_is_reported_without_control_characters(tmp_path: Path) -> None:
    answers = {"/": page("Home", "/odd"), "/odd": (200, {"Content-Type": "image/\x1b]0;odd\x07"}, b"words")}
    with DocumentationSite(answers) as site:
        (skip,) = crawled(site, tmp_path).skipped
    assert (skip.reason, skip.detail.isprintable()) == (frontier.FORMAT, True)
    assert skip.detail.startswith("image/")


def test_a_refresh_of_many_spaces_is_read_in_one_pass() -> None:
    start = parse("https://docs.example/")
    for content in ("5{}&quot;", "5;{}url{}&quot;", "5{};{}url={}'"):
        long = content.replace("{}", " " * 1_000_000)
        body = f'<html><head><meta http-equiv="refresh" content="{long}"></head><p>Words.'.encode()
        reading.told(body, Record(start.url, 1, "page"), start)
    body = b'<meta http-equiv="refresh" content="0 ; URL = \'there.html\'"><p>Words.'
    assert reading.told(body, Record(start.url, 1, "page"), start).refresh == parse("https://docs.example/there.html")


def records(**of: dict[str, Any]) -> dict[str, Record]:
    return {url: Record(url, 1, "page", **{"body": url * 32, **fields}) for url, fields in of.items()}


@pytest.mark.parametrize(
    ("known", "documents"),
    [
        (records(a={"target": "b"}, b={}), ["b"]),
        (records(a={"target": "b"}, b={"target": "a"}), ["a"]),
        (records(a={"target": "b"}, b={"target": "c"}, c={}), ["c"]),
        (records(a={"target": "gone"}), ["a"]),
        (records(a={"target": "b"}, b={"skip": "noindex"}), ["a"]),
        (records(aa={"body": "x"}, b={"body": "x"}), ["b"]),
        (records(home={}, **{f"p{number}": {"target": "home"} for number in range(30)}), None),
    ],
)
def test_which_pages_are_documents(known: dict[str, Record], documents: list[str] | None) -> None:
    found, _ = resolve(known)
    assert [record.url for record in found] == (sorted(known) if documents is None else documents)
