"""Lists of orders: each status, filters, search, pages; and one order in full."""

from datetime import timedelta
from typing import Any, get_args

import pytest
from sqlalchemy import text

from commerce import fulfillment, inventory, orders
from commerce.errors import BadInput, OrderNotFound
from commerce.messages.order_views import OrderStatus
from commerce.order_status import CLOSED
from commerce.queries.masking import mask_address, mask_name
from commerce.queries.orders import OrderFilter, find_order, list_orders, load_order
from tests.commerce.shop import NOON, Shop

STATUSES: dict[OrderStatus, list[dict[str, Any]]] = {
    "open": [{}, {"payment_status": "partially_refunded"}],
    "on_hold": [{"hold_reason": "failed: CarrierRefused"}],
    "waiting_for_stock": [{"waits_for_backorders": False}],
    "fulfilled": [{"fulfillment_status": "fulfilled"}, {"fulfillment_status": "fulfilled", "cancelled_at": NOON}],
    "cancelling": [
        {"cancellation": "cancelling"},
        {"cancellation": "cancelling", "fulfillment_status": "fulfilled"},
        {"cancellation": "cancelling", "cancelled_at": NOON, "fulfillment_status": "restocked"},
        {"cancellation": "cancelling", "payment_status": "awaiting"},
    ],
    "cancelled": [{"cancelled_at": NOON}, {"payment_status": "cancelled", "fulfillment_status": "fulfilled_elsewhere"}],
    "fulfilled_elsewhere": [{"fulfillment_status": "fulfilled_elsewhere"}],
    "unpaid": [{"payment_status": "awaiting"}, {"payment_status": "partially_captured", "hold_reason": "old"}],
    "other": [{"payment_status": "refunded"}, {"fulfillment_status": "restocked"}, {"fulfillment_status": "on_hold"}],
}


async def ids(shop: Shop, **conditions: Any) -> list[str]:
    page = await shop.call(list_orders, OrderFilter(**conditions))
    assert page.next_cursor is None
    return [order.order_id for order in page.orders]


async def test_each_order_has_one_status_and_is_in_its_list(shop: Shop) -> None:
    assert set(STATUSES) == set(get_args(OrderStatus))
    for status, cases in STATUSES.items():
        for number, columns in enumerate(cases):
            await shop.order(f"{status}-{number}", columns=columns)
    # Such an order awaits payment, but may be shipped before it is paid.
    await shop.sql("INSERT INTO ship_unpaid_methods VALUES ('invoice')")
    await shop.order("open-2", columns={"payment_status": "awaiting", "payment_method": " Invoice"})
    for status, cases in STATUSES.items():
        listed = sorted(await ids(shop, status=status))
        assert listed == [f"{status}-{number}" for number in range(len(cases) + (status == "open"))]
    everything = await shop.call(list_orders, OrderFilter())
    assert all(order.order_id.startswith(f"{order.status}-") for order in everything.orders)
    held = {order.order_id: order.hold_reason for order in everything.orders if order.hold_reason}
    assert held == {"on_hold-0": "failed: CarrierRefused"}  # the reason of an order that is not open means nothing
    counts = " + ".join(f"CAST({condition} AS integer)" for condition in CLOSED.values())
    assert set(await shop.sql(f"SELECT max({counts}) FROM orders")) == {1}


async def test_filters_select_what_all_of_them_name(shop: Shop) -> None:
    for number, hold in enumerate(["failed: CarrierRefused", "rejected", None]):
        placed = NOON + timedelta(days=number)
        await shop.order(str(number), columns={"hold_reason": hold, "created_at": placed})
    assert await ids(shop, hold_reason="CarrierRefused") == ["0"]
    assert await ids(shop, hold_reason="failed: CarrierRefused", status="on_hold") == ["0"]
    assert await ids(shop, status="on_hold") == ["1", "0"]
    assert await ids(shop, since=NOON + timedelta(days=1)) == ["2", "1"]
    assert await ids(shop, since=NOON, until=NOON + timedelta(days=1)) == ["0"]
    assert await ids(shop, hold_reason="rejected", until=NOON) == []


