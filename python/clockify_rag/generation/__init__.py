"""Generators: an answer from a context, by the source's own sentences or by a model.

A generator is imported where it is first named, so that an answer in the documentation's own words loads no client of a model.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clockify_rag.generation.breaker import CircuitBreaker
    from clockify_rag.generation.chat import ChatGenerator
    from clockify_rag.generation.choosing import choose
    from clockify_rag.generation.extractive import ExtractiveGenerator
    from clockify_rag.generation.fallback import FallbackGenerator
    from clockify_rag.generation.llama import LlamaGenerator
    from clockify_rag.generation.ollama import OllamaGenerator
    from clockify_rag.generation.openai import OpenAIGenerator
    from clockify_rag.generation.prompting import mark, parse_prompt, prompt
    from clockify_rag.generation.refusals import REFUSALS, refusal_text
    from clockify_rag.generation.thinking import ThinkingFilter

_HOME = {
    "ChatGenerator": "chat",
    "CircuitBreaker": "breaker",
    "ExtractiveGenerator": "extractive",
    "FallbackGenerator": "fallback",
    "LlamaGenerator": "llama",
    "OllamaGenerator": "ollama",
    "OpenAIGenerator": "openai",
    "REFUSALS": "refusals",
    "ThinkingFilter": "thinking",
    "choose": "choosing",
    "mark": "prompting",
    "parse_prompt": "prompting",
    "prompt": "prompting",
    "refusal_text": "refusals",
}

__all__ = [
    "REFUSALS",
    "ChatGenerator",
    "CircuitBreaker",
    "ExtractiveGenerator",
    "FallbackGenerator",
    "LlamaGenerator",
    "OllamaGenerator",
    "OpenAIGenerator",
    "ThinkingFilter",
    "choose",
    "mark",
    "parse_prompt",
    "prompt",
    "refusal_text",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
