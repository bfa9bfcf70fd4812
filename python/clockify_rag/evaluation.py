"""How well an index answers labelled questions: ``evaluate``, and ``compare`` of two evaluations.

Every question is searched in the one generation that was open at the start, with the settings that ``search`` would use, so that
what is measured is what users get. Two levels are measured: pages, each at the rank of its best hit, and sections, for those
questions whose labels name sections; a user deserves both. An ablation searches again with stages added one by one and options
taken away one by one, and says for each what the configured ranking gains over it, question by question.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from clockify_rag.config import MAXIMUM_TOP_K, RetrievalSettings, Settings, masked
from clockify_rag.contracts import MAXIMUM_QUESTION_CHARACTERS, Hit
from clockify_rag.errors import EvaluationError, LabelsInvalid, RunsDiffer
from clockify_rag.labelling import Judgements, LabelledQuestion, LabelledQuestions, fingerprint, judge, searching
from clockify_rag.metrics import Difference, Figure, Metric, differences, figures, measure, metric
from clockify_rag.pipeline import MODEL_STEPS, Pipeline

DEFAULT_METRICS: Final = ("ndcg@10", "mrr@10", "recall@5", "hit@5")
"""What is measured when nothing is named; the first is what tables of one column show."""

SHARE_OF_A_PAGE: Final = 2
"""The bound on the hits of one page that is measured where none is set."""

DEPTH: Final = 100
"""Hits that are searched for each question, unless a metric looks deeper."""

GROUPS: Final = ("difficulty", "tags", "language")
"""The fields of questions that results are broken down by."""

CAUSES: Final = ("documents", "chunks", "embedder", "top_k", "by_words")
"""The fields of ``Searched`` that, besides settings, may be why two evaluations differ."""

DENSE_ALONE: Final = 1e6
"""A weight of the cosine beside which the words' score only orders what is equal."""

Level = Literal["document", "section"]
LEVELS: Final[tuple[Level, ...]] = ("document", "section")

Progress = Callable[[str, int, int | None], None]
Values = Mapping[str, float]


class LevelFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The metrics of one level over some questions."""

    questions: int
    metrics: Mapping[str, Figure]


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """A ranking by other settings, and what the configured one gains over it."""

    name: str
    changes: Mapping[str, Any]
    """Dotted keys of settings to what they were for this ranking."""
    stage: bool = False
    """Whether it is a step from the words' ranking to the configured one; else one option is taken away."""
    levels: Mapping[str, LevelFigures]
    gains: Mapping[str, Mapping[str, Difference]]
    """Level to metric to what the configured ranking gains over this one."""


class QuestionFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How one question went."""

    id: str
    question: str
    fingerprint: str
    """A hash of question and labels."""
    difficulty: str = ""
    tags: tuple[str, ...] = ()
    language: str = ""
    ranks: Mapping[str, int | None]
    """Level to the rank of the first relevant page or section; ``None`` where none was found."""
    levels: Mapping[str, Values]
    """Level to metric to value; without ``section`` where the labels name none."""


class Questions(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked."""

    name: str
    layout: str
    split: str | None
    fingerprint: str
    total: int
    measured: int
    """Answerable questions with labels."""
    unanswerable: int
    unlabelled: int
    """Answerable questions with no labels: nothing can be measured on them."""
    missing: tuple[str, ...] = ()
    """Labels that the index has nothing for; they count as relevant and not found."""


class Searched(msgspec.Struct, frozen=True, kw_only=True):
    """What was searched, and how."""

    path: str
    generation: int
    documents: int
    chunks: int
    embedder: str | None
    top_k: int
    """Hits searched for each question."""
    by_words: int
    """Questions that were searched without vectors."""
    settings: Mapping[str, Any]
    """Dotted keys of ``[understanding]``, ``[retrieval]`` and ``[reranking]`` to their values."""


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """How well an index answers labelled questions."""

    questions: Questions
    searched: Searched
    levels: Mapping[str, LevelFigures]
    """``document``, and ``section`` where labels name sections."""
    groups: Mapping[str, Mapping[str, Mapping[str, LevelFigures]]] = {}
    """``difficulty``, ``tags`` or ``language``, to their values, to levels."""
    ablation: tuple[Variant, ...] = ()
    per_question: tuple[QuestionFigures, ...]
    timings_ms: Mapping[str, float] = {}
    """Median and 95th percentile of one search, and all of it; the only part that differs between equal runs."""


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of two evaluations."""

    before: float
    after: float
    difference: Difference


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What changed from one evaluation to another of the same questions."""

    before: str
    after: str
    questions: str
    measured: int
    settings: Mapping[str, tuple[Any, Any]]
    """Settings that differ: before and after."""
    searched: Mapping[str, tuple[Any, Any]]
    """What else differs of what was searched, such as ``embedder`` and ``chunks``: before and after."""
    levels: Mapping[str, Mapping[str, Compared]]
    per_question: tuple[tuple[str, str, float, float], ...]
    """Id, question, and the first metric of pages before and after, for questions where it changed, largest loss first."""


