"""LanceDB: full-text index and vectors in one table, hybrid search with its reciprocal rank fusion; it has no MMR."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contender import PICKED, TOP, Contender

if TYPE_CHECKING:
    from contender import Vectors


class Lance(Contender):
    """A local table; vectors are compared with all rows, which is its default without an index."""

    name = "LanceDB"
    packages = ("lancedb",)
    path = "exact float32, its default"
    notes = "no MMR: the first 12 after its reciprocal rank fusion"

    def load(self) -> None:
        """Import it."""
        import lancedb  # noqa: F401

    def build(self) -> None:
        """Write the table and the full-text index."""
        import lancedb
        import pyarrow

        vectors = self.corpus.vectors
        table = pyarrow.table(
            {
                "row": pyarrow.array(range(len(vectors)), pyarrow.int64()),
                "text": self.corpus.texts,
                "vector": pyarrow.FixedSizeListArray.from_arrays(
                    pyarrow.array(vectors.reshape(-1)), self.corpus.dimension
                ),
            }
        )
        made = lancedb.connect(str(self.store)).create_table("chunks", table)
        made.create_fts_index("text", with_position=False, stem=True, remove_stop_words=True, language="English")

    def open(self) -> None:
        """Open the table."""
        import lancedb
        from lancedb.rerankers import RRFReranker

        self._table = lancedb.connect(str(self.store)).open_table("chunks")
        self._fusion = RRFReranker()

    def lexical(self, text: str) -> Any:
        """BM25 100."""
        return self._table.search(text, query_type="fts").limit(TOP).select(["row"]).to_arrow()

    def dense(self, vector: Vectors) -> Any:
        """Dense 100."""
        return self._table.search(vector).distance_type("dot").limit(TOP).select(["row"]).to_arrow()

    def hybrid(self, text: str, vector: Vectors) -> Any:
        """Both, reciprocal ranks."""
        search = self._table.search(query_type="hybrid").vector(vector).text(text).distance_type("dot")
        return search.rerank(self._fusion).limit(TOP).select(["row"]).to_arrow().slice(0, PICKED)

    def rows(self, result: Any) -> list[int]:
        """Read the column."""
        found: list[int] = result.column("row").to_pylist()
        return found
