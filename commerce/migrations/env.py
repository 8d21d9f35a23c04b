"""Alembic's entry: run the scripts on the connection that `commerce.migrations.config` was given."""

from alembic import context
from sqlalchemy import text

from commerce.tables import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
with context.begin_transaction():
    # Two that migrate at once: the second waits and finds it done.
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('commerce.migrations'))"))
    context.run_migrations()
