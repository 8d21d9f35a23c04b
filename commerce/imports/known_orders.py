"""Find the stored order that a received one is, if it was stored before.

Within a source, an order is found by the source's own id, or else by its name. Two orders that both have an id of their
own can have the same name: the older one keeps the `name_key`, and a row that has only the name is refused, because it
can mean either. An order whose name the source has not stated yet, such as one of an older version, is found by our id.
"""


def candidates(received: str) -> str:
    """Return SQL for the stored orders that a received order may be: its `line`, their `id` and `content_hash`.

    `received` is a table or subquery with `line` and the columns of `IDENTITY_FIELDS`. The candidate with the lowest
    `rank` is the order; it is `ambiguous` if another order has the same name.
    """
    return f"""
        SELECT received.line, known.id, known.content_hash, 1 AS rank, false AS ambiguous
        FROM ({received}) AS received JOIN orders AS known
            ON known.source = received.source AND known.external_id = received.external_id
        UNION ALL
        SELECT received.line, known.id, known.content_hash, 2, false
        FROM ({received}) AS received JOIN orders AS known
            ON known.source = received.source AND known.external_id = received.name_key
        WHERE received.name IS NULL
        UNION ALL
        SELECT received.line, known.id, known.content_hash, 3, received.external_id IS NULL AND EXISTS (
            SELECT FROM orders AS namesake
            WHERE namesake.source = received.source AND name_key IS NULL
              AND namesake.name IN (received.name_key, '#' || received.name_key))
        FROM ({received}) AS received JOIN orders AS known
            ON known.source = received.source AND known.name_key = received.name_key
        WHERE known.external_id IS NULL OR received.external_id IS NULL
        UNION ALL
        SELECT received.line, known.id, known.content_hash, 4, false
        FROM ({received}) AS received JOIN orders AS known ON known.id = received.id
        WHERE known.source = received.source AND known.name IS NULL
        UNION ALL
        SELECT received.line, known.id, known.content_hash, 5, false
        FROM ({received}) AS received JOIN orders AS known ON known.id = received.name_key
        WHERE known.source = received.source AND received.source = 'shop' AND received.external_id IS NOT NULL
          AND known.name IS NULL AND known.name_key IS NULL
    """  # noqa: S608 - our own tables
