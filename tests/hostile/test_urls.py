"""No URL of any grammar is ever a 5xx: random and mutated ones, by a seed that a failure names. `make fuzz-urls` tries many more."""

from __future__ import annotations

import base64
import os
import random
from urllib.parse import unquote

import httpx
from tests.pictures import jpeg

from safelight import signing
from safelight.adapters.storage.memory import MemoryStorage
from safelight.api.app import Front
from safelight.imaging.transform.imgproxy import TABLE
from safelight.imaging.transform.options import OPTIONS
from safelight.imaging.transform.thumbor import FILTERS
from safelight.settings import Settings
from safelight.signing import imgproxy, thumbor
from safelight.wiring import build

COUNT = int(os.environ.get("FUZZ_URLS", "2000"))
SEED = int(os.environ.get("FUZZ_SEED", "20"))
KEY, SALT = b"k" * 32, b"s" * 32
ODD = (
    "",
    "0",
    "-1",
    "1",
    "2",
    "7",
    "13",
    "40",
    "0.25",
    "1.5",
    "99999",
    "8193",
    "1e9",
    "nan",
    "f00",
    "true",
    "no",
    "sm",
    "fp",
    "fill",
    "webp",
    "%00",
    "%ff",
    "é",
    "☃",
    "..",
    "a" * 300,
)
BYTES = "/:=,.@?#%&+-_~!*'()[]{}<>|\\\"^` \t\x00\x7f\xe9\u2603az019"


def mutated(dice: random.Random, text: str) -> str:
    for _ in range(dice.choice((0, 0, 1, 1, 2, 5))):
        at = dice.randrange(len(text) + 1)
        match dice.randrange(4):
            case 0:
                text = text[:at] + dice.choice(BYTES) + text[at:]
            case 1:
                text = text[:at] + text[at + dice.randrange(1, 4) :]
            case 2:
                text = text[:at] + text[max(0, at - dice.randrange(12)) :]
            case 3:
                text = text[:at] + dice.choice(ODD) + text[at:]
    return text


def native(dice: random.Random, id: str) -> str:
    options = [
        dice.choice((option.example.split(",")[0], f"{dice.choice((option.name, option.short))}={dice.choice(ODD)}"))
        for option in dice.choices(OPTIONS, k=dice.randrange(1, 5))
    ]
    return f"{id}/{','.join(options)}.{dice.choice(('webp', 'jpg', 'png', 'gif', 'auto', 'avif', 'exe'))}"


def an_imgproxy(dice: random.Random, id: str) -> str:
    parts = []
    for option in dice.choices(TABLE, k=dice.randrange(6)):
        arguments = [dice.choice(ODD) for _ in range(dice.randrange(1, 5))]
        example = option.example if option.example and dice.random() < 0.6 else ":".join((dice.choice(option.names), *arguments))
        parts.append(example)
    encoded = base64.urlsafe_b64encode(f"safelight://{id}".encode()).decode().rstrip("=")
    source = dice.choice((f"plain/{id}@webp", f"plain/safelight://{id}@png", f"{encoded}.jpg", f"plain/{id}", "plain/http://a/b"))
    return "/" + "/".join((*parts, source))


def a_thumbor(dice: random.Random, id: str) -> str:
    parts = [
        dice.choice(
            (
                "trim",
                "trim:9",
                "2x3:20x12",
                "fit-in",
                "full-fit-in",
                "adaptive-fit-in",
                "30x20",
                "-9x0",
                "origx5",
                "left",
                "top",
                "smart",
                "99999x1",
            )
        )
        for _ in range(dice.randrange(4))
    ]
    if dice.random() < 0.6:
        chosen = dice.choices(list(FILTERS.items()), k=dice.randrange(1, 4))
        parts.append("filters:" + ":".join(f.example or f"{name}({dice.choice(ODD)})" for name, f in chosen))
    return "/".join((*parts, dice.choice((id, f"safelight://{id}", "http://a/b"))))


