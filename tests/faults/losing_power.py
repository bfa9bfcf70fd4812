"""Losing power: from a recording of what commands did to the disk, the states that a crash may leave, each judged.

``python -m faults.losing_power``. What a file system promises is little: bytes are on the disk when an ``fsync`` of their
file that began after them has returned, names when one of their folder has. All else may be there or not, in any order, and a
write may be there in part, by sectors of 512 bytes or pages of 4 KiB, with zeros where the rest belongs.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from clockify_rag.errors import ClockifyRagError, IndexNotFound
from faults import indexes
from faults.operations import Command
from faults.running import Runner
from faults.sweeping import MAXIMUM_WRONG, Share, Sweep, SweptWrongError

CHAIN: tuple[tuple[str, Command], ...] = tuple(
    (source, ("build", f"{{{source}}}", "--index", "{index}")) for source in ("pages", "changed", "rewritten")
)
"""What is recorded: a build, an update, and one that merges segments; each with the source that it leaves."""

SECTORS = (512, 4096)

Keep = Callable[["Change"], bool]
Tree = Mapping[str, bytes | None]
"""A path's bytes; ``None`` for a folder."""


class Change(msgspec.Struct, eq=False):
    """One change of a file's bytes or a folder's names, and when it was made."""

    entered: int
    ended: int
    offset: int = 0
    data: bytes | None = None
    """The bytes written at ``offset``; ``None`` for a truncation to that length."""
    gone: str = ""
    """The name that is no more."""
    name: str = ""
    node: Node | None = None
    """What ``name`` now leads to."""


class Node(msgspec.Struct, eq=False):
    """A file or a folder, whatever it is called."""

    is_folder: bool
    changes: list[Change] = []
    syncs: list[tuple[int, int]] = []

    def durable(self, moment: int) -> int:
        """Return the moment up to which changes have reached the disk, whatever comes after ``moment``."""
        return max((entered for entered, ended in self.syncs if ended <= moment), default=0)


class Recording(msgspec.Struct, eq=False):
    """What the commands did."""

    root: Node
    moments: tuple[int, ...]
    """When a change or a synchronisation began or ended."""
    answers: tuple[int, ...]
    """When each command said that it was done."""
    calls: tuple[tuple[str, str, str], ...]
    """Name, path and second path of each call, in order; for tests that look at the order itself."""


def read(record: Path, root: Path, commands: Sequence[int]) -> Recording:
    """Read a recording of several commands, given how many lines of it there were after each."""
    top = Node(is_folder=True)
    names: dict[str, Node] = {str(root): top}
    moments: list[int] = []
    answers: list[int] = []
    calls: list[tuple[str, str, str]] = []
    clock = 0
    lines = record.read_text().splitlines()
    for number, line in enumerate(lines):
        began, ended, call, result, _, offset, path, second, data = line.split("\t")
        if int(result) < 0:
            continue
        entered, left = clock + int(began), clock + int(ended)
        moments += (entered, left)
        calls.append((call, path, second))
        _replay(names, call, entered, left, int(offset), path, second, bytes.fromhex(data))
        if number + 1 in commands:
            answers.append(left)
            clock = left
    return Recording(top, tuple(sorted(moments)), tuple(answers), tuple(calls))


def _replay(  # noqa: PLR0912 - a case for each call
    names: dict[str, Node], call: str, entered: int, left: int, offset: int, path: str, second: str, data: bytes
) -> None:
    """Let one call change the model."""
    folder, _, name = path.rpartition("/")
    parent = names.get(folder)
    if call in ("open", "openat", "creat", "mkdir", "mkdirat", "mknod", "mknodat"):
        if path not in names and parent is not None:
            names[path] = Node(is_folder=call.startswith("mkdir"))
            parent.changes.append(Change(entered, left, name=name, node=names[path]))
        elif offset:
            names[path].changes.append(Change(entered, left))
    elif call in ("write", "pwrite", "writev", "pwritev", "pwritev2", "sendfile", "copy_file_range", "splice"):
        if path in names:
            names[path].changes.append(Change(entered, left, offset, data))
    elif call in ("ftruncate", "truncate"):
        names[path].changes.append(Change(entered, left, offset))
    elif call in ("fsync", "fdatasync"):
        if path in names:
            names[path].syncs.append((entered, left))
    elif call.startswith("rename"):
        _rename(names, path, second, entered, left)
    elif call in ("unlink", "unlinkat", "rmdir"):
        del names[path]
        if parent is not None:
            parent.changes.append(Change(entered, left, gone=name))
    elif call in ("link", "linkat"):
        target, _, other = second.rpartition("/")
        names[second] = names[path]
        names[target].changes.append(Change(entered, left, name=other, node=names[path]))
    elif call not in ("answer", "chmod", "fchmod", "fchmodat", "utimensat", "msync"):
        raise AssertionError(f"what {call} does to {path} is not known")


