"""The commands `commerce import …`: what they report, what they suggest next, and their exit codes."""

import asyncio
import csv
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from commerce.database import Database
from commerce.imports import Options, Reading, import_orders
from starter.cli import import_files
from tests.commerce.imports.reading import HEADER, text
from tests.commerce.shop import Shop
from tests.starter.cli.conftest import Commerce

SAMPLES = Path(__file__).parents[2] / "commerce" / "imports" / "samples"


@pytest.fixture
def shop(database: Database) -> Shop:
    return Shop(database)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "orders.csv"


async def orders(shop: Shop) -> list[Any]:
    return await shop.sql("SELECT id FROM orders ORDER BY id")


GOOD_AND_BAD = text(
    {"Name": "#1"}, {"Name": "#2", "Lineitem quantity": "x"}, {"Name": "#3", "Financial Status": "pending"}
)


async def test_a_refusal_ends_with_the_command_that_imports_the_rest(shop: Shop, commerce: Commerce, file: Any) -> None:
    file.write_text(GOOD_AND_BAD)
    refused = await commerce("import", "orders", "--timezone", "Europe/Berlin", str(file))
    assert refused.code == 1 and await orders(shop) == []
    command = refused.err.strip().splitlines()[-1].partition("To import the rest: ")[2]
    assert command == f"commerce import orders --skip-bad --timezone Europe/Berlin {file}"
    rest = await commerce(*command.split()[1:])
    assert rest.code == 1 and "1 bad row: left out" in rest.err
    assert await orders(shop) == ["1", "3"]
    again = await commerce(*command.split()[1:])
    assert again.code == 1 and "0 orders imported, 2 known already" in again.out


async def test_a_dry_run_shows_what_would_happen_and_imports_nothing(shop: Shop, commerce: Commerce, file: Any) -> None:
    file.write_text(GOOD_AND_BAD)
    tried = await commerce("import", "orders", "--dry-run", str(file))
    assert tried.code == 1 and await orders(shop) == []
    assert (
        "3 rows read: 2 orders would be imported, 0 known already, 1 row refused; 0 more orders would be processed\n"
        "1 more order would wait for products that are not known here\n"
    ) in tried.out
    assert f"{file}:3: Lineitem quantity: must be a whole number of at least 0" in tried.err
    assert tried.err.strip().endswith(f"To import: commerce import orders --skip-bad {file}")
    file.write_text(text({"Name": "#1"}))
    await shop.variant("MUG")
    tried = await commerce("import", "orders", "--dry-run", "--json", str(file))
    assert tried.code == 0 and (tried.json["taken"], tried.json["dry_run"], tried.json["to_process"]) == (1, True, 1)
    assert await orders(shop) == []


async def test_an_import_says_what_will_be_processed_and_what_waits(shop: Shop, commerce: Commerce, file: Any) -> None:
    file.write_text(text({"Name": "#1"}))
    waiting = await commerce("import", "orders", str(file))
    assert waiting.out.splitlines()[-1:] == [
        "1 order waits for products that are not known here: see commerce products unlinked"
    ]
    await shop.variant("MUG")
    file.write_text(text({"Name": "#2"}) + text({"Name": "#3"}).split("\n", 1)[1])
    pending = await commerce("import", "orders", str(file))
    assert pending.out.splitlines()[-1] == (  # the import has linked the first order too
        "3 orders will be processed by the next run of process-pending-orders: see commerce schedules list"
    )
    again = await commerce("import", "orders", str(file))
    assert "see commerce" not in again.out


async def test_a_dry_run_of_carts_counts_changed_ones(shop: Shop, commerce: Commerce, tmp_path: Path) -> None:
    header = "Id,Email,Created at,Updated at,Completed at,Currency,Lineitem quantity,Lineitem sku,Lineitem price\n"
    row = "{},a@b.example,2026-11-20 20:00:00 +0000,2026-11-{} 20:00:00 +0000,,GBP,1,MUG,10.00\n"
    (day1 := tmp_path / "day1.csv").write_text(header + row.format("a", 21) + row.format("b", 21))
    (day2 := tmp_path / "day2.csv").write_text(header + row.format("a", 22) + row.format("b", 21) + row.format("c", 22))
    assert (await commerce("import", "carts", str(day1))).code == 0
    tried = await commerce("import", "carts", "--dry-run", str(day2))
    assert tried.code == 0 and "1 cart would be imported, 1 changed, 1 known already" in tried.out
    done = await commerce("import", "carts", str(day2))
    assert done.code == 0 and "1 cart imported, 1 changed, 1 known already" in done.out


