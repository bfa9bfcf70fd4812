"""Claims: the sentences of a draft, and whether the passages that they cite say them.

A sentence is supported where all its facts stand in the passages (the core compares numbers, units, identifiers, names and negations)
and the rest of its words is there to a degree that was calibrated: ``benches/grounding.py`` fits the probability on sentences of
documentation, as they stand and made into others, and on questions that were asked in several wordings; ``docs/verification.md`` has
its figures. A sentence without a marker rests on the next marker of its paragraph or list, or else on the one before.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from clockify_rag import sentences
from clockify_rag.contracts import Span, Verdict

T = TypeVar("T")

BAR = 0.5
"""The support from which a sentence counts as said by its passages."""

WITH_VECTORS = (-4.055, 5.353, 1.049)
"""Constant, and coefficients of window and cosine, of the logistic regression that ``benches/grounding.py`` fits."""

BY_WORDS = (-3.774, 5.868)
"""The same without the cosine."""

_LIST = re.compile(r"^\s*(?:(?:\d{1,3}|[a-z])[.)]|[-*•#>]+)\s*")
_DIGIT = re.compile(r"\d")
_WORDS = 3
_ADMISSION = re.compile(
    r"\b(?:documentation|passages?|sources?|context|pages?|text|articles?|information|documents?)\b.{0,60}"
    r"\b(?:not|no|n't|doesn|don|isn|aren|cannot|never)\b"
    r"|\b(?:not|no|isn't|cannot|n't|doesn't)\b.{0,60}\b(?:documentation|passages?|sources?|context|documents?|mentioned|specified|stated|described|covered)\b"
    r"|\bi (?:do not|don't|cannot|can't) (?:know|find|tell|answer)\b"
    r"|\b(?:dokumentation|textstellen?|quellen?|seiten?|kontext|abschnitte?n?)\b.{0,60}\b(?:nicht|keine?|nichts)\b"
    r"|\b(?:documentation|passages?|sources?|extraits?)\b.{0,60}\b(?:pas|aucune?|rien)\b"
    r"|\b(?:documentación|documentação|fragmentos?|fuentes?|pasajes?)\b.{0,60}\b(?:no|não|ningun[ao]?|nenhuma?)\b"
    r"|\b(?:documentazione|passaggi|fonti)\b.{0,60}\b(?:non|nessun[ao]?)\b",
    re.IGNORECASE,
)
_NEGATED_SOURCE = re.compile(
    r"\bno\s+(?:dice|menciona|responde|indica|contiene)\b.{0,60}|\bno (?:documentation|passage)\b", re.IGNORECASE
)
_SPECULATION = re.compile(
    r"\b(?:probably|perhaps|presumably|maybe|possibly|most likely|likely|i (?:think|believe|assume|guess|suppose|suspect)"
    r"|it (?:seems|appears)|as far as i know|in my experience|to my knowledge|might be|could be that|i'm not sure|not entirely sure"
    r"|wahrscheinlich|vermutlich|vielleicht|möglicherweise|eventuell|ich (?:denke|glaube|vermute|nehme an)|es scheint|meines wissens"
    r"|probablement|peut-être|sans doute|je (?:pense|crois|suppose)|il semble"
    r"|probablemente|quizás?|tal vez|posiblemente|supongo|creo que|parece que"
    r"|provavelmente|talvez|acho que|probabilmente|forse|credo che|sembra che|waarschijnlijk|misschien|ik denk|prawdopodobnie|może)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]+")
_GUESSING = frozenset(
    [
        "probably",
        "perhaps",
        "presumably",
        "maybe",
        "possibly",
        "likely",
        "think",
        "believe",
        "assume",
        "guess",
        "suppose",
        "suspect",
        "seems",
        "appears",
        "know",
        "experience",
        "knowledge",
        "might",
        "could",
        "sure",
        "wahrscheinlich",
        "vermutlich",
        "vielleicht",
        "möglicherweise",
        "eventuell",
        "denke",
        "glaube",
        "vermute",
        "nehme",
        "scheint",
        "wissens",
        "probablement",
        "être",
        "doute",
        "pense",
        "crois",
        "suppose",
        "semble",
        "probablemente",
        "quizá",
        "quizás",
        "tal",
        "posiblemente",
        "supongo",
        "creo",
        "parece",
        "provavelmente",
        "talvez",
        "acho",
        "probabilmente",
        "forse",
        "credo",
        "sembra",
        "waarschijnlijk",
        "misschien",
        "denk",
        "prawdopodobnie",
        "może",
    ]
)
"""Of each phrase that guesses one word."""
_WEIGHTS: Mapping[str, float] = {
    "fabricated": 0.3,
    "altered": 0.15,
    "misattributed": 0.1,
    "address": 0.3,
    "speculation": 0.1,
}


class Sentence(msgspec.Struct, frozen=True):
    """A sentence of a draft."""

    start: int
    end: int
    block: int
    """The number of its paragraph or list."""


def find(plain: str) -> list[Sentence]:
    """Return the sentences of a draft that state something.

    Args:
        plain: the draft, markers as white space and code hidden, so that places are the draft's.
    """
    found = []
    admitting = admits(plain)
    for number, (start, end) in enumerate(sentences.blocks(plain)):
        for first, last in sentences.units(plain[start:end]):
            text = plain[start + first : start + last]
            if _states(text) and not (admitting and _DIGIT.search(_LIST.sub("", text)) is None and admits(text)):
                found.append(Sentence(start + first, start + last, number))
    return found


def _states(text: str) -> bool:
    """Whether a sentence can be true or false of a product: no question, heading or lead."""
    bare = _LIST.sub("", text).strip(" *_`")
    if sentences.word_count(bare) < _WORDS or bare.endswith(("?", "\uff1f")) or text.lstrip().startswith("#"):
        return False
    return _DIGIT.search(bare) is not None or not bare.endswith((":", "\uff1a"))


def admits(text: str) -> bool:
    """Say whether a sentence tells that the sources do not say something."""
    return bool(_ADMISSION.search(text) or _NEGATED_SOURCE.search(text))


def resting(found: Sequence[Sentence], own: Sequence[Sequence[T]]) -> list[Sequence[T]]:
    """Return for each sentence the markers that it rests on: its own, or those of the next sentence of its block, or of the last.

    Args:
        found: the sentences.
        own: for each its own markers.
    """
    rested = list(own)
    for order, step in ((range(len(found) - 2, -1, -1), 1), (range(1, len(found)), -1)):
        for row in order:
            if not rested[row] and found[row].block == found[row + step].block:
                rested[row] = rested[row + step]
    return rested


def probability(window: float, cosine: float | None) -> float:
    """Return the probability that a sentence is said.

    Args:
        window: the share of its informative words that stand in one place of a passage.
        cosine: of its vector and that place's; ``None`` where there are none.
    """
    if cosine is None:
        total = BY_WORDS[0] + BY_WORDS[1] * window
    else:
        total = WITH_VECTORS[0] + WITH_VECTORS[1] * window + WITH_VECTORS[2] * cosine
    return 1 / (1 + math.exp(-total))


def guesses(text: str) -> bool:
    """Say whether anything in a text may say that it is a guess: a look at its words, which few texts have."""
    return not _GUESSING.isdisjoint(_WORD.findall(text.lower()))


def speculation(text: str, sources: Sequence[str]) -> str:
    """Return the words by which a sentence says that it guesses, unless a source has them; else nothing."""
    for match in _SPECULATION.finditer(text):
        words = match[0].lower()
        if not any(words in source.lower() for source in sources):
            return match[0]
    return ""


def groundedness(judged: Sequence[tuple[int, bool | None]]) -> float | None:
    """Return the share of what is claimed that is supported.

    Args:
        judged: for each claim its words, and whether it is supported; ``None`` does not count.
    """
    counted = [(words, supported) for words, supported in judged if supported is not None]
    total = sum(words for words, _ in counted)
    return round(sum(words for words, supported in counted if supported) / total, 4) if total else None


def risk(grounded: float | None, verdicts: Sequence[Verdict], addresses: int, guesses: int) -> float:
    """Return how much tells of invention, 0 to 1: one less the product of what each finding leaves.

    Args:
        grounded: the share of the claims that is supported.
        verdicts: of the quotations.
        addresses: how many were in no source.
        guesses: how many sentences say that they guess.
    """
    left = 1.0 if grounded is None else grounded
    findings = [*verdicts, *["address"] * addresses, *["speculation"] * guesses]
    for finding in findings:
        left *= 1 - _WEIGHTS.get(finding, 0.0)
    return round(1 - left, 4)


def sentence_at(text: str, start: int, end: int) -> Span:
    """Return the span of the sentence of a passage that most of a run lies in."""
    first = text.rfind("\n", 0, start) + 1
    last = text.find("\n", end)
    last = len(text) if last < 0 else last
    units = [(first + one, first + other) for one, other in sentences.units(text[first:last])]
    return max(units, key=lambda unit: (min(unit[1], end) - max(unit[0], start), -unit[0]), default=(start, end))
