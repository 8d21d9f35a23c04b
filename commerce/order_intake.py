"""Store an order that another system sends over HTTP; `commerce.imports` parses it."""

from typing import Any, NamedTuple

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import forgotten, listings, open_orders, outbox, sales
from commerce.errors import OrderDiffers
from commerce.imports import order_changes
from commerce.imports.content_hash import first_order_hash, order_hash
from commerce.imports.known_orders import candidates
from commerce.imports.new_order import IDENTITY_FIELDS, NewOrder, NewOrderLine
from commerce.imports.order_changes import Difference, ReceivedOrder
from commerce.imports.orders import FILLED_FIELDS, LATER_LINE_FIELDS, RECORD_FIELDS
from commerce.messages.events import OrderPlaced
from commerce.outbox import NewEvent

RECEIVED = f"SELECT 0 AS line, {', '.join(f'CAST(:{name} AS text) AS {name}' for name in IDENTITY_FIELDS)}"
FIND_KNOWN = text(f"""
    SELECT id, content_hash, ambiguous FROM ({candidates(RECEIVED)}) AS candidate ORDER BY rank LIMIT 1
""")  # noqa: S608 - our own columns
FIND_NUMBER = text("SELECT number FROM orders WHERE id = :id")
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
WRITE_ORDER = text(f"""
    INSERT INTO orders ({", ".join(RECORD_FIELDS)}, customer_id, content_hash)
    VALUES ({", ".join(f":{name}" for name in RECORD_FIELDS)},
            (SELECT customers.id FROM customers WHERE customers.email = :guest), :content_hash)
    ON CONFLICT DO NOTHING
    RETURNING id
""")  # noqa: S608 - our own columns
WRITE_LINES = text(f"""
    INSERT INTO order_lines (order_id, position, variant_id, {", ".join(NewOrderLine._fields)})
    SELECT CAST(:id AS text), position, variants.id, {", ".join(f"line.{name}" for name in NewOrderLine._fields)}
    FROM jsonb_populate_recordset(CAST(NULL AS order_lines), CAST(:lines AS jsonb)) AS line
    LEFT JOIN variants ON variants.sku = line.sku
    ORDER BY position
""")  # noqa: S608 - our own columns
FILL_ORDER = text(f"""
    UPDATE orders SET {", ".join(f"{name} = :{name}" for name in FILLED_FIELDS)} WHERE id = :id
""")  # noqa: S608 - our own columns
FILL_LINES = text(f"""
    UPDATE order_lines AS stored SET {", ".join(f"{name} = line.{name}" for name in LATER_LINE_FIELDS)}
    FROM jsonb_populate_recordset(CAST(NULL AS order_lines), CAST(:lines AS jsonb)) AS line
    WHERE stored.order_id = :id AND stored.position = line.position
""")  # noqa: S608 - our own columns
COMPLETE_IDENTITY = text("""
    UPDATE orders
    SET external_id = coalesce(external_id, CAST(:external_id AS text)),
        name = coalesce(name, CAST(:name AS text)),
        name_key = CASE WHEN name IS NULL AND CAST(:name AS text) IS NOT NULL AND NOT EXISTS (
                       SELECT FROM orders AS other
                       WHERE other.source = orders.source AND other.name_key = CAST(:name_key AS text)
                         AND other.id <> orders.id)
                   THEN CAST(:name_key AS text) ELSE name_key END
    WHERE id = :id AND ((name IS NULL AND CAST(:name AS text) IS NOT NULL)
                        OR (external_id IS NULL AND CAST(:external_id AS text) IS NOT NULL))
""")


class Stored(NamedTuple):
    """The result of `store_order`: the order's number, and how it differs from what was stored before, if it was."""

    number: str
    is_new: bool
    difference: Difference

    @property
    def order_id(self) -> str:
        """Our id of the order."""
        return self.difference.order_id


async def store_order(tx: AsyncSession, order: NewOrder) -> Stored:
    """Store an order, and publish `order.placed` if it needs processing.

    An order that was stored before, with this id or name, is changed as far as this is later (order_changes.apply).
    Of a customer who was forgotten since, nothing personal is stored (A7). Raises OrderDiffers if its id or name can
    mean another order.
    """
    order = await forgotten.without_person(tx, order)
    if known := await _change_known(tx, order):
        return known
    await _wait_for_imports(tx, order)
    if order.email:
        await tx.execute(WRITE_GUEST, {"email": order.email, "created_at": order.created_at})
    # If another transaction has just inserted the order, find it. Else an older order has the same name.
    for name_key in (order.name_key, None) if order.external_id else (order.name_key,):
        if await _insert(tx, order, name_key):
            if await open_orders.is_open(tx, order.id):
                await _publish_placed(tx, order)
            return Stored(order.name or order.name_key, is_new=True, difference=Difference(order.id))
        if known := await _change_known(tx, order):
            return known
    raise OrderDiffers(order.id, ["name"])


async def _wait_for_imports(tx: AsyncSession, order: NewOrder) -> None:
    await tx.execute(WAIT_FOR_IMPORTS, {"skus": list({line.sku for line in order.lines})})


async def _insert(tx: AsyncSession, order: NewOrder, name_key: str | None) -> bool:
    """Insert the order with its lines; return False if another one has its id or name."""
    values = _values(order) | {"name_key": name_key, "guest": order.email}
    if (await tx.execute(WRITE_ORDER, values)).one_or_none() is None:
        return False
    await tx.execute(WRITE_LINES, {"id": order.id, "lines": _lines(order)})
    await listings.link_lines_of(tx, order.id)
    await sales.record(tx, [order.id])
    return True


def _values(order: NewOrder) -> dict[str, Any]:
    return {name: getattr(order, name) for name in RECORD_FIELDS} | {"content_hash": order_hash(order)}


def _lines(order: NewOrder) -> str:
    return to_json([{"position": i, **line._asdict()} for i, line in enumerate(order.lines, 1)]).decode()


async def _publish_placed(tx: AsyncSession, order: NewOrder) -> None:
    fact = OrderPlaced(
        order_id=order.id,
        units=sum(line.quantity for line in order.lines),
        total=order.total,
        currency=order.currency,
        created_at=order.created_at,
    )
    await outbox.add(tx, NewEvent.from_data(fact, aggregate=f"order/{order.id}", key=order.id))


async def _change_known(tx: AsyncSession, order: NewOrder) -> Stored | None:
    """Change the order if it was stored before; return None if it is new."""
    identity = {name: getattr(order, name) for name in IDENTITY_FIELDS}
    known = (await tx.execute(FIND_KNOWN, identity)).one_or_none()
    if known is None:
        return None
    if known.ambiguous:
        raise OrderDiffers(order.id, ["name"])
    difference = Difference(known.id)
    if known.content_hash == first_order_hash(order):  # stored by a version with fewer columns
        values = _values(order)
        await tx.execute(FILL_ORDER, {name: values[name] for name in FILLED_FIELDS} | {"id": known.id})
        await tx.execute(FILL_LINES, {"id": known.id, "lines": _lines(order)})
        await sales.record(tx, [known.id])
    elif known.content_hash != order_hash(order) or order.updated_at:
        await _wait_for_imports(tx, order)
        received = ReceivedOrder(known.id, _values(order), order.lines, order_hash(order))
        [difference] = await order_changes.apply(tx, [received])
        await listings.link_lines_of(tx, known.id)
    await tx.execute(COMPLETE_IDENTITY, identity | {"id": known.id})
    return Stored(await tx.scalar(FIND_NUMBER, {"id": known.id}), is_new=False, difference=difference)
