"""docs/import-files.md: its maps are maps, its options exist, its messages are those of the code."""

import re
from pathlib import Path

import pytest

from commerce.imports.column_maps import Layout, built_in_maps, load_map
from commerce.imports.map_values import Value
from starter.cli.imports import carts, inventory, orders
from tests.commerce.imports.reading import read
from tests.documents import blocks
from tests.paths import ROOT

PAGE = ROOT / "docs" / "import-files.md"
TEXT = PAGE.read_text()
MAPS = [block.text for block in blocks(PAGE) if block.language == "toml"]
SOURCES = "".join(path.read_text() for path in (ROOT / "commerce" / "imports").glob("*.py"))
FILES = [
    "Receipt;Day;Time;State;Handed over;Company;Customer;Address;Rebate;Article;Text;Pieces;Sum\n"
    '7;05.11.2026;12:00;SETTLED;;;Ann Lee;"1 High Street\nFlat 2";-1,00;MUG;Mug;3;10,00\n',
    "number,created,items\n"
    "7,2026-11-05 12:00,sku:MUG|title:Mug\\: a|b|qty:3|price:3.00;sku:JUG|title:Jug|qty:1|price:1\n",
]


@pytest.mark.parametrize("number", range(len(MAPS)))
def test_a_map_of_the_page_reads_a_file(tmp_path: Path, number: int) -> None:
    (own := tmp_path / "own.toml").write_text(MAPS[number])
    (file := tmp_path / "orders.csv").write_text(FILES[number])
    order = read(file, column_map=load_map(str(own))).order
    assert (order.id, order.payment_status, order.lines[0].sku) == ("7", "captured", "MUG")
    assert sum(line.quantity for line in order.lines if line.sku == "MUG") == 3


def test_every_field_of_a_map_is_on_the_page() -> None:
    for field in (*Layout.model_fields, *Value.model_fields):
        assert field == "join" or re.search(rf"\b{field}\b", TEXT), field


def test_every_built_in_map_is_on_the_page() -> None:
    assert set(re.findall(r"^\| `([a-z]+)` \|", TEXT, re.MULTILINE)) == set(built_in_maps())


def test_every_option_of_the_page_exists() -> None:
    declared = (ROOT / "starter" / "cli" / "import_files.py").read_text() + (
        ROOT / "starter" / "cli" / "imports.py"
    ).read_text()
    parameters = {name for command in (orders, inventory, carts) for name in command.__annotations__}
    for option in set(re.findall(r"--[a-z]+(?:-[a-z]+)*", TEXT)) - {"--json"}:
        assert option in declared or option.removeprefix("--").replace("-", "_") in parameters, option


def test_every_message_of_the_page_is_in_the_code() -> None:
    table = TEXT.partition("## Messages")[2]
    for cell in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE):
        for part in re.findall(r"`([^`]+)`", cell):
            pattern = re.sub(r"UTF\\-8|Windows\\-1252", r"\\{[^}]+\\}", re.escape(part))
            assert re.search(pattern, SOURCES), part
