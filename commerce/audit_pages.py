"""The pages of the audit: what is on each, and the rows that the rules see of it."""

from collections.abc import Mapping

from sqlalchemy import text

# The one page of all waits, and of all steps of no known order or account, which one statement must look for.
STRAYS = "strays"
KEYS = {
    "items": "SELECT DISTINCT inventory_item_id FROM inventory_levels WHERE inventory_item_id > :after ORDER BY 1",
    "orders": "SELECT id FROM orders WHERE id > :after ORDER BY id",
    "customers": "SELECT CAST(id AS text) FROM customers WHERE id > CAST(:after AS uuid) ORDER BY id",
    STRAYS: "SELECT '' WHERE :after = 'start'",
}
START = {"items": "", "orders": "", "customers": "00000000-0000-0000-0000-000000000000", STRAYS: "start"}
NEXT_KEYS = {kind: text(f"{query} LIMIT :limit") for kind, query in KEYS.items()}
ACCOUNTS = """
    SELECT id, has_account, registered_at,
           coalesce(registered_by, :registration_key
               || left(encode(sha256(convert_to(email, 'UTF8')), 'hex'), :digits)) AS business_key
    FROM customers
"""
# For each kind of page, expressions that take the place of the tables in the rules' queries: only the rows of the page.
OF_ITEMS = "SELECT * FROM {0} WHERE inventory_item_id = ANY(CAST(:page AS text[]))"
OF_ORDERS = "SELECT * FROM {0} WHERE order_id = ANY(CAST(:page AS text[]))"
NONE = "SELECT * FROM {0} WHERE false"
PAGED_TABLES: Mapping[str, Mapping[str, str]] = {
    "items": {
        "inventory_levels": OF_ITEMS,
        "stock_movements": OF_ITEMS,
        "reservations": OF_ITEMS,
        "fulfillment_items": OF_ITEMS,
        "order_return_items": OF_ITEMS,
        "pick_shorts": OF_ITEMS,
    },
    "orders": {
        "orders": "SELECT * FROM {0} WHERE id = ANY(CAST(:page AS text[]))",
        "order_lines": OF_ORDERS,
        "fulfillments": OF_ORDERS,
        "reservations": OF_ORDERS,
        "order_payments": OF_ORDERS,
        "order_refunds": OF_ORDERS,
        "order_returns": OF_ORDERS,
        "order_return_lines": "SELECT * FROM {0} WHERE return_id = ANY(SELECT id FROM order_returns)",
        "order_return_items": "SELECT * FROM {0} WHERE return_id = ANY(SELECT id FROM order_returns)",
        "order_captures": OF_ORDERS,
        "fulfillment_items": "SELECT * FROM {0} WHERE fulfillment_id = ANY(SELECT id FROM fulfillments)",
        "pick_shorts": "SELECT * FROM {0} WHERE fulfillment_id = ANY(SELECT id FROM fulfillments)",
        "step_ledger": """
            SELECT * FROM {0} WHERE business_key = ANY(
                SELECT :order_key || id FROM unnest(CAST(:page AS text[])) AS paged (id))""",
        "customers": NONE,
        "account": ACCOUNTS,
    },
    "customers": {
        "customers": "SELECT * FROM {0} WHERE id = ANY(CAST(CAST(:page AS text[]) AS uuid[]))",
        "auth_users": "SELECT * FROM {0} WHERE customer_id = ANY(CAST(CAST(:page AS text[]) AS uuid[]))",
        "orders": NONE,
        "account": ACCOUNTS,
        "step_ledger": "SELECT * FROM {0} WHERE business_key = ANY(SELECT business_key FROM account WHERE has_account)",
    },
    STRAYS: {
        "everybody": ACCOUNTS,
        "step_ledger": """
            SELECT * FROM {0} AS step WHERE undo IS NOT NULL AND state <> 'undone'
            AND NOT EXISTS (SELECT FROM (SELECT :order_key || id AS business_key FROM orders) AS process
                            WHERE process.business_key = step.business_key)
            AND NOT EXISTS (SELECT FROM everybody WHERE has_account AND everybody.business_key = step.business_key)""",
        "orders": NONE,
        "customers": NONE,
        "account": ACCOUNTS,
    },
}


def with_page(kind: str) -> str:
    """Return the start of a statement in which the tables of the rules have only the rows of a page."""
    return "WITH " + ", ".join(f"{table} AS ({rows.format(table)})" for table, rows in PAGED_TABLES[kind].items())
