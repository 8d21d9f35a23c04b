"""An export of carts is imported completely or not at all, and only once; bad rows are reported."""

import asyncio
import csv
import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from commerce import carts
from commerce.errors import UnreadableFile
from commerce.imports import BadRow, ImportReport, import_carts
from commerce.imports.cart_rows import COLUMNS, MAX_LINES, NewCart, read_carts
from commerce.imports.csv_rows import open_rows
from commerce.messages.carts import ExpiryRequest
from tests.commerce.shop import Shop
from tests.polling import until_lock_wait
from tests.week import Week

FIRST = {
    "Id": "C1",
    "Email": "ann@shop.example",
    "Created at": "2010-11-15 08:34:00 +0000",
    "Updated at": "2010-11-15 09:00:00 +0000",
    "Currency": "GBP",
    "Lineitem quantity": "2",
    "Lineitem sku": "22149",
    "Lineitem price": "1.66",
}
OWN_LAYOUT = [*FIRST, "Completed at"]
LINE = {column: FIRST[column] for column in FIRST if column.startswith("Lineitem")}
UPDATED = datetime(2010, 11, 15, 9, tzinfo=UTC)
QUANTITY = "Lineitem quantity: must be a whole number of at least 1"
PRICE = "Lineitem price: must be an amount of at least 0, like 12.50"
OFFSET = "Completed at: must include the offset from UTC, like 2010-11-15 08:34:00 +0000"


def first(cart_id: str = "C1", **changes: str) -> dict[str, str]:
    """Return a cart's first row; keywords are columns, with underscores for spaces."""
    return FIRST | {"Id": cart_id} | columns(changes)


def further(cart_id: str = "C1", **changes: str) -> dict[str, str]:
    return LINE | {"Id": cart_id} | columns(changes)


def columns(changes: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", " "): value for name, value in changes.items()}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: dict[str, str], name: str = "carts.csv") -> Path:
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, OWN_LAYOUT, restval="")
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path / name

    return write


def read(file: Path) -> tuple[list[NewCart], list[tuple[int, str]]]:
    """Parse a file without a database: the good carts, and the bad rows by line."""
    bad_rows: list[tuple[int, str]] = []
    with open_rows(file, COLUMNS) as rows:
        groups = list(read_carts(rows, "GBP", lambda line, reason: bad_rows.append((line, reason))))
    return [group.cart for group in groups if group.cart], bad_rows


async def run_import(shop: Shop, *files: Path, skip_bad: bool = False) -> ImportReport:
    return await import_carts(shop.database, files, skip_bad=skip_bad, currency="GBP")


async def bad(shop: Shop, *files: Path, skip_bad: bool = False) -> list[tuple[int, str]]:
    report = await run_import(shop, *files, skip_bad=skip_bad)
    assert report.bad_count == len(report.bad)
    return [(row.line, row.reason) for row in report.bad]


async def everything(shop: Shop) -> list[Any]:
    """Return all rows with their transaction ids; equal only if no row was even rewritten."""
    tables = ("carts", "cart_lines", "customers", "outbox_events")
    return [await shop.sql(f"SELECT t.xmin || ' ' || t::text FROM {table} AS t ORDER BY t.ctid") for table in tables]


async def test_a_cart_is_imported_with_its_lines_which_are_as_old_as_itself(
    shop: Shop, write: Callable[..., Path]
) -> None:
    await shop.variant("22149")
    file = write(first(), further(Lineitem_sku="NEW", Lineitem_quantity="3", Lineitem_price="0"))
    assert await run_import(shop, file) == ImportReport(read=2, taken=1)
    created = datetime(2010, 11, 15, 8, 34, tzinfo=UTC)
    columns = "id, email, currency, created_at, updated_at, completed_at"
    assert await shop.sql(f"SELECT {columns} FROM carts") == [("C1", "ann@shop.example", "GBP", created, UPDATED, None)]
    lines = "SELECT cart_id, variant_id, sku, quantity, unit_price, updated_at FROM cart_lines ORDER BY id"
    assert await shop.sql(lines) == [
        ("C1", "22149", "22149", 2, 166, UPDATED),
        ("C1", None, "NEW", 3, 0, UPDATED),
    ]
    assert await shop.events() == []
    assert await shop.sql("SELECT count(*) FROM customers") == [0]


