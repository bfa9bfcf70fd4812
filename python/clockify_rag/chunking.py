"""Chunking: pages to the units that are retrieved.

The core cuts, by one of four methods; this module gives the pieces their identity. A chunk's id comes from its place (document,
section, kind, number within the section) and not from its words, so that labels and links survive an edit of the
text; what must follow the words, such as the reuse of an embedding, goes by ``content_hash``.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import msgspec

from clockify_rag import _core
from clockify_rag.contracts import (
    AskedQuestion,
    Chunk,
    Code,
    Embedder,
    Image,
    LoadedDocument,
    Part,
    Table,
    Term,
    digest,
)
from clockify_rag.errors import InternalError, InvalidSetting

if TYPE_CHECKING:
    from clockify_rag._core import _Piece

    _Method = Literal["structure", "sentence", "semantic", "fixed"]

VOCABULARY = ("models", "docs-static-256-int8", "tokenizer.json")
"""Where in the package the vocabulary lies in which chunks are measured."""

LONGEST_TABLE = 2**32
"""More tokens than a page can have."""

MAXIMUM_OVERLAP = 0.5
"""More would repeat more than it adds."""


def chunk_id(document_id: str, heading_path: Sequence[str], anchor: str | None, kind: str, ordinal: int) -> str:
    """Return the id of a chunk: 32 hexadecimal digits.

    Args:
        document_id: the document's id.
        heading_path: the headings above the chunk, outermost first.
        anchor: the anchor of its section.
        kind: ``text``, ``list``, ``table``, ``code``, ``glossary``, ``faq``, ``image`` or ``hub``.
        ordinal: its number, from 0, among the chunks of this kind in this section.
    """
    anchored = ("0", "") if anchor is None else ("1", anchor)
    return digest("chunk 1", document_id, str(len(heading_path)), *heading_path, *anchored, kind, str(ordinal))


class StructureChunker:
    """Cuts pages where their structure allows it (chunker ``structure``).

    Args:
        target: how many tokens a chunk should have.
        maximum: how many tokens a chunk may have; lists, tables and code are cut only beyond it.
        overlap: the share of a chunk, 0 to 0.5, that the next one of the same section repeats.
        table_tokens: a table of at least so many tokens is a chunk of its own; a smaller one stays with the text around it.
        images: whether an image that is described is a chunk besides, of kind ``image``.

    A token is a WordPiece of the vocabulary shipped with the package, which is loaded with the first chunk.
    """

    method: ClassVar[_Method] = "structure"

    def __init__(
        self,
        target: int = 400,
        maximum: int = 800,
        overlap: float = 0.15,
        *,
        table_tokens: int = 200,
        images: bool = True,
    ) -> None:
        if target < 1:
            raise InvalidSetting(f"target cannot be {target} tokens", hint="give target as 1 or more", setting="target")
        if maximum < target:
            raise InvalidSetting(
                f"maximum cannot be {maximum} tokens, fewer than the target of {target}",
                hint=f"give maximum as {target} or more",
                setting="maximum",
            )
        if not 0 <= overlap <= MAXIMUM_OVERLAP:
            raise InvalidSetting(f"overlap cannot be {overlap}", hint="give overlap from 0 to 0.5", setting="overlap")
        if not 0 <= table_tokens < LONGEST_TABLE:
            raise InvalidSetting(
                f"table_tokens cannot be {table_tokens}",
                hint="give table_tokens from 0 to 4294967295",
                setting="table_tokens",
            )
        self.target = target
        self.maximum = maximum
        self.overlap = overlap
        self._cutting = _core.Cutting(self.method, target, maximum, overlap, table=table_tokens, images=images)
        self._lock = threading.Lock()
        self._tokenizer: _core.Tokenizer | None = None

    def fingerprint(self) -> str:
        """Return a hash of what the chunkers of this package and the readers of pages do; settings are no part of it."""
        return _core.chunking_fingerprint()

    def chunk(self, documents: Sequence[LoadedDocument]) -> list[list[Chunk]]:
        """Return for each of ``documents`` its chunks in reading order."""
        pages = [(loaded.page, loaded.document.kind) for loaded in documents]
        return [_chunks(loaded, pieces) for loaded, pieces in zip(documents, self._cut(pages), strict=True)]

    def _cut(self, pages: Sequence[tuple[_core.Page, str]]) -> list[list[_Piece]]:
        return _core.chunk(pages, self._vocabulary(), self._cutting)

    def _vocabulary(self) -> _core.Tokenizer:
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = _shipped_tokenizer()
            return self._tokenizer


class SentenceChunker(StructureChunker):
    """Cuts pages at the ends of sentences and items (chunker ``sentence``): chunks of a section fill up to the target.

    Takes the arguments of ``StructureChunker``. Tables and code are cut only beyond the maximum.
    """

    method: ClassVar[_Method] = "sentence"


class FixedChunker(StructureChunker):
    """Cuts sections after so many tokens, whatever stands there (chunker ``fixed``), between words.

    Takes the arguments of ``StructureChunker`` but ``table_tokens``.
    """

    method: ClassVar[_Method] = "fixed"

    def __init__(self, target: int = 400, maximum: int = 800, overlap: float = 0.15, *, images: bool = True) -> None:
        super().__init__(target, maximum, overlap, images=images)


class SemanticChunker(StructureChunker):
    """Cuts sections where the vectors of neighbouring sentences part (chunker ``semantic``), at the target at the latest.

    Args:
        embedder: what makes the vectors; the one that the index is built with.
        target, maximum, overlap, table_tokens, images: as for ``StructureChunker``.
    """

    method: ClassVar[_Method] = "semantic"

    def __init__(
        self,
        embedder: Embedder | None,
        target: int = 400,
        maximum: int = 800,
        overlap: float = 0.15,
        *,
        table_tokens: int = 200,
        images: bool = True,
    ) -> None:
        super().__init__(target, maximum, overlap, table_tokens=table_tokens, images=images)
        if embedder is None:
            raise InvalidSetting(
                "the chunker semantic needs an embedder, and embedding.embedder is none",
                hint="set embedding.embedder to static, or choose another chunker",
                setting="chunking.chunker",
            )
        self._embedder = embedder

    def fingerprint(self) -> str:
        """Return a hash of what the chunker does with the embedder's vectors."""
        return digest("semantic 1", super().fingerprint(), self._embedder.fingerprint())

    def _cut(self, pages: Sequence[tuple[_core.Page, str]]) -> list[list[_Piece]]:
        texts = _core.chunk_units(pages, self._vocabulary(), self._cutting)
        distinct = list(dict.fromkeys(text for units in texts for text in units))
        rows = self._embedder.embed(distinct) if distinct else ()
        row_of = {text: row.astype("<f4").tobytes() for text, row in zip(distinct, rows, strict=True)}
        vectors = [b"".join(row_of[text] for text in units) for units in texts]
        return _core.chunk(pages, self._vocabulary(), self._cutting, (self._embedder.dimension, vectors))


