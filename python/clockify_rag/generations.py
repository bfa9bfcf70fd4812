"""The life of an index's generations: listed, tagged, served again, collected.

A generation's number never stands for other content, so what was answered or cached under it stays true. To roll back is
therefore to publish: the old state becomes a new generation, made of the files that are there. Nothing here reads a page or
makes a vector.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from clockify_rag import _core
from clockify_rag.errors import ConfigError, GenerationNotFound, IndexCorrupt, StoreError
from clockify_rag.index import IndexWriter, decode_chunk, state_of, stored_documents


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
    return _core.served_generation(str(path))


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


class Archived(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot that was written or restored."""

    generation: int
    """The generation that the archive holds."""
    files: int
    bytes: int
    """The archive's."""
    hash: str
    """XXH3-128 over the names, lengths and hashes of all files."""


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """A file that is not what was written."""

    file: str
    reason: str


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What was read and compared with its hash."""

    generations: tuple[int, ...]
    files: int
    bytes: int
    damaged: tuple[Damage, ...]


Progress = Callable[[str, int, int | None], None]
"""Called with what is done, how many megabytes of it are, and of how many."""

PIECE_BYTES = 1 << 20
"""Bytes that are read between two looks at the clock."""


def snapshot(path: str | Path, file: str | Path, generation: str | None = None) -> Archived:
    """Write a generation into one portable file, also while builds publish; durable when this returns.

    The file holds the generation, its tags and the index's calibration; neither the secret nor cached embeddings.

    Args:
        path: the index folder.
        file: a tar archive; replaced whole if it is a snapshot already.
        generation: its number or a tag; by default the one that is served.

    Raises:
        IndexCorrupt: a byte of the generation is not what was written.
        InvalidSetting: the file lies within the index, or holds something else.
    """
    number = None if generation is None else named(path, generation)
    return _archived(_core.write_snapshot(str(path), number, str(file)))


def restore(file: str | Path, path: str | Path, *, replace: bool = False) -> tuple[int, Archived]:
    """Make a snapshot what the index serves; return the number that it is served under, and what was read.

    Every byte is compared with its hash before anything is served. Where the folder is not there the generation keeps its
    number; in a folder that is, it becomes the next one.

    Args:
        file: what ``snapshot`` wrote.
        path: the index folder.
        replace: serve it in place of the index that is there; also where that one is damaged.

    Raises:
        SnapshotInvalid: the file is no snapshot, or not as it was written.
        IndexIncompatible: it is of a format that this version does not read.
        IndexExists: there is an index, and ``replace`` is not given.
        IndexLocked: another process builds this index.
        StoreError: it cannot be written. What was served still is.
    """
    import shutil

    place = Path(path).absolute()
    existing = next(folder for folder in (place, *place.parents) if folder.exists())
    free, needed = shutil.disk_usage(existing).free, Path(file).stat().st_size if Path(file).is_file() else 0
    if needed > free:
        raise StoreError(
            f"{file} needs {needed:,} bytes, and {existing} has {free:,} free",
            hint="free space on that disk, or name a folder on another one with --index DIR",
            path=str(path),
        )
    number, row = _core.restore_snapshot(str(file), str(path), replace)
    return number, _archived(row)


def _archived(row: tuple[int, int, int, str]) -> Archived:
    generation, files, size, total = row
    return Archived(generation=generation, files=files, bytes=size, hash=total)


class Migrated(msgspec.Struct, frozen=True, kw_only=True):
    """An index that has the present format."""

    generation: int
    """The generation that is served."""
    format: int
    was: int
    """The format before; the same where there was nothing to do."""


def migrate(path: str | Path) -> Migrated:
    """Bring an index of an older format that is still read to the present one, as a new generation.

    The old one is served until then, and can be rolled back to. No source is read and nothing is embedded.

    Raises:
        IndexIncompatible: the format is newer than this version, or so old that it is no longer read.
        IndexLocked: another process builds this index.
    """
    before = _core.Snapshot.open(str(path))
    number = before.generation if before.format == _core.FORMAT else written_anew(path)
    return Migrated(generation=number, format=_core.FORMAT, was=before.format)


def written_anew(path: str | Path) -> int:
    """Publish a generation that holds what the one that is served holds, every file written anew; return its number."""
    # Nothing is created where there is no index.
    _core.Snapshot.open(str(path))
    with IndexWriter.keeping(path) as writer:
        before = _core.Snapshot.open(str(path))
        for document in stored_documents(before):
            chunks = [decode_chunk(record, text) for record, text in before.chunks_of(document.id)]
            vectors = None if before.embedder is None else before.vectors_of(document.id)
            writer.add(document, before.text(document.id) or "", chunks, vectors)
        return writer.publish(lambda: state_of(before).embedding)


def verify(
    path: str | Path, *, every: bool = False, rate: float | None = None, progress: Progress | None = None
) -> Verified:
    """Read every byte of the generation that is served and compare it with its hash.

    Args:
        path: the index folder.
        every: read all generations, and see that tags name what they were given to.
        rate: bytes a second at most, so that work beside it is not held up.
        progress: called as the work goes on.

    Raises:
        IndexNotFound: there is no index.
        IndexCorrupt: ``CURRENT`` does not say what is served.
    """
    wanted = [row.generation for row in listed(path)] if every else [served(path)]
    damaged: dict[str, Damage] = {}
    opened: dict[int, _core.Snapshot] = {}
    for number in wanted:
        try:
            # What generations share is opened once.
            opened[number] = _core.Snapshot.open(str(path), next(reversed(opened.values()), None), number)
        except IndexCorrupt as error:
            damaged[error.fields["path"]] = _damage(error)
        except GenerationNotFound:
            continue
    if every:
        _check_tags(path, opened, damaged)
    parts = {
        name: (found, place, size) for found in opened.values() for place, (name, size) in enumerate(found.files())
    }
    total = sum(size for _, _, size in parts.values())
    began, done = time.monotonic(), 0
    for found, place, size in parts.values():
        for start in range(0, size, PIECE_BYTES):
            end = min(size, start + PIECE_BYTES)
            try:
                found.verify_part(place, start, end)
            except IndexCorrupt as error:
                damaged[error.fields["path"]] = _damage(error)
                done += size - start
                break
            done += end - start
            if progress is not None:
                progress("verify (MB)", done // 1_000_000, total // 1_000_000)
            if rate:
                time.sleep(max(0.0, done / rate - (time.monotonic() - began)))
    return Verified(generations=tuple(opened), files=len(parts), bytes=total, damaged=tuple(damaged.values()))


def _check_tags(path: str | Path, opened: Mapping[int, _core.Snapshot], damaged: dict[str, Damage]) -> None:
    for name, number, hash_ in _core.list_tags(str(path)):
        file = str(Path(path) / "tags" / name)
        if number not in opened:
            damaged[file] = Damage(file=file, reason=f"it names generation {number}, which is missing or damaged")
        elif opened[number].hash != hash_:
            damaged[file] = Damage(file=file, reason=f"it names another generation {number} than there is")


def _damage(error: IndexCorrupt) -> Damage:
    return Damage(file=error.fields["path"], reason=error.fields["reason"])
