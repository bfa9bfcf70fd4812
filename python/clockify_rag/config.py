"""Settings: what can be set, where it is read from, and which place set it.

Defaults < ``clockify-rag.toml`` < ``CLOCKIFY_RAG_`` environment < command line, merged field by field. The structs below are the
only list of settings: the documentation, the file that ``init`` writes and the messages about bad values are made from their
types and descriptions. Each value is converted alone, because only then a message can name the file, the key, the value and what
is allowed. Without a file and without a variable nothing is converted at all, which keeps a start short.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NoReturn

import msgspec
from msgspec import Meta

from clockify_rag.contracts import Site, Source
from clockify_rag.errors import ConfigError, InvalidSetting, UnknownSetting

FILE_NAME: Final = "clockify-rag.toml"
"""The name of a configuration file."""

ENVIRONMENT_PREFIX: Final = "CLOCKIFY_RAG_"
"""How the names of environment variables that are settings begin; levels are separated by two underscores."""

LEVELS: Final = 2
"""A setting has a table and a name; an entry of a setting that is itself a table is one level deeper."""

SOURCE_ENDINGS: Final = (
    ".tar.gz",
    ".tgz",
    ".tar",
    ".jsonl",
    ".ndjson",
    ".markdown",
    ".md",
    ".mdx",
    ".html",
    ".htm",
    ".xhtml",
    ".txt",
    ".text",
    ".pdf",
    ".docx",
)
"""Endings of files that are left out of a source's name."""

INDEX_FOLDER: Final = ".clockify-rag"
"""The index beside a configuration file, or in the working directory, where none is named."""


OF_COMPONENT: Final = ("model", "url")
"""Settings of a table that belong to its component, as its arguments do: another component does not get them."""

MASK: Final = "***"
"""What is shown in place of a secret."""

_SECRET_NAME: Final = re.compile(r"key|token|secret|passw|credential|authorization", re.IGNORECASE)
_SECRET_OF_ANY_TYPE: Final = re.compile(r"(?:key|token|secret|password)$", re.IGNORECASE)
_USER_OF_URL: Final = re.compile(r"(\w://)[^/?#\s]*@")
_SECRET_OF_URL: Final = re.compile(r"([?&][^=&#\s]*(?:key|token|secret|passw)[^=&#\s]*=)[^&#\s]+", re.IGNORECASE)


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration file."""


MAXIMUM_TOP_K: Final = 1000
"""The most hits that a search returns."""

LanguageCode = Annotated[str, Meta(pattern="^[A-Za-z]{2}([-_][A-Za-z0-9]+)*$")]
Share = Annotated[float, Meta(ge=0, le=1)]
Weight = Annotated[float, Meta(ge=0, le=1000)]
Seconds = Annotated[float, Meta(gt=0, le=86400)]
Arguments = dict[str, Any]


class IndexSettings(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[index]``: where the index lies."""

    path: Annotated[
        str, Meta(description="Folder of the index; relative to this file. Default: `.clockify-rag` beside this file")
    ] = INDEX_FOLDER


