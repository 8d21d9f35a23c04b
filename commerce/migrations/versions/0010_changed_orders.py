"""Orders that change: what runs must know of, what operators have corrected, and lines that were removed."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    # Constant defaults are stored once per table, so no row is rewritten.
    decisive = sa.Column("decisive_revision", sa.Integer(), server_default="1", nullable=False)
    op.add_column("orders", decisive, if_not_exists=True)
    op.add_column("orders", sa.Column("corrections", JSONB()), if_not_exists=True)
    op.execute("ALTER TABLE order_lines DROP CONSTRAINT IF EXISTS ck_order_lines_quantity")
    op.execute("ALTER TABLE order_lines ADD CONSTRAINT ck_order_lines_quantity CHECK (quantity >= 0) NOT VALID")
    with op.get_context().autocommit_block():  # reads the table without keeping others from writing to it
        op.execute("ALTER TABLE order_lines VALIDATE CONSTRAINT ck_order_lines_quantity")
