"""The demo's work: many orders at once, in order of arrival, and how each of them ended."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from temporalio.client import Client

from commerce.audit import Finding
from commerce.errors import PermanentError
from starter.client import process_order
from starter.demo.outcomes import OrderOutcomes
from starter.demo.sample_orders import Outcome

AT_ONCE = 30  # orders in flight


@dataclass(frozen=True)
class Ending:
    """How the process of one order ended."""

    order_id: str
    outcome: Outcome
    seconds: float
    error: str | None = None


@dataclass(frozen=True)
class Summary:
    """What a demo has to tell: how things stood before and after, and what it did itself."""

    before: OrderOutcomes
    after: OrderOutcomes
    endings: Sequence[Ending]
    seconds: float
    unexpected: Sequence[str]  # order ids
    findings: Sequence[Finding]

    @property
    def good(self) -> bool:
        """Whether every order ended as it should, everybody was told, and the audit is clean."""
        return not (self.unexpected or self.findings or self.after.unsent)

    @property
    def rate(self) -> float:
        """Orders per second."""
        return len(self.endings) / self.seconds if self.endings else 0.0

    @property
    def median(self) -> float:
        """Seconds from the start of an order to its end, the middle one."""
        return median([ending.seconds for ending in self.endings] or [0.0])


def surprises(endings: Sequence[Ending], expected: Mapping[str, Outcome | None]) -> list[str]:
    """Return the orders that ended in another way than they had to; where luck decides, none may be undone."""
    either: set[Outcome] = {"fulfilled", "refused"}
    right = {order_id: {outcome} if outcome else either for order_id, outcome in expected.items()}
    return [ending.order_id for ending in endings if ending.outcome not in right[ending.order_id]]


async def process(client: Client, order_ids: Sequence[str], ended: Callable[[Ending], None]) -> list[Ending]:
    """Process these orders, telling of each that ended; when cut off, the rest goes on as soon as a worker is there.

    Raises Unreachable.
    """
    waiting = iter(order_ids)
    endings: list[Ending] = []

    async def lane(orders: Iterator[str]) -> None:
        for order_id in orders:
            endings.append(await _process(client, order_id))
            ended(endings[-1])

    lanes = [asyncio.create_task(lane(waiting)) for _ in range(AT_ONCE)]
    try:
        await asyncio.gather(*lanes)
    finally:
        for task in lanes:
            task.cancel()
    return endings


async def _process(client: Client, order_id: str) -> Ending:
    began = time.monotonic()
    outcome: Outcome
    try:
        result = await process_order(client, order_id)
        outcome, error = "fulfilled" if result.status == "fulfilled" else "refused", None
    except PermanentError as failure:
        outcome, error = "undone", f"{type(failure).__name__}: {failure}"
    return Ending(order_id, outcome, time.monotonic() - began, error)
