"""Speed of the main job on real documentation: build, update, search, start-up.

    python benches/speed.py [--repeat N] [--json FILE]

The Clockify help centre (Markdown) and the PostgreSQL manual (HTML) are read from ``RAG_TEST_DATA``. Every figure is a median with
its range over the repeats. Builds and updates are whole processes, from start to durable; start-up figures are whole processes
less a bare ``python -c pass`` of the same run; searches are in process, the question's embedding included.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from clockify_rag.config import Settings
from clockify_rag.pipeline import Pipeline
from quality import data_folder, rows


def timed(work: Callable[[], Any], repeat: int) -> list[float]:
    """Return the milliseconds of each of ``repeat`` runs."""
    times = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1000)
    return times


def command(*words: str) -> None:
    """Run a command to its end."""
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def cli(*words: str) -> None:
    """Run the command line."""
    command("-m", "clockify_rag", *words)


def build_times(source: Path, index: Path, repeat: int) -> list[float]:
    """Return the milliseconds of whole builds."""

    def once() -> None:
        shutil.rmtree(index, ignore_errors=True)
        cli("build", str(source), "--index", str(index))

    return timed(once, repeat)


def update_times(source: Path, index: Path, page: Path, repeat: int) -> list[float]:
    """Return the milliseconds of updates after one page changed."""
    original = page.read_text()
    times = []
    for number in range(repeat):
        page.write_text(original.replace("</body>", f"<p>Changed for the {number}th time.</p></body>", 1))
        times += timed(lambda: cli("build", str(source), "--index", str(index)), 1)
    page.write_text(original)
    return times


def search_times(pipeline: Pipeline, questions: Sequence[str]) -> list[float]:
    """Return the milliseconds of each question, asked once before."""
    for question in questions:
        pipeline.search(question)
    return [timed(lambda question=question: pipeline.search(question), 1)[0] for question in questions]


def two_threads(pipeline: Pipeline, questions: Sequence[str], repeat: int) -> list[float]:
    """Return the throughput of two threads over that of one, in each of ``repeat`` turns.

    In a turn one thread is measured before and after the two, because the machine's own speed changes meanwhile.
    """

    def ask_all(count: int) -> float:
        barrier = threading.Barrier(count + 1)

        def work() -> None:
            barrier.wait()
            for question in (*questions, *questions, *questions):
                pipeline.search(question)

        threads = [threading.Thread(target=work) for _ in range(count)]
        for thread in threads:
            thread.start()
        barrier.wait()
        started = time.perf_counter()
        for thread in threads:
            thread.join()
        return 3 * count * len(questions) / (time.perf_counter() - started)

    ratios = []
    for _ in range(repeat):
        before, both, after = ask_all(1), ask_all(2), ask_all(1)
        ratios.append(2 * both / (before + after))
    return ratios


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    data, repeat = data_folder(), arguments.repeat
    questions = [row["query"] for row in rows(data / "load" / "queries.jsonl")][::10]
    report: dict[str, dict[str, float]] = {}

    def say(name: str, values: Sequence[float], unit: str) -> None:
        report[name] = {"median": median(values), "least": min(values), "most": max(values)}
        print(f"{name:44} {median(values):9.2f} {unit:3} ({min(values):.2f} to {max(values):.2f})", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        with tarfile.open(data / "docs-html" / "postgresql-15.tar.gz") as archive:
            archive.extractall(work / "postgresql", filter="data")
        sources = {"Clockify": data / "clockify" / "kb_markdown", "PostgreSQL": work / "postgresql"}
        for name, source in sources.items():
            index = work / f"index-{name}"
            say(f"build {name}, whole process", build_times(source, index, repeat), "ms")
            pipeline = Pipeline(index, Settings())
            pipeline.search("warm")
            say(f"search {name}, in process", search_times(pipeline, questions), "ms")
            say(f"search {name}, 2 threads over 1", two_threads(pipeline, questions, repeat), "x")
        page = next((work / "postgresql").rglob("sql-createindex.html"))
        index = work / "index-PostgreSQL"
        say(
            "update one page of PostgreSQL, whole process",
            update_times(sources["PostgreSQL"], index, page, repeat),
            "ms",
        )
        bare = median(timed(lambda: command("-c", "pass"), 3 * repeat))
        starts = {
            "import clockify_rag": ("-c", "import clockify_rag"),
            "--help": ("-m", "clockify_rag", "--help"),
            "search Clockify": (
                "-m",
                "clockify_rag",
                "search",
                "export an invoice",
                "--index",
                str(work / "index-Clockify"),
            ),
        }
        for name, words in starts.items():
            values = timed(lambda words=words: command(*words), 3 * repeat)
            say(f"start: {name}, over bare Python", [value - bare for value in values], "ms")
    if arguments.json:
        machine = {"processors": os.cpu_count(), "python": sys.version.split()[0]}
        arguments.json.write_text(json.dumps({"machine": machine, "figures": report}, indent=1) + "\n")


if __name__ == "__main__":
    main()
