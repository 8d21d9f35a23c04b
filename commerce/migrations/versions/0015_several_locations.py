"""Locations have a sender's address, and an order has one fulfillment per location that it takes goods from."""

import sqlalchemy as sa
from alembic import op

from commerce.migrations import concurrent_indexes

revision = "0015"
down_revision = "0014"

ADDRESS = ("sender_name", "company", "street1", "street2", "city", "zip", "state", "country", "phone")


def upgrade() -> None:
    for name in ADDRESS:
        op.add_column("locations", sa.Column(name, sa.String(), nullable=True), if_not_exists=True)
    op.add_column("fulfillments", sa.Column("from_location_id", sa.String(), nullable=True), if_not_exists=True)
    # A constant default is stored once per table, so no row is rewritten.
    position = sa.Column("position", sa.Integer(), server_default="1", nullable=False)
    op.add_column("fulfillments", position, if_not_exists=True)
    op.execute("ALTER TABLE locations DROP CONSTRAINT IF EXISTS ck_locations_address")
    op.execute(
        "ALTER TABLE locations ADD CONSTRAINT ck_locations_address"
        " CHECK (num_nonnulls(street1, city, country) IN (0, 3)) NOT VALID"
    )
    op.execute("ALTER TABLE fulfillments DROP CONSTRAINT IF EXISTS fk_fulfillments_from_location_id")
    op.execute(
        "ALTER TABLE fulfillments ADD CONSTRAINT fk_fulfillments_from_location_id"
        " FOREIGN KEY (from_location_id) REFERENCES locations (id) NOT VALID"
    )
    with op.get_context().autocommit_block():  # without the locks that the statements above take
        op.execute("ALTER TABLE locations VALIDATE CONSTRAINT ck_locations_address")
        op.execute("ALTER TABLE fulfillments VALIDATE CONSTRAINT fk_fulfillments_from_location_id")
    # Rows of the older version have no location: it still creates at most one live fulfillment per order.
    concurrent_indexes.create_index(
        "uq_fulfillments_live_at_location",
        "fulfillments",
        ["order_id", "from_location_id"],
        unique=True,
        postgresql_where=sa.text("cancelled_at IS NULL"),
        postgresql_nulls_not_distinct=True,
    )
    concurrent_indexes.drop_index("uq_fulfillments_live", "fulfillments")
