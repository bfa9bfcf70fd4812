"""Talking: conversations in the library, and the chat at pipes and terminals."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import pytest

import fake_server as fake
from clockify_rag.cli import chatting, run
from clockify_rag.conversation import Conversation
from clockify_rag.errors import QueryError
from clockify_rag.pipeline import Pipeline
from folders import write
from pipelines import GARDEN, QUESTIONS, pipeline_of

SCHEMAS = Path(__file__).parent.parent / "docs" / "schemas"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """An index that no test changes."""
    folder = tmp_path_factory.mktemp("built")
    made = pipeline_of(folder / "index")
    source = write(folder / "garden", GARDEN)
    assert run(["build", str(source), "--index", str(made.path), "--base-url", "https://garden.example"]) == 0
    return made


# The library.


def test_a_follow_up_is_attributed_to_its_turn(built: Pipeline) -> None:
    conversation = Conversation(built)
    first = conversation.ask("When does the gate open?")
    second = conversation.ask("What does membership cost per year?")
    third = conversation.ask("And when is it due?")
    assert [one.number for one in (first, second, third)] == [1, 2, 3]
    assert (first.follows, second.follows, third.follows) == (None, None, 2)
    assert "membership" in third.searched
    assert "April" in third.answer.answer
    assert third.answer.question == "And when is it due?"


def test_three_turns_count_and_a_reset_forgets(built: Pipeline) -> None:
    conversation = Conversation(built)
    for question in QUESTIONS[:4]:
        conversation.ask(question)
    assert [turn.question for turn in conversation.history] == list(QUESTIONS[1:4])
    assert all(turn.answer for turn in conversation.history)
    conversation.reset()
    assert conversation.history == ()
    assert conversation.ask("And then?").follows is None
    assert len(conversation.exchanges) == 5
    assert Conversation(built, turns=0).history == ()


def test_what_cannot_be_asked_is_no_turn(built: Pipeline) -> None:
    conversation = Conversation(built)
    with pytest.raises(QueryError):
        conversation.ask("?!")
    assert conversation.exchanges == ()


def test_threads_share_a_conversation(built: Pipeline) -> None:
    conversation = Conversation(built)
    with ThreadPoolExecutor(16) as pool:
        exchanges = list(pool.map(conversation.ask, QUESTIONS * 4))
    assert sorted(one.number for one in exchanges) == list(range(1, 4 * len(QUESTIONS) + 1))
    assert {id(one) for one in exchanges} == {id(one) for one in conversation.exchanges}


# Through a pipe.


def talk(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], built: Pipeline, *lines: str, status: int = 0
) -> tuple[str, str]:
    capfd.readouterr()
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    assert run(["chat", "--index", str(built.path)]) == status
    captured = capfd.readouterr()
    return captured.out, captured.err


def test_questions_come_through_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], built: Pipeline
) -> None:
    out, err = talk(monkeypatch, capfd, built, "When does the gate open?", "", "Can I dictate with a zeppelin?")
    assert "The gate opens at dawn" in out
    assert "[1] https://garden.example/gate.html#gate" in out
    assert "The documentation does not answer this question." in out
    assert "Looked for: dictate, zeppelin" in out
    assert err == "refused: weak_evidence; :why tells more\n"
    assert "> " not in out


def test_what_is_not_proved_is_told_in_the_chat_as_by_ask(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], built: Pipeline
) -> None:
    text = "The gate opens at dawn [1]. It closes after 77 hours [1]. Somebody with a golden key may walk in [1]."
    with fake.FakeServer(lambda _: fake.openai_answer(re.findall(r"\s*\S+", text))) as server:
        monkeypatch.setenv("CLOCKIFY_RAG_GENERATION__URL", f"{server.url}/v1")
        monkeypatch.setenv("CLOCKIFY_RAG_GENERATION__GENERATOR", "openai")
        out, err = talk(monkeypatch, capfd, built, "When does the gate open?")
        assert run(["ask", "When does the gate open?", "--index", str(built.path)]) == 0
    assert "77 hours" in out
    assert "not in the sources: It closes after 77 hours [1]. (number: 77 hours" in err
    assert capfd.readouterr().err == err


def test_every_command_of_the_list_does_something(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], built: Pipeline, tmp_path: Path
) -> None:
    opened: list[str] = []

    def browse(place: str) -> bool:
        opened.append(place)
        return True

    monkeypatch.setattr("webbrowser.open", browse)
    markdown, answers = tmp_path / "talk.md", tmp_path / "talk.json"
    out, err = talk(
        monkeypatch,
        capfd,
        built,
        ":help",
        "When does the gate open?",
        ":sources",
        ":sources 1",
        ":open 1",
        ":why",
        ":why-not fees.md",
        ":debug",
        ":filter kind=text",
        "Who has a key?",
        ":filter off",
        ":settings",
        f":save {markdown}",
        f":save {answers}",
        ":reset",
        ":exit",
        "never asked",
    )
    for command, _ in chatting.HELP:
        assert command in out
    assert '    "The gate opens at dawn and is locked at dusk."' in out
    assert opened == ["https://garden.example/gate.html#gate"]
    assert "BM25F of the best" in out
    assert "What would bring it in" in out
    assert "verify: " in out
    assert "understand: " in out
    assert "answers given again  0 of 2 (0%)" in out
    assert "never asked" not in out
    assert "debug is on\nonly kind=text\nno filter\n" in err
    assert "error" not in err
    assert markdown.read_text(encoding="utf-8").startswith("## 1. When does the gate open?\n\nThe gate opens")
    saved = json.loads(answers.read_text(encoding="utf-8"))["answers"]
    schema = json.loads((SCHEMAS / "ask.schema.json").read_text(encoding="utf-8"))
    for answer in saved:
        jsonschema.validate({"schema": 1, **answer}, schema)
    assert [answer["follows"] for answer in saved] == [None, None]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (":sorces", "error: there is no command :sorces\nhint: :sources\n"),
        (":frobnicate", "error: there is no command :frobnicate\nhint: :help\n"),
        (":sources", "error: nothing was asked yet\nhint: ask something first\n"),
        (":why", "error: nothing was asked yet\nhint: ask something first\n"),
        (":filter colour=red", "error: :filter colour=red is not FIELD=VALUE"),
        (":save", "error: :save names no file\nhint: :save FILE\n"),
        ("?!", "error: the question has no letter or digit to search for\nhint: ask in words\n"),
    ],
)
def test_a_mistake_is_told_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], built: Pipeline, line: str, message: str
) -> None:
    out, err = talk(monkeypatch, capfd, built, line, "When does the gate open?")
    assert err.startswith(message)
    assert "The gate opens at dawn" in out


def test_a_file_that_is_there_stays(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], built: Pipeline, tmp_path: Path
) -> None:
    file = write(tmp_path, {"mine.md": "mine"}) / "mine.md"
    _, err = talk(monkeypatch, capfd, built, "gate", f":save {file}", ":open 9")
    assert f"error: {file} is there already\nhint: :save ANOTHER_FILE\n" in err
    assert "error: 9 is no source: there are 1 to" in err
    assert file.read_text(encoding="utf-8") == "mine"


def test_a_page_without_an_address_opens_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pipeline = pipeline_of(tmp_path / "index")
    pipeline.build([write(tmp_path / "garden", GARDEN)])
    monkeypatch.setattr("webbrowser.open", lambda place: pytest.fail(f"opened {place}"))
    _, err = talk(monkeypatch, capfd, pipeline, "When does the gate open?", ":open 1")
    assert "error: source [1] has no address on the web: gate.md#gate" in err


def test_without_an_index_nothing_is_asked(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, err = talk(monkeypatch, capfd, pipeline_of(tmp_path / "none"), "When?", status=3)
    assert err.startswith("error: ")


# At a terminal.


class Terminal:
    """The chat as a process at a pseudo-terminal."""

    def __init__(self, built: Pipeline, *options: str, **environment: str) -> None:
        self.master, slave = pty.openpty()
        settings = {"TERM": "xterm", "COLUMNS": "80", "LINES": "24", "PYTHONIOENCODING": "utf-8", **environment}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "clockify_rag", "chat", "--index", str(built.path), *options],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, **settings},
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - only so a process has a terminal that interrupts it
        )
        os.close(slave)
        self.seen = b""

    def until(self, text: str, seconds: float = 60.0) -> str:
        """Read until ``text`` was shown; returns what was shown since the last call."""
        end = time.monotonic() + seconds
        while text.encode() not in self.seen:
            assert time.monotonic() < end, f"{text!r} is not in {self.seen!r}"
            if select.select([self.master], [], [], 0.5)[0]:
                try:
                    self.seen += os.read(self.master, 65536)
                except OSError:
                    break
        assert text.encode() in self.seen, self.seen
        shown, _, self.seen = self.seen.partition(text.encode())
        return (shown + text.encode()).decode()

    def type(self, text: str) -> None:
        # A signal between the prompt and the first look at the keyboard is not seen before the next key.
        time.sleep(0.5 if text < " " else 0.0)
        os.write(self.master, text.encode())

    def close(self) -> int:
        with contextlib.suppress(OSError):
            while select.select([self.master], [], [], 1.0)[0] and os.read(self.master, 65536):
                pass
        status = self.process.wait(60)
        os.close(self.master)
        return status


def _take_terminal() -> None:
    import fcntl
    import signal
    import termios

    # Whoever runs the tests may have it ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.parametrize("environment", [{"TERM": "xterm"}, {"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii"}])
def test_a_terminal(built: Pipeline, environment: dict[str, str]) -> None:
    terminal = Terminal(built, **environment)
    terminal.until("1> ")
    terminal.type("When does the gate open?\n")
    shown = terminal.until("2> ")
    assert "The gate opens at dawn" in shown
    if environment.get("TERM") == "dumb":
        assert "\x1b[" not in shown
    terminal.type("\x03")
    terminal.until("Ctrl-C again")
    terminal.type("Wie öffne ich das Tor?\n")
    shown = terminal.until("3> ")
    assert "refused" in shown or "gate" in shown.lower()
    terminal.type("\x04")
    assert terminal.close() == 0


def test_ctrl_c_twice_leaves(built: Pipeline) -> None:
    terminal = Terminal(built)
    terminal.until("1> ")
    terminal.type("\x03")
    terminal.until("Ctrl-C again")
    terminal.until("1> ")
    terminal.type("\x03")
    assert terminal.close() == 130


LYING = ['The "gate" opens at ', '"half past never', ' of all days" [1]. ', "It opens [", "1].\n"]


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_draft_cannot_pass_for_a_proved_quotation(built: Pipeline, term: str) -> None:
    with fake.serving(fake.ollama_answer(LYING)) as server:
        terminal = Terminal(
            built, "--generator", "ollama", "--model", "m", TERM=term, CLOCKIFY_RAG_GENERATION__URL=server.url
        )
        terminal.until("1> ")
        terminal.type("When does the gate open?\n")
        shown = terminal.until("2> ")
        terminal.type(":exit\n")
        assert terminal.close() == 0
    draft, _, answer = shown.partition("\x1b[1A\x1b[J" if term == "xterm" else "which nothing proves")
    drafted = draft.partition("~ ")[2]
    assert "half past never of all days." in drafted
    assert not set('"[') & set(drafted.replace("\x1b[", ""))
    assert '"half past never' not in answer
    assert "[1] https://garden.example/gate.html" in answer


def test_ctrl_c_stops_an_answer_and_hangs_up(built: Pipeline) -> None:
    lines = fake.chunked(fake.ollama_lines(["The ", "gate ", "opens "]), "application/x-ndjson")
    with fake.serving([*lines[:3], 30.0]) as server:
        terminal = Terminal(built, "--generator", "ollama", "--model", "m", CLOCKIFY_RAG_GENERATION__URL=server.url)
        terminal.until("1> ")
        terminal.type("When does the gate open?\n")
        terminal.until("~ ")
        terminal.type("\x03")
        terminal.until("stopped")
        terminal.until("1> ")
        terminal.type("\x04")
        assert terminal.close() == 0


def test_a_reader_that_goes_away_ends_the_chat(built: Pipeline) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "clockify_rag", "chat", "--index", str(built.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write("When does the gate open?\n" * 50)
        process.stdin.close()
    assert process.wait(60) == 141
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


def test_invalid_bytes_in_a_question_are_replaced(built: Pipeline) -> None:
    for locale in ("C.UTF-8", "C", "de_DE.ISO-8859-1"):
        done = subprocess.run(
            [sys.executable, "-m", "clockify_rag", "chat", "--index", str(built.path)],
            input=b"When does the gate \xff open?\n\xe9\n",
            capture_output=True,
            env={**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert b"The gate opens at dawn" in done.stdout
        assert b"Traceback" not in done.stderr


def test_the_page_lists_what_can_be_typed() -> None:
    text = (Path(__file__).parent.parent / "docs" / "chat.md").read_text(encoding="utf-8")
    for command, _ in chatting.HELP:
        assert f"| `{command}` |" in text
