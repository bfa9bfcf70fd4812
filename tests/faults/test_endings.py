"""How commands end when it is not they who decide: Ctrl-C, closed pipes, strange locales, no home; and after a fork."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fake_server import serving
from faults import indexes
from faults.conftest import World
from faults.processes import COMMAND, Done, end, environment, run, script, start
from folders import write

QUESTION = indexes.QUESTIONS[0]


def interrupt_after(seconds: float, source: Path, index: Path) -> tuple[Done, float]:
    """Interrupt a build some time after it has taken the lock, and measure how long it takes to end."""
    before = time.time()
    # A process that was started in the background may have Ctrl-C ignored.
    process = start(
        "build", source, "--index", index, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    )
    while process.poll() is None and not _locked_since(index, before):
        time.sleep(0.005)
    time.sleep(seconds)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    return end(process), time.monotonic() - sent


def _locked_since(index: Path, moment: float) -> bool:
    try:
        return (index / "lock").stat().st_mtime >= moment - 1
    except OSError:
        return False


@pytest.mark.slow
def test_an_interrupted_build_leaves_the_old_generation_and_nothing_else(
    world: World, index: Path, tmp_path: Path
) -> None:
    many = {f"{number}/{path}": text * 8 for number in range(120) for path, text in indexes.PAGES.items()}
    source = write(tmp_path / "many" / "help", many)
    os.utime(index / "lock", (1, 1))
    slowest = 0.0
    for seconds in (0.0, 0.3, 0.7):
        done, taken = interrupt_after(seconds, source, index)
        assert done.status == 130, done
        assert done.err == "error: interrupted\n", done
        assert indexes.answers(index) == world.before
        assert indexes.leftovers(index) == set()
        os.utime(index / "lock", (1, 1))
        slowest = max(slowest, taken)
    print(f"ended at most {slowest:.2f} s after Ctrl-C")
    indexes.build(index, world.changed)
    assert indexes.answers(index) == world.after


def test_an_interrupt_says_so_in_json(world: World, tmp_path: Path) -> None:
    with serving(["hang"]) as server:
        process = start(
            *("ask", QUESTION, "--index", world.index, "--json", "--model", "m"),
            variables=environment(CLOCKIFY_RAG_GENERATION__GENERATOR="ollama", CLOCKIFY_RAG_GENERATION__URL=server.url),
            cwd=tmp_path,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        while process.poll() is None and not server.requests:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        done = end(process)
    assert done.status == 130, done
    assert done.json["error"]["code"] == "interrupted"


@pytest.mark.parametrize("command", [["search", QUESTION], ["info", "--json"], ["--help"], ["search", ""]])
def test_a_closed_output_ends_quietly(world: World, command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    index = [] if command == ["--help"] else ["--index", str(world.index)]
    try:
        done = end(start(*command, *index, stdout=writing))
    finally:
        os.close(writing)
    assert done.status == (2 if command[-1] == "" else 141), done
    assert "Broken" not in done.err
    assert "Traceback" not in done.err


def test_a_closed_error_output_changes_nothing(world: World) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = end(start("search", "zyxwv", "--index", world.index, "--json", stderr=writing))
        assert done.status == 0, done
        assert done.json["question"] == "zyxwv"
        assert end(start("search", "", "--index", world.index, stderr=writing)).status == 2
    finally:
        os.close(writing)


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_streams_that_were_never_open_do_no_harm(world: World, tmp_path: Path, closed: str) -> None:
    line = " ".join([*COMMAND, "build", str(world.pages), "--index", str(tmp_path / "index"), closed])
    done = subprocess.run(["sh", "-c", line], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert "Traceback" not in done.stderr
    assert indexes.answers(tmp_path / "index") == world.before


@pytest.mark.parametrize("locale", ["C"])
def test_any_locale_prints_the_same(world: World, tmp_path: Path, locale: str) -> None:
    index = tmp_path / "index"
    pages = write(tmp_path / "help", {"überblick.md": "# Überblick\n\nDie Zeiterfassung läuft 24 Stunden.\n"})
    utf8 = environment(LC_ALL="C.UTF-8")
    narrow = environment(LC_ALL=locale, PYTHONUTF8=None, PYTHONIOENCODING=None)
    assert run("build", pages, "--index", index, variables=narrow).status == 0
    for command in (["search", "Überblick Zeiterfassung"], ["documents"]):
        wanted = run(*command, "--index", index, "--json", variables=utf8).json
        found = run(*command, "--index", index, "--json", variables=narrow).json
        wanted.pop("timings_ms", None)
        found.pop("timings_ms", None)
        assert found == wanted

    ascii_only = environment(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING=None)
    assert "Zeiterfassung" in run("search", "Zeiterfassung", "--index", index, variables=ascii_only).out
    assert run("build", pages, "--index", tmp_path / "other", variables=ascii_only).status in (0, 6)


def test_no_home_is_needed(world: World, tmp_path: Path) -> None:
    for home in (None, "/nonexistent"):
        variables = environment(HOME=home, XDG_CONFIG_HOME=None)
        assert run("build", world.pages, "--index", tmp_path / "index", variables=variables, cwd=tmp_path).status == 0
        assert run("search", QUESTION, "--index", world.index, variables=variables, cwd=tmp_path).status == 0
    bare = {"PYTHONPATH": environment()["PYTHONPATH"]}
    assert run("search", QUESTION, "--index", world.index, variables=bare, cwd=tmp_path).status == 0


def test_a_working_folder_that_is_gone_is_said(world: World, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os; os.rmdir({str(gone)!r}); from clockify_rag.cli import main; main()"
    process = subprocess.run(
        [sys.executable, "-c", code, "search", QUESTION, "--index", str(world.index)],
        cwd=gone,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2, process
    assert process.stderr.startswith("error: the working directory is gone"), process


def test_no_temporary_folder_is_needed(world: World, tmp_path: Path) -> None:
    variables = environment(TMPDIR="/nonexistent", TMP="/nonexistent", TEMP="/nonexistent")
    assert run("build", world.pages, "--index", tmp_path / "index", variables=variables).status == 0
    assert run("ask", QUESTION, "--index", tmp_path / "index", variables=variables).status == 0


FORKED = """
import multiprocessing, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from pathlib import Path
from fake_server import serving
from faults import indexes
index, changed, root = map(Path, sys.argv[1:4])
pipeline = indexes.open_pipeline(index)
before = indexes.answers(pipeline)
indexes.build(root / "mine", changed)

