"""Orders as Shopify's webhooks send them: the Order resource of its REST Admin API.

All amounts are those in the shop's own currency (`shop_money`, which the plain fields repeat), as in the admin's export
of orders, not those that the customer saw (`presentment_money`). So a file and a webhook tell the same of an order.

`quantity` is what was ordered, `current_quantity` what is left after edits and refunds: only that is shipped. Totals
follow an edit (`current_…`) as long as nothing was refunded; a refund is not taken off the total, because we keep it as
the refunded amount. So once something was refunded, what is not left counts as refunded units.
"""

from decimal import ROUND_DOWN, Decimal

from commerce.currencies import decimals_of
from commerce.imports.order_head import OrderHead
from commerce.imports.order_parser import OrderLine
from commerce.intake.shapes import (
    ZERO,
    Ignored,
    MappedOrder,
    decimal_of,
    joined,
    total_of,
    written,
)
from commerce.intake.shopify_order import Address, Line, Order

# Their bodies are the order. `orders/edited` and `orders/delete` have other ones.
TOPICS = frozenset(
    {
        *("orders/create", "orders/paid", "orders/updated", "orders/cancelled", "orders/fulfilled"),
        "orders/partially_fulfilled",
    }
)
LINE_STATUSES = {"not_eligible": ""}  # other values are the same in an export


def map_order(body: bytes) -> MappedOrder | Ignored:
    """Return the order of a webhook's body. Raises ValueError (pydantic's too) if it is none."""
    order = Order.model_validate_json(body)
    if order.test:
        return Ignored("a test order")
    lines = [line for line in (_line(order, each) for each in order.line_items if not each.is_tip) if line]
    return MappedOrder(_head(order, lines), lines)


def _head(order: Order, lines: list[OrderLine]) -> OrderHead:
    is_edited = not order.refunded and not order.is_over  # or may be: then the current totals are those to pay
    total = (order.current_total_price if is_edited else None) or order.total_price
    tax = (order.current_total_tax if is_edited else None) or order.total_tax
    shipping = [line for line in order.shipping_lines if not line.is_removed]
    to, bill = order.shipping_address or Address(), order.billing_address or Address()
    return OrderHead(
        id=order.id,
        name=order.name,
        email=order.email or order.contact_email,
        phone=order.phone,
        financial_status=order.financial_status or "pending",
        fulfillment_status=order.fulfillment_status,
        created_at=order.created_at,
        updated_at=order.updated_at,
        cancelled_at=order.cancelled_at,
        currency=order.currency,
        shipping=written(sum((line.final_price for line in shipping), ZERO)),
        taxes=tax,
        taxes_included=order.taxes_included,
        duties=_duties(order, is_edited=is_edited),
        tip=written(_tip(order)),
        total=total,
        discount_code=joined(*(each.code for each in order.discount_codes), by=", "),
        discount_amount=written(_discount(order, lines)),
        refunded_amount=written(order.refunded),
        outstanding_balance=order.total_outstanding,
        payment_method=joined(*order.payment_gateway_names, by=", "),
        notes=order.note,
        note_attributes=joined(*(f"{each.name}: {each.value}" for each in order.note_attributes), by="\n"),
        tags=order.tags,
        shipping_method=joined(*(line.title for line in shipping), by=", "),
        shipping_name=to.full_name,
        shipping_company=to.company,
        shipping_address1=to.address1,
        shipping_address2=to.address2,
        shipping_city=to.city,
        shipping_zip=to.zip,
        shipping_province=to.province_code or to.province,
        shipping_province_name=to.province,
        shipping_country=to.country_code or to.country,
        shipping_phone=to.phone,
        billing_name=bill.full_name,
        billing_company=bill.company,
        billing_address1=bill.address1,
        billing_address2=bill.address2,
        billing_city=bill.city,
        billing_zip=bill.zip,
        billing_province=bill.province_code or bill.province,
        billing_country=bill.country_code or bill.country,
    )


def _line(order: Order, line: Line) -> OrderLine | None:
    """Return a line with the units that the total is about; None if there are none."""
    left = order.left_of(line)
    units = line.quantity if order.refunded else left
    if units <= 0:
        return None
    discount = total_of(part.amount for part in line.discount_allocations)
    if units < line.quantity:  # the discounts are those of the units that were ordered
        cent = Decimal(1).scaleb(-decimals_of(order.currency.upper()))
        discount = (discount * units / line.quantity).quantize(cent, ROUND_DOWN)
    return OrderLine(
        sku=line.sku,
        name=line.name or line.title,
        quantity=units,
        price=line.price,
        requires_shipping=line.requires_shipping,
        discount=written(discount) if discount else None,
        fulfillment_status=LINE_STATUSES.get(line.fulfillment_status, line.fulfillment_status) or None,
        vendor=line.vendor or None,
        refunded_quantity=None if order.is_over else units - left,
    )


def _discount(order: Order, lines: list[OrderLine]) -> Decimal:
    """Return the discounts of the goods. Those of the shipping are in its price, and lines have parts of the order's.

    An order of an old API version has no parts: then all but the discounts of the shipping are those of the goods.
    """
    of_lines = total_of(line.discount for line in lines)
    of_shipping = sum((line.discounts for line in order.shipping_lines), ZERO)
    has_parts = any(line.discount_allocations for line in order.line_items)
    return of_lines if has_parts else max(decimal_of(order.total_discounts) - of_shipping, ZERO)


def _tip(order: Order) -> Decimal:
    """Return the tip; some versions have it only as a line."""
    if tip := decimal_of(order.total_tip_received):
        return tip
    return sum((decimal_of(line.price) * line.quantity for line in order.line_items if line.is_tip), ZERO)


def _duties(order: Order, *, is_edited: bool) -> str | None:
    chosen = (order.current_total_duties_set if is_edited else None) or order.original_total_duties_set
    return chosen.shop_money.amount if chosen and chosen.shop_money else None
