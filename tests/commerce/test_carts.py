"""The clean-up of carts, C1 to C3: what nobody touches any more goes, with its event, and nothing else does."""

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
from commerce.errors import DatabaseUnavailable
from commerce.messages.carts import ExpiryRequest, ExpiryResult
from commerce.messages.jobs import MAX_FAILURES, Counts, ItemFailure
from tests.commerce.shop import NOON, Shop

LONG_AGO, LATELY = NOON - timedelta(days=8), NOON - timedelta(days=6)
BEFORE = NOON - timedelta(days=7)
COMPLETE = "UPDATE carts SET completed_at = now() WHERE id = :id"
TOUCH = "UPDATE carts SET updated_at = now() WHERE id = :id"
ADD_LINE = "INSERT INTO cart_lines (cart_id, sku, quantity, unit_price) VALUES (:id, 'MUG', 1, 250)"
TOUCH_LINE = "UPDATE cart_lines SET quantity = 9, updated_at = now() WHERE cart_id = :id AND sku = 'MUG'"
WISHLISTS = "CREATE TABLE wishlists (cart_id text CONSTRAINT wishlist_has_cart REFERENCES carts DEFERRABLE)"


class Carts(Shop):
    """A shop with carts, each with a line MUG and a line TEA unless told otherwise."""

    async def cart(self, cart_id: str, updated_at: Any = LONG_AGO, lines: Iterable[Any] | None = None) -> None:
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

    async def carts(self, *ids: object) -> None:
        for cart_id in ids:
            await self.cart(str(cart_id))

    async def expire(self, **options: Any) -> ExpiryResult:
        return await self.call(carts.expire, ExpiryRequest(before=BEFORE, **options))

    async def left(self) -> list[str]:
        """The carts there still are; every line is one of theirs, and there is no event of them."""
        expired = {data["cart_id"] for _, _, data in await self.events()}
        left = await self.sql("SELECT id FROM carts ORDER BY id")
        assert expired.isdisjoint(left)
        assert set(await self.sql("SELECT cart_id FROM cart_lines")) <= set(left)
        return left

    async def trigger(self, body: str) -> None:
        """Do something before a cart is deleted."""
        await self.sql(f"CREATE FUNCTION tried() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$")
        await self.sql("CREATE TRIGGER tried BEFORE DELETE ON carts FOR EACH ROW EXECUTE FUNCTION tried()")


@pytest.fixture
def shop(database: Database) -> Carts:
    return Carts(database)


async def test_c1_expired_is_open_and_untouched_lines_included(shop: Carts) -> None:
    await shop.cart("gone")
    await shop.cart("empty", lines=())
    await shop.cart("fresh", LATELY)
    await shop.cart("just in time", BEFORE)
    await shop.cart("fresh line", lines=[LONG_AGO, LATELY])
    await shop.cart("completed")
    await shop.sql(COMPLETE, id="completed")
    assert await shop.expire() == ExpiryResult(seen=3, changed=2, skipped=1)
    assert await shop.left() == ["completed", "fresh", "fresh line", "just in time"]
    assert await shop.expire() == ExpiryResult(seen=1, skipped=1)


async def test_c2_lines_go_with_their_cart_and_its_event_is_written(shop: Carts) -> None:
    await shop.cart("7")
    assert (await shop.expire()).summary() == "1 carts deleted"
    assert await shop.sql("SELECT count(*) FROM cart_lines") == [0]
    created_at = LONG_AGO.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert await shop.events() == [("cart.expired", "cart/7", {"cart_id": "7", "created_at": created_at})]
    event_id = uuid5(outbox.NAMESPACE, f"cart.expired/7/{LONG_AGO.isoformat()}")
    assert await shop.sql("SELECT id FROM outbox_events") == [event_id]


async def test_c2_the_deletion_and_its_event_are_one(shop: Carts) -> None:
    await shop.carts(1)
    with pytest.raises(RuntimeError):
        async with shop.database.transaction() as tx:
            await carts.expire(tx, ExpiryRequest(before=BEFORE))
            raise RuntimeError
    assert await shop.left() == ["1"]
    assert await shop.events() == []


async def test_c2_many_events_are_written_as_each_alone_would_be(shop: Carts) -> None:
    odd = [outbox.NewEvent(f"k{i}", "t", f"a/{i}", {"text": 'ö "\\ €', "n": i, "none": None}) for i in range(20)]
    await shop.call(outbox.add, *odd)
    before = await shop.sql("SELECT * FROM outbox_events ORDER BY sequence")
    assert await shop.events() == [event[1:] for event in odd]
    for event in odd:
        await shop.call(outbox.add, event)
    await shop.call(outbox.add)
    assert await shop.sql("SELECT * FROM outbox_events ORDER BY sequence") == before


