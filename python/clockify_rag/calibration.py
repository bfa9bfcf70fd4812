"""The probability that the documentation answers a question, from the evidence that was found; refusal below a threshold.

The map is a logistic regression on a handful of measures that mean the same in any collection (``rust/evidence.rs``). No
coefficient is below 0, so more evidence never lowers the probability, and none knows a word of any question. It is fitted on
labelled questions, each asked twice: as it is, and with every relevant document left out, so that nothing answers it. A map that
was fitted with a user's own questions is drawn to the shipped one: a few dozen questions move it, and do not invent it anew.

Cosines mean what the embedder makes of them, so a calibration holds one map for the embedder it was fitted with and one for words
alone; with another embedder the latter answers. A trained reader would tell more than these measures can: what they reach, and
where they end, is in ``docs/calibration.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from clockify_rag.errors import ConfigError

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    from clockify_rag.contracts import Evidence, RefusalReason, SearchResult

    Numbers: TypeAlias = NDArray[numpy.float64]

FORMAT: Final = 1
"""The layout of a calibration's file."""

FILE: Final = "calibration.json"
"""Where a calibration lies in the folder of the index that it was fitted on, whatever is built there later."""

SHIPPED: Final = Path(__file__).parent / "models" / FILE

BY_WORDS: Final = ("idf_coverage", "title_coverage", "covered_mass", "lexical_margin")
"""The measures that need no vectors."""

WITH_VECTORS: Final = (*BY_WORDS, "best_cosine", "cosine_margin", "agreement")
"""All measures."""

LEAST_MASS: Final = 0.1
"""Added to the covered mass before its logarithm is taken."""

RIDGE: Final = 3.0
"""How strongly coefficients are drawn to 0 where there is no map to start from."""

PRIOR: Final = 30.0
"""How strongly they are drawn to those of the map to start from; about the weight of 150 questions."""

ROUNDS: Final = 50
"""Newton steps at most; a dozen are enough."""

CONVERGED: Final = 1e-9


class Map(msgspec.Struct, frozen=True, kw_only=True):
    """From measures to a probability: 1 / (1 + exp(-(intercept + Σ coefficient · (measure - mean) / scale)))."""

    measures: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    coefficients: tuple[float, ...]
    """None below 0."""
    intercept: float
    threshold: float
    """Below it a question is refused."""

    def __post_init__(self) -> None:
        parts = (self.means, self.scales, self.coefficients)
        numbers = [number for part in parts for number in part]
        if any(len(part) != len(self.measures) for part in parts) or not set(self.measures) <= set(WITH_VECTORS):
            raise ValueError("its measures are not those of this version")
        if not all(map(math.isfinite, (*numbers, self.intercept))) or min((*self.scales, 1.0)) <= 0:
            raise ValueError("its numbers cannot be used")
        if min((*self.coefficients, 0.0)) < 0 or not 0 <= self.threshold <= 1:
            raise ValueError("a coefficient is below 0, or the threshold is not from 0 to 1")

    def probability(self, evidence: Evidence) -> float | None:
        """Return the probability that the documentation answers; ``None`` where the evidence lacks a measure."""
        values = measured(evidence, self.measures)
        if values is None:
            return None
        parts = zip(self.coefficients, values, self.means, self.scales, strict=True)
        return _logistic(self.intercept + sum(weight * (value - mean) / scale for weight, value, mean, scale in parts))


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """What a calibration was fitted on."""

    questions: str
    """A hash of the questions and their labels."""
    answerable: int
    unanswerable: int
    """Questions whose relevant documents were left out."""
    false_refusal_rate: float
    """The share of answerable questions that the threshold may refuse."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Maps for one embedder and for words alone."""

    format: int = FORMAT
    name: str
    """What answers say calibrated them."""
    embedder: str | None
    """The fingerprint of the embedder that ``with_vectors`` is for."""
    with_vectors: Map | None
    by_words: Map
    fitted: Fitted

    def map_for(self, embedder: str | None) -> Map:
        """Return the map for questions embedded by ``embedder``, a fingerprint, or for words."""
        if self.with_vectors is None or embedder is None or embedder != self.embedder:
            return self.by_words
        return self.with_vectors

    def judge(self, evidence: Evidence, embedder: str | None) -> tuple[float | None, float]:
        """Return the probability that the documentation answers, and the threshold below which a question is refused."""
        chosen = self.map_for(embedder)
        probability = chosen.probability(evidence)
        if probability is None:  # a question or an index without vectors
            chosen = self.by_words
            probability = chosen.probability(evidence)
        return probability, chosen.threshold


