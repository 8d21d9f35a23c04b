"""The demo's orders: process many at once, in order of arrival, and record how each one ended."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from temporalio.client import Client, WorkflowHandle

from commerce.audit import Finding
from commerce.database import Database
from commerce.errors import PermanentError
from commerce.messages.cancellations import CancelOrder
from commerce.messages.returns import AWAIT, ReturnOrder
from commerce.messages.waits import Answer
from starter.client import process_order, start, start_order, wait_for_result
from starter.demo.outcomes import OrderOutcomes
from starter.demo.sample_orders import Outcome
from starter.operate.answers import answer
from starter.operate.process_status import get_status

AT_ONCE = 30  # orders in flight
REVIEW, SHOP_REFUND = "review-order", "refund-at-shop"
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Ending:
    """How the process of one order ended."""

    order_id: str
    outcome: Outcome
    seconds: float
    error: str | None = None


@dataclass(frozen=True)
class Summary:
    """The results of a demo: the counts before and after it, and how its own orders ended."""

    before: OrderOutcomes
    after: OrderOutcomes
    endings: Sequence[Ending]
    seconds: float
    unexpected: Sequence[str]  # order ids
    findings: Sequence[Finding]

    @property
    def good(self) -> bool:
        """Whether every order ended as expected, all mails were sent, and the audit is clean."""
        return not (self.unexpected or self.findings or self.after.unsent)

    @property
    def rate(self) -> float:
        """Orders per second."""
        return len(self.endings) / self.seconds if self.endings else 0.0

    @property
    def median(self) -> float:
        """Median of the seconds from the start of an order to its end."""
        return median([ending.seconds for ending in self.endings] or [0.0])


def unexpected_endings(endings: Sequence[Ending], expected: Mapping[str, Outcome | None]) -> list[str]:
    """Return the orders that did not end as expected. Where the order of arrival decides, none may be undone."""
    either: set[Outcome] = {"fulfilled", "refused"}
    right = {order_id: {outcome} if outcome else either for order_id, outcome in expected.items()}
    return [ending.order_id for ending in endings if ending.outcome not in right[ending.order_id]]


async def process(
    client: Client,
    database: Database,
    order_ids: Sequence[str],
    reviews: Mapping[str, Outcome],
    on_ending: Callable[[Ending], None],
) -> list[Ending]:
    """Process these orders, calling `on_ending` for each one. `reviews`: how orders end that wait for a review.

    If interrupted, the orders in flight continue as soon as a worker runs. Raises Unreachable.
    """
    waiting = iter(order_ids)
    endings: list[Ending] = []

    async def lane(orders: Iterator[str]) -> None:
        for order_id in orders:
            endings.append(await _process(client, database, order_id, reviews.get(order_id)))
            on_ending(endings[-1])

    lanes = [asyncio.create_task(lane(waiting)) for _ in range(AT_ONCE)]
    try:
        await asyncio.gather(*lanes)
    finally:
        for task in lanes:
            task.cancel()
    return endings


async def take_back(client: Client, database: Database, order_id: str) -> None:
    """Cancel an order that is fulfilled, and note that its payment is refunded at the shop. Raises as `process` does.

    Doing so again changes nothing.
    """
    handle = await start(client, "cancel-order", CancelOrder(order_id=order_id))
    refunded = Answer(answer="success", reason="The demo refunds it")
    await _answer_all(client, database, handle, {SHOP_REFUND: refunded})


async def bring_back(client: Client, database: Database, order_id: str) -> None:
    """Return an order that is fulfilled, and note that its goods and its refund are there. Raises as `process` does.

    Doing so again changes nothing.
    """
    handle = await start(client, "return-order", ReturnOrder(order_id=order_id, return_id=return_of(order_id)))
    back = Answer(answer="success", data={"everything": True}, reason="The demo sends it back")
    refunded = Answer(answer="success", reason="The demo refunds it")
    await _answer_all(client, database, handle, {AWAIT: back, SHOP_REFUND: refunded})


def return_of(order_id: str) -> str:
    """Return the id of an order's return."""
    return f"demo-{order_id}"


async def _answer_all(
    client: Client, database: Database, handle: WorkflowHandle[Any, Any], answers: Mapping[str, Answer]
) -> None:
    """Answer the steps of a process as they wait, each once, and wait for its end."""
    left = dict(answers)
    while (status := await get_status(client, handle.id)).status == "running":
        if (given := left.pop(status.waiting_for or "", None)) and status.waiting_for:
            await answer(client, database, handle.id, status.waiting_for, given, by="demo")
        else:
            await asyncio.sleep(POLL_SECONDS)
    await wait_for_result(handle)


async def _process(client: Client, database: Database, order_id: str, review: Outcome | None) -> Ending:
    began = time.monotonic()
    outcome: Outcome
    try:
        if review:
            await _review(client, database, order_id, review)
        if review == "waiting":
            return Ending(order_id, "waiting", time.monotonic() - began)
        result = await process_order(client, order_id)
        outcome, error = "fulfilled" if result.status == "fulfilled" else "refused", None
    except PermanentError as failure:
        outcome, error = "undone", f"{type(failure).__name__}: {failure}"
    return Ending(order_id, outcome, time.monotonic() - began, error)


async def _review(client: Client, database: Database, order_id: str, review: Outcome) -> None:
    """Start an order, and wait until it waits for its review or has ended; approve it unless it shall stay there."""
    process = (await start_order(client, order_id)).id
    while (status := await get_status(client, process)).status == "running":
        if status.waiting_for == REVIEW:
            if review == "fulfilled":
                yes = Answer(answer="success", reason="The demo approves it")
                await answer(client, database, process, REVIEW, yes, by="demo")
            return
        await asyncio.sleep(POLL_SECONDS)
