"""Returns: the list, by state, and one by what is written on its parcel."""

from typing import get_args

from fastapi import APIRouter
from starlette.responses import Response

from commerce.errors import OrderNotFound, ReturnNotFound
from commerce.messages.return_views import ReturnPage
from commerce.messages.returns import ReturnState
from commerce.queries.orders import find_order
from commerce.queries.returns import find_return, list_returns
from starter.api.callers import Role, requires
from starter.api.personal_data import return_for
from starter.console.listing import Listing, process_path
from starter.console.views import View, ViewDep

PAGE_SIZE = 50
STATES: tuple[ReturnState, ...] = get_args(ReturnState)

routes = APIRouter(prefix="/returns")


@routes.get("", dependencies=[requires(Role.viewer)])
async def show_returns(view: ViewDep) -> Response:
    """List returns, latest first."""
    listing = Listing(view, "returns", ("search", "state"))
    found = ReturnPage(returns=[])
    with listing.showing_problems():
        state = listing.choice("state", STATES)
        listing.check()
        found = await _find(view, listing.filters["search"], state, listing.cursor)
    return listing.render(
        "returns.html.j2",
        found=[return_for(view.caller, each) for each in found.returns],
        next_cursor=found.next_cursor,
        states=STATES,
        path_of=process_path,
    )


async def _find(view: View, search: str, state: ReturnState | None, cursor: str | None) -> ReturnPage:
    """Return the return with this id or tracking number, or those of the order with this id or number."""
    order_id = None
    async with view.database.transaction() as tx:
        if search:
            try:
                found = await find_return(tx, search)
                return ReturnPage(returns=[found] if state in (None, found.state) else [])
            except ReturnNotFound:
                pass
            try:
                order_id = await find_order(tx, search, default_source=view.settings.order_source)
            except OrderNotFound:
                return ReturnPage(returns=[])
        return await list_returns(tx, state=state, order_id=order_id, limit=PAGE_SIZE, cursor=cursor)
