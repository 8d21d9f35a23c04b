"""What changes while it is looked at: fragments of pages, sent as Server-Sent Events after each change."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from sqlalchemy import text

from commerce.errors import CommerceError
from commerce.messages.cancellations import processes_of
from commerce.messages.returns import return_process_id
from commerce.queries import returns
from starter.api.progress import HEARTBEAT, run_fingerprint
from starter.connection.rpc import find_latest_run, unreachable_if_refused
from starter.console.views import View
from starter.operate.order_view import MAX_RETURNS

BUSY_SECONDS, IDLE_SECONDS = 0.4, 2.0  # between two looks, while a process runs and while none does
BUSY_FOR = 60.0  # seconds after a change; a process that waits for weeks need not be looked at so often
QUIET_LOOKS = 30  # without a change and without a process that runs; then the page stays as it is
# Without a change while a process waits. A browser has six connections for all pages of a host, and one may wait weeks.
LONGEST_QUIET = 15 * 60.0  # seconds
CHANGED, END = "changed", "end"  # events
FINGERPRINT = text("""
    SELECT revision, hold_reason, fulfillment_status,
           (SELECT count(*) FROM operator_actions WHERE process_id = ANY(CAST(:processes AS text[]))) AS actions,
           (SELECT string_agg(status || attempts, ' ' ORDER BY key) FROM notifications WHERE order_id = :order_id),
           (SELECT count(*) FILTER (WHERE kind IS NULL) FROM step_waits
            WHERE business_key = ANY(CAST(:processes AS text[]))) AS waits,
           (SELECT string_agg(id || state || coalesce(tracking_number, ''), ' ' ORDER BY id) FROM order_returns
            WHERE order_id = orders.id) AS returns,
           (SELECT string_agg(state, ' ' ORDER BY id) FROM order_refunds WHERE order_id = orders.id) AS refunds,
           (SELECT count(*) FROM order_captures WHERE order_id = orders.id) AS captures,
           (SELECT count(*) + count(answered_at) + count(withdrawn_at) FROM picks
            WHERE fulfillment_id IN (SELECT id FROM fulfillments WHERE order_id = orders.id)) AS picks
    FROM orders WHERE id = :order_id
""")


@dataclass(frozen=True)
class Fragment:
    """A part of a page; whether a process is at work that may soon change it; and whether all that it shows is known.

    While a worker runs local steps it does not tell their progress.
    """

    html: str
    is_busy: bool
    is_complete: bool


async def follow(view: View, order_id: str, render: Callable[[], Awaitable[Fragment]]) -> AsyncGenerator[bytes]:
    """Yield the events of an order's page: each fragment that differs from the one before, and at last `end`.

    Each look is cheap: one row, and one call per process. Only after a change is the fragment made anew.
    """
    seen: Any = None
    sent, quiet, is_busy, silent_since = "", 0, True, time.monotonic()
    changed_at = time.monotonic()
    while quiet < QUIET_LOOKS and time.monotonic() - changed_at < LONGEST_QUIET and not view.backends.stopping.is_set():
        quiet += 1
        with suppress(CommerceError):  # the stream stays open while something does not answer
            now = await _fingerprint(view, order_id)
            if now != seen:
                fragment = await render()
                is_busy = fragment.is_busy
                if fragment.is_complete or not sent:
                    seen = now
                    if fragment.html != sent:
                        sent, silent_since = fragment.html, time.monotonic()
                        changed_at = silent_since
                        yield format_sse_event(event=CHANGED, data_str=sent)
                quiet = 0
        if is_busy:
            quiet = 0
        if time.monotonic() - silent_since > HEARTBEAT:
            silent_since = time.monotonic()
            yield KEEPALIVE_COMMENT
        with suppress(TimeoutError):
            is_fast = is_busy and time.monotonic() - changed_at < BUSY_FOR
            async with asyncio.timeout(BUSY_SECONDS if is_fast else IDLE_SECONDS):
                await view.backends.stopping.wait()
    if not view.backends.stopping.is_set():  # the browser connects again to the next API
        yield format_sse_event(event=END, data_str="end")


async def _fingerprint(view: View, order_id: str) -> Any:
    """Return values of which one differs as soon as an order's page does."""
    async with view.database.transaction() as tx:
        returned = (await returns.of_orders(tx, [order_id]))[-MAX_RETURNS:]
        processes = [*processes_of(order_id), *map(return_process_id, returned)]
        row = (await tx.execute(FINGERPRINT, {"order_id": order_id, "processes": processes})).one_or_none()
    client = await view.temporal()
    with unreachable_if_refused(f"describe the processes of {order_id}"):
        runs = await asyncio.gather(*(find_latest_run(client, process_id) for process_id in processes))
    return row and tuple(row), [run_fingerprint(run) for run in runs if run]
