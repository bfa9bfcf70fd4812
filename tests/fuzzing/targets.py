"""One function of bytes for each reader: it raises where something does not hold that must hold of any bytes.

The fuzzer (``python -m fuzzing``) looks for such bytes; ``test_fuzzing.py`` runs the same functions over what it found worth keeping
in ``fuzz/corpus``, without it.
"""

from __future__ import annotations

import contextlib
import io
import ipaddress
import re
import socket
import zipfile
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Final
from urllib.parse import urlsplit

import msgspec

from clockify_rag.contracts import Source
from clockify_rag.crawling import addresses, decoding, robots, sitemaps
from clockify_rag.errors import CrawlError, DocumentUnreadable
from clockify_rag.loading import articles, docx, lines, metadata

_BASE = addresses.parse("https://help.example.com/guide/start?lang=en")
_AGENT = "clockify-rag/1.0"
_LIMIT = 4096
_SEPARATOR = b"\x00"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def address(data: bytes) -> None:
    """What is vetted is what is connected to: every other parser sees the host that was vetted, or there is no address."""
    reference, _, base = _text(data).partition("\n")
    with contextlib.suppress(CrawlError):
        on = addresses.parse(base) if base else _BASE
        found = addresses.resolve(reference, on)
        if not re.match(r"[ \t\n\r\f]*([A-Za-z][A-Za-z0-9+.-]*:|//)", reference):
            assert found.origin == on.origin, "a relative reference leaves its host"
        _check_address(found)


def _check_address(found: addresses.Address) -> None:
    url = found.url
    assert url.isascii()
    assert url.isprintable()
    assert " " not in url
    assert addresses.parse(url) == found, "the canonical form is another address"
    parts = urlsplit(url)
    assert (parts.scheme, parts.hostname, parts.username, parts.fragment) == (found.scheme, found.host, None, "")
    assert (parts.port or addresses.PORTS[found.scheme]) == found.port
    assert not {".", ".."} & set(found.path.split("/"))
    literal = found.literal
    try:
        addresses.PrivateHosts().check(found)
    except CrawlError:
        pass
    else:
        assert literal is None or (literal.is_global and not literal.is_multicast), "an address that is not public"
        assert found.port in (80, 443) or found.port > 1023
    if literal is None:
        _check_name(found.host)
    else:
        family = socket.AF_INET if literal.version == 4 else socket.AF_INET6
        assert socket.inet_pton(family, found.host) == literal.packed
        if literal.version == 4:
            assert socket.inet_aton(found.host) == literal.packed, "the system reads the host as another address"


def _check_name(host: str) -> None:
    """A name is nothing that a resolver takes for a number."""
    try:
        socket.inet_aton(host)
    except OSError:
        return
    raise AssertionError("the system reads the host as an address")


def robots_txt(data: bytes) -> None:
    """A host's rules decide as the regular expressions that they stand for; what is out of bounds is not there."""
    path, _, content = data.partition(b"\n")
    target = "/" + _text(path)[:48]
    found = robots.parse(content, _AGENT)
    count = len(re.split(rb"[\r\n]+", content))
    assert len(found.rules) + len(found.sitemaps) <= count
    assert found.delay is None or 0 <= found.delay <= robots.MAXIMUM_DELAY
    assert found.allows("/robots.txt")
    normal = robots.normal(target)
    assert robots.normal(normal) == normal
    for rule in found.rules:
        if len(rule.pieces) <= 4 and rule.length <= 100:
            pattern = ".*".join(re.escape(piece) for piece in rule.pieces)
            match = re.match(pattern + (r"\Z" if rule.anchored else ""), normal)
            assert rule.matches(normal) == bool(match), "the rule and its regular expression differ"
    matching = [rule for rule in found.rules if rule.matches(normal)]
    longest = max((rule.length for rule in matching), default=0)
    allowed = not matching or any(rule.allow for rule in matching if rule.length == longest)
    assert found.allows(target) == (allowed or normal == "/robots.txt")


def sitemap(data: bytes) -> None:
    """No content is refused: what is found has bounds, and a document type declaration is always the end."""
    for content in (data, b'<urlset xmlns:xhtml="x"><url><loc>' + data + b"</url></urlset>"):
        found = sitemaps.parse(content)
        assert len(found.entries) <= min(sitemaps.MAXIMUM_ENTRIES, len(content))
        for entry in found.entries:
            assert 0 < len(entry.url) <= sitemaps.MAXIMUM_CHARACTERS
            assert entry.url == entry.url.strip()
            assert len(entry.modified) <= 40
        assert "\n" not in found.problem
    assert sitemaps.parse(b'<!DOCTYPE u [<!ENTITY e "e">]>' + data).entries == ()
    links = sitemaps.links_of_text(data)
    assert len(set(links)) == len(links) <= sitemaps.MAXIMUM_LINKS
    assert all(link and not re.search(r"\s", link) for link in links)


