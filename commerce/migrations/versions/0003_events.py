"""events."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.drop_index("ix_outbox_events_unpublished", table_name="outbox_events")
    op.create_index(
        "ix_outbox_events_unpublished",
        "outbox_events",
        ["sequence"],
        unique=False,
        postgresql_where=sa.text("published_at IS NULL"),
    )
