"""Signatures that the independent library of Standard Webhooks takes."""

from __future__ import annotations

import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from safelight.signing.webhooks import headers, new_secret, secret_text

BODY = '{"type":"ping","timestamp":"2026-06-21T12:00:00Z","data":{"é":"日本"}}'.encode()


def signed(*secrets, at_s=None, body=BODY):
    return headers(secrets, id="msg_1", at_s=int(time.time()) if at_s is None else at_s, body=body)


def test_the_library_verifies_what_was_signed():
    secret = new_secret()

    assert Webhook(secret_text(secret)).verify(BODY, signed(secret))["data"] == {"é": "日本"}


def test_the_specifications_own_example_is_reproduced():
    # https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, "Signature scheme"
    secret = Webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = headers([secret._whsecret], id="msg_p5jXN8AQM9LWM0D4loKWxJek", at_s=1614265330, body=b'{"test": 2432232314}')

    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_while_a_secret_is_rotated_either_one_verifies():
    old, new = new_secret(), new_secret()
    made = signed(new, old)

    assert Webhook(secret_text(old)).verify(BODY, made)
    assert Webhook(secret_text(new)).verify(BODY, made)
    assert len(made["webhook-signature"].split(" ")) == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda made: made | {"webhook-id": "msg_2"},
        lambda made: made | {"webhook-timestamp": str(int(made["webhook-timestamp"]) + 1)},
        lambda made: made | {"webhook-signature": "v1," + "A" * 43 + "="},
        lambda made: signed(new_secret()),
        lambda made: signed(SECRET, at_s=int(time.time()) - 3600),
        lambda made: signed(SECRET, body=BODY + b" "),
    ],
    ids=["another id", "another time", "another signature", "another secret", "an hour old", "another body"],
)
def test_what_was_changed_on_the_way_does_not_verify(spoil):
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_text(SECRET)).verify(BODY, spoil(signed(SECRET)))


def test_no_secret_is_given_twice_and_each_is_as_long_as_the_specification_asks():
    assert len({new_secret() for _ in range(100)}) == 100
    assert 24 <= len(new_secret()) <= 64


SECRET = new_secret()
