"""Orders as operators see them: lists, and one in full."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime

from commerce.errors import OrderNotFound
from commerce.messages.order_views import OrderPage, OrderStatus, OrderView
from commerce.queries import orders
from commerce.queries.orders import MAX_PAGE, MAX_SEARCH, OrderFilter
from starter.api import order_examples as examples
from starter.api.backends import BackendsDep, DatabaseDep
from starter.api.callers import CallerDep, Role, requires
from starter.api.errors import COMMON_ERRORS, Responses, error_examples, json_example, prefix_field_errors
from starter.api.parameters import OrderId, Text
from starter.api.personal_data import order_for
from starter.operate.order_view import view_order

PRIVATE = "no-store"  # no cache keeps customers' data
LIST_RESPONSES: Responses = {
    200: json_example({"orders": [examples.LISTED], "next_cursor": "1001"}, "A page of orders")
}
VIEW_RESPONSES: Responses = {
    200: json_example(examples.SHOWN, "The order"),
    **error_examples(HTTPStatus.NOT_FOUND, "There is no such order", OrderNotFound("1001")),
}
routes = APIRouter(prefix="/orders", tags=["orders"], responses=COMMON_ERRORS)


@routes.get("", summary="List orders", responses=LIST_RESPONSES, dependencies=[requires(Role.viewer)])
async def list_orders(
    database: DatabaseDep,
    response: Response,
    status: Annotated[
        OrderStatus | None,
        Query(
            description="`open`: paid and not on hold; `unpaid`: also paid in part; `other`: refunded, put back in "
            "stock, or scheduled, on hold or partly fulfilled in the shop that it comes from"
        ),
    ] = None,
    hold_reason: Annotated[
        Text | None,
        Query(
            max_length=200, description="Only orders on hold for this, such as CarrierRefused", examples=["rejected"]
        ),
    ] = None,
    search: Annotated[
        Text | None,
        Query(
            max_length=MAX_SEARCH,
            description="Words of the order's ids, number, names and e-mail address, all of which must be found; "
            "without digits also as the start of longer words. Or a tracking number",
            examples=["lee"],
        ),
    ] = None,
    since: Annotated[AwareDatetime | None, Query(description="Only orders placed at this time or later")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Only orders placed before this time")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="The maximum number of orders")] = 50,
    cursor: Annotated[Text | None, Query(max_length=200, description="The `next_cursor` of the previous page")] = None,
) -> OrderPage:
    """List orders, last placed first. Several filters select the orders that meet all of them.

    Names of customers are masked. Amounts are in minor units.
    """
    response.headers["Cache-Control"] = PRIVATE
    selected = OrderFilter(status=status, hold_reason=hold_reason, search=search, since=since, until=until)
    with prefix_field_errors("query"):
        async with database.transaction() as tx:
            return await orders.list_orders(tx, selected, limit=limit, cursor=cursor)


@routes.get("/{order_id}", summary="Get an order", responses=VIEW_RESPONSES, dependencies=[requires(Role.viewer)])
async def get_order(order_id: OrderId, backends: BackendsDep, caller: CallerDep, response: Response) -> OrderView:
    """Return an order in full: lines, reservations, fulfillments with their labels, mails, events, answers, runs.

    It contains the customer's name and addresses, which viewers get masked. `runs` is null while Temporal is down.
    """
    response.headers["Cache-Control"] = PRIVATE
    settings = backends.settings
    order = await view_order(backends.database, backends.client, order_id, default_source=settings.order_source)
    return order_for(caller, order)
