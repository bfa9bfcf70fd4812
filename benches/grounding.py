"""Fits the probability that a passage says a sentence, and measures what verification finds of sentences that were changed.

    python benches/grounding.py [--json FILE]

Two development collections: the articles of Clockify's help centre and the threads of ``stackfaq`` (``RAG_TEST_DATA``). Said sentences
are sentences of a passage, reworded in ways that keep what they say (words left out, halves exchanged, two put together), and
questions of a thread against its answer, which has the same question in other words. Sentences that are not said are those of other
passages, compared with the passages that a search for them finds once their own document is left out: the nearest there are.

The logistic regressions are fitted on documents of even number (``FITTED``) and every figure is of those of odd number. The bar
is .5; the support below which a sentence is marked for its words was chosen on documents of even number. The share of words that stand anywhere in the passage was tried as a third measure and got a coefficient below 0. A second
table counts the changed sentences of which the facts alone tell: a figure, a unit, a name or an identifier exchanged for another of the
collection, a negation put in or taken out.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy

from clockify_rag import _core, sentences
from clockify_rag.contracts import Hit, digest
from clockify_rag.embedding import shipped_model
from clockify_rag.pipeline import Pipeline
from clockify_rag.verification import claims

sys.path.insert(0, str(Path(__file__).parent))

from quality import COLLECTIONS, data_folder, rows, settings_with

SEED = 20
SENTENCES = 400
"""Of each collection."""
LONGEST, SHORTEST = 40, 6
"""Words of a sentence."""
RIDGE = 1.0
FITTED = ("a question in other words", "of the nearest other document", "words left out")
"""What the regressions are fitted on."""


class Pair(NamedTuple):
    """A sentence, the passage it is compared with, and whether that says it."""

    collection: str
    kind: str
    odd: bool
    sentence: str
    passage: tuple[str, str, str]
    said: bool


def passage_of(hit: Hit) -> tuple[str, str, str]:
    """Return a hit as the core compares it."""
    return hit.chunk.text, "\n".join((hit.document.title, *hit.chunk.heading_path)), hit.document.language


def sentences_of(pipeline: Pipeline) -> list[tuple[str, str, tuple[str, str, str]]]:
    """Return sentences of English documents, drawn at random, each with its document's id and its passage."""
    snapshot = pipeline.index.snapshot
    from clockify_rag.index import decode_chunk

    found = []
    for document in pipeline.index.documents():
        if document.language != "en" or document.kind == "hub":
            continue
        for record, text in snapshot.chunks_of(document.id):
            chunk = decode_chunk(record, text)
            above = "\n".join((document.title, *chunk.heading_path))
            for start, end in sentences.units(text):
                sentence = text[start:end]
                if SHORTEST <= len(sentence.split()) <= LONGEST and sentence[-1] in ".!" and "\n" not in sentence:
                    found.append((document.id, sentence, (text, above, document.language)))
    random.Random(SEED).shuffle(found)
    return found[:SENTENCES]


def reworded(sentence: str, passage: str, generator: random.Random) -> Iterator[tuple[str, str]]:
    """Yield a sentence in other words that say the same."""
    words = sentence.split()
    dropped = [word for word in words if word.lower() not in FILLERS or generator.random() < 0.3]
    yield "words left out", " ".join(dropped)
    half = len(words) // 2
    yield "halves exchanged", " ".join([*words[half:], *words[:half]])
    others = [passage[start:end] for start, end in sentences.units(passage)]
    other = generator.choice(others)
    yield "two put together", f"{sentence.rstrip('.!')} and {other}"


FILLERS = frozenset(
    [
        "a",
        "an",
        "the",
        "and",
        "or",
        "of",
        "to",
        "in",
        "on",
        "for",
        "with",
        "your",
        "you",
        "it",
        "is",
        "are",
        "can",
        "will",
        "be",
        "that",
        "this",
        "as",
        "by",
        "from",
        "then",
        "also",
    ]
)


