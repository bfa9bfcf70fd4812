"""Quotations of real sentences, altered in twelve ways, are called what they are."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from clockify_rag.contracts import Draft, Hit, Verdict
from clockify_rag.verification import QuoteVerifier
from passages import ask
from pipelines import pipeline_of
from quote_mutations import MUTATIONS, Case, cases, folded, hits_of

EXAMPLE = Path(__file__).parent.parent / "examples" / "help-center" / "docs"
SEED = 7
WRONG_SHARE = 0.02
UNTOUCHED_SHARE = 0.001


def documents_of(folder: Path, work: Path) -> list[list[Hit]]:
    pipeline = pipeline_of(work / "index")
    pipeline.build([folder])
    return hits_of(pipeline)


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return cases(documents_of(EXAMPLE, tmp_path_factory.mktemp("example")), random.Random(SEED), 2000)


@pytest.fixture(scope="module")
def help_centre(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    documents = documents_of(data / "clockify" / "kb_markdown", tmp_path_factory.mktemp("help-centre"))
    return cases(documents, random.Random(SEED), 12_000)


def altered(name: str, made: list[Case], count: int) -> Iterator[tuple[Case, str]]:
    """Yield at most ``count`` cases with the quotation, those left out that say by chance what a passage shown says."""
    generator = random.Random(f"{SEED} {name}")
    found = 0
    for case in made:
        quote = MUTATIONS[name].make(case, generator)
        shown = folded(" ".join(case.context.texts[:1] if name == "from the neighbour" else case.context.texts))
        if len(quote.split()) < 4 or len(quote) < 16 or (name != "typography" and folded(quote) in shown):
            continue
        found += 1
        yield case, quote
        if found == count:
            return


def verdicts(name: str, made: list[Case], count: int) -> Counter[Verdict]:
    verifier = QuoteVerifier("off")
    counted: Counter[Verdict] = Counter()
    for case, quote in altered(name, made, count):
        found = verifier.verify(ask("What does it say?"), case.context, Draft(text=f"“{quote}” [1]"))
        (quotation,) = found.quotations
        counted[quotation.verdict] += 1
        if quotation.verdict in ("verified", "misattributed"):
            (citation,) = found.citations
            assert f"“{citation.quote}”" in found.text
            assert any(citation.quote in text for text in case.context.texts)
        else:
            assert "“" not in found.text
    return counted


def check(name: str, counted: Counter[Verdict]) -> None:
    total, expected = counted.total(), MUTATIONS[name].expected
    if name == "typography":
        assert total - counted["verified"] <= UNTOUCHED_SHARE * total, counted
    else:
        assert counted["verified"] == 0, counted
        assert total - counted[expected] <= WRONG_SHARE * total, counted


@pytest.mark.parametrize("name", MUTATIONS)
def test_altered_quotations_of_the_example(name: str, example: list[Case]) -> None:
    counted = verdicts(name, example, 150)
    assert counted.total() >= (25 if name == "not removed" else 100)
    check(name, counted)


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_a_thousand_altered_quotations_of_a_help_centre(name: str, help_centre: list[Case]) -> None:
    counted = verdicts(name, help_centre, 1000)
    print(name, dict(counted))
    assert counted.total() == 1000
    check(name, counted)
