"""Understanding step by step: the understander ``steps``, the default.

Each step takes what the one before it made, can be left out, and says in the trace what it did: a ticket is cleaned, a follow-up is
made to stand alone, its kind is told, the glossary adds what things are also called, and a model, where one is at hand and
chosen, adds other texts to search for. The question itself is always kept and always searched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clockify_rag import _core
from clockify_rag.contracts import (
    MAXIMUM_QUESTION_CHARACTERS,
    Classifier,
    Completer,
    Expansion,
    Failure,
    Query,
    Step,
    Turn,
)
from clockify_rag.understanding import check_length, check_words, checked_filters, clean, without_surrogates
from clockify_rag.understanding.signs import may_be_ticket

if TYPE_CHECKING:
    from clockify_rag.understanding.glossary import Glossary
    from clockify_rag.understanding.rewriting import Rewriter


class StepsUnderstander:
    """Turns a question into a query by the steps that are switched on.

    Args:
        default_language: the ISO 639-1 code of the language of questions that do not tell theirs.
        tickets: whether what stands around a ticket's question is taken away.
        classifier: tells what a question wants; ``None`` to leave that out.
        glossary: a file of terms; ``None`` for none. It is read with the first question.
        expansion_weight: what a word of an expansion counts beside one of the question.
        follow_ups: whether a question that points at the one before it gains its words.
        completer: the model; ``None`` where there is none.
        rewriting: whether the model rewrites follow-ups.
        multi_query: whether it words the question otherwise.
        decomposition: whether it takes it apart.
        hypothetical_answer: whether it writes an answer to search for.
        seconds: how long all of the model's work on one question may take.
    """

    def __init__(
        self,
        default_language: str = "en",
        *,
        tickets: bool = True,
        classifier: Classifier | None = None,
        glossary: str | None = None,
        expansion_weight: float = 0.1,
        follow_ups: bool = True,
        completer: Completer | None = None,
        rewriting: bool = False,
        multi_query: bool = False,
        decomposition: bool = False,
        hypothetical_answer: bool = False,
        seconds: float = 5.0,
    ) -> None:
        self.default_language = default_language
        self._tickets = tickets
        self._classifier = classifier
        self._glossary_file = glossary
        self._glossary: Glossary | None = None
        self._expansion_weight = expansion_weight
        self._follow_ups = follow_ups
        self._rewriter: Rewriter | None = None
        if completer is not None:
            from clockify_rag.understanding.rewriting import Rewriter

            self._rewriter = Rewriter(completer, seconds)
        self._rewriting = rewriting
        self._alternatives: tuple[tuple[str, _Making], ...] = tuple(
            (name, make)
            for name, make, wanted in (
                ("wordings", _wordings, multi_query),
                ("parts", _parts, decomposition),
                ("hypothetical-answer", _hypothetical_answer, hypothetical_answer),
            )
            if wanted
        )

    def understand(
        self, question: str, *, filters: Mapping[str, Sequence[str]] | None = None, history: Sequence[Turn] = ()
    ) -> Query:
        """Return the query for ``question``.

        Args:
            question: of which at most 2,000 characters are left when it is cleaned, and one is a letter or digit.
            filters: for each field the values of which a document must have one.
            history: the turns before it, oldest first; the last three count.

        Raises:
            EmptyQuery: there is nothing to search for in the question.
            QueryTooLong: it has too many characters.
            GlossaryInvalid: the glossary cannot be used.
            QueryError: a filter names no field or has no value.
        """
        steps: list[Step] = []
        text = self._text(question.strip(), steps)
        language = _core.detect_language(text, self.default_language)
        deadline = 0.0 if self._rewriter is None else self._rewriter.begin()
        text = self._standing_alone(text, language, history, deadline, steps)
        kind = self._kind(text, language, steps)
        expansions = self._expansions(text, language, steps)
        alternatives, parts = self._made(text, deadline, steps)
        steps.append(_step("language", language=language))
        return Query(
            question=without_surrogates(question),
            text=text,
            language=language,
            filters=checked_filters(filters or {}),
            kind=kind,
            expansions=expansions,
            alternatives=alternatives,
            parts=parts,
            steps=tuple(steps),
            degraded=tuple(_failure(step) for step in steps if "reason" in step.details),
        )

    def _text(self, asked: str, steps: list[Step]) -> str:
        """What is asked, in one line."""
        if not (self._tickets and may_be_ticket(asked)):
            check_length(asked)
            text = clean(asked)
        else:
            from clockify_rag.understanding.tickets import cleaned, condensed

            ticket = cleaned(asked)
            text = clean(ticket.text)
            if ticket.removed:
                details: dict[str, Any] = {"removed": dict(ticket.removed), "characters": [len(asked), len(text)]}
                steps.append(_step("ticket", **details))
            if len(text) > MAXIMUM_QUESTION_CHARACTERS and (short := condensed(text, MAXIMUM_QUESTION_CHARACTERS)):
                steps.append(_step("condense", characters=[len(text), len(short)]))
                text = short
            check_length(text)
        check_words(text)
        return text

    def _standing_alone(
        self, text: str, language: str, history: Sequence[Turn], deadline: float, steps: list[Step]
    ) -> str:
        """A follow-up with what it leaves out."""
        if not history:
            return text
        from clockify_rag.understanding.follow_ups import TURNS, carried_over, is_follow_up

        history = history[-TURNS:]
        details: dict[str, Any] = {}
        if self._rewriter is not None and self._rewriting:
            written, details = self._rewriter.standalone(text, history, deadline)
            if written is not None:
                steps.append(_step("follow-up", text=written, **details))
                return written
        if not (self._follow_ups and is_follow_up(text, language)):
            if details:
                steps.append(_step("follow-up", **details))
            return text
        carried = carried_over(text, history, language)[:MAXIMUM_QUESTION_CHARACTERS]
        steps.append(_step("follow-up", text=carried, **details))
        return carried

    def _kind(self, text: str, language: str, steps: list[Step]) -> str:
        if self._classifier is None:
            return ""
        kind = self._classifier.classify(text, language)
        if kind:
            steps.append(_step("kind", kind=kind))
        return kind

    def _expansions(self, text: str, language: str, steps: list[Step]) -> tuple[Expansion, ...]:
        if self._glossary_file is None or self._expansion_weight <= 0:
            return ()
        if self._glossary is None:
            from clockify_rag.understanding.glossary import read_glossary

            # Two threads may both read it, and read the same.
            self._glossary = read_glossary(self._glossary_file)
        expansions = self._glossary.expansions(text, language, self._expansion_weight)
        if expansions:
            steps.append(_step("glossary", added=[one.text for one in expansions], weight=self._expansion_weight))
        return expansions

    def _made(self, text: str, deadline: float, steps: list[Step]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What a model makes to be searched besides, and which of it are parts of the question."""
        if self._rewriter is None:
            return (), ()
        made: dict[str, tuple[str, ...]] = {}
        for name, make in self._alternatives:
            made[name], details = make(self._rewriter, text, deadline)
            steps.append(_step(name, texts=list(made[name]), **details))
        texts = dict.fromkeys(other for others in made.values() for other in others if other != text)
        return tuple(texts), made.get("parts", ())


_Making = Callable[["Rewriter", str, float], tuple[tuple[str, ...], dict[str, Any]]]


def _wordings(rewriter: Rewriter, text: str, deadline: float) -> tuple[tuple[str, ...], dict[str, Any]]:
    return rewriter.wordings(text, deadline)


def _parts(rewriter: Rewriter, text: str, deadline: float) -> tuple[tuple[str, ...], dict[str, Any]]:
    return rewriter.parts(text, deadline)


def _hypothetical_answer(rewriter: Rewriter, text: str, deadline: float) -> tuple[tuple[str, ...], dict[str, Any]]:
    passage, details = rewriter.hypothetical_answer(text, deadline)
    return (() if passage is None else (passage,)), details


def _failure(step: Step) -> Failure:
    """What an answer says of a step that a model failed at."""
    message = f"the question went on without the step {step.name}: {step.details['reason']}"
    return Failure(
        code=step.details["outcome"], message=message, hint="understanding.seconds is the time for all such steps"
    )


def _step(name: str, **details: Any) -> Step:
    return Step(stage="understand", name=name, details=details)
