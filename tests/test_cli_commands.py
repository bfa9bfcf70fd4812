"""The command line over the real engine: what is printed where, and how commands end."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import fake_server
from clockify_rag import plugins, telemetry
from clockify_rag.cli import app, opening, run, tables
from clockify_rag.contracts import Context, Draft, Query
from clockify_rag.errors import IndexCorrupt, IndexNotFound
from clockify_rag.generation import ExtractiveGenerator
from clockify_rag.pipeline import Pipeline
from fake_server import FakeServer
from folders import write

SCHEMAS = Path(__file__).parent.parent / "docs" / "schemas"

QUESTION = "How do I export a report?"
HOSTILE = "Export [id_12] \x1b[31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07 \u202eright\u202c \x9b2J ok"
PAGES = {
    "docs/a/exports.md": "# Exports [beta]\n\n## Formats\n\nTo export a report, open Reports. Choose [id_12]. It takes 24 Stunden über Nacht.\n",
    "docs/b/clients.md": "---\ntags: [people]\n---\n# Clients\n\nA client pays for projects.\n\n## Archive\n\nArchive a client.\n",
    "docs/c/kunden.md": "# Kunden\n\nEin Kunde bezahlt Projekte und bekommt am Ende des Monats eine Rechnung von uns.\n",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pages and their index where the default is."""
    folder = write(tmp_path_factory.mktemp("built"), PAGES)
    assert run(["build", str(folder / "docs"), "--index", str(folder / ".clockify-rag")]) == 0
    return folder


@pytest.fixture
def folder(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Path:
    """The working directory of a command: pages and an index that the test may spoil."""
    copy = tmp_path / "work"
    shutil.copytree(built, copy)
    monkeypatch.chdir(copy)
    capfd.readouterr()
    return copy


def printed_json(capfd: pytest.CaptureFixture[str]) -> Any:
    out = capfd.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out)


