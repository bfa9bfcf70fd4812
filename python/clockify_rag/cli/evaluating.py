"""``eval``: what was measured as tables for people, Markdown, JSON and a picture.

Everything that can be refused before the first search is refused then: a file that cannot be written, a metric that does not
exist. The tables of the terminal and of Markdown are the same ones, laid out twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from clockify_rag.cli import opening, output
from clockify_rag.errors import ConfigError

if TYPE_CHECKING:
    from clockify_rag.evaluation import Comparison, Evaluation, LevelFigures
    from clockify_rag.labelling import LabelledQuestions
    from clockify_rag.metrics import Difference, Figure

BELOW: Final = 8
"""The exit status of a figure below ``--fail-under``."""

NAMES: Final = {"document": "documents", "section": "sections"}
"""Levels as they head a column."""

UNMEASURED: Final = ("sources", "loading", "chunking", "packing", "generation", "verification", "calibration")
"""Tables of settings that change no ranking of an index that is there."""

CHANGED_AT_MOST: Final = 20
"""Questions that a comparison shows unless all are asked for."""


class Outputs(msgspec.Struct, frozen=True, kw_only=True):
    """Where results go besides the terminal."""

    json: str | None = None
    markdown: str | None = None
    plot: str | None = None
    per_question: bool = False

    def check(self) -> None:
        """Refuse what could not be written, before any work; raises ``ConfigError``."""
        if self.json == "-" and self.markdown == "-":
            raise ConfigError("--json - and --markdown - cannot both be printed", hint="give one of them a file")
        if self.plot is not None and not self.plot.lower().endswith(".svg"):
            raise ConfigError(
                f"--plot {self.plot} is no SVG file, the one kind of picture that is drawn",
                hint=f"--plot {Path(self.plot).with_suffix('.svg') if self.plot else 'figures.svg'}",
            )
        for option, file in (("--json", self.json), ("--markdown", self.markdown), ("--plot", self.plot)):
            if file is not None and file != "-":
                output.check_file(option, file)


class Table(msgspec.Struct, frozen=True):
    """A table as rows of text; the first column is what the row is about."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def evaluate(
    files: Mapping[str, str | None],
    *,
    index: str | None,
    metrics: Sequence[str],
    top_k: int | None,
    lexical: bool,
    changes: Sequence[str],
    ablation: bool,
    allow_missing: bool,
    fail_under: Sequence[str],
    outputs: Outputs,
) -> int:
    """Measure, print, write, and return the exit status; ``files`` is what ``read_questions`` takes."""
    outputs.check()
    from clockify_rag import evaluation
    from clockify_rag.labelling import read_questions

    limits = [_limit(text) for text in fail_under]
    configuration = opening.load(
        *map(_setting, changes), ("index.path", "--index", index), ("retrieval.lexical", "--lexical", lexical or None)
    )
    labelled = read_questions(**files)
    _check_sections(limits, labelled)
    with output.progress_bar() as progress:
        result = evaluation.evaluate(
            opening.pipeline(configuration),
            labelled,
            metrics=(*(metrics or evaluation.DEFAULT_METRICS), *(name for _, name, _ in limits)),
            top_k=top_k,
            ablation=ablation,
            allow_missing=allow_missing,
            progress=progress,
        )
    _write(
        outputs,
        msgspec.structs.asdict(result),
        _summary(result),
        list(_tables(result, per_question=outputs.per_question)),
        lambda: _picture(result),
    )
    if result.questions.missing:
        output.note(
            f"warning: labels that the index has nothing for, counted as not found: {len(result.questions.missing):,}"
        )
    if result.searched.by_words and result.searched.embedder is not None and not lexical:
        output.note(f"searched by words only: {result.searched.by_words:,} of {result.questions.measured:,} questions")
    return _judged(result, limits)


def compare(files: tuple[str, str], *, outputs: Outputs, others: bool) -> None:
    """Compare two evaluations, print and write."""
    if others:
        raise ConfigError(
            "--compare takes two files and measures nothing", hint=f"clockify-rag eval --compare {' '.join(files)}"
        )
    outputs.check()
    from clockify_rag import evaluation

    before, after = map(evaluation.read_evaluation, files)
    result = evaluation.compare(before, after, names=files)
    summary = f"{result.after} against {result.before}: {result.measured:,} questions of {result.questions}"
    tables = list(_comparison_tables(result, per_question=outputs.per_question))
    _write(outputs, msgspec.structs.asdict(result), summary, tables, lambda: _comparison_picture(result))


def _setting(text: str) -> tuple[str, str, Any]:
    name, equals, value = text.partition("=")
    if not equals or "." not in name:
        raise ConfigError(f"--set {text} is not NAME=VALUE", hint="for example --set retrieval.k1=0.9")
    if name.partition(".")[0] in UNMEASURED:
        raise ConfigError(
            f"--set {text} changes no ranking: it is about what is built or what is answered",
            hint="clockify-rag init writes a file to set it in; build another index with it, and name that by --index",
        )
    try:
        return name, f"--set {name}", msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return name, f"--set {name}", value


