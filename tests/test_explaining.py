"""Explaining: what each stage did adds up, and a page's verdict is that of a recomputation that shares no code with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import numpy
import pytest

from clockify_rag import _core
from clockify_rag.calibration import refusal
from clockify_rag.contracts import Answer, Chunk, Context, Document, Draft, Reranking, SearchResult
from clockify_rag.errors import ConfigError, SourceError
from clockify_rag.explaining import explain, why_not
from clockify_rag.explaining.absence import STAGES
from clockify_rag.pipeline import Pipeline
from clockify_rag.retrieval import EXCLUDED, HybridRetriever, asked_words
from folders import write
from pipelines import GARDEN, QUESTIONS, offer, pipeline_of, ranking, settings_of

HELP = Path(__file__).parent.parent / "examples" / "help-center" / "docs"

HELP_QUESTIONS = (
    "How do I copy last week's timesheet?",
    "How long is a password reset link valid?",
    "Can I dictate time entries by voice?",
    "who sees the rates of a project",
    "report",
    "Wie exportiere ich einen Bericht?",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """An index that no test changes."""
    folder = tmp_path_factory.mktemp("built")
    made = pipeline_of(folder / "index")
    made.build([write(folder / "garden", GARDEN)])
    return made


@pytest.fixture(scope="module")
def help_center(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    made = pipeline_of(tmp_path_factory.mktemp("help") / "index")
    made.build([HELP])
    return made


# What each hit's numbers are.


@pytest.mark.parametrize("lexical", [False, True])
def test_an_explanation_adds_up(built: Pipeline, lexical: bool) -> None:
    explained = explain(built, "Who has a key to the gate?", lexical=lexical)
    assert explained.terms == tuple(_core.question_terms("Who has a key to the gate?", "en"))
    assert explained.searched == ("key", "gate")
    assert explained.refusal is None
    fusion = explained.fusion
    assert fusion.dense_weight == (None if lexical else 1.8)
    for hit in explained.hits:
        for whole in ("chunk", "document"):
            bm25 = hit.bm25[whole]
            assert bm25["score"] == pytest.approx(sum(term["score"] for term in bm25["terms"]), rel=1e-5)
        if hit.scores.bm25 is not None:
            assert hit.bm25["chunk"]["score"] == hit.scores.bm25
        parts = []
        for bm25, most, cosine in (
            (hit.scores.bm25, fusion.bm25_max, hit.scores.cosine),
            (hit.scores.document_bm25, fusion.document_bm25_max, hit.scores.document_cosine),
        ):
            parts.append((bm25 or 0) / most + (fusion.dense_weight or 0) * (cosine or 0))
        share = fusion.document_weight
        assert hit.scores.fused == pytest.approx((1 - share) * parts[0] + share * parts[1], rel=1e-5)


def test_an_explanation_of_named_chunks(built: Pipeline) -> None:
    fern = built.index.chunks(built.index.find("beds.md").id)[1]
    explained = explain(built, "fern", fern.id)
    assert explained.chunks[0]["chunk"]["terms"][0]["term"] == "fern"
    with pytest.raises(SourceError, match="the index has no chunk 'nothing'"):
        explain(built, "fern", "nothing")


def test_a_retriever_of_another_package_explains_nothing(built: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fixed:
        def retrieve(self, query: Any, *, top_k: int) -> Any:
            return msgspec.structs.replace(built.search(query.question, top_k), question=query.question)

    offer(monkeypatch, "retrievers", fixed=Fixed)
    other = Pipeline(built.path, settings_of(retrieval={"retriever": "fixed"}, reranking={"reranker": "none"}))
    assert ranking(other.search("gate", 3)) == ranking(built.search("gate", 3))
    with pytest.raises(ConfigError, match="the retriever fixed does not explain"):
        explain(other, "gate")


def test_an_explanation_is_of_one_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages, pipeline = write(tmp_path / "garden", GARDEN), pipeline_of(tmp_path / "index")
    pipeline.build([pages])
    before = explain(pipeline, "fern")
    retrieve = HybridRetriever.retrieve

    def retrieve_and_publish(self: Any, *arguments: Any, **named: Any) -> SearchResult:
        result = retrieve(self, *arguments, **named)
        write(pages, {"ferns.md": "# Ferns\n\nA fern is a fern is a fern.\n"})
        pipeline.build([pages])
        return result

    monkeypatch.setattr(HybridRetriever, "retrieve", retrieve_and_publish)
    after = explain(pipeline, "fern")
    assert pipeline.index.generation == before.generation + 1
    assert msgspec.structs.replace(after, timings_ms={}) == msgspec.structs.replace(before, timings_ms={})


class Wordy:
    """A generator of whose tokens each text has a thousand, and which shows what it was shown."""

    shown: tuple[str, ...] = ()

    def count(self, texts: Sequence[str]) -> list[int]:
        return [1000] * len(texts)

    def generate(self, query: Any, context: Context) -> Draft:
        type(self).shown = tuple(hit.chunk.id for hit in context.hits)
        return Draft(text="")

    def stream(self, query: Any, context: Context) -> Iterator[str]:
        yield self.generate(query, context).text


def test_what_is_packed_is_what_the_generator_is_shown(help_center: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "generators", wordy=Wordy)
    pipeline = Pipeline(help_center.path, settings_of(generation={"generator": "wordy"}))
    question = "How do I copy last week's timesheet?"
    pipeline.ask(question)
    assert Wordy.shown
    explained = explain(pipeline, question)
    assert {hit.chunk_id for hit in explained.hits if hit.packed} == set(Wordy.shown)
    assert len(Wordy.shown) < sum(hit.packed for hit in explain(help_center, question).hits)


def test_what_limits_cut_is_counted(help_center: Pipeline) -> None:
    tables = {"retrieval": {"candidates": 5, "top_k": 4}, "packing": {"pack_top": 3, "budget_tokens": 120}}
    explained = explain(Pipeline(help_center.path, settings_of(**tables)), "report")
    cuts = {(cut.limit, cut.unit): cut for cut in explained.cuts}
    assert cuts["retrieval.candidates", "BM25F"].count == explained.by_words - 5
    assert cuts["retrieval.candidates", "cosine"].count == explained.by_meaning - 5
    assert cuts["retrieval.candidates", "cosine"].short_by >= 0  # type: ignore[operator]
    assert cuts["packing.pack_top", ""].count == 1
    shown = sum(hit.packed for hit in explained.hits)
    assert shown + cuts["packing.budget_tokens", "tokens"].count == 3
    assert cuts["packing.budget_tokens", "tokens"].short_by > 0  # type: ignore[operator]
    pool = 4 + cuts["retrieval.top_k", "score"].count
    assert 5 <= pool <= 10


# The words that are looked for.


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("How do I export a report? Report!", ("export", "report")),
        ("What does ServeStatusSchema do?", ("ServeStatusSchema",)),
        ("請求書の送り方", ("請求書の送り方",)),
        ("Wie lösche ich die Arbeitszeit?", ("lösche", "Arbeitszeit")),
    ],
)
def test_words_are_shown_as_they_were_typed(built: Pipeline, question: str, words: tuple[str, ...]) -> None:
    assert tuple(asked_words(built.understander.understand(question))) == words


# Why a page is not there.


class Naive:
    """One question ranked from each chunk's BM25F and vector alone, as ARCHITECTURE.md says it is."""

    def __init__(self, pipeline: Pipeline, question: str, top_k: int, filters: Mapping[str, tuple[str, ...]]) -> None:
        self.pipeline, self.question, self.top_k, self.filters = pipeline, question, top_k, filters
        settings = pipeline.settings
        self.query = pipeline.understander.understand(question, filters=filters)
        self.weight = settings.retrieval.dense_weight or 1.8
        self.chunks: list[tuple[Chunk, Document]] = []
        self.bm25: list[float] = []
        self.cosine: list[float] = []
        self.pages: list[tuple[float, float]] = []
        self.sections: list[tuple[str, int]] = []
        embeds = pipeline.embeds(self.query.language)
        asked = pipeline.embedder.embed_questions([question])[0] if embeds else numpy.zeros(256, numpy.float32)  # type: ignore[union-attr]
        options = pipeline.retriever.options(top_k)  # type: ignore[attr-defined]
        snapshot = pipeline.index.snapshot
        excluded = [] if "kind" in filters else list(EXCLUDED)
        for document in pipeline.index.documents():
            chunks = pipeline.index.chunks(document.id)
            vectors = numpy.frombuffer(snapshot.vectors_of(document.id), "<f4").reshape(len(chunks), -1)
            weights = numpy.array([chunk.tokens for chunk in chunks], numpy.float64)
            whole = weights @ vectors
            length = float(numpy.linalg.norm(whole))
            section = 0
            for before, chunk, vector in zip([chunks[0], *chunks], chunks, vectors, strict=False):
                section += before.heading_path != chunk.heading_path
                self.sections.append((document.id, section))
                explained = json.loads(snapshot.explain(question, self.query.language, excluded, options, chunk.id))
                self.chunks.append((chunk, document))
                self.bm25.append(explained["chunk"]["score"])
                self.cosine.append(float(vector @ asked))
                self.pages.append((explained["document"]["score"], float(whole @ asked) / length if length else 0.0))

    def passes(self, row: int) -> bool:
        chunk, document = self.chunks[row]
        if f"kind={chunk.kind}" in EXCLUDED and "kind" not in self.filters:
            return False
        own = {"source": document.source, "language": document.language, "kind": chunk.kind}
        return all(own[field] in values for field, values in self.filters.items())

    def stages(self) -> dict[str, str | None]:
        """For each page's path the stage at which its farthest chunk was lost."""
        settings = self.pipeline.settings
        candidates = max(settings.retrieval.candidates, self.top_k)
        rows = [row for row in range(len(self.chunks)) if self.passes(row)]
        by_words = sorted((row for row in rows if self.bm25[row] > 0), key=lambda row: -self.bm25[row])[:candidates]
        by_meaning = sorted((row for row in rows if self.cosine[row]), key=lambda row: -self.cosine[row])[:candidates]
        pool = list(dict.fromkeys((*by_words, *by_meaning)))
        most = max((self.bm25[row] for row in rows), default=0.0) or numpy.inf
        most_page = max((self.pages[row][0] for row in rows), default=0.0) or numpy.inf
        share = settings.retrieval.document_weight
        fused = {}
        for row in pool:
            page_bm25, page_cosine = self.pages[row]
            passage = self.bm25[row] / most + self.weight * self.cosine[row]
            page = page_bm25 / most_page + self.weight * page_cosine
            fused[row] = (1 - share) * passage + share * page
        by_fused = sorted(pool, key=lambda row: -fused[row])
        score: dict[int, float] = {}
        factors: dict[Any, float] = {}
        for row in by_fused:
            section = self.sections[row]
            score[row] = fused[row] * (factors.get(section, 1.0) if fused[row] > 0 else 1.0)
            factors[section] = factors.get(section, 1.0) * settings.retrieval.repeat_weight
        by_score = sorted(by_fused, key=lambda row: -score[row])
        hits = self.diverse(by_score[:candidates], score)[: self.top_k]
        answer = self.pipeline.ask(self.question, self.top_k, self.filters)
        result = self.pipeline.search(self.question, self.top_k, self.filters)
        assert [self.chunks[row][0].id for row in hits] == [hit.chunk.id for hit in result.hits]
        packed = self.packed([self.chunks[row][0] for row in hits])
        cited = {citation.chunk_id for citation in answer.citations}
        found: dict[str, str | None] = {}
        for row, (chunk, document) in enumerate(self.chunks):
            if not self.passes(row):
                stage: str | None = "filter"
            elif row not in fused:
                stage = "candidates" if self.bm25[row] > 0 or self.cosine[row] else "match"
            elif row not in hits:
                in_score = by_score.index(row) < self.top_k
                in_fused = by_fused.index(row) < self.top_k
                stage = "diversity" if in_score else "repeat" if in_fused else "fuse"
            elif refusal(result) is not None:
                stage = "judge"
            elif chunk.id not in packed:
                stage = "pack"
            else:
                stage = None if chunk.id in cited else "generate"
            known = found.setdefault(document.path, stage)
            if known is not None and (stage is None or STAGES.index(stage) > STAGES.index(known)):
                found[document.path] = stage
        return found

    def diverse(self, order: list[int], score: Mapping[int, float]) -> list[int]:
        """Maximal marginal relevance, one pick after the other."""
        share = self.pipeline.settings.reranking.mmr_lambda
        if share >= 1 or not order:
            return order
        vectors = self.pipeline.index.vectors([self.chunks[row][0].id for row in order])
        if not vectors.any():
            return order
        most = max(*score.values(), 0.0) or numpy.inf
        picked: list[int] = []
        left = list(range(len(order)))
        while left:
            near = [max((float(vectors[place] @ vectors[pick]) for pick in picked), default=0.0) for place in left]
            gains = [
                share * max(score[order[place]], 0) / most - (1 - share) * alike
                for place, alike in zip(left, near, strict=True)
            ]
            picked.append(left.pop(int(numpy.argmax(gains))))
        return [order[place] for place in picked]

    def packed(self, hits: list[Chunk]) -> set[str]:
        settings = self.pipeline.settings.packing
        quotable = [chunk for chunk in hits if chunk.kind != "hub"] or hits
        used = 0
        taken: set[str] = set()
        for chunk in quotable[: settings.pack_top]:
            if not taken or used + chunk.tokens <= settings.budget_tokens:
                used += min(chunk.tokens, settings.budget_tokens)
                taken.add(chunk.id)
        return taken


