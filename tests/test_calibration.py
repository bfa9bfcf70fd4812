"""Calibration: the map, its fit, what probabilities are measured by, and the threshold of refusal."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clockify_rag import calibrating, calibration
from clockify_rag.calibrating import Asked
from clockify_rag.calibration import BY_WORDS, WITH_VECTORS, Map
from clockify_rag.contracts import Evidence, Hit, Query, SearchResult
from clockify_rag.errors import ConfigError, EvaluationError
from clockify_rag.labelling import read_questions
from clockify_rag.pipeline import Pipeline
from clockify_rag.retrieval import HybridRetriever
from folders import write
from passages import chunk_of, hit_of
from pipelines import offer, pipeline_of, settings_of

SHARE = st.floats(0, 1)
PAIRS = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 1.0]), st.booleans()), min_size=1, max_size=60)


@st.composite
def evidences(draw: st.DrawFn, *, vectors: bool = True) -> Evidence:
    return Evidence(
        idf_coverage=draw(SHARE),
        title_coverage=draw(SHARE),
        covered_mass=draw(st.floats(0, 20)),
        lexical_margin=draw(SHARE),
        best_cosine=draw(st.floats(-1, 1)) if vectors else None,
        cosine_margin=draw(SHARE) if vectors else None,
        agreement=draw(SHARE) if vectors else None,
        documents=3,
    )


# The map.


@given(evidences(), st.sampled_from(WITH_VECTORS), st.floats(0, 5))
def test_more_evidence_never_lowers_the_probability(evidence: Evidence, measure: str, more: float) -> None:
    raised = msgspec.structs.replace(evidence, **{measure: getattr(evidence, measure) + more})
    for chosen in (calibration.shipped().with_vectors, calibration.shipped().by_words):
        assert chosen is not None
        before, after = chosen.probability(evidence), chosen.probability(raised)
        assert before is not None
        assert after is not None
        assert 0 <= before <= after <= 1


@given(evidences(vectors=False))
def test_without_vectors_words_are_judged(evidence: Evidence) -> None:
    shipped = calibration.shipped()
    assert shipped.judge(evidence, shipped.embedder) == (
        shipped.by_words.probability(evidence),
        shipped.by_words.threshold,
    )
    assert shipped.judge(evidence, "of another") == shipped.judge(evidence, None)


def test_what_is_not_told_has_no_probability() -> None:
    assert calibration.shipped().judge(Evidence(idf_coverage=1.0, documents=3), None)[0] is None


def test_the_shipped_calibration_is_for_the_default_embedder(tmp_path: Path) -> None:
    entry = Pipeline.open(tmp_path / "index", settings_of()).embedder_entry
    assert entry is not None
    hint = "run benches/calibration.py --write: evidence of this embedder is not what was calibrated"
    assert calibration.shipped().embedder == entry.fingerprint, hint


def test_refusals() -> None:
    def result(hits: int, confidence: float | None, documents: int = 3) -> SearchResult:
        found: tuple[Hit, ...] = tuple(hit_of(chunk_of("Text."), rank) for rank in range(1, hits + 1))
        evidence = Evidence(documents=documents)
        return SearchResult(
            question="q", generation=1, hits=found, evidence=evidence, confidence=confidence, threshold=0.5
        )

    assert calibration.refusal(result(0, 0.0, documents=0)) == "empty_index"
    assert calibration.refusal(result(0, 0.9)) == "no_evidence"
    assert calibration.refusal(result(1, 0.49)) == "weak_evidence"
    assert calibration.refusal(result(1, 0.5)) is None
    assert calibration.refusal(result(1, None)) is None


# The fit.


def sample(seed: int, count: int, width: int) -> tuple[list[tuple[float, ...]], list[bool]]:
    random = numpy.random.default_rng(seed)
    values = random.normal(size=(count, width)) * [1 + place for place in range(width)]
    scores = values[:, 0] - 0.3 * values[:, 1:].sum(axis=1)
    return [tuple(row) for row in values.tolist()], (random.random(count) < 1 / (1 + numpy.exp(-scores))).tolist()


def descended(values: numpy.ndarray, outcomes: numpy.ndarray) -> numpy.ndarray:
    """The same minimum by plain projected gradient descent."""
    solution = numpy.zeros(values.shape[1] + 1)
    design = numpy.hstack([numpy.ones((len(values), 1)), values])
    penalty = numpy.array([0.0, *[calibration.RIDGE] * values.shape[1]])
    for _ in range(20_000):
        chances = 1 / (1 + numpy.exp(-design @ solution))
        solution -= 2.0 / len(values) * (design.T @ (chances - outcomes) + penalty * solution)
        solution[1:] = numpy.maximum(solution[1:], 0)
    return solution


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.integers(40, 120), st.integers(1, 4))
def test_the_fit_is_the_minimum_that_descent_finds(seed: int, count: int, width: int) -> None:
    rows, outcomes = sample(seed, count, width)
    assume(2 < sum(outcomes) < count - 2)
    measures = WITH_VECTORS[:width]
    fitted = calibration.fit(rows, outcomes, measures)
    values = (numpy.array(rows) - fitted.means) / fitted.scales
    wanted = numpy.array(outcomes, float)
    expected = descended(values, wanted)

    def loss(solution: Sequence[float] | numpy.ndarray) -> float:
        scores = solution[0] + values @ numpy.array(solution[1:])
        fit = numpy.logaddexp(0, scores) - wanted * scores
        return float(fit.sum() + calibration.RIDGE / 2 * sum(weight**2 for weight in solution[1:]))

    assert min(fitted.coefficients) >= 0
    # Taking negative coefficients out one by one need not find the least of all, but never much more.
    assert loss((fitted.intercept, *fitted.coefficients)) <= loss(expected) * 1.01 + 1e-6


def test_the_fit_recovers_what_the_data_was_made_of() -> None:
    random = numpy.random.default_rng(5)
    values = random.normal(size=(20_000, 2))
    chances = 1 / (1 + numpy.exp(-(0.5 + values @ [1.0, 2.0])))
    fitted = calibration.fit(
        [tuple(row) for row in values.tolist()], (random.random(20_000) < chances).tolist(), BY_WORDS[:2]
    )
    slopes = [weight / scale for weight, scale in zip(fitted.coefficients, fitted.scales, strict=True)]
    assert slopes == pytest.approx([1.0, 2.0], abs=0.1)


def test_separable_questions_are_fitted() -> None:
    fitted = calibration.fit(
        [(float(number),) for number in range(40)], [number >= 20 for number in range(40)], ("agreement",)
    )
    assert all(map(math.isfinite, (*fitted.coefficients, fitted.intercept)))
    assert fitted.coefficients[0] > 1


def test_few_questions_stay_near_the_map_they_start_from() -> None:
    start = calibration.shipped().by_words
    random = numpy.random.default_rng(1)
    rows = [tuple(row) for row in (random.normal(size=(2000, 4)) * start.scales + start.means).tolist()]
    outcomes = (random.random(2000) < 0.5).tolist()

    def moved(count: int) -> float:
        fitted = calibration.fit(rows[:count], outcomes[:count], BY_WORDS, prior=start)
        return sum(abs(new - old) for new, old in zip(fitted.coefficients, start.coefficients, strict=True))

    assert moved(30) < moved(2000)
    assert moved(30) < 0.5 * sum(start.coefficients)


# Figures, against their definitions.


@given(PAIRS)
def test_auroc_is_the_share_of_pairs_in_order(pairs: list[tuple[float, bool]]) -> None:
    true = [chance for chance, outcome in pairs if outcome]
    false = [chance for chance, outcome in pairs if not outcome]
    assume(true and false)
    won = sum((left > right) + (left == right) / 2 for left in true for right in false)
    chances, outcomes = zip(*pairs, strict=True)
    assert calibration.auroc(chances, outcomes) == pytest.approx(won / (len(true) * len(false)))


@given(PAIRS)
def test_brier_and_calibration_error_are_their_definitions(pairs: list[tuple[float, bool]]) -> None:
    chances, outcomes = zip(*pairs, strict=True)
    assert calibration.brier(chances, outcomes) == pytest.approx(numpy.mean((numpy.array(chances) - outcomes) ** 2))
    ordered = sorted(pairs)
    cuts = [round(place * len(ordered) / 10) for place in range(11)]
    error = 0.0
    for start, end in pairwise(cuts):
        part = ordered[start:end]
        error += abs(sum(chance - outcome for chance, outcome in part)) / len(ordered)
    assert calibration.calibration_error(chances, outcomes) == pytest.approx(error)
    assert sum(size for _, _, size in calibration.reliability(chances, outcomes)) == len(pairs)


@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.9]), min_size=1, max_size=50), st.floats(0, 0.99))
def test_the_threshold_refuses_at_most_the_chosen_share(chances: list[float], rate: float) -> None:
    threshold = calibration.threshold_for(chances, rate)
    assert sum(chance < threshold for chance in chances) <= rate * len(chances) + 1e-6
    larger = [chance for chance in chances if chance > threshold]
    if larger:
        assert sum(chance < min(larger) for chance in chances) > rate * len(chances) - 1e-6


@given(PAIRS)
def test_the_curve_ends_at_all_questions(pairs: list[tuple[float, bool]]) -> None:
    chances, outcomes = zip(*pairs, strict=True)
    curve = calibration.risk_coverage(chances, outcomes)
    for share, risk in curve:
        kept = sorted(pairs, key=lambda pair: -pair[0])[: round(share * len(pairs))]
        assert risk == pytest.approx(sum(not outcome for _, outcome in kept) / len(kept))
    assert curve[-1] == pytest.approx((1.0, 1 - sum(outcomes) / len(outcomes)))


@pytest.mark.parametrize(
    ("count", "of", "low", "high"), [(46, 46, 0.9229, 1.0), (3, 46, 0.0224, 0.1750), (0, 0, 0.0, 1.0)]
)
def test_wilson(count: int, of: int, low: float, high: float) -> None:
    assert calibration.wilson(count, of) == pytest.approx((low, high), abs=1e-3)


# Questions of an index.

TOPICS = (
    "anchor", "basket", "candle", "dragon", "engine", "feather", "garden", "hammer", "island", "jacket", "kettle", "ladder",
    "mirror", "needle", "orchard", "pencil", "quarry", "ribbon", "saddle", "tunnel", "umbrella", "violin", "window", "yogurt",
    "zipper", "acorn", "bridge", "carpet", "desert", "elbow", "falcon", "guitar",
)  # fmt: skip


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, Path]:
    folder = tmp_path_factory.mktemp("topics")
    pages = {
        f"{topic}.md": f"# The {topic}\n\nTo polish the {topic}, take a soft cloth.\n\n## Storing\n\nKeep the {topic} dry.\n"
        for topic in TOPICS
    }
    pipeline = pipeline_of(folder / "index")
    pipeline.build([write(folder / "pages", pages)])
    file = folder / "questions.jsonl"
    rows: list[dict[str, object]] = [
        {"question": f"how do I polish the {topic}?", "relevant": [f"{topic}.md"]} for topic in TOPICS
    ]
    rows += [{"question": "who won the election?", "answerable": False}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return pipeline, file


def test_left_out_documents_are_not_found(labelled: tuple[Pipeline, Path]) -> None:
    pipeline, _ = labelled
    best = pipeline.search("how do I polish the anchor?").hits[0].document
    assert best.path == "anchor.md"
    without = pipeline.search("how do I polish the anchor?", 50, excluded_documents=[best.id])
    assert without.hits
    assert best.id not in {hit.document.id for hit in without.hits}
    assert pipeline.search("how do I polish the anchor?").hits[0].document == best


def test_an_index_is_calibrated(labelled: tuple[Pipeline, Path]) -> None:
    pipeline, file = labelled
    result = calibrating.calibrate(pipeline, read_questions(file), false_refusal_rate=0.1)
    fitted = result.calibration.fitted
    assert (fitted.answerable, fitted.unanswerable, result.folds) == (32, 32, 10)
    for figures in (result.held_out["with_vectors"], result.held_out["by_words"]):
        assert figures.auroc > 0.99
        assert figures.refused_rightly.count >= 30
        assert figures.refused_wrongly.count <= 6
        assert figures.written_refused is not None
        assert figures.written_refused.count == 1
    assert result == calibrating.calibrate(pipeline, read_questions(file), false_refusal_rate=0.1)


def test_too_few_questions_are_refused(labelled: tuple[Pipeline, Path], tmp_path: Path) -> None:
    pipeline, file = labelled
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(file.read_text().splitlines()[:29]))
    with pytest.raises(EvaluationError, match="too few: 29, in 29 groups"):
        calibrating.calibrate(pipeline, read_questions(few))
    same = tmp_path / "same.jsonl"
    rows = [{"question": f"polish {number}?", "relevant": ["anchor.md", "basket.md"]} for number in range(40)]
    same.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(EvaluationError, match="too few: 40, in 1 groups"):
        calibrating.calibrate(pipeline, read_questions(same))


def test_a_question_that_cannot_be_searched_is_named(labelled: tuple[Pipeline, Path], tmp_path: Path) -> None:
    pipeline, file = labelled
    odd = tmp_path / "odd.jsonl"
    odd.write_text(file.read_text() + '{"id": "odd", "question": "?!", "relevant": ["anchor.md"]}\n')
    with pytest.raises(EvaluationError, match="question odd cannot be searched"):
        calibrating.calibrate(pipeline, read_questions(odd))


def test_questions_whose_pages_the_index_lacks_are_left_out_and_counted(
    labelled: tuple[Pipeline, Path], tmp_path: Path
) -> None:
    pipeline, file = labelled
    lost = tmp_path / "lost.jsonl"
    lost.write_text(
        file.read_text()
        + '{"question": "where is it sold?", "relevant": ["anchor.md", "shop.md"]}\n'
        + '{"question": "where is it kept?", "relevant": ["basket.md#no-such-section"]}\n'
    )
    result = calibrating.calibrate(pipeline, read_questions(lost))
    assert result.left_out == 1
    assert result.calibration.fitted.answerable == 33  # the page is known, and only pages are left out
    assert calibrating.calibrate(pipeline, read_questions(file)).left_out == 0


class Stubborn:
    """A retriever of another package that does not leave documents out."""

    def __init__(self, index: Any, embedder: Any, entry: Any, settings: Any) -> None:
        self._retriever = HybridRetriever(index, embedder, entry, settings)

    def retrieve(self, query: Query, *, top_k: int, **options: Any) -> SearchResult:
        return self._retriever.retrieve(msgspec.structs.replace(query, excluded_documents=()), top_k=top_k, **options)


def test_a_retriever_that_leaves_nothing_out_is_not_calibrated(
    labelled: tuple[Pipeline, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    built, file = labelled
    offer(monkeypatch, "retrievers", stubborn=Stubborn)
    pipeline = built.with_settings(pipeline_of(built.path, retrieval={"retriever": "stubborn"}).settings)
    with pytest.raises(EvaluationError, match="the retriever stubborn finds documents that it is to leave out"):
        calibrating.calibrate(pipeline, read_questions(file))


def test_a_broken_calibration_is_made_anew(labelled: tuple[Pipeline, Path], tmp_path: Path) -> None:
    built, file = labelled
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    pipeline = built.with_settings(pipeline_of(built.path, calibration={"file": str(broken)}).settings)
    with pytest.raises(ConfigError, match="is no calibration"):
        pipeline.search("anchor")
    calibration.save(calibrating.calibrate(pipeline, read_questions(file)).calibration, broken)
    again = built.with_settings(pipeline.settings)
    assert again.search("how do I polish the anchor?").calibration == "own"


def test_too_few_questions_with_vectors_make_no_map() -> None:
    """A fit of a handful of questions means nothing; words alone were told for all of them."""
    plain = Evidence(idf_coverage=0.5, title_coverage=0.5, covered_mass=1.0, lexical_margin=0.1)
    told = msgspec.structs.replace(plain, best_cosine=0.5, cosine_margin=0.1, agreement=0.2)
    asked = [
        Asked(
            question=str(number),
            answerable=answerable,
            group=str(number),
            with_vectors=told if number < 5 else plain,
            by_words=plain,
        )
        for number in range(40)
        for answerable in (True, False)
    ]
    options: dict[str, Any] = {
        "name": "own",
        "questions": "",
        "embedder": "e",
        "false_refusal_rate": 0.1,
        "prior": None,
    }
    result = calibrating.fitted(asked, **options)
    assert list(result.held_out) == ["by_words"]
    assert result.calibration.with_vectors is None
    silent = [msgspec.structs.replace(one, with_vectors=Evidence(), by_words=Evidence()) for one in asked]
    with pytest.raises(EvaluationError, match="tells no measures"):
        calibrating.fitted(silent, **options)


def test_questions_that_share_a_document_share_a_fold() -> None:
    groups = calibrating.groups_of({"a": ["1", "2"], "b": ["2", "3"], "c": ["4"], "d": ["3", "5"]})
    assert groups["a"] == groups["b"] == groups["d"] != groups["c"]
    asked = [
        Asked(question=str(n), answerable=True, group=str(n % 7), with_vectors=Evidence(), by_words=Evidence())
        for n in range(70)
    ]
    folds = calibrating.folds_of(asked)
    assert len({(one.group, fold) for one, fold in zip(asked, folds, strict=True)}) == 7


def test_the_calibration_beside_the_index_answers(labelled: tuple[Pipeline, Path], tmp_path: Path) -> None:
    pipeline, file = labelled
    result = calibrating.calibrate(pipeline, read_questions(file))
    beside, named = pipeline.path / calibration.FILE, tmp_path / "named.json"
    calibration.save(result.calibration, beside)
    calibration.save(msgspec.structs.replace(result.calibration, name="named"), named)
    question = "how do I polish the anchor?"
    try:
        answer = Pipeline.open(pipeline.path, settings_of()).ask(question)
        assert (answer.calibration, answer.refused) == ("own", False)
        assert answer.confidence is not None
        assert answer.confidence > 0.5
        other = Pipeline.open(pipeline.path, settings_of(calibration={"file": str(named), "threshold": 1.0})).ask(
            question
        )
        assert (other.calibration, other.reason, other.confidence) == ("named", "weak_evidence", answer.confidence)
    finally:
        beside.unlink()
    assert Pipeline.open(pipeline.path, settings_of()).ask(question).calibration == "shipped"


def test_a_calibration_survives_a_build(labelled: tuple[Pipeline, Path], tmp_path: Path) -> None:
    made = pipeline_of(tmp_path / "index")
    pages = write(tmp_path / "pages", {"gate.md": "# Gate\n\nThe gate opens at dawn.\n"})
    made.build([pages])
    calibration.save(calibration.shipped(), made.path / calibration.FILE)
    write(pages, {"gate.md": "# Gate\n\nThe gate opens at noon.\n"})
    for _ in range(5):
        made.build([pages])
    assert calibration.load(made.path / calibration.FILE) == calibration.shipped()


# Files.


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {
            "by_words": {
                "measures": ["moon"],
                "means": [0],
                "scales": [1],
                "coefficients": [1],
                "intercept": 0,
                "threshold": 0,
            }
        },
        {"by_words": {"measures": [], "means": [0], "scales": [], "coefficients": [], "intercept": 0, "threshold": 0}},
        {"by_words": {"measures": [], "means": [], "scales": [], "coefficients": [], "intercept": 0, "threshold": 30}},
        {
            "by_words": {
                "measures": ["idf_coverage"],
                "means": [0],
                "scales": [1],
                "coefficients": [-1],
                "intercept": 0,
                "threshold": 0,
            }
        },
        {"name": 3},
    ],
)
def test_what_is_no_calibration_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps({**msgspec.to_builtins(calibration.shipped()), **change}))
    with pytest.raises(ConfigError, match="calibration"):
        calibration.load(file)


def test_a_calibration_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        calibration.load(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="cannot be written"):
        calibration.save(calibration.shipped(), tmp_path / "none" / "file.json")
    assert not list(tmp_path.iterdir())


def test_scales_must_be_positive() -> None:
    part = {"measures": ("agreement",), "means": (0.0,), "coefficients": (1.0,), "intercept": 0.0, "threshold": 0.0}
    with pytest.raises(ValueError, match="cannot be used"):
        Map(scales=(0.0,), **part)  # type: ignore[arg-type]
