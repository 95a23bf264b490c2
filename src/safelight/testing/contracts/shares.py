"""What every catalog must do with whom albums are lent to. Part of CatalogContract."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from safelight.domain.accounts import Tenant, User
from safelight.domain.albums import Album
from safelight.domain.ids import AlbumId, ImageId, LinkId, UserId, new_id
from safelight.domain.images import Image, Visibility
from safelight.domain.queries import ImageQuery, Sort
from safelight.domain.sharing import Grant, Level, Loan
from safelight.errors import AlreadyExists, BadField, Forbidden, Missing, WrongState
from safelight.ports.catalog import Catalog
from safelight.testing.factories import NOON, make_album, make_grant, make_image, make_link, make_tenant, make_user

HOUR = timedelta(hours=1)


async def users_in(catalog: Catalog, tenant: Tenant, count: int) -> list[User]:
    people = [make_user(tenant.id) for _ in range(count)]
    async with catalog.tenant(tenant.id, writes=True) as records:
        for user in people:
            await records.accounts.add_user(user)
    return people


async def lent_in(
    catalog: Catalog, album: Album, *grants: Grant, images: tuple[Image, ...] = (), by: User | None = None
) -> Album:
    """The album with these grants and new images, which lie there by the will of those that `by` owns."""
    async with catalog.tenant(album.tenant, writes=True) as records:
        await records.albums.add(album)
        for image in images:
            await records.images.add(image)
        await records.albums.insert(album.id, [image.id for image in images], lent_by=() if by is None else (by.id,))
        for grant in grants:
            await records.albums.shares.put_grant(grant)
    return replace(album, image_count=len(images))


async def seen_in(catalog: Catalog, album: Album, user: User, *lenders: User, **query: object) -> list[ImageId]:
    lent_by = tuple(lender.id for lender in lenders)
    asked = ImageQuery(album=album.id, visible_to=user.id, lent_by=lent_by, **{"sort": Sort.POSITION} | query)  # type: ignore[arg-type]
    async with catalog.tenant(album.tenant) as records:
        return [image.id for image in (await records.images.page(asked)).images]


class SharesContract:
    async def test_grants_come_back_as_they_were_oldest_first(self, catalog: Catalog, tenant: Tenant) -> None:
        a, b = await users_in(catalog, tenant, 2)
        album = make_album(tenant.id)
        plain = make_grant(album, a, created_at=NOON + HOUR)
        full = make_grant(album, b, level=Level.CONTRIBUTE, has_originals=True, expires_at=NOON + timedelta(microseconds=7))
        await lent_in(catalog, album, plain, full)

        async with catalog.tenant(tenant.id) as records:
            assert await records.albums.shares.grants(album.id) == [full, plain]
            assert await records.albums.shares.grants(AlbumId(new_id())) == []

    async def test_a_user_has_one_grant_of_an_album_the_last_one(self, catalog: Catalog, tenant: Tenant) -> None:
        (a,) = await users_in(catalog, tenant, 1)
        album = make_album(tenant.id)
        later = make_grant(album, a, level=Level.CONTRIBUTE)
        await lent_in(catalog, album, make_grant(album, a, expires_at=NOON), later)

        async with catalog.tenant(tenant.id) as records:
            assert await records.albums.shares.grants(album.id) == [later]
            assert [grant for _, grant in await records.albums.shares.lent(a.id, NOON)] == [later]

    async def test_a_grant_that_is_dropped_is_gone(self, catalog: Catalog, tenant: Tenant) -> None:
        a, b = await users_in(catalog, tenant, 2)
        album = make_album(tenant.id)
        await lent_in(catalog, album, make_grant(album, a), make_grant(album, b))
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.albums.shares.drop_grant(album.id, a.id)
            with pytest.raises(Missing):
                await records.albums.shares.drop_grant(album.id, a.id)

            assert await records.albums.shares.grants(album.id) == [make_grant(album, b)]
            assert await records.albums.shares.lent(a.id, NOON) == []

    async def test_a_grant_needs_its_album_and_its_user(self, catalog: Catalog, tenant: Tenant) -> None:
        (a,) = await users_in(catalog, tenant, 1)
        album = await lent_in(catalog, make_album(tenant.id))
        async with catalog.tenant(tenant.id, writes=True) as records:
            for grant in (make_grant(make_album(tenant.id), a), make_grant(album, make_user(tenant.id))):
                with pytest.raises(Missing):
                    await records.albums.shares.put_grant(grant)

            assert await records.albums.shares.grants(album.id) == []

    @pytest.mark.parametrize("what", ["album", "user"])
    async def test_grants_go_with_their_album_and_with_their_user(self, catalog: Catalog, tenant: Tenant, what: str) -> None:
        a, b = await users_in(catalog, tenant, 2)
        album, other = make_album(tenant.id), make_album(tenant.id, created_at=NOON + HOUR)
        await lent_in(catalog, album, make_grant(album, a), make_grant(album, b))
        await lent_in(catalog, other, make_grant(other, a))
        async with catalog.tenant(tenant.id, writes=True) as records:
            await (records.albums.remove(album.id) if what == "album" else records.accounts.remove_user(a.id))

        async with catalog.tenant(tenant.id) as records:
            shares = records.albums.shares
            left = [make_grant(other, a)] if what == "album" else []
            assert [grant for _, grant in await shares.lent(a.id, NOON)] == left
            assert await shares.grants(other.id) == left
            assert await shares.grants(album.id) == ([] if what == "album" else [make_grant(album, b)])

    async def test_lent_albums_come_newest_first_behind_one_and_not_past_their_end(
        self, catalog: Catalog, tenant: Tenant
    ) -> None:
        a, b = await users_in(catalog, tenant, 2)
        albums = [make_album(tenant.id, created_at=NOON + n * HOUR) for n in range(5)]
        ends = [None, NOON + HOUR, NOON, None, None]
        image = make_image(tenant.id)
        kept = [
            await lent_in(
                catalog, album, make_grant(album, b if n == 3 else a, expires_at=end), images=(image,) if n == 0 else ()
            )
            for n, (album, end) in enumerate(zip(albums, ends, strict=True))
        ]

        async with catalog.tenant(tenant.id) as records:
            shares = records.albums.shares
            assert [album for album, _ in await shares.lent(a.id, NOON)] == [kept[4], kept[1], kept[0]]
            assert [album for album, _ in await shares.lent(a.id, NOON + HOUR)] == [kept[4], kept[0]]
            assert [album for album, _ in await shares.lent(a.id, NOON, limit=1)] == [kept[4]]
            assert [album for album, _ in await shares.lent(a.id, NOON, after=kept[4].id, limit=1)] == [kept[1]]
            assert [album for album, _ in await shares.lent(a.id, NOON, after=kept[0].id)] == []

    async def test_an_album_shows_what_its_owners_have_put_in_and_nothing_else(self, catalog: Catalog, tenant: Tenant) -> None:
        owner, friend, viewer = await users_in(catalog, tenant, 3)
        album = make_album(tenant.id, owner.id)
        own, thrown = make_image(tenant.id, owner=owner.id), make_image(tenant.id, owner=owner.id, trashed_at=NOON)
        private = make_image(tenant.id, owner=friend.id)
        public = make_image(tenant.id, owner=friend.id, visibility=Visibility.PUBLIC)
        viewers = make_image(tenant.id, owner=viewer.id)
        await lent_in(catalog, album, images=(own, thrown, private, public, viewers), by=owner)

        assert await seen_in(catalog, album, viewer, owner) == [own.id, public.id, viewers.id]
        assert await seen_in(catalog, album, viewer, owner, friend) == [own.id, public.id, viewers.id]
        assert await seen_in(catalog, album, viewer, friend) == [public.id, viewers.id]
        assert await seen_in(catalog, album, viewer) == [public.id, viewers.id]
        assert await seen_in(catalog, album, viewer, owner, is_trashed=True) == []
        assert await seen_in(catalog, album, owner, owner, is_trashed=True) == [thrown.id]

        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.albums.insert(album.id, [private.id], lent_by=(friend.id,))
        for sort, limit in product(Sort, (1, 50)):
            found = await seen_in(catalog, album, viewer, owner, friend, sort=sort, limit=limit)
            assert set(found) <= {own.id, public.id, viewers.id, private.id}
            assert len(found) == min(limit, 4)
        assert set(await seen_in(catalog, album, viewer, owner)) == {own.id, public.id, viewers.id}

    async def test_what_is_lent_stays_so_when_it_is_moved_and_no_longer_when_it_is_taken_out(
        self, catalog: Catalog, tenant: Tenant
    ) -> None:
        owner, friend = await users_in(catalog, tenant, 2)
        album = make_album(tenant.id, owner.id)
        own, theirs = make_image(tenant.id, owner=owner.id), make_image(tenant.id, owner=friend.id)
        await lent_in(catalog, album, images=(own, theirs), by=friend)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.albums.insert(album.id, [theirs.id], before=own.id, lent_by=(owner.id,))
        assert await seen_in(catalog, album, owner, owner, friend) == [theirs.id, own.id]

        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.albums.drop(album.id, [theirs.id])
            await records.albums.insert(album.id, [theirs.id], lent_by=(owner.id,))
        assert await seen_in(catalog, album, owner, owner, friend) == [own.id]

    async def test_an_image_tells_through_which_albums_somebody_may_see_it(self, catalog: Catalog, tenant: Tenant) -> None:
        owner, friend, viewer = await users_in(catalog, tenant, 3)
        own, theirs = make_image(tenant.id, owner=owner.id), make_image(tenant.id, owner=friend.id)
        album, unlent = (make_album(tenant.id, owner.id, created_at=NOON + n * HOUR) for n in range(2))
        taken = make_grant(album, viewer, expires_at=NOON, has_originals=True)
        given = make_grant(album, friend, level=Level.CONTRIBUTE)
        await lent_in(catalog, album, taken, given, images=(own, theirs), by=owner)
        await lent_in(catalog, unlent)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.albums.insert(album.id, [theirs.id], lent_by=(friend.id,))
            await records.albums.insert(unlent.id, [own.id, theirs.id])

        async with catalog.tenant(tenant.id) as records:
            loans = records.albums.shares.loans
            assert await loans(own, viewer.id) == [Loan(album=album.id, album_owner=owner.id, taken=taken, given=None)]
            assert await loans(theirs, viewer.id) == [Loan(album=album.id, album_owner=owner.id, taken=taken, given=given)]
            assert await loans(theirs, owner.id) == [Loan(album=album.id, album_owner=owner.id, taken=None, given=given)]
            assert await loans(own, UserId(new_id())) == []

    async def test_a_grant_reaches_no_other_tenant(self, catalog: Catalog, tenant: Tenant) -> None:
        (a,) = await users_in(catalog, tenant, 1)
        own = make_image(tenant.id, owner=a.id)
        album = make_album(tenant.id, a.id)
        await lent_in(catalog, album, make_grant(album, a), images=(own,), by=a)
        other = make_tenant()
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(other)
        (b,) = await users_in(catalog, other, 1)
        async with catalog.tenant(other.id, writes=True) as records:
            foreign = make_album(other.id)
            await records.albums.add(foreign)
            shares = records.albums.shares
            for reaching in (
                shares.put_grant(replace(make_grant(album, b), tenant=other.id)),
                shares.put_grant(replace(make_grant(foreign, a), tenant=other.id)),
                shares.drop_grant(album.id, a.id),
            ):
                with pytest.raises(Missing):
                    await reaching
            with pytest.raises(Forbidden):
                await shares.put_grant(make_grant(album, a))
            assert await shares.grants(album.id) == []
            assert await shares.lent(a.id, NOON) == []
            assert await shares.loans(own, a.id) == []

    async def test_links_come_back_as_they_were_newest_first_and_with_who_made_them(
        self, catalog: Catalog, tenant: Tenant
    ) -> None:
        (a,) = await users_in(catalog, tenant, 1)
        album = await lent_in(catalog, make_album(tenant.id))
        plain = make_link(album, a)
        full = make_link(
            album,
            a,
            created_at=NOON + HOUR,
            expires_at=NOON + timedelta(days=3, microseconds=7),
            password_hash="$argon2id$…",
            has_originals=True,
            note="Für Oma",
        )
        async with catalog.tenant(tenant.id, writes=True) as records:
            for link in (plain, full):
                await records.albums.shares.add_link(link)
            with pytest.raises(AlreadyExists):
                await records.albums.shares.add_link(plain)

            assert await records.albums.shares.links(album.id) == [full, plain]
            assert await records.albums.shares.links(AlbumId(new_id())) == []
        async with catalog.directory() as directory:
            assert await directory.people.link(full.id) == (full, a)
            with pytest.raises(Missing):
                await directory.people.link(LinkId(new_id()))

    async def test_a_link_needs_its_album_its_maker_and_words_that_can_be_kept(self, catalog: Catalog, tenant: Tenant) -> None:
        (a,) = await users_in(catalog, tenant, 1)
        album = await lent_in(catalog, make_album(tenant.id))
        async with catalog.tenant(tenant.id, writes=True) as records:
            for link in (make_link(make_album(tenant.id), a), make_link(album, make_user(tenant.id))):
                with pytest.raises(Missing):
                    await records.albums.shares.add_link(link)
            for note in ("\x00", "\ud800"):
                with pytest.raises(BadField):
                    await records.albums.shares.add_link(make_link(album, a, note=note))

            assert await records.albums.shares.links(album.id) == []

    @pytest.mark.parametrize("how", ["dropped", "with its album", "with its maker"])
    async def test_a_link_that_is_gone_leads_nowhere(self, catalog: Catalog, tenant: Tenant, how: str) -> None:
        a, b = await users_in(catalog, tenant, 2)
        album, other = await lent_in(catalog, make_album(tenant.id)), await lent_in(catalog, make_album(tenant.id))
        gone, stays = make_link(album, a), make_link(other, b)
        async with catalog.tenant(tenant.id, writes=True) as records:
            for link in (gone, stays):
                await records.albums.shares.add_link(link)
        async with catalog.tenant(tenant.id, writes=True) as records:
            match how:
                case "dropped":
                    with pytest.raises(Missing):
                        await records.albums.shares.drop_link(other.id, gone.id)
                    await records.albums.shares.drop_link(album.id, gone.id)
                    with pytest.raises(Missing):
                        await records.albums.shares.drop_link(album.id, gone.id)
                case "with its album":
                    await records.albums.remove(album.id)
                case _:
                    await records.accounts.remove_user(a.id)

        async with catalog.tenant(tenant.id) as records:
            assert await records.albums.shares.links(album.id) == []
            assert await records.albums.shares.links(other.id) == [stays]
        async with catalog.directory() as directory:
            assert (await directory.people.link(stays.id))[0] == stays
            with pytest.raises(Missing):
                await directory.people.link(gone.id)

    async def test_a_link_reaches_no_other_tenant(self, catalog: Catalog, tenant: Tenant) -> None:
        (a,) = await users_in(catalog, tenant, 1)
        album = await lent_in(catalog, make_album(tenant.id))
        link = make_link(album, a)
        async with catalog.tenant(tenant.id, writes=True) as records:
            await records.albums.shares.add_link(link)
        other = make_tenant()
        async with catalog.directory(writes=True) as directory:
            await directory.add_tenant(other)
        async with catalog.tenant(other.id, writes=True) as records:
            shares = records.albums.shares
            assert await shares.links(album.id) == []
            for reaching in (shares.drop_link(album.id, link.id), shares.add_link(replace(make_link(album, a), tenant=other.id))):
                with pytest.raises(Missing):
                    await reaching
            with pytest.raises(Forbidden):
                await shares.add_link(make_link(album, a))

    async def test_a_transaction_that_reads_grants_nothing(self, catalog: Catalog, tenant: Tenant) -> None:
        (a,) = await users_in(catalog, tenant, 1)
        album = make_album(tenant.id)
        await lent_in(catalog, album, make_grant(album, a))
        async with catalog.tenant(tenant.id) as records:
            shares = records.albums.shares
            for writing in (
                shares.put_grant(make_grant(album, a)),
                shares.drop_grant(album.id, a.id),
                shares.add_link(make_link(album, a)),
                shares.drop_link(album.id, LinkId(new_id())),
            ):
                with pytest.raises(WrongState):
                    await writing
