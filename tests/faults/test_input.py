"""Pages and questions that nobody should have to think of: each gets its error, its hint and its status, or an answer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from faults import indexes
from faults.conftest import World
from faults.processes import Done, failed, run
from folders import write

GOOD = "# Exports\n\nAn owner may export a report.\n"


def build(folder: Path, *options: str) -> tuple[Done, Path]:
    index = folder.parent / "index"
    return run("build", folder, "--index", index, "--json", *options), index


def paths_of(index: Path) -> set[str]:
    return {document["path"] for document in run("documents", "--index", index, "--json").json["documents"]}


def skipped(done: Done) -> dict[str, Any]:
    return {item["path"]: item for item in done.json["skipped"]}


@pytest.mark.parametrize("files", [{}, {"a.png": b"\x89PNG"}, {"a.md": b""}], ids=["empty", "no format", "zero-length"])
def test_a_folder_without_documents_is_said(tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = write(tmp_path / "help", files)
    folder.mkdir(exist_ok=True)
    done, index = build(folder)
    failed(done, 2, "source")
    failed(run("search", "export", "--index", index, "--json"), 3, "index_not_found")


def test_one_bad_file_is_reported_and_skipped_unless_strict(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "help", {"good.md": GOOD, "bad.md": b"# Caf\xe9\n\n\xff\xfe\x00 not UTF-8", "none.md": b""}
    )
    done, index = build(folder, "--strict")
    assert "bad.md" in failed(done, 2, "source").json["error"]["message"]
    failed(run("search", "export", "--index", index, "--json"), 3, "index_not_found")
    done, index = build(folder)
    assert done.status == 6
    assert skipped(done)["bad.md"]["error"]["code"] == "document_unreadable"
    assert skipped(done)["none.md"]["reason"] == "empty"
    assert paths_of(index) == {"good.md"}
    (folder / "good.md").write_bytes(b"\xff\xff")
    done, index = build(folder)
    assert done.status == 6
    assert done.json["stale"] == 1
    (hit,) = run("search", "export a report", "--index", index, "--json").json["hits"]
    assert hit["stale"] is True


def test_a_file_of_200_megabytes_is_left_out(tmp_path: Path) -> None:
    folder = write(tmp_path / "help", {"good.md": GOOD})
    with (folder / "huge.md").open("wb") as file:
        file.truncate(200_000_000)
    done, index = build(folder)
    assert done.status == 6
    assert skipped(done)["huge.md"]["reason"] == "too large"
    assert paths_of(index) == {"good.md"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tags.html", "<div>" * 1_000_000 + "deep" + "</div>" * 1_000_000),
        ("open.html", "<b><i>" * 500_000 + "deep"),
        ("table.html", "<table><tr><td>" * 50_000 + "deep"),
        ("attributes.html", "<p " + " ".join(f"a{number}=1" for number in range(100_000)) + ">deep</p>"),
        ("quotes.md", ">" * 1_000_000 + " deep"),
        ("lists.md", "- " * 100_000 + "deep"),
        ("brackets.md", "[" * 1_000_000 + "deep"),
        ("emphasis.md", "*a_" * 200_000 + "deep"),
        ("spaces.md", "deep" + " " * 5_000_000),
        ("line.txt", "deep " * 500_000),
    ],
    ids=lambda value: value if len(value) < 20 else "",
)
def test_depth_and_length_end_nothing(tmp_path: Path, name: str, content: str) -> None:
    done, index = build(write(tmp_path / "help", {"good.md": GOOD, name: content}))
    assert done.status in (0, 6), done
    assert "good.md" in paths_of(index)
    assert run("search", "deep export", "--index", index, "--json").json["hits"]


@pytest.mark.parametrize(
    "front",
    [
        "- a\n- b",
        "just text",
        "42",
        "a: [1",
        "a: &a [*a]",
        "tags: {x: 1}",
        "title: [1, 2]",
        "url: 7",
        "? x",
        "\t",
        "!!python/x 1",
    ],
)
def test_front_matter_of_any_kind_is_no_obstacle(tmp_path: Path, front: str) -> None:
    done, index = build(write(tmp_path / "help", {"page.md": f"---\n{front}\n---\n{GOOD}"}))
    assert done.status in (0, 6), done
    if done.status == 0:
        assert run("search", "export a report", "--index", index, "--json").json["hits"]
    else:
        assert skipped(done)["page.md"]["error"]


def test_links_out_and_in_a_loop_are_not_followed(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"secret.md": "# Secret\n\nThe password is swordfish.\n"})
    folder = write(tmp_path / "help", {"good.md": GOOD, "sub/page.md": GOOD})
    (folder / "out.md").symlink_to(outside / "secret.md")
    (folder / "outside").symlink_to(outside)
    (folder / "sub" / "loop").symlink_to(folder)
    (folder / "self.md").symlink_to("self.md")
    (folder / "broken.md").symlink_to("nothing.md")
    os.mkfifo(folder / "pipe.md")
    done, index = build(folder)
    assert done.status in (0, 6), done
    assert paths_of(index) == {"good.md", "sub/page.md"}
    hits = run("search", "swordfish password", "--index", index, "--json").json["hits"]
    assert all("swordfish" not in hit["text"] for hit in hits)


@pytest.mark.parametrize("name", ["a\nb.md", "caf\udce9.md", "\x1b[31mred.md", "CON.md", "a" * 250 + ".md", "-rf.md"])
def test_names_of_any_kind_are_printed_safely(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path / "help", {"good.md": GOOD})
    os.rename(os.fsencode(write(tmp_path, {"page": GOOD}) / "page"), os.fsencode(folder) + b"/" + os.fsencode(name))
    done, index = build(folder)
    assert done.status in (0, 6), done
    for command in (["documents"], ["search", "export"]):
        printed = run(*command, "--index", index)
        assert printed.status == 0
        assert "\x1b" not in printed.out
    assert run("build", folder, "--index", index).status in (0, 6)


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08", b"not an archive", b"\0" * 10_240])
def test_an_archive_that_is_none_is_said(tmp_path: Path, content: bytes) -> None:
    archive = write(tmp_path, {"pages.tar.gz": content}) / "pages.tar.gz"
    failed(run("build", archive, "--index", tmp_path / "index", "--json"), 2, "source")


@pytest.mark.parametrize(
    ("question", "statuses"),
    [
        ("", {2}),
        (" \t\n", {2}),
        ("x" * 3_000, {2}),
        ("é" * 2_001, {2}),
        ("x" * 2_000, {0}),
        ("the of and", {0, 2}),
        ("🙂🙂🎉", {0, 2}),
        ("?!…", {0, 2}),
        ("export\x1b[31m\x07 a \x9b2J\u202e report", {0}),
        ("export caf\udce9 report", {0}),
        ("تصدير 出力 экспорт", {0}),
        ("report AND (", {0}),
        ('"report', {0}),
        ("title:report^9 OR *", {0}),
        (" ".join(["report"] * 200), {0}),
        ("--json", {0, 2}),
    ],
    ids=repr,
)
def test_a_question_of_any_kind(world: World, question: str, statuses: set[int]) -> None:
    for command in ("search", "ask"):
        done = run(command, "--index", world.index, "--json", "--", question)
        assert done.status in statuses, done
        if done.status == 0:
            assert done.json["question"] == question.encode("utf-8", "replace").decode()
        else:
            failed(done, 2, done.json["error"]["code"])


def test_nul_in_a_question_of_the_library_is_no_end_of_it(world: World) -> None:
    pipeline = indexes.open_pipeline(world.index)
    result = pipeline.search("export\0 a report\0")
    assert result.hits
    assert pipeline.ask("export\0 a report\0").question == "export\0 a report\0"


def test_an_index_of_another_embedder_is_named_and_searched_by_words(world: World, index: Path) -> None:
    assert run("build", world.pages, "--index", index, "--embedder", "none").status == 0
    assert run("search", indexes.QUESTIONS[0], "--index", index, "--json").json["lexical_only"] is True
    assert run("build", world.pages, "--index", index).status == 0
    assert indexes.answers(index) == world.before
