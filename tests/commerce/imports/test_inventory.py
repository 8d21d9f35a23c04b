"""An inventory export creates the catalogue, and sets stock by movements, once per count (I13)."""

import asyncio
import csv
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from commerce.database import Database
from commerce.errors import UnreadableFile
from commerce.imports import BadRow, ImportReport, import_inventory, import_orders
from commerce.imports.csv_rows import open_rows
from commerce.imports.inventory_rows import COLUMNS, LevelReader
from tests.polling import until_lock_wait
from tests.week import Week

HEADER = ["Handle", "Title", "SKU", "Location", "Available", "On hand", "Tracked", "Policy"]
ORDER_COLUMNS = (
    "Name,Email,Financial Status,Paid at,Fulfillment Status,Currency,Shipping,Shipping Method,Created at,"
    "Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Lineitem requires shipping,Shipping Country,Id"
)
STOCK = "SELECT inventory_item_id, location_id, stocked_quantity FROM inventory_levels ORDER BY 1, 2"
MOVEMENTS = "SELECT inventory_item_id, quantity, reason, reference FROM stock_movements ORDER BY id"
Write = Callable[..., Path]


def row(sku: str = "A", on_hand: str = "5", **changes: str) -> dict[str, str]:
    """Return a row; keywords are columns, with underscores for spaces."""
    usual = {"Handle": f"h-{sku}", "Title": f"T {sku}", "SKU": sku, "Location": "Main", "Available": "?"}
    return usual | {"On hand": on_hand} | {name.replace("_", " "): value for name, value in changes.items()}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*rows: dict[str, str], header: list[str] = HEADER, name: str = "stock.csv") -> Path:
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, header, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path / name

    return write


async def run_import(
    database: Database, *files: Path, skip_bad: bool = False, counted_at: datetime | None = None
) -> ImportReport:
    return await import_inventory(database, files, skip_bad=skip_bad, counted_at=counted_at)


async def counts(
    database: Database, *files: Path, skip_bad: bool = False, counted_at: datetime | None = None
) -> tuple[int, int, list[tuple[int, str]]]:
    report = await run_import(database, *files, skip_bad=skip_bad, counted_at=counted_at)
    return report.taken, report.unchanged, [(bad.line, bad.reason) for bad in report.bad]


async def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    async with database.transaction() as tx:
        return [tuple(found) for found in await tx.execute(text(query))]


async def change(database: Database, statement: str) -> None:
    async with database.transaction() as tx:
        await tx.execute(text(statement))


