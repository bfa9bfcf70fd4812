"""A chat model behind a server: what the protocols that are spoken have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from clockify_rag._http import ModelServer, error_text
from clockify_rag.errors import BackendBadResponse
from clockify_rag.generation.chat import ChatGenerator


class ServedGenerator(ChatGenerator):
    """A model that a server runs.

    Args:
        serve: returns the server, which it may have to start.
        model: the model's name.
        **chat: the arguments of ``ChatGenerator``.
    """

    def __init__(self, serve: Callable[[], ModelServer], model: str, **chat: Any) -> None:
        self._serve = serve
        super().__init__(model, **chat)

    @property
    def server(self) -> ModelServer:
        """Where the model is."""
        return self._serve()

    @property
    def described(self) -> str:
        """How messages begin that speak of it."""
        return self.server.described

    @property
    def sent_to(self) -> tuple[str, ...]:
        """The server's host, unless it is this machine."""
        return self.server.sent_to

    def _options(self, **defaults: Any) -> dict[str, Any]:
        """Return the fields of the request that are not left out, those of the user's ``options`` before the defaults."""
        options = {"seed": 0, "temperature": 0, **defaults, **self.options}
        return {name: value for name, value in options.items() if value is not None}

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

    def _bad_response(self, what: str) -> BackendBadResponse:
        return self.server.bad_response(what)
