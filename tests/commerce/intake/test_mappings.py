"""Orders of Shopify and WooCommerce become the same typed orders as those of files, with totals that add up."""

from typing import Any

import pytest

from commerce.imports.new_order import NewOrder
from commerce.intake.platforms import Unusable, read_order
from commerce.intake.shapes import Ignored
from commerce.shipping_rules import DEFAULT_RULES
from tests.commerce.intake.webhooks import (
    WOO_ADDRESS,
    allocation,
    encoded,
    money,
    shopify_line,
    shopify_order,
    woo_line,
    woo_order,
)


def shopify(*lines: Any, **facts: Any) -> NewOrder:
    order = shopify_order(**({"line_items": list(lines)} if lines else {}) | facts)
    return taken(read_order("shopify", "orders/create", encoded(order), "shop"))


def woo(*lines: Any, **facts: Any) -> NewOrder:
    order = woo_order(**({"line_items": list(lines)} if lines else {}) | facts)
    return taken(read_order("woocommerce", "order.created", encoded(order), "shop"))


def taken(found: Any) -> NewOrder:
    assert isinstance(found, NewOrder), found
    return found


def amounts(order: NewOrder) -> tuple[int, int, int, int, int]:
    """Return goods, discount, shipping, tax and total in pence."""
    goods = sum(line.quantity * line.unit_price for line in order.lines)
    return goods, order.discount_total, order.shipping_total, order.tax_total, order.total


def test_an_order_of_shopify_is_mapped_whole() -> None:
    order = shopify()
    assert (order.id, order.external_id, order.name) == ("5678901234567", "5678901234567", "#1001")
    assert (order.payment_status, order.fulfillment_status) == ("captured", "not_fulfilled")
    assert amounts(order) == (2500, 250, 395, 440, 2645)
    assert order.taxes_included and order.currency == "GBP" and not order.warnings
    assert [(line.sku, line.title, line.quantity, line.unit_price, line.vendor) for line in order.lines] == [
        ("MUG", "Mug - White", 2, 1250, "Potter")
    ]
    assert (order.email, order.discount_code, order.tags) == ("ann@customer.example", "TENOFF", "vip, gift")
    assert (order.note, order.note_attributes, order.payment_method) == ("Ring twice", "gift: yes", "shopify_payments")
    assert (order.shipping_method, order.shipping_name, order.shipping_company) == ("Standard", "Ann Lee", "Lee & Co")
    assert (order.shipping_address1, order.shipping_address2, order.shipping_city) == (
        "1 High Street",
        "Flat 2",
        "London",
    )
    assert (order.shipping_zip, order.shipping_province, order.shipping_province_name) == ("N1 9GU", "ENG", "England")
    assert (order.shipping_country, order.shipping_phone) == ("GB", "+44 20 7946 0000")
    assert (order.billing_name, order.billing_country) == ("Ann Lee", "GB")


@pytest.mark.parametrize(
    ("status", "payment"),
    [
        ("pending", "awaiting"),
        ("authorized", "authorized"),
        ("partially_paid", "partially_captured"),
        ("paid", "captured"),
        ("partially_refunded", "partially_refunded"),
        ("refunded", "refunded"),
        ("voided", "cancelled"),
        ("expired", "expired"),
        (None, "awaiting"),
    ],
)
def test_payment_statuses_of_shopify(status: str | None, payment: str) -> None:
    assert shopify(financial_status=status).payment_status == payment


@pytest.mark.parametrize(
    ("status", "fulfillment"),
    [(None, "not_fulfilled"), ("partial", "partially_fulfilled"), ("fulfilled", "fulfilled_elsewhere")],
)
def test_fulfillment_statuses_of_shopify(status: str | None, fulfillment: str) -> None:
    line = shopify_line(fulfillment_status=status)
    assert shopify(line, fulfillment_status=status).fulfillment_status == fulfillment


