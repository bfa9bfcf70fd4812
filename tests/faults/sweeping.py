"""One worker of the sweep: ``python -m faults.sweeping``; a share in JSON in, what was found out.

Commands run in children of another process (``running``). What they leave of the index is judged here, in one process that lives as
long as the sweep, because that is how long an index's readers live: damage that kills whoever reads it ends the sweep.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from clockify_rag import _core
from clockify_rag.cli import app
from clockify_rag.errors import IndexCorrupt, IndexNotFound
from faults import indexes
from faults.operations import (
    AGED,
    CORE_FAILPOINTS,
    DAMAGED,
    FAILPOINTS,
    OPERATIONS,
    SOURCES,
    STATES,
    Command,
    Folders,
    Operation,
    age,
    damage,
    runnable,
)
from faults.running import Outcome, Runner

KILLS = ("kill-before", "kill-after", "torn")
FAILURES = ("enospc", "enospc-sticky", "eio", "eio-sticky", "eio-after", "edquot", "eintr", "short")
ALIKE = ("edquot", "eintr")
"""What a program meets as it meets ENOSPC, or by asking again."""

RARELY = 4
"""Of so many calls one fails in those ways, the first chosen at random."""

HALVED = ("torn", "short")
"""What can only happen to a call that writes bytes."""

LAST_CALLS = 24
"""About as many calls publish a generation."""

UNCHANGING = ("gc", "migrate")
"""Operations that change no answer."""

MAXIMUM_WRONG = 5
"""Points of an operation that may go wrong before it is left."""

SYNCHRONISATIONS = (74, 75)
"""The numbers of ``fsync`` and ``fdatasync``: what failed there may be lost, so nobody may be told that it is done."""

LASTING = 2
"""So many calls after ``CURRENT`` is replaced make that last: its folder is synchronised, then the one above."""

STORE_FAILED = 4
"""The exit status of a command that could not write."""


class Point(msgspec.Struct, frozen=True):
    """One fault: an action at one of an operation's calls, and where the recovery is swept too, at one of those."""

    operation: str
    action: str
    call: int
    second: tuple[str, int] | None = None
    failpoint: str = ""
    """The place in the sources that is reached, instead of a call."""


class SweptWrongError(AssertionError):
    """An index is not as it was before or after."""


def believes_failure(operation: Operation, action: str, done: Outcome) -> bool:
    """Whether a command said success though a synchronisation failed that its promise needs.

    What a build removes after its publication lasts is no part of that: what a failed synchronisation may bring back there are
    files that the next build removes again.
    """
    if done.status != 0 or done.call not in SYNCHRONISATIONS or action in ("eintr", *HALVED):
        return False
    return not operation.collects or done.since <= LASTING


def _shows_defect(done: Outcome) -> bool:
    return any(word in done.printed for word in ("Traceback", "panicked", "internal"))


