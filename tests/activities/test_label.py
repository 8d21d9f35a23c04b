"""The label step between its transactions: bought once, given back when it was undone meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from activities.fulfillment import FulfillmentActivities
from commerce import fulfillment, inventory, ledger
from commerce.database import Database
from commerce.errors import CarrierUnavailable, StaleGeneration, StepInProgress, StepWithdrawn
from commerce.integrations.carrier import Carrier
from commerce.messages.orders import Label, OrderRef
from commerce.messages.steps import Begin, Call, StepKey
from commerce.settings import load_settings
from starter.devstack.carrier import server as embedded
from tests.commerce.shop import Shop
from worker import carrier_for


class Bench:
    """One fulfilled order that lacks its label, and a carrier that can be held at the buy."""

    def __init__(self, database: Database, carrier: Carrier, url: str) -> None:
        self.database, self.carrier, self.url = database, carrier, url
        self.buying, self.go_on = asyncio.Event(), asyncio.Event()
        self.steps = FulfillmentActivities(database, HeldCarrier(carrier, self.buying, self.go_on))

    def call(self, generation: str = "g1") -> Call[OrderRef]:
        key = StepKey(business_key="order-processing-1", step="create-shipping-label", generation=generation)
        return Call(key=key, input=OrderRef(order_id="1"), undo="void-shipping-label")

    async def begin(self, generation: str, day: int) -> list[str]:
        call = Begin(
            key=self.call(generation).key, input=OrderRef(order_id="1"), started_at=datetime(2026, 1, day, tzinfo=UTC)
        )
        async with self.database.transaction() as tx:
            return [leftover.undo for leftover in await ledger.begin(tx, call)]

    async def shipment(self) -> str:
        """Create what is bought later."""
        async with self.database.transaction() as tx:
            self.shipped = await self.carrier.create(await fulfillment.shipment(tx, "1"), reference="killed")
        return self.shipped

    async def sell(self) -> None:
        """Let the carrier do late what a killed attempt has asked for."""
        await self.carrier.buy(self.shipped)

    async def labels(self) -> dict[str, int]:
        async with httpx.AsyncClient(auth=("test", "")) as http:
            counts = (await http.get(f"{self.url}/trial/labels", params={"order_id": "1"})).json()
        return {name: counts[name] for name in ("bought", "refunded", "live")}


class HeldCarrier(Carrier):
    """The real carrier's client, with a pause after the money was spent."""

    def __init__(self, carrier: Carrier, buying: asyncio.Event, go_on: asyncio.Event) -> None:
        self.__dict__.update(carrier.__dict__)
        self._buying, self._go_on = buying, go_on
        go_on.set()

    async def buy(self, shipment_id: str) -> Label:
        label = await super().buy(shipment_id)
        self._buying.set()
        await self._go_on.wait()
        return label


@pytest.fixture
async def bench(database: Database, tmp_path: Path) -> AsyncIterator[Bench]:
    shop = Shop(database)
    await shop.stock("MUG", main=3)
    await shop.order("1", MUG=1)
    await shop.do(inventory.reserve, "1")
    await shop.do(fulfillment.create, "1")
    async with embedded.running(tmp_path, 0) as url:
        carrier = carrier_for(load_settings({"COMMERCE_CARRIER_URL": f"{url}/v2"}))
        bench = Bench(database, carrier, url)
        await bench.begin("g1", day=1)
        yield bench
        await carrier.close()


async def test_asking_twice_buys_once(bench: Bench) -> None:
    first, again = await bench.steps.create_label(bench.call()), await bench.steps.create_label(bench.call())
    assert first.model_dump() == again.model_dump()
    assert await bench.labels() == {"bought": 1, "refunded": 0, "live": 1}


async def test_a_second_attempt_waits_for_the_lease_of_the_first(bench: Bench) -> None:
    bench.go_on.clear()
    first = asyncio.create_task(bench.steps.create_label(bench.call()))
    await bench.buying.wait()
    with pytest.raises(StepInProgress):
        await bench.steps.create_label(bench.call())
    bench.go_on.set()
    await first
    assert await bench.labels() == {"bought": 1, "refunded": 0, "live": 1}


