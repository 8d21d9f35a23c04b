"""Index changes beside a shop at work: nobody who reads or writes the table waits for them.

Each is committed by itself, and commits what stands before it in its revision. A revision that was cut off is run
again from its top, so what stands before must bear that: `if_not_exists=True`, `if_exists=True`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from alembic import op
from sqlalchemy import text

from commerce import migrations

INVALID = text("SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid")


def create_index(name: str, table: str, columns: Sequence[str], **options: Any) -> None:
    """Build an index of a table that is in use; one that an earlier try left unfinished is thrown away first."""
    with _alone():
        if op.get_bind().execute(INVALID, {"name": name}).scalar():
            op.drop_index(name, table_name=table, postgresql_concurrently=True)
        op.create_index(name, table, columns, postgresql_concurrently=True, if_not_exists=True, **options)


def drop_index(name: str, table: str) -> None:
    """Throw away an index of a table that is in use."""
    with _alone():
        op.drop_index(name, table_name=table, postgresql_concurrently=True, if_exists=True)


@contextmanager
def _alone() -> Iterator[None]:
    """Run each statement outside of a transaction, and let it wait: it waits for others, but they not for it."""
    with op.get_context().autocommit_block():
        op.execute("SET lock_timeout = 0")
        try:
            yield
        finally:
            op.execute(f"SET lock_timeout = '{migrations.LOCK_TIMEOUT}ms'")
