"""Parts of `order-processing`: plan the parcels of an order and their labels, and let the warehouse pick its goods."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import to_failure
    from activities.fulfillment import FulfillmentActivities
    from activities.picks import PickActivities
    from commerce.errors import InsufficientInventory
    from commerce.messages.notifications import Alert
    from commerce.messages.orders import (
        CreatedFulfillment,
        FulfillmentRequest,
        LabelRequest,
        OrderRef,
        Reserved,
        ValidOrder,
    )
    from commerce.messages.picks import Picked, PickRequest, RecordedShortPick, ShortPick
    from workflows.engine.calls import Method, name_of
    from workflows.engine.policies import OUTSIDE_STEP
    from workflows.engine.saga import Saga


def fulfillment_request(order: OrderRef, reserved: Reserved) -> tuple[FulfillmentRequest, Method]:
    """Return the input of `create-fulfillment` and its undo."""
    # Workers of an older version cannot continue a run with this patch: they would buy only one of its labels.
    several = reserved.locations > 1 and workflow.patched("fulfillment-per-location")
    cancel = FulfillmentActivities.cancel_all if several else FulfillmentActivities.cancel
    return FulfillmentRequest(**dict(order), per_location=several), cancel


async def pick(
    saga: Saga, order: OrderRef, created: CreatedFulfillment, *, until: timedelta, remind: Alert
) -> RecordedShortPick | None:
    """Wait until the warehouse has picked the goods (K1); return what was short, if the rest ships all the same.

    `until`: how long; `remind`: the alert while there is no answer. Raises ApplicationError: InsufficientInventory, and
    what a wait does.
    """
    if not created.units:
        saga.skip(PickActivities.request, "nothing to pick")
        return None
    parts = [part.fulfillment_id for part in created.parts] or [created.fulfillment_id]
    picked = await saga.wait(
        PickActivities.request,
        PickRequest(**dict(order), fulfillment_ids=parts),
        answer=Picked,
        until=until,
        undo=PickActivities.withdraw,
        policy=OUTSIDE_STEP,
        remind=remind,
    )
    if not picked.missing:
        return None
    saga.plan([name_of(PickActivities.record_short)], after=name_of(PickActivities.request))
    recorded = await saga.step(PickActivities.record_short, ShortPick(**dict(order), missing=picked.missing))
    if not recorded.ships:
        raise to_failure(InsufficientInventory(recorded.items, recorded.count))
    return recorded


def parcels(
    saga: Saga, order: OrderRef, valid: ValidOrder, created: CreatedFulfillment, short: RecordedShortPick | None
) -> dict[str, LabelRequest]:
    """Return the labels to buy, by name of the step: each is a step of its own (V15).

    Fulfillments of which a short pick has left nothing to ship get none.
    """
    first, empty = name_of(FulfillmentActivities.create_label), short.empty if short else []
    to_ship: list[str | None] = [part.fulfillment_id for part in created.parts if part.needs_label]
    left = [each for each in to_ship or [None] if (each or created.fulfillment_id) not in empty]
    if not (valid.needs_label and left):
        saga.skip(FulfillmentActivities.create_label, "nothing to ship")
        return {}
    requests = [LabelRequest(**dict(order), fulfillment_id=each) for each in left]
    names = [first, *(f"{first}/{number}" for number in range(2, len(requests) + 1))]
    saga.plan(names, after=first)
    return dict(zip(names, requests, strict=True))
