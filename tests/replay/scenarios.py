"""Scenarios of the recorded runs.

Each one runs a process to its end and returns the process id, or `PROCESS/RUN` if it is not the latest run."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, date, datetime
from functools import partial
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowFailureError
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from commerce import outbox, sales, webhooks
from commerce.errors import CommerceError
from commerce.messages.analytics import Analytics
from commerce.messages.base import Message
from commerce.messages.cancellations import CancelOrder
from commerce.messages.carts import CleanUpCarts
from commerce.messages.customers import registration_process_id
from commerce.messages.forgetting import ForgetCustomer
from commerce.messages.orders import OrderChange, OrderProcessing, order_process_id
from commerce.messages.pending_orders import PendingOrders
from commerce.messages.picks import PickLine
from commerce.messages.returns import AWAIT, Item, ReturnOrder
from commerce.messages.stock_sync import SyncInventory
from commerce.messages.tutorial import CountProducts, HelloWorld
from commerce.messages.upkeep import Upkeep
from commerce.messages.waits import Answer
from commerce.messages.webhooks import WebhookDelivery
from commerce.outbox import NewEvent, event_id
from starter.client import register_customer, start
from starter.entries import Registration
from starter.operate.answers import answer
from starter.operate.picks import answer_pick
from starter.processes import TASK_QUEUE
from tests.faults import AnswerHold, Faults
from tests.polling import until_lock_wait
from tests.running_shop import Handle, RunningShop, carrier_client, wait_for_end
from tests.webhook_receiver import webhook_receiver
from workflows.engine.search_attributes import FAILED_STEP, SAGA_STATE
from workflows.order_processing import OrderProcessingWorkflow

FAULTS = Faults({}, permanent=True)
HELD = AnswerHold("complete-order")  # after it has committed; only while a scenario says so
HELD.opened.set()
FIRST_TASK_COMPLETED = 4  # the id of the event
INSERT_CARTS = """
    INSERT INTO carts (id, currency, created_at, updated_at)
    SELECT 'C' || n, 'GBP', '2026-01-01', '2026-01-01' FROM generate_series(1, 3) AS n
"""
MAILED = "SELECT 1 FROM notifications WHERE recipient = :to AND status = 'sent'"
PICK = "SELECT CAST(id AS text) FROM picks WHERE business_key = :key"
LABEL_STARTED = "SELECT 1 FROM step_ledger WHERE step = 'create-shipping-label' AND business_key = :key"


async def fulfilled(shop: RunningShop, order_id: str) -> str:
    """The order is fulfilled, with a label and a mail."""
    await shop.data.order(order_id, MUG=1)
    await shop.process(order_id)
    return order_process_id(order_id)


async def without_label(shop: RunningShop, order_id: str) -> str:
    """The order has neither a shipping method nor an e-mail address."""
    await shop.data.order(order_id, MUG=1, columns={"shipping_method": None, "email": None})
    await shop.process(order_id)
    return order_process_id(order_id)


async def insufficient(shop: RunningShop, order_id: str) -> str:
    """The check finds too little stock."""
    await shop.data.order(order_id, MUG=1_000)
    await shop.process(order_id)
    return order_process_id(order_id)


async def refused_by_carrier(shop: RunningShop, order_id: str) -> str:
    """The carrier refuses to sell a label, so all steps are undone."""
    await shop.data.order(order_id, MUG=1)
    await shop.inject_carrier_fault(operation="buy", fault="422", order_id=order_id)
    await shop.expect_failure(order_id)
    return order_process_id(order_id)


async def cancelled(shop: RunningShop, order_id: str) -> str:
    """The order is cancelled while the label is being bought."""
    await shop.data.order(order_id, MUG=1)
    await cancel_while_buying(shop, order_id)
    return order_process_id(order_id)


async def compensation_failed(shop: RunningShop, order_id: str) -> str:
    """The order is cancelled, and the carrier refuses to refund the label."""
    await shop.data.order(order_id, MUG=1)
    await shop.inject_carrier_fault(operation="refund", fault="422", order_id=order_id)
    await cancel_while_buying(shop, order_id)
    return order_process_id(order_id)


async def notification_failed(shop: RunningShop, order_id: str) -> str:
    """The customer's mail server refuses the mail permanently."""
    await shop.data.order(order_id, MUG=1, columns={"email": "ann@refused.example"})
    await shop.process(order_id)
    return order_process_id(order_id)


