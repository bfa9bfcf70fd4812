"""The conformance suite: the package's own components pass it, and each way to break a promise fails it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import numpy
import pytest

from clockify_rag import plugins, telemetry, testing
from clockify_rag.chunking import StructureChunker
from clockify_rag.contracts import Citation, Context, Draft, Hit, Reranking, SearchResult, Verified
from clockify_rag.embedding import StaticEmbedder
from clockify_rag.errors import EmptyQuery, PluginConflict
from clockify_rag.generation import ExtractiveGenerator
from clockify_rag.loading import FileLoader
from clockify_rag.packing import RelevancePacker
from clockify_rag.reranking import NoReranker
from clockify_rag.understanding import PlainUnderstander


def test_the_packages_own_components_pass() -> None:
    testing.check_loader(FileLoader())
    testing.check_embedder(StaticEmbedder())
    testing.check_understander(PlainUnderstander())
    testing.check_reranker(NoReranker())
    testing.check_packer(RelevancePacker())
    testing.check_generator(ExtractiveGenerator())


def test_the_packages_own_chunker_passes_on_the_pages_of_its_loader(tmp_path: Any) -> None:
    from clockify_rag.contracts import LoadedDocument, Source

    (tmp_path / "a.md").write_text("# Exports\n\n" + "To export a report, open Reports. " * 400)
    loaded = list(FileLoader().load(Source(name="s", location=str(tmp_path)), {}))
    testing.check_chunker(StructureChunker(), [item for item in loaded if isinstance(item, LoadedDocument)])


class Embedder:
    """Right in everything; each test breaks one thing."""

    dimension = 4

    def fingerprint(self) -> str:
        return "right"

    def embed(self, texts: Any) -> Any:
        return numpy.array([[len(text) + 1.0, 1.0, 2.0, 3.0] for text in texts], numpy.float32).reshape(-1, 4)

    def embed_questions(self, texts: Any) -> Any:
        return self.embed(texts)


def nan(self: Any, texts: Any) -> Any:
    return numpy.full((len(texts), 4), numpy.nan, numpy.float32)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("dimension", 0, "dimension is 0"),
        ("dimension", 5, "does not have the shape"),
        ("embed", lambda self, texts: numpy.zeros((len(texts), 4)), "is float64, not float32"),
        ("embed", nan, "contains NaN"),
        ("embed", lambda self, texts: numpy.full((len(texts), 4), numpy.inf, numpy.float32), "infinite"),
        (
            "embed",
            lambda self, texts: numpy.eye(max(len(texts), 4), 4, dtype=numpy.float32)[::-1][: len(texts)],
            "another vector",
        ),
        ("fingerprint", lambda self: "", "fingerprint"),
    ],
)
def test_an_embedder_that_is_wrong_is_told_how(
    monkeypatch: pytest.MonkeyPatch, name: str, value: Any, message: str
) -> None:
    testing.check_embedder(Embedder())
    monkeypatch.setattr(Embedder, name, value)
    with pytest.raises(AssertionError, match=message):
        testing.check_embedder(Embedder())


def test_a_component_without_a_method_is_told_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Embedder, "fingerprint")
    with pytest.raises(PluginConflict, match="has no fingerprint"):
        testing.check_embedder(Embedder())


class Scripted:
    """Any stage: what is called is what it was given."""

    def __init__(self, **methods: Callable[..., Any]) -> None:
        self.__dict__.update(methods)


def reranked(*hits: Hit) -> Reranking:
    return Reranking(hits=tuple(msgspec.structs.replace(hit, rank=rank) for rank, hit in enumerate(hits, 1)))


@pytest.mark.parametrize(
    ("rerank", "message"),
    [
        (lambda query, hits, top_k: list(hits), "returns list, not Reranking"),
        (lambda query, hits, top_k: reranked(*hits[:top_k]), "drops a hit"),
        (lambda query, hits, top_k: reranked(*hits[1:], *hits[1:2]), "one chunk twice"),
        (lambda query, hits, top_k: reranked(*testing.sample_hits(20)[12:]), "was not given"),
    ],
)
def test_a_reranker_that_is_wrong_is_told_how(rerank: Callable[..., Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        testing.check_reranker(Scripted(rerank=rerank))  # type: ignore[arg-type]


def context_of(hits: list[Hit], texts: tuple[str, ...] | None = None, dropped: int = 0) -> Context:
    shown = tuple(hit.chunk.text for hit in hits) if texts is None else texts
    return Context(hits=tuple(hits), texts=shown, tokens=1, dropped=dropped)


@pytest.mark.parametrize(
    ("pack", "message"),
    [
        (lambda query, hits: list(hits), "not Context"),
        (lambda query, hits: context_of(hits, ()), "one text for each hit"),
        (lambda query, hits: context_of(hits[1:], dropped=1), "drops the best hit"),
        (lambda query, hits: context_of(hits[:1], dropped=len(hits)), "drops more hits"),
        (lambda query, hits: context_of(hits, tuple("other" for _ in hits)), "not the chunk's beginning"),
    ],
)
def test_a_packer_that_is_wrong_is_told_how(pack: Callable[..., Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        testing.check_packer(Scripted(pack=pack))  # type: ignore[arg-type]


def test_a_retriever(monkeypatch: pytest.MonkeyPatch) -> None:
    from clockify_rag.contracts import Evidence

    def result(hits: list[Hit]) -> SearchResult:
        return SearchResult(question="q", generation=1, hits=tuple(hits), evidence=Evidence())

    testing.check_retriever(Scripted(retrieve=lambda query, top_k: result(testing.sample_hits(top_k))))  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="more than one hit"):
        testing.check_retriever(Scripted(retrieve=lambda query, top_k: result(testing.sample_hits(5))))  # type: ignore[arg-type]
    worst_first = reranked(*testing.sample_hits(5)[::-1]).hits
    with pytest.raises(AssertionError, match="not ordered by score"):
        testing.check_retriever(Scripted(retrieve=lambda query, top_k: result(worst_first)))  # type: ignore[arg-type]


def test_an_understander_that_takes_everything_is_told() -> None:
    def understand(question: str, filters: Any = None) -> Any:
        return msgspec.structs.replace(testing.sample_query(question), filters={"language": ("en",)})

    with pytest.raises(AssertionError, match="0 characters that cannot be searched"):
        testing.check_understander(Scripted(understand=understand))  # type: ignore[arg-type]

    def strict(question: str, filters: Any = None) -> Any:
        if not question.strip() or len(question) > 2000:
            raise EmptyQuery("no")
        return understand(question)

    testing.check_understander(Scripted(understand=strict))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("draft", "pieces", "message"),
    [
        (Draft(text=" "), ["a"], "empty text"),
        (Draft(text="a", quotes=((9, (0, 1)),)), ["a"], "quotes hit 9 of 3"),
        (Draft(text="a", quotes=((0, (2, 1)),)), ["a"], "quotes the span 2:1"),
        (Draft(text="a"), [1], "not a string"),
        (Draft(text="a"), [""], "yields no text"),
    ],
)
def test_a_generator_that_is_wrong_is_told_how(draft: Draft, pieces: list[Any], message: str) -> None:
    generator = Scripted(generate=lambda query, context: draft, stream=lambda query, context: iter(pieces))
    with pytest.raises(AssertionError, match=message):
        testing.check_generator(generator)  # type: ignore[arg-type]


def citing(context: Context, quote: str, chunk_id: str | None = None) -> Citation:
    hit = context.hits[0]
    return Citation(
        marker=1,
        chunk_id=chunk_id or hit.chunk.id,
        document_id=hit.document.id,
        path=hit.document.path,
        url=None,
        anchor=None,
        quote=quote,
        span=(0, len(hit.chunk.text)),
    )


@pytest.mark.parametrize(
    ("verify", "message"),
    [
        (lambda query, context, draft: (draft.text, (), 0), "returns tuple, not Verified"),
        (lambda query, context, draft: Verified(text=""), "takes away a true quotation"),
        (lambda query, context, draft: Verified(text=draft.text), "no citation for a true quotation"),
        (
            lambda query, context, draft: Verified(text=draft.text, citations=(citing(context, "other"),)),
            "not the text at its span",
        ),
        (
            lambda query, context, draft: Verified(text=draft.text, citations=(citing(context, "", "f" * 32),)),
            "not in the context",
        ),
    ],
)
def test_a_verifier_that_is_wrong_is_told_how(verify: Callable[..., Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        testing.check_verifier(Scripted(verify=verify))  # type: ignore[arg-type]


def test_a_verifier_that_is_right_passes() -> None:
    def verify(query: Any, context: Context, draft: Draft) -> Any:
        quote = context.hits[0].chunk.text
        return Verified(text=draft.text, citations=(citing(context, quote),) if quote in draft.text else ())

    testing.check_verifier(Scripted(verify=verify))  # type: ignore[arg-type]


def test_records_are_their_own_json() -> None:
    from clockify_rag.contracts import Answer, Evidence

    testing.check_answer_is_json(Answer(question="q", answer="a", hits=tuple(testing.sample_hits())))
    testing.check_answer_is_json(
        SearchResult(question="q", generation=1, hits=tuple(testing.sample_hits()), evidence=Evidence())
    )


def test_stages_are_timed_traced_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    spans: list[tuple[str, Any]] = []

    class Tracer:
        @contextmanager
        def span(self, name: str, attributes: dict[str, Any]) -> Iterator[None]:
            spans.append((name, attributes))
            yield

    timings: dict[str, float] = {}
    telemetry.set_tracer(Tracer())
    try:
        with caplog.at_level(logging.DEBUG, logger="clockify_rag"):
            for _ in range(2):
                with telemetry.stage("retrieve", timings, top_k=3):
                    pass
    finally:
        telemetry.set_tracer(None)
    assert spans == [("retrieve", {"top_k": 3})] * 2
    assert set(timings) == {"retrieve"}
    assert timings["retrieve"] >= 0
    assert len(caplog.records) == 2
    with pytest.raises(ZeroDivisionError), telemetry.stage("broken", timings):
        raise ZeroDivisionError
    assert "broken" in timings


def test_the_log_goes_to_stderr_once_and_only_when_asked(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger(telemetry.LOGGER)
    logger.info("unheard")
    telemetry.log_to_stderr(logging.INFO)
    telemetry.log_to_stderr(logging.INFO)
    try:
        logger.info("heard")
        assert capfd.readouterr().err.count("heard\n") == 1
    finally:
        for handler in [handler for handler in logger.handlers if hasattr(handler, "clockify_rag")]:
            logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def test_members_are_those_of_the_protocols() -> None:
    assert plugins.members(plugins.PROTOCOLS["embedders"]) == ("dimension", "fingerprint", "embed", "embed_questions")
