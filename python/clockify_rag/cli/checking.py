"""``doctor``: one line per check, each with what to type where it fails."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from clockify_rag import config, plugins
from clockify_rag.cli import opening, output
from clockify_rag.contracts import MAXIMUM_QUESTION_CHARACTERS
from clockify_rag.errors import ClockifyRagError, IndexNotFound, PluginConflict

if TYPE_CHECKING:
    from clockify_rag.contracts import Document
    from clockify_rag.pipeline import Pipeline

SOCKET_EVENTS = ("socket.",)
"""How the names of the interpreter's audit events begin that a network needs."""

ASKING_SERVERS = ("ollama", "openai")
"""Components that ask a server."""

PAGES = {
    "exports.md": "# Exports\n\nTo export a report, open Reports and choose Export. The file is ready in a minute.\n",
    "roles.md": "# Roles\n\nAn owner can transfer the workspace to an administrator.\n",
}


class Check(msgspec.Struct, frozen=True):
    """What one check found."""

    check: str
    status: Literal["ok", "warning", "failed"]
    detail: str
    hint: str = ""


class NetworkUsedError(Exception):
    """Raised inside whatever tries to open a socket while the network is forbidden."""


def doctor(*, index: str | None, offline: bool, as_json: bool) -> int:
    """Run all checks, print them, and return 0, or the exit status of the first that failed."""
    statuses: list[int] = []
    checks = [check for run in _checks(index, offline=offline) if (check := _run(run, statuses)) is not None]
    if as_json:
        output.print_json({"ok": not statuses, "checks": checks})
    else:
        printer = output.Printer()
        for check in checks:
            printer.line(f"{check.status:<8}{check.check}: {check.detail}", _style(check.status))
            if check.hint:
                printer.line(f"        hint: {check.hint}")
    return statuses[0] if statuses else 0


def _checks(index: str | None, *, offline: bool) -> list[Callable[[], Check | None]]:
    checks: list[Callable[[], Check | None]] = [
        _check_python,
        _check_core,
        _check_configuration,
        _check_components,
        _check_conflicts,
        lambda: _check_index(index, offline=offline),
        _check_servers,
    ]
    return [*checks, _check_offline] if offline else checks


def _run(check: Callable[[], Check | None], statuses: list[int]) -> Check | None:
    name = getattr(check, "__name__", "index").removeprefix("_check_").strip("<>").replace("lambda", "index")
    try:
        result = check()
    except ClockifyRagError as error:
        statuses.append(error.exit_code)
        return Check(name, "failed", error.message, error.hint)
    except Exception as error:  # noqa: BLE001 - a check that fails in whatever way is a finding, not an end
        statuses.append(1)
        return Check(name, "failed", f"{type(error).__name__}: {error}", "reinstall clockify-rag")
    if result is not None and result.status == "failed":
        statuses.append(1)
    return result


def _style(status: str) -> str:
    return {"ok": "green", "warning": "yellow", "failed": "bold red"}[status]


def _check_python() -> Check:
    from clockify_rag import __version__

    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", "ok", f"clockify-rag {__version__} on Python {version}, {sys.platform}")


def _check_core() -> Check:
    from importlib import import_module

    import_module("clockify_rag._core")
    return Check("core", "ok", "the compiled core is loaded")


def _check_configuration() -> Check:
    configuration = config.load()
    changed = len(set(configuration.origins) - {"sources"})
    file = "no file" if configuration.file is None else str(configuration.file)
    return Check("configuration", "ok", f"{file}, {changed} settings are not the defaults")


def _check_components() -> Check:
    settings = config.load().settings
    chosen = []
    for group, field in config.COMPONENTS.items():
        name = _chosen(settings, field)
        if (field, name) != ("embedder", "none"):
            plugins.find(group, name)
        chosen.append(f"{field} {name}")
    return Check("components", "ok", ", ".join(chosen))


def _check_conflicts() -> Check:
    found = plugins.conflicts()
    if found:
        raise PluginConflict("; ".join(found), hint="uninstall all but one package of each name")
    return Check("conflicts", "ok", "no two packages offer a component under one name")


