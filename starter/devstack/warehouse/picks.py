"""Picks of the embedded warehouse: it stores them, and answers each after a while with a signed request."""

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel, Field

from commerce.intake.signatures import sign
from commerce.integrations import capped_http
from starter.devstack.warehouse.schemas import Json, Text, Units

RETRIED = {408, 425, 429}
MAX_PICK_LINES = 5_000
INTERVAL = 0.05  # seconds between two looks at what is due
RETRY = 1.0  # seconds after an answer that was not taken
AT_ONCE = 20
SCHEMA = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS picks (
        id TEXT PRIMARY KEY, body TEXT NOT NULL, state TEXT NOT NULL, due REAL, requests INTEGER NOT NULL,
        answer TEXT, response INTEGER
    ) WITHOUT ROWID;
"""

log = logging.getLogger(__name__)
api = APIRouter()
control = APIRouter(prefix="/trial")


class PickLine(BaseModel):
    """Units of a SKU to pick."""

    sku: Text
    quantity: Units


class Pick(BaseModel):
    """What to pick for an order at one location."""

    id: Text = Field(description="Identifies the pick. The same id again is the same pick")
    order: Text = Field(description="The order's id in the shop")
    location: Text | None = Field(description="The location's id in the shop; null if it is not known")
    lines: list[PickLine] = Field(max_length=MAX_PICK_LINES)
    answer_url: Text = Field(description="Where to answer; only the shop that asks can set it")


class PickState(BaseModel):
    """A pick that the warehouse has."""

    id: Text
    state: Text = Field(description="open, answered or cancelled")


class Picker(BaseModel):
    """How the embedded warehouse picks from now on."""

    seconds: float = Field(0.5, ge=0, description="How long a pick takes")
    silent: bool = Field(False, description="Never answer")
    found: dict[str, int] = Field(default={}, description="Units that are found of a SKU, per pick; others: all")


class Picks:
    """The picks on disk, and what answers them. `secret` signs the answers; without one there are none."""

    def __init__(self, folder: Path, secret: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._rows = sqlite3.connect(folder / "picks.sqlite3", isolation_level=None, check_same_thread=False)
        self._rows.row_factory = sqlite3.Row
        self._rows.executescript(SCHEMA)
        self._secret = secret
        self.picker = Picker.model_validate({})

    def add(self, pick: Pick) -> str:
        """Store a pick unless it is known; return its state."""
        due = None if self.picker.silent else time.time() + self.picker.seconds
        insert = """INSERT INTO picks VALUES (?, ?, 'open', ?, 1, NULL, NULL)
                    ON CONFLICT (id) DO UPDATE SET requests = requests + 1 RETURNING state"""
        [row] = self._rows.execute(insert, (pick.id, pick.model_dump_json(), due)).fetchall()
        return str(row["state"])

    def cancel(self, pick_id: str) -> bool:
        """Let a pick be answered no more; return whether it is known."""
        return self._rows.execute("UPDATE picks SET state = 'cancelled' WHERE id = ?", (pick_id,)).rowcount > 0

    def all(self, order: str | None) -> list[Json]:
        """Return the picks, of one order or of all."""
        rows = [dict(row) for row in self._rows.execute("SELECT * FROM picks ORDER BY id")]
        found = [row | {"body": json.loads(row["body"])} for row in rows]
        return [row for row in found if order is None or row["body"]["order"] == order]

    def set_picker(self, picker: Picker) -> None:
        """Pick in this way from now on, open picks as well."""
        self.picker = picker
        due = None if picker.silent else time.time() + picker.seconds
        self._rows.execute("UPDATE picks SET due = ? WHERE state = 'open'", (due,))

    async def answer_all(self) -> None:
        """Answer what is due, until cancelled. An answer that is not taken is sent again."""
        if not self._secret:
            return
        async with httpx.AsyncClient(timeout=10, verify=False) as http:  # noqa: S501 - the shop on this machine
            while True:
                due = self._rows.execute(
                    "SELECT * FROM picks WHERE state = 'open' AND due <= ? ORDER BY due LIMIT ?", (time.time(), AT_ONCE)
                ).fetchall()
                await asyncio.gather(*(self._answer(http, row) for row in due))
                await asyncio.sleep(INTERVAL if len(due) < AT_ONCE else 0)

    async def _answer(self, http: httpx.AsyncClient, row: Mapping[str, Any]) -> None:
        pick = Pick.model_validate_json(row["body"])
        body = row["answer"] or json.dumps({"id": pick.id, "picked": [self._pick(line) for line in pick.lines]})
        self._rows.execute("UPDATE picks SET answer = ? WHERE id = ?", (body, pick.id))  # the same one in all attempts
        headers = {"Content-Type": "application/json", "X-Warehouse-Signature": sign(body.encode(), self._secret)}
        try:
            status = (await capped_http.send(http, "POST", pick.answer_url, content=body, headers=headers)).status
        except (httpx.HTTPError, OSError) as error:
            log.warning("the shop does not take the answer to a pick: %s", type(error).__name__)
            status = 0
        if status == 0 or status in RETRIED or status >= 500:
            self._rows.execute("UPDATE picks SET due = ? WHERE id = ?", (time.time() + RETRY, pick.id))
            return
        update = "UPDATE picks SET state = 'answered', response = ? WHERE id = ? AND state = 'open'"
        self._rows.execute(update, (status, pick.id))

    def _pick(self, line: PickLine) -> Json:
        return {"sku": line.sku, "quantity": min(line.quantity, self.picker.found.get(line.sku, line.quantity))}

    def close(self) -> None:
        """Close the file."""
        self._rows.close()


@api.post(
    "/picks",
    response_model=PickState,
    operation_id="pick",
    responses={
        "4XX": {"description": "The pick is refused permanently: the order is undone"},
        "5XX": {"description": "The shop sends the request again"},
    },
)
async def request_pick(request: Request, pick: Pick) -> PickState:
    """Pick the goods of an order, and answer later: see the description. The same id again changes nothing."""
    return PickState(id=pick.id, state=_picks(request).add(pick))


@api.post(
    "/picks/{pick_id}/cancel",
    response_model=PickState,
    operation_id="cancel_pick",
    responses={
        404: {"description": "The warehouse does not know the pick"},
        "5XX": {"description": "The shop sends the request again"},
    },
)
async def cancel_pick(request: Request, pick_id: str) -> PickState:
    """Withdraw a pick, answered or not: what was picked goes back to the shelf. Doing so again changes nothing."""
    if not _picks(request).cancel(pick_id):
        raise HTTPException(404, "There is no such pick")
    return PickState(id=pick_id, state="cancelled")


@control.put("/picks", status_code=204)
async def set_picker(request: Request, picker: Picker) -> None:
    """Set how picks are answered, open ones as well, until the warehouse is restarted."""
    _picks(request).set_picker(picker)


@control.get("/picks")
async def list_picks(request: Request, order: str | None = None) -> list[Json]:
    """Return the picks, with what was answered and the status of the shop's response."""
    return _picks(request).all(order)


def _picks(request: Request) -> Picks:
    picks: Picks = request.app.state.picks
    return picks