async def leftovers(shop: RunningShop, order_id: str) -> str:
    """An earlier run was terminated. The recorded run undoes its leftovers and fulfills the order."""
    await shop.data.order(order_id, MUG=1)
    await shop.inject_carrier_fault(operation="create", fault="500", order_id=order_id)
    handle = await shop.start(order_id)
    while await shop.data.sql(LABEL_STARTED, key=handle.id) == []:  # noqa: ASYNC110 - polls a server
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


async def cancelled_at_first(shop: RunningShop, order_id: str) -> str:
    """The order is cancelled while its first step is being retried."""
    await shop.data.order(order_id, MUG=1)
    FAULTS.steps["validate-order"], FAULTS.permanent = "before", False
    handle = await shop.start(order_id)
    refused = FAULTS.refused
    while FAULTS.refused == refused:  # noqa: ASYNC110 - polls a server
        await asyncio.sleep(0.01)
    await handle.cancel()
    await asyncio.sleep(0.5)  # the run has received the cancel before the step succeeds
    FAULTS.steps.clear()
    FAULTS.permanent = True
    await wait_for_end(handle)
    return handle.id


async def start_review(shop: RunningShop, order_id: str) -> Handle:
    """Start an order of high risk, and wait until it waits for its review."""
    await shop.data.order(order_id, MUG=1, columns={"risk_level": "high"})
    return await shop.start_until_waiting(order_id, "review-order")


async def review_approved(shop: RunningShop, order_id: str) -> str:
    """The order is approved after it was asked a second time."""
    handle = await start_review(shop, order_id)
    await handle.execute_update("answer-step", {"step": "review-order", "answer": "retry"})
    while (await shop.states(order_id)).get("review-order/2") != "waiting":  # noqa: ASYNC110 - polls a server
        await asyncio.sleep(0.05)
    await handle.execute_update("answer-step", {"step": "review-order", "answer": "success"})
    await wait_for_end(handle)
    return handle.id


async def review_rejected(shop: RunningShop, order_id: str) -> str:
    """The order is rejected, by an answer that is recorded before it is delivered."""
    handle = await start_review(shop, order_id)
    no = Answer(answer="failure", reason="not known there")
    await answer(shop.client, shop.database, handle.id, "review-order", no, by="test")
    await wait_for_end(handle)
    return handle.id


async def review_cancelled(shop: RunningShop, order_id: str) -> str:
    """The order is cancelled while it waits."""
    handle = await start_review(shop, order_id)
    await handle.cancel()
    await wait_for_end(handle)
    return handle.id


async def local_fails_twice(shop: RunningShop, order_id: str, step: str = "reserve-inventory") -> str:
    """Both local tries of a step fail, so it continues as a regular activity."""
    await shop.data.order(order_id, MUG=1)
    with database_outage(step):
        FAULTS.times = 2
        await shop.process(order_id)
    return order_process_id(order_id)


async def cancelled_too_late(shop: RunningShop, order_id: str) -> str:
    """The order is cancelled when its final step is committed, and history does not have that yet."""
    await shop.data.order(order_id, MUG=1)
    HELD.reached.clear()
    HELD.opened.clear()
    handle = await shop.start(order_id)
    await HELD.reached.wait()
    await handle.cancel()
    HELD.opened.set()
    await wait_for_end(handle)
    return handle.id


async def cancel_asked_for(shop: RunningShop, order_id: str, **columns: str | None) -> str:
    """The order is cancelled while a local step waits for a lock. The label asks for the cancel, or the final step."""
    await shop.data.order(order_id, MUG=1, columns=columns)
    connection = await asyncpg.connect(shop.settings.database_url.get_secret_value())
    async with connection.transaction():
        await connection.execute("SELECT 1 FROM inventory_levels WHERE inventory_item_id = 'MUG' FOR UPDATE")
        handle = await shop.start(order_id)
        await until_lock_wait(shop.data.sql)
        await handle.cancel()
    await connection.close()
    await wait_for_end(handle)
    return handle.id


async def not_found(shop: RunningShop, order_id: str) -> str:
    """There is no such order."""
    await shop.expect_failure(order_id)
    return order_process_id(order_id)


