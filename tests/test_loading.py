"""Loading: identity, metadata, what is read again, and what bad input gets."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clockify_rag import walking
from clockify_rag.contracts import Document, LoadedDocument, Loader, Skipped, Source
from clockify_rag.errors import InvalidSetting, SourceError
from clockify_rag.loading import (
    FileLoader,
    document_id,
    document_id_of_given,
    metadata,
)
from folders import documents, known_of, load, only, skipped, source_of, write


def test_it_is_a_loader() -> None:
    assert isinstance(FileLoader(), Loader)


# Formats and order.


def test_every_format_is_read_in_order_of_path(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "b.md": "# B\n\nText of b.\n",
        "a/z.markdown": "# Z\n\nText of z.\n",
        "a.html": "<html><head><title>A</title></head><body><main><h1>A</h1><p>Text of a.</p></main></body></html>",
        "a-c.txt": "Text of c.\n",
        "a/b.jsonl": '{"id": "one", "text": "First."}\n{"id": "two", "text": "Second."}\n',
        "a/b.HTM": "<p>Text of b.</p>",
        "picture.png": b"\x89PNG",
    }
    items = load(write(tmp_path, files))
    paths = list(documents(items))
    assert paths == ["a-c.txt", "a.html", "a/b.HTM", "a/b.jsonl/one", "a/b.jsonl/two", "a/z.markdown", "b.md"]
    assert skipped(items) == {"picture.png": walking.UNSUPPORTED}
    assert all(document.source == "docs" and document.file is not None for document in documents(items).values())


def test_small_batches_change_nothing(tmp_path: Path) -> None:
    write(tmp_path, {f"{number:03}.{'md' if number % 3 else 'txt'}": f"Text {number}.\n" for number in range(40)})
    whole = [item.document for item in load(tmp_path)]
    for loader in (FileLoader(batch_documents=1), FileLoader(batch_documents=7), FileLoader(batch_bytes=25)):
        assert [item.document for item in loader.load(source_of(tmp_path), {})] == whole  # type: ignore[union-attr]


def test_a_single_file_is_a_source(tmp_path: Path) -> None:
    write(tmp_path, {".hidden/guide.md": "# Guide\n\nWords.\n", "all.jsonl": '{"id": 7, "text": "Words."}\n'})
    assert only(tmp_path / ".hidden" / "guide.md").path == "guide.md"
    assert only(tmp_path / "all.jsonl").path == "all.jsonl/7"
    with pytest.raises(SourceError, match="in no format") as caught:
        load(write(tmp_path, {"a.png": b"\x89PNG"}) / "a.png")
    assert ".md" in caught.value.hint


# Identity.


def test_ids_are_what_they_were() -> None:
    assert document_id("docs", "a/b.md") == "3530bc34955654b2cbe57f2d97019aa4"
    assert document_id_of_given("docs", "a/b.md") != document_id("docs", "a/b.md")


_names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12
).filter(lambda name: not name.startswith(".") and name.strip() == name)


@given(st.tuples(_names, _names), st.tuples(_names, _names))
def test_different_paths_have_different_ids(one: tuple[str, str], two: tuple[str, str]) -> None:
    equal = [unicodedata.normalize("NFC", part) for part in one] == [unicodedata.normalize("NFC", part) for part in two]
    assert (document_id(*one) == document_id(*two)) is equal


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=_names)
def test_ids_do_not_depend_on_where_the_build_runs(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if len(name.encode()) > 200:
        return
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for root in (one, two):
        write(root, {f"docs/part/{name}.md": "# Title\n\nWords.\n"})
    absolute = FileLoader(ignore=False).load(source_of(one / "docs"), {})
    monkeypatch.chdir(two / "docs" / "part")
    relative = FileLoader(ignore=False).load(Source(name="docs", location=".."), {})
    ids = [[item.document.id for item in items] for items in (absolute, relative)]  # type: ignore[union-attr]
    assert ids[0] == ids[1]
    assert len(ids[0]) == 1


def test_unicode_forms_are_one_path_and_a_clash_is_reported(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9.md", "cafe\u0301.md"
    one = only(write(tmp_path / "one", {composed: "Words.\n"}))
    two = only(write(tmp_path / "two", {decomposed: "Words.\n"}))
    assert (one.id, one.path) == (two.id, two.path)
    write(tmp_path / "one", {decomposed: "Other words.\n"})
    if len(list((tmp_path / "one").iterdir())) == 1:
        pytest.skip("this file system holds them as one file")
    items = load(tmp_path / "one")
    assert list(documents(items)) == [composed]
    (clash,) = (item for item in items if isinstance(item, Skipped))
    assert clash.reason == walking.DUPLICATE
    assert clash.error is not None


def test_paths_that_differ_by_case_are_two_documents(tmp_path: Path) -> None:
    write(tmp_path, {"Guide.md": "Words.\n", "guide.md": "Words.\n"})
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this file system does not tell them apart")
    assert len({document.id for document in documents(load(tmp_path)).values()}) == 2


# Metadata.


def test_front_matter_is_used(tmp_path: Path) -> None:
    page = """---
