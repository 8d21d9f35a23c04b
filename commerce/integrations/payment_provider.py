"""What the shop requires of a payment provider; `payment_providers.py` lists the providers that the shop has."""

import re
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True)
class ProviderRefund:
    """A refund at the provider. `pending`: it is accepted, and succeeds or fails later. `reason`: why it has failed."""

    id: str
    state: Literal["made", "pending", "failed"] = "made"
    reason: str = ""


class PaymentProvider(Protocol):
    """The shop's account at a payment provider.

    Amounts are in the shop's minor units: as many decimals as `commerce/currencies.py` says. `reference` identifies
    what is meant, such as one refund: it is the same in repeated calls, and the provider does it once.

    Steps are retried, so each method is called again after any error, by another worker too. A method must end within
    10 seconds. It raises PaymentUnavailable if trying again may help: what it was asked for may have been done, or may
    still be. It raises PaymentRefused if trying again cannot help: it was not done, and will not be. It raises
    PaymentsDown for what would stop every payment alike, such as a rejected key. Errors hold nothing about persons.

    `references`: a regular expression of the payment references that are ids of payments of this provider. Python and
    PostgreSQL must read it alike.
    """

    references: str

    async def capture(self, payment_id: str, amount: int, currency: str, reference: str) -> None:
        """Capture an authorized payment. Does nothing if this amount was captured before."""

    async def captured(self, payment_id: str, currency: str) -> int:
        """Return how much of a payment is captured, refunded or not; 0 if it is not captured."""

    async def release(self, payment_id: str, reference: str) -> None:
        """Cancel an authorized payment. Does nothing if it was cancelled before; refuses if it was captured."""

    async def refund(self, payment_id: str, amount: int, currency: str, reference: str) -> ProviderRefund | None:
        """Refund an amount of a captured payment, once per reference, and return the refund, made or pending.

        After a refund with this reference has failed, another one is made. Refuses if that fails at once. Return None
        if all of the payment was refunded before, under other references.
        """

    async def look_up_refund(self, refund_id: str) -> ProviderRefund:
        """Return what has become of a refund."""

    async def close(self) -> None:
        """Close open connections."""


def is_payment_of(provider: PaymentProvider, reference: str) -> bool:
    """Return whether an order's payment reference is the id of a payment of this provider."""
    return re.fullmatch(provider.references, reference) is not None
