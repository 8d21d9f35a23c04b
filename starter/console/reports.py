"""Reports: the daily figures as charts and as a table, and as CSV."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta

from fastapi import APIRouter
from starlette.responses import Response

from commerce.formats import Formats
from commerce.messages.report_views import DailyReport, ReportPage
from commerce.queries.reports import MAX_PAGE, list_reports, reports_csv
from starter.api.callers import Role, requires
from starter.console.charts import Bar
from starter.console.listing import Listing
from starter.console.views import ViewDep

PAGE_SIZE = 31  # rows
MAX_CHART_DAYS = 92
FILTERS = ("since", "until", "currency")

routes = APIRouter()


@routes.get("/reports", dependencies=[requires(Role.viewer)])
async def show_reports(view: ViewDep) -> Response:
    """Show the figures of some days: the last month without filters."""
    listing = Listing(view, "reports", FILTERS)
    found = ReportPage(reports=[])
    with listing.showing_problems():
        since, until = listing.day("since"), listing.day("until")
        listing.check()
        limit = MAX_CHART_DAYS if since else PAGE_SIZE
        async with view.database.transaction() as tx:
            found = await list_reports(
                tx,
                since=since,
                until=until,
                currency=listing.filters["currency"].upper() or None,
                limit=limit,
                cursor=listing.cursor,
            )
    currency = _main_currency(found.reports)
    formats = Formats(view.settings.locale)
    query = listing.here.partition("?")[2]
    return listing.render(
        "reports.html.j2",
        found=found,
        currency=currency,
        revenue=_bars(found.reports, currency, "revenue", lambda amount: formats.money(amount, currency)),
        orders=_bars(found.reports, currency, "orders", lambda number: formats.count(number, "order")),
        csv="/console/reports.csv" + (f"?{query}" if query else ""),
    )


@routes.get("/reports.csv", dependencies=[requires(Role.viewer)])
async def export_reports(view: ViewDep) -> Response:
    """Return the figures of these days as CSV."""
    listing = Listing(view, "reports", FILTERS)
    since, until = listing.day("since"), listing.day("until")
    listing.check()
    async with view.database.transaction() as tx:
        page = await list_reports(
            tx, since=since, until=until, currency=listing.filters["currency"].upper() or None, limit=MAX_PAGE
        )
    headers = {
        "Content-Disposition": 'attachment; filename="reports.csv"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(reports_csv(page.reports), media_type="text/csv; charset=utf-8", headers=headers)


def _main_currency(reports: Sequence[DailyReport]) -> str:
    """Return the currency with the most orders: charts show one."""
    orders: dict[str, int] = {}
    for report in reports:
        orders[report.currency] = orders.get(report.currency, 0) + report.orders
    return max(orders, key=lambda currency: (orders[currency], currency), default="")


def _bars(reports: Sequence[DailyReport], currency: str, figure: str, text: Callable[[int], str]) -> list[Bar]:
    """Return one bar per day from the first to the last, also for days that were not counted."""
    values: dict[date, int] = {report.day: getattr(report, figure) for report in reports if report.currency == currency}
    if not values:
        return []
    first, last = min(values), max(values)
    first = max(first, last - timedelta(days=MAX_CHART_DAYS - 1))
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [
        Bar(day.isoformat(), values.get(day), text(values[day]) if day in values else "not counted") for day in days
    ]
