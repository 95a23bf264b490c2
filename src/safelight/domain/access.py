"""Who may do what, on one page. Services call `require` on their first line; no other place decides.

A refusal about a thing that the actor may not even see is told as Missing, so that nobody learns what exists.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, Literal

from safelight.domain.accounts import Actor, Role, Scope, Tenant
from safelight.domain.albums import Album
from safelight.domain.images import Image, Visibility
from safelight.domain.sharing import Lent
from safelight.domain.uploads import Upload
from safelight.errors import Forbidden, Missing

Permission = Literal[
    "image.list", "image.create", "image.read", "image.history", "image.original", "image.edit", "image.trash", "image.purge",
    "image.lend",
    "upload.read", "upload.change",
    "album.list", "album.create", "album.read", "album.edit", "album.delete", "album.contribute", "album.share",
    "signing.read", "signing.manage",
    "failures.read", "failures.manage",
    "users.manage",
    "tenant.manage", "tenant.read", "tenant.configure", "tenant.export", "usage.read",
    "preset.read", "preset.manage",
    "recipe.read", "recipe.manage",
    "redevelopment.read", "redevelopment.manage",
    "key.list", "key.manage",
    "issuer.read", "issuer.manage",
    "session.list", "session.end", "session.step_up", "password.change",
    "factors.read", "factors.change",
    "tokens.read", "tokens.manage",
    "audit.read", "audit.installation",
    "webhooks.read", "webhooks.manage",
    "account.export", "account.erase",
    "purges.manage", "purges.all", "warmings.manage", "sources.sign",
]  # fmt: skip


class Hidden(Missing):
    """There is nothing here."""

    # To whoever asks it is the Missing of a thing that does not exist; the audit trail knows better.


Thing = Tenant | Image | Album | Upload | None
Rule = Callable[[Actor, Thing], bool]


def _anyone(actor: Actor, thing: Thing) -> bool:
    return True


def _sees(actor: Actor, thing: Thing) -> bool:
    if isinstance(thing, Tenant):
        return thing.id == actor.tenant or actor.role is Role.OPERATOR
    if _owns(actor, thing):
        return True
    return isinstance(thing, Image) and thing.visibility is not Visibility.PRIVATE and not thing.is_trashed


def _owns(actor: Actor, thing: Thing) -> bool:
    if thing is None or isinstance(thing, Tenant):
        return False
    return thing.tenant == actor.tenant and (thing.owner == actor.user or _administers(actor, thing))


def _is_theirs(actor: Actor, thing: Thing) -> bool:
    """Their very own: not even an admin puts another's image before others as if by that one's will."""
    return isinstance(thing, Image) and thing.tenant == actor.tenant and thing.owner == actor.user


def _administers(actor: Actor, thing: Thing) -> bool:
    return actor.role in (Role.ADMIN, Role.OPERATOR)


def _operates(actor: Actor, thing: Thing) -> bool:
    return actor.role is Role.OPERATOR


def _leads(actor: Actor, thing: Thing) -> bool:
    """An operator any tenant, an admin their own."""
    is_own = thing is None or (isinstance(thing, Tenant) and thing.id == actor.tenant)
    return _operates(actor, thing) or (actor.role is Role.ADMIN and is_own)


def _signed_in(actor: Actor, thing: Thing) -> bool:
    """By a session, not by an API key: a program's key neither sees nor ends its user's sessions, nor changes the password."""
    return actor.session is not None


def _in_person(actor: Actor, thing: Thing) -> bool:
    """By a session or an outside issuer's token: a key makes no key, or its end and its networks would bind nobody."""
    return actor.key is None


