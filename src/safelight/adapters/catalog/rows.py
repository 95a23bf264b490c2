"""Rows: records to columns and back, and the checks that a value can be kept at all. Imports no driver.

Both catalogs use it: what cannot be kept in SQL is refused in memory too, in the same words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from safelight.domain import recipes
from safelight.domain.accounts import ApiKey, DuplicatePolicy, Role, Scope, Tenant, User
from safelight.domain.addresses import network
from safelight.domain.albums import Album
from safelight.domain.audit import Entry, Origin, Sealed
from safelight.domain.factors import Passkey, Totp
from safelight.domain.ids import TenantId, UserId
from safelight.domain.images import Image, Problem, Rendition, Status, Version, Visibility
from safelight.domain.issuers import Identity, Terms, TrustedIssuer
from safelight.domain.people import Credential, Letter, OneTimeCode, Session
from safelight.domain.purges import Purge, PurgeOf, PurgeState
from safelight.domain.queries import ImageQuery, Sort, micros
from safelight.domain.recipes import Places, Recipe, Recipes
from safelight.domain.redevelopments import Redevelopment, RedevelopmentState, Selection, UnderWay
from safelight.domain.sharing import Grant, Level, Link
from safelight.domain.tenants import Quotas, Stored
from safelight.domain.uploads import Method, Piece, Upload, UploadState
from safelight.domain.webhooks import Attempt, Delivery, DeliveryState, DisabledFor, Endpoint
from safelight.errors import BadField, DamagedRecord
from safelight.imaging.transform.values import Focal

Columns = dict[str, Any]

_MAC_BYTES: Final = 32
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

TITLE_KEY: Final = 110
"""Titles sort by their first 110 case-folded characters, then by id: the worst of those still fit into a cursor."""


def maybe_micros(at: datetime | None) -> int | None:
    """The same for a time that may be unknown."""
    return None if at is None else micros(at)


def moment(value: int) -> datetime:
    """The time again, in UTC."""
    return _EPOCH + timedelta(microseconds=value)


def maybe_moment(value: int | None) -> datetime | None:
    """The same for a time that may be unknown."""
    return None if value is None else _EPOCH + timedelta(microseconds=value)


def title_key(title: str) -> str:
    """What titles are sorted by."""
    return title.casefold()[:TITLE_KEY]


def sort_value(image: Image, sort: Sort) -> int | str:
    """What a page of images is sorted by; positions are not the image's own and therefore not here."""
    match sort.column:
        case "created_at":
            return micros(image.created_at)
        case "taken_at":
            return micros(image.taken_at or image.created_at)
        case "size":
            return image.size_bytes
        case _:
            return title_key(image.title)


def matches(image: Image, query: ImageQuery, *, is_lent: bool = False) -> bool:
    """Whether the image is among those asked for; albums are not the image's own, and whether it `is_lent` in one has to be said."""
    dated_at = image.taken_at or image.created_at
    is_public = image.visibility is Visibility.PUBLIC and not image.is_trashed
    return (
        image.is_trashed == query.is_trashed
        and query.owner in (None, image.owner)
        and (query.visible_to in (None, image.owner) or is_public or (is_lent and _lends(image, query)))
        and set(query.tags) <= set(image.tags)
        and query.status in (None, image.status)
        and query.visibility in (None, image.visibility)
        and query.media_type in (None, image.media_type)
        and query.camera in (None, image.camera)
        and (query.created_after is None or image.created_at >= query.created_after)
        and (query.created_before is None or image.created_at < query.created_before)
        and (query.taken_after is None or dated_at >= query.taken_after)
        and (query.taken_before is None or dated_at < query.taken_before)
        and (query.min_bytes is None or image.size_bytes >= query.min_bytes)
        and (query.max_bytes is None or image.size_bytes <= query.max_bytes)
    )


def _lends(image: Image, query: ImageQuery) -> bool:
    return image.owner in query.lent_by and not image.is_trashed


def dump_json(value: Any) -> str:
    """JSON text. Raises BadField for what JSON has no form for, whole numbers beyond 64 bits among it."""
    try:
        return orjson.dumps(value, default=_plain).decode()
    except TypeError as error:
        raise BadField("A custom or metadata value cannot be written as JSON.") from error


