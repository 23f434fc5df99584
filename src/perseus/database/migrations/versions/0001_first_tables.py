"""The first tables: exchanges with their fixed ids, admins and how they prove who they are, the audit log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_MOMENT = sa.String(24).with_variant(sa.String(24, collation="C"), "postgresql")
_SHA256 = sa.String(64)
_ROLES = "role IN ('viewer', 'operator', 'owner')"
_SEEDED = (
    {"id": 1, "name": "coinbase", "display_name": "Coinbase", "is_active": True},
    {"id": 2, "name": "binance", "display_name": "Binance", "is_active": True},
    {"id": 3, "name": "binance_us", "display_name": "Binance US", "is_active": False},
    {"id": 4, "name": "kraken", "display_name": "Kraken", "is_active": True},
)


def upgrade() -> None:
    """Make the tables, seed the exchanges, and refuse every change of what the audit log holds."""
    _exchanges()
    _admins()
    _credentials()
    _audit()
    if op.get_context().dialect.name == "postgresql":
        _append_only_on_postgresql()
    else:
        _append_only_on_sqlite()


def downgrade() -> None:
    """Drop everything: before this there was nothing."""
    for table in ("audit", "login_links", "sessions", "api_tokens", "admins", "exchanges"):
        op.drop_table(table)
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_is_append_only()")


def _exchanges() -> None:
    table = op.create_table(
        "exchanges",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("display_name", sa.String(64), nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("rest_url", sa.String(500)),
        sa.Column("ws_url", sa.String(500)),
        sa.PrimaryKeyConstraint("id", name="pk_exchanges"),
        sa.UniqueConstraint("name", name="uq_exchanges_name"),
        sa.CheckConstraint("id > 0", name="ck_exchanges_id"),
    )
    op.bulk_insert(table, [dict(row) for row in _SEEDED])


def _admins() -> None:
    op.create_table(
        "admins",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("email_key", sa.String(1000), nullable=False),
        sa.Column("display_name", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("password_hash", sa.String(200)),
        sa.Column("oidc_subject", sa.String(255)),
        sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_admins"),
        sa.UniqueConstraint("email_key", name="uq_admins_email_key"),
        sa.UniqueConstraint("oidc_subject", name="uq_admins_oidc_subject"),
        sa.CheckConstraint(_ROLES, name="ck_admins_role"),
    )


def _credentials() -> None:
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("admin_id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("token_hash", _SHA256, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT),
        sa.Column("revoked_at", _MOMENT),
        sa.Column("last_used_at", _MOMENT),
        sa.PrimaryKeyConstraint("id", name="pk_api_tokens"),
        sa.UniqueConstraint("token_hash", name="uq_api_tokens_token_hash"),
        sa.ForeignKeyConstraint(["admin_id"], ["admins.id"], name="fk_api_tokens_admin_id"),
        sa.CheckConstraint(_ROLES, name="ck_api_tokens_role"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", _SHA256, nullable=False),
        sa.Column("admin_id", sa.Integer, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("last_used_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("revoked_at", _MOMENT),
        sa.Column("user_agent", sa.String(200), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        sa.ForeignKeyConstraint(["admin_id"], ["admins.id"], name="fk_sessions_admin_id"),
    )
    op.create_table(
        "login_links",
        sa.Column("hash", _SHA256, nullable=False),
        sa.Column("admin_id", sa.Integer, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
        sa.Column("used_at", _MOMENT),
        sa.PrimaryKeyConstraint("hash", name="pk_login_links"),
        sa.ForeignKeyConstraint(["admin_id"], ["admins.id"], name="fk_login_links_admin_id"),
    )
    for table in ("api_tokens", "sessions", "login_links"):
        op.create_index(f"ix_{table}_admin_id", table, ["admin_id"])
    for table in ("sessions", "login_links"):
        op.create_index(f"ix_{table}_expires_at", table, ["expires_at"])


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("actor", sa.String(254), nullable=False),
        sa.Column("admin_id", sa.Integer),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(254), nullable=False),
        sa.Column("details", sa.JSON, nullable=False),
        sa.Column("address", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sa.ForeignKeyConstraint(["admin_id"], ["admins.id"], name="fk_audit_admin_id"),
    )
    op.create_index("ix_audit_at", "audit", ["at"])


def _append_only_on_sqlite() -> None:
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_refuses_{change.lower()} BEFORE {change} ON audit "
            "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
        )
    # INSERT OR REPLACE deletes what it replaces without asking the trigger above
    op.execute(
        "CREATE TRIGGER audit_refuses_replace BEFORE INSERT ON audit "
        "WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id) "
        "BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"
    )


def _append_only_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'restrict_violation'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()"
    )
