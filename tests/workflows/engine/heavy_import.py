"""A workflow that imports a database library into its sandbox, to test that the worker refuses it."""

import sqlalchemy  # noqa: F401 - the mistake under test
from temporalio import workflow


@workflow.defn
class HeavyImport:
    """Would cost one second and 15 MB per run."""

    @workflow.run
    async def run(self) -> None:
        """Do nothing."""
