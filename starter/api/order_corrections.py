"""Orders corrected by operators."""

from http import HTTPStatus

from fastapi import APIRouter
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from commerce import order_corrections
from commerce.errors import BadInput, CorrectionRefused, OrderNotFound
from commerce.messages.base import FieldError
from commerce.order_corrections import MAX_LENGTHS
from commerce.queries.orders import find_order
from starter.api.backends import BackendsDep
from starter.api.callers import CallerDep, Role, requires
from starter.api.errors import COMMON_ERRORS, Responses, error_examples, json_example, prefix_field_errors
from starter.api.parameters import OrderId, Reason, RequestBody, ResponseBody, Text
from starter.operate import actions

EXAMPLE: JsonDict = {
    "reason": "The customer called",
    "shipping_address": {"address1": "2 High Street", "zip": "N1 9GV"},
}
NOT_FOUND = error_examples(HTTPStatus.NOT_FOUND, "There is no such order", OrderNotFound("1001"))
CANCEL_EXAMPLE = json_example(
    {"order_id": "1001", "transaction_id": "cancel-order-1001"}, "The order is being cancelled"
)
RESPONSES: Responses = {
    200: json_example({"order_id": "1001", "changed": ["shipping_address1", "shipping_zip"]}, "The order is corrected"),
    **NOT_FOUND,
    **error_examples(
        HTTPStatus.CONFLICT, "The order cannot be changed any more", CorrectionRefused("1001", "it is fulfilled")
    ),
}
routes = APIRouter(prefix="/orders", tags=["orders"], responses=COMMON_ERRORS)


class CorrectedAddress(RequestBody):
    """The fields of the shipping address to change; an empty text deletes one."""

    model_config = ConfigDict(extra="forbid")

    name: Text | None = Field(None, max_length=MAX_LENGTHS["name"])
    company: Text | None = Field(None, max_length=MAX_LENGTHS["company"])
    address1: Text | None = Field(None, max_length=MAX_LENGTHS["address1"])
    address2: Text | None = Field(None, max_length=MAX_LENGTHS["address2"])
    city: Text | None = Field(None, max_length=MAX_LENGTHS["city"])
    zip: Text | None = Field(None, max_length=MAX_LENGTHS["zip"])
    province: Text | None = Field(None, max_length=MAX_LENGTHS["province"])
    country: Text | None = Field(
        None, max_length=MAX_LENGTHS["country"], description="An ISO 3166 code, or the name of a country"
    )
    phone: Text | None = Field(None, max_length=MAX_LENGTHS["phone"])


class OrderCorrection(RequestBody):
    """What to change: the shipping address and method, or `hold`, and why."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": EXAMPLE})

    reason: Text = Field(
        min_length=1,
        max_length=1_000,
        description="Why. Stored only in the shop's own database, so it may contain personal data",
    )
    shipping_address: CorrectedAddress | None = None
    shipping_method: Text | None = Field(None, max_length=MAX_LENGTHS["method"], description="An empty text deletes it")
    hold: bool | None = Field(
        None, description="true: put the order on hold; false: end its hold, approve it as it is, and process it"
    )


class OrderCancellation(Reason):
    """Why an order is cancelled, and how."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"reason": "The customer called"}})

    force: bool = Field(
        False,
        description="Also if the carrier has the parcel, or will not refund the label; requires the role admin. "
        "Default: false",
    )


class CancellationStarted(ResponseBody):
    """The process that cancels an order."""

    order_id: str
    transaction_id: str


class CorrectedOrder(ResponseBody):
    """What was changed."""

    order_id: str
    changed: list[str] = Field(description="The fields that have changed; empty if the order was like this before")


@routes.patch("/{order_id}", summary="Correct an order", responses=RESPONSES, dependencies=[requires(Role.operator)])
async def correct_order(
    order_id: OrderId, body: OrderCorrection, backends: BackendsDep, caller: CallerDep
) -> CorrectedOrder:
    """Change the shipping address of an order that is not fulfilled, put it on hold, or release it.

    A new address ends the hold of an order that has failed and has it processed again; a run under way begins anew. A
    correction stays until the shop that the order is from states another value than it does now.
    """
    address = body.shipping_address.model_dump(exclude_unset=True) if body.shipping_address else {}
    if "shipping_method" in body.model_fields_set:
        address["method"] = body.shipping_method
    if bool(address) == (body.hold is not None):
        problem = FieldError(field="body", message="must have an address or a method, or hold")
        raise BadInput([problem])
    action = {"reason": body.reason, "actor": caller.name}
    async with backends.database.transaction() as tx:
        found = await find_order(tx, order_id, default_source=backends.settings.order_source)
        changed = ["hold"]
        if address:
            with prefix_field_errors("body.shipping_address", method="body.shipping_method"):
                changed = await order_corrections.correct_address(tx, found, address, **action)
        elif body.hold:
            await order_corrections.hold(tx, found, **action)
        else:
            await order_corrections.release(tx, found, **action)
    return CorrectedOrder(order_id=found, changed=changed)


@routes.post(
    "/{order_id}/cancel",
    status_code=HTTPStatus.ACCEPTED,
    summary="Cancel an order",
    responses={HTTPStatus.ACCEPTED: CANCEL_EXAMPLE, **NOT_FOUND},
    dependencies=[requires(Role.operator)],
)
async def cancel_order(
    order_id: OrderId, body: OrderCancellation, backends: BackendsDep, caller: CallerDep
) -> CancellationStarted:
    """Start the process `cancel-order`, or join its open run; get the process for its result.

    It undoes what was done for the order, refunds its payment and mails the customer, also of a fulfilled order whose
    parcel the carrier does not have yet.
    """
    if body.force:
        caller.require(Role.admin)
    database = backends.database
    async with database.transaction() as tx:
        found = await find_order(tx, order_id, default_source=backends.settings.order_source)
    process_id = await actions.cancel_order(
        await backends.client(), database, found, reason=body.reason, force=body.force, actor=caller.name
    )
    return CancellationStarted(order_id=found, transaction_id=process_id)
