"""What a language model makes of a question before it is searched: follow-ups that stand alone, other wordings, parts, a
hypothetical answer.

Each costs a call of a model, so each is off unless it is chosen, all of one question share one deadline, and what was written is
remembered. What a model writes is checked as any text of a stranger: cleaned, of few words, and about the question. What is
late, fails or is rubbish is left out and said in the trace; the question as it is goes on.

Other wordings: multi-query. Parts: decomposition (Khot et al. 2022), at most three. A hypothetical answer: HyDE (Gao et al. 2022);
it is searched for what it resembles and never shown.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from clockify_rag import prompts, sentences
from clockify_rag.contracts import Completer, Turn
from clockify_rag.errors import BackendError, BackendTimeout
from clockify_rag.understanding import clean

MAXIMUM_PARTS: Final = 3
MAXIMUM_WORDINGS: Final = 3

_REMEMBERED: Final = 256
_WORDS: Final = 60
_ANSWER_WORDS: Final = 160
_TOKENS: Final[Mapping[str, int]] = {"follow-up": 120, "wordings": 160, "parts": 160, "hypothetical-answer": 220}
_TURN_CHARACTERS: Final = 600
_MARKER: Final = re.compile(r"\s*(?:[-*•]|\(?\d{1,2}[.):])\s+")
_BRACKETED: Final = re.compile(r"[ \t]*[\[\u3010]\s?\d[^\[\]\u3010\u3011\n]{0,40}[\]\u3011]|[\[\]\u3010\u3011]")
_LABEL: Final = re.compile(
    r"\s*(?:(?:rewritten|standalone|rephrased)\s+(?:question|query)|question|query|answer|output)\s*:\s*", re.IGNORECASE
)
_REFUSES: Final = re.compile(
    r"\s*(?:i['’]?m\s+sorry|i\s+can(?:no|['’])t|as\s+an\s+ai|sure[,!]|here\s+(?:are|is)\b)", re.IGNORECASE
)

Details = dict[str, Any]


class Rewriter:
    """Asks a model what to search for.

    Args:
        completer: the model.
        seconds: for all that one question asks of it.
        clock: seconds that only grow.
    """

    def __init__(self, completer: Completer, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._completer = completer
        self._seconds = seconds
        self._clock = clock
        self._written: OrderedDict[tuple[str, str, str], str] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self) -> float:
        """Return the deadline of a question that is asked now."""
        return self._clock() + self._seconds

    def standalone(self, question: str, history: Sequence[Turn], deadline: float) -> tuple[str | None, Details]:
        """Return a follow-up as a question that stands alone; ``None`` where the model made none."""
        told = "\n".join(
            f"Question: {clean(turn.question)[:_TURN_CHARACTERS]}\nAnswer: {clean(turn.answer)[:_TURN_CHARACTERS]}"
            for turn in history
        )
        text, details = self._ask("follow-up", f"{told}\n\nLast question: {question}", deadline)
        about = " ".join([question, *(f"{turn.question} {turn.answer}" for turn in history)])
        lines = _lines(text or "", about, _WORDS)
        return (lines[0], details) if lines else (None, _judged(text, details))

    def wordings(self, question: str, deadline: float) -> tuple[tuple[str, ...], Details]:
        """Return other wordings of ``question``, at most ``MAXIMUM_WORDINGS``."""
        text, details = self._ask("wordings", f"Question: {question}", deadline)
        found = tuple(line for line in _lines(text or "", None, _WORDS) if line.lower() != question.lower())
        return (found[:MAXIMUM_WORDINGS], details) if found else ((), _judged(text, details))

    def parts(self, question: str, deadline: float) -> tuple[tuple[str, ...], Details]:
        """Return the questions that ``question`` is made of, two or three of them; none for one that asks one thing."""
        text, details = self._ask("parts", f"Question: {question}", deadline)
        # They stand in answers, where a number in brackets is a citation.
        lines = _lines(_BRACKETED.sub("", text or ""), question, _WORDS)
        found = tuple(dict.fromkeys(lines))[:MAXIMUM_PARTS]
        if len(found) < 2:  # noqa: PLR2004 - one part is no part
            return (), _judged(text, details) if not found else {**details, "outcome": "one question"}
        return found, details

    def hypothetical_answer(self, question: str, deadline: float) -> tuple[str | None, Details]:
        """Return a passage that might answer ``question``."""
        text, details = self._ask("hypothetical-answer", f"Question: {question}", deadline)
        passage = " ".join(clean(text or "").split()[:_ANSWER_WORDS])
        return (passage, details) if _is_sound(passage, None, _ANSWER_WORDS) else (None, _judged(text, details))

    def _ask(self, task: str, user: str, deadline: float) -> tuple[str | None, Details]:
        details: Details = {"model": self._completer.name}
        key = (self._completer.name, task, user)
        with self._lock:
            known = self._written.get(key)
            if known is not None:
                self._written.move_to_end(key)
                return known, details
        seconds = deadline - self._clock()
        if seconds <= 0:
            return None, _failed(details, BackendTimeout("no time was left for it"))
        try:
            text = self._completer.complete(
                prompts.read(task).text, user, seconds=seconds, maximum_tokens=_TOKENS[task]
            )
        except BackendError as error:
            return None, _failed(details, error)
        if self._clock() > deadline:
            return None, _failed(details, BackendTimeout("the model was too late"))
        with self._lock:
            self._written[key] = text
            while len(self._written) > _REMEMBERED:
                self._written.popitem(last=False)
        return text, details


def _failed(details: Details, error: BackendError) -> Details:
    return {**details, "outcome": error.code, "reason": error.message}


def _judged(text: str | None, details: Details) -> Details:
    return details if text is None else {**details, "outcome": "rubbish"}


def _lines(text: str, about: str | None, maximum_words: int) -> list[str]:
    """The lines of a model's text that can be searched, without what numbers or labels them."""
    found = []
    for line in text.splitlines():
        written = clean(_LABEL.sub("", _MARKER.sub("", line, count=1), count=1)).strip("\"'“”«»`* ")
        if _is_sound(written, about, maximum_words):
            found.append(written)
    return found


def _is_sound(text: str, about: str | None, maximum_words: int) -> bool:
    """Whether a text has words, not too many, does not talk of itself, and has a word of ``about`` where that is given."""
    words = sentences.words(text)
    if not words or len(words) > maximum_words or _REFUSES.match(text) or text.endswith(":"):
        return False
    known = None if about is None else set(sentences.informative(about))
    return known is None or any(
        sentences.alike(word, other) for word in set(sentences.informative(text)) for other in known
    )
