"""Tables: the schema of the catalog, as SQLAlchemy Core. The migrations make it; a test holds the two equal.

Times are microseconds since 1970 UTC. An image is one row; tags and album places are copied out into narrow tables that
carry what a page is sorted by, so that every page is a walk along an index. Text that is sorted or compared by range is
ordered by code point (PostgreSQL: collation C), as Python orders it.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)


def sealed_for(context: str) -> dict[str, Any]:
    """For a binary column: its secret is sealed by the SecretBox in this context, in which `{column}` is a value of its row.

    '' keeps it as it is. Every binary column says one or the other, so that no secret is carried to another installation under a
    key that is not there.
    """
    return {"sealed_for": context}


Word: Final = Text().with_variant(Text(collation="C"), "postgresql")
Json: Final = JSON(none_as_null=True)
# SQLite counts by itself only in a column of exactly this type.
Counter: Final = BigInteger().with_variant(Integer(), "sqlite")

tenants: Final = Table(
    "tenants",
    metadata,
    Column("id", Word, primary_key=True),
    Column("name", Word, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("trash_days", Integer, nullable=False),
    Column("duplicates", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("suspended_at", BigInteger),
    Column("erasure", Word),
    Column("erased_at", BigInteger),
    Column("quota_bytes", BigInteger),
    Column("quota_images", BigInteger),
    Column("quota_transformations", BigInteger),
    Column("quota_requests_per_s", BigInteger),
    Column("stored_bytes", BigInteger, nullable=False),
    Column("stored_images", BigInteger, nullable=False),
    Column("origins", Text, nullable=False),
    Column("domains", Text, nullable=False),
    Column("sources", Text, nullable=False),
    Column("presets", Text, nullable=False),
    Column("recipes", Text, nullable=False),
    UniqueConstraint("name"),
)

usage: Final = Table(
    "usage",
    metadata,
    Column("tenant", Word, ForeignKey("tenants.id"), primary_key=True),
    Column("month", Word, primary_key=True),
    Column("uploads", BigInteger, nullable=False),
    Column("uploaded_bytes", BigInteger, nullable=False),
    Column("transformations", BigInteger, nullable=False),
    Column("deliveries", BigInteger, nullable=False),
    Column("delivered_bytes", BigInteger, nullable=False),
    Column("requests", BigInteger, nullable=False),
    Column("last_hour", BigInteger, nullable=False),
    Column("samples", BigInteger, nullable=False),
    Column("byte_hours", BigInteger, nullable=False),
    Column("image_hours", BigInteger, nullable=False),
    Index("ix_usage_month", "month", "tenant"),
)

users: Final = Table(
    "users",
    metadata,
    Column("id", Word, primary_key=True),
    Column("tenant", Word, ForeignKey("tenants.id"), nullable=False),
    Column("name", Word, nullable=False),
    Column("role", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
    UniqueConstraint("tenant", "name"),
)

api_keys: Final = Table(
    "api_keys",
    metadata,
    Column("id", Word, primary_key=True),
    Column("tenant", Word, ForeignKey("tenants.id"), nullable=False),
    Column("user", Word, ForeignKey("users.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("secret_hash", LargeBinary, nullable=False, info=sealed_for("")),
    Column("scopes", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("last_used_at", BigInteger),
    Column("networks", Text, nullable=False),
    Index("ix_api_keys_tenant", "tenant", "created_at", "id"),
    Index("ix_api_keys_user", "user"),
)

signing_keys: Final = Table(
    "signing_keys",
    metadata,
    Column("tenant", Word, ForeignKey("tenants.id"), primary_key=True),
    Column("kid", Word, primary_key=True),
    Column("grammar", Text, nullable=False),
    Column("secret", LargeBinary, nullable=False, info=sealed_for("{tenant}/{kid}")),
    Column("salt", LargeBinary, info=sealed_for("{tenant}/{kid}/salt")),
    Column("size_bytes", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("retired_at", BigInteger),
)

credentials: Final = Table(
    "credentials",
    metadata,
    Column("user", Word, ForeignKey("users.id"), primary_key=True),
    Column("tenant", Word, ForeignKey("tenants.id"), nullable=False),
    Column("email", Word, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("verified_at", BigInteger),
    Column("changed_at", BigInteger, nullable=False),
    Column("language", Text, nullable=False),
    UniqueConstraint("tenant", "email"),
)

codes: Final = Table(
    "codes",
    metadata,
    Column("user", Word, ForeignKey("users.id"), primary_key=True),
    Column("letter", Word, primary_key=True),
    Column("tenant", Word, ForeignKey("tenants.id"), nullable=False),
    Column("id", Word, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("used_at", BigInteger),
    Index("ix_codes_expires_at", "expires_at"),
)

sessions: Final = Table(
    "sessions",
    metadata,
    Column("id", Word, primary_key=True),
    Column("tenant", Word, ForeignKey("tenants.id"), nullable=False),
    Column("user", Word, ForeignKey("users.id"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("family_hash", LargeBinary, nullable=False, info=sealed_for("")),
    Column("current_hash", LargeBinary, nullable=False, info=sealed_for("")),
    Column("previous_hash", LargeBinary, nullable=False, info=sealed_for("")),
    Column("ended_at", BigInteger),
    Column("address", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("methods", Text, nullable=False),
    Column("proven_at", BigInteger, nullable=False),
    Index("ix_sessions_user", "user", "used_at", "id"),
    Index("ix_sessions_expires_at", "expires_at"),
)

totps: Final = Table(
    "totps",
    metadata,
    Column("user", Word, ForeignKey("users.id"), primary_key=True),
    Column("tenant", Word, ForeignKey("tenants.id"), nullable=False),
    Column("secret", LargeBinary, nullable=False, info=sealed_for("totp/{tenant}/{user}")),
    Column("created_at", BigInteger, nullable=False),
    Column("confirmed_at", BigInteger),
    Column("last_step", BigInteger, nullable=False),
    Column("recovery", LargeBinary, nullable=False, info=sealed_for("")),
)

passkeys: Final = Table(
    "passkeys",
    metadata,
    Column("id", Word, primary_key=True),
    Column("tenant", Word, ForeignKey("tenants.id"), nullable=False),
    Column("user", Word, ForeignKey("users.id"), nullable=False),
    Column("credential", LargeBinary, nullable=False, info=sealed_for("")),
    Column("public_key", LargeBinary, nullable=False, info=sealed_for("")),
    Column("sign_count", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    Column("transports", Text, nullable=False),
    Column("aaguid", Text, nullable=False),
    Column("is_synced", Boolean, nullable=False),
    Index("ix_passkeys_user", "user", "created_at", "id"),
)

spent: Final = Table(
    "spent",
    metadata,
    Column("mark", Word, primary_key=True),
    Column("tenant", Word, ForeignKey("tenants.id"), nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_spent_expires_at", "expires_at"),
)

failures: Final = Table(
    "failures",
    metadata,
    Column("subject", Word, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Index("ix_failures_last_at", "last_at"),
)

trusted_issuers: Final = Table(
    "trusted_issuers",
    metadata,
    Column("id", Word, primary_key=True),
    Column("tenant", Word, ForeignKey("tenants.id"), nullable=False),
    Column("issuer", Word, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("terms", Json, nullable=False),
    Column("revision", Integer, nullable=False),
    UniqueConstraint("tenant", "issuer"),
    Index("ix_trusted_issuers_issuer", "issuer", "created_at", "id"),
)

identities: Final = Table(
    "identities",
    metadata,
    Column("tenant", Word, ForeignKey("tenants.id"), primary_key=True),
    Column("issuer", Word, primary_key=True),
    Column("subject", Word, primary_key=True),
    Column("user", Word, ForeignKey("users.id"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("role_at", BigInteger, nullable=False),
    Index("ix_identities_user", "user"),
)

token_keys: Final = Table(
    "token_keys",
    metadata,
    Column("kid", Word, primary_key=True),
    Column("algorithm", Text, nullable=False),
    Column("private", LargeBinary, nullable=False, info=sealed_for("token/{kid}")),
    Column("created_at", BigInteger, nullable=False),
    Column("retired_at", BigInteger),
)

# Of the installations that this one was moved from, what is derived from their keys and still in use: see wiring.keys.
inherited_keys: Final = Table(
    "inherited_keys",
    metadata,
    Column("purpose", Word, primary_key=True),
    Column("id", Word, primary_key=True),
    Column("key", LargeBinary, nullable=False, info=sealed_for("inherited/{purpose}/{id}")),
)

images: Final = Table(
    "images",
    metadata,
    Column("id", Word, primary_key=True),
    Column("tenant", Word, ForeignKey("tenants.id"), nullable=False),
    Column("owner", Word, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("visibility", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("file_name", Text, nullable=False),
    Column("tags", Json, nullable=False),
    Column("custom", Json, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("frames", Integer, nullable=False),
    Column("has_alpha", Boolean, nullable=False),
    Column("focal_point", Json),
    Column("taken_at", BigInteger),
    Column("camera", Text, nullable=False),
    Column("place", Text, nullable=False),
    Column("thumbhash", Text, nullable=False),
    Column("dominant_color", Text, nullable=False),
    Column("phash", Text, nullable=False),
    Column("metadata", Json, nullable=False),
    Column("renditions", Json, nullable=False),
    Column("developed_version", Integer, nullable=False),
    Column("printing", Integer, nullable=False),
    Column("developed_printing", Integer, nullable=False),
    Column("recipe", Json),
    Column("developed_recipe", Json),
    Column("replaced_at", BigInteger),
    Column("earlier", Json, nullable=False),
    Column("highest_version", Integer, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("uncached_at", BigInteger),
    Column("trashed_at", BigInteger),
    Column("problem", Json),
    Column("is_trashed", Boolean, nullable=False),
    Column("dated_at", BigInteger, nullable=False),
    Column("title_key", Word, nullable=False),
    Column("stored_bytes", BigInteger, nullable=False),
    Index("ix_images_created_at", "tenant", "is_trashed", "created_at", "id"),
    Index("ix_images_dated_at", "tenant", "is_trashed", "dated_at", "id"),
    Index("ix_images_title_key", "tenant", "is_trashed", "title_key", "id"),
    Index("ix_images_size_bytes", "tenant", "is_trashed", "size_bytes", "id"),
    Index("ix_images_owner", "tenant", "is_trashed", "owner", "created_at", "id"),
    Index("ix_images_visibility", "tenant", "is_trashed", "visibility", "created_at", "id"),
    Index("ix_images_sha256", "tenant", "sha256", "owner", "created_at", "id"),
    Index("ix_images_trashed_at", "tenant", "trashed_at", "id"),
)

image_tags: Final = Table(
    "image_tags",
    metadata,
    Column("tenant", Word, primary_key=True),
    Column("is_trashed", Boolean, primary_key=True),
    Column("tag", Word, primary_key=True),
    Column("created_at", BigInteger, primary_key=True),
    Column("image", Word, ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    Column("owner", Word, nullable=False),
    Index("ix_image_tags_image", "image"),
    Index("ix_image_tags_owner", "tenant", "owner", "is_trashed", "tag"),
    sqlite_with_rowid=False,
)

albums: Final = Table(
    "albums",
    metadata,
    Column("id", Word, primary_key=True),
    Column("tenant", Word, ForeignKey("tenants.id"), nullable=False),
    Column("owner", Word, nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("cover", Word),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Index("ix_albums_tenant", "tenant", "id"),
    Index("ix_albums_owner", "tenant", "owner", "id"),
    Index("ix_albums_cover", "cover"),
)

album_images: Final = Table(
    "album_images",
    metadata,
    Column("album", Word, ForeignKey("albums.id", ondelete="CASCADE"), primary_key=True),
    Column("image", Word, ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("is_trashed", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("is_lent", Boolean, nullable=False),
    Index("ix_album_images_position", "album", "is_trashed", "position", "image"),
    Index("ix_album_images_created_at", "album", "is_trashed", "created_at", "image"),
    Index("ix_album_images_neighbours", "album", "position"),
    Index("ix_album_images_image", "image", "album"),
    sqlite_with_rowid=False,
)

album_grants: Final = Table(
    "album_grants",
    metadata,
    Column("album", Word, ForeignKey("albums.id", ondelete="CASCADE"), primary_key=True),
    Column("user", Word, ForeignKey("users.id"), primary_key=True),
    Column("tenant", Word, ForeignKey("tenants.id"), nullable=False),
    Column("level", Text, nullable=False),
    Column("has_originals", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Index("ix_album_grants_user", "user", "album"),
)

album_links: Final = Table(
    "album_links",
    metadata,
    Column("id", Word, primary_key=True),
    Column("tenant", Word, ForeignKey("tenants.id"), nullable=False),
    Column("album", Word, ForeignKey("albums.id", ondelete="CASCADE"), nullable=False),
    Column("made_by", Word, ForeignKey("users.id"), nullable=False),
    Column("secret_hash", LargeBinary, nullable=False, info=sealed_for("")),
    Column("password_hash", Text, nullable=False),
    Column("has_originals", Boolean, nullable=False),
    Column("note", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index("ix_album_links_album", "album", "id"),
    Index("ix_album_links_made_by", "made_by"),
)

uploads: Final = Table(
    "uploads",
    metadata,
    Column("id", Word, primary_key=True),
    Column("tenant", Word, ForeignKey("tenants.id"), nullable=False),
    Column("owner", Word, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("media_type", Text, nullable=False),
    Column("size_bytes", BigInteger),
    Column("offset_bytes", BigInteger, nullable=False),
    Column("pieces", Json, nullable=False),
    Column("tus_metadata", Text, nullable=False),
    Column("tus_concat", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("source_version", Text, nullable=False),
    Column("file_name", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("tags", Json, nullable=False),
    Column("album", Word),
    Column("visibility", Text, nullable=False),
    Column("custom", Json, nullable=False),
    Column("image", Word),
    Column("duplicate_of", Word),
    Column("problem", Json),
    Index("ix_uploads_due_at", "tenant", "due_at", "id"),
)

webhooks: Final = Table(
    "webhooks",
    metadata,
    Column("id", Word, primary_key=True),
    Column("tenant", Word, ForeignKey("tenants.id"), nullable=False),
    Column("url", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("events", Json, nullable=False),
    Column("secret", LargeBinary, nullable=False, info=sealed_for("webhook/{tenant}/{id}")),
    Column("previous_secret", LargeBinary, info=sealed_for("webhook/{tenant}/{id}/previous")),
    Column("previous_until", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("disabled_at", BigInteger),
    Column("disabled_for", Text),
    Column("failing_since", BigInteger),
    Index("ix_webhooks_tenant", "tenant", "created_at", "id"),
)

webhook_deliveries: Final = Table(
    "webhook_deliveries",
    metadata,
    Column("endpoint", Word, ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True),
    Column("id", Word, primary_key=True),
    Column("tenant", Word, ForeignKey("tenants.id"), nullable=False),
    Column("type", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("forget_at", BigInteger, nullable=False),
    Column("due_at", BigInteger),
    Column("state", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("attempts", Json, nullable=False),
    Index("ix_webhook_deliveries_due_at", "endpoint", "due_at", "id"),
    Index("ix_webhook_deliveries_forget_at", "endpoint", "forget_at", "id"),
)

purges: Final = Table(
    "purges",
    metadata,
    Column("id", Word, primary_key=True),
    Column("tenant", Word, ForeignKey("tenants.id"), nullable=False),
    Column("what", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("due_at", BigInteger),
    Column("state", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("images", Integer, nullable=False),
    Column("images_done", Integer, nullable=False),
    Column("slice", Json, nullable=False),
    Column("cursor", Text, nullable=False),
    Column("batch", Text, nullable=False),
    Column("invalidations", Json, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("cause", Text, nullable=False),
    Index("ix_purges_due_at", "due_at", "id"),
    Index("ix_purges_tenant", "tenant", "id"),
)

redevelopments: Final = Table(
    "redevelopments",
    metadata,
    Column("id", Word, primary_key=True),
    Column("tenant", Word, ForeignKey("tenants.id"), nullable=False),
    Column("asked_by", Word, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("selection", Json, nullable=False),
    Column("recipe", Json),
    Column("rate", Integer, nullable=False),
    Column("is_dry_run", Boolean, nullable=False),
    Column("is_counted", Boolean, nullable=False),
    Column("is_begun", Boolean, nullable=False),
    Column("cursor", Text, nullable=False),
    Column("total", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("skipped", Integer, nullable=False),
    Column("under_way", Json, nullable=False),
    Column("cause", Text, nullable=False),
    Column("is_at_work", Boolean, nullable=False),
    Index("ix_redevelopments_at_work", "is_at_work", "id"),
    Index("ix_redevelopments_tenant", "tenant", "id"),
)

# A number is never given twice, though told events are deleted: the relay names events by it.
events: Final = Table(
    "events",
    metadata,
    Column("number", Counter, primary_key=True),
    Column("tenant", Word, nullable=False),
    Column("name", Text, nullable=False),
    Column("payload", Json, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

# In a tenant the order of numbers is the order of commits, since its writers come one after another: who has read up to a number
# has missed nothing before it.
journal: Final = Table(
    "journal",
    metadata,
    Column("number", Counter, primary_key=True),
    Column("tenant", Word, nullable=False),
    Column("image", Word, nullable=False),
    Column("owner", Word, nullable=False),
    Column("name", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("details", Json, nullable=False),
    Index("ix_journal_tenant", "tenant", "number"),
    Index("ix_journal_image", "image", "number"),
    sqlite_autoincrement=True,
)

# Unsealed entries have no number yet. What was pruned is gone; the head says up to where.
trail: Final = Table(
    "trail",
    metadata,
    Column("chain", Word, primary_key=True),
    Column("id", Word, primary_key=True),
    Column("number", BigInteger),
    Column("hash", Text),
    Column("at", BigInteger, nullable=False),
    Column("action", Word, nullable=False),
    Column("actor", Word, nullable=False),
    Column("object", Word, nullable=False),
    Column("result", Text, nullable=False),
    Column("count", Integer, nullable=False),
    Column("origin", Json),
    Column("commitment", Text, nullable=False),
    Index("ix_trail_number", "chain", "number", unique=True),
    Index("ix_trail_actor", "chain", "actor", "number"),
    Index("ix_trail_object", "chain", "object", "number"),
)

trail_heads: Final = Table(
    "trail_heads",
    metadata,
    Column("chain", Word, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("hash", Text, nullable=False),
    Column("pruned_number", BigInteger, nullable=False),
    Column("pruned_hash", Text, nullable=False),
)

# One row while `safelight move` fills this catalog, with the name of what it is filled from; none ever after.
unfinished_moves: Final = Table("unfinished_moves", metadata, Column("source", Word, primary_key=True))
