"""Addresses: of a citation, down to the quoted words, and those that a draft names.

A citation's link ends in a text fragment, which a browser scrolls to and highlights (URL Fragment Text Directives, W3C Community
Group report): ``#:~:text=start,end``, or ``#anchor:~:text=`` where the section has an anchor, so that a browser that knows no text
fragments still opens the section. A canonical text writes the numbers of lists and the borders of cells, which a page's own text does
not have, so these are left out of a fragment.

An address that a model writes is shown only where a passage has it or it is a passage's own: one that it made up leads a reader to
whoever registers that name, and an image's is fetched without being asked for. So is the text of a link looked at, which is often an
address itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from clockify_rag.contracts import Context, Hit, Span
from clockify_rag.verification.editing import Edit, code_spans

_ITEM = re.compile(r"^\s*(?:(?:\d{1,3}|[a-z])[.)]|[-*•])\s+")
_EXACT_WORDS, _END_WORDS, _SIDE_WORDS = 12, 5, 3
_RESERVED = re.compile(rb"[^A-Za-z0-9._~ ]")
_WEB = re.compile(
    r"(?:[a-z][a-z0-9+.-]{1,20}://|www\.|(?<=[\"'=(<])//(?=[\w-]+\.\w))[^\s<>\"'`()\[\]{}|\\^\u201c\u201d]+",
    re.IGNORECASE,
)
_LINK = re.compile(
    r"(?P<image>!?)\[(?P<text>[^\[\]\n]*)\]\(\s*<?(?P<target>[^\s<>()]*(?:\([^\s()]*\)[^\s<>()]*)*)>?[^()\n]*\)"
)
_REFERENCE = re.compile(r"^[^\S\n]{0,3}\[[^\]\n]+\]:[^\S\n]*(\S+).*$", re.MULTILINE)
_TRAILING = ".,;:!?*_"
REMOVED = "[link removed]"
"""What stands where an address stood that is in no source."""


def citation_link(hit: Hit, quote: str, start: int) -> str | None:
    """Return the address that opens a hit's page at a quote; ``None`` where the page has none.

    Args:
        hit: whose text has the quote.
        quote: the source's own characters.
        start: where they begin in the hit's text.
    """
    url = hit.document.url
    if not url:
        return None
    fragment = _text_fragment(quote, hit.chunk.text, start)
    anchor = "" if "#" in url else f"#{hit.chunk.anchor or ''}"
    if not fragment:
        return url + anchor if hit.chunk.anchor else url
    return f"{url}{anchor}:~:text={fragment}"


def _text_fragment(quote: str, text: str, start: int) -> str:
    pieces = [
        piece for line in quote.splitlines() for piece in _ITEM.sub("", line, count=1).split(" | ") if piece.strip()
    ]
    if not pieces:
        return ""
    first, last = pieces[0].split(), pieces[-1].split()
    if len(pieces) == 1 and len(first) <= _EXACT_WORDS:
        found = _encoded(first)
        if text.count(pieces[0]) > 1:
            line = text[: start + quote.index(pieces[0])].rpartition("\n")[2]
            before = _ITEM.sub("", line, count=1).rpartition(" | ")[2].split()
            after = (
                text[start + quote.index(pieces[0]) + len(pieces[0]) :].partition("\n")[0].partition(" | ")[0].split()
            )
            found = f"{_encoded(before[-_SIDE_WORDS:])}-,{found}" if before else found
            found = f"{found},-{_encoded(after[:_SIDE_WORDS])}" if after else found
        return found
    return f"{_encoded(first[:_END_WORDS])},{_encoded(last[-_END_WORDS:])}"


def _encoded(words: list[str]) -> str:
    """Percent-encode words; the hyphen, comma and ampersand have a meaning in a text fragment."""
    encoded = " ".join(words).encode("utf-8", "replace")
    return _RESERVED.sub(lambda found: b"%%%02X" % found[0][0], encoded).replace(b" ", b"%20").decode("ascii")


class Looked(msgspec.Struct, frozen=True):
    """What became of the addresses of a draft."""

    edits: tuple[Edit, ...]
    """What takes those out that no source has, one each."""
    kept: tuple[Span, ...]
    """Where the others stand, and what makes links of words."""


class Addresses:
    """The addresses that a draft may name: those of the passages' pages, and those that stand in the passages.

    Args:
        context: what was shown.
    """

    def __init__(self, context: Context) -> None:
        self._pages: dict[str, set[str]] = {}
        for hit in context.hits:
            if hit.document.url:
                url, _, anchor = hit.document.url.partition("#")
                self._pages.setdefault(_normal(url), {""}).update({anchor, hit.chunk.anchor or ""})
        self._written = {_normal(_bare(found[0])) for text in context.texts for found in _web(text)}

    def knows(self, address: str) -> bool:
        """Say whether a source has an address."""
        page, _, anchor = address.partition("#")
        return anchor in self._pages.get(_normal(page), ()) or _normal(address) in self._written

    def look(self, draft: str) -> Looked:
        """Look at the addresses of a draft: a link that no source has keeps its text, an image nothing."""
        code = code_spans(draft)
        edits: list[Edit] = []
        kept: list[Span] = []
        taken: list[Span] = []
        for match in _LINK.finditer(draft):
            if any(start <= match.start() < end for start, end in code):
                continue
            if match["image"] or not self.knows(match["target"]):
                taken.append(match.span())
                edits.append(Edit(*match.span(), "" if match["image"] else self._without(match["text"])))
            else:
                taken.append(match.span("target"))
                kept += [(match.start(), match.start("text")), (match.end("text"), match.end())]
        for match in _REFERENCE.finditer(draft):
            if self.knows(match[1].strip("<>")):
                taken.append(match.span(1))
                kept.append(match.span())
            else:
                taken.append(match.span())
                edits.append(Edit(*match.span(), ""))
        for match in _web(draft):
            address = _bare(match[0])
            place = match.start(), match.start() + len(address)
            if any(start <= match.start() < end for start, end in taken):
                continue
            if self.knows(address):
                kept.append(place)
            else:
                edits.append(Edit(*place, REMOVED))
        return Looked(tuple(edits), tuple(kept))

    def _without(self, text: str) -> str:
        """Return the text of a link that goes, without the addresses in it that go too."""
        for match in reversed(list(_web(text))):
            address = _bare(match[0])
            if not self.knows(address):
                text = f"{text[: match.start()]}{REMOVED}{text[match.start() + len(address) :]}"
        return text


def _web(text: str) -> Iterable[re.Match[str]]:
    """Return the addresses in a text; few texts have any, and looking for them takes longer than to see that."""
    return _WEB.finditer(text) if "//" in text or "www." in text.lower() else ()


def _bare(address: str) -> str:
    return address.rstrip(_TRAILING)


def _normal(address: str) -> str:
    scheme, slashes, rest = address.partition("://")
    host, slash, path = (rest if slashes else address).partition("/")
    return f"{scheme.lower() if slashes else 'https'}://{host.lower()}/{path.rstrip('/') if slash else ''}"
