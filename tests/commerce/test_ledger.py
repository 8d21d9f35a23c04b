"""The step ledger: an effect happens once per key, whatever is retried, undone, concurrent or outdated (E5, E12)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import generations, ledger
from commerce.database import Database
from commerce.errors import StaleGeneration, StepDiffers, StepInProgress, StepWithdrawn
from commerce.ledger import StepRecord
from commerce.messages.base import Nothing
from commerce.messages.orders import OrderRef, Reserved
from commerce.messages.steps import Call, Leftover, StepKey
from tests.commerce.shop import let_pass

ORDER = OrderRef(order_id="1")
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
ANSWER = Reserved(reservations=1, units=2)


def key(step: str, generation: str, business_key: str = "order-1") -> StepKey:
    return StepKey(business_key=business_key, step=step, generation=generation)


def call(step: str = "reserve", generation: str = "g1", undo: str | None = "release") -> Call[OrderRef]:
    return Call(key=key(step, generation), input=ORDER, undo=undo)


class Effect:
    """The effect of the steps in these tests: a row, which is visible once it is committed."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def apply(self, tx: AsyncSession, answer: Reserved = ANSWER) -> Reserved:
        await tx.execute(text("INSERT INTO products (id, title) VALUES (uuidv7()::text, 'effect')"))
        return answer

    async def revert(self, tx: AsyncSession) -> None:
        gone = "DELETE FROM products WHERE id = (SELECT max(id) FROM products) RETURNING id"
        (await tx.execute(text(gone))).one()

    async def count(self) -> int:
        async with self.database.transaction() as tx:
            return int(await tx.scalar(text("SELECT count(*) FROM products")) or 0)

    async def begin(
        self, generation: str, replaced: str | None = None, business_key: str = "order-1"
    ) -> list[Leftover]:
        """Begin a run that may replace a generation, and return the leftovers."""
        first = key("validate", generation, business_key)
        async with self.database.transaction() as tx:
            assert await generations.begin(tx, first, replaced=replaced)
            return await generations.find_leftovers(tx, first)

    async def do(self, step: Call[OrderRef], *, final: bool = False) -> Reserved:
        async with self.database.transaction() as tx:
            return await ledger.once(tx, step, Reserved, lambda: self.apply(tx), final=final)

    async def undo(self, step: Call[OrderRef]) -> None:
        async with self.database.transaction() as tx:
            await ledger.undo(tx, step, Reserved, lambda _: self.revert(tx))


@pytest.fixture
async def effect(database: Database) -> Effect:
    effect = Effect(database)
    await effect.begin("g1")
    return effect


@asynccontextmanager
async def uncommitted(effect: Effect, step: Call[OrderRef], *, final: bool = False) -> AsyncIterator[None]:
    """Run a step in a transaction that commits only at the end of the block."""
    async with effect.database.transaction() as tx:
        await ledger.once(tx, step, Reserved, lambda: effect.apply(tx), final=final)
        yield


async def is_waiting(task: asyncio.Task[object]) -> bool:
    await asyncio.sleep(0.2)
    return not task.done()


@pytest.mark.parametrize(
    "other",
    [
        {"input": OrderRef(order_id="1", revision=2)},  # the order has changed
        {"undo": "release-all"},  # another version of the code runs
    ],
)
async def test_a_step_that_was_done_for_another_input_is_refused(effect: Effect, other: dict[str, Any]) -> None:
    first = Call(key=key("reserve", "g1"), input=OrderRef(order_id="1", revision=1), undo="release")
    await effect.do(first)
    with pytest.raises(StepDiffers):
        await effect.do(first.model_copy(update=other))
    assert await effect.do(first) == ANSWER and await effect.count() == 1
    await effect.undo(first)
    assert await effect.count() == 0


async def test_a_step_is_the_same_if_another_version_has_more_fields(effect: Effect) -> None:
    await effect.do(call())

    class Newer(OrderRef):
        express: bool = False

    newer = Call(key=key("reserve", "g1"), input=Newer(order_id="1"), undo="release")
    assert await effect.do(newer) == ANSWER  # type: ignore[arg-type]


