"""Make ``docs/benchmarks.md`` and its plots from the results that are committed.

    python benches/compare/report.py [--no-plots]

Of each corpus the newest result is shown, with what of it was measured at which commit, whole: nothing is left out because a peer is better. The page is a function of the
result files, and a test holds the two together; plots need matplotlib and are drawn in an environment of their own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from contender import CONTENDERS, SEARCHES, SLOW_QUESTIONS, TEXTS_AT_ONCE

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benches" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
PLOTS = ROOT / "docs" / "benchmarks"
PLOT_TITLES = {
    "hybrid.svg": "Hybrid search by the number of chunks",
    "lexical.svg": "BM25 top 100 by the number of chunks",
    "memory.svg": "Memory added by the number of chunks",
}

Results = Sequence[Mapping[str, Any]]
Cell = Callable[[Mapping[str, Any]], str]


def newest(folder: Path, pattern: str) -> list[dict[str, Any]]:
    """Return the newest result of each corpus, smallest corpus first."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob(pattern)):
        entry = json.loads(path.read_text())
        name = entry["corpus"]["name"]
        if name not in found or entry["at"] > found[name]["at"]:
            found[name] = entry
    return sorted(found.values(), key=lambda entry: int(entry["corpus"]["chunks"]))


def number(value: float) -> str:
    """Three significant digits, thousands with commas."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 10 else f"{value:.1f}"


def milliseconds(figure: Mapping[str, Any]) -> str:
    """A median with its range."""
    return f"{number(figure['p50_ms'])} ({number(figure['p50_least_ms'])} to {number(figure['p50_most_ms'])})"


def ratio(figure: Mapping[str, Any]) -> str:
    """Ours over theirs with its range."""
    if "ratio" not in figure:
        return ""
    if figure["ratio_least"] == figure["ratio_most"] == 1:
        return "1"
    return f"{number(figure['ratio'])} ({number(figure['ratio_least'])} to {number(figure['ratio_most'])})"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def names_in(results: Results, task: str, dimension: str, key: str, *, most: bool = False) -> list[str]:
    """Contenders of a task: those of the largest corpus, best (least, or ``most``) first, then those of smaller ones only."""
    found: dict[str, tuple[int, float]] = {}
    for place, result in enumerate(reversed(results)):
        for name, figure in result["figures"].get(dimension, {}).get(task, {}).items():
            found.setdefault(name, (place, -figure[key] if most else figure[key]))
    return sorted(found, key=lambda name: found[name])


def compared(
    results: Results,
    task: str,
    dimension: str,
    columns: Mapping[str, Cell],
    key: str = "p50_ms",
    *,
    most: bool = False,
    path: bool = False,
) -> list[str]:
    """One row a contender, one group of columns a corpus."""
    used = [result for result in results if result["figures"].get(dimension, {}).get(task)]
    if not used:
        return ["Not measured."]
    shown = {id(result): told_of(result["figures"][dimension][task].values(), columns) for result in used}
    heads = ["contender", *(["vectors"] if path else [])]
    heads += [f"{size(result)}: {column}" for result in used for column in shown[id(result)]]
    rows = []
    for name in names_in(used, task, dimension, key, most=most):
        row = [f"**{name}**" if name.startswith("clockify-rag") else name]
        if path:
            row.append("; ".join(dict.fromkeys(filter(None, (path_of(result, name, dimension) for result in used)))))
        for result in used:
            figure = result["figures"][dimension][task].get(name)
            row += ["" if figure is None else columns[column](figure) for column in shown[id(result)]]
        rows.append(row)
    return table(heads, rows)


def told_of(figures: Iterable[Mapping[str, Any]], columns: Mapping[str, Cell]) -> list[str]:
    """The columns that some figure says something in: older results do not know all."""
    known = list(figures)
    return [column for column, cell in columns.items() if any(cell(figure) for figure in known)]


def path_of(result: Mapping[str, Any], name: str, dimension: str) -> str:
    """How a contender compares vectors."""
    return str(result["contenders"].get(name, {}).get(f"path {dimension}", ""))


def size(result: Mapping[str, Any]) -> str:
    """A corpus as it is called in the tables."""
    return str(result["corpus"]["name"]).removeprefix("debian-").upper().replace("K", "k")


def corpora(results: Results) -> list[str]:
    """What the figures were taken on."""
    heads = [
        "corpus",
        "chunks",
        "of them mixed",
        "pages",
        "MB of HTML",
        "MB of text",
        "questions",
        "passes",
        "commit",
        "taken",
    ]
    rows = []
    for result in results:
        corpus = result["corpus"]
        rows.append(
            [
                size(result),
                f"{corpus['chunks']:,}",
                f"{corpus['mixed_chunks']:,}",
                f"{corpus['pages']:,}",
                number(corpus["page_bytes"] / 1e6),
                number(corpus["text_characters"] / 1e6),
                str(min(corpus["queries"], result["measured"]["questions"])),
                str(result["measured"]["passes"]),
                commits(result),
                str(result["at"])[:10],
            ]
        )
    return table(heads, rows)


def commits(result: Mapping[str, Any]) -> str:
    """The commits that a corpus was measured at, older ones with what was measured there alone."""
    parts: dict[str, list[str]] = {}
    for dimension, tasks in result.get("commits", {}).items():
        for task, commit in tasks.items():
            parts.setdefault(commit, []).append(f"{task} at {dimension}")

    def told(commit: str, tasks: Sequence[str]) -> str:
        machine = result.get("machines", {}).get(commit, result["machine"])
        elsewhere = f" on {described(machine)}" if machine != result["machine"] else ""
        return f"`{commit}`{elsewhere} ({', '.join(tasks)})"

    others = [told(commit, tasks) for commit, tasks in parts.items() if commit != result["commit"]]
    return "; ".join([f"`{result['commit']}`", *others])


def described(machine: Mapping[str, Any]) -> str:
    """A machine in words."""
    return (
        f"{machine['processors']} x {machine['processor']}, {machine['memory_gb']} GB, {machine['system']}, "
        f"Python {machine['python']}"
    )


def machines(results: Results) -> str:
    """The machines, in words."""
    return "; ".join(dict.fromkeys(described(result["machine"]) for result in results))


def versions(results: Results) -> list[str]:
    """Each contender's version and what must be known of it."""
    found: dict[str, tuple[str, str]] = {}
    for result in results:
        found |= {name: (about["version"], about["notes"]) for name, about in result["contenders"].items()}
    return table(["contender", "version", "note"], [[name, *about] for name, about in found.items()])


