"""A process that loads a database library into its sandbox, to see that this is noticed."""

import sqlalchemy  # noqa: F401 - this is the mistake
from temporalio import workflow


@workflow.defn
class Careless:
    """Would cost a second and 15 MB per run."""

    @workflow.run
    async def run(self) -> None:
        """Do nothing."""
