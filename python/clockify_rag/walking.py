"""Walking: the files of a folder or an archive that are documents, and why the others are not.

What ``build .`` should not read is skipped by reason: hidden paths, what ``.gitignore`` and ``.ragignore`` files say
(git's rules, nested, also of the folders above up to the repository's), folders of dependencies and of build output,
indexes. ``.ragignore`` has the last word, so ``!vendor/`` in it brings a folder back. Names that are build output in
one project and a chapter in the next (``build``, ``vendor``, ``site``) count as such only beside a project's own
files.

Folders and archives are two trees of entries below one walk. Links are followed only to files within the source. A
tar is read without unpacking it onto the disk: unsafe names and links are refused, and what a gzip'd one may hold is
capped.
"""

from __future__ import annotations

import errno
import gzip
import os
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

import msgspec

from clockify_rag.contracts import Failure, FileState, Notice, Skipped, Source
from clockify_rag.errors import DocumentUnreadable, SourceError
from clockify_rag.ignoring import IgnoreRules, Scope, decide, matches, nfc

if TYPE_CHECKING:
    from clockify_rag._core import _Slugs

FORMATS: Mapping[str, str] = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".mdx": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".txt": "text",
    ".text": "text",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".pdf": "pdf",
    ".docx": "docx",
}
"""The suffixes that are read."""

VALUES = (".csv", ".tsv")
"""The suffixes of comma-separated values, which are read where the source says that they are a glossary."""

ARCHIVES = (".tar.gz", ".tgz", ".tar")
"""The suffixes of archives that can be a source."""

_IGNORE_FILE_BYTES = 1_000_000
_SPOOLED_IN_MEMORY = 64_000_000

HIDDEN = "hidden"
IGNORED = "ignored"
EXCLUDED = "excluded"
NOT_INCLUDED = "not included"
DEPENDENCIES = "dependency folder"
BUILD_OUTPUT = "build folder"
INDEX = "index"
LINK = "link to a folder"
LINK_OUT = "link out of the source"
LINK_LOOP = "link in a loop"
LINK_BROKEN = "broken link"
SPECIAL = "special file"
UNSAFE_NAME = "unsafe name"
UNSUPPORTED = "unsupported format"
EMPTY = "empty"
DUPLICATE = "duplicate"
TOO_LARGE = "too large"
UNREADABLE = "unreadable"
SUPPRESSED = "suppressed"

_VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".jj"})
_DEPENDENCY_FOLDERS = frozenset(
    {"node_modules", "bower_components", "jspm_packages", "site-packages", "dist-packages", "venv", "virtualenv"}
)
_BUILD_FOLDERS = frozenset({"__pycache__", "_build", "_site", "dist", "target"})
_PERHAPS_DEPENDENCIES = frozenset({"vendor", "third_party", "env"})
_PERHAPS_BUILD = frozenset({"build", "out", "site", "public"})
_PROJECT_FILES = frozenset(
    {
        ".git",
        "CMakeLists.txt",
        "Cargo.toml",
        "Gemfile",
        "Makefile",
        "build.gradle",
        "build.gradle.kts",
        "composer.json",
        "conf.py",
        "go.mod",
        "hugo.toml",
        "meson.build",
        "mkdocs.yml",
        "mkdocs.yaml",
        "package.json",
        "pom.xml",
        "pyproject.toml",
        "setup.cfg",
        "setup.py",
    }
)
_GENERATORS: tuple[tuple[_Slugs, frozenset[str]], ...] = (
    ("docusaurus", frozenset(f"docusaurus.config.{suffix}" for suffix in ("js", "ts", "mjs", "cjs", "mts", "cts"))),
    ("mkdocs", frozenset({"mkdocs.yml", "mkdocs.yaml"})),
    ("sphinx", frozenset({"conf.py"})),
    ("gitlab", frozenset({".gitlab-ci.yml"})),
)


class _Entry(msgspec.Struct, frozen=True):
    """A name in a folder of a tree."""

    name: str
    key: Any = None
    """What the tree finds it by."""
    reason: str | None = None
    """Why it cannot be read."""
    folder: bool = False


