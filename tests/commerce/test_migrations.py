"""The migrations make exactly the tables that tables.py describes."""

from alembic import command
from sqlalchemy import make_url
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from commerce import migrations


async def test_tables_and_migrations_agree(database_url: str) -> None:
    engine = create_async_engine(make_url(database_url).set(drivername="postgresql+asyncpg"))

    def check(connection: Connection) -> None:
        command.check(migrations.config(connection))  # raises and lists what differs

    async with engine.begin() as connection:
        await connection.run_sync(check)
    await engine.dispose()
