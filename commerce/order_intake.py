"""Store an order that another system sends over HTTP; `commerce.imports` parses it."""

from collections.abc import Iterator, Sequence

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import listings, outbox
from commerce.errors import OrderDiffers
from commerce.imports.content_hash import content_hash
from commerce.imports.new_order import NewOrder, NewOrderLine
from commerce.imports.orders import ORDER_FIELDS
from commerce.messages.events import OrderPlaced
from commerce.outbox import NewEvent

MAX_DIFFERENCES = 100  # listed in an error
# The other system's names of our fields, where they differ.
HEAD_NAMES = {"payment_status": "financial_status", "shipping_total": "shipping"}
LINE_NAMES = {"title": "name", "unit_price": "price"}

FIND_ORDER = text("""
    SELECT content_hash, email, payment_status,
           CASE fulfillment_status WHEN 'fulfilled' THEN 'not_fulfilled' ELSE fulfillment_status END
               AS fulfillment_status,
           currency, shipping_total, total, shipping_method, shipping_name, shipping_address1, shipping_city,
           shipping_zip, shipping_province, shipping_country, shipping_phone, created_at, paid_at, cancelled_at
    FROM orders WHERE id = :id
""")
FIND_LINES = text("""
    SELECT sku, title, quantity, unit_price, requires_shipping FROM order_lines WHERE order_id = :id ORDER BY position
""")
# An import of inventory links order lines to new variants. If a line's SKU is unknown or empty, wait for running
# imports before the first write: then either the import sees our lines, or we see its variants.
WAIT_FOR_IMPORTS = text("""
    SELECT pg_advisory_xact_lock_shared(hashtext('commerce.imports'))
    WHERE EXISTS (
        SELECT FROM unnest(CAST(:skus AS text[])) AS sku
        WHERE NOT EXISTS (SELECT FROM variants WHERE variants.sku = sku.sku))
""")
WRITE_GUEST = text("""
    INSERT INTO customers (email, has_account, created_at) VALUES (:email, false, :created_at)
    ON CONFLICT (email) DO UPDATE SET created_at = excluded.created_at
    WHERE customers.created_at > excluded.created_at AND NOT customers.has_account
""")
WRITE_ORDER = text("""
    INSERT INTO orders (
        id, customer_id, email, payment_status, fulfillment_status, currency, shipping_total, total,
        shipping_method, shipping_name, shipping_address1, shipping_city, shipping_zip, shipping_province,
        shipping_country, shipping_phone, created_at, paid_at, cancelled_at, content_hash)
    VALUES (
        :id, (SELECT customers.id FROM customers WHERE customers.email = CAST(:email AS text)),
        :email, :payment_status, :fulfillment_status, :currency, :shipping_total, :total,
        :shipping_method, :shipping_name, :shipping_address1, :shipping_city, :shipping_zip, :shipping_province,
        :shipping_country, :shipping_phone, :created_at, :paid_at, :cancelled_at, :content_hash)
    ON CONFLICT (id) DO NOTHING
    RETURNING id
""")
WRITE_LINES = text("""
    INSERT INTO order_lines (order_id, position, variant_id, sku, title, quantity, unit_price, requires_shipping)
    SELECT CAST(:id AS text), position, variants.id, line.sku, line.title, quantity, unit_price, requires_shipping
    FROM jsonb_to_recordset(CAST(:lines AS jsonb)) AS line (
        position int, sku text, title text, quantity int, unit_price bigint, requires_shipping boolean)
    LEFT JOIN variants ON variants.sku = line.sku
    ORDER BY position
""")


async def store_order(tx: AsyncSession, order: NewOrder) -> bool:
    """Store an order, and publish `order.placed` if it needs processing. Return False if it was stored before.

    Raises OrderDiffers if it was stored with different content.
    """
    if await _is_stored(tx, order):
        return False
    values = {name: getattr(order, name) for name in ("id", *ORDER_FIELDS)} | {"content_hash": content_hash(order)}
    await tx.execute(WAIT_FOR_IMPORTS, {"skus": list({line.sku for line in order.lines})})
    if order.email:
        await tx.execute(WRITE_GUEST, {"email": order.email, "created_at": order.created_at})
    if (await tx.execute(WRITE_ORDER, values)).one_or_none() is None:  # another transaction has just inserted it
        return not await _is_stored(tx, order)
    lines = [{"position": i, **line._asdict()} for i, line in enumerate(order.lines, 1)]
    await tx.execute(WRITE_LINES, {"id": order.id, "lines": to_json(lines).decode()})
    await listings.link_lines_of(tx, order.id)
    if needs_processing(order):
        await _publish_placed(tx, order)
    return True


def needs_processing(order: NewOrder) -> bool:
    """Return whether the order is paid in full, not fulfilled anywhere and not cancelled."""
    return order.payment_status == "captured" and order.fulfillment_status == "not_fulfilled" and not order.cancelled_at


async def _publish_placed(tx: AsyncSession, order: NewOrder) -> None:
    fact = OrderPlaced(
        order_id=order.id,
        units=sum(line.quantity for line in order.lines),
        total=order.total,
        currency=order.currency,
        created_at=order.created_at,
    )
    await outbox.add(tx, NewEvent.from_data(fact, aggregate=f"order/{order.id}", key=order.id))


async def _is_stored(tx: AsyncSession, order: NewOrder) -> bool:
    """Return whether the order is stored with this content; raises OrderDiffers if its content differs."""
    stored = (await tx.execute(FIND_ORDER, {"id": order.id})).mappings().one_or_none()
    if stored is None:
        return False
    if stored["content_hash"] != content_hash(order):
        lines = [NewOrderLine._make(line) for line in await tx.execute(FIND_LINES, {"id": order.id})]
        differing = [HEAD_NAMES.get(name, name) for name in ORDER_FIELDS if stored[name] != getattr(order, name)]
        raise OrderDiffers(order.id, [*differing, *_differing_lines(lines, order.lines)][:MAX_DIFFERENCES])
    return True


def _differing_lines(stored: Sequence[NewOrderLine], new: Sequence[NewOrderLine]) -> Iterator[str]:
    """Yield the names of the fields of lines that differ; just `lines` if their number differs."""
    if len(stored) != len(new):
        yield "lines"
        return
    for i, (old_line, new_line) in enumerate(zip(stored, new, strict=True)):
        for name in NewOrderLine._fields:
            if getattr(old_line, name) != getattr(new_line, name):
                yield f"lines.{i}.{LINE_NAMES.get(name, name)}"
