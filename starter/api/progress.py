"""Server-Sent Events that follow a process until it ends."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from hashlib import sha256
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.types import Message, Send
from temporalio.client import Client, WorkflowExecutionDescription

from commerce.errors import Unreachable
from commerce.messages.runs import ProcessStatus
from starter.api import workflow_examples as examples
from starter.api.backends import BackendsDep, ClientDep
from starter.api.callers import CallerDep, Role, requires
from starter.api.errors import COMMON_ERRORS
from starter.api.parameters import TransactionId
from starter.api.personal_data import process_for
from starter.operate import process_status, run_history

POLL_SECONDS = 0.3  # between two polls of a process
HEARTBEAT = 15  # seconds without an event before a comment is sent, which shows both ends that the other is alive
SEND_SECONDS = 30  # for the client to accept a message; after that it counts as gone
ID_DIGITS = 16  # hex digits of the status's hash in an event's id
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # nginx must not buffer
STREAM = """event: progress
data: {"transaction_id": "order-processing-1001", "status": "running", "state": "running", …}
id: 0199a1b2-6f4e-7c3d-9a10-5b7e2f0c4d11.3d1f0c6a9be24877

event: end
data: {"transaction_id": "order-processing-1001", "status": "completed", "state": "completed", …}
id: 0199a1b2-6f4e-7c3d-9a10-5b7e2f0c4d11.end
"""
PROGRESS, END = "progress", "end"  # names of events

log = logging.getLogger(__name__)
routes = APIRouter(prefix="/workflows", tags=["workflows"], responses=COMMON_ERRORS)


class Watch:
    """Polls one process for all its followers until it ends."""

    def __init__(self, client: Client, ui: str, first: ProcessStatus) -> None:
        self.status, self.followers = first, 0
        self._client, self._ui = client, ui
        self._changed = asyncio.Event()
        self._seen: object = None
        self._polling = asyncio.create_task(self._poll())
        self._polling.add_done_callback(lambda _: self._notify())

    @property
    def done(self) -> bool:
        """Whether polling has stopped."""
        return self._polling.done()

    async def updates(self) -> AsyncIterator[ProcessStatus | None]:
        """Yield the current status, then the new one after each change, until polling stops.

        Yields None after HEARTBEAT seconds without a change. Raises what made polling fail.
        """
        sent = None
        while True:
            changed = self._changed
            if self.status is not sent:
                sent = self.status
                yield sent
            elif self.done:
                if not self._polling.cancelled():
                    self._polling.result()
                return
            else:
                try:
                    async with asyncio.timeout(HEARTBEAT):
                        await changed.wait()
                except TimeoutError:
                    yield None

    def stop(self) -> None:
        """Stop polling, which ends the streams of all followers."""
        self._polling.cancel()

    async def _poll(self) -> None:
        while self.status.status == "running":
            await asyncio.sleep(POLL_SECONDS)
            await self._poll_once()

    async def _poll_once(self) -> None:
        """Read the status if the run has changed; only then is its worker queried."""
        try:
            seen = run_fingerprint(await run_history.get_latest_run(self._client, self.status.transaction_id))
            if seen == self._seen and self.status.progress:
                return
            status = await process_status.get_status(self._client, self.status.transaction_id, ui=self._ui)
        except Unreachable as error:  # the streams stay open: their clients get heartbeats meanwhile
            log.warning("the status of a followed process cannot be read: %s", error)
            return
        if status.progress_missing == process_status.BUSY and self.status.progress:
            return  # what was shown last is true until the worker's local steps end
        self._seen = seen
        if status != self.status:
            self.status = status
            self._notify()

    def _notify(self) -> None:
        """Wake all followers."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Watches:
    """The watches of all followed processes, at most one per process."""

    def __init__(self) -> None:
        self._open: dict[str, Watch] = {}

    @asynccontextmanager
    async def follow(self, client: Client, ui: str, first: ProcessStatus) -> AsyncIterator[Watch]:
        """Share the process's watch, or start one from its status `first`; the last follower stops it."""
        watch = self._open.get(first.transaction_id)
        if watch is None or watch.done:
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
        """End every stream because the API stops; the clients reconnect to the next one."""
        for watch in self._open.values():
            watch.stop()


