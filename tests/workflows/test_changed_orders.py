"""An order that changes while it is processed is undone and processed again as it is now (V12)."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from commerce import backlog, open_orders
from commerce.errors import PermanentError
from commerce.messages.orders import OrderChange
from commerce.messages.pending_orders import PendingPageRequest
from tests.faults import AnswerGate, Faults, Gate
from tests.polling import until
from tests.running_shop import Handle, RunningShop, running_shop
from tests.workflows.test_run_lifecycle import hold_reason, reached
from workflows.order_processing import MAX_RESTARTS, OrderProcessingWorkflow

DEADLINE = 60  # seconds
LIVE_LABEL = "SELECT shipment_id FROM fulfillments WHERE cancelled_at IS NULL"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    """A shop with an order for one of three mugs. The test starts the worker."""
    async with running_shop(tmp_path, database_url, client) as shop:
        await shop.data.stock("MUG", main=3)
        await shop.data.order("1", MUG=1)
        yield shop


async def change(shop: RunningShop, columns: str = "shipping_city = 'Leeds'") -> int:
    """Change the order; return its new revision."""
    [revision] = await shop.data.sql(
        f"UPDATE orders SET revision = revision + 1, decisive_revision = revision + 1, {columns} RETURNING revision"
    )
    return int(revision)


async def signal(handle: Handle, revision: int) -> None:
    await handle.signal(OrderProcessingWorkflow.order_changed, OrderChange(revision=revision))


async def test_a_change_before_the_final_step_lets_the_run_begin_anew(shop: RunningShop) -> None:  # (V12)
    async with shop.worker([gate := Gate("complete-order")]):
        handle = await shop.start("1")
        await reached(gate)
        [first_label] = await shop.data.sql(LIVE_LABEL)
        await change(shop)
        gate.opened.set()
        result = await handle.result()
    assert result.status == "fulfilled"
    [label] = await shop.data.sql(LIVE_LABEL)
    assert label != first_label
    counts = await shop.labels("1")
    assert (counts["bought"], counts["refunded"], counts["live"]) == (2, 1, 1)
    assert await shop.data.levels("MUG") == {"main": (2, 0)}
    assert len(shop.mails("order-shipped")) == 1
    assert await shop.findings() == []


async def test_no_label_is_bought_for_an_older_revision(shop: RunningShop) -> None:
    async with shop.worker([gate := Gate("create-shipping-label")]):
        handle = await shop.start("1")
        await reached(gate)
        await change(shop)
        gate.opened.set()
        assert (await handle.result()).status == "fulfilled"
    assert (await shop.labels("1"))["bought"] == 1


async def test_an_order_cancelled_by_the_shop_is_undone_at_once(shop: RunningShop) -> None:
    """The carrier is down, so that without the signal the run would wait."""
    async with shop.worker([faults := Faults({"create-shipping-label": "before"}, permanent=False)]):
        handle = await shop.start("1")
        await until(lambda: refused(faults), DEADLINE)
        await signal(handle, await change(shop, "cancelled_at = now()"))
        result = await handle.result()
    assert result.status == "cancelled"
    assert (await shop.labels("1"))["live"] == 0
    assert await shop.data.levels("MUG") == {"main": (3, 0)}
    assert await hold_reason(shop, "1") is None
    assert shop.mails("order-failed") == []
    assert (await shop.handle("1").describe()).search_attributes["Outcome"] == ["cancelled"]
    assert await shop.findings() == []


async def test_an_order_shipped_by_the_shop_itself_is_undone(shop: RunningShop) -> None:
    async with shop.worker([gate := AnswerGate("create-fulfillment")]):
        handle = await shop.start("1")
        await reached(gate)
        await signal(handle, await change(shop, "fulfillment_status = 'fulfilled_elsewhere'"))
        gate.opened.set()
        assert (await handle.result()).status == "fulfilled_elsewhere"
    assert (await shop.labels("1"))["shipments"] == 0
    assert await shop.data.levels("MUG") == {"main": (3, 0)}
    assert shop.mails("order-failed") == []
    assert await shop.findings() == []


async def test_a_signal_about_what_the_run_has_read_changes_nothing(shop: RunningShop) -> None:
    revision = await change(shop)
    async with shop.worker([gate := Gate("create-fulfillment")]):
        handle = await shop.start("1")
        await reached(gate)
        await signal(handle, revision)
        gate.opened.set()
        assert (await handle.result()).status == "fulfilled"
    assert (await shop.handle("1").describe()).run_id == handle.first_execution_run_id


async def test_a_change_after_the_final_step_changes_nothing(shop: RunningShop) -> None:
    async with shop.worker([gate := AnswerGate("complete-order")]):
        handle = await shop.start("1")
        await reached(gate)
        await signal(handle, await change(shop))
        gate.opened.set()
        assert (await handle.result()).status == "fulfilled"
    assert (await shop.labels("1"))["bought"] == 1
    assert len(shop.mails("order-shipped")) == 1


async def test_a_failed_order_that_has_changed_meanwhile_is_tried_again_instead_of_held(shop: RunningShop) -> None:
    async with shop.worker(
        [gate := AnswerGate("create-fulfillment"), Faults({"create-fulfillment": "after"}, times=1)]
    ):
        handle = await shop.start("1")
        await reached(gate)
        await change(shop)
        gate.opened.set()
        assert (await handle.result()).status == "fulfilled"
    assert await hold_reason(shop, "1") is None
    assert shop.mails("order-failed") == []


async def test_a_change_while_a_refused_order_is_reported_is_not_lost(shop: RunningShop) -> None:
    """The run has put the order on hold already; the change has ended the hold, and its signal arrives late."""
    await shop.data.sql("UPDATE orders SET payment_status = 'awaiting'")
    async with shop.worker([gate := Gate("alert-admins")]):
        handle = await shop.start("1")
        await reached(gate)
        await signal(handle, await change(shop, "payment_status = 'captured', hold_reason = NULL"))
        gate.opened.set()
        assert (await handle.result()).status == "fulfilled"


async def test_an_operators_cancel_counts_more_than_a_change(shop: RunningShop) -> None:
    async with shop.worker([gate := AnswerGate("create-fulfillment")]):
        handle = await shop.start("1")
        await reached(gate)
        await handle.cancel()
        await signal(handle, await change(shop))
        gate.opened.set()
        assert await until(lambda: hold_reason(shop, "1"), DEADLINE) == "cancelled"
    assert await shop.data.levels("MUG") == {"main": (3, 0)}


async def test_an_order_that_changes_again_and_again_is_put_on_hold(shop: RunningShop) -> None:
    await shop.data.owner_sql(
        """CREATE FUNCTION change_again() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN UPDATE orders SET revision = revision + 1, decisive_revision = revision + 1; RETURN NULL; END'"""
    )
    await shop.data.owner_sql(
        "CREATE TRIGGER change_again AFTER INSERT ON fulfillments FOR EACH ROW EXECUTE FUNCTION change_again()"
    )
    async with shop.worker():
        failure: PermanentError = await shop.expect_failure("1")
    assert type(failure).__name__ == "OrderChanged", failure
    assert await hold_reason(shop, "1") == "failed: OrderChanged"
    assert await shop.data.sql("SELECT count(*) FROM fulfillments") == [MAX_RESTARTS + 1]
    assert len(shop.mails("order-failed")) == 1
    assert await shop.data.levels("MUG") == {"main": (3, 0)}
    assert await shop.findings() == []


