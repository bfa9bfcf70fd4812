"""Addresses of pages: which URLs a crawl may ask for, and which IP addresses it may connect to.

Whether a URL is public cannot be answered from its text by two parsers that read it differently: one takes
``http://127.0.0.1\\@example.com/`` for example.com and the other connects to this machine. So there is one strict parser, here,
and nothing else in a crawl reads a URL: what is vetted is an ``Address`` of parts, and the connection is made from those same
parts. What could be read in two ways is refused, never guessed. Vetting a host's IP addresses has a table of its own, because
what Python calls global includes multicast, NAT64 and 6to4.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NoReturn

import msgspec

from clockify_rag.errors import CrawlError, InvalidSetting

Scheme = Literal["http", "https"]

Reason = Literal[
    "address",
    "scheme",
    "port",
    "private",
    "outside",
    "downgrade",
    "redirects",
    "unresolved",
    "unreachable",
    "certificate",
    "deadline",
    "headers",
    "too_large",
    "encoding",
    "length",
    "protocol",
]
"""Why a page could not be fetched: the field ``reason`` of a ``CrawlError``.

``address`` (no URL that can be read in one way), ``scheme`` (neither http nor https), ``port`` (a port that browsers refuse),
``private`` (an address that is not public), ``outside`` (a redirect away from where the crawl may go), ``downgrade`` (a
redirect from https to http), ``redirects`` (too many, in a circle, or to nowhere), ``unresolved`` (no such host),
``unreachable`` (no connection, or it was lost), ``certificate`` (TLS failed), ``deadline`` (not finished in time),
``headers`` (too many or too long), ``too_large`` (more decoded bytes than allowed), ``encoding`` (a content encoding that was
not asked for, more than one, or a damaged one), ``length`` (the body is shorter or longer than was announced), ``protocol``
(not HTTP).
"""

MAXIMUM_URL: Final = 8192
"""Characters that a URL has at most."""

PORTS: Final[dict[str, int]] = {"http": 80, "https": 443}

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:@%\\]+))(?::([0-9]{0,5}))?", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_KEPT_IN_PATH = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~!$&'()*+,;=:@/%-]")
_KEPT_IN_QUERY = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9._~!$&'()*+,;=:@/?%-]")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_USER = re.compile(r"(^[A-Za-z][A-Za-z0-9+.-]*:[/\\]*+|//)[^/\\?#]*@")
"""A user and password, also where slashes are missing or the wrong ones."""
_SHOWN_CHARACTERS = 200
_MAXIMUM_PORT = 65_535
_SYSTEM_PORTS = 1024
_LONGEST_NAME = 253

_REFUSED_PORTS = frozenset(
    {
        1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080,
    }
)  # fmt: skip
"""Ports above 1023 that speak something else, which a request could be mistaken for (WHATWG Fetch, "bad port")."""

_PRIVATE_NAMES = (
    "localhost",
    "localdomain",
    "local",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "home.arpa",
    "onion",
    "invalid",
)
"""Ends of names that no public server has (RFC 6761, 6762, 7686, 8375; ICANN's reserved ones, and what routers use)."""

Kind = Literal["public", "private", "forbidden"]

_NETWORKS: Final[tuple[tuple[str, Kind, str], ...]] = (
    ("0.0.0.0/8", "forbidden", "this network"),
    ("10.0.0.0/8", "private", "a private network"),
    ("100.64.0.0/10", "private", "a carrier's network"),
    ("127.0.0.0/8", "private", "this machine"),
    ("169.254.0.0/16", "forbidden", "link-local"),
    ("172.16.0.0/12", "private", "a private network"),
    ("192.0.0.0/24", "forbidden", "protocol assignments"),
    ("192.0.2.0/24", "forbidden", "documentation"),
    ("192.88.99.0/24", "forbidden", "6to4"),
    ("192.168.0.0/16", "private", "a private network"),
    ("198.18.0.0/15", "private", "a test network"),
    ("198.51.100.0/24", "forbidden", "documentation"),
    ("203.0.113.0/24", "forbidden", "documentation"),
    ("224.0.0.0/4", "forbidden", "multicast"),
    ("240.0.0.0/4", "forbidden", "reserved"),
    ("::1/128", "private", "this machine"),
    ("::/96", "forbidden", "IPv4 within IPv6"),
    ("::ffff:0:0/96", "forbidden", "IPv4 within IPv6"),
    ("::ffff:0:0:0/96", "forbidden", "IPv4 within IPv6"),
    ("64:ff9b::/96", "forbidden", "NAT64"),
    ("64:ff9b:1::/48", "forbidden", "NAT64"),
    ("2001::/32", "forbidden", "Teredo"),
    ("2001::/23", "forbidden", "protocol assignments"),
    ("2001:db8::/32", "forbidden", "documentation"),
    ("2002::/16", "forbidden", "6to4"),
    ("3fff::/20", "forbidden", "documentation"),
    ("fc00::/7", "private", "a private network"),
    ("fe80::/10", "forbidden", "link-local"),
    ("fec0::/10", "forbidden", "site-local"),
    ("ff00::/8", "forbidden", "multicast"),
)
"""What is not public; the first network that holds an address names it. ``private`` ones a setting can allow."""

_METADATA = frozenset({"100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"})
"""Where clouds tell their machines secrets, beside the link-local 169.254.169.254; never allowed."""

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_TABLE: Final = tuple((ipaddress.ip_network(network), kind, name) for network, kind, name in _NETWORKS)


class Address(msgspec.Struct, frozen=True, order=True):
    """An http or https URL that can be read in one way only, in its canonical form, without fragment.

    Two URLs of one page that differ in letter case of the host, default port, dot segments or needless escapes are equal.
    """

    scheme: Scheme
    host: str
    """Lower-case ASCII name without a trailing dot, dotted IPv4, or IPv6 in its short form without brackets."""
    port: int
    path: str
    """Begins with a slash; percent-encoded."""
    query: str = ""
    """Without its question mark; percent-encoded."""

    @property
    def literal(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
        """The host as an IP address; ``None`` where it is a name."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """Host and, where it is not the scheme's own, port, as a ``Host`` header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port: what robots.txt and credentials hold for."""
        return f"{self.scheme}://{self.authority}"

    @property
    def target(self) -> str:
        """Path and query, as a request line has them."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def url(self) -> str:
        """The canonical URL."""
        return f"{self.origin}{self.target}"

    def __str__(self) -> str:
        return self.url


def parse(url: str) -> Address:
    """Return the address that an absolute URL names.

    Raises:
        CrawlError: with ``reason`` ``address`` or ``scheme``.
    """
    return resolve(url, None)


def resolve(reference: str, base: Address | None) -> Address:
    """Return the address that ``reference`` names on the page ``base`` (RFC 3986, section 5.3), its fragment left out.

    Args:
        reference: an absolute or relative URL, as a link or a ``Location`` header has it.
        base: the page that it stands on; ``None`` allows absolute URLs only.

    Raises:
        CrawlError: with ``reason`` ``address`` or ``scheme``.
    """
    text = _readable(reference).partition("#")[0]
    match = _SCHEME.match(text)
    if match:
        scheme, rest = match[1].lower(), text[match.end() :]
        if scheme not in PORTS:
            refuse(reference, f"its scheme is {scheme}, and only http and https are fetched", "scheme")
        if not rest.startswith("//"):
            refuse(reference, "two slashes must follow its scheme")
        return _absolute(reference, "https" if scheme == "https" else "http", rest)
    if base is None:
        refuse(reference, "it has no scheme")
    if text.startswith("//"):
        return _absolute(reference, base.scheme, text)
    path, mark, query = text.partition("?")
    if not path:
        return msgspec.structs.replace(base, query=_escaped(query, _KEPT_IN_QUERY) if mark else base.query)
    merged = path if path.startswith("/") else base.path.rpartition("/")[0] + "/" + path
    return msgspec.structs.replace(base, path=_path(merged), query=_escaped(query, _KEPT_IN_QUERY))


def canonical_host(host: str) -> str:
    """Return a host name or IP address as ``Address.host`` has it.

    Raises:
        CrawlError: it is none, with ``reason`` ``address``.
    """
    bracketed = host.startswith("[") and host.endswith("]")
    return _host(host, host[1:-1] if bracketed else None, host)


def kind_of(ip: str) -> tuple[Kind, str]:
    """Return whether an IP address is public, and what it is if not.

    ``private`` addresses can be allowed for a host by name; ``forbidden`` ones cannot.
    """
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return "forbidden", "no IP address"
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None:
        return "forbidden", "an address of one interface"
    if str(address) in _METADATA:
        return "forbidden", "a cloud's metadata service"
    for network, kind, name in _TABLE:
        if address.version == network.version and address in network:
            return kind, name
    if isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_UNICAST:
        return "forbidden", "reserved"
    return ("public", "public") if address.is_global and not address.is_multicast else ("forbidden", "reserved")


class PrivateHosts:
    """The hosts that a setting allows to have private addresses.

    Args:
        entries: ``wiki.example.com`` (on any port), ``127.0.0.5:8080`` or ``[::1]:8080``.

    Raises:
        InvalidSetting: an entry is no host.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._allowed = frozenset(_entry(entry) for entry in entries)

    def __contains__(self, address: Address) -> bool:
        return not self._allowed.isdisjoint({(address.host, None), (address.host, address.port)})

    def check(self, address: Address) -> None:
        """Refuse what can be refused before a name is resolved: its port, a private name, an IP address that is not public.

        Raises:
            CrawlError: with ``reason`` ``port`` or ``private``.
        """
        allowed = address in self
        literal = address.literal
        if literal is not None:
            self.vet(address, [address.host])
        elif not allowed and _is_private_name(address.host):
            _refuse_private(address, f"{address.host} is a name that only a private network has")
        if not allowed and not _is_usual(address):
            refuse(address.url, f"port {address.port} is not one that pages are served on", "port")

    def vet(self, address: Address, answers: Sequence[str]) -> tuple[str, ...]:
        """Return the IP addresses of ``answers``, which are those of the host of ``address``, if a crawl may connect to all.

        One that it may not connect to refuses them all: a host that answers with both is not one to be trusted with either.

        Raises:
            CrawlError: with ``reason`` ``private``, or ``unresolved`` where there is none.
        """
        if not answers:
            raise CrawlError(
                f"{address.host} has no address", hint="check the name", reason="unresolved", url=shown(address.url)
            )
        allowed = address in self
        for ip in answers:
            kind, name = kind_of(ip)
            if kind == "forbidden":
                refuse(address.url, _whereabouts(address, ip, name), "private")
            if kind == "private" and not allowed:
                _refuse_private(address, _whereabouts(address, ip, name))
        return tuple(dict.fromkeys(answers))


def _whereabouts(address: Address, ip: str, name: str) -> str:
    return f"{ip} is {name}" if ip == address.host else f"{address.host} is at {_clean(ip)}, which is {name}"


def shown(url: str) -> str:
    """Return a URL as messages show it: one short line, without user and password."""
    return _clean(_USER.sub(r"\1", url))


def _clean(text: str) -> str:
    printable = "".join(character if character.isprintable() else "�" for character in text)
    return printable if len(printable) <= _SHOWN_CHARACTERS else printable[:_SHOWN_CHARACTERS] + "…"


def refuse(url: str, why: str, reason: Reason = "address", hint: str = "", **fields: str) -> NoReturn:
    """Raise the ``CrawlError`` that says that ``url`` is not fetched, and why."""
    raise CrawlError(f"{shown(url)} is not fetched: {why}", hint=hint, reason=reason, url=shown(url), **fields)


def _refuse_private(address: Address, why: str) -> NoReturn:
    host = f"[{address.host}]" if ":" in address.host else address.host
    hint = f"if it is yours: clockify-rag crawl --allow-private-host {host}:{address.port} URL"
    refuse(address.url, why, "private", hint)


def _readable(reference: str) -> str:
    text = reference.strip(" \t\n\r\f")
    if len(text) > MAXIMUM_URL:
        refuse(reference, f"it has more than {MAXIMUM_URL} characters")
    if _CONTROL.search(text):
        refuse(reference, "it contains a control character")
    return text


def _absolute(reference: str, scheme: Scheme, rest: str) -> Address:
    """Return the address of what follows a scheme's colon, beginning with two slashes."""
    end = re.search(r"[/?]", rest[2:])
    authority, tail = (rest[2:], "") if end is None else (rest[2 : 2 + end.start()], rest[2 + end.start() :])
    if "@" in authority:
        refuse(
            reference, "it contains a user name", hint="credentials are set by crawling.headers and crawling.cookies"
        )
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        refuse(reference, "its host can be read in more than one way" if authority else "it names no host")
    port = int(match[3]) if match[3] else PORTS[scheme]
    if not 1 <= port <= _MAXIMUM_PORT:
        refuse(reference, f"there is no port {port}")
    path, _, query = tail.partition("?")
    host = _host(match[2] or "", match[1], reference)
    return Address(scheme, host, port, _path(path or "/"), _escaped(query, _KEPT_IN_QUERY))


def _host(name: str, brackets: str | None, reference: str) -> str:
    if brackets is not None:
        try:
            return str(ipaddress.IPv6Address(brackets))
        except ValueError:
            refuse(reference, "what stands in brackets is no IPv6 address")
    host = (name if name.isascii() else _mapped(name, reference)).lower().removesuffix(".")
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        if not name.isascii():
            refuse(reference, "its host is an IP address in disguise")
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            refuse(reference, "its host is a number, and no IPv4 address of four decimal parts")
    if len(host) > _LONGEST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        refuse(reference, "its host is no name that can be resolved")
    return host


def _mapped(name: str, reference: str) -> str:
    """Return the ASCII form of an international name (UTS 46, as browsers do)."""
    import idna

    try:
        return idna.encode(name, uts46=True, std3_rules=False).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        refuse(reference, "its host is no international domain name")


def _is_private_name(host: str) -> bool:
    return "." not in host or any(host == name or host.endswith(f".{name}") for name in _PRIVATE_NAMES)


def _is_usual(address: Address) -> bool:
    if address.port < _SYSTEM_PORTS:
        return address.port in PORTS.values()
    return address.port not in _REFUSED_PORTS


def _entry(entry: str) -> tuple[str, int | None]:
    match = _AUTHORITY.fullmatch(entry)
    try:
        if match is not None and 1 <= int(match[3] or 1) <= _MAXIMUM_PORT:
            return _host(match[2] or "", match[1], entry), int(match[3]) if match[3] else None
    except CrawlError:
        pass
    raise InvalidSetting(
        f"crawling.allow_private_hosts names {_clean(entry)!r}, which is no host",
        hint="write it as wiki.example.com, 127.0.0.5:8080 or [::1]:8080",
        key="crawling.allow_private_hosts",
        value=entry,
    )


def _escaped(text: str, unsafe: re.Pattern[str]) -> str:
    """Return a part of a URL with one way to write each character (RFC 3986, section 6.2.2)."""
    encoded = unsafe.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), text)
    return _ESCAPE.sub(_unescaped, encoded)


def _unescaped(match: re.Match[str]) -> str:
    character = chr(int(match[1], 16))
    return character if character in _UNRESERVED else f"%{match[1].upper()}"


def _path(text: str) -> str:
    """Return an absolute path, escaped and without dot segments (RFC 3986, section 5.2.4)."""
    kept: list[str] = []
    segments = _escaped(text, _KEPT_IN_PATH).split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)
