"""``docs/library.md`` works as it stands: its examples run in order, on the example help centre."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "docs" / "library.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


def test_the_examples_run_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ROOT / "examples" / "help-center" / "docs", tmp_path / "docs")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed = []
    for example in EXAMPLES:
        exec(compile(example, "docs/library.md", "exec"), names)
        printed.append(capsys.readouterr().out)
    build, settings, search, ask, again, explained, evaluation, errors, following = printed
    assert build.startswith("1 ")
    assert settings == "3\n"
    assert len(search.splitlines()) == 5
    assert ask.startswith("False ")
    cited = [line for line in ask.splitlines() if "https://" in line]
    assert cited
    assert all(line.endswith(" True") for line in cited)
    assert again.startswith("True {'cache': ")
    assert again.endswith("} 0.5\n1\n")
    *hits, lost = explained.splitlines()
    assert hits[0].endswith(" True")
    assert " it is hit " in lost
    mean, p = map(float, evaluation.splitlines())
    assert 0 < mean <= 1
    assert p == 1.0  # of one question nothing can be said
    assert errors.startswith("index_not_found ")
    assert following == "True None\n"
