"""Bits that flip and files that end too early: every byte and every length of an index; ``python -m faults.flipping``.

Each worker has a copy of its own, damages it in place, asks, and mends it. Who dies or hangs is missed by whoever waits for the line that
it was to print; the case that it died of is in the file named by ``FLIPPING``, if that is set.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from clockify_rag.errors import IndexCorrupt
from faults import indexes
from faults.sweeping import MAXIMUM_WRONG, Share

PATIENCE = 20
"""Seconds after which the process kills itself, because it hangs."""


class Case(msgspec.Struct, frozen=True):
    """One damage."""

    kind: str
    file: str
    offset: int
    """The byte that is flipped, or the length that is left."""


def prepared(root: Path) -> Path:
    """Build an index with every kind of file: after an update, and after a page changed its times but not its text."""
    few = dict(list(indexes.PAGES.items())[:7])
    index = root / "index"
    source = indexes.pages(root / "help", few)
    indexes.build(index, source)
    indexes.pages(
        source, {path: text.replace("workspace", "team") for path, text in few.items() if path[0] in "rt"} | few
    )
    (source / "timer.md").write_text(few["timer.md"].replace("20 days", "21 days"))
    indexes.build(index, source)
    os.utime(source / "report.md", (1, 1))
    indexes.build(index, source)
    return index


def cases_of(index: Path) -> Iterator[Case]:
    """Every byte flipped, and every length shorter than the whole."""
    for path in sorted(path for path in index.rglob("*") if path.is_file()):
        name = path.relative_to(index).as_posix()
        for offset in range(path.stat().st_size):
            yield Case("flip", name, offset)
            yield Case("truncation", name, offset)


class Flipper:
    """An index that is damaged again and again."""

    def __init__(self, index: Path) -> None:
        self.index = index
        self.read = indexes.served(index)
        self.pipeline = indexes.open_pipeline(index)
        self.truth = indexes.answers(self.pipeline)

    def judge(self, case: Case) -> str:
        """Damage the index, ask it, and mend it; return what it came to."""
        path = self.index / case.file
        content = path.read_bytes()
        if case.kind == "flip":
            damaged = bytearray(content)
            damaged[case.offset] ^= 1 << (case.offset % 8)
            path.write_bytes(damaged)
        else:
            path.write_bytes(content[: case.offset])
        try:
            return self._asked(case)
        finally:
            path.write_bytes(content)

    def _asked(self, case: Case) -> str:
        # The components are those of a process that lives long; the index is opened anew.
        self.pipeline._index = None
        try:
            found: str | None = indexes.answers(self.pipeline)
        except IndexCorrupt:
            found = None
        if found not in (None, self.truth):
            return "other answers"
        self.pipeline._index = None
        try:
            self.pipeline.index.snapshot.verify()
        except IndexCorrupt:
            return "detected" if found is None else "found by verify"
        if found is None:
            return "not found by verify"
        return "not found by verify" if case.file in self.read else "unread"


WRONG = ("other answers", "not found by verify")


def main() -> None:
    """Judge a share of the cases, and print counts and what went wrong."""
    share = msgspec.json.decode(sys.argv[1], type=Share)
    scratch = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="clockify-rag-", dir=scratch) as root:
        flipper = Flipper(prepared(Path(root)))
        cases = list(cases_of(flipper.index))
        if share.sample:
            cases = random.Random(share.seed).sample(cases, share.sample)
        counts: Counter[str] = Counter()
        wrong: list[str] = []
        progress = Path(os.environ.get("FLIPPING", os.devnull)).open("w")  # noqa: SIM115 - as long as the process
        for case in cases[share.number :: share.workers]:
            progress.seek(0)
            progress.write(f"{case}\n")
            progress.flush()
            signal.alarm(PATIENCE)
            verdict = flipper.judge(case)
            signal.alarm(0)
            counts[f"{case.kind} {verdict}"] += 1
            if verdict in WRONG:
                wrong.append(f"{verdict}: {case}")
            if len(wrong) >= MAXIMUM_WRONG:
                break
        if indexes.answers(flipper.index) != flipper.truth:
            wrong.append("the mended index answers otherwise")
        shutil.rmtree(flipper.index)
        print(json.dumps({"operation": "damage", "counts": counts, "wrong": wrong}), flush=True)


if __name__ == "__main__":
    main()
