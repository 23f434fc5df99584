"""Incidents: exchanges that were not served although they should have been, and who knows of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_MOMENT = sa.String(24).with_variant(sa.String(24, collation="C"), "postgresql")
_ID = sa.String(96).with_variant(sa.String(96, collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table; what is open is told by the network itself, so nothing is to be filled in."""
    op.create_table(
        "incidents",
        sa.Column("id", _ID, nullable=False),
        sa.Column("exchange_id", sa.Integer, nullable=False),
        sa.Column("exchange_name", sa.String(32), nullable=False),
        sa.Column("cause", sa.String(16), nullable=False),
        sa.Column("since", _MOMENT, nullable=False),
        sa.Column("opened_at", _MOMENT, nullable=False),
        sa.Column("hostname", sa.String(255), nullable=False),
        sa.Column("ip", sa.String(64), nullable=False),
        sa.Column("admin_email", sa.String(254), nullable=False),
        sa.Column("last_state", sa.String(32), nullable=False),
        sa.Column("detail", sa.String(500), nullable=False),
        sa.Column("is_flapping", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("changes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("resolved_at", _MOMENT),
        sa.Column("resolution", sa.String(16)),
        sa.Column("version", sa.Integer, nullable=False, server_default="0"),
        sa.Column("acknowledged_at", _MOMENT),
        sa.Column("acknowledged_by", sa.String(254)),
        sa.Column("acknowledged_reason", sa.String(500)),
        sa.Column("muted_until", _MOMENT),
        sa.Column("muted_by", sa.String(254)),
        sa.Column("muted_reason", sa.String(500)),
        sa.PrimaryKeyConstraint("id", name="pk_incidents"),
        sa.CheckConstraint("cause IN ('offline', 'lease_lost', 'lease_lapsed')", name="ck_incidents_cause"),
        sa.CheckConstraint(
            "resolution IN ('recovered', 'stopped', 'switched_off', 'unknown')", name="ck_incidents_resolution"
        ),
        sa.CheckConstraint("(resolved_at IS NULL) = (resolution IS NULL)", name="ck_incidents_resolved"),
    )
    op.create_index("ix_incidents_opened_at_id", "incidents", ["opened_at", "id"])
    op.create_index("ix_incidents_exchange_id_opened_at_id", "incidents", ["exchange_id", "opened_at", "id"])
    is_open = sa.text("resolved_at IS NULL")
    op.create_index(
        "uq_incidents_open",
        "incidents",
        ["exchange_id"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )


def downgrade() -> None:
    """Drop the table. What people wrote there is lost but for the audit log, which tells of each acknowledgement."""
    op.drop_table("incidents")
