"""A worker for tests that writes the `cart.expired` events to a file: `python -m tests.system.event_worker`.

JOURNAL is the path of the file. Each event is a line of it: aggregate, number, id.
"""

import os
from pathlib import Path

from temporalio.client import Client

import worker
from commerce.pending_events import PendingEvent
from starter.subscribers import SUBSCRIBERS


class Journal:
    """Subscriber that appends each event to a file. A written line stays when the worker is killed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    async def record(self, _client: Client, event: PendingEvent) -> None:
        self._file.write(f"{event.aggregate} {event.data['number']} {event.id}\n")


if __name__ == "__main__":
    journal = Journal(Path(os.environ["JOURNAL"]))
    worker.main(subscribers={**SUBSCRIBERS, "cart.expired": (journal.record,)})
