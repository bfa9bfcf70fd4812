"""Small contexts for the tests of packing, generation and verification."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from clockify_rag.contracts import Chunk, Context, Document, Hit, Query, Scores, Span
from clockify_rag.understanding.kinds import RuleClassifier


def chunk_of(text: str, spans: Sequence[Span] | None = None, **fields: Any) -> Chunk:
    """Return a chunk of the document whose canonical text is ``text``: the whole of it, or its slices at ``spans``."""
    places = tuple(spans or [(0, len(text))])
    content = "\n".join(text[start:end] for start, end in places)
    given: dict[str, Any] = {
        "id": _hash(content),
        "document_id": _hash(text),
        "kind": "text",
        "ordinal": 0,
        "heading_path": (),
        "anchor": None,
        "tokens": len(content.split()),
        "content_hash": _hash(content),
        **fields,
    }
    return Chunk(spans=places, text=content, **given)


def hit_of(chunk: Chunk, rank: int = 1, title: str = "A page", **fields: Any) -> Hit:
    """Return a hit on ``chunk``."""
    document = Document(id=chunk.document_id, source="docs", path=f"page-{rank}.md", title=title, **fields)
    return Hit(rank=rank, score=1 / rank, chunk=chunk, document=document, scores=Scores(fused=1 / rank))


def context_of(*chunks: Chunk | str, titles: Sequence[str] = ()) -> Context:
    """Return a context of whole chunks, best first."""
    made = [chunk_of(chunk) if isinstance(chunk, str) else chunk for chunk in chunks]
    names = [*titles, *["A page"] * len(made)]
    hits = tuple(hit_of(chunk, rank, names[rank - 1]) for rank, chunk in enumerate(made, 1))
    return Context(hits=hits, texts=tuple(chunk.text for chunk in made), tokens=sum(chunk.tokens for chunk in made))


def ask(question: str, language: str = "en") -> Query:
    """Return the query of a question that is understood as it stands."""
    kind = RuleClassifier().classify(question, language)
    return Query(question=question, text=question, language=language, kind=kind)


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
