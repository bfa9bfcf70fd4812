"""What commands print: JSON for programs, plain lines for people, and styles where the output is a terminal.

Text of pages and models is untrusted: escape sequences and control codes never reach a terminal, and nothing in it is taken for
markup. Lines are never wrapped here; a terminal does that itself.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from clockify_rag.contracts import Answer, Citation, Document, Duplicate, Failure, Hit, Part, SearchResult, Table
from clockify_rag.errors import ConfigError

SCHEMA: Final = 1
"""The version of the JSON that commands print. Fields are added, never renamed."""

_ESCAPES: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # control sequences: colours, movements
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # strings: links, titles, the clipboard
    r"|\x1b[ -/]*[0-~]?"  # two-character sequences
)
_CONTROLS: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)
_UNSAFE_IN_JSON: Final = re.compile(r"[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Return ``text`` without escape sequences, control codes and marks that turn the direction of writing."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


def flat(text: str) -> str:
    """Return ``text`` cleaned, with its ends of lines as spaces, so that what names a file cannot begin a line of its own."""
    return " ".join(clean(text).splitlines())


def one_line(text: str) -> str:
    """Return ``text`` cleaned, on one line."""
    return " ".join(clean(text).split())


def scalar(value: Any) -> str:
    """Return a value of a record as people read it, on one line."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(scalar(item) for item in value)
    return "-" if value is None else one_line(str(value))


def json_line(value: Mapping[str, Any]) -> str:
    """Return ``value`` after the schema's version as one line of JSON."""
    text = msgspec.json.encode({"schema": SCHEMA, **value}).decode()
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


def check_file(option: str, file: str) -> None:
    """Refuse a file of an option that could not be written, before any work; raises ``ConfigError``."""
    if not file:
        raise ConfigError(f"{option} names no file", hint=f"{option} FILE")
    folder = Path(file).absolute().parent
    if not folder.is_dir():
        raise ConfigError(f"{option} {file} cannot be written: there is no folder {folder}", hint=f"mkdir -p {folder}")
    if Path(file).is_dir():
        raise ConfigError(f"{option} {file} cannot be written: it is a folder", hint=f"{option} FILE")


def print_json(value: Mapping[str, Any]) -> None:
    """Print ``value`` after the schema's version as one line of JSON in UTF-8."""
    print_text(json_line(value))


def print_text(text: str) -> None:
    """Print a file as it would be written, in UTF-8 whatever the terminal's encoding."""
    sys.stdout.flush()
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:
        sys.stdout.write(text)
    else:
        buffer.write(text.encode())
        buffer.flush()


class Printer:
    """Prints lines for people to standard output."""

    def __init__(self) -> None:
        self._console: Any = None
        if sys.stdout.isatty():
            from rich.console import Console

            self._console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line of text that may come from anywhere, in a style of rich where the output is a terminal."""
        encoding = sys.stdout.encoding or "utf-8"
        text = flat(text).encode(encoding, "backslashreplace").decode(encoding)
        if self._console is not None:
            from rich.text import Text

            self._console.print(Text(text, style=style))
        else:
            sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Write a line to standard error."""
    encoding = sys.stderr.encoding or "utf-8"
    print(flat(text).encode(encoding, "backslashreplace").decode(encoding), file=sys.stderr)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int | None], None] | None]:
    """Give a callback that draws progress on standard error, or ``None`` where that is no terminal.

    The callback takes the stage, how many are done, and of how many, if that is known.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        tasks: dict[str, Any] = {}

        def update(stage: str, done: int, total: int | None) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(tasks[stage], completed=done, total=total)

        yield update


def place(document: Document, anchor: str | None) -> str:
    """Return where a reader finds a section: its address, or its path where the page has no address."""
    return (document.url or document.path) + (f"#{anchor}" if anchor else "")


def citation_place(citation: Citation | Duplicate) -> str:
    """Return where a reader finds a citation, or another place where the same is said."""
    return (citation.url or citation.path) + (f"#{citation.anchor}" if citation.anchor else "")


def hit_fields(hit: Hit) -> dict[str, Any]:
    """Return a hit as the command line's contract names its fields."""
    return {
        "rank": hit.rank,
        "score": hit.score,
        "chunk_id": hit.chunk.id,
        "document_id": hit.document.id,
        "source": hit.document.source,
        "path": hit.document.path,
        "url": hit.document.url,
        "anchor": hit.chunk.anchor,
        "title": hit.document.title,
        "heading_path": hit.chunk.heading_path,
        "kind": hit.chunk.kind,
        "language": hit.document.language,
        "stale": hit.document.stale,
        "text": hit.chunk.text,
        "spans": hit.chunk.spans,
        "parts": [part_fields(part) for part in hit.chunk.parts],
        "scores": hit.scores,
        "duplicates": hit.duplicates,
    }


