"""Writes ``LICENSES/THIRD-PARTY.md``: ``python tests/licences.py`` after a change of ``Cargo.lock``; a test compares it.

The file holds the notices and licences of every crate that is linked into the extension module on any platform that wheels are
built for. It is read off the sources that cargo has, not off a database, because what must be passed on is the makers' own
words. A crate whose licence is not among ``ACCEPTED`` is an error; ``deny.toml`` allows the same ones.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
THIRD_PARTY: Final = ROOT / "LICENSES" / "THIRD-PARTY.md"

TARGETS: Final = (
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "aarch64-apple-darwin",
    "x86_64-apple-darwin",
)
"""What wheels are built for."""

ACCEPTED: Final[Mapping[str, str]] = {
    "MIT": "obtaining a copy of this software and associated documentation files",
    "BSD-2-Clause": "Redistributions in binary form must reproduce",
    "BSD-3-Clause": "may be used to endorse or promote products",
    "Zlib": "Altered source versions must be plainly marked",
    "BSL-1.0": "Boost Software License",
    "Unicode-3.0": "UNICODE LICENSE V3",
    "Apache-2.0": "http://www.apache.org/licenses/",
}
"""Licences that linked crates may have, the one to take first, each with words that its text can be known by."""

LONGEST_LICENCE: Final = 4000
"""Characters beyond which a file is a collection of licences, the Apache License aside."""

INTRODUCTION: Final = """\
# Crates in the compiled core

Written by `tests/licences.py`; do not edit. These crates of the public registry are linked into `clockify_rag._core` on at least one of
the platforms that wheels are built for. Where a crate offers several licences, the one named last in its row is taken.

| Crate | Version | Its licence | Taken |
|---|---|---|---|
"""


class UnknownLicence(Exception):
    """A crate is offered under none of the accepted licences, or its text cannot be told."""


@dataclass(frozen=True)
class Crate:
    """One linked crate and where its source lies."""

    name: str
    version: str
    declared: str
    repository: str
    authors: tuple[str, ...]
    folder: Path

    @property
    def label(self) -> str:
        """Name and version, as one word."""
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Text:
    """A licence's text, divided so that makers who use the same words can share them."""

    notices: tuple[str, ...]
    body: str


def third_party() -> str:
    """Return what ``LICENSES/THIRD-PARTY.md`` must hold."""
    crates = sorted(linked_crates(), key=lambda crate: (crate.name, crate.version))
    rows: list[str] = []
    users: dict[str, dict[str, list[tuple[Crate, Text]]]] = {licence: defaultdict(list) for licence in ACCEPTED}
    for crate in crates:
        taken = choose(crate.declared)
        rows.append(f"| {crate.name} | {crate.version} | {crate.declared} | {' AND '.join(taken)} |\n")
        for licence in taken:
            for text in texts_of(crate, licence, crates):
                users[licence][_folded(text.body)].append((crate, text))
    sections = (
        _section(_title(licence, number, shared[0][1]), shared)
        for licence in ACCEPTED
        for number, shared in enumerate(users[licence].values(), 1)
    )
    return INTRODUCTION + "".join(rows) + "".join(sections)


def linked_crates() -> set[Crate]:
    """Return the crates that are linked into the extension module on any target."""
    return {crate for target in TARGETS for crate in _linked(_metadata(target))}


def choose(declared: str) -> tuple[str, ...]:
    """Return the licences to take from an expression such as ``(MIT OR Apache-2.0) AND Unicode-3.0``.

    Raises:
        UnknownLicence: a part of it offers none of the accepted ones.
    """
    chosen = []
    for part in re.split(r"\bAND\b", declared.replace("/", " OR ")):
        offered = {name.strip() for name in part.strip(" ()").split(" OR ")}
        taken = next((licence for licence in ACCEPTED if licence in offered), None)
        if taken is None:
            raise UnknownLicence(f"none of the accepted licences is offered by {declared!r}")
        chosen.append(taken)
    return tuple(chosen)


