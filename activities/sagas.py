"""What sagas ask of the ledger before they compensate."""

from temporalio import activity

from commerce import generations
from commerce.database import Database
from commerce.messages.base import Nothing
from commerce.messages.steps import Call, UndoableSteps


class SagaActivities:
    """Find what a saga has to undo."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="find-lost-steps")
    async def find_undoable(self, call: Call[Nothing]) -> UndoableSteps:
        """Find steps that a lost worker did and history does not have, and let it do no more if it was only frozen."""
        async with self._database.transaction() as tx:
            await generations.close(tx, call.key)
            return UndoableSteps(steps=await generations.find_undoable(tx, call.key))
