"""Daily figures: a page of a list, and as CSV."""

import csv
import io
from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.csv_cells import safe_cell
from commerce.currencies import decimals_of
from commerce.errors import BadInput
from commerce.messages.base import FieldError
from commerce.messages.report_views import DailyReport, ReportPage

MAX_PAGE = 1_000
SEPARATOR = "/"  # in cursors
COLUMNS = (
    "Day", "Currency", "Orders", "Revenue", "Average order value", "New customers", "Returning customers",
    "Awaiting", "Refunded", "Best-selling product", "Units of it",
)  # fmt: skip


async def list_reports(
    tx: AsyncSession,
    *,
    since: date | None = None,
    until: date | None = None,
    currency: str | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> ReportPage:
    """Return a page of daily figures, last day first and then by currency; `limit` is 1 to 1,000.

    `since` and `until` (inclusive) limit the days. Raises BadInput.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise BadInput([FieldError(field="limit", message=f"must be 1 to {MAX_PAGE}")])
    if since and until and since > until:
        raise BadInput([FieldError(field="until", message="must not be before since")])
    values: dict[str, Any] = {"limit": limit + 1, "since": since, "until": until, "currency": currency}
    conditions = [
        condition
        for value, condition in ((since, "day >= :since"), (until, "day <= :until"), (currency, "currency = :currency"))
        if value is not None
    ]
    if cursor is not None:
        values["before"], values["before_currency"] = _parse_cursor(cursor)
        conditions.append("(day, currency) < (CAST(:before AS date), CAST(:before_currency AS text))")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    statement = text(f"""
        SELECT day, currency, orders, revenue, average_order_value, new_customers, returning_customers, awaiting,
               refunded, top_products, computed_at AS counted_at
        FROM daily_metrics {where} ORDER BY day DESC, currency DESC LIMIT :limit
    """)  # noqa: S608 - our own conditions
    rows = (await tx.execute(statement, values)).mappings().all()
    found = [DailyReport.model_validate(dict(row)) for row in rows[:limit]]
    last = f"{found[-1].day.isoformat()}{SEPARATOR}{found[-1].currency}" if len(rows) > limit else None
    return ReportPage(reports=found, next_cursor=last)


def reports_csv(reports: Iterable[DailyReport]) -> str:
    """Return daily figures as CSV, amounts with their decimals; no cell is a formula."""
    file = io.StringIO(newline="")
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for report in reports:
        best = report.top_products[0] if report.top_products else None
        texts = (safe_cell(report.currency), safe_cell(best.title) if best else "")
        amounts = (report.revenue, report.average_order_value, report.awaiting, report.refunded)
        revenue, average, awaiting, refunded = (_decimal(amount, report.currency) for amount in amounts)
        people = (report.new_customers, report.returning_customers)
        sold = best.units_sold if best else ""
        writer.writerow(
            [report.day, texts[0], report.orders, revenue, average, *people, awaiting, refunded, texts[1], sold]
        )
    return file.getvalue()


def _decimal(amount: int, currency: str) -> Decimal:
    """Return an amount in major units; a negative one is a number to spreadsheets, too."""
    return Decimal(amount).scaleb(-decimals_of(currency))


def _parse_cursor(cursor: str) -> tuple[date, str]:
    day, separator, currency = cursor.partition(SEPARATOR)
    try:
        if separator and currency:
            return date.fromisoformat(day), currency
    except ValueError:
        pass
    raise BadInput([FieldError(field="cursor", message="must be the next_cursor of an earlier page")])
