"""Scenarios with steps that wait for the warehouse and for the customer, and with captured payments.

They need settings under which every order waits for its pick, and every registration for a mailed link: ASKING.
"""

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import httpx

from commerce.errors import CaptureRefused
from commerce.intake.signatures import sign
from commerce.messages.orders import order_process_id
from commerce.messages.picks import STEP
from starter.client import wait_for_result
from tests.payment_provider import EmbeddedPayments
from tests.polling import until
from tests.running_shop import wait_for_end
from tests.system import leak_words as words
from tests.system.leak_scenarios import Setup

ASKING = {
    "COMMERCE_FULFILLMENT": "confirmed",
    "COMMERCE_CAPTURE": "on_fulfillment",
    "COMMERCE_PAYMENTS": "stripe",
    "COMMERCE_PAYMENTS_API_KEY": words.PAYMENTS_KEY,
    "COMMERCE_CONFIRM_ADDRESS": "on",
}
FAILING = "complete-order"
PAID = 250  # minor units
PICKS = "SELECT CAST(id AS text) FROM picks WHERE business_key = :process"
LINK = re.compile(r"/answers/\S+")


@dataclass(frozen=True)
class Asking:
    """A shop with the settings ASKING, its payment provider, and the API that is answered."""

    setup: Setup
    payments: EmbeddedPayments
    http: httpx.AsyncClient

    @property
    def faults(self) -> dict[str, str]:
        """Return the worker's faults by process id, see leak_worker."""
        return {order_process_id(f"{self.setup.name}-refunded"): FAILING}

    async def start_order(self, scenario: str) -> tuple[str, str]:
        """Start an order whose payment is authorized; return its id and its pick when it waits for the warehouse."""
        order_id = f"{self.setup.name}-{scenario}"
        await self.payments.pay(payment_of(order_id), PAID, status="requires_capture")
        authorized = {"payment_reference": payment_of(order_id), "payment_status": "authorized"}
        await self.setup.create_order(scenario, **authorized)
        await self.setup.shop.start_until_waiting(order_id, STEP)
        [pick_id] = await self.setup.shop.data.sql(PICKS, process=order_process_id(order_id))
        return order_id, pick_id

    async def answer_pick(self, body: Any, signature: str | None = None) -> int:
        """Send an answer of the warehouse, signed unless there is another signature; return the status."""
        content = json.dumps(body).encode()
        headers = {"X-Warehouse-Signature": signature or sign(content, words.WAREHOUSE_SECRET)}
        return (await self.http.post("/intake/warehouse", content=content, headers=headers)).status_code

    async def pick(self, pick_id: str, units: int) -> None:
        assert await self.answer_pick({"id": pick_id, "picked": [{"sku": "MUG", "quantity": units}]}) == 200

    async def money(self, order_id: str) -> tuple[int, int]:
        """Return how much the provider has received and refunded."""
        found = await self.payments.payment(payment_of(order_id))
        return found["payment"]["amount_received"], found["refunded"]


def payment_of(order_id: str) -> str:
    return f"pi_{order_id.replace('-', '')}"


async def order_picked(asking: Asking) -> None:
    """The warehouse answers, first with personal data where they do not belong; the payment is captured."""
    order_id, pick_id = await asking.start_order("picked")
    picked = [{"sku": "MUG", "quantity": 1}]
    wrong: dict[int, list[tuple[Any, str | None]]] = {
        401: [({"id": pick_id, "picked": picked, "by": words.RECIPIENT}, words.PHONE)],
        422: [
            ({"id": pick_id, "picked": [{"sku": words.RECIPIENT, "quantity": 1}]}, None),
            ({"id": words.BUYER_PREFIX, "picked": [{words.STREET: words.PHONE}]}, None),
            (f"{words.RECIPIENT}, {words.STREET}", None),
        ],
    }
    for status, bodies in wrong.items():
        for body, signature in bodies:
            assert await asking.answer_pick(body, signature) == status, body
    await asking.pick(pick_id, 1)
    assert (await asking.setup.shop.process(order_id)).status == "fulfilled"
    assert await asking.money(order_id) == (PAID, 0)


async def order_not_found_in_the_warehouse(asking: Asking) -> None:
    """The warehouse has nothing of an order, and admins are alerted."""
    order_id, pick_id = await asking.start_order("short")
    await asking.pick(pick_id, 0)
    assert (await asking.setup.shop.process(order_id)).status == "insufficient_inventory"


async def capture_refused(asking: Asking) -> None:
    """The provider refuses a capture with personal data in its error, and admins are alerted."""
    order_id, pick_id = await asking.start_order("declined")
    said = f"The card of {words.RECIPIENT} <{words.BUYER_PREFIX}@shop.example>, {words.STREET}, was declined."
    await asking.payments.inject_fault("capture", "402", None, payment_intent=payment_of(order_id), message=said)
    await asking.pick(pick_id, 1)
    assert isinstance(await wait_for_failure(asking, order_id), CaptureRefused)


async def captured_order_undone(asking: Asking) -> None:
    """An order fails after its payment was captured, which is then refunded."""
    order_id, pick_id = await asking.start_order("refunded")
    await asking.pick(pick_id, 1)
    await wait_for_end(asking.setup.shop.handle(order_id))
    assert await asking.money(order_id) == (PAID, PAID)


async def wait_for_failure(asking: Asking, order_id: str) -> BaseException | None:
    [failure] = await asyncio.gather(wait_for_result(asking.setup.shop.handle(order_id)), return_exceptions=True)
    return failure if isinstance(failure, BaseException) else None


async def address_confirmed(asking: Asking) -> None:
    """A customer proves an address with the mailed link, first with a wrong password and with data not asked for."""
    setup, address = asking.setup, asking.setup.address("confirmed")
    run = await setup.start_registration(address)

    async def mailed() -> str | None:
        texts = [mail.get_body(("plain",)) for mail in setup.shop.mails("confirm-address") if mail["To"] == address]
        return next((found.group() for text in texts if text and (found := LINK.search(text.get_content()))), None)

    link = await until(mailed)
    wrong = {"password": words.PASSWORD_AS_HASH, "email": address, "reason": f"{words.FIRST} {words.LAST}"}
    assert (await asking.http.post(link, data=wrong)).status_code == 422
    assert (await asking.http.post(link, data={"password": words.PASSWORD})).status_code == 200
    assert (await run.result())["email_sent"]


SCENARIOS: list[Callable[[Asking], Coroutine[Any, Any, None]]] = [
    order_picked,
    order_not_found_in_the_warehouse,
    capture_refused,
    captured_order_undone,
    address_confirmed,
]


async def run_asking(asking: Asking) -> None:
    """Run all scenarios concurrently, with a warehouse that does not answer by itself."""
    async with httpx.AsyncClient(base_url=asking.setup.shop.settings.warehouse_url, verify=False) as http:
        (await http.put("/trial/picks", json={"silent": True})).raise_for_status()
    async with asyncio.TaskGroup() as group:
        for scenario in SCENARIOS:
            group.create_task(scenario(asking))
