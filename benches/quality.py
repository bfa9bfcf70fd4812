"""Ranking quality on collections with judgements, by page and by section: BM25 alone, words, and the defaults.

    python benches/quality.py [--set NAME=VALUE …] [--metric NAME@K …] [--ablation] [--json FILE] [collection …]

Collections are read from ``RAG_TEST_DATA`` and ``benches/questions``; each is marked as development or test, and defaults
are chosen on the former only. BEIR collections are indexed as single chunks, one per document. Clockify and the Git manual
are indexed as they are, in chunks: a page or section stands where its best chunk stands. What is measured, and how, is
``clockify_rag.evaluation``'s; this file knows only where collections lie.

The Git manual's questions are split: those of even number were used to weigh pages against sections, those of odd number were not.

Three rankings are measured in one index: ``bm25`` (BM25 of chunks, all fields alike, nothing else), ``lexical`` (what
``--lexical`` gives) and ``default``; gains are those of ``default`` over ``lexical``, with the paired interval. Settings are
the defaults unless ``--set`` changes one (``--set retrieval.document_weight=0.3``, ``--set embedding.embedder=none``).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from clockify_rag.config import Settings, load
from clockify_rag.contracts import Source
from clockify_rag.errors import LabelsUnknown
from clockify_rag.evaluation import Evaluation, changed, compare, evaluate
from clockify_rag.labelling import LabelledQuestions, read_questions
from clockify_rag.pipeline import Pipeline

METRICS = ("ndcg@10", "mrr@10", "recall@5", "hit@5", "recall@100")
WHOLE = {"chunking.target": 100_000, "chunking.maximum": 100_000}
RANKINGS: dict[str, dict[str, Any]] = {
    "bm25": {
        "retrieval.lexical": True,
        "retrieval.title_weight": 1.0,
        "retrieval.document_weight": 0.0,
        "retrieval.repeat_weight": 1.0,
        "reranking.reranker": "none",
    },
    "lexical": {"retrieval.lexical": True},
    "default": {},
}
QUESTIONS = Path(__file__).parent / "questions"
EXAMPLE = Path(__file__).parents[1] / "examples" / "help-center"


class Collection(NamedTuple):
    """Questions with labels, and how to make their index."""

    split: str
    questions: LabelledQuestions
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

    def build(work: Path) -> Source:
        file = work / f"{name}.jsonl"
        with file.open("w") as lines:
            for row in rows(folder / "corpus.jsonl"):
                # Its texts are no Markdown.
                lines.write(json.dumps({**row, "format": "text", "language": "en"}) + "\n")
        return Source(name=name, location=str(file))

    questions = read_questions(queries=folder / queries, qrels=folder / "qrels" / qrels)
    return Collection(split, questions, build, WHOLE)


def help_centre(data: Path, split: str, folder: str, questions: Path) -> Collection:
    """Read questions on documentation that is indexed as it is."""
    return Collection(
        split, read_questions(questions), lambda _: Source(name=questions.stem, location=str(data / folder)), {}
    )


def half(collection: Collection, remainder: int, split: str) -> Collection:
    """Return the questions whose number leaves ``remainder`` when it is divided by two."""
    questions = collection.questions
    kept = tuple(one for one in questions.questions if int(one.id.rpartition("-")[2]) % 2 == remainder)
    return collection._replace(split=split, questions=msgspec.structs.replace(questions, questions=kept))


def example(split: str, name: str) -> Collection:
    """Read one of the question sets of the example help centre."""
    source = Source(name="example", location=str(EXAMPLE / "docs"), slugs="github")
    return Collection(split, read_questions(EXAMPLE / f"{name}.jsonl"), lambda _: source, {})


def rows(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON Lines file."""
    with file.open() as lines:
        yield from map(json.loads, lines)


def git(data: Path) -> Collection:
    """Read the questions on the Git manual."""
    return help_centre(data, "test", "docs-html/git.tar.gz", QUESTIONS / "git.jsonl")


COLLECTIONS: dict[str, Callable[[Path], Collection]] = {
    "clockify": lambda data: help_centre(data, "development", "clockify/kb_markdown", data / "clockify" / "eval.jsonl"),
    "scifact-train": lambda data: beir(data, "scifact", "development", "train.tsv", "queries_all.jsonl"),
    "stackfaq": lambda data: beir(data, "stackfaq", "development", "test.tsv"),
    "scifact": lambda data: beir(data, "scifact", "test", "test.tsv"),
    "cranfield": lambda data: beir(data, "cranfield", "test", "test.tsv"),
    "hotpot-100": lambda data: beir(data, "hotpot-100", "test", "test.tsv"),
    "git-even": lambda data: half(git(data), 0, "development"),
    "git-odd": lambda data: half(git(data), 1, "test"),
    "example": lambda _: example("development", "development"),
    "example-held-out": lambda _: example("test", "questions"),
    "example-adversarial": lambda _: example("test", "adversarial"),
    "example-multilingual": lambda _: example("test", "multilingual"),
}