class Tree(Protocol):
    """A folder or an archive."""

    def entries(self, folder: Any) -> list[_Entry]:
        """Return what lies in a folder; raises ``OSError``."""

    def look(self, key: Any) -> tuple[FileState, int]:
        """Return what tells whether a file changed, and its size in bytes; raises ``OSError``."""

    def open(self, key: Any) -> IO[bytes]:
        """Open a file; raises ``OSError``."""


def state_of(status: os.stat_result) -> FileState:
    """Return what of ``status`` tells whether a file changed."""
    return FileState(
        size=status.st_size, modified_ns=status.st_mtime_ns, changed_ns=status.st_ctime_ns, inode=status.st_ino
    )


class Folder:
    """A folder on disk. Keys are absolute paths."""

    def __init__(self, root: str) -> None:
        self.root = root

    def entries(self, folder: str) -> list[_Entry]:
        """Return what lies in a folder."""
        with os.scandir(folder) as found:
            return [self._entry(entry) for entry in found]

    def _entry(self, entry: os.DirEntry[str]) -> _Entry:
        if entry.is_symlink():
            return self._link(entry)
        if entry.is_dir(follow_symlinks=False):
            return _Entry(entry.name, entry.path, folder=True)
        reason = None if entry.is_file(follow_symlinks=False) else SPECIAL
        return _Entry(entry.name, entry.path, reason)

    def _link(self, entry: os.DirEntry[str]) -> _Entry:
        """A link to a file of the source is that file by another name; every other link is left alone."""
        try:
            target = os.path.realpath(entry.path, strict=True)
        except OSError as error:
            return _Entry(entry.name, reason=LINK_LOOP if error.errno == errno.ELOOP else LINK_BROKEN)
        if os.path.commonpath((self.root, target)) != self.root:
            return _Entry(entry.name, reason=LINK_OUT)
        if os.path.isdir(target):
            around = os.path.commonpath((entry.path, target)) == target
            return _Entry(entry.name, reason=LINK_LOOP if around else LINK)
        return _Entry(entry.name, target, None if os.path.isfile(target) else SPECIAL)

    def look(self, key: str) -> tuple[FileState, int]:
        """Return a file's state and size."""
        state = state_of(os.stat(key, follow_symlinks=False))
        return state, state.size

    def open(self, key: str) -> IO[bytes]:
        """Open a file."""
        return _open(key)


