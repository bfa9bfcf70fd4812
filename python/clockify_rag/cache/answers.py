"""Answers and rankings that were made before, by a key of everything that they depend on.

A key holds the generation, so nothing is ever invalidated: what was answered from another generation is not found, and goes as
the least recently used. In memory the records themselves are kept, which are immutable. What must outlast the process is a file
of sqlite for its owner's eyes alone, because questions are in it; each row carries a hash of its key and its value, and a row
or a file that does not match is not there. A monotonic clock counts the age of what is in memory; a file knows only the
wall clock, by which what is of the future is as old as what is too old.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")

ANSWERS: Final = "answers.sqlite"
"""The file of answers that were given, in the folder of caches."""

FAQ: Final = "faq.sqlite"
"""The file of answers that were made beforehand, in the folder of caches."""

_APPLICATION: Final = 0x43524741
_SEAL_BYTES: Final = 16
_OWNER_ONLY: Final = 0o600


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How often a cache was asked, and how often it had what was asked for."""

    lookups: int = 0
    hits: int = 0

    @property
    def hit_rate(self) -> float | None:
        """The share of what was looked for that was there; ``None`` where nothing was."""
        return self.hits / self.lookups if self.lookups else None


class RecentResults(Generic[T]):
    """The results used last, in memory, for a while. One object serves many threads.

    Args:
        entries: how many are kept.
        seconds: how long each is kept.
        clock: returns seconds that never go back.
    """

    def __init__(
        self, entries: int = 100, seconds: float = 3600.0, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.entries = entries
        self.seconds = seconds
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, T]] = OrderedDict()
        self._lookups = self._hits = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._kept)

    @property
    def counts(self) -> Counts:
        """How often it was asked, and had what was asked for."""
        with self._lock:
            return Counts(lookups=self._lookups, hits=self._hits)

    def get(self, key: str) -> T | None:
        """Return what was kept under ``key``."""
        with self._lock:
            self._lookups += 1
            found = self._kept.get(key)
            if found is None:
                return None
            if self._clock() - found[0] >= self.seconds:
                del self._kept[key]
                return None
            self._kept.move_to_end(key)
            self._hits += 1
            return found[1]

    def put(self, key: str, result: T) -> None:
        """Keep a result; the one that was used least recently goes where there are too many."""
        with self._lock:
            self._kept[key] = (self._clock(), result)
            self._kept.move_to_end(key)
            while len(self._kept) > self.entries:
                self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._kept.clear()


