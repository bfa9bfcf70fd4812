"""Ranking quality on collections with judgements: nDCG@10, MRR@10 and recall@5, lexical and hybrid.

    python benches/quality.py [--set NAME=VALUE …] [--json FILE] [collection …]

Collections are read from ``RAG_TEST_DATA``; each is marked as development or test, and defaults are chosen on the former only.
BEIR collections are indexed as single chunks, one per document, and scored by document. Clockify is indexed as it is, in chunks,
and scored by article: the rank of an article is that of its best chunk. Settings are the defaults unless ``--set`` changes one
(``--set retrieval.document_weight=0.3``).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from clockify_rag.config import Settings, load
from clockify_rag.contracts import Source
from clockify_rag.pipeline import Pipeline

Qrels = Mapping[str, Mapping[str, float]]
WHOLE = {"chunking.target": 100_000, "chunking.maximum": 100_000}


class Collection(NamedTuple):
    """Questions with judgements, and how to make their index."""

    split: str
    queries: dict[str, str]
    qrels: Qrels
    build: Callable[[Path], Source]
    settings: dict[str, Any]


def data_folder() -> Path:
    """Return the folder of collections, or end with a message."""
    folder = Path(os.environ.get("RAG_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        sys.exit("set RAG_TEST_DATA to the folder of collections")
    return folder


def beir(data: Path, name: str, split: str, qrels: str, queries: str = "queries.jsonl") -> Collection:
    """Read a collection in BEIR's layout."""
    folder = data / "beir" / name
    judged: dict[str, dict[str, float]] = {}
    for line in (folder / "qrels" / qrels).read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        if float(grade) > 0:
            judged.setdefault(query, {})[document] = float(grade)
    texts = {row["_id"]: row["text"] for row in rows(folder / queries)}

    def build(work: Path) -> Source:
        file = work / f"{name}.jsonl"
        with file.open("w") as lines:
            for row in rows(folder / "corpus.jsonl"):
                plain = {
                    "id": row["_id"],
                    "title": row["title"],
                    "text": row["text"],
                    "format": "text",
                    "language": "en",
                }
                lines.write(json.dumps(plain) + "\n")
        return Source(name=name, location=str(file))

    return Collection(split, {key: texts[key] for key in judged}, judged, build, WHOLE)


def clockify(data: Path) -> Collection:
    """Read the help centre's answerable questions."""
    folder = data / "clockify"
    answerable = [row for row in rows(folder / "eval.jsonl") if row["answerable"]]
    qrels = {row["id"]: {path: float(grade) for path, grade in row["relevant_paths"].items()} for row in answerable}
    queries = {row["id"]: row["query"] for row in answerable}
    return Collection(
        "development", queries, qrels, lambda _: Source(name="clockify", location=str(folder / "kb_markdown")), {}
    )


def rows(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON Lines file."""
    with file.open() as lines:
        yield from map(json.loads, lines)


COLLECTIONS: dict[str, Callable[[Path], Collection]] = {
    "clockify": clockify,
    "scifact-train": lambda data: beir(data, "scifact", "development", "train.tsv", "queries_all.jsonl"),
    "stackfaq": lambda data: beir(data, "stackfaq", "development", "test.tsv"),
    "scifact": lambda data: beir(data, "scifact", "test", "test.tsv"),
    "cranfield": lambda data: beir(data, "cranfield", "test", "test.tsv"),
    "hotpot-100": lambda data: beir(data, "hotpot-100", "test", "test.tsv"),
}


def ndcg(ranking: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """Normalised discounted cumulative gain with linear gain (Järvelin and Kekäläinen 2002)."""
    gain = sum(relevant.get(name, 0.0) / math.log2(rank + 1) for rank, name in enumerate(ranking[:k], 1))
    best = sorted(relevant.values(), reverse=True)[:k]
    return gain / sum(grade / math.log2(rank + 1) for rank, grade in enumerate(best, 1))


def reciprocal_rank(ranking: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """One over the rank of the first relevant document, 0 beyond ``k``."""
    return next((1 / rank for rank, name in enumerate(ranking[:k], 1) if name in relevant), 0.0)


def recall(ranking: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """The share of the relevant documents among the first ``k``."""
    return len(set(ranking[:k]) & set(relevant)) / len(relevant)


def ranking(pipeline: Pipeline, question: str, *, lexical: bool) -> list[str]:
    """Return the documents for a question, best first: paths, or the ids their collection gave."""
    result = pipeline.search(question, top_k=100, lexical=lexical)
    names = dict.fromkeys(hit.document.path for hit in result.hits)
    return [name.rsplit(".jsonl/", 1)[-1] for name in names]


def measure(pipeline: Pipeline, collection: Collection, *, lexical: bool) -> dict[str, float]:
    """Return the mean of each metric over the questions, and the median time of one."""
    found, times = {}, []
    for key, question in collection.queries.items():
        started = time.perf_counter()
        found[key] = ranking(pipeline, question, lexical=lexical)
        times.append(time.perf_counter() - started)
    pairs = [(found[key], relevant) for key, relevant in collection.qrels.items()]
    return {
        "ndcg@10": fmean(ndcg(names, relevant, 10) for names, relevant in pairs),
        "mrr@10": fmean(reciprocal_rank(names, relevant, 10) for names, relevant in pairs),
        "recall@5": fmean(recall(names, relevant, 5) for names, relevant in pairs),
        "p50_ms": sorted(times)[len(times) // 2] * 1000,
    }


def settings_with(changes: Mapping[str, Any]) -> Settings:
    """Return the defaults with some settings changed."""
    overrides = {key: ("--set", value) for key, value in changes.items()}
    return load(directory="/", environment={}, overrides=overrides).settings


def main() -> None:
    """Measure the collections named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("collections", nargs="*", default=list(COLLECTIONS), metavar="collection")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="changes")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    data = data_folder()
    changes = {name: json.loads(value) for name, value in (change.split("=", 1) for change in arguments.changes)}
    report: dict[str, Any] = {"settings": changes, "collections": {}}
    print(f"{'collection':15} {'split':12} {'ranking':8} {'ndcg@10':>8} {'mrr@10':>8} {'recall@5':>8} {'p50 ms':>7}")
    for name in arguments.collections:
        collection = COLLECTIONS[name](data)
        with tempfile.TemporaryDirectory() as folder:
            pipeline = Pipeline.open(Path(folder) / "index", settings_with({**collection.settings, **changes}))
            pipeline.build([collection.build(Path(folder))])
            entry = report["collections"][name] = {"split": collection.split, "questions": len(collection.queries)}
            for mode, lexical in (("lexical", True), ("hybrid", False)):
                entry[mode] = figures = measure(pipeline, collection, lexical=lexical)
                numbers = " ".join(f"{figures[key]:8.4f}" for key in ("ndcg@10", "mrr@10", "recall@5"))
                print(f"{name:15} {collection.split:12} {mode:8} {numbers} {figures['p50_ms']:7.2f}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
