"""Answers that are given again: only what would be made again, for as long as it would be."""

from __future__ import annotations

import itertools
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from clockify_rag import changing
from clockify_rag.cache import RecentResults, StoredResults
from clockify_rag.contracts import Answer, Draft, Turn
from clockify_rag.errors import BackendUnavailable, QueryError
from clockify_rag.pipeline import Pipeline
from folders import write
from pipelines import GARDEN, QUESTIONS, offer, pipeline_of, settings_of


@pytest.fixture
def built(tmp_path: Path) -> Pipeline:
    made = pipeline_of(tmp_path / "index")
    made.build([write(tmp_path / "garden", GARDEN)])
    return made


def untimed(answer: Answer) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(answer, timings_ms={}), order="deterministic")


# In memory.


class Recent(RuleBasedStateMachine):
    """The cache beside a list of what was put, in the order of use."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.cache: RecentResults[int] = RecentResults(3, 10.0, clock=lambda: self.now)
        self.model: list[tuple[str, float, int]] = []
        self.numbers = itertools.count()

    @rule(key=st.sampled_from("abcde"))
    def put(self, key: str) -> None:
        number = next(self.numbers)
        self.cache.put(key, number)
        others = [one for one in self.model if one[0] != key][-2:]
        self.model = [*others, (key, self.now, number)]

    @rule(key=st.sampled_from("abcde"))
    def get(self, key: str) -> None:
        found = next((one for one in self.model if one[0] == key), None)
        if found is not None:
            self.model.remove(found)
            if self.now - found[1] >= 10:
                found = None
            else:
                self.model.append(found)
        assert self.cache.get(key) == (None if found is None else found[2])

    @precondition(lambda self: self.now < 100)
    @rule(seconds=st.floats(0, 6))
    def wait(self, seconds: float) -> None:
        self.now += seconds


TestRecent = Recent.TestCase


def test_what_is_looked_up_is_counted() -> None:
    cache: RecentResults[int] = RecentResults()
    assert cache.counts.hit_rate is None
    cache.put("a", 1)
    assert [cache.get(key) for key in "aab"] == [1, 1, None]
    assert (cache.counts.lookups, cache.counts.hits) == (3, 2)


# In a file.


def test_a_file_is_for_its_owner_and_keeps_what_was_used_last(tmp_path: Path) -> None:
    now = iter(range(1000, 2000))
    stored = StoredResults(
        tmp_path / "cache" / "answers.sqlite", entries=2, seconds=100, clock=lambda: float(next(now))
    )
    assert stored.get("a") is None
    assert not stored.path.exists()
    stored.put("a", b"1")
    stored.put("b", b"2")
    assert stored.get("a") == b"1"
    stored.put("c", b"3")
    again = StoredResults(stored.path, entries=2, seconds=100, clock=lambda: float(next(now)))
    assert [again.get(key) for key in "abc"] == [b"1", None, b"3"]
    assert stat.S_IMODE(stored.path.stat().st_mode) == 0o600
    entries, counts = again.counts
    assert (entries, counts.lookups, counts.hits) == (2, 4, 3)


@pytest.mark.parametrize(("later", "found"), [(99.0, b"1"), (100.0, None), (-1.0, None)])
def test_what_is_too_old_or_of_the_future_is_not_there(tmp_path: Path, later: float, found: bytes | None) -> None:
    path = tmp_path / "answers.sqlite"
    StoredResults(path, seconds=100, clock=lambda: 1000.0).put("a", b"1")
    assert StoredResults(path, seconds=100, clock=lambda: 1000.0 + later).get("a") == found


def test_damage_anywhere_is_a_miss_and_heals(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    whole = StoredResults(path)
    whole.put("key", b"the value, long enough to be found in the file" * 40)
    content = path.read_bytes()
    missed = 0
    for place in range(0, len(content), 61):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x5A]) + content[place + 1 :])
        found = StoredResults(path).get("key")
        assert found in {None, b"the value, long enough to be found in the file" * 40}
        missed += found is None
        StoredResults(path).put("key", b"new")
        if path.read_bytes()[:16] == content[:16]:
            assert StoredResults(path).get("key") in {b"new", None}
    assert missed
    path.write_bytes(b"another program's")
    StoredResults(path).put("key", b"1")
    StoredResults(path).put("key", b"1")
    assert StoredResults(path).get("key") == b"1"


def test_a_folder_that_cannot_be_written_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    stored = StoredResults(tmp_path / "cache" / "answers.sqlite")
    stored.put("a", b"1")
    assert stored.get("a") is None


# Of a pipeline.


def test_an_answer_given_again_is_the_answer_that_would_be_made(built: Pipeline) -> None:
    for question in (*QUESTIONS, "Can I dictate with a zeppelin?"):
        first, again, fresh = built.ask(question), built.ask(question), built.ask(question, cached=False)
        assert untimed(first) == untimed(again) == untimed(fresh)
        assert set(again.timings_ms) == {"cache", "total"}
        assert "verify" in fresh.timings_ms or fresh.refused
    assert built.answers.counts.hits == len(QUESTIONS) + 1


def test_whatever_an_answer_depends_on_makes_another(built: Pipeline) -> None:
    question = "Who has a key?"
    ways: list[dict[str, Any]] = [
        {},
        {"top_k": 2},
        {"filters": {"kind": ("text",)}},
        {"lexical": True},
        {"history": (Turn("When does the gate open?", "At dawn."),)},
    ]
    for way in ways:
        assert "cache" not in built.ask(question, **way).timings_ms
    for way in ways:
        assert "cache" in built.ask(question, **way).timings_ms
    assert "cache" not in built.ask("who has a key?").timings_ms


@pytest.mark.parametrize("persist", [False, True])
def test_halves_of_characters_are_answered_and_remembered_as_any_question(built: Pipeline, *, persist: bool) -> None:
    pipeline = Pipeline(built.path, settings_of(cache={"persist": persist}))
    history = (Turn("When is the \ud800 gate open?", "At dawn."),)
    given = [pipeline.ask("When does \ud800 the gate open?", history=history) for _ in range(2)]
    assert "dawn" in given[0].answer
    assert untimed(given[0]) == untimed(given[1])
    assert "cache" in given[1].timings_ms


def test_a_filter_that_is_none_is_named_whether_or_not_answers_are_kept(built: Pipeline) -> None:
    for cached in (True, False):
        with pytest.raises(QueryError, match="filter on tags"):
            built.ask("Who has a key?", filters={"tags": [object()]}, cached=cached)  # type: ignore[list-item]
    assert built.ask("Who has a key?", filters={"source": {"garden"}}).citations  # type: ignore[dict-item]


def test_another_generation_is_asked_anew(built: Pipeline, tmp_path: Path) -> None:
    before = built.ask("Who has a key?")
    write(tmp_path / "garden", {"gate.md": "# Gate\n\n## Keys\n\nThe mayor has the only key to the gate.\n"})
    built.build([tmp_path / "garden"])
    after = built.ask("Who has a key?")
    assert "mayor" in after.answer
    assert after.generation == before.generation + 1


class Counted:
    """A generator that says how often it was asked, and fails or breaks off as it is told."""

    asked = 0
    outcomes: Iterator[Any] = iter(())
    prompt_version = "1"

    def generate(self, query: Any, context: Any) -> Draft:
        type(self).asked += 1
        outcome = next(self.outcomes, None)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome or Draft(text="The gate opens at dawn [1].")

    def stream(self, query: Any, context: Any) -> Any:
        yield self.generate(query, context).text


def test_what_failed_broke_off_or_was_made_with_less_is_asked_again(
    built: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clockify_rag.contracts import Failure

    failure = Failure("backend", "it failed", "")
    outcomes = [
        BackendUnavailable("no server"),
        Draft(text="The gate [1]", incomplete=True, failure=failure),
        Draft(text="The gate opens at dawn [1].", degraded=(failure,)),
        Draft(text="The gate opens at dawn [1]."),
    ]
    monkeypatch.setattr(Counted, "asked", 0)
    monkeypatch.setattr(Counted, "outcomes", iter(outcomes))
    offer(monkeypatch, "generators", counted=Counted)
    pipeline = Pipeline(built.path, settings_of(generation={"generator": "counted"}))
    answers = [pipeline.ask("When does the gate open?") for _ in range(6)]
    assert Counted.asked == 4
    assert [answer.failure is None for answer in answers] == [False, False, True, True, True, True]
    monkeypatch.setattr(Counted, "prompt_version", "2")
    pipeline.ask("When does the gate open?")
    assert Counted.asked == 5
    pipeline.ask("When does the gate open?", cached=False)
    assert Counted.asked == 6
    off = Pipeline(built.path, settings_of(generation={"generator": "counted"}, cache={"enabled": False}))
    off.ask("When does the gate open?")
    off.ask("When does the gate open?")
    assert Counted.asked == 8


def test_a_file_answers_another_process(built: Pipeline) -> None:
    tables: dict[str, dict[str, Any]] = {"cache": {"persist": True}}
    question = "When does the gate open?"
    first = Pipeline(built.path, settings_of(**tables)).ask(question)
    again = Pipeline(built.path, settings_of(**tables)).ask(question)
    assert untimed(first) == untimed(again)
    assert "cache" in again.timings_ms
    assert "cache" not in pipeline_of(built.path).ask(question).timings_ms
    assert stat.S_IMODE((built.path / "cache" / "answers.sqlite").stat().st_mode) == 0o600


def test_prepared_answers_are_given_until_the_next_generation(built: Pipeline, tmp_path: Path) -> None:
    prepared = built.prepare_answers([*QUESTIONS, QUESTIONS[0], "Can I dictate with a zeppelin?"])
    assert (prepared.answers, prepared.failed) == (len(QUESTIONS) + 1, {})
    assert prepared.refused >= 1
    other = pipeline_of(built.path)
    for question in QUESTIONS:
        given = other.ask(question)
        assert "cache" in given.timings_ms
        assert untimed(given) == untimed(other.ask(question, cached=False))
    write(tmp_path / "garden", {"more.md": "# More\n\nThe gate has a bell.\n"})
    built.build([tmp_path / "garden"])
    assert "cache" not in pipeline_of(built.path).ask(QUESTIONS[0]).timings_ms


def test_a_purge_leaves_no_byte_of_answers(built: Pipeline) -> None:
    tables: dict[str, dict[str, Any]] = {"cache": {"persist": True}}
    pipeline = Pipeline(built.path, settings_of(**tables))
    assert "warden" in pipeline.ask("Who has a key?").answer
    pipeline.prepare_answers(["Who has a key?"])
    held = [file for file in built.path.rglob("*") if file.is_file() and b"Ask the warden" in file.read_bytes()]
    assert {file.name for file in held} >= {"answers.sqlite", "faq.sqlite"}
    changing.remove(pipeline, ["gate.md"], purge=True)
    assert not [file for file in built.path.rglob("*") if file.is_file() and b"Ask the warden" in file.read_bytes()]
    # A process that has the old generation open answers from it, and stores nothing.
    assert "warden" in pipeline.ask("Who has a key?").answer
    assert not (built.path / "cache" / "answers.sqlite").exists()


def test_a_hundred_threads_get_the_answers_of_one(built: Pipeline) -> None:
    wanted = {question: untimed(built.ask(question, cached=False)) for question in QUESTIONS}
    pipelines = [pipeline_of(built.path), pipeline_of(built.path, cache={"enabled": False})]
    for pipeline in pipelines:
        together = threading.Barrier(100)

        def work(number: int, pipeline: Pipeline = pipeline, together: threading.Barrier = together) -> None:
            together.wait()
            for place in range(len(QUESTIONS)):
                question = QUESTIONS[(place + number) % len(QUESTIONS)]
                assert untimed(pipeline.ask(question)) == wanted[question]

        with ThreadPoolExecutor(100) as pool:
            list(pool.map(work, range(100)))


@given(st.lists(st.text(max_size=3), min_size=2, max_size=4))
def test_no_two_questions_have_one_key(parts: list[str]) -> None:
    from clockify_rag.contracts import digest

    if parts != parts[::-1]:
        assert digest(*parts) != digest(*parts[::-1])