@pytest.mark.parametrize(
    ("search", "found"),
    [
        *[("#1001", ["1"]), ("1001", ["1"]), ("etsy~7", ["2"]), ("EXT-9", ["1"]), ("TRK-1", ["1"])],
        *[("lee", ["1"]), ("ANN lee", ["1"]), ("müll", ["2"]), ("ann@customer.example", ["1"]), ("ann@cust", ["1"])],
        *[("王", ["3"]), ("o'brien", ["3"]), ("ann müller", []), ("10", []), ("' \\ & | ! :*", []), ("le", [])],
    ],
)
async def test_a_search_finds_words_of_numbers_names_and_addresses(shop: Shop, search: str, found: list[str]) -> None:
    people = {
        "1": {"name": "#1001", "external_id": "EXT-9", "shipping_name": "Ann Lee", "email": "ann@customer.example"},
        "2": {"name": "etsy~7", "billing_name": "Jürgen Müller", "email": None},
        "3": {"shipping_name": "王小明", "shipping_company": "O'Brien & Sons", "email": "bob@customer.example"},
    }
    for order_id, columns in people.items():
        await shop.order(order_id, columns=columns)
    await shop.sql("INSERT INTO fulfillments (order_id, tracking_number) VALUES ('1', 'TRK-1')")
    assert await ids(shop, search=search) == found


async def test_a_search_finds_old_orders_among_many(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        name = "Ann Lee" if number == 0 else "Bob Stone"
        await shop.order(str(number), columns={"shipping_name": name, "created_at": NOON + timedelta(days=number)})
    monkeypatch.setattr("commerce.queries.orders.EXAMINED", 6)  # as many as there are: there may be more
    assert await ids(shop, search="lee") == ["0"]
    assert await ids(shop, search="stone") == ["5", "4", "3", "2", "1"]


async def test_a_search_by_address_reads_the_index_of_words_alone(shop: Shop) -> None:
    await shop.order("1", columns={"email": "ann@customer.example"})
    columns = "payment_status, fulfillment_status, currency, total, created_at, content_hash"
    await shop.sql(
        f"INSERT INTO orders (id, email, {columns}) SELECT 'o' || n, 'n' || n || '@customer.example', {columns} "
        "FROM orders, generate_series(1, 3000) AS n"
    )
    await shop.sql("ANALYZE orders")
    scans = text("SELECT pg_stat_get_xact_numscans(to_regclass(name)) FROM unnest(CAST(:names AS text[])) AS name")
    names = ["ix_orders_words", "ix_orders_created_at_id"]
    async with shop.database.transaction() as tx:
        # Plans of a connection do not know the values any more, after they have been used several times.
        await tx.execute(text("SET LOCAL plan_cache_mode = force_generic_plan"))
        for search in ("n7@customer.example", "n7@customer.example", "nobody7@customer.example"):
            await list_orders(tx, OrderFilter(search=search))
        assert list(await tx.scalars(scans, {"names": names})) == [3, 0]


async def test_pages_follow_one_another(shop: Shop) -> None:
    for order_id in "12345":  # placed at the same time
        await shop.order(order_id, columns={"shipping_name": "Ann Lee"})
    for selected in (OrderFilter(), OrderFilter(status="open"), OrderFilter(search="lee")):
        found, cursor = [], None
        while True:
            page = await shop.call(list_orders, selected, limit=2, cursor=cursor)
            found += [order.order_id for order in page.orders]
            if (cursor := page.next_cursor) is None:
                break
        assert found == ["5", "4", "3", "2", "1"]


@pytest.mark.parametrize(
    ("conditions", "options", "field"),
    [
        ({}, {"limit": 0}, "limit"),
        ({}, {"limit": 201}, "limit"),
        ({}, {"cursor": "unknown"}, "cursor"),
        ({"status": "open", "hold_reason": "rejected"}, {}, "hold_reason"),
        ({"since": NOON, "until": NOON}, {}, "until"),
        ({"search": " "}, {}, "search"),
        ({"search": "x" * 201}, {}, "search"),
    ],
)
async def test_wrong_filters_are_named(
    shop: Shop, conditions: dict[str, Any], options: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadInput) as refused:
        await shop.call(list_orders, OrderFilter(**conditions), **options)
    assert [problem.field for problem in refused.value.fields] == [field]


async def test_a_list_masks_its_customers(shop: Shop) -> None:
    await shop.order("1", columns={"shipping_name": "  ", "billing_name": "Ann Lee"})
    [order] = (await shop.call(list_orders, OrderFilter())).orders
    assert order.customer == "A… L…"


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        ("Ann Lee", "A… L…"),
        ("Ana María de la Cruz", "A… M… d…"),
        ("王小明", "王…"),
        ("हिमांशु", "हि…"),
        (" ", None),
        (None, None),
    ],
)
def test_a_name_keeps_its_first_letters(name: str | None, masked: str | None) -> None:
    assert mask_name(name) == masked


