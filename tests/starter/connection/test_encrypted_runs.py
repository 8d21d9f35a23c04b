"""Encrypted runs on a real server: nothing is stored unencrypted, runs wait for a missing key, keys can be rotated."""

import base64
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, SearchAttributes
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import MarkerRecordedEventAttributes
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHistory
from temporalio.common import RawValue
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer

from commerce.errors import MissingKey, SettingsError
from commerce.messages.orders import order_process_id
from starter.client import connect
from starter.connection.plugin import create_plugin
from starter.processes import TASK_QUEUE
from tests.keys import KEY, OTHER_KEY, codec, encryption_env
from tests.polling import until
from tests.running_shop import RunningShop, running_shop
from tests.starter.connection.published_codec import PublishedCodec
from worker import WORKFLOWS

pytestmark = pytest.mark.waits

# What the SDK records unencrypted about a local step: its name and number, its attempts, and when it ran.
ABOUT_LOCAL_STEPS = {
    *("seq", "activity_id", "activity_type", "attempt", "backoff"),
    *("complete_time", "original_schedule_time", "activation_index"),
}
TASK_FAILED = EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as made:
        await made.data.stock("MUG", main=9)
        yield made


async def with_keys(shop: RunningShop, *newest_first: str) -> RunningShop:
    """Return the same shop with a client that has other keys."""
    address = shop.client.service_client.config.target_host
    return replace(shop, client=await connect({"TEMPORAL_ADDRESS": address, **encryption_env(*newest_first)}))


def submessages(message: Message) -> Iterator[Message]:
    """Yield a message and all messages within it, except what Temporal does not encrypt.

    These are search attributes, the markers that name the patches of the code (`workflow.patched`), and what the SDK
    itself records about a local step.
    """
    yield message
    for field, value in message.ListFields():
        if field.message_type is None or isinstance(value, SearchAttributes) or is_patch(value):
            continue
        if field.message_type.GetOptions().map_entry:
            about_step = is_local_step(message)
            value = [
                part
                for name, part in value.items()
                if isinstance(part, Message) and not (about_step and name == "data")
            ]
        for part in [value] if isinstance(value, Message) else value:
            yield from submessages(part)


def is_patch(value: Any) -> bool:
    return isinstance(value, MarkerRecordedEventAttributes) and value.marker_name == "core_patch"


def is_local_step(value: Any) -> bool:
    return isinstance(value, MarkerRecordedEventAttributes) and value.marker_name == "core_local_activity"


def payloads(history: WorkflowHistory) -> list[Payload]:
    return [part for event in history.events for part in submessages(event) if isinstance(part, Payload)]


def failures(history: WorkflowHistory) -> list[Failure]:
    return [part for event in history.events for part in submessages(event) if isinstance(part, Failure)]


async def test_nothing_of_a_run_is_stored_unencrypted(shop: RunningShop) -> None:
    await shop.data.order("secret-1", MUG=1)
    await shop.inject_carrier_fault(operation="buy", fault="422", order_id="secret-1")
    async with shop.worker():
        failure = await shop.expect_failure("secret-1")
    history = await shop.handle("secret-1").fetch_history()
    assert {payload.metadata["encoding"] for payload in payloads(history)} == {b"binary/encrypted"}
    markers = [event.marker_recorded_event_attributes for event in history.events]
    local = [json.loads(each.details["data"].payloads[0].data) for each in markers if is_local_step(each)]
    assert {field for step in local for field in step} == ABOUT_LOCAL_STEPS
    readable = {"Activity task failed", str(failure)}  # a message of the shop's own holds no personal data
    assert {(stored.message, stored.stack_trace) for stored in failures(history)} == {(each, "") for each in readable}
    assert "The carrier refused the request: " in str(failure)  # decrypted by our client


