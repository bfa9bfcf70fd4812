"""A build that is killed loses itself and nothing else: the old generation or the new one is served, whole.

Here a kill comes at a random moment, with a seed that is printed; ``test_sweep`` chooses the call at which it comes.
"""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest

from clockify_rag.errors import IndexNotFound
from faults import indexes
from faults.conftest import SEED, World
from faults.processes import end, start


def check_survives(index: Path, source: Path, before: str | None, after: str, killed: bool) -> None:
    """The index answers as before or after, and the next build mends what is left to mend."""
    try:
        found: str | None = indexes.answers(index)
        indexes.verify(index)
    except IndexNotFound:
        found = None
    assert found in ((before, after) if killed else (after,))
    indexes.build(index, source)
    assert indexes.answers(index) == after
    indexes.verify(index)
    assert indexes.leftovers(index) == set()


@pytest.mark.slow
@pytest.mark.parametrize("update", [False, True], ids=["build", "update"])
def test_a_kill_at_any_moment(world: World, scratch: Path, update: bool) -> None:
    print(f"FAULT_SEED={SEED}")
    moments = random.Random(SEED)
    source, before, after = (world.changed, world.before, world.after) if update else (world.pages, None, world.before)
    for number in range(6):
        index = scratch / f"index-{number}"
        if update:
            shutil.copytree(world.index, index)
        process = start("build", source, "--index", index)
        # The lock is taken when the work on the disk begins; the work itself takes some 30 ms.
        while process.poll() is None and not _begun(index, process.pid):
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.06))
        process.kill()
        done = end(process)
        check_survives(index, source, before, after, killed=done.status != 0)


def _begun(index: Path, pid: int) -> bool:
    try:
        return (index / "lock").read_text().strip() == str(pid)
    except OSError:
        return False


def test_what_a_first_build_begins_the_next_one_completes(world: World, tmp_path: Path) -> None:
    """Also the file that keeps an index out of the repository around it, and the secret's permissions."""
    index = tmp_path / "index"
    for folder in ("generations", "segments/000001-0"):
        (index / folder).mkdir(parents=True)
    for name in ("secret.tmp", ".gitignore.tmp", "CURRENT.tmp", "generations/000001.tmp", "segments/000001-0/text"):
        (index / name).write_bytes(b"half")
    indexes.build(index, world.pages)
    assert (index / ".gitignore").read_text() == "*\n"
    assert (index / "secret").stat().st_mode & 0o777 == 0o600
    assert indexes.leftovers(index) == set()


def test_a_manifest_that_was_never_served_is_no_generation(world: World, index: Path) -> None:
    indexes.build(index, world.changed)
    (index / "CURRENT").write_bytes((world.index / "CURRENT").read_bytes())
    assert indexes.answers(index) == world.before
    assert indexes.build(index, world.changed) == 2
    assert indexes.answers(index) == world.after
    assert indexes.leftovers(index) == set()
