"""Requests and responses of the warehouse's API, and of the routes that control the embedded warehouse."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, Field

from commerce.integrations.warehouse import MAX_ON_HAND, MAX_SKUS

Json = dict[str, Any]
Text = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
Units = Annotated[int, Field(ge=0, le=MAX_ON_HAND)]


class LevelsRequest(BaseModel):
    """The request for one page. All pages of an answer are requested with the same SKUs."""

    skus: list[Text] = Field(min_length=1, max_length=MAX_SKUS)
    page: str | None = Field(None, description="null for the first page, then the `next` of the page before")


class Level(BaseModel):
    """The units of a SKU at one location."""

    sku: Text = Field(description="One of the requested SKUs")
    location: Text = Field(description="The location's id in the shop")
    on_hand: Units = Field(description="Units on the shelf, including units that are reserved for orders")


class LevelsPage(BaseModel):
    """One page of levels; each SKU and location is on one page only."""

    as_of: AwareDatetime = Field(
        description="The time of the reading, with offset. Movements before it are included, later ones are not: the"
        " shop adds its own movements since then"
    )
    levels: list[Level] = Field(description="In any order; SKUs that the warehouse does not know are absent")
    next: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        description="null on the last page, otherwise a token that no other page of this answer has"
    )


class SetLevel(BaseModel):
    """The units at a location from now on; null: the warehouse does not know the SKU there."""

    sku: Text
    location: Text
    on_hand: Units | None


class PageSize(BaseModel):
    """The maximum number of levels per page."""

    levels: int = Field(ge=1, le=100_000)


class FixedLevel(BaseModel):
    """A level that was set: `base` units plus the shop's movements after `since`; null: the SKU is unknown there."""

    sku: str
    location: str
    base: int | None
    since: datetime
