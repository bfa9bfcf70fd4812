"""Follow-ups without a model, and what a model makes of a question when it behaves and when it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag import testing
from clockify_rag.contracts import Context, Draft, Query, Turn
from clockify_rag.errors import BackendTimeout, BackendUnavailable
from clockify_rag.retrieval import boosted, fused
from clockify_rag.understanding.follow_ups import carried_over, is_follow_up
from clockify_rag.understanding.rewriting import Rewriter
from clockify_rag.understanding.steps import StepsUnderstander
from pipelines import GARDEN, offer, pipeline_of

TURNS = (Turn("How do I lock old time entries?", "Open Settings and switch Lock entries on."),)


@pytest.mark.parametrize(
    ("question", "language", "follows"),
    [
        ("How do I undo it?", "en", True),
        ("And on the free plan?", "en", True),
        ("What about managers?", "en", True),
        ("Can they do that?", "en", True),
        ("why?", "en", True),
        ("How do I export a report to CSV?", "en", False),
        ("What is the rate limit of the API for webhooks?", "en", False),
        ("kiosk", "en", False),
        ("Und im kostenlosen Tarif?", "de", True),
        ("Wie mache ich das rückgängig?", "de", True),
        ("Wie reiche ich den Stundenzettel ein?", "de", False),
        ("Et pour les managers ?", "fr", True),
        ("¿Y en el plan gratuito?", "es", True),
        ("A w darmowym planie?", "pl", True),
        ("E nel piano gratuito?", "it", True),
        ("A client cannot see invoices", "en", False),
        ("E-mail notifications are late", "en", False),
        ("En masse deletion of entries", "en", False),
        ("Ou est le menu?", "en", False),
        ("So how do I export a report to CSV?", "en", False),
        ("But can a manager approve timesheets?", "en", False),
        ("Or do I have to invite clients first?", "en", False),
        ("Also, where are invoices sent from?", "en", False),
        ("And then, how do I archive a project?", "en", False),
        ("So I want to delete my account", "en", False),
        ("But my timer stops at midnight", "en", False),
        ("And how do I do that on Android?", "en", True),
        ("But is it free?", "en", True),
        ("So how many users?", "en", True),
        ("And who can?", "en", True),
        ("So what about project managers?", "en", True),
        ("Or in the mobile app?", "en", True),
        ("But only for contractors", "en", True),
        ("And what is the limit?", "en", True),
        ("Is there a limit of projects?", "en", False),
        ("Is there one for projects?", "en", True),
        ("Can one user have two rates?", "en", False),
        ("How do I delete one?", "en", True),
        ("Who goes there?", "en", True),
        ("Aber wie exportiere ich einen Bericht?", "de", False),
        ("Und was ist mit Projekten?", "de", True),
        ("Oder auf dem Handy?", "de", True),
        ("Mais comment exporter un rapport ?", "fr", False),
        ("Pero ¿cómo exporto un informe?", "es", False),
        ("Y en el móvil?", "es", True),
        ("Ma come posso esportare un report?", "it", False),
        ("Men hvordan eksporterer jeg en rapport?", "da", False),
    ],
)
def test_what_follows_up(question: str, language: str, follows: bool) -> None:
    assert is_follow_up(question, language) is follows


def test_the_words_of_the_question_before_are_carried_over() -> None:
    assert carried_over("How do I undo it?", TURNS, "en") == "How do I undo it? lock old time entries"
    later = (*TURNS, Turn("And for managers?", "The same."))
    assert carried_over("Who can?", later, "en") == "Who can? lock old time entries managers"
    whole = (*TURNS, Turn("So how do I invite a client?", "By mail."))
    assert carried_over("And a manager?", whole, "en") == "And a manager? invite client"
    query = StepsUnderstander().understand("How do I undo it?", history=later)
    assert query.question == "How do I undo it?"
    assert query.text.startswith("How do I undo it? ")
    assert [step.details["text"] for step in query.steps if step.name == "follow-up"] == [query.text]


def test_only_three_turns_count_and_a_question_of_its_own_stays() -> None:
    old = (*TURNS, *[Turn("and why?", "So.")] * 3)
    assert "lock" not in StepsUnderstander().understand("and how?", history=old).text
    asked = "How do I export a report to CSV?"
    assert StepsUnderstander().understand(asked, history=TURNS).text == asked
    assert StepsUnderstander(follow_ups=False).understand("And it?", history=TURNS).text == "And it?"


class Model:
    """A completer that writes what it is told to, and counts."""

    name = "model"

    def __init__(self, write: Callable[[str], str], clock: list[float] | None = None, takes: float = 0.0) -> None:
        self._write = write
        self._clock = clock if clock is not None else [0.0]
        self._takes = takes
        self.asked: list[tuple[str, str, float]] = []

    def complete(self, system: str, user: str, *, seconds: float, maximum_tokens: int) -> str:
        self.asked.append((system, user, seconds))
        self._clock[0] += self._takes
        return self._write(user)


def understander(write: Callable[[str], str], **steps: Any) -> tuple[StepsUnderstander, Model]:
    model = Model(write)
    return StepsUnderstander(completer=model, **steps), model


def details(query: Query, name: str) -> Mapping[str, Any]:
    (found,) = [step.details for step in query.steps if step.name == name]
    return found


def test_a_model_rewrites_a_follow_up() -> None:
    steps, model = understander(lambda _: "Rewritten question: How do I unlock old time entries?\n", rewriting=True)
    query = steps.understand("How do I undo it?", history=TURNS)
    assert query.text == "How do I unlock old time entries?"
    assert "switch Lock entries on" in model.asked[0][1]
    assert details(query, "follow-up")["model"] == "model"
    assert steps.understand("How do I undo it?", history=TURNS) == query
    assert len(model.asked) == 1
    steps.understand("How do I undo it?")
    assert len(model.asked) == 1


def test_wordings_parts_and_an_answer_are_searched_besides() -> None:
    def write(user: str) -> str:
        return "1. How are entries locked?\n2) How do I stop changes of entries?\n- How do I lock entries?\n4. Four?"

    steps, model = understander(write, multi_query=True)
    query = steps.understand("How do I lock entries?")
    assert query.alternatives == ("How are entries locked?", "How do I stop changes of entries?", "Four?")
    assert query.parts == ()
    assert model.asked[0][1] == "Question: How do I lock entries?"
    steps, _ = understander(
        lambda _: "What is a lock?\nHow do I lock entries?\nWho may lock?\nlock?", decomposition=True
    )
    query = steps.understand("What is a lock and how do I lock entries?")
    assert query.parts == ("What is a lock?", "How do I lock entries?", "Who may lock?") == query.alternatives
    steps, _ = understander(lambda _: "What is a lock?", decomposition=True)
    query = steps.understand("What is a lock?")
    assert query.alternatives == ()
    assert details(query, "parts")["outcome"] == "one question"
    steps, _ = understander(lambda _: "To lock entries,\nopen Settings.", hypothetical_answer=True)
    assert steps.understand("How do I lock?").alternatives == ("To lock entries, open Settings.",)


RUBBISH = (
    "",
    "   \n\n",
    "???",
    "\x1b[31m\x00",
    "I'm sorry, I cannot help with that.",
    "word " * 500,
    "Here are three questions:",
    "🙂🙂",
)


@pytest.mark.parametrize("text", RUBBISH)
def test_rubbish_is_left_out_and_said(text: str) -> None:
    steps, _ = understander(
        lambda _: text, rewriting=True, multi_query=True, decomposition=True, hypothetical_answer=True
    )
    query = steps.understand("How do I undo it?", history=TURNS)
    assert query.text == "How do I undo it? lock old time entries"
    made = details(query, "hypothetical-answer")
    if text != "word " * 500:
        assert query.alternatives == ()
        assert made["outcome"] == "rubbish"
    assert {details(query, name)["outcome"] for name in ("follow-up", "wordings", "parts")} == {"rubbish"}


@given(st.text(max_size=400))
def test_whatever_a_model_writes_the_query_is_one_that_can_be_searched(text: str) -> None:
    steps, _ = understander(
        lambda _: text, rewriting=True, multi_query=True, decomposition=True, hypothetical_answer=True
    )
    query = steps.understand("How do I undo it?", history=TURNS)
    assert len(query.parts) <= 3
    assert len(query.alternatives) <= 7
    for one in (query.text, *query.alternatives):
        assert any(map(str.isalnum, one))
        assert "\n" not in one
        one.encode()


def test_a_model_that_is_late_or_fails_is_left_out_and_said() -> None:
    clock = [0.0]
    slow = Model(lambda _: "How are entries locked?", clock, takes=3.0)
    rewriter = Rewriter(slow, 5.0, clock=lambda: clock[0])
    deadline = rewriter.begin()
    assert rewriter.wordings("How do I lock entries?", deadline)[0] == ("How are entries locked?",)
    assert slow.asked[0][2] == 5.0
    assert rewriter.hypothetical_answer("How do I lock entries?", deadline) == (
        None,
        {"model": "model", "outcome": "backend_timeout", "reason": "the model was too late"},
    )
    assert slow.asked[1][2] == 2.0
    assert rewriter.parts("How do I lock entries?", deadline)[1]["reason"] == "no time was left for it"
    assert len(slow.asked) == 2
    for error in (BackendTimeout("the model took longer than 5 s"), BackendUnavailable("no model answers")):

        def fail(_: str, error: Exception = error) -> str:
            raise error

        steps, _ = understander(fail, rewriting=True, multi_query=True)
        query = steps.understand("How do I undo it?", history=TURNS)
        assert query.text == "How do I undo it? lock old time entries"
        assert details(query, "wordings")["outcome"] == error.code
        assert [failure.code for failure in query.degraded] == [error.code] * 2
        assert error.message in query.degraded[0].message
        assert details(query, "follow-up")["reason"] == error.message


def test_alternatives_bring_what_the_question_does_not_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name, text in GARDEN.items():
        (docs / name).write_text(text)
    pipeline = pipeline_of(tmp_path / "index", embedding={"embedder": "none"})
    pipeline.build([docs])

    class Reworded(StepsUnderstander):
        def understand(self, *arguments: Any, **given: Any) -> Query:
            query = super().understand(*arguments, **given)
            return msgspec.structs.replace(query, alternatives=("heap of leaves", "membership fee pounds"))

    offer(monkeypatch, "understanders", reworded=Reworded)
    other = pipeline_of(tmp_path / "index", embedding={"embedder": "none"}, understanding={"understander": "reworded"})
    alone = [hit.document.title for hit in pipeline.search("spade in the shed").hits]
    result = other.search("spade in the shed", top_k=5)
    titles = [hit.document.title for hit in result.hits]
    assert titles[0] == alone[0] == "Tools"
    assert {"Compost", "Fees"} <= set(titles) - set(alone)
    assert [hit.rank for hit in result.hits] == list(range(1, len(titles) + 1))
    assert result.evidence == pipeline.search("spade in the shed", top_k=5).evidence
    assert [step.details for step in result.steps if step.name == "alternatives"] == [{"searched": 2}]


ORDERS = st.lists(
    st.permutations(range(8)).flatmap(lambda order: st.integers(0, 8).map(lambda n: order[:n])), min_size=1, max_size=4
)


@given(ORDERS, st.lists(st.floats(0.1, 2), min_size=4, max_size=4))
def test_fusion_is_the_formula(orders: list[list[int]], weights: list[float]) -> None:
    hits = testing.sample_hits(8)
    rankings = [
        [msgspec.structs.replace(hits[row], rank=rank) for rank, row in enumerate(order, 1)] for order in orders
    ]
    found = fused(rankings, weights[: len(rankings)])
    relevance: dict[str, float] = {}
    for ranking, weight in zip(rankings, weights, strict=False):
        for hit in ranking:
            relevance[hit.chunk.id] = relevance.get(hit.chunk.id, 0) + weight / (60 + hit.rank)
    assert {hit.chunk.id: hit.score for hit in found} == relevance
    assert [hit.score for hit in found] == sorted(relevance.values(), reverse=True)
    assert [hit.rank for hit in found] == list(range(1, len(relevance) + 1))


@given(st.lists(st.booleans(), min_size=6, max_size=6), st.floats(1, 5))
def test_a_boost_lifts_one_kind_and_keeps_the_order_of_others(entries: list[bool], boost: float) -> None:
    hits = [
        msgspec.structs.replace(hit, chunk=msgspec.structs.replace(hit.chunk, kind="glossary" if entry else "text"))
        for hit, entry in zip(testing.sample_hits(6), entries, strict=True)
    ]
    found = boosted(hits, "glossary", boost)
    assert {hit.chunk.id for hit in found} == {hit.chunk.id for hit in hits}
    others = [hit.chunk.id for hit in hits if hit.chunk.kind == "text"]
    assert [hit.chunk.id for hit in found if hit.chunk.kind == "text"] == others
    before = {hit.chunk.id: hit.rank for hit in hits}
    assert all(hit.rank <= before[hit.chunk.id] for hit in found if hit.chunk.kind == "glossary")
    assert [hit.rank for hit in found] == [1, 2, 3, 4, 5, 6]


class Elsewhere:
    """A generator whose model is on another host, and is asked for short texts."""

    name = "elsewhere"
    sent_to = ("model.example",)

    def generate(self, query: Query, context: Context) -> Draft:
        return Draft(text="", sent_to=self.sent_to)

    def stream(self, query: Query, context: Context) -> Iterator[str]:
        yield from ()

    def complete(self, system: str, user: str, *, seconds: float, maximum_tokens: int) -> str:
        return "When is the heap turned?\nHow is compost made?"


class Apart(Elsewhere):
    """Takes a question apart."""

    def complete(self, system: str, user: str, *, seconds: float, maximum_tokens: int) -> str:
        return "When is the heap turned?\nHow much is the membership fee [1]?\n[2] Is much quantum physics taught?"


def test_a_question_taken_apart_is_answered_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name, text in GARDEN.items():
        (docs / name).write_text(text)
    offer(monkeypatch, "generators", apart=Apart)
    pipeline = pipeline_of(
        tmp_path / "index",
        generation={"generator": "apart", "refusals": {"en": "Ask the warden."}},
        understanding={"decomposition": True},
        calibration={"threshold": 0.0},
    )
    pipeline.build([docs])
    answer = pipeline.ask("When is the heap turned, and how much is the membership fee?", generator="extractive")
    assert not answer.refused
    heap, turned, fee, pounds, *rest = answer.answer.split("\n\n")
    assert (heap, fee) == ("When is the heap turned?", "How much is the membership fee?")
    assert rest == ["Is much quantum physics taught?", "Ask the warden."]
    assert turned.endswith("[1]")
    assert pounds.endswith("[2]")
    assert [citation.path for citation in answer.citations] == ["compost.md", "fees.md"]


def test_a_german_question_finds_german_pages_or_is_refused_in_german(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "zettel.md").write_text(
        "---\nlanguage: de\n---\n# Stundenzettel\n\nSie reichen den Stundenzettel am Ende der Woche über die Schaltfläche Einreichen ein.\n"
    )
    (docs / "sheet.md").write_text("# Timesheet\n\nYou submit the timesheet at the end of the week.\n")
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([docs])
    answer = pipeline.ask("Wie reiche ich meinen Stundenzettel ein?")
    assert answer.hits[0].document.language == "de"
    assert not answer.refused or answer.answer.startswith("Die Dokumentation")
    refused = pipeline.ask("Wie wird das Wetter morgen in der Stadt?")
    assert refused.refused
    assert refused.answer.startswith("Die Dokumentation")


def test_a_model_is_asked_only_where_a_step_says_so_and_its_host_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name, text in GARDEN.items():
        (docs / name).write_text(text)
    pipeline_of(tmp_path / "index").build([docs])
    offer(monkeypatch, "generators", elsewhere=Elsewhere)
    generation = {"generator": "elsewhere"}
    without = pipeline_of(tmp_path / "index", generation=generation)
    assert without.search("compost").sent_to == ()
    reworded = pipeline_of(tmp_path / "index", generation=generation, understanding={"multi_query": True})
    result = reworded.search("compost")
    assert result.sent_to == ("model.example",)
    (step,) = [step for step in result.steps if step.name == "wordings"]
    assert step.details["texts"] == ["When is the heap turned?", "How is compost made?"]
    assert "model.example" in reworded.ask("compost").sent_to
    plain = pipeline_of(tmp_path / "index", understanding={"multi_query": True})
    assert not [step for step in plain.search("compost").steps if step.name == "wordings"]
