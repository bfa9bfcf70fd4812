"""The tree of errors: codes, statuses, pickling."""

from __future__ import annotations

import pickle
import re

import pytest

from clockify_rag import errors
from clockify_rag.errors import ClockifyRagError
from reference import every_error

ERRORS = tuple(every_error())

EXIT_CODES = {1, 2, 3, 4, 5, 6}

DIVERGENCES: dict[type[ClockifyRagError], type[Exception]] = {
    errors.ConfigError: ValueError,
    errors.PluginNotFound: LookupError,
    errors.MissingExtra: ImportError,
    errors.IndexNotFound: FileNotFoundError,
    errors.IndexExists: FileExistsError,
    errors.GenerationNotFound: LookupError,
    errors.QueryError: ValueError,
    errors.EvaluationError: ValueError,
    errors.BackendUnavailable: ConnectionError,
    errors.BackendTimeout: TimeoutError,
}


@pytest.mark.parametrize("error", ERRORS)
def test_each_error_is_total(error: type[ClockifyRagError]) -> None:
    assert error.exit_code in EXIT_CODES
    assert 400 <= error.http_status < 600
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.code)
    assert error.__doc__


def test_codes_are_unique_and_are_each_classs_own() -> None:
    codes = [error.code for error in every_error()]
    assert len(set(codes)) == len(codes)
    assert all("code" in vars(error) for error in every_error())


@pytest.mark.parametrize("error", ERRORS)
def test_each_error_survives_pickling(error: type[ClockifyRagError]) -> None:
    raised = error("it failed: \x1b on thing 5", hint="type this", path="a/b", number=5)
    again = pickle.loads(pickle.dumps(raised))
    assert type(again) is error
    assert (again.message, again.hint, again.fields) == (raised.message, raised.hint, raised.fields)
    assert str(again) == "it failed: \x1b on thing 5"


@pytest.mark.parametrize(("error", "standard"), tuple(DIVERGENCES.items()))
def test_errors_are_the_standard_ones_too(error: type[ClockifyRagError], standard: type[Exception]) -> None:
    assert issubclass(error, standard)
    with pytest.raises(standard):
        raise error("no")


def test_the_tree_of_the_docstring_is_the_tree() -> None:
    named = set(re.findall(r"\b[A-Z]\w+", errors.__doc__ or "")) - {"Every", "Each", "The", "Rust", "Python", "Where"}
    standard = {
        "ValueError",
        "LookupError",
        "ImportError",
        "FileExistsError",
        "FileNotFoundError",
        "ConnectionError",
        "TimeoutError",
    }
    assert {error.__name__ for error in every_error()} == named - standard


def test_every_error_is_public() -> None:
    import clockify_rag

    for error in every_error():
        assert getattr(clockify_rag, error.__name__) is error
