"""What the recorded runs went through; each scene makes one and returns the id of its process."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import date
from typing import Any

from temporalio.client import WorkflowFailureError

from commerce import outbox, webhooks
from commerce.errors import CommerceError
from commerce.messages.analytics import Analytics
from commerce.messages.base import Message
from commerce.messages.carts import CleanUpCarts
from commerce.messages.customers import registration_process_id
from commerce.messages.orders import order_process_id
from commerce.messages.pending_orders import PendingOrders
from commerce.messages.stock_sync import SyncInventory
from commerce.messages.tutorial import CountProducts, HelloWorld
from commerce.messages.upkeep import Upkeep
from commerce.messages.webhooks import WebhookDelivery
from commerce.outbox import NewEvent, event_id
from starter.client import register_customer, start
from starter.processes import TASK_QUEUE
from tests.faults import Faults
from tests.running_shop import RunningShop, wait_for_end
from tests.webhook_receiver import webhook_receiver

FAULTS = Faults({}, permanent=True)
CARTS = """
    INSERT INTO carts (id, currency, created_at, updated_at)
    SELECT 'C' || n, 'GBP', '2026-01-01', '2026-01-01' FROM generate_series(1, 3) AS n
"""
LABELLING = "SELECT 1 FROM step_ledger WHERE step = 'create-shipping-label' AND business_key = :key"


async def fulfilled(shop: RunningShop, order_id: str) -> str:
    """Everything goes well, with label and mail."""
    await shop.data.order(order_id, MUG=1)
    await shop.process(order_id)
    return order_process_id(order_id)


async def without_label(shop: RunningShop, order_id: str) -> str:
    """Nothing is shipped, and there is nobody to tell."""
    await shop.data.order(order_id, MUG=1, columns={"shipping_method": None, "email": None})
    await shop.process(order_id)
    return order_process_id(order_id)


async def insufficient(shop: RunningShop, order_id: str) -> str:
    """The check finds too little stock."""
    await shop.data.order(order_id, MUG=1_000)
    await shop.process(order_id)
    return order_process_id(order_id)


async def refused_by_carrier(shop: RunningShop, order_id: str) -> str:
    """No label can be bought, so everything is undone."""
    await shop.data.order(order_id, MUG=1)
    await shop.inject_carrier_fault(operation="buy", fault="422", order_id=order_id)
    await shop.expect_failure(order_id)
    return order_process_id(order_id)


async def cancelled(shop: RunningShop, order_id: str) -> str:
    """An operator cancels while the label is bought."""
    await shop.data.order(order_id, MUG=1)
    await cancel_while_buying(shop, order_id)
    return order_process_id(order_id)


async def compensation_failed(shop: RunningShop, order_id: str) -> str:
    """It is cancelled, and the carrier does not take its label back."""
    await shop.data.order(order_id, MUG=1)
    await shop.inject_carrier_fault(operation="refund", fault="422", order_id=order_id)
    await cancel_while_buying(shop, order_id)
    return order_process_id(order_id)


async def notification_failed(shop: RunningShop, order_id: str) -> str:
    """The customer's mail server refuses the mail for good."""
    await shop.data.order(order_id, MUG=1, columns={"email": "ann@refused.example"})
    await shop.process(order_id)
    return order_process_id(order_id)


async def leftovers(shop: RunningShop, order_id: str) -> str:
    """An earlier run was terminated; this one undoes what it left, and fulfills the order."""
    await shop.data.order(order_id, MUG=1)
    await shop.inject_carrier_fault(operation="create", fault="500", order_id=order_id)
    handle = await shop.start(order_id)
    while await shop.data.sql(LABELLING, key=handle.id) == []:  # noqa: ASYNC110 - it looks at what a server did
        await asyncio.sleep(0.02)
    await handle.terminate()
    await shop.clear_carrier_faults()
    await shop.process(order_id)
    return order_process_id(order_id)


async def cancel_while_buying(shop: RunningShop, order_id: str) -> None:
    await shop.inject_carrier_fault(operation="buy", fault="slow", seconds=2, times=1, order_id=order_id)
    handle = await shop.start(order_id)
    async for event in handle.fetch_history_events(wait_new_event=True):
        if event.activity_task_scheduled_event_attributes.activity_type.name == "create-shipping-label":
            break
    await handle.cancel()
    await wait_for_end(handle)


async def registered(shop: RunningShop, name: str) -> str:
    """A customer gets an account."""
    return await register(shop, f"{name}@shop.example")


