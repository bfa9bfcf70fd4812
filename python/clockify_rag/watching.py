"""Watching: an index that follows its sources by itself.

What the system tells of folders only says when to look: each settled change is one ordinary build over the sources that it touched,
so whatever an event left out, said twice or said too late, the next generation is what the folders hold. Folders are also looked at
every few minutes, because the kernel drops events when there are too many. Sites are read again by a monotonic clock, in a thread
of their own, so that a slow site does not keep folders waiting.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from clockify_rag.building import BuildReport
from clockify_rag.contracts import Failure, Source
from clockify_rag.errors import ClockifyRagError, SourceError
from clockify_rag.pipeline import Pipeline
from clockify_rag.walking import Folder, Reach, start_of

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

STEP_SECONDS: Final = 0.02
"""How often what the system told is looked at."""

PLACE_SECONDS: Final = 0.5
"""How often it is looked whether the locations themselves are what they were: gone, back, replaced, another file."""

POLL_SECONDS: Final = 1.0
"""How often every file is looked at where the system tells of no changes."""

RESCAN_SECONDS: Final = 300.0
"""How often all folders are looked at whatever was told."""

LONGEST_SETTLES: Final = 20
"""A change that never settles is followed after this many times the time in which it should have."""

RETRY_SECONDS: Final = (1.0, 60.0)
"""When a build that failed for another reason than its sources is tried again first, and at longest."""

SITE_RETRY_SECONDS: Final = 600.0
"""When a site that could not be read is tried again, where that is sooner than its interval."""

NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"9p", "afs", "ceph", "cifs", "davfs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "prl_fs", "smb3", "smbfs"}
    | {"vboxsf", "virtiofs", "vmhgfs"}
)
"""Mounts whose other side changes files without this system telling; so do all of FUSE."""

_MOUNTS: Final = Path("/proc/self/mountinfo")
_DAMAGE: Final = "internal"

Way = Literal["events", "polling", "interval"]


class FollowedSource(msgspec.Struct, frozen=True):
    """A source, and how it is known that it changed."""

    name: str
    location: str
    followed_by: Way


class Started(msgspec.Struct, frozen=True, tag_field="event", tag="started"):
    """Changes are followed from now on; all sources are about to be read."""

    index: str
    sources: tuple[FollowedSource, ...]
    polling: str = ""
    """Why every file is looked at again and again, where it is."""


class Built(msgspec.Struct, frozen=True, tag_field="event", tag="built"):
    """A generation was published, or at the start and after a crawl, nothing had changed."""

    sources: tuple[str, ...]
    """The sources that were read."""
    report: BuildReport
    seconds: float
    """From the last change that was noticed, or from the end of the crawl, to the publication."""


class Failed(msgspec.Struct, frozen=True, tag_field="event", tag="failed"):
    """A build failed; what was served is served. The same failure is told once."""

    sources: tuple[str, ...]
    error: Failure


class Stopped(msgspec.Struct, frozen=True, tag_field="event", tag="stopped"):
    """Nothing is followed any more."""


Event = Started | Built | Failed | Stopped

_Place = tuple[str, *tuple[int, ...]]


class Watcher:
    """Follows sources until it is stopped.

    Args:
        pipeline: builds; its components stay warm from one build to the next.
        sources: folders, files, archives and sites.
        tell: called with every event, in the thread that runs.
    """

    def __init__(self, pipeline: Pipeline, sources: Sequence[Source], tell: Callable[[Event], object]) -> None:
        self._pipeline = pipeline
        self._sources = {source.name: source for source in sources}
        self._tell = tell
        self._settings = pipeline.settings.watching
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._changes = _Changes(pipeline, [source for source in sources if source.site is None])
        self._crawls = _Crawls(pipeline, [source for source in sources if source.site is not None], self._wake)
        self._pending: dict[str, None] = {}
        self._crawled: dict[str, Any] = {}
        self._first = self._last = 0.0
        self._retry_at: float | None = None
        self._delay = RETRY_SECONDS[0]
        self._failures: dict[str, tuple[str, str]] = {}
        self._generation: int | None = None

    def run(self) -> None:
        """Read all sources, then follow them until ``stop`` is called.

        Raises:
            ConfigError: a location cannot be followed.
            KeyboardInterrupt: a signal ended it; what was not published is lost, as in any build.
        """
        try:
            self._changes.open()
            self._tell(self._started())
            self._note(self._changes.names, time.monotonic())
            self._build()
            while not self._stopping.is_set():
                self._look()
                if self._is_settled():
                    self._build()
                self._wake.wait(STEP_SECONDS)
                self._wake.clear()
        finally:
            self._crawls.stop()
            self._changes.close()
            self._tell(Stopped())

    def stop(self) -> None:
        """Make ``run`` return, after the build that is under way; may be called from any thread and from a signal's handler."""
        self._stopping.set()
        self._wake.set()

    def _started(self) -> Started:
        ways = dict.fromkeys(self._changes.names, self._changes.way)
        followed = tuple(
            FollowedSource(source.name, source.location, ways.get(source.name, "interval"))
            for source in self._sources.values()
        )
        return Started(str(self._pipeline.path), followed, self._changes.why_polling)

    def _look(self) -> None:
        """Note what changed since it was last looked."""
        now = time.monotonic()
        self._note(self._changes.look(now), now)
        if (crawled := self._crawls.look(now)) is not None:
            if isinstance(crawled, ClockifyRagError):
                self._fail(self._crawls.names, crawled)
            else:
                self._crawled |= crawled
                self._note(crawled, now)

    def _note(self, names: Iterable[str], now: float) -> None:
        for name in names:
            if not self._pending:
                self._first = now
            self._pending[name] = None
            self._last = now

    def _is_settled(self) -> bool:
        now = time.monotonic()
        if self._retry_at is not None and now < self._retry_at:
            return False
        quiet = self._settings.settle_seconds
        return bool(self._pending) and (now - self._last >= quiet or now - self._first >= LONGEST_SETTLES * quiet)

    def _build(self) -> None:
        """Publish one generation of all that changed; a source that cannot be read keeps none of the others from it."""
        begin = self._last
        names = list(self._pending)
        self._pending.clear()
        while names and not self._stopping.is_set():
            try:
                report = self._pipeline.build([self._sources[name] for name in names], crawls=self._crawled)
            except SourceError as error:
                broken = error.fields.get("source")
                failed = [broken] if broken in names else list(names)
                self._fail(failed, error)
                names = [name for name in names if name not in failed]
            except Exception as error:  # noqa: BLE001 - whatever a component raises, watching goes on
                self._fail(names, error)
                self._retry_at = time.monotonic() + self._delay
                self._delay = min(2 * self._delay, RETRY_SECONDS[1])
                self._note(names, self._first)
                return
            else:
                self._succeed(names, report, begin)
                return

    def _succeed(self, names: Sequence[str], report: BuildReport, begin: float) -> None:
        self._retry_at, self._delay = None, RETRY_SECONDS[0]
        for name in names:
            self._failures.pop(name, None)
            self._crawled.pop(name, None)
        has_changed = report.added or report.changed or report.moved or report.removed
        if has_changed or report.generation != self._generation or report.crawls:
            self._tell(Built(tuple(names), report, round(time.monotonic() - begin, 3)))
        self._generation = report.generation

    def _fail(self, names: Iterable[str], error: Exception) -> None:
        """Tell of a failure unless it was told."""
        failure = (
            Failure(error.code, error.message, error.hint)
            if isinstance(error, ClockifyRagError)
            else Failure(_DAMAGE, f"{type(error).__name__}: {error}", "clockify-rag build with the same sources")
        )
        names = tuple(names)
        if any(self._failures.get(name) != (failure.code, failure.message) for name in names):
            self._tell(Failed(names, failure))
        self._failures |= dict.fromkeys(names, (failure.code, failure.message))