class ProgressStream(StreamingResponse):
    """A stream that gives up on a client that stops reading, so that nothing is polled for it any longer.

    FastAPI's EventSourceResponse would wait for it forever, and could answer an unknown process only within the stream.
    """

    def __init__(self, events: AsyncGenerator[bytes]) -> None:
        # The media type is not the class's: FastAPI would document each event as a mere string.
        super().__init__(events, headers=HEADERS, media_type="text/event-stream")
        self._events = events

    async def stream_response(self, send: Send) -> None:
        """Send the events; raises TimeoutError when the client does not accept one in time."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)

        async with aclosing(self._events):  # the follower leaves now, not when the generator is collected
            await super().stream_response(send_in_time)


def _watches(request: Request) -> Watches:
    watches: Watches = request.app.state.watches
    return watches


@routes.get(
    "/{transaction_id}/events",
    summary="Follow a process",
    status_code=HTTPStatus.OK,
    response_class=ProgressStream,
    responses={
        200: {"description": "The stream", "content": {"text/event-stream": {"example": STREAM}}},
        204: {"description": "The client has received the `end` of this run: there is nothing to reconnect to"},
        **examples.NOT_FOUND,
    },
    dependencies=[requires(Role.viewer)],
)
async def follow_workflow(
    transaction_id: TransactionId,
    temporal: ClientDep,
    backends: BackendsDep,
    caller: CallerDep,
    watches: Annotated[Watches, Depends(_watches)],
    last_event_id: Annotated[
        str, Header(description="The `id` of the last event that the client received; EventSource sends it by itself")
    ] = "",
) -> Response:
    """Follow a process.

    The stream starts with a `progress` event with the same data as `GET /workflows/{transaction_id}` and sends another
    after each change. When the process has ended it sends the data once more as an `end` event, and closes.

    A stream that closes without `end` was interrupted: connect again, with the `id` of the last event as
    `Last-Event-ID`, and the stream continues with the first event that differs. After `end`, the answer to that is 204,
    unless the process has another run. A browser's EventSource does all of this by itself. Comments are heartbeats.
    """
    ui = backends.settings.temporal_ui_url
    # Before the stream starts, so that an unknown process is a 404.
    first = await process_status.get_status(temporal, transaction_id, ui=ui)
    if first.status != "running" and last_event_id == _event_id(END, first):
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def events() -> AsyncGenerator[bytes]:
        async with watches.follow(temporal, ui, first) as watch:
            async for status in watch.updates():
                if status is None:
                    yield KEEPALIVE_COMMENT
                elif _event_id(PROGRESS, process_for(caller, status)) != last_event_id:
                    yield _event(PROGRESS, process_for(caller, status))
            if watch.status.status != "running":
                yield _event(END, process_for(caller, watch.status))

    return ProgressStream(events())


def _event(name: str, status: ProcessStatus) -> bytes:
    return format_sse_event(event=name, data_str=status.model_dump_json(), id=_event_id(name, status))


def _event_id(name: str, status: ProcessStatus) -> str:
    """Return an id that depends on nothing but the event, so that the client may reconnect to another server."""
    version = END if name == END else sha256(status.model_dump_json().encode()).hexdigest()[:ID_DIGITS]
    return f"{status.run_id}.{version}"


def run_fingerprint(run: WorkflowExecutionDescription) -> tuple[Any, ...]:
    """Return values of which at least one differs as soon as the status of a process changes."""
    info = run.raw_description
    pending = [(step.activity_id, step.state, step.attempt) for step in info.pending_activities]
    return (run.run_id, run.status, run.history_length, pending, info.pending_workflow_task.attempt)
