"""``init`` and ``config show``."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from clockify_rag import config
from clockify_rag.cli import opening, output
from clockify_rag.errors import ConfigError

HEADING = """\
# Settings of clockify-rag for this folder. Every line that begins with # is the default.
# A variable such as CLOCKIFY_RAG_RETRIEVAL__TOP_K, or an option that is typed, goes before this file.
"""


def init(*, force: bool) -> None:
    """Write a commented configuration file into the working directory and print its path."""
    file = config.working_directory() / config.FILE_NAME
    if file.exists() and not force:
        raise ConfigError(
            f"there is a {config.FILE_NAME} in this folder already", hint="clockify-rag init --force replaces it"
        )
    try:
        file.write_text(commented_file(), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror}", hint="make the folder writable") from error
    output.Printer().line(str(file))
    output.note("next: clockify-rag build")


def commented_file() -> str:
    """Return a configuration file that builds the folder it lies in and sets nothing else."""
    lines = [HEADING]
    table = ""
    for key, description, default in config.every_key():
        prefix, _, name = key.rpartition(".")
        if prefix != table:
            table = prefix
            lines.append("\n[[sources]]" if prefix == "sources[]" else f"\n[{prefix}]")
        lines.append(f"# {description}")
        if name == "location":
            lines.append('location = "."')
        elif name == "arguments":
            lines.append("# arguments = {}")
        elif default is None:
            lines.append(f"# {name} =")
        else:
            lines.append(f"# {name} = {toml_value(default)}")
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_key(name)} = {toml_value(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return msgspec.json.encode(value).decode()


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else msgspec.json.encode(name).decode()


def show(*, origin: bool, as_json: bool) -> None:
    """Print every setting, and where it came from."""
    configuration = opening.load()
    rows = [(key, config.masked(key, value), place) for key, value, place in _rows(configuration)]
    if as_json:
        values = {
            key: {"value": value, "origin": {"layer": place.layer, "where": place.where}} if origin else value
            for key, value, place in rows
        }
        file = None if configuration.file is None else str(configuration.file)
        output.print_json({"file": file, "settings": values})
        return
    printer = output.Printer()
    if configuration.file is not None:
        output.note(f"read {configuration.file}")
    for key, value, place in rows:
        shown = "" if value is None else toml_value(value)
        printer.line(f"{key} = {shown}".rstrip() + (f"  # {place}" if origin else ""))


def _rows(configuration: config.Configuration) -> list[tuple[str, Any, config.Origin]]:
    rows: list[tuple[str, Any, config.Origin]] = []
    settings = configuration.settings
    for number, source in enumerate(settings.sources):
        rows += [
            (f"sources[{number}].{name}", getattr(source, name), configuration.origin(f"sources[{number}].{name}"))
            for name in source.__struct_fields__
            if getattr(source, name) not in (None, (), "")
        ]
    for key, _, _ in config.every_key():
        table, _, name = key.partition(".")
        if table == "sources[]":
            continue
        value = getattr(getattr(settings, table), name)
        if isinstance(value, dict):
            rows += [
                (f"{key}.{entry}", inner, configuration.origin(f"{key}.{entry}")) for entry, inner in value.items()
            ]
        else:
            rows.append((key, value, configuration.origin(key)))
    return rows
