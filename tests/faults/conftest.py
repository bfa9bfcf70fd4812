"""The indexes that the tests of faults start from."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from faults import indexes


class World(msgspec.Struct, frozen=True):
    """An index before and after an update, and what it answers each time."""

    index: Path
    """Built from ``pages``."""
    pages: Path
    changed: Path
    """The same source after a change; a folder of the same name, because names are identity."""
    before: str
    after: str


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Shared: nothing writes into it."""
    root = tmp_path_factory.mktemp("world")
    pages = indexes.pages(root / "before" / "help")
    changed = indexes.pages(root / "after" / "help", indexes.CHANGED_PAGES)
    index, updated = root / "index", root / "updated"
    indexes.build(index, pages)
    shutil.copytree(index, updated)
    indexes.build(updated, changed)
    before, after = indexes.answers(index), indexes.answers(updated)
    assert before != after
    return World(index, pages, changed, before, after)


@pytest.fixture
def copied(world: World, tmp_path: Path) -> Callable[[str], Path]:
    """Make a copy of the index that a test may damage."""

    def copy(name: str = "index") -> Path:
        folder = tmp_path / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(world.index, folder)
        return folder

    return copy


@pytest.fixture
def index(copied: Callable[[str], Path]) -> Path:
    """A copy of the index."""
    return copied("index")


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: hundreds of builds wait for no disk there, and a kill cannot tell."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(prefix="clockify-rag-", dir=memory))
    yield folder
    shutil.rmtree(folder)
