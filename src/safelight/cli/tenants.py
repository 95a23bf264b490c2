"""`tenant`: what an operator does with the tenants of a running server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from safelight.cli import WrongUsage, output, privacy
from safelight.cli.connection import HERE, Json, Server
from safelight.cli.naming import the_one

if TYPE_CHECKING:
    from safelight.client import Amounts, Client, Tenant

tenant = App(name="tenant", help="Tenants: make, limit, suspend, export and erase them.")

Amount = Annotated[int | None, Parameter(validator=Number(gte=0))]


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Terms:
    """On which a tenant is kept. What is not said stays as it is; of a new tenant, as the installation has it."""

    max_bytes: Amount = None
    """Bytes of originals; 0 for any number."""
    max_images: Amount = None
    """Images; 0 for any number."""
    max_transformations: Amount = None
    """Renditions made on request in a month; 0 for any number."""
    max_requests_per_s: Amount = None
    """Requests a second of all its users together; 0 for any number."""
    trash_days: Annotated[int | None, Parameter(validator=Number(gte=0, lte=36_500))] = None
    """Days until its trash is purged."""
    duplicates: Literal["tell", "refuse", "reuse"] | None = None
    """What an upload of known bytes leads to."""

    def said(self) -> dict[str, Any]:
        """The members of a request that say so."""
        quotas = {
            "bytes": self.max_bytes,
            "images": self.max_images,
            "transformations": self.max_transformations,
            "requests_per_s": self.max_requests_per_s,
        }
        limits = {name: value for name, value in quotas.items() if value is not None}
        rest = {"trash_days": self.trash_days, "duplicates": self.duplicates}
        return ({"quotas": limits} if limits else {}) | {name: value for name, value in rest.items() if value is not None}


UNSAID: Final = Terms()


@tenant.command(name="list")
def list_tenants(*, server: Server = HERE, json: Json = False) -> int:
    """List tenants, oldest first, with what they have and may have."""
    with server.connect() as client:
        found = client.tenants()
    if json:
        output.say_json({"tenants": found})
        return 0
    rows = output.table("name", "images", "stored", "since", "state", "id", right=("images", "stored"))
    for each in found:
        images, stored = (_of(each, name) for name in ("images", "bytes"))
        state = "being erased" if each["erasure"] else "suspended" if each["suspended_at"] else "active"
        rows.add_row(output.text(each["name"]), images, stored, output.date(each["created_at"]), state, output.text(each["id"]))
    output.listing(found, rows, "There is no tenant.")
    return 0


@tenant.command(name="show")
def show_tenant(tenant: str, /, *, server: Server = HERE, json: Json = False) -> int:
    """Show one.

    Parameters
    ----------
    tenant
        Name or id.

    """
    with server.connect() as client:
        _say(_tenant(client, tenant), as_json=json)
    return 0


@tenant.command(name="add")
def add_tenant(
    name: str,
    /,
    *,
    admin: str = "admin",
    terms: Terms = UNSAID,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Make a tenant with an admin, on the installation's terms where no others are given. The token of the admin's API key is shown only now.

    Parameters
    ----------
    name
        Letters, digits, dots, dashes and underscores.
    admin
        What to call its first admin.

    """
    with server.connect() as client:
        made = client.add_tenant(name, admin=admin, **terms.said())
    output.say(made, f"Tenant {made['name']} is {made['id']}. Its admin's token, shown only now:", made["token"], as_json=json)
    return 0


