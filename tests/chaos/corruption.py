"""The fault `corrupt`: bits of what is stored flip, below everything that would tell.

An original has to be refused by its code and given out again once it is whole; a rendition has to be made again. A second original
stays damaged to the end, when the audit wants `scrub` to find that one and nothing else.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import httpx
from PIL import Image
from tests.acceptance.conftest import until
from tests.chaos.installation import Blob, Installation
from tests.chaos.ledger import Ledger
from tests.chaos.load import sha256
from tests.pictures import jpeg

PATIENCE_S = 300.0
"""Other faults happen at the same time."""


class Corrupter:
    """A client of the first tenant with pictures of its own, who can reach below the store."""

    def __init__(self, installation: Installation, ledger: Ledger, rng: random.Random) -> None:
        self.installation = installation
        self.ledger = ledger
        self.rng = rng
        self.house, self.api = installation.houses[0], installation.apis[0]
        self.http = httpx.Client(base_url=self.api.url, timeout=60, headers={"authorization": f"Bearer {self.house.token}"})

    def __enter__(self) -> Corrupter:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def run(self) -> str:
        """The images that were damaged, of which the second stays so."""
        for_a_while, for_good = self._upload(), self._upload()
        self._damage_original(*for_a_while)
        self._damage_rendition(for_a_while[0])
        self._damage_for_good(for_good[0])
        return f"{for_a_while[0]['id']} {for_good[0]['id']}"

    def _upload(self) -> tuple[dict[str, Any], bytes]:
        data = jpeg(90, 70, seed=self.rng.getrandbits(32))
        words = {"upload": sha256(data), "sha256": sha256(data), "policy": self.house.policy, "write": "", "attempts": 50}
        n = self.ledger.sent("corrupter", "upload", tenant=self.house.tenant, to=self.api.url, **words)
        id = self._ask("POST", "/images", _is_success, files={"file": data}).json()["id"]
        self.ledger.told(n, 201, {"id": id})
        return self._ask("GET", f"/images/{id}", lambda told: told.is_success and told.json()["status"] == "ready").json(), data

    def _damage_original(self, record: dict[str, Any], data: bytes) -> None:
        path = f"/images/{record['id']}/original"
        with self._flipped(f"/{record['id']}/1/original"):
            told = self._ask("GET", path, lambda told: told.is_success or told.json()["code"] == "damaged_object")
            if told.is_success:
                self._wrong("a damaged original was delivered", record, is_same=told.content == data)
        if self._ask("GET", path, _is_success).content != data:
            self._wrong("an original with other bytes", record)

    def _damage_rendition(self, record: dict[str, Any]) -> None:
        rendition = self.rng.choice(record["renditions"])
        suffix = rendition["url"].split("?")[0].rsplit(".", 1)[1]
        with self._flipped(f"/{record['id']}/1/{rendition['preset']}.{suffix}"):
            shown = self._ask("GET", rendition["url"], lambda told: told.status_code < 500)
            try:
                assert shown.status_code == 200
                picture = Image.open(BytesIO(shown.content))
                picture.load()
                assert picture.size == (rendition["width"], rendition["height"])
            except Exception as error:
                self._wrong("a damaged rendition was not made again", record, status=shown.status_code, error=repr(error))

    def _damage_for_good(self, record: dict[str, Any]) -> None:
        blob = self._blob(f"/{record['id']}/1/original")
        self.ledger.note("damaged", image=record["id"])
        blob.write(self._with_flips(blob.read()))

    @contextlib.contextmanager
    def _flipped(self, key_end: str) -> Iterator[None]:
        """Some bits of an object, while the block lasts."""
        blob = self._blob(key_end)
        sound = blob.read()
        blob.write(self._with_flips(sound))
        try:
            yield
        finally:
            blob.write(sound)

    def _blob(self, key_end: str) -> Blob:
        blob = self.installation.blob(key_end)
        assert blob is not None, f"nothing is stored under {key_end}"
        return blob

    def _with_flips(self, data: bytes) -> bytes:
        flipped = bytearray(data)
        for at in self.rng.sample(range(len(data) // 4, len(data)), 3):
            flipped[at] ^= 1 << self.rng.randrange(8)
        return bytes(flipped)

    def _ask(self, method: str, path: str, fits: Callable[[httpx.Response], bool], **options: Any) -> httpx.Response:
        """Until the answer is one that counts."""

        def once() -> httpx.Response | None:
            try:
                told = self.http.request(method, path, **options)
            except httpx.HTTPError:
                return None
            return told if fits(told) else None

        return until(once, within_s=PATIENCE_S)

    def _wrong(self, what: str, record: dict[str, Any], **words: Any) -> None:
        self.ledger.note("wrong", what=what, image=record["id"], **words)


def _is_success(told: httpx.Response) -> bool:
    return told.is_success
