"""The embedded payment provider for tests, and the routes that control it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest


class EmbeddedPayments:
    """The embedded payment provider on a real port. `api` is the root of its API."""

    def __init__(self, url: str) -> None:
        self.api = f"{url}/v1"
        self._http = httpx.AsyncClient(base_url=f"{url}/trial", verify=False)

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a shop whose payments are at this provider."""
        return {"COMMERCE_PAYMENTS": "stripe", "COMMERCE_PAYMENTS_URL": self.api, "COMMERCE_PAYMENTS_API_KEY": "k"}

    async def pay(self, payment_id: str, amount: int, currency: str = "gbp", status: str = "succeeded") -> None:
        """Let a customer pay, in Stripe's units."""
        body = {"id": payment_id, "amount": amount, "currency": currency, "status": status}
        (await self._http.post("/payments", json=body)).raise_for_status()

    async def inject_fault(self, operation: str, fault: str, times: int | None = 1, **more: Any) -> None:
        body = {"operation": operation, "fault": fault, "times": times} | more
        (await self._http.post("/faults", json=body)).raise_for_status()

    async def payment(self, payment_id: str) -> dict[str, Any]:
        """Return a payment intent with its refunds: `payment`, `refunds`, `refunded`."""
        found: dict[str, Any] = (await self._http.get(f"/payments/{payment_id}")).raise_for_status().json()
        return found

    async def refunds(self, payment_id: str) -> list[int]:
        """Return the amounts of all refunds of a payment."""
        return [refund["amount"] for refund in (await self.payment(payment_id))["refunds"]]

    async def change_refund(self, refund_id: str, **values: Any) -> None:
        (await self._http.post(f"/refunds/{refund_id}", json=values)).raise_for_status()

    async def change_payment(self, payment_id: str, **values: Any) -> None:
        (await self._http.post(f"/payments/{payment_id}", json=values)).raise_for_status()

    async def close(self) -> None:
        await self._http.aclose()


@asynccontextmanager
async def embedded_payments(folder: Path) -> AsyncIterator[EmbeddedPayments]:
    """Run the embedded payment provider during the block."""
    from starter.devstack.payments import server  # loads FastAPI, which most tests do without

    async with server.running(folder, 0) as url:
        embedded = EmbeddedPayments(url)
        yield embedded
        await embedded.close()


@pytest.fixture
async def payments(tmp_path: Path) -> AsyncIterator[EmbeddedPayments]:
    """The embedded payment provider, for one test."""
    async with embedded_payments(tmp_path / "payments") as embedded:
        yield embedded
