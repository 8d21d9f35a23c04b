"""Everything in a shop admin's export is read: statuses, amounts, addresses; what is odd is taken and reported."""

import pytest

from commerce.imports import ImportReport
from commerce.imports.order_head import ROUNDED_ID
from commerce.imports.order_parser import ROUNDED_SKU
from commerce.imports.order_rows import HEAD_COLUMNS, IGNORED_COLUMNS, LINE_COLUMNS
from commerce.imports.order_statuses import LINES_DIFFER
from tests.commerce.imports.order_files import EXPORT, Import, first, further
from tests.commerce.shop import Shop


def warnings(report: ImportReport) -> list[tuple[int, str]]:
    assert (report.bad, report.warning_count) == ([], len(report.warnings))
    return [(warning.line, warning.reason) for warning in report.warnings]


def test_every_column_of_the_export_is_known() -> None:
    known = {*HEAD_COLUMNS.values(), *LINE_COLUMNS.values(), *IGNORED_COLUMNS}
    assert known - set(EXPORT) == {"Lineitem refunded quantity"} and set(EXPORT) <= known


@pytest.mark.parametrize(
    ("exported", "stored"),
    [
        ("paid", "captured"), ("pending", "awaiting"), ("authorized", "authorized"), ("expired", "expired"),
        ("partially_paid", "partially_captured"), ("Partially Paid", "partially_captured"),
        ("partially_refunded", "partially_refunded"), ("refunded", "refunded"), ("voided", "cancelled"),
    ],
)  # fmt: skip
async def test_all_payment_statuses_are_known(shop: Shop, load: Import, exported: str, stored: str) -> None:
    assert warnings(await load(first(Financial_Status=exported))) == []
    assert await shop.sql("SELECT payment_status FROM orders") == [stored]


@pytest.mark.parametrize(
    ("exported", "stored"),
    [
        ("", "not_fulfilled"), ("unfulfilled", "not_fulfilled"), ("partial", "partially_fulfilled"),
        ("fulfilled", "fulfilled_elsewhere"), ("restocked", "restocked"), ("scheduled", "scheduled"),
        ("on_hold", "on_hold"), ("On hold", "on_hold"),
    ],
)  # fmt: skip
async def test_all_fulfillment_statuses_are_known(shop: Shop, load: Import, exported: str, stored: str) -> None:
    assert warnings(await load(first(Fulfillment_Status=exported))) == []
    assert await shop.sql("SELECT fulfillment_status FROM orders") == [stored]


@pytest.mark.parametrize(
    ("order", "lines", "stored", "odd"),
    [
        ("unfulfilled", ("pending", "unfulfilled"), "not_fulfilled", False),
        ("on_hold", ("on_hold", "scheduled"), "on_hold", False),
        ("fulfilled", ("fulfilled", "restocked"), "fulfilled_elsewhere", False),
        ("partial", ("fulfilled", "pending"), "partially_fulfilled", False),
        ("unfulfilled", ("restocked", "pending"), "partially_fulfilled", True),
        ("", ("partial", "partial"), "partially_fulfilled", True),
        ("", ("fulfilled", "fulfilled"), "fulfilled_elsewhere", True),
        ("on_hold", ("restocked", "restocked"), "restocked", True),
    ],
)
async def test_a_line_that_needs_no_fulfillment_is_never_shipped_with_its_order(
    shop: Shop, load: Import, order: str, lines: tuple[str, str], stored: str, odd: bool
) -> None:
    one, two = lines
    report = await load(
        first(Fulfillment_Status=order, Lineitem_fulfillment_status=one), further(Lineitem_fulfillment_status=two)
    )
    assert warnings(report) == ([(2, f"Fulfillment Status: {LINES_DIFFER}")] if odd else [])
    assert await shop.sql("SELECT fulfillment_status FROM orders") == [stored]


async def test_an_unknown_status_of_a_line_is_reported_and_the_order_counts(shop: Shop, load: Import) -> None:
    [(line, reason)] = warnings(await load(first(), further(Lineitem_fulfillment_status="lost")))
    assert line == 3 and reason.startswith("Lineitem fulfillment status: must be") and reason.endswith("it is ignored")
    assert await shop.sql("SELECT fulfillment_status FROM order_lines") == ["not_fulfilled"] * 2


async def test_addresses_amounts_and_notes_are_stored_whole(shop: Shop, load: Import) -> None:
    report = await load(
        first(
            Subtotal="45.00", Taxes="9.00", Total="58.00", Discount_Code="TEN", Discount_Amount="5.00",
            Duties="2.50", Refunded_Amount="1.00", Outstanding_Balance="-3.00", Payment_Method="Card",
            Payment_Reference="c123", Risk_Level="High", Notes="Ring\ntwice", Note_Attributes="gift: yes",
            Tags="vip, gift", Shipping_Company="Acme", Shipping_Address1="1 High Street", Shipping_Address2="Flat 7",
            Shipping_Province="SRY", Shipping_Province_Name="Surrey", Phone="'+44 20", Billing_Name="Bob",
            Billing_Company="B Ltd", Billing_Address1="2 Low Street", Billing_Address2="Rear", Billing_City="Leeds",
            Billing_Zip="'LS1", Billing_Province="YKS", Billing_Country="GB", Vendor="Mugs Inc",
            Lineitem_discount="5.00",
        ),
        further(Lineitem_quantity="1", Lineitem_price="25"),
    )  # fmt: skip
    assert warnings(report) == [(2, "Total: is 2.50 less than the lines, discounts, shipping, taxes, duties and tips "
                                    "add up to; the total counts")]  # fmt: skip
    [order] = await shop.sql("SELECT to_jsonb(orders) FROM orders")
    expected = {
        "discount_code": "TEN", "discount_total": 500, "tax_total": 900, "duties_total": 250, "total": 5800,
        "taxes_included": False, "refunded_total": 100, "outstanding_total": -300, "payment_method": "Card",
        "payment_reference": "c123", "risk_level": "high", "note": "Ring\ntwice", "note_attributes": "gift: yes",
        "tags": "vip, gift", "shipping_company": "Acme", "shipping_address1": "1 High Street",
        "shipping_address2": "Flat 7", "shipping_province": "SRY", "shipping_province_name": "Surrey",
        "phone": "+44 20", "billing_name": "Bob", "billing_company": "B Ltd", "billing_address1": "2 Low Street",
        "billing_address2": "Rear", "billing_city": "Leeds", "billing_zip": "LS1", "billing_province": "YKS",
        "billing_country": "GB", "revision": 1,
    }  # fmt: skip
    assert {name: order[name] for name in expected} == expected
    assert await shop.sql("SELECT vendor, discount FROM order_lines ORDER BY position") == [
        ("Mugs Inc", 500),
        (None, 0),
    ]


