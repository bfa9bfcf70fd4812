"""Links to the quoted words, and addresses that a model may name."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag.contracts import Draft, Verified
from clockify_rag.verification import QuoteVerifier
from clockify_rag.verification.links import REMOVED, citation_link
from passages import ask, chunk_of, context_of, hit_of

URL = "https://docs.example/exports"


def link(text: str, quote: str | None = None, anchor: str | None = None, url: str | None = URL) -> str | None:
    quote = text if quote is None else quote
    return citation_link(hit_of(chunk_of(text, anchor=anchor), url=url), quote, text.index(quote))


def test_a_link_ends_in_the_quoted_words() -> None:
    assert link("Exports are kept.") == f"{URL}#:~:text=Exports%20are%20kept."
    assert link("Exports are kept.", anchor="days") == f"{URL}#days:~:text=Exports%20are%20kept."
    assert link("Exports are kept.", url=f"{URL}#top") == f"{URL}#top:~:text=Exports%20are%20kept."
    assert link("Exports are kept.", url=None) is None


def test_what_separates_parts_of_a_text_fragment_is_encoded() -> None:
    assert (
        link("a-b, c & d: 100 % “é”")
        == f"{URL}#:~:text=a%2Db%2C%20c%20%26%20d%3A%20100%20%25%20%E2%80%9C%C3%A9%E2%80%9D"
    )


def test_a_long_quote_is_named_by_its_ends() -> None:
    text = "One two three four five six seven eight nine ten eleven twelve thirteen."
    assert link(text) == f"{URL}#:~:text=One%20two%20three%20four%20five,nine%20ten%20eleven%20twelve%20thirteen."


def test_numbers_of_lists_and_borders_of_cells_are_no_part_of_a_page() -> None:
    assert link("1. Open it.\n2. Press Export.") == f"{URL}#:~:text=Open%20it.,Press%20Export."
    assert link("Team | 20 seats | yes") == f"{URL}#:~:text=Team,yes"
    assert link("- ") == URL


def test_a_quote_that_stands_twice_is_told_apart_by_its_neighbours() -> None:
    text = "Never press Save twice. Then press Save once."
    assert (
        citation_link(hit_of(chunk_of(text), url=URL), "press Save", text.rindex("press Save"))
        == (f"{URL}#:~:text=twice.%20Then-,press%20Save,-once.")
        or link(text, "press Save") == f"{URL}#:~:text=Never-,press%20Save,-twice.%20Then%20press"
    )


@given(st.text(min_size=1, max_size=80))
def test_a_fragment_holds_nothing_that_ends_or_divides_it(quote: str) -> None:
    found = link(quote)
    assert found is not None
    fragment = found.partition(":~:text=")[2]
    assert fragment.isascii()
    assert not set(fragment) & set(" &#\"'<>\n\x1b")
    assert fragment.count(",") <= 1
    if "," not in fragment and fragment:
        assert unquote(fragment) in " ".join(quote.split())


# Addresses in a draft.


def verified(text: str) -> Verified:
    written = "The portal is https://portal.example/login. Exports are kept for 90 days."
    hit = hit_of(chunk_of(written, anchor="days"), url=URL)
    context = context_of(written)
    context = type(context)(hits=(hit,), texts=context.texts, tokens=10)
    return QuoteVerifier("off").verify(ask("Where?"), context, Draft(text=text))


@pytest.mark.parametrize(
    "text",
    [
        f"See {URL}.",
        f"See <{URL}#days>",
        f"See [the page]({URL}).",
        f"See [the page]({URL}/#days).",
        "Go to HTTPS://Portal.example/login, then wait.",
        "A [label] (and an aside).",
        "Use `a[1](b)` as it is.",
    ],
)
def test_addresses_of_sources_stay(text: str) -> None:
    found = verified(text)
    assert (found.text, found.addresses_removed) == (text, 0)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Go to https://evil.example/x.", f"Go to {REMOVED}."),
        ("Go to www.evil.example now", f"Go to {REMOVED} now"),
        (f"Go to {URL}?token=1", f"Go to {REMOVED}"),
        (f"Go to {URL}#nowhere", f"Go to {REMOVED}"),
        ("Go to ftp://docs.example/exports", f"Go to {REMOVED}"),
        ("Click [here](https://evil.example/a_(b)).", "Click here."),
        ("Click [here](javascript:alert%281%29).", "Click here."),
        ("Click [here](//evil.example).", "Click here."),
        ("Click <a href='//evil.example/x'>here</a>.", f"Click <a href='{REMOVED}'>here</a>."),
        ("Click [a [b] c](//evil.example/x).", f"Click [a [b] c]({REMOVED})."),
        ("Open [https://evil.example/x](https://evil.example/x).", f"Open {REMOVED}."),
        (f"Open [https://evil.example/x]({URL}).", f"Open [{REMOVED}]({URL})."),
        (f"Open [the page]({URL} 'https://evil.example').", f"Open [the page]({URL} '{REMOVED}')."),
        ("![tracker](https://evil.example/p.png) Done.", "Done."),
        (f"![even of a source]({URL}) Done.", "Done."),
        ("Click [here][a].\n\n[a]: https://evil.example", "Click [here][a]."),
        ("Run `curl https://evil.example/x` now", f"Run `curl {REMOVED}` now"),
        ("https://docs.example@evil.example/exports", REMOVED),
        ("https://evil.example/https://portal.example/login", REMOVED),
    ],
)
def test_other_addresses_are_taken_out_and_counted(text: str, left: str) -> None:
    found = verified(text)
    assert (found.text, found.addresses_removed) == (left, 1)
    assert any(step.details.get("addresses removed") == 1 for step in found.steps)


def test_an_address_that_a_source_has_is_no_fact_that_is_missing() -> None:
    written = "Exports are kept for 90 days."
    hit = hit_of(chunk_of(written, anchor="days"), url=URL)
    context = type(context_of(written))(hits=(hit,), texts=(written,), tokens=6)
    for text in (
        f"Exports are kept for 90 days, as [the page]({URL}) says [1].",
        f"Exports are kept for 90 days ({URL}) [1].",
    ):
        found = QuoteVerifier().verify(ask("How long?"), context, Draft(text=text))
        assert (found.text, found.claims[0].problems) == (text, ())
