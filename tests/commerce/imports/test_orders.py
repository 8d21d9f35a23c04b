"""An order export is imported completely or not at all, and only once; bad rows are reported."""

import asyncio
import csv
import gzip
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from commerce.countries import INVALID_COUNTRY
from commerce.database import Database
from commerce.errors import UnreadableFile
from commerce.imports import BadRow, ImportReport, import_orders
from commerce.imports.csv_rows import open_rows
from commerce.imports.new_order import NewOrder
from commerce.imports.order_parser import MAX_LINES
from commerce.imports.order_rows import COLUMNS, read_orders
from tests.polling import until_lock_wait
from tests.week import Week

HEADER = [*COLUMNS.required, *COLUMNS.optional]
FIRST = {
    "Name": "#1001",
    "Email": "ann@shop.example",
    "Financial Status": "paid",
    "Paid at": "2010-11-15 08:40:00 +0000",
    "Currency": "GBP",
    "Shipping": "4.50",
    "Shipping Method": "Postage",
    "Created at": "2010-11-15 08:34:00 +0000",
    "Lineitem quantity": "2",
    "Lineitem name": "MUG",
    "Lineitem price": "1.66",
    "Lineitem sku": "22149",
    "Lineitem requires shipping": "true",
    "Shipping Country": "EIRE",
    "Id": "1001",
}
LINE = {column: FIRST[column] for column in FIRST if column.startswith("Lineitem")}
BIG = "9" * 13


def first(number: int = 1001, **changes: str) -> dict[str, str]:
    """Return an order's first row; keywords are columns, with underscores for spaces."""
    return FIRST | {"Name": f"#{number}", "Id": str(number)} | columns(changes)


def further(number: int = 1001, **changes: str) -> dict[str, str]:
    return LINE | {"Name": f"#{number}"} | columns(changes)


def columns(changes: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", " "): value for name, value in changes.items()}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: dict[str, str], header: list[str] = HEADER, name: str = "orders.csv", **dialect: Any) -> Path:
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, header, restval="", **dialect)
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path / name

    return write


def read(file: Path) -> tuple[list[NewOrder], list[tuple[int, str]]]:
    """Parse a file without a database: the good orders, and the bad rows by line."""
    bad_rows: list[tuple[int, str]] = []
    with open_rows(file, COLUMNS) as rows:
        groups = list(read_orders(rows, "GBP", lambda line, reason: bad_rows.append((line, reason))))
    return [group.order for group in groups if group.order], bad_rows


async def run_import(database: Database, *files: Path, skip_bad: bool = False) -> ImportReport:
    return await import_orders(database, files, skip_bad=skip_bad, currency="GBP")


async def rows(database: Database, query: str) -> list[dict[str, Any]]:
    async with database.transaction() as tx:
        return [dict(row) for row in (await tx.execute(text(query))).mappings()]


async def column(database: Database, query: str) -> list[Any]:
    return [next(iter(row.values())) for row in await rows(database, query)]


