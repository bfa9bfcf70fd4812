"""What a generator is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag.contracts import Hit, Packer
from clockify_rag.errors import InvalidSetting
from clockify_rag.packing import RelevancePacker
from passages import ask, chunk_of, hit_of


class Words:
    """Counts words as tokens."""

    def count(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


def hits_of(*texts: str, kinds: str = "") -> list[Hit]:
    return [
        hit_of(chunk_of(text, kind="hub" if kinds[rank - 1 : rank] == "h" else "text"), rank)
        for rank, text in enumerate(texts, 1)
    ]


def packer(**options: Any) -> RelevancePacker:
    return RelevancePacker(**options, tokenizer=Words())


def test_hits_are_shown_whole_by_relevance_while_they_fit() -> None:
    hits = hits_of("a a a", "b b b b b b", "c c", "d")
    context = packer(budget_tokens=6, pack_top=4).pack(ask("?"), hits)
    assert context.texts == ("a a a", "c c", "d")
    assert [hit.rank for hit in context.hits] == [1, 3, 4]
    assert (context.tokens, context.dropped) == (6, 1)
    assert packer(pack_top=2).pack(ask("?"), hits).dropped == 0
    assert isinstance(packer(), Packer)


@pytest.mark.parametrize(
    ("text", "budget", "shown"),
    [
        ("One two. Three four five. Six.", 5, "One two. Three four five."),
        ("One two. Three four five. Six.", 4, "One two."),
        ("One two three four. Five.", 3, "One two three"),
        ("One\ntwo three\nfour", 3, "One\ntwo three"),
        (" One two", 1, " One"),
    ],
)
def test_the_best_hit_is_cut_at_a_sentence_when_it_alone_is_too_long(text: str, budget: int, shown: str) -> None:
    context = packer(budget_tokens=budget).pack(ask("?"), hits_of(text, "x"))
    assert context.texts[0] == shown
    assert text.startswith(shown)
    assert len(context.texts) + context.dropped == 2


def test_pages_of_links_are_shown_only_when_there_is_nothing_else() -> None:
    hits = hits_of("links", "text", "links too", kinds="h h")
    assert packer().pack(ask("?"), hits).texts == ("text",)
    assert packer().pack(ask("?"), [hits[0], hits[2]]).texts == ("links", "links too")
    assert packer().pack(ask("?"), []).hits == ()


@given(st.lists(st.text(alphabet="ab. \n", min_size=1, max_size=40), min_size=1, max_size=8), st.integers(1, 12))
def test_the_budget_holds_and_the_best_is_always_there(texts: list[str], budget: int) -> None:
    hits = hits_of(*texts)
    context = packer(budget_tokens=budget, pack_top=6).pack(ask("?"), hits)
    assert context.hits[0] == hits[0]
    assert sum(Words().count(context.texts)) <= context.tokens <= budget
    assert len(context.hits) + context.dropped == min(6, len(hits))
    for hit, text in zip(context.hits, context.texts, strict=True):
        assert hit.chunk.text.startswith(text)
        assert hit is hits[0] or hit.chunk.text == text


@pytest.mark.parametrize("options", [{"budget_tokens": 0}, {"pack_top": 0}])
def test_impossible_numbers_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        RelevancePacker(**options)