def measured(evidence: Evidence, measures: Sequence[str]) -> tuple[float, ...] | None:
    """Return measures of the evidence as a map takes them; ``None`` where one is missing."""
    values: list[float] = []
    for name in measures:
        value = getattr(evidence, name)
        if value is None:
            return None
        values.append(math.log(LEAST_MASS + value) if name == "covered_mass" else value)
    return tuple(values)


def refusal(result: SearchResult) -> RefusalReason | None:
    """Return why a question should not be answered from ``result``, or ``None`` where it may be.

    ``empty_index`` when there are no documents, ``no_evidence`` when nothing was found, ``weak_evidence`` when the confidence is
    below the result's threshold. A retriever that tells no measures has no confidence, and is believed.
    """
    if result.evidence.documents == 0:
        return "empty_index"
    if not result.hits:
        return "no_evidence"
    return "weak_evidence" if result.confidence is not None and result.confidence < result.threshold else None


def _logistic(score: float) -> float:
    if score >= 0:
        return 1.0 / (1.0 + math.exp(-score))
    return math.exp(score) / (1.0 + math.exp(score)) if score > -700 else 0.0  # noqa: PLR2004 - exp of less is 0


# Files.


@cache
def shipped() -> Calibration:
    """Return the calibration that the package comes with."""
    return _decoded(SHIPPED, SHIPPED.read_bytes())


