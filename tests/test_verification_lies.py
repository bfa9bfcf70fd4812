"""Whatever writes an answer, it shows nothing as a quotation that does not stand in its sources, character by character.

The quotations of an answer are looked for here by a rule of its own, which knows nothing of the verifier's: what stands between two
marks of one kind that follow one another, within a paragraph.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import model_servers as models
from clockify_rag.contracts import Answer
from clockify_rag.pipeline import Pipeline
from clockify_rag.verification import UNSUPPORTED
from clockify_rag.verification.links import REMOVED
from pipelines import settings_of

EXAMPLE = Path(__file__).parent.parent / "examples" / "help-center"
KINDS = tuple(map(tuple, ('""', "“”", "„“", "«»", "»«", "「」", "‘’")))


def shown_as_quotes(text: str) -> Iterator[str]:
    plain = re.sub(r"```.*?(?:```|\Z)|`[^`\n]+`", "", text, flags=re.DOTALL)
    for paragraph in re.split(r"\n\s*\n", plain):
        for first, last in KINDS:
            for found in re.findall(f"{first}([^{first}{last}]+){last}", paragraph):
                if len(found.split()) >= 3 and len(found.strip()) >= 12:
                    yield found
        yield from re.findall(r"^> ?(.+)", paragraph, re.MULTILINE)


def check(answer: Answer, *, extractive: bool = False) -> int:
    """Check all that an answer shows as quoted or cited; return how many quotations it shows."""
    texts = [hit.chunk.text for hit in answer.hits]
    markers = [citation.marker for citation in answer.citations]
    assert markers == list(range(1, len(markers) + 1))
    quotes = list(shown_as_quotes(answer.answer))
    for quote in quotes:
        assert any(quote in text for text in texts), (answer.question, quote)
    for citation in answer.citations:
        assert any(citation.chunk_id == hit.chunk.id and citation.quote in hit.chunk.text for hit in answer.hits)
        assert f"[{citation.marker}]" in answer.answer
    for claim in answer.claims:
        assert claim.span is None or answer.answer[slice(*claim.span)] == claim.text
        if extractive:
            assert any(claim.text in text for text in texts)
    return len(quotes)


def questions_of(file: Path) -> list[str]:
    rows = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return [row.get("question") or row.get("query") or row["text"] for row in rows]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    pipeline = Pipeline(tmp_path_factory.mktemp("lies") / "index", settings_of())
    pipeline.build([EXAMPLE / "docs"])
    return pipeline


def test_the_built_in_generator_quotes_only_what_stands_there(example: Pipeline) -> None:
    answered = 0
    for name in ("questions", "development", "multilingual", "adversarial"):
        for question in questions_of(EXAMPLE / f"{name}.jsonl"):
            answer = example.ask(question)
            check(answer, extractive=True)
            answered += not answer.refused
            assert answer.refused or (answer.groundedness, answer.risk) == (1.0, 0.0)
    assert answered > 100


@pytest.mark.slow
def test_so_it_does_over_the_shared_questions(data: Path, tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path / "index", settings_of(calibration={"threshold": 0.0}))
    pipeline.build([data / "clockify" / "kb_markdown"])
    questions = questions_of(data / "clockify" / "eval.jsonl") + questions_of(
        data / "beir" / "stackfaq" / "queries.jsonl"
    )
    for question in questions:
        check(pipeline.ask(question), extractive=True)
    assert len(questions) > 600


QUESTIONS = (
    "How do I start the timer?",
    "How long are exports kept?",
    "What does the Studio plan include?",
    "Who can approve a timesheet?",
    "How do I reset two-step sign-in?",
    "Can I import projects from a CSV file?",
    "What happens when an invoice is overdue?",
    "Wie reiche ich meinen Stundenzettel ein?",
)


def lied(example: Pipeline, lie: str, policy: str = "balanced") -> list[Answer]:
    with models.lying(lie) as server:
        settings = settings_of(
            generation={"generator": "openai", "url": server.v1, "arguments": {"api_key": ""}},
            verification={"policy": policy},
            calibration={"threshold": 0.0},
        )
        pipeline = Pipeline(example.path, settings)
        answers = [pipeline.ask(question) for question in QUESTIONS]
    for answer in answers:
        check(answer)
        assert models.INVENTED not in [quote.strip('."') for quote in shown_as_quotes(answer.answer)]
        assert models.FOREIGN_URL not in answer.answer
    return answers


def test_a_model_that_tells_the_truth_is_believed(example: Pipeline) -> None:
    for answer in lied(example, "truth"):
        assert {quotation.verdict for quotation in answer.quotations} <= {"verified"}
        assert (answer.groundedness, answer.risk) == (1.0, 0.0)
        assert UNSUPPORTED not in answer.answer


def test_invented_quotations_are_none(example: Pipeline) -> None:
    for answer in lied(example, "invented quote"):
        assert [quotation.verdict for quotation in answer.quotations] == ["fabricated"]
        assert answer.risk >= 0.3


@pytest.mark.parametrize("lie", ["altered quote", "spliced quote"])
def test_altered_quotations_are_none(lie: str, example: Pipeline) -> None:
    for answer in lied(example, lie):
        assert all(quotation.verdict != "misattributed" for quotation in answer.quotations)
        assert not any(quotation.verdict == "fabricated" for quotation in answer.quotations)


def test_shifted_citations_are_moved_back(example: Pipeline) -> None:
    moved = [answer for answer in lied(example, "shifted citations") if answer.citations]
    assert moved
    for answer in moved:
        assert answer.groundedness == 1.0
        assert not [claim for claim in answer.claims if claim.supported is False]


def test_citations_of_nothing_are_replaced(example: Pipeline) -> None:
    for answer in lied(example, "absent citations"):
        assert all(claim.markers for claim in answer.claims if claim.supported)


def test_changed_figures_are_named(example: Pipeline) -> None:
    # The number of a step is no figure.
    found = [claim for answer in lied(example, "changed figures") for claim in answer.claims]
    claims = [claim for claim in found if not re.match(r"\d+\.", claim.text)]
    assert claims
    assert all(claim.supported is not True for claim in claims)
    assert all(any("number" in problem for problem in claim.problems) for claim in claims)


def test_a_strict_policy_refuses_where_nothing_is_left(example: Pipeline) -> None:
    refused = [answer for answer in lied(example, "changed figures", policy="strict") if answer.refused]
    assert refused
    for answer in refused:
        assert (answer.reason, answer.citations) == ("unsupported", ())


def test_opposites_are_not_said(example: Pipeline) -> None:
    claims = [claim for answer in lied(example, "negated") for claim in answer.claims if "not true" in claim.text]
    told = [claim for claim in claims if claim.supported is False]
    assert len(told) >= 0.9 * len(claims) > 0


def test_foreign_addresses_are_removed(example: Pipeline) -> None:
    for answer in lied(example, "foreign url"):
        assert answer.addresses_removed == 2
        assert REMOVED in answer.answer


def test_what_cites_nothing_is_given_its_proof_or_marked(example: Pipeline) -> None:
    for answer in lied(example, "without citations"):
        said = [claim for claim in answer.claims if claim.supported]
        assert all(claim.markers for claim in said)
        assert f"{models.INVENTED}. {UNSUPPORTED}" in answer.answer


def test_a_model_that_finds_no_answer_is_a_refusal_with_the_nearest_pages(example: Pipeline) -> None:
    for answer in lied(example, "admission"):
        assert (answer.refused, answer.reason, answer.citations, answer.failure) == (True, "no_evidence", (), None)
        assert answer.nearest
    assert answer.answer.startswith("Die Dokumentation beantwortet diese Frage nicht.")


def test_half_a_stream_leaves_half_a_quotation_without_marks(example: Pipeline) -> None:
    for answer in lied(example, "half a stream"):
        assert answer.failure is not None
        assert answer.answer.count('"') % 2 == 0
