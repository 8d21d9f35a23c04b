"""What every carrier must pass: derive a test class from CarrierContract and give it a fixture `service`."""

from dataclasses import replace
from typing import Protocol

import pytest

from commerce.errors import CarrierDown, CarrierRefused, CarrierUnavailable
from commerce.integrations.carrier import Carrier, LabelState, Parcel
from commerce.shipments import Address, Shipment

SENDER = Address("Shop", "1 Warehouse Way", "London", "N1 9GU", "", "GB", "")
RECIPIENT = Address("Zoë Smith", "1 High Street", "Leeds", "LS1 1AA", "", "GB", "", "Flat 7", "Acme Ltd")
PARCEL = Parcel(10, 8, 4, 16)
SHIPMENT = Shipment(fulfillment_id="ff-1", order_id="5551", number="#1001", currency="GBP", recipient=RECIPIENT)


class Service(Protocol):
    """A carrier and the server behind it, which can be made to fail."""

    carrier: Carrier

    async def labels(self) -> tuple[int, int]:
        """Return how many labels were bought, and how many of them were refunded."""

    async def lose_response(self, operation: str) -> None:
        """Carry out the next `buy` or `refund`, but drop the connection instead of responding."""

    async def scan(self) -> None:
        """Let the carrier collect all parcels."""

    async def fail(self, operation: str, status: int = 500) -> None:
        """Fail the next `create`, `buy` or `refund` with this HTTP status, without doing anything."""


class CarrierContract:
    """The promises of `commerce.integrations.carrier.Carrier`."""

    async def test_a_label_is_bought_once(self, service: Service) -> None:
        shipment_id = await service.carrier.create(SHIPMENT, "ref")
        assert await service.labels() == (0, 0)
        label = await service.carrier.buy(shipment_id)
        assert label.shipment_id == shipment_id
        assert label.tracking_number and label.label_url
        assert await service.carrier.buy(shipment_id) == label
        assert await service.labels() == (1, 0)

    async def test_a_purchase_whose_response_was_lost_is_not_repeated(self, service: Service) -> None:
        shipment_id = await service.carrier.create(SHIPMENT, "ref")
        await service.lose_response("buy")
        with pytest.raises(CarrierUnavailable):
            await service.carrier.buy(shipment_id)
        assert (await service.carrier.buy(shipment_id)).shipment_id == shipment_id
        assert await service.labels() == (1, 0)

    async def test_a_label_is_refunded_once(self, service: Service) -> None:
        shipment_id = await service.carrier.create(SHIPMENT, "ref")
        await service.carrier.buy(shipment_id)
        assert [await service.carrier.refund(shipment_id) for _ in range(2)] == [True, True]
        assert await service.labels() == (1, 1)

    async def test_a_refund_whose_response_was_lost_is_not_repeated(self, service: Service) -> None:
        shipment_id = await service.carrier.create(SHIPMENT, "ref")
        await service.carrier.buy(shipment_id)
        await service.lose_response("refund")
        with pytest.raises(CarrierUnavailable):
            await service.carrier.refund(shipment_id)
        assert await service.carrier.refund(shipment_id)
        assert await service.labels() == (1, 1)

    async def test_without_a_label_there_is_nothing_to_refund(self, service: Service) -> None:
        assert not await service.carrier.refund(await service.carrier.create(SHIPMENT, "ref"))
        assert not await service.carrier.refund("unknown")
        assert await service.labels() == (0, 0)

    async def test_a_refunded_label_is_not_sold_again(self, service: Service) -> None:
        shipment_id = await service.carrier.create(SHIPMENT, "ref")
        await service.carrier.buy(shipment_id)
        await service.carrier.refund(shipment_id)
        with pytest.raises(CarrierRefused):
            await service.carrier.buy(shipment_id)
        assert await service.labels() == (1, 1)

    async def test_the_carrier_knows_whether_it_has_the_parcel_and_whether_the_label_was_returned(
        self, service: Service
    ) -> None:
        shipment_id = await service.carrier.create(SHIPMENT, "ref")
        assert await service.carrier.look_up(shipment_id) is None
        await service.carrier.buy(shipment_id)
        assert await service.carrier.look_up(shipment_id) == LabelState(handed_over=False)
        await service.scan()
        assert await service.carrier.look_up(shipment_id) == LabelState(handed_over=True)
        await service.carrier.refund(shipment_id)
        state = await service.carrier.look_up(shipment_id)
        assert state and state.refund in ("requested", "made")

    @pytest.mark.parametrize("operation", ["create", "buy", "refund"])
    async def test_a_server_error_can_be_retried(self, service: Service, operation: str) -> None:
        async def buy_and_refund() -> None:
            shipment_id = await service.carrier.create(SHIPMENT, "ref")
            await service.carrier.buy(shipment_id)
            await service.carrier.refund(shipment_id)

        await service.fail(operation)
        with pytest.raises(CarrierUnavailable, match="500"):
            await buy_and_refund()
        await buy_and_refund()

    @pytest.mark.parametrize("status", [401, 402, 403, 409, 423, 429, 503])
    @pytest.mark.parametrize("operation", ["create", "buy", "refund"])
    async def test_the_state_of_account_or_carrier_is_no_refusal(
        self, service: Service, operation: str, status: int
    ) -> None:
        async def buy_and_refund() -> None:
            shipment_id = await service.carrier.create(SHIPMENT, "ref")
            await service.carrier.buy(shipment_id)
            assert await service.carrier.refund(shipment_id)

        await service.fail(operation, status)
        with pytest.raises(CarrierUnavailable, match=str(status)) as raised:
            await buy_and_refund()
        assert isinstance(raised.value, CarrierDown) == (status not in (409, 423))
        await buy_and_refund()

    async def test_an_address_that_does_not_exist_is_refused(self, service: Service) -> None:
        nowhere = replace(SHIPMENT, recipient=replace(RECIPIENT, country="AQ"))
        with pytest.raises(CarrierRefused) as refused:
            await service.carrier.create(nowhere, "ref")
        assert "Zoë" not in str(refused.value) and "Leeds" not in str(refused.value)
