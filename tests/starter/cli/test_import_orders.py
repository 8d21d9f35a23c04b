"""`commerce import orders` names the source of orders, and reports what is odd about them."""

from pathlib import Path

from tests.commerce.imports.order_files import first, write_file
from tests.running_shop import RunningShop
from tests.starter.cli.conftest import Commerce


async def test_orders_of_several_shops_are_told_apart(shop: RunningShop, commerce: Commerce, tmp_path: Path) -> None:
    file = str(write_file(tmp_path / "orders.csv", first(Id="")))
    for _ in range(2):
        assert (await commerce("import", "orders", file)).code == 0
        assert (await commerce("import", "orders", "--source", "etsy", file)).code == 0
    assert await shop.data.sql("SELECT id, number FROM orders ORDER BY id") == [
        ("1001", "#1001"),
        ("etsy~1001", "#1001"),
    ]
    wrong = await commerce("import", "orders", "--source", "a~b", file)
    assert wrong.code == 2 and "must be 1 to 40 of the characters" in wrong.err


async def test_the_process_of_another_shops_order_has_its_source_in_the_id(
    shop: RunningShop, commerce: Commerce, tmp_path: Path
) -> None:
    await shop.data.stock("MUG", main=5)
    await commerce("import", "orders", "--source", "etsy", str(write_file(tmp_path / "orders.csv", first())))
    async with shop.worker():
        started = await commerce("start", "order-processing", "--input", '{"order_id": "etsy~5551"}')
    assert started.code == 0
    assert (await commerce("runs", "show", "order-processing-etsy~5551")).code == 0
    [mail] = shop.mails("order-shipped", "etsy~5551")
    assert mail["Subject"] == "Your order #1001 is on its way"


async def test_warnings_are_shown_and_do_not_stop_the_import(
    shop: RunningShop, commerce: Commerce, tmp_path: Path
) -> None:
    file = str(write_file(tmp_path / "orders.csv", first(Total="1.00")))
    done = await commerce("import", "orders", file)
    assert done.code == 0 and f"{file}:2: warning: Total: is 28.00 less than" in done.err
    assert await shop.data.sql("SELECT total FROM orders") == [100]
