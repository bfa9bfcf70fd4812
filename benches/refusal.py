"""How often answerable questions are refused, and unanswerable ones answered: what the rule of refusal was chosen on.

    python benches/refusal.py [--lexical] [--dump FILE] [set …]

Sets are read from ``RAG_TEST_DATA`` (see ``quality.py``). ``clockify`` are the help centre's own questions, ``ray`` 500 questions
about another product asked of the same index. ``stackfaq`` and ``scifact-train`` hold two halves each of their questions: for one,
every relevant document was left out of the index, so that nothing answers them; the other half keeps its documents. Near misses
of that kind are the hard ones. ``--dump`` writes the evidence of every question as JSON Lines.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from clockify_rag.contracts import SearchResult, Source
from clockify_rag.pipeline import Pipeline
from clockify_rag.retrieval import refusal

sys.path.insert(0, str(Path(__file__).parent))

from quality import COLLECTIONS, Collection, data_folder, rows, settings_with

RAY_QUESTIONS = 500


class Asked(NamedTuple):
    """What one question found."""

    set: str
    question: str
    answerable: bool
    result: SearchResult

    @property
    def refused(self) -> bool:
        """Whether the rule refuses it."""
        return refusal(self.result) is not None


def help_centre(data: Path, work: Path, name: str, *, lexical: bool) -> Iterator[Asked]:
    """Ask the help centre its own questions, or those about another product."""
    folder = data / "clockify"
    pipeline = Pipeline.open(work / "index", settings_with({}))
    pipeline.build([Source(name="clockify", location=str(folder / "kb_markdown"))])
    if name == "clockify":
        questions = [(row["query"], row["answerable"]) for row in rows(folder / "eval.jsonl")]
    else:
        foreign = [row["query"] for row in rows(data / "load" / "queries.jsonl") if row["source"].startswith("ray")]
        questions = [(question, False) for question in foreign[:: len(foreign) // RAY_QUESTIONS][:RAY_QUESTIONS]]
    for question, answerable in questions:
        yield Asked(name, question, answerable, pipeline.search(question, lexical=lexical))


def halved(data: Path, work: Path, name: str, *, lexical: bool) -> Iterator[Asked]:
    """Ask all questions of a collection that lacks every document relevant to each second one."""
    collection: Collection = COLLECTIONS[name](data)
    groups = _groups(collection)
    missing = {document for number, group in enumerate(groups) if number % 2 for document in group[1]}
    source = collection.build(work)
    file = Path(source.location)
    kept = [line for line in file.read_text().splitlines() if json.loads(line)["_id"] not in missing]
    file.write_text("\n".join(kept) + "\n")
    pipeline = Pipeline.open(work / "index", settings_with({}))
    pipeline.build([source])
    for number, (questions, _) in enumerate(groups):
        for question in questions:
            if len(question) <= 2000:
                yield Asked(name, question, number % 2 == 0, pipeline.search(question, lexical=lexical))


def _groups(collection: Collection) -> list[tuple[list[str], set[str]]]:
    """Questions that share a relevant document, together: leaving it out makes all of them unanswerable."""
    groups: list[tuple[list[str], set[str]]] = []
    owner: dict[str, tuple[list[str], set[str]]] = {}
    for asked in collection.questions.judged:
        relevant = {label.names[0] for label in asked.labels}
        merged: tuple[list[str], set[str]] = ([asked.question], set(relevant))
        for group in {id(owner[document]): owner[document] for document in relevant if document in owner}.values():
            merged[0].extend(group[0])
            merged[1].update(group[1])
            groups = [other for other in groups if other is not group]
        groups.append(merged)
        owner.update(dict.fromkeys(merged[1], merged))
    return groups


SETS = {"clockify": help_centre, "ray": help_centre, "stackfaq": halved, "scifact-train": halved}


def main() -> None:
    """Measure the sets named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", default=list(SETS), metavar="set")
    parser.add_argument("--lexical", action="store_true", help="search by words only")
    parser.add_argument("--dump", type=Path)
    arguments = parser.parse_args()
    data = data_folder()
    dumped: list[dict[str, Any]] = []
    print(f"{'set':14} {'answerable':>10} {'refused':>8} {'share':>7} {'unanswerable':>13} {'refused':>8} {'share':>7}")
    for name in arguments.sets:
        with tempfile.TemporaryDirectory() as folder:
            asked = list(SETS[name](data, Path(folder), name, lexical=arguments.lexical))
        cells = []
        for answerable in (True, False):
            refused = [one.refused for one in asked if one.answerable is answerable]
            share = f"{sum(refused) / len(refused):.1%}" if refused else "-"
            cells.append(f"{len(refused):{10 if answerable else 13}} {sum(refused):8} {share:>7}")
        print(f"{name:14} {' '.join(cells)}", flush=True)
        dumped += [_evidence(one) for one in asked]
    if arguments.dump:
        arguments.dump.write_text("".join(json.dumps(row) + "\n" for row in dumped))


def _evidence(asked: Asked) -> dict[str, Any]:
    evidence = asked.result.evidence
    return {
        "set": asked.set,
        "question": asked.question,
        "answerable": asked.answerable,
        "coverage": evidence.idf_coverage,
        "cosine": evidence.best_cosine,
        "refused": asked.refused,
    }


if __name__ == "__main__":
    main()