async def everything(database: Database) -> dict[str, list[str]]:
    """Return all rows of all tables with their transaction ids; equal only if no row was even rewritten."""
    tables = await column(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    return {
        table: await column(database, f"SELECT t.xmin || ' ' || t::text FROM {table} AS t ORDER BY t.ctid")
        for table in tables
    }


async def bad(database: Database, *files: Path, skip_bad: bool = False) -> list[tuple[int, str]]:
    report = await run_import(database, *files, skip_bad=skip_bad)
    assert report.bad_count == len(report.bad)
    return [(row.line, row.reason) for row in report.bad]


async def test_an_order_is_imported_with_its_lines(database: Database, write: Callable[..., Path]) -> None:
    file = write(first(Shipping_Zip="'0123", Shipping_Name=" Ann Ö. "), further(Lineitem_requires_shipping="false"))
    assert await run_import(database, file) == ImportReport(read=2, taken=1)
    (order,) = await rows(database, "SELECT * FROM orders")
    assert order["content_hash"] and order["customer_id"]
    expected = {
        "id": "1001",
        "email": "ann@shop.example",
        "payment_status": "captured",
        "fulfillment_status": "not_fulfilled",
        "currency": "GBP",
        "shipping_total": 450,
        "total": 450 + 4 * 166,
        "shipping_method": "Postage",
        "shipping_name": "Ann Ö.",
        "shipping_zip": "0123",
        "shipping_country": "EIRE",
        "created_at": datetime(2010, 11, 15, 8, 34, tzinfo=UTC),
        "paid_at": datetime(2010, 11, 15, 8, 40, tzinfo=UTC),
        "cancelled_at": None,
        "hold_reason": None,
    }
    assert {name: order[name] for name in expected} == expected
    lines = await rows(database, "SELECT * FROM order_lines ORDER BY id")
    assert [(line["position"], line["requires_shipping"]) for line in lines] == [(1, True), (2, False)]
    assert {
        (line["sku"], line["title"], line["quantity"], line["unit_price"], line["variant_id"]) for line in lines
    } == {("22149", "MUG", 2, 166, None)}
    assert await column(database, "SELECT count(*) FROM outbox_events") == [0]


async def test_an_order_to_an_unknown_country_is_imported_with_a_warning(
    database: Database, write: Callable[..., Path]
) -> None:
    rows_of_file = (
        first(1, Shipping_Country="Unspecified"),
        first(2, Shipping_Country="EIRE"),
        first(3, Shipping_Country=""),
        first(4, Shipping_Country="ZZ"),
        further(4),
    )
    report = await run_import(database, write(*rows_of_file))
    assert (report.taken, report.bad_count, report.warning_count) == (4, 0, 2)
    assert [warning.line for warning in report.warnings] == [2, 5]
    assert {warning.reason for warning in report.warnings} == {f"Shipping Country: {INVALID_COUNTRY}"}
    stored = await column(database, "SELECT coalesce(shipping_country, '-') FROM orders ORDER BY id")
    assert stored == ["Unspecified", "EIRE", "-", "ZZ"]


@pytest.mark.parametrize(
    ("changes", "stored", "value"),
    [
        ({"Id": ""}, "id", "1001"),
        ({"Id": "gid:7.a_B-1"}, "id", "gid:7.a_B-1"),
        ({"Financial Status": "partially_paid"}, "payment_status", "partially_captured"),
        ({"Financial Status": "pending"}, "payment_status", "awaiting"),
        ({"Financial Status": "Voided"}, "payment_status", "cancelled"),
        ({"Financial Status": "partially_refunded"}, "payment_status", "partially_refunded"),
        ({"Fulfillment Status": "partial"}, "fulfillment_status", "partially_fulfilled"),
        ({"Fulfillment Status": "fulfilled"}, "fulfillment_status", "fulfilled_elsewhere"),
        ({"Email": "  Jo@Ünï.Example "}, "email", "jo@xn--n-nga1b.example"),
        ({"Email": "Jo\u0308@shop.example"}, "email", "jö@shop.example"),
        ({"Email": ""}, "email", None),
        ({"Shipping Method": " "}, "shipping_method", None),
        ({"Paid at": ""}, "paid_at", None),
        ({"Shipping": ""}, "total", 332),
        ({"Total": "7"}, "total", 700),
        ({"Currency": "", "Total": "7.5"}, "currency", "GBP"),
        ({"Currency": "jpy", "Total": "750.00", "Shipping": "0", "Lineitem price": "9"}, "total", 750),
        ({"Currency": "KWD", "Total": "7.505"}, "total", 7505),
        ({"Created at": "2010-11-15T10:34:00+02:00"}, "created_at", datetime(2010, 11, 15, 8, 34, tzinfo=UTC)),
        ({"Created at": "2010-11-15T08:34Z"}, "created_at", datetime(2010, 11, 15, 8, 34, tzinfo=UTC)),
        ({"Cancelled at": "2010-11-15 08:34:00 -0100"}, "cancelled_at", datetime(2010, 11, 15, 9, 34, tzinfo=UTC)),
    ],
)
def test_fields_are_translated(write: Callable[..., Path], changes: dict[str, str], stored: str, value: object) -> None:
    (order,), bad_rows = read(write(first() | changes))
    assert (getattr(order, stored), bad_rows) == (value, [])


async def test_gzip_a_bom_any_line_ends_and_extra_columns_are_accepted(
    database: Database, write: Callable[..., Path], tmp_path: Path
) -> None:
    plain = write(first(Extra="x"), header=["Extra", *HEADER], lineterminator="\r\n").read_bytes()
    (tmp_path / "orders.csv.gz").write_bytes(gzip.compress(plain))
    (tmp_path / "gzip without the name").write_bytes(gzip.compress(plain))
    (tmp_path / "bom.csv").write_bytes(b"\xef\xbb\xbf" + write(first()).read_bytes())
    (tmp_path / "blank rows.csv").write_bytes(plain + b"\r\n" + b"," * len(HEADER) + b"\r\n")
    names = ("orders.csv.gz", "gzip without the name", "bom.csv", "blank rows.csv")
    report = await run_import(database, *(tmp_path / name for name in names))
    assert report == ImportReport(read=4, taken=1, unchanged=3)


@pytest.mark.parametrize("sku", ["A B", "ÄÖ-1", 'he said "x"', "two\nlines", "a,b", "'--", "%s :x {y}"])
async def test_unusual_skus_are_linked_to_their_variant(
    database: Database, write: Callable[..., Path], sku: str
) -> None:
    async with database.transaction() as tx:
        await tx.execute(text("INSERT INTO products VALUES ('p', 'P')"))
        await tx.execute(text("INSERT INTO variants (id, product_id, sku) VALUES ('v', 'p', :sku)"), {"sku": sku})
    await run_import(database, write(first(Lineitem_sku=f" {sku} "), further(Lineitem_sku="")))
    assert await rows(database, "SELECT sku, variant_id FROM order_lines ORDER BY id") == [
        {"sku": sku, "variant_id": "v"},
        {"sku": "", "variant_id": None},
    ]


async def test_importing_twice_changes_nothing(database: Database, write: Callable[..., Path]) -> None:
    file = write(first(), further(), first(1002, Email="bob@shop.example"))
    assert await run_import(database, file) == ImportReport(read=3, taken=2)
    before = await everything(database)
    assert await run_import(database, file, file) == ImportReport(read=6, unchanged=4)
    assert await everything(database) == before


async def test_concurrent_imports_wait_for_each_other(database: Database, write: Callable[..., Path]) -> None:
    file = write(*(first(number, Email=f"c{number % 7}@shop.example") for number in range(200)))
    reports = await asyncio.gather(*(run_import(database, file) for _ in range(4)))
    assert sorted((report.taken, report.unchanged) for report in reports) == [(0, 200)] * 3 + [(200, 0)]
    assert await column(database, "SELECT count(*) FROM customers") == [7]


async def test_progress_counts_the_rows_of_all_files(database: Database, write: Callable[..., Path]) -> None:
    counts: list[int] = []
    small, big = write(first()), write(first(2000), *[further(2000)] * 9_999, name="big.csv")
    await import_orders(database, [small, big], currency="GBP", progress=counts.append)
    assert counts == [1, 10_001, 10_001]


async def test_a_file_with_only_a_header_is_an_empty_import(database: Database, write: Callable[..., Path]) -> None:
    assert await run_import(database, write()) == ImportReport()


async def test_a_guest_is_as_old_as_the_first_order(database: Database, write: Callable[..., Path]) -> None:
    late = write(first(1, Created_at="2010-11-15 08:00:00 +0000"), first(2, Created_at="2010-11-14 08:00:00 +0000"))
    await run_import(database, late)
    day = "SELECT created_at::date::text FROM customers WHERE NOT has_account"
    assert await column(database, day) == ["2010-11-14"]
    await run_import(database, write(first(3, Created_at="2010-11-16 08:00:00 +0000")))
    assert await column(database, day) == ["2010-11-14"]
    await run_import(database, write(first(4, Created_at="2010-11-13 08:00:00 +0000")))
    assert await column(database, day) == ["2010-11-13"]
    assert await column(database, "SELECT count(DISTINCT customer_id) FROM orders") == [1]


async def test_an_order_with_the_address_of_an_account_belongs_to_it(
    database: Database, write: Callable[..., Path]
) -> None:
    await run_import(database, write(first(1)))
    async with database.transaction() as tx:
        await tx.execute(
            text("INSERT INTO customers (email, has_account) VALUES ('bob@b.example', true)"),
        )
    bob = "SELECT * FROM customers WHERE has_account"
    before = await rows(database, bob)
    old = {"Created_at": "2009-01-01 00:00:00 +0000"}
    await run_import(database, write(first(2, **old), first(3, Email="BOB@b.example", **old)))
    assert await rows(database, bob) == before
    owner = "SELECT has_account FROM orders JOIN customers ON customers.id = customer_id ORDER BY orders.id"
    assert await column(database, owner) == [False, False, True]


AMOUNT = "must be an amount of at least 0, like 12.50"
TIME = "must be a time like 2010-11-15 08:34:00 +0000"
OFFSET = "must include the offset from UTC, like 2010-11-15 08:34:00 +0000"
COUNT = "must be a whole number of at least 0"
ID = "must be 1 to 100 of the characters A-Z a-z 0-9 . _ : -"
EMAIL = "must be an e-mail address"
PAYMENT = "must be one of paid, authorized, pending, partially_paid, refunded, partially_refunded, voided, expired"
TOO_MUCH = "must be at most 999,999,999,999,999 minor units"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("Lineitem quantity", "", COUNT),
        ("Lineitem quantity", "-1", COUNT),
        ("Lineitem quantity", "1.5", COUNT),
        ("Lineitem quantity", "٣", COUNT),
        ("Lineitem quantity", "2147483648", "must be at most 2,147,483,647"),
        ("Lineitem price", "", AMOUNT),
        ("Lineitem price", "1,50,0", AMOUNT),
        ("Lineitem price", "1e3", AMOUNT),
        ("Lineitem price", "NaN", AMOUNT),
        ("Lineitem price", "1.666", "must have at most 2 decimals in this currency"),
        ("Lineitem price", f"{BIG}00.00", TOO_MUCH),
        ("Lineitem sku", "x" * 256, "must not be longer than 255 characters"),
        ("Lineitem sku", "a\0b", "must not contain NUL characters"),
        ("Lineitem name", "x" * 1001, "must not be longer than 1,000 characters"),
        ("Lineitem requires shipping", "maybe", "must be empty or one of true, false, yes, no, 1, 0"),
        ("Financial Status", "gifted", PAYMENT),
        ("Financial Status", "", PAYMENT),
        (
            "Fulfillment Status",
            "lost",
            "must be empty or one of unfulfilled, partial, fulfilled, restocked, scheduled, on_hold",
        ),
        ("Currency", "pounds", "must be three letters, like GBP"),
        ("Currency", "£££", "must be three letters, like GBP"),
        ("Shipping", "free", AMOUNT),
        ("Total", "-0.01", AMOUNT),
        ("Created at", "", TIME),
        ("Created at", "yesterday", TIME),
        ("Created at", "2010-11-15", TIME),
        ("Created at", "2010-11-15 08:34:00", OFFSET),
        ("Created at", "2010-11-31 08:34:00 +0000", "must be a time that exists"),
        ("Created at", "0001-01-01 00:00:00 +0100", "must be a time that exists"),
        ("Paid at", "2010-11-15T08:34:00", OFFSET),
        ("Cancelled at", "no", TIME),
        ("Id", "10/01", ID),
        ("Id", "1" * 101, ID),
        ("Email", "ann", EMAIL),
        ("Email", "ann@", EMAIL),
        ("Email", "ann@b@c", EMAIL),
        ("Email", "an n@shop.example", EMAIL),
        ("Email", "ann@shop.example\nBcc: x", EMAIL),
        ("Email", "x" * 320 + "@shop.example", "must not be longer than 320 characters"),
        ("Shipping Name", "x\0", "must not contain NUL characters"),
        ("Shipping City", "x" * 256, "must not be longer than 255 characters"),
        ("Shipping Zip", "x" * 256, "must not be longer than 255 characters"),
        ("Name", "", "must not be empty"),
        ("Name", "#\0", "must not contain NUL characters"),
    ],
)
def test_a_bad_cell_is_reported_by_line_and_column(
    write: Callable[..., Path], name: str, value: str, reason: str
) -> None:
    orders, bad_rows = read(write(first(1000), first() | {name: value}, first(1002)))
    assert bad_rows == [(3, f"{name}: {reason}")]
    assert [order.id for order in orders] == ["1000", "1002"]