def pairs(data: Path) -> Iterator[Pair]:
    """Yield all pairs of both collections."""
    for name in ("clockify", "stackfaq"):
        collection = COLLECTIONS[name](data)
        with tempfile.TemporaryDirectory() as folder:
            pipeline = Pipeline.open(Path(folder) / "index", settings_with(collection.settings))
            pipeline.build([collection.build(Path(folder))])
            generator = random.Random(SEED)
            for identity, sentence, passage in sentences_of(pipeline):
                odd = int(digest("half", identity)[0], 16) % 2 == 1
                yield Pair(name, "as it stands", odd, sentence, passage, said=True)
                for kind, changed in reworded(sentence, passage[0], generator):
                    yield Pair(name, kind, odd, changed, passage, said=True)
                for hit in pipeline.search(sentence, top_k=2, excluded_documents=[identity]).hits:
                    if sentence not in hit.chunk.text:
                        yield Pair(name, "of the nearest other document", odd, sentence, passage_of(hit), said=False)
            if name == "stackfaq":
                yield from asked_otherwise(data, pipeline)


def asked_otherwise(data: Path, pipeline: Pipeline) -> Iterator[Pair]:
    """Yield questions in other words, against a thread that has them and against the nearest that has not."""
    folder = data / "beir" / "stackfaq"
    relevant: dict[str, set[str]] = {}
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, document, _ = line.split("\t")
        relevant.setdefault(query, set()).add(document)
    for row in rows(folder / "queries.jsonl"):
        if not SHORTEST <= len(row["text"].split()) <= LONGEST:
            continue
        hits = pipeline.search(row["text"], top_k=20).hits
        known = relevant.get(row["_id"], set())
        odd = int(digest("half", min(known, default=""))[0], 16) % 2 == 1
        right = [hit for hit in hits if hit.document.path.rpartition("/")[2] in known][:1]
        wrong = [hit for hit in hits if hit.document.path.rpartition("/")[2] not in known][:1]
        for hit, said in [*((hit, True) for hit in right), *((hit, False) for hit in wrong)]:
            yield Pair("stackfaq", "a question in other words", odd, row["text"], passage_of(hit), said=said)


def measured(found: Sequence[Pair]) -> list[tuple[float, float] | None]:
    """Return window and cosine of each pair; ``None`` where the core found nothing to measure."""
    table = _core.StaticEmbedder(shipped_model())
    measures: list[tuple[float, float] | None] = []
    for pair in found:
        ((_, support, _),) = _core.Passages([pair.passage]).check([(pair.sentence, [0])], "en", table)
        measures.append(None if support is None else (support[0], support[1] or 0.0))
    return measures


def fitted(values: Sequence[Sequence[float]], said: Sequence[bool]) -> list[float]:
    """Return the logistic regression's constant and coefficients, by Newton's method with a small ridge."""
    design = numpy.column_stack([numpy.ones(len(values)), numpy.array(values, numpy.float64)])
    wanted = numpy.array(said, numpy.float64)
    # Either answer weighs as much, however many of it there are.
    weight = numpy.where(wanted == 1, 0.5 / wanted.sum(), 0.5 / (1 - wanted).sum()) * len(wanted)
    solution = numpy.zeros(design.shape[1])
    for _ in range(50):
        chance = 1 / (1 + numpy.exp(-design @ solution))
        gradient = design.T @ (weight * (wanted - chance)) - RIDGE * solution
        hessian = (design * (weight * chance * (1 - chance))[:, None]).T @ design + RIDGE * numpy.eye(len(solution))
        step = numpy.linalg.solve(hessian, gradient)
        solution = solution + step
        if numpy.abs(step).max() < 1e-9:
            break
    return [round(float(value), 3) for value in solution]


