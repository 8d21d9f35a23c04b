"""Payment intents, refunds and stored responses of the embedded payment provider, in an SQLite file."""

import json
import sqlite3
from pathlib import Path
from typing import NamedTuple

from starter.devstack.payments.schemas import Json

SCHEMA = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS objects (
        id TEXT PRIMARY KEY,
        payment_intent TEXT GENERATED ALWAYS AS (json_extract(body, '$.payment_intent')) VIRTUAL,
        body TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS objects_payment_intent ON objects (payment_intent);
    CREATE TABLE IF NOT EXISTS responses (key TEXT PRIMARY KEY, request TEXT, status INTEGER, body TEXT);
"""
PUT = "INSERT INTO objects (id, body) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body"
REFUNDS = "SELECT body FROM objects WHERE payment_intent = ? ORDER BY rowid DESC"


class Stored(NamedTuple):
    """A response that is replayed to the same request."""

    request: str
    status: int
    body: Json


class Payments:
    """The objects on disk. Only one thread at a time may use them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._rows = sqlite3.connect(folder / "payments.sqlite3", isolation_level=None, check_same_thread=False)
        self._rows.executescript(SCHEMA)

    def put(self, body: Json) -> Json:
        """Insert or replace an object, and return it."""
        self._rows.execute(PUT, (body["id"], json.dumps(body)))
        return body

    def get(self, object_id: str) -> Json | None:
        """Return an object, or None if the id is unknown."""
        row = self._rows.execute("SELECT body FROM objects WHERE id = ?", (object_id,)).fetchone()
        found: Json | None = None if row is None else json.loads(row[0])
        return found

    def refunds(self, payment_intent: str) -> list[Json]:
        """Return the refunds of a payment intent, newest first."""
        return [json.loads(body) for (body,) in self._rows.execute(REFUNDS, (payment_intent,))]

    def stored(self, key: str) -> Stored | None:
        """Return the response that is stored under an idempotency key."""
        row = self._rows.execute("SELECT request, status, body FROM responses WHERE key = ?", (key,)).fetchone()
        return None if row is None else Stored(row[0], row[1], json.loads(row[2]))

    def store(self, key: str, response: Stored) -> None:
        """Store the response to a request."""
        values = (key, response.request, response.status, json.dumps(response.body))
        self._rows.execute("INSERT OR IGNORE INTO responses VALUES (?, ?, ?, ?)", values)

    def close(self) -> None:
        """Close the file."""
        self._rows.close()
