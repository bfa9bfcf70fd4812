"""What a generator is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clockify_rag.contracts import Chunk, Context, Draft, Hit, Packer, Query
from clockify_rag.errors import InvalidSetting
from clockify_rag.packing import ClusteredPacker, DiversePacker, DocumentPacker, RelevancePacker
from folders import write
from passages import ask, chunk_of, hit_of
from pipelines import GARDEN, offer, pipeline_of

PACKERS = (RelevancePacker, DocumentPacker, DiversePacker, ClusteredPacker)


def count(texts: Sequence[str]) -> list[int]:
    """Count words as tokens."""
    return [len(text.split()) for text in texts]


def hits_of(*texts: str, kinds: str = "") -> list[Hit]:
    return [
        hit_of(chunk_of(text, kind="hub" if kinds[rank - 1 : rank] == "h" else "text"), rank)
        for rank, text in enumerate(texts, 1)
    ]


def pack(hits: Sequence[Hit], packer: type[RelevancePacker] = RelevancePacker, **options: Any) -> Context:
    return packer(**options).pack(ask("?"), hits, count=count)


def test_hits_are_shown_whole_by_relevance_while_they_fit() -> None:
    hits = hits_of("a a a", "b b b b b b", "c c", "d")
    context = pack(hits, budget_tokens=6, pack_top=4)
    assert context.texts == ("a a a", "c c", "d")
    assert [hit.rank for hit in context.hits] == [1, 3, 4]
    assert (context.tokens, context.dropped) == (6, 1)
    assert pack(hits, pack_top=2).dropped == 0
    assert isinstance(RelevancePacker(), Packer)


@pytest.mark.parametrize(
    ("text", "budget", "shown"),
    [
        ("One two. Three four five. Six.", 5, "One two. Three four five."),
        ("One two. Three four five. Six.", 4, "One two."),
        ("One two three four. Five.", 3, "One two three"),
        ("One\ntwo three\nfour", 3, "One\ntwo three"),
        (" One two", 1, " One"),
    ],
)
def test_the_best_hit_is_cut_at_a_sentence_when_it_alone_is_too_long(text: str, budget: int, shown: str) -> None:
    context = pack(hits_of(text, "x"), budget_tokens=budget)
    assert context.texts[0] == shown
    assert text.startswith(shown)
    assert len(context.texts) + context.dropped == 2


def test_of_a_question_taken_apart_the_best_hit_of_each_part_is_shown() -> None:
    hits = hits_of("invoices", "invoices and estimates", "invoices again", "locks hold entries", "locks")
    query = msgspec.structs.replace(ask("?"), parts=("How do I send invoices?", "What do locks hold?", "Why tea?"))
    context = RelevancePacker(pack_top=3).pack(query, hits, count=count)
    assert context.texts == ("invoices", "locks hold entries", "invoices and estimates")
    assert RelevancePacker(pack_top=1).pack(query, hits, count=count).texts == ("invoices",)
    assert RelevancePacker().pack(query, [], count=count).texts == ()


def test_pages_of_links_are_shown_only_when_there_is_nothing_else() -> None:
    hits = hits_of("links", "text", "links too", kinds="h h")
    assert pack(hits).texts == ("text",)
    assert pack([hits[0], hits[2]]).texts == ("links", "links too")
    assert pack([]).hits == ()


class Pages:
    """Pages of words, cut into sections and these into chunks that overlap."""

    def __init__(self, sizes: Sequence[Sequence[int]], overlap: int) -> None:
        self.texts: dict[str, str] = {}
        self.chunks: dict[str, list[Chunk]] = {}
        for page, sections in enumerate(sizes):
            words = [f"p{page}w{number}" for number in range(sum(sections))]
            text = " ".join(f"{word}." if number % 3 == 2 else word for number, word in enumerate(words))
            starts = [found.start() for found in re.finditer(r"\S+", text)] + [len(text) + 1]
            name = f"page {page}"
            self.texts[name], self.chunks[name] = text, []
            first = 0
            for number, size in enumerate(sections):
                for at in range(first, first + size, 4):
                    start, end = max(first, at - overlap), min(at + 4, first + size)
                    span = (starts[start], starts[end] - 1)
                    chunk = chunk_of(
                        text,
                        [span],
                        id=f"{page}/{at}",
                        document_id=name,
                        ordinal=len(self.chunks[name]),
                        heading_path=(f"section {number}",),
                        anchor=f"s{number}",
                    )
                    self.chunks[name].append(chunk)
                first += size

    def chunks_of(self, document_id: str) -> list[Chunk]:
        return self.chunks[document_id]


pages = st.builds(
    Pages, st.lists(st.lists(st.integers(1, 14), min_size=1, max_size=3), min_size=1, max_size=3), st.integers(0, 2)
)


@pytest.mark.parametrize("packer", PACKERS)
@settings(deadline=None)
@given(st.data(), pages, st.integers(1, 60), st.integers(1, 6))
def test_nothing_is_shown_twice_and_all_of_it_is_the_pages(
    packer: type[RelevancePacker], data: st.DataObject, pages: Pages, budget: int, pack_top: int
) -> None:
    everything = [chunk for chunks in pages.chunks.values() for chunk in chunks]
    found = data.draw(st.permutations(everything))[: data.draw(st.integers(1, 8))]
    hits = [hit_of(chunk, rank) for rank, chunk in enumerate(found, 1)]
    made = packer(
        budget,
        pack_top,
        neighbours=data.draw(st.integers(0, 2)),
        whole_articles=data.draw(st.sampled_from(["never", "always"])),
    )
    context = made.pack(ask("?"), hits, chunks_of=pages.chunks_of, count=count)
    assert sum(count(context.texts)) == context.tokens <= budget
    assert len(context.hits) == len(context.texts)
    shown: set[tuple[str, int]] = set()
    for hit, text in zip(context.hits, context.texts, strict=True):
        page = pages.texts[hit.document.id]
        assert hit.chunk.text == "\n".join(page[start:end] for start, end in hit.chunk.spans)
        assert text
        assert hit.chunk.text.startswith(text)
        characters = {(hit.document.id, at) for start, end in hit.chunk.spans for at in range(start, end)}
        assert not characters & shown
        shown |= characters
    best = hits[0].chunk
    assert {(best.document_id, at) for start, end in best.spans for at in range(start, end)} <= shown
    whole = all(hit.chunk.text == text for hit, text in zip(context.hits, context.texts, strict=True))
    assert whole or count([best.text])[0] > budget
    assert 0 <= context.dropped < min(pack_top, len(hits))


def test_hits_of_one_section_are_one_text_in_reading_order() -> None:
    pages = Pages([[8, 4], [4]], 2)
    one, two, three = pages.chunks["page 0"]
    (other,) = pages.chunks["page 1"]
    hits = [hit_of(chunk, rank) for rank, chunk in enumerate((two, other, three, one), 1)]
    context = pack(hits)
    assert [hit.rank for hit in context.hits] == [1, 2, 3]
    assert context.hits[0].chunk.id == two.id
    assert context.texts[0] == pages.texts["page 0"][: two.spans[0][1]]
    assert context.tokens == 16
    assert context.dropped == 0


def test_a_table_shows_its_header_once() -> None:
    text = "name price\na 1\nb 2"
    first = chunk_of(text, [(0, 10), (11, 14)], id="first", document_id="d", kind="table")
    second = chunk_of(text, [(0, 10), (15, 18)], id="second", document_id="d", kind="table")
    for found in ((first, second), (second, first)):
        (shown,) = pack([hit_of(chunk, rank) for rank, chunk in enumerate(found, 1)]).texts
        assert shown == text


@pytest.mark.parametrize(
    ("packer", "order"),
    [
        (RelevancePacker, "b2 a3 a1 c1 a2"),
        (DocumentPacker, "b2 a1 a2 a3 c1"),
        (DiversePacker, "b2 a3 c1 a1 a2"),
    ],
)
def test_the_order_is_the_packers(packer: type[RelevancePacker], order: str) -> None:
    text = "a1\na2\na3\nb1\nb2\nc1"
    hits = []
    for rank, name in enumerate(("b2", "a3", "a1", "c1", "a2"), 1):
        at = text.index(name)
        chunk = chunk_of(text, [(at, at + 2)], id=name, document_id=name[0], heading_path=(name,))
        hits.append(hit_of(chunk, rank))
    assert pack(hits, packer).texts == tuple(order.split())
    assert [hit.rank for hit in pack(hits, packer, pack_top=1).hits] == [1]


def test_clusters_are_shown_one_after_the_other_and_all_have_a_turn() -> None:
    invoice, export, timer = "invoice tax paid client", "export csv report columns", "timer start stop tracker"
    hits = hits_of(invoice, f"{invoice} due", export, f"{invoice} late", timer, f"{export} saved")
    assert [hit.rank for hit in pack(hits, ClusteredPacker).hits] == [1, 2, 4, 3, 6, 5]
    assert [hit.rank for hit in pack(hits, ClusteredPacker, pack_top=3).hits] == [1, 3, 5]
    assert [hit.rank for hit in pack(hits, DiversePacker, pack_top=3).hits] == [1, 2, 3]


def test_what_stands_around_a_hit_is_shown_while_there_is_room() -> None:
    pages = Pages([[4, 20], [4]], 0)
    middle = pages.chunks["page 0"][3]
    hits = [hit_of(middle, 1), hit_of(pages.chunks["page 1"][0], 2)]

    def shown(**options: Any) -> list[str]:
        made = RelevancePacker(neighbours=1, **options).pack(ask("?"), hits, chunks_of=pages.chunks_of, count=count)
        return [
            hit.chunk.text.split()[0] + " " + str(len(text.split()))
            for hit, text in zip(made.hits, made.texts, strict=True)
        ]

    assert shown() == ["p0w8. 12", "p1w0 4"]
    assert shown(budget_tokens=12) == ["p0w12 8", "p1w0 4"]
    assert shown(budget_tokens=8) == ["p0w12 4", "p1w0 4"]
    assert pack(hits, neighbours=1).tokens == 8


@pytest.mark.parametrize(
    ("kind", "wanted", "tokens"), [("how-to", "how-to", 28), ("definition", "how-to", 8), ("", "always", 28)]
)
def test_a_whole_article_is_shown_where_it_fits(kind: str, wanted: Any, tokens: int) -> None:
    pages = Pages([[4, 20], [4]], 0)
    hits = [hit_of(pages.chunks["page 0"][3], 1), hit_of(pages.chunks["page 1"][0], 2)]
    query = msgspec.structs.replace(ask("?"), kind=kind)

    def packed(packer: type[RelevancePacker], budget: int) -> Context:
        made = packer(budget, whole_articles=wanted)
        return made.pack(query, hits, chunks_of=pages.chunks_of, count=count)

    assert packed(RelevancePacker, 100).tokens == tokens
    assert packed(RelevancePacker, 23).tokens == 8
    if tokens > 8:
        assert (packed(RelevancePacker, 27).tokens, packed(RelevancePacker, 27).dropped) == (24, 1)
        assert [hit.rank for hit in packed(RelevancePacker, 100).hits] == [1, 1, 2]
        context = packed(DocumentPacker, 100)
        assert " ".join(" ".join(context.texts[:2]).split()) == pages.texts["page 0"]
        assert [hit.chunk.anchor for hit in context.hits] == ["s0", "s1", "s0"]


def test_the_generators_own_tokens_are_counted() -> None:
    hits = hits_of("aaaa", "bb", "c")
    letters = RelevancePacker(6).pack(ask("?"), hits, count=lambda texts: [len(text) for text in texts])
    assert (letters.texts, letters.tokens) == (("aaaa", "bb"), 6)
    shipped = RelevancePacker(6).pack(ask("?"), hits)
    assert shipped.texts == ("aaaa", "bb", "c")


@pytest.mark.parametrize(
    "options", [{"budget_tokens": 0}, {"pack_top": 0}, {"neighbours": -1}, {"whole_articles": "sometimes"}]
)
def test_impossible_numbers_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidSetting):
        RelevancePacker(**options)


# In a pipeline.


def test_a_model_is_shown_whole_articles_counted_in_its_own_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Context] = []

    class Writer:
        def count(self, texts: Sequence[str]) -> list[int]:
            return [len(text) for text in texts]

        def generate(self, query: Query, context: Context) -> Draft:
            shown.append(context)
            return Draft(text=f"Ask the warden. [{len(context.hits)}]")

        def stream(self, query: Query, context: Context) -> Iterator[str]:
            yield self.generate(query, context).text

    offer(monkeypatch, "generators", writer=Writer)
    pages = write(tmp_path / "garden", GARDEN)
    pipeline = pipeline_of(tmp_path / "index", generation={"generator": "writer"}, calibration={"threshold": 0})
    pipeline.build([pages])
    answer = pipeline.ask("How do I get a key to the gate?")
    (context,) = shown
    assert context.tokens == sum(map(len, context.texts))
    best = context.hits[0].document
    assert best.path == "gate.md"
    texts = [hit.chunk.text for hit in context.hits if hit.document.id == best.id]
    assert sorted(texts) == sorted(chunk.text for chunk in pipeline.index.chunks(best.id))
    assert next(step for step in answer.trace if step.stage == "pack").details["tokens"] == context.tokens
    plain = pipeline_of(tmp_path / "index", generation={"generator": "writer"}, packing={"whole_articles": "never"})
    assert plain.packer.pack(ask("?"), answer.hits[:1], chunks_of=pipeline.index.chunks).hits == answer.hits[:1]
