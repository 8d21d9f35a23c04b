"""A count of the shop sets stock without putting back what has left: I13, I14, by cases and by random histories."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from commerce import fulfillment, inventory, orders, returns, stock_sync
from commerce.errors import InsufficientInventory, ItemNotStocked
from commerce.imports import ImportReport, import_inventory
from commerce.messages.orders import CreatedFulfillment
from commerce.messages.returns import NewReturn, ReceivedUnits, ReturnReceipt
from commerce.stock_sync import CountedLevel
from tests.commerce.shop import Shop

FULL = "Handle,Title,SKU,Location,Incoming,Unavailable,Committed,Available,On hand (current),On hand (new)"
LAYOUTS: dict[str, Callable[["Snapshot"], str]] = {
    "today": lambda s: f"{FULL}\nmug,Mug,MUG,Main,7,0,{s.committed},{s.on_hand - s.committed},{s.on_hand},\n",
    "new": lambda s: (
        f"{FULL}\nmug,Mug,MUG,Main,0,0,{s.committed},{s.on_hand - s.committed - 9},{s.on_hand - 9},{s.on_hand}\n"
    ),
    "two numbers": lambda s: f"SKU,Location,Available,On hand\nMUG,Main,{s.on_hand - s.committed},{s.on_hand}\n",
    "available": lambda s: f"Handle,SKU,Main\nmug,MUG,{s.on_hand - s.committed}\n",
}
SEEDS, STEPS = range(12), 120


@dataclass
class Snapshot:
    """An export of the shop: its numbers at one moment, and the units that were really there."""

    at: datetime
    on_hand: int
    committed: int
    there: int
    shipped: int  # in total until then


@dataclass
class Sale:
    """An order in the shop's own books."""

    lines: tuple[int, int]  # units
    at: datetime
    state: str = "open"  # or cancelled, fulfilled, in part: the shop has shipped the first line itself
    changed_at: datetime | None = None  # when it was cancelled or shipped in part

    @property
    def units(self) -> int:
        """Return what is committed to the order until it is fulfilled or cancelled."""
        return self.lines[1] if self.state == "in part" else sum(self.lines)


@dataclass
class OtherShop:
    """The shop that sends us its orders and counts, and what is really on its shelves."""

    on_hand: int = 20
    there: int = 20
    shipped: int = 0
    sales: dict[str, Sale] = field(default_factory=dict)

    def export(self) -> Snapshot:
        open_units = sum(sale.units for sale in self.sales.values() if sale.state in ("open", "in part"))
        return Snapshot(datetime.now(UTC), self.on_hand, open_units, self.there, self.shipped)


