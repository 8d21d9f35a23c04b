"""`commerce webhooks listen`: a receiver on this machine that prints each event and checks its signature."""

import asyncio
import json
import signal
from base64 import b64decode
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from fastapi import FastAPI, Request, Response
from standardwebhooks import Webhook, WebhookVerificationError

from commerce import webhooks
from commerce.database import Database
from commerce.errors import BadInput, WebhookNotFound
from commerce.messages.base import FieldError
from starter.devstack.serving import serving

PATH = "/listen"  # of the URL, so that a webhook which an interrupted run has left is recognized
MAX_BODY = 1_000_000  # bytes; our events are much smaller
PREFIX = "whsec_"
SIGNED, FORGED = "signed", "NOT SIGNED with this secret"


def check_secret(secret: str) -> Webhook:
    """Return what verifies signatures made with a secret. Raises BadInput."""
    try:
        key = b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(PREFIX) or not key:
        raise BadInput([FieldError(field="secret", message="must be the secret of a webhook, like whsec_…")])
    return Webhook(secret)


def listener_app(verifier: Webhook, echo: Callable[[str], None]) -> FastAPI:
    """Return an app that answers 204 to signed events and 401 to others, and echoes two lines for each."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.post(PATH)
    async def receive(request: Request) -> Response:
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY:
                return Response(status_code=413)
        try:
            verifier.verify(bytes(body), dict(request.headers))
        except (WebhookVerificationError, ValueError):
            echo(f"{datetime.now():%H:%M:%S}  {FORGED}: {len(body):,} bytes")  # noqa: DTZ005 - for the person here
            return Response(status_code=401)
        event = json.loads(body)
        echo(f"{datetime.now():%H:%M:%S}  {SIGNED}  {event.get('type')}  {event.get('subject')}")  # noqa: DTZ005
        echo(f"          {json.dumps(event.get('data'), ensure_ascii=False)}")
        return Response(status_code=204)

    return app


async def listen(
    database: Database, port: int, event_types: Sequence[str], echo: Callable[[str], None], secret: str | None = None
) -> None:
    """Print events until cancelled. Without a secret, the receiver is a webhook of the shop meanwhile.

    Raises BadInput, DatabaseUnavailable, and OSError if the port is taken.
    """
    with suppress(NotImplementedError, RuntimeError, ValueError):  # not in the main thread
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    if secret is not None:
        await _serve(check_secret(secret), port, echo)
        return
    added: str | None = None
    try:
        url = f"http://127.0.0.1:{port}{PATH}"
        async with database.transaction() as tx:
            for left in await webhooks.list_endpoints(tx):
                if left.url == url:  # by a run that was killed
                    await webhooks.remove(tx, str(left.id))
            endpoint = await webhooks.add(tx, url, event_types)
            added = str(endpoint.id)
        echo(f"{added} receives events until Ctrl-C, from a worker on this machine")
        await _serve(check_secret(endpoint.secret), port, echo)
    finally:
        if added is not None:
            async with database.transaction() as tx:
                with suppress(WebhookNotFound):
                    await webhooks.remove(tx, added)
            echo(f"{added} is removed")


async def _serve(verifier: Webhook, port: int, echo: Callable[[str], None]) -> None:
    async with serving(listener_app(verifier, echo), port) as url:
        echo(f"Listening at {url}{PATH}")
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
