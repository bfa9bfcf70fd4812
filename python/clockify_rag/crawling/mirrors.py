"""Mirrors: the same page in other languages and of other versions of the product, told by its address.

A documentation site shows each page many times: ``/de/export``, ``/v2.1/export``. One segment of the path tells them apart,
so addresses that are equal without it are twins. A segment alone proves nothing (``/it/`` may be the IT department, ``/2/``
a chapter): only where a twin is known, or the pages themselves name their translations, is a tree taken for a mirror.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

EVERY: Final = "*"
"""In a list of languages or versions: all of them."""

MIRRORED_PAGES: Final = 3
"""Twins that make a whole tree of another version a mirror; below that only the twins themselves are."""

_DEEPEST: Final = 4
"""The segments of a path, from the folder that is crawled, among which a language or version is looked for."""

_LANGUAGE: Final = re.compile(r"([a-z]{2})(?:[-_](?:[a-z]{2}|[a-z]{4}|\d{3})){0,2}", re.IGNORECASE | re.ASCII)
_LANGUAGES: Final = frozenset(
    """
    aa ab ae af ak am an ar as av ay az ba be bg bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo es
    et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki
    kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no
    nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te
    tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu
    """.split()
)
"""ISO 639-1."""

_RELEASE: Final = re.compile(
    r"v\d{1,4}(?:[._]\d{1,4}){0,3}(?:\.x)?|\d{1,4}(?:\.\d{1,4}){1,3}(?:\.x)?|\d{1,4}\.x", re.ASCII
)
_NUMBER: Final = re.compile(r"\d{1,3}", re.ASCII)
_FINISHED: Final = ("stable", "latest", "current")
_UNFINISHED: Final = (
    "next",
    "dev",
    "devel",
    "develop",
    "main",
    "master",
    "trunk",
    "head",
    "nightly",
    "edge",
    "unreleased",
)


class Place(NamedTuple):
    """A segment of a path that tells mirrors apart."""

    label: str
    """The segment, in lower case."""
    before: str
    """The path up to it."""
    page: str
    """The path without it."""

    @property
    def is_root(self) -> bool:
        """Whether the path ends with the segment, so that it is a mirror's first page."""
        return self.page == self.before