def test_no_name_or_title_is_a_reason_to_refuse_an_order(write: Callable[..., Path]) -> None:
    """Mails and screens make them harmless."""
    hostile = "You won, claim at https://evil.example\x1b[0m\u202e\r\nBcc: ann"
    orders, bad_rows = read(write(first() | {"Shipping Name": hostile, "Lineitem name": hostile}))
    assert (len(orders), bad_rows) == (1, [])


def test_problems_of_whole_orders(write: Callable[..., Path]) -> None:
    def bad_rows(*rows: dict[str, str]) -> list[tuple[int, str]]:
        return read(write(*rows))[1]

    assert bad_rows(first(Id="", Name="#a b")) == [(2, f"Name: {ID}")]
    assert bad_rows(first(Lineitem_price=BIG, Lineitem_quantity="90")) == [(2, f"Total: {TOO_MUCH}")]
    too_long = [first(), *[further()] * (MAX_LINES + 1)]
    assert bad_rows(*too_long) == [(MAX_LINES + 2, "the order has more than 10,000 lines")]
    yen = first(Currency="JPY", Shipping="0")
    assert bad_rows(yen) == [(2, "Lineitem price: must have at most 0 decimals in this currency")]
    several = first(Currency="x", Lineitem_quantity="x")
    assert bad_rows(several) == [(2, f"Currency: must be three letters, like GBP; Lineitem quantity: {COUNT}")]


