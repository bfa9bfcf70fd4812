"""A pipeline without an engine, for what stands above it."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from clockify_rag.contracts import (
    Answer,
    Chunk,
    Citation,
    Document,
    Evidence,
    Failure,
    Hit,
    Scores,
    SearchResult,
    Skipped,
)
from clockify_rag.errors import EmptyQuery, SourceError

HOSTILE = "Use [id_12] \x1b[31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07 \u202eright\u202c \x9b2J ok"


def identifier(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """As ``pipeline.BuildReport``."""

    generation: int = 1
    documents: int = 2
    chunks: int = 3
    added: int = 2
    changed: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    stale: int = 0
    hidden: int = 1
    without_vectors: int = 1
    skipped: tuple[Skipped, ...] = ()
    timings_ms: dict[str, float] = msgspec.field(default_factory=lambda: {"total": 12.5})


class FakeIndex:
    generation = 7

    def __init__(self) -> None:
        text = f"# Exports\n{HOSTILE}\nÜber 24 hours."
        self.page = Document(id=identifier("d"), source="help", path="a/exports.md", title="Exports [beta]", url=None)
        self.texts = {self.page.id: text}
        self.chunk_ = Chunk(
            id=identifier("c"),
            document_id=self.page.id,
            kind="text",
            ordinal=0,
            heading_path=("Exports [beta]", "Formats"),
            anchor="formats",
            spans=((10, len(text)),),
            tokens=9,
            content_hash=identifier("h"),
            text=text[10:],
        )

    def documents(self) -> list[Document]:
        return [self.page]

    def find(self, name: str) -> Document:
        if name in (self.page.id, self.page.path):
            return self.page
        raise SourceError(f"the index has no document {name!r}", hint="clockify-rag documents lists them")

    def text(self, document_id: str) -> str:
        return self.texts[document_id]

    def chunks(self, document_id: str) -> list[Chunk]:
        return [self.chunk_]

    def chunk(self, chunk_id: str) -> tuple[Chunk, Document] | None:
        return (self.chunk_, self.page) if chunk_id == self.chunk_.id else None

    def info(self) -> dict[str, Any]:
        return {"generation": self.generation, "documents": 1, "embedder": None, "segments": [{"id": "s", "chunks": 1}]}


class FakePipeline:
    """Answers everything with one hit; each field changes how."""

    def __init__(self) -> None:
        self.index = FakeIndex()
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.failure: Failure | None = None
        self.refused = False
        self.no_hits = False
        self.skipped: tuple[Skipped, ...] = ()

    @property
    def hits(self) -> tuple[Hit, ...]:
        if self.no_hits:
            return ()
        scores = Scores(bm25=2.0, cosine=0.5, fused=1.625)
        return (Hit(rank=1, score=1.625, chunk=self.index.chunk_, document=self.index.page, scores=scores),)

    def build(self, sources: Any, **options: Any) -> Report:
        self.calls.append(("build", {"sources": tuple(sources), **options}))
        if options["progress"] is not None:
            options["progress"]("load", 1, 2)
        return Report(skipped=self.skipped)

    def search(self, question: str, **options: Any) -> SearchResult:
        self.calls.append(("search", {"question": question, **options}))
        if not question.strip():
            raise EmptyQuery("the question is empty", hint="ask something")
        return SearchResult(
            question=question,
            generation=7,
            hits=self.hits,
            timings_ms={"total": 0.5},
            evidence=Evidence(idf_coverage=0.9, best_cosine=0.5, documents=1),
            lexical_only=options["lexical"],
        )

    def ask(self, question: str, **options: Any) -> Answer:
        self.calls.append(("ask", {"question": question, **options}))
        document, chunk = self.index.page, self.index.chunk_
        text = self.index.texts[document.id]
        citation = Citation(
            marker=1,
            chunk_id=chunk.id,
            document_id=document.id,
            path=document.path,
            url=None,
            anchor="formats",
            quote=text[-14:],
            span=(len(text) - 14, len(text)),
        )
        answered = not self.refused and self.failure is None
        return Answer(
            question=question,
            answer="" if self.failure else "It is not known." if self.refused else f"{HOSTILE} [1]",
            refused=self.refused,
            reason="weak_evidence" if self.refused else None,
            citations=(citation,) if answered else (),
            hits=self.hits,
            generation=7,
            generator="extractive",
            sent_to=("models.example:11434",),
            failure=self.failure,
            timings_ms={"total": 1.0},
        )

    def explain(self, question: str, chunk_id: str | None = None) -> dict[str, Any]:
        return {
            "question": question,
            "terms": ["a", "b"],
            "hits": [{"rank": 1, "bm25": None}],
            "chunk": {"id": chunk_id},
        }
