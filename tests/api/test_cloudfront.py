"""Where CloudFront stands before the buckets, records lead there, by signatures that the public key bears out."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from tests.pictures import jpeg

from safelight.adapters.storage.memory import MemoryStorage
from safelight.errors import BadField
from safelight.settings import Settings
from safelight.wiring import build

PEM = Path(__file__).parents[1] / "unit" / "signing" / "throwaway-rsa.pem"
CLOUDFRONT = {
    "renditions_url": "https://d1.cloudfront.net/",
    "originals_url": "https://d2.cloudfront.net",
    "key_pair_id": "K2JCJMDEHXQW5F",
    "private_key_file": PEM,
}
SETTINGS = {"storage": {"url": "s3://bucket/team"}, "cloudfront": CLOUDFRONT}


def opened(signature: str, policy: str) -> None:
    public = serialization.load_pem_private_key(PEM.read_bytes(), None).public_key()
    data = base64.b64decode(signature.replace("-", "+").replace("_", "=").replace("~", "/"))
    public.verify(data, policy.encode(), padding.PKCS1v15(), hashes.SHA256())


def bearing(url: str) -> str:
    """The address, when its signature is good for it."""
    address, _, query = url.partition("?")
    said = dict(parse_qsl(query, strict_parsing=True))
    policy = {"Statement": [{"Resource": address, "Condition": {"DateLessThan": {"AWS:EpochTime": int(said["Expires"])}}}]}
    opened(said["Signature"], json.dumps(policy, separators=(",", ":")))
    assert (said["Key-Pair-Id"], said["Hash-Algorithm"]) == ("K2JCJMDEHXQW5F", "SHA256")
    return address


async def test_records_lead_to_the_stored_renditions(run):
    renditions = MemoryStorage()
    async with run(SETTINGS, originals=MemoryStorage(), renditions=renditions) as app:
        record = (await app.client.post("/images", files={"file": jpeg()})).json()

        for rendition in record["renditions"]:
            key = bearing(rendition["url"]).removeprefix("https://d1.cloudfront.net/team/")
            assert await renditions.get(key)


async def test_the_original_is_for_who_may_have_it(run):
    originals = MemoryStorage()
    async with run(SETTINGS, originals=originals, renditions=MemoryStorage()) as app:
        data = jpeg()
        id = (await app.client.post("/images", files={"file": data}, data={"visibility": "public"})).json()["id"]
        mine = (await app.client.get(f"/images/{id}/cloudfront")).json()
        key = bearing(mine["original"]).removeprefix("https://d2.cloudfront.net/team/")
        assert await originals.get(key) == data
        assert len(mine["renditions"]) == 12

        other = (await app.client.post("/admin/users", json={"name": "other", "role": "user"})).json()["id"]
        made = await app.client.post("/admin/api-keys", json={"user": other, "name": "k", "scopes": ["read"]})
        theirs = await app.client.get(f"/images/{id}/cloudfront", headers={"authorization": f"Bearer {made.json()['token']}"})
        assert (theirs.json()["original"], len(theirs.json()["renditions"])) == (None, 12)
        refused = await app.client.post("/admin/cloudfront-cookies", headers={"authorization": f"Bearer {made.json()['token']}"})
        assert refused.json()["code"] == "forbidden"


async def test_cookies_open_the_tenant_s_renditions(run):
    async with run(SETTINGS, originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        record = (await app.client.post("/images", files={"file": jpeg()})).json()
        made = (await app.client.post("/admin/cloudfront-cookies")).json()
        policy = base64.b64decode(
            made["cookies"]["CloudFront-Policy"].replace("-", "+").replace("_", "=").replace("~", "/")
        ).decode()

        opened(made["cookies"]["CloudFront-Signature"], policy)
        assert json.loads(policy)["Statement"][0]["Resource"] == made["resource"]
        assert record["renditions"][0]["url"].startswith(made["resource"].removesuffix("*"))


async def test_only_originals_may_be_behind_it(run):
    settings = SETTINGS | {"cloudfront": CLOUDFRONT | {"renditions_url": ""}}
    async with run(settings, originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        record = (await app.client.post("/images", files={"file": jpeg()})).json()
        assert urlsplit(record["renditions"][0]["url"]).netloc == "test"
        assert (await app.client.get(f"/images/{record['id']}/cloudfront")).json()["renditions"] == []
        assert (await app.client.post("/admin/cloudfront-cookies")).json()["code"] == "wrong_state"


async def test_without_one_the_answer_is_a_plain_refusal(run):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        id = (await app.client.post("/images", files={"file": jpeg()})).json()["id"]

        for answer in (await app.client.get(f"/images/{id}/cloudfront"), await app.client.post("/admin/cloudfront-cookies")):
            assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")


@pytest.mark.parametrize(
    ("changed", "named"),
    (
        ({"storage": {}}, "SAFELIGHT_STORAGE__URL"),
        ({"cloudfront": CLOUDFRONT | {"private_key_file": None}}, "SAFELIGHT_CLOUDFRONT__PRIVATE_KEY_FILE"),
        ({"cloudfront": CLOUDFRONT | {"private_key_file": Path("/nowhere.pem")}}, "SAFELIGHT_CLOUDFRONT__PRIVATE_KEY_FILE"),
        ({"cloudfront": CLOUDFRONT | {"key_pair_id": ""}}, "SAFELIGHT_CLOUDFRONT__PRIVATE_KEY_FILE"),
    ),
)
def test_half_a_setting_stops_the_start_and_is_named(tmp_path, changed, named):
    with pytest.raises(BadField) as caught:
        build(Settings(data_dir=tmp_path, **(SETTINGS | changed)), originals=MemoryStorage(), renditions=MemoryStorage())

    assert caught.value.extra["field"] == named


@pytest.mark.parametrize(
    ("grammar", "texts", "native"),
    (
        ("imgproxy", ["rs:fill:90:60:1/g:no@webp", "/rs:fill:90:60:1/g:no@webp/"], "w=90,h=60,fit=cover,g=north.webp"),
        ("thumbor", ["90x60/top/filters:format(webp)", "/90x60/top/filters:format(webp)/"], "w=90,h=60,fit=cover,g=north.webp"),
    ),
)
async def test_urls_are_built_in_other_grammars(run, grammar, texts, native):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage()) as app:
        id = (await app.client.post("/images", files={"file": jpeg()})).json()["id"]
        asked = {"transforms": texts, "grammar": grammar}
        assert (await app.client.post(f"/images/{id}/urls", json=asked)).json()["code"] == "wrong_state"
        await app.client.post("/admin/signing-keys", json={"grammar": grammar})

        made = (await app.client.post(f"/images/{id}/urls", json=asked)).json()["urls"]
        made += (await app.client.post(f"/images/{id}/urls", json={"transforms": [native]})).json()["urls"]
        answers = [await app.client.get(url) for url in made]
        assert [answer.status_code for answer in answers] == [200] * 3, answers[0].text
        assert len({answer.headers["etag"] for answer in answers}) == 1
        wrong = await app.client.post(f"/images/{id}/urls", json=asked | {"transforms": ["mystery:1/filters:mystery()"]})
        assert wrong.json()["code"] == "bad_option"
