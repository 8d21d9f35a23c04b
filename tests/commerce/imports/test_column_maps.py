"""Order files of other shops become orders by column maps; each layout has a made-up sample in `samples`."""

from pathlib import Path

import pytest

from commerce.errors import UnreadableFile
from commerce.imports.column_maps import built_in_maps, load_map, recognise
from commerce.imports.csv_rows import read_layout
from commerce.imports.input_file import InputFile, Reading
from commerce.imports.line_totals import split_total
from commerce.imports.new_order import NewOrder
from commerce.imports.order_rows import COLUMNS
from tests.commerce.imports.reading import Read, read

SAMPLES = Path(__file__).parent / "samples"
MUG, JUG = ("MUG", "Mug", 1, 1000), ("JUG", "Jug", 1, 1500)
# The orders of each sample: id, payment, fulfillment, currency, total, lines.
EXPECTED = {
    "woocommerce-order-per-row": [
        ("41", "captured", "not_fulfilled", "EUR", 2800, [
            ("MUG", "Mug: blue; large", 1, 334), ("MUG", "Mug: blue; large", 2, 333), JUG,
        ]),
        ("42", "captured", "fulfilled_elsewhere", "EUR", 500, [("AB", 'A "B"', 1, 500)]),
    ],
    "woocommerce-item-per-row": [
        ("51", "refunded", "not_fulfilled", "EUR", 2800, [MUG, JUG]),
        ("52", "cancelled", "not_fulfilled", "EUR", 1000, [MUG]),
    ],
    "woocommerce-item-columns": [
        ("7", "captured", "not_fulfilled", "EUR", 1800, [MUG, ("JUG", "Jug", 2, 250)]),
        ("8", "awaiting", "not_fulfilled", "EUR", 1000, [MUG]),
    ],
    "woocommerce-advanced": [
        ("101", "captured", "not_fulfilled", "GBP", 2800, [MUG, JUG]),
        ("102", "awaiting", "not_fulfilled", "GBP", 2500, [("MUG", "Mug", 1, 2500)]),
    ],
    "etsy-order-items": [
        ("3001", "captured", "not_fulfilled", "USD", 1750, [("MUG", "Mug, blue", 2, 500), ("JUG", "Jug", 1, 300)]),
        ("3002", "captured", "fulfilled_elsewhere", "USD", 300, [("JUG", "Jug", 1, 300)]),
    ],
    "bigcommerce": [
        ("186", "captured", "not_fulfilled", "USD", 27050, [
            ("8810-Small", "Leggings, blue | soft", 1, 6750), ("Capri", "Capri", 3, 6600),
        ]),
    ],
    "magento-simple-order-export": [("100000001", "captured", "not_fulfilled", "GBP", 2700, [MUG, JUG])],
    "magento-fields": [
        ("100000007", "captured", "fulfilled_elsewhere", "EUR", 2800, [MUG, JUG]),
        ("100000008", "cancelled", "not_fulfilled", "EUR", 1000, [MUG]),
    ],
}  # fmt: skip
REFUSED = {
    "woocommerce": "Date,Order #,N. Revenue,Status,Customer,Customer type,Product(s),Items sold,Coupon(s),Attribution",
    "etsy": "Sale Date,Order ID,Buyer User ID,Full Name,Number of Items,Date Shipped,Currency,Order Value,Order Total",
    "magento": "ID,Purchase Point,Purchase Date,Bill-to Name,Ship-to Name,Grand Total (Base),Status,Customer Email",
}
OWN = """
[[layout]]
title = "our till's file"
requires = ["Beleg"]
dates = "day-first"

[layout.columns]
"Name" = "Beleg"
"Financial Status" = { value = "paid" }
"Created at" = ["Tag", "Zeit"]
"Lineitem quantity" = "Menge"
"Lineitem price" = "Preis"
"Lineitem sku" = "Artikel"
"Lineitem name" = { first = ["Text", "Artikel"] }
"""


def summary(order: NewOrder) -> tuple[object, ...]:
    lines = [tuple(line)[:4] for line in order.lines]
    return (order.id, order.payment_status, order.fulfillment_status, order.currency, order.total, lines)


def read_sample(name: str) -> Read:
    return read(SAMPLES / f"{name}.csv", column_map=load_map(name.partition("-")[0]))


def test_every_built_in_map_has_a_sample() -> None:
    assert {name.partition("-")[0] for name in EXPECTED} == set(built_in_maps())
    assert {path.stem for path in SAMPLES.iterdir()} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_sample_becomes_orders(name: str) -> None:
    found = read_sample(name)
    assert found.bad == []
    assert [summary(order) for order in found.orders] == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_addresses_are_mapped(name: str) -> None:
    order = read_sample(name).orders[0]
    assert order.shipping_name == "Ann Lee" and (order.shipping_address1 or "").startswith("1 ")
    assert order.shipping_city and order.shipping_zip and order.shipping_country
    assert order.email == (None if name.startswith("etsy") else "ann@customer.example" if "columns" not in name
                           else "a@customer.example")  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_a_file_that_needs_a_map_is_recognised(name: str) -> None:
    with pytest.raises(UnreadableFile) as raised:
        read(SAMPLES / f"{name}.csv")
    assert f"commerce import orders --map {name.partition('-')[0]}" in str(raised.value)
    assert "lacks" not in str(raised.value)


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_without_items_is_refused_with_what_to_export_instead(tmp_path: Path, name: str) -> None:
    (file := tmp_path / "orders.csv").write_text(REFUSED[name] + "\n")
    with pytest.raises(UnreadableFile, match=r"it is .*: it has n.*\. (Export|Download)"):
        read(file, column_map=load_map(name))
    known = recognise(REFUSED[name].split(","))
    assert known is not None and known.map_name == name


