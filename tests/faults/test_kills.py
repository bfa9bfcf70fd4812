"""A build that is killed loses itself and nothing else: the old generation or the new one is served, whole.

Where ``strace`` is installed a kill comes at a chosen system call that changes the disk; it comes at a random moment too, with
a seed that is printed. ``FAULT_POINTS=all`` sweeps every call.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from clockify_rag.errors import IndexNotFound
from faults import indexes
from faults.conftest import World
from faults.processes import COMMAND, end, environment, needs, start

CALLS = "fsync,fdatasync,/^rename,/^mkdir,/^unlink,/^rmdir,ftruncate,write"
"""What changes the disk."""

VARIABLES = environment(CLOCKIFY_RAG_EXECUTION__THREADS="1")
"""One thread of work, so that its calls have one order."""

POINTS = os.environ.get("FAULT_POINTS", "10")
SEED = int(os.environ.get("FAULT_SEED", str(random.randrange(1 << 32))))


Point = tuple[str, int]
"""A system call and the how-many-eth of its name in its thread, which is how ``strace`` counts."""


def points_of(strace: str, index: Path, source: Path, folder: Path) -> list[Point]:
    """Trace a build, and choose among its calls: spread over all, and more of the last, where a generation is published."""
    trace = folder / "trace"
    command = [strace, "-f", "-qq", "-o", str(trace), "-e", f"trace={CALLS}", *COMMAND]
    subprocess.run([*command, "build", source, "--index", index], env=VARIABLES, capture_output=True, check=True)
    counts: Counter[tuple[str, str]] = Counter()
    points: dict[Point, None] = {}
    for thread, call in re.findall(r"^(\d+) +(\w+)\(", trace.read_text(), re.MULTILINE):
        counts[thread, call] += 1
        points.setdefault((call, counts[thread, call]))
    every = list(points)
    if POINTS == "all":
        return every
    wanted = int(POINTS)
    last = every[-14:-2:3]
    return [*every[:: len(every) // (wanted - len(last)) + 1], *last]


def check_survives(index: Path, source: Path, before: str | None, after: str, killed: bool) -> None:
    """The index answers as before or after, and the next build mends what is left to mend."""
    try:
        found: str | None = indexes.answers(index)
        indexes.verify(index)
    except IndexNotFound:
        found = None
    assert found in ((before, after) if killed else (after,))
    indexes.build(index, source)
    assert indexes.answers(index) == after
    indexes.verify(index)
    assert indexes.leftovers(index) == set()


@pytest.mark.slow
@pytest.mark.parametrize("update", [False, True], ids=["build", "update"])
def test_a_kill_at_a_system_call(world: World, scratch: Path, update: bool) -> None:
    strace = needs("strace")
    index = scratch / "index"
    source, before, after = (world.changed, world.before, world.after) if update else (world.pages, None, world.before)

    def reset() -> None:
        shutil.rmtree(index, ignore_errors=True)
        if update:
            shutil.copytree(world.index, index)

    reset()
    try:
        points = points_of(strace, index, source, scratch)
    except subprocess.CalledProcessError as failure:
        pytest.skip(f"strace may not trace here: {failure.stderr[-200:]!r}")
    kills = 0
    for call, number in points:
        reset()
        inject = f"inject={call}:signal=KILL:when={number}"
        tracer = [strace, "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", inject]
        done = end(start("build", source, "--index", index, before=tracer, variables=VARIABLES))
        killed = done.status == -signal.SIGKILL
        kills += killed
        print(f"{call} {number}: {done.status}")
        check_survives(index, source, before, after, killed)
    # A call or two less than traced may come, where the kernel or the interpreter has its own ways.
    assert kills >= 0.8 * len(points)


@pytest.mark.slow
@pytest.mark.parametrize("update", [False, True], ids=["build", "update"])
def test_a_kill_at_any_moment(world: World, scratch: Path, update: bool) -> None:
    print(f"FAULT_SEED={SEED}")
    moments = random.Random(SEED)
    source, before, after = (world.changed, world.before, world.after) if update else (world.pages, None, world.before)
    for number in range(6):
        index = scratch / f"index-{number}"
        if update:
            shutil.copytree(world.index, index)
        process = start("build", source, "--index", index)
        # The lock is taken when the work on the disk begins; the work itself takes some 30 ms.
        while process.poll() is None and not _begun(index, process.pid):
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.06))
        process.kill()
        done = end(process)
        check_survives(index, source, before, after, killed=done.status != 0)


def _begun(index: Path, pid: int) -> bool:
    try:
        return (index / "lock").read_text().strip() == str(pid)
    except OSError:
        return False


def test_what_a_first_build_begins_the_next_one_completes(world: World, tmp_path: Path) -> None:
    """Also the file that keeps an index out of the repository around it, and the secret's permissions."""
    index = tmp_path / "index"
    for folder in ("generations", "segments/000001-0"):
        (index / folder).mkdir(parents=True)
    for name in ("secret.tmp", ".gitignore.tmp", "CURRENT.tmp", "generations/000001.tmp", "segments/000001-0/text"):
        (index / name).write_bytes(b"half")
    indexes.build(index, world.pages)
    assert (index / ".gitignore").read_text() == "*\n"
    assert (index / "secret").stat().st_mode & 0o777 == 0o600
    assert indexes.leftovers(index) == set()


def test_a_manifest_that_was_never_served_is_no_generation(world: World, index: Path) -> None:
    indexes.build(index, world.changed)
    (index / "CURRENT").write_bytes((world.index / "CURRENT").read_bytes())
    assert indexes.answers(index) == world.before
    assert indexes.build(index, world.changed) == 2
    assert indexes.answers(index) == world.after
    assert indexes.leftovers(index) == set()
