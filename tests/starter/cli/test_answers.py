"""`commerce runs answer`, and how the command line shows what waits."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client

from commerce.messages.orders import order_process_id
from tests.polling import until
from tests.running_shop import RunningShop, running_shop
from tests.starter.cli.conftest import Commerce

STEP = "review-order"


@pytest.fixture
async def shop(
    tmp_path: Path, database_url: str, client: Client, temporal_settings: None
) -> AsyncIterator[RunningShop]:
    """A shop whose orders wait for a review."""
    async with running_shop(tmp_path, database_url, client, COMMERCE_REVIEW_ABOVE="GBP=0") as running:
        await running.data.stock("MUG", main=9)
        yield running


@pytest.fixture
async def process(shop: RunningShop) -> str:
    """A process that waits, without a worker."""
    order_id = uuid4().hex
    await shop.data.order(order_id, MUG=1)
    async with shop.worker():
        await shop.start_until_waiting(order_id, STEP)
    return order_process_id(order_id)


async def test_what_waits_is_listed_shown_and_answered(shop: RunningShop, process: str, commerce: Commerce) -> None:
    waiting = ("runs", "list", "--status", "waiting", "--limit", "500")

    async def listed() -> str | None:
        runs = (await commerce(*waiting, "--json")).json["workflows"]
        return next((run["waiting_for"] for run in runs if run["transaction_id"] == process), None)

    assert await until(listed) == STEP
    async with shop.worker():
        shown = await commerce("runs", "show", process)
        assert f"running, waiting for {STEP}" in shown.out
        assert f"… {STEP}  waits for an answer since" in shown.out
        answered = await commerce("runs", "answer", process, STEP, "success", "--key", "k1", "--json")
        assert (answered.code, answered.json["status"]) == (0, "taken")
        await shop.client.get_workflow_handle(process).result()
    again = await commerce("runs", "answer", process, STEP, "success", "--key", "k1")
    assert (again.code, again.out.strip()) == (0, f"{process} has the answer to {STEP}")
    refused = await commerce("runs", "answer", process, STEP, "failure", "--reason", "Not known there")
    assert (refused.code, "has an answer already" in refused.err) == (1, True)


async def test_without_a_worker_an_answer_is_recorded(process: str, commerce: Commerce) -> None:
    answered = await commerce("runs", "answer", process, STEP, "failure", "--reason", "Not known there")
    assert (answered.code, "is recorded" in answered.out) == (0, True)


@pytest.mark.parametrize("data", ["[1]", "{"])
async def test_data_must_be_a_json_object(process: str, commerce: Commerce, data: str) -> None:
    answered = await commerce("runs", "answer", process, STEP, "success", "--data", data)
    assert (answered.code, "--data: must be a JSON object" in answered.err) == (2, True)