async def test_refused_rows_are_written_with_reasons_and_with_their_whole_order(
    shop: Shop, commerce: Commerce, file: Any, tmp_path: Path
) -> None:
    rows = text(
        {"Name": "#1"},
        {"Name": "#2", "Email": "=cmd@x.example", "Shipping Name": "@SUM(1)", "Lineitem sku": "-1+1"},
        {
            "Name": "#2",
            **dict.fromkeys(("Email", "Financial Status", "Currency", "Created at"), ""),
            "Lineitem price": "x",
        },
        {"Name": "#3"},
    )
    file.write_text(rows)
    report = tmp_path / "refused.csv"
    report.write_text("older")
    report.chmod(0o644)
    refused = await commerce("import", "orders", "--skip-bad", "--report", str(report), str(file))
    assert refused.code == 1 and f"2 rows with reasons written to {report}" in refused.err
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    with report.open(newline="", encoding="utf-8-sig") as opened:
        header, *written = csv.reader(opened)
    assert header == ["File", "Line", "Reason", *HEADER.split(",")]
    cells = [dict(zip(header, row, strict=True)) for row in written]
    assert [(row["Line"], row["Reason"].partition(":")[0]) for row in cells] == [
        ("3", "belongs to a refused row"),
        ("4", "Lineitem price"),
    ]
    assert cells[0]["Shipping Name"] == "'@SUM(1)" and cells[0]["Email"].startswith("'=cmd")
    assert cells[0]["Lineitem sku"] == "'-1+1" and cells[1]["Lineitem price"] == "x"


async def test_a_report_never_overwrites_a_file_to_import(commerce: Commerce, file: Any) -> None:
    file.write_text(GOOD_AND_BAD)
    refused = await commerce("import", "orders", "--report", str(file), str(file))
    assert refused.code == 2 and "must not be a file to import" in refused.err
    assert file.read_text() == GOOD_AND_BAD


async def test_refused_rows_of_a_map_are_written_in_our_columns(commerce: Commerce, tmp_path: Path) -> None:
    sample = (SAMPLES / "woocommerce-item-per-row.csv").read_text().replace("failed", "packed")
    (file := tmp_path / "woo.csv").write_text(sample)
    report = tmp_path / "refused.csv"
    refused = await commerce("import", "orders", "--map", "woocommerce", "--report", str(report), str(file))
    assert refused.code == 1
    lines = report.read_text(encoding="utf-8-sig").splitlines()
    assert lines[0].startswith("File,Line,Reason,Name,Id,Email,Financial Status") and len(lines) == 2
    assert "--skip-bad --map woocommerce --report" in refused.err


async def test_all_refused_rows_are_written_and_only_the_first_shown(commerce: Commerce, file: Any) -> None:
    file.write_text(text(*({"Name": f"#{n}", "Lineitem quantity": "x"} for n in range(1_500))))
    report = file.parent / "refused.csv"
    refused = await commerce("import", "orders", "--report", str(report), str(file))
    assert refused.code == 1 and "only the first 20 bad rows are shown" in refused.err
    assert len(report.read_text().splitlines()) == 1_501


