"""How the embedded warehouse misbehaves when told to: it refuses a question, or spoils its answer."""

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
    """One way to misbehave, so many times (null: until removed).

    No answer: `500`, `429` (with Retry-After), `cut` (the connection). `slow`: answers after so many seconds.
    `rubbish`: what is no JSON. Spoilt answers: `twice` (the token leads to the same page), `half` (every second level
    is missing), `negative` (one level is below zero), `endless` (there is always another page).
    """

    fault: Literal["500", "429", "cut", "slow", "rubbish", "twice", "half", "negative", "endless"]
    times: int | None = Field(None, ge=1)
    sku: str | None = Field(None, description="Only for questions with this SKU")
    seconds: float = Field(15, ge=0, le=600, description="How long `slow` takes, and what `429` asks to wait")

    def fits(self, skus: Collection[str]) -> bool:
        """Tell whether this fault is for a question with these SKUs."""
        return self.times != 0 and (self.sku is None or self.sku in skus)


class Faults:
    """The faults that are set; they are forgotten when the warehouse is restarted."""

    def __init__(self) -> None:
        self.all: list[Fault] = []

    def take(self, skus: Collection[str]) -> Fault | None:
        """Return the first fault that fits, used up by one time."""
        fault = next((fault for fault in self.all if fault.fits(skus)), None)
        if fault is not None and fault.times is not None:
            fault.times -= 1
        return fault


async def refusal(fault: Fault, request: Request) -> Response | None:
    """Return what is answered instead of levels; None: the question is answered, late perhaps."""
    if fault.fault == "500":
        return JSONResponse({"detail": "Something went wrong"}, 500)
    if fault.fault == "429":
        return JSONResponse({"detail": "Too many questions"}, 429, {"Retry-After": str(math.ceil(fault.seconds))})
    if fault.fault == "rubbish":
        return HTMLResponse("<!doctype html><title>Warehouse</title><p>Please log in")
    if fault.fault == "cut":
        await cut(request)
    if fault.fault == "slow":
        await asyncio.sleep(fault.seconds)
    return None


def spoil(fault: Fault, answer: Json, same: str, end: str) -> Json:
    """Return the answer as the fault leaves it; `same`, `end`: tokens of this page, and of what lies behind it."""
    levels: list[Json] = answer["levels"]
    if fault.fault == "twice":
        return answer | {"next": same}
    if fault.fault == "half":
        return answer | {"levels": levels[::2]}
    if fault.fault == "negative":
        return answer | {"levels": [level | {"on_hand": -1} for level in levels[:1]] + levels[1:]}
    if fault.fault == "endless":
        return answer | {"next": answer["next"] or f"{end}.{uuid4().hex}"}
    return answer
