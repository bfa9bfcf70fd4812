"""``show``, ``documents`` and ``info``."""

from __future__ import annotations

from typing import Any

from clockify_rag.cache.answers import describe
from clockify_rag.cli import asking, opening, output
from clockify_rag.contracts import Document, Span
from clockify_rag.errors import ConfigError, QueryError


def show(document: str, *, span: str | None, index: str | None, as_json: bool) -> None:
    """Print the text of a page, of one of its sections, or at a span."""
    opened = opening.pipeline(opening.load(("index.path", "--index", index))).index
    name, anchor = _split_anchor(opening.typed(document))
    found = opened.find(name)
    text = opened.text(found.id)
    wanted = (0, len(text))
    if anchor is not None:
        wanted = _section(opened, found, anchor)
    if span is not None:
        wanted = _span(span, len(text))
    piece = text[wanted[0] : wanted[1]]
    if as_json:
        output.print_json({**output.document_fields(found), "anchor": anchor, "span": wanted, "text": piece})
        return
    printer = output.Printer()
    if span is None and anchor is None:
        output.note(f"{found.title} ({found.source}: {output.place(found, None)})")
    for line in piece.splitlines() or [""]:
        printer.line(line)


def documents(*, source: str | None, index: str | None, as_json: bool) -> None:
    """List the pages of the index."""
    opened = opening.pipeline(opening.load(("index.path", "--index", index))).index
    found = [document for document in opened.documents() if source is None or document.source == source]
    found.sort(key=lambda document: (document.source, document.path))
    if source is not None and not found:
        asking.tell_unknown(opened, {"source": (source,)}, "--source {value}")
    if as_json:
        output.print_json({"generation": opened.generation, "documents": list(map(output.document_fields, found))})
        return
    printer = output.Printer()
    for document in found:
        stale = "\tstale" if document.stale else ""
        fields = (document.id, document.source, document.path, document.title)
        printer.line("\t".join(map(output.one_line, fields)) + stale)


def info(*, index: str | None, as_json: bool) -> None:
    """Print what the index holds and what made it."""
    opened = opening.pipeline(opening.load(("index.path", "--index", index))).index
    fields: dict[str, Any] = {**opened.info(), **describe(opened.path / "cache")}
    if as_json:
        output.print_json(fields)
    else:
        asking.print_tree(output.Printer(), fields)


def _split_anchor(text: str) -> tuple[str, str | None]:
    name, mark, anchor = text.partition("#")
    return name, anchor if mark and anchor else None


def _section(opened: Any, document: Document, anchor: str) -> Span:
    """Return the span from the first to the last character of the chunks with ``anchor``."""
    spans = [span for chunk in opened.chunks(document.id) if chunk.anchor == anchor for span in chunk.spans]
    if not spans:
        anchors = list(dict.fromkeys(chunk.anchor for chunk in opened.chunks(document.id) if chunk.anchor))
        raise QueryError(
            f"{document.path} has no section #{anchor}",
            hint=f"there are: {', '.join('#' + name for name in anchors)}" if anchors else "it has no sections",
            document_id=document.id,
            anchor=anchor,
        )
    return min(start for start, _ in spans), max(end for _, end in spans)


def _span(text: str, length: int) -> Span:
    begin, colon, end = text.partition(":")
    if not colon or not begin.isdecimal() or not end.isdecimal() or not int(begin) <= int(end) <= length:
        raise ConfigError(
            f"--span {text} is not A:B with whole numbers and 0 <= A <= B <= {length}", hint="for example --span 0:80"
        )
    return int(begin), int(end)
