"""The shipping label: bought once, refunded when the step was undone meanwhile, always at the carrier that sold it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from activities.fulfillment import FulfillmentActivities
from commerce import fulfillment, generations, inventory, ledger, shipments
from commerce.database import Database
from commerce.errors import CarrierUnavailable, CarrierUnknown, StaleGeneration, StepInProgress, StepWithdrawn
from commerce.integrations.carrier import Carrier, LabelState
from commerce.integrations.carriers import open_carriers
from commerce.messages.orders import Label, LabelRequest
from commerce.messages.steps import Call, StepKey
from commerce.settings import load_settings
from commerce.shipments import Shipment
from starter.devstack.carrier import server as embedded
from tests.commerce.shop import Shop, begin_generation
from tests.running_shop import carrier_client

NOTE = "SELECT note FROM step_ledger WHERE step = 'create-shipping-label'"


class PausingCarrier:
    """A carrier whose `buy` sets `bought`, and returns only when `resume` is set."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self.bought, self.resume = asyncio.Event(), asyncio.Event()
        self.resume.set()

    async def create(self, shipment: Shipment, reference: str) -> str:
        return await self._carrier.create(shipment, reference)

    async def buy(self, shipment_id: str) -> Label:
        label = await self._carrier.buy(shipment_id)
        self.bought.set()
        await self.resume.wait()
        return label

    async def refund(self, shipment_id: str) -> bool:
        return await self._carrier.refund(shipment_id)

    async def look_up(self, shipment_id: str) -> LabelState | None:
        return await self._carrier.look_up(shipment_id)

    async def close(self) -> None:
        await self._carrier.close()


class Bench:
    """An order that is fulfilled but has no label, the activities, and the embedded carrier behind them."""

    def __init__(self, database: Database, carrier: Carrier, url: str) -> None:
        self.database, self.url = database, url
        self.carrier = PausingCarrier(carrier)
        self.activities = FulfillmentActivities(database, {"easypost": self.carrier}, "easypost")

    def call(self, generation: str = "g1") -> Call[LabelRequest]:
        key = StepKey(business_key="order-processing-1", step="create-shipping-label", generation=generation)
        return Call(key=key, input=LabelRequest(order_id="1"), undo="void-shipping-label")

    async def begin(self, generation: str) -> list[str]:
        """Begin a run, and return the undos that older runs left."""
        key = self.call(generation).key
        async with self.database.transaction() as tx:
            await begin_generation(tx, key)
            return [leftover.undo for leftover in await generations.find_leftovers(tx, key)]

    async def create_shipment(self) -> str:
        async with self.database.transaction() as tx:
            shipment = await shipments.load(tx, LabelRequest(order_id="1"))
        return await self.carrier.create(shipment, reference="killed")

    async def leave_note(self, note: dict[str, Any]) -> None:
        """Leave what an attempt leaves behind that was killed while it bought: a note, and a lease that has ended."""
        async with self.database.transaction() as tx:
            await ledger.acquire(tx, self.call(), timedelta(0))
            await ledger.save_note(tx, self.call().key, note)

    async def note(self) -> dict[str, Any]:
        [note] = await Shop(self.database).sql(NOTE)
        return dict(note)

    async def inject_fault(self, **fault: object) -> None:
        async with carrier_client(self.url) as http:
            (await http.post("/trial/faults", json=fault)).raise_for_status()

    async def wait_until_faults_are_used(self) -> None:
        async with carrier_client(self.url) as http:
            while (await http.get("/trial/faults")).json()[0]["times"]:  # noqa: ASYNC110 - polls a server
                await asyncio.sleep(0.01)

    async def labels(self) -> dict[str, int]:
        async with carrier_client(self.url) as http:
            counts = (await http.get("/trial/labels", params={"order_id": "1"})).json()
        return {name: counts[name] for name in ("bought", "refunded", "live")}


@pytest.fixture
async def bench(database: Database, tmp_path: Path) -> AsyncIterator[Bench]:
    shop = Shop(database)
    await shop.stock("MUG", main=3)
    await shop.order("1", MUG=1)
    await shop.call(inventory.reserve, "1")
    await shop.call(fulfillment.create, "1")
    async with embedded.running(tmp_path, 0) as url:
        [carrier] = open_carriers(load_settings({"COMMERCE_CARRIER_URL": f"{url}/v2"})).values()
        bench = Bench(database, carrier, url)
        await bench.begin("g1")
        yield bench
        await carrier.close()


async def test_a_repeated_step_buys_once(bench: Bench) -> None:
    first, again = [await bench.activities.create_label(bench.call()) for _ in range(2)]
    assert first.model_dump() == again.model_dump()
    assert await bench.labels() == {"bought": 1, "refunded": 0, "live": 1}


async def test_a_second_attempt_waits_for_the_lease_of_the_first(bench: Bench) -> None:
    bench.carrier.resume.clear()
    first = asyncio.create_task(bench.activities.create_label(bench.call()))
    await bench.carrier.bought.wait()
    with pytest.raises(StepInProgress):
        await bench.activities.create_label(bench.call())
    bench.carrier.resume.set()
    await first
    assert await bench.labels() == {"bought": 1, "refunded": 0, "live": 1}


async def test_an_undo_waits_for_a_running_attempt_which_refunds_its_label(bench: Bench) -> None:
    bench.carrier.resume.clear()
    first = asyncio.create_task(bench.activities.create_label(bench.call()))
    await bench.carrier.bought.wait()
    with pytest.raises(StepInProgress):
        await bench.activities.void_label(bench.call())
    bench.carrier.resume.set()
    with pytest.raises(StepWithdrawn):
        await first
    await bench.activities.void_label(bench.call())
    assert await bench.labels() == {"bought": 1, "refunded": 1, "live": 0}


