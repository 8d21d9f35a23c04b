"""Signals between processes, also when a cancel arrives together with the answer to the signal."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import CancelledError, FailureError
from temporalio.worker import Worker

from commerce.messages.base import ProcessInput
from commerce.messages.steps import Call
from commerce.messages.webhooks import Delivered, WebhookDelivery
from workflows.deliver_webhook import DeliverWebhookWorkflow
from workflows.engine.saga import Saga
from workflows.engine.signals import raise_cancel, send_signal


class Nobody(ProcessInput):
    pass


class Target(ProcessInput):
    process_id: str


@workflow.defn(name="receiving")
class Receiving:
    """Runs until it receives a signal."""

    def __init__(self) -> None:
        self._received = ""

    @workflow.signal(name="hear")
    def hear(self, word: str) -> None:
        self._received = word

    @workflow.run
    async def run(self, _input: Nobody) -> str:
        await workflow.wait_condition(lambda: bool(self._received))
        return self._received


@workflow.defn(name="sending")
class Sending:
    @workflow.run
    async def run(self, target: Target) -> bool:
        is_open = await send_signal(target.process_id, "hear", "hello")
        raise_cancel()
        return is_open


@workflow.defn(name="sending")
class BuggySending:
    """The version with a bug after its signal: the run stays open, and its next task is that of the fixed version."""

    @workflow.run
    async def run(self, target: Target) -> bool:
        with suppress(FailureError):
            receiver = workflow.get_external_workflow_handle(target.process_id)  # noqa: TID251
            await receiver.signal("hear", "hello")
        raise ValueError("a bug")


@pytest.fixture
def queue() -> str:
    return f"signals-{uuid4()}"


@pytest.fixture
async def receiver(client: Client, queue: str) -> AsyncIterator[WorkflowHandle[Receiving, str]]:
    """An open process. No worker runs it unless the test starts one."""
    yield await client.start_workflow(
        Receiving.run, Nobody(), id=f"receiving-{uuid4()}", task_queue=f"{queue}-receiver"
    )


def start(client: Client, queue: str, receiver: str) -> Awaitable[WorkflowHandle[Sending, bool]]:
    target = Target(process_id=receiver)
    # Another worker gets a task that a worker has left behind when the task has timed out.
    second = timedelta(seconds=1)
    return client.start_workflow(Sending.run, target, id=f"sending-{uuid4()}", task_queue=queue, task_timeout=second)


async def until_a_task_fails(handle: WorkflowHandle[Any, Any]) -> None:
    async for event in handle.fetch_history_events(wait_new_event=True):
        if event.HasField("workflow_task_failed_event_attributes"):
            return
    raise AssertionError("the run has ended")


async def test_an_open_process_receives_a_signal(
    client: Client, queue: str, receiver: WorkflowHandle[Receiving, str]
) -> None:
    async with (
        Worker(client, task_queue=queue, workflows=[Sending]),
        Worker(client, task_queue=f"{queue}-receiver", workflows=[Receiving]),
    ):
        assert await (await start(client, queue, receiver.id)).result()
        assert await receiver.result() == "hello"


async def test_a_signal_to_a_process_that_is_not_open_is_no_failure(client: Client, queue: str) -> None:
    async with Worker(client, task_queue=queue, workflows=[Sending]):
        assert not await (await start(client, queue, "unknown")).result()


@pytest.mark.parametrize("is_open", [True, False])
async def test_a_cancel_that_meets_the_answer_to_a_signal_ends_the_run(  # (E10)
    client: Client, queue: str, receiver: WorkflowHandle[Receiving, str], *, is_open: bool
) -> None:
    async with Worker(client, task_queue=queue, workflows=[BuggySending]):
        handle = await start(client, queue, receiver.id if is_open else "unknown")
        await until_a_task_fails(handle)  # the one after the answer to the signal
    await handle.cancel()
    async with Worker(client, task_queue=queue, workflows=[Sending]):
        with pytest.raises(WorkflowFailureError) as failure:
            await handle.result()
    assert isinstance(failure.value.cause, CancelledError)


@workflow.defn(name="deliver-webhook")
class BuggyDelivery:
    """The version with a bug after its signal to the delivery before it."""

    @workflow.run
    async def run(self, delivery: WebhookDelivery) -> Delivered:
        async with Saga():
            with suppress(FailureError):
                receiver = workflow.get_external_workflow_handle(delivery.previous_process_id or "")  # noqa: TID251
                await receiver.signal("follow", workflow.info().workflow_id)
            raise ValueError("a bug")


@pytest.mark.parametrize("is_open", [True, False])
async def test_a_cancel_that_meets_the_signal_of_a_delivery_ends_it_and_nothing_is_posted(
    client: Client, queue: str, *, is_open: bool
) -> None:
    posted = []

    @activity.defn(name="post-webhook")
    async def post(call: Call[WebhookDelivery]) -> Delivered:
        posted.append(call)
        return Delivered(status="delivered")

    delivery = WebhookDelivery(endpoint_id=uuid4(), event_id=uuid4(), after=uuid4())
    if is_open:
        await start_delivery(client, f"{queue}-receiver", delivery, delivery.previous_process_id)
    async with Worker(client, task_queue=queue, workflows=[BuggyDelivery]):
        handle = await start_delivery(client, queue, delivery, delivery.process_id)
        await until_a_task_fails(handle)
    await handle.cancel()
    async with Worker(client, task_queue=queue, workflows=[DeliverWebhookWorkflow], activities=[post]):
        with pytest.raises(WorkflowFailureError) as failure:
            await handle.result()
    assert isinstance(failure.value.cause, CancelledError)
    assert posted == []


async def start_delivery(
    client: Client, queue: str, delivery: WebhookDelivery, process_id: str | None
) -> WorkflowHandle[DeliverWebhookWorkflow, Delivered]:
    run, second = DeliverWebhookWorkflow.run, timedelta(seconds=1)
    return await client.start_workflow(run, delivery, id=process_id or "", task_queue=queue, task_timeout=second)
