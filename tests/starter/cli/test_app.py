"""The command line: its output, and the exit codes that programs rely on."""

import gc
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from commerce.countries import INVALID_COUNTRY
from commerce.imports.order_rows import COLUMNS
from commerce.version import NAME, VERSION
from starter.devstack.postgres import MIGRATOR
from tests.conftest import run_sql
from tests.faults import Gate
from tests.forks import completed
from tests.running_shop import RunningShop
from tests.servers import url_of
from tests.starter.cli.conftest import Commerce


def is_one_line(text: str) -> bool:
    return len(text.strip().splitlines()) == 1 and "Traceback" not in text


async def test_start_waits_and_prints_the_result(shop: RunningShop, commerce: Commerce) -> None:
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", MUG=1)
    async with shop.worker():
        ended = await commerce("start", "order-processing", "--input", '{"order_id": "1"}', "--json")
        assert ended.code == 0
        assert json.loads(ended.out[ended.out.index("{") :])["status"] == "fulfilled"
        followed = await commerce("start", "order-processing", "--input", '{"order_id": "1"}', "--follow")
        assert "✓ validate-order" in followed.out and "fulfilled" in followed.out


async def test_start_reports_in_one_line_why_an_order_fails(
    shop: RunningShop, commerce: Commerce, errors_of_commands: list[str]
) -> None:
    await shop.data.stock("MUG", main=3)
    await shop.data.order("unpaid", MUG=1, columns={"payment_status": "authorized"})
    async with shop.worker():
        unknown = await commerce("start", "order-processing", "--input", '{"order_id": "nope"}')
        assert unknown.code == 1 and "OrderNotFound: Order nope does not exist." in unknown.err
        unpaid = await commerce("start", "order-processing", "--input", '{"order_id": "unpaid"}')
        assert unpaid.code == 1 and "PaymentNotCaptured" in unpaid.err and "authorized" in unpaid.err
        # Nothing else may be printed, not even by tasks and connections that Python garbage-collects.
        followed = await commerce("start", "order-processing", "--input", '{"order_id": "nope"}', "--follow")
        gc.collect()
        assert followed.code == 1 and "Traceback" not in followed.err and errors_of_commands == []
        assert followed.err.splitlines() == [
            "order-processing-nope is running",
            "OrderNotFound: Order nope does not exist.",
        ]


async def test_an_import_prints_its_warnings_and_succeeds(commerce: Commerce, tmp_path: Path) -> None:
    header = [*COLUMNS.required]
    row = dict.fromkeys(header, "") | {
        "Name": "#1",
        "Financial Status": "paid",
        "Created at": "2010-11-15 08:34:00 +0000",
        "Lineitem quantity": "1",
        "Lineitem price": "1.00",
        "Shipping Country": "Atlantis",
    }
    (file := tmp_path / "orders.csv").write_text(f"{','.join(header)}\n{','.join(row.values())}\n")
    ended = await commerce("import", "orders", str(file))
    assert ended.code == 0 and "1 order imported" in ended.out
    assert ended.err.splitlines() == [
        f"{file}:2: warning: Shipping Country: {INVALID_COUNTRY}",
    ]


async def test_start_refuses_a_future_day_in_one_line(shop: RunningShop, commerce: Commerce) -> None:
    ended = await commerce("start", "collect-analytics-data", "--input", '{"date": "2999-01-01"}')
    assert (ended.code, is_one_line(ended.err)) == (2, True) and "date: must not be in the future" in ended.err


async def test_with_json_a_followed_run_prints_only_json(shop: RunningShop, commerce: Commerce) -> None:
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", MUG=1)
    async with shop.worker():
        ended = await commerce("start", "order-processing", "--input", '{"order_id": "1"}', "--follow", "--json")
    assert json.loads(ended.out[ended.out.index("{") :])["status"] == "fulfilled"  # the worker's log comes before it
    assert "✓ validate-order" in ended.err and "✓ validate-order" not in ended.out


async def test_a_result_is_printed_as_text(shop: RunningShop, commerce: Commerce) -> None:
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", MUG=4)
    async with shop.worker():
        ended = await commerce("start", "order-processing", "--input", '{"order_id": "1"}')
    lines = [line.strip() for line in ended.out.splitlines()]
    assert {"tracking_number  –", "inventory_reserved  no"} <= set(lines)
    assert "sku MUG, requested 4, available 3" in next(line for line in lines if line.startswith("insufficient_items"))


async def test_start_does_not_wait_with_no_wait(shop: RunningShop, commerce: Commerce) -> None:
    start = ("start", "order-processing", "--input", '{"order_id": "1"}', "--no-wait")
    assert await commerce(*start) == (0, "", "order-processing-1 is running\n")
    assert json.loads((await commerce(*start, "--json")).out)["transaction_id"] == "order-processing-1"
    await shop.handle("1").terminate()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["start", "nonsense"], "Unknown workflow: nonsense"),
        (["start", "order-processing"], "order_id: Field required"),
        (["start", "order-processing", "--input", "{"], "Invalid JSON"),
        (["start", "order-processing", "--input", '{"order_id": "a b"}'], "order_id"),
        (["start", "order-processing", "--no-wait", "--follow"], "--follow waits for the end"),
        (["nonsense"], "No such command"),
        (["import", "orders"], "Missing argument"),
    ],
)
async def test_wrong_usage_is_one_line_and_exit_code_2(commerce: Commerce, arguments: list[str], message: str) -> None:
    ended = await commerce(*arguments)
    assert ended.code == 2 and message in ended.err and is_one_line(ended.err)


