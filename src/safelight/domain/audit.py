"""The audit trail as values: what an entry says, how entries are chained, and how a chain is verified. Pure.

An entry is appended unsealed, in the transaction of what it tells of; the sealer gives it a number and a hash a moment later. The
hash is SHA-256 over the hash before it and the entry's canonical form, so that whoever alters, takes out or moves a sealed entry
has to write every later one anew, and then disagrees with every head that was noted elsewhere.

Where somebody came from (address, user agent, key, session) is not chained itself but by a salted commitment, so that it can be
erased: what is left tells nothing, and the chain still holds. An erasure is an entry itself, and a verifier wants to see it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from safelight.domain.ids import TenantId, UserId
from safelight.errors import BadField

INSTALLATION: Final = "installation"
"""The chain of what belongs to no tenant: who could not be told, tenants, keys for tokens."""
SYSTEM: Final = "system"
"""The actor of what nobody asked for: the clock, a step of a flow."""
NOBODY: Final = "nobody"
"""The actor of a request without an identity."""
DONE: Final = "done"
ERASED: Final = "user.erased"
PRUNED: Final = "audit.pruned"
SEALED_AT_ONCE: Final = 25
"""Entries of one sealing: what one transaction of DynamoDB takes, with all that finds them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a request came from. Personal, and therefore erasable."""

    address: str = ""
    agent: str = ""
    key: str = ""
    session: str = ""
    salt: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    """Without it, an address that is gone could be found again by trying them all."""

    @property
    def commitment(self) -> str:
        """SHA-256 of the canonical form, salt included."""
        return hashlib.sha256(_canonical(asdict(self))).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Who did what to which object, when, and what came of it."""

    chain: str
    """A tenant's id, or INSTALLATION."""
    id: str
    at: datetime
    action: str
    """A stable name: `image.trashed`, `api_key.revoked`."""
    actor: str
    """A user's pseudonym, SYSTEM or NOBODY."""
    object: str = ""
    """`image/<id>`; a user by pseudonym."""
    result: str = DONE
    """DONE, or the code of the refusal."""
    count: int = 1
    """How often, where many alike are told as one."""
    origin: Origin | None = None
    commitment: str = ""

    def committed(self) -> Entry:
        """With the commitment to its origin."""
        return self if self.origin is None else replace(self, commitment=self.origin.commitment)


@dataclass(frozen=True, slots=True)
class Sealed:
    """An entry in its place."""

    number: int
    hash: str
    entry: Entry


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in a chain: a number and the hash there."""

    number: int
    hash: str

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}"


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends, and up to where it was pruned."""

    last: Checkpoint
    pruned: Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailQuery:
    """Which sealed entries, and from behind which number on."""

    actors: frozenset[str] | None = None
    action: str | None = None
    """Exactly, or `image.*`."""
    objects: frozenset[str] | None = None
    result: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Before this time."""
    after: int | None = None
    limit: int = 100
    is_oldest_first: bool = False

    def matches(self, entry: Entry) -> bool:
        """Whether the entry is asked for, wherever it stands."""
        return (
            (self.actors is None or entry.actor in self.actors)
            and (self.action is None or is_action(self.action, entry.action))
            and (self.objects is None or entry.object in self.objects)
            and self.result in (None, entry.result)
            and (self.since is None or entry.at >= self.since)
            and (self.until is None or entry.at < self.until)
        )


def is_action(pattern: str, action: str) -> bool:
    """Whether the pattern, a name or `image.*`, means this action."""
    return action.startswith(pattern[:-1]) if pattern.endswith(".*") else action == pattern


def pseudonym(key: bytes, tenant: TenantId, user: UserId) -> str:
    """What stands for a user in the trail: HMAC-SHA256, cut to 128 bits. Nothing without the key, the tenant and the user's id."""
    return hmac.digest(key, f"{tenant}/{user}".encode(), hashlib.sha256).hex()[:32]


def genesis(chain: str) -> Checkpoint:
    """Where a chain begins: a place that no other chain has."""
    return Checkpoint(0, hashlib.sha256(f"safelight audit {chain}".encode()).hexdigest())


def new_head(chain: str) -> Head:
    """The head of a chain with nothing in it."""
    return Head(genesis(chain), genesis(chain))


def document(entry: Entry) -> dict[str, Any]:
    """The entry as plain values, as it is exported; its origin apart from what is chained."""
    origin = None if entry.origin is None else asdict(entry.origin)
    return {**_chained(entry), "origin": origin}


def sealed_document(sealed: Sealed) -> dict[str, Any]:
    """A line of an export."""
    return {"number": sealed.number, "hash": sealed.hash, **document(sealed.entry)}


def sealed_from(line: Mapping[str, Any]) -> Sealed:
    """The entry of a line of an export. Raises BadField for what is none."""
    try:
        origin = line["origin"]
        entry = Entry(
            chain=str(line["chain"]),
            id=str(line["id"]),
            at=datetime.fromisoformat(line["at"]),
            action=str(line["action"]),
            actor=str(line["actor"]),
            object=str(line["object"]),
            result=str(line["result"]),
            count=int(line["count"]),
            origin=None if origin is None else Origin(**{name: str(value) for name, value in origin.items()}),
            commitment=str(line["commitment"]),
        )
        return Sealed(int(line["number"]), str(line["hash"]), entry)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadField("This is not an entry of an audit trail.") from error


