"""Addresses of pages: the one parser of URLs against others, canonical forms, and which IP addresses are public."""

from __future__ import annotations

import ipaddress
from urllib.parse import urljoin, urlsplit

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import hostile_urls
from clockify_rag.crawling.addresses import (
    MAXIMUM_URL,
    Address,
    PrivateHosts,
    canonical_host,
    kind_of,
    parse,
    resolve,
    shown,
)
from clockify_rag.errors import CrawlError, InvalidSetting

PAGE = parse("https://docs.example.com/guide/start.html?lang=en")


def reason(url: str, base: Address | None = None) -> str:
    with pytest.raises(CrawlError) as raised:
        resolve(url, base)
    assert raised.value.message.isprintable()
    return str(raised.value.fields["reason"])


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("http://example.com", "http://example.com/"),
        ("HTTP://EXAMPLE.com:80/", "http://example.com/"),
        ("https://example.com:443/a", "https://example.com/a"),
        ("https://example.com:8443/a", "https://example.com:8443/a"),
        ("https://example.com./a", "https://example.com/a"),
        ("https://example.com:/a", "https://example.com/a"),
        ("https://example.com/a/./b/../c", "https://example.com/a/c"),
        ("https://example.com/a/%2E%2e/b", "https://example.com/b"),
        ("https://example.com/../../a", "https://example.com/a"),
        ("https://example.com/a/..", "https://example.com/"),
        ("https://example.com/a//b/", "https://example.com/a//b/"),
        ("https://example.com/%7euser/%c3%bc", "https://example.com/~user/%C3%BC"),
        ("https://example.com/ü ?q=ü&r= [x]", "https://example.com/%C3%BC%20?q=%C3%BC&r=%20%5Bx%5D"),
        ("https://example.com/100%", "https://example.com/100%25"),
        ("https://example.com/a%2Fb", "https://example.com/a%2Fb"),
        ("https://example.com/a\\b", "https://example.com/a%5Cb"),
        ("https://example.com/a?", "https://example.com/a"),
        ("https://example.com?q", "https://example.com/?q"),
        ("https://example.com/a#b?c", "https://example.com/a"),
        ("  https://example.com/a\n", "https://example.com/a"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://BÜCHER。example/", "https://xn--bcher-kva.example/"),
        ("https://1.1.1.1/", "https://1.1.1.1/"),
        ("https://[2606:4700:0:0::1111]/", "https://[2606:4700::1111]/"),
        ("https://my_site.example.com/", "https://my_site.example.com/"),
        ("https://docs.example.com/(a);b='c',d*e!f$g&h+i", "https://docs.example.com/(a);b='c',d*e!f$g&h+i"),
    ],
)
def test_urls_have_one_canonical_form(url: str, canonical: str) -> None:
    assert parse(url).url == canonical
    assert parse(canonical).url == canonical
    assert str(parse(url)) == canonical


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("", "https://docs.example.com/guide/start.html?lang=en"),
        ("#top", "https://docs.example.com/guide/start.html?lang=en"),
        ("?lang=de", "https://docs.example.com/guide/start.html?lang=de"),
        ("?", "https://docs.example.com/guide/start.html"),
        ("next.html", "https://docs.example.com/guide/next.html"),
        ("./next.html", "https://docs.example.com/guide/next.html"),
        ("../api/", "https://docs.example.com/api/"),
        ("../../../api", "https://docs.example.com/api"),
        ("..", "https://docs.example.com/"),
        ("/api?x#y", "https://docs.example.com/api?x"),
        ("//cdn.example.com/a", "https://cdn.example.com/a"),
        ("http://other.example.com", "http://other.example.com/"),
        ("a:b/c", None),
        ("./a:b/c", "https://docs.example.com/guide/a:b/c"),
        ("mailto:someone@example.com", None),
        ("javascript:void(0)", None),
        ("http:next.html", None),
        ("https:", None),
        ("//", None),
        ("//user@cdn.example.com/", None),
    ],
)
def test_references_are_resolved_as_the_standard_says(reference: str, expected: str | None) -> None:
    if expected is None:
        assert reason(reference, PAGE) in {"address", "scheme"}
    else:
        assert resolve(reference, PAGE).url == expected


