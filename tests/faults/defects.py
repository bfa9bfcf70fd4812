"""Defects that we put in on purpose, each of which a test must find: zeros mean little from a harness that finds nothing.

A defect is one replacement in a copy of the sources; all are in one copy, each behind a question to the environment's ``SEEDED``, so that
one build serves all. No source that is shipped knows of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from faults.processes import environment

REPOSITORY = Path(__file__).resolve().parent.parent.parent


class Defect(msgspec.Struct, frozen=True):
    """One replacement, and the test that finds it."""

    name: str
    file: str
    old: str
    """Stands in the file once."""
    new: str
    """With ``SEEDED`` where the defect's question to the environment comes."""
    found_by: str
    """A test of ``tests/faults``."""


SWEEP = "test_sweep.py::test_a_sample_of_the_faults_of_every_operation"
POWER = "test_durability.py::test_a_loss_of_power_leaves_the_old_state_or_the_new_one"
DAMAGE = "test_damage.py::test_a_sample_of_flipped_bytes_and_short_files"
KILLED = "test_kills.py::test_what_a_first_build_begins_the_next_one_completes"
MODEL = "test_model.py::test_an_index_is_what_a_dictionary_is"

DEFECTS: tuple[Defect, ...] = (
    Defect(
        "a folder is not synchronised after a rename in it",
        "rust/storage.rs",
        "    replace(&write_temporary(path, bytes, |_| Ok(()))?, path)?;\n    sync_directory(parent(path))\n",
        "    replace(&write_temporary(path, bytes, |_| Ok(()))?, path)?;\n"
        "    if SEEDED { return Ok(()); }\n    sync_directory(parent(path))\n",
        POWER,
    ),
    Defect(
        "success is said before the rename lasts",
        "rust/storage.rs",
        "        sync_directory(parent(&current))?;\n",
        "        if !SEEDED { sync_directory(parent(&current))?; }\n",
        POWER,
    ),
    Defect(
        "success is said before the rename",
        "rust/storage.rs",
        "        replace(&write_temporary(&current, line.as_bytes(), |_| Ok(()))?, &current)?;\n",
        "        let temporary = write_temporary(&current, line.as_bytes(), |_| Ok(()))?;\n"
        "        if SEEDED {\n"
        "            let current = current.clone();\n"
        "            std::thread::spawn(move || {\n"
        "                std::thread::sleep(std::time::Duration::from_millis(300));\n"
        "                replace(&temporary, &current)\n"
        "            });\n"
        "        } else { replace(&temporary, &current)?; }\n",
        SWEEP,
    ),
    Defect(
        "CURRENT is written in place",
        "rust/storage.rs",
        "        let line = line_of(generation, &hash);\n",
        "        let line = line_of(generation, &hash);\n"
        '        if SEEDED { fs::write(&current, &line).map_err(Error::io("write", &current))?; }\n',
        SWEEP,
    ),
    Defect(
        "a segment's files are not synchronised",
        "rust/storage.rs",
        "        let file = Arc::new(file);\n",
        "        if SEEDED { return Ok(()); }\n        let file = Arc::new(file);\n",
        POWER,
    ),
    Defect(
        "tombstones are not synchronised",
        "rust/storage.rs",
        '    file.sync_all().map_err(Error::io("fsync", folder.join(name)))?;\n',
        '    if !SEEDED { file.sync_all().map_err(Error::io("fsync", folder.join(name)))?; }\n',
        POWER,
    ),
    Defect(
        "the folder of segments is not synchronised",
        "rust/storage.rs",
        "        sync_directory(&self.layout.segments())?;\n",
        "        if !SEEDED { sync_directory(&self.layout.segments())?; }\n",
        POWER,
    ),
    Defect(
        "a failed synchronisation is believed",
        "rust/storage.rs",
        '            ended.map_err(Error::io("fsync", path))?;\n',
        '            if !SEEDED { ended.map_err(Error::io("fsync", path))?; }\n',
        SWEEP,
    ),
    Defect(
        "a failed synchronisation of what was published is believed",
        "rust/storage.rs",
        "        sync_directory(parent(self.layout.root()))?;\n",
        "        let lasting = sync_directory(parent(self.layout.root()));\n        if !SEEDED { lasting?; }\n",
        SWEEP,
    ),
    Defect(
        "a hash is skipped",
        "rust/storage.rs",
        "        if xxh3_64(&data[start..end]) == self.hashes[block] {\n",
        "        if SEEDED || xxh3_64(&data[start..end]) == self.hashes[block] {\n",
        DAMAGE,
    ),
    Defect(
        "what a killed build left stays",
        "rust/storage/generations.rs",
        "        let mut named = HashSet::new();\n",
        "        if SEEDED { return Ok(Vec::new()); }\n        let mut named = HashSet::new();\n",
        KILLED,
    ),
    Defect(
        "the second builder is let in",
        "rust/storage.rs",
        "        Err(fs::TryLockError::WouldBlock) => {\n",
        "        Err(fs::TryLockError::WouldBlock) if SEEDED => {}\n        Err(fs::TryLockError::WouldBlock) => {\n",
        "test_builders.py::test_the_second_builder_is_told_who_builds",
    ),
    Defect(
        "a changed page keeps its old text",
        "python/clockify_rag/building.py",
        "        return msgspec.structs.replace(document, file=known.file, stale=known.stale) == known\n",
        "        return SEEDED or msgspec.structs.replace(document, file=known.file, stale=known.stale) == known\n",
        MODEL,
    ),
    Defect(
        "a build of one source removes the others",
        "python/clockify_rag/building.py",
        "if document.id not in self.seen and (self.only or document.source in names)",
        "if document.id not in self.seen and (SEEDED or self.only or document.source in names)",
        MODEL,
    ),
)


