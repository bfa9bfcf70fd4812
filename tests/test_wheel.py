"""What the wheel in ``dist/`` holds. ``make build`` makes it."""

from __future__ import annotations

import re
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ROOT / "python"
MODEL = "clockify_rag/models/docs-static-256-int8"
LARGEST = 16_000_000

PACKAGES = (
    "cache",
    "cli",
    "crawling",
    "embedding",
    "explaining",
    "generation",
    "loading",
    "packing",
    "reranking",
    "retrieval",
    "understanding",
    "verification",
)

ALLOWED = (
    r"clockify_rag/[a-z_]+\.py",
    *(rf"clockify_rag/{package}/[a-z_]+\.py" for package in PACKAGES),
    r"clockify_rag/prompts/(__init__\.py|(understanding/)?[a-z-]+\.txt)",
    r"clockify_rag/py\.typed",
    r"clockify_rag/_core\.pyi",
    r"clockify_rag/models/calibration\.json",
    r"clockify_rag/_core\.abi3\.so",
    MODEL + r"/(README\.md|TRAINED-ON\.json|config\.json|model\.safetensors|tokenizer\.json)",
    r"clockify_rag-[^/]+\.dist-info/(METADATA|WHEEL|RECORD|entry_points\.txt)",
    r"clockify_rag-[^/]+\.dist-info/licenses/(LICENSE|NOTICE)",
    r"clockify_rag-[^/]+\.dist-info/licenses/LICENSES/(Apache-2\.0|CC-BY-4\.0|WordNet-3\.0)\.txt",
    r"clockify_rag-[^/]+\.dist-info/licenses/LICENSES/THIRD-PARTY\.md",
    r"clockify_rag-[^/]+\.dist-info/sboms/[a-z-]+\.cyclonedx\.json",
)
"""Every path in the wheel matches one of these, and each of these matches a path in the wheel."""

OPTIONAL = frozenset({pattern for pattern in ALLOWED if "sboms" in pattern})
"""What only newer versions of maturin write."""


@pytest.fixture(scope="module")
def wheel() -> Path:
    wheels = sorted((ROOT / "dist").glob("clockify_rag-*.whl"), key=lambda path: path.stat().st_mtime)
    if not wheels:
        pytest.skip("there is no wheel in dist/; make build makes one")
    return wheels[-1]


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with ZipFile(wheel) as archive:
        return [name for name in archive.namelist() if not name.endswith("/")]


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    return Parser().parsestr(_read(wheel, "METADATA"))


def test_it_holds_nothing_but_what_it_should(names: list[str]) -> None:
    assert [name for name in names if not any(re.fullmatch(pattern, name) for pattern in ALLOWED)] == []


def test_it_holds_all_that_it_should(names: list[str]) -> None:
    missing = [pattern for pattern in ALLOWED if not any(re.fullmatch(pattern, name) for name in names)]
    assert set(missing) <= OPTIONAL


def test_it_holds_every_file_of_the_package(names: list[str]) -> None:
    left_out = ("*.so", "*.pyc")
    here = {path for path in SOURCES.rglob("*") if path.is_file() and not any(path.match(p) for p in left_out)}
    expected = {path.relative_to(SOURCES).as_posix() for path in here}
    assert {name for name in names if ".dist-info/" not in name} - {"clockify_rag/_core.abi3.so"} == expected


def test_it_holds_the_table_unchanged(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        for path in (SOURCES / MODEL).iterdir():
            assert archive.read(f"{MODEL}/{path.name}") == path.read_bytes(), path.name


def test_it_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < LARGEST


def test_it_serves_every_python_from_3_11(wheel: Path) -> None:
    assert "-cp311-abi3-" in wheel.name
    tags = re.findall(r"^Tag: (.+)$", _read(wheel, "WHEEL"), re.MULTILINE)
    assert tags
    assert all(tag.startswith("cp311-abi3-") for tag in tags)


def test_its_metadata_tell_the_licences(metadata: Message) -> None:
    assert metadata["License-Expression"] == "MIT AND Apache-2.0"
    files = {"LICENSE", "NOTICE", *(f"LICENSES/{path.name}" for path in (ROOT / "LICENSES").iterdir())}
    assert set(metadata.get_all("License-File", [])) == files


def test_its_metadata_ask_for_nothing_large(metadata: Message) -> None:
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = {re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in required}
    assert names <= {"h11", "idna", "msgspec", "numpy", "requests", "rich", "typer", "watchfiles"}
    assert metadata["Requires-Python"] == ">=3.11"


def _read(wheel: Path, name: str) -> str:
    with ZipFile(wheel) as archive:
        path = next(path for path in archive.namelist() if path.endswith(f".dist-info/{name}"))
        return archive.read(path).decode()
