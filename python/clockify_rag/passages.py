"""Passages: the pieces of a context that can be read by themselves, and so can be quoted.

A sentence out of its place reads badly and proves little: "Choose it there." A passage is a whole paragraph, a list with the
line that leads into it or the paragraph that it follows, a list of steps from its first one, a table, or code as it stands; a label
of a line ("Warning") goes with what follows. Only what is too long is cut, between sentences, items or rows, and to the run of them
that says most. Each passage is one slice of its document, so one comparison of characters proves it.
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
_ENDED = re.compile(r"[.!?…。！？:：;][\"'”’»)\]]*$")
_ITEM = re.compile(r"\s*(?:(?:\d{1,3}|[a-z])[.)]|[-*•])\s+")
_BULLET = re.compile(r"^\s*[-*•]\s+", re.MULTILINE)
_NUMBER = re.compile(r"(\d{1,3})[.)]\s+\S")
_DEPENDENT = re.compile(
    r"(?:this|these|that|those|it|they|he|she|but|and|or|so|for (?:example|instance)|however|then|otherwise|also|in (?:this|that) case|similarly|instead"
    r"|dies[ers]?|diese[nmrs]?|dann|aber|sonst|sie|es|cel?a|ces|cette|il|elles?|mais|alors|esto|eso|pero|entonces)\b",
    re.IGNORECASE,
)
_ELSEWHERE = re.compile(
    r"(?:please\s+|bitte\s+)?(?:see|check\s+out|refer\s+to|visit|learn\s+more|read\s+more|(?:for|to\s+(?:learn|read|see|find|find\s+out|get))\s+more"
    r"|siehe|lesen\s+sie|(?:mehr|weitere)\s+(?:dazu|informationen|details|infos)|voir|consultez|pour\s+en\s+savoir\s+plus|véase|consult[ae]"
    r"|para\s+(?:más|obtener\s+más|saber\s+más|mais|saber\s+mais)|per\s+(?:maggiori|ulteriori)|zie|meer\s+informatie)\b[^.\n]{0,200}[.:]?$",
    re.IGNORECASE,
)
_ELSEWHERE_AT_END = re.compile(
    r"\b(?:can\s+be\s+found\s+here|check\s+out\s+(?:this|these|our)|refer\s+to\s+this|see\s+this)\b[^.\n]{0,200}[.:]?$",
    re.IGNORECASE,
)
_LABEL_WORDS = 6
_CONTEXT_WORDS = 60
_PROMISED_SHARE = 0.5
_WHOLE_SHARE = 2 / 3
"""The share of the words of a passage up to which a list is not cut, because an item alone reads badly."""


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
        for start, end in _groups(hit, text, names, int(_WHOLE_SHARE * maximum_words)):
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


def label(passage: Passage) -> str:
    """Return the line that a passage begins with when that is a name and no sentence, else nothing."""
    line = passage.text.partition("\n")[0]
    return line if line != passage.text and _leads(line) else ""


def depends(passage: Passage) -> bool:
    """Say whether a passage begins by pointing at what stands before it."""
    return _DEPENDENT.match(passage.text) is not None and not passage.text.partition("\n")[0].endswith(_COLONS)


def points_away(passage: Passage) -> bool:
    """Say whether a passage does no more than tell where else to read."""
    line = passage.text.partition("\n")[0]
    if _ELSEWHERE.match(line):
        return True
    pointer = _ELSEWHERE_AT_END.search(line)
    return pointer is not None and "." not in line[: pointer.start()]


def _groups(hit: Hit, text: str, names: set[str], whole_words: int) -> Iterator[Span]:
    """Yield the blocks that belong together: lead with list, paragraph with a short list behind it, label with text, the parts of
    one numbered list, all code.
    """
    blocks = list(_blocks(hit, text, names))
    if not blocks:
        return
    ends = set(range(len(blocks)))
    for row, (block, following) in enumerate(pairwise(blocks)):
        one, other = text[slice(*block)], text[slice(*following)]
        listed = _ITEM.match(other) and not _NUMBER.match(other) and not _ITEM.match(one)
        is_short = listed and sentences.word_count(one) + sentences.word_count(other) <= whole_words
        if _leads(one) or ((is_short or hit.chunk.kind == "code") and hit.chunk.locate(block[0], following[1])):
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


def _blocks(hit: Hit, text: str, names: set[str]) -> Iterator[Span]:
    """Yield the blocks of each slice of a chunk, without its headings, and lines that lead apart from those before them."""
    offset = 0
    for first, last in hit.chunk.spans:
        shown = text[offset : offset + last - first]
        for start, end in sentences.blocks(shown):
            lines = [line for line in sentences.lines(shown[start:end]) if shown[start:end][slice(*line)] not in names]
            if not lines:
                continue
            begin, stop = offset + start + lines[0][0], offset + start + lines[-1][1]
            if len(lines) > 1 and text[begin:stop].endswith(_COLONS) and not _ITEM.match(text, begin, stop):
                yield begin, offset + start + lines[-2][1]
                begin = offset + start + lines[-1][0]
            yield begin, stop
        offset += last - first + 1


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
    maximum = maximum_step_words if steps else maximum_words
    if hit.chunk.kind in ("code", "table"):
        maximum = max(maximum_words, maximum_step_words)
    lines = [(start + first, start + last) for first, last in sentences.lines(piece)]
    words = sentences.word_count(piece)
    is_list = _ITEM.match(piece) is not None and not steps
    if is_list and words > _WHOLE_SHARE * maximum and not _is_announced(hit, text, start, overlap):
        return _without_bullet(text, _densest(text, _parts(hit, text, span, lines, maximum), overlap, maximum))
    if words <= maximum:
        return span
    if steps:
        return _beginning(text, [lines[:1], *([line] for line in lines[1:])], maximum)
    if hit.chunk.kind == "code":
        return None
    return _densest(text, _parts(hit, text, span, lines, maximum), overlap, maximum)


def _is_announced(hit: Hit, text: str, start: int, overlap: Overlap) -> bool:
    """Whether a list without a line that leads into it is what its heading promises, and that is asked."""
    above = hit.chunk.heading_path[-1:] or (hit.document.title,)
    return not text[:start].strip() and overlap.share(overlap.held(above[0])) >= _PROMISED_SHARE


def _without_bullet(text: str, span: Span | None) -> Span | None:
    """Return a span that is one item of a list without the mark before it, because it is no list any more."""
    bullet = None if span is None else _BULLET.match(text, *span)
    if span is None or bullet is None or _BULLET.search(text, bullet.end(), span[1]):
        return span
    return bullet.end(), span[1]


def _beginning(text: str, parts: Sequence[Sequence[Span]], maximum: int) -> Span | None:
    """Return the first parts that fit together: steps are never begun in their middle, and end with a whole one."""
    start, end = parts[0][0][0], None
    for part in parts:
        if sentences.word_count(text[start : part[-1][1]]) > maximum:
            break
        end = part[-1][1]
    return None if end is None or text[start:end].endswith(_COLONS) else (start, end)


def _parts(hit: Hit, text: str, span: Span, lines: Sequence[Span], maximum: int) -> list[Span]:
    """Return what a long group may be cut into: rows of a table, items of a list, sentences."""
    if hit.chunk.kind == "table":
        return list(lines)
    starts = [start for start, end in lines if _ITEM.match(text, start, end)]
    parts = _sentences(text, span[0], starts[0] if starts else span[1])
    for start, following in pairwise([*starts, span[1]]):
        end = start + len(text[start:following].rstrip())
        if sentences.word_count(text[start:end]) <= maximum // 2:
            parts.append((start, end))
        else:
            parts += _sentences(text, start, end)
    return parts


def _sentences(text: str, start: int, end: int) -> list[Span]:
    """Return the sentences between two places; a line that only names what follows is the beginning of the next one."""
    parts: list[Span] = []
    name: int | None = None
    for first, last in sentences.units(text[start:end]):
        begin = start + first if name is None else name
        names = not _ENDED.search(text[begin : start + last]) and text[start + last : end].startswith("\n")
        name = begin if names else None
        if name is None:
            parts.append((begin, start + last))
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
