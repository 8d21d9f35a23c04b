"""A person is erased from every table and does not come back; figures stay (A7)."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import LargeBinary, String
from sqlalchemy.dialects.postgresql import JSONB

from commerce import erasure, forgotten, order_intake, person_export, tables, upkeep
from commerce.address_digests import AddressDigests
from commerce.database import Database
from commerce.errors import AddressKeyMissing, CustomerHasOpenOrders, CustomerNotFound
from commerce.imports import import_carts
from commerce.imports.new_order import NewOrder
from commerce.imports.order_parser import OrderHead, OrderLine, parse_order
from commerce.intake import deliveries
from commerce.intake.deliveries import Delivery
from commerce.messages.customers import REGISTRATION_ID_PREFIX
from commerce.messages.orders import order_process_id
from commerce.messages.returns import return_process_id
from tests.commerce.imports.order_files import first, import_rows
from tests.commerce.intake import webhooks
from tests.commerce.shop import NOON, Shop

KEY, OLD_KEY = "a-key-of-addresses-of-at-least-32-characters", "an-old-key-of-addresses-of-32-characters"
DIGESTS = AddressDigests([KEY])
WORD = "zqperson"  # in everything personal
ANN, BOB = f"{WORD}@customer.example", "bob@customer.example"
YEARS_AGO = NOON - timedelta(days=3_000)
SOON = datetime.now(UTC) + timedelta(hours=1)

# Every text of every table is about a person or is not. Who adds a column decides.
IMPERSONAL = """
    locations.*, products.*, variants.*, listings.*, variant_links.*, inventory_items.*, variant_inventory_items.*,
    inventory_levels.*, stock_movements.*, reservations.*, customer_groups.*, customer_group_members.*,
    ship_unpaid_methods.*, order_lines.*, fulfillment_items.*, daily_metrics.*, refunds.*, days_to_count.*,
    order_payments.*, order_captures.*, order_refunds.*, capturable_payments.*,
    order_return_lines.*, order_return_items.*,
    webhook_endpoints.*, outbox_events.*, process_generations.*, step_ledger.*,
    forgotten_addresses.*, picks.*, pick_shorts.*, cart_lines.*, orders.cancellation,
    pending_registrations.process_id, auth_users.provider_id,
    customers.registered_by, carts.id, carts.currency, carts.content_hash,
    orders.id, orders.source, orders.external_id, orders.name, orders.name_key, orders.number, orders.payment_status,
    orders.fulfillment_status, orders.currency, orders.discount_code, orders.payment_method, orders.payment_reference,
    orders.risk_level, orders.shipping_method, orders.shipping_province, orders.shipping_province_name,
    orders.shipping_country, orders.billing_province, orders.billing_country, orders.hold_reason, orders.held_by,
    orders.approved_reasons, orders.content_hash,
    order_returns.id, order_returns.order_id, order_returns.state, order_returns.location_id,
    order_returns.shipment_id, order_returns.carrier,
    fulfillments.order_id, fulfillments.from_location_id, fulfillments.shipment_id, fulfillments.carrier,
    notifications.key, notifications.kind, notifications.order_id, notifications.status, notifications.message_id,
    notifications.error,
    intake_deliveries.platform, intake_deliveries.delivery_id, intake_deliveries.content_hash, intake_deliveries.topic,
    intake_deliveries.source, intake_deliveries.status, intake_deliveries.order_id, intake_deliveries.problem,
    intake_deliveries.reason,
    step_waits.business_key, step_waits.generation, step_waits.step, step_waits.kind, step_waits.answered_by,
    step_waits.digest,
    operator_actions.process_id, operator_actions.run_id, operator_actions.action, operator_actions.actor
"""
PERSONAL = {
    *(f"orders.{name}" for name in (*forgotten.PERSONAL, "corrections")),
    *("customers.email", "customers.first_name", "customers.last_name", "auth_users.password_hash", "carts.email"),
    *("order_returns.tracking_number", "order_returns.label_url"),
    *("fulfillments.tracking_number", "fulfillments.label_url", "notifications.recipient", "notifications.data"),
    *(
        "pending_registrations.password_hash",
        "intake_deliveries.body",
        "step_waits.data",
        "step_waits.reason",
        "operator_actions.reason",
    ),
}
ACCOUNT = """
    INSERT INTO customers (email, has_account, first_name, last_name, registered_at, registered_by)
    VALUES (:email, true, :word, :word, now(), :process) RETURNING CAST(id AS text)