async def test_a_bad_row_rejects_the_file_unless_bad_rows_are_skipped(
    database: Database, write: Callable[..., Path]
) -> None:
    await run_import(database, write(first(1000)))
    before = await everything(database)
    file = write(first(1000), first(Email="ann"), further(), first(1002))
    report = await run_import(database, file)
    assert report == ImportReport(read=4, bad=[BadRow(file=str(file), line=3, reason=f"Email: {EMAIL}")], bad_count=1)
    assert await everything(database) == before
    assert await run_import(database, file, skip_bad=True) == report.model_copy(update={"taken": 1, "unchanged": 1})
    assert await column(database, "SELECT id FROM orders ORDER BY id") == ["1000", "1002"]


async def test_a_bad_row_makes_only_its_own_order_bad(database: Database, write: Callable[..., Path]) -> None:
    malformed = f"must have {len(HEADER)} cells like the header, not 2"
    file = write(first(1), further(1), further(1, Lineitem_price="x"), further(1), first(2), further(2), first(3))
    file.write_text(file.read_text() + "#3,malformed\n")
    assert await bad(database, file, skip_bad=True) == [(4, f"Lineitem price: {AMOUNT}"), (9, malformed)]
    assert await column(database, "SELECT order_id FROM order_lines") == ["2", "2"]


