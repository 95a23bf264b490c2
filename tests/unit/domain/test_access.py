import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safelight.domain import access
from safelight.domain.access import RULES, Permission, may, require
from safelight.domain.accounts import Actor, Role, Scope
from safelight.domain.ids import TenantId, UserId, new_id
from safelight.domain.images import Visibility
from safelight.errors import Forbidden, Missing
from safelight.testing.factories import NOON, make_album, make_image

HERE, ELSEWHERE = TenantId(new_id()), TenantId(new_id())
ME, OTHER = UserId(new_id()), UserId(new_id())

PERMISSIONS = typing.get_args(Permission)
ACTORS = st.builds(
    Actor,
    tenant=st.just(HERE),
    user=st.just(ME),
    role=st.sampled_from(Role),
    scopes=st.frozensets(st.sampled_from(Scope)),
)
PLACES = {"tenant": st.sampled_from([HERE, HERE, ELSEWHERE]), "owner": st.sampled_from([ME, OTHER])}
IMAGES = st.builds(make_image, **PLACES, visibility=st.sampled_from(Visibility), trashed_at=st.sampled_from([None, NOON]))
ALBUMS = st.builds(make_album, **PLACES)


def actor(role=Role.USER, scopes=frozenset(Scope)):
    return Actor(tenant=HERE, user=ME, role=role, scopes=scopes)


def test_every_permission_has_a_rule():
    assert set(RULES) == set(PERMISSIONS)


@given(ACTORS, st.sampled_from(PERMISSIONS), st.none() | IMAGES | ALBUMS)
@settings(max_examples=300, deadline=None)
def test_nothing_is_allowed_without_the_scope(who, permission, thing):
    if RULES[permission][0] not in who.scopes:
        assert not may(who, permission, thing)


@given(ACTORS, st.sampled_from(PERMISSIONS), IMAGES | ALBUMS)
@settings(max_examples=300, deadline=None)
def test_require_refuses_exactly_what_may_denies(who, permission, thing):
    if may(who, permission, thing):
        require(who, permission, thing)
        return

    with pytest.raises((Missing, Forbidden)) as caught:
        require(who, permission, thing)
    assert issubclass(caught.type, Missing) == (not access._sees(who, thing))


@given(
    ACTORS,
    st.sampled_from([p for p in PERMISSIONS if p.split(".")[1] in ("edit", "trash", "purge", "original", "delete")]),
    IMAGES | ALBUMS,
)
@settings(max_examples=300, deadline=None)
def test_only_owners_and_admins_of_the_same_tenant_change_a_thing(who, permission, thing):
    if may(who, permission, thing):
        assert thing.tenant == who.tenant
        assert thing.owner == who.user or who.role in (Role.ADMIN, Role.OPERATOR)


@given(ACTORS, IMAGES)
@settings(max_examples=200, deadline=None)
def test_someone_elses_private_or_trashed_image_is_missing_to_a_user(who, image):
    if who.role is Role.USER and image.owner == OTHER and (image.visibility is Visibility.PRIVATE or image.is_trashed):
        with pytest.raises(Missing):
            require(who, "image.read", image)


@given(ACTORS, st.sampled_from(PERMISSIONS), st.none() | IMAGES | ALBUMS)
@settings(max_examples=200, deadline=None)
def test_a_higher_role_never_allows_less(who, permission, thing):
    ladder = [Actor(tenant=HERE, user=ME, role=role, scopes=who.scopes) for role in (Role.USER, Role.ADMIN, Role.OPERATOR)]
    allowed = [may(step, permission, thing) for step in ladder]

    assert allowed == sorted(allowed)


@pytest.mark.parametrize(
    ("role", "permission", "allowed"),
    [
        (Role.USER, "image.create", True),
        (Role.USER, "signing.read", False),
        (Role.USER, "users.manage", False),
        (Role.ADMIN, "signing.manage", True),
        (Role.ADMIN, "failures.read", False),
        (Role.OPERATOR, "failures.manage", True),
    ],
)
def test_roles_open_what_is_theirs(role, permission, allowed):
    assert may(actor(role), permission) is allowed


def test_a_reading_key_of_an_operator_still_only_reads():
    who = actor(Role.OPERATOR, frozenset({Scope.READ}))
    image = make_image(HERE, ME)

    assert may(who, "image.read", image)
    with pytest.raises(Forbidden):
        require(who, "image.edit", image)


def test_the_link_holder_may_read_an_unlisted_image_but_not_its_original():
    image = make_image(HERE, OTHER, visibility=Visibility.UNLISTED)

    assert may(actor(), "image.read", image)
    with pytest.raises(Forbidden):
        require(actor(), "image.original", image)
