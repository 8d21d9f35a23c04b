"""Operators list and search orders by indexes, and correct them."""

import sqlalchemy as sa
from alembic import op

from commerce.migrations import concurrent_indexes

revision = "0022"
down_revision = "0021"

NOT_CANCELLED = "cancelled_at IS NULL AND payment_status <> 'cancelled'"
SETTLED = "cancellation IS DISTINCT FROM 'cancelling'"
UNSHIPPED = f"{NOT_CANCELLED} AND fulfillment_status NOT IN ('fulfilled', 'fulfilled_elsewhere') AND {SETTLED}"
INDEXED = {
    "cancelling": "cancellation = 'cancelling'",
    "fulfilled": f"fulfillment_status = 'fulfilled' AND {SETTLED}",
    "cancelled": f"NOT ({NOT_CANCELLED}) AND fulfillment_status <> 'fulfilled' AND {SETTLED}",
    "fulfilled_elsewhere": f"{NOT_CANCELLED} AND fulfillment_status = 'fulfilled_elsewhere' AND {SETTLED}",
    "unpaid": f"{UNSHIPPED} AND payment_status IN ('awaiting', 'authorized', 'partially_captured', 'expired')",
    "other": f"{UNSHIPPED} AND payment_status IN ('captured', 'partially_refunded', 'refunded')"
    " AND (payment_status = 'refunded' OR fulfillment_status <> 'not_fulfilled')",
    "waiting_for_stock": "payment_status IN ('captured', 'awaiting', 'partially_refunded')"
    " AND fulfillment_status = 'not_fulfilled' AND cancelled_at IS NULL"
    " AND hold_reason IS NULL AND waits_for_backorders IS NOT NULL",
}
WORDS = """to_tsvector('simple', id || ' ' || coalesce(external_id, '') || ' ' || coalesce(name, '')
    || ' ' || coalesce(email, '') || ' ' || coalesce(shipping_name, '')
    || ' ' || coalesce(shipping_company, '') || ' ' || coalesce(billing_name, ''))"""


ACTIONS = (
    "'cancel', 'retry', 'dismiss', 'pause', 'resume', 'edit', 'hold', 'release', 'cancel-order', 'set-stock', 'resend'"
)


def upgrade() -> None:
    op.execute("ALTER TABLE operator_actions DROP CONSTRAINT IF EXISTS ck_operator_actions_action")
    op.execute(
        f"ALTER TABLE operator_actions ADD CONSTRAINT ck_operator_actions_action CHECK (action IN ({ACTIONS})) NOT VALID"
    )
    # This commits, so the table is no longer locked when the constraint is validated.
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE operator_actions VALIDATE CONSTRAINT ck_operator_actions_action")
    concurrent_indexes.create_index("ix_orders_created_at_id", "orders", ["created_at", "id"])
    concurrent_indexes.drop_index("ix_orders_created_at", "orders")
    concurrent_indexes.create_index("ix_notifications_created_at_key", "notifications", ["created_at", "key"])
    concurrent_indexes.drop_index("ix_notifications_created_at", "notifications")
    concurrent_indexes.create_index(
        "ix_inventory_levels_oversold",
        "inventory_levels",
        ["inventory_item_id"],
        postgresql_where=sa.text("oversold"),
    )
    for status, condition in INDEXED.items():
        concurrent_indexes.create_index(
            f"ix_orders_{status}", "orders", ["created_at", "id"], postgresql_where=sa.text(condition)
        )
    concurrent_indexes.create_index("ix_orders_words", "orders", [sa.text(f"({WORDS})")], postgresql_using="gin")
    concurrent_indexes.create_index(
        "ix_fulfillments_tracking_number",
        "fulfillments",
        ["tracking_number"],
        postgresql_where=sa.text("tracking_number IS NOT NULL"),
    )
