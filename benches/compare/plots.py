"""Draw how time and memory grow with the number of chunks: ``python plots.py RESULTS FOLDER``, where matplotlib is installed."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from report import newest

mpl.use("svg")
mpl.rcParams.update(
    {"svg.hashsalt": "clockify-rag", "svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif"}
)

from matplotlib import pyplot  # noqa: E402 - the settings above come first

LEFT_OUT = ("clockify-rag chunks only", "clockify-rag with texts", "hand-made f16 exact")
"""Variants that would be drawn over another line; the tables have them."""

PEERS = mpl.colormaps["tab10"].colors
MARKS = "os^Dv"


def series(results: Sequence[Mapping[str, Any]], task: str, key: str) -> dict[str, list[tuple[int, float]]]:
    """Return for each contender its figure at each number of chunks."""
    found: dict[str, list[tuple[int, float]]] = {}
    for result in results:
        for name, figure in result["figures"].get("256", {}).get(task, {}).items():
            if name not in LEFT_OUT and figure.get(key, 0) > 0:
                found.setdefault(name, []).append((result["corpus"]["chunks"], figure[key]))
    return found


def draw(lines: Mapping[str, Sequence[tuple[int, float]]], title: str, unit: str, path: Path) -> None:
    """Draw one plot, both axes logarithmic, each line named at its end."""
    if not lines:
        return
    figure, axes = pyplot.subplots(figsize=(7.2, 4.4), layout="constrained")
    for number, (name, points) in enumerate(sorted(lines.items(), key=lambda line: -line[1][-1][1])):
        ours = name.startswith("clockify-rag")
        style = {"color": "black" if ours else PEERS[number % len(PEERS)], "linewidth": 2.4 if ours else 1.2}
        dashes = "--" if name == "clockify-rag exact" else "-"
        axes.plot(
            *zip(*points, strict=True),
            dashes,
            marker=MARKS[number // len(PEERS)],
            markersize=4,
            label=name,
            zorder=3 if ours else 2,
            **style,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    chunks = sorted({count for points in lines.values() for count, _ in points})
    axes.set_xticks(chunks, [f"{count / 1000:,.0f}k" for count in chunks])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("chunks")
    axes.set_ylabel(unit)
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(visible=True, linewidth=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def main() -> None:
    """Draw all plots."""
    results = newest(Path(sys.argv[1]), "debian-*.json")
    folder = Path(sys.argv[2])
    draw(series(results, "hybrid", "p50_ms"), "Hybrid search, 256 dimensions", "p50, ms", folder / "hybrid.svg")
    draw(series(results, "lexical", "p50_ms"), "BM25, top 100", "p50, ms", folder / "lexical.svg")
    draw(
        series(results, "open hybrid", "held_mb"),
        "Memory added by opening and hybrid searches",
        "RssAnon + RssFile, MB",
        folder / "memory.svg",
    )


if __name__ == "__main__":
    main()