def gzip_body(data: bytes) -> None:
    """A body is the same however it comes in pieces, within its limit, or is refused."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    for content in (data, packer.compress(data) + packer.flush() + data):
        whole, parted = (_unpacked(content, size) for size in (len(content) or 1, 7))
        assert (whole is None) == (parted is None), "it matters how a body comes"
        assert whole == parted
        assert whole is None or len(whole) <= _LIMIT
        with contextlib.suppress(ValueError):
            assert len(sitemaps.unpacked(content, _LIMIT)) <= _LIMIT


def _unpacked(content: bytes, size: int) -> bytes | None:
    body = decoding.Gunzip("https://example.com/", _LIMIT)
    try:
        for start in range(0, len(content), size):
            body.feed(content[start : start + size])
        return body.finished()
    except CrawlError:
        return None


def json_lines(data: bytes) -> None:
    """A file is read line by line, and every line is there once: whole, or its length; each is a document or named as broken."""
    found = list(lines.numbered_lines(io.BytesIO(data), 256))
    expected: list[tuple[int, bytes | int]] = []
    for number, line in enumerate(io.BytesIO(data), 1):
        kept = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if len(kept.rstrip(b"\n")) > 256:
            expected.append((number, len(kept)))
        elif not kept.isspace() and kept:
            expected.append((number, kept))
    assert [number for number, _ in found if number] == sorted({number for number, _ in found})
    assert {number for number, content in expected if isinstance(content, bytes) and content.strip()} <= {
        number for number, _ in found
    }
    decoded = []
    for _, content in found:
        if isinstance(content, bytes):
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                decoded.append(msgspec.json.decode(content, type=lines.Line))
    given = [line for line in decoded if line.text]
    page, chunks = lines.assembled("d" * 32, given, [lines.ReadyPage(line.text, (), "") for line in given])
    assert [page.text[slice(*chunk.spans[0])] for chunk in chunks] == [line.text for line in given]


def matter(data: bytes) -> None:
    """Whatever front matter holds, what is made of it is one line, an address on the web, or a path below its root."""
    path, _, content = data.partition(b"\n")
    try:
        found = metadata.mapping(_text(content))
    except (msgspec.DecodeError, RecursionError):
        found = {"slug": _text(content), "id": _text(content)}
    # What has no name but white space has no ending that is read.
    parts = _text(path).replace("\0", "").split("/")
    name = "/".join(part for part in parts if part.strip() not in ("", ".", "..")) or "a.md"
    route = metadata.docusaurus_route(name, found)
    assert not {"..", "."} & set(route.split("/"))
    assert not route.startswith("/")
    source = Source(name="s", location="docs", base_url="https://help.example.com/docs/")
    values = list(found.values())
    url = metadata.page_url(source, values)
    assert url is None or metadata.is_web_address(url)
    made = metadata.url_of(source, name, route)
    assert made is not None
    assert made.isascii() or not route.isascii() or not name.isascii()
    for value in values:
        text = metadata.text_of(value)
        assert text is None or (text == " ".join(text.split()) and text)
    assert all(metadata.all_tags(*values))
    code = metadata.language_code(metadata.text_of(values[0]) if values else None)
    assert code is None or re.fullmatch("[a-z]{2}", code)
    assert metadata.title_of(name).strip()


def documents(data: bytes) -> None:
    """The documents of a file follow one another, are all of it, and have names that are unique."""
    text = _text(data)
    found = articles.parts_of(text)
    if not found:
        return
    assert (found[0].start, found[-1].end) == (0, len(text))
    assert all(before.end == after.start for before, after in pairwise(found))
    assert all(part.name for part in found)
    assert len({part.name for part in found}) == len(found)


_PARTS = ("word/document.xml", "word/styles.xml", "word/numbering.xml", "word/footnotes.xml", "docProps/core.xml")
_BALANCED = ("table", "tr", "td", "th", "li", "ul", "ol", "p", *(f"h{level}" for level in range(1, 7)))


def word(data: bytes) -> None:
    """A zip of a document's parts, or any bytes as one: HTML whose elements are closed, or why it cannot be read."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, part in zip(_PARTS, data.split(_SEPARATOR, len(_PARTS) - 1), strict=False):
            archive.writestr(zipfile.ZipInfo(name), part)
    for content in (file.getvalue(), data):
        try:
            text = docx.read(content, maximum_bytes=1 << 16).content.decode()
        except DocumentUnreadable:
            continue
        for name in _BALANCED:
            assert text.count(f"<{name}>") == text.count(f"</{name}>"), f"<{name}> is not closed"
        tags = set(re.findall(r"</?([a-z0-9]*)", text))
        assert tags <= {*_BALANCED, "br", "img"}, "what the document says became an element"


def ip(data: bytes) -> None:
    """What counts as public is what the system connects to outside: never what any table calls otherwise."""
    text = data.decode("ascii", "replace")
    forms = [text]
    if len(data) in (4, 16):
        forms.append(str(ipaddress.ip_address(data)))
    for form in forms:
        kind, name = addresses.kind_of(form)
        assert name
        if kind != "public":
            continue
        found = ipaddress.ip_address(form)
        assert found.is_global
        assert not found.is_multicast
        assert not found.is_private
        assert not found.is_reserved
        assert isinstance(found, ipaddress.IPv4Address) or not (found.ipv4_mapped or found.sixtofour or found.teredo)


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "address": address,
    "robots": robots_txt,
    "sitemap": sitemap,
    "gzip": gzip_body,
    "json_lines": json_lines,
    "metadata": matter,
    "articles": documents,
    "docx": word,
    "ip": ip,
}
"""The functions by their names, which their folders in ``fuzz/corpus`` have too."""
