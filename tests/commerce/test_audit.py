"""The audit reports nothing in a sound shop, and exactly the violations in a broken one."""

from collections.abc import AsyncIterator

import pytest

from commerce import audit, auth, customers, fulfillment, inventory, ledger, orders, returns
from commerce.audit import MAX_FINDINGS, Finding
from commerce.database import Database
from commerce.messages.customers import CreatedCustomer, CustomerData, NewAuthUser, registration_process_id
from commerce.messages.orders import CompletedOrder, CreatedFulfillment, OrderRef, Reserved, order_process_id
from commerce.messages.returns import NewReturn, ReceivedUnits, ReturnReceipt
from commerce.messages.steps import Call, StepKey
from tests.commerce.shop import Shop, begin_generation

BOB = CustomerData(email="bob@customer.example", first_name="Bob", last_name="Miller")
REGISTRATION = registration_process_id(BOB.email)


class Backend:
    """A shop, and the steps of its processes in the workflows' order but without a workflow."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.generations = 0

    async def begin(self, order_id: str) -> str:
        self.generations += 1
        generation = f"g{self.generations}"
        key = StepKey(business_key=order_process_id(order_id), step="validate-order", generation=generation)
        await self.shop.call(begin_generation, key)
        return generation

    def call(self, order_id: str, generation: str, step: str, undo: str | None) -> Call[OrderRef]:
        key = StepKey(business_key=order_process_id(order_id), step=step, generation=generation)
        return Call(key=key, input=OrderRef(order_id=order_id), undo=undo)

    async def reserve(self, order_id: str) -> Call[OrderRef]:
        call = self.call(order_id, await self.begin(order_id), "reserve-inventory", "release-inventory")
        async with self.shop.database.transaction() as tx:
            await ledger.once(tx, call, Reserved, lambda: inventory.reserve(tx, order_id))
        return call

    async def release(self, call: Call[OrderRef]) -> None:
        async with self.shop.database.transaction() as tx:
            await ledger.undo(tx, call, Reserved, lambda _: inventory.release(tx, call.input.order_id))

    async def fulfill(self, order_id: str) -> Call[OrderRef]:
        generation = (await self.reserve(order_id)).key.generation
        call = self.call(order_id, generation, "create-fulfillment", "cancel-fulfillment")
        async with self.shop.database.transaction() as tx:
            await ledger.once(tx, call, CreatedFulfillment, lambda: fulfillment.create(tx, order_id))
        return call

    async def complete(self, order_id: str) -> None:
        generation = (await self.fulfill(order_id)).key.generation
        call = self.call(order_id, generation, "complete-order", None)
        async with self.shop.database.transaction() as tx:
            await ledger.once(tx, call, CompletedOrder, lambda: orders.complete(tx, order_id), final=True)

    async def register(self) -> None:
        """Create an account."""
        key = StepKey(business_key=REGISTRATION, step="create-customer", generation="g")
        call: Call[CustomerData] = Call(key=key, input=BOB, undo="delete-customer")
        await self.shop.call(begin_generation, key)
        async with self.shop.database.transaction() as tx:
            created = await ledger.once(tx, call, CreatedCustomer, lambda: customers.create(tx, BOB))
            await auth.create(tx, NewAuthUser(customer_id=created.customer_id, password_hash="hash"))
            await customers.complete_registration(tx, created.customer_id)


async def find(shop: Shop, ended: set[str] | None = None) -> list[Finding]:
    """Audit the shop, and check that the suspects are the business keys of the findings."""
    found = await shop.audit(ended)
    if ended is None:
        suspects = [await shop.call(audit.load_suspects, page) for page in await shop.audit_pages()]
        assert {finding.business_key for finding in found} - {None} == set().union(*suspects)
    return found


async def violations(shop: Shop) -> dict[str, str]:
    """Return the subject of each violated rule; each has one violation."""
    findings = await find(shop)
    assert all(finding.count == 1 for finding in findings), findings
    return {finding.rule: finding.subject for finding in findings}


@pytest.fixture
async def backend(database: Database) -> AsyncIterator[Backend]:
    """A sound shop: orders 1 fulfilled, 2 undone, 3 not started, 4 fulfilled elsewhere; an account and a guest."""
    shop = Shop(database)
    await shop.stock("MUG", main=10, overflow=5)
    await shop.stock("TEA", backorder=True, main=2)
    for order_id in ("1", "2", "3"):
        await shop.order(order_id, MUG=3, TEA=1)
    await shop.order("4", MUG=1, columns={"fulfillment_status": "fulfilled_elsewhere"})
    await shop.sql("INSERT INTO customers (email) VALUES ('guest@customer.example')")
    backend = Backend(shop)
    await backend.register()
    await backend.complete("1")
    await backend.release(await backend.reserve("2"))
    assert await find(shop) == []
    yield backend


async def test_an_empty_shop_has_no_violations(database: Database) -> None:
    assert await find(Shop(database)) == []


async def test_stocked_is_the_sum_of_movements(backend: Backend) -> None:
    await backend.shop.sql("UPDATE inventory_levels SET stocked_quantity = 99 WHERE location_id = 'overflow'")
    [finding] = await find(backend.shop)
    assert finding == Finding(
        rule="stocked-is-sum-of-movements",
        subject="MUG at overflow",
        detail="stocked is 99, but its movements sum to 5",
    )


async def test_a_level_without_movements_must_be_empty(backend: Backend) -> None:
    await backend.shop.sql("DELETE FROM stock_movements WHERE location_id = 'overflow'")
    assert await violations(backend.shop) == {"stocked-is-sum-of-movements": "MUG at overflow"}


async def test_a_returned_unit_is_on_a_shelf_exactly_once(backend: Backend) -> None:  # (R3)
    shop = backend.shop
    wanted = NewReturn(order_id="1", return_id="r", items=[], label=False, refund=True, refund_shipping=False)
    await shop.call(returns.register, wanted, 30)
    assert [finding.rule for finding in await find(shop)] == ["unfinished-return-has-a-process"]
    assert await find(shop, ended=set()) == []
    units = ReceivedUnits(order_id="1", return_id="r", receipt=ReturnReceipt(everything=True))
    await shop.call(returns.receive, units)
    await shop.call(returns.complete, wanted)
    assert await find(shop) == []
    await shop.sql("UPDATE order_return_items SET quantity = 4 WHERE inventory_item_id = 'MUG'")
    assert await violations(shop) == {
        "movements-are-returned-units": "return r: MUG at main",
        "returned-units-were-sent": "order 1, line 1",
    }


async def test_reserved_is_the_sum_of_reservations(backend: Backend) -> None:
    await backend.shop.sql("UPDATE inventory_levels SET reserved_quantity = 1 WHERE location_id = 'overflow'")
    assert await violations(backend.shop) == {"reserved-is-sum-of-reservations": "MUG at overflow"}


async def test_reserved_may_exceed_stocked_only_if_backordered_or_oversold(backend: Backend) -> None:
    shop = backend.shop
    await shop.order("5", MUG=3, TEA=4)
    await backend.reserve("5")
    assert await shop.levels("TEA") == {"main": (1, 4)}
    assert await find(shop, ended=set()) == []
    await shop.add_stock("MUG", main=-6)
    assert await shop.levels("MUG") == {"main": (1, 3), "overflow": (5, 0)}
    assert [(f.rule, f.subject, f.detail) for f in await find(shop, ended=set())] == [
        ("reserved-is-in-stock", "MUG at main", "stocked is 1, reserved is 3 (backordered: 0)")
    ]
    await shop.sql("UPDATE inventory_levels SET oversold = true WHERE location_id = 'main'")
    assert await find(shop, ended=set()) == []


async def test_backorders_do_not_hide_missing_stock_of_other_orders(backend: Backend) -> None:
    shop = backend.shop
    await shop.variant("CHAI", items={"TEA": 1})  # the same item, without backorder
    await shop.add_stock("TEA", main=2)
    await shop.order("5", CHAI=3)
    await backend.reserve("5")
    await backend.reserve("3")
    assert await shop.levels("TEA") == {"main": (3, 4)}
    assert await find(shop, ended=set()) == []
    await shop.add_stock("TEA", main=-1)
    assert [finding.rule for finding in await find(shop, ended=set())] == ["reserved-is-in-stock"]


async def test_movements_are_the_units_of_live_fulfillments(backend: Backend) -> None:
    shop = backend.shop
    [fulfillment_id] = await shop.sql("SELECT id FROM fulfillments")
    await shop.sql("UPDATE fulfillment_items SET quantity = 2 WHERE inventory_item_id = 'MUG'")
    finding, incomplete = await find(shop)
    assert incomplete.rule == "fulfillment-is-complete"
    assert finding.rule == "movements-are-fulfilled-units"
    assert finding.subject == f"fulfillment {fulfillment_id}: MUG at main"
    assert finding.detail == "took 2, but its movements sum to 3"


async def test_a_movement_of_an_unknown_fulfillment_is_reported(backend: Backend) -> None:
    await backend.shop.sql("UPDATE stock_movements SET reference = 'x' WHERE reason = 'fulfillment'")
    findings = await find(backend.shop)
    assert {finding.rule for finding in findings} == {"movements-are-fulfilled-units"}
    assert [finding.count for finding in findings] == [2] * 4  # on each item's page: the wrong and the right reference


async def test_units_of_a_cancelled_fulfillment_must_be_back_in_stock(backend: Backend) -> None:
    shop = backend.shop
    await backend.fulfill("3")
    assert await find(shop, ended=set()) == []
    await shop.sql("UPDATE fulfillments SET cancelled_at = now() WHERE order_id = '3'")
    assert {finding.rule for finding in await find(shop, ended=set())} == {"movements-are-fulfilled-units"}


async def take_only_one(shop: Shop, sku: str) -> None:
    """Change the fulfillment of order 1 as if it had taken one unit."""
    await shop.sql("UPDATE fulfillment_items SET quantity = 1 WHERE inventory_item_id = :sku", sku=sku)
    await shop.sql(
        "UPDATE stock_movements SET quantity = -1 WHERE inventory_item_id = :sku AND reason = 'fulfillment'", sku=sku
    )
    await shop.sql(
        """UPDATE inventory_levels SET stocked_quantity = (
               SELECT sum(quantity) FROM stock_movements AS moved
               WHERE moved.inventory_item_id = :sku AND moved.location_id = inventory_levels.location_id)
           WHERE inventory_item_id = :sku""",
        sku=sku,
    )


async def test_an_order_fulfilled_short_is_reported(backend: Backend) -> None:
    await take_only_one(backend.shop, "MUG")
    [finding] = await find(backend.shop)
    assert (finding.rule, finding.subject) == ("fulfillment-is-complete", "order 1")
    assert finding.detail == "3 units of line 1 took 1 of MUG"


async def test_an_order_fulfilled_short_by_an_older_version_is_reported(backend: Backend) -> None:
    await take_only_one(backend.shop, "MUG")
    await backend.shop.sql("UPDATE fulfillments SET required_units = NULL")
    assert await violations(backend.shop) == {"fulfillment-is-complete": "order 1"}


async def test_a_line_that_took_nothing_is_reported(backend: Backend) -> None:
    shop = backend.shop
    await shop.sql("DELETE FROM fulfillment_items WHERE inventory_item_id = 'TEA'")
    await shop.sql("DELETE FROM stock_movements WHERE inventory_item_id = 'TEA' AND reason = 'fulfillment'")
    await shop.sql("UPDATE inventory_levels SET stocked_quantity = 2 WHERE inventory_item_id = 'TEA'")
    [finding] = await find(shop)
    assert (finding.rule, finding.detail) == ("fulfillment-is-complete", "needed 4 units, but took 3")


async def test_a_later_change_of_variants_does_not_make_a_fulfillment_incomplete(backend: Backend) -> None:
    shop = backend.shop
    await shop.variant("GIFT", managed=False)
    await shop.order("5", MUG=1, GIFT=2)
    await backend.complete("5")
    await shop.sql("UPDATE variants SET manage_inventory = id = 'GIFT'")
    await shop.sql("UPDATE variant_inventory_items SET required_quantity = 7")
    assert await find(shop) == []


async def test_a_kit_that_needs_less_since_its_reservation_is_not_incomplete(backend: Backend) -> None:
    shop = backend.shop
    await shop.stock("BOX", main=9)
    await shop.variant("GIFT", items={"BOX": 2})
    await shop.order("5", GIFT=3)
    reserved = await backend.reserve("5")
    await shop.sql("UPDATE variant_inventory_items SET required_quantity = 1 WHERE inventory_item_id = 'BOX'")
    await shop.call(fulfillment.create, "5")
    assert {finding.rule for finding in await find(shop, ended={reserved.key.business_key})} == {
        "open-order-holds-nothing",
        "one-generation-stands",
    }


async def test_a_variant_that_becomes_deny_leaves_its_backorders_in_order(backend: Backend) -> None:
    shop = backend.shop
    await shop.order("5", TEA=4)
    await backend.reserve("5")
    await shop.sql("UPDATE variants SET allow_backorder = false")
    assert await find(shop, ended=set()) == []
    await shop.sql("UPDATE reservations SET backorder = NULL")  # of an older version: today's policy is all there is
    assert [finding.rule for finding in await find(shop, ended=set())] == ["reserved-is-in-stock"]


async def test_a_fulfilled_order_has_a_live_fulfillment(backend: Backend) -> None:
    await backend.shop.sql("UPDATE orders SET fulfillment_status = 'fulfilled' WHERE id = '2'")
    assert await violations(backend.shop) == {
        "fulfilled-order-has-one-fulfillment": "order 2",
        "one-generation-stands": "order-processing-2",
    }


async def test_a_fulfilled_order_has_no_reservations(backend: Backend) -> None:
    shop = backend.shop
    await shop.sql(
        """INSERT INTO reservations (order_id, order_line_id, inventory_item_id, location_id, quantity)
           SELECT '1', id, 'MUG', 'main', 1 FROM order_lines WHERE order_id = '1' AND sku = 'MUG'"""
    )
    await shop.sql(
        "UPDATE inventory_levels SET reserved_quantity = 1 WHERE location_id = 'main' AND stocked_quantity > 1"
    )
    [finding] = await find(shop)
    assert finding.rule == "fulfilled-order-has-one-fulfillment"
    assert finding.detail == "is fulfilled; live fulfillments: 1, reservations: 1"


async def test_an_open_order_holds_stock_only_while_its_process_runs(backend: Backend) -> None:
    key = order_process_id("3")
    await backend.fulfill("3")
    found = {finding.rule: (finding.subject, finding.business_key) for finding in await find(backend.shop)}
    assert found == {"open-order-holds-nothing": ("order 3", key), "one-generation-stands": (key, key)}
    assert await find(backend.shop, ended={"another"}) == []
    assert {finding.rule for finding in await find(backend.shop, ended={key})} == set(found)


async def test_an_order_fulfilled_elsewhere_is_not_audited(backend: Backend) -> None:
    await backend.fulfill("3")
    await backend.shop.sql("UPDATE orders SET fulfillment_status = 'fulfilled_elsewhere' WHERE id = '3'")
    assert await find(backend.shop) == []


async def test_every_account_has_an_auth_user_and_its_group(backend: Backend) -> None:
    shop = backend.shop
    [account] = await shop.sql("SELECT id FROM customers WHERE has_account")
    await shop.sql("DELETE FROM customer_group_members")
    assert await violations(shop) == {"account-is-in-default-group": f"customer {account}"}
    await shop.sql("DELETE FROM auth_users")
    findings = await find(shop)
    assert [finding.rule for finding in findings] == ["account-has-one-auth-user", "account-is-in-default-group"]
    assert {finding.business_key for finding in findings} == {REGISTRATION}
    assert BOB.email not in str(findings)


async def test_membership_of_another_group_does_not_count(backend: Backend) -> None:
    await backend.shop.sql("UPDATE customer_groups SET name = 'vip'")
    assert list(await violations(backend.shop)) == ["account-is-in-default-group"]


async def test_a_guest_has_no_auth_user(backend: Backend) -> None:
    await backend.shop.sql(
        "INSERT INTO auth_users (customer_id, password_hash) SELECT id, '' FROM customers WHERE NOT has_account"
    )
    [finding] = await find(backend.shop)
    assert (finding.rule, finding.detail) == ("account-has-one-auth-user", "is a guest with an auth user")


async def test_a_second_generation_with_undoable_steps_is_reported(backend: Backend) -> None:
    await backend.shop.sql(
        """INSERT INTO step_ledger (business_key, generation, step, state, undo, call)
           SELECT business_key, 'old', step, 'done', undo, call FROM step_ledger WHERE generation = 'g1'"""
    )
    [finding] = await find(backend.shop)
    assert (finding.rule, finding.subject) == ("one-generation-stands", order_process_id("1"))
    assert finding.detail == "generations with undoable steps: 2, expected: 1"


@pytest.mark.parametrize("state", ["started", "undoing"])
async def test_a_fulfilled_order_has_no_unfinished_step(backend: Backend, state: str) -> None:
    await backend.shop.sql(
        "UPDATE step_ledger SET state = :state WHERE generation = 'g1' AND step = 'create-fulfillment'", state=state
    )
    [finding] = await find(backend.shop)
    assert finding.detail == "generations with undoable steps: 1, expected: 1, not all steps are done"


async def test_a_step_stuck_in_its_undo_is_reported(backend: Backend) -> None:
    await backend.shop.sql(
        "UPDATE step_ledger SET state = 'undoing' WHERE business_key = :key", key=order_process_id("2")
    )
    assert await violations(backend.shop) == {"one-generation-stands": order_process_id("2")}


async def test_steps_of_an_unknown_process_must_be_undone(backend: Backend) -> None:
    await backend.shop.sql("UPDATE step_ledger SET business_key = 'stray' WHERE generation = 'g'")
    assert {finding.subject for finding in await find(backend.shop)} == {"stray", REGISTRATION}


async def test_steps_of_a_guest_are_reported_once(backend: Backend) -> None:
    await backend.shop.sql("DELETE FROM auth_users")
    await backend.shop.sql("UPDATE customers SET has_account = false")
    assert await violations(backend.shop) == {"one-generation-stands": REGISTRATION}
    assert len(await find(backend.shop)) == 1


async def test_all_findings_are_counted_even_if_not_all_are_reported(backend: Backend) -> None:
    await backend.shop.sql(
        """INSERT INTO step_ledger (business_key, generation, step, state, undo, call)
           SELECT 'stray-' || n, 'g', 'step', 'done', 'undo', '{}' FROM generate_series(1, 150) AS n"""
    )
    findings = await find(backend.shop, ended={f"stray-{n}" for n in range(1, 121)})
    assert len(findings) == MAX_FINDINGS
    assert {finding.count for finding in findings} == {120}
    suspects = [await backend.shop.call(audit.load_suspects, page) for page in await backend.shop.audit_pages()]
    assert sum(map(len, suspects)) == 150


async def test_only_running_processes_wait(backend: Backend) -> None:  # (W6)
    await backend.shop.sql(
        """INSERT INTO step_waits (business_key, generation, step, round, asked_at, until, kind)
           SELECT :key, 'g', step, 1, now(), now(), kind FROM (VALUES ('asked', NULL), ('expired', 'expired'))
           AS wait (step, kind)""",
        key=REGISTRATION,
    )
    assert await violations(backend.shop) == {"only-running-processes-wait": REGISTRATION}
    await backend.shop.sql("UPDATE process_generations SET generation = 'newer'")
    assert "only-running-processes-wait" not in {finding.rule for finding in await find(backend.shop)}


async def test_an_order_that_was_cancelled_here_but_holds_goods_is_reported(backend: Backend) -> None:  # (B4)
    await backend.shop.sql(
        "UPDATE orders SET cancellation = 'cancelled', fulfillment_status = 'restocked' WHERE id = '1'"
    )
    found = await find(backend.shop)
    assert [(each.rule, each.business_key) for each in found if each.rule.startswith("cancelled")] == [
        ("cancelled-order-holds-nothing", "cancel-order-1")
    ]


async def test_an_order_that_is_cancelling_without_a_process_is_reported(backend: Backend) -> None:  # (B2)
    await backend.shop.sql("UPDATE orders SET cancellation = 'cancelling' WHERE id = '1'")
    assert await violations(backend.shop) == {"cancelled-order-holds-nothing": "order 1"}
    assert await find(backend.shop, ended=set()) == []


async def test_refunds_that_do_not_add_up_are_reported(backend: Backend) -> None:  # (P1)
    await backend.shop.sql("INSERT INTO order_payments (order_id, captured, refunded) VALUES ('1', 500, 300)")
    assert await violations(backend.shop) == {"refunded-is-captured": "order 1"}


async def test_a_capture_that_is_not_counted_is_reported(backend: Backend) -> None:  # (P4)
    await backend.shop.sql("INSERT INTO order_captures VALUES ('1', 'pi_1', 'stripe', 500, true)")
    assert await violations(backend.shop) == {"refunded-is-captured": "order 1"}
    await backend.shop.sql("INSERT INTO order_payments (order_id, captured) VALUES ('1', 500)")
    assert await violations(backend.shop) == {}


async def test_a_short_pick_that_is_not_written_off_is_reported(backend: Backend) -> None:  # (K3)
    await backend.shop.sql(
        """INSERT INTO pick_shorts
           SELECT fulfillment_id, order_line_id, inventory_item_id, location_id, 1, 1 FROM fulfillment_items LIMIT 1"""
    )
    found = await violations(backend.shop)
    assert "short-picks-are-written-off" in found
