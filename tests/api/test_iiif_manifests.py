"""Presentation 3 manifests: of an image and of an album, and never more than who asks may see."""

from __future__ import annotations

from dataclasses import replace

from tests.api.test_iiif import Stranger, kinds, uploaded

from safelight.adapters.storage.memory import MemoryStorage
from safelight.domain.ids import TenantId, new_id


async def album_of(app, *images: str, title: str = "Journey") -> str:
    id = (await app.client.post("/albums", json={"title": title, "description": "To the sea"})).json()["id"]
    if images:
        assert (await app.client.post(f"/albums/{id}/images", json={"images": list(images)})).status_code == 200
    return id


def shown(answer) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [canvas["id"].split("/")[-2] for canvas in answer.json()["items"]]


async def test_an_images_manifest_has_one_canvas_that_its_image_service_fills(run):
    async with run(**kinds()) as app:
        rights = "http://rightsstatements.org/vocab/InC/1.0/"
        id = await uploaded(app, title="A <b>cat</b>", description="<i>Asleep</i>", custom={"rights": rights})
        answer = await Stranger(app).get(f"/iiif/images/{id}/manifest.json")
        document = answer.json()
        (canvas,) = document["items"]
        painting = canvas["items"][0]["items"][0]

        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert document["@context"] == "http://iiif.io/api/presentation/3/context.json"
        assert (document["id"], document["type"]) == (f"http://test/iiif/images/{id}/manifest.json", "Manifest")
        assert document["label"] == {"none": ["A <b>cat</b>"]}
        assert document["summary"] == {"none": [" <i>Asleep</i>"]}, "never taken for HTML"
        assert document["rights"] == canvas["rights"] == rights
        assert (canvas["width"], canvas["height"]) == (900, 600)
        assert (painting["motivation"], painting["target"]) == ("painting", canvas["id"])
        assert painting["body"]["service"] == [{"id": f"http://test/iiif/3/{id}", "type": "ImageService3", "profile": "level2"}]
        for picture in (painting["body"], canvas["thumbnail"][0]):
            made = await Stranger(app).get(picture["id"].removeprefix("http://test"))
            assert made.status_code == 200
        assert (canvas["thumbnail"][0]["width"], canvas["thumbnail"][0]["height"]) == (450, 300)

        linked = await app.client.get(f"/iiif/images/{id}/manifest.json", headers={"accept": "application/ld+json"})
        assert linked.headers["content-type"] == 'application/ld+json;profile="http://iiif.io/api/presentation/3/context.json"'


async def test_a_private_images_manifest_is_its_readers(run):
    async with run(**kinds()) as app:
        id = await uploaded(app, visibility="private")
        assert (await Stranger(app).get(f"/iiif/images/{id}/manifest.json")).status_code == 404
        mine = await app.client.get(f"/iiif/images/{id}/manifest.json")
        assert shown(mine) == [id]
        assert mine.headers["cache-control"].startswith("private")


async def test_an_album_shows_strangers_its_public_images_and_nothing_of_itself(run):
    async with run(**kinds()) as app:
        public, unlisted, private = [
            await uploaded(app, visibility=each, size=(60, 40)) for each in ("public", "unlisted", "private")
        ]
        id = await album_of(app, private, public, unlisted)
        path = f"/iiif/albums/{id}/manifest.json"
        mine, theirs = await app.client.get(path), await Stranger(app).get(path)

        assert shown(mine) == [private, public, unlisted], "in the album's order"
        assert mine.json()["label"] == {"none": ["Journey"]}
        assert mine.json()["summary"] == {"none": ["To the sea"]}
        assert mine.headers["cache-control"].startswith("private")
        assert shown(theirs) == [public]
        assert "Journey" not in theirs.text
        assert "sea" not in theirs.text
        assert theirs.headers["vary"] == "Accept, Authorization, X-API-Key"
        assert theirs.json()["id"] == f"http://test{path}"


async def test_an_album_of_public_images_is_told_with_its_words(run):
    async with run(**kinds()) as app:
        images = [await uploaded(app, size=(60 + n, 40)) for n in range(3)]
        id = await album_of(app, *images)
        theirs = await Stranger(app).get(f"/iiif/albums/{id}/manifest.json")

        assert shown(theirs) == images
        assert theirs.json()["label"] == {"none": ["Journey"]}
        assert theirs.headers["cache-control"].startswith("public")


