"""A model server that fails: the pages found are printed, the failure is named, and the status is 5."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fake_server import Script, answer, chunked, head, ollama_answer, ollama_lines, refused_url, serving
from faults.conftest import World
from faults.processes import Done, environment, run

QUESTION = "How do I export a report?"
LINES = ollama_lines(["An owner may export a report [1]", " as a file."])
NDJSON = "application/x-ndjson"

FAULTS: dict[str, Script] = {
    "500": answer({"error": "out of memory"}, "500 Internal Server Error"),
    "404": answer({"error": "model 'm' not found"}, "404 Not Found"),
    "HTML": answer(b"<html><body>Welcome</body></html>", kind="text/html"),
    "nothing": answer(b""),
    "half a line": [head(kind=NDJSON, Transfer_Encoding="chunked"), b"14\r\n" + LINES[0][:20] + b"\r\n", "close"],
    "half an answer": [head(kind=NDJSON), LINES[0], "close"],
    "an error in the stream": chunked([LINES[0], b'{"error":"the model crashed"}\n'], NDJSON),
    "reset": [head(kind=NDJSON), LINES[0], "reset"],
    "closed": ["close"],
    "no head": [b"garbage\r\n\r\n", "close"],
    "bytes": chunked([b"\xff\xfe\x00{}\n"], NDJSON),
    "slow": ["hang"],
    "slow after words": [head(kind=NDJSON), LINES[0], "hang"],
}


def ask(index: Path, folder: Path, url: str, *options: str) -> Done:
    (folder / "clockify-rag.toml").write_text(
        f'[generation]\ngenerator = "ollama"\nurl = "{url}"\nmodel = "m"\nconnect_seconds = 1.0\nfirst_token_seconds = 1.0\n'
        "between_tokens_seconds = 0.5\ntotal_seconds = 3.0\n"
    )
    variables = environment(HOME=str(folder))
    return run("ask", QUESTION, "--index", index, *options, cwd=folder, variables=variables)


def check(done: Done) -> None:
    assert done.status == 5, done
    assert done.json["error"]["code"].startswith("backend")
    assert done.json["error"]["message"]
    assert done.json["hits"][0]["path"] == "report.md"
    assert done.json["refused"] is False
    assert any(line.startswith("error: ") for line in done.err.splitlines()), done


@pytest.mark.parametrize("fault", FAULTS)
def test_hits_are_printed_when_the_server_fails(world: World, tmp_path: Path, fault: str) -> None:
    with serving(FAULTS[fault]) as server:
        check(ask(world.index, tmp_path, server.url, "--json"))


def test_an_absent_server_is_named_with_what_starts_it(world: World, tmp_path: Path) -> None:
    url = refused_url()
    done = ask(world.index, tmp_path, url, "--json")
    check(done)
    assert done.json["error"]["code"] == "backend_unavailable"
    assert done.json["error"]["hint"]
    done = ask(world.index, tmp_path, url)
    assert done.status == 5
    assert "report.md" in done.out
    assert done.err.splitlines()[0].startswith("error: ")
    assert done.err.splitlines()[1].startswith("hint: ")


def test_a_server_that_answers_is_cited(world: World, tmp_path: Path) -> None:
    with serving(ollama_answer(["An owner may export a report [1]", " as a file."])) as server:
        done = ask(world.index, tmp_path, server.url, "--json")
    assert done.status == 0, done
    assert done.json["answer"]
    assert done.json["sent_to"] == [], "this machine is no other host"


@pytest.mark.parametrize("kind", ["FIFO", "missing"])
def test_a_secret_that_is_none_stops_no_prompt(index: Path, tmp_path: Path, kind: str) -> None:
    (index / "secret").unlink()
    if kind == "FIFO":
        os.mkfifo(index / "secret")
    with serving(ollama_answer(["An owner may export a report [1]."])) as server:
        assert ask(index, tmp_path, server.url, "--json").status == 0
