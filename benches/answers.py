"""What answers say: key facts found, citations that are right, lengths and refusals.

    python benches/answers.py [--set NAME=VALUE …] [--answer-all] [--json FILE] [--show] [collection …]

A fact is found when the answer, without its markers and with white space and quotation marks folded, contains or matches it. A citation
is right when it stands in a labelled section, or in a labelled page where no section is labelled. Questions are told apart by
how many of their content words the labelled sections have, because the ones that share few are those that searching by words loses.
A refusal finds no fact and cites nothing; ``--answer-all`` switches refusals off, to see what the generator alone does.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from clockify_rag import sentences
from clockify_rag.contracts import Answer
from clockify_rag.labelling import Label, LabelledQuestion
from clockify_rag.pipeline import Pipeline
from quality import COLLECTIONS, Collection, data_folder, decoded, rows, settings_with

ANSWERED = ("clockify", "example", "example-held-out")
SELF_ANSWERED = frozenset(f"clk-{number:03}" for number in (1, 3, 10, 11, 12, 20, 21, 24))
"""Questions of Clockify's whose pattern matches the question itself, or no text of the help centre."""
MARKER = re.compile(r"\s*\[\d+\]")
TYPOGRAPHY = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'})


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What is counted of one answer."""

    id: str
    question: str
    refused: bool
    words: int
    facts: int
    found: int
    first_page: bool
    """Whether the first citation is of a labelled page."""
    first_section: bool
    """Whether it is of a labelled section."""
    cited_page: bool
    """Whether one of the first three pages cited is labelled."""
    shared: float
    """The share of the question's content words that the labelled sections have."""


def folded(text: str) -> str:
    """Return a text without markers, white space and quotation marks folded."""
    return " ".join(MARKER.sub("", text).translate(TYPOGRAPHY).split())


def says(text: str, fact: str) -> bool:
    """Return whether a text contains a fact, or matches what follows ``re:``."""
    if fact.startswith("re:"):
        return re.search(fact[3:], text, re.IGNORECASE) is not None
    return folded(fact).casefold() in text.casefold()


def facts_of(data: Path) -> dict[str, tuple[str, ...]]:
    """Return the patterns of Clockify's questions, which are no facts of a golden file."""
    file = data / "clockify" / "eval.jsonl"
    read = {row["id"]: row.get("answer_regex") for row in rows(file)}
    return {name: (f"re:{pattern}",) for name, pattern in read.items() if pattern and name not in SELF_ANSWERED}


def outcome(pipeline: Pipeline, one: LabelledQuestion, facts: Sequence[str], answer: Answer) -> Outcome:
    """Count what one answer says and cites."""
    text = "" if answer.refused else folded(answer.answer)
    labels = [label for label in one.labels if pages_of(pipeline, label)]
    pages = {page for label in labels for page in pages_of(pipeline, label)}
    cited = list(dict.fromkeys(citation.document_id for citation in answer.citations))
    first = answer.citations[0] if answer.citations else None
    return Outcome(
        id=one.id,
        question=one.question,
        refused=answer.refused,
        words=len(text.split()),
        facts=len(facts),
        found=sum(says(text, fact) for fact in facts),
        first_page=first is not None and first.document_id in pages,
        first_section=first is not None and any(first.chunk_id in chunks_of(pipeline, label) for label in labels),
        cited_page=not pages.isdisjoint(cited[:3]),
        shared=shared_words(pipeline, one, labels),
    )


def pages_of(pipeline: Pipeline, label: Label) -> set[str]:
    """Return the ids of the documents that a label names; the first name that the index knows counts."""
    for name in label.names:
        found = {page.id for page in pipeline.index.documents() if page.path.endswith(name) or page.url == name}
        if found:
            return found
    return set()


def chunks_of(pipeline: Pipeline, label: Label) -> set[str]:
    """Return the ids of the chunks of a labelled section, or of the page where no section is labelled."""
    wanted = None if label.heading is None else " ".join(label.heading.replace("\\", "").split()).casefold()
    found = set()
    for page in pages_of(pipeline, label):
        for chunk in pipeline.index.chunks(page):
            above = {" ".join(heading.split()).casefold() for heading in chunk.heading_path}
            if (label.anchor is None or chunk.anchor == label.anchor) and (wanted is None or wanted in above):
                found.add(chunk.id)
    return found