class _Run(msgspec.Struct, frozen=True, kw_only=True):
    """The values of one ranking of all questions."""

    values: Mapping[str, list[Values]]
    """Level to the values of its questions, in order."""
    ranks: Mapping[str, dict[str, int | None]]
    """Level to question id to the rank of the first relevant."""
    by_words: int
    seconds: list[float]


def evaluate(
    pipeline: Pipeline,
    questions: LabelledQuestions,
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    top_k: int | None = None,
    ablation: bool = False,
    allow_missing: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Search every answerable question that has labels, and measure the rankings.

    Args:
        pipeline: what is measured, with its settings.
        questions: what is asked, with labels.
        metrics: names such as ``ndcg@10``, ranks from 1 to 1,000.
        top_k: hits searched for each question; by default 100, or what the metrics need.
        ablation: also measure each stage, and the ranking without each option.
        allow_missing: count labels that the index lacks as not found, rather than refuse them.
        progress: called as the work goes on.

    Raises:
        EvaluationError: a metric is not known or deeper than ``top_k``, or a question cannot be searched.
        LabelsInvalid: there is no answerable question with labels.
        LabelsUnknown: the index lacks what labels name.
        StoreError: the index cannot be read.
    """
    asked = questions.judged
    measured = tuple(dict.fromkeys(map(metric, metrics)))
    depth = _depth(measured, top_k)
    if not asked:
        raise LabelsInvalid(
            f"{questions.name} has no answerable question with labels, so there is nothing to measure",
            hint='label questions: {"question": "…", "relevant": ["page.md#section"]}',
            file=questions.name,
        )
    # The generation that is open now, whatever is published or opened meanwhile.
    pipeline = pipeline.with_settings(pipeline.settings)
    judgements = judge(asked, pipeline.index, allow_missing=allow_missing)
    measuring = _Measuring(
        asked=asked, judgements=judgements, metrics=measured, depth=depth, progress=progress or _silent
    )
    run = measuring.run(pipeline, "search")
    variants = _ablation(pipeline, measuring, run) if ablation else ()
    return Evaluation(
        questions=_questions(questions, judgements),
        searched=_searched(pipeline, depth, run.by_words),
        levels=_level_figures(run.values),
        groups=_groups(asked, run, judgements),
        ablation=tuple(variants),
        per_question=tuple(_per_question(asked, run, judgements)),
        timings_ms=_timings(run.seconds),
    )


def _depth(metrics: Sequence[Metric], top_k: int | None) -> int:
    if not metrics:
        raise EvaluationError("no metric was named", hint=f"for example {DEFAULT_METRICS[0]}")
    if top_k is not None and not 1 <= top_k <= MAXIMUM_TOP_K:
        raise EvaluationError(
            f"{top_k:,} hits cannot be asked for", hint=f"ask for 1 to {MAXIMUM_TOP_K:,}", top_k=top_k
        )
    deepest = max((one.k for one in metrics if not one.whole), default=1)
    if top_k is not None and deepest > top_k:
        raise EvaluationError(
            f"a metric looks at {deepest:,} ranks, and {top_k:,} hits are searched",
            hint=f"ask for at least {deepest} hits",
            top_k=top_k,
        )
    return max(DEPTH, deepest) if top_k is None else top_k


class _Measuring(msgspec.Struct, frozen=True, kw_only=True):
    """What stays the same from one ranking to the next."""

    asked: Sequence[LabelledQuestion]
    judgements: Judgements
    metrics: Sequence[Metric]
    depth: int
    progress: Progress

    def run(self, pipeline: Pipeline, name: str) -> _Run:
        """Search the questions and measure their rankings."""
        names = list(map(str, self.metrics))
        values: dict[str, list[Values]] = {level: [] for level in LEVELS}
        ranks: dict[str, dict[str, int | None]] = {level: {} for level in LEVELS}
        seconds: list[float] = []
        by_words = 0
        for number, question in enumerate(self.asked, 1):
            started = time.perf_counter()
            with searching(question):
                result = pipeline.search(question.question, top_k=self.depth)
            seconds.append(time.perf_counter() - started)
            by_words += result.lexical_only
            for level, ranking, relevant in _rankings(question.id, result.hits, self.judgements):
                values[level].append(dict(zip(names, measure(ranking, relevant, self.metrics), strict=True)))
                ranks[level][question.id] = next((at for at, item in enumerate(ranking, 1) if item in relevant), None)
            self.progress(name, number, len(self.asked))
        return _Run(values=values, ranks=ranks, by_words=by_words, seconds=seconds)


def _rankings(
    question_id: str, hits: Sequence[Hit], judgements: Judgements
) -> Iterator[tuple[Level, list[str], Mapping[str, int]]]:
    yield "document", judgements.document_ranking(hits), judgements.documents[question_id]
    if question_id in judgements.sections:
        yield "section", judgements.section_ranking(question_id, hits), judgements.sections[question_id]


# Ablation.


def _ablation(pipeline: Pipeline, measuring: _Measuring, configured: _Run) -> Iterator[Variant]:
    """Yield each stage, and the ranking without each option."""
    vectors = configured.by_words < len(measuring.asked)
    longest = max(len(question.question) for question in measuring.asked)
    for name, changes, stage in _variants(pipeline.settings, vectors=vectors):
        if changes.get("understanding.tickets") is False and longest > MAXIMUM_QUESTION_CHARACTERS:
            continue  # Not one of them could be searched as it is.
        other = pipeline.with_settings(changed(pipeline.settings, changes))
        run = measuring.run(other, name) if changes else configured
        yield Variant(
            name=name,
            changes=changes,
            stage=stage,
            levels=_level_figures(run.values),
            gains={level: _gains(run.values[level], rows) for level, rows in configured.values.items() if rows},
        )


def _variants(settings: Settings, *, vectors: bool) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Yield the name and the settings of every other ranking: stages from the first on, then options taken away."""
    stages = _stages(settings, vectors=vectors)
    for name, changes in stages[:-1]:
        yield name, changes, True
    yield f"{stages[-1][0]} (as configured)", {}, True
    for name, value in _options(settings.retrieval):
        yield f"{name} = {msgspec.json.encode(value).decode()}", {f"retrieval.{name}": value}, False
    for name, value in _steps(settings):
        yield f"{name} = {msgspec.json.encode(value).decode()}", {f"understanding.{name}": value}, False


def _stages(settings: Settings, *, vectors: bool) -> list[tuple[str, dict[str, Any]]]:
    """Return the stages, each with the settings that end with it; the last is the configured ranking."""
    plain: dict[str, Any] = {"reranking.reranker": "none", "retrieval.repeat_weight": 1.0}
    alone = {"retrieval.document_weight": 0.0, **plain}
    stages = [("lexical", {"retrieval.lexical": True, **alone})]
    if vectors and not settings.retrieval.lexical:
        stages += [("dense", {"retrieval.dense_weight": DENSE_ALONE, **alone}), ("fused", alone)]
    if settings.retrieval.document_weight:
        stages.append(("+ document evidence", plain))
    if settings.retrieval.repeat_weight < 1:
        stages.append(("+ repeats discounted", {"reranking.reranker": "none"}))
    reranking = settings.reranking
    if reranking.reranker not in ("mmr", "none"):
        stages.append((f"+ {reranking.reranker}", {"reranking.mmr_lambda": 1.0}))
    if reranking.reranker != "none" and (reranking.mmr_lambda < 1 or reranking.reranker == "mmr"):
        stages.append(("+ mmr", {}))
    return stages


def _options(retrieval: RetrievalSettings) -> Iterator[tuple[str, Any]]:
    """Yield the settings of ``[retrieval]`` that can be off or on, with the value that they do not have."""
    from msgspec import inspect

    described = inspect.type_info(RetrievalSettings)
    for field in described.fields if isinstance(described, inspect.StructType) else ():
        value, kind = getattr(retrieval, field.name), field.type
        if isinstance(kind, inspect.Metadata):
            kind = kind.type
        if isinstance(kind, inspect.BoolType) and field.name != "lexical":
            yield field.name, not value
        elif isinstance(kind, inspect.FloatType) and kind.ge in (0, 1):
            # A share of what came before does nothing when it is whole.
            off = 1 if field.name in ("repeat_weight", "glossary_boost") else 0
            if value != off:
                yield field.name, off
    yield "per_document", 0 if retrieval.per_document else SHARE_OF_A_PAGE


def _steps(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Yield the steps of understanding that change a ranking here, with the value that they do not have."""
    table = settings.understanding
    yield "tickets", not table.tickets
    if table.classifier != "none":
        yield "classifier", "none"
    if table.glossary is not None and table.expansion_weight:
        yield "expansion_weight", 0
    if settings.generation.generator != Settings().generation.generator:
        yield from ((name, not getattr(table, name)) for name in MODEL_STEPS if name != "rewriting")


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Return settings with some of their values replaced, each named ``table.setting``."""
    tables: dict[str, dict[str, Any]] = {}
    for key, value in changes.items():
        table, _, name = key.partition(".")
        tables.setdefault(table, {})[name] = value
    replaced = {table: msgspec.structs.replace(getattr(settings, table), **of) for table, of in tables.items()}
    return msgspec.structs.replace(settings, **replaced)


# Figures.


def _level_figures(values: Mapping[str, Sequence[Values]]) -> dict[str, LevelFigures]:
    found = {}
    for level, rows in values.items():
        if rows:
            of = dict(zip(rows[0], figures(_columns(rows)), strict=True))
            found[level] = LevelFigures(questions=len(rows), metrics=of)
    return found


def _columns(rows: Sequence[Values]) -> list[list[float]]:
    return [[row[name] for row in rows] for name in rows[0]]


def _gains(before: Sequence[Values], after: Sequence[Values]) -> dict[str, Difference]:
    return dict(zip(after[0], differences(_columns(before), _columns(after)), strict=True))


def _groups(
    asked: Sequence[LabelledQuestion], run: _Run, judgements: Judgements
) -> dict[str, dict[str, dict[str, LevelFigures]]]:
    """Break the figures down by each field of which not all questions have the same values."""
    rows = list(_rows(asked, run, judgements))
    groups: dict[str, dict[str, dict[str, LevelFigures]]] = {}
    for field in GROUPS:
        members: dict[str, dict[str, list[Values]]] = {}
        for question, levels in rows:
            value = getattr(question, field)
            for name in value if isinstance(value, tuple) else (value,):
                for level, values in levels.items():
                    members.setdefault(name, {}).setdefault(level, []).append(values)
        members.pop("", None)
        if any(len(group["document"]) < len(rows) for group in members.values()):
            groups[field] = {name: _level_figures(members[name]) for name in sorted(members)}
    return groups


def _rows(
    asked: Sequence[LabelledQuestion], run: _Run, judgements: Judgements
) -> Iterator[tuple[LabelledQuestion, dict[str, Values]]]:
    """Yield each question with its values by level."""
    sections = iter(run.values["section"])
    for question, values in zip(asked, run.values["document"], strict=True):
        levels: dict[str, Values] = {"document": values}
        if question.id in judgements.sections:
            levels["section"] = next(sections)
        yield question, levels


def _per_question(asked: Sequence[LabelledQuestion], run: _Run, judgements: Judgements) -> Iterator[QuestionFigures]:
    for question, levels in _rows(asked, run, judgements):
        yield QuestionFigures(
            id=question.id,
            question=question.question,
            fingerprint=fingerprint(question),
            difficulty=question.difficulty,
            tags=question.tags,
            language=question.language,
            ranks={level: run.ranks[level][question.id] for level in levels},
            levels=levels,
        )


def _questions(questions: LabelledQuestions, judgements: Judgements) -> Questions:
    unanswerable = sum(not question.answerable for question in questions.questions)
    return Questions(
        name=questions.name,
        layout=questions.layout,
        split=questions.split,
        fingerprint=questions.fingerprint,
        total=len(questions.questions),
        measured=len(questions.judged),
        unanswerable=unanswerable,
        unlabelled=len(questions.questions) - unanswerable - len(questions.judged),
        missing=judgements.missing,
    )


def _searched(pipeline: Pipeline, depth: int, by_words: int) -> Searched:
    snapshot = pipeline.index.snapshot
    settings = {
        f"{table}.{name}": value
        for table in ("understanding", "retrieval", "reranking")
        for name, value in msgspec.structs.asdict(getattr(pipeline.settings, table)).items()
        if name != "top_k"
    }
    return Searched(
        path=str(pipeline.path),
        generation=snapshot.generation,
        documents=snapshot.documents,
        chunks=snapshot.chunks,
        embedder=None if snapshot.embedder is None else snapshot.embedder[0],
        top_k=depth,
        by_words=by_words,
        settings={key: masked(key, value) for key, value in settings.items()},
    )


def _timings(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, math.floor(share * len(ordered)))] * 1000, 3)

    return {"p50": at(0.5), "p95": at(0.95), "total": round(sum(seconds) * 1000, 3)}


