"""The auditor is lied to: every broken promise has to be called one, and a sound story none."""

from __future__ import annotations

import json
import shlex

import pytest
from tests.chaos.audit import DAMAGED, Found, judge
from tests.chaos.ledger import Book, Ledger
from tests.chaos.run import command, parser

SHA = "a" * 64
TENANT = {"tenant": "t", "to": "http://127.0.0.1:1/images"}


@pytest.fixture
def story(tmp_path):
    """Upload, edit, edit without an answer, trash, restore, collect; an image that was purged, and one whose original was damaged."""
    ledger = Ledger(tmp_path / "ledger.jsonl")

    def did(op, status, answer=None, **sent):
        number = ledger.sent("c", op, **TENANT, **sent)
        if status is None:
            ledger.lost(number, "gone")
        else:
            ledger.told(number, status, answer)

    ledger.note("fault began", fault="kill", target="api", number=0, stops_api=True)
    did("upload", 201, {"id": "i"}, upload=1, sha256=SHA, policy="reuse", write="one")
    did("edit", 200, {"etag": '"3"'}, image="i", write="two", if_match='"2"')
    did("edit", None, image="i", write="three", if_match='"3"')
    did("trash", 204, image="i")
    did("restore", 200, image="i")
    did("album", 201, {"id": "al"})
    did("collect", 200, album="al", image="i")
    did("upload", 201, {"id": "j"}, upload=2, sha256="b" * 64, policy="reuse", write="four")
    did("trash", 204, image="j")
    did("purge", 204, image="j")
    did("upload", 202, {"id": "u", "state": "pending"}, upload=3, sha256="c" * 64, policy="reuse", write="five", is_import=True)
    did("upload", 201, {"id": "d"}, upload=4, sha256="d" * 64, policy="tell", write="")
    ledger.note("damaged", image="d")
    ledger.note("fault ended", fault="kill", target="api", number=0, stops_api=True)
    ledger.close()
    return Book.read(tmp_path / "ledger.jsonl")


def record(id="i", write="two", sha256=SHA, **others):
    words = {"title": f"Chaos {write}", "tags": [write], "custom": {"write": write}}
    return {"id": id, "tenant": "t", "sha256": sha256, "status": "ready", "trashed_at": None, "problem": None} | words | others


def sound():
    found = Found(rows={"d", "i", "k"}, objects={"d", "i", "k"}, albums={"al": ["i"]})
    damaged = record("d", "", "d" * 64, problem={"code": "original_damaged"})
    found.images = {"i": record(), "k": record("k", "five", "c" * 64), "d": damaged}
    found.versions = {id: [{"version": 1, "sha256": image["sha256"]}] for id, image in found.images.items()}
    found.originals = {("i", 1): SHA, ("k", 1): "c" * 64, ("d", 1): DAMAGED}
    found.scrubbed = {"original_damaged": {"count": 1, "first": ["t/d/1/original"]}}
    found.uploads = {"u": {"state": "accepted", "image_id": "k", "problem": None}}
    found.found_by = {"two": ["i"], "five": ["k"]}
    return found


def test_a_sound_story_breaks_nothing(story):
    assert judge(story, sound()) == []


def test_a_write_without_an_answer_may_have_happened(story):
    found = sound()
    found.images["i"] = record(write="three")
    found.found_by = {"three": ["i"], "five": ["k"]}

    assert judge(story, found) == []


