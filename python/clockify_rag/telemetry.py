"""What a run tells about itself: stage timings, log records, spans for those who trace, and the places that tests kill it at.

Nothing is written or sent unless asked for: no log record is made until a program imports ``logging``, none is shown until it or
``--verbose`` adds a handler to the logger ``clockify_rag``, there is no tracer until one is set, and neither is ever given
a question, an answer or a page's text. ``logging`` is not imported here, because that takes longer than a search.
"""

from __future__ import annotations

import sys
import time
from collections.abc import MutableMapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from types import TracebackType

LOGGER: Final = "clockify_rag"
"""The name of the package's logger. Its records are of level ``DEBUG`` or ``INFO``, which nobody sees unasked."""


class Tracer(Protocol):
    """Receives a span for every stage."""

    def span(self, name: str, attributes: dict[str, Any]) -> AbstractContextManager[Any]:
        """Return a context that is entered where the stage begins and left where it ends."""


class _State:
    """What applies to the whole process."""

    tracer: Tracer | None = None


def set_tracer(tracer: Tracer | None) -> None:
    """Send spans to ``tracer``, or to none."""
    _State.tracer = tracer


class stage:  # noqa: N801 - used as a context
    """Times a stage; a class, because a generator's context costs a question five times as much.

    Args:
        name: the stage's word, such as ``retrieve``.
        timings_ms: where its duration in milliseconds is added under ``name``.
        **attributes: numbers and names for the span; never questions, answers or text of pages.
    """

    __slots__ = ("_begin", "_name", "_span", "_timings")

    def __init__(self, name: str, timings_ms: MutableMapping[str, float] | None = None, **attributes: Any) -> None:
        self._name = name
        self._timings = timings_ms
        self._begin = 0.0
        self._span = None if _State.tracer is None else _State.tracer.span(name, attributes)

    def __enter__(self) -> None:
        """Begin."""
        self._begin = time.perf_counter()
        if self._span is not None:
            self._span.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        """End, also by what was raised."""
        try:
            return None if self._span is None else self._span.__exit__(kind, raised, traceback)
        finally:
            elapsed = (time.perf_counter() - self._begin) * 1000
            if self._timings is not None:
                self._timings[self._name] = round(self._timings.get(self._name, 0.0) + elapsed, 3)
            if (logging := sys.modules.get("logging")) is not None:
                logging.getLogger(LOGGER).debug("%s took %.3f ms", self._name, elapsed)


def failpoint(name: str) -> None:
    """Tell the interpreter's audit hooks, of which there are none but those of tests, that the work is at a named place.

    A test kills the process there, to see that nothing is lost.
    """
    sys.audit("clockify_rag.failpoint", name)


def log_to_stderr(level: int) -> None:
    """Write the package's log records of at least ``level`` to standard error, once."""
    import logging

    logger = logging.getLogger(LOGGER)
    logger.setLevel(level)
    if not any(getattr(handler, "clockify_rag", False) for handler in logger.handlers):
        handler = logging.StreamHandler()
        handler.clockify_rag = True  # type: ignore[attr-defined]  # marks our own handler among a program's
        handler.setFormatter(logging.Formatter("%(relativeCreated)7.0f ms %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