def work(number):
    answers = indexes.answers(pipeline)
    indexes.build(root / f"built-{number}", changed)
    return answers, indexes.answers(root / f"built-{number}")

with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map(work, range(4), chunksize=1)
assert {answers for answers, _ in found} == {before}
assert {answers for _, answers in found} == {indexes.answers(root / "mine")}
print("survived")
"""


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_children_of_a_fork_search_and_build(world: World, tmp_path: Path) -> None:
    """The parent has searched and built before, so its pool of threads exists, and not in its children."""
    done = end(script(FORKED, world.index, world.changed, tmp_path))
    assert done.out == "survived\n", done.err


SPAWNED = """
import json, multiprocessing, sys
from clockify_rag.errors import IndexCorrupt
from clockify_rag.index import LocalIndex
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        try:
            pool.apply(LocalIndex, (sys.argv[1],))
        except IndexCorrupt as error:
            print(json.dumps([error.message, error.hint, error.fields]))
"""


def test_errors_cross_processes_as_they_are(index: Path) -> None:
    (index / "CURRENT").write_text("nonsense")
    file = index.parent / "script.py"
    file.write_text(SPAWNED)
    done = subprocess.run([sys.executable, file, index], env=environment(), capture_output=True, text=True, check=False)
    message, hint, fields = json.loads(done.stdout)
    assert str(index / "CURRENT") in message
    assert hint
    assert fields["path"] == str(index / "CURRENT")
