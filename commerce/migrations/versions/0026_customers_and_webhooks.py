"""Lists of customers, and what operators do with jobs, webhooks, locations and products."""

from alembic import op

from commerce.migrations import concurrent_indexes

revision = "0026"
down_revision = "0025"

ACTIONS = (
    "'cancel', 'retry', 'dismiss', 'pause', 'resume', 'trigger', 'backfill', 'edit', 'hold', 'release', 'cancel-order', "
    "'return-order', 'set-stock', 'resend', 'add-webhook', 'remove-webhook', 'test-webhook', "
    "'set-location', 'link-product', 'retry-intake'"
)


def upgrade() -> None:
    op.execute("ALTER TABLE operator_actions DROP CONSTRAINT IF EXISTS ck_operator_actions_action")
    op.execute(
        f"ALTER TABLE operator_actions ADD CONSTRAINT ck_operator_actions_action CHECK (action IN ({ACTIONS})) NOT VALID"
    )
    # This commits, so the table is no longer locked when the constraint is validated.
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE operator_actions VALIDATE CONSTRAINT ck_operator_actions_action")
    concurrent_indexes.create_index("ix_customers_created_at_id", "customers", ["created_at", "id"])
    concurrent_indexes.create_index(
        "ix_customers_email_start", "customers", ["email"], postgresql_ops={"email": "text_pattern_ops"}
    )
