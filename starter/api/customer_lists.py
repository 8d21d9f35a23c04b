"""Customers as operators see them: lists, and one in full."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response

from commerce.errors import CustomerNotFound
from commerce.messages.customer_views import CustomerPage, CustomerView
from commerce.messages.customers import MAX_LENGTH
from commerce.queries.customers import MAX_PAGE, list_customers, load_customer
from starter.api.backends import DatabaseDep
from starter.api.callers import CallerDep, Role, requires
from starter.api.errors import COMMON_ERRORS, Responses, error_examples, json_example, prefix_field_errors
from starter.api.order_examples import LISTED
from starter.api.parameters import Text

PRIVATE = "no-store"  # no cache keeps customers' data
ID = "0199a1b2-6f4e-7c3d-9a10-5b7e2f0c4d11"
SUMMARY = {
    "customer_id": ID, "email": "a…@customer.example", "name": "A… L…", "has_account": True, "orders": 2,
    "last_order_at": "2026-03-01T09:00:00Z", "created_at": "2026-02-01T12:00:00Z", "registered_at": None,
}  # fmt: skip
SHOWN = SUMMARY | {
    "email": "ann@customer.example", "name": "Ann Lee", "groups": ["default_customers"], "last_orders": [LISTED]
}  # fmt: skip
LIST_RESPONSES: Responses = {
    200: json_example({"customers": [SUMMARY], "next_cursor": ID}, "A page of customers"),
}
VIEW_RESPONSES: Responses = {
    200: json_example(SHOWN, "The customer"),
    **error_examples(HTTPStatus.NOT_FOUND, "There is no such customer", CustomerNotFound()),
}
routes = APIRouter(prefix="/customers", tags=["customers"], responses=COMMON_ERRORS)


@routes.get("", summary="List customers", responses=LIST_RESPONSES, dependencies=[requires(Role.viewer)])
async def list_all_customers(
    database: DatabaseDep,
    caller: CallerDep,
    response: Response,
    search: Annotated[
        Text, Query(max_length=MAX_LENGTH, description="How the e-mail address starts", examples=["ann@"])
    ] = "",
    clear: Annotated[bool, Query(description="Not masked; requires the role operator")] = False,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="The maximum number of customers")] = 50,
    cursor: Annotated[Text | None, Query(max_length=100, description="The `next_cursor` of the previous page")] = None,
) -> CustomerPage:
    """List customers, newest first, with `search` in the order of their addresses. Names and addresses are masked.

    To find a person by name, search `GET /orders`.
    """
    if clear:
        caller.require(Role.operator)
    response.headers["Cache-Control"] = PRIVATE
    with prefix_field_errors("query"):
        async with database.transaction() as tx:
            return await list_customers(tx, search=search, clear=clear, limit=limit, cursor=cursor)


@routes.get("/{customer_id}", summary="Get a customer", responses=VIEW_RESPONSES, dependencies=[requires(Role.viewer)])
async def get_customer(
    customer_id: Annotated[UUID, Path(description="The customer's id", examples=[ID])],
    database: DatabaseDep,
    caller: CallerDep,
    response: Response,
) -> CustomerView:
    """Return a customer with their groups and last orders; viewers get name and address masked.

    `POST /customers/export` returns all that is stored about a person.
    """
    response.headers["Cache-Control"] = PRIVATE
    async with database.transaction() as tx:
        return await load_customer(tx, str(customer_id), clear=caller.sees_personal_data)
