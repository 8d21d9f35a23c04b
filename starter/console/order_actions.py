"""What operators do to an order on its page. The functions behind are those of the HTTP API, with its rules."""

from http import HTTPStatus

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.responses import Response

from commerce import order_corrections
from commerce.errors import BadInput
from commerce.messages.base import FieldError, field_errors
from commerce.messages.order_views import Address
from commerce.messages.orders import order_process_id
from commerce.messages.returns import MAX_UNITS, Item
from commerce.queries.orders import find_order
from starter.api.callers import Role, requires
from starter.api.parameters import OrderId
from starter.client import start_order
from starter.console.fields import line_field, read_units
from starter.console.listing import summary, who
from starter.console.orders import load_order_page, order_path
from starter.console.views import Form, View, ViewDep
from starter.operate import actions, returns
from starter.operate.answers import MAX_KEY

routes = APIRouter(prefix="/orders/{order_id}", dependencies=[requires(Role.operator)])


@routes.post("/address")
async def correct_address(view: ViewDep, order_id: OrderId) -> Response:
    """Correct the shipping address. What was wrong is shown next to its field, with what was typed."""
    found = await _find(view, order_id)
    shown = await load_order_page(view, found)
    before: Address = shown["order"].shipping_address
    typed = {name: view.form.get(name) for name in Address.model_fields if view.form.has(name)}
    # Only what was changed: the source's own words for a country, for example, stay as they are.
    address = {name: value for name, value in typed.items() if value != (getattr(before, name) or "").strip()}
    if not address:
        return view.redirect(order_path(found), "The address is as it was.")
    try:
        async with view.database.transaction() as tx:
            changed = await order_corrections.correct_address(tx, found, address, **who(view))
    except BadInput as error:
        problems = {field.field: field.message for field in error.fields}
        shown |= {"typed": before.model_dump() | typed, "address_problems": problems, "problem": summary(error)}
        return view.render("order.html.j2", HTTPStatus.UNPROCESSABLE_ENTITY, **shown)
    notice = "The address is corrected." if changed else "The address is as it was."
    return view.redirect(order_path(found), notice)


@routes.post("/hold")
async def hold(view: ViewDep, order_id: OrderId) -> Response:
    """Put the order on hold."""
    found = await _find(view, order_id)
    async with view.database.transaction() as tx:
        await order_corrections.hold(tx, found, **who(view))
    return view.redirect(order_path(found), "The order is on hold.")


@routes.post("/release")
async def release(view: ViewDep, order_id: OrderId) -> Response:
    """End the hold of the order."""
    found = await _find(view, order_id)
    async with view.database.transaction() as tx:
        await order_corrections.release(tx, found, **who(view))
    return view.redirect(order_path(found), "The order is released, and will be processed.")


@routes.post("/process")
async def process(view: ViewDep, order_id: OrderId) -> Response:
    """Start the order's process, or join its open run."""
    found = await _find(view, order_id)
    await start_order(await view.temporal(), found)
    return view.redirect(order_path(found), "The order is being processed.")


@routes.post("/retry")
async def retry(view: ViewDep, order_id: OrderId) -> Response:
    """Run the order's process again."""
    found = await _find(view, order_id)
    await actions.retry(await view.temporal(), view.database, order_process_id(found), **who(view))
    return view.redirect(order_path(found), "The order's process runs again.")


@routes.post("/stop")
async def stop(view: ViewDep, order_id: OrderId) -> Response:
    """Cancel the order's process, which undoes its steps."""
    found = await _find(view, order_id)
    await actions.cancel(await view.temporal(), view.database, order_process_id(found), **who(view))
    return view.redirect(order_path(found), "The run undoes what it has done.")


@routes.post("/cancel")
async def cancel_order(view: ViewDep, order_id: OrderId) -> Response:
    """Start the process that takes the order back."""
    force = view.form.get("force") == "yes"
    if force:
        view.caller.require(Role.admin)
    found = await _find(view, order_id)
    await actions.cancel_order(await view.temporal(), view.database, found, force=force, **who(view))
    return view.redirect(order_path(found), "The order is being cancelled.")


@routes.post("/returns")
async def start_return(view: ViewDep, order_id: OrderId) -> Response:
    """Start a return of the order: of the units that the form names by line, or of all that are left."""
    why, items = who(view), _items(view.form)
    found = await _find(view, order_id)
    options = {name: view.form.get(name) == "yes" for name in ("label", "refund", "refund_shipping")}
    key = view.form.get("once")[:MAX_KEY]
    client = await view.temporal()
    await returns.start_return(client, view.database, found, items, idempotency_key=key or None, **why, **options)
    return view.redirect(order_path(found), "The return is started.")


def _items(form: Form) -> list[Item]:
    """Return what a form names, by line; nothing if it has no fields for lines. Raises BadInput."""
    units = form.starting_with(line_field("units", ""))
    items = []
    for line, text in units.items():
        quantity = read_units(form, line_field("units", line), MAX_UNITS, f"units of line {line}") if text else 0
        if quantity:
            try:
                items.append(Item.model_validate({"line": line, "quantity": quantity}))
            except ValidationError as error:
                raise BadInput(field_errors(error)) from None
    if units and not items:
        raise BadInput([FieldError(field="items", message="name what is to come back")])
    return items


async def _find(view: View, order_id: str) -> str:
    async with view.database.transaction() as tx:
        return await find_order(tx, order_id, default_source=view.settings.order_source)
