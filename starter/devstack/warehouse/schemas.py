"""What the embedded warehouse is asked and answers: the shapes of the API that a real warehouse implements."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, Field

from commerce.integrations.warehouse import MAX_ON_HAND, MAX_SKUS

Json = dict[str, Any]
Text = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
Units = Annotated[int, Field(ge=0, le=MAX_ON_HAND)]


class Question(BaseModel):
    """Which SKUs are asked for; every page of an answer is asked for with the same SKUs."""

    skus: list[Text] = Field(min_length=1, max_length=MAX_SKUS)
    page: str | None = Field(None, description="null at first, then the `next` of the page before")


class Level(BaseModel):
    """What lies at one location."""

    sku: Text = Field(description="One of those asked for")
    location: Text = Field(description="The location's id in the shop")
    on_hand: Units = Field(description="Units on the shelf, whether promised to somebody or not")


class Answer(BaseModel):
    """One page of the levels; each SKU and location is on one page only."""

    as_of: AwareDatetime = Field(
        description="The moment of the reading, with offset. Every unit that left the shelf, or came back, before it is"
        " counted; none after it is: the shop itself adds what it moved since then"
    )
    levels: list[Level] = Field(description="In any order; SKUs unknown to the warehouse are absent")
    next: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        description="null on the last page, else a token that no other page of this answer has"
    )


class SetLevel(BaseModel):
    """What somebody says lies at a location now; null: this warehouse knows no such SKU there."""

    sku: Text
    location: Text
    on_hand: Units | None


class PageSize(BaseModel):
    """How many levels a page has at most."""

    levels: int = Field(ge=1, le=100_000)


class Told(BaseModel):
    """A level that was set: `base` units, to which what the shop moved since then comes; null: no such SKU there."""

    sku: str
    location: str
    base: int | None
    since: datetime
