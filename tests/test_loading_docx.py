"""DOCX: structure, cells apart, and archives that are made to do harm."""

from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag.contracts import LoadedDocument, Skipped
from clockify_rag.errors import DocumentUnreadable
from clockify_rag.loading import FileLoader, docx
from folders import documents, load, source_of, write

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'

STYLES = f"""<?xml version="1.0"?><w:styles {W}>
<w:docDefaults><w:rPrDefault><w:rPr><w:lang w:val="de-DE"/></w:rPr></w:rPrDefault></w:docDefaults>
<w:style w:styleId="Titel"><w:name w:val="Title"/></w:style>
<w:style w:styleId="berschrift1"><w:name w:val="heading 1"/></w:style>
<w:style w:styleId="berschrift2"><w:name w:val="heading 2"/></w:style>
<w:style w:styleId="Own"><w:name w:val="Own"/><w:basedOn w:val="berschrift2"/></w:style>
<w:style w:styleId="Punkt"><w:name w:val="List Bullet"/><w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr></w:style>
<w:style w:styleId="Kreis"><w:name w:val="Kreis"/><w:basedOn w:val="Kreis"/></w:style></w:styles>"""

NUMBERING = f"""<?xml version="1.0"?><w:numbering {W}>
<w:abstractNum w:abstractNumId="5"><w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/></w:lvl></w:abstractNum>
<w:abstractNum w:abstractNumId="6"><w:lvl w:ilvl="0"><w:numFmt w:val="decimal"/></w:lvl>
<w:lvl w:ilvl="1"><w:numFmt w:val="bullet"/></w:lvl></w:abstractNum>
<w:num w:numId="1"><w:abstractNumId w:val="5"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="6"/></w:num></w:numbering>"""

FOOTNOTES = f"""<?xml version="1.0"?><w:footnotes {W}>
<w:footnote w:type="separator" w:id="-1"><w:p><w:r><w:t>separator</w:t></w:r></w:p></w:footnote>
<w:footnote w:id="2"><w:p><w:r><w:footnoteRef/></w:r><w:r><w:t xml:space="preserve"> Since version 2.</w:t></w:r></w:p></w:footnote>
<w:footnote w:id="3"><w:p><w:r><w:t>Never referred to.</w:t></w:r></w:p></w:footnote></w:footnotes>"""

CORE = """<?xml version="1.0"?><cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>Timer</dc:title></cp:coreProperties>"""


def p(text: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def style(name: str) -> str:
    return f'<w:pStyle w:val="{name}"/>'


def item(level: int) -> str:
    return f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="2"/></w:numPr>'


BODY = "".join(
    [
        p("Zeiterfassung", style("Titel")),
        p("Starten", style("berschrift1")),
        (
            '<w:p><w:r><w:t xml:space="preserve">Die Uhr </w:t></w:r><w:ins><w:r><w:t>läuft</w:t></w:r></w:ins>'
            "<w:del><w:r><w:delText>steht</w:delText></w:r></w:del><w:r><w:t>, bis</w:t></w:r><w:r><w:tab/><w:t>sie</w:t></w:r>"
            "<w:r><w:rPr><w:vanish/></w:rPr><w:t>verborgen</w:t></w:r>"
            '<w:r><w:t xml:space="preserve"> jemand anhält &amp; &lt;geht&gt;.</w:t></w:r><w:r><w:footnoteReference w:id="2"/></w:r></w:p>'
        ),
        p("Ein Punkt", style("Punkt")),
        p("Noch einer", style("Punkt")),
        p("Erster Schritt", item(0)),
        p("Darin", item(1)),
        p("Zweiter Schritt", item(0)),
        p("Preise", style("Own")),
        (
            "<w:tbl><w:tblPr/><w:tr><w:trPr><w:tblHeader/></w:trPr>"
            f"<w:tc>{p('Plan')}</w:tc><w:tc>{p('Preis')}</w:tc></w:tr>"
            f"<w:tr><w:tc>{p('Klein')}</w:tc><w:tc>{p('3')}{p('je Monat')}</w:tc></w:tr>"
            f"<w:tr><w:tc>{p('Groß')}</w:tc><w:tc><w:tbl><w:tr><w:tc>{p('9')}</w:tc><w:tc>{p('oder 8')}</w:tc></w:tr></w:tbl>{p('')}</w:tc></w:tr>"
            "</w:tbl>"
        ),
        '<w:p><w:r><mc:AlternateContent xmlns:mc="mc"><mc:Choice><w:txbxContent>'
        + p("Ein Kasten")
        + "</w:txbxContent></mc:Choice><mc:Fallback><w:txbxContent>"
        + p("Ein Kasten")
        + '</w:txbxContent></mc:Fallback></mc:AlternateContent></w:r><w:r><w:drawing><wp:docPr xmlns:wp="wp" descr="Die Uhr"/></w:drawing></w:r></w:p>',
    ]
)


def made(body: str = BODY, **parts: str | bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "word/document.xml", f'<?xml version="1.0"?><w:document {W}><w:body>{body}</w:body></w:document>'
        )
        archive.writestr("word/styles.xml", STYLES)
        archive.writestr("word/numbering.xml", NUMBERING)
        archive.writestr("word/footnotes.xml", FOOTNOTES)
        archive.writestr("docProps/core.xml", CORE)
        for name, content in parts.items():
            archive.writestr(name, content)
    return file.getvalue()


def test_structure_is_kept(tmp_path: Path) -> None:
    (loaded,) = load(write(tmp_path, {"a.docx": made()}))
    assert (loaded.document.title, loaded.document.language) == ("Timer", "de")
    shown = [(block.kind, block.level, loaded.page.text[slice(*block.span)]) for block in loaded.page.blocks]
    assert shown == [
        ("heading", 1, "Zeiterfassung"),
        ("heading", 1, "Starten"),
        ("paragraph", 0, "Die Uhr läuft, bis sie jemand anhält & <geht>.[2]"),
        ("list", 0, "- Ein Punkt\n- Noch einer"),
        ("list", 0, "1. Erster Schritt\n   - Darin\n2. Zweiter Schritt"),
        ("heading", 2, "Preise"),
        ("table", 0, "Plan | Preis\nKlein | 3 je Monat\nGroß | 9 oder 8"),
        ("paragraph", 0, "Ein Kasten Die Uhr"),
        ("paragraph", 0, "[2] Since version 2."),
    ]


_words = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6)


