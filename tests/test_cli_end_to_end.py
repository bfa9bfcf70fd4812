"""The command line over the real engine: the contract on real pages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from clockify_rag.cli import run

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "examples" / "help-center" / "docs"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("end-to-end") / "index"
    assert run(["build", str(PAGES), "--index", str(folder)]) == 0
    return str(folder)


def output_of(capfd: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    capfd.readouterr()
    assert run([*arguments, "--json"]) == status
    return json.loads(capfd.readouterr().out)


def assert_valid(value: Any, name: str) -> None:
    schema = json.loads((ROOT / "docs" / "schemas" / f"{name}.schema.json").read_text())
    jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)


def test_search_and_ask_meet_their_schemas(index: str, capfd: pytest.CaptureFixture[str]) -> None:
    found = output_of(capfd, "search", "How do I copy last week's timesheet?", "--index", index)
    assert_valid(found, "search")
    assert found["hits"]
    answer = output_of(capfd, "ask", "How do I copy last week's timesheet?", "--index", index)
    assert_valid(answer, "ask")
    assert answer["citations"]


def test_what_is_quoted_is_what_show_prints(index: str, capfd: pytest.CaptureFixture[str]) -> None:
    answer = output_of(capfd, "ask", "How do I copy last week's timesheet?", "--index", index)
    for citation in answer["citations"]:
        span = "{}:{}".format(*citation["span"])
        shown = output_of(capfd, "show", citation["document_id"], "--span", span, "--index", index)
        assert shown["text"] == citation["quote"]
    for hit in answer["hits"]:
        pieces = [
            output_of(capfd, "show", hit["document_id"], "--span", f"{start}:{end}", "--index", index)["text"]
            for start, end in hit["spans"]
        ]
        assert "\n".join(pieces) == hit["text"]


def test_the_same_question_gets_the_same_bytes(index: str, capfd: pytest.CaptureFixture[str]) -> None:
    first, second = (output_of(capfd, "search", "export a report", "--index", index) for _ in range(2))
    first.pop("timings_ms")
    second.pop("timings_ms")
    assert first == second


def test_a_question_without_words_of_the_pages_is_refused(index: str, capfd: pytest.CaptureFixture[str]) -> None:
    question = "zyxwv qponm lkjih?"
    answer = output_of(capfd, "ask", question, "--index", index)
    assert_valid(answer, "ask")
    assert answer["refused"] is True
    output_of(capfd, "ask", question, "--index", index, "--fail-on-refusal", status=7)


def test_top_k_bounds_the_hits(index: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert len(output_of(capfd, "search", "report", "--index", index, "--top-k", "3")["hits"]) == 3
    assert len(output_of(capfd, "search", "report", "--index", index)["hits"]) == 12


def test_no_index_ends_with_3(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for command in (["search", "report"], ["ask", "report"], ["info"], ["documents"]):
        value = output_of(capfd, *command, "--index", str(tmp_path / "none"), status=3)
        assert_valid(value, "error")
        assert value["error"]["code"] == "index_not_found"


@pytest.mark.parametrize("question", ["", "   ", "x" * 3000])
def test_questions_that_cannot_be_searched_end_with_2(
    index: str, capfd: pytest.CaptureFixture[str], question: str
) -> None:
    assert_valid(output_of(capfd, "search", question, "--index", index, status=2), "error")


@pytest.mark.parametrize(
    ("question", "status", "found"),
    [
        ("the of and", 0, True),
        ("🙂🙂", 2, False),
        ("...", 2, False),
        ("\u200b\u202e", 2, False),
        ("nul \0 and \x1b[31m codes", 0, True),
        ("تصدير تقرير", 0, False),
        ("a" * 2000, 0, False),
    ],
)
def test_odd_questions_end_well(
    index: str, capfd: pytest.CaptureFixture[str], question: str, status: int, found: bool
) -> None:
    value = output_of(capfd, "search", question, "--index", index, status=status)
    assert_valid(value, "error" if status else "search")
    assert bool(value.get("hits")) is found


def test_offline_is_proven(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clockify_rag", "doctor", "--offline", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout
    checks = {check["check"]: check["status"] for check in json.loads(done.stdout)["checks"]}
    assert checks["offline"] == "ok"


def test_a_generator_that_asks_a_server_is_found_by_offline(tmp_path: Path) -> None:
    (tmp_path / "clockify-rag.toml").write_text('[generation]\ngenerator = "ollama"\nurl = "http://127.0.0.1:9"\n')
    command = [sys.executable, "-m", "clockify_rag", "doctor", "--offline", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1, done.stdout
    (check,) = (check for check in json.loads(done.stdout)["checks"] if check["check"] == "offline")
    assert check["status"] == "failed"
    assert "socket" in check["detail"]