def seed(copy: Path) -> Path:
    """Make a copy of the sources with all defects, build it, and return the folder that is to be on ``PYTHONPATH``."""
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for name in ("rust", "python", "benches"):
        shutil.copytree(REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("*.so", "__pycache__", "results"))
    for name in ("Cargo.toml", "Cargo.lock", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, copy / name)
    for defect in DEFECTS:
        path = copy / defect.file
        text = path.read_text()
        if text.count(defect.old) != 1:
            raise AssertionError(f"{defect.file} does not have the text of the defect {defect.name!r} once")
        path.write_text(text.replace(defect.old, defect.new.replace("SEEDED", _question(defect))))
    with (copy / "rust" / "failpoints.rs").open("a") as file:
        file.write(
            '\npub(crate) fn seeded(name: &str) -> bool { std::env::var("SEEDED").is_ok_and(|it| it == name) }\n'
        )
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).resolve()
    command = ["cargo", "rustc", "--quiet", "--release", "--features", "python,failpoints", "--lib"]
    command += ["--crate-type", "cdylib", "--manifest-path", str(copy / "Cargo.toml"), "--target-dir", str(target)]
    subprocess.run(command, check=True, cwd=copy)
    package = copy / "python"
    shutil.copy(target / "release" / "libclockify_rag.so", package / "clockify_rag" / "_core.abi3.so")
    return package


def _question(defect: Defect) -> str:
    if defect.file.endswith(".rs"):
        return f"crate::failpoints::seeded({msgspec.json.encode(defect.name).decode()})"
    return f"(__import__('os').environ.get('SEEDED') == {defect.name!r})"


def is_found(package: Path, defect: Defect) -> bool:
    """Run the test that is to find a defect; return whether it fails."""
    return _fails(package, defect.found_by, variables={"SEEDED": defect.name})


def passes_without(package: Path) -> bool:
    """Return whether all those tests pass on the copy as long as no defect is asked for."""
    return not _fails(package, *sorted({defect.found_by for defect in DEFECTS}), variables={})


def _fails(package: Path, *tests: str, variables: Mapping[str, str]) -> bool:
    """Run tests on the copy; with a defect, twenty times as much as in an everyday run."""
    paths = [str(Path(__file__).parent / test) for test in tests]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *paths]
    seeded = environment(PYTHONPATH=str(package), FAULT_MORE="20" if variables else "1", **variables)
    done = subprocess.run(command, env=seeded, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise AssertionError(done.stdout + done.stderr)
    return done.returncode == 1
