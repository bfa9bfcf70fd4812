"""Labelled questions: how files are read, what is refused, and what labels find."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clockify_rag.contracts import Source
from clockify_rag.errors import LabelsInvalid, LabelsUnknown
from clockify_rag.index import LocalIndex
from clockify_rag.labelling import LabelledQuestion, LabelledQuestions, judge, plain_heading, read_questions
from folders import write
from pipelines import GARDEN, pipeline_of

BEIR = {
    "queries.jsonl": '{"_id": "q1", "text": "first"}\n{"_id": "q2", "text": "second"}\n{"_id": "q3", "text": "third"}\n',
    "qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td2\t1\n",
    "qrels/train.tsv": "query-id\tcorpus-id\tscore\nq3\td1\t1\n",
}
TOADS = ("a/toads.md", "a/b/toads.md")


def golden(tmp_path: Path, *lines: Any) -> LabelledQuestions:
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return read_questions(file)


@pytest.fixture(scope="module")
def garden(tmp_path_factory: pytest.TempPathFactory) -> LocalIndex:
    folder = tmp_path_factory.mktemp("garden")
    nested = (
        "# Rules\n\nRead them.\n\n## Season 2025\n\n### Spring\n\nSow in March.\n\n### *Late* autumn\n\nDig it over.\n"
    )
    write(folder / "docs", {**GARDEN, "rules/rules.md": nested, **dict.fromkeys(TOADS, "# Toads\n\nWelcome.\n")})
    write(folder / "more", {"beds.md": "# Other beds\n\nAnother page of that name.\n"})
    pipeline = pipeline_of(folder / "index")
    pipeline.build(
        [
            Source(name="docs", location=str(folder / "docs"), base_url="https://garden.example"),
            Source(name="more", location=str(folder / "more")),
        ]
    )
    return pipeline.index


def question(*labels: str, **fields: Any) -> LabelledQuestion:
    from clockify_rag.labelling import Label

    parted = [label.partition("#") for label in labels]
    made = tuple(Label(names=(name,), anchor=anchor or None) for name, _, anchor in parted)
    return LabelledQuestion(id="1", question="?", labels=made, **fields)


def test_golden_questions_are_read(tmp_path: Path) -> None:
    found = golden(
        tmp_path,
        {
            "question": "Where?",
            "relevant": ["a.md#b%20c", "d.md"],
            "tags": ["x"],
            "difficulty": "easy",
            "language": "de",
        },
        "",
        {"id": 7, "query": "Whether?", "relevant": [], "answerable": False, "facts": ["no"], "source": "by hand"},
        {"question": "And?"},
    )
    one, two, three = found.questions
    assert (one.id, one.question, one.answerable, one.line) == ("1", "Where?", True, 1)
    assert [(label.names, label.anchor, label.grade) for label in one.labels] == [
        (("a.md",), "b c", 1),
        (("d.md",), None, 1),
    ]
    assert (one.tags, one.difficulty, one.language) == (("x",), "easy", "de")
    assert (two.id, two.question, two.answerable, two.facts, two.line) == ("7", "Whether?", False, ("no",), 3)
    assert (three.id, three.answerable) == ("4", False)
    assert found.judged == (one,)
    assert found.layout == "golden"


def test_pages_by_path_and_address_and_sections_by_heading_are_read(tmp_path: Path) -> None:
    line = {
        "id": "c",
        "query": "How?",
        "relevant": {"https://h.example/a": 2, "https://h.example/b": 1},
        "relevant_paths": {"a.md": 2, "b.md": 1},
        "relevant_sections": [["a.md", "Steps"]],
    }
    (found,) = golden(tmp_path, line).questions
    assert [(label.names, label.heading, label.grade) for label in found.labels] == [
        (("a.md", "https://h.example/a"), None, 2),
        (("b.md", "https://h.example/b"), None, 1),
        (("a.md", "https://h.example/a"), "Steps", 2),
    ]


def test_a_grade_of_0_is_not_relevant(tmp_path: Path) -> None:
    (found,) = golden(tmp_path, {"question": "?", "relevant": {"a.md": 0, "b.md": 3}}).questions
    assert [str(label) for label in found.labels] == ["b.md"]


@pytest.mark.parametrize(
    ("lines", "line", "says"),
    [
        (['{"question": "ok"}', "{"], 2, "is broken"),
        (['{"question": "ok"}', "[1]"], 2, "is broken"),
        (['{"question": 5}'], 1, r"is broken: Expected `str.*question"),
        (['{"relevant": ["a.md"]}'], 1, "has no question"),
        (['{"question": "  "}'], 1, "has no question"),
        (
            ['{"id": "a", "question": "x"}', "", '{"id": "a", "question": "y"}'],
            3,
            "question id 'a' again; it is in line 1",
        ),
        (['{"question": "x"}', '{"question": "x"}'], 2, "question 'x' again"),
        (['{"question": "x", "relevant": ["a.md", "a.md"]}'], 1, "label 'a.md' twice"),
        (['{"question": "x", "sections": [["a", "b"], ["a", "b"]]}'], 1, "twice"),
        (['{"question": "x", "relevant": {"a.md": 1.5}}'], 1, "no whole number"),
        (['{"question": "x", "relevant": {"a.md": null}}'], 1, "no whole number"),
        (['{"question": "x", "relevant": {"a.md": true}}'], 1, "no whole number"),
        (['{"question": "x", "relevant": ["#only"]}'], 1, "no page"),
        (['{"question": "x", "relevant": ["a"]}', '{"question": "y", "relevant": {"a": 1}}'], 2, "mixes labels"),
    ],
)
def test_broken_golden_lines_are_named(tmp_path: Path, lines: list[str], line: int, says: str) -> None:
    with pytest.raises(LabelsInvalid, match=says) as caught:
        golden(tmp_path, *lines)
    assert caught.value.message.startswith(f"line {line} of {tmp_path / 'questions.jsonl'} ")
    assert caught.value.fields["line"] == line


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(LabelsInvalid, match=r"nothing\.jsonl: No such file"):
        read_questions(tmp_path / "nothing.jsonl")
    for content, says in ((b"", "holds no questions"), (b'{"question": "\xff"}', "line 1 .*not UTF-8")):
        (tmp_path / "bad.jsonl").write_bytes(content)
        with pytest.raises(LabelsInvalid, match=says):
            read_questions(tmp_path / "bad.jsonl")
    with pytest.raises(LabelsInvalid, match="no questions were named"):
        read_questions()
    with pytest.raises(LabelsInvalid, match="neither queries, qrels nor splits"):
        read_questions(tmp_path / "bad.jsonl", split="test")


def test_a_collection_is_read_by_split(tmp_path: Path) -> None:
    write(tmp_path, BEIR)
    found = read_questions(tmp_path)
    assert (found.layout, found.split, [one.id for one in found.questions]) == ("beir", "test", ["q1", "q2"])
    assert [(label.names, label.grade) for label in found.questions[0].labels] == [(("d1",), 2)]
    assert [one.id for one in read_questions(tmp_path, split="train").questions] == ["q3"]
    by_files = read_questions(queries=tmp_path / "queries.jsonl", qrels=tmp_path / "qrels" / "train.tsv")
    assert (by_files.split, [one.question for one in by_files.questions]) == ("train", ["third"])


def test_judgements_without_grades_are_read(tmp_path: Path) -> None:
    write(tmp_path, {**BEIR, "qrels/test.tsv": "q1\td1\nq1\td#2\n"})
    (found,) = read_questions(tmp_path).questions
    assert [(str(label), label.grade) for label in found.labels] == [("d1", 1), ("d#2", 1)]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (
            {"qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t1\nq9\td1\t1\n"},
            r"1 of 2 questions .*does not have: q9",
        ),
        (
            {"qrels/test.tsv": "q1\td1\t1\nq1\td1\t1\n"},
            "line 2 of .*test.tsv has the pair 'q1 d1' again; it is in line 1",
        ),
        ({"qrels/test.tsv": "q1\td1\t1\nq2\td1\n"}, "line 2 of .*mixes labels"),
        ({"qrels/test.tsv": "q1 d1 1\n"}, "line 1 of .*tabs"),
        ({"qrels/test.tsv": "q1\td1\tgood\n"}, "line 1 of .*no whole number"),
        ({"qrels/test.tsv": "q1\t\t1\n"}, "line 1 of .*tabs"),
        ({"qrels/test.tsv": "query-id\tcorpus-id\tscore\n"}, "holds no judgements"),
        ({"queries.jsonl": '{"_id": "q1", "text": "a"}\n{"_id": "q1", "text": "b"}\n'}, "line 2 of .*'q1' again"),
        ({"queries.jsonl": '{"_id": "q1"}\n'}, "line 1 of .*is broken"),
        ({"queries.jsonl": '{"_id": "q1", "text": " "}\n'}, "question q1 is empty"),
        ({"queries.jsonl": ""}, "holds no questions"),
    ],
)
def test_a_collection_that_contradicts_itself_is_refused(tmp_path: Path, files: dict[str, str], says: str) -> None:
    write(tmp_path, {**BEIR, **files})
    with pytest.raises(LabelsInvalid, match=says):
        read_questions(tmp_path)


def test_an_unknown_split_is_told_which_there_are(tmp_path: Path) -> None:
    write(tmp_path, BEIR)
    with pytest.raises(LabelsInvalid, match="no split dev; it has test, train"):
        read_questions(tmp_path, split="dev")
    with pytest.raises(LabelsInvalid, match="no qrels"):
        read_questions(tmp_path / "qrels")


def test_labels_find_pages_by_any_of_their_names(garden: LocalIndex) -> None:
    gate = garden.find("gate.md")
    for name in ("gate.md", "docs/gate.md", "https://garden.example/gate.html", gate.id, "gate", "docs/gate.md"):
        assert judge([question(name)], garden).documents["1"] == {gate.id: 1}
    top, _ = garden.find("a/toads.md"), garden.find("a/b/toads.md")
    assert judge([question("toads.md")], garden).documents["1"] == {top.id: 1}
    assert judge([question("rules.md")], garden).documents["1"] == {garden.find("rules/rules.md").id: 1}


def test_sections_are_found_by_anchor_and_by_heading(garden: LocalIndex) -> None:
    from clockify_rag.labelling import Label

    by_heading = LabelledQuestion(
        id="1", question="?", labels=(Label(names=("gate.md",), heading=" **KEYS** [\\#](#keys)", grade=2),)
    )
    for asked in (question("gate.md#keys"), by_heading):
        judged = judge([asked], garden)
        ((key, name),) = judged.members["1"].items()
        assert key[1:] == ("keys", ("Gate", "Keys"))
        assert set(judged.sections["1"]) == {name}
        assert judged.documents["1"] == {garden.find("gate.md").id: asked.labels[0].grade}


def test_a_section_of_sub_sections_is_found_with_any_of_them(garden: LocalIndex) -> None:
    judged = judge([question("rules.md#season-2025")], garden)
    assert [key[1] for key in judged.members["1"]] == ["spring", "late-autumn"]
    assert len(judged.sections["1"]) == 1
    # The heading alone has a chunk, which is never a hit.
    rules = garden.find("rules/rules.md").id
    assert ("season-2025", "hub") in {(chunk.anchor, chunk.kind) for chunk in garden.chunks(rules)}


def test_two_labels_of_one_section_are_one(garden: LocalIndex) -> None:
    from clockify_rag.labelling import Label

    labels = (*question("gate.md#keys").labels, Label(names=("gate.md",), heading="Keys", grade=3))
    judged = judge([LabelledQuestion(id="1", question="?", labels=labels)], garden)
    assert judged.sections["1"] == {"gate.md#keys": 3}


def test_labels_of_nothing_are_refused_or_reported(garden: LocalIndex) -> None:
    asked = [question("gate.md", "lost.md", "gate.md#lost", "a.md", "b.md")]
    with pytest.raises(
        LabelsUnknown, match=r"nothing for 4 of 5 labels: lost\.md, gate\.md#lost, a\.md and 1 more"
    ) as caught:
        judge(asked, garden)
    assert "--allow-missing" in caught.value.hint
    judged = judge(asked, garden, allow_missing=True)
    assert judged.missing == ("lost.md", "gate.md#lost", "a.md", "b.md")
    assert judged.documents["1"] == {garden.find("gate.md").id: 1, "lost.md": 1, "a.md": 1, "b.md": 1}


def test_an_index_without_any_of_the_labels_is_refused_always(garden: LocalIndex) -> None:
    for allow in (False, True):
        with pytest.raises(LabelsUnknown, match="nothing for any of 2 labels"):
            judge([question("x.md", "y.md")], garden, allow_missing=allow)


def test_a_name_of_two_pages_is_refused(garden: LocalIndex) -> None:
    with pytest.raises(LabelsUnknown, match=r"beds\.md means 2 pages"):
        judge([question("beds.md")], garden)
    assert judge([question("more/beds.md")], garden).documents["1"]


def test_what_a_hit_names_stands_right_behind_it(tmp_path: Path) -> None:
    text = "Whoever lends a tool signs the list with name and number, brings it back within a week and cleans it. " * 3
    pages = {name: f"# {name.title()}\n\nA page.\n\n## Lending\n\n{text}\n" for name in ("tools", "sheds", "rules")}
    write(tmp_path / "docs", {**{f"{name}.md": page for name, page in pages.items()}, "gate.md": GARDEN["gate.md"]})
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([str(tmp_path / "docs")])
    hits = pipeline.search("lend a tool and bring it back").hits
    first = hits[0]
    named = [first.document.id, *(other.document_id for other in first.duplicates)]
    assert len(named) == 3
    judged = judge([question("tools.md#lending", "sheds.md#lending", "rules.md#lending")], pipeline.index)
    assert judged.document_ranking(hits)[:3] == named
    assert set(judged.section_ranking("1", hits)[:3]) == {"tools.md#lending", "sheds.md#lending", "rules.md#lending"}


def test_documents_of_json_lines_are_found_by_the_id_that_their_line_gives(tmp_path: Path) -> None:
    write(tmp_path, {"corpus.jsonl": '{"_id": "d1", "title": "One", "text": "One page."}\n'})
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([str(tmp_path / "corpus.jsonl")])
    (document,) = pipeline.index.documents()
    assert judge([question("d1")], pipeline.index).documents["1"] == {document.id: 1}


@pytest.mark.parametrize(
    ("typed", "plain"),
    [
        ("Export  to **CSV**", "export to csv"),
        ("The `id_12` field", "the id12 field"),
        ("See [Reports](x.md)", "see reports"),
        ("Price [\\#](#price)", "price"),
        ("Closed ##", "closed"),
        ("C# \\& F#", "c# & f"),
    ],
)
def test_headings_are_compared_without_markdown(typed: str, plain: str) -> None:
    assert plain_heading(typed) == plain
