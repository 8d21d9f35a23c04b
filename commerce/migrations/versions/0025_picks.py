"""Picks that the warehouse answers later."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0025"
down_revision = "0024"

TIME = sa.DateTime(timezone=True)
REASONS = "'import', 'sync', 'fulfillment', 'cancel', 'returned', 'pick_short'"


def upgrade() -> None:
    op.create_table(
        "picks",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("fulfillment_id", sa.Uuid(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("business_key", sa.String(), nullable=False),
        sa.Column("generation", sa.String(), nullable=False),
        sa.Column("lines", JSONB(), nullable=True),
        sa.Column("missing", JSONB(), nullable=True),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("answered_at", TIME, nullable=True),
        sa.Column("withdrawn_at", TIME, nullable=True),
        sa.CheckConstraint("(missing IS NULL) = (answered_at IS NULL)", name="answered"),
        sa.ForeignKeyConstraint(["fulfillment_id"], ["fulfillments.id"], name="fk_picks_fulfillment_id"),
        sa.PrimaryKeyConstraint("id", name="pk_picks"),
        sa.UniqueConstraint("fulfillment_id", "round", name="uq_picks_fulfillment_id_round"),
        if_not_exists=True,
    )
    op.create_index(
        "ix_picks_business_key_generation_round", "picks", ["business_key", "generation", "round"], if_not_exists=True
    )
    op.create_table(
        "pick_shorts",
        sa.Column("fulfillment_id", sa.Uuid(), nullable=False),
        sa.Column("order_line_id", sa.BigInteger(), nullable=False),
        sa.Column("inventory_item_id", sa.String(), nullable=False),
        sa.Column("location_id", sa.String(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("lost", sa.Integer(), nullable=False),
        sa.CheckConstraint("quantity >= 1 AND lost BETWEEN 0 AND quantity", name="quantity"),
        sa.ForeignKeyConstraint(["fulfillment_id"], ["fulfillments.id"], name="fk_pick_shorts_fulfillment_id"),
        sa.ForeignKeyConstraint(["order_line_id"], ["order_lines.id"], name="fk_pick_shorts_order_line_id"),
        sa.ForeignKeyConstraint(["inventory_item_id"], ["inventory_items.id"], name="fk_pick_shorts_inventory_item_id"),
        sa.ForeignKeyConstraint(["location_id"], ["locations.id"], name="fk_pick_shorts_location_id"),
        sa.PrimaryKeyConstraint(
            "fulfillment_id", "order_line_id", "inventory_item_id", "location_id", name="pk_pick_shorts"
        ),
        if_not_exists=True,
    )
    op.create_index("ix_pick_shorts_order_line_id", "pick_shorts", ["order_line_id"], if_not_exists=True)
    op.execute("ALTER TABLE stock_movements DROP CONSTRAINT IF EXISTS ck_stock_movements_reason")
    op.execute(
        f"ALTER TABLE stock_movements ADD CONSTRAINT ck_stock_movements_reason CHECK (reason IN ({REASONS})) NOT VALID"
    )
    # This commits, so the table is no longer locked when the constraint is validated.
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE stock_movements VALIDATE CONSTRAINT ck_stock_movements_reason")
