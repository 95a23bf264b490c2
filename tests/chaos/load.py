"""The load: clients of all kinds, each with pictures of its own, who do one thing after the other and write down what they were told.

What a client does next follows from the seed and from what it has; a request that was not answered, or with a 5xx, is sent again,
as a careful client does, until the answer is definite. A thing of which it cannot know the state any more is left alone from then on.
"""

from __future__ import annotations

import hashlib
import io
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import requests
from PIL import Image
from tests.chaos.ledger import Ledger
from tests.pictures import jpeg
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

PATIENCE_S = 75.0
"""A client hangs up after this, and the audit calls it a hang."""
INSISTS_S = 45.0
"""For so long a client sends again what it does not know the outcome of."""
BROKEN_CODES = ("corrupt_image", "unsupported_format", "empty_file", "decode_budget_exceeded")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def word_of(number: int) -> str:
    """A word that is like no other one: the search forgives typing errors."""
    return "qz" + hashlib.sha256(str(number).encode()).hexdigest()[:12].translate(str.maketrans("0123456789", "ghijklmnop"))


class Gallery(ThreadingHTTPServer):
    """A web server with pictures to import."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Shown)
        self.pictures: dict[str, bytes] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def show(self, data: bytes) -> str:
        path = f"/{sha256(data)}.jpg"
        self.pictures[path] = data
        return f"http://127.0.0.1:{self.port}{path}"

    def handle_error(self, *_: object) -> None:
        """Whoever asked is dead."""


class _Shown(BaseHTTPRequestHandler):
    server: Gallery

    def do_GET(self) -> None:
        data = self.server.pictures.get(self.path)
        self.send_response(200 if data else 404)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, *_: object) -> None:
        """Quiet."""


@dataclass
class House:
    """A tenant with its policy for bytes that are there already, and where it is served."""

    tenant: str
    policy: str
    token: str
    urls: Callable[[], list[str]]


@dataclass
class Mine:
    """A picture of a client's, as far as it knows."""

    id: str
    data: bytes
    is_trashed: bool = False
    is_ready: bool = False
    etag: str = ""
    renditions: list[dict[str, Any]] = field(default_factory=list)


