"""The backends of the routes: the shop's database, and Temporal, to which the first request connects."""

import asyncio
from collections.abc import Mapping
from typing import Annotated

from fastapi import Depends, Request
from temporalio.client import Client

from commerce.database import Database
from commerce.settings import Settings
from starter.api.metrics import exporter
from starter.client import connect


class Backends:
    """The app's database and Temporal client; neither needs to be available when the app starts."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        self.settings, self.environment = settings, environment
        self.database = Database.of(settings)
        self._connecting: asyncio.Task[Client] | None = None
        self.stopping = asyncio.Event()

    async def client(self) -> Client:
        """Return the connection to Temporal; concurrent callers share one attempt. Raises Unreachable."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(connect(self.environment, exporter().runtime))
            self._connecting.add_done_callback(self._reset_after_failure)
        return await asyncio.shield(self._connecting)

    def _reset_after_failure(self, connecting: asyncio.Task[Client]) -> None:
        """Let the next caller try again."""
        if connecting.cancelled() or connecting.exception():
            self._connecting = None

    async def close(self) -> None:
        """Close the database, and cancel a connection attempt to Temporal."""
        if self._connecting:
            self._connecting.cancel()
        await self.database.close()


def _backends(request: Request) -> Backends:
    backends: Backends = request.app.state.backends
    return backends


BackendsDep = Annotated[Backends, Depends(_backends)]


async def _client(backends: BackendsDep) -> Client:
    return await backends.client()


def _database(backends: BackendsDep) -> Database:
    return backends.database


ClientDep = Annotated[Client, Depends(_client)]
DatabaseDep = Annotated[Database, Depends(_database)]
