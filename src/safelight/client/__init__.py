"""A Safelight server from Python: small, typed, synchronous. Called by the command line and by whoever likes.

    with Client("http://127.0.0.1:8000", api_key) as safelight:
        image = safelight.upload(Path("rose.jpg"), tags=["garden"])

Answers are the server's own documents, typed here as it writes them; times stay RFC 3339 text. What the server refuses is
raised as the error of `safelight.errors` that its `code` names, a server that does not answer as BackendUnavailable. Threads
may share a client. It holds no rule and knows no file but those it is told to send or write.
"""

from __future__ import annotations

from safelight.client.albums import Albums
from safelight.client.delivery import Delivery
from safelight.client.developing import Developing
from safelight.client.documents import (
    Album,
    Amounts,
    ApiKey,
    AuditEntry,
    AuditHead,
    AuditOrigin,
    CloudFrontCookies,
    CloudFrontRendition,
    CloudFrontUrls,
    CostLine,
    Erasure,
    Failure,
    FocalPoint,
    FoundImage,
    Grant,
    Image,
    Issuer,
    IssuerCheck,
    IssuerKey,
    Lent,
    Link,
    Mended,
    Offer,
    Problem,
    Purge,
    Reading,
    Ready,
    Recipe,
    RecipePlaces,
    Redevelopment,
    Rendition,
    SearchPage,
    SigningKey,
    Step,
    Tenant,
    TenantMade,
    TokenKey,
    Urls,
    Usage,
    User,
    Warming,
    Webhook,
    WebhookAttempt,
    WebhookDelivery,
)
from safelight.client.images import Images
from safelight.client.operations import Operations
from safelight.client.privacy import Privacy
from safelight.client.tenants import Tenants
from safelight.client.uploads import Uploads, Words
from safelight.client.users import Users
from safelight.client.webhooks import Webhooks
from safelight.client.wire import CHUNK, LONGEST_WAIT_S, PAGE, TRIES, Told, Unreachable

__all__ = [
    "CHUNK",
    "LONGEST_WAIT_S",
    "PAGE",
    "TRIES",
    "Album",
    "Amounts",
    "ApiKey",
    "AuditEntry",
    "AuditHead",
    "AuditOrigin",
    "Client",
    "CloudFrontCookies",
    "CloudFrontRendition",
    "CloudFrontUrls",
    "CostLine",
    "Erasure",
    "Failure",
    "FocalPoint",
    "FoundImage",
    "Grant",
    "Image",
    "Issuer",
    "IssuerCheck",
    "IssuerKey",
    "Lent",
    "Link",
    "Mended",
    "Offer",
    "Problem",
    "Purge",
    "Reading",
    "Ready",
    "Recipe",
    "RecipePlaces",
    "Redevelopment",
    "Rendition",
    "SearchPage",
    "SigningKey",
    "Step",
    "Tenant",
    "TenantMade",
    "TokenKey",
    "Told",
    "Unreachable",
    "Urls",
    "Usage",
    "User",
    "Warming",
    "Webhook",
    "WebhookAttempt",
    "WebhookDelivery",
    "Words",
]


class Client(Uploads, Images, Albums, Delivery, Developing, Users, Tenants, Privacy, Webhooks, Operations):
    """A connection to one server with one API key. Close it, or use it as a context manager.

    Every method raises the server's refusal, BackendUnavailable when the answer stays away or breaks off, and Unreachable when
    there is no server; `advice` is added to the words of the latter.
    """
