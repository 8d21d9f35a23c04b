"""Orders whose goods come from two locations: each label is bought once and undone once (V15)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from commerce.errors import CarrierRefused
from tests.faults import AnswerGate
from tests.running_shop import RunningShop, running_shop, wait_for_end
from tests.workflows.test_order_processing import DONE, EVENTS, cancel_after
from tests.workflows.test_run_lifecycle import reached
from workflows.engine.search_attributes import FAILED_STEP

SECOND = "create-shipping-label/2"
LIVE = "SELECT count(*) FROM fulfillments WHERE cancelled_at IS NULL AND order_id = :id"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    """A shop with an order for mugs and a box, which are at different locations. The test starts the worker."""
    async with running_shop(tmp_path, database_url, client) as shop:
        await shop.data.stock("MUG", harbour=100)
        await shop.data.stock("BOX", workshop=100)
        await order(shop, "1")
        yield shop


async def order(shop: RunningShop, order_id: str) -> None:
    await shop.data.order(order_id, ("BOX", 1), ("MUG", 2))


async def counts(shop: RunningShop, order_id: str = "1") -> tuple[int, int, int]:
    """Return how many labels were bought, refunded, and are live."""
    labels = await shop.labels(order_id)
    return labels["bought"], labels["refunded"], labels["live"]


async def stock(shop: RunningShop) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]]]:
    return await shop.data.levels("MUG"), await shop.data.levels("BOX")


UNTOUCHED = ({"harbour": (100, 0)}, {"workshop": (100, 0)})
TAKEN = ({"harbour": (98, 0)}, {"workshop": (99, 0)})


async def test_each_location_ships_a_parcel_of_its_own(shop: RunningShop) -> None:
    async with shop.worker():
        result = await shop.process("1")
        states = await shop.states("1")
        assert await shop.process("1") == result  # (V5)
        assert result.status == "fulfilled" and len(set(result.tracking_numbers)) == 2
        assert result.tracking_number == result.tracking_numbers[0]
        assert list(states) == ["validate-order", *list(DONE)[1:5], SECOND, *list(DONE)[5:]]
        assert await counts(shop) == (2, 0, 2)
        assert await shop.data.sql(LIVE, id="1") == [2]
        assert await stock(shop) == TAKEN
        assert await shop.data.sql(EVENTS, id="1") == ["order.fulfilled"]
        [mail] = shop.mails("order-shipped", "1")
        body = mail.get_body(("plain",))
        assert body is not None and all(number in body.get_content() for number in result.tracking_numbers)
        assert await shop.findings() == []


async def test_only_parcels_with_goods_to_ship_get_a_label(shop: RunningShop) -> None:
    await shop.data.sql("UPDATE order_lines SET requires_shipping = false WHERE sku = 'MUG'")
    async with shop.worker():
        result = await shop.process("1")
        assert len(result.tracking_numbers) == 1
        assert SECOND not in await shop.states("1")
        assert await shop.data.sql("SELECT tracking_number IS NULL FROM fulfillments ORDER BY position") == [
            True,
            False,
        ]
        assert await shop.findings() == []


async def test_a_carrier_that_refuses_the_second_label_undoes_the_first_one(shop: RunningShop) -> None:  # (V7)
    async with shop.worker([gate := AnswerGate("create-shipping-label")]):
        await shop.start("1")
        await reached(gate)
        await shop.inject_carrier_fault(operation="buy", fault="422")
        gate.opened.set()
        assert isinstance(await shop.expect_failure("1"), CarrierRefused)
        states = await shop.states("1")
        assert states["create-shipping-label"] == states[SECOND] == states["create-fulfillment"] == "undone"
        found = await shop.handle("1").describe()
        assert found.typed_search_attributes.get(FAILED_STEP) == "create-shipping-label"  # by which it is retried
        assert await counts(shop) == (1, 1, 0)
        assert await stock(shop) == UNTOUCHED
        assert await shop.findings() == []
        await shop.clear_carrier_faults()
        assert len((await shop.process("1")).tracking_numbers) == 2
    assert await counts(shop) == (3, 1, 2)
    assert await shop.findings() == []


async def test_a_label_that_cannot_be_refunded_does_not_keep_the_other_one(shop: RunningShop) -> None:
    async with shop.worker([gate := AnswerGate("create-shipping-label")]):
        handle = await shop.start("1")
        await reached(gate)
        await shop.inject_carrier_fault(operation="buy", fault="slow", seconds=2, times=1)
        await shop.inject_carrier_fault(operation="refund", fault="422", times=1)
        gate.opened.set()
        while (await shop.states("1")).get(SECOND) != "running":  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(0.02)
        await handle.cancel()
        await wait_for_end(handle)
        states = await shop.states("1")
        assert (states["create-shipping-label"], states[SECOND]) == ("undone", "undo_failed")
        assert states["create-fulfillment"] == states["reserve-inventory"] == "undone"
        assert (await shop.progress("1")).state == "compensation_failed"
        assert await counts(shop) == (2, 1, 1)
        assert await stock(shop) == UNTOUCHED


async def test_a_change_between_two_labels_lets_the_run_begin_anew(shop: RunningShop) -> None:  # (V12)
    async with shop.worker([gate := AnswerGate("create-shipping-label")]):
        handle = await shop.start("1")
        await reached(gate)
        await shop.data.sql("UPDATE orders SET revision = revision + 1, decisive_revision = revision + 1")
        gate.opened.set()
        assert len((await handle.result()).tracking_numbers) == 2
    assert await counts(shop) == (3, 1, 2)
    assert await stock(shop) == TAKEN
    assert await shop.findings() == []


async def test_a_run_terminated_between_two_labels_is_undone_by_the_next_one(shop: RunningShop) -> None:  # (E12)
    async with shop.worker([gate := AnswerGate("create-shipping-label")]):
        handle = await shop.start("1")
        await reached(gate)
        await handle.terminate()
        gate.opened.set()
        assert len((await shop.process("1")).tracking_numbers) == 2
    assert await counts(shop) == (3, 1, 2)
    assert await shop.data.sql(LIVE, id="1") == [2]
    assert await stock(shop) == TAKEN
    assert await shop.findings() == []


async def test_a_cancel_after_any_history_event_leaves_all_parcels_or_none(shop: RunningShop) -> None:  # (V8, E10)
    async with shop.worker():
        await shop.process("1")
        event_ids = [event.event_id async for event in shop.handle("1").fetch_history_events()]
        for event_id in event_ids[1:]:
            await order(shop, str(event_id))
        await asyncio.gather(*(cancel_after(shop, event_id) for event_id in event_ids[1:]))
    ends = {event_id: await shop.status(str(event_id)) for event_id in event_ids[1:]}
    assert set(ends.values()) == {WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.CANCELED}
    for event_id, end in ends.items():
        found = ((await counts(shop, str(event_id)))[2], *await shop.data.sql(LIVE, id=str(event_id)))
        assert found == ((2, 2) if end == WorkflowExecutionStatus.COMPLETED else (0, 0)), event_id
    assert await shop.findings() == []
