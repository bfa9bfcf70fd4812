"""``clockify-rag calibrate`` as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from clockify_rag.cli import run

SCHEMAS = Path(__file__).parent.parent / "docs" / "schemas"
NAMES = [f"{first}{second}" for first in ("amber", "birch", "cobalt", "drift", "ember", "flint") for second in ("wing", "root", "song", "mark", "gate", "hill")]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    rows: list[dict[str, object]] = []
    for name in NAMES:
        (tmp_path / "docs" / f"{name}.md").write_text(f"# {name}\n\nThe {name} is cleaned with warm water.\n")
        rows.append({"question": f"how is the {name} cleaned", "relevant": [f"{name}.md"]})
    rows.append({"question": "who invented chess", "answerable": False})
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(["build", "docs"]) == 0
    return tmp_path


def output(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capfd.readouterr()
    status = run(list(arguments))
    return status, *capfd.readouterr()


def printed(capfd: pytest.CaptureFixture[str], *arguments: str) -> Any:
    status, out, _ = output(capfd, *arguments)
    assert status == 0
    return json.loads(out)


def test_a_calibration_is_written_and_answers(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    question = "how is the amberwing cleaned"
    assert printed(capfd, "ask", question, "--json")["calibration"] == "shipped"
    status, out, _ = output(capfd, "calibrate", "questions.jsonl", "--plot", "plot.svg")
    assert status == 0
    assert "36 questions as they are and 36 without the pages that answer them, cross-fitted in 10 folds" in out
    assert "unanswerable as written, refused" in out
    assert (folder / ".clockify-rag" / "calibration.json").is_file()
    picture = (folder / "plot.svg").read_text()
    assert picture.startswith("<svg")
    assert picture.count("<polyline") == 2
    answer = printed(capfd, "ask", question, "--json")
    assert answer["calibration"] == "own"
    assert answer["confidence"] > 0.5


@pytest.mark.usefixtures("folder")
def test_json_meets_its_schema(capfd: pytest.CaptureFixture[str]) -> None:
    value = printed(
        capfd, "calibrate", "questions.jsonl", "--output", "mine.json", "--false-refusal-rate", "0.1", "--json"
    )
    schema = json.loads((SCHEMAS / "calibrate.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)
    assert value["file"] == "mine.json"
    assert value["calibration"] == json.loads(Path("mine.json").read_text())
    assert value["calibration"]["fitted"]["false_refusal_rate"] == 0.1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--false-refusal-rate", "2"], "is not a share"),
        (["--false-refusal-rate", "few"], "is not a share"),
        (["--output", "missing/mine.json"], "error: --output missing/mine.json cannot be written: there is no folder"),
        (["--output", "docs"], "error: --output docs cannot be written: it is a folder"),
        (["--output", "-"], "--json prints it"),
        (["--output", ""], "error: --output names no file"),
        (["--plot", "plot.png"], "no SVG"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_cannot_be_done_is_said_first(capfd: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    status, _, err = output(capfd, "calibrate", "questions.jsonl", *arguments)
    assert status == 2
    assert said in err


def test_questions_that_are_left_out_are_told(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lost = folder / "lost.jsonl"
    lost.write_text(
        (folder / "questions.jsonl").read_text() + '{"question": "how much is it", "relevant": ["price.md"]}\n'
    )
    status, out, _ = output(capfd, "calibrate", "lost.jsonl", "--output", "mine.json")
    assert status == 0
    assert "left out because the index lacks a page that answers them: 1 questions" in out


def test_a_broken_calibration_beside_the_index_is_made_anew(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / ".clockify-rag" / "calibration.json").write_text('{"format": 0}')
    status, _, err = output(capfd, "search", "amberwing")
    assert status == 2
    assert "hint: make it anew: clockify-rag calibrate QUESTIONS" in err
    assert output(capfd, "calibrate", "questions.jsonl")[0] == 0
    assert output(capfd, "search", "amberwing")[0] == 0


def test_too_few_questions(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "few.jsonl").write_text((folder / "questions.jsonl").read_text().partition("\n")[0])
    status, _, err = output(capfd, "calibrate", "few.jsonl")
    assert status == 2
    assert "too few: 1, in 1 groups" in err
    assert "label at least 30" in err
