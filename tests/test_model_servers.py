"""The lying models lie as they say: otherwise what is tested with them is tested with nothing."""

from __future__ import annotations

import pytest

import model_servers as models
from clockify_rag.generation import OpenAIGenerator
from passages import ask, context_of

TEXTS = (
    "Exports hold 90 days of time entries. Older ones are archived.",
    "Only the owner of a workspace can delete it.",
)


def told(name: str) -> tuple[str, bool]:
    with models.lying(name) as server:
        draft = OpenAIGenerator("liar", url=server.v1, api_key="").generate(ask("How long?"), context_of(*TEXTS))
    return draft.text, draft.incomplete


@pytest.mark.parametrize("name", [name for name in models.LIES if name != "half a stream"])
def test_each_lie_is_streamed_whole(name: str) -> None:
    assert told(name) == (models.LIES[name](TEXTS), False)


def test_the_lies_differ_from_the_truth() -> None:
    truth = '"Exports hold 90 days of time entries." [1]\n\n"Only the owner of a workspace can delete it." [2]'
    texts = {name: lie(TEXTS) for name, lie in models.LIES.items() if name != "half a stream"}
    assert texts["truth"] == truth
    assert len(set(texts.values())) == len(texts)
    assert "97 days" in texts["changed figures"]
    assert 'entries." [2]' in texts["shifted citations"]
    assert "[3]" in texts["absent citations"]
    assert models.FOREIGN_URL in texts["foreign url"]


def test_half_a_stream_is_marked() -> None:
    text, incomplete = told("half a stream")
    assert incomplete
    assert models.truth(TEXTS).startswith(text)
    assert text != models.truth(TEXTS)
