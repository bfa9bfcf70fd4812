"""The command line over a fake pipeline: what is printed where, and how commands end."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from clockify_rag.cli import opening, run
from clockify_rag.contracts import Failure, Skipped
from clockify_rag.errors import IndexCorrupt, IndexNotFound
from fakes import FakePipeline, identifier

SCHEMAS = Path(__file__).parent.parent / "docs" / "schemas"


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakePipeline:
    monkeypatch.chdir(tmp_path)
    fake = FakePipeline()
    fake.settings = None  # type: ignore[attr-defined]

    def opened(configuration: Any) -> FakePipeline:
        fake.settings = configuration.settings  # type: ignore[attr-defined]
        return fake

    monkeypatch.setattr(opening, "pipeline", opened)
    return fake


def printed_json(capfd: pytest.CaptureFixture[str]) -> Any:
    out = capfd.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out)


def assert_valid(value: Any, schema: str) -> None:
    loaded = json.loads((SCHEMAS / f"{schema}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(loaded)
    jsonschema.validate(value, loaded, cls=jsonschema.Draft202012Validator)


def test_search_json_meets_its_schema(pipeline: FakePipeline, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "How?", "--json", "--top-k", "3", "--filter", "language=en", "--filter", "language=de"]) == 0
    value = printed_json(capfd)
    assert_valid(value, "search")
    assert value["hits"][0]["scores"]["document_bm25"] is None
    assert value["hits"][0]["path"] == "a/exports.md"
    assert pipeline.calls == [
        ("search", {"question": "How?", "top_k": 3, "filters": {"language": ("en", "de")}, "lexical": False})
    ]


def test_search_for_people_shows_place_and_no_escape(pipeline: FakePipeline, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "How?"]) == 0
    out = capfd.readouterr().out
    assert out.splitlines()[0] == " 1. Exports [beta] > Formats  (1.625)"
    assert out.splitlines()[1] == "    a/exports.md#formats"
    assert "Use [id_12] red link right ok" in out
    assert not set("\x1b\x9b\u202e") & set(out)


def test_no_hits_is_success(pipeline: FakePipeline, capfd: pytest.CaptureFixture[str]) -> None:
    pipeline.no_hits = True
    assert run(["search", "How?"]) == 0
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "no hits\n")


def test_lexical_search_is_said(pipeline: FakePipeline, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "How?", "--lexical"]) == 0
    assert "without vectors" in capfd.readouterr().err
    assert pipeline.calls[0][1]["lexical"] is True


def test_ask_json_meets_its_schema(pipeline: FakePipeline, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", "How?", "--json", "--generator", "ollama", "--model", "m"]) == 0
    value = printed_json(capfd)
    assert_valid(value, "ask")
    assert value["citations"][0]["quote"] == "Über 24 hours."
    assert pipeline.settings.generation.generator == "ollama"  # type: ignore[attr-defined]
    assert pipeline.settings.generation.model == "m"  # type: ignore[attr-defined]


def test_ask_for_people_prints_answer_and_citations(pipeline: FakePipeline, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", "How?"]) == 0
    captured = capfd.readouterr()
    assert captured.out.splitlines()[-2:] == ["[1] a/exports.md#formats", '    "Über 24 hours."']
    assert "models.example:11434" in captured.err


@pytest.mark.parametrize(("options", "status"), [((), 0), (("--fail-on-refusal",), 7)])
def test_refusal(
    pipeline: FakePipeline, capfd: pytest.CaptureFixture[str], options: tuple[str, ...], status: int
) -> None:
    pipeline.refused = True
    assert run(["ask", "How?", "--json", *options]) == status
    value = printed_json(capfd)
    assert_valid(value, "ask")
    assert value["refused"] is True
    assert run(["ask", "How?"]) == 0
    assert capfd.readouterr().out == "It is not known.\n"


def test_failed_generation_prints_hits_and_ends_with_5(
    pipeline: FakePipeline, capfd: pytest.CaptureFixture[str]
) -> None:
    pipeline.failure = Failure(code="backend_timeout", message="no answer in 2 s", hint="start the server")
    assert run(["ask", "How?", "--json"]) == 5
    value = printed_json(capfd)
    assert_valid(value, "ask")
    assert_valid(value, "error")
    assert len(value["hits"]) == 1
    assert run(["ask", "How?"]) == 5
    captured = capfd.readouterr()
    assert "a/exports.md#formats" in captured.out
    assert captured.err.startswith("error: no answer in 2 s\nhint: start the server\n")


def test_build_reports(pipeline: FakePipeline, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["build", "docs", "--base-url", "https://help.example", "--only", "--no-ignore", "--index", "i"]) == 0
    captured = capfd.readouterr()
    assert captured.out.splitlines()[0] == "2 documents, 3 chunks in generation 1 of i"
    (_, options) = pipeline.calls[0]
    (source,) = options["sources"]
    assert (source.name, source.location, source.base_url) == ("docs", "docs", "https://help.example")
    assert options["only"] is True
    assert pipeline.settings.loading.ignore is False  # type: ignore[attr-defined]


def test_partial_build_ends_with_6(pipeline: FakePipeline, capfd: pytest.CaptureFixture[str]) -> None:
    failure = Failure(code="document_unreadable", message="not UTF-8 at byte 3", hint="")
    unreadable = tuple(Skipped(f"{number}.md", "unreadable", failure) for number in range(25))
    pipeline.skipped = (Skipped(".git", "hidden"), *unreadable)
    assert run(["build", "docs"]) == 6
    captured = capfd.readouterr()
    assert "skipped 1: hidden" in captured.out
    assert "warning: 0.md: not UTF-8 at byte 3" in captured.err
    assert "and 5 more" in captured.err
    assert run(["build", "docs", "--json"]) == 6
    assert printed_json(capfd)["skipped"][1]["error"]["code"] == "document_unreadable"


def test_build_without_sources_is_usage(pipeline: FakePipeline, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["build"]) == 2
    assert "hint: clockify-rag build FOLDER" in capfd.readouterr().err


def test_build_uses_configured_sources(pipeline: FakePipeline) -> None:
    Path("clockify-rag.toml").write_text('[[sources]]\nlocation = "docs"\nname = "help"\nbase_url = "https://h"\n')
    assert run(["build"]) == 0
    assert run(["build", "docs"]) == 0
    assert run(["build", "docs", "--name", "other"]) == 0
    names = [[source.name for source in options["sources"]] for _, options in pipeline.calls]
    assert names == [["help"], ["help"], ["other"]]
    assert pipeline.calls[1][1]["sources"][0].base_url == "https://h"


def test_sources_of_one_name_are_refused(pipeline: FakePipeline, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["build", "a/docs", "b/docs"]) == 2
    assert "two sources are named 'docs'" in capfd.readouterr().err


def test_show(pipeline: FakePipeline, capfd: pytest.CaptureFixture[str]) -> None:
    text = pipeline.index.texts[pipeline.index.page.id]
    assert run(["show", "a/exports.md", "--span", f"{len(text) - 14}:{len(text)}"]) == 0
    assert capfd.readouterr().out == "Über 24 hours.\n"
    assert run(["show", "a/exports.md#formats", "--json"]) == 0
    value = printed_json(capfd)
    assert value["text"] == text[10:]
    assert value["span"] == [10, len(text)]
    assert value["document_id"] == identifier("d")
    assert run(["show", "a/exports.md"]) == 0
    assert capfd.readouterr().out.startswith("# Exports\nUse [id_12] red link")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "b.md"], "has no document 'b.md'"),
        (["show", "a/exports.md#none"], "has no section #none"),
        (["show", "a/exports.md", "--span", "4:1"], "--span 4:1 is not A:B"),
        (["show", "a/exports.md", "--span", "0:99999"], "--span 0:99999 is not A:B"),
        (["search", "How?", "--filter", "colour=red"], "--filter colour=red is not FIELD=VALUE"),
        (["search", "How?", "--top-k", "0"], "retrieval.top_k is 0"),
        (["search", "How?", "--top-k", "many"], "'many' is not a whole number"),
        (["search"], "missing argument"),
        (["search", "a", "b"], "unexpected extra argument"),
        (["search", "--nonsense", "a"], "no such option: --nonsense"),
        (["serch", "a"], "no such command 'serch'"),
        (["search", ""], "the question is empty"),
        (["build", "docs", "--url-style", "php"], "which is not one of directory, html, md"),
    ],
)
def test_usage_errors(
    pipeline: FakePipeline, capfd: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(arguments) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert all(line.startswith("hint: ") for line in lines[1:])
    assert run([*arguments, "--json"]) == 2
    assert_valid(printed_json(capfd), "error")


@pytest.mark.parametrize(("error", "status"), [(IndexNotFound, 3), (IndexCorrupt, 4), (ZeroDivisionError, 1)])
def test_failures_end_with_their_status(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: Any, status: int
) -> None:
    def broken(configuration: Any) -> None:
        raise error("there is \x1b[31mno index")

    monkeypatch.setattr(opening, "pipeline", broken)
    for command in (["search", "a"], ["ask", "a"], ["explain", "a"], ["show", "a"], ["documents"], ["info"]):
        assert run([*command, "--json"]) == status
        captured = capfd.readouterr()
        assert_valid(json.loads(captured.out), "error")
        assert captured.err.startswith("error: ")
        assert "\x1b" not in captured.err
        assert "Traceback" not in captured.err


def test_documents_info_explain(pipeline: FakePipeline, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["documents"]) == 0
    assert capfd.readouterr().out == f"{identifier('d')}\thelp\ta/exports.md\tExports [beta]\n"
    assert run(["documents", "--source", "none", "--json"]) == 0
    assert printed_json(capfd) == {"schema": 1, "generation": 7, "documents": []}
    assert run(["info"]) == 0
    assert "embedder: -\nsegments:\n  1.\n    id: s\n" in capfd.readouterr().out
    assert run(["info", "--json"]) == 0
    assert printed_json(capfd)["documents"] == 1
    assert run(["explain", "How?"]) == 0
    assert "terms: a, b\n" in capfd.readouterr().out
    assert run(["explain", "How?", "a/exports.md", "--json"]) == 0
    assert printed_json(capfd)["chunks"] == [{"id": identifier("c")}]
    assert run(["explain", "How?", identifier("c"), "--json"]) == 0
    assert printed_json(capfd)["chunk"] == {"id": identifier("c")}


def test_invalid_unicode_in_a_question_is_replaced(pipeline: FakePipeline, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "caf\udce9", "--json"]) == 0
    assert printed_json(capfd)["question"] == "caf?"


def test_json_escapes_codes_that_terminals_obey(pipeline: FakePipeline, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "a\x9b\u202e", "--json"]) == 0
    out = capfd.readouterr().out
    assert not set("\x1b\x9b\u202e") & set(out)
    assert json.loads(out)["question"] == "a\x9b\u202e"


def test_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def interrupted(configuration: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(opening, "pipeline", interrupted)
    assert run(["search", "a"]) == 130
    assert "Traceback" not in capfd.readouterr().err


def test_stdout_that_knows_no_unicode_still_works(pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    assert run(["ask", "How?"]) == 0
    narrow.seek(0)
    assert "\\xdcber 24 hours." in narrow.read()


def test_init_writes_a_file_that_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from clockify_rag import config

    monkeypatch.chdir(tmp_path)
    assert run(["init"]) == 0
    assert capfd.readouterr().out == f"{tmp_path / 'clockify-rag.toml'}\n"
    loaded = config.load(directory=tmp_path, environment={})
    assert set(loaded.origins) == {"sources", "sources[0].location"}
    assert run(["init"]) == 2
    assert run(["init", "--force"]) == 0
    every_line = (tmp_path / "clockify-rag.toml").read_text()
    for key, _, default in config.every_key():
        if default not in (None, {}) and not key.startswith("sources"):
            assert f"# {key.partition('.')[2]} = " in every_line


def test_every_default_of_init_can_be_uncommented(tmp_path: Path) -> None:
    from clockify_rag import config
    from clockify_rag.cli.configuring import commented_file

    lines = [line.removeprefix("# ") if " = " in line else line for line in commented_file().splitlines()]
    (tmp_path / "clockify-rag.toml").write_text("\n".join(lines))
    loaded = config.load(directory=tmp_path, environment={})
    expected = config.Settings()
    for table in expected.__struct_fields__:
        if table not in ("index", "sources"):
            assert getattr(loaded.settings, table) == getattr(expected, table)


def test_config_show_tells_origins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLOCKIFY_RAG_CHUNKING__TARGET", "300")
    (tmp_path / "clockify-rag.toml").write_text(
        '[retrieval]\ntop_k = 5\n[generation.refusals]\nen = "No."\n[[sources]]\nlocation = "docs"\n'
    )
    assert run(["config", "show", "--origin"]) == 0
    captured = capfd.readouterr()
    file = tmp_path / "clockify-rag.toml"
    assert f"retrieval.top_k = 5  # file {file}\n" in captured.out
    assert "chunking.target = 300  # environment CLOCKIFY_RAG_CHUNKING__TARGET\n" in captured.out
    assert "chunking.maximum = 800  # default\n" in captured.out
    assert f'generation.refusals.en = "No."  # file {file}\n' in captured.out
    assert captured.err == f"read {file}\n"
    assert run(["config", "show", "--origin", "--json"]) == 0
    value = printed_json(capfd)
    assert value["settings"]["retrieval.top_k"] == {"value": 5, "origin": {"layer": "file", "where": str(file)}}


def test_closed_pipe_ends_quietly(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "clockify_rag", "config", "show"],
            stdout=writing,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.returncode == 141
    assert done.stderr == b""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_terminal_output_is_styled_but_keeps_brackets(
    pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert run(["search", "How?"]) == 0
    out = capfd.readouterr().out
    assert "[id_12]" in out
    assert "Exports [beta]" in out
    assert "http://x" not in out
    assert max(map(len, out.splitlines())) < 200


def test_version_and_help(capfd: pytest.CaptureFixture[str]) -> None:
    from clockify_rag import __version__

    assert run(["--version"]) == 0
    assert capfd.readouterr().out == f"clockify-rag {__version__}\n"
    assert run([]) == 2
    assert run(["search", "-h"]) == 0


def test_doctor_names_each_finding(
    pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor"]) == 0
    assert "ok      index: " in capfd.readouterr().out
    Path("clockify-rag.toml").write_text('[embedding]\nembedder = "acne"\n[generation]\ngenerator = "ollama"\n')
    assert run(["doctor", "--json"]) == 2
    checks = {check["check"]: check for check in printed_json(capfd)["checks"]}
    assert checks["components"]["status"] == "failed"
    assert "there are: " in checks["components"]["hint"]
    assert checks["servers"]["status"] == "warning"

    def broken(configuration: Any) -> None:
        raise IndexNotFound("there is no index at x", hint="clockify-rag build")

    monkeypatch.setattr(opening, "pipeline", broken)
    assert run(["doctor", "--json"]) == 2
    checks = {check["check"]: check for check in printed_json(capfd)["checks"]}
    assert (checks["index"]["status"], checks["index"]["hint"]) == ("warning", "clockify-rag build")

    def damaged(configuration: Any) -> None:
        raise IndexCorrupt("a block of text is not what was written")

    monkeypatch.setattr(opening, "pipeline", damaged)
    Path("clockify-rag.toml").unlink()
    assert run(["doctor"]) == 4
    assert "failed  index: a block of text" in capfd.readouterr().out


def test_progress_is_drawn_on_a_terminal_only(
    pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["build", "docs"]) == 0
    assert pipeline.calls[0][1]["progress"] is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    capfd.readouterr()
    assert run(["build", "docs", "--json"]) == 0
    assert printed_json(capfd)["documents"] == 2
    assert pipeline.calls[1][1]["progress"] is not None


def test_verbose_logs_to_stderr(pipeline: FakePipeline, capfd: pytest.CaptureFixture[str]) -> None:
    import logging

    from clockify_rag import telemetry

    logger = logging.getLogger(telemetry.LOGGER)
    assert run(["--verbose", "search", "How?", "--json"]) == 0
    try:
        logger.debug("said")
        assert "said" in capfd.readouterr().err
    finally:
        for handler in [handler for handler in logger.handlers if hasattr(handler, "clockify_rag")]:
            logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def test_a_file_that_cannot_be_written_is_said(
    pipeline: FakePipeline, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(self: Path, *arguments: Any, **options: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refused)
    assert run(["init"]) == 2
    assert "Permission denied" in capfd.readouterr().err