def changed(sentence: str, names: Sequence[str], generator: random.Random) -> Iterator[tuple[str, str]]:
    """Yield a sentence with one fact changed."""
    if number := re.search(r"(?<![\w.,:])\d{1,4}(?![\w.,:]\d)", sentence):
        yield (
            "figure",
            f"{sentence[: number.start()]}{int(number[0]) + generator.randint(1, 9)}{sentence[number.end() :]}",
        )
    for unit, other in (
        ("minutes", "hours"),
        ("days", "weeks"),
        ("hours", "days"),
        ("month", "year"),
        ("week", "month"),
    ):
        if re.search(rf"\d[ -]{unit}\b", sentence):
            yield "unit", re.sub(rf"(\d[ -]){unit}\b", rf"\1{other}", sentence, count=1)
            break
    if name := re.search(r"(?<=[a-z] )[A-Z][a-z]{3,}(?: [A-Z][a-z]{2,})*", sentence):
        other = generator.choice([one for one in names if one not in sentence] or ["Nothing"])
        yield "name", f"{sentence[: name.start()]}{other}{sentence[name.end() :]}"
    if code := re.search(r"\b[A-Z]{2,5}\b", sentence):
        yield "identifier", f"{sentence[: code.start()]}XQZ{sentence[code.end() :]}"
    if verb := re.search(r"\b(?:can|will|is|are|does|should|must)\b(?! not)", sentence):
        yield "negation put in", f"{sentence[: verb.end()]} not{sentence[verb.end() :]}"
    if negation := re.search(r"\b(?:not|never) |n[\u2019']t\b", sentence):
        yield "negation taken out", f"{sentence[: negation.start()]}{sentence[negation.end() :]}"


def facts(found: Sequence[Pair]) -> dict[str, dict[str, Any]]:
    """Count the changed sentences in which a fact is missed, and the unchanged ones in which one is."""
    generator = random.Random(SEED)
    kept = [pair for pair in found if pair.odd and pair.kind == "as it stands"]
    names = sorted({name for pair in kept for name in re.findall(r"(?<=[a-z] )[A-Z][a-z]{3,}", pair.sentence)})
    counts: dict[str, list[int]] = {}
    for pair in kept:
        core = _core.Passages([pair.passage])
        for kind, sentence in [("unchanged", pair.sentence), *changed(pair.sentence, names, generator)]:
            ((problems, _, _),) = core.check([(sentence, [0])], "en", None)
            counts.setdefault(kind, []).append(bool(problems))
    return {kind: {"told": sum(flags), "of": len(flags)} for kind, flags in counts.items()}


def shipped(found: Sequence[Pair], measures: Sequence[tuple[float, float] | None]) -> dict[str, dict[str, int]]:
    """Count what is above the bar, and what is marked for its words, by the weights that are shipped."""
    counts: dict[str, dict[str, int]] = {}
    for pair, values in zip(found, measures, strict=True):
        if pair.odd:
            chance = 0.0 if values is None else claims.probability(*values)
            key = f"{pair.collection}, {pair.kind}, {'said' if pair.said else 'not said'}"
            row = counts.setdefault(key, {"above": 0, "faint": 0, "of": 0})
            row["above"] += chance >= claims.BAR
            row["faint"] += chance < claims.FAINT
            row["of"] += 1
    return counts


def main() -> None:
    """Fit, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = list(pairs(data_folder()))
    measures = measured(found)
    usable = [(pair, values) for pair, values in zip(found, measures, strict=True) if values is not None]
    even = [(pair, values) for pair, values in usable if not pair.odd and pair.kind in FITTED]
    said = [pair.said for pair, _ in even]
    report: dict[str, Any] = {
        "with_vectors": fitted([values for _, values in even], said),
        "by_words": fitted([values[:1] for _, values in even], said),
        "shipped": {"with_vectors": claims.WITH_VECTORS, "by_words": claims.BY_WORDS, "bar": claims.BAR},
        "supported": {},
    }
    for weights, name in ((report["with_vectors"], "with vectors"), (report["by_words"], "by words")):
        counts: dict[str, list[int]] = {}
        for pair, values in zip(found, measures, strict=True):
            if pair.odd:
                used = (1.0, *(values or (0.0, 0.0)))[: len(weights)]
                above = values is not None and sum(w * v for w, v in zip(weights, used, strict=True)) >= 0
                key = f"{pair.collection}, {pair.kind}, {'said' if pair.said else 'not said'}"
                counts.setdefault(key, []).append(above)
        report["supported"][name] = {key: {"above": sum(flags), "of": len(flags)} for key, flags in counts.items()}
    report["shipped"]["counts"] = shipped(found, measures)
    report["facts"] = facts(found)
    print(json.dumps(report, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
