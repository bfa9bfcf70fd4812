"""Plots as SVG: means with their intervals, one row a name, one colour a series; and probabilities against what came true.

Written by hand because a picture of dots and lines needs no plotting library, which would be the largest dependency of the package.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import msgspec

from clockify_rag.cli import output

if TYPE_CHECKING:
    from clockify_rag.calibrating import Figures

WIDTH: Final = 760
LEFT: Final = 230
"""Where the axis begins: names stand before it."""
RIGHT: Final = 700
"""Where it ends: figures stand behind it."""
ROW: Final = 26
HEADING: Final = 34
GAP: Final = 38
"""Between panels; the figures of the axis stand in it."""
TOP: Final = 86
LABEL_CHARACTERS: Final = 32
COLOURS: Final = ("#1f6feb", "#bf5700")
"""Told apart also by those who see no red or green."""
STEPS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Distances of ticks."""
TICKS_AT_MOST: Final = 8

STYLE: Final = (
    "<style>text{font-family:system-ui,'Segoe UI','DejaVu Sans',sans-serif;font-size:13px;fill:#1f2328}"
    ".title{font-size:17px;font-weight:600}"
    ".heading{font-weight:600}.note,.tick,.value{font-size:11px;fill:#59636e}.name{text-anchor:end}"
    ".tick{text-anchor:middle}.grid{stroke:#d9dee3}.zero{stroke:#59636e}</style>"
)

Mark = tuple[float, float, float]
"""A mean, and the ends of its interval."""


class Row(msgspec.Struct, frozen=True):
    """A name, and a mark or nothing for each series."""

    name: str
    marks: Sequence[Mark | None]


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """Rows under one heading on one axis."""

    title: str
    rows: Sequence[Row]
    signed: bool = False
    """Whether values are differences around 0, rather than shares from 0 to 1."""


def dot_plot(title: str, subtitle: str, series: Sequence[str], panels: Sequence[Panel]) -> str:
    """Return an SVG document of ``panels`` one under the other.

    Args:
        title: its first line.
        subtitle: what dots and lines are.
        series: the names of the series, at most two, in the order of each row's marks.
        panels: what is drawn.
    """
    shapes = [_text(20, 32, title, "title"), _text(20, 52, subtitle, "note"), *_legend(series)]
    top = TOP
    for panel in panels:
        shapes += _panel(panel, top)
        top += HEADING * bool(panel.title) + ROW * len(panel.rows) + GAP
    return "\n".join([*_opened(title, top), *shapes, "</svg>\n"])


def reliability_plot(title: str, kinds: Mapping[str, Figures]) -> str:
    """Return an SVG document: how often questions of a probability are answerable, and how risk grows with what is answered.

    Args:
        title: its first line.
        kinds: at most two series by name.
    """
    left, right, side, top = 70.0, 430.0, 270.0, 110.0
    shapes = [_text(20, 32, title, "title"), _text(20, 52, "bars are 95 % intervals", "note"), *_legend(list(kinds))]
    shapes += _square(left, top, side, "probability", "share answerable")
    shapes.append(f'<line class="zero" x1="{left}" y1="{top + side}" x2="{left + side}" y2="{top}"/>')
    shapes += _square(right, top, side, "share answered", "unanswerable share of the answered")
    for colour, figures in zip(COLOURS, kinds.values(), strict=False):
        for part in figures.reliability:
            x = left + side * part.probability
            low, high = (top + side * (1 - end) for end in (part.answerable.low, part.answerable.high))
            y = top + side * (1 - part.answerable.count / part.answerable.of)
            shapes.append(
                f'<line x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}" stroke="{colour}" stroke-opacity="0.55"/>'
            )
            shapes.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
        points = " ".join(f"{right + side * x:.1f},{top + side * (1 - y):.1f}" for x, y in figures.risk_coverage)
        shapes.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    height = top + side + 60
    return "\n".join([*_opened(title, height), *shapes, "</svg>\n"])


