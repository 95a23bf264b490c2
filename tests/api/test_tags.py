"""Tags in use: what a user tags with is theirs to know, as their images are."""

from __future__ import annotations

from tests.pictures import jpeg


async def test_a_user_is_told_of_their_own_tags_and_an_admin_of_all(run):
    async with run() as app:
        user = (await app.client.post("/admin/users", json={"name": "ann", "role": "user"})).json()
        key = (
            await app.client.post("/admin/api-keys", json={"user": user["id"], "name": "k", "scopes": ["read", "write"]})
        ).json()
        as_ann = {"authorization": f"Bearer {key['token']}"}
        for seed, tags, headers in ((1, "sea,divorce", {}), (2, "sea,summer", as_ann)):
            made = await app.client.post("/images", files={"file": jpeg(seed=seed)}, data={"tags": tags}, headers=headers)
            assert made.status_code == 201, made.text

        async def told(headers: dict[str, str], **query: str) -> dict[str, int]:
            answer = await app.client.get("/tags", params=query, headers=headers)
            return {one["tag"]: one["count"] for one in answer.json()}

        assert await told({}) == {"sea": 2, "divorce": 1, "summer": 1}
        assert await told(as_ann) == {"sea": 1, "summer": 1}
        assert await told(as_ann, prefix="d") == {}
