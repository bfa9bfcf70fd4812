"""A server that failed several times in a row is left alone, and asked again by itself."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fake_server as fake
from clockify_rag.errors import (
    BackendBadResponse,
    BackendError,
    BackendRejected,
    BackendTimeout,
    BackendUnavailable,
    InvalidSetting,
)
from clockify_rag.generation import CircuitBreaker, OllamaGenerator
from passages import ask, context_of

CONTEXT = context_of("Exports hold 90 days.")


class Time:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def attempt(breaker: CircuitBreaker, error: BaseException | None = None, *, patient: bool = True) -> str:
    """Make one attempt that ends so, and say whether it was let through."""
    try:
        with breaker.attempt(patient=patient):
            if error is not None:
                raise error
    except BackendUnavailable as refused:
        return "through" if refused is error else "refused"
    except (BackendError, KeyboardInterrupt, GeneratorExit):
        return "through"
    return "through"


def test_it_opens_after_failures_in_a_row_and_closes_by_itself() -> None:
    time = Time()
    breaker = CircuitBreaker("Ollama", failures=2, seconds=10, now=time)
    down = BackendUnavailable("down")
    assert [attempt(breaker, error) for error in (down, None, down, down)] == ["through"] * 4
    assert attempt(breaker) == "refused"
    time.now = 4
    with (
        pytest.raises(BackendUnavailable, match="Ollama failed 2 times in a row and is asked again in 6 s") as caught,
        breaker.attempt(),
    ):
        raise AssertionError
    assert caught.value.fields["seconds"] == 6
    time.now = 10
    assert [attempt(breaker, down), attempt(breaker)] == ["through", "refused"]
    time.now = 20
    assert [attempt(breaker), attempt(breaker, down), attempt(breaker)] == ["through"] * 3


@pytest.mark.parametrize(
    ("error", "patient"),
    [
        (BackendRejected("no such model", status=404), True),
        (BackendRejected("longer than 5 tokens"), True),
        (KeyboardInterrupt(), True),
        (GeneratorExit(), True),
        (BackendTimeout("late"), False),
    ],
)
def test_what_says_nothing_of_the_server_does_not_open_it(error: BaseException, patient: bool) -> None:
    breaker = CircuitBreaker("x", failures=1, now=Time())
    assert [attempt(breaker, error, patient=patient), attempt(breaker)] == ["through", "through"]


@pytest.mark.parametrize("error", [BackendTimeout("t"), BackendBadResponse("b"), BackendRejected("r", status=500)])
def test_what_says_that_the_server_is_ill_opens_it(error: BackendError) -> None:
    breaker = CircuitBreaker("x", failures=1, now=Time())
    assert [attempt(breaker, error), attempt(breaker)] == ["through", "refused"]


def test_one_request_alone_tries_and_a_cancelled_try_is_none() -> None:
    time = Time()
    breaker = CircuitBreaker("x", failures=1, seconds=10, now=time)
    attempt(breaker, BackendTimeout("t"))
    time.now = 10
    with breaker.attempt():
        assert attempt(breaker) == "refused"
    attempt(breaker, BackendTimeout("t"))
    time.now = 20
    assert [attempt(breaker, KeyboardInterrupt()), attempt(breaker), attempt(breaker)] == ["through"] * 3


@given(st.lists(st.tuples(st.sampled_from(["ok", "down", "wait"]), st.integers(1, 12)), max_size=40))
def test_it_is_what_a_naive_one_is(events: list[tuple[str, int]]) -> None:
    time = Time()
    breaker = CircuitBreaker("x", failures=3, seconds=10, now=time)
    failures, opened = 0, 0.0
    for event, seconds in events:
        if event == "wait":
            time.now += seconds
            continue
        expected = "through" if failures < 3 or time.now >= opened + 10 else "refused"
        assert attempt(breaker, BackendUnavailable("x") if event == "down" else None) == expected
        if expected == "through":
            failures, opened = (failures + 1, time.now) if event == "down" else (0, opened)


def test_threads_together_count_every_failure() -> None:
    breaker = CircuitBreaker("x", failures=1000, now=Time())
    threads = [
        threading.Thread(target=lambda: [attempt(breaker, BackendTimeout("t")) for _ in range(100)]) for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert attempt(breaker) == "refused"


def test_a_generator_stops_asking_a_server_that_is_down() -> None:
    time = Time()
    with fake.serving(
        fake.answer({"error": "boom"}, "500 Oh"), fake.answer({"error": "boom"}, "500 Oh"), fake.ollama_answer(["a"])
    ) as server:
        generator = OllamaGenerator("m", url=server.url, breaker=CircuitBreaker("Ollama", failures=2, now=time))
        for _ in range(2):
            with pytest.raises(BackendRejected):
                generator.generate(ask("?"), CONTEXT)
        with pytest.raises(BackendUnavailable, match="2 times in a row"):
            generator.generate(ask("?"), CONTEXT)
        assert len(server.requests) == 2
        time.now = 60
        assert generator.generate(ask("?"), CONTEXT).text == "a"


def test_no_failures_are_no_breaker() -> None:
    with pytest.raises(InvalidSetting):
        CircuitBreaker("x", failures=0)
