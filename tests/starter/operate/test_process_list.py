"""Lists and counts of processes."""

import pytest
from temporalio.client import Client

from commerce.errors import BadInput
from commerce.messages.orders import order_process_id
from commerce.messages.runs import Page, Run, StatusFilter
from starter.operate.process_list import count_runs, list_processes
from tests.polling import until
from tests.running_shop import RunningShop
from tests.starter.operate.conftest import place_order

KIND = "order-processing"


def find(page: Page, order_id: str) -> Run | None:
    return next((run for run in page.workflows if run.transaction_id == order_process_id(order_id)), None)


async def until_listed(shop: RunningShop, wanted: StatusFilter, *order_ids: str) -> list[Run]:
    async def find_all() -> list[Run] | None:
        found = [find(await list_processes(shop.client, wanted, KIND), order_id) for order_id in order_ids]
        return [run for run in found if run] if all(found) else None

    return await until(find_all)


async def test_processes_are_listed_by_their_latest_run_in_pages(shop: RunningShop) -> None:  # (E17)
    orders = [await place_order(shop) for _ in range(4)]
    retried = orders[0]
    await shop.inject_carrier_fault(operation="buy", fault="422")
    async with shop.worker():
        for order_id in orders:
            await shop.expect_failure(order_id)
        await shop.expect_failure(orders[3])  # twice
        await until_listed(shop, "failed", *orders)
        await shop.clear_carrier_faults()
        await shop.process(retried)
    [completed] = await until_listed(shop, "completed", retried)
    assert (completed.status, completed.state, completed.failed_step) == ("completed", "completed", None)
    listed: list[str] = []
    cursor = None
    for _ in range(3):
        page = await list_processes(shop.client, "failed", KIND, limit=1, cursor=cursor)
        [run] = page.workflows
        assert (run.status, run.state, run.failed_step) == ("failed", "compensated", "create-shipping-label")
        listed, cursor = [*listed, run.transaction_id], page.next_cursor
    assert listed == [order_process_id(order_id) for order_id in (orders[3], orders[2], orders[1])]
    assert find(await list_processes(shop.client, "failed", KIND), retried) is None


async def test_terminated_processes_are_listed_as_failed(shop: RunningShop, order_id: str) -> None:
    handle = await shop.start(order_id)
    assert (await until_listed(shop, "running", order_id))[0].state == "running"
    await handle.terminate()
    [run] = await until_listed(shop, "failed", order_id)
    assert (run.status, run.state) == ("terminated", "failed")


async def test_wrong_arguments_are_refused_with_the_name_of_the_field(client: Client) -> None:
    wrong: list[tuple[dict[str, object], str]] = [
        ({"status": "happy"}, "status"),
        ({"kind": "x' OR '1'='1"}, "type"),
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"cursor": "aGVsbG8="}, "cursor"),
        ({"cursor": "ä"}, "cursor"),
        ({"cursor": "a"}, "cursor"),
    ]
    for arguments, field in wrong:
        with pytest.raises(BadInput) as refused:
            await list_processes(client, **arguments)  # type: ignore[arg-type]
        assert [problem.field for problem in refused.value.fields] == [field]


async def test_runs_are_counted_by_type_and_status(shop: RunningShop) -> None:  # (E17)
    before = (await count_runs(shop.client))[KIND].get("terminated", 0)
    for order_id in [await place_order(shop) for _ in range(3)]:
        await (await shop.start(order_id)).terminate()

    async def three_more() -> bool | None:
        return (await count_runs(shop.client))[KIND].get("terminated", 0) >= before + 3 or None

    assert await until(three_more)
