"""What a draft puts into quotation marks, of any language, or into a block of quotation.

A reader takes for a quotation whatever stands between two marks, so what does not stand in a source must stand between none. That is
why marks that have no partner count too (a stream that breaks off leaves one), why a mark of one kind may be closed by another, and
why what stands within a quotation that is taken apart is looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from clockify_rag import sentences
from clockify_rag.contracts import Span
from clockify_rag.verification.editing import code_spans, hidden, paragraphs

MINIMUM_WORDS = 3
MINIMUM_CHARACTERS = 12
"""Shorter quotations are names of things, and prove nothing."""

_MARKS = (
    '"\u201c\u201d\u201e\u201f\u00ab\u00bb\u300c\u300d\u300e\u300f\u2039\u203a'
    "\u2033\u275d\u275e\u300a\u300b\u301d\u301e\u301f\uff02"
)
_MARK = re.compile(f"[{_MARKS}]")
_PAIRS = re.compile(
    r"\u201c[^\u201c\u201d]+\u201d|\u201e[^\u201e\u201c\u201d]+[\u201c\u201d]|\u201d[^\u201c\u201d]+\u201d"
    r"|\u00ab[^\u00ab\u00bb]+\u00bb|\u00bb(?=\S)[^\u00ab\u00bb]+(?<=\S)\u00ab|\u300c[^\u300c\u300d]+\u300d|\u300e[^\u300e\u300f]+\u300f"
    r"|\u2039[^\u2039\u203a]+\u203a|\u203a(?=\S)[^\u2039\u203a]+(?<=\S)\u2039"
    r"|(?<![\w\"])\"[^\"]+\"(?![\w\"])"
    r"|\u2018(?:[^\u2018\u2019]|\u2019(?=\w))+\u2019(?!\w)|\u201a[^\u201a\u2018\u2019]+[\u2018\u2019](?!\w)"
    r"|(?<![\w'])'(?=\S)(?:[^'\n]|(?<=\w)'(?=\w))+(?<=\S)'(?!\w)"
    rf"|[{_MARKS}](?=\S)[^{_MARKS}]+(?<=\S)[{_MARKS}](?!\w)"
)
_SPELLED = re.compile(
    r"(?P<open>&(?:quot|#34|ldquo|bdquo|laquo);|<(?:q|blockquote)\b[^<>\n]*>|(?<!['\w])(?:''|``)(?=\w))\s*"
    r"(?P<inner>(?:(?!\n\s*\n).)+?)"
    r"\s*(?P<close>&(?:quot|#34|rdquo|ldquo|raquo);|</(?:q|blockquote)>|(?<=[\w.,!?])''(?!['\w]))",
    re.IGNORECASE | re.DOTALL,
)
"""Marks that take several characters: of HTML and TeX."""
_BLOCK = re.compile(r"^[^\S\n]*(?:(?:[-*+]|\d{1,3}[.)])[^\S\n]+)?(?P<quote>>.*(?:\n[^\S\n]*>.*)*)", re.MULTILINE)
_BLOCK_MARK = re.compile(r"^[^\S\n]*(?:>[^\S\n]?)+", re.MULTILINE)
_SEPARATORS = "\u00ab\u00bb\u2039\u203a"


class Quoted(msgspec.Struct, frozen=True):
    """A quotation of a draft, and where its marks are."""

    start: int
    end: int
    inner: Span
    """What stands between its marks."""
    marks: tuple[Span, ...]
    """The marks, with white space within them."""
    is_block: bool = False
    """Whether it is lines that begin with ``>``."""


def find(text: str) -> list[Quoted]:
    """Return the quotations of a draft that are long enough to be proved, those within others not, by where they begin.

    Args:
        text: the draft; marks within code are none.
    """
    masked = hidden(text, code_spans(text))
    found = [quoted for quoted in (*_blocks(masked), *_spelled(masked)) if is_proof(inner(text, quoted))]
    return sorted([*found, *_between(text, masked, 0, len(text))], key=lambda quoted: quoted.start)


def _blocks(masked: str) -> Iterator[Quoted]:
    for match in _BLOCK.finditer(masked) if ">" in masked else ():
        start, end = match.span("quote")
        marks = ((start + mark.start(), start + mark.end()) for mark in _BLOCK_MARK.finditer(match["quote"]))
        yield Quoted(start, end, (start, end), tuple(marks), is_block=True)


def _spelled(masked: str) -> Iterator[Quoted]:
    for match in _SPELLED.finditer(masked) if "''" in masked or "&" in masked or "<" in masked else ():
        left, right = match.span("inner")
        yield Quoted(*match.span(), (left, right), ((match.start(), left), (right, match.end())))


def within(text: str, quoted: Quoted) -> Iterator[Quoted]:
    """Yield the quotations between the marks of another one."""
    return _between(text, hidden(text, code_spans(text)), *quoted.inner)


def _between(text: str, masked: str, first: int, last: int) -> Iterator[Quoted]:
    for start, end in paragraphs(masked[first:last]):
        for match in _PAIRS.finditer(masked, first + start, first + end):
            begin, stop = match.start() + 1, match.end() - 1
            content = text[begin:stop]
            left = begin + len(content) - len(content.lstrip())
            right = max(left, begin + len(content.rstrip()))
            quoted = Quoted(*match.span(), (left, right), ((match.start(), left), (right, match.end())))
            if is_proof(text[left:right]):
                yield quoted


def inner(text: str, quoted: Quoted) -> str:
    """Return what stands between the marks of a quotation."""
    content = text[slice(*quoted.inner)]
    return _BLOCK_MARK.sub("", content) if quoted.is_block else content


def is_proof(content: str) -> bool:
    """Say whether a quotation is long enough to prove something."""
    return sentences.word_count(content) >= MINIMUM_WORDS and len(content.strip()) >= MINIMUM_CHARACTERS


def strays(text: str, accounted: list[Span]) -> list[Span]:
    """Return the quotation marks of a draft that have no partner, but for inches and for arrows between words.

    Args:
        text: the draft.
        accounted: where quotations stand that were dealt with.
    """
    masked = hidden(text, [*code_spans(text), *accounted])
    if _MARK.search(masked) is None:
        return []
    short = [match.span() for start, end in paragraphs(masked) for match in _PAIRS.finditer(masked, start, end)]
    masked = hidden(masked, [span for span in short if not is_proof(text[span[0] + 1 : span[1] - 1])])
    found = []
    for match in _MARK.finditer(masked):
        before, after = masked[: match.start()][-1:], masked[match.end() :][:1]
        is_inch = match[0] in '"\u201d\u2033' and before.isdigit()
        is_arrow = match[0] in _SEPARATORS and (before + after).isspace()
        if not is_inch and not is_arrow:
            found.append(match.span())
    return found
