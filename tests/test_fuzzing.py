"""What fuzzing found worth keeping, run through the package's readers without a fuzzer."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzzing.targets import TARGETS

CORPUS = Path(__file__).parent.parent / "fuzz" / "corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_what_fuzzing_found_worth_keeping_still_holds(name: str) -> None:
    files = sorted((CORPUS / name).iterdir())
    assert files, f"{name} has no corpus"
    for file in files:
        try:
            TARGETS[name](file.read_bytes())
        except Exception as failure:
            raise AssertionError(f"{name} does not hold for {file.name}") from failure


def test_the_corpus_is_small() -> None:
    files = [file for file in CORPUS.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 1_000_000
