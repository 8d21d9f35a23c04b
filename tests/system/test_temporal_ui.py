"""What operators do in Temporal's UI, in a real browser, with encrypted payloads and an API that requires a token."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from commerce.messages.orders import order_process_id
from commerce.messages.pending_orders import PendingOrders
from docs.pictures.browser import Browser
from docs.pictures.temporal_ui import TemporalUi
from starter.client import start
from starter.devstack.serving import serving
from starter.schedules.apply import apply_jobs
from starter.schedules.queries import list_schedules
from starter.schedules.table import scheduled_jobs
from tests.keys import codec
from tests.polling import until
from tests.running_shop import RunningShop, running_shop, wait_for_end
from tests.starter.api.api_client import create_api
from tests.starter.sample_jobs import delete_schedules
from workflows.engine.search_attributes import FAILED_STEP, OUTCOME, SAGA_STATE

pytestmark = pytest.mark.waits(15)

TOKEN = "a-token-of-the-shop"
BUY_LABEL = "Buy one shipping label"  # a summary, which is encrypted
ASK_ADMINS = "Ask the admins"
LABEL_STARTED = "SELECT 1 FROM step_ledger WHERE step = 'create-shipping-label'"
FIRST_TASK = "3 - WorkflowTaskStarted"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    """A shop with three mugs and a worker. The audit must be clean in the end."""
    async with running_shop(tmp_path, database_url, client, COMMERCE_REVIEW_RISK="high") as shop:
        await shop.data.stock("MUG", main=3)
        async with shop.worker():
            yield shop
            assert await shop.findings() == []


@pytest.fixture
async def ui(shop: RunningShop, temporal_ui: str, browser: Browser) -> AsyncIterator[TemporalUi]:
    """Temporal's UI in a browser of a person who has set up the codec, by the steps in docs/configuration.md."""
    api = create_api(shop, COMMERCE_API_TOKENS=TOKEN, COMMERCE_TEMPORAL_UI_URL=temporal_ui)
    async with serving(api, 0) as url:
        ui = TemporalUi(browser, temporal_ui)
        await asyncio.to_thread(ui.use_codec, f"{url}/codec/default", TOKEN)
        yield ui


async def fail_at_the_carrier(shop: RunningShop, *order_ids: str) -> None:
    """Process orders while the carrier refuses them."""
    for order_id in order_ids:
        await shop.data.order(order_id, MUG=1)
        await shop.inject_carrier_fault(order_id=order_id, operation="create", fault="422", times=100)
    await asyncio.gather(*(shop.expect_failure(order_id) for order_id in order_ids))
    await shop.clear_carrier_faults()


async def fulfilled(shop: RunningShop, order_id: str) -> bool | None:
    [status] = await shop.data.order_columns(order_id, "fulfillment_status")
    return status == "fulfilled" or None


async def assert_fulfilled_once(shop: RunningShop, *order_ids: str) -> None:
    for order_id in order_ids:
        assert await until(lambda order_id=order_id: fulfilled(shop, order_id))  # type: ignore[misc]
        await wait_for_end(shop.handle(order_id))
        assert (await shop.labels(order_id))["live"] == 1
        assert await shop.data.order_columns(order_id, "hold_reason") == (None,)


async def test_reset_to_the_first_event_retries_a_failed_order(shop: RunningShop, ui: TemporalUi) -> None:  # (E12)
    await fail_at_the_carrier(shop, order_id := uuid4().hex)
    await asyncio.to_thread(ui.open_run, order_process_id(order_id), shows=BUY_LABEL)
    await asyncio.to_thread(ui.reset, FIRST_TASK)
    await assert_fulfilled_once(shop, order_id)


async def test_reset_to_the_first_event_retries_a_cancelled_order(shop: RunningShop, ui: TemporalUi) -> None:  # (E12)
    await shop.data.order(order_id := uuid4().hex, MUG=1)
    await shop.inject_carrier_fault(order_id=order_id, operation="create", fault="500", times=1_000)
    order = await shop.start(order_id)

    async def is_labelling() -> bool | None:
        return await shop.data.sql(LABEL_STARTED) != [] or None

    await until(is_labelling)
    await order.cancel()
    await wait_for_end(order)
    assert await shop.data.order_columns(order_id, "hold_reason") == ("cancelled",)
    await shop.clear_carrier_faults()
    await asyncio.to_thread(ui.open_run, order.id, shows=BUY_LABEL)
    await asyncio.to_thread(ui.reset, FIRST_TASK)
    await assert_fulfilled_once(shop, order_id)


