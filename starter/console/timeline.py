"""The story of an order, told from what is stored about it: one list of entries, oldest first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import quote

from commerce.formats import Formats
from commerce.messages.base import count_of
from commerce.messages.order_views import OrderView
from commerce.messages.payments import AT_SHOP
from commerce.messages.runs import ProcessStatus, StepStatus
from commerce.settings import Settings
from starter.console.sessions import PATH
from starter.console.texts import duration, is_web_address, words

ACTIONS: Mapping[str, str] = {
    "edit": "corrected the order",
    "hold": "put the order on hold",
    "release": "released the order",
    "retry": "retried the process",
    "cancel": "stopped the process",
    "cancel-order": "cancelled the order",
    "return-order": "started a return",
    "dismiss": "dismissed the failure",
}
EVENTS: Mapping[str, str] = {
    "order.placed": "Taken in",
    "order.updated": "Changed",
    "order.cancelled": "Cancelled",
    "order.fulfilled": "Fulfilled",
    "order.returned": "Return completed",
    "order.insufficient_inventory": "Not enough stock",
}
EVENT_TONES: Mapping[str, str] = {
    "order.fulfilled": "good",
    "order.returned": "warn",
    "order.cancelled": "bad",
    "order.insufficient_inventory": "warn",
}
STEP_TONES: Mapping[str, str] = {
    "running": "busy",
    "waiting": "warn",
    "done": "good",
    "failed": "bad",
    "undo_failed": "bad",
    "undone": "warn",
}
REFUND_WORDS: Mapping[str, str] = {"due": "is due", "pending": "is pending", "made": "made"}
LISTED = 5  # SKUs that are missing
STEP_WORDS: Mapping[str, str] = {"undone": "undone", "undo_failed": "could not be undone", "failed": "failed"}


class Link(NamedTuple):
    """A link of an entry."""

    text: str
    url: str


@dataclass(frozen=True)
class Entry:
    """Something that has happened, or is about to happen if `time` is None. `tone` colours it."""

    time: datetime | None
    title: str
    tone: str = "calm"
    details: Sequence[str] = ()
    links: Sequence[Link] = field(default=())


def tell(order: OrderView, processes: Sequence[ProcessStatus], settings: Settings) -> list[Entry]:
    """Return the entries of an order's timeline; steps that are still to come are last."""
    entries = [
        *_order(order),
        *_pruned(order, settings),
        *_runs(order, processes),
        *_steps(processes),
        *_parcels(order),
        *_picks(order),
        *_payments(order, Formats(settings.locale)),
        *_returns(order),
        *_answers(order),
        *_mails(order),
        *_actions(order),
    ]
    happened = sorted((entry.time, index) for index, entry in enumerate(entries) if entry.time)
    return [entries[index] for _, index in happened] + [entry for entry in entries if entry.time is None]


def _order(order: OrderView) -> Iterator[Entry]:
    yield Entry(order.created_at, f"Placed at {order.source}")
    for event in order.events:
        details = []
        if event.type == "order.updated" and (fields := event.data.get("fields")):
            details.append(", ".join(words(str(name)) for name in fields))
        if event.published_at is None:
            details.append("not published yet")
        title = EVENTS.get(event.type, event.type)
        yield Entry(event.created_at, title, EVENT_TONES.get(event.type, "calm"), details)


def _pruned(order: OrderView, settings: Settings) -> Iterator[Entry]:
    """Say what was deleted because of its age."""
    now = datetime.now(UTC)
    kept = {"Events": settings.keep_events_days, "Mails": settings.keep_notifications_days}
    if any(event.type == "order.placed" for event in order.events):  # the first one is still there
        del kept["Events"]
    for what, days in kept.items():
        if order.created_at < (since := now - timedelta(days=days)):
            yield Entry(
                since, f"{what} from before this day have been deleted", details=[f"They are kept {days} days."]
            )
    if order.runs == [] and order.created_at < now - timedelta(days=1) and order.status == "fulfilled":
        yield Entry(order.created_at, "Its runs are not known", details=["Temporal keeps runs for a limited time."])


def _runs(order: OrderView, processes: Sequence[ProcessStatus]) -> Iterator[Entry]:
    shown = {process.run_id: process for process in processes}
    runs = {run.run_id: run for run in order.runs or []} | shown
    for run_id, run in runs.items():
        links = [Link("Run in Temporal", url)] if run_id in shown and (url := shown[run_id].ui_url) else []
        yield Entry(run.started_at, f"{run.type}: run started", details=[], links=links)
        if run.ended_at is None:
            continue
        details = [duration(run.ended_at - run.started_at)]
        if run.failed_step:
            details.append(f"at step {run.failed_step}")
        if run_id in shown and (error := shown[run_id].error):
            details.append(error)
        elif run.failure_type:
            details.append(run.failure_type)
        tone = {"completed": "good", "cancelled": "warn"}.get(run.status, "bad")
        outcome = f" ({words(run.outcome)})" if run.outcome else ""
        yield Entry(run.ended_at, f"{run.type}: run {words(run.status)}{outcome}", tone, details)


def _steps(processes: Sequence[ProcessStatus]) -> Iterator[Entry]:
    for process in processes:
        for step in process.progress.steps if process.progress else ():
            if step.state == "skipped" or (step.scheduled_at is None and process.status != "running"):
                continue
            yield _step(step)


