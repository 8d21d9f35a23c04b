"""What callers who may not see personal data get instead of it."""

from commerce.messages.order_views import Address, OrderView
from commerce.messages.orders import TRACKING_NOTE
from commerce.messages.return_views import ReturnView
from commerce.messages.runs import ProcessStatus, RunProgress
from commerce.messages.schedules import JobSchedule
from commerce.queries.masking import mask_address, mask_name
from starter.api.callers import Caller


def order_for(caller: Caller, order: OrderView) -> OrderView:
    """Return an order as the caller may see it.

    Masked are names and e-mail address; of addresses the country and province remain. Texts that people wrote and what
    leads to a parcel, whose carrier shows where it goes, are left out.
    """
    if caller.sees_personal_data:
        return order
    return order.model_copy(
        update={
            "customer": mask_name(order.customer),
            "email": mask_address(order.email),
            "note": None,
            "tags": None,
            "shipping_address": _masked(order.shipping_address),
            "billing_address": _masked(order.billing_address),
            "fulfillments": [
                parcel.model_copy(update={"tracking_number": None, "label_url": None}) for parcel in order.fulfillments
            ],
            "returns": [return_for(caller, each) for each in order.returns],
            "answers": [answer.model_copy(update={"reason": None}) for answer in order.answers],
            "actions": [action.model_copy(update={"reason": ""}) for action in order.actions],
        }
    )


def return_for(caller: Caller, found: ReturnView) -> ReturnView:
    """Return a return as the caller may see it: without what leads to its parcel."""
    hidden = {"tracking_number": None, "label_url": None}
    return found if caller.sees_personal_data else found.model_copy(update=hidden)


def process_for(caller: Caller, status: ProcessStatus) -> ProcessStatus:
    """Return a process as the caller may see it: its result may hold names and addresses, and notes lead to parcels."""
    if caller.sees_personal_data:
        return status
    return status.model_copy(update={"result": None, "progress": status.progress and _without_parcels(status.progress)})


def schedule_for(caller: Caller, schedule: JobSchedule) -> JobSchedule:
    """Return a schedule as the caller may see it: the reason of its pause is a text that a person wrote."""
    return schedule if caller.sees_personal_data else schedule.model_copy(update={"note": ""})


def _without_parcels(progress: RunProgress) -> RunProgress:
    steps = [
        step.model_copy(update={"note": ""}) if step.note.startswith(TRACKING_NOTE) else step for step in progress.steps
    ]
    return progress.model_copy(update={"steps": steps})


def _masked(address: Address) -> Address:
    return Address(name=mask_name(address.name), province=address.province, country=address.country)
