"""A sample of the sweep: an operation that is killed or fails at any call loses itself and nothing else.

The whole is ``make faults``; ``FAULT_SEED`` chooses another sample.
"""

from __future__ import annotations

import itertools
import random
import re
import shutil
import signal
import sys
from pathlib import Path

import msgspec
import pytest

from clockify_rag.cli import app
from clockify_rag.errors import IndexCorrupt
from faults import indexes, sweeping
from faults.conftest import MORE, SEED, Sweeper, World
from faults.operations import CORE_FAILPOINTS, FAILPOINTS, OPERATIONS, damage
from faults.processes import COMMAND, run
from faults.running import Outcome, Runner


def test_a_sample_of_the_faults_of_every_operation(sweeper: Sweeper) -> None:
    share = sweeping.Share(number=0, workers=1, seed=SEED, sample=12 * MORE, compound=60)
    found = sweeper.run("faults.sweeping", share)
    for line in found:
        print(f"FAULT_SEED={SEED} {line['operation']}: {line['counts']}")
        assert line["wrong"] == []
        assert sum(line["counts"].values()) - line["counts"].get("missed", 0) >= 5
    known = [operation for operation in OPERATIONS if operation.command[0] in app.command().commands]
    assert [line["operation"] for line in found] == [operation.name for operation in known]


@pytest.mark.parametrize(("since", "believed"), [(-1, True), (1, True), (2, True), (3, False)])
def test_what_fails_after_a_publication_that_lasts_is_no_false_word(since: int, believed: bool) -> None:
    """A failed ``fsync`` is excused in the removal of former generations after a build alone."""
    for operation, number in itertools.product(OPERATIONS, sweeping.SYNCHRONISATIONS):
        done = Outcome(0, True, 150, "", number, since)
        for action in ("eio", "eio-after", "enospc-sticky"):
            excused = operation.name == "collection" and not believed
            assert sweeping.believes_failure(operation, action, done) is not excused
        assert not sweeping.believes_failure(operation, "eintr", done)
        assert not sweeping.believes_failure(operation, "eio", msgspec.structs.replace(done, status=4))


def test_the_sweep_finds_the_end_of_a_publication(sweeper: Sweeper) -> None:
    """Every ``fsync`` after ``CURRENT`` was replaced fails once: those that make it last are told of, those of what is removed are not."""
    with Runner(sweeper.program, sweeper.folder / "output") as runner:
        sweep = sweeping.Sweep(sweeper.folder, runner, ("collection",))
        (operation,) = sweep.operations
        calls = sweeping.calls_of(sweep, operation)
        (replaced,) = [number for number, call in enumerate(calls, 1) if Path(call.second).name == "CURRENT"]
        folder = sweep.folders.work / "index"
        lasting = [(call.name, Path(call.path)) for call in calls[replaced : replaced + sweeping.LASTING]]
        assert lasting == [("fsync", folder), ("fsync", folder.parent)]
        seen = []
        for call, action in itertools.product(range(replaced + 1, len(calls) + 1), ("eio", "eio-after")):
            sweep.reset(operation)
            done = sweep.run(operation, arm=f"{action} {call} {sweep.folders.work}")
            if done.call in sweeping.SYNCHRONISATIONS:
                seen.append((done.since, done.status))
            assert sweep.sweep(sweeping.Point(operation.name, action, call))
        assert {since for since, status in seen if status} == set(range(1, sweeping.LASTING + 1))
        assert {since for since, status in seen if not status}, "a collection synchronises what it removed"


def test_the_count_is_one_over_threads_and_children(sweeper: Sweeper) -> None:
    """Two threads and a child write three times each: a kill at the seventh leaves six writes, whoever made them."""
    code = (
        "import os, sys, threading\n"
        "folder = sys.argv[1]\n"
        "def work(name):\n"
        "    descriptor = os.open(os.path.join(folder, name), os.O_WRONLY)\n"
        "    for _ in range(3): os.write(descriptor, b'x')\n"
        "for name in 'ab':\n"
        "    thread = threading.Thread(target=work, args=(name,)); thread.start(); thread.join()\n"
        "if os.fork() == 0: work('c'); os._exit(0)\n"
        "os.wait()\n"
    )
    for at in range(11):
        for name in "abc":
            sweeper.folder.joinpath(name).write_bytes(b"")
        status = sweeper.status(
            sys.executable, "-c", code, str(sweeper.folder), arm=f"kill-before {at} {sweeper.folder}"
        )
        written = [sweeper.folder.joinpath(name).read_bytes() for name in "abc"]
        assert b"".join(written) == b"x" * (9 if at in (0, 10) else at - 1)
        assert status == (0 if at in (0, 10) else 128 + 9)


@pytest.mark.slow
def test_a_repair_that_was_interrupted_is_repaired(sweeper: Sweeper, world: World) -> None:
    """Killed at moments from its first call to its last, and the repair after it too; the one after these ends it."""
    index = sweeper.folder / "index"
    repair = (*COMMAND, "repair", str(world.pages), "--index", str(index))
    calls, chance = 140, random.Random(SEED)
    for at in [*range(1, calls, 24), chance.randint(1, calls)]:
        shutil.rmtree(index, ignore_errors=True)
        shutil.copytree(world.index, index)
        damage(index)
        with pytest.raises(IndexCorrupt):
            indexes.verify(index)
        statuses = [sweeper.status(*repair, arm=f"{action} {at} {index}") for action in ("kill-before", "torn", "eio")]
        assert statuses[0] == 128 + signal.SIGKILL, (SEED, at)
        assert set(statuses[1:]) <= {0, 4, 128 + signal.SIGKILL}, (SEED, at)
        assert run("repair", world.pages, "--index", index).status == 0
        assert indexes.answers(index) == world.before, (SEED, at)
        indexes.verify(index)
        indexes.build(index, world.pages)
        assert indexes.leftovers(index) == set(), (SEED, at)


def test_a_kill_at_every_named_place(sweeper: Sweeper) -> None:
    """Those in Python; ``make faults`` comes by those in the core."""
    (found,) = sweeper.run("faults.sweeping", sweeping.Share(number=0, workers=1, seed=SEED, failpoints=True))
    assert found["wrong"] == []
    assert found["counts"]["failpoint"] == len(FAILPOINTS)
    assert found["missed"] == []


def test_every_named_place_is_swept() -> None:
    """The lists of what is swept are the lists of what the sources have."""
    root = Path(__file__).parent.parent.parent
    python = re.compile(r"\bfailpoint\(\"([^\"]+)\"\)")
    core = re.compile(r"\bfailpoint!\(\"([^\"]+)\"\)")
    assert sorted(_found(root / "python", "*.py", python)) == sorted(FAILPOINTS)
    assert sorted(_found(root / "rust", "*.rs", core)) == sorted(CORE_FAILPOINTS)


def _found(folder: Path, files: str, pattern: re.Pattern[str]) -> list[str]:
    return [name for path in folder.rglob(files) for name in pattern.findall(path.read_text(encoding="utf-8"))]
