"""Following: an open pipeline that serves what is published, whole generations only, whatever happens meanwhile."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest

from clockify_rag import Pipeline, following
from clockify_rag.changing import reembed
from clockify_rag.errors import IndexCorrupt, IndexNotFound, StoreError
from folders import write
from pipelines import GARDEN, offer, pipeline_of

DEADLINE = 60.0
"""Seconds after which something that is waited for is taken not to happen."""

QUICK = 0.005


def until(holds: Callable[[], Any], what: str) -> None:
    begin = time.monotonic()
    while not holds():
        assert time.monotonic() < begin + DEADLINE, what
        time.sleep(0.01)


@pytest.fixture
def garden(tmp_path: Path) -> Pipeline:
    """A pipeline that publishes; what follows it is another."""
    write(tmp_path / "garden", GARDEN)
    publisher = pipeline_of(tmp_path / "index")
    publisher.build([tmp_path / "garden"])
    return publisher


def followers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "follower" in thread.name]


def test_nothing_follows_unasked(garden: Pipeline, tmp_path: Path) -> None:
    open_pipeline = pipeline_of(tmp_path / "index")
    assert open_pipeline.search("gate").generation == 1
    write(tmp_path / "garden", {"gate.md": "# Gate\n\nThe gate is red.\n"})
    garden.build([tmp_path / "garden"])
    assert open_pipeline.search("gate").generation == 1
    assert not followers()


def test_what_is_published_is_served(garden: Pipeline, tmp_path: Path) -> None:
    served: list[int] = []
    open_pipeline = pipeline_of(tmp_path / "index")
    with open_pipeline.follow(interval_seconds=QUICK, opened=served.append) as follower:
        assert not follower.wait(2, QUICK)
        for colour in ("red", "green"):
            write(tmp_path / "garden", {"gate.md": f"# Gate\n\nThe gate is {colour}.\n"})
            generation = garden.build([tmp_path / "garden"]).generation
            assert follower.wait(generation, DEADLINE)
            result = open_pipeline.search("gate")
            assert (result.generation, follower.error) == (generation, None)
            assert result.hits[0].chunk.text == f"The gate is {colour}."
    assert served == [2, 3]
    assert not followers()
    write(tmp_path / "garden", {"gate.md": "# Gate\n\nThe gate is gone.\n"})
    garden.build([tmp_path / "garden"])
    assert follower.closed
    assert open_pipeline.search("gate").generation == 3


def test_no_answer_is_of_two_generations(tmp_path: Path) -> None:
    rounds, askers = 50, 8
    pages = ("gate", "shed", "pond")

    def publish(number: int) -> int:
        write(
            tmp_path / "docs",
            {f"{page}.md": f"# The {page}\n\nThe {page} has number {number} in the garden.\n" for page in pages},
        )
        return publisher.build([tmp_path / "docs"]).generation

    publisher = pipeline_of(tmp_path / "index")
    numbers = {publish(0): "0"}
    asked = pipeline_of(tmp_path / "index")
    done = threading.Event()
    answers: list[tuple[int, frozenset[str]]] = []
    failures: list[BaseException] = []

    def ask(thread: int) -> None:
        question = "Which number has the gate in the garden?"
        try:
            while not done.is_set():
                if thread % 2:
                    result = asked.search(question)
                    texts = [hit.chunk.text for hit in result.hits]
                    generation = result.generation
                else:
                    answer = asked.ask(question)
                    texts = [hit.chunk.text for hit in answer.hits] + [cited.quote for cited in answer.citations]
                    generation = answer.generation
                assert len(texts) >= len(pages)
                found = {text.partition(" has number ")[2].partition(" ")[0] for text in texts}
                answers.append((generation, frozenset(found)))
                time.sleep(QUICK)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(askers)]
    with asked.follow(interval_seconds=QUICK) as follower:
        for thread in threads:
            thread.start()
        for number in range(1, rounds + 1):
            numbers[publish(number)] = str(number)
        newest = max(numbers)
        assert follower.wait(newest, DEADLINE)
        before = len(answers)
        until(lambda: len(answers) > before + askers or failures, "nobody asks")
        done.set()
        for thread in threads:
            thread.join()
        assert (asked.search("gate").generation, follower.error) == (newest, None)
    assert not failures, failures[0]
    assert len(numbers) == rounds + 1
    assert all(found == {numbers[generation]} for generation, found in answers)
    assert len({generation for generation, _ in answers}) > 5


def test_a_generation_that_cannot_be_opened_is_never_served_and_said(garden: Pipeline, tmp_path: Path) -> None:
    told: list[Exception] = []
    open_pipeline = pipeline_of(tmp_path / "index")
    current = tmp_path / "index" / "CURRENT"
    whole = current.read_bytes()
    with open_pipeline.follow(interval_seconds=QUICK, failed=told.append) as follower:
        (tmp_path / "index" / "new").write_bytes(b"damaged")
        (tmp_path / "index" / "new").replace(current)
        until(lambda: follower.error, "no error")
        assert isinstance(follower.error, IndexCorrupt)
        assert open_pipeline.search("gate").generation == 1
        time.sleep(20 * QUICK)
        assert told == [follower.error], "an error is told once"
        (tmp_path / "index" / "new").write_bytes(whole)
        (tmp_path / "index" / "new").replace(current)
        until(lambda: not follower.error, "the error stays")
        write(tmp_path / "garden", {"gate.md": "# Gate\n\nThe gate is red.\n"})
        assert follower.wait(garden.build([tmp_path / "garden"]).generation, DEADLINE)


def test_what_could_not_be_opened_for_a_moment_is_tried_again_soon(
    garden: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a file system, or the number of open files, fails for a moment: nothing is published that would tell of it."""
    monkeypatch.setattr(following, "RETRY_SECONDS", 0.1)
    open_pipeline = pipeline_of(tmp_path / "index")
    real, attempts = open_pipeline.index.refresh, []

    def refresh() -> bool:
        if not open_pipeline.index.snapshot.is_current():
            attempts.append(time.monotonic())
            if len(attempts) < 4:
                raise StoreError("too many open files")
        return real()

    monkeypatch.setattr(open_pipeline.index, "refresh", refresh)
    write(tmp_path / "garden", {"gate.md": "# Gate\n\nThe gate is red.\n"})
    with open_pipeline.follow(interval_seconds=QUICK) as follower:
        assert follower.wait(garden.build([tmp_path / "garden"]).generation, DEADLINE)
        until(lambda: not follower.error, "the error stays")
    assert len(attempts) == 4


