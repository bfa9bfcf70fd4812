"""The glossary: what is read, what is found in a question, and what is searched for besides."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag import _core, sentences
from clockify_rag.config import load
from clockify_rag.contracts import Answer, Expansion, Query
from clockify_rag.errors import ConfigError, GlossaryInvalid, InvalidSetting
from clockify_rag.understanding.glossary import MAXIMUM_VARIANTS, Entry, Glossary, read_glossary, with_terms
from clockify_rag.understanding.steps import StepsUnderstander
from clockify_rag.understanding.suggesting import suggest
from pipelines import pipeline_of

GLOSSARY = Glossary(
    [
        Entry("Time off", ("PTO", "paid leave"), "Days without work."),
        Entry("Timesheet", ("time card",)),
        Entry("API key", ("access token",)),
        Entry("Billable rate"),
        Entry("Rate", ("price",)),
        Entry("Policy", ("rule",)),
    ]
)


def found(question: str) -> list[str]:
    return [match.entry.term for match in GLOSSARY.matches(question)]


def added(question: str) -> list[str]:
    return [one.text for one in GLOSSARY.expansions(question, "en", 0.2)]


@pytest.mark.parametrize(
    ("question", "terms"),
    [
        ("How do I request time off?", ["Time off"]),
        ("How do I request TIME-OFF?", ["Time off"]),
        ("timeoff policies", ["Time off", "Policy"]),
        ("my time sheets are gone", ["Timesheet"]),
        ("two API-keys", ["API key"]),
        ("billable rates", ["Billable rate"]),
        ("the rate", ["Rate"]),
        ("the corporate separate ratel", []),
        ("PTOs and pto", ["Time off", "Time off"]),
        ("cryptography", []),
        ("a time card off", ["Timesheet"]),
        ("", []),
    ],
)
def test_terms_are_found_as_whole_words_the_longest_first(question: str, terms: list[str]) -> None:
    assert found(question) == terms


def test_a_short_word_is_not_found_apart() -> None:
    assert not Glossary([Entry("Adin", ("x",))]).matches("ad in")
    assert Glossary([Entry("Login", ("x",))]).matches("log in")


def test_an_alias_adds_the_term_and_a_term_its_other_spelling() -> None:
    assert added("How do I get PTO?") == ["Time off"]
    assert added("paid leave") == ["Time off", "paidleave"]
    assert added("timeoff") == ["Time off"]
    assert added("time off") == ["timeoff"]
    assert added("a time card and the rule") == ["Timesheet", "timecard", "Policy"]
    assert added("policy") == []
    assert added("nothing of it") == []
    assert GLOSSARY.expansions("PTO", "en", 0.0) == ()


def test_there_are_at_most_five() -> None:
    many = Glossary([Entry(f"kiosk{letter}", ("kiosk",)) for letter in "abcdefghij"])
    expansions = many.expansions("kiosk", "en", 0.1)
    assert len(expansions) == MAXIMUM_VARIANTS
    assert expansions[0] == Expansion("kioska", 0.1, "kiosk")


WORDS = st.lists(
    st.sampled_from(["time", "off", "card", "rate", "api", "key", "sheet", "x"]), min_size=1, max_size=3
).map(" ".join)


@given(st.lists(st.tuples(WORDS, st.lists(WORDS, max_size=3)), max_size=6), st.lists(WORDS, max_size=4).map(" ".join))
def test_a_match_is_a_run_of_the_questions_words_and_every_term_that_stands_there_is_covered(
    terms: list[tuple[str, list[str]]], question: str
) -> None:
    glossary = Glossary(Entry(term, tuple(aliases)) for term, aliases in terms)
    asked = f" {' '.join(sentences.words(question))} "
    matches = glossary.matches(question)
    assert all(f" {' '.join(match.words)} " in asked for match in matches)
    if any(f" {form} " in asked for term, aliases in terms for form in (term, *aliases)):
        assert matches
    known = set(_core.question_terms(question, "en")) if question else set()
    for expansion in glossary.expansions(question, "en", 0.2) if question else ():
        assert set(_core.question_terms(expansion.text, "en")) - known


MARKDOWN = """# Glossary

Some words.

## A

#### Accrual
How an allowance grows.

#### PTO (paid time off; leave)
Days without work.

## B

#### Break

Aliases: pause, rest.

A pause at work.

## C
"""


def written(folder: Path, name: str, text: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_markdown_has_a_heading_for_each_term(tmp_path: Path) -> None:
    entries = read_glossary(written(tmp_path, "g.md", MARKDOWN)).entries
    assert [(entry.term, entry.aliases) for entry in entries] == [
        ("Accrual", ()),
        ("PTO", ("paid time off", "leave")),
        ("Break", ("pause", "rest")),
    ]
    assert entries[1].definition == "Days without work."
    assert entries[2].definition.strip() == "A pause at work."


def test_csv(tmp_path: Path) -> None:
    text = '\ufeffterm,aliases,definition\r\nPTO,"paid time off; leave | rest","Days, ""free"""\r\n\r\nBreak,,\r\npto,vacation,\r\n'
    entries = read_glossary(written(tmp_path, "g.CSV", text)).entries
    assert entries == (
        Entry("PTO", ("paid time off", "leave", "rest", "vacation"), 'Days, "free"'),
        Entry("Break", (), ""),
    )