class _Changes:
    """What changes in folders and files.

    Args:
        pipeline: whose index folder is passed over, and whose loader knows what is read.
        sources: those on this machine.
    """

    def __init__(self, pipeline: Pipeline, sources: Sequence[Source]) -> None:
        self._pipeline = pipeline
        self._sources = {source.name: source for source in sources}
        self._index = os.path.realpath(pipeline.path)
        self._is_polling = pipeline.settings.watching.polling
        self._places: dict[str, _Place | None] = {}
        self._notify: RustNotify | None = None
        self._look_at = self._rescan_at = 0.0
        self._documents: tuple[int, list[str]] = (-1, [])
        self.why_polling = "watching.polling is set" if self._is_polling else ""

    @property
    def names(self) -> list[str]:
        """The names of the sources."""
        return list(self._sources)

    @property
    def way(self) -> Way:
        """How changes are known."""
        return "polling" if self.why_polling else "events"

    def open(self) -> None:
        """Begin to follow the folders that are there."""
        now = time.monotonic()
        self._look_at, self._rescan_at = now + PLACE_SECONDS, now + RESCAN_SECONDS
        self._places = {name: _place(source.location) for name, source in self._sources.items()}
        self.close()
        roots = sorted({place[0] for place in self._places.values() if place is not None and os.path.isdir(place[0])})
        if roots:
            self._notify = self._opened(roots)

    def close(self) -> None:
        """Follow nothing."""
        if self._notify is not None:
            self._notify.close()
            self._notify = None

    def _opened(self, roots: list[str]) -> RustNotify:
        from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

        if not self.why_polling and (remote := _network_mount(roots)):
            self.why_polling = f"{remote} is on another machine"
        if not self.why_polling:
            try:
                return RustNotify(roots, False, False, 0, True, True)  # noqa: FBT003 - the library's
            except FileNotFoundError:
                # One vanished just now, which is noticed where places are looked at.
                roots = [root for root in roots if os.path.isdir(root)]
            except (OSError, WatchfilesRustInternalError) as error:
                self.why_polling = f"the system tells of no changes: {error}"
        return RustNotify(roots, False, True, round(1000 * POLL_SECONDS), True, True)  # noqa: FBT003 - the library's

    def look(self, now: float) -> set[str]:
        """Return the sources that changed, or may have."""
        changed = self._told()
        if now >= self._look_at:
            self._look_at = now + PLACE_SECONDS
            places = {name: _place(source.location) for name, source in self._sources.items()}
            moved = {name for name, place in places.items() if place != self._places[name]}
            if moved:
                # What happened while other watches were laid is found by reading everything.
                self.open()
                changed |= {name for name, place in self._places.items() if place is not None} | moved
        if now >= self._rescan_at:
            self._rescan_at = now + RESCAN_SECONDS
            changed |= {name for name, place in self._places.items() if place is not None}
        return changed

    def _told(self) -> set[str]:
        """The sources that the system told a change of that a build would read."""
        if self._notify is None:
            return set()
        told = self._notify.watch(1, 1, 1, None)
        if told == "signal":
            raise KeyboardInterrupt
        if isinstance(told, str):
            return set()
        paths = [path for _, path in told if path != self._index and not path.startswith(self._index + os.sep)]
        return {name for name in self._sources if paths and self._is_read(name, paths)}

    def _is_read(self, name: str, paths: Sequence[str]) -> bool:
        place = self._places[name]
        if place is None:
            return False
        root = place[0]
        if root in paths:
            return True
        inside = [path[len(root) + 1 :] for path in paths if path.startswith(root + os.sep)]
        if not inside or not os.path.isdir(root):
            return False
        from clockify_rag.loading import FileLoader

        loader = self._pipeline.loader
        if not isinstance(loader, FileLoader):
            return True
        source = self._sources[name]
        try:
            start = start_of(root, ignore=loader.ignore, include=bool(source.include))
        except SourceError:
            return True
        reach = Reach(Folder(root), source, start, ignore=loader.ignore, had=lambda path: self._had(name, path))
        return any(reach.reads(path) for path in inside)

    def _had(self, name: str, folder: str) -> bool:
        """Whether the index has documents of a source below a folder that is gone."""
        try:
            index = self._pipeline.index
            if self._documents[0] != index.generation:
                known = [f"{document.source}/{document.path}" for document in index.documents()]
                self._documents = (index.generation, known)
        except ClockifyRagError:
            return True
        return any(path.startswith(f"{name}/{folder}/") for path in self._documents[1])


