"""Vectors that were paid for once: a cache of embeddings beside the index, safe to delete at any time.

One sqlite file for each model, because sqlite already is what survives a killed writer and several readers. It need not
survive a power failure, so nothing is synced: every row carries a hash of its key and its vector, a row that does not
match is not there, and a file that cannot be read is replaced. So the worst that damage costs is embedding again.
Float32 is kept, so that an index built from the cache is bit for bit the one built without; reading or writing a
thousand vectors of 384 dimensions takes a few milliseconds, where a model takes seconds. One statement reads or writes
a thousand texts or more, wherever so many are asked for at once.

The cache never fails a build: what it cannot do, it does not do.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

BATCH = 1000
"""Texts that are read or written by one statement at least, where there are so many."""
_CHECK_BYTES = 8
_KEPT_AFTER_EVICTION = 0.8
_APPLICATION = 0x43524731
_PASSING = frozenset((3, 5, 6, 7, 8, 9, 10, 13, 14, 15))
"""SQLite's result codes of failures that are not the file's: permission, busy, locked, memory, read-only, interrupted,
input and output, full, cannot open, protocol."""


class EmbeddingCache:
    """Vectors by model and text, in a folder.

    One object serves many threads. Vectors are passed as the bytes of little-endian float32.

    Args:
        folder: where the files ``embeddings-<fingerprint>.sqlite`` lie; made when the first vector is stored.
        maximum_bytes: how large the file of one model may become; beyond it the vectors stored first are dropped.
    """

    def __init__(self, folder: str | os.PathLike[str], *, maximum_bytes: int = 1 << 30) -> None:
        self.folder = Path(folder)
        self.maximum_bytes = maximum_bytes
        self.reads = 0
        """Statements that read vectors."""
        self.writes = 0
        """Statements that wrote vectors."""
        self._connections: dict[str, sqlite3.Connection] = {}
        self._process = os.getpid()
        self._lock = threading.Lock()

    def path(self, fingerprint: str) -> Path:
        """Return the file in which the vectors of the embedder ``fingerprint`` lie."""
        name = fingerprint if re.fullmatch(r"[0-9a-z]{8,64}", fingerprint) else _hash(fingerprint).hex()
        return self.folder / f"embeddings-{name}.sqlite"

    def get(self, fingerprint: str, texts: Sequence[str]) -> dict[str, bytes]:
        """Return the vectors there are of ``texts``; at most one read for each thousand, and one for fewer.

        Args:
            fingerprint: of the embedder.
            texts: as the embedder gets them.
        """
        found: dict[str, bytes] = {}
        with self._lock, self._guarded(fingerprint):
            if not texts or not self.path(fingerprint).exists():
                return found
            connection = self._open(fingerprint)
            for batch in batches(list(dict.fromkeys(texts))):
                self.reads += 1
                keys = {_hash(text): text for text in batch}
                marks = ",".join("?" * len(keys))
                rows = connection.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", list(keys))  # noqa: S608 - question marks
                for key, value in rows:
                    if (vector := _checked(key, value)) is not None:
                        found[keys[key]] = vector
        return found

    def put(self, fingerprint: str, vectors: Mapping[str, bytes]) -> None:
        """Store the vectors of some texts; at most one write for each thousand, and one for fewer. What was written lasts
        when the process is killed.
        """
        with self._lock, self._guarded(fingerprint):
            connection = self._open(fingerprint)
            for batch in batches(list(vectors)):
                self.writes += 1
                rows = [(key := _hash(text), _seal(key, vectors[text])) for text in batch]
                with connection:
                    connection.executemany("INSERT OR REPLACE INTO vectors (key, vector) VALUES (?, ?)", rows)
            self._evict(connection)

    def clear(self) -> int:
        """Remove the vectors of all models; returns how many bytes they took.

        Raises:
            OSError: a file cannot be removed.
        """
        with self._lock:
            self._forget()
            taken = 0
            for path in sorted(self.folder.glob("embeddings-*.sqlite*")):
                taken += path.stat().st_size
                path.unlink()
            return taken

    def close(self) -> None:
        """Close the files; the next use opens them again."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        for connection in self._connections.values():
            # A connection of the parent of a fork is not ours to close.
            if self._process == os.getpid():
                connection.close()
        self._connections = {}
        self._process = os.getpid()

    @contextlib.contextmanager
    def _guarded(self, fingerprint: str) -> Iterator[None]:
        import sqlite3

        try:
            yield
        except sqlite3.DatabaseError as error:
            self._forget()
            # Locked, read-only or full: there is no cache this time. Whatever else it is, the file cannot be used again.
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF not in _PASSING:
                self._remove(fingerprint)
        except OSError:
            self._forget()

    def _remove(self, fingerprint: str) -> None:
        path = self.path(fingerprint)
        for name in (path, path.with_name(f"{path.name}-journal")):
            with contextlib.suppress(OSError):
                name.unlink()

    def _open(self, fingerprint: str) -> sqlite3.Connection:
        if self._process != os.getpid():
            self._forget()
        if connection := self._connections.get(fingerprint):
            return connection
        import sqlite3

        path = self.path(fingerprint)
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=1.0, check_same_thread=False)
        try:
            connection.execute("PRAGMA synchronous = OFF")
            application = connection.execute("PRAGMA application_id").fetchone()[0]
            if application not in (0, _APPLICATION):
                raise sqlite3.DatabaseError("a file of another program")
            # A damaged tree of keys would hide rows for ever; checking takes .4 s for each 100 MB, once for each build.
            if application and connection.execute("PRAGMA integrity_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("a damaged file")
            connection.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL)")
            if not application:
                connection.execute(f"PRAGMA application_id = {_APPLICATION}")
        except sqlite3.Error:
            connection.close()
            raise
        self._connections[fingerprint] = connection
        return connection

    def _evict(self, connection: sqlite3.Connection) -> None:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        free = connection.execute("PRAGMA freelist_count").fetchone()[0]
        if (used := (pages - free) * size) <= self.maximum_bytes:
            return
        share = 1 - _KEPT_AFTER_EVICTION * self.maximum_bytes / used
        with connection:
            connection.execute(
                "DELETE FROM vectors WHERE rowid IN (SELECT rowid FROM vectors ORDER BY rowid"
                " LIMIT (SELECT CAST(count(*) * ? AS INTEGER) + 1 FROM vectors))",
                (share,),
            )


def batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Cut ``texts`` into parts of a thousand or more each, less than two thousand; into one where there are fewer."""
    parts = min(max(len(texts) // BATCH, 1), len(texts))
    return (texts[number * len(texts) // parts : (number + 1) * len(texts) // parts] for number in range(parts))


def _hash(text: str) -> bytes:
    import hashlib

    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _seal(key: bytes, vector: bytes) -> bytes:
    import hashlib

    return hashlib.blake2b(key + vector, digest_size=_CHECK_BYTES).digest() + vector


def _checked(key: bytes, value: object) -> bytes | None:
    if not isinstance(value, bytes) or value != _seal(key, value[_CHECK_BYTES:]):
        return None
    return value[_CHECK_BYTES:]
