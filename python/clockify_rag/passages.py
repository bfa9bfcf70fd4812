"""Passages: the pieces of a context that can be read by themselves, and so can be quoted.

A sentence out of its place reads badly and proves little: "Choose it there." A passage is a whole paragraph, a list with the
line that leads into it, a list of steps from its first one, a table, or code as it stands; a label of a line ("Warning") goes with
what follows. Only what is too long is cut, between sentences, items or rows, and to the run of them that says most. Each
passage is one slice of its document, so one comparison of characters proves it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import msgspec

from clockify_rag import sentences
from clockify_rag.contracts import Context, Hit, Span
from clockify_rag.sentences import Overlap

_COLONS = (":", "\uff1a")
_ITEM = re.compile(r"\s*(?:(?:\d{1,3}|[a-z])[.)]|[-*•])\s+")
_NUMBER = re.compile(r"(\d{1,3})[.)]\s+\S")
_DEPENDENT = re.compile(
    r"(?:this|these|that|those|it|they|he|she|but|and|or|however|then|otherwise|also|in (?:this|that) case|similarly|instead"
    r"|dies[ers]?|diese[nmrs]?|dann|aber|sonst|sie|es|cel?a|ces|cette|il|elles?|mais|alors|esto|eso|pero|entonces)\b",
    re.IGNORECASE,
)
_LABEL_WORDS = 6
_CONTEXT_WORDS = 60


class Passage(msgspec.Struct, frozen=True):
    """A piece of a hit that can be quoted."""

    place: int
    """The hit's place in the context, from 0."""
    start: int
    """Where it begins in the text that is shown of the hit."""
    end: int
    text: str
    span: Span
    """Where it stands in the document."""
    words: int
    steps: bool = False
    """Whether it is a numbered list."""
    first: bool = False
    """Whether its section begins with it."""
    bare: bool = False
    """Whether what it leads to is missing."""


def headings(hit: Hit) -> list[str]:
    """Return what stands above a hit's text: the page's title and the headings."""
    return [hit.document.title, *hit.chunk.heading_path]


def find(context: Context, overlap: Overlap, *, maximum_words: int, maximum_step_words: int) -> list[Passage]:
    """Return the passages of a context in order, each text once.

    Args:
        context: what may be quoted; pages that are only links are not.
        overlap: of the question with the texts; decides which part of a passage that is too long is kept.
        maximum_words: the words of a passage at most.
        maximum_step_words: the words of a numbered list at most.
    """
    found: list[Passage] = []
    seen: set[str] = set()
    for place, (hit, text) in enumerate(zip(context.hits, context.texts, strict=True)):
        if hit.chunk.kind == "hub":
            continue
        names = {heading.strip() for heading in headings(hit)}
        for start, end in _groups(hit, text, names):
            fitting = _fitting(hit, text, (start, end), overlap, maximum_words, maximum_step_words)
            if fitting is None or (span := hit.chunk.locate(*fitting)) is None:
                continue
            piece = text[slice(*fitting)]
            if piece in seen or not any(map(str.isalnum, piece)):
                continue
            seen.add(piece)
            first = not text[:start].strip() or text[:start].strip() in names
            words = sentences.word_count(piece)
            bare = _leads(piece[slice(*sentences.blocks(piece)[-1])])
            found.append(Passage(place, *fitting, piece, span, words, _is_steps(piece), first, bare))
    return found


def joined(context: Context, one: Passage, other: Passage) -> Passage | None:
    """Return two passages of one hit as one, when nothing but white space is between them."""
    before, after = sorted((one, other), key=lambda passage: passage.start)
    if one.place != other.place or context.texts[one.place][before.end : after.start].strip():
        return None
    span = context.hits[one.place].chunk.locate(before.start, after.end)
    if span is None:
        return None
    text = context.texts[one.place][before.start : after.end]
    words, steps = one.words + other.words, one.steps or other.steps
    return Passage(one.place, before.start, after.end, text, span, words, steps, before.first, after.bare)


def depends(passage: Passage) -> bool:
    """Say whether a passage begins by pointing at what stands before it."""
    return _DEPENDENT.match(passage.text) is not None


