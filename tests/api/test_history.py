"""What has been done about an image: told by the engine while it knows, by the journal after that, and by the record at last."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.api.test_failures import MoodyStorage, dead_letters, eventually, impatient
from tests.pictures import jpeg

from safelight.adapters.storage.memory import MemoryStorage


def ended(app, image, count):
    """Asks for the runs, until there are so many and all of them have ended."""

    async def asked():
        return (await app.client.get(f"/images/{image}/history")).json()["runs"]

    return eventually(
        asked,
        lambda runs: len(runs) == count and all(run["state"] in ("done", "dead") and run["steps"] for run in runs),
    )


async def test_a_step_that_was_tried_twice_says_so(run, tmp_path):
    storage = MoodyStorage()
    async with run(originals=MemoryStorage(), renditions=storage, workflows=impatient(tmp_path, 5)) as app:
        storage.failures = 1
        image = (await app.client.post("/images", files={"file": jpeg()})).json()["id"]
        (developed,) = await ended(app, image, 1)

        assert developed["id"] == f"develop:{image}:1.1"
        assert (developed["flow"], developed["state"], developed["attempts"], developed["cause"]) == ("develop", "done", 2, None)
        steps = [(step["name"], step["state"], step["tries"], step["code"]) for step in developed["steps"]]
        assert steps == [("develop", "done", 2, None), ("index", "done", 1, None)]
        for step in developed["steps"]:
            began, over = (datetime.fromisoformat(step[name]) for name in ("started_at", "ended_at"))
            assert step["duration_s"] == (over - began).total_seconds()


async def test_a_run_that_was_given_up_tells_its_cause_by_code_and_goes_on_when_it_is_retried(run, tmp_path):
    storage = MoodyStorage()
    async with run(originals=MemoryStorage(), renditions=storage, workflows=impatient(tmp_path, 2)) as app:
        storage.failures = 10_000
        image = (await app.client.post("/images", files={"file": jpeg()})).json()["id"]
        (letter,) = await eventually(dead_letters(app), bool)
        (dead,) = await ended(app, image, 1)
        storage.failures = 0
        await app.client.post(f"/admin/failures/{letter['id']}/retry")
        runs = await eventually(lambda: _runs(app, image), lambda runs: runs[0]["state"] == "done" and len(runs[0]["steps"]) == 2)

        assert (dead["state"], dead["attempts"], dead["cause"]) == ("dead", 2, "backend_unavailable")
        assert [(s["name"], s["state"], s["code"]) for s in dead["steps"]] == [("develop", "dead", "backend_unavailable")]
        assert [(s["name"], s["tries"]) for s in runs[0]["steps"]] == [("develop", 3), ("index", 1)]
        assert (runs[0]["cause"], len(runs)) == (None, 1)


async def test_what_the_engine_has_pruned_is_told_by_the_journal_and_after_that_by_the_record(run, tmp_path):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage(), workflows=impatient(tmp_path, 1)) as app:
        image = (await app.client.post("/images", files={"file": jpeg()})).json()["id"]
        patch = {"content-type": "application/merge-patch+json"}
        await app.client.patch(f"/images/{image}", json={"title": "Marmot"}, headers=patch)
        known = await ended(app, image, 2)
        assert await app.safelight.workflows.prune(timedelta(0)) == 2
        by_journal = await _runs(app, image)

        assert [run["flow"] for run in known] == ["index", "develop"]
        assert not any(run["is_forgotten"] for run in known)
        assert all(run["is_forgotten"] for run in by_journal)
        assert [(r["id"], r["flow"], r["state"], r["steps"]) for r in by_journal] == [
            (r["id"], r["flow"], r["state"], r["steps"]) for r in known
        ]

        async with app.safelight.catalog.directory() as directory:
            (tenant,) = await directory.tenants()
        async with app.safelight.catalog.journal(tenant.id, writes=True) as journal:
            assert await journal.sweep(app.safelight.library.clock() + timedelta(days=1)) > 0
        (by_record,) = await _runs(app, image)
        record = (await app.client.get(f"/images/{image}")).json()
        assert (by_record["flow"], by_record["state"], by_record["steps"], by_record["id"]) == ("develop", "done", [], None)
        assert by_record["is_forgotten"]
        assert datetime.fromisoformat(by_record["created_at"]) == datetime.fromisoformat(record["created_at"])


async def test_a_run_that_the_journal_does_not_know_is_told_by_the_engine(run, tmp_path):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage(), workflows=impatient(tmp_path, 1)) as app:
        image = (await app.client.post("/images", files={"file": jpeg()})).json()["id"]
        await ended(app, image, 1)
        async with app.safelight.catalog.directory() as directory:
            (tenant,) = await directory.tenants()
        async with app.safelight.catalog.journal(tenant.id, writes=True) as journal:
            await journal.sweep(app.safelight.library.clock() + timedelta(days=1))

        (known,) = await _runs(app, image)
        assert (known["id"], known["is_forgotten"]) == (f"develop:{image}:1.1", False)
        assert [step["name"] for step in known["steps"]] == ["develop", "index"]


async def test_the_journal_is_swept_by_the_clock(run, tmp_path):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage(), workflows=impatient(tmp_path, 1)) as app:
        image = (await app.client.post("/images", files={"file": jpeg()})).json()["id"]
        await ended(app, image, 1)

        assert await app.safelight.progress.sweep() == 0
        assert "sweep_journal" in {name for name, _, _ in app.safelight.chores}


async def test_history_is_for_the_owner_and_admins_even_of_a_public_image(run, tmp_path):
    async with run(originals=MemoryStorage(), renditions=MemoryStorage(), workflows=impatient(tmp_path, 1)) as app:
        private = (await app.client.post("/images", files={"file": jpeg()})).json()["id"]
        public = (await app.client.post("/images", files={"file": jpeg(seed=1)}, data={"visibility": "public"})).json()["id"]
        user = (await app.client.post("/admin/users", json={"name": "eve", "role": "user"})).json()["id"]
        key = {"user": user, "name": "k", "scopes": ["read"]}
        token = (await app.client.post("/admin/api-keys", json=key)).json()["token"]
        eve = {"authorization": f"Bearer {token}"}
        answers = {
            (image, what): (await app.client.get(f"/images/{image}/{what}", headers=eve)).json()["code"]
            for image in (private, public, "nothing")
            for what in ("history", "events")
        }

        assert answers == {
            (private, "history"): "not_found",
            (private, "events"): "not_found",
            (public, "history"): "forbidden",
            (public, "events"): "forbidden",
            ("nothing", "history"): "not_found",
            ("nothing", "events"): "not_found",
        }


async def _runs(app, image):
    return (await app.client.get(f"/images/{image}/history")).json()["runs"]
