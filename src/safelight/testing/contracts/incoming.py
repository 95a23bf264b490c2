"""What every way for bytes to come in must do, sentence by sentence of ports.incoming.

Inherit and give `incoming`, `originals`, the Storage into which it promotes, and `send`, which does with an offer what a browser
would: whether the file was taken.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from safelight.domain.ids import TenantId, UploadId, UserId, new_id
from safelight.domain.uploads import Method, Upload
from safelight.errors import BadRequest, Missing
from safelight.ports.incoming import Incoming, Offer
from safelight.ports.storage import Storage
from safelight.testing.factories import make_upload

PICTURE = bytes(range(256)) * 40
Send = Callable[..., Awaitable[bool]]
"""send(offer, data, media_type=..., key=...)"""


def announced(method: Method, **fields: Any) -> Upload:
    now = datetime.now(UTC)
    upload = make_upload(
        TenantId(new_id()),
        UserId(new_id()),
        method=method,
        created_at=now,
        expires_at=now + timedelta(hours=1),
        size_bytes=len(PICTURE),
    )
    return replace(upload, **fields)


async def content(incoming: Incoming, upload: Upload) -> bytes:
    return b"".join([chunk async for chunk in (await incoming.open(upload)).chunks])


async def body(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def appended(incoming: Incoming, upload: Upload, *chunks: bytes) -> Upload:
    """The upload as its record is after these have come, a piece each."""
    for chunk in chunks:
        piece = await incoming.append(upload, body(chunk))
        upload = replace(upload, pieces=(*upload.pieces, piece), offset_bytes=upload.offset_bytes + len(chunk))
    return upload


def other_end(text: str) -> str:
    """The same text with one character changed that carries no padding."""
    return ("A" if text[0] != "A" else "B") + text[1:]


class IncomingContract:
    """An adapter may keep one store for all tests: every upload has a tenant of its own."""

    @pytest.fixture(params=[Method.POST, Method.PUT])
    def method(self, request: pytest.FixtureRequest) -> Method:
        return Method(request.param)

    async def test_what_is_sent_as_offered_is_there(self, incoming: Incoming, send: Send, method: Method) -> None:
        upload = announced(method)
        offer = await incoming.offer(upload, max_bytes=10**6)

        assert (offer.method, offer.expires_at) == (method.value.upper(), upload.expires_at)
        assert await send(offer, PICTURE)
        opened = await incoming.open(upload)
        assert (opened.stored.size_bytes, opened.stored.media_type) == (len(PICTURE), "image/jpeg")
        assert await content(incoming, upload) == PICTURE
        assert upload.key in [stored.key for stored in await incoming.scan()]

    async def test_nothing_is_there_before_it_is_sent(self, incoming: Incoming, method: Method) -> None:
        upload = announced(method)
        await incoming.offer(upload, max_bytes=10**6)

        with pytest.raises(Missing):
            await incoming.open(upload)
        await incoming.discard(upload)

    @pytest.mark.parametrize("size", [0, len(PICTURE) - 1, len(PICTURE) + 1, 3 * len(PICTURE)])
    async def test_another_size_is_not_taken(self, incoming: Incoming, send: Send, method: Method, size: int) -> None:
        upload = announced(method)

        assert not await send(await incoming.offer(upload, max_bytes=10**6), (PICTURE * 3)[:size])
        with pytest.raises(Missing):
            await incoming.open(upload)

    @pytest.mark.parametrize(("size", "is_taken"), [(0, False), (1, True), (5000, True), (5001, False)])
    async def test_a_form_of_unknown_size_takes_up_to_the_limit(
        self, incoming: Incoming, send: Send, size: int, *, is_taken: bool
    ) -> None:
        upload = announced(Method.POST, size_bytes=None)

        assert await send(await incoming.offer(upload, max_bytes=5000), PICTURE[:size]) is is_taken

    async def test_another_type_is_not_taken(self, incoming: Incoming, send: Send, method: Method) -> None:
        upload = announced(method)

        assert not await send(await incoming.offer(upload, max_bytes=10**6), PICTURE, media_type="text/html")
        with pytest.raises(Missing):
            await incoming.open(upload)

    async def test_another_key_is_not_taken(self, incoming: Incoming, send: Send) -> None:
        upload, other = announced(Method.POST), announced(Method.POST)

        assert not await send(await incoming.offer(upload, max_bytes=10**6), PICTURE, key=other.key)
        for each in (upload, other):
            with pytest.raises(Missing):
                await incoming.open(each)

    async def test_a_changed_policy_is_not_taken(self, incoming: Incoming, send: Send, method: Method) -> None:
        upload = announced(method)
        offer = await incoming.offer(upload, max_bytes=10**6)
        for changed in self.tampered(offer):
            assert changed != offer
            assert not await send(changed, PICTURE)
        with pytest.raises(Missing):
            await incoming.open(upload)

    def tampered(self, offer: Offer) -> list[Offer]:
        """The offer with its policy, its signature or its address changed."""
        changed = []
        for name in ("policy", "signature", "X-Amz-Signature", "X-Amz-Expires"):
            before, mark, value = offer.url.partition(f"{name}=")
            if mark:
                changed.append(replace(offer, url=before + mark + other_end(value)))
        changed += [
            replace(offer, fields={**offer.fields, name: other_end(offer.fields[name])})
            for name in ("policy", "x-amz-signature")
            if name in offer.fields
        ]
        assert len(changed) == 2
        return changed

    async def test_who_comes_too_late_is_not_taken(self, incoming: Incoming, send: Send, method: Method) -> None:
        upload = announced(method, expires_at=datetime.now(UTC) + timedelta(seconds=1))
        offer = await incoming.offer(upload, max_bytes=10**6)

        assert not await send(offer, PICTURE, after=upload.expires_at + timedelta(seconds=1.5))

    async def test_only_the_version_that_was_opened_is_promoted(
        self, incoming: Incoming, originals: Storage, send: Send, method: Method
    ) -> None:
        upload = announced(method)
        offer = await incoming.offer(upload, max_bytes=10**6)
        await send(offer, PICTURE)
        opened = await incoming.open(upload)
        await send(offer, PICTURE[::-1])
        sha256, key = hashlib.sha256(PICTURE).hexdigest(), f"{upload.tenant}/{new_id()}/1/original"

        if await incoming.promote(upload, opened.stored, key, media_type="image/png", sha256=sha256):
            stored = await originals.stat(key)
            assert (stored.etag, stored.media_type, stored.size_bytes) == (sha256, "image/png", len(PICTURE))
            assert await originals.get(key) == PICTURE
        else:
            with pytest.raises(Missing):
                await originals.stat(key)

        assert b"".join([chunk async for chunk in opened.chunks]) == PICTURE
        assert await content(incoming, upload) == PICTURE[::-1]

    async def test_what_is_gone_cannot_be_promoted(self, incoming: Incoming, originals: Storage, send: Send) -> None:
        upload = announced(Method.POST)
        await send(await incoming.offer(upload, max_bytes=10**6), PICTURE)
        opened = await incoming.open(upload)
        await incoming.discard(upload)
        key = f"{upload.tenant}/{new_id()}/1/original"

        with contextlib.suppress(Missing):
            assert not await incoming.promote(upload, opened.stored, key, media_type="image/png", sha256="5a" * 32)
        with pytest.raises(Missing):
            await originals.stat(key)

    async def test_pieces_are_not_promoted(self, incoming: Incoming, originals: Storage) -> None:
        upload = await appended(incoming, announced(Method.TUS), PICTURE[:300], PICTURE[300:])
        opened, key = await incoming.open(upload), f"{upload.tenant}/{new_id()}/1/original"

        assert not await incoming.promote(upload, opened.stored, key, media_type="image/png", sha256="5a" * 32)
        with pytest.raises(Missing):
            await originals.stat(key)

    async def test_discarding_removes_everything_that_was_sent(self, incoming: Incoming, send: Send, method: Method) -> None:
        upload, neighbour = announced(method), announced(method)
        for each in (upload, upload, neighbour):
            await send(await incoming.offer(each, max_bytes=10**6), PICTURE)

        await incoming.discard(upload)
        await incoming.discard(upload)

        with pytest.raises(Missing):
            await incoming.open(upload)
        assert await content(incoming, neighbour) == PICTURE

    async def test_what_lies_there_is_scanned_by_key(self, incoming: Incoming, send: Send) -> None:
        tenant = TenantId(new_id())
        uploads = [announced(Method.POST, tenant=tenant, id=UploadId(new_id(n))) for n in range(3)]
        for upload in uploads:
            await send(await incoming.offer(upload, max_bytes=10**6), PICTURE)

        found = await incoming.scan(after=f"incoming/{tenant}", limit=3)
        assert [stored.key for stored in found] == [upload.key for upload in uploads]
        assert (await incoming.scan(after=uploads[0].key, limit=1))[0].key == uploads[1].key

    async def test_pieces_are_read_in_the_order_of_the_record(self, incoming: Incoming) -> None:
        upload = await appended(incoming, announced(Method.TUS), PICTURE[:5000], PICTURE[5000:5001], PICTURE[5001:])

        opened = await incoming.open(upload)
        assert (opened.stored.key, opened.stored.size_bytes) == (upload.key, len(PICTURE))
        assert await content(incoming, upload) == PICTURE
        assert await content(incoming, replace(upload, pieces=upload.pieces[1:2])) == PICTURE[5000:5001]
        assert [piece.size_bytes for piece in upload.pieces] == [5000, 1, len(PICTURE) - 5001]

    async def test_a_piece_larger_than_a_part_of_any_store_is_one_piece(self, incoming: Incoming) -> None:
        large = PICTURE * 900
        upload = announced(Method.TUS)
        piece = await incoming.append(upload, body(*(large[at : at + 70_000] for at in range(0, len(large), 70_000))))

        assert piece.size_bytes == len(large)
        assert await content(incoming, replace(upload, pieces=(piece,))) == large

    async def test_what_no_record_names_does_not_count(self, incoming: Incoming) -> None:
        upload = await appended(incoming, announced(Method.TUS), PICTURE)
        await incoming.append(upload, body(b"of a slower sender"))

        assert await content(incoming, upload) == PICTURE
        with pytest.raises(Missing):
            await incoming.open(replace(upload, pieces=()))

    async def test_a_piece_that_breaks_off_leaves_nothing(self, incoming: Incoming) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield PICTURE
            raise BadRequest

        upload = announced(Method.TUS)
        with pytest.raises(BadRequest):
            await incoming.append(upload, broken())
        assert [stored.key for stored in await incoming.scan() if stored.key.startswith(upload.key)] == []

    async def test_dropped_pieces_are_gone_and_the_others_stay(self, incoming: Incoming) -> None:
        upload = await appended(incoming, announced(Method.TUS), PICTURE, b"more")
        for _ in range(2):
            await incoming.drop(upload.pieces[1:])

        assert await content(incoming, replace(upload, pieces=upload.pieces[:1])) == PICTURE
        with pytest.raises(Missing):
            await content(incoming, upload)

    async def test_discarding_removes_every_piece_named_or_not(self, incoming: Incoming) -> None:
        upload, neighbour = [await appended(incoming, announced(Method.TUS), PICTURE, b"more") for _ in range(2)]
        await incoming.append(upload, body(b"of a slower sender"))

        await incoming.discard(upload)

        assert [stored.key for stored in await incoming.scan() if stored.key.startswith(upload.key)] == []
        assert await content(incoming, neighbour) == PICTURE + b"more"

    async def test_a_foreign_bucket_has_none_of_our_keys(self, incoming: Incoming) -> None:
        assert incoming.key_of("somebody-elses", f"incoming/{new_id()}/{new_id()}") is None
