"""Compare everybody on one corpus, side by side, and write what was measured.

    python benches/compare/run.py [--sizes 10k,100k] [--dimensions 256,384] [--tasks …] [--contenders …] [--passes 5]

Each contender has a process of its own, with one thread for a question. All of a corpus are open at once and asked in turns, pass
by pass, the order turned by one each time; a figure is the median of the passes' medians with the least and the most, a ratio
is taken within a pass and only then its median. Results are merged into ``benches/results/debian-SIZE-COMMIT.json``.

Tasks: ``build`` (seconds, bytes, peak), ``open`` (closed index to first answer in a fresh process, and memory added after all
questions), ``hybrid``, ``lexical``, ``dense`` (with recall against float32), ``throughput`` (two threads over one), ``stages``
(embedding, tokens, analysis, MMR).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from contender import CONTENDERS, SEARCHES, SLOW_QUESTIONS, STAGES, TOP, Corpus
from corpus import DIMENSIONS, corpus_folder, dimensions, make
from process import HERE, Failed, Process

REFERENCE = {"search": "clockify-rag", "stage": "clockify-rag stages"}
"""Whose time is the numerator of every ratio."""

TASKS = ("build", "open", *SEARCHES, "throughput", "stages")
MANY_AT_ONCE = ("lexical", "hybrid")
"""The tasks whose throughput is measured."""

WARM_UP = 30
READ_QUESTIONS = 50
"""Questions after which what one reads of files is known: looking costs a few milliseconds each."""

SECONDS = 1.5
"""How long a throughput is measured."""


class Run:
    """The contenders of one corpus and width, and what was measured of them."""

    def __init__(self, size: str, dimension: int, names: Sequence[str], passes: int, questions: int) -> None:
        self.size, self.dimension, self.passes, self.questions = size, dimension, passes, questions
        self.names = names
        self.searching = [name for name in names if CONTENDERS[name].module != "stages"]
        self.corpus = Corpus(corpus_folder(size), dimension)
        self.about: dict[str, dict[str, Any]] = {}
        self.figures: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, str] = {}
        self.nearest: list[set[int]] = []

    def count(self, name: str) -> int:
        """How many questions a contender is asked in a pass."""
        return min(SLOW_QUESTIONS, self.questions) if CONTENDERS[name].slow else self.questions

    def note(self, task: str, name: str, figure: dict[str, Any]) -> None:
        """Keep a figure and show it."""
        self.figures.setdefault(task, {})[name] = figure
        shown = " ".join(f"{key}={value:.4g}" for key, value in figure.items() if isinstance(value, float))
        print(f"{self.size} {self.dimension} {task:14} {name:28} {shown}", flush=True)

    @contextlib.contextmanager
    def guarded(self, name: str) -> Iterator[None]:
        """Note a contender that fails, and go on without it."""
        try:
            yield
        except Failed as failure:
            print(f"{self.size} {self.dimension} {failure}", file=sys.stderr, flush=True)
            self.failed[name] = str(failure).removeprefix(f"{name}: ")

    def build(self, *, again: bool) -> None:
        """Build the indexes that are missing, or all of them, on all threads."""
        for name in dict.fromkeys(CONTENDERS[name].shares or name for name in self.searching):
            if CONTENDERS[name].in_memory:
                continue
            with self.guarded(name), Process(name, self.size, self.dimension, all_threads=True) as process:
                finished = process.store.with_name(process.store.name + ".made-by")
                maker = commit() if CONTENDERS[name].family is None else process.do("about")["version"]
                if again or not finished.is_file() or finished.read_text() != maker:
                    finished.unlink(missing_ok=True)
                    self.note("build", name, process.do("build"))
                    finished.write_text(maker)

    def open(self, repeat: int) -> None:
        """Measure first answers and memory in fresh processes, in turns."""
        found: dict[tuple[str, str], list[dict[str, float]]] = {}
        for turn in range(repeat):
            for name in self.searching:
                if name in self.failed or (turn and CONTENDERS[name].slow):
                    continue
                with self.guarded(name):
                    self.tasks(name)
                    for task in self.about[name]["opened_for"]:
                        found.setdefault((task, name), []).append(self.opened(name, task))
        for (task, name), values in found.items():
            self.note(f"open {task}", name, {key: median(value[key] for value in values) for key in values[0]})

    def opened(self, name: str, task: str) -> dict[str, float]:
        """Open in a fresh process, answer all questions, and say what that took and holds."""
        with Process(name, self.size, self.dimension) as process:
            opened = process.do("open", task=task)
            base = opened.pop("base")
            process.do("pass", task=task, questions=self.count(name))
            now = process.do("memory")
            read = process.do("read", task=task, questions=min(self.count(name), READ_QUESTIONS))
        held = {f"{kind}_mb": now[kind] - base[kind] for kind in ("anonymous", "file")}
        return {**opened, **held, "held_mb": sum(held.values()), **read}

    def tasks(self, name: str) -> list[str]:
        """Return a contender's tasks, asked of it once."""
        if name not in self.about:
            with Process(name, self.size, self.dimension) as process:
                self.about[name] = process.do("about")
        tasks: list[str] = self.about[name]["tasks"]
        return tasks

    def serve(self, tasks: Sequence[str], names: Sequence[str], reference: str) -> None:
        """Open everybody who takes part at once and ask in turns."""
        wanted = {*tasks, *(MANY_AT_ONCE if "throughput" in tasks else ())}
        with contextlib.ExitStack() as stack:
            serving: dict[str, Process] = {}
            for name in names:
                with self.guarded(name):
                    if name in self.failed or wanted.isdisjoint(self.tasks(name)):
                        continue
                    process = stack.enter_context(Process(name, self.size, self.dimension))
                    process.do("open", task=self.tasks(name)[0])
                    serving[name] = process
            for task in tasks:
                if task == "throughput":
                    self.throughput(serving)
                else:
                    self.passes_of(task, serving, reference)

    def passes_of(self, task: str, serving: Mapping[str, Process], reference: str) -> None:
        """Measure one task in turns."""
        times: dict[str, list[list[float]]] = {}
        asked = [name for name in serving if task in self.tasks(name)]
        for number in range(-1, self.passes):
            turn = number % len(asked) if asked else 0
            for name in asked[turn:] + asked[:turn]:
                if name in self.failed:
                    continue
                with self.guarded(name):
                    count = min(self.count(name), WARM_UP) if number < 0 else self.count(name)
                    count = min(count, 2) if name == "MiniLM ONNX int8" and task == "embed" else count
                    measured = serving[name].do("pass", task=task, questions=count)["times"]
                    if number >= 0:
                        times.setdefault(name, []).append(measured)
        for name, passes in times.items():
            if name not in self.failed:
                figure = summary(passes) | ratio(times.get(reference), passes)
                if task == "dense":
                    with self.guarded(name):
                        figure["recall@100"] = self.recall(serving[name])
                self.note(task, name, figure)

    def recall(self, process: Process) -> float:
        """Return the share of the 100 nearest by float32 that a contender finds."""
        import numpy

        if not self.nearest:
            vectors = numpy.asarray(self.corpus.vectors)
            for question in self.corpus.question_vectors[: self.questions]:
                self.nearest.append(set(numpy.argpartition(vectors @ question, -TOP)[-TOP:].tolist()))
        rows = process.do("rows", task="dense", questions=self.count(process.name))["rows"]
        hits = [len(near.intersection(found)) for found, near in zip(rows, self.nearest, strict=False)]
        return sum(hits) / (TOP * len(hits))

    def throughput(self, serving: Mapping[str, Process]) -> None:
        """Measure questions a second of one, two and one threads, in turns."""
        found: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for _ in range(self.passes):
            for name, process in serving.items():
                if CONTENDERS[name].slow or name in self.failed:
                    continue
                with self.guarded(name):
                    for task in MANY_AT_ONCE:
                        if task in self.tasks(name):
                            before, both, after = (
                                process.do("throughput", task=task, threads=threads, seconds=SECONDS)["per_second"]
                                for threads in (1, 2, 1)
                            )
                            found.setdefault((task, name), []).append(((before + after) / 2, both))
        for (task, name), values in found.items():
            ratios = [both / one for one, both in values]
            figure = {"one": median(one for one, _ in values), "two": median(two for _, two in values)}
            figure |= {"ratio": median(ratios), "ratio_least": min(ratios), "ratio_most": max(ratios)}
            self.note(f"throughput {task}", name, figure)


