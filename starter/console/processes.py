"""Processes: all kinds, what needs somebody first; one in full; and what operators do to one or many."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from commerce import operator_actions
from commerce.errors import BadInput, MissingKey
from commerce.messages.base import FieldError
from commerce.messages.cancellations import cancel_process_id
from commerce.messages.orders import order_process_id
from commerce.messages.returns import return_id_of
from commerce.messages.runs import Page, StatusFilter
from commerce.queries import returns
from starter.api.personal_data import process_for
from starter.console.listing import Listing, process_path
from starter.console.questions import load_asked
from starter.console.views import View, ViewDep
from starter.operate.process_list import MAX_LISTED, Narrowing, list_processes
from starter.operate.process_status import get_status
from starter.operate.run_history import get_latest_run, load_input
from starter.processes import PROCESS_TYPES

PAGE_SIZE = 50
URGENT = 20  # stuck and failed processes on the first page
STATUSES: tuple[StatusFilter, ...] = get_args(StatusFilter)
FILTERS = ("search", "status", "type", "outcome")
SECRETS = frozenset({"password_hash", "password"})  # of an input: not even operators see them
HIDDEN = "…"
RETRYABLE = ("failed", "cancelled", "terminated", "timed_out")
FAILED = ("failed", "terminated", "timed_out")

routes = APIRouter(prefix="/processes")


@routes.get("")
async def show_processes(view: ViewDep) -> Response:
    """List processes, by filters that are the address of the page; without filters, what needs somebody comes first."""
    listing = Listing(view, "processes", FILTERS)
    filters = listing.filters
    lists: dict[str, Page] = {}
    order_of: dict[str, str] = {}
    with listing.showing_problems():
        if listing.cursor is None and not any(filters.values()):
            lists["stuck"] = await _list(view, {"status": "stuck"}, URGENT)
            lists["failed"] = await _list(view, {"status": "failed"}, URGENT)
        lists["found"] = await _list(view, filters, PAGE_SIZE, listing.cursor)
        shown = [run.transaction_id for page in lists.values() for run in page.workflows]
        async with view.database.transaction() as tx:
            order_of = await orders_of(tx, shown)
    return listing.render(
        "processes.html.j2",
        lists=lists,
        statuses=STATUSES,
        kinds=sorted(PROCESS_TYPES),
        path_of=process_path,
        order_of=order_of.get,
    )


@routes.get("/{process_id}")
async def show_process(view: ViewDep, process_id: str) -> Response:
    """Show a process by its latest run."""
    return view.render("process.html.j2", **await load_process_page(view, process_id))


async def load_process_page(view: View, process_id: str) -> dict[str, Any]:
    """Return the variables of a process's page. Raises ProcessNotFound, Unreachable, DatabaseUnavailable."""
    client = await view.temporal()
    status = await get_status(client, process_id, ui=view.settings.temporal_ui_url)
    given: str | None = None
    if view.caller.sees_personal_data:
        try:
            given = as_json(await load_input(client, await get_latest_run(client, process_id)))
        except MissingKey as error:
            given = str(error)
    async with view.database.transaction() as tx:
        actions = await operator_actions.list_actions(tx, process_id)
        dismissed = status.run_id in await operator_actions.dismissed_runs(tx, [process_id])
        order_id = (await orders_of(tx, [process_id])).get(process_id)
        asked = await load_asked(tx, status, order_id)
    if not view.caller.sees_personal_data:
        actions = [action.model_copy(update={"reason": ""}) for action in actions]
    return {
        "process": process_for(view.caller, status),
        "input": given,
        "result": as_json(status.result) if view.caller.sees_personal_data and status.result is not None else None,
        "actions": actions,
        "dismissed": dismissed,
        "order_id": order_id,
        "path_of": process_path(process_id),
        "questions": asked,
        "may_retry": status.status in RETRYABLE or status.status == "completed",
        "has_failed": status.status in FAILED,
    }


async def find_processes(view: View, filters: Mapping[str, str], most: int) -> tuple[list[str], bool]:
    """Return the ids of the processes that the filters select, at most `most`, and whether there are more.

    Raises BadInput without a filter, Unreachable, DatabaseUnavailable.
    """
    if not any(filters.values()):
        raise BadInput([FieldError(field="filters", message="must select processes, such as by their state")])
    found: list[str] = []
    cursor: str | None = None
    while len(found) < most:
        page = await _list(view, filters, min(most - len(found), MAX_LISTED), cursor)
        found += [run.transaction_id for run in page.workflows]
        cursor = page.next_cursor
        if cursor is None:
            break
    return list(dict.fromkeys(found)), cursor is not None


async def orders_of(tx: AsyncSession, process_ids: Iterable[str]) -> dict[str, str]:
    """Return the ids of the orders that processes are about, by the id of the process."""
    found, by_return = {}, {}
    for process_id in process_ids:
        for start in (order_process_id(""), cancel_process_id("")):
            if process_id.startswith(start) and len(process_id) > len(start):
                found[process_id] = process_id.removeprefix(start)
        if return_id := return_id_of(process_id):
            by_return[return_id] = process_id
    if by_return:
        found |= {by_return[return_id]: each for return_id, each in (await returns.orders_of(tx, by_return)).items()}
    return found


def as_json(value: Any) -> str:
    """Return a value as JSON for people, without the secrets that it holds."""
    return json.dumps(_without_secrets(value), indent=2, ensure_ascii=False, default=str)


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: HIDDEN if name in SECRETS else _without_secrets(part) for name, part in value.items()}
    return [_without_secrets(part) for part in value] if isinstance(value, list) else value


async def _list(view: View, filters: Mapping[str, str], limit: int, cursor: str | None = None) -> Page:
    """Return a page of processes. Raises BadInput, Unreachable, DatabaseUnavailable."""
    status: StatusFilter | None = next((each for each in STATUSES if each == filters.get("status")), None)
    if filters.get("status") and status is None:
        raise BadInput([FieldError(field="status", message=f"must be one of {', '.join(STATUSES)}")])
    only = Narrowing(outcome=filters.get("outcome") or None, search=filters.get("search") or None)
    return await list_processes(
        await view.temporal(), status, filters.get("type") or None, limit, cursor, only=only, database=view.database
    )
