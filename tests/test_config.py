"""Settings: layers, messages, origins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clockify_rag import config
from clockify_rag.config import FILE_NAME, Origin, Settings, load
from clockify_rag.errors import ConfigError, InvalidSetting, UnknownSetting


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / FILE_NAME
    file.write_text(text, encoding="utf-8")
    return file


def test_nothing_set_is_the_defaults(tmp_path: Path) -> None:
    loaded = load(directory=tmp_path, environment={})
    assert loaded.settings == Settings()
    assert loaded.file is None
    assert loaded.origin("retrieval.top_k") == Origin("default")


def test_layers_are_merged_by_field(tmp_path: Path) -> None:
    file = write(tmp_path, "[retrieval]\ntop_k = 5\ncandidates = 50\nk1 = 1\n")
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    loaded = load(
        directory=inner,
        environment={"CLOCKIFY_RAG_RETRIEVAL__CANDIDATES": "60", "CLOCKIFY_RAG_RETRIEVAL__B": "0.5", "OTHER": "x"},
        overrides={"retrieval.b": ("--b", 0.25)},
    )
    retrieval = loaded.settings.retrieval
    assert (retrieval.top_k, retrieval.candidates, retrieval.k1, retrieval.b) == (5, 60, 1.0, 0.25)
    assert loaded.file == file
    assert str(loaded.origin("retrieval.top_k")) == f"file {file}"
    assert str(loaded.origin("retrieval.candidates")) == "environment CLOCKIFY_RAG_RETRIEVAL__CANDIDATES"
    assert str(loaded.origin("retrieval.b")) == "command line --b"
    assert str(loaded.origin("retrieval.lexical")) == "default"


def test_the_nearest_file_is_read_and_no_other(tmp_path: Path) -> None:
    write(tmp_path, "[retrieval]\ntop_k = 5\ncandidates = 50\n")
    write(tmp_path / "inner", "[retrieval]\ntop_k = 6\n")
    loaded = load(directory=tmp_path / "inner", environment={})
    assert (loaded.settings.retrieval.top_k, loaded.settings.retrieval.candidates) == (6, 100)


@pytest.mark.parametrize("variable", ["XDG_CONFIG_HOME", "HOME"])
def test_the_users_file_is_read_where_there_is_no_other(tmp_path: Path, variable: str) -> None:
    environment = {variable: str(tmp_path / "user")}
    folder = config.user_folder(environment)
    assert folder is not None
    file = write(folder, "[retrieval]\ntop_k = 4\n")
    work = tmp_path / "work"
    work.mkdir()
    loaded = load(directory=work, environment=environment)
    assert (loaded.file, loaded.settings.retrieval.top_k) == (file, 4)
    assert loaded.settings.index.path == ".clockify-rag"
    write(work, "")
    assert load(directory=work, environment=environment).settings.retrieval.top_k == 12


def test_no_home_is_no_error(tmp_path: Path) -> None:
    assert config.user_folder({}) is None
    assert load(directory=tmp_path, environment={}).file is None


def test_paths_of_a_file_are_relative_to_it(tmp_path: Path) -> None:
    write(tmp_path, '[index]\npath = "here"\n[[sources]]\nlocation = "docs"\n[[sources]]\nlocation = "/abs/x"\n')
    (tmp_path / "inner").mkdir()
    settings = load(directory=tmp_path / "inner", environment={}).settings
    assert settings.index.path == str(tmp_path / "here")
    assert [source.location for source in settings.sources] == [str(tmp_path / "docs"), "/abs/x"]
    assert [source.name for source in config.configured_sources(settings)] == ["docs", "x"]


@pytest.mark.parametrize(
    ("embedder", "model", "relative"),
    [
        ("onnx", "models/minilm", True),
        ("onnx", "../minilm", True),
        ("sentence-transformers", "./minilm", True),
        ("sentence-transformers", "intfloat/e5-small", False),
        ("ollama", "all-minilm", False),
    ],
)
def test_a_folder_of_a_model_is_relative_to_the_file(tmp_path: Path, embedder: str, model: str, relative: bool) -> None:
    (tmp_path / "clockify-rag.toml").write_text(f'[embedding]\nembedder = "{embedder}"\nmodel = "{model}"\n')
    settings = config.load(directory=tmp_path, environment={}).settings
    assert settings.embedding.model == (str(tmp_path / model) if relative else model)


def test_the_index_lies_beside_the_file(tmp_path: Path) -> None:
    write(tmp_path, "")
    (tmp_path / "inner").mkdir()
    loaded = load(directory=tmp_path / "inner", environment={})
    assert loaded.settings.index.path == str(tmp_path / ".clockify-rag")
    environment = {"CLOCKIFY_RAG_INDEX__PATH": "elsewhere"}
    assert load(directory=tmp_path, environment=environment).settings.index.path == "elsewhere"


@pytest.mark.parametrize(
    ("text", "key", "hint"),
    [
        ("[retrieval]\ntopk = 5\n", "retrieval.topk", "retrieval.top_k"),
        ("[retreival]\n", "retreival", "retrieval"),
        ("[retreival]\ntop_k = 1\n", "retreival", "retrieval"),
        ("top_k = 5\n", "top_k", "there are: index, sources"),
        ('[[sources]]\nlocation = "a"\nbaseurl = "b"\n', "sources[0].baseurl", "sources[0].base_url"),
        ("[chunking.target]\nvalue = 1\n", None, ""),
    ],
)
def test_unknown_keys_name_the_nearest_and_the_file(tmp_path: Path, text: str, key: str | None, hint: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(directory=tmp_path, environment={})
    assert caught.value.message.startswith(f"{file}: ")
    if key is not None:
        assert isinstance(caught.value, UnknownSetting)
        assert key in caught.value.message
        assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("CLOCKIFY_RAG_RETRIEVAL__TOPK", "CLOCKIFY_RAG_RETRIEVAL__TOP_K"),
        ("CLOCKIFY_RAG_RETRIEVL__TOP_K", "CLOCKIFY_RAG_RETRIEVAL__TOP_K"),
        ("CLOCKIFY_RAG_RETRIEVAL__TOP_K__DEEPER", "retrieval.top_k has no tables"),
        ("CLOCKIFY_RAG_", "there are:"),
        ("CLOCKIFY_RAG_EMBEDDING__ARGUMENTS__A__B", "embedding.arguments.a has no tables"),
    ],
)
def test_unknown_variables_name_the_nearest(tmp_path: Path, name: str, nearest: str) -> None:
    with pytest.raises(UnknownSetting) as caught:
        load(directory=tmp_path, environment={name: "5"})
    assert caught.value.message.startswith(f"{name}: ")
    assert nearest in caught.value.hint


@pytest.mark.parametrize(
    ("text", "key", "allowed"),
    [
        ('[retrieval]\ntop_k = "5"\n', "retrieval.top_k", "a whole number from 1 to 1000"),
        ("[retrieval]\ntop_k = 0\n", "retrieval.top_k", "a whole number from 1 to 1000"),
        ("[retrieval]\ntop_k = 1.5\n", "retrieval.top_k", "a whole number from 1 to 1000"),
        ("[retrieval]\nb = nan\n", "retrieval.b", "a number from 0 to 1"),
        ("[retrieval]\nb = inf\n", "retrieval.b", "a number from 0 to 1"),
        ("[retrieval]\nlexical = 1\n", "retrieval.lexical", "true or false"),
        ("[retrieval]\ndense_weight = true\n", "retrieval.dense_weight", "a number"),
        ("[generation]\ntotal_seconds = 0\n", "generation.total_seconds", "a number above 0 to 86400"),
        ("retrieval = 5\n", "retrieval", "a table"),
        ("[embedding]\narguments = 5\n", "embedding.arguments", "a table"),
        ("[generation.refusals]\nen = 5\n", "generation.refusals", "a table"),
        ("[execution]\nthreads = 2000\n", "execution.threads", "a whole number from 1 to 1024"),
        ("sources = 5\n", "sources", "a list of tables"),
        ("[[sources]]\n", "sources[0].location", "a folder, a file or an archive"),
        ('[[sources]]\nlocation = "a"\nurl_style = "x"\n', "sources[0].url_style", "one of directory, html, md"),
        ('[[sources]]\nlocation = "a"\ntags = "x"\n', "sources[0].tags", "a list of strings"),
        ("[chunking]\ntarget = 2024-01-01\n", "chunking.target", "a whole number"),
    ],
)
def test_invalid_values_name_file_key_value_and_what_is_allowed(
    tmp_path: Path, text: str, key: str, allowed: str
) -> None:
    file = write(tmp_path, text)
    with pytest.raises(InvalidSetting) as caught:
        load(directory=tmp_path, environment={})
    assert caught.value.message.startswith(f"{file}: {key} is ")
    assert allowed in caught.value.message
    assert caught.value.fields["key"] == key


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("RETRIEVAL__TOP_K", "7", 7),
        ("RETRIEVAL__LEXICAL", "true", True),
        ("RETRIEVAL__DENSE_WEIGHT", "2.3", 2.3),
        ("RETRIEVAL__DENSE_WEIGHT", "null", None),
        ("GENERATION__MODEL", "llama3", "llama3"),
        ("GENERATION__MODEL", "7", "7"),
        ("GENERATION__REFUSALS__DE", "Das steht dort nicht.", {"de": "Das steht dort nicht."}),
        ("EMBEDDING__ARGUMENTS__BATCH_SIZE", "8", {"batch_size": 8}),
        ("EMBEDDING__ARGUMENTS__PREFIX", "query: ", {"prefix": "query: "}),
        ("EMBEDDING__ARGUMENTS", '{"a": [1]}', {"a": [1]}),
    ],
)
def test_variables_are_converted(tmp_path: Path, name: str, value: str, expected: Any) -> None:
    settings = load(directory=tmp_path, environment={f"CLOCKIFY_RAG_{name}": value}).settings
    table, field, *_ = name.lower().split("__")
    assert getattr(getattr(settings, table), field) == expected


def test_sources_of_the_environment(tmp_path: Path) -> None:
    environment = {"CLOCKIFY_RAG_SOURCES": '[{"location": "docs", "tags": ["a", "b"]}]'}
    (source,) = load(directory=tmp_path, environment=environment).settings.sources
    assert (source.location, source.tags) == ("docs", ("a", "b"))
    with pytest.raises(InvalidSetting, match="CLOCKIFY_RAG_SOURCES: sources is 'docs'"):
        load(directory=tmp_path, environment={"CLOCKIFY_RAG_SOURCES": "docs"})


def test_another_component_drops_the_arguments_of_the_first(tmp_path: Path) -> None:
    write(tmp_path, '[embedding]\nembedder = "ollama"\n[embedding.arguments]\nbatch = 8\n')
    kept = load(directory=tmp_path, environment={"CLOCKIFY_RAG_EMBEDDING__ARGUMENTS__MORE": "1"})
    assert kept.settings.embedding.arguments == {"batch": 8, "more": 1}
    same = load(directory=tmp_path, environment={"CLOCKIFY_RAG_EMBEDDING__EMBEDDER": "ollama"})
    assert same.settings.embedding.arguments == {"batch": 8}
    environment = {"CLOCKIFY_RAG_EMBEDDING__EMBEDDER": "openai", "CLOCKIFY_RAG_EMBEDDING__ARGUMENTS__MORE": "1"}
    other = load(directory=tmp_path, environment=environment)
    assert other.settings.embedding.arguments == {"more": 1}
    assert "embedding.arguments.batch" not in other.origins


@pytest.mark.parametrize(("table", "component"), [("generation", "generator"), ("embedding", "embedder")])
def test_another_component_drops_the_address_and_the_model_of_the_first(
    tmp_path: Path, table: str, component: str
) -> None:
    write(tmp_path, f'[{table}]\n{component} = "ollama"\nurl = "http://127.0.0.1:8917"\nmodel = "llama3"\n')
    key = f"{table}.{component}"
    same = load(directory=tmp_path, environment={}, overrides={key: ("--it", "ollama")})
    assert getattr(same.settings, table).url == "http://127.0.0.1:8917"
    other = load(
        directory=tmp_path,
        environment={f"CLOCKIFY_RAG_{table.upper()}__URL": "http://127.0.0.1:1"},
        overrides={key: ("--it", "openai"), f"{table}.model": ("--model", "gpt")},
    )
    assert getattr(other.settings, table).url is None
    assert getattr(other.settings, table).model == "gpt"
    assert f"{table}.url" not in other.origins


def test_the_deadlines_of_generation_hold_for_every_generator(tmp_path: Path) -> None:
    write(tmp_path, '[generation]\ngenerator = "ollama"\ntotal_seconds = 5\n[generation.refusals]\nen = "No."\n')
    other = load(directory=tmp_path, environment={}, overrides={"generation.generator": ("--generator", "openai")})
    assert (other.settings.generation.total_seconds, other.settings.generation.refusals) == (5, {"en": "No."})


def test_every_field_of_a_source_has_its_origin(tmp_path: Path) -> None:
    file = write(tmp_path, '[[sources]]\nlocation = "a"\n[[sources]]\nlocation = "b"\ntags = ["x"]\n')
    loaded = load(directory=tmp_path, environment={})
    assert str(loaded.origin("sources[1].tags")) == f"file {file}"
    assert str(loaded.origin("sources[0].location")) == f"file {file}"
    assert loaded.origin("sources[0].tags").layer == "default"
    environment = {"CLOCKIFY_RAG_SOURCES": '[{"location": "c", "name": "c"}]'}
    replaced = load(directory=tmp_path, environment=environment)
    assert {key for key in replaced.origins if key.startswith("sources[")} == {"sources[0].location", "sources[0].name"}
    assert replaced.origin("sources[0].name").where == "CLOCKIFY_RAG_SOURCES"


@pytest.mark.parametrize("language", ["english", "e", "12", "", "en_"])
def test_a_language_that_is_no_code_is_refused(tmp_path: Path, language: str) -> None:
    write(tmp_path, f'[[sources]]\nlocation = "a"\nlanguage = "{language}"\n')
    with pytest.raises(InvalidSetting, match=r"which is not an ISO 639-1 code such as en"):
        load(directory=tmp_path, environment={})
    with pytest.raises(InvalidSetting, match=r"--language: .*which is not an ISO 639-1 code such as en"):
        config.typed_sources(["a"], config.Settings(), {"language": ("--language", language)})


def test_a_language_may_name_its_region(tmp_path: Path) -> None:
    write(tmp_path, '[[sources]]\nlocation = "a"\nlanguage = "pt-BR"\n')
    assert load(directory=tmp_path, environment={}).settings.sources[0].language == "pt-BR"


def test_a_working_directory_that_is_gone_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match="the working directory is gone"):
        load(environment={})
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("generation.url", "http://user:p@ss@host:1/v1", "http://***@host:1/v1"),
        ("generation.url", "https://host/v1?api_key=abc&a=b#c", "https://host/v1?api_key=***&a=b#c"),
        ("sources[0].base_url", "https://host/@scope/page?to=a@b", "https://host/@scope/page?to=a@b"),
        ("generation.arguments.api_key", "abc", "***"),
        (
            "generation.arguments.headers",
            {"X-Auth-Token": "abc", "Accept": "text"},
            {"X-Auth-Token": "***", "Accept": "text"},
        ),
        ("generation.arguments.secrets", ["abc", {"a": "abc"}], ["***", {"a": "***"}]),
        ("embedding.arguments.password", 1234, "***"),
        ("generation.arguments.mirrors", ["http://u:p@h"], ["http://***@h"]),
        ("crawling.proxy", "user:secret@proxy:3128", "***@proxy:3128"),
        ("crawling.proxy", "http://user:se/cret@proxy:3128", "http://***@proxy:3128"),
        ("generation.arguments.token", "", ""),
        ("generation.arguments.max_tokens", 100, 100),
        ("generation.first_token_seconds", 60.0, 60.0),
        ("packing.budget_tokens", 3000, 3000),
        ("index.path", "/a/b@c", "/a/b@c"),
        ("generation.model", None, None),
    ],
)
def test_secrets_are_masked(key: str, value: Any, shown: Any) -> None:
    assert config.masked(key, value) == shown


def test_a_message_about_a_value_tells_no_secret(tmp_path: Path) -> None:
    environment = {"CLOCKIFY_RAG_GENERATION__ARGUMENTS": '{"api_key": "s3cret"'}
    with pytest.raises(InvalidSetting) as caught:
        load(directory=tmp_path, environment=environment)
    assert "s3cret" not in repr(caught.value.message) + repr(caught.value.fields)


def test_target_above_maximum_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "[chunking]\nmaximum = 100\n")
    with pytest.raises(InvalidSetting, match=r"chunking\.target is 400, which is above chunking\.maximum, 100"):
        load(directory=tmp_path, environment={})


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"[retrieval\n", "is not TOML"), (b"\xff\xfe", "is not UTF-8"), (b"a" * 10, "is not TOML")],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load(directory=tmp_path, environment={})


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "")

    def refused(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(ConfigError, match=r"cannot read .*: Permission denied"):
        load(directory=tmp_path, environment={})


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("/a/docs", "docs"),
        ("/a/docs/", "docs"),
        ("/a/help.tar.gz", "help"),
        ("/a/x.TGZ", "x"),
        ("/a/f.jsonl", "f"),
        ("/", "root"),
        ("/a/guide.md", "guide"),
    ],
)
def test_source_names(location: str, name: str) -> None:
    assert config.default_source_name(location) == name


def test_every_setting_is_described() -> None:
    for key, description, _ in config.every_key():
        assert description, key


def test_the_names_of_components_are_settings() -> None:
    keys = {key.rpartition(".")[2] for key, _, _ in config.every_key()}
    assert set(config.COMPONENTS.values()) <= keys


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(key=st.sampled_from([key for key, _, _ in config.every_key() if "sources" not in key]), value=_VALUES)
def test_any_value_is_taken_or_refused_by_name(key: str, value: Any) -> None:
    try:
        loaded = load(directory="/", environment={}, overrides={key: ("--it", value)})
    except ConfigError as error:
        assert key in error.message  # noqa: PT017 - either outcome is right
    else:
        assert msgspec.convert(msgspec.to_builtins(loaded.settings), Settings) == loaded.settings


@given(name=st.text(st.characters(min_codepoint=65, max_codepoint=95), max_size=30), value=st.text(max_size=10))
def test_any_variable_is_taken_or_refused_by_name(name: str, value: str) -> None:
    variable = f"CLOCKIFY_RAG_{name}"
    try:
        load(directory="/", environment={variable: value})
    except ConfigError as error:
        assert variable in error.message  # noqa: PT017 - either outcome is right


def test_a_source_may_be_named_as_it_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    (tmp_path / "v2").mkdir()
    (tmp_path / "latest").symlink_to("v2")
    assert config.typed_source("a=b") == ("a=b", "a=b")
    assert config.typed_source("manual=docs/pages") == ("manual", "docs/pages")
    assert config.typed_source("docs/manual.tar.gz") == ("manual", "docs/manual.tar.gz")
    assert config.typed_source("latest") == ("latest", "latest")


def test_two_sources_of_one_name_can_be_told_apart() -> None:
    with pytest.raises(InvalidSetting, match="two sources are named 'docs'") as caught:
        config.typed_sources(["a/docs", "b/docs"], config.Settings())
    told_apart = config.typed_sources(["a/docs", caught.value.hint.split(": ")[1]], config.Settings())
    assert [source.name for source in told_apart] == ["docs", "docs-2"]
