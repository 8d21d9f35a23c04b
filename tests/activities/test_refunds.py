"""Refunds: planned once, made once at the provider, and never more than was captured (P1, P3)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from activities.payments import PaymentActivities
from commerce.database import Database
from commerce.errors import (
    ConstraintViolated,
    OrderNotFound,
    PaymentProviderUnknown,
    PaymentRefused,
    PaymentUnavailable,
    StepInProgress,
)
from commerce.integrations.stripe import Stripe
from commerce.messages.payments import Refund, RefundRequest
from commerce.messages.steps import Call, StepKey
from tests.commerce.shop import Shop, begin_generation
from tests.payment_provider import EmbeddedPayments, embedded_payments

PI = "pi_1"
NO_NOTIFIER: Any = None
REFUNDS = "SELECT amount, state, provider FROM order_refunds"
PAYMENTS = "SELECT captured, refunded_elsewhere, refunded FROM order_payments"


class Bench:
    """An order, the activities, and the embedded provider behind them."""

    def __init__(self, database: Database, server: EmbeddedPayments) -> None:
        self.shop, self.server = Shop(database), server
        self.account = Stripe(server.api, SecretStr("sk_test"))
        self.activities = PaymentActivities(database, {"stripe": self.account}, NO_NOTIFIER)
        self.at_shop = PaymentActivities(database, {}, NO_NOTIFIER)

    async def order(self, **columns: object) -> None:
        """Create an order that was paid with 10.00 pounds."""
        await self.shop.order("1", columns={"payment_reference": PI, "total": 1_000} | columns)
        await self.server.pay(PI, 1_000)

    async def call(self, generation: str = "g1") -> Call[RefundRequest]:
        key = StepKey(business_key="cancel-order-1", step="refund-payment", generation=generation)
        await self.shop.call(begin_generation, key)
        return Call(key=key, input=RefundRequest(order_id="1", purpose="cancel-order"))

    async def refund(self, generation: str = "g1") -> Refund:
        return await self.activities.refund(await self.call(generation))

    async def change(self, columns: str) -> None:
        await self.shop.sql(f"UPDATE orders SET {columns}")


@pytest.fixture
async def bench(database: Database, tmp_path: Path) -> AsyncIterator[Bench]:
    async with embedded_payments(tmp_path) as server:
        bench = Bench(database, server)
        yield bench
        await bench.account.close()


async def test_all_of_the_payment_is_refunded_once_by_all_attempts_and_all_runs(bench: Bench) -> None:  # (P1)
    await bench.order()
    made = [await bench.refund(generation) for generation in ("g1", "g1", "g2")]
    assert {(refund.state, refund.amount, refund.currency) for refund in made} == {("made", 1_000, "GBP")}
    assert len({refund.refund_id for refund in made}) == 1
    assert await bench.server.refunds(PI) == [1_000]
    assert await bench.shop.sql(PAYMENTS) == [(1_000, 0, 1_000)]


@pytest.mark.parametrize("fault", ["cut", "done_500", "500"])
async def test_a_newer_run_does_not_repeat_a_refund_whose_answer_an_older_run_has_lost(
    bench: Bench, fault: str
) -> None:  # (P1)
    await bench.order()
    await bench.server.inject_fault("refund", fault)
    with pytest.raises(PaymentUnavailable):
        await bench.refund("g1")
    assert (await bench.refund("g2")).state == "made"
    assert await bench.server.refunds(PI) == [1_000]


async def test_a_second_attempt_waits_for_the_first(bench: Bench) -> None:
    await bench.order()
    call = await bench.call()
    await bench.server.inject_fault("refund", "slow", seconds=0.5)
    first = asyncio.create_task(bench.activities.refund(call))
    while await bench.shop.sql("SELECT 1 FROM step_ledger WHERE note IS NOT NULL") == []:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    with pytest.raises(StepInProgress):
        await bench.activities.refund(call)
    assert (await first).state == "made"


@pytest.mark.parametrize(
    ("columns", "refunded"),
    [
        ({"refunded_total": 300, "payment_status": "partially_refunded"}, 700),
        ({"refunded_total": 0, "payment_status": "partially_captured", "outstanding_total": 400}, 600),
        ({"refunded_total": 0, "payment_status": "refunded"}, None),
        ({"refunded_total": 1_000, "payment_status": "refunded"}, None),
        ({"refunded_total": 0, "payment_status": "awaiting"}, None),
        ({"refunded_total": 0, "payment_status": "partially_captured"}, None),
    ],
)
async def test_what_was_not_captured_or_is_refunded_at_the_shop_is_not_refunded(
    bench: Bench, columns: dict[str, Any], refunded: int | None
) -> None:  # (P1, V13)
    await bench.order(**columns)
    refund = await bench.refund()
    assert (refund.state, refund.amount) == (("made", refunded) if refunded else ("none", 0))
    assert await bench.server.refunds(PI) == ([refunded] if refunded else [])


async def test_a_payment_that_was_refunded_at_the_provider_is_not_refunded_again(bench: Bench) -> None:  # (P1)
    await bench.order()
    await bench.account.refund(PI, 1_000, "GBP", "by the shop")
    assert (await bench.refund()).state == "none"
    assert await bench.server.refunds(PI) == [1_000]
    assert await bench.shop.sql(PAYMENTS) == [(1_000, 1_000, 0)]
    assert (await bench.refund("g2")).state == "none"


async def test_the_database_refuses_to_refund_more_than_was_captured(bench: Bench) -> None:  # (P1)
    await bench.order()
    await bench.refund()
    with pytest.raises(ConstraintViolated):
        await bench.shop.sql("UPDATE order_payments SET refunded_elsewhere = 1")


async def test_a_source_that_learns_of_our_refund_does_not_make_it_two(bench: Bench) -> None:  # (P1)
    await bench.order()
    await bench.refund()
    await bench.change("payment_status = 'refunded', refunded_total = 1000")
    assert (await bench.refund("g2")).state == "made"
    assert await bench.shop.sql(PAYMENTS) == [(1_000, 0, 1_000)]


async def test_an_authorization_is_cancelled(bench: Bench) -> None:
    await bench.shop.order("1", columns={"payment_reference": PI, "total": 1_000, "payment_status": "authorized"})
    await bench.server.pay(PI, 1_000, status="requires_capture")
    assert (await bench.refund()).state == "released"
    assert (await bench.server.payment(PI))["payment"]["status"] == "canceled"
    assert (await bench.refund("g2")).state == "released"


async def test_a_refund_that_is_refused_stays_due(bench: Bench) -> None:
    await bench.order()
    await bench.server.inject_fault("refund", "402")
    with pytest.raises(PaymentRefused, match="card_declined"):
        await bench.refund()
    assert await bench.shop.sql(REFUNDS) == [(1_000, "due", "stripe")]
    assert (await bench.refund("g2")).state == "made"


@pytest.mark.parametrize("reference", ["c1234567.1", "pi_1 + pi_2", None])
async def test_a_reference_that_is_no_payment_intent_is_refunded_at_the_shop(
    bench: Bench, reference: str | None
) -> None:  # (P3)
    await bench.order(payment_reference=reference)
    refund = await bench.refund()
    assert (refund.state, refund.amount, refund.currency) == ("at_shop", 1_000, "GBP")
    assert await bench.shop.sql(REFUNDS) == [(1_000, "due", "shop")]
    assert await bench.server.refunds(PI) == []


async def test_without_a_provider_all_refunds_are_made_at_the_shop_and_noted(bench: Bench) -> None:  # (P3)
    await bench.order()
    call = await bench.call()
    assert (await bench.at_shop.refund(call)).state == "at_shop"
    noted = call.model_copy(update={"key": call.key.model_copy(update={"step": "note-refund"})})
    for _ in range(2):
        await bench.at_shop.note(noted)
    assert await bench.shop.sql(REFUNDS) == [(1_000, "made", "shop")]
    assert (await bench.refund("g2")).state == "made"


async def test_a_refund_at_the_shop_counts_as_made_once_the_source_states_it(bench: Bench) -> None:  # (P3)
    await bench.order(refunded_total=300, payment_status="partially_refunded")
    assert (await bench.at_shop.refund(await bench.call())).amount == 700
    await bench.change("payment_status = 'refunded', refunded_total = 1000")
    assert (await bench.at_shop.refund(await bench.call("g2"))).state == "made"


async def test_a_planned_refund_waits_for_its_provider(bench: Bench) -> None:
    await bench.order()
    await bench.server.inject_fault("refund", "402")
    with pytest.raises(PaymentRefused):
        await bench.refund()
    with pytest.raises(PaymentProviderUnknown, match="'stripe'"):
        await bench.at_shop.refund(await bench.call("g2"))


async def test_an_unknown_order_is_refused(bench: Bench) -> None:
    with pytest.raises(OrderNotFound):
        await bench.refund()