LIES = {
    "lost": lambda f: f.images.pop("i"),
    "came back": lambda f: f.images.update(i=record(trashed_at="2026-01-01T00:00:00Z")),
    "purged and there again": lambda f: f.images.update(j=record("j", "four", "b" * 64)),
    "an acknowledged edit undone": lambda f: f.images.update(i=record(write="one")),
    "words of two writes": lambda f: f.images.update(i=record(tags=["one"])),
    "other bytes": lambda f: f.originals.update({("i", 1): "d" * 64}),
    "no bytes": lambda f: f.originals.update({("i", 1): "http 503 backend_unavailable"}),
    "a sound original refused": lambda f: f.originals.update({("i", 1): DAMAGED}),
    "a damaged original delivered": lambda f: f.originals.update({("d", 1): "d" * 64}),
    "a damage that scrub has not found": lambda f: f.scrubbed.clear(),
    "a damage that is none": lambda f: f.scrubbed.update(rendition_damaged={"count": 1, "first": ["t/i/1/thumb.webp"]}),
    "a damage that its record does not tell": lambda f: f.images["d"].update(problem=None),
    "an image of nobody": lambda f: f.images.update(x=record("x", "six", "e" * 64)),
    "a double": lambda f: f.images.update(x=record("x", "one")),
    "not ready": lambda f: f.images.update(i=record(status="developing")),
    "rejected without fault": lambda f: f.images.update(i=record(status="rejected", problem={"code": "corrupt_image"})),
    "not found": lambda f: f.found_by.update(two=[]),
    "not in its album": lambda f: f.albums.update(al=[]),
    "an album lost": lambda f: f.albums.clear(),
    "an import lost": lambda f: f.uploads.update(u={"state": "expired", "image_id": None, "problem": None}),
    "an orphan": lambda f: f.objects.add("z"),
    "unclean": lambda f: f.unclean.update(leftover={"count": 1, "first": ["t/i/2/original"]}),
    "unsettled": lambda f: f.unsettled.update(stuck={"count": 1, "first": ["i"]}),
    "no cause": lambda f: f.failures.append({"id": "develop:i", "error": None}),
}


@pytest.mark.parametrize("lie", LIES)
def test_the_auditor_notices(story, lie):
    found = sound()
    LIES[lie](found)

    assert judge(story, found) != []


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    (
        (500, {"is_problem": True}, "500"),
        (503, {"is_problem": True, "retry_after": None}, "refusal"),
        (503, {"is_problem": False, "retry_after": "1"}, "refusal"),
        (401, {"is_problem": True}, "refusal"),
        (None, None, "unanswered"),
        (0, {}, "unanswered"),
    ),
)
def test_answers_that_nobody_may_get_are_noticed(tmp_path, status, answer, kind):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    number = ledger.sent("c", "read", **TENANT)
    ledger.lost(number, "gone") if status is None else ledger.told(number, status, answer)
    ledger.close()

    assert [broken.kind for broken in judge(Book.read(tmp_path / "ledger.jsonl"), Found())] == [kind]


def test_an_upload_that_its_client_gave_up_may_have_become_an_image(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    words = {"upload": 1, "sha256": "e" * 64, "policy": "tell", "write": "six"}
    ledger.lost(ledger.sent("c", "upload", tenant="t", is_given_up=True, **words), "given up")
    ledger.close()

    assert judge(Book.read(tmp_path / "ledger.jsonl"), Found(images={"x": record("x", "six", "e" * 64)})) == []


def test_what_a_client_found_wrong_is_a_broken_promise(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.note("wrong", client="c", what="an original with other bytes", image="i")
    ledger.close()

    assert [broken.kind for broken in judge(Book.read(tmp_path / "ledger.jsonl"), Found())] == ["wrong bytes"]


def test_an_answer_that_comes_late_is_noticed_unless_its_server_stood_still(tmp_path):
    lines = [
        {"n": 1, "at": 0, "is": "sent", "client": "c", "op": "read", **TENANT},
        {"n": 1, "at": 50, "is": "told", "status": 200, "answer": {}},
    ]
    frozen = [
        {"at": 10, "is": "fault began", "fault": "freeze", "target": "api", "number": 0, "stops_api": True},
        {"at": 20, "is": "fault ended", "fault": "freeze", "target": "api", "number": 0, "stops_api": True},
    ]
    path = tmp_path / "ledger.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert [broken.kind for broken in judge(Book.read(path), Found())] == ["slow"]
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, *frozen]))
    assert judge(Book.read(path), Found()) == []


@pytest.mark.parametrize("kinds", ({"full", "corrupt"}, set()))
def test_the_command_in_the_report_says_all_that_the_plan_is_drawn_from(kinds):
    said = command("servers", 1 / 3, "seven of nine", 5, kinds)

    begins, words, _ = said.split('"')
    asked = parser().parse_args(shlex.split(words))
    assert begins == "make chaos ARGS="
    assert (asked.profile, asked.minutes, asked.seed, asked.clients) == ("servers", pytest.approx(1 / 3), "seven of nine", 5)
    assert asked.faults == ",".join(sorted(kinds))