class Mirrors:
    """What is known of the mirrors of one site.

    Args:
        folder: the path that is crawled, ending in a slash: segments in it choose a language or version.
        languages: ISO 639-1 codes that are wanted; none where it is not known, ``*`` for all.
        versions: segments of versions that are wanted; none for the best of each page, ``*`` for all.
    """

    def __init__(self, folder: str, languages: Sequence[str] = (), versions: Sequence[str] = ()) -> None:
        self._skip = folder.count("/") - 1
        self._languages = tuple(language.lower() for language in languages)
        self._versions = tuple(version.lower() for version in versions)
        self._plain: set[str] = set()
        self._by_language: dict[str, set[str]] = defaultdict(set)
        self._by_version: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._translated: set[tuple[str, str]] = set()
        self._declared: dict[str, str] = {}
        self._outdated: dict[tuple[str, str], set[str]] = defaultdict(set)

    def want(self, languages: Sequence[str]) -> None:
        """Set the languages that are wanted, where none were."""
        self._languages = self._languages or tuple(language.lower() for language in languages)

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that are wanted; none where that is not known."""
        return self._languages

    def observe(self, paths: Iterable[str]) -> None:
        """Note that there are pages at ``paths``."""
        places = []
        for path in paths:
            self._plain.add(path)
            if (place := self._language(path)) is not None:
                self._by_language[place.page].add(place.label)
                places.append(place)
            if (place := self._version(path)) is not None:
                self._by_version[place.before, place.page].add(place.label)
        for place in places:
            if not place.is_root and not self._wants(place.label) and self._has_wanted_twin(place):
                self._translated.add((place.before, place.label))
        self._find_outdated()

    def declare(self, path: str, alternates: Iterable[tuple[str, str]]) -> None:
        """Note the translations that the page at ``path`` names: language tag and path of each."""
        if not self._languages or EVERY in self._languages:
            return
        named = {other: language.lower() for language, other in alternates if language.lower() != "x-default"}
        wanted = {other for other, language in named.items() if self._wants(language)}
        if not wanted or (path not in wanted and named.get(path) is None):
            return
        for other, language in named.items():
            if other not in wanted:
                self._declared[other] = language
                place = self._language(other)
                if place is not None and place.label == language.replace("_", "-"):
                    self._translated.add((place.before, place.label))

    def translation(self, path: str) -> str | None:
        """Return the language that the page at ``path`` is a translation to; ``None`` where it is wanted."""
        if not self._languages or EVERY in self._languages:
            return None
        if path in self._declared:
            return self._declared[path]
        place = self._language(path)
        if place is None or self._wants(place.label):
            return None
        if (place.before, place.label) in self._translated or (not place.is_root and self._has_wanted_twin(place)):
            return place.label
        return None

    def other_version(self, path: str) -> str | None:
        """Return the version that the page at ``path`` is of where another is wanted; ``None`` where it is wanted."""
        place = self._version(path)
        if place is None or EVERY in self._versions:
            return None
        if self._versions:
            return None if place.label in self._versions or not self._is_version(place) else place.label
        pages = self._outdated.get((place.before, place.label), ())
        return place.label if place.page in pages or len(pages) >= MIRRORED_PAGES else None

    def _wants(self, language: str) -> bool:
        language = language.replace("_", "-")
        return any(language == wanted or language.split("-")[0] == wanted for wanted in self._languages)

    def _has_wanted_twin(self, place: Place) -> bool:
        if not self._languages or EVERY in self._languages:
            return False
        return place.page in self._plain or any(self._wants(label) for label in self._by_language[place.page])

    def _find_outdated(self) -> None:
        for (before, page), labels in self._by_version.items():
            if page == before:
                continue
            versions = {label for label in labels if self._is_version(Place(label, before, page))}
            if page in self._plain:
                best = ""
            elif len(versions) > 1:
                best = max(versions, key=_rank)
            else:
                continue
            for label in versions:
                if label != best:
                    self._outdated[before, label].add(page)

    def _is_version(self, place: Place) -> bool:
        """Whether a label is a version for certain, or beside one that is."""
        return _is_certain(place.label) or any(
            _is_certain(label) for label in self._by_version[place.before, place.page]
        )

    def _segments(self, path: str) -> Iterable[tuple[str, str, str]]:
        parts = path.split("/")
        for at in range(1 + self._skip, min(len(parts), 1 + self._skip + _DEEPEST)):
            yield parts[at], "/".join(parts[:at]) + "/", "/".join(parts[:at] + parts[at + 1 :]) or "/"

    def _language(self, path: str) -> Place | None:
        for segment, before, page in self._segments(path):
            match = _LANGUAGE.fullmatch(segment)
            if match and match[1].lower() in _LANGUAGES:
                return Place(segment.lower().replace("_", "-"), before, page)
        return None

    def _version(self, path: str) -> Place | None:
        for segment, before, page in self._segments(path):
            label = segment.lower()
            if _is_certain(label) or _NUMBER.fullmatch(label):
                return Place(label, before, page)
        return None


def language_of_path(path: str) -> str | None:
    """Return the first segment of a path that is a language tag, in lower case."""
    for segment in path.split("/"):
        match = _LANGUAGE.fullmatch(segment)
        if match and match[1].lower() in _LANGUAGES:
            return segment.lower().replace("_", "-")
    return None


def _is_certain(label: str) -> bool:
    return label in _FINISHED or label in _UNFINISHED or _RELEASE.fullmatch(label) is not None


def _rank(label: str) -> tuple[int, list[int], str]:
    """The order of versions, worst first: what is not finished, releases by number, what is named as the last."""
    if label in _FINISHED:
        return 2, [-_FINISHED.index(label)], label
    if label in _UNFINISHED:
        return 0, [-_UNFINISHED.index(label)], label
    return 1, [int(number) for number in re.findall(r"\d+", label)], label