RULES: Final[dict[Permission, tuple[Scope, Rule]]] = {
    "image.list": (Scope.READ, _anyone),
    "image.create": (Scope.WRITE, _anyone),
    "image.read": (Scope.READ, _sees),
    "image.history": (Scope.READ, _owns),
    "image.original": (Scope.READ, _owns),
    "image.edit": (Scope.WRITE, _owns),
    "image.trash": (Scope.WRITE, _owns),
    "image.purge": (Scope.WRITE, _owns),
    "image.lend": (Scope.WRITE, _is_theirs),
    "upload.read": (Scope.READ, _owns),
    "upload.change": (Scope.WRITE, _owns),
    "album.list": (Scope.READ, _anyone),
    "album.create": (Scope.WRITE, _anyone),
    "album.read": (Scope.READ, _owns),
    "album.edit": (Scope.WRITE, _owns),
    "album.delete": (Scope.WRITE, _owns),
    "album.contribute": (Scope.WRITE, _owns),
    "album.share": (Scope.WRITE, _owns),
    "signing.read": (Scope.ADMIN, _administers),
    "signing.manage": (Scope.ADMIN, _administers),
    "failures.read": (Scope.ADMIN, _operates),
    "failures.manage": (Scope.ADMIN, _operates),
    "users.manage": (Scope.ADMIN, _administers),
    "tenant.manage": (Scope.ADMIN, _operates),
    "tenant.read": (Scope.ADMIN, _leads),
    "tenant.configure": (Scope.ADMIN, _leads),
    "tenant.export": (Scope.ADMIN, _leads),
    "usage.read": (Scope.ADMIN, _administers),
    "preset.read": (Scope.ADMIN, _administers),
    "preset.manage": (Scope.ADMIN, _administers),
    "recipe.read": (Scope.ADMIN, _administers),
    "recipe.manage": (Scope.ADMIN, _administers),
    "redevelopment.read": (Scope.ADMIN, _administers),
    "redevelopment.manage": (Scope.ADMIN, _administers),
    "key.list": (Scope.READ, _in_person),
    "key.manage": (Scope.WRITE, _in_person),
    "issuer.read": (Scope.ADMIN, _administers),
    "issuer.manage": (Scope.ADMIN, _administers),
    "session.list": (Scope.READ, _signed_in),
    "session.end": (Scope.WRITE, _signed_in),
    "session.step_up": (Scope.READ, _signed_in),
    "password.change": (Scope.WRITE, _signed_in),
    "factors.read": (Scope.READ, _signed_in),
    "factors.change": (Scope.WRITE, _signed_in),
    "tokens.read": (Scope.ADMIN, _operates),
    "tokens.manage": (Scope.ADMIN, _operates),
    "audit.read": (Scope.ADMIN, _administers),
    "audit.installation": (Scope.ADMIN, _operates),
    # Whoever is told of every image of the tenant may as well see every image of the tenant.
    "webhooks.read": (Scope.ADMIN, _administers),
    "webhooks.manage": (Scope.ADMIN, _administers),
    "account.export": (Scope.READ, _in_person),
    "account.erase": (Scope.WRITE, _in_person),
    "purges.manage": (Scope.ADMIN, _administers),
    "sources.sign": (Scope.ADMIN, _administers),
    "purges.all": (Scope.ADMIN, _operates),
    "warmings.manage": (Scope.ADMIN, _administers),
}


LENT: Final[dict[Permission, Callable[[Lent], bool]]] = {
    "album.read": bool,
    "album.contribute": lambda lent: lent.may_contribute,
    "image.read": bool,
    "image.original": lambda lent: lent.has_originals,
}
"""What a thing that has been lent allows, beside its rule; nothing else."""


def is_recent(actor: Actor, *, now: datetime, within: timedelta) -> bool:
    """Whether the actor may do what asks for a recent proof of who they are. An API key may: nobody could ask it for one."""
    return actor.key is not None or (actor.proven_at is not None and now - actor.proven_at <= within)


def may(actor: Actor, permission: Permission, thing: Thing = None, lent: Lent | None = None) -> bool:
    """Whether the actor's scopes and role allow this, on this thing where one is given, perhaps as one that is lent to them."""
    scope, rule = RULES[permission]
    is_lent = lent is not None and permission in LENT and LENT[permission](lent)
    return scope in actor.scopes and (is_lent or rule(actor, thing))


def require(actor: Actor, permission: Permission, thing: Thing = None, lent: Lent | None = None) -> None:
    """Return, or refuse. Raises Missing for a thing that the actor may not see, else Forbidden."""
    if may(actor, permission, thing, lent):
        return
    if thing is not None and lent is None and not _sees(actor, thing):
        raise Hidden
    raise Forbidden