async def test_the_undoable_steps_of_a_generation_are_found_newest_first(effect: Effect) -> None:
    for step in ("reserve", "fulfill", "label"):
        await effect.do(call(step))
    await effect.do(call("complete", undo=None))
    await effect.undo(call("label"))
    async with effect.database.transaction() as tx:
        found = await generations.find_undoable(tx, key("any", "g1"))
        assert await generations.find_undoable(tx, key("any", "g2")) == []
    assert [(each.undo, each.call["key"]["step"]) for each in found] == [("release", "fulfill"), ("release", "reserve")]


async def test_a_repeated_step_returns_the_recorded_result(effect: Effect) -> None:
    assert await effect.do(call()) == ANSWER
    async with effect.database.transaction() as tx:
        other = Reserved(reservations=9, units=9)
        assert await ledger.once(tx, call(), Reserved, lambda: effect.apply(tx, other)) == ANSWER
    assert await effect.count() == 1


async def test_an_empty_result_is_recorded_too(effect: Effect) -> None:
    for _ in range(2):
        async with effect.database.transaction() as tx:

            async def nothing(tx: AsyncSession = tx) -> Nothing:
                await effect.apply(tx)
                return Nothing()

            assert await ledger.once(tx, call(), Nothing, nothing) == Nothing()
    assert await effect.count() == 1


async def test_a_failed_step_leaves_nothing_and_can_be_retried(effect: Effect) -> None:
    async def fail(tx: AsyncSession) -> Reserved:
        await effect.apply(tx)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with effect.database.transaction() as tx:
            await ledger.once(tx, call(), Reserved, lambda: fail(tx))
    assert await effect.count() == 0
    await effect.do(call())
    assert await effect.count() == 1


async def test_concurrent_attempts_have_one_effect_and_one_result(effect: Effect) -> None:
    answers = await asyncio.gather(*(effect.do(call()) for _ in range(8)))
    assert answers == [ANSWER] * 8
    assert await effect.count() == 1


async def test_a_step_behind_its_tombstone_is_always_refused(effect: Effect) -> None:
    await effect.undo(call())
    for _ in range(2):
        with pytest.raises(StepWithdrawn):
            await effect.do(call())
    assert await effect.count() == 0


async def test_undoing_happens_once(effect: Effect) -> None:
    await effect.do(call("other"))
    await effect.do(call())
    for _ in range(2):
        await effect.undo(call())
        assert await effect.count() == 1


async def test_concurrent_undos_happen_once(effect: Effect) -> None:
    await effect.do(call("other"))
    await effect.do(call())
    await asyncio.gather(*(effect.undo(call()) for _ in range(5)))
    assert await effect.count() == 1


async def test_undoing_a_step_that_never_happened_does_nothing(effect: Effect) -> None:
    await effect.do(call("other"))
    await effect.undo(call())
    await effect.undo(call())
    assert await effect.count() == 1


async def test_a_failed_undo_can_be_retried(effect: Effect) -> None:
    await effect.do(call())

    async def fail(_: Reserved) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with effect.database.transaction() as tx:
            await ledger.undo(tx, call(), Reserved, fail)
    await effect.undo(call())
    assert await effect.count() == 0


async def test_an_undo_waits_for_an_uncommitted_step_and_undoes_it(effect: Effect) -> None:
    async with uncommitted(effect, call()):
        undoing = asyncio.create_task(effect.undo(call()))
        assert await is_waiting(undoing)
    await undoing
    assert await effect.count() == 0


async def test_a_step_waits_for_an_uncommitted_undo_and_is_refused(effect: Effect) -> None:
    async with effect.database.transaction() as tx:
        await ledger.undo(tx, call(), Reserved, lambda _: effect.revert(tx))
        late = asyncio.create_task(effect.do(call()))
        assert await is_waiting(late)
    with pytest.raises(StepWithdrawn):
        await late
    assert await effect.count() == 0


async def test_a_run_that_has_not_begun_may_not_run_steps(effect: Effect) -> None:
    with pytest.raises(StaleGeneration):
        await effect.do(call(generation="g0"))
    with pytest.raises(StaleGeneration):
        async with effect.database.transaction() as tx:
            await ledger.acquire(tx, call(generation="g0"), MINUTE)


async def test_an_older_generation_may_only_undo(effect: Effect) -> None:
    await effect.do(call())
    await effect.begin("g2", "g1")
    for step in ("reserve", "fulfill"):
        with pytest.raises(StaleGeneration):
            await effect.do(call(step))
    await effect.undo(call())
    with pytest.raises(StepWithdrawn):
        await effect.do(call())
    assert await effect.count() == 0


