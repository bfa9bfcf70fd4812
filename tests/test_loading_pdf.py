"""PDF: pages as anchors, headings of the outline, and files that are broken on purpose."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag import walking
from clockify_rag.contracts import LoadedDocument, Skipped
from clockify_rag.errors import DocumentUnreadable, MissingExtra
from clockify_rag.loading import FileLoader, pdf
from folders import documents, known_of, load, skipped, source_of, write
from pipelines import pipeline_of

pypdf = pytest.importorskip("pypdf")


def made(pages: Sequence[Sequence[str]], *, outline: Sequence[tuple[int, str, int]] = (), **information: str) -> bytes:
    """A PDF of ``pages`` of lines; ``outline`` has level, title and page, from 0."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /Lang (en-GB) >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    for number, lines in enumerate(pages):
        words = b"".join(b"(%s) Tj T* " % _escaped(line) for line in lines)
        stream = zlib.compress(b"BT /F1 11 Tf 14 TL 60 780 Td " + words + b"ET")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {5 + 2 * number} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        objects.append(b"<< /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
    out = bytearray(b"%PDF-1.7\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    if not outline and not information:
        return bytes(out)
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(bytes(out)))
    above: dict[int, Any] = {}
    for level, title, page in outline:
        above[level] = writer.add_outline_item(title=title, page_number=page, parent=above.get(level - 1))
    writer.add_metadata({f"/{name.title()}": value for name, value in information.items()})
    file = io.BytesIO()
    writer.write(file)
    return file.getvalue()


def _escaped(line: str) -> bytes:
    return line.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


MANUAL = made(
    [
        [
            "The Timer Manual",
            "1 Starting",
            "The timer starts with a button that stands in the upper right of the page, and it goes on until some-",
            "body stops it. What was tracked is kept.",
            "\u2022 One point of a list",
            "\u2022 Another point & more <text>",
            "The Timer Manual | Page 1",
        ],
        [
            "The Timer Manual",
            "On the second page the text about starting goes on, although no heading stands above it here.",
            "2 Stopping",
            "Press the button (once) more.",
            "The Timer Manual | Page 2",
        ],
        ["The Timer Manual", "The third page has only this sentence.", "The Timer Manual | Page 3"],
    ],
    outline=[(1, "Starting", 0), (1, "Stopping", 1), (2, "A heading that no line has", 2)],
    title="Timer",
)


def test_pages_are_anchors(tmp_path: Path) -> None:
    (item,) = load(write(tmp_path, {"timer.pdf": MANUAL}), base_url="https://x.example/files")
    assert (item.document.title, item.document.language) == ("Timer", "en")
    assert item.document.url == "https://x.example/files/timer.pdf"
    shown = [(block.kind, block.level, block.anchor, item.page.text[slice(*block.span)]) for block in item.page.blocks]
    assert shown == [
        ("heading", 1, "page=1", "Starting"),
        (
            "paragraph",
            0,
            "page=1",
            (
                "The timer starts with a button that stands in the upper right of the page, and it goes on until "
                "somebody stops it. What was tracked is kept."
            ),
        ),
        ("paragraph", 0, "page=1", "\u2022 One point of a list"),
        ("paragraph", 0, "page=1", "\u2022 Another point & more <text>"),
        (
            "paragraph",
            0,
            "page=2",
            "On the second page the text about starting goes on, although no heading stands above it here.",
        ),
        ("heading", 1, "page=2", "Stopping"),
        ("paragraph", 0, "page=2", "Press the button (once) more."),
        ("heading", 2, "page=3", "A heading that no line has"),
        ("paragraph", 0, "page=3", "The third page has only this sentence."),
    ]


def test_a_chunk_is_of_one_page_and_has_its_anchor(tmp_path: Path) -> None:
    write(tmp_path / "docs", {"timer.pdf": MANUAL, "other.md": "# Other\n\nNothing of that.\n"})
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([tmp_path / "docs"])
    hits = pipeline.search("the text about starting goes on").hits
    chunk = next(hit.chunk for hit in hits if "goes on, although" in hit.chunk.text)
    assert (chunk.anchor, chunk.heading_path) == ("page=2", ("Starting",))
    assert {hit.chunk.anchor for hit in hits if hit.document.path == "timer.pdf"} <= {"page=1", "page=2", "page=3"}
    hit = pipeline.search("press the button once more").hits[0]
    assert (hit.chunk.anchor, hit.chunk.heading_path) == ("page=2", ("Stopping",))
    assert len({hit.chunk.id for hit in hits}) == len(hits)


def test_an_unchanged_pdf_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(write(tmp_path, {"timer.pdf": MANUAL}))
    monkeypatch.setattr(pdf, "read", None)
    assert documents(load(tmp_path, known_of(first))) == documents(first)


def failure(root: Path, name: str, loader: FileLoader | None = None) -> str:
    items = list((loader or FileLoader()).load(source_of(root), {}))
    (found,) = (item for item in items if isinstance(item, Skipped) and item.error and item.path == name)
    assert found.error is not None
    assert found.error.hint
    assert found.error.message.startswith(f"{name} cannot be read: ")
    assert any(isinstance(item, LoadedDocument) for item in items)
    return found.error.message


@pytest.mark.skipif(importlib.util.find_spec("cryptography") is not None, reason="cryptography reads it")
def test_a_file_encrypted_by_aes_says_what_reads_it() -> None:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(made([["Secret."]])))
    writer.encrypt("", "password", algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    aes = b"/CF << /StdCF << /CFM /AESV3 >> >> /StmF /StdCF /StrF /StdCF /UE <00> /OE <00> /Perms <00>"
    content = file.getvalue().replace(b"/V 2", b"/V 5").replace(b"/R 3", b"/R 6")
    content = content.replace(b"/Filter /Standard", b"/Filter /Standard " + aes)
    with pytest.raises(DocumentUnreadable, match="encrypted by AES") as caught:
        pdf.read(content, maximum_pages=9, maximum_bytes=10_000)
    assert "cryptography" in caught.value.hint


def test_files_that_cannot_be_read_are_named_and_nothing_else_is_lost(tmp_path: Path) -> None:
    encrypted = pypdf.PdfWriter(clone_from=io.BytesIO(made([["Secret."]])))
    encrypted.encrypt("password", algorithm="RC4-128")
    file = io.BytesIO()
    encrypted.write(file)
    write(
        tmp_path,
        {
            "encrypted.pdf": file.getvalue(),
            "cut.pdf": MANUAL[: len(MANUAL) // 4],
            "no.pdf": b"This is no PDF.",
            "pictures.pdf": made([[], []]),
            "good.pdf": made([["Words of a good page."]]),
        },
    )
    assert "encrypted" in failure(tmp_path, "encrypted.pdf")
    assert "no text" in failure(tmp_path, "pictures.pdf")
    failure(tmp_path, "no.pdf")
    failure(tmp_path, "cut.pdf")
    assert list(documents(load(tmp_path))) == ["good.pdf"]


def test_limits(tmp_path: Path) -> None:
    bomb = made([["Words."]])
    start, end = bomb.index(b"stream\n") + 7, bomb.index(b"\nendstream")
    stream = zlib.compress(b"BT /F1 11 Tf (" + b"x" * 200_000_000 + b") Tj ET", 9)
    bomb = bomb[:start] + stream + bomb[end:]
    bomb = bomb.replace(b"/Length %d" % (end - start), b"/Length %d" % len(stream))
    write(tmp_path, {"bomb.pdf": bomb, "many.pdf": made([["Page."]] * 30), "ok.md": "Words."})
    failure(tmp_path, "bomb.pdf")
    assert "30 pages, more than 20" in failure(tmp_path, "many.pdf", FileLoader(maximum_pages=20))
    with pytest.raises(DocumentUnreadable, match="bytes of text"):
        pdf.read(made([["word " * 20]]), maximum_pages=10, maximum_bytes=50)


def test_without_pypdf_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"timer.pdf": MANUAL, "ok.md": "Words."})
    monkeypatch.setitem(sys.modules, "pypdf", None)
    items = load(tmp_path)
    assert list(documents(items)) == ["ok.md"]
    (error,) = (item.error for item in items if isinstance(item, Skipped))
    assert error is not None
    assert (error.code, error.hint) == ("missing_extra", 'pip install "clockify-rag[pdf]"')
    with pytest.raises(MissingExtra) as caught:
        load(tmp_path / "timer.pdf")
    assert caught.value.hint == 'pip install "clockify-rag[pdf]"'


