"""What the routes work on: the shop's database, and Temporal, connected to when first asked for."""

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
    """One of each per app; neither has to be there when the app starts."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        self.settings, self._environment = settings, environment
        self.database = Database(settings.database_url.get_secret_value())
        self._connecting: asyncio.Task[Client] | None = None
        self.stopping = asyncio.Event()

    async def client(self) -> Client:
        """Return the connection to Temporal; all who ask meanwhile wait for the same try. Raises Unreachable."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(connect(self._environment, exporter().runtime))
            self._connecting.add_done_callback(self._forget_failure)
        return await asyncio.shield(self._connecting)

    def _forget_failure(self, connecting: asyncio.Task[Client]) -> None:
        """Let the next who asks try again."""
        if connecting.cancelled() or connecting.exception():
            self._connecting = None

    async def close(self) -> None:
        """Give every connection back."""
        if self._connecting:
            self._connecting.cancel()
        await self.database.close()


def _backends(request: Request) -> Backends:
    backends: Backends = request.app.state.backends
    return backends


Given = Annotated[Backends, Depends(_backends)]


async def _client(backends: Given) -> Client:
    return await backends.client()


def _database(backends: Given) -> Database:
    return backends.database


Temporal = Annotated[Client, Depends(_client)]
ShopDatabase = Annotated[Database, Depends(_database)]
