"""Every way in which a model's stream goes wrong, at every byte of it: ``python tests/streams.py``, or a sample in ``make test``.

``python tests/streams.py openai "half a line"`` runs the cases whose names those are.

A reference stream of forty lines is cut at each of its bytes, and there one of twelve misbehaviours happens. Whatever comes, asking ends
within its deadline and a second, with a draft or a typed error; a draft whose text is not the whole one is marked; and no text is shown
that the model did not write. What goes wrong before a stream begins (nothing listens, nothing answers, busy) meets a generator that has a
fallback, or tries again, and what that is sent is cut.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, Final, Literal, NamedTuple, Self

import fake_server as fake
from clockify_rag.contracts import Draft, Generator
from clockify_rag.errors import BackendError
from clockify_rag.generation import CircuitBreaker, FallbackGenerator, OllamaGenerator, OpenAIGenerator
from passages import ask, context_of

Protocol = Literal["ollama", "openai"]

WORDS: Final = [
    *('"Exports', " hold", " 90", " Tage", " — naïve", " 日本", " 🕒 ", "\\n\\n", "<b>", "{“x”}", " \t", '" [1].'),
    *(f" word-{number} of the answer, which goes on [{number % 3 + 1}]" for number in range(27)),
]
"""What the model says, piece by piece."""
WHOLE: Final = "".join(WORDS).strip()
LINES: Final[Mapping[Protocol, list[bytes]]] = {"ollama": fake.ollama_lines(WORDS), "openai": fake.openai_events(WORDS)}
BODIES: Final[Mapping[Protocol, bytes]] = {name: b"".join(lines) for name, lines in LINES.items()}

DEADLINES: Final = {
    "connect_seconds": 0.8,
    "first_token_seconds": 0.8,
    "between_tokens_seconds": 0.4,
    "total_seconds": 1.6,
}
GRACE_SECONDS: Final = 1.0
_PAGE: Final = b"\n<!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>\n"
_ERROR: Final[Mapping[Protocol, bytes]] = {
    "ollama": b'\n{"error": "out of memory"}\n',
    "openai": b'\ndata: {"error": {"message": "out of memory"}}\n\n',
}


def _chunks(body: bytes) -> list[fake.Step]:
    return [b"%x\r\n%s\r\n" % (len(line), line) for line in body.splitlines(keepends=True)]


def _stream(body: bytes, *end: fake.Step) -> list[fake.Step]:
    """Return the script of a chunked response that ends so."""
    return [fake.head(Transfer_Encoding="chunked"), *_chunks(body), *end]


_LAST: Final = b"0\r\n\r\n"

Script = Callable[[Protocol, bytes, bytes], list[fake.Step]]

MISBEHAVIOURS: Final[Mapping[str, Script]] = {
    "refused": lambda _protocol, sent, _rest: _stream(sent),
    "black hole": lambda _protocol, sent, _rest: _stream(sent),
    "slow first token": lambda _protocol, sent, _rest: [fake.head(), 0.05, sent],
    "stall": lambda _protocol, sent, _rest: _stream(sent, "hang"),
    "half a line": lambda _protocol, sent, _rest: _stream(sent),
    "reset": lambda _protocol, sent, _rest: _stream(sent, 0.002, "reset"),
    "invalid UTF-8": lambda _protocol, sent, rest: _stream(sent + b"\xff\xfe" + rest, _LAST),
    "HTML": lambda _protocol, sent, _rest: _stream(sent + _PAGE, _LAST),
    "500": lambda _protocol, sent, _rest: fake.answer(sent, "500 Internal Server Error"),
    "503 with Retry-After": lambda _protocol, sent, _rest: _stream(sent),
    "an error after tokens": lambda protocol, sent, _rest: _stream(sent + _ERROR[protocol], _LAST),
    "no done": lambda _protocol, sent, _rest: _stream(sent, _LAST),
}
"""What happens after ``sent``, the reference stream's first bytes; ``rest`` are those that follow there."""


class Outcome(NamedTuple):
    """How one case ended."""

    end: str
    """``complete``, ``incomplete``, or the class of the error."""
    seconds: float
    """How long it took, without the time in which this process could not run."""
    violation: str = ""


class Pauses:
    """Notes when this process was kept from running, by a thread that sleeps a hundredth of a second at a time.

    A machine that is shared by more than it has cores for stops a process for seconds: that is not what is measured here.
    """

    def __init__(self) -> None:
        self._noted: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._stop.wait(0.01):
            now = time.monotonic()
            if now - before > 0.05:
                self._noted.append((now, now - before))
            before = now

    def since(self, start: float) -> float:
        """Return how many seconds this process was kept from running since ``start``."""
        return sum(seconds for noted, seconds in self._noted if noted >= start)


