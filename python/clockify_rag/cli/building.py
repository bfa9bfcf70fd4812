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
from clockify_rag.errors import SourceError
from clockify_rag.ignoring import IgnoreRules
from clockify_rag.walking import ARCHIVES, File, Folder, Walk, start_of

if TYPE_CHECKING:
    from clockify_rag.building import BuildReport
    from clockify_rag.contracts import Skipped
    from clockify_rag.crawling import CrawlReport
    from clockify_rag.index import EmbeddingCounts

PARTLY_BUILT: Final = 6
"""The exit status of a build that had to leave out a page."""

SHOWN: Final = 20
"""How many unreadable pages are named one by one."""

SHOWN_OF_FILE: Final = 3
"""How many of them where they are all in one file."""


def build(
    locations: Sequence[str],
    *,
    index: str | None,
    changes: Mapping[str, str | None],
    only: bool,
    strict: bool,
    checksum: bool,
    allow_shrink: bool,
    no_ignore: bool,
    offline: bool,
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
    options = {"only": only, "strict": strict, "checksum": checksum, "allow_shrink": allow_shrink, "offline": offline}
    return run(configuration, sources, as_json=as_json, **options)


def run(configuration: config.Configuration, sources: Sequence[Source], *, as_json: bool, **options: Any) -> int:
    """Build the index from sources, print what was done, and return the exit status."""
    with output.progress_bar() as progress:
        report = opening.pipeline(configuration, building=True).build(sources, progress=progress, **options)
    if as_json:
        output.print_json(msgspec.structs.asdict(report))
    else:
        _print_report(output.Printer(), report, configuration.settings.index.path)
    unreadable = unreadable_pages(report)
    for sentence in unreadable:
        output.note(f"warning: {sentence}")
    failed = any(crawl.failed or crawl.failure is not None for crawl in report.crawls)
    for sentence in notices(report):
        output.note(f"warning: {sentence}")
    return PARTLY_BUILT if unreadable or failed or any(notice.failed for notice in report.notices) else 0


def unreadable_pages(report: BuildReport) -> list[str]:
    """Return, as sentences, which pages could not be read and why: of one file the first, and what to do once."""
    unreadable = [skipped for skipped in report.skipped if skipped.error is not None]
    sentences = []
    hints: set[str] = set()
    counts = Counter(skipped.file or skipped.path for skipped in unreadable)
    named: Counter[str] = Counter()
    for skipped in unreadable:
        file = skipped.file or skipped.path
        if named.total() >= SHOWN:
            break
        if named[file] == SHOWN_OF_FILE:
            continue
        named[file] += 1
        more = counts[file] - SHOWN_OF_FILE if named[file] == SHOWN_OF_FILE else 0
        hint = "" if skipped.error is None else skipped.error.hint
        sentences.append(_why(skipped) + (f" ({hint})" if hint and hint not in hints else ""))
        hints.add(hint)
        if more:
            sentences.append(f"and {more:,} more of {file}")
            counts[file] -= more
    left = counts.total() - named.total()
    if left:
        sentences.append(f"and {left:,} more; --json names them all")
    return sentences


def notices(report: BuildReport) -> list[str]:
    """Return, as sentences, what is to be known of the sources."""
    return [notice.message + (f" ({notice.hint})" if notice.hint else "") for notice in report.notices]


def overlaps(sources: Sequence[Source], settings: config.Settings) -> list[str]:
    """Return, as sentences, which of ``sources`` lie in one another or in what is configured."""
    named = {source.name: source for source in sources}
    for table in settings.sources:
        if table.url is not None:
            continue
        name = table.name or config.default_source_name(table.location)
        kept = Source(name=name, location=table.location, include=table.include, exclude=table.exclude)
        named.setdefault(name, kept)
    found: dict[frozenset[str], str] = {}
    for inner, outer in permutations(named.values(), 2):
        # Two names of one folder lie in each other, which is told once.
        pair = frozenset((inner.name, outer.name))
        if pair in found or not (inner in sources or outer in sources):
            continue
        if _lies_in(inner, outer) and _share_pages(inner, outer, settings):
            found[pair] = (
                f"source {inner.name} ({inner.location}) lies in source {outer.name} ({outer.location}): "
                "pages that both read are indexed twice"
            )
    return list(found.values())


def _lies_in(inner: Source, outer: Source) -> bool:
    """Whether the pages of one source are in the folder of another, which does not exclude them."""
    if inner.site is not None or outer.site is not None or "\0" in inner.location + outer.location:
        return False
    place, folder = Path(os.path.realpath(inner.location)), Path(os.path.realpath(outer.location))
    if not folder.is_dir() or not place.is_relative_to(folder):
        return False
    if place.is_file() and place.name.lower().endswith(ARCHIVES):
        return False
    rules, parts = IgnoreRules("\n".join(outer.exclude)), place.relative_to(folder).parts
    return not any(rules.decide("/".join(parts[:depth]), folder=True) for depth in range(1, len(parts) + 1))


def _share_pages(inner: Source, outer: Source, settings: config.Settings) -> bool:
    """Whether some file is a page of both sources; only where patterns choose pages are these listed to know it."""
    if not inner.include and not outer.include:
        return True
    try:
        return not _pages(inner, settings).isdisjoint(_pages(outer, settings))
    except (SourceError, OSError):
        # The build says what is wrong with a source that cannot be listed.
        return False


def _pages(source: Source, settings: config.Settings) -> set[str]:
    """The files that a source reads."""
    location, ignore = os.path.realpath(source.location), settings.loading.ignore
    if not Path(location).is_dir():
        return {location}
    start = start_of(location, ignore=ignore, include=bool(source.include))
    found = Walk(Folder(location), source, ignore=ignore).files(start)
    return {f"{location}/{item.path}" for item in found if isinstance(item, File)}


def _why(skipped: Skipped) -> str:
    """Return why a page could not be read, naming it once."""
    message = skipped.reason if skipped.error is None else skipped.error.message
    names = (skipped.path, skipped.file or skipped.path)
    return message if not skipped.path or any(name in message for name in names) else f"{skipped.path}: {message}"


def embedded(counts: EmbeddingCounts) -> str:
    """Return, as a sentence, where vectors came from; nothing where all were made anew or none was."""
    told = [f"embedded {counts.made:,} texts"]
    if counts.cached:
        told.append(f"found {counts.cached:,} in the cache ({counts.hit_rate or 0:.0%})")
    if counts.kept:
        told.append(f"kept the vectors of {counts.kept:,} chunks")
    return ", ".join(told) if len(told) > 1 else ""


def counted(report: BuildReport) -> str:
    """Return, as a list, what became of how many pages."""
    return (
        f"added {report.added:,}, changed {report.changed:,}, moved {report.moved:,}, removed {report.removed:,}, "
        f"unchanged {report.unchanged:,}" + (f", stale {report.stale:,}" if report.stale else "")
    )


def _print_report(printer: output.Printer, report: BuildReport, index: str) -> None:
    printer.line(
        f"{report.documents:,} documents, {report.chunks:,} chunks in generation {report.generation} of {index}", "bold"
    )
    printer.line(counted(report))
    for crawl in report.crawls:
        _print_crawl(printer, crawl)
    if report.hidden:
        printer.line(f"left out {report.hidden:,} hidden elements of pages")
    if report.without_vectors:
        printer.line(
            f"{report.without_vectors:,} documents are in languages that the embedder does not know: found by words"
        )
    if told := embedded(report.embedding):
        printer.line(told)
    for reason, count in sorted(Counter(skipped.reason for skipped in report.skipped).items()):
        printer.line(f"skipped {count:,}: {reason}")
    if report.timings_ms:
        total: Any = report.timings_ms.get("total", sum(report.timings_ms.values()))
        printer.line(f"took {total / 1000:.2f} s")


def _print_crawl(printer: output.Printer, crawl: CrawlReport) -> None:
    """Print what a crawl did, and for each reason how much was left out, with an example."""
    if crawl.failure is not None:
        return
    printer.line(
        f"crawled {crawl.url}: {crawl.pages:,} pages, sent {crawl.downloaded:,}, unchanged {crawl.unchanged:,}, "
        f"gone {crawl.missing:,}, failed {crawl.failed:,}, in {crawl.seconds:.2f} s"
        + (", went on with a crawl that was killed" * crawl.resumed)
    )
    if not crawl.complete:
        printer.line(f"  cut short, so no page was removed for not being found: {crawl.cut_short}")
    examples: dict[str, Any] = {}
    for skip in crawl.skipped:
        examples.setdefault(skip.reason, skip)
    for reason, count in crawl.skip_counts.items():
        example = examples.get(reason)
        detail = f" ({example.detail})" if example and example.detail else ""
        printer.line(f"  left out {count:,}: {reason}" + (f", such as {example.url}{detail}" if example else ""))