def counted(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Return chunks that came ready made with their sizes in tokens."""
    sizes = _vocabulary().count([chunk.text for chunk in chunks])
    return [msgspec.structs.replace(chunk, tokens=size) for chunk, size in zip(chunks, sizes, strict=True)]


@functools.cache
def _vocabulary() -> _core.Tokenizer:
    return _shipped_tokenizer()


def _shipped_tokenizer() -> _core.Tokenizer:
    path = Path(__file__).parent.joinpath(*VOCABULARY)
    if not path.is_file():
        raise InternalError(
            f"the installed package lacks its vocabulary {'/'.join(VOCABULARY)}", hint="install clockify-rag again"
        )
    return _core.Tokenizer(str(path))


def _chunks(loaded: LoadedDocument, pieces: Sequence[_Piece]) -> list[Chunk]:
    """The chunks of one document. Sections that nothing tells apart are counted as one, so that no id comes twice."""
    document, numbers = loaded.document, Counter[tuple[tuple[str, ...], str | None, str]]()
    chunks: list[Chunk] = []
    for ordinal, (kind, headings, anchor, spans, repeated, tokens, parts, text) in enumerate(pieces):
        heading_path = tuple(headings)
        shown_kind = "hub" if document.kind == "hub" else kind
        section = (heading_path, anchor, shown_kind)
        number = numbers[section]
        numbers[section] += 1
        chunks.append(
            Chunk(
                id=chunk_id(document.id, heading_path, anchor, shown_kind, number),
                document_id=document.id,
                kind=shown_kind,
                ordinal=ordinal,
                heading_path=heading_path,
                anchor=anchor,
                spans=tuple(spans),
                repeated=tuple(repeated),
                tokens=tokens,
                content_hash=digest("text 1", text),
                parts=tuple(_part(*part) for part in parts),
                text=text,
            )
        )
    return chunks


def _part(kind: str, span: tuple[int, int], texts: Sequence[str], rows: Sequence[Sequence[str]]) -> Part:
    match kind:
        case "term":
            return Term(texts[0], tuple(texts[1:]))
        case "question":
            return AskedQuestion(texts[0])
        case "table":
            return Table(span, tuple(rows[0]), tuple(tuple(row) for row in rows[1:]))
        case "code":
            return Code(span, texts[0])
        case _:
            return Image(span, *texts)