def assert_valid(value: Any, schema: str) -> None:
    loaded = json.loads((SCHEMAS / f"{schema}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(loaded)
    jsonschema.validate(value, loaded, cls=jsonschema.Draft202012Validator)


def result_of(capfd: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Any:
    capfd.readouterr()
    assert run([*arguments, "--json"]) == status
    return printed_json(capfd)


def test_every_command_that_prints_json_has_a_schema() -> None:
    def commands(parser: Any, path: str) -> Iterator[str]:
        if any("--json" in parameter.opts for parameter in parser.params):
            yield path
        for name, inner in getattr(parser, "commands", {}).items():
            yield from commands(inner, f"{path}-{name}".removeprefix("-"))

    named = {f"{name}.schema.json" for name in {*commands(app.command(), ""), "error"}}
    assert named == {file.name for file in SCHEMAS.iterdir()}
    page = (SCHEMAS.parent / "cli.md").read_text(encoding="utf-8")
    assert all(f"(schemas/{name})" in page for name in named - {"error.schema.json"})


@pytest.mark.usefixtures("folder")
def test_search_json_meets_its_schema(capfd: pytest.CaptureFixture[str]) -> None:
    value = result_of(capfd, "search", QUESTION, "--top-k", "1", "--filter", "language=en", "--filter", "language=de")
    assert_valid(value, "search")
    (hit,) = value["hits"]
    assert (hit["path"], hit["anchor"]) == ("a/exports.md", "formats")
    others = result_of(capfd, "search", QUESTION, "--filter", "language=de")
    assert {hit["path"] for hit in others["hits"]} <= {"c/kunden.md"}


@pytest.mark.usefixtures("folder")
def test_search_for_people_shows_headings_place_and_text(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["search", QUESTION]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith(" 1. Exports [beta] > Formats  (")
    assert lines[1] == "    a/exports.md#formats"
    assert lines[2].startswith("    To export a report, open Reports. Choose [id_12].")


def hostile_page(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Build a page whose title is meant for a terminal: JSON keeps codes that Markdown and HTML lose."""
    write(
        folder,
        {
            "docs/odd.jsonl": json.dumps(
                {"id": HOSTILE, "title": HOSTILE, "text": "To import odd things, open Imports."}
            )
        },
    )
    assert run(["build", "docs"]) == 0
    capfd.readouterr()


def test_no_escape_reaches_a_terminal(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hostile_page(folder, capfd)
    for command in (["search", "How do I import odd things?"], ["ask", "How do I import odd things?"], ["documents"]):
        assert run(command) == 0
        out = capfd.readouterr().out
        assert command[0] == "ask" or "Export [id_12] red link right ok" in out
        assert not set("\x1b\x9b\u202e") & set(out)


@pytest.mark.usefixtures("folder")
def test_no_hits_is_success(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "zyxwv", "--lexical"]) == 0
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "no hits\n")


@pytest.mark.usefixtures("folder")
def test_lexical_search_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["search", QUESTION, "--lexical"]) == 0
    assert "without vectors" in capfd.readouterr().err
    assert result_of(capfd, "search", QUESTION, "--lexical")["lexical_only"] is True


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--filter", "source=dcos"], "hint: --filter source=docs"),
        (["--filter", "tags=peopel"], "hint: --filter tags=people"),
        (["--filter", "kind=tabel"], "hint: --filter kind=table"),
        (["--filter", "language=english"], "hint: there are: de, en"),
    ],
)
@pytest.mark.parametrize("command", ["search", "ask"])
@pytest.mark.usefixtures("folder")
def test_a_filter_on_what_the_index_has_not_names_the_nearest(
    capfd: pytest.CaptureFixture[str], command: str, arguments: list[str], said: str
) -> None:
    assert run([command, QUESTION, *arguments]) == 0
    warning, hint, *_ = capfd.readouterr().err.splitlines()
    field, _, value = arguments[1].partition("=")
    assert warning == f"warning: the index has nothing of {field} {value}"
    assert hint == said


@pytest.mark.usefixtures("folder")
def test_ask_json_meets_its_schema(capfd: pytest.CaptureFixture[str]) -> None:
    value = result_of(capfd, "ask", QUESTION)
    assert_valid(value, "ask")
    assert value["generator"] == "extractive"
    assert value["citations"][0]["path"] == "a/exports.md"


@pytest.mark.usefixtures("folder")
def test_ask_for_people_prints_answer_and_citations(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", QUESTION]) == 0
    captured = capfd.readouterr()
    assert "[1] a/exports.md#formats" in captured.out.splitlines()
    assert "To export a report, open Reports." in captured.out
    assert captured.err == ""


def build_in(monkeypatch: pytest.MonkeyPatch, group: str, name: str, component: type) -> None:
    """Make a class of this file one of the package's own components."""
    monkeypatch.setitem(sys.modules, "of_this_file", sys.modules[__name__])
    own = {**plugins.BUILT_IN[group], name: f"of_this_file:{component.__name__}"}
    monkeypatch.setattr(plugins, "BUILT_IN", {**plugins.BUILT_IN, group: own})


class Elsewhere(ExtractiveGenerator):
    """Says that it asked another host."""

    def generate(self, query: Query, context: Context) -> Draft:
        draft = super().generate(query, context)
        return Draft(text=draft.text, quotes=draft.quotes, sent_to=("models.example:11434",))


def test_another_host_that_saw_the_question_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    build_in(monkeypatch, "generators", "extractive", Elsewhere)
    assert run(["ask", QUESTION]) == 0
    assert capfd.readouterr().err == "the question was sent to models.example:11434\n"
    assert result_of(capfd, "ask", QUESTION)["sent_to"] == ["models.example:11434"]


@pytest.mark.parametrize(("options", "status"), [((), 0), (("--fail-on-refusal",), 7)])
@pytest.mark.usefixtures("folder")
def test_refusal(capfd: pytest.CaptureFixture[str], options: tuple[str, ...], status: int) -> None:
    question = "zyxwv qponm lkjih export?"
    value = result_of(capfd, "ask", question, *options, status=status)
    assert_valid(value, "ask")
    assert value["refused"] is True
    assert run(["ask", question]) == 0
    captured = capfd.readouterr()
    assert captured.out == f"{value['answer']}\n"
    assert captured.err.startswith("refused: ")


def generator_at(folder: Path, url: str) -> None:
    text = f'[generation]\ngenerator = "ollama"\nurl = "{url}"\nmodel = "llama3"\nconnect_seconds = 1\n'
    write(folder, {"clockify-rag.toml": text})


def test_failed_generation_prints_hits_and_ends_with_5(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    generator_at(folder, "http://127.0.0.1:9")
    value = result_of(capfd, "ask", QUESTION, status=5)
    assert_valid(value, "ask")
    assert_valid(value, "error")
    assert value["failure"]["code"] == "backend_unavailable"
    assert value["hits"]
    assert run(["ask", QUESTION]) == 5
    captured = capfd.readouterr()
    assert "a/exports.md#formats" in captured.out
    assert captured.err.startswith(f"error: {value['failure']['message']}\nhint: ")


def test_an_answer_that_broke_off_is_printed_and_marked(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with FakeServer([fake_server.head(), fake_server.ollama_lines(["Open Reports"])[0]]) as server:
        generator_at(folder, server.url)
        value = result_of(capfd, "ask", QUESTION, status=5)
        assert_valid(value, "ask")
        assert value["incomplete"] is True
        assert value["answer"]
        assert run(["ask", QUESTION]) == 5
    captured = capfd.readouterr()
    assert captured.out.startswith("Open Reports")
    assert captured.err.startswith("the answer is incomplete: it broke off\nerror: ")


def test_a_fallback_that_answers_is_told(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    generator_at(folder, "http://127.0.0.1:9")
    with (folder / "clockify-rag.toml").open("a") as file:
        file.write('fallbacks = ["extractive"]\n')
    value = result_of(capfd, "ask", QUESTION)
    assert_valid(value, "ask")
    assert value["generator"] == "extractive"
    assert value["degraded"][0]["code"] == "backend_unavailable"
    assert run(["ask", QUESTION]) == 0
    assert capfd.readouterr().err.startswith(
        f"warning: {value['degraded'][0]['message']}; that part was done without\n"
    )


def test_doctor_names_the_servers_of_fallbacks(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(folder, {"clockify-rag.toml": '[generation]\nfallbacks = ["ollama:llama3.2"]\n'})
    assert run(["doctor"]) == 0
    assert "fallback ollama asks its default address" in capfd.readouterr().out


def test_asking_twice_tells_whether_the_answers_differ(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", QUESTION, "--check-determinism"]) == 0
    assert capfd.readouterr().err == "asked twice: the answers are equal\n"
    same = [fake_server.ollama_answer([word]) for word in ("Open Reports.", "Open Reports.", "Press Export.")]
    with FakeServer(*same) as server:
        generator_at(folder, server.url)
        value = result_of(capfd, "ask", QUESTION, "--check-determinism")
        assert_valid(value, "ask")
        assert value["deterministic"] is True
        assert len(server.requests) == 2
        server.requests.pop()
        value = result_of(capfd, "ask", QUESTION, "--check-determinism", status=8)
        assert value["deterministic"] is False


def test_another_generator_never_asks_the_address_of_the_configured_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "s3cret")
    asked: list[str] = []
    with FakeServer([b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"]) as server:
        generator_at(folder, server.url)
        assert run(["ask", QUESTION, "--json"]) == 5
        assert len(server.requests) >= 1
        server.requests.clear()

        def remembered(self: Any, name: str, **options: Any) -> Any:
            asked.append(options["url"]) if "url" in options else asked.append("default")
            raise IndexNotFound("stop here")

        real = plugins.create

        def create(group: str, name: str, arguments: Any = None, /, **options: Any) -> Any:
            return (
                remembered(None, name, **options) if group == "generators" else real(group, name, arguments, **options)
            )

        monkeypatch.setattr(plugins, "create", create)
        assert run(["ask", QUESTION, "--generator", "openai", "--json"]) == 3
        assert server.requests == []
    assert asked == ["default"]


def test_build_reports(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = ["--base-url", "https://help.example", "--only", "--no-ignore", "--index", "i"]
    write(folder, {"docs/node_modules/d.md": "# D\n\nWords.\n"})
    assert run(["build", "docs", *options]) == 0
    captured = capfd.readouterr()
    assert captured.out.splitlines()[0] == "4 documents, 6 chunks in generation 1 of i"
    assert "1 documents are in languages that the embedder does not know: found by words" in captured.out
    pages = result_of(capfd, "documents", "--index", "i")["documents"]
    assert "https://help.example/a/exports.html" in [page["url"] for page in pages]
    write(folder, {"other/e.md": "# E\n\nWords.\n"})
    value = result_of(capfd, "build", "other", "--only", "--index", "i")
    assert_valid(value, "build")
    assert (value["documents"], value["added"], value["removed"]) == (1, 1, 4)


def test_partial_build_ends_with_6(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(folder, {f"docs/{number:02}.md": b"\xc3\x28 \xff" for number in range(24)})
    write(folder, {"docs/faq.jsonl": '{"id": "a", "text": "Good."}\nbroken\n', "docs/.hidden": ""})
    assert run(["build", "docs"]) == 6
    captured = capfd.readouterr()
    assert "skipped 1: hidden" in captured.out
    lines = captured.err.splitlines()
    assert len(lines) == 21
    assert lines[0].startswith("warning: 00.md cannot be read: ")
    assert lines[0].count("00.md") == 1
    assert lines[-1] == "warning: and 5 more; --json names them all"
    value = result_of(capfd, "build", "docs", status=6)
    assert_valid(value, "build")
    assert value["skipped"][-1]["file"] == "faq.jsonl"
    assert value["skipped"][-1]["error"]["code"] == "document_unreadable"


def test_a_broken_line_is_named_once(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(folder, {"docs/faq.jsonl": '{"id": "a", "text": "Good."}\nbroken\n'})
    assert run(["build", "docs"]) == 6
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("warning: line 2 of faq.jsonl is no document: ")


def test_of_a_file_of_broken_lines_the_first_are_named_and_what_to_do_once(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    questions = '{"question": "Who?"}\n' * 30
    write(folder, {"docs/one.jsonl": questions, "docs/two.jsonl": questions, "docs/a.md": "# A\n\nWords."})
    assert run(["build", "docs"]) == 6
    lines = capfd.readouterr().err.splitlines()
    assert [line[:30] for line in lines] == [
        line[:30]
        for file in ("one.jsonl", "two.jsonl")
        for line in (
            *(f"warning: line {number} of {file} is no document" for number in (1, 2, 3)),
            f"warning: and 27 more of {file}",
        )
    ]
    assert [line.endswith(")") for line in lines] == [True] + 7 * [False]


def test_a_name_cannot_begin_a_line_of_its_own(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(folder, {"docs/a\nerror: all is lost\r\u2028x.md": b"\xc3\x28 \xff"})
    assert run(["build", "docs"]) == 6
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("warning: a error: all is lost")
    assert run(["show", "a\nhint: b.md"]) == 2
    assert [text.partition(":")[0] for text in capfd.readouterr().err.splitlines()] == ["error", "hint"]
    write(folder, {"docs/a\nb.md": "# Odd\n\nodd name\n"})
    assert run(["build", "docs"]) == 6
    capfd.readouterr()
    assert run(["search", "odd name", "--top-k", "1"]) == 0
    assert "    a b.md#odd" in capfd.readouterr().out.splitlines()


@pytest.mark.usefixtures("folder")
def test_build_without_sources_is_usage(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["build"]) == 2
    assert "hint: clockify-rag build FOLDER" in capfd.readouterr().err


def test_build_uses_configured_sources(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = '[[sources]]\nlocation = "docs"\nname = "help"\nbase_url = "https://h"\n'
    write(folder, {"clockify-rag.toml": text})

    def built_as(*arguments: str) -> set[tuple[str, str | None]]:
        result_of(capfd, "build", *arguments, "--only", "--index", "i")
        pages = result_of(capfd, "documents", "--index", "i")["documents"]
        return {(page["source"], page["url"]) for page in pages if page["path"].startswith("a/")}

    assert built_as() == {("help", "https://h/a/exports.html")}
    assert built_as("docs") == {("help", "https://h/a/exports.html")}
    assert built_as("docs", "--name", "other") == {("other", "https://h/a/exports.html")}


@pytest.mark.usefixtures("folder")
def test_sources_of_one_name_are_refused(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["build", "a/docs", "b/docs"]) == 2
    assert "two sources are named 'docs'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("sources", "text", "warned"),
    [
        (["docs", "docs/a"], "", "source a (docs/a) lies in source docs (docs)"),
        (["docs", "again=docs"], "", "source docs (docs) lies in source again (docs)"),
        (["docs", "docs/a/exports.md"], "", "source exports (docs/a/exports.md) lies in source docs (docs)"),
        (["docs/a"], '[[sources]]\nlocation = "docs"\n', "source a (docs/a) lies in source docs ("),
        (["docs/a"], '[[sources]]\nlocation = "docs"\nexclude = ["a/"]\n', None),
        (["docs/a", "docs/b"], "", None),
        (["docs"], '[[sources]]\nlocation = "docs"\n', None),
    ],
)
def test_sources_that_overlap_are_told(
    folder: Path, capfd: pytest.CaptureFixture[str], sources: list[str], text: str, warned: str | None
) -> None:
    write(folder, {"clockify-rag.toml": text})
    assert run(["build", *sources, "--index", "i"]) == 0
    lines = capfd.readouterr().err.splitlines()
    assert [line.startswith(f"warning: {warned}") for line in lines] == ([] if warned is None else [True])


@pytest.mark.parametrize(
    ("index", "message", "hint"),
    [
        ("docs", "docs holds files and is no index", "--index docs/.clockify-rag"),
        (".", ". holds files and is no index", "--index .clockify-rag"),
        ("f.txt", "f.txt is a file, and an index is a folder", "--index .clockify-rag"),
        (
            "docs/a/exports.md/i",
            "docs/a/exports.md is a file, and an index is a folder",
            "--index docs/a/.clockify-rag",
        ),
    ],
)
def test_what_is_no_index_is_never_built_into(
    folder: Path, capfd: pytest.CaptureFixture[str], index: str, message: str, hint: str
) -> None:
    write(folder, {"f.txt": "text"})
    before = sorted(folder.rglob("*"))
    value = result_of(capfd, "build", "docs", "--index", index, status=4)
    assert (value["error"]["message"], value["error"]["hint"]) == (message, hint)
    assert sorted(folder.rglob("*")) == before
    value = result_of(capfd, "search", QUESTION, "--index", index, status=4 if "is a file" in message else 3)
    assert "remove" not in value["error"]["hint"]


def test_a_foreign_file_called_current_makes_no_index(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(folder, {"docs/CURRENT": "now"})
    value = result_of(capfd, "build", "docs", "--index", "docs", status=4)
    assert value["error"]["message"] == "docs holds files and is no index"


def test_what_a_killed_build_left_is_built_into(folder: Path) -> None:
    write(folder, {"i/lock": "1\n", "i/secret.tmp": "", "i/segments/000001-0/text": ""})
    assert run(["build", "docs", "--index", "i"]) == 0


@pytest.mark.usefixtures("folder")
def test_show(capfd: pytest.CaptureFixture[str]) -> None:
    text = result_of(capfd, "show", "a/exports.md")["text"]
    at = text.index("über")
    assert run(["show", "a/exports.md", "--span", f"{at}:{at + 4}"]) == 0
    assert capfd.readouterr().out == "über\n"
    value = result_of(capfd, "show", "a/exports.md#formats")
    assert_valid(value, "show")
    assert "file" not in value
    assert value["text"] == text[slice(*value["span"])]
    assert value["text"].startswith("To export a report")
    assert run(["show", "a/exports.md"]) == 0
    captured = capfd.readouterr()
    assert captured.out.startswith("Exports [beta]\n")
    assert "Choose [id_12]" in captured.out
    assert captured.err == "Exports [beta] (docs: a/exports.md)\n"


@pytest.mark.parametrize("name", ["exports", "exports.md", "a/exports", "a/exports.md", "docs/a/exports.md"])
@pytest.mark.usefixtures("folder")
def test_a_page_is_found_by_the_names_people_type(capfd: pytest.CaptureFixture[str], name: str) -> None:
    assert result_of(capfd, "show", name)["path"] == "a/exports.md"
    # Its section, and the heading above it.
    assert len(result_of(capfd, "explain", QUESTION, name)["chunks"]) == 2


@pytest.mark.parametrize("name", ["export", "exprots.md", "A/Exports.md", "a/exprots.md", "exports.html"])
@pytest.mark.usefixtures("folder")
def test_a_page_that_is_not_there_names_the_nearest(capfd: pytest.CaptureFixture[str], name: str) -> None:
    value = result_of(capfd, "show", name, status=2)
    assert value["error"] == {
        "code": "source",
        "message": f"the index has no document {name!r}",
        "hint": "the nearest is a/exports.md",
    }


def test_a_name_of_two_pages_is_refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(folder, {"docs/d/exports.md": "# Other exports\n\nWords.\n"})
    assert run(["build", "docs"]) == 0
    for name in ("exports.md", "exports"):
        assert "2 documents are called" in result_of(capfd, "show", name, status=2)["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "zzz.md"], "has no document 'zzz.md'"),
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
        (["search", ""], "the question has no letter or digit"),
        (["build", "docs", "--url-style", "php"], "which is not one of directory, html, md"),
        (["build", "docs", "--language", "english"], "which is not an ISO 639-1 code such as en"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_usage_errors(capfd: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert run(arguments) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert all(line.startswith("hint: ") for line in lines[1:])
    assert_valid(result_of(capfd, *arguments, status=2), "error")


def test_an_argument_that_a_component_cannot_use_is_a_setting(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(folder, {"clockify-rag.toml": '[chunking]\narguments = {target = "x"}\n'})
    value = result_of(capfd, "build", "docs", status=2)
    assert value["error"]["code"] == "invalid_setting"
    assert "'structure' among the chunkers cannot be made" in value["error"]["message"]


def test_a_working_directory_that_is_gone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "gone").mkdir()
    monkeypatch.chdir(folder / "gone")
    (folder / "gone").rmdir()
    try:
        for command in (["search", "a"], ["build", "docs"], ["init"], ["config", "show"]):
            assert run(command) == 2
    finally:
        monkeypatch.chdir(folder)


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


@pytest.mark.usefixtures("folder")
def test_documents(capfd: pytest.CaptureFixture[str]) -> None:
    value = result_of(capfd, "documents")
    assert_valid(value, "documents")
    page = value["documents"][0]
    assert "file" not in page
    assert run(["documents"]) == 0
    captured = capfd.readouterr()
    assert captured.out.splitlines()[0] == f"{page['document_id']}\tdocs\ta/exports.md\tExports [beta]"
    assert run(["documents", "--source", "dcos", "--json"]) == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out)["documents"] == []
    assert captured.err == "warning: the index has nothing of source dcos\nhint: --source docs\n"


@pytest.mark.usefixtures("folder")
def test_info_and_explain(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["info"]) == 0
    assert "embedder:\n  name: static\n" in capfd.readouterr().out
    value = result_of(capfd, "info")
    assert_valid(value, "info")
    assert value["documents"] == 3
    assert run(["explain", QUESTION]) == 0
    assert "terms: export, report\n" in capfd.readouterr().out
    page = result_of(capfd, "explain", QUESTION, "b/clients.md")
    assert_valid(page, "explain")
    assert len(page["chunks"]) == 2
    chunk = page["hits"][0]["chunk_id"]
    one = result_of(capfd, "explain", QUESTION, chunk)
    assert_valid(one, "explain")
    assert one["chunks"] == [page["hits"][0]["bm25"]]


@pytest.mark.usefixtures("folder")
def test_why_not(capfd: pytest.CaptureFixture[str]) -> None:
    found = result_of(capfd, "why-not", QUESTION, "kunden", "--filter", "language=en")
    assert_valid(found, "why-not")
    assert found["stage"] == "filter"
    assert_valid(result_of(capfd, "why-not", QUESTION, "nothing.md"), "why-not")
    cited = result_of(capfd, "why-not", QUESTION, "exports")
    assert_valid(cited, "why-not")
    assert cited["stage"] is None
    assert run(["why-not", "archive a zeppelin", "a/exports.md", "--top-k", "1"]) == 0
    out = capfd.readouterr().out
    assert out.splitlines()[:2] == ["archive a zeppelin", "Exports [beta] (a/exports.md)"]
    assert "words on the page: -; missing: archive, zeppelin" in out


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.usefixtures("folder")
def test_an_explanation_is_as_wide_as_the_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr(tables, "width", lambda: columns)
    for arguments in (["explain", QUESTION, "b/clients.md"], ["why-not", QUESTION, "kunden"]):
        assert run(arguments) == 0
        lines = capfd.readouterr().out.splitlines()
        assert lines
        assert max(map(tables.cells, lines)) <= columns


@pytest.mark.usefixtures("folder")
def test_answers_made_beforehand(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "faq.txt"
    file.write_text(f'# often asked\n{QUESTION}\n\n{{"question": "Who pays?"}}\n', encoding="utf-8")
    value = result_of(capfd, "faq", "build", str(file))
    assert_valid(value, "faq-build")
    assert (value["answers"], value["failed"]) == (2, {})
    assert "cache" in result_of(capfd, "ask", QUESTION)["timings_ms"]
    assert "cache" not in result_of(capfd, "ask", QUESTION, "--no-cache")["timings_ms"]
    info = result_of(capfd, "info")
    assert_valid(info, "info")
    assert info["faq"] == {"entries": 2, "lookups": 1, "hits": 1, "hit_rate": 1.0}
    assert info["answer_cache"] is None
    assert run(["faq", "build", str(file)]) == 0
    assert capfd.readouterr().out.startswith("2 answers")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "has no question"), (b"\xff", "it is not UTF-8"), (b'{"q": 1}', "line 1 is no question"), (None, "No such")],
)
@pytest.mark.usefixtures("folder")
def test_a_file_of_no_questions_is_refused(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "faq.txt").write_bytes(content)
    error = result_of(capfd, "faq", "build", str(tmp_path / "faq.txt"), status=2)["error"]
    assert message in error["message"]


@pytest.mark.usefixtures("folder")
def test_invalid_unicode_in_a_question_is_replaced(capfd: pytest.CaptureFixture[str]) -> None:
    assert result_of(capfd, "search", "caf\udce9")["question"] == "caf?"


@pytest.mark.usefixtures("folder")
def test_json_escapes_codes_that_terminals_obey(capfd: pytest.CaptureFixture[str]) -> None:
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


@pytest.mark.usefixtures("folder")
def test_stdout_that_knows_no_unicode_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    assert run(["show", "exports"]) == 0
    narrow.seek(0)
    assert "24 Stunden \\xfcber Nacht." in narrow.read()


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


def test_config_show_tells_the_origin_of_each_field_of_a_source(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(folder, {"clockify-rag.toml": '[[sources]]\nlocation = "docs"\n'})
    assert run(["config", "show", "--origin"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert f'sources[0].location = "{folder / "docs"}"  # file {folder / "clockify-rag.toml"}' in lines
    assert 'sources[0].url_style = "html"  # default' in lines
    for arguments in ((), ("--origin",)):
        assert_valid(result_of(capfd, "config", "show", *arguments), "config-show")


def test_no_command_prints_a_secret(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = (
        '[generation]\ngenerator = "openai"\nurl = "https://user:s3cret@models.example/v1?token=s3cret"\n'
        '[generation.arguments]\napi_key = "s3cret"\nmax_tokens = 77\n[generation.arguments.headers]\nX-Token = "s3cret"\n'
        '[[sources]]\nlocation = "docs"\nbase_url = "https://user:s3cret@help.example"\n'
    )
    write(folder, {"clockify-rag.toml": text})
    for command in (["config", "show"], ["config", "show", "--origin"], ["config", "show", "--json"], ["doctor"]):
        assert run(command) == 0
        captured = capfd.readouterr()
        assert "s3cret" not in captured.out + captured.err
        assert "https://***@models.example/v1?token=***" in captured.out
        assert command == ["doctor"] or "77" in captured.out


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_terminal_output_is_styled_but_keeps_brackets(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    hostile_page(folder, capfd)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert run(["search", "How do I import odd things?"]) == 0
    out = capfd.readouterr().out
    assert "\x1b[1m 1. Export [id_12] red link right ok" in out
    assert "Exports [beta]" in out
    assert "http://x" not in out


def test_version_and_help(capfd: pytest.CaptureFixture[str]) -> None:
    from clockify_rag import __version__

    assert run(["--version"]) == 0
    assert capfd.readouterr().out == f"clockify-rag {__version__}\n"
    assert run([]) == 2
    assert run(["search", "-h"]) == 0


@pytest.mark.usefixtures("folder")
def test_doctor_names_each_finding(capfd: pytest.CaptureFixture[str]) -> None:
    value = result_of(capfd, "doctor")
    assert_valid(value, "doctor")
    (index,) = (check for check in value["checks"] if check["check"] == "index")
    assert index["status"] == "ok"
    assert "3 documents" in index["detail"]
    assert "searched by words only: 1 pages in de" in index["detail"]
    Path("clockify-rag.toml").write_text('[embedding]\nembedder = "acne"\n[generation]\ngenerator = "ollama"\n')
    checks = checks_of(capfd, status=2)
    assert checks["components"]["status"] == "failed"
    assert "there are: " in checks["components"]["hint"]
    assert checks["servers"]["status"] == "warning"
    Path("clockify-rag.toml").unlink()
    none = checks_of(capfd, "--index", "none")["index"]
    assert (none["status"], none["hint"]) == ("warning", "clockify-rag build FOLDER makes one")


def checks_of(capfd: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> Mapping[str, Any]:
    return {check["check"]: check for check in result_of(capfd, "doctor", *arguments, status=status)["checks"]}


@pytest.mark.parametrize("name", ["text", "vectors.i8", "documents", "postings"])
def test_doctor_finds_a_flipped_bit(folder: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    (file,) = (folder / ".clockify-rag" / "segments").rglob(name)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    index = checks_of(capfd, status=4)["index"]
    assert index["status"] == "failed"
    assert name in index["detail"]


def test_doctor_finds_an_embedder_that_made_other_vectors(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    build_in(monkeypatch, "embedders", "mine", Mine)
    write(folder, {"clockify-rag.toml": '[embedding]\nembedder = "mine"\n'})
    index = checks_of(capfd, status=4)["index"]
    assert index["status"] == "failed"
    assert "the index's vectors are of embedder static" in index["detail"]
    assert "clockify-rag reembed mine" in index["hint"]


def test_doctor_finds_an_embedder_whose_server_is_away(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = '[embedding]\nembedder = "ollama"\nmodel = "m"\nurl = "http://127.0.0.1:9"\n'
    write(folder, {"clockify-rag.toml": text})
    assert checks_of(capfd, status=5)["index"]["status"] == "failed"
    command = [sys.executable, "-m", "clockify_rag", "doctor", "--offline", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    checks = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
    assert "the index's vectors are of embedder static" in checks["index"]["detail"]


class Mine:
    """An embedder of one number."""

    dimension = 1

    def fingerprint(self) -> str:
        return "mine"

    def embed(self, texts: Any) -> Any:
        import numpy

        return numpy.ones((len(texts), 1), numpy.float32)

    embed_questions = embed


@pytest.mark.usefixtures("folder")
def test_doctor_tells_that_there_are_no_vectors(capfd: pytest.CaptureFixture[str]) -> None:
    Path("clockify-rag.toml").write_text('[embedding]\nembedder = "none"\n')
    assert run(["build", "docs", "--index", "i"]) == 0
    assert "searched by words only: all pages" in checks_of(capfd, "--index", "i")["index"]["detail"]


@pytest.mark.usefixtures("folder")
def test_progress_is_drawn_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    given: list[Any] = []
    build = Pipeline.build

    def noting(self: Pipeline, sources: Any, **options: Any) -> Any:
        given.append(options["progress"])
        return build(self, sources, **options)

    monkeypatch.setattr(Pipeline, "build", noting)
    assert run(["build", "docs"]) == 0
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    capfd.readouterr()
    assert run(["build", "docs", "--json"]) == 0
    assert printed_json(capfd)["documents"] == 3
    assert [progress is not None for progress in given] == [False, True]


@pytest.fixture
def quiet_logger() -> Iterator[logging.Logger]:
    """The package's logger, as it was before afterwards."""
    logger = logging.getLogger(telemetry.LOGGER)
    yield logger
    for handler in [handler for handler in logger.handlers if hasattr(handler, "clockify_rag")]:
        logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


@pytest.mark.usefixtures("folder", "quiet_logger")
def test_verbose_logs_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--verbose", "search", QUESTION, "--json"]) == 0
    assert "search took" in capfd.readouterr().err


def test_a_file_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def refused(self: Path, *arguments: Any, **options: Any) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refused)
    assert run(["init"]) == 2
    assert "Permission denied" in capfd.readouterr().err