NARROW: tuple[dict[str, dict[str, Any]], ...] = (
    {},
    {"retrieval": {"candidates": 4, "top_k": 2}, "packing": {"pack_top": 1}},
    {"retrieval": {"candidates": 12, "top_k": 5, "repeat_weight": 0.3}, "packing": {"budget_tokens": 150}},
    {"retrieval": {"candidates": 8, "top_k": 3}, "reranking": {"mmr_lambda": 0.5}, "calibration": {"threshold": 0.0}},
    {"retrieval": {"top_k": 4}, "calibration": {"threshold": 1.0}},
)


def cases() -> Iterator[Any]:
    filtered: tuple[dict[str, tuple[str, ...]], ...] = ({}, {"kind": ("text",)}, {"language": ("de",)})
    for (number, tables), filters in [
        *product(enumerate(NARROW), filtered[:1]),
        *product([(1, NARROW[1])], filtered[1:]),
    ]:
        yield pytest.param(tables, filters, id=f"{number}-{'-'.join(filters) or 'all'}")


@pytest.mark.parametrize(("tables", "filters"), list(cases()))
@pytest.mark.parametrize("where", ["garden", "help"])
def test_every_pages_verdict_is_that_of_a_recomputation(
    built: Pipeline, help_center: Pipeline, where: str, tables: dict[str, Any], filters: dict[str, tuple[str, ...]]
) -> None:
    index, questions = (built, QUESTIONS[:4]) if where == "garden" else (help_center, HELP_QUESTIONS)
    pipeline = index.with_settings(settings_of(**tables))
    for number, question in enumerate(questions):
        naive = Naive(pipeline, question, pipeline.settings.retrieval.top_k, filters)
        answer = pipeline.ask(question, filters=filters)
        every = 1 if where == "garden" else 5
        for path, stage in list(naive.stages().items())[number % every :: every]:
            found = why_not(pipeline, question, path, filters=filters, answer=answer)
            assert (path, found.stage) == (path, stage), found.verdict


