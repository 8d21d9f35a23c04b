"""What operators set right besides orders: locations, products of order lines, and webhooks that could not be used."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import listings, locations, operator_actions
from commerce.intake import unusable
from commerce.listings import UnlinkedLine
from commerce.locations import Location
from commerce.messages.operator_actions import ActionName
from starter.api.backends import DatabaseDep
from starter.api.callers import CallerDep, Role, requires
from starter.api.errors import COMMON_ERRORS, json_example, prefix_field_errors
from starter.api.parameters import Reason, ResponseBody, Text

MAX_TEXT = 255  # characters
LOCATION = {
    "id": "main", "name": "Main", "priority": 0, "sender_name": "Ann Lee", "company": None, "street1": "2 Quay",
    "street2": None, "city": "Hull", "zip": "HU1 1AA", "state": None, "country": "GB", "phone": None,
}  # fmt: skip
UNLINKED = {"text": "White mug", "has_sku": False, "lines": 3, "orders": 2}
DELIVERY = {
    "received_at": "2026-03-02T12:00:00Z", "platform": "shopify", "topic": "orders/create", "delivery_id": "b54557e4",
    "problem": "invalid", "reason": "line_items: missing", "is_kept": True,
}  # fmt: skip

routes = APIRouter(tags=["corrections"], responses=COMMON_ERRORS)
Line = Annotated[Text, Field(max_length=MAX_TEXT)]


class LocationList(ResponseBody):
    """All locations, in the order in which stock is taken from them."""

    locations: list[Location]


class ChangedLocation(Reason):
    """What to change of a location, and why; null or an empty text deletes a field of its address."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"priority": 1, "city": "Hull"}})

    priority: int | None = Field(None, ge=-(2**31), le=2**31 - 1, description="The lowest number is used first")
    sender_name: Line | None = Field(None, description="Sender on labels; default: that of the settings")
    company: Line | None = None
    street1: Line | None = None
    street2: Line | None = None
    city: Line | None = None
    zip: Line | None = None
    state: Line | None = None
    country: Line | None = Field(None, description="An ISO 3166 code, or an English name")
    phone: Line | None = Field(None, description="Default: that of the settings")


class UnlinkedLines(ResponseBody):
    """What open orders have instead of a known SKU."""

    lines: list[UnlinkedLine]


class ProductLink(Reason):
    """Which product order lines are about, and why."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"text": "White mug", "sku": "MUG-WHITE", "reason": "Renamed"}}
    )

    text: Text = Field(min_length=1, max_length=1_000, description="A title without SKU, or an unknown SKU")
    sku: Line = Field(min_length=1, description="The SKU of the product")


class LinkedLines(ResponseBody):
    """How many lines were linked; later ones with this text are, too."""

    lines: int


class UnusableWebhook(ResponseBody):
    """A webhook of the shop that could not be used; `is_kept`: whether its body is, so that it can be tried again."""

    received_at: datetime
    platform: str
    topic: str
    delivery_id: str
    problem: str
    reason: str
    is_kept: bool


class UnusableWebhooks(ResponseBody):
    """The last 100 webhooks that could not be used."""

    deliveries: list[UnusableWebhook]


class WebhooksToRetry(Reason):
    """Which webhooks to take again, and why."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"delivery_ids": ["b54557e4"]}})

    delivery_ids: list[Line] = Field([], max_length=1_000, description="Default: all whose bodies are kept")


class RetriedWebhooks(ResponseBody):
    """How many webhooks a worker takes again."""

    retried: int


@routes.get(
    "/locations",
    summary="List locations",
    responses={200: json_example({"locations": [LOCATION]}, "The locations")},
    dependencies=[requires(Role.viewer)],
)
async def list_all_locations(database: DatabaseDep) -> LocationList:
    """List the locations, in the order in which stock is taken from them."""
    async with database.transaction() as tx:
        return LocationList(locations=await locations.list_locations(tx))