async def test_what_is_only_kept_never_refuses_an_order(shop: Shop, load: Import) -> None:
    report = await load(
        first(Taxes="n/a", Subtotal="?", Refunded_Amount="-", Notes="a\0" + "x" * 9_000, Tags="t" * 9_000,
              Payment_Method="m" * 999, Billing_Name="b" * 9_000, Lineitem_discount="half", Vendor="v" * 999)
    )  # fmt: skip
    assert [line for line, _ in warnings(report)] == [2] * 4
    assert await shop.sql(
        "SELECT length(note), length(tags), length(payment_method), length(billing_name) FROM orders"
    ) == [(5_000, 5_000, 255, 1_000)]


async def test_amounts_may_have_separators_symbols_and_codes(shop: Shop, load: Import) -> None:
    row = first(Total="£1,234.50", Shipping="GBP 34.50", Lineitem_quantity="1", Lineitem_price="1.200,00")
    assert warnings(await load(row)) == []
    assert await shop.sql("SELECT total, shipping_total FROM orders") == [(123_450, 3_450)]


async def test_a_whole_quantity_may_have_decimals(shop: Shop, load: Import) -> None:
    assert warnings(await load(first(Lineitem_quantity="1.0"), further(Lineitem_quantity="2.0000"))) == []
    assert await shop.sql("SELECT quantity FROM order_lines ORDER BY position") == [1, 2]


async def test_a_line_without_units_is_left_out(shop: Shop, load: Import) -> None:
    assert warnings(await load(first(Lineitem_quantity="0"), further())) == [(2, "a line with quantity 0 is left out")]
    assert await shop.sql("SELECT position, quantity FROM order_lines") == [(1, 2)]
    assert warnings(await load(first(Name="#2", Id="2", Lineitem_quantity="0"))) == [
        (2, "a line with quantity 0 is left out"),
        (2, "no line is left, so there is nothing to fulfill"),
    ]
    assert await shop.sql("SELECT count(*) FROM order_lines") == [1]


async def test_a_line_with_a_negative_price_is_a_discount_and_no_goods(shop: Shop, load: Import) -> None:
    report = await load(first(), further(Lineitem_name="Discount", Lineitem_quantity="1", Lineitem_price="-5.00"))
    assert warnings(report) == [(2, "a line with a negative price is taken as a discount")]
    assert await shop.sql("SELECT total, discount_total FROM orders") == [(2_400, 500)]
    assert await shop.sql("SELECT sku, quantity FROM order_lines") == [("MUG", 2)]


async def test_discounts_and_refunds_may_be_negative(shop: Shop, load: Import) -> None:
    assert warnings(await load(first(Discount_Amount="-5.00", Refunded_Amount="-1", Total="24.00"))) == []
    assert await shop.sql("SELECT discount_total, refunded_total FROM orders") == [(500, 100)]


async def test_a_rounded_sku_is_reported(shop: Shop, load: Import) -> None:
    assert warnings(await load(first(), further(Lineitem_sku="1.23457E+12"))) == [(3, f"Lineitem sku: {ROUNDED_SKU}")]
    assert warnings(await load(first(Name="#2", Id="2", Lineitem_sku="12E+5 red"))) == []


async def test_an_order_with_a_rounded_id_is_known_by_its_name(shop: Shop, load: Import) -> None:
    rows = [first(Name="#S1", Id="4.54175E+12"), first(Name="#S2", Id="4.54175E+12")]
    assert warnings(await load(*rows)) == [(2, f"Id: {ROUNDED_ID}"), (3, f"Id: {ROUNDED_ID}")]
    assert (await load(first(Name="#S1", Id="4541750000001"))).unchanged == 1
    assert await shop.sql("SELECT id, external_id FROM orders ORDER BY id") == [("S1", "4541750000001"), ("S2", None)]
    [bad] = (await load(first(Name="1.2E+12", Id=""))).bad
    assert bad.reason.startswith("Name: is a number that a spreadsheet has rounded")


async def test_a_total_that_does_not_add_up_is_taken_and_reported(shop: Shop, load: Import) -> None:
    [(line, reason)] = warnings(await load(first(Total="15.00")))
    assert line == 2 and reason.startswith("Total: is 14.00 less than the lines, discounts, shipping, taxes")
    assert await shop.sql("SELECT total FROM orders") == [1_500]
