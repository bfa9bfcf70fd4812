"""DOCX: Word's documents as HTML, read from the zip and its XML without a library.

What the format is needed for is little (headings by style, paragraphs, lists, tables, footnotes), and what a hostile
file can do is much; so the parts are read as a stream of expat's events with a limit on each: entries, decoded bytes,
depth. A document type declaration is refused, so there are no entities at all. Each cell is a cell of its own in a
table of HTML, which the core writes with a separator. What was deleted, hidden or noted in the margin is left out.
"""

from __future__ import annotations

import html
import io
import posixpath
import re
import zipfile
import zlib
from collections import Counter
from typing import Final
from xml.parsers import expat

from clockify_rag.errors import DocumentUnreadable
from clockify_rag.loading.pdf import Opened

MAXIMUM_ENTRIES: Final = 10_000
MAXIMUM_DEPTH: Final = 256
MAXIMUM_BASES: Final = 64
"""Styles that one may be based on, one upon the other."""
_DOCUMENT = "word/document.xml"
_ENTRY = b"PK\x01\x02"
_PIECE = 1 << 20
"""Bytes at a time: expat reads a token that does not end again with each piece."""
_AGAIN = "save it again as .docx, or name it in .ragignore"
_HEADING = re.compile(r"(?:heading|überschrift|titre|título|titolo|kop|rubrik|nagłówek)\s*([1-9])")
_LEVELS: Final = 9


def read(content: bytes, *, maximum_bytes: int) -> Opened:
    """Return the text of a DOCX.

    Args:
        content: the file.
        maximum_bytes: the most that the parts that are read may unpack to, together.

    Raises:
        DocumentUnreadable: it is no zip, broken, encrypted, or has more than that.
    """
    if content.count(_ENTRY) > MAXIMUM_ENTRIES:
        # Before the directory is read, because each of its entries takes many times its bytes then.
        raise _too_many_parts()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _Package(archive, maximum_bytes).opened()
    except DocumentUnreadable:
        raise
    except expat.ExpatError as error:
        raise DocumentUnreadable(f"its XML is broken: {error}", hint=_AGAIN) from error
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, EOFError, OSError, ValueError) as error:
        why = (
            "it is an old or encrypted Word file"
            if content.startswith(b"\xd0\xcf\x11\xe0")
            else f"it is no zip: {error}"
        )
        raise DocumentUnreadable(why, hint=_AGAIN) from error
    except (NotImplementedError, RuntimeError, LookupError) as error:
        raise DocumentUnreadable(f"its zip cannot be unpacked: {error}", hint=_AGAIN) from error


def _too_many_parts() -> DocumentUnreadable:
    return DocumentUnreadable(f"it has more than {MAXIMUM_ENTRIES:,} parts", hint=_AGAIN)


class _Package:
    """The parts of one file."""

    def __init__(self, archive: zipfile.ZipFile, maximum_bytes: int) -> None:
        self._archive = archive
        self._left = maximum_bytes
        names = Counter(archive.namelist())
        if len(names) > MAXIMUM_ENTRIES or sum(names.values()) > MAXIMUM_ENTRIES:
            raise _too_many_parts()
        self._names = names

    def opened(self) -> Opened:
        """Return what the document says."""
        main = self._main()
        if main not in self._names:
            raise DocumentUnreadable("it is a zip and no Word document", hint=_AGAIN)
        styles, numbering, properties = _Styles(), _Numbering(), _Properties()
        folder = posixpath.dirname(main)
        self._parse(posixpath.join(folder, "styles.xml"), styles)
        self._parse(posixpath.join(folder, "numbering.xml"), numbering)
        self._parse("docProps/core.xml", properties)
        notes: dict[str, dict[str, str]] = {}
        for kind in ("footnote", "endnote"):
            reader = _Body(styles.resolved(), numbering, {})
            self._parse(posixpath.join(folder, f"{kind}s.xml"), reader)
            notes[kind] = reader.notes
        body = _Body(styles.resolved(), numbering, notes)
        self._parse(main, body)
        text = body.finish()
        return Opened(text.encode("utf-8", "replace"), properties.title, properties.language or styles.language)

    def _main(self) -> str:
        relations = _Relations()
        self._parse("_rels/.rels", relations)
        return relations.main or _DOCUMENT

    def _parse(self, name: str, reader: _Reader) -> None:
        """Send the events of a part to ``reader``; a part that is not there has none."""
        if name not in self._names:
            return
        if self._names[name] > 1:
            raise DocumentUnreadable(f"it has two parts named {name}", hint=_AGAIN)
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = reader.start
        parser.EndElementHandler = reader.end
        parser.CharacterDataHandler = reader.text
        parser.StartDoctypeDeclHandler = _refuse_declaration
        with self._archive.open(name) as stream:
            while piece := stream.read(_PIECE):
                self._left -= len(piece)
                if self._left < 0:
                    raise DocumentUnreadable(
                        "it unpacks to more than a document may have", hint="split it, or raise maximum_bytes"
                    )
                parser.Parse(piece, False)  # noqa: FBT003 - expat takes it by position
        parser.Parse(b"", True)  # noqa: FBT003 - as above


