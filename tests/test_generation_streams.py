"""A sample of the cuts that ``make streams`` makes of every byte."""

from __future__ import annotations

import random

import pytest

import streams
from clockify_rag.contracts import Context, Draft, Query
from clockify_rag.generation import OllamaGenerator

SAMPLE = 12


@pytest.mark.parametrize("protocol", streams.BODIES)
@pytest.mark.parametrize("misbehaviour", streams.MISBEHAVIOURS)
def test_a_stream_that_goes_wrong_ends_typed_in_time_and_marked(protocol: streams.Protocol, misbehaviour: str) -> None:
    length = len(streams.BODIES[protocol])
    cuts = [0, 1, length - 1, length, *random.Random(f"{protocol} {misbehaviour}").sample(range(2, length - 1), SAMPLE)]
    outcomes = streams.sweep(protocol, misbehaviour, cuts, threads=8)
    assert [(cut, outcome.violation) for cut, outcome in outcomes if outcome.violation] == []


def test_the_reference_stream_is_long_enough_and_whole_without_a_misbehaviour() -> None:
    assert len(streams.MISBEHAVIOURS) == 12
    for protocol, body in streams.BODIES.items():
        assert len(body) >= 4000
        assert len(streams.LINES[protocol]) >= 40
        ((_, outcome),) = streams.sweep(protocol, "no done", [len(body)])
        assert outcome.end == "complete"


def test_a_part_that_is_not_marked_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = OllamaGenerator.generate

    def hiding(self: OllamaGenerator, query: Query, context: Context) -> Draft:
        return Draft(text=real(self, query, context).text)

    monkeypatch.setattr(OllamaGenerator, "generate", hiding)
    ((_, outcome),) = streams.sweep("ollama", "reset", [1000])
    assert outcome.violation.startswith("a part that is not marked")