def _silent(stage: str, done: int, total: int | None) -> None:
    """Show nothing."""


# Comparison.


def read_evaluation(path: str | Path) -> Evaluation:
    """Read what ``clockify-rag eval --json`` wrote.

    Raises:
        EvaluationError: the file cannot be read, or holds something else.
    """
    try:
        evaluation = msgspec.json.decode(Path(path).read_bytes(), type=Evaluation)
        _check_whole(evaluation)
    except OSError as error:
        raise EvaluationError(f"cannot read {path}: {error.strerror}", hint="check the path", file=str(path)) from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise EvaluationError(
            f"{path} is no evaluation: {error}",
            hint="clockify-rag eval QUESTIONS --json FILE writes one",
            file=str(path),
        ) from error
    return evaluation


def _check_whole(evaluation: Evaluation) -> None:
    """Refuse an evaluation whose figures are not those of its questions."""
    asked = evaluation.per_question
    if not asked or "document" not in evaluation.levels or any("document" not in row.levels for row in asked):
        raise ValueError("it has no figures of documents for its questions")
    for level, found in evaluation.levels.items():
        rows = [row.levels[level] for row in asked if level in row.levels]
        if len(rows) != found.questions or any(row.keys() != found.metrics.keys() for row in rows):
            raise ValueError(f"its figures of {level}s are not those of its questions")


