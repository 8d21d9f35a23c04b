"""What operators do to processes."""

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from commerce import operators
from commerce.database import Database
from commerce.errors import ProcessNotFound, Unreachable


async def cancel(client: Client, database: Database, process_id: str, *, reason: str, actor: str = "") -> str:
    """Ask the latest run of a process to undo itself, and return its run id.

    The reason is kept in our table; Temporal gets the id of that entry. Raises ProcessNotFound, Unreachable,
    DatabaseUnavailable.
    """
    try:
        run_id = (await client.get_workflow_handle(process_id).describe()).run_id
        action = operators.checked(process_id=process_id, run_id=run_id, action="cancel", reason=reason, actor=actor)
        async with database.transaction() as tx:
            note = await operators.record(tx, action)
        await client.get_workflow_handle(process_id, run_id=run_id).cancel(reason=note)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise ProcessNotFound(process_id) from None
        raise Unreachable(f"Temporal does not cancel {process_id}: {error.message}") from error
    return run_id