def _limit(text: str) -> tuple[str, str, float]:
    """Return the level, the metric and the least value of ``--fail-under``."""
    from clockify_rag.metrics import metric

    name, _, value = text.rpartition("=")
    level, colon, typed = name.rpartition(":")
    try:
        least = float(value)
    except ValueError:
        least = -1.0
    if not name or not 0 <= least <= 1 or (colon and level not in NAMES):
        raise ConfigError(
            f"--fail-under {text} is not NAME@K=VALUE with a value from 0 to 1",
            hint="for example --fail-under ndcg@10=0.8",
        )
    return level or "document", str(metric(typed)), least


def _check_sections(limits: Sequence[tuple[str, str, float]], labelled: LabelledQuestions) -> None:
    """Refuse a limit of sections where no label names one."""
    labels = (label for question in labelled.judged for label in question.labels)
    if any(label.anchor is not None or label.heading is not None for label in labels):
        return
    for level, name, least in limits:
        if level == "section":
            raise ConfigError(
                f"--fail-under {level}:{name}: no label names a section", hint=f"--fail-under {name}={least}"
            )


def _judged(result: Evaluation, limits: Sequence[tuple[str, str, float]]) -> int:
    status = 0
    for level, name, least in limits:
        mean = result.levels[level].metrics[name].mean
        if mean < least:
            output.note(f"error: {name} of {NAMES[level]} is {mean:.4f}, below {least:g}")
            status = BELOW
    return status


def _write(outputs: Outputs, fields: Mapping[str, Any], summary: str, tables: Sequence[Table], picture: Any) -> None:
    if outputs.json == "-":
        output.print_json(fields)
    elif outputs.markdown == "-":
        output.print_text(_markdown(summary, tables))
    else:
        _print(output.Printer(), summary, tables)
    if outputs.json not in (None, "-"):
        _save("--json", str(outputs.json), output.json_line(fields))
    if outputs.markdown not in (None, "-"):
        _save("--markdown", str(outputs.markdown), _markdown(summary, tables))
    if outputs.plot is not None:
        _save("--plot", outputs.plot, picture())


def _save(option: str, file: str, text: str) -> None:
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{option} {file} cannot be written: {error.strerror}", hint="check the path") from error


# Tables.


def _summary(result: Evaluation) -> str:
    questions, searched = result.questions, result.searched
    left_out = [
        f"{count:,} {what}"
        for count, what in ((questions.unanswerable, "unanswerable"), (questions.unlabelled, "without labels"))
        if count
    ]
    split = f", split {questions.split}" if questions.split else ""
    return (
        f"{questions.measured:,} questions of {questions.name}{split}"
        + (f" ({' and '.join(left_out)} left out)" if left_out else "")
        + f"; generation {searched.generation} of {searched.path}: {searched.documents:,} documents, "
        f"{searched.chunks:,} chunks; {searched.top_k:,} hits each"
    )


def _tables(result: Evaluation, *, per_question: bool) -> Iterator[Table]:
    levels, first = result.levels, _first(result.levels)
    yield Table(
        "",
        ["metric", *(f"{NAMES[level]} ({figures.questions:,})" for level, figures in levels.items())],
        [
            [name, *(_interval(figures.metrics[name]) for figures in levels.values())]
            for name in levels["document"].metrics
        ],
    )
    for field, groups in result.groups.items():
        yield Table(
            f"{first} by {field}",
            [field, *(cell for level in levels for cell in ("questions", NAMES[level]))],
            [[name, *_group_cells(group, levels, first)] for name, group in groups.items()],
        )
    if result.ablation:
        yield Table(
            f"{first} of other rankings, and what the configured one gains",
            ["ranking", *(cell for level in levels for cell in (NAMES[level], "gain", "p"))],
            [
                [
                    variant.name if variant.stage else f"with {variant.name}",
                    *(
                        cell
                        for level in levels
                        for cell in (
                            _interval(variant.levels[level].metrics[first]),
                            *_gain(variant.gains[level][first], same=not variant.changes),
                        )
                    ),
                ]
                for variant in result.ablation
            ],
        )
    if per_question:
        yield Table(
            "questions",
            ["id", *(f"{cell} of {NAMES[level]}" for level in levels for cell in ("rank", first)), "question"],
            [
                [
                    row.id,
                    *(
                        cell
                        for level in levels
                        for cell in (
                            (str(row.ranks[level] or "-"), f"{row.levels[level][first]:.3f}")
                            if level in row.levels
                            else ("", "")
                        )
                    ),
                    row.question,
                ]
                for row in result.per_question
            ],
        )


