"""Fits the calibration that the package ships, and measures it on questions that it was not fitted on.

    python benches/calibration.py [--rate R] [--write] [--json FILE] [--plot FILE.svg]

Fitted on the development questions of ``stackfaq``, ``scifact-train`` and ``clockify`` (see ``quality.py``), each asked as
it is and with every relevant document left out, and on questions of one of these collections asked of another: what nothing
in an index is about. Every figure is cross-fitted by groups of questions that share a document, wherever they were asked.
``near misses`` are the questions whose relevant documents were left out, with their answerable twins; ``another subject``
those asked of another collection.

Apart, fitted on nothing of: 500 questions about another product (``ray``) asked of Clockify's help centre, its own
unanswerable questions, and the development questions of ``examples/help-center``. ``--write`` replaces ``calibration.json``
of the package. It has to be run again whenever ranking or the static model changes, because evidence changes with them.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from clockify_rag import calibration
from clockify_rag.calibrating import Asked, Figures, Fitting, ask_twice, asked_once, figures, fitted, folds_of, share
from clockify_rag.calibration import BY_WORDS, WITH_VECTORS, Calibration
from clockify_rag.contracts import Source, digest
from clockify_rag.labelling import read_questions
from clockify_rag.pipeline import Pipeline

sys.path.insert(0, str(Path(__file__).parent))

from quality import COLLECTIONS, Collection, data_folder, rows, settings_with

FITTED = ("stackfaq", "scifact-train", "clockify")
FOREIGN = 150
"""Questions of each other collection that are asked of one."""

RAY_QUESTIONS = 500
LONGEST = 2000
EXAMPLE = Path(__file__).parents[1] / "examples" / "help-center"
KINDS = {"with_vectors": WITH_VECTORS, "by_words": BY_WORDS}


class Placed(msgspec.Struct, frozen=True):
    """A question, and which part of the pool it is of."""

    set: str
    part: str
    """``near misses``, ``another subject``, ``ray``, ``written``."""
    asked: Asked


def questions_of(collection: Collection) -> Any:
    """Return a collection's questions that are not too long to be asked."""
    kept = tuple(one for one in collection.questions.questions if len(one.question) <= LONGEST)
    return msgspec.structs.replace(collection.questions, questions=kept)


def placed(data: Path) -> Iterator[Placed]:
    """Ask everything of every collection."""
    collections = {name: COLLECTIONS[name](data) for name in FITTED}
    for name, collection in collections.items():
        with tempfile.TemporaryDirectory() as folder:
            pipeline = Pipeline.open(Path(folder) / "index", settings_with(collection.settings))
            pipeline.build([collection.build(Path(folder))])
            for one in ask_twice(pipeline, questions_of(collection)):
                group = f"{name} {one.group}" if one.group else ""
                part = "near misses" if group else "written"
                yield Placed(name, part, msgspec.structs.replace(one, group=group))
            for other in FITTED:
                if other != name:
                    yield from foreign(pipeline, name, other, questions_of(collections[other]))
            if name == "clockify":
                for question in ray_questions(data):
                    yield Placed(name, "ray", asked_once(pipeline, question, answerable=False))
    with tempfile.TemporaryDirectory() as folder:
        pipeline = Pipeline.open(Path(folder) / "index", settings_with({}))
        pipeline.build([Source(name="example", location=str(EXAMPLE / "docs"))])
        for one in ask_twice(pipeline, read_questions(EXAMPLE / "development.jsonl")):
            yield Placed("example", "near misses" if one.group else "written", one)


def foreign(pipeline: Pipeline, name: str, other: str, labelled: Any) -> Iterator[Placed]:
    """Ask some questions of another collection; ``in_one_fold`` puts each beside itself where it belongs."""
    drawn = random.Random(f"{name} {other}").sample(labelled.judged, min(FOREIGN, len(labelled.judged)))
    for question in drawn:
        asked = asked_once(pipeline, question.question, answerable=False, group=f"{other} question {question.id}")
        yield Placed(name, "another subject", asked)


def in_one_fold(everything: Sequence[Placed]) -> list[Placed]:
    """Give a question that was asked of another collection the group that it has in its own."""
    groups = {one.asked.question: one.asked.group for one in everything if one.part == "near misses"}

    def placed_anew(one: Placed) -> Placed:
        group = groups.get(one.asked.question) if one.part == "another subject" else None
        return one if group is None else Placed(one.set, one.part, msgspec.structs.replace(one.asked, group=group))

    return list(map(placed_anew, everything))