def _groups(hit: Hit, text: str, names: set[str]) -> Iterator[Span]:
    """Yield the blocks that belong together: lead with list, label with text, the parts of one numbered list, all code."""
    blocks = [span for span in sentences.blocks(text) if text[slice(*span)] not in names]
    if not blocks:
        return
    ends = set(range(len(blocks)))
    for row, (block, following) in enumerate(pairwise(blocks)):
        if _leads(text[slice(*block)]) or (hit.chunk.kind == "code" and hit.chunk.locate(block[0], following[1])):
            ends.discard(row)
    for row, last in _continued(text, blocks):
        ends -= set(range(row, last))
    first = 0
    for row in sorted(ends):
        if hit.chunk.locate(blocks[first][0], blocks[row][1]) is None:
            yield from blocks[first : row + 1]
        else:
            yield blocks[first][0], blocks[row][1]
        first = row + 1


def _leads(block: str) -> bool:
    """Whether a block says nothing without the next one."""
    if block.endswith(_COLONS):
        return True
    label = "\n" not in block and " | " not in block and not _ITEM.match(block)
    return label and len(block.split()) <= _LABEL_WORDS and block[-1].isalnum()


def _continued(text: str, blocks: Sequence[Span]) -> Iterator[tuple[int, int]]:
    """Yield the first and last block of each numbered list that text interrupts."""
    open_list: tuple[int, int] | None = None
    for row, block in enumerate(blocks):
        numbers = _numbers(text[slice(*block)])
        if not numbers:
            continue
        if open_list is not None and numbers[0] == open_list[1] + 1:
            yield open_list[0], row
            open_list = open_list[0], numbers[-1]
        else:
            open_list = (row, numbers[-1]) if numbers[0] == 1 else None


def _numbers(block: str) -> list[int]:
    return [int(found[1]) for line in block.split("\n") if (found := _NUMBER.match(line))]


def _is_steps(text: str) -> bool:
    numbers = _numbers(text)
    return len(numbers) > 1 and numbers[0] == 1


def _fitting(
    hit: Hit, text: str, span: Span, overlap: Overlap, maximum_words: int, maximum_step_words: int
) -> Span | None:
    """Return as much of a group as may be shown; ``None`` where no whole part of it is short enough."""
    start, end = span
    piece = text[start:end]
    steps = _is_steps(piece)
    maximum = max(maximum_words, maximum_step_words) if steps or hit.chunk.kind == "code" else maximum_words
    if sentences.word_count(piece) <= maximum:
        return span
    lines = [(start + first, start + last) for first, last in sentences.lines(piece)]
    if steps:
        return _beginning(text, [lines[:1], *([line] for line in lines[1:])], maximum)
    if hit.chunk.kind == "code":
        return None
    parts = _parts(hit, text, span, lines)
    return _densest(text, parts, overlap, maximum)


def _beginning(text: str, parts: Sequence[Sequence[Span]], maximum: int) -> Span | None:
    """Return the first parts that fit together: steps are never begun in their middle, and end with a whole one."""
    start, end = parts[0][0][0], None
    for part in parts:
        if sentences.word_count(text[start : part[-1][1]]) > maximum:
            break
        end = part[-1][1]
    return None if end is None or text[start:end].endswith(_COLONS) else (start, end)


def _parts(hit: Hit, text: str, span: Span, lines: Sequence[Span]) -> list[Span]:
    """Return what a long group may be cut into: rows of a table, else sentences, each label with what it is of."""
    if hit.chunk.kind == "table":
        return list(lines)
    start, end = span
    units = [(start + first, start + last) for first, last in sentences.units(text[start:end])]
    parts: list[Span] = []
    label: int | None = None
    for first, last in units:
        begin = first if label is None else label
        label = begin if _leads(_ITEM.sub("", text[first:last], count=1)) else None
        if label is None:
            parts.append((begin, last))
    return parts


def _densest(text: str, parts: Sequence[Span], overlap: Overlap, maximum: int) -> Span | None:
    """Return the shortest run of parts that says most, and the rest of its paragraph up to some words."""
    held = [overlap.held(text[start:end]) for start, end in parts]
    counts = [sentences.word_count(text[start:end]) for start, end in parts]
    best: tuple[float, int, int, int] | None = None
    for row in range(len(parts)):
        words, found = 0, frozenset[str]()
        for last in range(row, len(parts)):
            words, found = words + counts[last], found | held[last]
            if words > maximum:
                break
            value = (overlap.share(found), -words, -row, last)
            best = value if best is None or value > best else best
    if best is None:
        return None
    row, last = -best[2], best[3]
    start, end = parts[row][0], parts[last][1]
    for first, stop in parts[last + 1 :]:
        if "\n" in text[end:first] or sentences.word_count(text[start:stop]) > min(maximum, _CONTEXT_WORDS):
            break
        end = stop
    return start, end
