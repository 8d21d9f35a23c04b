"""The jobs from start to end, with everything real: what they change, what they leave alone, and how they fail."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from commerce.errors import BadInput
from commerce.messages.analytics import Analytics, AnalyticsResult
from commerce.messages.base import Message
from commerce.messages.carts import CartCursor, CartsExpired, CleanUpCarts, CleanUpState
from commerce.messages.jobs import JobInput, JobRun
from commerce.messages.pending_orders import PendingOrders, PendingOrdersResult
from commerce.messages.stock_sync import StockSynced
from commerce.messages.upkeep import Upkeep, UpkeepResult
from starter.client import start
from starter.operate.actions import cancel
from starter.processes import TASK_QUEUE
from tests.faults import Faults, Gate
from tests.running_shop import RunningShop, running_shop

LONG_AGO = datetime.now(UTC) - timedelta(days=30)
LABELLING = "SELECT 1 FROM step_ledger WHERE step = 'create-shipping-label'"


@pytest.fixture
async def place(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as made:
        yield made


@pytest.fixture
async def shop(place: RunningShop) -> AsyncIterator[RunningShop]:
    async with place.worker():
        yield place


async def begin(shop: RunningShop, job: str, options: Message | None = None) -> WorkflowHandle[Any, Any]:
    """Start a job, under an id of its own: the tests share a server."""
    job_id = f"{job}-{shop.settings.database_url.get_secret_value().rsplit('/', 1)[1]}-{datetime.now(UTC).timestamp()}"
    return await shop.client.start_workflow(job, options or JobInput(), id=job_id, task_queue=TASK_QUEUE)


async def run(shop: RunningShop, job: str, options: Message | None = None) -> dict[str, Any]:
    result: dict[str, Any] = await (await begin(shop, job, options)).result()
    return result


async def fails(shop: RunningShop, job: str) -> ApplicationError:
    """Run a job that must fail, and return the error that its run shows on top."""
    with pytest.raises(WorkflowFailureError) as failed:
        await run(shop, job)
    assert isinstance(failed.value.cause, ApplicationError)
    return failed.value.cause


async def warehouse(shop: RunningShop, method: str, path: str, content: Any) -> None:
    async with httpx.AsyncClient(base_url=shop.settings.warehouse_url) as http:
        (await http.request(method, path, json=content)).raise_for_status()


async def cart(shop: RunningShop, cart_id: str, touched: datetime, **facts: object) -> None:
    values = {"id": cart_id, "touched": touched, "completed_at": None} | facts
    await shop.data.sql(
        """INSERT INTO carts (id, currency, created_at, updated_at, completed_at)
           VALUES (:id, 'GBP', :touched, :touched, :completed_at)""",
        **values,
    )


async def test_expired_carts_go_and_the_others_stay(shop: RunningShop) -> None:  # (C1, C2)
    for number in range(25):
        await cart(shop, f"old-{number}", LONG_AGO)
    await cart(shop, "fresh", datetime.now(UTC))
    await cart(shop, "bought", LONG_AGO, completed_at=LONG_AGO)
    result = CartsExpired.model_validate(await run(shop, "cleanup-expired-carts", CleanUpCarts(batch=10)))
    assert (result.seen, result.changed, result.failed) == (25, 25, 0)
    assert await shop.data.sql("SELECT id FROM carts ORDER BY id") == ["bought", "fresh"]
    assert len(await shop.data.events()) == 25


async def test_orders_that_wait_are_worked_off_in_order_of_arrival(shop: RunningShop) -> None:  # (J1, J2)
    await shop.data.stock("MUG", main=3)
    for number in range(1, 5):
        await shop.data.order(str(number), MUG=1)
    await shop.data.order("no-stock-at-all", CUP=1)
    result = PendingOrdersResult.model_validate(
        await run(shop, "process-pending-orders", PendingOrders(page=2, at_once=1))
    )
    assert (result.seen, result.changed, result.insufficient_inventory) == (5, 3, 1)
    assert result.failed == 1 and result.failures[0].id == "no-stock-at-all"
    assert result.failures[0].reason == "UnknownVariant"
    assert await shop.findings() == []


async def test_what_needs_a_person_or_stock_is_not_touched_again(shop: RunningShop) -> None:  # (V10)
    await shop.data.stock("MUG", main=1)
    await shop.data.order("refused", MUG=5)
    await shop.data.order("failed", CUP=1)
    await shop.data.order("held", MUG=1, columns={"hold_reason": "cancelled"})
    await shop.data.order("partly-paid", MUG=1, columns={"payment_status": "partially_captured"})
    first = await run(shop, "process-pending-orders")
    assert first["seen"] == 2
    for _ in range(3):
        assert (await run(shop, "process-pending-orders"))["seen"] == 0
    await shop.data.add_stock("MUG", main=4)
    again = await run(shop, "process-pending-orders")
    assert (again["seen"], again["changed"]) == (1, 1)


async def test_only_a_job_itself_says_where_it_goes_on(place: RunningShop) -> None:
    begun = JobRun(generation="mine", nominal=LONG_AGO)
    state = CleanUpState(run=begun, after=CartCursor(updated_at=LONG_AGO, id="1"), counts=CartsExpired())
    with pytest.raises(BadInput, match="resume: "):
        await start(place.client, "cleanup-expired-carts", CleanUpCarts(resume=state))


async def test_an_order_at_work_is_left_to_whom_works_on_it(place: RunningShop) -> None:
    await place.data.stock("MUG", main=9)
    await place.data.order("1", MUG=1)
    await place.inject_carrier_fault(operation="create", fault="slow", seconds=3, order_id="1")
    async with place.worker():
        order = await place.start("1")
        result = await run(place, "process-pending-orders")
        assert (result["seen"], result["joined"], result["skipped"]) == (1, 1, 1)
        assert (await order.result()).status == "fulfilled"


async def test_a_cancelled_job_leaves_its_orders_alone(place: RunningShop) -> None:
    await place.data.stock("MUG", main=9)
    await place.data.order("1", MUG=1)
    await place.inject_carrier_fault(operation="create", fault="slow", seconds=3, order_id="1")
    async with place.worker():
        job = await begin(place, "process-pending-orders")
        while not await place.data.sql(LABELLING):  # noqa: ASYNC110 - it looks at what a server did
            await asyncio.sleep(0.02)
        await cancel(place.client, place.database, job.id, reason="not now")
        with pytest.raises(WorkflowFailureError):
            await job.result()
        assert (await job.describe()).status == WorkflowExecutionStatus.CANCELED
        assert (await place.handle("1").result()).status == "fulfilled"


async def test_stock_becomes_what_the_warehouse_has(shop: RunningShop) -> None:  # (J6)
    await shop.data.stock("MUG", main=5, overflow=2)
    await shop.data.stock("CUP", main=5)
    await shop.data.stock("JUG", main=5)
    told = [
        {"sku": "MUG", "location": "main", "on_hand": 9},
        {"sku": "CUP", "location": "elsewhere", "on_hand": 3},
        {"sku": "JUG", "location": "main", "on_hand": None},
    ]
    await warehouse(shop, "PUT", "/trial/levels", told)
    result = StockSynced.model_validate(await run(shop, "sync-inventory"))
    assert (result.seen, result.changed, result.skipped, result.unknown_locations) == (3, 1, 1, 1)
    assert await shop.data.levels("MUG") == {"main": (9, 0), "overflow": (2, 0)}
    assert await shop.data.levels("JUG") == {"main": (5, 0)}
    assert [(kind, data["change"]) for kind, _, data in await shop.data.events()] == [("inventory.updated", 4)]
    assert (await run(shop, "sync-inventory"))["changed"] == 0
    assert await shop.data.breaches() == []


async def test_units_shipped_since_the_warehouse_counted_are_not_given_back(shop: RunningShop) -> None:  # (J6)
    await shop.data.stock("MUG", main=10)
    await warehouse(shop, "PUT", "/trial/levels", [{"sku": "MUG", "location": "main", "on_hand": 8}])
    await shop.data.order("1", MUG=3)
    await shop.process("1")
    await run(shop, "sync-inventory")
    assert await shop.data.levels("MUG") == {"main": (5, 0)}
    assert await shop.findings() == []


async def test_less_than_is_reserved_is_written_and_told_once(shop: RunningShop) -> None:  # (I9)
    await shop.data.stock("MUG", main=5)
    await shop.data.order("1", MUG=4, columns={"hold_reason": "cancelled"})
    await shop.data.sql("UPDATE inventory_levels SET reserved_quantity = 4")
    await shop.data.sql(
        """INSERT INTO reservations (order_id, order_line_id, inventory_item_id, location_id, quantity)
           SELECT '1', id, 'MUG', 'main', 4 FROM order_lines"""
    )
    await warehouse(shop, "PUT", "/trial/levels", [{"sku": "MUG", "location": "main", "on_hand": 1}])
    assert (await run(shop, "sync-inventory"))["oversold"] == 1
    assert (await run(shop, "sync-inventory"))["oversold"] == 0
    assert await shop.data.levels("MUG") == {"main": (1, 4)}
    assert len(shop.mails("oversold")) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("rubbish", "WarehouseAnswerInvalid"),
        ("negative", "WarehouseAnswerInvalid"),
        ("endless", "WarehouseAnswerInvalid"),
        ("half", "WarehouseIncomplete"),
        ("500", "WarehouseUnavailable"),
    ],
)
async def test_a_warehouse_that_answers_nonsense_changes_nothing_and_admins_are_told(
    shop: RunningShop, fault: str, error: str
) -> None:
    for sku in ("MUG", "CUP", "JUG", "PAN"):
        await shop.data.stock(sku, main=5)
    await warehouse(
        shop, "PUT", "/trial/levels", [{"sku": sku, "location": "main", "on_hand": 7} for sku in ("MUG", "PAN")]
    )
    await warehouse(shop, "POST", "/trial/faults", {"fault": fault, "times": 1_000})
    failure = await fails(shop, "sync-inventory")
    assert failure.type == error
    if fault != "half":  # the half that it does know is right
        assert await shop.data.levels("MUG") == {"main": (5, 0)}
    [alert] = shop.mails("inventory-sync-failure")
    assert "sync-inventory" in alert.as_string() and error in alert.as_string()


async def test_a_day_is_counted_and_reported_once(shop: RunningShop) -> None:  # (J5)
    await shop.data.stock("MUG", main=9)
    await shop.data.order("1", MUG=2)
    options = Analytics(date=date(2026, 3, 2))
    result = AnalyticsResult.model_validate(await run(shop, "collect-analytics-data", options))
    assert result.day == date(2026, 3, 2) and result.changed == 1 and result.report_sent
    assert [(row.currency, row.orders, row.revenue) for row in result.currencies] == [("GBP", 1, 500)]
    assert (await run(shop, "collect-analytics-data", options))["changed"] == 0
    assert len(shop.mails("daily-report")) == 1


async def test_without_a_date_it_is_the_day_before(shop: RunningShop) -> None:  # (J5)
    result = AnalyticsResult.model_validate(await run(shop, "collect-analytics-data"))
    assert result.day == datetime.now(UTC).date() - timedelta(days=1)


async def test_a_day_that_is_not_over_is_reported_so_far_and_once_more_when_it_is(shop: RunningShop) -> None:
    today = datetime.now(UTC).date()
    assert (await run(shop, "collect-analytics-data", Analytics(date=today)))["report_sent"]
    assert [mail["X-Commerce-Key"] for mail in shop.mails("daily-report")] == [f"daily-report/{today}/so-far"]
    with pytest.raises(WorkflowFailureError) as failed:
        await run(shop, "collect-analytics-data", Analytics(date=today + timedelta(days=2)))
    assert isinstance(failed.value.cause, ApplicationError) and failed.value.cause.type == "BadInput"


async def test_an_order_put_on_hold_meanwhile_is_left_alone(place: RunningShop) -> None:
    await place.data.stock("MUG", main=9)
    for order_id in ("1", "2", "odd/id"):
        await place.data.order(order_id, MUG=1)
    async with place.worker([gate := Gate("validate-order")]):
        job = await begin(place, "process-pending-orders", PendingOrders(at_once=1))
        await gate.reached.wait()
        await place.data.sql("UPDATE orders SET hold_reason = 'cancelled' WHERE id = '2'")
        gate.opened.set()
        result = PendingOrdersResult.model_validate(await job.result())
    assert (result.seen, result.changed, result.skipped, result.failed) == (3, 1, 1, 1)
    assert [(failure.id, failure.reason) for failure in result.failures] == [("odd/id", "BadInput")]
    assert await place.data.order_columns("2", "fulfillment_status", "hold_reason") == ("not_fulfilled", "cancelled")


async def test_stock_that_came_while_an_order_was_refused_is_not_missed(place: RunningShop) -> None:
    await place.data.stock("MUG", main=1)
    await place.data.order("1", MUG=5)
    async with place.worker([gate := Gate("record-refusal")]):
        order = await place.start("1")
        await gate.reached.wait()
        await place.data.add_stock("MUG", main=9)
        gate.opened.set()
        assert (await order.result()).status == "insufficient_inventory"
        assert (await run(place, "process-pending-orders"))["changed"] == 1


async def test_an_alert_that_could_not_even_be_written_is_told_later(place: RunningShop) -> None:
    faults = Faults({"delete-expired-carts": "before", "alert-admins": "before"}, permanent=False)
    async with place.worker([faults]):
        await fails(place, "cleanup-expired-carts")
    assert len(place.mails("job-failure")) == 1


async def test_a_job_is_tried_three_times_then_admins_are_told(place: RunningShop) -> None:  # (J2)
    async with place.worker([faults := Faults({"delete-expired-carts": "before"}, permanent=False)]):
        failure = await fails(place, "cleanup-expired-carts")
    assert failure.type == "Refused" and faults.refused == 3
    [alert] = place.mails("job-failure")
    assert "cleanup-expired-carts" in alert.as_string()


async def test_a_job_goes_on_after_an_error(place: RunningShop) -> None:  # (J2)
    await cart(place, "old", LONG_AGO)
    async with place.worker([faults := Faults({"delete-expired-carts": "after"}, permanent=False, times=1)]):
        result = await run(place, "cleanup-expired-carts")
    assert faults.refused == 1
    assert result["changed"] == 1  # it was done, and the answer of the second try is that of the first
    assert len(await place.data.events()) == 1 and place.mails("job-failure") == []


async def test_old_records_go_unless_somebody_needs_them(shop: RunningShop) -> None:  # (E17)
    await shop.data.stock("MUG", main=9)
    for order_id in ("ended", "held", "fresh"):
        await shop.data.order(order_id, MUG=1)
        await shop.process(order_id)
    await shop.data.sql("UPDATE orders SET hold_reason = 'failed: X' WHERE id = 'held'")
    await shop.data.sql("UPDATE outbox_events SET published_at = now()")
    for table, column in (
        ("process_generations", "started_at"),
        ("step_ledger", "updated_at"),
        ("outbox_events", "published_at"),
        ("notifications", "created_at"),
    ):
        key = {"process_generations": "business_key", "step_ledger": "business_key"}.get(
            table, "aggregate" if table == "outbox_events" else "key"
        )
        await shop.data.sql(
            f"UPDATE {table} SET {column} = {column} - interval '3 years' WHERE {key} NOT LIKE '%fresh%'"
        )
    result = UpkeepResult.model_validate(await run(shop, "upkeep", Upkeep(batch=1)))
    assert result.changed == 1 + 2 + 2  # a key, and the events and mails of two orders
    assert await shop.data.sql(
        "SELECT DISTINCT business_key FROM step_ledger WHERE business_key LIKE 'order-%' ORDER BY 1"
    ) == ["order-processing-fresh", "order-processing-held"]
    assert len(await shop.data.events()) == 1
    assert await shop.findings() == []
