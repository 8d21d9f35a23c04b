"""Indexes for the gauges."""

import sqlalchemy as sa

from commerce.migrations import concurrent_indexes

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    concurrent_indexes.create_index(
        "ix_orders_held",
        "orders",
        ["created_at"],
        postgresql_where=sa.text(
            "payment_status = 'captured' AND fulfillment_status = 'not_fulfilled'"
            " AND cancelled_at IS NULL AND hold_reason IS NOT NULL"
        ),
    )
    concurrent_indexes.create_index(
        "ix_notifications_unsent",
        "notifications",
        ["created_at"],
        postgresql_where=sa.text("status <> 'sent'"),
    )
