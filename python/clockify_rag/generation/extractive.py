"""Answers in the documentation's own words: the default, which writes nothing of its own.

It takes the passages that say most of what was asked, or the one list of steps when the question asks how, out of the best
chunks, says where each stands, and so cannot be wrong about what the documentation says; it needs no model and takes a few
milliseconds.

A passage that says most of the question's words is probably the answer and stands alone or with little else. One that does not may
be the wrong one, so what other pages say is quoted beside it as long as there is room: the reader sees which it is. On the
development questions of the example help centre this finds 70 of 179 key facts where the best passages alone had 56.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from clockify_rag import passages, sentences
from clockify_rag.contracts import Context, Draft, Hit, Query, Span
from clockify_rag.errors import InvalidSetting
from clockify_rag.passages import Passage

_WITH_STEPS = frozenset({"how-to", "topic", ""})
"""Kinds of questions that a list of steps may answer alone: those that ask how, and those that only name what is to be done."""

_NAME_WORDS = 3
"""Words at most that may be the name of what is to be explained."""

_HEADING_SHARE = 0.25
_FIRST_SHARE = 0.1
_DEFINITION_SHARE = 0.6
_PLACE_DECAY = 0.85
_LEAD_WEIGHT = 0.5
_LABEL_SHARE = 0.15
_DEPENDENT_WEIGHT = 0.8
_STEPS_WEIGHT = 0.85
_MEANING_WEIGHT = 1.0
_MARGIN_WEIGHT = 1.0
_LARGEST_MARGIN = 0.25
_SURE_SHARE = 0.45
_SURE_KEPT = 0.9
_NEW_KEPT = 0.65
_NEW_SHARE = 0.1
_SURE_ROOM = 2 / 3
_UNSURE_KEPT = 0.3
_SAME_PAGE = 0.15
_REPEATED_SHARE = 0.9
_PASSAGES = 4
_STEP_PLACES = 3
_PART_LEAST = 0.4
_OUTCOME_WORDS = 60
_STEP_MINIMUM = 0.3
_TOPIC_STEP_MINIMUM = 0.5


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
        be quoted. A question that was taken apart is answered part by part.

        Args:
            query: what is asked.
            context: what may be quoted.
        """
        if query.parts:
            return self._part_by_part(query, context)
        chosen = self._chosen(query, context)
        text = "\n\n".join(map(_quoted, chosen))
        return Draft(text=text, quotes=tuple((passage.place, passage.span) for passage in chosen))

    def stream(self, query: Query, context: Context) -> Iterator[str]:
        """Yield the answer line by line."""
        yield from self.generate(query, context).text.splitlines(keepends=True)

    def _part_by_part(self, query: Query, context: Context) -> Draft:
        """Return an answer to each part of a question under that part, each with its share of the words.

        What answers two parts is quoted once, under both. A part that no passage has a word of, and none resembles, is
        unanswered.
        """
        share = len(query.parts)
        writer = ExtractiveGenerator(max(self.maximum_words // share, 1), max(self.maximum_step_words // share, 1))
        answered: list[tuple[list[str], list[Passage]]] = []
        unanswered: list[str] = []
        for part in query.parts:
            asked = msgspec.structs.replace(query, text=part, kind="", parts=())
            chosen = writer._chosen(asked, context, is_part=True)
            same = next((one for one in answered if chosen and _overlaps(chosen[0], one[1])), None)
            if not chosen:
                unanswered.append(part)
            elif same is not None:
                same[0].append(part)
            else:
                known = [passage for _, quoted in answered for passage in quoted]
                answered.append(([part], [passage for passage in chosen if not _overlaps(passage, known)]))
        paragraphs: list[str] = []
        headings: list[tuple[int, str]] = []
        quotes: list[tuple[int, Span]] = []
        for parts, chosen in answered:
            headings += [(len(quotes), part) for part in parts]
            paragraphs += [*parts, *map(_quoted, chosen)]
            quotes += [(passage.place, passage.span) for passage in chosen]
        return Draft(
            text="\n\n".join(paragraphs),
            quotes=tuple(quotes),
            headings=tuple(headings),
            unanswered=tuple(unanswered) if answered else (),
        )

    def _chosen(self, query: Query, context: Context, *, is_part: bool = False) -> list[Passage]:
        """Return the passages that answer; of a part none where the best has no word of it and means something else."""
        shown = [text for hit, text in zip(context.hits, context.texts, strict=True) if hit.chunk.kind != "hub"]
        texts = [text[start:end] for text in shown for start, end in sentences.units(text)]
        above = ["\n".join(passages.headings(hit)) for hit in context.hits]
        overlap = sentences.Overlap(query.text, [*texts, *above])
        found = passages.find(
            context, overlap, maximum_words=self.maximum_words, maximum_step_words=self.maximum_step_words
        )
        if not found:
            return []
        held = dict(zip(texts, overlap.found, strict=False))
        said = [_said(query, passage, overlap, held, context.hits[passage.place]) for passage in found]
        relevance = self._relevance(query, context, found, said)
        if relevance is None:
            # Found by its meaning alone, in a language that is not compared: the beginning of the best chunk says most.
            return [] if is_part else found[:1]
        steps = _steps(query, context, found)
        first = found.index(steps) if steps else max(range(len(found)), key=lambda row: (relevance[row], -row))
        if is_part and not said[first] and relevance[first] < _PART_LEAST:
            return []
        others = self._with_others(context, found, first, relevance, overlap, sure=said[first] >= _SURE_SHARE)
        return _merged(context, others)

    def _relevance(
        self, query: Query, context: Context, found: Sequence[Passage], said: Sequence[float]
    ) -> list[float] | None:
        """Return how well each passage answers: what it says in words, what it means, and how good its hit is.

        ``None`` where no passage has a word of the question and meaning cannot be compared.
        """
        from clockify_rag.embedding import StaticEmbedder

        embedder = StaticEmbedder()
        similarities = [0.0] * len(found)
        if query.language in (embedder.languages or ()):
            texts = ["\n".join([*passages.headings(context.hits[one.place]), one.text]) for one in found]
            similarities = [max(one, 0.0) for one in embedder.similarities(query.text, texts)]
        if not any(said) and not any(similarities):
            return None
        best = max(hit.score for hit in context.hits)
        margins = [max(hit.score / best - 1, -_LARGEST_MARGIN) if best > 0 else 0.0 for hit in context.hits]
        return [
            words + _MEANING_WEIGHT * similarity + _MARGIN_WEIGHT * margins[passage.place]
            for passage, words, similarity in zip(found, said, similarities, strict=True)
        ]

    def _with_others(
        self,
        context: Context,
        found: Sequence[Passage],
        first: int,
        relevance: Sequence[float],
        overlap: sentences.Overlap,
        *,
        sure: bool,
    ) -> list[Passage]:
        """Return the first passage with those that are worth saying too.

        Beside one that says most of what was asked, what says more of it or is as good; a list of steps stands alone. Another may
        be the wrong one, so others are quoted as long as there is room, those of other pages before more of the same. What is only
        a name, only tells where else to read, or points at what is not quoted is never quoted beside another.
        """
        chosen = [self._with_what_it_points_at(context, found, found[first])]
        if sure and chosen[0].steps:
            return [self._with_outcome(context, found, chosen[0])]
        # Only one list of steps that stands alone may be longer.
        maximum = int(_SURE_ROOM * self.maximum_words) if sure else self.maximum_words
        # What cannot be as good as it must be is not compared word by word.
        floor = (min(_NEW_KEPT, _SURE_KEPT) if sure else _UNSURE_KEPT) * relevance[first]
        rows = [row for row in range(len(found)) if row != first and relevance[row] >= floor]
        rows = [row for row in rows if not (found[row].bare or passages.points_away(found[row]))]
        while len(chosen) < _PASSAGES:
            pages = {context.hits[passage.place].document.id for passage in chosen}
            room = maximum - sum(passage.words for passage in chosen)
            said = frozenset[str]().union(*(overlap.held(passage.text) for passage in chosen))
            values: dict[int, float] = {}
            for row in rows:
                passage, value = found[row], relevance[row]
                if passage.words > room or _hangs(context, passage, chosen) or _repeats(passage, chosen):
                    continue
                if sure:
                    new = overlap.share(overlap.held(passage.text) - said) >= _NEW_SHARE
                    enough = _NEW_KEPT if new else _SURE_KEPT
                else:
                    enough = _UNSURE_KEPT
                    value -= _SAME_PAGE if context.hits[passage.place].document.id in pages else 0.0
                if value >= enough * relevance[first]:
                    values[row] = value
            best = max(values, key=lambda row: (values[row], -row), default=None)
            if best is None:
                return chosen
            chosen.append(found[best])
            rows.remove(best)
        return chosen

    def _with_outcome(self, context: Context, found: Sequence[Passage], steps: Passage) -> Passage:
        """Return a short list of steps with the paragraph behind it, which says what happens then."""
        after = next((one for one in found if one.place == steps.place and one.start >= steps.end), None)
        longer = (
            None
            if after is None or after.bare or passages.points_away(after)
            else passages.joined(context, steps, after)
        )
        return longer if longer is not None and longer.words <= _OUTCOME_WORDS else steps

    def _with_what_it_points_at(self, context: Context, found: Sequence[Passage], passage: Passage) -> Passage:
        row = found.index(passage)
        if row and passages.depends(passage):
            longer = passages.joined(context, found[row - 1], passage)
            if longer is not None and longer.words <= self.maximum_words:
                return longer
        return passage


def _steps(query: Query, context: Context, found: Sequence[Passage]) -> Passage | None:
    """Return the list of steps that answers a question of how to do something; ``None`` where there is none.

    Of words that ask nothing it must say more: they may want to know what the thing is.
    """
    if query.kind not in _WITH_STEPS:
        return None
    lists = [passage for passage in found if passage.steps and passage.place < _STEP_PLACES]
    texts = ["\n".join([*passages.headings(context.hits[one.place]), one.text]) for one in lists]
    overlap = sentences.Overlap(query.text, texts)
    shares = [overlap.share(held) * _PLACE_DECAY**one.place for one, held in zip(lists, overlap.found, strict=True)]
    best = max(range(len(lists)), key=lambda row: (shares[row], -row), default=None)
    least = _STEP_MINIMUM if query.kind == "how-to" else _TOPIC_STEP_MINIMUM
    return None if best is None or shares[best] < least else lists[best]


def _names(query: Query) -> bool:
    """Whether a question asks what something is, or only names it."""
    if query.kind in ("topic", ""):
        return len(query.text.split()) <= _NAME_WORDS
    return query.kind == "definition"


def _quoted(passage: Passage) -> str:
    return f"{passage.text} [{passage.place + 1}]"


def _overlaps(passage: Passage, others: Sequence[Passage]) -> bool:
    return any(one.place == passage.place and one.start < passage.end and passage.start < one.end for one in others)


def _hangs(context: Context, passage: Passage, chosen: Sequence[Passage]) -> bool:
    """Whether a passage points at what stands before it, and that was not chosen."""
    before = (one for one in chosen if one.end <= passage.start)
    return passages.depends(passage) and all(passages.joined(context, one, passage) is None for one in before)


def _repeats(passage: Passage, chosen: Sequence[Passage]) -> bool:
    """Whether a passage overlaps one that was chosen, or says hardly a word that none of them says."""
    if _overlaps(passage, chosen):
        return True
    words = set(sentences.informative(passage.text))
    known = {word for one in chosen for word in sentences.words(one.text)}
    return len(words & known) >= _REPEATED_SHARE * len(words)


def _said(
    query: Query, passage: Passage, overlap: sentences.Overlap, held: Mapping[str, frozenset[str]], hit: Hit
) -> float:
    """Return how much of the question a passage says, in words, 0 to about 1.

    It and the best of its sentences, with what stands above it, and less for a hit that stands further back.
    """
    above = passages.headings(hit)
    named, said = overlap.held("\n".join(above)), overlap.held(passage.text)
    pieces = [passage.text[start:end] for start, end in sentences.units(passage.text)]
    best = max((overlap.share(held.get(piece, frozenset())) for piece in pieces), default=0.0)
    score = (1 - _HEADING_SHARE) * (overlap.share(said) + best) / 2 + _HEADING_SHARE * overlap.share(said | named)
    if passage.first:
        score += _FIRST_SHARE * overlap.share(named)
        if _names(query) and overlap.share(overlap.held(above[-1])) >= 1:
            score += _DEFINITION_SHARE
    if title := passages.label(passage):
        score += _LABEL_SHARE * overlap.share(overlap.held(title))
    for weak, weight in (
        (passage.bare or passage.text.endswith(("?", "\uff1f")), _LEAD_WEIGHT),
        (passages.points_away(passage), _LEAD_WEIGHT),
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
