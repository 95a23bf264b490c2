"""Options: where the table is and how to talk to it, as plain values. Made by wiring from the settings, by tests by hand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import parse_qsl

from safelight.errors import BadField

URL: Final = "SAFELIGHT_CATALOG__URL"
DEFAULT_TABLE: Final = "ImageMetadata"
_SHAPE: Final = re.compile(r"dynamodb://(?P<table>[A-Za-z0-9_.-]{3,255})?/?(?:\?(?P<query>.*))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamoOptions:
    """Times in seconds. Credentials are those of the AWS chain: environment, shared files, web identity, instance metadata."""

    table: str = DEFAULT_TABLE
    region: str | None = None
    """None asks the chain, then takes us-east-1."""
    endpoint_url: str | None = None
    """None is AWS."""
    connect_timeout_s: float = 2.0
    attempt_timeout_s: float = 4.0
    deadline_s: float = 10.0
    """One call with all its attempts."""
    max_connections: int = 64

    @classmethod
    def from_url(cls, url: str, *, deadline_s: float = 10.0) -> Self:
        """`dynamodb://table?region=…&endpoint_url=…`, every part but the scheme optional. Raises BadField, which repeats no URL.

        The deadline leaves time for a second attempt after one that nobody answers.
        """
        found = _SHAPE.fullmatch(url)
        given = dict(parse_qsl((found["query"] if found else "") or "", keep_blank_values=True))
        if found is None or given.keys() - {"region", "endpoint_url"}:
            raise BadField(f"{URL} is not dynamodb://table?region=…&endpoint_url=… (credentials have no place in it).", field=URL)
        endpoint_url, region = given.get("endpoint_url") or None, given.get("region") or None
        if endpoint_url is not None and not re.match(r"https?://[^/@]+/?$", endpoint_url):
            raise BadField(f"The endpoint_url of {URL} is not an http:// or https:// address.", field=URL)
        if region is not None and not re.fullmatch(r"[a-z0-9-]{3,40}", region):
            raise BadField(f"The region of {URL} is not the name of one.", field=URL)
        return cls(
            table=found["table"] or DEFAULT_TABLE,
            region=region,
            endpoint_url=endpoint_url,
            connect_timeout_s=0.2 * deadline_s,
            attempt_timeout_s=0.4 * deadline_s,
            deadline_s=deadline_s,
        )

    @property
    def where(self) -> str:
        """For messages."""
        return self.endpoint_url or f"AWS{'' if self.region is None else ', ' + self.region}"