async def registration_undone(shop: RunningShop, name: str) -> str:
    """The last step is refused, so everything is undone."""
    FAULTS.steps["assign-customer-group"] = "before"
    process_id = await register(shop, f"{name}@shop.example")
    FAULTS.steps.clear()
    return process_id


async def not_welcomed(shop: RunningShop, name: str) -> str:
    """The customer's mail server refuses the mail for good; the account stays."""
    return await register(shop, f"{name}@refused.example")


async def carts_cleaned(shop: RunningShop, name: str) -> str:
    """Old carts go in two batches."""
    await shop.data.sql(CARTS)
    return await run(shop, "cleanup-expired-carts", name, CleanUpCarts(batch=2))


async def job_failed(shop: RunningShop, name: str) -> str:
    """The step of a job is refused for good."""
    FAULTS.steps["delete-expired-carts"] = "before"
    process_id = await run(shop, "cleanup-expired-carts", name, CleanUpCarts())
    FAULTS.steps.clear()
    return process_id


async def stock_synced(shop: RunningShop, name: str) -> str:
    """The warehouse agrees."""
    return await run(shop, "sync-inventory", name, SyncInventory())


async def pending_worked_off(shop: RunningShop, name: str) -> str:
    """Two orders wait, one of them without stock."""
    await shop.data.order(f"{name}-1", MUG=1)
    await shop.data.order(f"{name}-2", MUG=1_000)
    return await run(shop, "process-pending-orders", name, PendingOrders())


async def day_counted(shop: RunningShop, name: str) -> str:
    """A day is counted and reported."""
    return await run(shop, "collect-analytics-data", name, Analytics(date=date(2026, 3, 2)))


async def upkept(shop: RunningShop, name: str) -> str:
    """Nothing is old."""
    return await run(shop, "upkeep", name, Upkeep())


async def hello_world(shop: RunningShop, name: str) -> str:
    """John is greeted."""
    return await run(shop, "hello-world", name, HelloWorld(name="John"))


async def product_count(shop: RunningShop, name: str) -> str:
    """The products are counted."""
    return await run(shop, "product-count", name, CountProducts())


async def webhook_delivered(shop: RunningShop, _name: str) -> str:
    """An event is posted once the one before it is, which its receiver did not take at first."""
    async with webhook_receiver() as receiver:
        receiver.answer, receiver.headers = 503, {"Retry-After": "2"}
        endpoint = await shop.data.call(webhooks.add, receiver.url)
        receiver.secret = endpoint.secret
        events = [NewEvent(f"{receiver.url}/{number}", "cart.expired", "cart/1", {"number": number}) for number in (1, 2)]
        await shop.data.call(outbox.add, *events)
        first, second = (WebhookDelivery(endpoint_id=endpoint.id, event_id=event_id(event.key)) for event in events)
        await start(shop.client, "deliver-webhook", first)
        while not receiver.asked:  # noqa: ASYNC110 - it looks at what a server did
            await asyncio.sleep(0.01)
        handle = await start(shop.client, "deliver-webhook", second.model_copy(update={"after": first.event_id}))
        receiver.answer = 204
        await handle.result()
    return handle.id


async def register(shop: RunningShop, email: str) -> str:
    facts = {"email": email, "password": "correct horse", "first_name": "Ann", "last_name": "Miller"}
    with suppress(CommerceError):
        await register_customer(shop.client, **facts)
    return registration_process_id(email)


async def run(shop: RunningShop, job: str, job_id: str, options: Message) -> str:
    handle: Any = await shop.client.start_workflow(job, options, id=job_id, task_queue=TASK_QUEUE)
    with suppress(WorkflowFailureError):
        await handle.result()
    return job_id


SCENARIOS: dict[str, Callable[[RunningShop, str], Awaitable[str]]] = {
    "fulfilled": fulfilled,
    "without-label": without_label,
    "insufficient": insufficient,
    "refused-by-carrier": refused_by_carrier,
    "cancelled": cancelled,
    "compensation-failed": compensation_failed,
    "notification-failed": notification_failed,
    "leftovers": leftovers,
    "registered": registered,
    "registration-undone": registration_undone,
    "not-welcomed": not_welcomed,
    "carts-cleaned": carts_cleaned,
    "job-failed": job_failed,
    "stock-synced": stock_synced,
    "pending-worked-off": pending_worked_off,
    "day-counted": day_counted,
    "upkept": upkept,
    "hello-world": hello_world,
    "product-count": product_count,
    "webhook-delivered": webhook_delivered,
}
