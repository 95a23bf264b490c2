"""Installations that deliver presets and nothing else."""

from __future__ import annotations

from tests.pictures import jpeg

IMGPROXY = {"imgproxy": {"presets": "small=rs:fit:50:50,sharp=preset:small/sh:0.5"}}
ONLY = {"delivery": {"presets_only": True}, **IMGPROXY}


async def signed(app, image, *transforms, grammar="native"):
    return await app.client.post(f"/images/{image['id']}/urls", json={"transforms": list(transforms), "grammar": grammar})


async def test_a_good_signature_does_not_help_what_is_no_preset(run):
    async with run(IMGPROXY) as app:
        image = (await app.client.post("/images", files={"file": jpeg()})).json()
        public = (await app.client.post("/images", files={"file": jpeg(seed=1)}, data={"visibility": "public"})).json()
        await app.client.put("/admin/presets/card", json={"options": "w=80,h=60,fit=cover"})
        for grammar in ("imgproxy", "thumbor"):
            await app.client.post("/admin/signing-keys", json={"grammar": grammar})
        native = (await signed(app, image, "w=100.webp", "card.webp", "card@1.jpg")).json()["urls"]
        wanted = ("rs:fit:50:50@webp", "pr:small@webp", "pr:sharp/q:10@webp", "@webp")
        imgproxy = (await signed(app, image, *wanted, grammar="imgproxy")).json()["urls"]
        thumbor = (await signed(app, image, "50x50", grammar="thumbor")).json()["urls"]
        manifest = f"/iiif/3/{public['id']}/info.json"
        assert (await app.client.get(manifest)).status_code == 200
        for url in (*native, *imgproxy, *thumbor):
            assert (await app.client.get(url)).status_code == 200, url

    async with run(ONLY) as app:
        # Neither does it tell whether there is such an image.
        nobody = native[0].replace(image["id"], "0" * 26)
        for url in (native[0], nobody, imgproxy[0], imgproxy[2], imgproxy[3], thumbor[0]):
            refused = await app.client.get(url)
            assert (refused.status_code, refused.json()["code"]) == (403, "presets_only"), url
        for url in (native[1], native[2], imgproxy[1], f"/i/{public['id']}/medium.webp", f"/i/{public['id']}/card.avif"):
            assert (await app.client.get(url)).status_code == 200, url
        assert (await app.client.get(manifest)).status_code == 404
        assert (await app.client.get(native[1].replace("card", "medium"))).json()["code"] == "bad_signature"


async def test_nothing_else_is_signed_either(run):
    async with run(ONLY) as app:
        image = (await app.client.post("/images", files={"file": jpeg()})).json()
        await app.client.put("/admin/presets/card", json={"options": "w=80,h=60,fit=cover"})
        refused = await signed(app, image, "card.webp", "w=100.webp")

        assert (refused.status_code, refused.json()["code"]) == (403, "presets_only")
        assert (await signed(app, image, "card.webp", "card@1.avif")).status_code == 200


async def test_an_imgproxy_default_preset_needs_no_name_in_the_url(run):
    settings = {"delivery": {"presets_only": True}, "imgproxy": {"presets": "default=rs:fit:50:50"}}
    async with run(settings) as app:
        image = (await app.client.post("/images", files={"file": jpeg()})).json()
        await app.client.post("/admin/signing-keys", json={"grammar": "imgproxy"})
        (url,) = (await signed(app, image, "@webp", grammar="imgproxy")).json()["urls"]

        assert (await app.client.get(url)).status_code == 200
        assert (await signed(app, image, "w:60@webp", grammar="imgproxy")).json()["code"] == "presets_only"
