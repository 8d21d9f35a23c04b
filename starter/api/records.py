"""Stock, mails and events as operators see them."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import ConfigDict, Field

from commerce import notifications
from commerce.errors import ItemNotFound, NotificationNotFound, ResendRefused
from commerce.messages.record_views import (
    EventPage,
    NotificationPage,
    NotificationStatus,
    NotificationView,
    ResentNotification,
)
from commerce.messages.stock_views import ItemView, MovementPage, StockPage
from commerce.order_identity import ORDER_ID_PATTERN
from commerce.queries import records, stock
from commerce.queries.masking import mask_addresses
from commerce.queries.records import MAX_PAGE
from commerce.stock_corrections import MAX_UNITS, set_stock
from starter.api.backends import DatabaseDep
from starter.api.callers import CallerDep, Role, requires
from starter.api.errors import COMMON_ERRORS, Responses, error_examples, json_example, prefix_field_errors
from starter.api.order_examples import DONE, EVENT
from starter.api.parameters import MAX_REASON, ReasonBody, RequestBody, ResponseBody, Text

NO_ITEM = error_examples(HTTPStatus.NOT_FOUND, "No item has this SKU", ItemNotFound("MUG-WHITE"))
LEVEL = {
    "location": "Main", "stocked": 12, "reserved": 2, "available": 10, "oversold": False, "counted_at": None
}  # fmt: skip
STOCK = json_example(
    {"items": [{"sku": "MUG-WHITE", "title": "White mug", "levels": [LEVEL]}], "next_cursor": None}, "A page of items"
)
MOVEMENT = {
    "id": 7, "location": "Main", "quantity": -2, "reason": "fulfillment",
    "reference": "5d0c9f8e-1f7a-4a38-9a3c-0c6b8a3a7d52", "order_id": "1001", "created_at": DONE,
}  # fmt: skip
ITEM = {
    "sku": "MUG-WHITE", "title": "White mug", "levels": [LEVEL],
    "reservations": [{"order_id": "1001", "location": "Main", "quantity": 2}], "movements": [MOVEMENT],
}  # fmt: skip
MAIL = {
    "key": "order-shipped/1001", "kind": "order-shipped", "status": "failed", "attempts": 6, "error": "MailRefused",
    "created_at": DONE, "sent_at": None, "recipient": "a…@customer.example", "order_id": "1001",
}  # fmt: skip
RESEND_RESPONSES: Responses = {
    202: json_example({"key": "order-shipped/1001"}, "It is queued"),
    **error_examples(HTTPStatus.NOT_FOUND, "There is no such mail", NotificationNotFound("order-shipped/1001")),
    **error_examples(
        HTTPStatus.CONFLICT, "It is queued already", ResendRefused("order-shipped/1001", "it waits to be sent")
    ),
}
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="The maximum number of entries")]
Cursor = Annotated[Text | None, Query(max_length=500, description="The `next_cursor` of the previous page")]
Sku = Annotated[Text, Query(min_length=1, max_length=255, description="The SKU of the item", examples=["MUG-WHITE"])]

MailKey = Annotated[Text, Path(min_length=1, max_length=500, description="Its key", examples=["order-shipped/1001"])]

routes = APIRouter(tags=["records"], responses=COMMON_ERRORS)


class CountedStock(RequestBody):
    """What was counted of an item at a location, and why."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"sku": "MUG-WHITE", "location": "Main", "units": 12, "reason": "Counted"}},
    )

    sku: Text = Field(min_length=1, max_length=255, description="The SKU of the item")
    location: Text = Field(min_length=1, max_length=255, description="The name of the location, or its id")
    units: int = Field(ge=0, le=MAX_UNITS, description="Units in stock, including reserved ones")
    reason: Text = Field(
        min_length=1,
        max_length=MAX_REASON,
        description="Why. Stored only in the shop's own database, so it may contain personal data",
    )


class SetStock(ResponseBody):
    """Stock that was set."""

    sku: str
    location: str
    units: int
    before: int
    oversold: bool = Field(description="Whether more units are reserved than there are")


