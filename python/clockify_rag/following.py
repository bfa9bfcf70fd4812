"""Following: serving each generation as it is published, for programs that stay open.

A thread looks at ``CURRENT``, which costs one system call, and opens what it names beside the generation that is served: maps that
both share are not opened or verified again, and questions under way keep the generation that they began with. Polling was chosen
over notifications because it is the same on every file system, the read-only mount of another machine included.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Final, Self, TypeVar

from clockify_rag.errors import ClockifyRagError, IndexNotFound, StoreError
from clockify_rag.index import LocalIndex
from clockify_rag.telemetry import LOGGER

INTERVAL_SECONDS: Final = 0.25
"""How often the served generation is looked at."""

RETRY_SECONDS: Final = 30.0
"""The longest time after which a generation that could not be opened is tried again, where nothing is published meanwhile; the first
is the time between two looks, and each is twice the one before.
"""

Mark = tuple[int, int, int, int]
"""What tells that ``CURRENT`` was replaced."""

_followers: weakref.WeakSet[Follower] = weakref.WeakSet()

_Told = TypeVar("_Told")


class Follower:
    """A thread that makes an open index serve the generation that was published last; a context manager.

    A generation that cannot be opened is never served: the one before stays, and ``error`` says why until another could be
    opened. A forked child follows with a thread of its own. The thread does not keep a process from ending.

    Args:
        index: the index.
        interval_seconds: how often to look.
        opened: called in the thread after another generation began to be served.
        failed: called in the thread with every new ``error``.
        forked: called in a forked child before it follows.
    """

    def __init__(
        self,
        index: LocalIndex,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        opened: Callable[[int], object] | None = None,
        failed: Callable[[ClockifyRagError], object] | None = None,
        forked: Callable[[], object] | None = None,
    ) -> None:
        self._index = index
        self._interval = interval_seconds
        self._opened = opened
        self._failed = failed
        self._forked = forked
        self._error: ClockifyRagError | None = None
        self._start()
        _followers.add(self)

    def _start(self) -> None:
        self._closing = threading.Event()
        self._served = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="clockify-rag follower", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    @property
    def error(self) -> ClockifyRagError | None:
        """Why the generation that was published last is not served; ``None`` while it is."""
        return self._error

    @property
    def closed(self) -> bool:
        """Whether it follows no longer."""
        return self._closing.is_set()

    def close(self) -> None:
        """End the thread; the generation that is open stays open."""
        self._closing.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def wait(self, generation: int, timeout_seconds: float | None = None) -> bool:
        """Wait until that generation or a later one is served; return whether it is."""
        with self._served:
            return self._served.wait_for(lambda: self._index.generation >= generation, timeout_seconds)

    def _run(self) -> None:
        looked: Mark | None = None
        retry_at, patience = 0.0, self._interval
        while True:
            try:
                mark = self._mark()
                is_new = mark != looked
                if is_new or (self._error is not None and time.monotonic() >= retry_at):
                    patience = self._interval if is_new else min(2 * patience, RETRY_SECONDS)
                    looked, retry_at = mark, time.monotonic() + patience
                    self._refresh()
            except IndexNotFound as error:
                looked = None
                self._keep(error)
            except ClockifyRagError as error:
                self._keep(error)
            except OSError as error:
                looked = None
                self._keep(StoreError(f"the index {self._index.path} cannot be looked at: {error.strerror or error}"))
            if self._closing.wait(self._interval):
                return

    def _mark(self) -> Mark:
        """What ``CURRENT`` is now, taken before it is read, so that no publication falls between."""
        try:
            status = os.stat(self._index.path / "CURRENT")
        except FileNotFoundError as error:
            path = str(self._index.path)
            raise IndexNotFound(
                f"there is no index at {path} any more; the generation that was open is served on",
                hint="clockify-rag build makes it anew",
                path=path,
            ) from error
        return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def _refresh(self) -> None:
        is_other = self._index.refresh()
        self._error = None
        if not is_other:
            return
        try:
            if self._opened is not None:
                _told(self._opened, self._index.generation)
        finally:
            # Also where what was told of it fails: it is served all the same, and who waits for it would wait in vain.
            with self._served:
                self._served.notify_all()

    def _keep(self, error: ClockifyRagError) -> None:
        before = self._error
        if before is not None and (before.code, before.message) == (error.code, error.message):
            return
        self._error = error
        if (logging := sys.modules.get("logging")) is not None:
            logging.getLogger(LOGGER).info("the generation published last is not served: %s", error)
        if self._failed is not None:
            _told(self._failed, error)

    def _revive(self) -> None:
        """Follow in a forked child, which has none of its parent's threads and perhaps locks that they held."""
        if not self.closed:
            self._index.after_fork()
            if self._forked is not None:
                self._forked()
            self._start()


def _told(callback: Callable[[_Told], object], value: _Told) -> None:
    """Call back; a defect there is shown as one of any thread, and ends nothing."""
    try:
        callback(value)
    except ClockifyRagError:
        raise
    except Exception:  # noqa: BLE001 - somebody else's code
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


def _revive_all() -> None:
    for follower in list(_followers):
        follower._revive()  # noqa: SLF001 - this module's


os.register_at_fork(after_in_child=_revive_all)
