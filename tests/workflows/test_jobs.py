"""Test the jobs from start to end, with a real worker: what they change, what they leave alone and how they fail."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from activities.boundary.failures import shop_error
from commerce import sales
from commerce.errors import BadInput
from commerce.imports import import_inventory
from commerce.messages.analytics import Analytics, AnalyticsResult
from commerce.messages.base import Message
from commerce.messages.carts import CartCursor, CartsExpired, CleanUpCarts, CleanUpState
from commerce.messages.jobs import JobInput, JobRun
from commerce.messages.pending_orders import PendingOrders, PendingOrdersResult
from commerce.messages.stock_sync import StockSynced
from commerce.messages.upkeep import Upkeep, UpkeepResult
from starter.client import start
from starter.operate.actions import cancel, retry
from starter.processes import PROCESS_TYPES, TASK_QUEUE
from tests.faults import Faults, Gate, ShortBackoff
from tests.running_shop import RunningShop, running_shop
from workflows.engine import job as engine_job

A_MONTH_AGO = datetime.now(UTC) - timedelta(days=30)
LABEL_STARTED = "SELECT 1 FROM step_ledger WHERE step = 'create-shipping-label'"


@pytest.fixture
async def idle_shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    """A shop without a worker, for tests that start their own."""
    async with running_shop(tmp_path, database_url, client) as shop:
        yield shop


@pytest.fixture
async def shop(idle_shop: RunningShop) -> AsyncIterator[RunningShop]:
    """A shop with a worker."""
    async with idle_shop.worker():
        yield idle_shop


async def start_job(shop: RunningShop, job: str, options: Message | None = None) -> WorkflowHandle[Any, Any]:
    """Start a job under a unique id, because all tests share a Temporal server."""
    job_id = f"{job}-{shop.settings.database_url.get_secret_value().rsplit('/', 1)[1]}-{datetime.now(UTC).timestamp()}"
    return await shop.client.start_workflow(job, options or JobInput(), id=job_id, task_queue=TASK_QUEUE)


async def run_job(shop: RunningShop, job: str, options: Message | None = None) -> dict[str, Any]:
    result: dict[str, Any] = await (await start_job(shop, job, options)).result()
    return result


async def expect_job_failure(shop: RunningShop, job: str) -> ApplicationError:
    """Run a job that must fail, and return the error of its run."""
    with pytest.raises(WorkflowFailureError) as caught:
        await run_job(shop, job)
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


async def request_warehouse(shop: RunningShop, method: str, path: str, content: Any) -> None:
    async with httpx.AsyncClient(base_url=shop.settings.warehouse_url) as http:
        (await http.request(method, path, json=content)).raise_for_status()


async def add_cart(shop: RunningShop, cart_id: str, updated_at: datetime, **columns: object) -> None:
    values = {"id": cart_id, "updated_at": updated_at, "completed_at": None} | columns
    await shop.data.sql(
        """INSERT INTO carts (id, currency, created_at, updated_at, completed_at)
           VALUES (:id, 'GBP', :updated_at, :updated_at, :completed_at)""",
        **values,
    )


async def test_expired_carts_are_deleted_and_the_others_stay(shop: RunningShop) -> None:  # (C1, C2)
    for number in range(25):
        await add_cart(shop, f"old-{number}", A_MONTH_AGO)
    await add_cart(shop, "fresh", datetime.now(UTC))
    await add_cart(shop, "bought", A_MONTH_AGO, completed_at=A_MONTH_AGO)
    result = CartsExpired.model_validate(await run_job(shop, "cleanup-expired-carts", CleanUpCarts(batch=10)))
    assert (result.seen, result.changed, result.failed) == (25, 25, 0)
    assert await shop.data.sql("SELECT id FROM carts ORDER BY id") == ["bought", "fresh"]
    assert len(await shop.data.events()) == 25


async def test_pending_orders_are_processed_in_order_of_arrival(shop: RunningShop) -> None:  # (J1, J2)
    await shop.data.stock("MUG", main=3)
    for number in range(1, 5):
        await shop.data.order(str(number), MUG=1)
    await shop.data.variant("CUP", items={})
    await shop.data.order("no-stock-at-all", CUP=1)
    result = PendingOrdersResult.model_validate(
        await run_job(shop, "process-pending-orders", PendingOrders(page=2, at_once=1))
    )
    assert (result.seen, result.changed, result.insufficient_inventory) == (5, 3, 1)
    assert result.failed == 1 and result.failures[0].id == "no-stock-at-all"
    assert result.failures[0].reason == "VariantWithoutItems"
    assert await shop.findings() == []


async def test_orders_that_need_an_operator_or_stock_are_not_started_again(shop: RunningShop) -> None:  # (V10)
    await shop.data.stock("MUG", main=1)
    await shop.data.order("refused", MUG=5)
    await shop.data.variant("CUP", items={})
    await shop.data.order("failed", CUP=1)
    await shop.data.order("held", MUG=1, columns={"hold_reason": "cancelled"})
    await shop.data.order("partly-paid", MUG=1, columns={"payment_status": "partially_captured"})
    first = await run_job(shop, "process-pending-orders")
    assert first["seen"] == 2
    for _ in range(3):
        assert (await run_job(shop, "process-pending-orders"))["seen"] == 0
    await shop.data.add_stock("MUG", main=4)
    again = await run_job(shop, "process-pending-orders")
    assert (again["seen"], again["changed"]) == (1, 1)


async def test_orders_wait_for_products_with_one_alert_a_day_in_all(shop: RunningShop, tmp_path: Path) -> None:  # (V14)
    await shop.data.stock("MUG", main=9)
    for number in range(3):
        await shop.data.order(f"early-{number}", MUG=1, CUP=1)
    assert (await shop.process("early-0")).status == "waiting_for_product"
    for _ in range(2):
        result = await run_job(shop, "process-pending-orders")
        assert (result["seen"], result["waiting_for_product"], result["failed"]) == (0, 3, 0)
    assert await shop.data.sql("SELECT kind FROM notifications") == ["waiting-for-product"]
    [alert] = shop.mails("waiting-for-product")
    assert alert["Subject"].endswith("3 orders wait for products: commerce products unlinked lists these")
    assert await shop.data.sql("SELECT DISTINCT hold_reason FROM orders") == [None]
    stock = tmp_path / "stock.csv"
    stock.write_text("Handle,Title,SKU,Location,On hand\ncup,Cup,CUP,main,9\n")
    assert (await import_inventory(shop.data.database, [stock])).taken == 1
    result = await run_job(shop, "process-pending-orders")
    assert (result["seen"], result["changed"], result["waiting_for_product"]) == (3, 3, 0)
    assert await shop.findings() == []


async def test_a_caller_cannot_set_where_a_job_resumes(idle_shop: RunningShop) -> None:
    job_run = JobRun(generation="mine", nominal=A_MONTH_AGO)
    state = CleanUpState(run=job_run, after=CartCursor(updated_at=A_MONTH_AGO, id="1"), counts=CartsExpired())
    with pytest.raises(BadInput, match="resume: "):
        await start(idle_shop.client, "cleanup-expired-carts", CleanUpCarts(resume=state))


async def test_an_order_that_is_already_being_processed_is_counted_as_joined(idle_shop: RunningShop) -> None:
    await idle_shop.data.stock("MUG", main=9)
    await idle_shop.data.order("1", MUG=1)
    await idle_shop.inject_carrier_fault(operation="create", fault="slow", seconds=3, order_id="1")
    async with idle_shop.worker():
        order = await idle_shop.start("1")
        result = await run_job(idle_shop, "process-pending-orders")
        assert (result["seen"], result["joined"], result["skipped"]) == (1, 1, 1)
        assert (await order.result()).status == "fulfilled"


async def test_cancelling_the_job_does_not_cancel_the_orders_it_started(idle_shop: RunningShop) -> None:
    await idle_shop.data.stock("MUG", main=9)
    await idle_shop.data.order("1", MUG=1)
    await idle_shop.inject_carrier_fault(operation="create", fault="slow", seconds=3, order_id="1")
    async with idle_shop.worker():
        job = await start_job(idle_shop, "process-pending-orders")
        while not await idle_shop.data.sql(LABEL_STARTED):  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(0.02)
        await cancel(idle_shop.client, idle_shop.database, job.id, reason="not now")
        with pytest.raises(WorkflowFailureError):
            await job.result()
        assert (await job.describe()).status == WorkflowExecutionStatus.CANCELED
        assert (await idle_shop.handle("1").result()).status == "fulfilled"


async def test_the_stock_sync_sets_stocked_to_the_warehouses_count(shop: RunningShop) -> None:  # (J6)
    await shop.data.stock("MUG", main=5, overflow=2)
    await shop.data.stock("CUP", main=5)
    await shop.data.stock("JUG", main=5)
    levels = [
        {"sku": "MUG", "location": "main", "on_hand": 9},
        {"sku": "CUP", "location": "elsewhere", "on_hand": 3},
        {"sku": "JUG", "location": "main", "on_hand": None},
    ]
    await request_warehouse(shop, "PUT", "/trial/levels", levels)
    result = StockSynced.model_validate(await run_job(shop, "sync-inventory"))
    assert (result.seen, result.changed, result.skipped, result.unknown_locations) == (3, 1, 1, 1)
    assert await shop.data.levels("MUG") == {"main": (9, 0), "overflow": (2, 0)}
    assert await shop.data.levels("JUG") == {"main": (5, 0)}
    assert [(kind, data["change"]) for kind, _, data in await shop.data.events()] == [("inventory.updated", 4)]
    assert (await run_job(shop, "sync-inventory"))["changed"] == 0
    assert await shop.data.breaches() == []


async def test_units_shipped_after_the_warehouses_count_stay_deducted(shop: RunningShop) -> None:  # (J6)
    await shop.data.stock("MUG", main=10)
    await request_warehouse(shop, "PUT", "/trial/levels", [{"sku": "MUG", "location": "main", "on_hand": 8}])
    await shop.data.order("1", MUG=3)
    await shop.process("1")
    await run_job(shop, "sync-inventory")
    assert await shop.data.levels("MUG") == {"main": (5, 0)}
    assert await shop.findings() == []


async def test_a_count_below_the_reserved_quantity_is_stored_and_alerted_once(shop: RunningShop) -> None:  # (I9)
    await shop.data.stock("MUG", main=5)
    await shop.data.order("1", MUG=4, columns={"hold_reason": "cancelled"})
    await shop.data.sql("UPDATE inventory_levels SET reserved_quantity = 4")
    await shop.data.sql(
        """INSERT INTO reservations (order_id, order_line_id, inventory_item_id, location_id, quantity)
           SELECT '1', id, 'MUG', 'main', 4 FROM order_lines"""
    )
    await request_warehouse(shop, "PUT", "/trial/levels", [{"sku": "MUG", "location": "main", "on_hand": 1}])
    assert (await run_job(shop, "sync-inventory"))["oversold"] == 1
    assert (await run_job(shop, "sync-inventory"))["oversold"] == 0
    assert await shop.data.levels("MUG") == {"main": (1, 4)}
    assert len(shop.mails("oversold")) == 1


async def test_the_warehouse_need_not_know_skus_whose_stock_is_not_managed(shop: RunningShop) -> None:  # (J6)
    for sku in ("CUP", "JUG", "MUG", "PAN"):
        await shop.data.stock(sku, main=5)
    for number in range(8):
        await shop.data.variant(f"VOUCHER-{number}", managed=False)
    await shop.data.variant("GIFT", managed=False, items={"MUG": 1})
    levels = [{"sku": sku, "location": "main", "on_hand": 5} for sku in ("CUP", "JUG", "MUG", "PAN")]
    unknown = [{"sku": f"VOUCHER-{number}", "location": "main", "on_hand": None} for number in range(8)]
    await request_warehouse(shop, "PUT", "/trial/levels", [*levels, *unknown])
    result = StockSynced.model_validate(await run_job(shop, "sync-inventory"))
    assert (result.seen, result.skipped) == (4, 0)


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
async def test_a_bad_warehouse_response_changes_nothing_and_alerts_the_admins(
    idle_shop: RunningShop, fault: str, error: str
) -> None:
    shop = idle_shop
    for sku in ("MUG", "CUP", "JUG", "PAN"):
        await shop.data.stock(sku, main=5)
    await request_warehouse(
        shop, "PUT", "/trial/levels", [{"sku": sku, "location": "main", "on_hand": 7} for sku in ("MUG", "PAN")]
    )
    await request_warehouse(shop, "POST", "/trial/faults", {"fault": fault, "times": 1_000})
    async with shop.worker([ShortBackoff()]):
        failure = await expect_job_failure(shop, "sync-inventory")
    assert failure.type == error
    if fault != "half":  # the half that it returns is correct
        assert await shop.data.levels("MUG") == {"main": (5, 0)}
    [alert] = shop.mails("inventory-sync-failure")
    assert "sync-inventory" in alert.as_string() and error in alert.as_string()


async def test_a_day_is_counted_and_reported_once(shop: RunningShop) -> None:  # (J5)
    await shop.data.stock("MUG", main=9)
    await shop.data.order("1", MUG=2)
    options = Analytics(date=date(2026, 3, 2))
    result = AnalyticsResult.model_validate(await run_job(shop, "collect-analytics-data", options))
    assert result.day == date(2026, 3, 2) and result.changed == 1 and result.report_sent
    assert [(row.currency, row.orders, row.revenue) for row in result.currencies] == [("GBP", 1, 500)]
    assert (await run_job(shop, "collect-analytics-data", options))["changed"] == 0
    assert len(shop.mails("daily-report")) == 1


async def test_late_orders_change_counted_days_and_the_next_report_lists_them(
    shop: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:  # (J7)
    monkeypatch.setattr(engine_job, "MAX_HISTORY_EVENTS", 10)  # the job continues as a new run
    await shop.data.stock("MUG", main=9)
    days = [date(2026, 3, day) for day in (1, 2, 3, 4)]
    for day in days[:-1]:
        await run_job(shop, "collect-analytics-data", Analytics(date=day))
    for day in days[:-1]:
        created_at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        await shop.data.order(str(day), ("MUG", 2), columns={"created_at": created_at})
        await shop.data.call(sales.record, [str(day)])
    result = AnalyticsResult.model_validate(await run_job(shop, "collect-analytics-data", Analytics(date=days[-1])))
    assert (result.day, result.seen, result.recounted, result.report_sent) == (days[-1], 1, 3, True)
    assert await shop.data.sql("SELECT revenue, change FROM daily_metrics ORDER BY day") == [
        *[(500, "listed")] * 3,
        (0, None),
    ]
    mails = {mail["X-Commerce-Key"]: text_of(mail) for mail in shop.mails("daily-report")}
    assert len(mails) == len(shop.mails("daily-report")) == 4
    assert "Mon 2 Mar: £5.00 instead of £0.00" in mails["daily-report/2026-03-04"]
    assert not any("instead of" in mails[f"daily-report/{day}"] for day in days[:-1])
    again = await run_job(shop, "collect-analytics-data", Analytics(date=days[-1]))
    assert (again["recounted"], again["changed"]) == (0, 0)


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


async def test_without_a_date_the_day_before_is_counted(shop: RunningShop) -> None:  # (J5)
    result = AnalyticsResult.model_validate(await run_job(shop, "collect-analytics-data"))
    assert result.day == datetime.now(UTC).date() - timedelta(days=1)


async def test_an_unfinished_day_is_reported_under_its_own_key_and_a_future_day_is_refused(shop: RunningShop) -> None:
    today = datetime.now(UTC).date()
    assert (await run_job(shop, "collect-analytics-data", Analytics(date=today)))["report_sent"]
    assert [mail["X-Commerce-Key"] for mail in shop.mails("daily-report")] == [f"daily-report/{today}/so-far"]
    with pytest.raises(WorkflowFailureError) as caught:
        await run_job(shop, "collect-analytics-data", Analytics(date=today + timedelta(days=2)))
    assert isinstance(caught.value.cause, ApplicationError) and caught.value.cause.type == "BadInput"
    assert shop.mails("job-failure") == []  # whoever has started it gets the error


@pytest.mark.parametrize("payloads", [[], [None]], ids=["no payload", "null"])
async def test_jobs_and_product_count_start_without_input(shop: RunningShop, payloads: list[None]) -> None:
    """Temporal's UI and its command line send no payload if the input is left empty; other clients send null."""
    for kind in [*(name for name, kind in PROCESS_TYPES.items() if kind.is_job), "product-count"]:
        given, left_out = [
            await shop.client.execute_workflow(kind, args=args, id=f"{kind}-{uuid4()}", task_queue=TASK_QUEUE)
            for args in ([{}], payloads)
        ]
        assert left_out.keys() == given.keys()