def part_fields(part: Part) -> dict[str, Any]:
    """Return what a chunk is about or holds as the command line's contract names its fields; a table also in Markdown."""
    fields = {name: getattr(part, name) for name in part.__struct_fields__}
    if isinstance(part, Table):
        fields["markdown"] = part.markdown()
    return {"type": part.__struct_config__.tag, **fields}


def document_fields(document: Document) -> dict[str, Any]:
    """Return a page as the command line's contract names its fields."""
    fields = {name: getattr(document, name) for name in document.__struct_fields__ if name not in ("id", "file")}
    return {"document_id": document.id, **fields}


def search_fields(result: SearchResult) -> dict[str, Any]:
    """Return a ranking as the command line's contract names its fields."""
    return {
        "question": result.question,
        "generation": result.generation,
        "hits": [hit_fields(hit) for hit in result.hits],
        "evidence": result.evidence,
        "confidence": result.confidence,
        "threshold": result.threshold,
        "calibration": result.calibration,
        "lexical_only": result.lexical_only,
        "degraded": result.degraded,
        "sent_to": result.sent_to,
        "steps": result.steps,
        "timings_ms": result.timings_ms,
    }


def answer_fields(answer: Answer) -> dict[str, Any]:
    """Return an answer as the command line's contract names its fields."""
    return {
        "question": answer.question,
        "answer": answer.answer,
        "refused": answer.refused,
        "reason": answer.reason,
        "confidence": answer.confidence,
        "calibration": answer.calibration,
        "citations": answer.citations,
        "hits": [hit_fields(hit) for hit in answer.hits],
        "generation": answer.generation,
        "generator": answer.generator,
        "failure": answer.failure,
        "quotations": answer.quotations,
        "claims": answer.claims,
        "groundedness": answer.groundedness,
        "risk": answer.risk,
        "addresses_removed": answer.addresses_removed,
        "incomplete": answer.incomplete,
        "degraded": answer.degraded,
        "searched": answer.searched,
        "nearest": answer.nearest,
        "trace": answer.trace,
        "sent_to": answer.sent_to,
        "timings_ms": answer.timings_ms,
    }


def note_degraded(failures: Sequence[Failure]) -> None:
    """Warn on standard error of what failed and was done without."""
    for failure in failures:
        note(f"warning: {failure.message}; that part was done without")
        if failure.hint:
            note(f"hint: {failure.hint}")


def note_unproved(answer: Answer) -> None:
    """Say on standard error what of a model's text was not found in the sources."""
    for quotation in answer.quotations:
        if quotation.verdict in ("altered", "fabricated"):
            where = "in no source as it stands" if quotation.verdict == "altered" else "in no source"
            note(f"not a quotation, it is {where}: {one_line(quotation.text)}")
    unsaid = [claim for claim in answer.claims if claim.supported is False]
    told = [claim for claim in unsaid if claim.marked or claim.span is None]
    for claim in told:
        cut = "cut, because it is " if claim.span is None else ""
        note(f"{cut}not in the sources: {one_line(claim.text)} ({'; '.join(claim.problems)})")
    if free := len(unsaid) - len(told):
        note(
            f"sentences in words that their sources do not have: {free} of {len(answer.claims)}; compare them yourself"
        )
    if answer.addresses_removed:
        note(f"addresses removed because they are in no source: {answer.addresses_removed}")


def print_hits(printer: Printer, hits: Sequence[Hit]) -> None:
    """Print a ranking: for each hit its place, its headings and the beginning of its text."""
    for hit in hits:
        headings = [
            hit.document.title,
            *(heading for heading in hit.chunk.heading_path if heading != hit.document.title),
        ]
        printer.line(f"{hit.rank:>2}. {' > '.join(map(one_line, headings))}  ({hit.score:.3f})", "bold")
        printer.line(f"    {one_line(place(hit.document, hit.chunk.anchor))}", "cyan")
        printer.line(f"    {_beginning(hit.chunk.text)}")
        for other in hit.duplicates:
            printer.line(f"    the same: {one_line(citation_place(other))}", "cyan")


def _beginning(text: str, characters: int = 240) -> str:
    text = one_line(text)
    if len(text) <= characters:
        return text
    return text[:characters].rsplit(" ", 1)[0] + " ..."