async def test_reset_to_a_later_event_shows_what_to_do_instead(shop: RunningShop, ui: TemporalUi) -> None:
    await fail_at_the_carrier(shop, order_id := uuid4().hex)
    tasks = [
        event.event_id
        async for event in shop.handle(order_id).fetch_history_events()
        if event.HasField("workflow_task_started_event_attributes")
    ]
    await asyncio.to_thread(ui.open_run, order_process_id(order_id), shows=BUY_LABEL)
    await asyncio.to_thread(ui.reset, f"{tasks[2]} - WorkflowTaskStarted")

    async def reset_run() -> WorkflowFailureError | None:
        try:
            await shop.handle(order_id).result()
        except WorkflowFailureError as failure:
            is_new = isinstance(failure.cause, ApplicationError) and failure.cause.type == "ResetTooLate"
            return failure if is_new else None
        return None

    await until(reset_run)
    await asyncio.to_thread(ui.open_run, order_process_id(order_id), shows="or `commerce runs retry`")
    assert await shop.findings() == []
    await asyncio.to_thread(ui.start_like_this_one, shows=order_id)
    await assert_fulfilled_once(shop, order_id)


async def test_batch_reset_retries_the_orders_that_failed_in_an_outage(shop: RunningShop, ui: TemporalUi) -> None:
    await fail_at_the_carrier(shop, *(order_ids := [uuid4().hex for _ in range(3)]))
    query = f"OrderId IN ({', '.join(map(repr, order_ids))}) AND ExecutionStatus = 'Failed'"
    await until(lambda: are_listed(shop, query, len(order_ids)))
    await asyncio.to_thread(ui.reset_all, query, runs=len(order_ids))
    await assert_fulfilled_once(shop, *order_ids)


async def are_listed(shop: RunningShop, query: str, runs: int) -> bool | None:
    return (await shop.client.count_workflows(query)).count == runs or None


async def test_start_like_this_one_retries_an_order_that_the_job_started(
    shop: RunningShop, ui: TemporalUi
) -> None:  # (V10)
    await shop.data.order(order_id := uuid4().hex, MUG=1)
    await shop.inject_carrier_fault(order_id=order_id, operation="create", fault="422", times=100)
    await (await start(shop.client, "process-pending-orders", PendingOrders())).result()
    assert await shop.data.order_columns(order_id, "hold_reason") == ("failed: CarrierRefused",)
    await shop.clear_carrier_faults()
    await asyncio.to_thread(ui.open_run, order_process_id(order_id), shows=BUY_LABEL)
    await asyncio.to_thread(ui.start_like_this_one, shows=order_id)
    await assert_fulfilled_once(shop, order_id)
    attributes = (await shop.handle(order_id).describe()).typed_search_attributes
    assert [attributes.get(key) for key in (SAGA_STATE, FAILED_STEP, OUTCOME)] == ["completed", None, "fulfilled"]


async def test_an_update_answers_an_order_that_waits(shop: RunningShop, ui: TemporalUi) -> None:  # (W3)
    await shop.data.order(order_id := uuid4().hex, MUG=1, columns={"risk_level": "high"})
    order = await shop.start(order_id)
    await asyncio.to_thread(ui.open_run, order.id, shows=ASK_ADMINS)
    wrong = {"step": "review-order", "answer": "perhaps"}
    await asyncio.to_thread(ui.send_update, "answer-step", json.dumps(wrong))
    await asyncio.to_thread(ui.wait_for_text, "answer: Input should be")
    await asyncio.to_thread(ui.open_run, order.id, shows=ASK_ADMINS)
    await asyncio.to_thread(ui.send_update, "answer-step", json.dumps(wrong | {"answer": "success"}))
    await assert_fulfilled_once(shop, order_id)


async def test_a_schedule_edited_in_the_ui_is_seen_and_restored(shop: RunningShop, ui: TemporalUi) -> None:
    [upkeep] = [job for job in scheduled_jobs(shop.settings) if job.id == "upkeep"]
    key_id = codec().key_ids[0]

    async def edited() -> list[str] | None:
        return next((found.edited for found in await list_schedules(shop.client) if found.id == "upkeep"), None)

    try:
        await apply_jobs(shop.client, [upkeep], key_id=key_id, paused=True)
        await asyncio.to_thread(ui.open, "schedules/upkeep")
        await asyncio.to_thread(ui.wait_for_text, "{}")  # the input, decrypted
        await asyncio.to_thread(ui.edit_schedule, "upkeep")  # saved without a change
        assert await until(edited) == []
        await asyncio.to_thread(ui.edit_schedule, "upkeep", cron="15 4 * * *", overlap_policy="Allow All")
        edits = ["times: 30 3 * * * and 15 4 * * * instead of 30 3 * * *", "overlap policy: allow all instead of skip"]
        assert await edited() == edits
        assert (await apply_jobs(shop.client, [upkeep], key_id=key_id)).edited == {"upkeep": edits}
        assert (await apply_jobs(shop.client, [upkeep], key_id=key_id, force=True)).updated == ["upkeep"]
        assert await edited() == []
        assert (await shop.client.get_schedule_handle("upkeep").describe()).schedule.state.paused
    finally:
        await delete_schedules(shop.client, "upkeep")