@routes.patch(
    "/locations/{location}",
    summary="Change a location",
    responses={200: json_example(LOCATION, "The location as it is now")},
    dependencies=[requires(Role.admin)],
)
async def change_location(
    location: Annotated[Text, Path(min_length=1, max_length=MAX_TEXT, description="Its name or id", examples=["Main"])],
    body: ChangedLocation,
    database: DatabaseDep,
    caller: CallerDep,
) -> Location:
    """Change the priority of a location, or the address that its parcels are sent from.

    Fields that are left out stay. An address needs street1, city and country; without one, parcels are sent from that
    of the settings. 422 if there is no such location.
    """
    changes = body.model_dump(exclude_unset=True, exclude={"reason"})
    if changes.get("priority", 0) is None:  # every location has one
        del changes["priority"]
    with prefix_field_errors("body", name="path.location"):
        async with database.transaction() as tx:
            changed = await locations.change(tx, location, changes)
            await _record(tx, "set-location", f"location/{changed.id}", body.reason, caller)
    return changed


@routes.get(
    "/products/unlinked",
    summary="List order lines without a product",
    responses={200: json_example({"lines": [UNLINKED]}, "The texts of these lines")},
    dependencies=[requires(Role.viewer)],
)
async def list_unlinked_lines(database: DatabaseDep) -> UnlinkedLines:
    """List the SKUs and titles in open orders that no product has, those first that most orders have.

    These orders wait until the products are imported or linked.
    """
    async with database.transaction() as tx:
        return UnlinkedLines(lines=await listings.list_unlinked(tx))


@routes.post(
    "/products/link",
    summary="Link order lines to a product",
    responses={200: json_example({"lines": 3}, "They are linked")},
    dependencies=[requires(Role.operator)],
)
async def link_lines(body: ProductLink, database: DatabaseDep, caller: CallerDep) -> LinkedLines:
    """Link all order lines with this title or unknown SKU to a product, now and in later orders.

    Orders that waited only for this are processed. Lines that are linked already stay as they are.
    """
    with prefix_field_errors("body"):
        async with database.transaction() as tx:
            lines = await listings.link(tx, body.text.strip(), body.sku.strip())
            await _record(tx, "link-product", f"product/{body.sku.strip()}", body.reason, caller)
    return LinkedLines(lines=lines)


@routes.get(
    "/intake/unusable",
    summary="List unusable webhooks",
    responses={200: json_example({"deliveries": [DELIVERY]}, "The webhooks, the newest first")},
    dependencies=[requires(Role.viewer)],
)
async def list_unusable_webhooks(database: DatabaseDep) -> UnusableWebhooks:
    """List the last 100 webhooks of the shop that could not be used, with the reason."""
    async with database.transaction() as tx:
        found = await unusable.list_unusable(tx)
    return UnusableWebhooks(deliveries=[UnusableWebhook(**each._asdict()) for each in found])


@routes.post(
    "/intake/unusable/retry",
    summary="Retry unusable webhooks",
    status_code=HTTPStatus.ACCEPTED,
    responses={202: json_example({"retried": 1}, "A worker takes them again")},
    dependencies=[requires(Role.operator)],
)
async def retry_unusable_webhooks(body: WebhooksToRetry, database: DatabaseDep, caller: CallerDep) -> RetriedWebhooks:
    """Let a worker take webhooks again that could not be used, for example after an update of this program."""
    async with database.transaction() as tx:
        retried = await unusable.retry(tx, body.delivery_ids)
        await _record(tx, "retry-intake", "intake", body.reason, caller)
    return RetriedWebhooks(retried=retried)


async def _record(tx: AsyncSession, action: ActionName, subject: str, reason: str, caller: CallerDep) -> None:
    fields = {"process_id": subject, "action": action, "reason": reason, "actor": caller.name}
    await operator_actions.record(tx, operator_actions.validate_action(**fields))
