"""Accounts and jobs."""

import sqlalchemy as sa
from alembic import op

from commerce.migrations import concurrent_indexes

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "operator_actions",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("process_id", sa.String(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("action IN ('cancel', 'retry', 'pause', 'resume')", name=op.f("ck_operator_actions_action")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_operator_actions")),
        if_not_exists=True,
    )
    op.create_index("ix_operator_actions_process_id", "operator_actions", ["process_id"], if_not_exists=True)
    op.add_column(
        "cart_lines",
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        if_not_exists=True,
    )
    op.add_column("carts", sa.Column("content_hash", sa.String(), nullable=True), if_not_exists=True)
    op.add_column(
        "customers", sa.Column("registered_at", sa.DateTime(timezone=True), nullable=True), if_not_exists=True
    )
    concurrent_indexes.create_index(
        "ix_carts_open", "carts", ["updated_at", "id"], postgresql_where=sa.text("completed_at IS NULL")
    )
    concurrent_indexes.create_index("ix_customers_registered_at", "customers", ["registered_at"])
    concurrent_indexes.create_index("uq_customers_email", "customers", ["email"], unique=True)
    concurrent_indexes.create_index("ix_notifications_created_at", "notifications", ["created_at"])
    concurrent_indexes.create_index("ix_orders_created_at", "orders", ["created_at"])
    concurrent_indexes.create_index("ix_orders_customer_id_created_at", "orders", ["customer_id", "created_at"])
    concurrent_indexes.drop_index("ix_orders_customer_id", "orders")
    concurrent_indexes.create_index(
        "ix_outbox_events_published",
        "outbox_events",
        ["published_at"],
        postgresql_where=sa.text("published_at IS NOT NULL"),
    )
    op.drop_constraint("uq_customers_email_has_account", "customers", type_="unique")
    op.execute("ALTER TABLE customers ADD CONSTRAINT uq_customers_email UNIQUE USING INDEX uq_customers_email")