def _refuse_declaration(*_: object) -> None:
    raise DocumentUnreadable("its XML declares a document type, which may hold entities", hint=_AGAIN)


class _Reader:
    """Follows the elements of one part by their local names."""

    def __init__(self) -> None:
        self.stack: list[str] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Handle the start of an element."""
        local = name.rpartition(" ")[2]
        if len(self.stack) >= MAXIMUM_DEPTH:
            raise DocumentUnreadable("its XML is nested too deeply", hint=_AGAIN)
        self.stack.append(local)
        self.enter(local, {key.rpartition(" ")[2]: value for key, value in attributes.items()})

    def end(self, name: str) -> None:
        """Handle the end of an element."""
        self.leave(name.rpartition(" ")[2])
        self.stack.pop()

    def text(self, text: str) -> None:
        """Handle character data."""

    def enter(self, name: str, attributes: dict[str, str]) -> None:
        """Handle an element's start by its local name."""

    def leave(self, name: str) -> None:
        """Handle an element's end by its local name."""


class _Relations(_Reader):
    """Which part is the document."""

    main: str | None = None

    def enter(self, name: str, attributes: dict[str, str]) -> None:
        if name == "Relationship" and attributes.get("Type", "").endswith("/officeDocument"):
            self.main = posixpath.normpath(attributes.get("Target", "").lstrip("/"))


class _Properties(_Reader):
    """What the document says of itself."""

    title: str | None = None
    language: str | None = None

    def text(self, text: str) -> None:
        if self.stack[-1:] == ["title"]:
            self.title = (self.title or "") + text
        elif self.stack[-1:] == ["language"]:
            self.language = (self.language or "") + text


class _Styles(_Reader):
    """Which styles are headings or list items, and of what level."""

    def __init__(self) -> None:
        super().__init__()
        self.language: str | None = None
        self._id = ""
        self._levels: dict[str, int] = {}
        self._lists: dict[str, tuple[str, int]] = {}
        self._based: dict[str, str] = {}

    def enter(self, name: str, attributes: dict[str, str]) -> None:
        value = attributes.get("val", "")
        if name == "style":
            self._id = attributes.get("styleId", "")
        elif name == "name" and self._id:
            match = _HEADING.fullmatch(value.casefold().strip())
            if match:
                self._levels[self._id] = int(match[1])
            elif value.casefold() == "title":
                self._levels[self._id] = 1
        elif name == "outlineLvl" and self._id and value.isdecimal() and int(value) < _LEVELS:
            self._levels.setdefault(self._id, int(value) + 1)
        elif name == "basedOn" and self._id:
            self._based[self._id] = value
        elif name == "numId" and self._id:
            self._lists[self._id] = (value, self._lists.get(self._id, ("", 0))[1])
        elif name == "ilvl" and self._id and value.isdecimal():
            self._lists[self._id] = (self._lists.get(self._id, ("", 0))[0], int(value))
        elif name == "lang" and "docDefaults" in self.stack:
            self.language = value or None

    def leave(self, name: str) -> None:
        if name == "style":
            self._id = ""

    def resolved(self) -> dict[str, tuple[int, tuple[str, int] | None]]:
        """Return for each style its heading's level, 0 for none, and its list and level in it."""
        found = {}
        for style in {*self._levels, *self._lists, *self._based}:
            level, item, at = 0, None, style
            seen: set[str] = set()
            while at and at not in seen and len(seen) < MAXIMUM_BASES:
                seen.add(at)
                level = level or self._levels.get(at, 0)
                item = item or self._lists.get(at)
                at = self._based.get(at, "")
            found[style] = (level, item)
        return found


class _Numbering(_Reader):
    """Which lists are numbered."""

    def __init__(self) -> None:
        super().__init__()
        self._abstract = ""
        self._list = ""
        self._level = 0
        self._ordered: dict[tuple[str, int], bool] = {}
        self._kind: dict[str, str] = {}

    def enter(self, name: str, attributes: dict[str, str]) -> None:
        value = attributes.get("val", "")
        if name == "abstractNum":
            self._abstract = attributes.get("abstractNumId", "")
        elif name == "num":
            self._list = attributes.get("numId", "")
        elif name == "abstractNumId" and self._list:
            self._kind[self._list] = value
        elif name == "lvl":
            level = attributes.get("ilvl", "")
            self._level = int(level) if level.isdecimal() else 0
        elif name == "numFmt" and self._abstract:
            self._ordered[self._abstract, self._level] = value not in ("bullet", "none")

    def leave(self, name: str) -> None:
        if name == "abstractNum":
            self._abstract = ""
        elif name == "num":
            self._list = ""

    def ordered(self, number: str, level: int) -> bool:
        """Whether the items of a list at a level have numbers."""
        return self._ordered.get((self._kind.get(number, ""), level), False)


