"""Returns of orders: start them, list them, and note what came back."""

from http import HTTPStatus
from typing import Annotated, TypeVar

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import JSONResponse
from pydantic import ConfigDict, Field, ValidationError

from commerce.errors import BadInput
from commerce.messages.base import FieldError, field_errors
from commerce.messages.return_views import ReturnPage, ReturnView
from commerce.messages.returns import (
    MAX_ITEMS,
    MAX_SKU,
    MAX_UNITS,
    Item,
    ReceivedItem,
    ReturnReceipt,
    ReturnState,
)
from commerce.messages.waits import MAX_REASON, AnswerReceipt
from commerce.queries import returns as queries
from commerce.queries.orders import find_order
from commerce.queries.returns import MAX_PAGE
from starter.api.backends import BackendsDep, ClientDep, DatabaseDep
from starter.api.callers import Caller, CallerDep, Role, requires
from starter.api.errors import COMMON_ERRORS, prefix_field_errors
from starter.api.parameters import OrderId, Reason, RequestBody, ResponseBody, Text
from starter.api.personal_data import return_for
from starter.api.return_examples import (
    GET_RESPONSES,
    LIST_OF_ORDER_RESPONSES,
    LIST_RESPONSES,
    RECEIPT_RESPONSES,
    RETURN,
    START_RESPONSES,
)
from starter.operate import returns
from starter.operate.answers import MAX_KEY

ItemT = TypeVar("ItemT", bound=Item)
PRIVATE = "no-store"  # no cache keeps customers' data
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=MAX_KEY, description="The same request under the same key is done once"),
]
ReturnId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=200,
        description="The return's id, or the tracking number of its label",
        examples=[RETURN],
    ),
]
routes = APIRouter(tags=["returns"], responses=COMMON_ERRORS)


class Units(RequestBody):
    """Units of a line of the order, which is named by its position or by its SKU."""

    model_config = ConfigDict(extra="forbid")

    line: int | None = Field(None, ge=1, le=MAX_UNITS, description="Position of the line; or `sku`")
    sku: Text | None = Field(
        None, min_length=1, max_length=MAX_SKU, description="All lines with this SKU, in their order; or `line`"
    )
    quantity: int = Field(ge=1, le=MAX_UNITS)


class UnitsBack(Units):
    """Units that came back."""

    sellable: int | None = Field(
        None, ge=0, le=MAX_UNITS, description="How many of them go back on the shelf. Default: all"
    )


class ReturnRequest(Reason):
    """What comes back, and why."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"reason": "Too small", "items": [{"sku": "MUG", "quantity": 2}]}},
    )

    items: list[Units] = Field([], max_length=MAX_ITEMS, description="Default: all units that are not returned yet")
    label: bool = Field(True, description="Buy a label for goods that were sent with one. Default: true")
    refund: bool = Field(True, description="Refund the goods here. false: the shop of the order does. Default: true")
    refund_shipping: bool = Field(False, description="Refund the shipping costs, too, once per order. Default: false")


class ReceiptRequest(RequestBody):
    """What came back: `items`, or `everything`. What is not listed did not come back."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"items": [{"sku": "MUG", "quantity": 2, "sellable": 1}]}}
    )

    items: list[UnitsBack] = Field([], max_length=MAX_ITEMS, description="Default: none")
    everything: bool = Field(False, description="All of it came back, and is sellable. Default: false")
    reason: Text = Field(
        "", max_length=MAX_REASON, description="A remark, stored in the shop's own database only. Default: none"
    )


class StartedReturn(ResponseBody):
    """A return, and its process."""

    order_id: str
    return_id: str
    transaction_id: str


