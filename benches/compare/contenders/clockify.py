"""Our engine, called from Python with the question's vector, as the peers are.

Peers give numbers of rows and scores. ``hybrid`` gives the twelve hits with their texts, records and scores, ``lexical``
and ``dense`` the hundred best ids and scores; what it costs to hand them over is in the time. ``hybrid`` also scores whole
documents, which no peer has; ``chunks only`` leaves that out. ``lexical`` and ``dense`` are the same search with one
retriever: BM25F over title, headings and text, without the documents' evidence. A test holds ``hybrid`` to the hits and
scores of ``Pipeline.search`` with the settings' defaults.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any, ClassVar

from contender import MMR_LAMBDA, PICKED, TOP, Contender

if TYPE_CHECKING:
    from contender import Vectors

    from clockify_rag._core import Found, SearchOptions

PATHS = {"exact": "exact: int8 scan, f16 rescoring", "cascade": "cascade: 1 bit, int8, f16"}

UNKNOWN = "\u2002"
"""A question without words, for a search by the vector alone."""


class Clockify(Contender):
    """The default: what ``Pipeline.search`` asks the core for."""

    name = "clockify-rag"
    notes = "hybrid hits with texts, records and scores, and with whole documents' evidence"
    document_weight: ClassVar[float] = 0.3
    repeat_weight: ClassVar[float] = 0.85
    mode: ClassVar[str] = "auto"
    maps_all = True

    @property
    def version(self) -> str:
        """The version of the package that is installed or named by ``PYTHONPATH``."""
        import clockify_rag

        return f"clockify-rag {clockify_rag.__version__}"

    @property
    def path(self) -> str:
        """The SIMD level and the path that answered at this size."""
        from clockify_rag import _core

        self.load()
        self.open()
        answered = self._search(UNKNOWN, self.corpus.question_vectors[0], self._dense).dense_path
        return f"{_core.simd()}, {PATHS[answered or 'exact']}"

    def load(self) -> None:
        """Import the core."""
        from clockify_rag import _core

        self._core = _core

    def build(self) -> None:
        """At 256 numbers: the command line's build of the pages. At others: the same chunks with the given vectors."""
        from corpus import build, index_with

        if self.corpus.dimension == 256:
            build(self.corpus.folder / "pages", self.store / "index")
            return
        index_with(self.corpus.folder, self.corpus.dimension)
        shutil.copytree(self.corpus.folder / f"index-{self.corpus.dimension}", self.store / "index")

    def open(self) -> None:
        """Open and verify the snapshot."""
        self._snapshot = self._core.Snapshot.open(str(self.store / "index"))
        self._hybrid = self._options(top_k=PICKED, dense_weight=1.8, mmr_lambda=MMR_LAMBDA)
        self._lexical = self._options(top_k=TOP, dense_weight=0.0, document_weight=0.0)
        self._dense = self._options(top_k=TOP, dense_weight=1.0, document_weight=0.0)

    def _options(
        self, *, top_k: int, dense_weight: float, document_weight: float | None = None, mmr_lambda: float | None = None
    ) -> SearchOptions:
        return self._core.SearchOptions(
            top_k=top_k,
            candidates=TOP,
            k1=1.2,
            b=(0.75, 0.75, 0.75),
            weights=(5.0, 1.0, 1.0),
            dense_weight=dense_weight,
            document_weight=self.document_weight if document_weight is None else document_weight,
            repeat_weight=self.repeat_weight if document_weight is None else 1.0,
            mmr_lambda=mmr_lambda,
            dense=self.mode,
        )

    def hybrid(self, text: str, vector: Vectors) -> Any:
        """BM25F 100 and dense 100, fused, MMR 12."""
        return self._search(text, vector, self._hybrid).rows

    def lexical(self, text: str) -> Any:
        """BM25F 100."""
        return self._search(text, None, self._lexical).ids

    def dense(self, vector: Vectors) -> Any:
        """Dense 100."""
        return self._search(UNKNOWN, vector, self._dense).ids

    def _search(self, text: str, vector: Vectors | None, options: SearchOptions) -> Found:
        return self._snapshot.search(text, "en", [], ["kind=hub"], options, vector=vector)

    def rows(self, result: Any) -> list[int]:
        """Look the rows' ids up."""
        from clockify_rag.index import decode_chunk

        if not hasattr(self, "_row"):
            self._row = {chunk_id: row for row, chunk_id in enumerate(self.corpus.ids)}
        if isinstance(result, tuple):
            return [self._row[chunk_id.decode()] for chunk_id in result[0].tolist()]
        ids = [decode_chunk(hit[0], "").id for hit in result]
        return [self._row[chunk_id] for chunk_id in ids]


class ChunksOnly(Clockify):
    """What the peers compute: no evidence of whole documents."""

    name = "clockify-rag chunks only"
    notes = "without whole documents' evidence and sections, which no peer has"
    document_weight = 0.0
    repeat_weight = 1.0


class Exact(Clockify):
    """Every vector is compared, at any size."""

    name = "clockify-rag exact"
    notes = "no cascade at any size"
    mode = "exact"


class WithTexts(Clockify):
    """The same with the texts, records and scores of all hundred hits."""

    name = "clockify-rag with texts"
    notes = "the hundred best with their texts and records too"

    def lexical(self, text: str) -> Any:
        """As the default, read whole."""
        return self._search(text, None, self._lexical).rows

    def dense(self, vector: Vectors) -> Any:
        """As the default, read whole."""
        return self._search(UNKNOWN, vector, self._dense).rows