class Sweep:
    """The operations' states, prepared once, and the oracle; of the operations that are named, or of all."""

    def __init__(self, root: Path, runner: Runner, names: Sequence[str] = ()) -> None:
        self.folders = Folders(root)
        self.runner = runner
        self.known: dict[str, tuple[str | None, str, int]] = {}
        """Of each operation what is answered before and after it, and how many calls it makes."""
        self.final: dict[str, str] = {}
        self.judged: set[tuple[str, int, bytes]] = set()
        """Of each operation how a command ended and what it left, byte for byte, where it was right."""
        self.again = 0
        """How often that was found again."""
        for name, texts in SOURCES.items():
            indexes.pages(self.folders.source(name), texts)
        known = app.command().commands
        self.operations = tuple(
            operation
            for operation in OPERATIONS
            if (not names or operation.name in names) and runnable((*STATES[operation.state], operation.command), known)
        )
        for name in dict.fromkeys(operation.state for operation in self.operations):
            self._prepare(root / "states" / name, STATES[name])
        self._warm()

    def _prepare(self, state: Path, commands: Sequence[Command]) -> None:
        shutil.rmtree(self.folders.work, ignore_errors=True)
        self.folders.work.mkdir()
        for command in commands:
            if command == AGED:
                age(self.folders.work / "index")
            elif command == DAMAGED:
                damage(self.folders.work / "index")
            else:
                self.succeed(self.folders.filled(command))
        shutil.copytree(self.folders.work, state)

    def _warm(self) -> None:
        """Run each command in the process that is forked for all of them."""
        for operation in self.operations:
            self.reset(operation)
            self.runner.run(self.folders.filled(operation.command), here=True)

    def succeed(self, arguments: Sequence[str]) -> Outcome:
        """Run a command that must succeed."""
        done = self.runner.run(arguments)
        if done.status != 0:
            raise SweptWrongError(f"{arguments} ended with {done.status}: {done.printed}")
        return done

    def reset(self, operation: Operation) -> None:
        """Put the index back to where the operation starts."""
        shutil.rmtree(self.folders.work, ignore_errors=True)
        shutil.copytree(self.folders.root / "states" / operation.state, self.folders.work)

    def learn(self, operation: Operation) -> int:
        """Run an operation without faults; return how many calls it makes."""
        if operation.name not in self.known:
            self.reset(operation)
            before = self.observed(operation)
            done = self.run(operation, arm=f"eio 0 {self.folders.work}")
            if done.status != 0:
                raise SweptWrongError(f"{operation.name} ended with {done.status}: {done.printed}")
            after = self.observed(operation)
            if after is None:
                raise SweptWrongError(f"{operation.name} leaves no index")
            if before == after and operation.name not in UNCHANGING:
                raise SweptWrongError(f"{operation.name} changes nothing")
            self.known[operation.name] = before, after, done.calls
            if operation.after not in self.final:
                self.rebuild(operation)
                self.final[operation.after] = indexes.answers(self.folders.work / operation.judged)
        return self.known[operation.name][2]

    def run(self, operation: Operation, arm: str = "", record: str = "", failpoint: str = "") -> Outcome:
        """Run the command of an operation in a child."""
        arguments, engine = self.folders.filled(operation.command), _core.FORMAT + operation.newer
        return self.runner.run(arguments, arm=arm, record=record, failpoint=failpoint, engine=engine)

    def observed(self, operation: Operation) -> str | None:
        """What an index answers; ``None`` where there is none. Every byte of it is verified."""
        index = self.folders.work / operation.judged
        try:
            found = indexes.answers(index)
            indexes.verify(index)
        except IndexNotFound:
            return None
        except IndexCorrupt:
            if not operation.mended:
                raise
            return "damaged"
        files = sorted(index.glob(operation.also)) if operation.also else []
        parts = [found, *(f"{path.name} {path.read_bytes().hex()}" for path in files)]
        if operation.newer:
            parts.append((index / "CURRENT").read_text().split()[0])
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def rebuild(self, operation: Operation) -> None:
        """Build the source that comes after, as users would to mend what is left."""
        indexes.build(self.folders.work / operation.judged, self.folders.source(operation.after))

    def check(self, operation: Operation, done: Outcome, case: object) -> None:
        """The index is as before or after, as after if success was said, and can be built again; nothing is left to lie."""

        left = operation.name, done.status, indexes.fingerprint(self.folders.work)
        if left in self.judged and not _shows_defect(done):
            self.again += 1
            return

        def wrong(what: str) -> SweptWrongError:
            return SweptWrongError(f"{case}: {what}; status {done.status}, printed {done.printed!r}")

        before, after, _ = self.known[operation.name]
        try:
            found = self.observed(operation)
        except Exception as failure:
            raise wrong(f"the index cannot be read: {failure!r}") from failure
        if found not in (before, after):
            raise wrong("the answers are neither the old nor the new ones")
        if done.status == 0 and found != after:
            raise wrong("success was said, but the old answers are given")
        if done.status not in (0, STORE_FAILED, -signal.SIGKILL):
            raise wrong("the command ended otherwise than it may")
        if _shows_defect(done):
            raise wrong("a defect shows")
        try:
            if operation.mended and found == before:
                self.succeed(self.folders.filled(operation.mended))
            self.rebuild(operation)
        except Exception as failure:
            raise wrong(f"no further build succeeds: {failure!r}") from failure
        index = self.folders.work / operation.judged
        if indexes.answers(index) != self.final[operation.after]:
            raise wrong("the further build answers otherwise")
        indexes.verify(index)
        if leftovers := indexes.leftovers(index):
            raise wrong(f"the further build leaves {sorted(leftovers)}")
        self.judged.add(left)

    def sweep(self, point: Point) -> bool:
        """Try one point; return whether its faults came about.

        Raises:
            SweptWrongError: the index did not survive it.
        """
        operation = next(operation for operation in self.operations if operation.name == point.operation)
        self.learn(operation)
        self.reset(operation)
        arm = f"{point.action} {point.call} {self.folders.work}"
        done = self.run(operation, arm=arm, failpoint=point.failpoint)
        if point.failpoint:
            return self._passed(operation, point, done)
        hit = done.hit
        if point.action == "short" and done.status != 0:
            raise SweptWrongError(f"{point}: half a write is no failure; {done.printed}")
        if believes_failure(operation, point.action, done):
            raise SweptWrongError(f"{point}: a failed synchronisation was believed")
        if hit and point.action in KILLS and done.status != -signal.SIGKILL:
            raise SweptWrongError(f"{point}: killed, but ended with {done.status}")
        if point.second is not None:
            action, call = point.second
            index = f"{{folder}}/{operation.judged}"
            recovery = self.folders.filled(("build", f"{{{operation.after}}}", "--index", index))
            again = self.runner.run(recovery, arm=f"{action} {call} {self.folders.work}")
            hit = hit and again.hit
            if again.status == 0:
                self._check_recovered(operation, point)
            done = again if again.status != 0 else msgspec.structs.replace(again, status=-signal.SIGKILL)
            self._check_either(operation, done, point)
            return hit
        self.check(operation, done, point)
        return hit

    def _passed(self, operation: Operation, point: Point, done: Outcome) -> bool:
        """Check what a place in the sources left."""
        if not point.failpoint.endswith("=fail"):
            if done.status not in (-signal.SIGKILL, -signal.SIGABRT):
                raise SweptWrongError(f"{point}: {operation.name} does not come by; status {done.status}")
            done = msgspec.structs.replace(done, status=-signal.SIGKILL)
        self.check(operation, done, point)
        # What fails after a publication is not reported: the next build does it.
        return True

    def _check_recovered(self, operation: Operation, point: Point) -> None:
        if indexes.answers(self.folders.work / operation.judged) != self.final[operation.after]:
            raise SweptWrongError(f"{point}: the recovery said success, but answers otherwise")

    def _check_either(self, operation: Operation, done: Outcome, point: Point) -> None:
        """After a fault in the recovery a third state may be served, that of the recovery's source."""
        before, after, calls = self.known[operation.name]
        index = self.folders.work / operation.judged
        if (operation.name, done.status, indexes.fingerprint(self.folders.work)) in self.judged:
            self.again += 1
            return
        try:
            answers = indexes.answers(index)
        except IndexNotFound:
            answers = None
        except IndexCorrupt:
            # What is to be mended was not, and a build does not mend it.
            if not operation.mended:
                raise
            answers = None
        if answers == self.final[operation.after]:
            # Recovered already: then this state alone is right.
            self.known[operation.name] = self.observed(operation), self.observed(operation) or "", calls
        try:
            self.check(operation, done, point)
        finally:
            self.known[operation.name] = before, after, calls