SEGMENT = st.sampled_from(["a", "b.html", ".", "..", "c%20d", "é", "~x", "..."])
RELATIVE = st.builds(
    lambda root, segments, end, query: root + "/".join(segments) + end + query,
    st.sampled_from(["", "/"]),
    st.lists(SEGMENT, min_size=1, max_size=6),
    st.sampled_from(["", "/"]),
    st.sampled_from(["", "?q", "?q=1&r=2"]),
)


@given(RELATIVE)
def test_references_are_resolved_as_the_standard_library_does(reference: str) -> None:
    expected = urljoin(PAGE.url, reference)
    assert resolve(reference, PAGE).url == parse(expected).url


PARTS = st.sampled_from(
    [
        *"abz019.:/\\@?#[]%&=_-~ \t\n\x00",
        "http",
        "https",
        "://",
        "//",
        "127.0.0.1",
        "[::1]",
        "0x7f",
        "%31",
        "１",
        "。",
        "ü",
        "\ud800",
    ]
)
HOSTILE = st.one_of(
    st.text(max_size=60), st.lists(PARTS, max_size=14).map("".join), st.builds("http://{}/".format, st.text())
)


@given(HOSTILE, st.sampled_from([None, PAGE]))
@example("http://127.0.0.1\\@example.com/", None)
@example("http://a/%", None)
def test_any_text_is_refused_or_read_in_one_way(text: str, base: Address | None) -> None:
    try:
        address = resolve(text, base)
    except CrawlError:
        assert reason(text, base) in {"address", "scheme"}
        return
    assert parse(address.url) == address
    assert address.url.isascii()
    assert address.path.startswith("/")
    # Another parser must not see another host: what is vetted would not be what it says.
    split = urlsplit(address.url)
    assert (split.scheme, split.hostname, split.port) == (
        address.scheme,
        address.host,
        address.port if f":{address.port}" in split.netloc.rpartition("]")[2] else None,
    )
    assert split.username is None
    if address.literal is None:
        assert not address.host.rpartition(".")[2].isdigit()


@given(HOSTILE)
def test_two_forms_of_a_page_are_one_address(text: str) -> None:
    try:
        address = resolve(text, PAGE)
    except CrawlError:
        return
    louder = msgspec.structs.replace(address, host=address.host.upper())
    assert parse(louder.url) == address
    assert parse(address.url + "#fragment") == address


def reach(url: str) -> None:
    """Go as far as a connection to this machine."""
    address = parse(url)
    hosts = PrivateHosts()
    hosts.check(address)
    hosts.vet(address, ["127.0.0.1"])


@pytest.mark.parametrize("url", hostile_urls.spellings(8099))
def test_the_whole_table_is_refused_before_or_after_resolving(url: str) -> None:
    with pytest.raises(CrawlError) as raised:
        reach(url)
    assert raised.value.fields["reason"] in {"address", "scheme", "port", "private"}


def test_the_table_is_long_and_has_no_repetition() -> None:
    table = hostile_urls.spellings(8099)
    assert len(table) == len(set(table)) >= 300


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://１.１.１.１/", "in disguise"),
        ("http://①.1.1.1/", "in disguise"),
        ("http://1.1.1.1。/", "in disguise"),
        ("http://1.1/", "four decimal parts"),
        ("http://01.1.1.1/", "four decimal parts"),
        ("http://user:secret@example.com/", "a user name"),
        ("http://ex%61mple.com/", "more than one way"),
        ("http:///", "names no host"),
        ("http:example.com", "two slashes"),
        ("example.com/", "no scheme"),
        ("http://a\tb.example/", "a control character"),
        ("http://a\ud800.example/", "a control character"),
        ("http://xn--\u00fc.example/", "no international domain name"),
    ],
)
def test_a_refusal_says_why(url: str, why: str) -> None:
    with pytest.raises(CrawlError, match=why):
        parse(url)


