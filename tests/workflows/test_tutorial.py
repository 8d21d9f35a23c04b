"""The processes of the tutorial: what they answer, what they show, and under which ids they run."""

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
async def place(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as made:
        yield made


@pytest.fixture
async def shop(place: RunningShop) -> AsyncIterator[RunningShop]:
    async with place.worker():
        yield place


async def states(handle: WorkflowHandle[Any, Any]) -> tuple[str, dict[str, str]]:
    progress = await handle.query("progress", result_type=Progress)
    return progress.state, {step.name: step.state for step in progress.steps}


async def test_john_is_greeted(shop: RunningShop) -> None:
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


async def test_a_step_that_fails_is_tried_again(place: RunningShop) -> None:
    faults = Faults({"step-2": "after"}, permanent=False, times=2)
    async with place.worker([faults]):
        assert await (await start(place.client, "hello-world", JOHN)).result() == GREETED
    assert faults.refused == 2


async def test_a_step_refused_for_good_fails_the_run_and_is_shown(place: RunningShop) -> None:
    async with place.worker([Faults({"step-2": "before"})]):
        handle = await start(place.client, "hello-world", JOHN)
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        assert await states(handle) == ("failed", {"step-1": "done", "step-2": "failed"})


@pytest.mark.parametrize("given", [{}, {"name": ""}, {"name": "x" * 101}, {"name": None}])
async def test_a_name_that_does_not_fit_fails_the_run(shop: RunningShop, given: dict[str, object]) -> None:
    handle = await shop.client.start_workflow(
        "hello-world", given, id=PROCESS_TYPES["hello-world"].id(JOHN), task_queue=TASK_QUEUE
    )
    with pytest.raises(WorkflowFailureError) as failure:
        await handle.result()
    assert isinstance(failure.value.cause, ApplicationError)
    assert failure.value.cause.type == "BadInput" and "name" in failure.value.cause.message


async def test_each_start_is_a_run_of_its_own_unless_an_id_is_chosen(shop: RunningShop) -> None:
    first, second = [await start(shop.client, "hello-world", JOHN) for _ in range(2)]
    assert first.id != second.id
    chosen = await start(shop.client, "hello-world", JOHN, process_id=f"{first.id}.mine")
    assert chosen.id == f"{first.id}.mine"
    assert await chosen.result() == GREETED


async def test_a_chosen_id_is_taken_while_its_run_is_open_and_free_again_afterwards(place: RunningShop) -> None:
    gate, mine = Gate("step-1"), PROCESS_TYPES["hello-world"].id(JOHN)
    async with place.worker([gate]):
        handle = await start(place.client, "hello-world", JOHN, process_id=mine)
        await gate.reached.wait()
        with pytest.raises(ProcessIdTaken, match=f"A process with the id {mine} is already running"):
            await start(place.client, "hello-world", HelloWorld(name="Ann"), process_id=mine)
        gate.opened.set()
        assert await handle.result() == GREETED
        again = await start(place.client, "hello-world", HelloWorld(name="Ann"), process_id=mine)
        assert await again.result() == {"message": "Hello Ann from step two!"}


@pytest.mark.parametrize("chosen", ["", "a/b", "ä", "x" * 201, "order-processing-1001", "upkeep", "product-count-1"])
async def test_an_id_that_cannot_be_or_is_of_another_kind_is_refused(client: Client, chosen: str) -> None:
    with pytest.raises(BadInput, match="transaction_id"):
        await start(client, "hello-world", JOHN, process_id=chosen)


def test_the_other_kinds_have_one_id_for_an_input_and_take_no_other() -> None:
    order = OrderProcessing(order_id="1001")
    assert PROCESS_TYPES["order-processing"].id_for(order) == "order-processing-1001"
    assert PROCESS_TYPES["order-processing"].id_for(order, "order-processing-1001") == "order-processing-1001"
    with pytest.raises(WrongProcessId, match="order-processing-1001"):
        PROCESS_TYPES["order-processing"].id_for(order, "order-processing-1002")
    with pytest.raises(WrongProcessId, match="cleanup-expired-carts"):
        PROCESS_TYPES["cleanup-expired-carts"].id_for(CleanUpCarts(), "mine")
