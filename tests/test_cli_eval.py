"""The command ``eval``: what it prints and writes, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

from clockify_rag.cli import drawing, run
from folders import write
from pipelines import GARDEN

SCHEMAS = Path(__file__).parent.parent / "docs" / "schemas"
QUESTIONS = """\
{"question": "When does the gate open?", "relevant": ["gate.md"], "difficulty": "easy", "tags": ["doors"]}
{"question": "Who has a <b>|key|</b>?", "relevant": ["gate.md#keys"], "difficulty": "hard", "tags": ["doors | gates"]}
{"question": "turn the heap", "relevant": ["compost.md"], "difficulty": "easy"}
{"question": "Is there a boat?", "answerable": false}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = write(tmp_path_factory.mktemp("built"), {f"docs/{path}": text for path, text in GARDEN.items()})
    assert run(["build", str(folder / "docs"), "--index", str(folder / "index")]) == 0
    return str(folder / "index")


@pytest.fixture
def folder(built: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Path:
    write(tmp_path, {"questions.jsonl": QUESTIONS, "pages.jsonl": QUESTIONS.partition("\n")[0]})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLOCKIFY_RAG_INDEX__PATH", built)
    capfd.readouterr()
    return tmp_path


def assert_valid(value: Any, schema: str = "eval") -> None:
    loaded = json.loads((SCHEMAS / f"{schema}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(loaded)
    jsonschema.validate(value, loaded, cls=jsonschema.Draft202012Validator)


def failed(capfd: pytest.CaptureFixture[str], *arguments: str, status: int = 2) -> tuple[str, str]:
    assert run(["eval", *arguments]) == status
    captured = capfd.readouterr()
    assert captured.out == ""
    first, _, hint = captured.err.partition("\n")
    return first, hint


@pytest.mark.usefixtures("folder")
def test_people_read_tables(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "questions.jsonl", "--ablation", "--per-question"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0].startswith("3 questions of questions.jsonl (1 unanswerable left out); generation 1 of ")
    assert lines[2].split() == ["metric", "documents", "(3)", "sections", "(1)"]
    assert lines[3].split()[0] == "ndcg@10"
    for part in (
        "ndcg@10 by difficulty",
        "ndcg@10 by tags",
        "ndcg@10 of other rankings",
        "with b = 0",
        "Who has a <b>|key|",
    ):
        assert part in out


@pytest.mark.usefixtures("folder")
def test_json_is_printed_or_written_and_meets_its_schema(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "questions.jsonl", "--ablation", "--json", "-"]) == 0
    printed = json.loads(capfd.readouterr().out)
    assert_valid(printed)
    assert run(["eval", "questions.jsonl", "--ablation", "--json", "run.json"]) == 0
    assert "ndcg@10" in capfd.readouterr().out
    written = json.loads(Path("run.json").read_text())
    for value in (printed, written):
        value.pop("timings_ms")
    assert written == printed


@pytest.mark.usefixtures("folder")
def test_markdown_keeps_its_tables_whatever_questions_say(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "questions.jsonl", "--per-question", "--markdown", "-"]) == 0
    out = capfd.readouterr().out
    tables = [part.splitlines() for part in out.split("\n\n") if part.startswith("|")]
    assert len(tables) == 4
    for table in tables:
        columns = {line.replace("\\|", "").count("|") for line in table}
        assert len(columns) == 1
    assert "Who has a \\<b>\\|key\\|\\</b>?" in out
    assert run(["eval", "questions.jsonl", "--per-question", "--markdown", "run.md"]) == 0
    assert Path("run.md").read_text() == out


@pytest.mark.usefixtures("folder")
def test_the_picture_is_svg_with_a_mark_for_every_figure(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "questions.jsonl", "--plot", "run.svg", "--metric", "ndcg@10", "--metric", "mrr@5"]) == 0
    root = ElementTree.parse("run.svg").getroot()
    texts = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"ndcg@10", "mrr@5", "documents", "sections", "easy (2)", "doors | gates (1)"} <= texts
    circles = list(root.iter("{http://www.w3.org/2000/svg}circle"))
    assert len(circles) == 2 + 4 + 3 + 3  # legend, metrics, difficulties and tags, of which one each has sections