def _step(step: StepStatus) -> Entry:
    details = [text for text in (step.note, step.error) if text]
    if step.attempts > 1:
        details.append(f"{step.attempts} attempts")
    if step.state == "waiting" and step.until:
        details.append("waits for an answer")
    if step.scheduled_at and step.ended_at:
        details.append(duration(step.ended_at - step.scheduled_at))
    outcome = f" {STEP_WORDS[step.state]}" if step.state in STEP_WORDS else ""
    tone = "bad" if step.error and step.state == "undone" else STEP_TONES.get(step.state, "calm")
    return Entry(step.scheduled_at, f"{step.name}{outcome}", tone, details)


def _parcels(order: OrderView) -> Iterator[Entry]:
    for parcel in order.fulfillments:
        number = f" {parcel.tracking_number}" if parcel.tracking_number else ""
        links = [Link("Label", parcel.label_url)] if is_web_address(parcel.label_url) and parcel.label_url else []
        if parcel.completed_at and (parcel.carrier or number):
            yield Entry(
                parcel.completed_at,
                f"Shipped with {parcel.carrier or 'the carrier'}{number}",
                "good",
                [f"from {parcel.location}"] if parcel.location else [],
                links,
            )
        if parcel.cancelled_at:
            yield Entry(parcel.cancelled_at, f"Parcel{number} taken back", "warn")


def _picks(order: OrderView) -> Iterator[Entry]:
    for pick in order.picks:
        units = count_of(sum(line.quantity for line in pick.lines), "unit")
        place = [f"at {pick.location}"] if pick.location else []
        again = [f"round {pick.round}"] if pick.round > 1 else []
        yield Entry(pick.created_at, f"The warehouse was asked to pick {units}", details=[*place, *again])
        if pick.answered_at:
            missing = [f"{line.missing} × {line.sku} missing" for line in pick.lines if line.missing]
            more = [f"and {len(missing) - LISTED} more SKUs"] if len(missing) > LISTED else []
            title = "Picked, but not everything was found" if missing else "Everything was picked"
            yield Entry(pick.answered_at, title, "warn" if missing else "good", [*missing[:LISTED], *place, *more])
        if pick.withdrawn_at:
            yield Entry(pick.withdrawn_at, f"The pick of {units} was withdrawn", "warn", place)


def _payments(order: OrderView, formats: Formats) -> Iterator[Entry]:
    for capture in order.captures:
        amount = formats.money(capture.amount, order.currency)
        by = [f"at {capture.provider}"] if capture.ours else [f"at {capture.provider}", "not by this shop"]
        yield Entry(capture.captured_at, f"{amount} captured", "good", by)
    for refund in order.refunds:
        place = "the shop" if refund.provider == AT_SHOP else refund.provider
        title = f"Refund of {formats.money(refund.amount, order.currency)} {REFUND_WORDS[refund.state]}"
        tone = {"made": "good", "pending": "busy"}.get(refund.state, "warn")
        yield Entry(refund.made_at or refund.created_at, title, tone, [f"at {place}"])


def _returns(order: OrderView) -> Iterator[Entry]:
    for each in order.returns:
        units = count_of(sum(line.quantity for line in each.lines), "unit")
        number = [f"with {each.carrier or 'the carrier'} {each.tracking_number}"] if each.tracking_number else []
        links = [Link("Label", each.label_url)] if each.label_url and is_web_address(each.label_url) else []
        yield Entry(each.created_at, f"Return of {units} registered", "calm", number, links)
        if each.received_at:
            back, sellable = (sum(getattr(line, name) or 0 for line in each.lines) for name in ("received", "sellable"))
            yield Entry(each.received_at, f"{count_of(back, 'unit')} came back", "good", [f"{sellable:,} sellable"])
        if each.state == "closed" and each.ended_at:
            yield Entry(each.ended_at, f"Return of {units} closed", "warn", ["the goods did not come back"])


def _answers(order: OrderView) -> Iterator[Entry]:
    for wait in order.answers:
        yield Entry(wait.asked_at, f"{wait.step}: a person was asked")
        if wait.answer:
            by = f" by {wait.answered_by}" if wait.answered_by else ""
            yield Entry(
                wait.answered_at or wait.until,
                f"{wait.step}: answered {wait.answer}{by}",
                {"success": "good", "retry": "calm"}.get(wait.answer, "warn"),
                [wait.reason] if wait.reason else [],
            )


def _mails(order: OrderView) -> Iterator[Entry]:
    for mail in order.mails:
        details = [text for text in (mail.error,) if text]
        if mail.attempts > 1:
            details.append(f"{mail.attempts} attempts")
        tone = {"sent": "good", "failed": "bad"}.get(mail.status, "busy")
        links = [Link("Mail", f"{PATH}/mails/mail?key={quote(mail.key, safe='')}")]
        yield Entry(mail.sent_at or mail.created_at, f"Mail {mail.kind} {mail.status}", tone, details, links)


def _actions(order: OrderView) -> Iterator[Entry]:
    for action in order.actions:
        done = ACTIONS.get(action.action, words(action.action))
        yield Entry(
            action.created_at,
            f"{action.actor or 'somebody'} {done}",
            details=[f"“{action.reason}”"] if action.reason else [],
        )
