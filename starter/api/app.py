"""Builds the HTTP application from the settings."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from fastapi_offline import FastAPIOffline

from commerce.settings import Settings
from commerce.version import NAME, VERSION
from starter.api import (
    answers,
    bulk_workflows,
    codec,
    corrections,
    customer_lists,
    customers,
    errors,
    exports,
    health,
    intake,
    metrics,
    order_corrections,
    order_lists,
    orders,
    picks,
    progress,
    records,
    reports,
    returns,
    schedules,
    tutorial,
    webhooks,
    workflows,
)
from starter.api.admission import Admission
from starter.api.backends import Backends
from starter.api.browser_guard import BrowserGuard
from starter.api.document import restore_nulls
from starter.api.errors import MAX_MEBIBYTES
from starter.api.limits import MAX_SIGNED_MEBIBYTES, BodyLimit
from starter.api.requests import RequestLog
from starter.api.tokens import DOCS_FILES, TokenAuth
from starter.console.app import mount_console
from starter.operate.background import run_in_background
from starter.operate.gauges import publish_gauges

DESCRIPTION = f"""
Starts the shop's processes and shows their progress.

A **process** is one piece of business, such as the processing of one order; its id is the `transaction_id`. Each start
of a process is a new **run**.

- **Authentication**: if the server has tokens, every route requires `Authorization: Bearer <token>`, except for health,
  metrics, this document, and the webhooks of shops (`/intake/…`) and links in mails (`/answers/…`), which are signed.
- **Roles**: a token has the role `viewer` (reads, with personal data masked), `operator` (acts, and sees personal data)
  or `admin` (configures and destroys). The `security` of each route names the least role; without it the answer is 403
  with the code `RoleRequired`.
- **Errors** have one shape: `error` (for people) and `code` (for programs), and where they apply `details`, `fields`,
  `transaction_id` and `failed_step`.
- **Request ids**: every response has the header `X-Request-ID`. A request may set it; otherwise the server makes one.
  The log contains it too.
- **Bodies** are JSON of at most {MAX_MEBIBYTES} MiB, those of `/intake/…` of at most {MAX_SIGNED_MEBIBYTES} MiB.
"""

# Built once, not once for each app: FastAPI prepares the routes that an app includes when it is first used.
ROUTES = APIRouter(generate_unique_id_function=lambda route: route.name)  # it names the function of a client
for _protected in (
    workflows,
    bulk_workflows,
    answers,
    progress,
    schedules,
    order_lists,
    order_corrections,
    returns,
    orders,
    records,
    customers,
    customer_lists,
    reports,
    webhooks,
    corrections,
    exports,
    codec,
    tutorial,
):
    ROUTES.include_router(_protected.routes)
for _public in (health.routes, metrics.routes, intake.routes, picks.routes, answers.links):
    ROUTES.include_router(_public)


def create_app(settings: Settings, environment: Mapping[str, str]) -> FastAPI:
    """Return the app. It connects on demand, so it also runs while the database or Temporal is unavailable.

    `environment` is the result of `load_environment`; Temporal's own variables are read from it. Raises SettingsError.
    """
    payloads = codec.Codec(settings, environment)
    backends = Backends(settings, environment)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with run_in_background(publish_gauges(settings, backends.client, metrics.exporter().meter)):
            yield
        await backends.close()

    # The page /docs loads nothing from other hosts: they may be unreachable, and should not learn of its use.
    app = FastAPIOffline(
        title=NAME,
        version=VERSION,
        description=DESCRIPTION,
        redoc_url=None,
        static_url=DOCS_FILES,
        lifespan=lifespan,
        routes=ROUTES.routes,
        redirect_slashes=False,  # the redirect would lead to the host that the request names, whichever that is
    )
    app.state.backends = backends
    app.state.watches = progress.Watches()
    app.state.health = health.Health(backends)
    app.state.codec = payloads
    app.state.admission = Admission(settings)
    errors.install_handlers(app)
    mount_console(app)
    restore_nulls(app)
    # The last one added runs first. CORS must run before authentication: preflight requests carry no token.
    app.add_middleware(BodyLimit)
    app.add_middleware(TokenAuth, tokens=settings.api_tokens)
    app.add_middleware(codec.CodecCors, ui_url=settings.temporal_ui_url)
    app.add_middleware(
        BrowserGuard,
        has_tokens=bool(settings.api_tokens),
        api_host=settings.api_host,
        codec_prefix=codec.PREFIX,
        codec_origins=codec.page_origins(settings.temporal_ui_url),
    )
    app.add_middleware(RequestLog)
    return app


def release_waiting_requests(app: FastAPI) -> None:
    """End all requests that wait for the result of a process or follow its progress."""
    app.state.backends.stopping.set()
    app.state.watches.stop()