async def test_a_codec_of_the_published_format_decrypts_every_payload(shop: RunningShop, temporal_server: str) -> None:
    await shop.data.order("1", MUG=1)
    async with shop.worker():
        await shop.process("1")
    published = PublishedCodec(base64.b64decode(KEY))
    decrypted = await published.decode(payloads(await shop.handle("1").fetch_history()))
    assert b'"Order 1"' in [payload.data for payload in decrypted]  # the title
    assert json.loads(decrypted[0].data) == {"order_id": "1", "unless_held": False}

    elsewhere = await Client.connect(temporal_server, data_converter=DataConverter(payload_codec=published))
    assert (await elsewhere.get_workflow_handle(order_process_id("1")).result())["status"] == "fulfilled"


async def test_connecting_without_a_key_fails_unless_encryption_is_off(temporal_server: str) -> None:
    with pytest.raises(SettingsError, match=r"^COMMERCE_ENCRYPTION_KEYS "):
        await connect({"TEMPORAL_ADDRESS": temporal_server})
    await connect({"TEMPORAL_ADDRESS": temporal_server, "COMMERCE_ENCRYPTION": "off"})


async def test_a_run_waits_for_a_worker_that_has_its_key(shop: RunningShop) -> None:
    await shop.data.order("1", MUG=1)
    elsewhere, handle = await with_keys(shop, OTHER_KEY), await shop.start("1")
    missing = f"Encryption key {codec().key_ids[0]} is missing: add it to COMMERCE_ENCRYPTION_KEYS"
    async with elsewhere.worker():
        async for event in handle.fetch_history_events(wait_new_event=True):
            if event.event_type == TASK_FAILED:
                break
        failure = event.workflow_task_failed_event_attributes.failure
        assert (failure.message, failure.stack_trace, failure.HasField("cause")) == (missing, "", False)
        assert await shop.status("1") == WorkflowExecutionStatus.RUNNING
    async with shop.worker():
        assert (await handle.result()).status == "fulfilled"
    with pytest.raises(MissingKey, match=missing):
        await elsewhere.handle("1").result()


@pytest.mark.waits(35)
async def test_an_interrupted_order_whose_key_is_lost_is_started_again_with_a_new_key(shop: RunningShop) -> None:
    await shop.data.order("1", MUG=1)
    await shop.inject_carrier_fault(operation="buy", fault="500", order_id="1", times=1000)
    async with shop.worker():
        handle = await shop.start("1")
        await until(lambda: is_packed(shop))
    await shop.clear_carrier_faults()
    await handle.terminate()
    elsewhere = await with_keys(shop, OTHER_KEY)
    async with elsewhere.worker():
        assert (await elsewhere.process("1")).status == "fulfilled"
        assert await elsewhere.findings() == []


async def is_packed(shop: RunningShop) -> bool | None:
    """Return whether the order has a fulfillment, and then needs a label."""
    return bool(await shop.data.sql("SELECT id FROM fulfillments")) or None


async def test_an_input_that_cannot_be_decrypted_fails_the_run(shop: RunningShop, temporal_server: str) -> None:
    [corrupt] = await codec().encode([Payload(data=b"{}")])
    corrupt.data = corrupt.data[:-1]
    plain = await Client.connect(temporal_server)
    async with shop.worker():
        await plain.start_workflow(
            "order-processing", RawValue(corrupt), id=order_process_id("1"), task_queue=TASK_QUEUE
        )
        with pytest.raises(WorkflowFailureError) as failure:
            await shop.handle("1").result()
    assert isinstance(failure.value.cause, ApplicationError)
    assert failure.value.cause.type == "BadInput"


async def test_after_a_key_rotation_old_and_new_runs_can_be_read_and_replayed(shop: RunningShop) -> None:
    rotated, after = await with_keys(shop, OTHER_KEY, KEY), codec(OTHER_KEY, KEY)
    replayer = Replayer(workflows=WORKFLOWS, plugins=[create_plugin(after)])
    for order_id, current, key_id in zip(("old", "new"), (shop, rotated), reversed(after.key_ids), strict=True):
        await shop.data.order(order_id, MUG=1)
        async with current.worker():
            await current.process(order_id)
        history = await rotated.handle(order_id).fetch_history()
        assert {payload.metadata["encryption-key-id"].decode() for payload in payloads(history)} == {key_id}
        assert (await rotated.handle(order_id).result()).order_id == order_id
        await replayer.replay_workflow(history)
