"""The shape of the package: layers, public names, what is imported when, and a reference that is whole."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import clockify_rag
import reference
from clockify_rag import config, errors

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "python" / "clockify_rag"
CORE_USERS = {
    "_onnx",
    "index",
    "generations",
    "retrieval",
    "reranking",
    "packing",
    "verification",
    "sentences",
    "loading",
    "chunking",
    "embedding",
    "understanding",
    "crawling",
    "pipeline",
    "changing",
    "explaining",
}
"""The only modules that may import the compiled core: stages that compute, the pipeline that sets its threads, and what writes an
index anew from what is stored."""

HEAVY = (
    "torch",
    "sentence_transformers",
    "onnxruntime",
    "numpy",
    "requests",
    "rich",
    "pydantic",
    "usearch",
    "pathspec",
)


def modules_after(script: str, cwd: Path, *, whole: bool = False) -> set[str]:
    """Return the top-level modules that are loaded at the end of ``script``, or the ``whole`` names of all."""
    report = "import json, sys; sys.stderr.write(chr(0) + json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", f"{script}\n{report}"]
    # What measures the tests' coverage would be loaded in the child too, with all that it loads.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=variables, check=False)
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stderr.rpartition("\0")[2])
    return set(loaded) if whole else {name.partition(".")[0] for name in loaded}


def run_script(*commands: list[str]) -> str:
    return f"from clockify_rag.cli import run\nfor command in {list(commands)!r}: assert run(command) == 0, command"


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indexed")
    (folder / "docs").mkdir()
    (folder / "docs" / "exports.md").write_text("# Exports\n\nTo export a report, open Reports and choose Export.\n")
    (folder / "questions.jsonl").write_text('{"question": "How do I export a report?", "relevant": ["exports.md"]}\n')
    modules_after(run_script(["build", "docs"]), folder)
    return folder


def test_layers_hold() -> None:
    tool = shutil.which("lint-imports", path=str(Path(sys.executable).parent))
    assert tool is not None
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_core_is_known_to_few() -> None:
    knowing = set()
    for file in SOURCES.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body.clear()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (
                node.module == "clockify_rag._core" or "_core" in {alias.name for alias in node.names}
            ):
                knowing.add(Path(file.relative_to(SOURCES).parts[0]).stem)
    assert knowing <= CORE_USERS


def test_public_names_are_exact() -> None:
    assert clockify_rag.__all__ == sorted(clockify_rag.__all__)
    assert set(clockify_rag._HOME) == set(clockify_rag.__all__) - {"__version__"}
    for name, module in clockify_rag._HOME.items():
        assert getattr(clockify_rag, name) is getattr(sys.modules[f"clockify_rag.{module}"], name)
    assert set(clockify_rag.__all__) <= set(dir(clockify_rag))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        clockify_rag.nothing  # noqa: B018 - the access is the test


def test_names_for_type_checkers_are_the_public_ones() -> None:
    tree = ast.parse((SOURCES / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imported = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported == set(clockify_rag._HOME)


def test_every_record_and_protocol_is_public() -> None:
    from clockify_rag import contracts

    defined = {
        name
        for name, value in vars(contracts).items()
        if isinstance(value, type) and value.__module__ == contracts.__name__
    }
    assert defined <= set(clockify_rag.__all__)


def test_the_version_is_the_crates() -> None:
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    assert clockify_rag.__version__ == manifest["package"]["version"]


def test_importing_the_package_imports_nothing_else(tmp_path: Path) -> None:
    bare = modules_after("", tmp_path)
    assert modules_after("import clockify_rag", tmp_path) - bare == {"clockify_rag"}


def test_help_imports_the_parser_only(tmp_path: Path) -> None:
    loaded = modules_after(run_script(["--help"], ["search", "--help"], ["config", "show", "--help"]), tmp_path)
    assert "typer" in loaded
    assert not loaded & {*HEAVY, "msgspec"}


@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        (["search", "How do I export a report?", "--json"], set()),
        (["search", "How do I export a report?"], set()),
        (["ask", "How do I export a report?"], set()),
        (["show", "exports.md"], set()),
        (["documents"], set()),
        (["info"], set()),
        (["config", "show"], set()),
        (["explain", "How do I export a report?"], set()),
        (["eval", "questions.jsonl"], {"numpy"}),
        (["build", "docs"], {"numpy", "pathspec"}),
    ],
)
def test_commands_import_nothing_heavy(indexed: Path, command: list[str], allowed: set[str]) -> None:
    loaded = modules_after(run_script(command), indexed)
    assert loaded & {*HEAVY, "h11", "idna", "watchfiles", "anyio"} <= allowed


def test_a_search_imports_neither_logging_nor_difflib(indexed: Path) -> None:
    typed = modules_after("import typer, typer.main, msgspec.inspect", indexed)
    loaded = modules_after(run_script(["search", "How do I export a report?", "--json"]), indexed)
    assert not (loaded - typed) & {"logging", "difflib"}


def test_an_answer_that_is_kept_in_no_file_loads_no_cryptography(indexed: Path) -> None:
    loaded = modules_after(run_script(["ask", "How do I export a report?"]), indexed)
    assert not loaded & {"hashlib", "_hashlib", "sqlite3"}


def test_a_plain_question_makes_no_patterns_of_mails_models_and_glossaries(indexed: Path) -> None:
    package = "clockify_rag.understanding"
    plain = {f"{package}.{name}" for name in ("kinds", "signs", "steps")}
    for asked, wanted in (
        ("How do I export a report?", plain),
        ("Hello, how do I export a report? Thanks", {*plain, f"{package}.tickets"}),
    ):
        loaded = modules_after(run_script(["search", asked]), indexed, whole=True)
        assert {name for name in loaded if name.startswith(f"{package}.")} == wanted


def test_heavy_packages_are_never_imported_at_module_level() -> None:
    for file in SOURCES.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            heavy = {name.partition(".")[0] for name in names} & set(HEAVY)
            assert not heavy, f"{file.name} imports {heavy}"


def test_no_assertions_in_the_package() -> None:
    for file in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            assert not isinstance(node, ast.Assert), f"{file.name}:{getattr(node, 'lineno', 0)}"


@pytest.mark.parametrize("name", ["cli.md", "configuration.md", "errors.md"])
def test_the_reference_is_generated_from_what_it_describes(name: str) -> None:
    text = (reference.DOCS / name).read_text(encoding="utf-8")
    assert reference.replaced(text, reference.generated()[name]) == text, "run `make format`"


def test_every_command_option_setting_and_error_is_in_the_reference() -> None:
    from typer.core import TyperGroup

    from clockify_rag.cli.app import command

    def options(parser: object, path: str) -> set[tuple[str, str]]:
        found = {(path, option) for parameter in parser.params for option in parameter.opts if option.startswith("-")}  # type: ignore[attr-defined]
        if isinstance(parser, TyperGroup):
            for name, inner in parser.commands.items():
                found |= options(inner, f"{path} {name}")
        return found

    text = (reference.DOCS / "cli.md").read_text(encoding="utf-8")
    for path, option in options(command(), "clockify-rag"):
        assert f"## {path}\n" in text or path == "clockify-rag"
        section = text.partition(f"<!-- generated: {path} -->")[2].partition("<!-- end -->")[0]
        assert option in section, f"{path} {option}"
    settings = (reference.DOCS / "configuration.md").read_text(encoding="utf-8")
    assert all(f"`{key}`" in settings for key, _, _ in config.every_key())
    table = (reference.DOCS / "errors.md").read_text(encoding="utf-8")
    assert all(f"`{error.code}`" in table and f"`{error.__name__}`" in table for error in reference.every_error())


def test_exit_statuses_are_in_the_reference() -> None:
    text = (reference.DOCS / "cli.md").read_text(encoding="utf-8")
    statuses = {int(status) for status in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert {error.exit_code for error in reference.every_error()} | {0, 7, 8, 130, 141} == statuses


def test_every_public_name_is_documented() -> None:
    for file in SOURCES.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), file.name
        for node in tree.body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                assert ast.get_docstring(node), f"{file.name}: {node.name}"


def test_errors_name_the_package_as_their_home() -> None:
    assert all(error.__module__ == errors.__name__ for error in reference.every_error())