def test_the_header_of_a_mapped_file_may_have_any_case(tmp_path: Path) -> None:
    header, rest = (SAMPLES / "bigcommerce.csv").read_text().split("\n", 1)
    (file := tmp_path / "orders.csv").write_text(header.upper().replace(",", " , ") + "\n" + rest)
    (order,) = read(file, column_map=load_map("bigcommerce")).orders
    assert summary(order) == EXPECTED["bigcommerce"][0]


def test_a_word_that_the_map_does_not_know_is_a_problem(tmp_path: Path) -> None:
    sample = (SAMPLES / "woocommerce-item-per-row.csv").read_text()
    (file := tmp_path / "orders.csv").write_text(sample.replace("failed", "packed"))
    found = read(file, column_map=load_map("woocommerce"))
    ((line, reason),) = found.bad
    assert line == 4 and "Financial Status: the map translates only these words: pending, on hold" in reason
    assert [order.id for order in found.orders] == ["51"]


def test_unreadable_items_are_a_problem(tmp_path: Path) -> None:
    sample = (SAMPLES / "bigcommerce.csv").read_text()
    file = tmp_path / "orders.csv"
    for items, reason in (
        ("", "there is no item in Product Details"),
        ("2 mugs", "items must start with Product ID:"),
        ("[{", "the items are not valid JSON"),
        ("[1]", "the items are not a list of objects"),
    ):
        file.write_text(sample[: sample.index('"Product ID: 100')] + f'"{items}"\n')
        ((line, found),) = read(file, column_map=load_map("bigcommerce")).bad
        assert (line, found) == (2, reason)


def test_an_own_map_is_a_toml_file(tmp_path: Path) -> None:
    (own := tmp_path / "till.toml").write_text(OWN)
    (file := tmp_path / "till.csv").write_text(
        "Beleg;Tag;Zeit;Menge;Preis;Artikel\n7;05.11.2026;12:00;2;12,50;MUG\n7;05.11.2026;12:00;1;1.000,00;JUG\n"
    )
    order = read(file, column_map=load_map(str(own))).order
    assert summary(order) == ("7", "captured", "not_fulfilled", "GBP", 102500, [
        ("MUG", "MUG", 2, 1250), ("JUG", "JUG", 1, 100000),
    ])  # fmt: skip
    assert order.created_at.isoformat() == "2026-11-05T11:00:00+00:00"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("[layout.columns]", "[layout.columns"), "it is not valid TOML"),
        (('title = "our till\'s file"', ""), "it is no column map: layout.0.title: Field required"),
        (('"Name" = "Beleg"', ""), "needs the column 'Name'"),
        (('"Beleg"\n"Fin', '{ column = "B", join = ["C"] }\n"Fin'), "must have one of column, join, first and value"),
        (('"Beleg"\n"Fin', '{ colum = "B" }\n"Fin'), "layout.0.columns.Name.colum: Extra inputs"),
        (('= "Menge"', '= "items.qty"'), "has no table `items`, but the column 'Lineitem quantity' is made of items"),
    ],
)
def test_a_wrong_map_says_what_is_wrong(tmp_path: Path, change: tuple[str, str], reason: str) -> None:
    changed = OWN.replace(*change)
    assert changed != OWN
    (own := tmp_path / "till.toml").write_text(changed)
    with pytest.raises(UnreadableFile) as raised:
        load_map(str(own))
    assert reason in str(raised.value)


def test_an_unknown_map_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnreadableFile, match="or one of bigcommerce, etsy, magento, woocommerce"):
        load_map("shopware")
    with pytest.raises(UnreadableFile, match="no such file"):
        load_map("shopware.toml")


def test_a_file_of_another_shop_is_refused_with_what_it_lacks() -> None:
    with pytest.raises(UnreadableFile) as raised:
        read(SAMPLES / "bigcommerce.csv", column_map=load_map("etsy"))
    assert "To be Etsy's file of order items, it lacks the columns Sale Date" in str(raised.value)


def test_a_layout_shows_what_each_column_is_made_of() -> None:
    file = InputFile.of(SAMPLES / "bigcommerce.csv", Reading(column_map=load_map("bigcommerce")))
    sources = dict(read_layout(file, COLUMNS).mapper.sources)
    assert sources["Name"] == "Order ID"
    assert sources["Shipping Name"] == "Shipping First Name + Shipping Last Name"
    assert sources["Lineitem sku"] == "items.Product SKU"
    assert "Refunded Amount" not in sources


@pytest.mark.parametrize(
    ("total", "quantity", "decimals", "parts"),
    [
        ("10.00", "3", 2, [("1", "3.34"), ("2", "3.33")]),
        ("10.00", "2", 2, [("2", "5.00")]),
        ("1000", "3", 0, [("1", "334"), ("2", "333")]),
        ("16.528925619", "1", 2, [("1", "16.53")]),
        ("0", "2", 2, [("2", "0.00")]),
        ("x", "2", 2, [("2", "x")]),
        ("10.00", "0", 2, [("0", "10.00")]),
        ("10.00", "1.5", 2, [("1.5", "10.00")]),
        ("NaN", "1", 2, [("1", "NaN")]),
    ],
)
def test_parts_of_a_line_add_up_to_its_total(
    total: str, quantity: str, decimals: int, parts: list[tuple[str, str]]
) -> None:
    assert list(split_total(total, quantity, decimals)) == parts
