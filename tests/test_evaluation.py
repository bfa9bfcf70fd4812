"""Evaluations of small indexes whose rankings are known, and comparisons of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clockify_rag import evaluation
from clockify_rag.errors import EvaluationError, LabelsInvalid, LabelsUnknown, RunsDiffer
from clockify_rag.evaluation import Evaluation, compare, evaluate, read_evaluation
from clockify_rag.labelling import LabelledQuestions, read_questions
from clockify_rag.metrics import measure, metric
from clockify_rag.pipeline import Pipeline
from folders import write
from pipelines import GARDEN, pipeline_of

QUESTIONS: list[dict[str, Any]] = [
    {
        "id": "gate",
        "question": "When does the gate open?",
        "relevant": ["gate.md"],
        "difficulty": "easy",
        "tags": ["a"],
    },
    {"id": "key", "question": "Who has a key?", "relevant": ["gate.md#keys"], "difficulty": "hard", "tags": ["a", "b"]},
    {
        "id": "heap",
        "question": "turn the heap",
        "relevant": ["compost.md", "beds.md#fern"],
        "tags": ["b"],
        "language": "en",
    },
    {"id": "cost", "question": "What is a boat?", "relevant": ["fees.md"], "answerable": False},
    {"id": "open", "question": "Is there a boat?", "answerable": True},
]


def labelled(folder: Path, rows: list[dict[str, Any]] | None = None) -> LabelledQuestions:
    file = folder / "questions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in (QUESTIONS if rows is None else rows)))
    return read_questions(file)


@pytest.fixture(scope="module")
def garden(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    folder = tmp_path_factory.mktemp("garden")
    write(folder / "docs", GARDEN)
    pipeline = pipeline_of(folder / "index")
    pipeline.build([str(folder / "docs")])
    return pipeline


def without_timings(result: Evaluation) -> Evaluation:
    return msgspec.structs.replace(result, timings_ms={})


def test_figures_are_those_of_the_searches(garden: Pipeline, tmp_path: Path) -> None:
    names = ("ndcg@3", "mrr@10", "recall@1", "map")
    result = evaluate(garden, labelled(tmp_path), metrics=names)
    metrics = list(map(metric, names))
    pages = {"gate": ["gate.md"], "key": ["gate.md"], "heap": ["compost.md", "beds.md"]}
    sections = {"key": [("gate.md", "keys")], "heap": [("beds.md", "fern")]}
    assert [row.id for row in result.per_question] == ["gate", "key", "heap"]
    for row in result.per_question:
        hits = garden.search(row.question, top_k=100).hits
        ranking = list(dict.fromkeys(hit.document.path for hit in hits))
        expected = measure(ranking, dict.fromkeys(pages[row.id], 1), metrics)
        assert list(row.levels["document"].values()) == expected
        assert row.ranks["document"] == min(ranking.index(page) + 1 for page in pages[row.id])
        assert ("section" in row.levels) == (row.id in sections)
        if row.id in sections:
            places = list(dict.fromkeys((hit.document.path, hit.chunk.anchor) for hit in hits))
            relevant = {str(place): 1 for place in sections[row.id]}
            assert list(row.levels["section"].values()) == measure(list(map(str, places)), relevant, metrics)
    assert result.levels["document"].questions == 3
    assert result.levels["section"].questions == 2
    mean = sum(row.levels["document"]["ndcg@3"] for row in result.per_question) / 3
    assert result.levels["document"].metrics["ndcg@3"].mean == pytest.approx(mean)


def test_what_was_asked_and_searched_is_told(garden: Pipeline, tmp_path: Path) -> None:
    result = evaluate(garden, labelled(tmp_path))
    asked = result.questions
    assert (asked.total, asked.measured, asked.unanswerable, asked.unlabelled, asked.missing) == (5, 3, 1, 1, ())
    assert (result.searched.generation, result.searched.documents, result.searched.top_k) == (1, 5, 100)
    assert result.searched.settings["retrieval.k1"] == 1.2
    assert set(result.timings_ms) == {"p50", "p95", "total"}
    assert list(result.levels["document"].metrics) == list(evaluation.DEFAULT_METRICS)


def test_figures_are_broken_down(garden: Pipeline, tmp_path: Path) -> None:
    groups = evaluate(garden, labelled(tmp_path)).groups
    assert {
        field: {name: group["document"].questions for name, group in of.items()} for field, of in groups.items()
    } == {
        "difficulty": {"easy": 1, "hard": 1},
        "tags": {"a": 2, "b": 2},
        "language": {"en": 1},
    }
    assert "section" not in groups["difficulty"]["easy"]
    assert groups["tags"]["a"]["section"].questions == 1


def test_a_field_that_is_alike_everywhere_is_no_break_down(garden: Pipeline, tmp_path: Path) -> None:
    rows = [{**row, "language": "en", "difficulty": "easy"} for row in QUESTIONS]
    assert evaluate(garden, labelled(tmp_path, rows)).groups.keys() == {"tags"}


def test_an_ablation_goes_from_words_to_what_is_configured(garden: Pipeline, tmp_path: Path) -> None:
    result = evaluate(garden, labelled(tmp_path), ablation=True)
    stages = [variant for variant in result.ablation if variant.stage]
    assert [variant.name for variant in stages] == [
        "lexical",
        "dense",
        "fused",
        "+ document evidence",
        "+ repeats discounted",
        "+ mmr (as configured)",
    ]
    assert stages[-1].levels == result.levels
    assert all(one.mean == 0 for one in stages[-1].gains["document"].values())
    lexical = garden.with_settings(
        pipeline_of(
            garden.path, retrieval={"lexical": True, "document_weight": 0}, reranking={"reranker": "none"}
        ).settings
    )
    assert evaluate(lexical, labelled(tmp_path)).levels == stages[0].levels
    options = {key for variant in result.ablation if not variant.stage for key in variant.changes}
    assert {"retrieval.b", "retrieval.k1", "retrieval.title_weight", "retrieval.document_weight"} <= options
    assert "retrieval.lexical" not in options


def test_an_ablation_has_a_row_for_each_step_of_understanding(garden: Pipeline, tmp_path: Path) -> None:
    def switched(pipeline: Pipeline, rows: list[dict[str, Any]] | None = None) -> set[str]:
        variants = evaluate(pipeline, labelled(tmp_path, rows), ablation=True).ablation
        return {key for one in variants for key in one.changes if key.startswith("understanding.")}

    assert switched(garden) == {"understanding.tickets", "understanding.classifier"}
    long = [{**row, "question": f"{row['question']}\n\nBest regards\n{'X ' * 1500}"} for row in QUESTIONS]
    assert switched(garden, long) == {"understanding.classifier"}
    glossary = tmp_path / "glossary.csv"
    glossary.write_text("term,aliases\ngate,door\n")
    model = {"understanding": {"glossary": str(glossary)}, "generation": {"generator": "ollama"}}
    other = garden.with_settings(pipeline_of(garden.path, **model).settings)
    names = [name for name, _ in evaluation._steps(other.settings)]
    assert names == ["tickets", "classifier", "expansion_weight", "multi_query", "decomposition", "hypothetical_answer"]
    del model["generation"]
    assert "understanding.expansion_weight" in switched(
        garden.with_settings(pipeline_of(garden.path, **model).settings)
    )


def test_an_ablation_without_vectors_has_no_dense_stage(garden: Pipeline, tmp_path: Path) -> None:
    lexical = garden.with_settings(pipeline_of(garden.path, retrieval={"lexical": True}).settings)
    result = evaluate(lexical, labelled(tmp_path), ablation=True)
    names = [variant.name for variant in result.ablation if variant.stage]
    assert names == ["lexical", "+ document evidence", "+ repeats discounted", "+ mmr (as configured)"]
    assert result.searched.by_words == 3


@pytest.mark.parametrize(
    ("repeat_weight", "document_weight", "last"),
    [
        (0.85, 0.3, "+ repeats discounted (as configured)"),
        (1.0, 0.3, "+ document evidence (as configured)"),
        (1.0, 0.0, "fused (as configured)"),
    ],
)
def test_the_last_stage_is_the_configured_ranking_without_a_reranker_too(
    garden: Pipeline, tmp_path: Path, repeat_weight: float, document_weight: float, last: str
) -> None:
    retrieval = {"repeat_weight": repeat_weight, "document_weight": document_weight}
    plain = garden.with_settings(pipeline_of(garden.path, retrieval=retrieval, reranking={"reranker": "none"}).settings)
    result = evaluate(plain, labelled(tmp_path), ablation=True)
    stages = [variant for variant in result.ablation if variant.stage]
    assert (stages[-1].name, stages[-1].changes) == (last, {})
    assert stages[-1].levels == result.levels


def test_the_dense_stage_is_ordered_by_the_cosine(garden: Pipeline) -> None:
    alone = {"dense_weight": evaluation.DENSE_ALONE, "document_weight": 0}
    dense = garden.with_settings(pipeline_of(garden.path, retrieval=alone, reranking={"reranker": "none"}).settings)
    for row in QUESTIONS:
        cosines = [hit.scores.cosine for hit in dense.search(row["question"], top_k=100).hits]
        assert cosines == sorted(cosines, key=lambda cosine: -(cosine or 0))


def test_one_generation_is_measured(tmp_path: Path) -> None:
    write(tmp_path / "docs", GARDEN)
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([str(tmp_path / "docs")])
    questions = labelled(tmp_path)
    before = evaluate(pipeline, questions)

    def publish(name: str, done: int, total: int | None) -> None:
        if (name, done) == ("search", 1):
            write(tmp_path / "docs", {f"gate{number}.md": f"# Gate {number}\n\nThe gate.\n" for number in range(9)})
            pipeline.build([str(tmp_path / "docs")])

    during = evaluate(pipeline, questions, progress=publish)
    assert pipeline.index.generation == 2
    assert without_timings(during) == without_timings(before)


def test_equal_runs_are_equal_but_for_their_times(garden: Pipeline, tmp_path: Path) -> None:
    first, second = (evaluate(garden, labelled(tmp_path), ablation=True) for _ in range(2))
    assert without_timings(first) == without_timings(second)


def test_deep_metrics_search_deeper(garden: Pipeline, tmp_path: Path) -> None:
    assert evaluate(garden, labelled(tmp_path), metrics=["recall@1000"]).searched.top_k == 1000
    assert evaluate(garden, labelled(tmp_path), metrics=["hit@1", "map"], top_k=1).searched.top_k == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"metrics": ["ndcg@1001"]}, "not from 1 to 1,000"),
        ({"metrics": []}, "no metric was named"),
        ({"metrics": ["ndcg@20"], "top_k": 10}, "looks at 20 ranks"),
        ({"top_k": 0}, "0 hits cannot be asked for"),
        ({"top_k": 1001}, "1,001 hits cannot be asked for"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    garden: Pipeline, tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(EvaluationError, match=says):
        evaluate(garden, labelled(tmp_path), **options)


def test_a_question_that_cannot_be_searched_is_named(garden: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"question long cannot be searched: .*2,?000"):
        evaluate(garden, labelled(tmp_path, [{"id": "long", "question": "x" * 2001, "relevant": ["gate.md"]}]))


def test_nothing_to_measure_is_an_error(garden: Pipeline, tmp_path: Path) -> None:
    with pytest.raises(LabelsInvalid, match="no answerable question with labels"):
        evaluate(garden, labelled(tmp_path, [QUESTIONS[3]]))


def test_labels_that_the_index_lacks_are_never_a_silent_zero(garden: Pipeline, tmp_path: Path) -> None:
    lost = {"id": "lost", "question": "Where is the boat?", "relevant": ["boat.md"]}
    with pytest.raises(LabelsUnknown, match=r"1 of 5 labels: boat\.md"):
        evaluate(garden, labelled(tmp_path, [*QUESTIONS[:3], lost]))
    result = evaluate(garden, labelled(tmp_path, [*QUESTIONS[:3], lost]), allow_missing=True)
    assert result.questions.missing == ("boat.md",)
    assert result.per_question[-1].ranks == {"document": None}
    with pytest.raises(LabelsUnknown, match="any of 1 labels"):
        evaluate(garden, labelled(tmp_path, [lost]), allow_missing=True)


def test_two_runs_are_compared_question_by_question(garden: Pipeline, tmp_path: Path) -> None:
    questions = labelled(tmp_path)
    worse = garden.with_settings(pipeline_of(garden.path, retrieval={"body_weight": 0, "lexical": True}).settings)
    before, after = evaluate(worse, questions), evaluate(garden, questions, metrics=["ndcg@10", "hit@1"])
    result = compare(before, after)
    assert set(result.levels) == {"document", "section"}
    assert list(result.levels["document"]) == ["ndcg@10"]
    one = result.levels["document"]["ndcg@10"]
    assert one.difference.mean == pytest.approx(one.after - one.before)
    assert (one.before, one.after) == (
        before.levels["document"].metrics["ndcg@10"].mean,
        after.levels["document"].metrics["ndcg@10"].mean,
    )
    assert set(result.settings) == {"retrieval.body_weight", "retrieval.lexical"}
    assert len(result.per_question) == one.difference.better + one.difference.worse


def test_an_evaluation_compared_with_itself_does_not_differ(garden: Pipeline, tmp_path: Path) -> None:
    result = evaluate(garden, labelled(tmp_path))
    found = compare(result, result)
    assert all(one.difference.p == 1 for metrics in found.levels.values() for one in metrics.values())
    assert (found.settings, found.per_question) == ({}, ())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows[:2], "1 only in before, 0 only in after, 0 changed"),
        (lambda rows: [*rows[:2], {**rows[2], "id": "other"}], "1 only in before, 1 only in after, 0 changed"),
        (lambda rows: [*rows[:2], {**rows[2], "question": "else"}], "0 only in before, 0 only in after, 1 changed"),
        (lambda rows: [*rows[:2], {**rows[2], "relevant": ["gate.md"]}], "1 changed"),
    ],
)
def test_runs_of_different_questions_are_not_compared(garden: Pipeline, tmp_path: Path, change: Any, says: str) -> None:
    before = evaluate(garden, labelled(tmp_path, QUESTIONS[:3]))
    after = evaluate(garden, labelled(tmp_path, change(QUESTIONS[:3])))
    with pytest.raises(RunsDiffer, match=says):
        compare(before, after)


def test_runs_without_a_common_metric_are_not_compared(garden: Pipeline, tmp_path: Path) -> None:
    runs = [evaluate(garden, labelled(tmp_path), metrics=[name]) for name in ("ndcg@10", "mrr@10")]
    with pytest.raises(RunsDiffer, match="share no metric"):
        compare(*runs)


def test_the_order_of_questions_does_not_matter_to_a_comparison(garden: Pipeline, tmp_path: Path) -> None:
    before = evaluate(garden, labelled(tmp_path, QUESTIONS[:3]))
    after = evaluate(garden, labelled(tmp_path, QUESTIONS[2::-1]))
    assert compare(before, after).per_question == ()


@pytest.mark.parametrize(
    "change",
    [
        {"levels": {}},
        {"per_question": []},
        {"per_question": lambda rows: [{**rows[0], "levels": {}}, *rows[1:]]},
        {"per_question": lambda rows: rows[1:]},
        {"per_question": lambda rows: [{**rows[0], "levels": {"document": {"ndcg@7": 1.0}}}, *rows[1:]]},
    ],
)
def test_an_evaluation_that_is_not_whole_is_not_compared(
    garden: Pipeline, tmp_path: Path, change: dict[str, Any]
) -> None:
    value = json.loads(msgspec.json.encode(evaluate(garden, labelled(tmp_path))))
    value |= {key: new(value[key]) if callable(new) else new for key, new in change.items()}
    file = tmp_path / "cut.json"
    file.write_text(json.dumps(value))
    with pytest.raises(EvaluationError, match=r"cut\.json is no evaluation: it"):
        read_evaluation(file)


def test_evaluations_are_read_back(garden: Pipeline, tmp_path: Path) -> None:
    result = evaluate(garden, labelled(tmp_path), ablation=True)
    file = tmp_path / "run.json"
    file.write_bytes(msgspec.json.encode({"schema": 1, **msgspec.structs.asdict(result)}))
    assert read_evaluation(file) == result
    with pytest.raises(EvaluationError, match="cannot read"):
        read_evaluation(tmp_path / "nothing.json")
    for content in (b"", b"[]", b'{"schema": 1}', b"\xff"):
        file.write_bytes(content)
        with pytest.raises(EvaluationError, match="is no evaluation"):
            read_evaluation(file)
