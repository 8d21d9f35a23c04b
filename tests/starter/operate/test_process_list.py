"""Lists and counts of processes."""

import pytest
from temporalio.client import Client

from commerce.errors import BadInput, DismissRefused
from commerce.messages.orders import order_process_id
from commerce.messages.runs import Page, Run, StatusFilter
from starter.operate import bulk_cancel
from starter.operate.actions import dismiss
from starter.operate.process_list import Narrowing, count_runs, list_processes
from tests.commerce.shop import NOON
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


async def test_lists_are_narrowed_and_many_processes_cancelled(shop: RunningShop) -> None:
    orders = [await place_order(shop) for _ in range(2)]
    for order_id in orders:
        await shop.start(order_id)
    first = Narrowing(search=orders[0])

    async def found(only: Narrowing) -> list[str]:
        page = await list_processes(shop.client, None, KIND, only=only)
        return [run.transaction_id for run in page.workflows]

    await until_listed(shop, "running", *orders)
    process = order_process_id(orders[0])
    assert await found(first) == await found(Narrowing(search=process)) == [process]
    assert await found(Narrowing(search=orders[0], until=NOON)) == []
    assert await found(Narrowing(search=orders[0], since=NOON)) == [process]

    selected = await bulk_cancel.find(shop.client, bulk_cancel.Selection(only=first), 10)
    assert [run.transaction_id for run in selected.workflows] == [process] and not selected.more
    done = await bulk_cancel.cancel_found(shop.client, shop.database, selected, reason="by mistake")
    assert [each.transaction_id for each in done.cancelled] == [process] and not done.refused
    async with shop.worker():
        await until_listed(shop, "cancelled", orders[0])
        await shop.process(orders[1])
    await until_listed(shop, "completed", orders[1])
    assert await found(Narrowing(search=orders[1], outcome="fulfilled")) == [order_process_id(orders[1])]
    again = await bulk_cancel.cancel_found(shop.client, shop.database, selected, reason="by mistake")
    assert [(each.transaction_id, each.code) for each in again.refused] == [(process, "CancelRefused")]


async def test_a_dismissed_process_is_off_the_list_until_it_fails_again(shop: RunningShop) -> None:
    order_id = await place_order(shop)
    process = order_process_id(order_id)
    handle = await shop.start(order_id)
    with pytest.raises(DismissRefused, match="running"):
        await dismiss(shop.client, shop.database, process, reason="known")
    await handle.terminate()
    await until_listed(shop, "failed", order_id)
    for _ in range(2):
        await dismiss(shop.client, shop.database, process, reason="known")
    only = Narrowing(search=process)
    assert not (await list_processes(shop.client, "failed", only=only, database=shop.database)).workflows
    assert await shop.data.sql("SELECT action FROM operator_actions") == ["dismiss"]
    await (await shop.start(order_id)).terminate()

    async def listed_again() -> bool | None:
        return bool((await list_processes(shop.client, "failed", only=only, database=shop.database)).workflows) or None

    assert await until(listed_again)


async def test_wrong_arguments_are_refused_with_the_name_of_the_field(client: Client) -> None:
    wrong: list[tuple[dict[str, object], str]] = [
        ({"status": "happy"}, "status"),
        ({"kind": "x' OR '1'='1"}, "type"),
        ({"limit": 0}, "limit"),
        ({"limit": 501}, "limit"),
        ({"cursor": "aGVsbG8="}, "cursor"),
        ({"cursor": "ä"}, "cursor"),
        ({"cursor": "a"}, "cursor"),
        ({"only": Narrowing(outcome="x' OR '1'='1")}, "outcome"),
        ({"only": Narrowing(search="x' OR '1'='1")}, "search"),
        ({"only": Narrowing(since=NOON, until=NOON)}, "until"),
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
