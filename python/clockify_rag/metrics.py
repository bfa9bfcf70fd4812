"""How good a ranking is, and how sure that is: the measures of information retrieval, intervals and paired tests.

A metric is named as its literature names it, with the rank it looks down to: ``ndcg@10``. All take a ranking of names, best first
and each once, and the grades of the relevant ones; what the names stand for (pages, sections) is the caller's business. Values
agree with trec_eval's, which a test holds against ``ir-measures`` on random runs.

Questions are a sample of those that will be asked, so a mean comes with an interval over questions, and two rankings are compared
question by question: on the same questions a difference is much surer than two means are. Random numbers are seeded, so equal
input gives equal output. numpy is imported by the functions that draw them, because no other command needs it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import msgspec

from clockify_rag.errors import EvaluationError

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Matrix = NDArray[numpy.float64]

MAXIMUM_K: Final = 1000
"""The deepest rank that a metric looks at: no search returns more hits."""

RESAMPLES: Final = 10_000
"""How often questions are drawn anew for an interval, and signs for a test."""

CONFIDENCE: Final = 0.95
"""The share of resamples that an interval holds."""

DRAWN_AT_ONCE: Final = 1_000_000
"""Random numbers that are held at once."""

SEED: Final = 1
"""What random numbers begin with."""

ROUNDING: Final = 1e-9
"""Differences of sums below this are of their order only."""


class Figure(msgspec.Struct, frozen=True):
    """A mean over questions and its 95 % interval."""

    mean: float
    low: float
    high: float


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What one ranking gains over another on the same questions."""

    mean: float
    low: float
    high: float
    p: float
    """How likely so large a mean difference, of either sign, is if both rankings are equally good."""
    better: int
    """Questions on which the second is better."""
    worse: int
    equal: int


class Metric(msgspec.Struct, frozen=True):
    """A measure of one ranking.

    ``gains`` are the grades of a ranking's items in order, 0 for those that are not relevant; ``grades`` those of all that is
    relevant, at least one, each from 1. With r_i = 1 where the gain at rank i is above 0, R relevant in all, and ranks to k:

    - ``ndcg``: Σ g_i / log2(i + 1) over the same of the best order (Järvelin and Kekäläinen 2002, linear gain)
    - ``mrr``: 1 over the rank of the first relevant, 0 where there is none to k
    - ``recall``: Σ r_i / R
    - ``precision``: Σ r_i / k
    - ``map``: Σ r_i · (Σ_{j ≤ i} r_j) / i / R; without k over the whole ranking
    - ``hit``: 1 where there is a relevant one to k, else 0
    """

    name: str
    """``ndcg``, ``mrr``, ``recall``, ``precision``, ``map`` or ``hit``."""
    k: int
    whole: bool = False
    """Whether it was named without a rank."""

    def __str__(self) -> str:
        return self.name if self.whole else f"{self.name}@{self.k}"

    def of(self, gains: Sequence[int], grades: Sequence[int]) -> float:
        """Return the value for one ranking, 0 to 1."""
        return _FORMULAS[self.name](gains[: self.k], grades, self.k)


def metric(name: str) -> Metric:
    """Return the metric that is named, as in ``ndcg@10``; ``map`` may go without a rank.

    Raises:
        EvaluationError: there is no such metric, or its rank is not from 1 to 1,000.
    """
    typed = name.strip().lower()
    match = re.fullmatch(r"([a-z]+)(?:@([+-]?\d+))?", typed)
    if match is None or match[1] not in _FORMULAS or (match[2] is None and match[1] != "map"):
        raise EvaluationError(
            f"there is no metric {name!r}",
            hint=f"there are: {', '.join(f'{known}@10' for known in _FORMULAS)}, map",
            metric=name,
        )
    k = MAXIMUM_K if match[2] is None else int(match[2][:6])
    if not 1 <= k <= MAXIMUM_K:
        raise EvaluationError(
            f"{name} looks at rank {match[2]}, which is not from 1 to {MAXIMUM_K:,}", hint=f"{match[1]}@10", metric=name
        )
    return Metric(match[1], k, match[2] is None)


def measure(ranking: Sequence[str], relevant: Mapping[str, int], metrics: Sequence[Metric]) -> list[float]:
    """Return the value of each metric for one ranking.

    Args:
        ranking: names, best first, each once.
        relevant: the relevant names, at least one, and their grades from 1.
        metrics: what is measured.
    """
    gains = [relevant.get(name, 0) for name in ranking]
    grades = list(relevant.values())
    return [one.of(gains, grades) for one in metrics]


