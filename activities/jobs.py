"""The step that every job begins with."""

from typing import Any

from temporalio import activity

from commerce import ledger
from commerce.database import Database
from commerce.messages.base import Nothing
from commerce.messages.steps import Begin


class JobActivities:
    """Begin a job."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="begin-job")
    async def begin(self, call: Begin[Any]) -> Nothing:
        """Make this run the one whose batches count."""
        async with self._database.transaction() as tx:
            await ledger.begin(tx, call)
        return Nothing()
