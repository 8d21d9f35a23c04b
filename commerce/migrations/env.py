"""Alembic's entry point: run the revisions on the connection of `commerce.migrations.alembic_config`."""

from alembic import context

from commerce.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    compare_server_default=True,
    transaction_per_migration=True,  # each revision releases its locks
)
with context.begin_transaction():
    context.run_migrations()
