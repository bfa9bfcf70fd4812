"""Bodies of a crawl, decoded while they come and never beyond a number of bytes.

A kilobyte of gzip can stand for a megabyte, and gzip within gzip for any number of them. So decoding goes piece by piece, each piece
of output is bounded, one layer is all there may be, and a body that stops in the middle of it is no page.
"""

from __future__ import annotations

import zlib
from typing import Final, NoReturn

from clockify_rag.crawling.addresses import refuse

GZIP: Final = b"\x1f\x8b\x08"
"""How a gzip file begins."""

PIECE_BYTES: Final = 65_536
"""Bytes that are decoded at a time."""

_MEMBERS = 1024


class Plain:
    """A body that is not encoded, up to a number of bytes."""

    def __init__(self, url: str, limit: int) -> None:
        self._url = url
        self._limit = limit
        self._body = bytearray()

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        if len(self._body) + len(piece) > self._limit:
            too_large(self._url, self._limit)
        self._body += piece

    def finished(self) -> bytes:
        """Return the whole body."""
        return bytes(self._body)


class Gunzip(Plain):
    """One layer of gzip, of one or several members, decoded up to a number of bytes."""

    def __init__(self, url: str, limit: int) -> None:
        super().__init__(url, limit)
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._members = 1
        self._padded = False

    def feed(self, piece: bytes) -> None:
        """Take the next encoded bytes."""
        while piece and not self._padded:
            if self._member.eof:
                if not piece.startswith(GZIP[:1]):
                    self._padded = True  # what follows the last member is padding to its end, as gzip itself has it
                    return
                self._begin_member()
            try:
                decoded = self._member.decompress(piece, PIECE_BYTES)
            except zlib.error as error:
                self._damaged(error)
            super().feed(decoded)
            piece = self._member.unused_data if self._member.eof else self._member.unconsumed_tail

    def finished(self) -> bytes:
        """Return the whole decoded body."""
        while not self._member.eof:
            # What zlib holds back when its output is full comes without further input.
            decoded = self._member.decompress(b"", PIECE_BYTES)
            if not decoded:
                self._damaged(None)
            super().feed(decoded)
        if self._body.startswith(GZIP):
            refuse(self._url, "it is a gzip file within gzip, and one layer is decoded", "encoding")
        return bytes(self._body)

    def _begin_member(self) -> None:
        self._members += 1
        if self._members > _MEMBERS:
            refuse(self._url, f"its gzip encoding has more than {_MEMBERS} members", "encoding")
        self._member = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def _damaged(self, error: Exception | None) -> NoReturn:
        why = "it ends before its last block" if error is None else str(error)
        refuse(self._url, f"its gzip encoding is damaged: {why}", "encoding")


def too_large(url: str, limit: int) -> NoReturn:
    """Raise the ``CrawlError`` that says that a body has more than ``limit`` bytes."""
    hint = "raise crawling.page_bytes if the page is to be read"
    refuse(url, f"it has more than {limit} bytes", "too_large", hint)
