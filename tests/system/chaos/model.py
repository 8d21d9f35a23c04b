"""What must be true at the end of a chaos run, worked out from its plan, the shop, the carrier and the mails."""

import email
import email.policy
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Set
from dataclasses import dataclass
from typing import Any

from tests.running_shop import RunningShop, carrier_client
from tests.system.chaos.plan import LOOSE_SKU, VARIANTS, Action, Plan, PlannedOrder

ORDERS = """
    SELECT id, fulfillment_status, hold_reason, waits_for_backorders IS NOT NULL, cancelled_at IS NOT NULL,
           (SELECT count(*) FROM fulfillments WHERE order_id = orders.id AND cancelled_at IS NULL),
           ARRAY(SELECT tracking_number FROM fulfillments WHERE order_id = orders.id AND cancelled_at IS NULL
                 AND tracking_number IS NOT NULL ORDER BY 1),
           (SELECT count(DISTINCT location_id) FROM fulfillments
            JOIN fulfillment_items ON fulfillment_id = fulfillments.id
            WHERE fulfillments.order_id = orders.id AND cancelled_at IS NULL),
           (SELECT count(*) FROM outbox_events WHERE aggregate = 'order/' || orders.id AND type = 'order.fulfilled')
    FROM orders
"""
STOCK = """
    SELECT inventory_item_id, location_id, stocked_quantity, reserved_quantity, coalesce(brought, 0), coalesce(sold, 0)
    FROM inventory_levels LEFT JOIN (
        SELECT inventory_item_id, location_id,
               sum(quantity) FILTER (WHERE reason NOT IN ('fulfillment', 'cancel')) AS brought,
               -sum(quantity) FILTER (WHERE reason IN ('fulfillment', 'cancel')) AS sold
        FROM stock_movements GROUP BY inventory_item_id, location_id) AS moved USING (inventory_item_id, location_id)
"""
UNSENT = "SELECT key, recipient, status FROM notifications WHERE status <> 'sent' AND recipient <> ''"
UNPUBLISHED = "SELECT type || ' of ' || aggregate FROM outbox_events WHERE published_at IS NULL"
TRIED = """
    SELECT (SELECT count(*) FROM (SELECT FROM step_ledger GROUP BY business_key HAVING count(DISTINCT generation) > 1)),
           (SELECT count(*) FROM step_ledger WHERE state = 'undone'),
           (SELECT count(*) FROM notifications WHERE attempts > 1)
"""
CARTS = "SELECT (SELECT count(*) FROM carts), (SELECT count(*) FROM outbox_events WHERE type = 'cart.expired')"
# The hold reasons that a plan can cause, and the actions that do.
CANCELLED, REFUSED, RESET_TOO_LATE = "cancelled", "failed: CarrierRefused", "failed: StepWithdrawn"


@dataclass(frozen=True)
class Order:
    """An order at the end."""

    id: str
    status: str
    hold: str | None
    waits: bool
    withdrawn: bool
    fulfillments: int
    tracking_numbers: list[str]
    locations: int
    events: int

    @property
    def is_fulfilled(self) -> bool:
        return self.status == "fulfilled"


async def forgotten(shop: RunningShop, plan: Plan) -> list[str]:
    """Return the orders that wait for stock although it is there, when no order is pending and no run is open."""
    on_hand = Counter[str]()
    for item, _, stocked, *_ in await shop.data.sql(STOCK):
        on_hand[item] += stocked
    found = []
    for order in [Order(*row) for row in await shop.data.sql(ORDERS)]:
        planned = plan.orders[order.id]
        need = _need(planned)
        waits = order.waits and planned.paid and not order.hold and not order.withdrawn
        if waits and all(units <= on_hand[item] or item == LOOSE_SKU for item, units in need.items()):
            found.append(f"{order.id}: is forgotten: it needs {dict(need)} of {dict(on_hand)}")
    return found


async def violations(shop: RunningShop, plan: Plan, done: Collection[Action], carts: int) -> list[str]:
    """Return everything that is not as it must be when all runs have ended, and there was plenty of stock at last.

    `done`: the actions of the plan that were not refused; `carts`: how many have expired.
    """
    orders = [Order(*row) for row in await shop.data.sql(ORDERS)]
    labels = await _live_labels(shop)
    mails = _mails(shop)
    found = [f"audit: {finding.rule}: {finding.subject}: {finding.detail}" for finding in await shop.findings()]
    found += await shop.data.breaches()
    stock = await shop.data.sql(STOCK)
    for order in orders:
        planned = plan.orders[order.id]
        names = {action.name for action in done if action.more.get("order_id") == order.id}
        found += (f"{order.id}: {wrong}" for wrong in _wrong_outcome(planned, order, names))
        found += (f"{order.id}: {wrong}" for wrong in _wrong_label(planned, order, labels.pop(order.id, [])))
        sent = mails[f"order-shipped/{order.id}"]
        if len(sent) != (order.is_fulfilled and planned.can_be_mailed):
            found.append(f"{order.id}: {len(sent)} different mails that it has shipped")
    found += [f"{order_id}: labels of an unknown order: {live}" for order_id, live in labels.items()]
    found += [f"{len(ids)} different mails of {key}" for key, ids in mails.items() if len(ids) > 1]
    found += _wrong_stock(plan, orders, stock)
    found += [f"not published: {event}" for event in await shop.data.sql(UNPUBLISHED)]
    for key, recipient, status in await shop.data.sql(UNSENT):
        is_refused = any(o.email == recipient and not o.can_be_mailed for o in plan.orders.values())
        if not (status == "failed" and is_refused):
            found.append(f"the mail {key} to {recipient} is {status}")
    if await shop.data.sql(CARTS) != [(0, carts)]:
        found.append(f"carts left and events: {await shop.data.sql(CARTS)}, expected 0 and {carts}")
    return found