class World:
    """Both shops, and random steps of each."""

    def __init__(self, shop: Shop, folder: Path, seed: int) -> None:
        self.ours, self.folder, self.random = shop, folder, random.Random(seed)
        self.other, self.known, self.state = OtherShop(), dict[str, str](), dict[str, str]()
        self.taken: dict[str, CreatedFulfillment] = {}
        self.checked = 0

    async def sell(self) -> None:
        sale = Sale((self.random.randint(1, 3), self.random.randint(1, 2)), datetime.now(UTC))
        self.other.sales[f"o{len(self.other.sales)}"] = sale

    async def cancel(self) -> None:
        if sale := self.untouched():
            sale.state, sale.changed_at = "cancelled", datetime.now(UTC)

    async def ship_in_part(self) -> None:
        """Let the shop itself ship the first line of an order."""
        sale = self.untouched()
        if sale and sale.lines[0] <= min(self.other.on_hand, self.other.there):
            sale.state, sale.changed_at = "in part", datetime.now(UTC)
            self.other.on_hand -= sale.lines[0]
            self.other.there -= sale.lines[0]

    def untouched(self) -> Sale | None:
        """Return an open order that we have not begun to process."""
        waiting = [i for i, sale in self.other.sales.items() if sale.state == "open" and i not in self.state]
        return self.other.sales[self.random.choice(waiting)] if waiting else None

    async def deliver(self) -> None:
        units = self.random.randint(1, 6)
        self.other.on_hand += units
        self.other.there += units

    async def lose(self) -> None:
        """Lose a unit, and find out by counting the shelves."""
        if self.other.there:
            self.other.there -= 1
            self.other.on_hand -= 1

    async def hear_of_orders(self) -> None:
        for order_id, sale in self.other.sales.items():
            if order_id not in self.known:
                lines = [("MUG", units) for units in sale.lines]
                await self.ours.order(order_id, *lines, columns={"created_at": sale.at})
            if sale.state == "cancelled" and self.known.get(order_id) != "cancelled":
                query = "UPDATE orders SET cancelled_at = :at WHERE id = :id"
                await self.ours.sql(query, at=sale.changed_at, id=order_id)
            if sale.state == "in part":
                await ship_lines_elsewhere(self.ours, order_id, position=1)
            self.known[order_id] = sale.state

    async def tell_of_shipments(self) -> None:
        for order_id, state in self.state.items():
            sale = self.other.sales[order_id]
            if state == "shipped" and sale.state == "open":
                sale.state = "fulfilled"
                self.other.on_hand -= sale.units

    async def take(self) -> None:
        waiting = [i for i, state in self.known.items() if state == "open" and i not in self.state]
        if not waiting:
            return
        order_id = self.random.choice(waiting)
        if self.other.sales[order_id].state != "open":  # cancelled since, which we would hear before we ship
            return
        try:
            await self.ours.call(inventory.reserve, order_id)
            if self.random.random() < 0.2:
                self.state[order_id] = "reserved"
                return
            self.taken[order_id] = await self.ours.call(fulfillment.create, order_id)
            self.state[order_id] = "taken"
        except (InsufficientInventory, ItemNotStocked):
            await self.ours.call(inventory.release, order_id)

    async def finish(self) -> None:
        begun = [i for i, state in self.state.items() if state in ("taken", "reserved")]
        if not begun:
            return
        order_id = self.random.choice(begun)
        if self.state[order_id] == "taken" and self.random.random() < 0.7:
            await self.ours.call(orders.complete, order_id)
            self.state[order_id] = "shipped"
            self.other.there -= self.other.sales[order_id].units
            self.other.shipped += self.other.sales[order_id].units
            return
        if self.state[order_id] == "taken":
            await self.ours.call(fulfillment.cancel, self.taken.pop(order_id), order_id)
        await self.ours.call(inventory.release, order_id)
        del self.state[order_id]

    async def count(self, snapshot: Snapshot) -> None:
        """Import an export, and compare our stock with what is there: exactly, if we know its orders."""
        content = self.random.choice(list(LAYOUTS.values()))(snapshot)
        await take_in(self.ours, self.folder, content, snapshot.at)
        [stocked] = await self.ours.sql("SELECT stocked_quantity FROM inventory_levels")
        in_process = sum(self.other.sales[i].units for i, state in self.state.items() if state == "taken")
        there = max(snapshot.there - (self.other.shipped - snapshot.shipped) - in_process, 0)
        unheard = [
            i
            for i, sale in self.other.sales.items()
            if sale.at <= snapshot.at and self.known.get(i) != sale.state and sale.state != "fulfilled"
        ]
        # What the shop ships itself after its count is on its shelves there, and unknown here.
        unheard += [
            i
            for i, sale in self.other.sales.items()
            if sale.state == "in part" and sale.changed_at and sale.changed_at > snapshot.at
        ]
        if not unheard:
            self.checked += 1
            assert stocked == there
        elif all(self.other.sales[i].state == "open" for i in unheard):
            assert stocked <= there


