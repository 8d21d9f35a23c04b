"""The first page: what is going on, what needs somebody, and how the last days went."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from starlette.responses import Response

from commerce.errors import BadInput, CommerceError
from commerce.formats import Formats
from commerce.messages.base import FieldError
from commerce.messages.report_views import DailyReport
from commerce.messages.returns import AWAIT
from commerce.messages.runs import Page, StatusFilter
from commerce.messages.schedules import JobSchedule
from commerce.queries.reports import list_reports
from commerce.queries.today import MOST, Counts, count_today
from starter.api.callers import Role, requires
from starter.console.charts import Bar
from starter.console.checks import Checks, Remark
from starter.console.listing import process_path
from starter.console.processes import orders_of
from starter.console.sessions import PATH
from starter.console.views import View, ViewDep
from starter.doctor.checks import CHECKS
from starter.doctor.runner import CheckContext, run_checks
from starter.operate.audit import audit
from starter.operate.process_list import Narrowing, list_processes
from starter.operate.worker_presence import is_worker_polling
from starter.processes import TASK_QUEUE
from starter.schedules.queries import list_schedules

T = TypeVar("T")
DAYS, FEWEST_DAYS = 30, 7  # of the charts
READ = 5 * DAYS  # figures, of which a day has one per currency
LISTED = 8  # processes of each kind
FRESH_SECONDS = 4.0  # what was read is shown to everybody who looks within this time
TEMPORAL_SECONDS = 5.0  # for Temporal to answer; the rest of the page does not wait longer

routes = APIRouter()


@dataclass(frozen=True)
class Snapshot:
    """What the page shows, as read at one time. What Temporal knows is None if it does not answer; `missing`: why."""

    taken_at: float
    counts: Counts
    reports: Sequence[DailyReport]
    stuck: Page | None
    failed: Page | None
    waiting: Page | None
    order_of: Mapping[str, str]  # by process
    schedules: Sequence[JobSchedule] | None
    has_worker: bool | None
    missing: str = ""


class Snapshots:
    """Reads the state of the shop at most once in FRESH_SECONDS, however many people look."""

    def __init__(self) -> None:
        self._last: Snapshot | None = None
        self._reading = asyncio.Lock()

    async def get(self, view: View) -> Snapshot:
        """Return the state of the shop. Raises DatabaseUnavailable."""
        async with self._reading:
            if self._last is None or time.monotonic() - self._last.taken_at > FRESH_SECONDS:
                self._last = await _read(view)
            return self._last


@routes.get("/")
async def show_today(view: ViewDep) -> Response:
    """Show the shop's state."""
    state = view.request.app.state
    now: Snapshot = await state.snapshots.get(view)
    checks: Checks = state.checks
    return view.render(
        "today.html.j2",
        now=now,
        most=MOST,
        charts=_charts(now.reports, view),
        verdicts=checks.verdicts,
        path_of=process_path,
        order_of=now.order_of.get,
    )


@routes.post("/checks/{name}", dependencies=[requires(Role.operator)])
async def run_check(view: ViewDep, name: str, request: Request) -> Response:
    """Run the audit or the doctor in the background."""
    checks: Checks = request.app.state.checks
    found = {"audit": _audit, "doctor": _examine}.get(name)
    if found is None:
        raise BadInput([FieldError(field="check", message="must be audit or doctor")])
    started = checks.start(name, view.caller.name, lambda: found(view))
    return view.redirect(f"{PATH}/#checks", f"The {name} {'runs' if started else 'is running already'}.")


async def _read(view: View) -> Snapshot:
    async with view.database.transaction() as tx:
        counts = await count_today(tx)
        reports = (await list_reports(tx, limit=READ)).reports
    problems: list[str] = []

    async def ask(question: Awaitable[T]) -> T | None:
        try:
            async with asyncio.timeout(TEMPORAL_SECONDS):
                return await question
        except CommerceError as error:
            problems.append(str(error))
        except TimeoutError:
            problems.append(f"Temporal has not answered within {TEMPORAL_SECONDS:g} s.")
        return None

    async def processes(status: StatusFilter) -> Page:
        # That a return waits for its goods is usual, for weeks. A tile counts them.
        only = Narrowing(not_waiting_for=AWAIT if status == "waiting" else None)
        return await list_processes(await view.temporal(), status, limit=LISTED, only=only, database=view.database)

    async def schedules() -> Sequence[JobSchedule]:
        return await list_schedules(await view.temporal())

    async def has_worker() -> bool:
        return await is_worker_polling(await view.temporal(), TASK_QUEUE)

    stuck, failed, waiting, jobs, worker = await asyncio.gather(
        ask(processes("stuck")),
        ask(processes("failed")),
        ask(processes("waiting")),
        ask(schedules()),
        ask(has_worker()),
    )
    missing = problems[0] if problems else ""
    shown = [run.transaction_id for page in (stuck, failed, waiting) if page for run in page.workflows]
    async with view.database.transaction() as tx:
        order_of = await orders_of(tx, shown)
    return Snapshot(time.monotonic(), counts, reports, stuck, failed, waiting, order_of, jobs, worker, missing)


def _charts(reports: Sequence[DailyReport], view: View) -> dict[str, Any] | None:
    """Return the bars of the last days in the currency with most orders, or None if no day was counted."""
    if not reports:
        return None
    orders: Counter[str] = Counter()
    for report in reports:
        orders[report.currency] += report.orders
    currency = max(orders, key=lambda each: (orders[each], each))
    known = {report.day: report for report in reports if report.currency == currency}
    formats = Formats(view.settings.locale)
    # Up to yesterday, so that a day that was not counted is seen; in a shop that has stopped, up to its last day.
    yesterday = datetime.now(view.settings.zone).date() - timedelta(days=1)
    last = yesterday if yesterday - max(known) < timedelta(days=DAYS) else max(known)
    shown = min(max((last - min(known)).days + 1, FEWEST_DAYS), DAYS)
    days = [last - timedelta(days=ago) for ago in range(shown - 1, -1, -1)]

    def bars(amount: str) -> list[Bar]:
        found = []
        for day in days:
            value: int | None = getattr(known[day], amount) if day in known else None
            text = "not counted" if value is None else formats.number(value)
            if value is not None and amount == "revenue":
                text = formats.money(value, currency)
            found.append(Bar(formats.weekday(day), value, text))
        return found

    return {
        "currency": currency,
        "others": sorted(set(orders) - {currency}),
        "revenue": bars("revenue"),
        "orders": bars("orders"),
        "total_revenue": sum(known[day].revenue for day in days if day in known),
        "total_orders": sum(known[day].orders for day in days if day in known),
        "first": days[0],
        "last": days[-1],
    }


async def _audit(view: View) -> list[Remark]:
    findings = await audit(view.database, await view.temporal())
    return [Remark("failed", f"{found.rule}: {found.subject}", found.detail, found.cure or "") for found in findings]


async def _examine(view: View) -> list[Remark]:
    findings = await run_checks(CheckContext(view.backends.environment), CHECKS)
    return [
        Remark(found.state, f"{found.group}: {found.check}", found.found, found.advice)
        for found in findings
        if found.state in ("failed", "warning")
    ]
