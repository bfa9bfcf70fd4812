"""Development figures that no question had a part in choosing: weights of fusion by five-fold cross-validation.

    python benches/cross_validation.py [--json FILE]

Collections and their splits are those of ``quality.py``. The development collections are dealt to five folds, questions
that share a relevant document together. For each fold the weights of titles in vectors, of the cosine and of the document
are taken that are best on the other four folds of all collections, each collection counted alike; what is reported are the
values of the fold that was left out. Beside it stand the defaults, which were chosen once for all of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import msgspec

from clockify_rag.calibrating import folded, groups_of
from clockify_rag.evaluation import changed, evaluate
from clockify_rag.labelling import judge
from clockify_rag.pipeline import Pipeline
from clockify_rag.retrieval import DENSE_WEIGHTS as DENSE_WEIGHT_OF
from quality import COLLECTIONS, data_folder, settings_with

SETS = ("clockify", "stackfaq", "scifact-train")
METRICS = ("ndcg@10", "mrr@10", "recall@5")
TITLE_WEIGHTS = (0.25, 0.5, 0.75)
DENSE_WEIGHTS = (1.4, 1.8, 2.2)
DOCUMENT_WEIGHTS = (0.15, 0.3, 0.5)

CHOICES = tuple(product(TITLE_WEIGHTS, DENSE_WEIGHTS, DOCUMENT_WEIGHTS))

Weights = tuple[float, float, float]
Values = Mapping[str, Mapping[str, float]]


def main() -> None:
    """Measure every choice once, choose by four folds, report the fifth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    report: dict[str, Any] = {}
    standing = defaults()
    values: dict[str, dict[Weights, Values]] = {}
    folds: dict[str, dict[str, int]] = {}
    for name in SETS:
        values[name], folds[name] = measured(name)
    chosen = {fold: best(values, folds, fold) for fold in range(5)}
    print(f"{'collection':14} {'':16} " + " ".join(f"{metric:>9}" for metric in METRICS))
    for name in SETS:
        held_out = {question: values[name][chosen[fold]][question] for question, fold in folds[name].items()}
        report[name] = {"cross-validated": means(held_out), "defaults": means(values[name][standing])}
        for label, found in report[name].items():
            print(f"{name:14} {label:16} " + " ".join(f"{found[metric]:9.4f}" for metric in METRICS))
    report["chosen"] = {str(fold): weights for fold, weights in chosen.items()}
    print("chosen: " + ", ".join(f"{weights} {count}x" for weights, count in Counter(chosen.values()).most_common()))
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def defaults() -> Weights:
    """Return the weights that are the settings' defaults, which have to be among those that are tried."""
    settings = settings_with({})
    weights = (settings.embedding.title_weight, DENSE_WEIGHT_OF["static"], settings.retrieval.document_weight)
    if weights not in CHOICES:
        sys.exit(f"the defaults {weights} are not among the weights that are tried; add them")
    return weights


def measured(name: str) -> tuple[dict[Weights, Values], dict[str, int]]:
    """Return the values of every question by weights, and each question's fold."""
    collection = COLLECTIONS[name](data_folder())
    values: dict[Weights, Values] = {}
    folds: dict[str, int] = {}
    for title in TITLE_WEIGHTS:
        with tempfile.TemporaryDirectory() as folder:
            settings = settings_with({**collection.settings, "embedding.title_weight": title})
            pipeline = Pipeline.open(Path(folder) / "index", settings)
            pipeline.build([collection.build(Path(folder))])
            judged = judge(collection.questions.judged, pipeline.index, allow_missing=True)
            folds = folds or folded(groups_of(judged.documents), 5)
            for dense, document in product(DENSE_WEIGHTS, DOCUMENT_WEIGHTS):
                weights = {"retrieval.dense_weight": dense, "retrieval.document_weight": document}
                ranked = pipeline.with_settings(changed(pipeline.settings, weights))
                found = evaluate(ranked, collection.questions, metrics=METRICS, allow_missing=True)
                values[title, dense, document] = {one.id: one.levels["document"] for one in found.per_question}
    return values, folds


def best(values: Mapping[str, Mapping[Weights, Values]], folds: Mapping[str, Mapping[str, int]], fold: int) -> Weights:
    """Return the weights that are best without ``fold``, by nDCG@10; the first of equals."""

    def without(weights: Weights) -> float:
        kept = (
            fmean(of["ndcg@10"] for question, of in values[name][weights].items() if folds[name][question] != fold)
            for name in SETS
        )
        return fmean(kept)

    return max(CHOICES, key=without)


def means(found: Values) -> dict[str, float]:
    """Return the mean of each metric."""
    return {metric: fmean(of[metric] for of in found.values()) for metric in METRICS}


if __name__ == "__main__":
    main()
