"""``faq build``: answers that are made beforehand."""

from __future__ import annotations

from pathlib import Path

import msgspec

from clockify_rag.cli import opening, output
from clockify_rag.errors import BackendError, ConfigError


class _Asked(msgspec.Struct):
    question: str


def build(questions: str, *, index: str | None, as_json: bool) -> int:
    """Answer the questions of a file and store the answers; returns the exit status."""
    asked = _read(Path(questions))
    pipeline = opening.pipeline(opening.load(("index.path", "--index", index)))
    with output.progress_bar() as progress:
        prepared = pipeline.prepare_answers(asked, progress=progress)
    if as_json:
        output.print_json(msgspec.structs.asdict(prepared))
    else:
        printer = output.Printer()
        refused = f", of which {prepared.refused:,} refuse" if prepared.refused else ""
        printer.line(f"{prepared.answers:,} answers{refused}, for generation {prepared.generation}")
    for question, failure in prepared.failed.items():
        output.note(f"error: {question}: {failure.message}")
    return BackendError.exit_code if prepared.failed else 0


def _read(file: Path) -> list[str]:
    """The questions of a file: a line each, or JSON that has one."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{file} cannot be read: {reason}", hint="a file with a question on each line") from error
    questions = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text.startswith("{"):
            try:
                text = msgspec.json.decode(text, type=_Asked).question
            except msgspec.MsgspecError as error:
                raise ConfigError(
                    f"{file}: line {number} is no question: {error}", hint='{"question": "..."}'
                ) from error
        if text and not text.startswith("#"):
            questions.append(text)
    if not questions:
        raise ConfigError(f"{file} has no question", hint="a file with a question on each line")
    return questions