class SourceSettings(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[sources]]``: what ``build`` reads when it is given no source."""

    location: Annotated[
        str, Meta(description="A folder, a file or an archive; relative to this file. A source has this or `url`")
    ] = ""
    url: Annotated[
        str | None, Meta(description="Address of a site that is crawled: it stays on that host, in that folder")
    ] = None
    name: Annotated[
        str | None, Meta(description="Name of the source; by default that of its folder, archive or host")
    ] = None
    base_url: Annotated[str | None, Meta(description="Address under which the pages are published")] = None
    url_style: Annotated[
        Literal["html", "directory", "plain", "md"],
        Meta(description="How a path becomes an address below `base_url`: `a.html`, `a/`, `a`, or the path itself"),
    ] = "html"
    slugs: Annotated[
        Literal["github", "docusaurus", "mkdocs", "sphinx", "gitlab"] | None,
        Meta(description="Generator whose anchors headings without an id get; detected when not set"),
    ] = None
    language: Annotated[LanguageCode | None, Meta(description="ISO 639-1 code of pages that do not say theirs")] = None
    version: Annotated[str | None, Meta(description="Version of the product that the pages describe")] = None
    tags: Annotated[tuple[str, ...], Meta(description="Tags of every page")] = ()
    include: Annotated[tuple[str, ...], Meta(description="Patterns of paths to read; all when empty")] = ()
    exclude: Annotated[tuple[str, ...], Meta(description="Patterns of paths to leave out")] = ()
    depth: Annotated[Annotated[int, Meta(ge=0, le=1000)] | None, Meta(description="Of a site: as `crawling.depth`")] = (
        None
    )
    maximum_pages: Annotated[
        Annotated[int, Meta(ge=1, le=10_000_000)] | None, Meta(description="Of a site: as `crawling.maximum_pages`")
    ] = None
    maximum_bytes: Annotated[
        Annotated[int, Meta(ge=1, le=2**50)] | None, Meta(description="Of a site: as `crawling.maximum_bytes`")
    ] = None
    per_host: Annotated[
        Annotated[int, Meta(ge=1, le=256)] | None, Meta(description="Of a site: as `crawling.per_host`")
    ] = None
    languages: Annotated[
        tuple[str, ...],
        Meta(
            description='Of a site: ISO 639-1 codes of the languages that are kept; the start page\'s when empty, `["*"]` for all'
        ),
    ] = ()
    versions: Annotated[
        tuple[str, ...],
        Meta(
            description='Of a site: versions that are kept, as paths name them; the best of each page when empty, `["*"]` for all'
        ),
    ] = ()
    boost: Annotated[float, Meta(gt=0, le=100, description="Weight of the source's pages beside those of others")] = 1.0
    glossary: Annotated[
        tuple[str, ...], Meta(description="Patterns of paths whose files define terms, also `.csv`")
    ] = ()
    faq: Annotated[tuple[str, ...], Meta(description="Patterns of paths whose files are questions and answers")] = ()


class CrawlingSettings(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[crawling]``: reading sites."""

    per_host: Annotated[int, Meta(ge=1, le=256, description="Requests to one host at one time")] = 2
    delay_seconds: Annotated[
        float, Meta(ge=0, le=3600, description="Shortest time between two requests to one host, in seconds")
    ] = 0.0
    depth: Annotated[int, Meta(ge=0, le=1000, description="How many links from the start a page may be")] = 32
    maximum_pages: Annotated[int, Meta(ge=1, le=10_000_000, description="Pages of one site that are read")] = 10_000
    maximum_bytes: Annotated[int, Meta(ge=1, le=2**50, description="Bytes of all pages of one site")] = 2_000_000_000
    page_bytes: Annotated[int, Meta(ge=1, le=2**30, description="Decoded bytes of one page")] = 10_485_760
    page_seconds: Annotated[Seconds, Meta(description="Longest time for one page, in seconds")] = 60.0
    interval_hours: Annotated[
        float, Meta(gt=0, le=87_600, description="How often `watch` reads a site again, in hours")
    ] = 24.0
    user_agent: Annotated[
        str | None, Meta(description="Added to `clockify-rag/<version>` where requests say who asks: a contact")
    ] = None
    headers: Annotated[
        dict[str, dict[str, str]],
        Meta(description="For a host, headers that it alone is sent: name to the environment variable of the value"),
    ] = {}
    cookies: Annotated[
        dict[str, dict[str, str]],
        Meta(description="For a host, cookies that it alone is sent: name to the environment variable of the value"),
    ] = {}
    proxy: Annotated[str | None, Meta(description="Address of a proxy for all requests")] = None
    ca_bundle: Annotated[
        str | None, Meta(description="File of the certificates that are trusted instead of the system's")
    ] = None
    allow_private_hosts: Annotated[
        tuple[str, ...], Meta(description="Hosts, as `host` or `host:port`, that may have private addresses")
    ] = ()


