"""Files as shops and spreadsheet programs write them, imported as they are."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from commerce import carts, open_orders
from commerce.imports import ImportReport, Options, Reading, import_carts, import_orders
from commerce.messages.carts import ExpiryRequest
from commerce.messages.pending_orders import PendingPageRequest
from tests.commerce.imports.order_files import Import, first, further, write_file
from tests.commerce.shop import Shop

NOTE = 'Ring twice,\nthen say "hello";\nthank you'
ORDER = "SELECT name, note, total, shipping_name FROM orders"
STATES = "SELECT name, payment_status, fulfillment_status FROM orders ORDER BY name"
Rewrite = Callable[[str], bytes]  # makes the bytes of a file from the text of an ordinary export


def one_cell_too_many(text: str) -> bytes:
    header, row = text.split("\r\n", 1)
    return f"{header}\r\n{row.rstrip()},\r\n".encode()


def upper_case_header(text: str) -> bytes:
    header, rows = text.split("\r\n", 1)
    return f"{header.upper().replace(',', ' , ')}\r\n{rows}".encode()


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "rewrite",
    [
        str.encode,
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("cp1252"),
        lambda text: text.replace("\r\n", "\r").encode(),
        lambda text: text.replace("\r\n", "\n").encode(),
    ],
    ids=["utf-8", "bom", "utf-16", "cp1252", "cr", "lf"],
)
async def test_an_order_is_the_same_in_any_notation_of_csv(
    shop: Shop, tmp_path: Path, rewrite: Rewrite, separator: str
) -> None:
    row = first(Notes=NOTE, Shipping_Name="Zoë Müller", Total="29.00")
    file = write_file(tmp_path / "orders.csv", row, delimiter=separator)
    file.write_bytes(rewrite(file.read_bytes().decode()))
    assert await run_import(shop, file) == ["#1001"]
    assert await shop.sql(ORDER) == [("#1001", NOTE, 2_900, "Zoë Müller")]


@pytest.mark.parametrize("rewrite", [one_cell_too_many, upper_case_header])
async def test_what_does_not_matter_in_a_file_is_overlooked(shop: Shop, tmp_path: Path, rewrite: Rewrite) -> None:
    file = write_file(tmp_path / "orders.csv", first(Total="29.00"))
    file.write_bytes(rewrite(file.read_bytes().decode()))
    assert await run_import(shop, file) == ["#1001"]


async def test_a_date_of_a_spreadsheet_is_refused_until_its_time_zone_is_said(shop: Shop, tmp_path: Path) -> None:
    file = write_file(tmp_path / "orders.csv", first(Created_at="20/11/2026 12:00"))
    report = await import_orders(shop.database, [file], currency="GBP")
    reason = "Created at: must include the offset from UTC, or the time zone be said with --timezone"
    assert [(bad.line, bad.reason) for bad in report.bad] == [(2, reason)]
    said = Options(reading=Reading(timezone=ZoneInfo("Europe/Berlin")))
    assert (await import_orders(shop.database, [file], currency="GBP", options=said)).taken == 1
    assert await shop.sql("SELECT created_at FROM orders") == [datetime(2026, 11, 20, 11, tzinfo=UTC)]


async def test_the_next_days_file_of_a_shop_without_ids_changes_its_orders(shop: Shop, load: Import) -> None:
    await shop.stock("MUG", main=9)
    row = {"Id": "", "Fulfillment_Status": "unfulfilled"}
    monday = first(Name="#1", Financial_Status="pending", **row), first(Name="#2", **row)
    assert (await load(*monday)).taken == 2
    assert await pending(shop) == ["2"]
    tuesday = (
        first(Name="#1", Paid_at="2026-03-03 09:00:00 +0000", **row),
        first(Name="#2", **row | {"Fulfillment_Status": "fulfilled"}),  # by hand
        first(Name="#3", **row),
    )
    report = await load(*tuesday)
    assert (report.taken, report.changed, report.bad, report.warnings) == (3, 2, [], [])
    assert await shop.sql(STATES) == [
        ("#1", "captured", "not_fulfilled"),
        ("#2", "captured", "fulfilled_elsewhere"),
        ("#3", "captured", "not_fulfilled"),
    ]
    assert await pending(shop) == ["1", "3"]
    assert (await load(*tuesday)).unchanged == 3


async def test_an_order_of_more_than_a_thousand_lines_is_imported(shop: Shop, load: Import) -> None:
    report = await load(first(), *[further(Lineitem_price="1.00", Lineitem_quantity="1")] * 1_200)
    assert report == ImportReport(read=1_201, taken=1)
    assert await shop.sql("SELECT total, (SELECT count(*) FROM order_lines) FROM orders") == [(122_900, 1_201)]


async def test_imported_carts_expire_by_the_time_of_their_last_change(shop: Shop, tmp_path: Path) -> None:
    header = "Id,Email,Created at,Updated at,Completed at,Currency,Lineitem quantity,Lineitem sku,Lineitem price"
    times = {
        "left": ("2026-10-01 08:00:00 +0000", ""),
        "just in time": ("2026-10-30 13:00:00 +0100", ""),
        "just too late": ("2026-10-30 12:59:59 +0100", ""),
        "bought": ("2026-10-01 08:00:00 +0000", "2026-10-01 08:00:00 +0000"),
        "later than now": ("2126-12-02 08:00:00 +0000", ""),
    }
    rows = (
        f"{name.replace(' ', '-')},ann@customer.example,2026-09-30 08:00:00 +0000,{updated},{completed},GBP,1,MUG,2.50"
        for name, (updated, completed) in times.items()
    )
    (file := tmp_path / "carts.csv").write_text("\n".join([header, *rows]))
    assert (await import_carts(shop.database, [file], currency="GBP")).taken == 5
    noon = datetime(2026, 10, 30, 12, tzinfo=UTC)
    assert (await shop.call(carts.expire, ExpiryRequest(before=noon))).changed == 2
    kept = ["bought", "just-in-time", "later-than-now"]
    assert await shop.sql("SELECT id FROM carts ORDER BY id") == kept


async def run_import(shop: Shop, file: Path) -> list[str]:
    """Import a file without any bad row or warning; return the names of all orders."""
    report = await import_orders(shop.database, [file], currency="GBP")
    assert (report.bad, report.warnings) == ([], [])
    names: list[str] = await shop.sql("SELECT name FROM orders ORDER BY name")
    return names


async def pending(shop: Shop) -> list[str]:
    return sorted((await shop.call(open_orders.list_pending, PendingPageRequest(limit=9))).order_ids)