@tenant.command(name="set")
def set_tenant(
    tenant: str,
    /,
    *,
    name: str = "",
    terms: Terms = UNSAID,
    inherit: tuple[Literal["max-bytes", "max-images", "max-transformations", "max-requests-per-s"], ...] = (),
    source: tuple[str, ...] = (),
    no_sources: Annotated[bool, Parameter(negative="")] = False,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Change what is named.

    Parameters
    ----------
    tenant
        Name or id.
    name
        Another name.
    inherit
        A limit that is the installation's from now on. May be repeated.
    source
        Place elsewhere from which its pictures are delivered from now on, like
        `https://cdn.example.com/photos` or `s3://bucket/photos`. May be repeated; others are no more.
    no_sources
        Deliver nothing from elsewhere.

    """
    if source and no_sources:
        raise WrongUsage("Give either --source or --no-sources.")
    changes = terms.said()
    quotas = changes.pop("quotas", {}) | {each.removeprefix("max-").replace("-", "_"): None for each in inherit}
    changes |= ({"quotas": quotas} if quotas else {}) | ({"name": name} if name else {})
    changes |= {"sources": [*source]} if source or no_sources else {}
    if not changes:
        raise WrongUsage("Say what to change.")
    with server.connect() as client:
        _say(client.change_tenant(_tenant(client, tenant)["id"], **changes), as_json=json)
    return 0


@tenant.command(name="suspend")
def suspend_tenant(tenant: str, /, *, server: Server = HERE, json: Json = False) -> int:
    """Let nobody of it in and nothing of it out. What it has is kept.

    Parameters
    ----------
    tenant
        Name or id.

    """
    with server.connect() as client:
        _say(client.suspend_tenant(_tenant(client, tenant)["id"]), as_json=json)
    return 0


@tenant.command(name="resume")
def resume_tenant(tenant: str, /, *, server: Server = HERE, json: Json = False) -> int:
    """End a suspension.

    Parameters
    ----------
    tenant
        Name or id.

    """
    with server.connect() as client:
        _say(client.resume_tenant(_tenant(client, tenant)["id"]), as_json=json)
    return 0


@tenant.command(name="export")
def export_tenant(tenant: str, file: Path, /, *, server: Server = HERE, json: Json = False) -> int:
    """Write everything of a tenant to a ZIP: originals, metadata, albums, users, settings, usage, its audit trail.

    Parameters
    ----------
    tenant
        Name or id.
    file
        Where to.

    """
    with server.connect() as client:
        whose = _tenant(client, tenant)
        privacy.exported(client.export_tenant(whose["id"]), file, {"tenant": whose["id"]}, as_json=json)
    return 0


@tenant.command(name="erase")
def erase_tenant(
    tenant: str,
    /,
    *,
    yes: bool = False,
    wait: Annotated[int, Parameter(validator=Number(gte=0))] = 60,
    server: Server = HERE,
    json: Json = False,
) -> int:
    """Erase a suspended tenant with everything of it, for good, and print the certificate.

    Parameters
    ----------
    tenant
        Name or id.
    yes
        Do it. Without it, say what it would be.
    wait
        Seconds to wait for the certificate; the erasure goes on without us.

    """
    with server.connect() as client:
        whose = _tenant(client, tenant)
        if not yes:
            images = output.many(whose["stored"]["images"] or 0, "image")
            raise WrongUsage(
                f"This erases {whose['name']} ({whose['id']}) with {images} and everybody of it, for good. Say --yes."
            )
        erasure = privacy.awaited(client, client.erase_tenant(whose["id"]), wait)
    privacy.say_erasure(erasure, as_json=json)
    return 0


@tenant.command
def usage(tenant: str = "", /, *, month: str = "", server: Server = HERE, json: Json = False) -> int:
    """Show what tenants have used in a month, and what that costs by the server's price list.

    Parameters
    ----------
    tenant
        Name or id. Default: every one that you may see.
    month
        As 2026-06. Default: this one.

    """
    with server.connect() as client:
        found = client.usage(month=month, tenant_id=_tenant(client, tenant)["id"] if tenant else "")
    if json:
        output.say_json({"usage": found})
        return 0
    columns = ("name", "month", "average stored", "uploads", "made", "deliveries", "delivered", "requests", "cost")
    rows = output.table(*columns, right=columns[2:])
    for each in found:
        rows.add_row(
            output.text(each["name"]),
            each["month"],
            output.size(each["average_bytes"]),
            str(each["uploads"]),
            str(each["transformations"]),
            str(each["deliveries"]),
            output.size(each["delivered_bytes"]),
            str(each["requests"]),
            f"{each['cost']:.2f} {each['currency']}" if each["lines"] else "",
        )
    output.listing(found, rows, "There is no tenant.")
    return 0


def _say(found: Tenant, *, as_json: bool) -> None:
    if as_json:
        output.say_json(found)
        return
    console = output.out()
    state = f"suspended since {output.minute(found['suspended_at'])} UTC" if found["suspended_at"] else "active"
    console.print(output.text(f"{found['name']} {found['id']}: {state}"))
    console.print(f"  images: {_of(found, 'images')}")
    console.print(f"  bytes of originals: {_of(found, 'bytes')}")
    transformations, requests = (found["limits"].get(name) for name in ("transformations", "requests_per_s"))
    console.print(f"  transformations a month: {transformations or 'any number'}")
    console.print(f"  requests a second: {requests or 'any number'}")
    if found["sources"]:
        console.print(output.text(f"  delivers from: {', '.join(found['sources'])}"))
    console.print(f"  trash: {output.many(found['trash_days'], 'day', 'days')}, duplicates: {found['duplicates']}")


def _of(found: Tenant, name: Literal["bytes", "images"]) -> str:
    amounts: tuple[Amounts, Amounts] = (found["stored"], found["limits"])
    has, most = (amount.get(name) or 0 for amount in amounts)
    shown = output.size if name == "bytes" else str
    return f"{shown(has)} of {shown(most)}" if most else shown(has)


def _tenant(client: Client, name: str) -> Tenant:
    return the_one([each for each in client.tenants() if name in (each["id"], each["name"])], name, "tenant")
