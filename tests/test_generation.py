"""What all generators share: they are imported where they are named, and there is a sentence that refuses."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from clockify_rag import generation
from clockify_rag.generation import REFUSALS, refusal_text
from clockify_rag.generation.refusals import NEAREST, SEARCHED


def test_public_names_are_exact() -> None:
    assert set(generation._HOME) == set(generation.__all__)
    for name, module in generation._HOME.items():
        assert getattr(generation, name) is getattr(sys.modules[f"clockify_rag.generation.{module}"], name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        generation.nothing  # noqa: B018 - the access is the test


def test_the_extractive_generator_loads_no_client() -> None:
    script = (
        "import json, sys\nfrom clockify_rag.generation import ExtractiveGenerator, refusal_text\n"
        "print(json.dumps([name for name in sys.modules if name.startswith('clockify_rag')]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert "clockify_rag.generation.extractive" in loaded
    assert not loaded & {"clockify_rag._http", "clockify_rag.generation.chat", "clockify_rag.generation.prompting"}


def test_refusals_speak_the_language_of_the_question() -> None:
    assert refusal_text("de") == REFUSALS["de"]
    assert refusal_text("xx") == refusal_text("") == REFUSALS["en"]
    assert refusal_text("de", {"de": "Nein."}) == "Nein."
    assert refusal_text("de", {"": "No."}) == "No."
    assert refusal_text("xx", {"en": "Sorry."}) == "Sorry."


def test_a_refusal_says_what_was_looked_for_and_what_is_near_in_every_language() -> None:
    near = [("Gate", "https://garden.example/gate.html", "keys"), ("Fees", "fees.md", None)]
    assert refusal_text("en", searched=("zeppelin", "voice"), nearest=near) == (
        "The documentation does not answer this question.\n\nLooked for: zeppelin, voice\n\n"
        "The nearest pages:\n- Gate: https://garden.example/gate.html#keys\n- Fees: fees.md"
    )
    assert REFUSALS.keys() == SEARCHED.keys() == NEAREST.keys()
    for language, sentence in REFUSALS.items():
        parts = refusal_text(language, searched=("zeppelin",), nearest=near).split("\n\n")
        assert parts[0] == sentence
        assert parts[1] == f"{SEARCHED[language]} zeppelin"
        assert parts[2].splitlines()[0] == NEAREST[language]
    for phrases in (SEARCHED, NEAREST):
        assert len(set(phrases.values())) == len(phrases)
    assert len(REFUSALS) >= 8
