"""The glossary: what a product's words are also called, and the words that a question gains by it.

An alias in a question adds the term that it stands for, because the pages say the term; a term adds no alias. Synonyms at full weight
lowered MRR on 32 real questions from .671 to .550: so an expansion is searched by words only, for at most a fifth, and is no
evidence that anything answers, unless no page has a word of what was typed. A term is found in a question as whole words, in any case, singular or plural, written apart, joined or with a hyphen; the longest term wins, and none is found inside
another word. Which is also why a term's own other spellings are among its variants: ``time sheet`` should find ``timesheet``.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec

from clockify_rag import _core, sentences
from clockify_rag.contracts import MAXIMUM_QUESTION_CHARACTERS, Expansion, Query, Step
from clockify_rag.errors import GlossaryInvalid

MAXIMUM_VARIANTS: Final = 5
"""Expansions of one question."""

MAXIMUM_WORDS: Final = 8
"""Words of a term at most; a longer heading is none."""

_APART: Final = 5
"""Letters from which on a term of one word is also found where it is written apart."""

COLUMNS: Final = ("term", "aliases", "definition")
"""The columns of a glossary in CSV."""

_ALIASES: Final = re.compile(
    r"(?:aliases|also called|also known as|synonyms?|auch|aussi)\s?:\s{0,5}(.{1,500})", re.IGNORECASE
)
_IN_BRACKETS: Final = re.compile(r"([^()]{1,200}?)\s{0,5}\(([^()]{1,100})\)\s*$")
_BETWEEN_ALIASES: Final = re.compile(r"[;|,]")


class Entry(msgspec.Struct, frozen=True):
    """A term of the glossary."""

    term: str
    aliases: tuple[str, ...] = ()
    definition: str = ""


class Match(msgspec.Struct, frozen=True):
    """A term as it stands in a question."""

    entry: Entry
    words: tuple[str, ...]
    """Folded, as they stand there."""
    typed: str = ""
    """As they stand there; empty where that cannot be told."""


class Glossary:
    """Terms, found by any of their forms.

    Args:
        entries: the terms; those of one name are one term, with the aliases of all.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = tuple(_united(entries))
        self._by_key: dict[str, list[int]] = {}
        self._single: set[str] = set()
        # A joined word may be written apart.
        self._longest = 2
        for number, entry in enumerate(self.entries):
            for form in (entry.term, *entry.aliases):
                words = sentences.words(form)
                if not 0 < len(words) <= MAXIMUM_WORDS:
                    continue
                key = spelling_key(words)
                known = self._by_key.setdefault(key, [])
                if number not in known:
                    known.append(number)
                if len(words) == 1:
                    self._single.add(key)
                self._longest = max(self._longest, len(words))

    def matches(self, question: str) -> list[Match]:
        """Return the terms that stand in ``question``, in order, the longest at each place."""
        words, places = sentences.words(question), sentences.places(question)
        found: list[Match] = []
        at = 0
        while at < len(words):
            length, entries = self._longest_at(words, at)
            if entries:
                typed = question[places[at][0] : places[at + length - 1][1]] if places else ""
                found += [Match(self.entries[number], tuple(words[at : at + length]), typed) for number in entries]
            at += length or 1
        return found

    def _longest_at(self, words: Sequence[str], at: int) -> tuple[int, Sequence[int]]:
        for length in range(min(self._longest, len(words) - at), 0, -1):
            key = spelling_key(words[at : at + length])
            numbers = self._by_key.get(key)
            if numbers and (length == 1 or len(key) >= _APART or key not in self._single):
                return length, numbers
        return 0, ()

    def expansions(self, question: str, language: str, weight: float) -> tuple[Expansion, ...]:
        """Return what else is searched for: other names of the terms in ``question``, at most ``MAXIMUM_VARIANTS``.

        A variant whose words the question has already is none.

        Args:
            question: cleaned.
            language: in which its words are analysed.
            weight: of each word of an expansion.
        """
        matches = self.matches(question)
        if not matches or weight <= 0:
            return ()
        known = set(_core.question_terms(question, language))
        chosen: list[Expansion] = []
        aliases = {match.entry.term: match.typed for match in reversed(matches)}
        for variant in dict.fromkeys(variant for match in matches for variant in _variants(match)):
            terms = set(_core.question_terms(variant, language))
            if len(chosen) < MAXIMUM_VARIANTS and terms - known:
                chosen.append(Expansion(variant, weight, aliases.get(variant, "")))
                known |= terms
        return tuple(chosen)


