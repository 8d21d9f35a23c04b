"""CSV files for other systems."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from commerce.fulfillment_export import COLUMNS, MAX_PAGE, csv_text, load_page
from commerce.messages.exports import FulfillmentFormat
from commerce.order_identity import SOURCE
from starter.api.backends import DatabaseDep
from starter.api.callers import Role, requires
from starter.api.errors import COMMON_ERRORS, Responses, prefix_field_errors

NEXT = "Commerce-Next-Since"
EXAMPLE = csv_text(
    [
        [
            *("1001", "1001", "Fulfillment Line", "White mug", "MUG-WHITE", "2", "297", "success"),
            *("2026-03-02 12:00:00 +0000", "Main", "USPS", "9400110898825022579493", "297"),
        ]
    ],
    "shopify",
)
RESPONSES: Responses = {
    200: {
        "description": "CSV in UTF-8, with one row per order line of each fulfillment, under "
        + ", ".join(COLUMNS["shopify"]),
        "content": {"text/csv": {"schema": {"type": "string"}, "example": EXAMPLE}},
        "headers": {
            NEXT: {"description": "The `since` of the next page, or of the next day", "schema": {"type": "integer"}}
        },
    }
}

routes = APIRouter(prefix="/exports", tags=["exports"], responses=COMMON_ERRORS)


@routes.get(
    "/fulfillments",
    summary="Export what was shipped",
    response_class=Response,
    responses=RESPONSES,
    status_code=200,
    dependencies=[requires(Role.operator)],
)
async def export_fulfillments(
    database: DatabaseDep,
    since: Annotated[
        int, Query(ge=0, le=2**63 - 1, description=f"Only what was exported after this number, see `{NEXT}`")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="The maximum number of fulfillments")] = MAX_PAGE,
    layout: Annotated[
        FulfillmentFormat, Query(alias="format", description="The columns: as importers for this shop system read them")
    ] = "shopify",
    source: Annotated[
        str | None, Query(pattern=rf"^{SOURCE.pattern}$", description="Only orders of this shop; default: of all shops")
    ] = None,
) -> Response:
    """Return the orders that were shipped, oldest first, for the shop that they are from.

    Ask again with the `since` that the response names, until only the header comes: no order is missed or returned
    twice. The same `since` returns the same orders again; one that was never given out is refused. Cells that a
    spreadsheet might take for a formula start with an apostrophe.
    """
    with prefix_field_errors("query"):
        async with database.transaction() as tx:
            page = await load_page(tx, since, limit, layout, source)
    headers = {NEXT: str(page.last), "Content-Disposition": 'attachment; filename="fulfillments.csv"'}
    return Response(csv_text(page.rows, layout), media_type="text/csv; charset=utf-8", headers=headers)
