"""Responses of the embedded payment provider: once per idempotency key, with the fault that applies, or a refusal."""

import asyncio
from collections.abc import Callable

from fastapi import Request
from fastapi.responses import JSONResponse

from starter.devstack.carrier.faults import cut
from starter.devstack.payments.faults import Fault, Operation
from starter.devstack.payments.schemas import Json
from starter.devstack.payments.store import Payments, Stored

TYPES = {401: "invalid_request_error", 402: "card_error", 429: "invalid_request_error", 500: "api_error"}


class Refusal(Exception):
    """An error response of the API. Private to this package: a handler turns it into a response."""

    def __init__(self, status: int, code: str, message: str, kind: str = "invalid_request_error") -> None:
        super().__init__(code)
        self.status = status
        self.body: Json = {"error": {"type": kind, "code": code, "message": message}}


async def respond(request: Request, operation: Operation, payment_id: str, work: Callable[[], Json]) -> JSONResponse:
    """Carry out an operation, once per idempotency key, with the fault that applies to it."""
    key, payments = request.headers.get("Idempotency-Key"), payments_of(request)
    wanted = f"{request.url.path} {(await request.body()).decode()}"
    if key and (stored := payments.stored(key)):
        if stored.request != wanted:
            message = (
                "Keys for idempotent requests can only be used with the same parameters they were first used with."
            )
            raise Refusal(400, "idempotency_error", message, "idempotency_error")
        return JSONResponse(stored.body, stored.status, {"Idempotent-Replayed": "true"})
    fault = request.app.state.faults.take(operation, payment_id)
    kind = fault.fault if fault else None
    if kind == "slow":
        await asyncio.sleep(fault.seconds)
    status, body = _carry_out(fault, work)
    if key and (status < 400 or status >= 500):
        payments.store(key, Stored(wanted, status, body))
    if kind == "cut":
        await cut(request)
    return JSONResponse(body, status)


def _carry_out(fault: Fault | None, work: Callable[[], Json]) -> tuple[int, Json]:
    """Return status and body of the response to an operation."""
    kind, message = (fault.fault, fault.message) if fault else (None, "")
    status = int(kind) if kind and kind.isdecimal() else 200
    if status == 200:
        try:
            body = work()
        except Refusal as refusal:
            return refusal.status, refusal.body
        if kind != "done_500":
            return status, body
        status = 500
    code = "card_declined" if status == 402 else "lock_timeout" if status == 429 else "error"
    return status, Refusal(status, code, message, TYPES.get(status, "api_error")).body


async def refused(_request: Request, refusal: Exception) -> JSONResponse:
    """Return the response that a Refusal is."""
    assert isinstance(refusal, Refusal)
    return JSONResponse(refusal.body, refusal.status)


def payments_of(request: Request) -> Payments:
    """Return the objects of the provider that has got this request."""
    payments: Payments = request.app.state.payments
    return payments
