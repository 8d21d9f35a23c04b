"""Customers: the list, and one with orders, and what a person may ask for."""

from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path
from starlette.responses import JSONResponse, Response

from commerce import person_export
from commerce.email_addresses import normalise_address
from commerce.errors import BadInput, CustomerNotFound
from commerce.messages.base import FieldError
from commerce.messages.customer_views import CustomerPage, CustomerView
from commerce.messages.customers import MAX_LENGTH
from commerce.messages.forgetting import ForgetCustomer
from commerce.queries.customers import list_customers, load_customer
from starter.api.callers import Role, requires
from starter.client import start
from starter.console.listing import Listing, process_path, summary
from starter.console.views import View, ViewDep

PAGE_SIZE = 50
NOT_CONFIRMED = "must be the address of this customer, so that nobody is erased by mistake"

routes = APIRouter(prefix="/customers")
CustomerId = Annotated[UUID, Path()]


@routes.get("", dependencies=[requires(Role.viewer)])
async def show_customers(view: ViewDep) -> Response:
    """List customers, masked unless an operator asks for them in clear."""
    listing = Listing(view, "customers", ("search", "unmasked"))
    clear = bool(listing.filters["unmasked"])
    if clear:
        view.caller.require(Role.operator)
    found = CustomerPage(customers=[])
    with listing.showing_problems():
        async with view.database.transaction() as tx:
            found = await list_customers(
                tx,
                search=listing.filters["search"][:MAX_LENGTH],
                clear=clear,
                limit=PAGE_SIZE,
                cursor=listing.cursor,
            )
    return listing.render("customers.html.j2", found=found, max_search=MAX_LENGTH)


@routes.get("/{customer_id}", dependencies=[requires(Role.viewer)])
async def show_customer(view: ViewDep, customer_id: CustomerId) -> Response:
    """Show a customer with their last orders."""
    return view.render("customer.html.j2", customer=await _load(view, customer_id, view.caller.sees_personal_data))


@routes.get("/{customer_id}/export", dependencies=[requires(Role.operator)])
async def export(view: ViewDep, customer_id: CustomerId) -> Response:
    """Return all that is stored about the person, as a file."""
    customer = await _load(view, customer_id, clear=True)
    if customer.email is None:
        raise CustomerNotFound
    async with view.database.transaction() as tx:
        stored = await person_export.export(tx, normalise_address(customer.email))
    headers = {
        "Content-Disposition": f'attachment; filename="customer-{customer_id}.json"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return JSONResponse(stored, headers=headers)


@routes.post("/{customer_id}/forget", dependencies=[requires(Role.admin)])
async def forget(view: ViewDep, customer_id: CustomerId) -> Response:
    """Start `forget-customer`, if the person's address was typed."""
    customer = await _load(view, customer_id, clear=True)
    if customer.email is None:
        raise CustomerNotFound
    if normalise_address(view.form.get("email")[:MAX_LENGTH]) != customer.email:
        problem = summary(BadInput([FieldError(field="email", message=NOT_CONFIRMED)]))
        return view.render("customer.html.j2", HTTPStatus.UNPROCESSABLE_ENTITY, customer=customer, problem=problem)
    handle = await start(await view.temporal(), "forget-customer", ForgetCustomer(email=customer.email))
    return view.redirect(process_path(handle.id), "The person is being erased.")


async def _load(view: View, customer_id: UUID, clear: bool) -> CustomerView:
    async with view.database.transaction() as tx:
        return await load_customer(tx, str(customer_id), clear=clear)
