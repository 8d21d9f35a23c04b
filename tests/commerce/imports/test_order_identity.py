"""An order is one order: by its source and its id or name, in one file or several, and by HTTP."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from commerce import order_intake
from commerce.database import Database
from commerce.errors import OrderDiffers
from commerce.imports import ImportReport
from commerce.imports.new_order import NewOrder
from commerce.imports.order_parser import OrderHead, OrderLine, parse_order
from commerce.order_identity import order_id_of, split_order_id
from tests.commerce.imports.order_files import Import, first, further
from tests.commerce.shop import Shop

IDENTITIES = "SELECT id, source, external_id, name, number FROM orders ORDER BY id"
REPEATED = "all rows of one order must be consecutive"
# The same order as `first()`, as another system sends it.
HEAD = OrderHead(
    id="5551",
    name="#1001",
    email="ann@shop.example",
    financial_status="paid",
    currency="GBP",
    shipping="4.00",
    shipping_method="Postage",
    shipping_country="GB",
    created_at="2026-03-02T12:00:00Z",
)
LINE = OrderLine("MUG", "Mug", 2, "12.50", requires_shipping=True)

Put = Callable[..., Awaitable[order_intake.Stored]]


@pytest.fixture
def put(database: Database) -> Put:
    async def put(source: str = "shop", **facts: str | None) -> order_intake.Stored:
        order = parse_order(replace(HEAD, **facts), [LINE], currency="GBP", source=source)  # type: ignore[arg-type]
        assert isinstance(order, NewOrder)
        async with database.transaction() as tx:
            return await order_intake.store_order(tx, order)

    return put


def reasons(report: ImportReport) -> list[tuple[int, str]]:
    return [(bad.line, bad.reason) for bad in report.bad]


def brief(stored: order_intake.Stored) -> tuple[str, str, bool]:
    return stored.order_id, stored.number, stored.is_new


async def test_our_id_is_the_sources_own_id_or_else_the_name(shop: Shop, load: Import) -> None:
    await load(first(), first(Name="#1002", Id=""), first(Name="1003", Id="1003"), first(Name="#EN-4", Id="'6"))
    assert await shop.sql(IDENTITIES) == [
        ("1002", "shop", None, "#1002", "#1002"),
        ("1003", "shop", None, "1003", "1003"),
        ("5551", "shop", "5551", "#1001", "#1001"),
        ("6", "shop", "6", "#EN-4", "#EN-4"),
    ]


async def test_a_spreadsheets_decimals_of_ids_and_names_do_not_count(shop: Shop, load: Import) -> None:
    await load(first(Id="5551"), first(Name="7", Id=""))
    assert (await load(first(Name="1001.0", Id="5551.0"), first(Name="7.0", Id=""))).unchanged == 2
    assert await shop.sql("SELECT id FROM orders ORDER BY id") == ["5551", "7"]


async def test_orders_of_two_shops_never_meet(shop: Shop, load: Import, put: Put) -> None:
    await load(first(), first(Name="#2", Id="etsy:2"))
    report = await load(first(), first(Name="#2", Id="2"), source="etsy")
    assert (report.taken, report.bad) == (2, [])
    assert (await load(first(Shipping="1"), source="ebay")).taken == 1
    assert brief(await put(source="etsy")) == ("etsy~5551", "#1001", False)
    assert brief(await put(source="b", id="2", name=None)) == ("b~2", "2", True)
    assert await shop.sql("SELECT id, number FROM orders ORDER BY id") == [
        ("5551", "#1001"), ("b~2", "2"), ("ebay~5551", "#1001"), ("etsy:2", "#2"), ("etsy~2", "#2"),
        ("etsy~5551", "#1001"),
    ]  # fmt: skip


def test_an_id_can_be_split_into_source_and_own_id() -> None:
    for source in ("shop", "etsy"):
        assert split_order_id(order_id_of(source, "a:1"), default_source="shop") == (source, "a:1")


@pytest.mark.parametrize("earlier", ["Id", ""])
async def test_a_row_without_an_id_and_one_with_it_are_the_same_order(shop: Shop, load: Import, earlier: str) -> None:
    """In either order, and a third time."""
    with_id, without = first(), first(Id="")
    for rows in [(with_id, without), (without, with_id)]:
        assert reasons(await load(*rows)) == [(3, f"order {rows[1]['Id'] or '1001'} appears twice: {REPEATED}")]
    order = [with_id, without, with_id] if earlier else [without, with_id, without]
    assert [(await load(row)).taken for row in order] == [1, 0, 0]
    assert await shop.sql("SELECT external_id, name FROM orders") == [("5551", "#1001")]
    assert (await load(order[1] | {"Shipping": "1"})).changed == 1
    our_id = "5551" if earlier else "1001"
    assert await shop.sql("SELECT id, shipping_total FROM orders") == [(our_id, 100)]


@pytest.mark.parametrize("own_id", ["5551", "1001"])
@pytest.mark.parametrize("name", ["#1001", "1001", None])
async def test_an_order_is_the_same_by_file_and_over_http(
    shop: Shop, load: Import, put: Put, own_id: str, name: str | None
) -> None:
    await load(first())
    assert brief(await put(id=own_id, name=name)) == ("5551", "#1001", False)
    await shop.owner_sql("TRUNCATE orders CASCADE")
    our_id = (await put(id=own_id, name=name)).order_id
    assert our_id == own_id
    for row in (first(), first(Id="") if name else first()):
        assert (await load(row)).unchanged == 1
    stored_number = name or "#1001"
    assert brief(await put()) == (our_id, stored_number, False)
    assert brief(await put(id="1001", name=None)) == (our_id, stored_number, False)
    assert brief(await put(id="5551", name=None)) == (our_id, stored_number, False)
    assert await shop.sql("SELECT external_id, name_key FROM orders") == [("5551", "1001")]


async def test_a_name_alone_is_refused_if_it_can_mean_two_orders(shop: Shop, load: Import, put: Put) -> None:
    assert (await load(first(Id="77"), first(Id="78"))).taken == 2
    assert (await load(first(Id="78"), first(Id="77"), first(Id="79"))).unchanged == 2
    assert (await put(id="80")).is_new
    assert reasons(await load(first(Id=""))) == [(2, "the row has no Id, and more than one order is named like this")]
    with pytest.raises(OrderDiffers):
        await put(id="1001")
    assert brief(await put(id="78")) == ("78", "#1001", False)


async def test_an_order_never_takes_the_id_of_another(shop: Shop, load: Import, put: Put) -> None:
    await load(first(Name="#7", Id="1001"))
    report = await load(first(Id=""), first(Name="#8", Id="8"), skip_bad=True)
    assert (report.taken, reasons(report)) == (1, [(2, "order #1001 has the id of another order")])
    with pytest.raises(OrderDiffers):
        await put(id="1001", name="#1001")
    assert await shop.sql("SELECT id, name FROM orders ORDER BY id") == [("1001", "#7"), ("8", "#8")]


async def test_concurrent_requests_by_id_and_by_name_store_one_order(shop: Shop, put: Put, load: Import) -> None:
    for number in range(20):
        name, own_id = f"#{number}", f"9{number:03}"
        stored = await asyncio.gather(
            *(put(id=own_id, name=name) for _ in range(3)),
            *(put(id=str(number), name=name) for _ in range(3)),
            *(put(id=str(number), name=None) for _ in range(3)),
            load(first(Name=name, Id="")),
        )
        orders = [one for one in stored if isinstance(one, order_intake.Stored)]
        assert len({one.order_id for one in orders}) == 1
    assert await shop.sql("SELECT count(*) FROM orders") == [20]


async def test_orders_of_an_older_version_are_completed_once_and_without_events(
    shop: Shop, load: Import, put: Put
) -> None:
    """Hashes as version 1 computed them; its orders have nothing but the columns of that time."""
    ann = {
        "Email": "Ann@customer.example", "Paid at": "2026-03-02 12:01:00 +0000", "Shipping": "3.95",
        "Shipping Method": "Standard", "Shipping Name": "Ann Ö", "Shipping Zip": "'0123",
        "Shipping Address2": "Flat 7", "Notes": "Ring twice", "Vendor": "Acme", "Lineitem discount": "1.00",
    }  # fmt: skip
    rows = [
        first(**ann),
        further(Lineitem_sku="", Lineitem_name="Card", Lineitem_quantity="1", Lineitem_price="5",
                Lineitem_requires_shipping="false"),
    ]  # fmt: skip
    await load(*rows)
    new = await shop.sql("SELECT to_jsonb(orders), to_jsonb(line) FROM orders, order_lines AS line ORDER BY line.id")
    await shop.sql("""
        UPDATE orders SET content_hash = '7bd25e0532394cc42726cd8e6a2ecf0d99d326e9eda8ba499595f57afa7afe6c',
            name = NULL, name_key = NULL, external_id = NULL, note = NULL, shipping_address2 = NULL, total = 3395,
            discount_total = 0""")
    await shop.sql("UPDATE order_lines SET vendor = NULL, discount = 0")
    assert (await load(*rows)).taken == 1
    assert (
        await shop.sql("SELECT to_jsonb(orders), to_jsonb(line) FROM orders, order_lines AS line ORDER BY line.id")
        == new
    )
    assert (await load(*rows)).unchanged == 1
    assert await shop.events() == []
