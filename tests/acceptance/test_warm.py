"""Renditions of many images are made ahead, by the command, and by whoever is there after a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.acceptance.conftest import Server, until
from tests.pictures import jpeg

IMAGES = 24


def safelight(server: Server, *arguments: str) -> tuple[int, str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SAFELIGHT_")}
    environment |= {"SAFELIGHT_URL": server.url, "SAFELIGHT_API_KEY": server.api_key}
    command = [sys.executable, "-m", "safelight", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_warming_goes_on_after_a_kill_and_misses_nothing(new_server):
    new_server.start()
    with new_server.client() as client:
        images = [
            client.post("/images", files={"file": jpeg(seed=900 + n)}, data={"tags": "sea"}).json()["id"] for n in range(IMAGES)
        ]
    code, out = safelight(new_server, "warm", "--tag", "sea", "w=90.webp", "w=80,h=80,fit=cover.jpg", "--detach", "--json")
    assert code == 0, out
    begun = json.loads(out)
    assert begun["images"] == IMAGES
    with new_server.client() as client:
        until(lambda: client.get(f"/warm/{begun['id']}").json()["images_done"] > 0)
    new_server.kill()
    new_server.start()

    with new_server.client() as client:
        after = until(lambda: (found := client.get(f"/warm/{begun['id']}").json())["state"] == "done" and found)
        assert (after["images_done"], after["failed"], after["made"] + after["present"]) == (IMAGES, 0, 2 * IMAGES)
        for image in images:
            (url,) = client.post(f"/images/{image}/urls", json={"transforms": ["w=90.webp"]}).json()["urls"]
            assert client.get(url).headers["server-timing"].startswith("store")

    code, out = safelight(new_server, "warm", "--tag", "sea", "w=90.webp", "w=90.jpg", "--json")
    assert code == 0, out
    again = json.loads(out[out.index("{") : out.rindex("}") + 1])
    assert (again["state"], again["made"], again["present"]) == ("done", IMAGES, IMAGES)
    for arguments, words in (
        (("--tag", "sea", "w=0.webp"), "width"),
        (("--tag", "sea"), "Which transforms"),
        (("w=10.webp",), "Of which images"),
        (("--tag", "sea", "--image", images[0], "w=10.webp"), "Of which images"),
    ):
        code, out = safelight(new_server, "warm", *arguments)
        assert code in (1, 2)
        assert words in out
        assert "Traceback" not in out
