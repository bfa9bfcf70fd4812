"""Retrieval over the real core: filters, weights, vectors of any embedder, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from clockify_rag import _core
from clockify_rag.contracts import Embedder, Query, Retriever, SearchResult
from clockify_rag.errors import QueryError
from clockify_rag.index import EmbedderEntry
from clockify_rag.pipeline import Pipeline
from clockify_rag.retrieval import HybridRetriever
from folders import source_of, write
from pipelines import GARDEN, pipeline_of, settings_of

HUB = "# Overview\n\n" + "\n".join(f"* [The page of number {n}](p{n}.html)" for n in range(20))
GERMAN = "# Tor\n\nDas Tor öffnet bei Sonnenaufgang und wird bei Sonnenuntergang von dem Wärter geschlossen.\n"
CODE = "# Timer\n\n```\n" + "open_valve(gate)\nclose_valve(gate)\n" * 9 + "```\n"
TAGGED = "---\ntags: [water, shade]\n---\n# Pond\n\nThe pond is filled through the gate of the weir.\n"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    root = tmp_path_factory.mktemp("retrieval")
    garden = write(root / "garden", {**GARDEN, "hub.md": HUB, "code.md": CODE, "pond.md": TAGGED, "tor.md": GERMAN})
    old = write(root / "old", {"gate.md": "# Gate\n\nThe gate was open all day.\n"})
    made = pipeline_of(root / "index")
    made.build(
        [source_of(garden, name="garden", version="2"), source_of(old, name="old", version="1", tags=("water",))]
    )
    return made


def paths(result: SearchResult) -> set[str]:
    return {f"{hit.document.source}/{hit.document.path}" for hit in result.hits}


def test_it_is_a_retriever(pipeline: Pipeline) -> None:
    assert isinstance(pipeline.retriever, Retriever)


def test_what_is_found_is_the_same_whenever_it_is_read(pipeline: Pipeline) -> None:
    retriever, snapshot = pipeline.retriever, pipeline.index.snapshot
    assert isinstance(retriever, HybridRetriever)
    before, after = (
        snapshot.search(
            "who opens the gate?", "en", [], [], retriever.options(5), expansions=[("weir", 0.1)], read=read
        )
        for read in (True, False)
    )
    assert before.rows
    assert before.rows == after.rows
    assert before.terms == [*_core.question_terms("who opens the gate?", "en"), "weir"]


# Filters.


@pytest.mark.parametrize("lexical", [False, True])
@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"source": ["old"]}, {"old/gate.md"}),
        ({"version": ["1"]}, {"old/gate.md"}),
        ({"tags": ["water"]}, {"old/gate.md", "garden/pond.md"}),
        ({"tags": ["water"], "source": ["garden"]}, {"garden/pond.md"}),
        ({"tags": ["shade", "water"], "version": ["1", "2"]}, {"old/gate.md", "garden/pond.md"}),
        ({"source": ["old"], "version": ["2"]}, set()),
        ({"source": ["nowhere"]}, set()),
        ({"language": ["de"]}, {"garden/tor.md"}),
    ],
)
def test_filters_keep_what_has_one_value_of_each(
    pipeline: Pipeline, filters: Mapping[str, Sequence[str]], wanted: set[str], *, lexical: bool
) -> None:
    question = "gate Tor" if "language" in filters else "gate"
    assert paths(pipeline.search(question, filters=filters, lexical=lexical)) == wanted


def test_filters_change_no_evidence_of_what_they_keep(pipeline: Pipeline) -> None:
    alone = pipeline.search("open gate", filters={"source": ["garden"]}, lexical=True)
    together = pipeline.search("open gate", 50, lexical=True)
    scores = {hit.chunk.id: hit.scores.bm25 for hit in together.hits}
    assert alone.hits
    assert all(scores[hit.chunk.id] == hit.scores.bm25 for hit in alone.hits)


def test_pages_of_links_are_found_only_when_asked_for(pipeline: Pipeline) -> None:
    assert "garden/hub.md" not in paths(pipeline.search("overview page number", 50))
    assert paths(pipeline.search("overview page number", filters={"kind": ["hub"]})) == {"garden/hub.md"}
    assert pipeline.search("open valve gate", filters={"kind": ["code"]}).hits[0].chunk.kind == "code"


@pytest.mark.parametrize("filters", [{"colour": ["red"]}, {"source": []}, {"source": [""]}])
def test_filters_that_cannot_be(pipeline: Pipeline, filters: Any) -> None:
    with pytest.raises(QueryError):
        pipeline.search("gate", filters=filters)


# Settings.


@pytest.mark.parametrize(
    ("name", "weight"),
    [("static", 1.8), ("sentence-transformers:all-MiniLM-L6-v2", 2.3), ("ollama:nomic-embed-text", 1.0), (None, 1.0)],
)
def test_the_weight_of_the_cosine_follows_the_embedder(pipeline: Pipeline, name: str | None, weight: float) -> None:
    entry = None if name is None else EmbedderEntry(name, "f", 3)
    retriever = HybridRetriever(pipeline.index, None, entry, settings_of().retrieval)
    assert retriever.dense_weight == weight
    given = HybridRetriever(pipeline.index, None, entry, settings_of(retrieval={"dense_weight": 0.5}).retrieval)
    assert given.dense_weight == 0.5


def test_scores_are_what_the_settings_say(pipeline: Pipeline) -> None:
    table = {"dense_weight": 2.0, "document_weight": 0.0}
    plain = Pipeline(pipeline.path, settings_of(retrieval=table, reranking={"reranker": "none"}))
    found = plain.search("when does the gate open", 50)
    largest = max(hit.scores.bm25 or 0.0 for hit in found.hits)
    for hit in found.hits:
        fused = (hit.scores.bm25 or 0.0) / largest + 2.0 * (hit.scores.cosine or 0.0)
        assert hit.scores.fused == pytest.approx(fused, rel=1e-5, abs=1e-6)
        assert hit.score == hit.scores.fused
    assert [hit.score for hit in found.hits] == sorted((hit.score for hit in found.hits), reverse=True)


def test_title_weight_lifts_titles(pipeline: Pipeline) -> None:
    def best(weight: float) -> float:
        table = {"title_weight": weight, "lexical": True}
        hits = Pipeline(pipeline.path, settings_of(retrieval=table)).search("compost", 50).hits
        return max((hit.scores.bm25 or 0.0 for hit in hits if hit.document.path == "compost.md"), default=0.0)

    assert best(0.0) == 0.0 < best(1.0) < best(10.0)


def test_a_pool_smaller_than_the_hits_asked_for_is_widened(pipeline: Pipeline) -> None:
    narrow = Pipeline(pipeline.path, settings_of(retrieval={"candidates": 1}))
    assert len(narrow.search("gate", 5).hits) == 5


def test_vectors_of_an_embedder_in_python_rank_as_the_core_s(pipeline: Pipeline) -> None:
    """The same model behind the Protocol alone: its question vector crosses the border instead of being made beyond it."""
    inner = pipeline.embedder
    assert inner is not None

    class Outside:
        def __init__(self, model: Embedder) -> None:
            self.dimension = model.dimension
            self.fingerprint = model.fingerprint
            self.embed = model.embed
            self.embed_questions = model.embed_questions

    given = pipeline.embedder_entry, pipeline.settings.retrieval
    inside = HybridRetriever(pipeline.index, inner, *given)
    outside = HybridRetriever(pipeline.index, Outside(inner), *given)
    for question in ("when does the gate open", "how much water does the fern need"):
        query = Query(question=question, text=question, language="en")
        one, other = inside.retrieve(query, top_k=5), outside.retrieve(query, top_k=5)
        assert one.hits == other.hits
        assert one.evidence == other.evidence
        assert {"embed", "lexical", "dense", "fuse"} <= set(one.timings_ms) & set(other.timings_ms)


# Evidence.


@pytest.mark.parametrize(
    ("question", "least", "most"),
    [
        ("gate open dawn", 0.99, 1.0),
        ("gate zyxwv", 0.0, 0.5),
        ("zyxwv qponm", 0.0, 0.0),
        ("ZyxwvGateQponm", 0.01, 0.5),
    ],
)
def test_coverage_is_the_share_of_the_question_that_is_found(
    pipeline: Pipeline, question: str, least: float, most: float
) -> None:
    assert least <= pipeline.search(question).evidence.idf_coverage <= most


def test_evidence_is_that_of_all_candidates(pipeline: Pipeline) -> None:
    found = pipeline.search("when is the gate locked", 50)
    cosines = [hit.scores.cosine for hit in found.hits if hit.scores.cosine is not None]
    assert found.evidence.best_cosine == max(cosines)
    assert pipeline.search("when is the gate locked", 1).evidence == found.evidence
    assert found.evidence.documents == pipeline.index.info()["documents"]


def test_the_same_text_twice_ranks_by_id(tmp_path: Path) -> None:
    same = {f"{name}.md": "# Gate\n\nThe gate opens at dawn.\n" for name in "abcdef"}
    made = pipeline_of(tmp_path / "index", reranking={"reranker": "none"})
    made.build([write(tmp_path / "twins", same)])
    hits = made.search("gate").hits
    assert len({hit.score for hit in hits}) == 1
    assert [hit.document.id for hit in hits] == sorted(hit.document.id for hit in hits)