def measure(pipeline: Pipeline, collection: Collection, metrics: list[str], *, ablation: bool) -> dict[str, Evaluation]:
    """Return the evaluation of each ranking."""
    found = {}
    for name, changes in RANKINGS.items():
        ranked = pipeline.with_settings(changed(pipeline.settings, changes))
        options = {"metrics": metrics, "ablation": ablation and name == "default"}
        try:
            found[name] = evaluate(ranked, collection.questions, **options)
        except LabelsUnknown as error:
            print(f"{error.message}; counted as not found", file=sys.stderr)
            found[name] = evaluate(ranked, collection.questions, **options, allow_missing=True)
    return found


def reported(found: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Return what is kept of the evaluations of one collection."""
    gains = compare(found["lexical"], found["default"], names=("lexical", "default"))
    default = found["default"]
    return {
        "questions": default.questions.measured,
        "missing": len(default.questions.missing),
        "documents": default.searched.documents,
        "chunks": default.searched.chunks,
        "embedder": default.searched.embedder,
        "rankings": {
            name: {"levels": one.levels, "p50_ms": one.timings_ms["p50"], "by_words": one.searched.by_words}
            for name, one in found.items()
        },
        "gains": {level: {name: one.difference for name, one in of.items()} for level, of in gains.levels.items()},
        "ablation": default.ablation,
    }


def show(name: str, split: str, found: Mapping[str, Evaluation], metrics: list[str]) -> None:
    """Print a line for each level and ranking, and what the defaults gain."""
    gains = compare(found["lexical"], found["default"])
    for level in found["default"].levels:
        for ranking, one in found.items():
            of = one.levels[level]
            numbers = " ".join(f"{of.metrics[metric].mean:{len(metric) + 1}.4f}" for metric in metrics)
            line = f"{name:14} {split:12} {level:9} {of.questions:5} {ranking:8} {numbers} {one.timings_ms['p50']:7.2f}"
            if ranking == "default":
                gain = gains.levels[level][metrics[0]].difference
                line += f"  {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] p {gain.p:.4f}"
            print(line, flush=True)
    for variant in found["default"].ablation:
        levels = "  ".join(f"{level} {of.metrics[metrics[0]].mean:.4f}" for level, of in variant.levels.items())
        print(f"{'':14} {variant.name:32} {levels}", flush=True)


def settings_with(changes: Mapping[str, Any]) -> Settings:
    """Return the defaults with some settings changed."""
    overrides = {key: ("--set", value) for key, value in changes.items()}
    return load(directory="/", environment={}, overrides=overrides).settings


def main() -> None:
    """Measure the collections named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("collections", nargs="*", default=list(COLLECTIONS), metavar="collection")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="changes")
    parser.add_argument("--metric", action="append", default=[], metavar="NAME@K", dest="metrics")
    parser.add_argument("--ablation", action="store_true", help="also each stage, and the ranking without each option")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    data = data_folder()
    changes = {name: decoded(value) for name, value in (change.split("=", 1) for change in arguments.changes)}
    metrics = arguments.metrics or list(METRICS)
    report: dict[str, Any] = {"settings": changes, "collections": {}}
    heads = " ".join(f" {metric}" for metric in metrics)
    print(
        f"{'collection':14} {'split':12} {'level':9} {'asked':>5} {'ranking':8} {heads} {'p50 ms':>7}  gain of {metrics[0]}"
    )
    for name in arguments.collections:
        collection = COLLECTIONS[name](data)
        with tempfile.TemporaryDirectory() as folder:
            pipeline = Pipeline.open(Path(folder) / "index", settings_with({**collection.settings, **changes}))
            pipeline.build([collection.build(Path(folder))])
            found = measure(pipeline, collection, metrics, ablation=arguments.ablation)
        show(name, collection.split, found, metrics)
        report["collections"][name] = {"split": collection.split, **reported(found)}
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def decoded(value: str) -> Any:
    """Return a value as JSON, or as the text that it is."""
    try:
        return json.loads(value)
    except ValueError:
        return value


if __name__ == "__main__":
    main()