def an_iiif(dice: random.Random, id: str) -> str:
    numbers = ("0", "1", "7", "12", "20", "40", "41", "100", "999999999", "0.5", "-1", "", "1e9", "nan")

    def some(count: int) -> str:
        return ",".join(dice.choice(numbers) for _ in range(count))

    region = dice.choice(("full", "square", some(4), f"pct:{some(4)}", "0,0,20,20", "pct:10,10,50,50", dice.choice(ODD)))
    size = dice.choice(
        ("max", "full", some(2), f"!{some(2)}", f"pct:{some(1)}", "20,", ",12", "!20,20", "10,10", dice.choice(ODD))
    )
    rotation = dice.choice(("0", "90", "!0", "!270", "45", "360", dice.choice(ODD)))
    file = f"{dice.choice(('default', 'color', 'gray', 'bitonal', 'native'))}.{dice.choice(('jpg', 'png', 'webp', 'tif', 'exe'))}"
    rest = dice.choice((f"{region}/{dice.choice(('', '', '^'))}{size}/{rotation}/{file}",) * 9 + ("info.json",))
    if dice.random() < 0.05:
        return f"{dice.choice(('albums', 'images'))}/{id}/manifest.json"
    return f"{dice.choice('2233334x')}/{id}/{rest}"


async def test_no_url_is_a_server_error(tmp_path):
    dice = random.Random(SEED)
    safelight = build(Settings(data_dir=tmp_path / "data"), originals=MemoryStorage(), renditions=MemoryStorage())
    safelight.settings.spool_path.mkdir(parents=True)
    await safelight.catalog.migrate()
    await safelight.catalog.open()
    token = await safelight.accounts.bootstrap(lambda _: None)
    await safelight.catalog.close()
    front = Front(safelight)
    seen: dict[int, int] = {}
    transport = httpx.ASGITransport(front, raise_app_exceptions=False)
    headers = {"authorization": f"Bearer {token}"}
    async with (
        front.api.router.lifespan_context(front.api),
        httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers, timeout=60) as client,
    ):
        keys = (
            {"grammar": "imgproxy", "secret": KEY.hex(), "salt": SALT.hex()},
            {"grammar": "thumbor", "secret": KEY.decode()},
        )
        for body in keys:
            assert (await client.post("/admin/signing-keys", json=body)).status_code == 201
        image = (await client.post("/images", files={"file": jpeg(40, 24)})).json()["id"]
        await client.patch(f"/images/{image}", json={"visibility": "unlisted"})
        signer = await safelight.delivery.signer((await safelight.accounts.authenticate(token)).tenant)

        async def ask(path: str, query: str = "") -> None:
            """Straight to the application: a client library would mend or refuse half of these."""
            status = 0

            async def send(message):
                nonlocal status
                status = message.get("status", status)

            raw = path.encode()
            scope = {
                "type": "http",
                "method": "GET",
                "path": unquote(path),
                "raw_path": raw,
                "query_string": query.encode(),
                "headers": [
                    (b"host", dice.choice((b"a.example", b"", b"<x>"))),
                    (b"accept", dice.choice((b"image/avif", b"image/webp", b"*/*", b"\xff"))),
                ],
            }
            await front(scope, None, send)
            seen[status] = seen.get(status, 0) + 1
            assert 200 <= status < 500, (SEED, path, query)

        for number in range(COUNT):
            is_mutated_later = dice.random() < 0.2
            match number % 4:
                case 0:
                    path = "/i/" + mutated(dice, native(dice, image))
                    if dice.random() < 0.7:
                        key = signer.key
                        query = signing.signed(key.secret, unquote(path), kid=key.kid, exp=signer.exp).rpartition("?")[2]
                    else:
                        query = mutated(dice, "v=1&kid=a&exp=1&sig=b")
                    await ask(mutated(dice, path) if is_mutated_later else path, query)
                case 1:
                    path = mutated(dice, an_imgproxy(dice, image))
                    signature = imgproxy.sign(KEY, SALT, path)
                    await ask(
                        "/imgproxy/" + mutated(dice, signature + path) if is_mutated_later else f"/imgproxy/{signature}{path}"
                    )
                case 2:
                    path = mutated(dice, a_thumbor(dice, image))
                    signature = thumbor.sign(KEY, path)
                    await ask(
                        "/thumbor/" + mutated(dice, f"{signature}/{path}") if is_mutated_later else f"/thumbor/{signature}/{path}"
                    )
                case 3:
                    await ask("/iiif/" + mutated(dice, an_iiif(dice, image)), dice.choice(("", "", "", "a=b")))

    assert {200, 400, 403, 404} <= seen.keys(), "the generator has lost its bite"
    assert seen[200] > COUNT / 20