@pytest.mark.parametrize(
    ("changes", "stored", "value"),
    [
        ({"Email": " Jo@Shop.Example "}, "email", "jo@shop.example"),
        ({"Email": ""}, "email", None),
        ({"Completed at": "2010-11-15 10:00:00 +0100"}, "completed_at", UPDATED),
        ({"Updated at": "2010-11-15T09:00Z"}, "updated_at", UPDATED),
        ({"Currency": ""}, "currency", "GBP"),
        ({"Currency": "jpy", "Lineitem price": "5"}, "currency", "JPY"),
        ({"Id": "gid:7.a_B-1"}, "id", "gid:7.a_B-1"),
    ],
)
def test_fields_are_translated(write: Callable[..., Path], changes: dict[str, str], stored: str, value: object) -> None:
    (cart,), bad_rows = read(write(first() | changes))
    assert (getattr(cart, stored), bad_rows) == (value, [])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Id": ""}, "Id: must not be empty"),
        ({"Id": "a/b"}, "Id: must be 1 to 100 of the characters A-Z a-z 0-9 . _ : -"),
        ({"Email": "ann"}, "Email: must be an e-mail address"),
        ({"Created at": "yesterday"}, "Created at: must be a time like 2010-11-15 08:34:00 +0000"),
        ({"Updated at": ""}, "Updated at: must be a time like 2010-11-15 08:34:00 +0000"),
        ({"Completed at": "2010-11-15 08:34:00"}, OFFSET),
        ({"Currency": "pounds"}, "Currency: must be three letters, like GBP"),
        ({"Currency": "JPY"}, "Lineitem price: must have at most 0 decimals in this currency"),
        ({"Lineitem quantity": "0"}, QUANTITY),
        ({"Lineitem sku": "a\0b"}, "Lineitem sku: must not contain NUL characters"),
        ({"Lineitem price": "", "Lineitem quantity": ""}, f"{QUANTITY}; {PRICE}"),
    ],
)  # fmt: skip
def test_a_bad_cell_is_reported_by_line_and_column(
    write: Callable[..., Path], changes: dict[str, str], reason: str
) -> None:
    carts, bad_rows = read(write(first("C0"), first() | changes, first("C2")))
    assert bad_rows == [(3, reason)]
    assert [cart.id for cart in carts] == ["C0", "C2"]


def test_the_number_of_lines_is_limited(write: Callable[..., Path]) -> None:
    _, bad_rows = read(write(first(), *[further()] * MAX_LINES))
    assert bad_rows == [(MAX_LINES + 2, "the cart has more than 10,000 lines")]


async def test_importing_twice_changes_nothing(shop: Shop, write: Callable[..., Path]) -> None:
    file = write(first(), further(), first("C2", Email=""))
    assert await run_import(shop, file) == ImportReport(read=3, taken=2)
    before = await everything(shop)
    assert await run_import(shop, file, file) == ImportReport(read=6, unchanged=4)
    assert await everything(shop) == before


async def test_a_cart_that_the_shop_has_changed_is_still_recognised(shop: Shop, write: Callable[..., Path]) -> None:
    file = write(first(), first("C2"))
    await run_import(shop, file)
    await shop.sql("UPDATE carts SET completed_at = now(), updated_at = now() WHERE id = 'C1'")
    await shop.sql("DELETE FROM cart_lines WHERE cart_id = 'C2'")
    before = await everything(shop)
    assert await run_import(shop, file) == ImportReport(read=2, unchanged=2)
    assert await everything(shop) == before


@pytest.mark.parametrize("changes", [{"Email": ""}, {"Lineitem quantity": "3"}])
async def test_a_cart_with_two_contents_of_the_same_time_is_bad(
    shop: Shop, write: Callable[..., Path], changes: dict[str, str]
) -> None:
    await run_import(shop, write(first()))
    before = await everything(shop)
    other = write(first("C9"), first() | changes)
    assert await bad(shop, other) == [(3, "cart C1 already exists with different content and the same Updated at")]
    assert await everything(shop) == before
    report = await run_import(shop, other, skip_bad=True)
    assert (report.taken, report.unchanged, report.bad_count) == (1, 0, 1)


CART = "SELECT email, updated_at, completed_at FROM carts WHERE id = 'C1'"
CART_LINES = "SELECT sku, quantity, updated_at FROM cart_lines WHERE cart_id = 'C1' ORDER BY id"
LATER = datetime(2010, 11, 16, 9, tzinfo=UTC)


async def test_a_newer_cart_replaces_a_known_one_and_an_older_one_changes_nothing(
    shop: Shop, write: Callable[..., Path]
) -> None:  # (C4)
    day1 = write(first(), further(Lineitem_sku="OLD"), first("C2"), name="day1.csv")
    day2 = write(
        first(Updated_at="2010-11-16 09:00:00 +0000", Lineitem_quantity="5", Email="jo@shop.example"),
        first("C2"),
        name="day2.csv",
    )
    await run_import(shop, day1)
    assert await run_import(shop, day2) == ImportReport(read=2, taken=1, changed=1, unchanged=1)
    assert await shop.sql(CART) == [("jo@shop.example", LATER, None)]
    assert await shop.sql(CART_LINES) == [("22149", 5, LATER)]
    before = await everything(shop)
    assert await run_import(shop, day1, day2, day1) == ImportReport(read=8, unchanged=6)
    assert await everything(shop) == before


