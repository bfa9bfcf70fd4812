"""A command on generations that is killed has done all of its work or none, and the next one is not in its way.

Where ``strace`` is installed a kill comes at chosen system calls that change the disk; ``FAULT_POINTS=all`` sweeps every call.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from clockify_rag import generations
from clockify_rag.errors import GenerationNotFound, IndexNotFound
from faults import indexes
from faults.conftest import World
from faults.processes import COMMAND, end, environment, needs, start

CALLS = "fsync,fdatasync,/^rename,/^mkdir,/^unlink,/^rmdir,ftruncate,write"
"""What changes the disk."""

VARIABLES = environment(CLOCKIFY_RAG_EXECUTION__THREADS="1")
POINTS = os.environ.get("FAULT_POINTS", "4")

Point = tuple[str, int]
"""A system call and the how-many-eth of its name in its thread, which is how ``strace`` counts."""


@pytest.fixture
def places(world: World, scratch: Path) -> Path:
    """A folder with two generations, the first tagged, and a snapshot of the first; what each test begins with."""
    start_, index = scratch / "start", scratch / "start" / "index"
    shutil.copytree(world.index, index)
    indexes.build(index, world.changed)
    generations.tag(index, "before", "1")
    generations.snapshot(index, start_ / "old.tar", "1")
    return scratch


def begin(places: Path) -> Path:
    """Set everything back."""
    now = places / "now"
    shutil.rmtree(now, ignore_errors=True)
    shutil.copytree(places / "start", now)
    return now


def points_of(strace: str, places: Path, arguments: Sequence[str]) -> list[Point]:
    """Trace a command, and choose among its calls, the last ones more densely."""
    trace = places / "trace"
    command = [strace, "-f", "-qq", "-o", str(trace), "-e", f"trace={CALLS}", *COMMAND]
    try:
        subprocess.run([*command, *arguments], env=VARIABLES, capture_output=True, check=True, cwd=begin(places))
    except subprocess.CalledProcessError as failure:
        pytest.skip(f"strace may not trace here: {failure.stderr[-200:]!r}")
    counts: Counter[tuple[str, str]] = Counter()
    points: dict[Point, None] = {}
    for thread, call in re.findall(r"^(\d+) +(\w+)\(", trace.read_text(), re.MULTILINE):
        counts[thread, call] += 1
        points.setdefault((call, counts[thread, call]))
    every = list(points)
    if POINTS == "all" or len(every) <= int(POINTS):
        return every
    last = every[-8:-1:3]
    return [*every[: -8 : len(every) // max(1, int(POINTS) - len(last)) + 1], *last]


def state_of(now: Path) -> object:
    """What may be seen of everything: answers, tags, generations, the restored copy, and what the archives hold."""
    answers = indexes.answers(now / "index")
    tags = {name: row.generation for row in generations.listed(now / "index") for name in row.tags}
    try:
        copy: str | None = indexes.answers(now / "copy")
        assert generations.verify(now / "copy", every=True).damaged == ()
    except IndexNotFound:
        copy = None
    archives = {}
    for archive in sorted(now.glob("*.tar")):
        shutil.rmtree(now / "look", ignore_errors=True)
        archives[archive.name] = generations.restore(archive, now / "look")[0]
    shutil.rmtree(now / "look", ignore_errors=True)
    return answers, tags, copy, archives


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["tag", "now"],
        ["tag", "--move", "before", "2"],
        ["untag", "before"],
        ["rollback"],
        ["gc"],
        ["snapshot", "new.tar"],
        ["snapshot", "old.tar"],
        ["restore", "old.tar", "--index", "copy"],
        ["restore", "old.tar", "--replace"],
    ],
    ids=" ".join,
)
def test_a_kill_at_a_system_call(places: Path, arguments: list[str]) -> None:
    strace = needs("strace")
    if "--index" not in arguments:
        arguments = [*arguments, "--index", "index"]
    points = points_of(strace, places, arguments)
    after = state_of(places / "now")
    before = state_of(begin(places))
    kills = 0
    for call, number in points:
        now = begin(places)
        inject = f"inject={call}:signal=KILL:when={number}"
        tracer = [strace, "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", inject]
        done = end(start(*arguments, before=tracer, variables=VARIABLES, cwd=now))
        killed = done.status == -signal.SIGKILL
        kills += killed
        print(f"{call} {number}: {done.status}")
        found = state_of(now)
        assert found in ((before, after) if killed else (after,)), (call, number)
        assert generations.verify(now / "index", every=True).damaged == ()
        again(now, arguments, done_before=found == after)
        assert generations.verify(now / "index", every=True).damaged == ()
        assert indexes.leftovers(now / "index") <= {"tags", "tags/now", "tags/before"}
        assert not [path.name for path in now.iterdir() if path.suffix in (".part", ".restoring")]
    # A call or two less than traced may come, where the kernel or the interpreter has its own ways.
    assert kills >= 0.7 * len(points)


def again(now: Path, arguments: Sequence[str], *, done_before: bool) -> None:
    """Do the same once more, as somebody does who was not told that it was done."""
    if arguments[0] == "untag":
        try:
            generations.untag(now / "index", "before")
        except GenerationNotFound:
            assert done_before
        return
    if "copy" in arguments and done_before:
        arguments = [*arguments, "--replace"]
    done = end(start(*arguments, variables=VARIABLES, cwd=now))
    assert done.status == 0, done
    # The next builder clears what is left.
    assert end(start("gc", "--index", "index", variables=VARIABLES, cwd=now)).status == 0