def ray_questions(data: Path) -> list[str]:
    """Return questions about another product."""
    asked = [row["query"] for row in rows(data / "load" / "queries.jsonl") if row["source"].startswith("ray")]
    return asked[:: len(asked) // RAY_QUESTIONS][:RAY_QUESTIONS]


def measured(everything: Sequence[Placed], rate: float) -> tuple[Calibration, dict[str, dict[str, Any]]]:
    """Fit and measure."""
    pool = [one for one in everything if one.set in FITTED and one.asked.group]
    own = {part: [one.asked for one in everything if (one.set, one.part) == part] for part in _parts(everything)}
    embedder = static_fingerprint()
    result = fitted(
        [one.asked for one in pool],
        name="shipped",
        questions=digest("shipped", *(f"{one.part} {one.asked.group} {one.asked.question}" for one in pool)),
        embedder=embedder,
        false_refusal_rate=rate,
        prior=None,
    )
    report: dict[str, dict[str, Any]] = {}
    for kind, measures in KINDS.items():
        given = getattr(result.calibration, kind)
        fitting = Fitting(kind, measures, None, rate)
        told = [one for one in pool if calibration.measured(getattr(one.asked, kind), measures) is not None]
        asked = [one.asked for one in told]
        _, probabilities, limits = fitting.cross_fitted(asked, folds_of(asked))

        def some(chosen: Any, told: Any = told, chances: Any = probabilities, limits: Any = limits) -> Figures:
            kept = [row for row in zip(told, chances, limits, strict=True) if chosen(row[0])]
            return figures([one.asked for one, _, _ in kept], [row[1] for row in kept], [row[2] for row in kept], 0.0)

        report[kind] = {"all": some(lambda _: True), "near misses": some(lambda one: one.part == "near misses")}
        for name in FITTED:
            report[kind][f"near misses, {name}"] = some(
                lambda one, name=name: (one.set, one.part) == (name, "near misses")
            )
            report[kind][f"another subject, {name}"] = share(
                [
                    chance < limit
                    for one, chance, limit in zip(told, probabilities, limits, strict=True)
                    if (one.set, one.part) == (name, "another subject")
                ]
            )
        report[kind]["clockify, own unanswerable refused"] = share(fitting.refused(given, own["clockify", "written"]))
        report[kind]["clockify, ray refused"] = share(fitting.refused(given, own["clockify", "ray"]))
        example, written = own["example", "near misses"], own["example", "written"]
        report[kind]["example, refused wrongly"] = share(
            fitting.refused(given, [one for one in example if one.answerable])
        )
        report[kind]["example, written refused"] = share(fitting.refused(given, written))
        both = [*(one for one in example if one.answerable), *written]
        chances = [fitting.probability(given, one) for one in both]
        report[kind]["example, written"] = figures(both, chances, [given.threshold] * len(both), given.threshold)
    return result.calibration, report


def _parts(everything: Sequence[Placed]) -> set[tuple[str, str]]:
    return {(one.set, one.part) for one in everything}


def static_fingerprint() -> str:
    """Return the fingerprint that an index by default settings records of its vectors."""
    with tempfile.TemporaryDirectory() as folder:
        entry = Pipeline.open(Path(folder) / "index", settings_with({})).embedder_entry
    return "" if entry is None else entry.fingerprint


def printed(report: dict[str, dict[str, Any]]) -> None:
    """Print the figures."""
    for kind, parts in report.items():
        print(
            f"\n{kind}\n{'':34} {'AUROC':>6} {'error':>6} {'Brier':>6} {'base':>6} {'gain':>6} {'refused':>8} {'wrongly':>8}"
        )
        for name, found in parts.items():
            if isinstance(found, Figures):
                gain = 1 - found.brier / found.base_brier
                print(
                    f"{name:34} {found.auroc:6.3f} {found.calibration_error:6.3f} {found.brier:6.3f} "
                    f"{found.base_brier:6.3f} {gain:6.1%} {found.refused_rightly.count / found.refused_rightly.of:8.1%} "
                    f"{found.refused_wrongly.count / found.refused_wrongly.of:8.1%}"
                )
            else:
                print(
                    f"{name:34} {found.count:4} of {found.of:4}  {found.count / found.of:.1%} [{found.low:.1%}, {found.high:.1%}]"
                )


def main() -> None:
    """Fit, print, and write where it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=0.08, help="answerable questions that may be refused")
    parser.add_argument("--write", action="store_true", help="replace the package's calibration")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    fresh, report = measured(in_one_fold(list(placed(data_folder()))), arguments.rate)
    printed(report)
    for kind in KINDS:
        given = getattr(fresh, kind)
        numbers = ", ".join(
            f"{name} {number:.2f}" for name, number in zip(given.measures, given.coefficients, strict=True)
        )
        print(f"\n{kind}: threshold {given.threshold:.3f}; {numbers}")
    if arguments.write:
        calibration.save(fresh, calibration.SHIPPED)
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    if arguments.plot:
        from clockify_rag.cli.drawing import reliability_plot

        near = {kind: report[kind]["near misses"] for kind in KINDS}
        arguments.plot.write_text(reliability_plot("Shipped calibration, near misses, cross-fitted", near))


if __name__ == "__main__":
    main()
