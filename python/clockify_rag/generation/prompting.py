"""What a chat model is shown: the rules, the passages between markers, the question.

Page text is data to the prompt: it stands between markers that carry an HMAC of generation, question and chunk ids. A
page's author cannot guess them, yet they are equal on every run, so answers at temperature 0 are too.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib.resources
import itertools
import json
from collections.abc import Sequence
from functools import lru_cache

from clockify_rag import passages
from clockify_rag.contracts import Context, Hit, Query


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


def prompt(query: Query, context: Context, code: str) -> str:
    """Return the user's part of the prompt: the passages between their markers, then the question.

    Args:
        query: what is asked.
        context: the passages.
        code: what ``mark`` returned for them.
    """
    parts = [
        f"<passage {number} {code}>\n{where(hit)}\n{text}\n</passage {number} {code}>\n"
        for number, (hit, text) in enumerate(zip(context.hits, context.texts, strict=True), 1)
    ]
    return "\n".join([*parts, f"Question: {query.question}"])


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
        found.append(text[body:position])
    raise AssertionError("unreachable")  # pragma: no cover


def where(hit: Hit) -> str:
    """Return the line above a passage: its page's title and the headings it stands under."""
    return " > ".join(" ".join(heading.split()) for heading in dict.fromkeys(passages.headings(hit)))


@lru_cache(maxsize=1)
def rules() -> str:
    """Return the system's part of the prompt, with its variables."""
    path = importlib.resources.files("clockify_rag").joinpath("prompts", "answer.txt")
    return path.read_text("utf-8")
