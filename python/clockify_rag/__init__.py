"""Answers questions from a product's documentation, on the user's own machine, and proves what it quotes.

    from clockify_rag import Pipeline, Source

    pipeline = Pipeline.open("help.index")
    pipeline.build([Source(name="help", location="docs")])
    print(pipeline.ask("How do I export a report?").answer)

The public names are imported where they are first used, so that ``import clockify_rag`` costs next to nothing.
"""

TYPE_CHECKING = False  # the module `typing` alone would take longer to import than this one

if TYPE_CHECKING:
    from clockify_rag.config import (
        Configuration,
        Settings,
    )
    from clockify_rag.contracts import (
        Answer,
        Block,
        Chunk,
        Chunker,
        Citation,
        Context,
        Document,
        Draft,
        Embedder,
        Evidence,
        Failure,
        FileState,
        Generator,
        Hit,
        Index,
        LoadedDocument,
        Loader,
        Packer,
        Page,
        Query,
        Reranker,
        Retriever,
        Scores,
        SearchResult,
        Skipped,
        Source,
        Span,
        Understander,
        Verifier,
    )
    from clockify_rag.errors import (
        AccessError,
        BackendBadResponse,
        BackendError,
        BackendRejected,
        BackendTimeout,
        BackendUnavailable,
        ClockifyRagError,
        ConfigError,
        CrawlError,
        DocumentUnreadable,
        EmptyQuery,
        IndexCorrupt,
        IndexIncompatible,
        IndexLocked,
        IndexNotFound,
        InternalError,
        InvalidSetting,
        MissingExtra,
        NotAuthenticated,
        PermissionDenied,
        PluginConflict,
        PluginError,
        PluginNotFound,
        QueryError,
        QueryTooLong,
        RateLimited,
        SourceError,
        StoreError,
        TenantNotFound,
        UnknownSetting,
    )
    from clockify_rag.pipeline import (
        BuildReport,
        Pipeline,
    )

__version__ = "0.1.0"

_MODULES = {
    "config": (
        "Configuration",
        "Settings",
    ),
    "contracts": (
        "Answer",
        "Block",
        "Chunk",
        "Chunker",
        "Citation",
        "Context",
        "Document",
        "Draft",
        "Embedder",
        "Evidence",
        "Failure",
        "FileState",
        "Generator",
        "Hit",
        "Index",
        "LoadedDocument",
        "Loader",
        "Packer",
        "Page",
        "Query",
        "Reranker",
        "Retriever",
        "Scores",
        "SearchResult",
        "Skipped",
        "Source",
        "Span",
        "Understander",
        "Verifier",
    ),
    "errors": (
        "AccessError",
        "BackendBadResponse",
        "BackendError",
        "BackendRejected",
        "BackendTimeout",
        "BackendUnavailable",
        "ClockifyRagError",
        "ConfigError",
        "CrawlError",
        "DocumentUnreadable",
        "EmptyQuery",
        "IndexCorrupt",
        "IndexIncompatible",
        "IndexLocked",
        "IndexNotFound",
        "InternalError",
        "InvalidSetting",
        "MissingExtra",
        "NotAuthenticated",
        "PermissionDenied",
        "PluginConflict",
        "PluginError",
        "PluginNotFound",
        "QueryError",
        "QueryTooLong",
        "RateLimited",
        "SourceError",
        "StoreError",
        "TenantNotFound",
        "UnknownSetting",
    ),
    "pipeline": (
        "BuildReport",
        "Pipeline",
    ),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AccessError",
    "Answer",
    "BackendBadResponse",
    "BackendError",
    "BackendRejected",
    "BackendTimeout",
    "BackendUnavailable",
    "Block",
    "BuildReport",
    "Chunk",
    "Chunker",
    "Citation",
    "ClockifyRagError",
    "ConfigError",
    "Configuration",
    "Context",
    "CrawlError",
    "Document",
    "DocumentUnreadable",
    "Draft",
    "Embedder",
    "EmptyQuery",
    "Evidence",
    "Failure",
    "FileState",
    "Generator",
    "Hit",
    "Index",
    "IndexCorrupt",
    "IndexIncompatible",
    "IndexLocked",
    "IndexNotFound",
    "InternalError",
    "InvalidSetting",
    "LoadedDocument",
    "Loader",
    "MissingExtra",
    "NotAuthenticated",
    "Packer",
    "Page",
    "PermissionDenied",
    "Pipeline",
    "PluginConflict",
    "PluginError",
    "PluginNotFound",
    "Query",
    "QueryError",
    "QueryTooLong",
    "RateLimited",
    "Reranker",
    "Retriever",
    "Scores",
    "SearchResult",
    "Settings",
    "Skipped",
    "Source",
    "SourceError",
    "Span",
    "StoreError",
    "TenantNotFound",
    "Understander",
    "UnknownSetting",
    "Verifier",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'clockify_rag' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"clockify_rag.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
