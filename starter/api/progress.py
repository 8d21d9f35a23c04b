"""A process as it goes on, told by Server-Sent Events."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from sse_starlette import EventSourceResponse, ServerSentEvent
from temporalio.client import Client, WorkflowExecutionDescription

from commerce.errors import Unreachable
from commerce.messages.runs import Status
from starter.api import workflow_examples as examples
from starter.api.backends import Given, Temporal
from starter.api.bodies import AWAY, TransactionId
from starter.operate import monitor, run_history

LOOK = 0.3  # seconds between two looks at a process
HEARTBEAT = 15  # seconds between comments, by which both ends see that the other is there
SEND_SECONDS = 30  # after which somebody who reads no more is gone
STREAM = """event: progress
data: {"transaction_id": "order-processing-1001", "status": "running", "state": "running", …}

event: end
data: {"transaction_id": "order-processing-1001", "status": "completed", "state": "completed", …}
"""

log = logging.getLogger(__name__)
routes = APIRouter(prefix="/workflows", tags=["workflows"], responses=AWAY)


class Watch:
    """Looks at one process, for however many follow it, until it has ended."""

    def __init__(self, client: Client, ui: str, first: Status) -> None:
        self.state, self.followers = first, 0
        self._client, self._ui = client, ui
        self._changed = asyncio.Event()
        self._seen: object = None
        self._looking = asyncio.create_task(self._look())
        self._looking.add_done_callback(lambda _: self._tell())

    @property
    def over(self) -> bool:
        """Tell whether nobody looks any more."""
        return self._looking.done()

    async def states(self) -> AsyncIterator[Status]:
        """Tell how the process stands, and again after each change, as long as it is watched."""
        told = None
        while True:
            changed = self._changed
            if self.state is not told:
                told = self.state
                yield told
            elif self.over:
                if not self._looking.cancelled():
                    self._looking.result()  # raises what has stopped it before the end
                return
            else:
                await changed.wait()

    def stop(self) -> None:
        """Look no more; who follows has seen all there was."""
        self._looking.cancel()

    async def _look(self) -> None:
        while self.state.status == "running":
            await asyncio.sleep(LOOK)
            await self._look_once()

    async def _look_once(self) -> None:
        """See whether something has changed; its worker is asked only then."""
        try:
            seen = _what_changes(await run_history.get_latest_run(self._client, self.state.transaction_id))
            if seen == self._seen and self.state.progress:
                return
            state = await monitor.get_status(self._client, self.state.transaction_id, ui=self._ui)
        except Unreachable as error:  # streams outlive it; their readers get heartbeats meanwhile
            log.warning("a followed process cannot be seen: %s", error)
            return
        self._seen = seen
        if state != self.state:
            self.state = state
            self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Watches:
    """At most one watch per process; none where nobody follows."""

    def __init__(self) -> None:
        self._open: dict[str, Watch] = {}

    @asynccontextmanager
    async def following(self, client: Client, ui: str, first: Status) -> AsyncIterator[Watch]:
        """Follow a process that stands so, together with who does already."""
        watch = self._open.get(first.transaction_id)
        if watch is None or watch.over:
            watch = self._open[first.transaction_id] = Watch(client, ui, first)
        watch.followers += 1
        try:
            yield watch
        finally:
            watch.followers -= 1
            if watch.followers == 0:
                watch.stop()
                if self._open.get(first.transaction_id) is watch:
                    del self._open[first.transaction_id]

    def stop(self) -> None:
        """End every stream, for the API stops; who follows comes back and asks the next one."""
        for watch in self._open.values():
            watch.stop()


def _watches(request: Request) -> Watches:
    watches: Watches = request.app.state.watches
    return watches


@routes.get(
    "/{transaction_id}/events",
    response_class=EventSourceResponse,
    responses={
        200: {"description": "The stream", "content": {"text/event-stream": {"example": STREAM}}},
        **examples.UNKNOWN,
    },
)
async def follow(
    transaction_id: TransactionId,
    temporal: Temporal,
    backends: Given,
    watches: Annotated[Watches, Depends(_watches)],
) -> EventSourceResponse:
    """Follow a process: `progress` tells at once how it stands, as `GET /workflows/{transaction_id}` does, and again
    after each change; `end` tells the same of a process that has ended, and the stream ends.

    A stream that ends without `end` was cut off: ask again (a browser's EventSource does, and has to be closed at
    `end`). Comments are heartbeats.
    """
    ui = backends.settings.temporal_ui_url
    first = await monitor.get_status(temporal, transaction_id, ui=ui)

    async def events() -> AsyncIterator[ServerSentEvent]:
        async with watches.following(temporal, ui, first) as watch:
            async for state in watch.states():
                yield _event("progress", state)
            if watch.state.status != "running":
                yield _event("end", watch.state)

    return EventSourceResponse(events(), ping=HEARTBEAT, send_timeout=SEND_SECONDS, sep="\n")


def _event(name: str, state: Status) -> ServerSentEvent:
    return ServerSentEvent(event=name, data=state.model_dump_json())


def _what_changes(run: WorkflowExecutionDescription) -> tuple[Any, ...]:
    """Return what is not the same any more as soon as a process stands otherwise."""
    info = run.raw_description
    waiting = [(step.activity_id, step.state, step.attempt) for step in info.pending_activities]
    return (run.run_id, run.status, run.history_length, waiting, info.pending_workflow_task.attempt)
