"""``watch``."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from clockify_rag import config
from clockify_rag.cli import building, opening, output

if TYPE_CHECKING:
    from clockify_rag.watching import Built, Event, Failed, Started, Watcher


def watch(locations: Sequence[str], *, index: str | None, settle: str | None, poll: bool, as_json: bool) -> int:
    """Follow sources until a signal ends it, print what happens, and return the exit status."""
    configuration = opening.load(
        ("index.path", "--index", index),
        ("watching.settle_seconds", "--settle", _number(settle)),
        ("watching.polling", "--poll", True if poll else None),
    )
    sources = config.typed_sources([opening.typed(location) for location in locations], configuration.settings)
    for warning in building.overlaps(sources, configuration.settings):
        output.note(f"warning: {warning}")
    pipeline = opening.pipeline(configuration, building=True)
    from clockify_rag.watching import Watcher

    watcher = Watcher(pipeline, sources, _print_json if as_json else _Lines(configuration.settings.index.path).print)
    return _run(watcher)


def _number(typed: str | None) -> float | str | None:
    """What was typed as a number; anything else as it is, for the settings to refuse."""
    try:
        return None if typed is None else float(typed)
    except ValueError:
        return typed


def _run(watcher: Watcher) -> int:
    """Run until a signal: SIGTERM ends well, because it is how services are asked to end; Ctrl-C as it ends every command."""
    terminated = False

    def terminate(*_: object) -> None:
        nonlocal terminated
        terminated = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        watcher.run()
    except KeyboardInterrupt:
        if not terminated:
            raise
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0


def _print_json(event: Event) -> None:
    output.print_json(msgspec.to_builtins(event))


class _Lines:
    """Prints events for people; a warning that was given is not repeated with every build."""

    def __init__(self, index: str) -> None:
        self._index = index
        self._printer = output.Printer()
        self._warned: set[str] = set()

    def print(self, event: Event) -> None:
        """Print an event."""
        from clockify_rag.watching import Built, Failed, Started

        if isinstance(event, Started):
            self._started(event)
        elif isinstance(event, Built):
            self._built(event)
        elif isinstance(event, Failed):
            self._failed(event)
        else:
            self._printer.line("stopped")
        sys.stdout.flush()

    def _started(self, event: Started) -> None:
        for source in event.sources:
            how = "again and again" if source.followed_by == "interval" else f"by {source.followed_by}"
            self._printer.line(f"following {output.one_line(source.name)} ({output.one_line(source.location)}) {how}")
        if event.polling:
            output.note(f"warning: every file is looked at each second, because {event.polling}")

    def _built(self, event: Built) -> None:
        report = event.report
        self._printer.line(f"generation {report.generation}: {building.counted(report)}, {event.seconds:.2f} s", "bold")
        sentences = {*building.unreadable_pages(report), *building.notices(report)}
        for sentence in sorted(sentences - self._warned):
            output.note(f"warning: {sentence}")
        self._warned |= sentences

    def _failed(self, event: Failed) -> None:
        output.note(f"error: {event.error.message}")
        if event.error.hint:
            output.note(f"hint: {event.error.hint}")
