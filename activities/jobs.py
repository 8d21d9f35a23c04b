"""The first step of every job."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from activities.boundary.generations import begin
from commerce.database import Database
from commerce.messages.base import Nothing
from commerce.messages.steps import Begin


class JobActivities:
    """Begin jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="begin-job")
    async def begin(self, call: Begin[Any]) -> Nothing:
        """Make this run the current one of its job, so that only its batches are accepted."""

        async def nothing(_tx: AsyncSession) -> Nothing:
            return Nothing()

        return await begin(self._database, call.key, nothing)
