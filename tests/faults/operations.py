"""What is swept: the operations that change an index, as data. A new command is one line more in ``OPERATIONS``.

In the words of a command ``{index}`` is the index's folder, ``{folder}`` the one that it lies in, where also archives and restored
indexes may lie, and ``{pages}``, ``{changed}`` and ``{rewritten}`` are three states of one source.
"""

from __future__ import annotations

import os
from collections.abc import Container, Mapping, Sequence
from pathlib import Path

import msgspec

from faults import indexes

Command = tuple[str, ...]

AGED: Command = ("(aged)",)
"""No command: makes every manifest old enough to be collected."""

DAMAGED: Command = ("(damaged)",)
"""No command: damages a file that is derived from others."""

SOURCES: Mapping[str, Mapping[str, str]] = {
    "pages": indexes.PAGES,
    "changed": indexes.CHANGED_PAGES,
    "rewritten": indexes.REWRITTEN_PAGES,
}


def _build(source: str) -> Command:
    return ("build", f"{{{source}}}", "--index", "{index}")


STATES: Mapping[str, tuple[Command, ...]] = {
    "nothing": (),
    "built": (_build("pages"),),
    "updated": (_build("pages"), _build("changed")),
    "tagged": (_build("pages"), _build("changed"), ("tag", "kept", "1", "--index", "{index}")),
    "archived": (_build("pages"), ("snapshot", "{folder}/archive", "--index", "{index}"), _build("changed")),
    "damaged": (_build("pages"), _build("changed"), DAMAGED),
    "aged": (*(_build(source) for source in ("pages", "changed", "pages", "changed", "pages")), AGED),
}
"""The indexes that operations start from, as the commands that make them."""


class Operation(msgspec.Struct, frozen=True):
    """One command that changes an index."""

    name: str
    state: str
    """What it starts from, of ``STATES``."""
    command: Command
    after: str = "pages"
    """The source that is built afterwards, to show that the index still can be."""
    judged: str = "index"
    """The folder, below the one that all is in, of the index that the command changes."""
    also: str = ""
    """The files, below the index, whose bytes are part of what it answers, beside the questions."""
    mended: Command = ()
    """What must come before a further build where the operation was lost."""
    collects: bool = False
    """Whether it removes former generations after its own is published, which it does not promise."""
    newer: bool = False
    """Whether the engine takes itself for one of the next format, and whether it published is told by the generation's number."""


_REPAIR: Command = ("repair", "{changed}", "--index", "{index}")

OPERATIONS: tuple[Operation, ...] = (
    Operation("build", "nothing", _build("pages")),
    Operation("update", "built", _build("changed"), after="changed"),
    Operation("remove", "built", ("build", "{changed}", "--only", "--index", "{index}"), after="changed"),
    Operation("compaction", "updated", _build("rewritten"), after="rewritten"),
    Operation("collection", "aged", _build("changed"), after="changed", collects=True),
    Operation("remove a page", "updated", ("remove", "timer.md", "--index", "{index}")),
    Operation("purge", "updated", ("remove", "timer.md", "--purge", "--index", "{index}")),
    Operation("repair", "damaged", _REPAIR, mended=_REPAIR),
    Operation("reembed", "updated", ("reembed", "none", "--index", "{index}")),
    Operation("tag", "updated", ("tag", "kept", "1", "--index", "{index}"), also="tags/kept"),
    Operation("untag", "tagged", ("untag", "kept", "--index", "{index}"), also="tags/kept"),
    Operation("tag moved", "tagged", ("tag", "--move", "kept", "2", "--index", "{index}"), also="tags/kept"),
    Operation("rollback", "updated", ("rollback", "1", "--index", "{index}"), after="rewritten"),
    Operation("snapshot", "updated", ("snapshot", "{folder}/archive", "--index", "{index}"), also="../archive"),
    Operation("snapshot again", "archived", ("snapshot", "{folder}/archive", "--index", "{index}"), also="../archive"),
    Operation(
        "restore", "archived", ("restore", "{folder}/archive", "--index", "{folder}/restored"), judged="restored"
    ),
    Operation("restore in place", "archived", ("restore", "{folder}/archive", "--replace", "--index", "{index}")),
    Operation("migrate", "updated", ("migrate", "--index", "{index}"), after="changed", newer=True),
    Operation("gc", "aged", ("gc", "--index", "{index}")),
)


def runnable(commands: Sequence[Command], known: Container[str]) -> bool:
    """Whether every command is one that there is, or none at all."""
    return all(command[0] in known or command in (AGED, DAMAGED) for command in commands)


FAILPOINTS: Mapping[str, str] = {
    "build: locked": "update",
    "build: chunked": "update",
    "build: batch added": "update",
    "build: complete": "update",
    "build: published": "update",
    "index: merged": "compaction",
}
"""The places in Python that are swept, each with an operation that comes by."""

CORE_FAILPOINTS: Mapping[str, str] = {
    "publisher: locked": "build",
    "publisher: cleared": "update",
    "segment: written": "update",
    "segment: files durable": "compaction",
    "publication: tombstones written": "update",
    "publish: state written": "update",
    "publish: folders durable": "update",
    "publish: manifest durable": "update",
    "publish: opened": "update",
    "publish: current replaced": "update",
    "publish: durable": "update",
    "collect: manifest removed": "collection",
}
"""Those in the core, which only an extension built with the feature ``failpoints`` has."""


class Folders(msgspec.Struct, frozen=True):
    """Where one sweep happens."""

    root: Path

    @property
    def work(self) -> Path:
        """What is reset for each point: an index and what lies beside it."""
        return self.root / "work"

    def filled(self, command: Command) -> list[str]:
        """The words of a command with the folders' paths."""
        places = {name: str(self.root / name / "help") for name in SOURCES}
        return [word.format(index=self.work / "index", folder=self.work, **places) for word in command]

    def source(self, name: str) -> Path:
        """The folder of a state of the source."""
        return self.root / name / "help"


def age(index: Path) -> None:
    """Make all manifests old."""
    for manifest in (index / "generations").glob("*.json"):
        os.utime(manifest, (1, 1))


def damage(index: Path) -> None:
    """Damage what is derived from the stored vectors."""
    path = min(index.glob("segments/*/vectors.i8"))
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
