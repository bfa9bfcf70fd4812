"""Tables of plain text, as wide as the terminal and no wider.

They are made without rich, so that a pipe, a log and a terminal show the same lines; a terminal only adds weight and colour. One
column may take what is left of the width: what does not fit there is cut, and ends in an ellipsis.
"""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

from clockify_rag.cli import output

PIPE_WIDTH: Final = 120
"""Columns where the output is no terminal."""

LEAST_WIDTH: Final = 60
"""A narrower terminal wraps, rather than that nothing can be read."""

GAP: Final = "  "

ELLIPSIS: Final = "..."
"""In letters that every encoding has."""


class Column(NamedTuple):
    """A column: its heading, and how its cells stand in it."""

    heading: str
    align: Literal["left", "right"] = "right"
    stretches: bool = False
    """Whether it takes what the others leave."""


def width() -> int:
    """Return how many columns a line may have."""
    if not sys.stdout.isatty():
        return PIPE_WIDTH
    return max(shutil.get_terminal_size((80, 24)).columns, LEAST_WIDTH)


def cells(text: str) -> int:
    """Return how many columns ``text`` takes on a terminal: two for a wide character, none for one that joins another."""
    if text.isascii():
        return len(text)
    return sum(_cells(character) for character in text)


def cut(text: str, columns: int) -> str:
    """Return ``text`` cleaned and on one line, its end replaced by an ellipsis where it takes more columns."""
    text = output.one_line(text)
    if cells(text) <= columns:
        return text
    used, kept = 0, []
    for character in text:
        used += _cells(character)
        if used > columns - len(ELLIPSIS):
            break
        kept.append(character)
    return "".join(kept).rstrip() + ELLIPSIS


def _cells(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def table(columns: Sequence[Column], rows: Iterable[Sequence[str]], *, indent: int = 2) -> list[str]:
    """Return a table's lines, the headings first where there are any; a column with no heading and no cell is left out.

    Args:
        columns: at most one of them stretches.
        rows: a cell for each column.
        indent: spaces before each line.
    """
    headings = [column.heading for column in columns]
    every = [*([headings] if any(headings) else []), *([output.one_line(cell) for cell in row] for row in rows)]
    widths = [max((cells(row[place]) for row in every), default=0) for place in range(len(columns))]
    shown = [place for place in range(len(columns)) if widths[place]]
    stretched = next((place for place in shown if columns[place].stretches), None)
    if stretched is not None:
        others = sum(widths[place] + len(GAP) for place in shown if place != stretched)
        widths[stretched] = min(widths[stretched], max(width() - indent - others, 12))
    lines = []
    for row in every:
        parts = []
        for place in shown:
            cell = cut(row[place], widths[place])
            space = " " * (widths[place] - cells(cell))
            parts.append(space + cell if columns[place].align == "right" else cell + space)
        lines.append((" " * indent + GAP.join(parts)).rstrip())
    return lines


def wrapped(text: str, *, indent: int = 2, hanging: int | None = None) -> list[str]:
    """Return a sentence's lines, each within the width.

    Args:
        text: a sentence.
        indent: spaces before the first line.
        hanging: spaces before the others; by default as many.
    """
    hanging = indent if hanging is None else hanging
    lines: list[str] = []
    line, used = " " * indent, indent
    is_empty = True
    for word in output.one_line(text).split(" "):
        if not is_empty and used + 1 + cells(word) > width():
            lines.append(line)
            line, used, is_empty = " " * hanging, hanging, True
        line += word if is_empty else f" {word}"
        used += cells(word) + (0 if is_empty else 1)
        is_empty = False
    return [*lines, line]
