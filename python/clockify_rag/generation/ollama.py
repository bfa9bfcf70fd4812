"""A model that Ollama serves, over its own protocol: one JSON object a line."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Generator as Generating
from typing import Any

from clockify_rag._http import Deadlines, ModelServer
from clockify_rag.generation.chat import ChatGenerator


class OllamaGenerator(ChatGenerator):
    """A model that Ollama serves, by ``/api/chat``.

    Args:
        model: as ``ollama list`` names it.
        url: the server; by default what ``OLLAMA_HOST`` says, else this machine.
        connect_seconds, first_token_seconds, between_tokens_seconds, total_seconds: deadlines.
        context_tokens: the context to ask for. Ollama cuts what does not fit silently, so it is never left to its
        default.
        **chat: ``secret``, ``maximum_words``, ``max_tokens`` and ``options`` of ``ChatGenerator``.
    """

    def __init__(
        self,
        model: str = "llama3.2",
        *,
        url: str | None = None,
        connect_seconds: float = 2.0,
        first_token_seconds: float = 60.0,
        between_tokens_seconds: float = 20.0,
        total_seconds: float = 300.0,
        context_tokens: int = 8192,
        **chat: Any,
    ) -> None:
        deadlines = Deadlines(
            connect=connect_seconds, first=first_token_seconds, between=between_tokens_seconds, total=total_seconds
        )
        super().__init__(ModelServer.ollama(url, deadlines=deadlines), model, **chat)
        self.context_tokens = context_tokens

    def _stream(self, messages: list[dict[str, str]]) -> Generating[str]:
        options: dict[str, Any] = {
            "seed": 0,
            "temperature": 0,
            "num_ctx": self.context_tokens,
            "num_predict": self.max_tokens,
            **self.options,
        }
        body = {
            "model": self.model,
            "messages": messages,
            "stream": True,
            "options": {name: value for name, value in options.items() if value is not None},
        }
        rejected = f"ollama pull {shlex.quote(self.model)}"
        with contextlib.closing(self.server.lines("/api/chat", body, rejected=rejected)) as lines:
            for line in lines:
                event = self._decoded(line)
                message = event.get("message")
                yield self._text(message.get("content") if isinstance(message, dict) else None)
                if event.get("done") is True:
                    self._ended(event.get("done_reason"))
                    return
        raise self.server.bad_response("ended its stream before it said that it was done")