def slow(results: Results) -> list[str]:
    """Who was asked fewer questions."""
    measured = {name for result in results for task in SEARCHES for name in result["figures"]["256"].get(task, {})}
    return [name for name in CONTENDERS if name in measured and CONTENDERS[name].slow] or ["none"]


def missing(results: Results) -> list[str]:
    """Who is in the harness and in no result."""
    found = [name for name in CONTENDERS if not any(name in result["contenders"] for result in results)]
    return [f"In the harness, not measured in these runs: {'; '.join(found)}.", ""] if found else []


def failures(results: Results) -> list[str]:
    """What could not be measured, and why."""
    found = [
        f"- {name} at {size(result)}, {dimension} dimensions: {reason}"
        for result in results
        for dimension, failed in result["failed"].items()
        for name, reason in failed.items()
    ]
    return ["", "Could not be measured:", "", *found] if found else []


TIME: Mapping[str, Cell] = {"p50 ms": milliseconds, "ours / theirs": ratio}
DENSE: Mapping[str, Cell] = {
    **TIME,
    "recall@100": lambda figure: f"{figure['recall@100']:.3f}" if "recall@100" in figure else "",
}
OPEN: Mapping[str, Cell] = {
    "open to first answer, ms": lambda figure: number(figure["first_answer_ms"]),
    "import, ms": lambda figure: number(figure["import_ms"]),
    "memory held, MB": lambda figure: number(figure["held_mb"]),
    "of it anonymous": lambda figure: number(figure["anonymous_mb"]),
    "read a question, MB": lambda figure: number(figure["read_mb"]) if "read_mb" in figure else "",
}
BUILD: Mapping[str, Cell] = {
    "seconds": lambda figure: number(figure["seconds"]),
    "MB on disk": lambda figure: number(figure["bytes"] / 1e6),
    "peak MB": lambda figure: number(figure["peak_mb"]),
}
THREADS: Mapping[str, Cell] = {
    "1 thread, /s": lambda figure: number(figure["one"]),
    "2 threads, /s": lambda figure: number(figure["two"]),
    "2 / 1": lambda figure: f"{figure['ratio']:.2f} ({figure['ratio_least']:.2f} to {figure['ratio_most']:.2f})",
}
PER_SECOND: Mapping[str, Cell] = {**TIME, "texts / s": lambda figure: number(TEXTS_AT_ONCE * 1000 / figure["p50_ms"])}


