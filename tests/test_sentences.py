"""Sentences, steps and words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag import sentences


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences.units(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Open it. Press Save.", ["Open it.", "Press Save."]),
        ("See e.g. the docs. Done!", ["See e.g. the docs.", "Done!"]),
        ("Version 2.0 is out. 3.1 too.", ["Version 2.0 is out.", "3.1 too."]),
        ("1. Open Settings. Press Save.\n2. Wait", ["1. Open Settings.", "Press Save.", "2. Wait"]),
        ("It said “Done.” Then it stopped.", ["It said “Done.”", "Then it stopped."]),
        ("Ask J. Smith about it… or not.", ["Ask J. Smith about it… or not."]),
        ("保存します。次へ！終わり", ["保存します。", "次へ！", "終わり"]),
        ("  \n \nA\n", ["A"]),
        ("", []),
        ("...", ["..."]),
    ],
)
def test_sentences_end_where_they_end(text: str, expected: list[str]) -> None:
    assert cut(text) == expected


@given(st.text(alphabet="aB1.!? \n“”。-", max_size=80))
def test_units_and_lines_hold_every_visible_character_in_order(text: str) -> None:
    for spans in (sentences.units(text), sentences.lines(text)):
        assert "".join("".join(text[start:end].split()) for start, end in spans) == "".join(text.split())
        assert spans == sorted(spans)
        for start, end in spans:
            piece = text[start:end]
            assert piece == piece.strip() != ""
            assert "\n" not in piece


def test_blocks_end_at_blank_lines_and_where_a_list_does() -> None:
    text = "To do it:\n1. Open\n   More on it\n- a point\n2. Close\n and wait\nAfter it\n\n  \n\nA | B\n1 | 2\n\nEnd"
    assert [text[slice(*span)] for span in sentences.blocks(text)] == [
        "To do it:",
        "1. Open\n   More on it\n- a point\n2. Close\n and wait",
        "After it",
        "A | B\n1 | 2",
        "End",
    ]
    assert sentences.blocks(" \n\n ") == []


def test_words_are_folded_and_scripts_without_spaces_are_paired() -> None:
    assert sentences.words("Straße ÉTÉ") == ["strasse", "ete"]
    assert sentences.words("user's") == ["user"]
    assert sentences.words("設定方法 本") == ["設定", "定方", "方法", "本"]
    assert sentences.word_count("two words 設定方") == 4


def test_informative_words_are_those_that_say_something() -> None:
    assert sentences.informative("How do I export the invoices?") == ["export", "invoices"]
    assert sentences.informative("Wie kann ich das für mich exportieren?") == ["exportieren"]
    assert sentences.informative("what is it") == ["what", "is", "it"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("export", "exporting", True),
        ("invoice", "invoices", True),
        ("delete", "deleting", True),
        ("policy", "policies", True),
        ("form", "reform", False),
        ("time", "times", True),
        ("cat", "cats", False),
        ("port", "report", False),
        ("abcd1", "abcd2", False),
        ("international", "internal", False),
        ("customise", "customize", True),
        ("analysing", "analyze", True),
        ("organise", "organizing", True),
        ("lasers", "lazers", False),
        ("sips", "zips", False),
    ],
)
def test_forms_of_one_word_are_alike(one: str, other: str, same: bool) -> None:
    assert sentences.alike(one, other) is sentences.alike(other, one) is same


def test_rare_words_weigh_more() -> None:
    overlap = sentences.Overlap("export the invoice", ["export it", "export them", "export an invoice", "none"])
    assert overlap.weights["invoice"] > overlap.weights["export"]
    shares = [overlap.share(found) for found in overlap.found]
    assert shares[0] == shares[1] < shares[2]
    assert shares[3] == 0
    assert overlap.share(overlap.found[2]) == pytest.approx(1)
    assert overlap.share([]) == 0
    assert sentences.Overlap("", []).share([]) == 0
