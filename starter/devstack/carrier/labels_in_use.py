"""Routes that control what becomes of the embedded carrier's labels after they were bought."""

from fastapi import APIRouter, Request
from pydantic import BaseModel

from starter.devstack.carrier import schemas
from starter.devstack.carrier.store import Shipments

REFUNDED = "refunded"

control = APIRouter()


class State(BaseModel):
    """What becomes of the labels of an order: the status of their trackers, or of their refunds."""

    order_id: str
    tracker: str | None = None
    refund: str | None = None


class Decision(BaseModel):
    """What becomes of refunds that are requested: `refunded`, `rejected`, or nothing yet."""

    decision: str | None


@control.post("/trial/states")
async def set_state(request: Request, state: State) -> int:
    """Let the parcels of an order be scanned, or its refunds be decided; returns the number of its labels."""
    shipments: Shipments = request.app.state.shipments
    found = shipments.of_order(state.order_id)
    for shipment in found:
        shipments.put(schemas.with_state(shipment, tracker=state.tracker, refund=state.refund))
    return len(found)


@control.post("/trial/refunds")
async def decide_refunds(request: Request, decision: Decision) -> Decision:
    """Change what becomes of refunds that are requested, as soon as somebody looks at them."""
    request.app.state.refund_decision = decision.decision
    return decision
