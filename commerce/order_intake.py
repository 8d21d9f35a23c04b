"""Takes in one paid order that another system hands over, by the rules of the import of order exports."""

from collections.abc import Iterator, Mapping, Sequence

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import outbox
from commerce.errors import BadInput, OrderDiffers
from commerce.imports.content_hash import content_hash
from commerce.imports.csv_rows import Row
from commerce.imports.new_order import NewLine, NewOrder
from commerce.imports.order_rows import COLUMNS, OrderBlock
from commerce.imports.orders import ORDER_FIELDS
from commerce.messages.base import FieldError
from commerce.messages.events import OrderPlaced
from commerce.outbox import Event

MAX_DIFFERENCES = 100  # told
LINE = "lineitem_"
EXPORTED = {column.lower().replace(" ", "_"): column for column in (*COLUMNS.required, *COLUMNS.optional)}
# Where our words differ from the export's.
EXPORTED_AS = {"payment_status": "financial_status", "shipping_total": "shipping"}
LINE_EXPORTED_AS = {"title": "name", "unit_price": "price"}

KNOWN = text("""
    SELECT content_hash, email, payment_status,
           CASE fulfillment_status WHEN 'fulfilled' THEN 'not_fulfilled' ELSE fulfillment_status END
               AS fulfillment_status,
           currency, shipping_total, total, shipping_method, shipping_name, shipping_address1, shipping_city,
           shipping_zip, shipping_province, shipping_country, shipping_phone, created_at, paid_at, cancelled_at
    FROM orders WHERE id = :id
""")
KNOWN_LINES = text("""
    SELECT sku, title, quantity, unit_price, requires_shipping FROM order_lines WHERE order_id = :id ORDER BY position
""")
# An import of inventory gives lines of orders their variant: either it sees our lines, or we see its variants. Before
# the first write, since imports hold this lock when they write.
WAIT_FOR_IMPORTS = text("""
    SELECT pg_advisory_xact_lock_shared(hashtext('commerce.imports'))
    WHERE EXISTS (
        SELECT FROM unnest(CAST(:skus AS text[])) AS sku
        WHERE sku <> '' AND NOT EXISTS (SELECT FROM variants WHERE variants.sku = sku.sku))
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


def read_order(
    order_id: str, head: Mapping[str, str], lines: Sequence[Mapping[str, str]], *, currency: str
) -> NewOrder:
    """Make an order of cells as the export has them, by columns in snake_case, those of lines without `lineitem_`.

    There is a line at least; `currency` is for an order that names none. Raises BadInput, naming columns like `total`
    and `lines.0.price`.
    """
    problems: list[FieldError] = []
    rows = [Row(i, {"Name": order_id} | _cells(line, LINE)) for i, line in enumerate(lines)]
    rows[0].cells |= {"Id": order_id} | _cells(head)
    block = OrderBlock(rows[0], currency, lambda line, reason: problems.extend(_problems(line, reason)))
    for row in rows:
        block.add(row)
    block.close()
    if block.order is None:
        raise BadInput(problems)
    return block.order


async def take_in(tx: AsyncSession, order: NewOrder) -> bool:
    """Take an order in, and write `order.placed` when it is to be processed; False: it was known just so.

    Raises OrderDiffers.
    """
    if await _is_known(tx, order):
        return False
    values = {name: getattr(order, name) for name in ("id", *ORDER_FIELDS)} | {"content_hash": content_hash(order)}
    await tx.execute(WAIT_FOR_IMPORTS, {"skus": list({line.sku for line in order.lines})})
    if order.email:
        await tx.execute(WRITE_GUEST, {"email": order.email, "created_at": order.created_at})
    if (await tx.execute(WRITE_ORDER, values)).one_or_none() is None:  # somebody else has brought it just now
        return not await _is_known(tx, order)
    lines = [{"position": i, **line._asdict()} for i, line in enumerate(order.lines, 1)]
    await tx.execute(WRITE_LINES, {"id": order.id, "lines": to_json(lines).decode()})
    if is_to_process(order):
        await _announce(tx, order)
    return True


def is_to_process(order: NewOrder) -> bool:
    """Tell whether the order waits for us: paid in full, fulfilled by nobody, not cancelled."""
    return order.payment_status == "captured" and order.fulfillment_status == "not_fulfilled" and not order.cancelled_at


async def _announce(tx: AsyncSession, order: NewOrder) -> None:
    fact = OrderPlaced(
        order_id=order.id,
        units=sum(line.quantity for line in order.lines),
        total=order.total,
        currency=order.currency,
        created_at=order.created_at,
    )
    await outbox.publish(tx, Event.of(fact, aggregate=f"order/{order.id}", key=order.id))


async def _is_known(tx: AsyncSession, order: NewOrder) -> bool:
    known = (await tx.execute(KNOWN, {"id": order.id})).mappings().one_or_none()
    if known is None:
        return False
    if known["content_hash"] != content_hash(order):
        lines = [NewLine._make(line) for line in await tx.execute(KNOWN_LINES, {"id": order.id})]
        differing = [EXPORTED_AS.get(name, name) for name in ORDER_FIELDS if known[name] != getattr(order, name)]
        raise OrderDiffers(order.id, [*differing, *_differing(lines, order.lines)][:MAX_DIFFERENCES])
    return True


def _differing(known: Sequence[NewLine], given: Sequence[NewLine]) -> Iterator[str]:
    """Name what differs in an order's lines; where their number does, only that."""
    if len(known) != len(given):
        yield "lines"
        return
    for i, (ours, theirs) in enumerate(zip(known, given, strict=True)):
        for name in NewLine._fields:
            if getattr(ours, name) != getattr(theirs, name):
                yield f"lines.{i}.{LINE_EXPORTED_AS.get(name, name)}"


def _cells(values: Mapping[str, str], prefix: str = "") -> dict[str, str]:
    return {EXPORTED[prefix + name]: value for name, value in values.items()}


def _problems(line: int, reason: str) -> Iterator[FieldError]:
    """Take apart what a block says of a row: `Column: problem; Column: problem`."""
    for problem in reason.split("; "):
        column, _, message = problem.partition(": ")
        name = column.lower().replace(" ", "_")
        of_line = name.startswith(LINE)
        yield FieldError(field=f"lines.{line}.{name.removeprefix(LINE)}" if of_line else name, message=message)
