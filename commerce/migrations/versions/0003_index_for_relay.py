"""Index for the relay: unpublished events in order."""

import sqlalchemy as sa
from alembic import op

from commerce.migrations import concurrent_indexes

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # Built under another name first, so that the relay is never without an index.
    concurrent_indexes.create_index(
        "ix_outbox_events_unpublished_sequence",
        "outbox_events",
        ["sequence"],
        postgresql_where=sa.text("published_at IS NULL"),
    )
    concurrent_indexes.drop_index("ix_outbox_events_unpublished", "outbox_events")
    op.execute("ALTER INDEX ix_outbox_events_unpublished_sequence RENAME TO ix_outbox_events_unpublished")
