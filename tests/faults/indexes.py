"""Small indexes: the pages they are made of, the answers they must give, and the files they may leave."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from clockify_rag.cli.output import answer_fields, search_fields
from clockify_rag.config import Settings
from clockify_rag.pipeline import Pipeline
from folders import write

QUESTIONS = (
    "How do I export a report?",
    "Who may invite a guest to a project?",
    "timer",
    "How many days is the audit log kept?",
    "zyxwv qponm",
)
ANSWERED = (QUESTIONS[0], QUESTIONS[-1])
"""Those that are answered too: one is, one is refused."""

_FEATURES = (
    "report",
    "timer",
    "project",
    "invoice",
    "audit log",
    "timesheet",
    "webhook",
    "guest",
    "forecast",
    "expense",
    "reminder",
    "approval",
)


def _page(feature: str, number: int) -> str:
    return (
        f"---\ntags: [{feature.split(maxsplit=1)[0]}]\n---\n# The {feature}\n\n"
        f"A {feature} belongs to one workspace. An owner may export a {feature} as a file.\n\n"
        f"## Limits\n\nThe {feature} is kept for {number} days. A guest sees no {feature}.\n\n"
        f"## Steps\n\n1. Open the {feature} page.\n2. Choose **Invite** or **Export**.\n3. Confirm within {number} s.\n"
    )


PAGES: Mapping[str, str] = {
    f"{feature.replace(' ', '-')}.md": _page(feature, 10 * number) for number, feature in enumerate(_FEATURES, 1)
}
CHANGED_PAGES: Mapping[str, str] = {
    **{path: text for path, text in PAGES.items() if path != "webhook.md"},
    "timer.md": PAGES["timer.md"].replace("20 days", "21 days"),
    "kiosk.md": _page("kiosk", 90),
}
"""One page changed, one removed, one new."""
REWRITTEN_PAGES: Mapping[str, str] = {
    path: text.replace("days", "weeks") if number % 2 else text for number, (path, text) in enumerate(PAGES.items())
}
"""Every other page changed: more dead rows than are left to lie, so segments are merged."""


def pages(folder: Path, texts: Mapping[str, str] = PAGES) -> Path:
    """Make ``folder`` hold exactly these pages."""
    shutil.rmtree(folder, ignore_errors=True)
    return write(folder, texts)


def open_pipeline(index: Path) -> Pipeline:
    """Return a pipeline over an index with the default settings, whatever this machine's configuration says."""
    return Pipeline.open(index, Settings())


@functools.cache
def _components(index: Path) -> Pipeline:
    """The components of a process that lives long; they are most of what it costs to look at a small index."""
    return open_pipeline(index)


@contextlib.contextmanager
def opened(index: Path) -> Iterator[Pipeline]:
    """A pipeline that opens the index anew, and lets go of it at the end."""
    pipeline = _components(index)
    pipeline._index = None
    try:
        pipeline._adopt_embedder()
        yield pipeline
    finally:
        pipeline._index = None


def build(index: Path, source: Path) -> int:
    """Build an index in this process and return the generation."""
    with opened(index) as pipeline:
        return pipeline.build([source]).generation


def answers(index: Path | Pipeline) -> str:
    """Return what an index answers, as JSON without times and the generation's number: all questions searched, two answered.

    An answer reads nothing that a search does not read, and takes eight times as long.
    """
    if isinstance(index, Path):
        with opened(index) as pipeline:
            return answers(pipeline)
    given = [search_fields(index.search(question)) for question in QUESTIONS]
    given += [answer_fields(index.ask(question)) for question in ANSWERED]
    found = [
        {name: value for name, value in fields.items() if name not in ("timings_ms", "generation")} for fields in given
    ]
    return msgspec.json.encode(found).decode()


def verify(index: Path) -> None:
    """Read every byte of the generation that is served."""
    with opened(index) as pipeline:
        pipeline.index.snapshot.verify()


def fingerprint(folder: Path) -> bytes:
    """A hash of every file's path and bytes, and of every folder's path; of a lock, which tells who held it, the path alone."""
    hasher = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() and path.name != "lock" else b""
        hasher.update(f"{path.relative_to(folder)}\0{path.is_file()}\0{len(content)}\0".encode() + content)
    return hasher.digest()


def leftovers(index: Path) -> set[str]:
    """Return the files and folders of an index that no generation names."""
    named = {"CURRENT", "lock", "secret", ".gitignore", "generations", "segments", "tombstones"}
    served_generation = int((index / "CURRENT").read_text().split()[0])
    for path in (index / "generations").glob("*.json"):
        if int(path.stem) <= served_generation:
            named |= _named(path)
    for path in (index / "tags").glob("*"):
        number = path.read_text().split()[0]
        if f"generations/{number}.json" in named:
            named.add(f"tags/{path.name}")
    if (index / "tags").is_dir():
        named.add("tags")
    folders = {folder.as_posix() for name in named for folder in Path(name).parents}
    return {path.relative_to(index).as_posix() for path in index.rglob("*")} - named - folders


def served(index: Path) -> set[str]:
    """Return the files of an index that the generation that is served is made of."""
    number = (index / "CURRENT").read_text().split()[0]
    return {"CURRENT", *_named(index / "generations" / f"{number}.json")}


def _named(path: Path) -> set[str]:
    """Return a manifest and the files that it names."""
    manifest = json.loads(path.read_text())["manifest"]
    named = {f"generations/{path.name}"}
    if manifest["state"]:
        named.add(f"generations/{manifest['state']['name']}")
    for segment in manifest["segments"]:
        named |= {f"segments/{segment['id']}/{file['name']}" for file in segment["files"]}
        if segment["tombstones"]:
            named.add(f"tombstones/{segment['tombstones']['name']}")
    return named
