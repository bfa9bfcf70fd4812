"""The question sets of ``examples/help-center`` are well formed, their labels exist, and no question is asked twice."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from clockify_rag._core import parse
from clockify_rag.contracts import MAXIMUM_QUESTION_CHARACTERS

FOLDER = Path(__file__).parent.parent / "examples" / "help-center"
SETS = ("questions", "development", "adversarial", "multilingual")
KINDS = {"near-miss", "other-product", "off-topic"}
ATTACKS = {
    "injection",
    "negation",
    "false-premise",
    "swapped-numbers",
    "homonym",
    "long-ticket",
    "one-word",
    "misspelling",
    "exact-code",
    "near-code",
    "mixed-case",
    "look-alike",
    "decoy",
    "glossary",
    "keyword-stuffing",
    "contradiction",
    "date",
    "release-notes",
    "hub-bait",
    "out-of-scope",
}


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of a question set."""

    question: str
    relevant: list[str]
    answerable: bool
    facts: list[str]
    difficulty: Literal["easy", "medium", "hard"]
    tags: list[str]
    language: str


def _read(name: str) -> list[Question]:
    lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    return [msgspec.json.decode(line, type=Question) for line in lines]


QUESTIONS = {name: _read(name) for name in SETS}


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """The text of each page by its path, and of each section, with the sections within, by ``path#anchor``."""
    found = {}
    for path in sorted((FOLDER / "docs").rglob("*.*")):
        name = path.relative_to(FOLDER / "docs").as_posix()
        (page,) = parse("html" if path.suffix == ".html" else "markdown", [path.read_bytes()], "github")
        assert not isinstance(page, Exception), page
        found[name] = page.text
        headings = [block for block in page.blocks if block.kind == "heading"]
        for place, heading in enumerate(headings):
            later = (other.span[0] for other in headings[place + 1 :] if other.level <= heading.level)
            if heading.anchor is not None:
                found[f"{name}#{heading.anchor}"] = page.text[heading.span[0] : next(later, len(page.text))]
    return found


def _says(text: str, fact: str) -> bool:
    return re.search(fact.removeprefix("re:"), text) is not None if fact.startswith("re:") else fact in text


@pytest.mark.parametrize("name", SETS)
def test_every_question_is_well_formed(name: str) -> None:
    for question in QUESTIONS[name]:
        text = question.question
        assert text.strip() == text, text
        assert 0 < len(text) <= MAXIMUM_QUESTION_CHARACTERS, text
        assert re.fullmatch(r"[a-z]{2}", question.language), text
        assert question.tags, text
        for values in (question.relevant, question.facts, question.tags):
            assert len(set(values)) == len(values), text
            assert all(value.strip() == value != "" for value in values), text
        assert bool(question.facts) <= question.answerable <= bool(question.relevant), text


@pytest.mark.parametrize("name", SETS)
def test_every_label_is_a_page_or_a_section(name: str, texts: dict[str, str]) -> None:
    unknown = [(q.question, label) for q in QUESTIONS[name] for label in q.relevant if label not in texts]
    assert unknown == []


@pytest.mark.parametrize("name", SETS[1:])
def test_every_fact_stands_in_a_labelled_section(name: str, texts: dict[str, str]) -> None:
    missing = [
        (q.question, fact)
        for q in QUESTIONS[name]
        for fact in q.facts
        if not any(_says(texts[label], fact) for label in q.relevant)
    ]
    assert missing == []


@pytest.mark.parametrize("name", SETS[1:])
def test_every_question_has_facts_or_is_unanswerable_in_one_way(name: str) -> None:
    for question in QUESTIONS[name]:
        kinds = KINDS & set(question.tags)
        if question.answerable:
            assert question.facts, question.question
            assert not kinds, question.question
        else:
            assert len(kinds) == 1, question.question
            assert bool(question.relevant) == ("near-miss" in kinds), question.question


@pytest.mark.parametrize("name", SETS)
def test_the_readme_counts_right(name: str) -> None:
    answerable = sum(question.answerable for question in QUESTIONS[name])
    row = f"| `{name}.jsonl` | {answerable} | {len(QUESTIONS[name]) - answerable} |"
    assert row in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_no_question_is_asked_twice() -> None:
    def words(text: str) -> str:
        return " ".join(re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold()))

    asked: dict[str, list[tuple[str, str]]] = {}
    for name, questions in QUESTIONS.items():
        for question in questions:
            asked.setdefault(words(question.question), []).append((name, question.question))
    assert [places for places in asked.values() if len(places) > 1] == []


def _tags(name: str, *, answerable: bool) -> Counter[str]:
    return Counter(tag for q in QUESTIONS[name] if q.answerable is answerable for tag in q.tags)


def test_the_development_set_has_enough_of_each_kind() -> None:
    unanswerable = _tags("development", answerable=False)
    assert sum(q.answerable for q in QUESTIONS["development"]) >= 120
    assert sum(not q.answerable for q in QUESTIONS["development"]) >= 80
    assert unanswerable["near-miss"] >= 50
    assert unanswerable["other-product"] >= 12
    assert unanswerable["off-topic"] >= 12
    pages = {label.partition("#")[0].partition("/")[0] for q in QUESTIONS["development"] for label in q.relevant}
    areas = {folder.name for folder in (FOLDER / "docs").iterdir() if folder.is_dir()} - {"de"}
    assert areas <= pages


def test_the_adversarial_set_has_every_attack() -> None:
    questions = QUESTIONS["adversarial"]
    assert len(questions) >= 60
    attacks = Counter(tag for q in questions for tag in q.tags if tag in ATTACKS)
    assert {attack for attack in ATTACKS if attacks[attack] < 3} == set()
    assert [q.question for q in questions if not ATTACKS & set(q.tags)] == []
    assert {q.answerable for q in questions} == {True, False}


def test_the_multilingual_set_has_every_language() -> None:
    questions = QUESTIONS["multilingual"]
    assert len(questions) >= 60
    languages = Counter(q.language for q in questions)
    assert {language for language in ("de", "fr", "es", "it", "pt", "nl", "pl") if languages[language] < 8} == set()
    assert {"ja", "zh", "ru", "ar"} <= set(languages)
    for question in questions:
        german = any(label.startswith("de/") for label in question.relevant)
        assert ("same-language" in question.tags) == german, question.question
        assert ("cross-lingual" in question.tags) == (question.answerable and not german), question.question
    assert _tags("multilingual", answerable=False)["near-miss"] >= 5