def rate(result: Mapping[str, Any]) -> Mapping[str, Cell]:
    """Columns of a stage that reads text, with megabytes a second by the mean length of a text."""
    length = result["corpus"]["text_characters"] / result["corpus"]["chunks"]
    return {
        **TIME,
        "MB / s": lambda figure: number(TEXTS_AT_ONCE * length / 1e6 * 1000 / figure["p50_ms"]),
    }


def stages(results: Results) -> list[str]:
    """Embedding, tokens, analysis and MMR, on the smallest corpus that has them."""
    used = [result for result in results if result["figures"].get("256", {}).get("embed")][:1]
    if not used:
        return ["Not measured."]
    parts: list[str] = []
    for title, task, columns in (
        ("MMR, 12 of 100 candidates", "mmr", TIME),
        (f"Embedding {TEXTS_AT_ONCE} chunks on one thread", "embed", PER_SECOND),
        ("Embedding one question", "embed_question", TIME),
        (f"WordPiece tokens of {TEXTS_AT_ONCE} chunks", "tokenize", rate(used[0])),
        (f"Analysis with stemming of {TEXTS_AT_ONCE} chunks, called from Python", "analyse", rate(used[0])),
    ):
        parts += ["", f"### {title}", "", *compared(used, task, "256", columns)]
    return parts


def loads(results: Results) -> list[str]:
    """Latencies under load."""
    heads = ["corpus", "condition", "capacity, /s", "load", "p50 ms", "p95 ms", "p99 ms"]
    rows = [
        [
            size(result),
            condition,
            number(result[condition]["capacity_per_second"]),
            share,
            *(number(figure[f"p{percentile}_ms"]) for percentile in (50, 95, 99)),
        ]
        for result in results
        for condition in ("alone", "beside a build")
        for share, figure in result[condition].items()
        if isinstance(figure, dict)
    ]
    return table(heads, rows) if rows else ["Not measured."]


def with_recall(results: Results, dimension: str) -> Results:
    """Return results whose hybrid figures also say how many of the nearest 100 the contender's vectors find."""
    found = []
    for result in results:
        figures = result["figures"].get(dimension, {})
        recalls = {name: figure.get("recall@100") for name, figure in figures.get("dense", {}).items()}
        hybrid = {
            name: figure if recalls.get(name) is None else {**figure, "recall@100": recalls[name]}
            for name, figure in figures.get("hybrid", {}).items()
        }
        found.append({**result, "figures": {**result["figures"], dimension: {**figures, "hybrid": hybrid}}})
    return found


