"""The status of processes that ended in every possible way, that are running, and that are stuck."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from commerce.errors import CancelRefused, ProcessNotFound, RetryRefused
from commerce.messages.orders import OrderProcessing, order_process_id
from commerce.messages.runs import ProcessStatus, Run
from starter.operate.actions import cancel, retry
from starter.operate.process_list import list_processes
from starter.operate.process_status import BUSY, get_status
from starter.processes import TASK_QUEUE
from tests.faults import Faults, Gate, Hold
from tests.polling import until
from tests.replay.changed import WithoutInventoryCheck
from tests.running_shop import RunningShop, is_cancel_requested, wait_for_end
from tests.starter.operate.conftest import place_order
from tests.system.buggy_worker import BuggyWorkflow
from worker import open_activities
from workflows.order_processing import OrderProcessingWorkflow


async def start(shop: RunningShop, order_id: str, **timeouts: Any) -> None:
    """Start an order's process with timeouts; the product sets none."""
    request, process = OrderProcessing(order_id=order_id), order_process_id(order_id)
    await shop.client.start_workflow(
        OrderProcessingWorkflow.run, request, id=process, task_queue=TASK_QUEUE, **timeouts
    )


async def status_of_order(shop: RunningShop, order_id: str) -> ProcessStatus:
    return await get_status(shop.client, order_process_id(order_id))


def step_states(status: ProcessStatus) -> dict[str, str]:
    assert status.progress is not None, status.progress_missing
    return {step.name: step.state for step in status.progress.steps}


async def test_a_fulfilled_order_has_all_steps_done_and_a_result(shop: RunningShop, order_id: str) -> None:
    async with shop.worker():
        result = await shop.process(order_id)
        status = await get_status(shop.client, order_process_id(order_id), ui="http://localhost:8233/")
    assert (status.type, status.status, status.state) == ("order-processing", "completed", "completed")
    assert status.error is None and status.result == result.model_dump(mode="json")
    assert set(step_states(status).values()) == {"done"}
    assert status.progress and {step.attempts for step in status.progress.steps} == {1}
    assert status.ended_at and status.started_at < status.ended_at
    page = f"http://localhost:8233/namespaces/default/workflows/{status.transaction_id}/{status.run_id}/history"
    assert status.ui_url == page


async def test_an_undone_order_shows_its_error_and_the_failed_step(shop: RunningShop, order_id: str) -> None:  # (E14)
    await shop.inject_carrier_fault(operation="buy", fault="422")
    async with shop.worker():
        await shop.expect_failure(order_id)
        status = await status_of_order(shop, order_id)
    assert (status.status, status.state, status.failed_step) == ("failed", "compensated", "create-shipping-label")
    assert status.error and status.error.startswith("CarrierRefused: ") and status.result is None
    assert step_states(status)["create-fulfillment"] == "undone"


async def test_a_step_being_retried_shows_its_attempts_and_last_error(shop: RunningShop, order_id: str) -> None:
    async with shop.worker([Faults({"create-fulfillment": "before"}, permanent=False, times=4)]):
        handle = await shop.start(order_id)

        async def retried() -> ProcessStatus | None:
            status = await status_of_order(shop, order_id)
            attempts = [step.attempts for step in status.progress.steps if step.error] if status.progress else []
            return status if attempts and attempts[0] > 1 else None

        status = await until(retried)
        assert (status.status, status.state) == ("running", "running")
        [error] = [step.error for step in status.progress.steps if step.error] if status.progress else []
        assert error == "Refused: create-fulfillment is refused by the test"
        await handle.result()
        status = await status_of_order(shop, order_id)
    assert status.progress and [step.attempts for step in status.progress.steps] == [1, 1, 1, 5, 1, 1, 1]


async def test_an_undo_being_retried_is_shown_too(shop: RunningShop, order_id: str) -> None:
    faults = Faults({"complete-order": "before", "cancel-fulfillment": "before"})
    async with shop.worker([Faults({"complete-order": "before"}), faults]):
        faults.steps, faults.permanent = {"cancel-fulfillment": "before"}, False
        handle = await shop.start(order_id)

        async def undoing() -> ProcessStatus | None:
            status = await status_of_order(shop, order_id)
            return status if "cancel-fulfillment" in step_states(status) else None

        status = await until(undoing)
        assert (status.status, status.state, status.failed_step) == ("running", "compensating", "complete-order")
        faults.steps = {}
        await wait_for_end(handle)
        assert (await status_of_order(shop, order_id)).state == "compensated"


