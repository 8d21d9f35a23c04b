"""Orders of several sources, with everything that a shop admin's export says about them."""

import sqlalchemy as sa
from alembic import op

from commerce.migrations import concurrent_indexes

revision = "0009"
down_revision = "0008"

ORDER_TEXTS = (
    *("external_id", "name", "name_key", "discount_code", "payment_method", "payment_reference", "risk_level"),
    *("note", "note_attributes", "tags", "shipping_company", "shipping_address2", "shipping_province_name", "phone"),
    *("billing_name", "billing_company", "billing_address1", "billing_address2", "billing_city", "billing_zip"),
    *("billing_province", "billing_country"),
)
ORDER_AMOUNTS = ("discount_total", "tax_total", "duties_total", "tip_total", "refunded_total")
CHECKS = {
    "ck_orders_payment_status": (
        "orders",
        "payment_status IN ('awaiting', 'authorized', 'captured', 'partially_captured', 'refunded',"
        " 'partially_refunded', 'cancelled', 'expired')",
    ),
    "ck_orders_fulfillment_status": (
        "orders",
        "fulfillment_status IN ('not_fulfilled', 'partially_fulfilled', 'fulfilled', 'fulfilled_elsewhere',"
        " 'restocked', 'scheduled', 'on_hold')",
    ),
    "ck_order_lines_fulfillment_status": (
        "order_lines",
        "fulfillment_status IN ('not_fulfilled', 'partially_fulfilled', 'fulfilled_elsewhere', 'restocked')",
    ),
}


def upgrade() -> None:
    # Constant defaults are stored once per table, so no row is rewritten.
    _add("orders", sa.Column("source", sa.String(), server_default="shop", nullable=False))
    _add("orders", sa.Column("revision", sa.Integer(), server_default="1", nullable=False))
    for name in ORDER_TEXTS:
        _add("orders", sa.Column(name, sa.String()))
    for name in ORDER_AMOUNTS:
        _add("orders", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))
    _add("orders", sa.Column("outstanding_total", sa.BigInteger()))
    _add("orders", sa.Column("taxes_included", sa.Boolean()))
    _add("orders", sa.Column("updated_at", sa.DateTime(timezone=True)))
    number = sa.Computed("coalesce(name, name_key, id)", persisted=False)
    _add("orders", sa.Column("number", sa.String(), number))
    _add("order_lines", sa.Column("discount", sa.BigInteger(), server_default="0", nullable=False))
    _add("order_lines", sa.Column("fulfillment_status", sa.String(), server_default="not_fulfilled", nullable=False))
    _add("order_lines", sa.Column("vendor", sa.String()))
    for name, (table, condition) in CHECKS.items():
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID")
    # Each of these commits, so the tables are no longer locked when the constraints are validated.
    for key in ("external_id", "name_key"):
        concurrent_indexes.create_index(f"uq_orders_source_{key}", "orders", ["source", key], unique=True)
    namesakes = sa.text("name_key IS NULL AND name IS NOT NULL")
    concurrent_indexes.create_index("ix_orders_namesakes", "orders", ["source", "name"], postgresql_where=namesakes)
    with op.get_context().autocommit_block():
        for name, (table, _) in CHECKS.items():
            op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")


def _add(table: str, column: sa.Column[object]) -> None:
    op.add_column(table, column, if_not_exists=True)
