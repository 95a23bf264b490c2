"""What goes over the wire: one model per shape, made from the domain's values here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal, TypedDict

import orjson
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from safelight import jose
from safelight.domain.accounts import MAX_NETWORKS, ApiKey, DuplicatePolicy, Grammar, Role, Scope, SigningKey, Tenant, User
from safelight.domain.addresses import MAX_URL
from safelight.domain.albums import Album
from safelight.domain.audit import Sealed
from safelight.domain.factors import Passkey
from safelight.domain.ids import UserId
from safelight.domain.images import MAX_CUSTOM_BYTES, MAX_DESCRIPTION, MAX_TITLE, Image, Status, Version, Visibility
from safelight.domain.issuers import TrustedIssuer
from safelight.domain.journal import Entry
from safelight.domain.people import Algorithm, Session, TokenKey
from safelight.domain.purges import Purge, PurgeOf, PurgeState
from safelight.domain.queries import SearchResult
from safelight.domain.tenants import LARGEST, Quotas
from safelight.domain.uploads import Upload, UploadState
from safelight.domain.webhooks import Delivery, Endpoint
from safelight.errors import BadField
from safelight.ports.workflows import Run, StepRun
from safelight.services.api_keys import KeyWish
from safelight.services.delivery import Signer
from safelight.services.history import PastRun
from safelight.services.issuers import Check
from safelight.services.meter import Report
from safelight.services.signin import Grant
from safelight.services.tokens import AccessToken
from safelight.settings import IssuerTerms
from safelight.signing.webhooks import secret_text as webhook_secret


def small_json(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same object, if it is small enough to be kept beside a record and plain enough to be stored."""
    try:
        size = len(orjson.dumps(value))
    except (TypeError, orjson.JSONEncodeError) as error:
        raise ValueError("not plain JSON") from error
    if size > MAX_CUSTOM_BYTES:
        raise ValueError(f"at most {MAX_CUSTOM_BYTES} bytes of JSON")
    return value


class Out(BaseModel):
    """An answer."""

    model_config = ConfigDict(frozen=True)


class In(BaseModel):
    """A request's body; what it does not know it refuses."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


class ProblemOut(Out):
    """RFC 9457 problem details, with a stable `code`."""

    type: str = Field(examples=["urn:safelight:problem:not_found"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    code: str = Field(examples=["not_found"])
    detail: str = Field(examples=["There is nothing here."])


class RenditionOut(Out):
    """One developed file and where it is delivered."""

    preset: str
    format: str
    type: str = Field(description="Media type.")
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    bytes: int
    url: str = Field(description="Ready to use; for a private image signed, and good for an hour at least.")


class ImageProblem(Out):
    """Why developing ended badly."""

    code: str
    detail: str


class FocalPoint(In):
    """A point as fractions of the upright picture, from its upper left corner; four decimals count."""

    x: float = Field(ge=0, le=1)
    y: float = Field(ge=0, le=1)


class ImageOut(Out):
    """One image: what its owner said, what the file says, what was made of it and where it is delivered."""

    id: str
    owner: str
    status: Status
    visibility: Visibility
    version: int = Field(description="Counts the bytes; 1 until they are replaced.")
    title: str
    description: str
    tags: list[str]
    custom: dict[str, Any]
    file_name: str
    type: str = Field(description="Media type of the original.")
    bytes: int
    sha256: str
    width: int = Field(description="Pixels, orientation applied.")
    height: int = Field(description="Pixels, orientation applied.")
    frames: int
    focal_point: FocalPoint | None = Field(description="What `gravity=focal` keeps inside.")
    taken_at: datetime | None
    camera: str
    place: str
    thumbhash: str = Field(description="Placeholder, base 64.")
    dominant_color: str
    phash: str = Field(description="Perceptual hash, 16 hex digits.")
    metadata: dict[str, Any] = Field(description="EXIF, IPTC and XMP without positions and serial numbers.")
    location: dict[str, Any] | None = Field(None, description="Only with include=location, for the owner.")
    created_at: datetime
    updated_at: datetime
    trashed_at: datetime | None
    problem: ImageProblem | None
    duplicate_of: str | None = Field(None, description="An older image of yours with the same bytes; told at upload.")
    renditions: list[RenditionOut]
    original_url: str
    etag: str = Field(description="For If-Match.")


def image_json(
    image: Image, signer: Signer, base: str, *, duplicate_of: str | None = None, with_location: bool = False
) -> dict[str, Any]:
    """The record as its readers get it: an ImageOut as plain values, which cost a tenth of the model on a page of fifty."""
    return {
        "id": image.id,
        "owner": image.owner,
        "status": image.status,
        "visibility": image.visibility,
        "version": image.version,
        "title": image.title,
        "description": image.description,
        "tags": image.tags,
        "custom": image.custom,
        "file_name": image.file_name,
        "type": image.media_type,
        "bytes": image.size_bytes,
        "sha256": image.sha256,
        "width": image.width,
        "height": image.height,
        "frames": image.frames,
        "focal_point": {"x": image.focal_point.x, "y": image.focal_point.y} if image.focal_point else None,
        "taken_at": image.taken_at,
        "camera": image.camera,
        "place": image.place,
        "thumbhash": image.thumbhash,
        "dominant_color": image.dominant_color,
        "phash": image.phash,
        "metadata": image.metadata.get("public", {}),
        "location": image.metadata.get("private", {}).get("location") if with_location else None,
        "created_at": image.created_at,
        "updated_at": image.updated_at,
        "trashed_at": image.trashed_at,
        "problem": {"code": image.problem.code, "detail": image.problem.detail} if image.problem else None,
        "duplicate_of": duplicate_of,
        "renditions": [
            {
                "preset": r.preset,
                "format": r.format,
                "type": r.media_type,
                "width": r.width,
                "height": r.height,
                "bytes": r.size_bytes,
                "url": signer.link(image, r, base),
            }
            for r in image.renditions
        ],
        "original_url": f"{base}/images/{image.id}/original",
        "etag": etag_of(image),
    }


def etag_of(image: Image) -> str:
    """The record's entity tag, for If-Match."""
    return f'"{image.revision}"'


