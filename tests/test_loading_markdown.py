"""Files of many documents, editorial front matter, and what generators make of a path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag import walking
from clockify_rag.contracts import Document, LoadedDocument, Skipped, Source
from clockify_rag.loading import FileLoader, articles, document_id, metadata
from folders import documents, known_of, load, only, skipped, source_of, write

FRONT_MATTERS = """---
title: Start here
url: https://help.example/start
---

# Start here

Words of the start.

---

A break between two lines is no front matter.

```yaml
---
title: Code
url: https://help.example/code
---
```

---
title: "Timer"
url: https://help.example/track/timer
tags: [time]
---

# Timer

Words of the timer.

---
url: https://help.example/track/timer
title: The timer again
suppress_from_rag: true
---

Words for editors.
"""

ARTICLES = """\ufeffThe whole help centre, exported.

# [ARTICLE] Start here
https://help.example/start

Words of the start.

## A part

More words.

```
# [ARTICLE] Code
https://help.example/code
```

# [ARTICLE] Timer

**URL:** <https://help.example/track/timer?tab=1>

Words of the timer. See https://help.example/start too.

# [ARTICLE] Without an address

Words.
"""


def texts(items: list[Any]) -> dict[str, str]:
    return {item.document.path: item.page.text for item in items if isinstance(item, LoadedDocument)}


def test_each_front_matter_begins_a_document(tmp_path: Path) -> None:
    items = load(write(tmp_path, {"all.md": FRONT_MATTERS}))
    found = documents(items)
    assert list(found) == ["all.md/start", "all.md/track/timer"]
    assert skipped(items) == {"all.md/track/timer-2": walking.SUPPRESSED}
    assert [document.url for document in found.values()] == [
        "https://help.example/start",
        "https://help.example/track/timer",
    ]
    assert found["all.md/track/timer"].title == "Timer"
    assert found["all.md/track/timer"].tags == ("time",)
    assert found["all.md/start"].id == document_id("docs", "all.md/start")
    assert "no front matter" in texts(items)["all.md/start"]
    assert "title: Code" in texts(items)["all.md/start"]
    assert "Timer" not in texts(items)["all.md/start"]


def test_each_article_is_a_document_with_its_address(tmp_path: Path) -> None:
    items = load(write(tmp_path, {"all.md": ARTICLES}))
    found = documents(items)
    assert {path: (document.title, document.url) for path, document in found.items()} == {
        "all.md/beginning": ("beginning", None),
        "all.md/start": ("Start here", "https://help.example/start"),
        "all.md/track/timer/tab-1": ("Timer", "https://help.example/track/timer?tab=1"),
        "all.md/without-an-address": ("Without an address", None),
    }
    text = texts(items)["all.md/track/timer/tab-1"]
    assert text == "Timer\n\nWords of the timer. See https://help.example/start too."
    assert "[ARTICLE] Code" in texts(items)["all.md/start"]


@pytest.mark.parametrize(
    ("line", "url"),
    [
        ("**URL: https://help.example/a_b**", "https://help.example/a_b"),
        ("_<https://help.example/a_>_", "https://help.example/a_"),
        ("> Source: https://help.example/a_", "https://help.example/a_"),
    ],
)
def test_an_address_ends_where_its_emphasis_begins(line: str, url: str) -> None:
    (part,) = articles.parts_of(f"# [ARTICLE] Title # ##\n{line}\nWords.\n")
    assert (part.url, part.title) == (url, "Title")


@pytest.mark.parametrize(
    "text",
    [
        "# [ARTICLE] a{spaces}x\n",
        "# [ARTICLE] a\nhttps://a{emphasis}(\n",
        "# [ARTICLE] a\nurl{emphasis}(\n",
        "# [ARTICLE] a\n{fence}x`\n",
    ],
)
def test_long_lines_are_read_in_one_pass(text: str) -> None:
    long = text.format(spaces=" " * 1_000_000, emphasis="_*" * 500_000, fence="`" * 1_000_000)
    (part,) = articles.parts_of(long)
    assert (part.start, part.end) == (0, len(long))


@pytest.mark.parametrize("content", [FRONT_MATTERS, ARTICLES])
def test_a_file_of_many_is_read_again_only_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    first = load(write(tmp_path, {"all.md": content, "other.md": "Words.\n"}))
    again = load(tmp_path, known_of(first))
    assert all(isinstance(item, Document) for item in again)
    assert documents(again) == documents(first)
    write(tmp_path, {"all.md": content.replace("Words of the timer", "Other words")})
    changed = load(tmp_path, known_of(first))
    assert len(texts(changed)) == len(documents(first)) - 1
    assert documents(changed).keys() == documents(first).keys()


def test_one_broken_part_costs_itself_alone_and_is_said_again(tmp_path: Path) -> None:
    broken = FRONT_MATTERS.replace("tags: [time]", "tags: [time")
    first = load(write(tmp_path, {"all.md": broken}))
    assert list(documents(first)) == ["all.md/start"]
    (failure,) = (item for item in first if isinstance(item, Skipped) and item.error)
    assert failure.path == "all.md/track/timer"
    assert failure.error is not None
    assert "front matter" in failure.error.message
    assert skipped(load(tmp_path, known_of(first)))["all.md/track/timer"] == walking.UNREADABLE


@pytest.mark.parametrize(
    "text",
    [
        "# Page\n\n---\n\nWords: of a line\n\n---\n\nMore.\n",
        "---\ntitle: One\n---\n\nText.\n\n---\nNote: this is no front matter\n---\n\nMore.\n",
        "---\ntitle: One\n---\n\n```\n---\ntitle: Two\n---\n```\n",
        "---\ntitle: One\n---\n\nA heading\n---\ntitle: two\n---\n",
        "---\ntitle: One\n---\n\n---\nid: of another kind\n---\n\nText.\n",
        "Say `# [ARTICLE] Title`.\n\n    # [ARTICLE] Code\n",
        "---\ntitle: One",
        "",
    ],
)
def test_what_is_one_document_stays_one(text: str) -> None:
    assert articles.parts_of(text) == []


_PIECES = st.sampled_from(
    [
        "---\n",
        "---\ntitle: A\n---\n",
        "---\nid: 7\n---\n",
        "title: A\n",
        "id: b\n",
        "\n",
        "# [ARTICLE] One\n",
        "# [ARTICLE]\n",
        "https://help.example/a\n",
        "```\n",
        "~~~~\n",
        "text\n",
        "text",
        "...\n",
        "\ufeff",
        "\r\n",
        "é\u2028",
        "  - x\n",
    ]
)


@given(st.lists(st.one_of(_PIECES, st.text(max_size=10)), max_size=40).map("".join))
def test_every_character_is_in_exactly_one_part(text: str) -> None:
    parts = articles.parts_of(text)
    assert not parts or "".join(text[part.start : part.end] for part in parts) == text
    names = [part.name for part in parts]
    assert len(set(names)) == len(names)


@given(st.lists(st.sampled_from(["a", "a-2", "a-3", "b", "b-2"]), max_size=12))
def test_names_of_parts_are_unique(names: list[str]) -> None:
    numbered = articles._numbered([articles.Part(0, 0, name) for name in names])
    assert len({part.name for part in numbered}) == len(names)


@given(st.binary(max_size=200))
def test_no_bytes_end_a_build(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    root = write(
        tmp_path_factory.mktemp("bytes"),
        {f"a.{suffix}": content for suffix in ("md", "mdx", "html", "txt", "jsonl", "pdf", "docx")}
        | {"ok.md": "Words."},
    )
    assert "ok.md" in documents(list(FileLoader().load(source_of(root), {})))


# What is kept out, and what is marked.


def test_editorial_front_matter(tmp_path: Path) -> None:
    page = "---\n{}\n---\n\n# Page\n\nWords of the page.\n"
    write(
        tmp_path,
        {
            "out.md": page.format("suppress_from_rag: true"),
            "word.md": page.format("suppress_from_rag: 'yes'"),
            "in.md": page.format("suppress_from_rag: false"),
            "hub.md": page.format("is_hub: true"),
            "lines.jsonl": '{"id": 1, "text": "Words.", "suppress_from_rag": true}\n{"id": 2, "text": "W.", "is_hub": true}',
        },
    )
    items = load(tmp_path)
    assert skipped(items) == {
        "out.md": walking.SUPPRESSED,
        "word.md": walking.SUPPRESSED,
        "lines.jsonl/1": walking.SUPPRESSED,
    }
    assert {path: document.kind for path, document in documents(items).items()} == {
        "hub.md": "hub",
        "in.md": "page",
        "lines.jsonl/2": "hub",
    }


def test_editorial_sections_are_left_out(tmp_path: Path) -> None:
    page = "# Page\n\nShown.\n\n## Internal notes\n\nSecret.\n\n### Deeper\n\nSecret too.\n\n## After\n\nShown again.\n"
    html = "<main><h1>Page</h1><p>Shown.</p><h2>Internal <em>Notes</em>:</h2><p>Secret.</p><h2>After</h2><p>More.</p></main>"
    write(tmp_path, {"a.md": page, "b.html": html})
    known = known_of(load(tmp_path))
    loader = FileLoader(omitted_sections=["internal notes"])
    items = list(loader.load(source_of(tmp_path), known))
    read = [item for item in items if isinstance(item, LoadedDocument)]
    assert [item.page.text for item in read] == [
        "Page\n\nShown.\n\nAfter\n\nShown again.",
        "Page\n\nShown.\n\nAfter\n\nMore.",
    ]
    for item in read:
        assert all(item.page.text[slice(*block.span)].strip() for block in item.page.blocks)


def test_a_weight_is_kept_with_documents(tmp_path: Path) -> None:
    write(tmp_path, {"a.md": "# Page\n\nWords.\n"})
    plain, heavy = only(tmp_path), only(tmp_path, boost=2.5)
    assert (plain.boost, heavy.boost) == (1.0, 2.5)
    assert plain.content_hash != heavy.content_hash


# Generators.


@pytest.mark.parametrize(
    ("path", "matter", "route"),
    [
        ("intro.md", {}, "intro"),
        ("01-guides/02-start.mdx", {}, "guides/start"),
        ("guides/index.md", {}, "guides"),
        ("guides/README.md", {}, "guides"),
        ("guides/guides.md", {}, "guides"),
        ("index.md", {}, ""),
        ("guides/start.md", {"id": "begin"}, "guides/begin"),
        ("guides/start.md", {"slug": "begin/here"}, "guides/begin/here"),
        ("guides/start.md", {"slug": "/"}, ""),
        ("guides/start.md", {"slug": "/begin/", "id": "other"}, "begin"),
        ("a/b/c.md", {"slug": "../d"}, "a/d"),
        ("a.md", {"slug": "../../.."}, ""),
        ("a.md", {"slug": "b/" * 1_000_000 + "../" * 999_999}, "b"),
        ("2021-01-31-release.md", {}, "2021-01-31-release"),
        ("1.2-notes.md", {}, "1.2-notes"),
    ],
)
def test_docusaurus_routes(path: str, matter: dict[str, Any], route: str) -> None:
    assert metadata.docusaurus_route(path, matter) == route


@pytest.mark.parametrize(
    ("style", "address"),
    [
        ("plain", "https://x.example/docs/guides/begin"),
        ("html", "https://x.example/docs/guides/begin.html"),
        ("directory", "https://x.example/docs/guides/begin/"),
        ("md", "https://x.example/docs/01-guides/start.md"),
    ],
)
def test_a_docusaurus_site(tmp_path: Path, style: str, address: str) -> None:
    page = "---\nslug: begin\nsidebar_label: Begin here\n---\n\nimport Tabs from '@theme/Tabs';\n\n:::note Mind this\nText.\n:::\n"
    site = write(tmp_path, {"site/docusaurus.config.ts": "", "site/docs/01-guides/start.md": page})
    items = load(site / "site" / "docs", base_url="https://x.example/docs/", url_style=style)
    (document,) = documents(items).values()
    assert document.url == address
    assert document.title == "Begin here"
    assert texts(items) == {"01-guides/start.md": "Mind this\n\nText."}


def test_plain_addresses_have_no_ending() -> None:
    source = Source(name="s", location=".", base_url="https://x.example", url_style="plain")
    assert [metadata.url_of(source, path) for path in ("a/b.md", "a/index.html", "a.txt")] == [
        "https://x.example/a/b",
        "https://x.example/a",
        "https://x.example/a.txt",
    ]


SPHINX = """<!DOCTYPE html><html lang="en"><head><title>Timer &#8212; Manual 1.0 documentation</title></head><body>
<div class="related" role="navigation" aria-label="related navigation"><h3>Navigation</h3><ul><li><a href="i.html">index</a></li></ul></div>
<div class="document"><div class="documentwrapper"><div class="bodywrapper"><div class="body" role="main">
<section id="timer"><h1>Timer<a class="headerlink" href="#timer" title="Link to this heading">¶</a></h1>
<p>Start the timer, and it runs until it is stopped by somebody.</p>
<div class="admonition note"><p class="admonition-title">Note</p><p>A timer survives a restart.</p></div>
<section id="stopping"><h2>Stopping<a class="headerlink" href="#stopping" title="Link to this heading">¶</a></h2>
<p>Press the button once more, and what was tracked is kept.</p>
<div class="highlight-bash notranslate"><div class="highlight"><pre><span></span>timer<span class="w"> </span>stop
</pre></div></div></section></section>
<div class="clearer"></div></div></div></div>
<div class="sphinxsidebar" role="navigation" aria-label="Main"><div class="sphinxsidebarwrapper">
<h3><a href="index.html">Table of Contents</a></h3><ul><li><a class="reference internal" href="#">Timer</a></li></ul>
<div role="search"><h3>Quick search</h3><form><input type="text" name="q"></form></div></div></div></div>
<div class="footer" role="contentinfo">&#169; Copyright 2026. Created using Sphinx 8.</div></body></html>"""