title: Of the front matter
url: https://help.example/guide
tags: [one, two]
version: 4.2
language: de-AT
---

# Heading

Words of the page.
"""
    document = only(write(tmp_path, {"guide.md": page}), tags=("all", "two"), version="1", language="fr")
    assert document.title == "Of the front matter"
    assert document.url == "https://help.example/guide"
    assert document.tags == ("all", "two", "one")
    assert document.version == "4.2"
    assert document.language == "de"


def test_a_page_says_its_language_and_address(tmp_path: Path) -> None:
    page = """<!DOCTYPE html><html lang="de-DE"><head><title>Seite</title>
<link rel="canonical" href="https://help.example/seite"></head><body><main><h1>Seite</h1><p>Worte.</p></main></body>"""
    document = only(write(tmp_path, {"page.html": page}), base_url="https://other.example", language="en")
    assert (document.language, document.url) == ("de", "https://help.example/seite")


def test_a_language_is_the_source_s_or_detected(tmp_path: Path) -> None:
    text = "Das ist ein deutscher Text, und er wird von niemandem für einen englischen gehalten.\n" * 3
    write(tmp_path, {"text.md": text})
    assert only(tmp_path).language == "de"
    assert only(tmp_path, language="nl-BE").language == "nl"


@pytest.mark.parametrize(
    ("path", "text", "title"),
    [
        ("how-to_start.md", "Words.\n", "how to start"),
        ("setup/index.md", "Words.\n", "setup"),
        ("README.md", "Words.\n", "README"),
        ("all.jsonl", '{"id": "version-1.2", "text": "Words."}', "version 1.2"),
    ],
)
def test_a_page_without_a_title_has_its_name(tmp_path: Path, path: str, text: str, title: str) -> None:
    assert only(write(tmp_path, {path: text})).title == title


@pytest.mark.parametrize(
    ("style", "path", "address"),
    [
        ("html", "a/b.md", "https://x.example/help/a/b.html"),
        ("html", "a/b.htm", "https://x.example/help/a/b.htm"),
        ("html", "a/index.md", "https://x.example/help/a/index.html"),
        ("html", "a/b.txt", "https://x.example/help/a/b.txt"),
        ("directory", "a/b.md", "https://x.example/help/a/b/"),
        ("directory", "a/index.html", "https://x.example/help/a/"),
        ("directory", "README.md", "https://x.example/help/"),
        ("directory", "a.txt", "https://x.example/help/a.txt"),
        ("md", "a/b.md", "https://x.example/help/a/b.md"),
        ("md", "a b/ü#?.md", "https://x.example/help/a%20b/%C3%BC%23%3F.md"),
    ],
)
def test_addresses_are_made_of_paths(style: Any, path: str, address: str) -> None:
    for base in ("https://x.example/help", "https://x.example/help/"):
        assert metadata.url_of(Source(name="s", location=".", base_url=base, url_style=style), path) == address
    assert metadata.url_of(Source(name="s", location=".", url_style=style), path) is None


@pytest.mark.parametrize(
    ("url", "base", "address"),
    [
        ("/guide/start", "https://x.example/help/", "https://x.example/guide/start"),
        ("/guide/start", None, None),
        ("javascript:alert(1)", "https://x.example/", "https://x.example/a.html"),
        ("http://[broken", "https://x.example/", "https://x.example/a.html"),
    ],
)
def test_only_web_addresses_are_taken(tmp_path: Path, url: str, base: str | None, address: str | None) -> None:
    write(tmp_path, {"a.md": f'---\nurl: "{url}"\n---\n\nWords.\n'})
    assert only(tmp_path, base_url=base).url == address


def test_the_content_hash_follows_what_is_searched_or_shown(tmp_path: Path) -> None:
    write(tmp_path, {"a.md": "# Title\n\nWords.\n"})
    first = only(tmp_path)
    assert only(tmp_path, base_url="https://x.example").content_hash != first.content_hash
    assert only(tmp_path, tags=("t",)).content_hash != first.content_hash
    (tmp_path / "a.md").rename(tmp_path / "b.md")
    moved = only(tmp_path)
    assert moved.id != first.id
    assert moved.content_hash == first.content_hash
    write(tmp_path, {"b.md": "# Title\n\nOther words.\n"})
    assert only(tmp_path).content_hash != first.content_hash


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<h2 id=old>Setup</h2><p>Words.</p>", "<h2 id=new>Setup</h2><p>Words.</p>"),
        ("<h2>Setup</h2><p>Words.</p>", "<h3>Setup</h3><p>Words.</p>"),
        ("<p>Setup</p><p>Words.</p>", "<pre>Setup</pre><p>Words.</p>"),
        ("<dl><dt id=old>Setup<dd>Words.</dl>", "<dl><dt id=new>Setup<dd>Words.</dl>"),
    ],
)
def test_the_content_hash_follows_the_structure(tmp_path: Path, before: str, after: str) -> None:
    page = "<html><title>Page</title><body>{}</body></html>"
    write(tmp_path, {"a.html": page.format(before)})
    items = load(tmp_path)
    write(tmp_path, {"a.html": page.format(after)})
    changed = load(tmp_path)
    assert items[0].page.text == changed[0].page.text
    assert items[0].document.content_hash != changed[0].document.content_hash
    assert load(tmp_path)[0].document == changed[0].document


def test_a_moved_page_is_known_by_its_hash_although_its_address_changed(tmp_path: Path) -> None:
    write(tmp_path, {"a.md": "# Title\n\nWords.\n"})
    first = only(tmp_path, base_url="https://x.example")
    (tmp_path / "a.md").rename(tmp_path / "b.md")
    moved = only(tmp_path, base_url="https://x.example")
    assert moved.url != first.url
    assert moved.content_hash == first.content_hash


# What is read again.


def test_unchanged_files_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"a.md": "# A\n\nOne.\n", "b.html": "<p>Two.</p>", "c.jsonl": '{"id": 1, "text": "Three."}\n'})
    first = load(tmp_path)
    opened: list[str] = []
    open_file = walking._open

    def noting(path: str) -> Any:
        opened.append(Path(path).name)
        return open_file(path)

    monkeypatch.setattr(walking, "_open", noting)
    again = load(tmp_path, known_of(first))
    assert again == [item.document for item in first]
    assert opened == []
    every = list(FileLoader().load(source_of(tmp_path), known_of(first), checksum=True))
    assert [item.document for item in every] == again  # type: ignore[union-attr]
    assert opened == ["a.md", "b.html", "c.jsonl"]
    os.utime(tmp_path / "b.html")
    changed = load(tmp_path, known_of(first))
    assert [type(item) for item in changed] == [Document, LoadedDocument, Document]


@pytest.mark.parametrize(
    "fields", [{"base_url": "https://x.example"}, {"slugs": "mkdocs"}, {"tags": ("t",)}, {"language": "fr"}]
)
def test_other_settings_read_again(tmp_path: Path, fields: dict[str, Any]) -> None:
    known = known_of(load(write(tmp_path, {"a.md": "# A\n\nOne.\n"})))
    (item,) = load(tmp_path, known, **fields)
    assert isinstance(item, LoadedDocument)


def test_stale_documents_and_those_of_other_sources_are_read(tmp_path: Path) -> None:
    known = known_of(load(write(tmp_path, {"a.md": "# A\n\nOne.\n"})))
    for change in ({"stale": True}, {"source": "other"}):
        changed = {name: msgspec.structs.replace(document, **change) for name, document in known.items()}
        (item,) = load(tmp_path, changed)
        assert isinstance(item, LoadedDocument)


def test_a_file_of_lines_with_a_failure_is_read_and_reported_again(tmp_path: Path) -> None:
    lines = '{"id": 1, "text": "One."}\n{"id": 2, "text": "Two."}\n{"id": 3'
    write(tmp_path, {"all.jsonl": lines})
    first = load(tmp_path)
    assert list(skipped(first)) == ["all.jsonl:3"]
    again = load(tmp_path, known_of(first))
    assert skipped(again) == skipped(first)
    write(tmp_path, {"all.jsonl": lines.replace('{"id": 3', "")})
    healed = load(tmp_path, known_of(again))
    assert skipped(healed) == {}
    assert all(isinstance(item, Document) for item in load(tmp_path, known_of(healed)))


# JSON Lines.


def test_lines_carry_metadata(tmp_path: Path) -> None:
    line = {
        "_id": "x/1",
        "title": "Title\nof two lines",
        "text": "<p>Words of <b>HTML</b>.</p>",
        "format": "html",
        "url": "https://help.example/x",
        "language": "sv-SE",
        "tags": "one, two,",
        "version": 3,
        "more": {"is": "passed over"},
    }
    write(tmp_path, {"all.jsonl": b"\xef\xbb\xbf" + json.dumps(line).encode() + b"\r\n\n   \n"})
    (item,) = load(tmp_path, base_url="https://x.example")
    document = item.document
    assert document.id == document_id_of_given("docs", "x/1")
    assert document.path == "all.jsonl/x/1"
    assert document.title == "Title of two lines"
    assert document.url == "https://help.example/x"
    assert (document.language, document.tags, document.version) == ("sv", ("one", "two"), "3")
    assert "Words of HTML" in item.page.text


def test_broken_lines_are_reported_with_their_number(tmp_path: Path) -> None:
    lines = [
        '{"id": "a", "text": "Good."}',
        "{broken",
        "",
        '{"id": "b"}',
        '{"id": "a", "text": "The same id."}',
        '{"text": "No id."}',
        '{"id": "c", "text": " "}',
        "[]",
        '{"id": "d", "text": "Good.", "format": "pdf"}',
        '{"id": "e", "text": "\\ud800"}',
        '{"id": "f", "text": "' + "long " * 100 + '"}',
        '{"id": "g", "text": "Good."}',
        '{"id": "h", "text": "' + "long " * 100 + '"}',
    ]
    write(tmp_path, {"all.jsonl": "\n".join(lines)})
    items = list(FileLoader(maximum_bytes=200).load(source_of(tmp_path), {}))
    assert list(documents(items)) == ["all.jsonl/a", "all.jsonl/line-6", "all.jsonl/g"]
    assert skipped(items) == {
        "all.jsonl:2": walking.UNREADABLE,
        "all.jsonl:4": walking.UNREADABLE,
        "all.jsonl:5": walking.DUPLICATE,
        "all.jsonl:7": walking.EMPTY,
        "all.jsonl:8": walking.UNREADABLE,
        "all.jsonl:9": walking.UNREADABLE,
        "all.jsonl:10": walking.UNREADABLE,
        "all.jsonl:11": walking.TOO_LARGE,
        "all.jsonl:13": walking.TOO_LARGE,
    }
    errors = {item.path: item.error for item in items if isinstance(item, Skipped) and item.error}
    assert "line 2 of all.jsonl" in errors["all.jsonl:2"].message
    assert "text" in errors["all.jsonl:4"].message


def test_a_line_whose_document_cannot_be_told_names_its_file(tmp_path: Path) -> None:
    lines = [
        '{"id": "a", "text": "Good."}',
        '{"id": "b", "te',
        '{"id": "a", "text": "Again."}',
        '{"id": "c", "text": ""}',
    ]
    write(tmp_path, {"in/faq.jsonl": "\n".join([*lines, '{"id": "d", "text": "' + "long " * 100 + '"}'])})
    items = list(FileLoader(maximum_bytes=200).load(source_of(tmp_path), {}))
    files = {item.path: item.file for item in items if isinstance(item, Skipped)}
    assert files == {
        "in/faq.jsonl:2": "in/faq.jsonl",
        "in/faq.jsonl:3": None,
        "in/faq.jsonl:4": None,
        "in/faq.jsonl:5": "in/faq.jsonl",
    }


# Bad input.


def test_an_unreadable_document_is_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    write(
        tmp_path, {"a.md": b"\xc3\x28 not UTF-8 \xff\xfe\xfd", "b.md": "# B\n\nWords.\n", "c.md": "", "d.md": " \n\n"}
    )
    items = load(tmp_path)
    assert list(documents(items)) == ["b.md"]
    assert skipped(items) == {"a.md": walking.UNREADABLE, "c.md": walking.EMPTY, "d.md": walking.EMPTY}
    (error,) = (item.error for item in items if isinstance(item, Skipped) and item.error)
    assert error.code == "document_unreadable"
    assert error.message.startswith("a.md cannot be read: ")


def test_a_file_without_permission_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"a.md": "# A\n\nWords.\n", "b.md": "# B\n\nWords.\n"})
    open_file = walking._open

    def refusing(path: str) -> Any:
        if path.endswith("a.md"):
            raise PermissionError(13, "Permission denied", path)
        return open_file(path)

    monkeypatch.setattr(walking, "_open", refusing)
    items = load(tmp_path)
    assert list(documents(items)) == ["b.md"]
    (error,) = (item.error for item in items if isinstance(item, Skipped) and item.error)
    assert error.message == "a.md cannot be read: Permission denied"
    assert ".ragignore" in error.hint


def test_a_large_file_is_reported_unread(tmp_path: Path) -> None:
    write(tmp_path, {"b.md": "# B\n\nWords.\n"})
    with (tmp_path / "a.md").open("wb") as file:
        file.truncate(200_000_000)
    (large,) = (item for item in load(tmp_path) if isinstance(item, Skipped))
    assert large.reason == walking.TOO_LARGE
    assert large.error is not None
    assert "200 MB" in large.error.message
    assert "50 MB" in large.error.message


def test_a_file_that_grows_while_it_is_read_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"a.md": "words " * 10})
    look = walking.Folder.look
    monkeypatch.setattr(walking.Folder, "look", lambda self, key: (look(self, key)[0], 1))
    items = FileLoader(maximum_bytes=20).load(source_of(tmp_path), {})
    with pytest.raises(SourceError, match="1 too large"):
        list(items)


@pytest.mark.parametrize("files", [{}, {"a.png": b"x"}, {"a.md": b""}, {".a/b.md": b"x"}])
def test_a_source_without_documents_is_an_error(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(SourceError, match="holds no document") as caught:
        load(write(tmp_path, files))
    assert caught.value.hint
    assert all(reason in str(caught.value) for reason in caught.value.fields["skipped"] if reason != "documents")


def test_a_location_that_is_none(tmp_path: Path) -> None:
    write(tmp_path, {"manual/a.md": "Words.\n"})
    with pytest.raises(SourceError, match="nothing at") as caught:
        load(tmp_path / "manul")
    assert caught.value.hint == f"did you mean {tmp_path / 'manual'}?"
    with pytest.raises(SourceError, match="nothing at"):
        load(tmp_path / "none" / "at" / "all")
    with pytest.raises(SourceError, match=r"pattern .* matches nothing"):
        load(tmp_path / "manual" / "*.rst")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="neither a folder nor a file"):
        load(tmp_path / "pipe")
    with pytest.raises(SourceError, match="is an address"):
        list(FileLoader().load(Source(name="s", location="https://help.example"), {}))
    write(tmp_path, {"index/CURRENT": "1", "index/generations/1.json": "{}"})
    with pytest.raises(SourceError, match="is an index"):
        load(tmp_path / "index")


def test_limits_that_cannot_be() -> None:
    for setting in (
        "maximum_bytes",
        "maximum_archive_bytes",
        "maximum_archive_members",
        "batch_documents",
        "batch_bytes",
    ):
        with pytest.raises(InvalidSetting, match=setting):
            FileLoader(**{setting: 0})  # type: ignore[arg-type]


# Sources.


@pytest.mark.parametrize(
    "fields",
    [
        {"base_url": "help.example"},
        {"base_url": "http://[x"},
        {"url_style": "php"},
        {"slugs": "word"},
        {"name": ""},
        {"location": ""},
    ],
)
def test_settings_of_a_source_that_cannot_be(tmp_path: Path, fields: dict[str, Any]) -> None:
    source = msgspec.structs.replace(source_of(tmp_path), **fields)
    with pytest.raises(InvalidSetting) as caught:
        list(FileLoader().load(source, {}))
    assert caught.value.hint


# Real pages.


def test_a_real_help_centre(data: Path) -> None:
    items = load(data / "clockify" / "kb_markdown")
    found = documents(items)
    assert len(found) + len(skipped(items)) == 293
    assert all(document.url and document.title for document in found.values())
    assert {document.language for document in found.values()} > {"en"}
    assert load(data / "clockify" / "kb_markdown", known_of(items)) == [
        item.document if isinstance(item, LoadedDocument) else item for item in items
    ]


def test_a_real_manual_in_an_archive(data: Path) -> None:
    archive = data / "docs-html" / "postgresql-15.tar.gz"
    items = load(archive)
    assert len(documents(items)) == 1169
    assert skipped(items) == {"postgresql-doc-15/copyright": walking.UNSUPPORTED}
    assert list(documents(items)) == sorted(documents(items))
    assert load(archive, known_of(items)) == list(documents(items).values())


def test_front_matter_helpers() -> None:
    assert metadata.mapping("[1]") == {}
    assert metadata.mapping("") == {}
    assert metadata.text_of(True) is None
    assert metadata.text_of(["a"]) is None
    assert metadata.all_tags(["a", 1, None, ["b"]], {"c": 1}) == ("a", "1")