@routes.get("/stock", summary="List stock", responses={200: STOCK}, dependencies=[requires(Role.viewer)])
async def list_stock(
    database: DatabaseDep,
    search: Annotated[Text, Query(max_length=255, description="Only items whose SKU starts like this")] = "",
    oversold: Annotated[bool, Query(description="Only items of which a count has found less than is reserved")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> StockPage:
    """List inventory items by SKU, with their stock at each location."""
    async with database.transaction() as tx:
        return await stock.list_stock(tx, search=search, oversold=oversold, limit=limit, cursor=cursor)


@routes.get(
    "/stock/item",
    summary="Get an item",
    responses={200: json_example(ITEM, "The item"), **NO_ITEM},
    dependencies=[requires(Role.viewer)],
)
async def get_stock_item(sku: Sku, database: DatabaseDep) -> ItemView:
    """Return the stock of an item: at each location, the first 100 orders that have reserved it, and what moved it."""
    async with database.transaction() as tx:
        return await stock.load_item(tx, sku)


@routes.post(
    "/stock/set",
    summary="Set the stock of an item",
    responses={
        200: json_example(
            {"sku": "MUG-WHITE", "location": "Main", "units": 12, "before": 10, "oversold": False}, "It is set"
        ),
        **NO_ITEM,
    },
    dependencies=[requires(Role.operator)],
)
async def set_stock_level(body: CountedStock, database: DatabaseDep, caller: CallerDep) -> SetStock:
    """Set the stock of an item at a location to what was counted just now. Reservations stay.

    Units of orders that are being packed are not in stock any more. Orders that wait for the item are processed if it
    is enough for them. Earlier counts, of files or of the warehouse, no longer replace this one.
    """
    with prefix_field_errors("body"):
        async with database.transaction() as tx:
            done = await set_stock(tx, body.sku, body.location, body.units, reason=body.reason, actor=caller.name)
    return SetStock(sku=body.sku, location=body.location, units=body.units, before=done.before, oversold=done.oversold)


@routes.get(
    "/stock/movements",
    summary="List movements of stock",
    responses={200: json_example({"movements": [MOVEMENT], "next_cursor": None}, "A page of movements"), **NO_ITEM},
    dependencies=[requires(Role.viewer)],
)
async def list_stock_movements(
    sku: Sku,
    database: DatabaseDep,
    limit: Limit = 50,
    cursor: Annotated[
        int | None, Query(ge=0, le=2**63 - 1, description="The `next_cursor` of the previous page")
    ] = None,
) -> MovementPage:
    """List what has changed the stock of an item, last first."""
    with prefix_field_errors("query"):
        async with database.transaction() as tx:
            return await stock.list_movements(tx, sku, limit=limit, cursor=cursor)


@routes.get(
    "/notifications",
    summary="List mails and alerts",
    responses={200: json_example({"notifications": [MAIL], "next_cursor": None}, "A page of mails")},
    dependencies=[requires(Role.viewer)],
)
async def list_notifications(
    database: DatabaseDep,
    status: Annotated[NotificationStatus | None, Query(description="`unsent` is all but `sent`")] = None,
    order_id: Annotated[
        str | None, Query(pattern=ORDER_ID_PATTERN, description="Only those about the order with this id of ours")
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> NotificationPage:
    """List mails to customers and alerts to admins, last one first. Recipients are masked."""
    with prefix_field_errors("query"):
        async with database.transaction() as tx:
            return await records.list_notifications(tx, status=status, order_id=order_id, limit=limit, cursor=cursor)


@routes.get(
    "/notifications/{key:path}",
    summary="Get a mail or alert",
    responses={
        200: json_example(MAIL | {"recipient": "ann@customer.example"}, "The mail"),
        **error_examples(HTTPStatus.NOT_FOUND, "There is no such mail", NotificationNotFound("order-shipped/1001")),
    },
    dependencies=[requires(Role.viewer)],
)
async def get_notification(key: MailKey, database: DatabaseDep, caller: CallerDep) -> NotificationView:
    """Return a mail or alert with its recipients, which viewers get masked, and why it was not sent."""
    async with database.transaction() as tx:
        mail = await records.load_notification(tx, key)
    if caller.sees_personal_data:
        return mail
    return mail.model_copy(update={"recipient": mask_addresses(mail.recipient)})


@routes.post(
    "/notifications/{key:path}/resend",
    summary="Send a mail again",
    status_code=HTTPStatus.ACCEPTED,
    responses=RESEND_RESPONSES,
    dependencies=[requires(Role.operator)],
)
async def resend_notification(
    key: MailKey,
    database: DatabaseDep,
    caller: CallerDep,
    body: ReasonBody,
) -> ResentNotification:
    """Queue a mail or alert again; a worker sends it within minutes. One that was sent before is sent as a copy."""
    async with database.transaction() as tx:
        queued = await notifications.resend(tx, key, reason=body.reason, actor=caller.name)
    return ResentNotification(key=queued)


@routes.get(
    "/events",
    summary="List events",
    responses={200: json_example({"events": [EVENT], "next_cursor": None}, "A page of events")},
    dependencies=[requires(Role.viewer)],
)
async def list_events(
    database: DatabaseDep,
    about: Annotated[
        Text | None, Query(max_length=300, description="What they are about", examples=["order/1001"])
    ] = None,
    unpublished: Annotated[bool, Query(description="Only those that wait to be published")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> EventPage:
    """List events, last one first."""
    with prefix_field_errors("query"):
        async with database.transaction() as tx:
            return await records.list_events(tx, about=about, unpublished=unpublished, limit=limit, cursor=cursor)
