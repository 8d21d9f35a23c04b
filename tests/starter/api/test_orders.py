"""`PUT /orders` stores an order once, by the rules of the import, and publishes it in the same transaction."""

import asyncio
import csv
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from commerce.database import Database
from commerce.imports import import_inventory, import_orders
from commerce.imports.order_rows import COLUMNS, HEAD_COLUMNS, LINE_COLUMNS
from tests.faults import Faults
from tests.polling import until
from tests.running_shop import RunningShop, relaying, running_shop
from tests.starter.api.api_client import create_api, in_process_client

MUGS: dict[str, Any] = {"quantity": 2, "name": "Mug", "price": "12.50", "sku": "MUG", "requires_shipping": True}
ORDER: dict[str, Any] = {
    "name": "#1001",
    "email": " Ann@Customer.example ",
    "financial_status": "paid",
    "paid_at": "2026-03-02T12:00:05Z",
    "currency": "GBP",
    "shipping": "3.95",
    "shipping_method": "Standard",
    "created_at": "2026-03-02T13:00:00+01:00",
    "shipping_name": "Ann Lee",
    "shipping_address1": "1 High Street",
    "shipping_city": "London",
    "shipping_zip": "N1 9GU",
    "shipping_country": "GB",
    "lines": [MUGS],
}
STORED_ORDER = "SELECT email, total, currency, payment_status, fulfillment_status, created_at::text FROM orders"
WHOLE_ORDER = """
    SELECT to_jsonb(orders) - 'customer_id', customers.email, customers.created_at,
           (SELECT jsonb_agg(to_jsonb(line) - 'id' ORDER BY position) FROM order_lines AS line)
    FROM orders LEFT JOIN customers ON customers.id = customer_id
"""
STORED = {
    "order_id": "1001",
    "number": "#1001",
    "transaction_id": "order-processing-1001",
    "changed": [],
    "kept": [],
    "warnings": [],
}
DELETE_ALL = "TRUNCATE orders, customers, outbox_events CASCADE"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as made:
        await made.data.stock("MUG", main=5)
        yield made


@pytest.fixture
async def http(shop: RunningShop) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process_client(create_api(shop)) as made:
        yield made


async def put(http: httpx.AsyncClient, order_id: str = "1001", **facts: Any) -> tuple[int, Any]:
    body = json.dumps(ORDER | facts)  # unlike httpx's own, it can spell half of a surrogate pair
    answer = await http.put(f"/orders/{order_id}", content=body, headers={"Content-Type": "application/json"})
    return answer.status_code, answer.json()


def field_names(body: dict[str, Any]) -> list[str]:
    return [error["field"] for error in body["fields"]]


async def test_an_order_is_stored_and_published(shop: RunningShop, http: httpx.AsyncClient) -> None:
    assert await put(http) == (
        201,
        STORED | {"status": "taken"},
    )
    assert await shop.data.sql(STORED_ORDER) == [
        ("ann@customer.example", 2895, "GBP", "captured", "not_fulfilled", "2026-03-02 12:00:00+00")
    ]
    assert await shop.data.sql("SELECT email, has_account FROM customers") == [("ann@customer.example", False)]
    assert await shop.data.sql("SELECT variant_id, quantity, unit_price FROM order_lines") == [("MUG", 2, 1250)]
    data = {
        "order_id": "1001",
        "units": 2,
        "total": 2895,
        "currency": "GBP",
        "created_at": "2026-03-02T12:00:00Z",
    }
    assert await shop.data.events() == [("order.placed", "order/1001", data)]


async def test_repeating_a_request_changes_nothing_even_concurrently(
    shop: RunningShop, http: httpx.AsyncClient
) -> None:
    answers = await asyncio.gather(*(put(http) for _ in range(10)))
    assert sorted(status for status, _ in answers) == [200] * 9 + [201]
    assert await put(http, shipping=" 3.95", paid_at="2026-03-02 12:00:05 +0000") == (
        200,
        STORED | {"status": "known"},
    )
    assert len(await shop.data.events()) == 1
    assert await shop.data.sql("SELECT count(*) FROM order_lines") == [1]


async def test_other_content_changes_the_order_and_names_the_fields_but_no_values(
    shop: RunningShop, http: httpx.AsyncClient
) -> None:
    await put(http)
    status, body = await put(http, email="bob@customer.example", lines=[MUGS | {"price": "12.00"}])
    assert (status, body["status"], sorted(body["changed"])) == (200, "changed", ["email", "lines", "total"])
    assert "bob@" not in str(body)
    assert await shop.data.sql("SELECT email, total FROM orders") == [("bob@customer.example", 2795)]


