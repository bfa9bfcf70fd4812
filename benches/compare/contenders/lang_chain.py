"""LangChain: EnsembleRetriever over its BM25Retriever and its vector store in memory, with its maximal_marginal_relevance.

Both of its parts are in memory only: opening indexes the texts again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from contender import MMR_LAMBDA, PICKED, STOP_WORDS, TOP, Contender

if TYPE_CHECKING:
    from contender import Vectors

WORD = re.compile(r"(?u)\b\w\w+\b")


def words(text: str) -> list[str]:
    """Lower case, without stop words."""
    return [word for word in WORD.findall(text.lower()) if word not in STOP_WORDS]


class LangChain(Contender):
    """EnsembleRetriever of BM25Retriever and InMemoryVectorStore."""

    name = "LangChain"
    packages = ("langchain-classic", "langchain-community", "langchain-core", "rank-bm25")
    path = "exact float32, numpy"
    notes = "in memory only: opening indexes the texts; the embedder returns the vector that was given"

    def load(self) -> None:
        """Import it."""
        import langchain_core.vectorstores  # noqa: F401

    def open(self) -> None:
        """Index the texts and vectors."""
        from langchain_classic.retrievers import EnsembleRetriever
        from langchain_community.retrievers import BM25Retriever
        from langchain_core.documents import Document
        from langchain_core.embeddings import Embeddings
        from langchain_core.vectorstores import InMemoryVectorStore

        contender = self

        class Given(Embeddings):
            """Returns the question's vector as it was given."""

            def embed_documents(self, texts: list[str]) -> list[list[float]]:
                raise NotImplementedError("the base class demands it; documents come with their vectors")

            def embed_query(self, text: str) -> list[float]:
                del text
                return contender._vector

        documents = [
            Document(page_content=text, metadata={"row": row}, id=str(row))
            for row, text in enumerate(self.corpus.texts)
        ]
        self._lexical = BM25Retriever.from_documents(documents, preprocess_func=words, k=TOP)
        self._store = InMemoryVectorStore(Given())
        self._store.store = {
            str(row): {"id": str(row), "vector": vector, "text": text, "metadata": {"row": row}}
            for row, (text, vector) in enumerate(zip(self.corpus.texts, self.corpus.vectors.tolist(), strict=True))
        }
        self._dense = self._store.as_retriever(search_kwargs={"k": TOP})
        self._ensemble = EnsembleRetriever(retrievers=[self._lexical, self._dense], weights=[0.5, 0.5], id_key="row")

    def lexical(self, text: str) -> Any:
        """BM25 100."""
        return self._lexical.invoke(text)

    def dense(self, vector: Vectors) -> Any:
        """Dense 100."""
        self._vector = vector.tolist()
        return self._dense.invoke("")

    def hybrid(self, text: str, vector: Vectors) -> Any:
        """Ensemble, then MMR 12 over the first 100."""
        from langchain_core.vectorstores.utils import maximal_marginal_relevance

        self._vector = vector.tolist()
        documents = self._ensemble.invoke(text)[:TOP]
        vectors = [self._store.store[str(document.metadata["row"])]["vector"] for document in documents]
        chosen = maximal_marginal_relevance(vector, vectors, lambda_mult=MMR_LAMBDA, k=PICKED)
        return [documents[place] for place in chosen]

    def rows(self, result: Any) -> list[int]:
        """Read the metadata."""
        return [document.metadata["row"] for document in result]