def load(file: Path) -> Calibration:
    """Read a calibration.

    Raises:
        ConfigError: the file cannot be read, or is of another version.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the calibration {file} cannot be read: {error.strerror}",
            hint="clockify-rag calibrate QUESTIONS makes one; without calibration.file the shipped one is used",
        ) from error
    return _decoded(file, content)


def _decoded(file: Path, content: bytes) -> Calibration:
    try:
        calibration = msgspec.json.decode(content, type=Calibration)
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(
            f"{file} is no calibration: {error}", hint="make it anew: clockify-rag calibrate QUESTIONS"
        ) from error
    if calibration.format != FORMAT:
        raise ConfigError(
            f"the calibration {file} is of format {calibration.format}, this program reads {FORMAT}",
            hint="make it anew: clockify-rag calibrate QUESTIONS",
        )
    return calibration


def save(calibration: Calibration, file: Path) -> None:
    """Write a calibration; whoever reads meanwhile finds the old one or this one.

    Raises:
        ConfigError: the file cannot be written.
    """
    text = msgspec.json.format(msgspec.json.encode(calibration), indent=1) + b"\n"
    part = file.with_name(file.name + ".part")
    try:
        part.write_bytes(text)
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ConfigError(
            f"the calibration {file} cannot be written: {error.strerror}", hint="--output FILE names another"
        ) from error


# Fitting.


def fit(
    rows: Sequence[tuple[float, ...]],
    answerable: Sequence[bool],
    measures: Sequence[str],
    *,
    prior: Map | None = None,
) -> Map:
    """Fit a map by penalised maximum likelihood (iteratively reweighted least squares), with no coefficient below 0.

    Args:
        rows: the measures of each question, as ``measured`` gives them.
        answerable: whether the documentation answers it.
        measures: their names.
        prior: the map that coefficients are drawn to, whose means and scales are kept; by default they are drawn to 0.

    Returns: the map, with a threshold that refuses nothing.
    """
    import numpy

    values = numpy.array(rows, numpy.float64)
    wanted = numpy.array(answerable, numpy.float64)
    if prior is None:
        means, scales = values.mean(axis=0), numpy.maximum(values.std(axis=0), 1e-6)
        centre, strength = numpy.zeros(len(measures)), RIDGE
    else:
        means, scales = numpy.array(prior.means), numpy.array(prior.scales)
        centre, strength = numpy.array(prior.coefficients), PRIOR
    solution = _without_negative((values - means) / scales, wanted, centre, strength)
    return Map(
        measures=tuple(measures),
        means=tuple(means.tolist()),
        scales=tuple(scales.tolist()),
        coefficients=tuple(solution[1:].tolist()),
        intercept=float(solution[0]),
        threshold=0.0,
    )


def _without_negative(values: Numbers, wanted: Numbers, centre: Numbers, strength: float) -> Numbers:
    """Fit, and take the most negative coefficient out as long as there is one."""
    import numpy

    kept = list(range(values.shape[1]))
    while True:
        solution = _newton(values[:, kept], wanted, centre[kept], strength)
        worst = int(solution[1:].argmin()) if kept else 0
        if not kept or solution[1 + worst] >= 0:
            break
        kept.pop(worst)
    whole = numpy.zeros(values.shape[1] + 1)
    whole[0] = solution[0]
    whole[[1 + place for place in kept]] = solution[1:]
    return whole


def _newton(values: Numbers, wanted: Numbers, centre: Numbers, strength: float) -> Numbers:
    """Minimise the negative log-likelihood + strength / 2 · |coefficients - centre|², the intercept free."""
    import numpy

    design = numpy.hstack([numpy.ones((len(values), 1)), values])
    start = numpy.concatenate([[0.0], centre])
    penalty = numpy.diag([1e-6, *[strength] * values.shape[1]])
    solution = start.copy()
    loss = math.inf
    for _ in range(ROUNDS):
        scores = design @ solution
        chances = 0.5 * (1 + numpy.tanh(scores / 2))
        gradient = design.T @ (wanted - chances) - penalty @ (solution - start)
        curvature = (design * (chances * (1 - chances))[:, None]).T @ design + penalty
        step = numpy.linalg.solve(curvature, gradient)
        # A full step may overshoot where nearly all chances are 0 or 1.
        while (new := _loss(design, wanted, penalty, solution + step, start)) > loss + CONVERGED:
            step = step / 2
        solution, loss = solution + step, new
        if numpy.abs(step).max() < CONVERGED:
            break
    return solution


def _loss(design: Numbers, wanted: Numbers, penalty: Numbers, solution: Numbers, start: Numbers) -> float:
    import numpy

    scores = design @ solution
    losses = numpy.logaddexp(0.0, scores) - wanted * scores
    moved = solution - start
    return float(losses.sum() + moved @ penalty @ moved / 2)


def threshold_for(probabilities: Sequence[float], rate: float) -> float:
    """Return the largest threshold below which at most a share ``rate`` of these probabilities lies, of answerable questions."""
    ordered = sorted(probabilities)
    allowed = math.floor(rate * len(ordered) + 1e-9)
    return 1.0 if allowed >= len(ordered) else ordered[allowed]


# Measuring probabilities against what came true.


def calibration_error(probabilities: Sequence[float], outcomes: Sequence[bool], bins: int = 10) -> float:
    """Return the expected calibration error: the mean distance of a bin's mean probability from its share of true outcomes.

    Bins hold equally many questions, in order of probability (Nguyen and O'Connor 2015), weighted by how many.
    """
    count = len(probabilities)
    return sum(size * abs(mean - share) for mean, share, size in reliability(probabilities, outcomes, bins)) / count


def reliability(
    probabilities: Sequence[float], outcomes: Sequence[bool], bins: int = 10
) -> list[tuple[float, float, int]]:
    """Return the mean probability, the share of true outcomes, and the size of each of the equally large bins."""
    ordered = sorted(zip(probabilities, outcomes, strict=True))
    ends = [round(place * len(ordered) / bins) for place in range(bins + 1)]
    parts = [ordered[start:end] for start, end in pairwise(ends) if end > start]
    return [
        (
            math.fsum(chance for chance, _ in part) / len(part),
            sum(outcome for _, outcome in part) / len(part),
            len(part),
        )
        for part in parts
    ]


def brier(probabilities: Sequence[float], outcomes: Sequence[bool]) -> float:
    """Return the mean squared distance of probability and outcome (Brier 1950)."""
    pairs = zip(probabilities, outcomes, strict=True)
    return math.fsum((chance - outcome) ** 2 for chance, outcome in pairs) / len(probabilities)


def auroc(probabilities: Sequence[float], outcomes: Sequence[bool]) -> float:
    """Return the chance that a true outcome has a larger probability than a false one, ties counted half."""
    ordered = sorted(zip(probabilities, outcomes, strict=True))
    ranks, start = 0.0, 0
    while start < len(ordered):
        end = start
        while end < len(ordered) and ordered[end][0] == ordered[start][0]:
            end += 1
        ranks += (start + end + 1) / 2 * sum(outcome for _, outcome in ordered[start:end])
        start = end
    true = sum(outcomes)
    return (ranks - true * (true + 1) / 2) / (true * (len(ordered) - true))


def wilson(count: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    if of == 0:
        return 0.0, 1.0
    z = 1.959963984540054
    share, square = count / of, z * z / of
    middle = share + square / 2
    half = z * math.sqrt(share * (1 - share) / of + square / (4 * of))
    return max(0.0, (middle - half) / (1 + square)), min(1.0, (middle + half) / (1 + square))


def risk_coverage(probabilities: Sequence[float], outcomes: Sequence[bool]) -> list[tuple[float, float]]:
    """Return, for each share of questions answered (the most certain first), the share of those that nothing answers."""
    ordered = sorted(zip(probabilities, outcomes, strict=True), key=lambda pair: -pair[0])
    points: list[tuple[float, float]] = []
    wrong = 0
    for answered, (chance, outcome) in enumerate(ordered, 1):
        wrong += not outcome
        # Questions of one probability are answered or refused together.
        if answered == len(ordered) or ordered[answered][0] != chance:
            points.append((answered / len(ordered), wrong / answered))
    return points