class StoredResults:
    """Results in a file that only its owner may read. One object serves many threads; several processes may share the file.

    Args:
        path: the file; made when the first result is stored.
        entries: how many are kept, those used last; ``None`` for all.
        seconds: how long each is kept; ``None`` for ever.
        clock: returns the time, in seconds.
    """

    def __init__(
        self,
        path: Path,
        *,
        entries: int | None = None,
        seconds: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self.entries = entries
        self.seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes | None:
        """Return what was stored under ``key``; nothing where the file cannot be read."""

        def found(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute("SELECT stored, value FROM results WHERE key = ?", (key,)).fetchone()
            value = None if row is None else self._checked(key, *row)
            connection.execute("UPDATE counts SET lookups = lookups + 1, hits = hits + ?", (value is not None,))
            if value is not None:
                connection.execute("UPDATE results SET used = ? WHERE key = ?", (self._clock(), key))
            return value

        return self._guarded(found) if self.path.exists() else None

    def put(self, key: str, value: bytes) -> None:
        """Store a result; nothing happens where the file cannot be written."""

        def stored(connection: sqlite3.Connection) -> None:
            now = self._clock()
            connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?, ?, ?)", (key, now, now, _seal(key, value)))
            if self.entries is not None:
                connection.execute(
                    "DELETE FROM results WHERE key NOT IN (SELECT key FROM results ORDER BY used DESC, key LIMIT ?)",
                    (self.entries,),
                )

        self._guarded(stored)

    def replace(self, results: Mapping[str, bytes]) -> None:
        """Store these results in place of all that are there.

        Raises:
            OSError: the file cannot be written.
        """
        import sqlite3

        now = self._clock()
        rows = [(key, now, now, _seal(key, value)) for key, value in results.items()]
        with self._lock:
            _unlink(self.path)
            try:
                with self._opened() as connection:
                    connection.executemany("INSERT INTO results VALUES (?, ?, ?, ?)", rows)
            except sqlite3.OperationalError as error:
                raise OSError(f"{self.path} cannot be written: {error}") from error

    @property
    def counts(self) -> tuple[int, Counts]:
        """How many results there are, and how often they were asked for."""

        def counted(connection: sqlite3.Connection) -> tuple[int, Counts]:
            entries = connection.execute("SELECT count(*) FROM results").fetchone()[0]
            lookups, hits = connection.execute("SELECT lookups, hits FROM counts").fetchone()
            return int(entries), Counts(lookups=lookups, hits=hits)

        found = self._guarded(counted) if self.path.exists() else None
        return (0, Counts()) if found is None else found

    def _checked(self, key: str, stored: Any, sealed: Any) -> bytes | None:
        age = self._clock() - stored if isinstance(stored, float) else -1.0
        if age < 0 or (self.seconds is not None and age >= self.seconds) or not isinstance(sealed, bytes):
            return None
        value = sealed[_SEAL_BYTES:]
        return value if sealed == _seal(key, value) else None

    def _guarded(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """What ``work`` returns; ``None`` where the file cannot be used, and one that is damaged goes."""
        import sqlite3

        with self._lock:
            try:
                with self._opened() as connection:
                    return work(connection)
            except (sqlite3.OperationalError, OSError):
                # Locked, read-only or full: there is no cache this time.
                return None
            except (sqlite3.DatabaseError, TypeError):
                # No file of ours: whatever would be read from it is not what was written.
                with contextlib.suppress(OSError):
                    _unlink(self.path)
                return None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """The file, whose changes are kept where the body succeeds."""
        import sqlite3

        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Before sqlite makes it with the rights that the process gives to files; its journal has those of the file.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, _OWNER_ONLY))
        connection = sqlite3.connect(self.path, timeout=1.0)
        try:
            connection.execute("PRAGMA synchronous = OFF")
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            if application not in {0, _APPLICATION}:
                raise sqlite3.DatabaseError("a file of another program")
            with connection:
                if not application:
                    connection.execute(
                        "CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, stored REAL, used REAL, value BLOB)"
                    )
                    connection.execute("CREATE TABLE IF NOT EXISTS counts (lookups INTEGER, hits INTEGER)")
                    connection.execute("INSERT INTO counts SELECT 0, 0 WHERE NOT EXISTS (SELECT 1 FROM counts)")
                    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
                yield connection
        finally:
            connection.close()


def forget(folder: Path) -> int:
    """Remove all stored answers in a folder of caches; returns how many bytes they took.

    Raises:
        OSError: a file cannot be removed.
    """
    return sum(_unlink(folder / name) for name in (ANSWERS, FAQ))


def describe(folder: Path) -> dict[str, Any]:
    """Return what there is to say of the stored answers in a folder of caches, as JSON-ready values."""
    described: dict[str, Any] = {}
    for name, file in (("answer_cache", ANSWERS), ("faq", FAQ)):
        path = folder / file
        entries, counts = StoredResults(path).counts
        described[name] = None
        if path.exists():
            described[name] = {
                "entries": entries,
                "lookups": counts.lookups,
                "hits": counts.hits,
                "hit_rate": counts.hit_rate,
            }
    return described


def _unlink(path: Path) -> int:
    taken = 0
    for name in (path, path.with_name(f"{path.name}-journal")):
        with contextlib.suppress(FileNotFoundError):
            taken += name.stat().st_size
            name.unlink()
    return taken


def _seal(key: str, value: bytes) -> bytes:
    import hashlib

    return hashlib.blake2b(key.encode() + value, digest_size=_SEAL_BYTES).digest() + value
