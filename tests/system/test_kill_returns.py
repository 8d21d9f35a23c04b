"""Goods come back once, although the worker is killed inside each step of `return-order` (E11, R2 to R6)."""

import asyncio

import pytest

from commerce.errors import WaitNotFound
from commerce.messages.returns import AWAIT, ReturnOrder, ReturnResult, return_process_id
from commerce.messages.waits import Answer
from starter.client import start
from starter.operate.answers import answer
from tests.payment_provider import EmbeddedPayments
from tests.polling import until
from tests.running_shop import RunningShop
from tests.system.workers import WorkerProcesses, points

pytestmark = pytest.mark.waits(35)

# The points where the worker hangs when killed: before the goods are back, after that, and while a return is closed.
BEFORE = """
    begin-return         before after
    register-return      before after
    create-return-label  before before-buy after-buy after
    await-return         before before-send after-send after
"""
AFTER = """
    check-receipt        before
    receive-return       before after
    refund-payment       before before-refund after-refund after
    complete-return      before after
    send-notification    before-send after-send
"""
CLOSING = """
    void-return-label    before before-refund after-refund after
    close-return         before after
"""
DEADLINE = 180  # seconds
PAID = 250  # minor units


@pytest.fixture
def worker_settings(payments: EmbeddedPayments) -> dict[str, str]:
    return payments.settings


async def test_goods_come_back_once_after_a_kill_inside_each_step(
    shop: RunningShop, payments: EmbeddedPayments, workers: WorkerProcesses
) -> None:  # (E11, R2 to R6)
    before, after, closing = points(BEFORE), points(AFTER), points(CLOSING)
    everything = before | after | closing
    await shop.data.stock("MUG", main=len(everything))
    for number, order_id in enumerate(everything):
        await payments.pay(f"pi_{number}", PAID)
        await shop.data.order(order_id, MUG=1, columns={"payment_reference": f"pi_{number}"})

    async def give_answer(order_id: str) -> bool | None:
        given = Answer(answer="failure") if order_id in closing else Answer(answer="success", data={"everything": True})
        try:
            await answer(shop.client, shop.database, return_process_id(order_id), AWAIT, given, by="test")
        except WaitNotFound:  # it does not wait yet
            return None
        return True

    first = await workers.start_pausing({return_process_id(order_id): point for order_id, point in everything.items()})
    await asyncio.gather(*(shop.process(order_id) for order_id in everything))
    for order_id in everything:
        await start(shop.client, "return-order", ReturnOrder(order_id=order_id, return_id=order_id))
    await asyncio.gather(*(until(lambda order_id=order_id: give_answer(order_id)) for order_id in after | closing))  # type: ignore[misc]
    await workers.wait_until_hanging(*map(return_process_id, everything))
    await first.kill()

    await workers.start()
    await asyncio.gather(*(until(lambda order_id=order_id: give_answer(order_id)) for order_id in before))  # type: ignore[misc]
    handles = {order_id: shop.client.get_workflow_handle(return_process_id(order_id)) for order_id in everything}
    async with asyncio.timeout(DEADLINE):
        results = {key: ReturnResult.model_validate(await handle.result()) for key, handle in handles.items()}
    expected = {key: ("refused", 0) if key in closing else ("returned", PAID) for key in everything}
    assert {key: (result.status, result.refunded) for key, result in results.items()} == expected
    refunds = [await payments.refunds(f"pi_{number}") for number in range(len(everything))]
    assert refunds == [[] if key in closing else [PAID] for key in everything]
    labels = {key: await shop.labels(key) for key in everything}  # one takes the goods there, one brings them back
    assert {key: (each["bought"], each["refunded"]) for key, each in labels.items()} == {
        key: (2, int(key in closing)) for key in everything
    }
    back = len(before) + len(after)
    assert await shop.data.levels("MUG") == {"main": (back, 0)}
    mails = {mail["Message-ID"] for mail in shop.mails("order-returned")}
    assert len(mails) == back  # one can arrive twice with the same Message-ID, see (N1)
    assert [kind for kind, *_ in await shop.data.events()].count("order.returned") == back
    assert await shop.data.breaches() == []
    assert await shop.findings() == []
