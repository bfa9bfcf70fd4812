"""What a model thinks before it answers is not its answer: the parts between thinking tags are taken out of a stream.

Servers that know their model send such parts in a field of their own, which is not read. Others leave them in the text, between tags,
and a tag may be cut anywhere by the pieces of the stream: so the end of a piece that could begin a tag waits for the next one.
"""

from __future__ import annotations

from typing import Final

_TAGS: Final = {"<think>": "</think>", "<thinking>": "</thinking>", "[THINK]": "[/THINK]"}
_CLOSING: Final = frozenset(_TAGS.values())


class ThinkingFilter:
    """Passes on what is not between thinking tags, piece by piece.

    Args:
        started: whether the text begins within a thinking part: some chat templates write the opening tag themselves.
    """

    def __init__(self, *, started: bool = False) -> None:
        self._closing: frozenset[str] = _CLOSING if started else frozenset()
        self._waiting = ""

    @property
    def thinking(self) -> bool:
        """Whether the text so far ends within a thinking part."""
        return bool(self._closing)

    def passed(self, piece: str) -> str:
        """Return what is certain, after ``piece``, to be of the answer."""
        text = self._waiting + piece
        answer: list[str] = []
        while True:
            tags = self._closing or _TAGS.keys()
            place, tag = min(((text.find(tag), tag) for tag in tags if tag in text), default=(-1, ""))
            if place < 0:
                break
            if not self.thinking:
                answer.append(text[:place])
            self._closing = frozenset() if self.thinking else frozenset({_TAGS[tag]})
            text = text[place + len(tag) :]
        held = max((length for tag in tags for length in range(1, len(tag)) if text.endswith(tag[:length])), default=0)
        cut = len(text) - held
        if not self.thinking:
            answer.append(text[:cut])
        self._waiting = text[cut:]
        return "".join(answer)

    def rest(self) -> str:
        """Return what waited for the rest of a tag that did not come, at the end of the text."""
        waiting, self._waiting = self._waiting, ""
        return "" if self.thinking else waiting


def after_thinking(text: str) -> str:
    """Return what follows the last closing tag that was never opened, of a whole text that passed the filter; all of it where there is none."""
    for tag in _CLOSING:
        text = text.rpartition(tag)[2]
    return text