@pytest.mark.parametrize("number", range(1, len(NARROW)))
def test_what_would_bring_a_page_in_does(help_center: Pipeline, number: int) -> None:
    pipeline = help_center.with_settings(settings_of(**NARROW[number]))
    tried = 0
    for question in HELP_QUESTIONS[:3]:
        answer = Answer(question=question, answer="")
        for document in list(pipeline.index.documents())[::4]:
            found = why_not(pipeline, question, document.id, answer=answer)
            for remedy in found.remedies:
                if remedy.kind == "top_k":
                    hits = pipeline.search(question, int(remedy.value or 0)).hits
                    assert document.id in {hit.document.id for hit in hits}
                    tried += 1
                elif remedy.setting is not None:
                    table, _, name = remedy.setting.partition(".")
                    changed = msgspec.structs.replace(getattr(pipeline.settings, table), **{name: remedy.value})
                    other = pipeline.with_settings(msgspec.structs.replace(pipeline.settings, **{table: changed}))
                    after = why_not(other, question, document.id, answer=answer)
                    assert STAGES.index(after.stage or "generate") > STAGES.index(found.stage or "generate")
                    tried += 1
    assert tried


def test_by_how_much_a_page_lost(help_center: Pipeline) -> None:
    pipeline = help_center.with_settings(settings_of(retrieval={"candidates": 30, "top_k": 2}))
    question = HELP_QUESTIONS[0]
    pool = pipeline.with_settings(
        settings_of(retrieval={"top_k": 30, "candidates": 30}, reranking={"reranker": "none"})
    )
    scores = [hit.score for hit in pool.search(question).hits]
    found = [why_not(pipeline, question, document.id) for document in pipeline.index.documents()]
    outranked = [one for one in found if one.stage == "fuse" and (one.best.repeated_rank or 99) <= 30]  # type: ignore[union-attr]
    assert outranked
    for one in outranked:
        assert one.best is not None
        assert one.best.repeated_rank is not None
        assert one.lost_by == pytest.approx(scores[1] - scores[one.best.repeated_rank - 1])
        assert f"{one.lost_by:.3f} below the last" in one.verdict


