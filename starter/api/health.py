"""Whether the shop can work: its database, Temporal, and a worker that polls, each asked within a bound."""

import asyncio
import logging
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from temporalio.client import Client
from temporalio.service import RPCError

from commerce.database import Database
from commerce.errors import DatabaseUnavailable, Unreachable
from starter.api.errors import Problem, answer
from starter.client import connect
from starter.pollers import polled
from starter.processes import TASK_QUEUE

CHECK_SECONDS = 2.0
SILENT = "does not answer"

log = logging.getLogger(__name__)
routes = APIRouter(prefix="/health", tags=["health"])


class Health:
    """What readiness is made of; connects to Temporal when first asked, and again while that fails."""

    def __init__(self, database: Database, environment: Mapping[str, str]) -> None:
        self._database, self._environment = database, environment
        self._client: Client | None = None

    async def missing(self) -> list[str]:
        """Return what is not there, each as `name: reason`; empty when all is well."""
        reasons = await asyncio.gather(self._ask_database(), self._ask_temporal())
        return [reason for reason in reasons if reason]

    async def _ask_database(self) -> str | None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await self._database.ping()
        except (DatabaseUnavailable, TimeoutError) as error:
            log.warning("the database does not answer: %r", error)
            return f"database: {SILENT}"
        return None

    async def _ask_temporal(self) -> str | None:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                self._client = self._client or await connect(self._environment)
                at_work = await polled(self._client, TASK_QUEUE)
        except (Unreachable, RPCError, TimeoutError) as error:
            log.warning("Temporal does not answer: %r", error)
            return f"temporal: {SILENT}"
        return None if at_work else f"worker: none polls the task queue {TASK_QUEUE}"


@routes.get("/live")
async def live() -> dict[str, str]:
    """Say that this process answers."""
    return {"status": "live"}


@routes.get("/ready", responses={HTTPStatus.SERVICE_UNAVAILABLE: {"model": Problem}})
async def ready(request: Request) -> JSONResponse:
    """Say whether orders can be processed now; 503 names what is missing."""
    health: Health = request.app.state.health
    if missing := await health.missing():
        return answer(HTTPStatus.SERVICE_UNAVAILABLE, Problem(error="Not ready", details="; ".join(missing)))
    return JSONResponse({"status": "ready"})
