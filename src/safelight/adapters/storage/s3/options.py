"""Options: everything that S3 storage must be told, as plain values. Made by wiring from the settings, by tests by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

BucketName = Literal["originals", "renditions"]

URL: Final = "SAFELIGHT_STORAGE__URL"
RENDITIONS_BUCKET: Final = "SAFELIGHT_STORAGE__RENDITIONS_BUCKET"
ENDPOINT_URL: Final = "SAFELIGHT_STORAGE__ENDPOINT_URL"
REGION: Final = "SAFELIGHT_STORAGE__REGION"
KMS_KEY_ID: Final = "SAFELIGHT_STORAGE__KMS_KEY_ID"
IS_ENCRYPTED: Final = "SAFELIGHT_STORAGE__IS_ENCRYPTED"
CREDENTIALS: Final = "SAFELIGHT_STORAGE__ACCESS_KEY_ID and SAFELIGHT_STORAGE__SECRET_ACCESS_KEY"


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Options:
    """Where the buckets are and how to talk to them. Times in seconds."""

    originals_bucket: str
    renditions_bucket: str
    prefix: str = ""
    """Before every key in both buckets; '' or text that ends with '/'."""
    endpoint_url: str | None = None
    """None is AWS."""
    public_endpoint_url: str | None = None
    """What presigned URLs name instead, when clients reach the server by another address. None: the same."""
    region: str | None = None
    """None asks the credentials chain, then takes us-east-1."""
    path_style: bool | None = None
    """`endpoint/bucket/key` instead of `bucket.endpoint/key`. None: on AWS the latter, elsewhere the former."""
    access_key_id: str | None = None
    """None asks the chain: environment, shared files, web identity (IRSA), container and instance metadata."""
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    is_encrypted: bool = True
    """Ask for encryption at rest with every object; False leaves it to the bucket's default."""
    kms_key_id: str | None = None
    """Originals are sealed with this key (SSE-KMS, with bucket keys); None seals them like renditions (SSE-S3)."""
    originals_cache_control: str = "private, no-store"
    renditions_cache_control: str = "public, max-age=31536000, immutable"
    """A rendition's key is never written with other bytes, so who may read it may also keep it."""
    connect_timeout_s: float = 2.0
    attempt_timeout_s: float = 10.0
    """One request, or one part of 8 MiB."""
    deadline_s: float = 25.0
    """One call with all its attempts; a large body has this for each part."""
    max_connections: int = 64
    spool_path: Path | None = None
    """Folder for streamed bodies of more than 8 MiB on their way in (unlinked files). None: the system's temporary folder."""

    needs_versions: bool = True
    """False for what never writes a key twice, such as backups."""
    is_read_only: bool = False
    """Opening writes nothing, so nothing is known of the right to write."""

    def __post_init__(self) -> None:
        if self.prefix and (not self.prefix.endswith("/") or self.prefix.startswith("/") or "//" in self.prefix):
            raise ValueError(f"A key prefix must end with '/', not start with it, nor have '//': {self.prefix!r}.")

    @property
    def where(self) -> str:
        """For messages: without credentials, which some write into addresses."""
        if self.endpoint_url is None:
            return f"AWS{'' if self.region is None else ', ' + self.region}"
        parts = urlsplit(self.endpoint_url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    @property
    def is_path_style(self) -> bool:
        """How buckets are addressed in the end."""
        return self.endpoint_url is not None if self.path_style is None else self.path_style

    def bucket(self, name: BucketName) -> str:
        """The bucket's name on the server."""
        return self.originals_bucket if name == "originals" else self.renditions_bucket

    def cache_control(self, name: BucketName) -> str:
        """What the bucket's objects say about being kept by others."""
        return self.originals_cache_control if name == "originals" else self.renditions_cache_control

    def key_id(self, name: BucketName) -> str | None:
        """The KMS key that seals objects of the bucket; None for SSE-S3."""
        return self.kms_key_id if name == "originals" else None

    @staticmethod
    def setting(name: BucketName) -> str:
        """The setting that names the bucket."""
        return URL if name == "originals" else RENDITIONS_BUCKET
