"""What follows from grants: who may do what with a lent thing, and through which album."""

from __future__ import annotations

from datetime import timedelta

import pytest

from safelight.domain import access
from safelight.domain.accounts import Actor, Role, Scope
from safelight.domain.ids import UserId
from safelight.domain.sharing import LONGEST_LINK, Lent, Level, Loan, checked_link, lenders, lent_album, lent_image
from safelight.errors import BadField, Forbidden, Missing
from safelight.testing.factories import NOON, make_album, make_grant, make_image, make_tenant, make_user

TENANT = make_tenant().id
OWNER, FRIEND, VIEWER = (make_user(TENANT) for _ in range(3))
ALBUM = make_album(TENANT, OWNER.id)
HOUR = timedelta(hours=1)


def actor(user, *scopes):
    return Actor(tenant=TENANT, user=user.id, role=Role.USER, scopes=frozenset(scopes or Scope))


def loan(taken=None, given=None):
    return Loan(album=ALBUM.id, album_owner=OWNER.id, taken=taken, given=given)


def test_a_grant_lasts_up_to_its_end_and_not_at_it():
    grant = make_grant(ALBUM, VIEWER, level=Level.CONTRIBUTE, expires_at=NOON)

    assert lent_album([grant], VIEWER.id, NOON - timedelta(microseconds=1)) == Lent(may_contribute=True)
    assert lent_album([grant], VIEWER.id, NOON) is None
    assert lent_album([grant], FRIEND.id, NOON - HOUR) is None


def test_an_album_shows_the_images_of_its_owner_and_of_who_may_contribute_now():
    grants = [
        make_grant(ALBUM, VIEWER),
        make_grant(ALBUM, FRIEND, level=Level.CONTRIBUTE, expires_at=NOON),
    ]

    assert lenders(ALBUM, grants, NOON - HOUR) == (OWNER.id, FRIEND.id)
    assert lenders(ALBUM, grants, NOON) == (OWNER.id,)


@pytest.mark.parametrize(
    ("level", "end", "is_lent"), [(Level.CONTRIBUTE, None, True), (Level.CONTRIBUTE, NOON, False), (Level.VIEW, None, False)]
)
def test_a_contributed_image_is_lent_while_its_owner_may_contribute(level, end, is_lent):
    image = make_image(TENANT, owner=FRIEND.id)
    given = make_grant(ALBUM, FRIEND, level=level, expires_at=end)

    for taken in (None, make_grant(ALBUM, VIEWER)):
        assert (lent_image(image, [loan(taken, given)], NOON) is not None) is is_lent
    assert lent_image(image, [loan(make_grant(ALBUM, VIEWER, expires_at=NOON), given)], NOON) is None


def test_originals_are_lent_of_the_albums_owner_alone():
    taken = make_grant(ALBUM, VIEWER, has_originals=True)
    given = make_grant(ALBUM, FRIEND, level=Level.CONTRIBUTE, has_originals=True)

    assert lent_image(make_image(TENANT, owner=OWNER.id), [loan(taken)], NOON) == Lent(has_originals=True)
    assert lent_image(make_image(TENANT, owner=FRIEND.id), [loan(taken, given)], NOON) == Lent()
    assert lent_image(make_image(TENANT, owner=FRIEND.id), [loan(None, given)], NOON) == Lent()


def test_the_trash_is_lent_to_nobody():
    assert lent_image(make_image(TENANT, owner=OWNER.id, trashed_at=NOON), [loan(make_grant(ALBUM, VIEWER))], NOON) is None


@pytest.mark.parametrize("permission", sorted(set(access.RULES) - set(access.LENT)))
def test_what_is_lent_allows_nothing_that_is_not_said(permission):
    everything = Lent(may_contribute=True, has_originals=True)
    for thing in (ALBUM, make_image(TENANT, owner=OWNER.id)):
        assert access.may(actor(VIEWER), permission, thing, everything) == access.may(actor(VIEWER), permission, thing)


def test_a_lent_thing_still_asks_for_the_scope():
    with pytest.raises(Forbidden):
        access.require(actor(VIEWER, Scope.READ), "album.contribute", ALBUM, Lent(may_contribute=True))


def test_who_sees_a_lent_thing_is_forbidden_the_rest_and_a_stranger_is_told_of_nothing():
    with pytest.raises(Forbidden):
        access.require(actor(VIEWER), "album.contribute", ALBUM, Lent())
    with pytest.raises(Missing):
        access.require(actor(VIEWER), "album.contribute", ALBUM)


def test_not_even_an_admin_lends_anothers_image_as_their_own():
    admin = Actor(tenant=TENANT, user=UserId("0" * 26), role=Role.ADMIN, scopes=frozenset(Scope))

    assert access.may(admin, "image.edit", make_image(TENANT, owner=OWNER.id))
    assert not access.may(admin, "image.lend", make_image(TENANT, owner=OWNER.id))


def test_a_link_ends_within_a_year_and_some_time_from_now():
    assert checked_link(" for Oma ", NOON + LONGEST_LINK, NOON) == "for Oma"
    for end in (NOON, NOON - HOUR, NOON + LONGEST_LINK + HOUR):
        with pytest.raises(BadField):
            checked_link("", end, NOON)
