"""Sitemaps and llms.txt: what they say, their bounds, and no bytes that break the reader."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag.crawling import sitemaps

URLSET = '<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{}</urlset>'


def test_pages_with_dates_and_translations() -> None:
    found = sitemaps.parse(
        b'\xef\xbb\xbf<?xml version="1.0"?><urlset xmlns:x="http://www.w3.org/1999/xhtml">'
        b"<url><loc> https://a.example/1?x=1&amp;y=2\n</loc><lastmod>2026-01-02</lastmod>"
        b'<x:link rel="alternate" hreflang="de" href="https://a.example/de/1"/></url>'
        b"<url><image:image xmlns:image='i'><image:loc>https://a.example/i.png</image:loc></image:image>"
        b"<loc>https://a.example/2</loc></url></urlset>"
    )
    assert found == sitemaps.Sitemap(
        "pages",
        (
            sitemaps.Entry("https://a.example/1?x=1&y=2", "2026-01-02", (("de", "https://a.example/de/1"),)),
            sitemaps.Entry("https://a.example/2"),
        ),
    )


def test_an_index() -> None:
    found = sitemaps.parse(b"<sitemapindex><sitemap><loc>https://a.example/s.xml</loc></sitemap></sitemapindex>")
    assert (found.kind, [entry.url for entry in found.entries]) == ("index", ["https://a.example/s.xml"])


def test_a_list_of_addresses() -> None:
    found = sitemaps.parse(b"https://a.example/1\r\n\r\nhttps://a.example/2\n")
    assert [entry.url for entry in found.entries] == ["https://a.example/1", "https://a.example/2"]


def test_gzip_is_unpacked_once() -> None:
    content = URLSET.format("<url><loc>https://a.example/1</loc></url>").encode()
    assert len(sitemaps.parse(gzip.compress(content)).entries) == 1
    assert "more than once" in sitemaps.parse(gzip.compress(gzip.compress(content))).problem
    assert "damaged" in sitemaps.parse(gzip.compress(content)[:4] + b"xxxxxxxxxxxx").problem


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b" " * 4 * sitemaps.MAXIMUM_BYTES, 9)
    tracemalloc.start()
    found = sitemaps.parse(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "more than" in found.problem
    assert peak < 3 * sitemaps.MAXIMUM_BYTES


LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY lol "lol">%s]>
<urlset><url><loc>&lol9;</loc></url></urlset>""" % b"".join(
    b'<!ENTITY lol%d "%s">' % (level, b"&lol%d;" % (level - 1) * 10) for level in range(1, 10)
)


@pytest.mark.parametrize(
    "content",
    [
        LAUGHS,
        b'<!DOCTYPE urlset SYSTEM "file:///etc/passwd"><urlset><url><loc>https://a.example/</loc></url></urlset>',
        b'<!DOCTYPE u [<!ENTITY x SYSTEM "http://127.0.0.1/">]><urlset><url><loc>&x;</loc></url></urlset>',
    ],
)
def test_no_document_type_declaration_is_read(content: bytes) -> None:
    assert sitemaps.parse(content) == sitemaps.Sitemap(problem="it has a document type declaration")


@pytest.mark.parametrize("token", [b"<", b"<!--", b"<url "])
def test_a_token_without_end_is_read_in_one_pass(token: bytes) -> None:
    found = sitemaps.parse(b"<urlset><url><loc>https://docs.example/</loc></url>" + token + b"a" * 45_000_000)
    assert (len(found.entries), "unclosed token" in found.problem) == (1, True)


def test_what_stands_before_the_damage_counts() -> None:
    found = sitemaps.parse(b"<urlset><url><loc>https://a.example/1</loc></url><url><loc>https://a.example/2</url>")
    assert [entry.url for entry in found.entries] == ["https://a.example/1"]
    assert "well-formed" in found.problem


def test_entries_are_bounded() -> None:
    entry = "<url><loc>https://a.example/</loc></url>"
    found = sitemaps.parse(URLSET.format(entry * (sitemaps.MAXIMUM_ENTRIES + 1)).encode())
    assert len(found.entries) == sitemaps.MAXIMUM_ENTRIES
    assert "more than" in found.problem


@pytest.mark.parametrize(
    "content",
    [
        b"<a>" * 1_000_000,
        b"<urlset><url><loc>" + b"h" * 10_000_000,
        b"<html><body>not found</body></html>",
        b"",
        b"nothing here",
        b'<?xml version="1.0" encoding="zlib"?><urlset/>',
    ],
)
def test_what_is_no_sitemap_says_so(content: bytes) -> None:
    found = sitemaps.parse(content)
    assert found.entries == ()
    assert found.problem


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    sitemaps.parse(content)
    sitemaps.parse(b"<urlset><url><loc>" + content + b"</loc></url>")
    sitemaps.parse(b"\x1f\x8b\x08" + content)
    sitemaps.links_of_text(content)


@given(st.lists(st.text(alphabet=st.characters(codec="ascii", min_codepoint=33, exclude_characters="<&"), min_size=1)))
def test_every_entry_is_found(paths: list[str]) -> None:
    text = URLSET.format("".join(f"<url><loc>https://a.example/{path}</loc></url>" for path in paths))
    assert [entry.url for entry in sitemaps.parse(text.encode()).entries] == [
        f"https://a.example/{path}" for path in paths
    ]


def test_links_of_llms_txt() -> None:
    text = b"""# Product
> summary
## Docs
- [Start](https://a.example/start.md): begin
- [Relative](/guide.html "title"), [Brackets](<https://a.example/x>) and https://a.example/bare.
- [Again](https://a.example/start.md) [Wiki](https://a.example/A_(b)) [mail](mailto:x@a.example)
"""
    assert sitemaps.links_of_text(text) == [
        "https://a.example/start.md",
        "/guide.html",
        "https://a.example/x",
        "https://a.example/A_(b)",
        "mailto:x@a.example",
        "https://a.example/bare",
    ]


def test_a_hostile_llms_txt_is_read_in_time() -> None:
    sitemaps.links_of_text(b"[" * 300_000 + b"](" * 100_000 + b"(" * 100_000)