@pytest.mark.parametrize(
    ("name", "text", "says", "line"),
    [
        ("g.csv", "term,aliases\nPTO,a\n,b\n", "line 3 has no term", 3),
        ("g.csv", "term,aliases\n - ,b\n", "line 2 has no term", 2),
        ("g.csv", "term,aliases\nPTO,a,b\n", "line 2 has 3 fields, and the first line names 2", 2),
        ("g.csv", 'term\n"PTO\n', "is not CSV", 2),
        ("g.csv", 'term\n"PTO"x\n', "line 2 is not CSV", 2),
        ("g.csv", "name\nPTO\n", "line 1 is name", 1),
        ("g.csv", "term,term\nPTO,x\n", "line 1 is term,term", 1),
        ("g.csv", "", "line 1 is empty", 1),
        ("g.csv", "term\n", "has no term", None),
        ("g.csv", b"term\nPTO\n\xff\n", "line 3 is not UTF-8: byte 0xff", 3),
        ("g.md", "just text\n", "has no term", None),
        ("g.md", "", "has no term", None),
    ],
)
def test_a_broken_glossary_names_file_and_line(
    tmp_path: Path, name: str, text: str | bytes, says: str, line: int | None
) -> None:
    file = written(tmp_path, name, text)
    with pytest.raises(GlossaryInvalid, match=says) as caught:
        read_glossary(file)
    assert str(file) in caught.value.message
    assert caught.value.fields.get("line") == line
    assert isinstance(caught.value, ConfigError)


def test_a_missing_glossary_is_named() -> None:
    with pytest.raises(GlossaryInvalid, match="nowhere"):
        StepsUnderstander(glossary="nowhere.csv").understand("what?")


def test_a_glossary_lies_beside_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "clockify-rag.toml").write_text('[understanding]\nglossary = "terms.csv"\n')
    settings = load(directory=tmp_path, environment={}).settings
    assert settings.understanding.glossary == str(tmp_path / "terms.csv")
    with pytest.raises(InvalidSetting, match="expansion_weight"):
        load(directory=tmp_path, environment={"CLOCKIFY_RAG_UNDERSTANDING__EXPANSION_WEIGHT": "0.3"})


def test_a_hundred_thousand_terms(tmp_path: Path) -> None:
    lines = ["term,aliases", *(f"term {number} of many,alias{number}" for number in range(100_000))]
    understander = StepsUnderstander(glossary=str(written(tmp_path, "g.csv", "\n".join(lines))))
    query = understander.understand("what is alias77777?")
    assert [one.text for one in query.expansions] == ["term 77777 of many"]
    assert [step.details["added"] for step in query.steps if step.name == "glossary"] == [["term 77777 of many"]]


def test_an_alias_finds_a_page_that_only_has_the_term(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "leave.md").write_text("# Leave\n\nTime off is requested in the calendar.\n")
    (docs / "other.md").write_text("# Other\n\nReports are exported as CSV.\n")
    glossary = written(tmp_path, "g.csv", "term,aliases\nTime off,PTO\n")
    plain = pipeline_of(tmp_path / "index", embedding={"embedder": "none"})
    plain.build([docs])
    expanded = pipeline_of(
        tmp_path / "index", embedding={"embedder": "none"}, understanding={"glossary": str(glossary)}
    )
    assert not plain.search("PTO").hits
    result = expanded.search("PTO")
    assert [hit.document.title for hit in result.hits] == ["Leave"]
    (step,) = [step for step in result.steps if step.name == "glossary"]
    assert step.details == {"added": ["Time off"], "weight": 0.1}


LEAVE = {
    "leave.md": "# Request time off\n\nTo request time off:\n\n1. Open the calendar.\n2. Select the days and press Send.\n",
    "reports.md": "# Reports\n\nReports are exported as CSV. A report holds a year.\n",
    "gate.md": "# Gate\n\nThe gate opens at dawn and is locked at dusk.\n",
}


def asked_of(tmp_path: Path, pages: Mapping[str, str], question: str) -> Answer:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name, text in pages.items():
        (docs / name).write_text(text)
    glossary = written(tmp_path, "g.csv", "term,aliases\nTime off,PTO;annual leave\n")
    pipeline = pipeline_of(tmp_path / "index", understanding={"glossary": str(glossary)})
    pipeline.build([docs])
    return pipeline.ask(question)


