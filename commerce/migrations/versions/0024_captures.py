"""Authorized payments are captured here, and refunds can be pending at their provider."""

import sqlalchemy as sa
from alembic import op

from commerce.migrations import concurrent_indexes

revision = "0024"
down_revision = "0023"

TIME = sa.DateTime(timezone=True)
MAY_BE_OPEN = (
    "payment_status IN ('captured', 'awaiting', 'authorized', 'partially_refunded')"
    " AND fulfillment_status = 'not_fulfilled' AND cancelled_at IS NULL"
)
# Their new conditions include the old ones, so the queries of the older version can use them, too.
WIDENED = {
    "ix_orders_open": (["created_at", "id"], f"{MAY_BE_OPEN} AND hold_reason IS NULL"),
    "ix_orders_on_hold": (["created_at"], f"{MAY_BE_OPEN} AND hold_reason IS NOT NULL"),
    "ix_orders_waiting_for_stock": (
        ["created_at", "id"],
        f"{MAY_BE_OPEN} AND hold_reason IS NULL AND waits_for_backorders IS NOT NULL",
    ),
}


def upgrade() -> None:
    op.create_table(
        "capturable_payments",
        sa.Column("pattern", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("pattern", name="pk_capturable_payments"),
        if_not_exists=True,
    )
    op.create_table(
        "order_captures",
        sa.Column("order_id", sa.String(), nullable=False),
        sa.Column("payment_id", sa.String(), nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("ours", sa.Boolean(), nullable=False),
        sa.Column("captured_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("amount >= 0", name="amount"),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_order_captures_order_id"),
        sa.PrimaryKeyConstraint("order_id", "payment_id", name="pk_order_captures"),
        sa.UniqueConstraint("payment_id", name="uq_order_captures_payment_id"),
        if_not_exists=True,
    )
    op.add_column("order_refunds", sa.Column("checked_at", TIME, nullable=True), if_not_exists=True)
    for name in ("ck_order_refunds_ck_order_refunds_state", "ck_order_refunds_state"):  # the first is that of 0019
        op.execute(f"ALTER TABLE order_refunds DROP CONSTRAINT IF EXISTS {name}")
    op.execute(
        "ALTER TABLE order_refunds ADD CONSTRAINT ck_order_refunds_state CHECK (state IN ('due', 'pending', 'made'))"
        " NOT VALID"
    )
    # This commits, so the table is no longer locked when the constraint is validated.
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE order_refunds VALIDATE CONSTRAINT ck_order_refunds_state")
    concurrent_indexes.create_index(
        "ix_order_refunds_pending", "order_refunds", ["checked_at"], postgresql_where=sa.text("state = 'pending'")
    )
    for name, (columns, condition) in WIDENED.items():
        # An interrupted attempt may have renamed it before.
        op.execute(
            f"DO $$ BEGIN IF to_regclass('{name}_before') IS NULL"
            f" THEN ALTER INDEX {name} RENAME TO {name}_before; END IF; END $$"
        )
        concurrent_indexes.create_index(name, "orders", columns, postgresql_where=sa.text(condition))
        concurrent_indexes.drop_index(f"{name}_before", "orders")
