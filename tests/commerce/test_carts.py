"""Expired carts are deleted with an event for each; all other carts stay (C1 to C3)."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any
from uuid import uuid5

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import carts, outbox
from commerce.database import Database
from commerce.errors import ConstraintViolated, DatabaseUnavailable
from commerce.messages.carts import ExpiryRequest, ExpiryResult
from commerce.messages.jobs import MAX_FAILURES, Counts, ItemFailure
from tests.commerce.shop import NOON, Shop

LONG_AGO, RECENTLY = NOON - timedelta(days=8), NOON - timedelta(days=6)
BEFORE = NOON - timedelta(days=7)
COMPLETE = "UPDATE carts SET completed_at = now() WHERE id = :id"
TOUCH = "UPDATE carts SET updated_at = now() WHERE id = :id"
ADD_LINE = "INSERT INTO cart_lines (cart_id, sku, quantity, unit_price) VALUES (:id, 'MUG', 1, 250)"
TOUCH_LINE = "UPDATE cart_lines SET quantity = 9, updated_at = now() WHERE cart_id = :id AND sku = 'MUG'"
WISHLISTS = """
    CREATE TABLE wishlists (cart_id text CONSTRAINT wishlist_has_cart REFERENCES carts DEFERRABLE {});
    GRANT INSERT ON wishlists TO commerce
