"""CloudFront's API, by moto: distributions that take invalidations and are done with them at once."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import botocore.session
from tests.servers.seaweedfs import Moto

CREDENTIALS = {"access_key_id": "x", "secret_access_key": "y"}


class CloudFront:
    """What tests ask the server behind our back."""

    def __init__(self, server: Moto) -> None:
        self.url = server.url
        self.port = server.port
        self._client: Any = botocore.session.Session().create_client(
            "cloudfront", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y"
        )

    def distribution(self) -> str:
        """The id of a new one."""
        cookies = {"QueryString": True, "Cookies": {"Forward": "none"}}
        config = {
            "CallerReference": uuid4().hex,
            "Origins": {"Quantity": 1, "Items": [{"Id": "safelight", "DomainName": "safelight.example"}]},
            "DefaultCacheBehavior": {
                "TargetOriginId": "safelight",
                "ViewerProtocolPolicy": "redirect-to-https",
                "ForwardedValues": cookies,
                "MinTTL": 0,
            },
            "Comment": "",
            "Enabled": True,
        }
        return str(self._client.create_distribution(DistributionConfig=config)["Distribution"]["Id"])

    def told(self, distribution: str) -> list[tuple[str, list[str]]]:
        """Reference and paths of every invalidation, in any order."""
        listed = self._client.list_invalidations(DistributionId=distribution)["InvalidationList"].get("Items") or []
        batches = [
            self._client.get_invalidation(DistributionId=distribution, Id=one["Id"])["Invalidation"]["InvalidationBatch"]
            for one in listed
        ]
        return [(batch["CallerReference"], sorted(batch["Paths"]["Items"])) for batch in batches]

    def paths(self, distribution: str) -> set[str]:
        """Every path that was told."""
        return {path for _, paths in self.told(distribution) for path in paths}
