"""`parse_order` applies the same rules to orders from files and over HTTP, and reports errors by field."""

from dataclasses import replace

import pytest

from commerce.imports.new_order import NewOrder, NewOrderLine
from commerce.imports.order_parser import MAX_LINES, OrderHead, OrderLine, parse_order
from commerce.messages.base import FieldError

HEAD = OrderHead(id="1001", financial_status="paid", created_at="2026-03-02 12:00:00 +0000")
LINE = OrderLine(sku="MUG", name="Mug", quantity=2, price="12.50", requires_shipping=True)


def parse(head: OrderHead = HEAD, *lines: OrderLine) -> NewOrder:
    order = parse_order(head, lines or [LINE], currency="GBP")
    assert isinstance(order, NewOrder)
    return order


def errors(head: OrderHead = HEAD, *lines: OrderLine) -> list[tuple[str, str]]:
    found = parse_order(head, lines or [LINE], currency="GBP")
    assert isinstance(found, list) and all(isinstance(error, FieldError) for error in found)
    return [(error.field, error.message) for error in found]


def test_an_order_is_returned_in_the_terms_of_the_shop() -> None:
    order = parse(replace(HEAD, shipping="3.95", shipping_city=" London "))
    assert (order.payment_status, order.fulfillment_status, order.currency) == ("captured", "not_fulfilled", "GBP")
    assert (order.shipping_total, order.total, order.shipping_city) == (395, 2895, "London")
    assert order.lines == (NewOrderLine("MUG", "Mug", 2, 1250, True),)


@pytest.mark.parametrize(
    "line",
    [
        LINE._replace(quantity="2"),
        LINE._replace(quantity=" 2 ", price=" 12.5", sku="MUG "),
        LINE._replace(requires_shipping="TRUE"),
        LINE._replace(requires_shipping=""),
    ],
)
def test_text_and_typed_values_mean_the_same(line: OrderLine) -> None:
    assert parse(HEAD, line) == parse(HEAD, LINE)


def test_empty_text_and_none_mean_the_same() -> None:
    optional = set(OrderHead.__dataclass_fields__) - {"id", "financial_status", "created_at"}
    assert parse(replace(HEAD, **dict.fromkeys(optional, ""))) == parse(HEAD)


def test_all_errors_are_returned_by_field() -> None:
    head = replace(HEAD, currency="pounds", total="free", created_at="yesterday")
    assert [field for field, _ in errors(head, LINE, LINE._replace(quantity=-1, price="x"))] == [
        *("currency", "total", "created_at", "lines.1.quantity", "lines.1.price"),
    ]


def test_an_address_without_a_country_is_warned_of() -> None:
    def fields(**values: str | None) -> list[str]:
        address = {"shipping_method": "Standard", "shipping_city": "London", "shipping_country": None} | values
        return [warning.field for warning in parse(replace(HEAD, **address)).warnings]  # type: ignore[arg-type]

    assert fields() == ["shipping_country"]
    for harmless in (
        {"shipping_country": "GB"},
        {"shipping_method": None},
        {"shipping_city": None},  # as of a pick-up
        {"fulfillment_status": "fulfilled"},
        {"cancelled_at": "2026-03-02 13:00:00 +0000"},
    ):
        assert fields(**harmless) == []
    order = parse_order(
        replace(HEAD, shipping_method="Standard", shipping_city="London"),
        [LINE._replace(requires_shipping=False)],
        currency="GBP",
    )
    assert isinstance(order, NewOrder) and order.warnings == ()


def test_prices_are_in_the_currency_of_the_order() -> None:
    assert errors(replace(HEAD, currency="JPY")) == [
        ("lines.0.price", "must have at most 0 decimals in this currency"),
    ]
    assert parse(replace(HEAD, currency="kwd")).total == 25_000


@pytest.mark.parametrize("total", [None, "1.00"])
def test_lines_that_add_up_to_too_much_are_an_error_whatever_the_total_says(total: str | None) -> None:
    huge = LINE._replace(quantity=10_000, price="9" * 13)
    assert [field for field, _ in errors(replace(HEAD, total=total), huge)] == ["total"]


def test_an_order_has_no_more_units_than_the_shop_can_count() -> None:
    assert errors(HEAD, *[LINE._replace(quantity=2**31 - 1, price="0")] * 2) == [
        ("lines", "must have at most 2,147,483,647 units together")
    ]


def test_a_total_that_is_too_large_is_an_error_of_the_total() -> None:
    assert [field for field, _ in errors(HEAD, LINE._replace(quantity=90, price="9" * 13))] == ["total"]


def test_the_number_of_lines_is_limited() -> None:
    assert len(parse(HEAD, *[LINE] * MAX_LINES).lines) == MAX_LINES
    assert errors(HEAD, *[LINE] * (MAX_LINES + 1)) == [("lines", "must have at most 10,000 entries")]
