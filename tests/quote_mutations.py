"""Quotations that are not what their source says, made of sentences that are, for the tests of verification.

Each mutation is a function of a case and a random generator; it returns the altered quotation, or nothing where the sentence has
nothing to alter.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from clockify_rag import sentences
from clockify_rag.contracts import Chunk, Context, Document, Hit, Scores, Verdict
from clockify_rag.index import decode_chunk
from clockify_rag.pipeline import Pipeline

UNITS = (
    "minutes",
    "hours",
    "days",
    "weeks",
    "months",
    "years",
    "MB",
    "GB",
    "percent",
    "seats",
    "characters",
    "seconds",
    "users",
)
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{2,}(?: [A-Z][a-z]+)*")
_NUMBER = re.compile(r"(?<![\w.,:])\d+(?![\w.,:]*\d)")
_UNIT = re.compile(r"\b(?:minutes?|hours?|days?|weeks?|months?|years?|MB|GB|seats?|seconds?|users?|characters)\b")


class Case(NamedTuple):
    """A sentence, the passages that a model was shown, and others that it was not."""

    sentence: str
    context: Context
    """The sentence's passage, then another of the same document where there is one, then others."""
    other: str
    """Another sentence of the same passage, or of the next one."""
    neighbour: str
    """A sentence of the second passage that the first does not have."""
    elsewhere: str
    """A sentence of a document that was not shown."""
    names: Sequence[str]


def hits_of(pipeline: Pipeline) -> list[list[Hit]]:
    """Return the chunks of every document that can be quoted as hits, in order of document id."""
    found = []
    for document in pipeline.index.documents():
        if document.kind != "hub":
            stored = pipeline.index.snapshot.chunks_of(document.id)
            chunks = [decode_chunk(record, text) for record, text in stored]
            found.append([_hit(document, chunk) for chunk in chunks if chunk.kind != "hub"])
    return [hits for hits in found if hits]


def _hit(document: Document, chunk: Chunk) -> Hit:
    return Hit(rank=1, score=1.0, chunk=chunk, document=document, scores=Scores(fused=1.0))


def folded(text: str) -> str:
    """Return a text as one line of words without case and punctuation: a naive comparison of wordings."""
    words = " ".join(re.findall(r"[^\W_]+", text.casefold()))
    return f" {words} "


def cases(documents: Sequence[Sequence[Hit]], generator: random.Random, count: int) -> list[Case]:
    """Return cases drawn at random from a collection."""
    quotable = [(row, place) for row, hits in enumerate(documents) for place in range(len(hits))]
    generator.shuffle(quotable)
    names = sorted({name for hits in documents for hit in hits for name in _NAME.findall(hit.chunk.text)})
    found: list[Case] = []
    for row, place in quotable * 20:
        hits = documents[row]
        first = hits[place]
        own = sentences_of(first)
        if not own or len(found) == count:
            continue
        second = hits[place + 1] if place + 1 < len(hits) else hits[place - 1]
        strangers = [documents[generator.randrange(len(documents))][0] for _ in range(3)]
        shown = [first, *([second] if second is not first else []), *strangers[:2]]
        context = Context(hits=tuple(shown), texts=tuple(hit.chunk.text for hit in shown), tokens=0)
        everything = folded("\n".join(context.texts))
        sentence, other = generator.choice(own), generator.choice([*own, *sentences_of(second)])
        beside = [one for one in sentences_of(second) if folded(one) not in folded(first.chunk.text)]
        away = [
            one
            for one in sentences_of(documents[generator.randrange(len(documents))][-1])
            if folded(one) not in everything
        ]
        found.append(
            Case(sentence, context, other, generator.choice(beside or [""]), generator.choice(away or [""]), names)
        )
    return found


def sentences_of(hit: Hit) -> list[str]:
    """Return the sentences of a hit that are long enough to be altered."""
    text = hit.chunk.text
    units = [text[start:end] for start, end in sentences.units(text)]
    return [
        one
        for one in units
        if 6 <= len(one.split()) <= 40 and not re.search('["\u201c\u201d\u00ab\u00bb\u201e\u2018`*_|\\[\\]]', one)
    ]


def _replaced(text: str, pattern: re.Pattern[str], others: Sequence[str], generator: random.Random) -> str:
    found = pattern.search(text)
    if found is None:
        return ""
    choices = [one for one in others if folded(one).strip().rstrip("s") != folded(found[0]).strip().rstrip("s")]
    return f"{text[: found.start()]}{generator.choice(choices)}{text[found.end() :]}" if choices else ""


def not_added(case: Case, generator: random.Random) -> str:
    """Put a ``not`` between two words."""
    words = case.sentence.split()
    place = generator.randrange(1, len(words))
    return " ".join([*words[:place], "not", *words[place:]])