async def test_a_run_replaces_only_the_generation_that_it_has_seen(effect: Effect) -> None:
    await effect.begin("g2", "g1")
    async with effect.database.transaction() as tx:
        for generation, replaced in (("g1", None), ("g1.5", "g1"), ("g3", "g1"), ("g3", None)):
            assert not await generations.begin(tx, key("validate", generation), replaced=replaced)
            assert await generations.current_generation(tx, "order-1") == "g2"
        assert await generations.current_generation(tx, "order-2") is None
    await effect.begin("g2")  # the same again may
    await effect.do(call(generation="g2"))


async def test_of_two_runs_that_replace_the_same_generation_one_begins(effect: Effect) -> None:
    async def begin(generation: str) -> bool:
        async with effect.database.transaction() as tx:
            return await generations.begin(tx, key("validate", generation), replaced="g1")

    assert sorted(await asyncio.gather(begin("g2"), begin("g3"))) == [False, True]


async def test_each_business_key_has_its_own_generations(effect: Effect) -> None:
    await effect.do(call())
    assert await effect.begin("g9", business_key="order-2") == []
    await effect.do(call("fulfill"))


async def test_leftovers_are_listed_newest_first_with_the_input_of_their_undos(effect: Effect) -> None:
    kept: Call[OrderRef] = Call(key=key("pay", "g1"), input=ORDER, undo="refund", undo_input={"amount": 5})
    await effect.do(call())
    await effect.do(kept)
    await effect.do(call("notify", undo=None))
    await effect.do(call("fulfill", undo="cancel"))
    await effect.undo(call("fulfill"))
    async with effect.database.transaction() as tx:
        await ledger.acquire(tx, call("label", undo="void"), MINUTE)
    leftovers = await effect.begin("g2", "g1")
    assert [leftover.undo for leftover in leftovers] == ["void", "refund", "release"]
    assert leftovers[1].call == {"key": kept.key.model_dump(), "input": {"amount": 5}}
    assert leftovers[2].call == {"key": call().key.model_dump(), "input": ORDER.model_dump()}
    await effect.do(call(generation="g2"))
    assert len(await effect.begin("g2")) == 3  # without its own steps
    assert [leftover.call["key"]["generation"] for leftover in await effect.begin("g3", "g2")] == ["g2", *["g1"] * 3]


async def test_an_unfinished_undo_is_a_leftover(effect: Effect) -> None:
    async with effect.database.transaction() as tx:
        await ledger.acquire(tx, call("label", undo="void"), MINUTE)
    async with effect.database.transaction() as tx:
        await ledger.withdraw(tx, call("label"))
    assert [leftover.undo for leftover in await effect.begin("g2", "g1")] == ["void"]
    async with effect.database.transaction() as tx:
        await ledger.record_undone(tx, call("label").key)
    assert await effect.begin("g2") == []


async def test_a_run_whose_final_step_is_done_has_no_leftovers(effect: Effect) -> None:
    await effect.do(call())
    await effect.do(call("complete", undo=None), final=True)
    assert await effect.begin("g2", "g1") == []


async def test_a_new_run_waits_for_an_uncommitted_step_and_finds_it(effect: Effect) -> None:
    async with uncommitted(effect, call()):
        beginning = asyncio.create_task(effect.begin("g2", "g1"))
        assert await is_waiting(beginning)
    assert [leftover.undo for leftover in await beginning] == ["release"]


async def test_a_new_run_waits_for_an_uncommitted_final_step(effect: Effect) -> None:
    await effect.do(call())
    async with uncommitted(effect, call("complete", undo=None), final=True):
        beginning = asyncio.create_task(effect.begin("g2", "g1"))
        assert await is_waiting(beginning)
    assert await beginning == []


async def test_a_step_waits_for_an_uncommitted_new_run_and_is_refused(effect: Effect) -> None:
    await effect.do(call())
    async with effect.database.transaction() as tx:
        assert await generations.begin(tx, key("validate", "g2"), replaced="g1")
        late = [asyncio.create_task(effect.do(call(step))) for step in ("reserve", "fulfill")]
        assert await is_waiting(late[0])
        assert not late[1].done()
    for task in late:
        with pytest.raises(StaleGeneration):
            await task
    assert await effect.count() == 1


async def acquire(effect: Effect, lease: timedelta = MINUTE) -> StepRecord:
    async with effect.database.transaction() as tx:
        return await ledger.acquire(tx, call(), lease)


