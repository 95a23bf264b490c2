"""A page that watches: the steps of a real photograph, told by a real server, resumed after a break, and heard by nobody else."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, Queue

import httpx
import pytest
from tests.photographs import photographs

PATIENCE_S = 60.0
PHOTOGRAPH = photographs("small")[0].read_bytes()
STEPS = [
    ("image.accepted", None),
    ("step.started", "develop"),
    ("image.ready", None),
    ("step.done", "develop"),
    ("step.started", "index"),
    ("step.done", "index"),
]


@dataclass(frozen=True)
class Event:
    id: int
    name: str
    data: dict


@dataclass
class EventSource:
    """What a browser's EventSource hears (WHATWG HTML, section 9.2.6), read by a thread until it is closed or the stream ends."""

    client: httpx.Client
    path: str
    last_id: str = ""
    heard: Queue = field(default_factory=Queue)
    comments: int = 0
    retry_ms: int = 0
    status: int = 0
    answer: httpx.Response | None = None
    _opened: threading.Event = field(default_factory=threading.Event)
    _ended: threading.Event = field(default_factory=threading.Event)

    def open(self) -> EventSource:
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        assert self._opened.wait(PATIENCE_S)
        return self

    def _read(self) -> None:
        headers = {"accept": "text/event-stream"} | ({"last-event-id": self.last_id} if self.last_id else {})
        try:
            with self.client.stream("GET", self.path, headers=headers, timeout=PATIENCE_S) as self.answer:
                self.status = self.answer.status_code
                fields: dict[str, str] = {}
                for line in self.answer.iter_lines():
                    self._opened.set()
                    name, _, value = line.partition(": ")
                    if not line and "event" in fields:
                        self.last_id = fields["id"]
                        self.heard.put(Event(int(fields["id"]), fields["event"], json.loads(fields["data"])))
                    if not line:
                        fields = {}
                    elif line.startswith(":"):
                        self.comments += 1
                    elif name == "retry":
                        self.retry_ms = int(value)
                    else:
                        fields[name] = value
        except (httpx.HTTPError, httpx.StreamError, OSError):
            pass
        finally:
            self._opened.set()
            self._ended.set()

    def until(self, name: str, step: str | None = None, image: str = "") -> list[Event]:
        """What is heard up to this one, of the image if one is named."""
        events: list[Event] = []
        while not events or (events[-1].name, events[-1].data.get("step")) != (name, step):
            try:
                event = self.heard.get(timeout=PATIENCE_S)
                events += [event] if image in ("", event.data["image"]) else []
            except Empty:
                raise AssertionError(f"{name} {step} was not told; heard {events}") from None
        return events

    def ends(self) -> bool:
        return self._ended.wait(PATIENCE_S)


@contextmanager
def stranger(client: httpx.Client, url: str) -> Iterator[httpx.Client]:
    user = client.post("/admin/users", json={"name": f"stranger-{time.time_ns()}", "role": "user"}).json()
    key = client.post("/admin/api-keys", json={"user": user["id"], "name": "k", "scopes": ["read", "write"]}).json()
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {key['token']}"}, timeout=PATIENCE_S) as other:
        yield other


def told(events: list[Event]) -> list[tuple[str, str | None]]:
    return [(event.name, event.data.get("step")) for event in events]