async def everything(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables with their transaction ids; equal only if no row was even rewritten."""
    tables = await rows(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return {
        name: await rows(database, f"SELECT t.xmin::text, t::text FROM {name} AS t ORDER BY ctid") for (name,) in tables
    }


async def test_rows_become_products_variants_items_and_levels(database: Database, write: Write) -> None:
    file = write(
        row("A", "5", Handle="mug", Title="Mug", Location="Zeta"),
        row("B b", "0", Handle="mug", Title="Mug, blue", Location="Zeta"),
        row("A", "7", Handle="mug", Title="Mug", Location="Alpha"),
    )
    assert await counts(database, file) == (3, 0, [])
    assert await rows(database, "SELECT id, title FROM products") == [("mug", "Mug")]
    variants = "SELECT id, sku, product_id, manage_inventory, allow_backorder FROM variants ORDER BY id"
    assert await rows(database, variants) == [("A", "A", "mug", True, False), ("B b", "B b", "mug", True, False)]
    parts = "SELECT variant_id, inventory_item_id, required_quantity FROM variant_inventory_items ORDER BY 1"
    assert await rows(database, parts) == [("A", "A", 1), ("B b", "B b", 1)]
    locations = "SELECT id, name, priority FROM locations ORDER BY priority"
    assert await rows(database, locations) == [("Zeta", "Zeta", 0), ("Alpha", "Alpha", 1)]
    assert await rows(database, STOCK) == [("A", "Alpha", 7), ("A", "Zeta", 5), ("B b", "Zeta", 0)]
    moved = [("A", 7, "import", "stock.csv"), ("A", 5, "import", "stock.csv")]
    assert sorted(await rows(database, MOVEMENTS)) == sorted(moved)
    assert await rows(database, "SELECT count(*) FROM outbox_events") == [(0,)]
    await run_import(database, write(row("C", Location="New")))
    assert await rows(database, locations) == [("Zeta", "Zeta", 0), ("Alpha", "Alpha", 1), ("New", "New", 2)]


async def test_titles_tracking_and_policy_are_updated_unless_the_file_leaves_them_empty(
    database: Database, write: Write
) -> None:
    flags = """SELECT products.title, manage_inventory, allow_backorder
               FROM variants JOIN products ON products.id = product_id"""
    await run_import(database, write(row(Tracked="false", Policy="continue"), row(Location="Other")))
    assert await rows(database, flags) == [("T A", False, True)]
    without_flags = write(row(Title="New"), row(Title="New", Location="Other"), header=HEADER[:-2])
    assert await counts(database, without_flags) == (2, 0, [])
    assert await rows(database, flags) == [("New", False, True)]
    assert await counts(database, write(row(Title="New", Tracked="TRUE", Policy="deny"))) == (1, 0, [])
    assert await rows(database, flags) == [("New", True, False)]


async def test_a_kit_stays_a_kit(database: Database, write: Write) -> None:
    await run_import(database, write(row("PART")))
    await change(database, "INSERT INTO variants (id, product_id, sku) VALUES ('kit-id', 'h-PART', 'KIT')")
    await change(database, "INSERT INTO variant_inventory_items VALUES ('kit-id', 'PART', 3)")
    await run_import(database, write(row("KIT", Handle="h-PART", Title="T PART", Policy="continue")))
    assert await rows(
        database, "SELECT inventory_item_id FROM variant_inventory_items WHERE variant_id = 'kit-id'"
    ) == [("PART",)]
    assert await rows(database, "SELECT id, allow_backorder FROM variants WHERE sku = 'KIT'") == [("kit-id", True)]


async def test_lines_of_earlier_orders_are_linked_to_new_variants(
    database: Database, write: Write, tmp_path: Path
) -> None:
    orders = tmp_path / "orders.csv"
    head = "#1,,paid,,,GBP,0,,2010-11-15 08:34:00 +0000,1,x,1,A,true,,1"
    orders.write_text(f"{ORDER_COLUMNS}\n{head}\n#1,,,,,,,,,1,x,1,B,true,,\n#1,,,,,,,,,1,x,1,,true,,\n")
    assert (await import_orders(database, [orders], currency="GBP")).taken == 1
    await run_import(database, write(row("A"), row("C")))
    linked = "SELECT sku, variant_id FROM order_lines ORDER BY position"
    assert await rows(database, linked) == [("A", "A"), ("B", None), ("", None)]
    before = await rows(database, "SELECT xmin::text FROM order_lines ORDER BY position")
    await run_import(database, write(row("D")))
    assert await rows(database, "SELECT xmin::text FROM order_lines ORDER BY position") == before
    assert (await import_orders(database, [orders], currency="GBP")).unchanged == 1


async def test_importing_twice_changes_nothing(database: Database, write: Write) -> None:
    file = write(row("A"), row("B", "0"), row("C", "not stocked"), row("A", "3", Location="Other"))
    assert await counts(database, file) == (4, 0, [])
    before = await everything(database)
    assert await counts(database, file, file) == (0, 8, [])
    assert await everything(database) == before


async def test_i13_the_same_number_at_another_time_is_a_new_count(database: Database, write: Write) -> None:
    monday, tuesday = datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC)
    file = write(row(on_hand="5"))
    assert await counts(database, file, counted_at=monday) == (1, 0, [])
    await change(database, "UPDATE inventory_levels SET stocked_quantity = 2")
    assert await counts(database, file, counted_at=monday) == (0, 1, [])
    assert await rows(database, STOCK) == [("A", "Main", 2)]
    assert await counts(database, file, counted_at=tuesday) == (1, 0, [])
    assert await rows(database, STOCK) == [("A", "Main", 5)]
    assert await counts(database, write(row(on_hand="9"), name="second.csv"), counted_at=tuesday) == (1, 0, [])
    moved = [("A", 5, "import", "stock.csv"), ("A", 3, "import", "stock.csv"), ("A", 4, "import", "second.csv")]
    assert await rows(database, MOVEMENTS) == moved


async def test_i13_an_earlier_count_changes_nothing(database: Database, write: Write) -> None:
    monday, tuesday = datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC)
    await run_import(database, write(row(on_hand="5")), counted_at=tuesday)
    report = await run_import(database, write(row(on_hand="9"), row("B", "1")), counted_at=monday)
    assert (report.taken, report.unchanged, report.warning_count) == (1, 1, 1)
    assert report.warnings[0].reason == "a later count of this SKU and location is known, which stays"
    assert await rows(database, STOCK) == [("A", "Main", 5), ("B", "Main", 1)]


async def test_i13_a_later_count_of_the_warehouse_stays(database: Database, write: Write) -> None:
    await run_import(database, write(row(on_hand="5")))
    await change(
        database,
        """INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference, created_at)
           VALUES ('A', 'Main', 2, 'sync', 'test', '2026-03-03')""",
    )
    await change(database, "UPDATE inventory_levels SET stocked_quantity = 7, counted_at = '2026-03-01'")
    report = await run_import(database, write(row(on_hand="5")), counted_at=datetime(2026, 3, 2, tzinfo=UTC))
    assert (report.unchanged, report.warning_count) == (1, 1)
    assert await rows(database, STOCK) == [("A", "Main", 7)]


async def test_i13_a_file_was_counted_when_it_was_modified_but_never_in_the_future(
    database: Database, write: Write
) -> None:
    counted = "SELECT counted_at FROM inventory_levels"
    file = write(row())
    os.utime(file, (0, 1_000_000))
    await run_import(database, file)
    assert await rows(database, counted) == [(datetime.fromtimestamp(1_000_000, UTC),)]
    os.utime(file, (0, time.time() + 3600))
    await run_import(database, file)
    [(counted_at,)] = await rows(database, counted)
    assert counted_at < datetime.now(UTC) + timedelta(minutes=1)


async def test_a_new_count_equal_to_the_stock_is_no_movement(database: Database, write: Write) -> None:
    await run_import(database, write(row(on_hand="5")))
    await change(database, "UPDATE inventory_levels SET stocked_quantity = 2")
    file = write(row(on_hand="2"))
    assert await counts(database, file) == (1, 0, [])
    assert len(await rows(database, MOVEMENTS)) == 1
    assert await counts(database, file) == (0, 1, [])


async def test_stock_below_the_reserved_quantity_is_flagged_as_oversold(database: Database, write: Write) -> None:
    await run_import(database, write(row(on_hand="5")))
    await change(database, "UPDATE inventory_levels SET reserved_quantity = 4")
    oversold = "SELECT stocked_quantity, oversold FROM inventory_levels"
    await run_import(database, write(row(on_hand="3")))
    assert await rows(database, oversold) == [(3, True)]
    await run_import(database, write(row(on_hand="4")))
    assert await rows(database, oversold) == [(4, False)]


@pytest.mark.parametrize("on_hand", ["", "not stocked", " Not Stocked "])
async def test_no_level_is_created_where_a_sku_is_not_stocked(database: Database, write: Write, on_hand: str) -> None:
    assert await counts(database, write(row(on_hand=on_hand), row("B", "5"))) == (2, 0, [])
    assert await rows(database, STOCK) == [("B", "Main", 5)]
    assert await counts(database, write(row("B", on_hand), header=HEADER[:-2])) == (0, 1, [])
    assert await rows(database, STOCK) == [("B", "Main", 5)]  # an existing level stays


async def test_an_import_waits_for_a_running_step_and_moves_stock_from_its_result(
    database: Database, write: Write
) -> None:
    await run_import(database, write(row("A"), row("B")))
    async with database.transaction() as step:
        await step.execute(text("UPDATE inventory_levels SET stocked_quantity = 1 WHERE inventory_item_id = 'B'"))
        importing = asyncio.create_task(run_import(database, write(row("A", "6"), row("B", "6"))))
        await until_lock_wait(lambda sql: rows(database, sql))
    await importing
    assert [quantity for _, quantity, _, _ in (await rows(database, MOVEMENTS))[2:]] in ([1, 5], [5, 1])
    assert await rows(database, STOCK) == [("A", "Main", 6), ("B", "Main", 6)]


async def test_concurrent_imports_wait_for_each_other(database: Database, write: Write) -> None:
    files = [write(*(row(f"S{n}", str(1 + n + i)) for n in range(100)), name=f"{i}.csv") for i in range(4)]
    noon = datetime(2026, 3, 2, 12, tzinfo=UTC)
    reports = await asyncio.gather(*(run_import(database, file, counted_at=noon) for file in files))
    assert [report.taken for report in reports] == [100] * 4
    moved = "SELECT inventory_item_id, sum(quantity) FROM stock_movements GROUP BY 1"
    stocked = "SELECT inventory_item_id, stocked_quantity FROM inventory_levels"
    assert sorted(await rows(database, moved)) == sorted(await rows(database, stocked))


COUNT = "must be a whole number, empty or not stocked"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("Handle", "x" * 256, "must not be longer than 255 characters"),
        ("Title", "x" * 1001, "must not be longer than 1,000 characters"),
        ("SKU", "a\0", "must not contain NUL characters"),
        ("On hand", "1.5", COUNT),
        ("On hand", "many", COUNT),
        ("On hand", "2147483648", "must be at most 2,147,483,647"),
        ("Tracked", "perhaps", "must be one of true, false"),
        ("Policy", "ask", "must be one of deny, continue"),
    ],
)
def test_a_bad_cell_is_reported_by_column(write: Write, name: str, value: str, reason: str) -> None:
    with open_rows(write(row("B") | {name: value}), COLUMNS) as found:
        (only,) = found
        list(LevelReader().read(only))
    assert only.reason() == f"{name}: {reason}"


async def test_a_bad_row_rejects_the_file_unless_bad_rows_are_skipped(database: Database, write: Write) -> None:
    file = write(row("A"), row("B", "1.5"), row("C"))
    before = await everything(database)
    report = await run_import(database, file)
    assert report == ImportReport(read=3, bad=[BadRow(file=str(file), line=3, reason=f"On hand: {COUNT}")], bad_count=1)
    assert await everything(database) == before
    assert await run_import(database, file, skip_bad=True) == report.model_copy(update={"taken": 2})
    assert await rows(database, STOCK) == [("A", "Main", 5), ("C", "Main", 5)]
    file.write_text(file.read_text() + "h,malformed\n")
    assert (await counts(database, file))[2][1:] == [(5, "must have 8 cells like the header, not 2")]


async def test_the_header_must_name_products_and_counts(database: Database, write: Write) -> None:
    for header, reason in (
        (["Title", "Location", "On hand"], "it lacks the columns SKU and Handle, of which one must name the product"),
        (["Handle", "Title", "SKU", "Location", "HS Code"], "it lacks a column with counts: On hand"),
        (["Handle", "Title", "SKU", "Vendor"], "it lacks a column with counts: On hand"),
        ([*HEADER, "On hand (current)"], "it has more than one column named On hand"),
    ):
        with pytest.raises(UnreadableFile, match=rf"^Cannot import .*stock.csv: {reason}"):
            await run_import(database, write(row(), header=header))


async def test_a_week_is_imported_completely(database: Database, week: Week) -> None:
    skus = week.totals["skus"]
    await import_orders(database, [week.orders], currency="GBP")
    report = await run_import(database, week.inventory)
    assert report == ImportReport(read=2 * skus, taken=2 * skus)
    (sums,) = await rows(
        database,
        """SELECT (SELECT count(*) FROM variants), (SELECT count(*) FROM inventory_levels),
                  (SELECT count(*) FROM order_lines WHERE variant_id IS NULL),
                  (SELECT sum(quantity) FROM stock_movements) - (SELECT sum(stocked_quantity) FROM inventory_levels)""",
    )
    assert sums == (skus, 2 * skus, 0, 0)
    assert await counts(database, week.inventory) == (0, 2 * skus, [])
