"""Lists of orders, and one order in full as the shop's database has it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.errors import BadInput, OrderNotFound
from commerce.messages.base import FieldError
from commerce.messages.cancellations import processes_of
from commerce.messages.order_views import (
    ActionView,
    Address,
    AnswerView,
    EventView,
    FulfillmentView,
    LineView,
    MailView,
    OrderFacts,
    OrderPage,
    OrderStatus,
    OrderSummary,
    ReservationView,
)
from commerce.open_orders import NEEDS_VARIANT
from commerce.order_identity import name_key_of, split_order_id
from commerce.order_status import STATUS, WORDS, has_status
from commerce.queries import order_goods, returns
from commerce.queries.masking import mask_name
from commerce.queries.search import has_number, search_query

MAX_PAGE = 200
MAX_SEARCH = 200  # characters
MAX_ENTRIES = 100  # of an order's mails, events, answers and actions each
SUMMARY = f"""
    orders.id AS order_id, number, source, {STATUS} AS status, payment_status, currency, total, orders.created_at,
    CASE WHEN {STATUS} = 'on_hold' THEN hold_reason END AS hold_reason,
    coalesce(nullif(btrim(shipping_name), ''), billing_name) AS customer, shipping_country AS country,
    (SELECT coalesce(sum(quantity), 0) FROM order_lines WHERE order_id = orders.id) AS units
"""  # noqa: S608 - our own constants
FIND = text("""
    SELECT id FROM orders
    WHERE id = :order_id OR source = :source AND (external_id = :own_id OR name_key = :own_id)
    ORDER BY id <> :order_id LIMIT 1
""")
PLACE = text("SELECT created_at, id FROM orders WHERE id = :id")
# Words that many orders have are found among the newest orders at once, all others by their index. PostgreSQL cannot
# know which is which, because the start of a word has no statistics. A plan made without the values, as a connection
# gets it for a statement used several times, would also read all entries of an index by date.
EXAMINED = 1_500  # orders
USE_OTHER_INDEXES = text("""
    SELECT set_config('enable_seqscan', 'off', true), set_config('enable_indexscan', 'off', true),
           set_config('plan_cache_mode', 'force_custom_plan', true)
""")
USE_ALL_INDEXES = text("""
    SELECT set_config('enable_seqscan', 'on', true), set_config('enable_indexscan', 'on', true),
           set_config('plan_cache_mode', 'auto', true)
""")
MATCHES = f"{WORDS} @@ (to_tsquery('simple', :query) || CAST(:query AS tsquery))"
PARCELS = text("SELECT order_id FROM fulfillments WHERE tracking_number = :number LIMIT 10")
ORDERED = "ORDER BY orders.created_at DESC, orders.id DESC"
LIST = f"SELECT {SUMMARY} FROM orders WHERE {{conditions}} {ORDERED} LIMIT :limit"  # noqa: S608 - our own constants
BY_ID = "SELECT id FROM orders WHERE id = ANY(:ids) AND {conditions}"
NEWEST = f"""
    WITH newest AS MATERIALIZED (
        SELECT id, created_at, {MATCHES} AS matches FROM orders WHERE {{conditions}} {ORDERED} LIMIT {EXAMINED}
    )
    SELECT count(*) AS examined, array_agg(id ORDER BY created_at DESC, id DESC) FILTER (WHERE matches) AS ids
    FROM newest
"""  # noqa: S608 - our own constants
BY_WORDS = f"SELECT id FROM orders WHERE {MATCHES} AND {{conditions}} {ORDERED} LIMIT :limit"  # noqa: S608
FACTS = text(f"""
    SELECT {SUMMARY}, revision, email, shipping_method, payment_method, risk_level, note, tags, corrections,
           shipping_total, discount_total, tax_total, refunded_total, outstanding_total, updated_at, cancelled_at,
           refused_at,
           shipping_name, shipping_company, shipping_address1, shipping_address2, shipping_city, shipping_zip,
           coalesce(nullif(shipping_province, ''), shipping_province_name) AS shipping_province, shipping_country,
           coalesce(shipping_phone, phone) AS shipping_phone,
           billing_name, billing_company, billing_address1, billing_address2, billing_city, billing_zip,
           billing_province, billing_country, CAST(NULL AS text) AS billing_phone
    FROM orders WHERE id = :order_id
