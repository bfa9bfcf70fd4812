"""A model that Ollama serves, over its own protocol: one JSON object a line."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Generator as Generating
from typing import Any

from clockify_rag._http import Deadlines, ModelServer
from clockify_rag.generation.chat import Messages
from clockify_rag.generation.served import ServedGenerator


class OllamaGenerator(ServedGenerator):
    """A model that Ollama serves, by ``/api/chat``.

    Args:
        model: as ``ollama list`` names it.
        url: the server; by default what ``OLLAMA_HOST`` says, else this machine.
        connect_seconds, first_token_seconds, between_tokens_seconds, total_seconds: deadlines.
        context_tokens: the context to ask for. Ollama cuts what does not fit silently, so it is never left to its
            default.
        keep_alive: how long Ollama keeps the model in memory afterwards, as ``"10m"`` or in seconds; by default as it is set
            there.
        think: whether a model that can is to think first, or how much; by default as it is set there.
        **chat: the further arguments of ``ChatGenerator``.
    """

    component = "ollama"

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
        keep_alive: str | float | None = None,
        think: bool | str | None = None,
        **chat: Any,
    ) -> None:
        deadlines = Deadlines(
            connect=connect_seconds, first=first_token_seconds, between=between_tokens_seconds, total=total_seconds
        )
        server = ModelServer.ollama(url, deadlines=deadlines)
        super().__init__(lambda: server, model, **chat)
        self.context_tokens = context_tokens
        self.keep_alive = keep_alive
        self.think = think

    def _ask(self, messages: Messages, maximum_tokens: int, deadlines: Deadlines | None) -> Generating[tuple[str, str]]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "stream": True,
            "options": self._options(num_ctx=self.context_tokens, num_predict=maximum_tokens),
        }
        given = {"keep_alive": self.keep_alive, "think": self.think}
        body |= {name: value for name, value in given.items() if value is not None}
        missing = f"ollama pull {shlex.quote(self.model)}"
        with contextlib.closing(self.server.lines("/api/chat", body, rejected=missing, deadlines=deadlines)) as lines:
            for line in lines:
                event = self._decoded(line)
                message = event.get("message")
                text = self._text(message.get("content") if isinstance(message, dict) else None)
                done = event.get("done") is True
                yield text, str(event.get("done_reason") or "stop") if done else ""
                if done:
                    return
        raise self.server.bad_response("ended its stream before it said that it was done")