@given(st.lists(st.lists(_words, min_size=1, max_size=4), min_size=1, max_size=5))
def test_cells_are_never_glued_together(rows: list[list[str]]) -> None:
    table = "".join("<w:tr>" + "".join(f"<w:tc>{p(cell)}</w:tc>" for cell in row) + "</w:tr>" for row in rows)
    opened = docx.read(made(f"<w:tbl>{table}</w:tbl>"), maximum_bytes=1_000_000)
    cells = [
        part for part in opened.content.decode().replace("<", "\0<").replace(">", ">\0").split("\0") if part[:1] != "<"
    ]
    assert [cell for cell in cells if cell.strip()] == [cell for row in rows for cell in row]


def unreadable(content: bytes, maximum_bytes: int = 10_000_000) -> str:
    with pytest.raises(DocumentUnreadable) as caught:
        docx.read(content, maximum_bytes=maximum_bytes)
    assert caught.value.hint
    return caught.value.message


def test_files_that_are_no_documents_are_named() -> None:
    assert "no zip" in unreadable(b"This is no zip.")
    assert "no zip" in unreadable(made()[:300])
    assert "encrypted" in unreadable(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("hello.txt", "Words.")
    assert "no Word document" in unreadable(file.getvalue())
    assert "XML is broken" in unreadable(made("<w:p>"))


def test_bombs_are_refused() -> None:
    big = made("<w:p><w:r><w:t>" + "x" * 30_000_000 + "</w:t></w:r></w:p>")
    assert len(big) < 100_000
    assert "unpacks to more" in unreadable(big)
    assert "nested" in unreadable(made("<w:p>" * 100_000))
    entity = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><x>&b;</x>'
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("word/document.xml", entity)
    assert "document type" in unreadable(file.getvalue())
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(docx.MAXIMUM_ENTRIES + 1):
            archive.writestr(f"{number}", "")
    assert "parts" in unreadable(many.getvalue())


def test_a_token_without_end_is_read_in_few_passes() -> None:
    assert "XML is broken" in unreadable(made("<w:" + "p" * 45_000_000), 50_000_000)


def test_a_long_chain_of_styles_is_not_followed_to_its_end() -> None:
    styles = docx._Styles()
    for number in range(5_000):
        styles.enter("style", {"styleId": f"s{number}"})
        styles.enter("basedOn", {"val": f"s{number + 1}"})
        styles.leave("style")
    assert set(styles.resolved().values()) == {(0, None)}


def test_a_directory_of_too_many_parts_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZipFile", lambda _: pytest.fail("the directory was read"))
    assert "parts" in unreadable(b"PK\x01\x02" * (docx.MAXIMUM_ENTRIES + 1))


def test_a_bad_document_costs_itself_alone(tmp_path: Path) -> None:
    write(tmp_path, {"bad.docx": b"PK\x03\x04 not really", "good.docx": made(), "ok.md": "Words."})
    items = list(FileLoader().load(source_of(tmp_path), {}))
    assert list(documents(items)) == ["good.docx", "ok.md"]
    (error,) = (item.error for item in items if isinstance(item, Skipped))
    assert error is not None
    assert error.message.startswith("bad.docx cannot be read: it is no zip")


_ELEMENTS = st.sampled_from(
    [
        "p",
        "r",
        "t",
        "tbl",
        "tr",
        "tc",
        "del",
        "ins",
        "txbxContent",
        "footnote",
        "footnoteReference",
        "br",
        "tab",
        "pPr",
        "numPr",
    ]
)
_TREES: st.SearchStrategy[str] = st.recursive(
    st.text(st.characters(categories=["L"]), max_size=3),
    lambda inner: st.tuples(_ELEMENTS, st.lists(inner, max_size=4)).map(
        lambda pair: f'<w:{pair[0]} w:id="2" w:val="1">{"".join(pair[1])}</w:{pair[0]}>'
    ),
    max_leaves=30,
)


@given(_TREES)
def test_any_tree_of_elements_is_read(tree: str) -> None:
    opened = docx.read(made(tree), maximum_bytes=1_000_000)
    text = opened.content.decode()
    for name in ("td", "tr", "table", "li", "ul", "ol", "p"):
        assert text.count(f"<{name}>") == text.count(f"</{name}>"), name


@given(st.data())
def test_flipped_bytes_never_end_a_build(data: st.DataObject) -> None:
    content = bytearray(made())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    # Only this error may come out.
    with contextlib.suppress(DocumentUnreadable):
        docx.read(bytes(content), maximum_bytes=1_000_000)


def test_loaded_records(tmp_path: Path) -> None:
    items = load(write(tmp_path, {"a.docx": made(p("Words."))}))
    assert all(isinstance(loaded, LoadedDocument) for loaded in items)