@pytest.mark.parametrize("change", [COMPLETE, TOUCH, ADD_LINE, TOUCH_LINE])
async def test_c1_a_cart_in_somebodys_hands_is_left_to_the_next_run(shop: Carts, change: str) -> None:
    await shop.carts(1, 2)
    async with shop.database.transaction() as other:
        await other.execute(text(change), {"id": "1"})
        assert await shop.expire() == ExpiryResult(seen=2, changed=1, skipped=1)
        await other.rollback()
    assert await shop.left() == ["1"]
    assert await shop.expire() == ExpiryResult(seen=1, changed=1)


class Meanwhile:
    """A transaction in which something else happens just before one of its statements."""

    def __init__(self, tx: AsyncSession, statement: Any, happens: Callable[[], Awaitable[Any]]) -> None:
        self._tx, self._statement, self._happens = tx, statement, happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tx, name)

    async def execute(self, statement: Any, *values: Any) -> Any:
        if statement is self._statement:
            await self._happens()
        return await self._tx.execute(statement, *values)


async def test_c1_a_line_that_is_touched_at_that_very_moment_keeps_its_cart(shop: Carts) -> None:
    await shop.carts(1, 2)
    async with shop.database.transaction() as tx:
        meanwhile: Any = Meanwhile(tx, carts.DELETE, lambda: shop.sql(TOUCH_LINE, id="1"))
        assert await carts.expire(meanwhile, ExpiryRequest(before=BEFORE)) == ExpiryResult(seen=2, changed=1, skipped=1)
    assert await shop.left() == ["1"]
    assert len(await shop.sql("SELECT id FROM cart_lines")) == 2


@pytest.mark.parametrize("change", [COMPLETE, TOUCH, ADD_LINE, TOUCH_LINE])
async def test_c1_the_delete_itself_checks_everything(shop: Carts, change: str) -> None:
    await shop.carts(1, 2)
    await shop.sql(change, id="1")
    assert await shop.sql(carts.DELETE.text, ids=["1", "2"], before=BEFORE) == [("2", LONG_AGO)]
    assert await shop.left() == ["1"]


async def test_c1_a_held_cart_cannot_get_a_line_any_more(shop: Carts) -> None:
    await shop.carts(1)

    async def add_line() -> None:
        with pytest.raises(DatabaseUnavailable, match="55P03"):
            async with shop.database.transaction() as other:
                await other.execute(text("SET LOCAL lock_timeout = '10ms'"))
                await other.execute(text(ADD_LINE), {"id": "1"})

    async with shop.database.transaction() as tx:
        meanwhile: Any = Meanwhile(tx, carts.DELETE, add_line)
        assert (await carts.expire(meanwhile, ExpiryRequest(before=BEFORE))).changed == 1
    with pytest.raises(DatabaseUnavailable, match="fk_cart_lines_cart_id"):
        await shop.sql(ADD_LINE, id="1")


async def test_j3_two_runs_at_once_do_nothing_twice(shop: Carts) -> None:
    await shop.carts(*range(60))
    reports = await asyncio.gather(*(every(shop, limit=7) for _ in range(3)))
    assert sum(report.changed for report in reports) == 60
    assert len(await shop.events()) == 60
    assert await shop.left() == []


async def test_c1_whatever_customers_manage_to_do_stays(shop: Carts) -> None:
    """Customers and clean-up race; whose change was committed has a cart, and all of its lines, afterwards."""
    ids = [str(number) for number in range(120)]
    await shop.carts(*ids)
    luck = random.Random(3)
    kept: dict[str, str] = {}

    async def customer(cart_id: str) -> None:
        change = luck.choice([COMPLETE, TOUCH, ADD_LINE, TOUCH_LINE])
        try:
            async with shop.database.transaction() as tx:
                if (await tx.execute(text(f"{change} RETURNING 1"), {"id": cart_id})).first() is None:
                    return  # the cart was gone
        except DatabaseUnavailable as gone:
            assert "fk_cart_lines_cart_id" in str(gone)
        else:
            kept[cart_id] = change

    async def customers() -> None:
        for cart_id in luck.sample(ids, len(ids)):
            await customer(cart_id)

    await asyncio.gather(customers(), customers(), every(shop, limit=5), every(shop, limit=3))
    assert await shop.left() == sorted(kept)
    lines = dict(await shop.sql("SELECT cart_id, count(*) FROM cart_lines GROUP BY 1"))
    assert all(lines[cart_id] >= (3 if change == ADD_LINE else 2) for cart_id, change in kept.items())


