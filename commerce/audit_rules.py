"""The rules of the audit: queries that return violations, and which of them check each kind of page."""

from collections.abc import Mapping, Sequence

from commerce.audit_pages import STRAYS

# Each query returns subject, detail and business key, no personal data. These rules hold at any time.
ALWAYS = {
    "stocked-is-sum-of-movements": """
        SELECT inventory_item_id || ' at ' || location_id AS subject, NULL AS business_key,
               'stocked is ' || stocked_quantity || ', but its movements sum to ' || coalesce(units, 0) AS detail
        FROM inventory_levels LEFT JOIN (
            SELECT inventory_item_id, location_id, sum(quantity) AS units
            FROM stock_movements GROUP BY inventory_item_id, location_id
        ) AS moved USING (inventory_item_id, location_id)
        WHERE stocked_quantity <> coalesce(units, 0)
    """,
    "reserved-is-sum-of-reservations": """
        SELECT inventory_item_id || ' at ' || location_id AS subject, NULL AS business_key,
               'reserved is ' || reserved_quantity || ', but its reservations sum to ' || coalesce(units, 0) AS detail
        FROM inventory_levels LEFT JOIN (
            SELECT inventory_item_id, location_id, sum(quantity) AS units
            FROM reservations GROUP BY inventory_item_id, location_id
        ) AS held USING (inventory_item_id, location_id)
        WHERE reserved_quantity <> coalesce(units, 0)
    """,
    "reserved-is-in-stock": """
        SELECT inventory_item_id || ' at ' || location_id AS subject, NULL AS business_key,
               'stocked is ' || stocked_quantity || ', reserved is ' || reserved_quantity
               || ' (backordered: ' || coalesce(units, 0) || ')' AS detail
        FROM inventory_levels LEFT JOIN (
            SELECT inventory_item_id, location_id, sum(held.quantity) AS units
            FROM reservations AS held JOIN order_lines AS line ON line.id = order_line_id
            JOIN variants AS variant ON variant.id = variant_id
            WHERE coalesce(backorder, allow_backorder)
            GROUP BY inventory_item_id, location_id
        ) AS backordered USING (inventory_item_id, location_id)
        WHERE NOT oversold AND reserved_quantity - coalesce(units, 0) > stocked_quantity
    """,
    "movements-are-fulfilled-units": """
        WITH moved AS (
            SELECT reference, inventory_item_id, location_id, -sum(quantity) AS units
            FROM stock_movements WHERE reason IN ('fulfillment', 'cancel')
            GROUP BY reference, inventory_item_id, location_id
        ), taken AS (
            SELECT CAST(fulfillment_id AS text) AS reference, inventory_item_id, location_id, sum(quantity) AS units
            FROM fulfillment_items AS item JOIN fulfillments ON fulfillments.id = fulfillment_id
            WHERE cancelled_at IS NULL
            GROUP BY fulfillment_id, inventory_item_id, location_id
        )
        SELECT 'fulfillment ' || reference || ': ' || inventory_item_id || ' at ' || location_id AS subject,
               NULL AS business_key, 'took ' || coalesce(taken.units, 0) || ', but its movements sum to '
               || coalesce(moved.units, 0) AS detail
        FROM moved FULL JOIN taken USING (reference, inventory_item_id, location_id)
        WHERE coalesce(moved.units, 0) <> coalesce(taken.units, 0)
    """,
    # A returned unit is on a shelf exactly once.
    "movements-are-returned-units": """
        WITH moved AS (
            SELECT reference, inventory_item_id, location_id, sum(quantity) AS units
            FROM stock_movements WHERE reason = 'returned' GROUP BY reference, inventory_item_id, location_id
        ), restocked AS (
            SELECT return_id AS reference, inventory_item_id, location_id, sum(quantity) AS units
            FROM order_return_items GROUP BY return_id, inventory_item_id, location_id
        )
        SELECT 'return ' || reference || ': ' || inventory_item_id || ' at ' || location_id AS subject,
               NULL AS business_key, 'put back ' || coalesce(restocked.units, 0) || ', but its movements sum to '
               || coalesce(moved.units, 0) AS detail
        FROM moved FULL JOIN restocked USING (reference, inventory_item_id, location_id)
        WHERE coalesce(moved.units, 0) <> coalesce(restocked.units, 0)
    """,
    "returned-units-were-sent": """
        SELECT 'order ' || order_id || ', line ' || position AS subject, NULL AS business_key,
               'of ' || line.quantity || ' units ' || returned_quantity || ' are back and ' || returning_quantity
               || ' under way; its returns say ' || coalesce(came, 0) || ' and ' || coalesce(coming, 0)
               || coalesce('; ' || excess, '') AS detail
        FROM order_lines AS line
        LEFT JOIN (
            SELECT order_line_id, sum(received) FILTER (WHERE state IN ('received', 'completed')) AS came,
                   sum(quantity) FILTER (WHERE state = 'open') AS coming
            FROM order_return_lines JOIN order_returns ON order_returns.id = return_id GROUP BY order_line_id
        ) AS part ON part.order_line_id = line.id
        LEFT JOIN (
            SELECT order_line_id, min('more of ' || inventory_item_id || ' is back than was sent') AS excess
            FROM (SELECT order_line_id, inventory_item_id, quantity AS units FROM order_return_items
                  UNION ALL
                  SELECT order_line_id, inventory_item_id, -quantity
                  FROM fulfillment_items JOIN fulfillments ON fulfillments.id = fulfillment_id
                  WHERE cancelled_at IS NULL) AS moved
            GROUP BY order_line_id, inventory_item_id HAVING sum(units) > 0
        ) AS item ON item.order_line_id = line.id
        WHERE returned_quantity <> coalesce(came, 0) OR returning_quantity <> coalesce(coming, 0)
           OR excess IS NOT NULL
    """,
    "short-picks-are-written-off": """
        WITH moved AS (
            SELECT reference, inventory_item_id, location_id, -sum(quantity) AS units
            FROM stock_movements WHERE reason = 'pick_short' GROUP BY reference, inventory_item_id, location_id
        ), lost AS (
            SELECT CAST(fulfillment_id AS text) AS reference, inventory_item_id, location_id, sum(lost) AS units
            FROM pick_shorts WHERE lost > 0 GROUP BY fulfillment_id, inventory_item_id, location_id
        )
        SELECT 'fulfillment ' || reference || ': ' || inventory_item_id || ' at ' || location_id AS subject,
               NULL AS business_key, 'lost ' || coalesce(lost.units, 0) || ', but ' || coalesce(moved.units, 0)
               || ' were written off' AS detail
        FROM moved FULL JOIN lost USING (reference, inventory_item_id, location_id)
        WHERE coalesce(moved.units, 0) <> coalesce(lost.units, 0)
    """,
    # What a short pick did not find was taken at first. The lines of a fulfilled order then say what was shipped.
    # Only facts of that time count: a variant may be tracked or have other items since. Each unit of a line needs the
    # same number of units of an item.
    "fulfillment-is-complete": """
        SELECT 'order ' || order_id AS subject, NULL AS business_key,
               CASE WHEN uneven IS NOT NULL THEN uneven
                    ELSE 'needed ' || required_units || ' units, but took ' || taken END AS detail
        FROM (
            SELECT taken.order_id, sum(required) AS required_units, coalesce(sum(units), 0) AS taken,
                   min(line.quantity || ' units of line ' || position || ' took ' || shipped || ' of '
                       || inventory_item_id) FILTER (WHERE units % nullif(line.quantity, 0) <> 0
                                                     AND shipped % nullif(line.quantity, 0) <> 0) AS uneven
            FROM (
                SELECT order_id, order_line_id, inventory_item_id, sum(quantity + short) AS units,
                       sum(quantity) AS shipped, sum(required) AS required
                FROM (SELECT order_id, order_line_id, inventory_item_id, quantity, 0 AS short,
                             CAST(NULL AS bigint) AS required
                      FROM fulfillments JOIN fulfillment_items ON fulfillment_id = fulfillments.id
                      WHERE cancelled_at IS NULL
                      UNION ALL
                      SELECT order_id, order_line_id, inventory_item_id, 0, quantity, NULL
                      FROM fulfillments JOIN pick_shorts ON fulfillment_id = fulfillments.id
                      WHERE cancelled_at IS NULL
                      UNION ALL
                      SELECT order_id, NULL, NULL, NULL, NULL, required_units
                      FROM fulfillments WHERE cancelled_at IS NULL
                     ) AS part
                GROUP BY order_id, order_line_id, inventory_item_id
            ) AS taken LEFT JOIN order_lines AS line ON line.id = order_line_id
            GROUP BY taken.order_id
        ) AS fulfilled JOIN orders ON orders.id = order_id
        WHERE fulfillment_status <> 'fulfilled_elsewhere' AND (uneven IS NOT NULL OR required_units > taken)
    """,
    "fulfilled-order-has-one-fulfillment": """
        SELECT 'order ' || orders.id AS subject, NULL AS business_key,
               'is fulfilled; live fulfillments: ' || coalesce(live, 0) || ', reservations: ' || coalesce(held, 0)
               AS detail
        FROM orders
        LEFT JOIN (SELECT order_id, count(*) AS live, max(position) AS last
                   FROM fulfillments WHERE cancelled_at IS NULL GROUP BY order_id)
            AS fulfillment ON fulfillment.order_id = orders.id
        LEFT JOIN (SELECT order_id, count(*) AS held FROM reservations GROUP BY order_id)
            AS reservation ON reservation.order_id = orders.id
        WHERE fulfillment_status = 'fulfilled' AND cancellation IS NULL
          AND (live IS DISTINCT FROM coalesce(last, 1) OR held > 0)
    """,
    "refunded-is-captured": """
        SELECT 'order ' || order_id AS subject, NULL AS business_key,
               'captured ' || coalesce(captured, 0) || ', refunded here ' || coalesce(refunded, 0) || ', elsewhere '
               || coalesce(refunded_elsewhere, 0)
               || '; its refunds sum to ' || coalesce(refund.amount, 0) || ', its captures to '
               || coalesce(capture.amount, 0) AS detail
        FROM (SELECT order_id FROM order_payments UNION SELECT order_id FROM order_captures WHERE amount > 0) AS paid
        LEFT JOIN order_payments USING (order_id)
        LEFT JOIN (SELECT order_id, sum(amount) AS amount FROM order_refunds GROUP BY order_id)
            AS refund USING (order_id)
        LEFT JOIN (SELECT order_id, sum(amount) AS amount FROM order_captures GROUP BY order_id)
            AS capture USING (order_id)
        WHERE captured IS NULL OR refunded + refunded_elsewhere > captured OR refunded <> coalesce(refund.amount, 0)
           OR captured < coalesce(capture.amount, 0)
    """,
}
# These rules may be violated while the process of the business key runs.
UNLESS_RUNNING = {
    "open-order-holds-nothing": """
        SELECT 'order ' || orders.id AS subject, :order_key || orders.id AS business_key,
               'is ' || fulfillment_status || '; live fulfillments: ' || coalesce(live, 0)
               || ', reservations: ' || coalesce(held, 0) AS detail
        FROM (SELECT order_id, count(*) AS live FROM fulfillments WHERE cancelled_at IS NULL GROUP BY order_id)
            AS fulfillment
        FULL JOIN (SELECT order_id, count(*) AS held FROM reservations GROUP BY order_id)
            AS reservation USING (order_id)
        JOIN orders ON orders.id = order_id
        WHERE fulfillment_status NOT IN ('fulfilled', 'fulfilled_elsewhere') AND cancellation IS NULL
    """,
    # An order that is being taken back has a process that does so.
    "cancelled-order-holds-nothing": """
        SELECT 'order ' || orders.id AS subject, :cancel_key || orders.id AS business_key,
               'is ' || cancellation || '; live fulfillments: ' || coalesce(live, 0)
               || ', reservations: ' || coalesce(held, 0) AS detail
        FROM orders
        LEFT JOIN (SELECT order_id, count(*) AS live FROM fulfillments WHERE cancelled_at IS NULL GROUP BY order_id)
            AS fulfillment ON fulfillment.order_id = orders.id
        LEFT JOIN (SELECT order_id, count(*) AS held FROM reservations GROUP BY order_id)
            AS reservation ON reservation.order_id = orders.id
        WHERE cancellation = 'cancelling' OR cancellation = 'cancelled' AND (live > 0 OR held > 0)
    """,
    "unfinished-return-has-a-process": """
        SELECT 'return ' || id AS subject, :return_key || id AS business_key, 'is ' || state AS detail
        FROM order_returns WHERE state IN ('open', 'received')
    """,
    "account-has-one-auth-user": """
        SELECT 'customer ' || account.id AS subject, account.business_key,
               CASE WHEN has_account THEN 'is an account without an auth user' ELSE 'is a guest with an auth user' END
               AS detail
        FROM account LEFT JOIN auth_users ON customer_id = account.id
        WHERE has_account <> (auth_users.id IS NOT NULL)
    """,
    "account-is-in-default-group": """
        SELECT 'customer ' || account.id AS subject, account.business_key,
               'is an account outside the group ' || :default_group AS detail
        FROM account
        WHERE has_account AND NOT EXISTS (
            SELECT FROM customer_group_members AS member JOIN customer_groups ON customer_groups.id = group_id
            WHERE member.customer_id = account.id AND name = :default_group)
    """,
    # A generation stands while it has steps that the next one would have to undo (LEFTOVERS in generations.py). If no
    # known generation started before the process ended, upkeep has deleted its steps.
    "one-generation-stands": """
        SELECT business_key AS subject, business_key,
               'generations with undoable steps: ' || coalesce(generations, 0) || ', expected: '
               || coalesce(expected, 0) || CASE WHEN NOT done THEN ', not all steps are done' ELSE '' END AS detail
        FROM (
            SELECT business_key, count(DISTINCT generation) AS generations, bool_and(state = 'done') AS done
            FROM step_ledger WHERE undo IS NOT NULL AND state <> 'undone' GROUP BY business_key
        ) AS standing FULL JOIN (
            SELECT :order_key || id AS business_key,
                   CASE WHEN cancellation = 'cancelling' OR fulfillment_status = 'fulfilled_elsewhere' THEN NULL
                        WHEN fulfillment_status = 'fulfilled' THEN 1 ELSE 0 END
                   AS expected,
                   (SELECT min(created_at) FROM fulfillments
                    WHERE order_id = orders.id AND cancelled_at IS NULL) AS ended_at
            FROM orders
            UNION ALL
            SELECT business_key, 1, registered_at FROM account WHERE has_account
        ) AS process USING (business_key)
        WHERE coalesce(generations, 0) <> CASE WHEN process.business_key IS NULL THEN 0 ELSE expected END
              AND (expected = 0 OR generations IS NOT NULL OR EXISTS (
                  SELECT FROM process_generations AS known
                  WHERE known.business_key = process.business_key AND (ended_at IS NULL OR started_at <= ended_at)))
           OR expected = 1 AND NOT done
    """,
    # Terminating a run, or losing it, leaves its wait open; the next run asks anew.
    "only-running-processes-wait": """
        SELECT business_key AS subject, business_key, 'waits for an answer to ' || step AS detail
        FROM step_waits JOIN process_generations USING (business_key, generation) WHERE kind IS NULL
    """,
}
FINDINGS = ALWAYS | UNLESS_RUNNING  # the queries of all rules
RULES: Mapping[str, Sequence[str]] = {  # by kind of page
    "items": (
        "stocked-is-sum-of-movements",
        "reserved-is-sum-of-reservations",
        "reserved-is-in-stock",
        "movements-are-fulfilled-units",
        "movements-are-returned-units",
        "short-picks-are-written-off",
    ),
    "orders": (
        "fulfillment-is-complete",
        "fulfilled-order-has-one-fulfillment",
        "refunded-is-captured",
        "returned-units-were-sent",
        "unfinished-return-has-a-process",
        "cancelled-order-holds-nothing",
        "open-order-holds-nothing",
        "one-generation-stands",
    ),
    "customers": ("account-has-one-auth-user", "account-is-in-default-group", "one-generation-stands"),
    STRAYS: ("one-generation-stands", "only-running-processes-wait"),
}
