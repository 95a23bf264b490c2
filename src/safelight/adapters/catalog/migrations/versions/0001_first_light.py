"""The first schema: tenants, users, keys, sign-in, images with their tags, albums with their order, uploads, the outbox and the journal.

There is no older code to run on it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001_first_light"
down_revision = None
branch_labels = None
depends_on = None

WORD = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
COUNTER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("number", COUNTER, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("payload", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "journal",
        sa.Column("number", COUNTER, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("image", WORD, nullable=False),
        sa.Column("owner", WORD, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("details", JSON, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_journal")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_journal_image", "journal", ["image", "number"], unique=False)
    op.create_index("ix_journal_tenant", "journal", ["tenant", "number"], unique=False)
    op.create_table(
        "tenants",
        sa.Column("id", WORD, nullable=False),
        sa.Column("name", WORD, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("trash_days", sa.Integer(), nullable=False),
        sa.Column("duplicates", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("suspended_at", sa.BigInteger(), nullable=True),
        sa.Column("erasure", sa.Text(), nullable=True),
        sa.Column("erased_at", sa.BigInteger(), nullable=True),
        sa.Column("quota_bytes", sa.BigInteger(), nullable=True),
        sa.Column("quota_images", sa.BigInteger(), nullable=True),
        sa.Column("quota_transformations", sa.BigInteger(), nullable=True),
        sa.Column("quota_requests_per_s", sa.BigInteger(), nullable=True),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.Column("stored_images", sa.BigInteger(), nullable=False),
        sa.Column("origins", sa.Text(), nullable=False),
        sa.Column("domains", sa.Text(), nullable=False),
        sa.Column("sources", sa.Text(), nullable=False),
        sa.Column("presets", sa.Text(), nullable=False),
        sa.Column("recipes", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("name", name=op.f("uq_tenants_name")),
    )
    op.create_table(
        "unfinished_moves",
        sa.Column("source", WORD, nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_unfinished_moves")),
    )
    op.create_table(
        "albums",
        sa.Column("id", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("owner", WORD, nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("cover", WORD, nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_albums_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_albums")),
    )
    op.create_index("ix_albums_cover", "albums", ["cover"], unique=False)
    op.create_index("ix_albums_owner", "albums", ["tenant", "owner", "id"], unique=False)
    op.create_index("ix_albums_tenant", "albums", ["tenant", "id"], unique=False)
    op.create_table(
        "usage",
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("month", WORD, nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in (
                "uploads",
                "uploaded_bytes",
                "transformations",
                "deliveries",
                "delivered_bytes",
                "requests",
                "last_hour",
                "samples",
                "byte_hours",
                "image_hours",
            )
        ),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_usage_tenant")),
        sa.PrimaryKeyConstraint("tenant", "month", name=op.f("pk_usage")),
    )
    op.create_index("ix_usage_month", "usage", ["month", "tenant"], unique=False)
    op.create_table(
        "images",
        sa.Column("id", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("owner", WORD, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("visibility", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("tags", JSON, nullable=False),
        sa.Column("custom", JSON, nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("frames", sa.Integer(), nullable=False),
        sa.Column("has_alpha", sa.Boolean(), nullable=False),
        sa.Column("focal_point", JSON, nullable=True),
        sa.Column("taken_at", sa.BigInteger(), nullable=True),
        sa.Column("camera", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("thumbhash", sa.Text(), nullable=False),
        sa.Column("dominant_color", sa.Text(), nullable=False),
        sa.Column("phash", sa.Text(), nullable=False),
        sa.Column("metadata", JSON, nullable=False),
        sa.Column("renditions", JSON, nullable=False),
        sa.Column("developed_version", sa.Integer(), nullable=False),
        sa.Column("printing", sa.Integer(), nullable=False),
        sa.Column("developed_printing", sa.Integer(), nullable=False),
        sa.Column("recipe", JSON, nullable=True),
        sa.Column("developed_recipe", JSON, nullable=True),
        sa.Column("replaced_at", sa.BigInteger(), nullable=True),
        sa.Column("earlier", JSON, nullable=False),
        sa.Column("highest_version", sa.Integer(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("uncached_at", sa.BigInteger(), nullable=True),
        sa.Column("trashed_at", sa.BigInteger(), nullable=True),
        sa.Column("problem", JSON, nullable=True),
        sa.Column("is_trashed", sa.Boolean(), nullable=False),
        sa.Column("dated_at", sa.BigInteger(), nullable=False),
        sa.Column("title_key", WORD, nullable=False),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_images_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_images")),
    )
    op.create_index("ix_images_created_at", "images", ["tenant", "is_trashed", "created_at", "id"], unique=False)
    op.create_index("ix_images_dated_at", "images", ["tenant", "is_trashed", "dated_at", "id"], unique=False)
    op.create_index("ix_images_owner", "images", ["tenant", "is_trashed", "owner", "created_at", "id"], unique=False)
    op.create_index("ix_images_sha256", "images", ["tenant", "sha256", "owner", "created_at", "id"], unique=False)
    op.create_index("ix_images_size_bytes", "images", ["tenant", "is_trashed", "size_bytes", "id"], unique=False)
    op.create_index("ix_images_title_key", "images", ["tenant", "is_trashed", "title_key", "id"], unique=False)
    op.create_index("ix_images_trashed_at", "images", ["tenant", "trashed_at", "id"], unique=False)
    op.create_index("ix_images_visibility", "images", ["tenant", "is_trashed", "visibility", "created_at", "id"], unique=False)
    op.create_table(
        "signing_keys",
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("kid", WORD, nullable=False),
        sa.Column("grammar", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=True),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("retired_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_signing_keys_tenant")),
        sa.PrimaryKeyConstraint("tenant", "kid", name=op.f("pk_signing_keys")),
    )
    op.create_table(
        "uploads",
        sa.Column("id", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("owner", WORD, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("pieces", JSON, nullable=False),
        sa.Column("tus_metadata", sa.Text(), nullable=False),
        sa.Column("tus_concat", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_version", sa.Text(), nullable=False),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("tags", JSON, nullable=False),
        sa.Column("album", WORD, nullable=True),
        sa.Column("visibility", sa.Text(), nullable=False),
        sa.Column("custom", JSON, nullable=False),
        sa.Column("image", WORD, nullable=True),
        sa.Column("duplicate_of", WORD, nullable=True),
        sa.Column("problem", JSON, nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_uploads_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
    )
    op.create_index("ix_uploads_due_at", "uploads", ["tenant", "due_at", "id"], unique=False)
    op.create_table(
        "users",
        sa.Column("id", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("name", WORD, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_users_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("tenant", "name", name=op.f("uq_users_tenant_name")),
    )
    op.create_table(
        "album_images",
        sa.Column("album", WORD, nullable=False),
        sa.Column("image", WORD, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("is_trashed", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("is_lent", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["album"], ["albums.id"], name=op.f("fk_album_images_album"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["image"], ["images.id"], name=op.f("fk_album_images_image"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("album", "image", name=op.f("pk_album_images")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_album_images_created_at", "album_images", ["album", "is_trashed", "created_at", "image"], unique=False)
    op.create_index("ix_album_images_image", "album_images", ["image", "album"], unique=False)
    op.create_index("ix_album_images_neighbours", "album_images", ["album", "position"], unique=False)
    op.create_index("ix_album_images_position", "album_images", ["album", "is_trashed", "position", "image"], unique=False)
    op.create_table(
        "album_grants",
        sa.Column("album", WORD, nullable=False),
        sa.Column("user", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("has_originals", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["album"], ["albums.id"], name=op.f("fk_album_grants_album"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_album_grants_tenant")),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_album_grants_user")),
        sa.PrimaryKeyConstraint("album", "user", name=op.f("pk_album_grants")),
    )
    op.create_index("ix_album_grants_user", "album_grants", ["user", "album"], unique=False)
    op.create_table(
        "album_links",
        sa.Column("id", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("album", WORD, nullable=False),
        sa.Column("made_by", WORD, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("has_originals", sa.Boolean(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["album"], ["albums.id"], name=op.f("fk_album_links_album"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["made_by"], ["users.id"], name=op.f("fk_album_links_made_by")),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_album_links_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_album_links")),
    )
    op.create_index("ix_album_links_album", "album_links", ["album", "id"], unique=False)
    op.create_index("ix_album_links_made_by", "album_links", ["made_by"], unique=False)
    op.create_table(
        "api_keys",
        sa.Column("id", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("user", WORD, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.Column("networks", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_api_keys_tenant")),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_api_keys_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
    )
    op.create_index("ix_api_keys_tenant", "api_keys", ["tenant", "created_at", "id"], unique=False)
    op.create_index("ix_api_keys_user", "api_keys", ["user"], unique=False)
    op.create_table(
        "image_tags",
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("is_trashed", sa.Boolean(), nullable=False),
        sa.Column("tag", WORD, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("image", WORD, nullable=False),
        sa.Column("owner", WORD, nullable=False),
        sa.ForeignKeyConstraint(["image"], ["images.id"], name=op.f("fk_image_tags_image"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tenant", "is_trashed", "tag", "created_at", "image", name=op.f("pk_image_tags")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_image_tags_image", "image_tags", ["image"], unique=False)
    op.create_index("ix_image_tags_owner", "image_tags", ["tenant", "owner", "is_trashed", "tag"], unique=False)
    op.create_table(
        "credentials",
        sa.Column("user", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("email", WORD, nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("verified_at", sa.BigInteger(), nullable=True),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_credentials_tenant")),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_credentials_user")),
        sa.PrimaryKeyConstraint("user", name=op.f("pk_credentials")),
        sa.UniqueConstraint("tenant", "email", name=op.f("uq_credentials_tenant_email")),
    )
    op.create_table(
        "codes",
        sa.Column("user", WORD, nullable=False),
        sa.Column("letter", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("id", WORD, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_codes_tenant")),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_codes_user")),
        sa.PrimaryKeyConstraint("user", "letter", name=op.f("pk_codes")),
    )
    op.create_index("ix_codes_expires_at", "codes", ["expires_at"], unique=False)
    op.create_table(
        "sessions",
        sa.Column("id", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("user", WORD, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("family_hash", sa.LargeBinary(), nullable=False),
        sa.Column("current_hash", sa.LargeBinary(), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("methods", sa.Text(), nullable=False),
        sa.Column("proven_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_sessions_tenant")),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_sessions_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"], unique=False)
    op.create_index("ix_sessions_user", "sessions", ["user", "used_at", "id"], unique=False)
    op.create_table(
        "totps",
        sa.Column("user", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("confirmed_at", sa.BigInteger(), nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("recovery", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_totps_tenant")),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_totps_user")),
        sa.PrimaryKeyConstraint("user", name=op.f("pk_totps")),
    )
    op.create_table(
        "passkeys",
        sa.Column("id", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("user", WORD, nullable=False),
        sa.Column("credential", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("transports", sa.Text(), nullable=False),
        sa.Column("aaguid", sa.Text(), nullable=False),
        sa.Column("is_synced", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_passkeys_tenant")),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_passkeys_user")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passkeys")),
    )
    op.create_index("ix_passkeys_user", "passkeys", ["user", "created_at", "id"], unique=False)
    op.create_table(
        "spent",
        sa.Column("mark", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_spent_tenant")),
        sa.PrimaryKeyConstraint("mark", name=op.f("pk_spent")),
    )
    op.create_index("ix_spent_expires_at", "spent", ["expires_at"], unique=False)
    op.create_table(
        "failures",
        sa.Column("subject", WORD, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("subject", name=op.f("pk_failures")),
    )
    op.create_index("ix_failures_last_at", "failures", ["last_at"], unique=False)
    op.create_table(
        "trusted_issuers",
        sa.Column("id", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("issuer", WORD, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("terms", JSON, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_trusted_issuers_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trusted_issuers")),
        sa.UniqueConstraint("tenant", "issuer", name=op.f("uq_trusted_issuers_tenant_issuer")),
    )
    op.create_index("ix_trusted_issuers_issuer", "trusted_issuers", ["issuer", "created_at", "id"], unique=False)
    op.create_table(
        "identities",
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("issuer", WORD, nullable=False),
        sa.Column("subject", WORD, nullable=False),
        sa.Column("user", WORD, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("role_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_identities_tenant")),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_identities_user")),
        sa.PrimaryKeyConstraint("tenant", "issuer", "subject", name=op.f("pk_identities")),
    )
    op.create_index("ix_identities_user", "identities", ["user"], unique=False)
    op.create_table(
        "token_keys",
        sa.Column("kid", WORD, nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("private", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("retired_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_token_keys")),
    )
    op.create_table(
        "inherited_keys",
        sa.Column("purpose", WORD, nullable=False),
        sa.Column("id", WORD, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("purpose", "id", name=op.f("pk_inherited_keys")),
    )
    op.create_table(
        "webhooks",
        sa.Column("id", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("events", JSON, nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("previous_secret", sa.LargeBinary(), nullable=True),
        sa.Column("previous_until", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.Column("disabled_for", sa.Text(), nullable=True),
        sa.Column("failing_since", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_webhooks_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    op.create_index("ix_webhooks_tenant", "webhooks", ["tenant", "created_at", "id"], unique=False)
    op.create_table(
        "webhook_deliveries",
        sa.Column("endpoint", WORD, nullable=False),
        sa.Column("id", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("forget_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("attempts", JSON, nullable=False),
        sa.ForeignKeyConstraint(["endpoint"], ["webhooks.id"], name=op.f("fk_webhook_deliveries_endpoint"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_webhook_deliveries_tenant")),
        sa.PrimaryKeyConstraint("endpoint", "id", name=op.f("pk_webhook_deliveries")),
    )
    op.create_index("ix_webhook_deliveries_due_at", "webhook_deliveries", ["endpoint", "due_at", "id"], unique=False)
    op.create_index("ix_webhook_deliveries_forget_at", "webhook_deliveries", ["endpoint", "forget_at", "id"], unique=False)
    op.create_table(
        "trail",
        sa.Column("chain", WORD, nullable=False),
        sa.Column("id", WORD, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("hash", sa.Text(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("action", WORD, nullable=False),
        sa.Column("actor", WORD, nullable=False),
        sa.Column("object", WORD, nullable=False),
        sa.Column("result", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("origin", JSON, nullable=True),
        sa.Column("commitment", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("chain", "id", name=op.f("pk_trail")),
    )
    op.create_index("ix_trail_number", "trail", ["chain", "number"], unique=True)
    op.create_index("ix_trail_actor", "trail", ["chain", "actor", "number"], unique=False)
    op.create_index("ix_trail_object", "trail", ["chain", "object", "number"], unique=False)
    op.create_table(
        "trail_heads",
        sa.Column("chain", WORD, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("pruned_number", sa.BigInteger(), nullable=False),
        sa.Column("pruned_hash", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("chain", name=op.f("pk_trail_heads")),
    )

    op.create_table(
        "purges",
        sa.Column("id", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("images_done", sa.Integer(), nullable=False),
        sa.Column("slice", JSON, nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("invalidations", JSON, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_purges_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_purges")),
    )
    op.create_index("ix_purges_due_at", "purges", ["due_at", "id"], unique=False)
    op.create_index("ix_purges_tenant", "purges", ["tenant", "id"], unique=False)

    op.create_table(
        "redevelopments",
        sa.Column("id", WORD, nullable=False),
        sa.Column("tenant", WORD, nullable=False),
        sa.Column("asked_by", WORD, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("selection", JSON, nullable=False),
        sa.Column("recipe", JSON, nullable=True),
        sa.Column("rate", sa.Integer(), nullable=False),
        sa.Column("is_dry_run", sa.Boolean(), nullable=False),
        sa.Column("is_counted", sa.Boolean(), nullable=False),
        sa.Column("is_begun", sa.Boolean(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.Column("under_way", JSON, nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("is_at_work", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name=op.f("fk_redevelopments_tenant")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_redevelopments")),
    )
    op.create_index("ix_redevelopments_at_work", "redevelopments", ["is_at_work", "id"], unique=False)
    op.create_index("ix_redevelopments_tenant", "redevelopments", ["tenant", "id"], unique=False)


def downgrade() -> None:
    op.drop_table("redevelopments")
    op.drop_table("purges")
    op.drop_table("trail_heads")
    op.drop_table("trail")
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")
    op.drop_table("inherited_keys")
    op.drop_table("token_keys")
    op.drop_table("identities")
    op.drop_table("trusted_issuers")
    op.drop_table("failures")
    op.drop_table("spent")
    op.drop_table("passkeys")
    op.drop_table("totps")
    op.drop_table("sessions")
    op.drop_table("codes")
    op.drop_table("credentials")
    op.drop_table("image_tags")
    op.drop_table("api_keys")
    op.drop_table("album_links")
    op.drop_table("album_grants")
    op.drop_table("album_images")
    op.drop_table("users")
    op.drop_table("uploads")
    op.drop_table("signing_keys")
    op.drop_table("images")
    op.drop_table("albums")
    op.drop_table("tenants")
    op.drop_table("unfinished_moves")
    op.drop_table("events")
