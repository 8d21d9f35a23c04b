"""What several routes take and answer."""

from http import HTTPStatus
from typing import Annotated

from fastapi import Body, Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from starter.api.errors import Answers, documented

ACTOR = "http"  # who does it, in the record of operators' actions: a token says no more
BY_DEFAULT = "asked over HTTP"
LONGEST_ID = 200  # characters of up to four bytes, of which Temporal takes a thousand


def _storable(text: str) -> str:
    """Refuse what no database keeps: NUL, and halves of surrogate pairs, which JSON can spell."""
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("must not hold NUL or half of a surrogate pair")
    return text


Text = Annotated[str, AfterValidator(_storable)]
TransactionId = Annotated[
    str, Path(min_length=1, max_length=LONGEST_ID, description="The process", examples=["order-processing-1001"])
]


class Reason(BaseModel):
    """Why an operator does something."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "The carrier works again"}})

    reason: Text = Field(
        BY_DEFAULT, max_length=1_000, description="Kept in the shop's own database only; it may be personal"
    )


GivenReason = Annotated[Reason, Body(default_factory=Reason)]

AWAY: Answers = {
    **documented(HTTPStatus.UNAUTHORIZED, "No valid token", error="A valid token is needed"),
    **documented(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Too large", error="The body is larger than 1 MiB"),
    **documented(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The request does not fit",
        error="Invalid input",
        fields=[{"field": "query.limit", "message": "Input should be less than or equal to 500"}],
    ),
    **documented(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Temporal or the database is away; trying again is safe",
        error="Temporal does not answer at localhost:7233",
    ),
}
