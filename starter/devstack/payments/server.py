"""The embedded payment provider: a small copy of Stripe's API, so that the shop runs without an account.

    python -m starter.devstack.payments --data-dir D --port P

It has payment intents (retrieve, capture, cancel) and refunds (create, retrieve, list), `Idempotency-Key` with stored
responses, and Stripe's error bodies. It accepts any key as the bearer token.

Routes that control it, described in `/docs`:
POST /trial/payments   {"id": "pi_1", "amount": 250, "currency": "gbp", "status": "succeeded"}: a customer has paid
GET /trial/payments/ID the payment intent, its refunds, and the sum of those that have not failed
POST /trial/payments/ID {"status": "canceled"}: changes a payment intent, as Stripe does when an authorization expires
POST /trial/refunds/ID {"status": "failed"}: changes a refund, as a bank does
POST /trial/faults     {"operation": "retrieve" | "capture" | "cancel" | "refund" | "list",
                        "fault": "401" | "402" | "403" | "409" | "424" | "429" | "500" | "503" | "done_500" | "cut" |
                        "slow", "times": 1, "payment_intent": null, "seconds": 15, "message": "what it says"}
GET, DELETE /trial/faults
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline

from starter.devstack.carrier.faults import CuttableProtocol
from starter.devstack.payments import schemas
from starter.devstack.payments.faults import Fault, Faults
from starter.devstack.payments.responses import Refusal, payments_of, refused, respond
from starter.devstack.payments.schemas import Json, NewPayment
from starter.devstack.payments.store import Payments
from starter.devstack.serving import LOOPBACK, BrowserGuard, parse_arguments, run, serve_until_stopped, serving

MAX_PAGE = 100
KINDS = {"payments": "payment_intent", "refunds": "refund"}  # of objects, by route


async def require_key(
    key: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))],
) -> None:
    """Refuse a request without an API key."""
    if key is None or not key.credentials:
        raise Refusal(401, "api_key_missing", "You did not provide an API key.")


api = APIRouter(prefix="/v1", dependencies=[Depends(require_key)])
control = APIRouter(prefix="/trial")


@api.get("/payment_intents/{payment_id}")
async def retrieve(request: Request, payment_id: str) -> JSONResponse:
    """Return a payment intent."""
    return await respond(request, "retrieve", payment_id, lambda: _intent(request, payment_id))


@api.post("/payment_intents/{payment_id}/capture")
async def capture(request: Request, payment_id: str) -> JSONResponse:
    """Capture a payment intent, once."""
    form = await _form(request)

    def change() -> Json:
        intent = _intent(request, payment_id)
        amount = int(form.get("amount_to_capture") or intent["amount_capturable"])
        if intent["status"] != "requires_capture":
            raise Refusal(400, "payment_intent_unexpected_state", "This PaymentIntent could not be captured.")
        if amount > intent["amount_capturable"]:
            raise Refusal(400, "amount_too_large", "The amount is more than can be captured.")
        return payments_of(request).put(schemas.captured(intent, amount))

    return await respond(request, "capture", payment_id, change)


@api.post("/payment_intents/{payment_id}/cancel")
async def cancel(request: Request, payment_id: str) -> JSONResponse:
    """Cancel a payment intent that was not captured."""

    def change() -> Json:
        intent = _intent(request, payment_id)
        if intent["status"] in ("succeeded", "canceled"):
            raise Refusal(400, "payment_intent_unexpected_state", "This PaymentIntent could not be cancelled.")
        return payments_of(request).put(schemas.cancelled(intent))

    return await respond(request, "cancel", payment_id, change)


@api.post("/refunds")
async def refund(request: Request) -> JSONResponse:
    """Refund a payment intent, at most what was captured of it."""
    form = await _form(request)
    payment_id = form.get("payment_intent", "")

    def change() -> Json:
        intent = _intent(request, payment_id)
        left = intent["amount_received"] - _refunded(payments_of(request).refunds(payment_id))
        amount = int(form.get("amount") or left)
        if intent["status"] != "succeeded":
            raise Refusal(400, "payment_intent_unexpected_state", "This PaymentIntent has no successful charge.")
        if left == 0:
            raise Refusal(400, "charge_already_refunded", "The charge has already been refunded.")
        if amount > left:
            raise Refusal(400, "amount_too_large", "Refund amount is greater than unrefunded amount on charge.")
        names = {
            name: name.removeprefix("metadata[").removesuffix("]") for name in form if name.startswith("metadata[")
        }
        metadata = {name: form[field] for field, name in names.items()}
        return payments_of(request).put(schemas.new_refund(intent, amount, metadata))

    return await respond(request, "refund", payment_id, change)


@api.get("/refunds")
async def list_refunds(
    request: Request, payment_intent: str, limit: int = 10, starting_after: str | None = None
) -> JSONResponse:
    """List the refunds of a payment intent, newest first."""

    def page() -> Json:
        found = payments_of(request).refunds(payment_intent)
        ids = [each["id"] for each in found]
        found = found[ids.index(starting_after) + 1 :] if starting_after in ids else found
        size = min(limit, MAX_PAGE)
        return {"object": "list", "url": "/v1/refunds", "data": found[:size], "has_more": len(found) > size}

    return await respond(request, "list", payment_intent, page)


@api.get("/refunds/{refund_id}")
async def retrieve_refund(request: Request, refund_id: str) -> JSONResponse:
    """Return a refund."""
    return JSONResponse(_find(request, refund_id, "refund"))


@control.post("/payments")
async def add_payment(request: Request, payment: NewPayment) -> Json:
    """Let a customer pay."""
    return payments_of(request).put(schemas.new_payment_intent(payment))


@control.get("/payments/{payment_id}")
async def payment(request: Request, payment_id: str) -> Json:
    """Return a payment intent, its refunds, and their sum."""
    refunds = payments_of(request).refunds(payment_id)
    return {"payment": _intent(request, payment_id), "refunds": refunds, "refunded": _refunded(refunds)}


@control.post("/{kind}/{object_id}")
async def change(request: Request, kind: Literal["payments", "refunds"], object_id: str, values: Json) -> Json:
    """Change a payment intent, as Stripe does when its authorization expires, or a refund, as a bank does."""
    return payments_of(request).put(_find(request, object_id, KINDS[kind]) | values)


@control.post("/faults")
async def add_fault(request: Request, fault: Fault) -> list[Fault]:
    """Inject a fault; the first fault that applies is used, in the order in which they were added."""
    faults: Faults = request.app.state.faults
    faults.all.append(fault)
    return faults.all


@control.get("/faults")
async def list_faults(request: Request) -> list[Fault]:
    """Return the faults, with the times that are left."""
    faults: Faults = request.app.state.faults
    return faults.all


@control.delete("/faults", status_code=204)
async def clear_faults(request: Request) -> None:
    """Remove all faults."""
    request.app.state.faults.all.clear()


async def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))


def _intent(request: Request, payment_id: str) -> Json:
    return _find(request, payment_id, "payment_intent")


def _find(request: Request, object_id: str, kind: str) -> Json:
    found = payments_of(request).get(object_id)
    if found is None or found["object"] != kind:
        raise Refusal(404, "resource_missing", f"No such {kind}.")
    return found


def _refunded(refunds: list[Json]) -> int:
    return sum(int(each["amount"]) for each in refunds if each["status"] not in ("failed", "canceled"))


ROUTES = APIRouter()  # built once, not once for each app
for _router in (api, control):
    ROUTES.include_router(_router)


def create_app(data_dir: Path) -> FastAPI:
    """Return the app of the payment provider; its objects are stored in this folder."""
    payments = Payments(data_dir)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        payments.close()

    app = FastAPIOffline(
        title="Embedded payment provider",
        routes=ROUTES.routes,
        lifespan=lifespan,
        exception_handlers={Refusal: refused},
    )
    app.state.payments, app.state.faults = payments, Faults()
    return app


def running(data_dir: Path, port: int, host: str = LOOPBACK) -> AbstractAsyncContextManager[str]:
    """Serve the payment provider during the block; yields its URL. Raises OSError."""
    app = create_app(data_dir)
    app.add_middleware(BrowserGuard, host=host)
    return serving(app, port, host, http=CuttableProtocol)


def main() -> None:
    """Run the payment provider as a process."""
    arguments = parse_arguments("The embedded payment provider, a copy of Stripe's API.", "--data-dir")
    run("payments", lambda: serve_until_stopped(running(*arguments)))


if __name__ == "__main__":
    main()
