"""Orders that wait for stock; one index of reservations by level, whichever statistics PostgreSQL has."""

import sqlalchemy as sa
from alembic import op

from commerce.migrations import concurrent_indexes

revision = "0006"
down_revision = "0005"

UNIQUE = "uq_reservations_inventory_item_id_location_id_order_line_id"


def upgrade() -> None:
    op.add_column("orders", sa.Column("waits_for_backorders", sa.Boolean(), nullable=True), if_not_exists=True)
    concurrent_indexes.create_index(
        UNIQUE, "reservations", ["inventory_item_id", "location_id", "order_line_id"], unique=True
    )
    concurrent_indexes.drop_index("ix_reservations_inventory_item_id_location_id", "reservations")
    op.drop_constraint("uq_reservations_order_line_id_inventory_item_id_location_id", "reservations", type_="unique")
    op.execute(f"ALTER TABLE reservations ADD CONSTRAINT {UNIQUE} UNIQUE USING INDEX {UNIQUE}")