async def test_a_cart_that_was_bought_stays_bought(shop: Shop, write: Callable[..., Path]) -> None:  # (C4)
    bought, newer = "2010-11-15 10:00:00 +0000", "2010-11-16 09:00:00 +0000"
    await run_import(shop, write(first()))
    # Bought, but the file is older than the last change that the shop knows: only the purchase counts.
    await shop.sql("UPDATE carts SET updated_at = '2010-11-15 12:00:00+00'")
    report = await run_import(shop, write(first(Completed_at=bought, Lineitem_quantity="9")))
    assert (report.taken, report.changed) == (1, 1)
    done, touched = datetime(2010, 11, 15, 10, tzinfo=UTC), datetime(2010, 11, 15, 12, tzinfo=UTC)
    assert await shop.sql(CART) == [("ann@shop.example", touched, done)]
    assert await shop.sql(CART_LINES) == [("22149", 2, UPDATED)]
    # A newer file that does not know of it changes the content only.
    assert (await run_import(shop, write(first(Updated_at=newer, Lineitem_quantity="7")))).changed == 1
    assert await shop.sql(CART) == [("ann@shop.example", LATER, done)]
    assert await shop.sql(CART_LINES) == [("22149", 7, LATER)]


async def test_a_purchase_at_the_time_of_the_last_change_is_imported(shop: Shop, write: Callable[..., Path]) -> None:
    await run_import(shop, write(first()))
    file = write(first(Completed_at="2010-11-15 09:00:00 +0000"))
    assert (await run_import(shop, file)).changed == 1
    assert (await run_import(shop, file)).unchanged == 1
    assert await shop.sql("SELECT completed_at FROM carts") == [UPDATED]


async def test_a_cart_that_was_used_or_bought_meanwhile_does_not_expire(shop: Shop, write: Callable[..., Path]) -> None:
    await run_import(shop, write(first("used"), first("bought"), first("left"), name="day1.csv"))
    newer = "2010-11-22 08:00:00 +0000"
    day2 = write(first("used", Updated_at=newer), first("bought", Completed_at="2010-11-15 09:00:00 +0000"))
    await run_import(shop, day2)
    async with shop.database.transaction() as tx:
        expired = await carts.expire(tx, ExpiryRequest(before=datetime(2010, 11, 22, tzinfo=UTC)))
    assert expired.changed == 1
    assert await shop.sql("SELECT id FROM carts ORDER BY id") == ["bought", "used"]


ADMIN_HEADER = (
    "Name,Email,Financial Status,Paid at,Fulfillment Status,Currency,Subtotal,Total,Created at,"
    "Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Shipping Name,Id\n"
)
ADMIN_CARTS = (
    "#371,ann@customer.example,,,unfulfilled,USD,20.00,20.00,2026-11-05 22:23:29 -0800,1,Mug,20.00,MUG,,371\n"
    "#371,ann@customer.example,,,,,,,2026-11-05 22:23:29 -0800,2,Jug,5.00,JUG,,\n"
    "#372,,,,unfulfilled,USD,5.00,5.00,2026-11-05 22:24:00 -0800,1,Jug,5.00,,,\n"
)


async def test_a_shop_admins_export_of_abandoned_checkouts_is_imported(shop: Shop, tmp_path: Path) -> None:
    (file := tmp_path / "checkouts.csv").write_text(ADMIN_HEADER + ADMIN_CARTS)
    assert await run_import(shop, file) == ImportReport(read=3, taken=2)
    created = datetime(2026, 11, 6, 6, 23, 29, tzinfo=UTC)
    assert (await shop.sql("SELECT id, created_at, updated_at, completed_at FROM carts ORDER BY id"))[0] == (
        "371", created, created, None,
    )  # fmt: skip
    lines = "SELECT cart_id, sku, quantity, unit_price FROM cart_lines ORDER BY id"
    assert await shop.sql(lines) == [("371", "MUG", 1, 2000), ("371", "JUG", 2, 500), ("372", "", 1, 500)]
    assert await run_import(shop, file) == ImportReport(read=3, unchanged=2)
    # It has no time of the last change, so the later import counts.
    file.write_text(ADMIN_HEADER + ADMIN_CARTS.replace(",2,Jug", ",3,Jug").replace(",,,unfulfilled", ",,,x", 0))
    assert await run_import(shop, file) == ImportReport(read=3, taken=1, changed=1, unchanged=1)
    assert (await shop.sql(lines))[0:3] == [("372", "", 1, 500), ("371", "MUG", 1, 2000), ("371", "JUG", 3, 500)]