async def ship_lines_elsewhere(shop: Shop, order_id: str, *, position: int) -> None:
    """Record that the shop itself has shipped a line of an order, and nothing else of it."""
    await shop.sql("UPDATE orders SET fulfillment_status = 'partially_fulfilled' WHERE id = :id", id=order_id)
    query = (
        "UPDATE order_lines SET fulfillment_status = 'fulfilled_elsewhere' WHERE order_id = :id AND position = :line"
    )
    await shop.sql(query, id=order_id, line=position)


async def take_in(shop: Shop, folder: Path, content: str, at: datetime) -> ImportReport:
    (folder / "stock.csv").write_text(content)
    report = await import_inventory(shop.database, [folder / "stock.csv"], counted_at=at)
    assert report.bad == []
    return report


@pytest.mark.parametrize("seed", SEEDS)
async def test_i14_stock_is_what_is_there_whatever_happened_around_the_count(
    shop: Shop, tmp_path: Path, seed: int
) -> None:
    world = World(shop, tmp_path, seed)
    steps = [world.sell, world.sell, world.cancel, world.deliver, world.lose, world.hear_of_orders]
    steps += [
        world.ship_in_part,
        world.hear_of_orders,
        world.tell_of_shipments,
        world.take,
        world.take,
        world.finish,
        world.finish,
    ]
    await world.count(world.other.export())
    exports: list[Snapshot] = []
    for _ in range(STEPS):
        roll = world.random.random()
        if roll < 0.1:
            exports.append(world.other.export())
        elif roll < 0.2 and exports:
            await world.count(exports.pop())
            exports.clear()  # earlier ones are outdated
        else:
            await world.random.choice(steps)()
    await world.hear_of_orders()
    await world.count(world.other.export())
    assert world.checked > 1
    assert await shop.breaches() == []


HEADER = "SKU,Location,Committed,On hand\n"


async def ship(shop: Shop, order_id: str, **units: int) -> None:
    """Place an order now and fulfill it, without telling the shop that it is from."""
    await shop.order(order_id, **units, columns={"created_at": datetime.now(UTC)})
    await shop.call(inventory.reserve, order_id)
    await shop.call(fulfillment.create, order_id)
    await shop.call(orders.complete, order_id)


async def test_i13_what_was_sold_comes_back_only_by_a_later_count(shop: Shop, tmp_path: Path) -> None:
    monday, levels = datetime.now(UTC), "SKU,Location,Available,On hand\nMUG,Main,10,10\n"
    await take_in(shop, tmp_path, levels, monday)
    await ship(shop, "1", MUG=4)
    await take_in(shop, tmp_path, levels, monday)  # the same file again
    assert await shop.levels("MUG") == {"Main": (6, 0)}
    await take_in(shop, tmp_path, levels, datetime.now(UTC))  # the same number: four came in, and the shop was told
    assert await shop.levels("MUG") == {"Main": (10, 0)}


async def test_i13_a_later_count_stays_when_the_warehouse_has_an_earlier_one(shop: Shop, tmp_path: Path) -> None:
    levels = "SKU,Location,On hand\nMUG,Main,10\n"
    await take_in(shop, tmp_path, levels, datetime.now(UTC))
    written = datetime.now(UTC)
    await take_in(shop, tmp_path, levels, datetime.now(UTC))  # the same number is no movement, but a count
    await shop.call(stock_sync.write_levels, [CountedLevel("MUG", "Main", 3, written)], "sync")
    assert await shop.levels("MUG") == {"Main": (10, 0)}
    await shop.call(stock_sync.write_levels, [CountedLevel("MUG", "Main", 3, datetime.now(UTC))], "sync")
    assert await shop.levels("MUG") == {"Main": (3, 0)}


async def test_i14_a_count_of_the_shelves_lacks_only_what_left_later(shop: Shop, tmp_path: Path) -> None:
    levels = "SKU,Location,On hand\nMUG,Main,10\n"  # nothing in it shows what the shop was told
    await take_in(shop, tmp_path, levels, datetime.now(UTC))
    await ship(shop, "1", MUG=2)
    counted_at = datetime.now(UTC)
    await ship(shop, "2", MUG=3)
    await take_in(shop, tmp_path, levels, counted_at)
    assert await shop.levels("MUG") == {"Main": (7, 0)}


