"""Index changes that block neither reads nor writes of the table.

Each change commits, together with all statements before it in its revision. An interrupted revision runs again from
its start, so those statements must be repeatable: `if_not_exists=True`, `if_exists=True`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from alembic import op
from sqlalchemy import TextClause, text

from commerce import migrations

INVALID = text("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid")


def create_index(name: str, table: str, columns: Sequence[str | TextClause], **options: Any) -> None:
    """Build an index without blocking the table; drop the invalid index of an interrupted attempt first."""
    with _outside_transaction():
        if op.get_bind().execute(INVALID, {"name": name}).scalar():
            op.drop_index(name, table_name=table, postgresql_concurrently=True)
        op.create_index(name, table, columns, postgresql_concurrently=True, if_not_exists=True, **options)


def drop_index(name: str, table: str) -> None:
    """Drop an index without blocking the table."""
    with _outside_transaction():
        op.drop_index(name, table_name=table, postgresql_concurrently=True, if_exists=True)


@contextmanager
def _outside_transaction() -> Iterator[None]:
    """Run statements without a transaction and without a lock timeout: they wait for others but do not block them."""
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        try:
            yield
        finally:
            op.execute(f"SET lock_timeout = '{migrations.LOCK_TIMEOUT}ms'")