_SKIPPED = frozenset(
    {"del", "moveFrom", "Fallback", "pPrChange", "rPrChange", "instrText", "delText", "sdtPr", "tblPr"}
)


class _Paragraph:
    """A paragraph being read."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.style = ""
        self.outline = 0
        self.list: str | None = None
        self.level: int | None = None


class _Body(_Reader):
    """The document's body to HTML; also the notes at its foot."""

    def __init__(
        self,
        styles: dict[str, tuple[int, tuple[str, int] | None]],
        numbering: _Numbering,
        notes: dict[str, dict[str, str]],
    ) -> None:
        super().__init__()
        self._styles = styles
        self._numbering = numbering
        self._known = notes
        self.notes: dict[str, str] = {}
        self._out: list[str] = []
        self._lists: list[list[str]] = [[]]
        """For each table cell that is open, and for the body, the lists that are open in it."""
        self._paragraphs: list[_Paragraph] = []
        self._skipping = 0
        self._hidden = False
        self._header_rows: list[bool] = []
        self._cells: list[int] = []
        self._used: list[tuple[str, str]] = []
        self._note: str | None = None
        self._mark = 0

    def enter(self, name: str, attributes: dict[str, str]) -> None:
        if self._skipping or name in _SKIPPED:
            self._skipping += 1
            return
        handler = getattr(self, f"_enter_{name}", None)
        if handler is not None:
            handler(attributes)

    def leave(self, name: str) -> None:
        if self._skipping:
            self._skipping -= 1
            return
        handler = getattr(self, f"_leave_{name}", None)
        if handler is not None:
            handler()

    def text(self, text: str) -> None:
        if self.stack[-1:] == ["t"] and self._paragraphs and not self._skipping and not self._hidden:
            self._paragraphs[-1].parts.append(html.escape(text))

    def finish(self) -> str:
        """Return the body, and after it the notes that it refers to, in their order."""
        self._close_lists(0)
        for kind, identity in dict.fromkeys(self._used):
            note = self._known.get(kind, {}).get(identity, "")
            if note:
                self._out.append(f"<p>[{html.escape(_label(kind, identity))}] {note}</p>\n")
        return "".join(self._out)

    # Paragraphs.

    def _enter_p(self, _attributes: dict[str, str]) -> None:
        self._paragraphs.append(_Paragraph())

    def _leave_p(self) -> None:
        if not self._paragraphs:
            return
        paragraph = self._paragraphs.pop()
        shown = "".join(paragraph.parts).strip()
        if not shown:
            return
        if self._paragraphs:
            # A text box stands in a paragraph, whose words go on after it.
            self._paragraphs[-1].parts.append(f" {shown} ")
            return
        level, item = self._styles.get(paragraph.style, (0, None))
        level = paragraph.outline or level
        number = paragraph.list if paragraph.list is not None else item[0] if item else None
        depth = paragraph.level if paragraph.level is not None else item[1] if item else 0
        if level and not self._cells:
            self._close_lists(0)
            level = min(level, 6)
            self._out.append(f"<h{level}>{shown}</h{level}>\n")
        elif number and number != "0":
            self._item(shown, min(depth, _LEVELS), ordered=self._numbering.ordered(number, depth))
        else:
            self._close_lists(0)
            self._out.append(f"<p>{shown}</p>\n")

    def _item(self, shown: str, depth: int, *, ordered: bool) -> None:
        lists, kind = self._lists[-1], "ol" if ordered else "ul"
        self._close_lists(depth + 1)
        if len(lists) == depth + 1 and lists[-1] != kind:
            self._close_lists(depth)
        elif len(lists) == depth + 1:
            self._out.append("</li>")
        while len(lists) < depth + 1:
            # A list that begins deeper in has an item around it that says nothing.
            inner = len(lists) < depth
            lists.append(kind)
            self._out.append(f"<{kind}>" + ("<li>" if inner else ""))
        self._out.append(f"<li>{shown}")

    def _close_lists(self, depth: int) -> None:
        lists = self._lists[-1]
        while len(lists) > depth:
            self._out.append(f"</li></{lists.pop()}>\n")

    def _enter_pStyle(self, attributes: dict[str, str]) -> None:  # noqa: N802 - named as the element is
        if self._paragraphs:
            self._paragraphs[-1].style = attributes.get("val", "")

    def _enter_outlineLvl(self, attributes: dict[str, str]) -> None:  # noqa: N802 - as above
        value = attributes.get("val", "")
        if self._paragraphs and value.isdecimal() and int(value) < _LEVELS:
            self._paragraphs[-1].outline = int(value) + 1

    def _enter_numId(self, attributes: dict[str, str]) -> None:  # noqa: N802 - as above
        if self._paragraphs:
            self._paragraphs[-1].list = attributes.get("val", "")

    def _enter_ilvl(self, attributes: dict[str, str]) -> None:
        value = attributes.get("val", "")
        if self._paragraphs and value.isdecimal():
            self._paragraphs[-1].level = int(value[:2])

    # What stands in a paragraph.

    def _leave_r(self) -> None:
        self._hidden = False

    def _enter_vanish(self, attributes: dict[str, str]) -> None:
        self._hidden = "r" in self.stack and attributes.get("val", "true") not in ("0", "false", "off")

    def _append(self, text: str) -> None:
        if self._paragraphs and not self._hidden:
            self._paragraphs[-1].parts.append(text)

    def _enter_tab(self, _attributes: dict[str, str]) -> None:
        if "r" in self.stack:
            self._append(" ")

    def _enter_br(self, attributes: dict[str, str]) -> None:
        self._append("<br>" if attributes.get("type", "textWrapping") == "textWrapping" else " ")

    def _enter_cr(self, _attributes: dict[str, str]) -> None:
        self._append("<br>")

    def _enter_noBreakHyphen(self, _attributes: dict[str, str]) -> None:  # noqa: N802 - as above
        self._append("\u2011")

    def _enter_sym(self, attributes: dict[str, str]) -> None:
        self._append("\u2022" if attributes.get("char") else "")

    def _enter_docPr(self, attributes: dict[str, str]) -> None:  # noqa: N802 - as above
        shown = attributes.get("descr") or ""
        if shown.strip():
            self._append(f'<img alt="{html.escape(shown, quote=True)}">')

    # Notes.

    def _enter_footnoteReference(self, attributes: dict[str, str]) -> None:  # noqa: N802 - as above
        self._refer("footnote", attributes)

    def _enter_endnoteReference(self, attributes: dict[str, str]) -> None:  # noqa: N802 - as above
        self._refer("endnote", attributes)

    def _refer(self, kind: str, attributes: dict[str, str]) -> None:
        identity = attributes.get("id", "")
        if self._known.get(kind, {}).get(identity):
            self._used.append((kind, identity))
            self._append(f"[{html.escape(_label(kind, identity))}]")

    def _enter_footnote(self, attributes: dict[str, str]) -> None:
        self._note = None if attributes.get("type", "normal") != "normal" else attributes.get("id", "")
        self._mark = len(self._out)

    def _leave_footnote(self) -> None:
        self._close_lists(0)
        said = re.sub(r"</?(?:p|h\d|li|ul|ol)>", " ", "".join(self._out[self._mark :]))
        del self._out[self._mark :]
        if self._note is not None and said.strip():
            self.notes[self._note] = " ".join(said.split())

    _enter_endnote = _enter_footnote
    _leave_endnote = _leave_footnote

    # Tables.

    def _enter_tbl(self, _attributes: dict[str, str]) -> None:
        if not self._cells:
            self._close_lists(0)
        self._cells.append(0)
        self._lists.append([])
        self._out.append("<table>")

    def _leave_tbl(self) -> None:
        if self._cells:
            self._cells.pop()
            self._lists.pop()
            self._out.append("</table>\n")

    def _enter_tr(self, _attributes: dict[str, str]) -> None:
        self._header_rows.append(False)
        if self._cells:
            self._out.append("<tr>")

    def _enter_tblHeader(self, attributes: dict[str, str]) -> None:  # noqa: N802 - as above
        if self._header_rows:
            self._header_rows[-1] = attributes.get("val", "true") not in ("0", "false", "off")

    def _leave_tr(self) -> None:
        if self._header_rows:
            self._header_rows.pop()
        if self._cells:
            self._out.append("</tr>")

    def _enter_tc(self, _attributes: dict[str, str]) -> None:
        if self._cells:
            self._lists[-1].clear()
            self._out.append("<th>" if self._header_rows and self._header_rows[-1] else "<td>")

    def _leave_tc(self) -> None:
        if self._cells:
            self._close_lists(0)
            self._out.append("</th>" if self._header_rows and self._header_rows[-1] else "</td>")


def _label(kind: str, identity: str) -> str:
    return identity if kind == "footnote" else f"e{identity}"
