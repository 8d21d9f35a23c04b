"""The shipments of the embedded carrier, in an SQLite file that survives a kill."""

import json
import sqlite3
from pathlib import Path

from starter.devstack.carrier.schemas import Json

SCHEMA = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS shipments (
        id TEXT PRIMARY KEY,
        reference TEXT,
        order_id TEXT GENERATED ALWAYS AS (json_extract(body, '$.options.invoice_number')) VIRTUAL,
        tracking_code TEXT GENERATED ALWAYS AS (json_extract(body, '$.tracking_code')) VIRTUAL,
        refund_status TEXT GENERATED ALWAYS AS (json_extract(body, '$.refund_status')) VIRTUAL,
        body TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS shipments_reference ON shipments (reference);
"""
FILTER = "(:reference IS NULL OR reference = :reference) AND (:order_id IS NULL OR order_id = :order_id)"
LABELS = f"""
    SELECT id AS shipment_id, reference, order_id, tracking_code, refund_status FROM shipments
    WHERE tracking_code IS NOT NULL AND {FILTER} ORDER BY rowid DESC LIMIT :limit
"""  # noqa: S608 - both parts are constants
BOUGHT = "SELECT body FROM shipments WHERE order_id = ? AND tracking_code IS NOT NULL"
REFUND = "nullif(refund_status, 'rejected')"
COUNTS = f"""
    SELECT count(*) AS shipments, count(tracking_code) AS bought, count({REFUND}) AS refunded,
           count(tracking_code) - count({REFUND}) AS live
    FROM shipments WHERE {FILTER}
"""  # noqa: S608
MAX_LABELS = 1000


class Shipments:
    """The shipments on disk. Only one thread at a time may use them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._rows = sqlite3.connect(folder / "carrier.sqlite3", isolation_level=None, check_same_thread=False)
        self._rows.row_factory = sqlite3.Row
        self._rows.executescript(SCHEMA)

    def put(self, shipment: Json) -> Json:
        """Insert or replace a shipment, and return it."""
        self._rows.execute(
            "INSERT INTO shipments (id, reference, body) VALUES (:id, :reference, :body)"
            " ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            {"id": shipment["id"], "reference": shipment["reference"], "body": json.dumps(shipment)},
        )
        return shipment

    def get(self, shipment_id: str) -> Json | None:
        """Return a shipment, or None if the id is unknown."""
        row = self._rows.execute("SELECT body FROM shipments WHERE id = ?", (shipment_id,)).fetchone()
        found: Json | None = None if row is None else json.loads(row["body"])
        return found

    def of_order(self, order_id: str) -> list[Json]:
        """Return the shipments of an order whose labels were bought."""
        rows = self._rows.execute(BOUGHT, (order_id,))
        return [json.loads(row["body"]) for row in rows]

    def labels(self, reference: str | None, order_id: str | None) -> Json:
        """Return the numbers of shipments and labels, and the newest labels."""
        values = {"reference": reference, "order_id": order_id, "limit": MAX_LABELS}
        counts = dict(self._rows.execute(COUNTS, values).fetchone())
        return counts | {"labels": [dict(row) for row in self._rows.execute(LABELS, values)]}

    def close(self) -> None:
        """Close the file."""
        self._rows.close()
