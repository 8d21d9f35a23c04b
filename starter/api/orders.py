"""Orders sent by another system."""

from http import HTTPStatus
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Response
from pydantic import AliasChoices, ConfigDict, Field
from pydantic.config import JsonDict

from commerce import order_intake
from commerce.email_addresses import NFC_MAX_SHRINK
from commerce.errors import BadInput, OrderDiffers
from commerce.imports.order_parser import (
    FULFILLMENT_STATUSES,
    MAX_LINES,
    PAYMENT_STATUSES,
    OrderHead,
    OrderLine,
    parse_order,
)
from commerce.imports.parsers import LONG_TEXT, MAX_EMAIL, SHORT_TEXT
from commerce.messages.base import FieldError
from commerce.messages.orders import order_process_id
from starter.api.backends import BackendsDep
from starter.api.errors import COMMON_ERRORS, Responses, error_examples, json_example, prefix_field_errors
from starter.api.parameters import RequestBody, ResponseBody, Text

OrderId = Annotated[str, Path(pattern=r"^[A-Za-z0-9._:-]{1,100}$", description="The order's id", examples=["1001"])]
Money = Annotated[Text, Field(max_length=100, examples=["12.50"])]
Timestamp = Annotated[Text, Field(max_length=100, examples=["2026-03-02T12:00:00Z", "2026-03-02 12:00:00 +0000"])]
ShortText = Annotated[Text, Field(max_length=SHORT_TEXT)]
LongText = Annotated[Text, Field(max_length=LONG_TEXT)]
Email = Annotated[Text, Field(max_length=MAX_EMAIL * NFC_MAX_SHRINK)]  # as it is sent; normalised, it is shorter


class StoredOrder(ResponseBody):
    """Whether the order is new, and its process."""

    order_id: str
    status: Literal["taken", "known"]
    transaction_id: str | None = Field(description="The order's process; null if there is nothing to process")


NEW_ORDER = {"order_id": "1001", "status": "taken", "transaction_id": "order-processing-1001"}
RESPONSES: Responses = {
    200: json_example(NEW_ORDER | {"status": "known"}, "The order was stored before; nothing has changed"),
    201: {"model": StoredOrder} | json_example(NEW_ORDER, "The order is stored"),
    **error_examples(
        HTTPStatus.CONFLICT,
        "The order already exists with different content, in the named fields",
        OrderDiffers("1001", ["lines.0.quantity"]),
    ),
    **error_examples(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The order is invalid",
        BadInput([FieldError(field="body.lines.0.price", message="must be an amount of at least 0, like 12.50")]),
    ),
}
EXAMPLE: JsonDict = {
    "email": "ann@customer.example",
    "financial_status": "paid",
    "paid_at": "2026-03-02T12:00:05Z",
    "currency": "GBP",
    "shipping": "3.95",
    "shipping_method": "Standard",
    "created_at": "2026-03-02T12:00:00Z",
    "shipping_name": "Ann Lee",
    "shipping_address1": "1 High Street",
    "shipping_city": "London",
    "shipping_zip": "N1 9GU",
    "shipping_country": "GB",
    "lines": [{"quantity": 2, "name": "White mug", "price": "12.50", "sku": "MUG-WHITE", "requires_shipping": True}],
}

routes = APIRouter(prefix="/orders", tags=["orders"], responses=COMMON_ERRORS)


def _export_alias(name: str) -> AliasChoices:
    """Accept a line's field under the name of the export's column as well, like `lineitem_price`."""
    return AliasChoices(name, f"lineitem_{name}")


class PlacedLine(RequestBody):
    """One line of an order."""

    quantity: int = Field(ge=1, le=2**31 - 1, validation_alias=_export_alias("quantity"))
    name: LongText = Field("", validation_alias=_export_alias("name"))
    price: Money = Field(validation_alias=_export_alias("price"), description="The price of one unit")
    sku: ShortText = Field(
        "", validation_alias=_export_alias("sku"), description="If no variant has it, the order waits for an operator"
    )
    requires_shipping: bool = Field(
        True, validation_alias=_export_alias("requires_shipping"), description="Default: true"
    )


class PlacedOrder(RequestBody):
    """An order, with the columns of the order export in snake_case: amounts like `"12.50"`, times with an offset."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE})

    financial_status: ShortText = Field(description=f"One of {', '.join(PAYMENT_STATUSES)}", examples=["paid"])
    created_at: Timestamp
    lines: list[PlacedLine] = Field(min_length=1, max_length=MAX_LINES)
    email: Email | None = Field(None, description="Finds or creates a guest customer")
    paid_at: Timestamp | None = None
    fulfillment_status: ShortText | None = Field(
        None, description=f"One of {', '.join(filter(None, FULFILLMENT_STATUSES))}; default: not fulfilled"
    )
    cancelled_at: Timestamp | None = None
    currency: ShortText | None = Field(
        None, description="Three letters; default: the currency of the shop", examples=["GBP"]
    )
    shipping: Money | None = Field(None, description="The price of shipping")
    total: Money | None = Field(None, description="Default: lines plus shipping")
    shipping_method: ShortText | None = Field(None, description="Left out if nothing is shipped")
    shipping_name: LongText | None = None
    shipping_address1: LongText | None = None
    shipping_city: ShortText | None = None
    shipping_zip: ShortText | None = None
    shipping_province: ShortText | None = None
    shipping_country: ShortText | None = Field(
        None, description="An ISO 3166 code of two or three letters, or the name of a country", examples=["GB"]
    )
    shipping_phone: ShortText | None = None


@routes.put("/{order_id}", summary="Store an order", response_model=StoredOrder, responses=RESPONSES)
async def put_order(order_id: OrderId, order: PlacedOrder, backends: BackendsDep, response: Response) -> StoredOrder:
    """Store an order and publish `order.placed`, which starts its process. Sending it again changes nothing.

    The rules are those of `commerce import orders`: a line with an unknown SKU is stored without a variant, and other
    fields are ignored. An order that is not paid in full, is cancelled, or was fulfilled elsewhere starts no process.
    """
    head = OrderHead(id=order_id, **{name: value for name, value in order if name != "lines"})
    lines = (OrderLine(**dict(line)) for line in order.lines)
    with prefix_field_errors("body"):
        new_order = parse_order(head, lines, currency=backends.settings.currency)
        if isinstance(new_order, list):
            raise BadInput(new_order)
    async with backends.database.transaction() as tx:
        is_new = await order_intake.store_order(tx, new_order)
    response.status_code = HTTPStatus.CREATED if is_new else HTTPStatus.OK
    process_id = order_process_id(order_id) if order_intake.needs_processing(new_order) else None
    return StoredOrder(order_id=order_id, status="taken" if is_new else "known", transaction_id=process_id)
