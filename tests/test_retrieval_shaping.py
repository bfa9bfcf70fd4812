"""What says the same counts once and is named; one page does not take all places; and no place stays empty for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clockify_rag.contracts import Hit
from clockify_rag.pipeline import Pipeline
from clockify_rag.retrieval.shaping import folded, numbered, share
from folders import source_of, write
from passages import chunk_of, hit_of
from pipelines import pipeline_of, settings_of

LONG = "To lend a tool, ask the warden at the gate before noon and sign the list with your name. Bring it back within a week, "
LONG += "clean and dry, and hang it in its place in the shed. Whoever loses a tool pays 12 pounds for it, which is due at once. "
LONG += "Tools are not lent in April, when the shed is painted and the warden is away for two weeks at the sea."


def hit(text: str, rank: int = 1, **fields: Any) -> Hit:
    of_chunk = {name: fields.pop(name) for name in ("heading_path", "anchor", "ordinal") if name in fields}
    document_id = fields.pop("document_id", f"document {rank}")
    return hit_of(chunk_of(text, id=f"chunk {rank}", document_id=document_id, **of_chunk), rank, **fields)


def places(hits: Sequence[Hit]) -> dict[int, list[str]]:
    return {hit.rank: [other.chunk_id for other in hit.duplicates] for hit in hits}


# What says the same.


def test_equal_texts_are_one_hit_that_names_the_others() -> None:
    found = folded(
        [
            hit(LONG),
            hit("Another.", 2),
            hit(LONG, 3, url="https://example.org/c", anchor="lending", heading_path=("Tools",)),
        ]
    )
    assert places(found) == {1: ["chunk 3"], 2: []}
    other = found[0].duplicates[0]
    assert other.heading_path == ("Tools",)
    assert (other.document_id, other.path, other.url, other.anchor) == (
        "document 3",
        "page-3.md",
        "https://example.org/c",
        "lending",
    )


def test_a_short_text_says_nothing_without_its_heading() -> None:
    hits = [
        hit("Yes.", 1, heading_path=("FAQ", "Can I export?")),
        hit("Yes.", 2, heading_path=("FAQ", "Can I import?")),
    ]
    assert places(folded(hits)) == {1: [], 2: []}
    assert places(folded([*hits, hit("Yes.", 3, heading_path=("Help", "Can I import?"))])) == {1: [], 2: ["chunk 3"]}
    longer = [hit(LONG, 1, heading_path=("Tools",)), hit(LONG, 2, heading_path=("Lending",))]
    assert places(folded(longer)) == {1: ["chunk 2"]}


def test_the_same_section_of_the_same_address_is_one_hit() -> None:
    of = [("a", "https://example.org/a"), ("b", "https://example.org/a/"), ("c", "https://example.org/c"), ("d", None)]
    hits = [
        hit(f"Text {rank}.", rank, document_id=name, url=url, anchor="fees") for rank, (name, url) in enumerate(of, 1)
    ]
    assert places(folded(hits)) == {1: ["chunk 2"], 3: [], 4: []}
    rest = [hit("More.", 5, document_id="a", url="https://example.org/a", anchor="fees")]
    assert places(folded([hits[0], *rest])) == {1: [], 5: []}
    elsewhere = [hit("Text.", 5, document_id="b", url="https://example.org/a", anchor="dues")]
    assert places(folded([hits[0], *elsewhere])) == {1: [], 5: []}


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        (LONG.replace("To lend", "to lend").replace(". ", ".\n"), True),
        (LONG.upper(), True),
        (LONG.replace("12 pounds", "15 pounds"), False),
        (LONG.replace("12 pounds", "12 crowns"), False),
        (LONG.replace("two weeks", "three weeks"), False),
        (LONG.replace("Tools are not lent", "Tools are all lent"), False),
        (LONG.replace("ask the warden", "ask the keeper"), False),
    ],
)
def test_texts_that_differ_in_a_word_or_a_number_are_two(changed: str, *, same: bool) -> None:
    assert places(folded([hit(LONG), hit(changed, 2)])) == ({1: ["chunk 2"]} if same else {1: [], 2: []})


words = st.sampled_from(["gate", "key", "fern", "7", "12"])
texts = st.lists(words, min_size=1, max_size=90).map(" ".join)


@settings(deadline=None)
@given(st.lists(st.tuples(texts, st.sampled_from("abc"), st.sampled_from([None, "x", "y"])), max_size=12))
def test_every_hit_is_kept_or_named_once(found: list[tuple[str, str, str | None]]) -> None:
    hits = [hit(text, rank, document_id=name, url=url) for rank, (text, name, url) in enumerate(found, 1)]
    kept = folded(hits)
    named = [other.chunk_id for one in kept for other in one.duplicates]
    assert sorted([*named, *(one.chunk.id for one in kept)]) == sorted(one.chunk.id for one in hits)
    assert [one.rank for one in kept] == sorted(one.rank for one in kept)
    ranks = {one.chunk.id: one.rank for one in hits}
    assert all(ranks[other.chunk_id] > one.rank for one in kept for other in one.duplicates)
    assert folded(kept) == kept


@settings(deadline=None)
@given(
    st.lists(st.tuples(texts, st.sampled_from("abc"), st.sampled_from([None, "x", "y"])), max_size=12),
    st.integers(1, 12),
)
def test_those_that_are_wanted_are_the_first_of_all(found: list[tuple[str, str, str | None]], wanted: int) -> None:
    hits = [hit(text, rank, document_id=name, url=url) for rank, (text, name, url) in enumerate(found, 1)]
    kept, everything = places(folded(hits, wanted)), places(folded(hits))
    assert list(kept) == list(everything)[:wanted]
    assert all(named == everything[rank][: len(named)] for rank, named in kept.items())


# What one page has.


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=20), st.integers(0, 4))
def test_a_page_has_its_share_and_the_rest_is_behind(names: list[str], per_document: int) -> None:
    hits = [hit(str(rank), rank, document_id=name) for rank, name in enumerate(names, 1)]
    within, beyond = share(hits, per_document)
    assert sorted(one.rank for one in (*within, *beyond)) == list(range(1, len(hits) + 1))
    for part in (within, beyond):
        assert [one.rank for one in part] == sorted(one.rank for one in part)
    for name in set(names) if per_document else ():
        ranks = [one.rank for one in hits if one.document.id == name]
        assert [one.rank for one in within if one.document.id == name] == ranks[:per_document]
    assert per_document or not beyond
    assert [one.rank for one in numbered([*within, *beyond])] == list(range(1, len(hits) + 1))


# In an index.

STUFFED = "# Export\n\n" + "".join(
    f"## Export {number}\n\nExport the report: report export, export of reports number {number}, exporting a report.\n\n"
    for number in range(300)
)
PAGES = {
    "stuffed.md": STUFFED,
    "reports.md": f"# Reports\n\nOpen Reports and choose Export to save a report.\n\n## Lending\n\n{LONG}\n",
    "tools.md": f"# Tools\n\nThe spade hangs in the shed.\n\n## Lending\n\n{LONG}\n",
    "time.md": "# Time\n\nA report shows the time of a week.\n",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    root = tmp_path_factory.mktemp("shaping")
    made = pipeline_of(root / "index")
    made.build([source_of(write(root / "pages", PAGES), name="pages")])
    return made


def over(built: Pipeline, **retrieval: Any) -> Pipeline:
    return Pipeline(built.path, settings_of(retrieval=retrieval))


def test_a_stuffed_page_does_not_take_all_places(built: Pipeline) -> None:
    question = "export a report"
    assert {found.document.path for found in built.search(question).hits} == {"stuffed.md"}
    found = over(built, per_document=2).search(question, 5)
    assert [hit.document.path for hit in found.hits].count("stuffed.md") == 2
    assert {hit.document.path for hit in found.hits} >= {"reports.md", "time.md"}
    assert [hit.rank for hit in found.hits] == [1, 2, 3, 4, 5]
    (step,) = (step for step in found.steps if step.name == "per_document")
    assert step.details["behind"] > 200
    assert len(over(built, per_document=1).search(question, 12).hits) == 12


def test_a_reranker_does_not_give_a_page_its_places_back(built: Pipeline) -> None:
    settings = settings_of(retrieval={"per_document": 1}, reranking={"reranker": "mmr", "mmr_lambda": 0.5})
    paths = [hit.document.path for hit in Pipeline(built.path, settings).search("export a report", 4).hits]
    assert paths.count("stuffed.md") == 1


def test_what_two_pages_say_is_found_once(built: Pipeline) -> None:
    question = "who loses a tool pays"
    best = built.search(question, 3).hits
    assert [other.anchor for other in best[0].duplicates] == ["lending"]
    assert {best[0].document.path, best[0].duplicates[0].path} == {"reports.md", "tools.md"}
    apart = over(built, fold_duplicates=False).search(question, 3).hits
    assert {hit.document.path for hit in apart} >= {"reports.md", "tools.md"}
    assert all(hit.duplicates == () for hit in apart)


@pytest.mark.parametrize("top_k", [1, 2, 3, 5, 12, 100, 400])
def test_filtered_hits_are_as_many_as_pass_the_filter(built: Pipeline, tmp_path: Path, top_k: int) -> None:
    copies = write(tmp_path / "copies", {f"{number}.md": f"# Lending\n\n{LONG}\n" for number in range(40)})
    fees = write(
        tmp_path / "fees", {f"{n}.md": f"# Fee {n}\n\nThe fee of group {n} is {n} pounds a year.\n" for n in range(30)}
    )
    made = pipeline_of(tmp_path / "index")
    made.build(
        [
            source_of(copies, name="copies"),
            source_of(fees, name="fees"),
            source_of(write(tmp_path / "p", PAGES), name="p"),
        ]
    )
    for filters, passing in (
        ({"source": ["fees"]}, 30),
        ({"source": ["copies", "fees"]}, 31),
        ({"source": ["copies"]}, 1),
    ):
        found = made.search("lend a tool, fee of a group, export a report", top_k, filters)
        assert len(found.hits) == min(top_k, passing)
        assert {hit.document.source for hit in found.hits} <= set(filters["source"])
