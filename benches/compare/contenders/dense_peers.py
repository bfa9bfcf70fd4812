"""Engines that search by vectors only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from contender import TOP, Contender

if TYPE_CHECKING:
    from contender import Vectors


class UsearchExact(Contender):
    """usearch's exact search over a mapped float16 array."""

    name = "usearch f16 exact"
    packages = ("usearch",)
    path = "exact float16"

    def load(self) -> None:
        """Import it."""
        import usearch.index  # noqa: F401

    def build(self) -> None:
        """Save the array."""
        import numpy

        numpy.save(self.store / "vectors.npy", self.corpus.vectors.astype(numpy.float16))

    def open(self) -> None:
        """Map the array."""
        import numpy

        self._matrix = numpy.load(self.store / "vectors.npy", mmap_mode="r").view(numpy.ndarray)

    def dense(self, vector: Vectors) -> Any:
        """Dense 100."""
        from usearch.index import MetricKind, search

        return search(self._matrix, vector.astype("float16"), TOP, MetricKind.IP, exact=True, threads=1).keys


class UsearchGraph(Contender):
    """usearch's HNSW over int8."""

    name = "usearch int8 HNSW"
    packages = ("usearch",)
    ef: ClassVar[int] = 128
    path = "HNSW int8, M 16, ef 128"

    def load(self) -> None:
        """Import it."""
        import usearch.index  # noqa: F401

    def _empty(self) -> Any:
        from usearch.index import Index

        return Index(ndim=self.corpus.dimension, metric="cos", dtype="i8", expansion_search=self.ef)

    def build(self) -> None:
        """Insert on all threads, save."""
        import numpy

        index = self._empty()
        index.add(numpy.arange(len(self.corpus.vectors)), self.corpus.vectors)
        index.save(str(self.store / "graph"))

    def open(self) -> None:
        """Load the graph."""
        self._index = self._empty()
        self._index.load(str(self.store / "graph"))
        self._index.expansion_search = self.ef

    def dense(self, vector: Vectors) -> Any:
        """Dense 100."""
        return self._index.search(vector, TOP, threads=1).keys


class FaissFlat(Contender):
    """faiss's flat index of float32: exact."""

    name = "faiss flat"
    packages = ("faiss-cpu",)
    path = "exact float32"

    def load(self) -> None:
        """Import it."""
        import faiss

        faiss.omp_set_num_threads(1)

    def make(self) -> Any:
        """Return an empty index."""
        import faiss

        return faiss.IndexFlatIP(self.corpus.dimension)

    def build(self) -> None:
        """Add all rows, write."""
        import faiss

        faiss.omp_set_num_threads(2)
        index = self.make()
        index.add(self.corpus.vectors)
        faiss.write_index(index, str(self.store / "index"))

    def open(self) -> None:
        """Read the file."""
        import faiss

        self._index = faiss.read_index(str(self.store / "index"))

    def dense(self, vector: Vectors) -> Any:
        """Dense 100."""
        return self._index.search(vector[None], TOP)[1][0]


class FaissGraph(FaissFlat):
    """faiss's HNSW over float32."""

    name = "faiss HNSW"
    path = "HNSW float32, M 32, efConstruction 100, ef 256"

    def make(self) -> Any:
        """Return an empty graph."""
        import faiss

        index = faiss.IndexHNSWFlat(self.corpus.dimension, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 100
        index.hnsw.efSearch = 256
        return index


class FaissBytes(FaissFlat):
    """faiss's 8-bit scalar quantizer, scanned whole."""

    name = "faiss SQ8"
    path = "int8 scan"

    def make(self) -> Any:
        """Return an index whose ranges are trained."""
        import faiss

        index = faiss.index_factory(self.corpus.dimension, "SQ8", faiss.METRIC_INNER_PRODUCT)
        index.train(self.corpus.vectors[:50_000])
        return index
