"""What is swept: the operations that change an index, as data. A new command is one line more in ``OPERATIONS``.

In the words of a command ``{index}`` is the index's folder, ``{folder}`` the one that it lies in, where also archives and restored
indexes may lie, and ``{pages}``, ``{changed}`` and ``{rewritten}`` are three states of one source.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from faults import indexes

Command = tuple[str, ...]

AGED: Command = ("aged",)
"""No command: makes every manifest old enough to be collected."""

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
    also: tuple[Command, ...] = ()
    """Commands whose JSON is part of what an index answers, beside the questions."""


OPERATIONS: tuple[Operation, ...] = (
    Operation("build", "nothing", _build("pages")),
    Operation("update", "built", _build("changed"), after="changed"),
    Operation("remove", "built", ("build", "{changed}", "--only", "--index", "{index}"), after="changed"),
    Operation("compaction", "updated", _build("rewritten"), after="rewritten"),
    Operation("collection", "aged", _build("changed"), after="changed"),
)


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
