"""The best that is put together by hand from the fastest parts: bm25s with numba, usearch, fusion and MMR in numpy.

Each part is as fast as its public interface allows: words are looked up in bm25s's own vocabulary with stems remembered, scores are
taken without progress bars or threads, vectors of candidates are gathered once for fusion and MMR, and MMR keeps the largest
similarity to what is picked instead of computing it again. Fusion is the rule of ours, BM25 / largest + w · cosine.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from contender import MMR_LAMBDA, PICKED, TOP, Contender

if TYPE_CHECKING:
    import numpy
    from contender import Vectors
    from numpy.typing import NDArray

WANTED_RECALL = 0.99
EFS = (128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
TUNING_QUESTIONS = 100

WORD = re.compile(r"(?u)\b\w\w+\b")


class Words:
    """Questions as bm25s's word numbers: lower case, English stop words, Snowball stems, each stem remembered."""

    def __init__(self, vocabulary: dict[str, int]) -> None:
        import Stemmer
        from bm25s.stopwords import STOPWORDS_EN

        self._stem = Stemmer.Stemmer("english").stemWord
        self._vocabulary = vocabulary
        self._known: dict[str, int | None] = dict.fromkeys(STOPWORDS_EN)

    def numbers(self, text: str) -> list[int]:
        """Return the numbers of the words that the vocabulary has."""
        known, found = self._known, []
        for word in WORD.findall(text.lower()):
            if word not in known:
                known[word] = self._vocabulary.get(self._stem(word))
            number = known[word]
            if number is not None:
                found.append(number)
        return found


class Lexical:
    """bm25s with numba over the corpus."""

    def __init__(self, contender: Contender) -> None:
        self._contender = contender
        self._folder = contender.store / "bm25s"

    def build(self) -> None:
        """Tokenize, stem, index, save."""
        import bm25s
        import Stemmer

        tokens = bm25s.tokenize(
            self._contender.corpus.texts, stopwords="en", stemmer=Stemmer.Stemmer("english"), show_progress=False
        )
        engine = bm25s.BM25(k1=1.2, b=0.75, backend="numba")
        engine.index(tokens, show_progress=False)
        engine.save(str(self._folder))

    def open(self) -> None:
        """Load the arrays; compiling, or reading what was compiled, happens at the first search."""
        import bm25s

        self._engine = bm25s.BM25.load(str(self._folder), show_progress=False)
        self._words = Words(self._engine.vocab_dict)

    def top(self, text: str) -> tuple[NDArray[numpy.int32], NDArray[numpy.float32]]:
        """Return the rows of the best 100, and their scores."""
        import numpy

        numbers = self._words.numbers(text)
        if not numbers:
            return numpy.empty(0, numpy.int32), numpy.empty(0, numpy.float32)
        found, scores = self._engine.retrieve(
            [numbers], k=TOP, show_progress=False, n_threads=1, backend_selection="numba"
        )
        kept = scores[0] > 0
        return found[0][kept], scores[0][kept]


def fused_and_picked(
    lexical: tuple[NDArray[numpy.int32], NDArray[numpy.float32]],
    near: NDArray[numpy.int64],
    matrix: Vectors,
    vector: Vectors,
    weight: float = 1.8,
) -> NDArray[numpy.int64]:
    """Fuse two lists, each candidate with its cosine, and pick 12 by MMR from the best 100."""
    import numpy

    rows, scores = lexical
    union = numpy.union1d(rows, near)
    vectors = matrix[union].astype(numpy.float32, copy=False)
    relevance = weight * (vectors @ vector)
    if len(rows):
        relevance[numpy.searchsorted(union, rows)] += scores / scores.max()
    best = numpy.argpartition(-relevance, TOP)[:TOP] if len(union) > TOP else numpy.arange(len(union))
    return union[best[picked(relevance[best], vectors[best])]]


def picked(relevance: Vectors, vectors: Vectors, count: int = PICKED) -> list[int]:
    """Incremental MMR: each step compares the candidates with the last pick only."""
    import numpy

    left = MMR_LAMBDA * relevance
    nearest = numpy.full(len(relevance), -numpy.inf, numpy.float32)
    chosen = [int(left.argmax())]
    for _ in range(min(count, len(relevance)) - 1):
        last = chosen[-1]
        left[last] = -numpy.inf
        numpy.maximum(nearest, vectors @ vectors[last], out=nearest)
        chosen.append(int((left - (1 - MMR_LAMBDA) * nearest).argmax()))
    return chosen


