"""What the doctor finds in a shop where something waits for too long."""

from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import Worker

from activities.hello import HelloActivities
from commerce.database import Database
from commerce.messages.orders import OrderProcessing
from starter.processes import TASK_QUEUE
from tests.commerce.shop import Shop
from tests.polling import until
from tests.starter.doctor.conftest import Find
from tests.system.buggy_worker import BuggyProcess
from worker import activities_of


async def test_an_order_that_nobody_processes(find: Find, database: Database) -> None:
    assert (await find("State", "pending orders")).found == "0 wait"
    await Shop(database).order("1", MUG=1)  # placed long ago
    found = await find("State", "pending orders")
    assert (found.state, found.cure) == ("warning", "commerce start process-pending-orders")
    assert found.found.startswith("1 wait, the oldest for ")


async def test_an_order_on_hold(find: Find, database: Database) -> None:
    assert (await find("State", "held orders")).found == "none"
    shop = Shop(database)
    await shop.order("1", MUG=1)
    await shop.sql("UPDATE orders SET hold_reason = 'carrier'")
    found = await find("State", "held orders")
    assert (found.state, found.found) == ("warning", "1 wait for a person") and "commerce runs retry" in found.cure
    assert (await find("State", "pending orders")).found == "0 wait"


async def test_an_event_that_is_not_given_on(find: Find, database: Database) -> None:
    shop = Shop(database)
    event = "INSERT INTO outbox_events (id, type, aggregate, data, created_at) VALUES (uuidv4(), 'x', 'x', '{}', "
    await shop.sql(event + "now())")
    assert (await find("State", "events")).found == "1 not given on yet"
    await shop.sql(event + "now() - interval '1 hour')")
    found = await find("State", "events")
    assert (found.state, found.found) == ("warning", "2 not given on, the oldest for 1:00:00")
    assert "commerce worker" in found.cure


async def test_mails_that_are_not_sent(find: Find, database: Database) -> None:
    shop = Shop(database)
    mail = "INSERT INTO notifications (key, kind, recipient, message_id, status, created_at) VALUES "
    await shop.sql(f"{mail} ('new', 'x', 'a@b.example', '1', 'queued', now())")
    assert (await find("State", "mails")).state == "ok"
    await shop.sql(f"{mail} ('late', 'x', 'a@b.example', '2', 'queued', now() - interval '1 hour')")
    await shop.sql(f"{mail} ('lost', 'x', 'a@b.example', '3', 'failed', now())")
    found = await find("State", "mails")
    assert (found.state, found.found) == (
        "warning",
        "1 not sent for ten minutes, 1 failed for good since yesterday",
    )
    assert "NotificationsUnsent" in found.cure and "a@b.example" not in str(found)


async def test_a_run_whose_code_fails(find: Find, here: Client) -> None:
    assert (await find("State", "stuck runs")).found == "none"
    async with Worker(
        here, task_queue=TASK_QUEUE, workflows=[BuggyProcess], activities=activities_of(HelloActivities())
    ):
        await here.start_workflow(
            "order-processing",
            OrderProcessing(order_id="1"),
            id="order-processing-1",
            task_queue=TASK_QUEUE,
            task_timeout=timedelta(seconds=1),  # a bug is tried again once that is over
        )

        async def told() -> str | None:
            found = await find("State", "stuck runs")
            return found.cure if (found.state, found.found) == ("warning", "1") else None

        assert await until(told) == "commerce runs stuck; then commerce runs show ID"