async def test_an_album_without_public_images_is_not_there_for_strangers(run):
    async with run(**kinds()) as app:
        private = await uploaded(app, visibility="private", size=(60, 40))
        trashed = await uploaded(app, size=(61, 40))
        full, empty = await album_of(app, private, trashed), await album_of(app)
        assert (await app.client.delete(f"/images/{trashed}")).is_success
        for id in (full, empty, "0" * 26, "x", "%2e%2e"):
            answer = await Stranger(app).get(f"/iiif/albums/{id}/manifest.json")
            assert answer.status_code == 404, id
        assert shown(await app.client.get(f"/iiif/albums/{full}/manifest.json")) == [private]
        assert shown(await app.client.get(f"/iiif/albums/{empty}/manifest.json")) == []


async def test_an_album_of_many_pages_is_shown_whole(run):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        image = await uploaded(app, size=(60, 40))
        id = await album_of(app, image)
        service = app.safelight.albums
        actor = await app.safelight.accounts.authenticate(app.token)

        from safelight.domain.ids import ImageId, new_id

        async with app.safelight.catalog.tenant(actor.tenant, writes=True) as records:
            first = await records.images.get(ImageId(image))
            more = [replace(first, id=ImageId(new_id()), sha256=f"{n:064x}") for n in range(230)]
            for each in more:
                await records.images.add(each)
            await records.albums.insert(id, [each.id for each in more])

        assert len((await service.shown(None, id)).images) == 231
        assert shown(await Stranger(app).get(f"/iiif/albums/{id}/manifest.json"))[-1] == more[-1].id


async def test_a_suspended_tenants_albums_and_images_are_told_to_nobody(run):
    async with run(**kinds()) as app:
        id = await album_of(app, image := await uploaded(app, size=(60, 40)))
        async with app.safelight.catalog.directory(writes=True) as directory:
            (tenant,) = await directory.tenants()
            await directory.save_tenant(replace(tenant, suspended_at=tenant.created_at, revision=tenant.revision + 1))
        app.safelight.delivery.forget_rings()  # which it would do by itself in two seconds
        for path in (f"/iiif/albums/{id}/manifest.json", f"/iiif/images/{image}/manifest.json", f"/iiif/3/{image}/info.json"):
            answer = await Stranger(app).get(path)
            assert (answer.status_code, answer.json()["code"]) == (403, "tenant_suspended"), path


async def test_at_another_tenants_host_name_an_album_is_not_there(run):
    async with run({"server": {"public_url": "https://images.example"}}, **kinds()) as app:
        id = await album_of(app, await uploaded(app, size=(60, 40)))
        async with app.safelight.catalog.directory(writes=True) as directory:
            (tenant,) = await directory.tenants()
            await directory.save_tenant(replace(tenant, domains=("own.example",), revision=tenant.revision + 1))
            await directory.add_tenant(
                replace(tenant, id=TenantId(new_id()), name="other", domains=("other.example",), revision=1)
            )
        app.safelight.standing.hosts.clear()
        for host, status in (("images.example", 200), ("own.example", 200), ("other.example", 404)):
            answer = await Stranger(app).get(f"/iiif/albums/{id}/manifest.json", host=host)
            assert answer.status_code == status, host


async def test_what_is_told_counts_for_the_tenant_whose_it_is(run):
    async with run(**kinds()) as app:
        id = await album_of(app, image := await uploaded(app, size=(60, 40)))
        async with app.safelight.catalog.directory() as directory:
            (tenant,) = await directory.tenants()
        meter = app.safelight.meter
        await meter.flush()
        for path in (f"/iiif/albums/{id}/manifest.json", f"/iiif/images/{image}/manifest.json", f"/iiif/3/{image}/info.json"):
            assert (await Stranger(app).get(path)).status_code == 200
        await meter.flush()
        async with app.safelight.catalog.ledger() as ledger:
            assert (await ledger.usage(tenant.id, meter._month)).counts.deliveries == 3
