"""Disks that are full or may not be written: the build says so, and what was there is served."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import indexes
from faults.conftest import MORE, World
from faults.processes import end, environment, failed, needs, nobody, run, script

QUESTION = indexes.QUESTIONS[0]


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Path]:
    """A folder that every user may read; those of pytest are their owner's."""
    folder = Path(tempfile.mkdtemp(prefix="clockify-rag-"))
    folder.chmod(0o755)
    yield folder
    subprocess.run(["chmod", "-R", "u+w", folder], check=True)
    shutil.rmtree(folder)


@pytest.mark.parametrize("limit", [0, 20, 3_000])
def test_a_file_that_may_not_grow_ends_the_build(world: World, index: Path, limit: int) -> None:
    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = failed(run("build", world.changed, "--index", index, "--json", preexec_fn=bound), 4, "store")
    assert "File too large" in done.json["error"]["message"]
    assert indexes.answers(index) == world.before
    indexes.verify(index)
    assert indexes.leftovers(index) == set()
    indexes.build(index, world.changed)
    assert indexes.answers(index) == world.after


FULL = """
import os, shutil, subprocess, sys
from pathlib import Path
from faults import indexes
from faults.processes import failed, run
disk, original, changed, before, after = map(Path, sys.argv[1:6])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], check=True)
before, after, index = before.read_text(), after.read_text(), disk / "index"
for free in range(0, 1000, int(sys.argv[6])):
    shutil.rmtree(index, ignore_errors=True)
    shutil.copytree(original, index)
    filler = disk / "filler"
    with filler.open("wb") as file:
        space = os.statvfs(disk)
        file.write(bytes(max(0, space.f_bavail * space.f_frsize - free * 1024 + (free > 0))))
    done = run("build", changed, "--index", index, "--json")
    if done.status == 0:
        assert indexes.answers(index) == after, free
        break
    failed(done, 4, "store")
    assert "No space left" in done.json["error"]["message"], done
    assert done.json["error"]["hint"].startswith("free space"), done
    assert indexes.answers(index) == before, free
    indexes.verify(index)
    assert indexes.leftovers(index) == set(), free
    filler.unlink()
    indexes.build(index, changed)
    assert indexes.answers(index) == after, free
else:
    raise AssertionError("no size was enough")
print(f"survived up to {free} KiB")
"""


@pytest.mark.slow
def test_a_full_disk_leaves_the_old_generation_and_nothing_else(world: World, tmp_path: Path) -> None:
    disk, before, after = tmp_path / "disk", tmp_path / "before", tmp_path / "after"
    disk.mkdir()
    before.write_text(world.before)
    after.write_text(world.after)
    step = "28" if MORE == 1 else "4"
    done = end(script(FULL, disk, world.index, world.changed, before, after, step, before=_own_mounts(disk)))
    assert done.out.startswith("survived up to "), done.err
    print(done.out)


FEW = """
import contextlib, io, os, resource, shutil, sys
from pathlib import Path
from clockify_rag import cli
from faults import indexes
original, changed, before, after, folder = map(Path, sys.argv[1:6])
before, after, index = before.read_text(), after.read_text(), folder / "index"
printed = folder / "printed"
output = os.open(printed, os.O_RDWR | os.O_CREAT)
def build(descriptors):
    child = os.fork()
    if child == 0:
        os.dup2(output, 1), os.dup2(output, 2), os.ftruncate(1, 0)
        if descriptors:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
        os._exit(cli.run(["build", str(changed), "--index", str(index)]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
shutil.copytree(original, index)
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    # What a build imports is imported here, also one that fails.
    assert cli.run(["build", str(changed), "--index", str(index)]) == 0
    assert cli.run(["build", str(changed), "--index", "/dev/null/index"]) == 4
statuses = []
for descriptors in range(4, 40, int(sys.argv[6])):
    shutil.rmtree(index)
    shutil.copytree(original, index)
    status = build(descriptors)
    statuses.append(status)
    said = printed.read_text()
    assert status in (0, 4) and "Traceback" not in said, (descriptors, status, said)
    assert status == 0 or "Too many open files" in said, (descriptors, said)
    assert indexes.answers(index) == (before if status else after), descriptors
    indexes.verify(index)
    assert build(0) == 0
    assert indexes.answers(index) == after, descriptors
    assert indexes.leftovers(index) == set(), descriptors
assert statuses[0] == 4 and statuses[-1] == 0, statuses
print("survived", statuses)
"""