async def test_an_undo_refunds_a_label_whose_response_was_lost(bench: Bench) -> None:
    bench.carrier.resume.clear()
    lost = asyncio.create_task(bench.activities.create_label(bench.call()))
    await bench.carrier.bought.wait()
    lost.cancel()  # as a worker does when it stops
    with pytest.raises(asyncio.CancelledError):
        await lost
    await bench.activities.void_label(bench.call())
    assert await bench.labels() == {"bought": 1, "refunded": 1, "live": 0}


async def test_an_undo_waits_for_a_purchase_that_got_no_response(bench: Bench) -> None:
    await bench.inject_fault(operation="buy", fault="slow", times=1, seconds=0.5)
    lost = asyncio.create_task(bench.activities.create_label(bench.call()))
    await bench.wait_until_faults_are_used()
    lost.cancel()  # the carrier still sells the label, as it does when it is too slow for us
    with pytest.raises(asyncio.CancelledError):
        await lost
    with pytest.raises(StepInProgress):
        await bench.activities.void_label(bench.call())
    await asyncio.sleep(1)
    await bench.activities.void_label(bench.call())
    assert await bench.labels() == {"bought": 1, "refunded": 1, "live": 0}


async def test_voiding_twice_or_without_a_label_does_nothing(bench: Bench) -> None:
    await bench.activities.void_label(bench.call())
    await bench.activities.void_label(bench.call())
    with pytest.raises(StepWithdrawn):
        await bench.activities.create_label(bench.call())
    assert await bench.labels() == {"bought": 0, "refunded": 0, "live": 0}


async def test_an_older_run_may_not_buy_and_its_label_is_left_to_the_newer_run(bench: Bench) -> None:
    await bench.activities.create_label(bench.call())
    assert await bench.begin("g2") == ["void-shipping-label"]
    await bench.activities.void_label(bench.call())
    with pytest.raises(StaleGeneration):
        await bench.activities.create_label(bench.call("g0"))
    assert await bench.labels() == {"bought": 1, "refunded": 1, "live": 0}


async def test_an_error_of_the_carrier_releases_the_lease_for_the_next_attempt(bench: Bench) -> None:
    await bench.inject_fault(operation="buy", fault="500", times=1)
    with pytest.raises(CarrierUnavailable):
        await bench.activities.create_label(bench.call())
    await bench.activities.create_label(bench.call())
    assert await bench.labels() == {"bought": 1, "refunded": 0, "live": 1}


async def test_the_undo_of_a_killed_attempt_waits_for_a_late_purchase(bench: Bench) -> None:
    shipment_id = await bench.create_shipment()
    await bench.leave_note({"shipment_id": shipment_id})
    with pytest.raises(StepInProgress):
        await bench.activities.void_label(bench.call())
    await bench.carrier.buy(shipment_id)  # late, as the killed attempt requested
    await bench.activities.void_label(bench.call())
    assert await bench.labels() == {"bought": 1, "refunded": 1, "live": 0}


async def test_the_undo_asks_the_carrier_that_sold_the_label_when_another_sells_new_ones(bench: Bench) -> None:
    await bench.activities.create_label(bench.call())
    assert (await bench.note())["carrier"] == "easypost"
    changed = FulfillmentActivities(bench.database, {"easypost": bench.carrier, "other": Unused()}, "other")
    await changed.void_label(bench.call())
    assert await bench.labels() == {"bought": 1, "refunded": 1, "live": 0}


async def test_a_later_attempt_buys_at_the_carrier_that_has_the_shipment(bench: Bench) -> None:
    await bench.inject_fault(operation="buy", fault="500", times=1)
    with pytest.raises(CarrierUnavailable):
        await bench.activities.create_label(bench.call())
    changed = FulfillmentActivities(bench.database, {"easypost": bench.carrier, "other": Unused()}, "other")
    await changed.create_label(bench.call())
    assert await bench.labels() == {"bought": 1, "refunded": 0, "live": 1}


async def test_a_note_without_a_carrier_is_from_an_older_version_and_means_easypost(bench: Bench) -> None:
    shipment_id = await bench.create_shipment()
    await bench.leave_note({"shipment_id": shipment_id})
    changed = FulfillmentActivities(bench.database, {"easypost": bench.carrier, "other": Unused()}, "other")
    label = await changed.create_label(bench.call())
    assert label.shipment_id == shipment_id


async def test_a_step_waits_for_a_worker_that_has_its_carrier(bench: Bench) -> None:
    await bench.activities.create_label(bench.call())
    without = FulfillmentActivities(bench.database, {"other": Unused()}, "other")
    with pytest.raises(CarrierUnknown, match="'easypost'"):
        await without.void_label(bench.call())
    await bench.activities.void_label(bench.call())
    assert await bench.labels() == {"bought": 1, "refunded": 1, "live": 0}


class Unused:
    """A carrier that must not be called."""

    async def create(self, shipment: Shipment, reference: str) -> str:
        raise AssertionError

    async def buy(self, shipment_id: str) -> Label:
        raise AssertionError

    async def refund(self, shipment_id: str) -> bool:
        raise AssertionError

    async def look_up(self, shipment_id: str) -> LabelState | None:
        raise AssertionError

    async def close(self) -> None:
        raise AssertionError