def test_an_edited_order_has_what_is_left_and_its_current_total() -> None:
    order = shopify(
        shopify_line(current_quantity=1),
        shopify_line(sku="BOX", name="Box", current_quantity=0, quantity=1, discount_allocations=[]),
        current_total_price="15.20",
        current_total_tax="2.53",
        total_price="38.95",
    )
    assert [(line.sku, line.quantity) for line in order.lines] == [("MUG", 1)]
    assert amounts(order) == (1250, 125, 395, 253, 1520)
    assert not order.warnings


def test_a_refund_is_kept_as_an_amount_and_what_was_returned_is_not_shipped() -> None:
    transactions = [
        {"kind": "refund", "status": "success", "amount": "11.25"},
        {"kind": "refund", "status": "failure", "amount": "99.00"},
        {"kind": "void", "status": "success", "amount": "88.00"},
    ]
    order = shopify(
        shopify_line(current_quantity=1),
        financial_status="partially_refunded",
        refunds=[{"id": 1, "transactions": transactions}],
        current_total_price="15.20",
    )
    assert (order.refunded_total, order.total, order.payment_status) == (1125, 2645, "partially_refunded")
    assert [line.quantity for line in order.lines] == [1]


def test_a_cancelled_order_keeps_its_lines() -> None:
    """Shopify sets the current quantities of what it restocks to 0."""
    order = shopify(
        shopify_line(current_quantity=0),
        cancelled_at="2026-03-03T10:00:00Z",
        current_total_price="0.00",
        financial_status="refunded",
    )
    assert order.cancelled_at is not None and order.total == 2645 and [line.quantity for line in order.lines] == [2]


def test_tips_duties_and_discounts_on_shipping_count_once() -> None:
    tip = shopify_line(
        sku=None,
        name="Tip",
        price="2.00",
        quantity=1,
        current_quantity=1,
        requires_shipping=False,
        tip={"payment_gateway": "shopify_payments"},
        discount_allocations=[],
    )
    free = {
        "title": "Standard",
        "price": "3.95",
        "discounted_price": None,
        "discount_allocations": [allocation("3.95")],
    }
    order = shopify(
        shopify_line(),
        tip,
        total_tip_received="2.00",
        original_total_duties_set=money("3.00", "9.00"),
        total_discounts="6.45",
        shipping_lines=[free],
        current_total_price="27.50",
    )
    assert (order.tip_total, order.duties_total, order.shipping_total, order.discount_total) == (200, 300, 0, 250)
    assert order.total == 2750 and not order.warnings and len(order.lines) == 1


def test_gift_cards_need_no_shipping_and_may_have_no_sku() -> None:
    card = shopify_line(sku=None, gift_card=True, requires_shipping=False, discount_allocations=[], quantity=1,
                        current_quantity=1, price="25.00", fulfillment_status="not_eligible")  # fmt: skip
    [line] = shopify(card, current_total_price="28.95", discount_codes=None, shipping_address=None).lines
    assert (line.sku, line.requires_shipping, line.fulfillment_status) == ("", False, "not_fulfilled")


def test_test_orders_and_drafts_are_ignored() -> None:
    found = read_order("shopify", "orders/create", encoded(shopify_order(test=True)), "shop")
    assert found == Ignored("a test order")
    for status in ("checkout-draft", "auto-draft"):
        found = read_order("woocommerce", "order.updated", encoded(woo_order(status=status)), "shop")
        assert isinstance(found, Ignored)


def test_an_order_of_woocommerce_is_mapped_whole_and_adds_up() -> None:
    order = woo()
    assert (order.id, order.name, order.payment_status) == ("727", "727", "captured")
    assert amounts(order) == (1000, 100, 400, 260, 1560)
    assert order.taxes_included is False and not order.warnings
    assert [(line.sku, line.quantity, line.unit_price) for line in order.lines] == [("MUG", 1, 334), ("MUG", 2, 333)]
    assert (order.email, order.payment_method, order.payment_reference) == ("ann@customer.example", "Card", "pi_123")
    assert (order.shipping_method, order.discount_code, order.note) == ("Flat rate", "tenoff", "Ring twice")
    assert (order.note_attributes, order.shipping_phone, order.shipping_country) == ("gift: yes", "020 7946 0000", "GB")
    assert order.updated_at and order.updated_at.isoformat() == "2026-03-02T12:00:05+00:00"
    assert order.paid_at and order.paid_at.isoformat() == "2026-03-02T12:00:03+00:00"


