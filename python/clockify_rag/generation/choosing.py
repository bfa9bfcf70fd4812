"""Which generator answers: the one that is named, made from the settings, with those that stand in for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from clockify_rag import plugins
from clockify_rag.config import GenerationSettings
from clockify_rag.contracts import Generator
from clockify_rag.generation.fallback import FallbackGenerator


def choose(table: GenerationSettings, name: str, secret: Callable[[], bytes | None]) -> Generator:
    """Return the generator ``name``; where it is the one configured, with its fallbacks behind it.

    Args:
        table: the settings.
        name: of a component.
        secret: returns that of the prompt's markers; called for generators that are shown a prompt.

    Raises:
        PluginError, InvalidSetting: as ``plugins.create``.
    """
    first = _made(table, name, None, secret)
    if name != table.generator or not table.fallbacks:
        return first
    others = [(typed, _made(table, *_split(typed), secret)) for typed in table.fallbacks]
    return FallbackGenerator([("", first), *others])


def _split(typed: str) -> tuple[str, str | None]:
    name, _, model = typed.partition(":")
    return name, model or None


def _made(table: GenerationSettings, name: str, model: str | None, secret: Callable[[], bytes | None]) -> Generator:
    given: dict[str, Any] = {}
    mine = name == table.generator
    if name != "extractive":
        from clockify_rag.generation.breaker import CircuitBreaker

        given = {
            # Another generator's address is not this one's: it would get the pages and the key.
            "model": model or (table.model if mine else None),
            "url": table.url if mine else None,
            "connect_seconds": table.connect_seconds,
            "first_token_seconds": table.first_token_seconds,
            "between_tokens_seconds": table.between_tokens_seconds,
            "total_seconds": table.total_seconds,
            "prompt": table.prompt,
            "breaker": CircuitBreaker(
                f"The generator {name!r}", failures=table.pause_after_failures, seconds=table.pause_seconds
            ),
            "secret": secret(),
        }
        given = {key: value for key, value in given.items() if value is not None}
        if name == "llama":
            given.pop("url", None)
    generator: Generator = plugins.create("generators", name, table.arguments if mine else {}, **given)
    return generator
