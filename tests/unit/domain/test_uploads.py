"""The upload record: which moves are legal, when somebody has to look after it; and tickets, which are its right to be sent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from safelight.domain.ids import ImageId, TenantId, UploadId, derived_id, is_id, new_id
from safelight.domain.images import Problem
from safelight.domain.tickets import Ticket, sealed, unsealed
from safelight.domain.uploads import LATE, DropFolder, Method, UploadState, checked_media_type, checked_size
from safelight.errors import BadField, BadSignature, ExpiredSignature, TooManyBytes, Unsupported, WrongState
from safelight.testing.factories import NOON, make_upload

TENANT = TenantId(new_id())
MOVES = {
    UploadState.ARRIVED: lambda upload: upload.arrived(at=NOON),
    UploadState.ACCEPTED: lambda upload: upload.accepted(ImageId(new_id()), duplicate_of=None, at=NOON),
    UploadState.REJECTED: lambda upload: upload.rejected(Problem(code="x", detail="y"), at=NOON),
    UploadState.ABANDONED: lambda upload: upload.abandoned(at=NOON),
    UploadState.EXPIRED: lambda upload: upload.expired(at=NOON),
}
LEGAL = {
    UploadState.PENDING: set(MOVES),
    UploadState.ARRIVED: set(MOVES) - {UploadState.EXPIRED},
    UploadState.ACCEPTED: {UploadState.REJECTED},
}


@pytest.mark.parametrize("before", UploadState)
@pytest.mark.parametrize("after", MOVES)
def test_an_upload_moves_only_as_it_may_and_every_move_is_a_revision(before, after):
    upload = make_upload(TENANT, state=before)
    if after in LEGAL.get(before, set()):
        moved = MOVES[after](upload)
        assert (moved.state, moved.revision) == (after, upload.revision + 1)
    else:
        with pytest.raises(WrongState):
            MOVES[after](upload)


def test_one_that_began_in_time_is_waited_for():
    upload = make_upload(TENANT)

    assert upload.due_at == upload.expires_at + LATE
    assert upload.arrived(at=NOON).due_at > NOON


@pytest.mark.parametrize(
    ("said", "kept"), [("IMAGE/JPEG; q=1", "image/jpeg"), ("", "application/octet-stream"), ("image/svg+xml", "image/svg+xml")]
)
def test_an_announced_type_is_kept_in_its_plain_form(said, kept):
    assert checked_media_type(said) == kept


@pytest.mark.parametrize(
    "said", ["text/html", "image", "image/", "image/a\r\nb", "image/<script>", "image/" + "a" * 65, "image/é"]
)
def test_an_announced_type_that_is_no_images_is_refused(said):
    with pytest.raises(Unsupported):
        checked_media_type(said)


def test_a_size_is_needed_for_a_put_and_limited_for_all():
    assert checked_size(None, Method.POST, max_bytes=10) is None
    assert checked_size(10, Method.PUT, max_bytes=10) == 10
    with pytest.raises(BadField):
        checked_size(None, Method.PUT, max_bytes=10)
    with pytest.raises(TooManyBytes):
        checked_size(11, Method.POST, max_bytes=10)


TICKET = Ticket(
    tenant=TENANT,
    upload=UploadId(new_id()),
    method=Method.PUT,
    exp=int(NOON.timestamp()) + 60,
    media_type="image/jpeg",
    min_bytes=1,
    max_bytes=5,
)


def test_a_sealed_ticket_comes_back_until_it_expires():
    policy, signature = sealed(TICKET, b"1" * 32)

    assert unsealed(policy, signature, [b"2" * 32, b"1" * 32], now=NOON) == TICKET
    with pytest.raises(ExpiredSignature):
        unsealed(policy, signature, [b"1" * 32], now=NOON + timedelta(seconds=60))
    with pytest.raises(BadSignature):
        unsealed(policy, signature, [b"2" * 32], now=NOON)


def test_any_changed_character_is_noticed():
    policy, signature = sealed(TICKET, b"1" * 32)
    for at in range(len(policy)):
        changed = policy[:at] + ("A" if policy[at] != "A" else "B") + policy[at + 1 :]
        with pytest.raises(BadSignature):
            unsealed(changed, signature, [b"1" * 32], now=NOON)
    for bad in ("", "é", signature[:-1], "\ud800", policy):
        with pytest.raises(BadSignature):
            unsealed(policy, bad, [b"1" * 32], now=NOON)
    with pytest.raises(BadSignature):
        unsealed("\ud800", signature, [b"1" * 32], now=datetime.now(UTC))


def test_a_ticket_of_another_upload_has_another_signature():
    assert sealed(TICKET, b"1" * 32)[1] != sealed(replace(TICKET, upload=UploadId(new_id())), b"1" * 32)[1]


@pytest.mark.parametrize(
    ("key", "owner"),
    [
        ("drop/acme/ann/a.jpg", ("acme", "ann")),
        ("drop/acme/ann/deep/er/a.jpg", ("acme", "ann")),
        ("drop/acme/ann/", None),
        ("drop/acme/ann", None),
        ("drop/acme//a.jpg", None),
        ("drop//ann/a.jpg", None),
        ("drops/acme/ann/a.jpg", None),
        ("incoming/acme/ann/a.jpg", None),
    ],
)
def test_what_lies_in_the_drop_folder_belongs_to_whom_its_key_names(key, owner):
    assert DropFolder("drop/").owner_of(key) == owner
    assert DropFolder("").owner_of(key) is None


def test_a_derived_id_is_the_same_for_the_same_and_sorts_by_time():
    assert derived_id(1.0, "a") == derived_id(1.0, "a") != derived_id(1.0, "b")
    assert derived_id(1.0, "b") < derived_id(2.0, "a")
    assert is_id(derived_id(1.0, "a"))