@pytest.mark.parametrize(
    ("status", "payment", "fulfillment", "cancelled"),
    [
        ("pending", "awaiting", "not_fulfilled", False),
        ("on-hold", "awaiting", "not_fulfilled", False),
        ("failed", "awaiting", "not_fulfilled", False),
        ("wc-processing", "captured", "not_fulfilled", False),
        ("completed", "captured", "fulfilled_elsewhere", False),
        ("cancelled", "captured", "not_fulfilled", True),
        ("trash", "captured", "not_fulfilled", True),
        ("refunded", "refunded", "not_fulfilled", False),
    ],
)
def test_statuses_of_woocommerce(status: str, payment: str, fulfillment: str, cancelled: bool) -> None:
    order = woo(status=status)
    assert (order.payment_status, order.fulfillment_status) == (payment, fulfillment)
    assert (order.cancelled_at is not None) == cancelled
    assert order.refunded_total == (1560 if status == "refunded" else 0)


def test_a_cancelled_order_of_woocommerce_that_was_never_paid_has_no_money() -> None:
    assert woo(status="cancelled", date_paid_gmt=None).payment_status == "cancelled"


@pytest.mark.parametrize(
    ("facts", "payment"),
    [
        ({"payment_method": "cod", "payment_method_title": "Cash on delivery", "date_paid_gmt": None}, "awaiting"),
        ({"payment_method": "cheque", "date_paid_gmt": None}, "awaiting"),
        ({"payment_method": "cod"}, "captured"),  # the courier has brought the money
        ({"payment_method": "cod", "date_paid_gmt": None, "status": "completed"}, "captured"),
    ],
)
def test_an_order_of_woocommerce_that_is_processed_before_it_is_paid_is_not_paid(
    facts: dict[str, Any], payment: str
) -> None:
    order = woo(**facts)
    assert order.payment_status == payment
    assert order.payment_method == facts.get("payment_method_title", "Card")


def test_an_order_of_woocommerce_without_any_time_of_payment_is_paid_unless_on_delivery() -> None:
    for method, payment in (("stripe", "captured"), ("cod", "awaiting")):
        body = woo_order(payment_method=method)
        del body["date_paid_gmt"]
        order = taken(read_order("woocommerce", "order.created", encoded(body), "shop"))
        assert order.payment_status == payment


@pytest.mark.parametrize(
    ("method_id", "title", "shown"),
    [
        ("local_pickup", "Our barn", "Local pickup: Our barn"),
        ("pickup_location", "Pickup (Our barn)", "Pickup (Our barn)"),
        ("local_pickup_plus", "Local de Recogida", "Local pickup: Local de Recogida"),
        ("local_pickup", "", "Local pickup"),
        ("flat_rate", "Our barn", "Our barn"),
    ],
)
def test_v6_a_pick_up_at_woocommerce_is_one_under_any_title(method_id: str, title: str, shown: str) -> None:
    order = woo(shipping_lines=[{"id": 1, "method_title": title, "method_id": method_id, "total": "4.00"}])
    assert order.shipping_method == shown
    assert DEFAULT_RULES.is_pickup(shown) is (method_id != "flat_rate")


def test_a_gift_card_that_shopify_has_fulfilled_does_not_hold_the_goods() -> None:
    card = shopify_line(sku=None, name="Card", requires_shipping=False, fulfillment_status="fulfilled")
    assert shopify(shopify_line(), card, fulfillment_status="partial").fulfillment_status == "not_fulfilled"
    assert shopify(card, shopify_line(fulfillment_status="fulfilled"), fulfillment_status="partial").lines
    mug = shopify_line(fulfillment_status="fulfilled")
    order = shopify(shopify_line(), mug, fulfillment_status="partial")
    assert order.fulfillment_status == "partially_fulfilled"
    assert shopify(shopify_line(), fulfillment_status="partial").fulfillment_status == "partially_fulfilled"


