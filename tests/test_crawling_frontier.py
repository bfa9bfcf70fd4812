"""Which addresses of a site are asked for: scope, order, traps, and mirrors in other languages and versions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag.crawling import frontier
from clockify_rag.crawling.addresses import parse
from clockify_rag.crawling.frontier import Frontier, Scope
from clockify_rag.crawling.mirrors import Mirrors, language_of_path
from clockify_rag.errors import CrawlError

SITE = "https://docs.example.com"


def scope(start: str = "/", include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Scope:
    return Scope(parse(SITE + start), include, exclude)


def reason(where: Scope, url: str) -> str | None:
    skip = where.refuses(where.own(parse(url if "//" in url else SITE + url)))
    return None if skip is None else skip.reason


@pytest.mark.parametrize(
    ("start", "inside", "outside"),
    [
        ("/", "/a/b", "https://example.com/a"),
        ("/help/", "/help/a", "/helper"),
        ("/help", "/help/a", "/helper"),
        ("/help/intro.html", "/help/a", "/about"),
    ],
)
def test_a_crawl_stays_in_the_folder_of_its_start(start: str, inside: str, outside: str) -> None:
    assert reason(scope(start), inside) is None
    assert reason(scope(start), outside) == frontier.OUTSIDE
    assert reason(scope(start), start) is None


def test_other_ports_and_hosts_are_other_sites() -> None:
    where = scope()
    assert reason(where, "https://docs.example.com:8443/a") == frontier.OUTSIDE
    assert reason(where, "https://docs.example.com.evil.example/a") == frontier.OUTSIDE
    assert reason(where, "http://docs.example.com/a") is None
    assert where.own(parse("http://docs.example.com/a")) == parse(f"{SITE}/a")


def test_patterns_are_those_of_ignore_files() -> None:
    where = scope(include=["guide/", "*.html"], exclude=["guide/old/", "draft-*"])
    assert reason(where, "/guide/a") is None
    assert reason(where, "/x/y.html") is None
    assert reason(where, "/guide/old/a") == frontier.EXCLUDED
    assert reason(where, "/guide/draft-1") == frontier.EXCLUDED
    assert reason(where, "/blog/a") == frontier.NOT_INCLUDED
    assert reason(where, "/") is None


def test_files_that_are_no_pages() -> None:
    assert reason(scope(), "/a.ZIP") == frontier.FORMAT
    assert reason(scope(), "/v1.2") is None


@pytest.mark.parametrize(
    "path", ["/a/a/a/x", "/x/a/b/a/b/a/b", "/a/1/a/2/a/3/a/4", "/" + "x" * 2100, "/x/" + "/".join(map(str, range(30)))]
)
def test_traps_that_an_address_shows(path: str) -> None:
    assert reason(scope(), path) == frontier.TRAP


def test_sessions_and_advertisements_are_no_pages_of_their_own() -> None:
    for url in ("/a;jsessionid=1F?x=1", "/a?PHPSESSID=9&x=1", "/a?utm_source=n&x=1&fbclid=2", "/a?x=1&sid=abc"):
        assert frontier.canonical(parse(SITE + url)) == parse(f"{SITE}/a?x=1")
    assert frontier.canonical(parse(f"{SITE}/a?")) == parse(f"{SITE}/a")


def taken(paths: list[str], depth: int = 5) -> tuple[list[str], list[frontier.Skip]]:
    order = Frontier(depth)
    for path in paths:
        order.offer(parse(SITE + path), 0)
    addresses, skipped = order.level()
    return [address.target for address, _ in addresses], skipped


@pytest.mark.parametrize(
    ("paths", "limit"),
    [
        ([f"/calendar/{y}/{m}" for y in range(1000, 1100) for m in range(12)], frontier.MAXIMUM_OF_NUMBERED_SHAPE),
        ([f"/days/20{y}-{m}-1" for y in range(100) for m in range(12)], frontier.MAXIMUM_OF_NUMBERED_SHAPE),
        ([f"/list?page={number}" for number in range(500)], frontier.MAXIMUM_OF_QUERY_SHAPE),
        ([f"/list?token={number:032x}" for number in range(500)], frontier.MAXIMUM_OF_QUERY_SHAPE),
        (
            [f"/f?{a}={b}&{c}={d}" for a, b, c, d in itertools.product("abcd", repeat=4)],
            frontier.MAXIMUM_OF_FACETS,
        ),
    ],
)
def test_endless_series_are_cut(paths: list[str], limit: int) -> None:
    addresses, skipped = taken(paths)
    assert len(addresses) == limit
    assert {skip.reason for skip in skipped} == {frontier.TRAP}
    assert len(addresses) + len(skipped) == len(paths)


def test_articles_with_a_number_each_are_all_taken() -> None:
    paths = [f"/articles/{3600 + number}-{'abcdefghij'[number % 10] * (number // 10 + 1)}" for number in range(1000)]
    paths += [f"/wiki?title={'x' * number}" for number in range(1, 500)]
    assert taken(paths)[1] == []


@given(st.permutations([f"/p{number}" for number in range(12)]))
def test_a_level_is_in_order_whatever_it_was_found_in(paths: list[str]) -> None:
    assert taken(paths)[0] == sorted(paths)


def test_an_address_is_taken_once_and_no_deeper_than_allowed() -> None:
    order = Frontier(1)
    levels = []
    for depth, paths in enumerate((["/a"], ["/a", "/b"], ["/b", "/c"])):
        for path in paths:
            order.offer(parse(SITE + path), depth)
        addresses, skipped = order.level()
        levels.append(([address.path for address, _ in addresses], [skip.reason for skip in skipped]))
    assert levels == [(["/a"], []), (["/b"], []), ([], [frontier.DEPTH])]


@given(st.text(max_size=60))
def test_no_path_breaks_the_scope(path: str) -> None:
    try:
        address = parse(SITE + "/" + path)
    except CrawlError:
        return
    where = scope(include=["a*"], exclude=["b"])
    where.refuses(where.own(address))
    mirrors = Mirrors("/", ["en"])
    mirrors.observe([address.path])
    mirrors.translation(address.path)
    mirrors.other_version(address.path)


def test_translated_mirrors_are_told_by_their_twins() -> None:
    mirrors = Mirrors("/", ["en"])
    mirrors.observe(["/export", "/import", "/de/export", "/de/only", "/pt-BR/import", "/it/desk", "/en/a", "/fr/a"])
    assert mirrors.translation("/de/export") == "de"
    assert mirrors.translation("/de/only") == "de"
    assert mirrors.translation("/pt-BR/import") == "pt-br"
    assert mirrors.translation("/fr/a") == "fr"
    assert [mirrors.translation(path) for path in ("/it/desk", "/en/a", "/export", "/x/de/export")] == [None] * 4


def test_translations_that_a_page_names() -> None:
    mirrors = Mirrors("/", ["en"])
    mirrors.declare("/start", [("en", "/start"), ("de-DE", "/anfang"), ("fr", "/fr/debut"), ("x-default", "/start")])
    assert mirrors.translation("/anfang") == "de-de"
    assert mirrors.translation("/fr/autre") == "fr"
    assert mirrors.translation("/start") is None


def test_languages_that_are_wanted_stay() -> None:
    for languages in ((), ("*",), ("en", "de")):
        mirrors = Mirrors("/", languages)
        mirrors.observe(["/export", "/de/export"])
        assert mirrors.translation("/de/export") is None
    mirrors = Mirrors("/de/", ["de"])
    mirrors.observe(["/de/export", "/export"])
    assert mirrors.translation("/de/export") is None


@pytest.mark.parametrize(
    ("paths", "kept"),
    [
        (["/v1/a", "/v2/a", "/v10/a"], "/v10/a"),
        (["/1.9/a", "/latest/a", "/dev/a"], "/latest/a"),
        (["/16/a", "/17/a", "/current/a"], "/current/a"),
        (["/a", "/v3/a"], "/a"),
        (["/stable/a", "/latest/a"], "/stable/a"),
        (["/main/a", "/2.x/a"], "/2.x/a"),
    ],
)
def test_of_the_versions_of_a_page_the_best_stays(paths: list[str], kept: str) -> None:
    mirrors = Mirrors("/")
    mirrors.observe(paths)
    assert [path for path in paths if mirrors.other_version(path) is None] == [kept]


def test_numbers_alone_are_no_versions() -> None:
    mirrors = Mirrors("/")
    paths = ["/chapter/1/summary", "/chapter/2/summary", "/a/v1/x"]
    mirrors.observe(paths)
    assert [mirrors.other_version(path) for path in paths] == [None] * 3


def test_a_tree_with_many_twins_is_left_out_whole() -> None:
    mirrors = Mirrors("/")
    mirrors.observe([f"/{version}/{page}" for version in ("v1", "v2") for page in "abc"] + ["/v1/gone"])
    assert mirrors.other_version("/v1/gone") == "v1"
    mirrors = Mirrors("/", versions=["v1"])
    mirrors.observe(["/v1/a", "/v2/a"])
    assert (mirrors.other_version("/v1/a"), mirrors.other_version("/v2/a")) == (None, "v2")


def test_the_language_of_a_path() -> None:
    assert language_of_path("/hc/en-us/articles/1") == "en-us"
    assert language_of_path("/help/articles") is None
