"""Captures of authorized payments: once, for one order, taken back by a refund; refunds that are pending (P4, P5)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from activities.captures import MAX_DELAY, CaptureActivities
from activities.payments import PaymentActivities
from commerce import open_orders, payments
from commerce.database import Database
from commerce.errors import CaptureRefused, ConstraintViolated, PaymentUnavailable, StepInProgress
from commerce.integrations.stripe import Stripe
from commerce.messages.notifications import Alert
from commerce.messages.orders import OrderRef
from commerce.messages.payments import Captured, RefundRequest
from commerce.messages.steps import Call, StepKey
from starter.operate.pending_refunds import check_pending_refunds
from tests.commerce.shop import Shop, begin_generation, let_pass
from tests.payment_provider import EmbeddedPayments, embedded_payments

PI = "pi_1"
REFUND = RefundRequest(order_id="1", purpose="cancel-order")
CAPTURES = "SELECT payment_id, amount, ours FROM order_captures"
PAYMENTS = "SELECT captured, refunded_elsewhere, refunded FROM order_payments"
REFUNDS = "SELECT purpose, amount, state FROM order_refunds"
STATUS = "SELECT payment_status FROM orders WHERE id = '1'"


class Alerts:
    """A notifier that only keeps alerts, once per key."""

    def __init__(self) -> None:
        self.sent: dict[str, Alert] = {}

    async def alert(self, alert: Alert) -> None:
        self.sent[alert.key] = alert


class Bench:
    """An authorized order of 10.00 pounds, the activities, and the embedded provider behind them."""

    def __init__(self, database: Database, server: EmbeddedPayments) -> None:
        self.shop, self.server = Shop(database), server
        self.account = Stripe(server.api, SecretStr("sk_test"))
        self.providers = {"stripe": self.account}
        self.captures = CaptureActivities(database, self.providers)
        self.alerts: Any = Alerts()
        self.payments = PaymentActivities(database, self.providers, self.alerts)

    async def order(self, order_id: str = "1", **columns: object) -> None:
        authorized = {"payment_reference": PI, "total": 1_000, "payment_status": "authorized"}
        await self.shop.order(order_id, columns=authorized | columns)

    async def call(self, generation: str = "g1", order_id: str = "1") -> Call[OrderRef]:
        key = StepKey(business_key=f"order-processing-{order_id}", step="capture-payment", generation=generation)
        await self.shop.call(begin_generation, key)
        return Call(key=key, input=OrderRef(order_id=order_id, revision=1), undo="refund-capture")

    async def capture(self, generation: str = "g1", order_id: str = "1") -> Captured:
        return await self.captures.capture(await self.call(generation, order_id))

    async def undo(self, generation: str = "g1") -> None:
        await self.captures.refund(await self.call(generation))

    async def findings(self) -> list[Any]:
        """Return what the audit finds about payments."""
        return [found for found in await self.shop.audit() if found.rule == "refunded-is-captured"]

    async def received(self) -> tuple[int, int]:
        """Return how much the provider has received and refunded."""
        found = await self.server.payment(PI)
        return found["payment"]["amount_received"], found["refunded"]

    async def refund(self, generation: str = "c1") -> str:
        key = StepKey(business_key="cancel-order-1", step="refund-payment", generation=generation)
        await self.shop.call(begin_generation, key)
        return (await self.payments.refund(Call(key=key, input=REFUND))).state

    async def check_refunds(self) -> int:
        await self.shop.sql("UPDATE order_refunds SET checked_at = checked_at - interval '1 day'")
        return await check_pending_refunds(self.shop.database, self.providers, self.alerts)


@pytest.fixture
async def bench(database: Database, tmp_path: Path) -> AsyncIterator[Bench]:
    async with embedded_payments(tmp_path) as server:
        bench = Bench(database, server)
        await server.pay(PI, 1_000, status="requires_capture")
        yield bench
        await bench.account.close()


async def test_a_payment_is_captured_once_and_the_order_is_paid(bench: Bench) -> None:  # (P4)
    await bench.order()
    for generation in ("g1", "g1", "g2"):
        assert (await bench.capture(generation)).amount == 1_000
    assert await bench.received() == (1_000, 0)
    assert await bench.shop.sql(CAPTURES) == [(PI, 1_000, True)]
    assert await bench.shop.sql(PAYMENTS) == [(1_000, 0, 0)]
    assert await bench.shop.sql(STATUS) == ["captured"]
    assert await bench.shop.sql("SELECT count(*) FROM days_to_count") != [0]
    assert await bench.findings() == []


@pytest.mark.parametrize("fault", ["cut", "done_500", "500"])
async def test_a_capture_whose_answer_was_lost_is_undone(bench: Bench, fault: str) -> None:  # (P2, P4)
    await bench.order()
    await bench.server.inject_fault("capture", fault)
    with pytest.raises(PaymentUnavailable):
        await bench.capture()
    if fault == "500":  # the provider may still capture
        with pytest.raises(StepInProgress):
            await bench.undo()
        await let_pass(bench.shop.database, MAX_DELAY)
    for _ in range(2):
        await bench.undo()
    done = fault != "500"
    assert await bench.received() == ((1_000, 1_000) if done else (0, 0))
    assert await bench.shop.sql(PAYMENTS) == ([(1_000, 0, 1_000)] if done else [])
    assert await bench.shop.sql(STATUS) == ["refunded" if done else "authorized"]
    assert await bench.findings() == []


async def test_a_refunded_capture_is_not_captured_again(bench: Bench) -> None:  # (P4)
    await bench.order()
    await bench.capture()
    await bench.undo()
    with pytest.raises(CaptureRefused, match="payment_refunded"):
        await bench.capture("g2")
    assert await bench.refund() == "none"
    assert await bench.received() == (1_000, 1_000)


async def test_what_somebody_else_has_captured_is_not_refunded(bench: Bench) -> None:  # (P4)
    await bench.order()
    await bench.account.capture(PI, 1_000, "GBP", "by the shop")
    assert (await bench.capture()).ours is False
    await bench.undo()
    assert await bench.received() == (1_000, 0)
    assert await bench.shop.sql(STATUS) == ["captured"]


async def test_a_capture_that_the_source_has_learned_of_meanwhile_is_not_refunded(bench: Bench) -> None:  # (P4)
    await bench.order()
    await bench.server.inject_fault("capture", "done_500")
    with pytest.raises(PaymentUnavailable):
        await bench.capture()
    await bench.shop.sql("UPDATE orders SET payment_status = 'captured', decisive_revision = 2, revision = 2")
    await bench.undo()
    assert await bench.received() == (1_000, 0)
    assert await bench.shop.sql(STATUS) == ["captured"]


@pytest.mark.parametrize(
    ("reason", "code"), [("automatic", "authorization_automatic"), (None, "authorization_canceled")]
)
async def test_an_authorization_that_has_expired_is_a_clear_reason(
    bench: Bench, reason: Any, code: str
) -> None:  # (P4)
    await bench.order()
    await bench.server.change_payment(PI, status="canceled", cancellation_reason=reason)
    with pytest.raises(CaptureRefused, match=code):
        await bench.capture()
    await bench.undo()
    assert await bench.shop.sql(STATUS) == ["authorized"]


async def test_a_refused_card_is_a_clear_reason(bench: Bench) -> None:  # (P4)
    await bench.order()
    await bench.server.inject_fault("capture", "402")
    with pytest.raises(CaptureRefused, match="order 1 could not be captured: card_declined"):
        await bench.capture()


async def test_a_payment_is_captured_for_one_order_only(bench: Bench) -> None:  # (P4)
    await bench.order()
    await bench.order("2")
    await bench.capture()
    with pytest.raises(CaptureRefused, match="captured_for_another_order"):
        await bench.capture(order_id="2")
    with pytest.raises(ConstraintViolated):
        await bench.shop.sql(f"INSERT INTO order_captures VALUES ('2', '{PI}', 'stripe', 1, true)")


async def test_an_order_that_costs_nothing_is_not_captured(bench: Bench) -> None:
    await bench.order(total=0)
    assert (await bench.capture()).amount == 0
    assert await bench.received() == (0, 0)
    assert await bench.findings() == []


async def test_a_cancelled_order_gets_its_capture_back_once(bench: Bench) -> None:  # (P1, P4)
    await bench.order()
    await bench.capture()
    assert await bench.refund() == "made"
    await bench.undo()  # of a run that was under way
    assert await bench.received() == (1_000, 1_000)
    assert await bench.shop.sql(PAYMENTS) == [(1_000, 0, 1_000)]


async def test_only_authorized_payments_of_the_provider_make_an_order_open(bench: Bench) -> None:  # (P4, V10)
    async def openness(order_id: str) -> tuple[bool, bool]:
        now = await bench.shop.call(open_orders.openness, order_id)
        return now.is_open, now.not_capturable

    await bench.order()
    for number, reference in enumerate(("c1234.1", f"{PI} ", f"{PI} + pi_2", None), 2):
        await bench.order(str(number), payment_reference=reference)
    await bench.order("6", payment_status="awaiting")
    assert [await openness(str(number)) for number in range(1, 7)] == [(False, False)] * 6
    await bench.shop.call(open_orders.set_capturable, [Stripe.references])
    opens, waits, closed = (True, False), (False, True), (False, False)
    assert [await openness(str(number)) for number in range(1, 7)] == [opens, waits, opens, waits, waits, closed]
    await bench.shop.call(open_orders.set_capturable, [])
    assert await openness("1") == closed


async def pending_refund(bench: Bench) -> str:
    """Let a captured payment be refunded, and the refund be pending; return its id."""
    await bench.order()
    await bench.capture()
    assert await bench.refund() == "made"
    [refund] = (await bench.server.payment(PI))["refunds"]
    await bench.server.change_refund(refund["id"], status="pending")
    await bench.shop.sql("DELETE FROM step_ledger WHERE business_key = 'cancel-order-1'")
    await bench.shop.sql("UPDATE order_refunds SET state = 'due', refund_id = NULL, made_at = NULL")
    assert await bench.refund() == "pending"
    assert await bench.shop.sql(REFUNDS) == [("cancel-order", 1_000, "pending")]
    return str(refund["id"])


async def test_a_pending_refund_is_looked_up_until_it_is_made(bench: Bench) -> None:  # (P5)
    refund_id = await pending_refund(bench)
    assert await check_pending_refunds(bench.shop.database, bench.providers, bench.alerts) == 0  # too early
    assert await bench.check_refunds() == 0
    assert await bench.refund("c2") == "pending"
    await bench.server.change_refund(refund_id, status="succeeded")
    assert await bench.check_refunds() == 1
    assert await bench.shop.sql(REFUNDS) == [("cancel-order", 1_000, "made")]
    assert await bench.check_refunds() == 0
    assert await bench.refund("c3") == "made" and bench.alerts.sent == {}


async def test_a_pending_refund_that_fails_is_due_again_and_alerted_once(bench: Bench) -> None:  # (P5, B5)
    refund_id = await pending_refund(bench)
    await bench.server.change_refund(refund_id, status="failed", failure_reason="expired_or_canceled_card")
    [pending] = await bench.shop.call(payments.take_pending, [], 9) or [None]
    assert pending is None  # not of another provider
    assert [await bench.check_refunds() for _ in range(2)] == [1, 0]
    [alert] = bench.alerts.sent.values()
    assert (alert.kind, alert.order_id, alert.error) == ("refund-due", "1", "refund_expired_or_canceled_card")
    assert await bench.shop.call(payments.due, REFUND) == 1_000
    assert await bench.refund("c2") == "made"
    assert await bench.received() == (1_000, 1_000)
    assert await bench.findings() == []
