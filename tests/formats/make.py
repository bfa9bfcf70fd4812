"""Writes the index of the present format that every later version must open: ``python tests/formats/make.py``.

Done once, before a format is released; what is written is never made again. Beside the snapshot, ``format-N.json`` says what it holds.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

from clockify_rag import _core, generations
from clockify_rag.config import Settings
from clockify_rag.contracts import digest
from clockify_rag.pipeline import Pipeline

HERE = Path(__file__).parent

QUESTIONS = ("How do I export a report?", "Who may transfer the workspace?", "timer")

PAGES = {
    "exports.md": "---\ntags: [report]\n---\n# Exports\n\n## Formats\n\nA report is exported as CSV or PDF.\n\n## Limits\n\nAt most 900 rows.\n",
    "roles.md": "# Roles\n\nAn owner may transfer the workspace to an administrator.\n\n- An owner pays.\n- A guest reads.\n",
    "timer.md": "# Timer\n\nPress the green button to start the timer.\n\n| Key | What |\n|---|---|\n| S | starts |\n",
    "zeiten.md": "---\nlanguage: de\n---\n# Zeiten\n\nDie Zeiten werden am Ende der Woche geprüft.\n",
    **{f"notes/{n}.md": f"# Note {n}\n\nThe note of day {n} is kept for {n} weeks.\n" for n in range(1, 11)},
}


def make(folder: Path) -> Path:
    """Return an index of two generations: the second with a changed page, a removed one and one whose file was touched."""
    docs, index = folder / "docs", folder / "index"
    docs.mkdir()
    for name, text in PAGES.items():
        (docs / name).parent.mkdir(exist_ok=True)
        (docs / name).write_text(text, encoding="utf-8")
        os.utime(docs / name, (1_700_000_000,) * 2)
    Pipeline.open(index, Settings()).build([docs])
    (docs / "exports.md").write_text(PAGES["exports.md"].replace("900", "5000"), encoding="utf-8")
    (docs / "zeiten.md").unlink()
    os.utime(docs / "roles.md", (1_800_000_000,) * 2)
    Pipeline.open(index, Settings()).build([docs])
    generations.tag(index, "golden")
    return index


def contents(index: Path) -> dict[str, object]:
    """Return what an index holds and finds, as far as no version may change it."""
    pipeline = Pipeline.open(index, Settings())
    opened = pipeline.index
    return {
        "documents": {
            document.path: {
                "id": document.id,
                "text": digest(opened.text(document.id)),
                "chunks": [chunk.id for chunk in opened.chunks(document.id)],
            }
            for document in sorted(opened.documents(), key=lambda document: document.path)
        },
        "first": {question: pipeline.search(question).hits[0].document.path for question in QUESTIONS},
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        made = make(Path(folder))
        generations.snapshot(made, HERE / f"format-{_core.FORMAT}.tar")
        held = msgspec.json.format(msgspec.json.encode(contents(made)), indent=2)
        (HERE / f"format-{_core.FORMAT}.json").write_bytes(held + b"\n")
