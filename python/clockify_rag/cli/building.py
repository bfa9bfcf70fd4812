"""``build``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from clockify_rag import config
from clockify_rag.cli import opening, output

if TYPE_CHECKING:
    from clockify_rag.pipeline import BuildReport

PARTLY_BUILT: Final = 6
"""The exit status of a build that had to leave out a page."""

SHOWN: Final = 20
"""How many unreadable pages are named one by one."""


def build(
    locations: Sequence[str],
    *,
    index: str | None,
    changes: Mapping[str, str | None],
    only: bool,
    strict: bool,
    checksum: bool,
    no_ignore: bool,
    embedder: str | None,
    as_json: bool,
) -> int:
    """Build the index, print what was done, and return the exit status."""
    configuration = opening.load(
        ("index.path", "--index", index),
        ("loading.ignore", "--no-ignore", False if no_ignore else None),
        ("embedding.embedder", "--embedder", embedder),
    )
    sources = config.typed_sources(
        [opening.typed(location) for location in locations],
        configuration.settings,
        {name: (f"--{name.replace('_', '-')}", value) for name, value in changes.items() if value is not None},
    )
    with output.progress_bar() as progress:
        report = opening.pipeline(configuration).build(
            sources, only=only, strict=strict, checksum=checksum, progress=progress
        )
    if as_json:
        output.print_json(msgspec.structs.asdict(report))
    else:
        _print_report(output.Printer(), report, configuration.settings.index.path)
    unreadable = [skipped for skipped in report.skipped if skipped.error is not None]
    for skipped in unreadable[:SHOWN]:
        output.note(f"warning: {skipped.path}: {skipped.error.message if skipped.error else skipped.reason}")
    if len(unreadable) > SHOWN:
        output.note(f"warning: and {len(unreadable) - SHOWN:,} more; --json names them all")
    return PARTLY_BUILT if unreadable else 0


def _print_report(printer: output.Printer, report: BuildReport, index: str) -> None:
    printer.line(
        f"{report.documents:,} documents, {report.chunks:,} chunks in generation {report.generation} of {index}", "bold"
    )
    printer.line(
        f"added {report.added:,}, changed {report.changed:,}, moved {report.moved:,}, removed {report.removed:,}, "
        f"unchanged {report.unchanged:,}" + (f", stale {report.stale:,}" if report.stale else "")
    )
    if report.hidden:
        printer.line(f"left out {report.hidden:,} hidden elements of pages")
    if report.without_vectors:
        printer.line(
            f"{report.without_vectors:,} documents are in languages that the embedder does not know: found by words"
        )
    for reason, count in sorted(Counter(skipped.reason for skipped in report.skipped).items()):
        printer.line(f"skipped {count:,}: {reason}")
    if report.timings_ms:
        total: Any = report.timings_ms.get("total", sum(report.timings_ms.values()))
        printer.line(f"took {total / 1000:.2f} s")
