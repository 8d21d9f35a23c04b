"""What operators see of processes that ended in every way there is, that run, and that are stuck."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from commerce.errors import BadInput, ProcessNotFound, RetryRefused
from commerce.messages.orders import OrderProcessing, order_process_id
from commerce.messages.runs import Page, Run, Status, Wanted
from starter.operate.actions import cancel, retry
from starter.operate.monitor import count_runs, get_status, list_processes
from starter.processes import TASK_QUEUE
from tests.faults import Faults, Gate
from tests.running_shop import RunningShop, running_shop, wait_for_end
from tests.starter.clockwork import until
from tests.system.buggy_worker import BuggyProcess
from worker import open_activities
from workflows.order_processing import OrderProcessingWorkflow

KIND = "order-processing"


@pytest.fixture
async def place(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as made:
        await made.data.stock("MUG", main=100)
        yield made


async def order(place: RunningShop) -> str:
    """Take an order in that no other test knows."""
    order_id = uuid4().hex
    await place.data.order(order_id, MUG=1)
    return order_id


async def start(place: RunningShop, order_id: str, **timeouts: Any) -> None:
    """Start an order's process with timeouts, which ours has none of."""
    request, process = OrderProcessing(order_id=order_id), order_process_id(order_id)
    await place.client.start_workflow(
        OrderProcessingWorkflow.run, request, id=process, task_queue=TASK_QUEUE, **timeouts
    )


async def seen(place: RunningShop, order_id: str) -> Status:
    return await get_status(place.client, order_process_id(order_id))


def states(found: Status) -> dict[str, str]:
    assert found.progress is not None, found.progress_missing
    return {step.name: step.state for step in found.progress.steps}


async def test_a_fulfilled_order_is_told_with_its_steps_and_result(place: RunningShop) -> None:
    order_id = await order(place)
    async with place.worker():
        result = await place.process(order_id)
        found = await get_status(place.client, order_process_id(order_id), ui="http://localhost:8233/")
    assert (found.type, found.status, found.state, found.error) == (KIND, "completed", "completed", None)
    assert found.result == result.model_dump(mode="json")
    assert set(states(found).values()) == {"done"}
    assert found.progress and {step.attempts for step in found.progress.steps} == {1}
    assert found.ended_at and found.started_at < found.ended_at
    page = f"http://localhost:8233/namespaces/default/workflows/{found.transaction_id}/{found.run_id}/history"
    assert found.ui_url == page


async def test_an_undone_order_is_told_with_its_error_and_the_step_that_failed(place: RunningShop) -> None:  # (E14)
    order_id = await order(place)
    await place.inject_carrier_fault(operation="buy", fault="422")
    async with place.worker():
        await place.expect_failure(order_id)
        found = await seen(place, order_id)
    assert (found.status, found.state, found.failed_step) == ("failed", "compensated", "create-shipping-label")
    assert found.error and found.error.startswith("CarrierRefused: ") and found.result is None
    assert states(found)["create-fulfillment"] == "undone"


async def test_a_step_that_is_tried_again_is_told_with_its_attempts_and_last_error(place: RunningShop) -> None:
    order_id = await order(place)
    async with place.worker([Faults({"create-fulfillment": "before"}, permanent=False, times=4)]):
        handle = await place.start(order_id)

        async def tried() -> Status | None:
            found = await seen(place, order_id)
            tries = [step.attempts for step in found.progress.steps if step.error] if found.progress else []
            return found if tries and tries[0] > 1 else None

        found = await until(tried)
        assert (found.status, found.state) == ("running", "running")
        [error] = [step.error for step in found.progress.steps if step.error] if found.progress else []
        assert error == "Refused: create-fulfillment is refused by the test"
        await handle.result()
        found = await seen(place, order_id)
    assert found.progress and [step.attempts for step in found.progress.steps] == [1, 1, 1, 5, 1, 1, 1]


async def test_an_undo_that_is_tried_again_is_told_as_well(place: RunningShop) -> None:
    order_id = await order(place)
    faults = Faults({"complete-order": "before", "cancel-fulfillment": "before"})
    async with place.worker([Faults({"complete-order": "before"}), faults]):
        faults.steps, faults.permanent = {"cancel-fulfillment": "before"}, False
        handle = await place.start(order_id)

        async def undoing() -> Status | None:
            found = await seen(place, order_id)
            return found if "cancel-fulfillment" in states(found) else None

        found = await until(undoing)
        assert (found.status, found.state, found.failed_step) == ("running", "compensating", "complete-order")
        faults.steps = {}
        await wait_for_end(handle)
        assert (await seen(place, order_id)).state == "compensated"


async def test_a_cancelled_order_is_told_as_such(place: RunningShop) -> None:
    order_id = await order(place)
    async with place.worker([gate := Gate("create-fulfillment")]):
        await place.start(order_id)
        await gate.reached.wait()
        gate.opened.set()
        wait = timedelta(minutes=1)
        await cancel(place.client, place.database, order_process_id(order_id), reason="by mistake", wait=wait)
        found = await seen(place, order_id)
    assert (found.status, found.state) == ("cancelled", "compensated")


async def test_what_cuts_a_run_off_wins_over_what_the_run_says(place: RunningShop) -> None:
    terminated, timed_out = await order(place), await order(place)
    async with place.worker([gate := Gate("create-fulfillment")]):
        handle = await place.start(terminated)
        await gate.reached.wait()
        await handle.terminate()
        found = await seen(place, terminated)
        gate.opened.set()
    assert (found.status, found.state) == ("terminated", "failed")
    assert states(found)["reserve-inventory"] == "done" and states(found)["create-fulfillment"] == "failed"
    async with place.worker([gate := Gate("create-fulfillment")]):
        await start(place, timed_out, execution_timeout=timedelta(seconds=1))
        await gate.reached.wait()
        await wait_for_end(place.handle(timed_out))
        found = await seen(place, timed_out)
        gate.opened.set()
    assert (found.status, found.state) == ("timed_out", "failed")


