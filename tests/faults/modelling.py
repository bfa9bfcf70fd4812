"""An index beside a plain dictionary: random operations, with kills and restarts; ``sweeper python -m faults.modelling``.

The dictionary holds what was published last; after every step that could have changed the index both must say the same: which documents
there are, what stands in them, and which one is found by a word that no other has.
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
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from clockify_rag.cli import app
from clockify_rag.errors import IndexNotFound
from clockify_rag.pipeline import Pipeline
from faults import indexes
from faults.operations import age
from faults.sweeping import STORE_FAILED, Share, SweptWrongError, run

Texts = dict[str, dict[str, str]]
"""Of each source the words that make its pages different, by path."""

SOURCES = ("help", "blog")
FOLDERS = ("", "guide/", "guide/deep/")
MAXIMUM_PAGES = 8
LETTERS = str.maketrans("0123456789", "bdfhjkmpvw")
"""A number as letters, because an analyser may part digits from them."""
KILLS = ("kill-before", "kill-after", "torn")
FAILURES = ("enospc", "eio", "enospc-sticky", "eio-sticky")


class Model:
    """The index, its sources, and the dictionary."""

    def __init__(self, root: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.root = root
        self.index = root / "index"
        self.output = root / "output"
        self.words = 0
        self.pages: Texts = {source: {} for source in SOURCES}
        """What the sources hold now."""
        self.published: Texts | None = None
        self.reader: Pipeline | None = None
        """Opened long ago, and what it must still answer."""
        self.read: Texts = {}
        self.done: list[str] = []
        for source in SOURCES:
            (root / source).mkdir()
            self._write(source, "start.md")
        self.steps: Mapping[Callable[[], None], int] = {
            self.add: 22,
            self.change: 22,
            self.move: 8,
            self.delete: 14,
            self.build: 12,
            self.build_in_a_process: 4,
            self.build_killed: 6,
            self.build_failing: 4,
            self.build_only: 1,
            self.read_long_opened: 4,
            self.refresh: 2,
            self.collect: 1,
        }

    def step(self) -> None:
        """Do one thing."""
        (chosen,) = self.chance.choices(list(self.steps), list(self.steps.values()))
        chosen()
        self.done.append(chosen.__name__)

    # What happens to the sources.

    def _write(self, source: str, path: str) -> None:
        self.words += 1
        word = "zq" + str(self.words).translate(LETTERS)
        file = self.root / source / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            f"# Page {path}\n\nThe {word} of the workspace.\n\n## Steps\n\nOpen the page and export {word}.\n"
        )
        self.pages[source][path] = word

    def _any(self) -> tuple[str, str]:
        source = self.chance.choice(SOURCES)
        return source, self.chance.choice(sorted(self.pages[source]))

    def add(self) -> None:
        """A new page, or one that was there before."""
        source = self.chance.choice(SOURCES)
        if len(self.pages[source]) < MAXIMUM_PAGES:
            self._write(source, f"{self.chance.choice(FOLDERS)}page-{self.chance.randrange(12)}.md")

    def change(self) -> None:
        """A page with another word."""
        self._write(*self._any())

    def move(self) -> None:
        """The same text at another path."""
        source, path = self._any()
        target = f"{self.chance.choice(FOLDERS)}moved-{self.chance.randrange(12)}.md"
        if target not in self.pages[source]:
            file = self.root / source / target
            file.parent.mkdir(parents=True, exist_ok=True)
            (self.root / source / path).rename(file)
            self.pages[source][target] = self.pages[source].pop(path)

    def delete(self) -> None:
        """A page less; a source keeps one."""
        source, path = self._any()
        if len(self.pages[source]) > 1:
            (self.root / source / path).unlink()
            del self.pages[source][path]

    # What happens to the index.

    def _chosen(self) -> list[str]:
        return self.chance.choice([["help"], ["blog"], list(SOURCES)])

    def _after(self, sources: list[str], *, only: bool = False) -> Texts:
        kept = {} if only or self.published is None else self.published
        return {**kept, **{source: dict(self.pages[source]) for source in sources}}

    def build(self) -> None:
        """Build some sources in this process."""
        sources = self._chosen()
        indexes.open_pipeline(self.index).build([self.root / source for source in sources])
        self.published = self._after(sources)
        self._check(self.published)

    def build_only(self) -> None:
        """Make the index one source."""
        sources = [self.chance.choice(SOURCES)]
        indexes.open_pipeline(self.index).build([self.root / source for source in sources], only=True)
        self.published = self._after(sources, only=True)
        self._check(self.published)

    def _command(self, sources: list[str]) -> list[str]:
        return ["build", *(str(self.root / source) for source in sources), "--index", str(self.index)]

    def build_in_a_process(self) -> None:
        """Build some sources in a process of its own."""
        sources = self._chosen()
        done = run(self._command(sources), self.output)
        if done.status != 0:
            raise SweptWrongError(f"a build ended with {done.status}: {done.printed}")
        self.published = self._after(sources)
        self._check(self.published)

    def build_killed(self) -> None:
        """Build, and be killed at some call."""
        self._faulty(self.chance.choice(KILLS), (0, -signal.SIGKILL))

    def build_failing(self) -> None:
        """Build on a disk that fails at some call."""
        self._faulty(self.chance.choice(FAILURES), (0, STORE_FAILED))

    def _faulty(self, action: str, statuses: tuple[int, ...]) -> None:
        sources = self._chosen()
        after = self._after(sources)
        done = run(self._command(sources), self.output, arm=f"{action} {self.chance.randint(1, 200)} {self.index}")
        if done.status not in statuses:
            raise SweptWrongError(f"with {action} a build ended with {done.status}: {done.printed}")
        if done.status == 0 or self._holds(after):
            self.published = after
        self._check(self.published)

    def collect(self) -> None:
        """Let all generations be old, and build."""
        if self.published is not None:
            age(self.index)
        self.build()

    def refresh(self) -> None:
        """Let the reader that is open serve what was published last."""
        if self.published is None:
            return
        if self.reader is None:
            self.reader = indexes.open_pipeline(self.index)
        self.reader.refresh()
        self.read = {source: dict(texts) for source, texts in self.published.items()}
        self.read_long_opened()

    def read_long_opened(self) -> None:
        """Ask the reader that is open, whatever was published meanwhile."""
        if self.reader is not None and (difference := _difference(self.reader, self.read)):
            raise SweptWrongError(f"the open reader: {difference}")

    def _holds(self, texts: Texts) -> bool:
        try:
            return not _difference(indexes.open_pipeline(self.index), texts)
        except IndexNotFound:
            return False

    def _check(self, texts: Texts | None) -> None:
        """The index holds exactly the dictionary."""
        try:
            pipeline = indexes.open_pipeline(self.index)
            pipeline.index.snapshot.verify()
        except IndexNotFound:
            if texts is not None:
                raise SweptWrongError("there is no index any more") from None
            return
        if texts is None:
            raise SweptWrongError("there is an index that nobody published")
        if difference := _difference(pipeline, texts):
            raise SweptWrongError(difference)


def _difference(pipeline: Pipeline, texts: Texts) -> str:
    """Say what an index holds otherwise than a dictionary; nothing if nothing."""
    expected = {(source, path): word for source, pages in texts.items() for path, word in pages.items()}
    found = {(document.source, document.path): document.id for document in pipeline.index.documents()}
    if set(found) != set(expected):
        return f"documents {sorted(set(found) ^ set(expected))} are in one only"
    for name, word in expected.items():
        if word not in pipeline.index.text(found[name]):
            return f"{name} does not have {word}"
    # One question of all, because a search costs more than the rest: for what changed last.
    name = max(expected, key=lambda name: (len(expected[name]), expected[name]))
    hits = pipeline.search(expected[name], lexical=True).hits
    same = {other for other, word in expected.items() if word == expected[name]}
    if not hits or {(hit.document.source, hit.document.path) for hit in hits} != same:
        return f"{expected[name]} is not found in {sorted(same)} alone"
    return ""


def main() -> None:
    """Do ``sample`` steps, and print counts and what went wrong."""
    share = msgspec.json.decode(sys.argv[1], type=Share)
    scratch = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    app.command()
    root = Path(tempfile.mkdtemp(prefix="clockify-rag-", dir=scratch))
    seed = share.seed + share.number
    model = Model(root, seed)
    wrong: list[str] = []
    try:
        for _ in range(share.sample // share.workers):
            model.step()
    except SweptWrongError as failure:
        wrong.append(f"seed {seed}, after {len(model.done)} steps, the last {model.done[-5:]}: {failure}")
    shutil.rmtree(root)
    counts = {"steps": len(model.done), **Counter(model.done)}
    print(json.dumps({"operation": "model", "counts": counts, "wrong": wrong}))


if __name__ == "__main__":
    main()
