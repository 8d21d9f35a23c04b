"""Record the histories that test_replay.py replays, from real runs: `python -m tests.replay.record [NAME…]`.

Without names, all scenarios are recorded. The command starts the servers it needs and takes about half a minute.
"""

import asyncio
import json
import re
import sys
import tempfile
from pathlib import Path

from temporalio.client import WorkflowHistory

from commerce.settings import load_settings
from commerce.telemetry import logs
from starter.client import connect
from starter.devstack.stack import Stack
from starter.telemetry.exit import exit_process
from tests.payment_provider import embedded_payments
from tests.replay.scenarios import CONFIRMED, FAULTS, HELD, PICKED, SCENARIOS
from tests.running_shop import RunningShop, running_shop

HISTORIES = Path(__file__).parent / "histories"
# What scenarios about reviews and about forgetting need; it changes no others.
SETTINGS = {"COMMERCE_REVIEW_RISK": "high", "COMMERCE_ADDRESS_KEYS": "a-key-of-addresses-of-at-least-32-characters"}
# What those need in which addresses must be proven.
CONFIRMING = {"COMMERCE_CONFIRM_ADDRESS": "on", "COMMERCE_LINK_KEYS": "a-key-for-links-of-at-least-32-characters"}
# What those need that the warehouse picks. It does not answer by itself: the port is closed.
PICKING = {
    "COMMERCE_FULFILLMENT": "confirmed",
    "COMMERCE_PART_SHIPMENTS": "on",
    "COMMERCE_WAREHOUSE_SECRETS": "the-secret-of-the-warehouse",
    "COMMERCE_LINK_URL": "http://127.0.0.1:1",
    "COMMERCE_PAYMENTS": "stripe",
    "COMMERCE_PAYMENTS_API_KEY": "test",
    "COMMERCE_CAPTURE": "on_fulfillment",
}
# Committed histories must be readable without the stack's key, and their ids the same each time.
KEYLESS = {"COMMERCE_ENCRYPTION": "off", "COMMERCE_ADDRESS_KEYS_FILE": ""}
REPLACED_FIELDS = {"identity": "recorder", "stackTrace": ""}  # reveal this machine and are not used by a replay


def write_history(history: WorkflowHistory, path: Path) -> None:
    """Write a history, one event per line, without the names of this machine and its folders."""
    events = [json.dumps(event, separators=(",", ":")) for event in json.loads(history.to_json())["events"]]
    text = '{"events":[\n' + ",\n".join(events) + "\n]}\n"
    for field, replacement in REPLACED_FIELDS.items():
        text = re.sub(rf'"{field}":"(?:[^"\\]|\\.)*"', f'"{field}":"{replacement}"', text)
    path.write_text(re.sub(r'"name":"[0-9]+@[^"]*"', '"name":"sticky"', text))


async def record(names: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="record ") as folder:
        async with Stack(Path(folder) / "stack", port=0, worker=False, echo=print_line) as stack:
            client = await connect(stack.environment | KEYLESS)
            others = [name for name in SCENARIOS if name not in (*CONFIRMED, *PICKED)]
            url = stack.environment["COMMERCE_DATABASE_URL"]
            parts = ((others, SETTINGS), (CONFIRMED, SETTINGS | CONFIRMING), (PICKED, PICKING))
            for number, (known, settings) in enumerate(parts):
                (part := Path(folder) / f"part {number}").mkdir()
                async with (
                    embedded_payments(part / "payments") as payments,
                    running_shop(part, url, client, **settings, COMMERCE_PAYMENTS_URL=payments.api) as shop,
                    shop.worker([FAULTS, HELD]),
                ):
                    if not number:
                        await shop.data.stock("MUG", main=100)
                    for name in names:
                        if name in known:
                            await record_one(shop, name)


async def record_one(shop: RunningShop, name: str) -> None:
    process_id, _, run_id = (await SCENARIOS[name](shop, name)).partition("/")
    history = await shop.client.get_workflow_handle(process_id, run_id=run_id or None).fetch_history()
    write_history(history, HISTORIES / f"{name}.json")
    print_line(f"Recorded {name}")


def print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    logs.configure(load_settings({"COMMERCE_LOG_LEVEL": "error"}))
    asyncio.run(record(sys.argv[1:] or list(SCENARIOS)))
    exit_process(0)
