"""Random lives of an index against a dictionary from generation to pages; the seed is printed.

``GENERATION_OPERATIONS`` says how many operations, ``GENERATION_SEED`` which. Each operation opens the index anew, as a process does
that has just begun.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

from clockify_rag import _core, generations
from clockify_rag.config import EmbeddingSettings, Settings
from clockify_rag.index import LocalIndex
from clockify_rag.pipeline import Pipeline
from folders import write
from test_generations import grow_old

OPERATIONS = int(os.environ.get("GENERATION_OPERATIONS", "120"))
SEED = int(os.environ.get("GENERATION_SEED", str(random.randrange(1 << 32))))
SETTINGS = Settings(embedding=EmbeddingSettings(embedder="none"))
NAMES = ("alpha", "beta", "gamma")
KEPT = 3

Pages = dict[str, str]


class Model:
    """What an index must hold, by the rules alone."""

    def __init__(self) -> None:
        self.states: dict[int, Pages] = {}
        self.tags: dict[str, int] = {}
        self.readers: dict[int, LocalIndex] = {}
        self.last = 0

    def publish(self, pages: Pages, number: int) -> None:
        assert number > self.last, "a number is never given twice"
        self.last = number
        self.states[number] = dict(pages)
        self.collect()

    def collect(self) -> list[int]:
        kept = {*sorted(self.states)[-KEPT:], *self.tags.values(), *self.readers}
        gone = [number for number in self.states if number not in kept]
        for number in gone:
            del self.states[number]
        return gone


class Life:
    """An index, its model, and what may be done to them."""

    def __init__(self, folder: Path, choices: random.Random) -> None:
        self.folder, self.index, self.random = folder, folder / "index", choices
        self.model = Model()
        self.archive: Pages | None = None
        self.written = 0

    def operations(self) -> list[tuple[int, Callable[[], None]]]:
        """How often, and what."""
        return [
            (6, self.build),
            (3, self.tag),
            (2, self.untag),
            (3, self.rollback),
            (3, self.collect),
            (2, self.snapshot),
            (2, self.restore),
            (2, self.replace),
            (2, self.open),
            (2, self.close),
            (1, self.leave),
            (1, self.rewrite),
        ]

    @property
    def served(self) -> Pages:
        return self.model.states[self.model.last]

    def some(self) -> int:
        return self.random.choice(list(self.model.states))

    def build(self) -> None:
        pages = dict(self.served) if self.model.last else {}
        for _ in range(self.random.randint(1, 3)):
            name = f"page-{self.random.randrange(6)}.md"
            if name in pages and self.random.random() < 0.3 and len(pages) > 1:
                del pages[name]
            else:
                self.written += 1
                pages[name] = f"text {self.written}"
        docs = self.folder / "docs"
        shutil.rmtree(docs, ignore_errors=True)
        write(docs, {name: f"# {name}\n\n{text}\n" for name, text in pages.items()})
        self.model.publish(pages, Pipeline.open(self.index, SETTINGS).build([docs]).generation)

    def tag(self) -> None:
        name, number = self.random.choice(NAMES), self.some()
        by_name = [tag for tag, tagged in self.model.tags.items() if tagged == number]
        generations.tag(self.index, name, self.random.choice([str(number), *by_name]), move=True)
        self.model.tags[name] = number

    def untag(self) -> None:
        if self.model.tags:
            name = self.random.choice(list(self.model.tags))
            generations.untag(self.index, name)
            del self.model.tags[name]

    def rollback(self) -> None:
        target = self.some() if self.random.random() < 0.7 or len(self.model.states) < 2 else None
        number, of = generations.roll_back(self.index, None if target is None else str(target))
        assert of == (target or sorted(self.model.states)[-2])
        self.model.publish(self.model.states[of], number)

    def collect(self) -> None:
        would = generations.collect(self.index, dry_run=True)
        did = generations.collect(self.index)
        assert did == would
        assert list(did.generations) == self.model.collect()

    def snapshot(self) -> None:
        number = self.some()
        archived = generations.snapshot(self.index, self.folder / "a.tar", str(number))
        assert archived.generation == number
        self.archive = dict(self.model.states[number])

    def restore(self) -> None:
        if self.archive is not None:
            copy = self.folder / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            number, archived = generations.restore(self.folder / "a.tar", copy)
            assert number == archived.generation
            assert pages_of(LocalIndex(copy)) == self.archive

    def replace(self) -> None:
        if self.archive is not None:
            with_tags = {name: row.generation for row in generations.listed(self.index) for name in row.tags}
            number, _ = generations.restore(self.folder / "a.tar", self.index, replace=True)
            self.model.publish(self.archive, number)
            for name, _, _ in _core.list_tags(str(self.index)):
                self.model.tags.setdefault(name, number)
            assert with_tags.items() <= self.model.tags.items()

    def open(self) -> None:
        number = self.some()
        self.model.readers[number] = LocalIndex.at(self.index, number)

    def close(self) -> None:
        if self.model.readers:
            number = self.random.choice(list(self.model.readers))
            assert pages_of(self.model.readers.pop(number)) == self.model.states[number]

    def leave(self) -> None:
        """What a build leaves that is killed."""
        left = self.index / "segments" / f"{self.model.last + 1:06}-0"
        left.mkdir(exist_ok=True)
        (left / "text").write_bytes(b"half")
        (self.index / "generations" / f"{self.model.last + 1:06}.json").write_bytes(b"half")

    def rewrite(self) -> None:
        self.model.publish(self.served, generations.written_anew(self.index))

    def check(self) -> None:
        rows = generations.listed(self.index)
        assert [row.generation for row in rows] == list(self.model.states)
        assert {tag: row.generation for row in rows for tag in row.tags} == self.model.tags
        assert [row.generation for row in rows if row.served] == [self.model.last]
        assert pages_of(LocalIndex(self.index)) == self.served
        number = self.some()
        assert pages_of(LocalIndex.at(self.index, number)) == self.model.states[number]


def pages_of(index: LocalIndex) -> Pages:
    return {document.path: index.text(document.id).splitlines()[-1] for document in index.documents()}


def test_any_life_is_as_the_rules_say(tmp_path: Path) -> None:
    print(f"GENERATION_SEED={SEED}")
    choices = random.Random(SEED)
    life = Life(tmp_path, choices)
    life.build()
    weights, operations = zip(*life.operations(), strict=True)
    for number in range(OPERATIONS):
        (operation,) = choices.choices(operations, weights)
        print(number, operation.__name__)
        grow_old(life.index)
        operation()
        life.check()
    grow_old(life.index)
    life.model.readers.clear()
    generations.collect(life.index)
    life.model.collect()
    life.check()
    assert generations.verify(life.index, every=True).damaged == ()
