"""Picks: one answer counts, and what was not found is written off, never taken twice (K1 to K4)."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from commerce import fulfillment, inventory, picks, short_picks, waits
from commerce.errors import ActionRefused, AlreadyAnswered, BadInput, PickNotFound, WaitOver
from commerce.messages.orders import InsufficientItem
from commerce.messages.picks import STEP, Missing, PickLine, RecordedShortPick, ShortPick
from commerce.messages.waits import Answer, CloseWait, OpenWait, WaitKey
from tests.commerce.shop import Shop, begin_generation

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
TRIES = 200
LINES = "SELECT sku, quantity, refunded_quantity FROM order_lines ORDER BY position"
SHORT_RULES = (
    "short-picks-are-written-off",
    "fulfillment-is-complete",
    "movements-are-fulfilled-units",
    "stocked-is-sum-of-movements",
)


def key(order_id: str = "1", generation: str = "g1", number: int = 1) -> WaitKey:
    return WaitKey(business_key=f"order-processing-{order_id}", step=STEP, generation=generation, round=number)


def opening(wait: WaitKey) -> OpenWait:
    return OpenWait(key=wait, asked_at=NOW, until=NOW + timedelta(days=3))


def closing(wait: WaitKey, end: Any) -> CloseWait:
    return CloseWait(**dict(opening(wait)), end=end)


async def fulfill(shop: Shop, order_id: str = "1", *, per_location: bool = True) -> list[str]:
    """Reserve and fulfill an order; return its fulfillments."""
    await shop.call(inventory.reserve, order_id)
    created = await shop.call(fulfillment.create, order_id, per_location=per_location)
    return [part.fulfillment_id for part in created.parts] or [created.fulfillment_id]


async def ask(shop: Shop, fulfillment_ids: Sequence[str], wait: WaitKey | None = None) -> list[str]:
    """Open a wait and its picks; return their ids."""
    wait = wait or key()
    await shop.call(begin_generation, wait)
    await shop.call(waits.open_wait, opening(wait))
    for _ in range(2):
        await shop.call(picks.open_picks, wait, fulfillment_ids)
    return [pick.id for pick in await shop.call(picks.newest, fulfillment_ids)]


async def answer(shop: Shop, pick_id: str, **found: int) -> bool:
    """Answer a pick; return whether that answers the step that waits."""
    lines = [PickLine(sku=sku, quantity=quantity) for sku, quantity in found.items()]
    return await shop.call(picks.answer, pick_id, lines) is not None


async def record(shop: Shop, *missing: Missing, ships_parts: bool = True) -> RecordedShortPick:
    return await shop.call(short_picks.record, ShortPick(order_id="1", missing=list(missing)), ships_parts=ships_parts)


async def findings(shop: Shop) -> list[Any]:
    return [found for found in await shop.audit() if found.rule in SHORT_RULES] + await shop.breaches()


async def answered(shop: Shop) -> list[Any]:
    return await shop.sql("SELECT kind, data FROM step_waits")


async def test_a_pick_asks_for_the_units_of_each_sku_at_one_location(shop: Shop) -> None:  # (K1)
    await shop.stock("MUG", harbour=9)
    await shop.stock("BOX", workshop=9)
    await shop.order("1", ("MUG", 1), ("BOX", 2), ("MUG", 3))
    parts = await fulfill(shop)
    await ask(shop, parts)
    found = {pick.location_id: pick.lines for pick in await shop.call(picks.newest, parts)}
    assert found == {"harbour": [PickLine(sku="MUG", quantity=4)], "workshop": [PickLine(sku="BOX", quantity=2)]}


async def test_the_last_answer_of_an_order_answers_the_step(shop: Shop) -> None:  # (K2)
    await shop.stock("MUG", harbour=9)
    await shop.stock("BOX", workshop=9)
    await shop.order("1", ("MUG", 2), ("BOX", 2))
    parts = await fulfill(shop)
    ids = await ask(shop, parts)
    by_sku = {pick.lines[0].sku: pick.id for pick in await shop.call(picks.newest, parts)}
    assert len(ids) == 2 and await answer(shop, by_sku["MUG"], MUG=1) is False
    assert await answered(shop) == [(None, None)]
    assert await answer(shop, by_sku["BOX"], BOX=2) is True
    [(kind, data)] = await answered(shop)
    assert kind == "success" and [(line["sku"], line["quantity"]) for line in data["missing"]] == [("MUG", 1)]
    assert await answer(shop, by_sku["MUG"], MUG=1) is True  # again
    for sku, found in (("MUG", {"MUG": 2}), ("BOX", {})):
        with pytest.raises(AlreadyAnswered):
            await answer(shop, by_sku[sku], **found)


@pytest.mark.parametrize("found", [{"MUG": 4}, {"BOX": 1}, {"MUG": 1, "BOX": 0}])
async def test_an_answer_that_does_not_fit_is_refused(shop: Shop, found: dict[str, int]) -> None:  # (K2)
    await shop.stock("MUG", main=9)
    await shop.order("1", MUG=3)
    [pick_id] = await ask(shop, await fulfill(shop))
    with pytest.raises(BadInput):
        await answer(shop, pick_id, **found)
    with pytest.raises(BadInput):
        await shop.call(picks.answer, pick_id, [PickLine(sku="MUG", quantity=2)] * 2)
    with pytest.raises(PickNotFound):
        await answer(shop, "0199c2a4-7d1e-7c3a-9a55-0d4a6d6a3f10", MUG=3)
    assert await answer(shop, pick_id, MUG=3)


async def test_a_late_answer_is_refused(shop: Shop) -> None:  # (K2, K4)
    await shop.stock("MUG", main=9)
    for number, end in enumerate(("expired", "withdrawn", None, "newer")):
        order_id = str(number)
        await shop.order(order_id, MUG=1)
        wait = key(order_id)
        [pick_id] = await ask(shop, await fulfill(shop, order_id), wait)
        if end == "newer":
            await shop.call(begin_generation, key(order_id, "g2"))
        elif end:
            await shop.call(waits.close, closing(wait, end))
        else:
            await shop.call(picks.withdraw, [pick_id])
        with pytest.raises(WaitOver):
            await answer(shop, pick_id, MUG=1)
        assert await shop.sql("SELECT missing FROM picks WHERE id = CAST(:id AS uuid)", id=pick_id) == [None]


@pytest.mark.parametrize("found", [3, 2])
async def test_an_answer_after_that_of_a_person_must_agree_with_it(shop: Shop, found: int) -> None:  # (K2)
    await shop.stock("MUG", main=9)
    await shop.order("1", MUG=3)
    [pick_id] = await ask(shop, await fulfill(shop))
    await shop.call(waits.record, key(), Answer(answer="success"), by="cli", idempotency_key=None)
    if found == 3:
        assert await answer(shop, pick_id, MUG=3)
        assert await answer(shop, pick_id, MUG=3)
    else:
        with pytest.raises(AlreadyAnswered):
            await answer(shop, pick_id, MUG=2)


async def test_a_second_round_has_other_picks(shop: Shop) -> None:  # (K4, W4)
    await shop.stock("MUG", main=9)
    await shop.order("1", MUG=3)
    parts = await fulfill(shop)
    [first] = await ask(shop, parts)
    await shop.call(waits.record, key(), Answer(answer="retry"), by="cli", idempotency_key=None)
    [second] = await ask(shop, parts, key(number=2))
    assert await shop.call(picks.replaced, parts, [second]) == [first]
    with pytest.raises(AlreadyAnswered):
        await answer(shop, first, MUG=3)
    await shop.call(picks.withdraw, [first])
    with pytest.raises(WaitOver):
        await answer(shop, first, MUG=3)
    assert await answer(shop, second, MUG=3)


async def test_of_an_answer_and_the_end_or_another_answer_at_once_one_counts(shop: Shop) -> None:  # (K2, W2)
    await shop.stock("MUG", main=2 * TRIES)
    for number in range(TRIES):
        order_id = str(number)
        await shop.order(order_id, MUG=2)
        wait = key(order_id)
        [pick_id] = await ask(shop, await fulfill(shop, order_id), wait)
        other: Any = (
            answer(shop, pick_id, MUG=1)
            if number % 2
            else shop.call(waits.close, closing(wait, "withdrawn" if number % 4 else "expired"))
        )
        contenders = [answer(shop, pick_id, MUG=2), other]
        results = await asyncio.gather(*(contenders[::-1] if number % 3 else contenders), return_exceptions=True)
        refused = [each for each in results if isinstance(each, BaseException)]
        assert all(isinstance(each, ActionRefused) for each in refused)
        [(kind, missing)] = await shop.sql(
            """SELECT kind, missing FROM step_waits JOIN picks USING (business_key, generation, round)
               WHERE business_key = :key""",
            key=wait.business_key,
        )
        assert (kind == "success") == (missing is not None)
        assert len(refused) == (1 if number % 2 or kind != "success" else 0)


async def test_what_was_not_found_is_written_off_and_the_rest_ships(shop: Shop) -> None:  # (K3)
    await shop.stock("MUG", main=9)
    await shop.stock("BOX", main=9)
    await shop.order("1", ("MUG", 3), ("BOX", 1), ("MUG", 1))
    [part] = await fulfill(shop)
    recorded = await record(shop, Missing(fulfillment_id=part, sku="MUG", quantity=2))
    assert recorded == RecordedShortPick(
        ships=True,
        missing=2,
        items=[InsufficientItem(variant_id="MUG", sku="MUG", requested=4, available=2)],
        count=1,
    )
    assert await shop.levels("MUG") == {"main": (5, 0)}  # 4 left the shelf in the books
    assert [(units, reason) for _, units, reason, _ in await shop.movements("MUG")] == [
        *((-4, "fulfillment"), (2, "cancel"), (-2, "pick_short"))
    ]
    assert await findings(shop) == []
    assert await shop.call(short_picks.close_lines, "1")
    assert await shop.sql(LINES) == [("MUG", 2, 1), ("BOX", 1, None), ("MUG", 0, 1)]
    assert await findings(shop) == []
    await shop.sql("UPDATE orders SET fulfillment_status = 'fulfilled'")
    assert not await shop.call(short_picks.close_lines, "1")


async def test_spare_items_of_an_incomplete_kit_are_back_on_the_shelf(shop: Shop) -> None:  # (K3, I6)
    await shop.stock("CUP", main=9)
    await shop.stock("LID", main=9)
    await shop.variant("SET", items={"CUP": 2, "LID": 1})
    await shop.order("1", SET=3)
    [part] = await fulfill(shop)
    recorded = await record(shop, Missing(fulfillment_id=part, sku="CUP", quantity=1))
    assert (recorded.ships, recorded.missing, recorded.items[0].available) == (True, 1, 2)
    assert await shop.levels("CUP") == {"main": (4, 0)} and await shop.levels("LID") == {"main": (7, 0)}
    await shop.call(short_picks.close_lines, "1")
    assert await shop.sql(LINES) == [("SET", 2, 1)]
    assert await findings(shop) == []


@pytest.mark.parametrize("ships_parts", [True, False])
async def test_if_nothing_ships_the_fulfillment_can_be_cancelled(shop: Shop, ships_parts: bool) -> None:  # (K3)
    await shop.stock("MUG", main=9)
    await shop.order("1", MUG=3)
    await shop.call(inventory.reserve, "1")
    created = await shop.call(fulfillment.create, "1")
    lost = 3 if ships_parts else 2
    missing = Missing(fulfillment_id=created.fulfillment_id, sku="MUG", quantity=lost)
    recorded = await record(shop, missing, ships_parts=ships_parts)
    assert (recorded.ships, recorded.missing) == (False, lost)
    await shop.call(fulfillment.cancel, created, "1")
    await shop.call(inventory.release, "1")
    assert await shop.levels("MUG") == {"main": (9 - lost, 0)}
    assert await findings(shop) == []


async def test_a_location_of_which_nothing_is_left_gets_no_label(shop: Shop) -> None:  # (K3, V15)
    await shop.stock("MUG", harbour=9)
    await shop.stock("BOX", workshop=9)
    await shop.order("1", ("MUG", 1), ("BOX", 1))
    parts = await fulfill(shop)
    recorded = await record(shop, Missing(fulfillment_id=parts[1], sku="BOX", quantity=1))
    assert (recorded.ships, recorded.empty) == (True, [parts[1]])