@pytest.mark.parametrize(("amount", "payment"), [("-5.60", "partially_refunded"), ("-15.60", "refunded")])
def test_refunds_of_woocommerce_change_the_payment_although_the_status_stays(amount: str, payment: str) -> None:
    order = woo(refunds=[{"id": 1, "reason": "", "total": amount}])
    assert (order.payment_status, order.refunded_total) == (payment, int(float(amount) * -100))


def test_fees_are_lines_and_discounts() -> None:
    order = woo(fee_lines=[{"name": "Gift wrap", "total": "2.00"}, {"name": "Bulk", "total": "-1.50"}], total="16.10")
    assert order.total == 1610 and order.discount_total == 250
    assert [line.title for line in order.lines if not line.requires_shipping] == ["Gift wrap"]


def test_a_line_whose_price_was_raised_and_one_without_units() -> None:
    order = woo(woo_line(subtotal="8.00", total="9.00"), woo_line(quantity=0, sku="GONE"), total="15.60")
    assert sum(line.quantity * line.unit_price for line in order.lines) == 900
    assert {line.sku for line in order.lines} == {"MUG"} and not order.warnings


def test_without_a_shipping_address_the_billing_address_counts() -> None:
    empty = dict.fromkeys(WOO_ADDRESS, "")
    assert woo(shipping=empty).shipping_address1 == "1 High Street"


@pytest.mark.parametrize(
    ("platform", "topic", "body", "problem"),
    [
        ("shopify", "products/update", shopify_order(), "UnknownTopic"),
        ("shopify", "orders/delete", {"id": 1}, "UnknownTopic"),
        ("shopify", "", shopify_order(), "UnknownTopic"),
        ("woocommerce", "order.deleted", {"id": 727}, "UnknownTopic"),
        ("shopify", "orders/create", b"", "OddContent"),
        ("shopify", "orders/create", b"\xff\xfe", "OddContent"),
        ("shopify", "orders/create", b"[" * 100_000, "OddContent"),
        ("shopify", "orders/create", b'{"id": 1, "note": "\\ud800"}', "OddContent"),
        ("shopify", "orders/create", [], "OddContent"),
        ("shopify", "orders/create", {"id": 1}, "OddContent"),
        ("shopify", "orders/create", shopify_order(id="../../etc"), "OddContent"),
        ("shopify", "orders/create", shopify_order(currency="pounds"), "OddContent"),
        ("shopify", "orders/create", shopify_order(total_tip_received="1e999999999"), "OddContent"),
        ("shopify", "orders/create", shopify_order(total_tip_received="NaN"), "OddContent"),
        ("shopify", "orders/create", shopify_order(financial_status="mystery"), "BadOrder"),
        ("shopify", "orders/create", shopify_order(created_at="yesterday"), "BadOrder"),
        (
            "shopify",
            "orders/create",
            shopify_order(shipping_address={"country_code": "XX", "address1": "Nowhere 1"}),
            "BadOrder",
        ),
        ("woocommerce", "order.created", woo_order(status="wc-at-the-customs"), "OddContent"),
        ("woocommerce", "order.created", woo_order(line_items=[woo_line(quantity=1.5)]), "OddContent"),
        ("woocommerce", "order.created", woo_order(total="much"), "BadOrder"),
    ],
)
def test_what_cannot_be_used_has_a_reason_without_values(platform: str, topic: str, body: Any, problem: str) -> None:
    found = read_order(platform, topic, encoded(body), "shop")
    assert isinstance(found, Unusable) and found.problem == problem and found.reason
    assert not any(value in found.reason for value in ("mystery", "yesterday", "Nowhere", "pounds", "etc", "customs"))
    assert found.keeps_body == (problem != "UnknownTopic")
