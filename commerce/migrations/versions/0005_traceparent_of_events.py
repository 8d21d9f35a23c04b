"""Traceparent of events."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("outbox_events", sa.Column("traceparent", sa.String(), nullable=True))
