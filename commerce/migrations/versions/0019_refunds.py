"""Refunds of orders, with a constraint that never more is refunded than was captured."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "order_payments",
        sa.Column("order_id", sa.String(), nullable=False),
        sa.Column("captured", sa.BigInteger(), nullable=False),
        sa.Column("refunded_elsewhere", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("refunded", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "refunded >= 0 AND refunded_elsewhere >= 0 AND refunded + refunded_elsewhere <= captured",
            name="ck_order_payments_refunded",
        ),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name="fk_order_payments_order_id"),
        sa.PrimaryKeyConstraint("order_id", name="pk_order_payments"),
    )
    op.create_table(
        "order_refunds",
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("order_id", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(), server_default="due", nullable=False),
        sa.Column("provider", sa.String(), nullable=False),
        sa.Column("payment_id", sa.String(), nullable=False),
        sa.Column("refund_id", sa.String(), nullable=True),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("made_at", TIME, nullable=True),
        sa.CheckConstraint("state IN ('due', 'made')", name="ck_order_refunds_state"),
        sa.CheckConstraint("amount > 0", name="ck_order_refunds_amount"),
        sa.ForeignKeyConstraint(["order_id"], ["order_payments.order_id"], name="fk_order_refunds_order_id"),
        sa.PrimaryKeyConstraint("id", name="pk_order_refunds"),
        sa.UniqueConstraint("order_id", "purpose", name="uq_order_refunds_order_id_purpose"),
    )
