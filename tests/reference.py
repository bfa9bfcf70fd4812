"""Writes the generated parts of the reference: ``python tests/reference.py`` after a change; a test compares them.

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from clockify_rag import config, errors
from clockify_rag.cli import run
from clockify_rag.cli.configuring import toml_value
from clockify_rag.errors import ClockifyRagError

DOCS = Path(__file__).parent.parent / "docs"

COMMANDS = (
    (),
    ("init",),
    ("build",),
    ("crawl",),
    ("watch",),
    ("search",),
    ("ask",),
    ("chat",),
    ("explain",),
    ("why-not",),
    ("eval",),
    ("calibrate",),
    ("show",),
    ("documents",),
    ("info",),
    ("remove",),
    ("repair",),
    ("reembed",),
    ("generations",),
    ("tag",),
    ("untag",),
    ("rollback",),
    ("gc",),
    ("diff",),
    ("snapshot",),
    ("restore",),
    ("verify",),
    ("migrate",),
    ("doctor",),
    ("faq",),
    ("faq", "build"),
    ("config",),
    ("config", "show"),
    ("glossary",),
    ("glossary", "suggest"),
)


def generated() -> dict[str, dict[str, str]]:
    """Return for each file the text of each of its generated parts."""
    return {
        "cli.md": {" ".join(("clockify-rag", *command)): help_of(command) for command in COMMANDS},
        "configuration.md": {"settings": settings_tables()},
        "errors.md": {"errors": errors_table()},
    }


def help_of(command: tuple[str, ...]) -> str:
    """Return what ``--help`` prints on a terminal of 100 columns."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert run([*command, "--help"]) == 0
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    return f"```text\n{printed.getvalue().rstrip()}\n```"


def settings_tables() -> str:
    """Return a table of settings for each table of the configuration file."""
    lines: list[str] = []
    table = ""
    for key, description, default in config.every_key():
        prefix, _, _ = key.rpartition(".")
        if prefix != table:
            table = prefix
            heading = "[[sources]]" if prefix == "sources[]" else f"[{prefix}]"
            lines += ["", f"### `{heading}`", "", "| Setting | Default | Meaning |", "|---|---|---|"]
        if default is msgspec.NODEFAULT:
            shown = "required"
        else:
            shown = "none" if default is None else f"`{toml_value(default)}`"
        lines.append(f"| `{key}` | {shown} | {description} |")
    return "\n".join(lines).strip()


def every_error() -> Iterator[type[ClockifyRagError]]:
    """Yield the classes of the tree in the order of their definition."""
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, ClockifyRagError):
            yield error


def errors_table() -> str:
    """Return the table of errors."""
    lines = ["| Code | Class | Exit | HTTP | Meaning |", "|---|---|---|---|---|"]
    for error in every_error():
        meaning = (error.__doc__ or "").partition("\n")[0].replace("``", "`")
        lines.append(f"| `{error.code}` | `{error.__name__}` | {error.exit_code} | {error.http_status} | {meaning} |")
    return "\n".join(lines)


def replaced(text: str, parts: dict[str, str]) -> str:
    """Return ``text`` with its generated parts replaced."""
    for name, part in parts.items():
        pattern = re.compile(rf"(<!-- generated: {re.escape(name)} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        assert pattern.search(text), f"there is no part {name!r}"
        text = pattern.sub(lambda match, part=part: match[1] + part + match[2], text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    for name, parts in generated().items():
        file = DOCS / name
        file.write_text(replaced(file.read_text(encoding="utf-8"), parts), encoding="utf-8")
