"""Every error the package raises, as one tree.

Each class has a stable ``code``, a message that says what failed, on which thing and why, a one-line ``hint`` that can be
typed, and typed ``fields``. The Rust core imports these classes and raises them itself, so there is one tree on both sides of
the border. Where Python already has a word for a failure (``LookupError``, ``TimeoutError``), the class is also that.

    ClockifyRagError
    ├─ ConfigError(ValueError)     UnknownSetting · InvalidSetting · GlossaryInvalid
    ├─ PluginError                 PluginNotFound(LookupError) · PluginConflict · MissingExtra(ImportError)
    ├─ SourceError                 DocumentUnreadable · CrawlError · SourceShrunk
    ├─ StoreError                  IndexNotFound(FileNotFoundError) · GenerationNotFound(LookupError) · IndexLocked
    │                              · IndexExists(FileExistsError) · IndexCorrupt · IndexIncompatible · SnapshotInvalid
    ├─ QueryError(ValueError)      EmptyQuery · QueryTooLong
    ├─ EvaluationError(ValueError)  LabelsInvalid · LabelsUnknown · RunsDiffer
    ├─ BackendError                BackendUnavailable(ConnectionError) · BackendTimeout(TimeoutError) · BackendRejected
    │                              · BackendBadResponse
    ├─ AccessError                 NotAuthenticated · PermissionDenied · TenantNotFound · RateLimited
    └─ InternalError               a defect of this package, caught at the border
"""

from __future__ import annotations

from typing import Any, ClassVar


class ClockifyRagError(Exception):
    """The root of the tree.

    Args:
        message: what failed, on which thing, and why, in one sentence.
        hint: what the user can type or change, in one line; empty where nothing helps.
        **fields: the values the message speaks of, for programs.
    """

    code: ClassVar[str] = "error"
    """A stable name for programs; never changed once released."""

    exit_code: ClassVar[int] = 1
    """The exit status of a command that ends with this error."""

    http_status: ClassVar[int] = 500
    """The status of an HTTP response that reports this error."""

    def __init__(self, message: str, *, hint: str = "", **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.fields = fields

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.hint, self.fields)


def _rebuild(cls: type[ClockifyRagError], message: str, hint: str, fields: dict[str, Any]) -> ClockifyRagError:
    return cls(message, hint=hint, **fields)


class ConfigError(ClockifyRagError, ValueError):
    """A setting cannot be used."""

    code = "config"
    exit_code = 2
    http_status = 500


class UnknownSetting(ConfigError):
    """A key of a configuration file or a ``CLOCKIFY_RAG_`` variable names no setting."""

    code = "unknown_setting"


class InvalidSetting(ConfigError):
    """A setting has a value that it cannot have."""

    code = "invalid_setting"


class GlossaryInvalid(ConfigError):
    """A glossary cannot be read, has a broken line or a line without a term, or has no term."""

    code = "glossary_invalid"


class PluginError(ClockifyRagError):
    """A component cannot be had."""

    code = "plugin"
    exit_code = 2
    http_status = 500


class PluginNotFound(PluginError, LookupError):
    """No component of that name is installed."""

    code = "plugin_not_found"


class PluginConflict(PluginError):
    """Two packages offer a component under one name, or a component does not do what its Protocol says."""

    code = "plugin_conflict"


class MissingExtra(PluginError, ImportError):
    """A component needs packages that an extra installs."""

    code = "missing_extra"


class SourceError(ClockifyRagError):
    """A source cannot be used."""

    code = "source"
    exit_code = 2
    http_status = 422


class DocumentUnreadable(SourceError):
    """One document cannot be turned into text."""

    code = "document_unreadable"
    exit_code = 6


class CrawlError(SourceError):
    """A site cannot be fetched."""

    code = "crawl"
    exit_code = 6


class SourceShrunk(SourceError):
    """A source lost so many documents at once that it is rather taken for broken."""

    code = "source_shrunk"


class StoreError(ClockifyRagError):
    """An index cannot be read or written."""

    code = "store"
    exit_code = 4
    http_status = 500


class IndexNotFound(StoreError, FileNotFoundError):
    """There is no index at that path."""

    code = "index_not_found"
    exit_code = 3
    http_status = 404


class GenerationNotFound(StoreError, LookupError):
    """The index has no generation of that number or tag."""

    code = "generation_not_found"
    exit_code = 2
    http_status = 404


class IndexExists(StoreError, FileExistsError):
    """There is an index where one was to be made."""

    code = "index_exists"
    http_status = 409


class IndexLocked(StoreError):
    """Another process is building the index."""

    code = "index_locked"
    http_status = 409


class IndexCorrupt(StoreError):
    """A file of the index is not what was written."""

    code = "index_corrupt"


class IndexIncompatible(StoreError):
    """The index was made by another format, analyser or embedder."""

    code = "index_incompatible"
    http_status = 409


class SnapshotInvalid(StoreError):
    """A file is no snapshot of an index, or not as it was written."""

    code = "snapshot_invalid"
    http_status = 422


class QueryError(ClockifyRagError, ValueError):
    """A question cannot be searched."""

    code = "query"
    exit_code = 2
    http_status = 422


class EmptyQuery(QueryError):
    """The question has no word that could be searched."""

    code = "empty_query"


class QueryTooLong(QueryError):
    """The question has more characters than the limit."""

    code = "query_too_long"


class EvaluationError(ClockifyRagError, ValueError):
    """A ranking cannot be measured as it was asked for."""

    code = "evaluation"
    exit_code = 2
    http_status = 422


class LabelsInvalid(EvaluationError):
    """A file of labelled questions cannot be read, is empty or contradicts itself."""

    code = "labels_invalid"


class LabelsUnknown(EvaluationError):
    """Labels name pages or sections that the index does not have."""

    code = "labels_unknown"


class RunsDiffer(EvaluationError):
    """Two evaluations cannot be compared: they are not of the same questions and labels."""

    code = "runs_differ"


class BackendError(ClockifyRagError):
    """A model server failed."""

    code = "backend"
    exit_code = 5
    http_status = 502


class BackendUnavailable(BackendError, ConnectionError):
    """The model server cannot be reached."""

    code = "backend_unavailable"
    http_status = 503


class BackendTimeout(BackendError, TimeoutError):
    """The model server did not answer within a deadline."""

    code = "backend_timeout"
    http_status = 504


class BackendRejected(BackendError):
    """The model server refused the request."""

    code = "backend_rejected"


class BackendBadResponse(BackendError):
    """The model server answered something that is not its protocol."""

    code = "backend_bad_response"


class AccessError(ClockifyRagError):
    """The caller may not do this."""

    code = "access"
    exit_code = 2
    http_status = 403


class NotAuthenticated(AccessError):
    """The caller did not say who they are."""

    code = "not_authenticated"
    http_status = 401


class PermissionDenied(AccessError):
    """The caller's role does not allow this."""

    code = "permission_denied"


class TenantNotFound(AccessError):
    """There is no such tenant."""

    code = "tenant_not_found"
    http_status = 404


class RateLimited(AccessError):
    """The caller asks faster than their limit."""

    code = "rate_limited"
    http_status = 429


class InternalError(ClockifyRagError):
    """A defect of this package: a panic in the core, caught at the border."""

    code = "internal"
