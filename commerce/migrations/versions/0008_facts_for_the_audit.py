"""Facts for the audit of reservations and fulfillments: variants change later."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("reservations", sa.Column("backorder", sa.Boolean(), nullable=True))
    op.add_column("fulfillments", sa.Column("required_units", sa.BigInteger(), nullable=True))