"""
FILL = (
    f"""UPDATE orders SET corrections = jsonb_build_object('email', 'zqperson'),
        {", ".join(f"{name} = 'zqperson'" for name in forgotten.PERSONAL if name != "email")}""",
    "INSERT INTO auth_users (customer_id, password_hash) SELECT id, 'zqperson' FROM customers",
    "INSERT INTO customer_groups (name) VALUES ('default_customers')",
    """INSERT INTO customer_group_members (group_id, customer_id)
       SELECT customer_groups.id, customers.id FROM customer_groups, customers""",
    """INSERT INTO fulfillments (order_id, shipment_id, tracking_number, label_url, completed_at)
       SELECT id, 'shp_1', 'zqperson', 'zqperson', now() FROM orders""",
    """INSERT INTO order_returns (id, order_id, state, refund, refund_shipping, unclaimed_before, tracking_number,
                                  label_url)
       VALUES ('r', '1', 'completed', true, false, 0, 'zqperson', 'zqperson')""",
    """INSERT INTO carts (id, email, currency, created_at, updated_at)
       VALUES ('C1', :email, 'GBP', now(), now())""",
    """INSERT INTO notifications (key, kind, recipient, order_id, data, status, message_id)
       VALUES ('shipped/1', 'order-shipped', :email, '1', '{}', 'sent', 'm1'),
              ('shipped/2', 'order-shipped', 'x', '2', jsonb_build_object('n', 'zqperson'), 'failed', 'm2'),
              ('alert/1', 'order-failed', 'admin@shop.example', '1', '{"severity": "high"}', 'sent', 'm3')""",
    """INSERT INTO operator_actions (process_id, run_id, action, reason, actor)
       SELECT process, 'r', 'retry', 'zqperson', 'cli' FROM unnest(CAST(:processes AS text[])) AS process""",
    """INSERT INTO process_generations (business_key, generation, started_at)
       SELECT process, 'g', now() FROM unnest(CAST(:processes AS text[])) AS process""",
    """INSERT INTO step_ledger (business_key, generation, step, state, call)
       SELECT process, 'g', 's', 'done', '{}' FROM unnest(CAST(:processes AS text[])) AS process""",
    """INSERT INTO step_waits (business_key, generation, step, round, asked_at, until, kind, reason, data)
       SELECT process, 'g', 's', 1, now(), now(), 'withdrawn', 'zqperson', jsonb_build_object('a', 'zqperson')
       FROM unnest(CAST(:processes AS text[])) AS process""",
    """INSERT INTO pending_registrations (process_id, password_hash, asked_at)
       SELECT process || '-tag', 'zqperson', now() FROM unnest(CAST(:processes AS text[])) AS process
       WHERE process LIKE 'customer%'""",
    """INSERT INTO intake_deliveries (platform, delivery_id, content_hash, topic, source, status, body)
       VALUES ('shopify', 'd', 'h', 't', 's', 'unusable', :body)""",
)
RESERVE = """
    INSERT INTO reservations (order_id, order_line_id, inventory_item_id, location_id, quantity)
    SELECT order_id, id, 'MUG', 'main', 1 FROM order_lines
"""

OFFER = """
    INSERT INTO step_waits (business_key, generation, step, round, asked_at, until)
    VALUES ('cancel-order-1', 'g', 'offer-cancellation', 1, now(), now())
"""
RETURN = """
    INSERT INTO order_returns (id, order_id, refund, refund_shipping, unclaimed_before)
    VALUES ('r', '1', true, false, 0)
"""


@pytest.fixture
async def shop(database_url: str) -> AsyncIterator[Shop]:
    """A shop with a key."""
    database = Database(database_url, address_digests=DIGESTS)
    yield Shop(database)
    await database.close()


async def person(shop: Shop) -> str:
    """Create a person with personal data in every place that has some; return the customer's id."""
    values = {"email": ANN, "word": WORD, "processes": [order_process_id("1"), return_process_id("r"), registration()]}
    [customer_id] = await shop.sql(ACCOUNT, **values, process=registration())
    await shop.stock("MUG", main=9)
    for order_id, created_at in (("1", NOON), ("2", YEARS_AGO)):
        columns = {"email": ANN, "customer_id": customer_id, "created_at": created_at, "total": 500}
        await shop.order(order_id, MUG=2, columns=columns | {"fulfillment_status": "fulfilled"})
    body = json.dumps({"email": ANN.upper(), "name": WORD}).replace("@", "\\u0040").encode()
    for statement in FILL:
        await shop.sql(statement, **values, body=body)
    return str(customer_id)


