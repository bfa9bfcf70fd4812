"""The life of an index's generations: listed, tagged, served again, collected.

A generation's number never stands for other content, so what was answered or cached under it stays true. To roll back is
therefore to publish: the old state becomes a new generation, made of the files that are there. Nothing here reads a page or
makes a vector.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from clockify_rag import _core
from clockify_rag.errors import ConfigError, GenerationNotFound


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """A published generation."""

    generation: int
    when: str
    """When it was published, in UTC, as the manifest's file says."""
    documents: int
    chunks: int
    bytes: int
    """The bytes of its files; generations share files."""
    own_bytes: int
    """The bytes of files that no other generation uses: what its removal frees."""
    served: bool
    tags: tuple[str, ...]
    kept: tuple[str, ...]
    """Why it stays: ``served``, ``recent`` (one of the last three), ``tagged``, ``young`` (less than a minute old), ``open``
    (somebody reads it). Nothing keeps a generation without any: the next build or ``gc`` removes it.
    """
    damage: str | None = None
    """Why its manifest cannot be read."""


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection removed, or would remove."""

    generations: tuple[int, ...]
    files: int
    """Files of these generations, and what builds left that were killed."""
    bytes: int


def listed(path: str | Path) -> tuple[Generation, ...]:
    """Return the published generations of an index, oldest first.

    Raises:
        IndexNotFound: there is no index.
        IndexCorrupt: ``CURRENT`` or a tag is damaged.
    """
    rows = _core.list_generations(str(path))
    uses = Counter(name for *_, files, _, _, _ in rows for name, _ in files)
    return tuple(
        Generation(
            generation=number,
            when=datetime.fromtimestamp(published, UTC).isoformat(timespec="seconds"),
            documents=documents,
            chunks=chunks,
            bytes=sum(length for _, length in files),
            own_bytes=sum(length for name, length in files if uses[name] == 1),
            served="served" in kept,
            tags=tuple(tags),
            kept=tuple(kept),
            damage=damage,
        )
        for number, published, documents, chunks, files, damage, kept, tags in rows
    )


def served(path: str | Path) -> int:
    """Return the number of the generation that is served.

    Raises:
        IndexNotFound: there is no index.
    """
    return next(row.generation for row in listed(path) if row.served)


def named(path: str | Path, name: str | None) -> int:
    """Return the number of the generation that a number or tag means; of the one that is served for ``None``.

    Raises:
        GenerationNotFound: there is no such number or tag.
    """
    if name is None:
        return served(path)
    rows = listed(path)
    if name.isdecimal() and name.isascii():
        found = [row.generation for row in rows if row.generation == int(name)]
    else:
        found = [row.generation for row in rows if name in row.tags]
    if not found:
        known = ", ".join(str(row.generation) + "".join(f" ({tag})" for tag in row.tags) for row in rows[-10:])
        raise GenerationNotFound(f"{path} has no generation {name!r}", hint=f"there are: {known}", path=str(path))
    return found[0]


def tag(path: str | Path, name: str, generation: str | None = None, *, move: bool = False) -> int:
    """Give a generation a name, which keeps it for ever; return its number.

    Args:
        path: the index folder.
        name: up to 64 letters, digits, ``-``, ``_`` and ``.`` of ASCII; no number.
        generation: its number or a tag of it; by default the one that is served.
        move: take the name from another generation that has it.

    Raises:
        ConfigError: the name can be no tag, or is another generation's.
        GenerationNotFound: there is no such generation.
    """
    number = named(path, generation)
    taken = {known: other for known, other, _ in _core.list_tags(str(path))}
    if taken.get(name, number) != number and not move:
        raise ConfigError(
            f"the tag {name} is one of generation {taken[name]}",
            hint=f"clockify-rag tag --move {name} {number} takes it from there",
        )
    _core.set_tag(str(path), name, number, move)
    return number


def untag(path: str | Path, name: str) -> None:
    """Remove a tag; its generation then stays as long as others do.

    Raises:
        GenerationNotFound: there is no such tag.
    """
    if not _core.remove_tag(str(path), name):
        known = ", ".join(tag for tag, _, _ in _core.list_tags(str(path)))
        hint = f"there are: {known}" if known else "clockify-rag tag NAME sets one"
        raise GenerationNotFound(f"{path} has no tag {name!r}", hint=hint, path=str(path))


def roll_back(path: str | Path, generation: str | None = None) -> tuple[int, int]:
    """Serve the state of a former generation again, as a new one; return both numbers, the new one first.

    Also where the generation that is served is damaged.

    Args:
        path: the index folder.
        generation: its number or a tag; by default the one before the one that is served.

    Raises:
        GenerationNotFound: there is no such generation.
        IndexCorrupt: it is damaged itself; what was served still is.
        IndexLocked: another process builds this index.
    """
    if generation is None:
        numbers = [row.generation for row in listed(path)]
        if len(numbers) < 2:  # noqa: PLR2004 - the one that is served and one before it
            raise GenerationNotFound(
                f"{path} has no generation before {numbers[-1]}",
                hint="clockify-rag generations lists them",
                path=str(path),
            )
        number = numbers[-2]
    else:
        number = named(path, generation)
    return _core.republish(str(path), number), number


def collect(path: str | Path, *, dry_run: bool = False) -> Collected:
    """Remove the generations that nothing keeps, and what no generation names.

    Args:
        path: the index folder.
        dry_run: remove nothing, and return what would be removed.

    Raises:
        IndexLocked: another process builds this index.
        IndexCorrupt: a tag is damaged, so that it is not known what must stay.
    """
    numbers, files, size = _core.collect_generations(str(path), dry_run)
    return Collected(generations=tuple(numbers), files=files, bytes=size)