async def started_as_a_copy(shop: RunningShop, order_id: str) -> str:
    """The run is started with search attributes of a failed one, as Temporal's UI copies them."""
    await shop.data.order(order_id, MUG=1)
    attributes = [SearchAttributePair(SAGA_STATE, "compensated"), SearchAttributePair(FAILED_STEP, "complete-order")]
    handle: Any = await shop.client.start_workflow(
        "order-processing",
        OrderProcessing(order_id=order_id),
        id=order_process_id(order_id),
        task_queue=TASK_QUEUE,
        search_attributes=TypedSearchAttributes(attributes),
    )
    await handle.result()
    return order_process_id(order_id)


async def reset_to_first(shop: RunningShop, order_id: str) -> str:
    """The run was undone, and is reset to its first task."""
    process_id = await refused_by_carrier(shop, order_id)
    await shop.clear_carrier_faults()
    await reset_to(shop, process_id, FIRST_TASK_COMPLETED)
    return process_id


async def reset_too_late(shop: RunningShop, order_id: str) -> str:
    """The run was undone, and is reset to a later event."""
    process_id = await refused_by_carrier(shop, order_id)
    await shop.clear_carrier_faults()
    tasks = [
        event.event_id
        async for event in shop.handle(order_id).fetch_history_events()
        if event.HasField("workflow_task_completed_event_attributes")
    ]
    await reset_to(shop, process_id, tasks[2])
    return process_id


async def reset_to(shop: RunningShop, process_id: str, event_id: int) -> None:
    run_id = (await shop.client.get_workflow_handle(process_id).describe()).run_id
    request = ResetWorkflowExecutionRequest(
        namespace=shop.client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=process_id, run_id=run_id),
        workflow_task_finish_event_id=event_id,
        request_id=str(uuid4()),
    )
    answer = await shop.client.workflow_service.reset_workflow_execution(request)
    with suppress(WorkflowFailureError):
        await shop.client.get_workflow_handle(process_id, run_id=answer.run_id).result()


async def changed(shop: RunningShop, order_id: str) -> str:
    """The order changes while its label is being bought. The run undoes its steps, and another one begins anew."""
    run = await change_while_buying(shop, order_id, "shipping_city = 'Leeds'")
    await run.result()
    return f"{run.id}/{run.first_execution_run_id}"


async def cancelled_by_shop(shop: RunningShop, order_id: str) -> str:
    """The shop cancels the order while its label is being bought. The run that begins anew finds it cancelled."""
    run = await change_while_buying(shop, order_id, "cancelled_at = now()")
    await run.result()
    return run.id


async def not_paid(shop: RunningShop, order_id: str) -> str:
    """The order is not paid."""
    await shop.data.order(order_id, MUG=1, columns={"payment_status": "awaiting"})
    await shop.expect_failure(order_id)
    return order_process_id(order_id)


async def without_product(shop: RunningShop, order_id: str) -> str:
    """A line of the order has no product. The recorded run put the order on hold; now it would wait."""
    return await waiting_for_product(shop, order_id)


async def waiting_for_product(shop: RunningShop, order_id: str) -> str:
    """A line of the order has no product."""
    await shop.data.order(order_id, GONE=1)
    handle = await shop.start(order_id)
    await wait_for_end(handle)
    return handle.id


async def two_parcels(shop: RunningShop, order_id: str) -> str:
    """The goods are at two locations: each has a fulfillment and a label of its own."""
    await order_of_two_parcels(shop, order_id)
    await shop.process(order_id)
    return order_process_id(order_id)


async def two_parcels_undone(shop: RunningShop, order_id: str) -> str:
    """The final step fails permanently, so both labels and fulfillments are undone."""
    await order_of_two_parcels(shop, order_id)
    FAULTS.steps["complete-order"] = "before"
    await wait_for_end(await shop.start(order_id))
    FAULTS.steps.clear()
    return order_process_id(order_id)


async def order_of_two_parcels(shop: RunningShop, order_id: str) -> None:
    sku = f"BOX-{order_id}"
    await shop.data.stock(sku, overflow=1)
    await shop.data.order(order_id, ("MUG", 1), (sku, 1))