def registration() -> str:
    return DIGESTS.process_ids(REGISTRATION_ID_PREFIX, ANN)[0]


async def forget(shop: Shop, address: str = ANN, keep_invoices: int = 0) -> Any:
    return await shop.call(erasure.erase, address, keep_invoices=keep_invoices)


async def places(shop: Shop) -> list[str]:
    """Return the tables that hold the word, in whichever column."""
    found = []
    for table in tables.Base.metadata.sorted_tables:
        bodies = ["convert_from(body, 'UTF8')"] if table.name == "intake_deliveries" else []
        texts = " || ".join([f"CAST({table.name} AS text)", *(f"coalesce({body}, '')" for body in bodies)])
        if await shop.sql(f"SELECT 1 FROM {table.name} WHERE {texts} ILIKE :word", word=f"%{WORD}%"):
            found.append(table.name)
    return found


def order(**changes: Any) -> NewOrder:
    """Return an order that another system sends, of Ann in 2026."""
    head = OrderHead(id="7", financial_status="paid", created_at="2026-03-02T12:00:00Z")
    parsed = parse_order(head, [OrderLine("MUG", "Mug", 1, "2.50", requires_shipping=True)], currency="GBP")
    assert isinstance(parsed, NewOrder)
    personal: dict[str, Any] = dict.fromkeys(forgotten.PERSONAL, WORD) | {"email": ANN, "shipping_country": "GB"}
    return replace(parsed, **(personal | changes))


def test_every_text_is_known_to_be_personal_or_not() -> None:
    texts = {
        f"{table.name}.{column.name}"
        for table in tables.Base.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, String | JSONB | LargeBinary)
    }
    rules = {name.strip() for name in IMPERSONAL.split(",")}
    unknown = {text for text in texts - PERSONAL if not {text, f"{text.partition('.')[0]}.*"} & rules}
    assert unknown == set() and texts >= PERSONAL


async def test_a_person_is_erased_from_every_table_and_figures_stay(shop: Shop) -> None:  # (A7)
    customer_id = await person(shop)
    figures = "SELECT id, customer_id, total, currency, shipping_country, created_at FROM orders ORDER BY id"
    before = await shop.sql(figures)
    assert {"orders", "customers", "notifications", "intake_deliveries", "step_waits"} < set(await places(shop))
    done = await forget(shop)
    assert await places(shop) == []
    assert await shop.sql(figures) == before
    assert (done.customer_id, done.orders, done.carts, done.mails, done.invoices_kept) == (customer_id, 2, 1, 2, 0)
    assert await shop.sql("SELECT CAST(id AS text), has_account FROM customers") == [(customer_id, False)]
    for gone in ("auth_users", "customer_group_members", "carts", "step_ledger", "process_generations", "step_waits"):
        assert await shop.sql(f"SELECT count(*) FROM {gone}") == [0], gone
    assert await shop.sql("SELECT key, recipient FROM notifications ORDER BY key") == [
        ("alert/1", "admin@shop.example"),
        ("shipped/1", ""),
    ]
    [(kind, aggregate, data)] = await shop.events()
    assert (kind, aggregate) == ("customer.forgotten", f"customer/{customer_id}")
    assert set(data) == {"customer_id", "forgotten_at"}
    assert await shop.audit() == []
    again = await forget(shop)  # changes nothing more
    assert (again.customer_id, again.orders, len(await shop.events())) == (None, 0, 1)