def test_an_alias_that_no_page_has_is_asked_as_its_term(tmp_path: Path) -> None:
    answer = asked_of(tmp_path, LEAVE, "How do I request PTO?")
    assert not answer.refused
    assert answer.question == "How do I request PTO?"
    assert answer.answer.startswith("To request time off:\n\n1. Open the calendar.")
    (step,) = [step for step in answer.trace if step.name == "alias"]
    assert step.details["read_as"] == {"PTO": "Time off"}
    assert step.details["text"] == "How do I request Time off?"


def test_an_alias_of_which_a_page_has_a_word_is_what_is_asked_where_that_is_answered(tmp_path: Path) -> None:
    pages = {**LEAVE, "pto.md": "# Request PTO\n\nRequest the PTO of a tractor in the shed. The PTO is a shaft.\n"}
    answer = asked_of(tmp_path, pages, "How do I request PTO?")
    assert not answer.refused
    assert not [step for step in answer.trace if step.name == "alias"]
    assert answer.hits[0].document.path == "pto.md"


def test_an_alias_that_a_page_mentions_is_read_as_its_term_before_it_is_refused(tmp_path: Path) -> None:
    pages = {**LEAVE, "changes.md": "# Changes\n\nThe gate, the key, and a note on PTO were changed in April.\n"}
    answer = asked_of(tmp_path, pages, "How do I ask for PTO?")
    assert not answer.refused
    assert [step.details["text"] for step in answer.trace if step.name == "alias"] == ["How do I ask for Time off?"]
    assert answer.citations[0].path == "leave.md"


def test_what_neither_the_alias_nor_the_term_answers_is_refused(tmp_path: Path) -> None:
    pages = {name: text for name, text in LEAVE.items() if name != "leave.md"}
    answer = asked_of(tmp_path, pages, "How do I request PTO?")
    assert answer.refused
    assert answer.searched == ("request", "Time", "off")


@pytest.mark.parametrize(
    ("question", "unknown", "text"),
    [
        ("pto or PTO-2, and PTOs?", {"pto"}, "Time off or PTO-2, and PTOs?"),
        ("Is a TIME CARD gone?", {"TIME CARD"}, "Is a Timesheet gone?"),
        ("Is a time card gone?", set(), "Is a time card gone?"),
        ("paid leave and the access-token", {"paid leave", "access-token"}, "Time off and the API key"),
        ("time off", {"time off"}, "time off"),
    ],
)
def test_aliases_are_replaced_as_they_were_typed_and_whole(question: str, unknown: set[str], text: str) -> None:
    expansions = GLOSSARY.expansions(question, "en", 0.1)
    query = Query(question=question, text=question, language="en", expansions=expansions, parts=(question,))
    read = with_terms(query, lambda alias: alias not in unknown)
    assert (read.text, read.question, read.parts) == (text, question, (text,))
    assert [one for one in expansions if one.alias not in unknown or one.text == "timeoff"] == list(read.expansions)


@given(st.text(max_size=60))
def test_places_are_those_of_the_words(text: str) -> None:
    places = sentences.places(text)
    assert [sentences.words(text[slice(*place)]) for place in places] == [[word] for word in sentences.words(text)][
        : len(places)
    ]


def test_what_is_suggested_is_read_as_a_glossary(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in ("one", "two", "three"):
        (docs / f"{name}.md").write_text(
            f"# Page {name}\n\n## Time sheets\n\nA time sheet is a grid of hours. Ask for paid time off (PTO) there.\n\n"
            "## How do I begin?\n\n## Add a project\n\nOpen the Budget Alerts tab, if you can.\n"
        )
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([docs])
    suggested = {one.term: one for one in suggest(pipeline.index)}
    assert suggested["paid time off"].aliases == ("PTO",)
    assert suggested["Time sheets"].documents == 3
    assert suggested["Time sheets"].headings == 3
    assert not {"How do I begin?", "Add a project", "if you"} & set(suggested)
    assert len(suggest(pipeline.index, 1)) == 1


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import json

    import jsonschema

    from clockify_rag.cli import run

    monkeypatch.chdir(tmp_path)
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in ("one", "two"):
        (docs / f"{name}.md").write_text(f'# {name}\n\n## Kiosk, "big"\n\nPaid Time Off (PTO) is asked for there.\n')
    assert run(["build", "docs"]) == 0
    capsys.readouterr()
    assert run(["glossary", "suggest", "--csv"]) == 0
    text = capsys.readouterr().out
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["term", "aliases", "definition"]
    file = written(tmp_path, "g.csv", text)
    assert {entry.term for entry in read_glossary(file).entries} == {row[0] for row in rows[1:]}
    assert run(["glossary", "suggest", "--json", "--limit", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    schema = Path(__file__).parent.parent / "docs" / "schemas" / "glossary-suggest.schema.json"
    jsonschema.validate(told, json.loads(schema.read_text()))
    assert len(told["terms"]) == 1
    assert run(["glossary", "suggest"]) == 0
    assert "Paid Time Off (PTO): 2 pages" in capsys.readouterr().out
    assert run(["glossary", "suggest", "--limit", "0"]) == 2
    assert run(["glossary", "suggest", "--csv", "--json"]) == 2
