"""Engines that search by words only."""

from __future__ import annotations

from typing import Any

from contender import STOP_WORDS, TOP, Contender

from contenders.handmade import WORD, Lexical


class Bm25s(Contender):
    """bm25s with numba, questions as numbers of its vocabulary."""

    name = "bm25s + numba"
    packages = ("bm25s", "numba", "PyStemmer")

    def load(self) -> None:
        """Import it."""
        import bm25s  # noqa: F401
        import numba  # noqa: F401
        import Stemmer  # noqa: F401

    def build(self) -> None:
        """Index and save."""
        Lexical(self).build()

    def open(self) -> None:
        """Load."""
        self._lexical = Lexical(self)
        self._lexical.open()

    def lexical(self, text: str) -> Any:
        """BM25 100."""
        return self._lexical.top(text)[0]


class Tantivy(Contender):
    """tantivy's Python package; stems English, no stop words; its own query, without a parser."""

    name = "tantivy"
    packages = ("tantivy",)
    notes = "the question as a query of its terms"
    maps_all = True

    def load(self) -> None:
        """Import it."""
        import tantivy  # noqa: F401

    def _schema(self) -> Any:
        import tantivy

        builder = tantivy.SchemaBuilder()
        builder.add_text_field("text", stored=False, tokenizer_name="en_stem", index_option="freq")
        builder.add_integer_field("row", stored=True)
        return builder.build()

    def build(self) -> None:
        """Index with its default writer and merge to one segment."""
        import tantivy

        index = tantivy.Index(self._schema(), path=str(self.store))
        writer = index.writer(heap_size=256_000_000, num_threads=1)
        for row, text in enumerate(self.corpus.texts):
            writer.add_document(tantivy.Document(text=text, row=row))
        writer.commit()
        writer.wait_merging_threads()

    def open(self) -> None:
        """Open the folder."""
        import tantivy

        self._index = tantivy.Index.open(str(self.store))
        self._index.reload()
        self._searcher = self._index.searcher()

    def lexical(self, text: str) -> Any:
        """BM25 100."""
        words = " ".join(word for word in WORD.findall(text.lower()) if word not in STOP_WORDS)
        query, _ = self._index.parse_query_lenient(words, ["text"])
        return self._searcher.search(query, TOP, count=False).hits

    def rows(self, result: Any) -> list[int]:
        """Read the stored row of each hit."""
        return [self._searcher.doc(address)["row"][0] for _, address in result]


class RankBm25(Contender):
    """rank_bm25, which is in memory only: opening indexes the corpus again."""

    name = "rank_bm25"
    packages = ("rank-bm25",)
    notes = "in memory only: opening indexes the texts"

    def load(self) -> None:
        """Import it."""
        import rank_bm25  # noqa: F401

    def _words(self, text: str) -> list[str]:
        return [stem for word in WORD.findall(text.lower()) if (stem := self._stem(word))]

    def open(self) -> None:
        """Tokenize and index the texts."""
        import Stemmer
        from rank_bm25 import BM25Okapi

        self._stem = Stemmer.Stemmer("english").stemWord
        self._engine = BM25Okapi([self._words(text) for text in self.corpus.texts], k1=1.2, b=0.75)

    def lexical(self, text: str) -> Any:
        """BM25 100."""
        import numpy

        words = [word for word in self._words(text) if word not in STOP_WORDS]
        scores = self._engine.get_scores(words)
        best = numpy.argpartition(scores, -TOP)[-TOP:]
        return best[numpy.argsort(-scores[best])]