class Client(threading.Thread):
    """One that does all there is to do."""

    rest_s = 0.04
    """The longest that it rests between two things."""

    def __init__(self, name: str, house: House, ledger: Ledger, gallery: Gallery, seed: str, is_over: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self.house = house
        self.ledger = ledger
        self.gallery = gallery
        self.rng = random.Random(f"{seed}/{name}")
        self.seeds = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "big") << 16
        self.is_over = is_over
        self.http = httpx.Client(timeout=PATIENCE_S)
        self.mine: list[Mine] = []
        self.albums: list[str] = []
        self.crash: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.is_over.is_set():
                getattr(self, f"_{self.next()}")()
                time.sleep(self.rng.uniform(0.0, self.rest_s))
        except BaseException as error:  # told by the driver, which would otherwise take silence for peace
            self.crash = error
            raise
        finally:
            self.http.close()

    def next(self) -> str:
        """What it does next, of `KINDS`."""
        return self.rng.choices(list(KINDS), list(KINDS.values()))[0]

    # Sending

    def call(self, op: str, method: str, path: str, words: dict[str, Any] | None = None, **options: Any) -> httpx.Response | None:
        """One request, written down before and after; None: no answer."""
        url = path if "://" in path else self.rng.choice(self.house.urls()) + path
        if "://" not in path:
            options["headers"] = {"authorization": f"Bearer {self.house.token}"} | options.get("headers", {})
        n = self.ledger.sent(self.name, op, tenant=self.house.tenant, to=url.split("?")[0], **(words or {}))
        try:
            answer = self.http.request(method, url, **options)
        except httpx.ConnectError as error:
            self.ledger.told(n, 0, {"why": repr(error)})  # nobody was there: it was never sent
            time.sleep(0.2)
            return None
        except httpx.HTTPError as error:
            self.ledger.lost(n, repr(error))
            time.sleep(0.1)
            return None
        self.ledger.told(n, answer.status_code, _kept(answer))
        return answer

    def insist(
        self, op: str, method: str, path: str, words: dict[str, Any] | None = None, **options: Any
    ) -> httpx.Response | None:
        """The same until the answer is definite; None when it never was."""
        until = time.monotonic() + INSISTS_S
        while True:
            answer = self.call(op, method, path, words, **options)
            if answer is not None and answer.status_code < 500:
                return answer
            if time.monotonic() > until or (self.is_over.is_set() and time.monotonic() > until - INSISTS_S / 2):
                return None
            time.sleep(min(2.0, float(answer.headers.get("retry-after", 0.2))) if answer is not None else 0.2)

    def wrong(self, what: str, **words: Any) -> None:
        self.ledger.note("wrong", client=self.name, what=what, **words)

    # Pictures come in

    def picture(self) -> bytes:
        self.seeds += 1
        return jpeg(self.rng.randrange(48, 160), self.rng.randrange(48, 120), seed=self.seeds)

    def _words(self, data: bytes) -> dict[str, Any]:
        self.seeds += 1
        return {"upload": self.seeds, "sha256": sha256(data), "policy": self.house.policy, "write": word_of(self.seeds)}

    def _prefer(self) -> dict[str, str]:
        return {"prefer": "respond-async"} if self.rng.random() < 0.5 else {}

    def _multipart(self) -> None:
        data = self.picture()
        self._send_form(data, self._words(data))

    def _again(self) -> None:
        """Bytes that are here already."""
        if mine := self._some(lambda one: not one.is_trashed and one.is_ready):
            self._send_form(mine.data, self._words(mine.data) | {"is_again": True})

    def _broken(self) -> None:
        """A file that cannot be developed: cut in the middle, or no picture at all."""
        data = self.picture()
        data = data[: len(data) // 2] if self.rng.random() < 0.6 else b"no picture " + str(self.seeds).encode()
        answer = self.insist(
            "upload",
            "POST",
            "/images",
            self._words(data) | {"is_broken": True},
            files={"file": ("x.jpg", data)},
            headers=self._prefer(),
        )
        # A duplicate is the one before, which has come although its answer was lost, and is about to be rejected.
        if answer is not None and answer.status_code not in (202, 409, 415, 422):
            self.wrong("a broken file was not refused", status=answer.status_code)

    def _send_form(self, data: bytes, words: dict[str, Any]) -> None:
        form = {"title": f"Chaos {words['write']}", "tags": words["write"], "custom": f'{{"write": "{words["write"]}"}}'}
        answer = self.insist(
            "upload", "POST", "/images", words, files={"file": ("sea.jpg", data)}, data=form, headers=self._prefer()
        )
        self._adopt(answer, data)

    def _presigned(self) -> None:
        data = self.picture()
        words = self._words(data)
        body = {
            "filename": "sea.jpg",
            "content_type": "image/jpeg",
            "size": len(data),
            "method": self.rng.choice(["post", "put"]),
        }
        answer = self.insist("announce", "POST", "/uploads", None, json=body | self._said(words))
        if answer is None or not answer.is_success:
            return
        offer = answer.json()
        op = "to store" if any(offer["url"].startswith(url) for url in self.house.urls()) else "to s3"
        until = time.monotonic() + INSISTS_S
        while True:
            if offer["method"] == "POST":
                sent = self.call(op, "POST", offer["url"], data=offer["fields"], files={"file": ("x", data)})
            else:
                sent = self.call(op, "PUT", offer["url"], content=data, headers=offer["headers"])
            # 403 and 409: what was sent before has arrived, and the offer is used up
            if sent is not None and (sent.is_success or sent.status_code in (403, 409, 410)):
                break
            if time.monotonic() > until:
                self._give_up(words)
                return
            time.sleep(0.3)
        path = f"/uploads/{offer['id']}/complete"
        while (
            answer := self.insist("upload", "POST", path, words | {"upload_id": offer["id"]}, headers=self._prefer())
        ) is not None:
            if answer.status_code != 409 or answer.json()["code"] != "not_arrived" or time.monotonic() > until:
                break
            time.sleep(0.3)  # another server is just taking it in
        self._adopt(answer, data)

    def _give_up(self, words: dict[str, Any]) -> None:
        """Its bytes may have arrived all the same, and become an image."""
        self.ledger.lost(self.ledger.sent(self.name, "upload", tenant=self.house.tenant, **words, is_given_up=True), "given up")

    def _said(self, words: dict[str, Any]) -> dict[str, Any]:
        return {"title": f"Chaos {words['write']}", "tags": [words["write"]], "custom": {"write": words["write"]}}

    def _tus(self) -> None:
        """tuspy as it is; when it gives up, it asks how far the file has come and goes on."""
        data = self.picture()
        words = self._words(data)
        said = {
            "filename": "sea.jpg",
            "title": f"Chaos {words['write']}",
            "tags": words["write"],
            "custom": f'{{"write": "{words["write"]}"}}',
        }
        until, uploader = time.monotonic() + INSISTS_S, None
        chunk = max(1, len(data) // self.rng.choice([1, 2, 3]))
        while True:
            base = self.rng.choice(self.house.urls())
            step = "create" if uploader is None or not uploader.url else "send"
            n = self.ledger.sent(self.name, f"tus {step}", tenant=self.house.tenant, to=base)
            try:
                if uploader is None:
                    tus = TusClient(f"{base}/tus/", headers={"authorization": f"Bearer {self.house.token}"})
                    uploader = tus.uploader(file_stream=io.BytesIO(data), chunk_size=chunk, metadata=said, retries=0)
                    uploader.set_url(uploader.create_url())
                    uploader.offset = 0
                elif uploader.offset < len(data):
                    uploader.upload_chunk()
                self.ledger.told(n, 200)
                if step == "send" and uploader.offset >= len(data):
                    break
                continue
            except TusCommunicationError as error:
                if error.status_code:
                    problem = _problem(error.response_content or b"")
                    self.ledger.told(
                        n,
                        error.status_code,
                        {"code": problem.get("code", ""), "is_problem": bool(problem), "retry_after": "unseen"},
                    )
                else:
                    self.ledger.lost(n, repr(error))
            except requests.ConnectionError as error:
                if "Failed to establish" in str(error):
                    self.ledger.told(n, 0, {"why": "nobody was there"})
                else:
                    self.ledger.lost(n, repr(error))
            except requests.RequestException as error:
                self.ledger.lost(n, repr(error))
            if time.monotonic() > until:
                self._give_up(words)
                return
            time.sleep(0.3)
            if uploader is not None and uploader.url:
                path = uploader.url.split("/tus/")[1]
                uploader.set_url(f"{self.rng.choice(self.house.urls())}/tus/{path}")
                found = self.insist("tus head", "HEAD", f"/tus/{path}", headers={"tus-resumable": "1.0.0"})
                if found is None or "upload-offset" not in found.headers:
                    break  # taken in already: its record tells
                uploader.offset = int(found.headers["upload-offset"])
                if uploader.offset >= len(data):
                    break
            else:
                uploader = None
        upload = uploader.url.rsplit("/", 1)[1]
        while True:
            path = f"/uploads/{upload}/complete"
            answer = self.insist("upload", "POST", path, words | {"upload_id": upload}, headers=self._prefer())
            if answer is None or answer.status_code != 409 or answer.json()["code"] != "not_arrived" or time.monotonic() > until:
                break
            time.sleep(0.3)
        self._adopt(answer, data)

    def _import(self) -> None:
        data = self.picture()
        words = self._words(data)
        body = {"url": self.gallery.show(data)} | self._said(words)
        answer = self.insist("upload", "POST", "/imports", words | {"is_import": True}, json=body, headers=self._prefer())
        if answer is not None and answer.status_code == 202:
            upload, until = answer.json()["id"], time.monotonic() + INSISTS_S
            while time.monotonic() < until and not self.is_over.is_set():
                told = self.insist("read", "GET", f"/imports/{upload}")
                if told is None or not told.is_success:
                    return None
                record = told.json()
                if record["state"] == "accepted":
                    self._know(record["image_id"], data)
                    return None
                if record["state"] != "pending":
                    # A fetch is tried for a minute; the gallery has never been away so long.
                    return self.wrong("an import ended badly", upload=upload, record=record)
                time.sleep(0.2)
        elif answer is not None:
            self._adopt(answer, data)

    def _adopt(self, answer: httpx.Response | None, data: bytes) -> None:
        if answer is not None and answer.is_success:
            self._know(answer.json()["id"], data, answer.json())
        elif answer is not None and answer.status_code == 409 and "duplicate_of" in answer.json():
            self._know(answer.json()["duplicate_of"], data)

    def _know(self, id: str, data: bytes, record: dict[str, Any] | None = None) -> None:
        mine = next((one for one in self.mine if one.id == id), None)
        if mine is None:
            self.mine.append(mine := Mine(id, data))
        if record is not None:
            self._learn(mine, record)

    def _learn(self, mine: Mine, record: dict[str, Any]) -> None:
        mine.etag, mine.is_ready, mine.renditions = record["etag"], record["status"] == "ready", record["renditions"]

    def _some(self, fits: Callable[[Mine], bool]) -> Mine | None:
        fitting = [one for one in self.mine if fits(one)]
        return self.rng.choice(fitting) if fitting else None

    # What is done with them. Edits and replacements have a condition, so that one that comes late cannot undo a later one.

    def _edit(self) -> None:
        mine = self._some(lambda one: not one.is_trashed and bool(one.etag))
        if mine is None:
            return None
        self.seeds += 1
        write = word_of(self.seeds)
        patch = {"title": f"Chaos {write}", "tags": [write], "custom": {"write": write}}
        for _ in range(8):
            headers = {"if-match": mine.etag, "content-type": "application/merge-patch+json"}
            answer = self.insist(
                "edit",
                "PATCH",
                f"/images/{mine.id}",
                {"image": mine.id, "write": write, "if_match": mine.etag},
                json=patch,
                headers=headers,
            )
            if answer is None:
                return self._leave(mine)
            if answer.is_success:
                return self._learn(mine, answer.json())
            # Developing it has changed the record as well; or it was ours, and the answer was lost.
            record = self._get_record(mine)
            if answer.status_code != 412 or record is None or record["custom"].get("write") == write:
                return None

    def _replace(self) -> None:
        mine = self._some(lambda one: not one.is_trashed and one.is_ready)
        if mine is None:
            return None
        data = self.picture()
        words = {"image": mine.id, "sha256": sha256(data), "if_match": mine.etag}
        answer = self.insist(
            "replace",
            "PUT",
            f"/images/{mine.id}/original",
            words,
            files={"file": ("new.jpg", data)},
            headers={"if-match": mine.etag},
        )
        if answer is None:
            return self._leave(mine)
        if answer.is_success:
            mine.data = data
            return self._learn(mine, answer.json())
        record = self._get_record(mine)
        if record is not None and record["sha256"] == sha256(data):
            mine.data = data

    def _trash(self) -> None:
        if mine := self._some(lambda one: not one.is_trashed and one.is_ready):
            self._move(mine, "trash", "DELETE", f"/images/{mine.id}", is_trashed=True)

    def _restore(self) -> None:
        if mine := self._some(lambda one: one.is_trashed):
            self._move(mine, "restore", "POST", f"/images/{mine.id}/restore", is_trashed=False)

    def _purge(self) -> None:
        if mine := self._some(lambda one: one.is_trashed):
            self.mine.remove(mine)
            self.insist("purge", "DELETE", f"/images/{mine.id}?purge=true", {"image": mine.id})

    def _move(self, mine: Mine, op: str, method: str, path: str, *, is_trashed: bool) -> None:
        """No condition here: one that was not answered may come late, so that the image is left alone after it."""
        first = self.call(op, method, path, {"image": mine.id})
        if first is None or first.status_code >= 500:
            self._leave(mine)
            self.insist(op, method, path, {"image": mine.id})
        elif first.is_success or first.status_code == 409:
            mine.is_trashed = is_trashed
            self._get_record(mine)

    def _leave(self, mine: Mine) -> None:
        if mine in self.mine:
            self.mine.remove(mine)

    # Albums

    def _album(self) -> None:
        self.seeds += 1
        answer = self.insist("album", "POST", "/albums", {"title": word_of(self.seeds)}, json={"title": word_of(self.seeds)})
        if answer is not None and answer.is_success:
            self.albums.append(answer.json()["id"])

    def _collect(self) -> None:
        mine = self._some(lambda one: not one.is_trashed)
        if mine is None or not self.albums:
            return
        album = self.rng.choice(self.albums)
        words = {"album": album, "image": mine.id}
        if self.rng.random() < 0.75:
            self.insist("collect", "POST", f"/albums/{album}/images", words, json={"images": [mine.id]})
        else:
            self.insist("uncollect", "DELETE", f"/albums/{album}/images/{mine.id}", words)

    # Looking

    def _get_record(self, mine: Mine) -> dict[str, Any] | None:
        answer = self.insist("get", "GET", f"/images/{mine.id}", {"image": mine.id})
        if answer is None:
            return None
        if not answer.is_success:
            self.wrong("an image is not there", image=mine.id, status=answer.status_code)
            return None
        self._learn(mine, answer.json())
        return answer.json()

    def _get(self) -> None:
        if mine := self._some(lambda one: True):
            self._get_record(mine)

    def _list(self) -> None:
        answer = self.call(
            "read", "GET", "/images", params={"limit": 20} | ({"trashed": True} if self.rng.random() < 0.3 else {})
        )
        if answer is not None and answer.is_success and not isinstance(answer.json()["images"], list):
            self.wrong("a list that is none")

    def _search(self) -> None:
        self.call("read", "GET", "/images/search", params={"q": "chaos", "limit": 10})

    def _tags(self) -> None:
        self.call("read", "GET", "/tags", params={"limit": 20})

    def _original(self) -> None:
        mine = self._some(lambda one: not one.is_trashed)
        if mine is None:
            return
        answer = self.call("stream", "GET", f"/images/{mine.id}/original", {"image": mine.id})
        if answer is not None and answer.is_success:
            told = answer.headers["etag"].strip('"')
            if sha256(answer.content) not in (sha256(mine.data), told) or sha256(answer.content) != told:
                self.wrong("an original with other bytes", image=mine.id)
        elif answer is not None and answer.status_code == 404:
            self.wrong("an original is not there", image=mine.id)

    def _rendition(self) -> None:
        mine = self._some(lambda one: not one.is_trashed and bool(one.renditions))
        if mine is not None:
            self._look(self.rng.choice(mine.renditions)["url"], mine.id)

    def _transform(self) -> None:
        mine = self._some(lambda one: not one.is_trashed and one.is_ready)
        if mine is None:
            return
        spec = f"w={self.rng.randrange(8, 40)},h={self.rng.randrange(8, 40)},fit=cover.{self.rng.choice(['jpg', 'webp'])}"
        answer = self.call("read", "POST", f"/images/{mine.id}/urls", {"image": mine.id}, json={"transforms": [spec]})
        if answer is not None and answer.is_success:
            self._look(answer.json()["urls"][0], mine.id)

    def _look(self, url: str, image: str) -> None:
        """A picture, whole."""
        path = "/" + url.split("://")[1].split("/", 1)[1]
        answer = self.call("stream", "GET", self.rng.choice(self.house.urls()) + path, {"image": image})
        if answer is not None and answer.is_success:
            try:
                Image.open(io.BytesIO(answer.content)).load()
            except Exception as error:
                self.wrong("a picture that does not decode", image=image, error=repr(error))


KINDS = {
    "multipart": 14, "presigned": 7, "tus": 6, "import": 6, "again": 4, "broken": 3, "edit": 18, "replace": 4, "trash": 7, "restore": 3, "purge": 4,
    "album": 2, "collect": 7, "get": 6, "list": 4, "search": 4, "tags": 2, "original": 7, "rendition": 7, "transform": 5,
}  # fmt: skip


def _problem(content: bytes) -> dict[str, Any]:
    try:
        found = httpx.Response(200, content=content).json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "code" in found else {}


def _kept(answer: httpx.Response) -> dict[str, Any]:
    """What of an answer the audit needs."""
    kept: dict[str, Any] = {}
    kind = answer.headers.get("content-type", "")
    if answer.is_error:
        kept = {"is_problem": kind == "application/problem+json", "retry_after": answer.headers.get("retry-after"), "code": ""}
        if kept["is_problem"]:
            kept["code"] = _problem(answer.content).get("code", "")  # of HEAD there is no more than the head
        else:
            kept["text"] = answer.text[:300]
    elif kind == "application/json" and isinstance(record := answer.json(), dict) and "id" in record:
        kept = {"id": record["id"]} | {
            name: record[name] for name in ("status", "version", "etag", "sha256", "state") if name in record
        }
    return kept
