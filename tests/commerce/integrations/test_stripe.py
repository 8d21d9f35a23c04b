"""Stripe: refunds once, whatever is lost on the way; its errors; and its amounts (P1, P2)."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from commerce.errors import PaymentRefused, PaymentsDown, PaymentUnavailable, SettingsError
from commerce.integrations import stripe
from commerce.integrations.payment_provider import ProviderRefund, is_payment_of
from commerce.integrations.payment_providers import open_providers
from commerce.integrations.stripe import Stripe, from_stripe, to_stripe
from commerce.settings import load_settings
from tests.payment_provider import EmbeddedPayments, embedded_payments

PI = "pi_1"
REFUND = (PI, 300, "GBP", "ref")


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedPayments]:
    async with embedded_payments(tmp_path_factory.mktemp("payments")) as embedded:
        yield embedded


@pytest.fixture
async def payment(server: EmbeddedPayments) -> str:
    """The id of a captured payment of 10.00 pounds."""
    payment_id = f"pi_{uuid4().hex}"
    await server.pay(payment_id, 1_000)
    return payment_id


@pytest.fixture(scope="module")
async def account(server: EmbeddedPayments) -> AsyncIterator[Stripe]:
    account = Stripe(server.api, SecretStr("sk_test"))
    yield account
    await account.close()


def responding(*answers: tuple[int, Any]) -> Stripe:
    """Return an account whose server sends these responses in turn."""
    left = list(answers)

    def answer(_request: httpx.Request) -> httpx.Response:
        status, body = left.pop(0)
        return httpx.Response(status, **({"json": body} if isinstance(body, dict) else {"text": body}))

    return Stripe("https://stripe.example/v1", SecretStr("key"), transport=httpx.MockTransport(answer))


# Refunds


async def test_a_refund_is_made_once_per_reference(account: Stripe, server: EmbeddedPayments, payment: str) -> None:
    first, again = [await account.refund(payment, 300, "GBP", f"{payment}-1") for _ in range(2)]
    assert first == again and first
    assert await account.refund(payment, 200, "GBP", f"{payment}-2") != first
    assert await server.refunds(payment) == [200, 300]


@pytest.mark.parametrize("fault", ["cut", "done_500"])
async def test_a_refund_whose_response_was_lost_is_found_and_not_repeated(
    account: Stripe, server: EmbeddedPayments, payment: str, fault: str
) -> None:  # (P2)
    await server.inject_fault("refund", fault, payment_intent=payment)
    with pytest.raises(PaymentUnavailable):
        await account.refund(payment, 300, "GBP", payment)
    assert await account.refund(payment, 300, "GBP", payment)
    assert await server.refunds(payment) == [300]


async def test_after_a_stored_error_a_refund_is_made_with_another_key(
    account: Stripe, server: EmbeddedPayments, payment: str
) -> None:  # (P2)
    await server.inject_fault("refund", "500", 2, payment_intent=payment)
    for _ in range(2):  # the second attempt gets the first error again, and then the second one
        with pytest.raises(PaymentUnavailable, match="500"):
            await account.refund(payment, 300, "GBP", payment)
    assert await account.refund(payment, 300, "GBP", payment)
    assert await server.refunds(payment) == [300]


async def test_a_refund_that_is_listed_only_after_its_stored_error_is_not_repeated(
    account: Stripe, server: EmbeddedPayments, payment: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # (P2)
    await server.inject_fault("refund", "done_500", payment_intent=payment)
    with pytest.raises(PaymentUnavailable):
        await account.refund(payment, 300, "GBP", payment)
    find, calls = account._find_refunds, 0

    async def find_later(*arguments: str) -> Any:
        nonlocal calls
        calls += 1
        return [] if calls == 1 else await find(*arguments)

    monkeypatch.setattr(account, "_find_refunds", find_later)
    assert await account.refund(payment, 300, "GBP", payment)
    assert await server.refunds(payment) == [300]


async def test_a_refund_is_found_on_a_later_page(
    account: Stripe, server: EmbeddedPayments, payment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stripe, "PAGE", 1)
    first = await account.refund(payment, 100, "GBP", f"{payment}-1")
    await account.refund(payment, 100, "GBP", f"{payment}-2")
    assert await account.refund(payment, 100, "GBP", f"{payment}-1") == first


async def test_a_payment_that_was_refunded_elsewhere_is_not_refunded_again(
    account: Stripe, server: EmbeddedPayments, payment: str
) -> None:
    await account.refund(payment, 1_000, "GBP", f"{payment}-other")
    assert await account.refund(payment, 1_000, "GBP", payment) is None
    assert await server.refunds(payment) == [1_000]


async def test_more_than_what_is_left_is_refused(account: Stripe, server: EmbeddedPayments, payment: str) -> None:
    await account.refund(payment, 800, "GBP", f"{payment}-other")
    with pytest.raises(PaymentRefused, match="amount_too_large"):
        await account.refund(payment, 300, "GBP", payment)
    assert await server.refunds(payment) == [800]


async def test_a_refund_that_the_bank_has_returned_is_made_again_and_refused_if_that_fails_at_once(
    account: Stripe, server: EmbeddedPayments, payment: str
) -> None:  # (P5)
    refund = await account.refund(payment, 300, "GBP", payment)
    assert refund and refund.state == "made"
    await server.change_refund(refund.id, status="failed", failure_reason="expired_or_canceled_card")
    assert await account.look_up_refund(refund.id) == ProviderRefund(refund.id, "failed", "expired_or_canceled_card")
    await server.inject_fault("refund", "cut", payment_intent=payment)
    with pytest.raises(PaymentUnavailable):
        await account.refund(payment, 300, "GBP", payment)
    second = await account.refund(payment, 300, "GBP", payment)
    assert second and second.id != refund.id and await account.refund(payment, 300, "GBP", payment) == second
    assert (await server.payment(payment))["refunded"] == 300


async def test_a_refund_that_fails_at_once_is_refused(server: EmbeddedPayments) -> None:  # (P5)
    failed = {"id": "re_1", "status": "failed", "failure_reason": "lost_or_stolen_card"}
    account = responding(
        (200, {"data": [], "has_more": False}), (200, {"status": "succeeded", "currency": "gbp"}), (200, failed)
    )
    with pytest.raises(PaymentRefused, match="refund_lost_or_stolen_card"):
        await account.refund(*REFUND)


@pytest.mark.parametrize("status", ["pending", "requires_action"])
async def test_a_refund_can_be_pending(
    account: Stripe, server: EmbeddedPayments, payment: str, status: str
) -> None:  # (P5)
    refund = await account.refund(payment, 300, "GBP", payment)
    assert refund
    await server.change_refund(refund.id, status=status)
    for now in (await account.look_up_refund(refund.id), await account.refund(payment, 300, "GBP", payment)):
        assert now == ProviderRefund(refund.id, "pending")


async def test_an_amount_of_another_currency_is_refused(
    account: Stripe, server: EmbeddedPayments, payment: str
) -> None:
    with pytest.raises(PaymentRefused, match="other_currency"):
        await account.refund(payment, 300, "EUR", payment)
    assert await server.refunds(payment) == []


# Authorizations


async def test_an_authorization_is_captured_once(account: Stripe, server: EmbeddedPayments) -> None:
    await server.pay(f"{PI}capture", 500, status="requires_capture")
    await server.inject_fault("capture", "done_500", payment_intent=f"{PI}capture")
    with pytest.raises(PaymentUnavailable):
        await account.capture(f"{PI}capture", 500, "GBP", "ref")
    await account.capture(f"{PI}capture", 500, "GBP", "ref")
    assert (await server.payment(f"{PI}capture"))["payment"]["amount_received"] == 500
    assert await account.captured(f"{PI}capture", "GBP") == 500
    with pytest.raises(PaymentRefused, match="payment_succeeded"):
        await account.capture(f"{PI}capture", 400, "GBP", "ref")


async def test_an_authorization_is_cancelled_once_and_then_not_captured(
    account: Stripe, server: EmbeddedPayments
) -> None:
    await server.pay(f"{PI}release", 500, status="requires_capture")
    await server.inject_fault("cancel", "500", payment_intent=f"{PI}release")
    with pytest.raises(PaymentUnavailable):
        await account.release(f"{PI}release", "ref")
    for _ in range(2):
        await account.release(f"{PI}release", "ref")
    assert await account.captured(f"{PI}release", "GBP") == 0
    with pytest.raises(PaymentRefused, match="authorization_requested_by_customer"):
        await account.capture(f"{PI}release", 500, "GBP", "other")


async def test_a_captured_payment_is_not_released(account: Stripe, payment: str) -> None:
    with pytest.raises(PaymentRefused, match="payment_succeeded"):
        await account.release(payment, "ref")


# Errors


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, PaymentsDown) for status in (401, 403, 429, 502, 503, 504)),
        *((status, PaymentUnavailable) for status in (409, 424, 500)),
        *((status, PaymentRefused) for status in (400, 402, 404)),
    ],
)
async def test_an_error_response_becomes_the_right_error(status: int, kind: type[Exception]) -> None:
    body = {"error": {"type": "card_error", "code": "card_declined", "message": "Jenny Rosen's card"}}
    with pytest.raises(kind, match=str(status)) as raised:
        await responding((status, body)).refund(*REFUND)
    assert type(raised.value) is kind and "Jenny" not in str(raised.value)


@pytest.mark.parametrize("body", ["<html>", {"data": "?"}])
async def test_an_unreadable_response_can_be_retried(body: Any) -> None:
    with pytest.raises(PaymentUnavailable, match="unreadable"):
        await responding((200, body)).refund(*REFUND)


async def test_without_a_connection_all_payments_wait() -> None:
    with pytest.raises(PaymentsDown):
        await Stripe("http://127.0.0.1:1/v1", SecretStr("key")).refund(*REFUND)


# Amounts


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        (1099, "GBP", 1099),
        (500, "JPY", 500),
        (500, "ISK", 50_000),
        (500, "UGX", 50_000),
        (500, "MGA", 5),
        (1_230, "KWD", 1_230),
        (5_000, "HUF", 5_000),
        (5_000, "TWD", 5_000),
    ],
)
def test_an_amount_has_stripes_decimals(amount: int, currency: str, expected: int) -> None:  # (P2)
    assert to_stripe(amount, currency) == expected
    assert from_stripe(expected, currency) == amount


@pytest.mark.parametrize(("amount", "currency"), [(550, "MGA"), (1_234, "KWD")])
def test_an_amount_that_stripe_does_not_have_is_refused(amount: int, currency: str) -> None:
    with pytest.raises(PaymentRefused, match="amount_not_supported"):
        to_stripe(amount, currency)


# Settings


async def test_payments_are_at_the_shop_unless_the_settings_name_a_provider() -> None:
    assert open_providers(load_settings({})) == {}
    [(name, provider)] = open_providers(load_settings({"COMMERCE_PAYMENTS": "stripe"})).items()
    assert name == "stripe"
    assert [is_payment_of(provider, each) for each in ("pi_3MtwBwLkdIwHu7ix", "c123.1")] == [True, False]
    await provider.close()
    with pytest.raises(
        SettingsError, match="COMMERCE_PAYMENTS: there is no payment provider 'other', only shop, strip"
    ):
        open_providers(load_settings({"COMMERCE_PAYMENTS": "other"}))
