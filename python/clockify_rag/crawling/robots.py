"""robots.txt: what a site allows a crawler to ask for, by RFC 9309.

The parser is our own, because what has to be right is not the splitting of lines but the limits around it: the bytes that
are read, what a failed answer means, and a match that takes no longer than the rule and the path together. A rule is
matched piece by piece between its stars, leftmost first, so no file can make it backtrack.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import msgspec

MAXIMUM_BYTES: Final = 500 * 1024
"""What is read of a file (RFC 9309, section 2.5); a line that is cut there is left out."""

MAXIMUM_DELAY: Final = 60.0
"""The longest ``Crawl-delay`` that is kept, in seconds: with a longer one a site could not be read in a day."""

_TOKEN: Final = re.compile(r"[A-Za-z_-]+")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_KEPT: Final = frozenset(range(0x21, 0x7F))
_DELAY: Final = re.compile(r"\d{1,9}(\.\d{1,9})?|\.\d{1,9}", re.ASCII)


class Rule(msgspec.Struct, frozen=True):
    """One ``Allow`` or ``Disallow``."""

    allow: bool
    pieces: tuple[str, ...]
    """What stands between the stars, in normal form."""
    anchored: bool
    """Whether it ends in ``$``."""
    length: int
    """Octets of the rule, by which the most specific one is found."""

    def matches(self, path: str) -> bool:
        """Return whether the rule speaks of ``path``, which is in normal form."""
        first, *others = self.pieces
        if not path.startswith(first):
            return False
        at = len(first)
        if not others:
            return not self.anchored or at == len(path)
        *middle, last = others
        for piece in middle:
            at = path.find(piece, at)
            if at < 0:
                return False
            at += len(piece)
        if self.anchored:
            return len(path) - at >= len(last) and path.endswith(last)
        return path.find(last, at) >= 0


class Robots(msgspec.Struct, frozen=True):
    """What one host allows one crawler."""

    rules: tuple[Rule, ...] = ()
    delay: float | None = None
    """Seconds between two requests that the host asks for."""
    sitemaps: tuple[str, ...] = ()
    """Addresses of sitemaps, as they are written."""
    reachable: bool = True
    """False where the host could not say what it allows, so that nothing of it is asked for."""

    def allows(self, target: str) -> bool:
        """Return whether the page at ``target`` (path and query) may be asked for.

        The longest rule that matches decides, an ``Allow`` among equals (RFC 9309, section 2.2.2).
        """
        if not self.reachable:
            return False
        path = normal(target)
        if path == "/robots.txt":
            return True
        best = max(
            (rule for rule in self.rules if rule.matches(path)),
            key=lambda rule: (rule.length, rule.allow),
            default=None,
        )
        return best is None or best.allow


EVERYTHING: Final = Robots()
"""What a host without a robots.txt allows."""

NOTHING: Final = Robots(reachable=False)
"""What a host allows whose robots.txt cannot be had."""


def of_answer(status: int | None, content: bytes, user_agent: str) -> Robots:
    """Return what a host allows by its answer to the request for robots.txt (RFC 9309, section 2.3.1).

    Args:
        status: the answer's status after redirects; ``None`` where there was no answer.
        content: its body.
        user_agent: the name that the crawler gives itself.
    """
    success, missing, too_many = range(200, 300), range(400, 500), 429
    if status in success:
        return parse(content, user_agent)
    # A host that answers 429 has something to say and no time to say it; RFC 9309 leaves open which of both it is.
    if status in missing and status != too_many:
        return EVERYTHING
    return NOTHING


def parse(content: bytes, user_agent: str) -> Robots:
    """Return what a robots.txt allows the crawler ``user_agent``; no file is refused.

    All groups that name the crawler count as one; where none does, those for ``*`` do.
    """
    product = product_token(user_agent)
    mine: list[tuple[str, str]] = []
    everyones: list[tuple[str, str]] = []
    sitemaps: dict[str, None] = {}
    named = False
    agents: set[str] = set()
    in_rules = False
    for name, value in _lines(content):
        if name == "user-agent":
            if in_rules:
                agents, in_rules = set(), False
            agents.add("*" if value.startswith("*") else product_token(value))
            named = named or product in agents
        elif name == "sitemap":
            sitemaps[value] = None
        elif name in ("allow", "disallow", "crawl-delay"):
            in_rules = True
            if product in agents:
                mine.append((name, value))
            if "*" in agents:
                everyones.append((name, value))
    chosen = mine if named else everyones
    rules = tuple(_rule(name == "allow", value) for name, value in chosen if name != "crawl-delay" and value)
    return Robots(rules, _delay(value for name, value in chosen if name == "crawl-delay"), tuple(sitemaps))


def product_token(user_agent: str) -> str:
    """Return the name by which groups are found: the letters, ``_`` and ``-`` that a user agent begins with, in lower case."""
    match = _TOKEN.match(user_agent.strip())
    return match[0].lower() if match else ""


def normal(path: str) -> str:
    """Return a path in the form in which rules and addresses are compared (RFC 9309, section 2.2.2).

    Octets that need no escape have none, all others have one in capitals, as a percent sign that begins none; ``*`` and ``$`` of an address are escaped, because
    those of a rule are signs.
    """
    return _normal(path).replace("*", "%2A").replace("$", "%24")


def _normal(path: str) -> str:
    octets = "".join(chr(octet) if octet in _KEPT else f"%{octet:02X}" for octet in path.encode("utf-8", "replace"))

    def unescaped(match: re.Match[str]) -> str:
        if match[1] is None:
            return "%25"
        octet = int(match[1], 16)
        return chr(octet) if octet in _UNRESERVED else match[0].upper()

    return _ESCAPE.sub(unescaped, octets)


def _rule(allow: bool, value: str) -> Rule:  # noqa: FBT001 - a rule is one of two
    anchored = value.endswith("$")
    pattern = _normal(value.removesuffix("$") if anchored else value)
    pieces = [piece.replace("$", "%24") for piece in re.split(r"\*+", pattern)]
    if anchored and len(pieces) > 1 and not pieces[-1]:
        anchored = False
    return Rule(allow, tuple(pieces), anchored, len(pattern) + anchored)


def _lines(content: bytes) -> Iterable[tuple[str, str]]:
    """Yield the name, in lower case, and the value of every line that has both."""
    if len(content) > MAXIMUM_BYTES:
        content = content[:MAXIMUM_BYTES]
        content = content[: max(content.rfind(b"\n"), content.rfind(b"\r")) + 1]
    text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    for line in re.split(r"[\r\n]+", text):
        name, colon, value = line.partition("#")[0].partition(":")
        if colon:
            yield name.strip(" \t").lower(), value.strip(" \t\0")


def _delay(values: Iterable[str]) -> float | None:
    delays = [float(value) for value in values if _DELAY.fullmatch(value)]
    return min(max(delays), MAXIMUM_DELAY) if delays else None
