"""The body of `PUT /orders/{order_id}`: the columns of an order export in snake_case. Unknown fields are refused."""

from typing import Annotated, Any

from pydantic import AliasChoices, ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from commerce.email_addresses import NFC_MAX_SHRINK
from commerce.imports.order_parser import MAX_LINES, OrderHead, OrderLine
from commerce.imports.order_rows import IGNORED_COLUMNS
from commerce.imports.order_statuses import FULFILLMENT_STATUSES, LINE_STATUSES, PAYMENT_STATUSES
from commerce.imports.parsers import LONG_TEXT, MAX_EMAIL, SHORT_TEXT
from starter.api.parameters import RequestBody, Text

MAX_NOTE_LENGTH = 65_536
Money = Annotated[Text, Field(max_length=100, examples=["12.50"])]
Timestamp = Annotated[Text, Field(max_length=100, examples=["2026-03-02T12:00:00Z", "2026-03-02 12:00:00 +0000"])]
ShortText = Annotated[Text, Field(max_length=SHORT_TEXT)]
LongText = Annotated[Text, Field(max_length=LONG_TEXT)]
Email = Annotated[Text, Field(max_length=MAX_EMAIL * NFC_MAX_SHRINK)]  # as it is sent; normalised, it is shorter
Note = Annotated[Text, Field(max_length=MAX_NOTE_LENGTH)]

EXAMPLE: JsonDict = {
    "name": "#1001",
    "email": "ann@customer.example",
    "financial_status": "paid",
    "paid_at": "2026-03-02T12:00:05Z",
    "currency": "GBP",
    "shipping": "3.95",
    "taxes": "4.83",
    "total": "28.95",
    "shipping_method": "Standard",
    "created_at": "2026-03-02T12:00:00Z",
    "shipping_name": "Ann Lee",
    "shipping_address1": "1 High Street",
    "shipping_city": "London",
    "shipping_zip": "N1 9GU",
    "shipping_country": "GB",
    "lines": [{"quantity": 2, "name": "White mug", "price": "12.50", "sku": "MUG-WHITE", "requires_shipping": True}],
}


def _snake_case(column: str) -> str:
    return column.lower().replace(" ", "_")


IGNORED_FIELDS = {_snake_case(column) for column in IGNORED_COLUMNS}
IGNORED_LINE_FIELDS = IGNORED_FIELDS | {name.removeprefix("lineitem_") for name in IGNORED_FIELDS}


def _export_alias(name: str) -> AliasChoices:
    """Accept a line's field under the name of the export's column as well, like `lineitem_price`."""
    return AliasChoices(name, f"lineitem_{name}")


def _one_of(values: dict[str, str]) -> str:
    return f"One of {', '.join(filter(None, values))}"


class PlacedLine(RequestBody):
    """One line of an order."""

    model_config = ConfigDict(extra="forbid")

    quantity: int = Field(ge=0, le=2**31 - 1, validation_alias=_export_alias("quantity"))
    name: LongText = Field("", validation_alias=_export_alias("name"))
    price: Money = Field(validation_alias=_export_alias("price"), description="The price of one unit")
    sku: ShortText = Field(
        "", validation_alias=_export_alias("sku"), description="If no variant has it, the order waits for an operator"
    )
    requires_shipping: bool = Field(True, validation_alias=_export_alias("requires_shipping"))
    discount: Money | None = Field(
        None, validation_alias=_export_alias("discount"), description="The discount of the whole line"
    )
    fulfillment_status: ShortText | None = Field(
        None,
        validation_alias=_export_alias("fulfillment_status"),
        description=f"{_one_of(LINE_STATUSES)}; default: not fulfilled",
    )
    vendor: LongText | None = None
    refunded_quantity: int | None = Field(
        None,
        ge=0,
        le=2**31 - 1,
        description="Units of the quantity that were refunded and will not be shipped, if known",
    )

    @model_validator(mode="before")
    @classmethod
    def _leave_out_ignored(cls, data: Any) -> Any:
        return _without(data, IGNORED_LINE_FIELDS)


class PlacedOrder(RequestBody):
    """An order, with the columns of the order export in snake_case: amounts like `"12.50"`, times with an offset."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": EXAMPLE})

    financial_status: ShortText = Field(description=_one_of(PAYMENT_STATUSES), examples=["paid"])
    created_at: Timestamp
    lines: list[PlacedLine] = Field(min_length=1, max_length=MAX_LINES)
    name: ShortText | None = Field(
        None, description="The number that customers know; default: the id", examples=["#1001"]
    )
    email: Email | None = Field(None, description="Finds or creates a guest customer")
    phone: LongText | None = Field(None, description="Of the customer; for the carrier if there is no other")
    paid_at: Timestamp | None = None
    fulfillment_status: ShortText | None = Field(
        None, description=f"{_one_of(FULFILLMENT_STATUSES)}; default: not fulfilled"
    )
    cancelled_at: Timestamp | None = None
    updated_at: Timestamp | None = Field(None, description="When the order was last changed")
    currency: ShortText | None = Field(
        None, description="Three letters; default: the currency of the shop", examples=["GBP"]
    )
    subtotal: Money | None = Field(None, description="The lines without the discounts")
    shipping: Money | None = Field(None, description="The price of shipping")
    taxes: Money | None = None
    taxes_included: bool | None = Field(
        None, description="Whether the prices contain the taxes; default: what fits the total"
    )
    duties: Money | None = None
    tip: Money | None = None
    total: Money | None = Field(None, description="Default: what the other amounts add up to")
    discount_code: LongText | None = None
    discount_amount: Money | None = Field(
        None, description="Of the order; whether it contains the discounts of the lines follows from the total"
    )
    refunded_amount: Money | None = None
    outstanding_balance: Money | None = None
    payment_method: LongText | None = None
    payment_reference: LongText | None = None
    risk_level: LongText | None = Field(None, examples=["low"])
    notes: Note | None = None
    note_attributes: Note | None = None
    tags: Note | None = None
    shipping_method: ShortText | None = Field(None, description="Left out if nothing is shipped")
    shipping_name: LongText | None = None
    shipping_company: LongText | None = None
    shipping_address1: LongText | None = None
    shipping_address2: LongText | None = None
    shipping_city: ShortText | None = None
    shipping_zip: ShortText | None = None
    shipping_province: ShortText | None = None
    shipping_province_name: ShortText | None = None
    shipping_country: ShortText | None = Field(
        None, description="An ISO 3166 code of two or three letters, or the name of a country", examples=["GB"]
    )
    shipping_phone: ShortText | None = None
    billing_name: LongText | None = None
    billing_company: LongText | None = None
    billing_address1: LongText | None = None
    billing_address2: LongText | None = None
    billing_city: LongText | None = None
    billing_zip: LongText | None = None
    billing_province: LongText | None = None
    billing_country: LongText | None = None

    @model_validator(mode="before")
    @classmethod
    def _leave_out_ignored(cls, data: Any) -> Any:
        return _without(data, IGNORED_FIELDS)

    def head(self, own_id: str) -> OrderHead:
        """Return the order without its lines, for the parser."""
        return OrderHead(id=own_id, **{name: value for name, value in self if name != "lines"})

    def parser_lines(self) -> list[OrderLine]:
        """Return the lines, for the parser."""
        return [OrderLine(**dict(line)) for line in self.lines]


def _without(data: Any, names: set[str]) -> Any:
    """Return a body without the columns of an export that nothing here needs."""
    return {name: value for name, value in data.items() if name not in names} if isinstance(data, dict) else data
