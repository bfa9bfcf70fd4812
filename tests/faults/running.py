"""Commands with one of their system calls failing, run in children of one process: ``sweeper python -m faults.running``.

An interpreter is started once, below the sweeper; each command forks it, and the child arms the sweeper, which traces it and all that
it starts. Whoever wants commands run is not traced: a traced process stops twice at every call that changes a file, and to put an
index back and to judge it takes four times as many of these as the command does.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import msgspec

from clockify_rag import _core, cli
from clockify_rag.cli import app
from faults.processes import with_tests

CONTROL = 1023
"""The descriptor that the sweeper listens to."""


class Run(msgspec.Struct, frozen=True):
    """A command that is to be run."""

    arguments: tuple[str, ...]
    """As typed."""
    output: str
    """The file for what it prints."""
    arm: str = ""
    """Which call fails how, as the sweeper takes it."""
    record: str = ""
    """The file in which its calls are recorded."""
    failpoint: str = ""
    """The place in the sources at which it dies."""
    engine: int = 0
    """What the engine takes for the present format; 0 for what it is."""
    here: bool = False
    """In the process itself: what it imports and keeps no child has to make again."""


class Outcome(msgspec.Struct, frozen=True):
    """How a command ended."""

    status: int
    hit: bool
    calls: int
    printed: str
    call: int = -1
    """The number of the system call that failed."""
    since: int = -1
    """How many calls after ``CURRENT`` was replaced it first failed; -1 before."""


class Runner:
    """The process that runs commands; a context manager.

    Args:
        sweeper: the program that lets calls fail.
        output: the file for what commands print.
    """

    def __init__(self, sweeper: str | Path, output: Path) -> None:
        self._output = output
        command = [sweeper, sys.executable, "-m", "faults.running"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=with_tests()
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self, arguments: Sequence[str], **how: object) -> Outcome:
        """Run a command; ``how`` has the fields of ``Run``."""
        asked = msgspec.convert({"arguments": list(arguments), "output": str(self._output), **how}, Run)
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("the runner has no pipes")
        self._process.stdin.write(msgspec.json.encode(asked).decode() + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the runner ended with {self._process.wait()} at {asked}")
        return msgspec.json.decode(line, type=Outcome)


def order(text: str) -> int:
    """Give an order to the sweeper and return its reply."""
    return os.write(CONTROL, text.encode())


def run(asked: Run) -> Outcome:
    """Run a command in a child."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            descriptor = os.open(asked.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            if asked.record:
                order(f"record {asked.record}")
            if asked.arm:
                order(f"arm {asked.arm}")
            if asked.failpoint:
                _reach(asked.failpoint)
            if asked.engine:
                _core.FORMAT = asked.engine
            status = cli.run(asked.arguments)
            sys.stdout.flush()
        except BaseException:  # noqa: BLE001 - the child is to end here, whatever comes
            traceback.print_exc()
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    call, since, calls = (_asked("hit"), _asked("since CURRENT"), order("count")) if asked.arm else (-1, -1, 0)
    if asked.arm or asked.record:
        order("end")
    printed = Path(asked.output).read_text(errors="replace")
    return Outcome(os.waitstatus_to_exitcode(ended), call >= 0, calls, printed, call, since)


def _asked(text: str) -> int:
    """Return what the sweeper replies of the call that failed; -1 where none did, or none after that."""
    try:
        return order(text)
    except OSError:
        return -1


def _reach(failpoint: str) -> None:
    """Let the process die where it reaches a place in the sources; in the core also fail, as ``name=fail``."""
    os.environ["FAILPOINT"] = failpoint

    def die(event: str, arguments: tuple[object, ...]) -> None:
        if event == "clockify_rag.failpoint" and arguments == (failpoint,):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(die)


def _run_here(asked: Run) -> Outcome:
    with Path(asked.output).open("w") as out, contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = cli.run(asked.arguments)
    gc.collect()
    gc.freeze()
    return Outcome(status, False, 0, Path(asked.output).read_text(errors="replace"))


def main() -> None:
    """Run what is asked for until nobody asks."""
    # What the package reads of itself is read before the first fork.
    app.command = functools.cache(app.command)
    _core.StaticEmbedder = functools.cache(_core.StaticEmbedder)  # type: ignore[assignment,misc]
    _core.Tokenizer = functools.cache(_core.Tokenizer)  # type: ignore[assignment,misc]
    app.command()
    for line in sys.stdin:
        asked = msgspec.json.decode(line, type=Run)
        done = _run_here(asked) if asked.here else run(asked)
        print(msgspec.json.encode(done).decode(), flush=True)


if __name__ == "__main__":
    main()