async def test_the_export_has_what_is_stored_except_the_hash_of_the_password(shop: Shop) -> None:  # (A7)
    await person(shop)
    await shop.sql("UPDATE auth_users SET password_hash = 'zq-hash'")
    found = await shop.call(person_export.export, ANN)
    assert found["email"] == ANN and found["customer"]["first_name"] == WORD and len(found["orders"]) == 2
    assert found["orders"][0]["lines"] and found["orders"][0]["fulfillments"][0]["tracking_number"] == WORD
    lists = ("logins", "groups", "carts", "mails", "reasons", "webhooks")
    assert {name: len(found[name]) for name in lists} == dict(zip(lists, (1, 1, 1, 3, 6, 1), strict=True))
    assert "zq-hash" not in json.dumps(found)
    with pytest.raises(CustomerNotFound):
        await shop.call(person_export.export, BOB)
    with pytest.raises(CustomerNotFound):
        await shop.call(erasure.find, BOB)


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"hold_reason": "failed: HighRisk"},
        {"payment_status": "authorized"},
        {"fulfillment_status": "partially_fulfilled"},
        {"cancelled_at": NOON, "reserved": True},  # its run still undoes its steps
        {"fulfillment_status": "fulfilled", "cancellation": "cancelling"},
        {
            "fulfillment_status": "fulfilled",
            "cancelled_at": NOON,
            "offered": True,
        },  # `cancel-order` waits for an answer
        {"fulfillment_status": "fulfilled", "returning": True},
    ],
)
async def test_nobody_with_an_open_order_is_forgotten(shop: Shop, columns: Mapping[str, Any]) -> None:  # (A7)
    await shop.stock("MUG", main=9)
    states = {"reserved": RESERVE, "offered": OFFER, "returning": RETURN}
    await shop.order("1", MUG=1, columns={k: v for k, v in columns.items() if k not in states} | {"email": ANN})
    for state in states.keys() & columns.keys():
        await shop.sql(states[state])
    for refusing in (shop.call(erasure.find, ANN), forget(shop)):
        with pytest.raises(CustomerHasOpenOrders, match="1 order is open, first 1"):
            await refusing
    assert await shop.order_columns("1", "email") == (ANN,)


async def test_without_a_key_nobody_is_forgotten(database: Database) -> None:  # (A7)
    with pytest.raises(AddressKeyMissing):
        await forget(Shop(database))


async def test_an_older_order_is_stored_without_its_person_and_a_later_one_whole(shop: Shop) -> None:  # (A7)
    await person(shop)
    await forget(shop)
    stored = await shop.call(order_intake.store_order, order())
    assert stored.is_new and await places(shop) == []
    assert await shop.order_columns("7", "total", "shipping_country", "customer_id") == (250, "GB", None)
    # What its source says of it later does not bring the person back, under whichever address.
    for changed in (order(outstanding_total=5), order(email=BOB, updated_at=SOON, total=251)):
        assert (await shop.call(order_intake.store_order, changed)).difference.changed
    assert await places(shop) == [] and await shop.order_columns("7", "total", "email") == (251, None)
    await shop.call(order_intake.store_order, order(id="8", name_key="8", created_at=SOON))
    assert await places(shop) == ["customers", "orders"]


async def test_known_orders_of_a_forgotten_person_change_without_them(shop: Shop) -> None:  # (A7)
    await shop.call(order_intake.store_order, order(fulfillment_status="fulfilled_elsewhere"))
    await forget(shop)
    [customer_id] = await shop.sql("SELECT customer_id FROM orders")
    refunded = order(fulfillment_status="fulfilled_elsewhere", refunded_total=250, payment_status="refunded")
    assert (await shop.call(order_intake.store_order, refunded)).difference.changed == [
        "financial_status",
        "refunded_amount",
    ]
    assert await places(shop) == [] and customer_id is not None
    assert await shop.order_columns("7", "refunded_total", "customer_id") == (250, customer_id)


async def test_an_order_whose_source_states_a_forgotten_address_later_loses_its_person(shop: Shop) -> None:  # (A7)
    await shop.call(order_intake.store_order, order(email=BOB, fulfillment_status="fulfilled_elsewhere"))
    await shop.sql("INSERT INTO customers (email) VALUES (:email)", email=ANN)
    await forget(shop)
    assert await places(shop) == ["orders"]
    await shop.call(order_intake.store_order, order(fulfillment_status="fulfilled_elsewhere"))
    assert await places(shop) == [] and await shop.order_columns("7", "email") == (None,)


