"""Purges on the wire."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from safelight.api.schemas.common import Id, In, Out
from safelight.domain.purges import Purge, PurgeOf, PurgeState
from safelight.errors import BadField


class PurgeIn(In):
    """What caches, ours and CDNs, are to let go of: one of these."""

    image: Id | None = Field(None, description="The id of an image.", max_length=26)
    tag: str = Field("", description="The images with this tag.", max_length=200)
    source: str = Field("", description="What is kept of the picture at this address elsewhere.", max_length=2048)
    tenant: bool = Field(False, description="Everything; operators only.")


def purge_wish(body: PurgeIn) -> tuple[PurgeOf, str]:
    """What is to go. Raises BadField unless exactly one thing is."""
    wishes = [
        (what, value)
        for what, value in (
            (PurgeOf.IMAGE, body.image),
            (PurgeOf.TAG, body.tag),
            (PurgeOf.SOURCE, body.source),
            (PurgeOf.TENANT, body.tenant),
        )
        if value
    ]
    if len(wishes) != 1:
        raise BadField("Give one of image, tag, source and tenant.", field="image")
    what, value = wishes[0]
    return what, value if isinstance(value, str) else ""


class PurgeOut(Out):
    """What caches are to let go of, and how far that has come."""

    id: str
    what: PurgeOf
    value: str = Field(description="The image's id, the tag or the address.")
    state: PurgeState
    images: int = Field(description="That it is about.")
    images_done: int = Field(description="Of which what `state` names is over; of one that is done, all.")
    attempts: int = Field(description="That failed in a row, until now.")
    cause: str = Field(description="Why the last one did.")
    created_at: datetime
    updated_at: datetime


def purge_out(purge: Purge) -> PurgeOut:
    """The purge as an admin gets it."""
    return PurgeOut(**{name: getattr(purge, name) for name in PurgeOut.model_fields})


class PurgePage(Out):
    """Purges, newest first."""

    purges: list[PurgeOut]
    next: str | None
