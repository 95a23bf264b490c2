"""Passkeys: the ceremonies of WebAuthn Level 3 on the server's side, over the `webauthn` package. Values in, values out, no clock.

User verification is required and nothing else is believed to have happened, so a passkey is two factors by itself. Attestation is
not asked for: which model somebody uses is no reason to refuse them. Called by services.passkeys.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

LONGEST_ID: Final = 1023
"""Bytes of a credential id (WebAuthn section 5.8.3)."""
LONGEST_KEY: Final = 1200
"""Bytes of a COSE key: RSA with 8192 bits. Whoever registers more pays for nothing but our time."""
_TIMEOUT_MS: Final = 120_000


class BadAnswer(Exception):
    """The authenticator's answer is malformed, or not to what was asked. Its text is for the log."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A new credential; `public_key` is a COSE key."""

    credential: bytes
    public_key: bytes
    sign_count: int
    aaguid: str
    is_synced: bool


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """Who asks: a domain (`id`), the name that browsers show, and the origins that pages may have."""

    id: str
    name: str
    origins: tuple[str, ...]

    def registration(self, *, challenge: bytes, handle: bytes, name: str, known: Sequence[bytes]) -> dict[str, Any]:
        """PublicKeyCredentialCreationOptionsJSON, for `PublicKeyCredential.parseCreationOptionsFromJSON`."""
        # Imported late, here and below: a quarter of a second that only who uses passkeys should pay.
        from webauthn import generate_registration_options
        from webauthn.helpers.options_to_json_dict import options_to_json_dict
        from webauthn.helpers.structs import (
            AuthenticatorSelectionCriteria,
            PublicKeyCredentialDescriptor,
            ResidentKeyRequirement,
            UserVerificationRequirement,
        )

        options = generate_registration_options(
            rp_id=self.id,
            rp_name=self.name,
            user_id=handle,
            user_name=name,
            challenge=challenge,
            timeout=_TIMEOUT_MS,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=one) for one in known],
        )
        return options_to_json_dict(options)

    def assertion(self, *, challenge: bytes, known: Sequence[bytes] = ()) -> dict[str, Any]:
        """PublicKeyCredentialRequestOptionsJSON. Without `known` the user chooses among what they have for this domain."""
        from webauthn import generate_authentication_options
        from webauthn.helpers.options_to_json_dict import options_to_json_dict
        from webauthn.helpers.structs import PublicKeyCredentialDescriptor, UserVerificationRequirement

        options = generate_authentication_options(
            rp_id=self.id,
            challenge=challenge,
            timeout=_TIMEOUT_MS,
            allow_credentials=[PublicKeyCredentialDescriptor(id=one) for one in known],
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return options_to_json_dict(options)

    def registered(self, answer: Mapping[str, Any], challenge: bytes) -> Registered:
        """What `navigator.credentials.create` gave (WebAuthn section 7.1). Raises BadAnswer."""
        from webauthn import verify_registration_response

        try:
            found = verify_registration_response(
                credential=dict(answer),
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=list(self.origins),
                require_user_verification=True,
            )
        # Everything: what strangers send ends in errors of CBOR, of ASN.1, of keys that are on no curve, and of plain Python.
        except Exception as error:
            raise BadAnswer(f"{type(error).__name__}: {error}") from error
        if len(found.credential_id) > LONGEST_ID or len(found.credential_public_key) > LONGEST_KEY:
            raise BadAnswer("too long")
        return Registered(
            found.credential_id, found.credential_public_key, found.sign_count, found.aaguid, found.credential_backed_up
        )

    def asserted(self, answer: Mapping[str, Any], challenge: bytes, *, public_key: bytes, sign_count: int) -> tuple[int, bool]:
        """What `navigator.credentials.get` gave (WebAuthn section 7.2): the counter now, and whether the passkey is synced.

        Raises BadAnswer, also for a counter that has not grown: there may be a copy of the authenticator.
        """
        from webauthn import verify_authentication_response

        try:
            found = verify_authentication_response(
                credential=dict(answer),
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=list(self.origins),
                credential_public_key=public_key,
                credential_current_sign_count=sign_count,
                require_user_verification=True,
            )
        except Exception as error:  # as above
            raise BadAnswer(f"{type(error).__name__}: {error}") from error
        return found.new_sign_count, found.credential_backed_up


def challenge_of(answer: Mapping[str, Any]) -> bytes:
    """The challenge that the answer says it is to, not verified yet. Raises BadAnswer; for pages in frames of others too."""
    try:
        client_data = json.loads(_bytes(answer["response"]["clientDataJSON"]))
        if client_data.get("crossOrigin", False) is not False:
            raise BadAnswer("asked from within another site's page")
        return _bytes(client_data["challenge"])
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise BadAnswer("no client data") from error


def credential_of(answer: Mapping[str, Any]) -> bytes:
    """The credential id that the answer names. Raises BadAnswer."""
    try:
        return _bytes(answer["rawId"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswer("no credential id") from error


def handle_of(answer: Mapping[str, Any]) -> str:
    """The user handle that a discoverable credential says, as text. Raises BadAnswer."""
    try:
        return _bytes(answer["response"]["userHandle"]).decode("ascii")
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswer("no user handle") from error


def _bytes(text: object) -> bytes:
    if not isinstance(text, str):
        raise TypeError
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError from error
