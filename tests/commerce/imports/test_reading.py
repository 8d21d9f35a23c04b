"""Order files are read as shops and spreadsheets write them, and a message names the real cause and its remedy."""

import gzip
import io
import os
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import pytest

from commerce.errors import UnreadableFile
from commerce.imports import text_files
from commerce.imports.csv_rows import open_rows
from commerce.imports.inventory_rows import COLUMNS as INVENTORY_COLUMNS
from commerce.imports.order_rows import COLUMNS
from tests.commerce.imports.reading import CELLS, HEADER, read, text

ONE = text({"Shipping Name": "Zoë Müller"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "orders.csv"


@pytest.mark.parametrize(
    ("separator", "note"), [(",", []), (";", ["cells are separated by ';'"]), ("\t", ["cells are separated by tabs"])]
)
@pytest.mark.parametrize("said", ["", "sep={}\n", '"sep={}"\r\n', "SEP={}\n"])
def test_any_separator_is_found_or_said(file: Path, separator: str, note: list[str], said: str) -> None:
    note_text = {"Shipping Name": "a;b, c\td; e; f"}
    file.write_text(said.format(separator) + text(note_text, {"Name": "#2"}, separator=separator))
    orders, bad, notes = read(file)
    assert ([order.id for order in orders], bad, notes) == (["1", "2"], [], note)
    assert orders[0].shipping_name == note_text["Shipping Name"]


def test_lines_are_counted_from_the_start_of_the_file(file: Path) -> None:
    file.write_text("sep=;\n" + text({"Lineitem quantity": "x"}, separator=";"))
    assert [line for line, _ in read(file).bad] == [3]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("encoding", "notes"),
    [
        ("utf-8", []),
        ("utf-8-sig", []),
        ("utf-16", ["read as UTF-16"]),
        ("utf-16-le", ["read as UTF-16-LE"]),
        ("utf-16-be", ["read as UTF-16-BE"]),
        ("utf-32", ["read as UTF-32"]),
        ("cp1252", ["read as Windows-1252, since it is not UTF-8; if letters are wrong, name another --encoding"]),
    ],
)
def test_any_encoding_and_line_end_is_found_and_said(file: Path, encoding: str, notes: list[str], end: str) -> None:
    file.write_bytes(ONE.replace("\n", end).encode(encoding))
    found = read(file)
    assert (found.order.shipping_name, found.notes) == ("Zoë Müller", notes)
    file.write_bytes(gzip.compress(file.read_bytes()))
    assert read(file) == found


@pytest.mark.parametrize("encoding", ["cp1250", "mac-roman", "iso-8859-15", "utf-16-be"])
def test_an_encoding_may_be_named(file: Path, encoding: str) -> None:
    file.write_bytes(ONE.encode(encoding))
    assert read(file, encoding=encoding).order.shipping_name == "Zoë Müller"


def test_an_unknown_encoding_is_refused_with_known_ones(file: Path) -> None:
    file.write_text(ONE)
    for name in ("latin-one", "rot13", "zlib"):
        with pytest.raises(UnreadableFile, match=r"there is no encoding .*; common ones are utf-8, "):
            read(file, encoding=name)


@pytest.mark.parametrize("late", [False, True])
def test_a_wrong_byte_in_a_utf_8_file_is_never_guessed_away(
    file: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    if late:
        monkeypatch.setattr(text_files, "SAMPLE", 1000)
    rows = text(*({"Name": f"#{number}", "Shipping Name": "Zoë"} for number in range(1, 2000)))
    data = bytearray(rows.encode())
    line = data[: data.index("Zoë".encode(), 100_000)].count(b"\n") + 1
    data[data.index("Zoë".encode(), 100_000) + 2 :][:0] = b""
    position = data.index("Zoë".encode(), 100_000) + 2
    data[position : position + 2] = b"\xeb"
    file.write_bytes(data)
    with pytest.raises(UnreadableFile) as raised:
        read(file)
    assert f"line {line}: byte 0xeb is not UTF-8 text: name the encoding of the file" in str(raised.value)


def test_letters_of_windows_1252_that_look_like_utf_8_once_do_not_make_the_file_utf_8(file: Path) -> None:
    umlauts = ["Jörg Müller", "Zoë", "Änne Größe"] * 4
    names = [*umlauts, "NESCAFÉ®", "viel Spaß“"]  # É® and ß“ are valid UTF-8
    rows = text(*({"Name": f"#{number}", "Shipping Name": name} for number, name in enumerate(names, 1)))
    file.write_bytes(rows.encode("cp1252"))
    orders, bad, notes = read(file)
    assert [order.shipping_name for order in orders] == names and bad == []
    assert notes == ["read as Windows-1252, since it is not UTF-8; if letters are wrong, name another --encoding"]


def test_a_byte_that_the_encoding_lacks_is_named_with_its_line(file: Path) -> None:
    file.write_bytes(ONE.encode("cp1252") + b"\x81")
    with pytest.raises(UnreadableFile, match="line 3: byte 0x81 is no character of Windows-1252: name the encoding"):
        read(file)


def test_the_header_may_have_any_case_and_blanks_and_empty_rows_above(file: Path) -> None:
    header = ",".join(f"  {name.upper().replace(' ', '  ')} " for name in HEADER.split(","))
    file.write_text("\n,,,\nOrders of November\n" + ONE.replace(HEADER, header))
    assert read(file).order.id == "1"


def test_the_unicode_text_of_a_spreadsheet_is_read(file: Path) -> None:
    file.write_bytes(text({"Shipping Name": "Zoë", "Lineitem price": "1,50"}, separator="\t").encode("utf-16"))
    found = read(file)
    assert (found.order.shipping_name, found.order.lines[0].unit_price) == ("Zoë", 150)
    assert found.notes == ["read as UTF-16", "cells are separated by tabs", "amounts have a decimal comma"]


def test_a_file_may_be_a_pipe(tmp_path: Path) -> None:
    out, into = os.pipe()
    with open(into, "w", encoding="utf-8") as pipe:  # noqa: PTH123 - a file descriptor
        pipe.write(ONE)
    try:
        assert read(Path(f"/dev/fd/{out}")).order.id == "1"
    finally:
        os.close(out)


@pytest.mark.parametrize("cells", ["", ",", ",,,"])
def test_empty_cells_too_many_do_no_harm(file: Path, cells: str) -> None:
    file.write_text(ONE.rstrip("\n") + cells + "\n")
    assert read(file).order.id == "1"


def test_cells_too_many_or_too_few_are_a_problem_if_they_matter(file: Path) -> None:
    width = len(HEADER.split(","))
    file.write_text(ONE.rstrip("\n") + ",x\n")
    assert read(file).bad == [(2, f"must have {width} cells like the header, not {width + 1}")]
    file.write_text(ONE.rstrip("\n").removesuffix(",") + "\n")
    assert read(file).bad == [(2, f"must have {width} cells like the header, not {width - 1}")]
    file.write_text(ONE.replace(HEADER, HEADER + ",Colour,Size"))
    assert read(file).order.id == "1"


def test_a_spreadsheet_that_is_not_csv_is_named(file: Path) -> None:
    file.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(UnreadableFile, match="it is a spreadsheet or ZIP file: save or unpack it as CSV first"):
        read(file)


def test_a_missing_column_is_named_with_the_one_that_looks_like_it(file: Path) -> None:
    file.write_text(ONE.replace("Lineitem sku", "Lineitem skus").replace("Email,", "E-Mail,"))
    with pytest.raises(UnreadableFile) as raised:
        read(file)
    assert (
        "it lacks the columns Email, Lineitem sku; 'E-Mail' looks like Email, 'Lineitem skus' looks like Lineitem sku: "
        "rename them, or say with --map FILE.toml which column is which"
    ) in str(raised.value)


AMOUNTS = [
    ("1,234.50", 123450, None),
    ("1.234,50", 123450, None),
    ("1,234,567.5", 123456750, None),
    ("1 234,50", 123450, None),
    ("1\u202f234,50", 123450, None),
    ("1'234.50", 123450, None),
    ("12,5", 1250, None),
    ("12,50", 1250, None),
    ("1234,50", 123450, None),
    ("1,234", 123400, "12.50"),
    ("1.234", 123400, "12,50"),
    ("£12.50", 1250, None),
    ("12,50 €", 1250, None),
    ("US$ 12.50", 1250, None),
    ("12.50 GBP", 1250, None),
    (" 12.50 ", 1250, None),
]


@pytest.mark.parametrize(("written", "minor", "other"), AMOUNTS)
def test_amounts_are_read_where_they_are_clear(file: Path, written: str, minor: int, other: str | None) -> None:
    others = [{"Name": "#2", "Lineitem price": other}] if other else []
    file.write_text(text({"Lineitem price": written}, *others, separator=";"), encoding="utf-8")
    orders, bad, _ = read(file)
    assert bad == [] and orders[0].lines[0].unit_price == minor


def test_the_decimal_mark_may_be_said(file: Path) -> None:
    file.write_text(text({"Lineitem price": "1,234"}, separator=";"))
    assert read(file, decimal="point").order.lines[0].unit_price == 123400
    assert read(file, decimal="comma").bad == [(2, "Lineitem price: must have at most 2 decimals in this currency")]


def test_a_number_of_units_with_two_meanings_is_refused_until_it_is_said(file: Path) -> None:
    file.write_text(text({"Lineitem quantity": "1,200", "Lineitem price": "5"}, separator=";"))
    reason = "has a ',' that may be a decimal mark or separate thousands: say --decimal point or --decimal comma"
    assert read(file, decimal=None).bad == [(2, f"Lineitem quantity: {reason}")]
    assert read(file, decimal="point").order.lines[0].quantity == 1200


@pytest.mark.parametrize("written", ["1,23,4", "12..5", "1.2.3", "1,23.456,7", "x12", "1 23", "٣"])
def test_other_amounts_are_refused(file: Path, written: str) -> None:
    file.write_text(text({"Lineitem price": written}, separator=";"), encoding="utf-8")
    assert read(file).bad == [(2, "Lineitem price: must be an amount of at least 0, like 12.50")]


def test_a_currency_symbol_is_only_read_where_the_currency_is_said(file: Path) -> None:
    plain = text({"Lineitem price": "$5.00"}, header=HEADER.replace("Currency,", "currency code,"))
    file.write_text(plain.replace("currency code", "Curr"))
    with pytest.raises(UnreadableFile, match="it lacks the columns Currency"):
        read(file)


@pytest.mark.parametrize(("written", "units"), [("1.0", 1), ("2,00", 2), ("3.0000", 3), ("1,200.0", 1200), (" 4 ", 4)])
def test_a_whole_number_may_have_zeros_as_decimals(file: Path, written: str, units: int) -> None:
    file.write_text(text({"Lineitem quantity": written}))
    assert read(file).order.lines[0].quantity == units


@pytest.mark.parametrize("written", ["1.5", "1E+03", "-1"])
def test_other_numbers_are_refused(file: Path, written: str) -> None:
    file.write_text(text({"Lineitem quantity": written}))
    ((line, reason),) = read(file).bad
    assert line == 2 and reason.startswith("Lineitem quantity: must be a whole number of at least ")


@pytest.mark.parametrize("written", ["4.54175E+12", "1,23457E+12", "1E+12"])
def test_a_sku_that_a_spreadsheet_shortened_is_refused(file: Path, written: str) -> None:
    file.write_text(f"Handle;Title;SKU;Location;Available;On hand\nmug;Mug;{written};Main;1;1\n")
    with open_rows(file, INVENTORY_COLUMNS) as rows:
        assert [row.reason().partition(" to ")[0] for row in rows] == ["SKU: was shortened by a spreadsheet"]


NOON = datetime(2026, 11, 20, 11, tzinfo=UTC)  # in Berlin
TIMES = [
    "2026-11-20 12:00:00 +0100",
    "2026-11-20T11:00:00Z",
    "2026-11-20 11:00:00 UTC",
    "2026-11-20 12:00:00",
    "2026-11-20T12:00",
    "2026/11/20 12:00",
    "20/11/2026 12:00",
    "20.11.2026 12:00:00",
    "20-11-2026 12:00",
    "11/20/2026 12:00 PM",
    "11/20/26 12:00",
    "20/11/26 12:00",
    "Nov 20, 2026 12:00:00 PM",
    "November 20th, 2026 at 12:00",
    "Fri, 20 Nov 2026 12:00:00 +0100",
    "20-Nov-2026 12:00",
    "46346.5",
    "46346,5",
]


@pytest.mark.parametrize("written", TIMES)
def test_times_are_read_where_they_are_clear(file: Path, written: str) -> None:
    file.write_text(text({"Created at": written}, separator=";"))
    found = read(file)
    assert found.order.created_at == NOON
    said = "times without an offset are those of Europe/Berlin; --timezone names another"
    assert (said in found.notes) == (not any(mark in written for mark in ("+0100", "Z", "UTC")))


def test_a_date_with_two_meanings_is_refused_until_the_file_or_an_option_decides(file: Path) -> None:
    reason = "Created at: may have the day or the month first: say --dates day-first or --dates month-first"
    file.write_text(text({"Created at": "05/11/2026"}))
    assert read(file).bad == [(2, reason)]
    assert read(file, dates="day-first").order.created_at == datetime(2026, 11, 4, 23, tzinfo=UTC)
    assert read(file, dates="month-first").order.created_at == datetime(2026, 5, 10, 22, tzinfo=UTC)
    file.write_text(text({"Created at": "05/11/2026"}, {"Name": "#2", "Created at": "13/11/2026"}))
    assert [order.created_at.month for order in read(file).orders] == [11, 11]
    file.write_text(text({"Created at": "05/11/2026"}, *({"Name": f"#{n}", "Created at": d} for n, d in
                    ((2, "13/11/2026"), (3, "11/13/2026")))))  # fmt: skip
    assert read(file).bad == [(2, reason)]


@pytest.mark.parametrize("written", ["31/02/2026", "2026-13-01 10:00", "20/11/2026 25:00", "11/20/2026 13:00 PM"])
def test_a_time_that_does_not_exist_is_refused(file: Path, written: str) -> None:
    file.write_text(text({"Created at": written}))
    assert read(file).bad == [(2, "Created at: must be a time that exists")]


def test_other_times_are_refused(file: Path) -> None:
    for written in ("yesterday", "20 novembre 2026", "12", "999999", "2026-11-20 12:00:00 CET"):
        file.write_text(text({"Created at": written}))
        ((_, reason),) = read(file).bad
        assert "must be a time like" in reason or "English month" in reason


def test_without_a_time_zone_times_must_have_an_offset(file: Path) -> None:
    for written in ("2026-11-20 12:00:00", "20/11/2026 12:00"):
        file.write_text(text({"Created at": written}))
        ((_, reason),) = read(file, timezone=None).bad
        assert "must include the offset from UTC" in reason


def test_a_late_change_of_notation_corrupts_nothing(file: Path) -> None:
    rows = [{"Name": f"#{number}", "Lineitem price": "12,50"} for number in range(5_000)]
    file.write_text(text(*rows, {"Name": "#late", "Lineitem price": "12.50"}, separator=";"))
    orders, bad, _ = read(file)
    assert bad == [] and {order.lines[0].unit_price for order in orders} == {1250}


def test_reading_takes_bounded_memory(file: Path) -> None:
    with gzip.open(file, "wt", encoding="cp1252", compresslevel=1) as packed:
        packed.write(HEADER + "\n")
        row = ",".join((CELLS | {"Shipping Name": "Müller"}).get(name, "") for name in HEADER.split(",")) + "\n"
        for _ in range(200):
            packed.write(row * 500)
    tracemalloc.start()
    try:
        with open_rows(file, COLUMNS) as rows:
            assert sum(1 for _ in rows) == 100_000
        assert tracemalloc.get_traced_memory()[1] < 32 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_the_sample_is_read_again_from_the_start() -> None:
    again = text_files._Again(b"abc", io.BytesIO(b"def"))
    assert io.BufferedReader(again, 2).read() == b"abcdef"
