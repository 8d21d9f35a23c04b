"""Customers can be forgotten, accounts know the process that registered them, and registrations can wait."""

import sqlalchemy as sa
from alembic import op

from commerce.migrations import concurrent_indexes

revision = "0021"
down_revision = "0020"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "forgotten_addresses",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("forgotten_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_forgotten_addresses"),
        if_not_exists=True,
    )
    op.create_table(
        "pending_registrations",
        sa.Column("process_id", sa.String(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=False),
        sa.Column("asked_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("process_id", name="pk_pending_registrations"),
        if_not_exists=True,
    )
    op.create_index("ix_pending_registrations_asked_at", "pending_registrations", ["asked_at"], if_not_exists=True)
    op.alter_column("customers", "email", nullable=True)
    op.add_column("customers", sa.Column("registered_by", sa.String(), nullable=True), if_not_exists=True)
    op.add_column("orders", sa.Column("forgotten_at", TIME, nullable=True), if_not_exists=True)
    op.add_column("orders", sa.Column("keeps_invoice", sa.Boolean(), nullable=True), if_not_exists=True)
    concurrent_indexes.create_index(
        "ix_orders_kept_invoices", "orders", ["created_at"], postgresql_where=sa.text("keeps_invoice")
    )
