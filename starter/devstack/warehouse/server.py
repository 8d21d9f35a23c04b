"""The embedded warehouse: knows what lies on the shelves, so that the shop's stock can be synced without a real one.

    python -m starter.devstack.warehouse --data-dir D --port P

It reads the shop's database (COMMERCE_DATABASE_URL): it knows of every fulfillment and cancel, and agrees with the shop
on each level until somebody sets it. The API itself is described in `docs/warehouse.openapi.json`.

For trying things (`/docs` has the details):
PUT /trial/levels      [{"sku": …, "location": …, "on_hand": units, or null: unknown here}]
DELETE /trial/levels   agree with the shop again
PUT /trial/page-size   {"levels": 5000}
POST /trial/faults     {"fault": "500" | "429" | "cut" | "slow" | "rubbish" | "twice" | "half" | "negative" | "endless",
                        "times": 1, "sku": null, "seconds": 15}
GET, DELETE /trial/faults
"""

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
from commerce.settings import load_environment, load_settings
from starter.devstack.carrier.faults import CuttableProtocol
from starter.devstack.serving import LOOPBACK, Arguments, parse_arguments, run, serving, wait_for_stop_signal
from starter.devstack.warehouse.faults import Fault, Faults, refusal, spoil
from starter.devstack.warehouse.schemas import Answer, Json, PageSize, Question, SetLevel
from starter.devstack.warehouse.stock import Place, Stock
from starter.devstack.warehouse.store import Levels

PAGE_LEVELS = 5_000
PLACE = TypeAdapter(tuple[AwareDatetime, str, str])
BUSY = "Not now; asked again later, or after the seconds or the time in `Retry-After`"

log = logging.getLogger(__name__)


class Warehouse:
    """What was set, what the shop has, and how to misbehave."""

    def __init__(self, data_dir: Path, database_url: str) -> None:
        self.set = Levels(data_dir)
        self.stock = Stock(Database(database_url))
        self.faults = Faults()
        self.page_levels = PAGE_LEVELS

    async def page(self, question: Question) -> tuple[Json, str, str]:
        """Return a page of the answer, its own token, and that of the place behind it."""
        place = _place(question.page)
        told = self.set.get(question.skus)
        as_of, levels = await self.stock.levels(question.skus, told, place, self.page_levels + 1)
        page = levels[: self.page_levels]
        last = page[-1] if page else {"sku": place.sku, "location": place.location}
        same, end = _token(Place(as_of, place.sku, place.location)), _token(Place(as_of, last["sku"], last["location"]))
        more = end if len(levels) > len(page) else None
        return {"as_of": as_of.isoformat(), "levels": page, "next": more}, same, end

    async def close(self) -> None:
        """Close file and connections."""
        self.set.close()
        await self.stock.close()


api = APIRouter()
trial = APIRouter(prefix="/trial")


@api.post(
    "/levels",
    response_model=Answer,
    operation_id="levels",
    response_description="One page of the levels",
    responses={
        429: {"description": BUSY},
        "4XX": {"description": "The question is refused for good"},
        "5XX": {"description": BUSY},
    },
)
async def levels(request: Request, question: Question) -> Response:
    """Tell how many units of these SKUs lie at which location. Asking changes nothing, and may be repeated."""
    warehouse: Warehouse = request.app.state.warehouse
    fault = warehouse.faults.take(question.skus)
    if fault is not None and (refused := await refusal(fault, request)) is not None:
        return refused
    answer, same, end = await warehouse.page(question)
    return JSONResponse(answer if fault is None else spoil(fault, answer, same, end))


@trial.put("/levels", status_code=204)
async def set_levels(request: Request, levels: list[SetLevel]) -> None:
    """Say what lies on shelves now; what the shop moves from now on comes to it."""
    warehouse: Warehouse = request.app.state.warehouse
    warehouse.set.put(await warehouse.stock.tell(levels))


@trial.delete("/levels", status_code=204)
async def clear_levels(request: Request) -> None:
    """Agree with the shop on every level again."""
    request.app.state.warehouse.set.clear()


@trial.put("/page-size", status_code=204)
async def set_page_size(request: Request, size: PageSize) -> None:
    """Answer in pages of so many levels, until the warehouse is restarted."""
    request.app.state.warehouse.page_levels = size.levels


@trial.post("/faults")
async def set_fault(request: Request, fault: Fault) -> list[Fault]:
    """Make the warehouse misbehave; faults are tried in the order in which they were set."""
    faults: Faults = request.app.state.warehouse.faults
    faults.all.append(fault)
    return faults.all


@trial.get("/faults")
async def faults_set(request: Request) -> list[Fault]:
    """Return the faults that are set, with the times that are left."""
    faults: Faults = request.app.state.warehouse.faults
    return faults.all


@trial.delete("/faults", status_code=204)
async def clear_faults(request: Request) -> None:
    """Make the warehouse behave again."""
    request.app.state.warehouse.faults.all.clear()


def _token(place: Place) -> str:
    """Return the token of a page: all pages of an answer then are of one reading, and nothing has to be remembered."""
    assert place.as_of is not None
    return base64.urlsafe_b64encode(PLACE.dump_json((place.as_of, place.sku, place.location))).decode()


def _place(token: str | None) -> Place:
    if token is None:
        return Place()
    try:
        return Place(*PLACE.validate_json(base64.urlsafe_b64decode(token.partition(".")[0])))
    except ValueError as error:
        raise HTTPException(422, "The page is none of this warehouse's") from error


async def _database_away(_request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": str(error)}, 503)


def create_app(data_dir: Path, database_url: str) -> FastAPI:
    """Return the warehouse with its levels in this folder; it connects to the shop's database when first asked."""
    warehouse = Warehouse(data_dir, database_url)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await warehouse.close()

    app = FastAPIOffline(
        title="Embedded warehouse",
        lifespan=lifespan,
        exception_handlers={DatabaseUnavailable: _database_away},
    )
    app.state.warehouse = warehouse
    app.include_router(api)
    app.include_router(trial)
    return app


def running(data_dir: Path, port: int, database_url: str, host: str = LOOPBACK) -> AbstractAsyncContextManager[str]:
    """Serve the warehouse while the block runs; yields its URL. Raises OSError."""
    return serving(create_app(data_dir, database_url), port, host, http=CuttableProtocol)


async def serve(given: Arguments, database_url: str) -> None:
    """Serve the warehouse until told to stop."""
    async with running(given.folder, given.port, database_url, given.host) as url:
        log.info("listening on %s", url)
        await wait_for_stop_signal()


def main() -> None:
    """Run the warehouse as a process of its own."""
    given = parse_arguments("A warehouse for trying things.", "--data-dir")
    try:
        database_url = load_settings(load_environment()).database_url.get_secret_value()
    except SettingsError as error:
        raise SystemExit(f"warehouse: {error}") from None
    run("warehouse", lambda: serve(given, database_url))


if __name__ == "__main__":
    main()
