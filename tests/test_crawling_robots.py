"""robots.txt by RFC 9309: its examples, its limits, and no file that breaks the parser."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag.crawling import addresses, robots

EXAMPLE = b"""User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: barbot
User-Agent: bazbot
Disallow: /example/page.html

User-Agent: quxbot
"""


@pytest.mark.parametrize(
    ("agent", "path", "allowed"),
    [
        ("otherbot", "/", True),
        ("otherbot", "/picture.gif", False),
        ("otherbot", "/picture.gif?x", True),
        ("otherbot", "/example/a", False),
        ("otherbot", "/publications/a.gif", True),
        ("foobot/2.1 (+https://foo.example)", "/example/page.html", True),
        ("FooBot", "/example/allowed.gif", True),
        ("foobot", "/publications/", False),
        ("barbot", "/example/page.html", False),
        ("barbot", "/example/a.gif", True),
        ("bazbot", "/example/page.html", False),
        ("quxbot", "/example/page.html", True),
    ],
)
def test_the_simple_example_of_the_standard(agent: str, path: str, allowed: bool) -> None:
    assert robots.parse(EXAMPLE, agent).allows(path) is allowed


def test_the_longest_match_of_the_standard() -> None:
    rules = robots.parse(
        b"User-Agent: foobot\nAllow: /example/page/\nDisallow: /example/page/disallowed.gif\n", "foobot"
    )
    assert rules.allows("/example/page/")
    assert not rules.allows("/example/page/disallowed.gif")


def test_groups_of_one_crawler_are_one_group() -> None:
    rules = robots.parse(
        b"User-agent: a\nDisallow: /x\n\nUser-agent: b\nDisallow: /b\n\nUSER-AGENT: A\ndisallow : /y\n", "a"
    )
    assert [rules.allows(path) for path in ("/x", "/y", "/b")] == [False, False, True]


def test_a_group_without_rules_is_a_group() -> None:
    rules = robots.parse(b"User-agent: a\nSitemap: https://x.example/s.xml\nUser-agent: b\nDisallow: /\n", "a")
    assert not rules.allows("/x")
    assert rules.sitemaps == ("https://x.example/s.xml",)


@pytest.mark.parametrize(
    ("rule", "path", "matched"),
    [
        ("/foo/bar?baz=quz", "/foo/bar?baz=quz", True),
        ("/foo/bar?baz=https://foo.bar", "/foo/bar?baz=https%3A%2F%2Ffoo.bar", False),
        ("/foo/bar/ツ", "/foo/bar/%E3%83%84", True),
        ("/foo/bar/%E3%83%84", "/foo/bar/ツ", True),
        ("/foo/bar/%e3%83%84", "/foo/bar/%E3%83%84", True),
        ("/foo/bar/%62%61%7A", "/foo/bar/baz", True),
        ("/foo/bar/baz", "/foo/bar/%62%61%7A", True),
        ("/path/file-with-a-%2A.html", "/path/file-with-a-*.html", True),
        ("/path/file-with-a-%2A.html", "/path/file-with-a-b.html", False),
        ("/path/foo-%24", "/path/foo-$", True),
        ("/path/a$b", "/path/a$b", True),
        ("/*/c$", "/a/b/c", True),
        ("/*/c$", "/a/b/c/d", False),
        ("/a*b*c", "/a-c-b-c", True),
        ("/a*b*c", "/a-c-b", False),
        ("/a**$", "/abc", True),
        ("*", "/", True),
        ("/fish", "/fish.html", True),
        ("/fish", "/Fish", False),
        ("/fish/", "/fish", False),
        ("/ab*ab$", "/ab", False),
    ],
)
def test_rules_match_as_the_standard_says(rule: str, path: str, matched: bool) -> None:
    assert robots.parse(f"user-agent: *\ndisallow: {rule}".encode(), "a").allows(path) is not matched


def test_a_percent_sign_that_escapes_nothing_is_one_in_rules_and_addresses() -> None:
    found = robots.parse(b"User-agent: *\nDisallow: /100%-off\nDisallow: /%%36F\n", "clockify-rag")
    for url in ("https://a.example/100%-off/x", "https://a.example/100%25-off", "https://a.example/%%36F"):
        assert not found.allows(addresses.parse(url).target), url
    assert robots.normal(robots.normal("/%%36F%")) == robots.normal("/%%36F%")


def test_allow_wins_among_equals_and_nothing_to_disallow_allows() -> None:
    assert robots.parse(b"user-agent:*\ndisallow:/a\nallow:/a\n", "x").allows("/a")
    assert robots.parse(b"user-agent:*\ndisallow:\n", "x").allows("/a")
    assert robots.parse(b"user-agent: *\ndisallow: /\n", "x").allows("/robots.txt")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_ends_of_lines_marks_and_comments(end: bytes) -> None:
    text = b"\xef\xbb\xbfUser-agent: * # all" + end + b"  Disallow: /a # no" + end + b"nonsense" + end
    assert not robots.parse(text, "x").allows("/a")


def test_only_the_first_500_kibibytes_count_and_no_cut_line() -> None:
    head = b"user-agent: *\ndisallow: /early\n"
    filler = b"#" * (robots.MAXIMUM_BYTES - len(head) - len(b"\ndisallow: /la")) + b"\n"
    rules = robots.parse(head + filler + b"disallow: /late\n", "x")
    assert not rules.allows("/early")
    assert rules.allows("/late")
    assert rules.allows("/la")


@pytest.mark.parametrize(
    ("status", "allowed"),
    [(200, False), (404, True), (401, True), (403, True), (410, True), (429, False), (500, False), (503, False)],
)
def test_what_an_answer_means(status: int, allowed: bool) -> None:
    assert robots.of_answer(status, b"user-agent: *\ndisallow: /", "x").allows("/a") is allowed


def test_no_answer_allows_nothing() -> None:
    assert not robots.of_answer(None, b"", "x").allows("/a")


@pytest.mark.parametrize(
    ("value", "delay"),
    [("2", 2.0), (".5", 0.5), ("1e9", None), ("-1", None), ("nan", None), ("99999", 60.0), ("٣", None)],
)
def test_delays(value: str, delay: float | None) -> None:
    assert robots.parse(f"user-agent: *\ncrawl-delay: {value}".encode(), "x").delay == delay


@given(st.binary(max_size=400), st.text(max_size=40))
def test_no_file_breaks_the_parser(content: bytes, path: str) -> None:
    rules = robots.parse(b"user-agent: *\ndisallow: " + content, "x")
    rules.allows("/" + path)


@given(st.text(alphabet="ab*$/", max_size=8), st.text(alphabet="ab/", max_size=10))
def test_matching_is_that_of_the_regular_expression(rule: str, path: str) -> None:
    rule, path = f"/{rule}", f"/{path}"
    body = rule.removesuffix("$")
    expression = "".join(".*" if sign == "*" else re.escape(sign) for sign in body) + (
        "$" if rule.endswith("$") else ""
    )
    assert robots.parse(f"user-agent: *\ndisallow: {rule}".encode(), "x").allows(path) is not bool(
        re.match(expression, path)
    )


def test_a_hostile_rule_is_matched_in_time() -> None:
    rules = robots.parse(b"user-agent: *\ndisallow: /" + b"*a" * 2000 + b"$\n", "x")
    assert rules.allows("/" + "a" * 1999 + "b")
