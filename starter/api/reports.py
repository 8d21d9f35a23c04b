"""Daily figures over HTTP: as a list, and as CSV."""

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query, Response

from commerce.messages.report_views import ReportPage
from commerce.queries.reports import COLUMNS, MAX_PAGE, list_reports, reports_csv
from starter.api.backends import DatabaseDep
from starter.api.callers import Role, requires
from starter.api.errors import COMMON_ERRORS, Responses, json_example, prefix_field_errors

REPORT = {
    "day": "2026-03-01", "currency": "GBP", "orders": 12, "revenue": 34790, "average_order_value": 2899,
    "new_customers": 7, "returning_customers": 5, "awaiting": 0, "refunded": 0,
    "top_products": [{"id": "MUG-WHITE", "title": "White mug", "units_sold": 9, "revenue": 10800}],
    "counted_at": "2026-03-02T00:05:00Z",
}  # fmt: skip
LIST = json_example({"reports": [REPORT], "next_cursor": "2026-03-01/GBP"}, "A page of daily figures")
CSV: Responses = {
    200: {
        "description": f"CSV in UTF-8 under {', '.join(COLUMNS)}; amounts with their decimals",
        "content": {"text/csv": {"schema": {"type": "string"}, "example": reports_csv([])}},
    }
}
Since = Annotated[date | None, Query(description="The first day")]
Until = Annotated[date | None, Query(description="The last day")]
Currency = Annotated[
    str | None, Query(pattern="^[A-Z]{3}$", description="Only figures in this currency", examples=["GBP"])
]

routes = APIRouter(prefix="/reports", tags=["reports"], responses=COMMON_ERRORS)


@routes.get("", summary="List daily figures", responses={200: LIST}, dependencies=[requires(Role.viewer)])
async def list_daily_figures(
    database: DatabaseDep,
    since: Since = None,
    until: Until = None,
    currency: Currency = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="The maximum number of rows")] = 100,
    cursor: Annotated[str | None, Query(max_length=50, description="The `next_cursor` of the previous page")] = None,
) -> ReportPage:
    """List the figures that `collect-analytics-data` has counted, one row per day and currency, last day first.

    Amounts are in minor units.
    """
    with prefix_field_errors("query"):
        async with database.transaction() as tx:
            return await list_reports(tx, since=since, until=until, currency=currency, limit=limit, cursor=cursor)


@routes.get(
    ".csv",
    summary="Export daily figures",
    response_class=Response,
    responses=CSV,
    status_code=200,
    dependencies=[requires(Role.viewer)],
)
async def export_daily_figures(
    database: DatabaseDep, since: Since = None, until: Until = None, currency: Currency = None
) -> Response:
    """Return the last 1,000 rows of these days as CSV, last day first.

    Titles that a spreadsheet might take for a formula start with an apostrophe.
    """
    with prefix_field_errors("query"):
        async with database.transaction() as tx:
            page = await list_reports(tx, since=since, until=until, currency=currency, limit=MAX_PAGE)
    headers = {"Content-Disposition": 'attachment; filename="reports.csv"'}
    return Response(reports_csv(page.reports), media_type="text/csv; charset=utf-8", headers=headers)
