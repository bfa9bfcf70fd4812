"""Running the command as its users do: a process of its own, judged by what it prints and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import clockify_rag

COMMAND = (sys.executable, "-m", "clockify_rag")
DEADLINE = 60.0
"""Seconds after which a command is taken to hang."""


class Done(NamedTuple):
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What was printed, decoded."""
        return json.loads(self.out)


def environment(**changes: str | None) -> dict[str, str]:
    """The environment of a command: this one's, without what measures coverage or configures; ``None`` removes a variable."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CLOCKIFY_RAG_", "COVERAGE_", "COV_CORE_", "OLLAMA_", "OPENAI_"))
    }
    # The package as this process has it, so that commands may run in any folder and as any user.
    variables["PYTHONPATH"] = str(Path(clockify_rag.__file__).parent.parent)
    variables["PYTHONDONTWRITEBYTECODE"] = "1"
    variables.update((name, value) for name, value in changes.items() if value is not None)
    for name in (name for name, value in changes.items() if value is None):
        variables.pop(name, None)
    return variables


def with_tests(**changes: str | None) -> dict[str, str]:
    """As ``environment``, for a process that imports the tests' modules too."""
    paths = [environment()["PYTHONPATH"], str(Path(__file__).parent.parent)]
    return environment(PYTHONPATH=os.pathsep.join(paths), **changes)


def start(
    *arguments: str | Path,
    before: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    **options: Any,
) -> subprocess.Popen[str]:
    """Start a command; ``before`` is what runs it: ``strace``, ``setpriv``."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options}
    return subprocess.Popen(
        [*before, *COMMAND, *map(str, arguments)],
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        env=dict(variables or environment()),
        cwd=cwd,
        **options,
    )


def end(process: subprocess.Popen[str]) -> Done:
    """Wait for a command; one that hangs is killed and fails the test."""
    try:
        out, err = process.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise AssertionError(f"{process.args!r} hangs") from None
    return Done(process.returncode, out or "", err or "")


def run(*arguments: str | Path, **options: Any) -> Done:
    """Run a command to its end; whatever it meets it neither dies of a signal nor shows a traceback."""
    done = end(start(*arguments, **options))
    assert done.status >= 0, done
    assert done.status != 1, done
    for word in ("Traceback", "panicked", "Exception ignored"):
        assert word not in done.err, done
    return done


def script(code: str, *arguments: str | Path, before: Sequence[str] = (), **options: Any) -> subprocess.Popen[str]:
    """Start Python code that may import this package and the tests' modules."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options}
    return subprocess.Popen(
        [*before, sys.executable, "-c", code, *map(str, arguments)],
        text=True,
        env=with_tests(),
        **options,
    )


def failed(done: Done, status: int, code: str | None = None) -> Done:
    """Check that a command failed with this status and said so as the contract has it; with ``code``, in JSON too."""
    assert done.status == status, done
    lines = done.err.splitlines()
    assert lines[0].startswith("error: "), done
    assert all(line.startswith("hint: ") for line in lines[1:]), done
    if code is not None:
        error = done.json["error"]
        assert done.json["schema"] == 1
        assert error["code"] == code, done
        assert lines[0] == f"error: {error['message']}"
        assert (lines[1:] or [""])[0].removeprefix("hint: ") == error["hint"]
    return done


def needs(program: str) -> str:
    """Return the path of a program of the system, or skip the test."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def nobody() -> list[str]:
    """What runs a command as a user whom permissions bind; root is bound by none."""
    if os.geteuid() != 0:
        return []
    program = needs("setpriv")
    as_nobody = [program, "--reuid=65534", "--regid=65534", "--clear-groups"]
    reads = [*as_nobody, sys.executable, "-c", "import clockify_rag._core"]
    if subprocess.run(reads, env=environment(), capture_output=True, check=False, cwd="/").returncode != 0:
        pytest.skip("another user cannot read this interpreter or this package")
    return as_nobody
