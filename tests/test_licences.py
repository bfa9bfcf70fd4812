from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import licences
import pytest

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "python" / "clockify_rag" / "models" / "docs-static-256-int8"
NOTICE = (ROOT / "NOTICE").read_text(encoding="utf-8")
DENY = tomllib.loads((ROOT / "deny.toml").read_text(encoding="utf-8"))


@pytest.mark.skipif(shutil.which("cargo") is None, reason="the linked crates are read off cargo, which is not installed")
def test_notices_of_linked_crates_are_up_to_date() -> None:
    try:
        expected = licences.third_party()
    except subprocess.CalledProcessError as error:
        if "--locked" in error.stderr:
            raise
        pytest.skip(f"cargo cannot read the sources of the linked crates: {error.stderr.strip().splitlines()[-1]}")
    assert licences.THIRD_PARTY.read_text(encoding="utf-8") == expected, "run: python tests/licences.py"


def test_cargo_deny_allows_the_licences_that_are_passed_on() -> None:
    assert set(DENY["licenses"]["allow"]) == set(licences.ACCEPTED)
    assert set(DENY["graph"]["targets"]) == set(licences.TARGETS)


@pytest.mark.parametrize(
    ("declared", "taken"),
    [
        ("MIT", ("MIT",)),
        ("Apache-2.0 OR MIT", ("MIT",)),
        ("Unlicense/MIT", ("MIT",)),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", ("MIT", "Unicode-3.0")),
        ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", ("MIT",)),
        ("BSL-1.0", ("BSL-1.0",)),
    ],
)
def test_a_licence_is_taken_from_an_expression(declared: str, taken: tuple[str, ...]) -> None:
    assert licences.choose(declared) == taken


@pytest.mark.parametrize("declared", ["GPL-3.0-only", "MPL-2.0", "MIT AND GPL-2.0-only", "none", "NOT-MIT"])
def test_an_unknown_licence_is_an_error(declared: str) -> None:
    with pytest.raises(licences.UnknownLicence):
        licences.choose(declared)


def test_notice_names_the_sources_of_the_table() -> None:
    for name in (
        "all-MiniLM-L6-v2",
        "WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved.",
        "MedQuAD",
        "tldr-pages",
        "Business Central",
        "SharePoint",
    ):
        assert name in NOTICE


def test_notice_covers_every_source_of_the_table() -> None:
    named = {"medquad": "MedQuAD", "ms-business-central": "Business Central", "ms-sharepoint": "SharePoint"}
    named |= {"tldr": "tldr-pages", "wordnet": "WordNet"}
    sources = set(json.loads((MODEL / "TRAINED-ON.json").read_text(encoding="utf-8"))["pairs_by_source"])
    others = {source for source in sources if not re.search(r"-docs?(-|$)|^lib.*-help|^libreoffice-help", source)}
    assert others == set(named)
    assert all(name in NOTICE for name in named.values())


def test_every_licence_that_notice_points_to_is_there() -> None:
    files = set(re.findall(r"LICENSES/([\w.-]+\.(?:txt|md))", NOTICE))
    assert files == {path.name for path in (ROOT / "LICENSES").iterdir()}


@pytest.mark.parametrize("name", ["NOTICE", "README.md"])
def test_the_owner_of_the_name_is_not_affiliated(name: str) -> None:
    text = " ".join((ROOT / name).read_text(encoding="utf-8").split())
    assert re.search(r"not affiliated with\b.*\bthe owner of the name Clockify", text)