@routes.post(
    "/orders/{order_id}/returns",
    status_code=HTTPStatus.ACCEPTED,
    summary="Start a return",
    responses=START_RESPONSES,
    dependencies=[requires(Role.operator)],
)
async def start_return(
    order_id: OrderId,
    body: ReturnRequest,
    backends: BackendsDep,
    temporal: ClientDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> StartedReturn:
    """Start the process `return-order`: it mails the customer a label, waits for the goods, restocks and refunds them.

    An order can have several returns. Without an `Idempotency-Key`, sending the request again starts another one.
    """
    async with backends.database.transaction() as tx:
        found = await find_order(tx, order_id, default_source=backends.settings.order_source)
    with prefix_field_errors("body"):
        started = await returns.start_return(
            temporal,
            backends.database,
            found,
            [_item(Item, number, given) for number, given in enumerate(body.items)],
            reason=body.reason,
            actor=caller.name,
            label=body.label,
            refund=body.refund,
            refund_shipping=body.refund_shipping,
            idempotency_key=idempotency_key,
        )
    return StartedReturn(order_id=found, return_id=started.return_id, transaction_id=started.process_id)


@routes.get(
    "/orders/{order_id}/returns",
    summary="List the returns of an order",
    responses=LIST_OF_ORDER_RESPONSES,
    dependencies=[requires(Role.viewer)],
)
async def list_returns_of_order(
    order_id: OrderId, backends: BackendsDep, caller: CallerDep, response: Response
) -> ReturnPage:
    """Return the last 200 returns of an order, latest first. Viewers do not get what leads to a parcel."""
    response.headers["Cache-Control"] = PRIVATE
    async with backends.database.transaction() as tx:
        found = await find_order(tx, order_id, default_source=backends.settings.order_source)
        return _page_for(caller, await queries.list_returns(tx, order_id=found, limit=MAX_PAGE))


@routes.get(
    "/returns",
    summary="List returns",
    responses=LIST_RESPONSES,
    dependencies=[requires(Role.viewer)],
)
async def list_returns(
    database: DatabaseDep,
    caller: CallerDep,
    response: Response,
    state: Annotated[
        ReturnState | None,
        Query(description="`open`: the goods are waited for; `received`: they are back, and are being refunded"),
    ] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="The maximum number of returns")] = 50,
    cursor: Annotated[Text | None, Query(max_length=200, description="The `next_cursor` of the previous page")] = None,
) -> ReturnPage:
    """List returns, latest first. Amounts are in minor units."""
    response.headers["Cache-Control"] = PRIVATE
    with prefix_field_errors("query"):
        async with database.transaction() as tx:
            page = await queries.list_returns(tx, state=state, limit=limit, cursor=cursor)
    return _page_for(caller, page)


@routes.get(
    "/returns/{return_id}",
    summary="Get a return",
    responses=GET_RESPONSES,
    dependencies=[requires(Role.viewer)],
)
async def get_return(return_id: ReturnId, database: DatabaseDep, caller: CallerDep, response: Response) -> ReturnView:
    """Return what is to come back, what came back, and what became of the refund."""
    response.headers["Cache-Control"] = PRIVATE
    async with database.transaction() as tx:
        return return_for(caller, await queries.find_return(tx, return_id))


@routes.post(
    "/returns/{return_id}/receipt",
    summary="Note what came back",
    response_model=AnswerReceipt,
    responses=RECEIPT_RESPONSES,
    dependencies=[requires(Role.operator)],
)
async def receive_return(
    return_id: ReturnId,
    body: ReceiptRequest,
    backends: BackendsDep,
    temporal: ClientDep,
    caller: CallerDep,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Note which units of a return came back, and how many of them are sellable, once: the rest is not waited for.

    Sellable units go back on the shelf, and all that came back is refunded. After a 202 it counts as well: the process
    gets it as soon as a worker runs. It is safe to send the request again.
    """
    if bool(body.items) == body.everything:
        raise BadInput([FieldError(field="body", message="must have either items or everything")])
    with prefix_field_errors("body"):
        items = [_item(ReceivedItem, number, given) for number, given in enumerate(body.items)]
        receipt = ReturnReceipt(items=items, everything=body.everything)
        noted = await returns.receive_return(
            temporal,
            backends.database,
            return_id,
            receipt,
            by=caller.name,
            reason=body.reason,
            idempotency_key=idempotency_key,
        )
    status = HTTPStatus.OK if noted.status == "taken" else HTTPStatus.ACCEPTED
    return JSONResponse(noted.model_dump(), status)


def _page_for(caller: Caller, page: ReturnPage) -> ReturnPage:
    return page.model_copy(update={"returns": [return_for(caller, each) for each in page.returns]})


def _item(kind: type[ItemT], number: int, given: Units) -> ItemT:
    try:
        return kind.model_validate(given.model_dump())
    except ValidationError as error:
        problems = [found.field for found in field_errors(error)]
        message = field_errors(error)[0].message
        field = f"items.{number}" if problems == ["input"] else f"items.{number}.{problems[0]}"
        raise BadInput([FieldError(field=field, message=message)]) from None
