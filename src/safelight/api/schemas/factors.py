"""Second factors, passkeys and step-up on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from safelight.api.schemas.common import In, Out, Secretive
from safelight.domain.factors import Passkey
from safelight.services.tokens import AccessToken


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
