"""Delivery: signed URLs and the keys behind them, what is made ahead, and what caches are to forget. A room of the client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from safelight.client.documents import CloudFrontCookies, CloudFrontUrls, Purge, SigningKey, Urls, Warming
from safelight.client.wire import Connection, segment


class Delivery(Connection):
    """`/images/{id}/urls`, `/sources/urls`, `/warm`, `/admin/signing-keys`, `/admin/purges`, and CloudFront's."""

    def urls(self, image_id: str, transforms: Sequence[str], *, grammar: str = "native") -> Urls:
        """Signed delivery URLs of these transforms, in their order. Raises BadOption, WrongState without a key of that grammar."""
        asked = {"transforms": list(transforms), "grammar": grammar}
        return cast("Urls", self._ask("POST", f"/images/{segment(image_id)}/urls", json=asked))

    def source_urls(self, source: str, transforms: Sequence[str]) -> Urls:
        """The same of a picture that lies elsewhere. Raises Forbidden, SourceNotAllowed where it is not listed, BadOption."""
        return cast("Urls", self._ask("POST", "/sources/urls", json={"source": source, "transforms": list(transforms)}))

    def at_cloudfront(self, image_id: str) -> CloudFrontUrls:
        """Where CloudFront has what is stored of an image. Raises WrongState when none is set up."""
        return cast("CloudFrontUrls", self._ask("GET", f"/images/{segment(image_id)}/cloudfront"))

    def cloudfront_cookies(self) -> CloudFrontCookies:
        """Cookies that open every stored rendition of the tenant. Raises Forbidden, WrongState."""
        return cast("CloudFrontCookies", self._ask("POST", "/admin/cloudfront-cookies"))

    def signing_keys(self) -> Sequence[SigningKey]:
        """The ring of keys for delivery URLs, newest first, without secrets."""
        return cast("Sequence[SigningKey]", self._ask("GET", "/admin/signing-keys"))

    def add_signing_key(self, *, grammar: str = "native", secret: str = "", salt: str = "", size_bytes: int = 32) -> SigningKey:
        """A new one, which signs from now on; with its secret. imgproxy's and thumbor's may be brought along. Raises BadField."""
        asked = {"grammar": grammar, "secret": secret, "salt": salt, "size_bytes": size_bytes}
        return cast("SigningKey", self._ask("POST", "/admin/signing-keys", json=asked))

    def retire_signing_key(self, kid: str, *, after_s: int = 0) -> None:
        """Stop believing its signatures, now or later. Raises Missing, WrongState for the last live one."""
        self._ask("POST", f"/admin/signing-keys/{segment(kid)}/retire", json={"after_s": after_s})

    def warm(self, transforms: Sequence[str], *, image: str = "", album: str = "", tag: str = "") -> Warming:
        """Make these in the background, of an image or of those in an album or with a tag. Raises Missing, Forbidden, BadField, BadOption."""
        wanted = {"transforms": list(transforms)}
        if image:
            return cast("Warming", self._ask("POST", f"/images/{segment(image)}/warm", json=wanted))
        narrowed = {name: value for name, value in (("album", album), ("tag", tag)) if value}
        return cast("Warming", self._ask("POST", "/warm", json={**wanted, "filter": narrowed}))

    def warming(self, warming_id: str) -> Warming:
        """How far it has come. Raises Missing."""
        return cast("Warming", self._ask("GET", f"/warm/{segment(warming_id)}"))

    def purge(self, *, image: str = "", tag: str = "", source: str = "", tenant: bool = False) -> Purge:
        """Let caches, its own and CDNs, forget an image, the images with a tag, a picture that lies elsewhere, or everything.

        Raises Missing, Forbidden, BadField.
        """
        wishes: dict[str, Any] = {"tenant": tenant, "tag": tag, "source": source}
        body = next(({name: value} for name, value in wishes.items() if value), {"image": image})
        return cast("Purge", self._ask("POST", "/admin/purges", json=body))

    def purge_state(self, purge_id: str) -> Purge:
        """How far it has come. Raises Missing."""
        return cast("Purge", self._ask("GET", f"/admin/purges/{segment(purge_id)}"))

    def purges(self, *, limit: int = 50) -> Sequence[Purge]:
        """Newest first."""
        return cast("Sequence[Purge]", self._ask("GET", "/admin/purges", params={"limit": limit})["purges"])