def page(results: Results, loaded: Results, plots: Iterable[str]) -> str:
    """Return the whole page."""
    everything = [*results, *loaded]
    shown = [f"![{PLOT_TITLES[name]}](benchmarks/{name})" for name in PLOT_TITLES if name in set(plots)]
    lines = [
        "# Benchmarks",
        "",
        "Made by `benches/compare/report.py` from `benches/results/`; do not edit. How the figures are taken, and how to take",
        "them again, is in [`benches/compare/README.md`](../benches/compare/README.md).",
        "",
        "Everybody searches the same chunks of real documentation with the same vectors and questions, each in a process of its",
        "own, in turns on one machine, one thread a question. A time is the median of the passes' medians, with the least and",
        "the most of them. *Ours / theirs* compares `clockify-rag` as it is shipped with a contender within each pass: below 1",
        "ours takes less time. A line of ours with another setting is compared like a peer.",
        "",
        "Of each corpus the newest run is shown; what it did not measure is left empty. Contenders of the largest corpus stand",
        f"first, the best of them at the top. Slow ones are asked {SLOW_QUESTIONS} questions: {', '.join(slow(results))}.",
        "",
        f"Machine: {machines(everything)}." if everything else "Nothing was measured yet.",
        "",
        *corpora(results),
        "",
        "Chunks are of Debian's documentation packages. *Mixed* ones are made of passages of two real pages in turns, where",
        "packages had too few pages. Vectors of 256 numbers are of the static table that is shipped; those of 384 are the same,",
        "expanded by fixed random features, and stand in for a transformer's: they say something of time, nothing of quality.",
        "",
        "## Hybrid search",
        "",
        "BM25 100 and dense 100, fused, 12 hits by MMR; the question's vector is given. Who has no MMR is said below. Recall is",
        "that of the dense part alone: a faster answer with less of it is another answer.",
    ]
    for dimension in ("256", "384"):
        lines += ["", f"### {dimension} dimensions", ""]
        lines += compared(with_recall(results, dimension), "hybrid", dimension, DENSE, path=True)
    lines += ["", *[line for name in shown[:1] for line in (name, "")]]
    lines += ["## BM25, top 100", "", *compared(results, "lexical", "256", TIME), ""]
    lines += [line for name in shown[1:2] for line in (name, "")]
    lines += ["## Dense, top 100", "", "Recall is the share of the 100 nearest by float32."]
    for dimension in ("256", "384"):
        lines += [
            "",
            f"### {dimension} dimensions, dense",
            "",
            *compared(results, "dense", dimension, DENSE, path=True),
        ]
    lines += ["", "## From a closed index to an answer, and memory", ""]
    lines += [
        "A fresh process with the package imported and the files in the system's cache: opening, verifying and the first answer.",
        "Memory is what `RssAnon` and `RssFile` grew by after all questions; peers' chunk texts count only where they need them.",
    ]
    opened = [result["figures"].get("256", {}).get("open hybrid", {}) for result in results]
    if any("read_mb" in figure for figures in opened for figure in figures.values()):
        lines += ["What a question reads is counted in whole pages of 4 KiB, where all of an index is mapped."]
    for task in ("hybrid", "lexical", "dense"):
        lines += ["", f"### Opened for {task} search", ""]
        lines += compared(results, f"open {task}", "256", OPEN, "first_answer_ms")
    lines += ["", *[line for name in shown[2:] for line in (name, "")]]
    lines += ["## Build", ""]
    lines += [
        "Peers are given texts and vectors; `clockify-rag` is given the HTML pages, and parses, cuts, embeds and publishes them",
        "durably in that time. Who is in memory only builds when it opens.",
        "",
        *compared(results, "build", "256", BUILD, "seconds"),
        "",
        "## Throughput of independent questions",
    ]
    for task in ("lexical", "hybrid"):
        lines += [
            "",
            f"### Throughput, {task}",
            "",
            *compared(results, f"throughput {task}", "256", THREADS, "two", most=True),
        ]
    lines += ["", "## Load beside a build", ""]
    lines += [
        "Poisson arrivals, two threads, the whole of `Pipeline.search` with the question's embedding; latency counts from the",
        "moment a question was to arrive. Load is a share of the capacity under the same condition.",
        "",
        *loads(loaded),
        "",
        "## Single stages",
        *stages(results),
        "",
        "## Who was compared",
        "",
        *versions(results),
        "",
        *missing(results),
        "Not among them: txtai and sentence-transformers, whose packages need torch with CUDA, 3 GB of wheels on Linux x86-64.",
        *failures(results),
    ]
    return "\n".join(lines).rstrip() + "\n"


def text(folder: Path = RESULTS, plots: Path = PLOTS) -> str:
    """Return the page that the results in ``folder`` make."""
    drawn = [path.name for path in plots.glob("*.svg")] if plots.is_dir() else []
    return page(newest(folder, "debian-*.json"), newest(folder, "load-debian-*.json"), drawn)


def main() -> None:
    """Write the page, and the plots."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-plots", action="store_true")
    if not parser.parse_args().no_plots:
        from environments import interpreter

        PLOTS.mkdir(exist_ok=True)
        subprocess.run([interpreter("parts"), Path(__file__).with_name("plots.py"), RESULTS, PLOTS], check=True)
    PAGE.write_text(text())


if __name__ == "__main__":
    main()