async def no_lines(shop: RunningShop, order_id: str) -> str:
    """The order has no lines. The type of the failure is a search attribute."""
    await shop.data.order(order_id)
    await shop.expect_failure(order_id)
    return order_process_id(order_id)


async def pending_without_product(shop: RunningShop, name: str) -> str:
    """An order waits for a product, and the job alerts the admins."""
    await shop.data.order(f"{name}-1", GONE=1)
    return await run_job(shop, "process-pending-orders", name, PendingOrders())


async def change_while_buying(shop: RunningShop, order_id: str, columns: str) -> Handle:
    await shop.data.order(order_id, MUG=1)
    await shop.inject_carrier_fault(operation="buy", fault="slow", seconds=2, times=1, order_id=order_id)
    handle = await shop.start(order_id)
    while await shop.data.sql(LABEL_STARTED, key=handle.id) == []:  # noqa: ASYNC110 - polls a server
        await asyncio.sleep(0.02)
    [revision] = await shop.data.sql(
        f"""UPDATE orders SET revision = revision + 1, decisive_revision = revision + 1, {columns}
            WHERE id = :id RETURNING revision""",
        id=order_id,
    )
    await handle.signal(OrderProcessingWorkflow.order_changed, OrderChange(revision=revision))
    return handle


async def registered(shop: RunningShop, name: str) -> str:
    """A customer registers."""
    return await register(shop, f"{name}@shop.example")


async def registration_undone(shop: RunningShop, name: str) -> str:
    """The final step fails permanently, so all steps are undone."""
    FAULTS.steps["assign-customer-group"] = "before"
    process_id = await register(shop, f"{name}@shop.example")
    FAULTS.steps.clear()
    return process_id


async def not_welcomed(shop: RunningShop, name: str) -> str:
    """The customer's mail server refuses the welcome mail permanently. The account stays."""
    return await register(shop, f"{name}@refused.example")


async def carts_cleaned(shop: RunningShop, name: str) -> str:
    """Expired carts are deleted in two batches."""
    await shop.data.sql(INSERT_CARTS)
    return await run_job(shop, "cleanup-expired-carts", name, CleanUpCarts(batch=2))


async def job_failed(shop: RunningShop, name: str) -> str:
    """The step of a job fails permanently."""
    FAULTS.steps["delete-expired-carts"] = "before"
    process_id = await run_job(shop, "cleanup-expired-carts", name, CleanUpCarts())
    FAULTS.steps.clear()
    return process_id


async def job_waited(shop: RunningShop, name: str) -> str:
    """The database is unavailable at the first attempt of a job's step."""
    with database_outage("delete-expired-carts"):
        return await run_job(shop, "cleanup-expired-carts", name, CleanUpCarts())


async def job_refused(shop: RunningShop, name: str) -> str:
    """Another run of the job is at work."""
    async with another_run(shop, "cleanup-expired-carts", "delete-expired-carts", CleanUpCarts(), f"{name}-other"):
        return await run_job(shop, "cleanup-expired-carts", name, CleanUpCarts())


async def job_took_turns(shop: RunningShop, name: str) -> str:
    """Another run counts another day, and the recorded run waits until it has ended."""
    other = Analytics(date=date(2026, 3, 2))
    async with another_run(shop, "collect-analytics-data", "collect-day", other, f"{name}-other"):
        return await run_job(shop, "collect-analytics-data", name, Analytics(date=date(2026, 3, 3)))


@asynccontextmanager
async def another_run(shop: RunningShop, job: str, step: str, options: Message, job_id: str) -> AsyncIterator[None]:
    """Start a run of a job that waits for the database in this step, for some seconds."""
    with database_outage(step):
        run: Any = await shop.client.start_workflow(job, options, id=job_id, task_queue=TASK_QUEUE)
        while not FAULTS.refused:  # noqa: ASYNC110 - waits for a worker
            await asyncio.sleep(0.01)
        yield
        await run.result()


@contextmanager
def database_outage(step: str) -> Iterator[None]:
    """Make the database unavailable at the first attempt of a step."""
    FAULTS.steps[step] = "before"
    FAULTS.permanent, FAULTS.error, FAULTS.times, FAULTS.refused = False, "DatabaseUnavailable", 1, 0
    yield
    FAULTS.permanent, FAULTS.error, FAULTS.times = True, "Refused", 1_000_000
    FAULTS.steps.clear()


