"""Orders that are cancelled here."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.add_column("orders", sa.Column("cancellation", sa.String(), nullable=True), if_not_exists=True)
    op.execute("ALTER TABLE orders DROP CONSTRAINT IF EXISTS ck_orders_cancellation")
    op.execute(
        "ALTER TABLE orders ADD CONSTRAINT ck_orders_cancellation"
        " CHECK (cancellation IN ('cancelling', 'cancelled')) NOT VALID"
    )
    with op.get_context().autocommit_block():  # without the lock that the statement above takes
        op.execute("ALTER TABLE orders VALIDATE CONSTRAINT ck_orders_cancellation")
