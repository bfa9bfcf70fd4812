"""Haystack: its document store in memory with both retrievers and its joiner's reciprocal rank fusion; it has no MMR here.

Its diversity ranker embeds the documents anew with a transformer, so it is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contender import PICKED, TOP, Contender

if TYPE_CHECKING:
    from contender import Vectors


class Haystack(Contender):
    """InMemoryDocumentStore, called through its retrievers, without a pipeline around them."""

    name = "Haystack"
    packages = ("haystack-ai",)
    path = "exact float32, numpy"
    notes = "in memory only: opening indexes the texts; no MMR: the first 12 after fusion"

    def load(self) -> None:
        """Import it."""
        import haystack.components.joiners
        import haystack.components.retrievers.in_memory
        import haystack.document_stores.in_memory  # noqa: F401

    def open(self) -> None:
        """Index the texts and vectors."""
        from haystack import Document
        from haystack.components.joiners import DocumentJoiner
        from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
        from haystack.document_stores.in_memory import InMemoryDocumentStore

        store = InMemoryDocumentStore(return_embedding=False)
        store.write_documents(
            [
                Document(id=str(row), content=text, embedding=vector)
                for row, (text, vector) in enumerate(zip(self.corpus.texts, self.corpus.vectors.tolist(), strict=True))
            ]
        )
        self._lexical = InMemoryBM25Retriever(store, top_k=TOP)
        self._dense = InMemoryEmbeddingRetriever(store, top_k=TOP)
        self._joiner = DocumentJoiner(join_mode="reciprocal_rank_fusion", top_k=PICKED)

    def lexical(self, text: str) -> Any:
        """BM25 100."""
        return self._lexical.run(query=text)["documents"]

    def dense(self, vector: Vectors) -> Any:
        """Dense 100."""
        return self._dense.run(query_embedding=vector.tolist())["documents"]

    def hybrid(self, text: str, vector: Vectors) -> Any:
        """Both, reciprocal ranks."""
        return self._joiner.run(documents=[self.lexical(text), self.dense(vector)])["documents"]

    def rows(self, result: Any) -> list[int]:
        """Ids are rows."""
        return [int(document.id) for document in result]
