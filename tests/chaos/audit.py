"""The audit: what the ledger says should be, held against what is found when everything is up again. Pure, so that it can be lied to.

A request that was acknowledged has happened. One that was not answered, or with a 5xx, may have happened or not. So every image is in
one of a set of states, its words are those of one of a set of writes, and what is found has to be among them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.ledger import Book, Op
from tests.chaos.load import BROKEN_CODES

REQUEST_S = 45.0
"""A call to a store or database ends within the seconds of its settings, an upload waits 3 for its renditions; the rest is a busy
machine's. Time in which the server itself was frozen or being started comes on top."""
DAMAGED = "http 503 damaged_object"
GRACE_S = 3.0
"""After an API's fault is over: what broke with it is told a moment later."""

MOVES = {"trash": "trashed", "restore": "alive", "purge": "gone"}
EXPECTED: dict[str, set[int]] = {
    "upload": {409, 404, 410, 415, 422},
    "announce": set(),
    "to store": {400, 403, 404, 409, 410},
    "to s3": set(range(400, 500)),
    "tus create": set(),
    "tus send": {404, 409, 410, 423},
    "tus head": {404, 410},
    "edit": {412},
    "replace": {409, 412},
    "trash": {409},
    "restore": {409},
    "purge": {404},
    "album": set(),
    "collect": set(),
    "uncollect": set(),
    "get": set(),
    "read": set(),
    "stream": {404},
}
"""Refusals that a careful client may meet, beside 503; whether they are justified is judged below."""