def _place(location: str) -> _Place | None:
    """What tells that another thing is at a location: for a folder where it is and which it is, for a file also its state."""
    path = os.path.realpath(location)
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    if os.path.isdir(path):
        return path, status.st_dev, status.st_ino
    return path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _network_mount(roots: Sequence[str]) -> str:
    """The first of ``roots`` that lies on a mount of another machine; nothing where there is none or it cannot be told."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    mounts: dict[str, str] = {}
    for line in lines:
        fields, _, described = line.partition(" - ")
        parts = fields.split(" ")
        if len(parts) > 4:  # noqa: PLR2004 - the fifth is where it is mounted
            mounts[parts[4].replace("\\040", " ")] = described.split(" ")[0]
    for root in roots:
        around = [mount for mount in mounts if mount in ("/", root) or root.startswith(mount + "/")]
        kind = mounts[max(around, key=len)] if around else ""
        if kind in NETWORK_FILE_SYSTEMS or kind.startswith("fuse"):
            return root
    return ""


class _Crawls:
    """Reads sites again and again, in a thread of its own.

    Args:
        pipeline: whose settings say how, and whose index folder keeps the pages.
        sites: the sources.
        wake: set when a crawl has ended.
    """

    def __init__(self, pipeline: Pipeline, sites: Sequence[Source], wake: threading.Event) -> None:
        self._pipeline = pipeline
        self._sites = tuple(sites)
        self._wake = wake
        self._due_at: float | None = 0.0 if sites else None
        self._done: queue.SimpleQueue[Mapping[str, Any] | ClockifyRagError] = queue.SimpleQueue()
        self._stopping = threading.Event()

    @property
    def names(self) -> list[str]:
        """The names of the sources."""
        return [site.name for site in self._sites]

    def look(self, now: float) -> Mapping[str, Any] | ClockifyRagError | None:
        """Begin a crawl if one is due; return what one that has ended said, if one has."""
        if self._due_at is not None and now >= self._due_at:
            self._due_at = None
            threading.Thread(target=self._run, name="clockify-rag crawl", daemon=True).start()
        try:
            done = self._done.get_nowait()
        except queue.Empty:
            return None
        interval = self._pipeline.settings.crawling.interval_hours * 3600
        if isinstance(done, ClockifyRagError) or any(report.failure is not None for report in done.values()):
            interval = min(interval, SITE_RETRY_SECONDS)
        self._due_at = now + interval
        return done

    def stop(self) -> None:
        """Have a crawl that is under way end with the page that it is at; the next one goes on from there."""
        self._stopping.set()

    def _run(self) -> None:
        from clockify_rag.crawling import crawl

        def go_on(*_: object) -> None:
            if self._stopping.is_set():
                raise _Stopping

        try:
            done: Mapping[str, Any] | ClockifyRagError = crawl(
                self._sites, self._pipeline.path, self._pipeline.settings.crawling, progress=go_on
            )
        except ClockifyRagError as error:
            done = error
        except _Stopping:
            return
        except Exception as error:  # noqa: BLE001 - told as a failure, and tried again
            done = SourceError(f"the sites could not be read: {type(error).__name__}: {error}")
        self._done.put(done)
        self._wake.set()


class _Stopping(BaseException):
    """Ends a crawl."""
