"""`commerce export …` and `commerce products …`: their files, output and exit codes."""

import asyncio
import csv
from pathlib import Path

from commerce import fulfillment, inventory, orders
from commerce.database import Database
from tests.commerce.shop import Shop
from tests.starter.cli.conftest import Commerce


async def ship(shop: Shop, order_id: str) -> None:
    await shop.order(order_id, MUG=1)
    await shop.call(inventory.reserve, order_id)
    await shop.call(fulfillment.create, order_id)
    await shop.call(orders.complete, order_id)


async def test_fulfillments_are_exported_to_a_file_or_stdout(
    commerce: Commerce, database: Database, tmp_path: Path
) -> None:
    shop = Shop(database)
    await shop.stock("MUG", main=5)
    await ship(shop, "1")
    await ship(shop, "2")
    code, out, err = await commerce("export", "fulfillments")
    assert (code, err) == (0, "2 fulfillments exported; next time: --since 2\n")
    assert [row["Name"] for row in csv.DictReader(out.splitlines())] == ["1", "2"]
    await ship(shop, "3")
    code, out, err = await commerce("export", "fulfillments", "--since", "2", "--output", "new.csv")
    assert (code, out, err) == (0, "", "1 fulfillment exported; next time: --since 3\n")
    assert await asyncio.to_thread(lambda: [path.name for path in tmp_path.iterdir()]) == ["new.csv"]
    with (tmp_path / "new.csv").open(newline="") as file:
        assert [row["Export number"] for row in csv.DictReader(file)] == ["3"]
    code, out, err = await commerce("export", "fulfillments", "--since", "3", "--format", "woocommerce")
    assert (code, err) == (0, "0 fulfillments exported; next time: --since 3\n")
    assert out.startswith("order_id,tracking_provider,") and len(out.splitlines()) == 1
    assert (await commerce("export", "fulfillments", "--since", "-1")).code == 2
    unwritable = await commerce("export", "fulfillments", "--output", "missing/new.csv")
    assert unwritable.code == 1
    assert unwritable.err == "Cannot write missing/new.csv: no such file or directory\n"
    unknown = await commerce("export", "fulfillments", "--format", "xml")
    assert unknown.code == 2
    assert unknown.err == "Invalid value for '--format': 'xml' is not one of 'shopify', 'woocommerce'.\n"


async def test_fulfillments_of_one_of_several_shops(commerce: Commerce, database: Database, tmp_path: Path) -> None:
    shop = Shop(database)
    await shop.stock("MUG", main=5)
    await ship(shop, "1")
    await ship(shop, "etsy~1")
    await shop.sql("UPDATE orders SET source = 'etsy' WHERE id = 'etsy~1'")
    done = await commerce("export", "fulfillments", "--output", "all.csv")
    assert done.code == 0
    assert "the file has orders of several shops: etsy, shop; --source NAME exports those of one" in done.err
    code, out, err = await commerce("export", "fulfillments", "--source", "etsy")
    assert (code, err) == (0, "1 fulfillment exported; next time: --since 2\n")
    assert [row["Order id"] for row in csv.DictReader(out.splitlines())] == ["etsy~1"]
    assert (await commerce("export", "fulfillments", "--source", "no name")).code == 2
    beyond = await commerce("export", "fulfillments", "--since", "3", "--output", "beyond.csv")
    assert beyond.code == 2 and "since: must be at most 2, the last number that was given out" in beyond.err
    assert await asyncio.to_thread(lambda: [path.name for path in tmp_path.iterdir()]) == ["all.csv"]


async def test_order_lines_are_listed_and_linked(commerce: Commerce, database: Database) -> None:
    shop = Shop(database)
    assert (await commerce("products", "unlinked")).out == "All lines of open orders are linked to products\n"
    await shop.stock("MUG", main=5)
    await shop.order("1", ("4.5E+12", 1))
    assert (await commerce("products", "unlinked")).out == "     1 order  SKU    4.5E+12\n"
    listed = (await commerce("products", "unlinked", "--json")).json
    assert listed == [{"text": "4.5E+12", "has_sku": True, "lines": 1, "orders": 1}]
    wrong = await commerce("products", "link", "4.5E+12", "CUP")
    assert wrong.code == 2 and "no variant has this SKU" in wrong.err
    assert (await commerce("products", "link", "4.5E+12", "MUG")).out == "1 line linked\n"
    assert (await commerce("products", "unlinked", "--json")).json == []
    later = await commerce("products", "link", "Mugg", "MUG")
    assert (later.code, later.out) == (0, "0 lines linked\n")
    assert later.err.startswith("No line has this text yet") and "commerce products unlinked" in later.err


async def test_a_count_has_a_time(commerce: Commerce, database: Database, tmp_path: Path) -> None:
    (tmp_path / "stock.csv").write_text("SKU,On hand\nMUG,-1\n")
    done = await commerce("import", "inventory", "stock.csv", "--counted-at", "2026-03-02 13:00:00 +0100")
    assert done.code == 0
    counted, imported = done.out.splitlines()
    assert counted == "stock.csv: counted at 2026-03-02 12:00:00 +0000"
    assert imported == "1 row read: 1 level imported, 0 known already"
    warning = "stock.csv:2: warning: fewer than 0 units are counted; the stock is set to 0"
    assert done.err.splitlines()[-1] == warning
    again = await commerce("import", "inventory", "stock.csv", "--counted-at", "2026-03-02 12:00:00Z")
    assert "0 levels imported, 1 known already" in again.out
    assert "a later count with the same numbers needs its own --counted-at" in again.err
    for time in ("yesterday", "2026-03-02 12:00:00", "2999-03-02 12:00:00Z"):
        wrong = await commerce("import", "inventory", "stock.csv", "--counted-at", time)
        assert wrong.code == 2 and "--counted-at" in wrong.err
