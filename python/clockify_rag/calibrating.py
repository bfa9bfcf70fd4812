"""Fitting a calibration to an index with labelled questions, and measuring it on questions that it was not fitted on.

Each labelled question is asked twice: as it is, and with every relevant document left out, so that nothing answers it. Questions
that share a relevant document stay in one fold, and every figure is cross-fitted: map and threshold that judge a question come
from the other folds. Unanswerable questions that people wrote take no part in the fit and are reported apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from clockify_rag import calibration
from clockify_rag.calibration import BY_WORDS, WITH_VECTORS, Calibration, Fitted, Map
from clockify_rag.contracts import digest
from clockify_rag.errors import EvaluationError
from clockify_rag.labelling import judge, searching

if TYPE_CHECKING:
    from clockify_rag.building import Progress
    from clockify_rag.contracts import Evidence
    from clockify_rag.labelling import LabelledQuestion, LabelledQuestions
    from clockify_rag.pipeline import Pipeline

LEAST_QUESTIONS: Final = 30
"""Fewer tell too little to fit anything."""

LEAST_GROUPS: Final = 5
CALIBRATED_RETRIEVER: Final = 'set retrieval.retriever = "hybrid"'
FOLDS: Final = 10
BINS: Final = 10
CURVE_POINTS: Final = 40


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One question, what was found for it, and whether the documentation that was searched answers it."""

    question: str
    answerable: bool
    group: str
    """Questions of one group stay in one fold; the empty one takes no part in the fit."""
    with_vectors: Evidence
    by_words: Evidence


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A share of questions with its 95 % Wilson interval."""

    count: int
    of: int
    low: float
    high: float


class Bin(msgspec.Struct, frozen=True, kw_only=True):
    """Questions of about the same probability."""

    probability: float
    """The mean of theirs."""
    answerable: Share


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """How good probabilities and refusals are."""

    calibration_error: float
    """Of ten equally large bins, weighted."""
    brier: float
    base_brier: float
    """That of the share of answerable questions given to each."""
    auroc: float
    threshold: float
    refused_wrongly: Share
    """Of the answerable."""
    refused_rightly: Share
    """Of those whose relevant documents were left out."""
    written_refused: Share | None
    """Of the unanswerable questions that people wrote; ``None`` without any."""
    reliability: tuple[Bin, ...]
    risk_coverage: tuple[tuple[float, float], ...]
    """The share of questions answered, and the share of those that nothing answers, by falling confidence."""


class Calibrated(msgspec.Struct, frozen=True, kw_only=True):
    """A calibration, and what it is worth on questions that it was not fitted on."""

    calibration: Calibration
    folds: int
    left_out: int = 0
    """Answerable questions that took no part, because the index lacks a page that answers them."""
    held_out: Mapping[str, Figures]
    """``with_vectors`` and ``by_words``, cross-fitted."""
    before: Mapping[str, Figures]
    """The same questions judged by the calibration that they started from, with its threshold."""


def calibrate(
    pipeline: Pipeline,
    labelled: LabelledQuestions,
    *,
    false_refusal_rate: float = 0.05,
    name: str = "own",
    prior: Calibration | None = None,
    progress: Progress | None = None,
) -> Calibrated:
    """Fit a calibration to the index of ``pipeline``.

    Args:
        pipeline: searched with its settings.
        labelled: questions with labels; of the unanswerable only the share refused is measured.
        false_refusal_rate: the share of answerable questions that the threshold may refuse.
        name: what answers will say calibrated them.
        prior: where the fit starts from; by default the shipped calibration.
        progress: called as questions are searched.

    Raises:
        EvaluationError: there are too few questions to fit on, or one cannot be searched.
        LabelsUnknown: the index has nothing that labels name.
    """
    start = prior or calibration.shipped()
    pipeline = pipeline.with_settings(pipeline.settings)
    pipeline.made["calibration"] = start  # the configured one may be broken, or missing: this makes it anew
    asked = list(ask_twice(pipeline, labelled, progress=progress))
    recorded = pipeline.index.snapshot.embedder
    result = fitted(
        asked,
        name=name,
        questions=labelled.fingerprint,
        embedder=None if recorded is None else recorded[1],
        false_refusal_rate=false_refusal_rate,
        prior=start,
    )
    return msgspec.structs.replace(result, left_out=len(labelled.judged) - sum(one.answerable for one in asked))


def ask_twice(pipeline: Pipeline, labelled: LabelledQuestions, *, progress: Progress | None = None) -> Iterator[Asked]:
    """Yield every labelled question as it is and with its relevant documents left out, then the unanswerable ones.

    Questions with a relevant document that the index lacks are not asked.
    """
    judged = judge(labelled.judged, pipeline.index, allow_missing=True)
    known = {document.id for document in pipeline.index.documents()}
    relevant = {name: sorted(documents) for name, documents in judged.documents.items() if known.issuperset(documents)}
    groups = groups_of(relevant)
    written = [question for question in labelled.questions if not question.answerable]
    total, done = 2 * len(relevant) + len(written), 0

    def found(question: LabelledQuestion, answerable: bool, group: str, without: Sequence[str] = ()) -> Asked:  # noqa: FBT001
        nonlocal done
        done += 1
        if progress is not None:
            progress("search", done, total)
        with searching(question):
            return asked_once(pipeline, question.question, answerable=answerable, group=group, without=without)

    for question in labelled.judged:
        if question.id in relevant:
            yield found(question, True, groups[question.id])  # noqa: FBT003
            yield found(question, False, groups[question.id], relevant[question.id])  # noqa: FBT003
    for question in written:
        yield found(question, False, "")  # noqa: FBT003


def asked_once(
    pipeline: Pipeline, question: str, *, answerable: bool, group: str = "", without: Sequence[str] = ()
) -> Asked:
    """Search a question with vectors and by words.

    Raises:
        EvaluationError: the retriever finds documents that it was to leave out.
    """
    hybrid = pipeline.search(question, excluded_documents=without)
    lexical = pipeline.search(question, lexical=True, excluded_documents=without)
    if any(hit.document.id in without for hit in (*hybrid.hits, *lexical.hits)):
        raise EvaluationError(
            f"the retriever {pipeline.settings.retrieval.retriever} finds documents that it is to leave out, "
            "so it cannot be told what unanswerable questions look like",
            hint=CALIBRATED_RETRIEVER,
        )
    return Asked(
        question=question,
        answerable=answerable,
        group=group,
        with_vectors=hybrid.evidence,
        by_words=lexical.evidence,
    )


def groups_of(relevant: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Name for each question the group of those it shares a relevant document with, directly or by others."""
    above: dict[str, str] = {}

    def root(document: str) -> str:
        while above.setdefault(document, document) != document:
            above[document] = above[above[document]]
            document = above[document]
        return document

    for documents in relevant.values():
        first, *others = documents
        for other in others:
            above[max(root(first), root(other))] = min(root(first), root(other))
    return {question: root(next(iter(documents))) for question, documents in relevant.items()}