async def is_fulfilled(shop: RunningShop) -> bool | None:
    return await shop.data.sql("SELECT fulfillment_status FROM orders") == ["fulfilled"] or None


async def has_refused(faults: Faults) -> bool | None:
    return faults.refused > 0 or None


async def test_a_pending_order_that_is_sent_again_as_paid_is_fulfilled(
    shop: RunningShop, http: httpx.AsyncClient
) -> None:
    _, body = await put(http, "pending-1", name=None, financial_status="pending")
    assert body["transaction_id"] is None
    async with shop.worker(), relaying(shop):
        _, body = await put(http, "pending-1", name=None)
        assert body["changed"] == ["financial_status"]
        await until(lambda: is_fulfilled(shop))
    assert (await shop.labels("pending-1"))["live"] == 1
    assert await shop.findings() == []


async def test_an_order_cancelled_by_the_shop_while_it_is_processed_is_undone(
    shop: RunningShop, http: httpx.AsyncClient
) -> None:
    """The carrier is down, so that the run can only end by the event of the cancellation."""
    async with shop.worker([faults := Faults({"create-shipping-label": "before"}, permanent=False)]), relaying(shop):
        await put(http, "cancelled-1", name=None)
        await until(lambda: has_refused(faults))
        await put(http, "cancelled-1", name=None, cancelled_at="2026-03-03T12:00:00Z")
        assert (await shop.handle("cancelled-1").result()).status == "cancelled"
    assert await shop.data.levels("MUG") == {"main": (5, 0)}
    assert await shop.findings() == []