def test_few_descriptors_end_a_build_or_do_not_matter(world: World, tmp_path: Path, scratch: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.write_text(world.before)
    after.write_text(world.after)
    step = "5" if MORE == 1 else "1"
    done = end(script(FEW, world.index, world.changed, before, after, scratch, step))
    assert done.out.startswith("survived"), done.err
    print(done.out)


def _own_mounts(disk: Path) -> list[str]:
    """What runs a command with mounts of its own, or skip the test."""
    command = [needs("unshare"), "-m"] if os.geteuid() == 0 else [needs("unshare"), "-rm"]
    tried = [*command, "mount", "-t", "tmpfs", "tmpfs", str(disk)]
    if subprocess.run(tried, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounts of one's own are not permitted here")
    return command


def test_an_index_that_may_only_be_read_is_searched(world: World, public: Path) -> None:
    user = nobody()
    index = public / "index"
    shutil.copytree(world.index, index)
    source = shutil.copytree(world.changed, public / "help")
    subprocess.run(["chmod", "-R", "a+rX,a-w", public], check=True)
    variables = environment(HOME="/nonexistent")
    everything = {path: path.stat().st_mtime_ns for path in index.rglob("*")}
    for command in (["search", QUESTION], ["ask", QUESTION], ["info"], ["documents"]):
        mine = run(*command, "--index", index, "--json", cwd=public)
        theirs = run(*command, "--index", index, "--json", before=user, variables=variables, cwd=public)
        assert theirs.status == 0, theirs
        assert _without_times(theirs.json) == _without_times(mine.json)
    done = run("build", source, "--index", index, "--json", before=user, variables=variables, cwd=public)
    failed(done, 4, "store")
    assert "Permission denied" in done.json["error"]["message"]
    assert "--index DIR" in done.json["error"]["hint"]
    assert {path: path.stat().st_mtime_ns for path in index.rglob("*")} == everything


def _without_times(fields: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if name != "timings_ms"}


READ_ONLY = """
import subprocess, sys
from pathlib import Path
from faults import indexes
from faults.processes import failed, run
index, changed, before = map(Path, sys.argv[1:4])
subprocess.run(["mount", "--bind", index, index], check=True)
subprocess.run(["mount", "-o", "remount,ro,bind", index], check=True)
assert indexes.answers(index) == before.read_text()
indexes.verify(index)
done = failed(run("build", changed, "--index", index, "--json"), 4, "store")
assert "Read-only file system" in done.json["error"]["message"], done
print("survived")
"""


def test_an_index_on_a_read_only_mount_is_searched(world: World, index: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    before = tmp_path / "before"
    before.write_text(world.before)
    done = end(script(READ_ONLY, index, world.changed, before, before=_own_mounts(tmp_path / "disk")))
    assert done.out == "survived\n", done.err


def test_what_may_not_be_read_is_named(world: World, public: Path) -> None:
    user = nobody()
    index, source = public / "index", public / "help"
    shutil.copytree(world.pages, source)
    index.mkdir(mode=0o777)
    index.chmod(0o777)
    (source / "timer.md").chmod(0)
    done = run("build", source, "--index", index, "--json", before=user, cwd=public)
    assert done.status == 6, done
    (skipped,) = (item for item in done.json["skipped"] if item["error"])
    assert skipped["path"] == "timer.md"
    assert "Permission denied" in skipped["error"]["message"]
    done = run("build", source, "--index", index, "--strict", "--json", before=user, cwd=public)
    assert failed(done, 2, "source").json["error"]["message"].count("timer.md") >= 1
    assert run("search", QUESTION, "--index", index, "--json", before=user, cwd=public).json["generation"] == 1
    subprocess.run(["chmod", "-R", "a-rwx", index], check=True)
    for command in (["search", QUESTION], ["info"]):
        failed(run(*command, "--index", index, "--json", before=user, cwd=public), 4, "store")
