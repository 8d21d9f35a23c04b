"""The first step of an order's process, while a step of an older run is still running (E12)."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from temporalio.testing import ActivityEnvironment

from activities.boundary import generations
from activities.orders import OrderActivities
from commerce import inventory, ledger
from commerce.database import Database
from commerce.errors import HighRisk, OrderOnHold
from commerce.messages.orders import OrderRef, OrderStart, Reserved, ValidOrder
from commerce.messages.steps import Begin, Call, StepKey
from tests.commerce.shop import Shop

ORDER = OrderRef(order_id="1")
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


def key(step: str, generation: str) -> StepKey:
    return StepKey(business_key="order-processing-1", step=step, generation=generation)


async def newest_run() -> bool:
    """Answer for Temporal: the calling run is the newest of its process."""
    return True


async def validate(steps: OrderActivities, generation: str, *, unless_held: bool = False) -> ValidOrder:
    """Run the first step as an activity of the run with this id."""
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, workflow_run_id=generation)
    start = OrderStart(order_id=ORDER.order_id, unless_held=unless_held)
    call = Begin(key=key("validate-order", generation), input=start, started_at=datetime(2026, 1, 1, tzinfo=UTC))
    return await environment.run(steps.validate, call)


async def test_a_new_run_waits_for_a_reservation_of_an_older_run_and_finds_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "_is_newest_run", newest_run)
    shop, steps = Shop(database), OrderActivities(database, ZoneInfo("UTC"))
    await shop.stock("MUG", main=3)
    await shop.order("1", MUG=1)
    await validate(steps, "g1")
    claimed, go_on = asyncio.Event(), asyncio.Event()

    async def reserve() -> Reserved:
        call = Call(key=key("reserve-inventory", "g1"), input=ORDER, undo="release-inventory")
        async with database.transaction() as tx:

            async def effect() -> Reserved:
                claimed.set()
                await go_on.wait()
                return await inventory.reserve(tx, "1")

            return await ledger.once(tx, call, Reserved, effect)

    reserving = asyncio.create_task(reserve())
    await claimed.wait()
    validating = asyncio.create_task(validate(steps, "g2"))
    await asyncio.sleep(0.2)  # enough time to lock what it can
    go_on.set()
    assert (await reserving).units == 1
    assert [leftover.undo for leftover in (await validating).leftovers] == ["release-inventory"]
    assert await shop.sql(DEADLOCKS) == [0]


async def test_v1_a_first_step_whose_answer_was_lost_is_refused_for_the_same_reason(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order that an event or a job has started is not on hold for the run that has put it there."""
    monkeypatch.setattr(generations, "_is_newest_run", newest_run)
    shop, steps = Shop(database), OrderActivities(database, ZoneInfo("UTC"))
    await shop.stock("MUG", main=3)
    await shop.order("1", MUG=1, columns={"risk_level": "high"})
    for _ in range(2):
        with pytest.raises(HighRisk):
            await validate(steps, "g1", unless_held=True)
    with pytest.raises(OrderOnHold):
        await validate(steps, "g2", unless_held=True)
    for _ in range(2):  # a person's start, twice
        assert (await validate(steps, "g3")).lines == 1
