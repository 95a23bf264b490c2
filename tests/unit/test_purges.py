"""Purges are told together, some at a time, again when it did not work, and go on where a process that died left them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from tests.faulty import refusing_tag

from safelight.adapters.catalog.memory import MemoryCatalog
from safelight.adapters.cdn.memory import MemoryCdn
from safelight.adapters.storage.memory import MemoryStorage
from safelight.domain.accounts import Actor, Role, Scope
from safelight.domain.ids import new_id
from safelight.domain.images import Image
from safelight.domain.purges import LEASE, MOST_ATTEMPTS, SETTLE, Ground, PurgeOf, PurgeState, joined, paths_of
from safelight.errors import BackendUnavailable, Busy, Forbidden, Missing, WrongState
from safelight.observability import Instruments
from safelight.services.derived import Derived
from safelight.services.purges import Purges
from safelight.testing.factories import NOON, make_image, make_purge, make_tenant

GROUND = Ground(
    front=("/i/", "/iiif/2/", "/iiif/3/"), whole_front=("/i/", "/iiif/", "/imgproxy/", "/thumbor/"), buckets=("/team/",)
)


def actor_of(tenant, role):
    return Actor(tenant=tenant, user=new_id(), role=role, scopes=frozenset(Scope))


async def nothing_kept(tenant, url):
    """Of an address elsewhere."""


class Hall:
    """The service over a catalog and two distributions, with a clock that the test turns."""

    def __init__(self, catalog: MemoryCatalog, *, is_quick: bool = True) -> None:
        self.now: datetime = NOON
        self.front, self.back = MemoryCdn("front", is_quick=is_quick), MemoryCdn("back", is_quick=is_quick)
        self.catalog = catalog
        self.renditions = MemoryStorage()
        self.changed: list[str] = []
        self.purges = self.process()
        self.tenant = make_tenant()
        self.actor = actor_of(self.tenant.id, Role.OPERATOR)

    def process(self) -> Purges:
        """Another one over the same."""
        return self.told((self.front,), (self.back,))

    def told(self, fronts, backs, *, catalog=None, renditions=None) -> Purges:
        """With these CDNs, or over another look at what is kept."""
        kept = Derived(catalog or self.catalog, renditions or self.renditions, None, lambda: self.now, self.changed.append)
        return Purges(catalog or self.catalog, fronts, backs, GROUND, kept, lambda: self.now, Instruments(), nothing_kept)

    async def images(self, count: int, **fields: object) -> list[str]:
        made = [make_image(self.tenant.id, created_at=NOON + timedelta(seconds=n), **fields) for n in range(count)]
        async with self.catalog.tenant(self.tenant.id, writes=True) as records:
            for image in made:
                await records.images.add(image)
        return [image.id for image in made]

    async def image(self, image_id: str) -> Image:
        async with self.catalog.tenant(self.tenant.id) as records:
            return await records.images.get(image_id)

    async def state(self, purge):
        return await self.purges.get(self.actor, purge.id)

    def settle(self) -> None:
        self.now += SETTLE


@pytest.fixture
async def hall():
    return await opened(Hall(MemoryCatalog()))


@pytest.fixture
async def slow():
    return await opened(Hall(MemoryCatalog(), is_quick=False))


async def opened(hall: Hall) -> Hall:
    await hall.catalog.open()
    await hall.front.open()
    await hall.back.open()
    async with hall.catalog.directory(writes=True) as directory:
        await directory.add_tenant(hall.tenant)
    return hall


def test_an_image_s_paths_are_where_it_is_delivered_and_where_it_is_kept():
    purge = make_purge(make_tenant().id)

    paths = paths_of([purge, purge], GROUND)
    assert paths.front == tuple(f"{prefix}{purge.value}/*" for prefix in GROUND.front)
    assert paths.buckets == (f"/team/{purge.tenant}/{purge.value}/*",)


def test_a_tenant_s_paths_are_everything_before_safelight_and_its_own_before_the_buckets():
    purge = make_purge(make_tenant().id, what=PurgeOf.TENANT, value="", slice=())

    paths = paths_of([purge], GROUND)
    assert paths.front == ("/i/*", "/iiif/*", "/imgproxy/*", "/thumbor/*")
    assert paths.buckets == (f"/team/{purge.tenant}/*",)


def test_a_source_s_paths_are_those_that_begin_with_its_address():
    purge = make_purge(make_tenant().id, what=PurgeOf.SOURCE, value="https://a.example/sea.jpg", slice=())

    paths = paths_of([purge], replace(GROUND, remote_front=("/i/remote/",)))
    assert (paths.front, paths.buckets) == (("/i/remote/aHR0cHM6Ly9hLmV4YW1wbGUvc2VhLmpwZw/*",), ())


def test_no_more_is_told_at_once_than_cloudfront_takes():
    tenant = make_tenant().id
    purges = [make_purge(tenant) for _ in range(9)]

    assert joined(purges, GROUND) == purges[:5]
    assert joined([*purges[:5], purges[0], purges[1]], GROUND) == [*purges[:5], purges[0], purges[1]]  # the same paths again


def test_the_same_batch_of_other_paths_has_another_reference():
    one, two = make_purge(make_tenant().id), make_purge(make_tenant().id)

    assert paths_of([one], GROUND).reference("b") == paths_of([one], GROUND).reference("b")
    assert paths_of([one], GROUND).reference("b") != paths_of([one, two], GROUND).reference("b")
    assert len(paths_of([one], GROUND).reference(new_id())) <= 128


async def test_an_image_that_was_asked_for_is_gone_from_both_when_they_say_so(slow):
    (image,) = await slow.images(1)
    asked = await slow.purges.ask(slow.actor, PurgeOf.IMAGE, image)
    assert (asked.state, asked.images, asked.images_done) == (PurgeState.REMOVING, 1, 0)

    slow.settle()
    await slow.purges.go_on()
    assert (await slow.state(asked)).state is PurgeState.RUNNING
    slow.front.finish()
    await slow.purges.go_on()
    assert (await slow.state(asked)).state is PurgeState.RUNNING
    slow.back.finish()
    assert await slow.purges.go_on() == 1

    after = await slow.state(asked)
    assert (after.state, after.images_done) == (PurgeState.DONE, 1)
    assert list(slow.front.told.values()) == [tuple(sorted(f"{prefix}{image}/*" for prefix in GROUND.front))]
    assert list(slow.back.told.values()) == [(f"/team/{slow.tenant.id}/{image}/*",)]


async def test_nobody_is_told_while_a_process_may_still_believe_the_old_record(hall):
    (image,) = await hall.images(1)
    await hall.purges.ask(hall.actor, PurgeOf.IMAGE, image)
    await hall.purges.go_on()

    assert not hall.front.told


async def test_what_waits_is_told_together(hall):
    images = await hall.images(4)
    for image in images:
        await hall.purges.note({"tenant": hall.tenant.id, "image": image})
    hall.settle()

    assert await hall.purges.go_on() == 4
    assert [len(paths) for paths in hall.front.told.values()] == [12]


async def test_a_tag_goes_some_images_at_a_time_and_tells_how_far_it_is(slow):
    images = await slow.images(12, tags=("sea",))
    await slow.images(1, tags=("seaside",))
    asked = await slow.purges.ask(slow.actor, PurgeOf.TAG, " Sea ")
    assert (asked.value, asked.images) == ("sea", 12)
    slow.settle()

    seen = []
    for _ in range(10):
        await slow.purges.go_on()
        slow.front.finish()
        slow.back.finish()
        state = await slow.state(asked)
        seen.append(state.images_done)
        if state.has_ended:
            break
    assert state.state is PurgeState.DONE
    assert seen[-1] == 12
    assert {5, 10} <= set(seen)
    told = {path for paths in slow.front.told.values() for path in paths}
    assert told == {f"{prefix}{image}/*" for image in images for prefix in GROUND.front}


async def test_a_tag_that_no_image_has_is_done_at_once(hall):
    asked = await hall.purges.ask(hall.actor, PurgeOf.TAG, "nothing")
    hall.settle()
    await hall.purges.go_on()

    assert (await hall.state(asked)).state is PurgeState.DONE
    assert not hall.front.told


async def test_however_many_ask_our_own_caches_to_let_go_the_cdns_are_told_meanwhile(hall, monkeypatch):
    monkeypatch.setattr("safelight.services.purges._OPEN", 5)
    await hall.images(1, tags=("rare",))
    asked = [make_purge(hall.tenant.id, what=PurgeOf.TAG, value="rare", slice=(), state=PurgeState.FORGETTING) for _ in range(30)]
    async with hall.catalog.directory(writes=True) as directory:
        for purge in asked:
            await directory.outbox.purges.add(purge)
    (image,) = await hall.images(1)
    await hall.purges.note({"tenant": hall.tenant.id, "image": image})
    hall.settle()

    await hall.purges.go_on()

    assert [f"/i/{image}/*" in paths for paths in hall.front.told.values()] == [True]
    began = [purge for purge in asked if (await hall.state(purge)).revision > 1]
    assert len(began) == 20, "each in its turn, and as many pages as there are in a run"


@pytest.mark.parametrize("state", [PurgeState.WAITING, PurgeState.FORGETTING])
async def test_however_much_one_tenant_purges_another_one_s_turn_comes(slow, state):
    other = make_tenant()
    async with slow.catalog.directory(writes=True) as directory:
        await directory.add_tenant(other)
        for _ in range(300):
            await directory.outbox.purges.add(make_purge(slow.tenant.id, state=state))
        await directory.outbox.purges.add(theirs := make_purge(other.id, state=state, due_at=NOON + SETTLE))
    slow.settle()

    await slow.purges.go_on()

    after = await slow.purges.get(actor_of(other.id, Role.ADMIN), theirs.id)
    assert after.state is (PurgeState.RUNNING if state is PurgeState.WAITING else PurgeState.REMOVING)


async def test_one_that_asks_for_too_much_keeps_no_other_one_waiting(slow):
    image, *_ = await slow.images(12, tags=("rare",))
    broad = await slow.purges.ask(slow.actor, PurgeOf.TAG, "rare")
    other = await slow.purges.ask(slow.actor, PurgeOf.IMAGE, image)
    slow.settle()
    await slow.purges.go_on()

    narrow = slow.told((slow.front,), (slow.back,), catalog=refusing_tag(slow.catalog, "rare"))
    for _ in range(3):
        slow.front.finish()
        slow.back.finish()
        await narrow.go_on()

    assert (await slow.state(other)).state is PurgeState.DONE
    assert (await slow.state(broad)).cause.startswith("too_broad")


async def test_one_that_is_busy_is_asked_again_later_and_later(hall):
    (image,) = await hall.images(1)
    asked = await hall.purges.ask(hall.actor, PurgeOf.IMAGE, image)
    hall.front.fault = Busy("TooManyInvalidationsInProgress")
    hall.settle()
    waits = []
    for _ in range(4):
        await hall.purges.go_on()
        state = await hall.state(asked)
        assert state.state is PurgeState.WAITING
        assert state.cause == "busy: TooManyInvalidationsInProgress"
        waits.append((state.due_at - hall.now).total_seconds())
        hall.now = state.due_at
    hall.front.fault = None
    await hall.purges.go_on()

    assert waits == [5, 10, 20, 40]
    after = await hall.state(asked)
    assert (after.state, after.attempts, after.cause) == (PurgeState.DONE, 0, "")


async def test_one_that_refuses_for_hours_has_failed_with_its_cause(hall):
    (image,) = await hall.images(1)
    asked = await hall.purges.ask(hall.actor, PurgeOf.IMAGE, image)
    hall.back.fault = WrongState("CloudFront refuses the distribution (AccessDenied).")
    hall.settle()
    for _ in range(MOST_ATTEMPTS):
        await hall.purges.go_on()
        hall.now += timedelta(minutes=10)

    after = await hall.state(asked)
    assert (after.state, after.attempts) == (PurgeState.FAILED, MOST_ATTEMPTS)
    assert "AccessDenied" in after.cause
    assert await hall.purges.go_on() == 0


async def test_one_that_does_not_answer_for_a_while_is_looked_at_again(slow):
    (image,) = await slow.images(1)
    asked = await slow.purges.ask(slow.actor, PurgeOf.IMAGE, image)
    slow.settle()
    await slow.purges.go_on()
    slow.front.fault = BackendUnavailable("away")
    await slow.purges.go_on()
    assert (await slow.state(asked)).state is PurgeState.RUNNING

    slow.front.fault = None
    slow.front.finish()
    slow.back.finish()
    await slow.purges.go_on()
    assert (await slow.state(asked)).state is PurgeState.DONE
    assert len(slow.front.told) == 1


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("at", range(8))
async def test_whoever_comes_after_a_process_that_died_anywhere_leaves_nothing_unpurged(hall, at):
    """The process dies at its nth step outside; another one goes on."""
    images = await hall.images(7, tags=("sea",))
    asked = await hall.purges.ask(hall.actor, PurgeOf.TAG, "sea")
    hall.settle()
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps > at:
            raise Killed

    class Dying:
        def __init__(self, cdn):
            self.name, self._cdn = cdn.name, cdn

        async def invalidate(self, paths, *, reference):
            step()
            told = await self._cdn.invalidate(paths, reference=reference)
            step()
            return told

        async def is_done(self, invalidation):
            step()
            return await self._cdn.is_done(invalidation)

    dying = hall.told((Dying(hall.front),), (Dying(hall.back),))
    with pytest.raises(Killed):
        await dying.go_on()
    for _ in range(5):
        await hall.purges.go_on()
        hall.settle()

    assert (await hall.state(asked)).state is PurgeState.DONE
    assert {path for paths in hall.back.told.values() for path in paths} == {f"/team/{hall.tenant.id}/{i}/*" for i in images}
    assert len(hall.front.told) == 2  # five images and two: whatever was told twice was told under one reference


async def lay(hall: Hall, image: Image) -> tuple[str, str, str]:
    """A preset, what was made before the last purge, and what was made since: their keys."""
    old = replace(image, generation=image.generation - 1) if image.generation else image
    keys = (
        image.rendition_key("thumb_150", "webp", folder="1"),
        old.made_key("t-0", "webp", folder="1"),
        image.made_key("t-1", "webp", folder="1"),
    )
    for key in keys:
        await hall.renditions.put(key, b"bytes", media_type="image/webp")
    return keys


async def lying(hall: Hall) -> set[str]:
    return {pile.key for pile in await hall.renditions.piles()}


async def test_without_a_cdn_our_own_caches_are_purged(hall):
    alone = hall.told((), ())
    (image,) = await hall.images(1, developed_version=1)
    (other,) = await hall.images(1, developed_version=1)
    preset, made, _ = await lay(hall, await hall.image(image))
    kept = await lay(hall, await hall.image(other))

    asked = await alone.ask(hall.actor, PurgeOf.IMAGE, image)
    after = await hall.image(image)
    assert (after.generation, after.uncached_at, after.revision) == (1, NOON, 2)
    assert hall.changed == [image]
    assert await alone.go_on() == 0, "a process may still believe the record of before, and keep what it makes of it"
    fresh = after.made_key("t-0", "webp", folder="1")
    await hall.renditions.put(fresh, b"made anew", media_type="image/webp")
    hall.settle()
    assert await alone.go_on() == 1

    assert (await hall.state(asked)).state is PurgeState.DONE
    assert await lying(hall) == {preset, fresh, *kept}
    assert made not in await lying(hall)


async def test_what_was_made_of_images_in_the_trash_goes_too_and_of_versions_before(hall):
    alone = hall.told((), ())
    trashed, twice = (
        await hall.images(2, developed_version=1, tags=("sea",), trashed_at=NOON),
        await hall.images(1, developed_version=1, tags=("sea",), generation=3),
    )
    keys = [await lay(hall, await hall.image(image)) for image in (*trashed, *twice)]

    asked = await alone.ask(hall.actor, PurgeOf.TAG, "sea")
    assert asked.state is PurgeState.REMOVING
    assert [(await hall.image(image)).generation for image in (*trashed, *twice)] == [1, 1, 4]
    hall.settle()
    await alone.go_on()

    assert await lying(hall) == {preset for preset, *_ in keys}
    assert (await hall.state(asked)).images_done == 3


async def test_a_tenant_s_images_are_forgotten_page_by_page_while_others_wait_for_a_cdn(slow):
    images = await slow.images(230, developed_version=1)
    (first,) = await slow.images(1)
    await slow.purges.note({"tenant": slow.tenant.id, "image": first})
    slow.settle()
    await slow.purges.go_on()  # told, and not over for a long time

    asked = await slow.purges.ask(slow.actor, PurgeOf.TENANT)
    assert (asked.state, asked.images_done) == (PurgeState.FORGETTING, 200)
    await slow.purges.go_on()
    after = await slow.state(asked)
    assert (after.state, after.images, after.images_done) == (PurgeState.REMOVING, 231, 0)
    assert {(await slow.image(image)).generation for image in images} == {1}
    slow.settle()
    await slow.purges.go_on()
    assert (await slow.state(asked)).state is PurgeState.WAITING, "the CDN is busy with another"


@pytest.mark.parametrize("at", range(1, 9))
async def test_whoever_comes_after_a_process_that_died_anywhere_has_our_own_caches_forget_everything(hall, at):
    """The process dies at its nth step; what is answered later was not made before the purge, and nothing is left of it."""
    images = await hall.images(3, developed_version=1, tags=("sea",))
    keys = [await lay(hall, await hall.image(image)) for image in images]
    asked = await hall.told((), ()).ask(hall.actor, PurgeOf.TAG, "nothing")
    async with hall.catalog.directory(writes=True) as directory:
        asked = replace(asked, value="sea", state=PurgeState.FORGETTING, cursor="", due_at=NOON, revision=asked.revision + 1)
        await directory.outbox.purges.save(asked)
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps > at:
            raise Killed

    class Dying:
        """A catalog or a store whose process dies at one of its uses."""

        def __init__(self, inner, *names):
            self._inner, self._names = inner, names

        def __getattr__(self, name):
            if name in self._names:
                step()
            return getattr(self._inner, name)

    dying = hall.told(
        (), (), catalog=Dying(hall.catalog, "tenant", "directory"), renditions=Dying(hall.renditions, "piles", "purge")
    )
    with pytest.raises(Killed):
        for _ in range(4):
            await dying.go_on()
            hall.settle()
    alone = hall.told((), ())
    for _ in range(4):
        hall.now += LEASE
        await alone.go_on()

    after = await hall.state(asked)
    assert (after.state, after.images_done) == (PurgeState.DONE, 3)
    assert min([(await hall.image(image)).generation for image in images]) >= 1
    assert await lying(hall) == {preset for preset, *_ in keys}


async def test_a_store_that_is_away_is_asked_again_later(hall):
    class Away:
        async def piles(self, *_, **__):
            raise BackendUnavailable("away")

    (image,) = await hall.images(1, developed_version=1)
    _, made, _ = await lay(hall, await hall.image(image))
    asked = await hall.told((), ()).ask(hall.actor, PurgeOf.IMAGE, image)
    hall.settle()
    await hall.told((), (), renditions=Away()).go_on()
    state = await hall.state(asked)
    assert (state.state, state.attempts, state.cause) == (PurgeState.REMOVING, 1, "backend_unavailable: away")

    hall.now = state.due_at
    await hall.told((), ()).go_on()
    assert (await hall.state(asked)).state is PurgeState.DONE
    assert made not in await lying(hall)


async def test_who_may_purge_what(hall):
    (image,) = await hall.images(1)
    admin, user = (actor_of(hall.tenant.id, role) for role in (Role.ADMIN, Role.USER))
    elsewhere = make_tenant()
    async with hall.catalog.directory(writes=True) as directory:
        await directory.add_tenant(elsewhere)
    stranger = actor_of(elsewhere.id, Role.ADMIN)

    asked = await hall.purges.ask(admin, PurgeOf.IMAGE, image)
    for actor, what, value, refusal in (
        (admin, PurgeOf.TENANT, "", Forbidden),
        (user, PurgeOf.IMAGE, image, Forbidden),
        (stranger, PurgeOf.IMAGE, image, Missing),
        (admin, PurgeOf.IMAGE, "../*", Missing),
    ):
        with pytest.raises(refusal):
            await hall.purges.ask(actor, what, value)
    with pytest.raises(Missing):
        await hall.purges.get(stranger, asked.id)
    assert await hall.purges.page(stranger) == []
    assert [purge.id for purge in await hall.purges.page(admin)] == [asked.id]