""")  # noqa: S608 - our own constants
LINES = text(f"""
    SELECT position, sku, title, quantity, refunded_quantity, returned_quantity, returning_quantity, unit_price,
           discount, requires_shipping,
           {NEEDS_VARIANT} AS lacks_product
    FROM order_lines AS line WHERE order_id = :order_id ORDER BY position
""")  # noqa: S608 - our own constants
RESERVATIONS = text("""
    SELECT line.position, item.sku, location.name AS location, reservation.quantity
    FROM reservations AS reservation JOIN order_lines AS line ON line.id = order_line_id
    JOIN inventory_items AS item ON item.id = inventory_item_id JOIN locations AS location ON location.id = location_id
    WHERE reservation.order_id = :order_id ORDER BY line.position, item.sku, location.name
""")
FULFILLMENTS = text("""
    SELECT CAST(fulfillment.id AS text) AS fulfillment_id, location.name AS location, carrier, tracking_number,
           label_url, fulfillment.created_at, completed_at, cancelled_at,
           (SELECT coalesce(sum(quantity), 0) FROM fulfillment_items WHERE fulfillment_id = fulfillment.id) AS units
    FROM fulfillments AS fulfillment LEFT JOIN locations AS location ON location.id = from_location_id
    WHERE order_id = :order_id ORDER BY fulfillment.created_at, fulfillment.position
""")
MAILS = text(f"""
    SELECT key, kind, status, attempts, error, created_at, sent_at FROM notifications
    WHERE order_id = :order_id ORDER BY created_at DESC, key LIMIT {MAX_ENTRIES}
""")  # noqa: S608 - our own constant
EVENTS = text(f"""
    SELECT CAST(id AS text) AS id, type, aggregate, data, created_at, published_at FROM outbox_events
    WHERE aggregate = 'order/' || CAST(:order_id AS text) ORDER BY sequence DESC LIMIT {MAX_ENTRIES}
""")  # noqa: S608 - our own constant
ANSWERS = text(f"""
    SELECT step, round, asked_at, until, kind AS answer, reason, answered_by, answered_at FROM step_waits
    WHERE business_key = ANY(CAST(:processes AS text[])) ORDER BY asked_at DESC LIMIT {MAX_ENTRIES}
""")  # noqa: S608 - our own constant
ACTIONS = text(f"""
    SELECT action, reason, actor, created_at FROM operator_actions
    WHERE process_id = ANY(CAST(:processes AS text[])) ORDER BY created_at DESC LIMIT {MAX_ENTRIES}