async def test_a_wrong_setting_names_its_variable(commerce: Commerce, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMERCE_TIMEZONE", "Mars/Olympus")
    ended = await commerce("audit")
    assert ended.code == 2 and ended.err.startswith("COMMERCE_TIMEZONE: ") and is_one_line(ended.err)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("COMMERCE_DATABASE_URL", "postgresql://u:secret@127.0.0.1:1/none", "no connection to 127.0.0.1:1"),
        ("TEMPORAL_ADDRESS", "127.0.0.1:1", "Temporal does not answer at 127.0.0.1:1"),
    ],
)
async def test_an_unreachable_server_is_exit_code_3_and_nothing_is_started(
    shop: RunningShop, commerce: Commerce, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:  # (E13)
    monkeypatch.setenv(variable, value)
    ended = await commerce("start", "order-processing", "--input", '{"order_id": "unreachable"}')
    assert ended.code == 3 and message in ended.err and is_one_line(ended.err) and "secret" not in ended.err
    with pytest.raises(Exception, match="not found"):
        await shop.handle("unreachable").describe()


async def test_imports_report_bad_rows_and_import_nothing(
    shop: RunningShop, commerce: Commerce, tmp_path: Path
) -> None:
    file = tmp_path / "inventory.csv"
    file.write_text("Handle,Title,SKU,Location,Available,On hand\nmug,Mug,MUG,Main,3,3\nmug,Mug,JUG,Main,3,many\n")
    bad = await commerce("import", "inventory", str(file))
    assert bad.code == 1 and f"{file}:3: " in bad.err and "1 bad row:" in bad.err
    assert await shop.data.sql("SELECT count(*) FROM variants") == [0]
    rest = await commerce("import", "inventory", "--skip-bad", "--json", str(file))
    assert rest.code == 1 and json.loads(rest.out)["taken"] == 1  # it left something out
    missing = await commerce("import", "inventory", "missing.csv")
    assert missing.code == 1 and "missing.csv" in missing.err and is_one_line(missing.err)
    columns = tmp_path / "columns.csv"
    columns.write_text("a,b\n1,2\n")
    wrong = await commerce("import", "orders", str(columns))
    assert wrong.code == 1 and "columns.csv" in wrong.err and is_one_line(wrong.err)


async def test_audit_lists_broken_rules(shop: RunningShop, commerce: Commerce) -> None:
    assert await commerce("audit", "--json") == (0, "[]\n", "")
    await shop.data.stock("MUG", main=3)
    await shop.data.sql("UPDATE inventory_levels SET stocked_quantity = 4")
    broken = await commerce("audit")
    assert broken.code == 1 and "MUG" in broken.out and "repair" not in broken.out


async def test_the_audit_prints_the_commands_that_repair_what_a_terminated_run_left(
    shop: RunningShop, commerce: Commerce
) -> None:
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", MUG=1)
    async with shop.worker([gate := Gate("create-shipping-label")]):
        run = await shop.start("1")
        await gate.reached.wait()
        await run.terminate()
        broken = await commerce("audit")
        assert broken.code == 1
        assert broken.out.splitlines()[-1] == "  commerce runs retry order-processing-1 --reason …"
        gate.opened.set()
        assert (await commerce("runs", "retry", "order-processing-1", "--reason", "terminated by mistake")).code == 0
        assert (await shop.handle("1").result()).status == "fulfilled"
    assert (await commerce("audit")).code == 0


async def test_migrate_connects_as_the_owner_of_the_tables(
    commerce: Commerce, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrator = url_of(MIGRATOR, database_url)
    await run_sql(migrator, "REVOKE ALL ON orders FROM commerce")
    monkeypatch.setenv("COMMERCE_MIGRATION_DATABASE_URL", migrator)
    assert await commerce("migrate") == (0, "The database is up to date\n", "")
    await run_sql(database_url, "SELECT FROM orders")
    monkeypatch.setenv("COMMERCE_MIGRATION_DATABASE_URL", migrator.replace("password-of", "wrong"))
    failed = await commerce("migrate")
    assert failed.code == 3 and "InvalidPasswordError" in failed.err and "wrong" not in failed.err


async def test_the_version_and_the_settings_of_the_shop_are_printed(commerce: Commerce, database_url: str) -> None:
    assert (await commerce("--version")).out == f"{NAME} {VERSION}\n"
    lines = (await commerce("env")).out.splitlines()
    assert f"export COMMERCE_DATABASE_URL={shlex.quote(database_url)}" in lines
    assert (await commerce("env", "--json")).json["COMMERCE_DATABASE_URL"] == database_url


async def test_a_mistyped_command_is_recognized(commerce: Commerce) -> None:
    assert await commerce("ordres") == (2, "", "No such command 'ordres'. Did you mean 'orders'?\n")
    assert "Did you mean 'list'?" in (await commerce("orders", "lst")).err


async def test_every_command_has_help(commerce: Commerce) -> None:
    for command in ("up", "demo", "worker", "api", "migrate", "import", "start", "audit", "doctor"):
        ended = await commerce(command, "--help")
        assert ended.code == 0 and "Usage: commerce" in ended.out


@pytest.mark.programs
def test_help_is_shown_without_loading_the_large_libraries() -> None:
    program = (
        "import sys, starter.cli.app\nsys.exit(', '.join(sys.modules.keys() & {'sqlalchemy', 'temporalio', 'fastapi'}))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stderr.strip() == ""


@pytest.mark.programs
@pytest.mark.parametrize("command", ["runs list", "schedules list", "audit"])
def test_without_a_shop_a_command_says_how_to_start_one(tmp_path: Path, command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COMMERCE_", "TEMPORAL_"))}
    ended = completed("starter", tuple(command.split()), environment, tmp_path)
    assert ended.returncode == 3 and is_one_line(ended.stderr)
    assert ended.stderr.startswith("No shop runs in .commerce. Start everything with `commerce up`, or name a running")
