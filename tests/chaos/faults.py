"""The fault-maker: a plan that follows from the seed, and what each fault does to an installation.

Kinds are dealt like cards, so that every kind comes before one comes again; now and then two at once.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO

import httpx
from PIL import Image
from tests.acceptance.conftest import until
from tests.chaos.installation import LARGEST_SKEW_S, Api, Embedded, Installation, Part, Worker, skewed
from tests.chaos.ledger import Ledger
from tests.pictures import jpeg
from tests.servers.cuttable import Line


@dataclass(frozen=True)
class Fault:
    """What happens to which part, when, and for how long."""

    kind: str
    target: str
    at_s: float
    for_s: float
    number: int

    @property
    def stops_api(self) -> bool:
        """Whether a client may see a connection break, or wait, without that being anybody's fault."""
        return self.target.startswith("api") and self.kind in ("kill", "freeze", "restart", "terminate", "child", "skew")


LASTS_S = {"kill": (0.0, 2.0), "freeze": (0.5, 4.0), "restart": (0.0, 0.5), "terminate": (0.0, 0.5), "child": (0.0, 0.0), "skew": (0.0, 0.5), "full": (1.0, 5.0), "corrupt": (0.0, 0.0),
           "cut": (0.5, 4.0), "dead line": (0.5, 4.0), "no answers": (0.5, 3.0)}  # fmt: skip
RESTS_S = 2.0
"""Between two faults of one part: on a slow machine it would never be up else."""
LINES = {"cut": Line.CUT, "dead line": Line.DEAD, "no answers": Line.NO_ANSWERS}


def planned(deck: list[tuple[str, str]], seed: str, minutes: float) -> list[Fault]:
    """All faults of a run, by the time at which they begin."""
    rng = random.Random(f"{seed}/faults")
    faults: list[Fault] = []
    at_s, end_s, hand = 3.0, minutes * 60 - 2.0, list[tuple[str, str]]()
    while at_s < end_s:
        for _ in range(2 if rng.random() < 0.2 else 1):
            if not hand:
                hand = rng.sample(deck, len(deck))
            kind, target = hand.pop()
            if any(fault.at_s == at_s and fault.target == target for fault in faults):
                continue  # not twice the same part at once
            faults.append(Fault(kind, target, at_s, round(rng.uniform(*LASTS_S[kind]), 2), len(faults)))
        at_s = round(at_s + rng.uniform(2.0, 5.0), 2)
    return faults