async def refused(faults: Faults) -> bool | None:
    return faults.refused > 0 or None


async def test_an_order_that_waits_for_a_product_is_processed_as_it_is_then(shop: RunningShop) -> None:  # (V14)
    await shop.data.order("2", MUG=1, GONE=1)
    async with shop.worker():
        waiting = await shop.start("2")
        assert (await waiting.result()).status == "waiting_for_product"
        described = await waiting.describe()
        assert described.search_attributes["Outcome"] == ["waiting_for_product"]
        assert await shop.data.sql("SELECT kind FROM notifications") == []
        assert await hold_reason(shop, "2") is None
        await shop.data.sql("UPDATE order_lines SET quantity = 0 WHERE sku = 'GONE'")  # the shop removes the line
        assert (await shop.process("2")).status == "fulfilled"
    assert await shop.findings() == []


async def test_an_order_that_is_cancelled_while_it_waits_for_a_product_waits_no_longer(shop: RunningShop) -> None:
    await shop.data.order("2", GONE=1)
    async with shop.worker():
        assert (await shop.process("2")).status == "waiting_for_product"
        await shop.data.sql("UPDATE orders SET cancelled_at = now() WHERE id = '2'")
        assert await shop.data.call(backlog.count_waiting_for_product) == 0
        await shop.data.stock("GONE", main=1)
        await shop.data.sql("UPDATE order_lines SET variant_id = 'GONE' WHERE sku = 'GONE'")
        page = await shop.data.call(open_orders.list_pending, PendingPageRequest(limit=10))
        assert page.order_ids == ["1"]