async def summary(shop: RunningShop) -> str:
    """Return what a run has tried: the orders by their outcome, and what had to be undone or repeated."""
    orders = [Order(*row) for row in await shop.data.sql(ORDERS)]
    outcomes = Counter(
        order.status if order.is_fulfilled else order.hold or ("waits for stock" if order.waits else "other")
        for order in orders
    )
    [tried] = await shop.data.sql(TRIED)
    names = ("processes of several runs", "undone steps", "repeated mails")
    async with carrier_client(shop.carrier_url) as http:
        labels = (await http.get("/trial/labels")).json()
    counts = dict(zip(names, tried, strict=True)) | {"refunded labels": labels["refunded"]}
    return ", ".join(f"{count} {name}" for name, count in (outcomes | counts).items())


def _wrong_outcome(planned: PlannedOrder, order: Order, done: Set[str]) -> Iterator[str]:
    """Check that an order has one outcome: fulfilled, on hold for a reason that it has, or never to be processed.

    `done`: the names of its actions that were not refused.
    """
    never = not planned.paid or order.withdrawn
    outcomes = [order.is_fulfilled, order.hold is not None, order.waits]
    if sum(outcomes) + (never and not any(outcomes)) != 1:
        yield f"has not one outcome: {order}"
    if (order.fulfillments, order.events) != ((max(order.locations, 1), 1) if order.is_fulfilled else (0, 0)):
        yield f"is {order.status} with {order.fulfillments} live fulfillments and {order.events} events"
    if order.is_fulfilled and (not planned.paid or planned.is_refused_by_carrier):
        yield "must not be fulfilled"
    if order.hold and order.hold not in _possible_holds(planned, done):
        yield f"is on hold: {order.hold}"
    if order.waits and not never:
        yield "waits for stock, although there is plenty"


def _possible_holds(planned: PlannedOrder, done: Set[str]) -> Iterator[str]:
    if done & {"cancel", "interrupt_twice"}:
        yield CANCELLED
    if planned.is_refused_by_carrier:
        yield REFUSED
    if "reset_late" in done:
        yield RESET_TOO_LATE


def _wrong_label(planned: PlannedOrder, order: Order, live: list[str]) -> Iterator[str]:
    """A fulfilled order that is shipped has one live label per parcel, any other order has none.

    All that is in stock here is shipped, so each fulfillment is a parcel.
    """
    if len(live) != (order.fulfillments if order.is_fulfilled and planned.needs_label else 0):
        yield f"is {order.status} with {order.fulfillments} fulfillments and has the labels {live}"
    elif sorted(live) != order.tracking_numbers:
        yield f"has the labels {live}, but the shop knows {order.tracking_numbers}"


def _need(planned: PlannedOrder) -> Counter[str]:
    """Return the units of inventory items that an order needs."""
    need = Counter[str]()
    for sku, quantity in planned.lines.items():
        for item, units in VARIANTS[sku].items.items():
            need[item] += quantity * units
    return need


def _wrong_stock(plan: Plan, orders: list[Order], stock: list[tuple[Any, ...]]) -> Iterator[str]:
    """Stock is what was brought minus what was sold, and nothing is reserved."""
    needed = Counter[str]()
    for order in orders:
        if order.is_fulfilled:
            needed += _need(plan.orders[order.id])
    sold = Counter[str]()
    for item, location, stocked, reserved, brought, taken in stock:
        sold[item] += taken
        if stocked != brought - taken or reserved:
            yield f"{item} at {location}: stocked {stocked}, brought {brought}, sold {taken}, reserved {reserved}"
    if sold.pop(LOOSE_SKU, 0) > needed.pop(LOOSE_SKU, 0):
        yield f"more than ordered was sold of {LOOSE_SKU}"
    if +sold != needed:
        yield f"sold {dict(+sold)}, but the fulfilled orders need {dict(needed)}"


async def _live_labels(shop: RunningShop) -> dict[str, list[str]]:
    """Return the labels that were bought and not refunded, by order, as the carrier has them."""
    labels: defaultdict[str, list[str]] = defaultdict(list)
    async with carrier_client(shop.carrier_url) as http:
        for label in (await http.get("/trial/labels")).json()["labels"]:
            if label["refund_status"] is None:
                labels[label["order_id"]].append(label["tracking_code"])
    return dict(labels)


def _mails(shop: RunningShop) -> defaultdict[str, set[str]]:
    """Return the Message-IDs of the received mails by key: copies with the same one count as one mail."""
    mails: defaultdict[str, set[str]] = defaultdict(set)
    for path in shop.mail_dir.glob("*.eml"):
        mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        mails[str(mail["X-Commerce-Key"])].add(str(mail["Message-ID"]))
    return mails
