"""``glossary suggest``."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from clockify_rag.cli import opening, output
from clockify_rag.errors import ConfigError
from clockify_rag.understanding import suggesting
from clockify_rag.understanding.glossary import COLUMNS
from clockify_rag.understanding.suggesting import Suggestion

MAXIMUM = 100_000
"""Terms that can be asked for."""


def suggest(*, limit: int | None, index: str | None, as_csv: bool, as_json: bool) -> None:
    """Print the terms that the pages of the index seem to have."""
    count = suggesting.LIMIT if limit is None else limit
    if not 1 <= count <= MAXIMUM:
        raise ConfigError(f"--limit {count:,} is not within 1 and {MAXIMUM:,}", hint="for example --limit 50")
    if as_csv and as_json:
        raise ConfigError("--csv and --json are two formats", hint="choose one of them")
    found = suggesting.suggest(opening.pipeline(opening.load(("index.path", "--index", index))).index, count)
    if as_json:
        output.print_json({"terms": found})
    elif as_csv:
        output.print_text(_csv(found))
    else:
        _print(output.Printer(), found)


def _csv(found: Sequence[Suggestion]) -> str:
    """Return lines that ``read_glossary`` reads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in found:
        writer.writerow([one.term, "; ".join(one.aliases), " ".join(one.definition.split())])
    return text.getvalue()


def _print(printer: output.Printer, found: Sequence[Suggestion]) -> None:
    for one in found:
        aliases = f" ({', '.join(one.aliases)})" if one.aliases else ""
        where = f"{one.documents:,} pages" + (f", a heading of {one.headings:,}" if one.headings else "")
        printer.line(output.one_line(f"{one.term}{aliases}: {where}"), "bold")
        if one.definition:
            printer.line(f"    {output.one_line(one.definition)}")
    if not found:
        output.note("no term was found that several pages have")
