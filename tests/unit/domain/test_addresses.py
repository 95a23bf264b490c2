"""The guard of addresses: the table of server-side request forgery, spelling by spelling, and what must still be let through."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from safelight.domain.addresses import Reach, Target, is_public, network, parse
from safelight.errors import BadField, SourceNotAllowed, SourceUnreachable

CLOSED = {
    "this host": "0.0.0.0",
    "this network": "0.1.2.3",
    "private 10/8": "10.0.0.1",
    "private 172.16/12": "172.31.255.254",
    "private 192.168/16": "192.168.1.1",
    "carrier-grade NAT": "100.64.0.1",
    "the end of carrier-grade NAT": "100.127.255.254",
    "metadata in carrier-grade NAT": "100.100.100.200",
    "loopback": "127.0.0.1",
    "loopback far from 127.0.0.1": "127.255.255.254",
    "link-local": "169.254.0.1",
    "metadata": "169.254.169.254",
    "metadata of containers": "169.254.170.2",
    "metadata of Azure": "168.63.129.16",
    "IETF assignments": "192.0.0.192",
    "documentation 1": "192.0.2.1",
    "documentation 2": "198.51.100.1",
    "documentation 3": "203.0.113.1",
    "6to4 relay": "192.88.99.1",
    "benchmarking": "198.19.255.255",
    "multicast": "224.0.0.1",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "IPv6 unspecified": "::",
    "IPv6 loopback": "::1",
    "IPv6 discard": "100::1",
    "unique local": "fd00::1",
    "metadata at a unique local address": "fd00:ec2::254",
    "IPv6 link-local": "fe80::1",
    "IPv6 link-local with a zone": "fe80::1%1",
    "a public address with a zone": "2606:4700::1%1",
    "site-local": "fec0::1",
    "IPv6 multicast": "ff02::1",
    "IPv6 documentation": "2001:db8::1",
    "IPv6 documentation of 2024": "3fff::1",
    "segment routing": "5f00::1",
    "ORCHID": "2001:20::1",
    "IPv4-mapped loopback": "::ffff:127.0.0.1",
    "IPv4-mapped metadata": "::ffff:169.254.169.254",
    "IPv4-translated": "::ffff:0:127.0.0.1",
    "IPv4-compatible loopback": "::127.0.0.1",
    "IPv4-compatible": "::8.8.8.8",
    "6to4 of a private address": "2002:c0a8:0101::1",
    "6to4 of a public address": "2002:0808:0808::1",
    "Teredo": "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "NAT64 of loopback": "64:ff9b::7f00:1",
    "NAT64 of metadata": "64:ff9b::169.254.169.254",
    "local NAT64 of loopback": "64:ff9b:1::7f00:1",
    "local NAT64 of a public address": "64:ff9b:1::808:808",
    "ISATAP of a private address": "2606:4700::5efe:10.0.0.1",
    "ISATAP of loopback with the universal bit": "2606:4700::200:5efe:127.0.0.1",
}
OPEN = {
    "an IPv4 address": "93.184.215.14",
    "the neighbour below a private network": "9.255.255.255",
    "the neighbour above a private network": "172.32.0.0",
    "the neighbours of carrier-grade NAT": "100.128.0.0",
    "an IPv6 address": "2606:4700:4700::1111",
    "IPv4-mapped public": "::ffff:8.8.8.8",
    "NAT64 of a public address": "64:ff9b::808:808",
    "ISATAP of a public address": "2606:4700::5efe:8.8.8.8",
}


@pytest.mark.parametrize("address", CLOSED.values(), ids=CLOSED)
def test_an_address_that_is_not_the_internets_is_closed(address):
    assert not is_public(ip_address(address))
    assert not Reach().opens(ip_address(address))


@pytest.mark.parametrize("address", OPEN.values(), ids=OPEN)
def test_a_public_address_is_open(address):
    assert Reach().opens(ip_address(address))


@pytest.mark.parametrize(
    ("address", "is_open"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("64:ff9b::10.1.2.3", True),
        ("10.2.0.0", False),
        ("fd00:7::1", True),
        ("2002:a01:203::1", False),
    ],
)
def test_a_network_of_the_settings_is_open_and_no_other(address, is_open):
    reach = Reach(networks=(network("10.1.0.0/16"), network("fd00:7::/32")))

    assert reach.opens(ip_address(address)) is is_open


def test_one_closed_address_among_open_ones_closes_the_name():
    with pytest.raises(SourceUnreachable):
        Reach().admit_all([ip_address("8.8.8.8"), ip_address("10.0.0.1")])


MISSPELT = {
    "decimal": "http://2130706433/",
    "octal": "http://0177.0.0.1/",
    "octal in one": "http://017700000001/",
    "hexadecimal": "http://0x7f.0.0.1/",
    "hexadecimal in one": "http://0x7f000001/",
    "upper-case hexadecimal": "http://0X7F000001/",
    "an empty hexadecimal number": "http://0x/",
    "short": "http://127.1/",
    "of three parts": "http://127.0.1/",
    "a single zero": "http://0/",
    "with leading zeros": "http://127.000.000.001/",
    "out of range": "http://256.1.1.1/",
    "with a number at its end": "http://example.127/",
    "with a number and a dot at its end": "http://2130706433./",
    "percent-encoded": "http://%31%32%37.0.0.1/",
    "a user": "http://93.184.215.14@127.0.0.1/",
    "a user that looks like a host": "http://example.com:80@127.0.0.1/",
    "an empty user": "http://@127.0.0.1/",
    "a backslash": "http://example.com\\@127.0.0.1/",
    "a backslash after the scheme": "http:\\\\127.0.0.1/",
    "a tab in the host": "http://127.0\t.0.1/",
    "a line end": "http://example.com/\r\nHost: internal",
    "a blank before it": " http://example.com/",
    "a no-break space": "http://example.com\xa0/",
    "a zone": "http://[fe80::1%25eth0]/",
    "a bare zone": "http://[fe80::1%eth0]/",
    "a future address": "http://[v1.x]/",
    "an open bracket": "http://[::1/",
    "something behind the bracket": "http://[::1]x/",
    "IPv6 without brackets": "http://::1/",
    "no host": "http:///etc/passwd",
    "no slashes": "http:127.0.0.1",
    "an empty label": "http://example..com/",
    "two dots at its end": "http://example.com../",
    "a host of nothing but a dot": "http://./",
    "a hyphen at its end": "http://example-.com/",
    "a slash look-alike": "http://example.com\u2215@127.0.0.1/",
    "a fraction slash by NFKC": "http://example.com\u2100.test/",
    "port 0": "http://example.com:0/",
    "a port beyond 65535": "http://example.com:65536/",
    "a port with a sign": "http://example.com:+80/",
    "a port of other digits": "http://example.com:\u0668\u0660/",
    "two ports": "http://example.com:80:80/",
    "a file": "file:///etc/passwd",
    "gopher": "gopher://127.0.0.1:6379/_INFO",
    "ftp": "ftp://example.com/x.jpg",
    "data": "data:image/png;base64,AAAA",
    "no scheme": "//example.com/x.jpg",
    "a lone surrogate": "http://example.com/\ud800",
    "nothing": "",
    "too long": "http://example.com/" + "x" * 2048,
}


@pytest.mark.parametrize("url", MISSPELT.values(), ids=MISSPELT)
def test_a_url_that_can_be_read_in_two_ways_is_refused(url):
    with pytest.raises(BadField) as refused:
        parse(url)

    assert refused.value.extra == {"field": "url"}


DISGUISED = {
    "a dotted quad": "http://127.0.0.1/",
    "a dot at its end": "http://127.0.0.1./",
    "full-width digits": "http://\uff11\uff12\uff17.\uff10.\uff10.\uff11/",
    "ideographic full stops": "http://127\u30020\u30020\u30021/",
    "circled digits": "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/",
    "IPv6": "http://[::1]/",
    "IPv6 written out": "http://[0:0:0:0:0:0:0:1]/",
    "IPv4-mapped": "http://[::ffff:127.0.0.1]/",
    "IPv4-mapped in hexadecimal": "http://[::FFFF:7f00:1]/",
    "NAT64": "http://[64:ff9b::7f00:1]/",
    "https": "https://169.254.169.254/latest/meta-data/",
}


@pytest.mark.parametrize("url", DISGUISED.values(), ids=DISGUISED)
def test_a_closed_address_in_the_url_itself_is_refused_like_one_that_is_not_there(url):
    with pytest.raises(SourceUnreachable) as refused:
        Reach().admit(parse(url))

    assert refused.value.detail == SourceUnreachable().detail


@pytest.mark.parametrize(
    ("url", "spelt", "authority", "file_name"),
    [
        ("HTTPS://Example.COM.:443", "https://example.com/", "example.com", ""),
        (
            "http://example.com:8080/a b/ü.jpg?x=1&y=%2F#top".replace(" ", "%20"),
            "http://example.com:8080/a%20b/%C3%BC.jpg?x=1&y=%2F",
            "example.com:8080",
            "ü.jpg",
        ),
        ("http://[2606:4700::0:1]:80/x", "http://[2606:4700::1]/x", "[2606:4700::1]", "x"),
        ("http://[2606:4700::1]:81/", "http://[2606:4700::1]:81/", "[2606:4700::1]:81", ""),
        ("http://bücher.example/", "http://xn--bcher-kva.example/", "xn--bcher-kva.example", ""),
        ("http://my_bucket.example/", "http://my_bucket.example/", "my_bucket.example", ""),
        ("http://8.8.8.8/%2e%2e/a%00.jpg", "http://8.8.8.8/%2e%2e/a%00.jpg", "8.8.8.8", "a\x00.jpg"),
    ],
)
def test_a_url_has_one_spelling(url, spelt, authority, file_name):
    target = parse(url)

    assert (str(target), target.authority, target.file_name) == (spelt, authority, file_name)
    assert parse(spelt) == target


@pytest.mark.parametrize(
    "url", ["http://example.com:22/", "http://example.com:6379/", "https://example.com:8443/", "http://127.0.0.1:22/"]
)
def test_other_ports_are_refused_before_anything_is_looked_up(url):
    with pytest.raises(SourceNotAllowed):
        Reach().admit(parse(url))


@pytest.mark.parametrize(
    ("host", "may"),
    [
        ("cdn.example.com", True),
        ("CDN.example.com.", True),
        ("a.example.org", True),
        ("a.b.example.org", True),
        ("example.org", False),
        ("evilexample.org", False),
        ("cdn.example.com.evil.test", False),
        ("8.8.8.8", False),
    ],
)
def test_named_hosts_are_the_only_ones(host, may):
    reach, target = Reach(hosts=("cdn.example.com", "*.Example.org")), parse(f"https://{host}/")

    if may:
        reach.admit(target)
    else:
        with pytest.raises(SourceNotAllowed):
            reach.admit(target)


@pytest.mark.parametrize(
    ("location", "leads"),
    [
        ("/b?c", "https://example.com/b?c"),
        ("b", "https://example.com/x/b"),
        ("//other.test/y", "https://other.test/y"),
        ("https://10.0.0.1/", "https://10.0.0.1/"),
    ],
)
def test_a_redirect_is_read_from_where_it_stands(location, leads):
    assert str(parse("https://example.com/x/a").redirected(location)) == leads


def test_a_redirect_does_not_lead_out_of_tls():
    with pytest.raises(SourceNotAllowed):
        parse("https://example.com/").redirected("http://example.com/")


URLS = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="http:/s.@[]%#?0x17f\\eé。１", max_size=40),
    st.builds("{}://{}{}".format, st.sampled_from(["http", "https", "HTTP"]), st.text(max_size=40), st.text(max_size=20)),
)


@given(URLS, URLS)
@example("http://[", "http://]")
@example("http://\u0660\u0661/", "//\ud800")
def test_any_text_is_a_target_in_one_spelling_or_refused(url, location):
    try:
        target = parse(url)
    except BadField:
        return
    assert isinstance(target, Target)
    assert parse(str(target)) == target
    assert str(target).isascii() and not set(str(target)) & set(" \r\n\t\\")
    for step in (lambda: Reach().admit(target), lambda: target.redirected(location)):
        try:
            step()
        except (BadField, SourceNotAllowed, SourceUnreachable):
            continue


@given(st.ip_addresses())
def test_every_address_is_judged_and_a_mapped_one_like_its_own(address):
    assert Reach().opens(address) is is_public(address)
    if address.version == 4:
        assert is_public(ip_address(f"::ffff:{address}")) is is_public(address)
        assert is_public(ip_address(f"64:ff9b::{address}")) is is_public(address)