async def stock_synced(shop: RunningShop, name: str) -> str:
    """The warehouse reports the stock that the shop already has."""
    return await run_job(shop, "sync-inventory", name, SyncInventory())


async def pending_worked_off(shop: RunningShop, name: str) -> str:
    """Two orders are pending, one of them with too little stock."""
    await shop.data.order(f"{name}-1", MUG=1)
    await shop.data.order(f"{name}-2", MUG=1_000)
    return await run_job(shop, "process-pending-orders", name, PendingOrders())


async def day_counted(shop: RunningShop, name: str) -> str:
    """The figures of a day are collected and reported."""
    return await run_job(shop, "collect-analytics-data", name, Analytics(date=date(2026, 3, 2)))


async def day_recounted(shop: RunningShop, name: str) -> str:
    """A late order has changed the figures of a counted day: it is counted again, then the next day is counted."""
    await run_job(shop, "collect-analytics-data", f"{name}-before", Analytics(date=date(2026, 3, 2)))
    await shop.data.order(name, MUG=1)
    await shop.data.call(sales.record, [name])
    return await run_job(shop, "collect-analytics-data", name, Analytics(date=date(2026, 3, 3)))


async def future_day(shop: RunningShop, name: str) -> str:
    """A day is to be counted that is in the future."""
    return await run_job(shop, "collect-analytics-data", name, Analytics(date=date(9998, 12, 31)))


async def upkept(shop: RunningShop, name: str) -> str:
    """No record is old enough to be deleted."""
    return await run_job(shop, "upkeep", name, Upkeep())


async def hello_world(shop: RunningShop, name: str) -> str:
    """John is greeted."""
    return await run_job(shop, "hello-world", name, HelloWorld(name="John"))


async def product_count(shop: RunningShop, name: str) -> str:
    """The products are counted."""
    return await run_job(shop, "product-count", name, CountProducts())


async def without_input(shop: RunningShop, name: str) -> str:
    """The products are counted, by a client that sends no input."""
    return await run_job(shop, "product-count", name)


async def webhook_delivered(shop: RunningShop, _name: str) -> str:
    """An event is delivered after the event before it, whose first delivery attempt was answered with 503."""
    async with webhook_receiver() as receiver:
        receiver.status, receiver.headers = 503, {"Retry-After": "2"}
        endpoint = await shop.data.call(webhooks.add, receiver.url)
        receiver.secret = endpoint.secret
        events = [
            NewEvent(f"{receiver.url}/{number}", "cart.expired", "cart/1", {"number": number}) for number in (1, 2)
        ]
        await shop.data.call(outbox.add, *events)
        first, second = (WebhookDelivery(endpoint_id=endpoint.id, event_id=event_id(event.key)) for event in events)
        await start(shop.client, "deliver-webhook", first)
        while not receiver.received:  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(0.01)
        handle = await start(shop.client, "deliver-webhook", second.model_copy(update={"after": first.event_id}))
        receiver.status = 204
        await handle.result()
    return handle.id


async def register(shop: RunningShop, email: str) -> str:
    customer = {"email": email, "password": "correct horse", "first_name": "Ann", "last_name": "Miller"}
    with suppress(CommerceError):
        await register_customer(shop.client, **customer)
    return registration_process_id(email)


async def address_confirmed(shop: RunningShop, _name: str) -> str:
    """A registration waits until its address is proven."""
    return await answer_confirmation(shop, "confirmed@customer.example", Answer(answer="success"))


async def address_not_confirmed(shop: RunningShop, _name: str) -> str:
    """An operator ends a registration that waits until its address is proven."""
    return await answer_confirmation(shop, "not-confirmed@customer.example", Answer(answer="failure"))


async def answer_confirmation(shop: RunningShop, email: str, given: Answer) -> str:
    customer = {"email": email, "password": "correct horse", "first_name": "Ann", "last_name": "Miller"}
    handle = await start(shop.client, "customer-registration", Registration.model_validate(customer))
    while await shop.data.sql(MAILED, to=email) == []:  # noqa: ASYNC110 - polls a server
        await asyncio.sleep(0.02)
    await answer(shop.client, shop.database, handle.id, "confirm-address", given, by="record")
    with suppress(WorkflowFailureError):
        await handle.result()
    return handle.id


