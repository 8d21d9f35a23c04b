"""Orders can be open without being paid, and a person can approve what is on hold."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from commerce.migrations import concurrent_indexes

revision = "0013"
down_revision = "0012"

OPEN = (
    "payment_status IN ('captured', 'awaiting', 'partially_refunded')"
    " AND fulfillment_status = 'not_fulfilled' AND cancelled_at IS NULL"
)


def upgrade() -> None:
    op.add_column("orders", sa.Column("held_by", sa.String(), nullable=True), if_not_exists=True)
    op.add_column("orders", sa.Column("approved_revision", sa.Integer(), nullable=True), if_not_exists=True)
    op.add_column("orders", sa.Column("approved_reasons", JSONB(), nullable=True), if_not_exists=True)
    op.add_column("order_lines", sa.Column("refunded_quantity", sa.Integer(), nullable=True), if_not_exists=True)
    op.create_table(
        "ship_unpaid_methods",
        sa.Column("method", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("method", name="pk_ship_unpaid_methods"),
        if_not_exists=True,
    )
    op.execute("ALTER TABLE order_lines DROP CONSTRAINT IF EXISTS ck_order_lines_refunded_quantity")
    op.execute(
        "ALTER TABLE order_lines ADD CONSTRAINT ck_order_lines_refunded_quantity CHECK (refunded_quantity >= 0)"
        " NOT VALID"
    )
    # This commits, so the table is no longer locked when the constraint is validated.
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE order_lines VALIDATE CONSTRAINT ck_order_lines_refunded_quantity")
    # The older version's queries can use the new indexes too.
    concurrent_indexes.create_index(
        "ix_orders_open",
        "orders",
        ["created_at", "id"],
        postgresql_where=sa.text(f"{OPEN} AND hold_reason IS NULL"),
    )
    concurrent_indexes.create_index(
        "ix_orders_on_hold", "orders", ["created_at"], postgresql_where=sa.text(f"{OPEN} AND hold_reason IS NOT NULL")
    )
    concurrent_indexes.drop_index("ix_orders_pending", "orders")
    concurrent_indexes.drop_index("ix_orders_held", "orders")
