"""An index beside a plain dictionary: random operations, with kills and restarts; ``python -m faults.modelling``.

The dictionary holds what was published last, and what each tag names; after every step that could have changed the index both must say
the same: which documents there are, what stands in them, and which one is found by a word that no other has. A source that lost most
of its documents must be refused, and only then.
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from clockify_rag import _core, changing, generations
from clockify_rag.building import GUARDED_DOCUMENTS
from clockify_rag.errors import IndexNotFound, SourceShrunk
from clockify_rag.index import LocalIndex
from clockify_rag.pipeline import Pipeline
from faults import indexes
from faults.operations import age
from faults.running import Runner
from faults.sweeping import STORE_FAILED, Share, SweptWrongError

Texts = dict[str, dict[str, str]]
"""Of each source the words that make its pages different, by path."""

SOURCES = ("help", "blog")
FOLDERS = ("", "guide/", "guide/deep/")
TAGS = ("first", "second")
MAXIMUM_PAGES = 14
MAXIMUM_LOSS = 0.5
"""The default of ``loading.maximum_loss``."""
SHRUNK = 2
"""The exit status of a build that was refused because a source lost most of its documents."""
LETTERS = str.maketrans("0123456789", "bdfhjkmpvw")
"""A number as letters, because an analyser may part digits from them."""
KILLS = ("kill-before", "kill-after", "torn")
FAILURES = ("enospc", "eio", "enospc-sticky", "eio-sticky")


class Model:
    """The index, its sources, and the dictionary."""

    def __init__(self, root: Path, runner: Runner, seed: int) -> None:
        self.chance = random.Random(seed)
        self.root = root
        self.runner = runner
        self.index = root / "index"
        self.words = 0
        self.pages: Texts = {source: {} for source in SOURCES}
        """What the sources hold now."""
        self.published: Texts | None = None
        self.tagged: dict[str, Texts] = {}
        """What was published when a tag was given."""
        self.reader: Pipeline | None = None
        """Opened long ago, and what it must still answer."""
        self.read: Texts = {}
        self.done: list[str] = []
        self.refused = 0
        """How often a build was rightly refused, because a source lost most of its documents."""
        for source in SOURCES:
            (root / source).mkdir()
            self._write(source, "start.md")
        self.steps: Mapping[Callable[[], None], int] = {
            self.add: 22,
            self.change: 22,
            self.move: 8,
            self.delete: 10,
            self.lose: 2,
            self.build: 12,
            self.build_in_a_process: 4,
            self.build_killed: 6,
            self.build_failing: 4,
            self.build_only: 1,
            self.remove: 3,
            self.tag: 2,
            self.untag: 1,
            self.roll_back: 1,
            self.changed_killed: 3,
            self.changed_failing: 2,
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

    def lose(self) -> None:
        """All pages of a source but one."""
        source, kept = self._any()
        for path in [path for path in self.pages[source] if path != kept]:
            (self.root / source / path).unlink()
            del self.pages[source][path]

    # What happens to the index.

    def _chosen(self) -> list[str]:
        return self.chance.choice([["help"], ["blog"], list(SOURCES)])

    def _after(self, sources: Sequence[str], *, only: bool = False) -> Texts:
        kept = {} if only or self.published is None else self.published
        return {**kept, **{source: dict(self.pages[source]) for source in sources}}

    def _is_refused(self, sources: Sequence[str]) -> bool:
        """Whether one of these sources lost more of its documents than a build follows unasked; moved ones are not lost."""
        return any(self._lost(source) for source in sources)

    def _lost(self, source: str) -> bool:
        known, now = ({} if self.published is None else self.published.get(source, {})), self.pages[source]
        gone = Counter(word for path, word in known.items() if path not in now)
        added = Counter(word for path, word in now.items() if path not in known)
        return len(known) >= GUARDED_DOCUMENTS and (gone - added).total() > MAXIMUM_LOSS * len(known)

    def _built(self, sources: Sequence[str], *, only: bool = False) -> None:
        """Build in this process; what is refused is built again as it may be."""
        locations, refused = [self.root / source for source in sources], self._is_refused(sources)
        try:
            with indexes.opened(self.index) as pipeline:
                pipeline.build(locations, only=only)
        except SourceShrunk:
            if not refused:
                raise
            self._check(self.published)
            self.refused += 1
            with indexes.opened(self.index) as pipeline:
                pipeline.build(locations, only=only, allow_shrink=True)
        else:
            if refused:
                raise SweptWrongError("a build followed a source that lost most of its documents")
        self.published = self._after(sources, only=only)
        self._check(self.published)

    def build(self) -> None:
        """Build some sources in this process."""
        self._built(self._chosen())

    def build_only(self) -> None:
        """Make the index one source."""
        self._built([self.chance.choice(SOURCES)], only=True)

    def _command(self, sources: Sequence[str]) -> list[str]:
        return ["build", *(str(self.root / source) for source in sources), "--index", str(self.index)]

    def build_in_a_process(self) -> None:
        """Build some sources in a process of its own."""
        sources = self._chosen()
        refused = self._is_refused(sources)
        done = self.runner.run(self._command(sources))
        if done.status != (SHRUNK if refused else 0):
            raise SweptWrongError(f"a build ended with {done.status}: {done.printed}")
        if not refused:
            self.published = self._after(sources)
        self._check(self.published)

    def build_killed(self) -> None:
        """Build, and be killed at some call."""
        self._build_faulty(self.chance.choice(KILLS), -signal.SIGKILL)

    def build_failing(self) -> None:
        """Build on a disk that fails at some call."""
        self._build_faulty(self.chance.choice(FAILURES), STORE_FAILED)

    def _build_faulty(self, action: str, status: int) -> None:
        sources = self._chosen()
        if self._is_refused(sources):
            self._faulty(self._command(sources), self.published, action, (status, SHRUNK))
        else:
            self._faulty(self._command(sources), self._after(sources), action, (status, 0))

    def _faulty(self, command: list[str], after: Texts | None, action: str, statuses: Sequence[int]) -> None:
        done = self.runner.run(command, arm=f"{action} {self.chance.randint(1, 200)} {self.index}")
        if done.status not in statuses:
            raise SweptWrongError(f"with {action} {command} ended with {done.status}: {done.printed}")
        if after is not None and (done.status == 0 or self._holds(after)):
            self.published = after
        self._check(self.published)
        if self.published is None and after is not None:
            # Whoever writes next serves a first generation that is whole, although the build that made it could not say so.
            _core.Writer(str(self.index)).close()
            if self._holds(after):
                self.published = after
            self._check(self.published)

    def _without_one(self) -> tuple[str, Texts] | None:
        """A document that is published, and what is without it."""
        if self.published is None or not any(self.published.values()):
            return None
        names = sorted((source, path) for source, pages in self.published.items() for path in pages)
        source, path = self.chance.choice(names)
        left = {other: dict(pages) for other, pages in self.published.items()}
        del left[source][path]
        return f"{source}/{path}", left

    def remove(self) -> None:
        """Remove a document that its source still has."""
        if (found := self._without_one()) is not None:
            name, self.published = found
            with indexes.opened(self.index) as pipeline:
                changing.remove(pipeline, [name])
            self._check(self.published)

    def tag(self) -> None:
        """Give what is served a name."""
        if self.published is not None:
            name = self.chance.choice(TAGS)
            generations.tag(self.index, name, move=True)
            self.tagged[name] = self.published
            self._check_tags()

    def untag(self) -> None:
        """Take a name away."""
        if self.tagged:
            name = self.chance.choice(sorted(self.tagged))
            generations.untag(self.index, name)
            del self.tagged[name]
            self._check_tags()

    def roll_back(self) -> None:
        """Serve again what a tag names."""
        if self.tagged:
            name = self.chance.choice(sorted(self.tagged))
            generations.roll_back(self.index, name)
            self.published = self.tagged[name]
            self._check(self.published)

    def changed_killed(self) -> None:
        """Remove a document or roll back, and be killed at some call."""
        self._changed_faulty(self.chance.choice(KILLS), -signal.SIGKILL)

    def changed_failing(self) -> None:
        """Remove a document or roll back on a disk that fails at some call."""
        self._changed_faulty(self.chance.choice(FAILURES), STORE_FAILED)

    def _changed_faulty(self, action: str, status: int) -> None:
        if self.tagged and self.chance.random() < 0.5:
            name = self.chance.choice(sorted(self.tagged))
            command, after = ["rollback", name], self.tagged[name]
        elif (found := self._without_one()) is not None:
            name, after = found
            command = ["remove", name]
        else:
            return
        self._faulty([*command, "--index", str(self.index)], after, action, (status, 0))

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
            with indexes.opened(self.index) as pipeline:
                return not _difference(pipeline, texts)
        except IndexNotFound:
            return False

    def _check(self, texts: Texts | None) -> None:
        """The index holds exactly the dictionary."""
        try:
            with indexes.opened(self.index) as pipeline:
                pipeline.index.snapshot.verify()
                if texts is None:
                    raise SweptWrongError("there is an index that nobody published")
                if difference := _difference(pipeline, texts):
                    raise SweptWrongError(difference)
        except IndexNotFound:
            if texts is not None:
                raise SweptWrongError("there is no index any more") from None
            return
        self._check_tags()

    def _check_tags(self) -> None:
        """Each tag names exactly what was published when it was given."""
        found = {tag: row.generation for row in generations.listed(self.index) for tag in row.tags}
        if set(found) != set(self.tagged):
            raise SweptWrongError(f"the index has the tags {sorted(found)}, not {sorted(self.tagged)}")
        for name, texts in self.tagged.items():
            former = LocalIndex.at(self.index, found[name])
            with indexes.opened(self.index) as pipeline:
                if difference := _difference(pipeline.over(former), texts):
                    raise SweptWrongError(f"tag {name}: {difference}")


def _difference(pipeline: Pipeline, texts: Texts) -> str:
    """Say what an index holds otherwise than a dictionary; nothing if nothing."""
    expected = {(source, path): word for source, pages in texts.items() for path, word in pages.items()}
    found = {(document.source, document.path): document.id for document in pipeline.index.documents()}
    if set(found) != set(expected):
        return f"documents {sorted(set(found) ^ set(expected))} are in one only"
    for name, word in expected.items():
        if word not in pipeline.index.text(found[name]):
            return f"{name} does not have {word}"
    if not expected:
        return ""
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
    root = Path(tempfile.mkdtemp(prefix="clockify-rag-", dir=scratch))
    seed = share.seed + share.number
    wrong: list[str] = []
    with Runner(share.sweeper, root / "output") as runner:
        model = Model(root, runner, seed)
        try:
            for _ in range(share.sample // share.workers):
                model.step()
        except SweptWrongError as failure:
            wrong.append(f"seed {seed}, after {len(model.done)} steps, the last {model.done[-5:]}: {failure}")
    shutil.rmtree(root)
    counts = {"steps": len(model.done), "refused": model.refused, **Counter(model.done)}
    print(json.dumps({"operation": "model", "counts": counts, "wrong": wrong}))


if __name__ == "__main__":
    main()
