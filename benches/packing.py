"""What a generator is shown: how often a labelled section is in its context, and what that costs, for each packer and budget.

    python benches/packing.py [--set NAME=VALUE …] [--json FILE] [collection …]

A question counts as answered by its context when a chunk of a labelled section is in it, or of a labelled page where no section is
labelled. Only collections for development are measured unless others are named: defaults are chosen here.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from clockify_rag.contracts import Context
from clockify_rag.labelling import Judgements, LabelledQuestion, judge
from clockify_rag.packing import ClusteredPacker, DiversePacker, DocumentPacker, RelevancePacker
from clockify_rag.pipeline import Pipeline
from quality import COLLECTIONS, data_folder, decoded, settings_with

DEVELOPMENT = ("clockify", "git-even", "example")
BUDGETS = (300, 800, 3000)
PACKERS: dict[str, Any] = {
    "by-relevance": RelevancePacker,
    "by-document": DocumentPacker,
    "diverse": DiversePacker,
    "clustered": ClusteredPacker,
    "+ neighbours = 1": lambda budget: RelevancePacker(budget, neighbours=1),
    "+ whole articles": lambda budget: RelevancePacker(budget, whole_articles="always"),
}


def place(context: Context, question: LabelledQuestion, judged: Judgements) -> int | None:
    """Return the place, from 1, of the first labelled section or page in a context."""
    if question.id in judged.sections:
        ranking, relevant = judged.section_ranking(question.id, context.hits), judged.sections[question.id]
    else:
        ranking, relevant = judged.document_ranking(context.hits), judged.documents[question.id]
    return next((at for at, name in enumerate(ranking, 1) if name in relevant), None)


def main() -> None:
    """Measure the collections named, or those for development."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("collections", nargs="*", default=list(DEVELOPMENT), metavar="collection")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="changes")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    data = data_folder()
    changes = {name: decoded(value) for name, value in (change.split("=", 1) for change in arguments.changes)}
    report: dict[str, Any] = {"settings": changes, "collections": {}}
    print(f"{'collection':17} {'budget':>6} {'packer':18} {'questions':>9} {'shown':>6} {'place':>6} {'tokens':>7}")
    for name in arguments.collections:
        collection = COLLECTIONS[name](data)
        with tempfile.TemporaryDirectory() as folder:
            pipeline = Pipeline.open(Path(folder) / "index", settings_with({**collection.settings, **changes}))
            pipeline.build([collection.build(Path(folder))])
            asked = collection.questions.judged
            judged = judge(asked, pipeline.index, allow_missing=True)
            searched = [
                (one, pipeline.understander.understand(one.question), pipeline.search(one.question).hits)
                for one in asked
            ]
            chunks_of = pipeline.index.opened.chunks
            for budget in BUDGETS:
                for packer, make in PACKERS.items():
                    packed = make(budget)
                    contexts = [(one, packed.pack(query, hits, chunks_of=chunks_of)) for one, query, hits in searched]
                    places = [place(context, one, judged) for one, context in contexts]
                    shown = sum(at is not None for at in places) / len(places)
                    mean = statistics.mean(1 / at if at else 0.0 for at in places)
                    tokens = statistics.median(context.tokens for _, context in contexts)
                    report["collections"].setdefault(name, {}).setdefault(str(budget), {})[packer] = {
                        "questions": len(places),
                        "shown": round(shown, 4),
                        "reciprocal_place": round(mean, 4),
                        "median_tokens": tokens,
                    }
                    print(
                        f"{name:17} {budget:6} {packer:18} {len(places):9} {shown:6.3f} {mean:6.3f} {tokens:7.0f}",
                        flush=True,
                    )
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


if __name__ == "__main__":
    main()
