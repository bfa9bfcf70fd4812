"""Latency under load: questions arrive at random while an index is built on the same cores.

    python benches/compare/load.py [--sizes 10k,100k] [--seconds 20]

The loop is open: arrivals are a Poisson process (seeded), and a latency counts from the moment a question was to arrive, also when
all threads were busy then. Two threads answer with ``Pipeline.search``, the question's embedding included. Capacity is what these
threads answer back to back, taken under the same conditions: alone, and beside a build of the same pages that starts again
whenever it ends. Results go to ``benches/results/load-debian-SIZE-COMMIT.json``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from contender import Corpus
from corpus import DIMENSIONS, SEED, corpus_folder, make
from process import HERE
from run import commit, machine

from clockify_rag.config import Settings
from clockify_rag.pipeline import Pipeline

SERVERS = 2
SHARES = (0.5, 0.9)
PERCENTILES = (50, 95, 99)


@contextlib.contextmanager
def building(pages: Path) -> Iterator[None]:
    """Build an index of ``pages`` again and again meanwhile."""
    stop, started = threading.Event(), threading.Event()

    def work() -> None:
        with tempfile.TemporaryDirectory() as folder:
            while not stop.is_set():
                index = Path(folder) / "index"
                shutil.rmtree(index, ignore_errors=True)
                words = [sys.executable, "-m", "clockify_rag", "build", str(pages), "--index", str(index)]
                process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                started.set()
                while process.poll() is None:
                    if stop.wait(0.05):
                        process.terminate()
                        process.wait()

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def serve(
    pipeline: Pipeline, questions: Sequence[str], arrivals: Sequence[float] | None, seconds: float
) -> list[float]:
    """Answer questions from ``SERVERS`` threads and return each one's milliseconds.

    Args:
        pipeline: what answers.
        questions: asked in turns.
        arrivals: when each question arrives, in seconds; ``None`` to ask back to back for ``seconds``.
        seconds: how long to ask without arrivals.
    """
    lock, latencies, position = threading.Lock(), [], 0
    start = time.perf_counter() + 0.05

    def work() -> None:
        nonlocal position
        while True:
            with lock:
                number, position = position, position + 1
            if arrivals is None:
                due = time.perf_counter()
                if due > start + seconds:
                    return
            else:
                if number >= len(arrivals):
                    return
                due = start + arrivals[number]
                if (wait := due - time.perf_counter()) > 0:
                    time.sleep(wait)
            pipeline.search(questions[number % len(questions)])
            latencies.append((time.perf_counter() - due) * 1000)

    threads = [threading.Thread(target=work) for _ in range(SERVERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return latencies


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Return the moments of a Poisson process of ``rate`` a second."""
    generator, now, moments = random.Random(seed), 0.0, []
    while (now := now + generator.expovariate(rate)) < seconds:
        moments.append(now)
    return moments


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that ``share`` percent do not pass."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))]


def loaded(pipeline: Pipeline, questions: Sequence[str], seconds: float) -> dict[str, Any]:
    """Measure the capacity, then latencies at shares of it."""
    capacity = len(serve(pipeline, questions, None, seconds / 2)) / (seconds / 2)
    found: dict[str, Any] = {"capacity_per_second": capacity}
    for share in SHARES:
        arrivals = poisson(share * capacity, seconds, SEED)
        latencies = serve(pipeline, questions, arrivals, seconds)
        figure = {f"p{number}_ms": percentile(latencies, number) for number in PERCENTILES}
        found[f"{share:.0%}"] = figure | {"questions": len(latencies), "per_second": share * capacity}
    return found


def main() -> None:
    """Measure the sizes named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=lambda text: text.split(","), default=["10k", "100k"])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--results", type=Path, default=HERE.parent / "results")
    arguments = parser.parse_args()
    for size in arguments.sizes:
        make(size)
        folder = corpus_folder(size)
        questions = Corpus(folder, DIMENSIONS[0]).questions
        pipeline = Pipeline.open(folder / "index-256", Settings())
        for question in questions:
            pipeline.search(question)
        alone = loaded(pipeline, questions, arguments.seconds)
        with building(folder / "pages"):
            beside = loaded(pipeline, questions, arguments.seconds)
        corpus = json.loads((folder / "corpus.json").read_text())
        entry = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "commit": commit(),
            "corpus": corpus,
            "machine": machine(),
            "seconds": arguments.seconds,
            "threads": SERVERS,
            "alone": alone,
            "beside a build": beside,
        }
        path = arguments.results / f"load-{corpus['name']}-{commit()}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(entry, indent=1) + "\n")
        print(json.dumps({key: entry[key] for key in ("alone", "beside a build")}, indent=1))


if __name__ == "__main__":
    main()
