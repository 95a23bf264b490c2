"""The client's address is the peer's, unless a proxy that we know says otherwise; nobody can choose their own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safelight.api.client_address import ClientAddress, _parsed
from safelight.domain.rates import counted_as


def scope(peer, *told, header="X-Forwarded-For"):
    return {
        "client": (peer, 1234) if peer else None,
        "headers": [(header.lower().encode(), value.encode("latin-1")) for value in told],
    }


PROXIES = "10.0.0.0/8, 192.0.2.7 2001:db8::/32"


@pytest.mark.parametrize(
    ("trusted", "peer", "told", "expected"),
    [
        ("", "203.0.113.9", (), "203.0.113.9"),
        ("", "10.0.0.1", ("198.51.100.1",), "10.0.0.1"),  # nobody is trusted by default
        (PROXIES, "203.0.113.9", ("198.51.100.1",), "203.0.113.9"),  # a stranger is not believed
        (PROXIES, "10.0.0.1", (), "10.0.0.1"),
        (PROXIES, "10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        (PROXIES, "192.0.2.7", ("198.51.100.1",), "198.51.100.1"),
        (PROXIES, "2001:db8::1", ("2001:470::5",), "2001:470::5"),
        (PROXIES, "::ffff:10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        (PROXIES, "10.0.0.1", ("6.6.6.6, 198.51.100.1",), "198.51.100.1"),  # what the client wrote stands on the left
        (PROXIES, "10.0.0.1", ("6.6.6.6, 198.51.100.1, 10.0.0.2",), "198.51.100.1"),
        (PROXIES, "10.0.0.1", ("6.6.6.6", "198.51.100.1"), "198.51.100.1"),  # two header lines are one list
        (PROXIES, "10.0.0.1", ("10.0.0.3, 10.0.0.2",), "10.0.0.3"),
        (PROXIES, "10.0.0.1", ("198.51.100.1:4711",), "198.51.100.1"),
        (PROXIES, "10.0.0.1", ("[2001:470::5]:4711",), "2001:470::5"),
        (PROXIES, "10.0.0.1", ("198.51.100.1, nonsense",), "10.0.0.1"),
        (PROXIES, "10.0.0.1", ("",), "10.0.0.1"),
        (PROXIES, "10.0.0.1", ("6.6.6.6," * 5_000 + "198.51.100.1",), "198.51.100.1"),
        (PROXIES, "", ("198.51.100.1",), ""),
    ],
)
def test_whose_word_is_taken(trusted, peer, told, expected):
    assert ClientAddress(trusted, "X-Forwarded-For").of(scope(peer, *told)) == expected


def test_a_word_without_end_is_not_remembered_whole():
    """Words are remembered by the thousand: what a proxy lets through must not decide how much that is."""
    beginning, asked = "x" * 64, ClientAddress(PROXIES, "X-Forwarded-For")
    asked.of(scope("10.0.0.1", beginning))
    before = _parsed.cache_info().misses

    assert asked.of(scope("10.0.0.1", beginning + "y" * 60_000)) == "10.0.0.1"
    assert _parsed.cache_info().misses == before, "it was remembered by more than its beginning"


def test_another_header_is_read_where_the_setting_names_it():
    asked = scope("10.0.0.1", "198.51.100.1", header="CF-Connecting-IP")

    assert ClientAddress(PROXIES, "CF-Connecting-IP").of(asked) == "198.51.100.1"
    assert ClientAddress(PROXIES, "X-Forwarded-For").of(asked) == "10.0.0.1"


@given(told=st.lists(st.text(st.characters(max_codepoint=255), max_size=60), max_size=3))
def test_no_header_can_break_it_or_bring_in_a_stranger_as_a_proxy(told):
    assert ClientAddress(PROXIES, "X-Forwarded-For").of(scope("203.0.113.9", *told)) == "203.0.113.9"
    assert ClientAddress(PROXIES, "X-Forwarded-For").of(scope("10.0.0.1", *told, "198.51.100.1")) == "198.51.100.1"
    ClientAddress(PROXIES, "X-Forwarded-For").of(scope("10.0.0.1", *told))


def test_the_addresses_of_one_ipv6_customer_count_as_one():
    assert counted_as("2001:470::1") == counted_as("2001:470::ffff:1") != counted_as("2001:470:0:1::1")
    assert counted_as("198.51.100.1") != counted_as("198.51.100.2")