class Cases:
    """Cases of one protocol, on one server whose paths say what it is to do.

    Args:
        protocol: which one is spoken.
        pauses: tells when this process could not run.
    """

    def __init__(self, protocol: Protocol, pauses: Pauses) -> None:
        self._pauses = pauses
        self.protocol: Protocol = protocol
        self.server = fake.FakeServer(self._script)
        self.nowhere = fake.refused_url()
        self._busy: set[str] = set()

    def _script(self, request: fake.Request) -> fake.Script:
        _, name, cut, *_rest = request.path.split("/")
        if name == "hole":
            return ["hang"]
        misbehaviour = list(MISBEHAVIOURS)[int(name)]
        case = f"{name}/{cut}"
        if misbehaviour == "503 with Retry-After" and case not in self._busy:
            self._busy.add(case)
            return fake.answer(b"", "503 Service Unavailable", Retry_After="0")
        body = BODIES[self.protocol]
        return MISBEHAVIOURS[misbehaviour](self.protocol, body[: int(cut)], body[int(cut) :])

    def _generator(self, url: str) -> Generator:
        given: dict[str, Any] = {"url": url, "secret": b"s", "breaker": CircuitBreaker("x", failures=1000), **DEADLINES}
        return OllamaGenerator("m", **given) if self.protocol == "ollama" else OpenAIGenerator("m", api_key="", **given)

    def run(self, misbehaviour: str, cut: int) -> Outcome:
        """Ask a model that misbehaves so after ``cut`` bytes."""
        generator = self._generator(f"{self.server.url}/{list(MISBEHAVIOURS).index(misbehaviour)}/{cut}")
        allowed = DEADLINES["total_seconds"] + GRACE_SECONDS
        if misbehaviour in ("refused", "black hole"):
            first = self.nowhere if misbehaviour == "refused" else f"{self.server.url}/hole/{cut}"
            generator = FallbackGenerator([("first", self._generator(first)), ("second", generator)])
            allowed += DEADLINES["total_seconds"]
        start = time.monotonic()
        draft: Draft | None = None
        try:
            draft = generator.generate(ask("How long?"), CONTEXT)
        except BackendError as error:
            end, violation = type(error).__name__, "" if error.code and error.message else "an error without words"
        except Exception as error:  # noqa: BLE001 - anything else is what is looked for
            end, violation = type(error).__name__, f"not typed: {error!r}"
        else:
            end, violation = "incomplete" if draft.incomplete else "complete", _wrong(draft)
        taken = time.monotonic() - start
        seconds = taken - min(taken, self._pauses.since(start))
        if not violation and seconds > allowed:
            violation = f"took {seconds:.2f} s of {allowed:g} s"
        return Outcome(end, seconds, violation)


CONTEXT: Final = context_of("Exports hold 90 days.", "Plans differ.")


def _wrong(draft: Draft) -> str:
    """Say what is wrong with a draft; nothing where it is right."""
    if not WHOLE.startswith(draft.text):
        return f"a text that was not written: {draft.text[-40:]!r}"
    if draft.incomplete != (draft.failure is not None):
        return "marked incomplete without a failure, or the other way round"
    if not draft.incomplete and draft.text != WHOLE:
        return f"a part that is not marked: {draft.text[-40:]!r}"
    return ""


def sweep(protocol: Protocol, misbehaviour: str, cuts: Iterable[int], threads: int = 16) -> list[tuple[int, Outcome]]:
    """Return how each cut ended."""
    with Pauses() as pauses, (cases := Cases(protocol, pauses)).server, ThreadPoolExecutor(threads) as pool:
        chosen = list(cuts)
        return list(zip(chosen, pool.map(lambda cut: cases.run(misbehaviour, cut), chosen), strict=True))


def _sweep_all(case: tuple[Protocol, str]) -> list[tuple[int, Outcome]]:
    protocol, misbehaviour = case
    return sweep(protocol, misbehaviour, range(len(BODIES[protocol]) + 1))


def main(wanted: Collection[str] = ()) -> int:
    """Run every case, or those whose protocol and misbehaviour are wanted, and print the counts; return the exit status."""
    protocols = [name for name in BODIES if name in wanted] or BODIES
    misbehaviours = [name for name in MISBEHAVIOURS if name in wanted] or MISBEHAVIOURS
    cases: list[tuple[Protocol, str]] = [(protocol, name) for protocol in protocols for name in misbehaviours]
    total = 0
    violations: list[str] = []
    with ProcessPoolExecutor(2) as pool:
        for (protocol, misbehaviour), outcomes in zip(cases, pool.map(_sweep_all, cases), strict=True):
            ends = Counter(outcome.end for _, outcome in outcomes)
            longest = max(outcome.seconds for _, outcome in outcomes)
            total += len(outcomes)
            shown = ", ".join(f"{end} {count}" for end, count in ends.most_common())
            print(
                f"{protocol:7} {misbehaviour:22} {len(outcomes):5} cuts, longest {longest:.2f} s: {shown}", flush=True
            )
            violations += [
                f"{protocol} {misbehaviour} at byte {cut}: {outcome.violation}"
                for cut, outcome in outcomes
                if outcome.violation
            ]
    print(f"{total} cases, {len(violations)} violations")
    for violation in violations[:20]:
        print(violation, file=sys.stderr)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
