"""Texts of a megabyte that a pattern with a choice would go through again and again; each of these once did for minutes or hours."""

from __future__ import annotations

import pytest

from clockify_rag import sentences
from clockify_rag.crawling import frontier, reading
from clockify_rag.loading.articles import parts_of

LONG = 1_000_000


@pytest.mark.parametrize(
    ("text", "title", "url"),
    [
        (f"# [ARTICLE] a{' ' * LONG}b\n\nWords.\n", f"a{' ' * LONG}b", None),
        (f"# [ARTICLE] a\nhttp://x{'*' * LONG} x\n", "a", None),
        (f"# [ARTICLE] a\nhttp://{'_' * LONG}(\n", "a", None),
        (f"# [ARTICLE] a\n\n{'`' * LONG}x`\n", "a", None),
        ("# [ARTICLE] \t a # b ## \n<https://a.example/x>\n", "a # b", "https://a.example/x"),
        ("# [ARTICLE] ##\n**Source:** https://a.example/x **\n", None, "https://a.example/x"),
    ],
)
def test_headings_addresses_and_fences_of_articles(text: str, title: str | None, url: str | None) -> None:
    (part,) = parts_of(text)
    assert (part.title, part.url) == (title, url)


@pytest.mark.parametrize("end", ["", "'", "url", "url ="])
def test_the_refresh_of_a_page(end: str) -> None:
    assert bool(reading._REFRESH.match(f"1{' ' * LONG}{end}")) == end.startswith("url")
    found = reading._REFRESH.match(" 0 ; URL = 'https://a.example/x'")
    assert found
    assert found[2] == "https://a.example/x"


def test_tokens_in_addresses() -> None:
    assert frontier._TOKENS.sub("0", "a" * LONG) == "a" * LONG
    assert frontier._TOKENS.sub("0", f"/{'a' * LONG}1/x") == "/0/x"
    assert frontier._TOKENS.sub("0", "/DEADBEEFdeadbeef1-x/0f0f0f0f-1111-2222-3333-abcdefabcdef") == "/0-x/0"


def test_ends_of_sentences() -> None:
    assert sentences.units("." * LONG + "x") == [(0, LONG + 1)]
    text = "One. Two?! “Three.” Four... 5.5 is no end.) Ja。そう！"
    found = [text[slice(*span)] for span in sentences.units(text)]
    assert found == ["One.", "Two?!", "“Three.”", "Four...", "5.5 is no end.)", "Ja。", "そう！"]
