"""Parameters and request bodies that several routes share."""

from typing import Annotated

from fastapi import Body, Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from commerce.order_identity import ORDER_ID_PATTERN

DEFAULT_REASON = "requested over HTTP"
MAX_REASON = 1_000  # characters
MAX_ID_LENGTH = 200  # characters of up to four bytes; Temporal accepts a thousand bytes


def _check_storable(text: str) -> str:
    """Reject text that PostgreSQL cannot store: NUL, and halves of surrogate pairs, which JSON can contain."""
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("must not contain NUL or half of a surrogate pair")
    return text


Text = Annotated[str, AfterValidator(_check_storable)]
TransactionId = Annotated[
    str,
    Path(min_length=1, max_length=MAX_ID_LENGTH, description="The process id", examples=["order-processing-1001"]),
]

OrderId = Annotated[
    str,
    Path(
        pattern=ORDER_ID_PATTERN,
        description="The order's id in the shop that it comes from, or its name without #. "
        "`SOURCE~ID` for another source than COMMERCE_ORDER_SOURCE",
        examples=["1001", "etsy~1001"],
    ),
]


class RequestBody(BaseModel):
    """The base of request bodies. Their schemas have no `default`: generators make such fields required."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core_schema)
        for field in handler.resolve_ref_schema(schema)["properties"].values():
            field.pop("default", None)
        return schema


class ResponseBody(BaseModel):
    """The base of response bodies: all fields are sent, also those with a default."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


class Reason(RequestBody):
    """The reason for an operator's action."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "The carrier works again"}})

    reason: Text = Field(
        DEFAULT_REASON,
        max_length=MAX_REASON,
        description="Why. Stored only in the shop's own database, so it may contain personal data. Default: "
        f"{DEFAULT_REASON}",
    )


ReasonBody = Annotated[Reason, Body(default_factory=Reason)]
