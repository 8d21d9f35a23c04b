"""What sagas ask the ledger for before they compensate."""

from temporalio import activity

from commerce import ledger
from commerce.database import Database
from commerce.messages.base import Nothing
from commerce.messages.steps import Call, UndoableSteps


class SagaActivities:
    """Find what a saga has to undo."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="find-lost-steps")
    async def find_undoable(self, call: Call[Nothing]) -> UndoableSteps:
        """Find the steps of this run that can be undone, in case a lost worker did some that history does not have."""
        async with self._database.transaction() as tx:
            return UndoableSteps(steps=await ledger.find_undoable(tx, call.key))
