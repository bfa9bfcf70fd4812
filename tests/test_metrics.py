"""Metrics against trec_eval's, intervals and tests against what is known of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product
from statistics import fmean

import ir_measures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clockify_rag.errors import EvaluationError
from clockify_rag.metrics import RESAMPLES, differences, figures, measure, metric

NAMES = ("ndcg", "mrr", "recall", "precision", "map", "hit")
PEERS = {
    "ndcg": ir_measures.nDCG,
    "mrr": ir_measures.RR,
    "recall": ir_measures.R,
    "precision": ir_measures.P,
    "map": ir_measures.AP,
    "hit": ir_measures.Success,
}
DOCUMENTS = [f"d{number}" for number in range(30)]

Case = tuple[list[str], dict[str, int]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A ranking, and grades of which some are 0 and one is not."""
    grades = draw(st.dictionaries(st.sampled_from(DOCUMENTS), st.integers(0, 4), max_size=20))
    grades[draw(st.sampled_from(DOCUMENTS))] = draw(st.integers(1, 4))
    ranking = draw(st.lists(st.sampled_from(DOCUMENTS), unique=True, min_size=1))
    return ranking, grades


def relevant(grades: dict[str, int]) -> dict[str, int]:
    return {name: grade for name, grade in grades.items() if grade > 0}


@settings(deadline=None, max_examples=60)
@given(st.lists(cases(), min_size=1, max_size=8), st.integers(1, 40))
def test_values_are_those_of_ir_measures(asked: list[Case], k: int) -> None:
    metrics = [metric(f"{name}@{k}") for name in NAMES] + [metric("map")]
    peers = [PEERS[name] @ k for name in NAMES] + [ir_measures.AP]
    qrels = {str(number): grades for number, (_, grades) in enumerate(asked)}
    run = {
        str(number): {name: float(-rank) for rank, name in enumerate(ranking)}
        for number, (ranking, _) in enumerate(asked)
    }
    expected = {(one.query_id, one.measure): one.value for one in ir_measures.iter_calc(peers, qrels, run)}
    for number, (ranking, grades) in enumerate(asked):
        values = measure(ranking, relevant(grades), metrics)
        for peer, value in zip(peers, values, strict=True):
            assert value == pytest.approx(expected[str(number), peer], abs=1e-6), peer


@pytest.mark.parametrize("k", [1, 10, 999, 1000])
def test_deep_rankings_are_measured_like_ir_measures(k: int) -> None:
    draw = random.Random(k)
    ranking = [f"d{number}" for number in range(1500)]
    draw.shuffle(ranking)
    grades = {name: draw.randint(1, 3) for name in draw.sample(ranking, 400)}
    values = measure(ranking, grades, [metric(f"{name}@{k}") for name in NAMES])
    run = {"q": {name: float(-rank) for rank, name in enumerate(ranking)}}
    for name, value in zip(NAMES, values, strict=True):
        (expected,) = ir_measures.iter_calc([PEERS[name] @ k], {"q": grades}, run)
        assert value == pytest.approx(expected.value, abs=1e-6), name


def test_an_empty_ranking_is_worth_nothing() -> None:
    assert measure([], {"d": 1}, [metric(f"{name}@10") for name in NAMES]) == [0.0] * len(NAMES)


@pytest.mark.parametrize("name", ["ndcg@0", "ndcg@1001", "recall@-1", "hit@99999999999999999999", "map@0"])
def test_a_rank_out_of_range_is_refused(name: str) -> None:
    with pytest.raises(EvaluationError, match=r"not from 1 to 1,000") as caught:
        metric(name)
    assert caught.value.fields["metric"] == name


@pytest.mark.parametrize("name", ["", "ndcg", "ndcg@", "ndcg@ten", "ndgc@10", "mrr@1.5", "@10", "recall@5@5"])
def test_an_unknown_metric_is_refused(name: str) -> None:
    with pytest.raises(EvaluationError, match="no metric") as caught:
        metric(name)
    assert "ndcg@10" in caught.value.hint


def test_metrics_are_named_as_they_were_typed() -> None:
    assert [str(metric(name)) for name in ("NDCG@10", " map ", "map@5", "hit@1000")] == [
        "ndcg@10",
        "map",
        "map@5",
        "hit@1000",
    ]


def test_an_interval_holds_the_mean_and_shrinks_with_more_questions() -> None:
    draw = random.Random(5)
    widths = []
    for count in (20, 500):
        column = [draw.random() for _ in range(count)]
        (figure,) = figures([column])
        assert figure.mean == pytest.approx(fmean(column))
        assert figure.low < figure.mean < figure.high
        widths.append(figure.high - figure.low)
    assert widths[1] < widths[0] / 3


def test_an_interval_is_that_of_the_normal_distribution_where_that_holds() -> None:
    column = [0.0, 1.0] * 500
    (figure,) = figures([column])
    deviation = 0.5 / 1000**0.5
    assert figure.low == pytest.approx(0.5 - 1.96 * deviation, abs=0.003)
    assert figure.high == pytest.approx(0.5 + 1.96 * deviation, abs=0.003)


def test_one_question_has_no_spread() -> None:
    (figure,) = figures([[0.25]])
    assert (figure.low, figure.mean, figure.high) == (0.25, 0.25, 0.25)


def exact_p(gains: Sequence[float]) -> float:
    observed = abs(sum(gains))
    signs = list(product((1, -1), repeat=len(gains)))
    totals = (abs(sum(sign * gain for sign, gain in zip(row, gains, strict=True))) for row in signs)
    return sum(total >= observed - 1e-9 for total in totals) / len(signs)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.sampled_from((-0.5, -0.1, 0.0, 0.1, 0.5, 1.0)), min_size=1, max_size=10))
def test_p_is_that_of_all_exchanges(gains: list[float]) -> None:
    (found,) = differences([[0.0] * len(gains)], [gains])
    assert found.p == pytest.approx(exact_p(gains), abs=4 * (0.25 / RESAMPLES) ** 0.5)
    assert found.mean == pytest.approx(fmean(gains))
    assert found.better + found.worse + found.equal == len(gains)


def test_equal_rankings_do_not_differ() -> None:
    (found,) = differences([[0.1, 0.2, 0.3]], [[0.1, 0.2, 0.3]])
    assert (found.mean, found.low, found.high, found.p, found.equal) == (0.0, 0.0, 0.0, 1.0, 3)


def test_equal_input_gives_equal_output() -> None:
    draw = random.Random(1)
    before, after = ([[draw.random() for _ in range(50)] for _ in range(3)] for _ in range(2))
    assert figures(before) == figures(before)
    assert differences(before, after) == differences(before, after)
    assert figures([]) == []
    assert differences([], []) == []
