"""Answers in the documentation's own words."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag import passages, sentences
from clockify_rag.contracts import Generator, Query
from clockify_rag.errors import InvalidSetting
from clockify_rag.generation import ExtractiveGenerator
from clockify_rag.passages import Passage
from clockify_rag.verification import QuoteVerifier
from passages import ask, chunk_of, context_of

STEPS = (
    "You can export invoices when they are approved.\nTo export invoices:\n1. Open Invoices.\n2. Choose a month. Wait.\n"
    "3. Press Export.\nThe file is made in a minute."
)


def test_a_how_to_gets_its_whole_list_of_steps() -> None:
    draft = ExtractiveGenerator().generate(ask("How do I export invoices?"), context_of("Other text.", STEPS))
    assert draft.text == STEPS.partition("\n")[2] + " [2]"
    assert [STEPS[start:end] + " [2]" for _, (start, end) in draft.quotes] == [draft.text]


@pytest.mark.parametrize("question", ["When are invoices approved to export?", "Is the file made in a minute?"])
def test_a_question_of_fact_gets_sentences(question: str) -> None:
    draft = ExtractiveGenerator().generate(ask(question), context_of(STEPS))
    assert "1. Open Invoices. [1]" not in draft.text.splitlines()[0]


def test_a_step_that_answers_brings_its_list() -> None:
    query, context = ask("Which month is chosen?"), context_of(STEPS)
    draft = ExtractiveGenerator().generate(query, context)
    assert [line[:2] for line in draft.text.splitlines()] == ["To", "1.", "2.", "3."]
    draft = ExtractiveGenerator(8, 8).generate(query, context)
    assert draft.text == "You can export invoices when they are approved. [1]"


def test_a_list_that_has_nothing_to_do_with_it_is_not_taken() -> None:
    draft = ExtractiveGenerator().generate(
        ask("How do I delete my account?"), context_of("Delete an account here.", STEPS)
    )
    assert draft.text == "Delete an account here. [1]"


def test_a_long_list_gives_its_first_whole_steps() -> None:
    steps = "\n".join(f"{number}. Export part {number} of it." for number in range(1, 60))
    draft = ExtractiveGenerator(maximum_step_words=20).generate(ask("how to export"), context_of(steps))
    assert draft.text == "1. Export part 1 of it.\n2. Export part 2 of it.\n3. Export part 3 of it. [1]"


def test_passages_are_whole_and_neighbours_are_one() -> None:
    text = (
        "Invoices are nice.\n\nA report has a limit. See below.\n\nThe limit of a report is 90 days.\n\nNothing else."
    )
    draft = ExtractiveGenerator().generate(ask("What is the limit of a report?"), context_of(text))
    assert draft.text == "A report has a limit. See below.\n\nThe limit of a report is 90 days. [1]"
    assert len(draft.quotes) == 1


def test_passages_apart_have_a_marker_each_and_the_best_is_first() -> None:
    context = context_of("Reports have a colour.\n\nNo.", "Weekly reports have a limit.", "Other.")
    draft = ExtractiveGenerator().generate(ask("limit and colour of weekly reports"), context)
    assert draft.text == "Weekly reports have a limit. [2]\n\nReports have a colour. [1]"


def test_a_lead_keeps_its_list_and_a_label_its_text() -> None:
    text = "Intro.\n\nThese formats are known:\n\n- PDF\n- CSV\n\nWarning\n\nFormats differ in colour."
    draft = ExtractiveGenerator().generate(ask("Which formats are known?"), context_of(text))
    assert draft.text.startswith("These formats are known:\n\n- PDF\n- CSV")
    draft = ExtractiveGenerator().generate(ask("What about colour?"), context_of(text))
    assert draft.text == "Warning\n\nFormats differ in colour. [1]"


def test_a_list_that_text_interrupts_is_whole() -> None:
    text = "1. Open the page.\n2. Press Start.\n\nA window opens.\n\n3. Press Stop.\n\nDone"
    draft = ExtractiveGenerator().generate(ask("how to press stop"), context_of(text))
    assert draft.text == "1. Open the page.\n2. Press Start.\n\nA window opens.\n\n3. Press Stop. [1]"


def test_code_is_not_torn_apart() -> None:
    code = "Install it so:\n\npip install thing\n\nthing --now"
    draft = ExtractiveGenerator().generate(ask("install the thing"), context_of(chunk_of(code, kind="code")))
    assert draft.text == f"{code} [1]"
    long = chunk_of("thing = 1\n" * 300, kind="code")
    assert ExtractiveGenerator().generate(ask("thing"), context_of(long, "A thing.")).text == "A thing. [2]"


def test_of_a_long_list_that_nothing_announces_the_item_is_taken() -> None:
    filler = "\n".join(f"- Colour {number} is odd in every way." for number in range(12))
    text = f"- Exports are slow.\n- Sync has a delay.\n{filler}"
    draft = ExtractiveGenerator().generate(ask("delay of sync"), context_of(text))
    assert draft.text == "Sync has a delay. [1]"
    context = context_of(chunk_of(text, heading_path=("Sync delay",)))
    assert ExtractiveGenerator().generate(ask("delay of sync"), context).text == f"{text} [1]"


def test_a_short_list_is_never_cut_and_keeps_the_paragraph_before_it() -> None:
    text = "- Exports are slow.\n- Sync has a delay.\n- Colours are odd."
    assert ExtractiveGenerator().generate(ask("delay of sync"), context_of(text)).text == f"{text} [1]"
    text = "A locked account stays so for 30 minutes.\n\n- Wait, or\n- reset the password."
    assert ExtractiveGenerator().generate(ask("reset the password"), context_of(text)).text == f"{text} [1]"


def test_steps_do_not_bring_the_paragraph_that_they_follow() -> None:
    text = "Exports are kept for a week.\n\n1. Open Invoices.\n2. Press Export."
    draft = ExtractiveGenerator().generate(ask("how do I export invoices?"), context_of(text))
    assert draft.text == "1. Open Invoices.\n2. Press Export. [1]"


def test_an_item_is_named_and_never_begun_in_its_middle() -> None:
    text = "- speed (integer)\n  Sets how fast it is. " + "Filler of many words here. " * 40 + "\n- other"
    draft = ExtractiveGenerator().generate(ask("what is speed"), context_of(chunk_of(text, kind="list")))
    assert draft.text.startswith("speed (integer)\n  Sets how fast it is.")


@pytest.mark.parametrize("other", ["For more about cats, check out the guide to fish.", "Cats, fish and more"])
def test_a_name_and_what_only_points_elsewhere_are_not_quoted_beside_an_answer(other: str) -> None:
    draft = ExtractiveGenerator().generate(ask("What food do felines eat?"), context_of(PETS[1], other))
    assert draft.text == f"{PETS[1]} [1]"


def test_what_points_at_what_is_not_quoted_is_not_quoted_beside_an_answer() -> None:
    limit, pointing = "Weekly reports have a limit of 90 days.", "They cannot reach back a year."
    question = ask("How long may a report of a week reach back?")
    draft = ExtractiveGenerator().generate(question, context_of(limit, pointing))
    assert draft.text == f"{limit} [1]"
    draft = ExtractiveGenerator().generate(question, context_of(f"{limit}\n\n{pointing}"))
    assert draft.text == f"{limit}\n\n{pointing} [1]"


def test_short_steps_bring_what_happens_then() -> None:
    steps = "To delete an account:\n\n1. Open the profile.\n2. Choose the account."
    then = "You are led to the account's page, where it is deleted."
    draft = ExtractiveGenerator().generate(
        ask("How do I delete an account?"), context_of(f"{steps}\n\n{then}\n\nOther.")
    )
    assert draft.text == f"{steps}\n\n{then} [1]"
    for other in ("Warning", "For more about accounts, see the guide.", "A long paragraph. " * 30):
        context = context_of(f"{steps}\n\n{other.strip()}")
        assert ExtractiveGenerator().generate(ask("How do I delete an account?"), context).text == f"{steps} [1]"


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("See Accounting.", True),
        ("Weitere Informationen finden Sie unter Abrechnung.", True),
        ("Pour en savoir plus, voir la page Factures.", True),
        ("User roles can be found here:\n\n- Team\n- Studio", True),
        ("See the fee in the list. It counts per month.", False),
        ("Sieve the list.", False),
        ("The list of fees has what you see.", False),
    ],
)
def test_what_points_elsewhere_is_told(text: str, points: bool) -> None:
    passage = Passage(0, 0, len(text), text, (0, len(text)), len(text.split()))
    assert passages.points_away(passage) is points


def test_what_points_elsewhere_is_a_weak_answer() -> None:
    context = context_of(
        "The limits of weekly reports can be found here:\n\n- Team\n- Studio", "Weekly reports have a limit."
    )
    draft = ExtractiveGenerator().generate(ask("limits of weekly reports"), context)
    assert draft.text.startswith("Weekly reports have a limit.")


def test_only_one_list_of_steps_may_take_the_room_of_one() -> None:
    steps = "To {} a report:\n\n1. Open {}.\n2. Take {}.\n3. Press {}.\n4. Leave {}."
    lists = [
        steps.format("make", "Invoices", "some", "Start", "Money"),
        steps.format("send", "People", "all", "Go", "Home"),
    ]
    question = ask("where do weekly reports come from and go")
    assert len(ExtractiveGenerator(60, 60).generate(question, context_of(*lists)).quotes) == 2
    assert len(ExtractiveGenerator(30, 60).generate(question, context_of(*lists)).quotes) == 1


def test_of_words_that_ask_nothing_steps_must_say_half() -> None:
    steps = "To remove the bridge:\n\n1. Open Settings.\n2. Press Remove."
    context = context_of(steps, "A bridge brings issues over from a tracker.")
    draft = ExtractiveGenerator().generate(ask("bridge tracker"), context)
    assert draft.text.startswith("A bridge brings issues over")
    draft = ExtractiveGenerator().generate(ask("remove bridge"), context)
    assert draft.text == f"{steps} [1]"


def test_what_points_back_brings_what_it_points_at() -> None:
    text = "Notes can be pinned.\n\nThis needs the Team plan and an admin."
    draft = ExtractiveGenerator().generate(ask("which plan needs an admin"), context_of(text))
    assert draft.text == f"{text} [1]"


def test_the_page_that_is_called_so_says_what_it_is() -> None:
    named = chunk_of("Small pauses are noticed for you.", heading_path=("Idle detection",))
    context = context_of(named, "Idle detection cannot be moved by some hands.")
    draft = ExtractiveGenerator().generate(ask("What is idle detection?"), context)
    assert draft.text.startswith("Small pauses are noticed for you. [1]")


def test_without_a_common_word_the_best_chunk_begins() -> None:
    draft = ExtractiveGenerator().generate(ask("Wozu dient dieses Ding?"), context_of("First. Second.", "Third."))
    assert draft.text == "First. Second. [1]"


FOOD = "Cats eat fish."
PETS = ("Dogs like to run in the park.", "Kittens want tuna every day.", "The invoice has a due date.")


def test_meaning_decides_where_words_do_not() -> None:
    draft = ExtractiveGenerator().generate(ask("What food do felines eat?"), context_of(*PETS))
    assert draft.quotes[0][0] == 1
    # The table knows English only: elsewhere the best chunk begins.
    draft = ExtractiveGenerator().generate(ask("Was fressen Katzen?", "de"), context_of(*PETS))
    assert draft.text == f"{PETS[0]} [1]"


def test_beside_what_may_be_wrong_other_pages_are_quoted() -> None:
    draft = ExtractiveGenerator().generate(ask("What food do felines eat?"), context_of(*PETS))
    assert len(draft.quotes) > 1
    draft = ExtractiveGenerator().generate(ask("Do cats eat fish?"), context_of(FOOD, *PETS))
    assert draft.text == f"{FOOD} [1]"


def test_what_is_sure_takes_two_thirds_of_the_room() -> None:
    pages = [f"Cats eat fish on {day}." for day in ("Monday", "Tuesday", "Wednesday", "Thursday")]
    counts = {}
    for question in ("Do cats eat fish?", "Which food is good for felines at the weekend?"):
        draft = ExtractiveGenerator(12).generate(ask(question), context_of(*pages))
        counts[question] = sum(sentences.word_count(line.rpartition(" [")[0]) for line in draft.text.split("\n\n"))
    assert list(counts.values()) == [5, 10]


def test_what_says_the_same_is_quoted_once() -> None:
    once, again = "Weekly reports have a limit of 90 days.", "The weekly reports have a limit of 90 days!"
    draft = ExtractiveGenerator().generate(ask("Why is something not allowed in months?"), context_of(once, again))
    assert len(draft.quotes) == 1


LOCKS = "A lock keeps entries as they are."
LOCKING = "To lock entries:\n\n1. Open Settings.\n2. Switch Lock entries on."
RECEIPTS = "Receipts are kept for ten years in the archive."


def asked_apart(*parts: str) -> Query:
    return msgspec.structs.replace(ask(" And ".join(parts)), parts=parts)


def test_a_question_that_was_taken_apart_is_answered_part_by_part() -> None:
    query = asked_apart("How long are receipts kept?", "How do I lock entries?")
    context = context_of(LOCKING, RECEIPTS)
    draft = ExtractiveGenerator().generate(query, context)
    assert draft.text == f"{query.parts[0]}\n\n{RECEIPTS} [2]\n\n{query.parts[1]}\n\n{LOCKING} [1]"
    assert draft.headings == ((0, query.parts[0]), (1, query.parts[1]))
    verified = QuoteVerifier().verify(query, context, draft)
    assert [citation.quote for citation in verified.citations] == [RECEIPTS, LOCKING]
    assert verified.groundedness == 1
    assert [verified.text[slice(*claim.span)] for claim in verified.claims if claim.span] == [RECEIPTS, LOCKING]


def test_what_answers_two_parts_is_quoted_once_and_what_nothing_answers_is_named() -> None:
    query = asked_apart("What is a lock?", "What does a lock keep?", "Wie spät ist es?")
    draft = ExtractiveGenerator().generate(msgspec.structs.replace(query, language="de"), context_of(LOCKS, RECEIPTS))
    assert draft.text == f"What is a lock?\n\nWhat does a lock keep?\n\n{LOCKS} [1]"
    assert draft.unanswered == ("Wie spät ist es?",)
    nothing = msgspec.structs.replace(query, parts=query.parts[2:], language="de")
    draft = ExtractiveGenerator().generate(nothing, context_of(LOCKS))
    assert (draft.text, draft.quotes, draft.unanswered) == ("", (), ())


@given(
    st.lists(st.sampled_from(["a lock", "receipts", "to lock entries", "b?", "文"]), min_size=2, max_size=3),
    st.integers(4, 40),
)
def test_parts_share_the_words_of_an_answer(parts: list[str], words: int) -> None:
    context = context_of(LOCKS, LOCKING, RECEIPTS)
    query = asked_apart(*parts)
    draft = ExtractiveGenerator(words, words).generate(query, context)
    quoted = [context.texts[place][slice(*span)] for place, span in draft.quotes]
    assert sum(map(sentences.word_count, quoted)) <= words
    assert len(set(draft.quotes)) == len(draft.quotes)
    assert {heading for _, heading in draft.headings} | set(draft.unanswered) == (set(parts) if quoted else set())
    if quoted:
        assert QuoteVerifier().verify(query, context, draft).groundedness == 1


def test_headings_links_and_repeats_are_no_answer() -> None:
    context = context_of(
        chunk_of("Export\nExport makes a file.", heading_path=("Export",)),
        chunk_of("Export makes a file.\n***"),
        chunk_of("Export link", kind="hub"),
        titles=["Export"],
    )
    assert ExtractiveGenerator().generate(ask("export"), context).text == "Export makes a file. [1]"
    hubs = context_of(chunk_of("Export link", kind="hub"))
    assert ExtractiveGenerator().generate(ask("export"), hubs).text == ""
    assert list(ExtractiveGenerator().stream(ask("export"), hubs)) == []
    assert isinstance(ExtractiveGenerator(), Generator)


TEXTS = st.lists(st.text(alphabet="ab. \n1-:?é文[]", min_size=1, max_size=80), min_size=1, max_size=4)


@given(TEXTS, st.sampled_from(["how to ab", "what is ba", "a", "文é", ""]), st.integers(1, 15))
def test_extracts_are_verbatim_and_short(texts: list[str], question: str, words: int) -> None:
    context = context_of(*texts)
    draft = ExtractiveGenerator(words, words).generate(ask(question), context)
    lines = []
    for place, (start, end) in draft.quotes:
        quote = texts[place][start:end]
        lines.append(f"{quote} [{place + 1}]")
        assert quote == quote.strip() != ""
    assert draft.text == "\n\n".join(lines)
    assert sum(sentences.word_count(texts[place][slice(*span)]) for place, span in draft.quotes) <= words
    assert "".join(ExtractiveGenerator(words, words).stream(ask(question), context)) == draft.text


def test_spans_are_of_the_document_and_not_of_the_chunk() -> None:
    text = "Name | Limit\nskip\nReport | 90 days"
    chunk = chunk_of(text, [(0, 12), (18, len(text))], kind="table")
    draft = ExtractiveGenerator().generate(ask("report days"), context_of(chunk))
    assert draft.quotes == ((0, (18, len(text))),)


def test_impossible_numbers_are_refused() -> None:
    with pytest.raises(InvalidSetting):
        ExtractiveGenerator(0)
