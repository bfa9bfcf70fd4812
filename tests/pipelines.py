"""Pipelines over small folders, and components of other packages, for the tests of what stands above the stages."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from clockify_rag import plugins
from clockify_rag.config import Settings
from clockify_rag.contracts import SearchResult
from clockify_rag.pipeline import Pipeline

GARDEN = {
    "beds.md": "# Beds\n\nEach bed is watered once a day, before noon.\n\n## Fern\n\nThe fern needs shade and two litres.\n",
    "tools.md": "# Tools\n\nThe spade hangs in the shed. Clean it after use.\n\n## Lending\n\nMembers borrow tools for a week.\n",
    "gate.md": "# Gate\n\nThe gate opens at dawn and is locked at dusk.\n\n## Keys\n\nAsk the warden for a key to the gate.\n",
    "fees.md": "# Fees\n\nMembership costs twelve pounds a year and is due in April.\n",
    "compost.md": "# Compost\n\nLeaves and peelings go on the heap. Turn the heap every month.\n",
}

QUESTIONS = (
    "When does the gate open?",
    "Who has a key?",
    "how much water does the fern need",
    "borrow a spade for a week",
    "What does membership cost per year?",
    "turn the heap",
    "gate",
    "compost leaves April",
)


def settings_of(**tables: dict[str, Any]) -> Settings:
    return msgspec.convert(tables, Settings)


def pipeline_of(path: Path, **tables: dict[str, Any]) -> Pipeline:
    return Pipeline(path, settings_of(**tables))


def ranking(result: SearchResult) -> Any:
    """What must be the same bit for bit, however the index came to be."""
    hits = [(hit.rank, hit.score, hit.scores, hit.chunk, hit.document.id, hit.document.url) for hit in result.hits]
    return hits, result.evidence, result.lexical_only


def offer(monkeypatch: pytest.MonkeyPatch, group: str, **components: Any) -> None:
    """Make components known as another package's are: by its entry points."""
    module = ModuleType(f"another_package_of_{group}")
    for name, component in components.items():
        setattr(module, name, component)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    points = [EntryPoint(name, f"{module.__name__}:{name}", plugins.GROUP_PREFIX + group) for name in components]
    before = plugins._installed
    monkeypatch.setattr(plugins, "_installed", lambda asked: points if asked == group else before(asked))
