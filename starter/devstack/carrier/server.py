"""The embedded carrier: a small copy of EasyPost's shipments API, so that the shop runs without an account.

    python -m starter.devstack.carrier --data-dir D --port P

Like the real API it has no idempotency keys: each POST of a shipment creates another one. It accepts any API key as the
user name of HTTP Basic. It permanently refuses to ship to the country `AQ` and to the postal code `REFUSED`.

Routes that control it, described in `/docs`:
POST /trial/faults     {"operation": "create" | "buy" | "refund" | "get",
                        "fault": "401" | "402" | "403" | "409" | "422" | "423" | "429" | "500" | "503" | "cut" | "slow",
                        "times": 1, "reference": null, "order_id": null, "seconds": 15}
GET, DELETE /trial/faults
POST /trial/states     {"order_id": "#1001", "tracker": "in_transit", "refund": "rejected"}: what becomes of its labels
POST /trial/refunds    {"decision": "refunded" | "rejected" | null}: what becomes of a requested refund (null: nothing)
GET /trial/labels      ?reference= or ?order_id= : numbers of shipments, bought, refunded, live; the newest labels
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from html import escape
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from fastapi_offline import FastAPIOffline
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from starter.devstack.carrier import labels_in_use, schemas
from starter.devstack.carrier.faults import CuttableProtocol, Fault, Faults, Operation, cut
from starter.devstack.carrier.schemas import Json, ShipmentInput
from starter.devstack.carrier.store import Shipments
from starter.devstack.serving import LOOPBACK, BrowserGuard, parse_arguments, run, serve_until_stopped, serving

REFUSED_COUNTRY = "AQ"
REFUSED_ZIP = "REFUSED"
REFUSALS = {
    "create": ("ADDRESS.VERIFY.FAILURE", "Unable to verify address."),
    "buy": ("SHIPMENT.POSTAGE.FAILURE", "Unable to buy postage."),
    "refund": ("SHIPMENT.REFUND.UNAVAILABLE", "Unable to request refund. The parcel has been shipped."),
    "get": ("SHIPMENT.INVALID", "The shipment is invalid."),
}
LABEL = """<!doctype html><meta charset="utf-8"><title>{code}</title>
<body style="font:16px sans-serif;width:24em;margin:2em;border:2px solid;padding:1em">
<p>From: {sender}</p><p style="font-size:1.3em">To: <b>{recipient}</b></p>
<p>{service} · order {order}</p><p style="font:1.4em monospace">{code}</p><b>{state}</b></body>
"""


class Refusal(Exception):
    """An error response of the API. Private to this package: a handler turns it into a response."""

    def __init__(self, status: int, code: str, message: str, errors: list[Json] | None = None) -> None:
        super().__init__(code)
        self.status = status
        self.body = {"error": {"code": code, "message": message, "errors": errors or []}}


async def require_key(key: Annotated[HTTPBasicCredentials | None, Depends(HTTPBasic(auto_error=False))]) -> None:
    """Refuse a request without an API key."""
    if key is None or not key.username:
        raise Refusal(401, "USER.UNAUTHORIZED", "Authentication is required; use your API key as the user name.")


api = APIRouter(prefix="/v2/shipments", dependencies=[Depends(require_key)])
control = APIRouter()


@api.post("", status_code=201)
async def create(request: Request) -> JSONResponse:
    """Create a shipment with its rates."""
    shipment = schemas.new_shipment(await _shipment_input(request))
    _check_address(shipment["buyer_address"])
    return await _respond(request, "create", shipment, request.app.state.shipments.put, 201)


@api.get("/{shipment_id}")
async def get(request: Request, shipment_id: str) -> JSONResponse:
    """Return a shipment. A requested refund has been decided when somebody looks."""

    def look(found: Json) -> Json:
        decision = found["refund_status"] == "submitted" and request.app.state.refund_decision
        return _store(request, schemas.with_state(found, tracker=None, refund=decision)) if decision else found

    return await _respond(request, "get", _find(request, shipment_id), look)


@api.post("/{shipment_id}/buy")
async def buy(request: Request, shipment_id: str) -> JSONResponse:
    """Buy the label of a shipment, once."""
    chosen = (await _body(request)).get("rate")

    def change(shipment: Json) -> Json:
        if shipment["postage_label"] is not None:
            raise Refusal(422, "SHIPMENT.POSTAGE.EXISTS", "Postage already exists for this shipment.")
        rate = next((rate for rate in shipment["rates"] if {"id": rate["id"]} == chosen), None)
        if rate is None:
            raise Refusal(422, "SHIPMENT.MISSING_RATE", "The rate does not belong to this shipment.")
        return _store(request, schemas.with_label(shipment, rate, str(request.base_url).rstrip("/")))

    return await _respond(request, "buy", _find(request, shipment_id), change)


@api.post("/{shipment_id}/refund")
async def refund(request: Request, shipment_id: str) -> JSONResponse:
    """Refund the label of a shipment, once."""

    def change(shipment: Json) -> Json:
        if shipment["postage_label"] is None:
            raise Refusal(422, "SHIPMENT.POSTAGE.REQUIRED", "There is no postage to refund.")
        if shipment["refund_status"] is not None:
            raise Refusal(422, "SHIPMENT.REFUND.UNAVAILABLE", "A refund was requested already.")
        return _store(request, schemas.with_refund(shipment))

    return await _respond(request, "refund", _find(request, shipment_id), change)


@control.post("/trial/faults")
async def add_fault(request: Request, fault: Fault) -> list[Fault]:
    """Inject a fault; the first fault that applies is used, in the order in which they were added."""
    faults: Faults = request.app.state.faults
    faults.all.append(fault)
    return faults.all


@control.get("/trial/faults")
async def list_faults(request: Request) -> list[Fault]:
    """Return the faults, with the times that are left."""
    faults: Faults = request.app.state.faults
    return faults.all


@control.delete("/trial/faults", status_code=204)
async def clear_faults(request: Request) -> None:
    """Remove all faults."""
    request.app.state.faults.all.clear()


@control.get("/trial/labels")
async def labels(request: Request, reference: str | None = None, order_id: str | None = None) -> Json:
    """Count shipments and labels; `live` labels are bought and not refunded."""
    shipments: Shipments = request.app.state.shipments
    return shipments.labels(reference, order_id)


@control.get("/labels/{shipment_id}.html")
async def label(request: Request, shipment_id: str) -> HTMLResponse:
    """Show a bought label."""
    shipment = _find(request, shipment_id)
    if shipment["postage_label"] is None:
        raise Refusal(404, "NOT_FOUND", "No label was bought for this shipment.")
    return HTMLResponse(
        LABEL.format(
            code=shipment["tracking_code"],
            sender=_one_line(shipment["from_address"]),
            recipient=_one_line(shipment["to_address"]),
            service=escape(shipment["selected_rate"]["service"]),
            order=escape(str(shipment["options"].get("invoice_number", "?"))),
            state="REFUNDED: do not use" if shipment["refund_status"] else "",
        )
    )


async def _respond(
    request: Request, operation: Operation, shipment: Json, change: Callable[[Json], Json], status: int = 200
) -> JSONResponse:
    """Carry out an operation, with the fault that applies to it, and return the changed shipment."""
    fault = request.app.state.faults.take(operation, shipment)
    kind = fault.fault if fault else None
    if kind == "422":
        raise Refusal(422, *REFUSALS[operation])
    if kind and kind.isdecimal():
        raise Refusal(int(kind), "INTERNAL_SERVER_ERROR", "We're sorry, something went wrong.")
    if kind == "slow":
        await asyncio.sleep(fault.seconds)
    changed = change(request.app.state.shipments.get(shipment["id"]) or shipment)  # another request may have changed it
    if kind == "cut":
        await cut(request)
    return JSONResponse(changed, status)


async def _body(request: Request) -> Json:
    try:
        body = json.loads(await request.body() or "{}")
    except ValueError as error:
        raise Refusal(400, "PARAMETERS.INVALID_TYPE", "The body is not JSON.") from error
    return body if isinstance(body, dict) else {}


async def _shipment_input(request: Request) -> Json:
    values = (await _body(request)).get("shipment")
    if not values or not isinstance(values, dict):
        blank = {"field": "shipment", "message": "cannot be blank"}
        raise Refusal(422, "PARAMETER.REQUIRED", "Missing required parameter.", [blank])
    try:
        return ShipmentInput.model_validate(values).model_dump()
    except ValidationError as error:
        errors = [{"field": ".".join(map(str, e["loc"])), "message": e["msg"]} for e in error.errors()]
        raise Refusal(422, "SHIPMENT.INVALID_PARAMS", "Unable to create shipment.", errors) from error


def _check_address(address: Json) -> None:
    if address["country"] == REFUSED_COUNTRY or address["zip"] == REFUSED_ZIP:
        wrong: Json = {"code": "E.ADDRESS.NOT_FOUND", "field": "address", "message": "Address not found"}
        raise Refusal(422, *REFUSALS["create"], [wrong | {"suggestion": None}])


def _find(request: Request, shipment_id: str) -> Json:
    shipments: Shipments = request.app.state.shipments
    found = shipments.get(shipment_id)
    if found is None:
        raise Refusal(404, "NOT_FOUND", "The requested resource could not be found.")
    return found


def _store(request: Request, shipment: Json) -> Json:
    shipments: Shipments = request.app.state.shipments
    return shipments.put(shipment)


def _one_line(address: Json) -> str:
    return escape(
        ", ".join(
            address[part]
            for part in ("name", "company", "street1", "street2", "city", "zip", "country")
            if address[part]
        )
    )


async def _refused(_request: Request, refusal: Exception) -> JSONResponse:
    assert isinstance(refusal, Refusal)
    return JSONResponse(refusal.body, refusal.status)


async def _no_route(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return await _refused(_request, Refusal(error.status_code, "NOT_FOUND", error.detail))


ROUTES = APIRouter()  # built once, not once for each app
for _router in (api, control, labels_in_use.control):
    ROUTES.include_router(_router)


def create_app(data_dir: Path) -> FastAPI:
    """Return the app of the carrier; its shipments are stored in this folder."""
    shipments = Shipments(data_dir)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        shipments.close()

    app = FastAPIOffline(
        title="Embedded carrier",
        routes=ROUTES.routes,
        lifespan=lifespan,
        exception_handlers={Refusal: _refused, HTTPException: _no_route},
    )
    app.state.shipments, app.state.faults = shipments, Faults()
    app.state.refund_decision = labels_in_use.REFUNDED
    return app


def running(data_dir: Path, port: int, host: str = LOOPBACK) -> AbstractAsyncContextManager[str]:
    """Serve the carrier during the block; yields its URL. Raises OSError."""
    app = create_app(data_dir)
    app.add_middleware(BrowserGuard, host=host)
    return serving(app, port, host, http=CuttableProtocol)


def main() -> None:
    """Run the carrier as a process."""
    arguments = parse_arguments("The embedded carrier, a copy of EasyPost's shipments API.", "--data-dir")
    run("carrier", lambda: serve_until_stopped(running(*arguments)))


if __name__ == "__main__":
    main()
