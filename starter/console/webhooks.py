"""Webhooks: the URLs that receive events, and what was delivered to them."""

from http import HTTPStatus
from typing import Annotated, get_args
from uuid import UUID

from fastapi import APIRouter, Path
from starlette.responses import Response

from commerce import webhooks
from commerce.errors import BadInput, Unreachable, WebhookExists
from commerce.messages.runs import Page, StatusFilter
from commerce.messages.webhooks import Endpoint, NewEndpoint
from commerce.outbox import EVENT_NAMES
from starter.api.callers import LOCAL, Role, requires
from starter.api.webhooks import KIND, endpoint_for
from starter.console.listing import Listing, process_path, summary
from starter.console.sessions import PATH
from starter.console.views import View, ViewDep
from starter.operate.process_list import Narrowing, list_processes
from starter.operate.webhook_tests import send_test

PAGE_SIZE = 50
STATUSES: tuple[StatusFilter, ...] = get_args(StatusFilter)
WEBHOOKS = f"{PATH}/webhooks"

routes = APIRouter(prefix="/webhooks")
WebhookId = Annotated[UUID, Path()]


@routes.get("", dependencies=[requires(Role.viewer)])
async def show_webhooks(view: ViewDep) -> Response:
    """List all webhooks."""
    return await _list_page(view)


@routes.post("", dependencies=[requires(Role.admin)])
async def add(view: ViewDep) -> Response:
    """Add a webhook. Its secret is on the page that answers, and nowhere afterwards."""
    try:
        async with view.database.transaction() as tx:
            added = await webhooks.add(
                tx,
                view.form.get("url"),
                view.form.all("types") or [webhooks.ALL_EVENTS],
                actor=view.caller.name,
                here=view.caller == LOCAL,
            )
    except BadInput as error:
        return await _list_page(view, problem=summary(error))
    except WebhookExists as error:
        return await _list_page(view, problem=str(error))
    return await _list_page(view, added=added)


@routes.get("/{webhook_id}", dependencies=[requires(Role.viewer)])
async def show_webhook(view: ViewDep, webhook_id: WebhookId) -> Response:
    """Show a webhook with its deliveries."""
    listing = Listing(view, f"webhooks/{webhook_id}", ("status",))
    async with view.database.transaction() as tx:
        endpoint = await webhooks.find(tx, str(webhook_id))
    found, missing, only = Page(workflows=[]), None, Narrowing(search=f"{KIND}-{webhook_id}-")
    try:
        with listing.showing_problems():
            status = listing.choice("status", STATUSES)
            listing.check()
            client, cursor = await view.temporal(), listing.cursor
            found = await list_processes(client, status, KIND, PAGE_SIZE, cursor, only=only, database=view.database)
    except Unreachable as error:
        missing = str(error)
    return listing.render(
        "webhook.html.j2",
        endpoint=_shown(view, endpoint),
        found=found,
        missing=missing,
        statuses=STATUSES,
        process_path=process_path,
        id_length=len(f"{KIND}-{webhook_id}-"),
    )


@routes.post("/{webhook_id}/test", dependencies=[requires(Role.admin)])
async def test(view: ViewDep, webhook_id: WebhookId) -> Response:
    """Post a test event, and say how the receiver answers."""
    result = await send_test(view.database, view.settings, str(webhook_id), actor=view.caller.name)
    notice = {
        "delivered": "The receiver has accepted the test event.",
        "gone": "The receiver wants no more events (410).",
    }.get(result.status, f"The receiver has not accepted the test event: {result.error}")
    return view.redirect(f"{WEBHOOKS}/{webhook_id}", notice)


@routes.post("/{webhook_id}/remove", dependencies=[requires(Role.admin)])
async def remove(view: ViewDep, webhook_id: WebhookId) -> Response:
    """Remove a webhook."""
    async with view.database.transaction() as tx:
        await webhooks.remove(tx, str(webhook_id), actor=view.caller.name)
    return view.redirect(WEBHOOKS, "The webhook is removed.")


async def _list_page(view: View, problem: str | None = None, added: NewEndpoint | None = None) -> Response:
    async with view.database.transaction() as tx:
        endpoints = await webhooks.list_endpoints(tx)
    return view.render(
        "webhooks.html.j2",
        HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK,
        problem=problem,
        endpoints=[_shown(view, endpoint) for endpoint in endpoints],
        added=added,
        event_names=EVENT_NAMES,
        typed=view.form.get("url") if problem else "",
    )


def _shown(view: View, endpoint: Endpoint) -> Endpoint:
    return endpoint_for(view.caller.sees_personal_data, endpoint)