def fitted(
    asked: Sequence[Asked],
    *,
    name: str,
    questions: str,
    embedder: str | None,
    false_refusal_rate: float,
    prior: Calibration | None,
) -> Calibrated:
    """Fit a calibration to what was found, and measure it.

    Args:
        asked: what was found; questions without a group take no part in the fit.
        name: what answers will say calibrated them.
        questions: a hash of the questions.
        embedder: the fingerprint of what embedded them.
        false_refusal_rate: the share of answerable questions that the threshold may refuse.
        prior: where the fit starts from.

    Raises:
        EvaluationError: there are too few questions to fit on. Too few with vectors leave only the map by words.
    """
    pool = [one for one in asked if one.group]
    written = [one for one in asked if not one.group]
    folds = folds_of(pool)
    if pool and all(_values(one, "by_words", BY_WORDS) is None for one in pool):
        raise EvaluationError("the retriever tells no measures to calibrate on", hint=CALIBRATED_RETRIEVER)
    maps: dict[str, Map] = {}
    held_out: dict[str, Figures] = {}
    before: dict[str, Figures] = {}
    for kind, measures in (("with_vectors", WITH_VECTORS), ("by_words", BY_WORDS)):
        start: Map | None = None if prior is None else getattr(prior, kind)
        if kind == "with_vectors" and prior is not None and prior.embedder != embedder:
            start = None
        told = [(one, fold) for one, fold in zip(pool, folds, strict=True) if _values(one, kind, measures) is not None]
        ours, own_folds = [one for one, _ in told], [fold for _, fold in told]
        if kind == "with_vectors" and _too_few(ours, own_folds):
            continue
        _check(ours, own_folds)
        fitting = Fitting(kind, measures, start, false_refusal_rate)
        maps[kind], probabilities, limits = fitting.cross_fitted(ours, own_folds)
        apart = fitting.refused(maps[kind], written)
        held_out[kind] = figures(ours, probabilities, limits, maps[kind].threshold, apart)
        if start is not None:
            chances = [fitting.probability(start, one) for one in ours]
            apart = fitting.refused(start, written)
            before[kind] = figures(ours, chances, [start.threshold] * len(ours), start.threshold, apart)
    return Calibrated(
        calibration=Calibration(
            name=name,
            embedder=embedder if "with_vectors" in maps else None,
            with_vectors=maps.get("with_vectors"),
            by_words=maps["by_words"],
            fitted=Fitted(
                questions=questions,
                answerable=sum(one.answerable for one in pool),
                unanswerable=sum(not one.answerable for one in pool),
                false_refusal_rate=false_refusal_rate,
            ),
        ),
        folds=len(set(folds)),
        held_out=held_out,
        before=before,
    )


def _values(asked: Asked, kind: str, measures: Sequence[str]) -> tuple[float, ...] | None:
    return calibration.measured(getattr(asked, kind), measures)


def _too_few(pool: Sequence[Asked], folds: Sequence[int]) -> bool:
    return sum(one.answerable for one in pool) < LEAST_QUESTIONS or len(set(folds)) < LEAST_GROUPS