async def test_a_job_that_was_started_without_input_is_retried(idle_shop: RunningShop) -> None:
    process_id = f"cleanup-expired-carts-{uuid4()}"
    async with idle_shop.worker([faults := Faults({"delete-expired-carts": "before"})]):
        job = await idle_shop.client.start_workflow("cleanup-expired-carts", id=process_id, task_queue=TASK_QUEUE)
        with pytest.raises(WorkflowFailureError):
            await job.result()
        faults.steps.clear()
        await retry(idle_shop.client, idle_shop.database, process_id, reason="it works again")
        assert (await idle_shop.client.get_workflow_handle(process_id).result())["failed"] == 0


async def test_what_needs_input_says_so_when_started_without(shop: RunningShop) -> None:
    with pytest.raises(WorkflowFailureError) as caught:
        await shop.client.execute_workflow("hello-world", id=f"hello-{uuid4()}", task_queue=TASK_QUEUE)
    assert shop_error(caught.value) and str(shop_error(caught.value)) == "Invalid input: name: Field required."


async def test_an_order_put_on_hold_during_the_job_is_skipped(idle_shop: RunningShop) -> None:
    await idle_shop.data.stock("MUG", main=9)
    for order_id in ("1", "2", "odd/id"):
        await idle_shop.data.order(order_id, MUG=1)
    async with idle_shop.worker([gate := Gate("validate-order")]):
        job = await start_job(idle_shop, "process-pending-orders", PendingOrders(at_once=1))
        await gate.reached.wait()
        await idle_shop.data.sql("UPDATE orders SET hold_reason = 'cancelled' WHERE id = '2'")
        gate.opened.set()
        result = PendingOrdersResult.model_validate(await job.result())
    assert (result.seen, result.changed, result.skipped, result.failed) == (3, 1, 1, 1)
    assert [(failure.id, failure.reason) for failure in result.failures] == [("odd/id", "BadInput")]
    assert await idle_shop.data.order_columns("2", "fulfillment_status", "hold_reason") == (
        "not_fulfilled",
        "cancelled",
    )


