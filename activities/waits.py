"""Activities of the engine: open and close what a process waits for, and record the answer."""

from temporalio import activity

from commerce import waits
from commerce.database import Database
from commerce.messages.base import Nothing
from commerce.messages.steps import Call
from commerce.messages.waits import Answer, CloseWait, EndedWait, OpenWait, RecordAnswer

BY_UPDATE = "update"  # of a Temporal client or of Temporal's UI


class WaitActivities:
    """Keep the rows that decide about answers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="open-wait")
    async def open(self, call: Call[OpenWait]) -> Nothing:
        """Let a step be answered, before anybody is asked."""
        async with self._database.transaction() as tx:
            await waits.open_wait(tx, call.input)
        return Nothing()

    @activity.defn(name="record-answer")
    async def record(self, call: Call[RecordAnswer]) -> EndedWait:
        """Record the answer of an Update, or read the one that was recorded before the Update."""
        key, given = call.input.key, call.input.answer
        async with self._database.transaction() as tx:
            digest = given.recorded
            if digest is None:
                answer = Answer.model_validate(given.model_dump(exclude={"step", "recorded"}))
                digest = (await waits.record(tx, key, answer, by=BY_UPDATE, idempotency_key=None)).digest
            return await waits.deliver(tx, key, digest)

    @activity.defn(name="close-wait")
    async def close(self, call: Call[CloseWait]) -> EndedWait:
        """Take no answer any more, unless there is one already."""
        async with self._database.transaction() as tx:
            return await waits.close(tx, call.input)
