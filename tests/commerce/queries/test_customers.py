"""Lists of customers and one in full: masked, paged, and read by an index."""

from typing import Any

import pytest
from sqlalchemy import TextClause, text

from commerce.errors import BadInput, CustomerNotFound
from commerce.queries import customers
from commerce.queries.customers import list_customers, load_customer
from tests.commerce.shop import NOON, Shop

ADDRESSES = ("ann@customer.example", "anna@customer.example", "bob@customer.example")


async def add_customers(shop: Shop) -> list[str]:
    """Add three customers a second apart, the first with two orders and a name; return their ids."""
    ids = []
    for second, email in enumerate(ADDRESSES):
        ids += await shop.sql(
            """INSERT INTO customers (email, created_at)
               VALUES (:email, CAST(:noon AS timestamptz) + :second * interval '1 second')
               RETURNING CAST(id AS text)""",
            email=email, noon=NOON, second=second,
        )  # fmt: skip
    for number in ("1", "2"):
        await shop.order(number, columns={"billing_name": "Ann Lee", "customer_id": ids[0]})
    return [str(each) for each in ids]


async def test_customers_are_listed_newest_first_and_masked(shop: Shop) -> None:
    ids = await add_customers(shop)
    page = await shop.call(list_customers, limit=2)
    assert [customer.email for customer in page.customers] == ["b…@customer.example", "a…@customer.example"]
    assert page.next_cursor == ids[1]
    rest = await shop.call(list_customers, limit=2, cursor=page.next_cursor)
    [ann] = rest.customers
    assert (ann.customer_id, ann.name, ann.orders, ann.last_order_at, rest.next_cursor) == (
        ids[0], "A… L…", 2, NOON, None
    )  # fmt: skip
    clear = await shop.call(list_customers, clear=True)
    assert [customer.email for customer in clear.customers] == list(reversed(ADDRESSES))


async def test_customers_are_found_by_how_their_address_starts(shop: Shop) -> None:
    ids = await add_customers(shop)
    first = await shop.call(list_customers, search=" ANN", limit=1)
    assert ([each.customer_id for each in first.customers], first.next_cursor) == ([ids[0]], ids[0])
    second = await shop.call(list_customers, search="ann", limit=1, cursor=ids[0])
    assert ([each.customer_id for each in second.customers], second.next_cursor) == ([ids[1]], None)
    for strange in ("%", "_", "\\", "ann@customer.example.", "zoë@"):
        assert (await shop.call(list_customers, search=strange)).customers == []


async def test_a_forgotten_person_has_neither_name_nor_address(shop: Shop) -> None:
    [forgotten] = await shop.sql("INSERT INTO customers DEFAULT VALUES RETURNING CAST(id AS text)")
    [listed] = (await shop.call(list_customers)).customers
    assert (listed.customer_id, listed.email, listed.name) == (forgotten, None, None)


async def test_one_customer_in_full(shop: Shop) -> None:
    ids = await add_customers(shop)
    for reference in (ids[0], ids[0].upper(), "Ann@Customer.example"):
        ann = await shop.call(load_customer, reference)
        assert (ann.email, ann.name, ann.groups) == ("ann@customer.example", "Ann Lee", [])
        assert [(order.order_id, order.customer) for order in ann.last_orders] == [("2", "A… L…"), ("1", "A… L…")]
    assert (await shop.call(load_customer, ids[0], clear=False)).email == "a…@customer.example"
    for unknown in ("0199a1b2-6f4e-7c3d-9a10-5b7e2f0c4d11", "nobody@customer.example", "", "ann"):
        with pytest.raises(CustomerNotFound):
            await shop.call(load_customer, unknown)


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": 201}, {"cursor": "x"}, {"cursor": "0" * 32}])
async def test_wrong_parameters_are_refused(shop: Shop, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        await shop.call(list_customers, **wrong)


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (customers.NEWEST, "ix_customers_created_at_id"),
        (customers.BY_ADDRESS, "ix_customers_email_start"),
        (customers.ORDERS, "ix_orders_customer_id_created_at"),
    ],
)
async def test_lists_are_read_by_an_index_without_sorting(shop: Shop, statement: TextClause, index: str) -> None:
    place = {"before": NOON, "before_id": "0" * 32, "search": "a", "end": "b", "after": "", "limit": 51, "id": "0" * 32}
    used = {name: place[name] for name in statement.compile().params}
    async with shop.database.transaction() as tx:
        await tx.execute(text("SET LOCAL enable_seqscan = off"))
        await tx.execute(text("SET LOCAL enable_bitmapscan = off"))
        plan = "\n".join(await tx.scalars(text(f"EXPLAIN {statement.text}"), used))
    assert f"using {index}" in plan
    assert not plan.startswith(("Limit\n  ->  Sort", "Sort"))