async def test_an_order_is_started_again_when_stock_arrived_while_it_was_being_refused(idle_shop: RunningShop) -> None:
    await idle_shop.data.stock("MUG", main=1)
    await idle_shop.data.order("1", MUG=5)
    async with idle_shop.worker([gate := Gate("record-refusal")]):
        order = await idle_shop.start("1")
        await gate.reached.wait()
        await idle_shop.data.add_stock("MUG", main=9)
        gate.opened.set()
        assert (await order.result()).status == "insufficient_inventory"
        assert (await run_job(idle_shop, "process-pending-orders"))["changed"] == 1


async def test_an_alert_that_could_not_be_queued_at_first_is_sent_later(idle_shop: RunningShop) -> None:
    faults = Faults({"delete-expired-carts": "before", "alert-admins": "before"}, permanent=False)
    async with idle_shop.worker([faults, ShortBackoff()]):
        await expect_job_failure(idle_shop, "cleanup-expired-carts")
    assert len(idle_shop.mails("job-failure")) == 1


async def test_a_job_fails_after_three_errors_and_alerts_the_admins(idle_shop: RunningShop) -> None:  # (J2)
    faults = Faults({"delete-expired-carts": "before"}, permanent=False)
    async with idle_shop.worker([faults, ShortBackoff()]):
        failure = await expect_job_failure(idle_shop, "cleanup-expired-carts")
    assert failure.type == "Refused" and faults.refused == 3
    [alert] = idle_shop.mails("job-failure")
    assert "cleanup-expired-carts" in alert.as_string()