""")  # noqa: S608 - our own constant


@dataclass(frozen=True)
class OrderFilter:
    """Which orders a list has. Several conditions select the orders that meet all of them.

    `hold_reason` selects orders on hold, with or without its part before the colon: `failed: CarrierRefused`. `search`:
    words of the order's ids, number, names and e-mail address, or a tracking number. `since` and `until` (exclusive)
    limit when the orders were placed.
    """

    status: OrderStatus | None = None
    hold_reason: str | None = None
    search: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def list_orders(
    tx: AsyncSession, selected: OrderFilter, *, limit: int = 50, cursor: str | None = None, masked: bool = True
) -> OrderPage:
    """Return a page of orders, last placed first; `limit` is 1 to 200. `masked`: without the names of customers.

    Raises BadInput naming the wrong fields.
    """
    _check(selected, limit)
    values: dict[str, Any] = {
        "limit": limit + 1,
        "since": selected.since,
        "until": selected.until,
        "hold_reason": selected.hold_reason,
    }
    if cursor is not None:
        place = (await tx.execute(PLACE, {"id": cursor})).one_or_none()
        if place is None:
            raise BadInput([FieldError(field="cursor", message="must be the next_cursor of an earlier page")])
        values |= {"after": place.created_at, "after_id": place.id}
    conditions = _conditions(selected, after=cursor is not None)
    if selected.search:
        values["ids"] = await _search(tx, selected.search, conditions, values)
        conditions = "orders.id = ANY(:ids)"
    rows = (await tx.execute(_statement(LIST, conditions), values)).mappings().all()
    named = mask_name if masked else str
    found = [
        OrderSummary.model_validate({**row, "customer": row["customer"] and named(row["customer"])})
        for row in rows[:limit]
    ]
    return OrderPage(orders=found, next_cursor=found[-1].order_id if len(rows) > limit else None)


async def find_order(tx: AsyncSession, reference: str, *, default_source: str) -> str:
    """Return our id of the order with this id, or with this id or name at its source. Raises OrderNotFound."""
    order_id = name_key_of(reference)
    source, own_id = split_order_id(order_id, default_source=default_source)
    found: str | None = await tx.scalar(FIND, {"order_id": order_id, "source": source, "own_id": own_id})
    if found is None:
        raise OrderNotFound(order_id)
    return found


async def load_order(tx: AsyncSession, order_id: str) -> OrderFacts:
    """Return an order in full. Raises OrderNotFound."""
    order = (await tx.execute(FACTS, {"order_id": order_id})).mappings().one_or_none()
    if order is None:
        raise OrderNotFound(order_id)
    found = await returns.load_returns(tx, await returns.of_orders(tx, [order_id]))
    values = {"order_id": order_id, "processes": [*processes_of(order_id), *(each.transaction_id for each in found)]}

    async def load(statement: TextClause, kind: type[Any]) -> list[Any]:
        return [kind.model_validate(dict(row)) for row in (await tx.execute(statement, values)).mappings()]

    return OrderFacts(
        **order,
        shipping_address=_address(order, "shipping"),
        billing_address=_address(order, "billing"),
        corrected=sorted(order["corrections"] or {}),
        lines=await load(LINES, LineView),
        reservations=await load(RESERVATIONS, ReservationView),
        fulfillments=await load(FULFILLMENTS, FulfillmentView),
        picks=await order_goods.load_picks(tx, order_id),
        captures=await order_goods.load_captures(tx, order_id),
        refunds=await order_goods.load_refunds(tx, order_id),
        returns=found,
        mails=await load(MAILS, MailView),
        events=await load(EVENTS, EventView),
        answers=await load(ANSWERS, AnswerView),
        actions=await load(ACTIONS, ActionView),
    )


def _check(selected: OrderFilter, limit: int) -> None:
    problems = []
    if not 1 <= limit <= MAX_PAGE:
        problems.append(FieldError(field="limit", message=f"must be 1 to {MAX_PAGE}"))
    if selected.hold_reason is not None and selected.status not in (None, "on_hold"):
        problems.append(FieldError(field="hold_reason", message="only orders on hold have one"))
    if selected.since and selected.until and selected.since >= selected.until:
        problems.append(FieldError(field="until", message="must be later than since"))
    if selected.search is not None and not selected.search.strip():
        problems.append(FieldError(field="search", message="must contain a word"))
    if selected.search is not None and len(selected.search) > MAX_SEARCH:
        problems.append(FieldError(field="search", message=f"must have at most {MAX_SEARCH} characters"))
    if problems:
        raise BadInput(problems)


def _conditions(selected: OrderFilter, *, after: bool) -> str:
    """Return the SQL condition on orders. It has only what applies, so that the indexes can be used."""
    conditions = [
        "orders.created_at >= coalesce(CAST(:since AS timestamptz), '-infinity')",
        "orders.created_at < coalesce(CAST(:until AS timestamptz), 'infinity')",
    ]
    if status := "on_hold" if selected.hold_reason is not None else selected.status:
        conditions.append(has_status(status))
    if selected.hold_reason is not None:
        conditions.append("hold_reason IN (CAST(:hold_reason AS text), 'failed: ' || CAST(:hold_reason AS text))")
    if after:
        conditions.append("(orders.created_at, orders.id) < (CAST(:after AS timestamptz), CAST(:after_id AS text))")
    return " AND ".join(conditions)


async def _search(tx: AsyncSession, words: str, conditions: str, values: Mapping[str, Any]) -> list[str]:
    """Return the ids of the first orders that meet the conditions and have all words, or this tracking number."""
    values = {**values, "query": search_query(words)}
    if parcels := list(await tx.scalars(PARCELS, {"number": words.strip()})):
        return list(await tx.scalars(_statement(BY_ID, conditions), {**values, "ids": parcels}))
    ids: list[str]
    if not has_number(words):
        newest = (await tx.execute(_statement(NEWEST, conditions), values)).one()
        ids = (newest.ids or [])[: values["limit"]]
        if len(ids) == values["limit"] or newest.examined < EXAMINED:
            return ids
    await tx.execute(USE_OTHER_INDEXES)
    ids = list(await tx.scalars(_statement(BY_WORDS, conditions), values))
    await tx.execute(USE_ALL_INDEXES)
    return ids


@lru_cache
def _statement(template: str, conditions: str) -> TextClause:
    return text(template.format(conditions=conditions))


def _address(order: Any, kind: str) -> Address:
    return Address(**{name: order[f"{kind}_{name}"] for name in Address.model_fields})
