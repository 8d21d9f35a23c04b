"""Webhooks that shops' platforms send: each is taken once, and those that cannot be used are kept for a while."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision: str | None = "0011"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "intake_deliveries",
        sa.Column("platform", sa.String(), nullable=False),
        sa.Column("delivery_id", sa.String(), nullable=False),
        sa.Column("content_hash", sa.String(), nullable=False),
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("received_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("order_id", sa.String(), nullable=True),
        sa.Column("problem", sa.String(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("alerted_at", TIME, nullable=True),
        sa.CheckConstraint(
            "status IN ('stored', 'ignored', 'unusable', 'waiting')", name="ck_intake_deliveries_status"
        ),
        sa.PrimaryKeyConstraint("platform", "delivery_id", "content_hash", name="pk_intake_deliveries"),
    )
    op.create_index("ix_intake_deliveries_received_at", "intake_deliveries", ["received_at"])
    op.create_index(
        "ix_intake_deliveries_open",
        "intake_deliveries",
        ["received_at"],
        postgresql_where=sa.text("status = 'waiting' OR status = 'unusable' AND alerted_at IS NULL"),
    )
