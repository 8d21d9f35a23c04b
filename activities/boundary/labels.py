"""Buy a label from a carrier, once however often this is tried, and refund it."""

from abc import abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from commerce.database import Database
from commerce.errors import CarrierUnknown
from commerce.external_steps import ExternalEffect
from commerce.integrations.carrier import Carrier
from commerce.messages.base import Message
from commerce.messages.orders import Label
from commerce.shipments import Shipment

LEASE = timedelta(seconds=25)  # shorter than the start-to-close timeout of the step
MAX_DELAY = timedelta(seconds=30)  # the carrier may still sell a label for this long after we stopped waiting
RequestT = TypeVar("RequestT", bound=Message)


class ShipmentNote(Message):
    """The ledger's note of a label: the shipment that it is bought for, and the carrier that has the shipment."""

    carrier: str = "easypost"  # the only carrier when notes did not name one
    shipment_id: str


class LabelPurchase(ExternalEffect[RequestT, Shipment, ShipmentNote, Label]):
    """The purchase of a label. `carriers` are all carriers by name; the one named `carrier` sells new labels."""

    def __init__(self, database: Database, carriers: Mapping[str, Carrier], carrier: str) -> None:
        super().__init__(database, note=ShipmentNote, result=Label, lease=LEASE, max_delay=MAX_DELAY)
        self._carriers = carriers
        self._carrier = carrier

    @abstractmethod
    async def read(self, tx: AsyncSession, value: RequestT) -> Shipment:
        """Return the shipment. If this raises, no label is bought."""

    @abstractmethod
    async def record(self, tx: AsyncSession, value: RequestT, result: Label) -> None:
        """Store the label."""

    async def prepare(self, plan: Shipment, reference: str) -> ShipmentNote:
        """Register the shipment at the carrier for new labels."""
        shipment_id = await self._carriers[self._carrier].create(plan, reference)
        return ShipmentNote(carrier=self._carrier, shipment_id=shipment_id)

    async def perform(self, note: ShipmentNote) -> Label:
        """Buy the label."""
        return await self._carrier_of(note).buy(note.shipment_id)

    async def take_back(self, note: ShipmentNote) -> bool:
        """Refund the label, at the carrier that sold it."""
        return await self._carrier_of(note).refund(note.shipment_id)

    def _carrier_of(self, note: ShipmentNote) -> Carrier:
        try:
            return self._carriers[note.carrier]
        except KeyError:
            raise CarrierUnknown(note.carrier) from None