async def test_i14_units_that_came_back_since_the_count_are_there(shop: Shop, tmp_path: Path) -> None:  # (I14, J6, R3)
    levels = "SKU,Location,On hand\nMUG,Main,10\n"
    await take_in(shop, tmp_path, levels, datetime.now(UTC))
    await ship(shop, "1", MUG=2)
    counted_at = datetime.now(UTC)
    ref = {"order_id": "1", "return_id": "r"}
    wanted = NewReturn(**ref, items=[], label=False, refund=True, refund_shipping=False)
    await shop.call(returns.register, wanted, 30)
    await shop.call(returns.receive, ReceivedUnits(**ref, receipt=ReturnReceipt(everything=True)))
    assert await shop.levels("MUG") == {"Main": (10, 0)}
    await take_in(shop, tmp_path, levels.replace("10", "8"), counted_at)
    assert await shop.levels("MUG") == {"Main": (10, 0)}
    await take_in(shop, tmp_path, "SKU,Main\nMUG,7\n", counted_at)  # a count of what is available
    assert await shop.levels("MUG") == {"Main": (9, 0)}
    await shop.call(stock_sync.write_levels, [CountedLevel("MUG", "Main", 5, counted_at)], "sync")  # the imports count
    assert await shop.levels("MUG") == {"Main": (9, 0)}
    await shop.sql("UPDATE stock_movements SET created_at = created_at - interval '1 hour' WHERE reason = 'import'")
    await shop.sql("UPDATE inventory_levels SET counted_at = counted_at - interval '1 hour'")
    await shop.call(stock_sync.write_levels, [CountedLevel("MUG", "Main", 5, counted_at)], "sync")
    assert await shop.levels("MUG") == {"Main": (7, 0)}


async def test_i14_units_are_gone_from_the_location_that_they_left(shop: Shop, tmp_path: Path) -> None:
    await take_in(shop, tmp_path, f"{HEADER}MUG,Main,0,5\nMUG,Loft,0,5\n", datetime.now(UTC))
    await ship(shop, "1", MUG=7)
    await shop.order("2", MUG=1, columns={"created_at": datetime.now(UTC)})
    # The shop thinks that all of it will leave from the loft.
    await take_in(shop, tmp_path, f"{HEADER}MUG,Main,0,6\nMUG,Loft,8,9\n", datetime.now(UTC))
    assert await shop.levels("MUG") == {"Main": (1, 0), "Loft": (7, 0)}


async def test_i14_available_units_leave_out_open_orders(shop: Shop, tmp_path: Path) -> None:
    levels = "SKU,Main,Loft\nMUG,{},{}\n"
    await take_in(shop, tmp_path, levels.format(2, 5), datetime.now(UTC))
    await shop.order("1", MUG=6, columns={"created_at": datetime.now(UTC)})  # more than one location has (I7)
    await shop.order("2", MUG=1, columns={"created_at": datetime.now(UTC)})
    await shop.call(inventory.reserve, "1")
    assert await shop.levels("MUG") == {"Main": (2, 2), "Loft": (5, 4)}
    await take_in(shop, tmp_path, levels.format(-1, 1), datetime.now(UTC))
    assert await shop.levels("MUG") == {"Main": (2, 2), "Loft": (5, 4)}


async def test_i14_available_units_leave_out_an_open_order_that_one_location_can_serve(
    shop: Shop, tmp_path: Path
) -> None:
    levels = "SKU,Main,Loft\nMUG,{},{}\n"
    await take_in(shop, tmp_path, levels.format(2, 5), datetime.now(UTC))
    await shop.order("1", MUG=3, columns={"created_at": datetime.now(UTC)})
    await shop.call(inventory.reserve, "1")
    assert await shop.levels("MUG") == {"Main": (2, 0), "Loft": (5, 3)}
    await take_in(shop, tmp_path, levels.format(2, 2), datetime.now(UTC))
    assert await shop.levels("MUG") == {"Main": (2, 0), "Loft": (5, 3)}


