"""Every table, as it is after the newest migration.

Moments are ISO-8601 UTC texts with milliseconds and `Z`, as everywhere in Perseus: of one length, so that they sort as
they follow, and the same bytes on SQLite and PostgreSQL. They are the clock of the host that writes, passed in by the
caller; what needs one clock for all hosts (leases, the activity log) is in the store, not here.
Secrets are never kept: passwords as argon2id hashes, everything random as its SHA-256.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    false,
    text,
    true,
)

# constraints need names before a migration can drop them
_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = MetaData(naming_convention=_NAMES)


def by_bytes(length: int) -> String:
    """Text that is compared byte by byte, whatever language the PostgreSQL server was set up for."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


moment = by_bytes(24)
sha256 = String(64)  # lowercase hex
role = String(16)
_ROLES = "role IN ('viewer', 'operator', 'owner')"

exchanges = Table(
    "exchanges",
    metadata,
    # given by a person: other programs of the network know an exchange by it
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(32), nullable=False, unique=True),
    Column("display_name", String(64), nullable=False),
    Column("is_active", Boolean, nullable=False, server_default=true()),
    Column("rest_url", String(500)),
    Column("ws_url", String(500)),
    CheckConstraint("id > 0", name="id"),
)

admins = Table(
    "admins",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("email", String(254), nullable=False),
    # the e-mail address without its case, made in Python: SQLite's lower() knows ASCII only
    Column("email_key", String(1000), nullable=False, unique=True),
    Column("display_name", String(64), nullable=False),
    Column("role", role, nullable=False),
    Column("password_hash", String(200)),
    Column("oidc_subject", String(255), unique=True),
    Column("is_active", Boolean, nullable=False, server_default=true()),
    Column("created_at", moment, nullable=False),
    CheckConstraint(_ROLES, name="role"),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("admin_id", ForeignKey(admins.c.id), nullable=False, index=True),
    Column("name", String(64), nullable=False),
    Column("token_hash", sha256, nullable=False, unique=True),
    # the most it may do: its owner's role caps it further
    Column("role", role, nullable=False),
    Column("created_at", moment, nullable=False),
    Column("expires_at", moment),  # null: never
    Column("revoked_at", moment),
    Column("last_used_at", moment),  # coarse
    CheckConstraint(_ROLES, name="role"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", sha256, primary_key=True),  # of the cookie's secret
    Column("admin_id", ForeignKey(admins.c.id), nullable=False, index=True),
    Column("created_at", moment, nullable=False),
    Column("last_used_at", moment, nullable=False),  # coarse
    Column("expires_at", moment, nullable=False, index=True),
    Column("revoked_at", moment),
    Column("user_agent", String(200), nullable=False),
)

login_links = Table(
    "login_links",
    metadata,
    Column("hash", sha256, primary_key=True),  # of the link's secret
    Column("admin_id", ForeignKey(admins.c.id), nullable=False, index=True),
    Column("created_at", moment, nullable=False),
    Column("expires_at", moment, nullable=False, index=True),
    Column("used_at", moment),
)

# Append-only: triggers refuse UPDATE, DELETE and TRUNCATE (migration 0001).
audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", moment, nullable=False),
    Column("actor", String(254), nullable=False),  # an admin's e-mail address, or who ran a command where
    Column("admin_id", ForeignKey(admins.c.id)),  # null: not one of the admins
    Column("action", String(64), nullable=False),
    Column("subject", String(254), nullable=False),
    Column("details", JSON, nullable=False),
    Column("address", String(64)),  # the client's
    Index("ix_audit_at", "at"),
)

# The notifier writes an outage, people write that they know of it; neither touches the other's columns. No foreign key:
# an outage is on record also of an exchange this database does not know (it may have been restored from a backup).
incidents = Table(
    "incidents",
    metadata,
    Column("id", by_bytes(96), primary_key=True),  # `<exchange name>-<stream id of the entry that opened it>`
    Column("exchange_id", Integer, nullable=False),
    Column("exchange_name", String(32), nullable=False),
    Column("cause", String(16), nullable=False),
    Column("since", moment, nullable=False),
    Column("opened_at", moment, nullable=False),
    Column("hostname", String(255), nullable=False),
    Column("ip", String(64), nullable=False),
    Column("admin_email", String(254), nullable=False),
    Column("last_state", String(32), nullable=False),
    Column("detail", String(500), nullable=False),
    Column("is_flapping", Boolean, nullable=False, server_default=false()),
    Column("changes", Integer, nullable=False, server_default="0"),
    Column("resolved_at", moment),  # null: open
    Column("resolution", String(16)),
    Column("version", Integer, nullable=False, server_default="0"),  # the notifier's: an older one never lands later
    Column("acknowledged_at", moment),
    Column("acknowledged_by", String(254)),
    Column("acknowledged_reason", String(500)),
    Column("muted_until", moment),
    Column("muted_by", String(254)),
    Column("muted_reason", String(500)),
    CheckConstraint("cause IN ('offline', 'lease_lost', 'lease_lapsed')", name="cause"),
    CheckConstraint("resolution IN ('recovered', 'stopped', 'switched_off', 'unknown')", name="resolution"),
    CheckConstraint("(resolved_at IS NULL) = (resolution IS NULL)", name="resolved"),
    Index("ix_incidents_opened_at_id", "opened_at", "id"),
    Index("ix_incidents_exchange_id_opened_at_id", "exchange_id", "opened_at", "id"),
    Index(
        "uq_incidents_open",
        "exchange_id",
        unique=True,
        sqlite_where=text("resolved_at IS NULL"),
        postgresql_where=text("resolved_at IS NULL"),
    ),
)

__all__ = ["admins", "api_tokens", "audit", "exchanges", "incidents", "login_links", "metadata", "sessions"]
