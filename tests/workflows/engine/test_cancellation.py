"""Awaiting steps while failures and cancels arrive: each helper alone, without a worker."""

import asyncio
from collections.abc import Awaitable

import pytest
from temporalio.exceptions import ApplicationError, CancelledError

from workflows.engine.cancellation import allow_failure, gather, uninterrupted


async def after(released: asyncio.Event, answer: str) -> str:
    await released.wait()
    return answer


async def fail_after(released: asyncio.Event, message: str) -> str:
    await released.wait()
    raise ApplicationError(message)


async def test_gather_returns_results_in_argument_order() -> None:  # (E8)
    first, second = asyncio.Event(), asyncio.Event()
    gathering = asyncio.create_task(gather(after(first, "a"), after(second, "b")))
    second.set()
    await asyncio.sleep(0)
    first.set()
    assert await gathering == ["a", "b"]


async def test_gather_waits_for_all_steps_and_raises_the_first_error_in_argument_order() -> None:  # (E4, E8)
    events = [asyncio.Event() for _ in range(3)]
    steps: list[Awaitable[str]] = [
        after(events[0], "a"),
        fail_after(events[1], "second argument"),
        fail_after(events[2], "third argument"),
    ]
    gathering = asyncio.create_task(gather(*steps))
    events[2].set()
    events[1].set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not gathering.done()
    events[0].set()
    with pytest.raises(ApplicationError, match="second argument"):
        await gathering


async def test_uninterrupted_work_ends_despite_repeated_cancels() -> None:  # (E10)
    released, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await released.wait()
        done.set()

    waiting = asyncio.create_task(uninterrupted(work()))
    for _ in range(3):
        await asyncio.sleep(0)
        waiting.cancel()
    await asyncio.sleep(0)
    released.set()
    await waiting
    assert done.is_set()


async def test_a_step_that_may_fail_returns_none_but_a_cancel_passes_through() -> None:  # (E7)
    released = asyncio.Event()
    released.set()
    assert await allow_failure(after(released, "a")) == "a"
    assert await allow_failure(fail_after(released, "no")) is None

    async def cancelled() -> str:
        raise CancelledError

    with pytest.raises(CancelledError):
        await allow_failure(cancelled())
