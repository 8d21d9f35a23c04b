"""Messages about money that goes back to customers. Amounts are in minor units of the currency."""

from typing import Literal

from commerce.messages.base import Message

AT_SHOP = "shop"  # the provider of payments that are refunded at the shop that the orders come from


class RefundRequest(Message):
    """The input of `refund-payment`: all that is left of an order's payment goes back. `purpose`: one refund each.

    `return_id`: only what the goods of this return are worth goes back, as far as that much is left.
    """

    order_id: str
    purpose: str
    return_id: str | None = None


class Refund(Message):
    """The result of `refund-payment`.

    `made`: the provider has refunded the amount. `pending`: the provider has accepted it, and looking it up shows what
    becomes of it (P5). `at_shop`: it is to be refunded at the shop that the order comes from. `released`: the payment
    was only authorized, and that is cancelled. `none`: nothing is left to refund.
    """

    state: Literal["made", "pending", "at_shop", "released", "none"]
    amount: int = 0
    currency: str = ""
    refund_id: str | None = None

    def summary(self) -> str:
        """Return what became of the refund."""
        return {
            "made": "refunded",
            "pending": "accepted by the provider",
            "at_shop": "at the shop",
            "released": "authorization cancelled",
        }.get(self.state, "nothing to refund")


class Captured(Message):
    """The result of `capture-payment`. `ours`: it was not captured before, by somebody else."""

    amount: int
    currency: str
    provider: str
    payment_id: str
    ours: bool = True

    def summary(self) -> str:
        """Return what became of the payment."""
        return ("captured" if self.ours else "captured before") if self.amount else "nothing to capture"


class ShopRefund(RefundRequest):
    """The input of `refund-at-shop`: an amount that a person has to refund at the shop, and then to note here."""

    amount: int
    currency: str


class NotedRefund(Message):
    """The answer to `refund-at-shop`. `noted` is false if nobody has answered in time."""

    noted: bool = True