class HandMade(Contender):
    """bm25s with numba, usearch's exact search over float16, numpy."""

    name = "hand-made f16 exact"
    packages = ("bm25s", "numba", "PyStemmer", "usearch", "numpy")
    notes = "vectors as a mapped float16 array"
    opened_for = ("hybrid",)
    dtype: ClassVar[str] = "float16"

    @property
    def path(self) -> str:
        """How vectors are compared."""
        return f"usearch exact {self.dtype}"

    def load(self) -> None:
        """Import the parts."""
        import bm25s  # noqa: F401
        import numba  # noqa: F401
        import Stemmer  # noqa: F401
        import usearch.index  # noqa: F401

    def build(self) -> None:
        """Both parts, each saved."""
        import numpy

        Lexical(self).build()
        numpy.save(self.store / "vectors.npy", self.corpus.vectors.astype(self.dtype))
        self.build_dense()

    def build_dense(self) -> None:
        """Nothing: the array is searched."""

    def open(self) -> None:
        """Load both parts."""
        import numpy

        self._lexical = Lexical(self)
        self._lexical.open()
        self._matrix = numpy.load(self.store / "vectors.npy", mmap_mode="r").view(numpy.ndarray)

    def dense(self, vector: Vectors) -> Any:
        """Dense 100."""
        from usearch.index import MetricKind, search

        query = vector.astype(self.dtype, copy=False)
        return search(self._matrix, query, TOP, MetricKind.IP, exact=True, threads=1).keys

    def hybrid(self, text: str, vector: Vectors) -> Any:
        """BM25 100 and dense 100, fused, MMR 12."""
        import numpy

        near = self.dense(vector).astype(numpy.int64)
        return fused_and_picked(self._lexical.top(text), near, self._matrix, vector)


class HandMadeFloat(HandMade):
    """The same with float32 and one product of numpy's, which is faster than usearch where float16 has no instructions."""

    name = "hand-made f32 exact"
    notes = "vectors as a mapped float32 array"
    dtype = "float32"

    @property
    def path(self) -> str:
        """How vectors are compared."""
        return "numpy product, float32"

    def dense(self, vector: Vectors) -> Any:
        """Dense 100 by one product and a partial sort."""
        import numpy

        cosines = self._matrix @ vector
        best = numpy.argpartition(cosines, -TOP)[-TOP:]
        return best[numpy.argsort(-cosines[best])]


class HandMadeGraph(HandMade):
    """The same with usearch's HNSW."""

    name = "hand-made HNSW"
    notes = "usearch's default graph; ef 128"

    @property
    def ef(self) -> int:
        """How many nodes a search keeps."""
        return 128

    @property
    def path(self) -> str:
        """How vectors are compared."""
        return f"usearch HNSW {self.dtype}, M 16, ef {self.ef}"

    def _empty(self) -> Any:
        from usearch.index import Index

        return Index(ndim=self.corpus.dimension, metric="ip", dtype="f16")

    def build_dense(self) -> None:
        """The graph, on all threads, and the smallest of some ef that finds 99 of the nearest 100."""
        import numpy

        vectors = numpy.asarray(self.corpus.vectors)
        self._graph = self._empty()
        self._graph.add(numpy.arange(len(vectors)), vectors)
        self._graph.save(str(self.store / "graph"))
        questions = self.corpus.question_vectors[:TUNING_QUESTIONS]
        nearest = [set(numpy.argpartition(vectors @ question, -TOP)[-TOP:].tolist()) for question in questions]
        for ef in EFS:
            self._graph.expansion_search = ef
            found = [
                near.intersection(self.dense(question).tolist())
                for near, question in zip(nearest, questions, strict=True)
            ]
            if sum(map(len, found)) >= WANTED_RECALL * TOP * len(questions):
                break
        (self.store / "ef").write_text(str(ef))

    def open(self) -> None:
        """Load both parts; the graph in full, which answers faster than a view."""
        super().open()
        self._graph = self._empty()
        self._graph.load(str(self.store / "graph"))
        self._graph.expansion_search = self.ef

    def dense(self, vector: Vectors) -> Any:
        """Dense 100 by the graph."""
        return self._graph.search(vector, TOP, threads=1).keys


class HandMadeGraphDeep(HandMadeGraph):
    """The same at the ef that reaches our recall."""

    name = "hand-made HNSW, our recall"
    notes = "the smallest of some ef that reaches a recall@100 of .99"

    @property
    def ef(self) -> int:
        """As the build found it."""
        return int((self.store / "ef").read_text())


class HandMadeScan(HandMade):
    """The same with faiss's int8 rows, scanned whole, and the best of them scored again."""

    name = "hand-made int8 scan"
    packages = ("bm25s", "numba", "PyStemmer", "faiss-cpu", "numpy")
    notes = "faiss's 8-bit scalar quantizer, 150 of its best rescored in float16"
    pool: ClassVar[int] = 150

    @property
    def path(self) -> str:
        """How vectors are compared."""
        return f"faiss SQ8 scan, {self.pool} rescored"

    def build_dense(self) -> None:
        """Train the ranges, add all rows."""
        import faiss

        index = faiss.index_factory(self.corpus.dimension, "SQ8", faiss.METRIC_INNER_PRODUCT)
        index.train(self.corpus.vectors[:50_000])
        index.add(self.corpus.vectors)
        faiss.write_index(index, str(self.store / "rows"))

    def open(self) -> None:
        """Load both parts."""
        import faiss

        super().open()
        faiss.omp_set_num_threads(1)
        self._rows = faiss.read_index(str(self.store / "rows"))

    def dense(self, vector: Vectors) -> Any:
        """Dense 100."""
        import numpy

        near = self._rows.search(vector[None], self.pool)[1][0]
        cosines = self._matrix[near].astype(numpy.float32) @ vector
        return near[numpy.argsort(-cosines)[:TOP]]
