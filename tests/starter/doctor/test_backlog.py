"""The doctor's findings and advice when something waits for too long."""

from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import Worker

from activities.hello import HelloActivities
from commerce.database import Database
from commerce.messages.orders import OrderProcessing
from starter.client import start
from starter.processes import TASK_QUEUE
from tests.commerce.shop import Shop
from tests.polling import until
from tests.starter.doctor.conftest import RunCheck
from tests.system.buggy_worker import BuggyWorkflow
from worker import activities_of


async def test_an_old_pending_order(run_check: RunCheck, database: Database) -> None:
    assert (await run_check("Backlog", "pending orders")).found == "0 waiting"
    shop = Shop(database)
    await shop.variant("MUG")
    await shop.order("1", MUG=1)  # placed long ago
    finding = await run_check("Backlog", "pending orders")
    assert (finding.state, finding.advice) == ("warning", "Run: commerce start process-pending-orders")
    assert finding.found.startswith("1 waiting, the oldest for ")


async def test_an_order_that_is_being_processed_does_not_wait(
    run_check: RunCheck, database: Database, shop_client: Client
) -> None:
    """Its run may take long: the carrier is down, or no worker runs."""
    shop = Shop(database)
    await shop.variant("MUG")
    await shop.order("1", MUG=1)
    running = await start(shop_client, "order-processing", OrderProcessing(order_id="1"))

    async def listed() -> bool | None:
        return True if (await run_check("Backlog", "pending orders")).state == "ok" else None

    await until(listed)
    assert (await run_check("Backlog", "pending orders")).found == "0 waiting, 1 being processed"
    await running.terminate()

    async def waits_again() -> bool | None:
        return True if (await run_check("Backlog", "pending orders")).state == "warning" else None

    await until(waits_again)
    assert (await run_check("Backlog", "pending orders")).found.startswith("1 waiting, the oldest for ")


async def test_an_order_that_waits_for_a_product(run_check: RunCheck, database: Database) -> None:
    assert (await run_check("Backlog", "orders without products")).found == "none"
    await Shop(database).order("1", GONE=1)
    finding = await run_check("Backlog", "orders without products")
    assert (finding.state, finding.found) == ("warning", "1 waiting for products")
    assert "commerce products unlinked" in finding.advice
    assert (await run_check("Backlog", "pending orders")).found == "0 waiting"


async def test_an_order_on_hold(run_check: RunCheck, database: Database) -> None:
    assert (await run_check("Backlog", "held orders")).found == "none"
    shop = Shop(database)
    await shop.order("1", MUG=1)
    await shop.sql("UPDATE orders SET hold_reason = 'carrier'")
    finding = await run_check("Backlog", "held orders")
    assert (finding.state, finding.found) == (
        "warning",
        "1 on hold until an operator retries them",
    ) and "commerce runs retry" in finding.advice
    assert (await run_check("Backlog", "pending orders")).found == "0 waiting"


async def test_a_step_that_waits_too_long_for_an_answer(run_check: RunCheck, database: Database) -> None:  # (W5)
    shop = Shop(database)
    await shop.sql("INSERT INTO process_generations VALUES ('order-processing-1', 'g', now())")
    wait = """INSERT INTO step_waits (business_key, generation, step, round, asked_at, until)
              VALUES ('order-processing-1', 'g', :step, 1, now() - interval '1 hour',
                      now() + CAST(:left AS interval))"""
    await shop.sql(wait, step="review-order", left=timedelta(hours=2))
    assert (await run_check("Backlog", "waits for answers")).found == "1 open"
    await shop.sql(wait, step="await-pick", left=timedelta(minutes=30))
    finding = await run_check("Backlog", "waits for answers")
    assert (finding.state, finding.found.split(":")[0]) == ("warning", "1 of 2 past half their time")
    assert "commerce runs answer" in finding.advice


async def test_an_event_that_is_not_published(run_check: RunCheck, database: Database) -> None:
    shop = Shop(database)
    event = "INSERT INTO outbox_events (id, type, aggregate, data, created_at) VALUES (uuidv4(), 'x', 'x', '{}', "
    await shop.sql(event + "now())")
    assert (await run_check("Backlog", "events")).found == "1 unpublished"
    await shop.sql(event + "now() - interval '1 hour')")
    finding = await run_check("Backlog", "events")
    assert finding.state == "warning" and finding.found.startswith("2 unpublished, the oldest for 1:0")
    assert "commerce worker" in finding.advice


async def test_unsent_mails(run_check: RunCheck, database: Database) -> None:
    shop = Shop(database)
    mail = "INSERT INTO notifications (key, kind, recipient, message_id, status, created_at) VALUES "
    await shop.sql(f"{mail} ('new', 'x', 'a@b.example', '1', 'queued', now())")
    assert (await run_check("Backlog", "mails")).state == "ok"
    await shop.sql(f"{mail} ('late', 'x', 'a@b.example', '2', 'queued', now() - interval '1 hour')")
    await shop.sql(f"{mail} ('lost', 'x', 'a@b.example', '3', 'failed', now())")
    finding = await run_check("Backlog", "mails")
    assert (finding.state, finding.found) == (
        "warning",
        "1 unsent for over ten minutes, 1 failed permanently since yesterday",
    )
    assert "NotificationsUnsent" in finding.advice and "a@b.example" not in str(finding)


async def test_a_stuck_run(run_check: RunCheck, shop_client: Client) -> None:
    assert (await run_check("Backlog", "stuck runs")).found == "none"
    async with Worker(
        shop_client, task_queue=TASK_QUEUE, workflows=[BuggyWorkflow], activities=activities_of(HelloActivities())
    ):
        await shop_client.start_workflow(
            "order-processing",
            OrderProcessing(order_id="1"),
            id="order-processing-1",
            task_queue=TASK_QUEUE,
            task_timeout=timedelta(seconds=1),  # Temporal retries the failing task after it
        )

        async def advice() -> str | None:
            finding = await run_check("Backlog", "stuck runs")
            return finding.advice if (finding.state, finding.found) == ("warning", "1 stuck") else None

        assert await until(advice) == "Run: commerce runs stuck; commerce runs show ID"
