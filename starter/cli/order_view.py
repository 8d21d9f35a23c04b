"""How `commerce orders show` prints an order."""

from datetime import datetime
from zoneinfo import ZoneInfo

from commerce.messages.base import count_of
from commerce.messages.order_views import Address, EventView, OrderView
from commerce.messages.return_views import ReturnView
from commerce.settings import Settings
from starter.cli.shared import out, print_line
from starter.cli.tables import Column, exact_time_text, moment_text, print_fact, print_table, time_text

LINES = (
    Column("units", right=True),
    Column("refunded", 3, right=True),
    Column("SKU", 1, flexible=True),
    Column("title", flexible=True),
    Column("price", 2, right=True),
    Column("", 1),
)
RESERVATIONS = (Column("units", right=True), Column("SKU", flexible=True), Column("location", flexible=True))
RETURNS = (
    Column("units", right=True),
    Column("back", right=True),
    Column("return"),
    Column("state", styled=True),
    Column("tracking number", 1, flexible=True),
    Column("started", 2),
)
FULFILLMENTS = (
    Column("units", right=True),
    Column("location", 1, flexible=True),
    Column("tracking number"),
    Column("carrier", 3),
    Column("state", styled=True),
    Column("created", 2),
)
HISTORY = (Column("time"), Column("what"), Column("details", 1, flexible=True))
RUNS = (
    Column("process"),
    Column("started"),
    Column("status", styled=True),
    Column("ended", 2),
    Column("failed at", 1),
    Column("with", 1),
)


def print_order(order: OrderView, settings: Settings) -> None:
    """Print an order: its facts, and tables of what belongs to it."""
    zone = settings.zone
    print_fact(order.order_id, _joined(order.status.replace("_", " "), order.hold_reason))
    print_fact("number", order.number if order.number != order.order_id else None)
    print_fact("placed", moment_text(order.created_at, zone))
    print_fact("cancelled", moment_text(order.cancelled_at, zone))
    print_fact("refused", f"for lack of stock, {moment_text(order.refused_at, zone)}" if order.refused_at else None)
    print_fact("total", _total(order, settings))
    print_fact("payment", _joined(order.payment_status.replace("_", " "), order.payment_method))
    print_fact("customer", _joined(order.customer, order.email))
    print_fact("ship to", _address(order.shipping_address))
    print_fact("by", order.shipping_method)
    print_fact("risk", order.risk_level)
    print_fact("note", order.note)
    print_fact("tags", order.tags)
    print_fact("corrected", ", ".join(order.corrected))
    _section("Lines")
    print_table(LINES, [_line(order, i, settings) for i in range(len(order.lines))])
    if order.reservations:
        _section("Reserved")
        print_table(RESERVATIONS, [(f"{each.quantity:,}", each.sku, each.location) for each in order.reservations])
    if order.fulfillments:
        _section("Parcels")
        print_table(FULFILLMENTS, [_parcel(order, i, zone) for i in range(len(order.fulfillments))])
    if order.returns:
        _section("Returns")
        print_table(RETURNS, [_return(each, zone) for each in order.returns])
    _section("Runs")
    if order.runs:
        print_table(RUNS, [_run(order, i, zone) for i in range(len(order.runs))])
    else:
        print_line(order.runs_missing or "none that Temporal still has")
    if history := _history(order):
        _section("History")
        print_table(HISTORY, [(exact_time_text(moment, zone), what, details) for moment, what, details in history])


def _section(title: str) -> None:
    print_line("")
    out.print(title, style="bold", markup=False, soft_wrap=True)


def _line(order: OrderView, index: int, settings: Settings) -> tuple[str, ...]:
    line = order.lines[index]
    remarks = [
        "has no product" if line.lacks_product else "",
        "removed" if not line.quantity and not line.refunded_quantity else "",
        "" if line.requires_shipping else "not shipped",
        f"{line.returned_quantity:,} returned" if line.returned_quantity else "",
    ]
    return (
        f"{line.quantity:,}",
        f"{line.refunded_quantity:,}" if line.refunded_quantity else "",
        line.sku,
        line.title,
        money_text(line.unit_price, order.currency, settings),
        _joined(*remarks),
    )


def _parcel(order: OrderView, index: int, zone: ZoneInfo) -> tuple[str, ...]:
    parcel = order.fulfillments[index]
    state = "cancelled" if parcel.cancelled_at else "completed" if parcel.completed_at else "running"
    return (
        f"{parcel.units:,}",
        parcel.location or "",
        parcel.tracking_number or "",
        parcel.carrier or "",
        state,
        time_text(parcel.created_at, zone),
    )


def _return(each: ReturnView, zone: ZoneInfo) -> tuple[str, ...]:
    return (
        f"{sum(line.quantity for line in each.lines):,}",
        f"{sum(line.received or 0 for line in each.lines):,}" if each.received_at else "",
        each.return_id,
        each.state,
        each.tracking_number or "",
        time_text(each.created_at, zone),
    )


def _run(order: OrderView, index: int, zone: ZoneInfo) -> tuple[str, ...]:
    run = (order.runs or [])[index]
    status = _joined(*dict.fromkeys((run.status, run.outcome or run.state)))
    return (
        run.type,
        time_text(run.started_at, zone),
        status,
        time_text(run.ended_at, zone),
        run.failed_step or "",
        run.failure_type or "",
    )


def _history(order: OrderView) -> list[tuple[datetime, str, str]]:
    """Return what has happened to the order, latest first."""
    events = ((event.created_at, event.type, _event_details(event)) for event in order.events)
    mails = (
        (mail.sent_at or mail.created_at, f"mail {mail.kind}", _joined(mail.status, mail.error)) for mail in order.mails
    )
    waits = (
        (
            wait.answered_at or wait.asked_at,
            wait.step,
            _joined(wait.answer or "waits for an answer", wait.answered_by, wait.reason),
        )
        for wait in order.answers
    )
    actions = ((action.created_at, action.action, _joined(action.actor, action.reason)) for action in order.actions)
    found = [*events, *mails, *waits, *actions]
    return sorted(found, key=lambda entry: entry[0], reverse=True)


def _event_details(event: EventView) -> str:
    """Return the fields that have changed, or what was short of stock."""
    short = (f"{item['sku']}: {item['available']} of {item['requested']}" for item in event.data.get("items", []))
    return _joined(*event.data.get("fields", []), *short)


def _joined(*parts: str | None) -> str:
    return ", ".join(filter(None, parts))


def _total(order: OrderView, settings: Settings) -> str:
    parts = {
        "shipping": order.shipping_total,
        "discount": order.discount_total,
        "tax": order.tax_total,
        "refunded": order.refunded_total,
        "outstanding": order.outstanding_total or 0,
    }
    details = ", ".join(
        f"{name} {money_text(amount, order.currency, settings)}" for name, amount in parts.items() if amount
    )
    total = money_text(order.total, order.currency, settings)
    return f"{total} for {count_of(order.units, 'unit')}" + (f" ({details})" if details else "")


def _address(address: Address) -> str:
    fields = ("name", "company", "address1", "address2", "city", "zip", "province", "country", "phone")
    return _joined(*(getattr(address, field) for field in fields))


def money_text(amount: int, currency: str, settings: Settings) -> str:
    """Return an amount of minor units in the format of the shop."""
    from commerce.formats import Formats

    return Formats(settings.locale).money(amount, currency)