@dataclass
class Found:
    """What there is, asked from outside."""

    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Records by id, of every tenant, in and outside the trash; with `tenant`."""
    originals: dict[tuple[str, int], str] = field(default_factory=dict)
    """What the bytes that are handed out hash to, by image and version; `http 503 busy` where none are."""
    versions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    albums: dict[str, list[str]] = field(default_factory=dict)
    uploads: dict[str, dict[str, Any]] = field(default_factory=dict)
    found_by: dict[str, list[str]] = field(default_factory=dict)
    """Ids that the search has for a word."""
    failures: list[dict[str, Any]] = field(default_factory=list)
    """Dead letters, as they were found first."""
    failures_left: list[dict[str, Any]] = field(default_factory=list)
    """And after they were tried again."""
    unsettled: dict[str, Any] = field(default_factory=dict)
    """What `reconcile --dry-run` still told after all patience, but for what crashes leave behind."""
    reconciled: dict[str, Any] = field(default_factory=dict)
    unclean: dict[str, Any] = field(default_factory=dict)
    """What it told when everything had been mended."""
    scrubbed: dict[str, Any] = field(default_factory=dict)
    """What `scrub` told then; asked only when bits have flipped."""
    rows: set[str] = field(default_factory=set)
    objects: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Broken:
    """A promise that was not kept."""

    kind: str
    """lost, came back, double, orphan, wrong bytes, words, album, search, stuck, 500, refusal, slow, unanswered"""
    what: str
    about: str = ""


def judge(book: Book, found: Found) -> list[Broken]:
    """Every broken promise; none when all is well."""
    return [
        *answers(book),
        *_images(book, found),
        *_albums(book, found),
        *_uploads(book, found),
        *_left_over(found),
        *_scrubbed(book, found),
        *(
            Broken("wrong bytes" if "bytes" in note["what"] or "damaged" in note["what"] else "lost", note["what"], str(note))
            for note in book.notes
            if note["is"] == "wrong"
        ),
    ]


# Answers


def down_times(book: Book) -> list[tuple[float, float]]:
    """When an API was killed, frozen or started."""
    began = {note["number"]: note["at"] for note in book.notes if note["is"] == "fault began" and note["stops_api"]}
    ended = {note["number"]: note["at"] for note in book.notes if note["is"] == "fault ended"}
    return [(at, ended.get(number, float("inf")) + GRACE_S) for number, at in began.items()]


def answers(book: Book) -> Iterable[Broken]:
    """Those that nobody may get: 500, a 5xx that does not say when to come back, a refusal without a reason, none, or one far too late."""
    down = down_times(book)
    for op in book.ops:
        about = f"#{op.n} {op.client} {op.op} {op.sent} -> {op.status} {op.answer}"
        stood_still = sum(max(0.0, min(op.ended, end) - max(op.began, start)) for start, end in down)
        was_down = any(op.began <= end and op.ended >= start for start, end in down)
        is_theirs = op.op == "to s3"
        if op.ended == float("inf") or op.sent.get("is_given_up"):
            continue  # the driver was killed, or the client did not ask
        if op.ended - op.began > REQUEST_S + stood_still and "attempts" not in op.sent:  # else it is several requests
            yield Broken("slow", f"{op.ended - op.began:.1f} s, {stood_still:.1f} of which a server stood still", about)
        if op.status is None:
            if not was_down and not is_theirs and op.op != "stream":
                yield Broken("unanswered", "no answer, and no server was stopped", about)
        elif op.status == 0 and not was_down:
            yield Broken("unanswered", "nobody listens, and no server was stopped", about)
        elif op.status == 500 and not is_theirs:
            yield Broken("500", "an internal error", about)
        elif op.status > 500 and not is_theirs:
            if op.status not in (502, 503, 504) or not op.answer.get("is_problem") or not op.answer.get("retry_after"):
                yield Broken("refusal", "a 5xx without a problem document and Retry-After", about)
        elif 400 <= op.status < 500 and op.status not in EXPECTED[op.op]:
            yield Broken("refusal", "nothing that the client did asks for that", about)


# Images


def _images(book: Book, found: Found) -> Iterable[Broken]:
    sent: dict[tuple[str, str], list[Op]] = defaultdict(list)
    by_image: dict[str, list[Op]] = defaultdict(list)
    acknowledged: dict[str, Op] = {}
    for op in book.ops:
        if op.op == "upload":
            sent[op.sent["tenant"], op.sent["sha256"]].append(op)
            if id := became(op, found):
                acknowledged.setdefault(id, op)
        elif op.op in MOVES or op.op in ("edit", "replace"):
            by_image[op.sent["image"]].append(op)
            if op.op == "replace":
                sent[op.sent["tenant"], op.sent["sha256"]].append(op)
    for id, op in acknowledged.items():
        yield from _image(id, op, by_image[id], found, damaged_for_good(book))
    for id, record in found.images.items():
        attempts = sent.get((record["tenant"], record["sha256"]), [])
        if not attempts:
            yield Broken("lost", "an image with bytes that nobody sent", f"{id} {record['sha256']}")
        is_broken = any(op.sent.get("is_broken") for op in attempts)
        if is_broken != (record["status"] == "rejected") or record["status"] not in ("ready", "rejected"):
            yield Broken("stuck", f"{record['status']}, {'' if is_broken else 'not '}a broken file", f"{id} {record['problem']}")
        if is_broken and (record["problem"] or {}).get("code") not in BROKEN_CODES:
            yield Broken("stuck", "rejected without a true reason", f"{id} {record['problem']}")
    yield from _doubles(sent, found)


def damaged_for_good(book: Book) -> set[str]:
    """Images whose original is not what came in, and nobody has put it right."""
    return {note["image"] for note in book.notes if note["is"] == "damaged"}


def became(op: Op, found: Found) -> str | None:
    """The image that an acknowledged upload is, if it has been told."""
    if op.op != "upload" or not op.is_acknowledged or op.sent.get("is_broken"):
        return None
    if "state" in op.answer:  # an import under way: its record tells
        return found.uploads.get(op.answer["id"], {}).get("image_id")
    return op.answer["id"]


def _doubles(sent: dict[tuple[str, str], list[Op]], found: Found) -> Iterable[Broken]:
    counted = Counter((r["tenant"], r["sha256"]) for r in found.images.values() if not r["trashed_at"] and r["status"] == "ready")
    for (tenant, digest), count in counted.items():
        attempts = sent.get((tenant, digest), [])
        policies = {op.sent["policy"] for op in attempts if op.op == "upload"}
        if not policies:
            continue  # the new bytes of one image
        allowed = sum(op.sent.get("attempts", 1) for op in attempts) if policies == {"tell"} else 1
        if count > allowed:
            yield Broken("double", f"{count} images of the same bytes, where {allowed} may be", f"{tenant} {policies} {digest}")


def _image(id: str, upload: Op, ops: Sequence[Op], found: Found, damaged: set[str]) -> Iterable[Broken]:
    states = {"alive"}
    for op in ops:
        if op.op not in MOVES:
            continue
        goal = MOVES[op.op]
        if op.is_acknowledged:
            states = {goal}
        elif op.status == 0:
            continue
        elif op.is_unknown:
            states = states | {goal}
        elif goal in states:
            states = {goal}  # refused, since it is so already
        elif op.op != "purge" or op.status == 404:
            yield Broken(
                "lost", f"{op.op} was refused with {op.status}, though it was {' or '.join(sorted(states))}", f"{id} #{op.n}"
            )
    record = found.images.get(id)
    state = "gone" if record is None else "trashed" if record["trashed_at"] else "alive"
    if state not in states:
        kind = "lost" if state == "gone" else "came back"
        yield Broken(
            kind, f"{state}, and should be {' or '.join(sorted(states))}", f"{id} {[(op.n, op.op, op.status) for op in ops]}"
        )
    if record is None:
        return
    yield from _words(id, upload, [op for op in ops if op.op == "edit"], record)
    yield from _bytes(id, upload, [op for op in ops if op.op == "replace"], record, found, damaged)
    if (
        state == "alive"
        and record["status"] == "ready"
        and (told := found.found_by.get(record["custom"].get("write", ""))) is not None
        and id not in told
    ):
        yield Broken("search", "not found by its word", f"{id} {record['custom']}")
    if state == "trashed" and id in found.found_by.get(record["custom"].get("write", ""), []):
        yield Broken("came back", "in the trash, and found by the search", id)


def revision(etag: str) -> int:
    return int(etag.strip('"'))


def _words(id: str, upload: Op, edits: Sequence[Op], record: dict[str, Any]) -> Iterable[Broken]:
    """The last acknowledged write by revision, or one whose outcome is unknown and that nothing later has overtaken."""
    write = record["custom"].get("write", "")
    if not upload.sent["write"]:
        return
    if record["title"] != f"Chaos {write}" or list(record["tags"]) != [write]:
        yield Broken(
            "words", "title, tags and values of different writes", f"{id} {record['title']} {record['tags']} {record['custom']}"
        )
    done = [op for op in edits if op.is_acknowledged]
    last = max(done, key=lambda op: revision(op.answer["etag"]), default=None)
    newest = revision(last.answer["etag"]) if last else 0
    open_ones = [op for op in edits if op.is_unknown and op.status != 0 and revision(op.sent["if_match"]) >= newest]
    allowed = {op.sent["write"] for op in open_ones} | {last.sent["write"] if last else upload.sent["write"]}
    # The same bytes sent again are another upload of the same image where the tenant reuses them: its words are those of the first.
    if (
        write not in allowed
        and not (last is None and upload.status == 200)
        and not (last is None and upload.sent["policy"] != "tell")
    ):
        yield Broken(
            "lost", f"the words of {write!r} and not of {sorted(allowed)}", f"{id} {[(op.n, op.status) for op in edits]}"
        )


def _bytes(
    id: str, upload: Op, replaced: Sequence[Op], record: dict[str, Any], found: Found, damaged: set[str]
) -> Iterable[Broken]:
    done = [op.sent["sha256"] for op in replaced if op.is_acknowledged]
    after = max((op.n for op in replaced if op.is_acknowledged), default=0)
    allowed = {done[-1] if done else upload.sent["sha256"]} | {
        op.sent["sha256"] for op in replaced if op.is_unknown and op.n > after
    }
    if record["sha256"] not in allowed:
        yield Broken("lost", "other bytes than were sent last", f"{id} {record['sha256']} and not {allowed}")
    kept = {version["sha256"] for version in found.versions.get(id, [])}
    if missing := ({upload.sent["sha256"], *done} - kept) if id in found.versions else set():
        yield Broken("lost", "a version is missing", f"{id} {missing}")
    for version in found.versions.get(id, []):
        told = found.originals.get((id, version["version"]))
        if told != (DAMAGED if id in damaged else version["sha256"]):
            yield Broken("wrong bytes", f"version {version['version']} hands out {told}", f"{id} {version['sha256']}")


# Albums, uploads, what is left over


def _albums(book: Book, found: Found) -> Iterable[Broken]:
    pairs: dict[tuple[str, str], list[Op]] = defaultdict(list)
    for op in book.ops:
        if op.op == "album" and op.is_acknowledged and op.answer["id"] not in found.albums:
            yield Broken("lost", "an album is not there", op.answer["id"])
        if op.op in ("collect", "uncollect"):
            pairs[op.sent["album"], op.sent["image"]].append(op)
    for (album, image), ops in pairs.items():
        record = found.images.get(image)
        if record is None or record["trashed_at"] or album not in found.albums:
            continue
        known = [op for op in ops if op.is_acknowledged]
        if not known or (len({op.op for op in ops}) > 1 and any(op.is_unknown for op in ops)):
            continue
        if (image in found.albums[album]) != (known[-1].op == "collect"):
            yield Broken("album", f"{known[-1].op} was acknowledged", f"{album} {image}")


def _uploads(book: Book, found: Found) -> Iterable[Broken]:
    """An import that was acknowledged, and bytes that the store or tus has taken, become an image or say why not."""
    for op in book.ops:
        if op.op == "upload" and op.is_acknowledged and op.answer.get("state"):
            upload = found.uploads.get(op.answer["id"])
            is_duplicate = upload is not None and (upload["problem"] or {}).get("code") == "duplicate"
            if upload is None or (upload["state"] != "accepted" and not is_duplicate):
                yield Broken("lost", "an import has become nothing", f"{op.answer['id']} {upload}")


def _left_over(found: Found) -> Iterable[Broken]:
    for kind, finding in found.unsettled.items():
        yield Broken("stuck", f"{finding['count']} times {kind}, and nothing mended it by itself", str(finding["first"]))
    for kind, finding in found.unclean.items():
        yield Broken("orphan", f"{finding['count']} times {kind} after the reconciler", str(finding["first"]))
    for stranger in sorted(found.objects - found.rows):
        yield Broken("orphan", "objects of an image that no row knows", stranger)
    for failure in found.failures:
        if not failure["error"]:
            yield Broken("stuck", "a dead letter without a cause", failure["id"])
    for failure in found.failures_left:
        yield Broken("stuck", "a dead letter that cannot be mended by trying again", f"{failure['id']} {failure['error']}")


def _scrubbed(book: Book, found: Found) -> Iterable[Broken]:
    """Every damage is found, and none that is none."""
    damaged = damaged_for_good(book)
    told = {kind: finding["count"] for kind, finding in found.scrubbed.items()}
    if told != ({"original_damaged": len(damaged)} if damaged else {}):
        yield Broken("wrong bytes", f"scrub tells {told}, and {len(damaged)} originals are damaged", str(found.scrubbed))
    for id in damaged:
        record = found.images.get(id)
        if record is None or (record["problem"] or {}).get("code") != "original_damaged":
            yield Broken("wrong bytes", "the record of a damaged original does not say so", f"{id} {record}")
