"""Faults of the embedded warehouse: it fails a request, or corrupts the page that it returns."""

import asyncio
import math
from collections.abc import Collection
from typing import Literal
from uuid import uuid4

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, Field

from starter.devstack.carrier.faults import cut
from starter.devstack.warehouse.schemas import Json


class Fault(BaseModel):
    """A fault to inject, `times` times (null: until it is removed).

    Failed requests: `500`, `429` (with Retry-After), `cut` (the connection is cut), `slow` (responds after `seconds`),
    `rubbish` (responds with HTML). Corrupted pages: `twice` (the token leads to the same page), `half` (every second
    level is missing), `negative` (one level is below zero), `endless` (there is always another page).
    """

    fault: Literal["500", "429", "cut", "slow", "rubbish", "twice", "half", "negative", "endless"]
    times: int | None = Field(None, ge=1)
    sku: str | None = Field(None, description="Only for requests with this SKU")
    seconds: float = Field(15, ge=0, le=600, description="How long `slow` takes, and the Retry-After of `429`")

    def applies_to(self, skus: Collection[str]) -> bool:
        """Return whether to inject this fault into a request for these SKUs."""
        return self.times != 0 and (self.sku is None or self.sku in skus)


class Faults:
    """The faults to inject, in memory only."""

    def __init__(self) -> None:
        self.all: list[Fault] = []

    def take(self, skus: Collection[str]) -> Fault | None:
        """Return the first fault that applies, and count it down."""
        fault = next((fault for fault in self.all if fault.applies_to(skus)), None)
        if fault is not None and fault.times is not None:
            fault.times -= 1
        return fault


async def failed_response(fault: Fault, request: Request) -> Response | None:
    """Return the response of a request that this fault fails, or None (after a delay for `slow`)."""
    if fault.fault == "500":
        return JSONResponse({"detail": "Something went wrong"}, 500)
    if fault.fault == "429":
        return JSONResponse({"detail": "Too many requests"}, 429, {"Retry-After": str(math.ceil(fault.seconds))})
    if fault.fault == "rubbish":
        return HTMLResponse("<!doctype html><title>Warehouse</title><p>Please log in")
    if fault.fault == "cut":
        await cut(request)
    if fault.fault == "slow":
        await asyncio.sleep(fault.seconds)
    return None


def corrupt(fault: Fault, page: Json, token: str, end: str) -> Json:
    """Return a page as the fault corrupts it; `token` is its own token, `end` the token of the page after it."""
    levels: list[Json] = page["levels"]
    if fault.fault == "twice":
        return page | {"next": token}
    if fault.fault == "half":
        return page | {"levels": levels[::2]}
    if fault.fault == "negative":
        return page | {"levels": [level | {"on_hand": -1} for level in levels[:1]] + levels[1:]}
    if fault.fault == "endless":
        return page | {"next": page["next"] or f"{end}.{uuid4().hex}"}
    return page
