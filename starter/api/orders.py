"""Orders sent by another system."""

from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import Field

from commerce import open_orders, order_intake
from commerce.errors import BadInput, OrderDiffers
from commerce.imports.order_parser import parse_order
from commerce.messages.base import FieldError
from commerce.messages.orders import order_process_id
from commerce.order_identity import split_order_id
from starter.api.backends import BackendsDep
from starter.api.callers import Role, requires
from starter.api.errors import COMMON_ERRORS, Responses, error_examples, json_example, prefix_field_errors
from starter.api.order_schema import PlacedOrder
from starter.api.parameters import OrderId, ResponseBody


class StoredOrder(ResponseBody):
    """Whether the order is new, its process, and what is odd about it although it was stored."""

    order_id: str = Field(description="Our id of the order; another one than in the path if it was known by another")
    number: str = Field(description="What customers call the order")
    status: Literal["taken", "known", "changed"]
    changed: list[str] = Field(default=[], description="Fields in which a known order has changed")
    kept: list[str] = Field(default=[], description="Fields in which what is known of the order is later than this")
    transaction_id: str | None = Field(description="The order's process; null if there is nothing to process")
    warnings: list[FieldError] = Field(default=[], description="What is odd about the order but leaves it right")


NEW_ORDER = {
    "order_id": "1001",
    "number": "#1001",
    "status": "taken",
    "changed": [],
    "kept": [],
    "transaction_id": "order-processing-1001",
    "warnings": [],
}
RESPONSES: Responses = {
    200: json_example(
        NEW_ORDER | {"status": "changed", "changed": ["shipping_city"]}, "The order was stored before; see `changed`"
    ),
    201: {"model": StoredOrder} | json_example(NEW_ORDER, "The order is stored"),
    **error_examples(
        HTTPStatus.CONFLICT,
        "The name can mean more than one stored order",
        OrderDiffers("1001", ["name"]),
    ),
    **error_examples(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The order is invalid",
        BadInput([FieldError(field="body.lines.0.price", message="must be an amount of at least 0, like 12.50")]),
    ),
}
routes = APIRouter(prefix="/orders", tags=["orders"], responses=COMMON_ERRORS)


WITHOUT_METHOD = FieldError(
    field="shipping_method",
    message="missing, although goods are to be shipped: they get no label, unless COMMERCE_NO_METHOD=hold",
)
NOT_CAPTURABLE = FieldError(
    field="payment_reference",
    message="is no payment that can be captured here: the order is processed when its shop has captured it",
)


@routes.put(
    "/{order_id}",
    summary="Store an order",
    response_model=StoredOrder,
    responses=RESPONSES,
    dependencies=[requires(Role.operator)],
)
async def put_order(order_id: OrderId, order: PlacedOrder, backends: BackendsDep, response: Response) -> StoredOrder:
    """Store an order and publish `order.placed`, which starts its process, or change a known order.

    Sending an order again changes nothing. Other content changes a known order as far as it is later: `updated_at` says
    so, and without it states only go forward. A run under way begins anew if the change matters to it. An order that
    has been fulfilled keeps its address and its lines.

    The rules are those of `commerce import orders`: a line with an unknown SKU is stored without a variant, and fields
    that are no columns of an order export are refused. An order that is not paid in full, is cancelled, or was
    fulfilled elsewhere starts no process.
    """
    source, own_id = split_order_id(order_id, default_source=backends.settings.order_source)
    with prefix_field_errors("body"):
        new_order = parse_order(
            order.head(own_id), order.parser_lines(), currency=backends.settings.currency, source=source
        )
        if isinstance(new_order, list):
            raise BadInput(new_order)
    async with backends.database.transaction() as tx:
        number, is_new, difference = await order_intake.store_order(tx, new_order)
        now = await open_orders.openness(tx, difference.order_id)
    response.status_code = HTTPStatus.CREATED if is_new else HTTPStatus.OK
    return StoredOrder(
        order_id=difference.order_id,
        number=number,
        status="taken" if is_new else "changed" if difference.changed else "known",
        changed=difference.changed,
        kept=difference.kept,
        transaction_id=order_process_id(difference.order_id) if now.is_open else None,
        warnings=[
            *new_order.warnings,
            *([WITHOUT_METHOD] if now.lacks_method else []),
            *([NOT_CAPTURABLE] if now.not_capturable else []),
        ],
    )
