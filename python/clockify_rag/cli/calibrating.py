"""``calibrate``: fits, prints what the fit is worth on questions it was not fitted on, and writes it where ``ask`` finds it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from clockify_rag.cli import opening, output
from clockify_rag.cli.evaluating import Outputs
from clockify_rag.errors import ConfigError

if TYPE_CHECKING:
    from clockify_rag.calibrating import Calibrated, Figures, Share

KINDS: Final = {"with_vectors": "with vectors", "by_words": "by words"}


def calibrate(
    questions: str, *, index: str | None, rate: str, file: str | None, plot: str | None, as_json: bool
) -> None:
    """Fit, write and print."""
    share = _rate(rate)
    Outputs(plot=plot).check()
    if file == "-":
        raise ConfigError(
            "--output - is no file; a calibration is printed with what it is worth", hint="--json prints it"
        )
    if file is not None:
        output.check_file("--output", file)
    from clockify_rag import calibrating, calibration
    from clockify_rag.labelling import read_questions

    pipeline = opening.pipeline(opening.load(("index.path", "--index", index)))
    labelled = read_questions(questions)
    with output.progress_bar() as progress:
        result = calibrating.calibrate(pipeline, labelled, false_refusal_rate=share, progress=progress)
    written = pipeline.path / calibration.FILE if file is None else Path(file)
    calibration.save(result.calibration, written)
    if plot is not None:
        _draw(result, plot)
    if as_json:
        output.print_json({"file": str(written), **msgspec.structs.asdict(result)})
        return
    _print(output.Printer(), result, written)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate < 1:
        raise ConfigError(
            f"--false-refusal-rate {text} is not a share from 0 to below 1",
            hint="for example --false-refusal-rate 0.05",
        )
    return rate


def _draw(result: Calibrated, file: str) -> None:
    from clockify_rag.cli.drawing import reliability_plot

    kinds = {KINDS[kind]: figures for kind, figures in result.held_out.items()}
    try:
        Path(file).write_text(reliability_plot("Calibration, cross-fitted", kinds), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--plot {file} cannot be written: {error.strerror}", hint="check the path") from error


def _print(printer: output.Printer, result: Calibrated, written: Path) -> None:
    fitted = result.calibration.fitted
    printer.line(
        f"{fitted.answerable:,} questions as they are and {fitted.unanswerable:,} without the pages that answer them, "
        f"cross-fitted in {result.folds} folds"
    )
    if result.left_out:
        printer.line(
            f"left out because the index lacks a page that answers them: {result.left_out:,} questions", "yellow"
        )
    for kind, figures in result.held_out.items():
        printer.line(KINDS[kind], "bold")
        _print_figures(printer, figures, result.before.get(kind))
    printer.line(f"written to {output.one_line(str(written))}", "cyan")


def _print_figures(printer: output.Printer, figures: Figures, before: Figures | None) -> None:
    def line(name: str, text: str, former: str | None) -> None:
        printer.line(f"  {name:32} {text}" + (f"   (shipped: {former})" if former is not None else ""))

    def plain(figures: Figures) -> dict[str, str]:
        rows = {
            "calibration error": f"{figures.calibration_error:.3f}",
            "Brier score": f"{figures.brier:.3f} of {figures.base_brier:.3f}",
            "AUROC": f"{figures.auroc:.3f}",
            "threshold": f"{figures.threshold:.3f}",
            "answerable, refused": _share(figures.refused_wrongly),
            "pages left out, refused": _share(figures.refused_rightly),
        }
        if figures.written_refused is not None:
            rows["unanswerable as written, refused"] = _share(figures.written_refused)
        return rows

    former = {} if before is None else plain(before)
    for name, text in plain(figures).items():
        line(name, text, former.get(name))


def _share(share: Share) -> str:
    return f"{share.count:,} of {share.of:,} ({share.low:.0%} to {share.high:.0%})"