@pytest.mark.parametrize("question", ["Can I dictate time entries by voice?", "Does it support SSO with Okta?"])
def test_a_threshold_holds_as_it_is_typed(help_center: Pipeline, question: str) -> None:
    page = help_center.search(question).hits[0].document.path
    (remedy,) = (one for one in why_not(help_center, question, page).remedies if one.kind == "setting")
    typed = float(remedy.message.partition(" = ")[2].partition(":")[0])
    assert typed == remedy.value
    assert not Pipeline(help_center.path, settings_of(calibration={"threshold": typed})).ask(question).refused


def test_a_page_that_is_not_there(built: Pipeline) -> None:
    found = why_not(built, "fern", "bed.md")
    assert (found.stage, found.document_id) == ("index", None)
    assert found.remedies[0].message == "perhaps beds.md is meant"


def test_a_name_of_two_pages_is_refused(tmp_path: Path) -> None:
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([write(tmp_path / "garden", {"a/beds.md": "# A\n\nOne.\n", "b/beds.md": "# B\n\nTwo.\n"})])
    with pytest.raises(SourceError, match="2 documents are called"):
        why_not(pipeline, "fern", "beds.md")


def test_a_filter_is_named_with_what_the_page_has(built: Pipeline) -> None:
    found = why_not(built, "fern", "beds.md", filters={"language": ("de",)})
    assert found.stage == "filter"
    assert "language=de (it has en)" in found.verdict
    assert found.remedies[0].message == "search without the filter language=de (it has en)"


