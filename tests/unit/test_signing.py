from hypothesis import given
from hypothesis import strategies as st

from safelight import signing

SECRET = bytes(range(32))
PATH = "/i/01m7y676p5k9xe0cvwh41ysxdw/thumb_300.webp"


def test_a_signature_equals_the_one_that_openssl_makes():
    # printf 'safelight-url-v1\n<path>\nabc\n1800000000' | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102… -binary
    assert signing.sign(SECRET, PATH, kid="abc", exp=1_800_000_000) == "YAJP_rAzAxk-10wAQ9ysp7hn1rkM_Ddy3klnYv5W5tQ"


@given(st.binary(min_size=16, max_size=64), st.text(), st.text(alphabet="abc123", min_size=1), st.integers(0, 10**11))
def test_what_was_signed_verifies(secret, path, kid, exp):
    sig = signing.sign(secret, path, kid=kid, exp=exp)

    assert signing.verify(secret, path, kid=kid, exp=exp, sig=sig)


@given(st.text(max_size=60))
def test_no_other_text_verifies(sig):
    right = signing.sign(SECRET, PATH, kid="abc", exp=1)

    assert signing.verify(SECRET, PATH, kid="abc", exp=1, sig=sig) == (sig == right)


def test_changing_any_part_breaks_the_signature():
    sig = signing.sign(SECRET, PATH, kid="abc", exp=100)

    assert not signing.verify(SECRET, PATH + "x", kid="abc", exp=100, sig=sig)
    assert not signing.verify(SECRET, PATH, kid="abd", exp=100, sig=sig)
    assert not signing.verify(SECRET, PATH, kid="abc", exp=101, sig=sig)
    assert not signing.verify(SECRET[::-1], PATH, kid="abc", exp=100, sig=sig)


@given(st.integers(0, 10**10), st.integers(60, 10**6))
def test_an_expiry_leaves_at_least_the_time_and_at_most_twice_it(now, ttl):
    left = signing.expiry(now, ttl) - now

    assert ttl < left <= 2 * ttl


def test_urls_made_in_the_same_period_are_equal():
    assert signing.expiry(7200, 3600) == signing.expiry(10_799, 3600)
