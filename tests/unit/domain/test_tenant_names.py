"""What a tenant may be called, and where its pages and pictures may be."""

from __future__ import annotations

import pytest

from safelight.domain.tenants import MAX_ORIGINS, checked_name, checked_terms
from safelight.errors import BadField


@pytest.mark.parametrize("name", ("a", "Acme-1.photos_2", "9" * 64))
def test_a_plain_word_is_a_name(name):
    assert checked_name(name) == name


@pytest.mark.parametrize("name", ("", "-a", ".a", "a b", "ä", "a\n", "9" * 65))
def test_anything_else_is_none(name):
    with pytest.raises(BadField):
        checked_name(name)


@pytest.mark.parametrize(
    "terms",
    (
        {"trash_days": -1},
        {"trash_days": 36_501},
        {"domains": ["Photos.example"]},
        {"domains": ["localhost"]},
        {"domains": ["192.0.2.1"]},
        {"domains": ["a.example"] * (MAX_ORIGINS + 1)},
        {"origins": ["https://shop.example/"]},
        {"origins": ["https://user@shop.example"]},
        {"origins": ["shop.example"]},
        {"origins": ["null"]},
    ),
)
def test_terms_that_break_a_rule_are_refused_by_their_name(terms):
    with pytest.raises(BadField) as refused:
        checked_terms(terms)

    assert refused.value.extra["field"] in terms


def test_terms_without_a_rule_pass():
    terms = {"trash_days": 0, "domains": ["photos.shop.example"], "origins": ["https://shop.example:8443", "http://[::1]:80"]}

    assert checked_terms(terms) is terms
