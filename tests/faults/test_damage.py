"""A damaged file of an index is named; it never hangs, kills or deceives whoever reads it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO

import pytest

from clockify_rag.calibration import SHIPPED
from faults import indexes
from faults.conftest import MORE, SEED, World, run_module
from faults.processes import failed, run, script
from faults.sweeping import Share

QUESTION = indexes.QUESTIONS[0]
UNREAD = {"lock", "secret", ".gitignore"}
"""Files that a search does not read."""


class Judge:
    """``faults.judging`` in its own process."""

    def __init__(self, index: Path) -> None:
        code = "import sys; from pathlib import Path; from faults.judging import main; main(Path(sys.argv[1]))"
        self._process = script(code, index, stdin=subprocess.PIPE, stderr=None)
        self._in: IO[str] = self._process.stdin  # type: ignore[assignment]
        self._out: IO[str] = self._process.stdout  # type: ignore[assignment]

    def verdict(self, case: str) -> dict[str, str]:
        """Return what each use of the index came to."""
        self._in.write("judge\n")
        self._in.flush()
        line = self._out.readline()
        assert line, f"{case}: the reader died with {self._process.wait()}"
        found: dict[str, str] = json.loads(line)
        return found

    def close(self) -> None:
        self._in.close()
        self._out.close()
        self._process.wait(5)


@pytest.fixture(scope="module")
def whole(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with every kind of file: after an update, and after a page changed its times but not its text."""
    root = tmp_path_factory.mktemp("whole")
    index = root / "index"
    shutil.copytree(world.index, index)
    source = shutil.copytree(world.changed, root / "help")
    indexes.build(index, source)
    os.utime(source / "guest.md", (1, 1))
    indexes.build(index, source)
    kinds = {path.name.rpartition(".")[2] for path in index.rglob("*")}
    assert {"json", "state", "term", "idx", "pos", "postings", "f16", "i8", "b1", "text", "chunks"} <= kinds
    assert any((index / "tombstones").iterdir())
    return index


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another index, of other pages, as old as the first: its files have the same names."""
    root = tmp_path_factory.mktemp("other")
    texts = {path: text.replace("workspace", "team") for path, text in indexes.PAGES.items()}
    changed = {path: text.replace("workspace", "team") for path, text in indexes.CHANGED_PAGES.items()}
    indexes.build(root / "index", indexes.pages(root / "help", texts))
    indexes.build(root / "index", indexes.pages(root / "help", changed))
    os.utime(root / "help" / "guest.md", (1, 1))
    indexes.build(root / "index", root / "help")
    return root / "index"


def files_of(index: Path) -> list[Path]:
    """The files of an index, by kind of damage that they may take."""
    return sorted(path.relative_to(index) for path in index.rglob("*") if path.is_file())


def counterpart(index: Path, other: Path, file: Path) -> Path:
    """The same file of another index; tantivy's are called by chance, but end alike."""
    if (other / file).exists():
        return other / file
    (found,) = (other / file.parent).glob(f"*{file.suffix}")
    return found


INSTEAD = ("nothing", "folder", "FIFO", "device", "loop")
"""What may lie where a file should."""


