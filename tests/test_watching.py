"""Watching: real folders and sites that change while they are followed, in this process and in one of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

import pytest

from clockify_rag import Pipeline, Site, Source
from clockify_rag.cli import run
from clockify_rag.config import configured_sources
from clockify_rag.index import IndexWriter
from clockify_rag.walking import Folder, Reach, start_of
from clockify_rag.watching import Built, Event, Failed, Started, Stopped, Watcher, _network_mount
from documentation_site import DocumentationSite, page
from folders import source_of, write
from pipelines import GARDEN, pipeline_of, settings_of
from test_cli_commands import assert_valid

DEADLINE = 60.0
"""Seconds after which something that is waited for is taken not to happen."""

SETTLE = 0.1


def until(holds: Callable[[], Any], what: str = "it does not happen") -> None:
    begin = time.monotonic()
    while not holds():
        assert time.monotonic() < begin + DEADLINE, what
        time.sleep(0.01)


class Watch:
    """A watcher in a thread, and what it told."""

    def __init__(self, index: Path, sources: Sequence[Source], **tables: dict[str, Any]) -> None:
        tables.setdefault("watching", {"settle_seconds": SETTLE})
        self.events: list[Event] = []
        self.watcher = Watcher(Pipeline(index, settings_of(**tables)), sources, self.events.append)
        self.failure: BaseException | None = None
        self._index = index
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.watcher.run()
        except BaseException as error:  # noqa: BLE001 - shown by the test
            self.failure = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.watcher.stop()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        assert self.failure is None
        assert isinstance(self.events[-1], Stopped)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def texts(self) -> dict[str, str]:
        """What the index holds, as a process that opens it now sees it."""
        index = Pipeline(self._index, settings_of()).index
        return {document.path: index.text(document.id) for document in index.documents()}

    def until_it_holds(self, files: dict[str, str]) -> None:
        """Wait until the index holds exactly these pages."""
        wanted = {path: text.replace("# ", "").strip() for path, text in files.items()}

        def holds() -> bool:
            assert self.failure is None, self.failure
            found = self.texts() if self.of(Built) else {}
            return {path: text.replace("\n\n", "\n") for path, text in found.items()} == {
                path: text.replace("\n\n", "\n") for path, text in wanted.items()
            }

        until(holds, f"the index holds {self.texts() if self.of(Built) else None}")

    def quiet(self) -> None:
        """Give a build that should not come the time to come."""
        time.sleep(8 * SETTLE)


def pages(count: int, prefix: str = "page") -> dict[str, str]:
    return {f"{prefix}{number}.md": f"# Page {number}\n\nThis is {prefix} {number}." for number in range(count)}


def test_every_kind_of_change_is_followed(tmp_path: Path) -> None:
    files = pages(4)
    docs = write(tmp_path / "docs", files)
    with Watch(tmp_path / "index", [source_of(docs)]) as watch:
        watch.until_it_holds(files)
        # Changed in place.
        files["page0.md"] = "# Page 0\n\nChanged."
        (docs / "page0.md").write_text(files["page0.md"])
        watch.until_it_holds(files)
        # Added, in a folder that was not there, two deep.
        files["new/deep/page.md"] = "# New\n\nAdded."
        write(docs, {"new/deep/page.md": files["new/deep/page.md"]})
        watch.until_it_holds(files)
        # Moved, the folder too.
        (docs / "new").rename(docs / "old")
        files["old/deep/page.md"] = files.pop("new/deep/page.md")
        watch.until_it_holds(files)
        until(lambda: watch.of(Built)[-1].report.moved == 1)
        # Renamed over, as editors save: a file beside it, then in its place.
        files["page1.md"] = "# Page 1\n\nSaved by an editor."
        (docs / ".page1.md.swp").write_text(files["page1.md"])
        (docs / ".page1.md.swp").replace(docs / "page1.md")
        watch.until_it_holds(files)
        # As others save: the old one becomes a backup, a new one is written.
        files["page2.md"] = "# Page 2\n\nSaved by another."
        (docs / "page2.md").rename(docs / "page2.md~")
        (docs / "page2.md").write_text(files["page2.md"])
        (docs / "page2.md~").unlink()
        watch.until_it_holds(files)
        # Deleted, one and a folder.
        (docs / "page3.md").unlink()
        shutil.rmtree(docs / "old")
        del files["page3.md"], files["old/deep/page.md"]
        watch.until_it_holds(files)
        # An ignore file rules what was read.
        (docs / ".ragignore").write_text("page2.md\n")
        del files["page2.md"]
        watch.until_it_holds(files)
    (started,) = watch.of(Started)
    assert [source.followed_by for source in started.sources] == ["events"]
    assert not watch.of(Failed)
    generations = [built.report.generation for built in watch.of(Built)]
    assert generations == sorted(set(generations)), "each generation is told once"


def test_polling_follows_as_well(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", pages(2))
    with Watch(tmp_path / "index", [source_of(docs)], watching={"polling": True, "settle_seconds": SETTLE}) as watch:
        watch.until_it_holds(pages(2))
        write(docs, {"page1.md": "# Page 1\n\nChanged.", "page2.md": "# Page 2\n\nAdded."})
        watch.until_it_holds({**pages(1), "page1.md": "# Page 1\n\nChanged.", "page2.md": "# Page 2\n\nAdded."})
    (started,) = watch.of(Started)
    assert [source.followed_by for source in started.sources] == ["polling"]
    assert started.polling == "watching.polling is set"


def test_where_the_system_tells_nothing_every_file_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from watchfiles import _rust_notify

    made = _rust_notify.RustNotify

    def without_notifications(roots: list[str], debug: bool, polling: bool, *rest: Any) -> Any:
        if not polling:
            raise OSError("OS file watch limit reached")
        return made(roots, debug, polling, *rest)

    monkeypatch.setattr(_rust_notify, "RustNotify", without_notifications)
    docs = write(tmp_path / "docs", pages(1))
    with Watch(tmp_path / "index", [source_of(docs)]) as watch:
        watch.until_it_holds(pages(1))
        write(docs, pages(2))
        watch.until_it_holds(pages(2))
    (started,) = watch.of(Started)
    assert started.polling == "the system tells of no changes: OS file watch limit reached"


def test_network_mounts_are_told_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clockify_rag import watching

    table = tmp_path / "mountinfo"
    table.write_text(
        "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
        "23 22 0:5 / /srv rw - nfs4 server:/docs rw\n"
        "24 23 0:6 / /srv/local rw - tmpfs tmpfs rw\n"
        "25 22 0:7 / /home/me/my\\040docs rw - fuse.sshfs host: rw\n"
    )
    monkeypatch.setattr(watching, "_MOUNTS", table)
    for root, is_remote in {
        "/srv/manual": True,
        "/srv": True,
        "/srv/local/manual": False,
        "/srvs": False,
        "/home/me/my docs/a": True,
        "/home/me": False,
    }.items():
        assert _network_mount([root]) == (root if is_remote else ""), root
    monkeypatch.setattr(watching, "_MOUNTS", tmp_path / "none")
    assert not _network_mount(["/srv"])


def test_a_burst_is_few_generations_and_the_last_state_is_right(tmp_path: Path) -> None:
    files = pages(50)
    docs = write(tmp_path / "docs", files)
    with Watch(tmp_path / "index", [source_of(docs)]) as watch:
        watch.until_it_holds(files)
        before = len(watch.of(Built))
        for number in range(200):
            name = f"page{number % 70}.md"
            files[name] = f"# Page\n\nThis is round {number}."
            (docs / name).write_text(files[name])
        for number in range(5):
            (docs / f"page{number}.md").unlink()
            del files[f"page{number}.md"]
        watch.until_it_holds(files)
        watch.quiet()
        assert 1 <= len(watch.of(Built)) - before <= 5


def test_several_sources_that_change_together_are_one_generation(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one", pages(2, "one")), write(tmp_path / "two", pages(2, "two"))
    sources = [source_of(one, name="one"), source_of(two, name="two")]
    with Watch(tmp_path / "index", sources, watching={"settle_seconds": 1.0}) as watch:
        watch.until_it_holds({**pages(2, "one"), **pages(2, "two")})
        write(one, pages(3, "one"))
        write(two, pages(3, "two"))
        watch.until_it_holds({**pages(3, "one"), **pages(3, "two")})
    assert [set(built.sources) for built in watch.of(Built)] == [{"one", "two"}] * 2


def test_what_is_not_read_and_the_index_itself_trigger_nothing(tmp_path: Path) -> None:
    files = {".gitignore": "drafts/\n", ".git/config": "x", "other/page.md": "# Other\n\nOther."}
    docs = write(tmp_path / "docs", {**pages(1), **files})
    index = docs / "kept" / "index"
    index.parent.mkdir()
    with Watch(index, [source_of(docs, exclude=("other/",))]) as watch:
        watch.until_it_holds(pages(1))
        builds: list[Any] = []
        build = watch.watcher._pipeline.build

        def counted(*given: Any, **options: Any) -> Any:
            builds.append(given)
            return build(*given, **options)

        watch.watcher._pipeline.build = counted  # type: ignore[method-assign]
        write(
            docs,
            {
                "node_modules/a/README.md": "# A",
                ".git/HEAD": "x",
                ".hidden.md": "# Hidden",
                "picture.png": b"x",
                "drafts/draft.md": "# Draft",
                "other/page.md": "# Other\n\nChanged.",
                "kept/index/cache/file": "x",
            },
        )
        (docs / "picture.png").unlink()
        shutil.rmtree(docs / "drafts")
        watch.quiet()
        # Another process publishes into the index, which the watcher must not take for a change of the folder.
        pipeline_of(index).build([source_of(write(tmp_path / "more", pages(1, "more")), name="more")])
        watch.quiet()
        assert not builds
        write(docs, pages(2))
        watch.until_it_holds({**pages(2), **pages(1, "more")})
        assert builds


@pytest.fixture
def reach(tmp_path: Path) -> Callable[..., Reach]:
    def made(files: dict[str, str | bytes], had: Sequence[str] = (), **fields: Any) -> Reach:
        root = os.path.realpath(write(tmp_path / "docs", files))
        source = source_of(Path(root), **fields)
        start = start_of(root, ignore=True, include=bool(source.include))
        return Reach(Folder(root), source, start, ignore=True, had=lambda path: path in had)

    return made


def test_reach_is_what_a_walk_comes_to(reach: Callable[..., Reach]) -> None:
    files: dict[str, str | bytes] = {
        "a.md": "x",
        "sub/b.html": "x",
        "sub/c.png": "x",
        "vendor/d.md": "x",
        "app/package.json": "{}",
        "app/vendor/e.md": "x",
        "cache/CACHEDIR.TAG": "x",
        "cache/f.md": "x",
        "drafts/g.md": "x",
        ".gitignore": "drafts/\n",
    }
    made = reach(files, had=("gone", "gone/too"))
    for path, is_read in {
        "a.md": True,
        "sub": True,
        "sub/b.html": True,
        "sub/c.png": False,
        "vendor/d.md": True,
        "app/vendor/e.md": False,
        "app/package.json": True,
        "cache/f.md": False,
        "cache/CACHEDIR.TAG": True,
        "drafts/g.md": False,
        "drafts": False,
        "sub/.gitignore": True,
        "drafts/.gitignore": False,
        "sub/vanished.md": True,
        "sub/vanished.tmp": False,
        "gone": True,
        "gone/too": True,
        "gone/page.md": True,
        "gone/page.tmp": False,
        ".git/HEAD": False,
        ".git/deep/er.md": False,
        "drafts/gone/page.md": False,
    }.items():
        assert made.reads(path) is is_read, path


def test_reach_knows_include_and_exclude(reach: Callable[..., Reach]) -> None:
    made = reach({"in/a.md": "x", "out/b.md": "x", "in/old/c.md": "x"}, include=("in/",), exclude=("old/",))
    assert made.reads("in/a.md")
    assert made.reads("in/vanished.md")
    assert not made.reads("out/b.md")
    assert not made.reads("in/old/c.md")


def test_a_failed_build_is_told_once_and_watching_goes_on(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", pages(2))
    with Watch(tmp_path / "index", [source_of(docs)]) as watch:
        watch.until_it_holds(pages(2))
        with IndexWriter(tmp_path / "index", chunker="", embedder=None):
            write(docs, pages(3))
            until(lambda: watch.of(Failed))
            time.sleep(2.5)  # long enough for a second try
            assert len(watch.of(Failed)) == 1
        watch.until_it_holds(pages(3))
    (failed,) = watch.of(Failed)
    assert (failed.error.code, failed.sources) == ("index_locked", ("docs",))


def test_a_source_that_lost_most_of_its_pages_is_not_followed_and_the_others_are(tmp_path: Path) -> None:
    many, few = write(tmp_path / "many", pages(20, "many")), write(tmp_path / "few", pages(2, "few"))
    with Watch(tmp_path / "index", [source_of(many, name="many"), source_of(few, name="few")]) as watch:
        watch.until_it_holds({**pages(20, "many"), **pages(2, "few")})
        for number in range(19):
            (many / f"many{number}.md").unlink()
        write(few, pages(3, "few"))
        until(lambda: watch.of(Failed))
        watch.until_it_holds({**pages(20, "many"), **pages(3, "few")})
        write(many, pages(20, "many"))
        write(many, {"many0.md": "# Page\n\nBack."})
        watch.until_it_holds({**pages(20, "many"), **pages(3, "few"), "many0.md": "# Page\n\nBack."})
    assert {(failed.error.code, failed.sources) for failed in watch.of(Failed)} == {("source_shrunk", ("many",))}


def test_a_folder_that_is_missing_or_vanishes_is_followed_when_it_is_back(tmp_path: Path) -> None:
    docs, late = write(tmp_path / "docs", pages(2)), tmp_path / "late"
    with Watch(tmp_path / "index", [source_of(docs), source_of(late, name="late")]) as watch:
        watch.until_it_holds(pages(2))
        until(lambda: watch.of(Failed))
        assert watch.of(Failed)[0].sources == ("late",)
        write(tmp_path / "new", pages(1, "late"))
        (tmp_path / "new").rename(late)
        watch.until_it_holds({**pages(2), **pages(1, "late")})
        # It is followed as the others are.
        write(late, pages(2, "late"))
        watch.until_it_holds({**pages(2), **pages(2, "late")})
        # One that vanishes keeps what the index has of it.
        docs.rename(tmp_path / "away")
        until(lambda: len(watch.of(Failed)) == 2)
        assert watch.of(Failed)[1].sources == ("docs",)
        watch.quiet()
        assert watch.texts().keys() == {**pages(2), **pages(2, "late")}.keys()
        write(tmp_path / "away", {"page0.md": "# Page 0\n\nBack."})
        (tmp_path / "away").rename(docs)
        watch.until_it_holds({**pages(2), **pages(2, "late"), "page0.md": "# Page 0\n\nBack."})
        write(docs, pages(3))
        watch.until_it_holds({**pages(3), **pages(2, "late")})
        assert len(watch.of(Failed)) == 2


def test_a_link_that_leads_elsewhere_and_a_single_file_are_followed(tmp_path: Path) -> None:
    write(tmp_path / "v1", pages(2))
    write(tmp_path / "v2", pages(3))
    latest, single = tmp_path / "latest", tmp_path / "single.md"
    latest.symlink_to("v1")
    single.write_text("# Single\n\nOne.")
    sources = [source_of(latest, name="latest"), source_of(single, name="single")]
    with Watch(tmp_path / "index", sources) as watch:
        watch.until_it_holds({**pages(2), "single.md": "# Single\n\nOne."})
        (tmp_path / "next").symlink_to("v2")
        (tmp_path / "next").replace(latest)
        watch.until_it_holds({**pages(3), "single.md": "# Single\n\nOne."})
        (tmp_path / "other").write_text("# Single\n\nTwo.")
        (tmp_path / "other").replace(single)
        write(tmp_path / "v2", pages(4))
        watch.until_it_holds({**pages(4), "single.md": "# Single\n\nTwo."})


def test_an_index_that_is_deleted_is_built_anew(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", pages(2))
    with Watch(tmp_path / "index", [source_of(docs)]) as watch:
        watch.until_it_holds(pages(2))
        shutil.rmtree(tmp_path / "index")
        write(docs, pages(3))
        until(lambda: len(watch.of(Built)) == 2)
        watch.until_it_holds(pages(3))


def test_a_followed_index_serves_what_is_watched(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", GARDEN)
    with Watch(tmp_path / "index", [source_of(docs)]) as watch:
        until(lambda: watch.of(Built))
        pipeline = pipeline_of(tmp_path / "index")
        with pipeline.follow() as follower:
            write(docs, {"gate.md": "# Gate\n\nThe gate is red.\n"})
            assert follower.wait(2, DEADLINE)
            assert pipeline.search("gate").hits[0].chunk.text == "The gate is red."


# Sites.


@pytest.fixture
def site() -> Iterator[DocumentationSite]:
    with DocumentationSite({"/": page("Home", "/a"), "/a": page("A", text="The letter A.")}) as made:
        yield made


def test_a_site_is_read_again_by_interval_beside_folders(tmp_path: Path, site: DocumentationSite) -> None:
    docs = write(tmp_path / "docs", pages(2))
    sources = [source_of(docs), Source(name="site", location=site.url, site=Site(url=site.url))]
    crawling = {"allow_private_hosts": [site.host], "interval_hours": 0.3 / 3600}
    with Watch(tmp_path / "index", sources, crawling=crawling) as watch:
        until(lambda: any("site" in built.sources for built in watch.of(Built)))
        site.pages["/a"] = page("A", text="The letter is B.")
        until(lambda: any("The letter is B." in text for text in watch.texts().values()))
        write(docs, pages(3))
        until(lambda: "page2.md" in watch.texts())
        assert any("The letter is B." in text for text in watch.texts().values())
        requests = site.requests["/a"]
        until(lambda: site.requests["/a"] > requests)
        assert site.bodies["/a"] == 2, "what did not change is not sent again"
    (started,) = watch.of(Started)
    assert [source.followed_by for source in started.sources] == ["events", "interval"]
    assert not watch.of(Failed)


def test_a_site_that_does_not_answer_keeps_nothing_from_folders(tmp_path: Path, site: DocumentationSite) -> None:
    docs = write(tmp_path / "docs", pages(2))
    gone = "http://127.0.0.1:9/"
    sources = [source_of(docs), Source(name="gone", location=gone, site=Site(url=gone))]
    with Watch(tmp_path / "index", sources, crawling={"allow_private_hosts": ["127.0.0.1:9"]}) as watch:
        until(lambda: watch.of(Failed))
        write(docs, pages(3))
        watch.until_it_holds(pages(3))
    assert [failed.sources for failed in watch.of(Failed)] == [("gone",)]


def test_stopping_does_not_wait_for_a_crawl(tmp_path: Path) -> None:
    with DocumentationSite({"/": page("Home", "/a"), "/a": page("A")}, latency=3.0) as slow:
        source = Source(name="site", location=slow.url, site=Site(url=slow.url))
        with Watch(tmp_path / "index", [source], crawling={"allow_private_hosts": [slow.host]}) as watch:
            until(lambda: slow.in_flight)
        assert not watch.of(Built)


# The command.


class Command:
    """``clockify-rag watch`` in a process of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "clockify_rag", "watch", *arguments]
        self._errors = folder / "errors.txt"
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
            )
        self.lines: list[str] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._thread.join()

    def _read(self) -> None:
        with self.process.stdout or nullcontext() as printed:
            self.lines.extend(printed or ())

    def until_printed(self, text: str, times: int = 1) -> None:
        until(lambda: sum(text in line for line in self.lines) >= times, f"{text} is not printed")

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal; return the exit status and what was said on standard error."""
        self.process.send_signal(number)
        status = self.process.wait(DEADLINE)
        self._thread.join()
        return status, self._errors.read_text()


def test_the_command_follows_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", pages(2))
    with Command(tmp_path, "docs", "--json", "--settle", "0.1") as command:
        command.until_printed('"event":"built"')
        write(docs, {"page1.md": "# Page 1\n\nChanged."})
        command.until_printed('"event":"built"', 2)
        docs.rename(tmp_path / "away")
        command.until_printed('"event":"failed"')
        ended = command.end(signal.SIGINT)
    assert ended == (130, "error: interrupted\n")
    values = [json.loads(line) for line in command.lines]
    told = ["started", "built", "built", "failed", "stopped", "error"]
    assert [value.get("event", "error") for value in values] == told
    for value in values[:-1]:
        assert_valid(value, "watch")
    assert_valid(values[-1], "error")
    assert values[2]["report"]["changed"] == 1
    assert values[3]["error"]["code"] == "source"


def test_the_command_ends_with_sigterm_as_a_service_does(tmp_path: Path) -> None:
    write(tmp_path / "docs", pages(2))
    write(tmp_path, {"clockify-rag.toml": '[[sources]]\nlocation = "docs"\n'})
    with Command(tmp_path) as command:
        command.until_printed("generation 1: added 2, changed 0, moved 0, removed 0, unchanged 0")
        assert command.end(signal.SIGTERM) == (0, "")
    assert command.lines[0].endswith("by events\n")
    assert command.lines[-1] == "stopped\n"


def test_configured_sources_are_followed(tmp_path: Path) -> None:
    docs = write(tmp_path / "docs", pages(1))
    settings = settings_of(sources=[{"location": str(docs), "name": "named"}])  # type: ignore[arg-type]
    with Watch(tmp_path / "index", configured_sources(settings)) as watch:
        until(lambda: watch.of(Built))
    assert watch.of(Built)[0].sources == ("named",)


@pytest.mark.parametrize("typed", ["0", "-1", "nan", "inf", "soon", "9999"])
def test_a_time_to_settle_that_is_none_is_refused(
    typed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(write(tmp_path, {"docs/a.md": "# A"}))
    assert run(["watch", "docs", "--settle", typed]) == 2
    assert capsys.readouterr().err.startswith("error: --settle: watching.settle_seconds is ")
    assert not (tmp_path / ".clockify-rag").exists()
