"""What every Shelf keeps. Inherit `ShelfContract` and give a `shelf` fixture with room for 100 kB."""

from __future__ import annotations

import asyncio

import pytest

from safelight.ports.shelf import Shelf


def key(number: int, image: str = "image", tenant: str = "tenant") -> str:
    """Of a rendition."""
    return f"{tenant}/{image}/1/t-{number:08x}.webp"


class ShelfContract:
    """Needs a fixture `shelf`: open, empty."""

    async def test_what_was_put_comes_back_and_nothing_else_does(self, shelf: Shelf) -> None:
        await shelf.put(key(1), b"one")
        await shelf.put(key(1), b"two")
        await shelf.put(key(2), b"")

        assert [await shelf.get(key(number)) for number in (1, 2, 3)] == [b"two", b"", None]

    @pytest.mark.parametrize(
        "strange",
        ("", "a", "../../etc/passwd", "a/b/1/../x.webp", "a/b/1/c.webp/d", "a/b/x/c.webp", "a/\0/1/c.webp", "é/b/1/c.webp"),
    )
    async def test_a_strange_key_is_never_kept(self, shelf: Shelf, strange: str) -> None:
        await shelf.put(strange, b"bytes")

        assert await shelf.get(strange) is None
        assert await shelf.drop(strange) == 0

    async def test_one_image_or_one_tenant_can_be_dropped(self, shelf: Shelf) -> None:
        for tenant in ("a", "aa"):
            for image in ("b", "bb"):
                await shelf.put(key(1, image, tenant), b"x")

        assert await shelf.drop("a/b/") == 1
        assert await shelf.drop("a/b/") == 0
        assert [await shelf.get(key(1, image, "a")) for image in ("b", "bb")] == [None, b"x"]
        assert await shelf.drop("a/") == 1
        assert await shelf.get(key(1, "b", "aa")) == b"x"

    async def test_the_bound_holds_and_what_came_last_is_there(self, shelf: Shelf) -> None:
        for number in range(100):
            await shelf.put(key(number), bytes(4_000))
        kept = [number for number in range(100) if await shelf.get(key(number)) is not None]

        assert 10 <= len(kept) <= 25
        assert 99 in kept

    async def test_writers_of_one_key_leave_one_of_their_bodies(self, shelf: Shelf) -> None:
        await asyncio.gather(*(shelf.put(key(1), bytes([number]) * 2_000) for number in range(20)))
        found = await shelf.get(key(1))

        assert found is not None
        assert len(found) == 2_000
        assert len(set(found)) == 1
