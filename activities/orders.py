"""Activities that validate, complete, refuse and hold orders."""

from contextlib import suppress
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from activities.boundary.generations import begin, key_of_run
from commerce import approvals, backlog, generations, ledger, open_orders, orders, short_picks
from commerce.database import Database
from commerce.errors import (
    OrderNotFound,
    OrderOnHold,
    OrderRefused,
    PermanentError,
    StaleGeneration,
    UnknownVariant,
    VariantWithoutItems,
)
from commerce.messages.base import Nothing
from commerce.messages.orders import CompletedOrder, Completion, Hold, OrderStart, Refusal, Refused, ValidOrder
from commerce.messages.pending_orders import PendingIds, PendingPageRequest
from commerce.messages.steps import Begin, Call
from commerce.review_rules import NO_REVIEW, ReviewRules
from commerce.shipping_rules import DEFAULT_RULES, ShippingRules


class OrderActivities:
    """Validate and complete orders, and record what stopped them."""

    def __init__(
        self,
        database: Database,
        zone: ZoneInfo,
        rules: ShippingRules = DEFAULT_RULES,
        reviews: ReviewRules = NO_REVIEW,
        *,
        picks: bool = False,
    ) -> None:
        """`picks`: the warehouse picks orders, and answers what it has found."""
        self._database = database
        self._zone = zone
        self._rules = rules
        self._reviews = reviews
        self._picks = picks

    @activity.defn(name="validate-order")
    async def validate(self, call: Begin[OrderStart]) -> ValidOrder:
        """Make this run the current one of the order, and check that the order can be processed (V1)."""
        order_id, key = call.input.order_id, key_of_run(call.key)

        # As in every step, the generation is locked before the order. It stays current if the order is refused, so the
        # refusal is raised only after the commit.
        async def validate(tx: AsyncSession) -> ValidOrder | PermanentError:
            if not await orders.lock(tx, order_id):
                raise OrderNotFound(order_id)
            if await generations.is_closed(tx, key):  # a late try, by a worker that was frozen: it would end the hold
                raise StaleGeneration(key.business_key)
            if leftovers := await generations.find_leftovers(tx, key):
                return ValidOrder(order_id=order_id, leftovers=leftovers)
            if not call.input.unless_held:
                await approvals.approve(tx, order_id, key.generation)
            elif await orders.is_held(tx, order_id, key.generation):
                return OrderOnHold(order_id)
            hold = None
            try:
                answer: ValidOrder | PermanentError = await orders.validate(tx, order_id, self._rules, self._reviews)
            except UnknownVariant as missing:  # it waits, without a hold, until its lines have products
                answer = missing
            except (OrderRefused, VariantWithoutItems) as refusal:
                # Held in the transaction that has read the order, so that a later change of the order ends the hold.
                answer, hold = refusal, Hold(order_id=order_id, reason=f"failed: {type(refusal).__name__}")
            except PermanentError as error:
                return error
            await (orders.end_wait if call.input.unless_held else orders.clear_hold)(tx, order_id)
            if hold:
                await orders.hold(tx, hold, key.generation)
            return answer

        answer = await begin(self._database, key, validate)
        if isinstance(answer, PermanentError):
            raise answer
        picks = self._picks and not answer.fulfilled
        return answer.model_copy(update={"generation": key.generation, "picks": picks})

    @activity.defn(name="list-pending-orders")
    async def list_pending(self, call: Call[PendingPageRequest]) -> PendingIds:
        """Return the next page of orders that are open, not on hold, and do not wait (V10).

        The first page also has the number of orders that wait for products.
        """
        async with self._database.transaction() as tx:
            page = await open_orders.list_pending(tx, call.input)
            if call.input.after is not None:
                return page
            waiting = await backlog.count_waiting_for_product(tx)
        today = datetime.now(self._zone).date()
        return page.model_copy(update={"waiting_for_product": waiting, "day": today})

    @activity.defn(name="complete-order")
    async def complete(self, call: Call[Completion]) -> CompletedOrder:
        """Final step: mark the order as fulfilled, write its event, queue the customer's mail (V8)."""
        order = call.input
        async with self._database.transaction() as tx:

            async def complete() -> CompletedOrder:
                if order.short_pick and await orders.lock(tx, order.order_id):
                    await short_picks.close_lines(tx, order.order_id)
                return await orders.complete(tx, order.order_id, order.revision, self._rules)

            return await ledger.once(tx, call, CompletedOrder, complete, final=True)

    @activity.defn(name="record-refusal")
    async def refuse(self, call: Call[Refusal]) -> Refused:
        """Record that stock is too short for the order, and write an event once per order and day (V2)."""
        day = call.input.at.astimezone(self._zone).date()
        with suppress(StaleGeneration):  # a newer run decides about the order
            await begin(self._database, call.key, lambda tx: orders.refuse(tx, call.input, day))
        return Refused(day=day)

    @activity.defn(name="hold-order")
    async def hold(self, call: Call[Hold]) -> Nothing:
        """Put an order on hold, so that the job `process-pending-orders` leaves it to an operator (V10)."""
        with suppress(StaleGeneration):  # a newer run decides about the order
            await begin(self._database, call.key, lambda tx: orders.hold(tx, call.input))
        return Nothing()
