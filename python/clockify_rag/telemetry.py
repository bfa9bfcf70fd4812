"""What a run tells about itself: stage timings, log records, spans for those who trace, and the places that tests kill it at.

Nothing is written or sent unless asked for: no log record is made until a program imports ``logging``, none is shown until it or
``--verbose`` adds a handler to the logger ``clockify_rag``, the tracer does nothing until one is set, and neither is ever given
a question, an answer or a page's text. ``logging`` is not imported here, because that takes longer than a search.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final, Protocol

LOGGER: Final = "clockify_rag"
"""The name of the package's logger. Its records are of level ``DEBUG`` or ``INFO``, which nobody sees unasked."""


class Tracer(Protocol):
    """Receives a span for every stage."""

    def span(self, name: str, attributes: dict[str, Any]) -> AbstractContextManager[Any]:
        """Return a context that is entered where the stage begins and left where it ends."""


class NullTracer:
    """The tracer that does nothing."""

    def span(self, name: str, attributes: dict[str, Any]) -> AbstractContextManager[Any]:  # noqa: ARG002 - the Protocol's
        """Return a context that does nothing."""
        return nullcontext()


class _State:
    """What applies to the whole process."""

    tracer: Tracer = NullTracer()


def set_tracer(tracer: Tracer | None) -> None:
    """Send spans to ``tracer``, or to none."""
    _State.tracer = NullTracer() if tracer is None else tracer


@contextmanager
def stage(name: str, timings_ms: MutableMapping[str, float] | None = None, **attributes: Any) -> Iterator[None]:
    """Time a stage.

    Args:
        name: the stage's word, such as ``retrieve``.
        timings_ms: where its duration in milliseconds is added under ``name``.
        **attributes: numbers and names for the span; never questions, answers or text of pages.
    """
    begin = time.perf_counter()
    try:
        with _State.tracer.span(name, attributes):
            yield
    finally:
        elapsed = (time.perf_counter() - begin) * 1000
        if timings_ms is not None:
            timings_ms[name] = round(timings_ms.get(name, 0.0) + elapsed, 3)
        if (logging := sys.modules.get("logging")) is not None:
            logging.getLogger(LOGGER).debug("%s took %.3f ms", name, elapsed)


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
