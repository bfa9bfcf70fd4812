"""Models behind OpenAI's protocol, which many servers speak: server-sent events."""

from __future__ import annotations

import contextlib
from collections.abc import Generator as Generating
from typing import Any

from clockify_rag._http import Deadlines, ModelServer
from clockify_rag.generation.chat import Messages
from clockify_rag.generation.served import ServedGenerator


class ChatCompletionsGenerator(ServedGenerator):
    """What all generators share that are asked by ``/chat/completions``."""

    missing_model = "check the name of the model"
    """What can be done where the server has no such model."""

    def _ask(self, messages: Messages, maximum_tokens: int, deadlines: Deadlines | None) -> Generating[tuple[str, str]]:
        body = {
            "model": self.model,
            "messages": messages,
            "stream": True,
            **self._options(max_tokens=maximum_tokens),
        }
        finished = ""
        lines = self.server.lines("/chat/completions", body, rejected=self.missing_model, deadlines=deadlines)
        with contextlib.closing(lines):
            for line in lines:
                if line.startswith((b"event:", b"id:", b"retry:")):
                    continue
                data = line.removeprefix(b"data:").strip()
                if data == b"[DONE]":
                    finished = finished or "stop"
                    break
                choices = self._decoded(data).get("choices")
                choice = choices[0] if isinstance(choices, list) and choices else None
                if isinstance(choice, dict):
                    delta = choice.get("delta")
                    finished = str(choice.get("finish_reason") or finished)
                    yield self._text(delta.get("content") if isinstance(delta, dict) else None), finished
        if not finished:
            raise self.server.bad_response("ended its stream before it said that it was done")


class OpenAIGenerator(ChatCompletionsGenerator):
    """A model behind ``/v1/chat/completions`` of OpenAI or of any compatible server.

    Args:
        model: the model's name.
        url: the server's base with ``/v1``; by default OpenAI's.
        api_key: by default what ``OPENAI_API_KEY`` says.
        connect_seconds, first_token_seconds, between_tokens_seconds, total_seconds: deadlines.
        **chat: the further arguments of ``ChatGenerator``.
    """

    component = "openai"

    def __init__(
        self,
        model: str = "gpt-4o-mini",
        *,
        url: str | None = None,
        api_key: str | None = None,
        connect_seconds: float = 2.0,
        first_token_seconds: float = 60.0,
        between_tokens_seconds: float = 20.0,
        total_seconds: float = 300.0,
        **chat: Any,
    ) -> None:
        deadlines = Deadlines(
            connect=connect_seconds, first=first_token_seconds, between=between_tokens_seconds, total=total_seconds
        )
        server = ModelServer.openai(url, api_key=api_key, deadlines=deadlines)
        super().__init__(lambda: server, model, **chat)
