"""How other programs use the shop's processes: connect, start, wait for the result."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import ValidationError
from temporalio.client import Client, Plugin, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.runtime import Runtime
from temporalio.service import RPCError

from activities.boundary.failures import describe, shop_error
from commerce.errors import BadInput, JobInProgress, ProcessFailed, SettingsError, Unreachable
from commerce.messages.base import Message, ProcessInput, field_errors
from commerce.messages.customers import RegistrationResult
from commerce.messages.orders import OrderProcessing, OrderResult
from commerce.settings import load_settings
from starter.connection.encryption import Encryption
from starter.connection.plugin import create_plugin, plugin_of
from starter.connection.rpc import KEY, find_latest_run, unreachable_if_refused
from starter.entries import Registration
from starter.processes import PROCESS_TYPES, TASK_QUEUE, ProcessType
from starter.schedules.queries import find_open_run
from starter.telemetry import tracing
from workflows.engine.search_attributes import SAGA_STATE

ResultT = TypeVar("ResultT")
CONNECT_TIMEOUT = 5  # seconds
START_TIMEOUT = timedelta(minutes=1)  # a thousand starts at once take a busy server seconds
# What the SDK says of an answer that is a refusal.
REFUSED = re.compile(r'code: (?:PermissionDenied|Unauthenticated), message: "(.*?)"')


async def connect(environment: Mapping[str, str], runtime: Runtime | None = None) -> Client:
    """Connect with our encryption to the server that Temporal's own variables name (TEMPORAL_ADDRESS, …).

    Raises Unreachable, and SettingsError if a setting is invalid or the encryption key is missing.
    """
    settings = load_settings(environment)
    encryption = Encryption.from_settings(settings)
    plugin = create_plugin(
        encryption,
        tracing.start(settings),
        settings.address_digests,
        confirms_addresses=settings.confirm_address == "on",
        console_url=settings.console_url,
    )
    return await open_connection(environment, [plugin], runtime)


async def open_connection(
    environment: Mapping[str, str], plugins: Sequence[Plugin] = (), runtime: Runtime | None = None
) -> Client:
    """Connect with these plugins only; without ours, payloads are neither encrypted nor decrypted.

    Raises Unreachable, and SettingsError if one of Temporal's own variables is invalid.
    """
    config = connection_config(environment)
    try:
        return await asyncio.wait_for(
            Client.connect(**config, plugins=plugins, runtime=runtime), timeout=CONNECT_TIMEOUT
        )
    except ValueError as error:
        raise _invalid_settings(error) from error
    except (RuntimeError, RPCError, TimeoutError) as error:
        host = config["target_host"]
        if refused := REFUSED.search(str(error)):
            what = KEY if config.get("api_key") else f"calls without {KEY}"
            raise Unreachable(f"Temporal at {host} refuses {what}: {refused[1].removesuffix('.')}") from error
        raise Unreachable(f"Temporal does not answer at {host}") from error


def connection_config(environment: Mapping[str, str]) -> ClientConnectConfig:
    """Return the connection options from Temporal's own variables and its profile file; raises SettingsError."""
    try:
        config = ClientConfig.load_client_connect_config(override_env_vars=environment)
    except (RuntimeError, ValueError, OSError) as error:
        raise _invalid_settings(error) from error
    config.setdefault("target_host", "localhost:7233")
    config.setdefault("namespace", "default")
    return config


def _invalid_settings(error: Exception) -> SettingsError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return SettingsError(f"Temporal's settings (TEMPORAL_…) are invalid: {reason}")


async def start(
    client: Client, kind: str, request: Message, *, process_id: str | None = None
) -> WorkflowHandle[Any, Any]:
    """Start a process, or join the open run with the same id; `request` is the entry of this process type.

    `process_id` is for process types that accept any id (WrongProcessId otherwise). Raises BadInput, Unreachable, and
    for process types whose open runs cannot be joined RegistrationInProgress, JobInProgress or ProcessIdTaken.
    """
    process_type, plugin = PROCESS_TYPES[kind], plugin_of(client)
    await check_job_is_idle(client, kind)
    prepared = await process_type.prepare(request)
    process_id = process_type.id_for(
        prepared, process_id, plugin.address_digests, confirms_addresses=plugin.confirms_addresses
    )
    in_progress = process_type.in_progress_error
    if open_run := await _find_earlier(client, process_type, prepared):
        if in_progress:
            raise in_progress(open_run.id)
        return open_run
    conflict_policy = WorkflowIDConflictPolicy.FAIL if in_progress else WorkflowIDConflictPolicy.USE_EXISTING
    try:
        signal = process_type.signal and process_type.signal(prepared)
        return await start_run(client, kind, prepared, process_id, conflict_policy=conflict_policy, signal=signal)
    except WorkflowAlreadyStartedError:
        if in_progress is None:
            raise
        raise in_progress(process_id) from None