def load_json(text: str | bytes) -> Any:
    """What the text says. Raises DamagedRecord for text that is no JSON: nobody else writes it."""
    try:
        return orjson.loads(text)
    except ValueError as error:
        raise DamagedRecord("A row of the catalog cannot be read.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


def kept(image: Image) -> Image:
    """The image as a catalog gives it back: JSON values copied, times in UTC. Raises BadField."""
    checked_text(image.title, image.description, image.file_name, image.camera, image.place, *image.tags)
    return replace(
        image,
        custom=orjson.loads(dump_json(image.custom)),
        metadata=orjson.loads(dump_json(image.metadata)),
        created_at=moment(micros(image.created_at)),
        updated_at=moment(micros(image.updated_at)),
        taken_at=maybe_moment(maybe_micros(image.taken_at)),
        trashed_at=maybe_moment(maybe_micros(image.trashed_at)),
        replaced_at=maybe_moment(maybe_micros(image.replaced_at)),
        earlier=tuple(replace(version, created_at=moment(micros(version.created_at))) for version in image.earlier),
    )


def kept_upload(upload: Upload) -> Upload:
    """The upload as a catalog gives it back: JSON values copied, times in UTC. Raises BadField."""
    checked_text(upload.title, upload.description, upload.file_name, upload.source, upload.tus_metadata, *upload.tags)
    return replace(
        upload,
        custom=orjson.loads(dump_json(upload.custom)),
        created_at=moment(micros(upload.created_at)),
        updated_at=moment(micros(upload.updated_at)),
        expires_at=moment(micros(upload.expires_at)),
    )


def handed_out(image: Image) -> Image:
    """A copy whose JSON values the reader may change without changing the record."""
    return replace(image, custom=deepcopy(image.custom), metadata=deepcopy(image.metadata))


def checked_text(*texts: str) -> None:
    """Raises BadField for text that has no UTF-8 form (lone surrogates) or holds NUL, which PostgreSQL cannot keep."""
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadField("Text must be valid Unicode.") from error
        if "\x00" in text:
            raise BadField("Text must not hold NUL characters.")


def image_columns(image: Image) -> Columns:
    """The row of `images`, with what is derived for sorting."""
    checked_text(image.title, image.description, image.file_name, image.camera, image.place, *image.tags)
    created_at, taken_at = micros(image.created_at), maybe_micros(image.taken_at)
    return {
        "id": image.id,
        "tenant": image.tenant,
        "owner": image.owner,
        "created_at": created_at,
        "updated_at": micros(image.updated_at),
        "version": image.version,
        "revision": image.revision,
        "status": image.status.value,
        "visibility": image.visibility.value,
        "title": image.title,
        "description": image.description,
        "file_name": image.file_name,
        "tags": image.tags,
        "custom": image.custom,
        "media_type": image.media_type,
        "size_bytes": image.size_bytes,
        "sha256": image.sha256,
        "width": image.width,
        "height": image.height,
        "frames": image.frames,
        "has_alpha": image.has_alpha,
        "focal_point": (image.focal_point.x, image.focal_point.y) if image.focal_point else None,
        "taken_at": taken_at,
        "camera": image.camera,
        "place": image.place,
        "thumbhash": image.thumbhash,
        "dominant_color": image.dominant_color,
        "phash": image.phash,
        "metadata": image.metadata,
        "renditions": image.renditions,
        "developed_version": image.developed_version,
        "printing": image.printing,
        "developed_printing": image.developed_printing,
        "recipe": recipe_columns(image.recipe),
        "developed_recipe": recipe_columns(image.developed_recipe),
        "replaced_at": maybe_micros(image.replaced_at),
        "earlier": tuple(version_columns(version) for version in image.earlier),
        "highest_version": image.highest_version,
        "generation": image.generation,
        "uncached_at": maybe_micros(image.uncached_at),
        "trashed_at": maybe_micros(image.trashed_at),
        "problem": image.problem,
        "is_trashed": image.is_trashed,
        "dated_at": created_at if taken_at is None else taken_at,
        "title_key": title_key(image.title),
        "stored_bytes": image.stored_bytes,
    }


IMAGE_COLUMNS: Final = (
    "id", "tenant", "owner", "created_at", "updated_at", "version", "revision", "status", "visibility", "title",
    "description", "file_name", "tags", "custom", "media_type", "size_bytes", "sha256", "width", "height", "frames",
    "taken_at", "camera", "place", "thumbhash", "dominant_color", "phash", "metadata", "renditions", "trashed_at", "problem",
    "developed_version", "replaced_at", "earlier", "highest_version", "has_alpha", "focal_point", "generation", "uncached_at",
    "printing", "developed_printing", "recipe", "developed_recipe",
)  # fmt: skip
"""What `image_of` takes, in this order."""


def image_of(row: Sequence[Any]) -> Image:
    """The image from its IMAGE_COLUMNS. Unpacked by place: by name it costs twice as much on a page of fifty."""
    (
        id_, tenant, owner, created_at, updated_at, version, revision, status, visibility, title,
        description, file_name, tags, custom, media_type, size_bytes, sha256, width, height, frames,
        taken_at, camera, place, thumbhash, dominant_color, phash, metadata, renditions, trashed_at, problem,
        developed_version, replaced_at, earlier, highest_version, has_alpha, focal_point, generation, uncached_at,
        printing, developed_printing, recipe, developed_recipe,
    ) = row  # fmt: skip
    return Image(
        id=id_,
        tenant=tenant,
        owner=owner,
        created_at=moment(created_at),
        updated_at=moment(updated_at),
        version=version,
        revision=revision,
        status=Status(status),
        visibility=Visibility(visibility),
        title=title,
        description=description,
        file_name=file_name,
        tags=tuple(tags),
        custom=custom,
        media_type=media_type,
        size_bytes=size_bytes,
        sha256=sha256,
        width=width,
        height=height,
        frames=frames,
        has_alpha=has_alpha,
        focal_point=Focal(*focal_point) if focal_point else None,
        taken_at=maybe_moment(taken_at),
        camera=camera,
        place=place,
        thumbhash=thumbhash,
        dominant_color=dominant_color,
        phash=phash,
        metadata=metadata,
        renditions=tuple(Rendition(**one) for one in renditions),
        trashed_at=maybe_moment(trashed_at),
        problem=_problem(problem),
        developed_version=developed_version,
        replaced_at=maybe_moment(replaced_at),
        earlier=tuple(Version(**{**one, "created_at": moment(one["created_at"])}) for one in earlier),
        highest_version=highest_version,
        generation=generation,
        uncached_at=maybe_moment(uncached_at),
        printing=printing,
        developed_printing=developed_printing,
        recipe=recipe_of(recipe),
        developed_recipe=recipe_of(developed_recipe),
    )


def recipe_columns(recipe: Recipe | None) -> list[Any] | None:
    """A recipe as it stands in one column."""
    return None if recipe is None else [recipe.name, recipe.version, recipe.said()]


def recipe_of(kept: Sequence[Any] | None) -> Recipe | None:
    """The recipe from its column."""
    return None if kept is None else recipes.kept(*kept)


def recipes_column(owned: Recipes) -> str:
    """Those of a tenant in one column."""
    return dump_json({"versions": owned.versions, "places": asdict(owned.places)})


def recipes_of(text: str) -> Recipes:
    """Those of a tenant from their column."""
    owned = orjson.loads(text)
    versions = {name: tuple(said) for name, said in owned["versions"].items()}
    return Recipes(versions, Places(**owned["places"]))


def _problem(document: dict[str, Any] | None) -> Problem | None:
    if document is None:
        return None
    return Problem(document["code"], document["detail"], tuple(document.get("versions", ())))


def redevelopment_columns(one: Redevelopment) -> Columns:
    """The row of `redevelopments`; the rate is kept in thousandths."""
    checked_text(one.cursor, one.cause, *one.selection.tags)
    selection = {
        **asdict(one.selection),
        "after": maybe_micros(one.selection.after),
        "before": maybe_micros(one.selection.before),
    }
    return {
        **{each.name: getattr(one, each.name) for each in fields(Redevelopment)},
        "created_at": micros(one.created_at),
        "updated_at": micros(one.updated_at),
        "next_at": micros(one.next_at),
        "state": one.state.value,
        "selection": selection,
        "recipe": recipe_columns(one.recipe),
        "rate": round(one.rate * 1000),
        "under_way": [[each.image, each.version, each.printing] for each in one.under_way],
        "is_at_work": one.is_at_work,
    }


def redevelopment_of(row: Mapping[str, Any]) -> Redevelopment:
    """The redevelopment from its columns."""
    chosen = row["selection"]
    status = chosen["status"]
    return Redevelopment(
        **{
            **{each.name: row[each.name] for each in fields(Redevelopment)},
            "created_at": moment(row["created_at"]),
            "updated_at": moment(row["updated_at"]),
            "next_at": moment(row["next_at"]),
            "state": RedevelopmentState(row["state"]),
            "selection": Selection(
                album=chosen["album"],
                tags=tuple(chosen["tags"]),
                status=None if status is None else Status(status),
                after=maybe_moment(chosen["after"]),
                before=maybe_moment(chosen["before"]),
            ),
            "recipe": recipe_of(row["recipe"]),
            "rate": row["rate"] / 1000,
            "under_way": tuple(
                UnderWay(image=image, version=version, printing=printing) for image, version, printing in row["under_way"]
            ),
        }
    )


def version_columns(version: Version) -> Columns:
    """A version as it stands in the column `earlier`."""
    return {**asdict(version), "created_at": micros(version.created_at)}


def album_columns(album: Album) -> Columns:
    """The row of `albums`; the count is not a column."""
    checked_text(album.title, album.description)
    return {
        "id": album.id,
        "tenant": album.tenant,
        "owner": album.owner,
        "title": album.title,
        "description": album.description,
        "cover": album.cover,
        "created_at": micros(album.created_at),
        "updated_at": micros(album.updated_at),
        "revision": album.revision,
    }


def album_of(row: Mapping[str, Any]) -> Album:
    """The album from its columns and `image_count`."""
    return Album(**{**row, "created_at": moment(row["created_at"]), "updated_at": moment(row["updated_at"])})


def grant_columns(grant: Grant) -> Columns:
    """The row of `album_grants`."""
    return {
        "album": grant.album,
        "user": grant.user,
        "tenant": grant.tenant,
        "level": grant.level.value,
        "has_originals": grant.has_originals,
        "created_at": micros(grant.created_at),
        "expires_at": maybe_micros(grant.expires_at),
    }


def grant_of(row: Mapping[str, Any]) -> Grant:
    """The grant from its columns."""
    times = {"created_at": moment(row["created_at"]), "expires_at": maybe_moment(row["expires_at"])}
    return Grant(**{**row, **times, "level": Level(row["level"])})


def link_columns(link: Link) -> Columns:
    """The row of `album_links`."""
    checked_text(link.note)
    times = {"created_at": micros(link.created_at), "expires_at": micros(link.expires_at)}
    return {one.name: getattr(link, one.name) for one in fields(Link)} | times


def link_of(row: Mapping[str, Any]) -> Link:
    """The link from its columns."""
    times = {"created_at": moment(row["created_at"]), "expires_at": moment(row["expires_at"])}
    return Link(**{**row, **times})


def tenant_columns(tenant: Tenant) -> Columns:
    """The row of `tenants`, without what is stored."""
    checked_text(tenant.name)
    return {
        "id": tenant.id,
        "name": tenant.name,
        "created_at": micros(tenant.created_at),
        "trash_days": tenant.trash_days,
        "duplicates": tenant.duplicates.value,
        "revision": tenant.revision,
        "suspended_at": maybe_micros(tenant.suspended_at),
        "erasure": tenant.erasure,
        "erased_at": maybe_micros(tenant.erased_at),
        "origins": " ".join(tenant.origins),
        "domains": " ".join(tenant.domains),
        "sources": "\n".join(tenant.sources),
        "presets": dump_json(tenant.presets),
        "recipes": recipes_column(tenant.recipes),
        **{f"quota_{name}": value for name, value in asdict(tenant.quotas).items()},
    }


def stored_columns(stored: Stored) -> Columns:
    """The rest of it, which changes with every image."""
    return {"stored_bytes": stored.bytes, "stored_images": stored.images}


def tenant_of(row: Mapping[str, Any]) -> Tenant:
    """The tenant from its columns."""
    return Tenant(
        id=row["id"],
        name=row["name"],
        created_at=moment(row["created_at"]),
        trash_days=row["trash_days"],
        duplicates=DuplicatePolicy(row["duplicates"]),
        revision=row["revision"],
        suspended_at=maybe_moment(row["suspended_at"]),
        erasure=row["erasure"],
        erased_at=maybe_moment(row["erased_at"]),
        quotas=Quotas(**{each.name: row[f"quota_{each.name}"] for each in fields(Quotas)}),
        origins=tuple(row["origins"].split()),
        domains=tuple(row["domains"].split()),
        sources=tuple(filter(None, row["sources"].split("\n"))),
        presets={name: tuple(texts) for name, texts in orjson.loads(row["presets"]).items()},
        recipes=recipes_of(row["recipes"]),
        stored=Stored(row["stored_bytes"], row["stored_images"]),
    )


def user_columns(user: User) -> Columns:
    """The row of `users`."""
    checked_text(user.name)
    return {
        "id": user.id,
        "tenant": user.tenant,
        "name": user.name,
        "role": user.role.value,
        "created_at": micros(user.created_at),
        "disabled_at": maybe_micros(user.disabled_at),
    }


def user_of(row: Mapping[str, Any]) -> User:
    """The user from its columns."""
    return User(
        **{
            **row,
            "role": Role(row["role"]),
            "created_at": moment(row["created_at"]),
            "disabled_at": maybe_moment(row["disabled_at"]),
        }
    )


def key_columns(key: ApiKey) -> Columns:
    """The row of `api_keys`."""
    checked_text(key.name)
    return {
        "id": key.id,
        "tenant": key.tenant,
        "user": key.user,
        "name": key.name,
        "secret_hash": key.secret_hash,
        "scopes": " ".join(sorted(key.scopes)),
        "created_at": micros(key.created_at),
        "expires_at": maybe_micros(key.expires_at),
        "revoked_at": maybe_micros(key.revoked_at),
        "last_used_at": maybe_micros(key.last_used_at),
        "networks": " ".join(map(str, key.networks)),
    }


def key_of(row: Mapping[str, Any]) -> ApiKey:
    """The key from its columns."""
    return ApiKey(
        **{
            **row,
            "scopes": frozenset(Scope(scope) for scope in row["scopes"].split()),
            "created_at": moment(row["created_at"]),
            "expires_at": maybe_moment(row["expires_at"]),
            "revoked_at": maybe_moment(row["revoked_at"]),
            "last_used_at": maybe_moment(row["last_used_at"]),
            "networks": tuple(map(network, row["networks"].split())),
        }
    )


def upload_columns(upload: Upload) -> Columns:
    """The row of `uploads`, with when it is due."""
    checked_text(upload.title, upload.description, upload.file_name, upload.source, upload.tus_metadata, *upload.tags)
    return {
        "id": upload.id,
        "tenant": upload.tenant,
        "owner": upload.owner,
        "created_at": micros(upload.created_at),
        "updated_at": micros(upload.updated_at),
        "expires_at": micros(upload.expires_at),
        "due_at": micros(upload.due_at),
        "revision": upload.revision,
        "state": upload.state.value,
        "method": upload.method.value,
        "media_type": upload.media_type,
        "size_bytes": upload.size_bytes,
        "offset_bytes": upload.offset_bytes,
        "pieces": [[piece.name, piece.size_bytes] for piece in upload.pieces],
        "tus_metadata": upload.tus_metadata,
        "tus_concat": upload.tus_concat,
        "sha256": upload.sha256,
        "source": upload.source,
        "source_version": upload.source_version,
        "file_name": upload.file_name,
        "title": upload.title,
        "description": upload.description,
        "tags": upload.tags,
        "album": upload.album,
        "visibility": upload.visibility.value,
        "custom": upload.custom,
        "image": upload.image,
        "duplicate_of": upload.duplicate_of,
        "problem": upload.problem,
    }


def upload_of(row: Mapping[str, Any]) -> Upload:
    """The upload from its columns."""
    values = {name: value for name, value in row.items() if name != "due_at"}
    return Upload(
        **{
            **values,
            "created_at": moment(row["created_at"]),
            "updated_at": moment(row["updated_at"]),
            "expires_at": moment(row["expires_at"]),
            "state": UploadState(row["state"]),
            "method": Method(row["method"]),
            "pieces": tuple(Piece(name, size_bytes) for name, size_bytes in row["pieces"]),
            "tags": tuple(row["tags"]),
            "visibility": Visibility(row["visibility"]),
            "problem": _problem(row["problem"]),
        }
    )


def credential_columns(credential: Credential) -> Columns:
    """The row of `credentials`."""
    checked_text(credential.email, credential.language)
    return {
        "user": credential.user,
        "tenant": credential.tenant,
        "email": credential.email,
        "password_hash": credential.password_hash,
        "verified_at": maybe_micros(credential.verified_at),
        "changed_at": micros(credential.changed_at),
        "language": credential.language,
    }


def credential_of(row: Mapping[str, Any]) -> Credential:
    """The credential from its columns."""
    return Credential(**{**row, "verified_at": maybe_moment(row["verified_at"]), "changed_at": moment(row["changed_at"])})


def code_columns(code: OneTimeCode) -> Columns:
    """The row of `codes`."""
    return {
        "user": code.user,
        "letter": code.letter.value,
        "tenant": code.tenant,
        "id": code.id,
        "created_at": micros(code.created_at),
        "expires_at": micros(code.expires_at),
        "tries": code.tries,
        "used_at": maybe_micros(code.used_at),
    }


def code_of(row: Mapping[str, Any]) -> OneTimeCode:
    """The code from its columns."""
    return OneTimeCode(
        **{
            **row,
            "letter": Letter(row["letter"]),
            "created_at": moment(row["created_at"]),
            "expires_at": moment(row["expires_at"]),
            "used_at": maybe_moment(row["used_at"]),
        }
    )


def session_columns(session: Session) -> Columns:
    """The row of `sessions`."""
    checked_text(session.address, session.agent)
    return {
        "id": session.id,
        "tenant": session.tenant,
        "user": session.user,
        "created_at": micros(session.created_at),
        "used_at": micros(session.used_at),
        "expires_at": micros(session.expires_at),
        "family_hash": session.family_hash,
        "current_hash": session.current_hash,
        "previous_hash": session.previous_hash,
        "ended_at": maybe_micros(session.ended_at),
        "address": session.address,
        "agent": session.agent,
        "methods": " ".join(session.methods),
        "proven_at": micros(session.proven_at),
    }


def session_of(row: Mapping[str, Any]) -> Session:
    """The session from its columns."""
    return Session(
        **{
            **row,
            "created_at": moment(row["created_at"]),
            "used_at": moment(row["used_at"]),
            "expires_at": moment(row["expires_at"]),
            "ended_at": maybe_moment(row["ended_at"]),
            "methods": tuple(row["methods"].split()),
            "proven_at": moment(row["proven_at"]),
        }
    )


def totp_columns(totp: Totp) -> Columns:
    """The row of `totps`, with its secret not sealed yet."""
    return {
        "user": totp.user,
        "tenant": totp.tenant,
        "secret": totp.secret,
        "created_at": micros(totp.created_at),
        "confirmed_at": maybe_micros(totp.confirmed_at),
        "last_step": totp.last_step,
        "recovery": b"".join(totp.recovery),
    }


def totp_of(row: Mapping[str, Any]) -> Totp:
    """The authenticator app from its columns, the secret unsealed."""
    macs = row["recovery"]
    return Totp(
        **{
            **row,
            "created_at": moment(row["created_at"]),
            "confirmed_at": maybe_moment(row["confirmed_at"]),
            "recovery": tuple(macs[at : at + _MAC_BYTES] for at in range(0, len(macs), _MAC_BYTES)),
        }
    )


def totp_context(tenant: TenantId, user: UserId) -> str:
    """What the secret is sealed for."""
    return f"totp/{tenant}/{user}"


def passkey_columns(passkey: Passkey) -> Columns:
    """The row of `passkeys`."""
    checked_text(passkey.name, passkey.aaguid, *passkey.transports)
    return {
        "id": passkey.id,
        "tenant": passkey.tenant,
        "user": passkey.user,
        "credential": passkey.credential,
        "public_key": passkey.public_key,
        "sign_count": passkey.sign_count,
        "name": passkey.name,
        "created_at": micros(passkey.created_at),
        "used_at": maybe_micros(passkey.used_at),
        "transports": " ".join(passkey.transports),
        "aaguid": passkey.aaguid,
        "is_synced": passkey.is_synced,
    }


def passkey_of(row: Mapping[str, Any]) -> Passkey:
    """The passkey from its columns."""
    return Passkey(
        **{
            **row,
            "created_at": moment(row["created_at"]),
            "used_at": maybe_moment(row["used_at"]),
            "transports": tuple(row["transports"].split()),
        }
    )


def endpoint_columns(endpoint: Endpoint) -> Columns:
    """The row of `webhooks`, but for its secrets, which the catalog seals."""
    checked_text(endpoint.url, endpoint.description, *endpoint.events)
    return {
        "id": endpoint.id,
        "tenant": endpoint.tenant,
        "url": endpoint.url,
        "description": endpoint.description,
        "events": list(endpoint.events),
        "previous_until": maybe_micros(endpoint.previous_until),
        "created_at": micros(endpoint.created_at),
        "updated_at": micros(endpoint.updated_at),
        "revision": endpoint.revision,
        "disabled_at": maybe_micros(endpoint.disabled_at),
        "disabled_for": None if endpoint.disabled_for is None else endpoint.disabled_for.value,
        "failing_since": maybe_micros(endpoint.failing_since),
    }


def endpoint_of(row: Mapping[str, Any], *, secret: bytes, previous_secret: bytes) -> Endpoint:
    """The endpoint from its columns and its secrets in the clear."""
    return Endpoint(
        **{
            **row,
            "secret": secret,
            "previous_secret": previous_secret,
            "events": tuple(row["events"]),
            "previous_until": maybe_moment(row["previous_until"]),
            "created_at": moment(row["created_at"]),
            "updated_at": moment(row["updated_at"]),
            "disabled_at": maybe_moment(row["disabled_at"]),
            "disabled_for": None if row["disabled_for"] is None else DisabledFor(row["disabled_for"]),
            "failing_since": maybe_moment(row["failing_since"]),
        }
    )


def delivery_columns(delivery: Delivery) -> Columns:
    """The row of `webhook_deliveries`."""
    attempts = [[micros(one.at), one.duration_ms, one.status, one.error, one.excerpt] for one in delivery.attempts]
    checked_text(delivery.type, delivery.body, *(text for one in delivery.attempts for text in (one.error, one.excerpt)))
    return {
        "endpoint": delivery.endpoint,
        "id": delivery.id,
        "tenant": delivery.tenant,
        "type": delivery.type,
        "body": delivery.body,
        "created_at": micros(delivery.created_at),
        "forget_at": micros(delivery.forget_at),
        "due_at": maybe_micros(delivery.due_at),
        "state": delivery.state.value,
        "revision": delivery.revision,
        "tries": delivery.tries,
        "attempts": attempts,
    }


def delivery_of(row: Mapping[str, Any]) -> Delivery:
    """The delivery from its columns."""
    return Delivery(
        **{
            **row,
            "created_at": moment(row["created_at"]),
            "forget_at": moment(row["forget_at"]),
            "due_at": maybe_moment(row["due_at"]),
            "state": DeliveryState(row["state"]),
            "attempts": tuple(
                Attempt(at=moment(at), duration_ms=duration_ms, status=status, error=error, excerpt=excerpt)
                for at, duration_ms, status, error, excerpt in row["attempts"]
            ),
        }
    )


def purge_columns(purge: Purge) -> Columns:
    """The row of `purges`."""
    checked_text(purge.value, purge.cursor, purge.batch, purge.cause, *purge.invalidations, *purge.invalidations.values())
    return {
        **{one.name: getattr(purge, one.name) for one in fields(Purge)},
        "what": purge.what.value,
        "state": purge.state.value,
        "created_at": micros(purge.created_at),
        "updated_at": micros(purge.updated_at),
        "due_at": maybe_micros(purge.due_at),
        "slice": list(purge.slice),
        "invalidations": dict(purge.invalidations),
    }


def purge_of(row: Mapping[str, Any]) -> Purge:
    """The purge from its columns."""
    return Purge(
        **{
            **row,
            "what": PurgeOf(row["what"]),
            "state": PurgeState(row["state"]),
            "created_at": moment(row["created_at"]),
            "updated_at": moment(row["updated_at"]),
            "due_at": maybe_moment(row["due_at"]),
            "slice": tuple(row["slice"]),
        }
    )


_TERMS: Final = tuple(one.name for one in fields(Terms))


def issuer_columns(issuer: TrustedIssuer) -> Columns:
    """The row of `trusted_issuers`; the terms are read and written as one, since nobody asks for a part of them."""
    terms = {name: getattr(issuer.terms, name) for name in _TERMS}
    for name, value in terms.items():
        match value:
            case tuple():
                terms[name] = list(value)
            case Mapping():
                terms[name] = {word: ours.value for word, ours in value.items()}
            case Role():
                terms[name] = value.value
    checked_text(issuer.issuer, orjson.dumps(terms).decode())
    return {
        "id": issuer.id,
        "tenant": issuer.tenant,
        "issuer": issuer.issuer,
        "created_at": micros(issuer.created_at),
        "terms": terms,
        "revision": issuer.revision,
    }


def issuer_of(row: Mapping[str, Any]) -> TrustedIssuer:
    """The issuer from its columns."""
    terms: dict[str, Any] = dict(row["terms"])
    terms |= {name: tuple(value) for name, value in terms.items() if isinstance(value, list)}
    terms["roles"] = {group: Role(role) for group, role in row["terms"]["roles"].items()}
    terms["scopes"] = {theirs: Scope(ours) for theirs, ours in row["terms"]["scopes"].items()}
    terms["default_role"] = None if terms["default_role"] is None else Role(terms["default_role"])
    return TrustedIssuer(
        id=row["id"],
        tenant=row["tenant"],
        issuer=row["issuer"],
        created_at=moment(row["created_at"]),
        terms=Terms(**terms),
        revision=row["revision"],
    )


def identity_columns(identity: Identity) -> Columns:
    """The row of `identities`."""
    checked_text(identity.issuer, identity.subject)
    return {
        "tenant": identity.tenant,
        "issuer": identity.issuer,
        "subject": identity.subject,
        "user": identity.user,
        "created_at": micros(identity.created_at),
        "role_at": micros(identity.role_at),
    }


def identity_of(row: Mapping[str, Any]) -> Identity:
    """The identity from its columns."""
    return Identity(**{**row, "created_at": moment(row["created_at"]), "role_at": moment(row["role_at"])})


def entry_columns(entry: Entry) -> Columns:
    """The row of `trail`, but for its place."""
    origin = None if entry.origin is None else asdict(entry.origin)
    checked_text(entry.action, entry.object, entry.result, *(origin or {}).values())
    return {
        "chain": entry.chain,
        "id": entry.id,
        "at": micros(entry.at),
        "action": entry.action,
        "actor": entry.actor,
        "object": entry.object,
        "result": entry.result,
        "count": entry.count,
        "origin": origin,
        "commitment": entry.commitment,
    }


def entry_of(row: Mapping[str, Any]) -> Entry:
    """The entry from its row. Raises DamagedRecord for a row that is none."""
    try:
        origin = row["origin"]
        return Entry(
            chain=row["chain"],
            id=row["id"],
            at=moment(row["at"]),
            action=row["action"],
            actor=row["actor"],
            object=row["object"],
            result=row["result"],
            count=row["count"],
            origin=None if origin is None else Origin(**origin),
            commitment=row["commitment"],
        )
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedRecord("A row of the catalog cannot be read.") from error


def sealed_of(row: Mapping[str, Any]) -> Sealed:
    """The same, in its place."""
    return Sealed(row["number"], row["hash"], entry_of(row))
