"""How long `watch` takes from a change to its publication, and how much it writes.

    PYTHONPATH=python python benches/watching.py [FOLDER] [CHANGES]

The pages of FOLDER, by default those of the PostgreSQL manual in ``RAG_TEST_DATA``, are linked into a temporary folder and followed.
One page after the other, spread over all of them, is saved with another sentence, by renaming as editors do. Printed are, over the
changes, milliseconds from the rename until the generation is durable, the time to settle taken off; of these the build's own; the
bytes that the process had the kernel write (``write_bytes`` of ``/proc/self/io``; a file system in memory shows none); and the
milliseconds until an open pipeline that follows serves it.
"""

from __future__ import annotations

import os
import queue
import shutil
import statistics
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from clockify_rag import Pipeline, Settings, Source
from clockify_rag.config import WatchingSettings
from clockify_rag.walking import FORMATS
from clockify_rag.watching import Built, Event, Stopped, Watcher

SETTLE_SECONDS = 0.1
WARM_UP = 2


def linked(folder: Path, into: Path) -> None:
    """Link the pages of a folder, so that none is copied and none is changed."""
    for page in folder.rglob("*"):
        if page.suffix.lower() in FORMATS and page.is_file() and not page.is_symlink():
            target = into / page.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                target.hardlink_to(page)
            except OSError:
                shutil.copyfile(page, target)


def postgresql(into: Path) -> None:
    """Unpack the PostgreSQL manual."""
    data = Path(os.environ.get("RAG_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    with tarfile.open(data / "docs-html" / "postgresql-15.tar.gz") as archive:
        archive.extractall(into, filter="data")


def written() -> int:
    """Return how many bytes this process had the kernel write so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("write_bytes")))


def save(page: Path, number: int) -> float:
    """Save a page with another sentence; return when it was in its place."""
    text = page.read_text(encoding="utf-8", errors="replace")
    head, end, tail = text.rpartition("</p>") if "</p>" in text else (text, "", "")
    beside = page.with_name(f".{page.name}.swp")
    beside.write_text(f"{head} This is change {number}.{end}{tail}", encoding="utf-8")
    with beside.open("rb") as stream:
        os.fsync(stream.fileno())
    moment = time.perf_counter()
    beside.replace(page)
    return moment


def spread(folder: Path, count: int) -> Iterator[Path]:
    """Yield pages of a folder, evenly spread over all."""
    pages = sorted(page for page in folder.rglob("*") if page.suffix.lower() in FORMATS)
    for number in range(count):
        yield pages[number * len(pages) // count]


def quantiles(values: Sequence[float]) -> str:
    """Return the median, the second largest of twenty, and the largest."""
    ordered = sorted(values)
    return f"median {statistics.median(ordered):8,.0f}, p95 {ordered[int(0.95 * (len(ordered) - 1))]:8,.0f}, largest {ordered[-1]:8,.0f}"


def measure(docs: Path, index: Path, changes: int) -> None:
    """Follow the folder through the changes, and print."""
    told: queue.SimpleQueue[tuple[float, int, Event]] = queue.SimpleQueue()
    pipeline = Pipeline(index, Settings(watching=WatchingSettings(settle_seconds=SETTLE_SECONDS)))
    watcher = Watcher(
        pipeline,
        [Source(name="docs", location=str(docs))],
        lambda event: told.put((time.perf_counter(), written(), event)),
    )
    thread = threading.Thread(target=watcher.run, daemon=True)
    thread.start()

    def next_built() -> tuple[float, int, Built]:
        while True:
            moment, bytes_written, event = told.get()
            if isinstance(event, Stopped):
                sys.exit("the watcher stopped")
            if isinstance(event, Built):
                return moment, bytes_written, event

    _, _, first = next_built()
    print(f"{first.report.documents:,} pages, {first.report.chunks:,} chunks, first build {first.seconds:.1f} s")
    served: dict[int, float] = {}
    reader = Pipeline(index, Settings())
    reader.search("warm")
    whole, building, wrote, serving = [], [], [], []
    stages: dict[str, list[float]] = {}
    with reader.follow(opened=lambda number: served.setdefault(number, time.perf_counter())) as follower:
        for number, page in enumerate(spread(docs, changes + WARM_UP)):
            before = written()
            begin = save(page, number)
            end, after, built = next_built()
            if not follower.wait(built.report.generation, 60):
                sys.exit(f"generation {built.report.generation} is not served: {follower.error}")
            # Where the sentence came to stand in what is left out of a page, there was nothing to publish but its times.
            if number >= WARM_UP and built.report.changed:
                whole.append(1000 * (end - begin - SETTLE_SECONDS))
                building.append(built.report.timings_ms["total"])
                for stage, milliseconds in built.report.timings_ms.items():
                    stages.setdefault(stage, []).append(milliseconds)
                wrote.append((after - before) / 1000)
                while built.report.generation not in served:
                    time.sleep(0.001)
                serving.append(1000 * (served[built.report.generation] - end))
    print(f"{len(whole)} changes")
    for name, values in {
        "event to publication, ms": whole,
        "  of it the build, ms": building,
        **{f"    {stage}": values for stage, values in stages.items() if stage != "total"},
        "written, kB": wrote,
        "publication to served, ms": serving,
    }.items():
        print(f"{name:<28} {quantiles(values)}")


def main() -> None:
    """Measure and print."""
    changes = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        docs = Path(temporary) / "docs"
        docs.mkdir()
        if len(sys.argv) > 1:
            linked(Path(sys.argv[1]), docs)
        else:
            postgresql(docs)
        measure(docs, Path(temporary) / "index", changes)


if __name__ == "__main__":
    main()
