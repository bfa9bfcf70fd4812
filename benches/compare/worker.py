"""A contender's process: reads one command a line, answers with one JSON object a line.

    python worker.py NAME CORPUS-FOLDER DIMENSION STORE

    {"do": "build"}                                    → seconds, bytes, peak
    {"do": "open", "task": …}                          → milliseconds to import, to open, to the first answer; memory before
    {"do": "pass", "task": …, "questions": n}          → milliseconds of each question
    {"do": "rows", "task": …, "questions": n}          → rows found for each question
    {"do": "throughput", "task": …, "threads": n, "seconds": s}   → questions a second
    {"do": "read", "task": …, "questions": n}          → megabytes of mapped files that a question reads, the median
    {"do": "memory"}                                   → memory
    {"do": "about"}                                    → version, path, notes, tasks

What an engine prints goes to standard error, so that only answers are on standard output.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import resource
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from contender import SEARCHES, TEXTS_AT_ONCE, TOP, Contender, Corpus, contender_class, tasks_of
from memory import memory, read_by


class Worker:
    """Carries out commands on one contender."""

    def __init__(self, name: str, corpus: Corpus, store: Path) -> None:
        self.corpus = corpus
        self.store = store
        self.questions = list(zip(corpus.questions, corpus.question_vectors, strict=True))
        started = time.perf_counter()
        kind = contender_class(name)
        self.contender: Contender = kind(corpus, store)
        self.contender.load()
        self._calls: dict[str, list[Callable[[], Any]]] = {}
        self.import_ms = (time.perf_counter() - started) * 1000

    def arguments(self, task: str) -> list[tuple[Any, ...]]:
        """Return what each call of a task is given."""
        if task in SEARCHES:
            given = {"hybrid": slice(0, 2), "lexical": slice(0, 1), "dense": slice(1, 2)}[task]
            return [question[given] for question in self.questions]
        if task == "embed_question":
            return [([text],) for text, _ in self.questions]
        if task == "mmr":
            return [self._candidates(vector) for _, vector in self.questions]
        texts = self.corpus.texts
        starts = range(0, min(len(texts), TEXTS_AT_ONCE * len(self.questions)) - TEXTS_AT_ONCE + 1, TEXTS_AT_ONCE)
        return [(texts[start : start + TEXTS_AT_ONCE],) for start in starts]

    def _candidates(self, vector: Any) -> tuple[Any, Any, Any]:
        """The 100 chunks nearest to a question, with their cosines and vectors."""
        import numpy

        cosines = self.corpus.vectors @ vector
        near = numpy.sort(numpy.argpartition(cosines, -TOP)[-TOP:])
        return vector, cosines[near], numpy.ascontiguousarray(self.corpus.vectors[near])

    def calls(self, task: str) -> list[Callable[[], Any]]:
        """Return each call of a task, ready to be made."""
        if task not in self._calls:
            method = getattr(self.contender, task)
            self._calls[task] = [functools.partial(method, *given) for given in self.arguments(task)]
        return self._calls[task]

    def about(self) -> dict[str, Any]:
        """Say what it is."""
        contender = self.contender
        tasks = tasks_of(type(contender))
        opened_for = [task for task in tasks if task in contender.opened_for]
        about = {"version": contender.version, "path": contender.path, "notes": contender.notes}
        return {**about, "tasks": tasks, "opened_for": opened_for}

    def build(self) -> dict[str, Any]:
        """Build the index anew; the corpus is in memory before the clock starts."""
        shutil.rmtree(self.store, ignore_errors=True)
        self.store.mkdir(parents=True)
        assert len(self.corpus.texts) == len(self.corpus.vectors)
        before = memory()["anonymous"]
        started = time.perf_counter()
        self.contender.build()
        seconds = time.perf_counter() - started
        size = sum(path.stat().st_size for path in self.store.rglob("*") if path.is_file())
        child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
        return {"seconds": seconds, "bytes": size, "peak_mb": max(memory()["peak"] - before, child)}

    def open(self, task: str) -> dict[str, Any]:
        """Open the index and answer one question."""
        first = functools.partial(getattr(self.contender, task), *self.arguments(task)[0])
        before = memory()
        started = time.perf_counter()
        self.contender.open()
        opened = time.perf_counter()
        first()
        answered = time.perf_counter()
        return {
            "import_ms": self.import_ms,
            "open_ms": (opened - started) * 1000,
            "first_answer_ms": (answered - started) * 1000,
            "base": before,
        }

    def run(self, task: str, questions: int) -> dict[str, Any]:
        """Ask every question once, one after the other, after a moment that brings back what others pushed out of the caches."""
        calls, times = self.calls(task)[:questions], []
        gc.collect()
        warm = time.perf_counter() + WARM_UP_SECONDS
        for call in calls:
            call()
            if time.perf_counter() > warm:
                break
        for call in calls:
            started = time.perf_counter()
            call()
            times.append((time.perf_counter() - started) * 1000)
        return {"times": times}

    def rows(self, task: str, questions: int) -> dict[str, Any]:
        """Say what is found."""
        return {"rows": [self.contender.rows(call()) for call in self.calls(task)[:questions]]}

    def read(self, task: str, questions: int) -> dict[str, Any]:
        """Say what the questions read of mapped files; nothing of an engine that also holds copies of its own."""
        if not self.contender.maps_all:
            return {}
        return {"read_mb": median(read_by(call, self.store) for call in self.calls(task)[:questions])}

    def throughput(self, task: str, threads: int, seconds: float) -> dict[str, Any]:
        """Ask from several threads for some seconds, each starting at another question."""
        calls, stop, counts = self.calls(task), threading.Event(), [0] * threads
        barrier = threading.Barrier(threads + 1)

        def work(number: int) -> None:
            position = number * len(calls) // threads
            barrier.wait()
            while not stop.is_set():
                calls[position % len(calls)]()
                position += 1
                counts[number] += 1

        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        barrier.wait()
        started = time.perf_counter()
        stop.wait(seconds)
        stop.set()
        for worker in workers:
            worker.join()
        return {"per_second": sum(counts) / (time.perf_counter() - started)}

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Carry out one command."""
        do = command.pop("do")
        commands: dict[str, Callable[..., dict[str, Any]]] = {
            "about": self.about,
            "build": self.build,
            "open": self.open,
            "pass": self.run,
            "rows": self.rows,
            "read": self.read,
            "throughput": self.throughput,
            "memory": memory,
        }
        return commands[do](**command)


WARM_UP_SECONDS = 0.05
"""Before each timed pass, for everybody: peers of a hundred milliseconds a question otherwise slow those who come after them."""


def main() -> None:
    """Answer commands until there are no more."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    name, folder, dimension, store = sys.argv[1:]
    worker: Worker | None = None
    for line in sys.stdin:
        try:
            if worker is None:
                worker = Worker(name, Corpus(Path(folder), int(dimension)), Path(store))
            reply = worker.answer(json.loads(line))
        except Exception as failure:  # noqa: BLE001 - whatever an engine raises is its result
            reply = {"error": f"{type(failure).__name__}: {failure}"[:500]}
        answers.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main()