def points_of(sweep: Sweep, operation: Operation, writes: frozenset[int], share: Share) -> Iterator[Point]:
    """All points of an operation.

    Args:
        sweep: what knows how many calls there are.
        operation: the operation.
        writes: the numbers of its calls that write more than one byte.
        share: how many of them are wanted.
    """
    calls = sweep.learn(operation)
    chance = random.Random(share.seed)
    for action in (*KILLS, *FAILURES):
        step = (RARELY if action in ALIKE else 1) * (1 if action in KILLS else share.step)
        for call in range(1 + chance.randrange(step), calls + 1, step):
            if action not in HALVED or call in writes:
                yield Point(operation.name, action, call)
    for _ in range(share.compound):
        action = chance.choice(KILLS[:2])
        # What a build recovers from early it takes about as many calls for as a build takes.
        second = (chance.choice(("kill-before", "kill-after", "eio", "enospc-sticky")), chance.randint(1, calls))
        yield Point(operation.name, action, chance.randint(1, calls), second)


def writes_of(sweep: Sweep, operation: Operation) -> frozenset[int]:
    """The numbers of the calls of an operation that write more than one byte.

    Threads make files durable beside the one that writes, so from run to run a call may come a place earlier or later: the numbers
    next to a write's are tried too, and where there is nothing to halve the point is not hit.
    """
    calls = calls_of(sweep, operation)
    return frozenset(number for number, call in enumerate(calls, 1) if "write" in call.name and call.result > 1)


