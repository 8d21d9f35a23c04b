"""Lists of daily figures, and as CSV that no spreadsheet executes."""

import csv
import io
from datetime import date
from typing import Any

import pytest
from sqlalchemy import text

from commerce.errors import BadInput
from commerce.queries.reports import COLUMNS, list_reports, reports_csv
from tests.commerce.shop import Shop

TOP = '[{"id": "x", "title": "=cmd()", "units_sold": 3, "revenue": 900}]'


async def add_figures(shop: Shop) -> None:
    """Add three days in pounds, and one of them also in yen."""
    for day, currency, revenue in (("01", "GBP", 100), ("02", "GBP", -250), ("02", "JPY", 1200), ("03", "GBP", 0)):
        await shop.sql(
            """INSERT INTO daily_metrics (day, currency, orders, revenue, average_order_value, new_customers,
                                          returning_customers, top_products)
               VALUES (CAST(:day AS date), :currency, 2, :revenue, 50, 1, 0, CAST(:top AS jsonb))""",
            day=date(2026, 3, int(day)), currency=currency, revenue=revenue, top=TOP if day == "02" else "[]",
        )  # fmt: skip


async def listed(shop: Shop, **conditions: Any) -> list[str]:
    page = await shop.call(list_reports, **conditions)
    return [f"{report.day.day}{report.currency}" for report in page.reports] + (
        [str(page.next_cursor)] * bool(page.next_cursor)
    )


async def test_figures_are_listed_last_day_first(shop: Shop) -> None:
    await add_figures(shop)
    assert await listed(shop) == ["3GBP", "2JPY", "2GBP", "1GBP"]
    assert await listed(shop, limit=2) == ["3GBP", "2JPY", "2026-03-02/JPY"]
    assert await listed(shop, limit=2, cursor="2026-03-02/JPY") == ["2GBP", "1GBP"]
    assert await listed(shop, since=date(2026, 3, 2), until=date(2026, 3, 2), currency="GBP") == ["2GBP"]


async def test_as_csv_amounts_have_their_decimals_and_no_cell_is_a_formula(shop: Shop) -> None:
    await add_figures(shop)
    page = await shop.call(list_reports, since=date(2026, 3, 2), until=date(2026, 3, 2))
    header, yen, pounds = csv.reader(io.StringIO(reports_csv(page.reports)))
    assert header == list(COLUMNS)
    assert yen == ["2026-03-02", "JPY", "2", "1200", "50", "1", "0", "0", "0", "'=cmd()", "3"]
    assert pounds == ["2026-03-02", "GBP", "2", "-2.50", "0.50", "1", "0", "0.00", "0.00", "'=cmd()", "3"]


@pytest.mark.parametrize(
    "wrong",
    [
        *({"limit": limit} for limit in (0, 1_001)),
        *({"cursor": cursor} for cursor in ("", "2026-03-02", "2026-13-02/GBP", "/GBP", "2026-03-02/")),
        {"since": date(2026, 3, 2), "until": date(2026, 3, 1)},
    ],
)
async def test_wrong_parameters_are_refused(shop: Shop, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        await shop.call(list_reports, **wrong)


async def test_the_list_is_read_by_the_primary_key(shop: Shop) -> None:
    async with shop.database.transaction() as tx:
        await tx.execute(text("SET LOCAL enable_seqscan = off"))
        await tx.execute(text("SET LOCAL enable_bitmapscan = off"))
        plan = await tx.scalars(text("EXPLAIN SELECT * FROM daily_metrics ORDER BY day DESC, currency DESC LIMIT 9"))
        assert "Index Scan Backward using pk_daily_metrics" in "\n".join(plan)