async def test_a_cancelled_order_is_cancelled_and_compensated(shop: RunningShop, order_id: str) -> None:
    async with shop.worker([gate := Gate("create-fulfillment")]):
        handle = await shop.start(order_id)
        await gate.reached.wait()
        process_id, wait = order_process_id(order_id), timedelta(minutes=1)
        cancelling = asyncio.ensure_future(
            cancel(shop.client, shop.database, process_id, reason="by mistake", wait=wait)
        )
        await until(lambda: is_cancel_requested(handle))  # else the order may end first
        gate.opened.set()
        await cancelling
        status = await status_of_order(shop, order_id)
    assert (status.status, status.state) == ("cancelled", "compensated")


async def test_termination_and_timeout_override_the_workflows_own_state(shop: RunningShop) -> None:
    terminated, timed_out = await place_order(shop), await place_order(shop)
    async with shop.worker([gate := Gate("create-fulfillment")]):
        handle = await shop.start(terminated)
        await gate.reached.wait()
        await handle.terminate()
        status = await status_of_order(shop, terminated)
        gate.opened.set()
    assert (status.status, status.state) == ("terminated", "failed")
    assert step_states(status)["reserve-inventory"] == "done" and step_states(status)["create-fulfillment"] == "failed"
    async with shop.worker([gate := Gate("create-fulfillment")]):
        await start(shop, timed_out, execution_timeout=timedelta(seconds=1))
        await gate.reached.wait()
        await wait_for_end(shop.handle(timed_out))
        status = await status_of_order(shop, timed_out)
        gate.opened.set()
    assert (status.status, status.state) == ("timed_out", "failed")


async def test_a_permanently_failed_undo_is_shown_with_both_errors(shop: RunningShop, order_id: str) -> None:
    async with shop.worker([Faults({"complete-order": "before", "release-inventory": "before"})]):
        await shop.expect_failure(order_id)
        status = await status_of_order(shop, order_id)
    assert (status.status, status.state) == ("failed", "compensation_failed")
    states = step_states(status)
    assert states["reserve-inventory"] == "undo_failed" and states["create-fulfillment"] == "undone"
    what, why = "Refused: release-inventory is refused by the test", "Refused: complete-order is refused by the test"
    assert status.error == f"Could not undo reserve-inventory ({what}) after {why}"


async def test_a_failed_undo_of_a_cancelled_order_is_shown_with_the_cancel(shop: RunningShop, order_id: str) -> None:
    async with shop.worker([gate := Gate("create-fulfillment"), Faults({"release-inventory": "before"})]):
        handle = await shop.start(order_id)
        await gate.reached.wait()
        await handle.cancel()
        gate.opened.set()
        await wait_for_end(handle)
        status = await status_of_order(shop, order_id)
    what = "Refused: release-inventory is refused by the test"
    assert status.error == f"Could not undo reserve-inventory ({what}) after a cancel"


async def test_a_cancel_does_not_wait_for_a_process_whose_code_fails(shop: RunningShop, order_id: str) -> None:
    async with shop.worker([gate := Gate("reserve-inventory")]):
        await start(shop, order_id, task_timeout=timedelta(seconds=1))
        await gate.reached.wait()
        gate.opened.set()
    async with (
        open_activities(shop.settings) as steps,
        Worker(shop.client, task_queue=TASK_QUEUE, workflows=[BuggyWorkflow], activities=steps),
    ):
        process_id, wait = order_process_id(order_id), timedelta(minutes=10)
        async with asyncio.timeout(60):
            await cancel(shop.client, shop.database, process_id, reason="by mistake", wait=wait)
        status = await status_of_order(shop, order_id)
    assert status.status == "running" and status.error
    async with shop.worker():
        await wait_for_end(shop.handle(order_id))
        assert (await status_of_order(shop, order_id)).status == "cancelled"


