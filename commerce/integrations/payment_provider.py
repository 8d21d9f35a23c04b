"""What the shop requires of a payment provider; `payment_providers.py` lists the providers that the shop has."""

from typing import Protocol


class PaymentProvider(Protocol):
    """The shop's account at a payment provider.

    Amounts are in the shop's minor units: as many decimals as `commerce/currencies.py` says. `reference` identifies
    what is meant, such as one refund: it is the same in repeated calls, and the provider does it once.

    Steps are retried, so each method is called again after any error, by another worker too. A method must end within
    10 seconds. It raises PaymentUnavailable if trying again may help: what it was asked for may have been done, or may
    still be. It raises PaymentRefused if trying again cannot help: it was not done, and will not be. It raises
    PaymentsDown for what would stop every payment alike, such as a rejected key. Errors hold nothing about persons.
    """

    def owns(self, reference: str) -> bool:
        """Return whether an order's payment reference is the id of a payment of this provider."""

    async def capture(self, payment_id: str, amount: int, currency: str, reference: str) -> None:
        """Capture an authorized payment. Does nothing if this amount was captured before."""

    async def release(self, payment_id: str, reference: str) -> None:
        """Cancel an authorized payment. Does nothing if it was cancelled before; refuses if it was captured."""

    async def refund(self, payment_id: str, amount: int, currency: str, reference: str) -> str | None:
        """Refund an amount of a captured payment, once per reference, and return the id of the refund.

        Return None if all of the payment was refunded before, under other references.
        """

    async def close(self) -> None:
        """Close open connections."""
