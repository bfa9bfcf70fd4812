"""One builder at a time, and readers who never see half a generation."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from clockify_rag import _core
from clockify_rag.errors import IndexLocked
from faults import indexes
from faults.conftest import MORE, World
from faults.processes import end, failed, run, script, start

PUBLICATIONS = 50 * MORE
READERS = 2 if MORE == 1 else 4


def test_the_second_builder_is_told_who_builds(world: World, index: Path) -> None:
    writer = _core.Writer(str(index))
    try:
        done = failed(run("build", world.changed, "--index", index, "--json"), 4, "index_locked")
        assert f"(pid {os.getpid()})" in done.json["error"]["message"]
        assert indexes.answers(index) == world.before
    finally:
        writer.close()
    assert run("build", world.changed, "--index", index).status == 0
    assert indexes.answers(index) == world.after


def test_a_killed_builder_blocks_nobody(world: World, index: Path) -> None:
    code = (
        "import sys; from clockify_rag import _core; w = _core.Writer(sys.argv[1]); print('held', flush=True); input()"
    )
    holder = script(code, index, stdin=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(IndexLocked) as raised:
        indexes.build(index, world.changed)
    assert raised.value.fields["holder"] == holder.pid
    holder.kill()
    holder.communicate()
    indexes.build(index, world.changed)
    assert indexes.answers(index) == world.after


def test_a_child_that_a_builder_forked_blocks_nobody(world: World, index: Path) -> None:
    """It has the builder's files open for as long as it lives."""
    writer = _core.Writer(str(index))
    waiting, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        os.read(waiting, 1)
        os._exit(0)
    try:
        writer.close()
        indexes.build(index, world.changed)
        assert indexes.answers(index) == world.after
    finally:
        os.close(told)
        os.close(waiting)
        os.waitpid(child, 0)


def test_of_builders_at_once_each_publishes_or_is_told(world: World, scratch: Path) -> None:
    index = scratch / "index"
    processes = [start("build", world.pages, "--index", index, "--json") for _ in range(4)]
    ended = [end(process) for process in processes]
    assert {done.status for done in ended} <= {0, 4}, ended
    assert any(done.status == 0 for done in ended)
    for done in ended:
        if done.status == 4:
            assert done.json["error"]["code"] == "index_locked"
    assert indexes.answers(index) == world.before
    assert indexes.leftovers(index) == set()


READER = """
import json, sys, time
from pathlib import Path
from faults import indexes
index = Path(sys.argv[1])
pipeline = indexes.open_pipeline(index)
while not (index.parent / "stop").exists():
    pipeline.index.refresh()
    for asked in (pipeline, indexes.open_pipeline(index)):
        result = asked.search("the word of the day")
        print(json.dumps([result.generation, sorted({hit.chunk.text for hit in result.hits})]), flush=True)
    # A moment for the builder, where cores are few.
    time.sleep(0.002)
"""


@pytest.mark.slow
def test_readers_during_publications_see_whole_generations(scratch: Path) -> None:
    """Each generation has one word on every page, so an answer tells which generation it is of."""
    index, source = scratch / "index", scratch / "help"

    def publish(word: str) -> int:
        text = f"# The word of the day\n\nThe word of the day is {word}.\n"
        return indexes.build(index, indexes.pages(source, {f"{number}.md": text for number in range(4)}))

    assert publish("word1") == 1
    outputs = [scratch / f"out-{number}" for number in range(READERS)]
    readers = []
    for output in outputs:
        with output.open("w") as out:
            readers.append(script(READER, index, stdout=out))
    deadline = time.monotonic() + 30
    while not all(output.stat().st_size for output in outputs) and time.monotonic() < deadline:
        time.sleep(0.01)
    for number in range(2, PUBLICATIONS + 1):
        assert publish(f"word{number}") == number
        # What readers could still be opening is kept for a minute; here it is collected as soon as nobody holds it.
        for manifest in (index / "generations").glob("*.json"):
            if int(manifest.stem) < number - 3:
                os.utime(manifest, (1, 1))
    (scratch / "stop").touch()
    for reader in readers:
        _, err = reader.communicate(timeout=30)
        assert (reader.returncode, err) == (0, "")
    seen = set()
    for output in outputs:
        for line in output.read_text().splitlines():
            generation, texts = json.loads(line)
            assert texts == [f"The word of the day is word{generation}."]
            seen.add(generation)
    print(f"{len(seen)} of {PUBLICATIONS} generations were seen")
    assert len(seen) > 5
    assert indexes.leftovers(index) == set()
    kept = {int(path.stem) for path in (index / "generations").glob("*.json")}
    assert {PUBLICATIONS, PUBLICATIONS - 1, PUBLICATIONS - 2} <= kept
    assert len(kept) < PUBLICATIONS


def test_a_reader_keeps_its_generation_while_others_are_published(world: World, index: Path) -> None:
    pipeline = indexes.open_pipeline(index)
    assert indexes.answers(pipeline) == world.before
    indexes.build(index, world.changed)
    assert indexes.answers(pipeline) == world.before
    assert pipeline.index.refresh()
    assert indexes.answers(pipeline) == world.after


def test_an_opened_generation_outlives_its_folder(world: World, index: Path) -> None:
    pipeline = indexes.open_pipeline(index)
    pipeline.index.snapshot.verify()
    shutil.rmtree(index)
    assert indexes.answers(pipeline) == world.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_build_that_is_told_to_end_leaves_the_old_generation(world: World, index: Path, number: int) -> None:
    process = start("build", world.changed, "--index", index)
    while process.poll() is None and (index / "lock").read_text().strip() != str(process.pid):
        time.sleep(0.001)
    process.send_signal(number)
    done = end(process)
    assert done.status in (-number, 0)
    assert "Traceback" not in done.err
    assert indexes.answers(index) in (world.before, world.after)
