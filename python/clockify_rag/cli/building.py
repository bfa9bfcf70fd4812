"""``build``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from clockify_rag import config
from clockify_rag.cli import opening, output
from clockify_rag.contracts import Source
from clockify_rag.ignoring import IgnoreRules
from clockify_rag.walking import ARCHIVES

if TYPE_CHECKING:
    from clockify_rag.contracts import Skipped
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
    for warning in overlaps(sources, configuration.settings):
        output.note(f"warning: {warning}")
    with output.progress_bar() as progress:
        report = opening.pipeline(configuration, building=True).build(
            sources, only=only, strict=strict, checksum=checksum, progress=progress
        )
    if as_json:
        output.print_json(msgspec.structs.asdict(report))
    else:
        _print_report(output.Printer(), report, configuration.settings.index.path)
    unreadable = [skipped for skipped in report.skipped if skipped.error is not None]
    for skipped in unreadable[:SHOWN]:
        output.note(f"warning: {_why(skipped)}")
    if len(unreadable) > SHOWN:
        output.note(f"warning: and {len(unreadable) - SHOWN:,} more; --json names them all")
    for notice in report.notices:
        output.note(f"warning: {notice.message}" + (f" ({notice.hint})" if notice.hint else ""))
    return PARTLY_BUILT if unreadable or any(notice.failed for notice in report.notices) else 0


def overlaps(sources: Sequence[Source], settings: config.Settings) -> list[str]:
    """Return, as sentences, which of ``sources`` lie in one another or in what is configured."""
    named = {source.name: source for source in sources}
    for table in settings.sources:
        name = table.name or config.default_source_name(table.location)
        named.setdefault(name, Source(name=name, location=table.location, exclude=table.exclude))
    found: dict[frozenset[str], str] = {}
    for inner, outer in permutations(named.values(), 2):
        # Two names of one folder lie in each other, which is told once.
        pair = frozenset((inner.name, outer.name))
        if pair not in found and (inner in sources or outer in sources) and _lies_in(inner, outer):
            found[pair] = (
                f"source {inner.name} ({inner.location}) lies in source {outer.name} ({outer.location}): "
                "pages that both read are indexed twice"
            )
    return list(found.values())


def _lies_in(inner: Source, outer: Source) -> bool:
    """Whether the pages of one source are in the folder of another, which does not exclude them."""
    if "\0" in inner.location + outer.location:
        return False
    place, folder = Path(os.path.realpath(inner.location)), Path(os.path.realpath(outer.location))
    if not folder.is_dir() or not place.is_relative_to(folder):
        return False
    if place.is_file() and place.name.lower().endswith(ARCHIVES):
        return False
    rules, parts = IgnoreRules("\n".join(outer.exclude)), place.relative_to(folder).parts
    return not any(rules.decide("/".join(parts[:depth]), folder=True) for depth in range(1, len(parts) + 1))


def _why(skipped: Skipped) -> str:
    """Return why a page could not be read, naming it once."""
    message = skipped.reason if skipped.error is None else skipped.error.message
    names = (skipped.path, skipped.file or skipped.path)
    return message if not skipped.path or any(name in message for name in names) else f"{skipped.path}: {message}"


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
