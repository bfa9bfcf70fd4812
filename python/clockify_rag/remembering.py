"""Answers that are given again: from memory, from a file, and from those that were made beforehand.

What is looked up is complete: an answer under a key is the answer that would be made, but for how long that takes. So no answer that
failed, broke off or was made with less than there should be is ever kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from clockify_rag.cache import Counts, RecentResults, StoredResults
from clockify_rag.cache.answers import ANSWERS, FAQ
from clockify_rag.config import CacheSettings
from clockify_rag.contracts import Answer, digest

_encoder = msgspec.msgpack.Encoder()


class AnswerCache:
    """Answers by a key of everything that they depend on. One object serves many threads.

    Args:
        folder: where files of answers lie.
        settings: ``[cache]``.
        current: tells whether the generation that is open is the one that is served, so that nothing is written of documents that
            were removed meanwhile.
    """

    def __init__(self, folder: Path, settings: CacheSettings, *, current: Callable[[], bool] = lambda: True) -> None:
        self._recent: RecentResults[Answer] = RecentResults(settings.entries, settings.seconds)
        self._faq = StoredResults(folder / FAQ)
        self._stored: StoredResults | None = None
        if settings.persist:
            self._stored = StoredResults(folder / ANSWERS, entries=settings.entries, seconds=settings.seconds)
        self._current = current

    @property
    def counts(self) -> Counts:
        """How often memory was asked, and had the answer."""
        return self._recent.counts

    def get(self, key: str) -> Answer | None:
        """Return the answer under ``key``."""
        answer = self._recent.get(key)
        if answer is not None:
            return answer
        for results in (self._faq, self._stored):
            value = None if results is None or not results.path.exists() else results.get(_hashed(key))
            answer = None if value is None else _decoded(value)
            if answer is not None:
                self._recent.put(key, answer)
                return answer
        return None

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer."""
        self._recent.put(key, answer)
        if self._stored is not None and self._current():
            self._stored.put(_hashed(key), _encoder.encode(answer))

    def prepare(self, answers: Mapping[str, Answer]) -> None:
        """Store answers that were made beforehand, in place of all that were.

        Raises:
            OSError: their file cannot be written.
        """
        self._faq.replace({_hashed(key): _encoder.encode(answer) for key, answer in answers.items()})

    def clear(self) -> None:
        """Forget what is in memory."""
        self._recent.clear()


def _hashed(key: str) -> str:
    """What stands for a key in a file; made for files only, because what hashes takes longer to load than a question to answer."""
    return digest("answer 2", key)


def _decoded(value: bytes) -> Answer | None:
    """The answer that was stored; ``None`` for what another version of this package stored otherwise."""
    try:
        return msgspec.msgpack.decode(value, type=Answer)
    except msgspec.MsgspecError:
        return None
