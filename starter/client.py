"""How other programs reach the shop's processes: connect, start, wait."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.envconfig import ClientConfig
from temporalio.runtime import Runtime
from temporalio.service import RPCError

from activities.failures import describe
from commerce.errors import BadInput, Unreachable
from commerce.messages.base import ProcessInput, field_errors
from commerce.messages.orders import OrderProcessing, OrderResult, order_process_id
from commerce.settings import SettingsError
from starter.plugin import plugin
from workflows.order_processing import OrderProcessingWorkflow
from workflows.visibility import ORDER_ID, SAGA_STATE

TASK_QUEUE = "commerce"
CONNECT_TIMEOUT = 5  # seconds


@dataclass(frozen=True)
class Process:
    """What a starter knows of a kind of process: its input, and the id and title that a run of this input has."""

    input: type[ProcessInput]
    id: Callable[[Any], str]
    title: Callable[[Any], str]
    subject: Callable[[Any], SearchAttributePair[str]]

    def read(self, json: str) -> ProcessInput:
        """Read an input; raises BadInput naming the fields that do not fit."""
        try:
            return self.input.model_validate_json(json)
        except ValidationError as error:
            raise BadInput(field_errors(error)) from None


PROCESSES: Mapping[str, Process] = {
    "order-processing": Process(
        OrderProcessing,
        id=lambda order: order_process_id(order.order_id),
        title=lambda order: f"Order {order.order_id}",
        subject=lambda order: SearchAttributePair(ORDER_ID, order.order_id),
    ),
}


async def connect(environment: Mapping[str, str], runtime: Runtime | None = None) -> Client:
    """Connect as Temporal's own variables say (TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, …).

    Raises Unreachable, and SettingsError where these variables make no sense.
    """
    try:
        config = ClientConfig.load_client_connect_config(override_env_vars=environment)
    except (RuntimeError, ValueError, OSError) as error:
        raise _unusable(error) from error
    config.setdefault("target_host", "localhost:7233")
    try:
        return await asyncio.wait_for(
            Client.connect(**config, plugins=[plugin()], runtime=runtime), timeout=CONNECT_TIMEOUT
        )
    except ValueError as error:
        raise _unusable(error) from error
    except (RuntimeError, RPCError, TimeoutError) as error:
        raise Unreachable(f"Temporal does not answer at {config['target_host']}") from error


def _unusable(error: Exception) -> SettingsError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return SettingsError(f"Temporal's settings (TEMPORAL_…) do not work: {reason}")


async def start(client: Client, kind: str, request: ProcessInput) -> WorkflowHandle[Any, Any]:
    """Start a process of this kind, or join the run of the same id that is under way; raises Unreachable."""
    process = PROCESSES[kind]
    try:
        return await client.start_workflow(
            kind,
            request,
            id=process.id(request),
            task_queue=TASK_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=process.title(request),
            search_attributes=TypedSearchAttributes(
                [process.subject(request), SearchAttributePair(SAGA_STATE, "running")]
            ),
        )
    except RPCError as error:
        raise Unreachable(f"Temporal does not start {kind}: {error.message}") from error


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
    """Process an order and return how it ended; raises WorkflowFailureError and Unreachable."""
    return await (await start_order(client, order_id)).result()