def _discounted(gains: Sequence[int]) -> float:
    return math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1) if gain)


def _ndcg(gains: Sequence[int], grades: Sequence[int], k: int) -> float:
    return _discounted(gains) / _discounted(sorted(grades, reverse=True)[:k])


def _reciprocal_rank(gains: Sequence[int], _: Sequence[int], __: int) -> float:
    return next((1 / rank for rank, gain in enumerate(gains, 1) if gain), 0.0)


def _recall(gains: Sequence[int], grades: Sequence[int], _: int) -> float:
    return sum(gain > 0 for gain in gains) / len(grades)


def _precision(gains: Sequence[int], _: Sequence[int], k: int) -> float:
    return sum(gain > 0 for gain in gains) / k


def _average_precision(gains: Sequence[int], grades: Sequence[int], _: int) -> float:
    found = accumulate(gain > 0 for gain in gains)
    ranks = enumerate(zip(gains, found, strict=True), 1)
    return math.fsum(count / rank for rank, (gain, count) in ranks if gain) / len(grades)


def _hit(gains: Sequence[int], _: Sequence[int], __: int) -> float:
    return float(any(gains))


_FORMULAS: Final[Mapping[str, Callable[[Sequence[int], Sequence[int], int], float]]] = {
    "ndcg": _ndcg,
    "mrr": _reciprocal_rank,
    "recall": _recall,
    "precision": _precision,
    "map": _average_precision,
    "hit": _hit,
}


# Over questions.


def figures(columns: Sequence[Sequence[float]]) -> list[Figure]:
    """Return the mean of each column and its percentile bootstrap interval over the rows (Efron 1979).

    Args:
        columns: for each figure the values of the questions, all of one length, which is at least 1.
    """
    if not columns:
        return []
    values = _matrix(columns)
    low, high = _interval(_resampled_means(values))
    means = [math.fsum(column) / len(column) for column in columns]
    return [Figure(mean, float(one), float(other)) for mean, one, other in zip(means, low, high, strict=True)]


def differences(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]) -> list[Difference]:
    """Return what each column of ``after`` gains over that of ``before``, row by row.

    The interval is the paired bootstrap's; p is of the paired randomisation test, which swaps the two values of a question at
    random (Smucker, Allan and Carterette 2007), two-sided, with the observed outcome counted as one of those drawn.
    """
    if not before:
        return []
    import numpy

    values = _matrix(after) - _matrix(before)
    means = values.mean(axis=0)
    low, high = _interval(_resampled_means(values))
    extreme = numpy.zeros(values.shape[1])
    for signs in _drawn(len(values), 2):
        extreme += (abs((signs * 2.0 - 1.0) @ values) / len(values) >= abs(means) - ROUNDING).sum(axis=0)
    return [
        Difference(
            mean=float(means[column]),
            low=float(low[column]),
            high=float(high[column]),
            p=float((extreme[column] + 1) / (RESAMPLES + 1)),
            better=int((values[:, column] > ROUNDING).sum()),
            worse=int((values[:, column] < -ROUNDING).sum()),
            equal=int((abs(values[:, column]) <= ROUNDING).sum()),
        )
        for column in range(values.shape[1])
    ]


def _matrix(columns: Sequence[Sequence[float]]) -> Matrix:
    import numpy

    return numpy.array(columns, numpy.float64).T


def _resampled_means(values: Matrix) -> Matrix:
    """Return the means of the columns in each resample of the rows, shape ``(RESAMPLES, columns)``."""
    import numpy

    rows = len(values)
    means = []
    for drawn in _drawn(rows, rows):
        # How often each row was drawn, for all resamples at once: their means are then one product of matrices.
        cells = (drawn + numpy.arange(len(drawn))[:, None] * rows).ravel()
        counts = numpy.bincount(cells, minlength=len(drawn) * rows).reshape(len(drawn), rows)
        means.append(counts.astype(numpy.float64) @ values / rows)
    return numpy.concatenate(means)


def _drawn(rows: int, below: int) -> Iterator[Any]:
    """Yield ``RESAMPLES`` rows of ``rows`` random whole numbers from 0, some at once."""
    import numpy

    random = numpy.random.default_rng(SEED)
    at_once = max(1, DRAWN_AT_ONCE // rows)
    for start in range(0, RESAMPLES, at_once):
        yield random.integers(0, below, (min(at_once, RESAMPLES - start), rows))


def _interval(means: Matrix) -> tuple[Matrix, Matrix]:
    import numpy

    # Rounded, because the last digits of a product of matrices are those of the machine.
    ends = numpy.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0).round(6)
    return ends[0], ends[1]