async def test_a_row_without_a_name_makes_the_order_above_bad(database: Database, write: Callable[..., Path]) -> None:
    file = write(first(1), further(1, Name=""), further(1), first(2), first(3, Name=""))
    assert await bad(database, file, skip_bad=True) == [(3, "Name: must not be empty"), (6, "Name: must not be empty")]
    assert await column(database, "SELECT id FROM orders") == ["2"]


async def test_an_order_must_not_appear_twice(database: Database, write: Callable[..., Path]) -> None:
    twice = "order 1 appears twice: all rows of one order must be consecutive"
    stray = "order 1 appears twice or lacks its first row: all rows of one order must be consecutive"
    ids = "SELECT id FROM orders"
    assert await bad(database, write(first(1), first(2), first(1)), skip_bad=True) == [(4, twice)]
    assert await column(database, ids) == ["2"]
    assert await bad(database, write(first(1), first(1, Shipping="1"))) == [(3, twice)]
    stray_line = write(first(1, Id="77"), first(2), further(1), further(1))
    assert await bad(database, stray_line, skip_bad=True) == [(4, stray)]
    assert await column(database, ids) == ["2"]
    assert await bad(database, write(first(1, Id="77"), first(1, Id="78"))) == []


async def test_a_known_order_is_changed(database: Database, write: Callable[..., Path]) -> None:
    await run_import(database, write(first(1), further(1)))
    other = write(first(9), first(1), further(1, Lineitem_quantity="3"))
    assert await run_import(database, other) == ImportReport(read=3, taken=2, changed=1)
    assert await column(database, "SELECT quantity FROM order_lines WHERE order_id = '1' ORDER BY position") == [2, 3]
    assert await run_import(database, other) == ImportReport(read=3, unchanged=2)
    assert await column(database, "SELECT type FROM outbox_events") == ["order.updated"]


