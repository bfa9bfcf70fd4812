"""The question sets of ``benches/questions``: each line is well-formed, and each label names a section that there is."""

from __future__ import annotations

import re
import tarfile
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import msgspec
import pytest

GIT = Path(__file__).parent.parent / "benches" / "questions" / "git.jsonl"
LABEL = re.compile(r"[\w./-]+\.html(#\S+)?")
HEADING = re.compile("h[1-6]")


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A line of a question set."""

    id: Annotated[str, msgspec.Meta(pattern=r"^git-\d{3}$")]
    question: Annotated[str, msgspec.Meta(min_length=5)]
    relevant: list[str]
    answerable: bool
    difficulty: Literal["easy", "medium", "hard"]
    tags: Annotated[list[str], msgspec.Meta(min_length=1)]
    language: Literal["en"]


class HeadingAnchors(HTMLParser):
    """Collects the ids of headings, and of named anchors inside headings."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        heading = HEADING.fullmatch(tag) is not None
        self._inside = self._inside or heading
        if heading or (self._inside and tag == "a"):
            self.anchors.update(value for name, value in attrs if name in {"id", "name"} and value)

    def handle_endtag(self, tag: str) -> None:
        self._inside = self._inside and HEADING.fullmatch(tag) is None


def anchors_by_page(archive: Path) -> dict[str, set[str]]:
    """The anchors of each page's headings, by the page's path below the archive's folder of pages."""
    found = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            content = tar.extractfile(member) if member.name.endswith(".html") else None
            if content is not None:
                path = PurePosixPath(*PurePosixPath(member.name).parts[2:])
                found[str(path)] = HeadingAnchors(content.read().decode("utf-8", "replace")).anchors
    return found


def read(path: Path) -> list[Question]:
    return [msgspec.json.decode(line, type=Question) for line in path.read_bytes().splitlines()]


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return read(GIT)


def test_every_question_is_there_once(questions: list[Question]) -> None:
    assert len({question.id for question in questions}) == len(questions)
    assert len({question.question.casefold() for question in questions}) == len(questions)


def test_there_are_enough_of_either_kind(questions: list[Question]) -> None:
    answerable = [question for question in questions if question.answerable]
    assert len(answerable) >= 150
    assert len(questions) - len(answerable) >= 20
    assert len({label.partition("#")[0] for question in answerable for label in question.relevant}) >= 60


def test_answerable_questions_have_labels_and_others_have_none(questions: list[Question]) -> None:
    for question in questions:
        assert bool(question.relevant) == question.answerable, question.id
        assert len(set(question.relevant)) == len(question.relevant), question.id
        assert all(LABEL.fullmatch(label) for label in question.relevant), question.id


def test_every_label_names_a_heading_of_the_manual(questions: list[Question], data: Path) -> None:
    archive = data / "docs-html" / "git.tar.gz"
    if not archive.is_file():
        pytest.skip(f"the Git manual is not at {archive}")
    anchors = anchors_by_page(archive)
    wrong = [
        f"{question.id}: {label}"
        for question in questions
        for label in question.relevant
        for page, _, anchor in [label.partition("#")]
        if page not in anchors or (anchor and anchor not in anchors[page])
    ]
    assert not wrong
