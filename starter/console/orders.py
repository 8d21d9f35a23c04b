"""Orders: the list, and one with its whole story, live while something happens."""

from datetime import date, datetime, time, timedelta
from http import HTTPStatus
from typing import Any, get_args
from urllib.parse import quote, urlencode

from fastapi import APIRouter
from starlette.responses import Response

from commerce.errors import BadInput
from commerce.messages.base import FieldError
from commerce.messages.order_views import OrderPage, OrderStatus
from commerce.queries.orders import MAX_SEARCH, OrderFilter, list_orders
from starter.api.parameters import OrderId
from starter.api.personal_data import order_for, process_for
from starter.api.progress import ProgressStream
from starter.console.live import Fragment, follow
from starter.console.processes import process_path, questions_of
from starter.console.sessions import PATH
from starter.console.timeline import tell
from starter.console.views import View, ViewDep
from starter.operate.order_view import view_order_and_processes

PAGE_SIZE = 50
STATUSES: tuple[OrderStatus, ...] = get_args(OrderStatus)
FILTERS = ("search", "status", "hold_reason", "since", "until")
NO_ORDERS = OrderPage(orders=[])

routes = APIRouter(prefix="/orders")


@routes.get("")
async def show_orders(view: ViewDep) -> Response:
    """List orders. The filters are the address of the page, and empty ones do not count."""
    sent = {name: value.strip() for name, value in view.request.query_params.items() if value.strip()}
    filters = {name: sent.get(name, "") for name in FILTERS}
    found, problem = NO_ORDERS, None
    try:
        selected = _selection(filters, view)
        async with view.database.transaction() as tx:
            found = await list_orders(
                tx, selected, limit=PAGE_SIZE, cursor=sent.get("cursor"), masked=not view.caller.sees_personal_data
            )
    except BadInput as error:
        problem = "; ".join(f"{field.field}: {field.message}" for field in error.fields)
    here = f"{PATH}/orders" + (f"?{urlencode(used)}" if (used := {k: v for k, v in filters.items() if v}) else "")
    return view.render(
        "orders.html.j2",
        HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK,
        problem=problem,
        found=found,
        filters=filters,
        statuses=STATUSES,
        max_search=MAX_SEARCH,
        here=here,
        is_first="cursor" not in sent,
    )


@routes.get("/{order_id}")
async def show_order(view: ViewDep, order_id: OrderId) -> Response:
    """Show an order in full."""
    shown = await load_order_page(view, order_id)
    if order_id != shown["order"].order_id:  # it was asked for by another of its names
        return view.redirect(order_path(shown["order"].order_id))
    return view.render("order.html.j2", **shown)


@routes.get("/{order_id}/live")
async def follow_order(view: ViewDep, order_id: OrderId) -> Response:
    """Send the changing part of an order's page after each change, until nothing happens any more."""
    order_id = (await load_order_page(view, order_id))["order"].order_id  # an unknown order is a 404

    async def render() -> Fragment:
        now = await load_order_page(view, order_id)
        unknown = any(process.status == "running" and process.progress is None for process in now["processes"])
        html = view.render_block("order.html.j2", "live", **now)
        return Fragment(html, is_busy=now["is_busy"], is_complete=not unknown)

    return ProgressStream(follow(view, order_id, render))


def order_path(order_id: str, part: str = "") -> str:
    """Return the path of an order's page, or of what is below it."""
    return f"{PATH}/orders/{quote(order_id, safe='~')}{part}"


async def load_order_page(view: View, order_id: str) -> dict[str, Any]:
    """Return the variables of an order's page. Raises OrderNotFound, DatabaseUnavailable."""
    order, processes = await view_order_and_processes(
        view.database,
        view.temporal,
        order_id,
        default_source=view.settings.order_source,
        ui=view.settings.temporal_ui_url,
    )
    order = order_for(view.caller, order)
    processes = [process_for(view.caller, process) for process in processes]
    main = next((process for process in processes if process.transaction_id == order.transaction_id), None)
    is_busy = any(process.status == "running" for process in processes)
    return {
        "order": order,
        "processes": processes,
        "main": main,
        "is_busy": is_busy,
        "questions": [each for process in processes for each in questions_of(process)],
        "timeline": tell(order, processes, view.settings),
        "path_of": order_path(order.order_id),
        "process_path": process_path,
        "may_change": order.status in ("open", "on_hold", "waiting_for_stock", "unpaid", "other"),
    }


def _selection(filters: dict[str, str], view: View) -> OrderFilter:
    """Return the filter that the address names; days are those of the shop. Raises BadInput."""
    problems = []
    status: OrderStatus | None = next((each for each in STATUSES if each == filters["status"]), None)
    if filters["status"] and status is None:
        problems.append(FieldError(field="status", message=f"must be one of {', '.join(STATUSES)}"))
    days: dict[str, datetime | None] = {}
    for name, later in (("since", 0), ("until", 1)):  # the last day is included
        days[name] = None
        if filters[name]:
            try:
                day = date.fromisoformat(filters[name]) + timedelta(days=later)
                days[name] = datetime.combine(day, time(), view.settings.zone)
            except (ValueError, OverflowError):
                problems.append(FieldError(field=name, message="must be a day like 2026-03-01"))
    if problems:
        raise BadInput(problems)
    return OrderFilter(
        status=status,
        hold_reason=filters["hold_reason"] or None,
        search=filters["search"] or None,
        since=days["since"],
        until=days["until"],
    )