@pytest.mark.parametrize("defect", [StoreError("the disk is full"), ZeroDivisionError("a defect")])
def test_whoever_waits_is_woken_although_what_is_called_back_fails(
    garden: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defect: Exception
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", shown.append)
    woken = threading.Event()

    def opened(_generation: int) -> None:
        # Only now, so that whoever waits has begun to.
        assert waiting.wait(DEADLINE)
        raise defect

    waiting = threading.Event()
    open_pipeline = pipeline_of(tmp_path / "index")
    with open_pipeline.follow(interval_seconds=QUICK, opened=opened) as follower:
        numbers = iter([2, 3])

        def wait() -> None:
            with follower._served:
                waiting.set()
                follower._served.wait()
            woken.set()

        for number in numbers:
            thread = threading.Thread(target=wait, daemon=True)
            write(tmp_path / "garden", {"gate.md": f"# Gate\n\nThe gate has number {number}.\n"})
            thread.start()
            assert waiting.wait(DEADLINE)
            garden.build([tmp_path / "garden"])
            assert woken.wait(DEADLINE), "nobody woke who waited"
            assert open_pipeline.search("gate").generation == number
            waiting.clear()
            woken.clear()
    assert len(shown) == (2 if isinstance(defect, ZeroDivisionError) else 0)


def test_an_index_that_vanishes_is_served_on_until_there_is_another(garden: Pipeline, tmp_path: Path) -> None:
    open_pipeline = pipeline_of(tmp_path / "index")
    with open_pipeline.follow(interval_seconds=QUICK) as follower:
        assert open_pipeline.search("gate").hits
        shutil.rmtree(tmp_path / "index")
        until(lambda: follower.error, "no error")
        assert isinstance(follower.error, IndexNotFound)
        write(tmp_path / "garden", {"gate.md": "# Gate\n\nThe gate is new.\n"})
        # The pipeline that built the first one builds another, from nothing.
        report = garden.build([tmp_path / "garden"])
        assert (report.generation, report.added) == (1, len(GARDEN))
        until(lambda: not follower.error, "the error stays")
        assert open_pipeline.search("gate").hits[0].chunk.text == "The gate is new."


class NarrowEmbedder:
    """Vectors of four numbers, from the lengths of words."""

    dimension = 4
    languages = None

    def fingerprint(self) -> str:
        return "narrow 1"

    def embed(self, texts: Sequence[str]) -> Any:
        rows = [[len(text) % 7 + 1, text.count("e") + 1, text.count("a"), 1] for text in texts]
        vectors = numpy.asarray(rows, numpy.float32)
        return vectors / numpy.linalg.norm(vectors, axis=1, keepdims=True)

    embed_passages = embed
    embed_questions = embed


def test_another_embedder_is_followed(garden: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "embedders", narrow=NarrowEmbedder)
    open_pipeline = pipeline_of(tmp_path / "index")
    watcher = pipeline_of(tmp_path / "index")
    assert watcher.build([tmp_path / "garden"]).generation == 1
    with open_pipeline.follow(interval_seconds=QUICK) as follower:
        assert open_pipeline.search("gate").generation == 1
        report = reembed(garden, "narrow")
        assert follower.wait(report.generation, DEADLINE)
        result = open_pipeline.search("gate")
        assert (result.generation, result.lexical_only) == (report.generation, False)
    # A pipeline that was open when the embedder changed embeds with the new one when it builds.
    write(tmp_path / "garden", {"gate.md": "# Gate\n\nThe gate is red.\n"})
    watcher.build([tmp_path / "garden"])
    assert watcher.index.info()["embedder"]["name"] == "narrow"


def test_a_forked_child_follows(garden: Pipeline, tmp_path: Path) -> None:
    open_pipeline = pipeline_of(tmp_path / "index")
    with open_pipeline.follow(interval_seconds=QUICK) as follower:
        assert open_pipeline.search("gate").generation == 1
        ready, told = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.write(told, b"r")
                if follower.wait(2, DEADLINE) and open_pipeline.search("gate").generation == 2:
                    follower.close()
                    status = 0
            finally:
                os._exit(status)
        assert os.read(ready, 1) == b"r"
        write(tmp_path / "garden", {"gate.md": "# Gate\n\nThe gate is red.\n"})
        garden.build([tmp_path / "garden"])
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert follower.wait(2, DEADLINE)
    os.close(ready)
    os.close(told)


def test_there_must_be_an_index_to_follow(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFound):
        pipeline_of(tmp_path / "none").follow()
    assert not followers()
