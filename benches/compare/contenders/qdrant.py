"""qdrant-edge: sparse BM25 and dense HNSW in one shard, fused by reciprocal ranks.

Its own MMR query works on vectors alone and cannot follow a fusion, so MMR over the fused candidates is numpy's, with the vectors
that the shard returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contender import TOP, Contender

from contenders.handmade import picked

if TYPE_CHECKING:
    from contender import Vectors

BATCH = 1000


class Qdrant(Contender):
    """One shard, optimized after loading."""

    name = "qdrant-edge"
    packages = ("qdrant-edge-py", "numpy")
    path = "HNSW float32, its defaults"
    notes = "reciprocal rank fusion in the engine; MMR in numpy over the vectors it returns"

    def load(self) -> None:
        """Import it."""
        import qdrant_edge  # noqa: F401

    def build(self) -> None:
        """Insert in batches, optimize, flush."""
        import qdrant_edge as edge

        config = edge.EdgeConfig(
            vectors={"dense": edge.EdgeVectorParams(size=self.corpus.dimension, distance=edge.Distance.Dot)},
            sparse_vectors={"words": edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        )
        (self.store / "shard").mkdir()
        shard = edge.EdgeShard.create(str(self.store / "shard"), config)
        words = edge.Bm25()
        for start in range(0, len(self.corpus.texts), BATCH):
            texts, vectors = self.corpus.texts[start : start + BATCH], self.corpus.vectors[start : start + BATCH]
            points = [
                edge.Point(start + row, {"dense": vector.tolist(), "words": words.embed_document(text)}, {})
                for row, (text, vector) in enumerate(zip(texts, vectors, strict=True))
            ]
            shard.update(edge.UpdateOperation.upsert_points(points))
        shard.optimize()
        shard.flush()
        shard.close()

    def open(self) -> None:
        """Load the shard."""
        import qdrant_edge as edge

        self._edge = edge
        self._words = edge.Bm25()
        self._shard = edge.EdgeShard.load(str(self.store / "shard"))

    def lexical(self, text: str) -> Any:
        """BM25 100."""
        edge = self._edge
        query = edge.Query.Nearest(self._words.embed_query(text), using="words")
        return self._shard.query(edge.QueryRequest(limit=TOP, query=query))

    def dense(self, vector: Vectors) -> Any:
        """Dense 100."""
        edge = self._edge
        return self._shard.query(edge.QueryRequest(limit=TOP, query=edge.Query.Nearest(vector.tolist(), using="dense")))

    def hybrid(self, text: str, vector: Vectors) -> Any:
        """Both, reciprocal ranks, MMR 12 of 100."""
        import numpy

        edge = self._edge
        prefetches = [
            edge.Prefetch(limit=TOP, query=edge.Query.Nearest(self._words.embed_query(text), using="words")),
            edge.Prefetch(limit=TOP, query=edge.Query.Nearest(vector.tolist(), using="dense")),
        ]
        points = self._shard.query(
            edge.QueryRequest(limit=TOP, prefetches=prefetches, query=edge.Fusion.Rrf(k=60), with_vector=["dense"])
        )
        vectors = numpy.array([point.vector["dense"] for point in points], numpy.float32)
        relevance = numpy.array([point.score for point in points], numpy.float32)
        return [points[place] for place in picked(relevance, vectors)]

    def rows(self, result: Any) -> list[int]:
        """Ids are rows."""
        return [point.id for point in result]