async def forgotten(shop: RunningShop, _name: str) -> str:
    """A guest with a cancelled order is forgotten."""
    return await forget(shop, "forgotten@customer.example", cancelled_at=datetime(2026, 3, 2, tzinfo=UTC))


async def not_forgotten(shop: RunningShop, _name: str) -> str:
    """A guest has an open order."""
    return await forget(shop, "not-forgotten@customer.example")


async def forget(shop: RunningShop, email: str, **columns: Any) -> str:
    await shop.data.order(email.partition("@")[0], MUG=1, columns=columns | {"email": email})
    handle = await start(shop.client, "forget-customer", ForgetCustomer(email=email))
    with suppress(WorkflowFailureError):
        await handle.result()
    return handle.id


async def run_job(shop: RunningShop, job: str, job_id: str, *options: Message) -> str:
    handle: Any = await shop.client.start_workflow(job, args=options, id=job_id, task_queue=TASK_QUEUE)
    with suppress(WorkflowFailureError):
        await handle.result()
    return job_id


async def fulfilled_to_cancel(shop: RunningShop, order_id: str, **columns: object) -> None:
    await shop.data.order(order_id, MUG=1, columns=columns)
    await shop.process(order_id)


async def cancel_order(shop: RunningShop, order_id: str) -> str:
    handle = await start(shop.client, "cancel-order", CancelOrder(order_id=order_id))
    with suppress(WorkflowFailureError):
        await handle.result()
    return handle.id


async def taken_back(shop: RunningShop, order_id: str) -> str:
    """A fulfilled order is taken back. It was refunded at the shop before."""
    await fulfilled_to_cancel(shop, order_id, refunded_total=0, payment_status="captured", total=0)
    return await cancel_order(shop, order_id)


async def refund_at_shop(shop: RunningShop, order_id: str) -> str:
    """The payment is refunded at the shop, and a person notes that."""
    await fulfilled_to_cancel(shop, order_id)
    handle = await start(shop.client, "cancel-order", CancelOrder(order_id=order_id))
    wait = "SELECT 1 FROM step_waits WHERE business_key = :key"
    while await shop.data.sql(wait, key=handle.id) == []:  # noqa: ASYNC110 - polls a server
        await asyncio.sleep(0.05)
    await answer(shop.client, shop.database, handle.id, "refund-at-shop", Answer(answer="success"), by="test")
    await handle.result()
    return handle.id


async def parcel_handed_over(shop: RunningShop, order_id: str) -> str:
    """The carrier has the parcel, so the order is kept."""
    await fulfilled_to_cancel(shop, order_id)
    async with carrier_client(shop.carrier_url) as http:
        await http.post("/trial/states", json={"order_id": order_id, "tracker": "in_transit"})
    return await cancel_order(shop, order_id)


async def offer_declined(shop: RunningShop, order_id: str) -> str:
    """The admins are asked whether to take the order back, and decline."""
    await fulfilled_to_cancel(shop, order_id)
    handle = await start(shop.client, "cancel-order", CancelOrder(order_id=order_id, ask=True))
    wait = "SELECT 1 FROM step_waits WHERE business_key = :key"
    while await shop.data.sql(wait, key=handle.id) == []:  # noqa: ASYNC110 - polls a server
        await asyncio.sleep(0.05)
    await answer(shop.client, shop.database, handle.id, "offer-cancellation", Answer(answer="failure"), by="test")
    await handle.result()
    return handle.id


async def start_return(shop: RunningShop, order_id: str) -> Handle:
    """Start the return of one of two mugs, and wait until it waits for the goods."""
    await shop.data.order(order_id, MUG=2)
    await shop.process(order_id)
    request = ReturnOrder(order_id=order_id, return_id=order_id, items=[Item(sku="MUG", quantity=1)])
    handle: Any = await start(shop.client, "return-order", request)
    await until_waiting(handle, AWAIT)
    return handle


async def until_waiting(handle: Handle, step: str) -> None:
    def waits(steps: Any) -> bool:
        return any((each["name"], each["state"]) == (step, "waiting") for each in steps)

    while not waits((await handle.query("progress"))["steps"]):  # noqa: ASYNC110 - polls a server
        await asyncio.sleep(0.05)


