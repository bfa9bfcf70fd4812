"""Pages and questions that nobody should have to think of: each gets its error, its hint and its status, or an answer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from clockify_rag import cli
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


def test_depth_and_length_end_nothing(tmp_path: Path) -> None:
    files = {
        "good.md": GOOD,
        "tags.html": "<div>" * 1_000_000 + "deep" + "</div>" * 1_000_000,
        "open.html": "<b><i>" * 200_000 + "deep",
        "table.html": "<table><tr><td>" * 20_000 + "deep",
        "attributes.html": "<p " + " ".join(f"a{number}=1" for number in range(50_000)) + ">deep</p>",
        "quotes.md": ">" * 1_000_000 + " deep",
        "lists.md": "- " * 100_000 + "deep",
        "brackets.md": "[" * 1_000_000 + "deep",
        "emphasis.md": "*a_" * 50_000 + "deep",
        "spaces.md": "deep" + " " * 5_000_000,
        "line.txt": "deep " * 200_000,
    }
    done, index = build(write(tmp_path / "help", files))
    assert done.status in (0, 6), done
    assert all(item["error"]["code"] == "document_unreadable" for item in skipped(done).values())
    assert paths_of(index) | set(skipped(done)) == set(files)
    assert run("search", "deep export", "--index", index, "--json").json["hits"]


def test_front_matter_of_any_kind_is_no_obstacle(tmp_path: Path) -> None:
    fronts = [
        *("- a\n- b", "just text", "42", "a: [1", "a: &a [*a]", "tags: {x: 1}", "title: [1, 2]", "url: 7", "? x", "\t"),
        *("!!python/x 1", "a: 1\na: 2", "title: \0", "language: 7", "tags: 1e999", "a: " + "[" * 10_000),
    ]
    files = {f"{number}.md": f"---\n{front}\n---\n{GOOD}" for number, front in enumerate(fronts)}
    done, index = build(write(tmp_path / "help", files))
    assert done.status in (0, 6), done
    assert all(item["error"]["code"] == "document_unreadable" for item in skipped(done).values())
    assert paths_of(index) | set(skipped(done)) == set(files)
    assert run("search", "export a report", "--index", index, "--json").json["hits"]


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


def test_names_of_any_kind_are_printed_safely(tmp_path: Path) -> None:
    names = [
        "a\nb.md",
        "caf\udce9.md",
        "\x1b[31mred.md",
        "CON.md",
        "a" * 250 + ".md",
        "-rf.md",
        "\u202egnp.md",
        "%41.md",
    ]
    folder = write(tmp_path / "help", {"good.md": GOOD})
    for name in names:
        write(tmp_path, {"page": GOOD}).joinpath("page").rename(folder / name)
    done, index = build(folder)
    assert done.status == 6, done
    (unreadable,) = skipped(done).values()
    assert "not UTF-8" in unreadable["error"]["message"]
    for command in (["documents"], ["search", "export"]):
        printed = run(*command, "--index", index)
        assert printed.status == 0
        assert not set("\x1b\u202e") & set(printed.out)
    assert len(paths_of(index)) == len(names)


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b\x08", b"\0" * 10_240])
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
def test_a_question_of_any_kind(
    world: World, capfd: pytest.CaptureFixture[str], question: str, statuses: set[int]
) -> None:
    for command in ("search", "ask"):
        status = cli.run([command, "--index", str(world.index), "--json", "--", question])
        printed = Done(status, *capfd.readouterr())
        assert status in statuses, printed
        if status == 0:
            assert printed.json["question"] == question.encode("utf-8", "replace").decode()
        else:
            failed(printed, 2, printed.json["error"]["code"])


def test_an_argument_that_is_not_utf_8_is_searched(world: World) -> None:
    assert run("search", "export caf\udce9", "--index", world.index, "--json").json["question"] == "export caf?"


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
