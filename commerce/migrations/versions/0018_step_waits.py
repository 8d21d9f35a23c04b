"""Steps that wait for an answer from outside: one row per round of asking."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "step_waits",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("business_key", sa.String(), nullable=False),
        sa.Column("generation", sa.String(), nullable=False),
        sa.Column("step", sa.String(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("asked_at", TIME, nullable=False),
        sa.Column("until", TIME, nullable=False),
        sa.Column("kind", sa.String(), nullable=True),
        sa.Column("data", postgresql.JSONB(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("answered_by", sa.String(), nullable=True),
        sa.Column("answered_at", TIME, nullable=True),
        sa.Column("delivered_at", TIME, nullable=True),
        sa.Column("digest", sa.String(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('success', 'failure', 'retry', 'expired', 'withdrawn')", name="ck_step_waits_kind"
        ),
        sa.CheckConstraint("round >= 1", name="ck_step_waits_round"),
        sa.CheckConstraint(
            "(digest IS NOT NULL) = (coalesce(kind, '') IN ('success', 'failure', 'retry'))",
            name="ck_step_waits_digest",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_step_waits"),
        sa.UniqueConstraint(
            "business_key", "generation", "step", "round", name="uq_step_waits_business_key_generation_step_round"
        ),
    )
    op.create_index("uq_step_waits_digest", "step_waits", ["business_key", "step", "digest"], unique=True)
    op.create_index("ix_step_waits_open", "step_waits", ["asked_at"], postgresql_where=sa.text("kind IS NULL"))
    op.create_index(
        "ix_step_waits_undelivered",
        "step_waits",
        ["answered_at"],
        postgresql_where=sa.text("kind IS NOT NULL AND delivered_at IS NULL"),
    )
