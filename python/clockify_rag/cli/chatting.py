"""``chat``: questions one after the other, at a terminal or through a pipe.

What a model writes is not proved before it is whole. So its text appears as it comes as a draft: behind a tilde, without quotation
marks and without the numbers of citations, so that nothing in it can pass for a proved quotation. The verified answer then takes
its place; where a terminal cannot move its cursor, or the draft is longer than the screen, it follows instead. A pipe gets answers
only.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clockify_rag.cli import opening, output, tables
from clockify_rag.errors import ClockifyRagError, ConfigError, QueryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clockify_rag.contracts import Answer
    from clockify_rag.conversation import Conversation, Exchange

INTERRUPTED: Final = 130
"""The exit status of a conversation that was interrupted at its prompt twice."""

_DRAFT: Final = "~ "
_ITEM: Final = re.compile(r"\s*(?:[-*]|\d{1,3}[.)])\s+")
_LIKE_PROOF: Final = re.compile('["\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d]|\\s*\\[\\d[\\d,; ]*\\]')

HELP: Final = (
    (":help", "this list"),
    (":sources [N]", "the quotations of the last answer, or of answer N"),
    (":open N", "open the source [N] of the last answer in a browser"),
    (":why", "why the hits of the last question stand where they stand"),
    (":why-not DOCUMENT", "where that page was lost on the way into the last answer"),
    (":debug", "show the trace and the timings of each answer, or no longer"),
    (":filter [FIELD=VALUE ...]", "search only there; :filter off lifts it, :filter shows it"),
    (":settings", "what answers, from which index"),
    (":reset", "let the next question follow from nothing"),
    (":save FILE", "write the conversation, as Markdown, or as JSON where FILE ends in .json"),
    (":exit", "leave; so does Ctrl-D. Ctrl-C stops an answer"),
)
"""What can be typed beside questions."""


def chat(
    *,
    index: str | None,
    top_k: int | None,
    filters: Sequence[str],
    lexical: bool,
    generator: str | None,
    model: str | None,
    no_cache: bool,
) -> int:
    """Answer questions from standard input until its end, and return the exit status."""
    from clockify_rag.conversation import Conversation

    wanted = opening.parse_filters(filters)
    configuration = opening.load(
        ("index.path", "--index", index),
        ("retrieval.top_k", "--top-k", top_k),
        ("retrieval.lexical", "--lexical", lexical or None),
        ("generation.generator", "--generator", generator),
        ("generation.model", "--model", model),
        ("cache.enabled", "--no-cache", False if no_cache else None),
    )
    pipeline = opening.pipeline(configuration)
    # An index that cannot be opened is told of before anything can be typed.
    pipeline.index  # noqa: B018 - opened by being named
    return _Chat(Conversation(pipeline, filters=wanted)).run()


class _Chat:
    """One conversation at a terminal."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.printer = output.Printer()
        self.debug = False
        self.is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        self.commands: Mapping[str, Callable[[str], None]] = {
            "help": self._help,
            "sources": self._sources,
            "open": self._open,
            "why": self._why,
            "why-not": self._why_not,
            "debug": self._debug,
            "filter": self._filter,
            "settings": self._settings,
            "reset": self._reset,
            "save": self._save,
        }

    def run(self) -> int:
        """Read lines until the end."""
        with contextlib.suppress(AttributeError, ValueError):
            sys.stdin.reconfigure(errors="replace")  # type: ignore[union-attr]
        if self.is_terminal:
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401 - input then lets a line be edited
            info = self.conversation.pipeline.index
            self.printer.line(f"{info.snapshot.documents:,} pages. Ask, or type :help; Ctrl-D leaves.")
        interrupted = False
        while True:
            try:
                line = self._read()
                if line is None or line in {":exit", ":quit"}:
                    return 0
                interrupted = False
                self._handle(line)
                sys.stdout.flush()
            except KeyboardInterrupt:
                if not self.is_terminal or interrupted:
                    return INTERRUPTED
                interrupted = True
                self.printer.line()
                output.note("Ctrl-C again, Ctrl-D or :exit leaves")

    def _read(self) -> str | None:
        """The next line that says something; ``None`` at the end."""
        while True:
            prompt = f"{len(self.conversation.exchanges) + 1}> "
            if self.is_terminal:
                try:
                    line = input(prompt)
                except EOFError:
                    self.printer.line()
                    return None
            else:
                line = sys.stdin.readline()
                if not line:
                    return None
            text = opening.typed(line).strip()
            if text:
                return text

    def _handle(self, line: str) -> None:
        try:
            if not line.startswith(":"):
                self._ask(line)
                return
            name, _, argument = line[1:].partition(" ")
            command = self.commands.get(name)
            if command is None:
                near = opening.nearest(name, {known: known for known in self.commands})
                hint = f":{near}" if near else ":help"
                raise ConfigError(f"there is no command :{name}", hint=hint)
            command(argument.strip())
        except ClockifyRagError as error:
            output.note(f"error: {error.message}")
            if error.hint:
                output.note(f"hint: {error.hint}")

    # Questions.

    def _ask(self, question: str) -> None:
        self.conversation.pipeline.refresh()
        draft = _Draft() if self.is_terminal else None
        try:
            exchange = self._asked(question, draft)
        except KeyboardInterrupt:
            output.note("stopped")
            if not self.is_terminal:
                raise
            return
        self._print(exchange)

    def _asked(self, question: str, draft: _Draft | None) -> Exchange:
        try:
            return self.conversation.ask(question, written=None if draft is None else draft.add)
        finally:
            if draft is not None:
                draft.end()
            sys.stdout.flush()

    def _print(self, exchange: Exchange) -> None:
        answer, printer = exchange.answer, self.printer
        if exchange.follows is not None:
            line = f"(follows question {exchange.follows}; searched: {exchange.searched})"
            for part in tables.wrapped(line, indent=0):
                printer.line(part, "dim")
        if answer.answer:
            for line in answer.answer.splitlines():
                indent = len(line) - len(line.lstrip())
                item = _ITEM.match(line)
                for part in tables.wrapped(line, indent=indent, hanging=indent if item is None else item.end()):
                    printer.line(part)
        elif answer.hits:
            output.print_hits(printer, answer.hits)
        if answer.citations:
            printer.line()
        for citation in answer.citations:
            printer.line(f"[{citation.marker}] {output.one_line(output.citation_place(citation))}", "cyan")
        self._note(answer)
        if self.debug:
            self._print_trace(answer)
        printer.line()

    @staticmethod
    def _note(answer: Answer) -> None:
        """Say on standard error what is to be known of an answer."""
        if answer.failure is not None:
            output.note(f"error: {answer.failure.message}")
            if answer.failure.hint:
                output.note(f"hint: {answer.failure.hint}")
        output.note_degraded(answer.degraded)
        output.note_unproved(answer)
        if answer.incomplete:
            output.note("the answer is incomplete: it broke off")
        if answer.refused:
            output.note(f"refused: {answer.reason}; :why tells more")
        if answer.sent_to:
            output.note(f"the question was sent to {', '.join(answer.sent_to)}")

    def _print_trace(self, answer: Answer) -> None:
        self.printer.line()
        for step in answer.trace:
            details = ", ".join(f"{name} {output.scalar(value)}" for name, value in step.details.items())
            for line in tables.wrapped(f"{step.stage}: {step.name}{'; ' if details else ''}{details}", hanging=4):
                self.printer.line(line, "dim")
        timings = ", ".join(f"{name} {value:.3f}" for name, value in answer.timings_ms.items())
        for line in tables.wrapped(f"ms: {timings}", hanging=4):
            self.printer.line(line, "dim")

    def _last(self) -> Exchange:
        exchanges = self.conversation.exchanges
        if not exchanges:
            raise QueryError("nothing was asked yet", hint="ask something first")
        return exchanges[-1]

    # Commands.

    def _help(self, argument: str) -> None:
        del argument
        columns = [tables.Column("", "left"), tables.Column("", "left", stretches=True)]
        for line in tables.table(columns, HELP):
            self.printer.line(line)

    def _sources(self, argument: str) -> None:
        exchange = self._last()
        if argument:
            exchange = self._numbered(argument, self.conversation.exchanges, "answer")
        if not exchange.answer.citations:
            output.note("that answer has no sources")
        for citation in exchange.answer.citations:
            self.printer.line(f"[{citation.marker}] {output.one_line(output.citation_place(citation))}", "cyan")
            for line in tables.wrapped(f'"{output.one_line(citation.quote)}"', indent=4):
                self.printer.line(line)

    def _open(self, argument: str) -> None:
        citation = self._numbered(argument, self._last().answer.citations, "source")
        place = output.citation_place(citation)
        if not (citation.url or "").startswith(("https://", "http://")):
            raise QueryError(
                f"source [{argument}] has no address on the web: {place}",
                hint="build with --base-url, if the pages are published",
            )
        import webbrowser

        if not webbrowser.open(place):
            output.note(f"there is no browser here; the address is {place}")
            return
        self.printer.line(f"opened {output.one_line(place)}")

    @staticmethod
    def _numbered(argument: str, items: Sequence[Any], name: str) -> Any:
        """The item of a number that was typed, from 1."""
        number = int(argument) if argument.isdecimal() else 0
        if not 1 <= number <= len(items):
            there = f"there are 1 to {len(items)}" if items else f"there is no {name}"
            raise QueryError(f"{argument or 'no number'} is no {name}: {there}", hint=":sources lists them")
        return items[number - 1]

    def _why(self, argument: str) -> None:
        del argument
        from clockify_rag.cli.explaining import print_explanation
        from clockify_rag.explaining import explain

        conversation, exchange = self.conversation, self._last()
        question = exchange.searched or exchange.answer.question
        explanation = explain(conversation.pipeline, question, top_k=conversation.top_k, filters=conversation.filters)
        print_explanation(self.printer, explanation)

    def _why_not(self, argument: str) -> None:
        from clockify_rag.cli.explaining import print_why_not
        from clockify_rag.explaining import why_not

        if not argument:
            raise QueryError(":why-not needs a page", hint=":why-not DOCUMENT")
        conversation, exchange = self.conversation, self._last()
        found = why_not(
            conversation.pipeline,
            exchange.searched or exchange.answer.question,
            argument,
            top_k=conversation.top_k,
            filters=conversation.filters,
            answer=exchange.answer,
        )
        print_why_not(self.printer, found)

    def _debug(self, argument: str) -> None:
        self.debug = argument != "off" and not self.debug
        output.note(f"debug is {'on' if self.debug else 'off'}")

    def _filter(self, argument: str) -> None:
        if argument == "off":
            self.conversation.filters = None
        elif argument:
            wanted = opening.parse_filters(argument.split(), option=":filter")
            from clockify_rag.cli.asking import tell_unknown

            if wanted:
                tell_unknown(self.conversation.pipeline.index, wanted, ":filter {field}={value}")
            self.conversation.filters = wanted
        filters = self.conversation.filters or {}
        shown = ", ".join(f"{field}={' or '.join(values)}" for field, values in filters.items())
        output.note(f"only {shown}" if shown else "no filter")

    def _settings(self, argument: str) -> None:
        del argument
        pipeline = self.conversation.pipeline
        settings, counts = pipeline.settings, pipeline.answers.counts
        rate = "-" if counts.hit_rate is None else f"{counts.hit_rate:.0%}"
        rows = [
            ["index", f"{pipeline.path}, generation {pipeline.index.generation}"],
            ["generator", " ".join(filter(None, (settings.generation.generator, settings.generation.model)))],
            ["embedder", pipeline.embedding.embedder or "static"],
            ["reranker", settings.reranking.reranker],
            ["top_k", str(self.conversation.top_k or settings.retrieval.top_k)],
            ["history", f"{len(self.conversation.history)} of {self.conversation.turns} turns"],
            ["answers given again", f"{counts.hits} of {counts.lookups} ({rate})" if settings.cache.enabled else "off"],
        ]
        columns = [tables.Column("", "left"), tables.Column("", "left", stretches=True)]
        for line in tables.table(columns, rows):
            self.printer.line(line)

    def _reset(self, argument: str) -> None:
        del argument
        self.conversation.reset()
        output.note("the next question follows from nothing")

    def _save(self, argument: str) -> None:
        output.check_file(":save", argument)
        file = Path(argument)
        exchanges = self.conversation.exchanges
        if file.suffix == ".json":
            fields = [{**output.answer_fields(one.answer), "follows": one.follows} for one in exchanges]
            text = output.json_line({"answers": fields})
        else:
            text = _markdown(exchanges)
        try:
            with file.open("x", encoding="utf-8") as opened:
                opened.write(text)
        except FileExistsError:
            raise ConfigError(f"{file} is there already", hint=":save ANOTHER_FILE") from None
        except OSError as error:
            raise ConfigError(f"{file} cannot be written: {error.strerror}", hint=":save ANOTHER_FILE") from error
        output.note(f"wrote {len(exchanges)} answers to {file}")


