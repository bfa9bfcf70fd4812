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
from clockify_rag.contracts import Verdict

T = TypeVar("T")

BAR = 0.5
"""The support from which a sentence counts as said by its passages."""

FAINT = 0.1
"""The support below which next to nothing of a sentence stands there: one in twenty free rewordings is there, and what is invented."""

WITH_VECTORS = (-4.055, 5.353, 1.049)
"""Constant, and coefficients of window and cosine, of the logistic regression that ``benches/grounding.py`` fits."""

BY_WORDS = (-3.774, 5.868)
"""The same without the cosine."""

_ADMISSION = re.compile(
    r"\b(?:documentation|passages?|sources?|context|excerpts?)\b.{0,60}\b(?:not|no|n't|doesn|don|isn|aren|cannot|never)\b.{0,30}"
    r"\b(?:say|sa(?:ys|id)|mention|answer|state|describ|specif|explain|tell|address|discuss|cover|indicat|contain|provid|give|includ|have|list"
    r"|clear|relevant|sufficient|enough|about|information|detail)"
    r"|\b(?:pages?|text|articles?|documents?)\b.{0,30}\b(?:not|n't|doesn|don|never)\b.{0,10}"
    r"\b(?:say|mention|answer|state|describe|specify|explain|tell|address|discuss)\b"
    r"|\b(?:not|no|isn't|cannot|n't|doesn't)\b.{0,60}\b(?:in|by|from)\b.{0,20}\b(?:documentation|passages?|sources?|context|documents|pages|text)\b"
    r"|\b(?:not|isn't|aren't)\b.{0,12}\b(?:mentioned|specified|stated)\b|\bno (?:\w+ )?information\b"
    r"|\bi (?:do not|don't|cannot|can't) (?:know|find|tell|answer)\b"
    r"|\b(?:dokumentation|textstellen?|quellen?|kontext)\b.{0,60}\b(?:nicht|keine?|nichts)\b"
    r"|\b(?:seiten?|abschnitte?n?)\b.{0,60}\b(?:keine angaben|keine informationen|nichts|nicht (?:beantwort|erwähn|beschr|genannt|erklär))"
    r"|\b(?:documentation|passages?|sources?|extraits?)\b.{0,60}\b(?:pas|aucune?|rien)\b"
    r"|\b(?:documentación|documentação|fragmentos?|fuentes?|pasajes?)\b.{0,60}\b(?:no|não|ningun[ao]?|nenhuma?)\b"
    r"|\b(?:documentazione|passaggi|fonti)\b.{0,60}\b(?:non|nessun[ao]?)\b",
    re.IGNORECASE,
)
_NEGATED_SOURCE = re.compile(
    r"\bno\s+(?:dice|menciona|responde|indica|contiene)\b.{0,60}|\bno (?:documentation|passage)\b", re.IGNORECASE
)
_ADMITTING = (
    (
        "documenta", "dokumenta", "passage", "pasaje", "passaggi", "source", "context", "kontext", "page", "text", "article", "information",
        "document", "mentioned", "specified", "stated", "described", "covered", "quelle", "seite", "abschnitt", "extrait", "fragmento",
        "fuente", "fonti", "dice", "menciona", "responde", "indica", "contiene", "i do", "i can", "excerpt", "textstelle",
    ),
    ("no", "n't", "never", "doesn", "don", "isn", "aren", "nicht", "kein", "pas", "aucun", "rien", "não", "ningun", "nenhum", "nessun"),
)  # fmt: skip
"""What a text that admits has one of each of."""
_GUESSES = (
    "probably", "perhaps", "presumably", "maybe", "possibly", "most likely", "likely", "i think", "i believe", "i assume", "i guess",
    "i suppose", "i suspect", "it seems", "it appears", "as far as i know", "in my experience", "to my knowledge", "might be",
    "could be that", "i'm not sure", "not entirely sure",
    "wahrscheinlich", "vermutlich", "vielleicht", "möglicherweise", "eventuell", "ich denke", "ich glaube", "ich vermute", "ich nehme an",
    "es scheint", "meines wissens",
    "probablement", "peut-être", "sans doute", "je pense", "je crois", "je suppose", "il semble",
    "probablemente", "quizás", "quizá", "tal vez", "posiblemente", "supongo", "creo que", "parece que",
    "provavelmente", "talvez", "acho que", "probabilmente", "forse", "credo che", "sembra che", "waarschijnlijk", "misschien", "ik denk",
    "prawdopodobnie", "może",
)  # fmt: skip
"""The words by which a sentence says that it guesses."""
_SPECULATION = re.compile(rf"\b(?:{'|'.join(map(re.escape, _GUESSES))})\b", re.IGNORECASE)
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
    from clockify_rag import _core

    admitting = _may_admit(plain)
    return [
        Sentence(start, end, block)
        for start, end, block, has_figure in _core.statements(plain)
        if has_figure or not (admitting and admits(plain[start:end]))
    ]


def admits(text: str) -> bool:
    """Say whether a sentence tells that the sources do not say something."""
    if not _may_admit(text):
        return False
    return bool(_ADMISSION.search(text) or _NEGATED_SOURCE.search(text))


def _may_admit(text: str) -> bool:
    """Whether the expressions need be tried, which take longer than to see that most texts have none of their words."""
    lower = text.lower()
    return all(any(map(lower.__contains__, words)) for words in _ADMITTING)


def only_admits(plain: str) -> bool:
    """Say whether a draft says nothing but that the sources do not say something."""
    from clockify_rag import _core

    return any(admits(plain[start:end]) for start, end in sentences.units(plain)) and all(
        admits(plain[start:end]) for start, end, _, _ in _core.statements(plain)
    )


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
    """Say whether a text may say that it guesses: a look at its letters, which is much faster than ``speculation``."""
    lower = text.lower()
    return any(map(lower.__contains__, _GUESSES))


def speculation(text: str, sources: Sequence[str]) -> str:
    """Return the words by which a sentence says that it guesses, unless a source has them; else nothing."""
    for match in _SPECULATION.finditer(text) if guesses(text) else ():
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
