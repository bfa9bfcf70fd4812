"""Understanding questions: what a person typed, checked and cleaned, with its language and filters.

A question comes from terminals, web pages and other programs, so nothing in it is trusted to be text: terminal
sequences, control and invisible characters and halves of surrogate pairs are taken out before anything else sees it.
What is left must have one letter or digit; that it has only stop words is no error, since the index may still know
them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from clockify_rag import _core
from clockify_rag.contracts import MAXIMUM_QUESTION_CHARACTERS, Query, Step, Turn
from clockify_rag.errors import EmptyQuery, QueryError, QueryTooLong

FILTER_FIELDS = ("source", "language", "kind", "tags", "version")
"""What can be filtered on."""

_TERMINAL_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
_KEYCAP = re.compile("[0-9#*]\ufe0f?\u20e3")
_JOINERS = "\u200c\u200d"


class PlainUnderstander:
    """Searches what was asked, word for word (understander ``plain``).

    Args:
        default_language: the ISO 639-1 code of the language of questions that do not tell theirs.
    """

    def __init__(self, default_language: str = "en") -> None:
        self.default_language = default_language

    def understand(
        self,
        question: str,
        *,
        filters: Mapping[str, Sequence[str]] | None = None,
        history: Sequence[Turn] = (),  # noqa: ARG002 - the Protocol's
    ) -> Query:
        """Return the query for ``question``.

        Args:
            question: at most 2,000 characters, of which one is a letter or digit.
            filters: for each field the values of which a document must have one.
            history: not used: each question stands for itself.

        Raises:
            EmptyQuery: there is nothing to search for in the question.
            QueryTooLong: it has too many characters.
            QueryError: a filter names no field or has no value.
        """
        asked = question.strip()
        check_length(asked)
        text = clean(asked)
        check_words(text)
        language = _core.detect_language(text, self.default_language)
        return Query(
            question=without_surrogates(question),
            text=text,
            language=language,
            filters=checked_filters(filters or {}),
            steps=(Step(stage="understand", name="plain", details={"language": language}),),
        )


def check_length(question: str) -> None:
    """Raise ``QueryTooLong`` for more than ``MAXIMUM_QUESTION_CHARACTERS``."""
    if len(question) > MAXIMUM_QUESTION_CHARACTERS:
        raise QueryTooLong(
            f"the question has {len(question):,} characters, more than the {MAXIMUM_QUESTION_CHARACTERS:,} allowed",
            hint="ask for one thing in a sentence or two",
            characters=len(question),
            maximum=MAXIMUM_QUESTION_CHARACTERS,
        )


def check_words(text: str) -> None:
    """Raise ``EmptyQuery`` where ``text`` has no letter and no digit."""
    if not _has_words(text):
        raise EmptyQuery("the question has no letter or digit to search for", hint="ask in words")


def clean(text: str) -> str:
    """Return ``text`` in NFC, in one line, without terminal sequences and without characters that are not shown."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    text = _TERMINAL_SEQUENCE.sub(" ", without_surrogates(text))
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return " ".join("".join(map(_shown, text)).split())


def _shown(character: str) -> str:
    """A character as it is searched: a space for a control character, nothing for one that only formats."""
    if character.isprintable() or character in _JOINERS:
        return character
    return "" if unicodedata.category(character) == "Cf" else " "


def without_surrogates(text: str) -> str:
    """Return the text with the halves of surrogate pairs, which no encoding can write, replaced."""
    return text if text.isascii() else re.sub("[\ud800-\udfff]", "\ufffd", text)


def _has_words(text: str) -> bool:
    if text.isascii():
        return any(map(str.isalnum, text))
    return any(unicodedata.category(character)[0] in "LN" for character in _KEYCAP.sub("", text))


def checked_filters(filters: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Return the values of each filter, each once; raises ``QueryError`` for a field or a value that cannot be."""
    return {field: _values(field, given) for field, given in filters.items() if _is_field(field)}


def _is_field(field: str) -> bool:
    if field in FILTER_FIELDS:
        return True
    import difflib

    near = difflib.get_close_matches(field, FILTER_FIELDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"filter on {', '.join(FILTER_FIELDS)}"
    raise QueryError(f"there is no field {field} to filter on", hint=hint, field=field)


def _values(field: str, given: Sequence[str]) -> tuple[str, ...]:
    """The values of one filter, each once. A lone string is one value and not its letters."""
    values: tuple[object, ...] = (given,) if isinstance(given, str) else tuple(given)
    written: dict[str, None] = {}
    for value in values:
        text = clean(value) if isinstance(value, str) else ""
        if not text:
            raise QueryError(
                f"the filter on {field} has the value {value!r}, which is no text",
                hint=f"such as {field}=VALUE",
                field=field,
            )
        written[text.lower() if field == "language" else text] = None
    if not written:
        raise QueryError(f"the filter on {field} has no value", hint=f"such as {field}=VALUE", field=field)
    return tuple(written)
