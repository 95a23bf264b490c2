"""Small readings of headers and ids that several routes share."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Header, Request

from safelight.domain.ids import AlbumId, ImageId, LinkId, TenantId, UploadId, UserId, is_id
from safelight.errors import BadField, Missing


def image_id(text: str) -> ImageId:
    """The id, if it has the shape of one. Raises Missing: nothing can be there."""
    if not is_id(text):
        raise Missing
    return ImageId(text)


def album_id(text: str) -> AlbumId:
    """The id, if it has the shape of one. Raises Missing."""
    if not is_id(text):
        raise Missing
    return AlbumId(text)


def upload_id(text: str) -> UploadId:
    """The id, if it has the shape of one. Raises Missing."""
    if not is_id(text):
        raise Missing
    return UploadId(text)


def user_id(text: str) -> UserId:
    """The id, if it has the shape of one. Raises Missing."""
    if not is_id(text):
        raise Missing
    return UserId(text)


def tenant_id(text: str) -> TenantId:
    """The id, if it has the shape of one. Raises Missing."""
    if not is_id(text):
        raise Missing
    return TenantId(text)


def link_id(text: str) -> LinkId:
    """The id, if it has the shape of one. Raises Missing."""
    if not is_id(text):
        raise Missing
    return LinkId(text)


async def if_match(
    header: Annotated[str, Header(alias="If-Match", description="The `etag` of the record as you know it; `*` for any.")] = "*",
) -> int | None:
    """The revision that If-Match asks for; None for no condition or `*`. Raises BadField."""
    return revision_of(header)


def revision_of(etag: str) -> int | None:
    """The revision that an etag stands for; None for `*`. Raises BadField."""
    etag = etag.strip()
    if etag == "*":
        return None
    digits = etag.strip('"')
    if not (digits.isascii() and digits.isdigit() and len(digits) < 16):
        raise BadField("If-Match takes the etag of the record.", field="If-Match")
    return int(digits)


IfMatch = Annotated[int | None, Depends(if_match)]


def base_url(request: Request) -> str:
    """What delivery URLs begin with: the tenant's first domain, the setting, or the address that this request was sent to."""
    configured: str = request.app.state.public_url
    domains: tuple[str, ...] = getattr(request.state, "domains", ())
    if configured and domains:
        return f"{configured.partition('://')[0]}://{domains[0]}"
    return base_of(request.app.state.public_url, request.url.scheme, request.headers.get("host", ""))


def base_of(configured: str, scheme: str, host: str) -> str:
    """The same, of its parts; '' where neither tells."""
    if configured:
        return configured
    # A Host header ends up in answers: only what a host may look like gets there.
    if not host or not all(c.isalnum() or c in ".-:[]" for c in host) or len(host) > 255:
        return ""
    return f"{scheme}://{host}"


def disposition(name: str, *, is_attachment: bool = True) -> str:
    """RFC 6266, with the file's own name."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in name)
    kind = "attachment" if is_attachment else "inline"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
