"""Reports tell the truth: when refunds became known, which days are to be counted again, and what has changed since."""

import sqlalchemy as sa
from alembic import op

from commerce.migrations import concurrent_indexes

revision = "0014"
down_revision = "0013"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "refunds",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("order_id", sa.String(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("known_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_refunds_order_id"),
        sa.PrimaryKeyConstraint("id", name="pk_refunds"),
        if_not_exists=True,
    )
    op.create_index("ix_refunds_order_id", "refunds", ["order_id"], if_not_exists=True)
    op.create_index("ix_refunds_known_at", "refunds", ["known_at"], if_not_exists=True)
    op.create_table(
        "days_to_count",
        sa.Column("moment", TIME, nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.PrimaryKeyConstraint("moment", "id", name="pk_days_to_count"),
        if_not_exists=True,
    )
    # Constant defaults are stored once per table, so no row is rewritten.
    for name in ("awaiting", "refunded"):
        column = sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
        op.add_column("daily_metrics", column, if_not_exists=True)
    op.add_column("daily_metrics", sa.Column("reported_revenue", sa.BigInteger(), nullable=True), if_not_exists=True)
    op.add_column("daily_metrics", sa.Column("change", sa.String(), nullable=True), if_not_exists=True)
    op.execute("ALTER TABLE daily_metrics DROP CONSTRAINT IF EXISTS ck_daily_metrics_change")
    op.execute(
        "ALTER TABLE daily_metrics ADD CONSTRAINT ck_daily_metrics_change"
        " CHECK (change IN ('unlisted', 'listed')) NOT VALID"
    )
    with op.get_context().autocommit_block():  # without the locks that the statements above take
        op.execute("ALTER TABLE daily_metrics VALIDATE CONSTRAINT ck_daily_metrics_change")
        # Nobody knows when earlier refunds became known: they belong to the days of their orders.
        op.execute("""
            INSERT INTO refunds (order_id, amount, known_at)
            SELECT id, amount, created_at
            FROM orders, LATERAL (
                SELECT CASE WHEN payment_status = 'refunded' AND refunded_total = 0 THEN total
                            ELSE least(refunded_total, total) END AS amount) AS refund
            WHERE payment_status IN ('captured', 'refunded', 'partially_refunded') AND cancelled_at IS NULL
              AND amount <> 0 AND NOT EXISTS (SELECT FROM refunds WHERE order_id = orders.id)
        """)
    concurrent_indexes.create_index(
        "ix_daily_metrics_unlisted", "daily_metrics", ["day"], postgresql_where=sa.text("change = 'unlisted'")
    )
