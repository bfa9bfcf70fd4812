"""What differs between two generations, and which questions notice."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from clockify_rag import comparing, generations
from clockify_rag.cli import run
from clockify_rag.comparing import Comparison, Differences
from clockify_rag.config import EmbeddingSettings, Settings
from clockify_rag.errors import EvaluationError, GenerationNotFound, IndexIncompatible
from clockify_rag.index import LocalIndex
from clockify_rag.labelling import LabelledQuestion
from clockify_rag.pipeline import Pipeline
from folders import write
from test_generations import printed, result_of


def page(title: str, **sections: str) -> str:
    return f"# {title}\n\n" + "".join(f"## {name}\n\n{text}\n\n" for name, text in sections.items())


BEFORE = {
    "exports.md": page("Exports", Formats="A report is exported as CSV or PDF.", Limits="At most 900 rows."),
    "roles.md": page("Roles", Owner="An owner may transfer the workspace."),
    "old/timer.md": page("Timer", Start="Press the green button to start the timer."),
    "kiosk.md": page("Kiosk", Pin="A kiosk asks for a PIN of four digits."),
}
AFTER = {
    "exports.md": page(
        "Exports", Formats="A report is exported as CSV or PDF.", Limits="At most 5000 rows.", Email="Sent."
    ),
    "roles.md": BEFORE["roles.md"],
    "new/timer.md": BEFORE["old/timer.md"],
    "invoices.md": page("Invoices", Tax="Tax is set by client. A kiosk has none."),
}
QUESTIONS = [
    LabelledQuestion(id="1", question="How many rows may a report have?"),
    LabelledQuestion(id="2", question="Who may transfer the workspace?"),
    LabelledQuestion(id="3", question="kiosk pin"),
]


def build(index: Path, folder: Path, pages: Mapping[str, str], **settings: Any) -> int:
    shutil.rmtree(folder, ignore_errors=True)
    write(folder, pages)
    return Pipeline.open(index, Settings(**settings)).build([folder]).generation


@pytest.fixture
def index(tmp_path: Path) -> Path:
    build(tmp_path / "index", tmp_path / "docs", BEFORE)
    build(tmp_path / "index", tmp_path / "docs", AFTER)
    return tmp_path / "index"


def compare(index: Path, *names: str, **options: Any) -> Comparison:
    return comparing.compare(Pipeline.open(index, Settings()), *names, **options)


def places(differences: Differences[Any]) -> dict[str, list[str]]:
    return {kind: [place(entry) for entry in entries] for kind, entries in comparing.kinds(differences)}


def place(entry: Any) -> str:
    return f"{entry.path}#{entry.anchor}" if hasattr(entry, "anchor") else str(entry.path)


def test_each_kind_of_difference_is_told(index: Path) -> None:
    found = compare(index, "1", "2")
    assert (found.before, found.after, found.questions) == (1, 2, None)
    assert places(found.documents) == {
        "added": ["invoices.md"],
        "removed": ["kiosk.md"],
        "changed": ["exports.md"],
        "moved": ["new/timer.md"],
    }
    assert [entry.was for entry in found.documents.moved] == ["old/timer.md"]
    assert places(found.chunks) == {
        "added": ["exports.md#email", "invoices.md#invoices", "invoices.md#tax"],
        "removed": ["kiosk.md#kiosk", "kiosk.md#pin"],
        "changed": ["exports.md#limits"],
        "moved": ["new/timer.md#timer", "new/timer.md#start"],
    }


def test_backwards_it_is_the_opposite(index: Path) -> None:
    there, back = compare(index, "1", "2"), compare(index, "2", "1")
    assert places(back.documents)["added"] == places(there.documents)["removed"]
    assert places(back.documents)["removed"] == places(there.documents)["added"]
    assert [(entry.path, entry.was) for entry in back.documents.moved] == [("old/timer.md", "new/timer.md")]


def test_a_generation_equals_itself_and_what_is_served_again(index: Path) -> None:
    generations.tag(index, "first", "1")
    generations.roll_back(index, "first")
    for names in (("1", "1"), ("first", "3"), ("first",)):
        found = compare(index, *names, questions=QUESTIONS)
        assert not any(entries for part in (found.documents, found.chunks) for _, entries in comparing.kinds(part))
        assert found.questions is not None
        assert (found.questions.asked, found.questions.questions) == (3, ())


def test_a_touched_file_is_no_difference(tmp_path: Path) -> None:
    for _ in range(2):
        build(tmp_path / "index", tmp_path / "docs", BEFORE)
    assert generations.served(tmp_path / "index") == 2
    found = compare(tmp_path / "index", "1")
    assert not any(entries for _, entries in comparing.kinds(found.documents))


def test_pages_of_one_text_are_paired_once(tmp_path: Path) -> None:
    text = BEFORE["roles.md"]
    build(tmp_path / "index", tmp_path / "docs", {"a.md": text, "b.md": text, "x.md": page("X", X="x")})
    build(tmp_path / "index", tmp_path / "docs", {"c.md": text, "x.md": page("X", X="x")})
    found = compare(tmp_path / "index", "1")
    assert [len(entries) for _, entries in comparing.kinds(found.documents)] == [0, 1, 0, 1]
    assert [len(entries) for _, entries in comparing.kinds(found.chunks)] == [0, 2, 0, 2]


def test_questions_tell_what_they_notice(index: Path) -> None:
    found = compare(index, "1", "2", questions=QUESTIONS).questions
    assert found is not None
    assert (found.asked, found.embedders) == (3, ("static", "static"))
    by_id = {one.id: one for one in found.questions}
    assert by_id["3"].before.documents[0] == "docs/kiosk.md"
    assert by_id["3"].after.documents[0] == "docs/invoices.md"
    for one in found.questions:
        for name, generation in (("before", "1"), ("after", "2")):
            alone = Pipeline.open(index, Settings()).over(LocalIndex.at(index, generations.named(index, generation)))
            hits = alone.search(one.question, comparing.TOP).hits
            assert getattr(one, name).chunks == tuple(hit.chunk.id for hit in hits)


def test_two_embedders_are_said_or_refused(tmp_path: Path) -> None:
    index = tmp_path / "index"
    build(index, tmp_path / "docs", BEFORE)
    build(index, tmp_path / "docs", BEFORE, embedding=EmbeddingSettings(embedder="none"))
    found = compare(index, "1", "2", questions=QUESTIONS).questions
    assert found is not None
    assert found.embedders == ("static", None)
    build(index, tmp_path / "docs", BEFORE, embedding=EmbeddingSettings(embedder="static", title_weight=0.25))
    with pytest.raises(IndexIncompatible, match=r"weight 0\.25") as caught:
        compare(index, "1", "3", questions=QUESTIONS)
    assert "--lexical" in caught.value.hint
    found = compare(index, "1", "3", questions=QUESTIONS, lexical=True).questions
    assert found is not None
    assert found.questions == ()


def test_what_cannot_be_compared(index: Path) -> None:
    with pytest.raises(GenerationNotFound):
        compare(index, "1", "9")
    with pytest.raises(EvaluationError, match="question 7"):
        compare(index, "1", questions=[LabelledQuestion(id="7", question="?!")])


def test_the_command(index: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"id": "pin", "question": "kiosk pin", "relevant": ["kiosk.md"]}\n')
    arguments = ("diff", "1", "2", "--index", index, "--questions", questions)
    value = result_of(capfd, *arguments)
    assert [entry["path"] for entry in value["documents"]["removed"]] == ["kiosk.md"]
    assert value["questions"]["other_documents"] == 1
    assert result_of(capfd, *arguments[:5])["questions"] is None
    lines = printed(capfd, *arguments)
    assert lines[:3] == [
        "generation 1 to 2",
        "documents: added 1, removed 1, changed 1, moved 1",
        "chunks: added 3, removed 2, changed 1, moved 2",
    ]
    assert "moved\tdocs/new/timer.md (was old/timer.md)" in lines
    assert "questions: of 1 asked 1 have other pages among the first hits, 1 other chunks" in lines
    assert run(["diff", "1", "--lexical", "--index", str(index)]) == 2