class VersionOut(Out):
    """One version of the original; `GET /images/{id}/original?version=` has its bytes."""

    version: int
    is_current: bool
    sha256: str
    bytes: int
    type: str
    width: int
    height: int
    frames: int
    file_name: str
    created_at: datetime


def version_out(image: Image, version: Version) -> VersionOut:
    """The version as its owner gets it."""
    return VersionOut(
        version=version.number,
        is_current=version.number == image.version,
        sha256=version.sha256,
        bytes=version.size_bytes,
        type=version.media_type,
        width=version.width,
        height=version.height,
        frames=version.frames,
        file_name=version.file_name,
        created_at=version.created_at,
    )


class UploadIn(In):
    """A file that is going to be sent to the store."""

    filename: str = Field("", max_length=1000)
    content_type: str = Field("", max_length=200, description="`image/...`, as the browser says; the sender has to say it again.")
    size: int | None = Field(None, ge=1, lt=2**53, description="Bytes; needed for `put`. The store takes exactly as many.")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="Of the file; another one is refused.")
    method: Literal["post", "put"] = Field("post", description="A form that the store checks, or a PUT with signed headers.")
    title: str = Field("", max_length=MAX_TITLE)
    description: str = Field("", max_length=MAX_DESCRIPTION)
    tags: list[str] = Field(default_factory=list, max_length=1000)
    album_id: str | None = None
    visibility: Visibility = Visibility.PRIVATE
    custom: Annotated[dict[str, Any], AfterValidator(small_json)] = Field(default_factory=dict)


class UploadOut(Out):
    """An upload: what was announced, and what became of it."""

    id: str
    state: UploadState
    filename: str
    content_type: str
    size: int | None
    sha256: str | None
    created_at: datetime
    expires_at: datetime
    image_id: str | None = Field(description="The image that it has become.")
    duplicate_of: str | None
    problem: ImageProblem | None = Field(description="Why it was rejected.")


class ImportIn(In):
    """A picture that is to be fetched."""

    url: str = Field(max_length=MAX_URL, description="`https://…` or `http://…`, at a public address.")
    filename: str = Field("", max_length=1000, description="Empty: the last part of the URL's path.")
    title: str = Field("", max_length=MAX_TITLE)
    description: str = Field("", max_length=MAX_DESCRIPTION)
    tags: list[str] = Field(default_factory=list, max_length=1000)
    album_id: str | None = None
    visibility: Visibility = Visibility.PRIVATE
    custom: Annotated[dict[str, Any], AfterValidator(small_json)] = Field(default_factory=dict)


class ImportOut(Out):
    """An import: what was asked for, and what became of it."""

    id: str
    url: str
    state: UploadState
    filename: str
    created_at: datetime
    expires_at: datetime
    image_id: str | None = Field(description="The image that it has become.")
    duplicate_of: str | None
    problem: ImageProblem | None = Field(description="Why it was rejected.")


class OfferOut(UploadOut):
    """How to send the file. The URL is a secret until it expires."""

    method: Literal["POST", "PUT"]
    url: str
    fields: dict[str, str] = Field(description="Of the form, before the file, which comes last as `file`.")
    headers: dict[str, str] = Field(description="Of the PUT; Content-Length is the announced size.")


def import_out(upload: Upload) -> ImportOut:
    """The import as its owner gets it."""
    fields = upload_fields(upload)
    return ImportOut(url=upload.source, **{name: fields[name] for name in ImportOut.model_fields if name != "url"})


def upload_fields(upload: Upload) -> dict[str, Any]:
    """The upload as its owner gets it."""
    return {
        "id": upload.id,
        "state": upload.state,
        "filename": upload.file_name,
        "content_type": upload.media_type,
        "size": upload.size_bytes,
        "sha256": upload.sha256 or None,
        "created_at": upload.created_at,
        "expires_at": upload.expires_at,
        "image_id": upload.image,
        "duplicate_of": upload.duplicate_of,
        "problem": ImageProblem(code=upload.problem.code, detail=upload.problem.detail) if upload.problem else None,
    }


class HeardOut(Out):
    """How many events ended how."""

    accepted: int = 0
    rejected: int = 0
    ignored: int = 0


class ImagePage(Out):
    """A page of images; `next` goes into `cursor` for the one behind it, and is null at the end."""

    images: list[ImageOut]
    next: str | None


class ImagePatch(In):
    """RFC 7396 merge patch: what is left out stays, null empties."""

    title: str | None = Field(None, max_length=MAX_TITLE)
    description: str | None = Field(None, max_length=MAX_DESCRIPTION)
    tags: list[str] | None = None
    visibility: Visibility | None = None
    focal_point: FocalPoint | None = Field(None, description="What `gravity=focal` keeps inside; null takes it away.")
    custom: dict[str, Any] | None = None


