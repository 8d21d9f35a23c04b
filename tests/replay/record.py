"""Records the histories that test_replay.py replays, from real runs: `python -m tests.replay.record [NAME…]`.

Without names all are recorded anew. Brings its own servers and takes about a quarter of a minute.
"""

import asyncio
import json
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from temporalio.client import WorkflowHistory

from commerce import logs
from commerce.settings import load_settings
from starter.client import connect
from starter.devstack.stack import Stack
from starter.process import end
from tests.floor import Floor, ended, floor

HISTORIES = Path(__file__).parent / "histories"
LABELLING = "SELECT 1 FROM step_ledger WHERE step = 'create-shipping-label' AND business_key = :key"


async def fulfilled(shop: Floor, order_id: str) -> None:
    """Everything goes well, with label and mail."""
    await shop.shop.order(order_id, MUG=1)
    await shop.process(order_id)


async def without_label(shop: Floor, order_id: str) -> None:
    """Nothing is shipped, and there is nobody to tell."""
    await shop.shop.order(order_id, MUG=1, facts={"shipping_method": None, "email": None})
    await shop.process(order_id)


async def insufficient(shop: Floor, order_id: str) -> None:
    """The check finds too little stock."""
    await shop.shop.order(order_id, MUG=1_000)
    await shop.process(order_id)


async def refused_by_carrier(shop: Floor, order_id: str) -> None:
    """No label can be bought, so everything is undone."""
    await shop.shop.order(order_id, MUG=1)
    await shop.carrier_fault(operation="buy", fault="422", order_id=order_id)
    await shop.fail(order_id)


async def cancelled(shop: Floor, order_id: str) -> None:
    """An operator cancels while the label is bought."""
    await shop.shop.order(order_id, MUG=1)
    await cancel_while_buying(shop, order_id)


async def compensation_failed(shop: Floor, order_id: str) -> None:
    """It is cancelled, and the carrier does not take its label back."""
    await shop.shop.order(order_id, MUG=1)
    await shop.carrier_fault(operation="refund", fault="422", order_id=order_id)
    await cancel_while_buying(shop, order_id)


async def notification_failed(shop: Floor, order_id: str) -> None:
    """The customer's mail server refuses the mail for good."""
    await shop.shop.order(order_id, MUG=1, facts={"email": "ann@refused.example"})
    await shop.process(order_id)


async def leftovers(shop: Floor, order_id: str) -> None:
    """An earlier run was terminated; this one undoes what it left, and fulfills the order."""
    await shop.shop.order(order_id, MUG=1)
    await shop.carrier_fault(operation="create", fault="500", order_id=order_id)
    handle = await shop.start(order_id)
    while await shop.shop.sql(LABELLING, key=handle.id) == []:  # noqa: ASYNC110 - it looks at what a server did
        await asyncio.sleep(0.02)
    await handle.terminate()
    await shop.carrier_mended()
    await shop.process(order_id)


async def cancel_while_buying(shop: Floor, order_id: str) -> None:
    await shop.carrier_fault(operation="buy", fault="slow", seconds=2, times=1, order_id=order_id)
    handle = await shop.start(order_id)
    async for event in handle.fetch_history_events(wait_new_event=True):
        if event.activity_task_scheduled_event_attributes.activity_type.name == "create-shipping-label":
            break
    await handle.cancel()
    await ended(handle)


SCENES: dict[str, Callable[[Floor, str], Awaitable[None]]] = {
    "fulfilled": fulfilled,
    "without-label": without_label,
    "insufficient": insufficient,
    "refused-by-carrier": refused_by_carrier,
    "cancelled": cancelled,
    "compensation-failed": compensation_failed,
    "notification-failed": notification_failed,
    "leftovers": leftovers,
}

PRIVATE = {"identity": "recorder", "stackTrace": ""}  # what tells of the machine, and is not replayed


def keep(history: WorkflowHistory, path: Path) -> None:
    """Write a history, an event per line, without the names of this machine and its folders."""
    events = [json.dumps(event, separators=(",", ":")) for event in json.loads(history.to_json())["events"]]
    text = '{"events":[\n' + ",\n".join(events) + "\n]}\n"
    for name, plain in PRIVATE.items():
        text = re.sub(rf'"{name}":"(?:[^"\\]|\\.)*"', f'"{name}":"{plain}"', text)
    path.write_text(re.sub(r'"name":"[0-9]+@[^"]*"', '"name":"sticky"', text))


async def record(names: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="record ") as folder:
        async with Stack(Path(folder) / "stack", port=0, worker=False, echo=say) as stack:
            client = await connect(stack.environment)
            database_url = stack.environment["COMMERCE_DATABASE_URL"]
            async with floor(Path(folder), database_url, client) as shop, shop.worker():
                await shop.shop.stock("MUG", main=100)
                for name in names:
                    await SCENES[name](shop, name)
                    keep(await shop.handle(name).fetch_history(), HISTORIES / f"{name}.json")
                    say(f"Recorded {name}")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    logs.configure(load_settings({"COMMERCE_LOG_LEVEL": "error"}))
    asyncio.run(record(sys.argv[1:] or list(SCENES)))
    end(0)