async def release(effect: Effect, lease_until: datetime | None, max_delay: timedelta | None = None) -> None:
    async with effect.database.transaction() as tx:
        await ledger.release(tx, call().key, lease_until, max_delay)


async def record_result(effect: Effect, answer: Reserved = ANSWER) -> bool:
    async with effect.database.transaction() as tx:
        return await ledger.record_result(tx, call().key, answer)


async def withdraw(effect: Effect) -> StepRecord:
    async with effect.database.transaction() as tx:
        return await ledger.withdraw(tx, call())


async def test_a_lease_keeps_other_attempts_out_until_it_is_released(effect: Effect) -> None:
    first = await acquire(effect)
    with pytest.raises(StepInProgress):
        await acquire(effect)
    await release(effect, first.lease_until)
    assert (await acquire(effect)).lease_until is not None


async def test_a_lease_ends(effect: Effect) -> None:
    await acquire(effect, timedelta(milliseconds=1))
    await asyncio.sleep(0.01)
    await acquire(effect)


async def test_an_attempt_releases_only_its_own_lease(effect: Effect) -> None:
    slow = await acquire(effect, timedelta(milliseconds=1))
    await asyncio.sleep(0.01)
    await acquire(effect)
    await release(effect, slow.lease_until)
    await release(effect, None)
    with pytest.raises(StepInProgress):
        await acquire(effect)


