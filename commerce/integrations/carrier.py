"""What the shop requires of a carrier; `carriers.py` lists the carriers that the shop has."""

from dataclasses import dataclass
from typing import Literal, Protocol

from commerce.errors import CarrierDown, CarrierRefused, CarrierUnavailable
from commerce.messages.orders import Label
from commerce.shipments import Shipment

# HTTP statuses about our account or the carrier as a whole: a key that was changed, an unpaid bill, too many requests,
# a server behind a gateway that is down. They would stop every shipment alike.
DOWN = {401, 402, 403, 429, 502, 503, 504}
BUSY = {408, 409, 423, 425}  # about this request, which may work a moment later; so may any other 5xx


@dataclass(frozen=True)
class Parcel:
    """Size and weight of a parcel, in inches and ounces."""

    length: float
    width: float
    height: float
    weight: float


@dataclass(frozen=True)
class LabelState:
    """What a carrier knows of a label that was bought.

    `handed_over`: whether the carrier has the parcel; None: it does not know. `refund`: whether the label was returned.
    A carrier may take days to make a refund that was `requested`, and refuse it if the label was used.
    """

    handed_over: bool | None
    refund: Literal["none", "requested", "made", "refused"] = "none"


class Carrier(Protocol):
    """The shop's account at a carrier.

    Steps are retried, so each method is called again after any error, by another worker too. A method must end within
    10 seconds. It raises CarrierUnavailable if trying again may help, and CarrierRefused if it cannot. It raises
    CarrierDown for what would stop every shipment alike, such as no connection or a rejected key: the step then waits
    until that is over, and the admins are alerted once. Errors hold no names and addresses, because they travel into
    histories and logs.
    """

    async def create(self, shipment: Shipment, reference: str) -> str:
        """Register a shipment at the carrier and return its id. This must cost nothing.

        A repeated call may register another shipment: the caller uses the first id that it could save, and forgets the
        others. `reference` is the same in repeated calls and differs between labels. If the shipment `is_return`, its
        label is for the way back: from its recipient to its sender.
        """

    async def buy(self, shipment_id: str) -> Label:
        """Buy the label of a shipment, or return the label that was bought before: never buy a second one.

        CarrierRefused means that no label was bought and none will be, also after a refund. After CarrierUnavailable,
        a label may have been bought or may still be.
        """

    async def refund(self, shipment_id: str) -> bool:
        """Return the label of a shipment, unless that was done before, and return True.

        Return False if there is no label: none was bought yet, or the carrier does not know the shipment.
        CarrierRefused means that the carrier does not take the label back. That it has been returned already is no
        reason to refuse, even if the carrier reports it as an error.
        """

    async def look_up(self, shipment_id: str) -> LabelState | None:
        """Return what the carrier knows of a shipment's label, or None if no label was bought."""

    async def close(self) -> None:
        """Close open connections."""


def error_of(status: int, code: str) -> CarrierRefused | CarrierUnavailable:
    """Return the error for an HTTP status that is no success; `code` is the carrier's own name for a refusal."""
    if status in DOWN:
        return CarrierDown(f"HTTP {status}", status)
    if status in BUSY or not 400 <= status <= 499:
        return CarrierUnavailable(f"HTTP {status}")
    return CarrierRefused(code, status)
