"""Packing: which hits a generator is shown.

By relevance and whole, until the budget is spent: a smaller model with five whole sections answers better than with ten
halves. A hit that does not fit is left out and the next is tried, except the best one, which is always shown, cut at a
sentence when it alone is too long. Pages that are only links are not shown where there is anything else, because
nothing can be quoted from them.
"""

from __future__ import annotations

from collections.abc import Sequence

from clockify_rag import sentences
from clockify_rag.contracts import Context, Hit, Query, Step
from clockify_rag.embedding import Counter, shipped_tokenizer, windows
from clockify_rag.errors import InvalidSetting


class RelevancePacker:
    """Takes the best hits under a budget of tokens.

    Args:
        budget_tokens: the tokens of all texts shown, as ``Chunk.tokens`` counts them.
        pack_top: how many hits are considered.
        tokenizer: counts tokens when the best hit must be cut; by default that of the shipped vocabulary.
    """

    def __init__(self, budget_tokens: int = 3000, pack_top: int = 6, *, tokenizer: Counter | None = None) -> None:
        for name, value in (("budget_tokens", budget_tokens), ("pack_top", pack_top)):
            if value < 1:
                raise InvalidSetting(f"{name} of the packer is {value}, and must be at least 1", setting=name)
        self.budget_tokens = budget_tokens
        self.pack_top = pack_top
        self._tokenizer = tokenizer

    def pack(
        self,
        query: Query,  # noqa: ARG002 - the Protocol's
        hits: Sequence[Hit],
    ) -> Context:
        """Return the hits that fit, best first.

        Args:
            query: not used: the order is that of the hits.
            hits: best first.
        """
        quotable = [hit for hit in hits if hit.chunk.kind != "hub"]
        candidates = (quotable or list(hits))[: self.pack_top]
        taken: list[Hit] = []
        texts: list[str] = []
        used = 0
        for hit in candidates:
            text, tokens = hit.chunk.text, hit.chunk.tokens
            if not taken and tokens > self.budget_tokens:
                text, tokens = self._beginning(text)
            if used + tokens <= self.budget_tokens or not taken:
                taken.append(hit)
                texts.append(text)
                used += tokens
        dropped = len(candidates) - len(taken)
        details = {
            "hits": [hit.rank for hit in taken],
            "tokens": used,
            "budget_tokens": self.budget_tokens,
            "pack_top": self.pack_top,
            "dropped": dropped,
        }
        step = Step(stage="pack", name="by-relevance", details=details)
        return Context(hits=tuple(taken), texts=tuple(texts), tokens=used, dropped=dropped, steps=(step,))

    def _beginning(self, text: str) -> tuple[str, int]:
        """Return the first sentences of ``text`` that fit, or the first words where no sentence does; and their
        tokens.
        """
        tokenizer = self._tokenizer or shipped_tokenizer()
        spans = sentences.units(text)
        counts = tokenizer.count([text[start:end] for start, end in spans])
        end = used = 0
        for span, count in zip(spans, counts, strict=True):
            if used + count > self.budget_tokens:
                break
            end, used = span[1], used + count
        if end:
            return text[:end], used
        piece, used = next(windows(text, self.budget_tokens, tokenizer), ("", 0))
        # A piece ends where white space begins, so it is the text's own beginning but for white space at its start.
        return text[: len(text) - len(text.lstrip()) + len(piece)], used