def test_an_address_keeps_its_domain() -> None:
    assert (mask_address("ann@customer.example"), mask_address(None)) == ("a…@customer.example", None)


async def test_an_order_has_all_that_belongs_to_it(shop: Shop) -> None:
    await shop.stock("MUG", main=9)
    columns = {"shipping_name": "Ann Lee", "shipping_city": "London", "corrections": {"shipping_city": "Londn"}}
    await shop.order("1", ("UNKNOWN", 1), ("MUG", 2), columns=columns)
    await shop.order("2", MUG=1)
    await shop.sql("UPDATE order_lines SET quantity = 0 WHERE sku = 'UNKNOWN'")
    await shop.call(inventory.reserve, "1")
    order = await shop.call(load_order, "1")
    assert [(each.position, each.sku, each.location, each.quantity) for each in order.reservations] == [
        (2, "MUG", "main", 2)
    ]
    await shop.call(fulfillment.create, "1")
    await shop.call(orders.complete, "1")
    await shop.sql(
        """INSERT INTO operator_actions (process_id, run_id, action, reason, actor)
           VALUES ('order-processing-1', '', 'retry', 'she called', 'http')"""
    )
    await shop.sql(
        """INSERT INTO step_waits (business_key, generation, step, round, asked_at, until)
           VALUES ('order-processing-1', 'g', 'review-order', 1, now(), now())"""
    )
    order = await shop.call(load_order, "1")
    assert (order.status, order.units, order.customer, order.corrected) == (
        "fulfilled",
        2,
        "Ann Lee",
        ["shipping_city"],
    )
    assert (order.shipping_address.city, order.shipping_address.country) == ("London", "GB")
    assert [(line.sku, line.quantity, line.lacks_product) for line in order.lines] == [
        ("UNKNOWN", 0, False),
        ("MUG", 2, False),
    ]
    assert [(parcel.units, parcel.location, parcel.cancelled_at) for parcel in order.fulfillments] == [
        (2, "main", None)
    ]
    assert not order.reservations
    assert [(mail.kind, mail.status) for mail in order.mails] == [("order-shipped", "queued")]
    assert [(event.type, event.aggregate) for event in order.events] == [("order.fulfilled", "order/1")]
    assert [(wait.step, wait.answer) for wait in order.answers] == [("review-order", None)]
    assert [(action.action, action.reason) for action in order.actions] == [("retry", "she called")]


async def test_an_order_is_found_by_its_ids_and_its_number(shop: Shop) -> None:
    await shop.order("1", columns={"name": "#1001", "name_key": "1001", "external_id": "EXT"})
    await shop.order("etsy~7", columns={"source": "etsy", "external_id": "7", "name_key": "1002"})
    for reference, source in [("1", "shop"), ("#1001", "shop"), ("EXT", "shop"), ("shop~1001", "etsy")]:
        assert await shop.call(find_order, reference, default_source=source) == "1"
    for reference, source in [("etsy~7", "shop"), ("etsy~1002", "shop"), ("7", "etsy")]:
        assert await shop.call(find_order, reference, default_source=source) == "etsy~7"
    with pytest.raises(OrderNotFound):
        await shop.call(find_order, "7", default_source="shop")
    with pytest.raises(OrderNotFound):
        await shop.call(load_order, "7")