async def test_a_fulfilled_order_keeps_its_address(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await put(http)
    async with shop.worker():
        assert (await shop.process("1001")).status == "fulfilled"
    assert (await put(http))[0] == 200
    status, body = await put(http, shipping_city="Leeds", fulfillment_status="fulfilled")
    assert (status, body["status"], body["changed"], body["kept"]) == (200, "known", [], ["shipping_city"])


async def test_a_line_with_an_unknown_or_empty_sku_has_no_variant(shop: RunningShop, http: httpx.AsyncClient) -> None:
    assert (await put(http, lines=[MUGS | {"sku": "NEW"}, MUGS | {"sku": ""}, MUGS]))[0] == 201
    assert await shop.data.sql("SELECT variant_id FROM order_lines ORDER BY position") == [None, None, "MUG"]


async def test_only_status_creation_time_and_lines_are_required(shop: RunningShop, http: httpx.AsyncClient) -> None:
    minimal = {
        "financial_status": "paid",
        "created_at": "2026-03-02T12:00:00Z",
        "lines": [{"quantity": 1, "price": "1"}],
    }
    assert (await http.put("/orders/a.b:c_d-1", json=minimal)).status_code == 201
    assert await shop.data.sql("SELECT id, email, total, currency, customer_id FROM orders") == [
        ("a.b:c_d-1", None, 100, "GBP", None)
    ]


async def test_fields_of_lines_may_have_the_names_of_the_export(shop: RunningShop, http: httpx.AsyncClient) -> None:
    assert (await put(http))[0] == 201
    assert (await put(http, lines=[{f"lineitem_{name}": value for name, value in MUGS.items()}]))[0] == 200


@pytest.mark.parametrize(
    ("facts", "process"),
    [
        ({"financial_status": "pending"}, None),
        ({"financial_status": "partially_paid"}, None),
        ({"fulfillment_status": "fulfilled"}, None),
        ({"cancelled_at": "2026-03-02T14:00:00Z"}, None),
    ],
)
async def test_an_order_that_needs_no_processing_starts_no_process(
    shop: RunningShop, http: httpx.AsyncClient, facts: dict[str, Any], process: str | None
) -> None:
    status, body = await put(http, **facts)
    assert (status, body["transaction_id"]) == (201, process)
    assert await shop.data.events() == []


async def test_orders_are_linked_to_accounts_and_a_guest_is_as_old_as_the_first_order(
    shop: RunningShop, http: httpx.AsyncClient
) -> None:
    await shop.data.sql("INSERT INTO customers (email, has_account) VALUES ('bob@customer.example', true)")
    await put(http, "1", email="bob@customer.example")
    await put(http, "2")
    await put(http, "3", created_at="2026-03-01T12:00:00Z")
    customers = "SELECT email, has_account, created_at < '2026-03-02' FROM customers ORDER BY email"
    assert await shop.data.sql(customers) == [
        ("ann@customer.example", False, True),
        ("bob@customer.example", True, False),
    ]
    assert await shop.data.sql("SELECT count(customer_id), count(DISTINCT customer_id) FROM orders") == [(3, 2)]


async def test_an_order_is_the_same_by_import_and_over_http(
    shop: RunningShop, http: httpx.AsyncClient, database: Database, tmp_path: Path
) -> None:
    """Both ways store the same rows, and recognise an order that came in the other way."""
    lines = [MUGS, MUGS | {"sku": "NEW", "price": "0.5", "requires_shipping": False}]
    assert (await put(http, lines=lines))[0] == 201
    [by_http] = await shop.data.sql(WHOLE_ORDER)
    file = tmp_path / "orders.csv"
    write_export(file, "1001", ORDER, lines)
    assert (await import_orders(database, [file], currency="GBP")).unchanged == 1
    await shop.data.owner_sql(DELETE_ALL)
    assert (await import_orders(database, [file], currency="GBP")).taken == 1
    assert await shop.data.sql(WHOLE_ORDER) == [by_http]
    assert (await put(http, lines=lines))[0] == 200


def write_export(file: Path, order_id: str, order: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    """Write an order in the format of the shop admin's export."""
    head = {HEAD_COLUMNS[name]: value for name, value in order.items() if name not in ("name", "lines")}
    rows = [{"Name": "#1001"} | {LINE_COLUMNS[name]: value for name, value in line.items()} for line in lines]
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, [*COLUMNS.required, *COLUMNS.optional])
        writer.writeheader()
        writer.writerows([rows[0] | head | {"Id": order_id}, *rows[1:]])


async def test_lines_are_linked_to_variants_that_a_concurrent_import_creates(
    shop: RunningShop, http: httpx.AsyncClient, database: Database, tmp_path: Path
) -> None:
    """An order either waits for the inventory import that creates its SKU, or the import sees the order."""
    for number in range(20):
        file = tmp_path / f"inventory {number}.csv"
        file.write_text(f"Handle,Title,SKU,Location,Available,On hand\ncup-{number},Cup,CUP-{number},main,1,1\n")
        orders = (put(http, f"{number}-{i}", lines=[MUGS | {"sku": f"CUP-{number}"}]) for i in range(5))
        answers = await asyncio.gather(import_inventory(database, [file]), *orders)
        assert [answer[0] for answer in answers[1:]] == [201] * 5
    assert await shop.data.sql("SELECT count(*) FROM order_lines WHERE variant_id IS NULL") == [0]


async def test_an_order_may_have_ten_thousand_lines(shop: RunningShop, http: httpx.AsyncClient) -> None:
    lines = [{"quantity": 1, "price": "1.00", "sku": f"SKU-{i % 50}", "name": "Thing"} for i in range(10_000)]
    assert (await put(http, lines=lines))[0] == 201
    assert await shop.data.sql("SELECT count(*), max(position) FROM order_lines") == [(10_000, 10_000)]
    status, body = await put(http, "1002", lines=[*lines, lines[0]])
    assert (status, field_names(body)) == (422, ["body.lines"])


@pytest.mark.parametrize(
    ("facts", "fields"),
    [
        ({"financial_status": "odd"}, ["body.financial_status"]),
        ({"financial_status": None}, ["body.financial_status"]),
        ({"fulfillment_status": "lost"}, ["body.fulfillment_status"]),
        ({"created_at": "yesterday"}, ["body.created_at"]),
        ({"created_at": "2026-03-02T12:00:00"}, ["body.created_at"]),
        ({"created_at": 1772452800}, ["body.created_at"]),
        ({"created_at": "0001-01-01T00:00:00+14:00"}, ["body.created_at"]),
        ({"paid_at": "2026-02-30T12:00:00Z"}, ["body.paid_at"]),
        ({"email": "ann"}, ["body.email"]),
        ({"currency": "pounds"}, ["body.currency"]),
        ({"currency": "JPY"}, ["body.shipping", "body.lines.0.price"]),
        ({"shipping": 3.95}, ["body.shipping"]),
        ({"shipping": "-1"}, ["body.shipping"]),
        ({"total": "1e3"}, ["body.total"]),
        ({"shipping_name": "x" * 1001}, ["body.shipping_name"]),
        ({"shipping_city": "x" * 256}, ["body.shipping_city"]),
        ({"shipping_zip": "N1\0"}, ["body.shipping_zip"]),
        ({"shipping_country": "Atlantis"}, ["body.shipping_country"]),
        ({"shipping_country": "ZZ"}, ["body.shipping_country"]),
        ({"shipping_country": "G\0"}, ["body.shipping_country"]),
        ({"shipping_zip": "\ud800"}, ["body.shipping_zip"]),
        ({"lines": []}, ["body.lines"]),
        ({"lines": [MUGS, MUGS | {"quantity": -1}]}, ["body.lines.1.quantity"]),
        ({"lines": [MUGS, MUGS | {"price": "x"}]}, ["body.lines.1.price"]),
        ({"lines": [MUGS | {"quantity": 2**31 - 1, "price": "9999999999999.99"}]}, ["body.total"]),
        ({"lines": [MUGS | {"quantity": 10_000, "price": "9999999999999.99"}], "total": "1.00"}, ["body.total"]),
        ({"lines": [MUGS | {"quantity": 2**31 - 1, "price": "0.00"}, MUGS]}, ["body.lines"]),
    ],
)
async def test_invalid_fields_are_named(
    shop: RunningShop, http: httpx.AsyncClient, facts: dict[str, Any], fields: list[str]
) -> None:
    status, body = await put(http, **facts)
    assert (status, body["error"], field_names(body)) == (422, "Invalid input", fields)
    assert await shop.data.sql("SELECT count(*) FROM orders") == [0]


async def test_a_country_may_be_written_in_several_ways_and_the_carrier_gets_its_code(
    shop: RunningShop, http: httpx.AsyncClient
) -> None:
    await shop.data.add_stock("MUG", main=9)
    for order_id, country in (("1", "United Kingdom"), ("2", "gbr"), ("3", " Deutschland ")):
        assert (await put(http, order_id, shipping_country=country))[0] == 201
    async with shop.worker():
        assert [(await shop.process(order_id)).status for order_id in "123"] == ["fulfilled"] * 3
    stored = await shop.data.sql("SELECT shipping_country FROM orders ORDER BY id")
    assert stored == ["United Kingdom", "gbr", "Deutschland"]  # as the other system has it, which may send it again


async def test_what_an_order_says_is_no_reason_to_refuse_it(shop: RunningShop, http: httpx.AsyncClient) -> None:
    hostile = "You won, claim at https://evil.example\x1b[0m\u202e\r\nBcc: ann"
    status, _ = await put(http, shipping_name=hostile, lines=[MUGS | {"name": hostile, "sku": hostile}])
    assert status == 201
    assert await shop.data.sql("SELECT shipping_name FROM orders") == [hostile]


async def test_unknown_fields_are_refused_by_name(shop: RunningShop, http: httpx.AsyncClient) -> None:
    status, body = await put(http, totl="3.00", discount="2.00", lines=[MUGS | {"quantiy": 1}])
    assert (status, sorted(field_names(body))) == (422, ["body.discount", "body.lines.0.quantiy", "body.totl"])
    assert {error["message"] for error in body["fields"]} == {"there is no such field"}
    assert await shop.data.sql("SELECT count(*) FROM orders") == [0]


async def test_columns_of_the_export_that_nothing_needs_are_accepted(http: httpx.AsyncClient) -> None:
    ignored = {"accepts_marketing": "no", "source": "web", "tax_1_name": "VAT", "payment_terms_name": None}
    lines = [MUGS | {"lineitem_taxable": True, "compare_at_price": "1.00"}]
    assert (await put(http, **ignored, lines=lines))[0] == 201
    assert (await put(http))[0] == 200


async def test_what_is_odd_about_an_order_is_in_the_answer(http: httpx.AsyncClient) -> None:
    status, body = await put(http, total="15.00", lines=[MUGS | {"sku": "1.23E+12"}])
    assert (status, [warning["field"] for warning in body["warnings"]]) == (201, ["total", "lines.0.sku"])


async def test_an_order_of_another_source_has_it_in_its_id(shop: RunningShop, http: httpx.AsyncClient) -> None:
    await put(http)
    status, body = await put(http, "etsy~1001", name="1001")
    assert (status, body["order_id"], body["number"]) == (201, "etsy~1001", "1001")
    assert body["transaction_id"] == "order-processing-etsy~1001"
    assert (await put(http, "shop~1001"))[0] == 200
    assert await shop.data.sql("SELECT id, source FROM orders ORDER BY id") == [("1001", "shop"), ("etsy~1001", "etsy")]


@pytest.mark.parametrize("order_id", ["%20", "a%20b", "a%00", "%F0%9F%91%BB", "x" * 101, "a~b~c", "~a", "a~"])
async def test_an_invalid_order_id_is_refused(http: httpx.AsyncClient, order_id: str) -> None:
    status, body = await put(http, order_id)
    assert (status, field_names(body)) == (422, ["path.order_id"])


async def test_an_unavailable_database_is_a_503(shop: RunningShop) -> None:
    async with in_process_client(create_api(shop, COMMERCE_DATABASE_URL="postgresql://commerce@127.0.0.1:1/x")) as http:
        status, body = await put(http)
    assert status == 503 and body["error"].startswith("The database is unavailable")
