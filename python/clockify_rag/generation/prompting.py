"""What a chat model is shown: the rules, the passages between markers, the question.

Page text is data to the prompt: it stands between markers that carry an HMAC of generation, question and chunk ids. A
page's author cannot guess them, yet they are equal on every run, so answers at temperature 0 are too.

The tokens by which servers tell who speaks (``<|im_end|>``, ``[INST]`` and their like) are tokens to them wherever they stand, also
in a page. So an invisible character is put into each, and taken out again by ``parse_prompt``: the model reads a page that says so,
and no page speaks for the rules.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from clockify_rag import passages, prompts
from clockify_rag.contracts import Context, Hit, Query, digest

_WORD_JOINER = "\u2060"
_ROLE_TOKEN = re.compile(
    r"<(?=[|\uff5c]"
    r"|/?(?:s|bos|eos|pad|unk|mask|think|thinking|start_of_turn|end_of_turn|start_of_image|tool_call|tool_response|tools)>"
    r"|</?SYS>>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|ARGS|CALL_ID|IMG|THINK)\])"
)
_LAYOUT: Final = "passages-3"
"""Changes whenever ``prompt`` puts the same passages down in another way."""

FORMS: Final = ("how-to", "troubleshooting", "definition", "comparison", "limits", "yes-no")
"""The kinds of questions that have a wording of their own for what the answer is to look like."""

_PARTS: Final = "parts"


def mark(secret: bytes, generation: int, question: str, chunk_ids: Sequence[str], texts: Sequence[str] = ()) -> str:
    """Return the code of a prompt's markers: 16 hexadecimal digits that no one without ``secret`` can foresee.

    Args:
        secret: known to the owner of the index only.
        generation: of the index.
        question: as it was asked.
        chunk_ids: of the passages, in order.
        texts: what the code must not occur in.
    """
    for attempt in itertools.count():
        message = json.dumps([generation, question, list(chunk_ids), attempt]).encode()
        code = hmac.new(secret, message, hashlib.sha256).hexdigest()[:16]
        if not any(code in text for text in texts):
            return code
    raise AssertionError("unreachable")  # pragma: no cover


def without_role_tokens(text: str) -> str:
    """Return ``text`` with an invisible character in each token by which a server tells who speaks.

    ``with_role_tokens`` undoes it exactly: a character of that kind which the text has itself is doubled.
    """
    return _ROLE_TOKEN.sub(lambda match: match[0] + _WORD_JOINER, text.replace(_WORD_JOINER, _WORD_JOINER * 2))


def with_role_tokens(text: str) -> str:
    """Return what ``without_role_tokens`` was given."""
    return re.sub(f"{_WORD_JOINER}({_WORD_JOINER}?)", r"\1", text)


def prompt(query: Query, context: Context, code: str) -> str:
    """Return the user's part of the prompt: the passages between their markers, then the question, and what it was taken apart into.

    Args:
        query: what is asked.
        context: the passages.
        code: what ``mark`` returned for them.
    """
    parts = [
        f"<passage {number} {code}>\n{without_role_tokens(where(hit))}\n{without_role_tokens(text)}\n</passage {number} {code}>\n"
        for number, (hit, text) in enumerate(zip(context.hits, context.texts, strict=True), 1)
    ]
    asked = [f"Question: {without_role_tokens(query.text)}"]
    if query.parts:
        asked += ["Parts:", *(f"{number}. {without_role_tokens(part)}" for number, part in enumerate(query.parts, 1))]
    return "\n".join([*parts, *asked])


def parse_prompt(text: str, code: str) -> list[str]:
    """Return the passages of a prompt that ``prompt`` made with ``code``, exactly as they were given."""
    found: list[str] = []
    position = 0
    for number in itertools.count(1):
        opening = f"<passage {number} {code}>\n"
        start = text.find(opening, position)
        if start < 0:
            return found
        body = text.index("\n", start + len(opening)) + 1
        position = text.index(f"\n</passage {number} {code}>\n", body)
        found.append(with_role_tokens(text[body:position]))
    raise AssertionError("unreachable")  # pragma: no cover


def where(hit: Hit) -> str:
    """Return the line above a passage: its page's title and the headings it stands under."""
    return " > ".join(" ".join(heading.split()) for heading in dict.fromkeys(passages.headings(hit)))


def form(query: Query) -> str:
    """Return the rule of what the answer to ``query`` is to look like: part by part, or as its kind says; empty for other kinds."""
    if query.parts:
        return f"\n{_form(_PARTS)}"
    return f"\n{_form(query.kind)}" if query.kind in FORMS else ""


@lru_cache(maxsize=len(FORMS) + 1)
def _form(name: str) -> str:
    return prompts.shipped_text(f"form-{name}")


def version(rules: prompts.Prompt) -> str:
    """Return 32 hexadecimal digits that change whenever another prompt would be made of the same question and passages."""
    return digest("prompt", _LAYOUT, rules.text, _ROLE_TOKEN.pattern, *map(_form, (*FORMS, _PARTS)))