async def test_one_of_several_concurrent_attempts_gets_the_lease(effect: Effect) -> None:
    answers = await asyncio.gather(*(acquire(effect) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(answer, StepRecord) for answer in answers) == 1
    assert sum(isinstance(answer, StepInProgress) for answer in answers) == 4


async def test_the_first_note_is_kept_and_the_next_attempt_finds_it(effect: Effect) -> None:
    lease = (await acquire(effect)).lease_until
    for number in (1, 2):
        async with effect.database.transaction() as tx:
            assert await ledger.save_note(tx, call().key, {"shipment_id": number}) == {"shipment_id": 1}
    await release(effect, lease)
    assert (await acquire(effect)).note == {"shipment_id": 1}


async def test_after_an_unanswered_attempt_the_next_may_run_but_the_outcome_stays_unknown(effect: Effect) -> None:
    lease = (await acquire(effect)).lease_until
    async with effect.database.transaction() as tx:
        await ledger.save_note(tx, call().key, {"shipment_id": 1})
    await release(effect, lease, max_delay=HOUR)
    again = await acquire(effect)
    assert again.note and again.note["shipment_id"] == 1
    await release(
        effect, again.lease_until
    )  # this one was answered; the request of the one before may still be carried out
    assert (await withdraw(effect)).outcome_unknown
    await let_pass(effect.database, HOUR / 2)
    assert (await withdraw(effect)).outcome_unknown
    await let_pass(effect.database, HOUR / 2)
    assert not (await withdraw(effect)).outcome_unknown


async def test_a_result_is_recorded_once_and_returned_to_the_next_attempt(effect: Effect) -> None:
    await acquire(effect)
    assert await record_result(effect)
    assert not await record_result(effect, Reserved(reservations=9, units=9))
    again = await acquire(effect)
    assert (again.state, again.result, again.lease_until) == ("done", ANSWER.model_dump(), None)


async def test_a_withdrawn_step_can_neither_save_a_note_nor_record_a_result_nor_be_acquired(effect: Effect) -> None:
    lease = (await acquire(effect)).lease_until
    async with effect.database.transaction() as tx:
        await ledger.save_note(tx, call().key, {"shipment_id": 1})
    assert await withdraw(effect) == StepRecord("started", {"shipment_id": 1}, None, leased=True, outcome_unknown=True)
    with pytest.raises(StepWithdrawn):
        await record_result(effect)
    with pytest.raises(StepWithdrawn):
        async with effect.database.transaction() as tx:
            await ledger.save_note(tx, call().key, {"shipment_id": 2})
    await release(effect, lease)
    with pytest.raises(StepWithdrawn):
        await acquire(effect)
    assert await withdraw(effect) == StepRecord("undoing", {"shipment_id": 1}, None, leased=False)


async def test_an_undo_gets_the_record_of_the_step_until_it_is_finished(effect: Effect) -> None:
    await acquire(effect)
    await record_result(effect)
    assert await withdraw(effect) == StepRecord("done", None, ANSWER.model_dump(), leased=False)
    assert (await withdraw(effect)).state == "undoing"
    async with effect.database.transaction() as tx:
        await ledger.record_undone(tx, call().key)
    for _ in range(2):
        assert (await withdraw(effect)).state == "undone"


async def test_the_undo_of_a_step_that_was_never_claimed_leaves_a_tombstone(effect: Effect) -> None:
    assert await withdraw(effect) == StepRecord(None, None, None, leased=False)
    with pytest.raises(StepWithdrawn):
        await acquire(effect)


async def test_a_closed_generation_begins_no_more_steps_and_can_be_undone(effect: Effect) -> None:
    await effect.do(call("reserve"))
    async with effect.database.transaction() as tx:
        await generations.close(tx, key("any", "g1"))
    with pytest.raises(StaleGeneration):
        await effect.do(call("fulfill"))
    assert await effect.begin("g1") == []  # a late first step
    with pytest.raises(StaleGeneration):
        await effect.do(call("fulfill"))
    await effect.undo(call("reserve"))
    assert await effect.count() == 0
    assert await effect.begin("g2", replaced="g1") == []
    assert await effect.do(call("fulfill", "g2")) == ANSWER


async def test_closing_waits_for_a_step_that_has_claimed_its_key(effect: Effect) -> None:
    async def close() -> list[Leftover]:
        async with effect.database.transaction() as tx:
            await generations.close(tx, key("any", "g1"))
            return await generations.find_undoable(tx, key("any", "g1"))

    async with uncommitted(effect, call("reserve")):
        closing = asyncio.create_task(close())
        assert await is_waiting(closing)
    assert [found.call["key"]["step"] for found in await closing] == ["reserve"]


async def close(effect: Effect) -> str | None:
    async with effect.database.transaction() as tx:
        return await generations.close(tx, key("any", "g1"))


async def test_closing_waits_for_a_final_step_that_has_claimed_its_key_and_finds_it(effect: Effect) -> None:  # (E10)
    final = call("complete", undo=None)
    await effect.do(call("reserve"))
    async with uncommitted(effect, final, final=True):
        closing = asyncio.create_task(close(effect))
        assert await is_waiting(closing)
    assert await closing == "complete"
    assert await close(effect) == "complete"  # however often it is asked
    assert await effect.do(final, final=True) == ANSWER and await effect.count() == 2
    assert await effect.begin("g2", "g1") == []


async def test_a_late_final_step_waits_for_an_uncommitted_close_and_is_refused(effect: Effect) -> None:  # (E10)
    """A worker that was frozen claims its final step while its run decides to undo."""
    await effect.do(call("reserve"))
    async with effect.database.transaction() as tx:
        assert await generations.close(tx, key("any", "g1")) is None
        late = asyncio.create_task(effect.do(call("complete", undo=None), final=True))
        assert await is_waiting(late)
    with pytest.raises(StaleGeneration):
        await late
    assert await close(effect) is None
    assert await effect.count() == 1


async def test_a_final_step_that_is_rolled_back_is_not_done(effect: Effect) -> None:  # (E10)
    with pytest.raises(ZeroDivisionError):
        async with uncommitted(effect, call("complete", undo=None), final=True):
            raise ZeroDivisionError
    assert await close(effect) is None
    with pytest.raises(StaleGeneration):
        await effect.do(call("complete", undo=None), final=True)


async def test_the_final_step_of_another_generation_is_not_that_of_the_run(effect: Effect) -> None:
    await effect.do(call("complete", undo=None), final=True)
    await effect.begin("g2", "g1")
    async with effect.database.transaction() as tx:
        assert await generations.close(tx, key("any", "g2")) is None


async def test_a_run_whose_first_step_never_succeeded_can_be_closed(effect: Effect) -> None:
    async with effect.database.transaction() as tx:
        await generations.close(tx, key("any", "g1", "order-2"))
    await effect.begin("g1", business_key="order-2")
    with pytest.raises(StaleGeneration):
        await effect.do(Call(key=key("reserve", "g1", "order-2"), input=ORDER, undo="release"))


async def test_a_late_close_of_an_older_generation_does_not_reopen_the_current_one(effect: Effect) -> None:
    for generation in ("g1", "g0"):
        async with effect.database.transaction() as tx:
            await generations.close(tx, key("any", generation))
    with pytest.raises(StaleGeneration):
        await effect.do(call("reserve"))
