"""Which calls of the catalog's ports leave an entry: every method is told, reads, or is silent for a reason."""

from __future__ import annotations

import typing

import pytest

from safelight.ports import catalog as ports
from safelight.services.audited import RULES, SILENT

READS = {
    "": set(),
    "images": {"get", "get_many", "page", "by_sha256", "trashed_before", "tags"},
    "albums": {"get", "page", "of_image"},
    "albums.shares": {"grants", "lent", "loans", "links"},
    "accounts": {"users", "signing_keys"},
    "accounts.api_keys": {"all"},
    "accounts.issuers": {"all", "identity"},
    "uploads": {"get", "due"},
    "people": {"credential", "code", "session", "sessions"},
    "factors": {"totp", "passkey", "passkeys"},
    "webhooks": {"get", "all"},
    "webhooks.deliveries": {"get", "due", "page"},
    "redevelopments": {"get", "page"},
    "directory": {"key", "tenant_of", "tenants"},
    "directory.outbox": {"untold", "due", "redeveloping"},
    "directory.outbox.purges": {"get", "due", "page"},
    "directory.people": {"by_email", "session", "link", "failures"},
    "directory.people.trust": {"token_keys", "issuers", "inherited_keys"},
}
ITSELF = {"tenant", "trail", "emit"}
"""Of Records and Directory: values, the trail, and what is noted apart."""


def parts_of(port, path):
    """The methods of a port, and of every part that it has, by path."""
    methods = set()
    for name in dir(port):
        member = getattr(port, name)
        if name.startswith("_") or name in ITSELF:
            continue
        if isinstance(member, property):
            returned = typing.get_type_hints(member.fget, vars(ports))["return"]
            yield from parts_of(returned, f"{path}.{name}" if path else name)
        else:
            methods.add(name)
    yield path, methods


PARTS = dict([*parts_of(ports.Records, ""), *parts_of(ports.Directory, "directory")])


@pytest.mark.parametrize("path", sorted(PARTS.keys() | RULES.keys()))
def test_every_method_is_told_reads_or_is_silent_for_a_reason(path):
    known = [set(RULES.get(path, ())), set(SILENT.get(path, ())), READS[path]]

    assert PARTS[path] == set().union(*known)
    assert len(PARTS[path]) == sum(map(len, known))
    assert path in RULES or not PARTS[path]
    assert all(SILENT.get(path, {}).values())
