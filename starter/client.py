"""How other programs reach the shop's processes: connect, start, wait."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from temporalio.client import Client, Plugin, WorkflowFailureError, WorkflowHandle
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.envconfig import ClientConfig, ClientConnectConfig
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.runtime import Runtime
from temporalio.service import RPCError

from activities.boundary.failures import describe, shop_error
from commerce.errors import BadInput, ProcessFailed, Unreachable
from commerce.messages.base import Message, field_errors
from commerce.messages.customers import RegistrationResult
from commerce.messages.orders import OrderProcessing, OrderResult
from commerce.settings import SettingsError, load_settings
from starter.connection.encryption import Encryption
from starter.connection.plugin import plugin
from starter.processes import PROCESS_TYPES, TASK_QUEUE
from starter.registration import Registration
from starter.schedules.queries import find_open_run
from starter.telemetry import tracing
from workflows.engine.search_attributes import SAGA_STATE
from workflows.order_processing import OrderProcessingWorkflow

ResultT = TypeVar("ResultT")
CONNECT_TIMEOUT = 5  # seconds


async def connect(environment: Mapping[str, str], runtime: Runtime | None = None) -> Client:
    """Connect as Temporal's own variables say (TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, …), with our encryption.

    Raises Unreachable, and SettingsError where variables make no sense or there is no key to encrypt with.
    """
    settings = load_settings(environment)
    return await open_connection(
        environment, [plugin(Encryption.from_settings(settings), tracing.start(settings))], runtime
    )


async def open_connection(
    environment: Mapping[str, str], plugins: Sequence[Plugin] = (), runtime: Runtime | None = None
) -> Client:
    """Connect as Temporal's own variables say; without our plugin payloads stay as they are stored.

    Raises Unreachable, and SettingsError where variables make no sense.
    """
    config = connection_config(environment)
    try:
        return await asyncio.wait_for(
            Client.connect(**config, plugins=plugins, runtime=runtime), timeout=CONNECT_TIMEOUT
        )
    except ValueError as error:
        raise _unusable(error) from error
    except (RuntimeError, RPCError, TimeoutError) as error:
        raise Unreachable(f"Temporal does not answer at {config['target_host']}") from error


def connection_config(environment: Mapping[str, str]) -> ClientConnectConfig:
    """Return what Temporal's own variables and its file of profiles say; raises SettingsError."""
    try:
        config = ClientConfig.load_client_connect_config(override_env_vars=environment)
    except (RuntimeError, ValueError, OSError) as error:
        raise _unusable(error) from error
    config.setdefault("target_host", "localhost:7233")
    config.setdefault("namespace", "default")
    return config


def _unusable(error: Exception) -> SettingsError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return SettingsError(f"Temporal's settings (TEMPORAL_…) do not work: {reason}")


async def start(
    client: Client, kind: str, request: Message, *, transaction_id: str | None = None
) -> WorkflowHandle[Any, Any]:
    """Start a process of this kind with what its entry takes, or join the run of the same id that is under way.

    `transaction_id` is the id that the run is to have, for a kind that takes any (WrongProcessId otherwise). Raises
    BadInput, Unreachable; a process that nobody may join raises its own error (RegistrationInProgress, JobInProgress,
    ProcessIdTaken).
    """
    process = PROCESS_TYPES[kind]
    if process.is_job and process.taken and (running := await find_open_run(client, kind)):
        raise process.taken(running)
    prepared = await process.prepare(request)
    process_id = process.id_for(prepared, transaction_id)
    policy = WorkflowIDConflictPolicy.FAIL if process.taken else WorkflowIDConflictPolicy.USE_EXISTING
    try:
        return await client.start_workflow(
            kind,
            prepared,
            id=process_id,
            task_queue=TASK_QUEUE,
            id_conflict_policy=policy,
            static_summary=process.title(prepared),
            search_attributes=TypedSearchAttributes(
                [*process.subjects(prepared), SearchAttributePair(SAGA_STATE, "running")]
            ),
        )
    except WorkflowAlreadyStartedError:
        if process.taken is None:
            raise
        raise process.taken(process_id) from None
    except RPCError as error:
        raise Unreachable(f"Temporal does not start {kind}: {error.message}") from error


async def wait_for_result(handle: WorkflowHandle[Any, ResultT]) -> ResultT:
    """Wait for the end of a process and return its result.

    Raises the shop's own error that stopped it (CarrierRefused …), ProcessFailed for whatever else did, Unreachable.
    """
    try:
        return await handle.result()
    except WorkflowFailureError as failure:
        raise shop_error(failure) or ProcessFailed(handle.id, describe(failure)) from failure
    except RPCError as error:
        raise Unreachable(f"Temporal does not tell how {handle.id} ends: {error.message}") from error


def explain(failure: WorkflowFailureError) -> str:
    """Return why a run failed, as `Type: message` of the step's own error."""
    return describe(failure)


async def start_order(client: Client, order_id: str) -> WorkflowHandle[OrderProcessingWorkflow, OrderResult]:
    """Start `order-processing`, or join the run that is under way; raises Unreachable."""
    handle = await start(client, "order-processing", OrderProcessing(order_id=order_id))
    return client.get_workflow_handle_for(
        OrderProcessingWorkflow.run, handle.id, first_execution_run_id=handle.first_execution_run_id
    )


async def process_order(client: Client, order_id: str) -> OrderResult:
    """Process an order and return how it ended; raises what stopped it as `result_of` does."""
    return await wait_for_result(await start_order(client, order_id))


async def register_customer(
    client: Client, *, email: str, password: str, first_name: str, last_name: str
) -> RegistrationResult:
    """Register a customer and return the account; the password leaves this process only as a hash.

    Raises BadInput naming the fields that do not fit, CustomerAlreadyExists, RegistrationInProgress, ProcessFailed
    for whatever else stopped it, Unreachable.
    """
    given = {"email": email, "password": password, "first_name": first_name, "last_name": last_name}
    try:
        request = Registration.model_validate(given)
    except ValidationError as error:
        raise BadInput(field_errors(error)) from None
    return RegistrationResult.model_validate(await wait_for_result(await start(client, "customer-registration", request)))
