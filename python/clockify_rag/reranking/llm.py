"""A language model that is asked, once, for an order.

Question and passages go as one JSON object, so that no passage can end its own string and speak for the prompt. What comes back is
read as JSON and nothing else: numbers of passages, each once. Numbers that are missing stand behind, in the order given; an
answer that is none, that names a passage which is not there, or that comes late leaves the whole order as it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from clockify_rag import passages, prompts
from clockify_rag.contracts import Completer, Hit, Query, Reranking, Step
from clockify_rag.errors import BackendBadResponse, BackendError, InvalidSetting
from clockify_rag.reranking import STAGE, in_order, unmoved

NAME = "llm"
_NUMBER_TOKENS = 6
_ANSWER_TOKENS = 24


class _Order(msgspec.Struct):
    order: list[int]


class _Passage(msgspec.Struct):
    number: int
    title: str
    text: str


class _Asked(msgspec.Struct):
    question: str
    passages: list[_Passage]


class LlmReranker:
    """Orders the first hits by what a language model says (reranker ``llm``).

    Args:
        completer: the model; that of ``[generation]`` in a pipeline.
        depth: how many hits it is shown.
        seconds: how long it may take.
        maximum_characters: of each passage at most, from its beginning.
        prompt: a file to use in place of the package's ``prompts/rerank.txt``; ``{count}`` in it becomes the number of passages.

    Raises:
        InvalidSetting: there is no model, a number is too small, or the file of the prompt cannot be used.
    """

    def __init__(
        self,
        completer: Completer | None = None,
        *,
        depth: int = 10,
        seconds: float = 20.0,
        maximum_characters: int = 1200,
        prompt: str | None = None,
    ) -> None:
        if completer is None:
            raise InvalidSetting(
                "the reranker 'llm' needs a generator that is a language model",
                hint='set generation.generator = "ollama", or reranking.reranker = "cross-encoder"',
                setting="reranking.reranker",
            )
        for name, value in (("depth", depth), ("maximum_characters", maximum_characters)):
            if value < 1:
                raise InvalidSetting(f"{name} of a reranker is {value}, and must be at least 1", setting=name)
        if seconds <= 0:
            raise InvalidSetting(f"seconds of a reranker is {seconds}, and must be more than 0", setting="seconds")
        self.completer = completer
        self.depth = depth
        self.seconds = seconds
        self.maximum_characters = maximum_characters
        self._rules = prompts.read("rerank", prompt)

    def rerank(
        self,
        query: Query,
        hits: Sequence[Hit],
        *,
        top_k: int,  # noqa: ARG002 - the Protocol's
    ) -> Reranking:
        """Return all hits, those that the model named first; as they were where it fails, is late or answers no order.

        Scores stay what they were: the model gives an order and no numbers that could be compared.

        Args:
            query: what is asked.
            hits: best first.
            top_k: not used: ``depth`` says how many are shown.
        """
        shown = hits[: self.depth]
        if len(shown) <= 1:
            return Reranking(hits=tuple(hits))
        system = self._rules.fill(count=str(len(shown)))
        details = {"model": self.completer.name, "read": len(shown)}
        maximum_tokens = _ANSWER_TOKENS + _NUMBER_TOKENS * len(shown)
        try:
            answer = self.completer.complete(
                system, self._asked(query, shown), seconds=self.seconds, maximum_tokens=maximum_tokens
            )
            order = self._order(answer, len(shown))
        except BackendError as error:
            reranking = unmoved(hits, NAME, error, details)
        else:
            ordered = in_order(hits, order)
            moved = sum(new != old for new, old in zip(map(_id, ordered), map(_id, hits), strict=True))
            step = Step(stage=STAGE, name=NAME, details={**details, "named": len(order), "moved": moved})
            reranking = Reranking(hits=ordered, steps=(step,))
        return msgspec.structs.replace(reranking, sent_to=tuple(getattr(self.completer, "sent_to", ())))

    def _asked(self, query: Query, hits: Sequence[Hit]) -> str:
        shown = [
            _Passage(
                number,
                " > ".join(dict.fromkeys(passages.headings(hit))),
                hit.chunk.text[: self.maximum_characters],
            )
            for number, hit in enumerate(hits, 1)
        ]
        return msgspec.json.encode(_Asked(query.text, shown)).decode()

    def _order(self, answer: str, count: int) -> list[int]:
        """Return the places that the answer names, from 0."""
        start, end = answer.find("{"), answer.rfind("}")
        try:
            numbers = msgspec.json.decode(answer[start : end + 1] if start >= 0 else answer, type=_Order).order
        except msgspec.MsgspecError as error:
            raise self._bad("answered no order of the passages", answer) from error
        if not numbers or len(set(numbers)) < len(numbers) or not all(1 <= number <= count for number in numbers):
            raise self._bad(f"answered an order that is not one of {count} passages", answer)
        return [number - 1 for number in numbers]

    def _bad(self, what: str, answer: str) -> BackendBadResponse:
        return BackendBadResponse(
            f"the model {self.completer.name} {what}",
            hint='choose a larger model, or reranking.reranker = "cross-encoder"',
            model=self.completer.name,
            answer=answer[:200],
        )


def _id(hit: Hit) -> str:
    return hit.chunk.id
