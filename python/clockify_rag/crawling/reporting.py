"""The report of a crawl: what was done, and for every address that is no document, why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec

from clockify_rag.contracts import Failure
from clockify_rag.crawling.frontier import Skip

MAXIMUM_SKIPS: Final = 100_000
"""Addresses of a report that are named; the others are only counted."""


class CrawlReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a crawl did."""

    source: str
    url: str
    pages: int = 0
    """Documents that the store holds of the site now."""
    requests: int = 0
    downloaded: int = 0
    """Pages whose content was sent."""
    unchanged: int = 0
    """Pages whose content was not sent again because it had not changed."""
    bytes: int = 0
    """Decoded bytes of the pages that were sent."""
    missing: int = 0
    """Pages that the store had and that are gone."""
    failed: int = 0
    """Pages that could not be fetched."""
    complete: bool = False
    """Whether the crawl reached its end, so that a page that it did not find is gone."""
    cut_short: str = ""
    """Why it did not."""
    resumed: bool = False
    """Whether it went on with a crawl that was killed."""
    languages: tuple[str, ...] = ()
    """The languages whose pages were kept; none where the site did not tell."""
    failure: Failure | None = None
    """Why the site could not be read at all; the store is then as it was."""
    skip_counts: Mapping[str, int] = {}
    """For each reason, how many addresses are no documents."""
    skipped: tuple[Skip, ...] = ()
    """Those addresses, in order, at most 100,000."""
    seconds: float = 0.0


class Skips:
    """Collects the addresses that are no documents; the first reason of each counts."""

    def __init__(self) -> None:
        self._named: dict[str, Skip] = {}
        self._unnamed: Counter[str] = Counter()

    def add(self, skip: Skip) -> None:
        """Note that an address is no document."""
        if len(self._named) < MAXIMUM_SKIPS:
            self._named.setdefault(skip.url, skip)
        elif skip.url not in self._named:
            self._unnamed[skip.reason] += 1

    def of(self, url: str) -> Skip | None:
        """Return why an address is no document; ``None`` where it was not noted."""
        return self._named.get(url)

    def in_order(self) -> tuple[Skip, ...]:
        """Return those that are named, in order of address."""
        return tuple(sorted(self._named.values()))

    def counts(self) -> dict[str, int]:
        """Return how many addresses each reason has, in order of reason."""
        return dict(sorted((self._unnamed + Counter(skip.reason for skip in self._named.values())).items()))