async def test_an_undo_waits_for_an_attempt_under_way_which_gives_its_label_back(bench: Bench) -> None:
    bench.go_on.clear()
    first = asyncio.create_task(bench.steps.create_label(bench.call()))
    await bench.buying.wait()
    with pytest.raises(StepInProgress):
        await bench.steps.void_label(bench.call())
    bench.go_on.set()
    with pytest.raises(StepWithdrawn):
        await first
    await bench.steps.void_label(bench.call())
    assert await bench.labels() == {"bought": 1, "refunded": 1, "live": 0}


async def test_an_undo_gives_back_a_label_whose_answer_was_lost(bench: Bench) -> None:
    bench.go_on.clear()
    lost = asyncio.create_task(bench.steps.create_label(bench.call()))
    await bench.buying.wait()
    lost.cancel()  # as a worker does that stops; a killed one leaves its lease to run out
    with pytest.raises(asyncio.CancelledError):
        await lost
    await bench.steps.void_label(bench.call())
    assert await bench.labels() == {"bought": 1, "refunded": 1, "live": 0}


async def test_an_undo_waits_for_a_sale_that_nobody_waited_for(bench: Bench) -> None:
    async with httpx.AsyncClient(auth=("test", "")) as http:
        slow = {"operation": "buy", "fault": "slow", "times": 1, "seconds": 0.5}
        await http.post(f"{bench.url}/trial/faults", json=slow)
        lost = asyncio.create_task(bench.steps.create_label(bench.call()))
        while (await http.get(f"{bench.url}/trial/faults")).json()[0]["times"]:  # noqa: ASYNC110 - it looks at what a server did
            await asyncio.sleep(0.01)
    lost.cancel()  # the carrier goes on all the same, as it does when it is too slow for us
    with pytest.raises(asyncio.CancelledError):
        await lost
    with pytest.raises(StepInProgress):
        await bench.steps.void_label(bench.call())
    await asyncio.sleep(1)
    await bench.steps.void_label(bench.call())
    assert await bench.labels() == {"bought": 1, "refunded": 1, "live": 0}


async def test_voiding_twice_or_what_never_was_does_nothing(bench: Bench) -> None:
    await bench.steps.void_label(bench.call())
    await bench.steps.void_label(bench.call())
    with pytest.raises(StepWithdrawn):
        await bench.steps.create_label(bench.call())
    assert await bench.labels() == {"bought": 0, "refunded": 0, "live": 0}


async def test_an_older_run_may_not_buy_and_its_label_is_left_to_the_newer_one(bench: Bench) -> None:
    await bench.steps.create_label(bench.call())
    assert await bench.begin("g2", day=2) == ["void-shipping-label"]
    await bench.steps.void_label(bench.call())
    with pytest.raises(StaleGeneration):
        await bench.steps.create_label(bench.call("g0"))
    assert await bench.labels() == {"bought": 1, "refunded": 1, "live": 0}


async def test_a_carrier_in_trouble_frees_the_lease_for_the_next_try(bench: Bench) -> None:
    async with httpx.AsyncClient(auth=("test", "")) as http:
        await http.post(f"{bench.url}/trial/faults", json={"operation": "buy", "fault": "500", "times": 1})
    with pytest.raises(CarrierUnavailable):
        await bench.steps.create_label(bench.call())
    await bench.steps.create_label(bench.call())
    assert await bench.labels() == {"bought": 1, "refunded": 0, "live": 1}


async def test_the_undo_of_a_killed_attempt_waits_for_a_late_sale(bench: Bench) -> None:
    async with bench.database.transaction() as tx:  # what kill -9 leaves behind within the buy: a lease that ran out
        await ledger.acquire(tx, bench.call(), timedelta(0))
        await ledger.save_note(tx, bench.call().key, {"shipment_id": await bench.shipment()})
    with pytest.raises(StepInProgress):
        await bench.steps.void_label(bench.call())
    await bench.sell()
    await bench.steps.void_label(bench.call())
    assert await bench.labels() == {"bought": 1, "refunded": 1, "live": 0}