async def test_a_recovered_checkout_is_bought(shop: Shop, tmp_path: Path) -> None:
    (file := tmp_path / "checkouts.csv").write_text(ADMIN_HEADER + ADMIN_CARTS)
    await run_import(shop, file)
    file.write_text(ADMIN_HEADER + ADMIN_CARTS.replace(",,,unfulfilled", ",paid,2026-11-06 10:00:00 -0800,unfulfilled"))
    assert (await run_import(shop, file)).changed == 2
    (bought,) = await shop.sql("SELECT DISTINCT completed_at FROM carts")
    assert bought == datetime(2026, 11, 6, 18, tzinfo=UTC)


async def test_a_cart_created_by_the_shop_differs_from_an_imported_one(shop: Shop, write: Callable[..., Path]) -> None:
    await shop.sql("INSERT INTO carts (id, currency, created_at, updated_at) VALUES ('C1', 'GBP', now(), now())")
    assert await bad(shop, write(first())) == [(2, "cart C1 already exists with different content")]


async def test_a_cart_inserted_during_the_import_is_compared_too(shop: Shop, write: Callable[..., Path]) -> None:
    insert = "INSERT INTO carts (id, currency, created_at, updated_at) VALUES ('C2', 'GBP', now(), now())"
    async with shop.database.transaction() as tx:
        await tx.execute(text(insert))
        importing = asyncio.create_task(bad(shop, write(first(), first("C2"))))
        await until_lock_wait(shop.sql)
    assert await importing == [(3, "cart C2 already exists with different content")]
    assert await shop.sql("SELECT id FROM carts") == ["C2"]


async def test_a_bad_row_rejects_the_file_unless_bad_rows_are_skipped(shop: Shop, write: Callable[..., Path]) -> None:
    file = write(first(), further(Lineitem_quantity="x"), further(), first("C2"))
    row = BadRow(file=str(file), line=3, reason=QUANTITY)
    rejected = ImportReport(read=4, bad=[row], bad_count=1)
    assert await run_import(shop, file) == rejected
    assert await shop.sql("SELECT id FROM carts") == []
    assert await run_import(shop, file, skip_bad=True) == rejected.model_copy(update={"taken": 1})
    assert await shop.sql("SELECT cart_id FROM cart_lines") == ["C2"]


async def test_a_cart_must_not_appear_twice(shop: Shop, write: Callable[..., Path]) -> None:
    twice = "cart C1 appears twice: all rows of one cart must be consecutive"
    stray = "cart C1 appears twice or lacks its first row: all rows of one cart must be consecutive"
    assert await bad(shop, write(first(), first("C2"), first()), skip_bad=True) == [(4, twice)]
    assert await shop.sql("SELECT id FROM carts") == ["C2"]
    assert await bad(shop, write(first(), first("C3"), further()), skip_bad=True) == [(4, stray)]
    assert await shop.sql("SELECT id FROM carts ORDER BY id") == ["C2", "C3"]


async def test_a_row_without_an_id_makes_the_cart_above_bad(shop: Shop, write: Callable[..., Path]) -> None:
    file = write(first(), further(""), first("C2"))
    assert await bad(shop, file, skip_bad=True) == [(3, "Id: must not be empty")]
    assert await shop.sql("SELECT id FROM carts") == ["C2"]


async def test_gzip_is_accepted_and_progress_counts_the_rows_of_all_files(
    shop: Shop, write: Callable[..., Path], tmp_path: Path
) -> None:
    packed, counts = tmp_path / "carts.csv.gz", list[int]()
    packed.write_bytes(gzip.compress(write(first(), further()).read_bytes()))
    big = write(*(first(f"B{number}") for number in range(10_001)))
    report = await import_carts(shop.database, [packed, big], currency="GBP", progress=counts.append)
    assert report == ImportReport(read=10_003, taken=10_002)
    assert counts == [2, 10_002, 10_003]


async def test_a_file_without_the_columns_of_carts_is_unreadable(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text("Id,Email,Currency\n")
    lacking = ", ".join(column for column in COLUMNS.required if column not in ("Id", "Email", "Currency"))
    with pytest.raises(UnreadableFile, match=f"it lacks the columns {lacking}"):
        await run_import(shop, tmp_path / "orders.csv")


async def test_a_week_is_imported_completely(shop: Shop, week: Week) -> None:
    carts = week.totals["abandoned_checkouts"]
    report = await run_import(shop, week.carts)
    assert (report.taken, report.bad_count) == (carts, 0)
    assert await shop.sql("SELECT count(*) FROM cart_lines") == [report.read]
    assert (await run_import(shop, week.carts)).unchanged == carts