def _comparison_tables(result: Comparison, *, per_question: bool) -> Iterator[Table]:
    for level, metrics in result.levels.items():
        yield Table(
            NAMES[level],
            ["metric", "before", "after", "difference", "p", "better", "worse", "equal"],
            [
                [
                    name,
                    f"{one.before:.3f}",
                    f"{one.after:.3f}",
                    *_gain(one.difference),
                    *(f"{count:,}" for count in (one.difference.better, one.difference.worse, one.difference.equal)),
                ]
                for name, one in metrics.items()
            ],
        )
    if differing := {**result.searched, **result.settings}:
        yield Table(
            "what differs",
            ["", "before", "after"],
            [[key, _value(old), _value(new)] for key, (old, new) in differing.items()],
        )
    if result.per_question:
        first = next(iter(result.levels["document"]))
        rows = result.per_question
        shown = rows if per_question else sorted(rows, key=lambda row: -abs(row[3] - row[2]))[:CHANGED_AT_MOST]
        yield Table(
            f"questions that changed most, {first} of documents"
            if len(shown) < len(rows)
            else f"questions that changed, {first} of documents",
            ["id", "before", "after", "question"],
            [[name, f"{old:.3f}", f"{new:.3f}", question] for name, question, old, new in shown],
        )


def _first(levels: Mapping[str, LevelFigures]) -> str:
    return next(iter(levels["document"].metrics))


def _group_cells(group: Mapping[str, LevelFigures], levels: Mapping[str, Any], name: str) -> Iterator[str]:
    for level in levels:
        figures = group.get(level)
        yield "0" if figures is None else f"{figures.questions:,}"
        yield "" if figures is None else _interval(figures.metrics[name])


def _interval(figure: Figure) -> str:
    return f"{figure.mean:.3f} [{figure.low:.3f}, {figure.high:.3f}]"


def _gain(difference: Difference, *, same: bool = False) -> tuple[str, str]:
    if same:
        return "", ""
    return f"{difference.mean:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]", f"{difference.p:.4f}"


def _value(value: Any) -> str:
    return "-" if value is None else msgspec.json.encode(value).decode()


def _print(printer: output.Printer, summary: str, tables: Sequence[Table]) -> None:
    printer.line(summary, "bold")
    for table in tables:
        printer.line()
        if table.title:
            printer.line(table.title, "bold")
        rows = [list(map(output.one_line, row)) for row in (table.head, *table.rows)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(table.head))]
        for number, row in enumerate(rows):
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            printer.line("  ".join(cells).rstrip(), "" if number else "cyan")


def _markdown(summary: str, tables: Sequence[Table]) -> str:
    lines = [_markdown_cell(summary)]
    for table in tables:
        lines += ["", f"## {table.title}"] if table.title else []
        lines += ["", _markdown_row(table.head), "|" + "---|" * len(table.head), *map(_markdown_row, table.rows)]
    return "\n".join(lines) + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_markdown_cell, cells))} |"


def _markdown_cell(text: str) -> str:
    """Return text that cannot end its cell or become markup."""
    text = output.one_line(text).replace("\\", "\\\\")
    for character in "|*_`<[":
        text = text.replace(character, f"\\{character}")
    return text


# Pictures.


def _picture(result: Evaluation) -> str:
    from clockify_rag.cli import drawing

    first, levels = _first(result.levels), list(result.levels)
    panels = [
        drawing.Panel(
            title="",
            rows=[
                drawing.Row(name, [_mark(result.levels[level].metrics[name]) for level in levels])
                for name in result.levels["document"].metrics
            ],
        )
    ]
    for stage, title in ((True, f"{first} stage by stage"), (False, f"{first} with an option taken away")):
        if rows := [
            drawing.Row(variant.name, [_mark(variant.levels[level].metrics[first]) for level in levels])
            for variant in result.ablation
            if variant.stage is stage
        ]:
            panels.append(drawing.Panel(title=title, rows=rows))
    for field, groups in result.groups.items():
        rows = [
            drawing.Row(
                f"{name} ({group['document'].questions:,})",
                [_mark(group[level].metrics[first]) if level in group else None for level in levels],
            )
            for name, group in groups.items()
        ]
        panels.append(drawing.Panel(title=f"{first} by {field}", rows=rows))
    title = f"{result.questions.measured:,} questions of {os.path.basename(result.questions.name.rstrip('/'))}"  # noqa: PTH119 - a name
    return drawing.dot_plot(title, "mean and 95 % interval over questions", [NAMES[level] for level in levels], panels)


def _comparison_picture(result: Comparison) -> str:
    from clockify_rag.cli import drawing

    levels = list(result.levels)
    names = dict.fromkeys(name for metrics in result.levels.values() for name in metrics)
    rows = [
        drawing.Row(
            name,
            [
                _mark(result.levels[level][name].difference) if name in result.levels[level] else None
                for level in levels
            ],
        )
        for name in names
    ]
    title = f"{Path(result.after).name} against {Path(result.before).name}"
    subtitle = f"mean difference over {result.measured:,} questions and its 95 % interval"
    panel = drawing.Panel(title="", rows=rows, signed=True)
    return drawing.dot_plot(title, subtitle, [NAMES[level] for level in levels], [panel])


def _mark(figure: Figure | Difference) -> tuple[float, float, float]:
    return figure.mean, figure.low, figure.high
