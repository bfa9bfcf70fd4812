"""``generations``, ``tag``, ``untag``, ``rollback``, ``gc``, ``diff``, ``snapshot``, ``restore``, ``verify`` and ``migrate``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from clockify_rag import generations as life
from clockify_rag.cli import opening, output
from clockify_rag.errors import ConfigError, IndexCorrupt, IndexIncompatible
from clockify_rag.index import check_compatible, check_index_folder

if TYPE_CHECKING:
    from clockify_rag import config
    from clockify_rag.comparing import QuestionDifferences

SHOWN = 20
"""How many documents of each kind are named one by one."""

UNITS = ("bytes", "kB", "MB", "GB", "TB")
FACTORS = {
    "": 1,
    "b": 1,
    **{f"{prefix}b": 1000**power for power, prefix in enumerate("kmg", 1)},
    **{f"{prefix}ib": 1024**power for power, prefix in enumerate("kmg", 1)},
}
RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?([kmg]?i?b|)(?:/s)?", re.IGNORECASE | re.ASCII)


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


def diff(
    before: str, after: str | None, *, questions: str | None, lexical: bool, index: str | None, as_json: bool
) -> None:
    """Compare two generations."""
    from clockify_rag import comparing
    from clockify_rag.labelling import read_questions

    if lexical and questions is None:
        raise ConfigError("--lexical says how questions are searched, and none are named", hint="--questions FILE")
    asked = () if questions is None else read_questions(questions).questions
    pipeline = opening.pipeline(opening.load(("index.path", "--index", index)))
    with output.progress_bar() as progress:
        found = comparing.compare(pipeline, before, after, questions=asked, lexical=lexical, progress=progress)
    if as_json:
        output.print_json(msgspec.structs.asdict(found))
        return
    printer = output.Printer()
    printer.line(f"generation {found.before} to {found.after}", "bold")
    for what, differences in (("documents", found.documents), ("chunks", found.chunks)):
        counts = (f"{kind} {len(entries):,}" for kind, entries in comparing.kinds(differences))
        printer.line(f"{what}: {', '.join(counts)}")
    for kind, entries in comparing.kinds(found.documents):
        for entry in entries[:SHOWN]:
            was = "" if entry.was is None else f" (was {entry.was})"
            printer.line(f"{kind}\t{output.one_line(f'{entry.source}/{entry.path}{was}')}")
        if len(entries) > SHOWN:
            printer.line(f"{kind}\tand {len(entries) - SHOWN:,} more; --json names them all")
    if found.questions is not None:
        _print_questions(printer, found.questions)


def _print_questions(printer: output.Printer, found: QuestionDifferences) -> None:
    old, new = found.embedders
    if old != new:
        output.note(f"warning: the generations' vectors are of two embedders: {old or 'none'} and {new or 'none'}")
    printer.line(
        f"questions: of {found.asked:,} asked {found.other_documents:,} have other pages among the first hits, "
        f"{found.other_chunks:,} other chunks"
    )
    for one in found.questions:
        if one.before.documents == one.after.documents:
            continue
        printer.line(f"{one.id}\t{output.one_line(one.question)}")
        for label, ranking in (("before", one.before), ("after", one.after)):
            printer.line(f"\t{label}\t{', '.join(map(output.one_line, ranking.documents)) or 'nothing'}")


def snapshot(file: str, generation: str | None, *, index: str | None, as_json: bool) -> None:
    """Write a generation into one file."""
    output.check_file("FILE", file)
    archived = life.snapshot(_folder(index), file, generation)
    if as_json:
        output.print_json({"file": file, **msgspec.structs.asdict(archived)})
        return
    printer = output.Printer()
    printer.line(
        f"wrote generation {archived.generation}, {archived.files:,} files, {amount(archived.bytes)}, to {file}"
    )
    printer.line(f"hash {archived.hash}")


def restore(file: str, *, replace: bool, index: str | None, as_json: bool) -> None:
    """Serve what a snapshot holds."""
    configuration = opening.load(("index.path", "--index", index))
    folder = configuration.settings.index.path
    check_index_folder(folder)
    number, archived = life.restore(file, folder, replace=replace)
    if as_json:
        fields = {name: value for name, value in msgspec.structs.asdict(archived).items() if name != "generation"}
        output.print_json({"index": folder, "generation": number, "state_of": archived.generation, **fields})
    else:
        printer = output.Printer()
        printer.line(f"generation {number} of {folder} is served: {archived.files:,} files, {amount(archived.bytes)}")
        printer.line(f"hash {archived.hash}")
    _warn(configuration)


def verify(*, every: bool, rate: str | None, index: str | None, as_json: bool) -> int:
    """Compare every byte with its hash; return the exit status."""
    folder, bytes_a_second = _folder(index), None if rate is None else parse_rate(rate)
    with output.progress_bar() as progress:
        verified = life.verify(folder, every=every, rate=bytes_a_second, progress=progress)
    if as_json:
        output.print_json({"ok": not verified.damaged, **msgspec.structs.asdict(verified)})
    else:
        printer = output.Printer()
        numbers = ", ".join(map(str, verified.generations)) or "no generation"
        done = "read" if verified.damaged else "verified"
        damaged = f": {len(verified.damaged):,} damaged" if verified.damaged else ""
        printer.line(f"{done} {verified.files:,} files, {amount(verified.bytes)}, of generation {numbers}{damaged}")
    for damage in verified.damaged:
        output.note(f"error: {damage.file} is corrupt: {damage.reason}")
    if verified.damaged:
        output.note(
            "hint: clockify-rag repair heals what is served from what is left of it, clockify-rag rollback serves the generation "
            "before, clockify-rag restore a snapshot"
        )
    return IndexCorrupt.exit_code if verified.damaged else 0


def migrate(*, index: str | None, as_json: bool) -> None:
    """Bring an index to the present format."""
    migrated = life.migrate(_folder(index))
    if as_json:
        output.print_json(msgspec.structs.asdict(migrated))
    elif migrated.was == migrated.format:
        output.Printer().line(f"the index has format {migrated.format}, the present one: there is nothing to do")
    else:
        output.Printer().line(f"generation {migrated.generation} has format {migrated.format}; it was {migrated.was}")


def parse_rate(text: str) -> float:
    """Return the bytes a second that ``20MB/s`` means; raises ``ConfigError`` where it means none."""
    found = RATE.fullmatch(text.strip())
    size = float(found[1]) * FACTORS[found[2].lower()] if found else 0.0
    if not size:
        raise ConfigError(f"--rate {text} is no amount a second", hint="for example --rate 20MB/s")
    return size


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
    pipeline = opening.pipeline(configuration)
    try:
        check_compatible(pipeline.index.snapshot, pipeline.searching_entry, lexical=False)
    except IndexIncompatible as error:
        output.note(f"warning: {error.message}")
        output.note(f"hint: {error.hint}")