def texts_of(crate: Crate, licence: str, crates: Iterable[Crate]) -> list[Text]:
    """Return the texts of one licence in a crate's source, or in that of another crate from the same repository."""
    if licence == "Apache-2.0":
        return [Text((), "The text is in Apache-2.0.txt, beside this file.")]
    siblings = [other for other in crates if other.repository and other.repository == crate.repository]
    for source in (crate, *siblings):
        found = [_divided(text) for text in _licence_files(source.folder) if ACCEPTED[licence] in _unwrapped(text)]
        if found:
            return [_with_authors(text, source.folder) for text in found]
    if licence != "MIT":
        raise UnknownLicence(f"{crate.label} has no text of {licence} in its source")
    authors = ", ".join(re.sub(r"\s*<[^>]*>", "", author) for author in crate.authors) or f"the authors of {crate.name}"
    return [Text((f"Copyright (c) {authors}",), _divided((ROOT / "LICENSE").read_text(encoding="utf-8")).body)]


def _metadata(target: str) -> dict[str, Any]:
    command = [
        "cargo",
        "metadata",
        "--format-version=1",
        "--locked",
        "--features=python",
        f"--filter-platform={target}",
    ]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    metadata: dict[str, Any] = json.loads(printed.stdout)
    return metadata


def _linked(metadata: dict[str, Any]) -> Iterator[Crate]:
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    own = metadata["resolve"]["root"]
    seen = {own}
    waiting = [own]
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            identity = dependency["pkg"]
            normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            macro = any("proc-macro" in target["kind"] for target in packages[identity]["targets"])
            if normal and not macro and identity not in seen:
                seen.add(identity)
                waiting.append(identity)
    return (_crate(packages[identity]) for identity in seen - {own})


def _crate(package: dict[str, Any]) -> Crate:
    return Crate(
        name=package["name"],
        version=package["version"],
        declared=package["license"] or "none",
        repository=(package["repository"] or "").removesuffix(".git"),
        authors=tuple(package["authors"]),
        folder=Path(package["manifest_path"]).parent,
    )


def _licence_files(folder: Path) -> list[str]:
    name = re.compile(r"licen[cs]e|copying", re.IGNORECASE)
    paths = sorted(path for path in folder.iterdir() if path.is_file() and name.match(path.name))
    return [path.read_text(encoding="utf-8", errors="replace") for path in paths]


def _divided(text: str) -> Text:
    """Divide a text into the notices and the licence itself; one that holds several licences stays whole."""
    if len(text) > LONGEST_LICENCE:
        return Text((), text.strip())
    lines = [line.strip() for line in text.strip().splitlines()]
    notices = [line for line in lines if re.match(r"(Portions )?Copyright ", line)]
    title = re.compile(r"(#+ *)?(the )?(mit|zlib) licen[cs]e( \(mit\))?|all rights reserved\.?|=+|-+", re.IGNORECASE)
    body = [line for line in lines if line not in notices and not title.fullmatch(line)]
    return Text(tuple(notices), "\n".join(body).strip())


def _with_authors(text: Text, folder: Path) -> Text:
    """Add the names where a notice says that they stand in a file of their own."""
    authors = folder / "AUTHORS"
    if not (authors.exists() and any("AUTHORS" in notice for notice in text.notices)):
        return text
    lines = (line.strip() for line in authors.read_text(encoding="utf-8").splitlines())
    names = ", ".join(line for line in lines if line and not line.startswith("#"))
    return Text((*text.notices, f"AUTHORS: {names}"), text.body)


def _title(licence: str, number: int, text: Text) -> str:
    if len(text.body) > LONGEST_LICENCE:
        return f"{licence}, with others"
    return licence if number == 1 else f"{licence}, wording {number}"


def _section(title: str, shared: list[tuple[Crate, Text]]) -> str:
    labels: dict[tuple[str, ...], dict[str, None]] = defaultdict(dict)
    for crate, text in shared:
        labels[text.notices][crate.label] = None
    holders = "".join(
        f"- {', '.join(names)}\n" + "".join(f"  - {notice}\n" for notice in notices)
        for notices, names in labels.items()
    )
    body = re.sub(r"\n{3,}", "\n\n", shared[0][1].body)
    return f"\n## {title}\n\n{holders}\n```text\n{body}\n```\n"


def _unwrapped(text: str) -> str:
    return " ".join(text.split())


def _folded(text: str) -> str:
    """Fold what licence texts differ in without differing: case, line breaks, quotation marks and list marks."""
    return re.sub(r"[^a-z0-9]+", " ", text.casefold()).strip()


if __name__ == "__main__":
    THIRD_PARTY.write_text(third_party(), encoding="utf-8")
    sys.stdout.write(f"{THIRD_PARTY}\n")
