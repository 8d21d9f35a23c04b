"""Webhooks over HTTP: list, add, test and remove them, and see their deliveries."""

from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import APIRouter, Path, Query, Response
from pydantic import ConfigDict, Field

from commerce import webhooks
from commerce.errors import WebhookExists, WebhookNotFound
from commerce.messages.runs import Page, StatusFilter
from commerce.messages.webhooks import Endpoint, NewEndpoint, TestResult
from commerce.outbox import EVENT_NAMES
from starter.api import workflow_examples
from starter.api.backends import BackendsDep, ClientDep, DatabaseDep
from starter.api.callers import LOCAL, CallerDep, Role, requires
from starter.api.errors import COMMON_ERRORS, Responses, error_examples, json_example, prefix_field_errors
from starter.api.parameters import RequestBody, ResponseBody, Text
from starter.operate.process_list import Narrowing, list_processes
from starter.operate.webhook_tests import send_test

KIND = "deliver-webhook"
PRIVATE = "no-store"  # no cache keeps a secret
ID = "0199a1b2-6f4e-7c3d-9a10-5b7e2f0c4d11"
URL = "https://receiver.example/events"
ENDPOINT = {
    "id": ID,
    "url": URL,
    "event_types": ["*"],
    "created_at": "2026-03-02T12:00:00Z",
    "disabled_at": None,
}
NOT_FOUND = error_examples(HTTPStatus.NOT_FOUND, "There is no such webhook", WebhookNotFound(ID))
ADDED: Responses = {
    201: {"model": NewEndpoint}
    | json_example(ENDPOINT | {"secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, "The webhook, with its secret"),
    **error_examples(HTTPStatus.CONFLICT, "There is a webhook with this URL", WebhookExists()),
}
TESTED = json_example(
    {"event_id": ID, "status": "failed", "error": "The webhook's receiver is unavailable: HTTP 503."},
    "What the receiver has answered",
)
WebhookId = Annotated[UUID, Path(description="The id of the webhook", examples=[ID])]

routes = APIRouter(prefix="/webhooks", tags=["webhooks"], responses=COMMON_ERRORS)


class WebhookList(ResponseBody):
    """All webhooks, oldest first."""

    webhooks: list[Endpoint]


class NewWebhook(RequestBody):
    """A URL that events are to be posted to."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"url": URL}})

    url: Text = Field(max_length=webhooks.MAX_URL, description="`https` only, and not to the worker's machine")
    types: list[Annotated[Text, Field(max_length=100)]] = Field(
        [webhooks.ALL_EVENTS],
        min_length=1,
        max_length=100,
        description=f"Of {', '.join(EVENT_NAMES)}; default: all",
    )


class RemovedWebhook(ResponseBody):
    """A webhook that was removed."""

    id: UUID


@routes.get(
    "",
    summary="List webhooks",
    responses={200: json_example({"webhooks": [ENDPOINT]}, "The webhooks")},
    dependencies=[requires(Role.viewer)],
)
async def list_webhooks(database: DatabaseDep, caller: CallerDep) -> WebhookList:
    """List all webhooks without their secrets; viewers get the host of the URLs only, which may contain a secret.

    One is disabled if its receiver has answered 410 Gone.
    """
    async with database.transaction() as tx:
        found = await webhooks.list_endpoints(tx)
    return WebhookList(webhooks=[endpoint_for(caller.sees_personal_data, endpoint) for endpoint in found])


@routes.post(
    "",
    summary="Add a webhook",
    status_code=HTTPStatus.CREATED,
    responses=ADDED,
    dependencies=[requires(Role.admin)],
)
async def add_webhook(body: NewWebhook, database: DatabaseDep, caller: CallerDep, response: Response) -> NewEndpoint:
    """Send events to a URL from now on. The secret that signs them is not shown again.

    A disabled webhook with this URL is enabled again, with a new secret.
    """
    response.headers["Cache-Control"] = PRIVATE
    with prefix_field_errors("body"):
        async with database.transaction() as tx:
            return await webhooks.add(tx, body.url, body.types, actor=caller.name, here=caller == LOCAL)


@routes.delete(
    "/{webhook_id}",
    summary="Remove a webhook",
    responses={200: json_example({"id": ID}, "It is removed"), **NOT_FOUND},
    dependencies=[requires(Role.admin)],
)
async def remove_webhook(webhook_id: WebhookId, database: DatabaseDep, caller: CallerDep) -> RemovedWebhook:
    """Remove a webhook. Events that have not been delivered yet are not sent."""
    async with database.transaction() as tx:
        await webhooks.remove(tx, str(webhook_id), actor=caller.name)
    return RemovedWebhook(id=webhook_id)


@routes.post(
    "/{webhook_id}/test",
    summary="Send a test event",
    responses={200: TESTED, **NOT_FOUND},
    dependencies=[requires(Role.admin)],
)
async def test_webhook(webhook_id: WebhookId, backends: BackendsDep, caller: CallerDep) -> TestResult:
    """Post a signed event of the type `webhook.test` once, from the API, and return what the receiver answers.

    It takes at most 10 seconds. A test neither disables nor enables a webhook.
    """
    return await send_test(backends.database, backends.settings, str(webhook_id), actor=caller.name)


@routes.get(
    "/{webhook_id}/deliveries",
    summary="List deliveries",
    responses={**workflow_examples.LIST_RESPONSES, **NOT_FOUND},
    dependencies=[requires(Role.viewer)],
)
async def list_deliveries(
    webhook_id: WebhookId,
    temporal: ClientDep,
    database: DatabaseDep,
    status: Annotated[StatusFilter | None, Query(description="As of `GET /workflows`")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="The maximum number of deliveries")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=10_000, description="The `next_cursor` of the previous page")
    ] = None,
) -> Page:
    """List the deliveries to a webhook, last ended first, until Temporal deletes them.

    Each is a process, and can be shown, retried and dismissed as such.
    """
    async with database.transaction() as tx:
        await webhooks.find(tx, str(webhook_id))
    only = Narrowing(search=f"{KIND}-{webhook_id}-")
    with prefix_field_errors("query"):
        return await list_processes(temporal, status, KIND, limit, cursor, only=only, database=database)


def endpoint_for(sees_all: bool, endpoint: Endpoint) -> Endpoint:
    """Return a webhook as a caller may see it: a URL often holds a secret of its receiver."""
    if sees_all:
        return endpoint
    parts = urlsplit(endpoint.url)
    update: dict[str, Any] = {"url": f"{parts.scheme}://{parts.netloc}/…"}
    return endpoint.model_copy(update=update)