async def test_an_undo_that_failed_for_good_is_told(place: RunningShop) -> None:
    order_id = await order(place)
    async with place.worker([Faults({"complete-order": "before", "release-inventory": "before"})]):
        await place.expect_failure(order_id)
        found = await seen(place, order_id)
    assert (found.status, found.state) == ("failed", "compensation_failed")
    assert states(found)["reserve-inventory"] == "undo_failed" and states(found)["create-fulfillment"] == "undone"
    what, why = "Refused: release-inventory is refused by the test", "Refused: complete-order is refused by the test"
    assert found.error == f"Could not undo reserve-inventory ({what}) after {why}"


async def test_without_a_worker_everything_but_the_steps_is_told(place: RunningShop) -> None:
    order_id = await order(place)
    await place.start(order_id)
    found = await seen(place, order_id)
    assert (found.status, found.progress) == ("running", None)
    assert found.progress_missing == "no worker answers within 2 s"
    await place.handle(order_id).terminate()


@pytest.mark.parametrize("process_id", ["nobody", "x" * 5_000])
async def test_an_id_that_nobody_runs_under_is_an_error(client: Client, process_id: str) -> None:
    with pytest.raises(ProcessNotFound):
        await get_status(client, process_id)


async def test_a_run_with_a_plain_bug_is_stuck_and_a_better_deploy_finishes_it(place: RunningShop) -> None:  # (E18)
    order_id = await order(place)
    process = order_process_id(order_id)

    async def stuck() -> Run | None:
        return find(await list_processes(place.client, "stuck", KIND), order_id)

    async with (
        open_activities(place.settings) as steps,
        Worker(place.client, task_queue=TASK_QUEUE, workflows=[BuggyProcess], activities=steps),
    ):
        await start(place, order_id, task_timeout=timedelta(seconds=1))  # a bug is tried again once that is over
        assert (await until(stuck)).status == "running"
        found = await seen(place, order_id)
        assert (found.status, found.error) == ("running", "ValueError: a plain bug")
        with pytest.raises(RetryRefused, match="its code fails: ValueError: a plain bug"):
            await retry(place.client, place.database, process, reason="impatience")
    async with place.worker():
        assert (await place.handle(order_id).result()).status == "fulfilled"
        found = await seen(place, order_id)
    assert (found.status, found.error) == ("completed", None)
    assert find(await list_processes(place.client, "stuck", KIND), order_id) is None


def find(page: Page, order_id: str) -> Run | None:
    return next((run for run in page.workflows if run.transaction_id == order_process_id(order_id)), None)


async def until_listed(place: RunningShop, wanted: Wanted, *order_ids: str) -> list[Run]:
    async def look() -> list[Run] | None:
        found = [find(await list_processes(place.client, wanted, KIND), order_id) for order_id in order_ids]
        return [run for run in found if run] if all(found) else None

    return await until(look)


async def test_processes_are_listed_by_their_latest_run_page_by_page(place: RunningShop) -> None:  # (E17)
    orders = [await order(place) for _ in range(4)]
    mended = orders[0]
    await place.inject_carrier_fault(operation="buy", fault="422")
    async with place.worker():
        for order_id in orders:
            await place.expect_failure(order_id)
        await place.expect_failure(orders[3])  # twice
        await until_listed(place, "failed", *orders)
        await place.clear_carrier_faults()
        await place.process(mended)
    [fine] = await until_listed(place, "completed", mended)
    assert (fine.status, fine.state, fine.failed_step) == ("completed", "completed", None)
    told: list[str] = []
    cursor = None
    for _ in range(3):
        page = await list_processes(place.client, "failed", KIND, limit=1, cursor=cursor)
        [run] = page.workflows
        assert (run.status, run.state, run.failed_step) == ("failed", "compensated", "create-shipping-label")
        told, cursor = [*told, run.transaction_id], page.next_cursor
    assert told == [order_process_id(order_id) for order_id in (orders[3], orders[2], orders[1])]
    assert find(await list_processes(place.client, "failed", KIND), mended) is None


async def test_what_was_cut_off_is_listed_with_the_failed(place: RunningShop) -> None:
    order_id = await order(place)
    handle = await place.start(order_id)
    assert (await until_listed(place, "running", order_id))[0].state == "running"
    await handle.terminate()
    [run] = await until_listed(place, "failed", order_id)
    assert (run.status, run.state) == ("terminated", "failed")


async def test_a_list_asked_for_wrongly_is_refused_naming_the_field(client: Client) -> None:
    wrong: list[tuple[dict[str, object], str]] = [
        ({"status": "happy"}, "status"),
        ({"kind": "x' OR '1'='1"}, "type"),
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"cursor": "aGVsbG8="}, "cursor"),
        ({"cursor": "ä"}, "cursor"),
        ({"cursor": "a"}, "cursor"),
    ]
    for asked, field in wrong:
        with pytest.raises(BadInput) as refused:
            await list_processes(client, **asked)  # type: ignore[arg-type]
        assert [problem.field for problem in refused.value.fields] == [field]


async def test_runs_are_counted_by_type_and_status(place: RunningShop) -> None:  # (E17)
    before = (await count_runs(place.client))[KIND].get("terminated", 0)
    for order_id in [await order(place) for _ in range(3)]:
        await (await place.start(order_id)).terminate()

    async def three_more() -> bool | None:
        return (await count_runs(place.client))[KIND].get("terminated", 0) >= before + 3 or None

    assert await until(three_more)
