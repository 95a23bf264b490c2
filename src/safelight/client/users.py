"""Who comes in: users, their API keys, access tokens and the outside issuers of those. A room of the client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from safelight.client.documents import ApiKey, Issuer, IssuerCheck, TokenKey, User
from safelight.client.wire import Connection, segment


class Users(Connection):
    """`/admin/users`, `/admin/api-keys`, `/admin/token-keys` and `/admin/issuers`."""

    def users(self) -> Sequence[User]:
        """Everybody of the tenant."""
        return cast("Sequence[User]", self._ask("GET", "/admin/users"))

    def add_user(self, name: str, *, role: str = "user", email: str = "", language: str = "") -> User:
        """A new user, invited to sign in if there is an `email`. Raises Forbidden, BadField, AlreadyExists."""
        body = {"name": name, "role": role, "email": email, "language": language}
        return cast("User", self._ask("POST", "/admin/users", json=body))

    def invite_user(self, user_id: str, email: str, *, language: str = "") -> None:
        """Let a user choose a password by mail. Raises Missing, AlreadyExists for who has one."""
        self._ask("POST", f"/admin/users/{segment(user_id)}/invite", json={"email": email, "language": language})

    def reset_mfa(self, user_id: str) -> None:
        """Take a user's second factors and passkeys away, and end their sessions. Raises Missing."""
        self._ask("DELETE", f"/admin/users/{segment(user_id)}/mfa")

    def disable_user(self, user_id: str) -> User:
        """Let nobody in as this user; what is theirs stays. Raises Missing, Conflict for yourself."""
        return cast("User", self._ask("POST", f"/admin/users/{segment(user_id)}/disable"))

    def enable_user(self, user_id: str) -> User:
        """Let them in again. Raises Missing."""
        return cast("User", self._ask("POST", f"/admin/users/{segment(user_id)}/enable"))

    def api_keys(self) -> Sequence[ApiKey]:
        """Every API key of the tenant, without its token."""
        return cast("Sequence[ApiKey]", self._ask("GET", "/admin/api-keys"))

    def add_api_key(
        self,
        user_id: str,
        *,
        name: str = "",
        scopes: Sequence[str] = ("read", "write"),
        expires_at: str | None = None,
        networks: Sequence[str] = (),
    ) -> ApiKey:
        """A new one for a user, with its token: this is the only time that it is known."""
        body = {"user": user_id, "name": name, "scopes": [*scopes], "expires_at": expires_at, "networks": [*networks]}
        return cast("ApiKey", self._ask("POST", "/admin/api-keys", json=body))

    def change_api_key(self, key_id: str, *, name: str | None = None, networks: Sequence[str] | None = None) -> ApiKey:
        """Another name, other networks to use it from (none: anywhere). Raises Missing."""
        body = {"name": name, "networks": None if networks is None else [*networks]}
        return cast("ApiKey", self._ask("PATCH", f"/admin/api-keys/{segment(key_id)}", json=body))

    def revoke_api_key(self, key_id: str) -> None:
        """End it now. Raises Missing."""
        self._ask("DELETE", f"/admin/api-keys/{segment(key_id)}")

    def token_keys(self) -> Sequence[TokenKey]:
        """The ring of keys for access tokens, newest first, without private halves."""
        return cast("Sequence[TokenKey]", self._ask("GET", "/admin/token-keys"))

    def add_token_key(self, algorithm: str | None = None) -> TokenKey:
        """A new one, published at once and signing in five minutes."""
        return cast("TokenKey", self._ask("POST", "/admin/token-keys", json={"algorithm": algorithm}))

    def retire_token_key(self, kid: str, *, after_s: int | None = None) -> TokenKey:
        """Sign nothing with it any more; None: believe it until its last token has expired. Raises Missing, WrongState."""
        return cast("TokenKey", self._ask("POST", f"/admin/token-keys/{segment(kid)}/retire", json={"after_s": after_s}))

    def issuers(self) -> Sequence[Issuer]:
        """Outside issuers whose tokens are believed."""
        return cast("Sequence[Issuer]", self._ask("GET", "/admin/issuers"))

    def add_issuer(self, issuer: str, audiences: Sequence[str], **terms: Any) -> Issuer:
        """Believe its tokens for these audiences; terms as `POST /admin/issuers` takes them. Raises AlreadyExists."""
        return cast("Issuer", self._ask("POST", "/admin/issuers", json={"issuer": issuer, "audiences": [*audiences], **terms}))

    def change_issuer(self, issuer_id: str, **terms: Any) -> Issuer:
        """Believe its tokens on these terms; the others stay. Raises Missing, AlreadyExists."""
        return cast("Issuer", self._ask("PATCH", f"/admin/issuers/{segment(issuer_id)}", json=terms))

    def remove_issuer(self, issuer_id: str) -> None:
        """Believe its tokens no more. Raises Missing."""
        self._ask("DELETE", f"/admin/issuers/{segment(issuer_id)}")

    def check_issuer(self, issuer_id: str, *, token: str = "") -> IssuerCheck:
        """Ask it for its keys now, and read a token of it. Raises Missing, and why the keys cannot be had."""
        return cast("IssuerCheck", self._ask("POST", f"/admin/issuers/{segment(issuer_id)}/check", json={"token": token}))
