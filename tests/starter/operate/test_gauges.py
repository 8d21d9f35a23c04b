"""The vitals: what they say of a shop in each state, and that they outlive whatever is away."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from temporalio.client import Client
from temporalio.runtime import Runtime

from commerce import backlog
from commerce.database import Database
from commerce.errors import Unreachable
from commerce.messages.pending_orders import PendingPage
from commerce.orders import list_pending
from starter.operate.gauges import Gauges
from starter.telemetry.metrics import create_runtime
from tests.commerce.shop import Shop
from tests.conftest import free_port
from tests.scraping import Scrape, scrape

NOTIFY = """
    INSERT INTO notifications (key, kind, recipient, message_id, status, created_at)
    VALUES (:key, 'order-shipped', 'ann@customer.example', '', :status, now() - CAST(:ago AS interval))
"""
PUBLISH = """
    INSERT INTO outbox_events (id, type, aggregate, data, created_at, published_at)
    VALUES (uuidv7(), 'cart.expired', 'cart/1', '{}', now() - interval '90 seconds', CAST(:published AS timestamptz))
"""
OF_THE_SHOP = (
    "commerce_pending_orders",
    "commerce_oldest_pending_order_age_seconds",
    "commerce_held_orders",
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
def measured(address: str) -> Runtime:
    return create_runtime(address)


Look = Callable[..., Awaitable[Scrape]]


@pytest.fixture
async def look(measured: Runtime, address: str, database: Database, client: Client) -> AsyncIterator[Look]:
    """Look once, at this database and this Temporal or at others, and return what is shown then."""

    async def connected() -> Client:
        return client

    async def looked(at: Database = database, temporal: Callable[[], Awaitable[Client]] = connected) -> Scrape:
        await Gauges(measured.metric_meter, at, temporal).look()
        return await scrape(f"http://{address}/metrics")

    yield looked


async def nowhere() -> Client:
    raise Unreachable("Temporal does not answer at nowhere")


async def test_of_an_empty_shop_all_is_zero(look: Look) -> None:
    told = await look()
    assert told.value("commerce_database_up") == told.value("commerce_temporal_up") == 1
    assert {name: told.value(name) for name in OF_THE_SHOP} == dict.fromkeys(OF_THE_SHOP, 0)
    assert told.value("commerce_stuck_runs") == 0


async def test_pending_is_what_the_job_would_take_up(look: Look, shop: Shop) -> None:
    hour = datetime.now(UTC) - timedelta(hours=1)
    await shop.stock("MUG", main=1)
    await shop.order("free", MUG=1, facts={"created_at": hour})
    await shop.order("held", MUG=1, facts={"hold_reason": "failed: CarrierRefused"})
    await shop.order("refunded meanwhile", MUG=1, facts={"hold_reason": "cancelled", "payment_status": "refunded"})
    await shop.order("unpaid", MUG=1, facts={"payment_status": "authorized"})
    await shop.order("short", MUG=1, facts={"refused_at": datetime.now(UTC)})
    await shop.order("done", MUG=1, facts={"fulfillment_status": "fulfilled"})
    assert (await shop.do(list_pending, PendingPage(limit=10))).order_ids == ["free"]
    told = await look()
    assert told.value("commerce_pending_orders") == 1
    assert told.value("commerce_oldest_pending_order_age_seconds") == pytest.approx(3600, abs=60)
    assert told.value("commerce_held_orders") == 1


async def test_events_that_wait_and_mails_that_were_not_sent(look: Look, shop: Shop) -> None:
    for published in (None, None, datetime.now(UTC)):
        await shop.sql(PUBLISH, published=published)
    for status in ("queued", "sending", "sent", "failed"):
        for ago in ("1 minute", "11 minutes", "25 hours"):
            await shop.sql(NOTIFY, key=f"{status} {ago}", status=status, ago=timedelta_of(ago))
    told = await look()
    assert told.value("commerce_outbox_events") == 2
    assert told.value("commerce_outbox_lag_seconds") == pytest.approx(90, abs=60)
    assert told.by("status", "commerce_unsent_notifications") == {"queued": 4, "failed": 2}


def timedelta_of(ago: str) -> timedelta:
    number, unit = ago.split()
    return timedelta(**{unit if unit.endswith("s") else f"{unit}s": int(number)})


async def test_what_cannot_be_seen_is_no_number(look: Look, shop: Shop, measured: Runtime) -> None:
    away = Database(f"postgresql://commerce@127.0.0.1:{free_port()}/x")
    await look()
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            told = await look(away, nowhere)
    assert told.value("commerce_database_up") == told.value("commerce_temporal_up") == 0
    unseen = (*OF_THE_SHOP, "commerce_worker_polling", "commerce_stuck_runs")
    assert all(math.isnan(told.value(name)) for name in unseen)
    assert len(logged) == 6  # each of three lookers told of both, see below
    told = await look()
    assert told.value("commerce_database_up") == 1
    assert not any(math.isnan(told.value(name)) for name in unseen)


async def test_an_outage_is_told_once_and_so_is_its_end(
    measured: Runtime, address: str, database: Database, client: Client
) -> None:
    there = False

    async def sometimes() -> Client:
        return client if there else await nowhere()

    vitals_of_one = Gauges(measured.metric_meter, database, sometimes)
    with structlog.testing.capture_logs() as logged:
        await vitals_of_one.look()
        await vitals_of_one.look()
        there = True
        await vitals_of_one.look()
    assert [entry["event"] for entry in logged] == ["Temporal does not answer", "Temporal answers again"]
    assert logged[0]["error"] == "Unreachable" and not logged[0]["exc_info"]


async def test_a_schema_that_is_not_migrated_is_told_apart_from_a_database_that_is_away(look: Look, shop: Shop) -> None:
    await shop.sql("ALTER TABLE orders RENAME COLUMN hold_reason TO reason")
    told = await look()
    assert told.value("commerce_database_up") == 1
    assert math.isnan(told.value("commerce_pending_orders"))


@pytest.mark.parametrize("index", ["ix_orders_pending", "ix_orders_held", "ix_notifications_unsent"])
async def test_what_is_done_with_is_not_read(shop: Shop, index: str) -> None:
    """Without statistics and with sequential scans made dear, each count takes the index of what is open."""
    async with shop.database.transaction() as tx:
        await (await tx.connection()).exec_driver_sql("SET LOCAL enable_seqscan = off")
        plan = await (await tx.connection()).exec_driver_sql(f"EXPLAIN {backlog.LOOK.text}")
        assert index in "\n".join(row[0] for row in plan)
