"""Snapshots and what comes back from them; what no snapshot can be; verification."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from clockify_rag import _core, generations
from clockify_rag.cli import run
from clockify_rag.cli.generations import parse_rate
from clockify_rag.config import Settings
from clockify_rag.errors import (
    ConfigError,
    GenerationNotFound,
    IndexCorrupt,
    IndexExists,
    IndexLocked,
    InvalidSetting,
    SnapshotInvalid,
    StoreError,
)
from clockify_rag.pipeline import Pipeline
from folders import write
from index_reader import block_hashes, file_hash
from test_generations import grow_old, printed, result_of, words


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Two generations; the second has a changed page, a removed one and a state file."""
    docs = tmp_path / "docs"
    write(docs, {f"page-{number}.md": f"# Page {number}\n\nnumber {number}\n" for number in range(12)})
    Pipeline.open(tmp_path / "index", Settings()).build([docs])
    write(docs, {"page-1.md": "# Page 1\n\nchanged\n"})
    (docs / "page-2.md").unlink()
    os.utime(docs / "page-3.md", (1, 1))
    Pipeline.open(tmp_path / "index", Settings()).build([docs])
    generations.tag(tmp_path / "index", "live")
    return tmp_path / "index"


@pytest.fixture
def archive(index: Path, tmp_path: Path) -> Path:
    generations.snapshot(index, tmp_path / "a.tar")
    return tmp_path / "a.tar"


def tree(folder: Path) -> dict[str, bytes]:
    """The files of an index that a snapshot brings back."""
    other = ("lock", "secret", "cache")
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in other)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_what_is_restored_is_the_generation(index: Path, archive: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    number, archived = generations.restore(archive, copy)
    assert (number, archived.generation, archived.bytes) == (2, 2, archive.stat().st_size)
    restored, original = tree(copy), tree(index)
    assert restored == {name: original[name] for name in restored}
    assert set(original) - set(restored) == {"generations/000001.json"}
    assert words(copy) == words(index)
    assert generations.verify(copy, every=True).damaged == ()
    assert generations.named(copy, "live") == 2
    assert (copy / "secret").read_bytes() != (index / "secret").read_bytes()
    assert (copy / "secret").stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob("*.restoring"))
    # Builds go on from it.
    assert Pipeline.open(copy, Settings()).build([tmp_path / "docs"]).unchanged == 11