@pytest.mark.usefixtures("folder")
def test_two_runs_are_compared(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "questions.jsonl", "--json", "a.json", "--set", "retrieval.body_weight=0", "--lexical"]) == 0
    assert run(["eval", "questions.jsonl", "--json", "b.json"]) == 0
    capfd.readouterr()
    assert run(["eval", "--compare", "a.json", "b.json", "--plot", "c.svg", "--markdown", "c.md"]) == 0
    out = capfd.readouterr().out
    assert out.startswith("b.json against a.json: 3 questions of questions.jsonl\n")
    assert "retrieval.body_weight" in out
    assert Path("c.md").read_text().count("## ") >= 3
    assert ElementTree.parse("c.svg").getroot().tag.endswith("svg")
    assert run(["eval", "--compare", "a.json", "b.json", "--json", "-"]) == 0
    value = json.loads(capfd.readouterr().out)
    assert_valid(value)
    assert value["settings"]["retrieval.lexical"] == [True, False]
    assert value["searched"] == {"by_words": [3, 0]}


@pytest.mark.usefixtures("folder")
def test_hints_about_settings_can_be_typed(capfd: pytest.CaptureFixture[str]) -> None:
    assert failed(capfd, "questions.jsonl", "--set", "retrieval.k2=2")[1] == "hint: did you mean retrieval.k1?\n"
    _, hint = failed(capfd, "questions.jsonl", "--set", "retrieval.k1=high")
    assert hint == "hint: set retrieval.k1 to a number from 0 to 10\n"


@pytest.mark.usefixtures("folder")
def test_another_weight_of_titles_is_told_by_its_name(capfd: pytest.CaptureFixture[str]) -> None:
    first, _ = failed(capfd, "questions.jsonl", "--set", "embedding.title_weight=0.25", status=4)
    assert first == "error: the index's vectors hold titles with weight 0.5, embedding.title_weight is 0.25"


@pytest.mark.usefixtures("folder")
def test_a_gate_ends_with_8(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "questions.jsonl", "--fail-under", "hit@100=1"]) == 0
    capfd.readouterr()
    with_gate = ["eval", "questions.jsonl", "--lexical", "--set", "retrieval.body_weight=0"]
    assert run([*with_gate, "--fail-under", "precision@7=0.9", "--fail-under", "section:hit@1=0"]) == 8
    out, err = capfd.readouterr()
    assert "precision@7" in out
    assert err.startswith("error: precision@7 of documents is 0.")


