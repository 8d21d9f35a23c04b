"""What operators change about an order, by the rules of changes that its source makes (V17)."""

from typing import Any

import pytest

from commerce import order_corrections as corrections
from commerce.errors import BadInput, CorrectionRefused, OrderNotFound
from tests.commerce.shop import NOON, Shop

WHO = {"reason": "she called", "actor": "ann"}
HELD = {"hold_reason": "failed: CarrierRefused", "shipping_city": "Londn", "shipping_province_name": "Kent"}


async def row(shop: Shop, *columns: str) -> tuple[Any, ...]:
    [found] = await shop.sql(
        f"SELECT to_jsonb(ARRAY[{', '.join(f'to_jsonb({name})' for name in columns)}]) FROM orders"
    )
    return tuple(found)


async def events(shop: Shop) -> list[tuple[str, Any]]:
    query = "SELECT type, coalesce(data ->> 'process', data ->> 'fulfilled') FROM outbox_events ORDER BY sequence"
    return await shop.sql(query)


async def actions(shop: Shop) -> list[tuple[str, ...]]:
    return await shop.sql("SELECT process_id, action, reason, actor FROM operator_actions ORDER BY created_at, id")


async def test_v17_a_corrected_address_ends_the_hold_and_keeps_the_value_of_the_source(shop: Shop) -> None:
    await shop.order("1", columns=HELD)
    address = {"city": " London ", "country": "United Kingdom", "province": "Kent"}
    changed = await shop.call(corrections.correct_address, "1", address, **WHO)
    assert changed == ["shipping_city", "shipping_province", "shipping_province_name"]  # the country is the same
    assert await row(shop, "shipping_city", "shipping_country", "hold_reason", "revision", "decisive_revision") == (
        *("London", "GB", None, 2, 2),
    )
    kept = {"shipping_city": "Londn", "shipping_province": None, "shipping_province_name": "Kent"}
    assert await row(shop, "corrections") == (kept,)
    assert await events(shop) == [("order.updated", "needed")]
    assert await actions(shop) == [("order-processing-1", "edit", "she called", "ann")]
    assert await shop.call(corrections.correct_address, "1", {"city": "London"}, **WHO) == []
    assert len(await events(shop)) == len(await actions(shop)) == 1
    await shop.call(corrections.correct_address, "1", {"city": "Leeds"}, **WHO)
    assert (await row(shop, "corrections"))[0][
        "shipping_city"
    ] == "Londn"  # what the source states, whatever came since
    await shop.call(corrections.correct_address, "1", {"city": "Londn"}, **WHO)
    assert "shipping_city" not in (await row(shop, "corrections"))[0]


async def test_v17_only_an_operator_ends_the_hold_of_an_operator(shop: Shop) -> None:
    await shop.order("1")
    await shop.call(corrections.hold, "1", **WHO)
    await shop.call(corrections.hold, "1", **WHO)
    await shop.call(corrections.correct_address, "1", {"city": "London"}, **WHO)
    assert await row(shop, "hold_reason", "revision") == ("operator", 3)
    await shop.call(corrections.release, "1", **WHO)
    assert await row(shop, "hold_reason", "revision", "decisive_revision") == (None, 4, 3)
    assert await events(shop) == [("order.updated", process) for process in ("outdated", "outdated", "needed")]
    assert [action for _, action, *_ in await actions(shop)] == ["hold", "edit", "release"]
    with pytest.raises(CorrectionRefused, match="not on hold"):
        await shop.call(corrections.release, "1", **WHO)


async def test_v1_a_release_approves_what_the_order_was_on_hold_for(shop: Shop) -> None:
    await shop.order("1", columns={"hold_reason": "failed: HighRisk", "held_by": "a run"})
    await shop.call(corrections.release, "1", **WHO)
    approved = await row(shop, "approved_reasons", "approved_revision >= decisive_revision", "held_by")
    assert approved == (["failed: HighRisk"], True, None)


async def test_v17_a_fulfilled_order_does_not_change(shop: Shop) -> None:
    await shop.order("1", columns={"fulfillment_status": "fulfilled"})
    calls: list[Any] = [corrections.hold, corrections.release]
    for call in calls:
        with pytest.raises(CorrectionRefused, match="fulfilled"):
            await shop.call(call, "1", **WHO)
        with pytest.raises(OrderNotFound):
            await shop.call(call, "2", **WHO)
    with pytest.raises(CorrectionRefused, match="fulfilled"):
        await shop.call(corrections.correct_address, "1", {"city": "London"}, **WHO)
    await shop.sql("UPDATE orders SET fulfillment_status = 'not_fulfilled', cancellation = 'cancelling'")
    with pytest.raises(CorrectionRefused, match="taking it back"):
        await shop.call(corrections.correct_address, "1", {"city": "London"}, **WHO)
    assert not await events(shop) and not await actions(shop)


async def test_a7_the_address_of_a_forgotten_customer_does_not_come_back(shop: Shop) -> None:
    await shop.order("1", columns={"forgotten_at": NOON, "cancelled_at": NOON})
    with pytest.raises(CorrectionRefused, match="forgotten"):
        await shop.call(corrections.correct_address, "1", {"city": "London"}, **WHO)


@pytest.mark.parametrize(
    ("address", "field"),
    [({"country": "Atlantis"}, "country"), ({"city": "x" * 256}, "city"), ({}, "address")],
)
async def test_wrong_fields_are_named(shop: Shop, address: dict[str, str], field: str) -> None:
    await shop.order("1")
    with pytest.raises(BadInput) as refused:
        await shop.call(corrections.correct_address, "1", address, **WHO)
    assert [problem.field for problem in refused.value.fields] == [field]
