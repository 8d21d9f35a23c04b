"""Orders whose payment is captured when they are fulfilled (P4)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from commerce.errors import CaptureRefused, PaymentNotCaptured
from commerce.integrations.payment_providers import open_providers
from commerce.mail.notifier import Notifier
from commerce.messages.cancellations import CancelOrder, CancelResult
from starter.client import start
from starter.operate.actions import retry
from starter.operate.pending_refunds import check_pending_refunds
from tests.faults import Faults, Gate
from tests.payment_provider import EmbeddedPayments
from tests.running_shop import RunningShop, running_shop, wait_for_end

ORDER = ("payment_status", "hold_reason")
STEPS = ["create-fulfillment", "create-shipping-label", "capture-payment", "complete-order", "send-notification"]


@pytest.fixture
async def shop(
    tmp_path: Path, database_url: str, client: Client, payments: EmbeddedPayments
) -> AsyncIterator[RunningShop]:
    """A shop with three mugs that captures payments at the embedded provider."""
    settings = payments.settings | {"COMMERCE_CAPTURE": "on_fulfillment"}
    async with running_shop(tmp_path, database_url, client, **settings) as shop:
        await shop.data.stock("MUG", main=3)
        yield shop


@pytest.fixture
async def order_id(shop: RunningShop, payments: EmbeddedPayments) -> str:
    """An order for one mug with an authorized payment."""
    order_id = uuid4().hex
    await payments.pay(f"pi_{order_id}", 250, status="requires_capture")
    columns = {"payment_reference": f"pi_{order_id}", "payment_status": "authorized"}
    await shop.data.order(order_id, MUG=1, columns=columns)
    return order_id


async def money(payments: EmbeddedPayments, order_id: str) -> tuple[int, int]:
    """Return how much the provider has received and refunded."""
    found = await payments.payment(f"pi_{order_id}")
    return found["payment"]["amount_received"], found["refunded"]


async def assert_undone(shop: RunningShop, order_id: str) -> None:
    assert await shop.data.levels("MUG") == {"main": (3, 0)}
    assert (await shop.labels(order_id))["live"] == 0
    assert await shop.findings() == []


async def test_an_authorized_payment_is_captured_before_the_order_is_completed(
    shop: RunningShop, payments: EmbeddedPayments, order_id: str
) -> None:  # (P4)
    async with shop.worker():
        assert (await shop.process(order_id)).status == "fulfilled"
        assert list(await shop.states(order_id))[-5:] == STEPS
        assert await money(payments, order_id) == (250, 0)
        assert await shop.data.order_columns(order_id, *ORDER) == ("captured", None)
        assert await shop.findings() == []

        # Its refund is pending at first, and then fails.
        handle = await start(shop.client, "cancel-order", CancelOrder(order_id=order_id))
        result = CancelResult.model_validate(await handle.result())
        assert (result.status, result.refunded) == ("cancelled", 250)
        [refund] = (await payments.payment(f"pi_{order_id}"))["refunds"]
        await payments.change_refund(refund["id"], status="failed", failure_reason="lost_or_stolen_card")
        await shop.data.sql(
            "UPDATE order_refunds SET state = 'pending', checked_at = now() - interval '1 day', made_at = NULL"
        )
        providers = open_providers(shop.settings)
        assert (
            await check_pending_refunds(shop.database, providers, Notifier.of(shop.settings, shop.database, None)) == 1
        )
        await providers["stripe"].close()
        assert len(shop.mails("refund-due", order_id)) == 1
        await retry(shop.client, shop.database, handle.id, reason="the customer has another card")
        result = CancelResult.model_validate(await shop.client.get_workflow_handle(handle.id).result())
    assert (result.status, result.refunded) == ("cancelled", 250)
    assert await money(payments, order_id) == (250, 250)
    await assert_undone(shop, order_id)


async def test_an_expired_authorization_undoes_the_order(
    shop: RunningShop, payments: EmbeddedPayments, order_id: str
) -> None:  # (P4)
    await payments.change_payment(f"pi_{order_id}", status="canceled", cancellation_reason="automatic")
    async with shop.worker():
        error = await shop.expect_failure(order_id)
    assert isinstance(error, CaptureRefused) and error.code == "authorization_automatic"
    assert await shop.data.order_columns(order_id, *ORDER) == ("authorized", "failed: CaptureRefused")
    [mail] = shop.mails("order-failed", order_id)
    body: Any = mail.get_body(("plain",))
    assert "could not be captured: authorization_automatic" in body.get_content()
    await assert_undone(shop, order_id)


@pytest.mark.parametrize("how", ["failure", "cancel"])
async def test_what_ends_the_order_after_the_capture_refunds_it(
    shop: RunningShop, payments: EmbeddedPayments, order_id: str, how: str
) -> None:  # (P4)
    gate = Gate("capture-payment")
    gate.before = False
    async with shop.worker([gate] if how == "cancel" else [Faults({"complete-order": "before"})]):
        handle = await shop.start(order_id)
        if how == "cancel":
            await gate.reached.wait()
            await handle.cancel()
            gate.opened.set()
        await wait_for_end(handle)
        ended = WorkflowExecutionStatus.CANCELED if how == "cancel" else WorkflowExecutionStatus.FAILED
        assert await shop.status(order_id) == ended
        assert await money(payments, order_id) == (250, 250)
        await assert_undone(shop, order_id)
        error = await shop.expect_failure(order_id)
    assert isinstance(error, PaymentNotCaptured) and error.payment_status == "refunded"
    assert await money(payments, order_id) == (250, 250)


async def test_a_reference_that_is_no_payment_intent_is_not_captured_here(shop: RunningShop) -> None:  # (P4)
    order_id = uuid4().hex
    columns = {"payment_reference": "c123.1", "payment_status": "authorized"}
    await shop.data.order(order_id, MUG=1, columns=columns)
    async with shop.worker():
        assert isinstance(await shop.expect_failure(order_id), PaymentNotCaptured)
    assert await shop.data.order_columns(order_id, *ORDER) == ("authorized", None)