def _rename(names: dict[str, Node], path: str, second: str, entered: int, left: int) -> None:
    node = names.pop(path)
    for below in [below for below in names if below.startswith(f"{path}/")]:
        names[second + below.removeprefix(path)] = names.pop(below)
    names[second] = node
    (folder, _, name), (target, _, other) = path.rpartition("/"), second.rpartition("/")
    if folder == target:
        names[folder].changes.append(Change(entered, left, gone=name, name=other, node=node))
        return
    # Between two folders nobody promises that both or neither is on the disk.
    if target in names:
        names[target].changes.append(Change(entered, left, name=other, node=node))
    if folder in names:
        names[folder].changes.append(Change(entered, left, gone=name))


def state(recording: Recording, moment: int, keep: Keep, tear: Callable[[Change, bytearray], None]) -> Tree:
    """Return what is on the disk after a loss of power.

    Args:
        recording: what was done.
        moment: when the power was lost.
        keep: whether a change is there that need not be.
        tear: writes what is there of a change of bytes that need not be.
    """
    found: dict[str, bytes | None] = {}

    def kept(node: Node) -> Iterator[tuple[Change, bool]]:
        durable = node.durable(moment)
        for change in sorted(node.changes, key=lambda change: change.ended):
            certain = change.ended <= durable
            if certain or (change.entered <= moment and keep(change)):
                yield change, certain

    def fill(node: Node, path: str) -> None:
        if not node.is_folder:
            content = bytearray()
            for change, certain in kept(node):
                if certain:
                    put(change, content)
                else:
                    tear(change, content)
            found[path] = bytes(content)
            return
        if path:
            found[path] = None
        entries: dict[str, Node] = {}
        for change, _ in kept(node):
            if change.gone:
                entries.pop(change.gone, None)
            if change.node is not None:
                entries[change.name] = change.node
        for name, entry in entries.items():
            fill(entry, f"{path}/{name}" if path else name)

    fill(recording.root, "")
    return found


def put(change: Change, content: bytearray) -> None:
    """Let a change of bytes happen."""
    if change.data is None:
        del content[change.offset :]
        content.extend(bytes(change.offset - len(content)))
        return
    content.extend(bytes(max(0, change.offset - len(content))))
    content[change.offset : change.offset + len(change.data)] = change.data


def tear_with(chance: random.Random, share: float) -> Callable[[Change, bytearray], None]:
    """Return what lets a share of the writes be there in part only."""

    def tear(change: Change, content: bytearray) -> None:
        if change.data is None or chance.random() >= share:
            put(change, content)
            return
        sector = chance.choice(SECTORS)
        torn = bytearray(change.data)
        for start in range(0, len(torn), sector):
            if chance.random() < 0.5:
                torn[start : start + sector] = bytes(len(torn[start : start + sector]))
        if chance.random() < 0.5:
            # The file's length was not written either.
            torn = torn[: chance.randrange(0, len(torn) + sector, sector)]
        put(Change(change.entered, change.ended, change.offset, bytes(torn)), content)

    return tear


def states(recording: Recording, seed: int) -> Iterator[tuple[int, str, Tree]]:
    """Yield crash states for ever: first those with nothing, with names only, and with all that need not be there, at each moment."""
    chance = random.Random(seed)
    plain: Mapping[str, Keep] = {
        "nothing": lambda _: False,
        "names": lambda change: bool(change.name or change.gone),
        "bytes": lambda change: not (change.name or change.gone),
        "links": lambda change: bool(change.name),
        "removals": lambda change: not change.name,
        "all": lambda _: True,
    }
    for moment in (*recording.answers, *chance.sample(recording.moments, len(recording.moments))):
        for name, keep in plain.items():
            yield moment, name, state(recording, moment, keep, put)
    while True:
        is_end = chance.random() < 0.2
        moment = chance.choice(recording.answers if is_end else recording.moments)
        share = chance.choice((0.05, 0.3, 0.5, 0.7, 0.95))
        tear = tear_with(chance, chance.choice((0.0, 0.5, 1.0)))
        yield moment, f"{share}", state(recording, moment, lambda _, share=share: chance.random() < share, tear)  # type: ignore[misc]


