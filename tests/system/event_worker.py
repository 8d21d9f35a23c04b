"""A worker for tests whose carts' events are taken by a file: `python -m tests.system.event_worker`.

Each event is a line of the file JOURNAL: aggregate, number, id.
"""

import os
from pathlib import Path

from temporalio.client import Client

import worker
from commerce.relay import PendingEvent
from starter.subscribers import SUBSCRIBERS


class Journal:
    """Takes events; a line is kept once it is written, also when the worker is killed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    async def note(self, _client: Client, event: PendingEvent) -> None:
        self._file.write(f"{event.aggregate} {event.data['number']} {event.id}\n")


if __name__ == "__main__":
    journal = Journal(Path(os.environ["JOURNAL"]))
    worker.main(subscribers={**SUBSCRIBERS, "cart.expired": (journal.note,)})