def test_long_urls_are_refused() -> None:
    assert len(parse("http://a.example/" + "b" * (MAXIMUM_URL - 17)).url) == MAXIMUM_URL
    assert reason("http://a.example/" + "b" * MAXIMUM_URL) == "address"


def test_names_have_the_lengths_of_names() -> None:
    assert parse(f"http://{'a' * 63}.example/").host
    assert reason(f"http://{'a' * 64}.example/") == "address"
    assert reason("http://" + "a." * 126 + "example/") == "address"


@pytest.mark.parametrize(
    ("ip", "kind"),
    [
        ("1.1.1.1", "public"),
        ("93.184.215.14", "public"),
        ("172.15.255.255", "public"),
        ("172.32.0.0", "public"),
        ("100.63.255.255", "public"),
        ("100.128.0.0", "public"),
        ("223.255.255.255", "public"),
        ("2606:4700::1111", "public"),
        ("2001:4860:4860::8888", "public"),
        ("2a00:1450::1", "public"),
        ("127.0.0.1", "private"),
        ("127.255.255.255", "private"),
        ("10.0.0.1", "private"),
        ("172.16.0.1", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("198.18.0.1", "private"),
        ("::1", "private"),
        ("fd00::1", "private"),
        ("fc00::1", "private"),
        ("0.0.0.0", "forbidden"),
        ("169.254.169.254", "forbidden"),
        ("100.100.100.200", "forbidden"),
        ("168.63.129.16", "forbidden"),
        ("192.0.0.192", "forbidden"),
        ("192.0.0.9", "forbidden"),
        ("192.0.2.1", "forbidden"),
        ("192.88.99.1", "forbidden"),
        ("198.51.100.1", "forbidden"),
        ("203.0.113.1", "forbidden"),
        ("224.0.0.1", "forbidden"),
        ("239.255.255.250", "forbidden"),
        ("240.0.0.1", "forbidden"),
        ("255.255.255.255", "forbidden"),
        ("::", "forbidden"),
        ("::7f00:1", "forbidden"),
        ("::ffff:127.0.0.1", "forbidden"),
        ("::ffff:1.1.1.1", "forbidden"),
        ("64:ff9b::7f00:1", "forbidden"),
        ("64:ff9b:1::1", "forbidden"),
        ("100::1", "forbidden"),
        ("2001::1", "forbidden"),
        ("2001:2::1", "forbidden"),
        ("2001:db8::1", "forbidden"),
        ("2002:7f00:1::", "forbidden"),
        ("3fff::1", "forbidden"),
        ("4000::1", "forbidden"),
        ("fd00:ec2::254", "forbidden"),
        ("fe80::1", "forbidden"),
        ("fe80::1%eth0", "forbidden"),
        ("2606:4700::1111%eth0", "forbidden"),
        ("fec0::1", "forbidden"),
        ("ff02::1", "forbidden"),
        ("ff0e::1", "forbidden"),
        ("localhost", "forbidden"),
        ("", "forbidden"),
    ],
)
def test_kinds_of_ip_addresses(ip: str, kind: str) -> None:
    assert kind_of(ip)[0] == kind


@given(st.ip_addresses())
def test_nothing_is_public_that_python_calls_otherwise(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if kind_of(str(ip))[0] == "public":
        assert ip.is_global
        assert not any((ip.is_multicast, ip.is_private, ip.is_reserved, ip.is_loopback, ip.is_link_local))
    else:
        with pytest.raises(CrawlError):
            PrivateHosts().vet(PAGE, ["1.1.1.1", str(ip)])


def test_one_private_answer_refuses_all() -> None:
    hosts = PrivateHosts()
    assert hosts.vet(PAGE, ["1.1.1.1", "2606:4700::1111", "1.1.1.1"]) == ("1.1.1.1", "2606:4700::1111")
    for answers in (["1.1.1.1", "10.0.0.1"], ["fd00::1", "1.1.1.1"], ["1.1.1.1", "::ffff:1.1.1.1"]):
        with pytest.raises(CrawlError, match=r"docs\.example\.com is at") as raised:
            hosts.vet(PAGE, answers)
        assert raised.value.fields == {"reason": "private", "url": PAGE.url}
    with pytest.raises(CrawlError, match="has no address"):
        hosts.vet(PAGE, [])


def test_a_private_host_is_allowed_by_name_and_port_alone() -> None:
    hosts = PrivateHosts(["wiki.example.com", "127.0.0.5:8080", "[::1]:8080", "intranet", "Straße.example"])
    for url in (
        "http://wiki.example.com:8443/",
        "http://127.0.0.5:8080/",
        "http://[::1]:8080/",
        "http://intranet/",
        "https://xn--strae-oqa.example",
    ):
        hosts.check(parse(url))
        assert hosts.vet(parse(url), ["10.0.0.1"]) == ("10.0.0.1",)
    for url in ("http://127.0.0.5:8081/", "http://127.0.0.5/", "http://[::1]/", "http://intranet.local/"):
        with pytest.raises(CrawlError) as raised:
            hosts.check(parse(url))
        assert raised.value.fields["reason"] == "private"
        assert parse(url).host in raised.value.hint
    with pytest.raises(CrawlError):
        hosts.vet(parse("http://a.wiki.example.com/"), ["10.0.0.1"])


@pytest.mark.parametrize(
    "ip", ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "0.0.0.0", "224.0.0.1", "fe80::1%lo"]
)
def test_no_setting_allows_what_is_never_a_server(ip: str) -> None:
    with pytest.raises(CrawlError):
        PrivateHosts(["wiki.example.com"]).vet(parse("http://wiki.example.com/"), [ip])


@pytest.mark.parametrize(
    "entry",
    ["", "http://wiki/", "wiki:0", "wiki:99999", "*.example.com", "a b", "10.0.0.0/8", "::1", "user@wiki", "127.1"],
)
def test_an_entry_that_is_no_host_is_named(entry: str) -> None:
    with pytest.raises(InvalidSetting, match="allow_private_hosts"):
        PrivateHosts([entry])


@pytest.mark.parametrize(
    "url", ["http://example.com:25/", "http://example.com:22/", "https://example.com:6667/", "http://example.com:1/"]
)
def test_ports_of_other_protocols_are_refused(url: str) -> None:
    with pytest.raises(CrawlError) as raised:
        PrivateHosts().check(parse(url))
    assert raised.value.fields["reason"] == "port"
    PrivateHosts([parse(url).authority]).check(parse(url))


def test_hosts_have_one_form() -> None:
    assert canonical_host("EXAMPLE.com.") == "example.com"
    assert canonical_host("[::0001]") == "::1"
    assert canonical_host("bücher.example") == "xn--bcher-kva.example"
    with pytest.raises(CrawlError):
        canonical_host("127.1")


def test_messages_show_no_password_and_one_line() -> None:
    assert shown("http://user:secret@example.com/a\x1b[31m") == "http://example.com/a�[31m"
    with pytest.raises(CrawlError) as raised:
        parse("http://user:secret@example.com/")
    assert "secret" not in str(raised.value.fields) + raised.value.message + raised.value.hint
    assert len(shown("http://example.com/" + "a" * 1000)) < 250


@pytest.mark.parametrize(
    "url",
    ["http:/user:secret@h.example/", "http:user:secret@h.example/", "http:\\\\user:secret@h.example", "//u:secret@h/"],
)
def test_messages_show_no_password_of_what_is_no_url(url: str) -> None:
    assert "secret" not in shown(url)
    with pytest.raises(CrawlError) as raised:
        parse(url)
    assert "secret" not in str(raised.value.fields) + raised.value.message


def test_what_is_shown_of_a_long_url_is_found_in_one_pass() -> None:
    assert len(shown("/" * 2_000_000)) < 250
    assert len(shown("http:" + "//a" * 700_000)) < 250
