"""The embedded warehouse, so that the shop's stock can be synced without a real one.

    python -m starter.devstack.warehouse --data-dir D --port P

It reads the shop's database (COMMERCE_DATABASE_URL), so it knows all fulfillments and cancellations. A level is the
same as in the shop until it is set. `docs/warehouse.openapi.json` describes the API.

Routes that control it, described in `/docs`:
PUT /trial/levels      [{"sku": …, "location": …, "on_hand": units, or null: unknown}]
DELETE /trial/levels   return the levels of the shop again
PUT /trial/page-size   {"levels": 5000}
PUT /trial/picks       {"seconds": 0.5, "silent": false, "found": {"MUG": 1}}: how picks are answered from now on
GET /trial/picks?order=ID
POST /trial/faults     {"fault": "500" | "429" | "cut" | "slow" | "rubbish" | "twice" | "half" | "negative" | "endless",
                        "times": 1, "sku": null, "seconds": 15}
GET, DELETE /trial/faults
"""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from pydantic import AwareDatetime, TypeAdapter

from commerce.database import Database
from commerce.errors import DatabaseUnavailable, SettingsError
from commerce.settings import Settings, load_environment, load_settings
from starter.devstack.carrier.faults import CuttableProtocol
from starter.devstack.serving import (
    LOOPBACK,
    Arguments,
    BrowserGuard,
    parse_arguments,
    run,
    serve_until_stopped,
    serving,
)
from starter.devstack.warehouse import picks
from starter.devstack.warehouse.faults import Fault, Faults, corrupt, failed_response
from starter.devstack.warehouse.schemas import Json, LevelsPage, LevelsRequest, PageSize, SetLevel
from starter.devstack.warehouse.stock import Cursor, Stock
from starter.devstack.warehouse.store import Levels

PAGE_LEVELS = 5_000
CURSOR = TypeAdapter(tuple[AwareDatetime, str, str])
RETRIED = "The shop retries the request, after the seconds or at the time in `Retry-After` if it is there"

log = logging.getLogger(__name__)


class Warehouse:
    """The levels that were set, the shop's stock, and the faults to inject."""

    def __init__(self, data_dir: Path, database_url: str) -> None:
        self.fixed_levels = Levels(data_dir)
        self.stock = Stock(Database(database_url))
        self.faults = Faults()
        self.page_levels = PAGE_LEVELS

    async def page(self, request: LevelsRequest) -> tuple[Json, str, str]:
        """Return a page, its own token, and the token of the page after it, even if there is none."""
        cursor = _parse_token(request.page)
        fixed = self.fixed_levels.get(request.skus)
        as_of, levels = await self.stock.levels(request.skus, fixed, cursor, self.page_levels + 1)
        page = levels[: self.page_levels]
        last = page[-1] if page else {"sku": cursor.sku, "location": cursor.location}
        token = _token(Cursor(as_of, cursor.sku, cursor.location))
        end = _token(Cursor(as_of, last["sku"], last["location"]))
        more = end if len(levels) > len(page) else None
        return {"as_of": as_of.isoformat(), "levels": page, "next": more}, token, end

    async def close(self) -> None:
        """Close the file and all connections."""
        self.fixed_levels.close()
        await self.stock.close()


api = APIRouter()
control = APIRouter(prefix="/trial")


@api.post(
    "/levels",
    response_model=LevelsPage,
    operation_id="levels",
    response_description="One page of the levels",
    responses={
        429: {"description": RETRIED},
        "4XX": {"description": "The request is refused permanently"},
        "5XX": {"description": RETRIED},
    },
)
async def levels(request: Request, query: LevelsRequest) -> Response:
    """Return the units of these SKUs per location. A request changes nothing and can be repeated."""
    warehouse: Warehouse = request.app.state.warehouse
    fault = warehouse.faults.take(query.skus)
    if fault is not None and (response := await failed_response(fault, request)) is not None:
        return response
    page, token, end = await warehouse.page(query)
    return JSONResponse(page if fault is None else corrupt(fault, page, token, end))