async def test_a_run_with_unfit_input_says_so_where_its_progress_is_missing(shop: RunningShop) -> None:
    process_id = order_process_id(uuid4().hex)
    async with shop.worker():
        unfit = await shop.client.start_workflow("order-processing", [1], id=process_id, task_queue=TASK_QUEUE)
        await asyncio.gather(unfit.result(), return_exceptions=True)
        status = await get_status(shop.client, process_id)
    assert status.progress_missing == "it has no steps, because its input is invalid"
    assert status.error and status.error.startswith("BadInput: Invalid input: ")


async def test_without_a_worker_only_the_progress_is_missing(shop: RunningShop, order_id: str) -> None:
    await shop.start(order_id)
    status = await status_of_order(shop, order_id)
    assert (status.status, status.progress) == ("running", None)
    assert status.progress_missing == "no worker answered within 2 s"
    await shop.handle(order_id).terminate()


async def test_a_worker_that_is_busy_with_a_local_step_is_not_reported_as_missing(
    shop: RunningShop, order_id: str
) -> None:
    hold = Hold("check-inventory")
    async with shop.worker([hold]):
        handle = await shop.start(order_id)
        await hold.reached.wait()
        status = await status_of_order(shop, order_id)
        hold.opened.set()
        await handle.result()
    assert (status.status, status.state, status.progress_missing) == ("running", "running", BUSY)


@pytest.mark.parametrize("process_id", ["unknown", "x" * 5_000])
async def test_an_unknown_process_id_is_an_error(client: Client, process_id: str) -> None:
    with pytest.raises(ProcessNotFound):
        await get_status(client, process_id)


async def test_a_run_with_a_bug_is_stuck_and_a_fixed_deploy_finishes_it(  # (E18)
    shop: RunningShop, order_id: str
) -> None:
    process_id = order_process_id(order_id)

    async def stuck() -> Run | None:
        page = await list_processes(shop.client, "stuck", "order-processing")
        return next((run for run in page.workflows if run.transaction_id == process_id), None)

    async with (
        open_activities(shop.settings) as steps,
        Worker(shop.client, task_queue=TASK_QUEUE, workflows=[BuggyWorkflow], activities=steps),
    ):
        await start(shop, order_id, task_timeout=timedelta(seconds=1))  # Temporal retries the failing task after it
        assert (await until(stuck)).status == "running"
        status = await status_of_order(shop, order_id)
        assert (status.status, status.error) == ("running", "ValueError: a plain bug")
        with pytest.raises(RetryRefused, match="its code fails: ValueError: a plain bug"):
            await retry(shop.client, shop.database, process_id, reason="impatience")
        with pytest.raises(CancelRefused, match="its code fails: ValueError: a plain bug"):
            await cancel(shop.client, shop.database, process_id, reason="impatience")
    async with shop.worker():
        assert (await shop.handle(order_id).result()).status == "fulfilled"
        status = await status_of_order(shop, order_id)
    assert (status.status, status.error) == ("completed", None)
    assert await stuck() is None


@pytest.mark.waits(30)
async def test_a_run_that_the_present_code_cannot_replay_is_stuck_and_the_reason_is_readable(
    shop: RunningShop, order_id: str
) -> None:  # (E18)
    process_id = order_process_id(order_id)
    async with shop.worker([gate := Gate("create-shipping-label")]):
        await start(shop, order_id, task_timeout=timedelta(seconds=1))
        await gate.reached.wait()

    async def stuck() -> ProcessStatus | None:
        status = await status_of_order(shop, order_id)
        return status if status.error else None

    async with (
        open_activities(shop.settings) as steps,
        Worker(shop.client, task_queue=TASK_QUEUE, workflows=[WithoutInventoryCheck], activities=steps),
    ):
        status = await until(stuck)
        assert status.error is not None
        assert status.error.startswith("NondeterminismError: the recorded answer is not one of reserve-inventory")
        assert status.progress_missing is not None and "Encoded failure" not in status.progress_missing
        with pytest.raises(CancelRefused, match="its code fails: NondeterminismError: "):
            await cancel(shop.client, shop.database, process_id, reason="impatience")
    async with shop.worker():
        assert (await shop.handle(order_id).result()).status == "fulfilled"
