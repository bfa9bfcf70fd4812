"""Walking: what is left out and why, links, and archives that were made to harm."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from clockify_rag import _core, walking
from clockify_rag.contracts import LoadedDocument, Skipped
from clockify_rag.errors import SourceError
from clockify_rag.loading import FileLoader
from folders import documents, known_of, load, skipped, source_of, write

PAGE = "# Page\n\nWords.\n"


def pages(*paths: str) -> dict[str, str]:
    return dict.fromkeys(paths, PAGE)


def test_what_a_build_leaves_out(tmp_path: Path) -> None:
    write(
        tmp_path,
        pages(
            *[
                "guide/a.md",
                ".hidden.md",
                ".git/x.md",
                "node_modules/p/README.md",
                "docs/venv/b.md",
                "__pycache__/c.md",
            ],
            *["target/d.md", "dist/e.md", "old/f.md", "old/keep.md", "guide/draft.md", "guide/deep/draft.md"],
            *["build/g.md", "vendor/h.md", "guide/build/i.md", "guide/vendor/j.md", "env2/k.md", "cached/l.md"],
            *["index/m.md", "private/n.md"],
        ),
    )
    write(
        tmp_path,
        {
            ".gitignore": "old/*\n!old/keep.md\n",
            "guide/.gitignore": "/draft.md\n",
            ".ragignore": "private\n",
            "pyproject.toml": "",
            "env2/pyvenv.cfg": "",
            "cached/CACHEDIR.TAG": "",
            "index/CURRENT": "1",
            "index/generations/1.json": "{}",
        },
    )
    items = load(tmp_path)
    assert list(documents(items)) == [
        *["guide/a.md", "guide/build/i.md", "guide/deep/draft.md", "guide/vendor/j.md", "old/keep.md"]
    ]
    assert skipped(items) == {
        ".git": walking.HIDDEN,
        ".gitignore": walking.HIDDEN,
        ".hidden.md": walking.HIDDEN,
        ".ragignore": walking.HIDDEN,
        "__pycache__": walking.BUILD_OUTPUT,
        "build": walking.BUILD_OUTPUT,
        "cached": walking.BUILD_OUTPUT,
        "dist": walking.BUILD_OUTPUT,
        "docs/venv": walking.DEPENDENCIES,
        "env2": walking.DEPENDENCIES,
        "guide/.gitignore": walking.HIDDEN,
        "guide/draft.md": walking.IGNORED,
        "index": walking.INDEX,
        "node_modules": walking.DEPENDENCIES,
        "old/f.md": walking.IGNORED,
        "private": walking.IGNORED,
        "pyproject.toml": walking.UNSUPPORTED,
        "target": walking.BUILD_OUTPUT,
        "vendor": walking.DEPENDENCIES,
    }


def test_without_ignoring_all_but_indexes_and_version_control_is_read(tmp_path: Path) -> None:
    write(tmp_path, pages(".a.md", "node_modules/b.md", "c.md", ".git/d.md", "index/e.md"))
    write(tmp_path, {".gitignore": "c.md", "index/CURRENT": "1", "index/generations/1.json": "{}"})
    items = list(FileLoader(ignore=False).load(source_of(tmp_path), {}))
    assert list(documents(items)) == [".a.md", "c.md", "node_modules/b.md"]
    assert skipped(items) == {".git": "hidden", ".gitignore": "unsupported format", "index": "index"}


def test_ragignore_has_the_last_word(tmp_path: Path) -> None:
    write(tmp_path, pages("node_modules/a.md", ".github/b.md", "kept/c.md", "kept/d.md", "env/e.md"))
    write(
        tmp_path,
        {
            ".gitignore": "kept",
            ".ragignore": "!node_modules\n!.github/\n!kept/\nd.md\n!env\n",
            "kept/.gitignore": "d.md\n",
            "env/pyvenv.cfg": "",
        },
    )
    assert list(documents(load(tmp_path))) == [".github/b.md", "env/e.md", "kept/c.md", "node_modules/a.md"]


def test_the_rules_of_the_folders_above_count_within_the_repository(tmp_path: Path) -> None:
    write(tmp_path, pages("repository/docs/a.md", "repository/docs/generated/b.md", "repository/docs/c.md"))
    write(tmp_path, {".gitignore": "a.md", "repository/.gitignore": "docs/generated/\n", "repository/docs/x.txt": "x"})
    root = tmp_path / "repository"
    assert "generated/b.md" in documents(load(root / "docs"))
    write(root, {".git/HEAD": ""})
    items = load(root / "docs")
    assert list(documents(items)) == ["a.md", "c.md", "x.txt"]
    assert skipped(items) == {"generated": walking.IGNORED}


def test_patterns_of_the_source(tmp_path: Path) -> None:
    write(tmp_path, pages("guide/a.md", "guide/deep/b.md", "api/c.md", "top.md"))
    items = load(tmp_path, include=("guide/", "/top.md"), exclude=("deep",))
    assert list(documents(items)) == ["guide/a.md", "top.md"]
    assert skipped(items) == {"api/c.md": walking.NOT_INCLUDED, "guide/deep": walking.EXCLUDED}
    items = list(FileLoader(ignore=False).load(source_of(tmp_path, exclude=("/top.md",)), {}))
    assert skipped(items) == {"top.md": walking.EXCLUDED}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "github"),
        ({"docusaurus.config.ts": ""}, "docusaurus"),
        ({"mkdocs.yml": "", ".gitlab-ci.yml": ""}, "mkdocs"),
        ({"conf.py": "extensions = ['sphinx.ext.autodoc']"}, "sphinx"),
        ({"conf.py": "DEBUG = True"}, "github"),
        ({"conf.py": "DEBUG = True", ".gitlab-ci.yml": ""}, "gitlab"),
    ],
)
def test_the_generator_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Mapping[str, str], expected: str
) -> None:
    asked: list[str | None] = []
    parse = _core.parse

    def noting(markup: Any, contents: Any, slugs: Any = None, omitted: Any = ()) -> Any:
        asked.append(slugs)
        return parse(markup, contents, slugs)

    monkeypatch.setattr(_core, "parse", noting)
    site = write(tmp_path / "site-of-one", {**pages("docs/a.md"), **files})
    load(site)
    load(site / "docs")
    load(site / "docs" / "a.md")
    load(site, slugs="gitlab")
    assert asked == [expected, expected, "github", "gitlab"]


def test_the_nearest_generator_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str | None, int]] = []
    parse = _core.parse

    def noting(markup: Any, contents: Any, slugs: Any = None, omitted: Any = ()) -> Any:
        asked.append((slugs, len(contents)))
        return parse(markup, contents, slugs)

    monkeypatch.setattr(_core, "parse", noting)
    load(write(tmp_path, {**pages("a.md", "in/b.md", "in/deep/c.md", "z.md"), "in/mkdocs.yml": ""}))
    assert sorted(asked) == [("github", 2), ("mkdocs", 2)]


# Links.


def test_links(tmp_path: Path) -> None:
    root = write(tmp_path / "docs", pages("a.md", "in/b.md", ".store/c.md"))
    write(tmp_path, pages("outside.md", "elsewhere/d.md"))
    (root / "again.md").symlink_to("in/b.md")
    (root / "stored.md").symlink_to(".store/c.md")
    (root / "out.md").symlink_to("../outside.md")
    (root / "out").symlink_to("../elsewhere")
    (root / "in" / "up").symlink_to("..")
    (root / "same").symlink_to("in")
    (root / "loop.md").symlink_to("loop.md")
    (root / "gone.md").symlink_to("nothing.md")
    os.mkfifo(root / "pipe.md")
    (root / "to-pipe.md").symlink_to("pipe.md")
    items = load(root)
    assert list(documents(items)) == ["a.md", "again.md", "in/b.md", "stored.md"]
    assert skipped(items) == {
        ".store": walking.HIDDEN,
        "gone.md": walking.LINK_BROKEN,
        "in/up": walking.LINK_LOOP,
        "loop.md": walking.LINK_LOOP,
        "out": walking.LINK_OUT,
        "out.md": walking.LINK_OUT,
        "pipe.md": walking.SPECIAL,
        "same": walking.LINK,
        "to-pipe.md": walking.SPECIAL,
    }


def test_a_source_may_be_a_link(tmp_path: Path) -> None:
    write(tmp_path / "docs", pages("a.md"))
    (tmp_path / "link").symlink_to("docs")
    assert list(documents(load(tmp_path / "link"))) == ["a.md"]


def test_a_file_that_became_a_link_or_a_pipe_is_not_opened(tmp_path: Path) -> None:
    write(tmp_path, pages("secret.md"))
    (tmp_path / "link").symlink_to("secret.md")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(OSError, match=r"symbolic links|regular file"):
            walking._open(str(tmp_path / name))


# Folders and names that cannot be read.


def test_an_unreadable_folder_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, pages("a.md", "closed/b.md"))
    scan = os.scandir

    def refusing(path: str) -> Any:
        if path.endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    items = load(tmp_path)
    (closed,) = (item for item in items if isinstance(item, Skipped))
    assert (closed.path, closed.reason) == ("closed", walking.UNREADABLE)
    assert closed.error is not None
    assert closed.error.message == "closed cannot be read: Permission denied"


@pytest.mark.parametrize("name", [".gitignore", ".ragignore"])
@pytest.mark.parametrize("target", ["nothing", "../../outside"])
def test_a_folder_whose_ignore_file_cannot_be_read_is_not_read(tmp_path: Path, name: str, target: str) -> None:
    write(tmp_path, {"outside": "secret.md\n"})
    root = write(tmp_path / "root", pages("a.md", "closed/secret.md", "closed/inner/b.md", "z.md"))
    (root / "closed" / name).symlink_to(target)
    items = load(root)
    assert list(documents(items)) == ["a.md", "z.md"]
    (closed,) = (item for item in items if isinstance(item, Skipped))
    assert (closed.path, closed.reason) == ("closed", walking.UNREADABLE)
    assert closed.error is not None
    assert closed.error.message.startswith(f"closed is not read, because closed/{name} cannot be read: ")
    assert list(documents(list(FileLoader(ignore=False).load(source_of(root), {})))) == [
        "a.md",
        "closed/inner/b.md",
        "closed/secret.md",
        "z.md",
    ]


def test_an_ignore_file_that_is_too_large_is_not_read_in_part(tmp_path: Path) -> None:
    write(tmp_path, pages("a.md", "closed/secret.md"))
    write(tmp_path, {"closed/.ragignore": "# rules\n" * 200_000 + "secret.md\n"})
    items = load(tmp_path)
    assert list(documents(items)) == ["a.md"]
    assert skipped(items) == {"closed": walking.UNREADABLE}


@pytest.mark.parametrize("above", [False, True])
def test_a_source_whose_ignore_file_cannot_be_read_is_not_read_at_all(tmp_path: Path, above: bool) -> None:
    docs = write(tmp_path, {".git/HEAD": "", **pages("docs/a.md")}) / "docs"
    file = (tmp_path if above else docs) / ".gitignore"
    file.symlink_to("nothing")
    (closed,) = load(docs)
    assert isinstance(closed, Skipped)
    assert (closed.path, closed.reason) == ("", walking.UNREADABLE)
    assert closed.error is not None
    assert closed.error.message == f"{docs} is not read, because {file} cannot be read: broken link"
    assert "--no-ignore" in closed.error.hint


def test_a_ragignore_above_the_source_is_none_of_its_rules(tmp_path: Path) -> None:
    write(tmp_path, {".git/HEAD": "", **pages("docs/a.md")})
    (tmp_path / ".ragignore").symlink_to("nothing")
    assert list(documents(load(tmp_path / "docs"))) == ["a.md"]


def test_a_source_that_cannot_be_listed_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, pages("a.md"))

    def refusing(path: str) -> Any:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refusing)
    (item,) = load(tmp_path)
    assert item.path == ""
    assert item.error.message == f"{tmp_path} cannot be read: Permission denied"


def test_a_name_that_is_not_utf_8_is_reported(tmp_path: Path) -> None:
    write(tmp_path, pages("a.md"))
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.md")).write_text(PAGE)
    except OSError:
        pytest.skip("this file system knows only UTF-8 names")
    items = load(tmp_path)
    assert list(documents(items)) == ["a.md"]
    assert skipped(items) == {"caf\ufffd.md": walking.UNREADABLE}


def test_deep_folders(tmp_path: Path) -> None:
    path = "d/" * 200 + "a.md"
    write(tmp_path, pages(path))
    assert list(documents(load(tmp_path))) == [path]


# Archives.


def archive(path: Path, members: Mapping[str, str | bytes | tarfile.TarInfo], packed: bool = True) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            data = content.encode() if isinstance(content, str) else content
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    path.write_bytes(gzip.compress(buffer.getvalue()) if packed else buffer.getvalue())
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = target
    return member


@pytest.mark.parametrize("packed", [True, False])
def test_an_archive_is_walked_as_a_folder(tmp_path: Path, packed: bool) -> None:
    members = {
        **pages("./docs/z.md", "docs/a.md", "docs/old.md", "node_modules/b.md", ".hidden.md"),
        "docs/all.jsonl": '{"id": 1, "text": "One."}\n{broken\n',
        ".gitignore": "old.md\n",
        "empty.md": "",
    }
    items = load(archive(tmp_path / "all.tar.gz", members, packed))
    assert list(documents(items)) == ["docs/a.md", "docs/all.jsonl/1", "docs/z.md"]
    assert skipped(items) == {
        ".gitignore": walking.HIDDEN,
        ".hidden.md": walking.HIDDEN,
        "docs/all.jsonl:2": walking.UNREADABLE,
        "docs/old.md": walking.IGNORED,
        "empty.md": walking.EMPTY,
        "node_modules": walking.DEPENDENCIES,
    }


def test_members_made_to_harm_are_refused(tmp_path: Path) -> None:
    members: dict[str, str | tarfile.TarInfo] = {
        **pages("good.md", "/etc/absolute.md", "../up.md", "a/../../up.md"),
        "link.md": special("link.md", tarfile.SYMTYPE, "/etc/passwd"),
        "hard.md": special("hard.md", tarfile.LNKTYPE, "good.md"),
        "device.md": special("device.md", tarfile.CHRTYPE),
        "pipe.md": special("pipe.md", tarfile.FIFOTYPE),
        "folder": special("folder", tarfile.DIRTYPE),
    }
    items = load(archive(tmp_path / "all.tar", members, packed=False))
    assert list(documents(items)) == ["good.md"]
    assert skipped(items) == {
        "../up.md": walking.UNSAFE_NAME,
        "/etc/absolute.md": walking.UNSAFE_NAME,
        "a/../../up.md": walking.UNSAFE_NAME,
        "device.md": walking.SPECIAL,
        "hard.md": walking.LINK,
        "link.md": walking.LINK,
        "pipe.md": walking.SPECIAL,
    }


def test_the_last_of_two_members_counts(tmp_path: Path) -> None:
    items = load(archive(tmp_path / "all.tgz", {"a.md": "# First\n\nOld.\n", "./a.md": "# Second\n\nNew.\n"}))
    assert [document.title for document in documents(items).values()] == ["Second"]
    assert skipped(items) == {"a.md": walking.DUPLICATE}


def test_an_unchanged_archive_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "all.tar.gz", pages("b.md", "a.md"))
    first = load(path)
    with monkeypatch.context() as patched:
        patched.setattr(walking, "_open", None)
        assert load(path, known_of(first)) == [item.document for item in first]
    os.utime(path, ns=(1, 1))
    assert all(isinstance(item, LoadedDocument) for item in load(path, known_of(first)))


def test_an_archive_with_a_failure_is_read_again(tmp_path: Path) -> None:
    path = archive(tmp_path / "all.tar.gz", {**pages("a.md", "c.md"), "b.md": b"\xc3\x28 Words."})
    first = load(path)
    assert skipped(first) == {"b.md": walking.UNREADABLE}
    assert skipped(load(path, known_of(first))) == {"b.md": walking.UNREADABLE}


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "bomb.tar.gz", {"a.md": b" " * 30_000_000})
    assert path.stat().st_size < 100_000
    with pytest.raises(SourceError, match="more than 20 MB"):
        list(FileLoader(maximum_archive_bytes=20_000_000).load(source_of(path), {}))
    many = archive(tmp_path / "many.tar.gz", pages("a.md", "b.md", "c.md"))
    with pytest.raises(SourceError, match="more than 2 members"):
        list(FileLoader(maximum_archive_members=2).load(source_of(many), {}))


def test_damaged_archives_are_refused_whole(tmp_path: Path) -> None:
    whole = archive(tmp_path / "all.tar.gz", pages(*(f"{number}.md" for number in range(50)))).read_bytes()
    plain = gzip.decompress(whole)
    broken = bytearray(plain)
    broken[1024 * 10 + 3] ^= 1
    for number, content in enumerate(
        (whole[:-20], whole[:30], b"", b"no tar", plain[:5000], bytes(broken), whole[:40] + b"x" * 50)
    ):
        path = tmp_path / f"{number}.tar.gz"
        path.write_bytes(content)
        with pytest.raises(SourceError, match="cannot be read"):
            load(path)


def test_an_archive_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "all.tar", pages("a.md"))

    def refusing(path: str) -> Any:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(walking, "_open", refusing)
    with pytest.raises(SourceError, match="Permission denied"):
        load(path)