def _open(path: str) -> IO[bytes]:
    """Open a regular file: neither a link nor a pipe put in its place since it was listed is waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file")
    return os.fdopen(descriptor, "rb")


class Archive:
    """A tar archive. Keys of files are its members, keys of folders their paths.

    A gzip'd archive is unpacked as one stream into a temporary file without a name, because its members are read in
    order of path and gzip can only be read forwards.
    """

    def __init__(self, path: str, maximum_bytes: int, maximum_members: int) -> None:
        self.unsafe: list[Skipped] = []
        self._path = path
        self._folders: dict[str, dict[str, _Entry]] = {"": {}}
        with _open(path) as packed:
            self._state = state_of(os.fstat(packed.fileno()))
        self._file = self._unpacked(maximum_bytes)
        try:
            self._list(maximum_members)
        except BaseException:
            self.close()
            raise

    def _unpacked(self, maximum_bytes: int) -> IO[bytes]:
        packed = _open(self._path)
        if packed.read(2) != b"\x1f\x8b":
            return packed
        packed.seek(0)
        spool = cast("IO[bytes]", tempfile.SpooledTemporaryFile(max_size=_SPOOLED_IN_MEMORY))  # noqa: SIM115 - the archive closes it
        try:
            with packed, gzip.GzipFile(fileobj=packed) as stream:
                while piece := stream.read(1 << 20):
                    spool.write(piece)
                    if spool.tell() > maximum_bytes:
                        raise self._damaged(f"it unpacks to more than {megabytes(maximum_bytes)}")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            spool.close()
            raise self._damaged(str(error)) from error
        except BaseException:
            spool.close()
            raise
        return spool

    def _damaged(self, why: str) -> SourceError:
        return SourceError(
            f"the archive {self._path} cannot be read: {why}", hint="make it again, or unpack it and give its folder"
        )

    def _list(self, maximum_members: int) -> None:
        self._file.seek(0)
        try:
            self._tar = tarfile.open(fileobj=self._file, mode="r:")  # noqa: SIM115 - as above
            for number, member in enumerate(self._tar):
                if number >= maximum_members:
                    raise self._damaged(f"it has more than {maximum_members} members")
                self._add(member)
        except (tarfile.TarError, UnicodeError) as error:
            raise self._damaged(str(error)) from error
        # tarfile takes a damaged header for the end of the archive.
        self._file.seek(self._tar.offset)
        if self._file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise self._damaged(f"the header at byte {self._tar.offset} is damaged")

    def _add(self, member: tarfile.TarInfo) -> None:
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        if member.name.startswith("/") or ".." in parts or "\0" in member.name:
            self.unsafe.append(Skipped(printable(member.name), UNSAFE_NAME))
            return
        if member.isdir() or not parts:
            return
        reason = None
        if member.issym() or member.islnk():
            reason = LINK
        elif not member.isreg() or member.issparse():
            reason = SPECIAL
        folder = ""
        for part in parts[:-1]:
            inner = f"{folder}/{part}" if folder else part
            self._folders[folder].setdefault(f"{part}/", _Entry(part, inner, folder=True))
            self._folders.setdefault(inner, {})
            folder = inner
        if parts[-1] in self._folders[folder]:
            self.unsafe.append(Skipped(printable("/".join(parts)), DUPLICATE))
        self._folders[folder][parts[-1]] = _Entry(parts[-1], member, reason)

    def entries(self, folder: str) -> list[_Entry]:
        """Return what lies in a folder."""
        return list(self._folders[folder].values())

    def look(self, key: tarfile.TarInfo) -> tuple[FileState, int]:
        """Return the archive's state and a member's size."""
        return self._state, key.size

    def open(self, key: tarfile.TarInfo) -> IO[bytes]:
        """Open a member."""
        return cast("IO[bytes]", self._tar.extractfile(key))

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


# The walk.


class File(msgspec.Struct, frozen=True):
    """A file to read."""

    path: str
    markup: str
    key: Any
    slugs: _Slugs
    url: str | None = None
    """The address that it is known to have, where its place tells."""


class Place(msgspec.Struct, frozen=True):
    """A folder to walk, and what holds in it."""

    path: str
    key: Any
    ragignore: tuple[Scope, ...] = ()
    gitignore: tuple[Scope, ...] = ()
    slugs: _Slugs | None = None
    included: bool = True
    wanted: bool = True
    """Whether the folder was named, by the source or by a rule, so that what it looks like does not matter."""

    def below(self, name: str) -> str:
        """Return the path of ``name`` in it."""
        return f"{self.path}/{name}" if self.path else name


class Walk:
    """The files of a tree that are documents, in order of path, and what was left out."""

    def __init__(self, tree: Tree, source: Source, *, ignore: bool) -> None:
        self._tree = tree
        self._ignore = ignore
        self._location = printable(source.location)
        self._slugs = cast("_Slugs | None", source.slugs)
        self._name = source.name
        self._glossary = source.glossary
        self._include = IgnoreRules("\n".join(source.include)) if source.include else None
        self._exclude = IgnoreRules("\n".join(source.exclude))
        self._unmet = {
            (setting, pattern): IgnoreRules(pattern)
            for setting, patterns in (("include", source.include), ("exclude", source.exclude))
            for pattern in patterns
            if not pattern.startswith("!")
        }

    def files(self, start: Place) -> Iterator[File | Skipped | Notice]:
        """Yield from ``start`` down, and last the patterns that nothing was met by.

        Without recursion, so that no depth of folders is too deep.
        """
        pending: list[File | Skipped | Place] = [start]
        while pending:
            item = pending.pop()
            if isinstance(item, Place):
                pending.extend(reversed(self._inside(item)))
            else:
                yield item
        for setting, pattern in self._unmet:
            yield Notice(
                f"the pattern {pattern!r} in {setting} of source {self._name} matches nothing",
                "patterns are those of .gitignore, relative to the source: docs/, *.md, guides/**/old-*",
                failed=setting == "include",
            )

    def _meet(self, path: str, *, folder: bool) -> None:
        """Take note of the patterns that a path matches; costs nothing once all were met."""
        met = [key for key, rules in self._unmet.items() if rules.decide(path, folder=folder)]
        for key in met:
            del self._unmet[key]

    def _inside(self, place: Place) -> list[File | Skipped | Place]:
        try:
            entries = self._tree.entries(place.key)
        except OSError as error:
            return [unreadable(place.path, error, self._location)]
        names = {entry.name for entry in entries}
        reason = self._nature(place, names)
        if reason is not None:
            return [Skipped(place.path, reason)]
        try:
            place = self.with_rules(place, entries)
        except SourceError as error:
            return [closed(place.path or self._location, error, place.path)]
        entries.sort(key=_order)
        return [self._judge(place, entry, names) for entry in entries]

    def _nature(self, place: Place, names: set[str]) -> str | None:
        """What a folder is by what lies in it."""
        if "CURRENT" in names and "generations" in names:
            return INDEX
        if place.wanted or not self._ignore:
            return None
        if "pyvenv.cfg" in names:
            return DEPENDENCIES
        return BUILD_OUTPUT if "CACHEDIR.TAG" in names else None

    def with_rules(self, place: Place, entries: list[_Entry]) -> Place:
        """Return ``place`` with the ignore files and the generator among ``entries``.

        Raises:
            SourceError: an ignore file cannot be read, so that nobody knows what of the folder may be.
        """
        cut = len(place.path) + 1 if place.path else 0
        scopes: dict[str, tuple[Scope, ...]] = {".ragignore": place.ragignore, ".gitignore": place.gitignore}
        slugs = self._slugs or self._generator(entries) or place.slugs
        for entry in entries:
            if self._ignore and entry.name in scopes and not entry.folder:
                rules = self._rules(place, entry)
                scopes[entry.name] = (Scope(rules, "", cut), *scopes[entry.name])
        return msgspec.structs.replace(
            place, ragignore=scopes[".ragignore"], gitignore=scopes[".gitignore"], slugs=slugs
        )

    def _rules(self, place: Place, entry: _Entry) -> IgnoreRules:
        try:
            text = self._text(entry, _IGNORE_FILE_BYTES + 1)
            if len(text) > _IGNORE_FILE_BYTES:
                raise OSError(errno.EFBIG, f"it has more than {megabytes(_IGNORE_FILE_BYTES)}")
        except (OSError, tarfile.TarError) as error:
            named = place.below(entry.name) if place.path else os.path.join(self._location, entry.name)
            raise SourceError(
                f"{named} cannot be read: {getattr(error, 'strerror', None) or error}",
                hint="put a file in its place, remove it, or read all there is with --no-ignore",
                path=named,
            ) from error
        return IgnoreRules(text.decode(errors="replace"))

    def _text(self, entry: _Entry, limit: int) -> bytes:
        if entry.reason is not None:
            raise OSError(errno.EINVAL, entry.reason)
        with self._tree.open(entry.key) as stream:
            return stream.read(limit)

    def _generator(self, entries: list[_Entry]) -> _Slugs | None:
        files = {entry.name: entry for entry in entries if not entry.folder}
        for slugs, names in _GENERATORS:
            for name in names & files.keys():
                if slugs != "sphinx" or self._speaks_of_sphinx(files[name]):
                    return slugs
        return None

    def _speaks_of_sphinx(self, entry: _Entry) -> bool:
        try:
            text = self._text(entry, _IGNORE_FILE_BYTES).lower()
        except OSError:
            return False
        return b"sphinx" in text or b"myst" in text

    def _judge(self, place: Place, entry: _Entry, names: set[str]) -> File | Skipped | Place:
        if not is_text(entry.name):
            return unreadable(place.below(entry.name), ValueError("its name is not UTF-8"))
        path = place.below(nfc(entry.name))
        if self._unmet:
            self._meet(path, folder=entry.folder)
        kept, reason = self._verdict(place, entry, path, names)
        if reason is not None:
            return Skipped(path, reason)
        included = place.included or (
            self._include is not None and self._include.decide(path, folder=entry.folder) is True
        )
        if entry.folder:
            return msgspec.structs.replace(place, path=path, key=entry.key, included=included, wanted=kept)
        suffix = os.path.splitext(path)[1].lower()
        markup = FORMATS.get(suffix)
        if suffix in VALUES and matches(self._glossary, path):
            markup = "csv"
        if markup is None:
            return Skipped(path, UNSUPPORTED)
        if not included:
            return Skipped(path, NOT_INCLUDED)
        return File(path, markup, entry.key, place.slugs or "github")

    def _verdict(self, place: Place, entry: _Entry, path: str, names: set[str]) -> tuple[bool, str | None]:
        """Whether a rule wants the entry, and why it is left out."""
        if entry.name in _VERSION_CONTROL:
            return False, HIDDEN
        if self._exclude.decide(path, folder=entry.folder):
            return False, EXCLUDED
        wanted = False
        if self._ignore:
            decision = decide(place.ragignore, path, folder=entry.folder)
            wanted = decision is False
            reason = IGNORED if decision else None if wanted else self._usual(place, entry, path, names)
            if reason is not None:
                return False, reason
        return wanted, entry.reason

    @staticmethod
    def _usual(place: Place, entry: _Entry, path: str, names: set[str]) -> str | None:
        if entry.name.startswith("."):
            return HIDDEN
        if entry.folder:
            project = not _PROJECT_FILES.isdisjoint(names)
            if entry.name in _DEPENDENCY_FOLDERS or (project and entry.name in _PERHAPS_DEPENDENCIES):
                return DEPENDENCIES
            if entry.name in _BUILD_FOLDERS or (project and entry.name in _PERHAPS_BUILD):
                return BUILD_OUTPUT
        return IGNORED if decide(place.gitignore, path, folder=entry.folder) else None


_RULING = frozenset({".gitignore", ".ragignore", "CACHEDIR.TAG", "pyvenv.cfg"}) | _PROJECT_FILES
_RULING |= frozenset(name for _, names in _GENERATORS for name in names)
_NEVER_READ = frozenset({HIDDEN, IGNORED, EXCLUDED, NOT_INCLUDED, DEPENDENCIES, BUILD_OUTPUT, INDEX, UNSUPPORTED})


class Reach(Walk):
    """Which paths of a folder a walk would come to: what happens to all others changes nothing.

    Args:
        tree: the folder.
        source: its source.
        start: where the walk begins.
        ignore: as for ``Walk``.
        had: whether documents are known below a folder that is not there any more.
    """

    def __init__(self, tree: Tree, source: Source, start: Place, *, ignore: bool, had: Callable[[str], bool]) -> None:
        super().__init__(tree, source, ignore=ignore)
        self._unmet.clear()
        self._had = had
        self._entered: dict[str, _Entered | bool] = {"": self._enter(start)}

    def reads(self, path: str) -> bool:
        """Return whether a change at ``path``, which need not be there any more, can change what the source holds."""
        folder, _, name = path.rpartition("/")
        around = self._around(folder)
        if isinstance(around, bool):
            return around and (self._is_document(name) or self._had(nfc(path)))
        if name in _RULING:
            return True
        if around.reason is not None:
            return False
        entry = around.entries.get(name)
        if entry is None:
            judged = self._judge(around.place, _Entry(name), around.names)
            return isinstance(judged, File) or self._had(nfc(path))
        judged = self._judge(around.place, entry, around.names)
        return not isinstance(judged, Skipped) or judged.reason not in _NEVER_READ

    @staticmethod
    def _is_document(name: str) -> bool:
        return os.path.splitext(name)[1].lower() in FORMATS

    def _around(self, folder: str) -> _Entered | bool:
        """A folder that the walk comes to; else whether it may have come to what was there."""
        if folder in self._entered:
            return self._entered[folder]
        above, _, name = folder.rpartition("/")
        outer = self._around(above)
        found = outer if isinstance(outer, bool) else self._below(outer, name)
        self._entered[folder] = found
        return found

    def _below(self, outer: _Entered, name: str) -> _Entered | bool:
        if outer.reason is not None:
            return False
        entry = outer.entries.get(name)
        judged = self._judge(outer.place, entry or _Entry(name, folder=True), outer.names)
        if entry is None:
            return isinstance(judged, Place)
        return self._enter(judged) if isinstance(judged, Place) else False

    def _enter(self, place: Place) -> _Entered | bool:
        try:
            entries = self._tree.entries(place.key)
            names = {entry.name for entry in entries}
            reason = self._nature(place, names)
            place = place if reason is not None else self.with_rules(place, entries)
        except (OSError, SourceError):
            return True
        return _Entered(place, {entry.name: entry for entry in entries}, names, reason)


class _Entered(msgspec.Struct, frozen=True):
    """A folder of a walk."""

    place: Place
    entries: dict[str, _Entry]
    names: set[str]
    reason: str | None
    """Why nothing of it is read."""


def _order(entry: _Entry) -> tuple[str, str]:
    """Sorts the names of one folder so that whole paths come in the order of their code points."""
    return nfc(entry.name) + "/" * entry.folder, entry.name


def is_text(name: str) -> bool:
    """Whether the operating system's bytes of a name were UTF-8."""
    return name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name)