@given(st.lists(st.tuples(st.integers(0, len(MANUAL) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_flipped_bytes_never_end_a_build(changes: list[tuple[int, int]]) -> None:
    content = bytearray(MANUAL)
    for place, byte in changes:
        content[place] = byte
    # Only this error may come out.
    with contextlib.suppress(DocumentUnreadable):
        assert pdf.read(bytes(content), maximum_pages=100, maximum_bytes=1_000_000).content


@given(
    st.lists(st.sampled_from(["Words of a line that goes on", "Short.", "", "- item", "1. item", "hyphen-", "ated"]))
)
def test_no_line_of_a_page_is_lost(lines: list[str]) -> None:
    shown = "".join(block for block in pdf._blocks(lines, {}) if isinstance(block, str))
    kept = [character for character in shown if character not in " -"]
    assert kept == [character for line in lines for character in line if character not in " -"]


def test_running_heads_are_left_out_only_where_most_pages_have_them() -> None:
    pages = [[f"Manual {number}", f"text {'x' * number}", f"page {number} of 9"] for number in range(9)]
    assert pdf._without_running(pages) == [[f"text {'x' * number}"] for number in range(9)]
    assert pdf._without_running(pages[:2]) == pages[:2]
    different = [[chr(97 + number)] for number in range(9)]
    assert pdf._without_running(different) == different


def test_skipped_reasons(tmp_path: Path) -> None:
    items = load(write(tmp_path, {"a.pdf": b"", "ok.md": "Words."}))
    assert skipped(items) == {"a.pdf": walking.EMPTY}
