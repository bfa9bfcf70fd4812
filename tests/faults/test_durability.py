"""A build that says it is done is on the disk: what a name leads to is synchronised before the name is."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import pytest

from faults import losing_power, sweeping
from faults.conftest import MORE, SEED, Sweeper, World
from faults.processes import COMMAND


def calls_of(sweeper: Sweeper, index: Path, source: Path) -> list[tuple[str, str]]:
    """Record a build: its calls by what they do, each with the path of what it creates, synchronises or renames."""
    record = sweeper.folder / "record"
    command = [*COMMAND, "build", str(source), "--index", str(index)]
    assert sweeper.status(*command, arm=f"eio 0 {index.parent}", record=record) == 0
    kinds = {"openat": "create", "fsync": "sync", "fdatasync": "sync", "rename": "rename"}
    lines = [line.split("\t") for line in record.read_text().splitlines()]
    return [(kinds[name], path) for _, _, name, result, _, _, path, *_ in lines if name in kinds and int(result) >= 0]


@pytest.mark.parametrize("update", [False, True], ids=["build", "update"])
def test_every_file_is_durable_before_its_name_is(
    world: World, index: Path, tmp_path: Path, sweeper: Sweeper, update: bool
) -> None:
    source = world.changed
    if not update:
        source, index = world.pages, tmp_path / "new" / "index"
    calls = calls_of(sweeper, index, source)
    replaced = [number for number, (call, _) in enumerate(calls) if call == "rename"]
    for number in replaced:
        path = calls[number][1]
        assert ("sync", path) in calls[:number], f"{path} is renamed before it is synchronised"
        folder = str(Path(path).parent)
        assert ("sync", folder) in calls[number:], f"{folder} is not synchronised after a rename in it"
    published = calls.index(("rename", str(index / "CURRENT.tmp")))
    synchronised = {path for call, path in calls[:published] if call == "sync"}
    created = {path for call, path in calls[:published] if call == "create" and Path(path).exists()}
    lasting = {path for path in created if Path(path).is_relative_to(index / "segments")}
    assert lasting, "a build writes segments"
    assert lasting <= synchronised


def test_a_loss_of_power_leaves_the_old_state_or_the_new_one(sweeper: Sweeper) -> None:
    """A sample of the crash states of a build, an update and a merge; ``make faults`` judges ten thousand."""
    (found,) = sweeper.run("faults.losing_power", sweeping.Share(number=0, workers=1, seed=SEED, sample=100 * MORE))
    print(f"FAULT_SEED={SEED} {found['counts']}")
    assert found["wrong"] == []
    assert found["counts"]["states"] == 100 * MORE


def test_what_is_not_synchronised_may_be_lost(sweeper: Sweeper) -> None:
    """The replay itself: without any synchronisation a file may be there whole, empty, torn or not at all."""
    code = (
        "import os, sys; folder = sys.argv[1]; path = os.path.join(folder, 'new'); sync = sys.argv[2]\n"
        "descriptor = os.open(path, os.O_CREAT | os.O_WRONLY); os.write(descriptor, b'x' * 2048)\n"
        "if 'bytes' in sync: os.fsync(descriptor)\n"
        "os.rename(path, os.path.join(folder, 'file'))\n"
        "if 'name' in sync: os.fsync(os.open(folder, os.O_RDONLY))\n"
        "print('done', flush=True)\n"
    )
    work, record = sweeper.folder / "work", sweeper.folder / "record"
    work.mkdir()
    possible: dict[str, set[bytes | None]] = {}
    for sync in ("none", "bytes", "name", "bytes and name"):
        command = (sys.executable, "-c", code, str(work), sync)
        assert sweeper.status(*command, arm=f"eio 0 {work}", record=record) == 0
        (work / "file").unlink()
        recording = losing_power.read(record, work, [len(record.read_text().splitlines())])
        crashes = islice(losing_power.states(recording, SEED), 2_000)
        possible[sync] = {
            tree.get("file") for moment, _, tree in crashes if moment >= recording.answers[-1] and "new" not in tree
        }
    assert possible["bytes and name"] == {b"x" * 2048}
    assert possible["bytes"] == {b"x" * 2048, None}
    for sync in ("none", "name"):
        assert {b"", b"x" * 2048} < possible[sync]
        assert any(content and 0 < content.count(b"x") < 2048 for content in possible[sync])
    assert None in possible["none"]
    assert None not in possible["name"]
