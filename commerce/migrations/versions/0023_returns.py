"""Returns of orders: what is to come back, what came back, and what of it was put into stock again."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

TIME = sa.DateTime(timezone=True)
UNFINISHED = "state IN ('open', 'received')"
REASONS = "'import', 'sync', 'fulfillment', 'cancel', 'returned'"
ACTIONS = (
    "'cancel', 'retry', 'dismiss', 'pause', 'resume', 'edit', 'hold', 'release', 'cancel-order', 'return-order', "
    "'set-stock', 'resend'"
)
CHECKS = (  # of tables that are large already
    ("stock_movements", "ck_stock_movements_reason", f"reason IN ({REASONS})"),
    ("operator_actions", "ck_operator_actions_action", f"action IN ({ACTIONS})"),
    (
        "order_lines",
        "ck_order_lines_returned_quantity",
        "returned_quantity >= 0 AND returning_quantity >= 0 AND returned_quantity + returning_quantity <= quantity",
    ),
)


def upgrade() -> None:
    op.create_table(
        "order_returns",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("order_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), server_default="open", nullable=False),
        sa.Column("location_id", sa.String(), nullable=True),
        sa.Column("refund", sa.Boolean(), nullable=False),
        sa.Column("refund_shipping", sa.Boolean(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("unclaimed_before", sa.BigInteger(), nullable=False),
        sa.Column("refunded_elsewhere", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("shipment_id", sa.String(), nullable=True),
        sa.Column("tracking_number", sa.String(), nullable=True),
        sa.Column("label_url", sa.String(), nullable=True),
        sa.Column("carrier", sa.String(), nullable=True),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("asked_at", TIME, nullable=True),
        sa.Column("received_at", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.CheckConstraint("state IN ('open', 'received', 'completed', 'closed')", name="ck_order_returns_state"),
        sa.CheckConstraint(
            "amount >= 0 AND refunded_elsewhere BETWEEN 0 AND amount",
            name="ck_order_returns_amount",
        ),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_order_returns_order_id"),
        sa.ForeignKeyConstraint(["location_id"], ["locations.id"], name="fk_order_returns_location_id"),
        sa.PrimaryKeyConstraint("id", name="pk_order_returns"),
        if_not_exists=True,
    )
    op.create_index("ix_order_returns_order_id", "order_returns", ["order_id"], if_not_exists=True)
    op.create_index("ix_order_returns_created_at_id", "order_returns", ["created_at", "id"], if_not_exists=True)
    op.create_index(
        "ix_order_returns_unfinished",
        "order_returns",
        ["created_at", "id"],
        postgresql_where=sa.text(UNFINISHED),
        if_not_exists=True,
    )
    op.create_index(
        "ix_order_returns_tracking_number",
        "order_returns",
        ["tracking_number"],
        postgresql_where=sa.text("tracking_number IS NOT NULL"),
        if_not_exists=True,
    )
    op.create_table(
        "order_return_lines",
        sa.Column("return_id", sa.String(), nullable=False),
        sa.Column("order_line_id", sa.BigInteger(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("received", sa.Integer(), nullable=True),
        sa.Column("sellable", sa.Integer(), nullable=True),
        sa.CheckConstraint("quantity >= 1", name="ck_order_return_lines_quantity"),
        sa.CheckConstraint(
            "received BETWEEN 0 AND quantity AND sellable BETWEEN 0 AND received",
            name="ck_order_return_lines_received",
        ),
        sa.ForeignKeyConstraint(["return_id"], ["order_returns.id"], name="fk_order_return_lines_return_id"),
        sa.ForeignKeyConstraint(["order_line_id"], ["order_lines.id"], name="fk_order_return_lines_order_line_id"),
        sa.PrimaryKeyConstraint("return_id", "order_line_id", name="pk_order_return_lines"),
        if_not_exists=True,
    )
    op.create_index("ix_order_return_lines_order_line_id", "order_return_lines", ["order_line_id"], if_not_exists=True)
    op.create_table(
        "order_return_items",
        sa.Column("return_id", sa.String(), nullable=False),
        sa.Column("order_line_id", sa.BigInteger(), nullable=False),
        sa.Column("inventory_item_id", sa.String(), nullable=False),
        sa.Column("location_id", sa.String(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.CheckConstraint("quantity >= 1", name="ck_order_return_items_quantity"),
        sa.ForeignKeyConstraint(["return_id"], ["order_returns.id"], name="fk_order_return_items_return_id"),
        sa.ForeignKeyConstraint(["order_line_id"], ["order_lines.id"], name="fk_order_return_items_order_line_id"),
        sa.ForeignKeyConstraint(
            ["inventory_item_id", "location_id"],
            ["inventory_levels.inventory_item_id", "inventory_levels.location_id"],
            name="fk_order_return_items_inventory_item_id_location_id",
        ),
        sa.PrimaryKeyConstraint("return_id", "order_line_id", "inventory_item_id", name="pk_order_return_items"),
        if_not_exists=True,
    )
    op.create_index("ix_order_return_items_order_line_id", "order_return_items", ["order_line_id"], if_not_exists=True)
    op.create_index(
        "ix_order_return_items_inventory_item_id_location_id",
        "order_return_items",
        ["inventory_item_id", "location_id"],
        if_not_exists=True,
    )
    for name in ("returned_quantity", "returning_quantity"):
        op.add_column(
            "order_lines", sa.Column(name, sa.Integer(), server_default="0", nullable=False), if_not_exists=True
        )
    for table, name, condition in CHECKS:
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID")
    with op.get_context().autocommit_block():  # without the locks that the statements above take
        for table, name, _ in CHECKS:
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
