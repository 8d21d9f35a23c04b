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

    @activity.defn(name="close-generation")
    async def close(self, call: Call[Nothing]) -> UndoableSteps:
        """Find steps that a lost worker did and history does not have, and let it do no more if it was only frozen.

        If the final step is one of them, nothing is to be undone.
        """
        async with self._database.transaction() as tx:
            if final := await generations.close(tx, call.key):
                return UndoableSteps(steps=[], final=final)
            return UndoableSteps(steps=await generations.find_undoable(tx, call.key))

    @activity.defn(name="find-lost-steps")
    async def find_undoable(self, call: Call[Nothing]) -> UndoableSteps:
        """Do the same for runs of older versions, whose workers do not ask for the final step."""
        return await self.close(call)
