"""`commerce runs …` and `commerce contract`: their output as text and as JSON, and their exit codes."""

import asyncio
import json
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from commerce.errors import RetryRefused
from commerce.messages.orders import order_process_id
from commerce.outbox import EVENT_NAMES
from starter.cli.app import run
from starter.operate import bulk_retry
from starter.processes import PROCESS_TYPES
from tests.faults import Gate
from tests.polling import until
from tests.running_shop import RunningShop, is_cancel_requested, wait_for_end
from tests.starter.cli.conftest import Commerce


@pytest.fixture
async def order(shop: RunningShop) -> str:
    """An order that no other test uses."""
    order_id = uuid4().hex
    await shop.data.stock("MUG", main=3)
    await shop.data.order(order_id, MUG=1)
    return order_id


@pytest.fixture
def runs(shop: RunningShop, commerce: Commerce) -> Commerce:
    """Run `commerce runs …`."""
    return partial(commerce, "runs")


async def until_listed(runs: Commerce, process: str, *arguments: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = (await runs(*arguments, "--json")).json["workflows"]
        return next((run for run in found if run["transaction_id"] == process), None)

    return await until(look)


async def test_a_failed_order_is_listed_shown_and_retried(shop: RunningShop, order: str, runs: Commerce) -> None:
    process = order_process_id(order)
    await shop.inject_carrier_fault(operation="buy", fault="422")
    async with shop.worker():
        await shop.expect_failure(order)
        failed = await until_listed(runs, process, "failed", "--type", "order-processing")
        assert (failed["status"], failed["state"], failed["failed_step"]) == (
            "failed",
            "compensated",
            "create-shipping-label",
        )
        assert failed["failure_type"] == "CarrierRefused"
        listed = await runs("failed", "--limit", "1")
        assert listed.code == 0 and "failed," in listed.out and "--cursor" in listed.out

        shown = await runs("show", process)
        lines = shown.out.splitlines()
        assert shown.code == 0 and f"{process}  failed, compensated" in lines
        assert any(line.startswith("error       CarrierRefused: ") for line in lines)
        assert any(line.startswith("↩ create-shipping-label") for line in lines)
        assert (await runs("show", process, "--json")).json["failed_step"] == "create-shipping-label"

        failed_again = await runs("retry", process, "--reason", "too early", "--wait")
        assert failed_again.code == 1 and "CarrierRefused" in failed_again.out
        await shop.clear_carrier_faults()
        again = await runs("retry", process, "--reason", "mended", "--json")
        assert again.code == 0 and again.json["action"] == "retry"
        assert (await shop.handle(order).result()).status == "fulfilled"
        assert again.json["run_id"] == (await shop.handle(order).describe()).run_id

        refused = await runs("retry", process, "--reason", "once more")
        assert (refused.code, refused.err) == (1, f"Cannot retry {process}: it is completed.\n")
        assert '"status": "fulfilled"' in (await runs("show", process)).out
        assert (await until_listed(runs, process, "list", "--status", "completed"))["state"] == "completed"


async def test_all_orders_that_failed_with_one_error_are_retried(
    shop: RunningShop, runs: Commerce, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.data.stock("MUG", main=9)
    orders = [uuid4().hex for _ in range(3)]
    for order_id in orders:
        await shop.data.order(order_id, MUG=1)
    started = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S+0000}"
    select = ("retry", "--failed-with", "CarrierRefused", "--type", "order-processing", "--since", started)
    async with shop.worker():
        await shop.inject_carrier_fault(operation="buy", fault="422")
        for order_id in orders:
            await shop.expect_failure(order_id)
            await until_listed(runs, order_process_id(order_id), "failed")
        await shop.clear_carrier_faults()

        asked = await runs(*select)
        assert (asked.code, asked.out) == (2, "") and "--yes: is required" in asked.err
        shown = await runs(*select, "--dry-run")
        assert shown.code == 0 and shown.out.endswith("3 processes selected\n")
        assert f"{order_process_id(orders[0])}  CarrierRefused  create-shipping-label" in shown.out
        one = (await runs(*select, "--dry-run", "--limit", "1", "--json")).json
        assert (len(one["workflows"]), one["more"], one["dry_run"]) == (1, True, True)
        other = await runs("retry", "--failed-with", "OrderNotFound", "--since", started, "--yes")
        assert (other.code, other.out) == (0, "0 processes selected\n")
        assert await shop.data.sql("SELECT 1 FROM operator_actions") == []

        done = (await runs(*select, "--yes", "--json")).json
        assert {each["transaction_id"] for each in done["retried"]} == set(map(order_process_id, orders))
        for order_id in orders:
            assert (await shop.handle(order_id).result()).status == "fulfilled"
        reasons = set(await shop.data.sql("SELECT reason FROM operator_actions"))
        assert len(reasons) == 1 and reasons.pop().startswith("--failed-with CarrierRefused --type order-processing")
        assert (await runs(*select, "--yes")).out == "0 processes selected\n"


async def test_a_retry_that_is_refused_does_not_stop_the_others_and_is_exit_code_1(
    shop: RunningShop, runs: Commerce, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.data.stock("MUG", main=9)
    orders = [uuid4().hex for _ in range(2)]
    async with shop.worker():
        started = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S+0000}"
        for order_id in orders:
            await shop.data.order(order_id)  # without lines
            await shop.expect_failure(order_id)
            await until_listed(runs, order_process_id(order_id), "failed")
    refuse = order_process_id(orders[0])

    async def retry_or_refuse(_client: object, _database: object, process_id: str, **_: str) -> str:
        if process_id == refuse:
            raise RetryRefused(process_id, "it is running")
        return "new"

    monkeypatch.setattr(bulk_retry, "retry", retry_or_refuse)
    ended = await runs("retry", "--failed-with", "OrderHasNoLines", "--since", started, "--yes", "--reason", "try")
    assert ended == (1, "1 process running again\n1 process not retried\n", f"Cannot retry {refuse}: it is running.\n")


async def test_a_cancel_waits_until_the_order_is_undone(shop: RunningShop, order: str, runs: Commerce) -> None:
    async with shop.worker([gate := Gate("create-fulfillment")]):
        await shop.start(order)
        await gate.reached.wait()
        cancel = asyncio.ensure_future(runs("cancel", order_process_id(order), "--reason", "by mistake"))
        await until(lambda: is_cancel_requested(shop.handle(order)))  # else the order may end first
        gate.opened.set()
        undone = await cancel
    assert undone.code == 0 and f"{order_process_id(order)}  cancelled, compensated" in undone.out.splitlines()


async def test_many_are_cancelled_and_one_is_dismissed(shop: RunningShop, order: str, runs: Commerce) -> None:
    process = order_process_id(order)
    handle = await shop.start(order)
    select = ("cancel", "--search", process)

    async def selected() -> bool | None:
        return (await runs(*select, "--dry-run")).out == f"{process}  running\n1 process selected\n" or None

    assert await until(selected)
    assert (await runs(*select, "--yes")).out == "1 process being cancelled\n"
    assert await shop.data.sql("SELECT reason FROM operator_actions") == [f"--search {process}"]
    await handle.terminate()
    assert (await runs("dismiss", process, "--reason", "known")).out == f"{process} is dismissed\n"
    shown = await runs("list", "--search", process, "--json")
    assert [run["transaction_id"] for run in shown.json["workflows"]] == [process]


async def test_a_cancel_does_not_wait_with_no_wait(shop: RunningShop, order: str, runs: Commerce) -> None:
    await shop.start(order)
    requested = await runs("cancel", order_process_id(order), "--reason", "by mistake", "--no-wait")
    assert (requested.code, requested.out) == (0, f"{order_process_id(order)} is being cancelled\n")
    assert await shop.data.sql("SELECT reason FROM operator_actions") == ["by mistake"]
    async with shop.worker():
        await wait_for_end(shop.handle(order))


async def test_a_cancel_that_comes_too_late_is_exit_code_1(shop: RunningShop, order: str, runs: Commerce) -> None:
    async with shop.worker([gate := Gate("send-notification")]):
        await shop.start(order)
        await gate.reached.wait()
        late = asyncio.ensure_future(runs("cancel", order_process_id(order), "--reason", "by mistake"))
        while not await shop.data.sql("SELECT 1 FROM operator_actions"):  # noqa: ASYNC110 - what a thread did
            await asyncio.sleep(0.02)
        gate.opened.set()
        assert (await late).code == 1 and "completed" in (await late).out


async def test_wrong_usage_is_one_line_and_exit_code_2(runs: Commerce) -> None:
    for arguments in (
        ["list", "--status", "happy"],
        ["failed", "--type", "x"],
        ["stuck", "--limit", "0"],
        ["retry"],
        ["retry", "x", "--type", "x"],
        ["retry", "--failed-with", "' OR 1", "--yes"],
        ["retry", "--status", "cancelled", "--failed-with", "X", "--yes"],
        ["retry", "--since", "soon", "--yes"],
        ["retry", "--failed-with", "X", "--limit", "0", "--yes"],
        ["retry", "--failed-with", "X", "--wait"],
        ["list", "--search", "' OR 1"],
        ["list", "--outcome", "' OR 1"],
        ["list", "--since", "soon"],
        ["cancel"],
        ["cancel", "--status", "running", "--yes"],
        ["cancel", "--type", "hello-world"],
        ["cancel", "--type", "hello-world", "--yes", "--wait"],
        ["cancel", "x", "--type", "hello-world", "--reason", "x"],
    ):
        wait_for_end = await runs(*arguments)
        assert wait_for_end.code == 2 and len(wait_for_end.err.splitlines()) == 1, wait_for_end
    for command in ("retry", "cancel", "dismiss"):
        assert (await runs(command, "unknown")).err == "Missing option '--reason'.\n"


async def test_an_unknown_process_is_exit_code_1_and_an_unreachable_server_3(
    runs: Commerce, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await runs("show", "unknown") == (
        *(1, ""),
        "There is no process unknown. That of an order is order-processing-ID: commerce runs list\n",
    )
    assert (await runs("show", "order-processing-none")).err == "There is no process order-processing-none.\n"
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    unreachable = await runs("stuck")
    assert unreachable.code == 3 and "Temporal does not answer at 127.0.0.1:1" in unreachable.err


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("list", "show", "failed", "stuck", "retry", "cancel", "dismiss"):
        assert run(["runs", command, "--help"]) == 0
        assert f"Usage: commerce runs {command}" in capsys.readouterr().out


def test_the_contract_has_the_schemas_of_every_process_and_event(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["contract"]) == 0
    assert "order-processing" in capsys.readouterr().out
    assert run(["contract", "--json"]) == 0
    schemas = json.loads(capsys.readouterr().out)
    assert list(schemas) == [*PROCESS_TYPES, *EVENT_NAMES]
    assert schemas["cart.expired"]["data"]["required"] == ["cart_id", "created_at"]
    assert schemas["order-processing"]["input"]["required"] == ["order_id"]
    assert schemas["order-processing"]["result"]["properties"]["status"]["enum"] == [
        "fulfilled",
        "insufficient_inventory",
        "waiting_for_product",
        "cancelled",
        "fulfilled_elsewhere",
        "rejected",
    ]
    registration = schemas["customer-registration"]
    assert "password" in registration["entry"]["properties"] and "password_hash" in registration["input"]["properties"]


def test_shell_completion_is_available(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: "bash")  # tests may run without a shell
    with pytest.raises(SystemExit, match="0"):
        run(["--show-completion"])
    assert "_commerce_completion" in capsys.readouterr().out