def _square(left: float, top: float, side: float, across: str, up: str) -> Iterator[str]:
    """Yield the grid of two axes from 0 to 1."""
    for number in range(6):
        share = number / 5
        x, y = left + side * share, top + side * (1 - share)
        yield f'<line class="grid" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{top + side}"/>'
        yield f'<line class="grid" x1="{left}" y1="{y:.1f}" x2="{left + side}" y2="{y:.1f}"/>'
        yield _text(x, top + side + 16, f"{share:.1g}", "tick")
        yield _text(left - 14, y + 4, f"{share:.1g}", "tick")
    yield _text(left, top - 10, up, "heading")
    yield _text(left + side / 2, top + side + 36, across, "tick")


def _opened(title: str, height: float) -> list[str]:
    """Return what every picture begins with."""
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" height="{height:g}" role="img">',
        f"<title>{_escaped(title)}</title>",
        STYLE,
        f'<rect width="{WIDTH}" height="{height:g}" fill="#ffffff"/>',
    ]


def _legend(series: Sequence[str]) -> Iterator[str]:
    for number, name in enumerate(series):
        x = LEFT + 110 * number
        yield f'<circle cx="{x}" cy="70" r="4" fill="{COLOURS[number]}"/>'
        yield _text(x + 10, 74, name, "note")


def _panel(panel: Panel, top: float) -> Iterator[str]:
    low, high, step = _axis(panel)
    if panel.title:
        top += HEADING
        yield _text(20, top - 12, panel.title, "heading")
    bottom = top + ROW * len(panel.rows)

    def at(value: float) -> float:
        return LEFT + (RIGHT - LEFT) * (value - low) / (high - low)

    for number in range(round((high - low) / step) + 1):
        tick = round(low + number * step, 6) or 0.0
        kind = "zero" if panel.signed and not tick else "grid"
        yield f'<line class="{kind}" x1="{at(tick):.1f}" y1="{top:.1f}" x2="{at(tick):.1f}" y2="{bottom:.1f}"/>'
        yield _text(
            at(tick), bottom + 16, f"{tick:+.2g}" if panel.signed and kind != "zero" else f"{abs(tick):.2g}", "tick"
        )
    for number, row in enumerate(panel.rows):
        middle = top + ROW * (number + 0.5)
        yield _text(LEFT - 12, middle + 4, _shortened(row.name), "name")
        marks = [(colour, mark) for colour, mark in zip(COLOURS, row.marks, strict=False) if mark is not None]
        for place, (colour, (mean, least, most)) in enumerate(marks):
            y = middle + 8 * (place - (len(marks) - 1) / 2)
            yield (
                f'<line x1="{at(least):.1f}" y1="{y:.1f}" x2="{at(most):.1f}" y2="{y:.1f}" '
                f'stroke="{colour}" stroke-width="2" stroke-opacity="0.55"/>'
            )
            yield f'<circle cx="{at(mean):.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
            value = f"{mean:+.3f}" if panel.signed else f"{mean:.3f}"
            # Figures need more room than dots.
            yield _text(RIGHT + 10, middle + 4 + 12 * (place - (len(marks) - 1) / 2), value, "value", colour)


def _axis(panel: Panel) -> tuple[float, float, float]:
    """Return where a panel's axis begins and ends, and the distance of its ticks, a divisor of both."""
    if not panel.signed:
        return 0.0, 1.0, 0.2
    ends = [end for row in panel.rows for mark in row.marks if mark is not None for end in mark]
    least, most = min([*ends, -0.01]), max([*ends, 0.01])
    step = next((size for size in STEPS if (most - least) / size <= TICKS_AT_MOST - 1), STEPS[-1])
    return math.floor(least / step) * step, math.ceil(most / step) * step, step


def _text(x: float, y: float, text: str, kind: str, colour: str = "") -> str:
    style = f' style="fill:{colour}"' if colour else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{style}>{_escaped(text)}</text>'


def _shortened(name: str) -> str:
    return name if len(name) <= LABEL_CHARACTERS else name[: LABEL_CHARACTERS - 1] + "…"


def _escaped(text: str) -> str:
    return escape(output.one_line(text))
