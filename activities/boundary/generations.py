"""Let only the newest run of a process act: claim the process for the generation of a run, in the effect's transaction.

No clock decides which run is newer, because clocks are set back. Temporal knows the newest run of a process.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity
from temporalio.client import WorkflowExecutionDescription
from temporalio.service import RPCError, RPCStatusCode

from commerce import generations
from commerce.database import Database
from commerce.errors import StaleGeneration, Unreachable
from commerce.messages.steps import StepKey

RPC_TIMEOUT = timedelta(seconds=5)
T = TypeVar("T")


def key_of_run(key: StepKey) -> StepKey:
    """Return the key with the id of the calling run as its generation. Temporal's reset makes a new run."""
    run_id = activity.info().workflow_run_id
    assert run_id is not None  # only an activity without a workflow has none
    return key.model_copy(update={"generation": run_id})


async def begin(database: Database, key: StepKey, effect: Callable[[AsyncSession], Awaitable[T]]) -> T:
    """Make the key's generation the current one, and return what `effect` does in the same transaction.

    A generation that is current is replaced only if the calling run is the newest of its process. Raises
    StaleGeneration if it is not, Unreachable, and what `effect` raises.
    """
    replaced: str | None = None
    while True:
        async with database.transaction() as tx:
            if await generations.begin(tx, key, replaced=replaced):
                return await effect(tx)
            current = await generations.current_generation(tx, key.business_key)
        # If a newer run begins after this answer, `current` is replaced and the next attempt does not succeed.
        if not await _is_newest_run():
            raise StaleGeneration(key.business_key)
        replaced = current


async def latest_run(process_id: str) -> WorkflowExecutionDescription | None:
    """Describe the latest run of a process, or return None if Temporal knows none any more. Raises Unreachable."""
    handle = activity.client().get_workflow_handle(process_id)
    try:
        return await handle.describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:  # it has ended, and its history was deleted
            return None
        raise Unreachable(f"Temporal could not describe {process_id}: {error.message}") from error


async def _is_newest_run() -> bool:
    info = activity.info()
    assert info.workflow_id is not None
    latest = await latest_run(info.workflow_id)
    return latest is not None and latest.run_id == info.workflow_run_id
