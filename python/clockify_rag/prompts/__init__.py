"""Prompts: text files, one for each purpose, in which variables are filled in.

``{name}`` is a variable; every other brace is text, so that a prompt can show JSON as it is. All variables are filled in one pass: what
one of them holds is never read as another. A prompt of the user's replaces the package's whole, and one that lacks a variable it needs,
or names one there is not, is refused before anything is asked.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from clockify_rag.errors import InvalidSetting

_VARIABLE = re.compile(r"\{([a-z_]+)\}")


class Variables(msgspec.Struct, frozen=True):
    """What can stand in a prompt."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


PURPOSES: Final[Mapping[str, Variables]] = {
    "answer": Variables(required=("mark",), optional=("words", "form")),
    "follow-up": Variables(),
    "hypothetical-answer": Variables(),
    "parts": Variables(),
    "rerank": Variables(optional=("count",)),
    "wordings": Variables(),
}
"""The purposes that a model is asked for, each with the variables of its prompt."""


class Prompt(msgspec.Struct, frozen=True):
    """A prompt whose variables are known to be right."""

    text: str

    def fill(self, **values: str) -> str:
        """Return the text with each variable replaced by its value, whatever that contains."""
        return _VARIABLE.sub(lambda match: values[match[1]], self.text)


def read(purpose: str, file: str | None = None) -> Prompt:
    """Return the prompt for a purpose.

    Args:
        purpose: a key of ``PURPOSES``.
        file: the user's prompt; by default the package's.

    Raises:
        InvalidSetting: the file cannot be read, lacks a variable or names one that there is not.
    """
    if file is None:
        return _shipped(purpose)
    try:
        text = Path(file).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is not UTF-8 at byte {error.start}"
        raise InvalidSetting(
            f"the prompt {file} cannot be read: {reason}", hint="name a text file", file=file, purpose=purpose
        ) from error
    variables = PURPOSES[purpose]
    named = set(_VARIABLE.findall(text))
    known = ", ".join(f"{{{name}}}" for name in (*variables.required, *variables.optional))
    if strange := sorted(named - {*variables.required, *variables.optional}):
        raise InvalidSetting(
            f"the prompt {file} names {{{strange[0]}}}, which is no variable of the prompt {purpose!r}",
            hint=f"there are: {known or 'none'}",
            file=file,
            purpose=purpose,
            variable=strange[0],
        )
    if missing := [name for name in variables.required if name not in named]:
        raise InvalidSetting(
            f"the prompt {file} lacks {{{missing[0]}}}, which the prompt {purpose!r} needs",
            hint=f"write {{{missing[0]}}} where it belongs; there are: {known}",
            file=file,
            purpose=purpose,
            variable=missing[0],
        )
    return Prompt(text)


@lru_cache(maxsize=16)
def _shipped(purpose: str) -> Prompt:
    return Prompt(shipped_text(purpose))


def shipped_text(name: str) -> str:
    """Return the text of a file ``name.txt`` beside this module, without the white space at its end."""
    return Path(__file__).with_name(f"{name}.txt").read_text("utf-8").rstrip()