def seal(entries: Iterable[Entry], last: Checkpoint) -> list[Sealed]:
    """The entries behind that place, in order."""
    sealed = []
    for entry in entries:
        number = last.number + 1
        last = Checkpoint(number, hash_of(last.hash, number, entry))
        sealed.append(Sealed(number, last.hash, entry))
    return sealed


def hash_of(previous: str, number: int, entry: Entry) -> str:
    """SHA-256 of the hash before (hexadecimal), a line feed, and the entry with its number as RFC 8785 writes it."""
    return hashlib.sha256(previous.encode() + b"\n" + _canonical({"number": number, **_chained(entry)})).hexdigest()


@dataclass(frozen=True, slots=True)
class Broken(Exception):  # a finding, not a failure of ours
    """The first entry at which a chain does not hold, and why."""

    number: int
    why: str

    def __str__(self) -> str:
        return f"Entry {self.number}: {self.why}"


class Verifier:
    """Takes a chain entry by entry, oldest first, then its head.

    Args:
        chain: Whose.
        start: Where the export begins: where the chain was pruned, or its genesis.
        anchors: Hashes by number that were noted elsewhere.

    """

    def __init__(self, chain: str, start: Checkpoint, anchors: Mapping[int, str]) -> None:
        self._chain: Final = chain
        self._start: Final = start
        self._anchors: Final = dict(anchors)
        self._erased: Final[dict[str, int]] = {}
        """Actors whose origins are gone, with the first entry of each, until an entry says that they were erased."""
        self._is_start_told = start == genesis(chain)
        self.last = start
        if self._is_start_told is False and start.number <= 0:
            raise Broken(1, "the chain does not begin where it has to")
        self._compare(start)

    def take(self, sealed: Sealed) -> None:
        """The next entry. Raises Broken."""
        entry, expected = sealed.entry, self.last.number + 1
        if sealed.number > expected:
            raise Broken(expected, "it is missing")
        if sealed.number < expected:
            raise Broken(sealed.number, "it is there twice, or not in its place")
        if entry.chain != self._chain:
            raise Broken(expected, "it belongs to another chain")
        if hash_of(self.last.hash, expected, entry) != sealed.hash:
            raise Broken(expected, "it does not follow from the one before: one of the two was altered")
        if entry.origin is not None and entry.origin.commitment != entry.commitment:
            raise Broken(expected, "where it came from was altered")
        self.last = Checkpoint(expected, sealed.hash)
        self._compare(self.last)
        if entry.origin is None and entry.commitment:
            self._erased.setdefault(entry.actor, expected)
        if entry.action == ERASED:
            self._erased.pop(entry.object.removeprefix("user/"), None)
        elif entry.action == PRUNED and entry.object == f"checkpoint/{self._start}":
            self._is_start_told = True

    def end(self, head: Head) -> None:
        """Nothing comes any more. Raises Broken."""
        if self.last.number != head.last.number:
            raise Broken(
                min(self.last.number, head.last.number) + 1,
                f"the chain ends at {self.last.number}, its head says {head.last.number}",
            )
        if self.last != head.last:
            raise Broken(self.last.number, "the head has another hash")
        if late := [number for number in self._anchors if number > self.last.number]:
            raise Broken(self.last.number + 1, f"the chain was longer once: entry {min(late)} was noted elsewhere")
        if self._erased:
            raise Broken(min(self._erased.values()), "where it came from is gone, and no erasure is told")
        if not self._is_start_told:
            raise Broken(self._start.number, "the entries up to here are gone, and no pruning is told")

    def _compare(self, place: Checkpoint) -> None:
        noted = self._anchors.get(place.number)
        if noted is not None and noted != place.hash:
            raise Broken(place.number, "its hash is not the one that was noted elsewhere")


def anchor_from(text: str) -> Checkpoint:
    """`number:hash`, as heads are printed. Raises BadField."""
    number, _, digest = text.strip().partition(":")
    if not number.isdecimal() or len(number) > 18 or len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise BadField("An anchor is a number, a colon and 64 hexadecimal digits.", field="anchor")
    return Checkpoint(int(number), digest)


def _chained(entry: Entry) -> dict[str, Any]:
    return {
        "chain": entry.chain,
        "id": entry.id,
        "at": entry.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "action": entry.action,
        "actor": entry.actor,
        "object": entry.object,
        "result": entry.result,
        "count": entry.count,
        "commitment": entry.commitment,
    }


def _canonical(values: Mapping[str, Any]) -> bytes:
    """RFC 8785, for objects of ASCII names with text and whole numbers: sorted names, no spaces."""
    return orjson.dumps(values, option=orjson.OPT_SORT_KEYS)
