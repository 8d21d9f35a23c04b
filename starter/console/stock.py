"""Stock: levels of all items, and one item with who has reserved it and what has moved it."""

from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.responses import Response

from commerce import locations as places
from commerce.errors import BadInput, ScheduleNotFound, Unreachable
from commerce.messages.base import FieldError
from commerce.messages.stock_views import StockPage
from commerce.queries import stock
from commerce.stock_corrections import set_stock
from starter.api.callers import Role, requires
from starter.api.parameters import Text
from starter.console.jobs import LastRun, last_run_of
from starter.console.listing import Listing, summary, who
from starter.console.sessions import PATH
from starter.console.views import View, ViewDep

PAGE_SIZE = 50
SYNC = "sync-inventory"

routes = APIRouter(prefix="/stock")
Sku = Annotated[Text, Query(max_length=255)]
Cursor = Annotated[int | None, Query(ge=0, le=2**63 - 1)]


@routes.get("", dependencies=[requires(Role.viewer)])
async def show_stock(view: ViewDep) -> Response:
    """List items with their stock at each location."""
    listing = Listing(view, "stock", ("search", "oversold"))
    found = StockPage(items=[])
    with listing.showing_problems():
        async with view.database.transaction() as tx:
            found = await stock.list_stock(
                tx,
                search=listing.filters["search"],
                oversold=bool(listing.filters["oversold"]),
                limit=PAGE_SIZE,
                cursor=listing.cursor,
            )
    return listing.render("stock.html.j2", found=found, sync_known=False)


@routes.get("/sync", dependencies=[requires(Role.viewer)])
async def show_last_sync(view: ViewDep) -> Response:
    """Show the last sync with the warehouse; the page of the stock asks for it when it is shown."""
    last, missing = await _last_sync(view)
    return view.render("stock.html.j2", found=None, sync_known=True, sync=last, sync_missing=missing)


@routes.get("/item", dependencies=[requires(Role.viewer)])
async def show_item(view: ViewDep, sku: Sku, cursor: Cursor = None) -> Response:
    """Show an item in full; `cursor` continues the list of its movements."""
    return await _item_page(view, sku, cursor)


@routes.post("/set", dependencies=[requires(Role.operator)])
async def set_level(view: ViewDep) -> Response:
    """Set the stock of an item at a location to what was counted."""
    sku, location, units = (view.form.get(name) for name in ("sku", "location", "units"))
    try:
        if not (units.isascii() and units.isdecimal() and len(units) <= 10):
            raise BadInput([FieldError(field="units", message="must be a whole number of at least 0")])
        async with view.database.transaction() as tx:
            done = await set_stock(tx, sku, location, int(units), **who(view))
    except BadInput as error:
        return await _item_page(view, sku, None, problem=summary(error))
    more = " More units are reserved than there are." if done.oversold else ""
    return view.redirect(item_path(sku), f"{location}: {int(units):,} instead of {done.before:,} units.{more}")


def item_path(sku: str) -> str:
    """Return the path of an item's page."""
    return f"{PATH}/stock/item?{urlencode({'sku': sku})}"


async def _item_page(view: View, sku: str, cursor: int | None, problem: str | None = None) -> Response:
    async with view.database.transaction() as tx:
        item = await stock.load_item(tx, sku)
        movements = await stock.list_movements(tx, sku, limit=PAGE_SIZE, cursor=cursor)
        locations = [location.name for location in await places.list_locations(tx)]
    return view.render(
        "stock-item.html.j2",
        HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK,
        problem=problem,
        item=item,
        movements=movements,
        locations=locations,
        here=item_path(sku),
        is_first=cursor is None,
    )


async def _last_sync(view: View) -> tuple[LastRun | None, str | None]:
    """Return the last run of the sync, and why it is not known."""
    try:
        return await last_run_of(await view.temporal(), SYNC), None
    except ScheduleNotFound:
        return None, None
    except Unreachable as error:
        return None, str(error)
