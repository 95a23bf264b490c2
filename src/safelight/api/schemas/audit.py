"""The audit trail and erasures on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import Field

from safelight.api.schemas.common import Out
from safelight.domain.audit import Sealed
from safelight.domain.ids import UserId


class OriginOut(Out):
    """Where a request came from."""

    address: str
    agent: str
    key: str = Field(description="The API key, if it was one.")
    session: str = Field(description="The session, if it was one.")


class AuditEntryOut(Out):
    """An entry of the audit trail, in its place."""

    number: int
    hash: str
    id: str
    at: datetime
    action: str = Field(examples=["image.trashed"])
    actor: str = Field(description="A pseudonym, `system` or `nobody`.")
    user: str | None = Field(description="Who is behind the pseudonym, as long as the tenant has that user.")
    object: str = Field(examples=["image/01j9z3k4m5n6p7q8r9s0t1v2w3"])
    result: str = Field(examples=["done", "forbidden"])
    count: int
    origin: OriginOut | None = Field(description="None for what the system did, and for somebody who was erased.")


class AuditPage(Out):
    """Entries and where the next page begins."""

    entries: list[AuditEntryOut]
    cursor: str | None


class AuditHeadOut(Out):
    """Where a chain ends, and up to where it was pruned: `number:hash` each."""

    chain: str
    head: str
    pruned: str


def audit_entry_out(sealed: Sealed, names: Mapping[str, UserId]) -> AuditEntryOut:
    """The entry with whom its pseudonyms stand for."""
    entry, origin = sealed.entry, sealed.entry.origin
    user = names.get(entry.object.removeprefix("user/")) if entry.object.startswith("user/") else None
    return AuditEntryOut(
        number=sealed.number,
        hash=sealed.hash,
        id=entry.id,
        at=entry.at,
        action=entry.action,
        actor=entry.actor,
        user=names.get(entry.actor),
        object=f"user/{user}" if user else entry.object,
        result=entry.result,
        count=entry.count,
        origin=None
        if origin is None
        else OriginOut(address=origin.address, agent=origin.agent, key=origin.key, session=origin.session),
    )


class Removed(Out):
    """How much was erased."""

    images: int
    versions: int
    bytes: int = Field(description="Of originals.")
    albums: int
    uploads: int
    api_keys: int
    passkeys: int
    accounts: int


class CertificateOut(Out):
    """That everything of a user, or of a tenant, was erased."""

    erasure: str
    tenant: str
    certified_at: datetime
    removed: Removed
    list_sha256: str = Field(description="SHA-256 of the list of what was removed, which is gone too.")
    signature: str = Field(description="The same as a JWT of the type `erasure+jwt`, by a key of `/.well-known/jwks.json`.")


class ErasureOut(Out):
    """An erasure."""

    id: str
    state: Literal["pending", "done"]
    certificate_url: str
    certificate: CertificateOut | None
