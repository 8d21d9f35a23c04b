"""Orders have a revision."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("orders", sa.Column("revision", sa.Integer(), nullable=False, server_default="1"))