def _check(pool: Sequence[Asked], folds: Sequence[int]) -> None:
    if _too_few(pool, folds):
        answerable, groups = sum(one.answerable for one in pool), len({one.group for one in pool})
        raise EvaluationError(
            f"questions to calibrate on are too few: {answerable:,}, in {groups:,} groups that share no document",
            hint=f"label at least {LEAST_QUESTIONS} questions with different pages; until then the shipped calibration is used",
        )


def folded(groups: Mapping[str, str], folds: int = FOLDS) -> dict[str, int]:
    """Deal questions to folds by their groups.

    A group stays together: the largest first, each to the fold that has fewest questions; equals in the order of a hash.
    """
    sizes = Counter(groups.values())
    held = [0] * min(folds, max(1, len(sizes)))
    of: dict[str, int] = {}
    for group in sorted(sizes, key=lambda group: (-sizes[group], digest("fold", group))):
        of[group] = held.index(min(held))
        held[of[group]] += sizes[group]
    return {question: of[group] for question, group in groups.items()}


def folds_of(pool: Sequence[Asked]) -> list[int]:
    """Return the fold of each question that was asked, see ``folded``."""
    folds = folded({str(number): one.group for number, one in enumerate(pool)})
    return list(folds.values())


class Fitting:
    """Fits maps of one kind.

    Args:
        kind: ``with_vectors`` or ``by_words``.
        measures: the names of what the map takes.
        prior: where a fit starts from.
        rate: the share of answerable questions that the threshold may refuse.
    """

    def __init__(self, kind: str, measures: Sequence[str], prior: Map | None, rate: float) -> None:
        self.kind = kind
        self.measures = measures
        self.prior = prior
        self.rate = rate

    def cross_fitted(self, pool: Sequence[Asked], folds: Sequence[int]) -> tuple[Map, list[float], list[float]]:
        """Return the map of all questions, and for each question the probability and the threshold of the other folds.

        The threshold of the map itself is that of the cross-fitted probabilities.
        """
        probabilities = [0.0] * len(pool)
        for fold in sorted(set(folds)):
            others = self.map_of([one for one, own in zip(pool, folds, strict=True) if own != fold])
            for place, (one, own) in enumerate(zip(pool, folds, strict=True)):
                if own == fold:
                    probabilities[place] = self.probability(others, one)
        known = [(chance, fold) for chance, fold, one in zip(probabilities, folds, pool, strict=True) if one.answerable]
        thresholds = {
            fold: calibration.threshold_for([chance for chance, own in known if own != fold], self.rate)
            for fold in set(folds)
        }
        whole = msgspec.structs.replace(
            self.map_of(pool), threshold=calibration.threshold_for([chance for chance, _ in known], self.rate)
        )
        return whole, probabilities, [thresholds[fold] for fold in folds]

    def map_of(self, pool: Sequence[Asked]) -> Map:
        """Fit a map."""
        return calibration.fit(
            [_values(one, self.kind, self.measures) or () for one in pool],
            [one.answerable for one in pool],
            self.measures,
            prior=self.prior,
        )

    def probability(self, given: Map, asked: Asked) -> float:
        """Return the probability of an answer; 0 where nothing was found."""
        return given.probability(getattr(asked, self.kind)) or 0.0

    def refused(self, given: Map, asked: Sequence[Asked]) -> list[bool]:
        """Return which questions a map refuses."""
        return [self.probability(given, one) < given.threshold for one in asked]


def figures(
    pool: Sequence[Asked],
    probabilities: Sequence[float],
    limits: Sequence[float],
    threshold: float,
    written: Sequence[bool] = (),
) -> Figures:
    """Measure probabilities, each refused below its limit; ``written`` says which questions of people are refused."""
    outcomes = [one.answerable for one in pool]
    rate = sum(outcomes) / len(outcomes)
    refused = [chance < limit for chance, limit in zip(probabilities, limits, strict=True)]
    return Figures(
        calibration_error=calibration.calibration_error(probabilities, outcomes, BINS),
        brier=calibration.brier(probabilities, outcomes),
        base_brier=rate * (1 - rate),
        auroc=calibration.auroc(probabilities, outcomes),
        threshold=threshold,
        refused_wrongly=share([one for one, outcome in zip(refused, outcomes, strict=True) if outcome]),
        refused_rightly=share([one for one, outcome in zip(refused, outcomes, strict=True) if not outcome]),
        written_refused=share(written) if written else None,
        reliability=tuple(
            Bin(probability=mean, answerable=_share_of(round(true * size), size))
            for mean, true, size in calibration.reliability(probabilities, outcomes, BINS)
        ),
        risk_coverage=tuple(_thinned(calibration.risk_coverage(probabilities, outcomes))),
    )


def share(flags: Sequence[bool]) -> Share:
    """Return how many are true, with the interval."""
    return _share_of(sum(flags), len(flags))


def _share_of(count: int, of: int) -> Share:
    low, high = calibration.wilson(count, of)
    return Share(count=count, of=of, low=low, high=high)


def _thinned(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Yield about ``CURVE_POINTS`` of the points, the last among them."""
    step = max(1, len(points) // CURVE_POINTS)
    yield from (point for number, point in enumerate(points, 1) if number % step == 0 or number == len(points))