@pytest.mark.parametrize(("header", "counted"), [(HEADER + "MUG,Main,4,16\n", 16), ("SKU,Main\nMUG,12\n", 16)])
async def test_i14_what_the_shop_still_has_to_ship_of_an_order_is_on_the_shelves(
    shop: Shop, tmp_path: Path, header: str, counted: int
) -> None:
    await take_in(shop, tmp_path, "SKU,Location,On hand\nMUG,Main,30\n", datetime.now(UTC))
    await ship(shop, "1", MUG=9)  # of which the shop knows
    await shop.order("2", ("MUG", 5), ("MUG", 4), columns={"created_at": datetime.now(UTC)})
    await ship_lines_elsewhere(shop, "2", position=1)
    await take_in(shop, tmp_path, header, datetime.now(UTC))
    assert await shop.levels("MUG") == {"Main": (counted, 0)}


@pytest.mark.parametrize(
    "statuses", [("not_fulfilled", "not_fulfilled"), ("partially_fulfilled", "partially_fulfilled")]
)
async def test_i14_nothing_counts_as_left_to_ship_if_the_shop_does_not_state_it(
    shop: Shop, tmp_path: Path, statuses: tuple[str, str]
) -> None:
    await take_in(shop, tmp_path, "SKU,Location,On hand\nMUG,Main,30\n", datetime.now(UTC))
    await ship(shop, "1", MUG=9)
    await shop.order("2", ("MUG", 5), ("MUG", 4), columns={"created_at": datetime.now(UTC)})
    await shop.sql("UPDATE orders SET fulfillment_status = 'partially_fulfilled' WHERE id = '2'")
    for position, status in enumerate(statuses, start=1):
        query = "UPDATE order_lines SET fulfillment_status = :status WHERE order_id = '2' AND position = :position"
        await shop.sql(query, status=status, position=position)
    # Four are committed: to the second order, or to the first one, which is shipped. A unit never comes back wrongly.
    await take_in(shop, tmp_path, f"{HEADER}MUG,Main,4,16\n", datetime.now(UTC))
    assert await shop.levels("MUG") == {"Main": (12, 0)}


async def test_i14_a_count_smaller_than_what_left_is_reported(shop: Shop, tmp_path: Path) -> None:
    counted_at = datetime.now(UTC)
    await take_in(shop, tmp_path, "SKU,On hand\nMUG,10\n", counted_at)
    await ship(shop, "1", MUG=4)
    report = await take_in(shop, tmp_path, "SKU,On hand\nMUG,3\n", counted_at)
    note = "more units have been shipped since than are counted; the stock is set to 0"
    assert [(found.line, found.reason) for found in report.warnings] == [(2, note)]
    assert await shop.levels("MUG") == {"Main": (0, 0)}


async def test_i14_a_fulfillment_of_the_build_before_counts_from_when_it_was_created(
    shop: Shop, tmp_path: Path
) -> None:
    await take_in(shop, tmp_path, "SKU,On hand\nMUG,10\n", datetime.now(UTC))
    counted_at = datetime.now(UTC)
    await ship(shop, "1", MUG=4)
    await shop.sql("UPDATE fulfillments SET completed_at = NULL")
    await take_in(shop, tmp_path, "SKU,On hand\nMUG,11\n", counted_at)
    assert await shop.levels("MUG") == {"Main": (7, 0)}
    await take_in(shop, tmp_path, "SKU,On hand\nMUG,11\n", datetime.now(UTC))
    assert await shop.levels("MUG") == {"Main": (11, 0)}
