"""What every contender is: one class, made in a process of its own, that builds an index, opens it and searches it.

A contender takes part in the tasks whose methods it has. Methods return what the engine returned; ``rows`` turns that into row
numbers of the corpus outside the time that is measured, so nobody pays for the comparison's bookkeeping.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Vectors = NDArray[numpy.float32]

TOP = 100
"""Candidates of each retriever, and hits where one is measured alone."""

PICKED = 12
"""Hits of a hybrid search, after MMR."""

MMR_LAMBDA = 0.98
"""The trade-off of MMR, our default."""

STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "for",
        "if",
        "in",
        "into",
        "is",
        "it",
        "no",
        "not",
        "of",
        "on",
        "or",
        "such",
        "that",
        "the",
        "their",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "will",
        "with",
    ]
)
"""For peers that have no list of their own."""


@dataclass(frozen=True)
class Corpus:
    """The corpus in a folder, read where it is asked for."""

    folder: Path
    dimension: int

    @cached_property
    def texts(self) -> list[str]:
        """Title, headings and text of each chunk."""
        with (self.folder / "texts.jsonl").open() as lines:
            return [json.loads(line) for line in lines]

    @cached_property
    def vectors(self) -> Vectors:
        """The chunks' float32 unit vectors, mapped."""
        import numpy

        vectors: Vectors = numpy.load(self.folder / f"vectors-{self.dimension}.npy", mmap_mode="r")
        return vectors

    @cached_property
    def questions(self) -> list[str]:
        """The questions' texts."""
        with (self.folder / "queries.jsonl").open() as lines:
            return [json.loads(line)["text"] for line in lines]

    @cached_property
    def question_vectors(self) -> Vectors:
        """The questions' float32 unit vectors."""
        import numpy

        vectors: Vectors = numpy.load(self.folder / f"queries-{self.dimension}.npy")
        return vectors

    @cached_property
    def ids(self) -> list[str]:
        """Our id of each chunk."""
        return (self.folder / "ids.txt").read_text().splitlines()


class Contender:
    """One engine in one configuration. Subclasses have the methods of some of ``TASKS``:

    ``hybrid(text, vector)``, ``lexical(text)`` and ``dense(vector)`` search; ``mmr(question, relevance, vectors)``,
    ``embed(texts)``, ``embed_question(texts)``, ``tokenize(texts)`` and ``analyse(texts)`` are single stages.
    """

    name: ClassVar[str]
    packages: ClassVar[Sequence[str]] = ()
    notes: ClassVar[str] = ""
    """What a reader must know to judge the figures."""
    opened_for: ClassVar[Sequence[str]] = ("hybrid", "lexical", "dense")
    """The tasks of its own that its first answer and its memory are measured for."""
    maps_all: ClassVar[bool] = False
    """Whether all that a question reads of the index is mapped files, so that what it reads can be counted."""

    def __init__(self, corpus: Corpus, store: Path) -> None:
        self.corpus = corpus
        self.store = store

    @property
    def version(self) -> str:
        """The versions of its packages."""
        return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in self.packages)

    @property
    def path(self) -> str:
        """How vectors are compared: the SIMD level, exact or approximate, and with which parameter."""
        return ""

    def build(self) -> None:
        """Write an index of the corpus into ``store``, an empty folder."""

    def load(self) -> None:
        """Import what is needed, before anything is measured."""

    def open(self) -> None:
        """Make the index in ``store`` ready for the first search."""
        raise NotImplementedError(f"{self.name} has nothing to open")

    def rows(self, result: Any) -> list[int]:
        """Return the rows of the corpus that a search returned, best first."""
        return [int(row) for row in result]


SEARCHES = ("hybrid", "lexical", "dense")
STAGES = ("mmr", "embed", "embed_question", "tokenize", "analyse")
TASKS = SEARCHES + STAGES

TEXTS_AT_ONCE = 64
"""Texts that a stage is given at once."""

SLOW_QUESTIONS = 30
"""Questions that a slow contender is asked."""


def tasks_of(contender: type[Contender]) -> list[str]:
    """Return the tasks that a contender takes part in."""
    return [task for task in TASKS if hasattr(contender, task)]


@dataclass(frozen=True)
class Entry:
    """Where a contender is found, and which environment it runs in; ``None`` is this interpreter."""

    module: str
    family: str | None
    slow: bool = False
    """Asked fewer questions."""
    large: bool = False
    """Takes part at 1,000,000 chunks, where the memory of one machine does not hold everybody."""
    shares: str | None = None
    """The contender whose index it searches."""
    in_memory: bool = False
    """It stores nothing, and builds when it opens."""


CONTENDERS = {
    "clockify-rag": Entry("clockify", None, large=True),
    "clockify-rag exact": Entry("clockify", None, shares="clockify-rag", large=True),
    "clockify-rag chunks only": Entry("clockify", None, shares="clockify-rag"),
    "clockify-rag with texts": Entry("clockify", None, shares="clockify-rag", large=True),
    "hand-made f16 exact": Entry("handmade", "parts"),
    "hand-made f32 exact": Entry("handmade", "parts"),
    "hand-made int8 scan": Entry("handmade", "parts"),
    "hand-made HNSW": Entry("handmade", "parts"),
    "hand-made HNSW, our recall": Entry("handmade", "parts", shares="hand-made HNSW", large=True),
    "bm25s + numba": Entry("lexical_peers", "parts", large=True),
    "tantivy": Entry("lexical_peers", "parts", large=True),
    "rank_bm25": Entry("lexical_peers", "parts", slow=True, in_memory=True),
    "usearch f16 exact": Entry("dense_peers", "parts"),
    "usearch int8 HNSW": Entry("dense_peers", "parts", large=True),
    "faiss flat": Entry("dense_peers", "parts"),
    "faiss SQ8": Entry("dense_peers", "parts", large=True),
    "faiss HNSW": Entry("dense_peers", "parts"),
    "qdrant-edge": Entry("qdrant", "qdrant", large=True),
    "LanceDB": Entry("lance", "lancedb", slow=True),
    "LangChain": Entry("lang_chain", "langchain", slow=True, in_memory=True),
    "Haystack": Entry("hay_stack", "haystack", slow=True, in_memory=True),
    "clockify-rag stages": Entry("stages", None),
    "numpy MMR": Entry("stages", "parts"),
    "LangChain MMR": Entry("stages", "langchain"),
    "model2vec": Entry("stages", "parts"),
    "HF tokenizers": Entry("stages", "parts"),
    "bm25s analysis": Entry("stages", "parts"),
    "tantivy analysis": Entry("stages", "parts"),
    "MiniLM ONNX int8": Entry("stages", "onnx", slow=True),
}
"""Every contender by name. Not here: txtai, whose package asks for torch, 3 GB of wheels on Linux x86-64."""


def contender_class(name: str) -> type[Contender]:
    """Return the class of the contender called ``name``."""
    module = importlib.import_module(f"contenders.{CONTENDERS[name].module}")
    return next(
        found
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, Contender) and vars(found).get("name") == name
    )
