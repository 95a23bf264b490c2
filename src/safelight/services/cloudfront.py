"""CloudFront: addresses at a distribution in front of the buckets, so that stored bytes go out without Safelight. Pure; no AWS.

Who may have one is decided before it is asked for: whoever holds such a URL or cookie gets the bytes until it runs out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from safelight.domain.ids import TenantId
from safelight.domain.images import Image, Rendition
from safelight.errors import WrongState
from safelight.signing import cloudfront


@dataclass(frozen=True, slots=True)
class CloudFront:
    """`renditions` and `originals` are what object keys are joined to, slash and all; '' where no distribution stands before them."""

    key: cloudfront.Key = field(repr=False)
    renditions: str = ""
    originals: str = ""

    def rendition(self, rendition: Rendition, exp: int) -> str:
        """Where a stored rendition is; '' when it is not behind the distribution."""
        return self._signed(self.renditions, rendition.object_key, exp)

    def original(self, image: Image, exp: int) -> str:
        """Where the original is, likewise."""
        return self._signed(self.originals, image.original_key, exp)

    def cookies(self, tenant: TenantId, exp: int) -> tuple[str, dict[str, str]]:
        """What they open, and cookies for every stored rendition of the tenant: for pages with many pictures.

        Raises WrongState where no distribution stands before them.
        """
        if not self.renditions:
            raise WrongState("No CloudFront distribution stands before the renditions.")
        resource = f"{self.renditions}{tenant}/*"
        return resource, cloudfront.signed_cookies(self.key, cloudfront.custom_policy(resource, exp))

    def _signed(self, base: str, key: str, exp: int) -> str:
        return cloudfront.signed_url(self.key, base + key, exp) if base else ""
