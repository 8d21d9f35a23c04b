"""Test the tutorial's processes: their results, their progress and their process ids."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from commerce.errors import BadInput, ProcessIdTaken, WrongProcessId
from commerce.messages.carts import CleanUpCarts
from commerce.messages.orders import OrderProcessing
from commerce.messages.progress import Progress
from commerce.messages.tutorial import CountProducts, HelloWorld
from starter.client import start
from starter.processes import PROCESS_TYPES, TASK_QUEUE
from tests.faults import Faults, Gate
from tests.running_shop import RunningShop, running_shop

JOHN = HelloWorld(name="John")
GREETED = {"message": "Hello John from step two!"}


@pytest.fixture
async def idle_shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    """A shop without a worker, for tests that start their own."""
    async with running_shop(tmp_path, database_url, client) as shop:
        yield shop


@pytest.fixture
async def shop(idle_shop: RunningShop) -> AsyncIterator[RunningShop]:
    """A shop with a worker."""
    async with idle_shop.worker():
        yield idle_shop


async def states(handle: WorkflowHandle[Any, Any]) -> tuple[str, dict[str, str]]:
    progress = await handle.query("progress", result_type=Progress)
    return progress.state, {step.name: step.state for step in progress.steps}


async def test_hello_world_greets_by_name(shop: RunningShop) -> None:
    handle = await start(shop.client, "hello-world", JOHN)
    assert await handle.result() == GREETED
    assert await states(handle) == ("completed", {"step-1": "done", "step-2": "done"})


async def test_products_are_counted(shop: RunningShop) -> None:
    assert await (await start(shop.client, "product-count", CountProducts())).result() == {"count": 0}
    for sku in ("MUG", "CUP", "JUG"):
        await shop.data.variant(sku)
    handle = await start(shop.client, "product-count", CountProducts())
    assert await handle.result() == {"count": 3}
    assert await states(handle) == ("completed", {"get-product-count": "done"})


async def test_a_failed_step_is_retried(idle_shop: RunningShop) -> None:
    faults = Faults({"step-2": "after"}, permanent=False, times=2)
    async with idle_shop.worker([faults]):
        assert await (await start(idle_shop.client, "hello-world", JOHN)).result() == GREETED
    assert faults.refused == 2


async def test_a_permanent_error_fails_the_run_and_its_progress_shows_the_step(idle_shop: RunningShop) -> None:
    async with idle_shop.worker([Faults({"step-2": "before"})]):
        handle = await start(idle_shop.client, "hello-world", JOHN)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert await states(handle) == ("failed", {"step-1": "done", "step-2": "failed"})


@pytest.mark.parametrize("request_input", [{}, {"name": ""}, {"name": "x" * 101}, {"name": None}])
async def test_an_invalid_name_fails_the_run(shop: RunningShop, request_input: dict[str, object]) -> None:
    handle = await shop.client.start_workflow(
        "hello-world", request_input, id=PROCESS_TYPES["hello-world"].id(JOHN), task_queue=TASK_QUEUE
    )
    with pytest.raises(WorkflowFailureError) as failure:
        await handle.result()
    assert isinstance(failure.value.cause, ApplicationError)
    assert failure.value.cause.type == "BadInput" and "name" in failure.value.cause.message


async def test_each_start_gets_a_new_process_id_unless_the_caller_chooses_one(shop: RunningShop) -> None:
    first, second = [await start(shop.client, "hello-world", JOHN) for _ in range(2)]
    assert first.id != second.id
    chosen = await start(shop.client, "hello-world", JOHN, process_id=f"{first.id}.mine")
    assert chosen.id == f"{first.id}.mine"
    assert await chosen.result() == GREETED


async def test_a_chosen_id_is_refused_while_its_run_is_open_and_can_be_used_again_afterwards(
    idle_shop: RunningShop,
) -> None:
    gate, process_id = Gate("step-1"), PROCESS_TYPES["hello-world"].id(JOHN)
    async with idle_shop.worker([gate]):
        handle = await start(idle_shop.client, "hello-world", JOHN, process_id=process_id)
        await gate.reached.wait()
        with pytest.raises(ProcessIdTaken, match=f"A process with the id {process_id} is already running"):
            await start(idle_shop.client, "hello-world", HelloWorld(name="Ann"), process_id=process_id)
        gate.opened.set()
        assert await handle.result() == GREETED
        again = await start(idle_shop.client, "hello-world", HelloWorld(name="Ann"), process_id=process_id)
        assert await again.result() == {"message": "Hello Ann from step two!"}


@pytest.mark.parametrize("chosen", ["", "a/b", "ä", "x" * 201, "order-processing-1001", "upkeep", "product-count-1"])
async def test_an_invalid_id_or_one_of_another_process_type_is_refused(client: Client, chosen: str) -> None:
    with pytest.raises(BadInput, match="transaction_id"):
        await start(client, "hello-world", JOHN, process_id=chosen)


def test_the_other_process_types_derive_the_id_from_the_input_and_accept_no_other() -> None:
    order = OrderProcessing(order_id="1001")
    assert PROCESS_TYPES["order-processing"].id_for(order) == "order-processing-1001"
    assert PROCESS_TYPES["order-processing"].id_for(order, "order-processing-1001") == "order-processing-1001"
    with pytest.raises(WrongProcessId, match="order-processing-1001"):
        PROCESS_TYPES["order-processing"].id_for(order, "order-processing-1002")
    with pytest.raises(WrongProcessId, match="cleanup-expired-carts"):
        PROCESS_TYPES["cleanup-expired-carts"].id_for(CleanUpCarts(), "mine")