class Recorded(msgspec.Struct, frozen=True):
    """One call of an operation."""

    name: str
    result: int
    path: str
    second: str
    """The new name, of a renaming."""


def calls_of(sweep: Sweep, operation: Operation) -> list[Recorded]:
    """The calls of an operation without faults, in order."""
    sweep.reset(operation)
    record = sweep.folders.root / "record"
    sweep.run(operation, arm=f"eio 0 {sweep.folders.work}", record=str(record))
    entered = []
    for line in record.read_text().splitlines():
        moment, _, name, result, _, _, path, second, _ = line.split("\t")
        if name != "answer":
            entered.append((int(moment), Recorded(name, int(result), path, second)))
    return [call for _, call in sorted(entered, key=lambda entry: entry[0])]


class Share(msgspec.Struct, frozen=True):
    """What one worker does."""

    number: int
    workers: int
    seed: int
    sample: int = 0
    """Points of each operation, chosen at random; 0: all."""
    compound: int = 0
    """Pairs of faults of each operation."""
    step: int = 1
    """Of so many calls one fails in each way; every one is one at which the process is killed."""
    operations: tuple[str, ...] = ()
    """Their names; none: all."""
    failpoints: bool = False
    """The places in the sources in place of the calls."""
    core: bool = False
    """Also those of the core, each of which also fails."""
    sweeper: str = ""
    """The program that lets calls fail."""


def sampled(points: list[Point], share: Share, calls: int) -> list[Point]:
    """Choose at random as many as are wanted, half of them among the last calls, where generations are published."""
    random.Random(share.seed).shuffle(points)
    if not share.sample:
        return points
    last = [point for point in points if point.call > calls - LAST_CALLS][: share.sample // 2]
    return [*last, *(point for point in points if point not in last)][: share.sample]


def failpoints_of(share: Share) -> list[Point]:
    """The places in the sources that a share comes by."""
    points = [Point(operation, "kill-before", 0, failpoint=name) for name, operation in FAILPOINTS.items()]
    if share.core:
        for name, operation in CORE_FAILPOINTS.items():
            points += [Point(operation, "kill-before", 0, failpoint=name + way) for way in ("", "=fail")]
    return points


def swept(sweep: Sweep, name: str, points: Sequence[Point]) -> dict[str, Any]:
    """Try points; return what there is to say of them."""
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    missed: list[str] = []
    began = sweep.again
    for point in points:
        kind = "failpoint" if point.failpoint else "compound" if point.second else point.action
        try:
            hit = sweep.sweep(point)
        except SweptWrongError as failure:
            wrong.append(str(failure))
            if len(wrong) >= MAXIMUM_WRONG:
                break
            continue
        counts[kind if hit else "missed"] += 1
        if not hit:
            missed.append(point.failpoint or f"{point.action} {point.call}")
    if sweep.again > began:
        counts["judged before"] = sweep.again - began
    return {"operation": name, "counts": counts, "wrong": wrong, "missed": missed}


def main() -> None:
    """Sweep a share, and print a line for each operation: points that came about, and what went wrong."""
    share = msgspec.json.decode(sys.argv[1], type=Share)
    scratch = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="clockify-rag-", dir=scratch) as root,
        Runner(share.sweeper, Path(root) / "output") as runner,
    ):
        sweep = Sweep(Path(root), runner, share.operations)
        if share.failpoints:
            print(json.dumps(swept(sweep, "failpoints", failpoints_of(share)[share.number :: share.workers])))
            return
        for operation in sweep.operations:
            writes = writes_of(sweep, operation)
            points = list(points_of(sweep, operation, writes, share))
            chosen = sampled(points, share, sweep.learn(operation))[share.number :: share.workers]
            print(json.dumps(swept(sweep, operation.name, chosen)), flush=True)


if __name__ == "__main__":
    main()