class _Draft:
    """Text as a model writes it, shown so that it cannot pass for what is proved, and taken back where that can be done."""

    def __init__(self) -> None:
        import os

        self.can_erase = os.environ.get("TERM", "dumb") not in {"dumb", "unknown", ""}
        self.rows = 0
        self._column = 0
        self._waiting = ""

    def add(self, piece: str) -> None:
        """Show what is whole of the text so far: words, because a quotation mark or an escape sequence may come in pieces."""
        self._waiting += piece
        cut = max(self._waiting.rfind(" "), self._waiting.rfind("\n"))
        if cut >= 0:
            self._write(self._waiting[: cut + 1])
            self._waiting = self._waiting[cut + 1 :]

    def _write(self, text: str) -> None:
        text = _LIKE_PROOF.sub("", output.clean(text))
        width = tables.width() - 1
        for word in re.findall(r"\n|[^\s]+", text):
            if word == "\n":
                self._new_line()
                continue
            if self._column + 1 + tables.cells(word) > width and self._column > len(_DRAFT):
                self._new_line()
            if self._column == 0:
                self._put(_DRAFT)
            self._put(word if self._column == len(_DRAFT) else f" {word}")
        sys.stdout.flush()

    def _put(self, text: str) -> None:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        self._column += tables.cells(text)

    def _new_line(self) -> None:
        if self._column:
            # A word that is longer than a line takes several.
            self.rows += 1 + max(self._column - 1, 0) // max(tables.width(), 1)
            sys.stdout.write("\n")
            self._column = 0

    def end(self) -> None:
        """Take the draft back, or say that it was one."""
        self._write(self._waiting)
        self._waiting = ""
        self._new_line()
        if not self.rows:
            return
        if self.can_erase and self.rows < shutil.get_terminal_size((80, 24)).lines:
            sys.stdout.write(f"\x1b[{self.rows}A\x1b[J")
        else:
            sys.stdout.write("The lines with ~ were a draft, which nothing proves. The answer:\n")
        sys.stdout.flush()
        self.rows = 0


def _markdown(exchanges: Sequence[Exchange]) -> str:
    parts = []
    for exchange in exchanges:
        answer = exchange.answer
        sources = [
            f"[{one.marker}] {output.one_line(output.citation_place(one))}\n\n> {output.one_line(one.quote)}"
            for one in answer.citations
        ]
        parts.append(
            "\n\n".join(
                [f"## {exchange.number}. {output.one_line(answer.question)}", output.clean(answer.answer), *sources]
            )
        )
    return "\n\n".join(parts) + "\n"
