"""``generations``, ``tag``, ``untag``, ``rollback`` and ``gc``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from clockify_rag import generations as life
from clockify_rag.cli import opening, output
from clockify_rag.errors import IndexIncompatible

if TYPE_CHECKING:
    from clockify_rag import config

UNITS = ("bytes", "kB", "MB", "GB", "TB")


def generations(*, index: str | None, as_json: bool) -> None:
    """List the generations of the index."""
    rows = life.listed(_folder(index))
    if as_json:
        output.print_json({"generations": rows})
        return
    printer = output.Printer()
    for row in rows:
        fields = (
            str(row.generation),
            row.when,
            f"{row.documents:,} documents",
            f"{row.chunks:,} chunks",
            amount(row.bytes),
            ", ".join(row.kept) or "collectable",
            ", ".join(row.tags),
            "" if row.damage is None else f"damaged: {row.damage}",
        )
        printer.line("\t".join(map(output.one_line, fields)).rstrip("\t"), "bold" if row.served else "")


def tag(name: str, generation: str | None, *, move: bool, index: str | None, as_json: bool) -> None:
    """Give a generation a name that keeps it."""
    number = life.tag(_folder(index), name, generation, move=move)
    if as_json:
        output.print_json({"tag": name, "generation": number})
    else:
        output.Printer().line(f"generation {number} is tagged {name}")


def untag(name: str, *, index: str | None, as_json: bool) -> None:
    """Remove a tag."""
    life.untag(_folder(index), name)
    if as_json:
        output.print_json({"tag": name})
    else:
        output.Printer().line(f"the tag {name} is removed")


def rollback(generation: str | None, *, index: str | None, as_json: bool) -> None:
    """Serve a former state again."""
    configuration = opening.load(("index.path", "--index", index))
    published, number = life.roll_back(configuration.settings.index.path, generation)
    if as_json:
        output.print_json({"generation": published, "state_of": number})
    else:
        output.Printer().line(f"generation {published} is served, the state of generation {number}")
    _warn(configuration)


def gc(*, dry_run: bool, index: str | None, as_json: bool) -> None:
    """Remove what nothing keeps."""
    collected = life.collect(_folder(index), dry_run=dry_run)
    if as_json:
        output.print_json({"dry_run": dry_run, **msgspec.structs.asdict(collected)})
        return
    printer = output.Printer()
    verb = "would remove" if dry_run else "removed"
    count = len(collected.generations)
    named = f" ({', '.join(map(str, collected.generations))})" if count else ""
    printer.line(
        f"{verb} {count:,} generation{'' if count == 1 else 's'}{named} and {collected.files:,} files, "
        f"{amount(collected.bytes)}"
    )


def amount(size: int) -> str:
    """Return a number of bytes as people read it."""
    value, unit = float(size), 0
    while value >= 1000 and unit < len(UNITS) - 1:  # noqa: PLR2004 - SI's prefixes
        value, unit = value / 1000, unit + 1
    return f"{size:,} bytes" if unit == 0 else f"{value:.1f} {UNITS[unit]}"


def _folder(index: str | None) -> str:
    return opening.load(("index.path", "--index", index)).settings.index.path


def _warn(configuration: config.Configuration) -> None:
    """Say where what is served now cannot be searched with these settings."""
    from clockify_rag.index import check_compatible

    pipeline = opening.pipeline(configuration)
    try:
        check_compatible(pipeline.index.snapshot, pipeline.searching_entry, lexical=False)
    except IndexIncompatible as error:
        output.note(f"warning: {error.message}")
        output.note(f"hint: {error.hint}")
