"""Chunking: pages to the units that are retrieved.

The core cuts by structure; this module gives the pieces their identity. A chunk's id comes from its place (document,
section, kind, number within the section) and not from its words, so that labels and links survive an edit of the
text; what must follow the words, such as the reuse of an embedding, goes by ``content_hash``.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from clockify_rag import _core
from clockify_rag.contracts import Chunk, LoadedDocument, digest
from clockify_rag.errors import InternalError, InvalidSetting

if TYPE_CHECKING:
    from clockify_rag._core import _Piece

VOCABULARY = ("models", "docs-static-256-int8", "tokenizer.json")
"""Where in the package the vocabulary lies in which chunks are measured."""

MAXIMUM_OVERLAP = 0.5
"""More would repeat more than it adds."""


def chunk_id(document_id: str, heading_path: Sequence[str], anchor: str | None, kind: str, ordinal: int) -> str:
    """Return the id of a chunk: 32 hexadecimal digits.

    Args:
        document_id: the document's id.
        heading_path: the headings above the chunk, outermost first.
        anchor: the anchor of its section.
        kind: ``text``, ``list``, ``table``, ``code`` or ``hub``.
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

    A token is a WordPiece of the vocabulary shipped with the package, which is loaded with the first chunk.
    """

    def __init__(self, target: int = 400, maximum: int = 800, overlap: float = 0.15) -> None:
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
        self.target = target
        self.maximum = maximum
        self.overlap = overlap
        self._lock = threading.Lock()
        self._tokenizer: _core.Tokenizer | None = None

    def chunk(self, documents: Sequence[LoadedDocument]) -> list[list[Chunk]]:
        """Return for each of ``documents`` its chunks in reading order."""
        pages = [loaded.page for loaded in documents]
        pieces = _core.chunk(pages, self._vocabulary(), self.target, self.maximum, self.overlap)
        return [_chunks(loaded, of_page) for loaded, of_page in zip(documents, pieces, strict=True)]

    def _vocabulary(self) -> _core.Tokenizer:
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = _shipped_tokenizer()
            return self._tokenizer


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
    for ordinal, (kind, headings, anchor, spans, repeated, tokens, _, text) in enumerate(pieces):
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
                text=text,
            )
        )
    return chunks
