"""Orders: the list, and one with its whole story, live while something happens."""

import secrets
from datetime import datetime, time, timedelta
from typing import Any, get_args
from urllib.parse import quote

from fastapi import APIRouter
from starlette.responses import Response

from commerce.messages.order_views import LineView, OrderPage, OrderStatus, OrderView
from commerce.queries.orders import MAX_SEARCH, OrderFilter, list_orders
from starter.api.parameters import OrderId
from starter.api.personal_data import order_for, process_for
from starter.api.progress import ProgressStream
from starter.console.listing import Listing, process_path
from starter.console.live import Fragment, follow
from starter.console.questions import MAX_LINES, asked_by
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
    listing = Listing(view, "orders", FILTERS)
    found = NO_ORDERS
    with listing.showing_problems():
        selected = _selection(listing, view)
        async with view.database.transaction() as tx:
            found = await list_orders(
                tx, selected, limit=PAGE_SIZE, cursor=listing.cursor, masked=not view.caller.sees_personal_data
            )
    return listing.render("orders.html.j2", found=found, statuses=STATUSES, max_search=MAX_SEARCH)


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
        "questions": [
            each for process in processes for each in asked_by(process, order.picks, order.returns, order.refunds)
        ],
        "timeline": tell(order, processes, view.settings),
        "path_of": order_path(order.order_id),
        "process_path": process_path,
        "returnable": _returnable(order),
        "max_lines": MAX_LINES,
        "once": secrets.token_urlsafe(12),
        "may_change": order.status in ("open", "on_hold", "waiting_for_stock", "unpaid", "other"),
    }


def _returnable(order: OrderView) -> list[tuple[LineView, int]]:
    """Return the lines of which a new return can bring back units, with how many."""
    if order.status != "fulfilled":
        return []
    left = [(line, line.quantity - line.returned_quantity - line.returning_quantity) for line in order.lines]
    return [(line, units) for line, units in left if units > 0]


def _selection(listing: Listing, view: View) -> OrderFilter:
    """Return the filter that the address names; days are those of the shop. Raises BadInput."""
    status = listing.choice("status", STATUSES)
    first, last = listing.day("since"), listing.day("until")
    try:
        after = last and last + timedelta(days=1)  # the last day is included
    except OverflowError:
        after = None
    listing.check()
    zone = view.settings.zone
    return OrderFilter(
        status=status,
        hold_reason=listing.filters["hold_reason"] or None,
        search=listing.filters["search"] or None,
        since=datetime.combine(first, time(), zone) if first else None,
        until=datetime.combine(after, time(), zone) if after else None,
    )
