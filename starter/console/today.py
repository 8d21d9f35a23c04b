"""The first page: what is going on, and what needs somebody."""

from fastapi import APIRouter
from starlette.responses import Response

from commerce import backlog
from starter.console.views import ViewDep

routes = APIRouter()


@routes.get("/")
async def show_today(view: ViewDep) -> Response:
    """Show the shop's state."""
    async with view.database.transaction() as tx:
        found = await backlog.measure(tx)
    states = {name: int(value) for name, value in found._asdict().items() if not name.endswith(("age", "lag"))}
    return view.render("today.html.j2", states=states)
