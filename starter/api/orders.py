"""Orders that another system hands over."""

from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Response
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from commerce import order_intake
from commerce.imports.order_rows import FULFILLMENT_STATUSES, MAX_LINES, PAYMENT_STATUSES
from commerce.messages.orders import order_process_id
from starter.api.backends import BackendsDep
from starter.api.parameters import COMMON_ERRORS, Text
from starter.api.errors import Responses, error_example, json_example, prefix_field_errors

LONGEST = 1_000  # characters; many fields are shorter
OrderId = Annotated[str, Path(pattern=r"^[A-Za-z0-9._:-]{1,100}$", description="The order's id", examples=["1001"])]
Money = Annotated[Text, Field(max_length=100, examples=["12.50"])]
Moment = Annotated[Text, Field(max_length=100, examples=["2026-03-02T12:00:00Z", "2026-03-02 12:00:00 +0000"])]
Short = Annotated[Text, Field(max_length=LONGEST)]

TAKEN = {"order_id": "1001", "status": "taken", "transaction_id": "order-processing-1001"}
ANSWERS: Responses = {
    200: json_example(TAKEN | {"status": "known"}, "It was known just so; nothing has changed"),
    201: json_example(TAKEN, "It is taken in"),
    **error_example(
        HTTPStatus.CONFLICT,
        "The order is known with other content; the fields tell where",
        error="Order 1001 already exists with different content.",
        fields=[{"field": "body.lines.0.quantity", "message": "differs from what is known"}],
    ),
    **error_example(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The order does not fit",
        error="Invalid input",
        fields=[{"field": "body.lines.0.price", "message": "must be an amount of at least 0, like 12.50"}],
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


def _line(name: str) -> AliasChoices:
    """Let a line's field have the export's own name too, like `lineitem_price`."""
    return AliasChoices(name, f"{order_intake.LINE}{name}")


class Line(BaseModel):
    """One line: a row of the order export."""

    quantity: int = Field(ge=1, le=2**31 - 1, validation_alias=_line("quantity"))
    name: Short = Field("", validation_alias=_line("name"))
    price: Money = Field(validation_alias=_line("price"), description="Of one unit")
    sku: Short = Field(
        "", validation_alias=_line("sku"), description="May be unknown; the order then waits for a person"
    )
    requires_shipping: bool = Field(True, validation_alias=_line("requires_shipping"))


class PlacedOrder(BaseModel):
    """An order: the order export's columns in snake_case; amounts are texts like `12.50`, times say their offset."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE})

    financial_status: Short = Field(description=f"One of {', '.join(PAYMENT_STATUSES)}", examples=["paid"])
    created_at: Moment
    lines: list[Line] = Field(min_length=1, max_length=MAX_LINES)
    email: Short | None = Field(None, description="Finds or makes a guest customer")
    paid_at: Moment | None = None
    fulfillment_status: Short | None = Field(
        None, description=f"Nothing, or one of {', '.join(filter(None, FULFILLMENT_STATUSES))}"
    )
    cancelled_at: Moment | None = None
    currency: Short | None = Field(None, description="Three letters; nothing: the shop's own", examples=["GBP"])
    shipping: Money | None = Field(None, description="What shipping costs")
    total: Money | None = Field(None, description="Nothing: lines and shipping")
    shipping_method: Short | None = Field(None, description="Nothing: nothing is shipped")
    shipping_name: Short | None = None
    shipping_address1: Short | None = None
    shipping_city: Short | None = None
    shipping_zip: Short | None = None
    shipping_province: Short | None = None
    shipping_country: Short | None = None
    shipping_phone: Short | None = None


class TakenOrder(BaseModel):
    """What became of an order that was handed over."""

    order_id: str
    status: Literal["taken", "known"]
    transaction_id: str | None = Field(description="The process that the order starts; null: there is nothing to do")


@routes.put("/{order_id}", response_model=TakenOrder, responses=ANSWERS)
async def put_order(order_id: OrderId, order: PlacedOrder, backends: BackendsDep, response: Response) -> TakenOrder:
    """Take in a paid order; again: nothing changes. Writes `order.placed`, which starts its process.

    The rules are those of `commerce import orders`: a line whose SKU is unknown is taken in without a variant, other
    fields are ignored. An order that is not paid in full, is cancelled, or was fulfilled elsewhere starts no process.
    """
    head = {name: _cell(value) for name, value in order if name != "lines"}
    lines = [{name: _cell(value) for name, value in line} for line in order.lines]
    with prefix_field_errors("body"):
        new = order_intake.read_order(order_id, head, lines, currency=backends.settings.currency)
    async with backends.database.transaction() as tx:
        taken = await order_intake.take_in(tx, new)
    response.status_code = HTTPStatus.CREATED if taken else HTTPStatus.OK
    process = order_process_id(order_id) if order_intake.is_to_process(new) else None
    return TakenOrder(order_id=order_id, status="taken" if taken else "known", transaction_id=process)


def _cell(value: Any) -> str:
    """Return a value as a cell of the export has it."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
