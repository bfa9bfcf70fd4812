"""What an answer claims is proved, moved, or taken away."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag.contracts import Citation, Context, Draft, Verified, Verifier
from clockify_rag.generation import ExtractiveGenerator
from clockify_rag.verification import Policy, QuoteVerifier
from passages import ask, chunk_of, context_of

EXPORTS = "Exports are kept for 90 days.\nAdmins can delete an export at any time. Members cannot."
PLANS = "The Team plan has 20 seats. The Studio plan has “no limit of seats” at all."
CONTEXT = context_of(EXPORTS, PLANS, chunk_of("Home Exports Plans", kind="hub"))


def verified(
    draft: Draft | str, context: Context = CONTEXT, question: str = "How long?", policy: Policy = "off"
) -> Verified:
    whole = Draft(text=draft) if isinstance(draft, str) else draft
    result = QuoteVerifier(policy).verify(ask(question), context, whole)
    prove(result.text, result.citations, context)
    return result


def removed_from(result: Verified) -> int:
    """How many quotations lost their marks."""
    return sum(quotation.verdict in ("altered", "fabricated") for quotation in result.quotations)


def verify(
    draft: Draft | str, context: Context = CONTEXT, question: str = "How long?"
) -> tuple[str, tuple[Citation, ...], int]:
    """Verify quotations and markers alone."""
    result = verified(draft, context, question)
    return result.text, result.citations, removed_from(result)


def prove(text: str, citations: tuple[Citation, ...], context: Context) -> None:
    """Check what must hold for every answer."""
    assert [citation.marker for citation in citations] == list(range(1, len(citations) + 1))
    plain = re.sub(r"```.*?(?:```|\Z)|`[^`\n]+`", "", text, flags=re.DOTALL)
    used = list(dict.fromkeys(int(number) for number in re.findall(r"\[(\d{1,4})\](?!\()", plain)))
    assert used == [citation.marker for citation in citations]
    chunks = {hit.chunk.id: hit.chunk for hit in context.hits}
    for citation in citations:
        assert chunks[citation.chunk_id].kind != "hub"
        assert chunks[citation.chunk_id].slice(citation.span) == citation.quote != ""


def quotes(citations: tuple[Citation, ...]) -> list[str]:
    return [citation.quote for citation in citations]


def test_a_marker_goes_with_the_mark_that_it_touches() -> None:
    altered = "Exports are kept for 90 days.Exports are kept for 90 days."
    assert verify(f'" [3]{altered}"')[0] == f"{altered} [1]"


def test_a_quotation_is_written_as_its_source_has_it() -> None:
    text, citations, removed = verify('They say: "Exports  are kept\nfor 90 days." [1]')
    assert text == 'They say: "Exports are kept for 90 days." [1]'
    assert quotes(citations) == ["Exports are kept for 90 days."]
    assert (citations[0].span, citations[0].path, removed) == ((0, 29), "page-1.md", 0)


def test_a_quotation_that_ends_in_code_has_no_mark() -> None:
    text, citations, removed = verify('"Exports are kept for 90 days. [1]```"')
    assert (text, len(citations), removed) == ('Exports are kept for 90 days. [1]```"', 1, 0)


@pytest.mark.parametrize("marks", ["“%s”", '"%s"', "„%s“", "„%s”", "«%s»", "« %s »", "»%s«", "「%s」"])
def test_quotation_marks_of_many_languages_are_known(marks: str) -> None:
    text, citations, removed = verify(marks % "Admins can delete an export" + " [1].")
    assert quotes(citations) == ["Admins can delete an export"]
    assert removed == 0
    text, citations, removed = verify(marks % "Admins can restore every plan" + " [1].")
    assert text == "Admins can restore every plan [1]."
    assert removed == 1


@pytest.mark.parametrize(
    "marks",
    [
        "\uff02%s\uff02", "\u275d%s\u275e", "\u301d%s\u301e", "\u300a%s\u300b", "\u2033%s\u2033", "&quot;%s&quot;",
        "&ldquo;%s&rdquo;", "<q>%s</q>", '<blockquote class="x">%s</blockquote>', "''%s''", "``%s''",
    ],
)  # fmt: skip
def test_marks_that_are_seldom_used_quote_too(marks: str) -> None:
    assert verify(marks % "Admins can restore every plan" + " [1].")[0] == "Admins can restore every plan [1]."
    text, citations, removed = verify(marks % "Admins can delete an export" + " [1].")
    assert (text, quotes(citations), removed) == (
        marks % "Admins can delete an export" + " [1].",
        ["Admins can delete an export"],
        0,
    )


@pytest.mark.parametrize(
    "text", ["Leave it as '' or ''.", "A 5\u2033 screen and a 7\u2033 one [1].", "It's the team's plan [1]."]
)
def test_what_looks_like_a_mark_stays(text: str) -> None:
    assert verify(text)[0] == text


@pytest.mark.parametrize("before", ["- ", "1. ", "1. Open it.\n\n    ", "  * "])
def test_a_block_within_a_list_is_a_quotation(before: str) -> None:
    assert (
        verify(f"{before}> Admins can restore every plan [1]")[0]
        == f"{before}Admins can restore every plan [1]".strip()
    )
    text, citations, removed = verify(f"{before}> Admins can delete an export [1]")
    assert (text, quotes(citations), removed) == (
        f"{before}> Admins can delete an export [1]".strip(),
        ["Admins can delete an export"],
        0,
    )


def test_a_block_keeps_its_indent_over_lines() -> None:
    text, _, _ = verify("- > Exports are kept for 90 days. Admins can delete an export [1]")
    assert text == "- > Exports are kept for 90 days.\n  > Admins can delete an export [1]"


def test_the_line_behind_a_block_is_not_read_as_of_it() -> None:
    text, _, _ = verify("> Exports are kept for 90 days. [1]\nThey are free for ever [1].")
    assert text == "> Exports are kept for 90 days. [1]\n\nThey are free for ever [1]."


@pytest.mark.parametrize(
    "marker",
    [
        "[2-3]",
        "[2\u20133]",
        "\u30102\u3011",
        "\u30102\u2020source\u3011",
        "[^2]",
        "[ 2 ]",
        "[Source 2]",
        "[Passages 2, 9]",
        "[Quelle 2]",
    ],
)
def test_the_ways_in_which_models_cite_are_known(marker: str) -> None:
    text, citations, _ = verify(f"Seats are limited {marker}.")
    assert text == "Seats are limited [1]."
    assert [citation.path for citation in citations] == ["page-2.md"]


@pytest.mark.parametrize(
    "text",
    [
        "The pattern [0-9] stands for a digit.",
        "A [2b] or [b2] is none.",
        "Press [Source].",
    ],
)
def test_other_brackets_stay(text: str) -> None:
    assert verify(text)[0] == text


def test_a_quotation_of_another_chunk_is_moved_to_it() -> None:
    text, citations, removed = verify('"The Team plan has 20 seats." [1] Exports are kept [1].')
    assert text == '"The Team plan has 20 seats." [1] Exports are kept [2].'
    assert [citation.path for citation in citations] == ["page-2.md", "page-1.md"]
    assert removed == 0


def test_a_quotation_without_a_marker_gets_one() -> None:
    text, citations, _ = verify('It says "Admins can delete an export at any time".')
    assert text == 'It says "Admins can delete an export at any time" [1].'
    assert citations[0].path == "page-1.md"


def test_a_marker_within_its_quotation_stands_behind_it() -> None:
    text, _, removed = verify('"Exports are kept for 90 days. [1]"')
    assert (text, removed) == ('"Exports are kept for 90 days." [1]', 0)


def test_an_altered_quotation_cites_what_the_source_says() -> None:
    text, citations, removed = verify('"Exports are kept for 60 days." [1]')
    assert (text, removed) == ("Exports are kept for 60 days. [1]", 1)
    assert [quote.rstrip(".") for quote in quotes(citations)] == ["Exports are kept for 90 days"]


def test_a_fabricated_quotation_loses_its_marks() -> None:
    text, citations, removed = verify('He said "nothing of this stands anywhere", really.')
    assert (text, citations, removed) == ("He said nothing of this stands anywhere, really.", (), 1)


@pytest.mark.parametrize("text", ['Press "Save" [1].', 'Press "a b c" [1].', 'A 5" screen and a 7" one [1].'])
def test_short_quotations_are_names_of_things(text: str) -> None:
    assert verify(text)[0] == text


def test_unknown_markers_are_removed_and_the_others_renumbered() -> None:
    text, citations, _ = verify("Seats are limited [2]. Made up [7][0]. Exports stay [1, 9] [3].")
    assert text == "Seats are limited [1]. Made up. Exports stay [2]."
    assert [citation.path for citation in citations] == ["page-2.md", "page-1.md"]


def test_a_statement_is_proved_by_the_sentence_that_says_most_of_it() -> None:
    _, citations, _ = verify("Admins may delete exports [1]. There are twenty seats in the Team plan [2].")
    assert quotes(citations) == ["Admins can delete an export at any time.", "The Team plan has 20 seats."]


def test_a_marker_used_twice_has_one_citation() -> None:
    text, citations, _ = verify("Exports are kept [1]. For days [1][1].")
    assert text == "Exports are kept [1]. For days [1][1]."
    assert len(citations) == 1


def test_two_quotations_of_one_chunk_have_two_citations() -> None:
    text, citations, _ = verify('"Exports are kept for 90 days." [1] "Admins can delete an export" [1]')
    assert text == '"Exports are kept for 90 days." [1] "Admins can delete an export" [2]'
    assert len({citation.chunk_id for citation in citations}) == 1


def test_one_statement_may_cite_several() -> None:
    text, citations, _ = verify('"The Team plan has 20 seats." [1][2] and more [1; 2]')
    assert text == '"The Team plan has 20 seats." [1][2] and more [1][2]'
    assert [citation.path for citation in citations] == ["page-1.md", "page-2.md"]


def test_code_is_not_touched() -> None:
    text = 'Use `items[7]` or\n```\nsay "no such words here" [8]\n```\nExports [1].'
    assert verify(text)[0] == text


def test_a_quotation_across_slices_cites_its_longest_part() -> None:
    document = "Header of the table\nskip\nA long row of the table"
    context = context_of(chunk_of(document, [(0, 19), (25, len(document))]))
    _, citations, removed = verify('"Header of the table\nA long row of the table" [1]', context)
    assert (quotes(citations), removed) == (["A long row of the table"], 0)
    assert citations[0].span == (25, len(document))


def test_only_what_was_shown_can_be_cited() -> None:
    whole = context_of(EXPORTS)
    shown = Context(hits=whole.hits, texts=(EXPORTS[:29],), tokens=5)
    _, _, removed = verify('"Admins can delete an export at any time." [1]', shown)
    assert removed == 1


def test_nothing_to_cite() -> None:
    empty = Context(hits=(), texts=(), tokens=0)
    assert verify("Nothing [1].", empty) == ("Nothing.", (), 0)
    assert verify("", CONTEXT) == ("", (), 0)
    assert verify("Blank [1].", context_of(" \n")) == ("Blank.", (), 0)


# Drafts that consist of quotations.

STEPS = "To export:\n\n1. Open it.\n2. Press Export.\n\nWait a while. Exports come by e-mail."


def test_a_list_has_one_marker_and_one_citation() -> None:
    context = context_of(STEPS)
    draft = ExtractiveGenerator().generate(ask("how to export"), context)
    text, citations, removed = verify(draft, context, "how to export")
    assert text == draft.text
    assert quotes(citations) == [STEPS[STEPS.index("To export:") :]]
    assert removed == 0


def test_passages_apart_have_markers_of_their_own() -> None:
    context = context_of("Other.", EXPORTS)
    spans = [(0, 29), (71, 86), (0, 29)]
    text = "\n\n".join(f"{EXPORTS[start:end]} [2]" for start, end in spans)
    draft = Draft(text=text, quotes=tuple((1, span) for span in spans))
    proved, citations, _ = verify(draft, context, "?")
    assert [line[-3:] for line in proved.split("\n\n")] == ["[1]", "[2]", "[1]"]
    assert quotes(citations) == [EXPORTS[start:end] for start, end in spans[:2]]


@pytest.mark.parametrize(
    "quoted",
    [((0, (0, 30)),), ((0, (1, 29)),), ((5, (0, 29)),), ((-1, (0, 29)),), ((0, (0, 999)),), ((0, (29, 29)),)],
)
def test_a_quotation_that_is_not_what_it_says_is_checked_as_any_text(
    quoted: tuple[tuple[int, tuple[int, int]], ...],
) -> None:
    draft = Draft(text="Exports are kept for 90 days. [1]", quotes=quoted)
    text, _, _ = verify(draft, CONTEXT, "?")
    assert text == "Exports are kept for 90 days. [1]"


@pytest.mark.parametrize(
    ("parts", "headings", "whole"),
    [
        (("How long?", "Who?"), ((0, "How long?"), (1, "Who?")), True),
        (("How long?", "Who?"), ((0, "How long?"), (0, "Who?")), False),
        (("How long?",), ((0, "How long?"), (1, "Who?")), False),
        ((), ((0, "How long?"), (1, "Who?")), False),
        (("How long [1]?", "Who?"), ((0, "How long [1]?"), (1, "Who?")), False),
    ],
)
def test_among_quotations_only_parts_of_the_question_stand_unchecked(
    parts: tuple[str, ...], headings: tuple[tuple[int, str], ...], whole: bool
) -> None:
    spans = [(0, 29), (71, 86)]
    quoted = [f"{EXPORTS[start:end]} [1]" for start, end in spans]
    text = "\n\n".join([headings[0][1], quoted[0], "Who?", quoted[1]])
    draft = Draft(text=text, quotes=tuple((0, span) for span in spans), headings=headings)
    query = msgspec.structs.replace(ask("How long, and who?"), parts=parts)
    result = QuoteVerifier().verify(query, CONTEXT, draft)
    assert (result.groundedness == 1 and len(result.claims) == len(spans)) is whole
    if whole:
        assert result.text == text.replace("Members cannot. [1]", "Members cannot. [2]")
        assert quotes(result.citations) == [EXPORTS[start:end] for start, end in spans]


PIECES = st.sampled_from(
    [
        "Exports are kept for 90 days.", "Admins can delete", " [1]", "[2]", "[9]", " [1,2]", '"', "“", "”", "«", "»", "\n",
        "\n\n", "`", "```", " and ", "the Team plan has 20 seats", "[3]", "[1](x)", "文字列です。", "「", "」", " ", ".",
    ]
)  # fmt: skip


@given(st.lists(PIECES, max_size=25))
def test_whatever_a_model_writes_only_what_is_proved_is_cited(pieces: list[str]) -> None:
    text, _, removed = verify("".join(pieces))
    assert removed >= 0
    assert text == text.strip()


@given(
    st.lists(st.text(alphabet="abc. \n1-", min_size=1, max_size=60), min_size=1, max_size=4),
    st.text("abc ", max_size=9),
)
def test_extracts_always_prove_themselves(texts: list[str], question: str) -> None:
    context = context_of(*texts)
    draft = ExtractiveGenerator().generate(ask(question), context)
    text, _, removed = verify(draft, context, question)
    assert removed == 0
    assert re.sub(r"\[\d+\]", "", text) == re.sub(r"\[\d+\]", "", draft.text)


def test_it_is_a_verifier() -> None:
    assert isinstance(QuoteVerifier(), Verifier)
