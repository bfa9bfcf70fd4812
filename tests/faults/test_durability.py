"""A build that says it is done is on the disk: what a name leads to is synchronised before the name is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from faults.conftest import World
from faults.processes import COMMAND, environment, needs

CALLS = "openat,fsync,fdatasync,/^rename"
"""What gives a file its name, and what makes it durable."""


def calls_of(strace: str, index: Path, source: Path, trace: Path) -> list[tuple[str, str]]:
    """Trace a build: its calls by name, each with the path of what it creates, synchronises or renames."""
    command: list[str | Path] = [
        strace,
        "-f",
        "-y",
        "-qq",
        "-s",
        "4096",
        "-o",
        str(trace),
        "-e",
        f"trace={CALLS}",
        *COMMAND,
    ]
    build: list[str | Path] = [*command, "build", source, "--index", index]
    subprocess.run(build, env=environment(), capture_output=True, check=True)
    calls = []
    for call, arguments in re.findall(r"^\d+ +(\w+)\((.*)$", trace.read_text(), re.MULTILINE):
        if call.startswith("rename"):
            old, *_ = re.findall(r'"([^"]+)"', arguments)
            calls.append(("rename", old))
        elif call.endswith("sync"):
            found = re.match(r"\d+<([^>]+)>", arguments)
            calls.append(("sync", found[1] if found else ""))
        elif "O_CREAT" in arguments:
            calls.append(("create", re.findall(r'"([^"]+)"', arguments)[0]))
    return [(call, path) for call, path in calls if Path(path).is_relative_to(index.parent)]


@pytest.mark.parametrize("update", [False, True], ids=["build", "update"])
def test_every_file_is_durable_before_its_name_is(world: World, index: Path, tmp_path: Path, update: bool) -> None:
    source = world.changed
    if not update:
        source, index = world.pages, tmp_path / "new" / "index"
    try:
        calls = calls_of(needs("strace"), index, source, tmp_path / "trace")
    except subprocess.CalledProcessError as failure:
        pytest.skip(f"strace may not trace here: {failure.stderr[-200:]!r}")
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