async def goods_returned(shop: RunningShop, order_id: str) -> str:
    """The goods come back after a receipt that cannot be right, and the payment is refunded at the shop."""
    handle = await start_return(shop, order_id)
    for units in (2, 1):
        receipt = {"items": [{"sku": "MUG", "quantity": units}]}
        await handle.execute_update("answer-step", {"step": AWAIT, "answer": "success", "data": receipt})
        if units == 2:
            await until_waiting(handle, f"{AWAIT}/2")
    await until_waiting(handle, "refund-at-shop")
    await answer(shop.client, shop.database, handle.id, "refund-at-shop", Answer(answer="success"), by="test")
    await wait_for_end(handle)
    return handle.id


async def goods_not_returned(shop: RunningShop, order_id: str) -> str:
    """Somebody answers that the goods will not come back."""
    handle = await start_return(shop, order_id)
    await answer(shop.client, shop.database, handle.id, AWAIT, Answer(answer="failure"), by="test")
    await wait_for_end(handle)
    return handle.id


async def return_cancelled(shop: RunningShop, order_id: str) -> str:
    """The return is cancelled while it waits for the goods."""
    handle = await start_return(shop, order_id)
    await handle.cancel()
    await wait_for_end(handle)
    return handle.id


async def nothing_to_return(shop: RunningShop, order_id: str) -> str:
    """The order is not fulfilled."""
    await shop.data.order(order_id, MUG=1)
    handle: Any = await start(shop.client, "return-order", ReturnOrder(order_id=order_id, return_id=order_id))
    await wait_for_end(handle)
    return str(handle.id)


async def authorized(shop: RunningShop, order_id: str) -> None:
    """Create an order for three mugs whose payment is authorized."""
    payment = {"id": f"pi_{order_id.replace('-', '')}", "amount": 750, "currency": "gbp", "status": "requires_capture"}
    async with httpx.AsyncClient(base_url=shop.settings.payments_url.removesuffix("/v1")) as http:
        (await http.post("/trial/payments", json=payment)).raise_for_status()
    columns = {"payment_reference": payment["id"], "payment_status": "authorized"}
    await shop.data.order(order_id, MUG=3, columns=columns)


async def picked(shop: RunningShop, order_id: str, *found: int) -> str:
    """Process an authorized order, and answer its pick: so many mugs are found."""
    await authorized(shop, order_id)
    handle = await shop.start(order_id)
    while (await shop.states(order_id)).get("await-pick") != "waiting":  # noqa: ASYNC110 - polls a server
        await asyncio.sleep(0.05)
    for units in found:
        [pick_id] = await shop.data.sql(PICK, key=handle.id)
        await answer_pick(shop.client, shop.database, pick_id, [PickLine(sku="MUG", quantity=units)])
    if not found:
        await handle.cancel()
    await wait_for_end(handle)
    return handle.id


async def picked_and_captured(shop: RunningShop, order_id: str) -> str:
    """The warehouse picks everything, and the payment is captured."""
    return await picked(shop, order_id, 3)


async def pick_short(shop: RunningShop, order_id: str) -> str:
    """The warehouse finds less, and the rest ships."""
    return await picked(shop, order_id, 2)


async def pick_found_nothing(shop: RunningShop, order_id: str) -> str:
    """The warehouse finds nothing, so the order is short of stock."""
    return await picked(shop, order_id, 0)


async def pick_cancelled(shop: RunningShop, order_id: str) -> str:
    """The order is cancelled while it waits for the warehouse."""
    return await picked(shop, order_id)


async def capture_undone(shop: RunningShop, order_id: str) -> str:
    """The last step fails after the payment was captured."""
    FAULTS.steps["complete-order"] = "before"
    try:
        return await picked(shop, order_id, 3)
    finally:
        FAULTS.steps.clear()


