"""Stock, mails and events as operators see them."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query

from commerce import notifications
from commerce.errors import ItemNotFound, NotificationNotFound, ResendRefused
from commerce.messages.record_views import EventPage, NotificationPage, NotificationStatus, ResentNotification
from commerce.messages.stock_views import MovementPage, StockPage
from commerce.order_identity import ORDER_ID_PATTERN
from commerce.queries import records, stock
from commerce.queries.records import MAX_PAGE
from starter.api.backends import DatabaseDep
from starter.api.callers import CallerDep, Role, requires
from starter.api.errors import COMMON_ERRORS, Responses, error_examples, json_example, prefix_field_errors
from starter.api.order_examples import DONE, EVENT
from starter.api.parameters import ReasonBody, Text

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

routes = APIRouter(tags=["records"], responses=COMMON_ERRORS)


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


@routes.post(
    "/notifications/{key:path}/resend",
    summary="Send a mail again",
    status_code=HTTPStatus.ACCEPTED,
    responses=RESEND_RESPONSES,
    dependencies=[requires(Role.operator)],
)
async def resend_notification(
    key: Annotated[Text, Path(min_length=1, max_length=500, description="Its key", examples=["order-shipped/1001"])],
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