async def test_a_job_waits_for_the_database(idle_shop: RunningShop) -> None:  # (J2)
    await add_cart(idle_shop, "old", A_MONTH_AGO)
    outage = Faults({"delete-expired-carts": "before"}, permanent=False, times=3, error="DatabaseUnavailable")
    async with idle_shop.worker([outage]):
        result = await run_job(idle_shop, "cleanup-expired-carts")
    assert outage.refused == 3
    assert result["changed"] == 1 and idle_shop.mails("job-failure") == []


async def test_a_job_resumes_after_an_error(idle_shop: RunningShop) -> None:  # (J2)
    await add_cart(idle_shop, "old", A_MONTH_AGO)
    faults = Faults({"delete-expired-carts": "after"}, permanent=False, times=1)
    async with idle_shop.worker([faults, ShortBackoff()]):
        result = await run_job(idle_shop, "cleanup-expired-carts")
    assert faults.refused == 1
    assert result["changed"] == 1  # the first attempt deleted it, and the second returns the first one's result
    assert len(await idle_shop.data.events()) == 1 and idle_shop.mails("job-failure") == []


async def test_upkeep_deletes_old_records_unless_they_are_still_needed(shop: RunningShop) -> None:  # (E17)
    await shop.data.stock("MUG", main=9)
    for order_id in ("ended", "held", "fresh"):
        await shop.data.order(order_id, MUG=1)
    await shop.inject_carrier_fault(order_id="held", operation="create", fault="422", times=100)
    await shop.expect_failure("held")
    for order_id in ("ended", "fresh"):
        await shop.process(order_id)
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
    result = UpkeepResult.model_validate(await run_job(shop, "upkeep", Upkeep(batch=1)))
    assert result.changed == 1 + 1 + 2  # the key and the event of the order that has ended, and the mails of two orders
    assert await shop.data.sql(
        "SELECT business_key FROM process_generations WHERE business_key LIKE 'order-%' ORDER BY 1"
    ) == ["order-processing-fresh", "order-processing-held"]
    assert len(await shop.data.events()) == 1
    assert await shop.findings() == []
