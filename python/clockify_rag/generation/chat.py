"""What all generators that ask a chat model share: the chat, what is taken out of the answer, when it is given up.

The answer is read as a stream, so that every deadline is seen to hold while the model writes, and hanging up in its middle is seen by
the model's server.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Generator as Generating
from typing import Any, ClassVar

from clockify_rag import prompts
from clockify_rag._http import Deadlines
from clockify_rag.contracts import Context, Draft, Failure, Query
from clockify_rag.errors import BackendBadResponse, BackendError, BackendRejected
from clockify_rag.generation import prompting
from clockify_rag.generation.breaker import CircuitBreaker
from clockify_rag.generation.thinking import ThinkingFilter, after_thinking

Messages = list[dict[str, str]]
"""A chat: for each message its ``role`` and its ``content``."""

LENGTH = "length"
"""The reason to end that says that the text was cut."""


class ChatGenerator:
    """What the generators that ask a chat model share. Subclasses say how a model is asked (``_ask``) and called (``described``).

    Args:
        model: its name.
        secret: of the prompt's markers; kept beside the index. Without it one is drawn for this object.
        maximum_words: what the model is told not to exceed.
        max_tokens: after which the model is stopped.
        options: further fields of the request's options, of the server's own kind; ``None`` leaves a field out.
        omit: fields of the request's options to leave out, where a server does not take them.
        prompt: a file with the rules, in place of the package's ``prompts/answer.txt``.
        starts_thinking: whether the model's text begins within a thinking part, without the tag that opens it.
        breaker: what keeps from asking a server that failed several times in a row; by default one of this generator's own.
    """

    component: ClassVar[str]
    """The name by which it is chosen."""
    streams: ClassVar[bool] = True
    """Whether ``generate`` tells of the text as it is written."""

    def __init__(
        self,
        model: str,
        *,
        secret: bytes | None = None,
        maximum_words: int = 200,
        max_tokens: int = 1024,
        options: Mapping[str, Any] | None = None,
        omit: Sequence[str] = (),
        prompt: str | None = None,
        starts_thinking: bool = False,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self.model = model
        self.maximum_words = maximum_words
        self.max_tokens = max_tokens
        self.options = {**(options or {}), **dict.fromkeys(omit)}
        self.starts_thinking = starts_thinking
        self.breaker = CircuitBreaker(self.described) if breaker is None else breaker
        self._rules = prompts.read("answer", prompt)
        self._secret = secrets.token_bytes(32) if secret is None else secret

    @property
    def name(self) -> str:
        """Which model, as caches and traces name it."""
        return f"{self.component}:{self.model}"

    @property
    def described(self) -> str:
        """How messages begin that speak of it."""
        return f"The model {self.model!r}"

    @property
    def sent_to(self) -> tuple[str, ...]:
        """Hosts other than this machine that see questions and passages."""
        return ()

    @property
    def prompt_version(self) -> str:
        """32 hexadecimal digits that change whenever other messages would be made of the same question and passages."""
        return prompting.version(self._rules)

    def messages(self, query: Query, context: Context) -> Messages:
        """Return the chat that is sent: the rules, then the passages and the question."""
        ids = [hit.chunk.id for hit in context.hits]
        texts = [query.text, *query.parts, *context.texts, *(prompting.where(hit) for hit in context.hits)]
        code = prompting.mark(self._secret, context.generation, query.question, ids, texts)
        form = prompting.form(query)
        rules = self._rules.fill(mark=code, words=str(self.maximum_words), form=form)
        return _chat(rules, prompting.prompt(query, context, code))

    def stream(self, query: Query, context: Context) -> Iterator[str]:
        """Yield the answer's text as it is written. Closing the stream hangs up.

        Raises:
            BackendError: the model failed; what was yielded before is incomplete.
        """
        yield from self._written(self.messages(query, context), self.max_tokens)

    def generate(self, query: Query, context: Context, *, written: Callable[[str], object] | None = None) -> Draft:
        """Return the whole answer, or what there is of it when the stream breaks off after its beginning.

        Args:
            query: what is asked.
            context: the passages.
            written: called with each piece of the text as it comes, before anything of it is verified.

        Raises:
            BackendError: the model failed before it wrote anything.
        """
        pieces: list[str] = []
        failure: Failure | None = None
        try:
            for piece in self.stream(query, context):
                pieces.append(piece)
                if written is not None:
                    written(piece)
        except BackendError as error:
            if not "".join(pieces).strip():
                raise
            failure = Failure(code=error.code, message=error.message, hint=error.hint)
        text = _finished(pieces)
        return Draft(text=text, incomplete=failure is not None, failure=failure, sent_to=self.sent_to)

    def complete(self, system: str, user: str, *, seconds: float, maximum_tokens: int) -> str:
        """Return the model's text for a purpose other than an answer.

        Args:
            system: the rules.
            user: what they are applied to; role tokens in it are made harmless, as those of passages are.
            seconds: how long all of it may take.
            maximum_tokens: after which the model is stopped; a text that reaches them is returned as it is.

        Raises:
            BackendError: the model failed, wrote nothing, or took longer than ``seconds``.
        """
        deadlines = Deadlines(connect=seconds, first=seconds, between=seconds, total=seconds)
        messages = _chat(system, prompting.without_role_tokens(user))
        return _finished(self._written(messages, maximum_tokens, deadlines))

    def _written(self, messages: Messages, maximum_tokens: int, deadlines: Deadlines | None = None) -> Generating[str]:
        """Yield what is not thought; with deadlines of its own a text may be cut."""
        thinking = ThinkingFilter(started=self.starts_thinking)
        written = False
        end = ""
        with (
            self.breaker.attempt(patient=deadlines is None),
            contextlib.closing(self._ask(messages, maximum_tokens, deadlines)) as answer,
        ):
            for piece, end in answer:  # noqa: B007 - how it ended is asked below
                passed = thinking.passed(piece)
                text = passed if written else passed.lstrip()
                if text:
                    written = True
                    yield text
        if (rest := thinking.rest()) and (written or rest.strip()):
            written = True
            yield rest
        if end == LENGTH and (deadlines is None or not written):
            thought = " and were spent on thinking" if thinking.thinking and not written else ""
            raise self._rejected(f"its text is longer than {maximum_tokens} tokens{thought}", "raise max_tokens")
        if not written:
            only = "only thought and wrote no answer" if thinking.thinking else "answered without any text"
            raise self._bad_response(only)

    def _ask(self, messages: Messages, maximum_tokens: int, deadlines: Deadlines | None) -> Generating[tuple[str, str]]:
        """Yield pieces of the answer, each with the reason why it is the last, empty where it is not.

        Args:
            messages: the chat.
            maximum_tokens: after which the model is to stop.
            deadlines: other than the generator's own.
        """
        raise NotImplementedError

    def _bad_response(self, what: str) -> BackendBadResponse:
        return BackendBadResponse(f"{self.described} {what}", hint="try another model", model=self.model)

    def _rejected(self, reason: str, hint: str) -> BackendRejected:
        return BackendRejected(f"{self.described} stopped: {reason}", hint=hint, model=self.model)


def _finished(pieces: Iterable[str]) -> str:
    """Return a whole text as its model meant it: without a thought before it, and with role tokens as the passages have them."""
    return prompting.with_role_tokens(after_thinking("".join(pieces))).strip()


def _chat(system: str, user: str) -> Messages:
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]