SCENARIOS: dict[str, Callable[[RunningShop, str], Awaitable[str]]] = {
    "fulfilled": fulfilled,
    "without-label": without_label,
    "insufficient": insufficient,
    "refused-by-carrier": refused_by_carrier,
    "cancelled": cancelled,
    "compensation-failed": compensation_failed,
    "notification-failed": notification_failed,
    "leftovers": leftovers,
    "cancelled-at-first": cancelled_at_first,
    "review-approved": review_approved,
    "review-rejected": review_rejected,
    "review-cancelled": review_cancelled,
    "not-found": not_found,
    "started-as-a-copy": started_as_a_copy,
    "reset-to-first": reset_to_first,
    "reset-too-late": reset_too_late,
    "changed": changed,
    "cancelled-by-shop": cancelled_by_shop,
    "not-paid": not_paid,
    "without-product": without_product,
    "waiting-for-product": waiting_for_product,
    "no-lines": no_lines,
    "registered": registered,
    "registration-undone": registration_undone,
    "not-welcomed": not_welcomed,
    "address-confirmed": address_confirmed,
    "address-not-confirmed": address_not_confirmed,
    "forgotten": forgotten,
    "not-forgotten": not_forgotten,
    "carts-cleaned": carts_cleaned,
    "job-failed": job_failed,
    "job-waited": job_waited,
    "job-refused": job_refused,
    "job-took-turns": job_took_turns,
    "stock-synced": stock_synced,
    "pending-worked-off": pending_worked_off,
    "pending-without-product": pending_without_product,
    "day-counted": day_counted,
    "day-recounted": day_recounted,
    "future-day": future_day,
    "upkept": upkept,
    "hello-world": hello_world,
    "product-count": product_count,
    "without-input": without_input,
    "webhook-delivered": webhook_delivered,
    "taken-back": taken_back,
    "refund-at-shop": refund_at_shop,
    "parcel-handed-over": parcel_handed_over,
    "offer-declined": offer_declined,
    "goods-returned": goods_returned,
    "goods-not-returned": goods_not_returned,
    "return-cancelled": return_cancelled,
    "nothing-to-return": nothing_to_return,
    "two-parcels": two_parcels,
    "two-parcels-undone": two_parcels_undone,
    # The same with local mails, too.
    "local-mail-fulfilled": fulfilled,
    "local-mail-failed": notification_failed,
    "local-mail-registered": registered,
    # The same with local steps; the histories above are of versions that had none.
    "local-fulfilled": fulfilled,
    "local-without-label": without_label,
    "local-insufficient": insufficient,
    "local-refused-by-carrier": refused_by_carrier,
    "local-cancelled": cancelled,
    "local-leftovers": leftovers,
    "local-not-found": not_found,
    "local-registered": registered,
    "local-changed": changed,
    "local-reset-to-first": reset_to_first,
    "local-registration-undone": registration_undone,
    "local-hello-world": hello_world,
    "local-fails-twice": local_fails_twice,
    "local-cancel-asked-for": cancel_asked_for,
    "local-two-parcels": two_parcels,
    "local-two-parcels-undone": two_parcels_undone,
    # The same with a regular step that asks for lost steps; in the histories above it is local.
    "regular-insufficient": insufficient,
    "regular-refused-by-carrier": refused_by_carrier,
    "regular-cancelled": cancelled,
    "regular-changed": changed,
    "regular-registration-undone": registration_undone,
    "picked-and-captured": picked_and_captured,
    "pick-short": pick_short,
    "pick-found-nothing": pick_found_nothing,
    "pick-cancelled": pick_cancelled,
    "capture-undone": capture_undone,
    # The same with a local final step, which an order has.
    "final-fulfilled": fulfilled,
    "final-without-label": without_label,
    "final-fails-twice": partial(local_fails_twice, step="complete-order"),
    "final-cancelled-too-late": cancelled_too_late,
    "final-cancel-asked-for": partial(cancel_asked_for, shipping_method=None),
    "final-cancelled": cancelled,
    "final-changed": changed,
    "final-refused-by-carrier": refused_by_carrier,
    "final-two-parcels-undone": two_parcels_undone,
    "final-registered": registered,
    "final-picked-and-captured": picked_and_captured,
    "final-pick-short": pick_short,
    "final-capture-undone": capture_undone,
}
CONFIRMED = ("address-confirmed", "address-not-confirmed")  # in a shop where addresses must be proven
# In a shop whose warehouse answers to picks, and that captures payments.
PICKED = (
    *("picked-and-captured", "pick-short", "pick-found-nothing", "pick-cancelled", "capture-undone"),
    *("final-picked-and-captured", "final-pick-short", "final-capture-undone"),
)
