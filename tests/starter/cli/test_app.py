"""The command line: what it prints, and the exit codes that programs rely on."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from temporalio.client import Client

from starter.cli.app import run
from tests.keys import ENCRYPTION_ENV
from tests.running_shop import RunningShop, running_shop


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Commerce = Callable[..., "asyncio.Future[Outcome]"]


@pytest.fixture
async def shop(
    tmp_path: Path, database_url: str, client: Client, temporal_server: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RunningShop]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMMERCE_DATABASE_URL", database_url)
    for name, value in {"TEMPORAL_ADDRESS": temporal_server, **ENCRYPTION_ENV}.items():
        monkeypatch.setenv(name, value)
    async with running_shop(tmp_path, database_url, client) as made:
        yield made


@pytest.fixture
def commerce(shop: RunningShop, capsys: pytest.CaptureFixture[str]) -> Callable[..., object]:
    """Run a command as a program of its own would, on the shop's settings."""

    async def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = await asyncio.to_thread(run, list(arguments))
        return Outcome(code, *capsys.readouterr())

    return call


def one_line(text: str) -> bool:
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


async def test_start_says_in_one_line_why_an_order_fails(
    shop: RunningShop, commerce: Commerce, caplog: pytest.LogCaptureFixture
) -> None:
    await shop.data.stock("MUG", main=3)
    await shop.data.order("unpaid", MUG=1, facts={"payment_status": "authorized"})
    async with shop.worker():
        unknown = await commerce("start", "order-processing", "--input", '{"order_id": "nope"}')
        assert unknown.code == 1 and "OrderNotFound: Order nope does not exist." in unknown.err
        unpaid = await commerce("start", "order-processing", "--input", '{"order_id": "unpaid"}')
        assert unpaid.code == 1 and "PaymentNotCaptured" in unpaid.err and "authorized" in unpaid.err
        # Nothing else may stand on the terminal, not even when Python clears away what nobody asked for.
        followed = await commerce("start", "order-processing", "--input", '{"order_id": "nope"}', "--follow")
        gc.collect()
        assert followed.code == 1 and "Traceback" not in followed.err and "never retrieved" not in caplog.text
        assert followed.err.splitlines() == [
            "order-processing-nope runs",
            "OrderNotFound: Order nope does not exist.",
        ]


async def test_a_followed_run_prints_nothing_but_json_for_programs(shop: RunningShop, commerce: Commerce) -> None:
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", MUG=1)
    async with shop.worker():
        ended = await commerce("start", "order-processing", "--input", '{"order_id": "1"}', "--follow", "--json")
    assert json.loads(ended.out[ended.out.index("{") :])["status"] == "fulfilled"  # before it the worker's own log
    assert "✓ validate-order" in ended.err and "✓ validate-order" not in ended.out


async def test_a_result_is_told_in_words(shop: RunningShop, commerce: Commerce) -> None:
    await shop.data.stock("MUG", main=3)
    await shop.data.order("1", MUG=4)
    async with shop.worker():
        ended = await commerce("start", "order-processing", "--input", '{"order_id": "1"}')
    told = [line.strip() for line in ended.out.splitlines()]
    assert {"tracking_number  –", "inventory_reserved  no"} <= set(told)
    assert "sku MUG, requested 4, available 3" in next(line for line in told if line.startswith("insufficient_items"))


async def test_a_start_need_not_wait(shop: RunningShop, commerce: Commerce) -> None:
    start = ("start", "order-processing", "--input", '{"order_id": "1"}', "--no-wait")
    assert await commerce(*start) == (0, "", "order-processing-1 runs\n")
    assert json.loads((await commerce(*start, "--json")).out)["transaction_id"] == "order-processing-1"
    await shop.handle("1").terminate()


@pytest.mark.parametrize(
    ("arguments", "says"),
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
async def test_wrong_use_is_one_line_and_exit_code_2(commerce: Commerce, arguments: list[str], says: str) -> None:
    ended = await commerce(*arguments)
    assert ended.code == 2 and says in ended.err and one_line(ended.err)


async def test_a_wrong_setting_names_its_variable(commerce: Commerce, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMERCE_TIMEZONE", "Mars/Olympus")
    ended = await commerce("audit")
    assert ended.code == 2 and ended.err.startswith("COMMERCE_TIMEZONE: ") and one_line(ended.err)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("COMMERCE_DATABASE_URL", "postgresql://u:secret@127.0.0.1:1/none", "no connection to 127.0.0.1:1"),
        ("TEMPORAL_ADDRESS", "127.0.0.1:1", "Temporal does not answer at 127.0.0.1:1"),
    ],
)
async def test_what_is_away_is_exit_code_3_and_nothing_is_started(
    shop: RunningShop, commerce: Commerce, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:  # (E13)
    monkeypatch.setenv(variable, value)
    ended = await commerce("start", "order-processing", "--input", '{"order_id": "away"}')
    assert ended.code == 3 and says in ended.err and one_line(ended.err) and "secret" not in ended.err
    with pytest.raises(Exception, match="not found"):
        await shop.handle("away").describe()


async def test_imports_report_bad_rows_and_take_in_nothing(
    shop: RunningShop, commerce: Commerce, tmp_path: Path
) -> None:
    file = tmp_path / "inventory.csv"
    file.write_text("Handle,Title,SKU,Location,Available,On hand\nmug,Mug,MUG,Main,3,3\nmug,Mug,JUG,Main,3,-1\n")
    bad = await commerce("import", "inventory", str(file))
    assert bad.code == 1 and f"{file}:3: " in bad.err and "1 bad row:" in bad.err
    assert await shop.data.sql("SELECT count(*) FROM variants") == [0]
    rest = await commerce("import", "inventory", "--skip-bad", "--json", str(file))
    assert rest.code == 0 and json.loads(rest.out)["taken"] == 1
    missing = await commerce("import", "inventory", "missing.csv")
    assert missing.code == 1 and "missing.csv" in missing.err and one_line(missing.err)
    columns = tmp_path / "columns.csv"
    columns.write_text("a,b\n1,2\n")
    wrong = await commerce("import", "orders", str(columns))
    assert wrong.code == 1 and "columns.csv" in wrong.err and one_line(wrong.err)


async def test_audit_lists_what_is_broken(shop: RunningShop, commerce: Commerce) -> None:
    assert await commerce("audit", "--json") == (0, "[]\n", "")
    await shop.data.stock("MUG", main=3)
    await shop.data.sql("UPDATE inventory_levels SET stocked_quantity = 4")
    broken = await commerce("audit")
    assert broken.code == 1 and "MUG" in broken.out


async def test_every_command_has_help(commerce: Commerce) -> None:
    for command in ("up", "demo", "worker", "api", "migrate", "import", "start", "audit", "doctor"):
        ended = await commerce(command, "--help")
        assert ended.code == 0 and "Usage: commerce" in ended.out
