"""JSON Lines: one document a line, or one ready chunk a line.

A file is read line by line, so its size does not matter and a broken line costs itself alone. Chunks that say which
document they are of keep their boundaries: the lines of a document follow one another, and its text is theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, Annotated, Any, Final, Literal

import msgspec

from clockify_rag.contracts import Block, Chunk, digest
from clockify_rag.loading.metadata import text_of

DocumentFormat = Literal["markdown", "html", "text"]

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""What may stand before the first line, and is no part of it."""


class Line(msgspec.Struct, frozen=True):
    """One object of a JSON Lines file."""

    text: str
    id: str | int | None = None
    beir_id: str | int | None = msgspec.field(name="_id", default=None)
    title: str | None = None
    url: str | None = None
    language: str | None = None
    tags: list[str] | str | None = None
    version: str | int | float | None = None
    format: DocumentFormat = "markdown"
    suppress_from_rag: bool = False
    is_hub: bool | None = None
    document: str | int | None = None
    """The document that a ready chunk is of."""
    document_id: str | int | None = None
    """The same."""
    heading_path: tuple[str, ...] = ()
    anchor: str | None = None
    kind: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z-]{0,31}$")] = "text"

    def own_id(self) -> str | int | None:
        """Return the id that the line gives itself."""
        return self.id if self.id is not None else self.beir_id


def numbered_lines(stream: IO[bytes], limit: int) -> Iterator[tuple[int, bytes | int]]:
    """Yield the lines that are not blank, numbered from 1; of one longer than ``limit`` bytes only its length."""
    number, ahead = 0, len(BYTE_ORDER_MARK)
    while line := stream.readline(limit + 1 + ahead):
        number, ahead = number + 1, 0
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        if len(line) - line.endswith(b"\n") <= limit:
            if not line.isspace():
                yield number, line
            continue
        length = len(line)
        while not line.endswith(b"\n") and (line := stream.readline(1 << 20)):
            length += len(line)
        yield number, length


class ReadyPage(msgspec.Struct, frozen=True):
    """A page that came as chunks: their texts, separated by one blank line."""

    text: str
    blocks: Sequence[Block]
    structure: str
    title: str | None = None
    language: str | None = None
    hub: bool = False
    kind: str = "page"
    hidden_dropped: int = 0
    breadcrumb: Sequence[str] = ()
    canonical_url: str | None = None
    front_matter: str = ""


def assembled(document_id: str, lines: Sequence[Line], pages: Sequence[Any]) -> tuple[ReadyPage, tuple[Chunk, ...]]:
    """Return the page and the chunks of a document.

    Args:
        document_id: its id.
        lines: its chunks as they came.
        pages: what the text of each was parsed to; none is empty.
    """
    blocks: list[Block] = []
    chunks: list[Chunk] = []
    structure: list[str] = []
    offset = 0
    for ordinal, (line, page) in enumerate(zip(lines, pages, strict=True)):
        text = page.text
        for block in page.blocks:
            span = (block.span[0] + offset, block.span[1] + offset)
            blocks.append(msgspec.structs.replace(block, span=span, anchor=block.anchor or line.anchor))
        given = text_of(line.own_id())
        place = ("given", given) if given is not None else ("ordinal", str(ordinal))
        chunks.append(
            Chunk(
                id=digest("ready chunk 1", document_id, *place),
                document_id=document_id,
                kind=line.kind,
                ordinal=ordinal,
                heading_path=line.heading_path,
                anchor=line.anchor,
                spans=((offset, offset + len(text)),),
                tokens=0,
                content_hash=digest("text 1", text),
                text=text,
            )
        )
        anchored = ("0", "") if line.anchor is None else ("1", line.anchor)
        structure += [page.structure, line.kind, *place, *anchored, str(len(line.heading_path)), *line.heading_path]
        offset += len(text) + 2
    whole = "\n\n".join(page.text for page in pages)
    return ReadyPage(whole, blocks, digest("ready structure 1", *structure)), tuple(chunks)
