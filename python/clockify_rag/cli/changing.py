"""``remove``, ``repair`` and ``reembed``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from clockify_rag import config
from clockify_rag.cli import opening, output
from clockify_rag.cli.building import PARTLY_BUILT, SHOWN
from clockify_rag.errors import ConfigError

if TYPE_CHECKING:
    from clockify_rag.changing import Purge, Reembedding, Repair


def remove(documents: Sequence[str], *, sources: Sequence[str], purge: bool, index: str | None, as_json: bool) -> None:
    """Remove documents, and tell what is left of them where."""
    from clockify_rag import changing

    if not documents and not sources:
        raise ConfigError("there is nothing to remove", hint="clockify-rag remove DOCUMENT, or --source NAME")
    pipeline = opening.pipeline(opening.load(("index.path", "--index", index)))
    names = [opening.typed(document) for document in documents]
    report = changing.remove(pipeline, names, sources=sources, purge=purge)
    removed = [output.document_fields(document) for document in report.removed]
    if as_json:
        output.print_json({**msgspec.structs.asdict(report), "removed": removed})
    else:
        printer = output.Printer()
        for document in report.removed[:SHOWN]:
            printer.line(f"removed {output.one_line(document.source)}/{output.one_line(document.path)}")
        if len(report.removed) > SHOWN:
            printer.line(f"removed {len(report.removed) - SHOWN:,} more; --json names them all")
        printer.line(f"{report.documents:,} documents in generation {report.generation} of {pipeline.path}", "bold")
        if report.purge is not None:
            _print_purge(printer, report.purge)
    if report.removed:
        names = sorted({document.source for document in report.removed})
        output.note(
            f"note: the next build of {', '.join(names)} brings back what is still there: delete it there, or leave it out "
            "with exclude or .ragignore"
        )


def _print_purge(printer: output.Printer, purge: Purge) -> None:
    printer.line(f"wrote {purge.segments:,} segments anew, cleared {purge.cache_bytes:,} bytes of caches")
    if purge.sites:
        sites = ", ".join(map(output.one_line, purge.sites))
        printer.line(
            f"removed {purge.raw_pages:,} raw pages of {sites}: the next crawl fetches again what is still there"
        )
    for old, new in purge.rewritten:
        printer.line(f"generation {old} is now generation {new}")
    if purge.removed:
        printer.line(f"generations {', '.join(map(str, purge.removed))} are gone")
    for name in purge.same_text[:SHOWN]:
        printer.line(f"the same text is also in {output.one_line(name)}, which stays")
    for place in purge.out_of_reach:
        printer.line(f"not reached: {place}")


def repair(locations: Sequence[str], *, index: str | None, as_json: bool) -> int:
    """Repair the index, tell what was damaged, and return the exit status."""
    from clockify_rag import changing

    configuration = opening.load(("index.path", "--index", index))
    typed = [opening.typed(location) for location in locations]
    settings = configuration.settings
    sources = config.typed_sources(typed, settings) if typed or settings.sources else ()
    with output.progress_bar() as progress:
        report = changing.repair(opening.pipeline(configuration), sources, progress=progress)
    if as_json:
        output.print_json(msgspec.structs.asdict(report))
    else:
        _print_repair(output.Printer(), report, settings.index.path)
    if report.dropped:
        output.note("hint: clockify-rag build with their sources reads them again")
    return PARTLY_BUILT if report.dropped or report.without_vectors else 0


def _print_repair(printer: output.Printer, report: Repair, index: str) -> None:
    if not report.damage and not report.derived:
        printer.line(f"generation {report.generation} of {index} is as it was written", "bold")
        return
    for sentence in report.damage:
        printer.line(f"damaged: {sentence}")
    printer.line(f"{report.derived:,} segments were derived again, {report.embedded:,} vectors made again")
    told = (
        ("read again", report.healed),
        ("found by words only until clockify-rag reembed", report.without_vectors),
        ("may have been removed before, the next build tells", report.doubtful),
        ("lost", report.dropped),
    )
    for what, names in told:
        for name in names[:SHOWN]:
            printer.line(f"{what}: {output.one_line(name)}")
        if len(names) > SHOWN:
            printer.line(f"{what}: {len(names) - SHOWN:,} more; --json names them all")
    printer.line(
        f"{report.documents:,} documents, {report.chunks:,} chunks in generation {report.generation} of {index}", "bold"
    )


def reembed(embedder: str, *, index: str | None, as_json: bool) -> None:
    """Embed what is stored with another embedder."""
    from clockify_rag import changing

    configuration = opening.load(("index.path", "--index", index))
    pipeline = opening.pipeline(configuration)
    with output.progress_bar() as progress:
        report = changing.reembed(pipeline, opening.typed(embedder), progress=progress)
    if as_json:
        output.print_json(msgspec.structs.asdict(report))
    else:
        _print_reembedding(output.Printer(), report, configuration.settings.index.path)
    if not report.is_configured:
        name, _, model = embedder.partition(":")
        lines = f'embedder = "{name}"' + (f', model = "{model}"' if model else "")
        output.note(
            f"hint: set {lines} in [embedding] of {config.FILE_NAME}, or the next build embeds again as that says"
        )


def _print_reembedding(printer: output.Printer, report: Reembedding, index: str) -> None:
    def named(entry: Any) -> str:
        return "no vectors" if entry is None else f"vectors of {entry.name}"

    if report.embedder == report.previous:
        printer.line(f"generation {report.generation} of {index} has {named(report.embedder)} already", "bold")
        return
    printer.line(
        f"{report.chunks:,} chunks have {named(report.embedder)} instead of {named(report.previous)} in generation "
        f"{report.generation} of {index}",
        "bold",
    )
    counts = report.embedding
    printer.line(f"embedded {counts.made:,} texts, found {counts.cached:,} in the cache")
    if report.without_vectors:
        printer.line(
            f"{report.without_vectors:,} documents are in languages that the embedder does not know: found by words"
        )