@pytest.mark.usefixtures("folder")
def test_a_collection_is_built_and_measured_as_it_is(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(
        tmp_path / "beir",
        {
            "corpus.jsonl": '{"_id": "7", "title": "Gate", "text": "The gate opens at dawn."}\n'
            '{"_id": "8", "title": "Fees", "text": "Twelve pounds a year."}\n',
            "queries.jsonl": '{"_id": "1", "text": "when does the gate open"}\n{"_id": "2", "text": "unjudged"}\n',
            "qrels/test.tsv": "query-id\tcorpus-id\tscore\n1\t7\t1\n",
        },
    )
    assert run(["build", "beir/corpus.jsonl", "--index", "beir.index"]) == 0
    capfd.readouterr()
    assert run(["eval", "beir", "--index", "beir.index", "--json", "-"]) == 0
    value = json.loads(capfd.readouterr().out)
    assert (value["questions"]["measured"], value["levels"]["document"]["metrics"]["mrr@10"]["mean"]) == (1, 1.0)
    files = ["--queries", "beir/queries.jsonl", "--qrels", "beir/qrels/test.tsv"]
    assert run(["eval", *files, "--index", "beir.index"]) == 0


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no questions were named"),
        (["nothing.jsonl"], "cannot read nothing.jsonl"),
        (["questions.jsonl", "--metric", "ndcg@0"], "ndcg@0 looks at rank 0"),
        (["questions.jsonl", "--metric", "speed"], "no metric 'speed'"),
        (["questions.jsonl", "--top-k", "0"], "0 hits cannot be asked for"),
        (["questions.jsonl", "--split", "dev"], "neither queries, qrels nor splits"),
        (["questions.jsonl", "--set", "k1=2"], "is not NAME=VALUE"),
        (["questions.jsonl", "--set", "retrieval.k2=2"], "there is no setting retrieval.k2"),
        (["questions.jsonl", "--set", "retrieval.k1=high"], "retrieval.k1 is 'high'"),
        (["questions.jsonl", "--set", "chunking.target=50"], "changes no ranking"),
        (["questions.jsonl", "--fail-under", "ndcg@10"], "is not NAME@K=VALUE"),
        (["questions.jsonl", "--fail-under", "ndcg@10=80"], "is not NAME@K=VALUE"),
        (["questions.jsonl", "--fail-under", "page:ndcg@10=0.8"], "is not NAME@K=VALUE"),
        (["questions.jsonl", "--fail-under", "speed@1=0.8"], "no metric 'speed@1'"),
        (["pages.jsonl", "--fail-under", "section:hit@5=0.8"], "no label names a section"),
        (["questions.jsonl", "--plot", "figures.png"], "figures.png is no SVG file"),
        (["questions.jsonl", "--plot", "no/such/figures.svg"], "cannot be written: there is no folder"),
        (["questions.jsonl", "--markdown", "."], "cannot be written: it is a folder"),
        (["questions.jsonl", "--markdown", ""], "--markdown names no file"),
        (["questions.jsonl", "--markdown", "-", "--json", "-"], "cannot both be printed"),
        (["--compare", "a.json"], "--compare"),
        (["questions.jsonl", "--compare", "a.json", "b.json"], "takes two files and measures nothing"),
        (["--allow-missing", "--compare", "a.json", "b.json"], "takes two files and measures nothing"),
        (["--compare", "a.json", "b.json"], "cannot read a.json"),
        (["--compare", "questions.jsonl", "questions.jsonl"], "is no evaluation"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is(
    arguments: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if "-" in arguments:
        assert run(["eval", *arguments]) == 2
        assert says in capfd.readouterr().err
        return
    first, _ = failed(capfd, *arguments)
    assert says in first


@pytest.mark.usefixtures("folder")
def test_labels_that_the_index_lacks_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, {"lost.jsonl": QUESTIONS + '{"question": "Where?", "relevant": ["boat.md"]}\n'})
    first, hint = failed(capfd, "lost.jsonl")
    assert first == "error: the index has nothing for 1 of 4 labels: boat.md"
    assert hint.startswith("hint: --allow-missing")
    assert run(["eval", "lost.jsonl", "--allow-missing"]) == 0
    assert "warning: labels that the index has nothing for, counted as not found: 1" in capfd.readouterr().err


@pytest.mark.usefixtures("folder")
def test_a_failure_with_json_is_json(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "nothing.jsonl", "--json", "-"]) == 2
    value = json.loads(capfd.readouterr().out)
    assert_valid(value, "error")
    assert value["error"]["code"] == "labels_invalid"
    assert run(["eval", "questions.jsonl", "--index", "none", "--json", "-"]) == 3


def test_a_picture_says_what_it_was_given_and_no_more() -> None:
    row = drawing.Row("a" * 40 + "<&>\x1b[31m", [(0.5, 0.4, 0.6), None])
    panels = [drawing.Panel(title="<x>", rows=[row]), drawing.Panel(title="", rows=[row], signed=True)]
    root = ElementTree.fromstring(drawing.dot_plot("<title> & \x07", "of", ["one", "two"], panels))
    texts = [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "<title> &" in [text.strip() for text in texts]
    assert "<x>" in texts
    assert {"+0.500", "0.500"} <= set(texts)


@pytest.mark.parametrize(("low", "high"), [(-0.02, 0.01), (-1.0, 1.0), (0.1, 0.3), (0.0, 0.0), (-0.333, -0.1)])
def test_the_axis_of_differences_holds_them_and_zero(low: float, high: float) -> None:
    panel = drawing.Panel(title="", rows=[drawing.Row("a", [((low + high) / 2, low, high)])], signed=True)
    root = ElementTree.fromstring(drawing.dot_plot("t", "s", ["one"], [panel]))
    lines = list(root.iter("{http://www.w3.org/2000/svg}line"))
    grid = [float(line.attrib["x1"]) for line in lines if line.attrib.get("class")]
    (interval,) = (line for line in lines if not line.attrib.get("class"))
    assert sum(line.attrib.get("class") == "zero" for line in lines) == 1
    assert min(grid) <= float(interval.attrib["x1"]) <= float(interval.attrib["x2"]) <= max(grid) + 0.1
    assert 2 <= len(grid) <= 10
