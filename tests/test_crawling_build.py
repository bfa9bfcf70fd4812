"""Sites as sources: from a crawl to answers, again and again, with and without the network, and from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from clockify_rag import Pipeline, Site, Source
from clockify_rag.cli import run
from clockify_rag.config import CrawlingSettings, Settings, load, site_name
from clockify_rag.crawling import crawl, stored_pages
from clockify_rag.errors import CrawlError, InvalidSetting, SourceError
from documentation_site import DocumentationSite, page, urlset
from test_cli_commands import assert_valid


def site_of_docs() -> DocumentationSite:
    return DocumentationSite(
        {
            "/": page("Home", "/exports", "/imports/"),
            "/exports": page("Exports", text="To export a report, open Reports and choose Export."),
            "/imports/": page("Imports", text="Imports of time entries are made from a CSV file."),
        }
    )


def pipeline_of(site: DocumentationSite, folder: Path) -> Pipeline:
    return Pipeline(folder / "index", Settings(crawling=CrawlingSettings(allow_private_hosts=(site.host,))))


def test_a_site_answers(tmp_path: Path) -> None:
    with site_of_docs() as site:
        pipeline = pipeline_of(site, tmp_path)
        report = pipeline.build([site.url])
        assert (report.documents, report.added) == (3, 3)
        hit = pipeline.search("How do I export a report?").hits[0]
        assert (hit.document.url, hit.document.title) == (site.at("/exports"), "Exports")
        assert hit.document.path == f"{site.host}/exports"
        assert pipeline.index.find(site.at("/exports")) == hit.document
        again = pipeline.build([site.url])
        assert (again.unchanged, again.added, again.changed, again.removed) == (3, 0, 0, 0)
        site.pages["/exports"] = page("Exports", text="Exporting is done elsewhere now.")
        del site.pages["/imports/"]
        third = pipeline.build([site.url])
        assert (third.unchanged, third.changed, third.removed) == (1, 1, 1)


def test_the_same_site_gives_the_same_index_whatever_the_order_of_answers(tmp_path: Path) -> None:
    found = []
    for per_host in (1, 8):
        with site_of_docs() as site:
            url = f"http://docs.test:{site.port}/"
            source = Source(name="docs", location=url, site=Site(url=url, per_host=per_host))
            settings = CrawlingSettings(allow_private_hosts=("docs.test",))
            crawl([source], tmp_path / str(per_host), settings, resolver=lambda _host, _port: ["127.0.0.1"])
            pages = stored_pages(tmp_path / str(per_host), source)
            found.append([(kept.url.replace(str(site.port), ""), kept.content_hash) for kept in pages])
    assert found[0] == found[1]


def test_offline_reads_what_is_kept(tmp_path: Path) -> None:
    with site_of_docs() as site:
        source = Source(name="docs", location=site.url, site=Site(url=site.url))
        pipeline = pipeline_of(site, tmp_path)
        pipeline.build([source])
    smaller = replace(pipeline.settings, chunking=replace(pipeline.settings.chunking, target=5, maximum=10))
    report = Pipeline(tmp_path / "index", smaller).build([source], offline=True)
    assert (report.documents, report.changed, report.crawls) == (3, 3, ())
    with pytest.raises(CrawlError, match="has no page"):
        Pipeline(tmp_path / "other", smaller).build([source], offline=True)


def test_a_site_that_does_not_answer_changes_nothing_and_others_are_built(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.md").write_text("# A\n\nOne.\n")
    folder = Source(name="folder", location=str(tmp_path / "folder"))
    with site_of_docs() as site:
        pipeline = pipeline_of(site, tmp_path)
        docs = Source(name="docs", location=site.url, site=Site(url=site.url))
        site.pages["/robots.txt"] = (500, {}, b"")
        with pytest.raises(CrawlError, match=r"robots\.txt"):
            pipeline.build([docs, folder])
        assert not (tmp_path / "index" / "CURRENT").exists()
        del site.pages["/robots.txt"]
        pipeline.build([docs, folder])
        site.pages["/robots.txt"] = (500, {}, b"")
        (tmp_path / "folder" / "a.md").write_text("# A\n\nTwo.\n")
        report = pipeline.build([docs, folder])
        assert (report.documents, report.changed, report.stale, report.removed) == (4, 1, 3, 0)
        assert report.crawls[0].failure is not None
        with pytest.raises(SourceError):
            pipeline.build([docs], strict=True)
        del site.pages["/robots.txt"]
        assert pipeline.build([docs]).stale == 0


def test_a_page_that_fails_stays_as_it_was_and_is_called_stale(tmp_path: Path) -> None:
    with site_of_docs() as site:
        pipeline = pipeline_of(site, tmp_path)
        pipeline.build([site.url])
        site.pages["/exports"] = (500, {}, b"")
        report = pipeline.build([site.url])
        assert (report.stale, report.removed, report.documents) == (1, 0, 3)
        assert [skipped.path for skipped in report.skipped] == [f"{site.host}/exports"]
        assert pipeline.index.find(site.at("/exports")).stale


def test_a_killed_crawl_is_gone_on_with(tmp_path: Path) -> None:
    with site_of_docs() as site:
        pipeline = pipeline_of(site, tmp_path)

        def killed(_stage: str, done: int, _total: int | None) -> None:
            if done == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            pipeline.build([site.url], progress=killed)
        site.forget()
        report = pipeline.build([site.url])
        assert (report.documents, report.crawls[0].resumed) == (3, True)
        # Which of the two was answered first is the machine's choice.
        assert site.requests["/exports"] + site.requests["/imports/"] == 1


def command(capfd: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    """Run a command and return its JSON."""
    assert run([*arguments, "--json"]) == status
    return json.loads(capfd.readouterr().out)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    with site_of_docs() as site:
        allow = ["--allow-private-host", site.host]
        failed = command(capfd, "crawl", site.url, status=6)
        assert f"--allow-private-host {site.host}" in failed["error"]["hint"]
        value = command(capfd, "crawl", site.url, *allow, "--exclude", "imports/", "--per-host", "3")
        assert_valid(value, "crawl")
        assert value["documents"] == 2
        assert value["crawls"][0]["skip_counts"] == {"excluded": 1}
        assert run(["crawl", site.url, *allow]) == 0
        printed = capfd.readouterr().out
        assert f"crawled {site.url}: 3 pages, sent 1, unchanged 2, gone 0, failed 0, in " in printed
        site.pages["/imports/"] = (503, {"Retry-After": "99999"}, b"")
        assert run(["crawl", site.url, *allow, "--maximum-pages", "9"]) == 6
        out, err = capfd.readouterr()
        assert "cut short, so no page was removed for not being found: pages could not be fetched" in out
        assert "left out 1: could not be fetched, such as" in out
        assert "is kept as it was: status 503" in err


def test_sites_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("# Notes\n\nText.\n")
    with site_of_docs() as site:
        site.pages["/sitemap.xml"] = urlset(site.at("/hidden"))
        site.pages["/hidden"] = page("Hidden", text="Shown to those who know the word.")
        (tmp_path / "clockify-rag.toml").write_text(
            f'[[sources]]\nlocation = "notes"\n\n[[sources]]\nname = "docs"\nurl = "{site.url}"\nexclude = ["imports/"]\n'
            f'tags = ["site"]\n\n[crawling]\nallow_private_hosts = ["{site.host}"]\n'
            f'[crawling.headers."http://{site.host}"]\nX-Token = "SITE_TOKEN"\n'
        )
        monkeypatch.setenv("SITE_TOKEN", "letmein")
        value = command(capfd, "build")
        assert_valid(value, "build")
        assert (value["documents"], len(value["crawls"])) == (4, 1)
        assert site.headers["/hidden"]["x-token"] == "letmein"
    value = command(capfd, "build", "--offline")
    assert (value["unchanged"], value["crawls"]) == (4, [])
    shown = command(capfd, "config", "show")["settings"]
    assert shown["sources[1].url"] == site.url
    assert "letmein" not in json.dumps(shown)
    pages = command(capfd, "documents", "--source", "docs")["documents"]
    assert {found["tags"][0] for found in pages} == {"site"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('location = "a"\nurl = "https://x.example/"', "sources"),
        ("", "sources"),
        ('url = "https://x.example/"\nper_host = 0', "per_host"),
    ],
)
def test_tables_that_are_no_source(tmp_path: Path, table: str, message: str) -> None:
    (tmp_path / "clockify-rag.toml").write_text(f"[[sources]]\n{table}\n")
    with pytest.raises(InvalidSetting, match=message):
        load(directory=tmp_path, environment={})


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://docs.example.com/", "docs.example.com"),
        ("https://www.example.com/help/en/", "example.com-help-en"),
        ("http://127.0.0.1:8080", "127.0.0.1-8080"),
        ("https://user:pass@example.com/?a=b", "example.com"),
    ],
)
def test_names_of_sites(url: str, name: str) -> None:
    assert site_name(url) == name


def test_what_is_no_address_is_no_site(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["crawl", "docs.example.com"]) == 2
    assert "hint: clockify-rag crawl https://docs.example.com" in capfd.readouterr().err
