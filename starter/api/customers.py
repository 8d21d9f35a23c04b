"""What a person may ask for: all that is stored about them, and to be forgotten.

The address is in the body, because proxies log the addresses of requests.
"""

from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Request, Response
from pydantic import ConfigDict, Field

from commerce import person_export
from commerce.email_addresses import normalise_address
from commerce.errors import AddressKeyMissing, CustomerHasOpenOrders, CustomerNotFound
from commerce.messages.customers import MAX_LENGTH
from commerce.messages.forgetting import ForgetCustomer, Forgotten
from starter.api.admission import RESPONSES as RATE_RESPONSES
from starter.api.admission import AdmissionDep
from starter.api.backends import BackendsDep, DatabaseDep
from starter.api.callers import Role, requires
from starter.api.error_codes import ErrorCode
from starter.api.errors import COMMON_ERRORS, WORKFLOW_FAILED, Problem, error_examples, json_example
from starter.api.parameters import RequestBody, ResponseBody, Text
from starter.api.results import ExecutionPending, respond
from starter.client import start

KIND = "forget-customer"
WAIT_SECONDS = 30
PROCESS = f"{KIND}-0c4a3f5b6d7e8f901a2b3c4d5e6f7081"
FORGOTTEN = {
    "customer_id": "0199a1b2-6f4e-7c3d-9a10-5b7e2f0c4d11",
    "forgotten_at": "2026-03-02T12:00:00Z",
    "orders": 2,
    "invoices_kept": 1,
    "carts": 0,
    "mails": 3,
}
EXPORT: dict[str, Any] = {
    "email": "ann@customer.example",
    "customer": {"id": FORGOTTEN["customer_id"], "email": "ann@customer.example", "has_account": True},
    "logins": [],
    "groups": ["default_customers"],
    "orders": [{"id": "1001", "shipping_name": "Ann Lee", "lines": [], "fulfillments": []}],
    "carts": [],
    "mails": [{"kind": "welcome", "recipient": "ann@customer.example"}],
    "reasons": [],
    "webhooks": [],
}
UNKNOWN = error_examples(HTTPStatus.NOT_FOUND, "Nothing is stored about this address", CustomerNotFound())

routes = APIRouter(prefix="/customers", tags=["customers"], responses=COMMON_ERRORS)


class Person(RequestBody):
    """The person that the request is about."""

    model_config = ConfigDict(json_schema_extra={"example": {"email": "ann@customer.example"}})

    email: Text = Field(min_length=1, max_length=MAX_LENGTH, description="Their e-mail address")


class ForgottenCustomer(ResponseBody):
    """A person that was forgotten."""

    success: Literal[True] = True
    result: Forgotten
    transaction_id: str


class StoredPerson(ResponseBody):
    """All that is stored about a person, as the shop's tables have it; amounts are in minor units."""

    email: str
    customer: dict[str, Any] | None = Field(description="Null if they neither have an account nor have ordered")
    logins: list[dict[str, Any]]
    groups: list[str]
    orders: list[dict[str, Any]] = Field(description="With their lines and fulfillments")
    carts: list[dict[str, Any]]
    mails: list[dict[str, Any]] = Field(description="Also alerts to the admins about their orders")
    reasons: list[dict[str, Any]] = Field(description="What operators have written about their processes")
    webhooks: list[dict[str, Any]] = Field(description="Webhooks of shops that are kept with their body")


@routes.post(
    "/export",
    summary="Export a person",
    responses={200: json_example(EXPORT, "What is stored about the person"), **UNKNOWN},
    dependencies=[requires(Role.operator)],
)
async def export_customer(body: Annotated[Person, Body()], database: DatabaseDep) -> StoredPerson:
    """Return all that is stored about a person, except the hash of their password."""
    async with database.transaction() as tx:
        return StoredPerson(**await person_export.export(tx, normalise_address(body.email)))


@routes.post(
    "/forget",
    summary="Forget a person",
    response_model=ForgottenCustomer,
    responses={
        **RATE_RESPONSES,
        200: json_example({"success": True, "result": FORGOTTEN, "transaction_id": PROCESS}, "The person is forgotten"),
        HTTPStatus.ACCEPTED: {"model": ExecutionPending}
        | json_example(
            {"success": True, "status": "running", "transaction_id": PROCESS}, "The process still runs after 30 seconds"
        ),
        **UNKNOWN,
        **error_examples(
            HTTPStatus.CONFLICT,
            "The person has an open order, or the shop has no key to remember whom it has forgotten",
            CustomerHasOpenOrders(["1001"], 1),
            AddressKeyMissing(),
        ),
        **error_examples(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "The process failed, and nothing was erased",
            Problem(error=WORKFLOW_FAILED, code=ErrorCode.ProcessFailed, transaction_id=PROCESS),
        ),
    },
    dependencies=[requires(Role.admin)],
)
async def forget_customer(
    body: Annotated[Person, Body()], backends: BackendsDep, admission: AdmissionDep, request: Request
) -> Any:
    """Erase a person: account, login, names and addresses on orders, mails, carts and what people wrote about them.

    Figures stay. Nothing can undo this. It starts the process `forget-customer`, or joins its open run; it is safe to
    send the request again. Later imports and webhooks with older orders of this address are stored without the person.
    """
    entry = ForgetCustomer(email=body.email)
    async with admission.starting(KIND, entry, request):
        handle = await start(await backends.client(), KIND, entry)
    response = await respond(handle, WAIT_SECONDS, request, backends)
    if isinstance(response, Response):
        return response
    return ForgottenCustomer(result=Forgotten.model_validate(response.result), transaction_id=handle.id)