def with_terms(query: Query, is_known: Callable[[str], bool]) -> Query:
    """Return ``query`` with the term in place of each alias that is not known.

    Nothing can be found or proved by words that stand nowhere, so the term is what is asked: it is evidence, as any word that was
    typed. An alias that is known may mean something else, and its term only ranks.

    Args:
        query: with expansions.
        is_known: whether the documentation has a word of an alias.
    """
    named = {one.alias: one.text for one in query.expansions if one.alias and not is_known(one.alias)}
    if not named:
        return query
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(named, key=len, reverse=True)))})(?!\w)")

    def read(text: str) -> str:
        return pattern.sub(lambda match: named[match[0]], text)

    text = read(query.text)
    if len(text) > MAXIMUM_QUESTION_CHARACTERS:
        return query
    terms = _core.question_terms(text, query.language)
    step = Step(stage="understand", name="alias", details={"read_as": named, "text": text, "terms": terms})
    return msgspec.structs.replace(
        query,
        text=text,
        alternatives=tuple(map(read, query.alternatives)),
        parts=tuple(map(read, query.parts)),
        expansions=tuple(one for one in query.expansions if named.get(one.alias) != one.text),
        steps=(*query.steps, step),
    )


def _united(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Entries of one name as one: all aliases, the first definition."""
    united: dict[str, Entry] = {}
    for entry in entries:
        key = " ".join(entry.term.casefold().split())
        first = united.get(key)
        if first is None:
            united[key] = entry
        else:
            aliases = tuple(dict.fromkeys((*first.aliases, *entry.aliases)))
            united[key] = Entry(first.term, aliases, first.definition or entry.definition)
    return iter(united.values())


def spelling_key(words: Sequence[str]) -> str:
    """Return what all spellings of a term have in common: its folded words joined, each in the singular."""
    return _singular(words[0]) if len(words) == 1 else "".join(map(_singular, words))


def _singular(word: str) -> str:
    """An English word without its plural ending; another language's loses an ending that its own forms lose too."""
    if len(word) > 4 and word.endswith("ies"):  # noqa: PLR2004 - `ties` is of `tie`
        return f"{word[:-3]}y"
    if len(word) > 4 and word.endswith(("sses", "xes", "ches", "shes", "zes")):  # noqa: PLR2004 - as above
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):  # noqa: PLR2004 - `gas`
        return word[:-1]
    return word


def _variants(match: Match) -> Iterator[str]:
    """The term where another name of it stands in the question, and other spellings of what stands there.

    Aliases are what people say, the term is what the pages say: for a question that has the term, its aliases are only noise.
    """
    yield match.entry.term
    for form in (match.entry.term, *match.entry.aliases):
        words = sentences.words(form)
        if len(words) == 2 and spelling_key(words) == spelling_key(match.words):  # noqa: PLR2004 - two words are joined, or have a hyphen
            yield "".join(words)
            yield " ".join(words)


# Reading.