def compare(before: Evaluation, after: Evaluation, *, names: tuple[str, str] = ("before", "after")) -> Comparison:
    """Compare two evaluations question by question.

    Args:
        before: what is compared with.
        after: what is compared.
        names: what they are called.

    Raises:
        RunsDiffer: they are not of the same questions with the same labels, or share no metric.
    """
    _check_same_questions(before, after, names)
    levels: dict[str, dict[str, Compared]] = {}
    for level in LEVELS:
        if level not in before.levels or level not in after.levels:
            continue
        shared = [name for name in before.levels[level].metrics if name in after.levels[level].metrics]
        pairs = [
            (one.levels[level], other.levels[level]) for one, other in _pairs(before, after) if level in one.levels
        ]
        found = differences(
            [[one[name] for one, _ in pairs] for name in shared],
            [[other[name] for _, other in pairs] for name in shared],
        )
        levels[level] = {
            name: Compared(
                before=before.levels[level].metrics[name].mean,
                after=after.levels[level].metrics[name].mean,
                difference=difference,
            )
            for name, difference in zip(shared, found, strict=True)
        }
    if not any(levels.values()):
        raise RunsDiffer(
            f"{names[0]} and {names[1]} share no metric", hint="evaluate both with the same --metric", names=names
        )
    return Comparison(
        before=names[0],
        after=names[1],
        questions=after.questions.name,
        measured=after.questions.measured,
        settings=_differing(before.searched.settings, after.searched.settings),
        searched=_differing(*({name: getattr(run.searched, name) for name in CAUSES} for run in (before, after))),
        levels=levels,
        per_question=_changes(before, after, next(iter(levels["document"]))),
    )


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {key: (old.get(key), new.get(key)) for key in dict.fromkeys((*old, *new)) if old.get(key) != new.get(key)}


