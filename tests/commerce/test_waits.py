"""Rows of waits: the row decides between answers, the deadline and the end of the process (W2)."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commerce import waits
from commerce.errors import (
    ActionRefused,
    AlreadyAnswered,
    ConstraintViolated,
    RetryRefused,
    StaleGeneration,
    StepWithdrawn,
    WaitNotFound,
    WaitOver,
)
from commerce.messages.steps import StepKey
from commerce.messages.waits import MAX_ROUNDS, Answer, CloseWait, EndedWait, OpenWait, WaitKey
from tests.commerce.shop import Shop, begin_generation

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
YES, NO, AGAIN = (
    Answer(answer="success", data={"units": 3}),
    Answer(answer="failure", reason="no"),
    Answer(answer="retry"),
)
TRIES = 200


def key(number: int = 1, generation: str = "g1", process: str = "order-1") -> WaitKey:
    return WaitKey(business_key=process, step="review", generation=generation, round=number)


def opening(wait: WaitKey) -> OpenWait:
    return OpenWait(key=wait, asked_at=NOW, until=NOW + timedelta(days=2))


def closing(wait: WaitKey, end: Any = "expired") -> CloseWait:
    return CloseWait(**dict(opening(wait)), end=end)


async def open_wait(shop: Shop, wait: WaitKey) -> WaitKey:
    await shop.call(begin_generation, wait)
    await shop.call(waits.open_wait, opening(wait))
    return wait


async def record(shop: Shop, wait: WaitKey, answer: Answer, idempotency_key: str | None = None) -> str:
    """Record an answer; return its digest."""
    return (await shop.call(waits.record, wait, answer, by="test", idempotency_key=idempotency_key)).digest


async def test_the_same_answer_under_the_same_key_is_accepted_again_and_another_is_refused(shop: Shop) -> None:  # (W2)
    wait = await open_wait(shop, key())
    first = await record(shop, wait, YES, "k1")
    assert await record(shop, wait, YES, "k1") == first
    for answer, idempotency_key in ((NO, "k1"), (YES, "k2"), (NO, "k2"), (YES, None)):
        with pytest.raises(AlreadyAnswered):
            await record(shop, wait, answer, idempotency_key)
    assert await shop.call(waits.deliver, wait, first) == EndedWait(round=1, kind="success", data={"units": 3})


async def test_without_an_idempotency_key_the_content_identifies_an_answer_to_a_round(shop: Shop) -> None:  # (W2)
    first = await open_wait(shop, key())
    digest = await record(shop, first, AGAIN)
    assert await record(shop, first, AGAIN) == digest
    second = await open_wait(shop, key(2))
    assert await record(shop, second, AGAIN) != digest


async def test_a_repeated_retry_is_no_answer_to_the_next_round(shop: Shop) -> None:  # (W4)
    digest = await record(shop, await open_wait(shop, key()), AGAIN, "k1")
    second = await open_wait(shop, key(2))
    assert await record(shop, second, AGAIN, "k1") == digest
    assert await shop.call(waits.is_open, second)


async def test_a_key_that_was_used_for_an_older_run_does_not_answer_the_newer_one(shop: Shop) -> None:  # (W6)
    await record(shop, await open_wait(shop, key()), YES, "k1")
    newer = await open_wait(shop, key(generation="g2"))
    with pytest.raises(AlreadyAnswered):
        await record(shop, newer, YES, "k1")
    assert await shop.call(waits.is_open, newer)


async def test_a_step_is_asked_a_limited_number_of_times(shop: Shop) -> None:  # (W4)
    wait = await open_wait(shop, key(MAX_ROUNDS))
    with pytest.raises(RetryRefused):
        await record(shop, wait, AGAIN)
    await record(shop, wait, YES)


@pytest.mark.parametrize("end", ["expired", "withdrawn"])
async def test_a_wait_that_is_over_takes_no_answer(shop: Shop, end: str) -> None:  # (W2)
    wait = await open_wait(shop, key())
    assert (await shop.call(waits.close, closing(wait, end))).kind == end
    with pytest.raises(WaitOver):
        await record(shop, wait, YES)
    assert (await shop.call(waits.close, closing(wait, "withdrawn"))).kind == end


async def test_closing_returns_the_answer_that_was_first(shop: Shop) -> None:  # (W2)
    wait = await open_wait(shop, key())
    await record(shop, wait, YES)
    assert await shop.call(waits.close, closing(wait)) == EndedWait(round=1, kind="success", data={"units": 3})


async def test_a_wait_that_was_withdrawn_is_not_opened_later(shop: Shop) -> None:  # (W6)
    await shop.call(begin_generation, key())
    await shop.call(waits.close, closing(key(), "withdrawn"))
    with pytest.raises(StepWithdrawn):
        await shop.call(waits.open_wait, opening(key()))


async def test_only_the_current_generation_waits(shop: Shop) -> None:  # (W6)
    old = await open_wait(shop, key())
    with pytest.raises(WaitNotFound):
        await shop.call(waits.latest, "order-1", "pack")
    await shop.call(begin_generation, key(generation="g2"))
    with pytest.raises(WaitOver):
        await record(shop, old, YES)
    with pytest.raises(WaitNotFound):
        await shop.call(waits.latest, "order-1", "review")
    with pytest.raises(StaleGeneration):
        await shop.call(waits.open_wait, opening(key(2)))


async def test_opening_twice_changes_nothing(shop: Shop) -> None:  # (W1)
    wait = await open_wait(shop, key())
    await record(shop, wait, YES)
    await shop.call(waits.open_wait, opening(wait))
    assert (await shop.call(waits.latest, "order-1", "review")) == wait
    with pytest.raises(AlreadyAnswered):
        await shop.call(waits.is_open, wait)


async def race(shop: Shop, *contenders: Any) -> list[Any]:
    """Run coroutines at once; return their results, refusals as the names of their classes."""
    results = await asyncio.gather(*contenders, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, (ActionRefused, ConstraintViolated)):
            raise result
    return [type(each).__name__ if isinstance(each, Exception) else each for each in results]


async def test_of_two_answers_at_once_one_counts(shop: Shop) -> None:  # (W2)
    for number in range(TRIES):
        wait = await open_wait(shop, key(process=f"order-{number}"))
        results = await race(shop, record(shop, wait, YES, "k1"), record(shop, wait, NO, "k2"))
        assert results.count("AlreadyAnswered") == 1


async def test_of_an_answer_and_the_end_at_once_one_counts_and_both_agree(shop: Shop) -> None:  # (W2)
    seen: Counter[str] = Counter()
    for number in range(TRIES):
        wait = await open_wait(shop, key(process=f"order-{number}"))
        end = "expired" if number % 2 else "withdrawn"
        contenders = [record(shop, wait, YES), shop.call(waits.close, closing(wait, end))]
        if number % 3:
            contenders.reverse()
        results = await race(shop, *contenders)
        [closed] = [each for each in results if isinstance(each, EndedWait)]
        assert (closed.kind == "success") == ("WaitOver" not in results)
        seen[closed.kind] += 1
    assert sum(seen.values()) == TRIES


async def test_of_an_answer_and_a_newer_run_at_once_the_answer_never_reaches_the_newer_one(shop: Shop) -> None:  # (W6)
    for number in range(TRIES // 4):
        wait = await open_wait(shop, key(process=f"order-{number}"))
        newer = key(generation="g2", process=f"order-{number}")
        await race(shop, record(shop, wait, YES), open_wait(shop, newer))
        assert await shop.call(waits.is_open, newer)


async def test_undelivered_answers_are_found_until_their_process_has_them(shop: Shop) -> None:  # (W2)
    wait = await open_wait(shop, key())
    digest = await record(shop, wait, YES)
    found = await shop.call(waits.undelivered, older=timedelta(0), limit=10)
    assert [(each.key, each.digest) for each in found] == [(wait, digest)]
    assert await shop.call(waits.undelivered, older=timedelta(hours=1), limit=10) == []
    await shop.call(waits.deliver, wait, digest)
    assert await shop.call(waits.undelivered, older=timedelta(0), limit=10) == []


@given(st.from_regex(r"[a-z]+(-[a-z]+)*", fullmatch=True), st.integers(1, MAX_ROUNDS))
def test_the_key_of_a_wait_is_the_key_of_its_request(step: str, number: int) -> None:
    wait = WaitKey(business_key="order-1", step=step, generation="g1", round=number)
    assert WaitKey.of(StepKey(business_key="order-1", step=wait.request, generation="g1")) == wait