def test_equal_generations_give_equal_archives(index: Path, archive: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    generations.restore(archive, copy)
    again = generations.snapshot(copy, tmp_path / "b.tar")
    assert (tmp_path / "b.tar").read_bytes() == archive.read_bytes()
    with tarfile.open(archive) as opened:
        assert again.hash == json.loads(opened.extractfile("SNAPSHOT").read())["hash"]  # type: ignore[union-attr]
    first = generations.snapshot(index, tmp_path / "c.tar", "1")
    assert first.generation == 1
    generations.restore(tmp_path / "c.tar", tmp_path / "first")
    assert words(tmp_path / "first") == words(index, 1)


def test_the_archive_is_as_the_page_says(index: Path, archive: Path) -> None:
    with tarfile.open(archive) as opened:
        members = opened.getmembers()
        assert [member.name for member in members] == sorted(member.name for member in members)
        assert all(member.isreg() and (member.mtime, member.uid, member.mode) == (0, 0, 0o644) for member in members)
        contents = {member.name: opened.extractfile(member).read() for member in members}  # type: ignore[union-attr]
    listing = json.loads(contents.pop("SNAPSHOT"))["snapshot"]
    assert (listing["format"], listing["generation"], listing["tags"]) == (1, 2, ["live"])
    assert [(file["name"], file["length"], file["hash"]) for file in listing["files"]] == [
        (name, len(content), file_hash(block_hashes(content))) for name, content in contents.items()
    ]
    assert contents == {name: (index / name).read_bytes() for name in contents}
    assert not set(contents) & {"lock", "secret", "CURRENT", ".gitignore"}


def test_a_calibration_goes_with_the_generation(index: Path, tmp_path: Path) -> None:
    (index / "calibration.json").write_bytes(b"{}")
    generations.snapshot(index, tmp_path / "a.tar")
    generations.restore(tmp_path / "a.tar", tmp_path / "copy")
    assert (tmp_path / "copy" / "calibration.json").read_bytes() == b"{}"
    (tmp_path / "empty").mkdir()
    assert generations.restore(tmp_path / "a.tar", tmp_path / "empty")[0] == 1
    assert (tmp_path / "empty" / "calibration.json").read_bytes() == b"{}"
    # One that is there already judges what is served there.
    (index / "calibration.json").write_bytes(b"{ }")
    generations.restore(tmp_path / "a.tar", index, replace=True)
    assert (index / "calibration.json").read_bytes() == b"{ }"


def test_an_index_is_replaced_only_when_told(index: Path, archive: Path, tmp_path: Path) -> None:
    write(tmp_path / "docs", {"page-1.md": "# Page 1\n\nagain\n"})
    Pipeline.open(index, Settings()).build([tmp_path / "docs"])
    before = tree(index)
    with pytest.raises(IndexExists) as caught:
        generations.restore(archive, index)
    assert "--replace" in caught.value.hint
    assert tree(index) == before
    pipeline = Pipeline.open(index, Settings())
    assert pipeline.index.generation == 3
    assert "again" in words(index)
    assert generations.restore(archive, index, replace=True)[0] == 4
    assert words(index) == words(index, 2)
    assert pipeline.refresh()
    assert pipeline.index.generation == 4
    assert generations.verify(index, every=True).damaged == ()
    generations.roll_back(index, "3")
    assert "again" in words(index)
    # The tag stays where it was.
    assert generations.named(index, "live") == 2


@pytest.mark.parametrize("damage", ["CURRENT", "generations/000002.json", "segments/000001-0/blocks"])
def test_a_damaged_index_is_replaced(index: Path, archive: Path, damage: str) -> None:
    said = words(index)
    (index / damage).write_bytes(b"damaged")
    with pytest.raises(IndexCorrupt):
        words(index)
    with pytest.raises(IndexExists):
        generations.restore(archive, index)
    assert generations.restore(archive, index, replace=True)[0] == 3
    assert words(index) == said


def test_a_folder_of_other_things_is_left_alone(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "novel.txt").write_text("Call me")
    for replace in (False, True):
        with pytest.raises(InvalidSetting):
            generations.restore(archive, tmp_path / "other", replace=replace)
    assert run(["restore", str(archive), "--index", str(tmp_path / "other" / "novel.txt")]) == 4
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["novel.txt"]
    (tmp_path / "copy.restoring").mkdir()
    (tmp_path / "copy.restoring" / "novel.txt").write_text("Call me")
    with pytest.raises(InvalidSetting, match="in the way"):
        generations.restore(archive, tmp_path / "copy")
    assert (tmp_path / "copy.restoring" / "novel.txt").exists()


def test_what_a_killed_restore_left_is_taken_over(index: Path, archive: Path, tmp_path: Path) -> None:
    shutil.copytree(index, tmp_path / "copy.restoring")
    (tmp_path / "copy.restoring" / "segments" / "junk").write_bytes(b"half")
    generations.restore(archive, tmp_path / "copy")
    assert not (tmp_path / "copy" / "segments" / "junk").exists()
    assert words(tmp_path / "copy") == words(index)


def test_two_do_not_restore_into_one_place(archive: Path, tmp_path: Path) -> None:
    import fcntl

    (tmp_path / "copy.restoring").mkdir()
    with (tmp_path / "copy.restoring" / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(IndexLocked):
            generations.restore(archive, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_every_damage_is_refused_and_leaves_nothing(archive: Path, index: Path, tmp_path: Path) -> None:
    whole = archive.read_bytes()
    before = tree(index)
    places = random.Random(5)
    damaged = []
    for _ in range(25):
        flipped = bytearray(whole)
        flipped[places.randrange(len(whole))] ^= 1 << places.randrange(8)
        damaged.append(bytes(flipped))
    cut = [whole[: places.randrange(len(whole))] for _ in range(8)]
    for content in (*damaged, *cut, whole + b"\0", whole + whole, b"", b"\x1f\x8b\x08" + whole[3:]):
        archive.write_bytes(content)
        with pytest.raises(SnapshotInvalid) as caught:
            generations.restore(archive, tmp_path / "copy")
        assert str(archive) in caught.value.message
        with pytest.raises(SnapshotInvalid):
            generations.restore(archive, index, replace=True)
    assert not list(tmp_path.glob("copy*"))
    assert tree(index) == before
    archive.write_bytes(whole)
    generations.restore(archive, tmp_path / "copy")


Forge = Callable[[tarfile.TarFile, dict[str, bytes]], None]


def sealed(label: str, value: object) -> bytes:
    """A JSON object with the hash of its second member."""
    import xxhash

    body = json.dumps(value, separators=(",", ":")).encode()
    return b'{"hash":"' + xxhash.xxh3_128_hexdigest(body).encode() + b'","' + label.encode() + b'":' + body + b"}\n"


def forged(archive: Path, to: Path, forge: Callable[[dict[str, bytes], list[tarfile.TarInfo]], None]) -> Path:
    """An archive with right hashes of whatever is in it."""
    with tarfile.open(archive) as opened:
        contents = {member.name: opened.extractfile(member).read() for member in opened}  # type: ignore[union-attr]
    listing = json.loads(contents.pop("SNAPSHOT"))["snapshot"]
    more: list[tarfile.TarInfo] = []
    forge(contents, more)
    listing["files"] = [
        {"name": name, "length": len(content), "hash": file_hash(block_hashes(content))}
        for name, content in sorted(contents.items())
    ]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as made:
        for name, content in (("SNAPSHOT", sealed("snapshot", listing)), *sorted(contents.items())):
            member = tarfile.TarInfo(name)
            member.size, member.uname, member.gname = len(content), "", ""
            made.addfile(member, io.BytesIO(content))
        for member in more:
            made.addfile(member)
        end = made.offset + 1024
    # tarfile fills up to 10,240 bytes.
    to.write_bytes(out.getvalue()[:end])
    return to


def test_what_is_forged_without_a_change_is_restored(archive: Path, tmp_path: Path) -> None:
    forged(archive, tmp_path / "same.tar", lambda _contents, _more: None)
    assert (tmp_path / "same.tar").read_bytes() == archive.read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "../escaped",
        "/tmp/clockify-rag-escaped",
        "segments/../../escaped",
        "segments/000001-0/../../../escaped",
        "a",
        "lock",
        "secret",
        "segments/000001-0/more",
        "segments/000001-0/TEXT",
        "generations/../../escaped.state",
    ],
)
def test_a_name_outside_the_manifest_is_refused(archive: Path, tmp_path: Path, name: str) -> None:
    bad = forged(archive, tmp_path / "bad.tar", lambda contents, _: contents.update({name: b"x"}))
    with pytest.raises(SnapshotInvalid, match=r"exactly the files|it holds|only by case"):
        generations.restore(bad, tmp_path / "deep" / "copy")
    assert not (tmp_path / "deep").exists()
    assert not list(tmp_path.rglob("escaped*"))
    assert not Path("/tmp/clockify-rag-escaped").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_a_link_or_device_is_refused(archive: Path, tmp_path: Path, kind: bytes) -> None:
    def add(_: dict[str, bytes], more: list[tarfile.TarInfo]) -> None:
        member = tarfile.TarInfo("segments/000001-0/text")
        member.type, member.linkname = kind, "/etc/passwd"
        more.append(member)

    with pytest.raises(SnapshotInvalid):
        generations.restore(forged(archive, tmp_path / "bad.tar", add), tmp_path / "copy")
    assert not list(tmp_path.glob("copy*"))


def test_an_archive_that_is_mostly_holes_is_refused(archive: Path, tmp_path: Path) -> None:
    def grow(contents: dict[str, bytes], _: list[tarfile.TarInfo]) -> None:
        contents["calibration.json"] = bytes((16 << 20) + 1)

    with pytest.raises(SnapshotInvalid):
        generations.restore(forged(archive, tmp_path / "bad.tar", grow), tmp_path / "copy")
    with archive.open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises((SnapshotInvalid, StoreError)):
        generations.restore(archive, tmp_path / "copy")
    assert not list(tmp_path.glob("copy*"))


def test_a_snapshot_is_written_beside_and_over_snapshots_only(index: Path, archive: Path, tmp_path: Path) -> None:
    whole = archive.read_bytes()
    generations.snapshot(index, archive)
    assert archive.read_bytes() == whole
    (tmp_path / "novel.txt").write_text("Call me")
    (tmp_path / "link.tar").symlink_to(archive)
    for place in (tmp_path / "novel.txt", tmp_path / "link.tar", index / "a.tar", index / "segments" / "a.tar", index):
        with pytest.raises(InvalidSetting):
            generations.snapshot(index, place)
    assert (tmp_path / "novel.txt").read_text() == "Call me"
    assert (tmp_path / "link.tar").is_symlink()
    assert not list(tmp_path.glob("*.part"))
    assert not (index / "a.tar").exists()


def test_a_damaged_generation_is_not_archived(index: Path, archive: Path) -> None:
    whole = archive.read_bytes()
    text = index / "segments" / "000001-0" / "text"
    text.write_bytes(bytes([text.read_bytes()[0] ^ 1]) + text.read_bytes()[1:])
    with pytest.raises(IndexCorrupt, match="text"):
        generations.snapshot(index, archive)
    assert archive.read_bytes() == whole
    assert not archive.with_name("a.tar.part").exists()


def test_snapshots_of_an_index_that_is_being_built_are_whole(index: Path, tmp_path: Path) -> None:
    docs, stop = tmp_path / "docs", threading.Event()
    failures: list[BaseException] = []

    def build() -> None:
        try:
            number = 0
            while not stop.is_set():
                number += 1
                write(docs, {f"page-{page}.md": f"# Page\n\nround {number}\n" for page in range(12)})
                Pipeline.open(index, Settings()).build([docs])
                grow_old(index)
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    builder = threading.Thread(target=build)
    builder.start()
    try:
        for number in range(15):
            archive, copy = tmp_path / f"{number}.tar", tmp_path / f"copy-{number}"
            archived = generations.snapshot(index, archive)
            assert generations.restore(archive, copy)[0] == archived.generation
            said = set(words(copy).split(" | "))
            assert len(said) == 1 or archived.generation <= 2, said
    finally:
        stop.set()
        builder.join()
    assert not failures


def test_verification_names_what_is_damaged(index: Path) -> None:
    sound = generations.verify(index)
    assert (sound.generations, sound.damaged) == ((2,), ())
    assert sound.bytes > 0
    target = index / "segments" / "000001-0" / "vectors.f16"
    other = index / "segments" / "000002-0" / "text"
    for path in (target, other):
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    assert {damage.file for damage in generations.verify(index).damaged} == {str(target), str(other)}
    assert len(generations.verify(index, every=True).damaged) == 2
    (index / "segments" / "000002-0" / "blocks").write_bytes(b"")
    broken = generations.verify(index, every=True)
    assert {Path(damage.file).name for damage in broken.damaged} == {"blocks", "vectors.f16", "live"}


def test_verification_looks_at_tags(index: Path) -> None:
    line = (index / "tags" / "live").read_text()
    (index / "tags" / "lost").write_text(line.replace("000002", "000009"))
    (index / "tags" / "live").write_text(line[:7] + "0" * 32 + "\n")
    assert generations.verify(index).damaged == ()
    reasons = {Path(damage.file).name: damage.reason for damage in generations.verify(index, every=True).damaged}
    assert reasons == {
        "live": "it names another generation 2 than there is",
        "lost": "it names generation 9, which is missing or damaged",
    }


def test_verification_keeps_to_its_rate(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    clock = iter(range(1000))
    monkeypatch.setattr("clockify_rag.generations.time.sleep", slept.append)
    monkeypatch.setattr("clockify_rag.generations.time.monotonic", lambda: next(clock) * 0.0)
    told: list[tuple[str, int, int | None]] = []
    found = generations.verify(index, rate=1000, progress=lambda *seen: told.append(seen))
    assert slept == sorted(slept)
    assert slept[-1] == found.bytes / 1000
    assert len(told) == len(slept)


def test_rates() -> None:
    rates = {"20MB/s": 20e6, "1.5 MiB/s": 1.5 * 2**20, "300": 300, "2gb": 2e9, "8 KiB": 8192, "5b/s": 5}
    assert {text: parse_rate(text) for text in rates} == rates
    for text in ("", "0", "-1MB", "fast", "1TB/s", "MB", "1e3", "٣MB", "1MB/m"):
        with pytest.raises(ConfigError, match="is no amount"):
            parse_rate(text)


def test_a_generation_that_is_not_there(index: Path, tmp_path: Path) -> None:
    with pytest.raises(GenerationNotFound):
        generations.snapshot(index, tmp_path / "b.tar", "9")
    with pytest.raises(GenerationNotFound):
        _core.write_snapshot(str(index), 9, str(tmp_path / "b.tar"))
    assert not list(tmp_path.glob("b.tar*"))


def test_the_commands(index: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    option, file, copy = ("--index", index), tmp_path / "b.tar", ("--index", tmp_path / "copy")
    assert result_of(capfd, "snapshot", file, *option)["generation"] == 2
    assert printed(capfd, "snapshot", file, "1", *option)[0].startswith("wrote generation 1, ")
    assert result_of(capfd, "restore", file, *copy)["generation"] == 1
    assert printed(capfd, "restore", file, "--replace", *copy)[0].startswith(f"generation 2 of {copy[1]} is served: ")
    assert result_of(capfd, "verify", "--all", *copy)["generations"] == [1, 2]
    assert printed(capfd, "verify", "--rate", "1GB/s", *copy)[0].endswith(" of generation 2")
    assert run(["restore", str(file), "--index", str(index)]) == 4
    capfd.readouterr()
    (index / "segments" / "000001-0" / "text").write_bytes(b"")
    assert run(["verify", "--json", *map(str, option)]) == 4
    said = capfd.readouterr()
    assert json.loads(said.out)["ok"] is False
    assert "segments/000001-0/text is corrupt: it has 0 bytes" in said.err
    assert run(["restore", str(tmp_path / "nothing.tar"), "--index", str(tmp_path / "new")]) == 4
    assert "cannot open" in capfd.readouterr().err


def test_what_is_damaged_is_not_called_verified(index: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Beside an error stands how many files were read and how many of them are damaged, and first what heals them."""
    path = index / "segments" / "000002-0" / "text"
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    files = generations.verify(index).files
    assert run(["verify", "--index", str(index)]) == 4
    said = capfd.readouterr()
    (line,) = said.out.splitlines()
    assert line.startswith(f"read {files} files, ")
    assert line.endswith(" of generation 2: 1 damaged")
    assert "verified" not in said.out
    hint = said.err.splitlines()[-1]
    assert hint.startswith("hint: clockify-rag repair ")
    assert "clockify-rag rollback" in hint
    assert "clockify-rag restore" in hint
