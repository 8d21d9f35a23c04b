"""The HTTP application, put together from its settings."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline

from commerce.settings import Settings
from starter.api import codec, errors, health, metrics, orders, progress, schedules, tutorial, workflows
from starter.api.backends import Backends
from starter.api.limits import BodyLimit
from starter.api.requests import Requests
from starter.api.tokens import DOCS_FILES, Tokens
from starter.operate.gauges import publish_gauges

ABOUT = """
Runs the shop's processes, and tells how they stand.

A **process** is known by its `transaction_id`; what runs is one of its **runs**. Every error has one shape:
`{"error", "details"?, "fields"?, "transaction_id"?, "failed_step"?}`. Every answer has an `X-Request-ID`, the request's
own if it brought one; the log has it too. Bodies have at most 1 MiB. As soon as the server has tokens, every route but
health, metrics and this document asks for one: `Authorization: Bearer …`.
"""
GREETED: errors.Answers = {200: errors.example({"message": "Hello John from step two!"}, "What `hello-world` answers")}
TOKEN = Depends(HTTPBearer(auto_error=False, description="One of COMMERCE_API_TOKENS"))  # asked for by Tokens


def create_app(settings: Settings, environment: Mapping[str, str]) -> FastAPI:
    """Return the app; it connects to nothing yet, so it also answers while database or Temporal are away.

    `environment` is what `load_environment` returned: Temporal's own variables are read from it. Raises SettingsError.
    """
    payloads = codec.Codec(settings, environment)
    backends = Backends(settings, environment)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        url = settings.database_url.get_secret_value()
        async with beside(publish_gauges(url, backends.client, metrics.exporter().meter)):
            yield
        await backends.close()

    # The page at /docs needs nothing from elsewhere: a shop's network may not lead there, and nobody there is told.
    app = FastAPIOffline(
        title="durable-commerce", description=ABOUT, redoc_url=None, static_url=DOCS_FILES, lifespan=lifespan
    )
    app.state.backends = backends
    app.state.watches = progress.Watches()
    app.state.health = health.Health(backends)
    app.state.codec = payloads
    for noun in (workflows, progress, schedules, orders, codec):
        app.include_router(noun.routes, dependencies=[TOKEN])
    app.include_router(tutorial.routes, dependencies=[TOKEN], responses=GREETED)
    for open_to_all in (health, metrics):
        app.include_router(open_to_all.routes)
    errors.install(app)
    # The last one is the first to see a request: a browser asks what it may send before it sends a token.
    app.add_middleware(BodyLimit)
    app.add_middleware(Tokens, tokens=settings.api_tokens)
    app.add_middleware(codec.CodecCors, ui_url=settings.temporal_ui_url)
    app.add_middleware(Requests)
    return app


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """Do work for as long as the block lasts."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def stop(app: FastAPI) -> None:
    """Let everybody go who waits: for the end of a process, or for its next change."""
    app.state.backends.stopping.set()
    app.state.watches.stop()