async def every(shop: Carts, **options: Any) -> Counts:
    """One run: batch after batch, as far as they go; what is told of a batch survives JSON."""
    total, after = Counts(), None
    while True:
        batch = await shop.expire(after=after, **options)
        total = total.plus(batch)
        if batch.next is None:
            return total
        after = ExpiryResult.model_validate_json(batch.model_dump_json()).next


async def test_j4_batches_go_on_where_the_last_one_ended_and_meet_nothing_twice(shop: Carts) -> None:
    for number in range(10):
        await shop.cart(f"{number}", LONG_AGO + timedelta(microseconds=number // 3))
    await shop.sql(WISHLISTS)
    await shop.sql("INSERT INTO wishlists VALUES ('0'), ('4')")
    await shop.cart("fresh line", LONG_AGO + timedelta(hours=1), lines=[LATELY])
    first = await shop.expire(limit=4)
    assert (first.seen, first.changed, first.failed) == (4, 3, 1)
    assert first.next is not None and first.next.id == "3"
    assert (await every(shop, limit=4)).failed == 2
    assert await shop.left() == ["0", "4", "fresh line"]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 12, 13])
async def test_j4_pages_of_any_size_add_up(shop: Carts, limit: int) -> None:
    await shop.carts(*range(12))
    total = await every(shop, limit=limit)
    assert (total.seen, total.changed, total.skipped, total.failed) == (12, 12, 0, 0)
    assert await shop.left() == []


async def test_c3_a_cart_that_others_need_is_told_and_the_rest_goes(shop: Carts) -> None:
    await shop.carts(*range(20))
    await shop.sql(WISHLISTS)
    await shop.sql("INSERT INTO wishlists VALUES ('3'), ('14')")
    done = await shop.expire()
    reasons = [ItemFailure(id=cart_id, reason="wishlist_has_cart") for cart_id in ("3", "14")]
    assert done.model_copy(update={"failures": []}) == ExpiryResult(seen=20, changed=18, failed=2)
    assert sorted(done.failures, key=lambda failure: int(failure.id)) == reasons
    assert await shop.left() == ["14", "3"]
    assert len(await shop.sql("SELECT id FROM cart_lines")) == 4
    assert len(await shop.events()) == 18


async def test_c3_a_constraint_that_waits_for_the_commit_is_told_of_its_cart_too(shop: Carts) -> None:
    await shop.carts(1, 2)
    await shop.sql(f"{WISHLISTS.removesuffix(')')} INITIALLY DEFERRED)")
    await shop.sql("INSERT INTO wishlists VALUES ('1')")
    assert await shop.expire() == ExpiryResult(
        seen=2, changed=1, failed=1, failures=[ItemFailure(id="1", reason="wishlist_has_cart")]
    )


async def test_c3_a_trigger_that_raises_is_told_without_its_words(shop: Carts) -> None:
    await shop.carts(1, 2, 3)
    await shop.trigger("IF old.id = '2' THEN RAISE 'ann@customer.example still wants it'; END IF; RETURN old;")
    assert await shop.expire() == ExpiryResult(
        seen=3, changed=2, failed=1, failures=[ItemFailure(id="2", reason="SQLSTATE P0001")]
    )
    assert await shop.left() == ["2"]


async def test_c3_a_trigger_that_keeps_a_cart_makes_it_skipped(shop: Carts) -> None:
    await shop.carts(1, 2)
    await shop.trigger("IF old.id = '2' THEN RETURN NULL; END IF; RETURN old;")
    assert await shop.expire() == ExpiryResult(seen=2, changed=1, skipped=1)
    assert await shop.left() == ["2"]


async def test_c3_all_failures_are_counted_and_the_first_hundred_told(shop: Carts) -> None:  # (J1)
    await shop.carts(*range(MAX_FAILURES + 2))
    await shop.trigger("RAISE 'no';")
    done = await shop.expire()
    assert (done.seen, done.failed, len(done.failures)) == (MAX_FAILURES + 2, MAX_FAILURES + 2, MAX_FAILURES)
    assert await shop.events() == []


async def test_c3_what_is_not_about_a_cart_is_no_failure_of_one(shop: Carts) -> None:
    await shop.carts(1, 2)
    await shop.trigger("IF old.id = '2' THEN RAISE 'out of time' USING errcode = '57014'; END IF; RETURN old;")
    with pytest.raises(DatabaseUnavailable, match="57014"):
        await shop.expire()
    assert await shop.left() == ["1", "2"]