def _check_index(index: str | None, *, offline: bool) -> Check:
    configuration = opening.load(("index.path", "--index", index))
    pipeline = opening.pipeline(configuration)
    try:
        opened = pipeline.index
    except IndexNotFound as error:
        return Check("index", "warning", error.message, error.hint)
    pages = list(opened.documents())
    opened.snapshot.verify()
    without_server = offline and pipeline.embedding.embedder in ASKING_SERVERS
    _check_embedder(pipeline, without_server=without_server)
    title = next(
        (page.title for page in pages if page.title.isprintable() and any(map(str.isalnum, page.title))), "help"
    )
    pipeline.search(title[:MAXIMUM_QUESTION_CHARACTERS], lexical=without_server)
    said = [f"{opened.path}: generation {opened.generation}, {len(pages):,} documents, every byte as it was written"]
    if by_words := _languages_without_vectors(pipeline, pages):
        said.append(f"searched by words only: {by_words}")
    return Check("index", "ok", "; ".join(said))


def _check_embedder(pipeline: Pipeline, *, without_server: bool) -> None:
    """Raise ``IndexIncompatible`` where questions would be embedded otherwise than pages were.

    Where no server may be asked, an embedder of the name that the index records is taken to be the one that made it.
    """
    from clockify_rag.index import EmbedderEntry, check_compatible

    snapshot, table = pipeline.index.snapshot, pipeline.embedding
    if without_server and snapshot.embedder is not None:
        recorded = EmbedderEntry(*snapshot.embedder)
        name = table.embedder if table.model is None else f"{table.embedder}:{table.model}"
        entry: EmbedderEntry | None = recorded if recorded.name == name else EmbedderEntry(str(name), "", 0)
    else:
        entry = pipeline.embedder_entry
    check_compatible(snapshot, entry, lexical=False)


def _languages_without_vectors(pipeline: Pipeline, pages: Sequence[Document]) -> str:
    if pipeline.embedder is None or pipeline.index.snapshot.embedder is None:
        return "all pages" if pages else ""
    languages = Counter(page.language for page in pages if not pipeline.embeds(page.language))
    return ", ".join(f"{count:,} pages in {language}" for language, count in sorted(languages.items()))


def _check_servers() -> Check:
    settings = config.load().settings
    writing, embedding = settings.generation, settings.embedding
    fallbacks = [typed.partition(":")[0] for typed in writing.fallbacks]
    asking = (
        ("generator", writing.generator, writing.url),
        *(("fallback", name, writing.url if name == writing.generator else None) for name in fallbacks),
        ("embedder", embedding.embedder, embedding.url),
    )
    hosts = sorted(
        f"{field} {name} asks {config.masked('url', url) or 'its default address'}"
        for field, name, url in asking
        if name in ASKING_SERVERS
    )
    if not hosts:
        return Check("servers", "ok", "no configured component asks a server")
    return Check("servers", "warning", "; ".join(hosts), "questions and text of pages are sent there")


def _check_offline() -> Check:
    """Build, search and ask in a temporary folder while every use of a socket raises."""
    from clockify_rag.contracts import Source
    from clockify_rag.pipeline import Pipeline

    attempts: list[str] = []

    def forbid(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(SOCKET_EVENTS):
            attempts.append(f"{event}{arguments[1:]}")
            raise NetworkUsedError(event)

    sys.addaudithook(forbid)
    before = _open_sockets()
    settings = config.load().settings
    with tempfile.TemporaryDirectory() as folder:
        for name, text in PAGES.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        pipeline = Pipeline.open(Path(folder) / config.INDEX_FOLDER, settings)
        try:
            pipeline.build([Source(name="probe", location=folder)])
            pipeline.search("How do I export a report?")
            pipeline.ask("How do I export a report?")
        except Exception:
            if not attempts:
                raise
    opened = _open_sockets() - before
    if attempts or opened > 0:
        used = sorted(set(attempts)) or [f"{opened} sockets of the process"]
        return Check(
            "offline", "failed", f"a socket was asked for: {', '.join(used)}", "choose components that ask no server"
        )
    return Check("offline", "ok", "built, searched and asked without a socket")


def _open_sockets() -> int:
    """Return how many sockets the process has open, where the system tells; else 0."""
    try:
        return sum(str(entry.readlink()).startswith("socket:") for entry in Path("/proc/self/fd").iterdir())
    except OSError:
        return 0


def _chosen(settings: config.Settings, field: str) -> str:
    for table in settings.__struct_fields__:
        if hasattr(getattr(settings, table), field):
            return getattr(getattr(settings, table), field) or "static"
    raise LookupError(field)