def summary(passes: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return the median of the passes' medians with its range, the 95th percentile, and how many calls a pass has."""
    halves = [median(times) for times in passes]
    tails = [sorted(times)[int(len(times) * 0.95)] for times in passes]
    return {
        "p50_ms": median(halves),
        "p50_least_ms": min(halves),
        "p50_most_ms": max(halves),
        "p95_ms": median(tails),
        "calls": len(passes[0]),
    }


def ratio(ours: Sequence[Sequence[float]] | None, passes: Sequence[Sequence[float]]) -> dict[str, float]:
    """Return our time over theirs, on the questions that both were asked, pass by pass."""
    if ours is None:
        return {}
    ratios = [
        median(mine[: len(theirs)]) / median(theirs[: len(mine)]) for mine, theirs in zip(ours, passes, strict=False)
    ]
    return {"ratio": median(ratios), "ratio_least": min(ratios), "ratio_most": max(ratios)}


def commit() -> str:
    """Return the short name of the commit that is measured, with a plus when the sources differ from it."""
    git = ["git", "-C", str(HERE)]
    name = subprocess.run([*git, "rev-parse", "--short=7", "HEAD"], check=True, capture_output=True, text=True)
    changed = subprocess.run(
        [*git, "status", "--porcelain", "--untracked-files=no", "--", ":/rust", ":/python"],
        check=True,
        capture_output=True,
    )
    return name.stdout.strip() + ("+" if changed.stdout else "")


def machine() -> dict[str, Any]:
    """Describe the machine without naming it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "processor": model,
        "processors": os.cpu_count(),
        "memory_gb": round(gigabytes, 1),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def merged(path: Path, entry: dict[str, Any], runs: Sequence[Run]) -> dict[str, Any]:
    """Return what the file holds, with the new figures in place of older ones of the same contender and task.

    Where there is no such file yet, what was measured of the corpus at another commit stays until its task is measured again; then
    all of that task goes, because ratios are taken within a run. ``commits`` names the commit of each task,
    ``machines`` the machine of each commit.
    """
    whole = before(path, entry)
    known = whole.get("commit", entry.get("commit"))
    machines = whole.setdefault("machines", {known: whole.get("machine", entry.get("machine"))})
    if "commit" in entry:
        machines[entry["commit"]] = entry["machine"]
    commits = whole.setdefault(
        "commits", {dimension: dict.fromkeys(tasks, known) for dimension, tasks in whole["figures"].items()}
    )
    whole |= entry
    for run in runs:
        for name, about in run.about.items():
            whole["contenders"].setdefault(name, {}).update(
                {"version": about["version"], "notes": about["notes"], f"path {run.dimension}": about["path"]}
            )
        figures = whole["figures"].setdefault(str(run.dimension), {})
        of_task = commits.setdefault(str(run.dimension), {})
        for task, found in run.figures.items():
            if of_task.get(task) != entry["commit"]:
                figures[task] = {}
            of_task[task] = entry["commit"]
            figures[task].update(found)
        failed = whole["failed"].setdefault(str(run.dimension), {})
        failed.update(run.failed)
        for name in [name for name in failed if name in run.about and name not in run.failed]:
            del failed[name]
    return whole


def before(path: Path, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the file's result, or else the newest of the same corpus, or else an empty one."""
    if path.is_file():
        return dict(json.loads(path.read_text()))
    others = [json.loads(other.read_text()) for other in path.parent.glob("debian-*.json")]
    same = [other for other in others if other["corpus"]["name"] == entry["corpus"]["name"]]
    return max(same, key=lambda other: str(other["at"]), default={"contenders": {}, "figures": {}, "failed": {}})


def measured(run: Run, arguments: argparse.Namespace, tasks: Sequence[str]) -> None:
    """Carry out the tasks of one corpus and width."""
    first = run.dimension == DIMENSIONS[0]
    run.build(again="build" in tasks and first)
    if "open" in tasks and first:
        run.open(arguments.opens)
    if searches := [
        task for task in (*SEARCHES, "throughput") if task in tasks and (first or task in ("hybrid", "dense"))
    ]:
        run.serve(searches, run.searching, REFERENCE["search"])
    if "stages" in tasks and first:
        stages = [name for name in run.names if CONTENDERS[name].module == "stages"]
        run.serve(STAGES, stages, REFERENCE["stage"])


def main() -> None:
    """Measure what is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])

    def listed(text: str) -> list[str]:
        return [part.strip() for part in text.split(";" if ";" in text else ",")]

    parser.add_argument("--sizes", type=listed, default=["10k", "100k"])
    parser.add_argument(
        "--dimensions", type=lambda text: [int(part) for part in listed(text)], default=list(DIMENSIONS)
    )
    parser.add_argument("--tasks", type=listed, default=list(TASKS))
    parser.add_argument("--contenders", type=listed, default=[], help="separated by ; where a name has a comma")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--opens", type=int, default=3)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--results", type=Path, default=HERE.parent / "results")
    arguments = parser.parse_args()
    for given, known, what in (
        (arguments.tasks, TASKS, "task"),
        (arguments.contenders, CONTENDERS, "contender"),
    ):
        for name in given:
            if name not in known:
                parser.error(f"there is no {what} {name!r}; there are {', '.join(known)}")
    for size in arguments.sizes:
        everybody = [name for name, entry in CONTENDERS.items() if entry.large or size != "1m"]
        names = list(dict.fromkeys([REFERENCE["search"], *(arguments.contenders or everybody)]))
        make(size)
        corpus = json.loads((corpus_folder(size) / "corpus.json").read_text())
        path = arguments.results / f"{corpus['name']}-{commit()}.json"
        for dimension in [width for width in arguments.dimensions if width in dimensions(size)]:
            started = time.time()
            run = Run(size, dimension, names, arguments.passes, arguments.questions)
            measured(run, arguments, arguments.tasks)
            entry = {
                "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "commit": commit(),
                "corpus": corpus,
                "machine": machine(),
                "measured": {"passes": arguments.passes, "opens": arguments.opens, "questions": arguments.questions},
            }
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(merged(path, entry, [run]), indent=1) + "\n")
            print(f"{size} {dimension}: {time.time() - started:.0f} s, {path.name}", flush=True)


if __name__ == "__main__":
    main()
