"""The encryption keys: whether there are any, who can read their file, and whether they decrypt the stored runs."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence

from temporalio.api.common.v1 import Payload
from temporalio.api.common.v1 import WorkflowExecution as RunReference
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest
from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError, RPCStatusCode

from commerce.errors import SettingsError
from starter.connection.encryption import Encryption, payload_key_id
from starter.connection.encryption_keys import (
    ENCRYPTION_VARIABLE,
    KEYS_FILE_VARIABLE,
    KEYS_VARIABLE,
    file_open_to_others,
)
from starter.connection.rpc import RPC_TIMEOUT
from starter.doctor.findings import CheckResult, failed, ok, warning
from starter.doctor.runner import CheckContext
from starter.operate.process_list import FILTERS, OUR_RUNS

MAX_RUNS = 20  # to check of the newest, and of the running ones


async def check_keys(context: CheckContext) -> CheckResult:
    """Check that there is a valid key, or that encryption is off on purpose."""
    try:
        encryption = Encryption.from_settings(context.settings)
    except SettingsError as error:
        problem, _, make_one = str(error).partition("; ")
        use = "Use the key of the shop's other programs"
        return failed(
            problem, f"{use}; if there is none yet, {make_one}" if make_one else f"{use}, or correct the file"
        )
    context.encryption = encryption
    if not encryption.encrypts:
        return warning(
            "encryption is off: Temporal stores everything unencrypted",
            f"Set {ENCRYPTION_VARIABLE}=on and {KEYS_FILE_VARIABLE}",
        )
    newest, *older = encryption.key_ids
    return ok(f"{newest} encrypts" + (f", {', '.join(older)} only decrypts" if older else ""))


async def check_file(context: CheckContext) -> CheckResult:
    """Check that only its owner can read the key file."""
    if context.settings.encryption_keys_file is None:
        return ok("no key file is used")
    if file := file_open_to_others(context.settings):
        return warning(f"other users can read {file}", f"Run: chmod 600 {file}")
    return ok("only its owner can read it")


async def check_runs(context: CheckContext) -> CheckResult:
    """Check that our keys decrypt the inputs of the newest runs and of those still running."""
    runs = await _list_runs(context.client, FILTERS["running"]) | await _list_runs(context.client, FILTERS[None])
    inputs = await asyncio.gather(*(_start_payloads(context.client, run) for run in runs.values()))
    used = Counter(key for payloads in inputs for key in {payload_key_id(payload) for payload in payloads} if key)
    if missing := missing_keys(used, context.encryption):
        count = sum(used[key] for key in missing)
        return failed(f"{count} of {len(runs)} runs need a key that is missing here", add_keys(context, missing))
    return ok(f"{len(runs)} checked, all can be decrypted" if runs else "there are no runs yet")


def missing_keys(used: Iterable[str | None], encryption: Encryption) -> list[str]:
    """Return the used key ids that we have no key for; None stands for unencrypted."""
    return sorted({key for key in used if key is not None} - set(encryption.key_ids))


def add_keys(context: CheckContext, ids: Iterable[str]) -> str:
    """Return the advice to add missing keys."""
    return f"Add the key with the id {', '.join(ids)} to {_variable(context)}, after the first key"


def _variable(context: CheckContext) -> str:
    """Return the variable that the keys come from, or should come from."""
    settings = context.settings
    return KEYS_FILE_VARIABLE if settings.encryption_keys_file and not settings.encryption_keys else KEYS_VARIABLE


async def _list_runs(client: Client, which: str) -> dict[str, WorkflowExecution]:
    """Return some runs by run id, newest first."""
    return {
        run.run_id: run
        async for run in client.list_workflows(f"{OUR_RUNS} AND {which}", limit=MAX_RUNS, rpc_timeout=RPC_TIMEOUT)
    }


async def _start_payloads(client: Client, run: WorkflowExecution) -> Sequence[Payload]:
    """Return the payloads that a run was started with, as they are stored."""
    request = GetWorkflowExecutionHistoryRequest(
        namespace=client.namespace,
        execution=RunReference(workflow_id=run.id, run_id=run.run_id),
        maximum_page_size=1,
    )
    try:
        answer = await client.workflow_service.get_workflow_execution_history(request)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:  # the run was deleted in the meantime
            raise
        return ()
    started = answer.history.events[0].workflow_execution_started_event_attributes
    return [*started.input.payloads, *started.memo.fields.values()]
