"""Signer: the delivery URLs that one answer carries, by our own grammar, imgproxy's, thumbor's, and CloudFront's.

Made by `delivery` from the tenant's ring; whatever holds one may make any URL of the tenant's, so it never outlives the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote

from safelight import signing
from safelight.domain.accounts import Grammar, SigningKey, Tenant
from safelight.domain.images import Image, Rendition, Visibility
from safelight.domain.names import REFERENCE
from safelight.domain.sources import encoded
from safelight.errors import WrongState
from safelight.imaging.transform import Gravity, Named, Order, Size, Spec, imgproxy, is_transform, parse_request, thumbor
from safelight.services.cloudfront import CloudFront
from safelight.signing import imgproxy as imgproxy_signing
from safelight.signing import thumbor as thumbor_signing


@dataclass(frozen=True, slots=True)
class Signer:
    """Delivery URLs of one tenant, good until `exp`."""

    key: SigningKey
    exp: int
    ring: tuple[SigningKey, ...] = ()
    presets: Mapping[str, str] = field(default_factory=dict)
    watermarks: Named = field(default_factory=dict)
    cloudfront: CloudFront | None = None
    tenant: Tenant | None = None

    def is_preset(self, image: Image, text: str, grammar: Grammar) -> bool:
        """Whether it is delivered where only presets are. Raises BadOption."""
        if grammar is Grammar.NATIVE:
            return not is_transform(text.rpartition(".")[0])
        return self._order(image, text, grammar)[0].is_preset

    def meant(self, text: str) -> str:
        """A transform, or what a preset of the tenant's own stands for now: `card.webp`. Raises BadOption."""
        name, _, extension = text.rpartition(".")
        if self.tenant is None or is_transform(name) or not REFERENCE.fullmatch(name):
            return text
        return f"{self.tenant.preset(name)[0]}.{extension}"

    def link(self, image: Image, rendition: Rendition, base: str) -> str:
        """Where a stored rendition is fetched: at CloudFront where that stands before it, else here."""
        if self.cloudfront and (url := self.cloudfront.rendition(rendition, self.exp)):
            return url
        extension = "jpg" if rendition.format == "jpeg" else rendition.format
        return base + self.url(image, rendition.preset, extension)

    @property
    def at_cloudfront(self) -> CloudFront:
        """Raises WrongState where there is none."""
        if self.cloudfront is None:
            raise WrongState("No CloudFront distribution is set up.")
        return self.cloudfront

    def url(self, image: Image, preset: str, extension: str) -> str:
        """Path and query; plain for public and unlisted images."""
        path = f"/i/{image.id}/{preset}.{extension}"
        if image.visibility is not Visibility.PRIVATE:
            return f"{path}?v={image.address()}"
        return self._signed(image, path, image.address())

    def remote_url(self, address: str, text: str) -> str:
        """Path and query of a transform of what lies elsewhere."""
        path = f"/i/remote/{encoded(address)}/{text}"
        signed = signing.signed(self.key.secret, path, kid=self.key.kid, exp=self.exp)
        return quote(path, safe="/=,:") + signed.removeprefix(path)

    def spec(self, image: Image, text: str, grammar: Grammar) -> Spec:
        """What `text` means for the image. Raises BadOption."""
        if grammar is Grammar.NATIVE:
            return parse_request(self.meant(text), named=self.watermarks).spec
        return self._order(image, text, grammar)[0].wish.spec(Size(image.width, image.height))

    def transform_url(self, image: Image, text: str, *, mark: str = "") -> str:
        """Path and query of any transform, always signed; the signature is over the decoded path. Raises BadOption.

        `mark` is the tag of its watermark.
        """
        by_point = parse_request(self.meant(text), named=self.watermarks).spec.gravity is Gravity.FOCAL
        path = f"/i/{image.id}/{text}"
        signed = self._signed(image, path, image.address(by_focal_point=by_point, mark=mark))
        return quote(path, safe="/=,:") + signed.removeprefix(path)

    def foreign_url(self, image: Image, text: str, grammar: Grammar, *, mark: str = "") -> str:
        """The path of `{options}@{extension}` by imgproxy's or `{parts}` by thumbor's grammar. Raises BadOption, WrongState without a key."""
        key = next((key for key in self.ring if key.grammar is grammar and key.retired_at is None), None)
        if key is None:
            raise WrongState(f"There is no key for {grammar}'s URLs; add one first.")
        _order, path = self._order(image, text, grammar, mark)
        if grammar is Grammar.THUMBOR:
            return "/thumbor/" + quote(f"{thumbor_signing.sign(key.secret, path)}/{path}", safe="/:=()|,")
        return f"/imgproxy/{imgproxy_signing.sign(key.secret, key.salt, path, size_bytes=key.size_bytes)}{path}"

    def _order(self, image: Image, text: str, grammar: Grammar, mark: str = "") -> tuple[Order, str]:
        """What another grammar's text asks for, and the path that is signed."""
        text = text.strip("/")
        if grammar is Grammar.THUMBOR:
            path = f"{text}/{image.id}" if text else image.id
            return thumbor.parse(quote(path), self.watermarks), path
        options, at, extension = text.partition("@")
        parts = [*filter(None, [options]), f"cb:{image.address(mark=mark)}", f"exp:{self.exp}", "plain"]
        path = quote(f"/{'/'.join(parts)}/{image.id}{at}{extension}", safe="/:@%=,")
        return imgproxy.parse(path, self.presets, self.watermarks), path

    def _signed(self, image: Image, path: str, address: str) -> str:
        return _signed_url(self.key.secret, path, self.key.kid, self.exp, address)


@lru_cache(maxsize=4096)
def _signed_url(secret: bytes, path: str, kid: str, exp: int, address: str) -> str:
    # A page of fifty records carries six hundred, the same ones each time it is shown before they get a new expiry.
    return signing.signed(secret, path, kid=kid, exp=exp, query=[("v", address)])
