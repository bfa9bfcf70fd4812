"""Single stages: embedding, counting tokens, analysis and MMR, over the corpus's own texts and vectors.

Texts are embedded and analysed 64 at a time, the same ones for everybody; MMR picks 12 of the question's 100 nearest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contender import MMR_LAMBDA, PICKED, Contender

from contenders.handmade import picked

if TYPE_CHECKING:
    from contender import Vectors

TABLE = Path(__file__).parents[3] / "python" / "clockify_rag" / "models" / "docs-static-256-int8"


class Stage(Contender):
    """A contender without an index."""

    def open(self) -> None:
        """Nothing to open."""


class OurStages(Stage):
    """The core's kernels, called one by one."""

    name = "clockify-rag stages"
    notes = "analysis gives each term with its place in the text, as Python objects"

    @property
    def version(self) -> str:
        """The package's version."""
        import clockify_rag

        return f"clockify-rag {clockify_rag.__version__}"

    @property
    def path(self) -> str:
        """The SIMD level."""
        from clockify_rag import _core

        return _core.simd()

    def load(self) -> None:
        """Open the table; one thread."""
        from clockify_rag import _core
        from clockify_rag.embedding import StaticEmbedder, shipped_tokenizer

        _core.set_threads(1)
        self._core, self._embedder, self._tokenizer = _core, StaticEmbedder().core, shipped_tokenizer()

    def embed(self, texts: Sequence[str]) -> Any:
        """Static vectors."""
        return self._embedder.embed(texts)

    def embed_question(self, texts: Sequence[str]) -> Any:
        """One question's vector."""
        return self._embedder.embed(texts)

    def tokenize(self, texts: Sequence[str]) -> Any:
        """WordPiece, counted."""
        return self._tokenizer.count(texts)

    def analyse(self, texts: Sequence[str]) -> Any:
        """Terms of each text."""
        return [self._core.analyse(text, "en") for text in texts]

    def mmr(self, question: Vectors, relevance: Vectors, vectors: Vectors) -> Any:
        """The kernel."""
        del question
        return self._core.mmr(relevance.tolist(), vectors, MMR_LAMBDA, PICKED)


class NumpyMmr(Stage):
    """The incremental MMR of the hand-made stack."""

    name = "numpy MMR"
    packages = ("numpy",)

    def mmr(self, question: Vectors, relevance: Vectors, vectors: Vectors) -> Any:
        """One product a pick."""
        del question
        return picked(relevance, vectors)


class LangChainMmr(Stage):
    """LangChain's function."""

    name = "LangChain MMR"
    packages = ("langchain-core",)
    notes = "its relevance is the cosine"

    def load(self) -> None:
        """Import it."""
        import langchain_core.vectorstores.utils  # noqa: F401

    def mmr(self, question: Vectors, relevance: Vectors, vectors: Vectors) -> Any:
        """maximal_marginal_relevance of the same vectors."""
        from langchain_core.vectorstores.utils import maximal_marginal_relevance

        del relevance
        return maximal_marginal_relevance(question, list(vectors), lambda_mult=MMR_LAMBDA, k=PICKED)


class Model2Vec(Stage):
    """model2vec with our table."""

    name = "model2vec"
    packages = ("model2vec", "tokenizers")
    notes = "with the table that we ship"

    def load(self) -> None:
        """Load the table."""
        from model2vec import StaticModel

        self._model = StaticModel.from_pretrained(TABLE)

    def embed(self, texts: Sequence[str]) -> Any:
        """Static vectors."""
        return self._model.encode(list(texts), max_length=None, use_multiprocessing=False)

    def embed_question(self, texts: Sequence[str]) -> Any:
        """One question's vector."""
        return self.embed(texts)


class Tokenizers(Stage):
    """Hugging Face's tokenizers with our vocabulary."""

    name = "HF tokenizers"
    packages = ("tokenizers",)

    def load(self) -> None:
        """Load the vocabulary."""
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(TABLE / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def tokenize(self, texts: Sequence[str]) -> Any:
        """WordPiece."""
        return [len(found) for found in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


class Bm25sWords(Stage):
    """bm25s's tokenizer with PyStemmer."""

    name = "bm25s analysis"
    packages = ("bm25s", "PyStemmer")

    def load(self) -> None:
        """Import it."""
        import bm25s
        import Stemmer

        self._tokenize, self._stemmer = bm25s.tokenize, Stemmer.Stemmer("english")

    def analyse(self, texts: Sequence[str]) -> Any:
        """Numbers of stems."""
        return self._tokenize(list(texts), stopwords="en", stemmer=self._stemmer, show_progress=False)


class TantivyWords(Stage):
    """tantivy's English analyser."""

    name = "tantivy analysis"
    packages = ("tantivy",)

    def load(self) -> None:
        """Make the analyser of ``en_stem``."""
        import tantivy

        builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        for part in (tantivy.Filter.remove_long(40), tantivy.Filter.lowercase(), tantivy.Filter.stemmer("english")):
            builder = builder.filter(part)
        self._analyser = builder.build()

    def analyse(self, texts: Sequence[str]) -> Any:
        """Stems of each text."""
        return [self._analyser.analyze(text) for text in texts]


class MiniLm(Stage):
    """all-MiniLM-L6-v2 as ONNX in int8, the embedder of the transformers' side; 384 dimensions."""

    name = "MiniLM ONNX int8"
    packages = ("onnxruntime", "tokenizers")
    path = "the processor's int8 instructions as onnxruntime chooses them"
    notes = "truncated at 256 tokens; from RAG_TEST_MODELS"

    def load(self) -> None:
        """Open a session of one thread."""
        import os

        import onnxruntime
        from tokenizers import Tokenizer

        root = os.environ.get("RAG_TEST_MODELS") or Path(__file__).parents[4] / "shared" / "models"
        folder = Path(root) / "minilm-onnx-int8"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        (model,) = folder.rglob("*.onnx")
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(256)
        self._tokenizer.enable_padding()
        self._inputs = {entry.name for entry in self._session.get_inputs()}

    def embed(self, texts: Sequence[str]) -> Any:
        """Mean of the last layer."""
        import numpy

        found = self._tokenizer.encode_batch(list(texts))
        given = {
            "input_ids": numpy.array([text.ids for text in found]),
            "attention_mask": numpy.array([text.attention_mask for text in found]),
            "token_type_ids": numpy.array([text.type_ids for text in found]),
        }
        layer = self._session.run(None, {name: value for name, value in given.items() if name in self._inputs})[0]
        mask = given["attention_mask"][:, :, None]
        return (layer * mask).sum(axis=1) / mask.sum(axis=1)

    def embed_question(self, texts: Sequence[str]) -> Any:
        """One question's vector."""
        return self.embed(texts)
