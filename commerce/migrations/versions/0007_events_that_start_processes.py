"""Events that start processes are handled before webhook deliveries."""

import sqlalchemy as sa
from alembic import op

from commerce.migrations import concurrent_indexes

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column(
        "outbox_events", sa.Column("handled_at", sa.DateTime(timezone=True), nullable=True), if_not_exists=True
    )
    concurrent_indexes.create_index(
        "ix_outbox_events_unhandled",
        "outbox_events",
        ["type", "sequence"],
        postgresql_where=sa.text("published_at IS NULL AND handled_at IS NULL"),
    )
