"""README's commands for users, run as they stand there: from the wheel, in a new environment, without a compiler.

What is run: in fenced blocks, every line that begins with ``clockify-rag`` or ``$ clockify-rag``, in order and in one folder, and
after them every block of Python. Folders that ``build`` is given are copies of the example help centre. Lines that install are
replaced by the installation of the wheel in ``dist/``; ``make`` is for those who build, and other tests are about that.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.build, pytest.mark.slow]

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = ROOT / "examples" / "help-center" / "docs"
PROGRAM = "clockify-rag"
TOOLS = ("cargo", "rustc", "maturin", "cc", "gcc", "clang", "c++", "g++", "make")
VALUED = frozenset({"--index", "--base-url", "--url-style", "--name", "--language", "--embedder"})
"""Options of ``build`` that take the next word."""


def blocks(*languages: str) -> Iterator[str]:
    """Return the contents of README's fenced blocks in these languages."""
    for language, content in re.findall(r"^```([\w-]*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        if language in languages:
            yield content


def commands() -> list[list[str]]:
    """Return README's commands as lists of words."""
    lines = "\n".join(blocks("", "sh", "bash", "shell", "console")).replace("\\\n", " ").splitlines()
    typed = (line.strip().removeprefix("$ ") for line in lines)
    return [shlex.split(line, comments=True) for line in typed if line.split(" ")[0] == PROGRAM]


def sources(words: Sequence[str]) -> list[str]:
    """Return what a ``build`` is to read."""
    rest = iter(words[2:])
    found = []
    for word in rest:
        if word in VALUED:
            next(rest, None)
        elif not word.startswith("-"):
            found.append(word)
    return found


@dataclass(frozen=True)
class Environment:
    """A new environment that holds the wheel, and a user's folder."""

    executables: Path
    home: Path

    def run(self, words: Sequence[str], *, timeout: int = 120) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment with nothing else on the path."""
        variables = {"PATH": str(self.executables), "HOME": str(self.home), "LANG": "C.UTF-8"}
        program = self.executables / words[0]
        return subprocess.run(
            [program, *words[1:]],
            cwd=self.home,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    wheels = sorted((ROOT / "dist").glob("clockify_rag-*.whl"), key=lambda path: path.stat().st_mtime)
    if not wheels:
        pytest.skip("there is no wheel in dist/; make build makes one")
    folder = tmp_path_factory.mktemp("user")
    executables = folder / "environment" / "bin"
    subprocess.run([sys.executable, "-m", "venv", executables.parent], check=True)
    pip = [str(executables / "python"), "-m", "pip", "--disable-pip-version-check"]
    variables = {**os.environ, "PATH": str(executables)}
    install = [*pip, "install", "--quiet", "--only-binary", ":all:", str(wheels[-1])]
    installed = subprocess.run(install, env=variables, capture_output=True, text=True, check=False)
    if installed.returncode != 0:
        probe = [*pip, "download", "--quiet", "--no-deps", "--dest", str(folder), "msgspec"]
        if subprocess.run(probe, env=variables, capture_output=True, check=False).returncode != 0:
            pytest.skip("the package index, from which the wheel's dependencies come, is out of reach")
        pytest.fail(f"the wheel cannot be installed:\n{installed.stderr}")
    home = folder / "home"
    home.mkdir()
    return Environment(executables, home)


@pytest.fixture(scope="module")
def ran(environment: Environment) -> list[tuple[list[str], subprocess.CompletedProcess[str]]]:
    """README's commands and how they ended."""
    results = []
    for typed in commands():
        words = [re.sub("^~(?=/|$)", str(environment.home), word) for word in typed]
        if words[1] == "build":
            for source in sources(words):
                shutil.copytree(PAGES, environment.home / source, dirs_exist_ok=True)
        results.append((words, environment.run(words)))
    return results


def test_there_is_no_compiler(environment: Environment) -> None:
    assert [tool for tool in TOOLS if shutil.which(tool, path=str(environment.executables))] == []


def test_readme_shows_the_main_commands() -> None:
    assert {"build", "search", "ask"} <= {words[1] for words in commands()}


def test_every_command_succeeds_and_prints(
    ran: list[tuple[list[str], subprocess.CompletedProcess[str]]],
) -> None:
    for words, done in ran:
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stderr}"
        assert done.stdout.strip(), shlex.join(words)
        assert "Traceback" not in done.stderr, done.stderr


def shown() -> Iterator[tuple[list[str], str]]:
    """Yield README's commands with what README says that they print."""
    for block in blocks("console"):
        for part in block.split("$ ")[1:]:
            command, _, output = part.partition("\n")
            yield shlex.split(command, comments=True), output


def without_duration(output: str) -> str:
    return re.sub(r"^took .*", "took a while", output.strip(), flags=re.MULTILINE)


def test_commands_print_what_readme_shows(ran: list[tuple[list[str], subprocess.CompletedProcess[str]]]) -> None:
    printed = {tuple(words): without_duration(done.stdout) for words, done in ran}
    expected = list(shown())
    assert len(expected) >= 3
    for words, output in expected:
        assert printed[tuple(words)] == without_duration(output), shlex.join(words)


def test_the_library_works_as_shown(
    ran: list[tuple[list[str], subprocess.CompletedProcess[str]]],
    environment: Environment,
) -> None:
    assert ran
    scripts = list(blocks("python"))
    assert scripts, "README shows no use of the library"
    for script in scripts:
        done = environment.run(["python", "-W", "error", "-c", script])
        assert done.returncode == 0, f"{script}\n{done.stderr}"
        assert done.stdout.strip(), script


def test_an_answer_is_cited_in_the_new_environment(
    ran: list[tuple[list[str], subprocess.CompletedProcess[str]]],
    environment: Environment,
) -> None:
    assert ran
    shutil.copytree(PAGES, environment.home / "pages", dirs_exist_ok=True)
    assert environment.run([PROGRAM, "build", "pages", "--index", "index"]).returncode == 0
    done = environment.run([PROGRAM, "ask", "I forgot my password", "--index", "index", "--fail-on-refusal"])
    assert done.returncode == 0, done.stderr
    assert "password-and-lockout" in done.stdout
