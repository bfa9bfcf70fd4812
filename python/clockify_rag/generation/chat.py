"""What the generators that ask a chat model share. They read a stream, so that every deadline is seen to hold while the
model writes.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Generator as Generating
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from clockify_rag._http import ModelServer, error_text
from clockify_rag.contracts import Context, Draft, Failure, Query
from clockify_rag.errors import BackendError
from clockify_rag.generation.prompting import mark, prompt, rules, where


class ChatGenerator:
    """What the generators that ask a chat model share. Subclasses say how a request and a line of the stream look.

    Args:
        server: where the model is.
        model: its name.
        secret: of the prompt's markers; kept beside the index. Without it one is drawn for this object.
        maximum_words: what the model is told not to exceed.
        max_tokens: after which the model is stopped.
        options: further fields of the request's options, of the server's own kind; ``None`` leaves a field out.
    """

    def __init__(
        self,
        server: ModelServer,
        model: str,
        *,
        secret: bytes | None = None,
        maximum_words: int = 200,
        max_tokens: int = 1024,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.server = server
        self.maximum_words = maximum_words
        self.max_tokens = max_tokens
        self.options = dict(options or {})
        self._secret = secrets.token_bytes(32) if secret is None else secret

    @property
    def sent_to(self) -> tuple[str, ...]:
        """The server's host, unless it is this machine."""
        return self.server.sent_to

    def messages(self, query: Query, context: Context) -> list[dict[str, str]]:
        """Return the chat that is sent: the rules, then the passages and the question."""
        ids = [hit.chunk.id for hit in context.hits]
        texts = [query.question, *context.texts, *(where(hit) for hit in context.hits)]
        code = mark(self._secret, context.generation, query.question, ids, texts)
        text = rules().replace("{mark}", code).replace("{words}", str(self.maximum_words))
        return [{"role": "system", "content": text}, {"role": "user", "content": prompt(query, context, code)}]

    def stream(self, query: Query, context: Context) -> Iterator[str]:
        """Yield the answer's text as it is written.

        Raises:
            BackendError: the server failed; what was yielded before is incomplete.
        """
        written = False
        with contextlib.closing(self._stream(self.messages(query, context))) as pieces:
            for piece in pieces:
                written = written or bool(piece.strip())
                yield piece
        if not written:
            raise self.server.bad_response("answered without any text")

    def generate(self, query: Query, context: Context) -> Draft:
        """Return the whole answer, or what there is of it when the stream breaks off after its beginning.

        Raises:
            BackendError: the server failed before it wrote anything.
        """
        pieces: list[str] = []
        failure: Failure | None = None
        try:
            pieces.extend(self.stream(query, context))
        except BackendError as error:
            if not "".join(pieces).strip():
                raise
            failure = Failure(code=error.code, message=error.message, hint=error.hint)
        text = "".join(pieces).strip()
        return Draft(text=text, incomplete=failure is not None, failure=failure, sent_to=self.sent_to)

    def _stream(self, messages: list[dict[str, str]]) -> Generating[str]:
        raise NotImplementedError

    def _decoded(self, line: bytes) -> dict[str, Any]:
        try:
            value = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            page = line[:1] == b"<"
            what = "a page instead of JSON" if page else "a line that is not JSON"
            raise self.server.bad_response(f"sent {what} in its stream") from error
        if reason := error_text(value):
            raise self.server.rejected(reason, "look at the server's log")
        if not isinstance(value, dict):
            raise self.server.bad_response("sent a line that is not a JSON object in its stream")
        return value

    def _text(self, value: Any) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self.server.bad_response("sent content that is not text in its stream")
        return value

    def _ended(self, reason: Any) -> None:
        if reason == "length":
            raise self.server.rejected(f"the answer was longer than {self.max_tokens} tokens", "raise max_tokens")
