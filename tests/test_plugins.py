"""Components by name: the package's own, other packages', and what goes wrong with them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from clockify_rag import plugins
from clockify_rag.errors import InvalidSetting, MissingExtra, PluginConflict, PluginNotFound

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"

ACME = '''
"""An embedder of another package."""

import hashlib

import numpy


class AcmeEmbedder:
    """Hashes words into a few dimensions."""

    def __init__(self, width: int = 16) -> None:
        self.width = width

    @property
    def dimension(self) -> int:
        return self.width

    def fingerprint(self) -> str:
        return f"acme-{self.width}"

    def embed(self, texts):
        vectors = numpy.zeros((len(texts), self.width), dtype=numpy.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
                vectors[row, int.from_bytes(digest, "big") % self.width] += 1.0
        norms = numpy.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / numpy.maximum(norms, 1e-12)

    embed_questions = embed
'''


class Picky:
    """Takes a number above zero."""

    def __init__(self, width: int = 1) -> None:
        if width < 1:
            raise ValueError(f"width is {width}")


class Half:
    """Lacks most of an embedder."""

    dimension = 3

    def embed(self, texts: Any) -> Any:
        return texts


def offer(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> None:
    made = [EntryPoint(name, value, "clockify_rag.embedders") for name, value in points]
    monkeypatch.setattr(plugins, "_installed", lambda group: made if group == "embedders" else [])


def test_the_table_is_what_the_package_declares() -> None:
    declared = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"]
    assert {f"clockify_rag.{group}": dict(table) for group, table in plugins.BUILT_IN.items()} == declared


def test_every_group_has_a_protocol_and_a_setting() -> None:
    from clockify_rag import config

    assert set(plugins.PROTOCOLS) == set(plugins.BUILT_IN) == set(config.COMPONENTS)


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group, table in plugins.BUILT_IN.items() for name in table]
)
def test_every_component_of_the_package_is_there_and_whole(group: str, name: str) -> None:
    made = plugins.find(group, name)
    missing = [member for member in plugins.members(plugins.PROTOCOLS[group]) if not hasattr(made, member)]
    assert not missing


def test_defaults_are_components() -> None:
    from clockify_rag import config

    settings = config.Settings()
    for group, field in config.COMPONENTS.items():
        names = [
            getattr(getattr(settings, table), field)
            for table in settings.__struct_fields__
            if hasattr(getattr(settings, table), field)
        ]
        assert len(names) == 1
        assert names[0] in {*plugins.BUILT_IN[group], None}


def test_an_unknown_name_lists_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, ("acme", "acme:Embedder"))
    with pytest.raises(PluginNotFound) as caught:
        plugins.find("embedders", "acne")
    assert caught.value.hint == "there are: acme, ollama, onnx, openai, sentence-transformers, static"


def test_two_packages_of_one_name_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, ("acme", "one:Embedder"), ("acme", "two:Embedder"))
    with pytest.raises(
        PluginConflict, match="several packages offer the component 'acme' among the embedders: one, two"
    ):
        plugins.find("embedders", "acme")


def test_one_offer_seen_twice_is_no_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, ("half", "test_plugins_half:Half"), ("half", "test_plugins_half:Half"))
    monkeypatch.setitem(sys.modules, "test_plugins_half", sys.modules[__name__])
    assert plugins.find("embedders", "half") is Half


def test_the_packages_own_names_cannot_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, ("static", "other:Embedder"), ("ollama", "clockify_rag.embedding:OllamaEmbedder"))
    assert plugins.conflicts() == ["embedders: static is offered by clockify-rag, other"]


def test_a_component_that_lacks_a_method_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "test_plugins_half", sys.modules[__name__])
    offer(monkeypatch, ("half", "test_plugins_half:Half"))
    with pytest.raises(PluginConflict, match="'half' among the embedders has no fingerprint, embed_questions"):
        plugins.create("embedders", "half")


def test_properties_are_not_evaluated() -> None:
    class Lazy(Half):
        @property
        def dimension(self) -> int:  # type: ignore[override]
            raise AssertionError("the model was loaded")

        def fingerprint(self) -> str:
            return ""

        def embed_questions(self, texts: Any) -> Any:
            return texts

    plugins.check("embedders", "lazy", Lazy())


@pytest.mark.parametrize(("width", "why"), [("x", "not supported between"), (0, "width is 0")])
def test_arguments_that_a_component_cannot_use_are_refused(
    monkeypatch: pytest.MonkeyPatch, width: Any, why: str
) -> None:
    monkeypatch.setitem(sys.modules, "test_plugins_half", sys.modules[__name__])
    offer(monkeypatch, ("picky", "test_plugins_half:Picky"))
    with pytest.raises(InvalidSetting, match=f"'picky' among the embedders cannot be made .*{why}") as caught:
        plugins.create("embedders", "picky", {"width": width})
    assert caught.value.hint == "it takes: width"


@pytest.mark.parametrize(
    ("group", "name", "arguments"),
    [
        ("chunkers", "structure", {"target": "x"}),
        ("chunkers", "structure", {"overlap": None}),
        ("loaders", "files", {"maximum_bytes": "1"}),
        ("packers", "by-relevance", {"budget_tokens": []}),
        ("generators", "extractive", {"maximum_words": "x"}),
        ("generators", "ollama", {"url": 5}),
    ],
)
def test_a_wrong_argument_of_an_own_component_is_a_setting_that_cannot_be_used(
    group: str, name: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(InvalidSetting):
        plugins.create(group, name, arguments)


def test_unknown_arguments_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "test_plugins_half", sys.modules[__name__])
    offer(monkeypatch, ("half", "test_plugins_half:Half"))
    with pytest.raises(InvalidSetting, match="takes no argument width") as caught:
        plugins.create("embedders", "half", {"width": 3})
    assert caught.value.hint == "it takes: none"


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("no_such_module_here:X", MissingExtra, "needs the package 'no_such_module_here'"),
        ("json:Nothing", PluginConflict, "cannot be imported from json:Nothing"),
        ("math:pi", PluginConflict, "is not a class"),
    ],
)
def test_what_cannot_be_imported_is_said(
    monkeypatch: pytest.MonkeyPatch, value: str, error: type[Exception], message: str
) -> None:
    offer(monkeypatch, ("acme", value))
    with pytest.raises(error, match=message):
        plugins.find("embedders", "acme")


def test_built_in_arguments_reach_only_the_packages_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Taker:
        def __init__(self, **given: Any) -> None:
            self.given = given

        def pack(self, query: Any, hits: Any) -> Any: ...

    monkeypatch.setattr(plugins, "find", lambda group, name: Taker)
    assert plugins.create("packers", "by-relevance", {"a": 1}, b=2, a=3).given == {"a": 1, "b": 2}
    assert plugins.create("packers", "acme", {"a": 1}, b=2).given == {"a": 1}


@pytest.mark.build
def test_an_embedder_of_another_package_is_chosen_by_name(tmp_path: Path) -> None:
    """Builds and installs a package, builds an index with its embedder, and runs the conformance suite over it."""
    project = tmp_path / "acme"
    project.mkdir()
    (project / "acme_embedder.py").write_text(ACME)
    (project / "pyproject.toml").write_text(
        textwrap.dedent("""
            [build-system]
            requires = ["setuptools"]
            build-backend = "setuptools.build_meta"
            [project]
            name = "acme-embedder"
            version = "1"
            [project.entry-points."clockify_rag.embedders"]
            acme = "acme_embedder:AcmeEmbedder"
            [tool.setuptools]
            py-modules = ["acme_embedder"]
        """)
    )
    site = install(project, tmp_path)
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "exports.md").write_text("# Exports\n\nTo export a report, open Reports and choose Export.\n")
    (tmp_path / "clockify-rag.toml").write_text('[embedding]\nembedder = "acme"\n[embedding.arguments]\nwidth = 24\n')
    script = """
        import sys
        from clockify_rag import config, plugins
        from clockify_rag.cli import run
        from clockify_rag.testing import check_embedder
        table = config.load().settings.embedding
        embedder = plugins.create("embedders", table.embedder, table.arguments)
        assert embedder.dimension == 24
        check_embedder(embedder)
        sys.exit(run(["build", "docs"]) or run(["search", "How do I export a report?", "--json"]))
    """
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(site)!r})\n{textwrap.dedent(script)}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"path":"exports.md"' in done.stdout


def install(project: Path, folder: Path) -> Path:
    """Install a package without a network and return where it lies; without setuptools its metadata is written as pip would."""
    site = folder / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-build-isolation", "--no-deps"]
    done = subprocess.run([*command, "--target", str(site), str(project)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        metadata = site / "acme_embedder-1.dist-info"
        metadata.mkdir(parents=True, exist_ok=True)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-embedder\nVersion: 1\n")
        (metadata / "entry_points.txt").write_text("[clockify_rag.embedders]\nacme = acme_embedder:AcmeEmbedder\n")
        (site / "acme_embedder.py").write_text(ACME)
    return site