def write(folder: Path, tree: Tree) -> None:
    """Make a folder hold a state."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for path, content in tree.items():
        if content is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(content)


class Replay:
    """A recording of the chain of commands, and what is answered after each."""

    def __init__(self, root: Path, runner: Runner) -> None:
        self.sweep = Sweep(root, runner, ("build",))
        work = self.sweep.folders.work
        shutil.rmtree(work)
        work.mkdir()
        self.index = work / "index"
        record, part = root / "record", root / "part"
        self.answers: list[str | None] = [None]
        ends: list[int] = []
        with record.open("w") as whole:
            for _, command in CHAIN:
                arguments = self.sweep.folders.filled(command)
                done = runner.run(arguments, arm=f"eio 0 {work}", record=str(part))
                if done.status != 0:
                    raise SweptWrongError(done.printed)
                whole.write(part.read_text())
                ends.append((ends[-1] if ends else 0) + len(part.read_text().splitlines()))
                self.answers.append(indexes.answers(self.index))
        self.recording = read(record, work, ends)

    def check(self, moment: int, case: str) -> None:
        """What lies in the folder is the state of the commands that said they were done, or of the one under way."""
        done = bisect_right(self.recording.answers, moment)
        try:
            found: str | None = indexes.answers(self.index)
            indexes.verify(self.index)
        except IndexNotFound:
            found = None
        except ClockifyRagError as failure:
            raise SweptWrongError(f"{case}: {failure}") from failure
        if found not in self.answers[done : done + 2]:
            known = self.answers.index(found) if found in self.answers else "no"
            raise SweptWrongError(f"{case}: answers of state {known}, {done} commands were done")
        source, _ = CHAIN[-1]
        try:
            indexes.build(self.index, self.sweep.folders.source(source))
            indexes.verify(self.index)
        except ClockifyRagError as failure:
            raise SweptWrongError(f"{case}: no further build succeeds: {failure}") from failure
        if indexes.answers(self.index) != self.answers[-1]:
            raise SweptWrongError(f"{case}: the further build answers otherwise")
        if left := indexes.leftovers(self.index):
            raise SweptWrongError(f"{case}: the further build leaves {sorted(left)}")


def fingerprint(tree: Tree) -> bytes:
    """Return a hash by which equal states are known."""
    hasher = hashlib.blake2b(digest_size=16)
    for path, content in sorted(tree.items()):
        hasher.update(repr((path, content)).encode())
    return hasher.digest()


def main() -> None:
    """Judge a share of ``sample`` different states, and print counts and what went wrong."""
    share = msgspec.json.decode(sys.argv[1], type=Share)
    scratch = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(prefix="clockify-rag-", dir=scratch) as root,
        Runner(share.sweeper, Path(root) / "output") as runner,
    ):
        replay = Replay(Path(root), runner)
        work = replay.sweep.folders.work
        seen: set[bytes] = set()
        wrong: list[str] = []
        tried = judged = 0
        for moment, name, tree in states(replay.recording, share.seed + share.number):
            tried += 1
            # Acknowledgement is what makes equal states different: what was done must be there.
            key = fingerprint(tree) + bytes([bisect_right(replay.recording.answers, moment)])
            # Workers share the states by their hash, so that none is judged twice.
            if key in seen or key[0] % share.workers != share.number:
                continue
            seen.add(key)
            judged += 1
            write(work, tree)
            try:
                replay.check(moment, f"moment {moment}, kept {name}, state {tried}, seed {share.seed}")
            except SweptWrongError as failure:
                wrong.append(str(failure))
            if len(wrong) >= MAXIMUM_WRONG or judged >= share.sample // share.workers:
                break
        counts = {"states": judged, "tried": tried}
        print(json.dumps({"operation": "losing power", "counts": counts, "wrong": wrong}), flush=True)


if __name__ == "__main__":
    main()