MKDOCS = """<!doctype html><html lang="en"><head><title>Timer - Manual</title></head><body dir="ltr">
<header class="md-header" data-md-component="header"><nav class="md-header__inner md-grid"><a href="." title="Manual">Manual</a>
<div class="md-search" role="search"><form><input></form></div></nav></header>
<div class="md-container"><nav class="md-tabs"><ul><li><a href="..">Home</a></li></ul></nav>
<main class="md-main"><div class="md-main__inner md-grid">
<div class="md-sidebar md-sidebar--primary"><nav class="md-nav md-nav--primary"><ul><li><a href=".">Timer</a></li></ul></nav></div>
<div class="md-sidebar md-sidebar--secondary"><nav class="md-nav md-nav--secondary"><ul><li><a href="#stopping">Stopping</a></li></ul></nav></div>
<div class="md-content"><article class="md-content__inner md-typeset">
<a href="https://code.example/edit" title="Edit this page" class="md-content__button md-icon"><svg></svg></a>
<h1 id="timer">Timer<a class="headerlink" href="#timer" title="Permanent link">&para;</a></h1>
<p>Start the timer, and it runs until it is stopped by somebody.</p>
<div class="admonition note"><p class="admonition-title">Note</p><p>A timer survives a restart.</p></div>
<h2 id="stopping">Stopping<a class="headerlink" href="#stopping" title="Permanent link">&para;</a></h2>
<p>Press the button once more, and what was tracked is kept.</p>
<div class="highlight"><pre><span></span><code>timer stop
</code></pre></div></article></div></div></main>
<footer class="md-footer"><div class="md-copyright">Made with Material for MkDocs</div></footer></div></body></html>"""


@pytest.mark.parametrize("page", [SPHINX, MKDOCS], ids=["sphinx", "mkdocs"])
def test_a_generator_s_theme_is_no_text(tmp_path: Path, page: str) -> None:
    (item,) = load(write(tmp_path, {"timer.html": page}))
    assert item.document.title == "Timer"
    assert item.page.text == (
        "Timer\n\nStart the timer, and it runs until it is stopped by somebody.\n\nNote\n\nA timer survives a restart.\n\n"
        "Stopping\n\nPress the button once more, and what was tracked is kept.\n\ntimer stop"
    )
    anchors = {item.page.text[slice(*block.span)]: block.anchor for block in item.page.blocks}
    assert (anchors["Timer"], anchors["Stopping"], anchors["timer stop"]) == ("timer", "stopping", "stopping")
