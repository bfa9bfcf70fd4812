"""Answers in the documentation's own words: the default, which writes nothing of its own.

It takes the passages that say most of what was asked, or the one list of steps when the question asks how, out of the best
chunks, says where each stands, and so cannot be wrong about what the documentation says; it needs no model and takes two
milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from clockify_rag import passages, sentences
from clockify_rag.contracts import Context, Draft, Hit, Query
from clockify_rag.errors import InvalidSetting
from clockify_rag.passages import Passage

_HOW = re.compile(
    r"\s*(?:please\s+)?(?:how\s+(?:do|can|to|should|could|would|does|might|must)\b|(?:what\s+are\s+)?(?:the\s+)?steps\b"
    r"|(?:what\s+is\s+the\s+)?(?:best\s+)?way\s+to\b|where\s+(?:do|can|should)\s+(?:i|we|you)\b|(?:i|we)\s+(?:want|need)\s+to\b"
    r"|wie\s+(?!viele?|lange?|oft|hoch)|comment\b|c[oó]mo\b|come\b|jak\s+(?!długo|często)|hoe\s+(?!veel|lang|vaak)"
    r"|hur\b|hvordan\b|как\b|як\b)",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\s*(?:what|which|when|who|whom|whose|why|where|is|are|was|does|do|did|can|could|will|would|should|may|has|have"
    r"|how|was|wann|wer|welche[rsn]?|warum|wo|ist|sind|kann|que|quel(?:le)?s?|quand|qui|pourquoi|où|est|qué|cuál|cuándo"
    r"|quién|cosa|quale|quando|chi|co|kto|kiedy|czy|wat|wie|wanneer|welke)\b",
    re.IGNORECASE,
)
_NAMES = re.compile(
    r"\s*(?:what(?:'s|’s|\s+is|\s+are)\b|was\s+(?:ist|sind)\b|qu['’]est-ce\b|qué\s+(?:es|son)\b|che\s+cos|o\s+que\s+é|wat\s+(?:is|zijn)\b"
    r"|(?:[\w-]+\s*){1,3}$)",
    re.IGNORECASE,
)
_HEADING_SHARE = 0.25
_FIRST_SHARE = 0.1
_DEFINITION_SHARE = 0.6
_PLACE_DECAY = 0.85
_LEAD_WEIGHT = 0.5
_LABEL_SHARE = 0.15
_DEPENDENT_WEIGHT = 0.8
_STEPS_WEIGHT = 0.85
_KEPT_SHARE = 0.65
_NEW_SHARE = 0.1
_REPEATED_SHARE = 0.9
_PASSAGES = 3
_STEP_PLACES = 3
_STEP_MINIMUM = 0.3


class ExtractiveGenerator:
    """Answers with the documentation's own passages, or with a whole list of steps.

    Args:
        maximum_words: the words of an answer at most.
        maximum_step_words: the words of an answer at most that is one list of steps.
    """

    sent_to: tuple[str, ...] = ()

    def __init__(self, maximum_words: int = 120, maximum_step_words: int = 200) -> None:
        for name, value in (("maximum_words", maximum_words), ("maximum_step_words", maximum_step_words)):
            if value < 1:
                raise InvalidSetting(f"{name} of the generator is {value}, and must be at least 1", setting=name)
        self.maximum_words = maximum_words
        self.maximum_step_words = maximum_step_words

    def generate(self, query: Query, context: Context) -> Draft:
        """Return the answer: passages with a blank line between them, each with its marker behind it; empty when nothing can
        be quoted.

        Args:
            query: what is asked.
            context: what may be quoted.
        """
        chosen = self._chosen(query, context)
        text = "\n\n".join(f"{passage.text} [{passage.place + 1}]" for passage in chosen)
        return Draft(text=text, quotes=tuple((passage.place, passage.span) for passage in chosen))

    def stream(self, query: Query, context: Context) -> Iterator[str]:
        """Yield the answer line by line."""
        yield from self.generate(query, context).text.splitlines(keepends=True)

    def _chosen(self, query: Query, context: Context) -> list[Passage]:
        shown = [text for hit, text in zip(context.hits, context.texts, strict=True) if hit.chunk.kind != "hub"]
        texts = [text[start:end] for text in shown for start, end in sentences.units(text)]
        above = ["\n".join(passages.headings(hit)) for hit in context.hits]
        overlap = sentences.Overlap(query.text, [*texts, *above])
        found = passages.find(
            context, overlap, maximum_words=self.maximum_words, maximum_step_words=self.maximum_step_words
        )
        if steps := _steps(query, context, found):
            return [steps]
        held = dict(zip(texts, overlap.found, strict=False))
        scores = [_score(query, passage, overlap, held, context.hits[passage.place]) for passage in found]
        order = sorted(range(len(found)), key=lambda row: (-scores[row], row))
        if not order:
            return []
        if scores[order[0]] <= 0:
            # Found by its meaning alone: the beginning of the best chunk says most.
            return found[:1]
        best = found[order[0]]
        said = overlap.held(best.text)
        chosen = [self._with_what_it_points_at(context, found, best)]
        for row in order[1:]:
            passage = found[row]
            new = overlap.held(passage.text) - said
            enough = _KEPT_SHARE if overlap.share(new) >= _NEW_SHARE else _REPEATED_SHARE
            words = passage.words + sum(one.words for one in chosen)
            if len(chosen) == _PASSAGES or scores[row] < enough * scores[order[0]] or words > self.maximum_words:
                continue
            if not any(one.place == passage.place and one.start <= passage.start < one.end for one in chosen):
                chosen.append(passage)
                said |= new
        return _merged(context, chosen)

    def _with_what_it_points_at(self, context: Context, found: Sequence[Passage], passage: Passage) -> Passage:
        row = found.index(passage)
        if row and passages.depends(passage):
            longer = passages.joined(context, found[row - 1], passage)
            if longer is not None and longer.words <= self.maximum_words:
                return longer
        return passage


def _steps(query: Query, context: Context, found: Sequence[Passage]) -> Passage | None:
    """Return the list of steps that answers a question of how to do something; ``None`` where there is none."""
    if not _HOW.match(query.text) and _ASKS.match(query.text):
        return None
    lists = [passage for passage in found if passage.steps and passage.place < _STEP_PLACES]
    texts = ["\n".join([*passages.headings(context.hits[one.place]), one.text]) for one in lists]
    overlap = sentences.Overlap(query.text, texts)
    shares = [overlap.share(held) * _PLACE_DECAY**one.place for one, held in zip(lists, overlap.found, strict=True)]
    best = max(range(len(lists)), key=lambda row: (shares[row], -row), default=None)
    return None if best is None or shares[best] < _STEP_MINIMUM else lists[best]


def _score(
    query: Query, passage: Passage, overlap: sentences.Overlap, held: Mapping[str, frozenset[str]], hit: Hit
) -> float:
    """Return how well a passage answers.

    What it and the best of its sentences say of the question, what stands above it, and how good its hit is.
    """
    above = passages.headings(hit)
    named, said = overlap.held("\n".join(above)), overlap.held(passage.text)
    pieces = [passage.text[start:end] for start, end in sentences.units(passage.text)]
    best = max((overlap.share(held.get(piece, frozenset())) for piece in pieces), default=0.0)
    score = (1 - _HEADING_SHARE) * (overlap.share(said) + best) / 2 + _HEADING_SHARE * overlap.share(said | named)
    if passage.first:
        score += _FIRST_SHARE * overlap.share(named)
        if _NAMES.match(query.text) and overlap.share(overlap.held(above[-1])) >= 1:
            score += _DEFINITION_SHARE
    if title := passages.label(passage):
        score += _LABEL_SHARE * overlap.share(overlap.held(title))
    for weak, weight in (
        (passage.bare or passage.text.endswith(("?", "\uff1f")), _LEAD_WEIGHT),
        (passages.depends(passage), _DEPENDENT_WEIGHT),
        (passage.steps, _STEPS_WEIGHT),
    ):
        score *= weight if weak else 1
    return score * _PLACE_DECAY**passage.place if said or passage.first else 0.0


def _merged(context: Context, chosen: Sequence[Passage]) -> list[Passage]:
    """Return the passages by hit, the best passage's first, and neighbours as one."""
    places = list(dict.fromkeys(passage.place for passage in chosen))
    merged: list[Passage] = []
    for passage in sorted(chosen, key=lambda one: (places.index(one.place), one.start)):
        longer = passages.joined(context, merged[-1], passage) if merged else None
        if longer is None:
            merged.append(passage)
        else:
            merged[-1] = longer
    return merged
