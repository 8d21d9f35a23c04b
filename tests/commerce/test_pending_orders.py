"""Pending orders: an order refused for stock is pending again once its stock is available, whatever the cause (V10)."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import fulfillment, inventory, open_orders, orders
from commerce.backlog import measure
from commerce.errors import InsufficientInventory
from commerce.imports import import_inventory, staging
from commerce.messages.orders import Refusal
from commerce.messages.pending_orders import PendingPageRequest
from tests.commerce.shop import NOON, Shop

INVENTORY = "Handle,Title,SKU,Location,Available,On hand,Tracked,Policy\n"


async def refuse(
    shop: Shop, order_id: str, step: Callable[[AsyncSession, str], Awaitable[object]] = inventory.check
) -> None:
    """Let the step refuse the order for stock, and record that."""
    with pytest.raises(InsufficientInventory) as shortage:
        await shop.call(step, order_id)
    await record(shop, order_id, shortage.value)


async def record(shop: Shop, order_id: str, shortage: InsufficientInventory) -> None:
    refusal = Refusal(order_id=order_id, items=shortage.items, count=shortage.count, at=datetime.now(UTC))
    await shop.call(orders.refuse, refusal, NOON.date())


async def pending(shop: Shop) -> list[str]:
    """Return the pending orders; the backlog counts the same ones."""
    ids = (await shop.call(open_orders.list_pending, PendingPageRequest(limit=100))).order_ids
    assert (await shop.call(measure)).pending_orders == len(ids)
    return ids


async def import_row(shop: Shop, folder: Path, row: str) -> None:
    file = folder / "inventory.csv"
    file.write_text(INVENTORY + row + "\n")
    await import_inventory(shop.database, [file])


async def test_a_refused_order_is_pending_only_once_all_its_units_are_available(shop: Shop) -> None:
    await shop.stock("MUG", main=1, overflow=0)
    await shop.stock("CUP", main=0)
    await shop.order("1", ("MUG", 2), ("CUP", 1), ("MUG", 1))
    await refuse(shop, "1")
    assert await pending(shop) == []
    await shop.add_stock("MUG", overflow=2)
    assert await pending(shop) == []
    await shop.add_stock("CUP", overflow=1)
    assert await pending(shop) == ["1"]
    await shop.call(inventory.check, "1")
    await shop.add_stock("MUG", main=-1)
    assert await pending(shop) == []


async def test_a_released_reservation_wakes_a_refused_order(shop: Shop) -> None:
    await shop.stock("MUG", main=5)
    await shop.order("first", MUG=5)
    await shop.order("second", MUG=5)
    await shop.call(inventory.reserve, "first")
    await refuse(shop, "second", inventory.reserve)
    await shop.sql("UPDATE orders SET hold_reason = 'cancelled' WHERE id = 'first'")
    assert await pending(shop) == []
    await shop.call(inventory.release, "first")
    assert await pending(shop) == ["second"]


async def test_a_cancelled_fulfillment_wakes_a_refused_order_when_it_is_released(shop: Shop) -> None:
    await shop.stock("MUG", main=5)
    await shop.order("first", MUG=5, columns={"hold_reason": "cancelled"})
    await shop.order("second", MUG=1)
    await shop.call(inventory.reserve, "first")
    created = await shop.call(fulfillment.create, "first")
    await refuse(shop, "second")
    await shop.call(fulfillment.cancel, created, "first")
    assert await pending(shop) == []
    await shop.call(inventory.release, "first")
    assert await pending(shop) == ["second"]


@pytest.mark.parametrize("row", ["MUG,Mug,MUG,main,0,0,true,continue", "MUG,Mug,MUG,main,0,0,false,deny"])
async def test_a_change_of_policy_wakes_a_refused_order(shop: Shop, tmp_path: Path, row: str) -> None:
    await shop.stock("MUG", main=0)
    await shop.order("1", MUG=5)
    await refuse(shop, "1")
    await import_row(shop, tmp_path, row)
    assert await pending(shop) == ["1"]


async def test_a_change_of_a_kit_wakes_a_refused_order(shop: Shop) -> None:
    await shop.stock("MUG", main=5)
    await shop.stock("BOX", main=0)
    await shop.variant("KIT", items={"MUG": 1, "BOX": 1})
    await shop.order("1", KIT=5)
    await refuse(shop, "1")
    await shop.sql("DELETE FROM variant_inventory_items WHERE variant_id = 'KIT' AND inventory_item_id = 'BOX'")
    assert await pending(shop) == ["1"]


async def test_stock_that_commits_during_a_check_wakes_the_order_that_it_refuses(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, commit = asyncio.Event(), asyncio.Event()

    async def analyze(*_: object) -> None:
        written.set()
        await commit.wait()

    monkeypatch.setattr(staging, "analyze", analyze)
    await shop.stock("MUG", main=0)
    await shop.order("1", MUG=5)
    importing = asyncio.create_task(import_row(shop, tmp_path, "MUG,Mug,MUG,main,5,5,true,deny"))
    await written.wait()
    await refuse(shop, "1")
    commit.set()
    await importing
    assert await pending(shop) == ["1"]


async def test_stock_that_commits_between_check_and_record_leaves_the_order_pending(shop: Shop) -> None:
    await shop.stock("MUG", main=0)
    await shop.order("1", MUG=5)
    with pytest.raises(InsufficientInventory) as shortage:
        await shop.call(inventory.check, "1")
    await shop.add_stock("MUG", main=5)
    await record(shop, "1", shortage.value)
    assert await pending(shop) == ["1"]


async def test_an_order_with_missing_backordered_units_waits_for_them(shop: Shop) -> None:
    """Otherwise it would be refused again in every run of the job (I5)."""
    await shop.stock("MUG", main=5)
    await shop.stock("LATER", backorder=True, main=0)
    for order_id in ("1", "2"):
        await shop.order(order_id, MUG=5, LATER=1)
    for order_id in ("1", "2", "1", "2"):
        await shop.call(inventory.reserve, order_id)
        await refuse(shop, order_id, fulfillment.create)
        await shop.call(inventory.release, order_id)
    assert await pending(shop) == []  # what one releases does not wake the other
    await shop.add_stock("LATER", main=1)
    assert await pending(shop) == ["1", "2"]


async def test_a_start_ends_the_wait_so_a_terminated_run_is_started_again(shop: Shop) -> None:
    """The reservation that it leaves must not count as missing stock."""
    await shop.stock("MUG", main=0)
    await shop.order("1", MUG=5)
    await refuse(shop, "1")
    await shop.add_stock("MUG", main=5)
    await shop.call(orders.clear_hold, "1")
    await shop.call(inventory.reserve, "1")
    assert await pending(shop) == ["1"]


async def test_an_order_refused_by_an_older_version_is_pending_once(shop: Shop) -> None:
    await shop.stock("MUG", main=0)
    await shop.order("1", MUG=1, columns={"refused_at": NOON})
    assert await pending(shop) == ["1"]
    await refuse(shop, "1")
    assert await pending(shop) == []


async def test_an_order_with_an_item_that_no_location_stocks_is_pending_because_its_run_reports_that(
    shop: Shop,
) -> None:
    await shop.stock("MUG", main=0)
    await shop.variant("KIT", items={"MUG": 1})
    await shop.order("1", KIT=1)
    await refuse(shop, "1")
    await shop.sql("INSERT INTO inventory_items VALUES ('BOX', 'BOX')")
    await shop.sql("UPDATE variant_inventory_items SET inventory_item_id = 'BOX' WHERE variant_id = 'KIT'")
    assert await pending(shop) == ["1"]