def test_a_watcher_hears_each_step_of_a_photograph_and_resumes_without_a_gap(server, client):
    with stranger(client, server.url) as other:
        everything, theirs = EventSource(client, "/events").open(), EventSource(other, "/events").open()
        assert (everything.status, theirs.status) == (200, 200)
        record = client.post("/images", files={"file": PHOTOGRAPH}, headers={"prefer": "respond-async"}).json()
        path = f"/images/{record['id']}/events"
        one = EventSource(client, path).open()
        events = one.until("step.done", "index")
        mine = everything.until("step.done", "index", image=record["id"])

        assert told(events) == STEPS
        assert told(mine) == STEPS
        assert one.retry_ms > 0
        assert one.answer.headers["content-type"].startswith("text/event-stream")
        assert len({event.id for event in events}) == len(events)

        # A connection that breaks after any event goes on behind it, elsewhere or here.
        for number, event in enumerate(events[:-1]):
            again = EventSource(client, path, last_id=str(event.id)).open()
            assert [e.id for e in again.until("step.done", "index")] == [e.id for e in events[number + 1 :]]

        client.patch(f"/images/{record['id']}", json={"title": "Seen"}, headers={"content-type": "application/merge-patch+json"})
        resumed = EventSource(client, path, last_id=str(events[-1].id)).open()
        later = resumed.until("step.done", "index")
        assert told(later) == [("image.edited", None), ("step.started", "index"), ("step.done", "index")]

        # Nobody else has heard a word, nor may ask.
        own = other.post("/images", files={"file": PHOTOGRAPH}).json()
        overheard = theirs.until("step.done", "index")
        assert {event.data["image"] for event in overheard} == {own["id"]}
        for refused in (path, f"/images/{record['id']}/history"):
            assert (other.get(refused).status_code, other.get(refused).json()["code"]) == (404, "not_found")

        history = client.get(f"/images/{record['id']}/history").json()["runs"]
        assert [(run["flow"], run["state"]) for run in history] == [("index", "done"), ("develop", "done")]
        assert [(step["name"], step["state"], step["tries"]) for step in history[1]["steps"]] == [
            ("develop", "done", 1),
            ("index", "done", 1),
        ]
        assert all(step["duration_s"] >= 0 for run in history for step in run["steps"])

        client.delete(f"/images/{record['id']}")
        client.delete(f"/images/{record['id']}", params={"purge": True})
        resumed.until("image.purged")
        assert resumed.ends()


def test_streams_end_when_the_server_drains_and_go_on_in_the_next(new_server):
    # Long enough for a test to fail that would have to wait for it.
    new_server.environment = {"SAFELIGHT_SERVER__DRAIN_S": "300"}
    new_server.start()
    with new_server.client() as client:
        record = client.post("/images", files={"file": PHOTOGRAPH}).json()
        stream = EventSource(client, f"/images/{record['id']}/events").open()
        events = stream.until("step.done", "index")

        assert new_server.stop(within_s=120) == 0
        assert stream.ends()
    new_server.start()
    with new_server.client() as client:
        again = EventSource(client, f"/images/{record['id']}/events", last_id=str(events[0].id)).open()
        assert [e.id for e in again.until("step.done", "index")] == [e.id for e in events[1:]]


def test_a_user_has_so_many_streams_and_the_next_is_refused_until_one_is_closed(new_server):
    new_server.environment = {"SAFELIGHT_PROGRESS__STREAMS_PER_USER": "2", "SAFELIGHT_PROGRESS__STREAMS": "3"}
    new_server.start()
    with new_server.client() as client, stranger(client, new_server.url) as other:
        with client.stream("GET", "/events"), client.stream("GET", "/events"):
            refused = client.get("/events")
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
            assert "retry-after" in refused.headers
            with other.stream("GET", "/events"):
                full = other.get("/events")
                assert (full.status_code, full.json()["code"]) == (503, "busy")
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with client.stream("GET", "/events") as answer:
                if answer.status_code == 200:
                    break
            time.sleep(0.1)
        assert answer.status_code == 200


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "9" * 41, "\u0661", ""])
def test_a_place_that_is_none_is_refused_or_is_no_place(server, client, given):
    answered = {}
    for headers, params in (({"last-event-id": given.encode()}, {}), ({}, {"after": given})):
        with client.stream("GET", "/events", headers=headers, params=params) as answer:
            answered[bool(params)] = answer.status_code

    assert set(answered.values()) == ({200} if not given else {400})
