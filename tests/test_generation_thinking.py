"""What a model thinks is taken out of its answer, wherever its stream is cut."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import fake_server as fake
from clockify_rag.errors import BackendBadResponse, BackendRejected
from clockify_rag.generation import OllamaGenerator, OpenAIGenerator, ThinkingFilter
from passages import ask, context_of

CONTEXT = context_of("Exports hold 90 days.")
PARTS = st.sampled_from(
    ["<think>", "</think>", "<thinking>", "</thinking>", "[THINK]", "[/THINK]", "<thi", "<", "[", "a", " b\n"]
)


def naive(text: str) -> str:
    """Take whole parts out, then an open one's rest."""
    pattern = r"<think>.*?(?:</think>|\Z)|<thinking>.*?(?:</thinking>|\Z)|\[THINK\].*?(?:\[/THINK\]|\Z)"
    return re.sub(pattern, "", text, flags=re.DOTALL)


@given(st.lists(PARTS, max_size=12).map("".join), st.lists(st.integers(0, 60), max_size=8))
@example("<think>a</think>b", [3, 10])
def test_any_cut_of_a_stream_gives_what_the_whole_text_does(text: str, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    thinking = ThinkingFilter()
    passed = [thinking.passed(text[start:end]) for start, end in itertools.pairwise(places)]
    assert "".join(passed) + thinking.rest() == naive(text)


def test_a_text_may_begin_within_its_thinking_part() -> None:
    thinking = ThinkingFilter(started=True)
    assert thinking.passed("So the user asks.</thi") == ""
    assert thinking.thinking
    assert thinking.passed("nk>\n\nNo.") == "\n\nNo."
    assert not thinking.thinking


def test_fields_of_reasoning_are_not_the_answer() -> None:
    lines = [
        b'{"message": {"thinking": "Hm.", "content": ""}}\n',
        *fake.ollama_lines(["<th", "ink>Hm.</think>\n\n", "Yes."]),
    ]
    with fake.serving(fake.chunked(lines, "x")) as server:
        generator = OllamaGenerator("m", url=server.url, think=True)
        assert generator.generate(ask("?"), CONTEXT).text == "Yes."
        assert list(generator.stream(ask("?"), CONTEXT)) == ["Yes."]
    assert server.requests[0].json["think"] is True
    events = [b'data: {"choices": [{"delta": {"reasoning_content": "Hm."}}]}\n\n', *fake.openai_events(["Yes."])]
    with fake.serving(fake.chunked(events, "x")) as server:
        assert OpenAIGenerator("m", url=server.url, api_key="").generate(ask("?"), CONTEXT).text == "Yes."


@pytest.mark.parametrize("words", [["<think>Hm. ", "I wonder."], ["<think>Hm.</think>", " \n"]])
def test_a_thought_alone_is_no_answer(words: list[str]) -> None:
    with (
        fake.serving(fake.ollama_answer(words)) as server,
        pytest.raises(BackendBadResponse, match=r"no answer|any text"),
    ):
        OllamaGenerator("m", url=server.url).generate(ask("?"), CONTEXT)
    script = fake.chunked(fake.ollama_lines(["<think>Hm. "], "length"), "x")
    with fake.serving(script) as server, pytest.raises(BackendRejected, match="spent on thinking") as caught:
        OllamaGenerator("m", url=server.url).generate(ask("?"), CONTEXT)
    assert caught.value.hint == "raise max_tokens"


def test_what_could_have_been_a_tag_is_text_at_the_end() -> None:
    with fake.serving(fake.ollama_answer(["a <", "b> and <thin"])) as server:
        assert OllamaGenerator("m", url=server.url).generate(ask("?"), CONTEXT).text == "a <b> and <thin"


def test_of_a_whole_text_what_precedes_an_unopened_tag_is_thought() -> None:
    with fake.serving(fake.ollama_answer(["Hm. I", " see.</thi", "nk>\n\nYes."])) as server:
        generator = OllamaGenerator("m", url=server.url)
        assert generator.generate(ask("?"), CONTEXT).text == "Yes."
        assert generator.complete("r", "t", seconds=5, maximum_tokens=5) == "Yes."
        starting = OllamaGenerator("m", url=server.url, starts_thinking=True)
        assert "".join(starting.stream(ask("?"), CONTEXT)) == "Yes."
