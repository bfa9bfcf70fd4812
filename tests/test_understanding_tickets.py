"""Tickets: what is taken away, what stays, and that nothing takes long."""

from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag.contracts import MAXIMUM_QUESTION_CHARACTERS
from clockify_rag.errors import EmptyQuery, QueryTooLong
from clockify_rag.understanding.steps import StepsUnderstander
from clockify_rag.understanding.tickets import cleaned, condensed

MAIL = """From: A Customer <someone@customer.example>
To: help@product.example
Date: Mon, 3 Nov 2025 09:12:44 +0100
Subject: Re: [#88213] timesheet can't be submitted
X-Mailer: Something
  that goes on

Hi Support Team,

I hope this email finds you well.

Two of our people cannot submit last week. Which role do they need?

Thanks in advance!

Kind regards,
The Customer
Head of Operations

This e-mail is confidential. If you are not the intended recipient, please delete it.

On Fri, Oct 31, 2025 at 4:02 PM Support <help@product.example> wrote:
> Have you tried another browser?
"""

ENCODED = base64.encodebytes(random.Random(7).randbytes(2000)).decode()


def asked(text: str) -> str:
    return " ".join(cleaned(text).text.split())


def test_a_mail_becomes_what_it_asks() -> None:
    ticket = cleaned(MAIL)
    assert asked(MAIL) == (
        "timesheet can't be submitted Two of our people cannot submit last week. Which role do they need?"
    )
    assert set(ticket.removed) == {"headers", "quoted", "disclaimers", "signature", "greeting", "pleasantries"}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("hello, how do I lock entries?", "how do I lock entries?"),
        ("Hi how do I export?", "how do I export?"),
        ("Dear support, the kiosk is offline. What now? Kind regards", "the kiosk is offline. What now?"),
        ("Dear Support Team,\nthe kiosk is offline", "the kiosk is offline"),
        (
            "Guten Tag,\n\nwie exportiere ich einen Bericht?\n\nMit freundlichen Grüßen\nDie Kundin",
            "wie exportiere ich einen Bericht?",
        ),
        ("Bonjour,\ncomment exporter ?\nCordialement,\nLa cliente", "comment exporter ?"),
        ("Why is it red?\n-- \nSomebody\nSome company", "Why is it red?"),
        ("Why is it red?\nThanks,\nSomebody\n\nPS: and why is it big?", "Why is it red? and why is it big?"),
        ("Why is it red?\n\nSent from my phone", "Why is it red?"),
        ("Where is it?\n\n-----Original Message-----\nFrom: x\nHere.", "Where is it?"),
        (f"See my file\n\n{ENCODED}\nWhy is the sum wrong?", "See my file Why is the sum wrong?"),
        ("image data:image/png;base64," + "iVBORw0KGgo" * 20 + " is broken", "image is broken"),
    ],
)
def test_what_stands_around_a_question_goes(text: str, left: str) -> None:
    assert asked(text) == left


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Hi unable to log in\nWindows 10\nThanks, Bob", "unable to log in Windows 10"),
        ("Hi my export fails. See below\nPlan Pro", "my export fails. See below Plan Pro"),
        ("Hello, the export fails. It is empty\nPlan Pro", "the export fails. It is empty Plan Pro"),
        ("Hello export is missing\nPlan Pro", "Hello export is missing Plan Pro"),
        ("Beste manier om uren te exporteren\nIk gebruik Pro", "Beste manier om uren te exporteren Ik gebruik Pro"),
        (
            "Hello team\n\nHow do I make this message confidential?\n\nWe use Pro",
            "How do I make this message confidential? We use Pro",
        ),
        ("We have many reports\n--\nHow do I export them?", "We have many reports -- How do I export them?"),
        ("We use Pro.\nThanks.\nHow do I export?", "We use Pro. How do I export?"),
        ("We use Pro. Any help with invoices in PDF. Thanks", "We use Pro. Any help with invoices in PDF."),
        ("We use Pro. I would appreciate a way to export", "We use Pro. I would appreciate a way to export"),
        ("Thanks for nothing, the total is wrong. We use Pro", "Thanks for nothing, the total is wrong. We use Pro"),
        (
            "We use Pro. Looking forward to reading how to export. Thanks",
            "We use Pro. Looking forward to reading how to export.",
        ),
    ],
)
def test_what_asks_is_no_greeting_no_farewell_and_no_disclaimer(text: str, left: str) -> None:
    assert asked(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "How do I export invoices to a CSV file?",
        "Best way to track time offline",
        "best regards template for invoices",
        "From: and To: filters in the report",
        "how to set a date: range",
        "Thanks to rounding the total is off by 5 minutes, why?",
        "what is 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "Hello",
        "Thanks!",
        "dear support team",
        "hi-fi headset",
        "Is it possible to quote > 5 lines?",
    ],
)
def test_a_question_is_no_ticket(text: str) -> None:
    assert asked(text) == text


def test_a_mail_that_is_only_quoted_is_read() -> None:
    assert asked("> How do I export?\n> It is urgent.") == "How do I export? It is urgent."


def test_the_length_counts_when_the_ticket_is_clean() -> None:
    understander = StepsUnderstander()
    long = "Hello,\n\nHow do I lock entries?\n\nBest regards\nMe\n\n" + "> quoted line of an earlier mail\n" * 500
    query = understander.understand(long)
    assert (query.text, query.question) == ("How do I lock entries?", long)
    (step,) = [step for step in query.steps if step.name == "ticket"]
    assert step.details["characters"] == [len(long.strip()), len(query.text)]
    assert step.details["removed"]["quoted"] == 500


def test_a_long_story_is_shortened_to_what_it_asks() -> None:
    story = "It was a quiet day at the office. " * 100 + "How do I lock entries? " + "The sun was shining. " * 50
    query = StepsUnderstander().understand(story)
    assert "How do I lock entries?" in query.text
    assert len(query.text) <= MAXIMUM_QUESTION_CHARACTERS
    assert [step.name for step in query.steps][:1] == ["condense"]


def test_what_has_no_sentence_that_fits_is_too_long() -> None:
    with pytest.raises(QueryTooLong):
        StepsUnderstander().understand("x" * 5000)
    assert condensed("x" * 50, 10) == ""
    with pytest.raises(QueryTooLong):
        StepsUnderstander(tickets=False).understand("Why? " * 500)


def test_a_ticket_of_nothing_is_empty() -> None:
    with pytest.raises(EmptyQuery):
        StepsUnderstander().understand("\n>\n--\n")


@pytest.mark.parametrize(
    "text",
    [
        "a",
        " ",
        ">",
        "-",
        "on ",
        "hi ",
        "\n",
        "thanks ",
        "A1",
        "thank you ",
        "Subject: ",
        "from: @ ",
        "\n \n",
        "this email ",
        "ps ",
        "A1b/" * 20 + "\n",
    ],
)
def test_a_megabyte_of_one_thing_is_soon_done(text: str) -> None:
    cleaned(text * (1_000_000 // len(text)))


@given(st.text(st.sampled_from("Hi,\n >-.?:abThanks@=1 Subject"), max_size=300))
def test_what_is_left_was_there_and_is_never_nothing(text: str) -> None:
    left = cleaned(text).text
    letters = [character for character in text if character.isalnum()]
    position = 0
    for character in filter(str.isalnum, left):
        position = letters.index(character, position) + 1
    assert any(map(str.isalnum, left)) == any(map(str.isalnum, text))