def replace(path: Path, kind: str) -> None:
    """Put something else where a file or folder is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "file":
        path.write_bytes(b"x")


def damages(path: Path, foreign: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Ways to damage a file, each from the file as it should be."""
    content = path.read_bytes()

    def flipped(offset: int) -> bytes:
        changed = bytearray(content)
        changed[offset] ^= 1 << (offset % 8)
        return bytes(changed)

    length = len(content)
    for offset in sorted({0, 7, length // 3, length // 2, length - 1} & set(range(length))):
        yield f"flip {offset}", partial(path.write_bytes, flipped(offset))
    for kept in sorted({0, length // 2, length - 1}):
        yield f"truncate {kept}", partial(path.write_bytes, content[:kept])
    yield "append", partial(path.write_bytes, content + b"\0")
    if foreign.read_bytes() != content:
        yield "swap", partial(path.write_bytes, foreign.read_bytes())
    for kind in INSTEAD:
        yield kind, partial(replace, path, kind)


def restore(path: Path, content: bytes) -> None:
    replace(path, "nothing")
    path.write_bytes(content)


def test_every_damage_to_every_file_is_named_or_harmless(whole: Path, other: Path, scratch: Path) -> None:
    index = scratch / "index"
    shutil.copytree(whole, index)
    served = int((index / "CURRENT").read_text().split()[0])
    judge = Judge(index)
    truth = judge.verdict("undamaged")
    assert not any(verdict.startswith("error") for verdict in truth.values())
    cases = 0
    for file in files_of(index):
        path = index / file
        content = path.read_bytes()
        former = file.parts[0] == "generations" and int(file.stem) != served
        for damage, apply in damages(path, counterpart(index, other, file)):
            case = f"{damage} of {file}"
            apply()
            verdicts = judge.verdict(case)
            restore(path, content)
            cases += 1
            allowed = {"error 4 index_corrupt", "error 4 store"}
            if case == "nothing of CURRENT":
                allowed = {"error 4 index_corrupt"}
            for use, verdict in verdicts.items():
                assert verdict in {*allowed, truth[use]}, f"{case}: {use} came to {verdict}"
            unread = file.name in UNREAD or former or (file.parts[0] == "tombstones" and verdicts == truth)
            assert unread or verdicts["verify"] in allowed, f"{case}: not found by verify"
            assert not former or verdicts == truth, f"{case}: a former generation is in the way"
    assert judge.verdict("restored") == truth
    judge.close()
    print(f"{cases} cases")
    assert cases > 500


def test_a_sample_of_flipped_bytes_and_short_files(tmp_path: Path) -> None:
    """``make faults`` flips every byte and cuts at every length."""
    case = tmp_path / "case"
    share = Share(number=0, workers=1, seed=SEED, sample=400 * MORE)
    (found,) = run_module("faults.flipping", share, variables={"FLIPPING": str(case)})
    print(f"FAULT_SEED={SEED} {found['counts']}")
    assert found["wrong"] == []
    assert found["counts"]["flip detected"] > 100 * MORE


def test_a_damaged_folder_is_named(whole: Path, other: Path, scratch: Path) -> None:
    index = scratch / "index"
    judge = Judge(index)
    for name in ("segments", "generations", "tombstones", "segments/000001-0", "segments/000001-0/lexical"):
        for instead in ("nothing", "file", "FIFO", "other"):
            shutil.rmtree(index, ignore_errors=True)
            shutil.copytree(whole, index)
            replace(index / name, instead)
            if instead == "other":
                shutil.copytree(other / name, index / name)
            verdicts = judge.verdict(f"{instead} instead of {name}")
            assert set(verdicts.values()) <= {"error 4 index_corrupt", "error 4 store"}, (name, instead)
    judge.close()


def test_the_command_says_which_file_is_damaged(whole: Path, scratch: Path) -> None:
    index = scratch / "index"
    shutil.copytree(whole, index)
    segment = next(path for path in (index / "segments").iterdir() if path.name.startswith("000001"))
    cases: list[tuple[Path, Callable[[Path], object]]] = [
        (index / "CURRENT", lambda path: replace(path, "FIFO")),
        (index / "generations" / "000003.json", lambda path: path.write_bytes(path.read_bytes()[:-9])),
        (segment / "postings", lambda path: path.write_bytes(path.read_bytes()[::-1])),
        (segment / "chunks", lambda path: replace(path, "device")),
        (segment / "blocks", lambda path: path.unlink()),
    ]
    for path, damage in cases:
        content = path.read_bytes()
        damage(path)
        for command in (["search", QUESTION],):
            done = failed(run(*command, "--index", index, "--json"), 4, "index_corrupt")
            assert str(path) in done.json["error"]["message"]
        restore(path, content)
    assert run("search", QUESTION, "--index", index).status == 0


def test_a_build_over_a_damaged_index_changes_nothing(world: World, scratch: Path) -> None:
    index = scratch / "index"
    shutil.copytree(world.index, index)
    postings = next(index.glob("segments/*/postings"))
    content = postings.read_bytes()
    postings.write_bytes(content[:-1])
    failed(run("build", world.changed, "--index", index, "--json"), 4, "index_corrupt")
    postings.write_bytes(content)
    assert indexes.answers(index) == world.before
    assert indexes.leftovers(index) == set()


def test_a_damaged_former_generation_is_collected(whole: Path, world: World, scratch: Path) -> None:
    index = scratch / "index"
    shutil.copytree(whole, index)
    former = index / "generations" / "000001.json"
    former.write_bytes(former.read_bytes()[:-7])
    indexes.build(index, world.pages)
    assert indexes.answers(index) == world.before
    assert not former.exists()
    assert indexes.leftovers(index) == set()


@pytest.mark.parametrize("kind", ["folder", "FIFO", "link"])
def test_a_lock_that_is_no_file_is_left_alone(world: World, index: Path, tmp_path: Path, kind: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    replace(index / "lock", kind)
    if kind == "link":
        (index / "lock").symlink_to(victim)
    failed(run("build", world.changed, "--index", index, "--json"), 4, "index_corrupt")
    assert victim.read_text() == "precious"
    assert indexes.answers(index) == world.before


@pytest.mark.parametrize("kind", ["file", "folder", "FIFO", "nothing"])
def test_a_secret_that_is_none_stops_nobody(index: Path, kind: str) -> None:
    replace(index / "secret", kind)
    assert indexes.open_pipeline(index).index.secret is None


def test_a_newer_format_is_named_with_what_helps(world: World, index: Path) -> None:
    # A manifest as this format has it but for its number; hashed with the reference implementation of XXH3.
    body = '{"format":3,"generation":1,"made":"later"}'
    digest = "99f9796a254c10ba3bc94cf48f59e49a"
    (index / "generations" / "000001.json").write_text(f'{{"hash":"{digest}","manifest":{body}}}\n')
    (index / "CURRENT").write_text(f"000001 {digest}\n")
    for command in (["search", QUESTION], ["info"], ["build", str(world.pages)]):
        done = failed(run(*command, "--index", index, "--json"), 4, "index_incompatible")
        assert "format is 3" in done.json["error"]["message"]


def test_a_foreign_folder_is_no_index_and_stays_as_it_is(world: World, tmp_path: Path) -> None:
    """Other programs have a file ``CURRENT`` or a folder ``segments`` too."""
    foreign = tmp_path / "database"
    (foreign / "segments" / "holiday").mkdir(parents=True)
    (foreign / "segments" / "holiday" / "film.mp4").write_text("film")
    (foreign / "segments" / "000123.ts").write_text("part")
    (foreign / "README").write_text("a database")
    (foreign / "generations").mkdir()
    (foreign / "generations" / "notes.txt").write_text("notes")
    failed(run("search", QUESTION, "--index", foreign, "--json"), 3, "index_not_found")
    before = {path: path.read_bytes() for path in foreign.rglob("*") if path.is_file()}
    failed(run("build", world.pages, "--index", foreign, "--json"), 4, "store")
    assert {path: path.read_bytes() for path in foreign.rglob("*") if path.is_file()} == before
    (foreign / "CURRENT").write_text("MANIFEST-000004\n")
    before = {path: path.read_bytes() for path in foreign.rglob("*") if path.is_file()}
    for command in (["search", QUESTION], ["build", str(world.pages)]):
        done = failed(run(*command, "--index", foreign, "--json"), 4, "index_corrupt")
        assert "remove" not in done.json["error"]["hint"]
    assert {path: path.read_bytes() for path in foreign.rglob("*") if path.is_file()} == before


def test_an_index_that_is_a_file_is_no_index(world: World, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    failed(run("search", QUESTION, "--index", file, "--json"), 4)
    failed(run("build", world.pages, "--index", file, "--json"), 4)
    assert file.read_text() == "text"


@pytest.mark.parametrize("calibrated", [False, True])
def test_what_helps_a_damaged_index_keeps_its_calibration(world: World, index: Path, calibrated: bool) -> None:
    if calibrated:
        (index / "calibration.json").write_bytes(SHIPPED.read_bytes())
    for file in index.glob("segments/*/vectors.i8"):
        file.write_bytes(bytes(byte ^ 1 for byte in file.read_bytes()))
    hint = failed(run("search", QUESTION, "--index", index, "--json"), 4, "index_corrupt").json["error"]["hint"]
    assert "build it again" in hint
    assert ("keep calibration.json" in hint) is calibrated
    for path in index.iterdir():
        if path.name != "calibration.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert run("build", world.pages, "--index", index).status == 0
    assert (index / "calibration.json").is_file() is calibrated
    assert indexes.answers(index)