def read_glossary(path: str | Path) -> Glossary:
    """Return the glossary in a file: Markdown with a heading for each term, or CSV with ``term``, ``aliases``, ``definition``.

    Raises:
        GlossaryInvalid: it cannot be read, a line is broken or has no term, or there is no term at all.
    """
    file = Path(path)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise _invalid(file, f"cannot be read: {error.strerror}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise _invalid(file, f"line {line} is not UTF-8: byte 0x{content[error.start]:02x}", line=line) from error
    entries = list(_from_csv(file, text) if file.suffix.lower() == ".csv" else _from_markdown(text))
    if not entries:
        hint = (
            "the first line is term,aliases,definition" if file.suffix.lower() == ".csv" else "a heading for each term"
        )
        raise _invalid(file, "has no term", hint=hint)
    return Glossary(entries)


def _from_csv(file: Path, text: str) -> Iterator[Entry]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        head = [name.strip().lower() for name in next(reader, [])]
        unknown = [name for name in head if name not in COLUMNS]
        if "term" not in head or unknown or len(set(head)) < len(head):
            raise _invalid(
                file, f"line 1 is {','.join(head) or 'empty'}", line=1, hint="it must be term,aliases,definition"
            )
        for row in reader:
            line = reader.line_num
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(head):
                raise _invalid(
                    file,
                    f"line {line} has {len(row)} fields, and the first line names {len(head)}",
                    line=line,
                    hint='put a field with commas between quotation marks: "a, b"',
                )
            fields = dict(zip(head, map(str.strip, row), strict=True))
            if not _has_word(fields["term"]):
                raise _invalid(file, f"line {line} has no term", line=line, hint="remove the line, or name its term")
            yield Entry(fields["term"], _split(fields.get("aliases", "")), fields.get("definition", ""))
    except csv.Error as error:
        line = max(reader.line_num, 1)
        raise _invalid(
            file, f"line {line} is not CSV: {error}", line=line, hint='write " as "" within a field'
        ) from error


def _split(aliases: str) -> tuple[str, ...]:
    found = (part.strip() for part in _BETWEEN_ALIASES.split(aliases))
    return tuple(dict.fromkeys(alias for alias in found if _has_word(alias)))


def _has_word(text: str) -> bool:
    return any(map(str.isalnum, text))


def _from_markdown(text: str) -> Iterator[Entry]:
    """The headings of the level that most have text under them and no heading below."""
    (page,) = _core.parse("markdown", [text.encode()])
    if not isinstance(page, _core.Page):
        return
    blocks = list(page.blocks)
    headings = [row for row, block in enumerate(blocks) if block.kind == "heading"]
    leaves = []
    for row, following in pairwise([*headings, len(blocks)]):
        is_last = following == len(blocks) or blocks[following].level <= blocks[row].level
        if is_last and following > row + 1:
            leaves.append((row, following))
    levels = [blocks[row].level for row, _ in leaves]
    level = max(set(levels), key=lambda one: (levels.count(one), one), default=0)
    for row, following in leaves:
        if blocks[row].level == level:
            body = page.text[blocks[row + 1].span[0] : blocks[following - 1].span[1]]
            yield from _of_heading(page.text[slice(*blocks[row].span)], body)


def _of_heading(heading: str, body: str) -> Iterator[Entry]:
    """A term with the aliases that its heading has in brackets, and those of a line that begins with ``Aliases:``."""
    name = heading.strip()
    aliases: tuple[str, ...] = ()
    if brackets := _IN_BRACKETS.match(name):
        name, aliases = brackets[1].strip(), _split(brackets[2])
    lines = body.splitlines()
    for line in lines:
        if found := _ALIASES.match(line):
            aliases = (*aliases, *_split(found[1].rstrip(".")))
    definition = " ".join(line for line in lines if not _ALIASES.match(line))
    if _has_word(name):
        yield Entry(name, tuple(dict.fromkeys(aliases)), definition)


def _invalid(file: Path, reason: str, *, line: int | None = None, hint: str = "") -> GlossaryInvalid:
    fields: Mapping[str, Any] = {} if line is None else {"line": line}
    return GlossaryInvalid(f"the glossary {file} {reason}", hint=hint, file=str(file), **fields)