def not_removed(case: Case, generator: random.Random) -> str:
    """Take the negation out."""
    cut = re.sub(r"\b(?:not|never|no) |n[’']t\b|(?<=can)not\b", "", case.sentence, count=1)
    return "" if cut == case.sentence else cut


def number_swapped(case: Case, generator: random.Random) -> str:
    """Give another number."""
    return _replaced(case.sentence, _NUMBER, [str(generator.randrange(1, 5000)) for _ in range(5)], generator)


def unit_swapped(case: Case, generator: random.Random) -> str:
    """Count something else."""
    return _replaced(case.sentence, _UNIT, UNITS, generator)


def name_swapped(case: Case, generator: random.Random) -> str:
    """Name another product, menu or page of the collection."""
    return _replaced(case.sentence, _NAME, case.names, generator)


def spliced(case: Case, generator: random.Random) -> str:
    """Join the beginning of one sentence with the end of another."""
    head, tail = case.sentence.split(), case.other.split()
    return "" if case.sentence == case.other else " ".join([*head[: (len(head) + 1) // 2], *tail[len(tail) // 2 :]])


def words_dropped(case: Case, generator: random.Random) -> str:
    """Leave words out of the middle."""
    words = case.sentence.split()
    place = generator.randrange(1, len(words) - 2)
    return " ".join([*words[:place], *words[place + generator.choice((1, 1, 2)) :]])


def words_reordered(case: Case, generator: random.Random) -> str:
    """Exchange the halves, or two words."""
    words = case.sentence.split()
    if generator.random() < 0.5:
        half = len(words) // 2
        return " ".join([*words[half:], *words[:half]])
    one, other = sorted(generator.sample(range(len(words)), 2))
    words[one], words[other] = words[other], words[one]
    return " ".join(words)


def of_the_neighbour(case: Case, generator: random.Random) -> str:
    """Quote the passage beside the one that is cited."""
    return case.neighbour


def of_another_document(case: Case, generator: random.Random) -> str:
    """Quote a document that was not shown."""
    return case.elsewhere


_SUBJECTS = [
    "quarterly llamas",
    "our lunar office",
    "every retired pilot",
    "the marble archive",
    "seven silent engines",
    "a borrowed lighthouse",
]
_VERBS = ["will repaint", "has quietly sold", "must forgive", "never audits", "gladly reheats", "once misplaced"]
_OBJECTS = [
    "violet turbines",
    "the committee of owls",
    "unpaid thunder",
    "a ledger of rain",
    "eleven frozen harbours",
    "its grandmother's compass",
]
_ENDS = [
    "before Thursday's eclipse",
    "without telling gravity",
    "in return for cinnamon",
    "under protest from the sea",
    "whenever opera permits",
]


def invented(case: Case, generator: random.Random) -> str:
    """Quote what nobody wrote."""
    parts = [generator.choice(words) for words in (_SUBJECTS, _VERBS, _OBJECTS, _ENDS)]
    return " ".join([*parts, str(generator.randrange(10_000))])


def typography(case: Case, generator: random.Random) -> str:
    """Write the same words in other type."""
    forms = {
        " ": (" ", "\n", "\u00a0", "  ", "\u2009"), "'": ("'", "\u2019"), "\u2019": ("'", "\u2019"), "-": ("-", "\u2010", "\u2011", "\u2013"),
        "\u2013": ("-", "\u2013", "\u2014"), "e": ("e", "e\u00ad", "\u200be"), "i": ("i", "i\u200d"),
    }  # fmt: skip
    return "".join(
        generator.choice(forms[one]) if one in forms and generator.random() < 0.3 else one for one in case.sentence
    )


class Mutation(NamedTuple):
    """How a quotation is altered, and what verification must say of it."""

    make: Callable[[Case, random.Random], str]
    expected: Verdict


MUTATIONS: Mapping[str, Mutation] = {
    "typography": Mutation(typography, "verified"),
    "not added": Mutation(not_added, "altered"),
    "not removed": Mutation(not_removed, "altered"),
    "number swapped": Mutation(number_swapped, "altered"),
    "unit swapped": Mutation(unit_swapped, "altered"),
    "name swapped": Mutation(name_swapped, "altered"),
    "two sentences spliced": Mutation(spliced, "altered"),
    "words dropped": Mutation(words_dropped, "altered"),
    "words reordered": Mutation(words_reordered, "altered"),
    "from the neighbour": Mutation(of_the_neighbour, "misattributed"),
    "from another document": Mutation(of_another_document, "fabricated"),
    "invented": Mutation(invented, "fabricated"),
}
"""By name; ``typography`` changes nothing that a reader would call a word."""
