"""The levels that were set in the embedded warehouse, in an SQLite file that survives a kill."""

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from starter.devstack.warehouse.schemas import FixedLevel

SCHEMA = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS told (
        sku TEXT, location TEXT, base INTEGER, since TEXT NOT NULL, PRIMARY KEY (sku, location)
    ) WITHOUT ROWID;
"""
PUT = "INSERT OR REPLACE INTO told (sku, location, base, since) VALUES (:sku, :location, :base, :since)"
GET = "SELECT sku, location, base, since FROM told WHERE sku IN (SELECT value FROM json_each(?))"


class Levels:
    """The levels on disk. Only one thread at a time may use them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._rows = sqlite3.connect(folder / "warehouse.sqlite3", isolation_level=None, check_same_thread=False)
        self._rows.row_factory = sqlite3.Row
        self._rows.executescript(SCHEMA)

    def put(self, levels: Sequence[FixedLevel]) -> None:
        """Store all of these levels or none; they replace earlier ones of the same SKU and location."""
        self._rows.execute("BEGIN")
        with self._rows:
            self._rows.executemany(PUT, [level.model_dump() | {"since": level.since.isoformat()} for level in levels])

    def get(self, skus: Sequence[str]) -> list[FixedLevel]:
        """Return the levels of these SKUs that were set."""
        return [FixedLevel.model_validate(dict(row)) for row in self._rows.execute(GET, (json.dumps(skus),))]

    def clear(self) -> None:
        """Delete all levels."""
        self._rows.execute("DELETE FROM told")

    def close(self) -> None:
        """Close the file."""
        self._rows.close()
