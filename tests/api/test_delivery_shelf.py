"""Delivery looks on this machine's disk before it asks the store, and a spoilt disk costs nothing but time."""

from __future__ import annotations

import asyncio
import shutil

from tests.golden.samples import encoded, scene


async def test_a_restarted_server_finds_its_renditions_on_the_disk(run, tmp_path):
    settings = {"delivery": {"disk_path": tmp_path / "shelf", "memory_bytes": 0}}

    async with run(settings) as app:
        made = (await app.client.post("/images", files={"file": ("a.jpg", encoded(scene(), "JPEG"))})).json()
        urls = (await app.client.post(f"/images/{made['id']}/urls", json={"transforms": ["w=90.webp"]})).json()["urls"]
        preset = next(rendition["url"] for rendition in made["renditions"] if rendition["preset"] == "thumb_150")
        first = [(await app.client.get(url)).content for url in (*urls, preset)]

        async def sources() -> set[str]:
            lines = (await app.client.get("/metrics")).text.splitlines()
            return {
                line.split('"')[1]
                for line in lines
                if line.startswith("safelight_deliveries_total") and not line.endswith(" 0.0")
            }

        assert await sources() == {"rendered", "store"}
        again = [(await app.client.get(url)).content for url in (*urls, preset)]
        assert await sources() == {"rendered", "store", "disk"}
        assert again == first

        for kept in (tmp_path / "shelf").rglob("*.webp"):
            kept.write_bytes(b"spoilt")
        assert [(await app.client.get(url)).content for url in (*urls, preset)] == first
        shutil.rmtree(tmp_path / "shelf")
        assert [(await app.client.get(url)).content for url in (*urls, preset)] == first


async def test_a_purged_image_leaves_nothing_on_the_disk(run, tmp_path):
    async with run({"delivery": {"disk_path": tmp_path / "shelf"}}) as app:
        made = (await app.client.post("/images", files={"file": ("a.jpg", encoded(scene(), "JPEG"))})).json()
        await app.client.get(made["renditions"][0]["url"])
        folder = (
            tmp_path
            / "shelf"
            / next(path.name for path in (tmp_path / "shelf").iterdir() if path.name != ".writing")
            / made["id"]
        )
        assert list(folder.iterdir())
        payload = {"tenant": folder.parent.name, "image": made["id"]}
        await app.safelight.workflows.start("purge", "purge-test", payload)
        for _ in range(600):
            if not folder.exists():
                break
            await asyncio.sleep(0.05)
        assert not folder.exists()