@control.put("/levels", status_code=204)
async def set_levels(request: Request, levels: list[SetLevel]) -> None:
    """Set levels; movements of the shop after this are added to them."""
    warehouse: Warehouse = request.app.state.warehouse
    warehouse.fixed_levels.put(await warehouse.stock.fix(levels))


@control.delete("/levels", status_code=204)
async def clear_levels(request: Request) -> None:
    """Return the levels of the shop again."""
    request.app.state.warehouse.fixed_levels.clear()


@control.put("/page-size", status_code=204)
async def set_page_size(request: Request, size: PageSize) -> None:
    """Set the page size until the warehouse is restarted."""
    request.app.state.warehouse.page_levels = size.levels


@control.post("/faults")
async def add_fault(request: Request, fault: Fault) -> list[Fault]:
    """Inject a fault; the first fault that applies is used, in the order in which they were added."""
    faults: Faults = request.app.state.warehouse.faults
    faults.all.append(fault)
    return faults.all


@control.get("/faults")
async def list_faults(request: Request) -> list[Fault]:
    """Return the faults, with the times that are left."""
    faults: Faults = request.app.state.warehouse.faults
    return faults.all


@control.delete("/faults", status_code=204)
async def clear_faults(request: Request) -> None:
    """Remove all faults."""
    request.app.state.warehouse.faults.all.clear()


def _token(cursor: Cursor) -> str:
    """Return the token of a page. It holds the time of the reading, so the warehouse need not store readings."""
    assert cursor.as_of is not None
    return base64.urlsafe_b64encode(CURSOR.dump_json((cursor.as_of, cursor.sku, cursor.location))).decode()


def _parse_token(token: str | None) -> Cursor:
    if token is None:
        return Cursor()
    try:
        return Cursor(*CURSOR.validate_json(base64.urlsafe_b64decode(token.partition(".")[0])))
    except ValueError as error:
        raise HTTPException(422, "The page is not a token of this warehouse") from error


async def _database_unavailable(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 503)


ROUTES = APIRouter()  # built once, not once for each app
for _router in (api, picks.api, control, picks.control):
    ROUTES.include_router(_router)


def create_app(data_dir: Path, database_url: str, secret: str = "") -> FastAPI:
    """Return the app of the warehouse; it stores levels in this folder and connects to the database when first used.

    `secret` signs its answers to picks.
    """
    warehouse, picked = Warehouse(data_dir, database_url), picks.Picks(data_dir, secret)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        answering = asyncio.create_task(picked.answer_all())
        yield
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        picked.close()
        await warehouse.close()

    app = FastAPIOffline(
        title="Embedded warehouse",
        routes=ROUTES.routes,
        lifespan=lifespan,
        exception_handlers={DatabaseUnavailable: _database_unavailable},
    )
    app.state.warehouse, app.state.picks = warehouse, picked
    return app


def running(
    data_dir: Path, port: int, database_url: str, host: str = LOOPBACK, secret: str = ""
) -> AbstractAsyncContextManager[str]:
    """Serve the warehouse during the block; yields its URL. Raises OSError."""
    app = create_app(data_dir, database_url, secret)
    app.add_middleware(BrowserGuard, host=host)
    return serving(app, port, host, http=CuttableProtocol)


async def serve(arguments: Arguments, settings: Settings) -> None:
    """Serve the warehouse until SIGTERM or SIGINT."""
    database_url = settings.database_url.get_secret_value()
    secret = next((each.get_secret_value() for each in settings.warehouse_secrets), "")
    await serve_until_stopped(running(arguments.folder, arguments.port, database_url, arguments.host, secret))


def main() -> None:
    """Run the warehouse as a process."""
    arguments = parse_arguments("The embedded warehouse.", "--data-dir")
    try:
        settings = load_settings(load_environment())
    except SettingsError as error:
        raise SystemExit(f"warehouse: {error}") from None
    run("warehouse", lambda: serve(arguments, settings))


if __name__ == "__main__":
    main()
