"""The gauges: their values for each state of the shop, and that outages do not stop them."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from sqlalchemy import text
from temporalio.client import Client
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode

from commerce import backlog
from commerce.database import Database
from commerce.errors import Unreachable
from commerce.messages.orders import order_process_id
from commerce.messages.pending_orders import PendingPageRequest
from commerce.open_orders import list_pending
from starter.operate.gauges import Gauges
from starter.telemetry.metrics import create_runtime
from tests.commerce.shop import Shop
from tests.conftest import free_port
from tests.scraping import Scrape, scrape

INSERT_NOTIFICATION = """
    INSERT INTO notifications (key, kind, recipient, message_id, status, created_at)
    VALUES (:key, 'order-shipped', 'ann@customer.example', '', :status, now() - CAST(:ago AS interval))
"""
INSERT_EVENT = """
    INSERT INTO outbox_events (id, type, aggregate, data, created_at, published_at)
    VALUES (uuidv7(), 'cart.expired', 'cart/1', '{}', now() - interval '90 seconds', CAST(:published AS timestamptz))
"""
SHOP_GAUGES = (
    "commerce_pending_orders",
    "commerce_oldest_pending_order_age_seconds",
    "commerce_held_orders",
    "commerce_orders_waiting_for_product",
    "commerce_open_waits",
    "commerce_oldest_wait_age_seconds",
    "commerce_late_waits",
    "commerce_outbox_events",
    "commerce_outbox_lag_seconds",
    "commerce_unsent_notifications",
)


@pytest.fixture
def shop(database: Database) -> Shop:
    return Shop(database)


@pytest.fixture
def address() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def runtime(address: str) -> Runtime:
    return create_runtime(address)


Measure = Callable[..., Awaitable[Scrape]]


@pytest.fixture
async def measure(runtime: Runtime, address: str, database: Database, client: Client) -> AsyncIterator[Measure]:
    """Update the gauges once, from this database and Temporal or from others, and return the metrics."""

    async def connect() -> Client:
        return client

    async def update(at: Database = database, temporal: Callable[[], Awaitable[Client]] = connect) -> Scrape:
        await Gauges(runtime.metric_meter, at, temporal).update()
        return await scrape(f"http://{address}/metrics")

    yield update


async def fail_to_connect() -> Client:
    raise Unreachable("Temporal does not answer at nowhere")


async def test_an_empty_shop_has_zeros(measure: Measure) -> None:
    metrics = await measure()
    assert metrics.value("commerce_database_up") == metrics.value("commerce_temporal_up") == 1
    assert {name: metrics.value(name) for name in SHOP_GAUGES} == dict.fromkeys(SHOP_GAUGES, 0)
    assert metrics.value("commerce_stuck_runs") == 0


async def test_pending_orders_are_those_the_job_would_process(measure: Measure, shop: Shop) -> None:
    hour = datetime.now(UTC) - timedelta(hours=1)
    await shop.stock("MUG", main=1)
    await shop.order("free", MUG=1, columns={"created_at": hour})
    await shop.order("held", MUG=1, columns={"hold_reason": "failed: CarrierRefused"})
    await shop.order("refunded meanwhile", MUG=1, columns={"hold_reason": "cancelled", "payment_status": "refunded"})
    await shop.order("unpaid", MUG=1, columns={"payment_status": "authorized"})
    await shop.order("short", MUG=2, columns={"waits_for_backorders": False})
    await shop.order("done", MUG=1, columns={"fulfillment_status": "fulfilled"})
    await shop.order("incomplete", MUG=1, GONE=1)
    assert (await shop.call(list_pending, PendingPageRequest(limit=10))).order_ids == ["free"]
    metrics = await measure()
    assert metrics.value("commerce_pending_orders") == 1
    assert metrics.value("commerce_oldest_pending_order_age_seconds") == pytest.approx(3600, abs=60)
    assert metrics.value("commerce_held_orders") == 1
    assert metrics.value("commerce_orders_waiting_for_product") == 1


async def test_unpublished_events_and_unsent_mails_are_counted(measure: Measure, shop: Shop) -> None:
    for published in (None, None, datetime.now(UTC)):
        await shop.sql(INSERT_EVENT, published=published)
    for status in ("queued", "sending", "sent", "failed"):
        for ago in ("1 minute", "11 minutes", "25 hours"):
            await shop.sql(INSERT_NOTIFICATION, key=f"{status} {ago}", status=status, ago=timedelta_of(ago))
    metrics = await measure()
    assert metrics.value("commerce_outbox_events") == 2
    assert metrics.value("commerce_outbox_lag_seconds") == pytest.approx(90, abs=60)
    assert metrics.by("status", "commerce_unsent_notifications") == {"queued": 4, "failed": 2}


async def test_what_is_dated_in_the_future_has_no_age(measure: Measure, shop: Shop) -> None:
    """An event is newer than a transaction that began before it; the clock of an order's source may be ahead.

    Temporal's SDK refuses negative values, so one of them would end the worker.
    """
    hour = datetime.now(UTC) + timedelta(hours=1)
    await shop.stock("MUG", main=1)
    await shop.order("early", MUG=1, columns={"created_at": hour})
    await shop.sql(INSERT_EVENT, published=None)
    await shop.sql("UPDATE outbox_events SET created_at = now() + interval '1 hour'")
    metrics = await measure()
    assert metrics.value("commerce_pending_orders") == metrics.value("commerce_outbox_events") == 1
    assert metrics.value("commerce_oldest_pending_order_age_seconds") == 0
    assert metrics.value("commerce_outbox_lag_seconds") == 0
    assert await shop.call(backlog.measure_pending, []) == (1, 0, 0)


def timedelta_of(ago: str) -> timedelta:
    number, unit = ago.split()
    return timedelta(**{unit if unit.endswith("s") else f"{unit}s": int(number)})


async def test_a_value_that_cannot_be_measured_is_nan(measure: Measure, shop: Shop, runtime: Runtime) -> None:
    unreachable = Database(f"postgresql://commerce@127.0.0.1:{free_port()}/x")
    await measure()
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            metrics = await measure(unreachable, fail_to_connect)
    assert metrics.value("commerce_database_up") == metrics.value("commerce_temporal_up") == 0
    unknown = (*SHOP_GAUGES, "commerce_worker_polling", "commerce_stuck_runs")
    assert all(math.isnan(metrics.value(name)) for name in unknown)
    assert len(logged) == 6  # three new Gauges, and each logs both outages once
    metrics = await measure()
    assert metrics.value("commerce_database_up") == 1
    assert not any(math.isnan(metrics.value(name)) for name in unknown)


async def test_an_outage_and_its_end_are_each_logged_once(
    runtime: Runtime, address: str, database: Database, client: Client
) -> None:
    reachable = False

    async def connect() -> Client:
        return client if reachable else await fail_to_connect()

    gauges = Gauges(runtime.metric_meter, database, connect)
    with structlog.testing.capture_logs() as logged:
        await gauges.update()
        await gauges.update()
        reachable = True
        await gauges.update()
    assert [entry["event"] for entry in logged] == ["Temporal does not answer", "Temporal answers again"]
    assert logged[0]["error"] == "Unreachable" and not logged[0]["exc_info"]


async def test_a_refused_key_is_named(runtime: Runtime, database: Database) -> None:
    async def connect() -> Client:
        raise RPCError("Request unauthorized.", RPCStatusCode.PERMISSION_DENIED, b"")

    with structlog.testing.capture_logs() as logged:
        await Gauges(runtime.metric_meter, database, connect).update()
    assert logged[0]["error"] == "RPCError: check the permissions of TEMPORAL_API_KEY"


async def test_a_database_with_an_old_schema_is_up_but_has_no_backlog(measure: Measure, shop: Shop) -> None:
    await shop.owner_sql("ALTER TABLE orders RENAME COLUMN hold_reason TO reason")
    metrics = await measure()
    assert metrics.value("commerce_database_up") == 1
    assert math.isnan(metrics.value("commerce_pending_orders"))


@pytest.mark.parametrize("index", ["ix_orders_open", "ix_orders_on_hold", "ix_notifications_unsent"])
async def test_measuring_the_backlog_reads_partial_indexes_only(shop: Shop, index: str) -> None:
    """With sequential scans disabled, each count uses the index of the open rows."""
    async with shop.database.transaction() as tx:
        await tx.execute(text("SET LOCAL enable_seqscan = off"))
        plan = await tx.execute(text(f"EXPLAIN {backlog.MEASURE.text}"))
        assert index in "\n".join(row[0] for row in plan)


async def test_steps_that_wait_are_counted_and_their_orders_are_not_pending(shop: Shop, measure: Measure) -> None:
    """An order is late when the time of its wait is over. A wait that a newer run has replaced does not count."""
    await shop.stock("MUG", main=9)
    for number, (generation, left) in enumerate([("g1", "30 hours"), ("g1", "10 hours"), ("older", "1 hour")], 1):
        await shop.order(str(number), MUG=1)
        key = order_process_id(str(number))
        await shop.sql("INSERT INTO process_generations VALUES (:key, 'g1', now())", key=key)
        await shop.sql(
            """INSERT INTO step_waits (business_key, generation, step, round, asked_at, until)
               VALUES (:key, :generation, 'review-order', 1, now() - interval '20 hours',
                       now() + CAST(CAST(:left AS text) AS interval))""",
            key=key, generation=generation, left=left,
        )  # fmt: skip
    metrics = await measure()
    assert metrics.value("commerce_open_waits") == 2
    assert 72_000 <= metrics.value("commerce_oldest_wait_age_seconds") < 73_000
    assert metrics.value("commerce_late_waits") == 1
    assert metrics.value("commerce_pending_orders") == 1
