"""Inventory exports in all their layouts, with what real shops have in them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from commerce.database import Database
from commerce.imports import ImportReport, import_inventory

TODAY = (
    "Handle,Title,Option1 Name,Option1 Value,Option2 Name,Option2 Value,Option3 Name,Option3 Value,SKU,HS Code,COO,"
    "Location,Bin name,Incoming (not editable),Unavailable (not editable),Committed (not editable),"
    "Available (not editable),On hand (current),On hand (new)"
)
OLDER = (
    "Handle,Title,Option1 Name,Option1 Value,Option2 Name,Option2 Value,Option3 Name,Option3 Value,SKU,HS Code,COO,"
    "Location,Incoming,Unavailable,Committed,Available,On hand"
)
STOCK = """
    SELECT sku, locations.name, stocked_quantity FROM inventory_levels
    JOIN inventory_items ON inventory_items.id = inventory_item_id JOIN locations ON locations.id = location_id
    ORDER BY 1, 2
"""
LISTINGS = """
    SELECT listings.name, sku FROM listings JOIN variants ON variants.id = variant_id ORDER BY listings.name, sku
"""
Import = Callable[..., Any]


@pytest.fixture
def run_import(database: Database, tmp_path: Path) -> Import:
    """Import a file of these lines."""

    async def run(*lines: str, skip_bad: bool = False) -> ImportReport:
        file = tmp_path / "stock.csv"
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return await import_inventory(database, [file], skip_bad=skip_bad)

    return run


@pytest.fixture
def rows(database: Database) -> Callable[[str], Any]:
    async def find(query: str) -> list[tuple[Any, ...]]:
        async with database.transaction() as tx:
            return [tuple(row) for row in await tx.execute(text(query))]

    return find


def warnings(report: ImportReport) -> list[tuple[int, str]]:
    return [(warning.line, warning.reason) for warning in report.warnings]


async def test_todays_header(run_import: Import, rows: Import) -> None:
    report = await run_import(
        TODAY,
        "mug,Mug,Title,Default Title,,,,,MUG-1,,,Main,A1,0,0,0,4,4,",
        "mug,Mug,Title,Default Title,,,,,MUG-1,,,Loft,,0,0,0,not stocked,not stocked,",
        "shirt,Shirt,Size,M,Color,Red,,,SH-M,6109,GB,Main,,5,1,0,7,8,9",
        "shirt,Shirt,Size,M,Color,Red,,,SH-M,6109,GB,Loft,,0,0,0,Not stocked,Not stocked,2",
        "shirt,Shirt,Size,L,Color,Red,,,SH-L,6109,GB,Main,,0,0,0,3,3,not stocked",
    )
    assert (report.read, report.bad, report.warnings) == (5, [], [])
    assert await rows(STOCK) == [("MUG-1", "Main", 4), ("SH-M", "Loft", 2), ("SH-M", "Main", 9)]
    assert await rows(LISTINGS) == [("Mug", "MUG-1"), ("Shirt - L / Red", "SH-L"), ("Shirt - M / Red", "SH-M")]


async def test_the_older_header(run_import: Import, rows: Import) -> None:
    await run_import(OLDER, "mug,Mug,Title,Default Title,,,,,MUG-1,,,Main,0,0,0,4,4")
    assert await rows(STOCK) == [("MUG-1", "Main", 4)]


async def test_one_column_per_location(run_import: Import, rows: Import) -> None:
    report = await run_import(
        'Handle,Title,Option1 Name,Option1 Value,SKU,HS Code,COO,Barcode,"High Street 5, London",Loft,',
        "mug,Mug,Title,Default Title,MUG-1,,,5012345678900,4,2,",
        "cup,Cup,Title,Default Title,CUP-1,,,,not stocked,0,",
        "pin,Pin,Title,Default Title,PIN-1,,,,,,",
    )
    assert (report.read, report.taken, report.bad) == (3, 5, [])
    london = "High Street 5, London"
    assert await rows(STOCK) == [("CUP-1", "Loft", 0), ("MUG-1", london, 4), ("MUG-1", "Loft", 2)]
    tracked = "SELECT sku, manage_inventory FROM variants ORDER BY sku"
    assert await rows(tracked) == [("CUP-1", True), ("MUG-1", True), ("PIN-1", False)]
    report = await run_import("SKU,Main,Notes", "MUG-1,3,fragile")
    assert report.bad[0].reason == "Notes: must be a whole number, empty or not stocked"


@pytest.mark.parametrize(
    ("header", "line"),
    [
        ("SKU,On hand", "MUG-1,4"),
        ("SKU,Location,Available", "MUG-1,Main,4"),
        ("Title,SKU,Main", "Mug,MUG-1,4"),
        ("SKU,Location,On hand (new)", "MUG-1,,4"),
        ("Handle,SKU,Location,On hand (current),On hand (new)", ",MUG-1,Main,9,4"),
        ("SKU,Tracked,Policy,On hand", "MUG-1,,,4"),
        ("Handle,Title,Option 1 Name,Option 1 Value,SKU,On hand", "mug,,Title,Default Title,MUG-1,4"),
    ],
)
async def test_most_columns_are_optional(run_import: Import, rows: Import, header: str, line: str) -> None:
    assert (await run_import(header, line)).bad == []
    assert await rows(STOCK) == [("MUG-1", "Main", 4)]


async def test_rows_without_a_location_are_about_the_only_one(run_import: Import, rows: Import) -> None:
    await run_import("SKU,Location,On hand", "A,Loft,1")
    await run_import("SKU,On hand", "A,2")
    assert await rows(STOCK) == [("A", "Loft", 2)]
    await run_import("SKU,Location,On hand", "A,Cellar,1")
    report = await run_import("SKU,On hand", "A,2", "B,")
    assert [bad.reason for bad in report.bad] == ["Location: must not be empty, since the shop has several"]


async def test_titles_are_kept_or_made(run_import: Import, rows: Import) -> None:
    header = "Handle,Title,SKU,On hand"
    await run_import(header, "mug,Mug,A,1", "mug,,B,1", ",Blue Pen!,C,1", ",,D,1")
    await run_import(header, "mug,,A,2", ",,C,2")
    titles = [("D", "D"), ("blue-pen", "Blue Pen!"), ("mug", "Mug")]
    assert sorted(await rows("SELECT id, title FROM products")) == titles


async def test_negative_counts_are_0_and_reported(run_import: Import, rows: Import) -> None:
    header = "Handle,Title,SKU,Location,Available,On hand"
    report = await run_import(header, "mug,Mug,A,Main,-3,-3", "pen,Pen,B,Main,2,2")
    assert (report.taken, report.bad) == (2, [])
    assert warnings(report) == [(2, "fewer than 0 units are counted; the stock is set to 0")]
    assert await rows(STOCK) == [("A", "Main", 0), ("B", "Main", 2)]
    report = await run_import("SKU,Main", "A,-1")
    assert warnings(report) == [(2, "fewer than 0 units are counted; the stock is set to 0")]


async def test_untracked_variants_are_sold_without_counting_until_they_are_counted(
    run_import: Import, rows: Import
) -> None:
    header, tracked = "SKU,Location,On hand", "SELECT sku, manage_inventory FROM variants ORDER BY sku"
    await run_import(header, "A,Main,", "A,Loft,", "B,Main,not stocked", "C,Main,", "C,Loft,1")
    assert await rows(tracked) == [("A", False), ("B", True), ("C", True)]
    await run_import(header, "A,Main,", "C,Main,")
    assert await rows(tracked) == [("A", False), ("B", True), ("C", True)]
    await run_import(header, "A,Main,4")
    assert await rows(tracked) == [("A", True), ("B", True), ("C", True)]


async def test_i11_a_sku_is_sold_as_several_products_from_one_stock(run_import: Import, rows: Import) -> None:
    header = "Handle,Title,SKU,Location,Available,On hand"
    report = await run_import(
        header,
        "shirt,Shirt,A,Main,5,5",
        "shirt-sale,Shirt (sale),A,Main,3,3",
        "shirt,Shirt,A,Loft,1,1",
        "shirt-sale,Shirt (sale),A,Loft,1,1",
    )
    assert (report.taken, report.bad) == (3, [])
    assert warnings(report) == [(2, "SKU: line 3 has another count for the same location, which is used")]
    assert await rows(STOCK) == [("A", "Loft", 1), ("A", "Main", 3)]
    assert await rows(LISTINGS) == [("Shirt", "A"), ("Shirt (sale)", "A")]
    await run_import(header, "shirt-sale,Shirt (half price),A,Main,3,3")
    assert await rows(LISTINGS) == [("Shirt", "A"), ("Shirt (half price)", "A")]


async def test_i11_variants_without_a_sku_are_known_by_handle_and_options(run_import: Import, rows: Import) -> None:
    header = "Handle,Title,Option1 Name,Option1 Value,Option2 Name,Option2 Value,SKU,Location,On hand"
    red, blue = "mug,Mug,Color,Red,Size,L", "mug,Mug,Color,Blue,Size,L"
    await run_import(
        header, f"{red},,Main,4", f"{blue},,Main,5", f"{red},,Loft,1", "pin,Pin,Title,Default Title,,,,Main,7"
    )
    expected = [
        ("#mug/Blue / L", "Main", 5),
        ("#mug/Red / L", "Loft", 1),
        ("#mug/Red / L", "Main", 4),
        ("#pin", "Main", 7),
    ]
    assert await rows(STOCK) == expected
    await run_import(header, f"{red},RED,Main,4")  # it gets a SKU and keeps its stock
    assert await rows(STOCK) == [
        ("#mug/Blue / L", "Main", 5),
        ("#pin", "Main", 7),
        ("RED", "Loft", 1),
        ("RED", "Main", 4),
    ]
    await run_import(header, f"{red},,Main,3")  # and a file without the SKU is still about it
    assert await rows("SELECT count(*) FROM variants") == [(3,)]
    assert ("RED", "Main", 3) in await rows(STOCK)
    report = await run_import(header, ",,,,,,,Main,1")
    assert report.bad[0].reason == "SKU: must not be empty if the row has no Handle and no Title either"
    report = await run_import(header, "mug,Mug,Color,R\0d,,,RED,Main,1", f"mug,Mug,Color,{'x' * 255},,,RED,Main,1")
    assert [bad.reason for bad in report.bad] == [
        "Option1 Value: must not contain NUL characters",
        "Option1 Value: handle and options must not be longer than 255 characters",
    ]


async def test_a_handle_alone_must_name_one_variant(run_import: Import, rows: Import) -> None:
    await run_import("Handle,SKU,On hand", "mug,A,1", "mug,B,1", "pen,C,1")
    report = await run_import("Handle,On hand", "mug,2", "pen,2", skip_bad=True)
    ambiguous = "SKU: must not be empty, since several variants have this handle and options"
    assert [(bad.line, bad.reason) for bad in report.bad] == [(2, ambiguous)]
    assert await rows(STOCK) == [("A", "Main", 1), ("B", "Main", 1), ("C", "Main", 2)]


async def test_a_variant_is_listed_with_its_present_options_only(run_import: Import, rows: Import) -> None:
    header = "Handle,Title,Option1 Name,Option1 Value,SKU,On hand"
    await run_import(header, "mug,Mug,Color,Red,A,1", "mug,Mug,Color,Blue,B,1")
    await run_import("Handle,Title,SKU,On hand", "mug,Mug,A,1")  # says nothing about options
    assert await rows(LISTINGS) == [("Mug - Blue", "B"), ("Mug - Red", "A")]
    await run_import(header, "mug,Mug,Color,Crimson,A,1", "mug,Mug,Color,Blue,C,1")
    assert await rows(LISTINGS) == [("Mug - Blue", "C"), ("Mug - Crimson", "A")]