def _changes(before: Evaluation, after: Evaluation, name: str) -> tuple[tuple[str, str, float, float], ...]:
    rows = [
        (one.id, one.question, one.levels["document"][name], other.levels["document"][name])
        for one, other in _pairs(before, after)
    ]
    changed = [row for row in rows if row[2] != row[3]]
    return tuple(sorted(changed, key=lambda row: row[3] - row[2]))


def _pairs(before: Evaluation, after: Evaluation) -> Iterator[tuple[QuestionFigures, QuestionFigures]]:
    of_id = {row.id: row for row in after.per_question}
    for row in before.per_question:
        yield row, of_id[row.id]


def _check_same_questions(before: Evaluation, after: Evaluation, names: tuple[str, str]) -> None:
    one, other = ({row.id: row.fingerprint for row in run.per_question} for run in (before, after))
    if one == other:
        return
    only = [
        f"{len(a.keys() - b.keys()):,} only in {name}"
        for a, b, name in ((one, other, names[0]), (other, one, names[1]))
    ]
    changed = sum(one[key] != other[key] for key in one.keys() & other.keys())
    raise RunsDiffer(
        f"{names[0]} and {names[1]} are not of the same questions and labels: {only[0]}, {only[1]}, {changed:,} changed",
        hint="evaluate both with the same file of questions",
        names=names,
    )
