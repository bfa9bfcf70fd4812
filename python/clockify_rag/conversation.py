"""Conversations: questions of which one may follow from another.

A conversation is a list of turns over a pipeline, and nothing of it is stored. What of a former turn went into a question is
said by the trace of its answer, so a follow-up is attributed by what was searched and not by a second guess.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from clockify_rag.contracts import Answer, Turn

if TYPE_CHECKING:
    from clockify_rag.pipeline import Pipeline

TURNS: Final = 3
"""Turns that a question may follow from."""

FOLLOW_UP: Final = "follow-up"
"""The step of understanding that says that a question gained words of former turns."""


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """A question of a conversation and its answer."""

    number: int
    """From 1."""
    answer: Answer
    follows: int | None = None
    """The number of the turn whose words the question was searched with; ``None`` where it was searched as it stands."""
    searched: str = ""
    """What was searched in place of the question; empty where that is the question."""


class Conversation:
    """Questions and answers in turn. One object serves many threads: their questions are answered one after the other.

    Args:
        pipeline: what answers.
        turns: how many former turns a question may follow from; 0 for none.
        top_k: hits at most; by default the configuration's.
        filters: as for ``Pipeline.search``.
        lexical: search by words only.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        turns: int = TURNS,
        top_k: int | None = None,
        filters: Mapping[str, Sequence[str]] | None = None,
        lexical: bool = False,
    ) -> None:
        self.pipeline = pipeline
        self.turns = turns
        self.top_k = top_k
        self.filters = filters
        self.lexical = lexical
        self._exchanges: tuple[Exchange, ...] = ()
        self._first = 0
        self._asking = threading.Lock()

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """What was asked and answered so far, also before a reset."""
        return self._exchanges

    @property
    def history(self) -> tuple[Turn, ...]:
        """What the next question may follow from, oldest first."""
        recent = self._exchanges[self._first :][-self.turns :] if self.turns else ()
        return tuple(Turn(one.answer.question, one.answer.answer) for one in recent)

    def ask(self, question: str, *, written: Callable[[str], object] | None = None) -> Exchange:
        """Return the answer to ``question``, which may follow from the turns before it.

        A question that cannot be answered because something fails is no turn.

        Args:
            question: at most 2,000 characters.
            written: called with each piece of a text that is written, before anything of it is verified.

        Raises:
            QueryError: the question cannot be searched.
            StoreError: the index cannot be read.
        """
        with self._asking:
            history = self.history
            answer = self.pipeline.ask(
                question, self.top_k, self.filters, lexical=self.lexical, history=history, written=written
            )
            number = len(self._exchanges) + 1
            searched = _searched(answer)
            follows = None if searched is None else number - len(history) + _source(searched, question, history)
            exchange = Exchange(number=number, answer=answer, follows=follows, searched=searched or "")
            self._exchanges = (*self._exchanges, exchange)
            return exchange

    def reset(self) -> None:
        """Let the next question follow from nothing."""
        with self._asking:
            self._first = len(self._exchanges)


def _searched(answer: Answer) -> str | None:
    """What was searched in place of a follow-up; ``None`` where its question was searched as it stands."""
    details: Mapping[str, Any] = next(
        (step.details for step in answer.trace if step.stage == "understand" and step.name == FOLLOW_UP), {}
    )
    text = details.get("text")
    return text if isinstance(text, str) and text != answer.question else None


def _source(searched: str, question: str, history: Sequence[Turn]) -> int:
    """The place in ``history`` of the turn that has most of the words that a follow-up gained; of several the last."""
    gained = _words(searched) - _words(question)
    shares = [(len(gained & _words(turn.question)), place) for place, turn in enumerate(history)]
    return max(shares)[1]


def _words(text: str) -> set[str]:
    return {word.strip(".,;:!?\"'()[]") for word in text.casefold().split()}