async def test_a_map_a_zone_and_what_was_found_out_are_reported(
    shop: Shop, commerce: Commerce, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMMERCE_TIMEZONE", "America/New_York")
    file = SAMPLES / "etsy-order-items.csv"
    done = await commerce("import", "orders", "--map", "etsy", str(file))
    assert done.code == 0 and "2 orders imported" in done.out
    assert f"{file}: times without an offset are those of America/New_York; --timezone names another" in done.out
    (created,) = await shop.sql("SELECT created_at FROM orders WHERE id = '3001'")
    assert created.isoformat().startswith("2026-11-05T05:00")
    known = await commerce("import", "orders", "--map", "etsy", "--json", str(file))
    assert known.code == 0 and known.json["unchanged"] == 2 and len(known.json["notes"]) == 1


async def test_columns_are_shown_without_a_database(
    commerce: Commerce, file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMMERCE_DATABASE_URL", "postgresql://u@127.0.0.1:1/none")
    file.write_text("sep=;\n" + text({}, separator=";").replace("Email", " E-MAIL ".replace("-", ""), 1))
    shown = await commerce("import", "orders", "--show-columns", str(file))
    assert shown.code == 0 and "separated by ';'" in shown.out and "EMAIL" in shown.out
    as_json = await commerce("import", "orders", "--show-columns", "--json", str(file))
    layout = as_json.json[str(file)]
    assert (layout["separator"], layout["encoding"], layout["columns"]["Email"]) == (";", "utf-8", "EMAIL")
    mapped = await commerce(
        "import", "orders", "--map", "bigcommerce", "--show-columns", "--json", str(SAMPLES / "bigcommerce.csv")
    )
    layout = mapped.json[str(SAMPLES / "bigcommerce.csv")]
    assert layout["columns"]["Shipping City"] == "Shipping Suburb" and "Total Quantity" in layout["ignored"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--timezone", "Mars/Olympus"], "there is no time zone Mars/Olympus"),
        (["--dates", "middle"], "must be day-first or month-first"),
        (["--decimal", "dot"], "must be point or comma"),
        (["--currency", "pounds"], "must be three letters, like GBP"),
    ],
)
async def test_a_wrong_option_is_wrong_usage(commerce: Commerce, file: Any, options: list[str], message: str) -> None:
    file.write_text(text({}))
    ended = await commerce("import", "orders", *options, str(file))
    assert ended.code == 2 and message in ended.err and len(ended.err.strip().splitlines()) == 1


async def test_an_unknown_map_or_encoding_is_a_failure_with_the_known_ones(commerce: Commerce, file: Any) -> None:
    file.write_text(text({}))
    ended = await commerce("import", "orders", "--map", "shopware", str(file))
    assert ended.code == 1 and "bigcommerce, etsy, magento, woocommerce" in ended.err
    ended = await commerce("import", "orders", "--encoding", "martian", str(file))
    assert ended.code == 1 and "there is no encoding martian" in ended.err


async def test_progress_is_printed_where_there_is_no_terminal(
    commerce: Commerce, file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_files, "LINE_SECONDS", 0)
    monkeypatch.setattr(import_files, "TICK", 0.001)
    monkeypatch.setattr(import_files, "STORING_SECONDS", 0)
    file.write_text(text(*({"Name": f"#{n}"} for n in range(10_001))))
    done = await commerce("import", "orders", str(file))
    assert done.code == 0
    assert "10,000 rows read" in done.err and "10,001 rows read, storing them for 0 s" in done.err


async def test_an_interrupted_import_says_that_nothing_was_imported(shop: Shop, tmp_path: Path) -> None:
    (before := tmp_path / "before.csv").write_text(text({"Name": "#0"}))
    (file := tmp_path / "big.csv").write_text(text(*({"Name": f"#{n}"} for n in range(1, 30_000))))
    said: list[str] = []
    importing: asyncio.Task[Any]

    def cancel(rows: int) -> None:
        if rows > 10_000:
            importing.cancel()

    importing = asyncio.create_task(
        import_orders(
            shop.database,
            [before, file],
            currency="GBP",
            progress=cancel,
            options=Options(reading=Reading(), on_interrupt=said.append),
        )
    )
    with pytest.raises(asyncio.CancelledError):
        await importing
    assert said == [f"nothing of {file} was imported; imported before it: {before}"]
    assert await orders(shop) == ["0"]


async def test_ctrl_c_prints_what_became_of_the_files(
    commerce: Commerce, file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(text({}))

    async def interrupt(*_: Any, options: Options, **__: Any) -> None:
        assert options.on_interrupt is not None
        options.on_interrupt(f"nothing of {file} was imported")
        raise KeyboardInterrupt

    monkeypatch.setattr("commerce.imports.import_orders", interrupt)
    ended = await commerce("import", "orders", str(file))
    assert ended.code == 130 and f"Interrupted: nothing of {file} was imported" in ended.err


def test_reports_are_json(tmp_path: Path) -> None:
    from commerce.imports import ImportReport

    one = ImportReport(read=1, taken=1, changed=1, notes=["a"])
    both = one + ImportReport(read=2, taken=1, to_process=3, dry_run=True, notes=["a", "b"])
    assert json.loads(both.model_dump_json()) == {
        **ImportReport().model_dump(),
        "read": 3,
        "taken": 2,
        "changed": 1,
        "to_process": 3,
        "dry_run": True,
        "notes": ["a", "b"],
    }
