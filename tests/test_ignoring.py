"""The ignore rules, alone and against git itself."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from clockify_rag.contracts import Notice, Source
from clockify_rag.ignoring import IgnoreRules
from clockify_rag.walking import UNSUPPORTED, File, Folder, Walk, start_of


@pytest.mark.parametrize(
    ("rules", "path", "folder", "decided"),
    [
        ("*.log", "a/b.log", False, True),
        ("*.log", "a/b.md", False, None),
        ("/*.log", "a/b.log", False, None),
        ("a/*.log", "a/b.log", False, True),
        ("a/*.log", "c/a/b.log", False, None),
        ("**/a/*.log", "c/a/b.log", False, True),
        ("a/**", "a/b/c", False, True),
        ("a/**", "a", True, None),
        ("a/**/d", "a/d", False, True),
        ("a/**/d", "a/b/c/d", False, True),
        ("build/", "build", False, None),
        ("build/", "x/build", True, True),
        ("*\n!keep", "keep", False, False),
        ("!keep\n*", "keep", False, True),
        ("# a\n\n\\#b", "#b", False, True),
        ("\\!b", "!b", False, True),
        ("a ", "a", False, True),
        ("a\\ ", "a ", False, True),
        ("a\r\nb", "a", False, True),
        ("\ufeffa", "a", False, True),
        ("[ab]", "b", False, True),
        ("[!ab]", "b", False, None),
        ("[a-c]x", "bx", False, True),
        ("[c-a]x", "bx", False, None),
        ("[]]", "]", False, True),
        ("[[:digit:]]", "7", False, True),
        ("[[:nothing:]]", "7", False, None),
        ("[\\]]", "]", False, True),
        ("[a", "[a", False, None),
        ("a\\", "a\\", False, None),
        ("?", "é", False, True),
        ("e\u0301", "é", False, True),
        ("/", "a", False, None),
        ("a?b", "a/b", False, None),
    ],
)
def test_one_rule(rules: str, path: str, folder: bool, decided: bool | None) -> None:
    assert IgnoreRules(rules).decide(path, folder=folder) is decided


def test_hostile_patterns_come_to_an_end() -> None:
    assert IgnoreRules("*a" * 40 + "b").decide("a" * 200, folder=False) is None
    assert IgnoreRules("**/a/" * 30 + "b").decide("a/" * 60 + "c", folder=False) is None


_NAMES = ["a", "b", "ab", "a.md", "b.md", "keep", "x[1]", "a b", "#c", "!d", ".h", "aab", "b*", " e "]
_ATOMS = [
    *["a", "b", "ab", "*", "**", "?", "a*", "*b", "[ab]", "[!a]", "*.md", "a.md", "keep", "[a-b]*", "\\#c", "\\!d"],
    *["x\\[1\\]", "[]a]", "[[:alpha:]]", "a ", "a\\ b", "b\\*", "[a", "**b", "[^b].md", " e\\ ", "a*b*", ".h"],
]


def _pattern(choose: random.Random) -> str:
    pattern = "/".join(choose.choice(_ATOMS) for _ in range(choose.choice([1, 1, 1, 2, 2, 3])))
    pattern = "/" * (choose.random() < 0.25) + pattern + "/" * (choose.random() < 0.3)
    return "!" * (choose.random() < 0.35) + pattern


def _grow(choose: random.Random, folder: Path, depth: int = 0) -> None:
    folder.mkdir()
    for name in choose.sample(_NAMES, choose.randint(2, 5)):
        if depth < 3 and choose.random() < 0.5:
            _grow(choose, folder / name, depth + 1)
        else:
            (folder / name).touch()
    if depth == 0 or choose.random() < 0.3:
        rules = "\n".join(_pattern(choose) for _ in range(choose.randint(1, 5)))
        (folder / ".gitignore").write_text(rules + "\n")


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize("seed", range(30))
def test_random_trees_are_walked_as_git_walks_them(tmp_path: Path, seed: int) -> None:
    root = tmp_path / "tree"
    _grow(random.Random(seed), root)
    subprocess.run(["git", "init", "-q", root], check=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--others", "--exclude-standard"], cwd=root, capture_output=True, check=True
    )
    visible = {path for path in listed.stdout.decode().split("\0") if path and not _hidden(path)}
    walk = Walk(Folder(str(root)), Source(name="s", location=str(root)), ignore=True)
    walked = [
        item for item in walk.files(start_of(str(root), ignore=True, include=False)) if not isinstance(item, Notice)
    ]
    assert {item.path for item in walked if isinstance(item, File) or item.reason == UNSUPPORTED} == visible


def _hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))