async def test_what_is_known_to_be_later_is_kept_and_reported(database: Database, write: Callable[..., Path]) -> None:
    await run_import(database, write(first(1, Cancelled_at="2010-11-16 08:34:00 +0000")))
    report = await run_import(database, write(first(2), first(1)))
    assert (report.taken, report.changed, report.unchanged, report.bad_count) == (1, 0, 1, 0)
    assert [(row.line, row.reason) for row in report.warnings] == [
        (3, "what is known of the order is later: Cancelled at")
    ]


async def test_what_comes_after_our_fulfillment_is_reported_as_such(
    database: Database, write: Callable[..., Path]
) -> None:
    await run_import(database, write(first(1, Paid_at="2010-11-16 08:34:00 +0000"), further(1)))
    async with database.transaction() as tx:
        await tx.execute(text("UPDATE orders SET fulfillment_status = 'fulfilled' WHERE id = '1'"))
    report = await run_import(database, write(first(1, Shipping_City="Leeds", Paid_at="", Tags="new")))
    assert report.changed == 1
    assert sorted(row.reason for row in report.warnings) == [
        "the order was fulfilled here before it was changed, so these stay as they were: Total, Shipping City, lines",
        "what is known of the order is later: Paid at",
    ]


async def test_an_order_inserted_during_the_import_is_changed_too(
    database: Database, write: Callable[..., Path]
) -> None:
    async with database.transaction() as tx:
        await tx.execute(
            text("""
            INSERT INTO orders (id, payment_status, currency, total, created_at, content_hash)
            VALUES ('2', 'awaiting', 'GBP', 1, now(), 'another')""")
        )
        importing = asyncio.create_task(run_import(database, write(first(1), first(2))))
        await until_lock_wait(lambda sql: column(database, sql))
    report = await importing
    assert (report.taken, report.changed) == (2, 1)
    assert await column(database, "SELECT payment_status FROM orders ORDER BY id") == ["captured", "captured"]
    assert await column(database, "SELECT count(*) FROM order_lines") == [2]


async def test_line_numbers_are_right_after_cells_with_line_breaks(
    database: Database, write: Callable[..., Path]
) -> None:
    file = write(
        first(1, Lineitem_name="a\nb\r\nc"), further(1, Lineitem_price="x", Lineitem_name="d\n\ne"), first(2, Id="/")
    )
    assert [line for line, _ in await bad(database, file)] == [5, 8]


async def test_files_are_independent_and_at_most_a_thousand_bad_rows_are_listed(
    database: Database, write: Callable[..., Path]
) -> None:
    many = write(*(first(number, Email="secret") for number in range(1_200)), name="many.csv")
    report = await run_import(database, many, write(first(1)), many)
    assert (report.read, report.taken, report.bad_count, len(report.bad)) == (2_401, 1, 2_400, 1_000)
    assert "secret" not in report.model_dump_json()


