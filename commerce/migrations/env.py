"""Alembic's entry: run the scripts on the connection that `commerce.migrations.config` was given."""

from alembic import context

from commerce.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    compare_server_default=True,
    transaction_per_migration=True,  # locks are let go after each
)
with context.begin_transaction():
    context.run_migrations()