def shared_words(pipeline: Pipeline, one: LabelledQuestion, labels: Sequence[Label]) -> float:
    """Return the share of a question's content words that its labelled sections have."""
    wanted = {chunk for label in labels for chunk in chunks_of(pipeline, label)}
    texts = [
        " ".join([page.title, *chunk.heading_path, chunk.text])
        for page in pipeline.index.documents()
        for chunk in pipeline.index.chunks(page.id)
        if chunk.id in wanted
    ]
    words = sentences.informative(one.question)
    if not texts or not words:
        return 1.0
    return len(sentences.Overlap(one.question, texts).held(" ".join(texts))) / len(words)


def summary(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the figures of some outcomes."""
    told = [one for one in outcomes if one.facts]
    answered = [one for one in outcomes if not one.refused]
    return {
        "questions": len(outcomes),
        "refused": len(outcomes) - len(answered),
        "facts": sum(one.facts for one in told),
        "facts_found": sum(one.found for one in told),
        "questions_with_all_facts": sum(one.found == one.facts for one in told),
        "questions_with_facts": len(told),
        "first_citation_page": sum(one.first_page for one in outcomes),
        "first_citation_section": sum(one.first_section for one in outcomes),
        "three_pages": sum(one.cited_page for one in outcomes),
        "median_words": statistics.median([one.words for one in answered]) if answered else 0,
    }


def measured(pipeline: Pipeline, name: str, collection: Collection, data: Path, *, shown: bool) -> dict[str, Any]:
    """Ask a collection's answerable questions and return the figures."""
    patterns = facts_of(data) if name == "clockify" else {}
    gold = (
        {row["id"] for row in rows(data / "clockify" / "eval.jsonl") if row.get("answer_regex")} if patterns else None
    )
    outcomes = []
    for one in collection.questions.questions:
        if not one.answerable or (gold is not None and one.id not in gold):
            continue
        answer = pipeline.ask(one.question)
        counted = outcome(pipeline, one, patterns.get(one.id, ()) if patterns else one.facts, answer)
        outcomes.append(counted)
        if shown:
            print(json.dumps({**msgspec.to_builtins(counted), "answer": answer.answer}, ensure_ascii=False))
    return {
        "all": summary(outcomes),
        "few_shared_words": summary([one for one in outcomes if one.shared < 0.5]),
        "many_shared_words": summary([one for one in outcomes if one.shared >= 0.5]),
    }


def show(name: str, split: str, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a line for each part of a collection."""
    for part, of in found.items():
        count = max(of["questions"], 1)
        print(
            f"{name:17} {split:12} {part:18} {of['questions']:5} {of['refused']:8} {of['facts_found']:5}/{of['facts']:<5} "
            f"{of['questions_with_all_facts']:4}/{of['questions_with_facts']:<4} {of['first_citation_page'] / count:6.2f} "
            f"{of['first_citation_section'] / count:8.2f} {of['three_pages'] / count:6.2f} {of['median_words']:6.0f}",
            flush=True,
        )


def main() -> None:
    """Measure the collections named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("collections", nargs="*", default=list(ANSWERED), metavar="collection")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="changes")
    parser.add_argument("--answer-all", action="store_true", help="refuse nothing")
    parser.add_argument("--show", action="store_true", help="print each question's outcome and answer")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    data = data_folder()
    changes = {name: decoded(value) for name, value in (change.split("=", 1) for change in arguments.changes)}
    if arguments.answer_all:
        changes["calibration.threshold"] = 0.0
    report: dict[str, Any] = {"settings": changes, "collections": {}}
    print(
        f"{'collection':17} {'split':12} {'part':18} {'asked':>5} {'refused':>8} {'facts':>11} {'all':>9} {'page':>6} {'section':>8} "
        f"{'three':>6} {'words':>6}"
    )
    for name in arguments.collections:
        collection = COLLECTIONS[name](data)
        with tempfile.TemporaryDirectory() as folder:
            pipeline = Pipeline.open(Path(folder) / "index", settings_with({**collection.settings, **changes}))
            pipeline.build([collection.build(Path(folder))])
            found = measured(pipeline, name, collection, data, shown=arguments.show)
        show(name, collection.split, found)
        report["collections"][name] = {"split": collection.split, **found}
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


if __name__ == "__main__":
    main()