async def test_more_orders_than_fit_into_a_batch_are_changed(database: Database, write: Callable[..., Path]) -> None:
    await run_import(database, write(*(first(number) for number in range(1, 1_301))))
    report = await run_import(database, write(*(first(number, Shipping="1") for number in range(1, 1_301))))
    assert report == ImportReport(read=1_300, taken=1_300, changed=1_300)
    assert await column(database, "SELECT DISTINCT shipping_total FROM orders") == [100]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("none.csv", None, "no such file or directory"),
        ("empty.csv", b"", "it is empty"),
        ("plain.csv.gz", b"Name,Email\n", "it is named .gz but is not gzip"),
        ("cut.csv.gz", gzip.compress(",".join(HEADER).encode())[:-12], "it is truncated or corrupt (EOFError)"),
        (
            "latin.csv",
            b"Name,\x81",
            "line 1: byte 0x81 is no character of Windows-1252: name the encoding of the file with --encoding",
        ),
        (
            "quote.csv",
            b'Name,"Email\n',
            'line 1 is not valid CSV: a cell that starts with a quote (") does not end with one '
            "(unexpected end of data)",
        ),
        ("twice.csv", ",".join([*HEADER, "Name"]).encode(), "it has more than one column named Name"),
        ("few.csv", ",".join(HEADER[2:]).encode(), "it lacks the columns Name, Email"),
    ],
)
async def test_an_unreadable_file_raises_one_error(
    database: Database, tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableFile) as raised:
        await run_import(database, tmp_path / name)
    assert str(raised.value) == f"Cannot import {tmp_path / name}: {reason}."


async def test_a_truncated_file_leaves_nothing_behind(database: Database, write: Callable[..., Path]) -> None:
    file = write(*(first(number) for number in range(12_000)))
    file.write_bytes(file.read_bytes()[:-10] + b'"\xff')
    with pytest.raises(UnreadableFile):
        await run_import(database, file)
    assert await column(database, "SELECT count(*) FROM orders") == [0]


async def test_a_week_is_imported_completely(database: Database, week: Week) -> None:
    report = await run_import(database, week.orders)
    [note] = report.notes
    assert "orders with goods to ship but without a Shipping Method" in note
    assert report == ImportReport(read=week.totals["lines"], taken=week.totals["orders"], notes=[note])
    (counted,) = await rows(
        database,
        """SELECT count(*) AS orders, sum(total) AS total, sum(shipping_total) AS shipping,
                  count(*) FILTER (WHERE email IS NULL AND customer_id IS NULL) AS guests,
                  count(*) FILTER (WHERE shipping_total > 0) AS with_shipping FROM orders""",
    )
    (lines,) = await rows(
        database,
        """SELECT count(*) AS lines, sum(quantity) AS units, sum(quantity * unit_price) AS revenue,
                  count(DISTINCT sku) AS skus, max(position) AS longest_order FROM order_lines""",
    )
    counted["order_total"] = counted.pop("total")
    for name, value in (counted | lines).items():
        assert value == week.totals[name], name


async def test_v11_history_is_not_shipped_and_stays_so(database: Database, write: Callable[..., Path]) -> None:
    known = write(first(Name="#1", Id="1"), name="known.csv")
    await run_import(database, known)
    new = [first(Name=f"#{n}", Id=str(n), **facts) for n, facts in enumerate(HISTORY, 2)]
    report = await import_orders(database, [write(first(Name="#1", Id="1"), *new)], currency="GBP", as_history=True)
    assert (report.taken, report.unchanged) == (len(HISTORY), 1)
    [note] = [note for note in report.notes if "elsewhere" in note]
    assert note.endswith("2 orders recorded as fulfilled elsewhere: nothing of them is shipped")
    status = "SELECT id, fulfillment_status, corrections ->> 'fulfillment_status' AS stated FROM orders ORDER BY id"
    expected = [
        ("1", "not_fulfilled", None),
        ("2", "fulfilled_elsewhere", "not_fulfilled"),
        ("3", "fulfilled_elsewhere", "partially_fulfilled"),
        ("4", "fulfilled_elsewhere", None),
    ]
    assert [tuple(row.values()) for row in await rows(database, status)] == expected
    changed = write(*[row | {"Tags": "old"} for row in new], name="changed.csv")
    assert (await run_import(database, changed)).changed == len(HISTORY)  # without the option: they stay history
    assert [tuple(row.values()) for row in await rows(database, status)] == expected


HISTORY: list[dict[str, str]] = [
    {},
    {"Fulfillment_Status": "partial"},
    {"Fulfillment_Status": "fulfilled"},
]
