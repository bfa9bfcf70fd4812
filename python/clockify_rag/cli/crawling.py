"""``crawl``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from clockify_rag import config
from clockify_rag.cli import building, opening
from clockify_rag.errors import ConfigError


def crawl(
    url: str,
    *,
    index: str | None,
    changes: Mapping[str, tuple[str, Any]],
    private_hosts: Sequence[str],
    only: bool,
    as_json: bool,
) -> int:
    """Crawl a site, build the index from it, print what was done, and return the exit status."""
    url = opening.typed(url)
    if not config.is_address(url):
        from clockify_rag.crawling.addresses import shown

        like_one = "." in url and "@" not in url and re.match(r"\w+:[/\\]", url) is None
        raise ConfigError(
            f"{shown(url)} is no address of a site",
            hint=f"clockify-rag crawl https://{url}" if like_one else "clockify-rag crawl https://docs.example.com/",
        )
    configuration = opening.load(
        ("index.path", "--index", index),
        ("crawling.allow_private_hosts", "--allow-private-host", tuple(private_hosts) or None),
    )
    given = {field: (option, value) for field, (option, value) in changes.items() if value not in (None, [], ())}
    sources = config.typed_sources([url], configuration.settings, given)
    return building.run(configuration, sources, as_json=as_json, only=only)