class FoundImage(Out):
    """One search result: the record, how well it matched, and where (HTML-escaped, matches in <mark>)."""

    image: ImageOut
    score: float
    highlights: dict[str, str]


class SearchPage(Out):
    """Results, best first; facets count what matched by tag, type and year."""

    results: list[FoundImage]
    total: int = Field(description="How many match; at least so many where `is_total_exact` is false.")
    is_total_exact: bool = Field(
        description="Whether everything that matches was counted. Where it was not, the newest `total` matches were ranked and"
        " counted, by the facets too, and the others follow them, newest first."
    )
    facets: dict[str, dict[str, int]]
    corrected: str | None = Field(description="The text that was searched instead, when a word had to be mended.")
    next: str | None


def search_json(result: SearchResult, images: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Hits joined with their records, a SearchPage; a hit whose record has gone in between is left out."""
    by_id = {image["id"]: image for image in images}
    hits = [hit for hit in result.hits if hit.image in by_id]
    return {
        "results": [{"image": by_id[hit.image], "score": hit.score, "highlights": hit.highlights} for hit in hits],
        "total": result.total,
        "is_total_exact": result.is_total_exact,
        "facets": result.facets,
        "corrected": result.corrected,
        "next": None if result.next_offset is None else str(result.next_offset),
    }


class UrlsIn(In):
    """Transforms to make URLs of."""

    transforms: list[Annotated[str, Field(max_length=512)]] = Field(
        min_length=1, max_length=100, examples=[["w=300,h=200,fit=cover.webp", "width=1200.auto"]]
    )
    grammar: Grammar = Field(
        Grammar.NATIVE, description="Whose; imgproxy's are `rs:fill:300:200@webp`, thumbor's `300x200/smart`."
    )


class CloudFrontRendition(Out):
    """A stored rendition at the CDN."""

    preset: str
    format: str
    url: str


class CloudFrontOut(Out):
    """Signed CloudFront URLs of what is stored of an image."""

    renditions: list[CloudFrontRendition]
    original: str | None = Field(description="Null where no distribution stands before the originals, or it is not yours.")
    expires_at: datetime


class CloudFrontCookies(Out):
    """Cookies that open every stored rendition of the tenant at the CDN."""

    resource: str = Field(description="What they open.")
    cookies: dict[str, str]
    expires_at: datetime


class UrlsOut(Out):
    """Signed URLs, in the order asked."""

    urls: list[str]
    expires_at: datetime


class TagOut(Out):
    """A tag in use."""

    tag: str
    count: int


class AlbumOut(Out):
    """An album; its images are listed by `GET /images?album=`."""

    id: str
    owner: str
    title: str
    description: str
    cover: str | None
    image_count: int
    created_at: datetime
    updated_at: datetime
    etag: str


def album_out(album: Album) -> AlbumOut:
    """The album as its owner gets it."""
    return AlbumOut(
        id=album.id,
        owner=album.owner,
        title=album.title,
        description=album.description,
        cover=album.cover,
        image_count=album.image_count,
        created_at=album.created_at,
        updated_at=album.updated_at,
        etag=f'"{album.revision}"',
    )


class AlbumPage(Out):
    """Albums, newest first."""

    albums: list[AlbumOut]
    next: str | None


class AlbumIn(In):
    """A new album."""

    title: str
    description: str = ""


class AlbumPatch(In):
    """RFC 7396 merge patch of an album."""

    title: str | None = None
    description: str | None = None
    cover: str | None = None


class AlbumImages(In):
    """Images to add or move: to the end, or before another one."""

    images: list[str] = Field(min_length=1, max_length=500)
    before: str | None = None


class SigningKeyIn(In):
    """A new key of the ring: made here, or brought along from imgproxy or thumbor."""

    grammar: Grammar = Grammar.NATIVE
    secret: str = Field(
        "", max_length=1024, description="imgproxy: `IMGPROXY_KEY`, hex. thumbor: `SECURITY_KEY`, as it is. Empty: made."
    )
    salt: str = Field("", max_length=1024, description="imgproxy: `IMGPROXY_SALT`, hex.")
    size_bytes: int = Field(32, description="imgproxy: `IMGPROXY_SIGNATURE_SIZE`, 8 to 32.")


class SigningKeyFields(TypedDict):
    """As the service takes them."""

    grammar: Grammar
    secret: bytes
    salt: bytes
    size_bytes: int


def signing_key_fields(asked: SigningKeyIn) -> SigningKeyFields:
    """The secrets as bytes. Raises BadField."""

    def unhexed(field: str, text: str) -> bytes:
        try:
            return bytes.fromhex(text)
        except ValueError:
            raise BadField(f"{field} is hexadecimal.", field=field) from None

    secret = asked.secret.encode() if asked.grammar is Grammar.THUMBOR else unhexed("secret", asked.secret)
    return {
        "grammar": asked.grammar,
        "secret": secret,
        "salt": unhexed("salt", asked.salt),
        "size_bytes": asked.size_bytes,
    }


class SigningKeyOut(Out):
    """A key of the ring; its secret is shown only when it is made."""

    kid: str
    grammar: Grammar
    created_at: datetime
    retired_at: datetime | None
    secret: str | None = Field(None, description="Hex, thumbor's as it is; only in the answer that makes the key.")
    salt: str | None = Field(None, description="imgproxy's, likewise.")


def signing_key_out(key: SigningKey, *, with_secret: bool = False) -> SigningKeyOut:
    """The key as an admin gets it."""
    secret = key.secret.decode(errors="replace") if key.grammar is Grammar.THUMBOR else key.secret.hex()
    return SigningKeyOut(
        kid=key.kid,
        grammar=key.grammar,
        created_at=key.created_at,
        retired_at=key.retired_at,
        secret=secret if with_secret else None,
        salt=key.salt.hex() if with_secret and key.salt else None,
    )


class RetireIn(In):
    """When a signing key stops being believed."""

    after_s: int = Field(0, ge=0, le=366 * 86400)


class UserIn(In):
    """A new user."""

    name: str
    role: Role = Role.USER
    email: str = Field("", max_length=254, description="Invites them to sign in with this address.")
    language: str = Field("", max_length=35, description="Of their letters, as a BCP 47 tag.")


class InviteIn(In):
    """An invitation to sign in."""

    email: str = Field(max_length=254)
    language: str = Field("", max_length=35, description="Of their letters, as a BCP 47 tag.")


class Secretive(In):
    """Passwords are taken as they are typed, blanks and all."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False)


class SignUpIn(Secretive):
    """A wish for an account."""

    email: str = Field(max_length=254)
    password: str = Field(max_length=1024)
    tenant: str = Field("default", max_length=200)
    language: str = Field("", max_length=35, description="Of your letters, as a BCP 47 tag. Default: as Accept-Language says.")


class TakenOut(Out):
    """It was taken; what becomes of it is told by mail, to the address alone."""

    detail: str = "If this address can have it, a mail is on its way."


class ProofIn(Secretive):
    """That you read mail at an address: the `token` of the link, or the address and its `code`."""

    token: str = Field("", max_length=1024)
    email: str = Field("", max_length=254)
    code: str = Field("", max_length=32)
    tenant: str = Field("default", max_length=200)


class SignInIn(Secretive):
    """An address and its password."""

    email: str = Field(max_length=254)
    password: str = Field(max_length=1024)
    tenant: str = Field("default", max_length=200)


class RefreshIn(In):
    """A refresh token."""

    refresh_token: str = Field(max_length=512)


class ForgotIn(In):
    """Whose password is to be chosen anew."""

    email: str = Field(max_length=254)
    tenant: str = Field("default", max_length=200)


class PasswordResetIn(ProofIn):
    """A new password, and what allows you to choose it."""

    password: str = Field(max_length=1024)


class PasswordChangeIn(Secretive):
    """The password now, and the next."""

    current: str = Field(max_length=1024)
    password: str = Field(max_length=1024)


class GrantOut(Out):
    """Tokens, named as in RFC 6749 section 5.1."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 (a scheme, not a secret)
    expires_in: int = Field(description="Seconds for which the access token is good.")
    refresh_token: str
    refresh_expires_at: datetime
    session: str


def grant_out(grant: Grant) -> GrantOut:
    """What the client keeps."""
    return GrantOut(
        access_token=grant.access.text,
        expires_in=grant.access.life_s,
        refresh_token=grant.refresh_token,
        refresh_expires_at=grant.session.expires_at,
        session=grant.session.id,
    )


class SecondLegIn(Secretive):
    """The ticket of a sign-in, and a code."""

    ticket: str = Field(max_length=1024, description="From the answer `mfa_required`.")
    code: str = Field(max_length=64, description="Six digits of the authenticator app, or a recovery code.")


class MfaOut(Out):
    """What you have beside a password."""

    totp_since: datetime | None = Field(description="Since when an authenticator app is asked for; null: none is.")
    recovery_codes: int = Field(description="How many are left.")
    passkeys: int


class EnrolmentOut(Out):
    """What to tell an authenticator app. Not shown again."""

    secret: str = Field(description="In base 32, for typing.")
    uri: str = Field(description="`otpauth://totp/…`, what the QR code says.")
    qr_svg: str = Field(description="The QR code as a data URI, for an `img`.")
    qr_png: str


class CodeIn(Secretive):
    """A code of the authenticator app."""

    code: str = Field(max_length=64)


class RecoveryCodesOut(Out):
    """Each signs you in once without your authenticator app. Not shown again."""

    recovery_codes: list[str]


class AuthenticatorResponseIn(BaseModel):
    """Base64url, as `PublicKeyCredential.toJSON()` writes it (WebAuthn Level 3, section 5.1). The rest of it is not looked at."""

    client_data: str = Field(alias="clientDataJSON", max_length=8192)
    attestation: str | None = Field(None, alias="attestationObject", max_length=32_768)
    authenticator_data: str | None = Field(None, alias="authenticatorData", max_length=8192)
    signature: str | None = Field(None, max_length=4096)
    user_handle: str | None = Field(None, alias="userHandle", max_length=128)
    transports: list[Annotated[str, Field(max_length=64)]] | None = Field(None, max_length=16)


class AuthenticatorAnswerIn(BaseModel):
    """What `navigator.credentials.create` or `.get` gave, by its `toJSON()`."""

    id: str = Field(max_length=1400)
    raw_id: str = Field(alias="rawId", max_length=1400)
    type: Literal["public-key"]
    response: AuthenticatorResponseIn

    def as_told(self) -> dict[str, Any]:
        """In the names of WebAuthn."""
        return self.model_dump(by_alias=True, exclude_none=True)


class PasskeyIn(In):
    """A new passkey."""

    name: str = Field("Passkey", max_length=100, description="By which its owner knows it again.")
    credential: AuthenticatorAnswerIn


class PasskeySignInIn(In):
    """A passkey's answer."""

    credential: AuthenticatorAnswerIn


class PasskeyNameIn(In):
    """Another name."""

    name: str = Field(max_length=100)


class PasskeyOut(Out):
    """A passkey of yours."""

    id: str
    name: str
    created_at: datetime
    used_at: datetime | None
    aaguid: str = Field(description="The authenticator's model, where it tells; zeros where it does not.")
    is_synced: bool = Field(description="Its provider keeps it, so it may be on several devices.")


def passkey_out(passkey: Passkey) -> PasskeyOut:
    """The passkey as its owner gets it, without its key."""
    return PasskeyOut(
        id=passkey.id,
        name=passkey.name,
        created_at=passkey.created_at,
        used_at=passkey.used_at,
        aaguid=passkey.aaguid,
        is_synced=passkey.is_synced,
    )


class StepUpIn(Secretive):
    """A code where you have an authenticator app, else the password; or a passkey's answer."""

    credential: AuthenticatorAnswerIn | None = Field(None, description="To the options of `POST /auth/step-up/options`.")

    password: str = Field("", max_length=1024)
    code: str = Field("", max_length=64, description="Six digits of the authenticator app, or a recovery code.")


class AccessOut(Out):
    """An access token with a new `auth_time`; the refresh token stays as it is."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 (a scheme, not a secret)
    expires_in: int


def access_out(token: AccessToken) -> AccessOut:
    """What the client goes on with."""
    return AccessOut(access_token=token.text, expires_in=token.life_s)


class SessionOut(Out):
    """One of your sessions."""

    id: str
    created_at: datetime
    used_at: datetime = Field(description="Last refreshed.")
    expires_at: datetime
    address: str = Field(description="Where it was begun from.")
    agent: str = Field(description="What the client called itself.")
    is_current: bool


def session_out(session: Session, *, is_current: bool) -> SessionOut:
    """The session as its user gets it, without a secret."""
    return SessionOut(
        id=session.id,
        created_at=session.created_at,
        used_at=session.used_at,
        expires_at=session.expires_at,
        address=session.address,
        agent=session.agent,
        is_current=is_current,
    )


class TokenKeyIn(In):
    """A new key for access tokens."""

    algorithm: Algorithm | None = Field(None, description="Default: as `SAFELIGHT_AUTH__ALGORITHM` says.")


class TokenKeyOut(Out):
    """A key of the ring, without its private half."""

    kid: str
    algorithm: Algorithm
    created_at: datetime
    retired_at: datetime | None


def token_key_out(key: TokenKey) -> TokenKeyOut:
    """The key as an operator gets it."""
    return TokenKeyOut(kid=key.kid, algorithm=key.algorithm, created_at=key.created_at, retired_at=key.retired_at)


class TokenRetireIn(In):
    """When to stop believing the key."""

    after_s: int | None = Field(None, ge=0, le=10 * 365 * 86_400, description="Default: when its last token has expired.")


_Amount = Annotated[int | None, Field(ge=0, le=LARGEST)]


class QuotasIn(In):
    """At most so much: 0 is any amount, null what the installation says."""

    bytes: _Amount = None
    images: _Amount = None
    transformations: _Amount = None
    requests_per_s: _Amount = None


class TenantIn(In):
    """A new tenant and its first admin."""

    name: str = Field(max_length=64)
    admin: str = Field("admin", min_length=1, max_length=200, description="What to call its first admin.")
    trash_days: int = Field(30, ge=0, le=36_500, description="Default: the installation's.")
    duplicates: DuplicatePolicy = DuplicatePolicy.TELL
    quotas: QuotasIn = QuotasIn()


class TenantPatch(In):
    """What to change; what is not named stays."""

    name: str = Field("", max_length=64)
    trash_days: int = Field(30, ge=0, le=36_500)
    duplicates: DuplicatePolicy = DuplicatePolicy.TELL
    domains: tuple[str, ...] = Field(
        (), max_length=20, description="Host names that are this tenant's alone; the first is in its URLs."
    )
    origins: tuple[str, ...] = Field(
        (), max_length=20, description="Of pages that may read answers to its users, as browsers send them."
    )
    quotas: QuotasIn = QuotasIn()


class QuotasOut(Out):
    """At most so much; 0 is any amount. Of a tenant's own, null is what the installation says."""

    bytes: int | None
    images: int | None
    transformations: int | None
    requests_per_s: int | None


class StoredOut(Out):
    """What a tenant has: bytes of originals, and images, with what is in the trash."""

    bytes: int
    images: int


class TenantOut(Out):
    """A tenant. `quotas` are its own, `limits` what holds."""

    id: str
    name: str
    created_at: datetime
    suspended_at: datetime | None
    trash_days: int
    duplicates: DuplicatePolicy
    origins: list[str]
    domains: list[str]
    quotas: QuotasOut
    limits: QuotasOut
    stored: StoredOut
    revision: int


class TenantMadeOut(TenantOut):
    """A new tenant, with the id of its admin and the token of the admin's API key."""

    admin: str
    token: str


def quotas_of(body: QuotasIn) -> Quotas:
    """As the domain has them."""
    return Quotas(**body.model_dump())


def tenant_changes(body: TenantPatch) -> dict[str, Any]:
    """What the body names, and of the quotas those that it names."""
    return body.model_dump(exclude_unset=True)


def tenant_out(tenant: Tenant, limits: Quotas) -> TenantOut:
    """The tenant as an operator gets it, or its admin."""
    return TenantOut(
        id=tenant.id,
        name=tenant.name,
        created_at=tenant.created_at,
        suspended_at=tenant.suspended_at,
        trash_days=tenant.trash_days,
        duplicates=tenant.duplicates,
        origins=list(tenant.origins),
        domains=list(tenant.domains),
        quotas=QuotasOut(**asdict(tenant.quotas)),
        limits=QuotasOut(**asdict(limits)),
        stored=StoredOut(**asdict(tenant.stored)),
        revision=tenant.revision,
    )


class PresetIn(In):
    """What a preset stands for from now on."""

    options: str = Field(min_length=1, max_length=500, examples=["w=400,h=300,fit=cover,gravity=auto"])


class PresetOut(Out):
    """A preset of the tenant's own. `/i/{id}/{name}.webp` is the last version, `/i/{id}/{name}@{n}.webp` the n-th for ever."""

    name: str
    options: str
    version: int
    versions: list[str]


def preset_out(name: str, versions: Sequence[str]) -> PresetOut:
    """The preset with all its versions, the first first."""
    return PresetOut(name=name, options=versions[-1], version=len(versions), versions=list(versions))


class UsageOut(Out):
    """A month of a tenant (UTC). Averages are of hourly looks; `limits` are its quotas, 0 for any amount."""

    tenant: str
    name: str
    month: str
    uploads: int
    uploaded_bytes: int
    transformations: int
    deliveries: int
    delivered_bytes: int
    requests: int
    average_bytes: int
    average_images: int
    stored: StoredOut
    limits: QuotasOut


class CostLine(Out):
    """So many units at that price."""

    what: str
    units: float
    price: float
    cost: float


class BilledUsageOut(UsageOut):
    """With what it costs by the price list of the settings; an estimate, not rounded."""

    currency: str
    lines: list[CostLine]
    cost: float


def usage_fields(report: Report, limits: Quotas) -> dict[str, Any]:
    """What both answers have."""
    usage = report.usage
    return {
        "tenant": report.tenant.id,
        "name": report.tenant.name,
        "month": usage.month,
        **asdict(usage.counts),
        "average_bytes": usage.average_bytes,
        "average_images": usage.average_images,
        "stored": StoredOut(**asdict(report.tenant.stored)),
        "limits": QuotasOut(**asdict(limits)),
    }


def billed_usage(report: Report, limits: Quotas, currency: str) -> BilledUsageOut:
    """As an operator or admin gets it."""
    lines = [CostLine(what=line.what, units=line.units, price=line.price, cost=line.cost) for line in report.lines]
    cost = sum(line.cost for line in lines)
    return BilledUsageOut(**usage_fields(report, limits), currency=currency, lines=lines, cost=cost)


class UserOut(Out):
    """A user of the tenant."""

    id: str
    name: str
    role: Role
    created_at: datetime
    disabled_at: datetime | None


def user_out(user: User) -> UserOut:
    """The user as an admin gets it."""
    return UserOut(id=user.id, name=user.name, role=user.role, created_at=user.created_at, disabled_at=user.disabled_at)


class IssuerIn(IssuerTerms):
    """An outside issuer whose tokens are to be believed."""


class IssuerOut(Out):
    """An outside issuer. Those of the settings have an `id` that begins with `settings-`."""

    id: str
    issuer: str
    created_at: datetime
    audiences: list[str]
    jwks_url: str
    algorithms: list[str]
    authorized_parties: list[str]
    token_use: list[str]
    skew_s: int
    name_claims: list[str]
    role_claim: str
    roles: dict[str, Role]
    default_role: Role | None
    scope_claim: str
    scopes: dict[str, Scope]
    tenant_name: str
    tenant_claim: str


def issuer_out(issuer: TrustedIssuer) -> IssuerOut:
    """The issuer as an admin gets it."""
    return IssuerOut(id=issuer.id, issuer=issuer.issuer, created_at=issuer.created_at, **asdict(issuer.terms))


class IssuerCheckIn(In):
    """What to read while trying an issuer."""

    token: str = Field("", max_length=jose.LONGEST, description="A token of it, to see what it would be taken for.")


class IssuerKeyOut(Out):
    """A key that an issuer publishes, for one of the algorithms that it may verify."""

    kid: str
    algorithm: str


class ReadingOut(Out):
    """What a token would be taken for; nobody is added by that."""

    is_taken: bool
    refusal: str = Field(description="Why it opens nothing. The door itself never says.")
    subject: str
    name: str
    role: Role | None
    scopes: list[Scope]


class IssuerCheckOut(Out):
    """What an issuer publishes now."""

    jwks_url: str
    keys: list[IssuerKeyOut]
    token: ReadingOut | None


def issuer_check_out(check: Check) -> IssuerCheckOut:
    """What was found."""
    reading = check.reading
    return IssuerCheckOut(
        jwks_url=check.jwks_url,
        keys=[IssuerKeyOut(kid=key.kid, algorithm=key.algorithm) for key in check.keys],
        token=reading
        and ReadingOut(
            is_taken=not reading.refusal,
            refusal=reading.refusal,
            subject=reading.subject,
            name=reading.name,
            role=reading.role,
            scopes=list(reading.scopes),
        ),
    )


class ApiKeyIn(In):
    """A new API key for a user."""

    user: str
    name: str = Field("", max_length=200)
    scopes: list[Scope] = Field(default=[Scope.READ, Scope.WRITE], min_length=1)
    expires_at: AwareDatetime | None = None
    networks: list[str] = Field(
        [], max_length=MAX_NETWORKS, description="Addresses or networks (CIDR) it may be used from. Empty: any."
    )


class OwnKeyIn(In):
    """A new API key of yours; it may do what you may do, and no more."""

    name: str = Field("", max_length=200)
    scopes: list[Scope] = Field(default=[Scope.READ, Scope.WRITE], min_length=1)
    expires_at: AwareDatetime | None = None
    networks: list[str] = Field(
        [], max_length=MAX_NETWORKS, description="Addresses or networks (CIDR) it may be used from. Empty: any."
    )


class ApiKeyChangeIn(In):
    """What is to change of an API key."""

    name: str | None = Field(None, max_length=200)
    networks: list[str] | None = Field(None, max_length=MAX_NETWORKS, description="An empty list: it may be used from anywhere.")


def key_wish(body: ApiKeyIn | OwnKeyIn) -> KeyWish:
    """What the service makes."""
    return KeyWish(name=body.name, scopes=frozenset(body.scopes), expires_at=body.expires_at, networks=tuple(body.networks))


class ApiKeyOut(Out):
    """An API key; its token is shown only when it is made."""

    id: str
    user: str
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")
    networks: list[str]
    token: str | None = Field(None, description="Only in the answer that makes the key.")


def api_key_out(key: ApiKey, token: str | None = None) -> ApiKeyOut:
    """The key as an admin gets it."""
    return ApiKeyOut(
        id=key.id,
        user=key.user,
        name=key.name,
        scopes=sorted(key.scopes),
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        last_used_at=key.last_used_at,
        networks=[str(network) for network in key.networks],
        token=token,
    )


class WebhookIn(In):
    """A new webhook endpoint."""

    url: str = Field(max_length=MAX_URL, description="`https`, at a public address.")
    events: list[str] = Field(
        default=[], max_length=100, description="Types, or families like `image.*`; see the reference. Default: every one."
    )
    description: str = Field("", max_length=500)


class WebhookPatch(In):
    """What to change; what is not named stays."""

    url: str | None = Field(None, max_length=MAX_URL)
    events: list[str] | None = Field(None, max_length=100)
    description: str | None = Field(None, max_length=500)
    is_enabled: bool | None = None


class WebhookRotateIn(In):
    """How long the secret before signs beside the new one."""

    grace_s: int = Field(86_400, ge=0, le=30 * 86_400)


class WebhookReplayIn(In):
    """What to send again."""

    since: datetime = Field(description="With its offset from UTC; by the time of what happened.")
    state: Literal["delivered", "failed"] | None = Field(None, description="Only what ended so. Default: both.")


class WebhookOut(Out):
    """A webhook endpoint; its secret is shown only when it is made."""

    id: str
    url: str
    events: list[str] = Field(description="Empty: every one.")
    description: str
    created_at: datetime
    updated_at: datetime
    is_enabled: bool
    disabled_at: datetime | None
    disabled_for: Literal["asked", "gone", "failing"] | None = Field(
        description="`asked`: an administrator did; `gone`: it answered 410; `failing`: everything failed for days."
    )
    failing_since: datetime | None
    previous_secret_until: datetime | None = Field(description="Until then the secret before signs too.")
    etag: str
    secret: str | None = Field(None, description="`whsec_…`; only in the answers that make one.")


def webhook_out(endpoint: Endpoint, *, with_secret: bool = False) -> WebhookOut:
    """The endpoint as an admin gets it."""
    return WebhookOut(
        id=endpoint.id,
        url=endpoint.url,
        events=list(endpoint.events),
        description=endpoint.description,
        created_at=endpoint.created_at,
        updated_at=endpoint.updated_at,
        is_enabled=endpoint.is_enabled,
        disabled_at=endpoint.disabled_at,
        disabled_for=endpoint.disabled_for.value if endpoint.disabled_for else None,
        failing_since=endpoint.failing_since,
        previous_secret_until=endpoint.previous_until,
        etag=f'"{endpoint.revision}"',
        secret=webhook_secret(endpoint.secret) if with_secret else None,
    )


class AttemptOut(Out):
    """One try to deliver."""

    at: datetime
    duration_ms: int
    status: int | None = Field(description="None: there was no answer.")
    error: str | None = Field(description="Why not, as a code.")
    excerpt: str = Field(description="How the answer's body began.")


class WebhookDeliveryOut(Out):
    """One message for one endpoint, and what became of it."""

    id: str
    message_id: str = Field(description="`webhook-id`, the same in every attempt and at every endpoint.")
    type: str
    state: Literal["waiting", "delivered", "failed"]
    created_at: datetime
    next_attempt_at: datetime | None
    tries: int = Field(description="Since it was made or replayed.")
    attempts: list[AttemptOut]
    body: str = Field(description="What is sent, byte for byte.")


def webhook_delivery_out(delivery: Delivery) -> WebhookDeliveryOut:
    """The delivery as an admin gets it."""
    return WebhookDeliveryOut(
        id=delivery.id,
        message_id=delivery.message_id,
        type=delivery.type,
        state=delivery.state.value,
        created_at=delivery.created_at,
        next_attempt_at=delivery.due_at,
        tries=delivery.tries,
        attempts=[
            AttemptOut(
                at=one.at, duration_ms=one.duration_ms, status=one.status or None, error=one.error or None, excerpt=one.excerpt
            )
            for one in delivery.attempts
        ],
        body=delivery.body,
    )


class WebhookDeliveryPage(Out):
    """A page of the log, newest first."""

    deliveries: list[WebhookDeliveryOut]
    next: str | None = Field(description="The cursor of the next page.")


class WebhookReplayed(Out):
    """How much is sent again."""

    deliveries: int


class StepOut(Out):
    """One finished step of a run."""

    name: str
    started_at: datetime | None
    ended_at: datetime | None
    error: str | None


class PastStepOut(Out):
    """A step with all its tries, from the start of the first to the end of the last. `code`: why the last try failed."""

    name: str
    state: str
    tries: int
    started_at: datetime | None
    ended_at: datetime | None
    duration_s: float | None
    code: str | None


class PastRunOut(Out):
    """A run of a flow. `is_forgotten`: nothing but the image's record or journal knows of it any more. `cause`: an error code."""

    id: str | None
    flow: str
    state: str
    attempts: int
    cause: str | None
    is_forgotten: bool
    created_at: datetime
    updated_at: datetime
    steps: list[PastStepOut]


class HistoryOut(Out):
    """Newest first."""

    runs: list[PastRunOut]


def history_out(runs: Sequence[PastRun]) -> HistoryOut:
    """The runs of an image as its owner reads them."""
    return HistoryOut(
        runs=[
            PastRunOut(
                id=run.id or None,
                flow=run.flow,
                state=run.state.value,
                attempts=run.attempts,
                cause=run.cause or None,
                is_forgotten=run.is_forgotten,
                created_at=run.created_at,
                updated_at=run.updated_at,
                steps=[
                    PastStepOut(
                        name=step.name,
                        state=step.state.value,
                        tries=step.tries,
                        started_at=step.started_at,
                        ended_at=step.ended_at,
                        duration_s=step.duration_s,
                        code=step.code or None,
                    )
                    for step in run.steps
                ],
            )
            for run in runs
        ]
    )


def event_json(entry: Entry) -> dict[str, Any]:
    """An entry of the journal as its `data:` tells it."""
    told = {"image": entry.image, "at": entry.at.isoformat(), "version": entry.version, "revision": entry.revision}
    words = {"flow": entry.flow, "step": entry.step, "code": entry.code}
    return told | {name: word for name, word in words.items() if word}


class FailureOut(Out):
    """A dead letter: what was to be done, how often it was tried, what was noted of that (`log`) and why it was given up."""

    id: str
    flow: str
    payload: dict[str, Any]
    state: str
    attempts: int
    error: str | None
    tenant: str | None
    log: list[str]
    created_at: datetime
    updated_at: datetime
    steps: list[StepOut] = []


def failure_out(run: Run, steps: Sequence[StepRun] = ()) -> FailureOut:
    """The dead letter as an operator gets it."""
    return FailureOut(
        id=run.id,
        flow=run.flow,
        payload=dict(run.payload),
        state=run.state.value,
        attempts=run.attempts,
        error=run.error,
        tenant=run.party or None,
        log=list(run.log),
        created_at=run.created_at,
        updated_at=run.updated_at,
        steps=[StepOut(name=s.name, started_at=s.started_at, ended_at=s.ended_at, error=s.error) for s in steps],
    )


class MendedOut(Out):
    """How many were tried again or forgotten, and whether as many or more were left."""

    count: int
    has_more: bool


class FailurePage(Out):
    """Dead letters, newest first."""

    failures: list[FailureOut]


class PurgeIn(In):
    """What CDNs are to let go of: one of these."""

    image: str = Field("", description="The id of an image.", max_length=26)
    tag: str = Field("", description="The images with this tag.", max_length=200)
    tenant: bool = Field(False, description="Everything; operators only.")


def purge_wish(body: PurgeIn) -> tuple[PurgeOf, str]:
    """What is to go. Raises BadField unless exactly one thing is."""
    wishes = [
        (what, value)
        for what, value in ((PurgeOf.IMAGE, body.image), (PurgeOf.TAG, body.tag), (PurgeOf.TENANT, body.tenant))
        if value
    ]
    if len(wishes) != 1:
        raise BadField("Give one of image, tag and tenant.", field="image")
    what, value = wishes[0]
    return what, value if isinstance(value, str) else ""


class PurgeOut(Out):
    """What CDNs are to let go of, and how far that has come."""

    id: str
    what: PurgeOf
    value: str = Field(description="The image's id or the tag.")
    state: PurgeState
    images: int = Field(description="That it is about.")
    images_done: int = Field(description="Of which every CDN has said that nothing is left.")
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


class ReadyOut(Out):
    """Each part that has to answer before traffic should come here."""

    status: str
    parts: dict[str, str]


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
    """That everything of a user was erased."""

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