def printable(name: str) -> str:
    """Return a file's name as valid text, with what is none in it replaced."""
    return name if is_text(name) else name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def start_of(root: str, *, ignore: bool, include: bool) -> Place:
    """Where the walk of a folder begins: with the rules and the generator of the folders above it.

    Above it counts as far as the repository that it is in, for a generator at least one folder.

    Raises:
        SourceError: an ignore file there cannot be read.
    """
    above: list[str] = []
    folder, prefix = root, ""
    scopes: list[Scope] = []
    slugs: _Slugs | None = None
    repository = _repository(root)
    while folder != repository and (repository is not None or not above):
        parent = os.path.dirname(folder)
        if parent == folder:
            break
        above.append(parent)
        prefix = f"{nfc(os.path.basename(folder))}/{prefix}"
        folder = parent
        tree = Folder(parent)
        walk = Walk(tree, Source(name="above", location=parent), ignore=ignore and repository is not None)
        try:
            entries = [entry for entry in tree.entries(parent) if not entry.folder and entry.name != ".ragignore"]
        except OSError:
            break
        place = walk.with_rules(Place("", parent), entries)
        scopes += [Scope(scope.rules, prefix) for scope in place.gitignore]
        slugs = slugs or place.slugs
    return Place("", root, gitignore=tuple(scopes), slugs=slugs, included=not include)


def _repository(folder: str) -> str | None:
    """The root of the git repository that ``folder`` is in."""
    while not os.path.lexists(os.path.join(folder, ".git")):
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent
    return folder


# Failures.


def failure_of(message: str, hint: str = "") -> Failure:
    """Return the failure to read one document."""
    return Failure(DocumentUnreadable.code, message, hint)


def closed(named: str, error: SourceError, path: str = "") -> Skipped:
    """Return that the folder at ``path`` of the source is not read because of ``error``."""
    return Skipped(path, UNREADABLE, failure_of(f"{named} is not read, because {error.message}", error.hint))


def unreadable(path: str, error: Exception, source: str = "the folder") -> Skipped:
    """Return that ``path`` could not be read because of ``error``; the empty path is that of the whole source."""
    path = printable(path)
    hint = "let this user read it, or name it in .ragignore" if isinstance(error, PermissionError) else ""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Skipped(path, UNREADABLE, failure_of(f"{path or source} cannot be read: {reason}", hint))


def megabytes(size: int) -> str:
    """Return a number of bytes in words."""
    return f"{size / 1_000_000:.10g} MB"
