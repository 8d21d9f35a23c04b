"""Orders are taken back once, although the worker is killed inside each step of `cancel-order` (E11, B2, B6)."""

import asyncio

import pytest

from commerce.messages.cancellations import CancelOrder, CancelResult, cancel_process_id
from starter.client import start
from tests.payment_provider import EmbeddedPayments
from tests.running_shop import RunningShop
from tests.system.workers import WorkerProcesses, points

pytestmark = pytest.mark.waits(40)

# The points where the worker hangs when killed.
POINTS = """
    begin-cancellation     before after
    mark-cancelling        before after
    check-parcels          before
    void-label             before before-refund after-refund after
    void-shipping-label    before after
    cancel-fulfillment     after
    release-inventory      after
    restock-order          before after
    refund-payment         before before-refund after-refund after
    complete-cancellation  before after
    send-notification      before-send after-send
"""
DEADLINE = 180  # seconds
PAID = 250  # minor units


@pytest.fixture
def worker_settings(payments: EmbeddedPayments) -> dict[str, str]:
    return payments.settings


async def test_orders_are_taken_back_once_after_a_kill_inside_each_step(
    shop: RunningShop, payments: EmbeddedPayments, workers: WorkerProcesses
) -> None:  # (E11, B2, B6)
    orders = points(POINTS)
    await shop.data.stock("MUG", main=len(orders))
    for number, order_id in enumerate(orders):
        await payments.pay(f"pi_{number}", PAID)
        await shop.data.order(order_id, MUG=1, columns={"payment_reference": f"pi_{number}"})
    first = await workers.start_pausing({cancel_process_id(order_id): point for order_id, point in orders.items()})
    await asyncio.gather(*(shop.process(order_id) for order_id in orders))
    handles = [await start(shop.client, "cancel-order", CancelOrder(order_id=order_id)) for order_id in orders]
    await workers.wait_until_hanging(*map(cancel_process_id, orders))
    await first.kill()

    await workers.start()
    async with asyncio.timeout(DEADLINE):
        results = [CancelResult.model_validate(await handle.result()) for handle in handles]
    assert {(result.status, result.refunded) for result in results} == {("cancelled", PAID)}
    refunds = {order_id: await payments.refunds(f"pi_{number}") for number, order_id in enumerate(orders)}
    assert refunds == {order_id: [PAID] for order_id in orders}
    labels = {order_id: await shop.labels(order_id) for order_id in orders}
    assert {(each["bought"], each["refunded"]) for each in labels.values()} == {(1, 1)}
    assert await shop.data.levels("MUG") == {"main": (len(orders), 0)}
    mails = {mail["Message-ID"] for mail in shop.mails("order-cancelled")}
    assert len(mails) == len(orders)  # one can arrive twice with the same Message-ID, see (N1)
    assert [kind for kind, *_ in await shop.data.events()].count("order.cancelled") == len(orders)
    assert await shop.data.breaches() == []
    assert await shop.findings() == []
