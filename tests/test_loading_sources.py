"""Several sources: their names, their patterns, their weights, and what is said of them."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import msgspec
import pytest

from clockify_rag.cli import run
from clockify_rag.config import check_source_names
from clockify_rag.contracts import Notice, Source
from clockify_rag.errors import InvalidSetting, SourceError
from clockify_rag.loading import FileLoader, contents
from folders import documents, load, source_of, write
from pipelines import pipeline_of

PAGES = {"guides/a.md": "# A\n\nWords of a.\n", "guides/b.md": "# B\n\nWords of b.\n", "c.md": "# C\n\nWords of c.\n"}


def notices(root: Path, **fields: Any) -> list[Notice]:
    return [item for item in load(root, **fields) if isinstance(item, Notice)]


def test_patterns_that_match_nothing_are_said(tmp_path: Path) -> None:
    write(tmp_path, PAGES)
    (notice,) = notices(tmp_path, include=("guides/", "*.rst", "guides/a.md", "!b.md"))
    assert "'*.rst' in include of source docs" in notice.message
    assert (bool(notice.hint), notice.failed) == (True, True)
    (notice,) = notices(tmp_path, exclude=("b.md", "drafts/"))
    assert ("'drafts/' in exclude" in notice.message, notice.failed) == (True, False)
    assert notices(tmp_path, include=("guides/a.md",), exclude=("c.md",)) == []
    with pytest.raises(SourceError, match="holds no document"):
        load(tmp_path, include=("*.rst",))


def test_names_that_differ_by_case_are_said(tmp_path: Path) -> None:
    write(tmp_path, {"Guide.md": "Words.\n", "guide.md": "Words.\n", "other.md": "Words.\n"})
    if len(list(tmp_path.iterdir())) == 2:
        pytest.skip("this file system does not tell them apart")
    (notice,) = notices(tmp_path)
    assert "Guide.md and guide.md" in notice.message
    assert not notice.failed
    assert len(documents(load(tmp_path))) == 3


def test_one_name_in_two_unicode_forms_is_one_name() -> None:
    forms = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    with pytest.raises(InvalidSetting, match="two sources are named") as caught:
        check_source_names(tuple(Source(name=name, location=name) for name in forms))
    assert caught.value.hint


def configured(tmp_path: Path, tables: str) -> None:
    (tmp_path / "clockify-rag.toml").write_text(tables, encoding="utf-8")


def test_a_build_says_what_a_pattern_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "docs", PAGES)
    configured(tmp_path, '[[sources]]\nlocation = "docs"\ninclude = ["guides/", "*.rst"]\n')
    monkeypatch.chdir(tmp_path)
    assert run(["build"]) == 6
    captured = capsys.readouterr()
    assert "2 documents" in captured.out
    assert "'*.rst' in include of source docs matches nothing" in captured.err
    assert run(["build", "--json"]) == 6
    (notice,) = json.loads(capsys.readouterr().out)["notices"]
    assert notice["failed"] is True
    configured(tmp_path, '[[sources]]\nlocation = "docs"\nexclude = ["drafts/"]\n')
    assert run(["build"]) == 0
    assert "'drafts/'" in capsys.readouterr().err


def test_sources_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, {"one/docs/a.md": "Words.", "two/docs/a.md": "Words."})
    configured(tmp_path, '[[sources]]\nlocation = "one/docs"\n\n[[sources]]\nlocation = "two/docs"\n')
    monkeypatch.chdir(tmp_path)
    assert run(["build"]) == 2
    assert "two sources are named 'docs'" in capsys.readouterr().err


def test_a_weight_orders_what_is_found(tmp_path: Path) -> None:
    text = "# Timer\n\nThe timer is started with the button in the corner.\n"
    write(tmp_path, {"old/timer.md": text, "new/timer.md": text.replace("The timer", "A timer of this kind")})
    pipeline = pipeline_of(tmp_path / "index")

    def ranking(boost: float) -> dict[str, float]:
        new = Source(name="new", location=str(tmp_path / "new"), boost=boost)
        pipeline.build([tmp_path / "old", new])
        hits = pipeline.search("the timer is started").hits
        return {hit.document.source: hit.scores.fused for hit in hits}

    plain = ranking(1.0)
    assert list(plain) == ["old", "new"]
    boosted = ranking(2.5)
    assert list(boosted) == ["new", "old"]
    assert boosted["new"] == pytest.approx(2.5 * plain["new"], rel=1e-5)
    assert boosted["old"] == pytest.approx(plain["old"], rel=1e-5)
    assert ranking(1.0) == plain


@pytest.mark.parametrize("boost", [0.0, -1.0, 101.0, float("nan")])
def test_weights_that_cannot_be(tmp_path: Path, boost: float) -> None:
    with pytest.raises(InvalidSetting, match="boost"):
        list(FileLoader().load(source_of(write(tmp_path, PAGES), boost=boost), {}))


def test_a_changed_weight_writes_documents_anew(tmp_path: Path) -> None:
    write(tmp_path / "docs", PAGES)
    pipeline = pipeline_of(tmp_path / "index")
    source = Source(name="docs", location=str(tmp_path / "docs"))
    pipeline.build([source])
    report = pipeline.build([msgspec.structs.replace(source, boost=2.0)])
    assert (report.changed, report.unchanged) == (3, 0)


def test_a_new_kind_of_location_plugs_in_at_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext

    from clockify_rag.walking import File, Folder

    write(tmp_path, {"raw/0001": "<main><h1>Fetched</h1><p>Words of a fetched page.</p></main>"})

    def fetched(source: Source, _location: str, _limits: contents.Limits) -> contents.Contents | None:
        if not source.location.startswith("fetched:"):
            return None
        file = File("help/start", "html", str(tmp_path / "raw/0001"), "github", url="https://help.example/start")
        return contents.Contents(lambda: nullcontext((Folder(str(tmp_path)), iter([file]))))

    monkeypatch.setattr(contents, "KINDS", (fetched, *contents.KINDS))
    (document,) = documents(list(FileLoader().load(Source(name="site", location="fetched:help"), {}))).values()
    assert (document.path, document.title, document.url) == ("help/start", "Fetched", "https://help.example/start")
