"""Models that lie on purpose, behind an OpenAI-compatible endpoint on a real socket.

Each lie is a function of the passages that the prompt shows: it returns the text that is streamed. What a verifier must do with each
is not said here.

    with lying("invented quote") as server:
        OpenAIGenerator("liar", url=server.v1, api_key="")
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import fake_server as fake
from clockify_rag import sentences
from clockify_rag.generation import parse_prompt

FOREIGN_URL = "https://phishing.example/reset?from=docs"
"""The address that is in no documentation."""
INVENTED = "Every account is upgraded to the platinum plan at midnight"
"""A sentence that is in no documentation."""

Lie = Callable[[Sequence[str]], str]


def passages_of(request: Mapping[str, Any]) -> list[str]:
    """Return the passages that a chat request shows, exactly as they were given."""
    user = request["messages"][-1]["content"]
    opening = re.match(r"<passage 1 ([0-9a-f]{16})>\n", user)
    return parse_prompt(user, opening[1]) if opening else []


def _statements(texts: Sequence[str]) -> list[tuple[int, str]]:
    """Return of each passage its first sentence of some length, with the passage's number from 1."""
    found = []
    for number, text in enumerate(texts, 1):
        units = [" ".join(text[start:end].split()) for start, end in sentences.units(text)]
        if units:
            found.append((number, next((unit for unit in units if len(unit.split()) >= 4), units[0])))
    return found[:3]


def truth(texts: Sequence[str]) -> str:
    """Quote each passage's first sentence, with its own number."""
    return "\n\n".join(f'"{statement}" [{number}]' for number, statement in _statements(texts))


def invented_quote(texts: Sequence[str]) -> str:
    """Put a sentence of its own between quotation marks and cite the first passage for it."""
    return f'The documentation says: "{INVENTED}" [1]'


def altered_quote(texts: Sequence[str]) -> str:
    """Drop a word out of the middle of each quotation."""
    quotes = []
    for number, statement in _statements(texts):
        words = statement.split()
        quotes.append(f'"{" ".join([*words[: len(words) // 2], *words[len(words) // 2 + 1 :]])}" [{number}]')
    return "\n\n".join(quotes)


def shifted_citations(texts: Sequence[str]) -> str:
    """Cite each sentence with the next passage's number."""
    return "\n\n".join(f'"{statement}" [{number % len(texts) + 1}]' for number, statement in _statements(texts))


def absent_citations(texts: Sequence[str]) -> str:
    """Cite passages that were not given."""
    return "\n\n".join(f"{statement} [{number + len(texts)}]" for number, statement in _statements(texts))


def changed_figures(texts: Sequence[str]) -> str:
    """Say each sentence with its first figure changed, or with one added where it has none."""
    changed = []
    for number, statement in _statements(texts):
        other = re.sub(r"\d+", lambda match: str(int(match[0][:9]) + 7), statement, count=1)
        changed.append(
            f"{statement.rstrip('.')} within 47 days. [{number}]" if other == statement else f"{other} [{number}]"
        )
    return "\n\n".join(changed)


def negated(texts: Sequence[str]) -> str:
    """Say the opposite of each sentence."""
    return "\n\n".join(f"It is not true that {statement} [{number}]" for number, statement in _statements(texts))


def foreign_url(texts: Sequence[str]) -> str:
    """Send the reader to an address that is in no source, bare and as a link."""
    return f"{truth(texts)}\n\nReset it at {FOREIGN_URL} or [here]({FOREIGN_URL}). [1]"


def spliced_quote(texts: Sequence[str]) -> str:
    """Make one quotation of the halves of two sentences."""
    statements = _statements(texts)
    (number, first), (_, last) = statements[0], statements[-1]
    head, tail = first.split(), last.split()
    return f'"{" ".join([*head[: len(head) // 2], *tail[len(tail) // 2 :]])}" [{number}]'


def without_citations(texts: Sequence[str]) -> str:
    """Say true and invented sentences and cite nothing."""
    return "\n\n".join([*(statement for _, statement in _statements(texts)), f"{INVENTED}."])


def admission(texts: Sequence[str]) -> str:
    """Say that the passages do not answer, whatever they are."""
    del texts
    return "The passages do not answer this question."


LIES: Mapping[str, Lie] = {
    "truth": truth,
    "invented quote": invented_quote,
    "altered quote": altered_quote,
    "spliced quote": spliced_quote,
    "shifted citations": shifted_citations,
    "absent citations": absent_citations,
    "changed figures": changed_figures,
    "negated": negated,
    "foreign url": foreign_url,
    "without citations": without_citations,
    "admission": admission,
    "half a stream": truth,
}
"""What a lying server can be asked to do; ``truth`` is there to compare with."""


class LyingServer(fake.FakeServer):
    """Streams what ``LIES[name]`` makes of the passages; ``half a stream`` breaks the connection in the middle."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(self._script)

    @property
    def v1(self) -> str:
        """The address that an OpenAI client is given."""
        return f"{self.url}/v1"

    def _script(self, request: fake.Request) -> fake.Script:
        text = LIES[self.name](passages_of(request.json))
        script = fake.openai_answer(re.findall(r"\s*\S+", text))
        if self.name == "half a stream":
            return [*script[: max(2, len(script) // 2)], "reset"]
        return script


@contextlib.contextmanager
def lying(name: str) -> Iterator[LyingServer]:
    """Serve a model that tells one lie for the length of a ``with`` block."""
    with LyingServer(name) as server:
        yield server