@dataclass
class FaultMaker:
    """Carries a plan out, late where the machine is."""

    installation: Installation
    ledger: Ledger
    seed: str
    faults: list[Fault]
    _threads: list[threading.Thread] = field(default_factory=list)
    crash: BaseException | None = None

    def run(self, began: float, ends: float) -> None:
        """Until the last fault is over; none begins after the end, however late the machine has made the others."""
        busy: dict[str, threading.Thread] = {}
        for fault in self.faults:
            time.sleep(max(0.0, began + fault.at_s - time.monotonic()))
            if fault.target in busy:
                busy[fault.target].join()
                time.sleep(RESTS_S)
            if time.monotonic() > ends:
                break
            thread = threading.Thread(target=self._make, args=(fault,), daemon=True)
            busy[fault.target] = thread
            thread.start()
        for thread in busy.values():
            thread.join()

    def _make(self, fault: Fault) -> None:
        words = {"fault": fault.kind, "target": fault.target, "number": fault.number, "stops_api": fault.stops_api}
        self.ledger.note("fault began", **words)
        try:
            told = getattr(self, f"_{fault.kind.replace(' ', '_')}")(fault)
        except BaseException as error:  # told by the driver: a fault that cannot be made is none
            self.crash = error
            raise
        self.ledger.note("fault ended", **words, told=told)

    def _kill(self, fault: Fault) -> None:
        part = self.installation.parts[fault.target]
        part.kill()
        time.sleep(fault.for_s)
        _started(part)

    def _restart(self, fault: Fault) -> None:
        part = self.installation.parts[fault.target]
        part.stop()
        time.sleep(fault.for_s)
        _started(part)

    def _terminate(self, fault: Fault) -> None:
        api = self.installation.parts[fault.target]
        assert isinstance(api, Api)
        api.terminate()
        time.sleep(fault.for_s)
        _started(api)

    def _freeze(self, fault: Fault) -> None:
        part = self.installation.parts[fault.target]
        part.pause()
        time.sleep(fault.for_s)
        part.resume()

    def _skew(self, fault: Fault) -> str:
        """Another clock from now on, before or behind the others."""
        part, by_s = (
            self.installation.parts[fault.target],
            random.Random(f"{self.seed}/{fault.number}").randint(-LARGEST_SKEW_S, LARGEST_SKEW_S),
        )
        assert isinstance(part, Api | Worker)
        part.stop()
        part.environment |= skewed(by_s)
        _started(part)
        return f"{by_s:+d} s"

    def _child(self, fault: Fault) -> str:
        api = self.installation.parts[fault.target]
        assert isinstance(api, Api)
        what = api.kill_child(random.Random(f"{self.seed}/{fault.number}"))
        until(self.installation.ready)
        return what

    def _cut(self, fault: Fault) -> None:
        line = self.installation.lines[fault.target]
        line.be(LINES[fault.kind])
        time.sleep(fault.for_s)
        line.be(Line.THROUGH)

    _dead_line = _cut
    _no_answers = _cut

    def _full(self, fault: Fault) -> None:
        assert isinstance(self.installation, Embedded)
        self.installation.fill(leaves=random.Random(f"{self.seed}/{fault.number}").randrange(0, 300_000))
        time.sleep(fault.for_s)
        self.installation.empty()

    def _corrupt(self, fault: Fault) -> str:
        """Bits flip in an original, which must be refused by its code, and in a rendition, which must be made again."""
        assert isinstance(self.installation, Embedded)
        rng, house, api = random.Random(f"{self.seed}/{fault.number}"), self.installation.houses[0], self.installation.apis[0]
        data = jpeg(90, 70, seed=int.from_bytes(hashlib.sha256(f"{self.seed}/{fault.number}".encode()).digest()[:4], "big"))
        with httpx.Client(base_url=api.url, timeout=60, headers={"authorization": f"Bearer {house.token}"}) as client:

            def ask(method: str, path: str, fits: Callable[[httpx.Response], bool], **options) -> httpx.Response:
                def once() -> httpx.Response | None:
                    try:
                        answer = client.request(method, path, **options)
                    except httpx.HTTPError:
                        return None  # another fault at the same time
                    return answer if fits(answer) else None

                return until(once)

            digest = hashlib.sha256(data).hexdigest()
            n = self.ledger.sent(
                "corrupter",
                "upload",
                tenant=house.tenant,
                to=api.url,
                upload=digest,
                sha256=digest,
                policy=house.policy,
                write="",
                attempts=50,
            )
            record = ask("POST", "/images", lambda answer: answer.is_success, files={"file": data}).json()
            self.ledger.told(n, 201, {"id": record["id"]})
            record = ask(
                "GET", f"/images/{record['id']}", lambda answer: answer.is_success and answer.json()["status"] == "ready"
            ).json()
            original = f"/images/{record['id']}/original"
            with _flipped(self.installation.blob(f"/{record['id']}/1/original"), rng):
                definite = lambda answer: answer.is_success or answer.json()["code"] == "damaged_object"
                refused = ask("GET", original, definite)
                if refused.is_success:
                    self.ledger.note(
                        "wrong", what="a damaged original was delivered", image=record["id"], is_same=refused.content == data
                    )
            healed = ask("GET", original, lambda answer: answer.is_success)
            if healed.content != data:
                self.ledger.note("wrong", what="an original with other bytes", image=record["id"])
            rendition = rng.choice(record["renditions"])
            end = f"/{record['id']}/1/{rendition['preset']}.{rendition['url'].split('?')[0].rsplit('.', 1)[1]}"
            with _flipped(self.installation.blob(end), rng):
                shown = ask("GET", rendition["url"], lambda answer: answer.status_code < 500)
                try:
                    assert shown.status_code == 200
                    picture = Image.open(BytesIO(shown.content))
                    picture.load()
                    assert picture.size == (rendition["width"], rendition["height"])
                except Exception as error:
                    self.ledger.note(
                        "wrong",
                        what="a damaged rendition was not made again",
                        image=record["id"],
                        status=shown.status_code,
                        error=repr(error),
                    )
        return record["id"]


def _started(part: Part) -> None:
    """Like an orchestrator: again and again, since what it needs may be away at the same time."""

    deadline = time.monotonic() + 600
    while True:
        try:
            part.start(within_s=180.0) if isinstance(part, Api) else part.start()
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


class _flipped:
    """Some bits of a file, flipped while the block lasts."""

    def __init__(self, path, rng: random.Random) -> None:
        assert path is not None, "the object has no blob"
        self.path, self.rng = path, rng

    def __enter__(self) -> None:
        self.was = self.path.read_bytes()
        data = bytearray(self.was)
        for _ in range(3):
            data[self.rng.randrange(len(data) // 4, len(data))] ^= 1 << self.rng.randrange(8)
        assert data != self.was
        self._write(bytes(data))

    def __exit__(self, *_: object) -> None:
        if self.path.exists():  # a rendition that was made again is another file
            self._write(self.was)

    def _write(self, data: bytes) -> None:
        with self.path.open("r+b") as file:
            file.write(data)