async def test_imports_do_not_bring_a_forgotten_person_back(shop: Shop, tmp_path: Path) -> None:  # (A7)
    await person(shop)
    await forget(shop)
    rows = [
        first(Email=ANN, Notes=WORD, Shipping_Name=WORD, Billing_Name=WORD),
        first(Name="#1002", Id="5552", Email=BOB, Shipping_Name="Bob"),
    ]
    assert (await import_rows(shop.database, tmp_path, *rows)).taken == 2
    again = await import_rows(shop.database, tmp_path, rows[0] | {"Shipping Method": "Express"}, rows[1])
    assert (again.changed, again.unchanged, await places(shop)) == (1, 1, [])
    assert await shop.order_columns("5551", "shipping_method", "email") == ("Express", None)
    assert await shop.order_columns("5552", "shipping_name", "email") == ("Bob", BOB)
    carts = tmp_path / "carts.csv"
    carts.write_text(
        "Id,Email,Created at,Currency,Lineitem quantity,Lineitem sku,Lineitem price\n"
        f"C1,{ANN},2026-03-02 12:00:00 +0000,GBP,1,MUG,2.50\nC2,{BOB},2026-03-02 12:00:00 +0000,GBP,1,MUG,2.50\n"
    )
    report = await import_carts(shop.database, [carts], currency="GBP")
    assert (report.taken, await shop.sql("SELECT id FROM carts")) == (1, ["C2"])


async def test_webhooks_do_not_bring_a_forgotten_person_back(shop: Shop) -> None:  # (A7)
    await shop.sql("INSERT INTO customers (email) VALUES ('ann@customer.example')")
    await forget(shop, "ann@customer.example")
    body = json.dumps(webhooks.shopify_order()).encode()
    delivery = Delivery("shopify", "orders/create", "d1", body, "shop")
    assert (await deliveries.receive(shop.database, delivery)).status == "stored"
    assert await shop.sql("SELECT email, shipping_name, billing_name, phone FROM orders") == [(None,) * 4]
    assert await shop.sql("SELECT email FROM customers") == [None]


async def test_an_order_that_is_stored_while_its_customer_is_forgotten_does_not_keep_the_person(shop: Shop) -> None:
    """Which of the two comes first is decided by a lock of the address (A7)."""
    for number in range(20):
        await shop.sql("INSERT INTO customers (email) VALUES (:email)", email=ANN)
        placed = order(id=f"n{number}", name_key=f"n{number}", fulfillment_status="fulfilled_elsewhere")
        await asyncio.gather(forget(shop), shop.call(order_intake.store_order, placed))
        assert await places(shop) == [], number


async def test_addresses_forgotten_under_an_older_key_stay_forgotten(database_url: str) -> None:  # (A7)
    before = Database(database_url, address_digests=AddressDigests([OLD_KEY]))
    after = Database(database_url, address_digests=AddressDigests([KEY, OLD_KEY]))
    await Shop(before).sql("INSERT INTO customers (email) VALUES (:email)", email=ANN)
    await forget(Shop(before))
    await Shop(after).call(order_intake.store_order, order())
    assert await places(Shop(after)) == []
    await before.close()
    await after.close()


async def test_invoices_are_kept_as_long_as_the_settings_say(shop: Shop) -> None:  # (A7)
    await person(shop)
    keep = (datetime.now(UTC) - NOON).days + 2
    done = await forget(shop, keep_invoices=keep)
    assert (done.orders, done.invoices_kept) == (2, 1)
    columns = ("billing_name", "billing_address1", "email", "shipping_name")
    assert await shop.order_columns("1", *columns) == (WORD, WORD, None, None)
    assert await shop.order_columns("2", *columns) == (None,) * 4
    assert await shop.call(upkeep.erase_invoices, NOON - timedelta(days=1), 10) == 0
    assert await shop.call(upkeep.erase_invoices, NOON, 10) == 1
    assert await places(shop) == []


def test_a_webhook_mentions_an_address_in_whichever_form() -> None:
    assert erasure.mentions(b'{"a": ["x", {"email": " Ann@Customer.example "}]}', "ann@customer.example")
    assert erasure.mentions(b'{"e": "ann@b\\u00fccher.example"}', "ann@xn--bcher-kva.example")
    assert erasure.mentions(b"not JSON, but Ann@Customer.example", "ann@customer.example")
    assert not erasure.mentions(b'{"email": "joann@customer.example"}', "ann@customer.example")