class LoadingSettings(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[loading]``: reading sources."""

    loader: Annotated[str, Meta(description="Component that reads sources")] = "files"
    ignore: Annotated[bool, Meta(description="Skip hidden, ignored, dependency and build paths")] = True
    maximum_bytes: Annotated[int, Meta(ge=1, le=2**31, description="Largest file that is read, in bytes")] = 50_000_000
    omitted_sections: Annotated[
        tuple[str, ...],
        Meta(description='Headings of sections that are left out with all under them, such as `"Internal notes"`'),
    ] = ()
    maximum_loss: Annotated[
        Share, Meta(description="Share of a source's pages that a build may lose without `--allow-shrink`")
    ] = 0.5
    arguments: Annotated[Arguments, Meta(description="Arguments of the loader")] = {}


class ChunkingSettings(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[chunking]``: cutting pages into chunks."""

    chunker: Annotated[
        str, Meta(description="Component that cuts pages: `structure`, `sentence`, `semantic` or `fixed`")
    ] = "structure"
    target: Annotated[int, Meta(ge=1, le=100_000, description="Tokens that a chunk should have")] = 400
    maximum: Annotated[int, Meta(ge=1, le=100_000, description="Tokens that a chunk has at most")] = 800
    overlap: Annotated[
        float, Meta(ge=0, le=0.5, description="Share of a chunk that the next one of its section repeats")
    ] = 0.15
    arguments: Annotated[Arguments, Meta(description="Arguments of the chunker")] = {}


class EmbeddingSettings(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[embedding]``: turning text into vectors."""

    embedder: Annotated[
        str | None,
        Meta(
            description="Component that embeds, `none` for no vectors; by default the index's own, `static` for a new one"
        ),
    ] = None
    model: Annotated[
        str | None, Meta(description="Model of the embedder, where it has a choice: a name, or a folder")
    ] = None
    url: Annotated[str | None, Meta(description="Address of the embedder's server, where it has one")] = None
    title_weight: Annotated[
        Weight, Meta(description="Weight of the page's title in a chunk's vector, beside the chunk itself")
    ] = 0.5
    cache_bytes: Annotated[
        int, Meta(ge=0, le=2**40, description="Most bytes that the cache of one embedder's vectors may take")
    ] = 2**30
    arguments: Annotated[Arguments, Meta(description="Arguments of the embedder")] = {}


class UnderstandingSettings(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[understanding]``: turning a question into a query."""

    understander: Annotated[str, Meta(description="Component that turns a question into a query")] = "steps"
    default_language: Annotated[
        str,
        Meta(pattern="^[a-z]{2}$", description="ISO 639-1 code of the language of questions that do not tell theirs"),
    ] = "en"
    tickets: Annotated[
        bool, Meta(description="Take greetings, signatures, quoted mails, headers and attachments out of a ticket")
    ] = True
    classifier: Annotated[
        str,
        Meta(description="Component that tells what a question wants, such as steps or a definition; `none` for none"),
    ] = "rules"
    glossary: Annotated[
        str | None,
        Meta(description="File of terms and their aliases, Markdown or CSV; relative to this file"),
    ] = None
    expansion_weight: Annotated[
        float,
        Meta(ge=0, le=0.2, description="What a word that the glossary adds counts beside one of the question"),
    ] = 0.1
    follow_ups: Annotated[
        bool, Meta(description="Let a question that points at the one before it gain that one's words")
    ] = True
    rewriting: Annotated[
        bool, Meta(description="Let the generator's model rewrite a question of a conversation so that it stands alone")
    ] = False
    multi_query: Annotated[
        bool, Meta(description="Let the generator's model word the question otherwise, and search that too")
    ] = False
    decomposition: Annotated[
        bool, Meta(description="Let the generator's model take the question apart, and search the parts too")
    ] = False
    hypothetical_answer: Annotated[
        bool, Meta(description="Let the generator's model write an answer, and search what resembles it too")
    ] = False
    seconds: Annotated[
        Seconds, Meta(description="Longest time for all that a model does to understand one question, in seconds")
    ] = 5.0
    arguments: Annotated[Arguments, Meta(description="Arguments of the understander")] = {}


class RetrievalSettings(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[retrieval]``: finding chunks."""

    retriever: Annotated[str, Meta(description="Component that finds candidates")] = "hybrid"
    top_k: Annotated[int, Meta(ge=1, le=MAXIMUM_TOP_K, description="Hits returned")] = 12
    candidates: Annotated[
        int, Meta(ge=1, le=10_000, description="Candidates taken from the lexical and from the dense ranking, each")
    ] = 100
    lexical: Annotated[bool, Meta(description="Do not use vectors")] = False
    k1: Annotated[float, Meta(ge=0, le=10, description="BM25F: how soon repeated words stop counting")] = 1.2
    b: Annotated[Share, Meta(description="BM25F: how much long chunks are discounted")] = 0.75
    title_weight: Annotated[Weight, Meta(description="BM25F: weight of words in the page's title")] = 5.0
    heading_weight: Annotated[Weight, Meta(description="BM25F: weight of words in the headings above a chunk")] = 1.0
    body_weight: Annotated[Weight, Meta(description="BM25F: weight of words in the chunk itself")] = 1.0
    dense_weight: Annotated[
        float | None,
        Meta(description="Weight of the cosine in fusion; by default the embedder's: static 1.8, MiniLM 2.3, else 1"),
    ] = None
    document_weight: Annotated[
        Weight, Meta(description="Weight of the whole document's evidence in a chunk's score")
    ] = 0.3
    repeat_weight: Annotated[
        Share, Meta(description="What each further chunk of a section counts, as a share of the one before it")
    ] = 0.85
    fold_duplicates: Annotated[
        bool, Meta(description="Return what several pages say once; the hit names the other pages")
    ] = True
    per_document: Annotated[
        int,
        Meta(ge=0, le=1000, description="Hits of one page before those of all other pages come; 0 is no bound"),
    ] = 0
    glossary_boost: Annotated[
        float,
        Meta(
            ge=1,
            le=100,
            description="What relevance of glossary entries is multiplied by where a definition is asked for",
        ),
    ] = 1.0
    dense: Annotated[
        Literal["auto", "exact", "cascade"],
        Meta(
            description="How the nearest chunks are found: `exact`, by a full scan; `cascade`, by estimates first, which is "
            "faster and may miss some; `auto`, exact where that is fast"
        ),
    ] = "auto"
    arguments: Annotated[Arguments, Meta(description="Arguments of the retriever")] = {}


class RerankingSettings(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[reranking]``: ordering hits again."""

    reranker: Annotated[
        str,
        Meta(
            description="Component that orders hits again: `mmr`, `cross-encoder`, `llm`, `none`, or another package's"
        ),
    ] = "mmr"
    model: Annotated[
        str | None,
        Meta(description="Model of the cross-encoder: a name, or a folder; by default `ms-marco-MiniLM-L6-v2`"),
    ] = None
    depth: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | None,
        Meta(description="Hits that a model reads; by default 20 for `cross-encoder`, 10 for `llm`"),
    ] = None
    seconds: Annotated[
        Seconds | None,
        Meta(
            description="Longest time that a model may take, in seconds, before the order stays as it is; by default 2 for "
            "`cross-encoder`, 20 for `llm`"
        ),
    ] = None
    mmr_lambda: Annotated[
        Share, Meta(description="Maximal marginal relevance: 1 is relevance only, less is more variety")
    ] = 0.98
    arguments: Annotated[Arguments, Meta(description="Arguments of the reranker")] = {}


class PackingSettings(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[packing]``: choosing what a generator is shown."""

    packer: Annotated[
        str,
        Meta(
            description="Component that chooses the generator's context: `by-relevance`, `by-document`, `diverse`, `clustered`, or "
            "another package's"
        ),
    ] = "by-relevance"
    pack_top: Annotated[int, Meta(ge=1, le=1000, description="Hits that a generator is shown at most")] = 6
    budget_tokens: Annotated[
        int, Meta(ge=16, le=10_000_000, description="Tokens that a generator is shown at most")
    ] = 3000
    neighbours: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="Chunks before and after a hit, of its section, that are shown besides where they fit",
        ),
    ] = 0
    whole_articles: Annotated[
        Literal["never", "how-to", "always"] | None,
        Meta(
            description="For which kind of questions the best hit's whole page is shown where it fits; by default `how-to` to a "
            "language model, `never` to `extractive`"
        ),
    ] = None
    arguments: Annotated[Arguments, Meta(description="Arguments of the packer")] = {}


class GenerationSettings(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[generation]``: writing answers."""

    generator: Annotated[str, Meta(description="Component that writes answers")] = "extractive"
    model: Annotated[str | None, Meta(description="Model of the generator, where it has a choice")] = None
    url: Annotated[str | None, Meta(description="Address of the generator's server, where it has one")] = None
    connect_seconds: Annotated[Seconds, Meta(description="Longest wait for a connection, in seconds")] = 2.0
    first_token_seconds: Annotated[Seconds, Meta(description="Longest wait for the first token, in seconds")] = 60.0
    between_tokens_seconds: Annotated[Seconds, Meta(description="Longest wait between two tokens, in seconds")] = 20.0
    total_seconds: Annotated[Seconds, Meta(description="Longest time for one answer, in seconds")] = 300.0
    fallbacks: Annotated[
        tuple[str, ...],
        Meta(description='Generators that are asked where it fails, in order: a name, or `"ollama:MODEL"`'),
    ] = ()
    prompt: Annotated[
        str | None, Meta(description="File with the rules that a model is given; relative to this file")
    ] = None
    pause_after_failures: Annotated[
        int, Meta(ge=1, le=1000, description="Failures in a row after which a model's server is left alone for a while")
    ] = 3
    pause_seconds: Annotated[Seconds, Meta(description="How long it is left alone, in seconds")] = 30.0
    refusals: Annotated[
        dict[str, str],
        Meta(description="Sentence that refuses an answer, by ISO 639-1 code of the question's language"),
    ] = {}
    arguments: Annotated[Arguments, Meta(description="Arguments of the generator")] = {}


class VerificationSettings(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[verification]``: proving answers."""

    verifier: Annotated[str, Meta(description="Component that proves what an answer says")] = "quotes"
    policy: Annotated[
        Literal["strict", "balanced", "off"],
        Meta(
            description="Sentences of a model that no source says are cut, marked with [?] where they are to be doubted, or not looked for"
        ),
    ] = "balanced"
    arguments: Annotated[Arguments, Meta(description="Arguments of the verifier")] = {}


class CalibrationSettings(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[calibration]``: when a question is refused an answer."""

    file: Annotated[
        str | None,
        Meta(
            description="File that `calibrate` wrote; relative to this file. "
            "Default: `calibration.json` in the folder of the index, else the one that is shipped",
        ),
    ] = None
    threshold: Annotated[
        Share | None, Meta(description="Confidence below which a question is refused; by default the calibration's")
    ] = None


class CacheSettings(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[cache]``: answers and rankings that are given again."""

    enabled: Annotated[bool, Meta(description="Give an answer again that was made of all the same")] = True
    entries: Annotated[int, Meta(ge=1, le=1_000_000, description="Answers that are kept, those used last")] = 100
    seconds: Annotated[float, Meta(gt=0, le=31_536_000, description="How long an answer is kept, in seconds")] = 3600.0
    persist: Annotated[
        bool,
        Meta(
            description="Keep answers, and the questions in them, in a file in the folder of the index too, which only its "
            "owner can read"
        ),
    ] = False


class WatchingSettings(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[watching]``: following sources."""

    settle_seconds: Annotated[
        float, Meta(gt=0, le=3600, description="How long nothing must change before a change is built, in seconds")
    ] = 0.3
    polling: Annotated[
        bool, Meta(description="Look at every file each second instead of being told of changes by the system")
    ] = False


class ExecutionSettings(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[execution]``: how the machine is used."""

    threads: Annotated[
        Annotated[int, Meta(ge=1, le=1024)] | None,
        Meta(description="Threads of the core; by default one per processor core"),
    ] = None


class Settings(Table, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings. ``Settings()`` are the defaults; ``load`` reads what the user set."""

    index: IndexSettings = IndexSettings()
    sources: tuple[SourceSettings, ...] = ()
    loading: LoadingSettings = LoadingSettings()
    crawling: CrawlingSettings = CrawlingSettings()
    chunking: ChunkingSettings = ChunkingSettings()
    embedding: EmbeddingSettings = EmbeddingSettings()
    understanding: UnderstandingSettings = UnderstandingSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    reranking: RerankingSettings = RerankingSettings()
    packing: PackingSettings = PackingSettings()
    generation: GenerationSettings = GenerationSettings()
    verification: VerificationSettings = VerificationSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    cache: CacheSettings = CacheSettings()
    watching: WatchingSettings = WatchingSettings()
    execution: ExecutionSettings = ExecutionSettings()


class Origin(msgspec.Struct, frozen=True):
    """The place that set a value."""

    layer: Literal["default", "file", "environment", "command line"]
    where: str = ""
    """The file, the variable or the option."""

    def __str__(self) -> str:
        return f"{self.layer} {self.where}".rstrip()


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """Settings, and where each of them came from."""

    settings: Settings
    file: Path | None
    """The configuration file that was read."""
    origins: Mapping[str, Origin]
    """Dotted key to origin, for the keys that are not defaults."""

    def origin(self, key: str) -> Origin:
        """Return the origin of ``key``, such as ``retrieval.top_k``."""
        return self.origins.get(key, Origin("default"))


def load(
    *,
    directory: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, tuple[str, Any]] | None = None,
) -> Configuration:
    """Read all layers and merge them.

    Args:
        directory: where the search for a configuration file begins; by default the working directory.
        environment: the variables; by default those of the process.
        overrides: dotted key to the option that set it and its value, such as ``{"retrieval.top_k": ("--top-k", 5)}``.

    Raises:
        UnknownSetting: a key or variable names no setting.
        InvalidSetting: a value is not allowed.
        ConfigError: the file cannot be read or is not TOML, or the working directory is gone.
    """
    environment = os.environ if environment is None else environment
    start = working_directory() if directory is None else Path(directory).absolute()
    project = _nearest_file(start)
    file = project or _user_file(environment)
    merged = _Merged()
    if file is not None:
        _add_file(merged, file)
    for name in sorted(environment):
        if name.startswith(ENVIRONMENT_PREFIX):
            _add_variable(merged, name, environment[name])
    for key, (option, value) in (overrides or {}).items():
        merged.add(tuple(key.split(".")), value, Origin("command line", option), strict=True)
    if project is not None and "index.path" not in merged.origins:
        merged.tables["index"] = {"path": str(project.parent / INDEX_FOLDER)}
    return Configuration(settings=merged.settings(), file=file, origins=merged.origins)


def working_directory() -> Path:
    """Return the working directory; raises ``ConfigError`` where it was removed or may not be seen."""
    try:
        return Path.cwd()
    except OSError as error:
        raise ConfigError(
            f"the working directory is gone: {error.strerror}", hint="cd to a folder that exists"
        ) from error


def masked(key: str, value: Any) -> Any:
    """Return the value of the setting ``key`` as it may be shown: without passwords and keys.

    Masked are the values of names that speak of a secret, the user of an address, and what an address says of a secret.
    A number is masked only where the name ends in the word, because ``max_tokens`` is no secret.
    """
    name = key.partition(".arguments.")[2] or key.rpartition(".")[2]
    if isinstance(value, Mapping):
        return {
            inner: masked(f"{name}.{inner}" if not _SECRET_NAME.search(name) else name, of)
            for inner, of in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(masked(name, inner) for inner in value)
    if isinstance(value, str):
        if value and _SECRET_NAME.search(name):
            return MASK
        if name == "proxy":
            # Also where it is written without its scheme, so that it is no address yet.
            value = re.sub(r"^(\w+://)?.*@", rf"\g<1>{MASK}@", value, flags=re.DOTALL)
        return _SECRET_OF_URL.sub(rf"\g<1>{MASK}", _USER_OF_URL.sub(rf"\g<1>{MASK}@", value))
    return MASK if value is not None and _SECRET_OF_ANY_TYPE.search(name) else value


def configured_sources(settings: Settings) -> tuple[Source, ...]:
    """Return the sources of ``[[sources]]``, each with a name.

    Raises:
        InvalidSetting: two sources have one name.
    """
    sources = tuple(_configured(table) for table in settings.sources)
    check_source_names(sources)
    return sources


def _configured(table: SourceSettings) -> Source:
    fields = {field: getattr(table, field) for field in table.__struct_fields__}
    of_site = {field: fields.pop(field) for field in Site.__struct_fields__}
    name = fields.pop("name")
    if of_site["url"] is None:
        return Source(name=name or default_source_name(table.location), **fields)
    fields["location"] = of_site["url"]
    return Source(name=name or site_name(of_site["url"]), site=Site(**of_site), **fields)


def typed_sources(
    locations: Sequence[str], settings: Settings, changes: Mapping[str, tuple[str, Any]] | None = None
) -> tuple[Source, ...]:
    """Return the sources that were typed, or the configured ones where none was.

    Args:
        locations: folders, files or archives; one that is configured too keeps what its table says.
        settings: where ``[[sources]]`` are.
        changes: field of a source to the option that changes it and its value, for all of them.

    Raises:
        InvalidSetting: a change is not allowed, two sources have one name, or there is no source at all.
    """
    fields = {field.name: field.type for field in msgspec.structs.fields(SourceSettings)}
    changed = {
        name: _convert(("sources", name), value, fields[name], Origin("command line", option), strict=True)
        for name, (option, value) in (changes or {}).items()
    }
    configured = {table.url or str(Path(table.location).resolve()): table for table in settings.sources}
    tables: Sequence[SourceSettings] = [
        _typed(name, location, configured) for name, location in map(typed_source, locations)
    ] or settings.sources
    if not tables:
        raise InvalidSetting("there is no source to build from", hint="clockify-rag build FOLDER, or clockify-rag init")
    return configured_sources(
        msgspec.structs.replace(settings, sources=tuple(msgspec.structs.replace(table, **changed) for table in tables))
    )


def _typed(name: str, location: str, configured: Mapping[str, SourceSettings]) -> SourceSettings:
    if is_address(location):
        return configured.get(location) or SourceSettings(url=location, name=name)
    return configured.get(str(Path(location).resolve())) or SourceSettings(location=location, name=name)


def is_address(location: str) -> bool:
    """Return whether a location is the address of a site and not of a file."""
    return re.match(r"https?://", location, re.IGNORECASE) is not None


def site_name(url: str) -> str:
    """Return the name of the site at ``url``: its host, and its folder where it has one."""
    host, _, path = re.sub(r"^\w+://|[?#].*$", "", url).partition("/")
    parts = re.findall(r"\w[\w.]*", host.rpartition("@")[2].removeprefix("www.")) + re.findall(r"\w[\w.-]*", path)
    return "-".join(parts).lower() or "site"


def typed_source(given: str) -> tuple[str, str]:
    """Return the name and the location of a source as it is typed: ``LOCATION``, or ``NAME=LOCATION``."""
    if is_address(given):
        return site_name(given), given
    name, equals, location = given.partition("=")
    if equals and location and re.fullmatch(r"[\w.-]+", name) and not os.path.lexists(given):
        return unicodedata.normalize("NFC", name), location
    return default_source_name(given), given


def default_source_name(location: str | Path) -> str:
    """Return the name of the folder, file or archive at ``location``, without an ending. A link is not followed, so that
    what ``latest`` points to may change without changing the name.
    """
    name = unicodedata.normalize("NFC", os.path.basename(os.path.abspath(location)))  # noqa: PTH100, PTH119 - no link is followed
    for ending in SOURCE_ENDINGS:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name or "root"


def check_source_names(sources: tuple[Source, ...]) -> None:
    """Raise ``InvalidSetting`` where two sources have one name."""
    locations: dict[str, str] = {}
    for source in sources:
        name = unicodedata.normalize("NFC", source.name)
        if name in locations:
            raise InvalidSetting(
                f"two sources are named {source.name!r}: {locations[name]} and {source.location}",
                hint=f"give one a name of its own: {source.name}-2={source.location}",
                name=source.name,
            )
        locations[name] = source.location


def every_key() -> Iterator[tuple[str, str, Any]]:
    """Yield for every setting its dotted key, its description and its default; keys of ``[[sources]]`` begin ``sources[].``."""
    for table in msgspec.structs.fields(Settings):
        struct, prefix = (SourceSettings, "sources[]") if table.name == "sources" else (table.type, table.name)
        for field in msgspec.structs.fields(struct):
            default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
            yield f"{prefix}.{field.name}", _description(field.type), default


class _Merged:
    """The layers that were read so far: raw tables of converted values, and who set them."""

    def __init__(self) -> None:
        self.tables: dict[str, Any] = {}
        self.origins: dict[str, Origin] = {}

    def add(self, path: tuple[str, ...], value: Any, origin: Origin, *, strict: bool) -> None:
        """Set the value at ``path``, which may be a whole table; raises what ``load`` raises."""
        tables = {field.name: field.type for field in msgspec.structs.fields(Settings)}
        if path and path[0] not in tables:
            _unknown(path, 0, tables, origin)
        if path and path[0] == "sources":
            self._set_sources(path, value, origin, strict=strict)
            return
        if len(path) < LEVELS and isinstance(value, Mapping):
            for name, inner in value.items():
                self.add((*path, str(name)), inner, origin, strict=strict)
            return
        if len(path) < LEVELS:
            _invalid(path, value, origin, "a table")
        fields = {field.name: field.type for field in msgspec.structs.fields(tables[path[0]])}
        if path[1] not in fields:
            _unknown(path, 1, fields, origin)
        self._set(path, value, fields[path[1]], origin, strict=strict)

    def _set_sources(self, path: tuple[str, ...], value: Any, origin: Origin, *, strict: bool) -> None:
        tables, self.tables["sources"] = _sources(path, value, origin, strict=strict)
        for key in [key for key in self.origins if key.startswith("sources[")]:
            del self.origins[key]
        self.origins["sources"] = origin
        self.origins.update({f"sources[{at}].{name}": origin for at, table in enumerate(tables) for name in table})

    def _set(self, path: tuple[str, ...], value: Any, kind: Any, origin: Origin, *, strict: bool) -> None:
        table = self.tables.setdefault(path[0], {})
        keyed = _plain(kind)
        if _is_dictionary(keyed):
            self._set_entries(table, path, value, keyed, origin, strict=strict)
            return
        if len(path) > LEVELS:
            _unknown(path, 2, {}, origin)
        converted = _convert(path, value, kind, origin, strict=strict)
        if (
            path[1] in COMPONENTS.values()
            and path[1] != "classifier"
            and path[1] in table
            and table[path[1]] != converted
        ):
            self._forget_component(path[0], origin.layer)
        table[path[1]] = converted
        self.origins[".".join(path)] = origin

    def _set_entries(
        self, table: dict[str, Any], path: tuple[str, ...], value: Any, kind: Any, origin: Origin, *, strict: bool
    ) -> None:
        if len(path) == LEVELS:
            entries = _convert(path, _loose(value) if not strict else value, kind, origin, strict=strict)
        elif len(path) == LEVELS + 1:
            inner = kind.__args__[1]
            raw = _loose(value) if not strict and inner is Any else value
            entries = {path[2]: _convert(path, raw, inner, origin, strict=strict)}
        else:
            _unknown(path, 3, {}, origin)
        table.setdefault(path[1], {}).update(entries)
        self.origins.update({".".join((path[0], path[1], name)): origin for name in entries})

    def _forget_component(self, table: str, layer: str) -> None:
        """Drop what a lower layer said for the component that is now replaced: its arguments, model and address.

        Pages, questions and the other component's key would else be sent to the address of the first.
        """
        for name in OF_COMPONENT:
            key = f"{table}.{name}"
            if key in self.origins and self.origins[key].layer != layer:
                del self.origins[key]
                del self.tables[table][name]
        prefix = f"{table}.arguments."
        lower = [key for key, origin in self.origins.items() if key.startswith(prefix) and origin.layer != layer]
        for key in lower:
            del self.origins[key]
            del self.tables[table]["arguments"][key.removeprefix(prefix)]

    def settings(self) -> Settings:
        """Return the settings; raises ``InvalidSetting`` where values do not go together."""
        types = {field.name: field.type for field in msgspec.structs.fields(Settings)} if self.tables else {}
        settings = Settings(
            **{name: value if name == "sources" else types[name](**value) for name, value in self.tables.items()}
        )
        if settings.chunking.target > settings.chunking.maximum:
            key = "chunking.target" if "chunking.target" in self.origins else "chunking.maximum"
            raise InvalidSetting(
                f"{_named(self.origins[key])}: chunking.target is {settings.chunking.target}, "
                f"which is above chunking.maximum, {settings.chunking.maximum}",
                hint="set chunking.target to at most chunking.maximum",
                key=key,
                value=getattr(settings.chunking, key.removeprefix("chunking.")),
                origin=str(self.origins[key]),
            )
        return settings


COMPONENTS: Final[Mapping[str, str]] = {
    "loaders": "loader",
    "chunkers": "chunker",
    "embedders": "embedder",
    "understanders": "understander",
    "classifiers": "classifier",
    "retrievers": "retriever",
    "rerankers": "reranker",
    "packers": "packer",
    "generators": "generator",
    "verifiers": "verifier",
}
"""For every entry-point group (without ``clockify_rag.``) the setting that names its component."""


def _nearest_file(start: Path) -> Path | None:
    for folder in (start, *start.parents):
        file = folder / FILE_NAME
        if os.path.isfile(file):  # noqa: PTH113 - a folder that may not be entered holds nothing for this user
            return file
    return None


def _user_file(environment: Mapping[str, str]) -> Path | None:
    file = user_folder(environment)
    return file / FILE_NAME if file is not None and os.path.isfile(file / FILE_NAME) else None  # noqa: PTH113 - as above


def user_folder(environment: Mapping[str, str]) -> Path | None:
    """Return the user's configuration folder of this package; ``None`` where there is no home."""
    if environment.get("XDG_CONFIG_HOME"):
        return Path(environment["XDG_CONFIG_HOME"]) / "clockify-rag"
    home = environment.get("HOME")
    if not home:
        return None
    if sys.platform == "darwin":
        return Path(home) / "Library" / "Application Support" / "clockify-rag"
    return Path(home) / ".config" / "clockify-rag"


def _add_file(merged: _Merged, file: Path) -> None:
    import tomllib

    try:
        tables = tomllib.loads(file.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read {file}: {error.strerror}", hint="make the file readable", file=str(file)
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8: {error.reason} at byte {error.start}", file=str(file)) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(
            f"{file} is not TOML: {error}", hint="strings need quotation marks", file=str(file)
        ) from error
    merged.add((), tables, Origin("file", str(file)), strict=True)
    _resolve_paths(merged, file.parent)


def _resolve_paths(merged: _Merged, folder: Path) -> None:
    """Make the paths that a file names relative to the file."""
    if "index.path" in merged.origins:
        merged.tables["index"]["path"] = str(folder / Path(merged.tables["index"]["path"]).expanduser())
    if "calibration.file" in merged.origins:
        merged.tables["calibration"]["file"] = str(folder / Path(merged.tables["calibration"]["file"]).expanduser())
    if "understanding.glossary" in merged.origins:
        table = merged.tables["understanding"]
        table["glossary"] = str(folder / Path(table["glossary"]).expanduser())
    if "sources" in merged.origins:
        merged.tables["sources"] = tuple(
            source
            if source.url is not None
            else msgspec.structs.replace(source, location=str(folder / Path(source.location).expanduser()))
            for source in merged.tables["sources"]
        )
    if "crawling.ca_bundle" in merged.origins:
        table = merged.tables["crawling"]
        table["ca_bundle"] = str(folder / Path(table["ca_bundle"]).expanduser())
    if "generation.prompt" in merged.origins:
        table = merged.tables["generation"]
        table["prompt"] = str(folder / Path(table["prompt"]).expanduser())
    for name, component in (("embedding", "embedder"), ("reranking", "reranker"), ("generation", "generator")):
        if f"{name}.model" not in merged.origins:
            continue
        table = merged.tables[name]
        model = str(table["model"])
        if table.get(component) in ("onnx", "llama") or model.startswith(("./", "../", "~/")):
            table["model"] = str(folder / Path(model).expanduser())


def _add_variable(merged: _Merged, name: str, value: str) -> None:
    path = tuple(name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))
    merged.add(path, value, Origin("environment", name), strict=False)


def _loose(value: Any) -> Any:
    """Return what a variable's text means as JSON, or else the text."""
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeEncodeError, TypeError):
        return value


def _sources(
    path: tuple[str, ...], value: Any, origin: Origin, *, strict: bool
) -> tuple[list[Mapping[str, Any]], tuple[SourceSettings, ...]]:
    """Return the tables of sources as they were given, and converted."""
    tables = value if strict else _loose(value)
    if len(path) > 1 or not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        _invalid(path, value, origin, "a list of tables, each with a location or a url")
    fields = {field.name: field.type for field in msgspec.structs.fields(SourceSettings)}
    sources = []
    for number, table in enumerate(tables):
        place = f"sources[{number}]"
        for name in table:
            if name not in fields:
                _unknown((place, name), 1, fields, origin)
        if bool(table.get("location")) == bool(table.get("url")):
            _invalid(
                (place, "location"),
                table.get("location"),
                origin,
                "a folder, a file or an archive, where there is no url",
            )
        converted = {
            name: _convert((place, name), inner, fields[name], origin, strict=True) for name, inner in table.items()
        }
        sources.append(SourceSettings(**converted))
    return tables, tuple(sources)


def _convert(path: tuple[str, ...], value: Any, kind: Any, origin: Origin, *, strict: bool) -> Any:
    if not strict and isinstance(value, str) and _is_tuple(_plain(kind)):
        loose = _loose(value)
        value = loose if isinstance(loose, list) else [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, float) and value != value:  # noqa: PLR0124 - only NaN differs from itself
        _invalid(path, value, origin, _allowed(kind))
    try:
        return msgspec.convert(value, kind, strict=strict)
    except (msgspec.ValidationError, UnicodeEncodeError):
        _invalid(path, value, origin, _allowed(kind))


def _invalid(path: tuple[str, ...], value: Any, origin: Origin, allowed: str) -> NoReturn:
    key = ".".join(path)
    # What was meant as a table of arguments may hold anything.
    value = MASK if path[-1] == "arguments" and isinstance(value, str) else masked(key, value)
    shown = repr(value) if not isinstance(value, bool) else str(value).lower()
    raise InvalidSetting(
        f"{_named(origin)}: {key} is {shown}, which is not {allowed}",
        hint=f"set {_target(origin, path)} to {allowed}",
        key=key,
        value=value,
        origin=str(origin),
    )


def _unknown(path: tuple[str, ...], depth: int, known: Mapping[str, Any], origin: Origin) -> NoReturn:
    import difflib

    key = ".".join(path)
    nearest = difflib.get_close_matches(path[depth], known, n=1, cutoff=0.5)
    if nearest:
        hint = f"did you mean {_target(origin, (*path[:depth], nearest[0], *path[depth + 1 :]))}?"
    elif known:
        hint = f"there are: {', '.join(known)}"
    else:
        hint = f"{'.'.join(path[:depth])} has no tables below it"
    raise UnknownSetting(f"{_named(origin)}: there is no setting {key}", hint=hint, key=key, origin=str(origin))


def _named(origin: Origin) -> str:
    return origin.where or origin.layer


def _target(origin: Origin, path: tuple[str, ...]) -> str:
    if origin.layer == "environment" and not path[0].startswith("sources"):
        return ENVIRONMENT_PREFIX + "__".join(path).upper()
    option = origin.layer == "command line" and not origin.where.startswith("--set ")
    return origin.where if option else ".".join(path)


def _plain(kind: Any) -> Any:
    """Return a type without its annotations."""
    while hasattr(kind, "__metadata__"):
        kind = kind.__origin__
    return kind


def _is_dictionary(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is dict


def _is_tuple(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) is tuple


def _description(kind: Any) -> str:
    while hasattr(kind, "__metadata__"):
        for meta in kind.__metadata__:
            if meta.description:
                return str(meta.description)
        kind = kind.__origin__
    return ""


def _allowed(kind: Any) -> str:
    """Return the values that a type allows, in words."""
    from msgspec import inspect

    return _words(inspect.type_info(kind))


def _words(info: Any) -> str:
    from msgspec import inspect

    if isinstance(info, inspect.Metadata):
        return _words(info.type)
    if isinstance(info, inspect.UnionType):
        return " or ".join(_words(part) for part in info.types if not isinstance(part, inspect.NoneType))
    if isinstance(info, inspect.StrType) and info.pattern is not None:
        return "an ISO 639-1 code such as en"
    if isinstance(info, inspect.LiteralType):
        return "one of " + ", ".join(str(value) for value in info.values)
    named: dict[Any, str] = {
        inspect.IntType: "a whole number",
        inspect.FloatType: "a number",
        inspect.BoolType: "true or false",
        inspect.VarTupleType: "a list of strings",
        inspect.DictType: "a table",
    }
    return named.get(type(info), "a string") + _range(info)


def _range(info: Any) -> str:
    limits = (("from", "ge"), ("above", "gt"), ("to", "le"))
    return "".join(f" {word} {limit}" for word, name in limits if (limit := getattr(info, name, None)) is not None)
