"""Drafts under correction: where code stands in them, and texts after replacements.

Everything is found in the draft as the model wrote it and written as a replacement; they are made together at the end, so that
places found first stay true, and so that what was found can be followed into the text that is shown.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence

import msgspec

from clockify_rag.contracts import Span

_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
_PARAGRAPH = re.compile(r"\n[^\S\n]*\n\s*")
HIDDEN = "\ue000"
"""What stands for a character that is not read: of code, or of an address."""


class Edit(msgspec.Struct, frozen=True):
    """A replacement in a draft."""

    start: int
    end: int
    text: str


class Edited:
    """A draft after its replacements.

    Args:
        draft: the text.
        edits: what to replace; of two that overlap the first counts, and of two that begin together the longer one. What is
            only taken away goes also where the one before it ends within it.
    """

    def __init__(self, draft: str, edits: Iterable[Edit]) -> None:
        parts: list[str] = []
        position = length = 0
        self._starts: list[int] = []
        self._kept: list[tuple[int, int, int]] = []
        for edit in sorted(edits, key=lambda edit: (edit.start, edit.start < edit.end, -edit.end)):
            start = edit.start
            if start < position:
                if edit.text or edit.end <= position:
                    continue
                start = position
            parts += [draft[position:start], edit.text]
            length += start - position
            self._starts.append(start)
            self._kept.append((edit.end, length, length + len(edit.text)))
            length += len(edit.text)
            position = edit.end
        whole = "".join([*parts, draft[position:]])
        self._cut = len(whole) - len(whole.lstrip())
        self.text = whole.strip()
        """The text that is shown, without white space around it."""

    def place(self, start: int, end: int) -> Span:
        """Return where a range of the draft stands now, what was put in at its ends left out."""
        first, last = self._moved(start, is_end=False), self._moved(end, is_end=True)
        first, last = (min(max(0, at - self._cut), len(self.text)) for at in (first, last))
        return first, max(first, last)

    def _moved(self, position: int, *, is_end: bool) -> int:
        row = bisect_right(self._starts, position) - 1
        while is_end and row >= 0 and self._starts[row] == position:
            row -= 1
        if row < 0:
            return position
        end, first, last = self._kept[row]
        if position >= end:
            return last + position - end
        return last if is_end else first


def code_spans(text: str) -> list[Span]:
    """Return where code stands in a draft: between back-quotes, one or three."""
    return [match.span() for match in _CODE.finditer(text)] if "`" in text else []


def hidden(text: str, spans: Sequence[Span], character: str = HIDDEN) -> str:
    """Return ``text`` with each character of some spans replaced, so that places stay."""
    if not spans:
        return text
    parts = []
    position = 0
    for start, end in sorted(spans):
        if end > position:
            begin = max(start, position)
            parts += [text[position:begin], character * (end - begin)]
            position = end
    return "".join([*parts, text[position:]])


def paragraphs(text: str) -> list[Span]:
    """Return the spans of the parts of ``text`` that blank lines separate."""
    ends = [*(match.span() for match in _PARAGRAPH.finditer(text)), (len(text), len(text))]
    starts = [0, *(end for _, end in ends)]
    return [(start, end) for start, (end, _) in zip(starts, ends, strict=False)]
