"""A circuit breaker: a server that failed several times in a row is left alone for a while instead of being waited for.

It closes by itself: after the pause one request is let through, and its success lets all others follow, its failure begins the pause
anew. A server that answers, even with a refusal, is well.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from clockify_rag.errors import (
    BackendBadResponse,
    BackendError,
    BackendRejected,
    BackendTimeout,
    BackendUnavailable,
    InvalidSetting,
)

_SERVER_ERROR = 500


class CircuitBreaker:
    """Counts failures in a row, and refuses requests where there were too many. Safe to use from several threads.

    Args:
        name: what is asked, as messages call it.
        failures: how many failures in a row open it.
        seconds: how long it stays open.
        now: a clock that never goes back, in seconds.
    """

    def __init__(
        self, name: str, *, failures: int = 3, seconds: float = 30.0, now: Callable[[], float] = time.monotonic
    ) -> None:
        if failures < 1:
            raise InvalidSetting(f"failures of a breaker is {failures}, and must be at least 1", setting="failures")
        self._name = name
        self._limit = failures
        self._seconds = seconds
        self._now = now
        self._lock = threading.Lock()
        self._failures = 0
        self._opened = 0.0
        self._trying = False

    @contextlib.contextmanager
    def attempt(self, *, patient: bool = True) -> Iterator[None]:
        """Let one request through, and learn from how it ends.

        Args:
            patient: whether the request is given the time that the server may need; else a time-out says nothing about it.

        Raises:
            BackendUnavailable: it is open.
        """
        trial = self._enter()
        try:
            yield
        except BackendError as error:
            hurried = isinstance(error, BackendTimeout) and not patient
            self._leave(trial, failed=None if hurried else _ill(error))
            raise
        except BaseException:
            # Cancelled: nothing was learnt.
            self._leave(trial, failed=None)
            raise
        self._leave(trial, failed=False)

    def _enter(self) -> bool:
        """Return whether this request is the one that tries a server which failed."""
        with self._lock:
            if self._failures < self._limit:
                return False
            left = self._opened + self._seconds - self._now()
            if left <= 0 and not self._trying:
                self._trying = True
                return True
        again = f"is asked again in {left:.0f} s" if left > 0 else "is being tried by another request"
        raise BackendUnavailable(
            f"{self._name} failed {self._failures} times in a row and {again}",
            hint="look at the server's log",
            seconds=max(left, 0.0),
        )

    def _leave(self, trial: bool, *, failed: bool | None) -> None:  # noqa: FBT001 - what _enter returned
        with self._lock:
            if trial:
                self._trying = False
            if failed is False:
                self._failures = 0
            elif failed:
                self._failures += 1
                self._opened = self._now()


def _ill(error: BackendError) -> bool:
    """Say whether an error tells that the server is not well, and not that it did not want this request."""
    if isinstance(error, BackendRejected):
        return (error.fields.get("status") or 0) >= _SERVER_ERROR
    return isinstance(error, BackendUnavailable | BackendTimeout | BackendBadResponse)
