"""Folders of documents, and what a loader makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clockify_rag.contracts import Document, LoadedDocument, Skipped, Source
from clockify_rag.loading import FileLoader


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    for path, content in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def source_of(location: Path, **fields: Any) -> Source:
    return Source(name=fields.pop("name", "docs"), location=str(location), **fields)


def load(location: Path, known: Mapping[str, Document] | None = None, **fields: Any) -> list[Any]:
    return list(FileLoader().load(source_of(location, **fields), known or {}))


def documents(items: list[Any]) -> dict[str, Document]:
    found = [item.document if isinstance(item, LoadedDocument) else item for item in items]
    return {item.path: item for item in found if isinstance(item, Document)}


def skipped(items: list[Any]) -> dict[str, str]:
    return {item.path: item.reason for item in items if isinstance(item, Skipped)}


def known_of(items: list[Any]) -> dict[str, Document]:
    return {document.id: document for document in documents(items).values()}


def only(location: Path, **fields: Any) -> Document:
    (document,) = documents(load(location, **fields)).values()
    return document