"""


class Carts(Shop):
    """A shop with carts. By default each has a line MUG and a line TEA."""

    async def add_cart(self, cart_id: str, updated_at: Any = LONG_AGO, lines: Iterable[Any] | None = None) -> None:
        await self.sql(
            "INSERT INTO carts (id, currency, created_at, updated_at) VALUES (:id, 'GBP', :created_at, :updated_at)",
            id=cart_id, created_at=LONG_AGO, updated_at=updated_at,
        )  # fmt: skip
        for sku, touched in zip(("MUG", "TEA"), [updated_at] * 2 if lines is None else lines, strict=False):
            await self.sql(
                """INSERT INTO cart_lines (cart_id, sku, quantity, unit_price, updated_at)
                   VALUES (:id, :sku, 1, 250, :updated_at)""",
                id=cart_id, sku=sku, updated_at=touched,
            )  # fmt: skip

    async def add_carts(self, *ids: object) -> None:
        for cart_id in ids:
            await self.add_cart(str(cart_id))

    async def expire(self, **options: Any) -> ExpiryResult:
        return await self.call(carts.expire, ExpiryRequest(before=BEFORE, **options))

    async def remaining(self) -> list[str]:
        """Return the ids of the remaining carts. Checks that they have no event, and that no other cart has lines."""
        expired = {data["cart_id"] for _, _, data in await self.events()}
        remaining = await self.sql("SELECT id FROM carts ORDER BY id")
        assert expired.isdisjoint(remaining)
        assert set(await self.sql("SELECT cart_id FROM cart_lines")) <= set(remaining)
        return remaining

    async def add_delete_trigger(self, body: str) -> None:
        """Execute PL/pgSQL before each deletion of a cart."""
        await self.owner_sql(
            f"CREATE FUNCTION before_delete() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
        )
        await self.owner_sql(
            "CREATE TRIGGER before_delete BEFORE DELETE ON carts FOR EACH ROW EXECUTE FUNCTION before_delete()"
        )


@pytest.fixture
def shop(database: Database) -> Carts:
    return Carts(database)


async def test_c1_a_cart_expires_when_neither_it_nor_its_lines_were_touched(shop: Carts) -> None:
    await shop.add_cart("expired")
    await shop.add_cart("expired without lines", lines=())
    await shop.add_cart("fresh", RECENTLY)
    await shop.add_cart("at the limit", BEFORE)
    await shop.add_cart("fresh line", lines=[LONG_AGO, RECENTLY])
    await shop.add_cart("completed")
    await shop.sql(COMPLETE, id="completed")
    assert await shop.expire() == ExpiryResult(seen=3, changed=2, skipped=1)
    assert await shop.remaining() == ["at the limit", "completed", "fresh", "fresh line"]
    assert await shop.expire() == ExpiryResult(seen=1, skipped=1)


async def test_c2_lines_are_deleted_with_their_cart_and_an_event_is_written(shop: Carts) -> None:
    await shop.add_cart("7")
    assert (await shop.expire()).summary() == "1 cart deleted"
    assert await shop.sql("SELECT count(*) FROM cart_lines") == [0]
    created_at = LONG_AGO.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert await shop.events() == [("cart.expired", "cart/7", {"cart_id": "7", "created_at": created_at})]
    event_id = uuid5(outbox.NAMESPACE, f"cart.expired/7/{LONG_AGO.isoformat()}")
    assert await shop.sql("SELECT id FROM outbox_events") == [event_id]


async def test_c2_the_deletion_and_its_event_are_one_transaction(shop: Carts) -> None:
    await shop.add_carts(1)
    with pytest.raises(RuntimeError):
        async with shop.database.transaction() as tx:
            await carts.expire(tx, ExpiryRequest(before=BEFORE))
            raise RuntimeError
    assert await shop.remaining() == ["1"]
    assert await shop.events() == []


async def test_c2_writing_events_together_equals_writing_them_one_by_one(shop: Carts) -> None:
    unusual = [outbox.NewEvent(f"k{i}", "t", f"a/{i}", {"text": 'ö "\\ €', "n": i, "none": None}) for i in range(20)]
    await shop.call(outbox.add, *unusual)
    before = await shop.sql("SELECT * FROM outbox_events ORDER BY sequence")
    assert await shop.events() == [event[1:] for event in unusual]
    for event in unusual:
        await shop.call(outbox.add, event)
    await shop.call(outbox.add)
    assert await shop.sql("SELECT * FROM outbox_events ORDER BY sequence") == before


@pytest.mark.parametrize("change", [COMPLETE, TOUCH, ADD_LINE, TOUCH_LINE])
async def test_c1_a_locked_cart_is_skipped_until_the_next_run(shop: Carts, change: str) -> None:
    await shop.add_carts(1, 2)
    async with shop.database.transaction() as other:
        await other.execute(text(change), {"id": "1"})
        assert await shop.expire() == ExpiryResult(seen=2, changed=1, skipped=1)
        await other.rollback()
    assert await shop.remaining() == ["1"]
    assert await shop.expire() == ExpiryResult(seen=1, changed=1)


class InterruptedTransaction:
    """A transaction that calls `before` just before one of its statements."""

    def __init__(self, tx: AsyncSession, statement: Any, before: Callable[[], Awaitable[Any]]) -> None:
        self._tx, self._statement, self._before = tx, statement, before

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    async def execute(self, statement: Any, *values: Any) -> Any:
        if statement is self._statement:
            await self._before()
        return await self._tx.execute(statement, *values)


async def test_c1_a_line_touched_just_before_the_deletion_keeps_its_cart(shop: Carts) -> None:
    await shop.add_carts(1, 2)
    async with shop.database.transaction() as tx:
        interrupted: Any = InterruptedTransaction(tx, carts.DELETE, lambda: shop.sql(TOUCH_LINE, id="1"))
        assert await carts.expire(interrupted, ExpiryRequest(before=BEFORE)) == ExpiryResult(
            seen=2, changed=1, skipped=1
        )
    assert await shop.remaining() == ["1"]
    assert len(await shop.sql("SELECT id FROM cart_lines")) == 2


@pytest.mark.parametrize("change", [COMPLETE, TOUCH, ADD_LINE, TOUCH_LINE])
async def test_c1_the_delete_statement_checks_every_condition_itself(shop: Carts, change: str) -> None:
    await shop.add_carts(1, 2)
    await shop.sql(change, id="1")
    assert await shop.sql(carts.DELETE.text, ids=["1", "2"], before=BEFORE) == [("2", LONG_AGO)]
    assert await shop.remaining() == ["1"]


async def test_c1_a_locked_cart_cannot_get_a_new_line(shop: Carts) -> None:
    await shop.add_carts(1)

    async def add_line() -> None:
        with pytest.raises(DatabaseUnavailable, match="55P03"):
            async with shop.database.transaction() as other:
                await other.execute(text("SET LOCAL lock_timeout = '10ms'"))
                await other.execute(text(ADD_LINE), {"id": "1"})

    async with shop.database.transaction() as tx:
        interrupted: Any = InterruptedTransaction(tx, carts.DELETE, add_line)
        assert (await carts.expire(interrupted, ExpiryRequest(before=BEFORE))).changed == 1
    with pytest.raises(ConstraintViolated, match="fk_cart_lines_cart_id"):
        await shop.sql(ADD_LINE, id="1")


async def test_j3_concurrent_runs_delete_every_cart_once(shop: Carts) -> None:
    await shop.add_carts(*range(60))
    reports = await asyncio.gather(*(expire_all(shop, limit=7) for _ in range(3)))
    assert sum(report.changed for report in reports) == 60
    assert len(await shop.events()) == 60
    assert await shop.remaining() == []


async def test_c1_carts_that_customers_change_during_the_clean_up_stay(shop: Carts) -> None:
    """Customers and the clean-up race. A cart whose change was committed is still there, with all of its lines."""
    ids = [str(number) for number in range(120)]
    await shop.add_carts(*ids)
    rng = random.Random(3)
    changed: dict[str, str] = {}

    async def customer(cart_id: str) -> None:
        change = rng.choice([COMPLETE, TOUCH, ADD_LINE, TOUCH_LINE])
        try:
            async with shop.database.transaction() as tx:
                if (await tx.execute(text(f"{change} RETURNING 1"), {"id": cart_id})).first() is None:
                    return  # the cart was already deleted
        except ConstraintViolated as error:
            assert "fk_cart_lines_cart_id" in str(error)
        else:
            changed[cart_id] = change

    async def customers() -> None:
        for cart_id in rng.sample(ids, len(ids)):
            await customer(cart_id)

    await asyncio.gather(customers(), customers(), expire_all(shop, limit=5), expire_all(shop, limit=3))
    assert await shop.remaining() == sorted(changed)
    lines = dict(await shop.sql("SELECT cart_id, count(*) FROM cart_lines GROUP BY 1"))
    assert all(lines[cart_id] >= (3 if change == ADD_LINE else 2) for cart_id, change in changed.items())


async def expire_all(shop: Carts, **options: Any) -> Counts:
    """Do what one run of the job does: all batches, with results that pass through JSON."""
    total, after = Counts(), None
    while True:
        batch = await shop.expire(after=after, **options)
        total = total.plus(batch)
        if batch.next is None:
            return total
        after = ExpiryResult.model_validate_json(batch.model_dump_json()).next


async def test_j4_each_batch_continues_after_the_last_cart_of_the_one_before(shop: Carts) -> None:
    for number in range(10):
        await shop.add_cart(f"{number}", LONG_AGO + timedelta(microseconds=number // 3))
    await shop.owner_sql(WISHLISTS.format(""))
    await shop.sql("INSERT INTO wishlists VALUES ('0'), ('4')")
    await shop.add_cart("fresh line", LONG_AGO + timedelta(hours=1), lines=[RECENTLY])
    first = await shop.expire(limit=4)
    assert (first.seen, first.changed, first.failed) == (4, 3, 1)
    assert first.next is not None and first.next.id == "3"
    assert (await expire_all(shop, limit=4)).failed == 2
    assert await shop.remaining() == ["0", "4", "fresh line"]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 12, 13])
async def test_j4_batches_of_any_size_cover_all_carts(shop: Carts, limit: int) -> None:
    await shop.add_carts(*range(12))
    total = await expire_all(shop, limit=limit)
    assert (total.seen, total.changed, total.skipped, total.failed) == (12, 12, 0, 0)
    assert await shop.remaining() == []


async def test_c3_a_cart_that_is_still_referenced_is_a_failure_and_the_others_are_deleted(shop: Carts) -> None:
    await shop.add_carts(*range(20))
    await shop.owner_sql(WISHLISTS.format(""))
    await shop.sql("INSERT INTO wishlists VALUES ('3'), ('14')")
    result = await shop.expire()
    reasons = [ItemFailure(id=cart_id, reason="wishlist_has_cart") for cart_id in ("3", "14")]
    assert result.model_copy(update={"failures": []}) == ExpiryResult(seen=20, changed=18, failed=2)
    assert sorted(result.failures, key=lambda failure: int(failure.id)) == reasons
    assert await shop.remaining() == ["14", "3"]
    assert len(await shop.sql("SELECT id FROM cart_lines")) == 4
    assert len(await shop.events()) == 18


async def test_c3_a_deferred_constraint_is_also_reported_for_its_cart(shop: Carts) -> None:
    await shop.add_carts(1, 2)
    await shop.owner_sql(WISHLISTS.format("INITIALLY DEFERRED"))
    await shop.sql("INSERT INTO wishlists VALUES ('1')")
    assert await shop.expire() == ExpiryResult(
        seen=2, changed=1, failed=1, failures=[ItemFailure(id="1", reason="wishlist_has_cart")]
    )


async def test_c3_the_message_of_a_failing_trigger_is_not_reported(shop: Carts) -> None:
    await shop.add_carts(1, 2, 3)
    await shop.add_delete_trigger(
        "IF old.id = '2' THEN RAISE 'ann@customer.example still wants it'; END IF; RETURN old;"
    )
    assert await shop.expire() == ExpiryResult(
        seen=3, changed=2, failed=1, failures=[ItemFailure(id="2", reason="SQLSTATE P0001")]
    )
    assert await shop.remaining() == ["2"]


async def test_c3_a_cart_that_a_trigger_keeps_is_skipped(shop: Carts) -> None:
    await shop.add_carts(1, 2)
    await shop.add_delete_trigger("IF old.id = '2' THEN RETURN NULL; END IF; RETURN old;")
    assert await shop.expire() == ExpiryResult(seen=2, changed=1, skipped=1)
    assert await shop.remaining() == ["2"]


async def test_c3_all_failures_are_counted_and_the_first_hundred_listed(shop: Carts) -> None:  # (J1)
    await shop.add_carts(*range(MAX_FAILURES + 2))
    await shop.add_delete_trigger("RAISE 'no';")
    result = await shop.expire()
    assert (result.seen, result.failed, len(result.failures)) == (MAX_FAILURES + 2, MAX_FAILURES + 2, MAX_FAILURES)
    assert await shop.events() == []


async def test_c3_an_error_that_is_not_about_a_cart_is_raised(shop: Carts) -> None:
    await shop.add_carts(1, 2)
    await shop.add_delete_trigger(
        "IF old.id = '2' THEN RAISE 'out of time' USING errcode = '57014'; END IF; RETURN old;"
    )
    with pytest.raises(DatabaseUnavailable, match="57014"):
        await shop.expire()
    assert await shop.remaining() == ["1", "2"]
