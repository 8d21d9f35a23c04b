"""`commerce orders …`: output as text and as JSON, and exit codes."""

from functools import partial

import pytest

from commerce.database import Database
from commerce.errors import Unreachable
from tests.commerce.shop import Shop
from tests.running_shop import RunningShop
from tests.starter.cli.conftest import Commerce

ODD = {"shipping_name": "王小明 \x1b[31m", "name": "#1002", "hold_reason": "failed: CarrierRefused", "total": 1_234_500}


@pytest.fixture
def orders(commerce: Commerce) -> Commerce:
    """Run `commerce orders …`."""
    return partial(commerce, "orders")


async def test_a_list_has_what_an_operator_needs(orders: Commerce, database: Database) -> None:
    shop = Shop(database)
    assert (await orders("list")).out == "No orders found\n"
    await shop.order("1", MUG=2)
    await shop.order("etsy~2", columns=ODD)
    listed = await orders("list")
    assert [line.split() for line in listed.out.splitlines()] == [
        ["id", "number", "status", "hold", "customer", "country", "units", "total", "payment", "placed"],
        ["etsy~2", "#1002", "on", "hold", "CarrierRefused", "王…", r"\x1b…", "GB", "0", "£12,345.00", "captured",
         "2026-03-02", "12:00:00"],
        ["1", "open", "GB", "2", "£5.00", "captured", "2026-03-02", "12:00:00"],
    ]  # fmt: skip
    page = await orders("list", "--limit", "1", "--status", "on_hold", "--json")
    assert [(order["order_id"], order["customer"]) for order in page.json["orders"]] == [("etsy~2", "王… \x1b…")]
    first = await orders("list", "--limit", "1")
    assert first.out.endswith("There are more: --cursor etsy~2\n")
    assert (await orders("list", "--cursor", "etsy~2")).out.splitlines()[1].startswith("1 ")
    assert (await orders("list", "--since", "2026-03-02T12:01")).out == "No orders found\n"
    refused = await orders("list", "--cursor", "7")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)


async def test_an_order_is_shown_in_full(orders: Commerce, shop: RunningShop, monkeypatch: pytest.MonkeyPatch) -> None:
    await shop.data.stock("MUG", main=9)
    columns = ODD | {
        "name_key": "1002",
        "shipping_address1": "1 High\nStreet",
        "note": "ring twice",
        "refunded_total": 100,
    }
    await shop.data.order("1", ("A" * 300, 1), ("MUG", 2), columns=columns)
    handle = await shop.start("1")
    shown = await orders("show", "#1002")
    lines = shown.out.splitlines()
    assert lines[0] == "1             on hold, failed: CarrierRefused"
    assert r"ship to       王小明 \x1b[31m, 1 High\nStreet, GB" in lines
    assert "total         £12,345.00 for 3 units (refunded £1.00)" in lines
    assert any("A" * 300 in line and line.endswith("has no product") for line in lines)
    assert any(line.startswith("order-processing ") for line in lines)
    assert (await orders("show", "1", "--json")).json["note"] == "ring twice"
    await handle.terminate()

    async def connect(_environment: object) -> None:
        raise Unreachable("Temporal does not answer")

    monkeypatch.setattr("starter.client.connect", connect)
    assert "Temporal does not answer" in (await orders("show", "1")).out
    missing = await orders("show", "7")
    assert (missing.code, missing.err) == (1, "Order 7 does not exist. To find it: commerce orders list --search 7\n")


async def test_an_order_is_corrected_held_and_released(orders: Commerce, database: Database) -> None:
    shop = Shop(database)
    await shop.order("1", columns={"name": "#1001", "name_key": "1001"})
    why = ("--reason", "she called")
    assert (await orders("edit", "#1001", "--zip", "N1", "--city", "London", *why)).out == "1 has a new city, zip\n"
    assert (await orders("edit", "1", "--zip", "N1", *why)).out == "1 was like this before\n"
    assert (await orders("hold", "1", *why, "--json")).json == {"order_id": "1"}
    assert (await orders("release", "1", *why)).out == "1 is released and will be processed\n"
    refused = await orders("release", "1", *why)
    assert (refused.code, refused.err) == (1, "Order 1 was not changed: it is not on hold.\n")
    assert (await orders("edit", "1", *why)).code == (await orders("edit", "1", "--zip", "N1")).code == 2
    assert await shop.sql("SELECT count(*) FROM operator_actions WHERE reason = 'she called'") == [3]


async def test_an_order_is_cancelled_by_a_process(orders: Commerce, shop: RunningShop) -> None:
    await shop.data.order("cancel-16", columns={"payment_status": "awaiting"})
    started = await orders("cancel", "cancel-16", "--reason", "she called")
    process_id = "cancel-order-cancel-16"
    assert started.out == f"cancel-16 is being cancelled. To see how: commerce runs show {process_id}\n"
    async with shop.worker():
        assert (await shop.client.get_workflow_handle(process_id).result())["status"] == "cancelled"
    assert await shop.data.sql("SELECT process_id, action, reason FROM operator_actions") == [
        (process_id, "cancel-order", "she called")
    ]
    missing = await orders("cancel", "7", "--reason", "she called")
    assert (missing.code, missing.err) == (1, "Order 7 does not exist. To find it: commerce orders list --search 7\n")
