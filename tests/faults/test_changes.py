"""Removing, purging, repairing and embedding again are killed: what is served is what was or what was asked for, and to run the same
command again does the rest."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from clockify_rag.errors import ClockifyRagError
from faults import indexes
from faults.conftest import World
from faults.processes import COMMAND, Done, end, environment, needs, start
from faults.test_kills import CALLS, POINTS, Point

VARIABLES = environment(CLOCKIFY_RAG_EXECUTION__THREADS="1")

GONE = "audit-log.md"
SECRET = b"The audit log is kept for 50 days"


def points_of(strace: str, arguments: Sequence[str | Path], folder: Path) -> list[Point]:
    """Trace a command, and choose among its calls that change the disk."""
    trace = folder / "trace"
    command = [strace, "-f", "-qq", "-o", str(trace), "-e", f"trace={CALLS}", *COMMAND, *map(str, arguments)]
    subprocess.run(command, env=VARIABLES, capture_output=True, check=True)
    counts: Counter[tuple[str, str]] = Counter()
    points: dict[Point, None] = {}
    for thread, call in re.findall(r"^(\d+) +(\w+)\(", trace.read_text(), re.MULTILINE):
        counts[thread, call] += 1
        points.setdefault((call, counts[thread, call]))
    every = list(points)
    return every if POINTS == "all" else every[:: max(len(every) // int(POINTS), 1)]


def killed_at(strace: str, point: Point, arguments: Sequence[str | Path]) -> Done:
    inject = f"inject={point[0]}:signal=KILL:when={point[1]}"
    tracer = [strace, "-f", "-qq", "-o", os.devnull, "-e", f"trace={point[0]}", "-e", inject]
    return end(start(*arguments, before=tracer, variables=VARIABLES))


def served(index: Path) -> set[str]:
    return {document.path for document in indexes.open_pipeline(index).index.documents()}


def damaged(index: Path) -> None:
    """Spoil what is derived of the only segment."""
    path = next(index.glob("segments/*/postings"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def nothing(index: Path) -> None:
    """Leave the index as it is."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "prepare"),
    [
        (("remove", GONE), nothing),
        (("remove", GONE, "--purge"), nothing),
        (("repair",), damaged),
        (("reembed", "none"), nothing),
    ],
    ids=["remove", "purge", "repair", "reembed"],
)
def test_a_kill_at_a_system_call(
    world: World, scratch: Path, words: tuple[str, ...], prepare: Callable[[Path], None]
) -> None:
    strace, index = needs("strace"), scratch / "index"
    arguments: list[str | Path] = [*words, "--index", index]

    def reset() -> None:
        shutil.rmtree(index, ignore_errors=True)
        shutil.copytree(world.index, index)
        prepare(index)

    reset()
    everything = set(indexes.PAGES)
    try:
        points = points_of(strace, arguments, scratch)
    except subprocess.CalledProcessError as failure:
        pytest.skip(f"strace may not trace here: {failure.stderr[-200:]!r}")
    after = indexes.answers(index)
    kills = 0
    for point in points:
        reset()
        done = killed_at(strace, point, arguments)
        kills += done.status == -signal.SIGKILL
        try:
            found = indexes.answers(index)
            indexes.verify(index)
            assert found in (world.before, after), point
        except ClockifyRagError:
            assert prepare is damaged, point
        again = end(start(*arguments, variables=VARIABLES))
        # A page that is gone already, and of which no former generation has a byte, cannot be named again.
        assert again.status in ((0, 2) if words[0] == "remove" else (0,)), (point, again)
        assert indexes.answers(index) == after, point
        indexes.verify(index)
        if "--purge" in words:
            holding = [path for path in index.rglob("*") if path.is_file() and SECRET in path.read_bytes()]
            assert holding == [], point
        assert served(index) == everything - ({GONE} if words[0] == "remove" else set()), point
        indexes.build(index, world.pages)
        assert served(index) == everything, point
        assert indexes.answers(index) == world.before or words[0] == "reembed", point
        assert indexes.leftovers(index) == set(), point
    assert kills >= 0.7 * len(points)
