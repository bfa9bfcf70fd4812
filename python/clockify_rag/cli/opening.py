"""How every command gets its settings and its pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from clockify_rag import config
from clockify_rag.errors import ConfigError

if TYPE_CHECKING:
    from clockify_rag.pipeline import Pipeline

T = TypeVar("T")

FILTER_FIELDS: Final = ("source", "language", "kind", "tags", "version")
"""The fields that ``--filter`` takes."""


def load(*options: tuple[str, str, Any]) -> config.Configuration:
    """Read the settings under the options that were typed.

    Args:
        *options: for each, the setting's dotted key, the option's name, and its value; ``None`` where it was not typed.
    """
    overrides = {key: (option, value) for key, option, value in options if value is not None}
    return config.load(overrides=overrides)


def pipeline(configuration: config.Configuration, *, building: bool = False) -> Pipeline:
    """Return the pipeline over the index that the settings name; raises ``StoreError`` where none can lie there."""
    from clockify_rag.index import check_index_folder
    from clockify_rag.pipeline import Pipeline

    check_index_folder(configuration.settings.index.path, building=building)
    return Pipeline.open(configuration.settings.index.path, configuration.settings)


def nearest(typed: str, known: Mapping[str, T]) -> T | None:
    """Return what the name most like ``typed`` stands for; ``None`` where none is like it."""
    import difflib

    found = difflib.get_close_matches(typed.lower(), {name.lower(): name for name in known}, n=1)
    return next((value for name, value in known.items() if found and name.lower() == found[0]), None)


def parse_filters(filters: Sequence[str], *, option: str = "--filter") -> Mapping[str, tuple[str, ...]] | None:
    """Return the filters typed as ``FIELD=VALUE``; raises ``ConfigError`` where one is not."""
    parsed: dict[str, tuple[str, ...]] = {}
    for text in filters:
        field, equals, value = text.partition("=")
        if not equals or field not in FILTER_FIELDS or not value:
            raise ConfigError(
                f"{option} {text} is not FIELD=VALUE with a field of {', '.join(FILTER_FIELDS)}",
                hint=f"for example {option} language=en",
            )
        parsed[field] = (*parsed.get(field, ()), value)
    return parsed or None


def typed(text: str) -> str:
    """Return an argument as valid Unicode: bytes that are not become replacement characters."""
    return text.encode("utf-8", "replace").decode("utf-8")
