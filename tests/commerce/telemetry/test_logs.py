"""A worker logs one JSON object per line, with process, run, step and attempt."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from tests.running_shop import RunningShop, running_shop
from tests.system.workers import WorkerProcess, WorkerProcesses, wait_until, worker_processes

CORE, SDK, STEPS = "temporalio.core", "temporalio.worker._workflow_instance", "commerce.steps"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as shop:
        await shop.data.stock("MUG", main=3)
        await shop.data.order("logged", MUG=1)
        yield shop


@pytest.fixture
async def workers(shop: RunningShop, tmp_path: Path) -> AsyncIterator[WorkerProcesses]:
    async with worker_processes(shop, tmp_path / "workers") as workers:
        yield workers


def lines(worker: WorkerProcess, logger: str = "") -> list[dict[str, Any]]:
    """Return the log of a worker, each complete line parsed as JSON."""
    complete, _, _ = worker.log_text().rpartition("\n")
    parsed = [json.loads(line) for line in complete.splitlines()]
    return [line for line in parsed if logger in ("", line["logger"])]


async def test_log_lines_of_steps_name_their_process_run_and_attempt(
    shop: RunningShop, workers: WorkerProcesses
) -> None:
    await shop.inject_carrier_fault(operation="buy", fault="500", times=1)
    worker = await workers.start()
    handle = await shop.start("logged")
    await handle.result()
    await worker.stop()

    assert all({"event", "level", "logger", "timestamp"} <= line.keys() for line in lines(worker))
    assert [line["event"] for line in lines(worker, "commerce.worker")] == [
        "payloads are encrypted",
        "worker started",
        "worker stopping",
        "worker stopped",
    ]
    steps = lines(worker, STEPS)
    assert {(line["workflow_id"], line["run_id"]) for line in steps} == {(handle.id, handle.first_execution_run_id)}
    labels = [line for line in steps if line["activity"] == "create-shipping-label"]
    assert [(line["attempt"], line["level"], line["event"]) for line in labels] == [
        (1, "warning", "step failed"),
        (2, "info", "step done"),
    ]
    assert labels[0]["error"].startswith("CarrierUnavailable: ")
    assert "ann@" not in worker.log_text()


async def test_log_lines_of_the_sdk_and_its_core_name_their_run(shop: RunningShop, workers: WorkerProcesses) -> None:
    buggy = await workers.start("tests.system.buggy_worker")
    handle = await shop.start("logged")
    await wait_until(lambda: bool(lines(buggy, CORE)) and bool(lines(buggy, SDK)), 120, buggy.log_tail)
    core, sdk = lines(buggy, CORE)[0], lines(buggy, SDK)[0]
    assert core["run_id"] == handle.first_execution_run_id
    assert (sdk["workflow_id"], sdk["run_id"]) == (handle.id, handle.first_execution_run_id)
    assert (core["level"], sdk["level"]) == ("warning", "warning")
    await buggy.kill()

    await workers.start()  # the fixed worker finishes the run (E18)
    assert (await handle.result()).status == "fulfilled"