def test_a_page_of_links_is_brought_in_by_its_kind(tmp_path: Path) -> None:
    links = "\n".join(f"- [Page {number}](page{number}.md)" for number in range(12))
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([write(tmp_path / "garden", {**GARDEN, "index.md": f"# All pages\n\n{links}\n"})])
    if pipeline.index.find("index.md").kind != "hub":
        pytest.skip("a page of links is no hub here")
    found = why_not(pipeline, "page", "index.md")
    assert (found.stage, found.remedies[0].message) == ("filter", "--filter kind=hub")


def test_words_that_a_page_lacks_are_named(built: Pipeline) -> None:
    found = why_not(built, "shady ferns and wardens", "gate.md")
    assert (found.held, found.missing) == (("wardens",), ("shady", "ferns"))
    without = pipeline_of(built.path, retrieval={"lexical": True})
    nothing = why_not(without, "zeppelin", "gate.md")
    assert nothing.stage == "match"
    assert [remedy.kind for remedy in nothing.remedies] == ["words", "glossary"]


def test_a_reranker_that_puts_a_page_down_is_named(built: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    class Backwards:
        def rerank(self, query: Any, hits: Any, *, top_k: int) -> Any:
            return Reranking(hits=tuple(reversed(hits)))

    offer(monkeypatch, "rerankers", backwards=Backwards)
    tables: dict[str, dict[str, Any]] = {
        "retrieval": {"top_k": 2},
        "reranking": {"reranker": "backwards", "mmr_lambda": 1.0},
    }
    found = why_not(Pipeline(built.path, settings_of(**tables)), "When does the gate open?", "gate.md")
    assert found.stage == "rerank"
    assert "the reranker backwards puts others before it" in found.verdict


def test_a_page_that_says_the_same_is_named_by_the_hit(tmp_path: Path) -> None:
    text = (
        "The gate opens at dawn, and the warden locks it at dusk, on every day of the week but the first of the year. "
        * 3
    )
    pages = {"one.md": f"# Gate\n\n{text}\n", "two.md": f"# Gate\n\n{text}\n"}
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([write(tmp_path / "garden", pages)])
    question = "When does the gate open?"
    hits = pipeline.search(question).hits
    assert len(hits) == 1
    other = next(path for path in pages if path != hits[0].document.path)
    found = why_not(pipeline, question, other)
    assert found.stage == "fold"
    assert found.verdict.startswith("it says the same as hit 1,")
