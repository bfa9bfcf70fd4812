"""The indexes that the tests of faults start from."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import pytest

from faults import indexes
from faults.processes import environment, needs, with_tests
from faults.sweeping import Share

SEED = int(os.environ.get("FAULT_SEED", str(random.randrange(1 << 32))))
"""Of everything that is chosen at random."""

MORE = int(os.environ.get("FAULT_MORE", "1"))
"""How many times as much is tried as in an everyday run."""


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


def run_module(
    module: str, share: Share, variables: Mapping[str, str | None] = MappingProxyType({})
) -> list[dict[str, Any]]:
    """Run a worker of the faults; return the lines that it printed."""
    command = [sys.executable, "-m", module, msgspec.json.encode(share).decode()]
    done = subprocess.run(command, env=with_tests(**variables), capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    return [json.loads(line) for line in done.stdout.splitlines()]


class Sweeper(msgspec.Struct, frozen=True):
    """The program that lets calls fail, built."""

    program: Path
    folder: Path
    """Where a command may be swept."""

    def run(self, module: str, share: Share) -> list[dict[str, Any]]:
        """Run a worker that lets calls fail; return the lines that it printed."""
        return run_module(module, msgspec.structs.replace(share, sweeper=str(self.program)))

    def status(self, *command: str, arm: str, record: Path | None = None) -> int:
        """Run a command below the sweeper, with one of its calls failing; return its status."""
        recorded: list[str] = [] if record is None else ["--record", str(record)]
        swept = [str(self.program), "--arm", arm, *recorded, *command]
        return subprocess.run(swept, env=environment(), capture_output=True, check=False).returncode


@pytest.fixture(scope="session")
def sweeper_program() -> Path:
    """The sweeper, compiled where the core is."""
    cargo = needs("cargo")
    target = Path(os.environ.get("CARGO_TARGET_DIR", Path(__file__).parent.parent.parent / "target")) / "sweeper"
    manifest = Path(__file__).parent / "sweeper" / "Cargo.toml"
    command: list[str | Path] = [
        cargo,
        "build",
        "--release",
        "--quiet",
        "--manifest-path",
        manifest,
        "--target-dir",
        target,
    ]
    subprocess.run(command, check=True)
    program = target / "release" / "sweeper"
    if subprocess.run([program, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("processes may not be traced here")
    return program


@pytest.fixture
def sweeper(sweeper_program: Path, scratch: Path) -> Sweeper:
    """The sweeper, and a folder in memory."""
    return Sweeper(sweeper_program, scratch)
