"""The sentences of a model's text are said by what they cite, or it is said that they are not."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag.contracts import Claim, Context, Draft, Verified
from clockify_rag.errors import InvalidSetting
from clockify_rag.verification import UNSUPPORTED, Policy, QuoteVerifier, claims
from passages import ask, chunk_of, context_of

EXPORTS = "Exports are kept for 90 days. Admins can delete an export at any time, but members cannot."
PLANS = "The Team plan has 20 seats. The Studio plan has 50 seats and costs $12 a month for each person."
TIMER = "To start the timer, open Time Tracker and press Start. A timer runs for 24 hours at most."
CONTEXT = context_of(EXPORTS, PLANS, TIMER, titles=("Exports", "Plans and seats", "The timer"))


def verified(
    text: str,
    context: Context = CONTEXT,
    policy: Policy = "balanced",
    language: str = "en",
    question: str = "How long?",
) -> Verified:
    found = QuoteVerifier(policy).verify(ask(question, language), context, Draft(text=text))
    for claim in found.claims:
        assert claim.span is None or found.text[slice(*claim.span)] == claim.text
        assert set(claim.markers) <= {citation.marker for citation in found.citations}
    return found


def only(text: str, **given: Any) -> Claim:
    (claim,) = verified(text, **given).claims
    return claim


@pytest.mark.parametrize(
    "text",
    [
        "Exports are kept for 90 days [1].",
        "Your exports are kept for 90 days. [1]",
        "Members cannot delete an export [1].",
        "The Studio plan has 50 seats [2].",
        "The Studio plan costs 12 dollars a month for each person [2].",
        "Open **Time Tracker** and press Start to start the timer. [3]",
        "1. Open Time Tracker and press Start [3].",
        "A timer runs for at most 24h [3].",
    ],
)
def test_what_the_passage_says_is_supported(text: str) -> None:
    found = verified(text)
    (claim,) = found.claims
    assert (claim.supported, claim.problems) == (True, ())
    assert claim.support is not None
    assert claim.support >= claims.BAR
    assert (found.groundedness, found.risk) == (1.0, 0.0)
    assert UNSUPPORTED not in found.text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Exports are kept for 60 days [1].", "number: 60 days"),
        ("Exports are kept for 90 weeks [1].", "unit: 90 weeks"),
        ("Exports are not kept for 90 days [1].", "negation: not"),
        ("Admins can delete an export at any time, but members can [1].", "negation: cannot"),
        ("The Studio plan has 20 seats [2].", "name: Studio"),
        ("The Gold plan has 50 seats [2].", "name: Gold"),
        ("Exports are kept for 90 days as a PDF [1].", "identifier: PDF"),
        ("Set `retention_days` and exports are kept for 90 days [1].", "identifier: retention_days"),
        ("Every workspace is backed up to another continent at night [1].", "words: too few of them stand there"),
    ],
)
def test_what_it_does_not_say_is_marked_and_named(text: str, problem: str) -> None:
    found = verified(text)
    (claim,) = found.claims
    assert (claim.supported, problem in claim.problems) == (False, True), claim
    assert found.text == f"{text.replace('[2]', '[1]')} {UNSUPPORTED}"
    assert (found.groundedness, found.risk) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Exports are kept for one day [1].", "number: one day"),
        ("Exports are kept for a single day [1].", "number: single day"),
        ("Exports are kept for eighteen days [1].", "number: eighteen days"),
        ("The Studio plan costs $12k a month for each person [2].", "number: 12k"),
        ("Exports are hardly kept for 90 days [1].", "negation: hardly"),
        ("# Exports are kept for 60 days [1]", "number: 60 days"),
        ("Seats: 700 [2]", "number: 700"),
        ("Price: $99 [2]", "number: 99"),
    ],
)
def test_a_figure_does_not_hide_in_words_headings_and_labels(text: str, problem: str) -> None:
    found = verified(text)
    assert (found.claims[0].marked, problem in found.claims[0].problems) == (True, True), found.claims
    assert found.text.endswith(UNSUPPORTED)


@pytest.mark.parametrize(
    "text",
    [
        "Step 1: Open Time Tracker and press Start [1].",
        "**Step 2.** Open Time Tracker and press Start [1].",
        "## Schritt 3",
    ],
)
def test_the_number_of_a_step_is_no_figure(text: str) -> None:
    assert verified(text, context_of(TIMER)).text == text


def test_rows_of_a_table_stay_rows() -> None:
    found = verified("| Plan | Seats |\n|---|---|\n| Team | 20 |\n| Studio | 70 |")
    assert found.text == f"| Plan | Seats |\n|---|---|\n| Team | 20 [1] |\n| Studio | 70 {UNSUPPORTED} |"
    assert [claim.supported for claim in found.claims] == [True, False]


def test_a_free_rewording_that_cites_its_passage_is_told_and_not_marked() -> None:
    found = verified("An admin may get rid of an export whenever they like [1].")
    (claim,) = found.claims
    assert claim.support is not None
    assert claims.FAINT <= claim.support < claims.BAR
    assert (claim.supported, claim.marked, claim.problems) == (False, False, ("words: too few of them stand there",))
    assert (UNSUPPORTED in found.text, found.groundedness) == (False, 0.0)
    assert verified("An admin may get rid of an export whenever they like [1].", policy="strict").text == ""


def test_a_free_rewording_that_cites_nothing_is_marked() -> None:
    found = verified("An admin may get rid of an export whenever they like.")
    assert (found.claims[0].marked, found.text.endswith(UNSUPPORTED)) == (True, True)


def test_the_mark_stands_behind_the_number_also_of_a_block() -> None:
    assert (
        verified("> Every plan is free for 99 years [1]").text == f"Every plan is free for 99 years [1] {UNSUPPORTED}"
    )


def test_a_text_that_only_admits_is_a_refusal() -> None:
    assert verified("The passages do not answer this question.").admits
    assert verified("Die Dokumentation beantwortet diese Frage nicht.").admits
    assert not verified("The passages do not say so. Exports are kept for 90 days [1].").admits
    assert not verified("Exports are kept for 90 days [1].").admits
    assert not verified("").admits


def test_a_strict_policy_cuts_the_sentence_and_its_marker() -> None:
    text = "Exports are kept for 60 days [1]. The Studio plan has 50 seats [2]. Every plan is free for ever [2]."
    found = verified(text, policy="strict")
    assert found.text == "The Studio plan has 50 seats [1]."
    assert [citation.path for citation in found.citations] == ["page-2.md"]
    assert [(claim.supported, claim.span is None) for claim in found.claims] == [
        (False, True),
        (True, False),
        (False, True),
    ]
    assert found.claims[0].text == "Exports are kept for 60 days [1]."


def test_a_strict_policy_cuts_whole_lines_of_lists() -> None:
    text = "Steps:\n\n1. Open Time Tracker and press Start [3].\n2. Call the 24 moon wizards [3].\n3. The timer runs for 24 hours at most [3]."
    assert verified(text, policy="strict").text == (
        "Steps:\n\n1. Open Time Tracker and press Start [1].\n3. The timer runs for 24 hours at most [2]."
    )


def test_what_a_strict_policy_leaves_has_no_gaps() -> None:
    wrong = "Exports are kept for 60 days [1]."
    text = f"{wrong} {wrong}\n\nThe Team plan has 20 seats [2]. {wrong}\n\n{wrong}\n\n{wrong} {wrong}\n\nThe Studio plan has 50 seats [2]. {wrong}"
    found = verified(text, policy="strict")
    assert found.text == "The Team plan has 20 seats [1].\n\nThe Studio plan has 50 seats [2]."
    assert sum(claim.supported is False for claim in found.claims) == 7


def test_a_sentence_of_another_passage_than_its_paragraph_has_its_own_marker() -> None:
    found = verified("1. Exports are kept for 90 days.\n2. The Studio plan has 50 seats [2].")
    assert found.text == "1. Exports are kept for 90 days. [1]\n2. The Studio plan has 50 seats [2]."
    assert [citation.path for citation in found.citations] == ["page-1.md", "page-2.md"]


def test_what_a_strict_policy_leaves_keeps_its_proof() -> None:
    found = verified("Exports are kept for 90 days. They cost 77 ducats each [1].", policy="strict")
    assert found.text == "Exports are kept for 90 days. [1]"
    assert [claim.markers for claim in found.claims] == [(1,), ()]


def test_no_policy_looks_at_no_claim() -> None:
    found = verified("Exports are kept for 60 days [1].", policy="off")
    assert (found.text, found.claims, found.groundedness, found.risk) == (
        "Exports are kept for 60 days [1].",
        (),
        None,
        0.0,
    )


def test_an_unknown_policy_is_an_error_with_the_names_there_are() -> None:
    with pytest.raises(InvalidSetting, match="lenient") as raised:
        QuoteVerifier("lenient")  # type: ignore[arg-type]
    assert "strict" in raised.value.hint


def test_a_citation_of_the_wrong_passage_is_moved() -> None:
    found = verified("The Studio plan has 50 seats [1]. Exports are kept for 90 days [3].")
    assert [citation.path for citation in found.citations] == ["page-2.md", "page-1.md"]
    assert [claim.supported for claim in found.claims] == [True, True]
    assert found.text == "The Studio plan has 50 seats [1]. Exports are kept for 90 days [2]."
    assert any(step.details.get("markers moved") == 2 for step in found.steps)


def test_a_sentence_that_cites_nothing_is_given_what_says_it() -> None:
    found = verified("The Studio plan has 50 seats.\n\nUnicorns graze in the 7 data centres.")
    assert found.text == f"The Studio plan has 50 seats. [1]\n\nUnicorns graze in the 7 data centres. {UNSUPPORTED}"
    assert [citation.quote for citation in found.citations] == [PLANS[28:]]


def test_one_marker_may_stand_for_its_whole_paragraph() -> None:
    found = verified(
        "Exports are kept for 90 days. Members cannot delete an export. [1]\n\nThe Team plan has 20 seats [2]."
    )
    assert [claim.markers for claim in found.claims] == [(1,), (1,), (2,)]
    assert found.groundedness == 1.0


def test_each_statement_is_proved_by_its_own_sentence() -> None:
    found = verified("The Team plan has 20 seats [2]. The Studio plan has 50 seats [2].")
    assert [citation.quote for citation in found.citations] == ["The Team plan has 20 seats.", PLANS[28:]]


@pytest.mark.parametrize(
    "text",
    [
        "The documentation does not say how long invoices are kept.",
        "The passages do not answer this.",
        "The documentation doesn’t cover that.",
        "This is not mentioned in the passages.",
        "There is no information about invoices in the documentation.",
        "The pages do not mention it.",
        "I cannot find that.",
        "Die Dokumentation beantwortet das nicht.",
        "Auf den Seiten wird das nicht erwähnt.",
        "La documentation ne dit rien à ce sujet.",
        "Would you like to know more about it?",
        "Here is how it works:",
        "# Exports and plans",
    ],
)
def test_what_says_nothing_of_the_product_is_no_claim(text: str) -> None:
    found = verified(text)
    assert (found.text, found.claims, found.groundedness) == (text, (), None)


@pytest.mark.parametrize(
    "text",
    [
        "Documents cannot be deleted by an admin [1].",
        "Members cannot delete any documents at all [1].",
        "The page is not shown to an admin [1].",
        "Exports are not covered by a page [1].",
        "Die Seite kann nicht gelöscht werden [1].",
    ],
)
def test_what_denies_something_of_the_product_is_a_claim(text: str) -> None:
    assert len(verified(text).claims) == 1


def test_an_admission_with_a_figure_is_a_claim() -> None:
    assert only("The documentation does not say so, but exports are kept for 400 days.").supported is False


def test_guessing_raises_the_risk_unless_the_source_guesses() -> None:
    plain = verified("Exports are kept for 90 days [1].")
    guessed = verified("Exports are probably kept for 90 days [1].")
    assert guessed.claims[0].problems == ("speculation: probably",)
    assert guessed.claims[0].supported is True
    assert guessed.risk > plain.risk == 0.0
    assert verified("Exports probably take 5 minutes [1].", context_of("Exports probably take 5 minutes.")).risk == 0.0


def test_every_phrase_that_guesses_is_noticed() -> None:
    phrases = (
        "probably|perhaps|presumably|maybe|possibly|most likely|likely|I think|I believe|I assume|I guess|I suppose|I suspect|it seems|it appears"
        "|as far as I know|in my experience|to my knowledge|might be|could be that|I'm not sure|not entirely sure|wahrscheinlich|vermutlich"
        "|vielleicht|möglicherweise|eventuell|ich denke|ich glaube|ich vermute|ich nehme an|es scheint|meines Wissens|probablement|peut-être"
        "|sans doute|je pense|je crois|je suppose|il semble|probablemente|quizás|quizá|tal vez|posiblemente|supongo|creo que|parece que"
        "|provavelmente|talvez|acho que|probabilmente|forse|credo che|sembra che|waarschijnlijk|misschien|ik denk|prawdopodobnie|może"
    )
    for phrase in phrases.split("|"):
        assert claims.guesses(f"So {phrase} it is."), phrase
        assert claims.speculation(f"So {phrase} it is.", ()), phrase


def test_invented_quotations_and_addresses_raise_the_risk() -> None:
    base = "Exports are kept for 90 days [1]."
    assert verified(f'{base} "Nobody ever wrote this sentence" [1]').risk > 0.25
    assert verified(f"{base} See https://other.example/page.").risk > 0.25


@pytest.mark.parametrize(
    "text",
    [
        "Exporte werden 90 Tage aufbewahrt [1]. Mitglieder können sie nicht löschen [1].",
        "Der Tarif Studio hat 50 Plätze und kostet 12 $ im Monat [2].",
        "Ein Timer läuft höchstens vierundzwanzig Stunden, also 24 Stunden, dann hält er an [3].",
        "Les exports sont conservés pendant 90 jours et les membres ne peuvent pas les supprimer [1].",
        "Las exportaciones se conservan durante 90 días y los miembros no pueden borrarlas [1].",
    ],
)
def test_an_answer_in_another_language_is_left_as_it_is(text: str) -> None:
    found = verified(text, language="de")
    assert found.text == re.sub(r"\[\d\]", "[1]", text)
    assert {claim.supported for claim in found.claims} == {None}
    assert {claim.support for claim in found.claims} == {None}
    assert (found.groundedness, found.risk) == (None, 0.0)


def test_a_figure_is_compared_in_any_language() -> None:
    found = verified("Exporte werden 60 Tage aufbewahrt und danach gelöscht [1].", language="de")
    assert [(claim.supported, claim.problems) for claim in found.claims] == [(False, ("number: 60 Tage",))]


def test_german_over_german_is_compared_by_words() -> None:
    page = chunk_of(
        "Ein Export bleibt 90 Tage gespeichert. Mitglieder können ihn nicht löschen, nur Verwalter können das."
    )
    hit = context_of(page)
    assert only("Ein Export bleibt 90 Tage gespeichert [1].", context=hit, language="de").supported is True
    wrong = only("Ein Export bleibt 90 Tage nicht gespeichert [1].", context=hit, language="de")
    assert wrong.problems == ("negation: nicht",)


def test_code_is_no_claim() -> None:
    text = "Run this:\n\n```\nexport --days 9999 --everything-else now\n```"
    assert verified(text).text == text


def test_the_steps_count_what_was_found() -> None:
    found = verified('Exports are kept for 60 days [1]. "Exports are kept for 90 days" [1]. [9]')
    counted = {step.name: dict(step.details) for step in found.steps}
    assert counted["quotations"] == {"verified": 1}
    assert counted["claims"]["unsupported"] == 1
    assert counted["changes"]["markers removed"] == 1
    assert {step.stage for step in found.steps} == {"verify"}


@given(st.lists(st.sampled_from(
    ["Exports are kept for 90 days.", "The moon has 3 seats", " [1]", "[2]", ".", "\n", "\n\n", "- ", "1. ", " ", '"', "never", "`x`", "?", "```", "> "]
), max_size=20), st.sampled_from(["strict", "balanced", "off"]))  # fmt: skip
def test_whatever_is_written_every_claim_has_its_place(pieces: list[str], policy: Policy) -> None:
    found = verified("".join(pieces), policy=policy)
    assert found.risk <= 1
    assert found == verified("".join(pieces), policy=policy)