async def _find_earlier(
    client: Client, process_type: ProcessType, prepared: ProcessInput
) -> WorkflowHandle[Any, Any] | None:
    """Return the open run that has an id of another key, or of none, if there is one; raises Unreachable."""
    plugin = plugin_of(client)
    for process_id in process_type.ids_for(
        prepared, plugin.address_digests, confirms_addresses=plugin.confirms_addresses
    )[1:]:
        with unreachable_if_refused(f"describe {process_id}"):
            run = await find_latest_run(client, process_id)
        if run is not None and run.status == WorkflowExecutionStatus.RUNNING:
            return client.get_workflow_handle(process_id, first_execution_run_id=run.run_id)
    return None


async def check_job_is_idle(client: Client, kind: str) -> None:
    """Raise JobInProgress if this process type is a job with an open run, started by its schedule or by hand."""
    process_type = PROCESS_TYPES.get(kind)
    if process_type and process_type.is_job and (running := await find_open_run(client, kind)):
        raise JobInProgress(kind, running)


async def start_run(
    client: Client,
    kind: str,
    prepared: ProcessInput,
    process_id: str,
    *,
    conflict_policy: WorkflowIDConflictPolicy = WorkflowIDConflictPolicy.UNSPECIFIED,
    reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE,
    rpc_timeout: timedelta | None = None,
    signal: tuple[str, Message] | None = None,
    memo: Mapping[str, Any] | None = None,
) -> WorkflowHandle[Any, Any]:
    """Start a run from prepared input. Raises Unreachable, or WorkflowAlreadyStartedError if the policies forbid it.

    With a `signal` (its name and input), an open run gets the signal, or else the new run does.
    """
    process_type = PROCESS_TYPES[kind]
    console = plugin_of(client).console_url
    attributes = [*process_type.search_attributes(prepared), SearchAttributePair(SAGA_STATE, "running")]
    with unreachable_if_refused(f"start {kind}"):
        return await client.start_workflow(
            kind,
            prepared,
            id=process_id,
            task_queue=TASK_QUEUE,
            id_conflict_policy=conflict_policy,
            id_reuse_policy=reuse_policy,
            static_summary=process_type.title(prepared),
            static_details=f"[Open it in the console]({console}/processes/{process_id})" if console else None,
            search_attributes=TypedSearchAttributes(attributes),
            priority=process_type.priority,
            rpc_timeout=rpc_timeout or START_TIMEOUT,
            memo=memo,
            start_signal=signal and signal[0],
            start_signal_args=signal[1:] if signal else [],
        )


async def wait_for_result(handle: WorkflowHandle[Any, ResultT]) -> ResultT:
    """Wait until a process ends and return its result.

    Raises the shop's error that stopped it (CarrierRefused …), ProcessFailed for any other failure, Unreachable.
    """
    try:
        with unreachable_if_refused(f"return the result of {handle.id}"):
            return await handle.result()
    except WorkflowFailureError as failure:
        raise shop_error(failure) or ProcessFailed(handle.id, describe(failure)) from failure


async def start_order(client: Client, order_id: str) -> WorkflowHandle[Any, OrderResult]:
    """Start `order-processing`, or join the order's open run; raises Unreachable."""
    handle = await start(client, "order-processing", OrderProcessing(order_id=order_id))
    return client.get_workflow_handle(
        handle.id, first_execution_run_id=handle.first_execution_run_id, result_type=OrderResult
    )


async def process_order(client: Client, order_id: str) -> OrderResult:
    """Process an order and return the result; raises the same errors as `wait_for_result`."""
    return await wait_for_result(await start_order(client, order_id))


async def register_customer(
    client: Client, *, email: str, password: str, first_name: str, last_name: str
) -> RegistrationResult:
    """Register a customer and return the account; Temporal gets only a hash of the password.

    Raises BadInput naming the invalid fields, CustomerAlreadyExists, RegistrationInProgress, ProcessFailed for any
    other failure, Unreachable.
    """
    values = {"email": email, "password": password, "first_name": first_name, "last_name": last_name}
    try:
        request = Registration.model_validate(values)
    except ValidationError as error:
        raise BadInput(field_errors(error)) from None
    handle = await start(client, "customer-registration", request)
    return RegistrationResult.model_validate(await wait_for_result(handle))
