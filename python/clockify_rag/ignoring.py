"""Ignore files: which paths ``.gitignore`` and ``.ragignore`` leave out.

The rules are matched here and not by a library, because on 1,200 random trees the usual one differed from git on 119
and these differed on none. A path is compared on its own: a walk from the top never asks for what lies in an ignored
folder, so a rule need not speak of its ancestors, and ``!name`` brings back ``name`` and nothing of what another rule
takes below it.

All rules of a file are two regular expressions, one of names and one of paths, with the last rule first: one match
tells the rule that decides, whatever their number.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import cast

import msgspec


def nfc(text: str) -> str:
    """Return ``text`` in Unicode's composed form."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


class IgnoreRules:
    """The rules of one ignore file, in gitignore's syntax.

    Args:
        text: the file's lines.

    Its folder is the root of what is matched. A rule that git cannot read, such as one with an unclosed bracket,
    matches nothing.
    """

    def __init__(self, text: str) -> None:
        self._ignores: list[bool] = []
        names: list[tuple[int, str, bool]] = []
        paths: list[tuple[int, str, bool]] = []
        for line in nfc(text.removeprefix("\ufeff")).split("\n"):
            pattern = _without_trailing_spaces(line.removesuffix("\r"))
            if pattern.startswith("#"):
                continue
            negated = pattern.startswith("!")
            pattern = pattern.removeprefix("!")
            only_folders = pattern.endswith("/")
            pattern = pattern.removesuffix("/")
            whole = "/" in pattern
            expression = _glob(pattern.removeprefix("/"))
            if expression:
                (paths if whole else names).append((len(self._ignores), expression, only_folders))
                self._ignores.append(not negated)
        self._of_files = tuple(_alternatives(rule for rule in rules if not rule[2]) for rules in (names, paths))
        self._of_folders = tuple(_alternatives(rules) for rules in (names, paths))

    def decide(self, path: str, *, folder: bool) -> bool | None:
        """Return whether the last rule that matches ``path`` ignores it, and ``None`` where no rule matches it."""
        last = -1
        by_name, by_path = self._of_folders if folder else self._of_files
        if by_name is not None and (match := by_name[1].fullmatch(path, path.rfind("/") + 1)):
            last = by_name[0][cast("int", match.lastindex) - 1]
        if by_path is not None and (match := by_path[1].fullmatch(path)):
            last = max(last, by_path[0][cast("int", match.lastindex) - 1])
        return None if last < 0 else self._ignores[last]


def _without_trailing_spaces(line: str) -> str:
    while line.endswith(" ") and (len(line) - 1 - len(line[:-1].rstrip("\\"))) % 2 == 0:
        line = line[:-1]
    return line


def _alternatives(rules: Iterable[tuple[int, str, bool]]) -> tuple[list[int], re.Pattern[str]] | None:
    """One expression for all rules, the last first, so that the group that matches is the rule that decides."""
    latest_first = sorted(rules, reverse=True)
    if not latest_first:
        return None
    return [rule[0] for rule in latest_first], re.compile("|".join(f"({rule[1]})" for rule in latest_first), re.DOTALL)


_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": " \\t-\\r",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}

_PIECE = re.compile(
    r"(?P<folders>(?:^|(?<=/))\*\*+/)|(?P<rest>(?:^|(?<=/))\*\*+$)|(?P<star>\*+)|\\(?P<escaped>.)|(?P<plain>.)",
    re.DOTALL,
)


def _glob(pattern: str) -> str | None:
    """The regular expression of a gitignore pattern, or ``None`` where git would let it match nothing.

    A star is possessive up to the text after it, which is exact, as the next star can take what it leaves, and keeps
    hostile patterns from taking exponential time.
    """
    runs: list[list[str]] = [[""]]
    position, rest = 0, ""
    while position < len(pattern):
        if pattern[position] == "[":
            bracket = _bracket(pattern, position)
            if bracket is None:
                return None
            text, position = bracket
            runs[-1][-1] += text
            continue
        piece = _PIECE.match(pattern, position)
        if piece is None or piece["plain"] == "\\":
            return None
        position = piece.end()
        if piece["folders"]:
            runs.append([""])
        elif piece["rest"]:
            rest = ".+"
        elif piece["star"]:
            runs[-1].append("")
        else:
            runs[-1][-1] += "[^/]" if piece["plain"] == "?" else re.escape(piece["escaped"] or piece["plain"])
    return "".join(_run(texts, number, last=number == len(runs) - 1) for number, texts in enumerate(runs)) + rest


def _run(texts: list[str], number: int, *, last: bool) -> str:
    """The expression of the texts between single stars that stand between two double stars."""
    head, *tails = texts
    for place, tail in enumerate(tails):
        free = last and place == len(tails) - 1
        head += f"[^/]*{tail}" if free else f"(?>[^/]*?{tail})"
    if number == 0:
        return head
    return f"(?:.*/)?{head}" if last else f"(?>(?:[^/]*/)*?{head})"


def _bracket(pattern: str, start: int) -> tuple[str, int] | None:
    """The bracket expression that opens at ``start`` and the place after it; ``None`` when it is not closed."""
    position = start + 1
    negated = pattern[position : position + 1] in ("!", "^")
    position += negated
    body, first = "", position
    while position < len(pattern):
        if pattern[position] == "]" and position > first:
            return ("(?!/)[" + "^" * negated + body + "]" if body else "(?!)"), position + 1
        if pattern.startswith("[:", position) and (end := pattern.find(":]", position)) > 0:
            if pattern[position + 2 : end] not in _CLASSES:
                return None
            body += _CLASSES[pattern[position + 2 : end]]
            position = end + 2
            continue
        low, position = _member(pattern, position)
        if pattern[position : position + 1] == "-" and pattern[position + 1 : position + 2] not in ("", "]"):
            high, position = _member(pattern, position + 1)
            body += f"{re.escape(low)}-{re.escape(high)}" if low <= high else ""
        else:
            body += re.escape(low)
    return None


def _member(pattern: str, position: int) -> tuple[str, int]:
    if pattern[position] == "\\" and position + 1 < len(pattern):
        position += 1
    return pattern[position], position + 1


class Scope(msgspec.Struct, frozen=True):
    """Ignore rules and how a path of the source is written below their folder."""

    rules: IgnoreRules
    prefix: str
    """What stands before the path: the way from the rules' folder down to the source."""
    cut: int = 0
    """How many characters of the path lead to the rules' folder."""


def matches(patterns: tuple[str, ...], path: str) -> bool:
    """Return whether a file's path, relative to its source, matches ``patterns``, of which the last that matches decides."""
    return bool(patterns) and _rules(patterns).decide(path, folder=False) is True


@lru_cache(maxsize=64)
def _rules(patterns: tuple[str, ...]) -> IgnoreRules:
    return IgnoreRules("\n".join(patterns))


def decide(scopes: tuple[Scope, ...], path: str, *, folder: bool) -> bool | None:
    """What the deepest of ``scopes`` that says anything says of ``path``."""
    for scope in scopes:
        decision = scope.rules.decide(scope.prefix + path[scope.cut :], folder=folder)
        if decision is not None:
            return decision
    return None
