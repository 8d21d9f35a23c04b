"""Take the warehouse's answers to picks: record them first, then wake the process that waits for the last one (K2)."""

from collections.abc import Sequence
from typing import Literal

from temporalio.client import Client

from commerce import picks
from commerce.database import Database
from commerce.messages.picks import PickLine
from starter.operate.answers import wake

Taken = Literal["taken", "recorded", "waiting"]


async def answer_pick(client: Client, database: Database, pick_id: str, picked: Sequence[PickLine]) -> Taken:
    """Record what the warehouse has picked.

    `taken`: the process has the answer. `recorded`: it gets it when a worker runs. `waiting`: for other picks of the
    order. The same answer again is accepted. Raises PickNotFound, BadInput, AlreadyAnswered, WaitOver,
    DatabaseUnavailable.
    """
    async with database.transaction() as tx:
        recorded = await picks.answer(tx, pick_id, picked)
    if recorded is None:
        return "waiting"
    if not recorded.is_new:  # the process may have ended since
        return "taken"
    return "taken" if await wake(client, recorded) else "recorded"
