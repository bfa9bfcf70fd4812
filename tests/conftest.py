"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data that is not part of the repository: ``RAG_TEST_DATA``, or ``../shared/data`` beside it."""
    folder = Path(os.environ.get("RAG_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"the shared data is not at {folder}; RAG_TEST_DATA can name another folder")
    return folder


@pytest.fixture(scope="session")
def minilm(data: Path) -> Path:
    """The folder of all-MiniLM-L6-v2 for ONNX Runtime in 8 bits, which lies beside the data."""
    folder = data.parent / "models" / "minilm-onnx-int8"
    if not folder.is_dir():
        pytest.skip(f"the model is not at {folder}")
    pytest.importorskip("onnxruntime")
    return folder
