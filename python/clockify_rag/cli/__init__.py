"""The command ``clockify-rag``: data on standard output, everything else on standard error.

Each command is a thin function over ``clockify_rag.pipeline.Pipeline``. ``run`` is the one place where a failure becomes a
message and an exit status, so that no command can end in a traceback; and nothing but the argument parser is imported until a
command knows what it needs, because help and completion must answer at once.

Exit statuses: 0 answered, refused or no hits · 1 a defect of this program · 2 usage or configuration · 3 no index · 4 the index
cannot be used · 5 a model server failed · 6 built, but not everything · 7 refused, with ``--fail-on-refusal`` · 8 below
``--fail-under`` · 130 interrupted · 141 the reader of the output went away.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from clockify_rag.errors import ClockifyRagError

__all__ = ["main", "run"]

INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141


def main() -> NoReturn:
    """Run the command with the process's arguments and end the process."""
    _open_streams()
    status = run(sys.argv[1:])
    sys.exit(status)


def _open_streams() -> None:
    """Give a process that was started without standard streams empty ones.

    Otherwise the first file of the index that is opened becomes standard output or error, and what is said ends in it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - open to the end


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status.

    Args:
        arguments: as typed, without the program's name.
    """
    try:
        status = _invoke(list(arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        return _silence_stdout()
    except KeyboardInterrupt:
        return _interrupted(as_json="--json" in arguments)
    return status


def _invoke(arguments: list[str]) -> int:
    from typer.exceptions import Abort, TyperException

    from clockify_rag.cli.app import PipeClosedError, command

    as_json = "--json" in arguments
    try:
        status = command().main(args=arguments, prog_name="clockify-rag", standalone_mode=False)
    except ClockifyRagError as error:
        return _fail(error.code, error.message, error.hint, error.exit_code, as_json=as_json)
    except TyperException as error:
        return _fail_usage(error, as_json=as_json)
    except Abort:
        raise KeyboardInterrupt from None
    except PipeClosedError:
        return _silence_stdout()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        import logging

        logging.getLogger("clockify_rag").info("traceback", exc_info=True)
        message = f"this is a defect of clockify-rag: {type(error).__name__}: {error}"
        return _fail(
            "internal",
            message,
            "run clockify-rag --verbose with the same command and report what it prints",
            1,
            as_json=as_json,
        )
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    return status if isinstance(status, int) else 0


def _interrupted(*, as_json: bool) -> int:
    try:
        return _fail("interrupted", "interrupted", "", INTERRUPTED, as_json=as_json)
    except BrokenPipeError:
        _silence_stdout()
        return INTERRUPTED


def _fail_usage(error: Exception, *, as_json: bool) -> int:
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        _tell(message)
        return 2
    path = context.command_path if context is not None else "clockify-rag"
    message = message[:1].lower() + message[1:].rstrip(".")
    return _fail("usage", message, f"{path} --help", 2, as_json=as_json)


def _fail(code: str, message: str, hint: str, status: int, *, as_json: bool) -> int:
    from clockify_rag.cli.output import flat, print_json

    if as_json:
        print_json({"error": {"code": code, "message": message, "hint": hint}})
    _tell(f"error: {flat(message)}")
    if hint:
        _tell(f"hint: {flat(hint)}")
    return status


def _tell(line: str) -> None:
    """Write to standard error, whatever its encoding; when nobody reads it any more there is nobody to tell."""
    try:
        stream = sys.stderr
        encoding = stream.encoding or "utf-8"
        print(line.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)
    except (BrokenPipeError, ValueError):
        pass


def _silence_stdout() -> int:
    """Point standard output at nothing, so that the interpreter's last flush does not complain."""
    try:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
    except (OSError, ValueError):
        pass
    return PIPE_CLOSED
