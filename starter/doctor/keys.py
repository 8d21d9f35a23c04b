"""The encryption keys: whether there are any, whether only we can read them, whether they fit what Temporal stores."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence

from temporalio.api.common.v1 import Payload, WorkflowExecution
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest
from temporalio.client import Client
from temporalio.client import WorkflowExecution as Listed
from temporalio.service import RPCError, RPCStatusCode

from commerce.errors import SettingsError
from starter.connection.encryption import Encryption, payload_key_id
from starter.connection.encryption_keys import (
    ENCRYPTION_VARIABLE,
    KEYS_FILE_VARIABLE,
    KEYS_VARIABLE,
    file_open_to_others,
)
from starter.doctor.examination import Installation
from starter.doctor.findings import CheckResult, failed, ok, warning
from starter.operate.process_list import FILTERS, OUR_RUNS

RUNS = 20  # the newest, and as many of those that are open


async def keys(installation: Installation) -> CheckResult:
    """There is a key, or somebody has decided that there be none."""
    assert installation.settings
    try:
        encryption = Encryption.from_settings(installation.settings)
    except SettingsError as error:
        problem, _, how = str(error).partition("; ")
        theirs = "Take the key that the other programs of the shop have"
        return failed(problem, f"{theirs}; if there are none yet, {how}" if how else f"{theirs}, or correct the file")
    installation.encryption = encryption
    if not encryption.encrypts:
        return warning(
            "encryption is off: Temporal stores everything in clear",
            f"Set {ENCRYPTION_VARIABLE}=on, and {KEYS_FILE_VARIABLE}",
        )
    ids = encryption.key_ids
    return ok(f"{ids[0]} encrypts" + (f", {', '.join(ids[1:])} only decrypt" if ids[1:] else ""))


async def key_file(installation: Installation) -> CheckResult:
    """Nobody but its owner can read the file of the keys."""
    assert installation.settings
    if installation.settings.encryption_keys_file is None:
        return ok("none is used")
    if file := file_open_to_others(installation.settings):
        return warning(f"others can read {file}", f"chmod 600 {file}")
    return ok("only its owner can read it")


async def runs(installation: Installation) -> CheckResult:
    """What the newest runs and those still open began with can be read with our keys."""
    client, encryption = installation.client, installation.encryption
    assert client and encryption
    found = await _listed(client, FILTERS["running"]) | await _listed(client, FILTERS[None])
    beginnings = await asyncio.gather(*(_beginning(client, run) for run in found.values()))
    used = Counter(key for payloads in beginnings for key in {payload_key_id(payload) for payload in payloads} if key)
    if lacking := missing(used, encryption):
        count = sum(used[key] for key in lacking)
        return failed(f"{count} of {len(found)} need a key that is missing here", add_keys(installation, lacking))
    return ok(f"{len(found)} looked at, all can be read" if found else "there are none yet")


def missing(used: Iterable[str | None], encryption: Encryption) -> list[str]:
    """Return the ids that are none of our keys; None stands for what is in clear."""
    return sorted({key for key in used if key is not None} - set(encryption.key_ids))


def add_keys(installation: Installation, ids: Iterable[str]) -> str:
    """Say how what is encrypted with keys that are missing is read again."""
    return f"Add the key of id {', '.join(ids)} to {variable(installation)}, behind the first one"


def variable(installation: Installation) -> str:
    """Return the variable that the keys are from, or are to be."""
    settings = installation.settings
    return (
        KEYS_FILE_VARIABLE
        if settings and settings.encryption_keys_file and not settings.encryption_keys
        else KEYS_VARIABLE
    )


async def _listed(client: Client, which: str) -> dict[str, Listed]:
    """Return some runs by their run ids, the newest first."""
    return {run.run_id: run async for run in client.list_workflows(f"{OUR_RUNS} AND {which}", limit=RUNS)}


async def _beginning(client: Client, run: Listed) -> Sequence[Payload]:
    """Return what a run began with, as it is stored."""
    request = GetWorkflowExecutionHistoryRequest(
        namespace=client.namespace,
        execution=WorkflowExecution(workflow_id=run.id, run_id=run.run_id),
        maximum_page_size=1,
    )
    try:
        answer = await client.workflow_service.get_workflow_execution_history(request)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:  # thrown away meanwhile
            raise
        return ()
    begun = answer.history.events[0].workflow_execution_started_event_attributes
    return [*begun.input.payloads, *begun.memo.fields.values()]
