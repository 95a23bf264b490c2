"""What every CDN must do, sentence by sentence of ports.cdn. Inherit and give `cdn`, open, and `other`, another one."""

from __future__ import annotations

import asyncio
import time

import pytest

from safelight.domain.ids import new_id
from safelight.errors import BackendUnavailable, WrongState
from safelight.ports.cdn import Cdn

PATHS = ("/i/01jabcdefghjkmnpqrstvwxyz0/*", "/iiif/*")
PATIENCE_S = 60.0


async def ends(cdn: Cdn, invalidation: str) -> bool:
    """Whether it is done in the end, however slow the machine is."""
    deadline = time.monotonic() + PATIENCE_S
    while not await cdn.is_done(invalidation):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.2)
    return True


class CdnContract:
    async def test_one_that_listens_answers_a_ping(self, cdn: Cdn) -> None:
        await cdn.ping()

    async def test_what_it_is_told_to_let_go_of_is_done_in_the_end(self, cdn: Cdn) -> None:
        invalidation = await cdn.invalidate(PATHS, reference=new_id())

        assert invalidation
        assert await ends(cdn, invalidation)

    async def test_it_may_be_told_of_several_at_once(self, cdn: Cdn) -> None:
        ids = await asyncio.gather(*(cdn.invalidate(PATHS, reference=new_id()) for _ in range(3)))

        assert len(set(ids)) == 3
        assert [await ends(cdn, one) for one in ids] == [True] * 3

    async def test_what_it_was_never_told_is_refused(self, cdn: Cdn) -> None:
        with pytest.raises(WrongState):
            await cdn.is_done("I00000000000000")

    async def test_distributions_have_names_of_their_own(self, cdn: Cdn, other: Cdn) -> None:
        assert cdn.name != other.name

    async def test_one_knows_nothing_of_what_another_was_told(self, cdn: Cdn, other: Cdn) -> None:
        invalidation = await cdn.invalidate(PATHS, reference=new_id())

        with pytest.raises(WrongState):
            await other.is_done(invalidation)

    async def test_opening_twice_is_fine_and_a_closed_one_does_not_answer(self, cdn: Cdn) -> None:
        await cdn.open()
        await cdn.close()
        await cdn.close()

        with pytest.raises(BackendUnavailable):
            await cdn.invalidate(PATHS, reference=new_id())
        with pytest.raises(BackendUnavailable):
            await cdn.ping()
